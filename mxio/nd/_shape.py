# SPDX-License-Identifier: Apache-2.0
"""Operators that move items and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mxio.nd._layers import Flatten, axis_of
from mxio.nd._operator import Array, Shape, operator
from mxio.nd.ndarray import Ctx, dtype_of, special_shape, wrap

__all__ = [
    "Concat",
    "Crop",
    "Pad",
    "Reshape",
    "SliceChannel",
    "SwapAxis",
    "broadcast_axes",
    "broadcast_axis",
    "broadcast_like",
    "broadcast_to",
    "concat",
    "concatenate",
    "crop",
    "depth_to_space",
    "expand_dims",
    "eye",
    "flatten",
    "flip",
    "linspace",
    "moveaxis",
    "pad",
    "repeat",
    "reshape",
    "reshape_like",
    "reverse",
    "shape_array",
    "size_array",
    "slice",
    "slice_axis",
    "slice_like",
    "space_to_depth",
    "split",
    "split_v2",
    "squeeze",
    "stack",
    "swapaxes",
    "tile",
    "transpose",
]

_slice = slice
flatten = Flatten


def _tuple(numbers: Any) -> tuple[Any, ...]:
    return tuple(numbers) if isinstance(numbers, (tuple, list)) else (numbers,)


@operator
def reshape(
    data: Any,
    shape: Any = None,
    reverse: bool = False,
    target_shape: Any = None,
    keep_highest: bool = False,
) -> Any:
    """Return the items in another shape.

    Parameters
    ----------
    data : array
    shape : int or sequence of int
        Besides sizes: 0 keeps the dimension that stands there, -1 is what is left over, -2
        keeps all that follow, -3 makes one of two, and -4 two of one, which are the next two
        numbers, one of which may be -1.
    reverse : bool, default False
        Whether both shapes are read from the end.
    target_shape, keep_highest
        MXNet's old words: 0 is what is left over, and whether the first dimension is kept.
    """
    data = np.asarray(data)
    if target_shape is not None:
        dims = [-1 if dim == 0 else dim for dim in _tuple(target_shape)]
        if keep_highest:
            dims[0] = data.shape[0]
        return data.reshape(dims)
    if shape is None:
        raise TypeError("reshape needs shape")
    return data.reshape(special_shape(data.shape, _tuple(shape), reverse))


Reshape = reshape


@operator
def reshape_like(
    lhs: Any,
    rhs: Any,
    lhs_begin: int | None = None,
    lhs_end: int | None = None,
    rhs_begin: int | None = None,
    rhs_end: int | None = None,
) -> Any:
    """Return `lhs` in the shape of `rhs`.

    Parameters
    ----------
    lhs, rhs : array
    lhs_begin, lhs_end, rhs_begin, rhs_end : int, optional
        Which dimensions of `lhs` to replace by which of `rhs`.
    """
    lhs = np.asarray(lhs)
    start, stop, _ = _slice(lhs_begin, lhs_end).indices(lhs.ndim)
    middle = np.shape(rhs)[rhs_begin:rhs_end]
    return lhs.reshape((*lhs.shape[:start], *middle, *lhs.shape[stop:]))


@operator
def transpose(data: Any, axes: Any = ()) -> Any:
    """Return the axes in another order, unless given in reverse."""
    return np.transpose(data, _tuple(axes) if axes is not None and _tuple(axes) else None)


@operator
def swapaxes(data: Any, dim1: int = 0, dim2: int = 0) -> Any:
    """Return two axes in each other's place."""
    return np.swapaxes(data, dim1, dim2)


SwapAxis = swapaxes


@operator
def moveaxis(tensor: Any, source: Any, destination: Any) -> Any:
    """Return axes moved to other places, the others in order."""
    return np.moveaxis(tensor, source, destination)


@operator
def expand_dims(data: Any, axis: int) -> Any:
    """Return the items with a new axis of 1 at `axis`."""
    data = np.asarray(data)
    if not -data.ndim - 1 <= axis <= data.ndim:
        raise ValueError(f"axis={axis} should be {-data.ndim - 1} to {data.ndim}")
    return np.expand_dims(data, axis)


@operator
def squeeze(data: Any, axis: Any = None) -> Any:
    """Return the items without axes of 1: all of them, or those given."""
    return np.squeeze(data, None if axis is None else _tuple(axis))


@operator
def stack(*data: Any, axis: int = 0, num_args: int | None = None) -> Any:
    """Return arrays of one shape, one after another along a new axis."""
    if not data:
        raise TypeError("stack needs one array or more")
    return np.stack([np.asarray(item) for item in data], axis=axis)


