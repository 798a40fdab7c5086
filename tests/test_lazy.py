# SPDX-License-Identifier: Apache-2.0
"""Reading a part of a file: mxio.open, LazyArray and Reader.

NumPy says what an index means: whatever a LazyArray gives is compared bit for bit, with its
type and shape, with what the array in memory gives. Files of craft.py, in which a chunk may be
as short as one byte, take small arrays through all that large ones go through; damage on the
disk shows which chunks were read.
"""

from __future__ import annotations

import contextlib
import io
import math
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from craft import Craft, Item

import mxio

ml_dtypes: Any = None
with contextlib.suppress(ImportError):
    import ml_dtypes

Array = np.ndarray[Any, Any]

POOL = np.random.default_rng(23).integers(0, 256, 24 << 20, np.uint8)
SHAPES: list[tuple[int, ...]] = [
    *((), (1,), (7,), (0,), (5, 6), (1, 9), (8, 1), (3, 0), (0, 4), (3, 4, 5), (2, 1, 7)),
    *((4, 0, 2), (2, 3, 4, 5), (3, 1, 2, 6), (2, 3, 2, 3, 4), (1, 4, 1, 3, 2)),
]
DTYPES = ["bool", "i1", "u2", "f4", "f8", "c16", "S3", "U2", "M8[s]", "m8"]
if ml_dtypes is not None:
    DTYPES += ["bfloat16", "float8_e4m3fn", "int4"]


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def items(name: str, shape: tuple[int, ...], at: int = 0) -> Array:
    """Items from the pool."""
    dtype = dtype_of(name)
    raw = POOL[at : at + math.prod(shape) * dtype.itemsize]
    if dtype.kind == "b" or dtype.name == "int4":
        return (raw & 1).astype(dtype).reshape(shape)
    if dtype.kind == "U":
        return (raw.copy().view("u4") % 0xD7FF).view(dtype).reshape(shape)
    return raw.copy().view(dtype).reshape(shape)


def random_index(choice: random.Random, shape: tuple[int, ...]) -> Any:
    """A basic index of any kind, now and then one that lies outside of the array."""
    given: list[Any] = []
    for extent in shape[: choice.choice([len(shape), choice.randrange(len(shape) + 1)])]:
        kind = choice.randrange(12)
        if kind < 3:
            n = choice.randrange(-extent, extent) if extent else 0
            n += choice.choice([0] * 30 + [extent, -2 * extent - 1])
            kinds: list[Any] = [int, np.int64, np.int32, np.uint32 if n >= 0 else np.intp]
            given.append(choice.choice(kinds)(n))
        elif kind < 5:
            given.append(slice(None))
        elif kind == 5:
            given.append(slice(choice.randrange(extent + 1), choice.randrange(extent + 1)))
        else:
            start, stop = (choice.randint(-extent - 2, extent + 2) for _ in range(2))
            steps: list[Any] = [None, 1, 1, 2, 3, extent + 1, -1, -2, -3, -extent - 1, np.int32(2)]
            some = [choice.choice([None, start]), choice.choice([None, stop]), choice.choice(steps)]
            given.append(slice(*some))
    if choice.random() < 0.3:
        at = len(given) if len(given) == len(shape) else None
        at = choice.randrange(len(given) + 1) if at is None or choice.random() < 0.7 else at
        head, tail = given[:at], given[at:]
        given = [*head, Ellipsis, *tail]
    elif choice.random() < 0.03:
        given += [0] * (len(shape) + 1 - len(given))
    while choice.random() < 0.15:
        given.insert(choice.randrange(len(given) + 1), None)
    if len(given) == 1 and choice.random() < 0.7:
        return given[0]
    return tuple(given)


def assert_equal(got: Any, want: Any, what: object = "") -> None:
    """Equal bit by bit, and in what it is: an array, also one without dims, or an item."""
    assert type(got) is type(want), what
    assert got.dtype == want.dtype, what
    assert got.shape == want.shape, what
    assert got.tobytes() == want.tobytes(), what


