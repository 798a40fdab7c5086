# SPDX-License-Identifier: Apache-2.0
"""Operators that choose items by the numbers in another array."""

from __future__ import annotations

from typing import Any

import numpy as np

from mxio.nd._layers import axis_of, within
from mxio.nd._operator import Array, operator
from mxio.nd.ndarray import dtype_of

__all__ = [
    "SequenceLast",
    "SequenceMask",
    "SequenceReverse",
    "batch_take",
    "choose_element_0index",
    "diag",
    "gather_nd",
    "one_hot",
    "pick",
    "scatter_nd",
    "take",
]


def positions(numbers: Any, n: int, mode: str, what: str) -> Array:
    """Return numbers as positions among `n`, after their fraction is cut off."""
    index: Array = np.asarray(numbers)
    if mode == "clip":
        return within(index, n)
    if mode not in ("wrap", "raise"):
        raise ValueError(f"{what} has no mode {mode!r}: it is 'clip', 'wrap' or 'raise'")
    if index.dtype.kind not in "iu":
        index = np.nan_to_num(index).astype(np.int64)
    if index.size and not n:
        raise ValueError(f"{what} has nothing to take: the axis has no items")
    if mode == "wrap":
        return (index % n).astype(np.intp) if n else index.astype(np.intp)
    if index.size and (index.min() < 0 or index.max() >= n):
        worst = index.min() if index.min() < 0 else index.max()
        raise IndexError(f"{what} has no item {worst}: there are {n}")
    return index.astype(np.intp)


@operator
def take(a: Any, indices: Any, axis: int | None = 0, mode: str = "clip") -> Any:
    """Return the items at some positions of an axis.

    Parameters
    ----------
    a : array
    indices : array
        Of any shape, which takes the place of the axis.
    axis : int or None, default 0
        None takes all as one row.
    mode : {'clip', 'wrap', 'raise'}
        Whether a position out of range is the first or the last, counted around, or an
        IndexError.
    """
    a = np.asarray(a)
    if axis is None:
        a, axis = a.reshape(-1), 0
    axis = axis_of(axis, a.ndim, "take")
    return np.take(a, positions(indices, a.shape[axis], mode, "take"), axis)


@operator
def pick(
    data: Any, index: Any, axis: int | None = -1, keepdims: bool = False, mode: str = "clip"
) -> Any:
    """Return one item for each place, by its position along an axis.

    Parameters
    ----------
    data : array
    index : array
        Of the shape of `data` without `axis`, or with 1 there.
    axis : int, default -1
    keepdims : bool, default False
        Whether an axis of 1 stays.
    mode : {'clip', 'wrap'}
        Whether a position out of range is the first or the last, or counted around.
    """
    data, index = np.asarray(data), np.asarray(index)
    if axis is None:
        data, axis = data.reshape(-1), 0
    axis = axis_of(axis, data.ndim, "pick")
    kept = (*data.shape[:axis], 1, *data.shape[axis + 1 :])
    if index.shape not in (kept, kept[:axis] + kept[axis + 1 :]):
        raise ValueError(
            f"index has shape {index.shape}, but data of shape {data.shape} asks for "
            f"{kept[:axis] + kept[axis + 1 :]}"
        )
    where = positions(index.reshape(kept), data.shape[axis], mode, "pick")
    found = np.take_along_axis(data, where, axis)
    return found if keepdims else found.squeeze(axis)


@operator
def batch_take(a: Any, indices: Any) -> Any:
    """Return ``a[i, indices[i]]`` for each row of a matrix; see `pick`."""
    return _of_rows(a, indices, "batch_take")


@operator
def choose_element_0index(lhs: Any, rhs: Any) -> Any:
    """Return ``lhs[i, rhs[i]]`` for each row of a matrix; see `pick`."""
    return _of_rows(lhs, rhs, "choose_element_0index")


def _of_rows(a: Any, indices: Any, what: str) -> Array:
    a, indices = np.asarray(a), np.asarray(indices)
    if a.ndim != 2 or indices.shape != a.shape[:1]:
        raise ValueError(
            f"{what} needs a matrix and one number a row, not {a.shape} and {indices.shape}"
        )
    found: Array = a[np.arange(len(a)), within(indices, a.shape[1])]
    return found


@operator
def one_hot(
    indices: Any,
    depth: int,
    on_value: float = 1.0,
    off_value: float = 0.0,
    dtype: Any = "float32",
) -> Any:
    """Return a row for each number: `on_value` at its position, `off_value` elsewhere.

    Parameters
    ----------
    indices : array
        The row of a number out of range is all `off_value`.
    depth : int
        The length of a row.
    dtype : dtype, default float32
    """
    index = np.asarray(indices)
    if index.dtype.kind not in "iu":
        index = np.trunc(index)
    y = np.full((*index.shape, depth), off_value, dtype_of(dtype))
    y[index[..., None] == np.arange(depth)] = np.asarray(on_value).astype(y.dtype)
    return y


