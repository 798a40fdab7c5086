# SPDX-License-Identifier: Apache-2.0
"""A Writer beside others: a second writer, readers that look on, several threads."""

from __future__ import annotations

import errno
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from beside import child, holds

import mxio

Array: TypeAlias = "np.ndarray[Any, Any]"


# ---- two writers -------------------------------------------------------------------------------

HOLDS = """
w = mxio.Writer(sys.argv[1], sys.argv[2], sync=False)
w["x"] = np.arange(3)
if sys.argv[3] == "commits":
    w.commit()
w["y"] = np.arange(4)
print("ready", flush=True)
sys.stdin.readline()
w.close()
"""


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["here", "elsewhere"])
@pytest.mark.parametrize("commits", [False, True])
@pytest.mark.parametrize("mode", ["x", "w", "a"])
def test_a_second_writer_is_told_of_the_first(
    mode: str, commits: bool, is_elsewhere: bool, tmp_path: Path
) -> None:
    path = tmp_path / "x.mxio"
    if mode != "x":
        mxio.save(path, {"old": np.ones(3)})
    before = path.read_bytes() if mode != "x" else b""
    if is_elsewhere:
        process = child(HOLDS, path, mode, "commits" if commits else "")
    else:
        w = mxio.Writer(path, mode, sync=False)
        w["x"] = np.arange(3)
        if commits:
            w.commit()
        w["y"] = np.arange(4)
    for other in ("w", "a") if path.exists() else ("x", "w", "a"):
        with pytest.raises(BlockingIOError, match="another writer has it open") as caught:
            mxio.Writer(path, other)
        assert caught.value.errno == errno.EAGAIN
        assert str(path) in str(caught.value)
    with pytest.raises((BlockingIOError, FileExistsError)):
        mxio.Writer(path)
    if path.exists():
        with pytest.raises(BlockingIOError):
            mxio.compact(path)
        if not commits:
            assert mode == "a" or path.read_bytes() == before
    if is_elsewhere:
        assert process.communicate("\n", timeout=60)[0] == ""
        assert process.returncode == 0
    else:
        w.close()
    model = {"x": np.arange(3), "y": np.arange(4)}
    holds(path, model | {"old": np.ones(3)} if mode == "a" else model)
    assert os.listdir(tmp_path) == ["x.mxio"]


