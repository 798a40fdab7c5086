# SPDX-License-Identifier: Apache-2.0
"""The file of a Writer: what is free in it, its head, and its chain of indexes.

A commit writes what it adds and an index of that, which names the one before, then switches
the head (docs/FORMAT.md 2 and 3.10). An index takes in the ones before it while they are not
much longer, so that a chain stays short and a commit costs about what it adds.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import NamedTuple

from mxio import _core
from mxio.errors import FormatError

__all__ = ["Generations", "Placed", "Stored"]

# docs/FORMAT.md 5
_APPENDING, _DELTA, _RUNS = 1, 2, 4
_HEAD_NBYTES = 4096
_PAGE_NBYTES = 4096
_PAGED_NBYTES = 1 << 16  # what is as long begins with a page

# Space is asked for ahead, as much as was written, from so much on and so much at most: a file
# system writes faster to space that a file has.
_AHEAD_NBYTES = 8 << 20
_AHEAD_NBYTES_MAX = 256 << 20

_CHAIN = 32  # indexes of a file, which may have 64
_CHEAP_NBYTES = 1 << 20  # an index that is written whole at the end


class _Level(NamedTuple):
    """An index of the file, and of how many it is made."""

    handle: _core.Index
    where: tuple[int, int, int]  # offset, nbytes, crc
    n_chain: int
    has_runs: bool


class Stored(NamedTuple):
    """What an index says of an array: what it keeps of its parent's, and what comes behind."""

    dtype: str
    shape: tuple[int, ...]
    order: str
    nbytes: int
    chunk_nbytes: int
    kept: int
    runs: list[tuple[int, int]]  # offset and nbytes, behind what is kept
    checksums: bytes  # from the chunk on in which `kept` ends


class Placed(NamedTuple):
    """A whole array that a plan has written."""

    dtype: str
    shape: tuple[int, ...]
    order: str
    nbytes: int
    offset: int
    chunk_nbytes: int
    checksums: bytes

    def stored(self) -> Stored:
        runs = [(self.offset, self.nbytes)] if self.nbytes else []
        return Stored(
            self.dtype,
            self.shape,
            self.order,
            self.nbytes,
            self.chunk_nbytes,
            0,
            runs,
            self.checksums,
        )


