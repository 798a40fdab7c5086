# SPDX-License-Identifier: Apache-2.0
"""Sparse arrays come back part by part and bit for bit, whatever their indices say.

And no index is gone by before it was looked at, no structure believed that the entries do not
bear out, and nothing that is sparse in another way saved as something it is not.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from craft import Craft, Item
from reference import same

import mxio
from mxio._sparse import PARTS
from mxio._tree import flatten, unflatten
from mxio.errors import FormatError

I64 = np.int64


def csr(dtype: Any = "f4", index: Any = I64) -> mxio.SparseArray:
    """[[0, 1, 0, 2], [0, 0, 0, 0], [0, 0, 3, 0]]"""
    data = np.array([1, 2, 3]).astype(dtype)
    return mxio.SparseArray(
        "csr", (3, 4), data, np.array([1, 3, 2], index), np.array([0, 2, 2, 3], index)
    )


def rows(shape: tuple[int, ...] = (5, 2), stored: Any = (1, 4), dtype: Any = "f4") -> Any:
    data = np.arange(1, 1 + len(stored) * int(np.prod(shape[1:]))).astype(dtype)
    data = data.reshape(len(stored), *shape[1:])
    return mxio.SparseArray("row_sparse", shape, data, np.array(stored, I64))


def dense_of(x: mxio.SparseArray) -> np.ndarray[Any, Any]:
    """The whole array, item by item."""
    dense = np.zeros(x.shape, x.dtype)
    for k, index in enumerate(x.indices.tolist()):
        if x.indptr is None:
            dense[index] = x.data[k]
        else:
            row = next(r for r in range(x.shape[0]) if x.indptr[r] <= k < x.indptr[r + 1])
            dense[row, index] = x.data[k]
    return dense


# ---- what it is --------------------------------------------------------------------------


def test_the_parts_are_kept_as_they_were_given():
    x = csr(index=np.int32)
    assert (x.stype, x.shape, x.ndim, x.dtype, x.nnz) == ("csr", (3, 4), 2, np.dtype("f4"), 3)
    assert x.nbytes == 3 * 4 + 3 * 4 + 4 * 4
    data, indices = np.ones((2, 3)), np.array([0, 1], np.uint8)
    y = mxio.SparseArray("row_sparse", [9, 3], data, indices)
    assert y.data is data
    assert y.indices is indices
    assert (y.shape, y.indptr, y.nnz) == ((9, 3), None, 6)
    assert list(x.parts) == ["data", "indptr", "indices"]
    assert list(y.parts) == ["data", "indices"]


def test_it_prints_its_type_and_how_much_is_stored():
    assert repr(csr()) == "<mxio.SparseArray csr float32 (3, 4): 3 stored>"
    assert repr(rows()) == "<mxio.SparseArray row_sparse float32 (5, 2): 2 of 5 rows>"


@pytest.mark.parametrize("x", [csr("f8"), rows((6,)), rows((3, 2, 2)), rows((4, 3), ())])
def test_it_is_the_same_through_pickle_and_copy(x: mxio.SparseArray):
    assert same(pickle.loads(pickle.dumps(x)), x)
    deep = copy.deepcopy(x)
    assert same(deep, x)
    assert not np.shares_memory(deep.indices, x.indices)


ONE = np.ones(1)
ZERO = np.zeros(1, I64)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("coo", (1, 1), ONE, ZERO), "stype is 'csr' or 'row_sparse', not 'coo'"),
        ((["csr"], (1, 1), ONE, ZERO), "stype is"),
        (("csr", (1,), ONE, ZERO, [0, 1]), "csr array has 2 dimensions, not 1"),
        (("csr", (1, 1, 1), ONE, ZERO, [0, 1]), "csr array has 2 dimensions, not 3"),
        (("row_sparse", (), ONE, ZERO), "1 dimension or more, not 0"),
        (("row_sparse", (-1,), ONE, ZERO), "a dimension is 0 to 2^63 - 1, not -1"),
        (("row_sparse", (2**63,), ONE, ZERO), "a dimension is 0 to 2^63 - 1"),
        (("csr", (1, 1), ONE, ZERO), "a csr array needs indptr"),
        (("row_sparse", (1,), ONE, ZERO, [0, 1]), "a row_sparse array has no indptr"),
        (("csr", (1, 1), [[1.0]], ZERO, [0, 1]), "data of a csr array has 1 dimension, not 2"),
        (("csr", (1, 1), ONE, ZERO, [[0, 1]]), "indptr of a csr array has 1 dimension, not 2"),
        (("csr", (1, 1), ONE, [[0]], [0, 1]), "indices have 1 dimension, not 2"),
        (("csr", (1, 1), 1.0, ZERO, [0, 1]), "data has 1 dimension or more, not 0"),
        (("csr", (1, 1), [1, 2], ZERO, [0, 1]), "2 items in data, but 1 in indices"),
        (("row_sparse", (3, 2), [[1, 2]], [0, 1]), "1 items in data, but 2 in indices"),
        (("row_sparse", (3, 2), [[1, 2, 3]], ZERO), "data has rows of shape (3,)"),
        (("row_sparse", (3, 2), ONE, ZERO), "data has rows of shape ()"),
    ],
)
def test_parts_that_do_not_make_a_sparse_array_are_refused(args: Any, words: str):
    with pytest.raises(ValueError) as caught:
        mxio.SparseArray(*args)
    assert words in str(caught.value)


@pytest.mark.parametrize("shape", [3, None, (1.5, 2), ("a",)])
def test_a_shape_is_ints(shape: Any):
    with pytest.raises(TypeError, match="shape is a sequence of int"):
        mxio.SparseArray("row_sparse", shape, ONE, ZERO)


# ---- values ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f4", "f2", "i1", "?", "c16", "S3", "M8[s]", ">f8"])
@pytest.mark.parametrize("index", ["i8", "i4", "u1", "u8", ">i2"])
def test_toarray_puts_every_item_in_its_place(dtype: str, index: str):
    for x in (csr(), rows(), rows((7,)), rows((3, 2, 2), (0, 2)), rows((4, 3), ()), rows((5, 0))):
        parts = {name: part.astype(index) for name, part in x.parts.items()}
        parts["data"] = x.data.astype("i8").astype(dtype)
        y = mxio.SparseArray(x.stype, x.shape, **parts)
        y.check()
        assert same(y.toarray(), dense_of(y))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_a_matrix_without_items_is_one(shape: tuple[int, int]):
    x = mxio.SparseArray("csr", shape, ONE[:0], ZERO[:0], np.zeros(shape[0] + 1, I64))
    x.check()
    assert same(x.toarray(), np.zeros(shape))


def changed(x: mxio.SparseArray, name: str, values: Any) -> mxio.SparseArray:
    return mxio.SparseArray(x.stype, x.shape, **(x.parts | {name: np.array(values)}))


HUGE = 2**63 - 1
NONSENSE: list[tuple[mxio.SparseArray, str]] = [
    (changed(csr(), "indices", [1, 4, 2]), "indices[1] is column 4 of an array of 4 columns"),
    (changed(csr(), "indices", [-1, 3, 2]), "indices[0] is column -1"),
    (changed(csr(), "indices", [1, HUGE, 2]), f"indices[1] is column {HUGE}"),
    (
        changed(csr(), "indices", np.array([1, 2**64 - 1, 2], "u8")),
        f"indices[1] is column {2**64 - 1}",
    ),
    (changed(csr(), "indices", [1.0, 3, 2]), "indices holds integers, not float64"),
    (changed(csr(), "indices", [True, False, True]), "indices holds integers, not bool"),
    (changed(csr(), "indptr", [1, 2, 2, 3]), "indptr starts with 0, not 1"),
    (changed(csr(), "indptr", [0, 2, 1, 3]), "indptr never falls, but indptr[1:3] are 2, 1"),
    (changed(csr(), "indptr", [0, -1, 2, 3]), "indptr[1] is -1, but 3 items are stored"),
    (changed(csr(), "indptr", [0, 2, 4, 3]), "indptr[2] is 4, but 3 items are stored"),
    (changed(csr(), "indptr", [0, HUGE, -HUGE - 1, 3]), f"indptr[1] is {HUGE}"),
    (changed(csr(), "indptr", np.array([0, 2**64 - 1, 2, 3], "u8")), f"indptr[1] is {2**64 - 1}"),
    (changed(csr(), "indptr", [0, 2, 2, 2]), "indptr ends with 2, but 3 items are stored"),
    (changed(csr(), "indptr", [0, 2, 3]), "indptr of 3 rows has 4 items, not 3"),
    (changed(csr(), "indptr", [0, 1, 2, 3, 3]), "indptr of 3 rows has 4 items, not 5"),
    (changed(csr(), "indptr", np.zeros(0, I64)), "indptr of 3 rows has 4 items, not 0"),
    (changed(csr(), "indptr", [0.0, 2, 2, 3]), "indptr holds integers, not float64"),
    (changed(rows(), "indices", [1, 5]), "indices[1] is row 5 of an array of 5 rows"),
    (changed(rows(), "indices", [-1, 4]), "indices[0] is row -1"),
    (changed(rows(), "indices", [1, 2**62]), f"indices[1] is row {2**62}"),
    (changed(rows(), "indices", ["a", "b"]), "indices holds integers, not <U1"),
]
TWICE = [
    (changed(csr(), "indices", [3, 3, 2]), "row 0, column 3 is stored twice"),
    (changed(rows(), "indices", [4, 4]), "row 4 is stored twice"),
]
UNORDERED = [
    (changed(csr(), "indices", [3, 1, 2]), "indices[0:2] are 3, 1 in row 0"),
    (changed(rows(), "indices", [4, 1]), "rows ascend, but indices[0:2] are 4, 1"),
]


@pytest.mark.parametrize(("x", "words"), NONSENSE, ids=lambda v: v if isinstance(v, str) else "")
def test_nonsense_is_named_and_never_gone_by(x: mxio.SparseArray, words: str):
    for method in (x.check, x.toarray):
        with pytest.raises(ValueError) as caught:
            method()
        assert words in str(caught.value)


@pytest.mark.parametrize(("x", "words"), TWICE)
def test_an_item_that_is_stored_twice_has_no_value(x: mxio.SparseArray, words: str):
    with pytest.raises(ValueError, match=words):
        x.toarray()
    with pytest.raises(ValueError, match="ascend"):
        x.check()


@pytest.mark.parametrize(("x", "words"), UNORDERED)
def test_items_out_of_order_are_found_but_do_no_harm(x: mxio.SparseArray, words: str):
    with pytest.raises(ValueError) as caught:
        x.check()
    assert words in str(caught.value)
    assert same(x.toarray(), dense_of(x))


def test_only_the_full_check_looks_at_values():
    for x, _ in UNORDERED + TWICE:
        x.check(full=False)
    changed(csr(), "indices", [1, 99, 2]).check(full=False)
    with pytest.raises(ValueError, match="indptr of 3 rows"):
        changed(csr(), "indptr", [0, 3]).check(full=False)


def test_a_dense_array_beyond_all_memory_is_not_tried():
    for shape in ((2**62, 2), (2**40, 2**40)):
        with pytest.raises((MemoryError, ValueError)):
            mxio.SparseArray("row_sparse", shape, np.ones((0, shape[1]), "S1"), ZERO[:0]).toarray()


# ---- to a file and back ------------------------------------------------------------------

SAVED: list[Callable[[], Any]] = [
    csr,
    rows,
    lambda: rows((6,)),
    lambda: rows((3, 2, 2)),
    lambda: rows((4, 3), ()),
    lambda: rows((0, 3), ()),
    lambda: rows((5, 0)),
    lambda: mxio.SparseArray("csr", (0, 0), ONE[:0], ZERO[:0], ZERO),
    lambda: mxio.SparseArray("csr", (2**62, HUGE), ONE[:0], ZERO[:0], ZERO[:0]),
    lambda: mxio.SparseArray("row_sparse", (3, 2), np.zeros((2, 2)), np.array([0, 2])),
    lambda: [csr(), rows()],
    lambda: (csr(),),
    lambda: {"w": csr(), "b": np.arange(3), "": rows()},
    lambda: {1: [rows(), {"a": (csr(index=np.int32), None, "x")}], "n": 2},
    *(lambda x=x: x for x, _ in NONSENSE + TWICE + UNORDERED),
]


@pytest.mark.parametrize("make", SAVED)
def test_it_comes_back_by_every_way(make: Callable[[], Any], tmp_path: Path):
    saved, path = make(), tmp_path / "x.mxio"
    mxio.save(path, saved)
    assert mxio.verify(path) == []
    for found in (mxio.load(path), mxio.load(path, mmap=True), mxio.loads(mxio.dumps(saved))):
        assert same(found, saved)
    read = reference.strict(path.read_bytes())
    assert same(read.object, saved)
    assert mxio.dumps(mxio.load(path)) == path.read_bytes()


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", "f2", "c8", "S5", "U2", "m8[us]", "bfloat16"])
def test_every_dtype_comes_back(dtype: str):
    kind = np.dtype(dtype if dtype != "bfloat16" else pytest.importorskip("ml_dtypes").bfloat16)
    for x in (csr(), rows((3, 2, 2))):
        y = changed(x, "data", x.data.astype("i8").astype(kind))
        assert same(mxio.loads(mxio.dumps([y]))[0], y)


def test_the_parts_are_entries_with_the_words_of_the_page():
    data = mxio.dumps({"a": {"w": csr()}, "r": rows()})
    with mxio.open(data) as f:
        assert list(f) == ["a/w/data", "a/w/indptr", "a/w/indices", "r/data", "r/indices"]
        assert f["a/w/indices"][1] == 3
        assert json.loads(f.index.structure) == {
            "tree": {
                "dict": [["a", {"dict": [["w", {"csr": [3, 4]}]]}], ["r", {"row_sparse": [5, 2]}]]
            }
        }
    assert list(mxio.load(data, ["r/indices"])) == ["r/indices"]
    assert list(mxio.open(mxio.dumps(csr()))) == ["data", "indptr", "indices"]
    assert list(mxio.open(mxio.dumps({"": rows()}))) == ["/data", "/indices"]
    assert list(mxio.open(mxio.dumps([rows()]))) == ["0/data", "0/indices"]


def test_a_name_that_a_part_needs_is_refused_to_others():
    for name in ("w/data", "w/indptr", "w/indices"):
        with pytest.raises(ValueError, match=f"two arrays get the name '{name}'"):
            mxio.dumps({"w": csr(), name: ONE})
    saved = {"w": csr(), "w/datum": ONE}
    assert same(mxio.loads(mxio.dumps(saved)), saved)


def test_a_hundred_containers_may_hold_one_and_no_more():
    deep: Any = csr()
    for _ in range(100):
        deep = [deep]
    assert same(mxio.loads(mxio.dumps(deep)), deep)
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        mxio.dumps([deep])


def test_indices_that_two_arrays_share_are_stored_once():
    indices = np.arange(50_000)
    data = mxio.dumps([mxio.SparseArray("row_sparse", (50_000,), indices, indices), indices])
    assert len(data) < 450_000
    assert same(mxio.loads(data)[1], indices)


def test_copying_a_file_keeps_what_is_sparse(tmp_path: Path):
    saved = {"w": csr("f8"), "r": rows((3, 2), (0, 2)), "b": np.arange(3.0)}
    mxio.save(tmp_path / "a", saved)
    mxio.copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    mxio.copy(tmp_path / "a", tmp_path / "c", dtype="float32")
    found = mxio.load(tmp_path / "c")
    assert same(found["w"], csr("f4"))
    assert found["b"].dtype == np.float32
    mxio.copy(tmp_path / "a", tmp_path / "d", format="mxnet")
    assert same(mxio.load(tmp_path / "d"), saved)


def test_a_flipped_bit_of_an_index_is_named():
    data = bytearray(mxio.dumps({"w": csr()}))
    with mxio.open(bytes(data)) as f:
        data[f.index["w/indices"].offset] ^= 1
    with pytest.raises(mxio.ChecksumError, match="w/indices"):
        mxio.loads(bytes(data))
    assert [damage.name for damage in mxio.verify(bytes(data))] == ["w/indices"]


# ---- files that an enemy wrote -----------------------------------------------------------


def part(name: str, *shape: int) -> Item:
    return Item(name, "int64", shape, b"\x01" * (8 * int(np.prod(shape))))


CSR = (part("data", 3), part("indptr", 4), part("indices", 3))
ROWS = (part("data", 2, 5), part("indices", 2))


@pytest.mark.parametrize(
    ("node", "items"),
    [
        *(({"csr": shape}, CSR) for shape in ([3], [3, 4, 5], [], 3, {}, "ab", None)),
        *(({"csr": shape}, CSR) for shape in ([3, -1], [3, 4.0], [3, True], [3, None])),
        *(({"csr": shape}, CSR) for shape in ([3, "4"], [3, [4]], [3, {"int": "0x4"}], [3, 2**63])),
        *(({"row_sparse": shape}, ROWS) for shape in ([], 3, [9, 4], [9], [9, 5, 1], [-9, 5])),
        ({"row_sparse": [2**63, 5]}, ROWS),
        ({"csr": [3, 4]}, CSR[:2]),
        ({"csr": [3, 4]}, (CSR[0], CSR[2], CSR[1])),
        ({"csr": [3, 4]}, (*CSR, part("more", 1))),
        ({"csr": [3, 4]}, (part("data", 3, 1), *CSR[1:])),
        ({"csr": [3, 4]}, (part("data"), *CSR[1:])),
        ({"csr": [3, 4]}, (part("data", 2), *CSR[1:])),
        ({"csr": [3, 4]}, (CSR[0], part("indptr", 4, 1), CSR[2])),
        ({"csr": [3, 4]}, (CSR[0], part("indptr"), CSR[2])),
        ({"csr": [3, 4]}, (*CSR[:2], part("indices", 3, 1))),
        ({"csr": [3, 4]}, (*CSR[:2], part("indices"))),
        ({"csr": [3, 4]}, (Item("w/data", "int64", (0,)), *CSR[1:])),
        ({"csr": [3, 4], "row_sparse": [3, 4]}, CSR),
        ({"list": [{"csr": [3, 4]}]}, CSR),
        ({"dict": [[{"csr": [3, 4]}, 1]]}, CSR),
        ({"row_sparse": [9, 5]}, (ROWS[0], part("indices", 3))),
        ({"row_sparse": [9, 5]}, (ROWS[0], part("indices", 2, 1))),
        ({"row_sparse": [9, 5]}, (ROWS[0], part("indptr", 2))),
        ({"row_sparse": [9]}, (part("data"), part("indices"))),
    ],
)
def test_a_structure_that_the_parts_do_not_bear_out_is_refused(node: Any, items: Any):
    data = Craft(list(items), {"tree": node}).build()
    with pytest.raises((reference.Invalid, reference.Unsupported)):
        reference.read(data)
    with pytest.raises(FormatError) as caught:
        mxio.loads(data)
    assert len(str(caught.value)) < 300
    assert len(mxio.verify(data)) == 1
    with mxio.open(data) as f:  # its parts are there all the same
        assert len(f.read()) == len(items)


def test_what_stands_for_the_cases_above_is_a_valid_file():
    assert mxio.loads(Craft(list(CSR), {"tree": {"csr": [3, 4]}}).build()).stype == "csr"
    found = mxio.loads(Craft(list(ROWS), {"tree": {"row_sparse": [9, 5]}}).build())
    assert found.shape == (9, 5)


def test_every_change_of_a_byte_is_refused_or_means_something_else():
    saved = {"a": [csr(), 1.5], 1: rows(), "b": ONE}
    names, arrays, structure = flatten(saved, lambda _: False)
    for at in range(len(structure)):
        for byte in b' "0-1[]{}:,ar.\\\xff':
            other = bytearray(structure)
            other[at] = byte
            try:
                found = unflatten(bytes(other), names, arrays)
            except (FormatError, mxio.UnsupportedError):
                continue
            again = flatten(found, lambda _: False)
            assert (again[0], again[2]) == (names, bytes(other))
            assert all(a is b for a, b in zip(again[1], arrays, strict=True))


def test_random_trees_come_back():
    hypothesis, st = pytest.importorskip("hypothesis"), pytest.importorskip("hypothesis.strategies")
    leaves = st.sampled_from([csr(), rows(), rows((3, 2, 2)), rows((0, 3), ()), ONE, None, 1.5])
    trees = st.recursive(
        leaves,
        lambda node: (
            st.lists(node, max_size=3)
            | st.lists(node, max_size=3).map(tuple)
            | st.dictionaries(st.sampled_from(["", "a", "data", 0, True]), node, max_size=3)
        ),
        max_leaves=12,
    )

    @hypothesis.given(trees)
    @hypothesis.settings(max_examples=200, deadline=None)
    def check(saved: object) -> None:
        try:
            names, arrays, structure = flatten(saved, lambda _: False)
        except ValueError as exc:
            hypothesis.assume("two arrays" not in str(exc))
            raise
        found = unflatten(structure, names, arrays)
        assert same(found, saved)
        assert flatten(found, lambda _: False)[::2] == (names, structure)

    check()


# ---- other people's ----------------------------------------------------------------------


class Theirs:
    """MXNet's sparse array: parts that give their values to asnumpy alone."""

    class Part:
        def __init__(self, values: np.ndarray[Any, Any]) -> None:
            self.values = values
            self.shape, self.dtype = values.shape, values.dtype.type

        def asnumpy(self) -> np.ndarray[Any, Any]:
            return self.values

    def __init__(self, x: mxio.SparseArray) -> None:
        self.stype, self.shape, self.dtype = x.stype, x.shape, x.dtype.type
        for name, values in x.parts.items():
            setattr(self, name, self.Part(values))

    def asnumpy(self) -> None:
        raise AssertionError("made dense")