@pytest.mark.parametrize("commits", [False, True])
@pytest.mark.parametrize("mode", ["x", "w", "a"])
def test_a_killed_writer_holds_nothing(mode: str, commits: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    if mode != "x":
        mxio.save(path, {"old": np.ones(3)})
    process = child(HOLDS, path, mode, "commits" if commits else "")
    process.kill()
    process.communicate()
    model: dict[str, Array] = {}
    if mode == "a" or (mode == "w" and not commits):
        model["old"] = np.ones(3)
    if commits:
        model["x"] = np.arange(3)
    if model:
        holds(path, model)
    with mxio.Writer(path, "a", sync=False) as w:
        w["z"] = np.arange(5)
    holds(path, model | {"z": np.arange(5)})
    left = [name for name in os.listdir(tmp_path) if name != "x.mxio"]
    assert left == [] or (mode == "w" and not commits)
    with mxio.Writer(path, "w", sync=False) as w:  # which takes over what is left
        w["z"] = np.arange(5)
    assert os.listdir(tmp_path) == ["x.mxio"]


def test_of_many_that_begin_at_once_one_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    barrier = threading.Barrier(8)

    def begin(number: int) -> mxio.Writer | None:
        barrier.wait()
        try:
            return mxio.Writer(path, "xwa"[number % 3], sync=False)
        except (BlockingIOError, FileExistsError):
            return None

    for _ in range(20):
        with ThreadPoolExecutor(8) as pool:
            found = [w for w in pool.map(begin, range(8)) if w is not None]
        assert len(found) == 1
        with found[0] as w:
            w["x"] = np.arange(3)
        holds(path, {"x": np.arange(3)})
        path.unlink()
        assert os.listdir(tmp_path) == []


# ---- readers -----------------------------------------------------------------------------------

READS = """
path, seen = sys.argv[1], set()
print("ready", flush=True)
while True:
    with mxio.open(path) as f:
        n = f.metadata["n"]
        x, y = f["x"][...], f["y"]
        assert len(x) == 100 * n and (x == np.arange(len(x))).all(), (n, len(x))
        assert y.shape == (5000, 7) and (y[...] == n).all(), n
        assert len(f) == 2 + n // 10, (n, list(f))
    seen.add(n)
    if n == 300:
        break
print(len(seen))
"""


def test_a_reader_sees_one_of_the_commits_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    with mxio.Writer(path, sync=False) as w:
        for n in range(301):
            if n:
                w.append("x", np.arange(100 * n - 100, 100 * n))
                w["y"][...] = n
            else:
                w.append("x", np.arange(0))
                w.create("y", (5000, 7), "i4")
            if n and n % 10 == 0:
                w[f"at {n}"] = np.arange(n)
            w.metadata["n"] = n
            w.commit()
            if n == 0:
                process = child(READS, path)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert int(out) >= 2


# ---- threads -----------------------------------------------------------------------------------


def test_threads_append_to_arrays_of_their_own_between_commits(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    done = threading.Event()
    with mxio.Writer(path, sync=False, threads=2) as w:

        def append(number: int) -> None:
            rng = np.random.default_rng(number)
            at = 0
            while at < 60_000:
                n = int(rng.choice([1, 3, 700, 9000]))
                rows = np.arange(at, at + n, dtype="i4")[:, None] * 8 + number + np.zeros(5, "i4")
                w.append(f"array {number}", rows)
                at += n
                if rng.random() < 0.01:
                    w[f"whole {number}"] = np.full(at, number)

        def commit() -> int:
            n = 0
            while not done.is_set():
                w.commit()
                if n == 0 or n % 8 == 0:
                    for name, array in (mxio.load(path) if w.generation else {}).items():
                        number = int(name.split()[1])
                        if name.startswith("array"):
                            wanted = np.arange(len(array))[:, None] * 8 + number
                            assert (array == wanted).all(), name
                        else:
                            assert (array == number).all(), name
                n += 1
            return n

        with ThreadPoolExecutor(6) as pool:
            committing = pool.submit(commit)
            try:
                list(pool.map(append, range(5)))
            finally:
                done.set()
            assert committing.result() > 0
    assert mxio.verify(path) == []
    loaded = mxio.load(path)
    for number in range(5):
        array = loaded[f"array {number}"]
        assert len(array) >= 60_000
        assert (array == np.arange(len(array))[:, None] * 8 + number).all()


@pytest.mark.parametrize("columns", [40, 5000])  # chunks of 409 rows, and of 3
@pytest.mark.parametrize("is_appended", [False, True])
def test_threads_write_regions_of_one_array_between_commits(
    columns: int, is_appended: bool, tmp_path: Path
) -> None:
    n = 4000 if columns == 40 else 200
    path = tmp_path / "x.mxio"
    wanted = np.random.default_rng(0).integers(0, 99, (n, columns), "i4")
    done = threading.Event()
    with mxio.Writer(path, sync=False, threads=2) as w:
        if is_appended:
            for _ in range(0, n, 50):
                w.append("x", np.zeros((50, columns), "i4"))
                w.commit()
        else:
            w.create("x", wanted.shape, "i4")
        x = w["x"]

        def write(number: int) -> None:
            # Blocks of rows and columns, none a whole chunk: no item is written by two.
            rng = np.random.default_rng(number)
            for i in rng.permutation(range(0, n, 23)).tolist():
                cut = np.s_[: columns // 2] if number == 2 else np.s_[columns // 2 + number :: 2]
                x[i : i + 23, cut] = wanted[i : i + 23, cut]

        def commit() -> int:
            k = 0
            while not done.is_set():
                w.commit()
                with mxio.open(path) as f:
                    part = f["x"][...]
                assert ((part == 0) | (part == wanted)).all()
                k += 1
            return k

        with ThreadPoolExecutor(4) as pool:
            committing = pool.submit(commit)
            try:
                list(pool.map(write, range(3)))
            finally:
                done.set()
            assert committing.result() > 0
    holds(path, {"x": wanted})


def test_of_regions_that_overlap_one_is_there_item_by_item(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    with mxio.Writer(path, sync=False) as w:
        x = w.create("x", (100_000,), "i8")

        def write(number: int) -> None:
            for low in range(0, 90_000, 1111):
                x[low : low + 9000] = number

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(1, 5)))
        w.commit()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(5, 9)))
    assert mxio.verify(path) == []
    array = mxio.load(path)["x"]
    assert set(array[:90_000].tolist()) <= {5, 6, 7, 8}


