# SPDX-License-Identifier: Apache-2.0
"""A reader of the mxio format in plain Python and NumPy: the oracle of the test suite.

Written from docs/FORMAT.md alone and in its order; it shares nothing with the library. It holds
the whole file in memory, compares every checksum and raises `Invalid` for every broken rule, so
it is clear and slow. `strict` also checks what the page asks of writers but not of files.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import math
import operator
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

ml_dtypes: Any = None  # where it is missing, its dtypes are returned as raw bytes
with contextlib.suppress(ImportError):
    import ml_dtypes

MAGIC = b"\x89MXIO\r\n\x1a"
APPENDING, DELTA, RUNS = 1, 2, 4  # section 5
SLOT = struct.Struct("<8sIIQQQQQQI56sI")  # magic … slot_crc, section 2
HEADER = struct.Struct("<10QI44s")  # section 3.1
ENTRY = struct.Struct("<7QIHBB")  # section 3.2
DTYPE = struct.Struct("<QII")  # section 3.4
RECORD = struct.Struct("<4Q")  # section 3.5
CHAIN = 64  # indexes at most, section 3.10
SLOTS = (0, 2048)
PARTS = {"csr": ("data", "indptr", "indices"), "row_sparse": ("data", "indices")}  # section 3.8
FIXED = dict.fromkeys(("bool", "int8", "uint8"), 8)
FIXED |= {f"{kind}{bits}": bits for kind in ("int", "uint", "float") for bits in (16, 32, 64)}
FIXED |= {"complex64": 64, "complex128": 128, "bfloat16": 16}
NARROW = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (1, 2, 4)]
NARROW += ["float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"]
FLOAT8 = ("e3m4", "e4m3", "e4m3b11fnuz", "e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")
NARROW += [f"float8_{form}" for form in FLOAT8]
FIXED |= dict.fromkeys(NARROW, 8)
TIME = (
    r"(datetime64|timedelta64)(\[(?!1[A-Za-z])([1-9][0-9]*)?(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)


class Invalid(Exception):
    """The file breaks a rule of the page: which, and at what offset of the file."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} (at {offset})")
        self.reason, self.offset = reason, offset


class Unsupported(Exception):
    """The page says that a reader of this version refuses the file as unsupported."""


@dataclass
class Entry:
    """An entry: its fields as in the file, then what they mean. Of unknown dtype: raw bytes."""

    offset: int
    nbytes: int
    chunk_nbytes: int
    first_chunk: int
    alias_of: int
    first_dim: int
    name_offset: int
    dtype_row: int
    name_nbytes: int
    ndim: int
    order: int
    name: str = ""
    dtype: str = ""
    bits: int = 0
    shape: tuple[int, ...] = ()
    keeps: int = 0  # bytes of what the parent has, section 3.10
    runs: list[tuple[int, int]] = field(default_factory=list)  # offsets and nbytes, section 3.5
    crcs: list[int] = field(default_factory=list)
    at: int = 0  # where it stands in the file
    value: Any = b""


@dataclass
class Index:
    """One index of the chain: its place, its parent's (offset, nbytes, crc), and what it says."""

    offset: int
    nbytes: int
    parent: tuple[int, int, int]
    starts: list[int]  # of the sections in the file
    parts: list[bytes]
    entries: list[Entry]


@dataclass
class Sparse:
    """A sparse array, section 3.8."""

    stype: str
    shape: tuple[int, ...]
    parts: dict[str, Any]  # in the order of the file


@dataclass
class File:
    """What a file holds: its entries in order, the saved object, and the metadata."""

    entries: list[Entry]
    structure: Any  # the JSON
    object: Any
    metadata: dict[str, Any]
    slot: dict[str, int]


def need(rule: Any, reason: str, offset: int) -> None:
    """Raise Invalid if the rule does not hold."""
    if not rule:
        raise Invalid(reason, offset)


