# SPDX-License-Identifier: Apache-2.0
"""How two files differ, in numbers, piece by piece and across formats."""

from __future__ import annotations

import io
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import mxio
from mxio import _diff, _pieces
from mxio._diff import ArrayChange, Diff, PlainChange, compare, require_copy
from mxio._structure import structure_of

Array = np.ndarray[Any, Any]


def opened(obj: object, **options: Any) -> mxio.Reader:
    return mxio.open(mxio.dumps(obj, **options))


def diff(a: object, b: object, **options: Any) -> Diff:
    with opened(a) as first, opened(b) as second:
        return compare(first, second, **options)


def change(a: Any, b: Any, **options: Any) -> ArrayChange:
    """The one change between two arrays."""
    (found,) = diff({"x": np.asarray(a)}, {"x": np.asarray(b)}, **options).changed
    return found


def random(shape: Any, dtype: Any = "f8", seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.fixture(params=["", "small pieces"])
def small_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(_pieces, "_BLOCK_ITEMS", 7)
        monkeypatch.setattr("mxio._diff._SMALL_NBYTES", 0)
        monkeypatch.setattr("mxio._diff.PIECE_NBYTES", 50)


# ---- equal -----------------------------------------------------------------------------------

EVERY = {
    "f": random((30, 20), "f4"),
    "fortran": np.asfortranarray(random((30, 20))),
    "b": np.array([True, False]),
    "i": np.arange(-3, 9, dtype="i2"),
    "c": random(5) + 1j * random(5),
    "s": np.array([b"a", b"bc"]),
    "u": np.array(["é", "xyz"]),
    "t": np.array(["2020-01-01", "NaT"], "M8[D]"),
    "d": np.array([3, 4], "m8[ns]"),
    "bf": random(50, ml_dtypes.bfloat16),
    "f8": random(50, ml_dtypes.float8_e4m3fn),
    "i4": np.arange(7).astype(ml_dtypes.int4),
    "none": np.zeros((0, 3)),
    "item": np.array(2.5),
    "nan": np.array([np.nan, 1]),
}


@pytest.mark.usefixtures("small_pieces")
def test_what_was_saved_twice_is_strictly_the_same() -> None:
    found = diff({"all": EVERY, "step": 3}, {"all": EVERY, "step": 3})
    assert found.is_strictly_same
    assert found == Diff([], [], [], len(EVERY), [], [], [])


@pytest.mark.usefixtures("small_pieces")
def test_the_order_in_which_an_array_lies_is_no_difference() -> None:
    x = random((17, 5, 9))
    assert diff({"x": x}, {"x": np.asfortranarray(x)}).n_equal == 1
    y = x.copy()
    y[3, 4, 5] += 1
    assert change(np.asfortranarray(x), y).n_changed == 1
    assert change(x, np.asfortranarray(y)).n_changed == 1


def test_a_file_of_another_format_is_compared_like_any() -> None:
    arrays = {"w": random((40, 30), "f4"), "i": np.arange(5), "b": random(9, ml_dtypes.bfloat16)}
    other = {**arrays, "i": np.array([0, 1, 2, 3, 7])}
    for format in ("mxnet", "safetensors"):
        with opened(arrays) as a, opened(arrays, format=format) as b:
            assert compare(a, b).is_same
        with opened(other, format=format) as a, opened(arrays) as b:
            (found,) = compare(a, b).changed
            assert (found.name, found.n_changed, found.max_abs) == ("i", 1, 3)


# ---- arrays that differ ----------------------------------------------------------------------


def test_arrays_of_one_file_alone_are_named_in_their_order() -> None:
    x = np.zeros(2)
    found = diff({"a": x, "z": x, "both": x, "b": x}, {"n": x, "both": x, "m": x})
    assert (found.removed, found.added) == (["a", "z", "b"], ["n", "m"])
    assert not found.is_same


def test_changes_come_in_the_order_of_the_first_file() -> None:
    x = {"large": random(100_000), "small": random(3), "wide": random((300, 400)), "b": random(2)}
    y = {name: array + 1 for name, array in reversed(x.items())}
    assert [found.name for found in diff(x, y).changed] == list(x)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
def test_floats_are_compared_by_value(dtype: Any) -> None:
    x = np.array([1, 2, 0, np.nan, np.inf, 4, np.nan, -2] * 5).astype(dtype)
    y = np.array([1, 3, 0, np.nan, np.inf, 4, 5, -4] * 5).astype(dtype)
    found = change(x, y)
    assert found.size == 40
    assert found.n_changed == 15
    assert found.max_abs == 2
    assert found.max_rel == 0.5
    assert found.n_nan == (10, 5)


@settings(deadline=None)
@given(st.data(), st.sampled_from(["f4", "f8", "i1", "u1", "i4", "i8", "u8", "?", "c16"]))
def test_numbers_are_those_of_python(data: st.DataObject, dtype: str) -> None:
    shape = data.draw(npst.array_shapes(max_dims=2, max_side=8))
    elements = npst.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False)
    x = data.draw(npst.arrays(dtype, shape, elements=elements))
    y = data.draw(
        npst.arrays(dtype, shape, elements=st.one_of(elements, st.sampled_from(x.ravel())))
    )
    found = diff({"x": x}, {"x": y})
    pairs = [(p, q) for p, q in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True)]
    n_changed = sum(p != q for p, q in pairs)
    if not found.changed:
        assert x.tobytes() == y.tobytes()
        return
    (one,) = found.changed
    assert one.n_changed == n_changed
    assert one.n_nan == (0, 0)

    def apart(p: Any, q: Any) -> Any:
        try:
            return abs(p - q)
        except OverflowError:
            return float("inf")

    largest = max(apart(p, q) for p, q in pairs)
    if dtype[0] in "iu?":
        assert one.max_abs == largest  # exact
    else:
        assert one.max_abs == pytest.approx(largest, rel=1e-12)


