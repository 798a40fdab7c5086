# SPDX-License-Identifier: Apache-2.0
"""The broken files of test_delta.py: a row for each way to break a rule of files appended to.

The rows are like those of broken.py: made by craft.py with all covering checksums right, they
say how a reader has to refuse them. Most change one generation of `chained`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import reference
from broken import CHECKSUM, FORMAT, HUGE, PADDING, UNSUPPORTED, Plan, Rows, numbers
from craft import Craft, Item, pack_slot
from reference import MAGIC, align

NEWEST, MIDDLE, ROOT = range(3)  # the indexes of `chained`
A, B, ALIAS, EMPTY, LONG = range(5)  # the entries of its root
OF_MIDDLE = {"long": 0, "new": 1, "a": 2, "alias": 3}
OF_NEWEST = {"long": 0, "b": 1}
CONTENT = bytes(range(100, 190))


def base(**more: Any) -> Craft:
    """A dict of entries of all kinds; one lies in runs."""
    items = [
        Item("a", "uint16", (3,), numbers(1, 2, 3)),
        Item("b", "int8", (6,), b"bcdefg"),
        Item("alias", "uint16", (3,), alias=A),
        Item("empty", "float32", (0, 4)),
        Item("long", "uint8", (40,), CONTENT[:40], chunk_nbytes=16, runs=[21, 19]),
    ]
    return Craft(items, "dict", {"k": 1}, **more)


def middle(**more: Any) -> Craft:
    """Three generations: `long` has grown, `new` is new, `a` and its alias are others."""
    items = [
        Item("long", "uint8", (60,), CONTENT[:60], chunk_nbytes=16, keeps=40),
        Item("new", "float32", (4,), numbers(1, 2, 3, 4, dtype="<f4"), runs=[6, 10]),
        Item("a", "uint16", (4,), numbers(5, 6, 7, 8)),
        Item("alias", "uint16", (4,), alias=OF_MIDDLE["a"]),
    ]
    return Craft(items, b"", {"k": 2}, older=base().opened(), **more)


def chained(**more: Any) -> Craft:
    """Four generations: of `long` a part is kept that ends inside of a run, `b` is another."""
    items = [
        Item("long", "uint8", (90,), CONTENT, chunk_nbytes=16, keeps=50, runs=[30, 10]),
        Item("b", "int8", (2, 3), b"xyzuvw", order=1),
    ]
    plan = Craft(items, b"", b"", older=middle(), **more)
    return plan.place([0, b"\xaa" * 50, 1, "index"])


# Changes. Each returns a plan that breaks one rule.


def having(of: int = NEWEST, plan: Plan = chained, /, **attributes: Any) -> Craft:
    made = plan()
    for name, value in attributes.items():
        setattr(made.chain()[of], name, value)
    return made


def slot(plan: Plan = chained, /, **fields: Any) -> Craft:
    made = plan()
    made.slot |= fields
    return made


def header(of: int = NEWEST, /, **fields: Any) -> Craft:
    made = chained()
    made.chain()[of].header |= fields
    return made


def count(field: str, by: int, of: int = NEWEST) -> Craft:
    return header(of, **{field: chained().chain()[of].header[field] + by})


def entry(number: int, of: int = NEWEST, /, **fields: int) -> Craft:
    made = chained()
    made.chain()[of].entries[number] |= fields
    return made


def record(number: int, of: int = NEWEST, /, **fields: int) -> Craft:
    made = chained()
    made.chain()[of].records[number] |= fields
    return made


def records(numbers: list[int], of: int = NEWEST, **fields: int) -> Craft:
    """Some of the records in another order; the last one with other fields."""
    made = chained()
    plan = made.chain()[of]
    plan.records = [dict(plan.records[number]) for number in numbers]
    plan.records[-1] |= fields
    return again(made, of)


def again(made: Craft, of: int = NEWEST) -> Craft:
    """The counts of an index after a change of its sections, and of those that name it.

    Nothing changes its place.
    """
    for plan in reversed(made.chain()[: of + 1]):
        plan.count()
        plan.slot["index_nbytes"] = len(plan.index())
        end = plan.index_at + len(plan.index())
        plan.length = plan.slot["file_nbytes"] = max(plan.length, end)
    return made


def patched(at: int, of: int = NEWEST, value: int = 0xFF) -> Craft:
    return having(of, patches=[(at, bytes([value]))])


def spoilt(name: str, byte: int) -> Craft:
    """A changed byte in the data of an entry, in whichever generation it was written."""
    (found,) = (e for e in reference.read(chained().build()).entries if e.name == name)
    offsets = [at for offset, nbytes in found.runs for at in range(offset, offset + nbytes)]
    return patched(offsets[byte])


def after(*items: Item, structure: Any = b"", plan: Plan = base, **more: Any) -> Craft:
    """One more generation with an index that names its parent."""
    return Craft(items, structure, older=plan().opened(), **more)


def plain(*items: Item, structure: Any = "dict") -> Craft:
    """The first generation of a file, and the only one."""
    return Craft(items, structure)


def bytes_of(name: str, nbytes: int, **more: Any) -> Item:
    return Item(name, "uint8", (nbytes,), bytes(n % 251 for n in range(nbytes)), **more)


def chain_of(length: int) -> Craft:
    """So many indexes, each of which adds one byte to an array."""
    plan = plain(bytes_of("a", 1, chunk_nbytes=1))
    plan.slot["required"] |= 1
    for n in range(2, length + 1):
        plan = Craft([bytes_of("a", n, chunk_nbytes=1, keeps=n - 1)], b"", older=plan)
    return plan


def grown(nbytes: int, then: int, chunk: int, other: int | None = None, **more: Any) -> Craft:
    """An array of which all, or what `keeps` says, is kept when it grows."""
    more = {"keeps": nbytes} | more
    first = plain(bytes_of("a", nbytes, chunk_nbytes=chunk))
    second = bytes_of("a", then, chunk_nbytes=other or chunk, **more)
    return Craft([second], b"", older=first.opened())


def lying(field: str, value: int, index: int = -1) -> Craft:
    """`grown`, with another number in the record of what is kept."""
    made = grown(10, 20, 4)
    made.records[index][field] = value
    return made


def keeping(nbytes: int) -> Craft:
    """The newest index, which keeps more or less of what it has of its parent."""
    made = chained()
    made.records[0]["nbytes"], made.records[1]["nbytes"] = nbytes, 80 - nbytes
    return made


def becomes_large() -> Craft:
    """Two runs that come out as one, as large as what has to begin at a multiple of 4096."""
    older = plain(bytes_of("a", 100, chunk_nbytes=100)).opened()
    end = older.entries[0]["offset"] + 100
    assert end % 4096 > 100
    return Craft([bytes_of("a", 65_536, keeps=100, runs=[(end, 65_436)])], b"", older=older)


def moved(plan: Craft, to: int) -> Craft:
    """The last extent of a file that was not appended to, a run, begins elsewhere; zeros before."""
    row = max(plan.records, key=lambda row: row["offset"])
    at, raw = plan.spots.pop()
    assert (at, len(raw)) == (row["offset"], row["nbytes"])
    assert at + len(raw) == plan.length
    plan.spots.append((to, raw))
    row["offset"], plan.length = to, to + len(raw)
    plan.slot["file_nbytes"] = plan.length
    return plan


def run_after_zeros(by: int) -> Craft:
    """`moved`, a run of an array in runs."""
    made = root_with_runs(10, 30, 20).place(["index", 1, 0])
    return moved(made, made.records[-1]["offset"] + by)


def large_run_at_64() -> Craft:
    """`moved`, a run of 65,536 bytes."""
    made = plain(bytes_of("a", 65_546, runs=[10, 65_536]))
    return moved(made, align(made.records[0]["offset"] + 10, 64))


def one_run_at(by: int) -> Craft:
    """Of an array in runs that begin anywhere so much is kept that it lies in one."""
    more = {"chunk_nbytes": 7}
    older = after(bytes_of("x", 30, runs=[10, 20], **more))
    older.place([b"\xaa" * by, 0, "index"])
    older.records[0]["offset"] += by
    older.spots.append((older.records[0]["offset"], bytes(range(10))))
    return Craft([bytes_of("x", 7, keeps=7, **more)], b"", older=older)


def short_of_data() -> Craft:
    """A file_nbytes that leaves out the last byte of a run."""
    made = after(bytes_of("x", 9, runs=[3, 6])).place(["index", 0])
    made.slot["file_nbytes"] -= 1
    return made


def data_in_index(of: int) -> Craft:
    """An array that says to be some bytes of an index, and is."""
    offset, image = chained().chain()[of].index_at + 64, chained().build()
    raw = image[offset : offset + 64]
    return after(Item("x", "uint8", (64,), raw, runs=[(offset, 64)]), plan=chained)


def crcs_of_all() -> Craft:
    """The crcs of the chunks that are kept, said again."""
    made = grown(8, 12, 4)
    made.crcs = [*made.older.crcs, *made.crcs] if made.older else []
    return made.place()


def crcs_less() -> Craft:
    made = grown(8, 12, 4)
    made.crcs = []
    return made.place()


def first_chunk_of_all() -> Craft:
    """A first_chunk that counts the chunks that are kept."""
    kept = bytes_of("a", 12, chunk_nbytes=4, keeps=8)
    made = Craft([kept, bytes_of("b", 3)], b"", older=plain(bytes_of("a", 8, chunk_nbytes=4)))
    made.slot["required"] |= 1
    made.entries[1]["first_chunk"] = 3
    return made


def alias_of_the_parents() -> Craft:
    """An alias whose number is that of the entry in what the file comes to hold."""
    made = after(bytes_of("x", 3), Item("y", "uint8", (3,), alias=0))
    made.entries[1]["alias_of"] = 6
    return made


def alias_comes_before() -> Craft:
    """An alias that has the place of an old entry, of an entry that is new and so stands last."""
    return after(bytes_of("x", 3), Item("b", "uint8", (3,), alias=0))


def alias_that_stays(*values: int, dtype: str = "<u2", **more: Any) -> Craft:
    """The entry that an alias names is another, the alias is as it was."""
    name = np.dtype(dtype).name
    return after(Item("a", name, (len(values),), numbers(*values, dtype=dtype), **more))


def alias_of_alias() -> Craft:
    """An alias stays as it is, the entry that it names becomes one too."""
    items = [bytes_of("x", 6), bytes_of("a", 6), Item("c", "uint8", (6,), alias=1)]
    new = Item("a", "uint8", (6,), alias=0)
    return after(bytes_of("x", 6), new, plan=lambda: plain(*items))


def alias_with_records() -> Craft:
    made = after(bytes_of("x", 9, runs=[3, 6]), Item("y", "uint8", (9,), alias=0))
    made.records += [row | {"entry": 1} for row in made.records]
    return made.place()


def alias_differs(**fields: int) -> Craft:
    made = after(bytes_of("x", 9, runs=[3, 6]), Item("y", "uint8", (9,), alias=0))
    made.entries[1] |= fields
    return made


def offset_and_records() -> Craft:
    """An entry in runs, both of which come out, that says an offset too."""
    made = after(bytes_of("x", 9, runs=[3, 6]))
    made.entries[0]["offset"] = made.records[0]["offset"]
    return made


def one_record(plan: Craft) -> Craft:
    """An entry in one run that is written as a record."""
    row = plan.entries[0]
    plan.records = [{"entry": 0, "offset": 0, "nbytes": row["nbytes"], "reserved": 0}]
    plan.pieces[0] = [(plan.records[0], plan.pieces[0][0][1], None)]
    row["offset"] = 0
    return plan.place()


def touching(delta: bool) -> Craft:
    """Two runs one right behind the other, in an index with or without a parent."""
    item = bytes_of("x", 90, runs=[64, 26])
    made = after(item) if delta else plain(item)
    made.records[1]["offset"] = made.records[0]["offset"] + 64
    end = made.records[1]["offset"] + 26
    made.spots.append((made.records[1]["offset"], bytes(n % 251 for n in range(64, 90))))
    if not delta:
        made.length = made.slot["file_nbytes"] = end
    return made


def two_sizes() -> Craft:
    """One dtype that no reader knows, of two sizes in two indexes."""
    first = plain(Item("a", "unknown", (3,), bytes(3), bits=8))
    return after(Item("b", "unknown", (3,), bytes(6), bits=16), plan=lambda: first)


def no_parent() -> Craft:
    """An index that needs its parent and does not name it."""
    return header(parent_offset=0, parent_nbytes=0, parent_crc=0)


def not_appending(plan: Craft) -> Craft:
    """A file of several indexes in which no space may be given up."""
    older = plan.older
    while older:
        plan.other_slot, older.other_slot, older = bytes(128), bytes(128), older.older
    plan.slot["required"] &= ~1
    return plan


def tight(junk: bytes) -> Craft:
    """A file without space that was given up but for some junk, and not opened for appending."""
    first = plain(bytes_of("a", 10, chunk_nbytes=4))
    made = Craft([bytes_of("a", 20, chunk_nbytes=4, keeps=10)], b"", older=first)
    made.place([0, junk, "index"] if junk else [0, "index"])
    return not_appending(made)


def two_newest(**newer: Any) -> Craft:
    """The older slot made newer than the newest."""
    made = chained()
    made.other_slot = pack_slot(made.slot | {"index_crc": 0} | newer)
    return made


def root_with_runs(*told: tuple[int, int] | int) -> Craft:
    """A file that was not appended to, of an array in runs and another."""
    nbytes = sum(run if isinstance(run, int) else run[1] for run in told)
    return plain(bytes_of("a", nbytes, runs=list(told)), bytes_of("b", 3))


SLOT_ROWS: Rows = {
    "records_without_their_feature": (FORMAT, slot(required=1 | 2)),
    "a_parent_without_its_feature": (FORMAT, slot(required=1 | 4)),
    "neither_feature": (FORMAT, slot(required=1)),
    "unknown_feature_beside": (UNSUPPORTED, slot(required=7 | 8)),
    "not_appending_with_another_slot": (FORMAT, slot(required=6)),
    "not_appending_with_given_up_space": (FORMAT, not_appending(chained())),
    "not_appending_with_junk": (FORMAT, tight(b"\xaa" * 100)),
    "not_appending_with_nonzero_padding": (PADDING, tight(b"\xaa")),
    "not_appending_and_longer": (FORMAT, having(NEWEST, lambda: tight(b""), length=10_000)),
    "two_slots_of_one_generation": (FORMAT, two_newest()),
    "newest_slot_of_unknown_feature": (UNSUPPORTED, two_newest(generation=9, required=1 | 8)),
    "newest_slot_of_version_2": (UNSUPPORTED, two_newest(generation=9, version=2)),
    "newest_slot_of_other_index": (CHECKSUM, two_newest(generation=9)),
    "newest_slot_of_longer_file": (FORMAT, two_newest(generation=9, file_nbytes=10**6)),
    "newest_slot_without_appending": (FORMAT, two_newest(generation=9, required=6)),
    "newest_slot_reserved": (FORMAT, slot(reserved=1)),
    "newest_slot_torn_and_older_not_appending": (
        FORMAT,
        slot(lambda: Craft([], b"", older=plain(bytes_of("a", 2))), slot_crc=1),
    ),
    "both_slots_torn": (
        CHECKSUM,
        having(slot=chained().slot | {"slot_crc": 1}, other_slot=MAGIC + bytes(120)),
    ),
    "file_shorter": (FORMAT, having(length=chained().length - 1)),
    "file_as_long_as_the_older": (FORMAT, having(length=middle().length)),
}
FIRST, SECOND = middle().index_at, chained().index_at
PARENT_ROWS: Rows = {
    "parent_crc": (CHECKSUM, header(parent_crc=12345)),
    "parent_crc_0": (CHECKSUM, header(parent_crc=0)),
    "parent_crc_of_the_middle": (CHECKSUM, header(MIDDLE, parent_crc=12345)),
    "parent_is_damaged": (CHECKSUM, patched(FIRST + 130)),
    "root_is_damaged": (CHECKSUM, patched(base().index_at + 130)),
    "parent_not_named": (FORMAT, no_parent()),
    "parent_offset_0": (FORMAT, header(parent_offset=0)),
    "parent_offset_and_nbytes_0": (FORMAT, header(parent_offset=0, parent_nbytes=0)),
    "parent_nbytes_0": (FORMAT, header(parent_nbytes=0)),
    "parent_nbytes_127": (FORMAT, header(parent_nbytes=127)),
    "parent_nbytes_128": (FORMAT, header(parent_nbytes=128)),
    "parent_nbytes_less_by_1": (FORMAT, count("parent_nbytes", -1)),
    "parent_nbytes_more_by_1": (FORMAT, count("parent_nbytes", 1)),
    "parent_nbytes_up_to_its_child_and_1": (FORMAT, header(parent_nbytes=SECOND - FIRST + 1)),
    "parent_not_aligned": (FORMAT, header(parent_offset=FIRST + 8)),
    "parent_in_the_head": (FORMAT, header(parent_offset=2048, parent_nbytes=128)),
    "parent_is_itself": (FORMAT, header(parent_offset=SECOND)),
    "parent_begins_inside_its_child": (FORMAT, header(parent_offset=SECOND + 64)),
    "parent_is_behind": (FORMAT, header(MIDDLE, parent_offset=SECOND)),
    "parent_behind_the_end": (FORMAT, header(parent_offset=align(chained().length, 64))),
    "parent_of_the_root": (FORMAT, header(ROOT, parent_offset=FIRST)),
    "parent_of_the_root_in_data": (FORMAT, header(ROOT, parent_offset=4096, parent_nbytes=128)),
    "parent_end_overflows": (FORMAT, header(parent_nbytes=2**64 - FIRST)),
    "chain_of_65": (FORMAT, chain_of(65)),
    "parent_under_data": (FORMAT, data_in_index(ROOT)),
    "middle_under_data": (FORMAT, data_in_index(MIDDLE)),
    "parent_is_data": (FORMAT, header(parent_offset=4864, parent_nbytes=256)),
}

RECORD_ROWS: Rows = {
    "record_reserved": (FORMAT, record(0, reserved=1)),
    "record_reserved_of_the_root": (FORMAT, record(1, ROOT, reserved=2**63)),
    "record_of_no_entry": (FORMAT, record(2, entry=2)),
    "record_of_entry_max": (FORMAT, record(2, entry=2**64 - 1)),
    "record_of_an_entry_with_offset": (FORMAT, records([0, 1, 2, 2], entry=OF_NEWEST["b"])),
    "record_of_an_alias": (FORMAT, alias_with_records()),
    "record_of_an_empty_array": (FORMAT, record(0, ROOT, entry=EMPTY)),
    "records_of_entries_out_of_order": (FORMAT, records([2, 3, 0, 1], MIDDLE)),
    "records_of_entries_mixed": (FORMAT, records([0, 2, 1, 3], MIDDLE)),
    "record_too_many": (FORMAT, records([0, 1, 2, 2])),
    "record_too_many_that_adds_nothing": (FORMAT, records([0, 1, 2, 2], nbytes=0)),
    "record_too_few": (FORMAT, records([0, 1])),
    "no_records_but_offset_0": (FORMAT, records([0, 1], MIDDLE)),
    "n_records_less_by_1": (FORMAT, count("n_records", -1)),
    "n_records_more_by_1": (FORMAT, count("n_records", 1)),
    "n_records_0": (FORMAT, header(n_records=0)),
    "n_records_of_the_root_0": (FORMAT, header(ROOT, n_records=0)),
    "record_nbytes_0": (FORMAT, record(2, nbytes=0)),
    "record_nbytes_less_by_1": (FORMAT, record(2, nbytes=9)),
    "record_nbytes_more_by_1": (FORMAT, record(1, nbytes=31)),
    "record_nbytes_max": (FORMAT, record(1, nbytes=2**64 - 1)),
    "record_nbytes_of_the_root_more": (FORMAT, record(0, ROOT, nbytes=22)),
    "records_add_up_after_a_wrap": (
        FORMAT,
        having(
            records=[
                row | {"nbytes": nbytes}
                for row, nbytes in zip(chained().records, [50, 2**63 + 20, 2**63 + 20], strict=True)
            ]
        ),
    ),
    "offset_and_records": (FORMAT, offset_and_records()),
    "one_record_of_the_root": (FORMAT, one_record(plain(bytes_of("a", 9)))),
    "one_record": (FORMAT, one_record(after(bytes_of("x", 9)))),
    "records_that_touch": (FORMAT, touching(delta=True)),
    "records_that_touch_in_the_root": (FORMAT, touching(delta=False)),
    "offset_0_of_the_root": (FORMAT, record(0, ROOT, offset=0)),
    "offset_0_of_a_later_run": (FORMAT, record(2, offset=0)),
    "offset_0_of_a_later_run_of_the_root": (FORMAT, record(1, ROOT, offset=0)),
    "offset_0_of_what_the_parent_has_not": (FORMAT, record(2, MIDDLE, offset=0)),
    "offset_of_what_is_kept": (FORMAT, record(0, offset=64)),
    "run_in_the_head": (FORMAT, record(1, offset=256)),
    "run_in_its_index": (FORMAT, record(1, offset=SECOND + 64)),
    "run_in_the_parent": (FORMAT, record(2, offset=FIRST + 64)),
    "run_in_the_root": (FORMAT, record(2, offset=4096)),
    "run_in_data_that_stays": (FORMAT, record(2, offset=middle().entries[2]["offset"])),
    "run_in_another_run": (FORMAT, record(2, offset=chained().records[1]["offset"])),
    "run_in_what_is_kept": (FORMAT, record(2, offset=base().records[0]["offset"])),
    "run_passes_file_nbytes": (FORMAT, record(2, offset=align(chained().length, 64))),
    "run_ends_behind_file_nbytes": (FORMAT, short_of_data()),
    "run_end_overflows": (FORMAT, record(2, offset=2**64 - 8)),
    "offset_not_aligned": (FORMAT, entry(1, offset=chained().entries[1]["offset"] + 8)),
    "run_not_aligned_and_not_appending": (FORMAT, run_after_zeros(8)),
    "run_one_byte_late_and_not_appending": (FORMAT, run_after_zeros(1)),
    "run_late_and_not_appending": (FORMAT, run_after_zeros(64)),
    "large_run_at_a_multiple_of_64_and_not_appending": (FORMAT, large_run_at_64()),
    "large_in_the_end_and_not_appending": (FORMAT, not_appending(becomes_large())),
    "one_run_in_the_end_not_aligned": (FORMAT, one_run_at(8)),
    "run_of_a_file_of_its_own_not_in_a_row": (FORMAT, root_with_runs(10, (4480, 20))),
}

KEPT_ROWS: Rows = {
    "kept_more_than_there_is": (FORMAT, lying("nbytes", 11, 0)),
    "kept_more_than_the_middle_has": (FORMAT, keeping(61)),
    "kept_nothing": (FORMAT, lying("nbytes", 0, 0)),
    "kept_less_than_is_missing": (FORMAT, lying("nbytes", 9, 0)),
    "kept_max": (FORMAT, lying("nbytes", 2**64 - 1, 0)),
    "kept_of_fewer_bytes": (FORMAT, grown(10, 20, 4, keeps=12, runs=[8])),
    "kept_of_more_than_nbytes": (FORMAT, records([0], nbytes=91)),
    "kept_in_other_chunks": (FORMAT, grown(10, 20, 4, 8, runs=[10])),
    "kept_in_chunks_as_long_as_all": (FORMAT, grown(10, 20, 4, 10)),
    "kept_of_an_empty_array": (FORMAT, after(Item("empty", "int8", (9,), b"123456789", keeps=4))),
    "kept_of_no_entry": (FORMAT, after(bytes_of("x", 9, keeps=4))),
    "kept_all_of_no_entry": (FORMAT, after(bytes_of("x", 9, keeps=9))),
    "kept_crcs_again": (FORMAT, crcs_of_all()),
    "crcs_less": (FORMAT, crcs_less()),
    "first_chunk_of_all": (FORMAT, first_chunk_of_all()),
    "crc_too_many": (FORMAT, again(having(crcs=[*chained().crcs, 0]))),
    "crc_too_few_of_the_middle": (FORMAT, again(having(MIDDLE, crcs=middle().crcs[:-1]), MIDDLE)),
    "kept_of_an_entry_with_another_name": (
        FORMAT,
        having(names=[b"lonG", *chained().names[1:]], by_name=[1, 0]),
    ),
}

RESULT_ROWS: Rows = {
    "alias_of_a_number_of_the_result": (FORMAT, alias_of_the_parents()),
    "alias_comes_before_its_entry": (FORMAT, alias_comes_before()),
    "alias_of_a_later_entry": (FORMAT, entry(OF_MIDDLE["a"], MIDDLE, alias_of=4)),
    "alias_with_another_offset": (FORMAT, alias_differs(offset=4096)),
    "alias_with_another_first_chunk": (FORMAT, alias_differs(first_chunk=1)),
    "alias_with_other_chunk_nbytes": (FORMAT, alias_differs(chunk_nbytes=5)),
    "alias_of_an_entry_that_has_moved": (FORMAT, alias_that_stays(1, 2, 3)),
    "alias_of_an_entry_that_has_grown": (FORMAT, alias_that_stays(1, 2, 3, 4, keeps=6)),
    "alias_of_an_entry_that_is_shorter": (
        FORMAT,
        alias_that_stays(1, 2, runs=[(base().entries[A]["offset"], 4)]),
    ),
    "alias_of_an_entry_of_another_dtype": (
        FORMAT,
        alias_that_stays(1, 2, 3, dtype="<i2", keeps=6),
    ),
    "alias_of_an_entry_of_other_chunks": (
        FORMAT,
        alias_that_stays(1, 2, 3, chunk_nbytes=3, runs=[(base().entries[A]["offset"], 6)]),
    ),
    "alias_of_an_entry_that_is_empty": (FORMAT, alias_that_stays()),
    "alias_of_an_entry_that_is_an_alias": (
        FORMAT,
        alias_of_alias(),
    ),
    "alias_of_an_entry_that_is_said_again": (
        FORMAT,
        alias_that_stays(1, 2, 3, runs=[(base().entries[A]["offset"], 6)]),
    ),
    "alias_of_an_entry_all_of_which_is_kept": (FORMAT, alias_that_stays(1, 2, 3, keeps=6)),
    "alias_of_an_entry_that_was_replaced_before": (
        FORMAT,
        Craft([bytes_of("n", 2)], b"", older=alias_that_stays(1, 2, 3, keeps=6)),
    ),
    "dtype_of_two_sizes": (FORMAT, two_sizes()),
    "a_name_twice": (FORMAT, after(bytes_of("x", 3), bytes_of("x", 2))),
    "data_in_that_of_the_parent": (
        FORMAT,
        after(bytes_of("x", 3, runs=[(base().entries[B]["offset"], 3)])),
    ),
    "data_of_two_names": (
        FORMAT,
        after(Item("x", "int8", (6,), b"bcdefg", runs=[(base().entries[B]["offset"], 6)])),
    ),
    "kept_by_an_alias_whose_entry_stays": (
        FORMAT,
        after(Item("alias", "uint16", (4,), numbers(1, 2, 3, 4), chunk_nbytes=6, keeps=6)),
    ),
    "kept_by_an_alias_and_its_entry": (
        FORMAT,
        after(
            *(
                Item(name, "uint16", (4,), numbers(1, 2, 3, 4), chunk_nbytes=6, keeps=6)
                for name in ("a", "alias")
            )
        ),
    ),
    "kept_and_again_under_its_own_name": (
        FORMAT,
        after(bytes_of("b", 12, keeps=6, runs=[(base().entries[B]["offset"], 6)])),
    ),
    "no_structure_at_all": (FORMAT, again(having(ROOT, structure=b""), ROOT)),
    "structure_of_the_parent_that_does_not_fit": (
        FORMAT,
        after(bytes_of("1", 2), plan=lambda: plain(bytes_of("", 2), structure="array")),
    ),
    "list_of_the_parent_with_a_name": (
        FORMAT,
        after(bytes_of("x", 2), plan=lambda: plain(bytes_of("0", 2), structure="list")),
    ),
    "tree_of_the_parent_with_more": (
        FORMAT,
        after(
            bytes_of("1", 2),
            plan=lambda: plain(bytes_of("0", 2), structure={"tree": {"list": ["array", 1]}}),
        ),
    ),
    "structure_that_is_none": (FORMAT, after(bytes_of("x", 2), structure=b"dict")),
    "structure_unknown": (UNSUPPORTED, after(bytes_of("x", 2), structure={"forest": 1})),
    "structure_null": (FORMAT, after(bytes_of("x", 2), structure=b"null")),
    "metadata_that_is_none": (FORMAT, after(bytes_of("x", 2), metadata=b"[]")),
    "metadata_that_is_empty": (FORMAT, after(bytes_of("x", 2), metadata=b"{}")),
}
STRUCTURES = [name for name in RESULT_ROWS if "structure" in name or name[:4] in ("list", "tree")]

INDEX_ROWS: Rows = {}
for of, word in enumerate(("newest", "middle", "root")):
    index = chained().chain()[of].index_at
    NAMES = chained().chain()[of].names
    INDEX_ROWS |= {
        f"header_reserved_of_the_{word}": (FORMAT, header(of, reserved=bytes(43) + b"\1")),
        f"bytes_behind_the_{word}": (FORMAT, again(having(of, tail=bytes(8)), of)),
        f"n_entries_of_the_{word}": (FORMAT, count("n_entries", -1, of)),
        f"n_chunks_of_the_{word}": (FORMAT, count("n_chunks", 1, of)),
        f"n_dims_of_the_{word}": (FORMAT, count("n_dims", -1, of)),
        f"first_dim_of_the_{word}": (FORMAT, entry(1, of, first_dim=7)),
        f"first_chunk_of_the_{word}": (FORMAT, entry(1, of, first_chunk=7)),
        f"name_offset_of_the_{word}": (FORMAT, entry(1, of, name_offset=7)),
        f"dtype_of_the_{word}": (FORMAT, entry(0, of, dtype=9)),
        f"chunk_nbytes_0_of_the_{word}": (FORMAT, entry(0, of, chunk_nbytes=0)),
        f"nbytes_of_the_{word}": (FORMAT, entry(0, of, nbytes=1)),
        f"order_of_the_{word}": (FORMAT, entry(1, of, order=2)),
        f"by_name_of_the_{word}": (
            FORMAT,
            having(of, by_name=chained().chain()[of].by_name[::-1]),
        ),
        f"name_of_the_{word}": (FORMAT, having(of, names=[b"\xff" * len(NAMES[0]), *NAMES[1:]])),
        f"dims_of_the_{word}": (
            FORMAT,
            having(of, dims=[d + 1 for d in chained().chain()[of].dims]),
        ),
    }

CHUNK_ROWS: Rows = {f"data_of_byte_{n}": (CHECKSUM, spoilt("long", n)) for n in (0, 30, 45, 55, 84)}
CHUNK_ROWS |= {
    "data_of_an_alias": (CHECKSUM, spoilt("a", 0)),
    "crc_of_a_chunk": (CHECKSUM, having(crcs=[1, *chained().crcs[1:]])),
    "crc_of_a_chunk_of_the_root": (CHECKSUM, having(ROOT, crcs=[*base().crcs[:3], 1, 2])),
    "crcs_of_the_middle_swapped": (CHECKSUM, having(MIDDLE, crcs=middle().crcs[::-1])),
    "runs_swapped": (CHECKSUM, records([0, 2, 1])),
}

ROWS = SLOT_ROWS | PARENT_ROWS | RECORD_ROWS | KEPT_ROWS | RESULT_ROWS | INDEX_ROWS | CHUNK_ROWS

# Numbers of an enemy: for test_corrupt.py, which reads them in a process with little memory.

HOSTILE: dict[str, Craft] = {}
for number in HUGE:
    for of, word in enumerate(("newest", "middle", "root")):
        for field in ("n_records", "n_entries", "n_chunks", "parent_offset", "parent_nbytes"):
            HOSTILE[f"{field}_of_the_{word}_{number:#x}"] = header(of, **{field: number})
        for field in ("offset", "nbytes", "entry"):
            for row in (0, 1):
                named = f"{field}_of_record_{row}_of_the_{word}_{number:#x}"
                HOSTILE[named] = record(row, of, **{field: number})
