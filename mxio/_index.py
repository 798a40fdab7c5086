# SPDX-License-Identifier: Apache-2.0
"""The noun: an ordered map from name to entry, for one file.

An Index stands on a handle that C has judged. Nothing is made for an entry until
it is asked for, so a file of a million arrays opens without a million objects.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from mxio import _core, _dtype
from mxio.errors import EntryError, UnsupportedError, quote

__all__ = ["Codec", "Content", "Entry", "Index", "Sources", "full_names"]

Array: TypeAlias = "np.ndarray[Any, Any]"
# What is asked of many entries at once: row of the dtype, shape, order, nbytes, and the number
# of the entry or, where it is a second name, of the first.
Facts: TypeAlias = tuple[int, tuple[int, ...], str, int, int]

# Searching for names that are close costs time for each name there is, and for its length.
_SUGGEST_FROM_AT_MOST = 1000
_SUGGEST_LENGTH_AT_MOST = 200


class Entry(NamedTuple):
    """A named array in a file.

    Attributes
    ----------
    number : int
        Its place in the file's order.
    name : str
    dtype : str
        The name on disk, such as ``float32`` or ``bfloat16``.
    shape : tuple of int
    order : {'C', 'F'}
        Which axis is contiguous: the last or the first.
    nbytes : int
    offset : int
        Of its first byte in the file; 0 when it has none.
    chunk_nbytes : int
        What one checksum covers; the last chunk may be shorter. In a foreign file,
        which has no such checksums, what is read at least.
    alias_of : int or None
        The number of the entry whose memory this is a second name of.
    stored_nbytes : int
        What the entry takes in the file: `nbytes` unless it is encoded there.
    """

    number: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    order: str
    nbytes: int
    offset: int
    chunk_nbytes: int
    alias_of: int | None
    stored_nbytes: int


class Codec(Protocol):
    """How an entry is had whose bytes do not lie in the file as they are.

    Also for an entry that only a whole read can check. Attributes: `plain` says that
    the bytes do lie at the entry's offset as they are, so that `pieces` is only needed
    to check them.
    """

    @property
    def plain(self) -> bool: ...

    def pieces(self, file: _core.File, entry: Entry, verify: bool) -> Iterator[bytes]:
        """Give the entry's bytes in its stored order, a few MiB at a time.

        What is wrong with them may be known only behind the last piece.
        """


class Origin(Protocol):
    """Where a file is, and what it has to be, so that another process finds it again."""

    @property
    def identity(self) -> tuple[object, ...]: ...

    def lazy(self, number: int) -> Any:
        """Return the lazy array of an entry."""


class Sources(Protocol):
    """Arrays that come from another file piece by piece, by their numbers in a plan."""

    def __contains__(self, number: object, /) -> bool: ...

    def ordered(self, order: str) -> Sources:
        """Return the same, given in 'C' order, or as each array lies ('A')."""

    def converted(self, number: int, dtype: np.dtype[Any]) -> tuple[Sources, Array]:
        """Return the same, one of them as another dtype, and its stand-in."""

    def fill(self, number: int, start: int, into: Any) -> None:
        """Fill a writable buffer with the array's bytes from `start` on."""

    def fetch(self, numbers: Sequence[int]) -> list[Array]:
        """Return whole small arrays, contiguous in their order."""


class Content(NamedTuple):
    """What is to be saved, decided leaf by leaf: what a format makes a plan of.

    Attributes
    ----------
    names : list of str
    arrays : list of numpy.ndarray
        As they lie: any strides, any byte order. One of `sources` is a stand-in that
        has shape, dtype and strides, but no memory.
    dtypes : list of str
        Their names on disk. (Where NumPy lacks the dtype, the array has its bits.)
    structure : bytes
        docs/FORMAT.md 3.8.
    metadata : mapping or None
    sources : Sources or None
    """

    names: list[str]
    arrays: list[Array]
    dtypes: list[str]
    structure: bytes
    metadata: Mapping[str, Any] | None
    sources: Sources | None

    def pieces(self, number: int, order: str) -> Iterator[Array]:
        """Give an array's bytes in 'C' or 'F' order, little-endian, at most 4 MiB at a time.

        The arrays given are contiguous uint8; one is valid until the next is asked for.
        A source gives the order its stand-in lies in, or 'C'.
        """
        array = self.arrays[number]
        if self.sources is not None and number in self.sources:
            sources = self.sources.ordered("C" if order == "C" else "A")
            buffer = np.empty(min(_PIECE_NBYTES, array.nbytes), np.uint8)
            for start in range(0, array.nbytes, _PIECE_NBYTES):
                piece = buffer[: array.nbytes - start]
                sources.fill(number, start, piece.data)
                yield piece
            return
        yield from _pieces(array.T if order == "F" else array)


