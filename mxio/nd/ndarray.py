# SPDX-License-Identifier: Apache-2.0
"""NDArray: MXNet's array, as a thin subclass of ``numpy.ndarray``.

It adds MXNet's methods, its printed form and a context; indexing, comparison and
arithmetic are NumPy's, as in MXNet 2. What NumPy returns as a scalar stays an NDArray
without dimensions here, because programs written for MXNet say ``x.sum().asscalar()``.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mxio import _dtype
from mxio.context import Context, cpu, current_context
from mxio.errors import UnsupportedError

__all__ = ["SPARSE", "Ctx", "NDArray", "dtype_of", "special_shape", "wrap"]

Ctx: TypeAlias = "Context | str | None"

# Storage type → what makes a sparse array of a dense one: from nd.sparse, which stands above.
SPARSE: dict[str, Callable[..., Any]] = {}


class NDArray(np.ndarray[Any, np.dtype[Any]]):
    """An array with MXNet's methods. Make one with ``nd.array``, ``nd.zeros``, ….

    ``np.asarray(x)`` is the same memory as a plain ``numpy.ndarray``, and
    ``a.view(NDArray)`` the way back. ``dtype`` is a ``numpy.dtype``, comparisons are of
    dtype bool, and ``x[0]`` of a vector and ``x.sum()`` have shape ``()``, where
    MXNet 1.9.1 has a NumPy scalar type, the dtype of the operands, and shape ``(1,)``.

    Methods that both have take either's arguments and do what MXNet's do, but for dtypes:
    ``x.mean()`` of integers is floating point and ``x.argmax()`` an integer, as in NumPy
    (``nd.mean`` and ``nd.argmax`` have MXNet's dtypes). ``x.flatten()`` keeps the first axis,
    ``x.sort()`` returns a copy and ``x.take(i)`` clips; ``np.sort(x)`` and all other functions
    of NumPy do what they do to its own arrays, and return NDArrays.

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

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        """Call a function of NumPy with plain arrays: some call methods that differ here."""
        if not all(issubclass(kind, np.ndarray) for kind in types):
            return NotImplemented
        given: dict[int, NDArray] = {}

        def plain(item: Any) -> Any:
            if isinstance(item, NDArray):
                array = np.asarray(item)
                given[id(array)] = item
                kept.append(array)
                return array
            if type(item) in (list, tuple):
                return type(item)(map(plain, item))
            return item

        def dressed(item: Any) -> Any:
            if isinstance(item, (np.ndarray, np.generic)):
                # What was given as out= comes back as the array that it was.
                known = given.get(id(item))
                return known if known is not None else self._dressed(item)
            if isinstance(item, tuple) and hasattr(item, "_make"):
                return item._make(map(dressed, item))
            return type(item)(map(dressed, item)) if type(item) in (list, tuple) else item

        kept: list[Any] = []
        args = plain(tuple(args))
        kwargs = {key: plain(item) for key, item in kwargs.items()}
        return dressed(func(*args, **kwargs))

    def _dressed(self, item: Any) -> Any:
        """Return what NumPy made of this array as an NDArray of its context."""
        return wrap(np.asarray(item), self._ctx)

    def __getitem__(self, key: Any) -> Any:
        key = _index(key)
        item = super().__getitem__(key)
        if isinstance(item, np.generic):
            # Again as a view without dimensions: x[0][...] = 1 writes to x.
            item = super().__getitem__((*key, ...) if isinstance(key, tuple) else (key, ...))
        return item

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_index(key), value)

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

    as_in_ctx = as_in_context

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """Return a copy of another dtype; ``copy=False`` returns this array if it has it."""
        return super().astype(dtype_of(dtype), *args, **kwargs)

    def detach(self) -> NDArray:
        """Return this array once more, on the same memory."""
        return self[...]  # type: ignore[no-any-return]

    def flatten(self, order: Any = None, inplace: bool = False) -> Any:
        """Return a copy as a matrix: the first axis stays, the others become one.

        With an `order`, a copy as a vector, as NumPy's; `ravel` is that without the copy.
        """
        if order is not None:
            return super().flatten(order)
        if self.ndim == 0:
            raise ValueError("flatten needs an array of one dimension or more")
        rest = math.prod(self.shape[1:])
        return self.copy(order="C").reshape(len(self), rest)

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        """Return the items in another shape, if possible in the same memory.

        Parameters
        ----------
        *shape : int, or one sequence of int
            Besides sizes: 0 keeps the dimension that stands there, -1 is what is left over, -2
            keeps all that follow, -3 makes one of two, and -4 two of one, which are the next
            two numbers, one of which may be -1. In an array without items 0 is a size.
        reverse : bool, default False
            Whether both shapes are read from the end.
        **kwargs
            NumPy's ``order`` and ``copy``.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        given = shape[0] if len(shape) == 1 else shape or kwargs.pop("shape", ())
        dims = tuple(given) if isinstance(given, (tuple, list)) else (given,)
        reverse = kwargs.pop("reverse", False)
        return super().reshape(special_shape(self.shape, dims, reverse), **kwargs)

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

    if TYPE_CHECKING:  # the methods that mxio.nd._methods adds

        def __getattr__(self, name: str) -> Any: ...


def special_shape(
    shape: tuple[int, ...], codes: Sequence[Any], reverse: bool = False
) -> tuple[int, ...]:
    """Return the shape that MXNet's codes make of a shape; see `NDArray.reshape`."""
    dims = [operator.index(code) for code in codes]
    if math.prod(shape) == 0 and min(dims, default=0) >= 0:
        return tuple(dims)
    old = [*shape[::-1]] if reverse else [*shape]
    if reverse:
        dims.reverse()
    told = f"cannot reshape {shape} by {tuple(codes)}"
    new: list[int] = []
    at = 0  # the dimension that stands where the next code does
    rest = iter(dims)
    for code in rest:
        step = 2 if code == -3 else 1
        if code in (0, -3, -4) and at + step > len(old):
            raise ValueError(f"{told}: no dimension is left for {code}")
        if code == 0:
            new.append(old[at])
        elif code == -2:
            new += old[at:]
            step = len(old) - at
        elif code == -3:
            new.append(old[at] * old[at + 1])
        elif code == -4:
            new += _split_in_two(old[at], next(rest, None), next(rest, None), told)
        elif code >= -1:
            new.append(code)
        else:
            raise ValueError(f"{told}: there is no code {code}")
        at += step
    if new.count(-1) > 1:
        raise ValueError(f"{told}: only one dimension can be -1")
    if -1 in new:
        # What is left over of the dimensions that are not 0, if as many of them are.
        known = math.prod(dim for dim in new if dim > 0)
        zeros = shape.count(0) > new.count(0)
        new[new.index(-1)] = 0 if zeros else math.prod(filter(None, shape)) // known
    if math.prod(new) != math.prod(shape):
        raise ValueError(f"{told}: that is not the same number of items")
    return tuple(new[::-1] if reverse else new)


