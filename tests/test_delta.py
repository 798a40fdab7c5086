# SPDX-License-Identifier: Apache-2.0
"""mxio and docs/FORMAT.md say the same of files that were appended to: runs and parents.

Valid files of every kind, made by craft.py, hold what they are meant to, as reference.py and as
mxio read them; the rows of broken_delta.py are refused by both. Every truncation and every
flipped bit of a small file, and indexes changed under right checksums, are judged alike.
"""

from __future__ import annotations

import functools
import random
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from broken import CHECKSUM, ERRORS, FORMAT, HUGE, PADDING, UNSUPPORTED, attempt
from broken_delta import CHUNK_ROWS, ROWS, base, chain_of, chained, middle, tight
from craft import Craft, Item, pack_slot, reseal
from reference import same

import mxio

Array = np.ndarray[Any, Any]
READERS = {"reference": lambda data: reference.read(data).object, "mxio": mxio.loads}
REFUSALS = (reference.Invalid, mxio.FormatError)
Case = tuple[Craft, Any, dict[str, Any]]  # a file, what it is meant to hold, and its metadata


def item(name: str, array: Array, **more: Any) -> Item:
    """An entry of what an array holds; in Fortran order if that is the array's and C is not."""
    order = int(array.flags.f_contiguous and not array.flags.c_contiguous)
    raw = array.tobytes(order="F" if order else "C")
    return Item(name, array.dtype.name, array.shape, raw, order, **more)


def up(count: int, dtype: str = "int32", start: int = 0) -> Array:
    return np.arange(start, start + count).astype(dtype)


def first(**arrays: Array) -> Craft:
    """A dict of arrays in chunks of 8 bytes, opened for appending."""
    items = [item(name, a, chunk_nbytes=min(8, a.nbytes)) for name, a in arrays.items()]
    return Craft(items, "dict", {"k": 1}).opened()


def then(older: Craft, *items: Item, structure: Any = b"", **more: Any) -> Craft:
    """One generation more."""
    return Craft(items, structure, older=older, **more)


def where(plan: Craft, name: str) -> int:
    """Where the data of an entry begins, or the last run of it in this generation."""
    return plan.pieces[[entry.name for entry in plan.items].index(name)][-1][0]["offset"]


X, Y, Z = up(6), up(5, "float64"), up(3, "uint16", 7)
LONG = up(90, "uint8", 3)
LARGE = (up(140_000, "int64") % 251).astype("uint8")
MATRIX = np.asfortranarray(up(12, "int16").reshape(3, 4))
WIDE = np.asfortranarray(np.concatenate([MATRIX, MATRIX + 50], axis=1))
YX = first(y=Y, x=X)
X_BEGINS = where(YX, "x")
X_ENDS = X_BEGINS + X.nbytes  # and so does the file


def grown(keeps: int, array: Array, before: Array = X, chunk: int = 8, **more: Any) -> Case:
    """Y and x, which becomes another array that keeps some first bytes."""
    made = then(first(y=Y, x=before), item("x", array, chunk_nbytes=chunk, keeps=keeps, **more))
    return made, {"y": Y, "x": array}, {}


def large(*runs: int | tuple[int, int], keeps: int = 70_000) -> Case:
    """An array of more than 65,536 bytes that has grown."""
    older = Craft([item("x", LARGE[:keeps])], "dict").opened()
    told = runs or [(where(older, "x") + keeps, 140_000 - keeps)]
    made = then(older, item("x", LARGE, chunk_nbytes=65_536, keeps=keeps, runs=told))
    return made, {"x": LARGE}, {}


def listed(structure: Any, *more: Item) -> Craft:
    """A list of two arrays; another structure in the next generation."""
    plan = Craft([item("0", X), item("1", Y)], "list").opened()
    return then(plan, *more, structure=structure)


def tied(*items: Item, **meant: Array) -> Case:
    """An entry x, an alias w of it, and a generation more."""
    alias = Item("w", "int32", X.shape, alias=1)
    older = Craft([item("y", Y), item("x", X, chunk_nbytes=8), alias], "dict").opened()
    return then(older, *items), {"y": Y, "x": X, "w": X} | meant, {}


