# SPDX-License-Identifier: Apache-2.0
"""An array of a Writer: where its bytes are in the file, and those that wait in memory.

Rows are gathered until whole chunks of them can be written in one go. Bytes that a commit
has said the file holds are never written again: what would change them goes elsewhere, a
whole chunk at a time, and a chunk that is not full yet is committed in a few pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from mxio import _core, _dtype
from mxio._generations import Generations, Placed, Stored
from mxio._index import Index
from mxio._lazy import LazyArray
from mxio._region import Box
from mxio._shared import region_bytes
from mxio.errors import ChecksumError, UnsupportedError, quote

__all__ = ["Growing"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_CHUNK_NBYTES = 65536  # docs/FORMAT.md 3.2
_PAGE_NBYTES = 4096
_BUFFER_NBYTES = 1 << 20  # of rows that are written together
_BLOCK_NBYTES = 8 << 20  # converted, copied or read at a time
_RESERVE_NBYTES = 64 << 20
_WAITING_NBYTES = 32 << 20  # of all arrays: from here on none gets a longer buffer
_PIECES = 8  # of a chunk that is not full
_TAIL_NBYTES = 16 << 20  # of a chunk of somebody else's, that has to be in memory


class _Run:
    """Bytes of an array, in one place. `fresh`: no commit has said that they are there."""

    __slots__ = ("fresh", "nbytes", "offset", "start")

    def __init__(self, start: int, offset: int, nbytes: int, fresh: bool) -> None:
        self.start = start
        self.offset = offset
        self.nbytes = nbytes
        self.fresh = fresh

    @property
    def stop(self) -> int:
        return self.start + self.nbytes


class Growing:
    """An array that grows along its first axis, or whose regions are written."""

    __slots__ = (
        "_base",
        "_begin",
        "_buffer",
        "_checksums",
        "_committed",
        "_dirty",
        "_done",
        "_is_plain",
        "_is_shared",
        "_kept",
        "_limit",
        "_n",
        "_room",
        "_row_nbytes",
        "_row_shape",
        "_runs",
        "_space",
        "_window",
        "chunk_nbytes",
        "dtype",
        "dtype_name",
        "name",
        "order",
    )

    def __init__(
        self,
        space: Generations,
        name: str,
        dtype_name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        order: str = "C",
    ) -> None:
        self._space = space
        self.name = name
        self.dtype_name = dtype_name
        self.dtype = dtype
        self.order = order
        # Not the bits of a dtype that NumPy lacks, whose rows are no plain arrays.
        self._is_plain = _dtype.name_of(dtype) == dtype_name
        self._row_shape = shape[1:]
        self._row_nbytes = math.prod(shape[1:]) * dtype.itemsize
        # Rows; those that are not in the window come first. One without axes has one row.
        self._base = shape[0] if shape else -1
        self._n = 0
        slowest = self._row_nbytes if order == "C" or not shape else 0
        self.chunk_nbytes = _CHUNK_NBYTES
        if 0 < slowest <= _CHUNK_NBYTES:
            self.chunk_nbytes = _CHUNK_NBYTES // slowest * slowest
        self._is_shared = False  # with another process, until the next commit
        self._runs: list[_Run] = []
        self._checksums = bytearray()  # of the chunks up to `_begin`; of all, without a buffer
        self._dirty: np.ndarray[Any, np.dtype[np.bool_]] | None = None
        self._kept = 0
        self._committed: tuple[int, ...] | None = None  # the shape
        self._begin = 0  # of the buffer, in the data: where a chunk does
        self._done = 0  # bytes from there on that are in the file too
        self._buffer: Array | None = None
        self._window: Array | None = None  # of the buffer: rows that are not there yet
        self._limit = -1  # rows that it has
        # Of the space reserved behind what was written last: where it goes on, where it ends.
        self._room = 0, 0

    @classmethod
    def created(
        cls,
        space: Generations,
        name: str,
        dtype_name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
    ) -> Growing:
        """Return an array of zeros, in space of its own."""
        self = cls(space, name, dtype_name, dtype, shape)
        nbytes = self.nbytes
        if nbytes:
            self._runs.append(_Run(0, space.reserve(nbytes), nbytes, True))
            self._settle_at(nbytes)
            n_chunks = -(-nbytes // self.chunk_nbytes)
            self._checksums = bytearray(4 * n_chunks)
            self._dirty = np.ones(n_chunks, bool)
        return self

    @classmethod
    def of_entry(cls, space: Generations, index: Index, number: int) -> Growing:
        """Return an array that the file holds already."""
        entry = index.entry(number)
        runs = index.handle.runs(number)
        stored = Stored(
            entry.dtype,
            entry.shape,
            entry.order,
            entry.nbytes,
            entry.chunk_nbytes,
            0,
            runs,
            index.handle.checksums(number),
        )
        self = cls._of(space, entry.name, stored, index.dtype(entry), False)
        self._kept = entry.nbytes
        self._committed = entry.shape
        return self

    @classmethod
    def of_placed(cls, space: Generations, name: str, placed: Placed) -> Growing:
        """Return an array that was written since the last commit."""
        bits = _dtype.item_bits(placed.dtype)
        assert bits is not None, placed.dtype
        dtype = _dtype.resolve(placed.dtype, bits)
        if isinstance(dtype, UnsupportedError):
            dtype = np.dtype(f"u{bits // 8}")
        return cls._of(space, name, placed.stored(), dtype, True)

    @classmethod
    def _of(
        cls, space: Generations, name: str, stored: Stored, dtype: np.dtype[Any], fresh: bool
    ) -> Growing:
        self = cls(space, name, stored.dtype, dtype, stored.shape, stored.order)
        # One chunk may become a longer one; the others stay as they are.
        if stored.nbytes > stored.chunk_nbytes or stored.chunk_nbytes > self.chunk_nbytes:
            self.chunk_nbytes = stored.chunk_nbytes
        start = 0
        for offset, nbytes in stored.runs:
            self._runs.append(_Run(start, offset, nbytes, fresh))
            start += nbytes
        self._checksums = bytearray(stored.checksums)
        self._settle_at(stored.nbytes)
        return self

    # ---- what it is ----

    @property
    def shape(self) -> tuple[int, ...]:
        return () if self._base < 0 else (self._base + self._n, *self._row_shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_changed(self) -> bool:
        return self.shape != self._committed or self._kept < self.nbytes or self._is_dirty

    @property
    def _is_dirty(self) -> bool:
        return self._dirty is not None and bool(self._dirty.any())

    # ---- appending ----

    def take(self, rows: object) -> bool:
        """Take rows if that is simple: a plain array that fits into the window."""
        if type(rows) is np.ndarray and rows.dtype == self.dtype:
            shape = rows.shape
            if shape and shape[1:] == self._row_shape:
                n = self._n
                end = n + shape[0]
                if end <= self._limit:
                    self._window[n:end] = rows  # type: ignore[index]
                    self._n = end
                    return True
        return False

    def check_append(self) -> None:
        """Raise ValueError if no rows can follow."""
        if self._base < 0:
            raise ValueError(f"{quote(self.name)} has no axis along which it could grow")
        if self._is_shared:
            raise ValueError(
                f"{quote(self.name)} was pickled for another process: rows can be appended after "
                "the next commit"
            )
        if self.order == "F":
            raise ValueError(
                f"{quote(self.name)} is stored in Fortran order, to which no rows can be appended: "
                "assign it anew in C order, as numpy.ascontiguousarray gives it"
            )

    def extend(self, rows: Array | LazyArray) -> None:
        """Append rows, which have the right dtype and shape, or none of them."""
        self.check_append()
        mark = self.shape[0]
        try:
            for block in self._blocks(rows):
                self._extend(block)
        except BaseException:
            self._cut(mark)
            raise

    def _blocks(self, rows: Array | LazyArray) -> Iterator[Array]:
        """Give rows as contiguous arrays in this machine's byte order."""
        if isinstance(rows, np.ndarray) and rows.flags.c_contiguous and rows.dtype == self.dtype:
            yield rows
            return
        n = max(1, _BLOCK_NBYTES // max(1, self._row_nbytes))
        for i in range(0, rows.shape[0], n):
            yield np.ascontiguousarray(rows[i : i + n], self.dtype)

    def _extend(self, block: Array) -> None:
        if not block.size:
            self._base = self.shape[0] + len(block)
            self._n = 0
            self._open_window()
            return
        self._open_buffer()
        flat = block.reshape(-1).view(np.uint8)
        rows = self.shape[0] + len(block)
        used = self.nbytes - self._begin
        buffer = self._grown(used + len(flat))
        if used + len(flat) <= len(buffer):
            buffer[used : used + len(flat)] = flat
        else:
            # Up to the end of the chunk that was begun, whole chunks as they lie, the rest.
            head = -used % self.chunk_nbytes
            if used:
                buffer[used : used + head] = flat[:head]
                self._write_chunks(buffer[: used + head])
            whole = (len(flat) - head) // self.chunk_nbytes * self.chunk_nbytes
            if whole:
                self._write_chunks(flat[head : head + whole])
            rest = flat[head + whole :]
            buffer[: len(rest)] = rest
        self._base, self._n = rows, 0
        self._open_window()

    def _grown(self, nbytes: int) -> Array:
        """Return the buffer, with room for so much if it may have that: a whole chunk at least."""
        buffer = self._buffer
        assert buffer is not None
        chunk = self.chunk_nbytes
        most = max(chunk, _BUFFER_NBYTES // chunk * chunk)
        wanted = min(max(nbytes, 2 * len(buffer)), most)
        if wanted <= len(buffer):
            return buffer
        if self._space.waiting_nbytes > _WAITING_NBYTES:
            wanted = min(wanted, chunk)
        if wanted > chunk:
            wanted -= wanted % chunk
        elif nbytes > wanted:
            wanted = chunk
        if wanted > len(buffer):
            used = self.nbytes - self._begin
            self._space.waiting_nbytes += wanted - len(buffer)
            grown = np.empty(wanted, np.uint8)
            grown[:used] = buffer[:used]
            self._buffer = buffer = grown
        return buffer

    def _open_window(self) -> None:
        """Let `take` fill the rest of the buffer."""
        self._window, self._limit = None, -1
        if self._buffer is None or not self._row_nbytes or not self._is_plain:
            return
        at = self.nbytes - self._begin
        self._limit = (len(self._buffer) - at) // self._row_nbytes
        shape = (self._limit, *self._row_shape)
        self._window = np.ndarray(shape, self.dtype, self._buffer.data, at)

    def _open_buffer(self) -> None:
        """Have the last chunk in memory, if it is not full."""
        if self._buffer is not None:
            return
        chunk, nbytes = self.chunk_nbytes, self.nbytes
        begin = nbytes // chunk * chunk
        if nbytes - begin > _TAIL_NBYTES:
            raise ValueError(
                f"{quote(self.name)} has chunks of {chunk} bytes, too long to append to: write "
                "the file anew with mxio.compact"
            )
        tail = self._read(begin, nbytes)
        n_full = begin // chunk
        if len(tail) and not self._is_dirty:
            (expected,) = np.frombuffer(self._checksums, np.uint32)[n_full:]
            self._compare(tail, int(expected), n_full)
        self._refresh()
        del self._checksums[4 * n_full :]
        self._dirty = None
        room = max(_PAGE_NBYTES, len(tail))
        if room > chunk:
            room -= room % chunk
        self._space.waiting_nbytes += room
        self._buffer = np.empty(room, np.uint8)
        self._buffer[: len(tail)] = np.frombuffer(tail, np.uint8)
        self._begin, self._done = begin, len(tail)

    def _cut(self, rows: int) -> None:
        """Have so many rows again, of more."""
        self._base, self._n = rows, 0
        nbytes = self.nbytes
        if nbytes < self._begin:  # what was in the buffer is in the file
            self._cut_runs(nbytes)
            n_full, n_chunks = nbytes // self.chunk_nbytes, -(-nbytes // self.chunk_nbytes)
            del self._checksums[4 * n_chunks :]
            self._dirty = np.arange(n_chunks) >= n_full
            self.forget_buffer()
            self._settle_at(nbytes)
        self._open_window()

    def forget_buffer(self) -> None:
        """Give back the memory, of which nothing is wanted any more."""
        if self._buffer is not None:
            self._space.waiting_nbytes -= len(self._buffer)
            self._buffer = None

    # ---- the file ----

    def _settle_at(self, nbytes: int) -> None:
        """Note that all bytes are in the file, and none in memory."""
        self._begin = nbytes // self.chunk_nbytes * self.chunk_nbytes
        self._done = nbytes - self._begin

    def _write_chunks(self, flat: Array) -> None:
        """Write whole chunks from where the buffer begins on; it begins behind them then."""
        chunk = self.chunk_nbytes
        checksums = np.empty(len(flat) // chunk, np.uint32)
        offset = self._place(len(flat))
        space = self._space
        space.file.write_run(flat, offset, chunk, checksums, space.sync, space.threads)
        self._cut_runs(self._begin)
        self._add_run(self._begin, offset, len(flat))
        self._checksums += checksums.tobytes()
        self._begin += len(flat)
        self._done = 0

    def _last(self) -> _Run | None:
        """Return the run that ends where the buffer begins; None if none does."""
        runs = (run for run in reversed(self._runs) if run.start < self._begin)
        last = next(runs, None)  # behind it are a few pieces of a chunk at most
        return last if last is not None and last.stop == self._begin else None

    def _place(self, nbytes: int, is_last: bool = False) -> int:
        """Return where bytes go that follow those before the buffer: right behind, if possible."""
        last = self._last()
        after = 0 if last is None else last.offset + last.nbytes
        if after and after == self._room[0] and after + nbytes <= self._room[1]:
            self._room = after + nbytes, self._room[1]
            return after
        if last is not None and last.offset % _PAGE_NBYTES and last.nbytes + nbytes >= 65536:
            after = 0  # so long a run would have to begin with a page
        reserve = 0
        if self._space.is_committed and not is_last:  # that commits do not scatter what follows
            reserve = min(_RESERVE_NBYTES, max(nbytes, self.nbytes))
        offset = self._space.allocate(nbytes, after, reserve)
        self._room = offset + nbytes, offset + max(nbytes, reserve)
        return offset

    def _add_run(self, start: int, offset: int, nbytes: int) -> None:
        last = self._runs[-1] if self._runs else None
        if last is not None and last.fresh and last.offset + last.nbytes == offset:
            last.nbytes += nbytes
        else:
            self._runs.append(_Run(start, offset, nbytes, True))

    def _cut_runs(self, nbytes: int) -> None:
        """Forget where the bytes from there on are."""
        while self._runs and self._runs[-1].start >= nbytes:
            self._runs.pop()
        if self._runs and self._runs[-1].stop > nbytes:
            last = self._runs[-1]
            self._runs[-1] = _Run(last.start, last.offset, nbytes - last.start, last.fresh)
        self._kept = min(self._kept, nbytes)

    def _read(self, start: int, stop: int) -> bytes:
        """Return bytes of the data that are in the file."""
        parts = []
        for run in self._runs:
            low, high = max(start, run.start), min(stop, run.stop)
            if low < high:
                parts.append(self._space.file.get(run.offset + low - run.start, high - low))
        return b"".join(parts)

    def _compare(self, data: bytes | memoryview, expected: int, chunk: int) -> None:
        if _core.crc32c(data, 0, None) != expected:
            name = self._space.file.name
            raise ChecksumError(
                f"checksum mismatch in {quote(self.name)}, chunk {chunk} of {name}: what follows "
                "it cannot be written",
                None,
                self.name,
                chunk,
            )

    # ---- committing ----

    def finish(self, is_last: bool) -> None:
        """Have everything in the file."""
        if self._buffer is None:
            self._refresh()
            return
        used = self.nbytes - self._begin
        whole = used // self.chunk_nbytes * self.chunk_nbytes
        if whole:
            self._write_chunks(self._buffer[:whole])
            self._buffer[: used - whole] = self._buffer[whole:used]
            self._base, self._n = self.shape[0], 0
            self._open_window()
        tail = self._buffer[: used - whole]
        if len(tail) == self._done:
            return
        first = self._done
        if is_last or sum(run.start >= self._begin for run in self._runs) >= _PIECES:
            first = 0
        if not first and (is_last or not self._space.is_committed):
            offset = self._place(len(tail), True)
        else:  # not in the room, where the whole chunk will go
            offset = self._space.allocate(len(tail) - first)
        self._space.file.put(tail[first:].data, offset)
        self._cut_runs(self._begin + first)
        self._add_run(self._begin + first, offset, len(tail) - first)
        self._done = len(tail)

    def settle(self) -> None:
        """Have everything in the file and nothing in memory."""
        if self._buffer is not None:
            self.finish(False)
            tail = self._buffer[: self.nbytes - self._begin]
            if len(tail):
                self._checksums += _crc(tail.data)
            self._base, self._n = self.shape[0], 0
            self.forget_buffer()
            self._open_window()

    def stored(self) -> Stored:
        """Return what an index says of it, once it is finished."""
        chunk = self.chunk_nbytes
        checksums = self._checksums
        if self._buffer is not None and self.nbytes > self._begin:
            tail = self._buffer[: self.nbytes - self._begin]
            checksums = checksums + _crc(tail.data)
        runs = []
        for run in self._runs:
            skip = max(0, self._kept - run.start)
            if skip < run.nbytes:
                runs.append((run.offset + skip, run.nbytes - skip))
        return Stored(
            self.dtype_name,
            self.shape,
            self.order,
            self.nbytes,
            min(chunk, self.nbytes),
            self._kept,
            _joined(runs),
            bytes(checksums[4 * (self._kept // chunk) :]),
        )

    def committed(self) -> None:
        """Note that a commit has said what `stored` says."""
        self._kept = self.nbytes
        self._committed = self.shape
        self._is_shared = False
        joined: list[_Run] = []
        for run in self._runs:
            run.fresh = False
            if joined and joined[-1].offset + joined[-1].nbytes == run.offset:
                joined[-1].nbytes += run.nbytes
            else:
                joined.append(run)
        self._runs = joined

    # ---- regions ----

    def place_region(self, box: Box, value: Any) -> list[tuple[Array, Array]]:
        """Return what to write: contiguous bytes, and where each of equal pieces of them goes."""
        self.settle()
        flat, starts, piece = region_bytes(
            self.name, self.shape, self.order, self.dtype, box, value
        )
        if not len(flat):
            return []
        chunk = self.chunk_nbytes
        first, last = starts // chunk, (starts + (piece - 1)) // chunk
        self._touch(first, last)
        return self._offsets(starts, piece, flat)

    def share(self) -> int:
        """Return the offset of an array of `created`, which another process will write into."""
        runs = self._runs
        if self._buffer is not None or len(runs) != 1 or not runs[0].fresh:
            raise TypeError(
                f"{quote(self.name)} can only be pickled from w.create(…) on to the next commit: "
                "what was committed is not written in place"
            )
        self._dirty = np.ones(-(-self.nbytes // self.chunk_nbytes), bool)
        self._is_shared = True
        return runs[0].offset

    def _touch(self, first: Array, last: Array) -> None:
        """Note chunks that will change, and move those that were committed."""
        n_chunks = -(-self.nbytes // self.chunk_nbytes)
        touched = np.zeros(n_chunks + 1, np.int64)
        np.add.at(touched, first, 1)
        np.add.at(touched, last + 1, -1)
        wanted = touched.cumsum()[:-1] > 0
        if self._dirty is None:
            self._dirty = np.zeros(n_chunks, bool)
        if not all(run.fresh for run in self._runs):
            for low, high in _ranges(wanted):
                self._renew(low * self.chunk_nbytes, min(high * self.chunk_nbytes, self.nbytes))
        self._dirty |= wanted

    def _renew(self, start: int, stop: int) -> None:
        """Copy whole chunks, those that were committed, to where they may be written."""
        chunk = self.chunk_nbytes
        step = max(1, _BLOCK_NBYTES // chunk) * chunk
        while True:
            runs = (run for run in self._runs if not run.fresh)
            run = next((run for run in runs if run.start < stop and run.stop > start), None)
            if run is None:
                return
            # A chunk may lie in several runs.
            low = max(start, run.start) // chunk * chunk
            high = min(-(-min(stop, run.stop) // chunk) * chunk, self.nbytes)
            offset = self._space.allocate(high - low)
            for at in range(low, high, step):
                data = self._read(at, min(at + step, high))
                self._compare_chunks(data, at // chunk)
                self._space.file.put(data, offset + at - low)
            self._splice(low, high, offset)

    def _compare_chunks(self, data: bytes, chunk: int) -> None:
        checksums = np.frombuffer(self._checksums, np.uint32)
        view = memoryview(data)
        for at in range(0, len(data), self.chunk_nbytes):
            if self._dirty is None or not self._dirty[chunk]:
                part = view[at : at + self.chunk_nbytes]
                self._compare(part, int(checksums[chunk]), chunk)
            chunk += 1

    def _splice(self, start: int, stop: int, offset: int) -> None:
        runs = []
        for run in self._runs:
            if run.start < start:
                n = min(run.stop, start) - run.start
                runs.append(_Run(run.start, run.offset, n, run.fresh))
            if run.stop > stop:
                low = max(run.start, stop)
                at = run.offset + low - run.start
                runs.append(_Run(low, at, run.stop - low, run.fresh))
        runs.append(_Run(start, offset, stop - start, True))
        self._runs = sorted(runs, key=lambda run: run.start)
        self._kept = min(self._kept, start)

    def _offsets(self, starts: Array, piece: int, flat: Array) -> list[tuple[Array, Array]]:
        """Return pieces of bytes and their offsets in the file, cut where a run ends."""
        begins = np.array([run.start for run in self._runs])
        ends = np.array([run.stop for run in self._runs])
        shift = np.array([run.offset - run.start for run in self._runs])
        at = np.searchsorted(begins, starts, "right") - 1
        within = starts + piece <= ends[at]
        offsets = (starts + shift[at]).astype(np.uint64)
        if within.all():
            return [(flat, offsets)]
        rows = flat.reshape(len(starts), piece)
        found = [(np.ascontiguousarray(rows[within]), offsets[within])] if within.any() else []
        for k in np.flatnonzero(~within).tolist():
            start, done = int(starts[k]), 0
            while done < piece:
                run = int(np.searchsorted(begins, start + done, "right")) - 1
                n = min(piece - done, int(ends[run]) - start - done)
                offset = np.array([start + done + int(shift[run])], np.uint64)
                found.append((rows[k, done : done + n], offset))
                done += n
        return found

    def _refresh(self) -> None:
        """Compute the checksums of chunks that were written in part, from the file."""
        if self._dirty is None:
            return
        checksums = np.frombuffer(self._checksums, np.uint32)
        space, chunk = self._space, self.chunk_nbytes
        for low, high in _ranges(self._dirty):
            at, stop = low * chunk, min(high * chunk, self.nbytes)
            while at < stop:
                run = next(run for run in self._runs if run.start <= at < run.stop)
                end = min(stop, run.stop)
                if end != self.nbytes:
                    end -= end % chunk
                k = at // chunk
                if end > at:
                    n = -(-end // chunk) - k
                    offset = run.offset + at - run.start
                    space.file.fill_checksums(
                        offset, end - at, chunk, checksums[k : k + n], space.threads
                    )
                    at = end
                else:
                    data = self._read(at, min(at + chunk, self.nbytes))
                    checksums[k] = _core.crc32c(data, 0, None)
                    at += len(data)
        self._dirty = None


def _crc(data: bytes | memoryview) -> bytes:
    return np.uint32(_core.crc32c(data, 0, None)).tobytes()


def _joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return runs of which none begins where the one before it ends."""
    joined: list[tuple[int, int]] = []
    for offset, nbytes in runs:
        if joined and sum(joined[-1]) == offset:
            joined[-1] = joined[-1][0], joined[-1][1] + nbytes
        else:
            joined.append((offset, nbytes))
    return joined


def _ranges(wanted: Array) -> Iterator[tuple[int, int]]:
    """Give the runs of true items: the first, and the one behind the last."""
    edges = np.flatnonzero(np.diff(wanted.astype(np.int8), prepend=0, append=0))
    yield from map(tuple, edges.reshape(-1, 2).tolist())
