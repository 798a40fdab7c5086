# SPDX-License-Identifier: Apache-2.0
"""Indexing files with arrays: rows from all over a matrix, masks, points.

NumPy says what an index means, here too: results are compared with what the array in memory
gives, in type, shape and every bit, over files whose chunks are as short as one byte.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from craft import Craft, Item

import mxio
from mxio import _core

Array = np.ndarray[Any, Any]

POOL = np.random.default_rng(7).integers(0, 256, 24 << 20, np.uint8)
SHAPES: list[tuple[int, ...]] = [
    *((1,), (7,), (0,), (40,), (5, 6), (1, 9), (8, 1), (3, 0), (0, 4), (3, 4, 5), (2, 1, 7)),
    *((4, 0, 2), (2, 3, 4, 5), (3, 1, 2, 6), (2, 3, 2, 3, 4), (1, 4, 1, 3, 2)),
]
DTYPES = ["bool", "i1", "u2", "f4", "f8", "c16", "S3", "U2", "M8[s]"]


def items(dtype: str, shape: tuple[int, ...], at: int = 0) -> Array:
    """Items from the pool."""
    kind = np.dtype(dtype)
    raw = POOL[at : at + math.prod(shape) * kind.itemsize].copy()
    if kind.kind == "b":
        raw &= 1
    if kind.kind == "U":
        return (raw.view("u4") % 0xD7FF).view(kind).reshape(shape)
    return raw.view(kind).reshape(shape)


def both_orders(array: Array) -> list[Array]:
    return [array, np.asfortranarray(array)] if array.ndim > 1 else [array]


def crafted(arrays: dict[str, Array], chunk_nbytes: int) -> bytes:
    """A file of arrays with chunks of given length; the order is that of the memory."""
    parts = []
    for name, array in arrays.items():
        fortran = array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous
        raw = array.tobytes("F" if fortran else "C")
        chunk = min(chunk_nbytes, len(raw)) or None
        dtype = array.dtype.name if array.dtype.kind not in "SU" else array.dtype.str[1:]
        parts.append(Item(name, dtype, array.shape, raw, int(fortran), chunk_nbytes=chunk))
    return Craft(parts, "dict").build()


def random_points(choice: random.Random, extent: int, shape: tuple[int, ...]) -> Any:
    """Positions in an axis: an array of one of many dtypes, or lists."""
    wrong = choice.random() < 0.01
    flat = [choice.randrange(-extent, extent) if extent else 0 for _ in range(math.prod(shape))]
    if wrong and flat:
        flat[0] = choice.choice([extent, -extent - 1])
    if choice.random() < 0.3:
        flat.sort()
    signed = ["i8", ">i4", "i1", "i2"]
    dtypes = [d for d in [*signed, "u8", "u1"] if min(flat, default=0) >= np.iinfo(d).min
              and max(flat, default=0) <= np.iinfo(d).max]  # fmt: skip
    array = np.array(flat, choice.choice(dtypes)).reshape(shape)
    return array.tolist() if choice.random() < 0.3 and array.size else array


def random_index(choice: random.Random, shape: tuple[int, ...]) -> Any:
    """An index with at least one array in it."""
    while True:
        broadcast = choice.choice([(1,), (3,), (5,), (0,), (2, 3), (9,)])
        given: list[Any] = []
        axis = 0
        until = len(shape) if choice.random() < 0.5 else choice.randrange(len(shape) + 1)
        while axis < until:
            extent = shape[axis]
            kind = choice.randrange(10)
            if kind < 4:
                dims = tuple(1 if choice.random() < 0.2 else n for n in broadcast)
                dims = dims[choice.randrange(len(dims)) :]
                given.append(random_points(choice, extent, dims))
            elif kind == 4:
                n = choice.randint(1, min(2, until - axis))
                random_bits = np.random.default_rng(choice.randrange(1 << 30))
                mask = random_bits.random(shape[axis : axis + n]) < choice.choice([0.4, 0.01])
                as_list = 0 < mask.size < 1000 and choice.random() < 0.2
                given.append(mask.tolist() if as_list else mask)
                axis += n - 1
            elif kind == 5:
                given.append(choice.randrange(-extent, extent) if extent else 0)
            elif kind == 6:
                given.append(slice(None))
            else:
                ends: list[Any] = [
                    choice.choice([None, choice.randint(-extent - 2, extent + 2)]) for _ in "ab"
                ]
                given.append(slice(ends[0], ends[1], choice.choice([None, 1, 2, 3, -1, -2])))
            axis += 1
        if choice.random() < 0.3:
            given.insert(choice.randrange(len(given) + 1), Ellipsis)
        while choice.random() < 0.15:
            given.insert(choice.randrange(len(given) + 1), None)
        if any(isinstance(item, (list, np.ndarray)) for item in given):
            return (
                given[0] if len(given) == 1 and isinstance(given[0], np.ndarray) else tuple(given)
            )


def compare(lazy: mxio.LazyArray, array: Array, index: Any) -> bool:
    """One index: NumPy's answer, or its kind of error."""
    try:
        want = array[index]
    except IndexError:
        with pytest.raises(IndexError):
            lazy[index]
        return False
    got = lazy[index]
    what = (lazy, index)
    assert type(got) is type(want), what
    assert (got.dtype, got.shape) == (want.dtype, want.shape), what
    assert got.tobytes() == want.tobytes(), what
    return True