@pytest.mark.parametrize("make", [csr, rows])
def test_mxnets_are_saved_as_their_parts(make: Callable[[], mxio.SparseArray]):
    assert same(mxio.loads(mxio.dumps(Theirs(make()))), make())
    assert same(mxio.loads(mxio.dumps({"a": [Theirs(make())]})), {"a": [make()]})


def test_one_whose_parts_do_not_fit_is_named():
    broken = Theirs(csr())
    broken.indices = Theirs.Part(np.zeros(2, I64))
    with pytest.raises(TypeError, match=r"^'a/0': cannot save a .*Theirs: .*3 items in data"):
        mxio.dumps({"a": [broken]})
    with pytest.raises(TypeError, match=r"^cannot save a .*Theirs: its parts"):
        mxio.dumps(broken)


def test_scipys_csr_is_saved_as_it_is():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    theirs = scipy_sparse.random(50, 30, 0.1, "csr", rng=np.random.default_rng(1))
    unordered = scipy_sparse.csr_matrix(([1.0, 2, 3], [2, 0, 0], [0, 3, 3]), shape=(2, 3))
    for x in (theirs, scipy_sparse.csr_array(theirs), theirs.astype("i1"), unordered):
        found = mxio.loads(mxio.dumps({"w": x, "n": 1}))["w"]
        assert (found.stype, found.shape) == ("csr", x.shape)
        for name in PARTS["csr"]:
            assert same(found.parts[name], getattr(x, name))
    assert same(mxio.loads(mxio.dumps(theirs)).toarray(), theirs.toarray())


