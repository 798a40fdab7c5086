# SPDX-License-Identifier: Apache-2.0
"""An open file: what is in it, and the way of its arrays into memory.

A format has turned the file into an Index; names select entries, C fills and verifies
arrays, or the file is mapped. `mxio._file` is the door in front of this.
"""

from __future__ import annotations

import operator
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from mxio import _core, _tree, formats
from mxio._fill import Filling, check_entries
from mxio._index import Index
from mxio._lazy import LazyArray, read_entries
from mxio._progress import Progress, counted, shown
from mxio._source import Source, open_source
from mxio.errors import (
    ChecksumError,
    EntryError,
    FormatError,
    UnsupportedError,
    described,
    printable,
    quote,
)

__all__ = ["Damage", "Reader", "thread_count"]

# Of its own accord; the engine never starts more than 64.
_THREADS_AT_MOST = 8
_THREADS_MAX = 64


# docs/FORMAT.md 2
_SLOT_OFFSETS = 0, 2048
_SLOT_NBYTES = 128


class Damage(NamedTuple):
    """A place in a file that is not as it was written.

    Attributes
    ----------
    name : str or None
        The damaged array; None for head, index and padding.
    chunk : int or None
        The number of the chunk in that array.
    offset : int or None
        In the file, in bytes, where one place is to blame.
    nbytes : int
        How many bytes from there on the failed checksum covers; 0 if unknown.
    what : str
        One sentence.
    """

    name: str | None
    chunk: int | None
    offset: int | None
    nbytes: int
    what: str


def thread_count(threads: int | None) -> int:
    """Return how many threads a keyword means; None: the environment, or the processors."""
    if threads is None:
        told = os.environ.get("MXIO_THREADS", "")
        if told:
            if not told.isdecimal() or int(told) < 1:
                raise ValueError(f"MXIO_THREADS is a number of 1 or more, not {told!r}")
            return min(int(told), _THREADS_MAX)
        # The processors this process may use, where the system tells.
        usable = getattr(os, "sched_getaffinity", None)
        count = len(usable(0)) if usable else (os.cpu_count() or 1)
        return min(count, _THREADS_AT_MOST)
    if operator.index(threads) < 1:
        raise ValueError(f"threads is 1 or more, not {threads}")
    return min(operator.index(threads), _THREADS_MAX)


class Origin(NamedTuple):
    """Where a file is and what it was, so that another process finds it, or learns otherwise."""

    path: str | bytes
    identity: tuple[object, ...]
    verify: bool | None
    threads: int | None
    encoding: str | None

    def reader(self) -> Reader:
        """Open the file again, if it is still the same."""
        reader = Reader(self.path, verify=self.verify, threads=self.threads, encoding=self.encoding)
        found = reader.index.origin
        if found is None or found.identity != self.identity:
            reader.close()
            raise FormatError(
                f"{os.fsdecode(self.path)} is another file than the one that was pickled: it was "
                "replaced or changed meanwhile"
            )
        return reader

    def lazy(self, number: int) -> LazyArray:
        """Return an entry's lazy array; those of one file share it in this process."""
        reader = _shared.get(self)
        if reader is None:
            reader = _shared[self] = self.reader()
        return LazyArray(
            reader._file,
            reader.index,
            reader.index.entry(number),
            reader._verify,
            reader._threads,
            reader,
        )


_shared: weakref.WeakValueDictionary[Origin, Reader] = weakref.WeakValueDictionary()


def _stamp(source: Source) -> tuple[str | bytes, int] | None:
    """Return a path that stays the same from wherever, and when that file was modified."""
    if not isinstance(source, (str, os.PathLike)):
        return None
    try:
        path = os.path.abspath(os.fspath(source))
        # Before it is opened: a file that is put in its place later has another time.
        return path, os.stat(path).st_mtime_ns
    except (OSError, ValueError):  # which opening it will say
        return None


