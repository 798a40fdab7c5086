# SPDX-License-Identifier: Apache-2.0
"""What MXNet's programs do with arrays and NumPy's arrays do otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from mxio import nd


def test_comparisons_count_in_arithmetic() -> None:
    """MXNet's are of the operands' dtype, and programs add them up."""
    m = nd.array([[1.0, 2.0]])
    for result, expected in (
        ((m > 0) + (m > 1), [[1, 2]]),
        ((m > 0) - (m > 1), [[1, 0]]),
        (-(m > 1), [[0, -1]]),
        (1 - (m > 1), [[1, 0]]),
        ((m > 0) / 2, [[0.5, 0.5]]),
        (nd.add_n(m > 0, m > 1), [[1, 2]]),
        (nd.clip(m > 1, 0.25, 0.5), [[0.25, 0.5]]),
    ):
        assert result.dtype == np.float32
        assert result.tolist() == expected
    assert ((m > 0) & (m > 1)).dtype == np.bool_


def test_scalars_of_numpy_leave_the_dtype() -> None:
    for dtype in ("float16", "float32"):
        x = nd.ones((2,), dtype=dtype)
        for result in (x * np.sqrt(2), x / np.float64(3), x - np.int64(1), x ** np.float64(2)):
            assert result.dtype == dtype


def test_whole_floats_are_indices() -> None:
    x = nd.arange(6).reshape((3, 2))
    assert x[nd.array([2, 0])].tolist() == [[4, 5], [0, 1]]
    assert x[nd.array([0, 1]), nd.array([1, 0])].tolist() == [1, 2]
    x[nd.array([1])] = 9
    assert x[1].tolist() == [9, 9]
    with pytest.raises(IndexError, match="whole numbers"):
        x[nd.array([0.5])]