def align(x: int, a: int) -> int:
    """The smallest multiple of a that is not below x."""
    return -(-x // a) * a


def _table() -> Iterator[int]:
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


TABLE = list(_table())


def crc32c(data: bytes | bytearray) -> int:
    """The CRC-32C of the bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def item_bits(name: str) -> int | None:
    """The item_bits of a dtype of the page's table, None for any other name."""
    if sized := re.fullmatch(r"([SU])([1-9][0-9]*)", name):
        return int(sized[2]) * (8 if sized[1] == "S" else 32)
    return 64 if re.fullmatch(TIME, name) else FIXED.get(name)


def read(data: bytes) -> File:
    """Read a file, checking every rule of the page."""
    slot = _slot(data)
    chain = _chain(data, slot)
    entries, appending = _result(chain), slot["required"] & APPENDING
    extents = [(index.offset, index.nbytes, 64) for index in chain]
    sizes: dict[str, int] = {}
    for e in entries:
        need(sizes.setdefault(e.dtype, e.bits) == e.bits, "two item_bits for one dtype", e.at)
        for at, nbytes in [] if e.alias_of else e.runs:
            alignment = 4096 if nbytes >= 65536 else 64
            if appending:
                alignment = 64 if len(e.runs) == 1 else 1
            extents.append((at, nbytes, alignment))
    _tiling(data, slot, sorted(extents))

    for e in entries:
        content = b"".join(data[at : at + nbytes] for at, nbytes in e.runs)
        for k, crc in enumerate([] if e.alias_of else e.crcs):
            right = crc32c(content[k * e.chunk_nbytes :][: e.chunk_nbytes]) == crc
            need(right, f"crc of chunk {k} of {e.name!r} differs", e.runs[0][0])
        e.value = entries[e.alias_of - 1].value if e.alias_of else _array(e, content)
    says = next((index for index in chain if index.parts[7]), chain[-1])
    structure = _json(says.parts[7], says.starts[7])
    at, raw = chain[0].starts[8], chain[0].parts[8]
    metadata = _json(raw, at) if raw else {}
    need(isinstance(metadata, dict), "metadata is no object", at)
    need(metadata or not raw, "empty metadata is written as nothing", at)
    saved = _rebuild(structure, entries, says.starts[7])
    return File(entries, structure, saved, metadata, slot)


def _chain(data: bytes, slot: dict[str, int]) -> list[Index]:
    """The indexes of the file, the newest first, each the parent of the one before; 3.10."""
    place = slot["index_offset"], slot["index_nbytes"], slot["index_crc"]
    chain = [_index(data, *place, slot["required"])]
    while any(chain[-1].parent):
        (where, size, _), at = chain[-1].parent, chain[-1].offset + 64
        need(len(chain) < CHAIN, "a chain of too many indexes", at)
        need(where >= 4096 and where % 64 == 0, "parent_offset", at)
        need(where + size <= chain[-1].offset, "a parent that ends behind its child's start", at)
        chain.append(_index(data, *chain[-1].parent, slot["required"]))
    return chain


def _index(data: bytes, where: int, size: int, crc: int, features: int) -> Index:
    """One index, judged by itself; sections 3 to 3.9."""
    raw = data[where : where + size]
    need(crc32c(raw) == crc, "the crc of an index differs", where)
    need(size >= 128, "index_nbytes is below 128", where)
    n, n_dtypes, n_dims, n_records, n_chunks, *rest = HEADER.unpack(raw[:128])
    *texts, parent_at, parent_nbytes, parent_crc, reserved = rest
    parent = parent_at, parent_nbytes, parent_crc
    need(features & RUNS or n_records == 0, "records without their feature", where + 24)
    need(features & DELTA or not any(parent), "a parent without its feature", where + 64)
    need(not any(reserved), "reserved bytes of the header", where + 84)
    starts, parts, end = [], [], 0
    counts = 64 * n, 8 * n, 16 * n_dtypes, 8 * n_dims, 32 * n_records
    for nbytes in (128, *counts, *texts, 4 * n_chunks):
        start = align(end, 8)
        need(start + nbytes <= size, "a section passes the end of the index", where + start)
        need(not any(raw[end:start]), "padding between sections", where + end)
        end = start + nbytes
        starts.append(where + start)
        parts.append(raw[start:end])
    need(end == size, "bytes behind the last section", where + end)
    index = Index(where, size, parent, starts, parts, _entries(starts, parts))
    _stored(index)
    return index


def _entries(starts: list[int], parts: list[bytes]) -> list[Entry]:
    """The entries with their names, dtypes and shapes; sections 3.2 to 3.4, 3.6 and 3.7."""
    entries = [Entry(*row) for row in ENTRY.iter_unpack(parts[1])]
    by_name, dims = ([n for (n,) in struct.iter_unpack("<Q", parts[k])] for k in (2, 4))
    dim, byte, rows = 0, 0, 0
    for n, e in enumerate(entries):
        at = starts[1] + 64 * n
        need(e.first_dim == dim, "first_dim is not the dims before", at + 40)
        need(e.name_offset == byte, "name_offset is not the name bytes before", at + 48)
        need(e.dtype_row <= rows, "dtypes are in order of first use", at + 56)
        need(e.ndim <= 64, "ndim above 64", at + 62)
        need(e.order == 0 or (e.order == 1 and e.ndim >= 2), "order", at + 63)
        dim, rows = dim + e.ndim, max(rows, e.dtype_row + 1)
        e.shape = tuple(dims[e.first_dim : dim])
        e.name, byte = _name(parts[6], byte, e.name_nbytes, starts[6])
    need(rows * 16 == len(parts[3]), "dtypes that are used and rows differ", starts[3])
    need(dim == len(dims), "dims do not add up", starts[4])
    dtypes = {}
    for n, (bits, nbytes, reserved) in enumerate(DTYPE.iter_unpack(parts[3])):
        at = starts[3] + 16 * n
        need(1 <= nbytes <= 255, "name_nbytes of a dtype", at + 8)
        need(reserved == 0, "reserved bytes of a dtype", at + 12)
        name, byte = _name(parts[6], byte, nbytes, starts[6])
        need(item_bits(name) in (None, bits), "item_bits do not fit the dtype", at)
        need(name not in dtypes, "two rows for one dtype", at)
        dtypes[name] = bits
    need(byte == len(parts[6]), "strings do not add up", starts[6])
    names = [e.name.encode() for e in entries]
    need(all(n < len(entries) for n in by_name), "by_name names no entry", starts[2])
    rising = all(names[a] < names[b] for a, b in itertools.pairwise(by_name))
    need(rising, "by_name is not strictly ascending", starts[2])
    for n, e in enumerate(entries):
        at = starts[1] + 64 * n
        e.dtype, e.bits = list(dtypes.items())[e.dtype_row]
        e.at, item = at, -(-e.bits // 8)
        need(math.prod(d for d in e.shape if d) * item < 1 << 63, "dims are too large", at + 40)
        nbytes = -(-math.prod(e.shape) * e.bits // 8)
        need(e.nbytes == nbytes, "nbytes is not that of dims", at + 8)
    return entries


def _stored(index: Index) -> None:
    """Give the entries of one index their runs and crcs; sections 3.2, 3.5, 3.9 and 3.10."""
    entries, at = index.entries, index.starts[5]
    numbers = []
    for number, offset, nbytes, reserved in RECORD.iter_unpack(index.parts[5]):
        need(number < len(entries), "a record of no entry", at)
        need(nbytes >= 1, "a run without bytes", at + 16)
        need(reserved == 0, "reserved bytes of a record", at + 24)
        entries[number].runs.append((offset, nbytes))
        numbers.append(number)
    need(numbers == sorted(numbers), "records are not in the order of the entries", at)
    crcs, first = [crc for (crc,) in struct.iter_unpack("<I", index.parts[9])], 0
    for n, e in enumerate(entries):
        if e.alias_of or e.offset or not e.nbytes:
            need(not e.runs, "records of an entry that does not lie in runs", e.at)
        if e.alias_of:
            _alias(entries, n)
        elif not e.nbytes:
            zeros = (e.offset, e.chunk_nbytes, e.first_chunk) == (0, 0, 0)
            need(zeros, "fields of an entry without bytes are 0", e.at)
        else:
            need(1 <= e.chunk_nbytes <= e.nbytes, "chunk_nbytes", e.at + 16)
            need(e.first_chunk == first, "first_chunk is not the chunks before", e.at + 24)
            if e.offset:
                e.runs = [(e.offset, e.nbytes)]
            elif any(index.parent) and e.runs and e.runs[0][0] == 0:
                e.keeps = e.runs.pop(0)[1]
            else:
                need(len(e.runs) >= 2, "an entry in fewer than two runs", e.at)
            need(all(offset for offset, _ in e.runs), "a run at offset 0", e.at)
            need(_joined(e.runs) == e.runs, "a run begins where the one before it ends", e.at)
            total = e.keeps + sum(nbytes for _, nbytes in e.runs)
            need(total == e.nbytes, "the runs do not add up to nbytes", e.at + 8)
            count = -(-e.nbytes // e.chunk_nbytes) - e.keeps // e.chunk_nbytes
            e.crcs, first = crcs[first : first + count], first + count
    need(first == len(crcs), "checksums do not add up", index.starts[9])


def _alias(entries: list[Entry], n: int) -> None:
    """Judge an alias: the entry that it names, and what it has in common with that; 3.2."""
    e = entries[n]
    need(e.alias_of <= n, "alias_of names no earlier entry", e.at + 32)
    of = entries[e.alias_of - 1]
    need(of.nbytes and not of.alias_of, "alias of an alias or of no bytes", e.at + 32)
    place = "offset", "nbytes", "chunk_nbytes", "first_chunk"
    common = operator.attrgetter(*place, "dtype_row", "order", "shape")
    need(common(e) == common(of), "an alias differs from its entry", e.at)


def _result(chain: list[Index]) -> list[Entry]:
    """What the indexes, the newest first, come to; what takes no part is not asked; 3.10."""
    newest: dict[str, tuple[Entry, int]] = {}  # by name, in the order of the result
    for n in reversed(range(len(chain))):
        newest |= {e.name: (e, n) for e in chain[n].entries}
    numbers, result = {name: n for n, name in enumerate(newest)}, []
    for e, n in newest.values():
        of, alias = e, 0
        if e.alias_of:
            of = chain[n].entries[e.alias_of - 1]
            need(newest[of.name][0] is of, "an alias of an entry that is replaced", e.at)
            alias = 1 + numbers[of.name]
            need(alias <= len(result), "alias_of names no earlier entry", e.at + 32)
        runs, crcs = _data(of, chain[n + 1 :], of.nbytes, len(of.crcs) + _kept_chunks(of))
        runs = _joined(runs)
        offset = runs[0][0] if len(runs) == 1 else 0
        result.append(replace(e, alias_of=alias, offset=offset, runs=runs, crcs=crcs))
    return result


def _kept_chunks(e: Entry) -> int:
    """The crcs that an entry has of its parent."""
    return e.keeps // e.chunk_nbytes if e.keeps else 0


def _data(
    e: Entry, older: list[Index], nbytes: int, chunks: int
) -> tuple[list[tuple[int, int]], list[int]]:
    """The runs of the first bytes of an entry and its first crcs; `older`: the parents; 3.10."""
    runs: list[tuple[int, int]] = []
    crcs: list[int] = []
    if e.keeps:
        kept, whole = min(e.keeps, nbytes), min(_kept_chunks(e), chunks)
        found = ((n, of) for n, i in enumerate(older) for of in i.entries if of.name == e.name)
        n, of = next(found, (0, None))
        if of is None:
            raise Invalid("keeps data of no entry of the parent", e.at)
        if of.alias_of:
            of = older[n].entries[of.alias_of - 1]
        need(kept <= of.nbytes, "keeps more than the parent's entry has", e.at)
        equal = e.chunk_nbytes == of.chunk_nbytes
        need(equal or not whole, "keeps chunks of other chunk_nbytes", e.at + 16)
        runs, crcs = _data(of, older[n + 1 :], kept, whole)
    runs = runs + _begin(e.runs, nbytes - sum(size for _, size in runs))
    return runs, crcs + e.crcs[: chunks - len(crcs)]


def _begin(runs: list[tuple[int, int]], nbytes: int) -> list[tuple[int, int]]:
    """The runs of the first bytes of some data."""
    begin = []
    for offset, size in runs:
        begin += [(offset, min(size, nbytes))] if nbytes > 0 else []
        nbytes -= size
    return begin


def _joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The runs, those made one that lie in the file one right behind the other."""
    joined = runs[:1]
    for offset, nbytes in runs[1:]:
        if sum(joined[-1]) == offset:
            joined[-1] = joined[-1][0], joined[-1][1] + nbytes
        else:
            joined.append((offset, nbytes))
    return joined


def _tiling(data: bytes, slot: dict[str, int], extents: list[tuple[int, int, int]]) -> None:
    """Indexes and data lie in a row with zeros in between, section 1."""
    end = 4096
    for offset, nbytes, alignment in extents:
        start = align(end, alignment)
        if slot["required"] & APPENDING:  # space that was given up may lie in between
            need(offset % alignment == 0, "an extent is not aligned", offset)
            need(offset >= start, "extents overlap", offset)
        else:
            need(offset == start, "extents are not in a row", offset)
            need(not any(data[end:start]), "padding between extents", end)
        end = offset + nbytes
    whole = (
        end <= slot["file_nbytes"] if slot["required"] & APPENDING else end == slot["file_nbytes"]
    )
    need(whole, "the last extent does not end the file", end)


def _slot(data: bytes) -> dict[str, int]:
    """The slot that is taken, and whether the other one is in `doubt`; section 2."""
    fields = "version reserved required optional generation file_nbytes index_offset index_nbytes"
    valid = []
    for at in SLOTS:
        raw = data[at : at + 128]
        if raw[:8] == MAGIC and len(raw) == 128 and crc32c(raw[:124]) == SLOT.unpack(raw)[-1]:
            _, *numbers, index_crc, rest, _ = SLOT.unpack(raw)
            values = dict(zip(fields.split(), numbers, strict=True))
            valid.append(values | {"index_crc": index_crc, "at": at, "rest": any(rest)})
    need(valid, "no valid slot", 0)
    slot = max(valid, key=lambda slot: slot["generation"])
    at = slot["at"]
    if slot["version"] != 1:
        raise Unsupported(f"version {slot['version']}")
    if unknown := slot["required"] & ~(APPENDING | DELTA | RUNS):
        raise Unsupported(f"required feature bits {unknown:#x}")
    need(len({s["generation"] for s in valid}) == len(valid), "two slots of one generation", at)
    need(slot["generation"] >= 1, "generation 0", at + 32)
    need(slot["reserved"] == 0 and not slot["rest"], "reserved bytes of the slot", at + 12)
    where, end = slot["index_offset"], slot["file_nbytes"]
    need(where + slot["index_nbytes"] <= end, "the index passes the end of the file", at + 48)
    need(where >= 4096 and where % 64 == 0, "index_offset", at + 48)
    need(len(data) >= end, "the file is shorter than file_nbytes", len(data))
    need(not any(data[128:2048] + data[2176:4096]), "head area outside of its slots", 128)
    other = any(data[2048 - at :][:128])
    if not slot["required"] & APPENDING:
        need(not other, "the other slot is not zero", 2048 - at)
        need(len(data) == end, "the file is longer than file_nbytes", end)
    return slot | {"doubt": len(valid) < 2 and other}


def _name(strings: bytes, start: int, nbytes: int, section: int) -> tuple[str, int]:
    """The name at `start` and where the next one starts."""
    raw, at = strings[start : start + nbytes], section + start
    need(len(raw) == nbytes, "a name passes the end of the strings", at)
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise Invalid("a name is not UTF-8", at) from None
    need("\0" not in name, "U+0000 in a name", at)
    return name, start + nbytes


def _array(e: Entry, content: bytes) -> np.ndarray[Any, Any] | bytes:
    if item_bits(e.dtype) is None:
        return content
    try:
        dtype = np.dtype(getattr(ml_dtypes, e.dtype, e.dtype))
    except TypeError:  # ml_dtypes is missing, or an item is larger than NumPy can
        return content
    flat = np.frombuffer(content, dtype.newbyteorder("<"))
    return flat.reshape(e.shape, order="F" if e.order else "C")


def _json(raw: bytes, at: int) -> Any:
    """Parse JSON, section 3.8, in its one form: that of Python's json.dumps."""
    try:
        value = json.loads(raw.decode("ascii"))
        form = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"not JSON in ASCII: {error}", at) from None
    need(form.encode() == raw, "JSON in another form than its one", at)
    return value


def _int(text: Any, at: int) -> int:
    hexadecimal = isinstance(text, str) and re.fullmatch(r"-?0x[1-9a-f][0-9a-f]*", text)
    need(hexadecimal and abs(int(text, 16)) >= 1 << 53, "int in hexadecimal", at)
    return int(text, 16)


def _rebuild(structure: Any, entries: list[Entry], at: int) -> Any:
    """The saved object, section 3.8."""
    names, values = [e.name for e in entries], [e.value for e in entries]
    rest = iter(entries)

    def small(value: Any) -> Any:
        need(not isinstance(value, int) or abs(value) < 1 << 53, "a large int as a number", at)
        return value

    def dict_key(key: Any) -> Any:
        if isinstance(key, dict):
            need(set(key) == {"int"}, "a key of a dict", at)
            return _int(key["int"], at)
        need(key is None or isinstance(key, str | int), "a key of a dict", at)
        return small(key)

    def take(path: tuple[Any, ...]) -> Entry:
        entry = next(rest, None)
        if entry is None:
            raise Invalid("more arrays than entries", at)
        try:
            need(entry.name == "/".join(map(str, path)), "a name is not its path", at)
        except ValueError:  # Python's limit
            raise Invalid("an int of more than 4300 digits in a path", at) from None
        return entry

    def sparse(stype: str, shape: list[Any], path: tuple[Any, ...]) -> Sparse:
        for dim in shape:
            need(type(dim) is int and 0 <= dim < 1 << 63, "a dim of a sparse array", at)
        need(len(shape) == 2 if stype == "csr" else shape, "the dims of a sparse array", at)
        parts = {part: take((*path, part)) for part in PARTS[stype]}
        data, indices = parts["data"].shape, parts["indices"].shape
        need(data and data[:1] == indices, "as many indices as items", at)
        if stype == "csr":
            need(len(data) == len(parts["indptr"].shape) == 1, "parts of one dim", at)
        else:
            need(data[1:] == tuple(shape[1:]), "the shape of a row", at)
        return Sparse(stype, tuple(shape), {part: e.value for part, e in parts.items()})

    def build(node: Any, path: tuple[Any, ...]) -> Any:
        if node == "array":
            return take(path).value
        if node is None or isinstance(node, int | float):
            return small(node)
        need(isinstance(node, dict) and node, "no node", at)
        for key in node:
            if key not in ("int", "float", "str", "bytes", "list", "tuple", "dict", *PARTS):
                raise Unsupported(f"node {key!r}")
        need(len(node) == 1, "a node with several keys", at)
        ((key, value),) = node.items()
        if key == "int":
            return _int(value, at)
        need(isinstance(value, str if key in ("float", "str", "bytes") else list), "no node", at)
        if key == "float":
            need(re.fullmatch("[0-9a-f]{16}", value), "bits of a float", at)
            (number,) = struct.unpack(">d", bytes.fromhex(value))
            need(not math.isfinite(number), "bits of a finite float", at)
            return number
        if key == "bytes":
            try:
                raw = base64.b64decode(value, validate=True)
            except ValueError:
                raise Invalid("base64", at) from None
            need(base64.b64encode(raw).decode() == value, "base64", at)
            return raw
        if key == "str":
            return value
        if key in PARTS:
            return sparse(key, value, path)
        need(len(path) < 100, "containers nested more than 100 deep", at)
        if key != "dict":
            items = [build(item, (*path, n)) for n, item in enumerate(value)]
            return tuple(items) if key == "tuple" else items
        saved: dict[Any, Any] = {}
        for pair in value:
            need(isinstance(pair, list) and len(pair) == 2, "a pair of a dict", at)
            name = dict_key(pair[0])
            need(name not in saved, "a key twice in a dict", at)
            saved[name] = build(pair[1], (*path, name))
        return saved

    if structure == "array":
        need(names == [""], "the name of the one array", at)
        return values[0]
    if structure == "dict":
        return dict(zip(names, values, strict=True))
    if structure in ("list", "tuple"):
        need(names == [str(n) for n in range(len(names))], "the names of a list", at)
        return values if structure == "list" else tuple(values)
    need(isinstance(structure, dict) and structure, "structure", at)
    for key in structure:
        if key != "tree":
            raise Unsupported(f"structure {key!r}")
    saved = build(structure["tree"], ())
    need(next(rest, None) is None, "fewer arrays than entries", at)
    need(not _flat(structure["tree"]), "a tree where a word would do", at)
    return saved


def _flat(tree: Any) -> bool:
    """Whether a valid tree is an array, or a list, tuple or dict with string keys of arrays."""
    if not isinstance(tree, dict):
        return bool(tree == "array")
    ((key, value),) = tree.items()
    if key == "dict":
        return all(isinstance(name, str) and node == "array" for name, node in value)
    return key in ("list", "tuple") and all(node == "array" for node in value)


def same(a: Any, b: Any) -> bool:
    """Whether two saved objects are equal bit by bit: types, order of keys, dtypes, NaNs."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if getattr(a, "stype", None) and getattr(b, "stype", None):  # Sparse, or what the library has
        return (a.stype, a.shape) == (b.stype, b.shape) and same(a.parts, b.parts)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(struct.pack("d", a) == struct.pack("d", b) if isinstance(a, float) else a == b)


def chunk_rule(shape: tuple[int, ...], nbytes: int, order: int) -> int:
    """The chunk_nbytes that a writer chooses, section 3.2."""
    slowest = (shape[-1] if order else shape[0]) if shape else 1
    part = max(nbytes // (slowest or 1), 1)  # at least 1: a slice of packed items may be less
    return min(nbytes, 65536 // part * part if part <= 65536 else 65536)


def strict(data: bytes) -> File:
    """Read a file of `mxio.save`, and check the duties of a writer of arrays known beforehand."""
    file = read(data)
    slot = file.slot
    need(slot["at"] == 0 and slot["generation"] == 1, "a new file has generation 1 in slot 0", 0)
    need(not slot["required"] and not slot["optional"], "a feature that is not needed", 16)
    need(slot["index_offset"] == 4096, "the index is first", 48)
    offsets = [e.offset for e in file.entries if e.nbytes and not e.alias_of]
    need(offsets == sorted(offsets), "the data is in the order of the entries", 4096)
    for e in file.entries:
        rule = chunk_rule(e.shape, e.nbytes, e.order)
        need(e.chunk_nbytes == rule, f"chunk_nbytes of {e.name!r} is not {rule}", 4096)
    return file
