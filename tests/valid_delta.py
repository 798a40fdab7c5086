# SPDX-License-Identifier: Apache-2.0
"""The valid files of test_delta.py: of every kind that docs/FORMAT.md knows of files appended to.

Each is made by craft.py and stands beside what it is meant to hold.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import reference
from broken_delta import base, becomes_large, chain_of, chained, middle, tight
from craft import Craft, Item, pack_slot
from reference import align

Array = np.ndarray[Any, Any]
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


def anywhere(name: str, by: int, to: int = 64) -> Case:
    """A run of x begins so many bytes behind a multiple of `to`, in its generation."""
    sizes, chunk = {"small": ((30, 50), 32), "large": ((10, 70_000), 8192)}[name]
    array = up(sum(sizes), "uint8", 9)
    end = align(YX.length, to) + by
    runs = [(end, sizes[0]), (end + sizes[0] + 1, sizes[1])]
    made = then(YX, item("x", array, chunk_nbytes=chunk, runs=runs))
    return made, {"y": Y, "x": array}, {}


def kept_anywhere() -> Case:
    """What is kept are runs that begin anywhere, and so do those behind it."""
    older, meant, _ = anywhere("small", 5)
    array = up(130, "uint8", 9)
    runs = [(older.length + 1, 40), (older.length + 42, 20)]
    made = then(older, item("x", array, chunk_nbytes=32, keeps=70, runs=runs))
    return made, meant | {"x": array}, {}


def large_at_64() -> Case:
    """65,536 bytes or more, in one place that begins at a multiple of 64."""
    made = then(YX, item("n", LARGE, runs=[(align(YX.length, 64), LARGE.size)]))
    assert where(made, "n") % 4096
    return made, {"y": Y, "x": X, "n": LARGE}, {}


def as_far_as_kept() -> Case:
    """A run begins at the offset that is the number of bytes that are kept."""
    array = up(9000, "int32").astype("uint8")
    older = Craft([item("x", array[:8192], chunk_nbytes=512)], "dict").opened()
    older.place([bytes(8192), 0, "index"])
    assert where(older, "x") > 9000
    made = then(older, item("x", array, chunk_nbytes=512, keeps=8192, runs=[(8192, 808)]))
    return made, {"x": array}, {}


def gone(*middle: Item, **fields: int) -> Case:
    """A generation says something of w that need not be so, as the next one replaces w."""
    made = then(first(y=Y, w=X), *middle)
    made.entries[0] |= fields
    return then(made, item("w", Z)), {"y": Y, "w": Z}, {}


def gone_of_the_root(**fields: int) -> Case:
    """The first generation says something of w that need not be so."""
    root = Craft([item("y", Y), item("w", X)], "dict").opened()
    root.entries[1] |= fields
    return then(root, item("w", Z)), {"y": Y, "w": Z}, {}


def gone_that_kept(nbytes: int, parent: str = "w", chunk: int = 8) -> Case:
    """An array of 36 bytes keeps so many of one of 24, or of none, and is replaced."""
    grows = item("w", up(9), chunk_nbytes=chunk, keeps=nbytes)
    made = then(first(**{"y": Y, parent: X}), grows)
    return then(made, item("w", Z)), {"y": Y, parent: X, "w": Z}, {}


def gone_with_another_crc() -> Case:
    made, meant, metadata = gone_of_the_root()
    made.chain()[1].crcs[-1] ^= 1
    return made, meant, metadata


def gone_dtype(*items: Item) -> Case:
    """An unknown dtype of one size in the first generation, of another in the next."""
    wider = Item("x", "unknown", (3,), bytes(6), bits=16)
    return then(then(Craft([UNKNOWN], "dict").opened(), wider), *items), {"x": X}, {}


def one_more_name(*items: Item, **meant: Array) -> Case:
    """x, and w which is another; x grows and w is a second name of it; then this."""
    older = first(x=X, w=X + 50)
    grows = item("x", up(9), chunk_nbytes=8, keeps=24)
    made = then(then(older, grows, Item("w", "int32", (9,), alias=0)), *items)
    return made, dict.fromkeys("xw", up(9)) | meant, {}


def first_then_alias() -> Case:
    """An array; another; both are replaced, the second by a second name of the first."""
    made = then(then(first(x=X), item("w", Y)), item("x", Z), Item("w", "uint16", (3,), alias=0))
    return made, {"x": Z, "w": Z}, {}


def tied_later() -> Case:
    """Of an array and its second name the array is replaced, and later the second name."""
    made, meant, _ = tied(item("x", Z))
    return then(made, item("w", Y)), meant | {"x": Z, "w": Y}, {}


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
    "large_that_was_small_and_stays_where_it_was": (becomes_large(), {"a": LARGE[:65_536]}, {}),
    "large_at_a_multiple_of_64": large_at_64(),
    "large_run_at_a_multiple_of_64": anywhere("large", 64 * 9 - 11),
    "large_run_anywhere": anywhere("large", 0),
    "runs_that_begin_anywhere": anywhere("small", 7),
    "runs_behind_an_odd_byte": anywhere("small", 1, 4096),
    "runs_that_begin_anywhere_and_are_kept": kept_anywhere(),
    "runs_of_the_root_that_begin_anywhere": (
        then(Craft([item("x", LONG, runs=[(4097, 20), (4118, 70)])], "dict").opened()),
        {"x": LONG},
        {},
    ),
    "run_at_as_many_bytes_as_are_kept": as_far_as_kept(),
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
    "alias_that_is_replaced_alone": tied(item("w", Z), w=Z),
    "alias_that_is_replaced_later": tied_later(),
    "alias_of_a_younger_entry_of_the_middle": first_then_alias(),
    "alias_of_what_grew_grows": one_more_name(
        item("w", up(12), chunk_nbytes=8, keeps=30), item("x", Z), w=up(12), x=Z
    ),
    "alias_of_what_grew_keeps_less": one_more_name(
        item("w", up(4), chunk_nbytes=8, keeps=9), item("x", Z), w=up(4), x=Z
    ),
    "alias_grows_twice": (
        then(
            tied(W_GROWS, item("x", Z))[0],
            item("w", up(12), chunk_nbytes=8, keeps=30),
        ),
        {"y": Y, "x": Z, "w": up(12)},
        {},
    ),
    "gone_in_data_of_another": gone(item("w", Y), offset=where(YX, "y")),
    "gone_in_the_head": gone(item("w", Y), offset=64),
    "gone_not_aligned": gone(item("w", Y), offset=4099),
    "gone_that_kept_too_much": gone_that_kept(25),
    "gone_that_kept_of_no_entry": gone_that_kept(24, "v"),
    "gone_that_kept_other_chunks": gone_that_kept(24, chunk=12),
    "gone_of_the_root_in_data_of_another": gone_of_the_root(offset=where(YX, "y")),
    "gone_of_the_root_not_aligned": gone_of_the_root(offset=4099),
    "gone_with_another_crc": gone_with_another_crc(),
    "gone_structure": (
        then(then(YX, structure=b"nonsense"), structure="dict"),
        {"y": Y, "x": X},
        {},
    ),
    "gone_metadata": (then(then(YX, metadata=b"{} ")), {"y": Y, "x": X}, {}),
    "gone_dtype_of_another_size": gone_dtype(item("x", X)),
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
