# SPDX-License-Identifier: Apache-2.0
"""A disk that writes down in which order it is told what, for tests/block_images.py.

It is a file that a process of its own serves through FUSE, and a loop device on that file. A
write of the device is a write of the file, and what tells the device to empty its cache is a
sync of the file. Requests are answered one after the other, so that what was acknowledged
before another was made stands before it. A mark is an extended attribute that somebody sets.

The kernel is spoken to through /dev/fuse without a library: of the protocol, a disk needs little.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import signal
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from volumes import LIBC, MNT_DETACH, MissingError, checked, mount, unbroken, unmount

PAGE = 4096
FALLOC_PUNCH = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
FALLOC_ZERO = 0x10
PR_SET_PDEATHSIG = 1
MARK = "user.mark"
MODE = stat.S_IFREG | 0o644

# Of linux/fuse.h, version 7.31.
GETATTR, SETATTR, OPEN, READ, WRITE, RELEASE, FSYNC, SETXATTR = 3, 4, 14, 15, 16, 18, 20, 21
FLUSH, INIT, INTERRUPT, DESTROY, FALLOCATE = 25, 26, 36, 38, 43
UNANSWERED = {2, 42, INTERRUPT}  # and that something is forgotten
FUSE_BIG_WRITES, FUSE_MAX_PAGES = 1 << 5, 1 << 22
FOPEN_DIRECT_IO = 1
MAX_WRITE = 1 << 20
HEADER = struct.Struct("=IIQQ16x")
ENTRY = struct.Struct("=cqq")


class Write(NamedTuple):
    """What the disk was told to hold; of zeros or what is given up, only how many bytes."""

    at: int
    nbytes: int
    data: memoryview | None


class Flush(NamedTuple):
    """All that was written before stays."""


Entry = Write | Flush | str  # a mark


class Memory:
    """The bytes of a disk; what was never written, or is zeros, takes no room."""

    def __init__(self, nbytes: int, name: str) -> None:
        self.nbytes, self.name = nbytes, name
        self.fd = os.memfd_create(name, os.MFD_CLOEXEC)
        os.ftruncate(self.fd, nbytes)
        self.map = mmap.mmap(self.fd, nbytes)

    @classmethod
    def of(cls, image: Path) -> Memory:
        """Return what is in a file."""
        memory = cls(image.stat().st_size, str(image))
        with image.open("rb") as file:
            for at, end in extents(file.fileno(), memory.nbytes):
                for page in range(at, end, PAGE):
                    data = os.pread(file.fileno(), PAGE, page)
                    if data.strip(b"\0"):
                        memory.map[page : page + len(data)] = data
        return memory

    def become(self, other: Memory) -> None:
        done = 0
        with memoryview(other.map) as view:
            for at, end in extents(other.fd, other.nbytes):
                self.zero(done, at - done)
                os.pwrite(self.fd, view[at:end], at)
                done = end
        self.zero(done, self.nbytes - done)

    def zero(self, at: int, nbytes: int) -> None:
        if nbytes:
            where = ctypes.c_int64(at), ctypes.c_int64(nbytes)
            checked(LIBC.fallocate(self.fd, FALLOC_PUNCH, *where), "fallocate")

    def do(self, write: Write) -> None:
        if write.data is None:
            self.zero(write.at, write.nbytes)
        else:
            os.pwrite(self.fd, write.data, write.at)

    def save(self, path: Path) -> None:
        with path.open("wb") as file, memoryview(self.map) as view:
            file.truncate(self.nbytes)
            for at, end in extents(self.fd, self.nbytes):
                os.pwrite(file.fileno(), view[at:end], at)

    def close(self) -> None:
        self.map.close()
        os.close(self.fd)


def extents(file: int, nbytes: int) -> Iterator[tuple[int, int]]:
    """Where a file is not known to be zeros."""
    end = 0
    while end < nbytes:
        try:
            at = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(file, at, os.SEEK_HOLE)
        yield at, end


class Log:
    """What the disk was told, in memory that its process shares with ours."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("log", os.MFD_CLOEXEC)

    def note(
        self, kind: bytes, at: int = 0, nbytes: int = 0, data: memoryview | None = None
    ) -> None:
        os.writev(self._fd, [ENTRY.pack(kind, at, nbytes), data or b""])

    def entries(self) -> list[Entry]:
        """Return all of it; the log is given up."""
        whole = memoryview(mmap.mmap(self._fd, 0, prot=mmap.PROT_READ))
        os.close(self._fd)
        found: list[Entry] = []
        at = 0
        while at < len(whole):
            kind, offset, nbytes = ENTRY.unpack_from(whole, at)
            at += ENTRY.size
            data = whole[at : at + nbytes]
            if kind == b"F":
                found.append(Flush())
            elif kind == b"Z":
                found.append(Write(offset, nbytes, None))
            else:
                at += nbytes
                found.append(str(data, "utf-8") if kind == b"M" else Write(offset, nbytes, data))
        return found


