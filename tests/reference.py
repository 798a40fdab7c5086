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
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

ml_dtypes: Any = None  # where it is missing, its dtypes are returned as raw bytes
with contextlib.suppress(ImportError):
    import ml_dtypes

MAGIC = b"\x89MXIO\r\n\x1a"
APPENDING = 1
SLOT = struct.Struct("<8sIIQQQQQQI56sI")  # magic … slot_crc, section 2
HEADER = struct.Struct("<10QI44s")  # section 3.1
ENTRY = struct.Struct("<7QIHBB")  # section 3.2
DTYPE = struct.Struct("<QII")  # section 3.4
SLOTS = (0, 2048)
PARTS = {"csr": ("data", "indptr", "indices"), "row_sparse": ("data", "indices")}  # section 3.7
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
    shape: tuple[int, ...] = ()
    value: Any = b""


@dataclass
class Sparse:
    """A sparse array, section 3.7."""

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
    starts, parts, n_chunks = _sections(data, slot)
    entries = _entries(starts, parts)
    extents = [(slot["index_offset"], slot["index_nbytes"], 64)]
    chunks = 0
    for n, e in enumerate(entries):
        at = starts[1] + 64 * n
        if e.alias_of:
            need(e.alias_of <= n, "alias_of names no earlier entry", at + 32)
            of = entries[e.alias_of - 1]
            need(of.nbytes and not of.alias_of, "alias of an alias or of no bytes", at + 32)
            need(_shared(e) == _shared(of), "an alias differs from its entry", at)
        elif e.nbytes:
            need(1 <= e.chunk_nbytes <= e.nbytes, "chunk_nbytes", at + 16)
            need(e.first_chunk == chunks, "first_chunk is not the chunks before", at + 24)
            chunks += -(-e.nbytes // e.chunk_nbytes)
            extents.append((e.offset, e.nbytes, 4096 if e.nbytes >= 65536 else 64))
        else:
            zeros = (e.offset, e.chunk_nbytes, e.first_chunk) == (0, 0, 0)
            need(zeros, "fields of an entry without bytes are 0", at)
    need(chunks == n_chunks, "checksums do not add up", starts[9])
    _tiling(data, slot, sorted(extents))

    for e in entries:
        content = data[e.offset : e.offset + e.nbytes]
        for k in range(0 if e.alias_of else -(-e.nbytes // (e.chunk_nbytes or 1))):
            at, start = starts[9] + 4 * (e.first_chunk + k), k * e.chunk_nbytes
            right = data[at : at + 4] == crc32c(content[start:][: e.chunk_nbytes]).to_bytes(
                4, "little"
            )
            need(right, f"crc of chunk {k} of {e.name!r} differs", e.offset + start)
        e.value = entries[e.alias_of - 1].value if e.alias_of else _array(e, content)
    structure = _json(parts[7], starts[7])
    metadata = _json(parts[8], starts[8]) if parts[8] else {}
    need(isinstance(metadata, dict), "metadata is no object", starts[8])
    need(metadata or not parts[8], "empty metadata is written as nothing", starts[8])
    saved = _rebuild(structure, entries, starts[7])
    return File(entries, structure, saved, metadata, slot)


def _sections(data: bytes, slot: dict[str, int]) -> tuple[list[int], list[bytes], int]:
    """The offsets and bytes of the sections of the index, and n_chunks; section 3."""
    where, size = slot["index_offset"], slot["index_nbytes"]
    index = data[where : where + size]
    need(crc32c(index) == slot["index_crc"], "index_crc differs", where)
    need(size >= 128, "index_nbytes is below 128", where)
    n, n_dtypes, n_dims, n_records, n_chunks, *rest = HEADER.unpack(index[:128])
    *texts, parent_at, parent_nbytes, parent_crc, reserved = rest
    need(n_records == 0, "records without their feature", where + 24)
    need(not (parent_at or parent_nbytes or parent_crc), "parent without its feature", where + 64)
    need(not any(reserved), "reserved bytes of the header", where + 84)
    starts, parts, end = [], [], 0
    for nbytes in (128, 64 * n, 8 * n, 16 * n_dtypes, 8 * n_dims, 0, *texts, 4 * n_chunks):
        start = align(end, 8)
        need(start + nbytes <= size, "a section passes the end of the index", where + start)
        need(not any(index[end:start]), "padding between sections", where + end)
        end = start + nbytes
        starts.append(where + start)
        parts.append(index[start:end])
    need(end == size, "bytes behind the last section", where + end)
    return starts, parts, n_chunks


def _entries(starts: list[int], parts: list[bytes]) -> list[Entry]:
    """The entries with their names, dtypes and shapes; sections 3.2 to 3.6."""
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
        e.dtype, bits = list(dtypes.items())[e.dtype_row]
        item = -(-bits // 8)
        need(math.prod(d for d in e.shape if d) * item < 1 << 63, "dims are too large", at + 40)
        need(e.nbytes == -(-math.prod(e.shape) * bits // 8), "nbytes is not that of dims", at + 8)
    return entries


def _tiling(data: bytes, slot: dict[str, int], extents: list[tuple[int, int, int]]) -> None:
    """Index and data lie in a row with zeros in between, section 1."""
    end = 4096
    for offset, nbytes, alignment in extents:
        start = align(end, alignment)
        if slot["required"] & APPENDING:  # space that was given up may lie in between
            need(offset >= start and offset % alignment == 0, "extents overlap", offset)
        else:
            need(offset == start, "extents are not in a row", offset)
            need(not any(data[end:start]), "padding between extents", end)
        end = offset + nbytes
    whole = (
        end <= slot["file_nbytes"] if slot["required"] & APPENDING else end == slot["file_nbytes"]
    )
    need(whole, "the last extent does not end the file", end)


def _slot(data: bytes) -> dict[str, int]:
    """The slot that counts, section 2."""
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
    if unknown := slot["required"] & ~APPENDING:
        raise Unsupported(f"required feature bits {unknown:#x}")
    need(len({s["generation"] for s in valid}) == len(valid), "two slots of one generation", at)
    need(slot["generation"] >= 1, "generation 0", at + 32)
    need(slot["reserved"] == 0 and not slot["rest"], "reserved bytes of the slot", at + 12)
    where, end = slot["index_offset"], slot["file_nbytes"]
    need(where + slot["index_nbytes"] <= end, "the index passes the end of the file", at + 48)
    need(where >= 4096 and where % 64 == 0, "index_offset", at + 48)
    need(len(data) >= end, "the file is shorter than file_nbytes", len(data))
    need(not any(data[128:2048] + data[2176:4096]), "head area outside of its slots", 128)
    if not slot["required"] & APPENDING:
        need(not any(data[2048 - at :][:128]), "the other slot is not zero", 2048 - at)
        need(len(data) == end, "the file is longer than file_nbytes", end)
    return slot


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


def _shared(e: Entry) -> tuple[Any, ...]:
    """What an alias has in common with its entry."""
    place = (e.offset, e.nbytes, e.chunk_nbytes, e.first_chunk)
    return (*place, e.dtype_row, e.ndim, e.order, e.shape)


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
    """Parse JSON, section 3.7, in its one form: that of Python's json.dumps."""
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
    """The saved object, section 3.7."""
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
