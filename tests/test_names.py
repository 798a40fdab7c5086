# SPDX-License-Identifier: Apache-2.0
"""What a file may be called, and that a name inside a file is only a name.

Long and odd paths, what is no file, other file systems, and names that look like paths,
through everything that reads and writes.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import socket
import stat
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside import apart
from test_npz_corrupt import Part, build, npy_of
from ways import AT_PATH, LOCK, MAKES, NEW, OLD, REPLACES, STEP, Way, named, version

import mxio
from mxio import CheckpointManager, cli

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


# ---- long and odd paths ----


def deep(folder: Path, nbytes: int) -> Path:
    """Return a path of so many bytes, whose folders are there."""
    base = str(folder)
    while nbytes - len(os.fsencode(base)) > 255:
        base += "/" + "d" * 200
    os.makedirs(base)
    return Path(base) / ("x" * (nbytes - len(os.fsencode(base)) - 1))


def test_a_path_is_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = deep(tmp_path, 4095)
    assert len(os.fsencode(path)) == 4095
    for way in (MAKES["Writer x"], MAKES["Writer a"], *AT_PATH.values()):
        way(path)
        assert version(path) == 1
        assert os.listdir(path.parent) == [path.name]
    with mxio.open(path) as reader:
        np.testing.assert_array_equal(reader["w"][5:7], NEW["w"][5:7])


def test_a_path_that_is_longer_is_an_error_that_says_so(tmp_path: Path) -> None:
    folder = deep(tmp_path, 4095).parent
    path = folder / ("x" * (4096 - len(os.fsencode(folder)) - 1))
    assert len(os.fsencode(path)) == 4096
    reads: list[Way] = [mxio.load, mxio.open, mxio.verify, REPLACES["compact"]]
    for way in (MAKES["Writer x"], MAKES["Writer a"], *AT_PATH.values(), *reads):
        with pytest.raises(OSError, match="File name too long") as caught:
            way(path)
        assert caught.value.errno == errno.ENAMETOOLONG
        assert caught.value.filename == str(path)
    for name in ("x" * 256, "ü" * 128):
        for way in (MAKES["save, npz"], MAKES["Writer x"], mxio.load, CheckpointManager):
            with pytest.raises(OSError, match="File name too long"):
                way(tmp_path / name)
    assert os.listdir(folder) == []


def test_a_manager_in_a_folder_whose_files_have_paths_as_long_as_can_be(tmp_path: Path) -> None:
    folder = deep(tmp_path, 4095 - 1 - len(STEP))
    for _ in range(2):
        with CheckpointManager(folder, keep_last=1) as manager:
            for step in (1, 2):
                manager.save(step, NEW, overwrite=True)
            np.testing.assert_array_equal(manager.restore()["w"], NEW["w"])
    assert named(folder) == ["step-0000000002.mxio"]
    with pytest.raises(OSError, match="File name too long"):
        CheckpointManager(deep(tmp_path / "longer", 4095))


def test_a_working_directory_deeper_than_any_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(25):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    for way in (MAKES["Writer x"], MAKES["Writer a"], *AT_PATH.values()):
        way(Path("x.mxio"))
        assert version(Path("x.mxio")) == 1
    assert os.listdir() == ["x.mxio"]


ODD = {
    "not UTF-8": "\udcff\udc80.mxio",
    "newline": "a\nb\r\n",
    "escape": "\x1b[31mred\x07",
    "right to left": "\u202egpj.exe",
    "blank": " ",
    "dash": "-rf",
    "format": "%s{0}$HOME~",
    "backslash": "a\\b:c",
    "255 bytes": "日" * 85,
}


class BytesPath:
    def __init__(self, path: Path) -> None:
        self._path = os.fsencode(path)

    def __fspath__(self) -> bytes:
        return self._path


@pytest.mark.parametrize("name", list(ODD.values()), ids=list(ODD))
def test_a_folder_and_a_file_may_be_called_anything(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for kind in (Path, str, BytesPath):
        path: Any = kind(folder / name)
        for way in AT_PATH.values():
            way(path)
            assert version(path) == 1
        assert os.listdir(folder) == [name]
        with CheckpointManager(kind(folder / "run")) as manager:  # type: ignore[arg-type]
            manager.save(1, NEW, overwrite=True)
            assert manager.directory == str(folder / "run")
            assert repr(manager).isprintable()
        assert named(folder / "run") == [STEP]
        shutil.rmtree(folder / "run")


@pytest.mark.parametrize("name", list(ODD.values()), ids=list(ODD))
def test_whatever_a_path_is_called_a_message_is_one_printable_line(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(b"rubbish " * 9)
    said: list[BaseException | warnings.WarningMessage] = []
    calls: list[Callable[[], object]] = [
        *(lambda f=f: f(path) for f in (mxio.load, mxio.open, mxio.verify, mxio.compact)),
        lambda: mxio.Writer(path, "x"),
        lambda: mxio.Writer(path, "a"),
        lambda: mxio.copy(path, tmp_path / "y"),
        lambda: mxio.load(path / "x"),
        lambda: CheckpointManager(path),
        lambda: mxio.save(tmp_path / name / "x", NEW),
        lambda: mxio.save(path, {"w": object()}),
    ]
    for call in calls:
        with pytest.raises((mxio.MXIOError, OSError, TypeError)) as caught:
            call()
        said.append(caught.value)
    mxio.save(path, NEW)
    with mxio.open(path) as reader, pytest.raises(KeyError) as caught:
        reader["nothing"]
    said.append(caught.value)
    with pytest.raises(ValueError, match="is closed") as closed:
        reader.read()
    said.append(closed.value)
    with mxio.Writer(path, "w") as writer, pytest.raises(BlockingIOError) as held:
        mxio.Writer(path, "w")
    said.append(held.value)
    with pytest.raises(ValueError, match="is closed") as closed:
        writer["w"] = NEW["w"]
    said.append(closed.value)
    mxio.save(path, NEW)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(mxio.ChecksumError) as damaged:
        mxio.load(path)
    said.append(damaged.value)
    with pytest.warns(mxio.DamageWarning) as warned:
        mxio.load(path, on_damage="skip")
    with pytest.warns(ResourceWarning, match="not closed") as forgotten:
        mxio.Writer(path, "w")
    folder = tmp_path / (name[:-1] + "z")
    with CheckpointManager(folder) as manager:
        manager.save(1, NEW)
        Path(manager.path(1)).write_bytes(b"rubbish " * 9)
        with pytest.raises(mxio.FormatError) as none:
            manager.restore()
        said.append(none.value)
    texts = [str(one) for one in said]
    texts += [str(one.message) for one in (*warned, *forgotten)]
    assert [text for text in texts if not text.isprintable()] == []
    assert all(len(text) < 1500 for text in texts)


# ---- what is no file ----


@contextlib.contextmanager
def special(kind: str, folder: Path) -> Iterator[Path]:
    """A path at which there is something, but no file."""
    path = folder / STEP
    with contextlib.ExitStack() as stack:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            before = os.getcwd()
            os.chdir(folder)  # the path of a socket is short
            listener.bind(STEP)
            os.chdir(before)
        elif kind == "folder":
            path.mkdir()
        elif kind == "device":
            try:
                os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # /dev/null
            except PermissionError:
                pytest.skip("only root can make a device")
        elif kind in ("/dev/null", "/dev/full", "/dev/zero", "/proc/self/mem"):
            if not os.path.exists(kind):
                pytest.skip(f"there is no {kind} here")
            path = Path(kind)
        else:
            path.symlink_to("/dev/null" if kind == "link to a device" else ".")
        yield path


SPECIAL = [
    *("fifo", "socket", "folder", "device", "link to a device", "link to a folder"),
    *("/dev/null", "/dev/full", "/dev/zero"),
]


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_neither_replaced_nor_waited_for(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with special(kind, folder) as path:
        before = path.lstat(), os.listdir(folder)
        changes: list[Way] = [*AT_PATH.values(), MAKES["Writer x"], MAKES["Writer a"]]
        changes.remove(AT_PATH["compact"])
        changes.append(REPLACES["compact"])
        if not kind.startswith("/"):
            changes.append(MAKES["manager"])

        def work() -> None:
            for way in changes:
                with pytest.raises(OSError) as caught:
                    way(path)
                assert caught.value.errno in NO_FILE
                assert caught.value.filename == str(path)
            for read in (
                mxio.load,
                mxio.open,
                mxio.verify,
                lambda path: mxio.load(path, mmap=True),
            ):
                with pytest.raises(OSError) as caught:
                    read(path)
                assert caught.value.errno in NO_FILE
            with pytest.raises(OSError):
                mxio.copy(path, tmp_path / "y.mxio")
            for args in (["ls"], ["info"], ["verify"], ["convert", "y.npz"], ["compact"]):
                err = io.StringIO()
                with contextlib.redirect_stderr(err):
                    assert cli.main([args[0], str(path), *args[1:]]) == 2
                assert err.getvalue().count("\n") == 1
                assert str(path) in err.getvalue()

        apart(work)
        after = path.lstat()
        assert (after.st_ino, after.st_mode, after.st_rdev) == (
            before[0].st_ino,
            before[0].st_mode,
            before[0].st_rdev,
        )
        assert sorted(named(folder)) == sorted(before[1])
        assert os.listdir(tmp_path) == ["folder"]


NO_FILE = (errno.EINVAL, errno.EISDIR, errno.ENXIO, errno.EEXIST)


def test_a_full_device_is_an_error_of_a_file_object(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    large = {"w": np.arange(200_000.0)}
    for format in ("mxio", "mxnet", "safetensors", "npz"):
        with pytest.raises(OSError, match="No space left"), open("/dev/full", "wb", 0) as full:
            mxio.save(full, large, format=format)
        with pytest.raises(OSError, match="No space left"), open("/dev/full", "wb", 0) as full:
            mxio.copy(mxio.dumps(large), full, format=format)
    with open("/dev/null", "wb") as null:
        mxio.save(null, large)


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_a_lock_that_is_no_file_is_an_error_of_a_manager(kind: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    lock = tmp_path / "run" / LOCK
    lock.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(lock)
    elif kind == "link":
        lock.symlink_to("../mine")
    else:
        lock.mkdir()

    def work() -> None:
        with pytest.raises(OSError) as caught:
            CheckpointManager(lock.parent)
        assert caught.value.errno in (*NO_FILE, errno.ELOOP)
        assert str(lock.parent) in str(caught.value)

    apart(work)
    assert (tmp_path / "mine").read_text() == "precious"
    assert os.listdir(lock.parent) == [LOCK]


# ---- file systems ----


@contextlib.contextmanager
def mounted(folder: Path, *args: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    done = subprocess.run(["mount", *args, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"it cannot be mounted: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def everything(folder: Path) -> None:
    """Make, replace, append, map and read in a folder, with all syncs."""
    path = folder / STEP
    for way in (*MAKES.values(), REPLACES["compact"]):
        if way is MAKES["Writer x"] and path.exists():
            path.unlink()
        if way is not REPLACES["compact"] and way is not MAKES["Writer x"]:
            mxio.save(path, OLD)
        way(path)
        assert version(path) == 1
        assert named(folder) == [STEP]
    mxio.save(path, NEW)
    mapped = mxio.load(path, mmap=True)["w"]
    with mxio.open(path) as reader:
        mxio.save(path, OLD)
        np.testing.assert_array_equal(reader["w"][...], NEW["w"])
        np.testing.assert_array_equal(mapped, NEW["w"])
    with mxio.Writer(path, "a") as w:
        w.append("rows", np.arange(100_000))
        w.create("grid", (300, 300), "f4")[7:9] = 5
        with pytest.raises(BlockingIOError):
            mxio.Writer(path, "a")
    found = mxio.load(path)
    np.testing.assert_array_equal(found["rows"], np.arange(100_000))
    np.testing.assert_array_equal(found["w"], OLD["w"])
    assert found["grid"].sum() == 3000
    with CheckpointManager(folder, asynchronous=True, keep_last=2) as manager:
        for step in range(2, 6):
            manager.save(step, NEW)
    assert named(folder) == [f"step-{step:010d}.mxio" for step in (4, 5)]


def test_a_file_in_memory_is_like_any(tmp_path: Path) -> None:
    with mounted(tmp_path / "m", "-t", "tmpfs", "-o", "size=64m", "tmpfs"):
        everything(tmp_path / "m")


@pytest.mark.parametrize("which", ["new", "lower"])
def test_a_file_on_an_overlay_is_like_any_and_the_one_below_stays(
    which: str, tmp_path: Path
) -> None:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    below = tmp_path / "lower" / STEP
    if which == "lower":
        mxio.save(below, OLD)
    options = ",".join(f"{name}dir={tmp_path / name}" for name in ("lower", "upper", "work"))
    folder = tmp_path / "m"
    with mounted(folder, "-t", "overlay", "-o", options, "overlay"):
        if which == "lower":
            with mxio.open(folder / STEP) as reader:
                with mxio.Writer(folder / STEP, "a") as w:  # which moves the file up
                    w["w"] = NEW["w"]
                np.testing.assert_array_equal(reader["w"][...], OLD["w"])
            assert version(folder / STEP) == 1
        everything(folder)
    assert which == "new" or version(below) == 0


# ---- names inside ----

LOOKS = ["../../x", "../x", "/etc/passwd", "..", ".", "a/../../b", "C:\\x", "\\\\host\\share"]
LOOKS += ["~/x", "$HOME/x", "x/", "/", "//", "-rf", "x.mxio", "file:///etc/passwd", "x" * 65_520]


def tree(folder: Path) -> dict[str, int]:
    found = {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}
    return found | {str(folder): folder.lstat().st_mtime_ns}


def zip_with(names: list[bytes]) -> bytes:
    return build(*(Part(npy_of(np.arange(n)), name) for n, name in enumerate(names)))


@pytest.mark.parametrize("format", ["mxio", "mxnet", "safetensors", "npz", "zip"])
def test_a_name_that_looks_like_a_path_is_only_a_name(
    format: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inner = tmp_path / "a" / "b" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    monkeypatch.setenv("HOME", str(tmp_path))
    names = [*LOOKS, str(tmp_path / "outside"), "../x.npy"]
    arrays = {name: np.arange(n) for n, name in enumerate(names)}
    source = inner / "source"
    if format == "zip":
        source.write_bytes(zip_with([f"{name}.npy".encode() for name in names]))
    else:
        mxio.save(source, arrays, format=format)
    before, passwd = tree(tmp_path), os.stat("/etc/passwd")

    def same(path: Path) -> None:
        found = mxio.load(path)
        assert sorted(found) == sorted(names)
        assert all(np.array_equal(found[name], arrays[name]) for name in names)

    same(source)
    mxio.load(source, mmap=True)
    assert mxio.verify(source) == []
    with mxio.open(source) as reader:
        for name in names:
            np.testing.assert_array_equal(reader[name][...], arrays[name])
    assert mxio.load(source, ["../../x"])["../../x"].tolist() == []
    with mxio.open(source) as reader, pytest.raises(KeyError):
        reader["../../y"]
    for command in ("ls", "info", "verify", "stats"):
        assert cli.main([command, "source"]) == 0
    assert before == tree(tmp_path)
    run = run_folder(inner)
    for ending in ("mxio", "params", "safetensors", "npz"):
        mxio.copy(source, f"copied.{ending}")
        same(inner / f"copied.{ending}")
        assert cli.main(["convert", "source", f"converted.{ending}"]) == 0
        same(inner / f"converted.{ending}")
        assert cli.main(["diff", "source", f"converted.{ending}"]) == 0
    with mxio.Writer("written.mxio") as w:
        w.update(arrays)
        w.create("../../created", (3,), "i4")[0] = 1
        w.append("/etc/appended", np.arange(3))
    mxio.compact("written.mxio")
    assert mxio.load("written.mxio")["../../created"].tolist() == [1, 0, 0]
    with CheckpointManager(run) as manager:
        manager.save(1, arrays, {"../../loss": 0.5})
        assert sorted(manager.restore()) == sorted(names)
    capsys.readouterr()
    made = {path for path in tree(tmp_path) if path not in before}
    assert all(Path(path).parent in (inner, run) for path in made - {str(run)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["inner"]
    assert os.stat("/etc/passwd") == passwd


def run_folder(inner: Path) -> Path:
    (inner / "run").mkdir()
    return inner / "run"


@pytest.mark.parametrize("name", ["a\0b", "../\0x", "\ud800", "x" * 65_536])
def test_a_name_that_cannot_be_one_is_refused_by_all_that_write(name: str, tmp_path: Path) -> None:
    arrays = {"w": NEW["w"], name: NEW["w"]}
    for format in ("mxio", "mxnet", "safetensors", "npz"):
        with pytest.raises(ValueError, match="a name"):
            mxio.save(tmp_path / "x", arrays, format=format)
        with pytest.raises(ValueError, match="a name"):
            mxio.copy(mxio.dumps(NEW), tmp_path / "x", rename={"w": name}, format=format)
    with mxio.Writer(tmp_path / "x") as w:
        for call in (w.__setitem__, w.append, lambda name, _: w.create(name, 3, "f4")):
            with pytest.raises(ValueError, match="a name"):
                call(name, NEW["w"])
        w.discard()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name", [b"a\0b.npy", b"../../x\0.npy", b"\0", b"x" * 65_535, b"\xff\xfe.npy", b"/", b"../"]
)
def test_a_member_of_a_zip_may_be_called_anything(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read under some name, or the file is refused; nothing is made."""
    inner = tmp_path / "a" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    Path("source.npz").write_bytes(zip_with([b"w.npy", name]))
    before = tree(tmp_path)
    found: dict[str, Any] = {}
    with contextlib.suppress(mxio.FormatError, mxio.UnsupportedError):
        found = mxio.load("source.npz")
    assert before == tree(tmp_path)
    for ending in ("mxio", "params", "safetensors", "npz"):
        try:
            mxio.copy("source.npz", f"copied.{ending}")
        except (ValueError, mxio.UnsupportedError):
            assert not os.path.exists(f"copied.{ending}")
        else:
            assert sorted(mxio.load(f"copied.{ending}")) == sorted(found)
    assert [path.name for path in tmp_path.rglob("*") if path.parent != inner] == ["a", "inner"]
    assert all(path.name.startswith(("source", "copied")) for path in inner.iterdir())
