# SPDX-License-Identifier: Apache-2.0
"""mxio's own format, docs/FORMAT.md: what C does, with Python's words around it."""

from __future__ import annotations

from mxio import _core, _dtype, _tree
from mxio._index import Content, Index

__all__ = ["HEAD_NBYTES", "NAME", "index", "plan", "probe"]

NAME = "mxio"
HEAD_NBYTES = 4096
_MAGIC = b"\x89MXIO\r\n\x1a"
_SECOND_SLOT = 2048


def probe(head: bytes) -> bool:
    """Say whether a file that begins so is of this format, sound or not."""
    return head.startswith(_MAGIC) or head.startswith(_MAGIC, _SECOND_SLOT)


def index(file: _core.File, encoding: str | None) -> Index:
    """Read and judge head and index."""
    handle = file.index()
    metadata = _tree.decode_metadata(handle.metadata)
    return Index(handle, metadata, file.name, format=NAME, version="1")


def plan(content: Content, begin: int = 0) -> _core.Plan:
    """Lay out what is to be saved; or only its data, from the offset `begin` on."""
    dtypes = content.dtypes
    row_of = {dtype: row for row, dtype in enumerate(dict.fromkeys(dtypes))}
    table: list[tuple[str, int]] = []
    for dtype in row_of:
        item_bits = _dtype.item_bits(dtype)
        assert item_bits is not None, f"{dtype} is not in the table"
        table.append((dtype, item_bits))
    return _core.Plan.native(
        content.names,
        content.arrays,
        list(map(row_of.__getitem__, dtypes)),
        table,
        content.structure,
        _tree.encode_metadata(content.metadata),
        content.sources,
        begin,
    )