def compare(lazy: mxio.LazyArray, array: Array, index: Any) -> None:
    """One index: NumPy's answer, or its kind of error."""
    try:
        want = array[index]
    except IndexError:
        with pytest.raises(IndexError):
            lazy[index]
    else:
        assert_equal(lazy[index], want, (lazy, index))


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


def both_orders(array: Array) -> list[Array]:
    return [array, np.asfortranarray(array)] if array.ndim > 1 else [array]


def of_all_shapes(*dtypes: str) -> dict[str, Array]:
    return {
        f"{dtype} {shape} {n}": array
        for dtype in dtypes
        for shape in SHAPES
        for n, array in enumerate(both_orders(items(dtype, shape)))
    }


# ---- what an index means ----------------------------------------------------------------------


@pytest.mark.parametrize("name", DTYPES)
def test_any_basic_index_gives_what_numpy_gives(name: str, tmp_path: Path) -> None:
    saved = of_all_shapes(name)
    path = tmp_path / "x.mxio"
    mxio.save(path, saved, sync=False)
    choice = random.Random(name)
    with mxio.open(path) as reader:
        for key, array in saved.items():
            for _ in range(12):
                compare(reader[key], array, random_index(choice, array.shape))


@pytest.mark.parametrize("chunk_nbytes", [1, 3, 7, 16, 50, 240])
@pytest.mark.parametrize("group_nbytes", [1, 64, 4 << 20])
def test_any_basic_index_gives_what_numpy_gives_whatever_the_chunks(
    chunk_nbytes: int, group_nbytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mxio._lazy._GROUP_NBYTES", group_nbytes)
    arrays = of_all_shapes("u1", "f8", "S3", "S70")
    data = crafted(arrays, chunk_nbytes)
    choice = random.Random(chunk_nbytes * group_nbytes)
    with mxio.open(data) as reader:
        for name, array in arrays.items():
            for _ in range(4):
                compare(reader[name], array, random_index(choice, array.shape))


LARGE: dict[str, tuple[str, tuple[int, ...]]] = {
    "rows longer than a chunk": ("u1", (9, 100_000)),
    "rows longer than two chunks": ("f8", (5, 40_000)),
    "rows longer than 4 MiB": ("u1", (3, 5_000_000)),
    "rows of exactly a chunk": ("i2", (12, 32_768)),
    "planes longer than 4 MiB": ("f4", (2, 1500, 800)),
    "planes longer than a chunk": ("f4", (20, 120, 150)),
    "short rows": ("f8", (70_000, 5)),
    "a long vector": ("f4", (2_500_000,)),
    "items longer than a chunk": ("S100000", (12,)),
    "items longer than two chunks": ("S200000", (4, 3)),
    "items longer than 4 MiB": ("S4200000", (4,)),
    "5 dims": ("i2", (6, 7, 8, 9, 30)),
}


@pytest.mark.parametrize("kind", LARGE)
def test_any_basic_index_of_a_large_array_gives_what_numpy_gives(kind: str, tmp_path: Path) -> None:
    array = items(*LARGE[kind])
    path = tmp_path / "x.mxio"
    choice = random.Random(kind)
    for saved in both_orders(array):
        mxio.save(path, saved, sync=False)
        with mxio.open(path, threads=choice.choice([1, 2])) as reader:
            for _ in range(30):
                compare(reader[""], saved, random_index(choice, saved.shape))
        path.unlink()


@pytest.mark.parametrize("itemsize", [65536, 131072, 131073, 200_000])
def test_items_longer_than_chunks_are_picked_by_step(itemsize: int) -> None:
    array = items(f"S{itemsize}", (6,))
    with mxio.open(mxio.dumps({"x": array, "y": array.reshape(2, 3)})) as reader:
        for index in (np.s_[::2], np.s_[::-2], np.s_[1:6:3], np.s_[2:4], 3, -1, ...):
            compare(reader["x"], array, index)
        pairs = (np.s_[:, 1], np.s_[:, ::2], np.s_[::-1, 2:0:-1], np.s_[1, 1], np.s_[:, :1])
        for pair in pairs:
            compare(reader["y"], array.reshape(2, 3), pair)


def test_an_index_of_none_adds_an_axis() -> None:
    array = items("f4", (3, 4))
    with mxio.open(mxio.dumps({"x": array, "no dims": array[0, 0, ...]})) as reader:
        indices: list[Any] = [None, (None,), (None, None), (), ..., (None, ...), (..., None)]
        for index in indices:
            compare(reader["no dims"], array[0, 0, ...], index)
            compare(reader["x"], array, index)
        assert reader["x"].read(None).shape == (3, 4)


# ---- what is no index -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "index",
    [
        *(True, False, np.True_, [0.5, 1], 1.0, np.float64(1), "a", b"a", 1j, ["a"], [None]),
        *(np.array(True), np.array(1.5), {0}, {"a": 1}, np.array([1.0]), np.zeros(0), [1, 2**70]),
        *((slice(None), True), (0, 1.5), (0, np.array(["1"])), (..., {0}), object),
    ],
    ids=repr,
)
def test_what_is_no_index_is_refused_in_words(index: Any) -> None:
    with mxio.open(mxio.dumps({"name": items("f4", (3, 4))})) as reader:
        with pytest.raises(IndexError, match="'name' takes integers, slices"):
            reader["name"][index]
        with pytest.raises(IndexError, match="'name' takes integers, slices"):
            reader["name"].read(index)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (3, r"index 3 is out of bounds for axis 0 of 'name' with size 3"),
        (-4, r"index -4 is out of bounds for axis 0 of 'name' with size 3"),
        ((..., 4), r"index 4 is out of bounds for axis 1 of 'name' with size 4"),
        ((0, 10**30), r"out of bounds for axis 1 of 'name'"),
        ((None, -4, ...), r"out of bounds for axis 0 of 'name'"),
        ((0, 1, 2), r"too many indices for 'name': it has 2 dimensions, 3 were indexed"),
        ((0, ..., slice(None), 0), r"too many indices"),
        ((..., 0, ...), r"ellipsis"),
    ],
)
def test_an_index_outside_of_the_array_is_refused_in_words(index: Any, message: str) -> None:
    reader = mxio.open(mxio.dumps({"name": items("f4", (3, 4))}))
    with pytest.raises(IndexError, match=message):
        reader["name"][index]


