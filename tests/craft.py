# SPDX-License-Identifier: Apache-2.0
"""A builder of mxio files, valid and broken, that shares nothing with the library.

`Craft(items, structure, metadata)` plans the valid file of section 1 of docs/FORMAT.md: every
field of it then stands in an attribute (`slot`, `header`, `entries`, `by_name`, …) as a plain
number, and a test changes what it likes before it calls `build()`. The checksums that cover a
change are computed over what was changed, unless a test sets them. Nothing is ever checked.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reference import DTYPE, ENTRY, HEADER, MAGIC, SLOT, align, chunk_rule, crc32c, item_bits


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


SLOT_FIELDS = words(
    "magic version reserved required optional generation file_nbytes "
    "index_offset index_nbytes index_crc rest slot_crc"
)
HEADER_FIELDS = words(
    "n_entries n_dtypes n_dims n_records n_chunks strings_nbytes structure_nbytes "
    "metadata_nbytes parent_offset parent_nbytes parent_crc reserved"
)
ENTRY_FIELDS = words(
    "offset nbytes chunk_nbytes first_chunk alias_of first_dim name_offset "
    "dtype name_nbytes ndim order"
)


@dataclass
class Item:
    """An entry to be: its data as it stands in the file, or the number of an earlier entry."""

    name: str | bytes
    dtype: str
    shape: tuple[int, ...]
    data: bytes = b""
    order: int = 0
    alias: int | None = None
    chunk_nbytes: int | None = None
    bits: int | None = None


def dump(value: Any) -> bytes:
    """JSON as the page wants it; bytes stay as they are."""
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def pack_slot(fields: dict[str, Any]) -> bytes:
    """The 128 bytes of a slot; a slot_crc of None is computed."""
    raw = SLOT.pack(*(fields[name] for name in SLOT_FIELDS[:-1]), 0)
    crc = fields["slot_crc"]
    return raw[:124] + (crc32c(raw[:124]) if crc is None else crc).to_bytes(4, "little")


def reseal(data: bytes) -> bytes:
    """The file with the checksums of slot 0 and of its index made to fit what they cover."""
    slot = dict(zip(SLOT_FIELDS, SLOT.unpack(data[:128]), strict=True))
    where = slot["index_offset"]
    slot["index_crc"] = crc32c(data[where : where + slot["index_nbytes"]])
    return pack_slot(slot | {"slot_crc": None}) + data[128:]


def chunks(data: bytes, nbytes: int) -> list[bytes]:
    """The chunks of an entry's data."""
    return [data[at : at + nbytes] for at in range(0, len(data), nbytes or 1)]


