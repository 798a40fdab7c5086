# SPDX-License-Identifier: Apache-2.0
"""The door: save, open, load, verify. Everything else that moves arrays comes here.

Writing: what was given is taken apart into named leaves and a structure, each leaf
becomes host memory, the format lays out a plan, C executes it. Reading: a format
turns the file into an Index, names select entries, C fills and verifies arrays,
the structure puts them together again. Defaults live in the signatures below.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from mxio import _core, _host, _tree
from mxio._index import Index
from mxio._lazy import LazyArray
from mxio._source import Path, Source, Target, create, open_source, writer_of
from mxio.errors import ChecksumError, FormatError, UnsupportedError
from mxio.formats import detect, native

__all__ = ["Damage", "Reader", "dumps", "load", "loads", "open", "save", "verify"]

# Of its own accord; the engine never starts more than 64.
_THREADS_AT_MOST = 8
_THREADS_MAX = 64


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


def _threads(threads: int | None) -> int:
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


# ---- writing ---------------------------------------------------------------------------------


def _plan(arrays: object, metadata: Mapping[str, Any] | None) -> _core.Plan:
    """Say no to everything that cannot be saved, or lay the rest out."""
    names, leaves, structure = _tree.flatten(arrays, _host.is_arraylike, _host.to_sparse)
    hosts: list[np.ndarray[Any, Any]] = []
    dtypes: list[str] = []
    for name, leaf in zip(names, leaves, strict=True):
        host, dtype = _host.to_host(leaf, name)
        hosts.append(host)
        dtypes.append(dtype)
    return native.plan(names, hosts, dtypes, structure, metadata)


def save(
    path: Target,
    arrays: object,
    *,
    metadata: Mapping[str, Any] | None = None,
    sync: bool = True,
    threads: int | None = None,
) -> None:
    """Save an array, a list, a dict or a tree of them to a file.

    The file appears whole or not at all: whatever goes wrong, a crash, a kill, a
    full disk, `path` holds what it held before. When `save` returns, a power cut
    cannot take the new contents back.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        A file is replaced and lends its mode; a symbolic link keeps pointing. A
        file object gets the bytes, without these guarantees; the arrays are then
        read twice.
    arrays : array, list, tuple, dict or a tree of them
        Leaves are anything array-like (NumPy, PyTorch on the CPU, JAX, …) in any
        memory layout, sparse arrays (`SparseArray`, SciPy's csr, MXNet's), and bool,
        int, float, str, bytes, None. Keys are str, int,
        bool or None. What comes back is of plain types: subclasses of list, dict,
        int and the like as list, dict, int; arrays as numpy.ndarray in this
        machine's byte order; sparse arrays as SparseArray; NumPy scalars as arrays without dimensions (save
        ``x.item()`` for a plain number). Another thread that changes an array meanwhile makes the
        file fail its checksums.
    metadata : mapping of str to JSON values, optional
        Read it again with ``mxio.open(path).metadata``.
    sync : bool, default True
        False leaves it to the system when the bytes reach the disk: faster, still
        all or nothing for everyone who reads, but a power cut may lose the file.
    threads : int, optional
        At most this many; ``MXIO_THREADS`` or the processors there are.

    Raises
    ------
    TypeError, ValueError
        Something cannot be saved: named, before anything is written.
    OSError
        The system said no; nothing is left behind. (Only a process that is killed
        leaves its temporary file, ``.NAME.mxio-….tmp`` beside `path`: it is safe to
        delete once that process is gone.)

    Examples
    --------
    >>> import numpy as np, mxio
    >>> mxio.save('w.mxio', {'w': np.zeros((2, 3)), 'step': 7})
    >>> mxio.load('w.mxio')['step']
    7
    """
    n_threads = _threads(threads)
    if not isinstance(path, (str, os.PathLike)) and hasattr(path, "write"):
        _plan(arrays, metadata).stream(writer_of(path), n_threads)
        return
    plan = _plan(arrays, metadata)
    file = create(cast(Path, path))
    try:
        plan.write(file, sync, n_threads)
        file.commit(sync)
    finally:
        file.close()


def dumps(
    arrays: object, *, metadata: Mapping[str, Any] | None = None, threads: int | None = None
) -> bytes:
    """Return what `save` would write, as bytes.

    Examples
    --------
    >>> mxio.loads(mxio.dumps([1.5, 'x', None]))
    [1.5, 'x', None]
    """
    return _plan(arrays, metadata).to_bytes(_threads(threads))


# ---- reading ---------------------------------------------------------------------------------


def open(source: Source, *, verify: bool | None = None, threads: int | None = None) -> Reader:
    """Open a file to read some of it; see `Reader`.

    Parameters
    ----------
    source : str, os.PathLike, bytes-like or binary file object
    verify : bool, optional
        False: do not compare the checksums of what is read.
    threads : int, optional
        As in `save`.

    Raises
    ------
    FormatError
        These bytes are not a valid file.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> with mxio.open('w.mxio') as f:
    ...     f['w'].shape, f['w'][0, :2]
    ((2, 3), array([0., 0.]))
    """
    return Reader(source, verify=verify, threads=threads)


def load(
    source: Source,
    names: Iterable[str] | None = None,
    *,
    mmap: bool = False,
    verify: bool | None = None,
    threads: int | None = None,
) -> Any:
    """Load what was saved: an array, a list, a dict or a tree, of the same shape.

    Parameters
    ----------
    source : str, os.PathLike, bytes-like or binary file object
        A file object is read from where it stands to its end.
    names : iterable of str, optional
        Only these entries, as a flat dict in the order given.
    mmap : bool, default False
        Arrays over the mapped file, in no time and without a copy: writable, but
        what is written stays in this process. Should somebody cut the file short
        meanwhile, touching what is gone kills the process (SIGBUS).
    verify : bool, optional
        Whether every byte is checked. None: yes when copying; when mapping only
        head and index, because checking would read the whole file.
    threads : int, optional
        As in `save`.

    Raises
    ------
    ChecksumError
        Contents changed: the message names the array, the chunk and the offset.
    FormatError
        These bytes are not a valid file.
    UnsupportedError
        A newer format, or a dtype that needs a package: named.
    EntryError
        A name that is not there.

    Examples
    --------
    >>> mxio.load('w.mxio', ['w'])['w'].shape
    (2, 3)
    """
    if mmap and not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"mmap=True needs the path of a file, not {type(source).__name__}")
    with Reader(source, verify=verify, threads=threads) as reader:
        index = reader.index
        numbers = list(range(len(index))) if names is None else index.numbers(names)
        arrays = reader._map(numbers, verify) if mmap else reader._copy(numbers)
        if names is None:
            return _tree.unflatten(index.structure, index.names(), arrays)
        return {
            index.entry(number).name: array for number, array in zip(numbers, arrays, strict=True)
        }


def loads(
    data: bytes | bytearray | memoryview,
    names: Iterable[str] | None = None,
    *,
    verify: bool | None = None,
    threads: int | None = None,
) -> Any:
    """Load from bytes; see `load`."""
    if isinstance(data, (str, os.PathLike)):
        raise TypeError("loads takes bytes; for a path use load")
    return load(data, names, verify=verify, threads=threads)


def verify(source: Source, *, threads: int | None = None) -> list[Damage]:
    """Check every byte of a file and return what is damaged: an empty list if nothing is.

    Raises
    ------
    FormatError
        It is no file that mxio reads at all.
    OSError
        The system said no.

    Examples
    --------
    >>> mxio.verify('w.mxio')
    []
    """
    file = open_source(source)
    try:
        module = detect(file)
        try:
            reader = Reader._of(file, module.index(file), True, _threads(threads))
        except FormatError as error:
            return [Damage(None, None, error.offset, 0, str(error))]
        return reader.verify()
    finally:
        file.close()


class Reader(Mapping[str, LazyArray]):
    """An open file: a read-only mapping from name to LazyArray.

    Nothing but head and index is read until an array is asked for. Several threads
    may read at once. Arrays that were read outlive the reader.

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
        self, source: Source, *, verify: bool | None = None, threads: int | None = None
    ) -> None:
        n_threads = _threads(threads)
        file = open_source(source)
        try:
            self._begin(file, detect(file).index(file), verify is not False, n_threads)
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

    def read(self, names: Iterable[str] | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """Read several arrays, or all, at once: a flat dict in the order asked for.

        Raises
        ------
        ChecksumError, EntryError, UnsupportedError
            As `load`.
        """
        numbers = list(range(len(self.index))) if names is None else self.index.numbers(names)
        found = [self.index.entry(number).name for number in numbers]
        return dict(zip(found, self._copy(numbers), strict=True))

    def verify(self) -> list[Damage]:
        """Check every byte of the file and return what is damaged."""
        damage: list[Damage] = []
        try:
            damage.extend(self._damages())
        except FormatError as error:  # cut short since it was opened
            damage.append(Damage(None, None, error.offset, 0, str(error)))
        return damage

    def _damages(self) -> Iterator[Damage]:
        handle = self.index.handle
        try:
            entries = [self.index.entry(number) for number in range(len(self.index))]
            _tree.unflatten(self.index.structure, self.index.names(), entries)
        except (FormatError, UnsupportedError) as error:
            yield Damage(None, None, None, 0, f"{self._file.name}: {error}")
        try:
            self._file.check_all(handle, self._threads)
        except ChecksumError:
            # Once more, entry by entry, going on behind each damaged chunk.
            for number in range(len(self.index)):
                yield from self._damage_of(number)
        offset = 0
        while True:
            try:
                self._file.check_padding(handle, offset)
                return
            except ChecksumError as error:
                yield Damage(None, None, error.offset, 0, str(error))
                offset = cast(int, error.offset) + 1

    def _damage_of(self, number: int) -> Iterator[Damage]:
        entry = self.index.entry(number)
        first = 0
        while entry.alias_of is None:
            try:
                self._file.check_chunks(self.index.handle, number, first, self._threads)
                return
            except ChecksumError as error:
                chunk, offset = cast(int, error.chunk), cast(int, error.offset)
                nbytes = min(entry.chunk_nbytes, entry.offset + entry.nbytes - offset)
                yield Damage(entry.name, chunk, offset, nbytes, str(error))
                first = chunk + 1

    def _copy(self, numbers: list[int]) -> list[np.ndarray[Any, Any]]:
        return self._file.read(
            self.index.handle, numbers, self.index.dtypes, self._verify, self._threads
        )

    def _map(self, numbers: list[int], verify: bool | None) -> list[np.ndarray[Any, Any]]:
        mapping = self._file.map()
        if verify:
            mapped = _core.File.memory(mapping, self._file.name)
            try:
                for number in numbers:
                    mapped.check_chunks(self.index.handle, number, 0, self._threads)
            finally:
                mapped.close()
        return _core.views(self.index.handle, numbers, self.index.dtypes, mapping)
