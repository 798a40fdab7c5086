# SPDX-License-Identifier: Apache-2.0
"""Operators that take axes away: sums, extremes, order, and matrix products.

The results have the dtype of `data`, as in MXNet, also a mean of integers; what is bool counts
as float32. Positions are float32 unless another dtype is asked for, as in MXNet. Sums of
float16 are taken in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from mxio.nd._layers import axis_of
from mxio.nd._operator import Array, computing, floating, operator, product, rounded
from mxio.nd.ndarray import dtype_of

__all__ = [
    "argmax",
    "argmax_channel",
    "argmin",
    "argsort",
    "batch_dot",
    "cumsum",
    "dot",
    "max",
    "max_axis",
    "mean",
    "min",
    "min_axis",
    "moments",
    "nanprod",
    "nansum",
    "norm",
    "prod",
    "sort",
    "sum",
    "sum_axis",
    "topk",
]

Axis: TypeAlias = "int | Sequence[int] | None"


def axes_of(axis: Axis, ndim: int, exclude: bool, what: str) -> tuple[int, ...]:
    """Return the axes to take away; None and () are all, `exclude` turns the choice around."""
    if axis is None or (not isinstance(axis, (int, np.integer)) and len(axis) == 0):
        # MXNet 1.9.1, measured: all are taken away, with exclude too.
        return tuple(range(ndim))
    given = [axis] if isinstance(axis, (int, np.integer)) else axis
    found = {axis_of(int(item), ndim, what) for item in given}
    if len(found) != len(given):
        raise ValueError(f"{what} has an axis twice: {axis}")
    return tuple(i for i in range(ndim) if (i in found) != exclude)


def _numbers(data: Any) -> Array:
    x = np.asarray(data)
    return x.astype(np.float32) if x.dtype.kind == "b" else x


def _inner(x: Array) -> np.dtype[Any]:
    """Return the dtype to sum in."""
    return computing(x.dtype) if x.dtype.kind in "fV" else x.dtype


@operator
def sum(data: Any, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Any:
    """Return the sums along axes.

    Parameters
    ----------
    data : array
    axis : int or sequence of int, optional
        The axes to take away; None is all.
    keepdims : bool, default False
        Whether an axis of 1 stays.
    exclude : bool, default False
        Whether `axis` is what stays.
    """
    x = _numbers(data)
    axes = axes_of(axis, x.ndim, exclude, "sum")
    return rounded(x.sum(axis=axes, keepdims=keepdims, dtype=_inner(x)), x.dtype)


@operator
def nansum(data: Any, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Any:
    """Return the sums along axes, NaN taken as 0; see `sum`."""
    x = _numbers(data)
    axes = axes_of(axis, x.ndim, exclude, "nansum")
    if x.dtype.kind in "fV":
        x = np.where(np.isnan(x), x.dtype.type(0), x)
    return rounded(x.sum(axis=axes, keepdims=keepdims, dtype=_inner(x)), x.dtype)


@operator
def prod(data: Any, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Any:
    """Return the products along axes; see `sum`."""
    x = _numbers(data)
    axes = axes_of(axis, x.ndim, exclude, "prod")
    return rounded(x.prod(axis=axes, keepdims=keepdims, dtype=_inner(x)), x.dtype)


@operator
def nanprod(data: Any, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Any:
    """Return the products along axes, NaN taken as 1; see `sum`."""
    x = _numbers(data)
    axes = axes_of(axis, x.ndim, exclude, "nanprod")
    if x.dtype.kind in "fV":
        x = np.where(np.isnan(x), x.dtype.type(1), x)
    return rounded(x.prod(axis=axes, keepdims=keepdims, dtype=_inner(x)), x.dtype)


@operator
def mean(data: Any, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Any:
    """Return the means along axes; see `sum`."""
    x = _numbers(data)
    axes = axes_of(axis, x.ndim, exclude, "mean")
    inner = computing(x.dtype) if x.dtype.kind in "fV" else np.dtype(np.float64)
    return rounded(x.mean(axis=axes, keepdims=keepdims, dtype=inner), x.dtype)


@operator
def max(data: Any, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Any:
    """Return the largest values along axes, NaN if there is one; see `sum`."""
    x = _numbers(data)
    return x.max(axis=axes_of(axis, x.ndim, exclude, "max"), keepdims=keepdims)


@operator
def min(data: Any, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Any:
    """Return the smallest values along axes, NaN if there is one; see `sum`."""
    x = _numbers(data)
    return x.min(axis=axes_of(axis, x.ndim, exclude, "min"), keepdims=keepdims)


sum_axis, max_axis, min_axis = sum, max, min


@operator
def norm(
    data: Any, ord: int = 2, axis: Axis = None, out_dtype: Any = None, keepdims: bool = False
) -> Any:
    """Return the norms along axes: the root of the sum of squares, or with 1 the sum of sizes.

    Parameters
    ----------
    data : array
    ord : {2, 1}
    axis : int or sequence of int, optional
        None is all.
    out_dtype : dtype, optional
    keepdims : bool, default False
    """
    if ord not in (1, 2):
        raise ValueError(f"norm knows ord=1 and ord=2, not {ord!r}")
    x = _numbers(data)
    dtype = x.dtype if out_dtype is None else dtype_of(out_dtype)
    inner = computing(x.dtype) if x.dtype.kind in "fV" else np.dtype(np.float64)
    axes = axes_of(axis, x.ndim, False, "norm")
    y = np.abs(rounded(x, inner)) if ord == 1 else np.square(rounded(x, inner))
    y = y.sum(axis=axes, keepdims=keepdims)
    return rounded(y if ord == 1 else np.sqrt(y), dtype)


@operator
def moments(data: Any, axes: Axis = None, keepdims: bool = False) -> Any:
    """Return the means and the variances along axes, in a list."""
    x = _numbers(data)
    found = axes_of(axes, x.ndim, False, "moments")
    dtype = floating(x)
    x = rounded(x, computing(dtype))
    mean = x.mean(axis=found, keepdims=True)
    var = np.square(x - mean).mean(axis=found, keepdims=keepdims)
    if not keepdims:
        mean = mean.reshape(var.shape)
    return rounded(mean, dtype), rounded(var, dtype)


@operator
def cumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Return the sums of each item and all before it, along an axis or of all in a row."""
    x, at = along(_numbers(a), axis, "cumsum")
    found = x.dtype if dtype is None else dtype_of(dtype)
    inner = computing(found) if found.kind in "fV" else found
    return rounded(x.cumsum(axis=at, dtype=inner), found)