def sparse_that_grows() -> Case:
    """A row-sparse array of three rows, then five."""

    def rows(count: int, **more: Any) -> list[Item]:
        data = up(2 * count, "float32").reshape(count, 2)
        parts = item("data", data, chunk_nbytes=8, **more), item("indices", up(count, "int64"))
        return list(parts)

    older = Craft(rows(3), {"tree": {"row_sparse": [9, 2]}}).opened()
    made = then(older, *rows(5, keeps=24), structure={"tree": {"row_sparse": [99, 2]}})
    parts = {"data": up(10, "float32").reshape(5, 2), "indices": up(5, "int64")}
    return made, reference.Sparse("row_sparse", (99, 2), parts), {}


def alone(*order: Any, array: Array = LONG, sizes: tuple[int, ...] = (20, 33, 37)) -> Case:
    """An array in runs, and two others, in a file that was not appended to."""
    plan = Craft([item("x", array, runs=sizes), item("y", Y), item("z", Z)], "dict")
    return plan.place(order or None), {"x": array, "y": Y, "z": Z}, {}


def of_its_own() -> Case:
    """A third generation whose index names no parent: data where it was, one entry less."""
    older = then(YX, item("z", Z))
    z = item("z", Z, runs=[(where(older, "z"), Z.nbytes)])
    x = item("x", X, runs=[(X_BEGINS, X.nbytes)])
    made = then(older, z, x, item("n", Y), structure="dict", delta=False)
    return made, {"z": Z, "x": X, "n": Y}, {}


def on_its_own() -> Case:
    """A generation more upon that, which names it."""
    older, meant, _ = of_its_own()
    made = then(older, item("z", up(5, "uint16", 7), chunk_nbytes=6, keeps=6))
    return made, meant | {"z": up(5, "uint16", 7)}, {}


def junk(other: bytes | None, tail: bytes = b"") -> Case:
    """Something in the other slot and behind the file."""
    made, meant, metadata = grown(24, up(9))
    made.other_slot = other
    made.spots.append((made.length, tail))
    made.length += len(tail)
    return made, meant, metadata


def placed(*order: Any, gap: bytes = b"") -> Case:
    """The runs and the index of a generation in some order."""
    made, meant, metadata = grown(20, up(30), runs=[50, 50])
    return made.place(order, gap), meant, metadata


def not_needed() -> Case:
    made = Craft([item("", X)], "array")
    made.slot["required"] = 7
    return made, X, {}


BASE = {
    "a": up(3, "uint16", 1),
    "b": np.frombuffer(b"bcdefg", "int8"),
    "alias": up(3, "uint16", 1),
    "empty": np.zeros((0, 4), "float32"),
    "long": up(40, "uint8", 100),
}
MIDDLE = BASE | dict.fromkeys(("a", "alias"), up(4, "uint16", 5))
MIDDLE |= {"long": up(60, "uint8", 100), "new": up(4, "float32", 1)}
NEWEST = MIDDLE | {"long": up(90, "uint8", 100)}
NEWEST |= {"b": np.frombuffer(b"xyzuvw", "int8").reshape((2, 3), order="F")}
TREE = {"tree": {"dict": [["a", "array"], ["n", {"list": [1, "array"]}]]}}
UNKNOWN = Item("x", "unknown", (3,), bytes(3), bits=8)
OLD = YX.slot | {"index_crc": 0}
W_GROWS = item("w", up(9), chunk_nbytes=8, keeps=24)
OTHER_TAIL = np.frombuffer(X.tobytes()[:9] + bytes(19), "int32")