def mark(disk: Path, text: str) -> None:
    os.setxattr(disk, MARK, text.encode())


@contextlib.contextmanager
def served(memory: Memory, log: Log, at: Path) -> Iterator[None]:
    """Make `at` the file through which the memory is written, until it is used no more."""
    at.touch()
    ours = os.getpid()
    server = 0
    try:
        with unbroken():  # it is interrupted together with us, and has still to see us unmount
            try:
                fuse = os.open("/dev/fuse", os.O_RDWR)
                told = f"fd={fuse},rootmode={MODE:o},user_id=0,group_id=0"
                mount("disk", at, "fuse", 0, told)
            except OSError as error:
                raise MissingError(f"needs FUSE: {error.strerror}") from error
            server = os.fork()
            if not server:
                with contextlib.suppress(BaseException):
                    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                    if os.getppid() == ours:
                        serve(fuse, memory, log)
                os._exit(0)
            os.close(fuse)  # so that nobody waits for a process that has ended
        yield
    finally:
        if server:
            release(at, server)
        at.unlink()


@unbroken()
def release(at: Path, server: int) -> None:
    """Unmount what a loop device may still be letting go of, and see its process end."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            unmount(at)
            break
        time.sleep(0.02)
    else:
        unmount(at, MNT_DETACH)
    for _ in range(100):
        if os.waitpid(server, os.WNOHANG)[0]:
            return
        time.sleep(0.02)
    os.kill(server, signal.SIGKILL)
    os.waitpid(server, 0)


# ---- in the process --------------------------------------------------------------------------


def serve(fuse: int, memory: Memory, log: Log) -> None:
    """Answer what the kernel asks of the file, one request after the other, to the end."""
    buffer = bytearray(MAX_WRITE + PAGE)
    view = memoryview(buffer)
    while True:
        try:
            n = os.readv(fuse, [buffer])
        except OSError as error:
            if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                continue
            return  # ENODEV: it is mounted no more
        _, what, request, _ = HEADER.unpack_from(buffer)
        if what in UNANSWERED:
            continue
        try:
            said = answer(what, view[HEADER.size : n], memory, log)
            code = 0
        except OSError as error:
            said, code = b"", -(error.errno or errno.EIO)
        with contextlib.suppress(OSError):  # nobody waits for it any more
            os.writev(fuse, [struct.pack("=IiQ", 16 + len(said), code, request), said])


def answer(what: int, told: memoryview, memory: Memory, log: Log) -> bytes | memoryview:
    if what == READ:
        at, n = struct.unpack_from("=8xQI", told)
        return memoryview(memory.map)[at : min(at + n, memory.nbytes)]
    if what == WRITE:
        at, n = struct.unpack_from("=8xQI", told)
        data = told[40 : 40 + n]
        if at + n > memory.nbytes:
            raise OSError(errno.ENOSPC, "")
        memory.map[at : at + n] = data
        log.note(b"W", at, n, data)
        return struct.pack("=II", n, 0)
    if what == FSYNC:
        log.note(b"F")
        return b""
    if what == FALLOCATE:
        at, n, mode = struct.unpack_from("=8xQQI", told)
        if not mode & (FALLOC_PUNCH | FALLOC_ZERO):
            raise OSError(errno.EOPNOTSUPP, "")
        memory.zero(at, n)
        log.note(b"Z", at, n)
        return b""
    if what == SETXATTR:
        (n,) = struct.unpack_from("=I", told)
        text = told[len(told) - n :]
        log.note(b"M", 0, n, text)
        return b""
    if what == INIT:
        major, minor, ahead = struct.unpack_from("=III", told)
        flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES
        pages = MAX_WRITE // PAGE
        return struct.pack(
            "=IIIIHHIIHH32x", major, min(minor, 31), ahead, flags, 16, 12, MAX_WRITE, 1, pages, 0
        )
    if what in (GETATTR, SETATTR):
        attributes = struct.pack(
            "=6Q10I", 1, memory.nbytes, 0, 0, 0, 0, 0, 0, 0, MODE, 1, 0, 0, 0, PAGE, 0
        )
        return struct.pack("=QII", 3600, 0, 0) + attributes
    if what == OPEN:
        return struct.pack("=QII", 0, FOPEN_DIRECT_IO, 0)
    if what in (FLUSH, RELEASE, DESTROY):
        return b""
    raise OSError(errno.ENOSYS, "")