def test_integers_at_the_ends_of_their_range_are_apart_as_far_as_they_are() -> None:
    low, high = np.iinfo("i8").min, np.iinfo("i8").max
    found = change(np.array([low, 5]), np.array([high, 5]))
    assert (found.max_abs, found.n_changed) == (2**64 - 1, 1)
    found = change(np.array([0], "u8"), np.array([2**64 - 1], "u8"))
    assert (found.max_abs, found.max_rel) == (2**64 - 1, 1)
    found = change(np.array([-1], "i8"), np.array([2**64 - 1], "u8"))
    assert (found.n_changed, found.max_abs) == (1, 2.0**64)
    # Neighbours that float64 cannot tell apart.
    assert change(np.array([2**62]), np.array([2**62 + 1])).max_abs == 1
    assert change(np.array([2**63], "u8"), np.array([2**63 - 1], "i8")).n_changed == 1


def test_an_infinity_is_infinitely_far_from_a_number() -> None:
    for dtype in ("f4", "c8"):
        found = change(np.array([np.inf, 1], dtype), np.array([2, 1], dtype))
        assert (found.n_changed, found.max_abs, found.max_rel) == (1, np.inf, np.inf)
        assert found.n_nan == (0, 0)
    assert change([np.inf], [-np.inf]).max_abs == np.inf
    # A tolerance does not reach that far.
    assert change([np.inf], [1.0], rtol=0.5, atol=1e9).n_changed == 1


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([0.0], [-0.0]),
        ([np.nan], np.array([0x7FF8000000000001], "u8").view("f8")),
        (np.array([0j]), np.array([complex(-0.0, 0)])),
    ],
)
def test_other_bits_of_an_equal_value_differ_strictly_only(x: Any, y: Any) -> None:
    found = diff({"x": np.asarray(x)}, {"x": np.asarray(y)})
    assert found.is_same
    assert not found.is_strictly_same
    assert found.changed[0].n_changed == 0


def test_a_tolerance_is_of_the_larger_of_both() -> None:
    x, y = np.array([100.0, 1.0, 0.0]), np.array([99.0, 1.25, 1e-9])
    assert change(x, y).n_changed == 3
    assert change(x, y, rtol=0.011).n_changed == 2
    assert change(x, y, rtol=0.011, atol=1e-8).n_changed == 1
    assert change(y, x, rtol=0.011, atol=1e-8).n_changed == 1
    assert diff({"x": x}, {"x": y}, rtol=0.2, atol=1e-8).is_same
    assert change(x, y, rtol=0.2, atol=1e-8).max_abs == 1
    assert change([5], [6], atol=1).n_changed == 0