VALID: dict[str, Case] = {
    "opened": (YX, {"y": Y, "x": X}, {"k": 1}),
    "opened_twice": (YX.opened(), {"y": Y, "x": X}, {"k": 1}),
    "an_entry_more": (then(first(y=Y), item("x", X)), {"y": Y, "x": X}, {}),
    "a_scalar_more": (then(first(y=Y), item("", np.array(7))), {"y": Y, "": np.array(7)}, {}),
    "an_entry_in_its_place": (then(YX, item("y", Z)), {"y": Z, "x": X}, {}),
    "entries_in_another_order": (
        then(YX, item("n", Z), item("x", Y), item("m", X), item("y", X)),
        {"y": X, "x": Y, "n": Z, "m": X},
        {},
    ),
    "metadata_alone": (then(YX, metadata={"n": [2]}), {"y": Y, "x": X}, {"n": [2]}),
    "nothing_new": (then(then(YX)), {"y": Y, "x": X}, {}),
    "no_entries_at_first": (then(Craft([], "dict").opened(), item("x", X)), {"x": X}, {}),
    "another_structure": (listed("tuple"), (X, Y), {}),
    "a_list_that_grows": (listed(b"", item("2", Z)), [X, Y, Z], {}),
    "a_list_that_becomes_a_tree": (
        listed({"tree": {"list": ["array", "array", 5]}}),
        [X, Y, 5],
        {},
    ),
    "the_structure_of_the_middle": (then(listed("tuple"), item("0", Z)), (Z, Y), {}),
    "a_tree_that_stays": (
        then(Craft([item("a", X), item("n/1", Y)], TREE).opened(), item("n/1", Z)),
        {"a": X, "n": [1, Z]},
        {},
    ),
    "a_sparse_array_that_grows": sparse_that_grows(),
    "an_index_of_its_own": of_its_own(),
    "a_parent_of_its_own": on_its_own(),
    "another_name": (
        then(YX, item("z", X, runs=[(X_BEGINS, X.nbytes)]), item("x", Z)),
        {"y": Y, "x": Z, "z": X},
        {},
    ),
    "an_empty_array_that_becomes_full": (
        then(first(y=up(0), x=X), item("y", Y)),
        {"y": Y, "x": X},
        {},
    ),
    "a_full_array_that_becomes_empty": (
        then(YX, item("y", np.zeros((2, 0)))),
        {"y": np.zeros((2, 0)), "x": X},
        {},
    ),
    "an_unknown_dtype_that_goes": (
        then(Craft([UNKNOWN], "dict").opened(), item("x", X)),
        {"x": X},
        {},
    ),
    "grown_behind": grown(24, up(9), runs=[(X_ENDS, 12)]),
    "grown_behind_by_one_byte": grown(
        3, up(4, "uint8"), up(3, "uint8"), 3, runs=[(X_BEGINS + 3, 1)]
    ),
    "grown_behind_and_elsewhere": grown(24, up(20), runs=[(X_ENDS, 10), 46]),
    "grown_elsewhere": grown(24, up(9)),
    "grown_in_runs": grown(24, up(20), runs=[1, 40, 15]),
    "grown_in_runs_of_64": grown(24, up(70), runs=[64, 64, 128]),
    "grown_in_a_part_chunk": grown(20, up(11), up(5)),
    "grown_by_columns": grown(24, WIDE, MATRIX),
    "grown_twice_behind": (
        then(
            grown(24, up(9), runs=[(X_ENDS, 12)])[0],
            item("x", up(12), chunk_nbytes=8, keeps=36, runs=[12]),
        ),
        {"y": Y, "x": up(12)},
        {},
    ),
    "large_and_grown_behind": large(),
    "large_and_grown_elsewhere": large(70_000),
    "large_and_grown_in_runs": large(3, 65_536, 4461),
    "large_that_was_small": large(75_000, 64_999, keeps=1),
    "kept_all": grown(24, X.view("float32").reshape(2, 3)),
    "kept_all_of_a_part_chunk": grown(20, up(5).view("uint32"), up(5)),
    "kept_a_beginning_that_is_all": grown(12, up(3)),
    "kept_a_beginning": grown(9, OTHER_TAIL),
    "kept_a_beginning_and_grown_over_the_rest": grown(9, OTHER_TAIL, runs=[(X_BEGINS + 9, 19)]),
    "kept_one_byte": grown(1, up(4, start=256)),
    "kept_less_than_a_chunk_of_another_size": grown(7, up(20), chunk=12),
    "kept_less_than_a_longer_chunk": grown(10, up(20), chunk=16),
    "kept_all_as_less_than_a_chunk": grown(20, up(6), up(5), chunk=24),
    "kept_runs_up_to_where_one_ends": (
        then(base().opened(), item("long", up(50, "uint8", 100), chunk_nbytes=16, keeps=21)),
        BASE | {"long": up(50, "uint8", 100)},
        {},
    ),
    "kept_runs_up_to_where_one_begins": (
        then(base().opened(), item("long", up(50, "uint8", 100), chunk_nbytes=16, keeps=22)),
        BASE | {"long": up(50, "uint8", 100)},
        {},
    ),
    "base": (base(), BASE, {"k": 1}),
    "middle": (middle(), MIDDLE, {"k": 2}),
    "chained": (chained(), NEWEST, {}),
    "chain_of_64": (chain_of(64), {"a": up(64, "uint8")}, {}),
    "not_appending": (tight(b""), {"a": up(20, "uint8")}, {}),
    "features_that_are_not_needed": not_needed(),
    "alias_grows_with_its_entry": tied(
        item("x", up(9), chunk_nbytes=8, keeps=24),
        Item("w", "int32", (9,), alias=0),
        **dict.fromkeys("xw", up(9)),
    ),
    "alias_grows_with_its_entry_behind": tied(
        item(
            "x", up(9), chunk_nbytes=8, keeps=24, runs=[(where(tied()[0].chain()[1], "x") + 24, 12)]
        ),
        Item("w", "int32", (9,), alias=0),
        **dict.fromkeys("xw", up(9)),
    ),
    "alias_grows_and_its_entry_goes": tied(W_GROWS, item("x", Z), w=up(9), x=Z),
    "alias_of_another": tied(item("y", Z), Item("w", "uint16", (3,), alias=0), y=Z, w=Z),
    "alias_of_what_is_new": tied(item("n", Z), Item("m", "uint16", (3,), alias=0), n=Z, m=Z),
    "alias_grows_twice": (
        then(
            tied(W_GROWS, item("x", Z))[0],
            item("w", up(12), chunk_nbytes=8, keeps=30),
        ),
        {"y": Y, "x": Z, "w": up(12)},
        {},
    ),
    "alone": alone(),
    "alone_in_falling_order": alone("index", (0, 2), 1, (0, 1), 2, (0, 0)),
    "alone_between_others": alone((0, 0), 1, (0, 1), "index", (0, 2), 2),
    "alone_in_runs_of_64": alone("index", (0, 0), 1, (0, 1), 2, (0, 2), sizes=(64, 6, 20)),
    "alone_in_runs_of_one_byte": alone(array=LONG[:12], sizes=(1,) * 12),
    "alone_in_fortran_order": alone(array=MATRIX, sizes=(5, 19)),
    "alone_and_large": alone(array=LARGE, sizes=(70_000, 65_535, 4465)),
    "index_before_data": placed("index", 0),
    "index_between_runs": placed((0, 1), "index", (0, 0)),
    "runs_in_falling_order": placed((0, 1), (0, 0), "index"),
    "space_that_was_given_up": placed((0, 0), b"\xaa" * 200, (0, 1), "index", b"\xaa" * 70),
    "space_that_was_given_up_everywhere": placed(0, "index", gap=b"\xaa" * 100),
    "a_tail": junk(None, b"interrupted"),
    "a_long_tail": junk(None, b"\x89MXIO" * 1000),
    "other_slot_of_zeros": junk(bytes(128)),
    "other_slot_of_junk": junk(b"\xff" * 128),
    "other_slot_of_another_kind": junk(b"\1" + bytes(127), b"interrupted"),
    "other_slot_that_is_torn": junk(pack_slot(OLD)[:-1] + b"\1", b"interrupted"),
    "other_slot_of_another_version": junk(pack_slot(OLD | {"version": 2, "rest": b"\1"})),
    "other_slot_of_a_damaged_index": junk(pack_slot(OLD)),
}
DOUBTFUL = [n for n in VALID if n.startswith("other_slot_of_junk")]
DOUBTFUL += ["other_slot_of_another_kind", "other_slot_that_is_torn"]


