# SPDX-License-Identifier: Apache-2.0
"""Operators against references written out here; test_nd_real.py asks MXNet itself.

Where mxio means to differ from MXNet 1.9.1, the test's docstring says so.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mxio import nd
from mxio.context import gpu


def some(*shape: int, seed: int = 0, dtype: Any = "float64") -> nd.NDArray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype).view(nd.NDArray)


def numbered(*shape: int, dtype: Any = "float32") -> nd.NDArray:
    return np.arange(math.prod(shape), dtype=dtype).reshape(shape).view(nd.NDArray)


def items(x: Any) -> Any:
    assert type(x) is nd.NDArray
    return np.asarray(x).tolist()


# ---- item by item

FORMULAS: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "sign": lambda v: (v > 0) - (v < 0),
    "negative": lambda v: -v,
    "reciprocal": lambda v: 1 / v,
    "square": lambda v: v * v,
    "sqrt": math.sqrt,
    "rsqrt": lambda v: 1 / math.sqrt(v),
    "cbrt": lambda v: math.copysign(abs(v) ** (1 / 3), v),
    "rcbrt": lambda v: 1 / math.copysign(abs(v) ** (1 / 3), v),
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "log1p": math.log1p,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "arcsin": math.asin,
    "arccos": math.acos,
    "arctan": math.atan,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "tanh": math.tanh,
    "arcsinh": math.asinh,
    "arccosh": math.acosh,
    "arctanh": math.atanh,
    "degrees": math.degrees,
    "radians": math.radians,
    "ceil": math.ceil,
    "floor": math.floor,
    "trunc": math.trunc,
    "fix": math.trunc,
    "erf": math.erf,
    "gamma": math.gamma,
    "gammaln": math.lgamma,
    "relu": lambda v: max(v, 0),
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)),
    "softsign": lambda v: v / (1 + abs(v)),
    "hard_sigmoid": lambda v: min(max(0.2 * v + 0.5, 0), 1),
    "smooth_l1": lambda v: v * v / 2 if abs(v) < 1 else abs(v) - 0.5,
    "logical_not": lambda v: not v,
}
NARROW = {"arcsin", "arccos", "arctanh"}
POSITIVE = {"sqrt", "rsqrt", "log", "log2", "log10", "log1p", "gamma", "gammaln", "arccosh"}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", FORMULAS)
def test_functions_of_one_array_follow_their_formulas(name, dtype):
    low, high = (-0.9, 0.9) if name in NARROW else (1.1, 5) if name in POSITIVE else (-4, 4)
    x = np.random.default_rng(1).uniform(low, high, (4, 50)).astype(dtype)
    y = getattr(nd, name)(x, name="ignored")
    assert type(y) is nd.NDArray
    assert y.dtype == (bool if name == "logical_not" else dtype)
    expected = np.array([[FORMULAS[name](v) for v in row] for row in x.astype(float).tolist()])
    error = np.abs(np.asarray(y).astype(float) - expected)
    assert (error <= 4 * float(np.finfo(dtype).eps) * np.maximum(np.abs(expected), 0.1)).all()
    if hasattr(nd.NDArray, name):
        assert np.array_equal(getattr(x.view(nd.NDArray), name)(), y)


def test_erf_is_exact_everywhere():
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(size=20000) * 2, 10.0 ** rng.uniform(-300, 1, 2000)])
    for dtype in ("float64", "float32"):
        given = x.astype(dtype)
        y = np.asarray(nd.erf(given)).astype(float)
        expected = np.array([math.erf(v) for v in given.astype(float).tolist()])
        unit = np.spacing(np.abs(expected).astype(dtype)).astype(float)
        assert (np.abs(y - expected) <= 2 * unit).all()
        assert np.abs(y).max() == 1
    special = nd.erf(nd.array([np.inf, -np.inf, np.nan, -0.0]))
    assert items(special)[:2] == [1, -1]
    assert np.isnan(special[2])
    assert math.copysign(1, special[3]) == -1


def test_erfinv_turns_erf_around():
    y = np.concatenate([np.linspace(-5, 5, 501), [1e-9, -1e-300, 3e-5]])
    x = np.array([math.erf(v) for v in y])
    back = np.asarray(nd.erfinv(x))
    # As exact as the differences of x from 1 allow.
    slope = 2 / math.sqrt(math.pi) * np.exp(-(y**2))
    assert (np.abs(back - y) <= 4e-16 * np.abs(y) + 2 * np.spacing(np.abs(x)) / slope).all()
    assert items(nd.erfinv(nd.array([1, -1, 0]))) == [math.inf, -math.inf, 0]
    assert np.isnan(nd.erfinv(nd.array([1.5, np.nan]))).all()


def test_gamma_at_its_ends():
    x = nd.array([0, -1, 200, np.inf, np.nan], dtype="float64")
    assert items(nd.gamma(x))[0] == math.inf
    assert items(nd.gamma(x))[2:4] == [math.inf, math.inf]
    assert np.isnan(nd.gamma(x)[[1, 4]]).all()
    assert items(nd.gammaln(x))[:2] == [math.inf, math.inf]


def test_rounding_of_ties_is_that_of_mxnet():
    x = nd.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, 2**23 + 1, np.inf])
    end = [0, 2**23 + 1, math.inf]
    assert items(nd.round(x)) == items(x.round()) == [-3, -2, -1, 1, 2, 3, *end]
    assert items(nd.rint(x)) == [-3, -2, -1, 0, 1, 2, *end]
    assert items(np.round(x)) == [-2, -2, 0, 0, 2, 2, *end]
    assert items(nd.array([1.25]).astype("float64").round(1)) == [1.2]


def test_integers_stay_integers_and_truth_counts_as_float32():
    x = nd.array([-3, -1, 2, 7], dtype="int32")
    assert items(nd.exp(x)) == [0, 0, 7, 1096]
    assert items(nd.sigmoid(x)) == [0, 0, 0, 0]
    big = nd.array([-(2**62) - 1], dtype="int64")
    for name in ("abs", "negative"):
        assert items(getattr(nd, name)(big)) == [2**62 + 1]
    assert items(nd.floor(big)) == [-(2**62) - 1]
    for y in (nd.exp(x), nd.abs(x), nd.sign(x), nd.round(x), nd.mean(x), nd.sum(x), nd.max(x)):
        assert y.dtype == np.int32
    mask = x > 0
    for y in (nd.negative(mask), nd.exp(mask), nd.sum(mask), nd.mean(mask), nd.add(mask, mask)):
        assert y.dtype == np.float32
    assert items(nd.broadcast_add(mask, mask)) == [0, 0, 2, 2]
    assert items(nd.broadcast_sub(1, mask)) == [1, 1, 0, 0]


OPERATORS: dict[str, Callable[[float, float], float]] = {
    "add elemwise_add broadcast_add broadcast_plus": lambda a, b: a + b,
    "subtract elemwise_sub broadcast_sub broadcast_minus": lambda a, b: a - b,
    "multiply elemwise_mul broadcast_mul": lambda a, b: a * b,
    "divide elemwise_div broadcast_div true_divide": lambda a, b: a / b,
    "modulo broadcast_mod": lambda a, b: a % b if b else 0,
    "power broadcast_power": lambda a, b: a**b,
    "maximum broadcast_maximum": max,
    "minimum broadcast_minimum": min,
    "broadcast_hypot": math.hypot,
    "equal broadcast_equal": lambda a, b: a == b,
    "not_equal broadcast_not_equal": lambda a, b: a != b,
    "greater broadcast_greater": lambda a, b: a > b,
    "greater_equal broadcast_greater_equal": lambda a, b: a >= b,
    "lesser broadcast_lesser": lambda a, b: a < b,
    "lesser_equal broadcast_lesser_equal": lambda a, b: a <= b,
    "logical_and broadcast_logical_and": lambda a, b: bool(a and b),
    "logical_or broadcast_logical_or": lambda a, b: bool(a or b),
    "logical_xor broadcast_logical_xor": lambda a, b: bool(a) != bool(b),
}


@pytest.mark.parametrize("names", OPERATORS)
def test_functions_of_two_arrays_follow_their_formulas(names):
    """Comparisons are bool, as those of NDArray; MXNet 1.9.1 has the dtype of the arguments."""
    formula = OPERATORS[names]
    divides = names.startswith(("divide", "power"))
    x = nd.array([[-3], [0], [2], [7]] if not names.startswith("power") else [[1], [2], [3], [7]])
    y = nd.array([[2, -3, 5]] if divides else [[2, 0, -3, 7]])
    for name in names.split():
        function = getattr(nd, name)
        z = function(x, y)
        expected = [[formula(a, b) for b in items(y)[0]] for (a,) in items(x)]
        assert np.allclose(z, expected, rtol=1e-6, atol=0)
        truth = isinstance(expected[0][0], bool)
        assert z.dtype == (bool if truth else np.float32)
        assert np.allclose(function(x, 2), [[formula(a, 2)] for (a,) in items(x)], rtol=1e-6)
        assert np.allclose(function(3, y), [[formula(3, b) for b in items(y)[0]]], rtol=1e-6)
        scalar = function(7, 2)
        assert not isinstance(scalar, np.ndarray)
        assert scalar == pytest.approx(formula(7, 2))
        out = nd.zeros(z.shape, dtype=z.dtype)
        assert function(x, y, out=out, name="ignored") is out
        assert np.array_equal(out, z)


def test_arguments_of_different_dtypes_become_what_numpy_makes_of_them():
    x, y = nd.array([1, 2], dtype="int32"), nd.array([2, 2])
    assert nd.add(x, y).dtype == (x + y).dtype
    assert nd.divide(x, x).dtype == (x / x).dtype
    assert nd.add(y, 2.5).dtype == np.float32


def test_where_chooses_items_or_rows():
    x, y = numbered(2, 3), -numbered(2, 3)
    assert items(nd.where(nd.array([[0, 1, np.nan], [-1, 0, 0]]), x, y)) == [[0, 1, 2], [3, -4, -5]]
    assert items(nd.where(nd.array([0, 1]), x, y)) == [[0, -1, -2], [3, 4, 5]]
    assert items(nd.where(x > 2, 1, y)) == [[0, -1, -2], [1, 1, 1]]


def test_clip_cast_and_sums_of_many():
    x = nd.array([-2, np.nan, 5, np.inf])
    assert items(nd.clip(x, -1, 3))[::2] == items(x.clip(-1, 3))[::2] == [-1, 3]
    assert np.isnan(nd.clip(x, a_min=-1, a_max=3)[1])
    assert items(nd.clip(nd.array([-5, 5], dtype="int32"), -1.5, 1.5)) == [-1, 1]
    assert items(nd.cast(nd.array([1.7, -1.7]), dtype="int32")) == [1, -1]
    assert nd.Cast(x, dtype="bfloat16").dtype.name == "bfloat16"
    assert items(nd.add_n(*[nd.ones(2)] * 3)) == items(nd.ElementWiseSum(*[nd.ones(2)] * 3))
    for copy in (nd.identity, nd.BlockGrad, nd.stop_gradient, nd.make_loss, nd.MakeLoss):
        assert np.array_equal(copy(x), x, equal_nan=True)
        assert not np.shares_memory(copy(x), x)


# ---- reductions


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (1,), [2, 0]])
def test_reductions_go_along_the_axes(axis, exclude, keepdims):
    x = some(2, 3, 4)
    x[0, 0, 0] = np.nan
    given = range(3) if axis is None else [axis] if isinstance(axis, int) else axis
    chosen = {a % 3 for a in given}
    gone = {0, 1, 2} - chosen if exclude and axis is not None else chosen
    parts: dict[tuple[int, ...], list[float]] = {}
    for place in np.ndindex(x.shape):
        kept = tuple(
            0 if i in gone else p for i, p in enumerate(place) if keepdims or i not in gone
        )
        parts.setdefault(kept, []).append(float(x[place]))
    reduce: dict[str, Callable[[list[float]], float]] = {
        "sum": sum,
        "mean": lambda vs: sum(vs) / len(vs),
        "prod": math.prod,
        "max": lambda vs: math.nan if any(map(math.isnan, vs)) else max(vs),
        "min": lambda vs: math.nan if any(map(math.isnan, vs)) else min(vs),
        "nansum": lambda vs: sum(v for v in vs if v == v),
        "nanprod": lambda vs: math.prod(v for v in vs if v == v),
    }
    for name, of in reduce.items():
        for function in (getattr(nd, name), getattr(nd.NDArray, name)):
            y = function(x, axis=axis, exclude=exclude, keepdims=keepdims)
            assert {place: None for place in np.ndindex(y.shape)} == dict.fromkeys(parts)
            for place, values in parts.items():
                assert math.isclose(y[place], of(values), abs_tol=1e-12) or math.isnan(of(values))
                assert math.isnan(y[place]) == math.isnan(of(values))
    if not exclude:
        for order, of in ((1, lambda vs: sum(map(abs, vs))), (2, lambda vs: math.hypot(*vs))):
            y = nd.norm(x[1:], ord=order, axis=axis, keepdims=keepdims)
            whole = np.asarray(x[1:]).reshape(-1)
            if axis is None:
                assert math.isclose(y.reshape(()), of(whole.tolist()))


def test_sums_of_halves_are_taken_in_float32():
    x = nd.ones((5000,), dtype="float16")
    assert items(nd.sum(x)) == 5000
    assert items(nd.cumsum(x))[-1] == 5000
    assert items(nd.norm(x * 100)) == pytest.approx(7072, 1e-3)
    assert nd.norm(x, out_dtype="float64").dtype == np.float64


def test_moments_and_cumsum():
    x = some(2, 3, 4)
    mean, var = nd.moments(x, axes=(0, 2))
    for c in range(3):
        values = np.asarray(x)[:, c].ravel().tolist()
        middle = sum(values) / 8
        assert math.isclose(mean[c], middle)
        assert math.isclose(var[c], sum((v - middle) ** 2 for v in values) / 8)
    assert [y.shape for y in nd.moments(x, axes=(1,), keepdims=True)] == [(2, 1, 4)] * 2
    assert items(nd.cumsum(nd.array([[1, 2], [3, 4]]))) == [1, 3, 6, 10]
    assert items(nd.cumsum(nd.array([[1, 2], [3, 4]]), axis=0)) == [[1, 2], [4, 6]]


def test_positions_are_float32_of_functions_and_integers_of_methods():
    """MXNet 1.9.1 has floats of methods too, and wrong ones beyond 2 ** 24."""
    x = nd.array([[1, 5, 5], [7, 2, np.nan]])
    assert items(nd.argmax(x, axis=1)) == items(x.argmax(axis=1)) == [1, 2]
    assert items(nd.argmin(x, axis=1)) == [0, 2]
    assert items(nd.argmax(x, axis=0, keepdims=True)) == [[1, 0, 1]]
    assert nd.argmax(x, keepdims=True).shape == (1, 1)
    assert items(nd.argmax(x)) == 5
    assert items(nd.argmax_channel(x)) == [1, 2]
    assert nd.argmax(x).dtype == nd.argsort(x).dtype == nd.topk(x).dtype == np.float32
    assert x.argmax().dtype == x.argsort().dtype == np.int64
    assert x.argmax(1, True).shape == (2, 1)
    long = nd.zeros(2**24 + 2, dtype="int8")
    long[-1] = 1
    assert items(nd.argmax(long)) == 2**24 + 1


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("axis", [0, 1, -1, None])
@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "bool"])
def test_sorting_keeps_ties_in_order(axis, ascending, dtype):
    x = np.random.default_rng(3).integers(0, 5, (4, 6)).astype(dtype)
    rows = [x.ravel()] if axis is None else list(np.moveaxis(x, axis, -1))
    key = 1 if ascending else -1
    orders = [sorted(range(len(r)), key=lambda i, r=r: key * int(r[i])) for r in rows]

    def laid(found: Any) -> Any:
        return np.array(found[0]) if axis is None else np.moveaxis(np.array(found), -1, axis)

    values = laid([[r[i] for i in o] for r, o in zip(rows, orders, strict=True)])
    assert np.array_equal(nd.sort(x, axis=axis, is_ascend=ascending), values)
    assert np.array_equal(nd.argsort(x, axis=axis, is_ascend=ascending), laid(orders))
    assert np.array_equal(x.view(nd.NDArray).argsort(axis, is_ascend=ascending), laid(orders))
    found = nd.topk(x, axis=axis, k=2, ret_typ="both", is_ascend=ascending)
    first = laid([o[:2] for o in orders])
    assert np.array_equal(found[1], first)
    assert np.array_equal(found[0], np.take(values, [0, 1], 0 if axis is None else axis))
    assert np.array_equal(nd.topk(x, axis=axis, k=2, is_ascend=ascending), first)
    mask = nd.topk(x, axis=axis, k=2, is_ascend=ascending, ret_typ="mask")
    assert mask.shape == x.shape
    expected = [[i in o[:2] for i in range(len(o))] for o in orders]
    assert np.array_equal(mask, laid(expected).reshape(x.shape))


def test_nan_is_sorted_last():
    x = nd.array([2, np.nan, 3, 1])
    assert items(nd.sort(x))[:3] == [1, 2, 3]
    assert items(nd.sort(x, is_ascend=False))[:3] == [3, 2, 1]
    assert items(nd.topk(x, k=0)) == [2, 0, 3, 1]


@pytest.mark.parametrize(
    "shapes", [((3,), (3,)), ((2, 3), (3,)), ((2, 3, 4), (4, 2)), ((2, 3), (3, 2, 2))]
)
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_dot_sums_over_the_last_and_the_first_axis(shapes, turned):
    a, b = some(*shapes[0]), some(*shapes[1], seed=1)
    expected = np.zeros((*a.shape[:-1], *b.shape[1:]))
    for left, right in itertools.product(np.ndindex(a.shape[:-1]), np.ndindex(b.shape[1:])):
        expected[(*left, *right)] = sum(
            float(a[(*left, k)] * b[(k, *right)]) for k in range(a.shape[-1])
        )
    given = np.moveaxis(a, -1, 0) if turned[0] else a, np.moveaxis(b, 0, -1) if turned[1] else b
    y = nd.dot(*given, transpose_a=turned[0], transpose_b=turned[1])
    assert np.allclose(y, expected, rtol=1e-12)
    if a.ndim == b.ndim == 2:
        given = given[0][None], given[1][None]
        for stacked in (nd.batch_dot, nd.linalg_gemm2, nd.linalg.gemm2):
            y = stacked(*given, transpose_a=turned[0], transpose_b=turned[1])
            assert np.allclose(y[0], expected, rtol=1e-12)


# ---- shapes


def test_shapes_change_and_items_stay():
    x = numbered(2, 3, 4)
    assert nd.transpose(x).shape == x.transpose().shape == (4, 3, 2)
    for y in (nd.transpose(x, axes=(2, 0, 1)), x.transpose((2, 0, 1)), x.transpose(2, 0, 1)):
        assert y.shape == (4, 2, 3)
        assert all(y[k, i, j] == x[i, j, k] for i, j, k in np.ndindex(x.shape))
    for y in (nd.swapaxes(x, 0, 2), nd.SwapAxis(x, dim1=0, dim2=2), x.swapaxes(dim1=0, dim2=2)):
        assert all(y[k, j, i] == x[i, j, k] for i, j, k in np.ndindex(x.shape))
    assert [nd.expand_dims(x, axis=a).shape.index(1) for a in (0, 1, 3, -1, -4)] == [0, 1, 3, 3, 0]
    assert nd.squeeze(x.reshape(1, 6, 1, 4)).shape == (6, 4)
    assert nd.squeeze(x.reshape(1, 6, 1, 4), axis=(2,)).shape == (1, 6, 4)
    assert nd.Flatten(x).shape == nd.flatten(x).shape == x.flatten().shape == (2, 12)
    assert x.flatten("C").shape == (24,)
    assert nd.zeros((0, 3, 2)).flatten().shape == (0, 6)
    assert items(nd.shape_array(x)) == [2, 3, 4]
    assert items(nd.size_array(x)) == [24]
    assert nd.reshape_like(x, nd.zeros((4, 6))).shape == (4, 6)
    y = nd.reshape_like(nd.zeros((30, 7)), nd.zeros((15, 2, 4)), 0, 1, 0, 2)
    assert y.shape == (15, 2, 7)
    assert nd.Reshape(x, target_shape=(0, 12)).shape == (2, 12)
    assert nd.moveaxis(x, 0, -1).shape == (3, 4, 2)


def test_arrays_are_joined_and_divided():
    x = numbered(2, 3)
    assert items(nd.concat(x, x)) == [[0, 1, 2, 0, 1, 2], [3, 4, 5, 3, 4, 5]]
    assert nd.concat(x, x, x, dim=0, num_args=3).shape == (6, 3)
    assert nd.concatenate([x, x]).shape == (4, 3)
    assert nd.stack(x, x, axis=-1).shape == (2, 3, 2)
    assert [items(y) for y in nd.split(x, num_outputs=3)] == [[[0], [3]], [[1], [4]], [[2], [5]]]
    assert [items(y) for y in x.split(num_outputs=3, squeeze_axis=True)] == [[0, 3], [1, 4], [2, 5]]
    assert items(nd.SliceChannel(x, num_outputs=1)) == items(x)
    assert [y.shape for y in nd.split_v2(x, (1,), axis=1)] == [(2, 1), (2, 2)]
    assert [y.shape for y in nd.split_v2(x, 2)] == [(1, 3), (1, 3)]


def test_slices_flips_and_repetitions():
    x = numbered(3, 4)
    plain = np.asarray(x)
    assert np.array_equal(nd.slice(x, begin=(1, None), end=(None, -1)), plain[1:, :-1])
    assert np.array_equal(nd.crop(x, (None,), (None,), (-1,)), plain[::-1])
    assert np.array_equal(nd.slice_axis(x, axis=-1, begin=-3, end=-1), plain[:, 1:3])
    assert np.array_equal(x.slice_axis(axis=0, begin=1, end=None), plain[1:])
    assert np.array_equal(nd.slice_like(x, nd.zeros((2, 3))), plain[:2, :3])
    assert np.array_equal(nd.slice_like(x, nd.zeros((9, 3)), axes=(1,)), plain[:, :3])
    assert np.array_equal(nd.flip(x, axis=1), plain[:, ::-1])
    assert np.array_equal(nd.reverse(x, axis=(0, 1)), plain[::-1, ::-1])
    y = nd.tile(x, reps=(2, 1, 3))
    assert all(y[a, i, j] == x[i, j % 4] for a, i, j in np.ndindex(2, 3, 12))
    assert items(nd.repeat(nd.array([1, 2]), repeats=2)) == [1, 1, 2, 2]
    assert nd.repeat(x, 2, axis=1).shape == x.repeat(2, 1).shape == (3, 8)
    image = numbered(1, 1, 5, 6)
    whole = np.asarray(image)
    assert np.array_equal(nd.Crop(image, h_w=(2, 3), offset=(1, 2)), whole[..., 1:3, 2:5])
    cropped = nd.Crop(image, nd.zeros((1, 1, 3, 2)), center_crop=True)
    assert np.array_equal(cropped, whole[..., 1:4, 2:4])


def test_broadcasting_makes_arrays_of_their_own():
    x = nd.array([[[1], [2]]])
    for y in (
        nd.broadcast_to(x, shape=(3, 0, 2)),
        x.broadcast_to((3, 2, 2)),
        nd.broadcast_axis(x, axis=(0, 2), size=(3, 2)),
        nd.broadcast_axes(x, axis=(-1, 0), size=(2, 3)),
        nd.broadcast_like(x, nd.zeros((3, 2, 2))),
        nd.broadcast_like(x, nd.zeros((3, 2)), lhs_axes=(0, 2), rhs_axes=(0, 1)),
    ):
        assert items(y) == [[[1, 1], [2, 2]]] * 3
        y[0, 0, 0] = 9
        assert (y == 9).sum() == 1


def test_blocks_become_channels_and_channels_blocks():
    x = numbered(2, 8, 2, 3)
    y = nd.depth_to_space(x, 2)
    assert y.shape == (2, 2, 4, 6)
    for n, c, i, j in np.ndindex(y.shape):
        assert y[n, c, i, j] == x[n, (i % 2 * 2 + j % 2) * 2 + c, i // 2, j // 2]
    assert np.array_equal(nd.space_to_depth(y, 2), x)


def test_padding_surrounds():
    x = numbered(1, 1, 2, 3)
    widths = (0, 0, 0, 0, 1, 0, 2, 1)
    constant = nd.pad(x, mode="constant", pad_width=widths, constant_value=7)
    assert items(constant)[0][0] == [[7] * 6, [7, 7, 0, 1, 2, 7], [7, 7, 3, 4, 5, 7]]
    edge = nd.Pad(x, mode="edge", pad_width=widths)
    assert items(edge)[0][0] == [[0, 0, 0, 1, 2, 2]] * 2 + [[3, 3, 3, 4, 5, 5]]
    mirror = x.pad(mode="reflect", pad_width=widths)
    assert items(mirror)[0][0] == [[5, 4, 3, 4, 5, 4], [2, 1, 0, 1, 2, 1], [5, 4, 3, 4, 5, 4]]


def test_ranges_and_unit_matrices():
    assert items(nd.linspace(0, 1, 5)) == [0, 0.25, 0.5, 0.75, 1]
    assert items(nd.linspace(0, 1, 4, endpoint=False, dtype="float64")) == [0, 0.25, 0.5, 0.75]
    assert items(nd.linspace(0, 10, 4, dtype="int32")) == [0, 3, 6, 10]
    assert items(nd.eye(2, 3, 1)) == [[0, 1, 0], [0, 0, 1]]
    assert nd.eye(2, ctx=gpu(0)).context == gpu(0)
    x = numbered(2, 3)
    assert items(nd.contrib.arange_like(x)) == items(x)
    assert items(nd.contrib.arange_like(x, axis=1, start=1, step=0.5)) == [1, 1.5, 2]
    assert items(nd.contrib.arange_like(nd.zeros(4), repeat=2)) == [0, 0, 1, 1]
    assert items(nd.contrib.boolean_mask(x, nd.array([0, 1]))) == [[3, 4, 5]]
    assert np.allclose(nd.contrib.div_sqrt_dim(x), np.asarray(x) / 3**0.5)
    y = nd.contrib.AdaptiveAvgPooling2D(numbered(1, 1, 5, 4), output_size=(2, 3))
    means = [[[4.5, 5.5, 6.5], [12.5, 13.5, 14.5]]]
    assert items(y) == [means]
    assert items(nd.contrib.isnan(nd.array([1, np.nan]))) == [False, True]


# ---- items by number


def test_take_and_pick_have_three_ways_with_what_is_out_of_range():
    x = numbered(3, 2)
    index = nd.array([-1, 0, 2.9, 4])
    assert items(nd.take(x, index)) == items(x.take(index)) == [[0, 1], [0, 1], [4, 5], [4, 5]]
    assert items(nd.take(x, index, mode="wrap")) == [[4, 5], [0, 1], [4, 5], [2, 3]]
    assert items(nd.take(x, nd.array([[1]]), axis=1)) == [[[1]], [[3]], [[5]]]
    assert items(x.take(nd.array([5]), None)) == [5]
    with pytest.raises(IndexError, match="take has no item 4: there are 3"):
        nd.take(x, nd.array([0, 4]), mode="raise")
    with pytest.raises(IndexError, match="take has no item -1: there are 3"):
        x.take(nd.array([-1]), mode="raise")
    choice = nd.array([0, 5, -1])
    assert items(nd.pick(x, choice)) == items(x.pick(choice)) == [0, 3, 4]
    assert items(nd.pick(x, choice, mode="wrap", keepdims=True)) == [[0], [3], [5]]
    assert items(nd.pick(x, nd.array([[2, 1]]), axis=0)) == [4, 3]
    assert (
        items(nd.batch_take(x, choice)) == items(nd.choose_element_0index(x, choice)) == [0, 3, 4]
    )


def test_one_hot_rows_are_empty_out_of_range():
    y = nd.one_hot(nd.array([1, -1, 3, 0.9]), 3, on_value=8, off_value=1, dtype="int32")
    assert items(y) == [[1, 8, 1], [1, 1, 1], [1, 1, 1], [8, 1, 1]]
    assert nd.array([[1]]).one_hot(4).shape == (1, 1, 4)


def test_coordinates_gather_and_scatter():
    x = numbered(3, 4)
    assert items(nd.gather_nd(x, nd.array([[1, -1, 0], [0, 1, -1]]))) == [4, 9, 3]
    assert items(nd.gather_nd(x, nd.array([[2]]))) == [[8, 9, 10, 11]]
    y = nd.scatter_nd(nd.array([2, 3]), nd.array([[1, 0], [0, 1]]), shape=(2, 2))
    assert items(y) == [[0, 3], [2, 0]]
    with pytest.raises(IndexError, match="index 5 is out of bounds for axis 1 with size 4"):
        nd.gather_nd(x, nd.array([[0], [5]]))


def test_diagonals():
    x = numbered(3, 4)
    assert items(nd.diag(x, k=1)) == items(x.diag(1)) == [1, 6, 11]
    assert items(nd.diag(nd.array([1, 2]), k=-1)) == [[0, 0, 0], [1, 0, 0], [0, 2, 0]]
    assert items(nd.diag(numbered(2, 3, 4), axis1=1, axis2=2)) == [[0, 5, 10], [12, 17, 22]]


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2)])
def test_sequences_have_lengths(shape):
    x = numbered(*shape)
    plain = np.asarray(x)
    lengths = nd.array([1, 4, 2.9])
    known = {"sequence_length": lengths, "use_sequence_length": True}
    mask = nd.SequenceMask(x, value=-1, **known)
    last, back = nd.SequenceLast(x, **known), nd.SequenceReverse(x, **known)
    turned = nd.SequenceMask(x.swapaxes(0, 1), axis=1, value=-1, **known)
    assert np.array_equal(turned.swapaxes(0, 1), mask)
    assert np.array_equal(nd.SequenceLast(x.swapaxes(0, 1), axis=1, **known), last)
    for b, n in enumerate([1, 4, 2]):
        assert np.array_equal(last[b], plain[n - 1, b])
        for t in range(4):
            assert np.array_equal(mask[t, b], plain[t, b] if t < n else plain[t, b] * 0 - 1)
            assert np.array_equal(back[t, b], plain[n - 1 - t if t < n else t, b])
    assert np.array_equal(nd.SequenceLast(x), plain[-1])
    assert np.array_equal(nd.SequenceReverse(x), plain[::-1])
    assert np.array_equal(nd.SequenceMask(x), plain)
    with pytest.raises(IndexError, match="SequenceLast has no item -1"):
        nd.SequenceLast(x, nd.array([1, 0, 1]), use_sequence_length=True)


# ---- what holds of all


def test_every_operator_is_told_of_and_takes_out_and_name():
    makers = "arange array cast_storage empty eye full linspace load load_frombuffer ones"
    makers += " save waitall zeros"
    for name in nd.__all__:
        value = getattr(nd, name)
        if inspect.isfunction(value):
            assert value.__doc__, name
            if name not in makers.split():
                assert {"out", "name"} <= set(inspect.signature(value).parameters), name


def test_no_result_shares_memory_with_an_argument():
    x = numbered(1, 4, 4, 4)
    for y in (
        nd.reshape(x, shape=(-1,)),
        nd.transpose(x),
        nd.slice_axis(x, axis=1, begin=0, end=2),
        *nd.split(x, num_outputs=2),
        nd.expand_dims(x, axis=0),
        nd.flip(x, axis=(1,)),
        nd.relu(x),
        nd.concat(x),
        nd.diag(x),
        nd.SequenceLast(x),
        nd.UpSampling(x, scale=1, sample_type="nearest"),
    ):
        assert not np.shares_memory(x, y)


def test_out_receives_the_result_also_of_its_own_values():
    x = numbered(2, 2)
    assert nd.transpose(x, out=x) is x
    assert items(x) == [[0, 2], [1, 3]]
    outs = [nd.zeros((2, 1)), nd.zeros((2, 1), dtype="int32")]
    assert nd.split(x, num_outputs=2, out=outs) is outs
    assert [items(y) for y in outs] == [[[0], [1]], [[2], [3]]]
    with pytest.raises(ValueError, match="split has 2 results, but out has 1 arrays"):
        nd.split(x, num_outputs=2, out=outs[0])
    with pytest.raises(TypeError, match="relu writes out= to an NDArray, not list"):
        nd.relu(x, out=[[1]])


@pytest.mark.parametrize(
    ("call", "error", "why"),
    [
        (lambda x: nd.sum(x, axis=2), ValueError, "sum has no axis 2: data has 2 dimensions"),
        (lambda x: nd.max(x, axis=(0, -2)), ValueError, "max has an axis twice"),
        (lambda x: nd.norm(x, ord=3), ValueError, "norm knows ord=1 and ord=2, not 3"),
        (lambda x: nd.topk(x, k=4), ValueError, "k=4 should be 0 to 3"),
        (lambda x: nd.topk(x, ret_typ="all"), ValueError, "no ret_typ 'all'"),
        (lambda x: nd.dot(x, x), ValueError, r"dot of \(2, 3\) and \(2, 3\): 3 is not 2"),
        (lambda x: nd.batch_dot(x, x), ValueError, "batch_dot needs 3 dimensions or more"),
        (lambda x: nd.linalg.gemm2(x, x), ValueError, "gemm2 of"),
        (lambda x: nd.reshape(x, shape=(4, -1)), ValueError, "not the same number of items"),
        (lambda x: nd.reshape(x), TypeError, "reshape needs shape"),
        (lambda x: nd.expand_dims(x, axis=4), ValueError, "axis=4 should be -3 to 2"),
        (lambda x: nd.concat(), TypeError, "concat needs one array or more"),
        (lambda x: nd.concat(x[0], x[0]), ValueError, "concat has no axis 1"),
        (lambda x: nd.split(x, num_outputs=2), ValueError, "num_outputs=2 of the 3 items"),
        (
            lambda x: nd.split(x, num_outputs=1, squeeze_axis=True),
            *(ValueError, "squeeze_axis=True needs parts of one item"),
        ),
        (lambda x: nd.split_v2(x, (2, 1), axis=1), ValueError, "should be positions 0 to 3"),
        (lambda x: nd.slice(x, (0,), (1, 2)), ValueError, "should be of one length"),
        (lambda x: nd.slice_axis(x, 1, 1, 7), ValueError, "is no part of the 3 items on axis 1"),
        (lambda x: nd.slice_like(x, x[0]), ValueError, "shape_like has 1 dimensions, data 2"),
        (lambda x: nd.slice_like(x[:, :1], x), ValueError, "on axis 1"),
        (lambda x: nd.broadcast_to(x, shape=(2, 5)), ValueError, "cannot be broadcast to"),
        (lambda x: nd.broadcast_axis(x, axis=0, size=4), ValueError, "axis 0 has 2 items, not 1"),
        (lambda x: nd.depth_to_space(x, 2), ValueError, "depth_to_space needs 4 dimensions"),
        (lambda x: nd.space_to_depth(x, 2), ValueError, "space_to_depth needs 4 dimensions"),
        (lambda x: nd.pad(x, "constant", (1, 1)), ValueError, "should be 4 numbers"),
        (lambda x: nd.pad(x, "wrap", (1, 1, 1, 1)), ValueError, "no mode 'wrap'"),
        (lambda x: nd.pad(x, "reflect", (2, 0, 0, 0)), ValueError, "cannot make"),
        (lambda x: nd.take(x, x, mode="ignore"), ValueError, "take has no mode 'ignore'"),
        (lambda x: nd.take(x[:, :0], x, axis=1), ValueError, "the axis has no items"),
        (lambda x: nd.pick(x, nd.zeros(3)), ValueError, r"index has shape \(3,\)"),
        (lambda x: nd.diag(x, k=9), ValueError, "has no diagonal k=9"),
        (lambda x: nd.SequenceMask(x, x, True), ValueError, "a sequence_length of shape"),
        (lambda x: nd.SequenceReverse(x, axis=1), ValueError, "axis=0 only"),
        (lambda x: nd.add_n(x, x[0]), ValueError, "cannot add shapes"),
        (lambda x: nd.Crop(x), ValueError, "arrays of 4 dimensions"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, why):
    with pytest.raises(error, match=why):
        call(nd.ones((2, 3)))
