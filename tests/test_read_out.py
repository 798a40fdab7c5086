# SPDX-License-Identifier: Apache-2.0
"""Reading into arrays that exist: Reader.read(out=...).

Whatever the destinations look like, they hold afterwards what `load` gives, bit for bit, and
what lies between their items is as it was. Whatever is wrong with the arguments is said before
the first byte is written.
"""

from __future__ import annotations

import array as stdlib_array
import contextlib
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from craft import Craft, Item
from test_memory import MIB, run

import mxio

ml_dtypes: Any = None
with contextlib.suppress(ImportError):
    import ml_dtypes

Array = np.ndarray[Any, Any]

POOL = np.random.default_rng(6).integers(0, 256, 24 << 20, np.uint8)
DTYPES = ["bool", "i1", "u2", "f4", "f8", "c8", "S3", "U2", "M8[s]", "m8"]
SHAPES: list[tuple[int, ...]] = [
    *((), (1,), (7,), (0,), (5, 6), (8, 1), (0, 4), (3, 4, 5), (2, 3, 4, 5), (2, 3, 2, 3, 4))
]


def items(dtype: Any, shape: tuple[int, ...], at: int = 0) -> Array:
    """Items from the pool, finite where they are numbers."""
    n = int(np.prod(shape))
    small = POOL[at : at + n].astype("i2") % 100
    kind = np.dtype(dtype).kind
    if kind in "SU":
        return np.char.mod("%d", small).astype(dtype).reshape(shape)
    if kind == "b":
        return (small % 2).astype(dtype).reshape(shape)
    return small.astype("i8").astype(dtype).reshape(shape)


def layout(choice: random.Random, shape: tuple[int, ...], dtype: Any, native: bool) -> Array:
    """An array of a shape, in any layout and byte order, with room around it."""
    dtype = np.dtype(dtype)
    if not native and choice.random() < 0.4:
        dtype = dtype.newbyteorder(">")
    kind = choice.randrange(6)
    if kind == 0:
        return np.zeros(shape, dtype)
    if kind == 1:
        return np.zeros(shape, dtype, "F")
    index: Any
    if kind == 2:
        index = (..., *(slice(1, 2 * n + 1, 2) for n in shape))
        wide: Array = np.zeros(tuple(2 * n + 1 for n in shape), dtype)[index]
        return wide
    if kind == 3:
        index = (..., *(slice(None, None, -1) for _ in shape))
        backwards: Array = np.zeros(shape, dtype)[index]
        return backwards
    if kind == 4:
        return np.zeros((*shape, 3), dtype)[..., 1]
    axes = list(range(len(shape)))
    choice.shuffle(axes)
    return np.zeros([shape[k] for k in axes], dtype).transpose(np.argsort(axes).astype(int))


def saved_arrays() -> dict[str, Array]:
    arrays = {
        f"{dtype} {shape} {order}": np.asarray(items(dtype, shape), order=order)
        for dtype in DTYPES
        for shape in SHAPES
        for order in ("C", "F")
    }
    if ml_dtypes is not None:
        arrays["bf16"] = items("f4", (6, 7)).astype(ml_dtypes.bfloat16)
    arrays["tied"] = arrays["f4 (3, 4, 5) C"]
    arrays["tied too"] = arrays["f4 (3, 4, 5) C"]
    return arrays


def formats_of(arrays: dict[str, Array], tmp_path: Path) -> dict[str, tuple[Any, dict[str, Array]]]:
    """A source in each format, and what is in it."""
    plain = {k: v for k, v in arrays.items() if v.dtype in (np.dtype("f4"), np.dtype("i1"))}
    numeric = {k: v for k, v in arrays.items() if v.dtype.kind != "V" and k != "bf16"}
    path = tmp_path / "x.mxio"
    mxio.save(path, arrays, sync=False)
    big = tmp_path / "big.npy"
    np.save(big, arrays["f8 (2, 3, 4, 5) F"].astype(">f8"))
    return {
        "mxio": (path, arrays),
        "bytes": (path.read_bytes(), arrays),
        "mxnet": (mxio.dumps(plain, format="mxnet", version=3), plain),
        "safetensors": (mxio.dumps(plain, format="safetensors"), plain),
        "npz": (mxio.dumps(numeric, format="npz"), numeric),
        "deflated": (mxio.dumps(numeric, format="npz", compress=True), numeric),
        "big-endian npy": (big, {"": arrays["f8 (2, 3, 4, 5) F"]}),
    }


