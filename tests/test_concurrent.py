# SPDX-License-Identifier: Apache-2.0
"""Several processes and threads at one file, and Ctrl-C at any moment.

What is read is always a whole file; of saves at once each is whole, and the last one stays.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside import apart, child

import mxio
from mxio import _core

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

FORMATS: dict[str, dict[str, Any]] = {
    "mxio": {},
    "mxnet": {},
    "safetensors": {},
    "npz": {},
    "npz deflated": {"compress": True},
    "npy": {},
}


def contents(version: int, format: str = "mxio") -> Any:
    """Arrays of which each item says the version; the length differs, too."""
    large = np.full(20_000 + 997 * (version % 7), version, "i4")
    if format == "npy":
        return large
    return {"large": large} | {f"{n}": np.full((n, 3), version, "i4") for n in range(1, 6)}


def version_of(source: Any) -> int:
    """Return the version of a file that is whole, and of one save only."""
    found = mxio.load(source)
    format = "npy" if isinstance(found, np.ndarray) else "mxio"
    version = int((found if format == "npy" else found["large"])[0])
    wanted = contents(version, format)
    if format == "npy":
        np.testing.assert_array_equal(found, wanted)
        return version
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
    return version


def save(path: Path, version: int, format: str) -> None:
    name = format.split()[0]
    mxio.save(path, contents(version, name), format=name, sync=False, **FORMATS[format])


# ---- saves at once ----


def spans_of_saves(path: Path, versions: range, format: str) -> list[tuple[int, int, int]]:
    """Save one version after another; when the last one began and ended, of which version."""
    span = 0, 0, 0
    for version in versions:
        begun = time.monotonic_ns()
        save(path, version, format)
        span = begun, time.monotonic_ns(), version
    return [span]


def is_right(last: int, spans: list[tuple[int, int, int]]) -> bool:
    """Whether a version may be what is left: no save began after that one had ended."""
    latest = max(begun for begun, _, _ in spans)
    return any(version == last and ended >= latest for _, ended, version in spans)


@pytest.mark.parametrize("format", FORMATS)
def test_two_processes_save_one_path_and_readers_see_whole_files_only(
    format: str, tmp_path: Path
) -> None:
    path = tmp_path / "folder" / "x"
    path.parent.mkdir()
    save(path, 0, format)

    enough = tmp_path / "enough"

    def work(number: int) -> None:
        while True:
            spans = spans_of_saves(path, range(100 * number, 100 * number + 40), format)
            if enough.exists():
                break
        (tmp_path / f"{number}").write_text(json.dumps(spans))

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(apart, lambda number=number: work(number)) for number in (1, 2)]
        seen = set()
        while not all(job.done() for job in jobs):
            seen.add(version_of(path))
            if len(seen) > 1:
                enough.touch()
            with mxio.open(path) as reader:
                assert len(reader) == (1 if format == "npy" else 6)
        for job in jobs:
            job.result()  # each save succeeded
    spans = [
        (begun, ended, version)
        for number in (1, 2)
        for begun, ended, version in json.loads((tmp_path / f"{number}").read_text())
    ]
    assert len(seen) > 1
    assert is_right(version_of(path), spans)
    assert mxio.verify(path) == []
    assert os.listdir(path.parent) == ["x"]


@pytest.mark.parametrize("format", FORMATS)
def test_eight_threads_save_one_path(format: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    save(path, 0, format)
    begin = threading.Barrier(9)

    def work(number: int) -> list[tuple[int, int, int]]:
        begin.wait(60)
        return spans_of_saves(path, range(100 * number, 100 * number + 12), format)

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(work, number) for number in range(1, 9)]
        begin.wait(60)
        seen = set()
        while not all(job.done() for job in jobs):
            seen.add(version_of(path))
        spans = [span for job in jobs for span in job.result()]
    assert len(seen) > 1
    assert is_right(version_of(path), spans)
    assert mxio.verify(path) == []
    assert os.listdir(tmp_path) == ["x"]


def test_saves_copies_and_compactions_of_one_path_at_once(tmp_path: Path) -> None:
    """A compaction that comes in between is refused or puts back what it has read."""
    path, others = tmp_path / "folder" / "x", [tmp_path / "a.npz", tmp_path / "b.mxio"]
    path.parent.mkdir()
    save(path, 0, "mxio")
    for number, other in enumerate(others, 50):
        save(other, number, "npz" if other.suffix == ".npz" else "mxio")
    begin = threading.Barrier(6)

    def work(number: int) -> None:
        begin.wait(60)
        for n in range(15):
            if number < 2:
                save(path, 10 * number + n % 10, "mxio")
            elif number < 4:
                mxio.copy(others[number - 2], path, format="mxio", sync=False)
            else:
                try:
                    mxio.compact(path, sync=False)
                except BlockingIOError:
                    busy.append(number)
            version_of(path)

    busy: list[int] = []
    with ThreadPoolExecutor(6) as pool:
        for job in [pool.submit(work, number) for number in range(6)]:
            job.result()
    assert version_of(path) in {*range(20), 50, 51}
    assert mxio.verify(path) == []
    assert os.listdir(path.parent) == ["x"]


# ---- one reader, many threads, forks ----


@pytest.mark.parametrize("kind", ["mxio", "npz deflated", "safetensors"])
def test_threads_and_children_read_from_one_reader(kind: str, tmp_path: Path) -> None:
    """Children begin while threads of the parent are in the middle of a read."""
    rng = np.random.default_rng(7)
    saved = {"a": rng.integers(0, 1 << 20, (2000, 37), "i4"), "b": rng.random((500, 30))}
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("a child may find a dict locked by a thread it has not: CPython without a GIL")
    path = tmp_path / "x"
    name = kind.split()[0]
    mxio.save(path, saved, format=name, sync=False, **FORMATS[kind])
    stop = threading.Event()
    counts = [0] * 8
    with mxio.open(path, threads=2) as reader:
        lazy = reader["a"]

        def read(number: int, chooses: random.Random) -> None:
            at = chooses.randrange(1900)
            rows = [chooses.randrange(2000) for _ in range(5)]
            if number % 4 == 0:
                np.testing.assert_array_equal(
                    lazy[at : at + 90, ::3], saved["a"][at : at + 90, ::3]
                )
            elif number % 4 == 1:
                np.testing.assert_array_equal(lazy[rows], saved["a"][rows])
            elif number % 4 == 2:
                np.testing.assert_array_equal(reader.read(["b"])["b"], saved["b"])
            else:
                out = np.zeros((90, 37), "i4")
                lazy.read(slice(at, at + 90), out=out)
                np.testing.assert_array_equal(out, saved["a"][at : at + 90])

        def busy(number: int) -> None:
            chooses = random.Random(number)
            while not stop.is_set():
                read(number, chooses)
                counts[number] += 1

        def work() -> None:
            chooses = random.Random(9)
            for number in range(20):
                read(number, chooses)
            threads = [threading.Thread(target=read, args=(n, random.Random(n))) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(busy, number) for number in range(8)]
            try:
                for _ in range(12):
                    apart(work)
            finally:
                stop.set()
            for job in jobs:
                job.result()
    assert min(counts) > 0


def test_a_commit_between_opening_a_file_and_reading_its_head_is_no_damage(tmp_path: Path) -> None:
    """The head then says that the file is longer than it was."""
    path = tmp_path / "x"
    mxio.save(path, contents(1), sync=False)
    early, late = (_core.File.open(os.fsencode(path), "x") for _ in range(2))
    with mxio.Writer(path, "a", sync=False) as w:
        w["more"] = np.arange(100_000)
        w.commit()
        index = early.index()
        assert index.names() == [*contents(1), "more"]
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(mxio.FormatError, match="cut short"):
        late.index()
    for file in (early, late):
        file.close()


# ---- files that are replaced or cut while they are open ----


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_open_or_mapped_keeps_its_contents_when_its_path_is_replaced(
    format: str, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    save(path, 3, format)
    with mxio.open(path) as reader:
        mapped = mxio.load(path, mmap=True)
        first = next(iter(reader))
        part = reader[first][:2]
        save(path, 4, format)
        path.unlink()
        save(path, 5, format)
        array = mapped if format == "npy" else mapped["large"]
        np.testing.assert_array_equal(array, contents(3, "npy"))
        np.testing.assert_array_equal(reader[first][:2], part)
        lazy = reader["" if format == "npy" else "large"]
        np.testing.assert_array_equal(lazy[...], contents(3, "npy"))
        array[:] = 9
    assert version_of(path) == 5


@pytest.mark.parametrize("nbytes", [0, 7, 5000, 50_000])
@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_is_cut_short_after_it_was_opened_is_an_error_that_names_it(
    format: str, nbytes: int, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    rng = np.random.default_rng(1)  # which cannot be deflated to less than is cut off
    array = rng.integers(0, 256, 300_000, np.uint8)
    name = format.split()[0]
    saved: Any = array if name == "npy" else {"w": array}
    mxio.save(path, saved, format=name, sync=False, **FORMATS[format])
    with mxio.open(path) as reader:
        lazy = reader["" if name == "npy" else "w"]
        os.truncate(path, nbytes)
        reads: list[Callable[[], object]] = [
            lambda: lazy[-1],
            lambda: lazy[...],
            lambda: lazy[[5, 299_999]],
            lambda: lazy.read(out=np.zeros(300_000, np.uint8)),
            lambda: reader.read(),
        ]
        for read in reads:
            with pytest.raises((mxio.FormatError, OSError)) as caught:
                read()
            assert str(path) in str(caught.value)
    with pytest.raises(mxio.FormatError, match="x"):
        mxio.load(path)


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_pickled_is_refused_elsewhere_once_the_file_was_replaced(
    format: str, tmp_path: Path
) -> None:
    """Another process gets the file that was meant, or an error."""
    path = tmp_path / "x"
    save(path, 3, format)
    with mxio.open(path) as reader:
        packed = pickle.dumps((reader, next(iter(reader.values()))))

    def read(works: bool) -> None:
        if works:
            again, lazy = pickle.loads(packed)
            assert lazy[0].tolist() in (3, [3, 3, 3])
            again.close()
        else:
            with pytest.raises(mxio.FormatError, match="is another file than the one that was"):
                pickle.loads(packed)

    apart(lambda: read(True))
    save(path, 4, format)
    if format != "mxio":  # whatever the clock's steps
        os.utime(path, ns=(0, os.stat(path).st_mtime_ns + 1))
    apart(lambda: read(False))


# ---- Ctrl-C ----

DRIVER = """
import json, signal, time
from pathlib import Path
folder, what = Path(sys.argv[1]), sys.argv[2]
path, source = folder / "x", folder.parent / "source"
rng = np.random.default_rng(3)
old = {f"{n}": rng.random((n, 50)) for n in range(120)} | {"w": rng.random(200_000)}
new = {name: array + 1 for name, array in old.items()} | {"more": np.arange(5)}
mxio.save(source, new, format="npz", sync=False)
writer = None

