# SPDX-License-Identifier: Apache-2.0
"""Special functions that NumPy does not have: erf and its inverse, gamma and its logarithm."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from mxio.nd._operator import Array

__all__ = ["erf", "erfinv", "gamma", "gammaln"]

# erf by its Taylor series about the nearest of the nodes 0, 1/16, ..., 6, where it is 1 to 17
# digits. The nearest is at most 1/32 away, so that few terms are enough; about 0 the series
# has no constant term, so that small results are as exact as large ones.
_NODES = 16
_LAST = 6 * _NODES
_DEGREE = {"f": 5, "d": 10}


def _series(degree: int) -> Array:
    """Return the coefficients, those of one power in a row, of a node in a column."""
    table = np.zeros((degree + 1, _LAST + 1))
    for node in range(_LAST + 1):
        x = node / _NODES
        # The derivative g of erf has g' = -2 x g, which is a recurrence for its coefficients.
        before, now = 0.0, 2 / math.sqrt(math.pi) * math.exp(-x * x)
        table[0, node] = math.erf(x)
        for power in range(1, degree + 1):
            table[power, node] = now / power
            before, now = now, -2 * (x * now + before) / power
    return table


_TABLES = {kind: _series(degree).astype(kind) for kind, degree in _DEGREE.items()}
_RUN = 1 << 15  # items at a time, so that what is in between stays in the cache


def erf(x: Array) -> Array:
    """Return the error function, of float32 or float64, within 2 units in the last place."""
    table = _TABLES[x.dtype.char]
    y = np.empty(x.shape, x.dtype)
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    for start in range(0, flat_x.size, _RUN):
        part = flat_x[start : start + _RUN]
        # Far out it is 1; fmin takes the NaN away, and the product below brings it back.
        far = np.fmin(np.abs(part), x.dtype.type(_LAST / _NODES))
        nearest = np.rint(far * _NODES)
        node = nearest.astype(np.intp)
        far -= nearest / _NODES
        found = table[-1][node]
        for row in table[-2::-1]:
            found *= far
            found += row[node]
        out = flat_y[start : start + _RUN]
        np.copysign(found, part, out=out)
        out[np.isnan(part)] = np.nan
    return y


def erfinv(x: Array) -> Array:
    """Return the inverse of erf, of float64: infinite at -1 and 1, NaN beyond."""
    tail = NormalDist().inv_cdf

    def one(value: float) -> float:
        rest = 1 - abs(value)
        if not rest > 0:
            return math.copysign(math.inf, value) if rest == 0 else math.nan
        found = -tail(rest / 2) / math.sqrt(2)
        if rest > 0.25:
            # Close to 0 the difference from 1 has lost digits: a step of Newton's method.
            slope = 2 / math.sqrt(math.pi) * math.exp(-found * found)
            found -= (math.erf(found) - abs(value)) / slope
        return math.copysign(found, value)

    return _each(one, x)


def gamma(x: Array) -> Array:
    """Return the gamma function, of float64: infinite at 0, NaN at the negative integers."""

    def one(value: float) -> float:
        try:
            return math.gamma(value)
        except OverflowError:
            return math.inf
        except ValueError:
            return math.copysign(math.inf, value) if value == 0 else math.nan

    return _each(one, x)


def gammaln(x: Array) -> Array:
    """Return the logarithm of the absolute value of gamma, of float64."""

    def one(value: float) -> float:
        try:
            return math.lgamma(value)
        except (OverflowError, ValueError):
            return math.inf

    return _each(one, x)


def _each(one: Callable[[float], float], x: Array) -> Array:
    return np.array([one(value) for value in x.reshape(-1).tolist()], x.dtype).reshape(x.shape)
