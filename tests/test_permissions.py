# SPDX-License-Identifier: Apache-2.0
"""Whose a file is, who may write it, and links, through everything that writes.

Umask, mode, owner and group; folders and files that are read-only, sticky or immutable, as
another user; what others have put where a Writer has its temporary file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from beside import apart
from ways import (
    CHANGES,
    IN_PLACE,
    MAKES,
    OLD,
    STEP,
    Way,
    managed,
    named,
    version,
    ways,
    written,
)

import mxio
from mxio import CheckpointManager

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")

USER, GROUP = 12345, 23456


def owner(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def public() -> Iterator[Path]:
    """An empty folder that other users can come to, as they cannot to those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="mxio-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


# ---- modes and owners ----


@ways(MAKES)
def test_a_new_file_gets_what_the_umask_leaves(way: Way, tmp_path: Path) -> None:
    for mask in (0o022, 0o027, 0o077, 0):
        folder = tmp_path / f"{mask:o}"
        with umask(mask):
            if way is not managed:
                folder.mkdir()
            way(folder / STEP)
        assert version(folder / STEP) == 1
        assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask
        for name in os.listdir(folder):  # also the lock of a manager
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o666 & ~mask, name
        assert named(folder) == [STEP]


@ways(CHANGES)
def test_a_file_that_is_there_keeps_its_mode(way: Way, tmp_path: Path) -> None:
    for mode in (0o640, 0o600, 0o444, 0o666, 0o755):
        mxio.save(tmp_path / STEP, OLD, sync=False)
        (tmp_path / STEP).chmod(mode)
        if os.geteuid() != 0 and not mode & 0o200 and way in (CHANGES["compact"], *IN_PLACE):
            continue  # what is written in place has to be writable
        with umask(0o027):
            way(tmp_path / STEP)
        assert stat.S_IMODE((tmp_path / STEP).stat().st_mode) == mode
        version(tmp_path / STEP)
        assert named(tmp_path) == [STEP]


@needs_root
@ways(CHANGES)
def test_a_file_that_is_there_keeps_its_owner_and_group(way: Way, tmp_path: Path) -> None:
    mxio.save(tmp_path / STEP, OLD, sync=False)
    os.chown(tmp_path / STEP, USER, GROUP)
    (tmp_path / STEP).chmod(0o2640)
    way(tmp_path / STEP)
    # Whoever writes in place loses the bit: the kernel takes it.
    assert owner(tmp_path / STEP) in [(USER, GROUP, 0o2640), (USER, GROUP, 0o640)]
    assert owner(tmp_path / STEP)[2] == 0o2640 or way in IN_PLACE.values()


@needs_root
@ways(CHANGES)
def test_a_group_is_kept_by_a_user_who_is_in_it(way: Way, public: Path) -> None:
    path = public / STEP
    mxio.save(path, OLD, sync=False)
    os.chown(path, USER, GROUP)
    path.chmod(0o660)
    os.chown(public, USER, USER)
    apart(lambda: way(path), user=USER, group=GROUP)
    assert owner(path) == (USER, GROUP, 0o660)
    version(path)


@needs_root
@ways(MAKES)
def test_a_folder_with_a_group_of_its_own_gives_it_to_new_files(way: Way, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2775)
    with umask(0o002):
        way(folder / STEP)
    assert {owner(path) for path in folder.iterdir()} == {(0, GROUP, 0o664)}


@needs_root
@ways(CHANGES)
def test_in_a_sticky_folder_the_files_of_others_stay(way: Way, public: Path) -> None:
    """They cannot be replaced; whoever may write them can append."""
    path = public / STEP
    mxio.save(path, OLD, sync=False)
    before = path.read_bytes()
    path.chmod(0o644)
    public.chmod(0o1777)

    def work() -> None:
        with pytest.raises(PermissionError) as caught:
            way(path)
        assert str(path) in str(caught.value)

    apart(work, user=USER)
    assert path.read_bytes() == before
    assert owner(path) == (0, 0, 0o644)
    assert named(public) == [STEP]


