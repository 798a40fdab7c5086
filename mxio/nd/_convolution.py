# SPDX-License-Identifier: Apache-2.0
"""Operators that slide a window: convolution, its transpose, pooling, and upsampling.

A convolution is a matrix product of the weight and of the windows, each laid out as a column.
The columns of a large image would take many times its memory, so they are made and used up
block by block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product as combinations
from typing import Any

import numpy as np

from mxio.nd._layers import bias_of, learned
from mxio.nd._operator import Array, computing, floating, least, operator, product, rounded

__all__ = ["Convolution", "Deconvolution", "Pooling", "UpSampling"]

_BLOCK_NBYTES = 8 << 20  # of columns at a time, which then stay in the cache

_LAYOUTS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}


def _spatial(data: Array, what: str) -> int:
    if not 3 <= data.ndim <= 5:
        raise ValueError(
            f"{what} needs data of 3 to 5 dimensions, batch, channel and 1 to 3 more, "
            f"not of shape {data.shape}"
        )
    return data.ndim - 2


def _numbers(given: Any, ndim: int, default: int | None, name: str, least: int) -> tuple[int, ...]:
    """Return one number for each dimension of a window."""
    if isinstance(given, (int, np.integer)):
        given = (int(given),) * ndim
    numbers = tuple(int(number) for number in given or ())
    if not numbers and default is not None:
        numbers = (default,) * ndim
    if len(numbers) != ndim or min(numbers) < least:
        raise ValueError(f"{name}={given!r} should be {ndim} numbers of at least {least}")
    return numbers


def _channels_last(layout: str | None, ndim: int, what: str) -> bool:
    first, last = _LAYOUTS[ndim]
    if layout not in (None, first, last):
        raise ValueError(f"no layout {layout!r} for {what} of such data: it is {first} or {last}")
    return layout == last


def _padded(x: Array, pads: Sequence[tuple[int, int]], value: Any = 0) -> Array:
    """Return `x` with `value` around its spatial axes."""
    if not any(map(any, pads)):
        return x
    shape = [n + before + behind for n, (before, behind) in zip(x.shape[2:], pads, strict=True)]
    y = np.full((*x.shape[:2], *shape), value, x.dtype)
    inner: tuple[Any, ...] = tuple(
        slice(before, before + n) for n, (before, _) in zip(x.shape[2:], pads, strict=True)
    )
    y[(..., *inner)] = x
    return y


def _blocks(n: int, rows: int, row_nbytes: int) -> Iterator[tuple[slice, slice]]:
    """Divide `n` samples of some rows into runs of samples, or of the rows of one sample."""
    whole = max(1, rows * row_nbytes)
    if whole <= _BLOCK_NBYTES:
        step = _BLOCK_NBYTES // whole
        for start in range(0, n, step):
            yield slice(start, min(n, start + step)), slice(0, rows)
    else:
        step = max(1, _BLOCK_NBYTES // row_nbytes)
        for sample in range(n):
            for start in range(0, rows, step):
                yield slice(sample, sample + 1), slice(start, min(rows, start + step))


def _windows(
    x: Array, kernel: Sequence[int], stride: Sequence[int], dilate: Sequence[int]
) -> Array:
    """Return a view of shape (batch, channel, *kernel, *windows)."""
    ndim = len(kernel)
    steps = x.strides[2:]
    counts = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[2:], kernel, stride, dilate, strict=True)
    ]
    return np.lib.stride_tricks.as_strided(
        x,
        (*x.shape[:2], *kernel, *counts),
        (
            *x.strides[:2],
            *(steps[i] * dilate[i] for i in range(ndim)),
            *(steps[i] * stride[i] for i in range(ndim)),
        ),
        writeable=False,
    )


@operator
def Convolution(
    data: Any,
    weight: Any,
    bias: Any = None,
    kernel: Any = None,
    stride: Any = (),
    dilate: Any = (),
    pad: Any = (),
    num_filter: int | None = None,
    num_group: int = 1,
    workspace: int = 1024,
    no_bias: bool = False,
    cudnn_tune: str | None = None,
    cudnn_off: bool = False,
    layout: str | None = None,
) -> Any:
    """Convolve in 1, 2 or 3 dimensions, without turning the kernel around.

    Parameters
    ----------
    data : array of shape (batch, channels, *size)
    weight : array of shape (num_filter, channels / num_group, *kernel)
    bias : array of shape (num_filter,), optional
    kernel, stride, dilate, pad : tuple of int
        One number for each dimension; 1 without a stride or dilation, 0 without padding.
    num_filter : int
    num_group : int, default 1
        How many convolutions to do side by side, each with its part of the channels.
    no_bias : bool, default False
    layout : str, optional
        ``'NCHW'`` and the like, or with the channels last, ``'NHWC'``, in `weight` too.
    workspace, cudnn_tune, cudnn_off
        Not looked at.
    """
    if kernel is None or num_filter is None:
        raise TypeError("Convolution needs kernel and num_filter")
    data = np.asarray(data)
    ndim = _spatial(data, "Convolution")
    kernel = _numbers(kernel, ndim, None, "kernel", 1)
    stride = _numbers(stride, ndim, 1, "stride", 1)
    dilate = _numbers(dilate, ndim, 1, "dilate", 1)
    pad = _numbers(pad, ndim, 0, "pad", 0)
    last = _channels_last(layout, ndim, "Convolution")
    x = np.moveaxis(data, -1, 1) if last else data
    channels = x.shape[1]
    if num_group < 1 or channels % num_group or num_filter % num_group:
        raise ValueError(
            f"Convolution cannot make num_group={num_group} of {channels} channels "
            f"and {num_filter} filters"
        )
    each = channels // num_group
    for size, k, d, p in zip(x.shape[2:], kernel, dilate, pad, strict=True):
        if d * (k - 1) + 1 > size + 2 * p:
            raise ValueError(
                f"kernel={kernel} with dilate={dilate} does not fit into data of size "
                f"{x.shape[2:]} with pad={pad}"
            )
    shape = (num_filter, *kernel, each) if last else (num_filter, each, *kernel)
    weight = learned(weight, shape, "weight")
    bias = bias_of(bias, no_bias, num_filter, "Convolution")
    dtype = floating(data, weight, bias)
    exact = computing(dtype)
    w = rounded(np.moveaxis(weight, -1, 1) if last else weight, exact)
    y = _convolved(_padded(rounded(x, exact), [(p, p) for p in pad]), w, stride, dilate, num_group)
    if bias is not None:
        y += bias.reshape(-1, *(1,) * ndim)
    return rounded(np.ascontiguousarray(np.moveaxis(y, 1, -1)) if last else y, dtype)


def _convolved(
    x: Array, w: Array, stride: Sequence[int], dilate: Sequence[int], groups: int
) -> Array:
    filters, each, *kernel = w.shape
    windows = _windows(x, kernel, stride, dilate)
    n, ndim = x.shape[0], len(kernel)
    size = windows.shape[2 + ndim :]
    if not n or not math.prod(size):
        return np.zeros((n, filters, *size), x.dtype)
    if each == 1 and math.prod(kernel) > 1:
        return _depthwise(windows, w, groups)
    y = np.empty((n, groups, filters // groups, *size), x.dtype)
    depth = each * math.prod(kernel)
    w = w.reshape(groups, filters // groups, depth)
    row_nbytes = groups * depth * math.prod(size[1:]) * x.itemsize
    copied = math.prod(kernel) > 1
    # Memory for the columns and for the results of a block, used again for each.
    memory: dict[str, Array] = {}
    for samples, rows in _blocks(n, size[0], row_nbytes):
        part = windows[(samples, *(slice(None),) * (1 + ndim), rows)]
        if copied:
            columns = _again(memory, "columns", part.shape, x.dtype)
            np.copyto(columns, part)
        else:
            columns = part
        columns = columns.reshape(part.shape[0], groups, depth, -1)
        shape = (part.shape[0], groups, filters // groups, columns.shape[-1])
        if rows == slice(0, size[0]):
            np.matmul(w, columns, out=y[samples].reshape(shape))
        else:
            found = _again(memory, "found", shape, x.dtype)
            np.matmul(w, columns, out=found)
            y[samples, :, :, rows] = found.reshape(*shape[:3], *part.shape[2 + ndim :])
    return y.reshape(n, filters, *size)


def _again(
    memory: dict[str, Array], name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    """Return an array in memory that is kept from call to call, as long as it is enough."""
    size = math.prod(shape)
    if name not in memory or memory[name].size < size:
        memory[name] = np.empty(size, dtype)
    return memory[name][:size].reshape(shape)


def _depthwise(windows: Array, w: Array, groups: int) -> Array:
    """Convolve each channel alone: a sum over the kernel's items, without columns."""
    filters, _, *kernel = w.shape
    n = windows.shape[0]
    size = windows.shape[2 + len(kernel) :]
    w = w.reshape(groups, filters // groups, *kernel, *(1,) * len(size))
    y = np.empty((n, groups, filters // groups, *size), windows.dtype)
    term = np.empty(y.shape[1:], y.dtype)
    for sample in range(n):
        for number, tap in enumerate(combinations(*map(range, kernel))):
            at: tuple[Any, ...] = (slice(None), *tap)
            out = term if number else y[sample]
            np.multiply(windows[sample][at][:, None], w[(slice(None), *at)], out=out)
            if number:
                y[sample] += term
    return y.reshape(n, filters, *size)


@operator
def Deconvolution(
    data: Any,
    weight: Any,
    bias: Any = None,
    kernel: Any = None,
    stride: Any = (),
    dilate: Any = (),
    pad: Any = (),
    adj: Any = (),
    target_shape: Any = (),
    num_filter: int | None = None,
    num_group: int = 1,
    workspace: int = 512,
    no_bias: bool = True,
    cudnn_tune: str | None = None,
    cudnn_off: bool = False,
    layout: str | None = None,
) -> Any:
    """Convolve backwards: each item of `data` adds the kernel, times itself, to the result.

    Parameters
    ----------
    data : array of shape (batch, channels, *size)
    weight : array of shape (channels, num_filter / num_group, *kernel)
    bias : array of shape (num_filter,), optional
    kernel, stride, dilate, pad, num_filter, num_group
        As in `Convolution`; `pad` is cut off the result.
    adj : tuple of int, optional
        What is added to the result's far ends, less than the stride.
    target_shape : tuple of int, optional
        The result's size, for which `pad` and `adj` are chosen.
    no_bias : bool, default True
    layout : str, optional
    workspace, cudnn_tune, cudnn_off
        Not looked at.
    """
    if kernel is None or num_filter is None:
        raise TypeError("Deconvolution needs kernel and num_filter")
    data = np.asarray(data)
    ndim = _spatial(data, "Deconvolution")
    kernel = _numbers(kernel, ndim, None, "kernel", 1)
    stride = _numbers(stride, ndim, 1, "stride", 1)
    dilate = _numbers(dilate, ndim, 1, "dilate", 1)
    pad = _numbers(pad, ndim, 0, "pad", 0)
    adj = _numbers(adj, ndim, 0, "adj", 0)
    last = _channels_last(layout, ndim, "Deconvolution")
    x = np.moveaxis(data, -1, 1) if last else data
    channels = x.shape[1]
    if num_group < 1 or channels % num_group or num_filter % num_group:
        raise ValueError(
            f"Deconvolution cannot make num_group={num_group} of {channels} channels "
            f"and {num_filter} filters"
        )
    each = num_filter // num_group
    shape = (channels, *kernel, each) if last else (channels, each, *kernel)
    weight = learned(weight, shape, "weight")
    bias = bias_of(bias, no_bias, num_filter, "Deconvolution")
    full = [
        s * (n - 1) + d * (k - 1) + 1
        for n, k, s, d in zip(x.shape[2:], kernel, stride, dilate, strict=True)
    ]
    target = _numbers(target_shape, ndim, 0, "target_shape", 0)
    if any(target):
        pad, adj = _fitting(full, target)
    if any(a >= s for a, s in zip(adj, stride, strict=True)):
        raise ValueError(f"adj={adj} should be less than stride={stride}")
    size = [f - 2 * p + a for f, p, a in zip(full, pad, adj, strict=True)]
    if min(size) < 1:
        raise ValueError(f"pad={pad} leaves nothing of a result of size {tuple(full)}")
    dtype = floating(data, weight, bias)
    exact = computing(dtype)
    w = rounded(np.moveaxis(weight, -1, 1) if last else weight, exact)
    y = np.zeros((x.shape[0], num_filter, *(f + a for f, a in zip(full, adj, strict=True))), exact)
    _spread(rounded(x, exact), w, y, stride, dilate, num_group)
    inner: tuple[Any, ...] = tuple(slice(p, p + n) for p, n in zip(pad, size, strict=True))
    y = y[(..., *inner)]
    if bias is not None:
        y += bias.reshape(-1, *(1,) * ndim)
    return np.ascontiguousarray(rounded(np.moveaxis(y, 1, -1) if last else y, dtype))


def _fitting(full: Sequence[int], target: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the padding and the addition that make a result of the target's size."""
    surplus = [f - t for f, t in zip(full, target, strict=True)]
    if min(surplus) < 0:
        raise ValueError(f"target_shape={tuple(target)} is more than all of {tuple(full)}")
    return tuple((s + 1) // 2 for s in surplus), tuple(s % 2 for s in surplus)


def _spread(
    x: Array, w: Array, y: Array, stride: Sequence[int], dilate: Sequence[int], groups: int
) -> None:
    """Add the kernels to the result, in place."""
    n, channels, *size = x.shape
    _, each, *kernel = w.shape
    if not x.size:
        return
    depth = each * math.prod(kernel)
    w = w.reshape(groups, channels // groups, depth).transpose(0, 2, 1)
    x = x.reshape(n, groups, channels // groups, *size)
    y = y.reshape(n, groups, each, *y.shape[2:])
    row_nbytes = groups * depth * math.prod(size[1:]) * x.itemsize
    for samples, rows in _blocks(n, size[0], row_nbytes):
        part = x[samples, :, :, rows]
        count = part.shape[0]
        columns = product(w, part.reshape(count, groups, channels // groups, -1))
        columns = columns.reshape(count, groups, each, *kernel, *part.shape[3:])
        for tap in combinations(*map(range, kernel)):
            first = [t * d for t, d in zip(tap, dilate, strict=True)]
            first[0] += rows.start * stride[0]
            every = (slice(None), slice(None))
            at: tuple[Any, ...] = (slice(None), *every, *tap)
            where: tuple[Any, ...] = tuple(
                slice(f, f + s * (m - 1) + 1, s)
                for f, s, m in zip(first, stride, part.shape[3:], strict=True)
            )
            y[(samples, *every, *where)] += columns[at]


@operator
def Pooling(
    data: Any,
    kernel: Any = (),
    pool_type: str = "max",
    global_pool: bool = False,
    cudnn_off: bool = False,
    pooling_convention: str = "valid",
    stride: Any = (),
    pad: Any = (),
    p_value: int | None = None,
    count_include_pad: bool = True,
    layout: str | None = None,
) -> Any:
    """Take the maximum, mean, sum or p-norm of each window, in 1, 2 or 3 dimensions.

    Parameters
    ----------
    data : array of shape (batch, channels, *size)
    kernel, stride, pad : tuple of int
        One number for each dimension; the stride is 1 unless given.
    pool_type : {'max', 'avg', 'sum', 'lp'}
        A maximum passes over NaN, and is never less than the dtype's least finite number.
        (MXNet 1.9.1, measured.)
    global_pool : bool, default False
        Whether the window is all there is.
    pooling_convention : {'valid', 'full', 'same'}
        Whether windows that reach over the end are left out or counted; ``'same'`` starts one
        at every stride, without `pad`.
    p_value : {1, 2, 3}
        Of the p-norm, in which odd powers keep their signs. (MXNet 1.9.1, measured.)
    count_include_pad : bool, default True
        Whether a mean counts the padding in.
    layout : str, optional
    cudnn_off
        Not looked at.
    """
    data = np.asarray(data)
    ndim = _spatial(data, "Pooling")
    if pool_type not in ("max", "avg", "sum", "lp"):
        raise ValueError(f"no pool_type {pool_type!r}: it is 'max', 'avg', 'sum' or 'lp'")
    if pool_type == "lp" and p_value not in (1, 2, 3):
        raise ValueError(f"Pooling(pool_type='lp') needs p_value 1, 2 or 3, not {p_value}")
    last = _channels_last(layout, ndim, "Pooling")
    dtype = floating(data)
    x = rounded(np.moveaxis(data, -1, 1) if last else data, computing(dtype))
    if global_pool:
        kernel, stride, pad = x.shape[2:], (1,) * ndim, (0,) * ndim
        counts = [1] * ndim
    else:
        kernel = _numbers(kernel, ndim, None, "kernel", 1)
        stride = _numbers(stride, ndim, 1, "stride", 1)
        pad = _numbers(pad, ndim, 0, "pad", 0)
        counts = _window_counts(x.shape[2:], kernel, stride, pad, pooling_convention)
    if pool_type == "lp":
        x = x**p_value
    start = least(dtype) if pool_type == "max" else 0.0
    for i in range(ndim):
        x = _pooled(x, 2 + i, (kernel[i], stride[i], pad[i], counts[i]), pool_type == "max", start)
    if pool_type == "avg":
        for i in range(ndim):
            n = _window_sizes(
                data.shape[1 + i if last else 2 + i],
                *(kernel[i], stride[i], pad[i], counts[i]),
                count_include_pad,
            )
            x /= n.astype(x.dtype).reshape(-1, *(1,) * (ndim - 1 - i))
    elif p_value == 2 and pool_type == "lp":
        np.sqrt(x, out=x)
    elif p_value == 3 and pool_type == "lp":
        np.cbrt(x, out=x)
    return rounded(np.ascontiguousarray(np.moveaxis(x, 1, -1)) if last else x, dtype)


def _window_counts(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    convention: str,
) -> list[int]:
    if convention not in ("valid", "full", "same"):
        raise ValueError(f"no pooling_convention {convention!r}: it is 'valid', 'full' or 'same'")
    if convention == "same":
        if any(pad):
            raise ValueError(f"pooling_convention='same' goes without pad, which is {tuple(pad)}")
        return [-(-n // s) for n, s in zip(size, stride, strict=True)]
    counts = []
    for n, k, s, p in zip(size, kernel, stride, pad, strict=True):
        rest = n + 2 * p - k
        if rest < 0:
            raise ValueError(
                f"kernel={tuple(kernel)} does not fit into data of size {tuple(size)} "
                f"with pad={tuple(pad)}"
            )
        counts.append(1 + (-(-rest // s) if convention == "full" else rest // s))
    return counts


def _pooled(
    x: Array, axis: int, window: tuple[int, int, int, int], greatest: bool, initial: float
) -> Array:
    """Reduce the windows along one axis to their maximum or sum."""
    k, s, p, count = window
    n = x.shape[axis]
    line: list[Any] = [slice(None)] * x.ndim
    shape = [*x.shape]
    shape[axis] = count
    y = np.full(shape, initial, x.dtype)
    combine = np.fmax if greatest else np.add
    for tap in range(k):
        # The windows whose item `tap` is inside: 0 <= w * s - p + tap < n.
        first = max(0, -(-(p - tap) // s))
        behind = min(count, (n - 1 + p - tap) // s + 1)
        if first >= behind:
            continue
        start = first * s - p + tap
        line[axis] = slice(first, behind)
        part = y[tuple(line)]
        line[axis] = slice(start, start + (behind - first - 1) * s + 1, s)
        combine(part, x[tuple(line)], out=part)
    return y


def _window_sizes(n: int, k: int, s: int, p: int, count: int, include_pad: bool) -> Array:
    """Return how many items a mean divides by, for each window along one axis."""
    start = np.arange(count) * s - p
    end = np.minimum(start + k, n + p)
    if not include_pad:
        start, end = np.maximum(start, 0), np.minimum(end, n)
    return np.maximum(end - start, 1)


@operator
def UpSampling(
    *data: Any,
    scale: int | None = None,
    sample_type: str | None = None,
    num_filter: int = 0,
    multi_input_mode: str = "concat",
    num_args: int | None = None,
    workspace: int = 512,
) -> Any:
    """Repeat each item `scale` times in both directions.

    Parameters
    ----------
    *data : array of shape (batch, channels, height, width)
        Of several, each is brought to the size that the first one gets.
    scale : int
    sample_type : {'nearest'}
        ``'bilinear'`` is a `Deconvolution`, and not here.
    multi_input_mode : {'concat', 'sum'}
        What becomes of several.
    num_filter, num_args, workspace
        Not looked at.
    """
    if scale is None or sample_type is None or not data:
        raise TypeError("UpSampling needs data, scale and sample_type")
    if sample_type != "nearest":
        raise NotImplementedError(
            f"UpSampling(sample_type={sample_type!r}): only 'nearest' is here"
        )
    arrays = [np.asarray(item) for item in data]
    size = [n * scale for n in arrays[0].shape[2:]]
    grown = []
    for array in arrays:
        if array.ndim != 4 or any(to % n for to, n in zip(size, array.shape[2:], strict=True)):
            raise ValueError(f"UpSampling cannot bring data of shape {array.shape} to {size}")
        for axis in (2, 3):
            array = np.repeat(array, size[axis - 2] // array.shape[axis], axis=axis)
        grown.append(array)
    if len(grown) == 1:
        return grown[0]
    if multi_input_mode == "sum":
        total = grown[0].copy()
        for array in grown[1:]:
            total += array
        return total
    return np.concatenate(grown, axis=1)