@operator
def concat(*data: Any, dim: int = 1, num_args: int | None = None) -> Any:
    """Return arrays joined along an axis that exists, the second unless `dim` says otherwise."""
    if not data:
        raise TypeError("concat needs one array or more")
    arrays = [np.asarray(item) for item in data]
    dim = axis_of(dim, arrays[0].ndim, "concat")
    return np.concatenate(arrays, axis=dim)


Concat = concat


@operator
def concatenate(arrays: Any, axis: int = 0, always_copy: bool = True) -> Any:
    """Return a list of arrays joined along an axis."""
    return np.concatenate([np.asarray(item) for item in arrays], axis=axis)


@operator
def split(data: Any, num_outputs: int, axis: int = 1, squeeze_axis: bool = False) -> Any:
    """Return parts of one size along an axis: a list, or the array if it is one.

    Parameters
    ----------
    data : array
    num_outputs : int
    axis : int, default 1
    squeeze_axis : bool, default False
        Whether the parts go without the axis, on which they have one item.
    """
    data = np.asarray(data)
    axis = axis_of(axis, data.ndim, "split")
    if num_outputs < 1 or data.shape[axis] % num_outputs:
        raise ValueError(
            f"split cannot make num_outputs={num_outputs} of the {data.shape[axis]} items "
            f"on axis {axis}"
        )
    return _parts(np.split(data, num_outputs, axis), axis, squeeze_axis)


SliceChannel = split


@operator
def split_v2(ary: Any, indices_or_sections: Any, axis: int = 0, squeeze_axis: bool = False) -> Any:
    """Return parts along an axis: a list, or the array if it is one.

    Parameters
    ----------
    ary : array
    indices_or_sections : int or sequence of int
        How many parts of one size, or where new parts begin, in order.
    axis : int, default 0
    squeeze_axis : bool, default False
        Whether the parts go without the axis, on which they have one item.
    """
    data = np.asarray(ary)
    axis = axis_of(axis, data.ndim, "split_v2")
    n = data.shape[axis]
    if not isinstance(indices_or_sections, (int, np.integer)):
        cuts = [0, *map(int, indices_or_sections), n]
        if cuts != sorted(cuts):
            raise ValueError(f"{tuple(cuts[1:-1])} should be positions 0 to {n}, in order")
        indices_or_sections = cuts[1:-1]
    elif indices_or_sections < 1 or n % indices_or_sections:
        raise ValueError(f"split_v2 cannot make {indices_or_sections} parts of {n} items")
    return _parts(np.split(data, indices_or_sections, axis), axis, squeeze_axis)


def _parts(parts: list[Array], axis: int, squeeze_axis: bool) -> Array | list[Array]:
    if squeeze_axis:
        if any(part.shape[axis] != 1 for part in parts):
            raise ValueError("squeeze_axis=True needs parts of one item")
        parts = [part.squeeze(axis) for part in parts]
    return parts[0] if len(parts) == 1 else parts


@operator
def slice(data: Any, begin: Any, end: Any, step: Any = ()) -> Any:
    """Return ``data[begin[0]:end[0]:step[0], begin[1]:end[1]:step[1], ...]``.

    Parameters
    ----------
    data : array
    begin, end, step : sequence of int or None
        For the first axes.
    """
    data = np.asarray(data)
    begin, end = _tuple(begin), _tuple(end)
    step = _tuple(step) if step is not None else ()
    step = step or (None,) * len(begin)
    if not len(begin) == len(end) == len(step) <= data.ndim:
        raise ValueError(
            f"begin={begin}, end={end}, step={step} should be of one length, {data.ndim} at most"
        )
    where: tuple[Any, ...] = tuple(map(_slice, begin, end, step))
    return data[where]


crop = slice


@operator
def slice_axis(data: Any, axis: int, begin: int, end: int | None) -> Any:
    """Return the items from `begin` to before `end` on one axis, which may count from the end."""
    data = np.asarray(data)
    axis = axis_of(axis, data.ndim, "slice_axis")
    n = data.shape[axis]
    start = begin + n if begin < 0 else begin
    stop = n if end is None else end + n if end < 0 else end
    if not 0 <= start < stop <= n:
        raise ValueError(f"begin={begin}, end={end} is no part of the {n} items on axis {axis}")
    where: list[Any] = [_slice(None)] * data.ndim
    where[axis] = _slice(start, stop)
    return data[tuple(where)]


