# SPDX-License-Identifier: Apache-2.0
"""Shapes of which some dimensions are not known yet: those that are 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

__all__ = ["Shape", "fits", "is_known", "plain"]

Shape: TypeAlias = tuple[int, ...]


def plain(shape: int | Sequence[int] | None) -> Shape | None:
    """Return a shape as a tuple of int, 0 for what is unknown: -1 in MXNet's NumPy mode."""
    if shape is None:
        return None
    dims = tuple(map(int, (shape,) if isinstance(shape, (int, np.integer)) else shape))
    if min(dims, default=0) < -1:
        raise ValueError(f"a shape has dimensions of 0 or more, or -1 for unknown, not {dims}")
    return tuple(max(0, dim) for dim in dims)


def fits(known: Shape | None, shape: Shape | None) -> bool:
    """Whether a shape is what another one, with unknown dimensions, may become."""
    if known is None:
        return True
    if shape is None or len(known) != len(shape):
        return False
    for a, b in zip(known, shape, strict=True):  # noqa: SIM110  (this is faster)
        if a != b and a:
            return False
    return True


def is_known(shape: Shape | None) -> bool:
    """Whether all dimensions are known."""
    return shape is not None and 0 not in shape
