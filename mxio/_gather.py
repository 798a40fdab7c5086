# SPDX-License-Identifier: Apache-2.0
"""Runs of bytes from all over an entry: each chunk read once, whole, in the file's order.

An index with arrays asks for a grid: the positions of its points and of the slices around
them, and at each place of the grid the slices behind, which lie close together. The places are
sorted by their offset; the chunks that a window of them needs are read in one call, in
parallel, and what is wanted is picked from there.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mxio._region import Points

if TYPE_CHECKING:
    from mxio._lazy import LazyArray

__all__ = ["gather"]

Array: TypeAlias = "np.ndarray[Any, Any]"

# Of chunks in memory at once, and of what is picked from them at once.
_WINDOW_NBYTES = 16 << 20
# Places of the grid that are looked at at once: 8 bytes each, several times.
_PLACES = 1 << 18
# Items to pick that NumPy copies as one number.
_WIDE = {1: "u1", 2: "u2", 4: "u4", 8: "u8", 16: "c16"}


def gather(source: LazyArray, wanted: Points, dtype: np.dtype[Any]) -> Array:
    """Read what an index with arrays asks for, in the dtype of the file."""
    return _Gather(source, wanted, dtype).run()


class _Gather:
    """One read: the places of a grid, and behind each a box of `counts` items."""

    def __init__(self, source: LazyArray, wanted: Points, dtype: np.dtype[Any]) -> None:
        self._source = source
        self._wanted = wanted
        self._dtype = dtype
        shape = source.shape
        # In the order in which they are stored, slowest first.
        stored = list(range(len(shape)))
        if source._entry.order == "F":
            stored.reverse()
        rows = {}
        row = dtype.itemsize
        for axis in reversed(stored):
            rows[axis] = row
            row *= shape[axis]
        self._split = 1 + max(k for k, axis in enumerate(stored) if axis in wanted.points)
        # What lies behind each place: how much of each axis, and from where to where.
        behind = [(wanted.slices[axis], rows[axis]) for axis in stored[self._split :]]
        self._slices = [one for one, _ in behind]
        self._counts = [one.n for one in self._slices]
        self._steps = [one.step * row for one, row in behind]
        self._base = self._skip = sum(one.start * row for one, row in behind)
        reach = sum((n - 1) * step for n, step in zip(self._counts, self._steps, strict=True))
        self._span = reach + dtype.itemsize
        self._is_run = self._span == math.prod(self._counts) * dtype.itemsize
        # Of each dimension of the grid: what it is, and the offsets of its places.
        self._axes: list[int | str] = []
        self._grid: list[Array] = []
        for axis in stored[: self._split]:
            if axis in wanted.slices:
                one = wanted.slices[axis]
                self._axes.append(axis)
                self._grid.append(np.arange(one.n) * (one.step * rows[axis]))
                self._base += one.start * rows[axis]
            elif "points" not in self._axes:
                self._axes.append("points")
                offsets = [positions * rows[k] for k, positions in wanted.points.items()]
                self._grid.append(functools.reduce(operator.add, offsets))
        self._axes += stored[self._split :]
        self._places = list(map(len, self._grid))

    def run(self) -> Array:
        found = np.empty((*self._places, *self._counts), self._dtype)
        if found.size:
            flat = found.reshape(math.prod(self._places), -1).view(np.uint8)
            for block in self._blocks():
                self._fill(*block, flat)
        return self._wanted.finish(found, self._axes)

    def _blocks(self) -> Iterator[tuple[Array, Array]]:
        """Give offsets of places of the grid, ascending, and their numbers in the result."""
        orders: list[Array] = []
        for offsets in self._grid:
            # Sorted beforehand, so that two blocks have few chunks in common.
            ascending = _is_ascending(offsets)
            orders.append(
                np.arange(len(offsets)) if ascending else np.argsort(offsets, kind="stable")
            )
        for cut in _cuts(self._places):
            if len(self._grid) == 1:
                chosen = orders[0][cut[0]]
                yield self._grid[0][chosen] + self._base, chosen
                continue
            starts, numbers = np.array([self._base]), np.array([0])
            for part, offsets, order, n in zip(cut, self._grid, orders, self._places, strict=True):
                chosen = order[part]
                starts = (starts[:, None] + offsets[chosen]).reshape(-1)
                numbers = (numbers[:, None] * n + chosen).reshape(-1)
            if not _is_ascending(starts):
                again = np.argsort(starts, kind="stable")
                starts, numbers = starts[again], numbers[again]
            yield starts, numbers

    def _fill(self, starts: Array, numbers: Array, flat: Array) -> None:
        """Fill rows of `flat` with what lies at ascending offsets."""
        source = self._source
        most = max(1, _WINDOW_NBYTES // flat.shape[1])
        if source._is_encoded:
            content = source._index.decoded(source._file, source._entry, source._verify)
            for i in range(0, len(starts), most):
                self._pick(content, starts[i : i + most], numbers[i : i + most], flat)
        elif self._span > (_WINDOW_NBYTES // 4 if self._is_run else source._entry.chunk_nbytes):
            # Between the chunks of such a box may be some that nobody wants.
            boxes = flat.view(self._dtype).reshape(len(flat), *self._counts)
            last = (-1, -1)
            for start, number in zip(starts.tolist(), numbers.tolist(), strict=True):
                if start == last[0]:
                    flat[number] = flat[last[1]]
                else:
                    box, at = boxes[number, ...], start - self._skip
                    source._fill_box(box, self._split, at, self._slices, self._dtype)
                last = start, number
        else:
            self._fill_by_windows(starts, numbers, flat, most)

    def _fill_by_windows(self, starts: Array, numbers: Array, flat: Array, most: int) -> None:
        source = self._source
        size = source._entry.chunk_nbytes
        first, last = starts // size, (starts + (self._span - 1)) // size
        # The chunks that a place needs and none before it does: first one and how many; then
        # `ends`, how many are needed up to it. Packed without gaps, its own are the last ones.
        n_own = last + 1 - first
        fresh = first.copy()
        np.maximum(fresh[1:], last[:-1] + 1, out=fresh[1:])
        n_fresh = last + 1 - fresh
        ends = n_fresh.cumsum()
        places = ends - n_own
        room = max(_WINDOW_NBYTES // size, int(n_own.max()))
        buffer = np.empty(min(room, int(ends[-1])) * size, np.uint8)
        i = have = low_before = 0
        while i < len(starts):
            low = int(places[i])
            k = min(int(np.searchsorted(ends, low + room, "right")), i + most)
            if have > low:  # the last ones of the window before
                kept = buffer[(low - low_before) * size : (have - low_before) * size].copy()
                buffer[: len(kept)] = kept
            self._read(fresh[i:k], n_fresh[i:k], buffer[(have - low if have > low else 0) * size :])
            offsets = starts[i:k] - first[i:k] * size + (places[i:k] - low) * size
            self._pick(buffer, offsets, numbers[i:k], flat)
            i, have, low_before = k, int(ends[k - 1]), low

    def _read(self, firsts: Array, counts: Array, into: Array) -> None:
        """Read runs of chunks, ascending, one after another into a buffer."""
        some = counts > 0
        if not some.all():
            firsts, counts = firsts[some], counts[some]
        if not len(firsts):
            return
        is_first = np.ones(len(firsts), bool)
        np.not_equal(firsts[1:], firsts[:-1] + counts[:-1], out=is_first[1:])
        begins = is_first.nonzero()[0]
        source = self._source
        source._file.read_chunks(
            source._index.handle,
            source._entry.number,
            firsts[begins].tolist(),
            np.add.reduceat(counts, begins).tolist(),
            into,
            source._verify,
            source._threads,
        )

    def _pick(self, content: Array, offsets: Array, numbers: Array, flat: Array) -> None:
        """Copy what lies behind offsets in some bytes into rows of `flat`."""
        nbytes = flat.shape[1]
        wide = _WIDE.get(nbytes) if self._is_run else None
        if wide and not (offsets % nbytes).any():
            items = content[: len(content) // nbytes * nbytes].view(wide)
            flat.view(wide)[numbers, 0] = items[offsets // nbytes]
            return
        places = len(content) - self._span + 1
        shape: tuple[int, ...] = (places, nbytes)
        strides: tuple[int, ...] = (1, 1)
        if not self._is_run:
            shape = (places, *self._counts, self._dtype.itemsize)
            strides = (1, *self._steps, 1)
        behind: Array = np.ndarray(shape, np.uint8, content.data, 0, strides)
        flat[numbers] = behind[offsets].reshape(len(offsets), nbytes)


def _cuts(counts: list[int]) -> Iterator[tuple[slice | Any, ...]]:
    """Cut a grid into blocks of so many places, along its first dimensions."""
    rest = math.prod(counts[1:])
    if rest <= _PLACES or len(counts) == 1:
        n = max(1, _PLACES // max(rest, 1))
        for i in range(0, counts[0], n):
            yield (slice(i, i + n), *(slice(None) for _ in counts[1:]))
        return
    for i in range(counts[0]):
        for inner in _cuts(counts[1:]):
            yield (slice(i, i + 1), *inner)


def _is_ascending(offsets: Array) -> bool:
    return bool((offsets[1:] >= offsets[:-1]).all())
