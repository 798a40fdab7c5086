# SPDX-License-Identifier: Apache-2.0
"""Random arrays, with MXNet's signatures.

The numbers come from a NumPy generator of this module's own: NumPy's global state is
never touched, and ``seed`` repeats a sequence. They are not the numbers MXNet draws.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mxio.context import Context
from mxio.nd.ndarray import NDArray, dtype_of, wrap

__all__ = ["normal", "randint", "seed", "uniform"]

Shape = int | Sequence[int] | None

_rng = np.random.Generator(np.random.PCG64())


def seed(seed_state: int, ctx: Context | str = "all") -> None:
    """Start the sequence that belongs to a number again.

    Parameters
    ----------
    seed_state : int
    ctx : Context or str
        For MXNet's sake; there is one sequence.

    Raises
    ------
    ValueError
        For a `seed_state` that is not an integer. (MXNet 1.9.1, measured; the function
        is ``mx.random.seed`` there.)
    """
    try:
        state = operator.index(seed_state)
    except TypeError:
        raise ValueError("seed_state must be int") from None
    _rng.bit_generator.state = np.random.PCG64(state % 2**64).state


def uniform(
    low: Any = 0,
    high: Any = 1,
    shape: Shape = None,
    dtype: Any = "float32",
    ctx: Context | str | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """Draw from [low, high); rounding may reach `high`.

    Parameters
    ----------
    low, high : float or array
        From arrays, each element draws a part of its own: the result has their shape,
        followed by `shape`.
    shape : int or sequence of int, optional
        That of `out`; else ``(1,)``, or with arrays ``()``.
    dtype : dtype, default float32
        Of floating point.
    out : NDArray, optional
        Where to put the result; its dtype and context stay.

    Raises
    ------
    ValueError
        If ``low > high``, or `out` has another shape.
    TypeError
        For a dtype that is not floating point. (MXNet 1.9.1, measured.)
    """
    if np.any(np.greater(low, high)):
        raise ValueError("low must be less or equal to high in uniform distribution")
    return _floats(_rng.random, low, np.subtract(high, low), shape, dtype, ctx, out)


def normal(
    loc: Any = 0,
    scale: Any = 1,
    shape: Shape = None,
    dtype: Any = "float32",
    ctx: Context | str | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """Draw from the normal distribution of mean `loc` and standard deviation `scale`.

    The other parameters are as in `uniform`.

    Raises
    ------
    ValueError
        If `scale` is not positive, or `out` has another shape.
    TypeError
        For a dtype that is not floating point. (MXNet 1.9.1, measured.)
    """
    if np.any(np.less_equal(scale, 0)):
        raise ValueError("scale parameter in gaussian has to be positive")
    return _floats(_rng.standard_normal, loc, scale, shape, dtype, ctx, out)


def randint(
    low: Any,
    high: Any,
    shape: Shape = None,
    dtype: Any = "int32",
    ctx: Context | str | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """Draw integers from [low, high).

    The other parameters are as in `uniform`; any integer dtype will do.

    Raises
    ------
    ValueError
        If ``low >= high``, `high` does not fit into the dtype, or `out` has another shape.
    TypeError
        For a dtype that is not of integers.
    """
    low, high, size = _sized(low, high, shape, out)
    values = _rng.integers(low, high, size, dtype="int32" if dtype is None else dtype)
    return _deliver(values, ctx, out)


def _floats(
    sample: Callable[..., Any],
    offset: Any,
    factor: Any,
    shape: Shape,
    dtype: Any,
    ctx: Context | str | None,
    out: NDArray | None,
) -> NDArray:
    """Return ``offset + factor * sample(size)``."""
    dtype = dtype_of(dtype)
    if dtype.kind not in "fV":  # V: bfloat16 and its like
        raise TypeError(f"random numbers of floating point cannot have dtype {dtype}")
    offset, factor, size = _sized(offset, factor, shape, out)
    native = np.float64 if dtype.itemsize > 4 else np.float32
    values = np.asarray(sample(size, dtype=native))
    values *= factor.astype(native)
    values += offset.astype(native)
    return _deliver(values.astype(dtype, copy=False), ctx, out)


def _sized(a: Any, b: Any, shape: Shape, out: NDArray | None) -> tuple[Any, Any, tuple[int, ...]]:
    """Return two parameters, ready to broadcast, and the shape of the result."""
    a, b = np.broadcast_arrays(a, b)
    if shape is not None:
        size = a.shape + (tuple(shape) if isinstance(shape, Sequence) else (operator.index(shape),))
    elif out is not None:
        size = out.shape
    else:
        size = a.shape or (1,)
    if out is not None and out.shape != size:
        raise ValueError(f"the result has shape {size}, but out has shape {out.shape}")
    rest = (1,) * (len(size) - a.ndim)
    return a.reshape(a.shape + rest), b.reshape(b.shape + rest), size


def _deliver(values: Any, ctx: Context | str | None, out: NDArray | None) -> NDArray:
    """Return the result, in `out` if it is given."""
    if out is None:
        return wrap(np.asarray(values), ctx)
    out[...] = values
    return out
