# SPDX-License-Identifier: Apache-2.0
"""The door: save, open, load, verify, copy. Everything else that moves arrays comes here.

Writing: what was given is taken apart into named leaves and a structure, each leaf
becomes host memory, the format lays out a plan, C executes it. Reading: a format
turns the file into an Index, names select entries, C fills and verifies arrays,
the structure puts them together again. Defaults live in the signatures below.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from mxio import _core, _dtype, _host, _tree, formats
from mxio._index import Content, Index
from mxio._lazy import LazyArray, read_entries
from mxio._source import Path, Source, Target, create, open_source, writer_of
from mxio._stream import Cast, Streams, stand_in
from mxio.errors import ChecksumError, FormatError, UnsupportedError, quote

__all__ = ["Damage", "Reader", "copy", "dumps", "load", "loads", "open", "save", "verify"]

Progress: TypeAlias = "Callable[[int, int], object]"

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


def _content(
    arrays: object, metadata: Mapping[str, Any] | None, progress: Progress | None = None
) -> Content:
    """Say no to everything that cannot be saved, or decide how each leaf is."""
    names, leaves, structure = _tree.flatten(arrays, _is_arraylike)
    hosts: list[np.ndarray[Any, Any]] = []
    dtypes: list[str] = []
    lazy: dict[int, LazyArray | Cast] = {}
    stand_ins: dict[tuple[int, int], np.ndarray[Any, Any]] = {}
    for number, (name, leaf) in enumerate(zip(names, leaves, strict=True)):
        if isinstance(leaf, (LazyArray, Cast)):
            host, dtype = stand_in(leaf)
            lazy[number] = leaf
            if isinstance(leaf, LazyArray):  # a second name stays one
                host = stand_ins.setdefault(leaf._identity, host)
        else:
            host, dtype = _host.to_host(leaf, name)
        hosts.append(host)
        dtypes.append(dtype)
    streams = Streams(lazy, progress=progress) if lazy else None
    return Content(names, hosts, dtypes, structure, metadata, streams)


def _write(
    path: Target,
    content: Content,
    format: str | None,
    sync: bool,
    threads: int | None,
    options: Any,
) -> None:
    n_threads = _threads(threads)
    plan = formats.plan(format or formats.native.NAME, content, options)
    if not isinstance(path, (str, os.PathLike)) and hasattr(path, "write"):
        plan.stream(writer_of(path), n_threads)
        return
    file = create(cast(Path, path))
    try:
        plan.write(file, sync, n_threads)
        file.commit(sync)
    finally:
        file.close()


def _is_arraylike(obj: object) -> bool:
    return isinstance(obj, (LazyArray, Cast)) or _host.is_arraylike(obj)


def save(
    path: Target,
    arrays: object,
    *,
    format: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    sync: bool = True,
    threads: int | None = None,
    **options: Any,
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
        memory layout, and bool, int, float, str, bytes, None. Keys are str, int,
        bool or None. What comes back is of plain types: subclasses of list, dict,
        int and the like as list, dict, int; arrays as numpy.ndarray in this
        machine's byte order; NumPy scalars as arrays without dimensions (save
        ``x.item()`` for a plain number). Lazy arrays of `mxio.open` are brought over
        piece by piece. Another thread that changes an array meanwhile makes the
        file fail its checksums.
    format : {'mxio', 'mxnet', 'safetensors', 'npz', 'npy'}, optional
        mxio's own format if None. The others say less, and what they cannot say is
        refused: plain values and nested containers, some dtypes, most metadata.
    metadata : mapping of str to JSON values, optional
        Read it again with ``mxio.open(path).metadata``.
    sync : bool, default True
        False leaves it to the system when the bytes reach the disk: faster, still
        all or nothing for everyone who reads, but a power cut may lose the file.
    threads : int, optional
        At most this many; ``MXIO_THREADS`` or the processors there are.
    **options
        Of a format. ``mxnet``: ``version=2``, what MXNet 0.12 to 1.9 read and write, or
        ``version=3``, with NumPy shapes, for 1.5 and later. (An array without dimensions
        is read by MXNet in version 3 only; int16 and unsigned ints of more than 8 bits
        by MXNet 2 only.) ``npz``: ``compress=True`` deflates.

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
    _write(path, _content(arrays, metadata), format, sync, threads, options)


def dumps(
    arrays: object,
    *,
    format: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    threads: int | None = None,
    **options: Any,
) -> bytes:
    """Return what `save` would write, as bytes.

    Examples
    --------
    >>> mxio.loads(mxio.dumps([1.5, 'x', None]))
    [1.5, 'x', None]
    """
    plan = formats.plan(format or formats.native.NAME, _content(arrays, metadata), options)
    return plan.to_bytes(_threads(threads))


def copy(
    source: Source,
    path: Target,
    names: Iterable[str] | None = None,
    *,
    rename: Mapping[str, str] | Callable[[str], str] | None = None,
    dtype: Any = None,
    format: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    sync: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
    encoding: str | None = None,
    **options: Any,
) -> None:
    """Copy a file's arrays into another file, piece by piece, whatever the two formats.

    All that is read is checked as in `load`; what is written appears whole or not at
    all, as in `save`. Memory is bounded: a file larger than memory is copied too. (An
    array in Fortran order that goes into a format without it is read in strips.)

    Parameters
    ----------
    source : str, os.PathLike, bytes-like or binary file object
    path : str, os.PathLike or binary file object
        May be the same file.
    names : iterable of str, optional
        Only these entries. None: all, in the structure that was saved; where the format
        cannot say it, nested containers of arrays become a dict of paths.
    rename : mapping of str to str or callable, optional
        From old names to new ones; names that a mapping lacks stay.
    dtype : dtype, optional
        What floating arrays are converted to.
    format : str, optional
        As in `save`.
    metadata : mapping, optional
        Instead of the source's, which goes along where the format has a place for it.
    sync, threads, **options
        As in `save`.
    progress : callable, optional
        Called with bytes done and bytes in all.
    encoding : str, optional
        As in `load`.

    Raises
    ------
    ChecksumError, FormatError, UnsupportedError, EntryError
        As `load`; `path` is then as it was.
    TypeError, ValueError
        Something cannot be said in that format, or two names become one: named.
    OSError
        The system said no.

    Examples
    --------
    >>> mxio.copy('w.mxio', 'w.safetensors', ['w'], format='safetensors')
    >>> mxio.load('w.safetensors')['w'].shape
    (2, 3)
    """
    with Reader(source, threads=threads, encoding=encoding) as reader:
        tree = reader._selected(names, rename, _floating(dtype), format)
        if metadata is None and format in (None, formats.native.NAME, reader.index.format):
            metadata = reader.metadata
        _write(path, _content(tree, metadata, progress), format, sync, threads, options)


def _floating(dtype: Any) -> np.dtype[Any] | None:
    """Return the dtype of a name, also of one that NumPy lacks."""
    if dtype is None:
        return None
    found: np.dtype[Any] | UnsupportedError
    bits = _dtype.item_bits(dtype) if isinstance(dtype, str) else None
    if bits is not None:
        found = _dtype.resolve(cast(str, dtype), bits)
    else:
        found = np.dtype(dtype)
    if isinstance(found, UnsupportedError):
        raise found
    return found


# ---- reading ---------------------------------------------------------------------------------


def open(
    source: Source,
    *,
    verify: bool | None = None,
    threads: int | None = None,
    encoding: str | None = None,
) -> Reader:
    """Open a file to read some of it; see `Reader`.

    Parameters
    ----------
    source : str, os.PathLike, bytes-like or binary file object
        Of any format that mxio reads, recognised by its contents.
    verify : bool, optional
        False: do not compare the checksums of what is read.
    threads : int, optional
        As in `save`.
    encoding : str, optional
        As in `load`.

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
    return Reader(source, verify=verify, threads=threads, encoding=encoding)


