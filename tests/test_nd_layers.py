# SPDX-License-Identifier: Apache-2.0
"""Layers' operators against references written out here.

The references go item by item, in float64. Where mxio means to differ from MXNet 1.9.1, the
test's docstring says so. test_nd_real.py asks MXNet itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mxio import nd
from mxio.context import gpu
from mxio.nd._layers import resolve

Array = np.ndarray[Any, Any]


def some(*shape: int, seed: int = 0, dtype: Any = "float64") -> nd.NDArray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype).view(nd.NDArray)


def close(x: Any, y: Any, tolerance: float = 1e-12) -> bool:
    assert type(x) is nd.NDArray
    y = np.asarray(y, np.float64)
    assert x.shape == y.shape
    scale = np.abs(y).max(initial=1)
    return bool(np.abs(np.asarray(x).astype(np.float64) - y).max(initial=0) <= tolerance * scale)


# ---- references


def convolution(x: Array, w: Array, stride: Any, dilate: Any, pad: Any, groups: int) -> Array:
    kernel = w.shape[2:]
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, d, p in zip(x.shape[2:], kernel, stride, dilate, pad, strict=True)
    ]
    y = np.zeros((x.shape[0], w.shape[0], *size))
    each, filters = w.shape[1], w.shape[0] // groups
    for place in np.ndindex(y.shape):
        for c, *tap in np.ndindex(w.shape[1:]):
            at = [
                o * s + t * d - p
                for o, s, t, d, p in zip(place[2:], stride, tap, dilate, pad, strict=True)
            ]
            if all(0 <= a < n for a, n in zip(at, x.shape[2:], strict=True)):
                channel = place[1] // filters * each + c
                y[place] += x[(place[0], channel, *at)] * w[(place[1], c, *tap)]
    return y


def deconvolution(
    x: Array, w: Array, stride: Any, dilate: Any, pad: Any, adj: Any, groups: int
) -> Array:
    each = w.shape[1]
    size = [
        (n - 1) * s + d * (k - 1) + 1 - 2 * p + a
        for n, k, s, d, p, a in zip(x.shape[2:], w.shape[2:], stride, dilate, pad, adj, strict=True)
    ]
    y = np.zeros((x.shape[0], each * groups, *size))
    for place in np.ndindex(x.shape):
        group = place[1] // (x.shape[1] // groups)
        for f, *tap in np.ndindex(w.shape[1:]):
            at = [
                o * s + t * d - p
                for o, s, t, d, p in zip(place[2:], stride, tap, dilate, pad, strict=True)
            ]
            if all(0 <= a < n for a, n in zip(at, size, strict=True)):
                y[(place[0], group * each + f, *at)] += x[place] * w[(place[1], f, *tap)]
    return y


def pooling(
    x: Array, kernel: Any, stride: Any, pad: Any, kind: str, full: bool, with_pad: bool
) -> Array:
    rounding: Callable[[float], int] = math.ceil if full else math.floor
    size = [
        rounding((n + 2 * p - k) / s) + 1
        for n, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True)
    ]
    y = np.zeros((*x.shape[:2], *size))
    for place in np.ndindex(y.shape):
        start = [o * s - p for o, s, p in zip(place[2:], stride, pad, strict=True)]
        inside, padded = [], 0
        for tap in np.ndindex(*kernel):
            at = [a + t for a, t in zip(start, tap, strict=True)]
            padded += all(a < n + p for a, n, p in zip(at, x.shape[2:], pad, strict=True))
            if all(0 <= a < n for a, n in zip(at, x.shape[2:], strict=True)):
                inside.append(x[(*place[:2], *at)])
        if kind == "max":
            y[place] = max(inside)
        else:
            y[place] = sum(inside) / ((padded if with_pad else len(inside)) if kind == "avg" else 1)
    return y


@pytest.mark.parametrize("seed", range(12))
def test_convolution_is_a_sum_of_products(seed):
    rng = np.random.default_rng(seed)
    ndim = 1 + seed % 3
    kernel, stride, dilate = (tuple(map(int, rng.integers(1, 4, ndim))) for _ in range(3))
    pad = tuple(map(int, rng.integers(0, 3, ndim)))
    groups = int(rng.choice([1, 2, 3]))
    each = int(rng.integers(1, 3))
    size = [d * (k - 1) + 1 + int(rng.integers(0, 3)) for d, k in zip(dilate, kernel, strict=True)]
    x, w = some(2, groups * each, *size), some(2 * groups, each, *kernel, seed=1)
    y = convolution(np.asarray(x), np.asarray(w), stride, dilate, pad, groups)
    known = {"kernel": kernel, "stride": stride, "dilate": dilate, "pad": pad}
    known |= {"num_filter": 2 * groups, "num_group": groups}
    assert close(nd.Convolution(x, w, no_bias=True, **known), y)
    bias = some(2 * groups, seed=2)
    with_bias = y + np.asarray(bias).reshape(-1, *(1,) * ndim)
    assert close(nd.Convolution(x, w, bias, **known), with_bias)
    layout = ("NWC", "NHWC", "NDHWC")[ndim - 1]
    last = nd.Convolution(
        np.moveaxis(x, 1, -1), np.moveaxis(w, 1, -1), no_bias=True, layout=layout, **known
    )
    assert close(np.moveaxis(last, -1, 1), y)


@pytest.mark.parametrize("seed", range(9))
def test_deconvolution_is_convolution_backwards(seed):
    rng = np.random.default_rng(seed)
    ndim = 1 + seed % 3
    kernel, stride, dilate = (tuple(map(int, rng.integers(1, 4, ndim))) for _ in range(3))
    adj = tuple(int(rng.integers(0, s)) for s in stride)
    groups = int(rng.choice([1, 2]))
    x, w = some(2, 2 * groups, *rng.integers(3, 5, ndim)), some(2 * groups, 3, *kernel, seed=1)
    pad = tuple(map(int, rng.integers(0, 2, ndim)))
    y = deconvolution(np.asarray(x), np.asarray(w), stride, dilate, pad, adj, groups)
    known = {"kernel": kernel, "stride": stride, "dilate": dilate, "num_group": groups}
    known |= {"num_filter": 3 * groups}
    assert close(nd.Deconvolution(x, w, pad=pad, adj=adj, **known), y)
    bias = some(3 * groups, seed=2)
    with_bias = y + np.asarray(bias).reshape(-1, *(1,) * ndim)
    assert close(nd.Deconvolution(x, w, bias, pad=pad, adj=adj, no_bias=False, **known), with_bias)
    last = nd.Deconvolution(
        *(np.moveaxis(x, 1, -1), np.moveaxis(w, 1, -1)),
        **{"pad": pad, "adj": adj, "layout": ("NWC", "NHWC", "NDHWC")[ndim - 1], **known},
    )
    assert close(np.moveaxis(last, -1, 1), y)


def test_deconvolution_makes_the_shape_that_is_asked_for():
    x, w = some(1, 1, 4, 4), some(1, 1, 3, 3, seed=1)
    for size in ((8, 9), (7, 8), (9, 7)):
        y = nd.Deconvolution(x, w, kernel=(3, 3), num_filter=1, stride=(2, 2), target_shape=size)
        assert y.shape == (1, 1, *size)
    with pytest.raises(ValueError, match=r"target_shape=\(10, 9\) is more than all"):
        nd.Deconvolution(x, w, kernel=(3, 3), num_filter=1, stride=(2, 2), target_shape=(10, 9))


@pytest.mark.parametrize("kind", ["max", "avg", "sum"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("with_pad", [False, True])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_pooling_looks_into_each_window(kind, full, with_pad, ndim):
    kernel, stride, pad = (3, 2, 3)[:ndim], (2, 3, 1)[:ndim], (1, 0, 1)[:ndim]
    x = some(2, 3, *(6, 7, 4)[:ndim])
    y = pooling(np.asarray(x), kernel, stride, pad, kind, full, with_pad)
    known = {"kernel": kernel, "stride": stride, "pad": pad, "pool_type": kind}
    known |= {"pooling_convention": "full" if full else "valid", "count_include_pad": with_pad}
    assert close(nd.Pooling(x, **known), y)
    layout = ("NWC", "NHWC", "NDHWC")[ndim - 1]
    last = nd.Pooling(np.moveaxis(x, 1, -1), layout=layout, **known)
    assert close(np.moveaxis(last, -1, 1), y)
    everything = nd.Pooling(x, global_pool=True, pool_type=kind)
    axes = tuple(range(2, x.ndim))
    whole = {"max": np.max, "avg": np.mean, "sum": np.sum}[kind](np.asarray(x), axes, keepdims=True)
    assert close(everything, whole)


def test_maximum_pooling_passes_over_nan_and_stays_finite():
    x = nd.array([[[1, np.nan, 3, -np.inf, -np.inf, np.nan]]])
    y = nd.Pooling(x, kernel=(2,), stride=(2,))
    assert np.asarray(y).tolist() == [[[1, 3, np.finfo(np.float32).min]]]


def test_p_norms_keep_the_signs_of_odd_powers():
    x = nd.array([[[-2, 1, -3, 0.5]]])
    y = {p: nd.Pooling(x, kernel=(2,), pool_type="lp", p_value=p) for p in (1, 2, 3)}
    assert close(y[1], [[[-1, -2, -2.5]]], 1e-6)
    assert close(y[2], np.sqrt([[[5, 10, 9.25]]]), 1e-6)
    assert close(y[3], np.cbrt([[[-7, -26, -26.875]]]), 1e-6)


def test_pooling_of_the_same_size_starts_a_window_at_each_stride():
    x = nd.array([[[1, 2, 3, 4, 5]]])
    y = nd.Pooling(x, kernel=(2,), stride=(2,), pooling_convention="same", pool_type="sum")
    assert np.asarray(y).tolist() == [[[3, 7, 5]]]


@pytest.mark.parametrize("flatten", [True, False])
def test_fully_connected_is_a_matrix_product(flatten):
    x, bias = some(2, 3, 4), some(5, seed=2)
    w = some(5, 12 if flatten else 4, seed=1)
    y = nd.FullyConnected(x, w, bias, num_hidden=5, flatten=flatten)
    rows = np.asarray(x).reshape((2, 12) if flatten else (6, 4))
    expected = [[sum(r * v for r, v in zip(row, u, strict=True)) for u in w] for row in rows]
    expected = np.array(expected, np.float64) + np.asarray(bias)
    assert close(y, expected.reshape((2, 5) if flatten else (2, 3, 5)))
    bare = nd.FullyConnected(x, w, None, 5, True, flatten)
    assert close(bare, expected.reshape(y.shape) - np.asarray(bias))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_normalizations_follow_their_formulas(axis):
    x = some(3, 4, 2)
    n = x.shape[axis]
    gamma, beta, mean = (some(n, seed=seed) for seed in (1, 2, 3))
    var = np.abs(some(n, seed=4))
    batch = nd.BatchNorm(x, gamma, beta, mean, var, axis=axis, fix_gamma=False, eps=0.1)
    fixed = nd.BatchNorm(x, gamma, beta, mean, var, axis=axis)
    layer, m, s = nd.LayerNorm(x, gamma, beta, axis=axis, eps=0.1, output_mean_var=True)
    for place in np.ndindex(x.shape):
        i = place[axis]
        value = float(x[place])
        expected = (value - float(mean[i])) / math.sqrt(float(var[i]) + 0.1)
        assert math.isclose(batch[place], expected * float(gamma[i]) + float(beta[i]))
        expected = (value - float(mean[i])) / math.sqrt(float(var[i]) + 1e-3) + float(beta[i])
        assert math.isclose(fixed[place], expected)
        row = [float(v) for v in np.moveaxis(x, axis, -1)[tuple(np.delete(place, axis))]]
        middle = sum(row) / n
        spread = math.sqrt(sum((v - middle) ** 2 for v in row) / n + 0.1)
        expected = (value - middle) / spread * float(gamma[i]) + float(beta[i])
        assert math.isclose(layer[place], expected, abs_tol=1e-12)
        kept = tuple(0 if k == axis % 3 else p for k, p in enumerate(place))
        assert math.isclose(m[kept], middle, abs_tol=1e-12)
        assert math.isclose(s[kept], spread)


def test_groups_and_instances_are_normalized_apart():
    x, gamma, beta = some(2, 4, 3, 2), some(2, seed=1), some(2, seed=2)
    y, mean, std = nd.GroupNorm(x, gamma, beta, num_groups=2, eps=0.1, output_mean_var=True)
    for n, g in itertools.product(range(2), range(2)):
        part = np.asarray(x)[n, 2 * g : 2 * g + 2]
        spread = math.sqrt(part.var() + 0.1)
        expected = (part - part.mean()) / spread * float(gamma[g]) + float(beta[g])
        assert close(y[n, 2 * g : 2 * g + 2], expected)
        assert math.isclose(mean[n, g], part.mean())
        assert math.isclose(std[n, g], spread)
    gamma, beta = some(4, seed=1), some(4, seed=2)
    y = nd.InstanceNorm(x, gamma, beta, eps=0.1)
    for n, c in itertools.product(range(2), range(4)):
        part = np.asarray(x)[n, c]
        expected = (part - part.mean()) / math.sqrt(part.var() + 0.1)
        assert close(y[n, c], expected * float(gamma[c]) + float(beta[c]))


def test_lengths_become_one_and_neighbours_inhibit():
    x = some(2, 4, 3, 2)
    plain = np.asarray(x)
    lengths = {
        "instance": [[np.sqrt((plain[n] ** 2).sum() + 0.1)] for n in range(2)],
        "channel": np.sqrt((plain**2).sum(1) + 0.1)[:, None],
        "spatial": np.sqrt((plain**2).sum((2, 3)) + 0.1)[..., None, None],
    }
    for mode, length in lengths.items():
        length = np.reshape(length, (2, 1, 1, 1)) if mode == "instance" else length
        assert close(nd.L2Normalization(x, eps=0.1, mode=mode), plain / length)
    y = nd.LRN(x, alpha=0.5, beta=0.75, knorm=1.5, nsize=3)
    for place in np.ndindex(x.shape):
        n, c, i, j = place
        near = sum(plain[n, k, i, j] ** 2 for k in range(max(0, c - 1), min(4, c + 2)))
        assert math.isclose(y[place], plain[place] / (1.5 + 0.5 / 3 * near) ** 0.75)


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "relu": lambda v: max(v, 0),
    "sigmoid": sigmoid,
    "tanh": math.tanh,
    "softrelu": lambda v: math.log1p(math.exp(v)),
    "softsign": lambda v: v / (1 + abs(v)),
}
LEAKY: dict[str, Callable[[float], float]] = {
    "leaky": lambda v: v if v > 0 else 0.25 * v,
    "elu": lambda v: v if v > 0 else 0.25 * math.expm1(v),
    "selu": lambda v: 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * math.expm1(v)),
    "gelu": lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2,
    "rrelu": lambda v: v if v > 0 else 0.2295 * v,
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", [*ACTIVATIONS, *LEAKY])
def test_activations_follow_their_formulas(name, dtype):
    x = some(50, dtype=dtype) * 4
    x = np.concatenate([x, nd.array([0, 1e-6, -1e-6, 80, -80], dtype=dtype)])
    operator = nd.Activation if name in ACTIVATIONS else nd.LeakyReLU
    y = operator(x, act_type=name)
    assert y.dtype == dtype
    formula = {**ACTIVATIONS, **LEAKY}[name]
    expected = np.array([formula(v) for v in np.asarray(x).astype(float).tolist()])
    error = np.abs(np.asarray(y).astype(float) - expected)
    # gelu is a difference of larger numbers far down.
    scale = np.abs(np.asarray(x).astype(float) if name == "gelu" else expected)
    assert (error <= 4 * float(np.finfo(dtype).eps) * np.maximum(scale, 1e-3)).all()


def test_activation_lets_nan_through():
    """In MXNet 1.9.1 the relu of Activation makes 0 of it, that of nd.relu does not."""
    x = nd.array([np.nan, np.inf, -np.inf])
    for y in (nd.Activation(x, act_type="relu"), nd.relu(x), x.relu()):
        assert np.asarray(y).tolist()[1:] == [np.inf, 0]
        assert np.isnan(y[0])
    assert np.isnan(nd.LeakyReLU(x)[0])
    assert np.asarray(nd.Activation(x, act_type="softrelu")).tolist()[1:] == [np.inf, 0]


def test_prelu_has_one_slope_or_one_for_each_channel():
    x = some(2, 3, 2)
    plain = np.asarray(x)
    y = nd.LeakyReLU(x, nd.array([0.5], dtype="float64"), act_type="prelu")
    assert close(y, np.where(plain > 0, plain, plain / 2))
    slopes = np.array([0.5, -1, 2])
    y = nd.LeakyReLU(x, slopes, act_type="prelu")
    assert close(y, np.where(plain > 0, plain, plain * slopes[:, None]))
    with pytest.raises(ValueError, match=r"gamma has shape \(2,\), but the input asks for \(3,\)"):
        nd.LeakyReLU(x, slopes[:2], act_type="prelu")


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("temperature", [None, 0.5])
def test_softmax_divides_by_the_sum_of_exponentials(axis, temperature):
    x = some(2, 3, 4)
    e = np.exp(np.asarray(x) / (temperature or 1))
    expected = e / e.sum(axis, keepdims=True)
    assert close(nd.softmax(x, axis=axis, temperature=temperature), expected)
    assert close(nd.log_softmax(x, axis=axis, temperature=temperature), np.log(expected))
    down = 1 / e / (1 / e).sum(axis, keepdims=True)
    assert close(nd.softmin(x, axis=axis, temperature=temperature), down)
    assert close(x.softmax(axis=axis), nd.softmax(x, axis=axis))
    # Shifted by what would overflow:
    assert close(nd.softmax(x * 0 + 5000, axis=axis), np.full((2, 3, 4), 1 / x.shape[axis]))


def test_softmax_counts_as_many_items_as_it_is_told():
    x = nd.array([[1, 2, 3], [1, 2, 3], [1, 2, 3]], dtype="float64")
    y = nd.softmax(x, nd.array([2, 0, 9], dtype="int32"), use_length=True)
    third = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    assert close(y, [[sigmoid(-1), sigmoid(1), 0], [0, 0, 0], third])
    with pytest.raises(ValueError, match=r"length has shape \(2,\), but data asks for \(3,\)"):
        nd.softmax(x, nd.ones(2), use_length=True)


def test_softmax_outputs_go_along_the_axis_of_mxnet():
    x = some(2, 3, 4)
    last, second = nd.softmax(x, axis=-1), nd.softmax(x, axis=1)
    label = nd.zeros((2, 3))
    assert close(nd.SoftmaxOutput(x, label), last)
    assert close(nd.SoftmaxOutput(x, label, multi_output=True), second)
    assert close(nd.SoftmaxActivation(x), last)
    assert close(nd.SoftmaxActivation(x, mode="channel"), second)
    loss = nd.softmax_cross_entropy(x[0], nd.array([1, 0, 3]))
    assert close(loss, [-sum(math.log(last[0, i, k]) for i, k in enumerate([1, 0, 3]))])


def test_embedding_clips_and_cuts_its_numbers():
    w = some(3, 2, dtype="float32")
    rows = [0, 0, 2, 2, 1, 0, 0, 2, 0]
    index = [-1, 0, 2, 3, 1.7, -0.5, np.nan, np.inf, -np.inf]
    y = nd.Embedding(nd.array(index), w, input_dim=3, output_dim=2)
    assert np.array_equal(y, np.asarray(w)[rows])
    y = nd.Embedding(np.array([[2**62, -(2**62)]]), w, input_dim=3, output_dim=2)
    assert np.array_equal(y, np.asarray(w)[[[2, 0]]])
    with pytest.raises(ValueError, match="the axis has no items"):
        nd.Embedding(nd.zeros(1), nd.zeros((0, 2)), input_dim=0, output_dim=2)


def test_nothing_is_dropped_and_results_have_memory_of_their_own():
    x = some(2, 3)
    for y in (nd.Dropout(x, p=0.5), nd.Flatten(x), nd.identity(x), nd.reshape(x, shape=(3, 2))):
        assert not np.shares_memory(x, y)
        assert np.array_equal(y.reshape((2, 3)), x)
    with pytest.raises(NotImplementedError, match="drops at random"):
        nd.Dropout(x, mode="always")


def test_upsampling_repeats_in_both_directions():
    x = some(1, 2, 2, 3)
    y = nd.UpSampling(x, scale=3, sample_type="nearest")
    for place in np.ndindex(y.shape):
        n, c, i, j = place
        assert y[place] == x[n, c, i // 3, j // 3]
    both = nd.UpSampling(x, some(1, 1, 6, 3), scale=3, sample_type="nearest", num_args=2)
    assert both.shape == (1, 3, 6, 9)
    total = nd.UpSampling(x, x, scale=3, sample_type="nearest", multi_input_mode="sum")
    assert close(total, 2 * np.asarray(y))


# ---- shapes that are inferred


class Waiting:
    """A parameter that gets its shape from the operator."""

    def __init__(self) -> None:
        self.shape: Any = None

    def _finish_with_shape(self, shape: tuple[int, ...]) -> nd.NDArray:
        self.shape = shape
        return nd.ones(shape) / 8

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("looked at before it is finished")


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (lambda x, w, b: nd.FullyConnected(x, w, b, num_hidden=7), [(7, 120), (7,)]),
        (lambda x, w, b: nd.FullyConnected(x, w, b, num_hidden=7, flatten=False), [(7, 5), (7,)]),
        (
            lambda x, w, b: nd.Convolution(x, w, b, kernel=(3, 2), num_filter=8, num_group=2),
            [(8, 3, 3, 2), (8,)],
        ),
        (
            lambda x, w, b: nd.Deconvolution(
                x, w, b, kernel=(3, 2), num_filter=8, num_group=2, no_bias=False
            ),
            [(6, 4, 3, 2), (8,)],
        ),
        (lambda x, g, b: nd.BatchNorm(x, g, b, nd.zeros(6), nd.ones(6)), [(6,), (6,)]),
        (lambda x, m, v: nd.BatchNorm(x, nd.ones(5), nd.ones(5), m, v, axis=3), [(5,), (5,)]),
        (lambda x, g, b: nd.LayerNorm(x, g, b), [(5,), (5,)]),
        (lambda x, g, b: nd.GroupNorm(x, g, b, num_groups=3), [(3,), (3,)]),
        (lambda x, g, b: nd.InstanceNorm(x, g, b), [(6,), (6,)]),
        (lambda x, g, b: nd.LeakyReLU(x, g, act_type="prelu"), [(6,), None]),
        (lambda x, w, b: nd.Embedding(x, w, input_dim=9, output_dim=2), [(9, 2), None]),
    ],
)
def test_operators_tell_parameters_their_shapes(call, shapes):
    x = some(2, 6, 4, 5, dtype="float32")
    parameters = Waiting(), Waiting()
    y = call(x, *parameters)
    assert [parameter.shape for parameter in parameters] == shapes
    arrays = [nd.ones(shape or (1,)) / 8 for shape in shapes]
    assert np.array_equal(y, call(x, *arrays))
    for place, name in enumerate(("weight|gamma|moving_mean", "bias|beta|moving_var")):
        if shapes[place]:
            wrong = [*arrays]
            wrong[place] = nd.ones((*shapes[place], 2))
            with pytest.raises(ValueError, match=rf"^({name}) has shape .* the input asks for"):
                call(x, *wrong)


def test_resolve_returns_what_it_is_given_if_it_fits():
    x = nd.ones((2, 3))
    assert resolve(x, (2, 3), "weight") is x
    with pytest.raises(
        ValueError, match=r"^weight has shape \(2, 3\), but the input asks for \(3, 2"
    ):
        resolve(x, (3, 2), "weight")
    with pytest.raises(ValueError, match=r"^weight is missing"):
        resolve(None, (3, 2), "weight")


# ---- what holds of all


def test_halves_are_computed_in_float32_and_rounded_once():
    x, w = some(1, 40, 9, 9, dtype="float16"), some(8, 40, 3, 3, seed=1, dtype="float16")
    gamma = nd.ones(40)
    calls: list[Callable[..., Any]] = [
        lambda x, w: nd.Convolution(x, w, no_bias=True, kernel=(3, 3), num_filter=8),
        lambda x, w: nd.Deconvolution(w[:, :8], w, kernel=(3, 3), num_filter=40),
        lambda x, w: nd.FullyConnected(w, w.flatten(), no_bias=True, num_hidden=8),
        lambda x, w: nd.BatchNorm(x, gamma, gamma, gamma, gamma),
        lambda x, w: nd.LayerNorm(x, gamma, gamma, axis=1),
        lambda x, w: nd.Pooling(x, kernel=(9, 9), pool_type="avg"),
        lambda x, w: nd.softmax(x),
        lambda x, w: nd.sum(x),
    ]
    for call in calls:
        y = call(x, w)
        assert y.dtype == np.float16
        assert np.array_equal(y, call(x.astype("float32"), w.astype("float32")).astype("float16"))


def test_results_do_not_depend_on_where_arrays_lie():
    """Bits are the same at other addresses, and where two arguments are one array."""

    def moved(array: nd.NDArray, offset: int) -> nd.NDArray:
        memory = np.empty(array.nbytes + 128, np.uint8)
        start = -memory.ctypes.data % 64 + offset
        there = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        there[...] = array
        return there.view(nd.NDArray)

    x, w = some(3, 8, 13, 11, dtype="float32"), some(8, 8, 3, 3, seed=1, dtype="float32")
    deep = some(8, 1, 3, 3, seed=1, dtype="float32")
    g = np.abs(some(8, seed=2, dtype="float32"))
    square = some(33, 33, seed=3, dtype="float32")
    calls: list[Callable[..., Any]] = [
        lambda f: nd.Convolution(f(x), f(w), f(g), kernel=(3, 3), num_filter=8, pad=(1, 1)),
        lambda f: nd.Convolution(f(x), f(deep), f(g), kernel=(3, 3), num_filter=8, num_group=8),
        lambda f: nd.Deconvolution(f(x), f(w), kernel=(3, 3), num_filter=8, stride=(2, 2)),
        lambda f: nd.Pooling(f(x), kernel=(3, 3), pool_type="avg"),
        lambda f: nd.FullyConnected(f(square), f(square), no_bias=True, num_hidden=33),
        lambda f: nd.BatchNorm(f(x), f(g), f(g), f(g), f(g)),
        lambda f: nd.LayerNorm(f(x), f(g), f(g), axis=1),
        lambda f: nd.softmax(f(x)),
        lambda f: nd.LeakyReLU(f(x), act_type="gelu"),
        lambda f: nd.tanh(f(x)),
        lambda f: nd.sum(f(x), axis=(0, 2)),
        lambda f: nd.dot(f(square), f(square), transpose_b=True),
        lambda f: nd.batch_dot(f(x[0]), f(x[0]), transpose_b=True),
    ]
    for call in calls:
        first = call(lambda array: array)
        for offset in (0, 4, 20, 60):
            assert call(lambda array, o=offset: moved(array, o)).tobytes() == first.tobytes()


def test_blocks_make_what_the_whole_makes(monkeypatch):
    from mxio.nd import _convolution

    x, w = some(3, 4, 17, 9), some(6, 2, 3, 3, seed=1)
    back = some(4, 3, 3, 3, seed=2)

    def both() -> list[Any]:
        known: dict[str, Any] = {"kernel": (3, 3), "num_filter": 6, "num_group": 2}
        return [
            nd.Convolution(x, w, no_bias=True, pad=(1, 0), stride=(2, 1), **known),
            nd.Deconvolution(x, back, pad=(1, 0), stride=(2, 1), **known),
        ]

    whole = both()
    for nbytes in (1, 5000, 40_000):
        monkeypatch.setattr(_convolution, "_BLOCK_NBYTES", nbytes)
        for y, z in zip(both(), whole, strict=True):
            assert close(y, z)


def test_empty_batches_stay_empty():
    x, c = nd.zeros((0, 4, 6, 6)), nd.ones(4)
    w, back = nd.zeros((8, 4, 3, 3)), nd.zeros((4, 2, 3, 3))
    for y, shape in [
        (nd.Convolution(x, w, no_bias=True, kernel=(3, 3), num_filter=8), (0, 8, 4, 4)),
        (nd.Convolution(x, w[:, :1], None, (3, 3), (), (), (), 8, 4, 0, True), (0, 8, 4, 4)),
        (nd.Deconvolution(x, back, kernel=(3, 3), num_filter=2), (0, 2, 8, 8)),
        (nd.Pooling(x, kernel=(2, 2)), (0, 4, 5, 5)),
        (nd.Pooling(x, global_pool=True, pool_type="avg"), (0, 4, 1, 1)),
        (nd.FullyConnected(x, nd.zeros((3, 144)), nd.zeros(3), num_hidden=3), (0, 3)),
        (nd.BatchNorm(x, c, c, c, c), (0, 4, 6, 6)),
        (nd.GroupNorm(x, c[:2], c[:2], num_groups=2), (0, 4, 6, 6)),
        (nd.softmax(x), (0, 4, 6, 6)),
        (nd.Flatten(x), (0, 144)),
    ]:
        assert y.shape == shape


def test_numpy_arrays_and_keywords_of_mxnet_are_welcome():
    x = np.ones((1, 2), np.float32)
    w = nd.ones((3, 2), gpu(1))
    y = nd.FullyConnected(data=x, weight=w, no_bias=True, num_hidden=3, name="fc")
    assert y.context == gpu(1)
    assert np.array_equal(y, [[2, 2, 2]])
    out = nd.zeros((1, 3), dtype="float64")
    assert nd.FullyConnected(x, w, no_bias=True, num_hidden=3, out=out) is out
    assert np.array_equal(out, [[2, 2, 2]])
    with pytest.raises(ValueError, match=r"FullyConnected has a result of shape \(1, 3\), but out"):
        nd.FullyConnected(x, w, no_bias=True, num_hidden=3, out=nd.zeros(3))
    sparse = nd.array([[0, 1], [0, 0], [2, 0]]).tostype("row_sparse")
    assert np.array_equal(nd.FullyConnected(x, sparse, no_bias=True, num_hidden=3), [[1, 0, 2]])


@pytest.mark.parametrize(
    ("call", "error", "why"),
    [
        (lambda x: nd.Convolution(x, x, num_filter=1), TypeError, "needs kernel and num_filter"),
        (
            lambda x: nd.Convolution(x, x, kernel=(3,), num_filter=1),
            *(ValueError, r"kernel=\(3,\) should be 2 numbers of at least 1"),
        ),
        (
            lambda x: nd.Convolution(x, x, kernel=(3, 3), stride=(0, 1), num_filter=1),
            *(ValueError, r"stride=\(0, 1\) should be 2 numbers of at least 1"),
        ),
        (
            lambda x: nd.Convolution(x, x, kernel=(3, 3), num_filter=3, num_group=2),
            *(ValueError, "cannot make num_group=2 of 4 channels and 3 filters"),
        ),
        (
            lambda x: nd.Convolution(x[:, :1], nd.ones((1, 1, 3, 1)), None, (3, 1), num_filter=1),
            *(ValueError, r"needs a bias, or no_bias=True"),
        ),
        (
            lambda x: nd.Convolution(
                x[:, :1], nd.ones((1, 1, 9, 1)), no_bias=True, kernel=(9, 1), num_filter=1
            ),
            *(ValueError, r"kernel=\(9, 1\) .* does not fit into data of size \(5, 5\)"),
        ),
        (
            lambda x: nd.Convolution(x, x, kernel=(1, 1), num_filter=1, layout="NWC"),
            *(ValueError, "no layout 'NWC'"),
        ),
        (
            lambda x: nd.Convolution(x[0, 0], x, kernel=(1,), num_filter=1),
            *(ValueError, "needs data of 3 to 5 dimensions"),
        ),
        (
            lambda x: nd.Deconvolution(
                x, nd.ones((4, 1, 3, 3)), kernel=(3, 3), num_filter=1, adj=(1, 0)
            ),
            *(ValueError, r"adj=\(1, 0\) should be less than stride=\(1, 1\)"),
        ),
        (
            lambda x: nd.Deconvolution(
                x, nd.ones((4, 1, 1, 1)), kernel=(1, 1), num_filter=1, pad=(3, 3)
            ),
            *(ValueError, r"pad=\(3, 3\) leaves nothing"),
        ),
        (lambda x: nd.Pooling(x, kernel=(6, 6)), ValueError, "does not fit into data"),
        (lambda x: nd.Pooling(x, pool_type="min", kernel=(1, 1)), ValueError, "no pool_type 'min'"),
        (
            lambda x: nd.Pooling(x, kernel=(1, 1), pooling_convention="ceil"),
            *(ValueError, "no pooling_convention 'ceil'"),
        ),
        (lambda x: nd.Pooling(x, (2, 2), "lp"), ValueError, "needs p_value 1, 2 or 3"),
        (lambda x: nd.FullyConnected(x, x), TypeError, "needs num_hidden"),
        (lambda x: nd.FullyConnected(x, nd.ones((3, 100)), num_hidden=3), ValueError, "a bias"),
        (lambda x: nd.BatchNorm(x, x, x, x, x, axis=4), ValueError, "has no axis 4"),
        (lambda x: nd.GroupNorm(x, x, x, num_groups=3), ValueError, "num_groups=3 of 4 channels"),
        (lambda x: nd.InstanceNorm(x[0, 0], x, x), ValueError, "3 dimensions or more"),
        (lambda x: nd.L2Normalization(x, mode="row"), ValueError, "no mode 'row'"),
        (lambda x: nd.LRN(x), TypeError, "needs nsize"),
        (lambda x: nd.LRN(x, nsize=2), ValueError, "an odd nsize"),
        (lambda x: nd.Activation(x, act_type="gelu"), ValueError, "no act_type 'gelu'"),
        (lambda x: nd.LeakyReLU(x, act_type="relu"), ValueError, "no act_type 'relu'"),
        (lambda x: nd.softmax(x, axis=4), ValueError, "has no axis 4"),
        (lambda x: nd.Embedding(x, x), TypeError, "needs input_dim and output_dim"),
        (lambda x: nd.UpSampling(x, scale=2, sample_type="bilinear"), NotImplementedError, "near"),
        (lambda x: nd.UpSampling(x), TypeError, "needs data, scale and sample_type"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, why):
    with pytest.raises(error, match=why):
        call(nd.ones((2, 4, 5, 5)))