@pytest.mark.parametrize("name", DTYPES)
def test_any_index_with_arrays_gives_what_numpy_gives(name: str, tmp_path: Path) -> None:
    arrays = {
        f"{shape} {n}": array
        for shape in SHAPES
        for n, array in enumerate(both_orders(items(name, shape)))
    }
    path = tmp_path / "x.mxio"
    mxio.save(path, arrays, sync=False)
    choice = random.Random(name)
    right = 0
    with mxio.open(path) as reader:
        for key, array in arrays.items():
            for _ in range(12):
                right += compare(reader[key], array, random_index(choice, array.shape))
    assert right > 200


@pytest.mark.parametrize("chunk_nbytes", [1, 3, 7, 16, 50, 240])
@pytest.mark.parametrize("limit", [1, 40, 16 << 20])
def test_any_index_with_arrays_gives_what_numpy_gives_whatever_the_chunks(
    chunk_nbytes: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for constant in ("_WINDOW_NBYTES", "_PLACES"):
        monkeypatch.setattr(f"mxio._gather.{constant}", limit)
    arrays = {
        f"{dtype} {shape} {n}": array
        for dtype in ("u1", "f8", "S3", "S70")
        for shape in SHAPES
        for n, array in enumerate(both_orders(items(dtype, shape)))
    }
    choice = random.Random(chunk_nbytes * limit)
    with mxio.open(crafted(arrays, chunk_nbytes)) as reader:
        for name, array in arrays.items():
            for _ in range(4):
                compare(reader[name], array, random_index(choice, array.shape))


@pytest.mark.parametrize("format", ["mxnet", "safetensors", "npz", "deflated", "npy"])
def test_any_index_with_arrays_gives_what_numpy_gives_in_every_format(
    format: str, tmp_path: Path
) -> None:
    choice = random.Random(format)
    arrays = {f"{shape}": items("f4", shape) for shape in SHAPES if math.prod(shape)}
    sources: dict[str, Any] = {}
    if format == "npy":
        for number, (name, array) in enumerate(arrays.items()):
            path = tmp_path / f"{number}.npy"
            np.save(path, np.asfortranarray(array).astype(">f4"))
            sources[name] = (path, "")
    else:
        options: dict[str, Any] = {"compress": True} if format == "deflated" else {}
        data = mxio.dumps(arrays, format=format.replace("deflated", "npz"), **options)
        sources = {name: (data, name) for name in arrays}
    for name, array in arrays.items():
        source, inner = sources[name]
        with mxio.open(source) as reader:
            for _ in range(12):
                compare(reader[inner], array, random_index(choice, array.shape))
            index = random_index(choice, array.shape)
            out = np.zeros(compared_shape(array, index), ">f4").astype("f4")
            if out.size:
                assert reader[inner].read(index, out=out) is out
                assert out.tobytes() == array[index].tobytes()


def compared_shape(array: Array, index: Any) -> tuple[int, ...]:
    try:
        shape: tuple[int, ...] = array[index].shape
        return shape
    except IndexError:
        return (0,)


LARGE: dict[str, tuple[str, tuple[int, ...]]] = {
    "rows longer than a chunk": ("u1", (9, 100_000)),
    "rows longer than a window": ("u1", (3, 4_300_000)),
    "rows of exactly a chunk": ("i2", (12, 32_768)),
    "planes longer than a chunk": ("f4", (20, 120, 150)),
    "short rows": ("f8", (70_000, 5)),
    "a long vector": ("f4", (2_500_000,)),
    "items longer than a chunk": ("S100000", (12,)),
    "5 dims": ("i2", (6, 7, 8, 9, 30)),
}


@pytest.mark.parametrize("kind", LARGE)
def test_any_index_with_arrays_of_a_large_array_gives_what_numpy_gives(
    kind: str, tmp_path: Path
) -> None:
    choice = random.Random(kind)
    path = tmp_path / "x.mxio"
    for saved in both_orders(items(*LARGE[kind])):
        mxio.save(path, saved, sync=False)
        with mxio.open(path, threads=choice.choice([1, 2])) as reader:
            for _ in range(12):
                compare(reader[""], saved, random_index(choice, saved.shape))


# ---- what is read, and how often ----------------------------------------------------------------


class Counting:
    """A file that counts the chunks that are read of its one array, and the calls."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.chunks: list[int] = []
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read_chunks(self, *args: Any) -> None:
        self.calls += 1
        for first, n in zip(args[2], args[3], strict=True):
            self.chunks += range(first, first + n)
        self._file.read_chunks(*args)

    def read_chunk(self, *args: Any) -> Any:
        self.calls += 1
        self.chunks.append(args[2])
        return self._file.read_chunk(*args)


def counting(reader: mxio.Reader, name: str) -> tuple[mxio.LazyArray, Counting]:
    lazy = reader[name]
    lazy._file = file = Counting(lazy._file)  # type: ignore[assignment]
    return lazy, file


def test_rows_are_gathered_in_one_call_and_each_chunk_is_read_once(tmp_path: Path) -> None:
    array = items("f4", (4000, 512))
    path = tmp_path / "x.mxio"
    mxio.save(path, {"x": array}, sync=False)
    rows = np.random.default_rng(1).integers(-4000, 4000, 900)
    with mxio.open(path) as reader:
        lazy, file = counting(reader, "x")
        assert lazy[rows].tobytes() == array[rows].tobytes()
        assert file.calls == 1
        assert file.chunks == sorted(set((rows % 4000 // 32).tolist()))
        file.chunks.clear()
        assert lazy[rows, 5].tobytes() == array[rows, 5].tobytes()
        assert file.chunks == sorted(set((rows % 4000 // 32).tolist()))
        file.chunks.clear()
        assert lazy[[], 5].shape == (0,)
        assert lazy[array[:, 0] > np.inf].shape == (0, 512)
        assert lazy[5:5].shape == (0, 512)
        assert file.chunks == []


def test_windows_read_no_chunk_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    array = items("u2", (300, 7))
    with mxio.open(crafted({"x": array}, 10)) as reader:
        for window in (40, 100, 1000):
            monkeypatch.setattr("mxio._gather._WINDOW_NBYTES", window)
            lazy, file = counting(reader, "x")
            rows = np.random.default_rng(window).permutation(300)
            assert np.array_equal(lazy[rows], array[rows])
            assert file.chunks == list(range(420))
            assert file.calls > 3


def test_a_loop_over_rows_reads_each_chunk_once(tmp_path: Path) -> None:
    array = items("f4", (3000, 100))  # 163 rows to a chunk
    ragged = items("u1", (30, 50_000))  # chunks that hold parts of two rows
    for saved in (array, np.asfortranarray(array), ragged):
        path = tmp_path / "x.mxio"
        mxio.save(path, {"x": saved}, sync=False)
        with mxio.open(path) as reader:
            lazy, file = counting(reader, "x")
            cut = np.s_[:, 0] if saved.flags.f_contiguous else np.s_[0]
            for i in range(saved.shape[int(saved.flags.f_contiguous)]):
                index = (slice(None), i) if isinstance(cut, tuple) else i
                assert lazy[index].tobytes() == saved[index].tobytes()
            n = -(-saved.nbytes // reader.index["x"].chunk_nbytes)
            assert sorted(file.chunks) == list(range(n))


def test_chunks_that_are_kept_are_those_of_their_array(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    arrays = {name: items("i4", (600, 100)) + n for n, name in enumerate("abc")}
    mxio.save(path, {**arrays, "again": arrays["a"]}, sync=False)
    with mxio.open(path) as reader:
        for i in range(0, 600, 7):
            for name, array in arrays.items():
                assert reader[name][i].tobytes() == array[i].tobytes()
                assert reader[name][i, 5:50].tobytes() == array[i, 5:50].tobytes()
            assert reader["again"][i].tobytes() == arrays["a"][i].tobytes()


def test_at_most_8_mib_of_chunks_are_kept_and_they_go_with_the_reader() -> None:
    array = items("u1", (20 << 20,))
    with mxio.open(mxio.dumps({"x": array})) as reader:
        lazy, file = counting(reader, "x")
        kept = reader.index.kept
        for at in range(5, array.size, 65536):
            assert lazy[at] == array[at]
            assert lazy[at + 1] == array[at + 1]
            assert kept.nbytes <= 8 << 20
        assert sum(chunk.nbytes for chunk in kept._often.values()) == 8 << 20
        for at in range(7, 8 << 20, 65536):
            assert lazy[at] == array[at]
            assert kept.nbytes <= 8 << 20
        assert sum(chunk.nbytes for chunk in kept._once.values()) == 1 << 19
        assert kept.nbytes == 8 << 20
        file.chunks.clear()
        assert lazy[-1] == array[-1]
        assert lazy[0] == array[0]
        assert file.chunks == [0]
    assert not kept._often
    assert not kept._once


def test_a_chunk_that_fails_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    mxio.save(path, {"x": POOL[:200_000]}, sync=False)
    with mxio.open(path) as reader:
        offset = reader.index["x"].offset
        good = path.read_bytes()
        with path.open("r+b") as file:
            file.seek(offset + 70_000)
            file.write(bytes([good[offset + 70_000] ^ 1]))
        for index in (70_001, [70_001], np.s_[60_000:70_000]):
            for _ in range(2):
                with pytest.raises(mxio.ChecksumError) as caught:
                    reader["x"][index]
                assert (caught.value.name, caught.value.chunk) == ("x", 1)
        with path.open("r+b") as file:
            file.write(good)
        assert reader["x"][70_001] == POOL[70_001]


def test_runs_of_chunks_that_are_not_there_are_not_read() -> None:
    with mxio.open(mxio.dumps({"x": POOL[:200_000]})) as reader:
        handle, file = reader.index.handle, reader._file
        into = np.zeros(300_000, np.uint8)
        runs: list[tuple[list[int], list[int]]] = [
            *(([4], [1]), ([3], [2]), ([0, 0], [1, 1]), ([1, 0], [1, 1]), ([0], [0])),
            *(([2**60], [1]), ([1], [2**63])),
        ]
        for firsts, counts in runs:
            with pytest.raises(SystemError):
                file.read_chunks(handle, 0, firsts, counts, into, True, 1)
        with pytest.raises(SystemError, match="shorter"):
            file.read_chunks(handle, 0, [0, 3], [1, 1], into[:66_000], True, 1)
        file.read_chunks(handle, 0, [0, 3], [1, 1], into[:68_928], True, 1)
        assert into[:65536].tobytes() == POOL[:65536].tobytes()
        assert into[65536:68_928].tobytes() == POOL[196_608:200_000].tobytes()
        with pytest.raises(IndexError):
            file.check(handle, [1], 1, None)
        with pytest.raises(IndexError):
            handle.entries([1])
        with pytest.raises(SystemError, match="does not lie"):
            file.read_into(handle, [0], [into], True, 1)
        assert isinstance(file, _core.File)


# ---- what is no index ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([0, 3], r"index 3 is out of bounds for axis 0 of 'name' with size 3"),
        ((slice(None), [-5, 0]), r"index -5 is out of bounds for axis 1 of 'name' with size 4"),
        (np.array([2**64 - 1], "u8"), r"index 18446744073709551615 is out of bounds for axis 0"),
        (np.array([-(2**63)]), r"index -9223372036854775808 is out of bounds"),
        (([0, 1], [0, 1, 2]), r"cannot be broadcast together: \(2,\) \(3,\)"),
        ([True, False], r"a mask for 'name' has 2 items along axis 0, which has 3"),
        (np.ones((3, 5), bool), r"a mask for 'name' has 5 items along axis 1, which has 4"),
        (np.ones((3, 4, 1), bool), r"too many indices for 'name': it has 2 dimensions, 3 were"),
        ((0, [0], 0), r"too many indices"),
        ((..., [0], ...), r"ellipsis"),
        ([0.0], r"takes integers, slices"),
    ],
)
def test_an_index_with_arrays_that_does_not_fit_is_refused_in_words(
    index: Any, message: str
) -> None:
    with (
        mxio.open(mxio.dumps({"name": items("f4", (3, 4))})) as reader,
        pytest.raises(IndexError, match=message),
    ):
        reader["name"][index]