@needs_root
@pytest.mark.parametrize("user", [0, USER + 1], ids=["by root", "by a user"])
@pytest.mark.parametrize("mode", ["x", "w"])
def test_a_writer_does_not_write_into_a_file_that_another_user_has_put_there(
    mode: str, user: int, public: Path
) -> None:
    """The temporary file of a Writer has a name that others can foretell."""
    path = public / STEP
    public.chmod(0o1777)
    with mxio.Writer(path, sync=False) as w:
        (name,) = os.listdir(public)
        w.discard()

    def put() -> None:
        (public / name).touch()
        (public / name).chmod(0o666)

    def work() -> None:
        if user == 0:  # who may remove it
            written(mode)(path)
        else:
            with pytest.raises(PermissionError) as caught:
                mxio.Writer(path, mode)
            assert caught.value.filename == str(path)

    apart(put, user=USER)
    apart(work, user=user)
    if user == 0:
        assert owner(path)[0] == 0
        assert os.listdir(public) == [STEP]
    else:
        assert os.listdir(public) == [name]
        assert (public / name).read_bytes() == b""


def test_a_private_file_is_never_open_to_others_where_a_mode_cannot_be_set(
    tmp_path: Path,
) -> None:
    """As long as the file has not the mode of the old one it has less."""
    if not sys.platform.startswith("linux") or shutil.which("cc") is None:
        pytest.skip("needs Linux and a C compiler, to preload a library")
    source = "#include <errno.h>\nint fchmod(int fd, unsigned mode);\n"
    source += (
        "int fchmod(int fd, unsigned mode) { errno = EPERM; return fd < 0 ? (int)mode : -1; }\n"
    )
    (tmp_path / "no.c").write_text(source)
    library = tmp_path / "no.so"
    subprocess.run(["cc", "-shared", "-fPIC", "no.c", "-o", library], cwd=tmp_path, check=True)
    folder = tmp_path / "folder"
    folder.mkdir()
    mxio.save(folder / "a", OLD)
    mxio.save(folder / "b", OLD)
    for name in ("a", "b"):
        (folder / name).chmod(0o600)
    code = (
        "import os, sys, mxio, numpy as np\n"
        "os.umask(0)\n"
        "mxio.save('a', {'w': np.arange(1000.0) + 1})\n"
        "with mxio.Writer('b', 'w') as w:\n"
        "    w['w'] = np.arange(1000.0) + 1\n"
    )
    env = os.environ | {"PYTHONPATH": str(Path(mxio.__file__).parents[1])}
    env["LD_PRELOAD"] = f"{env.get('LD_PRELOAD', '')} {library}".strip()
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, check=True)
    for name in ("a", "b"):
        assert version(folder / name) == 1
        assert stat.S_IMODE((folder / name).stat().st_mode) & 0o077 == 0


# ---- what may not be written ----


@ways(MAKES)
def test_a_folder_that_is_read_only_stays_as_it_is(way: Way, public: Path) -> None:
    folder = public / "folder"
    folder.mkdir()
    folder.chmod(0o555)

    def work() -> None:
        with pytest.raises(PermissionError) as caught:
            way(folder / STEP)
        assert str(folder) in str(caught.value)

    apart(work, user=USER if os.geteuid() == 0 else 0)
    assert os.listdir(folder) == []
    folder.chmod(0o755)


@ways(CHANGES)
def test_a_file_in_a_folder_that_is_read_only_is_appended_to_only(way: Way, public: Path) -> None:
    folder = public / "folder"
    folder.mkdir()
    path = folder / STEP
    mxio.save(path, OLD, sync=False)
    path.chmod(0o666)
    folder.chmod(0o555)
    appends = way in IN_PLACE.values()

    def work() -> None:
        with contextlib.nullcontext() if appends else pytest.raises(PermissionError):
            way(path)

    apart(work, user=USER if os.geteuid() == 0 else 0)
    assert version(path) == (1 if appends else 0)
    assert os.listdir(folder) == [STEP]
    folder.chmod(0o755)


