# SPDX-License-Identifier: Apache-2.0
"""An array that stays in its file until it is indexed, and the way of one into another file.

Indexing is a plan with fewer extents: the chunks that hold the wanted items are
read whole, verified, and cut. An entry in Fortran order is, for reading, the
transposed entry in C order, so everything below thinks in C order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mxio import _core
from mxio._gather import gather
from mxio._index import Entry, Index
from mxio._progress import counted
from mxio._region import Box, Points, Region, Slice, blocks, index_of, parse
from mxio.errors import EntryError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mxio._progress import Progress

__all__ = ["LazyArray", "Region", "native_order", "read_entries"]

Array: TypeAlias = "np.ndarray[Any, Any]"

# Read at once when items are picked out of rows: few calls, little memory.
_GROUP_NBYTES = 4 << 20


def read_entries(
    file: _core.File,
    index: Index,
    numbers: Sequence[int],
    verify: bool,
    threads: int,
    progress: Progress | None = None,
) -> list[Array]:
    """Read whole entries, in one call where they lie in the file as they are."""
    codecs = index.codecs
    tell = None
    if progress is not None:
        # Several names of one array are read once.
        facts = index.handle.entries(list(numbers))
        total = sum({number: nbytes for *_, nbytes, number in facts}.values())
        tell = counted(progress, total)
    if not codecs:
        arrays = file.read(index.handle, numbers, index.dtypes, verify, threads, tell)
        return arrays if index.is_native else [native_order(array) for array in arrays]
    coded = {n for n in numbers if n in codecs and (verify or not codecs[n].plain)}
    direct = [n for n in numbers if n not in coded]
    arrays = file.read(index.handle, direct, index.dtypes, verify, threads, tell)
    found = dict(zip(direct, arrays, strict=True))
    done = sum(array.nbytes for array in arrays)
    for n in coded:
        entry = index.entry(n)
        found[n] = np.empty(entry.shape, index.dtype(entry), entry.order)  # type: ignore[call-overload]
        index.decode(file, entry, _bytes_of(found[n]), verify)
        done += entry.nbytes
        if tell is not None:
            tell(done)
    return [native_order(found[n]) for n in numbers]


def native_order(array: Array) -> Array:
    """Return an array of our own in this machine's byte order, in the same memory."""
    if array.dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))


