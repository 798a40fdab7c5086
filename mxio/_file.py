# SPDX-License-Identifier: Apache-2.0
"""The door: save, open, load, verify. Everything else that moves arrays comes here.

Writing: what was given is taken apart into named leaves and a structure, each leaf
becomes host memory, the format lays out a plan, C executes it. Reading: a format
turns the file into an Index, names select entries, C fills and verifies arrays,
the structure puts them together again. Defaults live in the signatures below.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import numpy as np

from mxio import _host, _tree, formats
from mxio._index import Content
from mxio._lazy import LazyArray
from mxio._progress import Progress, counted, shown
from mxio._reader import Damage, Reader, thread_count
from mxio._source import Path, Source, Target, create, open_source, writer_of
from mxio._stream import Cast, Streams, stand_in
from mxio.errors import DamageWarning, FormatError, clip, quote

__all__ = ["dumps", "load", "loads", "open", "prepare", "save", "verify", "write"]


# ---- writing ---------------------------------------------------------------------------------


def prepare(arrays: object, metadata: Mapping[str, Any] | None) -> Content:
    """Say no to everything that cannot be saved, or decide how each leaf is."""
    names, leaves, structure = _tree.flatten(arrays, _is_arraylike, _host.to_sparse)
    plain = _host.dtype_names(leaves)
    if plain is not None:
        plain_hosts = cast(list[np.ndarray[Any, Any]], leaves)
        return Content(names, plain_hosts, plain, structure, metadata, None)
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
    streams = Streams(lazy) if lazy else None
    return Content(names, hosts, dtypes, structure, metadata, streams)


def write(
    path: Target,
    content: Content,
    format: str | None,
    sync: bool,
    threads: int | None,
    options: dict[str, Any],
    check: Callable[[Reader], None] | None = None,
    progress: Progress | None = None,
) -> None:
    """Lay out what is to be saved in a format, and write it.

    `check` gets a reader of what was written, before that takes its name: raising, it
    leaves what was there. `progress` is told bytes of arrays, done and in all.
    """
    n_threads = thread_count(threads)
    plan = formats.plan(format or formats.native.NAME, content, options)
    tell = None if progress is None else counted(progress, plan.data_nbytes)
    if not isinstance(path, (str, os.PathLike)) and hasattr(path, "write"):
        plan.stream(writer_of(path, tell), n_threads)
        return
    file = create(cast(Path, path))
    try:
        plan.write(file, sync, n_threads, tell)
        if check is not None:
            file.measure()
            module = formats.detect(file, None)
            check(Reader._of(file, module.index(file, None), True, n_threads))
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
    progress: bool | Progress | None = None,
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
        memory layout, sparse arrays (`SparseArray`, SciPy's csr, MXNet's), and bool,
        int, float, str, bytes, None. Keys are str, int, bool or None. What comes back
        is of plain types: subclasses of list, dict, int and the like as list, dict,
        int; arrays as numpy.ndarray in this machine's byte order; sparse arrays as
        SparseArray; NumPy scalars as arrays without dimensions (save ``x.item()`` for
        a plain number). Lazy arrays of `mxio.open` are brought over piece by piece.
        Another thread that changes an array meanwhile makes the file fail its
        checksums.
    format : {'mxio', 'mxnet', 'safetensors', 'npz', 'npy'}, optional
        mxio's own format if None, whatever the ending of `path`. The others say less,
        and what they cannot say is
        refused: plain values and nested containers, some dtypes, most metadata.
    metadata : mapping of str to JSON values, optional
        Read it again with ``mxio.open(path).metadata``.
    sync : bool, default True
        False leaves it to the system when the bytes reach the disk: faster, still
        all or nothing for everyone who reads, but a power cut may lose the file.
    threads : int, optional
        At most this many; ``MXIO_THREADS`` or the processors there are.
    progress : bool or callable, optional
        True: a bar on a terminal (tqdm's where it is installed), if it takes a while. A
        callable gets bytes done and bytes in all, again and again; what it raises ends
        the work, and leaves `path` as it was.
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
    with shown(progress, f"save {_name_of(path)}") as tell:
        write(path, prepare(arrays, metadata), format, sync, threads, options, progress=tell)


def _name_of(path: object) -> str:
    """Return a path for a line on a terminal, nothing for what has none."""
    return quote(os.fsdecode(path)) if isinstance(path, (str, os.PathLike)) else ""


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
    plan = formats.plan(format or formats.native.NAME, prepare(arrays, metadata), options)
    return plan.to_bytes(thread_count(threads))


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
    strip: str | Iterable[str] = (),
    on_damage: str = "raise",
    progress: bool | Progress | None = None,
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
    strip : str or iterable of str, optional
        Prefixes cut from the names of a dict, such as ``('arg:', 'aux:')``, which
        MXNet's exports have. (``mxio.model.load_checkpoint`` tells the two apart.)
    on_damage : {'raise', 'skip'}, default 'raise'
        'skip': what is damaged is left out of dicts, and None stands in its place in lists,
        in tuples and for an array by itself. A DamageWarning says so; its `damage` is a list
        of `Damage`. Head, index and structure must be sound; a format without checksums
        (MXNet's, safetensors, npy) tells of no damage.
    progress : bool or callable, optional
        As in `save`. Nothing is told with ``mmap=True``.

    Raises
    ------
    ChecksumError
        Contents changed: the message names the array, the chunk and the offset.
        (``on_damage='skip'`` loads the rest.)
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
    if on_damage not in ("raise", "skip"):
        raise ValueError(f"on_damage is 'raise' or 'skip', not {on_damage!r}")
    skips = on_damage == "skip"
    if skips and (mmap or verify is False):
        raise ValueError("on_damage='skip' needs the checksums: no mmap=True, no verify=False")
    with Reader(source, verify=verify, threads=threads, encoding=encoding) as reader:
        index = reader.index
        numbers = range(len(index)) if names is None else index.numbers(names)
        damage: list[Damage] = []
        if mmap:
            arrays = reader._map(numbers, verify)
        else:
            with shown(progress, f"load {_name_of(source)}") as tell:
                if skips:
                    arrays, damage = reader._copy_sound(numbers, tell)
                else:
                    arrays = reader._copy(numbers, tell)
        if names is None:
            loaded = _tree.unflatten(index.structure, index.names(), arrays)
        else:
            found = [index.entry(number).name for number in numbers]
            loaded = dict(zip(found, arrays, strict=True))
    if damage:
        loaded = _tree.without_damaged(loaded)
        lost = ", ".join(quote(name) for name in dict.fromkeys(str(one.name) for one in damage))
        message = f"{_name_of(source) or 'the file'}: damaged and left out: {clip(lost)}"
        warnings.warn(DamageWarning(message, damage), stacklevel=2)
    return _stripped(loaded, (strip,) if isinstance(strip, str) else tuple(strip))


def _stripped(loaded: object, prefixes: tuple[str, ...]) -> object:
    if not prefixes or not isinstance(loaded, dict):
        return loaded
    stripped: dict[object, object] = {}
    for key, value in loaded.items():
        prefix = next((p for p in prefixes if isinstance(key, str) and key.startswith(p)), "")
        new = key[len(prefix) :] if prefix else key
        if new in stripped:
            raise ValueError(f"without its prefix, {quote(key)} has the name of another array")
        stripped[new] = value
    return stripped


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
    progress: bool | Progress | None = None,
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
    progress : bool or callable, optional
        As in `save`; the bytes are those of the file.
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
        return Reader._of(file, index, True, thread_count(threads)).verify(progress)
    finally:
        file.close()
