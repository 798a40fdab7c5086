# SPDX-License-Identifier: Apache-2.0
"""MXNet's ``nd``: arrays, and saving and loading them.

The functions have the arguments and the results of MXNet 1.9.1, measured; their arrays
are NumPy's, their files mxio's. Arrays are float32 unless something else is asked for.

It is also the ``F`` of ``hybrid_forward(F, x)``: MXNet's operators for inference, in NumPy.
Where an operator means to differ, its docstring says so. All of them take ``out=`` and
``name=``, NumPy's arrays as well as NDArrays, and results of one item have shape ``()`` if all
axes were taken away, where MXNet has ``(1,)``. Arguments that MXNet refuses for their dtype
may be accepted.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from types import NoneType
from typing import Any

import numpy as np

from mxio import _file
from mxio._sparse import SparseArray
from mxio.context import Context, cpu
from mxio.errors import UnsupportedError
from mxio.nd import (
    _activation,
    _convolution,
    _layers,
    _math,
    _methods,  # noqa: F401
    _reduce,
    _select,
    _shape,
    contrib,
    linalg,
    random,
    sparse,
)
from mxio.nd._activation import *  # noqa: F403
from mxio.nd._convolution import *  # noqa: F403
from mxio.nd._layers import *  # noqa: F403
from mxio.nd._math import *  # noqa: F403
from mxio.nd._operator import operator
from mxio.nd._recurrent import RNN
from mxio.nd._reduce import *  # noqa: F403
from mxio.nd._select import *  # noqa: F403
from mxio.nd._shape import *  # noqa: F403
from mxio.nd.ndarray import NDArray, dtype_of, wrap

__all__ = [
    "RNN",
    "NDArray",
    "arange",
    "array",
    "cast_storage",
    "contrib",
    "empty",
    "full",
    "linalg",
    "load",
    "load_frombuffer",
    "ones",
    "ones_like",
    "random",
    "save",
    "sparse",
    "waitall",
    "zeros",
    "zeros_like",
]
# The operators, which networks call F: functions of arrays, and of nothing else.
OPERATORS = frozenset(
    name
    for module in (_activation, _convolution, _layers, _math, _reduce, _select, _shape)
    for name in module.__all__
    if name != "resolve"
)
__all__ += sorted(OPERATORS)
__all__ += ["linalg_gemm", "linalg_gemm2"]

linalg_gemm, linalg_gemm2 = linalg.gemm, linalg.gemm2

Shape = int | Sequence[int]
Ctx = Context | str | None


def save(
    fname: str | os.PathLike[str],
    data: Any,
    *,
    format: str | None = None,
    sync: bool = True,
    **options: Any,
) -> None:
    """Save one array, a list of arrays or a dict of named arrays, replacing the file.

    Parameters
    ----------
    fname : str or os.PathLike
        ``file:///path`` is a path too.
    data : NDArray, numpy.ndarray or sparse array, or a list or dict of them
        MXNet refuses NumPy arrays; mxio does not.
    format : str, optional
        mxio's own; ``'mxnet'`` is what MXNet reads, byte for byte what it writes.
    sync : bool, default True
    **options
        Of the format: for ``'mxnet'``, ``version=2`` or ``3``. All three as in ``mxio.save``.

    Raises
    ------
    ValueError
        For other `data`: a tuple, a generator, None, a str, ….
    TypeError
        For an item that is not an array, or a key that is not a str.
    OSError
        Where MXNet has an ``MXNetError``.

    Examples
    --------
    >>> save('mydict', {'x': arange(4), 'y': zeros(4)})
    >>> list(load('mydict'))
    ['x', 'y']
    """
    _file.save(_path(fname), _checked(data), format=format, sync=sync, **options)


def load(
    fname: str | os.PathLike[str],
    *,
    mmap: bool = False,
    verify: bool | None = None,
    encoding: str | None = None,
) -> Any:
    """Load what `save` or ``mxio.save`` wrote, or MXNet, or any other file that mxio reads.

    Parameters
    ----------
    fname : str or os.PathLike
    mmap, verify, encoding
        As in ``mxio.load``.

    Returns
    -------
    list of NDArray or dict of str to NDArray
        A list of one where a single array was saved. (An empty dict is ``{}`` here,
        ``[]`` in MXNet 1.9.1.) Sparse arrays are those of ``nd.sparse``; None stands for
        an array that was saved before it had a value, as old releases could.

    Raises
    ------
    OSError
        FileNotFoundError for a missing file, where MXNet has an ``MXNetError``.
    FormatError
        If the file is not valid.
    UnsupportedError
        If it holds more than named arrays: nested containers or plain values.
    """
    path = _path(fname)
    return _dressed(_file.load(path, mmap=mmap, verify=verify, encoding=encoding), path)


def load_frombuffer(buf: Any, *, verify: bool | None = None, encoding: str | None = None) -> Any:
    """Load from the bytes of a file; otherwise as `load`.

    Parameters
    ----------
    buf : bytes-like
        MXNet accepts bytes only.
    """
    try:
        memoryview(buf)
    except TypeError:
        raise TypeError(f"buf required to be bytes-like, not {type(buf).__name__}") from None
    return _dressed(_file.loads(buf, verify=verify, encoding=encoding), "the buffer")


def array(source_array: Any, ctx: Ctx = None, dtype: Any = None) -> NDArray:
    """Copy anything array-like; of a sparse array ``nd.sparse.array`` makes a sparse one.

    Parameters
    ----------
    source_array : array-like
    dtype : dtype, optional
        That of `source_array` if it is an NDArray, else float32, even for NumPy arrays
        of another dtype. (MXNet 1.9.1, measured.)

    Raises
    ------
    TypeError
        For what makes no such array.
    """
    if isinstance(source_array, SparseArray) or hasattr(source_array, "tocsr"):
        return sparse.array(source_array, ctx, dtype)  # type: ignore[no-any-return]
    if dtype is None and isinstance(source_array, NDArray):
        dtype = source_array.dtype
    dtype = dtype_of(dtype)
    try:
        return wrap(np.array(source_array, dtype, order="C", subok=False), ctx)
    except (TypeError, ValueError) as error:
        raise TypeError(f"source_array must be array like object: {error}") from error


def cast_storage(data: Any, stype: str) -> Any:
    """Return a copy of another storage type: ``data.tostype(stype)``."""
    return data.tostype(stype)


def empty(shape: Shape, ctx: Ctx = None, dtype: Any = None) -> NDArray:
    """Return an array of arbitrary values."""
    return wrap(np.empty(shape, dtype_of(dtype)), ctx)


def zeros(shape: Shape, ctx: Ctx = None, dtype: Any = None, stype: str = "default") -> Any:
    """Return an array of zeros, of the storage type `stype` (see ``nd.sparse.zeros``)."""
    return sparse.zeros(stype, shape, ctx, dtype)


def ones(shape: Shape, ctx: Ctx = None, dtype: Any = None) -> NDArray:
    """Return an array of ones."""
    return wrap(np.ones(shape, dtype_of(dtype)), ctx)


def full(shape: Shape, val: Any, ctx: Ctx = None, dtype: Any = "float32") -> NDArray:
    """Return an array of one value."""
    return wrap(np.full(shape, val, dtype_of(dtype)), ctx)


@operator
def zeros_like(data: Any) -> Any:
    """Return zeros of the shape, dtype and context of `data`."""
    return np.zeros_like(data)


@operator
def ones_like(data: Any) -> Any:
    """Return ones of the shape, dtype and context of `data`."""
    return np.ones_like(data)


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1.0,
    repeat: int = 1,
    ctx: Ctx = None,
    dtype: Any = "float32",
) -> NDArray:
    """Return ``start + i * step`` below `stop`, each `repeat` times in a row.

    With one number, from 0 to it. MXNet 1.9.1 refuses an empty range; here it is
    an empty array.

    Raises
    ------
    ValueError
        If `step` is 0 or `repeat` is not positive.
    """
    if step == 0:
        raise ValueError("Range does not support step=0, received 0")
    if repeat <= 0:
        raise ValueError(f"Range only supports repeat > 0, received {repeat}")
    if stop is None:
        start, stop = 0, start
    dtype = dtype_of(dtype)
    count = math.ceil((stop - start) / step)
    # In the dtype itself, as MXNet computes, so that float32 values are the same.
    kind = np.promote_types(dtype, np.float32).type if dtype.kind in "fV" else dtype.type
    values = np.arange(count).astype(kind) * kind(step) + kind(start)
    return wrap(np.repeat(values.astype(dtype, copy=False), repeat), ctx)


def waitall() -> None:
    """Do nothing: the values are always there."""


def _path(fname: Any) -> str:
    path = os.fspath(fname) if isinstance(fname, os.PathLike) else fname
    if not isinstance(path, str):
        raise TypeError(f"fname required to be a string or os.PathLike, not {type(path).__name__}")
    return path.removeprefix("file://")


def _checked(data: Any) -> Any:
    """Return `data` if MXNet could save it, in plain containers, NDArrays as plain arrays."""
    if isinstance(data, (np.ndarray, SparseArray)):
        return _plain(data)
    wrong = "save only accept dict str->NDArray or list of NDArray"
    if isinstance(data, dict):
        for key, item in data.items():
            if not isinstance(key, str):
                raise TypeError(f"{wrong}, but key {key!r} is of type {type(key).__name__}")
            if not isinstance(item, (np.ndarray, SparseArray)):
                raise TypeError(f"{wrong}, but item {key!r} is of type {type(item).__name__}")
        return {key: _plain(item) for key, item in data.items()}
    if isinstance(data, list):
        for number, item in enumerate(data):
            if not isinstance(item, (np.ndarray, SparseArray)):
                raise TypeError(f"{wrong}, but item {number} is of type {type(item).__name__}")
        return [_plain(item) for item in data]
    raise ValueError(
        "data needs to either be a NDArray, dict of str, NDArray pairs or a list of NDarrays, "
        f"not {type(data).__name__}"
    )


def _plain(array: np.ndarray[Any, Any] | SparseArray) -> np.ndarray[Any, Any] | SparseArray:
    # Not other subclasses: a masked array is more than its data.
    return np.asarray(array) if isinstance(array, NDArray) else array


def _dressed(loaded: Any, name: str) -> list[Any] | dict[str, Any]:
    """Return loaded arrays as NDArrays, in the same memory."""
    if isinstance(loaded, (np.ndarray, SparseArray)):
        return _apart([loaded])
    if isinstance(loaded, (list, tuple)) and _all(_SAVED, loaded):
        return _apart(loaded)
    if isinstance(loaded, dict) and _all(str, loaded) and _all(_SAVED, loaded.values()):
        return dict(zip(loaded, _apart(loaded.values()), strict=True))
    raise UnsupportedError(
        f"{name} holds more than nd can express, which is one array, a list or a dict of "
        "arrays; mxio.load reads it"
    )


_SAVED = (np.ndarray, SparseArray, NoneType)


def _all(cls: type | tuple[type, ...], items: Iterable[object]) -> bool:
    return all(isinstance(item, cls) for item in items)


def _apart(items: Collection[Any]) -> list[Any]:
    """Return NDArrays and sparse arrays of which no two share memory.

    mxio keeps an array saved under two names as one, MXNet loads it as two: the
    second is a copy here.
    """
    residents: Counter[int] = Counter()
    for item in items:
        parts = item.parts.values() if isinstance(item, SparseArray) else (item,)
        residents.update(id(part.base) for part in parts if part is not None)
    seen: set[int] = set()

    def apart(item: np.ndarray[Any, Any]) -> NDArray:
        array = item.view(NDArray)
        if array.nbytes and residents[id(item.base)] > 1:
            start = item.ctypes.data
            if start in seen:
                array = array.copy(order="K")
            seen.add(start)
        return array

    arrays: list[Any] = []
    for item in items:
        if isinstance(item, SparseArray):
            own: dict[str, Any] = {name: apart(part) for name, part in item.parts.items()}
            item = sparse.dress(SparseArray(item.stype, item.shape, **own), cpu())
        elif item is not None:
            item = apart(item)
        arrays.append(item)
    return arrays


def __getattr__(name: str) -> Any:
    if not name.startswith("_") and hasattr(np, name):
        raise AttributeError(f"mxio.nd has no {name!r}, but numpy.{name} takes NDArrays")
    raise AttributeError(f"module 'mxio.nd' has no attribute {name!r}")
