# SPDX-License-Identifier: Apache-2.0
"""What is saved comes back bit for bit: every dtype in every layout, by every way in and out.

Also what goes with it: equal bytes for any number of threads, names of all kinds, memory that
is shared stays shared, loaded arrays own what they are written, sizes around the limits at
which the engine changes its ways, and random files. tests/reference.py reads what can be
judged in pure Python in reasonable time.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import itertools
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from reference import same

import mxio

ml_dtypes: Any = None
with contextlib.suppress(ImportError):
    import ml_dtypes

Array = np.ndarray[Any, Any]

NUMPY_DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128", "S1", "S12", "U1", "U7"),
    *("datetime64", "datetime64[s]", "datetime64[ns]", "datetime64[M]", "datetime64[25s]"),
    *("timedelta64", "timedelta64[h]", "timedelta64[as]", "timedelta64[7D]"),
]
ML_DTYPES = [
    name
    for name in ("bfloat16", *reference.NARROW)
    if ml_dtypes is not None and hasattr(ml_dtypes, name)
]
DTYPES = NUMPY_DTYPES + ML_DTYPES
CHARACTERS = np.array(list("az\0é€😀\U0010ffff"))
KIB, MIB = 1 << 10, 1 << 20


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name)) if name in ML_DTYPES else np.dtype(name)


def items(dtype: np.dtype[Any], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Items of all bit patterns that the dtype has: NaNs of all kinds, NULs inside of strings."""
    count = math.prod(shape)
    if dtype.kind == "U":
        width = dtype.itemsize // 4
        chosen: Array = rng.choice(CHARACTERS, count * width)
        return chosen.astype("U1").view("u4").copy().view(dtype).reshape(shape)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    raw = np.frombuffer(rng.bytes(count * dtype.itemsize), np.uint8)
    if dtype.name in reference.NARROW and not dtype.name.startswith("float8"):
        bits = int("".join(c for c in dtype.name.split("_")[0] if c.isdigit()))
        raw = np.arange(-128, 128, dtype=np.int8).astype(dtype).view(np.uint8)[raw >> (8 - bits)]
    return raw.copy().view(dtype).reshape(shape)


def unaligned(array: Array) -> Array:
    """The same items in a buffer in which none of them is aligned."""
    buffer = bytearray(array.nbytes + 1)
    view = np.frombuffer(buffer, array.dtype, array.size, offset=1).reshape(array.shape)
    view[...] = array
    return view