def _identity(file: _core.File, index: Index, modified: int) -> tuple[object, ...]:
    """Return what tells a file from others: its checksums, where the format has such."""
    if index.format == formats.native.NAME:
        return index.handle.identity
    return file.nbytes, modified


class Reader(Mapping[str, LazyArray]):
    """An open file: a read-only mapping from name to LazyArray.

    Nothing but head and index is read until an array is asked for. Several threads
    may read at once. Arrays that were read outlive the reader. The reader of a path is
    pickled as that path, and opens again where the file is still the same.

    Attributes
    ----------
    index : Index
        Name → `Entry`: dtype, shape, offset, …
    metadata : dict
        What was given to `save`.

    Examples
    --------
    >>> with mxio.open('w.mxio') as f:
    ...     list(f)
    ['w']
    """

    index: Index
    metadata: dict[str, Any]

    def __init__(
        self,
        source: Source,
        *,
        verify: bool | None = None,
        threads: int | None = None,
        encoding: str | None = None,
    ) -> None:
        n_threads = thread_count(threads)
        stamp = _stamp(source)
        file = open_source(source)
        try:
            index = formats.detect(file, encoding).index(file, encoding)
            self._begin(file, index, verify is not False, n_threads)
            if stamp is not None:
                path, modified = stamp
                index.origin = Origin(
                    path, _identity(file, index, modified), verify, threads, encoding
                )
        except BaseException:
            file.close()
            raise

    def _begin(self, file: _core.File, index: Index, verify: bool, threads: int) -> None:
        self._file = file
        self._verify = verify
        self._threads = threads
        self.index = index
        self.metadata = index.metadata

    @classmethod
    def _of(cls, file: _core.File, index: Index, verify: bool, threads: int) -> Reader:
        self = cls.__new__(cls)
        self._begin(file, index, verify, threads)
        return self

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.index)

    def __contains__(self, name: object) -> bool:
        return name in self.index

    def __getitem__(self, name: str) -> LazyArray:
        return LazyArray(self._file, self.index, self.index[name], self._verify, self._threads)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the lazy array of that name, or `default`."""
        return self[name] if name in self.index else default

    def __repr__(self) -> str:
        state = "closed, " if self._file.closed else ""
        return f"<mxio.Reader {self._file.name!r}: {state}{len(self)} arrays>"

    def close(self) -> None:
        """Close the file; lazy arrays can no longer be read, those in memory stay."""
        self._file.close()
        self.index.kept.clear()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._file.closed:
            raise ValueError(f"{printable(self._file.name)} is closed")
        if self.index.origin is None:
            raise TypeError(
                f"{printable(self._file.name)} has no path by which it could be pickled"
            )
        return cast(Origin, self.index.origin).reader, ()

    def read(
        self,
        names: Iterable[str] | None = None,
        *,
        out: Mapping[str, Any] | None = None,
        cast: bool = False,
        check: bool = False,
    ) -> dict[str, Any]:
        """Read several arrays, or all, at once: a flat dict in the order asked for.

        Parameters
        ----------
        names : iterable of str, optional
            None: all, or with `out` those that it has.
        out : mapping of str to array, optional
            Arrays to fill in place and return: of the entry's shape and dtype, writable,
            in any memory layout or byte order, and apart from one another. Tensors of
            PyTorch on the CPU and others that lend their memory too. All arguments are
            judged before the first byte is written. If reading fails after that (damage,
            an I/O error), the arrays hold what they held, or what was read, or a part.
        cast : bool, default False
            Convert to the dtypes of `out`, as ``numpy.ndarray.astype`` does, between
            numbers.
        check : bool, default False
            Compare the checksums of all that is asked for before the first byte is
            written, so that a damaged file changes nothing in `out`: it is read twice.

        Raises
        ------
        ChecksumError, EntryError, UnsupportedError
            As `load`; EntryError too for another shape or dtype.
        TypeError, ValueError
            Something in `out` has no memory, is not writable or overlaps: named.
        """
        if out is not None:
            return self._read_out(names, out, cast, check)
        if cast:
            raise ValueError("cast=True converts to the dtypes of out: pass out={name: array}")
        numbers: Sequence[int] = range(len(self.index))
        if names is not None:
            numbers = self.index.numbers(names)
        if check:
            self._check(numbers)
        found = [self.index.entry(number).name for number in numbers]
        return dict(zip(found, self._copy(numbers), strict=True))

    def _read_out(
        self, names: Iterable[str] | None, out: Mapping[str, Any], cast: bool, check: bool
    ) -> dict[str, Any]:
        if not isinstance(out, Mapping):
            raise TypeError(f"out is a mapping of name to array, not {described(out)}")
        numbers = self.index.numbers(out if names is None else names)
        found = list(out) if names is None else [self.index.entry(n).name for n in numbers]
        missing = next((name for name in found if name not in out), None) if names else None
        if missing is not None:
            raise EntryError(f"out has no array for {quote(missing)}, which names asks for")
        arrays = [out[name] for name in found]
        filling = Filling(self.index, numbers, arrays, cast)
        if check:
            self._check(numbers)
        filling.run(self._file, self._verify, self._threads)
        return dict(zip(found, arrays, strict=True))

    def _check(self, numbers: Sequence[int]) -> None:
        """Compare the checksums of entries, whether or not reads do, and keep no byte.

        Raises FormatError, as a rule ChecksumError, for one that is damaged. Where a format
        has no checksums there is nothing to compare, and nothing is read.
        """
        check_entries(self._file, self.index, numbers, self._threads)

    def _fill(self, numbers: Sequence[int], arrays: Sequence[Any], cast: bool = False) -> None:
        """Fill existing arrays with the entries of these numbers: `read` with `out`."""
        Filling(self.index, numbers, arrays, cast).run(self._file, self._verify, self._threads)

    def verify(self, progress: bool | Progress | None = None) -> list[Damage]:
        """Check every byte of the file and return what is damaged; see `mxio.verify`."""
        damage: list[Damage] = []
        with shown(progress, f"verify {quote(self._file.name)}") as tell:
            try:
                damage.extend(self._damages(tell))
            except FormatError as error:  # cut short since it was opened
                damage.append(Damage(None, None, error.offset, 0, str(error)))
            if tell is not None:  # head, index and padding too, and what was damaged
                tell(self._file.nbytes, self._file.nbytes)
        return damage

    def _damages(self, progress: Progress | None) -> Iterator[Damage]:
        handle = self.index.handle
        total = self._file.nbytes
        if handle.other_slot_is_damaged:
            yield Damage(
                None,
                None,
                _SLOT_OFFSETS[1 - handle.head[1]],
                _SLOT_NBYTES,
                f"a slot of the head of {self._file.name} is damaged: what is checked here is its "
                f"generation {handle.generation}, and there may have been a newer one",
            )
        try:
            entries = [self.index.entry(number) for number in range(len(self.index))]
            _tree.unflatten(self.index.structure, self.index.names(), entries)
        except (FormatError, UnsupportedError) as error:
            yield Damage(None, None, None, 0, f"{self._file.name}: {error}")
        try:
            every = range(len(self.index))
            tell = None if progress is None else counted(progress, total)
            self._file.check(handle, every, self._threads, tell)
        except ChecksumError:
            # Once more, entry by entry, going on behind each damaged chunk.
            for number in range(len(self.index)):
                yield from self._damage_of(number)
        for number in self.index.codecs:
            yield from self._coded_damage_of(number)
        offset = 0
        while True:
            try:
                self._file.check_padding(handle, offset)
                return
            except ChecksumError as error:
                yield Damage(None, None, error.offset, 0, str(error))
                offset = cast(int, error.offset) + 1

    def _check_rest(self) -> None:
        """Raise FormatError for damage that no array has: what `verify` lists besides."""
        handle = self.index.handle
        if handle.other_slot_is_damaged:
            raise FormatError(f"a slot of the head of {self._file.name} is damaged", 0)
        self._file.check_padding(handle, 0)

    def _damage_of(self, number: int) -> Iterator[Damage]:
        entry = self.index.entry(number)
        first = 0
        while entry.alias_of is None:
            try:
                self._file.check_chunks(self.index.handle, number, first, self._threads)
                return
            except ChecksumError as error:
                chunk, offset = cast(int, error.chunk), cast(int, error.offset)
                nbytes = min(entry.chunk_nbytes, entry.nbytes - chunk * entry.chunk_nbytes)
                yield Damage(entry.name, chunk, offset, nbytes, str(error))
                first = chunk + 1

    def _coded_damage_of(self, number: int) -> Iterator[Damage]:
        entry = self.index.entry(number)
        try:
            for _ in self.index.codecs[number].pieces(self._file, entry, True):
                pass
        except FormatError as error:
            yield Damage(entry.name, None, error.offset, entry.stored_nbytes, str(error))

    def _copy_sound(
        self, numbers: Sequence[int], progress: Progress | None = None
    ) -> tuple[list[Any], list[Damage]]:
        """Read entries as `_copy` does, with a mark in place of damaged ones; and the damage."""
        try:
            return list(self._copy(numbers, progress)), []
        except FormatError:
            pass
        found: dict[int, list[Damage]] = {}  # by number; of a second name that of the first
        firsts = []
        for number in numbers:
            alias_of = self.index.entry(number).alias_of
            first = number if alias_of is None else alias_of
            firsts.append(first)
            if first not in found:
                is_coded = first in self.index.codecs
                damages = self._coded_damage_of if is_coded else self._damage_of
                found[first] = list(damages(first))
        pairs = list(zip(numbers, firsts, strict=True))
        sound = iter(self._copy([number for number, first in pairs if not found[first]]))
        arrays = [_tree.DAMAGED if found[first] else next(sound) for first in firsts]
        return arrays, [one for first in found.values() for one in first]

    def _copy(
        self, numbers: Sequence[int], progress: Progress | None = None
    ) -> list[np.ndarray[Any, Any]]:
        return read_entries(self._file, self.index, numbers, self._verify, self._threads, progress)

    def _map(self, numbers: Sequence[int], verify: bool | None) -> list[np.ndarray[Any, Any]]:
        if self.index.format != formats.native.NAME or self.index.handle.has_runs:
            return self._map_some(numbers, verify)
        return self._views(numbers, verify)

    def _views(self, numbers: Sequence[int], verify: bool | None) -> list[np.ndarray[Any, Any]]:
        mapping = self._file.map()
        if verify and self.index.handle.has_checksums:
            mapped = _core.File.memory(mapping, self._file.name)
            try:
                for number in numbers:
                    mapped.check_chunks(self.index.handle, number, 0, self._threads)
            finally:
                mapped.close()
        return _core.views(self.index.handle, numbers, self.index.dtypes, mapping)

    def _map_some(self, numbers: Sequence[int], verify: bool | None) -> list[np.ndarray[Any, Any]]:
        """Map what lies as an array may lie in memory, and copy the rest."""
        index = self.index
        mapped = []
        for number in numbers:
            entry = index.entry(number)
            dtype = index.dtype(entry)
            codec = index.codecs.get(number)
            if (
                (codec is None or (codec.plain and not verify))
                and dtype.isnative
                and entry.offset % dtype.alignment == 0
                and entry.nbytes
                and not index.handle.is_scattered(number)
            ):
                mapped.append(number)
        found = {}
        if mapped:
            found = dict(zip(mapped, self._views(mapped, verify), strict=True))
        rest = [number for number in numbers if number not in found]
        copies = read_entries(self._file, index, rest, verify is not False, self._threads)
        found.update(zip(rest, copies, strict=True))
        return [found[number] for number in numbers]
