# SPDX-License-Identifier: Apache-2.0
"""Operators."""

from __future__ import annotations

import math
from typing import Any

import mxnet_calls
import numpy as np
import pytest

from mxio import nd
from mxio.context import gpu

Call = mxnet_calls.Call

UNARY = {
    name: (-3.0, 3.0)
    for name in (
        "abs sign negative reciprocal square cbrt rcbrt exp expm1 sin cos tan arctan sinh cosh "
        "tanh arcsinh degrees radians ceil floor trunc fix round rint erf relu sigmoid softsign "
        "logical_not gamma gammaln smooth_l1"
    ).split()
}
UNARY |= dict.fromkeys("sqrt rsqrt log log2 log10 log1p".split(), (0.01, 9.0))
UNARY |= dict.fromkeys("arcsin arccos arctanh erfinv".split(), (-0.99, 0.99))
UNARY["arccosh"] = (1.0, 9.0)

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -1.5, -2.5, 1e-8, 40.0, -40.0]

BINARY = (
    "add subtract multiply divide modulo power maximum minimum equal not_equal greater "
    "greater_equal lesser lesser_equal logical_and logical_or logical_xor"
).split()
BROADCAST = (
    "broadcast_add broadcast_plus broadcast_sub broadcast_minus broadcast_mul broadcast_div "
    "broadcast_mod broadcast_power broadcast_maximum broadcast_minimum broadcast_hypot "
    "broadcast_equal broadcast_not_equal broadcast_greater broadcast_greater_equal "
    "broadcast_lesser broadcast_lesser_equal broadcast_logical_and broadcast_logical_or "
    "broadcast_logical_xor"
).split()


