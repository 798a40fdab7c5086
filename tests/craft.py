# SPDX-License-Identifier: Apache-2.0
"""A builder of mxio files, valid and broken, that shares nothing with the library.

`Craft(items, structure, metadata)` plans the valid file of section 1 of docs/FORMAT.md: every
field of it then stands in an attribute (`slot`, `header`, `entries`, `by_name`, …) as a plain
number, and a test changes what it likes before it calls `build()`. The checksums that cover a
change are computed over what was changed, unless a test sets them. Nothing is ever checked.

`Craft(items, …, older=plan)` plans a file that was appended to: the image of `plan`, behind it
what this generation adds, and a slot in the other place. Its index names that of `plan` as its
parent, or none with `delta=False`. `plan.opened()` is the first step of appending.
"""

from __future__ import annotations

import copy
import itertools
import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reference import (
    APPENDING,
    DELTA,
    DTYPE,
    ENTRY,
    HEADER,
    MAGIC,
    RECORD,
    RUNS,
    SLOT,
    align,
    chunk_rule,
    crc32c,
    item_bits,
)


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
RECORD_FIELDS = words("entry offset nbytes reserved")


@dataclass
class Item:
    """An entry to be: its data as it stands in the file, or the number of an earlier entry.

    The first `keeps` bytes of the data are those that the parent has. The others lie in `runs`
    of so many bytes; one of (offset, bytes) lies there, whatever else does.
    """

    name: str | bytes
    dtype: str
    shape: tuple[int, ...]
    data: bytes = b""
    order: int = 0
    alias: int | None = None
    chunk_nbytes: int | None = None
    bits: int | None = None
    keeps: int = 0
    runs: Sequence[int | tuple[int, int]] | None = None


def dump(value: Any) -> bytes:
    """JSON as the page wants it; bytes stay as they are."""
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def pack_slot(fields: dict[str, Any]) -> bytes:
    """The 128 bytes of a slot; a slot_crc of None is computed."""
    raw = SLOT.pack(*(fields[name] for name in SLOT_FIELDS[:-1]), 0)
    crc = fields["slot_crc"]
    return raw[:124] + (crc32c(raw[:124]) if crc is None else crc).to_bytes(4, "little")


def reseal(data: bytes) -> bytes:
    """The file with the crcs of its indexes and of its newest slot made to fit what they cover."""
    image, slots = bytearray(data), {}
    for at in (0, 2048):
        if data[at : at + 8] == MAGIC:
            slots[at] = dict(zip(SLOT_FIELDS, SLOT.unpack(data[at : at + 128]), strict=True))
    newest = max(slots, key=lambda at: slots[at]["generation"])
    slot, crc = slots[newest], None
    chain = [(slot["index_offset"], slot["index_nbytes"])]
    while slot["required"] & DELTA and len(chain) < 100:
        where, size = struct.unpack("<2Q", data[chain[-1][0] + 64 :][:16])
        if where < 4096 or where + max(size, 128) > len(data):
            break
        chain.append((where, size))
    for where, size in reversed(chain):
        if crc is not None:
            image[where + 80 : where + 84] = crc.to_bytes(4, "little")
        crc = crc32c(image[where : where + size])
    image[newest : newest + 128] = pack_slot(slot | {"index_crc": crc, "slot_crc": None})
    return bytes(image)


def chunks(data: bytes, nbytes: int) -> list[bytes]:
    """The chunks of an entry's data."""
    return [data[at : at + nbytes] for at in range(0, len(data), nbytes or 1)]


