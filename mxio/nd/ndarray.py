# SPDX-License-Identifier: Apache-2.0
"""NDArray: MXNet's array, as a thin subclass of ``numpy.ndarray``.

It adds MXNet's methods, its printed form and a context; indexing, comparison and
arithmetic are NumPy's, as in MXNet 2. What NumPy returns as a scalar stays an NDArray
without dimensions here, because programs written for MXNet say ``x.sum().asscalar()``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from mxio import _dtype
from mxio.context import Context, cpu, current_context
from mxio.errors import UnsupportedError

__all__ = ["SPARSE", "NDArray", "dtype_of", "wrap"]

# Storage type → what makes a sparse array of a dense one: from nd.sparse, which stands above.
SPARSE: dict[str, Callable[..., Any]] = {}


class NDArray(np.ndarray[Any, np.dtype[Any]]):
    """An array with MXNet's methods. Make one with ``nd.array``, ``nd.zeros``, ….

    ``np.asarray(x)`` is the same memory as a plain ``numpy.ndarray``, and
    ``a.view(NDArray)`` the way back. ``dtype`` is a ``numpy.dtype``, comparisons are of
    dtype bool, and ``x[0]`` of a vector and ``x.sum()`` have shape ``()``, where
    MXNet 1.9.1 has a NumPy scalar type, the dtype of the operands, and shape ``(1,)``.

    Examples
    --------
    >>> np.ones(3).view(NDArray).sum().asscalar()
    np.float64(3.0)
    """

    _ctx: Context = cpu()  # of every array that was given no other
    __array_priority__ = 1.0  # np.concatenate and others look here for the class of their result

    def __array_finalize__(self, obj: object) -> None:
        ctx = getattr(obj, "_ctx", None)
        if ctx is not None:
            self._ctx = ctx

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return super().__array_wrap__(array, context, False)

    def __getitem__(self, key: Any) -> Any:
        item = super().__getitem__(key)
        if isinstance(item, np.generic):
            # Again as a view without dimensions: x[0][...] = 1 writes to x.
            item = super().__getitem__((*key, ...) if isinstance(key, tuple) else (key, ...))
        return item

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), np.asarray(self), self._ctx)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"\n{np.asarray(self)}\n<{type(self).__name__} {shape} @{self._ctx}>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return super().__format__(spec) if spec else str(self)

    @property
    def context(self) -> Context:
        """The device this array is labelled with."""
        return self._ctx

    ctx = context

    @property
    def stype(self) -> str:
        """The storage type: ``'default'``, which is dense."""
        return "default"

    def asnumpy(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Return a copy as a plain ``numpy.ndarray``: writing to it leaves this array alone.

        ``np.asarray(x)`` is the way without a copy. (MXNet 1.9.1, measured: a copy each time.)
        """
        return np.array(self, order="C", subok=False)

    def asscalar(self) -> Any:
        """Return the only element as a NumPy scalar.

        Raises
        ------
        ValueError
            Unless there is exactly one. (MXNet 1.9.1, measured; there an array of
            shape ``(1, 1)`` comes back as an array.)
        """
        if self.size != 1:
            raise ValueError("The current array is not a scalar")
        return np.asarray(self).reshape(())[()]

    def as_in_context(self, context: Context) -> NDArray:
        """Return this array if it is labelled ``context``, else a copy that is."""
        return self if self._ctx == context else self.copyto(context)

    def copyto(self, other: Any) -> Any:
        """Write the values into another array, or copy this one to a context.

        Parameters
        ----------
        other : NDArray or numpy.ndarray or Context
            An array of the same shape; its dtype and its context stay.

        Returns
        -------
        NDArray or numpy.ndarray
            `other`, or the copy.

        Raises
        ------
        ValueError
            If the shapes differ: nothing is broadcast.
        TypeError
            For another kind of `other`. (Both as MXNet 1.9.1, measured.)
        """
        if isinstance(other, Context):
            return wrap(self.copy(), other)
        if not isinstance(other, np.ndarray):
            raise TypeError(f"copyto does not support type {type(other)}")
        if other.shape != self.shape:
            raise ValueError(f"cannot copy shape {self.shape} to shape {other.shape}")
        np.copyto(other, self, casting="unsafe")
        return other

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        """Reshape as NumPy does; 0 keeps the dimension that stands there, as in MXNet.

        Raises
        ------
        ValueError
            For MXNet's codes below -1, which NumPy would take for -1.
        """
        given = shape[0] if len(shape) == 1 else shape or kwargs.pop("shape", ())
        dims = [int(dim) for dim in (given if isinstance(given, (tuple, list)) else (given,))]
        if min(dims, default=0) < -1:
            raise ValueError(f"reshape{tuple(dims)}: codes below -1 are not known; give the dims")
        if self.size:
            dims = [
                self.shape[i] if dim == 0 and i < self.ndim else dim for i, dim in enumerate(dims)
            ]
        return super().reshape(dims, **kwargs)

    def tostype(self, stype: str) -> Any:
        """Return a copy as a sparse array, or as it is.

        Parameters
        ----------
        stype : {'default', 'csr', 'row_sparse'}

        Raises
        ------
        ValueError
            For another storage type, or csr unless there are 2 dimensions.
        """
        if stype == "default":
            return self.copy()
        if stype not in SPARSE:
            raise ValueError(f"no storage type {stype!r}: it is 'default', 'csr' or 'row_sparse'")
        return SPARSE[stype](self, ctx=self._ctx)

    def wait_to_read(self) -> None:
        """Do nothing: the values are always there."""


def wrap(array: np.ndarray[Any, np.dtype[Any]], ctx: Context | str | None = None) -> NDArray:
    """Return a view of `array` labelled `ctx`; None means the current context."""
    view = array.view(NDArray)
    view._ctx = current_context() if ctx is None else Context(ctx)
    return view


def dtype_of(dtype: Any) -> np.dtype[Any]:
    """Return a dtype by any of its names; None means float32, MXNet's default."""
    name: Any = np.float32 if dtype is None else dtype
    try:
        known: np.dtype[Any] = np.dtype(name)
        return known
    except TypeError:
        item_bits = _dtype.item_bits(name) if isinstance(name, str) else None
        if item_bits is None:
            raise
        found = _dtype.resolve(name, item_bits)  # bfloat16 and others, if they can be had
        if isinstance(found, UnsupportedError):
            raise found from None
        return found


def _restore(cls: type[NDArray], array: np.ndarray[Any, Any], ctx: Context) -> NDArray:
    """Unpickle."""
    return wrap(array, ctx).view(cls)


def _without_scalars(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method of ``numpy.ndarray`` return arrays only."""

    @wraps(method)
    def call(self: NDArray, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        return wrap(np.asarray(result), self._ctx) if isinstance(result, np.generic) else result

    return call


# These do not pass through __array_wrap__, at least for some dtype or shape.
for _name in ("argmax", "argmin", "dot", "mean", "round", "std", "take", "trace", "var"):
    setattr(NDArray, _name, _without_scalars(getattr(np.ndarray, _name)))
