# SPDX-License-Identifier: Apache-2.0
"""A file as it would be saved, made in memory at once and written later.

A snapshot is the bytes of the file, checksums and all: making one is the save that it stands
for, into memory instead of onto the disk. What is written later is checked against checksums
that were computed from the caller's arrays.
"""

from __future__ import annotations

from mxio import _core, formats
from mxio._index import Content
from mxio._progress import Progress
from mxio._source import Path, create

__all__ = ["Snapshot"]

# Handed to the disk at once; in between progress is told.
_STEP_NBYTES = 64 << 20


class Snapshot:
    """Memory for one file at a time, kept from one to the next.

    Memory that was touched before is filled at the speed of memory, new one at half of that.
    """

    def __init__(self) -> None:
        self._room = self._file = memoryview(b"")

    def take(self, content: Content, n_threads: int) -> None:
        """Copy arrays into the file that they make, in memory."""
        plan = formats.native.plan(content)
        nbytes = plan.file_nbytes
        if not nbytes <= self._room.nbytes <= 2 * nbytes:
            self._room = self._file = memoryview(b"")  # before there is another
            self._room = memoryview(_core.Memory(nbytes))
        self._file = self._room[:nbytes]
        plan.fill(self._file, n_threads)

    def write(self, path: Path, progress: Progress | None) -> None:
        """Write the file, as durably as `mxio.save`; the arrays are not needed any more."""
        file = create(path)
        try:
            total = self._file.nbytes
            file.reserve(0, total)
            for start in range(0, total, _STEP_NBYTES):
                piece = self._file[start : start + _STEP_NBYTES]
                file.put(piece, start, direct=True)
                if progress is not None:
                    progress(start + piece.nbytes, total)
            file.commit(True)
        finally:
            file.close()
