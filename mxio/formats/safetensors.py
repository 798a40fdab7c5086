# SPDX-License-Identifier: Apache-2.0
"""safetensors: a dict of arrays behind a header in JSON, which csrc/safetensors.c scans.

A folder may hold a model in shards: files of this format, and an index in JSON that says
which array is in which. They are read as one file.

Written as the safetensors package writes it, byte for byte: arrays in the order of
their dtypes, widest first, then of their names. It has no checksums.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from mxio import _core, _dtype, _tree
from mxio._index import Content, Entry, Index
from mxio.errors import FormatError, UnsupportedError, clip, described, quote

__all__ = ["NAME", "index", "plan", "probe"]

NAME = "safetensors"
_HEADER_NBYTES_MAX = 100_000_000
_PROBE_NBYTES = 4096
_METADATA = "__metadata__"

# The package's order of its dtypes, which is that of the arrays in a file (0.8, measured).
_ORDER = (
    *("U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16"),
    *("F8_E5M2FNUZ", "F8_E4M3FNUZ", "F8_E8M0", "F8_E4M3", "F8_E5M2", "I8", "U8", "F4", "BOOL"),
)
_RANK = {name: rank for rank, name in enumerate(_ORDER)}
_STORED_BITS = {"F4": 4}
_ROWS = {row.name: row.safetensors for row in _dtype.TABLE if row.safetensors}
_TABLE = [
    (row.safetensors, row.name, row.item_bits, _STORED_BITS.get(row.safetensors, row.item_bits))
    for row in _dtype.TABLE
    if row.safetensors
]
_PACKED = {row[1] for row in _TABLE if row[2] != row[3]}


def probe(head: bytes) -> bool:
    """Say whether a file that begins so is of this format, sound or not."""
    nbytes = int.from_bytes(head[:8], "little")
    if _is_shard_list(head):
        return True
    return head[8:9] == b"{" and (nbytes <= _HEADER_NBYTES_MAX or head[9:10] in (b'"', b"}"))


# ---- reading ---------------------------------------------------------------------------------


def index(file: _core.File, encoding: str | None) -> Index:
    """Scan the header, or the headers of all shards."""
    if _is_shard_list(file.get(0, min(file.nbytes, _PROBE_NBYTES))):
        return _index_shards(file)
    return _index_one(file)


def _index_one(file: _core.File) -> Index:
    scan = _core.Scan.safetensors(file, _TABLE)
    metadata = _metadata(file, *scan.metadata)
    handle = None
    packed: dict[int, _Nibbles] = {}
    if scan.dense:
        with contextlib.suppress(FormatError):  # said again below, with the name
            handle = scan.index(b'"dict"')
    if handle is None:
        handle, packed = _assemble(file, scan)
    dtypes = [
        UnsupportedError(f"dtype {clip(repr(name[1:]), 80)} of safetensors has no array here")
        if name.startswith("?")
        else _dtype.resolve(name, bits)
        for name, bits in handle.dtypes()
    ]
    return Index(handle, metadata, file.name, format=NAME, version="", dtypes=dtypes, codecs=packed)


def _is_shard_list(head: bytes) -> bool:
    return head.lstrip().startswith(b"{") and b'"weight_map"' in head


def _index_shards(file: _core.File) -> Index:
    """Read the list of shards, and make `file` stand for all of them."""
    where = f"{file.name} is not a valid list of safetensors shards: "
    try:
        listed = _parse(file.get(0, file.nbytes))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}it is not JSON: {error}") from None
    weight_map = listed.get("weight_map") if isinstance(listed, dict) else None
    metadata = listed.get("metadata") if isinstance(listed, dict) else None
    if not isinstance(weight_map, dict):
        raise FormatError(f"{where}its weight_map is no object")
    for name, shard in weight_map.items():
        if not _is_plain(shard):
            raise FormatError(
                f"{where}{quote(name)} is in {clip(repr(shard))}, which is not the name of a "
                "safetensors file beside it"
            )
    if not weight_map:
        raise FormatError(f"{where}it lists no arrays")
    if not os.path.isfile(file.name):
        raise UnsupportedError(
            f"{file.name} is a list of safetensors shards, which lie beside it: load it by its path"
        )
    parts = []
    try:
        for shard in dict.fromkeys(weight_map.values()):
            path = os.path.join(os.path.dirname(file.name), shard)
            parts.append(_core.File.open(os.fsencode(path), path))
        indexes = [_index_one(part) for part in parts]
        bases = file.join(parts)
    finally:
        for part in parts:
            part.close()
    shards = dict.fromkeys(weight_map.values())
    by_shard = dict(zip(shards, zip(indexes, bases, strict=True), strict=True))
    entries: list[Entry] = []
    rows: list[int] = []
    dtypes: dict[str, tuple[int, int, np.dtype[Any] | UnsupportedError]] = {}
    packed: dict[int, _Nibbles] = {}
    for name, shard in weight_map.items():
        found, base = by_shard[shard]
        if name not in found:
            raise FormatError(f"{where}{quote(name)} is not in {quote(shard)}")
        entry = found[name]
        row, (dtype, bits) = found.row(entry)
        rows.append(dtypes.setdefault(dtype, (len(dtypes), bits, found.dtypes[row]))[0])
        if entry.number in found.codecs:
            packed[len(entries)] = _Nibbles(base + entry.offset, entry.stored_nbytes)
        entries.append(entry._replace(offset=base + entry.offset))
    handle = _core.foreign_index(
        file.nbytes,
        list(weight_map),
        [entry.shape for entry in entries],
        "C" * len(entries),
        [entry.offset for entry in entries],
        [entry.stored_nbytes for entry in entries],
        rows,
        [(dtype, bits) for dtype, (_, bits, _) in dtypes.items()],
        b'"dict"',
        file.name,
        "safetensors",
    )
    first, *others = [found.metadata for found in indexes]
    common = {
        key: value
        for key, value in first.items()
        if all(other.get(key) == value for other in others)
    }
    return Index(
        handle,
        common | (metadata if isinstance(metadata, dict) else {}),
        file.name,
        format=NAME,
        version=f"{len(bases)} shards",
        dtypes=[dtype for _, _, dtype in dtypes.values()],
        codecs=packed,
    )


def _is_plain(shard: object) -> bool:
    """Whether the name of a shard is one of a file in the same folder, and nothing else."""
    return (
        isinstance(shard, str)
        and shard.endswith(".safetensors")
        and not set(shard) & set("/\\\0:")
        and shard not in (".safetensors",)
    )


def _parse(data: bytes) -> Any:
    """Return the value of JSON none of whose objects has a key twice."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            raise ValueError("a key stands twice")
        return found

    return json.loads(data.decode(), object_pairs_hook=pairs)