_PIECE_NBYTES = 4 << 20
_KEPT_NBYTES = 8 << 20
_KEPT_ONCE_NBYTES = 1 << 19  # of these, for chunks that were wanted once


class Kept:
    """Chunks of a file that were wanted in part more than once: the last 8 MiB of them.

    One that was wanted once waits among the last few for the second time, so that reads
    from all over a file go through little memory. Nobody waits for another: a thread that
    finds another one at it keeps nothing, so that nothing is left locked in a process
    that was forked meanwhile.
    """

    def __init__(self) -> None:
        self._once: dict[tuple[int, int], Array] = {}
        self._often: dict[tuple[int, int], Array] = {}
        self._once_nbytes = self._often_nbytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        return self._once_nbytes + self._often_nbytes

    def get(self, key: tuple[int, int]) -> Array | None:
        """Return that chunk of that entry, or None."""
        chunk = self._often.get(key)
        if chunk is None:
            chunk = self._once.get(key)
            if chunk is not None and self._lock.acquire(blocking=False):
                try:
                    if self._once.pop(key, None) is not None:
                        self._once_nbytes -= chunk.nbytes
                        self._often[key] = chunk
                        self._often_nbytes += chunk.nbytes
                        while self.nbytes > _KEPT_NBYTES:
                            self._often_nbytes -= _drop_first(self._often)
                finally:
                    self._lock.release()
        return chunk

    def put(self, key: tuple[int, int], chunk: Array) -> None:
        """Keep a chunk that was wanted for the first time."""
        nbytes = len(chunk)
        once = self._once
        if nbytes > _KEPT_NBYTES // 2 or not self._lock.acquire(False):
            return
        try:
            if key not in once and key not in self._often:
                once[key] = chunk
                nbytes += self._once_nbytes
                while nbytes > _KEPT_ONCE_NBYTES and len(once) > 1:
                    nbytes -= _drop_first(once)
                self._once_nbytes = nbytes
                while nbytes + self._often_nbytes > _KEPT_NBYTES:
                    self._often_nbytes -= _drop_first(self._often)
        finally:
            self._lock.release()

    def clear(self) -> None:
        """Give back the memory, of a file that is closed."""
        if self._lock.acquire(timeout=0.1):  # not for ever: see above
            self._once, self._often = {}, {}
            self._once_nbytes = self._often_nbytes = 0
            self._lock.release()


def _drop_first(chunks: dict[tuple[int, int], Array]) -> int:
    return chunks.pop(next(iter(chunks))).nbytes


