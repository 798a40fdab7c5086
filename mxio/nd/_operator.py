# SPDX-License-Identifier: Apache-2.0
"""What all operators have in common: how arrays come in, and how results go out.

An operator is written for plain NumPy arrays. `operator` takes it to NDArrays: arguments are
handed over without a copy, results are NDArrays in memory of their own with the context of
the first argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeAlias

import numpy as np

from mxio._sparse import SparseArray
from mxio.context import Context
from mxio.nd.ndarray import NDArray, wrap

__all__ = [
    "Array",
    "Shape",
    "computing",
    "dense",
    "floating",
    "least",
    "operator",
    "product",
    "rounded",
]

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Shape: TypeAlias = "int | Sequence[int]"

_OUT = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
_NAME = inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY, default=None)


def operator(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make an operator of a function of plain arrays.

    It takes two keywords more: ``out``, an array of the result's shape (or a list of them)
    that receives the result and keeps its dtype, and ``name``, which is what a symbol would be
    called and means nothing here. What would be a tuple is a list, as in MXNet. No result
    shares memory with an argument.
    """

    @wraps(function)
    def call(*args: Any, out: Any = None, name: str | None = None, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values())
        ctx = next((item._ctx for item in given if isinstance(item, NDArray)), None)
        args = tuple([dense(item) for item in args])
        kwargs = {key: dense(item) for key, item in kwargs.items()}
        # MXNet says nothing of log(-1) and the like either.
        with np.errstate(all="ignore"):
            result = function(*args, **kwargs)
        given = (*args, *kwargs.values())
        if out is not None:
            return _put(function.__name__, result, out)
        if isinstance(result, (tuple, list)):
            return [_own(item, given, ctx) for item in result]
        return _own(result, given, ctx)

    signature = inspect.signature(function)
    parameters = [*signature.parameters.values()]
    last = parameters.pop() if parameters and parameters[-1].kind is _VARIABLE else None
    parameters += [_OUT, _NAME, *([last] if last else [])]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


_VARIABLE = inspect.Parameter.VAR_KEYWORD


def dense(item: Any) -> Any:
    """Return an array as a plain one, in the same memory, a sparse one dense; others as is."""
    if isinstance(item, NDArray):
        return np.asarray(item)
    return item.toarray() if isinstance(item, SparseArray) else item


def _own(result: Any, given: tuple[Any, ...], ctx: Context | None) -> NDArray:
    array = np.asarray(result)
    for item in given:
        if isinstance(item, np.ndarray) and np.may_share_memory(array, item):
            array = array.copy()
            break
    return wrap(array, ctx)


def _put(what: str, result: Any, out: Any) -> Any:
    several = isinstance(out, (tuple, list))
    results = result if isinstance(result, (tuple, list)) else [result]
    outs = out if several else [out]
    if len(results) != len(outs):
        raise ValueError(f"{what} has {len(results)} results, but out has {len(outs)} arrays")
    for item, place in zip(results, outs, strict=True):
        if not isinstance(place, np.ndarray):
            raise TypeError(f"{what} writes out= to an NDArray, not {type(place).__name__}")
        if place.shape != np.shape(item):
            raise ValueError(
                f"{what} has a result of shape {np.shape(item)}, but out has shape {place.shape}"
            )
    # A result may be a view of what is written to: all are read before any is written.
    for item, place in zip([np.array(item) for item in results], outs, strict=True):
        np.copyto(place, item, casting="unsafe")
    return out


def floating(*arrays: Any) -> np.dtype[Any]:
    """Return the widest floating dtype among arrays (None is skipped); float32 without one."""
    dtypes = [array.dtype for array in arrays if array is not None and array.dtype.kind in "fV"]
    found: np.dtype[Any] = np.result_type(*dtypes) if dtypes else np.dtype(np.float32)
    return found


def computing(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype to compute in: at least float32."""
    return np.promote_types(dtype, np.float32)


def rounded(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return a result in the dtype of the arguments; no copy if it is."""
    return array.astype(dtype, copy=False)


def product(a: Array, b: Array) -> Array:
    """Return the matrix product, with the same bits whatever the memory of `a` and `b` is.

    For ``x @ x.T`` in one memory NumPy calls another routine of BLAS, which rounds otherwise.
    """
    if a.ndim >= 2 and b.ndim >= 2 and np.may_share_memory(a, b):
        b = b.copy(order="K")
    found: Array = np.matmul(a, b)
    return found


def least(dtype: np.dtype[Any]) -> float:
    """Return the least finite number of a floating dtype, NumPy's or bfloat16."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).min)
    # As bits the greatest finite number stands just below infinity.
    bits = np.array([np.inf], dtype).view(np.uint16) - np.uint16(1)
    return -float(bits.view(dtype).astype(np.float32)[0])