@dataclass
class Craft:
    """A file: planned by the constructor, changed by a test, built by `build`."""

    items: Sequence[Item]
    structure: Any
    metadata: Any = b""
    older: Craft | None = None  # what the file was before
    delta: bool = True  # whether the index names that of `older`
    slot: dict[str, Any] = field(default_factory=dict)
    slot_number: int = 0
    other_slot: bytes | None = None  # None: as it was before
    header: dict[str, Any] = field(default_factory=dict)
    entries: list[dict[str, int]] = field(default_factory=list)
    by_name: list[int] = field(default_factory=list)
    dtypes: list[dict[str, int]] = field(default_factory=list)
    dims: list[int] = field(default_factory=list)
    records: list[dict[str, int]] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)  # of entries, then of dtypes
    crcs: list[int] = field(default_factory=list)
    tail: bytes = b""  # what follows the last section of the index
    spots: list[tuple[int, bytes]] = field(default_factory=list)  # where bytes really stand
    patches: list[tuple[int, bytes]] = field(default_factory=list)  # covered by checksums
    index_at: int = 0  # where the index really stands
    length: int = 0  # of the file
    parent: Craft | None = None  # whose index is named
    # Of each entry: the fields that say where its bytes lie, the bytes, and where they have to.
    pieces: list[list[tuple[dict[str, int], bytes, int | None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rows: dict[str, int] = {}
        dtype_names = list(dict.fromkeys(item.dtype for item in self.items))
        self.names = [n.name if isinstance(n.name, bytes) else n.name.encode() for n in self.items]
        self.by_name = sorted(range(len(self.names)), key=self.names.__getitem__)
        for item, name in zip(self.items, self.names, strict=True):
            rows.setdefault(item.dtype, len(rows))
            entry = dict.fromkeys(ENTRY_FIELDS, 0)
            self.pieces.append([])
            if item.alias is None:
                nbytes = len(item.data)
                chunk = item.chunk_nbytes or chunk_rule(item.shape, nbytes, item.order)
                entry["nbytes"] = nbytes
                entry["chunk_nbytes"] = chunk
                entry["first_chunk"] = len(self.crcs) if item.data else 0
                kept = item.keeps // (chunk or 1)
                self.crcs += [crc32c(part) for part in chunks(item.data, chunk)[kept:]]
                self._divide(item, entry)
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
        if self.older:
            self.slot["generation"] += self.older.slot["generation"]
            self.slot_number = 1 - self.older.slot_number
            self.parent = self.older if self.delta else None
        self.place()

    def _divide(self, item: Item, entry: dict[str, int]) -> None:
        """Plan the pieces of an item that is stored, and the records that it needs."""
        number, at = len(self.entries), item.keeps
        rest = len(item.data) - at
        runs = ([rest] if rest else []) if item.runs is None else item.runs
        if item.keeps:
            self.records.append({"entry": number, "offset": 0, "nbytes": at, "reserved": 0})
        for run in runs:
            told, nbytes = run if isinstance(run, tuple) else (None, run)
            where = entry
            if item.keeps or len(runs) > 1:
                where = {"entry": number, "offset": 0, "nbytes": nbytes, "reserved": 0}
                self.records.append(where)
            self.pieces[number].append((where, item.data[at : at + nbytes], told))
            at += nbytes

    def opened(self) -> Craft:
        """The same, opened for appending: the other slot says so, in the next generation."""
        made = copy.copy(self)
        made.older, made.spots, made.patches, made.other_slot = self, [], [], None
        made.slot_number = 1 - self.slot_number
        made.slot = self.slot | {"generation": self.slot["generation"] + 1}
        made.slot["required"] |= APPENDING
        return made

    def chain(self) -> list[Craft]:
        """This one, that whose index it names, and so on."""
        return [self, *(self.parent.chain() if self.parent else [])]

    def sections(self, parent_crc: int = 0) -> list[bytes]:
        """The sections of the index as they stand now; `parent_crc` where the header's is None."""
        header = self.header
        header = header if header["parent_crc"] is not None else header | {"parent_crc": parent_crc}
        return [
            HEADER.pack(*(header[name] for name in HEADER_FIELDS)),
            b"".join(ENTRY.pack(*(e[name] for name in ENTRY_FIELDS)) for e in self.entries),
            _numbers("Q", self.by_name),
            b"".join(DTYPE.pack(*dtype.values()) for dtype in self.dtypes),
            _numbers("Q", self.dims),
            b"".join(RECORD.pack(*(r[name] for name in RECORD_FIELDS)) for r in self.records),
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
            "n_records": len(self.records),
            "n_chunks": len(self.crcs),
            "strings_nbytes": len(names),
            "structure_nbytes": len(dump(self.structure)),
            "metadata_nbytes": len(dump(self.metadata)),
        }
        if self.parent:
            place = {"parent_offset": self.parent.index_at, "parent_crc": None}
            self.header |= place | {"parent_nbytes": len(self.parent.index())}

    def index(self, parent_crc: int = 0) -> bytes:
        """The index as it stands now."""
        raw = b""
        for section in self.sections(parent_crc):
            raw += bytes(align(len(raw), 8) - len(raw)) + section
        return raw + self.tail

    def place(
        self, order: Iterable[int | str | bytes | tuple[int, int]] | None = None, gap: bytes = b""
    ) -> Craft:
        """Count and lay out anew, behind all that the file held before.

        `order`: entries, or (entry, number of a run), "index", and bytes for space that was given
        up; `gap` goes before each of them.
        """
        self.count()
        self.spots = []
        end = self.older.length if self.older else 4096
        for where, raw, told in itertools.chain(*self.pieces):
            if told is not None:
                where["offset"], end = told, max(end, told + len(raw))
                self.spots.append((told, raw))
        stored = [n for n, pieces in enumerate(self.pieces) if pieces]
        if order is None:
            order = [*stored, "index"] if self.older else ["index", *stored]
        for extent in order:
            if gap or isinstance(extent, bytes):
                junk = gap + (extent if isinstance(extent, bytes) else b"")
                self.spots.append((end, junk))
                end += len(junk)
            if extent == "index":
                self.index_at = align(end, 64)
                end = self.index_at + len(self.index())
            elif not isinstance(extent, str | bytes):
                n, *runs = extent if isinstance(extent, tuple) else (extent,)
                for where, raw, told in [self.pieces[n][run] for run in runs] or self.pieces[n]:
                    if told is None:
                        alignment = 4096 if len(raw) >= 65536 else 64
                        where["offset"] = align(end, alignment)
                        if self._would_join(n, where):
                            where["offset"] += alignment
                        end = where["offset"] + len(raw)
                        self.spots.append((where["offset"], raw))
        for entry in self.entries:
            if entry["alias_of"]:
                entry["offset"] = self.entries[entry["alias_of"] - 1]["offset"]
        self.slot["index_offset"], self.slot["index_nbytes"] = self.index_at, len(self.index())
        self.slot["file_nbytes"] = self.length = end
        self.slot["index_crc"] = self.slot["slot_crc"] = None
        if self.older:
            self.slot["required"] |= APPENDING
        self.slot["required"] |= DELTA if self.parent else 0
        self.slot["required"] |= RUNS if any(plan.records for plan in self.chain()) else 0
        return self

    def _would_join(self, number: int, where: dict[str, int]) -> bool:
        """Whether a run begins where the one before it, of the same entry, ends."""
        runs = [record for record in self.records if record["entry"] == number]
        before = [a for a, b in itertools.pairwise(runs) if b is where and a["offset"]]
        return any(a["offset"] + a["nbytes"] == where["offset"] for a in before)

    def build(self) -> bytes:
        """The file."""
        image = bytearray(self.older.build() if self.older else 4096)
        other = (
            [] if self.other_slot is None else [(2048 - 2048 * self.slot_number, self.other_slot)]
        )
        where, nbytes = self.header["parent_offset"], self.header["parent_nbytes"]
        for at, raw in [*other, *self.spots, (self.index_at, None), *self.patches]:
            part = self.index(crc32c(image[where:][:nbytes])) if raw is None else raw
            image += bytes(max(0, at + len(part) - len(image)))
            image[at : at + len(part)] = part
        image += bytes(max(0, self.length - len(image)))
        slot = dict(self.slot)
        if slot["index_crc"] is None:
            where = slot["index_offset"]
            slot["index_crc"] = crc32c(image[where : where + slot["index_nbytes"]])
        at = 2048 * self.slot_number
        image[at : at + 128] = pack_slot(slot)
        return bytes(image[: self.length])


def _numbers(code: str, numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}{code}", *numbers)
