# SPDX-License-Identifier: Apache-2.0
"""MXNet's ``nd.sparse``: csr and row_sparse arrays with MXNet's names, to carry, not to compute.

The functions have the arguments of MXNet 1.9.1 and its results, measured; where they differ,
the docstring says so. For arithmetic on a csr array ask ``asscipy``, or make it dense.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from mxio._sparse import PARTS, SparseArray
from mxio.context import Context
from mxio.errors import described
from mxio.nd.ndarray import SPARSE, NDArray, dtype_of, wrap

__all__ = [
    "BaseSparseNDArray",
    "CSRNDArray",
    "RowSparseNDArray",
    "array",
    "csr_matrix",
    "dress",
    "empty",
    "row_sparse_array",
    "zeros",
]

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Ctx: TypeAlias = "Context | str | None"
Self = TypeVar("Self", bound="BaseSparseNDArray")


class BaseSparseNDArray(SparseArray):
    """What `CSRNDArray` and `RowSparseNDArray` have in common.

    The parts are NDArrays, whose memory is the array's own; indices are int64, unless a
    file has others that are no integers at all. MXNet 1.9.1 has no ``size``.
    """

    data: NDArray
    indices: NDArray
    indptr: NDArray | None

    def __init__(
        self,
        stype: str,
        shape: Sequence[int],
        data: Any,
        indices: Any,
        indptr: Any = None,
        ctx: Ctx = None,
    ) -> None:
        super().__init__(stype, shape, data, indices, indptr)
        for name in PARTS[stype]:
            part = np.asarray(getattr(self, name))
            if name != "data" and part.dtype.kind in "iu":
                part = part.astype(np.int64, copy=False)
            setattr(self, name, wrap(part, ctx))

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"\n<{type(self).__name__} {shape} @{self.context}>"

    def __len__(self) -> int:
        return self.shape[0]

    def __bool__(self) -> bool:
        if self.size > 1:
            raise ValueError("The truth value of an NDArray with multiple elements is ambiguous.")
        return bool(self.toarray().any())

    @property
    def context(self) -> Context:
        """The device this array is labelled with."""
        return self.data.context

    ctx = context

    @property
    def size(self) -> int:
        """The number of items of the whole array, stored or not."""
        return math.prod(self.shape)

    def asnumpy(self) -> Array:
        """Return the whole array as a new ``numpy.ndarray``; see `SparseArray.toarray`."""
        return self.toarray()

    def tostype(self, stype: str) -> Any:
        """Return a copy of the storage type ``'default'``, which is dense, or of this one.

        Raises
        ------
        ValueError
            For another storage type, or an array that `asnumpy` refuses.
        """
        if stype == "default":
            return wrap(self.toarray(), self.context)
        if stype == self.stype:
            return self.copy()
        if stype in PARTS:
            raise ValueError(
                f"cast_storage from {self.stype} to {stype} is not supported; "
                "use .tostype('default') in between"
            )
        raise ValueError(f"no storage type {stype!r}: it is 'default' or {self.stype!r} here")

    def _copied(self: Self, dtype: Any, ctx: Ctx = None) -> Self:
        """Return a copy of a dtype."""
        parts = {name: np.array(part, subok=False) for name, part in self.parts.items()}
        parts["data"] = parts["data"].astype(dtype, copy=False)
        copied: Self = _CLASSES[self.stype](self.shape, ctx=ctx or self.context, **parts)
        return copied

    def copy(self: Self) -> Self:
        """Return a copy in memory of its own."""
        return self._copied(self.dtype)

    def astype(self: Self, dtype: Any, copy: bool = True) -> Self:
        """Return the array with its data converted to a dtype.

        Parameters
        ----------
        dtype : dtype
        copy : bool, default True
            False: this array if it is of that dtype.
        """
        dtype = dtype_of(dtype)
        if not copy and self.dtype == dtype:
            return self
        return self._copied(dtype)

    def as_in_context(self: Self, context: Context) -> Self:
        """Return this array if it is labelled ``context``, else a copy that is."""
        return self if self.context == context else self._copied(self.dtype, context)

    def copyto(self, other: Any) -> Any:
        """Write the values into another array, or copy this one to a context.

        Parameters
        ----------
        other : NDArray, numpy.ndarray, sparse array of this storage type, or Context
            An array of the same shape; its dtype and its context stay.

        Returns
        -------
        `other`, or the copy.

        Raises
        ------
        ValueError
            If the shapes differ.
        TypeError
            For another kind of `other`.
        """
        if isinstance(other, Context):
            return self._copied(self.dtype, other)
        sparse = isinstance(other, BaseSparseNDArray) and other.stype == self.stype
        if not sparse and not isinstance(other, np.ndarray):
            raise TypeError(f"copyto does not support type {type(other)}")
        if other.shape != self.shape:
            raise ValueError(f"cannot copy shape {self.shape} to shape {other.shape}")
        if not sparse:
            np.copyto(other, self.toarray(), casting="unsafe")
        elif other is not self:
            vars(other).update(vars(self._copied(other.dtype, other.context)))
        return other

    def check_format(self, full_check: bool = True) -> None:
        """Raise ValueError unless this is a sound sparse array; see `SparseArray.check`.

        Parameters
        ----------
        full_check : bool, default True
            False: without looking at the values of the indices.
        """
        self.check(full_check)

    def wait_to_read(self) -> None:
        """Do nothing: the values are always there."""


class CSRNDArray(BaseSparseNDArray):
    """A sparse matrix by rows. Make one with `csr_matrix`; see `SparseArray` for its parts.

    Examples
    --------
    >>> x = csr_matrix([[0, 1], [0, 0], [2, 3]])
    >>> x
    <BLANKLINE>
    <CSRNDArray 3x2 @cpu(0)>
    >>> x.indptr.asnumpy()
    array([0, 1, 1, 3])
    """

    indptr: NDArray

    def __init__(
        self, shape: Sequence[int], data: Any, indices: Any, indptr: Any, ctx: Ctx = None
    ) -> None:
        super().__init__("csr", shape, data, indices, indptr, ctx)

    def asscipy(self) -> Any:
        """Return a ``scipy.sparse.csr_matrix`` of the same memory.

        Raises
        ------
        ImportError
            SciPy is not installed.
        ValueError
            SciPy refuses the parts.
        """
        try:
            scipy_sparse = importlib.import_module("scipy.sparse")
        except ImportError as exc:
            raise ImportError("asscipy needs SciPy: pip install scipy") from exc
        self.check(full=False)
        parts = (self.data, self.indices, self.indptr)
        return scipy_sparse.csr_matrix(tuple(map(np.asarray, parts)), shape=self.shape)


class RowSparseNDArray(BaseSparseNDArray):
    """An array of which some rows are stored. Make one with `row_sparse_array`.

    Examples
    --------
    >>> x = row_sparse_array(([[1, 2], [3, 4]], [0, 2]), shape=(3, 2))
    >>> x
    <BLANKLINE>
    <RowSparseNDArray 3x2 @cpu(0)>
    >>> x.asnumpy()
    array([[1., 2.],
           [0., 0.],
           [3., 4.]], dtype=float32)
    """

    def __init__(self, shape: Sequence[int], data: Any, indices: Any, ctx: Ctx = None) -> None:
        super().__init__("row_sparse", shape, data, indices, None, ctx)


_CLASSES: dict[str, Any] = {"csr": CSRNDArray, "row_sparse": RowSparseNDArray}


def dress(sparse: SparseArray, ctx: Ctx = None) -> Any:
    """Return a sparse array as a `CSRNDArray` or a `RowSparseNDArray`, in the same memory."""
    return _CLASSES[sparse.stype](sparse.shape, ctx=ctx, **sparse.parts)


# ---- making them -----------------------------------------------------------------------------


def csr_matrix(
    arg1: Any, shape: Sequence[int] | None = None, ctx: Ctx = None, dtype: Any = None
) -> CSRNDArray:
    """Make a csr array.

    Parameters
    ----------
    arg1 : array-like of 2 dims, CSRNDArray, SciPy sparse matrix, or tuple
        ``(rows, columns)`` for a matrix without items, ``(data, indices, indptr)``, or
        ``(data, (row, column))``, in any order; items of one place are added. All is copied.
    shape : tuple of int, optional
        None: that of `arg1`; as many rows as indptr or row says, as many columns as the
        largest index asks for.
    dtype : dtype, optional
        None: that of an array; of lists float32, but NumPy's for ``(data, (row, column))``.

    Raises
    ------
    ValueError
        The parts do not fit each other or `shape`. Values of indices are not looked at; see
        `BaseSparseNDArray.check_format`.
    TypeError
        For an `arg1` of another kind.

    Examples
    --------
    >>> csr_matrix(([1, 2, 3], ([0, 2, 2], [1, 0, 1])), shape=(3, 4)).asnumpy()
    array([[0, 1, 0, 0],
           [0, 0, 0, 0],
           [2, 3, 0, 0]])
    """
    if isinstance(arg1, tuple):
        if _are_ints(arg1):
            return zeros("csr", _same_shape(arg1, shape), ctx, dtype)  # type: ignore[no-any-return]
        if len(arg1) == 2:
            return _csr_from_places(*arg1, shape, ctx, dtype)
        if len(arg1) != 3:
            raise ValueError(f"Unexpected length of input tuple: {len(arg1)}; it is 2 or 3")
        data = _copied(arg1[0], dtype)
        indices, indptr = (
            _indices(part, name) for part, name in zip(arg1[1:], _NAMES, strict=True)
        )
        if shape is None:
            shape = (max(len(indptr) - 1, 0), _extent(indices, "columns"))
        return CSRNDArray(shape, data, indices, indptr, ctx)
    if isinstance(arg1, SparseArray) or hasattr(arg1, "tocsr"):
        return _copy_of(arg1, "csr", shape, ctx, dtype)  # type: ignore[no-any-return]
    dense = _dense(arg1, dtype)
    if dense.ndim != 2:
        raise ValueError(
            "To convert to a CSR, the NDArray should be 2 Dimensional. "
            f"Current shape is {dense.shape}"
        )
    _same_shape(dense.shape, shape)
    rows, columns = np.nonzero(dense)
    return CSRNDArray(dense.shape, dense[rows, columns], columns, _indptr(rows, len(dense)), ctx)


_NAMES = ("indices", "indptr")


def row_sparse_array(
    arg1: Any, shape: Sequence[int] | None = None, ctx: Ctx = None, dtype: Any = None
) -> RowSparseNDArray:
    """Make a row_sparse array.

    Parameters
    ----------
    arg1 : array-like, RowSparseNDArray, or tuple
        ``(d0, d1, …)`` for an array without stored rows, or ``(data, indices)``. All is
        copied. Of an array-like the rows with an item other than zero are stored.
    shape : tuple of int, optional
        None: that of `arg1`; as many rows as the largest index asks for. (MXNet 1.9.1
        goes by the last one.)
    dtype : dtype, optional
        None: that of an array; float32 of lists.

    Raises
    ------
    ValueError, TypeError
        As `csr_matrix`.

    Examples
    --------
    >>> row_sparse_array([[0, 0], [1, 0]]).indices.asnumpy()
    array([1])
    """
    if isinstance(arg1, tuple):
        if len(arg1) < 2:
            raise ValueError(
                f"Unexpected length of input tuple: {len(arg1)}; it is (data, indices) or a shape"
            )
        if len(arg1) > 2 or _are_ints(arg1):
            return zeros("row_sparse", _same_shape(arg1, shape), ctx, dtype)  # type: ignore[no-any-return]
        data, indices = _copied(arg1[0], dtype), _indices(arg1[1], "indices")
        if shape is None:
            shape = (_extent(indices, "rows"), *data.shape[1:])
        return RowSparseNDArray(shape, data, indices, ctx)
    if isinstance(arg1, SparseArray):
        return _copy_of(arg1, "row_sparse", shape, ctx, dtype)  # type: ignore[no-any-return]
    dense = _dense(arg1, dtype)
    if not dense.ndim:
        raise ValueError("a row_sparse array has 1 dimension or more, not 0")
    _same_shape(dense.shape, shape)
    (rows,) = np.nonzero((dense != 0).any(axis=tuple(range(1, dense.ndim))))
    return RowSparseNDArray(dense.shape, dense[rows], rows, ctx)


def zeros(stype: str, shape: int | Sequence[int], ctx: Ctx = None, dtype: Any = None) -> Any:
    """Return an array in which nothing is stored; of zeros for the stype ``'default'``.

    Raises
    ------
    ValueError
        For another storage type, or a shape that it cannot have.
    """
    dtype = dtype_of(dtype)
    if stype == "default":
        return wrap(np.zeros(shape, dtype), ctx)
    dims, none = (shape,) if isinstance(shape, int) else tuple(shape), np.zeros(0, np.int64)
    if stype == "row_sparse":
        return RowSparseNDArray(dims, np.zeros((0, *dims[1:]), dtype), none, ctx)
    if stype != "csr":
        raise ValueError(f"no storage type {stype!r}: it is 'default', 'csr' or 'row_sparse'")
    _check_matrix(dims)
    return CSRNDArray(dims, np.zeros(0, dtype), none, np.zeros(dims[0] + 1, np.int64), ctx)


empty = zeros  # nothing stored is what an arbitrary sparse array is


def array(source_array: Any, ctx: Ctx = None, dtype: Any = None) -> Any:
    """Copy a sparse array, or make one of a SciPy matrix; its dtype stays if None.

    Raises
    ------
    ValueError
        For a dense array, which is ``nd.array``'s.
    """
    if isinstance(source_array, SparseArray):
        return _copy_of(source_array, source_array.stype, None, ctx, dtype)
    if hasattr(source_array, "tocsr"):
        return csr_matrix(source_array, None, ctx, dtype)
    raise ValueError(f"source_array is {described(source_array)}; use nd.array for dense arrays")


def _copy_of(source: Any, stype: str, shape: Sequence[int] | None, ctx: Ctx, dtype: Any) -> Any:
    if not isinstance(source, SparseArray):
        found = source.tocsr()
        _check_matrix(found.shape)
        source = SparseArray("csr", found.shape, found.data, found.indices, found.indptr)
    if source.stype != stype:
        raise ValueError(
            f"Unexpected input type: {type(source).__name__} of stype {source.stype}; "
            "use its .tostype('default')"
        )
    _same_shape(source.shape, shape)
    parts = {name: np.array(part, subok=False) for name, part in source.parts.items()}
    if dtype is not None:
        parts["data"] = parts["data"].astype(dtype_of(dtype), copy=False)
    return _CLASSES[stype](source.shape, ctx=ctx, **parts)


def _csr_from_places(
    data: Any, places: Any, shape: Sequence[int] | None, ctx: Ctx, dtype: Any
) -> CSRNDArray:
    """Make a csr array of items and where they are."""
    if not isinstance(places, (tuple, list)) or len(places) != 2:
        raise ValueError("a tuple of two is (rows, columns) or (data, (row, column))")
    items = np.array(data, None if dtype is None else dtype_of(dtype), subok=False)
    rows, columns = (_indices(part, name) for part, name in zip(places, _AXES, strict=True))
    if not len(items) == len(rows) == len(columns):
        raise ValueError(f"{len(items)} items in data, {len(rows)} rows, {len(columns)} columns")
    dims = (_extent(rows, "rows"), _extent(columns, "columns")) if shape is None else tuple(shape)
    _check_matrix(dims)
    for index, extent, name in zip((rows, columns), dims, _AXES, strict=True):
        if len(index) and not 0 <= index.min() <= index.max() < extent:
            wrong = index[(index < 0) | (index >= extent)][0]
            raise ValueError(f"{name} {wrong} is not one of {extent} {name}s")
    order = np.lexsort((columns, rows))
    items, rows, columns = items[order], rows[order], columns[order]
    new = np.ones(len(items), np.bool_)
    new[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
    if not new.all():
        items = np.add.reduceat(items, np.flatnonzero(new), dtype=items.dtype)
    return CSRNDArray(dims, items, columns[new], _indptr(rows[new], dims[0]), ctx)


_AXES = ("row", "column")


def _indptr(rows: Array, n_rows: int) -> Array:
    indptr = np.zeros(n_rows + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=n_rows), out=indptr[1:])
    return indptr


def _check_matrix(dims: Sequence[int]) -> None:
    if len(dims) != 2:
        raise ValueError(f"a csr array has 2 dimensions, not {len(dims)}")


def _are_ints(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, np.integer)) for value in values)


def _copied(source: Any, dtype: Any) -> Array:
    """Copy data that goes in as it is; lists are float32, as in MXNet."""
    if dtype is None and isinstance(source, (np.ndarray, np.generic)):
        return np.array(source, subok=False)
    return np.array(source, dtype_of(dtype), subok=False)


def _dense(source: Any, dtype: Any) -> Array:
    if hasattr(source, "tocsr"):
        raise TypeError(f"row_sparse_array takes no {type(source).__name__}; use csr_matrix")
    try:
        return _copied(source, dtype)
    except (TypeError, ValueError) as exc:
        raise TypeError(f"source_array must be array like object: {exc}") from exc


def _indices(source: Any, name: str) -> Array:
    """Return indices as int64: MXNet's own arrays of numbers are float32."""
    given = np.array(source, subok=False)
    if given.dtype.kind not in "iufb":
        raise TypeError(f"{name} holds integers, not {given.dtype}")
    with np.errstate(invalid="ignore"):
        indices = given.astype(np.int64)
    if given.dtype.kind == "f" and not np.array_equal(indices, given):
        raise ValueError(f"{name} holds integers, not {given[indices != given].flat[0]}")
    return indices


def _extent(indices: Array, what: str) -> int:
    if not indices.size:
        raise ValueError(f"no index says how many {what} there are: give shape=")
    return int(indices.max()) + 1


def _same_shape(found: Sequence[int], shape: Sequence[int] | None) -> tuple[int, ...]:
    if shape is not None and tuple(shape) != tuple(found):
        raise ValueError(f"Shape mismatch detected: {tuple(found)} v.s. {tuple(shape)}")
    return tuple(found)


SPARSE.update({"csr": csr_matrix, "row_sparse": row_sparse_array})
