# SPDX-License-Identifier: Apache-2.0
"""What the machine allows: the same bytes written, read and copied without any format.

Each is a contender like the others, in the same run, and of each thing there are several
ways, since which is best depends on the machine: the limit is the best of them. Memory that
is read into is new, and in huge pages where the system has them, as it would be for the
fastest load; memory that is written from is aligned for direct I/O, unlike an array's.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare import ready_to_read, sizer
from benchmarks.files import evict, from_libc, remover, sync
from benchmarks.harness import Contender
from benchmarks.peers import Array, Arrays

__all__ = ["copies", "pieces", "readers", "rows", "writers"]

_PIECE = 4 << 20
_LARGE = 64 << 20
_CHUNK = 64 << 10
_BLOCK = 4096
_DIRECT = getattr(os, "O_DIRECT", 0)
_N_BUFFERS = 512  # IOV_MAX is 1024 or more


def _limit(name: str, how: str, run: Callable[[int], Any], **more: Any) -> Contender:
    return Contender(f"limit, {name}", "limit", "", how, "", run, **more)


def _memory(nbytes: int) -> mmap.mmap:
    """New memory, in huge pages if possible, whole blocks of it."""
    # Private, since shared memory is a file to Linux and seldom gets huge pages.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    made = mmap.mmap(-1, max(_BLOCK, -(-nbytes // _BLOCK) * _BLOCK), flags=flags)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        made.madvise(mmap.MADV_HUGEPAGE)
    return made


def _all_bytes(arrays: Arrays) -> tuple[mmap.mmap, int]:
    """The bytes of all arrays, one after another, in aligned memory."""
    nbytes = sum(array.nbytes for array in arrays.values())
    memory = _memory(nbytes)
    place = np.frombuffer(memory, np.uint8)
    offset = 0
    for array in arrays.values():
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        place[offset : offset + flat.size] = flat
        offset += flat.size
    return memory, nbytes


def _in_parallel(n_threads: int, nbytes: int, work: Callable[[int, int], None]) -> None:
    """Call work(start, stop) for equal parts, in so many threads."""
    step = -(-nbytes // n_threads // _PIECE) * _PIECE or _PIECE
    parts = [(start, min(start + step, nbytes)) for start in range(0, nbytes, step)]
    if len(parts) == 1:
        work(*parts[0])
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(work, *part) for part in parts]:
            done.result()


# ---- writing ---------------------------------------------------------------------------------


def writers(room: Path, arrays: Arrays, *, durable: bool) -> list[Contender]:
    """Plain writes of the bytes of these arrays to a new file."""
    path = room / "limit"
    flat, nbytes = _all_bytes(arrays)
    groups = _gathered(arrays.values())

    def check(result: Any, call: int) -> None:
        if path.read_bytes() != memoryview(flat)[:nbytes]:
            raise AssertionError("other bytes were written")

    def buffered(behind: bool) -> Callable[[int], None]:
        return lambda call: _write(path, groups, nbytes, durable, behind)

    def direct(n_threads: int) -> Callable[[int], None]:
        return lambda call: _write_direct(path, flat, nbytes, n_threads)

    ways = [("write", "fallocate, one write for 4 MiB or one array", buffered(False))]
    if durable:
        ways[0] = ("write", "fallocate, writes, fdatasync", buffered(False))
        if from_libc("sync_file_range") is not None:
            how = "fallocate, writes, sync_file_range(WRITE) behind each, fdatasync"
            ways.append(("write-behind", how, buffered(True)))
        for n in (1, 2, 4) if _DIRECT else ():
            how = f"fallocate, O_DIRECT, 4 MiB pieces, {n} thread(s), fdatasync"
            ways.append((f"direct ×{n}", how, direct(n)))
    return [
        _limit(name, how, run, check=check, prepare=remover(room), file_nbytes=sizer(path))
        for name, how, run in ways
    ]


def pieces(room: Path, parts: Sequence[Array], *, durable: bool) -> list[Contender]:
    """Plain writes of pieces to a new file: of 4 MiB, and of each by itself if it is small."""
    path = room / "limit"
    nbytes = sum(part.nbytes for part in parts)

    def check(result: Any, call: int) -> None:
        with open(path, "rb") as file:
            if not all(file.read(part.nbytes) == part.tobytes() for part in parts) or file.read(1):
                raise AssertionError("other bytes were written")

    def way(name: str, how: str, groups: list[list[memoryview]], behind: bool = False) -> Contender:
        return _limit(
            name,
            f"fallocate, {how}, fdatasync" if durable else f"fallocate, {how}",
            lambda call: _write(path, groups, nbytes, durable, behind),
            check=check,
            prepare=remover(room),
            file_nbytes=sizer(path),
        )

    together = _gathered(parts)
    ways = [way("write", "a write for 4 MiB, or 512 pieces", together)]
    if len(together) < len(parts):
        each = [piece for part in parts for piece in _gathered([part])]
        ways.append(way("a write each", "a write for each piece", each))
    if durable and from_libc("sync_file_range") is not None:
        how = "a write for 4 MiB, sync_file_range(WRITE) behind it"
        ways.append(way("write-behind", how, together, True))
    return ways


def _gathered(arrays: Iterable[Array]) -> list[list[memoryview]]:
    """The bytes of arrays, small ones together, as one system call takes them."""
    groups: list[list[memoryview]] = []
    nbytes = _PIECE
    for array in arrays:
        view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        for start in range(0, len(view), _PIECE):
            piece = view[start : start + _PIECE]
            if nbytes + len(piece) > _PIECE or len(groups[-1]) == _N_BUFFERS:
                groups.append([])
                nbytes = 0
            groups[-1].append(piece)
            nbytes += len(piece)
    return groups


def _create(path: Path, nbytes: int, flags: int = 0) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o666)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, nbytes)
    return fd


def _write(
    path: Path, groups: list[list[memoryview]], nbytes: int, durable: bool, behind: bool
) -> None:
    start_writing = from_libc("sync_file_range") if behind else None
    fd = _create(path, nbytes)
    offset = 0
    for group in groups:
        wanted = sum(len(piece) for piece in group)
        if os.writev(fd, group) != wanted:
            raise OSError("the system wrote less than it was given")
        if start_writing is not None:
            start, length = ctypes.c_int64(offset), ctypes.c_int64(wanted)
            start_writing(fd, start, length, ctypes.c_uint(2))
        offset += wanted
    _finish(fd, path, durable)


def _write_direct(path: Path, flat: mmap.mmap, nbytes: int, n_threads: int) -> None:
    fd = _create(path, nbytes, _DIRECT)
    view = memoryview(flat)

    def write(start: int, stop: int) -> None:
        for at in range(start, stop, _PIECE):
            # To the end of the last block; what is too much is cut off below.
            end = min(at + _PIECE, -(-stop // _BLOCK) * _BLOCK)
            if os.pwrite(fd, view[at:end], at) != end - at:
                raise OSError("the system wrote less than it was given")

    _in_parallel(n_threads, nbytes, write)
    if nbytes % _BLOCK:
        os.ftruncate(fd, nbytes)
    _finish(fd, path, True)


def _finish(fd: int, path: Path, durable: bool) -> None:
    if durable:
        getattr(os, "fdatasync", os.fsync)(fd)
    os.close(fd)
    if durable:
        sync(path.parent)


# ---- reading ---------------------------------------------------------------------------------


def readers(room: Path, arrays: Arrays, *, cold: bool, existing: bool = False) -> list[Contender]:
    """Plain reads of the bytes of these arrays into new memory, or some that exists."""
    path = room / "limit"
    flat, nbytes = _all_bytes(arrays)
    if not path.exists():
        _write(path, _gathered(arrays.values()), nbytes, True, False)
        evict(path)
    into = _memory(nbytes) if existing else None
    if into is not None:
        np.frombuffer(into, np.uint8).fill(0)

    def check(result: mmap.mmap, call: int) -> None:
        if memoryview(result)[:nbytes] != memoryview(flat)[:nbytes]:
            raise AssertionError("other bytes were read")

    def way(name: str, n: int, flags: int = 0, piece: int = _PIECE) -> Contender:
        what = f"{'O_DIRECT' if flags else 'preadv'}, {piece >> 20} MiB pieces"
        return _limit(
            f"{name} ×{n}",
            f"{what}, {n} thread(s), huge pages" + (", which exist" if existing else ""),
            lambda call: _read(path, nbytes, n, flags, piece, into),
            check=check,
            prepare=ready_to_read(path, cold),
            file_nbytes=sizer(path),
        )

    ways = [way("read", n) for n in ((1, 2, 4) if cold else (1, 2))]
    if cold:
        # The system reads ahead further for large reads.
        ways += [way("large reads", n, piece=_LARGE) for n in (1, 2)]
        ways += [way("direct", n, _DIRECT) for n in (1, 2, 4)] if _DIRECT else []
    return ways


def _read(
    path: Path, nbytes: int, n_threads: int, flags: int, piece: int, into: mmap.mmap | None
) -> mmap.mmap:
    fd = os.open(path, os.O_RDONLY | flags)
    memory = _memory(nbytes) if into is None else into
    view = memoryview(memory)

    def read(start: int, stop: int) -> None:
        at = start
        while at < stop:
            end = min(at + piece, -(-stop // _BLOCK) * _BLOCK)
            if not (n := os.preadv(fd, [view[at:end]], at)):
                raise OSError("the file is too short")
            at += n

    _in_parallel(n_threads, nbytes, read)
    os.close(fd)
    return memory


def copies(arrays: Arrays) -> list[Contender]:
    """One copy of the bytes of these arrays to new memory."""
    flat, nbytes = _all_bytes(arrays)
    source = np.frombuffer(flat, np.uint8)[:nbytes]

    def copy(call: int) -> Array:
        target = np.frombuffer(_memory(nbytes), np.uint8)[:nbytes]
        np.copyto(target, source)
        return target

    def check(result: Array, call: int) -> None:
        if not np.array_equal(result, source):
            raise AssertionError("other bytes were copied")

    return [_limit("memcpy", "one memory copy into huge pages, no file", copy, check=check)]


def rows(
    path: Path,
    start: int,
    row_nbytes: int,
    dtype: str,
    pick: Callable[[int], Sequence[int]],
    check: Callable[[Sequence[Array], int], None],
    *,
    cold: bool,
) -> list[Contender]:
    """The chunks of a matrix from `start` on that hold rows of a call, one by one."""

    def read(call: int) -> list[Array]:
        fd = os.open(path, os.O_RDONLY)
        chunk = np.empty(_CHUNK, np.uint8)
        found: list[Array] = []
        for i in pick(call):
            at = i * row_nbytes
            os.preadv(fd, [chunk.data], start + at // _CHUNK * _CHUNK)
            found.append(chunk[at % _CHUNK : at % _CHUNK + row_nbytes].view(dtype).copy())
        os.close(fd)
        return found

    how = "open, preadv of 64 KiB and a copy of the row for each, close"
    return [_limit("preads", how, read, check=check, prepare=ready_to_read(path, cold))]
