# SPDX-License-Identifier: Apache-2.0
"""The broken files of test_corrupt.py: a row for each way to break a rule of docs/FORMAT.md.

Each row is made by craft.py with all covering checksums right, so that the rule itself is met,
and says how a reader has to refuse it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import reference
from craft import Craft, Item, pack_slot, words
from reference import align

import mxio

FORMAT, CHECKSUM, UNSUPPORTED = "format", "checksum", "unsupported"
REFUSED = "refused"  # the page leaves open whether as invalid or as unsupported
PADDING = "padding"  # bytes that no reader needs: refused, or read all the same and verify tells
ERRORS = (mxio.FormatError, mxio.UnsupportedError)
HUGE = (2**31, 2**32, 2**40, 2**58, 2**60, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 64, 2**64 - 1)
Plan = Callable[[], Craft]
Rows = dict[str, tuple[str, Craft]]


def attempt(action: Callable[[], Any]) -> tuple[str, Any]:
    """What became of a read: one of the kinds and the error, or `read` and the result."""
    try:
        return "read", action()
    except mxio.UnsupportedError as error:
        return UNSUPPORTED, error
    except mxio.ChecksumError as error:
        return CHECKSUM, error
    except mxio.FormatError as error:
        return FORMAT, error


def numbers(*values: int, dtype: str = "<u2") -> bytes:
    return np.array(values, dtype).tobytes()


A, B, EMPTY, FORTRAN, ALIAS, CHUNKS, LAST = range(7)  # the entries of `many`
NAMES = ["a", "b", "empty", "fortran", "alias", "chunks", "last"]


def many() -> Craft:
    """A dict of entries of all kinds."""
    items = [
        Item("a", "uint16", (3,), numbers(1, 2, 3)),
        Item("b", "float32", (3, 4), numbers(*range(12), dtype="<f4")),
        Item("empty", "float32", (0, 4)),
        Item("fortran", "int16", (2, 3), numbers(*range(6)), order=1),
        Item("alias", "float32", (3, 4), alias=B),
        Item("chunks", "uint8", (40,), bytes(range(40)), chunk_nbytes=16),
        Item("last", "S3", (2,), b"abcd\0\0"),
    ]
    return Craft(items, "dict", {"k": 1})


def appending() -> Craft:
    """The same, opened for appending, with space that was given up."""
    plan = many().place([CHUNKS, FORTRAN, "index", A, LAST, B], gap=b"\xaa" * 100)
    plan.slot |= {"required": 1, "generation": 2}
    return plan


def one(structure: Any = "array", metadata: Any = b"", name: str | bytes = "") -> Craft:
    """One array, under a structure of choice."""
    return Craft([Item(name, "uint16", (3,), numbers(1, 2, 3))], structure, metadata)


def arrays(structure: Any, *names: str | bytes) -> Craft:
    """Arrays of one byte, under a structure of choice."""
    return Craft([Item(name, "uint8", (1,), b"x") for name in names], structure)


def tree(node: Any, *names: str) -> Craft:
    """A tree; the node as JSON or as its text."""
    text = node if isinstance(node, str) else json.dumps(node, separators=(",", ":"))
    return arrays(b'{"tree":' + text.encode() + b"}", *names)


def nested(depth: int, kind: str) -> Any:
    node: Any = None
    for _ in range(depth):
        node = {kind: [["k", node]] if kind == "dict" else [node]}
    return node


def some_tree() -> Craft:
    """A tree with arrays and plain values of all kinds."""
    plain = [True, None, -7, 0.25, {"int": hex(2**60)}, {"float": "fff0000000000000"}]
    plain += [{"str": "text"}, {"bytes": "AAECAw=="}]
    deep = {"tuple": ["array", {"list": plain}]}
    pairs = [["x", "array"], [3, deep], [None, 1], [{"int": hex(2**70)}, 2], ["", {"dict": []}]]
    return Craft(
        [Item("x", "uint8", (3,), b"abc"), Item("3/0", "int32", (2,), bytes(8))],
        {"tree": {"dict": pairs}},
        {"m": ["text", 1.5, {"n": None}]},
    )


# Changes. Each returns a plan that breaks one rule.


def having(plan: Plan = many, /, **attributes: Any) -> Craft:
    made = plan()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def slot(plan: Plan = many, /, **fields: Any) -> Craft:
    made = plan()
    made.slot |= fields
    return made


def header(**fields: Any) -> Craft:
    made = many()
    made.header |= fields
    return made


def count(field: str, by: int) -> Craft:
    return header(**{field: many().header[field] + by})


def entry(number: int, plan: Plan = many, /, **fields: int) -> Craft:
    made = plan()
    made.entries[number] |= fields
    return made


def shift(number: int, field: str, by: int) -> Craft:
    return entry(number, **{field: many().entries[number][field] + by})


def dtype(row: int, **fields: int) -> Craft:
    made = many()
    made.dtypes[row] |= fields
    return made


def dims(number: int, *values: int) -> Craft:
    made = many()
    at = made.entries[number]["first_dim"]
    made.dims[at : at + len(values)] = values
    return made


def more(section: str, value: Any) -> Craft:
    """A section with one element more than the entries need, counted by the header."""
    made = many()
    getattr(made, section).append(value)
    return made.place()


def set_byte(at: int, plan: Plan = many, value: int = 1) -> Craft:
    return having(plan, patches=[(at, bytes([value]))])


def end_of(section: int) -> int:
    """The offset of the byte behind a section of the index of `many`."""
    made, at = many(), 0
    for part in made.sections()[: section + 1]:
        at = align(at, 8) + len(part)
    return made.index_at + at


def end_of_index() -> int:
    return many().index_at + len(many().index())


def spoilt(number: int, byte: int, plan: Plan = many) -> Craft:
    """A flipped bit in the data of an entry."""
    made = plan()
    at = made.entries[number]["offset"] + byte
    return set_byte(at, plan, made.build()[at] ^ 16)


def claim(dims: tuple[int, ...], nbytes: int = 0, dtype: str = "uint8", bits: int = 8) -> Craft:
    """An array that claims what is not there."""
    made = Craft([Item("", dtype, dims, bits=bits)], "array")
    if nbytes:
        made.entries[0] |= {"nbytes": nbytes, "chunk_nbytes": nbytes}
        made.crcs = [0]
        made.place()
        made.spots = []
        made.slot["file_nbytes"] %= 2**64
        made.length = made.index_at + align(len(made.index()), 64) + 64
    return made


def dims_that_wrap(dim: int) -> Craft:
    """An array of 8 bytes whose dims claim far more, but not modulo 2^64."""
    return Craft([Item("", "uint64", (dim,), bytes(8))], "array")


def honest(made: Craft) -> Craft:
    """The file_nbytes that the file has."""
    made.slot["file_nbytes"] = made.length
    return made


def bits(name: str, item_bits: int) -> Craft:
    return Craft([Item("", name, (0,), bits=item_bits)], "array")


def aliased(**fields: int) -> Craft:
    """An alias with other fields; those of both entries are right by themselves."""
    data = numbers(*range(6))
    items = [
        *(Item("a", "int16", (2, 3), data), Item("b", "int16", (2, 3), alias=0)),
        Item("c", "uint16", (6,), data),
    ]
    return entry(1, lambda: Craft(items, "dict"), **fields)


def alias_of_shape(*shape: int) -> Craft:
    data = numbers(*range(6))
    return Craft([Item("a", "int16", (2, 3), data), Item("b", "int16", shape, alias=0)], "dict")


def alias_of_alias() -> Craft:
    items = [Item("a", "int8", (2,), b"ab")] + [Item(n, "int8", (2,), alias=0) for n in "bc"]
    return entry(2, lambda: Craft(items, "dict"), alias_of=2)


def alias_of_empty() -> Craft:
    items = [Item("a", "int8", (0,)), Item("b", "int8", (0,))]
    return entry(1, lambda: Craft(items, "dict"), alias_of=1)


def alias_of_itself() -> Craft:
    """An array that would be stored but for the alias_of that names itself."""
    return entry(0, one, alias_of=1)


def dtypes_out_of_order() -> Craft:
    made = Craft([Item("0", "uint8", (1,), b"x"), Item("1", "int8", (1,), b"x")], "list")
    made.names[2:] = [b"int8", b"uint8"]
    for row, name in enumerate((b"int8", b"uint8")):
        made.dtypes[row]["name_nbytes"] = len(name)
        made.entries[row]["dtype"] = 1 - row
    return made


def unused_dtype() -> Craft:
    made = many()
    made.dtypes.append({"item_bits": 8, "name_nbytes": 4, "reserved": 0})
    made.names.append(b"int8")
    return made.place()


def one_dtype_twice() -> Craft:
    made = arrays("list", "0", "1")
    made.dtypes.append(made.dtypes[0])
    made.names.append(made.names[-1])
    made.entries[1]["dtype"] = 1
    return made.place()


def dtype_name(name: bytes) -> Craft:
    made = one()
    made.names[-1] = name
    made.dtypes[0]["name_nbytes"] = len(name)
    return made.place()


def placed(number: int, offset: int, plan: Plan = many) -> Craft:
    """An entry that lies elsewhere, with its bytes."""
    made = plan()
    at = made.entries[number]["offset"]
    made.entries[number]["offset"] = offset
    made.spots = [(offset if spot == at else spot, raw) for spot, raw in made.spots]
    end = offset + made.entries[number]["nbytes"]
    made.length = made.slot["file_nbytes"] = max(made.length, end)
    return made


def after(number: int, by: int, plan: Plan = many) -> Craft:
    return placed(number, plan().entries[number]["offset"] + by, plan)


def large_at_64() -> Craft:
    """65,536 bytes at a multiple of 64 that is none of 4096."""
    made = Craft([Item("", "uint8", (65536,), bytes(65536))], "array")
    made = placed(0, made.index_at + align(len(made.index()), 64), lambda: made)
    made.length = made.slot["file_nbytes"] = made.entries[0]["offset"] + 65536
    return made


def shared_bytes() -> Craft:
    """Two stored entries on the same bytes, with the crcs of both right."""
    made = arrays("list", "0", "1")
    made.entries[1]["offset"] = made.entries[0]["offset"]
    made.length = made.slot["file_nbytes"] = made.entries[0]["offset"] + 1
    return made


def two_slots(plan: Plan = appending, **newer: Any) -> Craft:
    made = plan()
    made.other_slot = pack_slot(made.slot | {"index_crc": 0} | newer)
    return made


def shared_in_appending() -> Craft:
    made = appending()
    made.entries[A]["offset"] = made.entries[CHUNKS]["offset"]
    made.crcs[0] = reference.crc32c(bytes(range(6)))
    return made


def long_in_appending() -> Craft:
    """200 bytes: with an offset that is aligned, their end can exceed 2**64."""
    made = Craft([Item("", "uint8", (200,), bytes(200))], "array")
    return slot(lambda: made, required=1, generation=2)


def longer(by: int, plan: Plan = many) -> Craft:
    return having(plan, length=plan().length + by)


SLOT_ROWS: Rows = {
    "empty_file": (FORMAT, having(length=0)),
    "head_of_zeros": (FORMAT, slot(magic=bytes(8))),
    "other_magic": (FORMAT, slot(magic=b"\x88MXIO\r\n\x1a")),
    "magic_after_newline_conversion": (FORMAT, slot(magic=b"\x89MXIO\n\x1a\0")),
    "slot_crc": (CHECKSUM, slot(slot_crc=12345)),
    "index_crc": (CHECKSUM, slot(index_crc=12345)),
    "version_0": (UNSUPPORTED, slot(version=0)),
    "version_2": (UNSUPPORTED, slot(version=2)),
    "version_max": (UNSUPPORTED, slot(version=2**32 - 1)),
    "version_before_features": (UNSUPPORTED, slot(version=2, required=2)),
    "version_before_reserved": (UNSUPPORTED, slot(version=2, reserved=1, rest=b"\1" * 56)),
    "version_before_lengths": (UNSUPPORTED, slot(version=2, file_nbytes=1, index_nbytes=2**60)),
    **{f"feature_{n}": (UNSUPPORTED, slot(required=1 << n)) for n in (3, 4, 31, 32, 63)},
    "feature_4_and_appending": (UNSUPPORTED, slot(appending, required=1 | 16)),
    "features_before_reserved": (UNSUPPORTED, slot(required=8, reserved=1)),
    "features_before_lengths": (UNSUPPORTED, slot(required=8, file_nbytes=1, index_nbytes=2**60)),
    "reserved_after_version": (FORMAT, slot(reserved=1)),
    "reserved_first_byte": (FORMAT, slot(rest=b"\1")),
    "reserved_last_byte": (FORMAT, slot(rest=bytes(55) + b"\1")),
    "generation_0": (FORMAT, slot(generation=0)),
    "file_nbytes_less_by_1": (FORMAT, slot(file_nbytes=many().length - 1)),
    "file_nbytes_more_by_1": (FORMAT, slot(file_nbytes=many().length + 1)),
    "file_nbytes_and_file_more_by_1": (FORMAT, honest(longer(1))),
    "file_nbytes_and_file_less_by_1": (FORMAT, honest(longer(-1))),
    "file_nbytes_0": (FORMAT, slot(file_nbytes=0)),
    "file_shorter": (FORMAT, longer(-1)),
    "file_longer": (FORMAT, longer(1)),
    "file_longer_by_much": (FORMAT, longer(100_000)),
    "head_area_alone": (FORMAT, having(length=4096)),
    "slot_alone": (FORMAT, having(length=128)),
    "index_offset_0": (FORMAT, slot(index_offset=0)),
    "index_offset_in_head": (FORMAT, slot(index_offset=2176, index_nbytes=128)),
    "index_offset_not_aligned": (FORMAT, slot(index_offset=4096 + 8, index_nbytes=128)),
    "index_offset_behind_the_end": (FORMAT, slot(index_offset=align(many().length, 64))),
    "index_nbytes_0": (FORMAT, slot(index_nbytes=0)),
    "index_nbytes_127": (FORMAT, slot(index_nbytes=127)),
    "index_nbytes_128": (FORMAT, slot(index_nbytes=128)),
    "index_nbytes_less_by_1": (FORMAT, slot(index_nbytes=len(many().index()) - 1)),
    "index_nbytes_more_by_1": (FORMAT, slot(index_nbytes=len(many().index()) + 1)),
    "index_nbytes_more_by_8": (FORMAT, having(tail=bytes(8)).place()),
    "index_passes_the_end": (FORMAT, slot(index_nbytes=many().length - 4096 + 1)),
    "index_end_overflows": (FORMAT, slot(index_nbytes=2**64 - 4096)),
    "other_slot_has_a_first_byte": (FORMAT, having(other_slot=b"\1" + bytes(127))),
    "other_slot_has_a_last_byte": (FORMAT, having(other_slot=bytes(127) + b"\1")),
    "other_slot_is_older": (FORMAT, two_slots(lambda: slot(generation=2), generation=1)),
    "two_slots_of_one_generation": (FORMAT, two_slots()),
    "newer_slot_of_version_2": (UNSUPPORTED, two_slots(generation=3, version=2)),
    "newer_slot_of_unknown_feature": (UNSUPPORTED, two_slots(generation=3, required=1 | 8)),
    "newer_slot_of_other_index": (CHECKSUM, two_slots(generation=3)),
    "newer_slot_of_longer_file": (FORMAT, two_slots(generation=3, file_nbytes=10**6)),
    "newer_slot_without_appending": (FORMAT, two_slots(generation=3, required=0)),
    **{f"head_byte_{at}": (PADDING, set_byte(at)) for at in (128, 2047, 2176, 4095)},
    "appending_head_byte": (PADDING, set_byte(4095, appending)),
}

LAYOUT_ROWS: Rows = {
    "zeros_behind_the_index": (PADDING, set_byte(end_of_index())),
    "zeros_before_data": (PADDING, set_byte(many().entries[A]["offset"] - 1)),
    "zeros_behind_data": (PADDING, set_byte(many().entries[A]["offset"] + 6)),
    "gap_of_64_before_data": (FORMAT, after(LAST, 64)),
    "gap_before_all": (FORMAT, many().place(gap=bytes(64))),
    "data_one_byte_later": (FORMAT, after(LAST, 1)),
    "data_8_bytes_later": (FORMAT, after(LAST, 8)),
    "data_far_behind": (FORMAT, after(LAST, 2**20)),
    "data_in_head_area": (FORMAT, placed(A, 256)),
    "data_in_slot": (FORMAT, entry(A, offset=0)),
    "data_in_index": (FORMAT, entry(A, offset=4096)),
    "data_in_the_last_bytes_of_index": (FORMAT, entry(A, offset=end_of_index() - 4)),
    "data_on_that_of_a_neighbour": (FORMAT, shared_bytes()),
    "data_in_that_of_a_neighbour": (FORMAT, entry(A, offset=many().entries[CHUNKS]["offset"])),
    "large_data_at_a_multiple_of_64": (FORMAT, large_at_64()),
    "appending_shared_bytes": (FORMAT, shared_in_appending()),
    "appending_data_in_head_area": (FORMAT, placed(A, 256, appending)),
    "appending_data_in_index": (
        FORMAT,
        entry(A, appending, offset=appending().index_at + 64),
    ),
    "appending_data_not_aligned": (FORMAT, after(A, 8, appending)),
    "appending_data_passes_file_nbytes": (
        FORMAT,
        slot(appending, file_nbytes=appending().length - 1),
    ),
    "appending_data_end_overflows": (FORMAT, entry(0, long_in_appending, offset=2**64 - 64)),
    "appending_file_shorter": (FORMAT, longer(-1, appending)),
}

HEADER_ROWS: Rows = {
    "n_records": (FORMAT, header(n_records=1)),
    "parent_offset": (FORMAT, header(parent_offset=4096)),
    "parent_nbytes": (FORMAT, header(parent_nbytes=128)),
    "parent_crc": (FORMAT, header(parent_crc=1)),
    "header_reserved_first": (FORMAT, header(reserved=b"\1")),
    "header_reserved_last": (FORMAT, header(reserved=bytes(43) + b"\1")),
    "padding_behind_strings": (FORMAT, set_byte(end_of(6))),
    "padding_behind_structure": (FORMAT, set_byte(end_of(7))),
    "padding_behind_metadata": (FORMAT, set_byte(end_of(8))),
}
for name in words("n_entries n_dtypes n_dims n_chunks strings structure metadata"):
    name += "" if name.startswith("n_") else "_nbytes"
    HEADER_ROWS[f"{name}_less_by_1"] = (FORMAT, count(name, -1))
    HEADER_ROWS[f"{name}_more_by_1"] = (FORMAT, count(name, 1))
    HEADER_ROWS[f"{name}_0"] = (FORMAT, header(**{name: 0}))

ENTRY_ROWS: Rows = {
    "nbytes_less_by_1": (FORMAT, shift(A, "nbytes", -1)),
    "nbytes_more_by_1": (FORMAT, shift(A, "nbytes", 1)),
    "nbytes_0_of_an_array": (FORMAT, entry(A, nbytes=0)),
    "nbytes_of_an_empty_array": (FORMAT, entry(EMPTY, nbytes=4)),
    "chunk_nbytes_0": (FORMAT, entry(A, chunk_nbytes=0)),
    "chunk_nbytes_more_than_nbytes": (FORMAT, entry(A, chunk_nbytes=7)),
    "chunk_nbytes_that_needs_more_chunks": (FORMAT, entry(A, chunk_nbytes=5)),
    "chunk_nbytes_that_needs_fewer_chunks": (FORMAT, entry(CHUNKS, chunk_nbytes=20)),
    "chunk_nbytes_of_an_empty_array": (FORMAT, entry(EMPTY, chunk_nbytes=1)),
    "offset_of_an_empty_array": (FORMAT, entry(EMPTY, offset=8192)),
    "first_chunk_of_an_empty_array": (FORMAT, entry(EMPTY, first_chunk=2)),
    "first_chunk_less_by_1": (FORMAT, shift(CHUNKS, "first_chunk", -1)),
    "first_chunk_more_by_1": (FORMAT, shift(A, "first_chunk", 1)),
    "a_crc_too_many": (FORMAT, more("crcs", 0)),
    "a_crc_too_few": (FORMAT, having(crcs=many().crcs[:-1]).place()),
    "alias_of_itself": (FORMAT, alias_of_itself()),
    "alias_of_a_later_entry": (FORMAT, entry(A, alias_of=1 + B)),
    "alias_of_no_entry": (FORMAT, entry(ALIAS, alias_of=8)),
    "alias_of_max": (FORMAT, entry(ALIAS, alias_of=2**64 - 1)),
    "alias_of_another_entry": (FORMAT, entry(ALIAS, alias_of=1 + FORTRAN)),
    "alias_of_an_alias": (FORMAT, alias_of_alias()),
    "alias_of_an_empty_array": (FORMAT, alias_of_empty()),
    "alias_that_is_empty": (FORMAT, entry(EMPTY, alias_of=1 + B)),
    "alias_without_alias_of": (FORMAT, entry(ALIAS, alias_of=0)),
    "alias_with_other_offset": (FORMAT, shift(ALIAS, "offset", 64)),
    "alias_with_other_nbytes": (FORMAT, shift(ALIAS, "nbytes", 4)),
    "alias_with_other_chunk_nbytes": (FORMAT, aliased(chunk_nbytes=6)),
    "alias_with_other_first_chunk": (FORMAT, aliased(first_chunk=1)),
    "alias_with_other_dtype": (FORMAT, aliased(dtype=1)),
    "alias_with_other_order": (FORMAT, aliased(order=1)),
    "alias_with_other_dims": (FORMAT, alias_of_shape(3, 2)),
    "alias_with_other_ndim": (FORMAT, alias_of_shape(6)),
    "first_dim_more_by_1": (FORMAT, shift(B, "first_dim", 1)),
    "first_dim_less_by_1": (FORMAT, shift(B, "first_dim", -1)),
    "a_dim_too_many": (FORMAT, more("dims", 1)),
    "a_dim_too_few": (FORMAT, having(dims=many().dims[:-1]).place()),
    "name_offset_more_by_1": (FORMAT, shift(B, "name_offset", 1)),
    "name_offset_less_by_1": (FORMAT, shift(LAST, "name_offset", -1)),
    "name_nbytes_more_by_1": (FORMAT, shift(LAST, "name_nbytes", 1)),
    "name_nbytes_max": (FORMAT, entry(LAST, name_nbytes=65535)),
    "dtype_of_no_row": (FORMAT, entry(LAST, dtype=5)),
    "dtype_max": (FORMAT, entry(LAST, dtype=2**32 - 1)),
    "dtypes_not_in_order_of_first_use": (FORMAT, dtypes_out_of_order()),
    "dtype_that_is_not_used": (FORMAT, unused_dtype()),
    "dtype_with_two_rows": (FORMAT, one_dtype_twice()),
    "ndim_less_by_1": (FORMAT, shift(B, "ndim", -1)),
    "ndim_65": (FORMAT, Craft([Item("", "int8", (1,) * 65, b"x")], "array")),
    "ndim_255": (FORMAT, Craft([Item("", "int8", (1,) * 255, b"x")], "array")),
    "order_2": (FORMAT, entry(B, order=2)),
    "order_255": (FORMAT, entry(B, order=255)),
    "fortran_order_of_one_dim": (FORMAT, entry(A, order=1)),
    "fortran_order_of_no_dims": (FORMAT, Craft([Item("", "int8", (), b"x", 1)], "array")),
    "dims_larger": (FORMAT, dims(B, 4, 4)),
    "dims_smaller": (FORMAT, dims(B, 3, 3)),
    "dims_of_an_empty_array_not_0": (FORMAT, dims(EMPTY, 1, 4)),
    "dims_0_of_an_array": (FORMAT, dims(B, 0, 4)),
    "dims_of_2_to_63_bytes": (FORMAT, claim((2**63,))),
    "dims_of_2_to_63_bytes_but_for_a_0": (FORMAT, claim((2**31, 0, 2**32))),
    "dims_and_items_of_2_to_63_bytes": (FORMAT, claim((0, 2**60), dtype="int64", bits=64)),
    "dims_whose_product_wraps_to_0": (FORMAT, claim((2**32, 2**32))),
    "dims_whose_product_wraps_to_8": (FORMAT, dims_that_wrap(2**61 + 1)),
    "dims_whose_bits_wrap_to_64": (FORMAT, dims_that_wrap(2**58 + 1)),
    "items_whose_bits_wrap_to_0": (FORMAT, claim((1,), 0, "unknown", 2**64 - 1)),
    "by_name_not_sorted": (FORMAT, having(by_name=[1, 0, *many().by_name[2:]])),
    "by_name_in_order_of_entries": (FORMAT, having(by_name=list(range(7)))),
    "by_name_with_one_entry_twice": (FORMAT, having(by_name=[0, 0, *many().by_name[2:]])),
    "by_name_of_no_entry": (FORMAT, having(by_name=[*many().by_name[:-1], 7])),
    "by_name_max": (FORMAT, having(by_name=[*many().by_name[:-1], 2**64 - 1])),
    "by_name_of_the_only_entry": (FORMAT, having(one, by_name=[1])),
    "a_name_twice": (FORMAT, arrays("dict", "x", "x")),
    "the_empty_name_twice": (FORMAT, arrays("dict", "", "")),
    "bytes_behind_the_names": (FORMAT, more("names", b"x")),
    "dtype_reserved": (FORMAT, dtype(0, reserved=1)),
    "dtype_name_nbytes_0": (FORMAT, dtype_name(b"")),
    "dtype_name_nbytes_256": (FORMAT, dtype_name(b"d" * 256)),
    "dtype_name_nbytes_max": (FORMAT, dtype(4, name_nbytes=2**32 - 1)),
    "dtype_name_nbytes_less_by_1": (FORMAT, dtype(0, name_nbytes=5)),
    "dtype_name_not_utf8": (FORMAT, dtype_name(b"\xff")),
    "dtype_name_with_nul": (FORMAT, dtype_name(b"int\0")),
}
NOT_UTF8 = {
    "ff": b"\xff",
    "continuation": b"\x80",
    "overlong_nul": b"\xc0\x80",
    "overlong_slash": b"\xc0\xaf",
    "overlong_of_three": b"\xe0\x80\xaf",
    "overlong_of_four": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "pair_of_surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "above_10ffff": b"\xf4\x90\x80\x80",
    "five_bytes": b"\xf8\x88\x80\x80\x80",
    "cut": b"\xe2\x82",
    "cut_inside": b"\xe2\x82a",
    "latin_1": b"caf\xe9",
}
ENTRY_ROWS |= {f"name_{n}": (FORMAT, one("dict", name=raw)) for n, raw in NOT_UTF8.items()}
ENTRY_ROWS |= {
    "name_nul": (FORMAT, one("dict", name="\0")),
    "name_with_nul_at_the_end": (FORMAT, one("dict", name="a\0")),
    "names_that_are_utf8_together": (FORMAT, arrays("dict", b"\xc3", b"\xa9")),
}
BITS = [(name, size * 2) for name, size in reference.FIXED.items()]
BITS += [("S3", 3), ("S3", 32), ("U2", 16), ("datetime64", 32), ("timedelta64[3D]", 8)]
BITS += [("bool", 1), ("int4", 4), ("float4_e2m1fn", 4), ("uint8", 0), ("uint8", 2**64 - 1)]
ENTRY_ROWS |= {f"item_bits_{size}_of_{name}": (FORMAT, bits(name, size)) for name, size in BITS}
ENTRY_ROWS |= {
    "item_bits_of_S_wrap_to_0": (FORMAT, bits(f"S{2**61}", 0)),
    "item_bits_of_S_wrap_to_8": (FORMAT, bits(f"S{2**61 + 1}", 8)),
    "item_bits_of_U_wrap_to_0": (FORMAT, bits(f"U{2**59}", 0)),
    "item_bits_of_S_of_many_digits": (FORMAT, bits("S" + "9" * 254, 8)),
}

STRUCTURE_ROWS: Rows = {
    "nothing": (FORMAT, one(b"")),
    "no_json": (FORMAT, one(b"array")),
    "string_cut": (FORMAT, one(b'"array')),
    "bytes_behind": (FORMAT, one(b'"array""array"')),
    "byte_order_mark": (FORMAT, one(b'\xef\xbb\xbf"array"')),
    "nul_behind": (FORMAT, one(b'"array"\0')),
    "space_before": (FORMAT, one(b' "array"')),
    "space_behind": (FORMAT, one(b'"array" ')),
    "newline_behind": (FORMAT, one(b'"array"\n')),
    "space_behind_colon": (FORMAT, one(b'{"tree": 1}')),
    "space_behind_comma": (FORMAT, tree('{"list":[1, 2]}')),
    "tab_in_object": (FORMAT, tree('{\t"list":[]}')),
    "not_ascii": (FORMAT, tree('{"str":"é"}')),
    "control_in_string": (FORMAT, tree('{"str":"\n"}')),
    "unknown_escape": (FORMAT, tree('{"str":"\\x41"}')),
    "single_quotes": (FORMAT, one(b"'array'")),
    "comma_at_the_end": (FORMAT, tree('{"list":[1,]}')),
    "tree_twice": (FORMAT, one(b'{"tree":"array","tree":"array"}')),
    "list_twice": (FORMAT, tree('{"list":[],"list":[]}')),
    "top_null": (FORMAT, one(None)),
    "top_number": (FORMAT, one(1)),
    "top_true": (FORMAT, one(True)),
    "top_list": (FORMAT, one(["array"])),
    "top_empty_object": (FORMAT, one({})),
    "top_other_string": (REFUSED, one("set")),
    "top_other_key": (UNSUPPORTED, one({"forest": "array"})),
    "top_other_key_beside": (REFUSED, one({"tree": "array", "x": 1})),
    "array_of_no_entries": (FORMAT, arrays("array")),
    "array_of_two_entries": (FORMAT, arrays("array", "", "1")),
    "array_with_a_name": (FORMAT, arrays("array", "x")),
    "list_from_1": (FORMAT, arrays("list", "1", "2")),
    "list_out_of_order": (FORMAT, arrays("list", "1", "0")),
    "list_with_leading_zero": (FORMAT, arrays("list", "00")),
    "list_with_empty_name": (FORMAT, arrays("list", "")),
    "tuple_with_other_names": (FORMAT, arrays("tuple", "0", "b")),
    "tree_without_array": (FORMAT, tree(1, "x")),
    "tree_with_fewer_arrays": (FORMAT, tree({"list": ["array", 1]}, "0", "2")),
    "tree_with_more_arrays": (FORMAT, tree({"list": ["array", "array", 1]}, "0")),
    "tree_with_another_path": (FORMAT, tree({"list": [1, "array"]}, "0")),
    "tree_with_another_key": (FORMAT, tree({"dict": [["a", "array"], ["n", 1]]}, "b")),
    "tree_with_another_separator": (FORMAT, tree({"list": [1, {"list": ["array"]}]}, "1.0")),
    "tree_with_a_leading_separator": (FORMAT, tree({"list": [1, "array"]}, "/1")),
    "tree_in_another_order": (FORMAT, tree({"list": ["array", 1, "array"]}, "2", "0")),
    "tree_key_true_as_json": (FORMAT, tree({"dict": [[True, "array"]]}, "true")),
    "tree_key_of_hexadecimal": (
        FORMAT,
        tree({"dict": [[{"int": hex(2**60)}, "array"]]}, hex(2**60)),
    ),
    "tree_with_one_path_twice": (
        FORMAT,
        tree({"dict": [["1", "array"], [1, "array"]]}, "1", "1"),
    ),
    "node_other_string": (REFUSED, tree('"Array"')),
    "node_empty_object": (FORMAT, tree("{}")),
    "node_bare_list": (FORMAT, tree("[]")),
    "node_other_key": (UNSUPPORTED, tree({"set": []})),
    "node_other_key_inside": (UNSUPPORTED, tree({"list": [{"dict": [["k", {"complex": "1j"}]]}]})),
    "node_two_keys": (FORMAT, tree('{"list":[],"tuple":[]}')),
    "node_other_key_beside": (REFUSED, tree('{"list":[],"set":[]}')),
    "list_of_no_list": (FORMAT, tree({"list": {}})),
    "tuple_of_a_string": (FORMAT, tree({"tuple": "ab"})),
    "dict_of_an_object": (FORMAT, tree({"dict": {"a": 1}})),
    "dict_pair_of_one": (FORMAT, tree({"dict": [["a"]]})),
    "dict_pair_of_three": (FORMAT, tree({"dict": [["a", 1, 2]]})),
    "dict_pair_of_a_string": (FORMAT, tree({"dict": ["ab"]})),
    "dict_pair_of_an_object": (FORMAT, tree({"dict": [{"a": 1, "b": 2}]})),
    "dict_key_of_a_float": (FORMAT, tree({"dict": [[1.5, 1]]})),
    "dict_key_of_a_list": (FORMAT, tree({"dict": [[[], 1]]})),
    "dict_key_of_a_str": (REFUSED, tree({"dict": [[{"str": "a"}, 1]]})),
    "dict_key_of_a_small_int": (FORMAT, tree({"dict": [[{"int": "0x1"}, 1]]})),
    "dict_key_of_a_large_number": (FORMAT, tree({"dict": [[2**53, 1]]})),
    "dict_key_twice": (FORMAT, tree({"dict": [["a", 1], ["a", 2]]})),
    "dict_keys_true_and_1": (FORMAT, tree({"dict": [[True, 1], [1, 2]]})),
    "str_of_a_number": (FORMAT, tree({"str": 1})),
    "str_of_null": (FORMAT, tree({"str": None})),
    "str_with_needless_escape": (FORMAT, tree('{"str":"\\u0061"}')),
    "str_with_escaped_slash": (FORMAT, tree('{"str":"\\/"}')),
    "str_with_long_escape": (FORMAT, tree('{"str":"\\u000a"}')),
    "str_with_escape_in_capitals": (FORMAT, tree('{"str":"\\u00E9"}')),
    "str_with_delete": (FORMAT, tree('{"str":"\x7f"}')),
    "node_key_with_escape": (FORMAT, tree('{"\\u0073tr":"a"}')),
    "tree_of_one_array": (FORMAT, tree("array".join('""'), "")),
    "tree_of_a_list_of_arrays": (FORMAT, tree({"list": ["array"]}, "0")),
    "tree_of_a_tuple_of_arrays": (FORMAT, tree({"tuple": ["array"]}, "0")),
    "tree_of_a_dict_of_arrays": (FORMAT, tree({"dict": [["a", "array"]]}, "a")),
    "tree_of_an_empty_list": (FORMAT, tree({"list": []})),
    "tree_of_an_empty_tuple": (FORMAT, tree({"tuple": []})),
    "tree_of_an_empty_dict": (FORMAT, tree({"dict": []})),
}
NUMBERS = "-0 01 -01 1. .5 +1 0x10 1_0 -  1e 1e999 -1e999 1.50 0.10 1.0e0 100.00e-1 NaN Infinity"
STRUCTURE_ROWS |= {
    f"number_{n}": (FORMAT, tree(n))
    for n in [*NUMBERS.split(), "-Infinity", "1e2", "1E+16", "1e16"]
}
STRUCTURE_ROWS |= {f"int_{n}": (FORMAT, tree(str(n))) for n in (2**53, -(2**53), 10**400)}
INTS = ["0x1f", "-0x1f", "0x1fffffffffffff", "9007199254740992", "0x", "", "-0x0", "0x0"]
INTS += ["0x020000000000000", "0X20000000000000", "0x2000000000000A", "+0x20000000000000"]
INTS += [
    "0x2000_0000_0000_00",
    " 0x20000000000000",
    "0x20000000000000\n",
    "0o777777777777777777777",
]
STRUCTURE_ROWS |= {f"int_of_{n!r}": (FORMAT, tree({"int": n})) for n in [*INTS, 2**53, None]}
FLOATS = ["3ff0000000000000", "7fefffffffffffff", "8000000000000000", "7ff", "", "7FF0000000000000"]
FLOATS += ["07ff0000000000000", "0x7ff00000000000", "7ff000000000000 ", "nan", "7ff000000000_000"]
STRUCTURE_ROWS |= {f"float_of_{n!r}": (FORMAT, tree({"float": n})) for n in [*FLOATS, 1, None]}
BASE64 = ["A", "AA", "AA=", "AAA", "AB==", "AAB=", "AA==AA==", "AA== ", "A A=", "-_8=", "é", "===="]
STRUCTURE_ROWS |= {f"bytes_of_{n!r}": (FORMAT, tree({"bytes": n})) for n in [*BASE64, 1, None]}
for kind in ("list", "tuple", "dict"):
    STRUCTURE_ROWS[f"{kind}s_101_deep"] = (FORMAT, tree(nested(101, kind)))
    STRUCTURE_ROWS[f"empty_{kind}_101_deep"] = (
        FORMAT,
        tree(
            json.dumps(nested(100, "list"), separators=(",", ":")).replace(
                "null", f'{{"{kind}":[]}}'
            )
        ),
    )
STRUCTURE_ROWS = {f"structure_{name}": row for name, row in STRUCTURE_ROWS.items()}

METADATA = ["[]", '"k"', "1", "null", "true", "{}", "{", '{"k"}', '{"k":1', '{"k":1}x', '{"k":1,}']
METADATA += ['{"k":1}\0', "{k:1}", '{"k":01}', '{"k":.5}', '{"k":NaN}', '{"k":-Infinity}']
METADATA += ['{"k": 1}', ' {"k":1}', '{"k":1}\n', '{"k":[1, 2]}', '{"k":1,"k":1}', '{"k":"é"}']
METADATA += ['{"k":-0}', '{"k":1.50}', '{"k":1e2}', '{"k":1e999}', '{"k":"\\u0061"}']
METADATA += ['{"k":{"a":1,"a":2}}', '{"a":1,"\\u0061":2}', '{"k":"\t"}', '{"k":undefined}']
METADATA_ROWS: Rows = {
    f"metadata_{text!r}": (FORMAT, one(metadata=text.encode())) for text in METADATA
}
METADATA_ROWS["metadata_byte_order_mark"] = (FORMAT, one(metadata=b'\xef\xbb\xbf{"k":1}'))
METADATA_ROWS["metadata_utf16"] = (FORMAT, one(metadata='{"k":1}'.encode("utf-16-le")))

CHUNK_ROWS: Rows = {
    f"data_of_{name}": (CHECKSUM, spoilt(n, 0)) for n, name in enumerate(NAMES) if n != EMPTY
}
CHUNK_ROWS |= {f"data_of_chunk_{n // 16}": (CHECKSUM, spoilt(CHUNKS, n)) for n in (0, 31, 39)}
CHUNK_ROWS |= {
    "appending_data": (CHECKSUM, spoilt(CHUNKS, 20, appending)),
    "crc_of_a_chunk": (CHECKSUM, having(crcs=[1, *many().crcs[1:]])),
    "crcs_swapped": (CHECKSUM, having(crcs=many().crcs[::-1])),
}

ROWS = SLOT_ROWS | LAYOUT_ROWS | HEADER_ROWS | ENTRY_ROWS | STRUCTURE_ROWS | METADATA_ROWS
ROWS |= CHUNK_ROWS
