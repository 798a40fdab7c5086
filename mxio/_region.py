# SPDX-License-Identifier: Apache-2.0
"""What an index means: NumPy's, taken apart before anything is read.

Basic indices (int, slice, ``...``, ``None``) become a `Box`. With integer arrays and boolean
masks in it, an index becomes `Points`: one run of positions for all its arrays and integers,
which NumPy broadcasts against one another, beside the slices.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from types import EllipsisType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

__all__ = ["Box", "Points", "Region", "Slice", "blocks", "index_of", "parse", "pieces"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Item: TypeAlias = "int | slice | EllipsisType | Array | Sequence[Any] | None"
Region: TypeAlias = "Item | tuple[Item, ...]"


class Slice(NamedTuple):
    """A slice of an axis: `n` positions from `start` on, with a step above 0."""

    start: int
    n: int
    step: int
    backwards: bool  # the result has them the other way round


class Box:
    """A basic index, taken apart.

    ``starts``, ``counts`` and ``steps`` say what to read of each axis, with steps
    above 0; ``array[finish]`` then has the shape that was asked for, and
    ``out[undo]`` is the view of such an array that has `counts` for its shape.
    ``is_item`` says that NumPy would give an item, not an array without dimensions.
    """

    __slots__ = ("counts", "finish", "is_item", "shape", "starts", "steps", "undo")

    def __init__(self, items: list[Any], shape: tuple[int, ...], name: str, is_item: bool) -> None:
        starts: list[int] = []
        counts: list[int] = []
        steps: list[int] = []
        finish: list[Any] = []
        undo: list[Any] = []
        result: list[int] = []
        for item in items:
            if item is None:
                finish.append(None)
                undo.append(0)
                result.append(1)
                continue
            extent = shape[len(starts)]
            if isinstance(item, slice):
                start, count, step, backwards = _slice_of(item, extent)
                turn = slice(None, None, -1 if backwards else None)
                finish.append(turn)
                undo.append(turn)
                result.append(count)
            else:
                start, count, step = index_of(item, extent, len(starts), name), 1, 1
                finish.append(0)
                undo.append(None)
            starts.append(start)
            counts.append(count)
            steps.append(step)
        self.starts, self.counts, self.steps = tuple(starts), tuple(counts), tuple(steps)
        # With an ellipsis the result is an array, also if nothing is left of it.
        self.finish, self.undo, self.shape = (*finish, ...), (*undo, ...), tuple(result)
        self.is_item = is_item


class Points:
    """An index with arrays in it, taken apart.

    Attributes
    ----------
    slices : dict of int to Slice
        Of the axes that have one.
    points : dict of int to numpy.ndarray
        Of all other axes: flat positions, of one length, int64.
    shape : tuple of int
        Of the result.
    """

    __slots__ = ("_axes", "_broadcast", "_finish", "points", "shape", "slices")

    def __init__(self, items: list[Any], shape: tuple[int, ...], name: str) -> None:
        self.slices: dict[int, Slice] = {}
        given: dict[int, Array] = {}
        # What the result's dimensions come from: an axis, None for a new one, or all points.
        places: list[int | str | None] = []
        apart, open_run = False, False  # whether something stands between two points
        axis = 0
        for item in items:
            if item is None or isinstance(item, slice):
                open_run = False
                places.append(None if item is None else axis)
                if item is not None:
                    self.slices[axis] = _slice_of(item, shape[axis])
                    axis += 1
                continue
            if item is Ellipsis:  # of no axes: it separates all the same
                open_run = False
                continue
            apart = apart or bool(given and not open_run)
            if not given:
                places.append("points")
            open_run = True
            for positions in _positions(item, shape, axis, name):
                given[axis] = positions
                axis += 1
        if apart:  # then NumPy puts them first
            places.remove("points")
            places.insert(0, "points")
        try:
            shapes = [array.shape for array in given.values()]
            self._broadcast = shapes[0] if len(shapes) == 1 else np.broadcast_shapes(*shapes)
        except ValueError:
            raise IndexError(
                f"the arrays that index {name!r} cannot be broadcast together: "
                + " ".join(map(str, shapes))
            ) from None
        if math.prod(self._broadcast):  # NumPy too looks at no position where there is none to read
            given = {k: _in_bounds(array, shape[k], k, name) for k, array in given.items()}
        self.points = {
            k: (
                array if array.shape == self._broadcast else np.broadcast_to(array, self._broadcast)
            )
            .reshape(-1)
            .astype(np.int64, copy=False)
            for k, array in given.items()
        }
        self._axes = places
        self._finish: list[Any] = []
        result: list[int] = []
        for place in places:
            if place == "points":
                self._finish += [slice(None)] * len(self._broadcast)
                result += self._broadcast
            elif place is None:
                self._finish.append(None)
                result.append(1)
            else:
                one = self.slices[place]  # type: ignore[index]
                self._finish.append(slice(None, None, -1 if one.backwards else None))
                result.append(one.n)
        self.shape = tuple(result)

    def finish(self, found: Array, axes: list[int | str]) -> Array:
        """Return what was asked for, of an array that has a dimension for each of `axes`.

        They are the axes that have slices and, once, ``"points"``, in any order.
        """
        order = [axes.index(place) for place in self._axes if place is not None]
        found = found.transpose(order)
        at = next(k for k, place in enumerate(order) if axes[place] == "points")
        found = found.reshape(found.shape[:at] + self._broadcast + found.shape[at + 1 :])
        finished: Array = found[tuple(self._finish)]
        return finished


def parse(region: Region, shape: tuple[int, ...], name: str) -> Box | Points:
    """Take an index apart, or raise IndexError as NumPy does."""
    items: list[Any] = [
        _item(item, name) for item in (region if isinstance(region, tuple) else (region,))
    ]
    ellipses = [k for k, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1:
        raise IndexError("an index can only have one ellipsis ('...')")
    taken = sum(map(_n_axes, items))
    if taken > len(shape):
        raise IndexError(
            f"too many indices for {name!r}: it has {len(shape)} dimensions, {taken} were indexed"
        )
    is_item = not ellipses and not any(item is None or isinstance(item, slice) for item in items)
    at = ellipses[0] if ellipses else len(items)
    rest = [slice(None)] * (len(shape) - taken)
    has_arrays = any(isinstance(item, np.ndarray) for item in items)
    items[at : at + 1] = rest if rest or not (ellipses and has_arrays) else [Ellipsis]
    if has_arrays:
        return Points(items, shape, name)
    return Box(items, shape, name, is_item and not rest)


def _n_axes(item: Any) -> int:
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if isinstance(item, np.ndarray) and item.dtype == bool else 1


def _item(item: Any, name: str) -> Any:
    """Return an int, a slice, None, an ellipsis, or an array of integers or bools."""
    if item is None or item is Ellipsis or isinstance(item, slice):
        return item
    if isinstance(item, (list, tuple, range)) or (
        not isinstance(item, (int, np.generic)) and _is_array(item)
    ):
        array = np.asarray(item)
        if isinstance(item, (list, tuple)) and not array.size:
            array = array.astype(np.intp)
        if array.ndim and array.dtype.kind in "iub":
            return array
        item = array[()]
    try:
        if isinstance(item, (bool, np.bool_)):
            raise TypeError
        return operator.index(item)
    except TypeError:
        raise IndexError(
            f"{name!r} takes integers, slices, '...', None, and arrays of integers or bools as "
            f"indices, not {type(item).__name__}"
        ) from None


def _is_array(item: Any) -> bool:
    return isinstance(item, np.ndarray) or hasattr(item, "__array__")


def _slice_of(item: slice, extent: int) -> Slice:
    start, stop, step = item.indices(extent)
    count = len(range(start, stop, step))
    backwards = step < 0
    if backwards:
        start, step = start + (count - 1) * step, -step
    return Slice(start if count else 0, count, step, backwards)


def index_of(index: int, extent: int, axis: int, name: str) -> int:
    """Return a position counted from the start, or raise IndexError."""
    if not -extent <= index < extent:
        raise IndexError(
            f"index {index} is out of bounds for axis {axis} of {name!r} with size {extent}"
        )
    return index % extent


def _positions(item: Any, shape: tuple[int, ...], axis: int, name: str) -> tuple[Array, ...]:
    """Return the positions in one axis after another that an integer or an array names."""
    if not isinstance(item, np.ndarray):
        return (np.asarray(index_of(item, shape[axis], axis, name)),)
    if item.dtype != bool:
        return (item,)
    for k, extent in enumerate(item.shape, axis):
        if extent not in (0, shape[k]):  # NumPy lets an empty mask pass
            raise IndexError(
                f"a mask for {name!r} has {extent} items along axis {k}, which has {shape[k]}"
            )
    return item.nonzero()


def _in_bounds(array: Array, extent: int, axis: int, name: str) -> Array:
    """Return positions counted from the start."""
    low, high = int(array.min()), int(array.max())
    if low < -extent or high >= extent:
        outside = array[(array < -extent) | (array >= extent)]
        raise IndexError(
            f"index {outside[0]} is out of bounds for axis {axis} of {name!r} with size {extent}"
        )
    array = array.astype(np.int64, copy=False)
    return array if low >= 0 else np.where(array < 0, array + extent, array)


def blocks(
    shape: tuple[int, ...], itemsize: int, chunk_nbytes: int, most_nbytes: int
) -> Iterator[tuple[int | slice, ...]]:
    """Give indices of runs of items of at most so many bytes, or one item, in C order."""
    row = math.prod(shape[1:]) * itemsize
    if not shape or row * shape[0] <= most_nbytes:
        yield tuple(slice(0, n) for n in shape)
    elif row > most_nbytes and len(shape) > 1:
        for i in range(shape[0]):
            for inner in blocks(shape[1:], itemsize, chunk_nbytes, most_nbytes):
                yield (i, *inner)
    else:
        n = max(1, most_nbytes // row)
        if chunk_nbytes % row == 0 and n > chunk_nbytes // row:
            n -= n % (chunk_nbytes // row)  # so that no chunk is read twice
        for i in range(0, shape[0], n):
            yield (slice(i, min(i + n, shape[0])),)


def pieces(
    shape: tuple[int, ...],
    starts: tuple[int, ...],
    counts: tuple[int, ...],
    steps: tuple[int, ...],
    itemsize: int,
) -> tuple[Array, int]:
    """Return where the runs of bytes of a region begin in an array, and how long each is."""
    piece = itemsize
    axis = len(shape)
    while axis and (steps[axis - 1] == 1 or counts[axis - 1] == 1):
        axis -= 1
        piece *= counts[axis]
        if counts[axis] != shape[axis]:
            break
    strides = [itemsize * math.prod(shape[k + 1 :]) for k in range(len(shape))]
    base = sum(start * stride for start, stride in zip(starts, strides, strict=True))
    found = np.array([base], np.int64)
    for k in range(axis):
        reach = np.arange(counts[k], dtype=np.int64) * (steps[k] * strides[k])
        found = (found[:, None] + reach).reshape(-1)
    return found, piece
