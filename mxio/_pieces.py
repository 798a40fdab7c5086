# SPDX-License-Identifier: Apache-2.0
"""Arrays in files, cut into pieces that fit in a little memory, whatever their size and order.

What computes over whole files (`_stats`, `_diff`) walks through these and has one piece of
each array at a time. Runs follow the bytes of the file, so nothing is read or decoded twice.
Where one array lies in C order and another in Fortran order, no run of one is a run of the
other, and both are read in tiles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from mxio._lazy import LazyArray
from mxio._stream import Streams

__all__ = ["PIECE_NBYTES", "blocks", "runs", "tiles"]

Array: TypeAlias = "np.ndarray[Any, Any]"

PIECE_NBYTES = 2 << 20  # of one piece of one array
_BLOCK_ITEMS = 64 << 10  # what is computed on at once: temporaries stay in the cache


def runs(array: LazyArray, n_items: int) -> Iterator[Array]:
    """Read an array as flat pieces of so many items, in the order in which they are stored.

    Raises
    ------
    ChecksumError, UnsupportedError
        As reading it.

    Examples
    --------
    >>> with mxio.open(mxio.dumps(np.arange(5))) as f:
    ...     list(runs(f[''], 3))
    [array([0, 1, 2]), array([3, 4])]
    """
    dtype = array.dtype
    stream = Streams({0: array})
    for first in range(0, array.size, n_items):
        piece: Array = np.empty(min(n_items, array.size - first), dtype)
        stream.fill(0, first * dtype.itemsize, piece.view(np.uint8).data)
        yield piece


def tiles(shape: tuple[int, ...], n_items: int) -> Iterator[tuple[slice, ...]]:
    """Cut an array into regions of at most so many items, long in the first and last axes.

    Examples
    --------
    >>> list(tiles((3, 4), 8))
    [(slice(0, 3, None), slice(0, 2, None)), (slice(0, 3, None), slice(2, 4, None))]
    """
    if 0 in shape:
        return
    extents = _extents(shape, n_items)
    ranges = [range(0, n, step) for n, step in zip(shape, extents, strict=True)]
    for corner in itertools.product(*ranges):
        yield tuple(
            slice(start, min(start + step, n))
            for start, step, n in zip(corner, extents, shape, strict=True)
        )


def _extents(shape: tuple[int, ...], n_items: int) -> list[int]:
    extents = [1] * len(shape)
    n = len(shape)
    for low, high in zip(range((n + 1) // 2), reversed(range(n // 2, n)), strict=True):
        while math.prod(extents) * 2 <= n_items:
            growing = [k for k in {low, high} if extents[k] < shape[k]]
            if not growing:
                break
            axis = min(growing, key=lambda k: (extents[k], k))
            extents[axis] = min(extents[axis] * 2, shape[axis])
        if any(extents[k] < shape[k] for k in {low, high}):
            break
    return extents


def blocks(piece: Array) -> Iterator[Array]:
    """Cut a contiguous piece into flat views that are small enough to compute on."""
    flat = piece.reshape(-1)
    for start in range(0, flat.size, _BLOCK_ITEMS):
        yield flat[start : start + _BLOCK_ITEMS]