def test_another_dtype_is_a_difference_and_the_values_are_compared_nevertheless() -> None:
    x = random(1000, "f4")
    found = change(x, x.astype(ml_dtypes.bfloat16))
    assert found.dtypes == ("float32", "bfloat16")
    assert not found.is_same
    assert found.max_rel is not None
    assert 0 < found.max_rel <= 2**-8
    found = change(np.arange(5, dtype="i4"), np.arange(5, dtype="i8"))
    assert (found.n_changed, found.is_same) == (0, False)
    assert change([True, False], [1.0, 0.5]).n_changed == 1
    assert change([1.0], [1 + 2j]).max_abs == 2


def test_text_is_compared_item_by_item() -> None:
    found = change(["a", "b", "c"], ["a", "x", "c"])
    assert (found.n_changed, found.max_abs, found.max_rel) == (1, None, None)
    assert change(["a", "b"], ["a", "bb"]).dtypes == ("U1", "U2")
    assert change([b"a"], ["a"]).n_changed is None


def test_times_are_compared_in_their_unit() -> None:
    x = np.array(["2020-01-01", "NaT", "NaT", "2020-01-01"], "M8[D]")
    y = np.array(["2020-01-04", "NaT", "2020-01-01", "2020-01-01"], "M8[D]")
    found = change(x, y)
    assert (found.n_changed, found.max_abs, found.max_rel) == (2, 3, None)
    assert found.n_nan == (2, 1)
    assert change(x, y.astype("M8[s]")).n_changed is None


def test_arrays_of_other_shapes_are_not_compared() -> None:
    found = change(np.zeros((2, 3)), np.zeros((3, 2)))
    assert found.shapes == ((2, 3), (3, 2))
    assert (found.n_changed, found.max_abs, found.is_same) == (None, None, False)
    assert change(np.zeros((0, 2)), np.zeros((0, 3))).n_changed is None


def test_damage_is_an_error_and_not_a_difference() -> None:
    for x in (random(10), random(200_000)):
        data = bytearray(mxio.dumps({"x": x}))
        data[-5] ^= 1
        with mxio.open(bytes(data)) as a, opened({"x": x}) as b:
            with pytest.raises(mxio.ChecksumError):
                compare(a, b)
            with pytest.raises(mxio.ChecksumError):
                compare(b, a)


def test_progress_ends_at_all_bytes_of_what_both_have() -> None:
    x = {"large": random(700_000), "other": random(600_000), "small": random(10), "more": random(9)}
    y = {**x, "other": x["other"] + 1, "small": x["small"].astype("f4")}
    del y["more"]
    seen: list[tuple[int, int]] = []
    diff(x, y, progress=lambda *at: seen.append(at))
    total = sum(x[name].nbytes for name in y)
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)
    assert len(seen) > 3


# ---- trees and metadata ----------------------------------------------------------------------


def test_plain_values_are_compared_by_type_and_value() -> None:
    a = {"w": random(3), "step": 1, "same": "x", "nan": float("nan"), "deep": [None, {"k": 2**70}]}
    b = {"w": random(3), "step": 1.0, "same": "x", "nan": float("nan"), "deep": [True, {"k": -1}]}
    found = diff(a, b)
    assert found.plain == [
        PlainChange("step", ("1", "1.0")),
        PlainChange("deep/0", ("None", "True")),
        PlainChange("deep/1/k", (str(2**70), "-1")),
    ]
    assert found.structure == []
    assert not found.is_same
    assert diff(a, a).is_strictly_same


def test_a_plain_value_may_be_there_in_one_file_only() -> None:
    found = diff({"w": random(3), "a": "x"}, {"w": random(3), "b": b"\0"})
    assert found.plain == [PlainChange("a", ("'x'", None)), PlainChange("b", (None, r"b'\x00'"))]


def test_keys_that_look_alike_are_kept_apart() -> None:
    found = diff({1: "a", "1": "b"}, {1: "a", "1": "c"})
    assert found.plain == [PlainChange("1 (2)", ("'b'", "'c'"))]


def test_containers_are_compared_strictly_only() -> None:
    x = random(3)
    found = diff([x, x], {"0": x, "1": x})
    assert found.is_same
    assert not found.is_strictly_same
    assert found.structure == [PlainChange("", ("list", "dict"))]
    assert diff({"a": {"w": x}}, {"a/w": x}).structure == [PlainChange("a", ("dict", None))]
    assert diff({"a": {"w": (x, 1)}}, {"a": {"w": [x, 1]}}).structure == [
        PlainChange("a/w", ("tuple", "list"))
    ]
    # What is added brings its container along.
    assert diff({"a": x, "n": {"b": 1, "w": x}}, {"a": x}).structure == []