def _metadata(file: _core.File, offset: int, nbytes: int) -> dict[str, Any]:
    if not nbytes:
        return {}
    try:
        metadata = _parse(file.get(offset, nbytes))
        if metadata is None:
            return {}
        if not isinstance(metadata, dict) or not all(
            isinstance(value, str) for value in metadata.values()
        ):
            raise ValueError("it is not an object of strings")
    except ValueError as error:
        raise FormatError(
            f"{file.name} is not a valid safetensors file: its metadata is not sound: {error} "
            f"(offset {offset})",
            offset,
        ) from None
    return metadata


class _Nibbles:
    """Items of four bits, two in a byte, the first one in the low half."""

    plain = False

    def __init__(self, offset: int, stored_nbytes: int) -> None:
        self._offset = offset
        self._stored_nbytes = stored_nbytes

    def pieces(self, file: _core.File, entry: Entry, verify: bool) -> Iterator[bytes]:
        """Give an item in each byte."""
        step = 2 << 20
        for start in range(0, self._stored_nbytes, step):
            n = min(step, self._stored_nbytes - start)
            pairs = np.frombuffer(file.get(self._offset + start, n), np.uint8)
            items = np.empty(2 * n, np.uint8)
            items[0::2] = pairs & 15
            items[1::2] = pairs >> 4
            yield items[: entry.nbytes - 2 * start].tobytes()


