# SPDX-License-Identifier: Apache-2.0
"""nd.sparse speaks MXNet: results and messages measured with MXNet 1.9.1.

Where mxio means to differ, the test's docstring says so.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio
from mxio import nd
from mxio.context import cpu, gpu
from mxio.nd import sparse

DENSE = np.array([[0, 1, 0], [0, 0, 0], [2, 0, 3]])
F4 = DENSE.astype("f4")


def same(a: Any, b: Any) -> bool:
    """Equal in class, context, shape and the bits of the parts; or equal NDArrays, or None."""
    if isinstance(a, nd.NDArray) and isinstance(b, nd.NDArray):
        return (a.context, a.dtype, a.shape, a.tobytes()) == (
            *(b.context, b.dtype, b.shape, b.tobytes()),
        )
    if a is None or type(a) is not type(b):
        return a is b
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    parts = (a.parts[name] for name in a.parts), (b.parts[name] for name in a.parts)
    return a.shape == b.shape and all(map(same, *parts))


def lists(x: Any) -> tuple[Any, ...]:
    """Shape, dtype and the values of the parts of a sparse array."""
    assert all(type(part) is nd.NDArray for part in x.parts.values())
    assert {part.dtype for name, part in x.parts.items() if name != "data"} == {np.dtype("i8")}
    return (x.shape, x.dtype.name, *(part.tolist() for part in x.parts.values()))


# ---- making them -------------------------------------------------------------------------

CSR = ([1, 2, 3], [0, 1, 1, 3], [1, 0, 2])  # data, indptr, indices of DENSE
PARTS = ([1, 2, 3], [1, 0, 2], [0, 1, 1, 3])  # as csr_matrix takes them
ROWS = ([[0, 1, 0], [2, 0, 3]], [0, 2])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: sparse.csr_matrix(DENSE), ((3, 3), "int64", *CSR)),
        (lambda: sparse.csr_matrix(DENSE.astype("f8")), ((3, 3), "float64", *CSR)),
        (lambda: sparse.csr_matrix(DENSE.tolist()), ((3, 3), "float32", *CSR)),
        (lambda: sparse.csr_matrix(nd.array(DENSE)), ((3, 3), "float32", *CSR)),
        (lambda: sparse.csr_matrix(DENSE, dtype="int32"), ((3, 3), "int32", *CSR)),
        (lambda: sparse.csr_matrix((2, 3)), ((2, 3), "float32", [], [0, 0, 0], [])),
        (lambda: sparse.csr_matrix((2, 3), dtype="i1"), ((2, 3), "int8", [], [0, 0, 0], [])),
        (lambda: sparse.csr_matrix(PARTS), ((3, 3), "float32", *CSR)),
        (lambda: sparse.csr_matrix(PARTS, shape=(3, 5)), ((3, 5), "float32", *CSR)),
        (lambda: sparse.csr_matrix(PARTS, shape=(3, 2)), ((3, 2), "float32", *CSR)),
        (lambda: sparse.csr_matrix(PARTS, shape=(5, 3)), ((5, 3), "float32", *CSR)),
        (lambda: sparse.csr_matrix((np.array([1, 2, 3]), *PARTS[1:])), ((3, 3), "int64", *CSR)),
        (lambda: sparse.csr_matrix(tuple(map(nd.array, PARTS))), ((3, 3), "float32", *CSR)),
        (lambda: sparse.csr_matrix(PARTS, dtype="f2"), ((3, 3), "float16", *CSR)),
        (lambda: sparse.csr_matrix(([1, 2, 3], ([0, 2, 2], [1, 0, 2]))), ((3, 3), "int64", *CSR)),
        (
            lambda: sparse.csr_matrix(([1, 2, 3], ([0, 2, 2], [1, 0, 2])), shape=(4, 4)),
            ((4, 4), "int64", [1, 2, 3], [0, 1, 1, 3, 3], [1, 0, 2]),
        ),
        (
            lambda: sparse.csr_matrix((np.array([1.0, 2, 3]), ([2, 0, 2], [1, 0, 1]))),
            ((3, 2), "float64", [2, 4], [0, 1, 1, 2], [0, 1]),
        ),
        (lambda: sparse.csr_matrix(sparse.csr_matrix(F4)), ((3, 3), "float32", *CSR)),
        (lambda: sparse.csr_matrix(sparse.csr_matrix(F4), dtype="f8"), ((3, 3), "float64", *CSR)),
        (lambda: sparse.csr_matrix(np.zeros((0, 3))), ((0, 3), "float64", [], [0], [])),
        (lambda: nd.array(DENSE).tostype("csr"), ((3, 3), "float32", *CSR)),
        (lambda: nd.cast_storage(nd.array(DENSE), "csr"), ((3, 3), "float32", *CSR)),
        (lambda: sparse.row_sparse_array(DENSE), ((3, 3), "int64", *ROWS)),
        (lambda: sparse.row_sparse_array(DENSE.tolist()), ((3, 3), "float32", *ROWS)),
        (lambda: sparse.row_sparse_array(nd.array(DENSE)), ((3, 3), "float32", *ROWS)),
        (lambda: nd.array(DENSE).tostype("row_sparse"), ((3, 3), "float32", *ROWS)),
        (lambda: sparse.row_sparse_array(DENSE[0]), ((3,), "int64", [1], [1])),
        (
            lambda: sparse.row_sparse_array(np.ones((2, 1, 2))),
            ((2, 1, 2), "float64", [[[1, 1]], [[1, 1]]], [0, 1]),
        ),
        (lambda: sparse.row_sparse_array((2, 3)), ((2, 3), "float32", [], [])),
        (lambda: sparse.row_sparse_array((2, 3, 4)), ((2, 3, 4), "float32", [], [])),
        (lambda: sparse.row_sparse_array((2, 3), shape=(2, 3)), ((2, 3), "float32", [], [])),
        (lambda: sparse.row_sparse_array(ROWS), ((3, 3), "float32", *ROWS)),
        (lambda: sparse.row_sparse_array(ROWS, shape=(6, 3)), ((6, 3), "float32", *ROWS)),
        (lambda: sparse.row_sparse_array(ROWS, shape=(1, 3)), ((1, 3), "float32", *ROWS)),
        (lambda: sparse.row_sparse_array(([1, 2], [4, 2])), ((5,), "float32", [1, 2], [4, 2])),
        (lambda: sparse.row_sparse_array((np.ones((1, 2)), [1.0])), None),
        (lambda: sparse.row_sparse_array(sparse.row_sparse_array(F4)), ((3, 3), "float32", *ROWS)),
        (lambda: sparse.zeros("csr", (2, 3)), ((2, 3), "float32", [], [0, 0, 0], [])),
        (lambda: nd.zeros((2, 3), stype="csr"), ((2, 3), "float32", [], [0, 0, 0], [])),
        (lambda: sparse.empty("row_sparse", (2, 3)), ((2, 3), "float32", [], [])),
        (lambda: sparse.zeros("row_sparse", (2, 3), dtype="int8"), ((2, 3), "int8", [], [])),
        (lambda: sparse.array(sparse.csr_matrix(F4)), ((3, 3), "float32", *CSR)),
        (lambda: nd.array(sparse.row_sparse_array(F4)), ((3, 3), "float32", *ROWS)),
    ],
)
def test_every_argument_of_mxnet_gives_what_it_gives_there(make: Any, expected: Any):
    """Without a shape, (data, indices) has rows for the largest index; MXNet, for the last."""
    x = make()
    if expected is not None:
        assert lists(x) == expected
    assert type(x).__name__ == {"csr": "CSRNDArray", "row_sparse": "RowSparseNDArray"}[x.stype]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: sparse.csr_matrix(DENSE[0]), ValueError, "should be 2 Dimensional. Current shape"),
        (lambda: sparse.csr_matrix(None), ValueError, "should be 2 Dimensional"),
        (lambda: sparse.csr_matrix((1, 2, 3)), ValueError, "2 dimensions, not 3"),
        (lambda: sparse.csr_matrix(([1], [0], [0, 1], [])), ValueError, "length of input tuple: 4"),
        (lambda: sparse.csr_matrix(([1, 2], [0], [0, 1])), ValueError, "2 items in data, but 1"),
        (lambda: sparse.csr_matrix(([1], ([0], [7])), (1, 7)), ValueError, "column 7 is not one"),
        (lambda: sparse.csr_matrix(([1], ([-1], [0])), (1, 7)), ValueError, "row -1 is not one"),
        (lambda: sparse.csr_matrix(([1], ([0, 1], [0]))), ValueError, "1 items in data, 2 rows"),
        (lambda: sparse.csr_matrix(([1], [0])), ValueError, "a tuple of two is"),
        (lambda: sparse.csr_matrix(([], [], [0])), ValueError, "give shape="),
        (lambda: sparse.csr_matrix(DENSE, (2, 2)), ValueError, "Shape mismatch"),
        (lambda: sparse.csr_matrix(sparse.csr_matrix(F4), (4, 4)), ValueError, "Shape mismatch"),
        (lambda: sparse.csr_matrix(sparse.row_sparse_array(F4)), ValueError, "RowSparseNDArray"),
        (lambda: sparse.csr_matrix("x"), TypeError, "must be array like"),
        (lambda: sparse.row_sparse_array(5), ValueError, "1 dimension or more"),
        (lambda: sparse.row_sparse_array((2,)), ValueError, "length of input tuple: 1"),
        (lambda: sparse.row_sparse_array((2, 3), (2, 4)), ValueError, "Shape mismatch"),
        (lambda: sparse.row_sparse_array(ROWS, (6, 4)), ValueError, "data has rows of shape (3,)"),
        (lambda: sparse.row_sparse_array(([[1]], [1.7])), ValueError, "integers, not 1.7"),
        (lambda: sparse.row_sparse_array(([[1]], ["a"])), TypeError, "integers, not <U1"),
        (lambda: sparse.row_sparse_array(([[1]], [np.nan])), ValueError, "integers, not nan"),
        (lambda: sparse.row_sparse_array(sparse.csr_matrix(F4)), ValueError, "CSRNDArray"),
        (lambda: sparse.zeros("coo", (2, 3)), ValueError, "no storage type 'coo'"),
        (lambda: sparse.zeros("csr", (2,)), ValueError, "2 dimensions, not 1"),
        (lambda: sparse.zeros("row_sparse", ()), ValueError, "1 dimension or more"),
        (lambda: sparse.array(DENSE), ValueError, "use nd.array for dense"),
        (lambda: nd.array(DENSE[0]).tostype("csr"), ValueError, "should be 2 Dimensional"),
        (lambda: nd.array(DENSE).tostype("x"), ValueError, "no storage type 'x'"),
    ],
)
def test_what_makes_no_sparse_array_is_refused(make: Any, error: type, words: str):
    with pytest.raises(error) as caught:
        make()
    assert words in str(caught.value)


def test_everything_is_copied():
    data, indices = np.ones((1, 2)), np.array([1])
    x = sparse.row_sparse_array((data, indices), shape=(3, 2))
    data[...], indices[...] = 5, 2
    assert lists(x) == ((3, 2), "float64", [[1, 1]], [1])
    y = sparse.row_sparse_array(x)
    y.data[...] = 7
    assert lists(x) == ((3, 2), "float64", [[1, 1]], [1])


def test_not_a_number_is_stored_and_a_negative_zero_is_not():
    x = sparse.csr_matrix(np.array([[np.nan, -0.0], [np.inf, 0]]))
    assert x.indices.tolist() == [0, 0]
    assert sparse.row_sparse_array(np.array([[-0.0], [np.nan]])).indices.tolist() == [1]


# ---- what they do ------------------------------------------------------------------------


def test_they_print_as_in_mxnet():
    x = sparse.row_sparse_array(([[1, 2]], [0]), shape=(3, 2))
    assert repr(x) == str(x) == "\n<RowSparseNDArray 3x2 @cpu(0)>"
    assert repr([sparse.zeros("csr", (2, 2), gpu(1))]) == "[\n<CSRNDArray 2x2 @gpu(1)>]"


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.row_sparse_array])
def test_the_interface_of_mxnet(make: Any):
    """`size` is the number of items here; MXNet has none."""
    x = make(F4)
    assert (x.shape, x.ndim, x.size, len(x)) == ((3, 3), 2, 9, 3)
    assert x.context == x.ctx == cpu(0)
    assert x.asnumpy().tolist() == DENSE.tolist()
    assert type(x.asnumpy()) is np.ndarray
    dense = x.tostype("default")
    assert same(dense, nd.array(F4))
    assert same(x.tostype(x.stype), x)
    assert x.tostype(x.stype) is not x
    other = "csr" if x.stype == "row_sparse" else "row_sparse"
    with pytest.raises(ValueError, match=f"cast_storage from {x.stype} to {other} is not"):
        x.tostype(other)
    with pytest.raises(ValueError, match="no storage type 'zzz'"):
        x.tostype("zzz")
    assert x.astype("float32", copy=False) is x
    assert x.astype("float32") is not x
    assert x.astype("int32").dtype == np.int32
    assert x.astype("int32").asnumpy().tolist() == DENSE.tolist()
    assert x.as_in_context(cpu(0)) is x
    assert x.as_in_context(gpu(1)).context == gpu(1)
    assert x.copyto(gpu(2)).data.context == gpu(2)
    with pytest.raises(ValueError, match="truth value"):
        bool(x)
    assert x.wait_to_read() is None
    assert x.check_format() is None


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.row_sparse_array])
def test_copies_share_no_memory(make: Any):
    x = make(F4)
    copies = (x.copy(), copy.deepcopy(x), x.tostype(x.stype), x.copyto(cpu(0)), x.astype("f4"))
    for y in (*copies, pickle.loads(pickle.dumps(x))):
        assert same(x, y)
        for name, part in x.parts.items():
            assert not np.shares_memory(part, y.parts[name])


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.row_sparse_array])
def test_copyto_writes_into_another_array(make: Any):
    x, dense = make(F4), nd.zeros((3, 3), dtype="int32")
    assert x.copyto(dense) is dense
    assert dense.tolist() == DENSE.tolist()
    other = sparse.zeros(x.stype, (3, 3), gpu(1), "float64")
    assert x.copyto(other) is other
    assert (other.dtype, other.context) == (np.float64, gpu(1))
    assert other.asnumpy().tolist() == DENSE.tolist()
    for wrong in (nd.zeros((2, 3)), sparse.zeros(x.stype, (2, 3))):
        with pytest.raises(ValueError, match="cannot copy shape"):
            x.copyto(wrong)
    with pytest.raises(TypeError, match="copyto does not support"):
        x.copyto([1])


def test_the_parts_are_the_array_itself():
    x = sparse.csr_matrix(F4)
    x.data[0] = 7
    x.indices[0] = 2
    assert x.asnumpy().tolist() == [[0, 0, 7], [0, 0, 0], [2, 0, 3]]


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (sparse.csr_matrix(([1, 2, 3], [1, 0, 5], [0, 1, 1, 3]), (3, 3)), "is column 5"),
        (sparse.csr_matrix(([1, 2, 3], [1, 2, 0], [0, 1, 1, 3]), (3, 3)), "columns ascend"),
        (sparse.csr_matrix(([1, 2, 3], [1, 2, 2], [0, 1, 1, 3]), (3, 3)), "columns ascend"),
        (sparse.csr_matrix(([1, 2, 3], [1, 0, -2], [0, 1, 1, 3]), (3, 3)), "is column -2"),
        (sparse.csr_matrix(([1, 2, 3], [1, 0, 2], [0, 2, 1, 3]), (3, 3)), "indptr never falls"),
        (sparse.csr_matrix(([1, 2, 3], [1, 0, 2], [1, 2, 2, 3]), (3, 3)), "indptr starts with 0"),
        (sparse.csr_matrix(([1, 2, 3], [1, 0, 2], [0, 2, 2, 2]), (3, 3)), "indptr ends with 2"),
        (sparse.row_sparse_array(([[1, 2], [3, 4]], [4, 2]), (6, 2)), "rows ascend"),
        (sparse.row_sparse_array(([[1, 2], [3, 4]], [2, 2]), (6, 2)), "rows ascend"),
        (sparse.row_sparse_array(([[1, 2], [3, 4]], [2, 9]), (6, 2)), "is row 9"),
        (sparse.row_sparse_array(([[1, 2], [3, 4]], [-2, 5]), (6, 2)), "is row -2"),
    ],
)
def test_check_format_finds_what_mxnet_finds(x: Any, words: str):
    with pytest.raises(ValueError, match=words):
        x.check_format()
    assert x.check_format(False) is None
    with pytest.raises(ValueError, match=r"indptr of 3 rows has 4 items, not 3"):
        sparse.csr_matrix(([1, 2, 3], [1, 0, 2], [0, 2, 3]), (3, 3)).check_format(False)


def test_scipys_matrices_go_in_and_come_out():
    """MXNet takes csr only; here what has a tocsr."""
    scipy_sparse = pytest.importorskip("scipy.sparse")
    theirs = scipy_sparse.csr_matrix(DENSE.astype("f8"))
    for x in (theirs, theirs.tocoo(), theirs.tocsc(), scipy_sparse.csr_array(theirs)):
        for make in (sparse.csr_matrix, sparse.array, nd.array):
            assert lists(make(x)) == ((3, 3), "float64", *CSR)
    assert sparse.csr_matrix(theirs, dtype="float32").dtype == np.float32
    ours = sparse.csr_matrix(theirs)
    assert isinstance(ours.asscipy(), scipy_sparse.csr_matrix)
    assert ours.asscipy().toarray().tolist() == DENSE.tolist()
    assert np.shares_memory(ours.asscipy().data, ours.data)
    with pytest.raises(TypeError, match="use csr_matrix"):
        sparse.row_sparse_array(theirs)


def test_asscipy_without_scipy_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        sparse.csr_matrix(F4).asscipy()


# ---- files -------------------------------------------------------------------------------


def arrays() -> tuple[Any, Any, Any]:
    return sparse.csr_matrix(F4), sparse.row_sparse_array(F4), nd.array(F4)


@pytest.mark.parametrize("mmap", [False, True])
def test_nd_saves_and_loads_them(tmp_path: Path, mmap: bool):
    path = tmp_path / "x"
    c, r, d = arrays()
    for saved in ([c, r, d], [r], {"c": c, "d": d, "r": r}, {"w": c}):
        nd.save(path, saved)
        assert same(nd.load(path, mmap=mmap), saved)
    for single in (c, r):
        nd.save(path, single)
        assert same(nd.load(path, mmap=mmap), [single])
        assert same(nd.load_frombuffer(path.read_bytes()), [single])


def test_plain_sparse_arrays_are_saved_too(tmp_path: Path):
    x = mxio.SparseArray("row_sparse", (3, 2), np.ones((1, 2)), np.array([1], "i4"))
    nd.save(tmp_path / "x", [x])
    (found,) = nd.load(tmp_path / "x")
    assert lists(found) == ((3, 2), "float64", [[1, 1]], [1])
    assert mxio.load(tmp_path / "x")[0].indices.dtype == np.int32


def test_mxio_saves_them_as_what_they_are():
    c, r, d = arrays()
    found = mxio.loads(mxio.dumps({"a": [c, {"r": r}], "d": d}))
    assert type(found["a"][0]) is mxio.SparseArray
    assert type(found["a"][0].data) is np.ndarray
    assert found["a"][0].toarray().tolist() == DENSE.tolist()
    assert found["a"][1]["r"].toarray().tolist() == DENSE.tolist()


def test_a_tree_with_sparse_arrays_is_more_than_nd_can_express(tmp_path: Path):
    mxio.save(tmp_path / "x", [[sparse.csr_matrix(F4)]])
    with pytest.raises(mxio.UnsupportedError, match="more than nd can express"):
        nd.load(tmp_path / "x")


def test_none_comes_through_but_is_not_saved(tmp_path: Path):
    d = nd.array(F4)
    for saved in ([None, F4], {"a": None, "b": F4}, [None]):
        mxio.save(tmp_path / "x", saved)
        expected = (
            {k: v if v is None else d for k, v in dict(saved).items()}
            if isinstance(saved, dict)
            else [v if v is None else d for v in saved]
        )
        assert same(nd.load(tmp_path / "x"), expected)
        with pytest.raises(TypeError, match="NoneType"):
            nd.save(tmp_path / "y", saved)
    with pytest.raises(ValueError, match="not NoneType"):
        nd.save(tmp_path / "y", None)
    assert not (tmp_path / "y").exists()


def test_loaded_arrays_share_no_memory(tmp_path: Path):
    indices, data = np.array([0, 2]), np.ones((2, 3), "f4")
    x = mxio.SparseArray("row_sparse", (3, 3), data, indices)
    y = mxio.SparseArray("row_sparse", (4, 3), data, indices)
    nd.save(tmp_path / "x", {"x": x, "y": y, "data": data, "again": x})
    found = nd.load(tmp_path / "x")
    found["x"].data[...] = 5
    found["x"].indices[...] = 1
    assert lists(found["y"]) == ((4, 3), "float32", data.tolist(), [0, 2])
    assert lists(found["again"]) == ((3, 3), "float32", data.tolist(), [0, 2])
    assert found["data"].tolist() == data.tolist()


def test_nonsense_loads_and_check_format_finds_it(tmp_path: Path):
    nd.save(tmp_path / "x", sparse.row_sparse_array(([[1.0]], [9]), shape=(2, 1)))
    (x,) = nd.load(tmp_path / "x")
    with pytest.raises(ValueError, match="is row 9 of an array of 2 rows"):
        x.check_format()
    mxio.save(
        tmp_path / "x", [mxio.SparseArray("row_sparse", (2,), np.ones(1), np.array([0.5], "f4"))]
    )
    (x,) = nd.load(tmp_path / "x")
    assert x.indices.dtype == np.float32
    with pytest.raises(ValueError, match="indices holds integers"):
        x.asnumpy()


def test_loading_labels_every_array_alike(tmp_path: Path):
    nd.save(tmp_path / "x", list(arrays()))
    with gpu(3):
        assert {x.context for x in nd.load(tmp_path / "x")} == {cpu(0)}
        assert sparse.csr_matrix(F4).context == gpu(3)