def load(
    source: Source,
    names: Iterable[str] | None = None,
    *,
    mmap: bool = False,
    verify: bool | None = None,
    threads: int | None = None,
    encoding: str | None = None,
) -> Any:
    """Load what was saved: an array, a list, a dict or a tree, of the same shape.

    Files of MXNet (every version, sparse arrays too), safetensors (also a folder of
    them with its ``model.safetensors.index.json``), npy and npz are loaded like
    mxio's own, recognised by what they hold.

    Parameters
    ----------
    source : str, os.PathLike, bytes-like or binary file object
        A file object is read from where it stands to its end.
    names : iterable of str, optional
        Only these entries, as a flat dict in the order given.
    mmap : bool, default False
        Arrays over the mapped file, in no time and without a copy: writable, but
        what is written stays in this process. Should somebody cut the file short
        meanwhile, touching what is gone kills the process (SIGBUS). What a foreign
        file holds misaligned or encoded is copied.
    verify : bool, optional
        Whether every byte is checked, as far as the format has checksums: mxio's own
        and npz do. None: yes when copying; when mapping only
        head and index, because checking would read the whole file.
    threads : int, optional
        As in `save`.
    encoding : str, optional
        Of the names in an MXNet file, where they are not UTF-8: Python 2 wrote what
        it had. With it, a name is cut at its first NUL, as MXNet does.

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
    with Reader(source, verify=verify, threads=threads, encoding=encoding) as reader:
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
    encoding: str | None = None,
) -> Any:
    """Load from bytes; see `load`."""
    if isinstance(data, (str, os.PathLike)):
        raise TypeError("loads takes bytes; for a path use load")
    return load(data, names, verify=verify, threads=threads, encoding=encoding)


def verify(
    source: Source,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    encoding: str | None = None,
) -> list[Damage]:
    """Check every byte of a file and return what is damaged: an empty list if nothing is.

    A format without checksums (MXNet's, safetensors, npy) can only be found sound in
    its structure, and readable.

    Parameters
    ----------
    source : str, os.PathLike, bytes-like or binary file object
    threads : int, optional
        As in `save`.
    progress : callable, optional
        Called with bytes done and bytes in all.
    encoding : str, optional
        As in `load`.

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
        module = formats.detect(file, encoding)
        try:
            index = module.index(file, encoding)
        except FormatError as error:
            return [Damage(None, None, error.offset, 0, str(error))]
        return Reader._of(file, index, True, _threads(threads)).verify(progress)
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
        self,
        source: Source,
        *,
        verify: bool | None = None,
        threads: int | None = None,
        encoding: str | None = None,
    ) -> None:
        n_threads = _threads(threads)
        file = open_source(source)
        try:
            index = formats.detect(file, encoding).index(file, encoding)
            self._begin(file, index, verify is not False, n_threads)
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

    def verify(self, progress: Progress | None = None) -> list[Damage]:
        """Check every byte of the file and return what is damaged; see `mxio.verify`."""
        damage: list[Damage] = []
        try:
            damage.extend(self._damages(progress))
        except FormatError as error:  # cut short since it was opened
            damage.append(Damage(None, None, error.offset, 0, str(error)))
        return damage

    def _damages(self, progress: Progress | None) -> Iterator[Damage]:
        handle = self.index.handle
        total = self._file.nbytes
        try:
            names = self.index.names()
            _tree.unflatten(self.index.structure, names, names)
        except (FormatError, UnsupportedError) as error:
            yield Damage(None, None, None, 0, f"{self._file.name}: {error}")
        try:
            self._file.check_all(handle, self._threads, progress and (lambda n: progress(n, total)))
        except ChecksumError:
            # Once more, entry by entry, going on behind each damaged chunk.
            for number in range(len(self.index)):
                yield from self._damage_of(number)
        for number, codec in self.index.codecs.items():
            entry = self.index.entry(number)
            try:
                codec.read(self._file, entry, np.empty(entry.nbytes, np.uint8), True)
            except ChecksumError as error:
                yield Damage(entry.name, error.chunk, error.offset, entry.stored_nbytes, str(error))
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
        return read_entries(self._file, self.index, numbers, self._verify, self._threads)

    def _map(self, numbers: list[int], verify: bool | None) -> list[np.ndarray[Any, Any]]:
        if self.index.format != formats.native.NAME:
            return self._map_foreign(numbers, verify)
        mapping = self._file.map()
        if verify:
            mapped = _core.File.memory(mapping, self._file.name)
            try:
                for number in numbers:
                    mapped.check_chunks(self.index.handle, number, 0, self._threads)
            finally:
                mapped.close()
        return _core.views(self.index.handle, numbers, self.index.dtypes, mapping)

    def _map_foreign(self, numbers: list[int], verify: bool | None) -> list[np.ndarray[Any, Any]]:
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
            ):
                mapped.append(number)
        found = {}
        if mapped:
            views = _core.views(index.handle, mapped, index.dtypes, self._file.map())
            found = dict(zip(mapped, views, strict=True))
        rest = [number for number in numbers if number not in found]
        copies = read_entries(self._file, index, rest, verify is not False, self._threads)
        found.update(zip(rest, copies, strict=True))
        return [found[number] for number in numbers]

    def _selected(
        self,
        names: Iterable[str] | None,
        rename: Mapping[str, str] | Callable[[str], str] | None,
        dtype: np.dtype[Any] | None,
        format: str | None,
    ) -> object:
        """Return what is to be copied, as a tree of lazy arrays."""
        index = self.index
        numbers = list(range(len(index))) if names is None else index.numbers(names)
        entries = [index.entry(number) for number in numbers]
        leaves = [
            _converted(LazyArray(self._file, index, entry, self._verify, self._threads), dtype)
            for entry in entries
        ]
        flat = dict(zip([entry.name for entry in entries], leaves, strict=True))
        if names is None and rename is None:
            tree = _tree.unflatten(index.structure, index.names(), leaves)
            return flat if _says_less(format, tree) else tree
        if rename is None:
            return flat
        new = rename if callable(rename) else lambda name: rename.get(name, name)
        renamed: dict[str, object] = {}
        for name, leaf in flat.items():
            changed = new(name)
            if not isinstance(changed, str):
                raise TypeError(f"rename gives {changed!r} for {quote(name)}, which is no name")
            if changed in renamed:
                raise ValueError(f"rename gives the name {quote(changed)} to two arrays")
            renamed[changed] = leaf
        return renamed


def _says_less(format: str | None, tree: object) -> bool:
    """Whether a format can hold a tree of arrays only as a flat dict of paths."""
    if format in (None, formats.native.NAME):
        return False
    items = _items(tree)
    if format == formats.safetensors.NAME and not isinstance(tree, dict):
        return bool(items) and all(isinstance(item, (LazyArray, Cast)) for item in items)
    return any(isinstance(item, (list, tuple, dict)) for item in items) and _only_arrays(tree)


def _items(tree: object) -> list[object]:
    if isinstance(tree, dict):
        return list(tree.values())
    return list(tree) if isinstance(tree, (list, tuple)) else []


def _only_arrays(tree: object) -> bool:
    if isinstance(tree, (list, tuple, dict)):
        return all(_only_arrays(item) for item in _items(tree))
    return isinstance(tree, (LazyArray, Cast))


def _converted(leaf: LazyArray, dtype: np.dtype[Any] | None) -> LazyArray | Cast:
    if dtype is None:
        return leaf
    try:
        before = leaf.dtype
    except UnsupportedError:
        return leaf
    floats = before.kind == "f" or before.type.__module__ == "ml_dtypes"
    return Cast(leaf, dtype) if floats and before != dtype and "int" not in before.name else leaf