def _pieces(array: Array) -> Iterator[Array]:
    """Give an array's bytes in C order, little-endian, cut along its first axes."""
    if array.nbytes == 0:
        return
    if array.nbytes > _PIECE_NBYTES and array.ndim:
        if len(array) == 1:
            yield from _pieces(array[0])
            return
        row = array.nbytes // len(array)
        rows = max(1, _PIECE_NBYTES // row)
        for i in range(0, len(array), rows):
            # One row may still be too long.
            yield from _pieces(array[i : i + rows] if row <= _PIECE_NBYTES else array[i])
        return
    piece = np.ascontiguousarray(array).reshape(-1)
    swapped = piece.dtype.newbyteorder("<")
    yield piece.astype(swapped, copy=False).view(np.uint8)


# How the names of Gluon's parameters end.
_PARAMETERS = ("_weight", "_bias", "_gamma", "_beta", "_running_mean", "_running_var")


def full_names(names: list[str]) -> list[str]:
    """Return the full names of parameters, if names are such rather than structure names."""
    if any("." in name for name in names):
        return []
    return [name for name in names if name.endswith(_PARAMETERS)]


class Index(Mapping[str, Entry]):
    """Name → entry, in the order of the file.

    Attributes
    ----------
    handle : _core.Index
    dtypes : list of numpy.dtype or UnsupportedError
        What each row of the file's dtypes is here, or why it is nothing.
    structure : bytes
        How the entries make up what was saved (docs/FORMAT.md 3.8).
    metadata : dict
    format : str
        ``mxio``, ``mxnet``, ``safetensors``, ``npz`` or ``npy``.
    version : str
        Of the format, as far as the file tells; for people.
    codecs : dict of int to Codec
        Of the entries that have one.
    kept : Kept
    origin : Origin or None
        How the file is found again by another process.
    """

    def __init__(
        self,
        handle: _core.Index,
        metadata: dict[str, Any],
        where: str,
        *,
        format: str,
        version: str,
        dtypes: list[np.dtype[Any] | UnsupportedError] | None = None,
        codecs: Mapping[int, Codec] | None = None,
    ) -> None:
        self.handle = handle
        self._where = where
        self.structure = handle.structure
        self.metadata = metadata
        self.format = format
        self.version = version
        self.codecs = codecs or {}
        self.origin: Origin | None = None
        self.kept = Kept()
        self._decoded: tuple[int, Array] | None = None
        self._native: list[np.dtype[Any] | UnsupportedError] | None = None
        self._has_all = True
        self._dtype_names = handle.dtypes()
        self.dtypes: list[np.dtype[Any] | UnsupportedError] = dtypes or [
            _dtype.resolve(name, item_bits) for name, item_bits in self._dtype_names
        ]

    def __len__(self) -> int:
        return len(self.handle)

    def __iter__(self) -> Iterator[str]:
        return iter(self.handle.names())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.handle.find(name) >= 0

    def __getitem__(self, name: str) -> Entry:
        return self.entry(self.number(name))

    def get(self, name: str, default: Any = None) -> Any:
        """Return the entry of that name, or `default`, without looking for names that are close."""
        number = self.handle.find(name) if isinstance(name, str) else -1
        return default if number < 0 else self.entry(number)

    def names(self) -> list[str]:
        """Return all names, in the order of the file."""
        return self.handle.names()

    def number(self, name: str) -> int:
        """Return the number of the entry of that name, or raise EntryError."""
        if not isinstance(name, str):
            raise TypeError(f"a name is a str, not {type(name).__name__}")
        number = self.handle.find(name)
        if number < 0:
            raise EntryError(f"no entry {quote(name)} in {self._where}{self._hint(name)}")
        return number

    def numbers(self, names: Iterable[str]) -> list[int]:
        """Return the numbers of several names, each once, in the order given."""
        if isinstance(names, str):
            raise TypeError(f"names is a list of names; for one array pass [{names!r}]")
        names = list(names)
        find = self.handle.find
        try:
            numbers = [find(name) for name in names]
        except TypeError:
            numbers = [-1]
        if -1 in numbers:
            numbers = [self.number(name) for name in names]  # which says what is wrong
        return list(dict.fromkeys(numbers))

    def entry(self, number: int) -> Entry:
        """Return the entry of that number."""
        name, row, shape, *rest = self.handle.entry(number)
        # Marks of foreign files' rows: another byte order, a dtype that is not known.
        dtype = self._dtype_names[row][0].lstrip(">?")
        return Entry(number, name, dtype, shape, *rest)  # type: ignore[arg-type]

    def row(self, entry: Entry) -> tuple[int, tuple[str, int]]:
        """Return the row of an entry's dtype, and that row's name and bits."""
        row = self.handle.entry(entry.number)[1]
        return row, self._dtype_names[row]

    def signatures(self, numbers: Sequence[int]) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return the shape and dtype of each of several entries, as they are once read."""
        facts = self.handle.entries(list(numbers))
        native = self.native_dtypes(numbers, facts)
        return [(fact[1], native[fact[0]]) for fact in facts]

    def native_dtypes(self, numbers: Sequence[int], facts: list[Facts]) -> list[np.dtype[Any]]:
        """Return what each row's dtype is in this machine's byte order.

        UnsupportedError where one of these entries, of which `facts` are known, has none.
        """
        native = self._native
        if native is None:
            native = [
                dtype
                if isinstance(dtype, UnsupportedError) or dtype.isnative
                # A file in another byte order.
                else dtype.newbyteorder("=")
                for dtype in self.dtypes
            ]
            self._has_all = not any(isinstance(d, UnsupportedError) for d in native)
            self._native = native  # last: other threads go by it
        if not self._has_all:
            for number, (row, *_) in zip(numbers, facts, strict=True):
                if isinstance(native[row], UnsupportedError):
                    self.dtype(self.entry(number))
        return native  # type: ignore[return-value]

    def dtype(self, entry: Entry) -> np.dtype[Any]:
        """Return an entry's NumPy dtype as it is stored; UnsupportedError says what is missing."""
        found = self.dtypes[self.handle.entry(entry.number)[1]]
        if isinstance(found, UnsupportedError):
            raise UnsupportedError(f"{quote(entry.name)} in {self._where}: {found}")
        return found

    @functools.cached_property
    def token(self) -> object:
        """What tells the contents of this file from those of all others."""
        return os.urandom(16).hex() if self.origin is None else self.origin.identity

    @property
    def has_checksums(self) -> bool:
        """Whether there are checksums of parts: those of a codec cover whole entries."""
        return self.handle.has_checksums

    @property
    def is_native(self) -> bool:
        """Whether all dtypes are in this machine's byte order."""
        return all(isinstance(dtype, UnsupportedError) or dtype.isnative for dtype in self.dtypes)

    def decoded(self, file: _core.File, entry: Entry, verify: bool) -> Array:
        """Return all bytes of an entry that has a codec, those of the last one kept.

        A loop over the rows of such an entry decodes it once.
        """
        last = self._decoded
        if last is None or last[0] != entry.number:
            into = np.empty(entry.nbytes, np.uint8)
            self.decode(file, entry, into, verify)
            last = self._decoded = entry.number, into
        return last[1]

    def decode(self, file: _core.File, entry: Entry, into: Array, verify: bool) -> None:
        """Fill `into`, contiguous uint8, with the bytes of an entry that has a codec."""
        at = 0
        for piece in self.codecs[entry.number].pieces(file, entry, verify):
            into[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)

    def _hint(self, name: str) -> str:
        if not len(self):
            return ", which holds no arrays"
        inside = sum(found.startswith(f"{name}/") for found in self.names())
        if inside:
            return f": it is a group of {inside} arrays, whose names begin with {quote(f'{name}/')}"
        if "." in name:
            full = full_names(self.names())
            if full:
                return (
                    f": its arrays have full names ({', '.join(map(quote, full[:3]))}, …), as "
                    "ParameterDict.save, save_params and export of MXNet write them, not the "
                    "structure names of save_parameters"
                )
        prefixed = next((p for p in ("arg:", "aux:") if f"{p}{name}" in self), "")
        if prefixed:
            return f": did you mean {quote(prefixed + name)}? load(..., strip={prefixed!r}) cuts it"
        inner = next((found for found in self.names() if found.endswith(f"/{name}")), "")
        if inner:
            return f": did you mean {quote(inner)}?"
        if len(self) > _SUGGEST_FROM_AT_MOST:
            return f", which holds {len(self)} arrays"
        import difflib  # only to help: 1 ms that every import would pay

        names = [found for found in self.names() if len(found) <= _SUGGEST_LENGTH_AT_MOST]
        close = difflib.get_close_matches(name[:_SUGGEST_LENGTH_AT_MOST], names, 3)
        if close:
            return ": did you mean " + " or ".join(map(quote, close)) + "?"
        some = self.names()[:5]
        more = ", …" if len(self) > 5 else ""
        return f", which holds {len(self)}: " + ", ".join(map(quote, some)) + more