def _split_in_two(dim: int, first: int | None, second: int | None, told: str) -> list[int]:
    if first is None or second is None or (first == second == -1):
        raise ValueError(f"{told}: -4 needs two numbers behind it, one of which may be -1")
    if first == -1:
        first = dim // second if second else 0
    elif second == -1:
        second = dim // first if first else 0
    if first * second != dim:
        raise ValueError(f"{told}: {dim} is not {first} x {second}")
    return [first, second]


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


def _index(key: Any) -> Any:
    """Return an index in which NDArrays of whole floats, as ``nd.array`` makes them, are ints."""
    if isinstance(key, NDArray) and key.dtype.kind == "f":
        whole = np.asarray(key).astype(np.int64)
        if not np.array_equal(whole, np.asarray(key)):
            raise IndexError(f"an index has whole numbers, not those of a {key.dtype} array")
        return whole
    return tuple(map(_index, key)) if type(key) is tuple else key


def _arithmetic(name: str) -> Callable[..., Any]:
    """Return an operator of ``numpy.ndarray`` with MXNet's dtypes.

    A comparison counts as 0. and 1., and a scalar of NumPy's, such as ``np.sqrt(2)``, leaves the
    dtype of the array as a Python number does.
    """
    method = getattr(np.ndarray, name)

    @functools.wraps(method)
    def call(self: NDArray, *others: Any) -> Any:
        if self.dtype == np.bool_:
            self = self.astype(np.float32)
        if others and isinstance(others[0], (np.floating, np.integer)):
            others = (others[0].item(), *others[1:])
        return method(self, *others)

    return call


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(NDArray, f"__{_name}__", _arithmetic(f"__{_name}__"))
    setattr(NDArray, f"__r{_name}__", _arithmetic(f"__r{_name}__"))
NDArray.__neg__ = _arithmetic("__neg__")  # type: ignore[method-assign]


def _restore(cls: type[NDArray], array: np.ndarray[Any, Any], ctx: Context) -> NDArray:
    """Unpickle."""
    return wrap(array, ctx).view(cls)