@functools.cache
def image(name: str) -> bytes:
    return VALID[name][0].build()


def regions(array: Array) -> list[Any]:
    """Parts of an array, and all of it."""
    ends = [slice(n // 3, n - n // 4) for n in array.shape]
    found = [..., *([tuple(ends), tuple(slice(None, None, -2) for _ in ends)] if ends else [])]
    if ends and array.size:
        last = tuple(n - 1 for n in array.shape)
        found += [last[:1], (slice(0, 1),), ([0, last[0], 0],)]
        found += [(slice(at, at + 1),) for at in range(0, array.shape[0], 1 + array.shape[0] // 7)]
    return found


@pytest.mark.parametrize("name", VALID)
def test_the_reference_reads_what_a_file_was_meant_to_hold(name: str) -> None:
    _, meant, metadata = VALID[name]
    file = reference.read(image(name))
    assert same(file.object, meant)
    assert same(file.metadata, metadata)
    assert bool(file.slot["doubt"]) == (name in DOUBTFUL)


def test_runs_that_touch_are_one() -> None:
    def of(name: str) -> list[int]:
        return [nbytes for _, nbytes in reference.read(image(name)).entries[-1].runs]

    assert of("grown_behind") == [36]
    assert of("grown_behind_and_elsewhere") == [34, 46]
    assert of("kept_a_beginning_and_grown_over_the_rest") == [28]
    assert of("large_and_grown_behind") == [140_000]
    assert of("kept_runs_up_to_where_one_ends") == [21, 29]
    assert of("kept_runs_up_to_where_one_begins") == [21, 1, 28]
    assert of("alias_grows_with_its_entry_behind") == [36]


@pytest.mark.parametrize("name", VALID)
def test_mxio_reads_what_a_file_was_meant_to_hold(name: str, tmp_path: Path) -> None:
    _, meant, metadata = VALID[name]
    entries = {e.name: e.value for e in reference.read(image(name)).entries}
    path = tmp_path / "x.mxio"
    path.write_bytes(image(name))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for loaded in (
            mxio.load(path),
            mxio.loads(image(name)),
            mxio.load(path, verify=False),
            mxio.load(path, threads=3),
        ):
            assert same(loaded, meant)
        assert mxio.verify(path) == [] or name in DOUBTFUL
        with mxio.open(path) as reader:
            assert list(reader) == list(entries)
            assert same(dict(reader.metadata), metadata)
            assert reader.verify() == [] or name in DOUBTFUL
            for key, array in entries.items():
                assert same(mxio.load(path, names=[key])[key], array)
                for region in regions(array):
                    assert same(np.asarray(reader[key][region]), np.asarray(array[region]))
    assert (mxio.FormatWarning in {warning.category for warning in caught}) == (name in DOUBTFUL)


@pytest.mark.parametrize("name", ROWS)
def test_the_reference_refuses_a_broken_file(name: str) -> None:
    kind, plan = ROWS[name]
    expected = reference.Unsupported if kind == UNSUPPORTED else reference.Invalid
    with pytest.raises(expected) as caught:
        reference.read(plan.build())
    assert (kind == CHECKSUM) == bool("crc" in str(caught.value) or name == "both_slots_torn")


@pytest.mark.parametrize("name", ROWS)
def test_mxio_refuses_a_broken_file(name: str, tmp_path: Path) -> None:
    kind, plan = ROWS[name]
    data = plan.build()
    path = tmp_path / "x.mxio"
    path.write_bytes(data)
    for action in (partial(mxio.loads, data), partial(mxio.load, path)):
        got, result = attempt(action)
        if kind == PADDING and got == "read":
            assert same(result, {"a": up(20, "uint8")})
        else:
            assert got == (FORMAT if kind == PADDING else kind), result
    got, result = attempt(lambda: mxio.verify(path))
    assert got != "read" or result, "verify finds nothing"
    late = name in CHUNK_ROWS or kind == PADDING or "structure" in name
    if not late and not name.startswith(("list_of", "tree_of")):
        with pytest.raises(ERRORS):
            mxio.open(path)


def test_an_entry_whose_runs_are_damaged_does_not_stop_others_from_being_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.mxio"
    path.write_bytes(ROWS["data_of_byte_45"][1].build())
    for name, array in NEWEST.items():
        if name != "long":
            assert same(mxio.load(path, names=[name])[name], array)
    with mxio.open(path) as reader:
        assert same(reader["long"][:32], NEWEST["long"][:32])
        assert same(reader["long"][48:], NEWEST["long"][48:])
        with pytest.raises(mxio.ChecksumError) as caught:
            reader["long"][40:50]
        assert (caught.value.name, caught.value.chunk) == ("long", 2)
        assert [damage[:2] for damage in reader.verify()] == [("long", 2)]


# Every bit and every length of a small file, of four generations and a chain of three.


def small(generations: int = 4) -> Craft:
    plan = Craft([item("a", up(5, "uint8"), chunk_nbytes=4), item("b", up(3, "uint8"))], "dict")
    plan = plan.opened()
    if generations > 2:
        plan = then(plan, item("a", up(11, "uint8"), chunk_nbytes=4, keeps=5))
    if generations > 3:
        items = item("a", up(14, "uint8"), chunk_nbytes=4, keeps=9), item("b", up(2, "uint8", 9))
        plan = then(plan, *items).place([0, b"\xaa" * 30, 1, "index", b"\xaa" * 9])
    return plan


SMALL = {"a": up(14, "uint8"), "b": up(2, "uint8", 9)}
BEFORE = {"a": up(11, "uint8"), "b": up(3, "uint8")}


@functools.cache
def flips() -> dict[tuple[int, int], tuple[Any, bool]]:
    """What the reference reads where a bit is flipped, or None, and whether it is in doubt."""
    data, found = small().build(), {}
    for at in range(len(data)):
        zeros = not any(data[max(at - 16, 0) : at + 16])  # of which one bit of each byte will do
        for bit in [at % 8] if zeros else range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            try:
                file = reference.read(bytes(flipped))
                found[at, bit] = file.object, bool(file.slot["doubt"])
            except reference.Invalid:
                found[at, bit] = None, False
    return found


def test_the_reference_judges_every_flipped_bit() -> None:
    plan = small()
    file = reference.read(plan.build())
    assert same(file.object, SMALL)
    assert plan.slot_number == 1
    covered = {at for e in file.entries for start, n in e.runs for at in range(start, start + n)}
    for index in plan.chain():
        covered |= set(range(index.index_at, index.index_at + len(index.index())))
    assert covered < set(range(4096, plan.length))
    assert plan.length - 4096 - len(covered) > 100
    for (at, bit), (read, doubt) in flips().items():
        if at >= 4096:  # what was given up changes nothing
            assert (read is None) if at in covered else same(read, SMALL), (at, bit)
        elif at < 128:  # the older slot
            assert same(read, SMALL), (at, bit)
        elif 2048 <= at < 2176:  # the newest one
            assert same(read, BEFORE), (at, bit)
        else:
            assert read is None, (at, bit)
        assert doubt == (at < 128 or 2048 <= at < 2176), (at, bit)


def test_mxio_judges_every_flipped_bit_like_the_reference_does() -> None:
    data = small().build()
    for (at, bit), (read, doubt) in flips().items():
        flipped = bytearray(data)
        flipped[at] ^= 1 << bit
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got, result = attempt(partial(mxio.loads, bytes(flipped)))
            damage = mxio.verify(bytes(flipped)) if doubt or bit == at % 8 else None
        warned = mxio.FormatWarning in {warning.category for warning in caught}
        assert warned or not doubt, (at, bit)
        if read is None:
            # Zeros of the head area are bytes that no reader needs.
            needed = at >= 4096 or got != "read" or not same(result, SMALL)
            assert got in (FORMAT, CHECKSUM) if needed else damage, (at, bit, result)
            assert damage != [], (at, bit)
        else:
            assert got == "read", (at, bit, result)
            assert same(result, read), (at, bit)
            assert doubt or (not warned and not damage), (at, bit)


@pytest.mark.parametrize("reader", READERS)
def test_every_truncation_is_refused(reader: str) -> None:
    data = small().build()
    for length in range(len(data)):
        with pytest.raises(REFUSALS):
            READERS[reader](data[:length])


def test_every_truncation_of_a_file_is_refused(tmp_path: Path) -> None:
    data = small().build()
    path = tmp_path / "x.mxio"
    for length in [*range(0, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        for action in (mxio.load, mxio.open):
            with pytest.raises(mxio.FormatError):
                action(path)
        assert length == 0 or mxio.verify(path)


@pytest.mark.parametrize("reader", READERS)
def test_a_tail_of_any_length_changes_nothing(reader: str) -> None:
    data = small().build()
    for length in (1, 63, 64, 4096, 5001):
        for byte in (b"\0", b"\xff"):
            assert same(READERS[reader](data + byte * length), SMALL)


@pytest.mark.parametrize("generations", [2, 3, 4])
@pytest.mark.parametrize("reader", READERS)
def test_an_interrupted_commit_changes_nothing(reader: str, generations: int) -> None:
    """Of what a commit writes before its slot a beginning is there."""
    data = small(generations).build()
    before = READERS[reader](data)
    whole = then(small(generations), item("b", LONG), item("c", Y)).build()
    slot = slice(2048 * (generations % 2), 2048 * (generations % 2) + 128)
    for length in range(len(data), len(whole), 7):
        cut = bytearray(whole[:length])
        cut[slot] = data[slot]
        assert same(READERS[reader](bytes(cut)), before)
    assert same(READERS[reader](whole), before | {"b": LONG, "c": Y})


# Indexes changed under right checksums.

SEEDS = ["chained", "middle", "alone", "alias_grows_with_its_entry_behind", "grown_in_runs"]
SEEDS += ["alias_of_another", "an_index_of_its_own", "a_parent_of_its_own", "grown_twice_behind"]
MUTANTS = 500  # of each


def mutants(name: str) -> list[bytes]:
    """Files with one or two numbers or bytes of an index changed."""
    plan, data = VALID[name][0], image(name)
    choice = random.Random(name)
    places = [(index.index_at, len(index.index())) for index in plan.chain()]
    spots = [at for where, _ in places for at in range(where, where + 128, 8)]
    pairs = []  # of numbers of bytes that are one run's and may be the next one's
    for index in plan.chain():  # the records, which are seldom hit otherwise
        start = index.index_at + sum(len(section) for section in index.sections()[:5])
        spots += [*range(start, start + 32 * len(index.records), 8)] * 3
        pairs += [(start + 32 * n + 16, start + 32 * n + 48) for n in range(len(index.records) - 1)]
    known = [int.from_bytes(data[at : at + 8], "little") for at in spots]
    made = []
    for _ in range(MUTANTS):
        changed = bytearray(data)
        for _ in range(choice.randint(1, 2)):
            where, nbytes = choice.choice(places)
            at = where + choice.randrange(nbytes)
            if pairs and choice.random() < 0.2:
                by = choice.randint(-24, 24)
                for spot, change in zip(choice.choice(pairs), (by, -by), strict=True):
                    number = int.from_bytes(changed[spot : spot + 8], "little") + change
                    changed[spot : spot + 8] = (number % 2**64).to_bytes(8, "little")
                continue
            if choice.random() < 0.3:
                changed[at] ^= choice.choice([1, 2, 0x80, 0xFF, choice.randrange(1, 256)])
                continue
            at = choice.choice(spots) if choice.random() < 0.6 else at // 8 * 8
            near = int.from_bytes(changed[at : at + 8], "little")
            near += choice.choice([1, -1, 2, 8, -8, 64, -64, 4096])
            value = choice.choice([near, near, choice.choice(known), 0, choice.choice(HUGE)])
            changed[at : at + 8] = (value % 2**64).to_bytes(8, "little")
        made.append(reseal(bytes(changed[: len(data)])))
    return made


@functools.cache
def judged(name: str) -> list[tuple[bytes, reference.File | None, str]]:
    """The mutants, what the reference reads, and why it does not."""
    found: list[tuple[bytes, reference.File | None, str]] = []
    for data in mutants(name):
        try:
            found.append((data, reference.read(data), ""))
        except (reference.Invalid, reference.Unsupported) as error:
            found.append((data, None, str(error)))
    return found


@pytest.mark.parametrize("name", SEEDS)
def test_the_reference_judges_changed_indexes_by_more_than_their_checksums(name: str) -> None:
    assert reseal(image(name)) == image(name)
    reasons = [reason for _, _, reason in judged(name)]
    assert 0 < reasons.count("") < len(reasons) / 2
    assert len({reason.partition(" (at")[0] for reason in reasons}) > 15
    assert not any("no valid slot" in reason for reason in reasons)


@pytest.mark.parametrize("name", SEEDS)
def test_mxio_judges_changed_indexes_like_the_reference_does(name: str) -> None:
    for n, (data, file, reason) in enumerate(judged(name)):
        got, result = attempt(partial(mxio.loads, data))
        if file is None:
            assert got != "read", (n, reason)
            if reason.startswith("crc of chunk"):  # its index is right
                assert got == CHECKSUM, (n, reason, result)
                assert list(mxio.open(data))
        elif any(reference.item_bits(e.dtype) is None for e in file.entries):
            assert got == UNSUPPORTED, (n, result)
        else:
            assert got == "read", (n, result)
            assert same(result, file.object), n
            assert mxio.verify(data) == [], n