def _extreme(data: Any, axis: int | None, keepdims: bool, largest: bool) -> Array:
    given = np.asarray(data)
    x, at = along(given, axis, "argmax" if largest else "argmin")
    found = x.argmax(axis=at) if largest else x.argmin(axis=at)
    # float32 counts to 2 ** 24; farther MXNet's positions are wrong.
    kind = np.float32 if x.shape[at] <= 2**24 else np.float64
    kept = [1 if axis is None or i == at else n for i, n in enumerate(given.shape)]
    y = np.asarray(found).astype(kind)
    return y.reshape(kept) if keepdims else y


@operator
def argmax(data: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Return the position of the first largest item along an axis, as float32.

    Parameters
    ----------
    data : array
    axis : int, optional
        None takes all as one row.
    keepdims : bool, default False

    Notes
    -----
    float32 is what MXNet has of float32 (measured), float64 if the axis is longer than float32
    counts. The method ``x.argmax()`` has integers, to index with.
    """
    return _extreme(data, axis, keepdims, True)


@operator
def argmin(data: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Return the position of the first smallest item; see `argmax`."""
    return _extreme(data, axis, keepdims, False)


@operator
def argmax_channel(data: Any) -> Any:
    """Return the position of the first largest item along axis 1; see `argmax`."""
    return _extreme(data, 1, False, True)


def order(x: Array, axis: int, ascending: bool) -> Array:
    """Return the positions that sort along an axis; ties stay in order, NaN is last."""
    if not ascending:
        # What turns the order around and fits into the dtype.
        x = -x if x.dtype.kind in "fV" else ~x
    return np.argsort(x, axis=axis, kind="stable")


def along(data: Any, axis: int | None, what: str) -> tuple[Array, int]:
    """Return an array and one of its axes, counted from the front; None takes all as a row."""
    x = np.asarray(data)
    return (x.reshape(-1), 0) if axis is None else (x, axis_of(axis, x.ndim, what))


@operator
def sort(data: Any, axis: int | None = -1, is_ascend: bool = True) -> Any:
    """Return a sorted copy, NaN last.

    Parameters
    ----------
    data : array
    axis : int or None, default -1
        None takes all as one row.
    is_ascend : bool, default True
    """
    x, axis = along(data, axis, "sort")
    return np.take_along_axis(x, order(x, axis, is_ascend), axis)


@operator
def argsort(
    data: Any, axis: int | None = -1, is_ascend: bool = True, dtype: Any = "float32"
) -> Any:
    """Return the positions that sort along an axis, ties in order; see `sort`."""
    x, axis = along(data, axis, "argsort")
    return order(x, axis, is_ascend).astype(dtype_of(dtype))


@operator
def topk(
    data: Any,
    axis: int | None = -1,
    k: int = 1,
    ret_typ: str = "indices",
    is_ascend: bool = False,
    dtype: Any = "float32",
) -> Any:
    """Return the `k` largest items along an axis, the largest first.

    Parameters
    ----------
    data : array
    axis : int or None, default -1
        None takes all as one row.
    k : int, default 1
        0 is all.
    ret_typ : {'indices', 'value', 'both', 'mask'}
        Their positions; the items; both, in a list, the items first; or ones where they are.
    is_ascend : bool, default False
        Whether to take the smallest.
    dtype : dtype, default float32
        Of positions.
    """
    given = np.asarray(data)
    x, axis = along(given, axis, "topk")
    n = x.shape[axis]
    if not 0 <= k <= n:
        raise ValueError(f"k={k} should be 0 to {n}, the number of items on the axis")
    first: list[Any] = [slice(None)] * x.ndim
    first[axis] = slice(0, k or n)
    found = order(x, axis, is_ascend)[tuple(first)]
    if ret_typ == "indices":
        return found.astype(dtype_of(dtype))
    if ret_typ == "mask":
        mask = np.zeros(x.shape, x.dtype)
        np.put_along_axis(mask, found, x.dtype.type(1), axis)
        return mask.reshape(given.shape)
    if ret_typ not in ("value", "both"):
        raise ValueError(f"no ret_typ {ret_typ!r}: it is 'indices', 'value', 'both' or 'mask'")
    values = np.take_along_axis(x, found, axis)
    return values if ret_typ == "value" else (values, found.astype(dtype_of(dtype)))


@operator
def dot(
    lhs: Any,
    rhs: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    forward_stype: str | None = None,
) -> Any:
    """Return the products over the last axis of `lhs` and the first one of `rhs`.

    Parameters
    ----------
    lhs, rhs : array
    transpose_a : bool, default False
        Whether it is the first axis of `lhs`, which is moved to the end.
    transpose_b : bool, default False
        Whether it is the last axis of `rhs`, which is moved to the front.
    forward_stype
        Not looked at: the result is dense.
    """
    lhs, rhs = _numbers(lhs), _numbers(rhs)
    if not lhs.ndim or not rhs.ndim:
        raise ValueError(f"dot needs a dimension or more, not {lhs.shape} and {rhs.shape}")
    a = np.moveaxis(lhs, 0, -1) if transpose_a else lhs
    b = np.moveaxis(rhs, -1, 0) if transpose_b else rhs
    if a.shape[-1] != b.shape[0]:
        raise ValueError(f"dot of {a.shape} and {b.shape}: {a.shape[-1]} is not {b.shape[0]}")
    dtype = np.result_type(a, b)
    inner = computing(dtype) if dtype.kind in "fV" else dtype
    # -1 would not do for empty arrays.
    rows, columns = math.prod(a.shape[:-1]), math.prod(b.shape[1:])
    a2 = rounded(a, inner).reshape(rows, a.shape[-1])
    b2 = rounded(b, inner).reshape(b.shape[0], columns)
    return rounded(product(a2, b2).reshape(*a.shape[:-1], *b.shape[1:]), dtype)


@operator
def batch_dot(
    lhs: Any,
    rhs: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    forward_stype: str | None = None,
) -> Any:
    """Return the matrix product of each pair of matrices, on the last two axes.

    Parameters
    ----------
    lhs, rhs : array of 3 dimensions or more
        The others are the same in both.
    transpose_a, transpose_b : bool, default False
        Whether the matrices of one are to be transposed.
    forward_stype
        Not looked at: the result is dense.
    """
    return matrices(_numbers(lhs), _numbers(rhs), transpose_a, transpose_b, "batch_dot", 3)


def matrices(
    lhs: Array, rhs: Array, transpose_a: bool, transpose_b: bool, what: str, least: int
) -> Array:
    """Return the matrix products on the last two axes."""
    if lhs.ndim < least or lhs.ndim != rhs.ndim or lhs.shape[:-2] != rhs.shape[:-2]:
        raise ValueError(
            f"{what} needs {least} dimensions or more, all but the last 2 the same, "
            f"not {lhs.shape} and {rhs.shape}"
        )
    a = lhs.swapaxes(-1, -2) if transpose_a else lhs
    b = rhs.swapaxes(-1, -2) if transpose_b else rhs
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"{what} of {a.shape} and {b.shape}: {a.shape[-1]} is not {b.shape[-2]}")
    dtype = np.result_type(a, b)
    inner = computing(dtype) if dtype.kind in "fV" else dtype
    return rounded(product(rounded(a, inner), rounded(b, inner)), dtype)