KINDS = ["mxio", "bytes", "mxnet", "safetensors", "npz", "deflated", "big-endian npy"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verify", [None, False])
def test_arrays_of_any_layout_are_filled(kind: str, verify: bool | None, tmp_path: Path) -> None:
    source, arrays = formats_of(saved_arrays(), tmp_path)[kind]
    choice = random.Random(kind)
    with mxio.open(source, verify=verify) as reader:
        for check in (False, True, False):
            out = {
                name: layout(choice, array.shape, array.dtype, name == "bf16")
                for name, array in arrays.items()
            }
            given = dict(out)
            found = reader.read(out=out, check=check)
            assert list(found) == list(arrays)
            for name, array in arrays.items():
                assert found[name] is given[name]
                assert found[name].astype(array.dtype).tobytes() == array.tobytes(), name


@pytest.mark.parametrize("window", [1, 100, 5000])
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_longer_than_a_window_are_filled(
    kind: str, window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mxio._fill._WINDOW_NBYTES", window)
    source, arrays = formats_of(saved_arrays(), tmp_path)[kind]
    choice = random.Random(window)
    with mxio.open(source) as reader:
        out = {
            name: layout(choice, array.shape, array.dtype, name == "bf16")
            for name, array in arrays.items()
        }
        for name, array in reader.read(out=out).items():
            assert array.astype(arrays[name].dtype).tobytes() == arrays[name].tobytes(), name


@pytest.mark.parametrize("order", "CF")
def test_large_arrays_are_filled_and_what_lies_between_is_left_alone(
    order: str, tmp_path: Path
) -> None:
    array = np.asarray(POOL[: 20 << 20].view("f4").reshape(640, 8192), order=order)  # type: ignore[call-overload]
    path = tmp_path / "x.mxio"
    mxio.save(path, {"x": array, "y": array[:3]}, sync=False)
    wide = np.zeros((640, 8192, 2), "f4")
    unaligned = np.frombuffer(bytearray(array.nbytes + 5), np.uint8)[5:].view("f4")
    with mxio.open(path, threads=2) as reader:
        reader.read(out={"x": wide[..., 0], "y": np.zeros((3, 8192), "f4")})
        assert wide[..., 0].tobytes() == array.tobytes()
        assert not wide[..., 1].any()
        for out in (
            unaligned.reshape(640, 8192),
            np.zeros((640, 8192), "f4", "F"),
            np.zeros((640, 8192), ">f4"),
        ):
            reader.read(["x"], out={"x": out})
            assert out.astype("f4").tobytes() == array.tobytes()


@pytest.mark.parametrize("threads", [1, 2])
def test_small_arrays_that_lie_as_in_the_file_leave_the_gaps_between_alone(
    threads: int, tmp_path: Path
) -> None:
    arrays = {f"a{i}": np.full(1000 + i % 7, i % 251, np.uint8) for i in range(8_000)}
    path = tmp_path / "x.mxio"
    mxio.save(path, arrays, sync=False)
    with mxio.open(path, threads=threads) as reader:
        begin = reader.index["a0"].offset
        memory = np.full(reader._file.nbytes - begin, 255, np.uint8)
        out = {}
        for name in arrays:
            entry = reader.index[name]
            out[name] = memory[entry.offset - begin :][: entry.nbytes]
        reader.read(out=out)
    between = np.ones(len(memory), bool)
    for name, array in arrays.items():
        np.testing.assert_array_equal(out[name], array)
        at = out[name].ctypes.data - memory.ctypes.data
        between[at : at + array.nbytes] = False
    assert between.sum() > 8_000
    assert (memory[between] == 255).all()


CASTS = ["bool", "i1", "u2", "i8", "f2", "f4", "f8", "c16"]


@pytest.mark.parametrize("window", [64, 8 << 20])
def test_cast_gives_what_astype_gives(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mxio._fill._WINDOW_NBYTES", window)
    names = CASTS + (["bfloat16", "float8_e4m3fn"] if ml_dtypes else [])
    dtypes = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in names}
    arrays = {name: items("i1", (5, 7)).astype(dtype) for name, dtype in dtypes.items()}
    choice = random.Random(window)
    with mxio.open(mxio.dumps(arrays)) as reader:
        for name, array in arrays.items():
            for target in dtypes.values():
                out = layout(choice, (5, 7), target, True)
                if array.dtype.kind == "c" and target.kind != "c":
                    with pytest.raises(mxio.EntryError, match="cannot be converted"):
                        reader.read(out={name: out}, cast=True)
                    continue
                reader.read(out={name: out}, cast=True)
                assert out.tobytes() == array.astype(target).tobytes(), (name, target)


def test_names_say_which_of_out_are_filled_and_in_which_order() -> None:
    arrays = {name: items("f4", (3,), at) for at, name in enumerate("abc")}
    with mxio.open(mxio.dumps(arrays)) as reader:
        out = {name: np.full(3, -1, "f4") for name in "cab"}
        assert list(reader.read(["b", "c", "b"], out=out)) == ["b", "c"]
        assert (out["a"] == -1).all()
        assert list(reader.read(out=out)) == ["c", "a", "b"]
        assert all(np.array_equal(out[name], arrays[name]) for name in out)
        assert reader.read(out={}) == {}
        assert reader.read(iter(["a"]), out=out) == {"a": out["a"]}


# ---- what is refused, and that nothing is written then -----------------------------------------


def wrong_outs() -> dict[str, tuple[Callable[[], dict[str, Any]], dict[str, Any], Any, str]]:
    def frozen() -> Array:
        array = np.zeros((2, 3), "f4")
        array.flags.writeable = False
        return array

    def overlapping() -> dict[str, Any]:
        base = np.zeros((4, 3), "f4")
        return {"a": base[1:3], "b": base[:2]}

    def interleaved() -> dict[str, Any]:
        base = np.zeros((2, 6), "f4")
        return {"a": base[:, ::2], "b": base[:, 1:4]}

    same = np.zeros((2, 3), "f4")
    repeated = np.lib.stride_tricks.as_strided(np.zeros(3, "f4"), (2, 3), (0, 4), writeable=True)
    return {
        "shape": (
            lambda: {"b": np.zeros((3, 2), "f4")},
            {},
            mxio.EntryError,
            r"out for 'b' is float32 \(3, 2\), but the file has float32 \(2, 3\)$",
        ),
        "shape with cast": (
            lambda: {"b": np.zeros((1, 2, 3), "f8")},
            {"cast": True},
            mxio.EntryError,
            r"float64 \(1, 2, 3\), but the file has float32 \(2, 3\)$",
        ),
        "dtype": (
            lambda: {"b": np.zeros((2, 3), "f8")},
            {},
            mxio.EntryError,
            r"out for 'b' is float64 .* has float32 .*: cast=True converts it",
        ),
        "dtype that cannot be": (
            lambda: {"b": np.zeros((2, 3), "S4")},
            {"cast": True},
            mxio.EntryError,
            "cannot be converted",
        ),
        "another kind": (
            lambda: {"b": np.zeros((2, 3), "S4")},
            {},
            mxio.EntryError,
            r"has float32 \(2, 3\)$",
        ),
        "read-only": (lambda: {"b": frozen()}, {}, ValueError, "out for 'b' is not writable"),
        "no such entry": (
            lambda: {"bb": np.zeros((2, 3), "f4")},
            {},
            mxio.EntryError,
            "no entry 'bb'",
        ),
        "a name that is none": (
            lambda: {7: np.zeros((2, 3), "f4")},  # type: ignore[dict-item]
            {},
            TypeError,
            "a name is a str",
        ),
        "not there": (lambda: {}, {"names": ["a", "b"]}, mxio.EntryError, "out has no array for"),
        "a list": (
            lambda: {"b": [[0.0] * 3] * 2},
            {},
            TypeError,
            "out for 'b' is a list, which lends no memory",
        ),
        "bytes": (lambda: {"b": bytes(24)}, {}, mxio.EntryError, r"is uint8 \(24,\), but the file"),
        "masked": (
            lambda: {"b": np.ma.zeros((2, 3), "f4")},
            {},
            TypeError,
            "out for 'b' is a numpy.ma.MaskedArray",
        ),
        "copies": (lambda: {"b": Copying()}, {}, TypeError, "out for 'b' .* gives copies"),
        "overlap": (overlapping, {}, ValueError, "out for 'a' and out for 'b' share memory"),
        "strided overlap": (interleaved, {}, ValueError, "share memory"),
        "one array": (lambda: {"a": same, "b": same}, {}, ValueError, "share memory"),
        "repeated": (lambda: {"b": repeated}, {}, ValueError, "out for 'b' has several items"),
    }


class Copying:
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.zeros((2, 3), "f4")


@pytest.mark.parametrize("case", wrong_outs())
@pytest.mark.parametrize("check", [False, True])
def test_wrong_arguments_are_said_before_anything_is_written(case: str, check: bool) -> None:
    make, options, kind, message = wrong_outs()[case]
    arrays = {"a": items("f4", (2, 3)) + 1, "b": items("f4", (2, 3)) + 2, "c": items("i2", (9,))}
    right = {"c": np.zeros(9, "i2"), "a": np.zeros((2, 3), "f4")}
    with mxio.open(mxio.dumps(arrays)) as reader:
        out = right | make()
        with pytest.raises(kind, match=message):
            reader.read(out=out, check=check, **options)
        for array in out.values():
            assert not np.asarray(array).any()


def test_cast_without_out_and_an_out_that_is_no_mapping_are_refused() -> None:
    with mxio.open(mxio.dumps({"a": POOL[:3]})) as reader:
        with pytest.raises(ValueError, match="pass out="):
            reader.read(cast=True)
        with pytest.raises(TypeError, match="out is a mapping of name to array, not a list"):
            reader.read(out=[np.zeros(3, "u1")])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is closed"):
        reader.read(out={"a": np.zeros(3, "u1")})


def test_arrays_that_are_interleaved_but_apart_are_filled() -> None:
    arrays = {f"{n}": items("f4", (40,), n) for n in range(60)}
    base = np.zeros((40, 60), "f4")
    with mxio.open(mxio.dumps(arrays)) as reader:
        reader.read(out={f"{n}": base[:, n] for n in range(60)})
    assert all(np.array_equal(base[:, n], arrays[f"{n}"]) for n in range(60))


def test_two_names_of_one_array_may_share_their_destination() -> None:
    array = items("f4", (30, 20))
    with mxio.open(mxio.dumps({"a": array, "b": array, "c": array})) as reader:
        for out in (
            np.zeros((30, 20), "f4"),
            np.zeros((30, 20), ">f4"),
            np.zeros((20, 30), "f4").T,
        ):
            other = np.zeros((30, 20))
            reader.read(out={"a": out, "b": out, "c": other}, cast=True)
            assert np.array_equal(out, array)
            assert np.array_equal(other, array)
        out = np.zeros((30, 20), "f4")
        with pytest.raises(ValueError, match="share memory"):
            reader.read(out={"a": out, "b": out[::-1]})


# ---- damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mxio", "npz", "deflated"])
def test_with_check_a_damaged_file_changes_nothing(kind: str, tmp_path: Path) -> None:
    arrays = {f"{n}": items("u2", (n + 1, 9000), n) for n in range(12)}
    path = tmp_path / "x"
    options: dict[str, Any] = {"compress": True} if kind == "deflated" else {}
    mxio.save(path, arrays, format="mxio" if kind == "mxio" else "npz", sync=False, **options)
    data = bytearray(path.read_bytes())
    entry = mxio.open(path).index["11"]
    data[entry.offset + entry.stored_nbytes - 7] ^= 16
    path.write_bytes(data)
    for verify in (None, False):
        with mxio.open(path, verify=verify) as reader:
            out: dict[str, Any] = {n: np.full(a.shape, 7, "u2") for n, a in arrays.items()}
            with pytest.raises(mxio.FormatError, match="'11'"):
                reader.read(out=out, check=True)
            assert all((array == 7).all() for array in out.values())
            with pytest.raises(mxio.FormatError, match="'11'"):
                reader.read(check=True)
            some = [f"{n}" for n in range(11)]
            for name, array in reader.read(some, out=out, check=True).items():
                assert np.array_equal(array, arrays[name])
    with mxio.open(path) as reader, pytest.raises(mxio.FormatError, match="'11'"):
        reader.read(out=out)


def test_several_names_of_a_damaged_array_are_checked_once_and_in_any_order(
    tmp_path: Path,
) -> None:
    array = items("u1", (200_000,))
    path = tmp_path / "x.mxio"
    mxio.save(path, {"a": array, "b": array, "c": array[:9]}, sync=False)
    with mxio.open(path) as reader:
        reader._check([2, 1, 0])
        reader._check([])
        with path.open("r+b") as file:
            file.seek(reader.index["b"].offset + 70_000)
            file.write(b"\xff")
        reader._check([2])
        for numbers in ([0], [1], [2, 1]):
            with pytest.raises(mxio.ChecksumError) as caught:
                reader._check(numbers)
            assert caught.value.chunk == 1


@pytest.mark.parametrize("chunk_nbytes", [777, 65536, 70_000, 300_001, 1_400_000])
def test_memory_that_is_not_aligned_is_filled_and_verified(
    chunk_nbytes: int, tmp_path: Path
) -> None:
    raw = POOL[:1_500_001].tobytes()
    data = Craft([Item("x", "uint8", (len(raw),), raw, chunk_nbytes=chunk_nbytes)], "dict").build()
    path = tmp_path / "x.mxio"
    path.write_bytes(data)
    for shift in (0, 1, 16, 63, 64):
        out = np.zeros(len(raw) + 64, "u1")[shift : shift + len(raw)]
        with mxio.open(path, threads=2) as reader:
            reader.read(out={"x": out})
        assert out.tobytes() == raw
    with mxio.open(path) as reader:
        for at in (0, 900_000, len(raw) - 1):
            with path.open("r+b") as file:
                file.seek(reader.index["x"].offset + at)
                file.write(bytes([raw[at] ^ 1]))
            with pytest.raises(mxio.ChecksumError) as caught:
                reader.read(out={"x": np.zeros(len(raw) + 1, "u1")[1:]})
            assert caught.value.chunk == at // chunk_nbytes
            path.write_bytes(data)


def test_a_file_that_is_cut_short_while_open_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    mxio.save(path, {"x": POOL[:300_000], "y": POOL[:9]}, sync=False)
    with mxio.open(path) as reader, path.open("r+b") as file:
        file.truncate(100_000)
        for check in (False, True):
            with pytest.raises(mxio.FormatError, match="cut short"):
                reader.read(out={"x": np.zeros(300_000, "u1")}, check=check)


# ---- memory ------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="peaks of memory are read from Linux's /proc"
)
@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer takes memory of its own"
)
def test_little_memory_is_taken_beside(tmp_path: Path) -> None:
    code = """
n = 8 << 20
out = {
    "plain": np.ones(n, "f4"),
    "strided": np.ones((n, 2), "f4")[:, 0],
    "order": np.ones((2048, 4096), "f4", "F"),
    "converted": np.ones(n, "f2"),
}
saved = {"plain": out["plain"], "strided": out["plain"].copy(), "converted": out["plain"].copy(),
         "order": np.ones((2048, 4096), "f4")}
growths = {}
for format in ("mxio", "npz"):
    mxio.save(path, saved, format=format, sync=False)
    with mxio.open(path) as reader:
        for name in out if format == "mxio" else ["plain", "converted"]:
            growth, _ = grown(lambda: reader.read([name], out=out, cast=True, check=True))
            growths[f"{format} {name}"] = growth
report(**growths)
"""
    growths = run(code, tmp_path / "x")
    print({name: f"{growth / MIB:.1f} MiB" for name, growth in growths.items()})
    assert len(growths) == 6
    assert max(growths.values()) < 20 * MIB, growths


