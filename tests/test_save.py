# SPDX-License-Identifier: Apache-2.0
"""A save appears whole or not at all: at every failing call, at every kill, on a full disk.

The calls that a save makes are counted, failed and killed one by one by a small library
that is preloaded into a child process (tests/shim.c).
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from place import small_disk

import mxio

OLD = {"weights": np.arange(1000.0), "step": 1}
NEW = {"weights": np.arange(300_000.0).reshape(3, -1), "bias": np.ones((64, 4)), "step": 2}

SAVE = """
import os, sys
import numpy as np
import mxio
new = {"weights": np.arange(300_000.0).reshape(3, -1), "bias": np.ones((64, 4)), "step": 2}
os.environ["MXIO_SHIM_ON"] = "1"
os.putenv("MXIO_SHIM_ON", "1")
try:
    mxio.save(sys.argv[1], new, threads=int(sys.argv[2]), sync=sys.argv[3] == "sync")
except OSError as error:
    print(f"{error.errno}|{error.filename}|{error}")
"""


def is_old(path: Path) -> bool:
    loaded = mxio.load(path)
    return loaded["step"] == 1 and np.array_equal(loaded["weights"], OLD["weights"])


def is_new(path: Path) -> bool:
    loaded = mxio.load(path)
    return (
        loaded["step"] == 2
        and np.array_equal(loaded["weights"], NEW["weights"])
        and np.array_equal(loaded["bias"], NEW["bias"])
    )


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not sys.platform.startswith("linux") or shutil.which("cc") is None:
        pytest.skip("needs Linux and a C compiler, to preload tests/shim.c")
    out = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).parent / "shim.c"
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", str(source), "-o", str(out), "-ldl", "-lpthread"],
        check=True,
    )
    return out


def run(
    shim: Path, path: Path, sync: str = "sync", threads: int = 1, **told: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    log = path.parent.parent / "log"
    log.unlink(missing_ok=True)
    env = {**os.environ, "LD_PRELOAD": str(shim), "MXIO_SHIM_LOG": str(log), **told}
    env.pop("MXIO_SHIM_ON", None)
    done = subprocess.run(
        [sys.executable, "-c", SAVE, str(path), str(threads), sync],
        env=env,
        capture_output=True,
        text=True,
    )
    return done, log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    mxio.save(folder / "x.mxio", OLD)
    return folder / "x.mxio"


def test_the_steps_of_a_durable_save_come_in_their_order(shim: Path, path: Path) -> None:
    done, calls = run(shim, path)
    assert done.returncode == 0, done.stderr
    steps = [call.split()[0] for call in calls]
    assert steps[:3] == ["create", "chmod", "reserve"]
    assert steps[-3:] == ["sync", "rename", "sync"]
    assert set(steps[3:-3]) == {"write"}
    assert is_new(path)


def test_without_sync_it_is_still_renamed_when_complete(shim: Path, path: Path) -> None:
    _, calls = run(shim, path, sync="no")
    steps = [call.split()[0] for call in calls]
    assert "sync" not in steps
    assert steps[-1] == "rename"
    assert is_new(path)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_whichever_call_fails_the_old_file_stays_and_nothing_else(
    shim: Path, path: Path, error: int
) -> None:
    _, calls = run(shim, path)
    mxio.save(path, OLD)
    for number, call in enumerate(calls, 1):
        done, _ = run(shim, path, MXIO_SHIM_FAIL=f"{number}:{error}")
        last = number == len(calls)
        assert done.returncode == 0, (call, done.stderr)
        code, name, message = done.stdout.rstrip("\n").split("|")
        assert int(code) == error, call
        assert name == str(path), call
        assert os.strerror(error) in message
        # After the rename the new file is in place, and the message says so.
        assert (is_new if last else is_old)(path), call
        assert ("the new file is in place" in message) == last
        assert os.listdir(path.parent) == ["x.mxio"], call
        mxio.save(path, OLD)


def test_a_failing_first_save_leaves_an_empty_folder(shim: Path, path: Path) -> None:
    path.unlink()
    _, calls = run(shim, path)
    path.unlink()
    for number in range(1, len(calls)):
        run(shim, path, MXIO_SHIM_FAIL=f"{number}:{errno.EIO}")
        assert os.listdir(path.parent) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_whenever_it_is_killed_the_old_file_or_the_new_one_is_there(
    shim: Path, path: Path, threads: int
) -> None:
    _, calls = run(shim, path, threads=threads)
    for number in range(1, len(calls) + 1):
        mxio.save(path, OLD)
        done, _ = run(shim, path, threads=threads, MXIO_SHIM_KILL=str(number))
        assert done.returncode == -signal.SIGKILL
        assert (is_new if number == len(calls) else is_old)(path)
        left = [name for name in os.listdir(path.parent) if name != "x.mxio"]
        assert all(name.startswith(".x.mxio.mxio-") and name.endswith(".tmp") for name in left)
        for name in left:
            (path.parent / name).unlink()


@pytest.mark.parametrize("call", ["reserve", "sync"])
def test_what_a_file_system_does_not_offer_is_done_without(
    shim: Path, path: Path, call: str
) -> None:
    _, calls = run(shim, path)
    names = [line.split()[0] for line in calls]
    number = names.index("reserve") + 1 if call == "reserve" else len(names)
    code = errno.EOPNOTSUPP if call == "reserve" else errno.EINVAL
    mxio.save(path, OLD)
    done, _ = run(shim, path, MXIO_SHIM_FAIL=f"{number}:{code}")
    assert done.stdout == ""
    assert is_new(path)


def test_short_and_interrupted_writes_are_continued(shim: Path, path: Path) -> None:
    done, calls = run(shim, path, MXIO_SHIM_SHORT="1")
    assert done.stdout == ""
    assert is_new(path)
    number = [line.split()[0] for line in calls].index("write") + 1
    mxio.save(path, OLD)
    done, _ = run(shim, path, MXIO_SHIM_FAIL=f"{number}:{errno.EINTR}")
    assert done.stdout == ""
    assert is_new(path)


def test_a_full_disk_is_enospc_and_keeps_the_old_file(tmp_path: Path) -> None:
    with small_disk(tmp_path, "1m") as folder:
        path = folder / "x.mxio"
        mxio.save(path, OLD)
        with pytest.raises(OSError, match="No space left") as caught:
            mxio.save(path, {"x": np.zeros(1 << 18)})
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(path)
        assert is_old(path)
        assert os.listdir(folder) == ["x.mxio"]


def test_a_limit_on_file_size_is_an_error_and_keeps_the_old_file(path: Path) -> None:
    script = """
        import resource, signal, sys
        import numpy as np
        import mxio
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            mxio.save(sys.argv[1], np.zeros(100_000))
        except OSError as error:
            print(error.errno)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True
    )
    assert done.stdout == f"{errno.EFBIG}\n", done.stderr
    assert is_old(path)
    assert os.listdir(path.parent) == ["x.mxio"]