@operator
def slice_like(data: Any, shape_like: Any, axes: Any = ()) -> Any:
    """Return the first items on each axis, as many as `shape_like` has there.

    Parameters
    ----------
    data, shape_like : array
    axes : int or sequence of int, optional
        Those to cut; all unless given.
    """
    data = np.asarray(data)
    shape = np.shape(shape_like)
    chosen = () if axes is None else _tuple(axes)
    if not chosen and len(shape) != data.ndim:
        raise ValueError(f"shape_like has {len(shape)} dimensions, data {data.ndim}: give axes")
    where: list[Any] = [_slice(None)] * data.ndim
    for axis in chosen or range(data.ndim):
        axis = axis_of(axis, data.ndim, "slice_like")
        if axis >= len(shape) or shape[axis] > data.shape[axis]:
            raise ValueError(f"data of shape {data.shape} has no {shape} on axis {axis}")
        where[axis] = _slice(0, shape[axis])
    return data[tuple(where)]


@operator
def Crop(
    *data: Any,
    offset: Any = (0, 0),
    h_w: Any = (0, 0),
    center_crop: bool = False,
    num_args: int | None = None,
) -> Any:
    """Return a rectangle out of each image.

    Parameters
    ----------
    *data : array of shape (batch, channels, height, width)
        The images, and optionally an array of the size that is wanted.
    offset : (int, int), default (0, 0)
        Where it begins.
    h_w : (int, int)
        Its size, unless an array says it.
    center_crop : bool, default False
        Whether it is in the middle instead.
    """
    if not 1 <= len(data) <= 2 or any(np.ndim(item) != 4 for item in data):
        raise ValueError("Crop needs one or two arrays of 4 dimensions")
    x = np.asarray(data[0])
    size = np.shape(data[1])[2:] if len(data) == 2 else _tuple(h_w)
    room = [n - m for n, m in zip(x.shape[2:], size, strict=True)]
    top, left = [n // 2 for n in room] if center_crop else offset
    if not (0 <= top <= room[0] and 0 <= left <= room[1]):
        raise ValueError(f"{size} at {(top, left)} is not inside of data of shape {x.shape}")
    return x[:, :, top : top + size[0], left : left + size[1]]


@operator
def tile(data: Any, reps: Any) -> Any:
    """Return the array, `reps` times side by side on each axis, counted from the last."""
    return np.tile(np.asarray(data), _tuple(reps))


@operator
def repeat(data: Any, repeats: int, axis: int | None = None) -> Any:
    """Return each item several times in a row, along an axis or all as one row."""
    return np.repeat(np.asarray(data), repeats, axis)


@operator
def flip(data: Any, axis: Any) -> Any:
    """Return the items in reverse order along an axis, or along each of several."""
    return np.flip(np.asarray(data), _tuple(axis))


reverse = flip


def _broadcast(x: Array, shape: tuple[int, ...]) -> Array:
    if len(shape) < x.ndim or any(
        n not in (1, m) for n, m in zip(x.shape[::-1], shape[::-1], strict=False)
    ):
        raise ValueError(f"an array of shape {x.shape} cannot be broadcast to {shape}")
    # A copy, for a view would have all its items in one place.
    return np.broadcast_to(x, shape).copy()


@operator
def broadcast_to(data: Any, shape: Shape) -> Any:
    """Return the array with axes of 1 repeated to a shape, in which 0 keeps a dimension."""
    data = np.asarray(data)
    dims = [*map(int, _tuple(shape))]
    # 0 of an array that has as many dimensions is what it has there.
    if len(dims) == data.ndim:
        dims = [n if m == 0 else m for n, m in zip(data.shape, dims, strict=True)]
    return _broadcast(data, tuple(dims))


@operator
def broadcast_axis(data: Any, axis: Any = (), size: Any = ()) -> Any:
    """Return the array with some axes of 1 repeated to sizes."""
    data = np.asarray(data)
    shape = [*data.shape]
    for at, n in zip(_tuple(axis), _tuple(size), strict=True):
        at = axis_of(at, data.ndim, "broadcast_axis")
        if shape[at] != 1:
            raise ValueError(f"axis {at} has {shape[at]} items, not 1, and cannot be repeated")
        shape[at] = n
    return _broadcast(data, tuple(shape))


broadcast_axes = broadcast_axis


@operator
def broadcast_like(lhs: Any, rhs: Any, lhs_axes: Any = None, rhs_axes: Any = None) -> Any:
    """Return `lhs` with axes of 1 repeated to what `rhs` has, on all axes or on those given."""
    lhs = np.asarray(lhs)
    if lhs_axes is None or rhs_axes is None:
        return _broadcast(lhs, np.shape(rhs))
    shape = [*lhs.shape]
    for mine, other in zip(_tuple(lhs_axes), _tuple(rhs_axes), strict=True):
        at = axis_of(mine, lhs.ndim, "broadcast_like")
        shape[at] = np.shape(rhs)[axis_of(other, np.ndim(rhs), "broadcast_like")]
    return _broadcast(lhs, tuple(shape))


@operator
def shape_array(data: Any) -> Any:
    """Return the shape, as an array of int64."""
    return np.array(np.shape(data), np.int64)


@operator
def size_array(data: Any) -> Any:
    """Return the number of items, as an array of int64 of shape (1,)."""
    return np.array([np.size(data)], np.int64)


@operator
def depth_to_space(data: Any, block_size: int) -> Any:
    """Return blocks of `block_size` x `block_size` items, made of as many channels."""
    data = np.asarray(data)
    if data.ndim != 4 or block_size < 1 or data.shape[1] % block_size**2:
        raise ValueError(
            f"depth_to_space needs 4 dimensions and a multiple of {block_size**2} channels, "
            f"data has shape {data.shape}"
        )
    n, channels, height, width = data.shape
    x = data.reshape(n, block_size, block_size, channels // block_size**2, height, width)
    x = x.transpose(0, 3, 4, 1, 5, 2)
    return x.reshape(n, channels // block_size**2, height * block_size, width * block_size)


@operator
def space_to_depth(data: Any, block_size: int) -> Any:
    """Return channels, made of the items of blocks of `block_size` x `block_size`."""
    data = np.asarray(data)
    if data.ndim != 4 or block_size < 1 or any(n % block_size for n in data.shape[2:]):
        raise ValueError(
            f"space_to_depth needs 4 dimensions, the last two multiples of {block_size}, "
            f"data has shape {data.shape}"
        )
    n, channels, height, width = data.shape
    height, width = height // block_size, width // block_size
    x = data.reshape(n, channels, height, block_size, width, block_size)
    return x.transpose(0, 3, 5, 1, 2, 4).reshape(n, channels * block_size**2, height, width)


@operator
def pad(data: Any, mode: str, pad_width: Sequence[int], constant_value: float = 0.0) -> Any:
    """Return the array with something around it.

    Parameters
    ----------
    data : array
        Of 4 or 5 dimensions in MXNet, of any number here.
    mode : {'constant', 'edge', 'reflect'}
        `constant_value`, the outermost items, or the items as in a mirror that stands on them.
    pad_width : sequence of int
        Two for each axis, before and behind.
    constant_value : float, default 0
    """
    data = np.asarray(data)
    widths = [*map(int, pad_width)]
    if len(widths) != 2 * data.ndim or min(widths, default=0) < 0:
        raise ValueError(
            f"pad_width={tuple(widths)} should be {2 * data.ndim} numbers, not below 0"
        )
    pairs = [*zip(widths[::2], widths[1::2], strict=True)]
    if mode == "constant":
        value = np.asarray(constant_value).astype(data.dtype)
        return np.pad(data, pairs, constant_values=value)
    if mode not in ("edge", "reflect"):
        raise ValueError(f"no mode {mode!r}: it is 'constant', 'edge' or 'reflect'")
    for n, pair in zip(data.shape, pairs, strict=True):
        if any(pair) and n < (max(pair) + 1 if mode == "reflect" else 1):
            raise ValueError(f"mode={mode!r} cannot make {pair} of the {n} items on an axis")
    return np.pad(data, pairs, mode="edge" if mode == "edge" else "reflect")


Pad = pad


def linspace(
    start: float,
    stop: float,
    num: int,
    endpoint: bool = True,
    ctx: Ctx = None,
    dtype: Any = "float32",
) -> Any:
    """Return `num` values from `start` to `stop` in equal steps.

    Parameters
    ----------
    start, stop : float
    num : int
    endpoint : bool, default True
        Whether `stop` is the last value, or would be the next.
    ctx : Context, optional
    dtype : dtype, default float32
    """
    return wrap(np.linspace(start, stop, num, endpoint).astype(dtype_of(dtype)), ctx)


def eye(N: int, M: int = 0, k: int = 0, ctx: Ctx = None, dtype: Any = None) -> Any:
    """Return a matrix of N rows and M columns (0: N) with ones on its `k`-th diagonal."""
    return wrap(np.eye(N, M or N, k, dtype_of(dtype)), ctx)