class Slow:
    """A file that writes regions when it may."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.is_there = threading.Event()
        self.may = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def put_pieces(self, *args: Any) -> None:
        self.is_there.set()
        assert self.may.wait(60)
        self._file.put_pieces(*args)


MEANWHILE: dict[str, tuple[Callable[[mxio.Writer], object], bool]] = {
    # What is done while a region is being written, and whether it waits for that.
    "another region": (lambda w: w["x"].__setitem__(np.s_[20:, 0], 5), False),
    "a whole array": (lambda w: w.__setitem__("y", np.ones(9)), False),
    "a pickle": (lambda w: pickle.dumps(w["x"]), False),
    "rows of another": (lambda w: w.append("y", np.ones(9)), True),
    "rows": (lambda w: w.append("x", np.full((3, 4), 2, "f4")), True),
    "a commit": (lambda w: w.commit(), True),
    "the end": (lambda w: w.close(), True),
    "giving up": (lambda w: w.discard(), True),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_what_is_done_while_a_region_is_written(meanwhile: str, tmp_path: Path) -> None:
    work, waits = MEANWHILE[meanwhile]
    path = tmp_path / "x.mxio"
    w = mxio.Writer(path, sync=False)
    w.create("x", (30, 4), "f4")
    w.commit()
    slow = Slow(w._file)
    w._file = slow  # type: ignore[assignment]
    first = threading.Thread(target=w["x"].__setitem__, args=(np.s_[2:25], 7))
    first.start()
    assert slow.is_there.wait(60)
    if not waits:  # or it would be for ever
        slow.may.set()
    second = threading.Thread(target=work, args=(w,))
    second.start()
    if waits:
        second.join(0.05)
        assert second.is_alive()
    slow.may.set()
    first.join()
    second.join()
    w._file = slow._file
    w.close()
    wanted = np.zeros((30, 4), "f4")
    if meanwhile != "giving up":
        wanted[2:25] = 7
    if meanwhile == "another region":
        both = mxio.load(path)["x"][20:25, 0]
        assert set(both.tolist()) <= {5, 7}
        wanted[20:25, 0], wanted[25:, 0] = both, 5
    model: dict[str, Array] = {"x": wanted}
    if meanwhile == "rows":
        model["x"] = np.concatenate([wanted, np.full((3, 4), 2, "f4")])
    if meanwhile in ("a whole array", "rows of another"):
        model["y"] = np.ones(9)
    holds(path, model)


def test_rows_that_wait_while_the_writer_is_closed_are_written_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    w = mxio.Writer(path, sync=False)
    w.create("x", (30, 4), "f4")
    errors: list[Exception] = []
    was = w._idle

    class Idle:
        def wait(self) -> None:  # as if another thread had been the first to go on
            w._n_writing = 0
            w.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(was, name)

    w._idle = Idle()  # type: ignore[assignment]
    w._n_writing = 1
    try:
        w.append("rows", np.ones(3))
    except ValueError as error:
        errors.append(error)
    assert errors or "rows" in mxio.load(path)
