# SPDX-License-Identifier: Apache-2.0
"""Many arrays, many rows, many commits: what a Writer takes of memory and of the file."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import mxio

MIB = 1 << 20


def test_many_small_arrays_wait_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    n = 10_000
    array = np.arange(25, dtype="f4")
    tracemalloc.start()
    try:
        with mxio.Writer(path, sync=False) as w:
            before = tracemalloc.get_traced_memory()[0]
            for i in range(n):
                w[f"array {i}"] = array + i
            w.commit()
            peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 24 * MIB
    loaded = mxio.load(path)
    assert list(loaded) == [f"array {i}" for i in range(n)]
    assert all((loaded[f"array {i}"] == array + i).all() for i in range(n))
    # 128 bytes for each array's data, and an entry of the index.
    assert path.stat().st_size < n * 300


def test_many_arrays_grow_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    n = 15_000  # with a page of each they are more than may wait
    with mxio.Writer(path, sync=False) as w:
        for k in range(3):
            for i in range(n):
                w.append(f"{i}", np.full((1, 4), i + k, "f4"))
            assert w._generations.waiting_nbytes <= 49 * MIB
            if k:
                w.commit()
    with mxio.open(path) as f:
        assert f.index.handle.n_chain == 1
    wanted = np.arange(3, dtype="f4")[:, None] + np.zeros((1, 4), "f4")
    loaded = mxio.load(path)
    assert len(loaded) == n
    assert all((loaded[f"{i}"] == wanted + i).all() for i in range(n))
    assert mxio.verify(path) == []
    # Of each array each commit writes 64 bytes and an entry.
    assert path.stat().st_size < n * 1200
    mxio.compact(path)
    assert path.stat().st_size < n * 200
    assert all((array == wanted + int(name)).all() for name, array in mxio.load(path).items())


@pytest.mark.parametrize("closes", [False, True])
def test_many_commits_of_one_row(closes: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    n = 300 if closes else 2000
    w = mxio.Writer(path, sync=False)
    for i in range(n):
        w.append("x", np.full((1, 8), i, "f4"))
        if closes:
            w.close()
            w = mxio.Writer(path, "a", sync=False)
        else:
            w.commit()
        if i % 100 == 0:
            with mxio.open(path) as f:
                assert f.index.handle.n_chain <= 33
                assert f["x"].shape == (i + 1, 8)
    w.close()
    wanted = np.arange(n, dtype="f4").repeat(8).reshape(n, 8)
    with mxio.open(path) as f:
        assert f.index.handle.n_chain == 1
        assert len(f.index.handle.runs(0)) <= 16
        assert np.array_equal(f["x"][...], wanted)
    # A page of each commit, its index, and room for the chunk that is not full yet.
    assert path.stat().st_size < n * 3 * 4096 + MIB
    mxio.compact(path)
    assert path.stat().st_size < wanted.nbytes + 16384
    assert np.array_equal(mxio.load(path)["x"], wanted)


def test_arrays_and_rows_of_one_byte(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    n = 70_000  # more than a chunk
    with mxio.Writer(path, sync=False) as w:
        for i in range(n):
            w.append("rows", np.array([i & 255], "u1"))
        for i in range(2000):
            w[f"{i}"] = np.array([i & 255], "u1")
            if i % 500 == 0:
                w.commit()
    loaded = mxio.load(path)
    assert np.array_equal(loaded["rows"], (np.arange(n) & 255).astype("u1"))
    assert all(loaded[f"{i}"].tolist() == [i & 255] for i in range(2000))
    assert mxio.verify(path) == []


def test_rows_of_eight_bytes_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    n = 300_000  # more than waits at once
    row = np.zeros(1)
    with mxio.Writer(path, sync=False) as w:
        for i in range(n):
            row[0] = i
            w.append("x", row)
            assert w._generations.waiting_nbytes <= MIB
    assert np.array_equal(mxio.load(path)["x"], np.arange(n))
    assert path.stat().st_size < 8 * n + 16384
    mapped = mxio.load(path, mmap=True)["x"]
    assert not mapped.flags.owndata


@pytest.mark.parametrize("is_behind", [False, True])
def test_one_append_larger_than_any_buffer_is_written_as_it_lies(
    is_behind: bool, tmp_path: Path
) -> None:
    path = tmp_path / "x.mxio"
    rows = np.arange(40_000_000, dtype="u4").reshape(-1, 1000)
    before = np.ones((3 if is_behind else 0, 1000), "u4")
    tracemalloc.start()
    try:
        with mxio.Writer(path, sync=False) as w:
            w.append("x", before)
            tracemalloc.reset_peak()
            start = tracemalloc.get_traced_memory()[0]
            w.append("x", rows)
            assert tracemalloc.get_traced_memory()[1] - start < 2 * MIB
            w.append("x", rows[:3])
    finally:
        tracemalloc.stop()
    assert np.array_equal(mxio.load(path)["x"], np.concatenate([before, rows, rows[:3]]))


def test_an_array_of_nothing_and_rows_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    with mxio.Writer(path, sync=False) as w:
        for _ in range(1000):
            w.append("rows", np.zeros((5, 0, 3), "f4"))
        w.append("none", np.zeros((0, 3)))
        w.commit()
        w.append("rows", np.zeros((1, 0, 3), "f4"))
        for _ in range(1000):
            w.append("none", np.zeros((0, 3)))
    loaded = mxio.load(path)
    assert loaded["rows"].shape == (5001, 0, 3)
    assert loaded["none"].shape == (0, 3)
    assert mxio.verify(path) == []
