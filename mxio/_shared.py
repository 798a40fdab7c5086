# SPDX-License-Identifier: Apache-2.0
"""An array of another process's Writer: regions of it can be written from here."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from mxio import _core
from mxio._region import Box, Region, parse, pieces
from mxio.errors import quote

__all__ = ["HEAD_NBYTES", "SharedArray", "region_bytes"]

HEAD_NBYTES = 4096

Array: TypeAlias = "np.ndarray[Any, Any]"


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
        head: int,
    ) -> None:
        self._path = path
        self._where = where
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self._offset = offset
        self._head = head  # crc of the head area

    @property
    def ndim(self) -> int:
        return len(self.shape)

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
            if _core.crc32c(file.get(0, HEAD_NBYTES), 0, None) != self._head:
                raise ValueError(f"{quote(self.name)} can no longer be written: {gone}")
            if len(flat):
                file.put_pieces(flat, (starts + self._offset).astype(np.uint64))
        finally:
            file.close()


def region_bytes(
    name: str, shape: tuple[int, ...], order: str, dtype: np.dtype[Any], box: Box, value: Any
) -> tuple[Array, Array, int]:
    """Return the bytes of a region, and where in the data each of equal pieces begins."""
    block: Array = np.empty(box.shape, dtype)
    try:
        block[...] = value
    except ValueError as error:
        raise ValueError(f"{quote(name)}, a region of shape {box.shape}: {error}") from None
    turn = slice(None, None, -1 if order == "F" else 1)
    stored = block[box.undo]
    flat = np.ascontiguousarray(stored.T if order == "F" else stored).reshape(-1).view(np.uint8)
    starts, piece = pieces(
        shape[turn], box.starts[turn], box.counts[turn], box.steps[turn], dtype.itemsize
    )
    return flat, starts, piece
