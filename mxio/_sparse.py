# SPDX-License-Identifier: Apache-2.0
"""A sparse array as its parts: a carrier between memory and files, not an algebra.

Files hold the parts as they are, also nonsense: MXNet loads arrays whose indices are out of
order or out of range, so such a file must load here too. The constructor asks only what makes
the parts fit together; `SparseArray.check` judges the values, and `SparseArray.toarray` looks
at every index before it goes by it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from mxio.errors import clip

__all__ = ["PARTS", "SparseArray"]

Array = np.ndarray[Any, Any]

# The parts of each storage type, in their order in files; never change.
PARTS = {"csr": ("data", "indptr", "indices"), "row_sparse": ("data", "indices")}

_MAX_DIM = 2**63 - 1


class SparseArray:
    """A sparse array, as its parts.

    ``csr`` is a matrix that stores some items of each row: those of row *r* are
    ``data[indptr[r]:indptr[r + 1]]``, in the columns ``indices[indptr[r]:indptr[r + 1]]``.
    ``row_sparse`` is an array that stores some of its rows (its items along the first
    axis): ``data[k]`` is row ``indices[k]``. All else is zero.

    Parameters
    ----------
    stype : {'csr', 'row_sparse'}
    shape : sequence of int
        Of the whole array: two dims for csr, one or more for row_sparse.
    data : array
        csr: ``(nnz,)``; row_sparse: ``(n_rows, *shape[1:])``.
    indices : array of int
        csr: ``(nnz,)``, columns; row_sparse: ``(n_rows,)``, rows.
    indptr : array of int, for csr only
        ``(shape[0] + 1,)``.

    Attributes
    ----------
    stype, shape, data, indices, indptr
        As given: no part is copied or converted, sequences become arrays.

    Raises
    ------
    TypeError, ValueError
        The parts are not of one sparse array. Values are not looked at; see `check`.

    Examples
    --------
    >>> import numpy as np
    >>> x = SparseArray('row_sparse', (4, 2), np.ones((1, 2)), np.array([2]))
    >>> x
    <mxio.SparseArray row_sparse float64 (4, 2): 1 of 4 rows>
    >>> x.toarray()[2]
    array([1., 1.])
    """

    stype: str
    shape: tuple[int, ...]
    data: Array
    indices: Array
    indptr: Array | None

    def __init__(
        self, stype: str, shape: Sequence[int], data: Any, indices: Any, indptr: Any = None
    ) -> None:
        if not isinstance(stype, str) or stype not in PARTS:
            raise ValueError(f"stype is 'csr' or 'row_sparse', not {clip(repr(stype))}")
        self.stype = stype
        self.shape = _shape(shape, stype)
        self.data = _array(data)
        self.indices = _array(indices)
        self.indptr = None if indptr is None else _array(indptr)
        self._check_parts()

    def _check_parts(self) -> None:
        n_items, n_indices = _vector_length(self.data, "data"), len(self.indices.shape)
        if n_indices != 1:
            raise ValueError(f"indices have 1 dimension, not {n_indices}")
        if self.indices.shape[0] != n_items:
            raise ValueError(f"{n_items} items in data, but {self.indices.shape[0]} in indices")
        if self.stype == "csr":
            if self.indptr is None:
                raise ValueError("a csr array needs indptr")
            for name, part in (("data", self.data), ("indptr", self.indptr)):
                if (ndim := len(part.shape)) != 1:
                    raise ValueError(f"{name} of a csr array has 1 dimension, not {ndim}")
            return
        if self.indptr is not None:
            raise ValueError("a row_sparse array has no indptr")
        if tuple(self.data.shape[1:]) != self.shape[1:]:
            raise ValueError(
                f"data has rows of shape {tuple(self.data.shape[1:])}, "
                f"but those of shape {self.shape} are {self.shape[1:]}"
            )

    @property
    def parts(self) -> dict[str, Array]:
        """The parts by name, in their order in files."""
        return {name: getattr(self, name) for name in PARTS[self.stype]}

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the items."""
        dtype: np.dtype[Any] = self.data.dtype
        return dtype

    @property
    def ndim(self) -> int:
        """The number of dims of the whole array."""
        return len(self.shape)

    @property
    def nnz(self) -> int:
        """How many items are stored, zeros among them."""
        return math.prod(self.data.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes the parts take."""
        return sum(part.nbytes for part in self.parts.values())

    def __repr__(self) -> str:
        stored = f"{self.nnz} stored"
        if self.stype == "row_sparse":
            stored = f"{self.data.shape[0]} of {self.shape[0]} rows"
        return f"<mxio.SparseArray {self.stype} {self.dtype} {self.shape}: {stored}>"

    def check(self, full: bool = True) -> None:
        """Raise ValueError unless the values of the parts are those of a sparse array.

        Parameters
        ----------
        full : bool, default True
            False: only that indices are integers and how many there are, without
            looking at one.

        Raises
        ------
        ValueError
            What is wrong: the parts do not fit `shape`, an index is out of range, or
            the indices (of each row of a csr array) do not ascend.

        Examples
        --------
        >>> import numpy as np
        >>> SparseArray('row_sparse', (4,), np.ones(2), np.array([1, 4])).check()
        Traceback (most recent call last):
            ...
        ValueError: indices[1] is row 4 of an array of 4 rows
        """
        for name in PARTS[self.stype][1:]:
            _check_integers(getattr(self, name), name)
        if self.indptr is not None and self.indptr.shape[0] != self.shape[0] + 1:
            raise ValueError(
                f"indptr of {self.shape[0]} rows has {self.shape[0] + 1} items, "
                f"not {self.indptr.shape[0]}"
            )
        if full:
            self._check_values()

    def _check_values(self) -> None:
        _, within = self._places()
        if within is not None:
            raise ValueError(within)

    def toarray(self) -> Array:
        """Return the whole array, zeros included, as a new ``numpy.ndarray`` in C order.

        Raises
        ------
        ValueError
            An index is out of range, an item is stored twice, or indptr is not that of
            the shape: named. Items out of order do no harm.
        MemoryError
            There is not that much memory.
        """
        self.check(full=False)
        places, unordered = self._places()
        if unordered is not None:
            _check_once(places)
        dense: Array = np.zeros(self.shape, self.dtype)
        dense[places] = np.asarray(self.data)
        return dense

    def _places(self) -> tuple[tuple[Array, ...], str | None]:
        """Return where in the whole array the items go, and what is wrong with their order."""
        indices = np.asarray(self.indices)
        if self.indptr is None:
            _check_range(indices, self.shape[0], "row")
            at = _first(indices[1:] <= indices[:-1])
            order = (
                None
                if at is None
                else f"rows ascend, but indices[{at}:{at + 2}] are {indices[at]}, {indices[at + 1]}"
            )
            return (_int64(indices),), order
        counts = self._counts()
        _check_range(indices, self.shape[1], "column")
        rows = np.repeat(np.arange(self.shape[0]), counts)
        at = _first((indices[1:] <= indices[:-1]) & (rows[1:] == rows[:-1]))
        order = (
            None
            if at is None
            else f"columns ascend in each row, but indices[{at}:{at + 2}] are "
            f"{indices[at]}, {indices[at + 1]} in row {rows[at]}"
        )
        return (rows, _int64(indices)), order

    def _counts(self) -> Array:
        """Return how many items each row of a csr array has."""
        indptr = np.asarray(self.indptr)
        n_items = self.data.shape[0]
        at = _first((indptr < 0) | (indptr > n_items))
        if at is not None:
            raise ValueError(f"indptr[{at}] is {indptr[at]}, but {n_items} items are stored")
        indptr = _int64(indptr)
        if indptr[0] != 0:
            raise ValueError(f"indptr starts with 0, not {indptr[0]}")
        at = _first(indptr[1:] < indptr[:-1])
        if at is not None:
            raise ValueError(
                f"indptr never falls, but indptr[{at}:{at + 2}] are {indptr[at]}, {indptr[at + 1]}"
            )
        if indptr[-1] != n_items:
            raise ValueError(f"indptr ends with {indptr[-1]}, but {n_items} items are stored")
        return np.diff(indptr)


def _shape(shape: Sequence[int], stype: str) -> tuple[int, ...]:
    try:
        dims = tuple(operator.index(dim) for dim in shape)
    except TypeError:
        raise TypeError(f"shape is a sequence of int, not {clip(repr(shape))}") from None
    if stype == "csr" and len(dims) != 2:
        raise ValueError(f"a csr array has 2 dimensions, not {len(dims)}")
    if not dims:
        raise ValueError("a row_sparse array has 1 dimension or more, not 0")
    for dim in dims:
        if not 0 <= dim <= _MAX_DIM:
            raise ValueError(f"a dimension is 0 to 2^63 - 1, not {dim}")
    return dims


def _array(part: Any) -> Array:
    """Return a part as it is if it is an array of any kind, lazy ones too."""
    return part if hasattr(part, "shape") else np.asarray(part)


def _vector_length(part: Any, name: str) -> int:
    if not part.shape:
        raise ValueError(f"{name} has 1 dimension or more, not 0")
    return int(part.shape[0])


def _check_integers(part: Any, name: str) -> None:
    if np.dtype(part.dtype).kind not in "iu":
        raise ValueError(f"{name} holds integers, not {part.dtype}")


def _check_range(indices: Array, extent: int, what: str) -> None:
    at = _first((indices < 0) | (indices >= extent))
    if at is not None:
        raise ValueError(f"indices[{at}] is {what} {indices[at]} of an array of {extent} {what}s")


def _check_once(places: tuple[Array, ...]) -> None:
    """Raise ValueError if two items would go to one place: who is right cannot be told."""
    order = np.lexsort(places[::-1])
    same = np.ones(max(len(order) - 1, 0), np.bool_)
    for axis in places:
        along = axis[order]
        same &= along[1:] == along[:-1]
    at = _first(same)
    if at is not None:
        place = [int(axis[order[at]]) for axis in places]
        where = f"row {place[0]}" + (f", column {place[1]}" if len(place) > 1 else "")
        raise ValueError(f"{where} is stored twice")


def _first(wrong: Array) -> int | None:
    """Return the number of the first item that is true."""
    at = int(wrong.argmax()) if wrong.size else 0
    return at if wrong.size and wrong[at] else None


def _int64(indices: Array) -> Array:
    return indices.astype(np.int64, copy=False)  # in range by now, whatever they were
