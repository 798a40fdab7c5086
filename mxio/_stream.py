# SPDX-License-Identifier: Apache-2.0
"""Lazy arrays on their way into another file: piece by piece, never whole.

A plan wants to know shape, dtype and how an array lies, then its bytes in the order of
the file. `stand_in` answers the first with an array that has no memory, `Streams`
delivers the second. Small arrays are fetched together, large ones a piece at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from mxio import _core, _dtype
from mxio._lazy import LazyArray, read_entries
from mxio.errors import UnsupportedError

__all__ = ["Cast", "Encoded", "Streams", "stand_in"]

Array: TypeAlias = "np.ndarray[Any, Any]"

# An array that has to be turned from Fortran to C order is read whole up to this size;
# a longer one in strips, each of which reads from all over the file.
_TURNED_NBYTES = 16 << 20


class Cast:
    """A lazy array that is to be saved as another dtype."""

    def __init__(self, array: LazyArray, dtype: np.dtype[Any]) -> None:
        self.array = array
        self.dtype = dtype

    # So that a tree takes it for an array, also as a part of a sparse one.
    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def ndim(self) -> int:
        return self.array.ndim

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.array.read().astype(dtype or self.dtype)


def stand_in(leaf: LazyArray | Cast) -> tuple[Array, str]:
    """Return an array of that shape, dtype and order that has no memory, and its dtype on disk."""
    array = leaf if isinstance(leaf, LazyArray) else leaf.array
    name = array._entry.dtype if isinstance(leaf, LazyArray) else _dtype.name_of(leaf.dtype)
    return _core.stand_in(array.shape, _memory_dtype(leaf), array._entry.order), name


def _memory_dtype(leaf: LazyArray | Cast) -> np.dtype[Any]:
    """Return the dtype, or one of as many bits where NumPy lacks it."""
    if isinstance(leaf, Cast):
        return leaf.dtype
    try:
        return leaf.dtype
    except UnsupportedError:
        bits = _dtype.item_bits(leaf._entry.dtype)
        if bits not in (8, 16):
            raise
        return np.dtype(f"u{bits // 8}")


class Streams:
    """What a plan reads lazy arrays through, by their numbers in it."""

    def __init__(
        self,
        leaves: dict[int, LazyArray | Cast],
        order: str = "A",
    ) -> None:
        self._leaves = leaves
        self._order = order
        self._turned: tuple[int, Array] | None = None
        self._encoded: Encoded | None = None

    def __contains__(self, number: object) -> bool:
        return number in self._leaves

    def ordered(self, order: str) -> Streams:
        """Return the same arrays, given in 'C' order, or as each lies ('A')."""
        return Streams(self._leaves, order)

    def converted(self, number: int, dtype: np.dtype[Any]) -> tuple[Streams, Array]:
        """Return the same arrays, one of them as another dtype, and its stand-in."""
        leaf = self._leaves[number]
        cast = Cast(leaf if isinstance(leaf, LazyArray) else leaf.array, dtype)
        streams = Streams({**self._leaves, number: cast}, self._order)
        return streams, stand_in(cast)[0]

    def fetch(self, numbers: Sequence[int]) -> list[Array]:
        """Return whole small arrays, contiguous in their order."""
        leaves = [self._leaves[number] for number in numbers]
        arrays = [leaf if isinstance(leaf, LazyArray) else leaf.array for leaf in leaves]
        first = arrays[0]
        if all(array._index is first._index for array in arrays) and not any(
            isinstance(dtype, UnsupportedError) for dtype in first._index.dtypes
        ):
            found = read_entries(
                first._file,
                first._index,
                [array._entry.number for array in arrays],
                first._verify,
                first._threads,
            )
        else:
            found = [_whole(array) for array in arrays]
        return [
            self._in_order(array if isinstance(leaf, LazyArray) else array.astype(leaf.dtype))
            for leaf, array in zip(leaves, found, strict=True)
        ]

    def _in_order(self, array: Array) -> Array:
        return np.ascontiguousarray(array) if self._order == "C" else array

    def fill(self, number: int, start: int, into: Any) -> None:
        """Fill a writable buffer with the array's bytes from `start` on."""
        leaf = self._leaves[number]
        out = np.frombuffer(into, np.uint8)
        array = leaf if isinstance(leaf, LazyArray) else leaf.array
        turn = self._order == "C" and array._entry.order == "F"
        if isinstance(leaf, LazyArray) and not turn and array._index.is_native:
            self._read(number, array, start, out)
            return
        # By whole items: those at both ends may be cut by the piece.
        item = _memory_dtype(leaf).itemsize
        first, last = start // item, -(-(start + len(out)) // item)
        if turn:
            items = self._turn(number, array, first, last)
        else:
            items = self._run(number, array, first, last)
        if isinstance(leaf, Cast):
            items = items.astype(leaf.dtype)
        out[...] = items.view(np.uint8)[start - first * item :][: len(out)]

    def _read(self, number: int, array: LazyArray, start: int, out: Array) -> None:
        """Fill `out` with bytes as they are stored; those of a codec come one after another."""
        if not array._is_encoded:
            array._read_bytes(start, start + len(out), out)
            return
        if self._encoded is None or self._encoded.number != number or not self._encoded.has(start):
            self._encoded = Encoded(number, array)
        self._encoded.take(start, out)

    def _run(self, number: int, array: LazyArray, first: int, last: int) -> Array:
        """Return the items [first, last), counted as they are stored, in native byte order."""
        dtype = array._index.dtype(array._entry)
        items: Array = np.empty(last - first, dtype)
        self._read(number, array, first * dtype.itemsize, items.view(np.uint8))
        return items.astype(array.dtype, copy=False)

    def _turn(self, number: int, array: LazyArray, first: int, last: int) -> Array:
        """Return the items [first, last), counted in C order, of an array in Fortran order."""
        if array.nbytes > _TURNED_NBYTES:
            items: Array = np.empty(last - first, array.dtype)
            _strips(array, (), array.shape, first, items)
            return items
        if self._turned is None or self._turned[0] != number:
            self._turned = None  # before the next one takes memory
            self._turned = number, np.ascontiguousarray(array.read()).reshape(-1)
        return self._turned[1][first:last]