# ---- other libraries ---------------------------------------------------------------------------


def test_memory_of_others_is_filled(tmp_path: Path) -> None:
    arrays = {name: items("f4", (6,), at) for at, name in enumerate("abcd")}
    path = tmp_path / "map"
    mapped = np.memmap(path, "f4", "w+", shape=(6,))

    class Wrapping:
        def __init__(self) -> None:
            self.inner = np.zeros(6, "f4")

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
            return self.inner

    wrapping = Wrapping()
    standard = stdlib_array.array("f", [0] * 6)
    viewed = memoryview(bytearray(24)).cast("f")
    out = {"a": mapped, "b": wrapping, "c": standard, "d": viewed}
    with mxio.open(mxio.dumps(arrays)) as reader:
        found = reader.read(out=out)
    assert all(found[name] is out[name] for name in out)
    assert [mapped.tolist(), wrapping.inner.tolist(), standard.tolist(), viewed.tolist()] == [
        arrays[name].tolist() for name in "abcd"
    ]


def test_tensors_of_torch_are_filled() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    arrays = {"w": items("f4", (5, 4)), "b": items("f4", (9,)), "h": items("f4", (4, 5))}
    data = {k: torch.from_numpy(v) for k, v in arrays.items()}
    data["h"] = data["h"].to(torch.bfloat16)
    out = {
        "w": torch.nn.Parameter(torch.zeros(4, 5).t()),
        "b": torch.zeros(9),
        "h": torch.zeros(4, 5, dtype=torch.bfloat16),
    }
    with mxio.open(mxio.dumps(data)) as reader:
        if ml_dtypes is None:
            out.pop("h")
        reader.read(out=out)
        assert all(torch.equal(out[name], data[name]) for name in out)
        with pytest.raises(TypeError, match=r"out for 'w' is a torch\.Tensor"):
            reader.read(out={"w": torch.zeros(5, 4, device="meta")})


# ---- many arrays -------------------------------------------------------------------------------


def test_signatures_are_those_of_what_is_read() -> None:
    arrays = saved_arrays()
    with mxio.open(mxio.dumps(arrays)) as reader:
        numbers = list(range(len(arrays)))
        random.Random(1).shuffle(numbers)
        found = reader.index.signatures(numbers)
        names = list(arrays)
        assert found == [(arrays[names[n]].shape, arrays[names[n]].dtype) for n in numbers]
        with pytest.raises(IndexError):
            reader.index.signatures([len(arrays)])
    with mxio.open(mxio.dumps(arrays["f8 (5, 6) C"].astype(">f8"), format="npy")) as reader:
        ((shape, dtype),) = reader.index.signatures([0])
        assert (shape, dtype, dtype.isnative) == ((5, 6), np.dtype("f8"), True)


def test_many_arrays_are_filled() -> None:
    arrays = {f"{n}": items("u1", (n % 50,), n) for n in range(20_000)}
    out = {name: np.zeros(array.shape, "u1") for name, array in arrays.items()}
    with mxio.open(mxio.dumps(arrays), threads=2) as reader:
        reader.read(out=out, check=True)
    assert all(np.array_equal(out[name], arrays[name]) for name in arrays)