@ways(CHANGES)
def test_a_file_that_is_read_only_is_replaced_and_not_written(way: Way, public: Path) -> None:
    """As by mv and every editor: who may write the folder says what is in it."""
    path = public / STEP
    mxio.save(path, OLD, sync=False)
    user = USER if os.geteuid() == 0 else 0
    if user:
        os.chown(public, user, user)
        os.chown(path, user, user)
    path.chmod(0o444)
    refused = way in (CHANGES["compact"], *IN_PLACE.values())

    def work() -> None:
        with pytest.raises(PermissionError) if refused else contextlib.nullcontext():
            way(path)

    apart(work, user=user)
    assert version(path) == (0 if refused else 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert named(public) == [STEP]


def test_a_file_that_may_not_be_read_is_an_error_that_names_it(public: Path) -> None:
    path = public / STEP
    mxio.save(path, OLD, sync=False)
    path.chmod(0)

    def work() -> None:
        for read in (mxio.load, mxio.open, mxio.verify, mxio.compact, written("a")):
            with pytest.raises(PermissionError) as caught:
                read(path)
            assert caught.value.filename == str(path)
        with pytest.raises(PermissionError):
            mxio.copy(path, public / "y.npz")
        with pytest.raises(PermissionError):
            CheckpointManager(public, read_only=True).restore(1)

    apart(work, user=USER if os.geteuid() == 0 else 0)
    assert os.listdir(public) == [STEP]


@pytest.mark.parametrize("letter", ["i", "a"])
@ways(CHANGES)
def test_a_file_that_the_system_lets_nobody_replace(letter: str, way: Way, tmp_path: Path) -> None:
    path = tmp_path / STEP
    mxio.save(path, OLD, sync=False)
    before = path.read_bytes()
    if shutil.which("chattr") is None:
        pytest.skip("there is no chattr here")
    done = subprocess.run(["chattr", f"+{letter}", path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the file system offers no such attribute: {done.stderr.strip()}")
    try:
        with pytest.raises(PermissionError) as caught:
            way(path)
        assert caught.value.filename == str(path)
        assert path.read_bytes() == before
        assert named(tmp_path) == [STEP]
        assert version(path) == 0
    finally:
        subprocess.run(["chattr", f"-{letter}", path], check=True)


# ---- links ----


@ways(CHANGES)
def test_a_link_is_followed_and_nothing_is_left_beside_it(way: Way, tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    link, target = tmp_path / "here" / STEP, tmp_path / "there" / "x.mxio"
    mxio.save(target, OLD, sync=False)
    link.symlink_to(Path("..") / "there" / "x.mxio")
    way(link)
    assert os.readlink(link) == "../there/x.mxio"
    assert version(target) == (0 if way is CHANGES["compact"] else 1)
    assert named(link.parent) == [STEP]
    assert os.listdir(target.parent) == ["x.mxio"]


@ways({name: way for name, way in MAKES.items() if way is not managed})
def test_a_link_to_nothing_is_where_the_file_goes(way: Way, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / STEP).symlink_to("../x.mxio")
    way(folder / STEP)
    assert version(tmp_path / "x.mxio") == 1
    assert (folder / STEP).is_symlink()
    assert os.listdir(folder) == [STEP]


@pytest.mark.parametrize("mode", ["x", "w", "a"])
def test_a_loop_of_links_is_an_error_of_a_writer(mode: str, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for call in (lambda: mxio.Writer(tmp_path / "a", mode), lambda: mxio.compact(tmp_path / "a")):
        with pytest.raises(OSError, match="symbolic links") as caught:
            call()
        assert caught.value.errno == errno.ELOOP
        assert caught.value.filename == str(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@ways(CHANGES)
def test_the_other_name_of_a_file_sees_what_is_appended_and_keeps_what_is_replaced(
    way: Way, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    path, other = tmp_path / "folder" / STEP, tmp_path / "other.mxio"
    mxio.save(path, OLD, sync=False)
    os.link(path, other)
    way(path)
    assert version(path) == (0 if way is CHANGES["compact"] else 1)
    assert version(other) == (1 if way in IN_PLACE.values() else 0)
    assert path.samefile(other) == (way in IN_PLACE.values())
    assert os.listdir(tmp_path / "folder").count(STEP) == len(named(tmp_path / "folder"))


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "folder"])
def test_what_lies_under_the_temporary_name_of_a_writer_is_left_alone(
    kind: str, tmp_path: Path
) -> None:
    path, other = tmp_path / "x.mxio", tmp_path / "other"
    with mxio.Writer(path, sync=False) as w:
        (name,) = os.listdir(tmp_path)
        w.discard()
    other.write_bytes(b"precious")
    trap = tmp_path / name
    if kind == "link":
        trap.symlink_to("other")
    elif kind == "hard link":
        os.link(other, trap)
    elif kind == "fifo":
        os.mkfifo(trap)
    else:
        trap.mkdir()

    def work() -> None:
        for mode in ("x", "w", "a"):
            with pytest.raises(OSError, match=r"x\.mxio"):
                mxio.Writer(path, mode)

    apart(work)
    assert other.read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == sorted([name, "other"])
