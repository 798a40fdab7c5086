# SPDX-License-Identifier: Apache-2.0
"""MXNet's ``nd.linalg``, as far as networks use it: products of stacks of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from mxio.nd._operator import operator
from mxio.nd._reduce import matrices

__all__ = ["gemm", "gemm2"]


@operator
def gemm2(
    A: Any,
    B: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    alpha: float = 1.0,
    axis: int = -2,
) -> Any:
    """Return ``alpha * A @ B`` for each pair of matrices, on the last two axes.

    Parameters
    ----------
    A, B : array of 2 dimensions or more
        All but the last two are the same.
    transpose_a, transpose_b : bool, default False
    alpha : float, default 1
    axis : int, default -2
        That of the rows, if it is not the last but one.
    """
    a, b = (np.moveaxis(np.asarray(item), axis, -2) for item in (A, B))
    y = matrices(a, b, transpose_a, transpose_b, "gemm2", 2)
    return np.moveaxis(y * y.dtype.type(alpha), -2, axis)


@operator
def gemm(
    A: Any,
    B: Any,
    C: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    alpha: float = 1.0,
    beta: float = 1.0,
    axis: int = -2,
) -> Any:
    """Return ``alpha * A @ B + beta * C``; see `gemm2`."""
    a, b = (np.moveaxis(np.asarray(item), axis, -2) for item in (A, B))
    y = np.moveaxis(matrices(a, b, transpose_a, transpose_b, "gemm", 2), -2, axis)
    c = np.asarray(C)
    if c.shape != y.shape:
        raise ValueError(f"C has shape {c.shape}, but the product {y.shape}")
    return y * y.dtype.type(alpha) + c * c.dtype.type(beta)