class LazyArray:
    """An array in an open file: shape and dtype now, items when they are asked for.

    ``x[i, a:b, ...]`` takes NumPy's indices (int, slice, ``...``, ``None``, arrays of
    integers or bools) and reads only the chunks that hold the result, each once. The
    last ones that were needed in part are kept, so that a loop over rows reads each
    once too. ``numpy.asarray(x)`` reads it all; ``dask.array.from_array(x)`` works, on
    processes too: a lazy array of a path is pickled as that path. Made by ``mxio.open``.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype : numpy.dtype
        Raises UnsupportedError where NumPy lacks it here, saying what to install.
    ndim, size, nbytes, itemsize : int
        As of the array once it is read; nbytes is also what it takes in the file.
    chunks : tuple of int
        The shape of what is read at least, in so far as that is a box.
    """

    __slots__ = ("_dtype", "_entry", "_file", "_index", "_keep", "_threads", "_verify")

    def __init__(
        self,
        file: _core.File,
        index: Index,
        entry: Entry,
        verify: bool,
        threads: int,
        keep: object = None,
    ) -> None:
        self._keep = keep  # what would close the file when it goes
        self._file = file
        self._index = index
        self._entry = entry
        self._verify = verify
        self._threads = threads
        self._dtype: np.dtype[Any] | None = None  # as in the file, once it was asked for

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

    @property
    def chunks(self) -> tuple[int, ...]:
        shape = self.shape
        if self._is_encoded or not self.nbytes:  # all of it at once
            return tuple(max(1, n) for n in shape)
        stored = shape[::-1] if self._entry.order == "F" else shape
        items = max(1, self._entry.chunk_nbytes * self.size // self.nbytes)
        found = []
        for axis, n in enumerate(stored):
            inner = max(1, math.prod(stored[axis + 1 :]))
            found.append(max(1, min(n, items // inner)))
        return tuple(found[::-1] if self._entry.order == "F" else found)

    def iter_chunks(self, nbytes: int = 8 << 20) -> Iterator[tuple[slice, ...]]:
        """Give the regions of runs of chunks, in the order of the file, to read one by one.

        Parameters
        ----------
        nbytes : int, default 8 MiB
            What one may hold at most; a single chunk or item may hold more.
        """
        if nbytes < 1:
            raise ValueError(f"nbytes is 1 or more, not {nbytes}")
        if not self.size:
            return
        order = -1 if self._entry.order == "F" else 1
        shape = self.shape[::order]
        chunk = self._entry.chunk_nbytes
        for block in blocks(shape, self.nbytes // self.size, chunk, max(nbytes, chunk)):
            region = [slice(at, at + 1) if isinstance(at, int) else at for at in block]
            region += [slice(0, n) for n in shape[len(region) :]]
            yield tuple(region[::order])

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

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return "mxio.LazyArray", self._index.token, self._entry.number

    def __reduce__(self) -> tuple[Any, ...]:
        if self._index.origin is None:
            raise TypeError(
                f"{self.name!r} is in {printable(self._file.name)}, which has no path by "
                "which it could be pickled: pickle x[...], or open a path"
            )
        return self._index.origin.lazy, (self._entry.number,)

    def __getitem__(self, region: Region) -> Any:
        """Read what NumPy's indexing would give; an item if it is one."""
        if type(region) is int and len(self._entry.shape) > 1 and self._entry.order == "C":
            return self._row(region)  # as below, for loops over rows
        box = parse(region, self.shape, self.name)
        array = self._read(box, None)
        return array[()] if isinstance(box, Box) and box.is_item else array

    def _row(self, at: int) -> Array:
        entry = self._entry
        if self._file.closed:
            raise ValueError(f"{printable(self._file.name)} is closed")
        at = index_of(at, entry.shape[0], 0, entry.name)
        dtype = self._index.dtype(entry) if self._dtype is None else self._dtype
        self._dtype = dtype
        size, nbytes = entry.chunk_nbytes, entry.nbytes // entry.shape[0]
        chunk = at * nbytes // size if size else 0
        begin = at * nbytes - chunk * size
        if 0 < nbytes <= size - begin and not self._is_encoded:
            kept = self._kept_chunk(chunk)
            return native_order(np.ndarray(entry.shape[1:], dtype, kept.data, begin).copy())
        row = np.empty(entry.shape[1:], dtype)
        if row.size:
            self._read_bytes(at * nbytes, (at + 1) * nbytes, _bytes_of(row))
        return native_order(row)

    def read(self, region: Region | None = None, out: Array | None = None) -> Array:
        """Read a region, or all of it, into a new array or into `out`.

        Parameters
        ----------
        region : index, optional
            As in ``x[region]``; None is everything.
        out : numpy.ndarray, optional
            Filled and returned: of the region's shape, of this dtype, writable;
            strides as they come. After an error its contents are unspecified. (With
            arrays in the index, it is a copy of what was read into new memory.)

        Raises
        ------
        ChecksumError
            A chunk that is needed changed since it was written.
        ValueError
            The reader is closed, or `out` is not writable.
        IndexError
            The region does not lie in the array, or is no index.
        EntryError
            `out` has another shape or dtype.
        """
        return self._read(parse((...,) if region is None else region, self.shape, self.name), out)

    def _read(self, box: Box | Points, out: Array | None) -> Array:
        if self._file.closed:
            raise ValueError(f"{printable(self._file.name)} is closed")
        dtype = self._index.dtype(self._entry)
        if out is not None:
            _check_out(out, box.shape, self.dtype, self.name)
        if isinstance(box, Points):
            points = native_order(gather(self, box, dtype))
            if out is None:
                return points
            out[...] = points
            return out
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

    def _fill_box(
        self, out: Array, axis: int, at: int, slices: list[Slice], dtype: np.dtype[Any]
    ) -> None:
        """Fill `out` from the axes, as stored, `axis` and up, whose bytes begin at `at`."""
        shape = self.shape[::-1] if self._entry.order == "F" else self.shape
        before = (0,) * axis
        starts = before + tuple(one.start for one in slices)
        steps = before + tuple(one.step for one in slices)
        _Fill(self, dtype, shape, starts, steps).run(out, axis, at)

    def _read_chunks(self, first: int, n: int, into: Array) -> None:
        self._file.read_chunks(
            self._index.handle, self._entry.number, [first], [n], into, self._verify, self._threads
        )

    def _kept_chunk(self, k: int) -> Array:
        """Return a chunk that is wanted in part: the one that is kept, if it is."""
        entry, kept = self._entry, self._index.kept
        key = entry.number if entry.alias_of is None else entry.alias_of, k
        chunk = kept.get(key)
        if chunk is None:
            chunk = self._file.read_chunk(self._index.handle, entry.number, k, self._verify)
            kept.put(key, chunk)
        return chunk

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
        if last - first == 1:
            into[...] = self._kept_chunk(first)[start - first * size : stop - first * size]
            return
        if last - first == 2:
            cut = (first + 1) * size - start
            into[:cut] = self._kept_chunk(first)[-cut:]
            into[cut:] = self._kept_chunk(first + 1)[: len(into) - cut]
            return
        head, tail = (first + 1) * size, (last - 1) * size
        self._read_bytes(start, head, into[: head - start])
        self._read_bytes(head, tail, into[head - start : tail - start])
        self._read_bytes(tail, stop, into[tail - start :])


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

    def run(self, out: Array, axis: int = 0, at: int = 0) -> None:
        self._fill(out, axis, at)

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