@dataclass
class Craft:
    """A file: planned by the constructor, changed by a test, built by `build`."""

    items: Sequence[Item]
    structure: Any
    metadata: Any = b""
    slot: dict[str, Any] = field(default_factory=dict)
    slot_number: int = 0
    other_slot: bytes = bytes(128)
    header: dict[str, Any] = field(default_factory=dict)
    entries: list[dict[str, int]] = field(default_factory=list)
    by_name: list[int] = field(default_factory=list)
    dtypes: list[dict[str, int]] = field(default_factory=list)
    dims: list[int] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)  # of entries, then of dtypes
    crcs: list[int] = field(default_factory=list)
    tail: bytes = b""  # what follows the last section of the index
    spots: list[tuple[int, bytes]] = field(default_factory=list)  # where bytes really stand
    patches: list[tuple[int, bytes]] = field(default_factory=list)  # covered by checksums
    index_at: int = 0  # where the index really stands
    length: int = 0  # of the file

    def __post_init__(self) -> None:
        rows: dict[str, int] = {}
        dtype_names = list(dict.fromkeys(item.dtype for item in self.items))
        self.names = [n.name if isinstance(n.name, bytes) else n.name.encode() for n in self.items]
        self.by_name = sorted(range(len(self.names)), key=self.names.__getitem__)
        for item, name in zip(self.items, self.names, strict=True):
            rows.setdefault(item.dtype, len(rows))
            entry = dict.fromkeys(ENTRY_FIELDS, 0)
            if item.alias is None:
                nbytes = len(item.data)
                chunk = item.chunk_nbytes or chunk_rule(item.shape, nbytes, item.order)
                entry["nbytes"] = nbytes
                entry["chunk_nbytes"] = chunk
                entry["first_chunk"] = len(self.crcs) if item.data else 0
                self.crcs += [crc32c(part) for part in chunks(item.data, chunk)]
            else:
                entry |= self.entries[item.alias] | {"alias_of": 1 + item.alias}
            entry["dtype"] = rows[item.dtype]
            entry["ndim"], entry["order"] = len(item.shape), item.order
            entry["first_dim"], entry["name_nbytes"] = len(self.dims), len(name)
            entry["name_offset"] = sum(e["name_nbytes"] for e in self.entries)
            self.dims += item.shape
            self.entries.append(entry)
        for dtype in dtype_names:
            bits = next(item.bits for item in self.items if item.dtype == dtype)
            bits = (item_bits(dtype) or 8) if bits is None else bits
            self.dtypes.append(
                {"item_bits": bits, "name_nbytes": len(dtype.encode()), "reserved": 0}
            )
        self.names += [name.encode() for name in dtype_names]
        self.slot = dict.fromkeys(SLOT_FIELDS, 0)
        self.slot |= {"magic": MAGIC, "version": 1, "generation": 1, "rest": b""}
        self.place()

    def sections(self) -> list[bytes]:
        """The sections of the index as they stand now."""
        return [
            HEADER.pack(*(self.header[name] for name in HEADER_FIELDS)),
            b"".join(ENTRY.pack(*(e[name] for name in ENTRY_FIELDS)) for e in self.entries),
            _numbers("Q", self.by_name),
            b"".join(DTYPE.pack(*dtype.values()) for dtype in self.dtypes),
            _numbers("Q", self.dims),
            b"",
            b"".join(self.names),
            dump(self.structure),
            dump(self.metadata),
            _numbers("I", self.crcs),
        ]

    def count(self) -> None:
        """Set the counts of the header to what the sections hold."""
        self.header = dict.fromkeys(HEADER_FIELDS, 0) | {"reserved": b""}
        names = b"".join(self.names)
        self.header |= {
            "n_entries": len(self.entries),
            "n_dtypes": len(self.dtypes),
            "n_dims": len(self.dims),
            "n_chunks": len(self.crcs),
            "strings_nbytes": len(names),
            "structure_nbytes": len(dump(self.structure)),
            "metadata_nbytes": len(dump(self.metadata)),
        }

    def index(self) -> bytes:
        """The index as it stands now."""
        raw = b""
        for section in self.sections():
            raw += bytes(align(len(raw), 8) - len(raw)) + section
        return raw + self.tail

    def place(self, order: Iterable[int | str] | None = None, gap: bytes = b"") -> Craft:
        """Count and lay out anew; `order`: entries and "index"; `gap` goes before each extent."""
        self.count()
        self.spots = []
        end = 4096
        stored = [n for n, e in enumerate(self.entries) if e["nbytes"] and not e["alias_of"]]
        extents: list[int | str] = ["index", *stored] if order is None else list(order)
        for extent in extents:
            entry = {} if extent == "index" else self.entries[int(extent)]
            nbytes = entry.get("nbytes", len(self.index()))
            if gap:
                self.spots.append((end, gap))
            offset = align(end + len(gap), 4096 if entry and nbytes >= 65536 else 64)
            if extent == "index":
                self.slot["index_offset"], self.slot["index_nbytes"] = offset, nbytes
            else:
                entry["offset"] = offset
                self.spots.append((offset, self.items[int(extent)].data))
            end = offset + nbytes
        for entry in self.entries:
            if entry["alias_of"]:
                entry["offset"] = self.entries[entry["alias_of"] - 1]["offset"]
        self.index_at = self.slot["index_offset"]
        self.slot["file_nbytes"] = self.length = end
        self.slot["index_crc"] = self.slot["slot_crc"] = None
        return self

    def build(self) -> bytes:
        """The file."""
        index = self.index()
        spots = [*self.spots, (self.index_at, index), *self.patches]
        image = bytearray(max(4096, self.length, *(at + len(raw) for at, raw in spots)))
        for at, raw in [(2048 * (1 - self.slot_number), self.other_slot), *spots]:
            image[at : at + len(raw)] = raw
        slot = dict(self.slot)
        if slot["index_crc"] is None:
            where = slot["index_offset"]
            slot["index_crc"] = crc32c(image[where : where + slot["index_nbytes"]])
        at = 2048 * self.slot_number
        image[at : at + 128] = pack_slot(slot)
        return bytes(image[: self.length])


def _numbers(code: str, numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}{code}", *numbers)
