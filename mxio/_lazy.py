# SPDX-License-Identifier: Apache-2.0
"""An array that stays in its file until it is indexed, and the way of one into another file.

Indexing is a plan with fewer extents: the chunks that hold the wanted items are
read whole, verified, and cut. An entry in Fortran order is, for reading, the
transposed entry in C order, so everything below thinks in C order.
"""

from __future__ import annotations

import math
import operator
from types import EllipsisType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mxio import _core
from mxio._index import Entry, Index
from mxio.errors import EntryError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LazyArray", "Region", "native_order", "read_entries"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Item: TypeAlias = "int | slice | EllipsisType | None"
Region: TypeAlias = "Item | tuple[Item, ...]"

# Read at once when items are picked out of rows: few calls, little memory.
_GROUP_NBYTES = 4 << 20


def read_entries(
    file: _core.File, index: Index, numbers: list[int], verify: bool, threads: int
) -> list[Array]:
    """Read whole entries, in one call where they lie in the file as they are."""
    codecs = index.codecs
    if not codecs:
        arrays = file.read(index.handle, numbers, index.dtypes, verify, threads)
        return arrays if index.is_native else [native_order(array) for array in arrays]
    coded = {n for n in numbers if n in codecs and (verify or not codecs[n].plain)}
    direct = [n for n in numbers if n not in coded]
    found = dict(
        zip(direct, file.read(index.handle, direct, index.dtypes, verify, threads), strict=True)
    )
    for n in coded:
        entry = index.entry(n)
        found[n] = np.empty(entry.shape, index.dtype(entry), entry.order)  # type: ignore[call-overload]
        index.decode(file, entry, _bytes_of(found[n]), verify)
    return [native_order(found[n]) for n in numbers]


def native_order(array: Array) -> Array:
    """Return an array of our own in this machine's byte order, in the same memory."""
    if array.dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))


class LazyArray:
    """An array in an open file: shape and dtype now, items when they are asked for.

    ``x[i, a:b, ...]`` takes NumPy's basic indices (int, slice, ``...``, ``None``)
    and reads only the chunks that hold the result. ``numpy.asarray(x)`` reads it
    all. Made by ``mxio.open``.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype : numpy.dtype
        Raises UnsupportedError where NumPy lacks it here, saying what to install.
    ndim, size, nbytes, itemsize : int
        As of the array once it is read; nbytes is also what it takes in the file.
    """

    __slots__ = ("_entry", "_file", "_index", "_threads", "_verify")

    def __init__(
        self, file: _core.File, index: Index, entry: Entry, verify: bool, threads: int
    ) -> None:
        self._file = file
        self._index = index
        self._entry = entry
        self._verify = verify
        self._threads = threads

    @property
    def name(self) -> str:
        return self._entry.name

    @property
    def _identity(self) -> tuple[int, int]:
        """The same for two names of one array in one file."""
        first = self._entry.alias_of
        return id(self._index), self._entry.number if first is None else first

    @property
    def _is_encoded(self) -> bool:
        """Whether the bytes have to come through a codec."""
        codec = self._index.codecs.get(self._entry.number)
        return codec is not None and (self._verify or not codec.plain)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._entry.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype = self._index.dtype(self._entry)
        return dtype if dtype.isnative else dtype.newbyteorder("=")

    @property
    def ndim(self) -> int:
        return len(self._entry.shape)

    @property
    def size(self) -> int:
        return math.prod(self._entry.shape)

    @property
    def nbytes(self) -> int:
        return self._entry.nbytes

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without dimensions")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<mxio.LazyArray {self.name!r} {self._entry.dtype} {self.shape}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError(f"{self.name!r} is in a file: it cannot be had without a copy")
        array = self.read()
        return array if dtype is None else array.astype(dtype, copy=False)

    def __getitem__(self, region: Region) -> Any:
        """Read what NumPy's basic indexing would give; an item if it is one."""
        array = self.read(region if isinstance(region, tuple) else (region,))
        return array[()] if array.ndim == 0 and _drops_all(region, self.ndim) else array

    def read(self, region: Region | None = None, out: Array | None = None) -> Array:
        """Read a region, or all of it, into a new array or into `out`.

        Parameters
        ----------
        region : basic index, optional
            As in ``x[region]``; None is everything.
        out : numpy.ndarray, optional
            Filled and returned: of the region's shape, of this dtype, writable;
            strides as they come. After an error its contents are unspecified.

        Raises
        ------
        ChecksumError
            A chunk that is needed changed since it was written.
        ValueError
            The reader is closed, or `out` is not writable.
        IndexError
            The region does not lie in the array, or is no basic index.
        EntryError
            `out` has another shape or dtype.
        """
        if self._file.closed:
            raise ValueError(f"{self._file.name} is closed")
        box = _Box((...,) if region is None else region, self.shape, self.name)
        dtype = self._index.dtype(self._entry)
        if out is not None:
            _check_out(out, box.shape, self.dtype, self.name)
        swapped = not dtype.isnative
        if out is None or swapped:
            order = "F" if self._entry.order == "F" else "C"
            target = np.empty(box.counts, dtype, order)  # type: ignore[call-overload]
            result: Array = target[box.finish]
        else:
            target, result = out[box.undo], out
        if target.size:
            # In stored order: the last axis is contiguous.
            axes = slice(None, None, -1 if self._entry.order == "F" else 1)
            _Fill(self, dtype, self.shape[axes], box.starts[axes], box.steps[axes]).run(
                target.T if self._entry.order == "F" else target
            )
        if swapped:
            native_order(target)  # in place, so that `result` only has to be told
            result = result.view(self.dtype)
            if out is not None:
                out[...] = result
                result = out
        return result

    def _read_chunks(self, first: int, n: int, into: Array) -> None:
        self._file.read_chunks(
            self._index.handle, self._entry.number, first, n, into, self._verify, self._threads
        )

    def _read_bytes(self, start: int, stop: int, into: Array) -> None:
        """Fill `into`, contiguous uint8, with the bytes [start, stop) of the entry."""
        if self._is_encoded:
            if stop - start == self._entry.nbytes:
                self._index.decode(self._file, self._entry, into, self._verify)
            else:
                into[...] = self._index.decoded(self._file, self._entry, self._verify)[start:stop]
            return
        size = self._entry.chunk_nbytes
        first, last = start // size, -(-stop // size)
        whole = min(last * size, self._entry.nbytes)
        if start == first * size and stop == whole:
            self._read_chunks(first, last - first, into)
            return
        if last - first <= 2:
            both = np.empty(whole - first * size, np.uint8)
            self._read_chunks(first, last - first, both)
            into[...] = both[start - first * size : stop - first * size]
            return
        head, tail = (first + 1) * size, (last - 1) * size
        self._read_bytes(start, head, into[: head - start])
        self._read_bytes(head, tail, into[head - start : tail - start])
        self._read_bytes(tail, stop, into[tail - start :])


