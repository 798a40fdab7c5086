# SPDX-License-Identifier: Apache-2.0
"""The operators as methods of NDArray.

Most are the functions themselves. Where NumPy's arrays have a method of the same name, it takes
the arguments of both and keeps NumPy's dtypes; NumPy's own functions never call these.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from mxio.nd import _activation, _math, _reduce, _select, _shape
from mxio.nd.ndarray import NDArray

__all__: list[str] = []

_OPERATORS: dict[Any, str] = {
    _math: "abs arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil cos cosh degrees exp expm1 "
    "fix floor log log10 log1p log2 radians rcbrt reciprocal rint rsqrt sign sin sinh sqrt square "
    "tan tanh trunc",
    _activation: "log_softmax relu sigmoid softmax softmin",
    _reduce: "argmax_channel nanprod nansum norm topk",
    _select: "diag one_hot pick",
    _shape: "broadcast_axes broadcast_like broadcast_to depth_to_space expand_dims flip pad "
    "reshape_like shape_array size_array slice slice_axis slice_like space_to_depth split split_v2 "
    "tile",
}


def _without_scalars(name: str) -> Callable[..., Any]:
    """Return a method of ``numpy.ndarray`` that returns arrays only."""
    method = getattr(np.ndarray, name)

    @wraps(method)
    def call(self: NDArray, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        return self._dressed(result) if isinstance(result, np.generic) else result

    return call


def _reduction(name: str) -> Callable[..., Any]:
    """Return a method with NumPy's arguments, and MXNet's ``(axis, keepdims, exclude)``."""
    method = getattr(np.ndarray, name)

    def call(
        self: NDArray, axis: Any = None, *args: Any, exclude: bool = False, **kwargs: Any
    ) -> Any:
        if args and isinstance(args[0], (bool, np.bool_)):
            kwargs["keepdims"] = args[0]
            exclude = args[1] if len(args) > 1 else exclude
            args = ()
        if isinstance(axis, list):
            axis = tuple(axis)
        if exclude:
            axis = _reduce.axes_of(axis, self.ndim, True, name)
        result = method(self, axis, *args, **kwargs)
        return self._dressed(result) if isinstance(result, np.generic) else result

    call.__name__ = name
    call.__doc__ = (
        f"Return the {name} along axes, or with ``exclude=True`` along all others.\n\n"
        "The other arguments are NumPy's, or MXNet's ``keepdims`` in the second place."
    )
    return call


def _position(name: str) -> Callable[..., Any]:
    method = getattr(np.ndarray, name)

    def call(self: NDArray, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
        if isinstance(out, (bool, np.bool_)):
            out, keepdims = None, bool(out)
        result = method(self, axis, out, keepdims=keepdims)
        return self._dressed(result) if isinstance(result, np.generic) else result

    call.__name__ = name
    call.__doc__ = (
        f"Return the integer position of {name} along an axis; ``nd.{name}`` has MXNet's float32."
    )
    return call


def argsort(
    self: NDArray,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    is_ascend: bool = True,
    dtype: Any = np.int64,
    stable: bool | None = None,
) -> Any:
    """Return the positions that sort along an axis, ties in order.

    They are integers; ``nd.argsort`` has MXNet's float32. `is_ascend` may stand in the second
    place. NumPy's `kind`, `order` and `stable` are not looked at: the sort is stable.
    """
    if isinstance(kind, (bool, np.bool_)):
        is_ascend, dtype = bool(kind), dtype if order is None else order
    return _reduce.argsort(self, axis, is_ascend, dtype)


def sort(self: NDArray, axis: int | None = -1, is_ascend: bool = True) -> Any:
    """Return a sorted copy, NaN last. (The method of NumPy's arrays sorts in place.)"""
    return _reduce.sort(self, axis, is_ascend)


def round(self: NDArray, decimals: int = 0, out: Any = None) -> Any:
    """Return the nearest integers, of two the one away from 0; with `decimals` as NumPy."""
    if decimals:
        return np.round(self, decimals, out)
    return _math.round(self, out=out)


def clip(
    self: NDArray, a_min: Any = None, a_max: Any = None, out: Any = None, **kwargs: Any
) -> Any:
    """Return the values, but at least `a_min` and at most `a_max`, which NumPy calls min, max."""
    low, high = kwargs.pop("min", a_min), kwargs.pop("max", a_max)
    return np.clip(self, low, high, out, **kwargs)


def swapaxes(self: NDArray, dim1: int, dim2: int) -> Any:
    """Return a view with two axes in each other's place."""
    return np.swapaxes(self, dim1, dim2)


def take(
    self: NDArray, indices: Any, axis: int | None = 0, out: Any = None, mode: str = "clip"
) -> Any:
    """Return the items at some positions of an axis, those out of range clipped; see `nd.take`."""
    if isinstance(out, str):
        out, mode = None, out
    return _select.take(self, indices, axis, mode, out=out)


def transpose(self: NDArray, *axes: Any, **kwargs: Any) -> Any:
    """Return a view with the axes in another order, unless given in reverse."""
    given = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    return np.transpose(self, kwargs.pop("axes", given) or None, **kwargs)


def zeros_like(self: NDArray) -> Any:
    """Return zeros of this shape, dtype and context."""
    return np.zeros_like(self)


def ones_like(self: NDArray) -> Any:
    """Return ones of this shape, dtype and context."""
    return np.ones_like(self)


def _attach() -> None:
    for module, names in _OPERATORS.items():
        for name in names.split():
            setattr(NDArray, name, getattr(module, name))
    # These do not pass through __array_wrap__, at least for some dtype or shape.
    for name in ("dot", "std", "trace", "var"):
        setattr(NDArray, name, _without_scalars(name))
    for name in ("max", "mean", "min", "prod", "sum"):
        setattr(NDArray, name, _reduction(name))
    for name in ("argmax", "argmin"):
        setattr(NDArray, name, _position(name))
    own: list[Callable[..., Any]] = [argsort, sort, round, clip, swapaxes, take, transpose]
    for function in (*own, zeros_like, ones_like):
        setattr(NDArray, function.__name__, function)


_attach()