def test_slices_of_odd_numbers_are_numpys() -> None:
    array = items("i2", (3, 4))
    with mxio.open(mxio.dumps(array)) as reader:
        for index in (np.s_[:: 10**30], np.s_[:: -(10**30), ::2], np.s_[-(10**30) : 10**30 : -1]):
            compare(reader[""], array, index)
        for wrong in (slice(None, None, 0), slice(1.0, None)):
            with pytest.raises((ValueError, TypeError), match=r"slice (step|indices)"):
                reader[""][wrong]


# ---- into an array of the caller --------------------------------------------------------------


def outs(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Array]:
    """Arrays of a shape in many layouts."""
    yield np.zeros(shape, dtype)
    yield np.zeros(shape, dtype, "F")
    wide = np.zeros(tuple(2 * n + 1 for n in shape), dtype)
    every_second: Any = (..., *(slice(1, 2 * n + 1, 2) for n in shape))
    yield wide[every_second]
    backwards: Any = (..., *(slice(None, None, -1) for _ in shape))
    yield np.zeros(shape, dtype)[backwards]
    yield np.zeros(shape[::-1], dtype).T
    yield np.zeros((2, *shape), dtype)[1, ...]
    yield np.zeros((*shape, 3), dtype)[..., 1]
    size = math.prod(shape) * dtype.itemsize
    if dtype.kind != "V" and dtype.isbuiltin == 1:
        yield np.frombuffer(bytearray(size + 1), np.uint8)[1:].view(dtype).reshape(shape)


