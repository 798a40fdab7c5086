# SPDX-License-Identifier: Apache-2.0
"""From one file into another, piece by piece, whatever their formats."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import numpy as np

from mxio import _dtype, _tree, formats
from mxio._file import prepare, write
from mxio._lazy import LazyArray
from mxio._progress import Progress, shown
from mxio._reader import Reader
from mxio._source import Path, Source, Target, open_held
from mxio._sparse import SparseArray
from mxio._stream import Cast
from mxio.errors import UnsupportedError, described, quote

__all__ = ["FORMAT_OF", "compact", "copy"]

FORMAT_OF = {
    ".mxio": "mxio",
    ".params": "mxnet",
    ".safetensors": "safetensors",
    ".npz": "npz",
    ".npy": "npy",
}


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
    progress: bool | Progress | None = None,
    encoding: str | None = None,
    check: Callable[[Reader], None] | None = None,
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
        From old names to new ones; names that a mapping lacks stay. With `names` or
        `rename` the copy is a dict of arrays: nesting and plain values stay behind.
    dtype : dtype, optional
        What floating arrays are converted to.
    format : str, optional
        As in `save`. None: as the ending of `path` says (.mxio, .params, .safetensors,
        .npz, .npy), mxio's own where it says nothing.
    metadata : mapping, optional
        Instead of the source's, which goes along where the format has a place for it:
        in safetensors, which holds text only, other values as JSON.
    sync, threads, **options
        As in `save`.
    progress : bool or callable, optional
        As in `save`.
    encoding : str, optional
        As in `load`.
    check : callable, optional
        Called with an `mxio.Reader` of what was written before `path` is replaced:
        what it raises leaves `path` as it was. Not for file objects.

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
    >>> mxio.copy('w.mxio', 'w.safetensors', ['w'])
    >>> mxio.load('w.safetensors')['w'].shape
    (2, 3)
    """
    if format is None and isinstance(path, (str, os.PathLike)):
        format = FORMAT_OF.get(os.path.splitext(os.fsdecode(path))[1].lower())
    with Reader(source, threads=threads, encoding=encoding) as reader:
        tree = _selected(reader, names, rename, _floating(dtype), format)
        if metadata is None:
            metadata = _said_in(format, reader.metadata)
        content = prepare(tree, metadata)
        with shown(progress, f"copy {quote(reader._file.name)}") as tell:
            write(path, content, format, sync, threads, options, check, tell)


def compact(
    path: Path,
    *,
    sync: bool = True,
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> None:
    """Write an mxio file anew, without the space that appending to it has given up.

    All is checked on the way. The new file takes the place of the old one as in `save`:
    whole or not at all. Each array then lies in one place, so that `load` can map it.

    Parameters
    ----------
    path : str or os.PathLike
    sync, threads, progress
        As in `save`.

    Raises
    ------
    BlockingIOError
        A writer has it open.
    ChecksumError, FormatError
        It is damaged, and stays as it is.
    OSError
        The system said no.

    Examples
    --------
    >>> mxio.compact('w.mxio')
    """
    held = open_held(path)
    try:
        if formats.detect(held, None) is not formats.native:
            raise UnsupportedError(f"{held.name} is no mxio file: only those are appended to")
        copy(path, path, format=formats.native.NAME, sync=sync, threads=threads, progress=progress)
    finally:
        held.close()


def _said_in(format: str | None, metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a format can hold of a file's metadata."""
    if format in (None, formats.native.NAME):
        return metadata
    if format != formats.safetensors.NAME:
        return None
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }


def _floating(dtype: Any) -> np.dtype[Any] | None:
    """Return the dtype of a name, also of one that NumPy lacks."""
    if dtype is None:
        return None
    found: np.dtype[Any] | UnsupportedError
    bits = _dtype.item_bits(dtype) if isinstance(dtype, str) else None
    found = _dtype.resolve(cast(str, dtype), bits) if bits is not None else np.dtype(dtype)
    if isinstance(found, UnsupportedError):
        raise found
    return found


def _selected(
    reader: Reader,
    names: Iterable[str] | None,
    rename: Mapping[str, str] | Callable[[str], str] | None,
    dtype: np.dtype[Any] | None,
    format: str | None,
) -> object:
    """Return what is to be copied, as a tree of lazy arrays."""
    index = reader.index
    numbers = list(range(len(index))) if names is None else index.numbers(names)
    entries = [index.entry(number) for number in numbers]
    leaves = [
        _converted(LazyArray(reader._file, index, entry, reader._verify, reader._threads), dtype)
        for entry in entries
    ]
    if format == formats.npy.NAME and len(leaves) == 1:
        return leaves[0]  # which has no name there
    flat = dict(zip([entry.name for entry in entries], leaves, strict=True))
    if names is None and rename is None:
        tree = _tree.unflatten(index.structure, index.names(), leaves)
        plain = None if format in (None, formats.native.NAME) else _plain_value(tree)
        if plain:
            raise TypeError(
                f"cannot copy {plain}, into format {format!r}, which holds arrays only: "
                "names=[...] takes some of them, names=list(mxio.open(...)) all"
            )
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


def _plain_value(tree: object, path: str = "") -> str | None:
    """Return the path and kind of the first plain value in a tree."""
    if isinstance(tree, (list, tuple, dict)):
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        inner = (_plain_value(item, f"{path}/{key}" if path else str(key)) for key, item in pairs)
        return next((found for found in inner if found), None)
    if isinstance(tree, (LazyArray, Cast, SparseArray)):
        return None
    return f"{quote(path)}, {described(tree)}" if tree is not None else f"{quote(path)}, None"


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