def _whole(array: LazyArray) -> Array:
    """Return an array, by its bits where NumPy lacks the dtype."""
    bits = np.empty(array.shape, _memory_dtype(array), array._entry.order)  # type: ignore[call-overload]
    flat = bits.T if array._entry.order == "F" else bits
    array._read_bytes(0, array.nbytes, flat.reshape(-1).view(np.uint8))
    return bits if array._index.is_native else array.read()


class Encoded:
    """The bytes of an entry that has a codec, taken from its start on."""

    def __init__(self, number: int, array: LazyArray) -> None:
        self.number = number
        codec = array._index.codecs[array._entry.number]
        self._pieces = codec.pieces(array._file, array._entry, array._verify)
        self._piece = b""
        self._at = 0  # of the first byte of the piece
        self._nbytes = array.nbytes

    def has(self, start: int) -> bool:
        """Say whether the bytes from `start` on are still to come."""
        return start >= self._at

    def take(self, start: int, out: Array) -> None:
        """Fill `out` with the bytes from `start` on."""
        filled = 0
        while filled < len(out):
            begin = start + filled - self._at
            if begin < len(self._piece):
                part = self._piece[begin : begin + len(out) - filled]
                out[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
                filled += len(part)
            else:
                self._at += len(self._piece)
                self._piece = next(self._pieces)
        if start + len(out) == self._nbytes:
            # The codec compares its checksum behind the last piece.
            for _ in self._pieces:
                pass


def _strips(
    array: LazyArray, at: tuple[int, ...], shape: tuple[int, ...], first: int, out: Array
) -> None:
    """Fill `out` with items from `first` on of ``array[at]``, which has that shape."""
    row = math.prod(shape[1:])
    begin, end = first // row, -(-(first + len(out)) // row)
    if row * array.itemsize <= out.nbytes or len(shape) == 1:
        strip = np.ascontiguousarray(array.read((*at, slice(begin, end)))).reshape(-1)
        out[...] = strip[first - begin * row :][: len(out)]
        return
    done = 0
    for i in range(begin, end):
        skip = max(first - i * row, 0)
        n = min(row - skip, len(out) - done)
        _strips(array, (*at, i), shape[1:], skip, out[done : done + n])
        done += n