class _Box:
    """A basic index, taken apart.

    ``starts``, ``counts`` and ``steps`` say what to read of each axis, with steps
    above 0; ``array[finish]`` then has the shape that was asked for, and
    ``out[undo]`` is the view of such an array that has `counts` for its shape.
    """

    __slots__ = ("counts", "finish", "shape", "starts", "steps", "undo")

    def __init__(self, region: Region, shape: tuple[int, ...], name: str) -> None:
        items = list(region) if isinstance(region, tuple) else [region]
        given = sum(item is not None and item is not Ellipsis for item in items)
        n_ellipses = sum(item is Ellipsis for item in items)
        if n_ellipses > 1:
            raise IndexError("an index can only have one ellipsis ('...')")
        if given > len(shape):
            raise IndexError(
                f"too many indices for {name!r}: it has {len(shape)} dimensions, "
                f"{given} were indexed"
            )
        at = next((i for i, item in enumerate(items) if item is Ellipsis), len(items))
        items[at : at + n_ellipses] = [slice(None)] * (len(shape) - given)
        starts: list[int] = []
        counts: list[int] = []
        steps: list[int] = []
        finish: list[Any] = []
        undo: list[Any] = []
        result: list[int] = []
        for item in items:
            if item is None:
                finish.append(None)
                undo.append(0)
                result.append(1)
                continue
            extent = shape[len(starts)]
            if isinstance(item, slice):
                start, stop, step = item.indices(extent)
                count = len(range(start, stop, step))
                if step < 0:
                    start, step = start + (count - 1) * step, -step
                    finish.append(slice(None, None, -1))
                    undo.append(slice(None, None, -1))
                else:
                    finish.append(slice(None))
                    undo.append(slice(None))
                result.append(count)
            else:
                start, count, step = _index_of(item, extent, len(starts), name), 1, 1
                finish.append(0)
                undo.append(None)
            starts.append(start if count else 0)
            counts.append(count)
            steps.append(step)
        self.starts, self.counts, self.steps = tuple(starts), tuple(counts), tuple(steps)
        # With an ellipsis the result is an array, also if nothing is left of it.
        self.finish, self.undo, self.shape = (*finish, ...), (*undo, ...), tuple(result)


def _index_of(item: object, extent: int, axis: int, name: str) -> int:
    try:
        if isinstance(item, (bool, np.bool_)):
            raise TypeError
        index = operator.index(item)  # type: ignore[arg-type]
    except TypeError:
        raise IndexError(
            f"{name!r} takes integers, slices, '...' and None as indices, "
            f"not {type(item).__name__}; for others read it first: x[...][index]"
        ) from None
    if not -extent <= index < extent:
        raise IndexError(
            f"index {index} is out of bounds for axis {axis} of {name!r} with size {extent}"
        )
    return index % extent