def _assemble(file: _core.File, scan: _core.Scan) -> tuple[_core.Index, dict[int, _Nibbles]]:
    parts, dtypes = scan.parts(), scan.dtypes()
    names = []
    for raw in scan.names():
        try:
            names.append(raw.decode())
        except UnicodeError:
            raise FormatError(
                f"{file.name} is not a valid safetensors file: a name is not UTF-8: "
                f"{quote(raw.decode('latin-1'))}",
                8,
            ) from None
    handle = _core.foreign_index(
        file.nbytes,
        names,
        [part[2] for part in parts],
        "C" * len(parts),
        [part[3] for part in parts],
        [part[4] for part in parts],
        [part[1] for part in parts],
        dtypes,
        b'"dict"',
        file.name,
        "safetensors",
    )
    packed = {
        number: _Nibbles(part[3], part[4])
        for number, part in enumerate(parts)
        if dtypes[part[1]][0] in _PACKED
    }
    return handle, packed


# ---- writing ---------------------------------------------------------------------------------


def plan(content: Content) -> _core.Plan:
    """Lay out a dict of arrays."""
    if content.structure != b'"dict"':
        raise TypeError(
            f"cannot save {_tree.no_array(content.structure)} in a safetensors file, which holds a "
            "dict of dense arrays, {'name': array}: use mxio's own format, or save such a dict"
        )
    arrays = list(content.arrays)
    infos: list[tuple[int, str, int]] = []
    for number, (name, dtype) in enumerate(zip(content.names, content.dtypes, strict=True)):
        foreign = _ROWS.get(dtype)
        if foreign is None:
            raise TypeError(
                f"{quote(name)}: safetensors files cannot hold dtype {dtype}; convert it, or use "
                "mxio's own format"
            )
        if name == _METADATA:
            raise ValueError(f"{quote(name)} is what safetensors calls its metadata; rename it")
        infos.append((_RANK[foreign], name, number))
    header: dict[str, object] = {}
    metadata = _checked(content.metadata)
    if metadata:
        header[_METADATA] = metadata
    items: list[bytes | int] = []
    sources = content.sources and content.sources.ordered("C")
    at = 0
    for rank, name, number in sorted(infos):
        shape = list(arrays[number].shape)
        if _ORDER[rank] in _STORED_BITS:
            items.append(_packed(content, number))
            nbytes = len(items[-1])  # type: ignore[arg-type]
        else:
            items.append(number)
            nbytes = arrays[number].nbytes
        header[name] = {"dtype": _ORDER[rank], "shape": shape, "data_offsets": [at, at + nbytes]}
        at += nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _HEADER_NBYTES_MAX:
        raise ValueError(
            f"the header would have {len(text)} bytes, and safetensors reads no more than "
            f"{_HEADER_NBYTES_MAX}; save the {len(arrays)} arrays in several files, or in mxio's "
            "own format"
        )
    items.insert(0, len(text).to_bytes(8, "little") + text)
    return _core.Plan.framed(content.names, arrays, "C" * len(arrays), items, sources)


def _checked(metadata: object) -> dict[str, str]:
    if not metadata:
        return {}
    if not hasattr(metadata, "items"):
        raise TypeError(f"metadata is a dict of str, not {described(metadata)}")
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(
                f"metadata[{clip(repr(key))}] is {described(value)}: safetensors files hold str "
                "only; use str(...) or json.dumps(...)"
            )
        try:
            f"{key}{value}".encode()
        except UnicodeEncodeError:
            raise ValueError(f"metadata[{clip(repr(key))}] holds a lone surrogate") from None
    return dict(sorted(metadata.items()))


def _packed(content: Content, number: int) -> bytes:
    """Return items of four bits two in a byte."""
    if content.sources is not None and number in content.sources:
        array = content.sources.ordered("C").fetch([number])[0]
    else:
        array = np.ascontiguousarray(content.arrays[number])
    items = array.reshape(-1).view(np.uint8)
    if items.size % 2:
        raise ValueError(
            f"{quote(content.names[number])}: safetensors packs two float4 items into a byte, and "
            f"{items.size} are odd"
        )
    pairs: np.ndarray[Any, Any] = (items[0::2] & 15) | (items[1::2] << 4)
    return pairs.tobytes()
