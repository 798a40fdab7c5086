# SPDX-License-Identifier: Apache-2.0
"""A Writer's arrays in other processes, forks, writers that nobody closes, files that move."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import pickle
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from beside import child, holds

import mxio

Array: TypeAlias = "np.ndarray[Any, Any]"

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


# ---- other processes ---------------------------------------------------------------------------


def test_an_array_is_filled_from_here_and_from_others(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    mxio.save(path, {"old": np.ones(3)})
    with mxio.Writer(path, "a", sync=False) as w:
        x = w.create("x", (3000, 100), "f4")
        none = w.create("none", (0, 5), "f4")
        (tmp_path / "packed").write_bytes(pickle.dumps([x, none]))
        process = child(
            "import pickle\n"
            "x, none = pickle.loads(open(sys.argv[1], 'rb').read())\n"
            "print('ready', flush=True)\n"
            "for i in range(1000, 2000, 10): x[i:i + 10] = i\n"
            "none[...] = 1\n",
            tmp_path / "packed",
        )
        for i in range(0, 1000, 10):
            x[i : i + 10] = i
        again = pickle.loads(pickle.dumps(x))
        pickle.loads(pickle.dumps(again))[2000:, ::3] = 5
        assert (again.shape, again.dtype, again.ndim) == ((3000, 100), np.dtype("f4"), 2)
        with pytest.raises(ValueError, match="'x', a region of shape"):
            again[0] = np.zeros(7)
        with pytest.raises(IndexError, match="'x' is made of integers and slices"):
            again[[1, 2]] = 0
        process.communicate(timeout=60)
        assert process.returncode == 0
    wanted = np.zeros((3000, 100), "f4")
    wanted[:2000] = np.arange(0, 2000, 10, dtype="f4").repeat(10)[:, None]
    wanted[2000:, ::3] = 5
    holds(path, {"old": np.ones(3), "x": wanted, "none": np.zeros((0, 5), "f4")})


@pytest.mark.parametrize("commits", [0, 1, 2])
@pytest.mark.parametrize("mode", ["x", "a"])
def test_what_was_pickled_before_a_commit_writes_nothing_after_it(
    mode: str, commits: int, tmp_path: Path
) -> None:
    path = tmp_path / "x.mxio"
    if mode == "a":
        mxio.save(path, {"old": np.ones(3)})
    with mxio.Writer(path, mode, sync=False) as w:
        for n in range(commits):
            w["more"] = np.full(3, n)
            w.commit()
        x = pickle.loads(pickle.dumps(w.create("x", (1000,), "u1")))
        x[:500] = 5
        w.commit()
        refused = 0
        try:
            x[:] = 9
        except ValueError as error:
            refused += "'x' can no longer be written: the writer of" in str(error)
        w.append("rows", np.ones(3))
    assert mxio.verify(path) == []
    assert refused == 1
    with pytest.raises(ValueError, match="'x' can no longer be written"):
        x[:] = 9
    assert mxio.load(path)["x"].tolist() == [5] * 500 + [0] * 500


@pytest.mark.parametrize("mode", ["w", "a"])
def test_what_was_pickled_from_a_writer_that_gave_up_writes_nothing(
    mode: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.mxio"
    if mode == "a":  # appended to before
        mxio.save(path, {"old": np.ones(3)})
        with mxio.Writer(path, "a", sync=False) as w:
            w["more"] = np.ones(2)
    with mxio.Writer(path, mode, sync=False) as w:
        x = pickle.loads(pickle.dumps(w.create("x", (100_000,), "u1")))
        w.discard()
    with mxio.Writer(path, mode, sync=False) as w:
        w["y"] = np.ones(200_000, "u1")
        with pytest.raises(ValueError, match="'x' can no longer be written"):
            x[:] = 9
    assert mxio.verify(path) == []


def test_rows_behind_an_array_that_others_fill_are_refused_or_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    with mxio.Writer(path, sync=False) as w:
        x = pickle.loads(pickle.dumps(w.create("x", (1000,), "u1")))
        with contextlib.suppress(ValueError):
            w.append("x", np.full(3, 7, "u1"))
        try:
            x[:] = 9
        except ValueError:
            return
    assert mxio.verify(path) == []
    assert mxio.load(path)["x"][:1000].tolist() == [9] * 1000


# ---- forks -------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("commits", [False, True])
@pytest.mark.parametrize("how", ["_exit", "collected", "with"])
def test_a_child_can_neither_use_nor_harm_a_writer(how: str, commits: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    w = mxio.Writer(path, sync=False)
    w.append("x", np.arange(4))
    x = w.create("grid", (3, 3), "f4")
    if commits:
        w.commit()
    w.append("x", np.arange(3))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            uses: list[Callable[[], object]] = [
                lambda: w.append("x", np.arange(2)),
                lambda: w.append("x", np.arange(90_000)),
                lambda: w.append("y", np.arange(2)),
                lambda: w.__setitem__("z", np.arange(2)),
                lambda: x.__setitem__(0, 1),
                lambda: w.create("c", (3,), "f4"),
                lambda: pickle.dumps(x),
                w.commit,
                w.close,
            ]
            refused = 0
            for use in uses:
                try:
                    use()
                except ValueError as error:
                    refused += "a process that was forked cannot use it" in str(error)
            if how == "with":
                w.discard()
            elif how == "collected":
                del x, uses, use, w
                gc.collect()
            code = 0 if refused == 9 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(os.listdir(tmp_path)) == 1
    with pytest.raises(BlockingIOError):
        mxio.Writer(path, "w")
    w.append("x", np.arange(2))
    x[1] = 5
    w.close()
    grid = np.zeros((3, 3), "f4")
    grid[1] = 5
    holds(path, {"x": np.array([0, 1, 2, 3, 0, 1, 2, 0, 1]), "grid": grid})
    assert os.listdir(tmp_path) == ["x.mxio"]


# ---- writers nobody closed ---------------------------------------------------------------------


@pytest.mark.parametrize("commits", [0, 1, 2])
def test_a_writer_that_is_forgotten_leaves_the_last_commit(commits: int, tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    w = mxio.Writer(path, sync=False)
    for n in range(commits):
        w.append("x", np.full(3, n))
        w.commit()
    w.append("x", np.full(100_000, 9))
    w.create("y", (4,), "f4")
    held = [w]
    del w
    with pytest.warns(
        ResourceWarning, match=r"an mxio\.Writer of .*x\.mxio was not closed: .*lost"
    ):
        held.clear()
    if commits:
        holds(path, {"x": np.arange(commits).repeat(3)})
        with mxio.Writer(path, "a", sync=False) as w:
            w.append("x", np.arange(1))
        holds(path, {"x": np.append(np.arange(commits).repeat(3), 0)})
    else:
        assert os.listdir(tmp_path) == []


def test_a_writer_that_could_not_be_opened_or_is_closed_does_not_warn(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in ("r", "a"):
            with pytest.raises((ValueError, OSError)):
                mxio.Writer(tmp_path / "no" / "x.mxio", mode)
        mxio.Writer(tmp_path / "x.mxio").close()
        mxio.Writer(tmp_path / "y.mxio").discard()
        gc.collect()
    assert os.listdir(tmp_path) == ["x.mxio"]
    assert mxio.load(tmp_path / "x.mxio") == {}


# ---- files that move ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        *(("new", how) for how in ("saved over", "folder moved")),
        *(
            (mode, how)
            for mode in ("committed", "a")
            for how in ("saved over", "removed", "moved", "folder moved")
        ),
    ],
)
def test_a_file_that_is_no_longer_the_writers_is_left_alone(
    mode: str, how: str, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "x.mxio"
    other = {"other": np.arange(5)}
    if mode == "a":
        mxio.save(path, {"x": np.arange(3)})
    w = mxio.Writer(path, "a" if mode == "a" else "x", sync=False)
    w.append("x", np.arange(3))
    if mode == "committed":
        w.commit()
    w.append("x", np.full(100_000, 5))
    if how == "saved over":
        mxio.save(path, other)
    elif how == "folder moved":
        folder.rename(tmp_path / "elsewhere")
        w.close()  # which knows its folder, not its name
        array = mxio.load(tmp_path / "elsewhere" / "x.mxio")["x"]
        assert array[-100_000:].tolist() == [5] * 100_000
        return
    elif how == "removed":
        path.unlink()
    else:
        path.rename(folder / "y.mxio")
    error = FileExistsError if mode == "new" else OSError
    with pytest.raises(error) as caught:
        w.commit()
    assert caught.value.errno == (errno.EEXIST if mode == "new" else errno.ESTALE)
    assert "x.mxio" in str(caught.value)
    with pytest.raises((OSError, ValueError), match=r"failed in a commit: discard it|x\.mxio"):
        w.commit()
    w.discard()
    if how == "saved over":
        holds(path, other)
        assert os.listdir(folder) == ["x.mxio"]
    if how == "moved":
        kept = mxio.load(folder / "y.mxio")["x"]
        assert kept.tolist() == [0, 1, 2]
        assert os.listdir(folder) == ["y.mxio"]
    if how == "removed":
        assert os.listdir(folder) == []


def test_a_link_keeps_pointing_to_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "x.mxio", tmp_path / "link.mxio"
    link.symlink_to(Path("there") / "x.mxio")
    with mxio.Writer(link, sync=False) as w:
        w["x"] = np.arange(3)
        w.commit()
        with pytest.raises(BlockingIOError):
            mxio.Writer(real, "a")
        w.append("x", np.arange(2))
    with mxio.Writer(link, "a", sync=False) as w:
        with pytest.raises(BlockingIOError):
            mxio.Writer(real, "w")
        w.append("x", np.arange(1))
    assert link.is_symlink()
    holds(real, {"x": np.array([0, 1, 2, 0, 1, 0])})
    mxio.compact(link)
    with mxio.Writer(link, "w", sync=False) as w:
        w["y"] = np.arange(2)
    assert link.is_symlink()
    holds(real, {"y": np.arange(2)})
    assert sorted(os.listdir(tmp_path)) == ["link.mxio", "there"]


@pytest.mark.parametrize("mode", ["x", "w", "a"])
def test_a_relative_path_is_that_of_the_beginning(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    model = {"x": np.arange(4), "grid": np.full((4, 4), 2, "f4")}
    if mode != "x":
        mxio.save("x.mxio", {"old": np.ones(3)})
    if mode == "a":
        model["old"] = np.ones(3)
    w = mxio.Writer("x.mxio", mode, sync=False)
    monkeypatch.chdir(tmp_path / "b")
    mxio.save("x.mxio", {"other": np.ones(2)})
    grid = w.create("grid", (4, 4), "f4")
    grid[:2] = 2
    pickle.loads(pickle.dumps(grid))[2:] = 2
    w.append("x", np.arange(2))
    w.commit()
    monkeypatch.chdir("/")
    w.append("x", np.arange(2, 4))
    w.close()
    holds(tmp_path / "a" / "x.mxio", model)
    holds(tmp_path / "b" / "x.mxio", {"other": np.ones(2)})


class BytesPath:
    def __init__(self, path: Path) -> None:
        self._path = os.fsencode(path)

    def __fspath__(self) -> bytes:
        return self._path


@pytest.mark.parametrize("kind", [str, Path, BytesPath])
@pytest.mark.parametrize("name", ["x.mxio", "ä\udce4 \n", "x" * 255])
def test_paths_of_any_kind_and_name(kind: Any, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    try:
        path.touch()
        path.unlink()
    except (OSError, UnicodeError) as error:
        pytest.skip(f"the file system takes no such name: {error}")
    with mxio.Writer(kind(path), sync=False) as w:
        w["x"] = np.arange(3)
        pickle.loads(pickle.dumps(w.create("grid", (4,), "f4")))[:] = 2
        w.commit()
        w["y"] = np.arange(3)
        assert os.fsencode(w.path) == os.fsencode(path)
    with mxio.Writer(kind(path), "a", sync=False) as w:
        w.append("x", np.arange(2))
    holds(path, {"x": np.array([0, 1, 2, 0, 1]), "y": np.arange(3), "grid": np.full(4, 2, "f4")})
    assert os.listdir(tmp_path) == [name]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_lock_of_a_killed_writer_goes_although_a_child_lives(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    process = child(
        "w = mxio.Writer(sys.argv[1], sync=False)\nw['x'] = np.arange(3)\nw.commit()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    import time\n    os.close(0)\n    os.close(1)\n    time.sleep(600)\n"
        "print('ready', flush=True)\nprint(pid, flush=True)\nsys.stdin.readline()\n",
        path,
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    try:
        process.kill()
        process.communicate()
        mxio.Writer(path, "a").close()
    finally:
        os.kill(pid, signal.SIGKILL)