class Generations:
    """A held file, commit by commit.

    Attributes
    ----------
    file : _core.File
    sync : bool
        Whether a commit is to survive a power cut.
    threads : int
    is_committed : bool
        Whether there is a generation.
    is_broken : bool
        Whether a commit failed so that nobody knows which generation the file has.
    number : int
        Of the last generation; 0 before the first.
    waiting_nbytes : int
        What arrays have in memory that waits to be written.
    """

    def __init__(
        self, file: _core.File, handle: _core.Index | None, sync: bool, threads: int
    ) -> None:
        self.file = file
        self.sync = sync
        self.threads = threads
        self.is_broken = False
        self.waiting_nbytes = 0
        self.number = 0
        self._required, self._slot, self._file_nbytes = 0, 0, 0
        self._levels: list[_Level] = []
        self._end = self._first = _HEAD_NBYTES  # behind all that is in the file, or has a place
        self._ahead = 0  # the end of space that was asked for
        self._is_ours = handle is None  # what the head says
        self._is_clean = handle is not None and not handle.other_slot_is_damaged
        if handle is None:
            file.truncate(_HEAD_NBYTES)
            # Until there is a head: whose file it is, so that no other writer's SharedArray
            # writes into it.
            file.put(os.urandom(16), 0)
            return
        self._required, self._slot, where = handle.head
        self._file_nbytes, self.number, _ = handle.identity
        self._levels = [_Level(handle, where, handle.n_chain, bool(self._required & _RUNS))]
        # Behind what an interrupted commit has left, too.
        self._end = self._first = _aligned(max(file.nbytes, self._file_nbytes), _PAGE_NBYTES)

    @property
    def is_committed(self) -> bool:
        return self.number > 0

    # ---- space ----

    def begin(self) -> int:
        """Return the offset behind everything, where something may be written."""
        if not self._is_ours:
            # A head of its own, so that nobody else's SharedArray writes into what follows.
            self._switch(self._required | _APPENDING, self._file_nbytes, self._levels[-1].where)
            self._is_ours = True
            if self._is_clean:  # else what lies behind may be a generation that was lost
                self.cut_off()
                self._end = self._first = _aligned(self._file_nbytes, _PAGE_NBYTES)
        return self._end

    def extend(self, end: int) -> None:
        """Note that everything up to there has its place."""
        begin = max(self._ahead, self._end)
        self._end = end
        written = end - self._first
        if end > self._ahead and written >= _AHEAD_NBYTES:
            self._ahead = end + min(written, _AHEAD_NBYTES_MAX)
            with contextlib.suppress(OSError):  # that there is no space is said by who needs it
                self.file.reserve(begin, self._ahead - begin)

    def reserve(self, nbytes: int) -> int:
        """Return the offset of new space that the disk has, or raise OSError."""
        before = self.begin()
        try:
            offset = self.allocate(nbytes)
            self.file.reserve(offset, nbytes)
        except BaseException:
            self._end = before
            raise
        self._ahead = max(self._ahead, self._end)
        return offset

    def allocate(self, nbytes: int, after: int = 0, reserve: int = 0) -> int:
        """Return the offset of new space, `after` if nothing lies behind that, and reserve more."""
        end = self.begin()
        wanted = max(nbytes, reserve)
        offset = after
        if not after or after != end:
            offset = _aligned(end, _PAGE_NBYTES if wanted >= _PAGED_NBYTES else 64)
        self.extend(offset + wanted)
        return offset

    # ---- commits ----

    @property
    def parent(self) -> tuple[int, int, int] | None:
        """Offset, nbytes and crc of the index that the next one adds to."""
        return self._levels[-1].where if self._levels else None

    def is_worth_folding(self, nbytes: int = 0) -> bool:
        """Say whether the whole index should be written at the end: it is short, or mostly new."""
        levels = self._levels
        if len(levels) < 2 and (not levels or levels[0].n_chain < 2):
            return False
        newer = nbytes + sum(level.handle.nbytes for level in levels[1:])
        return levels[0].handle.nbytes <= max(_CHEAP_NBYTES, 4 * newer)

    def commit(self, data: bytes, is_last: bool) -> None:
        """Write an index, with those before it that are not much longer taken in; commit it."""
        at = _aligned(self.begin(), 64)
        levels = list(self._levels)
        folds = is_last and self.is_worth_folding(len(data))
        handle = self._judged(data, at)
        while levels and (
            folds
            or levels[-1].handle.nbytes <= 2 * len(data)
            or sum(level.n_chain for level in levels) >= _CHAIN
        ):
            data = _core.merge_indexes(levels.pop().handle, handle, self.file.name)
            handle = self._judged(data, at)
        has_runs = struct.unpack_from("<Q", data, 24)[0] > 0
        required = _RUNS if has_runs or any(level.has_runs for level in levels) else 0
        required |= _DELTA if levels else 0
        if self.is_committed or not (is_last and self._is_tight(data, at, required)):
            required |= _APPENDING
        where = at, len(data), _core.crc32c(data, 0, None)
        self.file.put(data, at)
        if not required & _APPENDING:
            self.file.truncate(at + len(data))
        if self.is_committed:
            self._switch(required, at + len(data), where)
        else:
            self.file.put(_core.encode_head(required, 1, at + len(data), where), 0)
            self.is_broken = True
            self.file.commit(self.sync)
            self.is_broken = False
            self.number, self._required, self._file_nbytes = 1, required, at + len(data)
        self._levels = [*levels, _Level(handle, where, 1, has_runs)]
        # No generation shares a sector of the disk with the one before it.
        self._end = _aligned(self._file_nbytes, _PAGE_NBYTES)

    def _judged(self, data: bytes, at: int) -> _core.Index:
        every = _APPENDING | _DELTA | _RUNS
        return _core.decode_index(data, at, at + len(data), every, self.file.name)

    def _is_tight(self, data: bytes, at: int, required: int) -> bool:
        """Say whether a whole index describes a file without space that was given up."""
        name = self.file.name
        try:
            handle = _core.decode_index(data, at, at + len(data), required, name)
            self.file.put(data, at)  # that the file is as long as it says
            self.file.check_padding(handle, 0)
        except FormatError:
            return False
        return True

    def _switch(self, required: int, file_nbytes: int, where: tuple[int, int, int]) -> None:
        """Write the slot of the head that is not in use."""
        slot = 1 - self._slot
        self.is_broken = True
        self.file.switch(required, self.number + 1, file_nbytes, where, slot, self.sync)
        self.is_broken = False
        self.number, self._slot = self.number + 1, slot
        self._required, self._file_nbytes = required, file_nbytes

    def cut_off(self) -> None:
        """Give back what lies behind the last commit."""
        if self.is_committed and not self.is_broken and self._required & _APPENDING:
            self.file.measure()
            if self.file.nbytes > self._file_nbytes:
                self.file.truncate(self._file_nbytes)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