def prepare():
    global writer
    mxio.save(path, old, sync=False)
    if what in ("compact", "commit"):
        with mxio.Writer(path, "a", sync=False) as w:
            for n in range(3):
                w.append("rows", np.full((200, 50), n))
                w.commit()
    if what == "commit":
        writer = mxio.Writer(path, "a", sync=False)
        writer.update({name: new[name] for name in new})
        writer.append("rows", np.full((5000, 50), 3))

def work():
    if what == "save":
        mxio.save(path, new)
    elif what == "load":
        assert len(mxio.load(path)) == len(old)
    elif what == "copy":
        mxio.copy(source, path, format="mxio")
    elif what == "compact":
        mxio.compact(path)
    else:
        writer.commit()

def judge():
    global writer
    if writer is not None:
        writer.discard()
        writer = None
    assert os.listdir(folder) == ["x"], os.listdir(folder)
    assert mxio.verify(path) == []
    found = mxio.load(path)
    rows = found.pop("rows", None)
    is_new = "more" in found
    wanted = new if is_new else old
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    if what in ("compact", "commit"):
        n = 5600 if is_new else 600
        assert rows.shape == (n, 50) and (rows[:, 0] == np.arange(n).clip(0, 799) // 200).all()
    else:
        assert rows is None
    # The next one has nothing in its way.
    mxio.Writer(path, "a").close()
    return is_new

def open_files():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

prepare()
begun = time.monotonic()
work()
took = time.monotonic() - begun
judge()
before = open_files()
print("ready", flush=True)
print(took, flush=True)
for _ in range(int(sys.argv[3])):
    prepare()
    is_done = is_told = False
    try:
        print("begin", flush=True)
        work()
        is_done = True
        for _ in range(2000):  # the signal is on its way
            time.sleep(0.01)  # of which the beginning may miss it
    except KeyboardInterrupt:
        is_told = True
    try:
        is_new = judge()
        assert open_files() == before, "files are left open"
        wrong = None if is_told else "the signal was swallowed"
    except BaseException as error:
        wrong = repr(error)
    print(json.dumps([is_done, is_new, wrong]), flush=True)
"""


@pytest.mark.parametrize("what", ["save", "load", "copy", "compact", "commit"])
def test_ctrl_c_leaves_the_old_file_or_the_new_one_and_nothing_else(
    what: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    chooses = random.Random(what)
    process = child(DRIVER, tmp_path / "folder", what, 30)
    assert process.stdout is not None
    assert process.stdin is not None
    took = float(process.stdout.readline())
    told = []
    try:
        for _ in range(30):
            assert process.stdout.readline() == "begin\n"
            time.sleep(chooses.random() * took)
            process.send_signal(signal.SIGINT)
            told.append(json.loads(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()
    wrongs = [wrong for _, _, wrong in told if wrong]
    # Python drops what is raised while it runs a finalizer: once in hundreds, after the work.
    assert wrongs in ([], ["the signal was swallowed"])
    assert all(is_done for is_done, _, wrong in told if wrong)
    # Some came while it was at work; what was done is there.
    assert not all(is_done for is_done, _, _ in told)
    if what not in ("load", "compact"):
        assert all(is_new for is_done, is_new, _ in told if is_done)
        assert not all(is_new for _, is_new, _ in told)