def test_metadata_is_compared_strictly_only() -> None:
    x = random(3)
    with (
        opened(x, metadata={"run": "a", "k": {"b": 1, "a": 2}, "gone": None}) as a,
        opened(x, metadata={"run": "b", "k": {"a": 2, "b": 1}, "new": 1}) as b,
    ):
        found = compare(a, b)
    assert found.metadata == [
        PlainChange("run", ('"a"', '"b"')),
        PlainChange("gone", ("null", None)),
        PlainChange("new", (None, "1")),
    ]
    assert found.is_same
    assert not found.is_strictly_same


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (np.zeros(1), "one array"),
        ([np.zeros(1)], "list of 1 array"),
        ((np.zeros(1), np.zeros(1)), "tuple of 2 arrays"),
        ({}, "dict of 0 arrays"),
        ({"a": {"b": np.zeros(1)}}, "tree of 1 array"),
        ({"a": np.zeros(1), "b": 1}, "tree of 1 array and 1 plain value"),
        ({"b": {}, "c": ["x", None]}, "tree of 2 plain values"),
        ({"b": {}}, "tree of nothing"),
    ],
)
def test_a_structure_is_told_in_words(obj: object, words: str) -> None:
    with opened(obj) as reader:
        assert structure_of(reader.index).words == words


# ---- copies ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_pieces")
def test_a_copy_has_all_the_bits() -> None:
    with opened(EVERY) as a, opened({f"x/{name}": EVERY[name] for name in EVERY}) as b:
        require_copy(a, b, [(name, f"x/{name}") for name in EVERY])
    for name, array in EVERY.items():
        if not array.nbytes:
            continue
        other = array.copy(order="K")
        bits = (other.T if other.flags.f_contiguous else other).reshape(-1).view(np.uint8)
        bits[-1] ^= 1
        with (
            opened(EVERY) as a,
            opened({**EVERY, name: other}) as b,
            pytest.raises(mxio.FormatError, match=f"'{name}' is not what was copied"),
        ):
            require_copy(a, b, zip(EVERY, EVERY, strict=True))


def test_a_copy_may_have_floats_of_another_dtype_and_nothing_else() -> None:
    dtype = np.dtype(ml_dtypes.bfloat16)
    to = {
        name: array.astype(dtype) if array.dtype.kind == "f" or name in ("bf", "f8") else array
        for name, array in EVERY.items()
    }
    pairs = list(zip(EVERY, EVERY, strict=True))
    with opened(EVERY) as a, opened(to) as b:
        require_copy(a, b, pairs, dtype=dtype)
        with pytest.raises(mxio.FormatError):
            require_copy(a, b, pairs)
    with (
        opened(EVERY) as a,
        opened({**to, "f": EVERY["f"].astype(dtype) * 2}) as b,
        pytest.raises(mxio.FormatError, match="'f'"),
    ):
        require_copy(a, b, pairs, dtype=dtype)


def test_a_copy_has_neither_more_nor_fewer_arrays() -> None:
    x = {"x": random(3), "y": random(3)}
    with opened(x) as a, opened({"x": x["x"]}) as b:
        with pytest.raises(mxio.FormatError, match="no array 'y'"):
            require_copy(a, b, [("x", "x"), ("y", "y")])
        with pytest.raises(mxio.FormatError, match="'y' that was not copied"):
            require_copy(b, a, [("x", "x")])


def test_a_large_array_is_compared_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x = random((1000, 1000))
    y = np.asfortranarray(x)
    most = 0

    def watched(pair: Any) -> Any:
        nonlocal most
        for piece, other in pieces(pair):
            most = max(most, piece.nbytes, other.nbytes)
            yield piece, other

    pieces = _diff._Pair._pieces
    monkeypatch.setattr(_diff._Pair, "_pieces", watched)
    for other in (x + 1, y, y + 1):
        diff({"x": x}, {"x": other})
    assert x.nbytes > 3 * most > 0


def test_files_that_are_no_paths_are_compared_too() -> None:
    with mxio.open(io.BytesIO(mxio.dumps(EVERY))) as a, opened(EVERY) as b:
        assert compare(a, b).is_strictly_same
