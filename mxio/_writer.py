# SPDX-License-Identifier: Apache-2.0
"""The door held open: a file that is streamed, appended to and filled, commit by commit.

Names and arrays are here; how an array's bytes get to the file is in `_growing`, how the file
gets from one commit to the next in `_generations`.
"""

from __future__ import annotations

import math
import operator
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from mxio import _core, _dtype, _host, _tree, formats
from mxio._file import prepare
from mxio._generations import Generations, Placed, Stored
from mxio._growing import Growing
from mxio._index import Index
from mxio._lazy import LazyArray
from mxio._reader import thread_count
from mxio._region import Box, Region, parse
from mxio._shared import SharedArray, WriterArray, head_of
from mxio._source import Path, create, followed, open_held
from mxio._stream import Cast
from mxio.errors import EntryError, UnsupportedError, clip, described, printable, quote

__all__ = ["Writer"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_WAITING_NBYTES = 48 << 20  # of rows
_SMALL_NBYTES = 1 << 16  # whole arrays that wait to be written together
_PENDING_NBYTES = 4 << 20
_MAX_NDIM = 64


class _Pending(NamedTuple):
    """A small array that waits."""

    array: Array
    dtype: str


class Writer:
    """A file that is written bit by bit: streamed, appended to, filled from several threads.

    Nothing is in the file before a commit says so. Whatever happens, a crash, a kill, a full
    disk, it opens as the last commit left it, and readers opened earlier keep what they
    see. Leaving a ``with`` block commits; leaving it by an exception discards what was not
    committed.

    Parameters
    ----------
    path : str or os.PathLike
        A symbolic link keeps pointing.
    mode : {'x', 'w', 'a'}, default 'x'
        'x': a new file, where there is none. 'w': a new file, which replaces at its first
        commit what is there. 'a': the file that is there, if any, an mxio file, is
        appended to.
    sync : bool, default True
        False leaves it to the system when a commit reaches the disk: faster, but a power
        cut may lose the file.
    threads : int, optional
        As in `save`.
    metadata : mapping of str to JSON values, optional
        To begin with; with mode 'a' it replaces what was there.

    Attributes
    ----------
    metadata : dict
        Written at each commit.
    path : str or bytes
    generation : int
        Of the file: it goes up with each commit; 0 before the first.
    closed : bool

    Raises
    ------
    FileExistsError
        Mode 'x', and there is something.
    BlockingIOError
        Another writer has this file open, here or in another process.
    FormatError, UnsupportedError
        Mode 'a', and there is no mxio file.

    Notes
    -----
    What is appended waits in memory until there is enough of it, 48 MiB in all at most.
    Several threads may use one writer; regions are written side by side. A
    process that was forked cannot use it.

    Examples
    --------
    >>> with mxio.Writer('log.mxio') as w:
    ...     for step in range(3):
    ...         w.append('loss', np.array([0.5 / (step + 1)]))
    >>> mxio.load('log.mxio')['loss'].shape
    (3,)
    """

    metadata: dict[str, Any]

    def __init__(
        self,
        path: Path,
        mode: str = "x",
        *,
        sync: bool = True,
        threads: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._arrays: dict[str, Growing | Placed | _Pending] = {}
        self._is_closed = True  # until there is a file
        if mode not in ("x", "w", "a"):
            raise ValueError(f"mode is 'x', 'w' or 'a', not {mode!r}")
        _tree.encode_metadata(metadata)
        n_threads = thread_count(threads)
        self.path = os.fspath(path)
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._n_writing = 0  # regions
        self._pending_nbytes = 0
        self._committed: set[str] = set()  # names, beside those of the base
        self._base: Index | None = None  # as the file was opened
        self._now: Index | None = None  # as the last commit left it, once it is asked for
        self._said: tuple[bytes, bytes] | None = None  # structure and metadata in the file
        self._structure = b'"dict"'
        self.metadata = {}
        self._file, is_new = _open(path, mode)
        self._folder = os.path.abspath(os.path.dirname(followed(path)[0]))
        try:
            if not is_new:
                self._begin()
            handle = None if self._base is None else self._base.handle
            self._generations = Generations(self._file, handle, sync, n_threads)
        except BaseException:
            self._file.close()
            raise
        if metadata is not None:
            self.metadata = dict(metadata)
        self._is_closed = False

    def _begin(self) -> None:
        """Take over what is in the file."""
        file = self._file
        module = formats.detect(file, None)
        if module is not formats.native:
            raise UnsupportedError(
                f"{file.name} is a file of format {module.NAME!r}: only mxio's own can be appended "
                "to (mxio.copy makes one)"
            )
        index = module.index(file, None)
        self._base = self._now = index
        self.metadata = dict(index.metadata)
        self._structure = index.structure
        self._said = index.structure, index.handle.metadata

    # ---- arrays ----

    def __setitem__(self, name: str, array: object) -> None:
        """Write a whole array, in place of one of that name; see `update`."""
        with self._lock:
            self._check_open()
            self._set(name, array)

    def update(self, arrays: Mapping[str, object]) -> None:
        """Write several whole arrays.

        An array is anything array-like, as in `save`, or a lazy array of another file, which
        is brought over piece by piece.
        """
        for name, array in arrays.items():
            self[name] = array

    def _set(self, name: str, array: object) -> None:
        _check_name(name)
        if isinstance(array, list):
            array = _array_of(name, array)
        if not isinstance(array, (LazyArray, Cast)):
            if not _host.is_arraylike(array) or _host.to_sparse(array) is not None:
                raise TypeError(
                    f"{quote(name)}: a writer takes arrays, not {described(array)}: plain values "
                    "go into its metadata, sparse arrays and containers into mxio.save"
                )
            host, dtype = _host.to_host(array, name)
            if host.nbytes <= _SMALL_NBYTES:
                self._replace(name, _Pending(host.copy(order="K"), dtype))
                self._pending_nbytes += host.nbytes + 512
                if self._pending_nbytes > _PENDING_NBYTES:
                    self._write_pending()
                return
        placed = self._write({name: array})
        self._replace(name, placed[0])

    def _replace(self, name: str, new: Growing | Placed | _Pending) -> None:
        """Let an array be what the name means, whatever it meant before."""
        if not self._has(name):
            self._structure = _tree.extended(self._structure, name)
        else:
            self._keep_aliases(name)
        old = self._arrays.get(name)
        if isinstance(old, Growing):
            old.forget_buffer()
        self._arrays[name] = new

    def _write(self, arrays: dict[str, object]) -> list[Placed]:
        """Write whole arrays, one after another."""
        content = prepare(arrays, None)
        to = self._generations
        plan = formats.native.plan(content, to.begin())
        plan.write(self._file, to.sync, to.threads)
        to.extend(plan.file_nbytes)
        return [
            Placed(dtype, array.shape, *facts)
            for dtype, array, facts in zip(
                content.dtypes, content.arrays, plan.placed(), strict=True
            )
        ]

    def _write_pending(self) -> None:
        waiting = {k: array for k, array in self._arrays.items() if isinstance(array, _Pending)}
        if waiting:
            # Bits of a dtype that NumPy lacks are written as bits, and named as they should be.
            placed = self._write({name: one.array for name, one in waiting.items()})
            for (name, one), where in zip(waiting.items(), placed, strict=True):
                self._arrays[name] = where._replace(dtype=one.dtype)
        self._pending_nbytes = 0

    def append(self, name: str, rows: object) -> None:
        """Append rows to an array, along its first axis; the first rows make it.

        Parameters
        ----------
        name : str
        rows : array of shape (n, ...)
            As in `update`, of the array's dtype and, but for n, of its shape.

        Raises
        ------
        EntryError
            Rows of another shape or dtype.
        ValueError
            The array has no axes, is stored in Fortran order, or shares its data with another
            name.
        """
        with self._lock:
            found = self._arrays.get(name)
            if type(found) is Growing and not self._is_closed and found.take(rows):
                if self._process != os.getpid():
                    self._check_open()
                return
            self._check_open()
            if self._generations.waiting_nbytes > _WAITING_NBYTES:
                for one in self._arrays.values():
                    if isinstance(one, Growing):
                        one.settle()
            self._append(name, rows)

    def _append(self, name: str, rows: object) -> None:
        if isinstance(rows, list):
            rows = _array_of(name, rows)
        host: Array | LazyArray
        if isinstance(rows, LazyArray):
            host, dtype, memory = rows, rows._entry.dtype, rows.dtype
        elif _host.is_arraylike(rows) and _host.to_sparse(rows) is None:
            host, dtype = _host.to_host(rows, name)
            memory = host.dtype.newbyteorder("=")
        else:
            raise TypeError(f"{quote(name)}: rows are an array, not {described(rows)}")
        while self._n_writing:  # to what may have to be read again
            self._idle.wait()
        self._check_open()  # still
        if self._has(name):
            found = self._growing(name)
            found.check_append()
            if host.ndim != len(found.shape) or host.shape[1:] != found.shape[1:]:
                wanted = ", ".join(map(str, ("n", *found.shape[1:])))
                hint = ""
                if host.shape == found.shape[1:]:
                    hint = ": one row is x[None]"
                raise EntryError(
                    f"rows of {quote(name)} have the shape ({wanted}), not {host.shape}{hint}"
                )
            if dtype != found.dtype_name:
                raise EntryError(f"rows of {quote(name)} are {found.dtype_name}, not {dtype}")
        else:
            _check_name(name)
            if not host.ndim:
                raise EntryError(
                    f"rows of {quote(name)} have the shape (n, …), not (): one number is "
                    "numpy.array([x])"
                )
            found = Growing(self._generations, name, dtype, memory, (0, *host.shape[1:]))
            try:
                found.extend(host)
                self._replace(name, found)
            except BaseException:
                found.forget_buffer()
                raise
            return
        found.extend(host)

    def create(self, name: str, shape: int | tuple[int, ...], dtype: Any) -> WriterArray:
        """Add an array of zeros, to fill region by region, in any order, from several threads.

        Returns
        -------
        WriterArray
            Also had as ``w[name]``: ``w[name][region] = block``.

        Raises
        ------
        ValueError
            There is an array of that name.
        """
        with self._lock:
            self._check_open()
            _check_name(name)
            if self._has(name):
                raise ValueError(
                    f"there is an array {quote(name)} already: w[name][region] = … writes into it, "
                    "w[name] = … replaces it"
                )
            try:
                memory = np.dtype(dtype).newbyteorder("=")
                dtype_name = _dtype.name_of(memory)
            except TypeError as error:
                raise TypeError(f"{quote(name)}: {error}") from None
            shape = _shape_of(name, shape, memory.itemsize)
            self._replace(name, Growing.created(self._generations, name, dtype_name, memory, shape))
            return WriterArray(self, name)

    def __getitem__(self, name: str) -> WriterArray:
        """Return an array of the writer, to write its regions."""
        with self._lock:
            self._check_open()
            _check_name(name)
            if not self._has(name):
                raise EntryError(
                    f"no array {quote(name)} in {self._file.name}: w.create(name, shape, dtype) "
                    "adds one, w.append(name, rows) too"
                )
            return WriterArray(self, name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._has(name)

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            before = [] if self._base is None else self._base.names()
            return iter(list(dict.fromkeys([*before, *sorted(self._committed), *self._arrays])))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else f"generation {self.generation}"
        return f"<mxio.Writer {self._file.name!r}: {state}>"

    def _has(self, name: str) -> bool:
        return (
            name in self._arrays
            or name in self._committed
            or (self._base is not None and name in self._base)
        )

    def _growing(self, name: str) -> Growing:
        """Return an array of that name that can be changed."""
        found = self._arrays.get(name)
        if isinstance(found, Growing):
            return found
        if isinstance(found, _Pending):
            self._write_pending()
            found = self._arrays[name]
        if isinstance(found, Placed):
            grown = Growing.of_placed(self._generations, name, found)
        else:
            index = self._index()
            number = index.number(name)
            other = self._shares(index, number)
            if other is not None:
                raise ValueError(
                    f"{quote(name)} shares its data with {quote(other)}: assign one of them anew "
                    "before it is changed"
                )
            grown = Growing.of_entry(self._generations, index, number)
        self._arrays[name] = grown
        return grown

    def _index(self) -> Index:
        """Return what the last commit left."""
        if self._now is None:
            self._file.measure()
            self._now = formats.native.index(self._file, None)
        return self._now

    def _shares(self, index: Index, number: int) -> str | None:
        """Return another name of the same data."""
        if not index.handle.n_aliases:
            return None
        first = index.entry(number).alias_of
        if first is not None:
            return index.entry(first).name
        return next((e.name for e in index.values() if e.alias_of == number), None)

    def _keep_aliases(self, name: str) -> None:
        """Give names that share the data of one that is replaced that data for themselves."""
        here = self._arrays.keys() | self._committed
        if self._base is None or not self._base.handle.n_aliases or name in here:
            return
        index = self._index()
        number = index.number(name)
        for entry in index.values():
            if entry.alias_of == number and entry.name not in here:
                array = LazyArray(self._file, index, entry, True, self._generations.threads)
                self._arrays[entry.name] = self._write({entry.name: array})[0]

    def _write_region(self, name: str, region: Region, value: Any) -> None:
        with self._lock:
            self._check_open()
            if not self._has(name):
                raise EntryError(f"no array {quote(name)} in {self._file.name}")
            found = self._growing(name)
            box = parse(region, found.shape, name)
            if not isinstance(box, Box):
                raise IndexError(f"a region of {quote(name)} is made of integers and slices")
            pieces = found.place_region(box, value)
            self._n_writing += 1
        try:
            for flat, offsets in pieces:
                self._file.put_pieces(flat, offsets)
        finally:
            with self._lock:
                self._n_writing -= 1
                self._idle.notify_all()

    def _share(self, name: str) -> SharedArray:
        """Return what another process needs to write regions of an array."""
        with self._lock:
            self._check_open()
            found = self._growing(name)
            offset = found.share() if found.nbytes else 0
            path = os.path.join(self._folder, self._file.held_name)
            head = head_of(self._file)
            return SharedArray(path, self._file.name, name, found.shape, found.dtype, offset, head)

    def _describe(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return shape and dtype of an array."""
        with self._lock:
            found = self._arrays.get(name)
            if isinstance(found, Growing):
                return found.shape, found.dtype
            if isinstance(found, _Pending):
                return found.array.shape, found.array.dtype.newbyteorder("=")
            if found is None and not self._is_closed:
                index = self._index()
                return index[name].shape, index.dtype(index[name])
            grown = self._growing(name)
            return grown.shape, grown.dtype

    # ---- commits ----

    def commit(self) -> None:
        """Let the file hold everything that was written so far, and go on.

        When it returns, a power cut cannot take that back. It costs about what was added
        since the commit before.

        Raises
        ------
        OSError
            The system said no: the file is as the last commit left it. ESTALE: it was
            replaced or removed meanwhile.
        """
        with self._lock:
            self._check_open()
            self._commit(False)

    def _commit(self, is_last: bool) -> None:
        while self._n_writing:
            self._idle.wait()
        self._check_open()  # still
        metadata = _tree.encode_metadata(self.metadata)
        growing = [one for one in self._arrays.values() if isinstance(one, Growing)]
        for one in growing:  # first, so that the last rows lie behind the others if they can
            if one.is_changed:
                one.finish(is_last)
        self._write_pending()
        changed: dict[str, Growing | Placed] = {}
        for name, array in self._arrays.items():
            if isinstance(array, Placed) or (isinstance(array, Growing) and array.is_changed):
                changed[name] = array
        is_same = not changed and self._said == (self._structure, metadata)
        to = self._generations
        if is_same and to.is_committed and not (is_last and to.is_worth_folding()):
            return
        to.commit(self._encode(changed, metadata), is_last)
        self._said = self._structure, metadata
        self._now = None
        for name, array in changed.items():
            self._committed.add(name)
            if isinstance(array, Growing):
                array.committed()
            else:
                del self._arrays[name]

    def _encode(self, changed: dict[str, Growing | Placed], metadata: bytes) -> bytes:
        """Return the index of what was changed."""
        rows: dict[str, int] = {}
        entries = []
        runs = []
        checksums = []
        for number, (name, one) in enumerate(changed.items()):
            said: Stored = one.stored()
            row = rows.setdefault(said.dtype, len(rows))
            offset = 0
            if said.kept:
                runs.append((number, 0, said.kept))
            if len(said.runs) == 1 and not said.kept:
                offset = said.runs[0][0]
            else:
                runs += [(number, *run) for run in said.runs]
            entries.append(
                (
                    name,
                    row,
                    said.shape,
                    said.order,
                    said.nbytes,
                    offset,
                    said.chunk_nbytes,
                    len(said.checksums) // 4,
                )
            )
            checksums.append(said.checksums)
        structure = self._structure
        if self._said is not None and self._said[0] == structure:
            structure = b""
        return _core.encode_index(
            entries,
            runs,
            [(name, cast(int, _dtype.item_bits(name))) for name in rows],
            structure,
            metadata,
            b"".join(checksums),
            self._generations.parent,
        )

    # ---- the end ----

    @property
    def generation(self) -> int:
        return self._generations.number

    @property
    def closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """Commit, and close the file. After an error it is still open: `discard` gives up."""
        with self._lock:
            if self._is_closed:
                return
            self._check_open()
            self._commit(True)
            self._generations.cut_off()
            self._shut()

    def discard(self) -> None:
        """Close the file as the last commit left it."""
        with self._lock:
            if self._is_closed:
                return
            while self._n_writing:
                self._idle.wait()
            if self.closed:
                return
            try:
                if self._process == os.getpid():
                    self._generations.cut_off()
            finally:
                self._shut()

    def _shut(self) -> None:
        self._is_closed = True
        self._arrays.clear()
        self._file.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if kind is not None:
            self.discard()
            return
        try:
            self.close()
        except BaseException:
            self.discard()
            raise

    def __del__(self) -> None:
        # The end of the interpreter may have taken the names of modules away.
        if not self._is_closed and os is not None and self._process == os.getpid():
            warnings.warn(
                f"an mxio.Writer of {printable(self._file.name)} was not closed: what was not "
                "committed is lost",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def _check_open(self) -> None:
        if self._is_closed:
            raise ValueError(f"the writer of {printable(self._file.name)} is closed")
        if self._process != os.getpid():
            raise ValueError(
                f"the writer of {printable(self._file.name)} belongs to process {self._process}: "
                "a process that was forked cannot use it"
            )
        if self._generations.is_broken:
            raise ValueError(
                f"the writer of {printable(self._file.name)} failed in a commit: discard it, and "
                "open the file again to see which one it holds"
            )


def _open(path: Path, mode: str) -> tuple[_core.File, bool]:
    """Return the file to write, and whether it is new."""
    if mode == "a":
        try:
            return open_held(path), False
        except FileNotFoundError:
            mode = "x"
    try:
        return create(path, "new" if mode == "x" else "held"), True
    except FileExistsError as error:
        raise FileExistsError(
            error.errno, "it exists: mode='w' replaces it, mode='a' appends to it", error.filename
        ) from None


def _array_of(name: str, items: list[Any]) -> Array:
    try:
        return np.asarray(items)
    except ValueError as error:
        raise ValueError(f"{quote(name)}: {error}") from None


def _shape_of(name: str, shape: int | tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return a shape that an array may have."""
    try:
        found = tuple(map(operator.index, shape if isinstance(shape, Iterable) else (shape,)))
    except TypeError:
        raise TypeError(f"{quote(name)}: a shape is of ints, not {clip(repr(shape))}") from None
    if any(n < 0 for n in found) or len(found) > _MAX_NDIM:
        raise ValueError(f"{quote(name)} cannot have the shape {clip(repr(shape))}")
    nbytes = math.prod(found) * itemsize
    if nbytes >= 1 << 62:
        raise ValueError(
            f"{quote(name)} cannot have the shape {clip(repr(shape))}: it would have {nbytes} bytes"
        )
    return found


def _check_name(name: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a name is a str, not {type(name).__name__}")
    _tree.check_name(name)
