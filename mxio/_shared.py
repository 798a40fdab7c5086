# SPDX-License-Identifier: Apache-2.0
"""An array of a Writer, whose regions are written: from its own process, and from others."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np

from mxio import _core
from mxio._region import Box, Region, parse, pieces
from mxio.errors import quote

__all__ = ["SharedArray", "WriterArray", "head_of", "region_bytes"]

_HEAD_NBYTES = 4096

Array: TypeAlias = "np.ndarray[Any, Any]"


_ONLY_WRITTEN = "{} is only written here: read it with mxio.open after the commit"


class Regions(Protocol):
    """What an array needs of its writer."""

    def _describe(self, name: str, /) -> tuple[tuple[int, ...], np.dtype[Any]]: ...

    def _write_region(self, name: str, region: Region, value: Any, /) -> None: ...

    def _share(self, name: str, /) -> SharedArray: ...


class WriterArray:
    """An array of a `Writer`: ``x[region] = block`` writes into it.

    Regions are of integers and slices; a block is broadcast and converted as NumPy does. From
    several threads at once, and with ``dask.array.store``. Pickled, it writes from another
    process, as long as the array is one of `Writer.create` that has not been committed.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype : numpy.dtype
    ndim, size, nbytes : int
    """

    def __init__(self, writer: Regions, name: str) -> None:
        self._writer = writer
        self.name = name

    @property
    def shape(self) -> tuple[int, ...]:
        return self._writer._describe(self.name)[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._writer._describe(self.name)[1]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without dimensions")
        return self.shape[0]

    def __setitem__(self, region: Region, value: Any) -> None:
        self._writer._write_region(self.name, region, value)

    def __reduce__(self) -> tuple[Any, ...]:
        shared = self._writer._share(self.name)
        return SharedArray, tuple(getattr(shared, field) for field in SharedArray.__slots__)

    def __getitem__(self, region: Region) -> Any:
        raise TypeError(_ONLY_WRITTEN.format(quote(self.name)))

    def __repr__(self) -> str:
        try:
            shape, dtype = self._writer._describe(self.name)
        except ValueError:
            return f"<mxio.WriterArray {self.name!r}: closed>"
        return f"<mxio.WriterArray {self.name!r} {dtype} {shape}>"


class SharedArray:
    """What a pickled `WriterArray` becomes: ``x[region] = block`` writes into the writer's file.

    As long as the writer has not committed: then what is written in place is no longer the
    writer's to change.
    """

    __slots__ = ("_path", "_where", "name", "shape", "dtype", "_offset", "_head")  # noqa: RUF023

    def __init__(
        self,
        path: bytes,
        where: str,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        offset: int,
        head: bytes,
    ) -> None:
        self._path = path
        self._where = where
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self._offset = offset
        # As it was: a checksum would not do, as a slot with its own crc behind it has always
        # the same one.
        self._head = head

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, region: Region) -> Any:
        raise TypeError(_ONLY_WRITTEN.format(quote(self.name)))

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedArray, tuple(getattr(self, field) for field in self.__slots__)

    def __setitem__(self, region: Region, value: Any) -> None:
        box = parse(region, self.shape, self.name)
        if not isinstance(box, Box):
            raise IndexError(f"a region of {quote(self.name)} is made of integers and slices")
        flat, starts, _ = region_bytes(self.name, self.shape, "C", self.dtype, box, value)
        gone = f"the writer of {self._where} has committed or closed it"
        try:
            file = _core.File.open_shared(self._path, self._where)
        except FileNotFoundError:
            raise ValueError(f"{quote(self.name)} can no longer be written: {gone}") from None
        try:
            if head_of(file) != self._head:
                raise ValueError(f"{quote(self.name)} can no longer be written: {gone}")
            if len(flat):
                file.put_pieces(flat, (starts + self._offset).astype(np.uint64))
        finally:
            file.close()


def head_of(file: _core.File) -> bytes:
    """Return what tells the state of a writer's file: its head, without zeros behind it."""
    return file.get(0, _HEAD_NBYTES).rstrip(b"\0")


def region_bytes(
    name: str, shape: tuple[int, ...], order: str, dtype: np.dtype[Any], box: Box, value: Any
) -> tuple[Array, Array, int]:
    """Return the bytes of a region, and where in the data each of equal pieces begins."""
    block: Array = np.empty(box.shape, dtype)
    try:
        block[...] = value
    except (TypeError, ValueError, OverflowError) as error:
        raise type(error)(f"{quote(name)}, a region of shape {box.shape}: {error}") from None
    turn = slice(None, None, -1 if order == "F" else 1)
    stored = block[box.undo]
    flat = np.ascontiguousarray(stored.T if order == "F" else stored).reshape(-1).view(np.uint8)
    starts, piece = pieces(
        shape[turn], box.starts[turn], box.counts[turn], box.steps[turn], dtype.itemsize
    )
    return flat, starts, piece