def test_what_cannot_be_saved_is_said_before_anything_is_written(path: Path) -> None:
    before = path.stat()
    for wrong in ({"a": np.ones(3), "b": {1, 2}}, [np.ones(3), object()], {"a": np.array([{}])}):
        with pytest.raises(TypeError):
            mxio.save(path, wrong)
    with pytest.raises(TypeError):
        mxio.save(path, OLD, metadata={"a": object()})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="threads"):
        mxio.save(path, OLD, threads=0)
    assert path.stat() == before
    assert os.listdir(path.parent) == ["x.mxio"]


def test_the_mode_of_a_file_is_kept_and_a_new_one_gets_what_the_umask_says(path: Path) -> None:
    path.chmod(0o640)
    mxio.save(path, NEW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    before = os.umask(0o027)
    try:
        mxio.save(path.parent / "new.mxio", NEW)
        assert stat.S_IMODE((path.parent / "new.mxio").stat().st_mode) == 0o640
        os.umask(0)
        mxio.save(path.parent / "newer.mxio", NEW)
        assert stat.S_IMODE((path.parent / "newer.mxio").stat().st_mode) == 0o666
    finally:
        os.umask(before)


TAKEN = """
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/types.h>

#define NAME(which)                                                         \\
    int which(const char *path, int flags, ...) {                           \\
        mode_t mode = 0;                                                    \\
        va_list args;                                                       \\
        va_start(args, flags);                                              \\
        if (flags & O_CREAT) { mode = va_arg(args, mode_t); }               \\
        va_end(args);                                                       \\
        if (strcmp(path, "/dev/urandom") == 0) { path = "/dev/zero"; }      \\
        return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #which))( \\
            path, flags, mode);                                             \\
    }
NAME(open)
NAME(open64)
"""


def test_a_temporary_name_that_is_taken_is_left_alone(path: Path) -> None:
    """By a file or by a link, when all random numbers are zeros."""
    if not sys.platform.startswith("linux") or shutil.which("cc") is None:
        pytest.skip("needs Linux and a C compiler, to preload another open")
    source, library = path.parent.parent / "taken.c", path.parent.parent / "taken.so"
    source.write_text(TAKEN)
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True)
    script = """
        import os, sys
        import mxio
        from mxio import _core
        path, how = sys.argv[1:]
        host = _core.crc32c(os.uname().nodename.encode(), 0, None)
        name = f".x.mxio.mxio-{host:08x}-{os.getpid():08x}-{0:016x}.tmp"
        taken = os.path.join(os.path.dirname(path), name)
        if how == "file":
            open(taken, "w").write("mine")
        else:
            os.symlink("somebody", taken)
        try:
            mxio.save(path, {"step": 2})
        except FileExistsError:
            print("taken", os.path.islink(taken) or open(taken).read())
    """
    for how, said in ("file", "taken mine\n"), ("link", "taken True\n"):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), str(path), how],
            env={**os.environ, "LD_PRELOAD": str(library)},
            capture_output=True,
            text=True,
        )
        assert done.stdout == said, done.stderr
        assert is_old(path)
    assert not (path.parent / "somebody").exists()