def _coordinates(indices: Array, shape: tuple[int, ...], what: str) -> tuple[Array, ...]:
    if not indices.ndim or len(indices) > len(shape):
        raise ValueError(
            f"{what} needs a row of indices for each of {len(shape)} axes at most, "
            f"not indices of shape {indices.shape}"
        )
    rows = []
    for axis, row in enumerate(indices.astype(np.int64)):
        n = shape[axis]
        if row.size and (row.min() < -n or row.max() >= n):
            worst = row.min() if row.min() < -n else row.max()
            raise IndexError(f"index {worst} is out of bounds for axis {axis} with size {n}")
        rows.append(row % n if n else row)
    return tuple(rows)


@operator
def gather_nd(data: Any, indices: Any) -> Any:
    """Return ``data[indices[0], indices[1], ...]``.

    Parameters
    ----------
    data : array
    indices : array
        One row for each of the first axes; they count from the end below 0.

    Raises
    ------
    IndexError
        For a number out of range.
    """
    data = np.asarray(data)
    return data[_coordinates(np.asarray(indices), data.shape, "gather_nd")]


@operator
def scatter_nd(data: Any, indices: Any, shape: Any) -> Any:
    """Return zeros with ``y[indices[0], indices[1], ...] = data``; of a place twice the last."""
    data = np.asarray(data)
    y = np.zeros(shape, data.dtype)
    y[_coordinates(np.asarray(indices), y.shape, "scatter_nd")] = data
    return y


@operator
def diag(data: Any, k: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the diagonal, or of a vector the matrix that has it.

    Parameters
    ----------
    data : array
    k : int, default 0
        How far above the main diagonal, or below if it is negative.
    axis1, axis2 : int
        Those of the matrices, for which an axis of their diagonals stands last.
    """
    data = np.asarray(data)
    if data.ndim == 1:
        return np.diag(data, k)
    found = np.diagonal(data, k, axis1, axis2)
    if not found.shape[-1]:
        raise ValueError(f"an array of shape {data.shape} has no diagonal k={k}")
    return found


def _lengths(data: Array, length: Any, used: bool, axis: int, what: str) -> Array | None:
    if axis not in (0, 1) or data.ndim < 2:
        raise ValueError(f"{what} needs 2 dimensions or more, and axis=0 or axis=1, not {axis}")
    if not used:
        return None
    batch = data.shape[1 - axis]
    if length is None or np.shape(length) != (batch,):
        raise ValueError(
            f"{what} needs a sequence_length of shape ({batch},), not {np.shape(length)}"
        )
    return np.asarray(length).astype(np.int64)


@operator
def SequenceMask(
    data: Any,
    sequence_length: Any = None,
    use_sequence_length: bool = False,
    value: float = 0.0,
    axis: int = 0,
) -> Any:
    """Return the array with `value` behind the end of each sequence.

    Parameters
    ----------
    data : array of shape (length, batch, ...), or (batch, length, ...) with ``axis=1``
    sequence_length : array of shape (batch,), optional
    use_sequence_length : bool, default False
        Whether sequences have lengths; else nothing is replaced.
    value : float, default 0
    axis : {0, 1}
    """
    data = np.asarray(data)
    lengths = _lengths(data, sequence_length, use_sequence_length, axis, "SequenceMask")
    if lengths is None:
        return data
    step = np.arange(data.shape[axis])
    behind = step[:, None] >= lengths if axis == 0 else step >= lengths[:, None]
    y = data.copy()
    y[behind] = np.asarray(value).astype(data.dtype)
    return y


@operator
def SequenceLast(
    data: Any, sequence_length: Any = None, use_sequence_length: bool = False, axis: int = 0
) -> Any:
    """Return the last item of each sequence; see `SequenceMask`.

    Raises
    ------
    IndexError
        For a length that is not 1 to the longest. (MXNet 1.9.1 reads other memory.)
    """
    data = np.asarray(data)
    lengths = _lengths(data, sequence_length, use_sequence_length, axis, "SequenceLast")
    if lengths is None:
        return data.take(-1, axis=axis)
    where = positions(lengths - 1, data.shape[axis], "raise", "SequenceLast")
    batch = np.arange(len(where))
    return data[where, batch] if axis == 0 else data[batch, where]


@operator
def SequenceReverse(
    data: Any, sequence_length: Any = None, use_sequence_length: bool = False, axis: int = 0
) -> Any:
    """Return the items of each sequence in reverse, what is behind its end in place.

    Of a length of 0 MXNet 1.9.1 exchanges items of other sequences; here nothing moves.

    Parameters
    ----------
    data : array of shape (length, batch, ...)
    sequence_length : array of shape (batch,), optional
    use_sequence_length : bool, default False
        Whether sequences have lengths; else all are reversed whole.
    axis : {0}
    """
    data = np.asarray(data)
    if axis != 0:
        raise ValueError(f"SequenceReverse knows axis=0 only, not {axis}")
    lengths = _lengths(data, sequence_length, use_sequence_length, axis, "SequenceReverse")
    if lengths is None:
        return data[::-1]
    step = np.arange(len(data))[:, None]
    where = np.where(step < lengths, np.minimum(lengths, len(data)) - 1 - step, step)
    return data[where, np.arange(data.shape[1])]
