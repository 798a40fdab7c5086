# SPDX-License-Identifier: Apache-2.0
"""Where extents are read from and where files go: paths, bytes, file objects.

A path or bytes become a ``_core.File``, which is all that the layers above know.
Nothing here looks at contents.
"""

from __future__ import annotations

import errno
import io
import os
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

from mxio import _core
from mxio.errors import printable

__all__ = [
    "Readable",
    "Source",
    "Target",
    "Writable",
    "create",
    "open_held",
    "open_source",
    "writer_of",
]


@runtime_checkable
class Readable(Protocol):
    """A binary file object that can be read."""

    def read(self, size: int = -1, /) -> Any: ...


@runtime_checkable
class Writable(Protocol):
    """A binary file object that can be written."""

    def write(self, data: Any, /) -> Any: ...


Path: TypeAlias = "str | os.PathLike[str] | os.PathLike[bytes]"
Source: TypeAlias = "Path | bytes | bytearray | memoryview | Readable"
Target: TypeAlias = "Path | Writable"

# As the kernel does it; more is a loop.
_MAX_LINKS = 40


def _encode(path: Path) -> tuple[bytes, str]:
    """Return a path for C and for messages."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError(f"a path cannot hold a NUL: {os.fspath(path)!r}")
    return encoded, os.fsdecode(path)


def open_source(source: Source) -> _core.File:
    """Open a path, bytes or a binary file object for reading.

    A file object is read from where it stands to its end.
    """
    if isinstance(source, (str, os.PathLike)):
        try:
            return _core.File.open(*_encode(source))
        except IsADirectoryError:
            found = _in_folder(source)
            if found is source:
                raise
        return _core.File.open(*_encode(found))
    if isinstance(source, io.TextIOBase):
        raise TypeError("a file object must be opened in binary mode: open(path, 'rb')")
    if _has_buffer(source):
        return _core.File.memory(cast(Any, source), "<bytes>")
    if not isinstance(source, Readable):
        raise TypeError(
            f"a source is a path, bytes or a binary file object, not {type(source).__qualname__}"
        )
    data = source.read()
    if not _has_buffer(data):
        raise TypeError("a file object must be opened in binary mode: open(path, 'rb')")
    return _core.File.memory(data, str(getattr(source, "name", "<file object>")))


def _in_folder(folder: Path) -> Path:
    """Return the file that stands for a folder: a model in shards, or one in a single file."""
    names = sorted(map(os.fsdecode, os.listdir(folder)))
    for ending in (".safetensors.index.json", ".safetensors"):
        found = [name for name in names if name.endswith(ending)]
        if len(found) > 1:
            raise ValueError(
                f"{printable(os.fsdecode(folder))} holds {len(found)} files that end in {ending}: "
                "give the path of one of them, such as "
                f"{os.path.join(os.fsdecode(folder), found[0])!r}"
            )
        if found:
            return os.path.join(os.fsdecode(folder), found[0])
    return folder


def _has_buffer(data: Any) -> bool:
    try:
        memoryview(data).release()
    except TypeError:
        return False
    return True


def create(path: Path, how: str = "") -> _core.File:
    """Begin a file that appears under its name when it is committed.

    A symbolic link keeps pointing: what it points to is replaced. `how`: 'held' for one that
    stays locked and may be written on, 'new' for one that replaces nothing, too.
    """
    encoded, name = followed(path)
    if not how:
        return _core.File.create(encoded, name)
    file = _core.File.create_held(encoded, name, how == "new")
    _hold(file)
    return file


def open_held(path: Path) -> _core.File:
    """Open a file to append to it, locked until it is closed."""
    file = _core.File.open_held(*followed(path))
    _hold(file)
    return file


# A child of this process has them open, too, and would keep them locked when it is gone. No
# WeakSet: a Ctrl-C that comes while Python runs its callback is lost.
_held: dict[int, weakref.ref[_core.File]] = {}


def _hold(file: _core.File) -> None:
    for number, found in list(_held.items()):
        if found() is None:
            _held.pop(number, None)
    _held[id(file)] = weakref.ref(file)  # in the place of one that is gone, if the id is taken


def _leave_to_parent() -> None:
    for found in list(_held.values()):
        file = found()
        if file is not None:
            file.close()


os.register_at_fork(after_in_child=_leave_to_parent)


def followed(path: Path) -> tuple[bytes, str]:
    """Return a path that is no symbolic link, and what the caller calls it."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            "a path is a str or os.PathLike, or a binary file object with write, "
            f"not {type(path).__name__}"
        )
    encoded, name = _encode(path)
    for _ in range(_MAX_LINKS):
        try:
            target = os.readlink(encoded)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:  # C, which goes by the folder, would make it
                raise OSError(error.errno, error.strerror, name) from None
            return encoded, name
        encoded = os.path.join(os.path.dirname(encoded), target)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)


def writer_of(
    target: Writable, tell: Callable[[int], object] | None = None
) -> Callable[[bytes | memoryview], None]:
    """Return a function that writes all of what it is given to a file object.

    `tell` hears after each time how many bytes there were so far.
    """
    done = 0
    if isinstance(target, io.TextIOBase):
        raise TypeError("a file object must be opened in binary mode: open(path, 'wb')")

    def write(data: bytes | memoryview) -> None:
        nonlocal done
        left = memoryview(data)
        while left:
            n = target.write(left)
            # Only raw files may write less than they are given, and they say so.
            if n is None or not isinstance(n, int):
                break
            if not 0 < n <= len(left):
                raise OSError(errno.EIO, f"a file object wrote {n} of {len(left)} bytes")
            left = left[n:]
        done += len(data)
        if tell is not None:
            tell(done)

    return write