def test_the_owner_of_a_file_is_kept_where_the_system_lets_us(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only a privileged process can give files away")
    os.chown(path, 12345, 23456)
    path.chmod(0o4750)
    mxio.save(path, NEW)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 23456, 0o4750)


def test_a_symbolic_link_keeps_pointing(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    target = path.parent / "elsewhere" / "target.mxio"
    link, second = path.parent / "link.mxio", path.parent / "second.mxio"
    link.symlink_to("elsewhere/target.mxio")
    second.symlink_to(link)
    mxio.save(second, NEW)  # where the target does not exist yet, too
    assert is_new(target)
    mxio.save(link, OLD)
    assert link.is_symlink()
    assert second.is_symlink()
    assert is_old(target)
    assert os.listdir(target.parent) == ["target.mxio"]


def test_a_loop_of_links_is_an_error(path: Path) -> None:
    (path.parent / "a").symlink_to("b")
    (path.parent / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links") as caught:
        mxio.save(path.parent / "a", NEW)
    assert caught.value.errno == errno.ELOOP


def test_other_names_of_a_hard_link_keep_the_old_contents(path: Path) -> None:
    os.link(path, path.parent / "other.mxio")
    mxio.save(path, NEW)
    assert is_new(path)
    assert is_old(path.parent / "other.mxio")


def test_targets_that_are_no_files_are_refused(path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        mxio.save(path.parent, NEW)
    with pytest.raises(IsADirectoryError):
        mxio.save(f"{path.parent}/", NEW)
    with pytest.raises(FileNotFoundError):
        mxio.save(path.parent / "missing" / "x.mxio", NEW)
    with pytest.raises(NotADirectoryError):
        mxio.save(path / "x.mxio", NEW)
    with pytest.raises(FileNotFoundError):
        mxio.save("", NEW)
    with pytest.raises(ValueError, match="NUL"):
        mxio.save("a\0b", NEW)
    with pytest.raises(TypeError, match="path"):
        mxio.save(3, NEW)  # type: ignore[arg-type]
    fifo = path.parent / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(OSError, match="Invalid argument"):
        mxio.save(fifo, NEW)
    with pytest.raises(OSError, match="Invalid argument"):
        mxio.load(fifo)  # and does not wait for a writer
    assert sorted(os.listdir(path.parent)) == ["fifo", "x.mxio"]
    assert is_old(path)


def test_a_read_only_folder_is_an_error(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("a privileged process may write there")
    path.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            mxio.save(path, NEW)
        assert is_old(path)
    finally:
        path.parent.chmod(0o700)


@pytest.mark.parametrize("length", [255, 250, 200, 3])
@pytest.mark.parametrize("letter", ["x", "ü", "日"])
def test_names_as_long_as_the_file_system_allows(tmp_path: Path, length: int, letter: str) -> None:
    name = letter * (length // len(letter.encode()))
    mxio.save(tmp_path / name, NEW)
    assert is_new(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_a_relative_path_and_one_of_bytes_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mxio.save("x.mxio", NEW)
    assert is_new(Path("x.mxio"))

    class Place:
        def __fspath__(self) -> bytes:
            return b"\xff.mxio"  # not UTF-8

    mxio.save(Place(), NEW)
    assert mxio.load(Place())["step"] == 2
    assert sorted(os.listdir(b".")) == [b"x.mxio", b"\xff.mxio"]


def test_saving_over_the_file_that_a_mapped_array_comes_from_is_safe(path: Path) -> None:
    mapped = mxio.load(path, mmap=True)
    mxio.save(path, {"weights": mapped["weights"][::-1], "step": 2})
    np.testing.assert_array_equal(mapped["weights"], OLD["weights"])
    np.testing.assert_array_equal(mxio.load(path)["weights"], OLD["weights"][::-1])
    mapped["weights"][:] = 7  # its own pages: the new file is not touched
    np.testing.assert_array_equal(mxio.load(path)["weights"], OLD["weights"][::-1])


def test_a_mapped_array_is_writable_and_leaves_the_file_alone(path: Path) -> None:
    before = path.read_bytes()
    mapped = mxio.load(path, mmap=True)
    mapped["weights"] += 1
    assert mapped["weights"][0] == 1
    assert path.read_bytes() == before


def test_readers_see_the_old_file_or_the_new_one_while_it_is_replaced(path: Path) -> None:
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            mxio.save(path, NEW, sync=False)
            mxio.save(path, OLD, sync=False)

    writers = [threading.Thread(target=replace) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(200):
            loaded = mxio.load(path)
            want = OLD if loaded["step"] == 1 else NEW
            np.testing.assert_array_equal(loaded["weights"], want["weights"])
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert os.listdir(path.parent) == ["x.mxio"]


def test_ctrl_c_stops_a_save_and_keeps_the_old_file(path: Path) -> None:
    script = """
        import os, signal, sys, threading, time
        import numpy as np
        import mxio
        x = np.broadcast_to(np.zeros(1 << 20), (600, 1 << 20))  # 4.7 GiB, in 8 MiB of memory
        def interrupt():
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            mxio.save(sys.argv[1], x, sync=False)
        except KeyboardInterrupt:
            print("stopped")
    """
    free = shutil.disk_usage(path.parent).free
    if free < 6 << 30:
        pytest.skip(f"needs 6 GiB of disk for a save that takes long enough, {free >> 20} MiB free")
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True
    )
    assert done.stdout == "stopped\n", done.stderr
    assert time.monotonic() - begun < 60
    assert is_old(path)
    assert os.listdir(path.parent) == ["x.mxio"]


def test_file_objects_get_the_same_bytes(tmp_path: Path) -> None:
    import gzip
    import io

    plain = io.BytesIO()
    mxio.save(plain, NEW)
    assert plain.getvalue() == mxio.dumps(NEW)
    plain.seek(0)
    assert mxio.load(plain)["step"] == 2
    with (tmp_path / "raw").open("wb", buffering=0) as raw:
        mxio.save(raw, NEW)
    assert (tmp_path / "raw").read_bytes() == mxio.dumps(NEW)
    with gzip.open(tmp_path / "x.gz", "wb") as packed:
        mxio.save(packed, NEW)
    with gzip.open(tmp_path / "x.gz", "rb") as packed:
        np.testing.assert_array_equal(mxio.load(packed)["weights"], NEW["weights"])
    with (tmp_path / "text").open("w") as text, pytest.raises(TypeError):
        mxio.save(text, NEW)
    with (tmp_path / "text").open() as text, pytest.raises(TypeError, match="binary"):
        mxio.load(text)


def test_a_file_object_that_fails_says_so() -> None:
    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        mxio.save(Full(), NEW)
