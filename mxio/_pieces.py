# SPDX-License-Identifier: Apache-2.0
"""Arrays cut into regions that fit in a little memory, whatever their size and order.

What computes over whole files (`_stats`, `_diff`) walks through these regions and reads
one at a time. A region follows the order in which the bytes lie, so that no byte of the
file is read twice but at the borders of chunks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

__all__ = ["PIECE_NBYTES", "Box", "blocks", "regions"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Box: TypeAlias = "tuple[slice, ...]"

PIECE_NBYTES = 2 << 20  # of one region
_BLOCK_ITEMS = 64 << 10  # what is computed on at once: temporaries stay in the cache


def regions(
    shape: tuple[int, ...], itemsize: int, orders: str, nbytes: int = PIECE_NBYTES
) -> Iterator[Box]:
    """Cut an array into regions of at most `nbytes` (or one item), each item in one of them.

    Parameters
    ----------
    shape : tuple of int
    itemsize : int
    orders : str
        ``C`` or ``F`` for each of the files that are read side by side. If they differ,
        the regions are tiles, about as long in both directions.
    nbytes : int

    Examples
    --------
    >>> list(regions((3, 4), 1, 'C', 8))
    [(slice(0, 2, None), slice(0, 4, None)), (slice(2, 3, None), slice(0, 4, None))]
    """
    if 0 in shape:
        return
    most = max(1, nbytes // max(1, itemsize))
    extents = _tile(shape, most) if len(set(orders)) > 1 else _run(shape, most, orders[:1])
    ranges = [range(0, n, step) for n, step in zip(shape, extents, strict=True)]
    # The slowest axis of the file has to be the slowest here.
    fortran = set(orders) == {"F"}
    for starts in itertools.product(*(ranges[::-1] if fortran else ranges)):
        corner = starts[::-1] if fortran else starts
        yield tuple(
            slice(start, min(start + step, n))
            for start, step, n in zip(corner, extents, shape, strict=True)
        )


def _run(shape: tuple[int, ...], most: int, order: str) -> list[int]:
    """Whole slices of the faster axes, some of one axis, one of each slower axis."""
    extents = [1] * len(shape)
    axes = range(len(shape))
    for axis in axes if order == "F" else reversed(axes):
        extents[axis] = min(shape[axis], most)
        most //= extents[axis]
        if extents[axis] < shape[axis]:
            break
    return extents


def _tile(shape: tuple[int, ...], most: int) -> list[int]:
    """Long in the first axes and in the last ones."""
    extents = [1] * len(shape)
    n = len(shape)
    for low, high in zip(range((n + 1) // 2), reversed(range(n // 2, n)), strict=True):
        while math.prod(extents) * 2 <= most:
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