def _drops_all(region: Region, ndim: int) -> bool:
    """Whether NumPy would give an item, not an array without dimensions."""
    items = region if isinstance(region, tuple) else (region,)
    return len(items) == ndim and Ellipsis not in items


def _check_out(out: object, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out for {name!r} is a numpy.ndarray, not {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        raise EntryError(
            f"out for {name!r} is {out.dtype} {out.shape}, but {dtype} {shape} is to be read"
        )
    if not out.flags.writeable:
        raise ValueError(f"out for {name!r} is not writable")


class _Fill:
    """One read: walks from the slowest axis to the place where reading pays."""

    __slots__ = ("_array", "_dtype", "_rows", "_shape", "_starts", "_steps")

    def __init__(
        self,
        array: LazyArray,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        starts: tuple[int, ...],
        steps: tuple[int, ...],
    ) -> None:
        self._array = array
        self._dtype = dtype
        self._shape = shape
        self._starts = starts
        self._steps = steps
        # Bytes of one step of each axis; those of the whole array in front.
        self._rows = [dtype.itemsize * math.prod(shape[axis:]) for axis in range(len(shape) + 1)]

    def run(self, out: Array) -> None:
        self._fill(out, 0, 0)

    def _is_run(self, counts: tuple[int, ...], axis: int) -> bool:
        """Whether the wanted items of the axes from `axis` on are one run of bytes."""
        full = True
        for k in range(len(self._shape) - 1, axis - 1, -1):
            count = counts[k - axis]
            if (not full and count != 1) or (count > 1 and self._steps[k] != 1):
                return False
            full = full and count == self._shape[k]
        return True

    def _span(self, counts: tuple[int, ...], axis: int) -> tuple[int, int]:
        """From the first wanted byte to behind the last, of the axes from `axis` on."""
        first, last = 0, 0
        for k, count in enumerate(counts, axis):
            first += self._starts[k] * self._rows[k + 1]
            last += (self._starts[k] + (count - 1) * self._steps[k]) * self._rows[k + 1]
        return first, last + self._rows[-1]

    def _fill(self, out: Array, axis: int, at: int) -> None:
        """Fill `out` from the axes `axis` and up, whose bytes begin at `at`."""
        if self._is_run(out.shape, axis):
            self._fill_run(out, at + self._span(out.shape, axis)[0])
            return
        row, first, step = self._rows[axis + 1], self._starts[axis], self._steps[axis]
        chunk = self._array._entry.chunk_nbytes
        inner = out.shape[1:]
        if inner and (row > _GROUP_NBYTES or (row > chunk and not self._is_run(inner, axis + 1))):
            for i in range(len(out)):
                self._fill(out[i, ...], axis + 1, at + (first + i * step) * row)
            return
        # What is wanted of a row has no unwanted chunk in it: read from several rows at
        # once, as long as no unwanted chunk lies between two of them, and pick from that.
        low, high = self._span(inner, axis + 1)
        picked = (
            slice(None, None, step),
            *(
                slice(start, start + (count - 1) * stride + 1, stride)
                for start, count, stride in zip(
                    self._starts[axis + 1 :], inner, self._steps[axis + 1 :], strict=True
                )
            ),
        )
        i = 0
        while i < len(out):
            begin = at + (first + i * step) * row
            n = self._group(begin + low, begin + high, step * row, len(out) - i)
            span = (n - 1) * step + 1
            rows = np.empty((span, *self._shape[axis + 1 :]), self._dtype)
            end = (span - 1) * row + high
            self._array._read_bytes(begin + low, begin + end, _bytes_of(rows)[low:end])
            out[i : i + n] = rows[picked]
            i += n

    def _group(self, low: int, high: int, step: int, most: int) -> int:
        """How many rows, `step` bytes apart, the first of which wants [low, high), to read."""
        chunk = self._array._entry.chunk_nbytes
        most = min(most, max(1, _GROUP_NBYTES // step))
        if step <= chunk:
            return most
        n = 1
        while n < most and (low + n * step) // chunk <= (high - 1 + (n - 1) * step) // chunk + 1:
            n += 1
        return n

    def _fill_run(self, out: Array, start: int) -> None:
        """Fill `out` with the run of bytes that begins at `start`."""
        if out.flags.c_contiguous:
            self._array._read_bytes(start, start + out.nbytes, _bytes_of(out))
            return
        row = out.nbytes // len(out)
        if row > _GROUP_NBYTES and out.ndim > 1:
            for i in range(len(out)):
                self._fill_run(out[i, ...], start + i * row)
            return
        n = max(1, _GROUP_NBYTES // row)
        for i in range(0, len(out), n):
            run = np.empty(out[i : i + n].shape, self._dtype)
            at = start + i * row
            self._array._read_bytes(at, at + run.nbytes, _bytes_of(run))
            out[i : i + n] = run


def _bytes_of(array: Array) -> Array:
    """The memory of a contiguous array as bytes."""
    stored = array if array.flags.c_contiguous else array.T
    return stored.reshape(-1).view(np.uint8)
