# SPDX-License-Identifier: Apache-2.0
"""MXNet's ``.params``: what ``nd.save`` and Gluon of MXNet 0.7 to 2.0 wrote, and how to write it.

The layout is drawn in csrc/mxnet.c, which scans it. A file holds a list of arrays, or a
dict of them if it has names. A sparse array is several entries of the index, a record
without an array (an array that was never initialized) is None.

Facts about MXNet here, and all of those in csrc/mxnet.c, were measured with its releases
0.9.5 to 2.0.0b1.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import struct
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mxio import _core, _dtype, _tree
from mxio._index import Content, Index
from mxio._sparse import PARTS
from mxio.errors import FormatError, FormatWarning, quote

__all__ = ["NAME", "index", "plan", "probe"]

NAME = "mxnet"
_MAGIC = struct.pack("<Q", 0x112)
_RECORD_MAGIC = {2: 0xF993FAC9, 3: 0xF993FACA}
_CPU = (1, 0)  # the device that the record says: type and number
_STYPES = {"row_sparse": 1, "csr": 2}

# By code, which is the row. As csrc/mxio.h wants it: foreign name, name, bits here and there.
_BY_CODE = sorted((row for row in _dtype.TABLE if row.mxnet is not None), key=lambda r: r.mxnet)  # type: ignore[arg-type,return-value]
_TABLE = [("", row.name, row.item_bits, row.item_bits) for row in _BY_CODE]
_CODES = {row.name: code for code, row in enumerate(_BY_CODE)}

# Kinds of parts and bits of what was seen, in csrc/mxio.h.
_DENSE, _NONE, _ROW_SPARSE, _CSR = range(4)
_VERSIONS = {1: "V0", 2: "V1", 4: "V2", 8: "V3"}
_SEEN_RESERVED = 16


def probe(head: bytes) -> bool:
    """Say whether a file that begins so is of this format, sound or not."""
    return head.startswith(_MAGIC)


# ---- reading ---------------------------------------------------------------------------------


def index(file: _core.File, encoding: str | None) -> Index:
    """Scan a file; `encoding` is that of names that are not UTF-8."""
    scan = _core.Scan.mxnet(file, _TABLE)
    version = " and ".join(name for bit, name in _VERSIONS.items() if scan.seen & bit)
    if scan.seen & _SEEN_RESERVED:
        warnings.warn(
            f"{file.name}: the reserved word at offset 8 is not 0; it is ignored, as MXNet does",
            FormatWarning,
            stacklevel=2,
        )
    if scan.end_offset != file.nbytes:
        warnings.warn(
            f"{file.name}: {file.nbytes - scan.end_offset} bytes follow its end at offset "
            f"{scan.end_offset}; they are ignored, as MXNet does",
            FormatWarning,
            stacklevel=2,
        )
    handle = None
    if scan.dense and encoding is None:
        with contextlib.suppress(FormatError):  # a name that is not sound, or stands twice
            handle = scan.index(b'"dict"' if scan.n_names else b'"list"')
    if handle is None:
        handle = _assemble(file, scan, encoding)
    return Index(handle, {}, file.name, format=NAME, version=version)


class _Record(NamedTuple):
    node: object  # of the structure
    parts: tuple[tuple[str, tuple[Any, ...]], ...]  # what follows the name, and the scan's part


def _records(scan: _core.Scan) -> Iterator[_Record]:
    parts = iter(scan.parts())
    for part in parts:
        kind, dense_shape = part[0], part[5]
        if kind == _NONE:
            yield _Record(None, ())
        elif kind == _DENSE:
            yield _Record("array", (("", part),))
        else:
            stype = "csr" if kind == _CSR else "row_sparse"
            names = PARTS[stype]
            rest = [part, *(next(parts) for _ in names[1:])]
            yield _Record(
                {stype: list(dense_shape)},
                tuple((f"/{name}", found) for name, found in zip(names, rest, strict=True)),
            )


def _assemble(file: _core.File, scan: _core.Scan, encoding: str | None) -> _core.Index:
    """Make the index of a file that is more than dense arrays with sound names."""
    records = list(_records(scan))
    by_name = {}
    if scan.n_names:
        # The last of a name counts, in the place of the first: MXNet fills a dict.
        by_name = dict(zip(_names(file, scan, encoding), records, strict=True))
    else:
        by_name = {str(number): record for number, record in enumerate(records)}
    nodes = [record.node for record in by_name.values()]
    word = "dict" if scan.n_names else "list"
    structure: object = word
    if any(node != "array" for node in nodes):
        content = [[*pair] for pair in zip(by_name, nodes, strict=True)] if scan.n_names else nodes
        structure = {"tree": {word: content}}
    found = [
        (name + suffix, part) for name, record in by_name.items() for suffix, part in record.parts
    ]
    table = scan.dtypes()
    row_of = {row: n for n, row in enumerate(dict.fromkeys(part[1] for _, part in found))}
    return _core.foreign_index(
        file.nbytes,
        [name for name, _ in found],
        [part[2] for _, part in found],
        "C" * len(found),
        [part[3] for _, part in found],
        [part[4] for _, part in found],
        [row_of[part[1]] for _, part in found],
        [table[row] for row in row_of],
        json.dumps(structure, separators=(",", ":")).encode("ascii"),
        file.name,
        "MXNet",
    )


def _names(file: _core.File, scan: _core.Scan, encoding: str | None) -> list[str]:
    """Decode the names, or say which one cannot be read and how it can."""
    if encoding is not None:
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise ValueError(f"encoding={encoding!r} is none that Python knows") from None
    raw = scan.names()
    offset = scan.end_offset - sum(8 + len(name) for name in raw)
    names = []
    for number, name in enumerate(raw):
        offset += 8
        where = f"{file.name}: the name of array {number}, {quote_bytes(name)} at offset {offset},"
        if b"\0" in name:
            cut = name[: name.index(b"\0")]
            if encoding is None:
                raise FormatError(
                    f"{where} holds a NUL, where MXNet cuts it: encoding='utf-8' reads it as "
                    f"{quote_bytes(cut)}",
                    offset,
                )
            decoded = cut
        else:
            decoded = name
        try:
            names.append(decoded.decode(encoding or "utf-8"))
        except UnicodeError:
            remedy = "encoding='latin-1' or another one reads it"
            raise FormatError(f"{where} is not {encoding or 'UTF-8'}: {remedy}", offset) from None
        offset += len(name)
    return names


def quote_bytes(name: bytes) -> str:
    """Return a name of unknown encoding in quotes, escaped."""
    return quote(name.decode("ascii", "backslashreplace")).replace("\\\\x", "\\x")


# ---- writing ---------------------------------------------------------------------------------


def plan(content: Content, *, version: int = 2) -> _core.Plan:
    """Lay out a list or a dict of arrays as MXNet does, byte for byte.

    `version` 2 is what MXNet 0.12 to 1.9 read and write, 3 what MXNet 1.5 and later
    read and write with NumPy shapes.
    """
    if version not in _RECORD_MAGIC:
        raise ValueError(f"version is 2 or 3, not {version!r}")
    if content.metadata:
        raise ValueError("MXNet's files have no place for metadata; use mxio's own format")
    for name, dtype in zip(content.names, content.dtypes, strict=True):
        if dtype not in _CODES:
            at = f"{quote(name)}: " if name else ""
            raise TypeError(
                f"{at}MXNet's files cannot hold dtype {dtype}; convert it, or use mxio's own format"
            )
    names, nodes = _layout(content)
    items: list[bytes | int] = [_MAGIC + struct.pack("<QQ", 0, len(nodes))]
    arrays = list(content.arrays)
    sources = content.sources and content.sources.ordered("C")
    number = 0
    for n, node in enumerate(nodes):
        if node == "array":
            shape = arrays[number].shape
            items += [_dense_header(version, shape, _CODES[content.dtypes[number]]), number]
            number += 1
            continue
        assert isinstance(node, dict)
        ((stype, shape),) = node.items()
        if version == 3:
            at = f"{quote(names[n])}: " if names else ""
            raise ValueError(f"{at}MXNet's files of version 3 have no sparse arrays; use version=2")
        numbers = range(number, number + len(PARTS[stype]))
        for part in numbers[1:]:  # MXNet's indices are int64
            if content.dtypes[part] != "int64":
                if sources is not None and part in sources:
                    sources, arrays[part] = sources.converted(part, np.dtype(np.int64))
                else:
                    arrays[part] = arrays[part].astype(np.int64)
        items += [_sparse_header(stype, tuple(shape), content, arrays, numbers), *numbers]
        number = numbers.stop
    tail = [struct.pack("<Q", len(names))]
    for name in names:
        raw = name.encode()
        tail += [struct.pack("<Q", len(raw)), raw]
    items.append(b"".join(tail))
    return _core.Plan.framed(content.names, arrays, "C" * len(arrays), items, sources)


def _layout(content: Content) -> tuple[list[str], list[object]]:
    """Return the names, none for a list, and the node of each record."""
    structure = json.loads(content.structure)
    if structure == "array":
        return [], ["array"]
    if structure in ("list", "tuple"):
        return [], ["array"] * len(content.names)
    if structure == "dict":
        return content.names, ["array"] * len(content.names)
    node = structure["tree"]
    word, items = next(iter(node.items())) if isinstance(node, dict) else ("", [])
    if word in _STYPES:
        return [], [node]
    keys = [key for key, _ in items] if word == "dict" else []
    nodes = [item for _, item in items] if word == "dict" else items
    if (
        word not in ("list", "tuple", "dict")
        or not all(isinstance(key, str) for key in keys)
        or not all(map(_is_record, nodes))
    ):
        raise TypeError(
            f"cannot save {_tree.no_array(content.structure, sparse=True)} in a file of MXNet's, "
            "which holds a list or a dict of arrays: use mxio's own format, or save its arrays"
        )
    return keys, nodes


def _is_record(node: object) -> bool:
    return node == "array" or (isinstance(node, dict) and set(node) <= set(_STYPES))


def _shape(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<i{len(shape)}q", len(shape), *shape)


def _dense_header(version: int, shape: tuple[int, ...], code: int) -> bytes:
    ndim = len(shape)
    return struct.pack(f"<Iii{ndim}qiii", _RECORD_MAGIC[version], 0, ndim, *shape, *_CPU, code)


def _sparse_header(
    stype: str,
    shape: tuple[int, ...],
    content: Content,
    arrays: list[np.ndarray[Any, Any]],
    numbers: range,
) -> bytes:
    header = struct.pack("<Ii", _RECORD_MAGIC[2], _STYPES[stype])
    header += _shape(arrays[numbers[0]].shape) + _shape(shape)
    header += struct.pack("<iii", *_CPU, _CODES[content.dtypes[numbers[0]]])
    for number in numbers[1:]:
        header += struct.pack("<i", _CODES["int64"]) + _shape(arrays[number].shape)
    return header