def calls_of_operators(rng: np.random.Generator, n: int) -> list[Call]:
    """Random calls of every operator here, `n` rounds of them."""
    calls: list[Call] = []

    def of(*shape: int, dtype: Any = None, low: float = -3, high: float = 3) -> Any:
        dtype = dtype or pick("float32", "float32", "float64", "float16", "int32")
        return rng.uniform(low, high, shape).astype(dtype)

    def distinct(*shape: int) -> Any:
        return rng.permutation(math.prod(shape)).reshape(shape).astype(pick("float32", "int32"))

    def pick(*options: Any) -> Any:
        return options[rng.integers(len(options))]

    def a_shape(least: int = 1, most: int = 4) -> tuple[int, ...]:
        return tuple(int(m) for m in rng.integers(1, 6, rng.integers(least, most + 1)))

    def an_axis(shape: tuple[int, ...]) -> int:
        return int(rng.integers(-len(shape), len(shape)))

    def add(name: str, *args: Any, **kwargs: Any) -> None:
        calls.append((name, [*args], kwargs))

    def add_both(name: str, x: Any, *args: Any, **kwargs: Any) -> None:
        """As a function, and as a method."""
        add(name, x, *args, **kwargs)
        add(f".{name}", x, *args, **kwargs)

    for _ in range(n):
        for name, (low, high) in UNARY.items():
            floating = pick("float32", "float64", "float16")
            x = of(*a_shape(), dtype=floating, low=low, high=high)
            if name in ("round", "rint", "floor", "ceil", "trunc", "fix"):
                x = np.round(x * 4) / 4  # ties
            kwargs = {"scalar": pick(1.0, 2.0)} if name == "smooth_l1" else {}
            add(name, x, **kwargs)
            if hasattr(nd.NDArray, name):
                add(f".{name}", x)
            add(name, rng.permutation(SPECIAL).astype(floating), **kwargs)
            if name not in ("logical_not", "erfinv"):
                add(name, rng.integers(1, 4, 5).astype(pick("int32", "int64")), **kwargs)
        shape = a_shape()
        x = of(*shape)
        add_both("clip", x, -1, 2)
        add("clip", x, a_min=-0.5, a_max=1.5)
        add("hard_sigmoid", of(*shape, dtype="float32"), alpha=pick(0.2, 1.0), beta=0.4)
        add("identity", x)
        add("BlockGrad", x)
        add("cast", x, dtype=pick("float32", "int32", "float64", "float16", "int8"))
        for name in BINARY:
            x = of(*shape, dtype=pick("float32", "float64"), low=0.1, high=4)
            y = of(*shape, dtype=str(x.dtype), low=0.1, high=4)
            if name not in ("power", "modulo"):
                y[rng.random(shape) < 0.3] = x.flat[0]
                x[rng.random(shape) < 0.3] *= -1
            if name in ("logical_and", "logical_or", "logical_xor"):
                x, y = np.round(x), np.round(y / 4)
            if name == "modulo":
                x *= pick(1, -1)
                y *= pick(1, -1)
            add(name, x, y)
            add(name, x, pick(2, 0.75) if name != "power" else 2)
            add(name, 1.5, np.abs(x))
            if name != "power":
                add(name, *(rng.permutation(SPECIAL).astype("float32") for _ in range(2)))
        for name in BROADCAST:
            mask_x, mask_y = (rng.random(len(shape)) < 0.4 for _ in range(2))
            x = of(*np.where(mask_x, 1, shape), dtype="float32", low=0.2)
            y = of(*np.where(mask_y, 1, shape), dtype="float32", low=0.2)
            add(name, np.round(x * 2), np.round(y * 2) + 1)
        same = [of(*shape, dtype="float32") for _ in range(3)]
        for name in ("elemwise_add", "elemwise_sub", "elemwise_mul", "elemwise_div"):
            add(name, *same[:2])
        add("add_n", *same)
        condition = rng.integers(0, 2, shape).astype("float32")
        add("where", condition, *same[:2])
        add("where", condition.reshape(shape[0], -1)[:, 0], *same[:2])

        # ---- reductions
        x = of(*shape)
        axes = [i for i in range(len(shape)) if rng.random() < 0.5]
        chosen: Any = pick(None, an_axis(shape), tuple(axes))
        for name in ("sum", "mean", "prod", "max", "min", "nansum", "nanprod"):
            kwargs = {"axis": chosen}
            if pick(True, False):
                kwargs["keepdims"] = True
            if chosen not in (None, ()) and pick(True, False):
                kwargs["exclude"] = True
                if set(axes if isinstance(chosen, tuple) else [0]) >= {*range(len(shape))}:
                    kwargs.pop("exclude")
            if chosen is None:
                kwargs.pop("axis")
            x = of(*shape, dtype="int32" if name != "mean" else "float32")
            if pick(True, True, False):
                x = of(*shape, dtype="float32")
                if name.startswith("nan"):
                    x[rng.random(shape) < 0.3] = np.nan
            add(name, x, **kwargs)
            if x.dtype == np.float32 and kwargs.get("axis") != ():
                add(f".{name}", x, **kwargs)
        x = of(*shape, dtype=pick("float32", "float64"))
        add_both("norm", x, ord=pick(1, 2), axis=an_axis(shape), keepdims=pick(True, False))
        add("norm", x)
        add("moments", x, axes=tuple(axes) or (0,), keepdims=pick(True, False))
        for name in ("argmax", "argmin"):
            add(name, of(*shape, dtype="float32").round(), axis=an_axis(shape))
            add(name, of(*shape, dtype="float32"), axis=an_axis(shape), keepdims=True)
        add("argmax_channel", of(2, 3, 2, dtype="float32"))
        axis = an_axis(shape)
        x = distinct(*shape)
        ascending = pick(True, False)
        add_both("sort", x, axis=axis, is_ascend=ascending)
        add("argsort", np.round(x / 2), axis=axis, is_ascend=ascending)
        add("argsort", x, dtype="int32")
        k = int(rng.integers(1, shape[axis] + 1))
        kwargs = {"k": k, "ret_typ": pick("indices", "value", "both", "mask")}
        add_both("topk", x, axis=axis, is_ascend=ascending, **kwargs)
        add("cumsum", of(*shape), axis=pick(None, axis % len(shape)))
        a, b, c = (int(m) for m in rng.integers(1, 6, 3))
        x, y = of(a, b, dtype="float32"), of(b, c, dtype="float32")
        turned = pick(True, False), pick(True, False)
        kwargs = {"transpose_a": turned[0], "transpose_b": turned[1]}
        add("dot", x.T.copy() if turned[0] else x, y.T.copy() if turned[1] else y, **kwargs)
        x, y = of(a, b, c, dtype="float64"), of(c, b, 2, dtype="float64")
        if turned[0]:
            x = np.ascontiguousarray(np.moveaxis(x, -1, 0))
        if turned[1]:
            y = np.ascontiguousarray(np.moveaxis(y, 0, -1))
        add("dot", x, y, **kwargs)
        x, y = of(2, a, b, dtype="float32"), of(2, b, c, dtype="float32")
        x = np.ascontiguousarray(x.swapaxes(1, 2)) if turned[0] else x
        y = np.ascontiguousarray(y.swapaxes(1, 2)) if turned[1] else y
        add("batch_dot", x, y, **kwargs)
        add("linalg_gemm2", x, y, alpha=0.5, **kwargs)
        add("linalg.gemm", x, y, of(2, a, c, dtype="float32"), alpha=2.0, beta=0.5, **kwargs)
        add("softmax_cross_entropy", of(3, 4, dtype="float32"), np.array([0, 3, 1], "float32"))

        # ---- shapes
        x = of(*shape)
        add_both("transpose", x)
        order = tuple(int(i) for i in rng.permutation(len(shape)))
        add_both("transpose", x, axes=order)
        add(".transpose", x, order)
        add("swapaxes", x, dim1=0, dim2=len(shape) - 1)
        add(".swapaxes", x, 0, len(shape) - 1)
        add_both("expand_dims", x, axis=int(rng.integers(-len(shape) - 1, len(shape) + 1)))
        if len(shape) > 1:
            add("squeeze", x[:, :1].copy(), axis=1)
            add(".squeeze", x[:, :1].copy(), axis=1)
        add("stack", x, x * 2, x * 3, axis=int(rng.integers(-len(shape) - 1, len(shape) + 1)))
        axis = an_axis(shape)
        add("concat", x, np.repeat(x, 2, axis), dim=axis)
        add("concatenate", (x, x), axis=len(shape) - 1)
        parts = np.repeat(x, 3, axis)
        add("split", parts, num_outputs=3, axis=axis)
        add(".split", parts, num_outputs=3, axis=axis)
        add("split", np.take(parts, [0, 1, 2], axis), num_outputs=3, axis=axis, squeeze_axis=True)
        add("split_v2", parts, 3, axis=axis % len(shape))
        add("split_v2", parts, (1, 2), axis=axis % len(shape))
        begin = tuple(pick(None, int(rng.integers(0, m))) for m in shape)
        end = tuple(
            pick(None, int(rng.integers((b or 0) + 1, m + 3)))
            for b, m in zip(begin, shape, strict=True)
        )
        step = tuple(pick(None, 1, 2) for _ in shape)
        add_both("slice", x, begin=begin, end=end)
        add("slice", x, begin=begin, end=end, step=step)
        add("slice", x, begin=(None,) * len(shape), end=(None,) * len(shape), step=(-1, *step[1:]))
        start = int(rng.integers(0, shape[axis]))
        stop = pick(None, int(rng.integers(start + 1, shape[axis] + 1)))
        add_both("slice_axis", x, axis=axis, begin=start, end=stop)
        add("slice_axis", x, axis=axis, begin=start - shape[axis], end=stop)
        smaller = of(*(int(rng.integers(1, m + 1)) for m in shape), dtype=str(x.dtype))
        add_both("slice_like", x, smaller)
        add("slice_like", x, smaller, axes=(axis,))
        add_both("tile", x, reps=(int(rng.integers(1, 4)), 1, int(rng.integers(1, 4))))
        add_both("repeat", x, repeats=int(rng.integers(1, 4)), axis=axis)
        add_both("flip", x, axis=axis % len(shape))
        add("reverse", x, axis=tuple(range(len(shape))))
        thin = x[
            tuple(slice(0, 1) if i == axis % len(shape) else slice(None) for i in range(x.ndim))
        ]
        add_both("broadcast_to", thin.copy(), shape)
        add("broadcast_axis", thin.copy(), axis=axis % len(shape), size=3)
        add_both("broadcast_like", thin.copy(), x)
        add_both("reshape_like", x, x.reshape(-1, 1).copy())
        add_both("shape_array", x)
        add_both("size_array", x)
        add_both("zeros_like", x)
        add_both("ones_like", x)
        add("Flatten", x)
        add(".flatten", x)
        y = of(2, 3, 4, 6, dtype="float32")
        for codes in [
            *((0, -1), (-2,), (-2, 1, 1), (-3, -2), (0, -3, 0), (-3, -3), (0, 0, -4, 2, -1, 0)),
            *((-4, 1, 2, -2), (0, -4, -1, 3, -2), (4, -1, 0), (-1, 0, 0, 2), (24, 0, -1)),
        ]:
            add_both("reshape", y, shape=codes)
        for codes in [(-1, 0), (0, -3, -1), (-3, 0, 0), (-1, 0, 6)]:
            add("reshape", y, shape=codes, reverse=True)
        block = pick(1, 2, 3)
        x = of(2, 2 * block**2, 2, 3, dtype="float32")
        add_both("depth_to_space", x, block)
        add_both("space_to_depth", of(2, 2, 2 * block, 3 * block, dtype="float32"), block)
        widths = (0, 0, 0, 0, *(int(m) for m in rng.integers(0, 3, 4)))
        x = of(2, 2, 4, 3, dtype="float32")
        add_both("pad", x, mode="constant", pad_width=widths, constant_value=pick(0, 2.5))
        add("pad", x, mode=pick("edge", "reflect"), pad_width=widths)
        add("contrib.arange_like", x, axis=pick(None, 0, 3), start=pick(0, 2), step=pick(1, 0.5))
        add("contrib.div_sqrt_dim", x)
        add("contrib.AdaptiveAvgPooling2D", x, output_size=pick(1, 2, (3, 2), (5, 4)))
        add("linspace", 1, 5, int(rng.integers(1, 9)), endpoint=pick(True, False))
        add("eye", 3, int(rng.integers(0, 5)), int(rng.integers(-2, 3)))

        # ---- items chosen by number
        x = of(*shape)
        index = rng.integers(-3, 8, pick((3,), (2, 2), (1,))).astype(pick("float32", "int32"))
        add_both("take", x, index, axis=axis)
        add("take", x, index, axis=axis, mode="wrap")
        add("take", x, np.abs(index) % shape[axis], axis=axis, mode="raise")
        kept = shape[: axis % len(shape)] + shape[axis % len(shape) + 1 :]
        if kept:
            index = rng.integers(-2, 7, kept).astype("float32")
            add_both("pick", x, index, axis=axis, keepdims=pick(True, False))
            add("pick", x, index, axis=axis, mode="wrap")
        index = rng.integers(-1, 5, pick((3,), (2, 2))).astype(pick("float32", "int32"))
        add("one_hot", index, depth=4, on_value=pick(1, 5), off_value=pick(0, -1))
        add(".one_hot", index, 3, dtype="int32")
        x = of(4, 3, dtype="float32")
        add("batch_take", x, np.array([0, 2, 5, -1], "int32"))
        index = np.stack([rng.integers(0, 4, (2, 3)), rng.integers(0, 3, (2, 3))])
        add("gather_nd", x, index.astype("float32"))
        add("gather_nd", x, index[:1].astype("int32"))
        places = rng.permutation(12)[:5]
        index = np.stack(np.divmod(places, 3)).astype("int32")
        add("scatter_nd", of(5, dtype="float32"), index, shape=(4, 3))
        add_both("diag", x, k=int(rng.integers(-2, 3)))
        add("diag", of(3, dtype="float32"), k=int(rng.integers(-2, 3)))
        add("diag", of(2, 3, 4, dtype="float32"), axis1=pick(0, 1), axis2=2)
        steps, batch = (int(m) for m in rng.integers(1, 5, 2))
        x = of(steps, batch, *a_shape(0, 2), dtype="float32")
        lengths = rng.integers(1, steps + 1, batch).astype(pick("float32", "int32"))
        known = {"use_sequence_length": True}
        for name in ("SequenceMask", "SequenceLast", "SequenceReverse"):
            if name == "SequenceReverse" or x.ndim > 2:  # MXNet asks for 3 dimensions
                add(name, x, lengths, **known)
            add(name, x)
        y = np.ascontiguousarray(x.swapaxes(0, 1))
        add("SequenceMask", y, lengths, axis=1, value=-1.5, **known)
        if y.ndim > 2:
            add("SequenceLast", y, lengths, axis=1, **known)
    return calls
