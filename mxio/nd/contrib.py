# SPDX-License-Identifier: Apache-2.0
"""MXNet's ``nd.contrib``, a few of its operators that networks use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mxio.nd._layers import axis_of
from mxio.nd._operator import computing, floating, operator, rounded

__all__ = [
    "AdaptiveAvgPooling2D",
    "arange_like",
    "boolean_mask",
    "div_sqrt_dim",
    "isfinite",
    "isinf",
    "isnan",
]


@operator
def arange_like(
    data: Any,
    start: float = 0.0,
    step: float = 1.0,
    repeat: int = 1,
    ctx: Any = None,
    axis: int | None = None,
) -> Any:
    """Return ``start + i * step``, of the shape of `data`, or as long as one of its axes.

    Parameters
    ----------
    data : array
    start, step : float
    repeat : int, default 1
        How often each value stands in a row.
    axis : int, optional
    """
    data = np.asarray(data)
    n = data.size if axis is None else data.shape[axis_of(axis, data.ndim, "arange_like")]
    dtype = floating(data)
    values = np.arange(n) // repeat * computing(dtype).type(step) + computing(dtype).type(start)
    return rounded(values.reshape(data.shape) if axis is None else values, dtype)


@operator
def div_sqrt_dim(data: Any) -> Any:
    """Return ``data / sqrt(data.shape[-1])``."""
    data = np.asarray(data)
    return data / floating(data).type(math.sqrt(data.shape[-1]))


@operator
def boolean_mask(data: Any, index: Any, axis: int = 0) -> Any:
    """Return the items on an axis for which `index` is not 0."""
    return np.compress(np.asarray(index) != 0, np.asarray(data), axis=axis)


@operator
def AdaptiveAvgPooling2D(data: Any, output_size: Any = ()) -> Any:
    """Return the means of `output_size` windows that cover each image.

    Parameters
    ----------
    data : array of shape (batch, channels, height, width)
    output_size : int or (int, int), optional
        One window for all unless given.
    """
    data = np.asarray(data)
    size = (output_size,) if isinstance(output_size, int) else tuple(output_size or (1,))
    rows, columns = size * 2 if len(size) == 1 else size
    dtype = floating(data)
    y = rounded(data, computing(dtype))
    for axis, count in ((2, rows), (3, columns)):
        n = y.shape[axis]
        parts = [
            y.take(range(i * n // count, -(-(i + 1) * n // count)), axis).mean(axis, keepdims=True)
            for i in range(count)
        ]
        y = np.concatenate(parts, axis)
    return rounded(y, dtype)


@operator
def isnan(data: Any) -> Any:
    """Return whether each item is NaN."""
    return np.isnan(data)


@operator
def isinf(data: Any) -> Any:
    """Return whether each item is infinite."""
    return np.isinf(data)


@operator
def isfinite(data: Any) -> Any:
    """Return whether each item is a finite number."""
    return np.isfinite(data)
