# SPDX-License-Identifier: Apache-2.0
"""What the values of an array in a file are like, computed piece by piece.

The oracle is NumPy on the whole array, in float64 or in integers of Python.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import mxio
from mxio import _pieces
from mxio._stats import Stats, stats

Array = np.ndarray[Any, Any]


def of(array: Array, bins: int = 16) -> Stats:
    with mxio.open(mxio.dumps({"x": array})) as reader:
        return stats(reader, "x", bins=bins)


def random(shape: Any, dtype: Any = "f8", seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# ---- pieces ----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 7), max_size=4).map(tuple), st.integers(1, 400))
def test_tiles_hold_each_item_once_and_are_no_larger_than_they_may_be(
    shape: tuple[int, ...], n_items: int
) -> None:
    seen = np.zeros(shape, int)
    for box in _pieces.tiles(shape, n_items):
        assert 0 < seen[box].size <= n_items
        seen[box] += 1
    assert (seen == 1).all()


def test_tiles_are_long_both_ways() -> None:
    (first, *_) = _pieces.tiles((1000, 5, 1000), 10_000)
    assert [part.stop for part in first] == [128, 1, 64]
    (first, *_) = _pieces.tiles((4, 1000, 4), 10_000)
    assert [part.stop for part in first] == [4, 512, 4]


@pytest.mark.parametrize("format", ["mxio", "npz", "compressed", "big-endian"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_runs_follow_the_bytes_of_the_file(order: Any, format: str, tmp_path: Path) -> None:
    x = np.asarray(random((500, 300)), order=order)
    path = tmp_path / "x"
    if format == "mxio":
        mxio.save(path, x)
    elif format == "big-endian":
        with open(path, "wb") as file:
            np.save(file, x.astype(">f8"))
    else:
        mxio.save(path, {"": x}, format="npz", compress=format == "compressed")
    with mxio.open(path) as reader:
        (name,) = reader
        found = list(_pieces.runs(reader[name], 7001))
    assert {len(piece) for piece in found[:-1]} == {7001}
    assert np.array_equal(np.concatenate(found), x.ravel(order))
    assert found[0].dtype.isnative


# ---- numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u1", "i2", "i4", "u4", "i8", "u8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_are_those_of_numpy(
    dtype: str, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pieces, "_BLOCK_ITEMS", 100)
    monkeypatch.setattr("mxio._stats.PIECE_NBYTES", 1000)
    x = np.asarray((random((40, 7, 11)) * 50).astype("i8").astype(dtype), order=order)
    found = of(x)
    y = x.astype("f8")
    assert found.size == x.size
    assert (found.n_nan, found.n_inf) == (0, 0)
    assert found.n_zero == (y == 0).sum()
    assert (found.min, found.max) == (y.min(), y.max())
    assert found.mean == pytest.approx(y.mean(), rel=1e-12)
    assert found.std == pytest.approx(y.std(), rel=1e-12)
    assert sum(found.histogram) == x.size
    assert len(found.histogram) == 16


@given(
    npst.arrays(
        np.float64,
        npst.array_shapes(max_dims=2, max_side=30),
        elements=st.floats(-1e6, 1e6).map(lambda value: round(value, 3)),
    ),
    st.integers(1, 20),
)
@settings(deadline=None)
def test_a_histogram_counts_what_lies_between_its_edges(x: Array, bins: int) -> None:
    found = of(x, bins)
    assert found.min is not None
    assert found.max is not None
    if found.min == found.max:
        assert found.histogram == (x.size,)
        return
    assert sum(found.histogram) == x.size
    # Half a thousandth of a part is left to rounding at the edges.
    width = (found.max - found.min) / bins
    edges = found.min + width * np.arange(1, bins)
    below = np.cumsum(found.histogram)[:-1]
    for edge, n in zip(edges, below, strict=True):
        slack = 1e-9 * max(abs(found.min), abs(found.max), width)
        assert (x < edge - slack).sum() <= n <= (x < edge + slack).sum()


@pytest.mark.parametrize(
    "name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float4_e2m1fn", "int4"]
)
def test_the_dtypes_of_ml_dtypes_are_numbers(name: str) -> None:
    dtype = getattr(ml_dtypes, name)
    x = np.abs(random(500) * 3).astype(dtype)
    found, y = of(x), x.astype("f8")
    assert (found.min, found.max) == (y.min(), y.max())
    assert found.mean == pytest.approx(y.mean(), rel=1e-12)
    assert found.std == pytest.approx(y.std(), rel=1e-12)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
def test_what_is_not_finite_is_counted_and_left_out(dtype: Any) -> None:
    x = np.array([1, np.nan, -np.inf, 3, np.inf, np.nan, np.nan, 0]).astype(dtype)
    found = of(x)
    assert (found.size, found.n_nan, found.n_inf, found.n_zero) == (8, 3, 2, 1)
    assert (found.min, found.max) == (0, 3)
    assert found.mean == pytest.approx(4 / 3)
    assert sum(found.histogram) == 3


@pytest.mark.parametrize("x", [np.zeros(0), np.full(3, np.nan), np.zeros((0, 5), "i4")])
def test_without_a_finite_number_there_is_no_range(x: Array) -> None:
    assert of(x)[4:] == (None, None, None, None, ())


def test_the_ends_of_integers_are_exact() -> None:
    for dtype in ("i8", "u8"):
        ends = np.iinfo(dtype)
        found = of(np.array([ends.min, ends.max, 1], dtype))
        assert (found.min, found.max) == (ends.min, ends.max)
        assert type(found.max) is int


@pytest.mark.parametrize("scale", [1e308, 1e-308, 5e-324, 1e200, 1e-200])
def test_values_whose_squares_leave_float64_have_a_mean_and_a_deviation(scale: float) -> None:
    found = of(np.array([scale, 0.0, scale, 0.0]))
    assert found.mean == pytest.approx(scale / 2, rel=1e-9, abs=5e-324)
    assert found.std == pytest.approx(scale / 2, rel=1e-9, abs=5e-324)
    assert sum(found.histogram) == 4
    assert found.histogram[0] == found.histogram[-1] == 2
    both = of(np.array([-1.7e308, 1.7e308]))
    assert (both.mean, both.std) == (0, pytest.approx(1.7e308))


def test_a_small_deviation_far_from_zero_is_not_lost() -> None:
    x = 1e9 + random(300_000)
    assert of(x).std == pytest.approx(x.std(), rel=1e-9)


def test_of_complex_numbers_it_is_the_magnitude() -> None:
    found = of(np.array([3 + 4j, 0, complex(np.nan, 1)], "c8"))
    assert (found.min, found.max, found.n_nan, found.n_zero) == (0, 5, 1, 1)


def test_times_are_counts_of_their_unit_and_have_no_mean() -> None:
    found = of(np.array(["1970-01-03", "NaT", "1970-01-01"], "M8[D]"))
    assert (found.min, found.max, found.n_nan, found.mean) == (0, 2, 1, None)
    assert sum(found.histogram) == 2


def test_text_has_a_size_only() -> None:
    assert of(np.array(["a", "bc"])) == Stats(2, 0, 0, 0, None, None, None, None, ())


# ---- files -----------------------------------------------------------------------------------


def test_damage_is_an_error_and_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    mxio.save(path, {"x": random(100_000)})
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    with mxio.open(bytes(data)) as reader, pytest.raises(mxio.ChecksumError):
        stats(reader, "x")


@pytest.mark.parametrize("x", [random(700_000), random(10), np.array(["a"]), np.zeros(0)])
def test_progress_adds_up_to_twice_the_bytes(x: Array) -> None:
    seen: list[int] = []
    with mxio.open(mxio.dumps({"x": x})) as reader:
        stats(reader, "x", progress=seen.append)
    assert sum(seen) == 2 * x.nbytes


def test_a_large_array_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x = random((1000, 1000))
    most = 0

    def watched(array: mxio.LazyArray, n_items: int) -> Any:
        nonlocal most
        most = max(most, n_items * 8)
        return runs(array, n_items)

    runs = _pieces.runs
    monkeypatch.setattr("mxio._stats.runs", watched)
    monkeypatch.setattr(mxio.LazyArray, "read", None)
    assert of(x).mean == pytest.approx(x.mean())
    assert x.nbytes > 3 * most > 0