def test_room_that_scipy_keeps_behind_the_items_is_not_saved():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    x = scipy_sparse.csr_matrix(np.eye(3))
    x.data, x.indices = np.append(x.data, [9.0, 9]), np.append(x.indices, [9, 9]).astype("i4")
    found = mxio.loads(mxio.dumps(x))
    assert found.nnz == 3
    assert same(found.toarray(), np.eye(3))


@pytest.mark.parametrize("form", ["csc", "coo", "bsr", "lil", "dok", "dia"])
def test_scipys_other_forms_are_refused_with_the_way_out(form: str):
    scipy_sparse = pytest.importorskip("scipy.sparse")
    for x in (scipy_sparse.csr_matrix((3, 2)), scipy_sparse.csr_array(np.eye(3))):
        with pytest.raises(TypeError, match=r"^'a/w': cannot save a .*; use \.tocsr\(\)$"):
            mxio.dumps({"a": {"w": x.asformat(form)}, "n": 1})


def test_scipys_sparse_vectors_are_refused_also_beside_a_matrix():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    vector = scipy_sparse.coo_array(np.ones(3))
    with pytest.raises(TypeError, match=r"use \.toarray\(\)$"):
        mxio.dumps(vector)
    if not hasattr(vector, "tocsr"):
        return
    try:
        vector = vector.tocsr()
    except ValueError:  # an older SciPy
        return
    for saved in ([vector], [scipy_sparse.csr_array(np.eye(2)), vector]):
        with pytest.raises(TypeError, match=r"use \.toarray\(\)$"):
            mxio.dumps(saved)


def test_saving_imports_no_other_library():
    import subprocess
    import sys

    code = (
        "import sys, mxio, numpy as np;"
        "x = mxio.SparseArray('row_sparse', (3,), np.ones(1), np.zeros(1, int));"
        "mxio.loads(mxio.dumps([x, 1]))[0].toarray();"
        "assert not {'scipy', 'mxnet', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