@pytest.mark.parametrize("chunk_nbytes", [5, 64, 1 << 16])
@pytest.mark.parametrize("group_nbytes", [100, 4 << 20])
def test_a_region_is_read_into_any_array_of_its_shape(
    chunk_nbytes: int, group_nbytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mxio._lazy._GROUP_NBYTES", group_nbytes)
    arrays = of_all_shapes("u1", "f8", "S3")
    data = crafted(arrays, chunk_nbytes)
    choice = random.Random(chunk_nbytes)
    with mxio.open(data) as reader:
        for name, array in arrays.items():
            for index in (None, ..., random_index(choice, array.shape)):
                try:
                    want = np.array(array[... if index is None else index], array.dtype)
                except IndexError:
                    continue
                for out in outs(want.shape, array.dtype):
                    assert reader[name].read(index, out=out) is out
                    assert_equal(np.ascontiguousarray(out).reshape(want.shape), want.copy(), name)


@pytest.mark.parametrize("kind", ["short rows", "rows longer than two chunks", "5 dims"])
def test_a_large_region_is_read_into_strided_arrays(kind: str) -> None:
    array = items(*LARGE[kind])
    with mxio.open(mxio.dumps(array)) as reader:
        for index in (np.s_[...], np.s_[::-1, 1:], np.s_[: len(array) // 2, 1:-1:2]):
            want = array[index]
            wide = np.zeros((*want.shape[:-1], 2 * want.shape[-1]), array.dtype)
            for out in (wide[..., ::2], wide[..., ::-2], np.zeros(want.shape, want.dtype, "F")):
                assert reader[""].read(index, out=out) is out
                assert_equal(out.copy(), want.copy())


def test_what_lies_between_the_items_of_a_strided_out_is_left_alone() -> None:
    wide, want = np.zeros((2, 100, 140), "u2")
    want[::2, 1::2] = items("u2", (50, 70))
    with mxio.open(mxio.dumps(want[::2, 1::2])) as reader:
        reader[""].read(out=wide[::2, 1::2])
    assert np.array_equal(wide, want)


def test_an_out_that_does_not_fit_is_refused_in_words() -> None:
    array = items("f4", (3, 4))
    frozen = np.zeros((3, 4), "f4")
    frozen.flags.writeable = False
    with mxio.open(mxio.dumps({"name": array})) as reader:
        lazy = reader["name"]
        for out in (np.zeros(shape, "f4") for shape in ((4, 3), (12,), (1, 3, 4))):
            with pytest.raises(mxio.EntryError, match=r"out for 'name' is float32 .*\(3, 4\)"):
                lazy.read(out=out)
        for dtype in ("f8", "i4", ">f4", "u4"):
            with pytest.raises(mxio.EntryError, match=r"out for 'name' is .*float32"):
                lazy.read(out=np.zeros((3, 4), dtype))
        for region in (np.s_[0], np.s_[1:1]):
            with pytest.raises(mxio.EntryError, match="out for 'name'"):
                lazy.read(region, out=np.zeros((1, 4), "f4"))
        with pytest.raises(ValueError, match="out for 'name' is not writable"):
            lazy.read(out=frozen)
        for other in (bytearray(48), [[0.0] * 4] * 3, 5):
            with pytest.raises(TypeError, match=r"out for 'name' is a numpy\.ndarray, not"):
                lazy.read(out=other)  # type: ignore[arg-type]
        assert lazy.read(np.s_[1, 2], out=np.zeros((), "f4")) == array[1, 2]
        assert lazy.read(np.s_[1:1], out=np.zeros((0, 4), "f4")).shape == (0, 4)


# ---- which chunks are read --------------------------------------------------------------------


def chunks_of(array: Array, chunk_nbytes: int, index: Any) -> set[int]:
    """The chunks that hold the items of a region."""
    fortran = array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous
    places = np.arange(array.size).reshape(array.shape, order="F" if fortran else "C")
    starts = np.asarray(places[index]).reshape(-1) * array.itemsize
    found: set[int] = set()
    for byte in {0, array.itemsize - 1, *range(0, array.itemsize, chunk_nbytes)}:
        found.update(np.unique((starts + byte) // chunk_nbytes).tolist())
    return found


def damage(path: Path, entry: mxio.Entry, chunks: set[int]) -> None:
    """Change the last byte of each of these chunks."""
    data = bytearray(path.read_bytes())
    for chunk in chunks:
        end = min((chunk + 1) * entry.chunk_nbytes, entry.nbytes)
        data[entry.offset + end - 1] ^= 1
    path.write_bytes(data)


def assert_reads_only(path: Path, array: Array, index: Any) -> None:
    """Reading a region works though all other chunks are damaged, and notices its own."""
    data = path.read_bytes()
    entry = mxio.open(path).index["x"]
    needed = chunks_of(array, entry.chunk_nbytes, index)
    every = set(range(-(-entry.nbytes // entry.chunk_nbytes)))
    damage(path, entry, every - needed)
    with mxio.open(path) as reader:
        assert_equal(np.asarray(reader["x"][index]), np.asarray(array[index]), index)
    path.write_bytes(data)
    if needed:
        one = random.Random(repr(index)).choice(sorted(needed))
        damage(path, entry, {one})
        with mxio.open(path) as reader, pytest.raises(mxio.ChecksumError) as caught:
            reader["x"][index]
        assert (caught.value.name, caught.value.chunk) == ("x", one)
        assert caught.value.offset == entry.offset + one * entry.chunk_nbytes
        for word in ("'x'", f"chunk {one} ", f"offset {caught.value.offset} ", str(path)):
            assert word in str(caught.value)
        assert mxio.open(path, verify=False)["x"][index].shape == array[index].shape
    path.write_bytes(data)


REGIONS: dict[tuple[int, ...], list[Any]] = {
    (1_000_000,): [np.s_[5], np.s_[65535:65537], np.s_[100:200_000], np.s_[::300_000]],
    (999_999,): [np.s_[::-131_073], np.s_[::65_536], np.s_[65_535::131_072]],
    (3000, 300): [np.s_[17], np.s_[218:436], np.s_[::1000, 3], np.s_[::218], np.s_[-1, -1]],
    (8, 65_536): [np.s_[3], np.s_[::2], np.s_[::-3, 5]],
    (8, 100_000): [np.s_[2, 10:20], np.s_[:, 10:20], np.s_[::2, 99_990:]],
    (6, 200_000): [np.s_[:, :5], np.s_[1:3, 70_000:140_000], np.s_[::2, ::100_000]],
    (4, 1000, 100): [np.s_[:, 0], np.s_[1:3, 990:, 7]],
    (2, 5, 70_000): [np.s_[1, ::2, -1], np.s_[:, 1:4:2, 65_530:65_540]],
}


@pytest.mark.parametrize(
    ("shape", "index"), [(s, index) for s in REGIONS for index in REGIONS[s]], ids=repr
)
@pytest.mark.parametrize("order", "CF")
def test_only_the_chunks_that_hold_the_region_are_read(
    shape: tuple[int, ...], index: Any, order: str, tmp_path: Path
) -> None:
    array = items("u1", shape)
    if order == "F" and len(shape) > 1:
        array, index = array.T, (index if isinstance(index, tuple) else (index,))
        index = (..., *index[::-1])
    path = tmp_path / "x.mxio"
    mxio.save(path, {"a": POOL[:5], "x": array, "z": POOL[:100_000]}, sync=False)
    assert_reads_only(path, array, index)
    path.unlink()


@pytest.mark.parametrize("seed", range(40))
def test_only_the_chunks_that_hold_a_random_region_are_read(seed: int, tmp_path: Path) -> None:
    choice = random.Random(seed)
    shape = choice.choice([(40,), (6, 30), (30, 6), (5, 6, 7), (3, 4, 2, 5)])
    array = choice.choice(both_orders(items(choice.choice(["u1", "f4", "S9"]), shape)))
    path = tmp_path / "x.mxio"
    for _ in range(5):
        path.write_bytes(crafted({"x": array}, choice.choice([1, 4, 10, 36, 100])))
        index = random_index(choice, shape)
        try:
            array[index]
        except IndexError:
            continue
        assert_reads_only(path, array, index)


def test_without_verify_damage_is_handed_out(tmp_path: Path) -> None:
    array = items("u1", (200_000,))
    path = tmp_path / "x.mxio"
    mxio.save(path, {"x": array}, sync=False)
    damage(path, mxio.open(path).index["x"], {0})
    for verify in (None, True):
        with mxio.open(path, verify=verify) as reader:
            with pytest.raises(mxio.ChecksumError):
                reader["x"][5]
            assert reader["x"][65536] == array[65536]
    with mxio.open(path, verify=False) as reader:
        assert reader["x"][65535] == array[65535] ^ 1
        assert reader.read(["x"])["x"][65535] == array[65535] ^ 1
        assert [d.chunk for d in reader.verify()] == [0]


def test_a_file_that_is_cut_short_while_open_is_an_error(tmp_path: Path) -> None:
    array = items("u1", (300_000,))
    path = tmp_path / "x.mxio"
    mxio.save(path, {"x": array}, sync=False)
    with mxio.open(path) as reader:
        with path.open("r+b") as file:
            file.truncate(100_000)
        assert reader["x"][0] == array[0]
        with pytest.raises(mxio.FormatError, match="cut short"):
            reader["x"][-1]
        with pytest.raises(mxio.FormatError, match="cut short"):
            reader.read()


# ---- LazyArray --------------------------------------------------------------------------------


def test_a_lazy_array_has_the_attributes_of_its_array() -> None:
    arrays = of_all_shapes(*DTYPES)
    with mxio.open(mxio.dumps(arrays)) as reader:
        for name, array in arrays.items():
            lazy = reader[name]
            assert isinstance(lazy, mxio.LazyArray)
            assert lazy.name == name
            for attribute in ("shape", "dtype", "ndim", "size", "nbytes", "itemsize"):
                assert getattr(lazy, attribute) == getattr(array, attribute)
                assert type(getattr(lazy, attribute)) is type(getattr(array, attribute))
            assert name in repr(lazy)
            assert str(array.shape) in repr(lazy)
            if array.ndim:
                assert len(lazy) == len(array)


def test_a_lazy_array_becomes_an_array() -> None:
    array = items("i2", (5, 6))
    for saved in both_orders(array):
        with mxio.open(mxio.dumps(saved)) as reader:
            lazy = reader[""]
            assert_equal(np.asarray(lazy), array)
            assert np.asarray(lazy).flags.writeable
            assert_equal(np.array(lazy, dtype="f8"), array.astype("f8"))
            assert_equal(np.asarray(lazy, dtype=">i2"), array.astype(">i2"))
            assert_equal(np.concatenate([lazy, lazy]), np.concatenate([array, array]))
            with pytest.raises(ValueError, match="copy"):
                np.array(lazy, copy=False)
            for a, b in zip(lazy, array, strict=True):
                assert_equal(a, b)
            first = lazy[1:, ::2]
            first[...] = 0  # which is the caller's own
            assert_equal(lazy[...], array)


def test_a_lazy_array_without_dims_has_no_length() -> None:
    with mxio.open(mxio.dumps(np.array(5, "u2"))) as reader:
        with pytest.raises(TypeError, match="without dimensions"):
            len(reader[""])
        with pytest.raises(TypeError):
            iter(reader[""])
        assert_equal(np.asarray(reader[""]), np.array(5, "u2"))


# ---- Reader -----------------------------------------------------------------------------------


def test_a_reader_is_a_mapping(tmp_path: Path) -> None:
    saved = {"b": POOL[:3], "a/b": items("f4", (2, 2)), "": POOL[:0], "é": POOL[:1]}
    path = tmp_path / "x.mxio"
    mxio.save(path, saved, metadata={"k": [1]}, sync=False)
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        with mxio.open(source) as reader:
            assert list(reader) == list(reader.keys()) == list(saved)
            assert (len(reader), reader.metadata) == (4, {"k": [1]})
            assert "a/b" in reader
            strangers: list[Any] = ["a", 3, None, b"a/b", ("b",), ["b"]]
            assert not any(stranger in reader for stranger in strangers)
            assert [name for name, _ in reader.items()] == list(saved)
            assert [lazy.name for lazy in reader.values()] == list(saved)
            assert [lazy[0] for lazy in [reader.get("é")] if lazy] == [POOL[0]]
            assert (reader.get("nope"), reader.get("nope", "other")) == (None, "other")
            assert "4 arrays" in repr(reader)
            assert "closed" not in repr(reader)
            reader.close()
            reader.close()
            assert "closed" in repr(reader)


def test_a_name_that_is_not_there_is_a_key_error_with_a_hint() -> None:
    saved = {"layers/0/weight": POOL[:2], "layers/0/bias": POOL[:3], "head": POOL[:1]}
    data = mxio.dumps(saved)
    with mxio.open(data) as reader:
        for missing in ("layers/0/wieght", "layers/1/weight"):
            with pytest.raises(KeyError, match=r"did you mean .*'layers/0/weight'"):
                reader[missing]
        with pytest.raises(mxio.EntryError, match=r"no entry 'qqq'.* 3: 'layers/0/weight', "):
            reader["qqq"]
        with pytest.raises(mxio.EntryError, match="did you mean 'head'"):
            reader.read(["head", "heaf"])
        with pytest.raises(TypeError, match="a name is a str, not int"):
            reader[0]  # type: ignore[index]
        with pytest.raises(TypeError, match="names is a list"):
            reader.read("head")
    with pytest.raises(mxio.EntryError, match="did you mean 'head'"):
        mxio.loads(data, ["heat"])
    with mxio.open(mxio.dumps({})) as reader, pytest.raises(KeyError, match="no arrays"):
        reader["x"]
    many = mxio.dumps({f"n{n}": POOL[:1] for n in range(11_000)})
    with mxio.open(many) as reader, pytest.raises(KeyError, match=r"no entry 'n11000'.* 11000 "):
        reader["n11000"]


def test_the_message_about_a_missing_name_fits_on_a_screen() -> None:
    with mxio.open(mxio.dumps({"x" * 60_000: POOL[:1], "y": POOL[:1]})) as reader:
        for missing in ("z" * 60_000, "y" * 3, "x" * 59_999):
            with pytest.raises(mxio.EntryError) as caught:
                reader[missing]
            assert len(str(caught.value)) < 2000


def test_asking_with_get_or_in_looks_for_no_names_that_are_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Which takes seconds for ten thousand long names, and nobody reads the result.
    def never(*args: object) -> list[str]:
        raise AssertionError("looked for names that are close")

    monkeypatch.setattr("difflib.get_close_matches", never)
    with mxio.open(mxio.dumps({"head": POOL[:2]})) as reader:
        assert (reader.get("heap"), reader.index.get("heap")) == (None, None)
        assert "heap" not in reader


def test_several_arrays_are_read_at_once_in_the_order_asked_for() -> None:
    saved = {f"{n}": items("u2", (n, 50)) for n in range(40)}
    with mxio.open(mxio.dumps(saved), threads=2) as reader:
        everything = reader.read()
        some = reader.read(name for name in ("30", "2", "30", "0", "39"))
        assert reader.read([]) == {}
    assert list(everything) == list(saved)
    assert list(some) == ["30", "2", "0", "39"]
    for name, array in [*everything.items(), *some.items()]:
        assert_equal(array, saved[name], name)


def test_a_closed_reader_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    mxio.save(path, {"x": POOL[:9]}, sync=False)
    sources: list[Any] = [path, path.read_bytes()]
    for source in sources:
        with mxio.open(source) as reader:
            lazy = reader["x"]
            kept = lazy[...]
        uses: list[Callable[[mxio.Reader, mxio.LazyArray], Any]] = [
            *(lambda reader, lazy: lazy[0], lambda reader, lazy: lazy[...]),
            *(lambda reader, lazy: lazy.read(), lambda reader, lazy: np.asarray(lazy)),
            *(lambda reader, lazy: reader["x"][1:3], lambda reader, lazy: reader.read()),
            *(lambda reader, lazy: reader.read(["x"]), lambda reader, lazy: reader.verify()),
        ]
        for use in uses:
            with pytest.raises(ValueError, match="is closed"):
                use(reader, lazy)
        assert kept.tolist() == POOL[:9].tolist()
        assert (list(reader), lazy.shape) == (["x"], (9,))


def test_a_source_that_cannot_be_mapped_is_refused_in_words(tmp_path: Path) -> None:
    data = mxio.dumps({"x": POOL[:9]})
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        with pytest.raises((TypeError, ValueError), match="map"):
            mxio.load(source, mmap=True)


# ---- threads ----------------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run work(0) … at once and raise what goes wrong in one of them."""
    with ThreadPoolExecutor(count) as pool:
        assert len(list(pool.map(work, range(count)))) == count


@pytest.mark.parametrize("of_bytes", [False, True])
def test_eight_threads_read_from_one_reader(of_bytes: bool, tmp_path: Path) -> None:
    saved = {f"{n}": items("u2", (n + 1, 300, 200), n) for n in range(8)}
    path = tmp_path / "x.mxio"
    mxio.save(path, saved, sync=False)
    source: Any = path.read_bytes() if of_bytes else path
    with mxio.open(source, threads=2) as reader:

        def work(number: int) -> None:
            choice = random.Random(number)
            for _ in range(25):
                name = choice.choice(list(saved))
                compare(reader[name], saved[name], random_index(choice, saved[name].shape))
            assert np.array_equal(reader.read([name])[name], saved[name])

        in_threads(8, work)


def reads_until_closed(read: Callable[[], Any], want: Any) -> int:
    """How often something could be read before its reader was closed."""
    for count in range(1_000_000):
        try:
            got = read()
        except ValueError as error:
            if "is closed" not in str(error):
                raise
            return count
        assert got == want
    raise AssertionError("the reader was not closed")


@pytest.mark.parametrize("kind", ["path", "bytes", "bytearray"])
def test_closing_while_other_threads_read_is_safe(kind: str, tmp_path: Path) -> None:
    array = items("u1", (2_000_000,))
    path = tmp_path / "x.mxio"
    mxio.save(path, {"x": array, "y": array[:1000]}, sync=False)
    data = path.read_bytes()
    choice = random.Random(kind)
    reads: list[Callable[[mxio.Reader], Any]] = [
        lambda reader: reader["x"][-1],
        lambda reader: reader.read(["y", "x"])["x"][-1],
        lambda reader: reader["x"].read()[-1],
    ]
    counts = []
    for _ in range(100):
        source: Any = {"path": path, "bytes": data}.get(kind) or bytearray(data)
        reader = mxio.open(source)
        pause = choice.random() * 0.002

        def work(number: int, reader: mxio.Reader = reader, pause: float = pause) -> None:
            if number == len(reads):
                time.sleep(pause)
                reader.close()
            else:
                counts.append(reads_until_closed(lambda: reads[number](reader), array[-1]))

        in_threads(len(reads) + 1, work)
        if kind == "bytearray":
            source.clear()  # which works when nobody holds on to its memory any more
    assert len(counts) == 100 * len(reads)
    assert sum(counts) > 0
