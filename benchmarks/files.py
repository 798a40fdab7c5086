# SPDX-License-Identifier: Apache-2.0
"""Files in a stated state: synced, in the page cache, or dropped from it."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "CannotMeasure",
    "cool",
    "evict",
    "files_of",
    "from_libc",
    "nbytes_on_disk",
    "remover",
    "sync",
    "warm",
]


_TRIES, _PAUSE = 20, 0.02


class CannotMeasure(Exception):
    """What this system does not let us measure: the case is skipped, and says why."""


def from_libc(name: str) -> Any:
    """A function of the C library; None where there is none of this name."""
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name, None)
    except OSError:
        return None


def files_of(path: Path) -> list[Path]:
    """The files of a store that is a folder; of a file itself alone."""
    if not path.is_dir():
        return [path]
    return sorted(found for found in path.rglob("*") if found.is_file())


def nbytes_on_disk(path: Path) -> int:
    return sum(file.stat().st_size for file in files_of(path))


def sync(path: Path) -> None:
    """Make a file or a folder durable, as thoroughly as mxio does."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fsync(fd)
    finally:
        os.close(fd)


def remover(room: Path) -> Callable[[], None]:
    """Return what empties a folder, durably."""

    def remove() -> None:
        for path in room.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        sync(room)

    return remove


def _cached(path: Path) -> float | None:
    """The share of a file in the page cache; None where nobody tells.

    By mincore(2): reading with RWF_NOWAIT would tell too, but starts to read ahead.
    """
    size = path.stat().st_size
    if (mincore := from_libc("mincore")) is None:
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        pages = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
        memory = np.frombuffer(view, np.uint8)
        start = ctypes.c_void_p(memory.ctypes.data)
        failed = mincore(start, ctypes.c_size_t(size), ctypes.c_void_p(pages.ctypes.data))
        del memory  # or the mapping cannot be closed
    return None if failed else float((pages & 1).mean())


def evict(path: Path) -> None:
    """Drop a file from the page cache, as far as the system lets us."""
    if hasattr(os, "posix_fadvise"):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def warm(path: Path) -> None:
    """Have all of a file in the page cache."""
    if _cached(path) not in (None, 1.0):
        buffer = bytearray(1 << 20)
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def cool(path: Path) -> None:
    """Have nothing of a file in the page cache, or raise CannotMeasure."""
    # What the system is still reading ahead cannot be dropped yet.
    for _ in range(_TRIES):
        evict(path)
        if not (share := _cached(path)):
            break
        time.sleep(_PAUSE)
    if share != 0.0:
        told = "nobody tells how much" if share is None else f"{share:.1%}"
        raise CannotMeasure(
            f"{path.name} cannot be dropped from the page cache ({told} is there): some "
            f"file systems keep their pages, such as tmpfs; try another --folder"
        )