def lying(array: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """Other items of the memory of a contiguous array; as_strided knows no ml_dtypes."""
    return np.ndarray(shape, array.dtype, array.reshape(-1).view(np.uint8), 0, strides)


def layouts(dtype: np.dtype[Any], folder: Path) -> Iterator[tuple[str, Array]]:
    """Arrays of a dtype in all the ways in which an array can lie in memory."""
    seed = int.from_bytes(hashlib.sha256(dtype.name.encode()).digest()[:4], "little")
    rng, choice = np.random.default_rng(seed), random.Random(seed)
    c = items(dtype, (4, 6, 5), rng)
    yield "c", c
    yield "fortran", np.asfortranarray(c)
    yield "transposed", c.T
    for axis in range(3):
        for step in (2, 3, -1, -2):
            index = [slice(None)] * 3
            index[axis] = slice(None, None, step)
            yield f"axis {axis} by {step}", c[tuple(index)]
            yield f"axis {axis} by {step} of fortran", np.asfortranarray(c)[tuple(index)]
    yield "all reversed", c[::-1, ::-1, ::-1]
    yield "vector by 3", c.reshape(-1)[1::3]
    yield "vector reversed", c.reshape(-1)[::-1]
    yield "inner cut", c[:, :, 1:4]
    yield "middle cut", c[:, 2:5]
    yield "outer cut", c[1:3]
    yield "inner and outer by 2", c[::2, :, ::2]
    yield "a column", c[:, 1, 2]
    yield "diagonal", lying(c, (4,), (c.strides[0] + c.strides[1] + c.strides[2],))
    yield "window", lying(c, (50, 9), (2 * c.strides[2], c.strides[2]))
    for order in itertools.permutations(range(3)):
        yield f"permuted {order}", c.transpose(order)
    four = items(dtype, (3, 2, 4, 3), rng)
    for order4 in itertools.permutations(range(4)):
        yield f"permuted {order4}", four.transpose(order4)
    yield "permuted and by 2", four.transpose(2, 0, 3, 1)[::2, ::-1]
    yield "broadcast outside", np.broadcast_to(c[0], (3, 6, 5))
    yield "broadcast in the middle", np.broadcast_to(c[:, :1], (4, 3, 5))
    yield "broadcast inside", np.broadcast_to(c[..., :1], (4, 6, 7))
    yield "broadcast of one item", np.broadcast_to(c[0, 0, 0], (3, 2))
    yield "no dims", items(dtype, (), rng)
    yield "no dims, a view", c[1, 2, 3, ...]
    for at in range(3):
        shape = [3, 2, 4]
        shape[at] = 0
        yield f"nothing at {at}", items(dtype, tuple(shape), rng)
        yield f"nothing at {at} in fortran", np.asfortranarray(items(dtype, tuple(shape), rng))
    yield "nothing", items(dtype, (0,), rng)
    yield "nothing of something", c[:, 3:3, ::2]
    yield "one item", items(dtype, (1,), rng)
    yield "one item, 3 dims", items(dtype, (1, 1, 1), rng)
    yield "one item reversed", c[1:2, 1, 1][::-1]
    yield "axes of one with odd strides", lying(c, (1, 5, 1), (7, c.strides[2], 3))
    yield "axes of one with odd strides, cut", lying(c, (2, 1, 2), (c.strides[0], 1, 64))[..., :1]
    swapped = c.astype(dtype.newbyteorder(">")) if dtype.name not in ML_DTYPES else c
    yield "big-endian", swapped
    yield "big-endian fortran", np.asfortranarray(swapped)
    yield "big-endian by 2 reversed", swapped[::-2, :, ::2]
    yield "unaligned", unaligned(c)
    yield "unaligned by 2", unaligned(c)[:, ::2]
    yield "unaligned big-endian", unaligned(swapped)[::-1]
    frozen = c.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    c.tofile(folder / "memory.map")
    mapped: Array = np.memmap(folder / "memory.map", dtype, "r", shape=c.shape)
    yield "memory-mapped", mapped
    yield "memory-mapped by 2", mapped[:, ::2]
    five = items(dtype, (5, 4, 3, 4, 5), rng)
    for n in range(6):
        cut = tuple(
            slice(None, None, choice.choice([1, 1, 2, 3, -1, -2])) for _ in range(five.ndim)
        )
        axes = choice.sample(range(5), 5)
        yield f"5 dims {n}: {cut} {axes}", five[cut].transpose(axes)


def expected(array: Array) -> Array:
    """What loading gives back: the items of any array, in native byte order."""
    return np.array(array, array.dtype.newbyteorder("="), subok=False)


def assert_same(loaded: Any, saved: Any, what: object = "") -> None:
    """Equal bit by bit, arrays in containers as well."""
    if isinstance(saved, dict):
        assert list(loaded) == list(saved)
        for name, array in saved.items():
            assert_same(loaded[name], array, name)
    else:
        want = expected(saved)
        assert type(loaded) is np.ndarray, what
        assert loaded.dtype == want.dtype, what
        assert loaded.shape == want.shape, what
        # Not of the array as it is: before NumPy 2.3 that took 32 dimensions at most.
        assert loaded.reshape(-1).tobytes() == want.reshape(-1).tobytes(), what


def run_python(code: str, *arguments: str, **environment: str) -> str:
    """What a fresh Python prints that finds this very mxio."""
    root = str(Path(mxio.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"PYTHONPATH": root} | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- every dtype in every layout --------------------------------------------------------------


@pytest.mark.parametrize("name", DTYPES)
def test_a_dtype_comes_back_from_every_layout_by_every_way(name: str, tmp_path: Path) -> None:
    saved = dict(layouts(dtype_of(name), tmp_path))
    path = tmp_path / "x.mxio"
    mxio.save(path, saved, sync=False)
    data = path.read_bytes()
    assert mxio.dumps(saved) == data
    stream = io.BytesIO()
    mxio.save(stream, saved)
    assert stream.getvalue() == data
    assert_same(mxio.load(path), saved)
    assert_same(mxio.load(str(path), mmap=True), saved)
    assert_same(mxio.load(path, mmap=True, verify=True), saved)
    assert_same(mxio.loads(data), saved)
    assert_same(mxio.loads(bytearray(data), verify=False), saved)
    with path.open("rb") as file:
        assert_same(mxio.load(file), saved)
    assert mxio.verify(path) == []
    judged = reference.strict(data).object
    assert same(judged, {key: expected(array) for key, array in saved.items()})


@pytest.mark.parametrize("name", DTYPES)
def test_an_array_alone_comes_back_from_every_layout(name: str, tmp_path: Path) -> None:
    # In a file of its own an array is not gathered with its neighbours.
    for layout, array in layouts(dtype_of(name), tmp_path):
        assert_same(mxio.loads(mxio.dumps(array)), array, layout)


@pytest.mark.skipif(ml_dtypes is None, reason="ml_dtypes is not installed")
def test_the_dtypes_of_ml_dtypes_are_among_those_tested() -> None:
    assert {"bfloat16", "float8_e4m3fn", "int4"} <= set(ML_DTYPES)


def test_bytes_keep_their_trailing_nuls() -> None:
    raw = b"a\0b\0" + b"\0\0c\0" + bytes(4) + b"abcd"
    array = np.frombuffer(raw, "S4")
    for saved in (array, array[::-1], array.reshape(2, 2).T):
        assert mxio.loads(mxio.dumps(saved)).tobytes() == saved.tobytes()


def test_nan_payloads_and_negative_zeros_are_kept() -> None:
    for unsigned, kind in (("u2", "f2"), ("u4", "f4"), ("u8", "f8"), ("u8", "M8[s]")):
        top = 1 << (8 * np.dtype(unsigned).itemsize - 1)
        bits = np.array([top, top - 1, 2 * top - 1, 1, top | 1], unsigned)
        for order in "<>":
            array = bits.astype(f"{order}{unsigned}").view(f"{order}{kind}")
            loaded = mxio.loads(mxio.dumps(array[::-1]))
            assert loaded.view(unsigned).tolist() == bits[::-1].tolist()


def test_64_dims_come_back() -> None:
    full = np.arange(2**12, dtype=np.int16).reshape((2,) * 12 + (1,) * 52)
    axes = random.Random(3).sample(range(64), 64)
    for array in (full, full.T, full.transpose(axes), full.transpose(axes)[::-1, ..., ::-1]):
        assert_same(mxio.loads(mxio.dumps(array)), array)


# ---- the same bytes ---------------------------------------------------------------------------


def large() -> dict[str, Array]:
    """Arrays that are worth several threads, in several layouts."""
    base = np.arange(3 << 20, dtype=np.uint32)
    return {
        "contiguous": base,
        "by 2": base[::2],
        "permuted": base[: 3 << 18].reshape(64, 96, 128).transpose(2, 0, 1),
        "swapped": base[: 1 << 20].astype(">u4"),
        **{f"small {n}": base[n : 50 * n] for n in range(1, 200)},
    }


def test_any_number_of_threads_writes_the_same_bytes(tmp_path: Path) -> None:
    saved = large()
    data = mxio.dumps(saved, threads=1)
    for threads in (2, 4, 64):
        assert mxio.dumps(saved, threads=threads) == data
    for threads in (1, 4):
        mxio.save(tmp_path / "x.mxio", saved, threads=threads, sync=threads == 4)
        assert (tmp_path / "x.mxio").read_bytes() == data
        stream = io.BytesIO()
        mxio.save(stream, saved, threads=threads)
        assert stream.getvalue() == data
        assert_same(mxio.load(tmp_path / "x.mxio", threads=threads), saved)


def test_two_processes_write_the_same_bytes() -> None:
    code = """
import hashlib, numpy as np, mxio
saved = {f"n{n}": np.arange(n * 7.0).reshape(7, n)[:, ::-1] for n in range(300)}
saved["again"] = saved["n3"]
saved["t"] = {"z": 1, "a": [1.5, None, np.float32(3)], 3: (b"x", "y")}
print(hashlib.sha256(mxio.dumps(saved, metadata={"b": 1, "a": {"z": 0}})).hexdigest())
"""
    digests = {run_python(code, PYTHONHASHSEED=seed, MXIO_THREADS=seed) for seed in "12"}
    assert len(digests) == 1


# ---- names ------------------------------------------------------------------------------------


def test_100_000_names_of_all_kinds_come_back_in_their_order(tmp_path: Path) -> None:
    choice = random.Random(11)
    alphabet = "abcXYZ012 ._/\\\"'\x01\x7fäß€漢字😀\U0010ffff"
    names = {"", "/", "//", "a/", "x" * 65535, "é" * 32767 + "x", "x" * 65534, "😀" * 16383}
    while len(names) < 100_000:
        names.add("".join(choice.choices(alphabet, k=choice.randrange(2, 12))))
    ordered = sorted(names)
    choice.shuffle(ordered)
    numbers = np.arange(len(ordered), dtype=np.uint32)
    saved = {name: numbers[n : n + 1] for n, name in enumerate(ordered)}
    path = tmp_path / "x.mxio"
    mxio.save(path, saved, sync=False)
    for loaded in (mxio.load(path), mxio.load(path, mmap=True)):
        assert list(loaded) == ordered
        assert np.array_equal(np.concatenate(list(loaded.values())), numbers)
    some = [*choice.sample(ordered, 1000), "", "x" * 65535]
    with mxio.open(path) as reader:
        assert len(reader) == len(ordered)
        assert [reader[name][0] for name in some] == [saved[name][0] for name in some]
        assert [reader.index[name].number for name in some] == [saved[name][0] for name in some]
        assert "no such name" not in reader
        assert "x" * 65536 not in reader
        assert "\0" not in reader
        assert "\ud800" not in reader
    loaded = mxio.load(path, names=some)
    assert list(loaded) == list(dict.fromkeys(some))
    assert all(loaded[name] == saved[name] for name in loaded)


@pytest.mark.parametrize("name", ["x" * 65536, "é" * 32768, "a\0b", "\0", "\udc80", "a\ud800"])
def test_a_name_that_no_file_can_hold_is_refused(name: str, tmp_path: Path) -> None:
    for saved in ({name: np.zeros(2)}, {"a": {name: np.zeros(2)}}):
        with pytest.raises(ValueError, match="name"):
            mxio.save(tmp_path / "x.mxio", saved)
    assert list(tmp_path.iterdir()) == []


# ---- shared memory ----------------------------------------------------------------------------


def share(a: Array, b: Array) -> bool:
    """Whether two arrays are the same items of the same memory."""
    return (a.ctypes.data, a.shape, a.strides) == (b.ctypes.data, b.shape, b.strides)


def loaders(path: Path) -> list[Callable[..., Any]]:
    return [
        lambda *a, **k: mxio.load(path, *a, **k),
        lambda *a, **k: mxio.load(path, *a, mmap=True, **k),
        lambda *a, **k: mxio.loads(path.read_bytes(), *a, **k),
    ]


@pytest.mark.parametrize("count", [3, 5000, 40_000])
def test_an_array_under_two_names_stays_one_array(count: int, tmp_path: Path) -> None:
    x = np.arange(count, dtype=np.float64)
    path = tmp_path / "x.mxio"
    mxio.save(path, {"x": x, "other": x + 1, "y": x, "z": x[:]}, sync=False)
    assert path.stat().st_size < 3 * x.nbytes + 16 * KIB
    for load in loaders(path):
        loaded = load()
        assert share(loaded["x"], loaded["y"])
        assert share(loaded["x"], loaded["z"])
        assert not np.shares_memory(loaded["x"], loaded["other"])
        loaded["y"][1] = -5
        assert loaded["x"][1] == loaded["z"][1] == -5
        assert loaded["other"].tolist() == (x + 1).tolist()
        for names in (["y"], ["z"]):
            assert load(names)[names[0]].tolist() == x.tolist()
        pair = load(["z", "other", "y"])
        assert list(pair) == ["z", "other", "y"]
        assert share(pair["z"], pair["y"])
    with mxio.open(path) as reader:
        assert reader["y"][2] == x[2]
        assert reader.index["y"].alias_of == reader.index["x"].number
        again = reader.read(["y", "x"])
        assert share(again["x"], again["y"])


def test_tied_weights_in_a_tree_stay_tied(tmp_path: Path) -> None:
    w = np.arange(12.0).reshape(3, 4)
    path = tmp_path / "x.mxio"
    saved = {"in": {"w": w}, "layers": [w + 1, {"tied": w}], "out": (w, 5)}
    mxio.save(path, saved, sync=False)
    for load in loaders(path):
        loaded = load()
        assert share(loaded["in"]["w"], loaded["layers"][1]["tied"])
        assert share(loaded["in"]["w"], loaded["out"][0])
        assert not np.shares_memory(loaded["in"]["w"], loaded["layers"][0])
        assert loaded["out"][1] == 5


def test_a_strided_array_under_two_names_is_stored_once(tmp_path: Path) -> None:
    base = np.arange(10_000, dtype=np.int32).reshape(100, 100)
    views = {"a": base[:, ::2], "b": base[:, ::2], "c": base[::-1], "d": base[::-1]}
    path = tmp_path / "x.mxio"
    mxio.save(path, views, sync=False)
    loaded = mxio.load(path)
    assert_same(loaded, views)
    assert share(loaded["a"], loaded["b"])
    assert share(loaded["c"], loaded["d"])


def test_views_that_differ_are_not_the_same_array(tmp_path: Path) -> None:
    x = np.arange(64, dtype=np.int32)
    square = x.reshape(8, 8)
    repeated = np.broadcast_to(x[:1], (8, 8))
    saved = {
        "x": x,
        "other dtype": x.view(np.uint32),
        "other size of items": x.view(np.int64),
        "other byte order": x.view(">i4"),
        "other shape": square,
        "another shape": x.reshape(4, 16),
        "other strides": square.T,
        "reversed": x[::-1],
        "shorter": x[:32],
        "by 2": x[::2],
        "repeated": repeated,
        "repeated less": np.broadcast_to(x[:1], (4, 4)),
        "nothing": x[:0],
        "nothing either": x[:0],
    }
    path = tmp_path / "x.mxio"
    mxio.save(path, saved, sync=False)
    for load in loaders(path):
        loaded = load()
        assert_same(loaded, saved)
        for a, b in itertools.combinations(loaded.values(), 2):
            assert not np.shares_memory(a, b)


def test_axes_of_one_do_not_keep_arrays_apart() -> None:
    x = np.arange(6.0).reshape(1, 6)
    odd = lying(x, (1, 6), (8, 8))
    loaded = mxio.loads(mxio.dumps([x, odd]))
    assert share(*loaded)


def test_many_names_of_many_arrays_stay_apart(tmp_path: Path) -> None:
    choice = random.Random(5)
    arrays = [np.full(choice.choice([1, 3, 9000]), n) for n in range(200)]
    numbers = [choice.randrange(200) for _ in range(2000)]
    path = tmp_path / "x.mxio"
    mxio.save(path, [arrays[n] for n in numbers], sync=False)
    for load in loaders(path):
        loaded = load()
        first: dict[int, Array] = {}
        for n, array in zip(numbers, loaded, strict=True):
            assert array.tolist() == arrays[n].tolist()
            assert share(array, first.setdefault(n, array))
        ends = sorted((a.ctypes.data, a.ctypes.data + a.nbytes) for a in first.values())
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(ends))


# ---- the arrays that come back ----------------------------------------------------------------


def test_arrays_outlive_the_reader_and_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    saved = {f"{n}": np.full(n * 1000, n, np.int16) for n in range(1, 90)}
    mxio.save(path, saved, sync=False)
    data = bytearray(path.read_bytes())
    with mxio.open(path) as reader:
        kept = [reader.read(), {name: reader[name][...] for name in reader}]
    kept += [mxio.load(path), mxio.load(path, mmap=True), mxio.loads(data)]
    del reader
    path.unlink()
    data[:] = bytes(len(data))
    gc.collect()
    for loaded in kept:
        assert_same(loaded, saved)
    for loaded in kept:
        for name in list(loaded)[:-1]:
            del loaded[name]
        gc.collect()
        assert loaded["89"].tolist() == [89] * 89_000


@pytest.mark.parametrize("mmap", [False, True])
def test_a_loaded_array_is_writable_aligned_and_its_own(mmap: bool, tmp_path: Path) -> None:
    choice = random.Random(9)
    saved = {
        f"{n}": np.full(choice.choice([1, 2, 63, 64, 65, 1000, 65536, 65537]), n % 251, np.uint8)
        for n in range(1, 600)
    }
    path = tmp_path / "x.mxio"
    mxio.save(path, saved, sync=False)
    data = path.read_bytes()
    loaded = mxio.load(path, mmap=mmap)
    for array in loaded.values():
        assert array.flags.writeable
        assert array.flags.carray
        assert array.ctypes.data % 64 == 0
    for n, array in enumerate(loaded.values()):
        array ^= n % 255 + 1
    for n, name in enumerate(loaded):
        assert (loaded[name] == saved[name] ^ (n % 255 + 1)).all()
    assert path.read_bytes() == data, "writing to an array has changed the file"


def test_loading_and_saving_to_the_same_path_works_with_mmap(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    mxio.save(path, {"a": np.arange(100_000), "b": np.arange(3)}, sync=False)
    loaded = mxio.load(path, mmap=True)
    loaded["b"][:] = 7
    mxio.save(path, loaded, sync=False)
    assert mxio.load(path)["b"].tolist() == [7, 7, 7]
    assert loaded["a"].tolist() == list(range(100_000))


def test_a_small_array_that_is_kept_pins_at_most_1_mib() -> None:
    choice = random.Random(2)
    sizes = [choice.choice([1, 64, 100, 5000, 30_000, 65_535, 65_536]) for _ in range(1500)]
    sizes[200:200] = [200_000, 65_537] * 20
    loaded = mxio.loads(mxio.dumps([np.zeros(size, np.uint8) for size in sizes]))
    spans: dict[int, tuple[int, int]] = {}
    for array in loaded:
        base: Any = array
        while isinstance(base, np.ndarray) and base.base is not None:
            base = base.base
        start = array.ctypes.data
        low, high = spans.get(id(base), (start, start))
        spans[id(base)] = (min(low, start), max(high, start + array.nbytes))
    assert max(high - low for low, high in spans.values()) <= MIB
    assert len(spans) < 100, "small arrays do not share allocations"


# ---- containers -------------------------------------------------------------------------------


def test_lists_tuples_and_keys_come_back_as_what_they_were() -> None:
    a = np.arange(3)
    saved: Any = {
        "list": [a, [a + 1, []], ()],
        "tuple": (a + 2, (a + 3,), [a + 4]),
        1: {"1": a + 5},
        True + 1: (None, True, 2, 2.0, "2", b"2"),
        None: {None: a + 6, False: a + 7, -1: a + 8, 2**70: a + 9},
        "": {"": {"": a + 10}},
    }
    loaded = mxio.loads(mxio.dumps(saved))
    assert same(loaded, saved)
    for exact in ([a, a], (a, a), {"0": a, "1": a}, [], (), {}, a, [[a]], [(a,)], {0: a}):
        assert same(mxio.loads(mxio.dumps(exact)), exact)


# ---- around the limits ------------------------------------------------------------------------

POOL = np.random.default_rng(17).integers(0, 256, 24 * MIB, np.uint8)
SIZES = [
    *(64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1),
    *(MIB - 1, MIB, MIB + 1, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 8 * MIB, 8 * MIB + 4097),
]


def shaped(nbytes: int) -> dict[str, Array]:
    """Arrays of about as many bytes, from the pool: contiguous, strided, swapped, of any item."""
    flat, rows = POOL[:nbytes], nbytes // 3
    return {
        "bytes": flat,
        "bytes, unaligned": POOL[1 : 1 + nbytes],
        "reversed": flat[::-1],
        "by 2": POOL[: 2 * nbytes : 2],
        "columns": POOL[: 3 * rows].reshape(3, rows).T[::-1],
        "fortran": POOL[: 3 * rows].reshape(3, rows).T,
        "swapped": POOL[: nbytes // 8 * 8].view(">f8"),
        "items of 3": POOL[: rows * 3].view("S3"),
        "items of 3 by 2": POOL[: 6 * rows].view("S3")[::2],
        "items of 16 reversed": POOL[: nbytes // 16 * 16].view("c16")[::-1],
    }


@pytest.mark.parametrize("nbytes", SIZES)
def test_sizes_around_the_limits_of_the_engine_come_back(nbytes: int, tmp_path: Path) -> None:
    saved = shaped(nbytes)
    path = tmp_path / "x.mxio"
    mxio.save(path, saved, threads=2, sync=False)
    assert_same(mxio.load(path, threads=2), saved)
    stream = io.BytesIO()
    mxio.save(stream, saved, threads=2)
    assert stream.getbuffer() == path.read_bytes()
    with mxio.open(path) as reader:
        for name, array in saved.items():
            assert_same(reader[name][-1:], array[-1:], name)
        assert reader.verify() == []
    path.unlink()


@pytest.mark.parametrize(
    "dtype", ["S65535", "S65536", "S65537", "S100000", "S1048577", "U30000", ">U30000", "S4200000"]
)
def test_items_larger_than_a_chunk_come_back(dtype: str, tmp_path: Path) -> None:
    count = 4 * MIB // np.dtype(dtype).itemsize // 2 * 2 + 2
    nbytes = count * np.dtype(dtype).itemsize
    flat: Array = POOL[:nbytes].view(dtype)
    if "U" in dtype:
        points = np.arange(nbytes // 4) * 7919 % 0xD7FF
        flat = points.astype(">u4" if ">" in dtype else "<u4").view(dtype)
    saved = {
        "contiguous": flat,
        "by 2": flat[::2],
        "reversed": flat[::-1],
        "matrix": flat.reshape(2, -1),
        "transposed": flat.reshape(2, -1).T,
        "one": flat[1],
        "broadcast": np.broadcast_to(flat[0], (3,)),
    }
    path = tmp_path / "x.mxio"
    mxio.save(path, saved, threads=2, sync=False)
    assert_same(mxio.load(path, threads=2), saved)
    assert_same(mxio.load(path, mmap=True), saved)
    path.unlink()
    for name, array in saved.items():
        assert_same(mxio.loads(mxio.dumps(array, threads=1)), array, name)


class Dribble(io.RawIOBase):
    """A raw file object that takes a few bytes at a time."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.taken = most, bytearray()

    def write(self, data: Any) -> int:
        part = memoryview(data)[: self.most]
        self.taken += part
        return len(part)


@pytest.mark.parametrize("most", [4097, 1_000_003, 1 << 30])
def test_a_file_object_that_takes_part_of_each_write_gets_all(most: int) -> None:
    saved = {"a": POOL[: 9 * MIB], "b": POOL[:5], "c": POOL[: 10 * MIB : 3], "d": POOL[: 64 * KIB]}
    file = Dribble(most)
    mxio.save(file, saved)
    assert bytes(file.taken) == mxio.dumps(saved)


# ---- random files -----------------------------------------------------------------------------

RANDOM_DTYPES = [
    *("u1", "i2", ">i2", "f4", ">f4", "f8", ">f8", "c8", ">c8", "c16", "S3", "S7", "S24"),
    *("M8[s]", ">m8[ns]"),
]


def random_array(choice: random.Random, most: int) -> Array:
    """A random view of the pool: any dtype, layout and alignment, of at most so many bytes."""
    dtype = np.dtype(choice.choice(RANDOM_DTYPES))
    count = int(most ** choice.random()) // dtype.itemsize
    ndim = choice.randrange(5)
    shape = []
    for _ in range(ndim):
        side = choice.choice([1, 2, 3, 7, max(count, 1), int(count**0.5) + 1])
        shape.append(choice.randrange(side + 1) if choice.random() < 0.1 else min(side, count))
        count //= max(shape[-1], 1)
    size = math.prod(shape)
    start = choice.randrange(POOL.nbytes - size * dtype.itemsize)
    array: Array = POOL[start : start + size * dtype.itemsize].view(dtype).reshape(shape)
    for _ in range(choice.randrange(3)):
        kind = choice.randrange(5)
        if kind == 0:
            array = array.transpose(choice.sample(range(array.ndim), array.ndim))
        elif kind == 1:
            steps = [slice(None, None, choice.choice([1, 2, -1, -3])) for _ in array.shape]
            array = array[tuple(steps)] if steps else array
        elif kind == 2 and array.ndim:
            array = array[choice.randrange(array.shape[0] + 1) :]
        elif kind == 3 and array.size * 3 * dtype.itemsize < most:
            array = np.broadcast_to(array, (3, *array.shape))
        elif kind == 4:
            array = array[..., None]
    return array


@pytest.mark.parametrize("seed", range(200))
def test_a_random_file_comes_back(seed: int, tmp_path: Path) -> None:
    choice = random.Random(seed)
    saved: dict[str, Array] = {}
    for n in range(choice.choice([0, 1, 2, 10, 100, 400])):
        most = choice.choice([100, 100, 100, 1000, 1000, 70_000])
        if choice.random() < 0.01 or n == 1:
            most = choice.choice([300_000, 2 * MIB, 6 * MIB])
        saved[f"{choice.randrange(1 << 30):x}/{n}"] = random_array(choice, most)
        if choice.random() < 0.05:
            saved[f"again {n}"] = choice.choice(list(saved.values()))
    threads = choice.choice([1, 2, 4])
    path = tmp_path / "x.mxio"
    mxio.save(path, saved, threads=threads, sync=False)
    data = path.read_bytes()
    assert mxio.dumps(saved, threads=1) == data
    stream = io.BytesIO()
    mxio.save(stream, saved, threads=threads)
    assert stream.getvalue() == data
    assert_same(mxio.load(path, threads=threads), saved)
    assert_same(mxio.load(path, mmap=True), saved)
    some = choice.sample(list(saved), len(saved) // 2)
    assert_same(mxio.loads(data, some, threads=threads), {name: saved[name] for name in some})
    if len(data) < 200_000:
        judged = reference.strict(data).object
        assert same(judged, {name: expected(array) for name, array in saved.items()})
