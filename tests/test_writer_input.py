# SPDX-License-Identifier: Apache-2.0
"""What a Writer refuses: in a sentence that names the array, and nothing has changed by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

import mxio

Array: TypeAlias = "np.ndarray[Any, Any]"
Work: TypeAlias = "Callable[[mxio.Writer], object]"


def begun(path: Path, is_committed: bool) -> tuple[mxio.Writer, dict[str, Array]]:
    """A writer with an array of each kind."""
    w = mxio.Writer(path, sync=False, metadata={"k": 1})
    model: dict[str, Array] = {
        "rows": np.arange(20.0).reshape(5, 4),
        "item": np.array(3, "i4"),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": np.zeros((0, 3)),
        "grid": np.zeros((10, 6), "f4"),
        "large": np.arange(40_000),
    }
    for name, array in model.items():
        if name == "rows":
            w.append(name, array)
        elif name == "grid":
            w.create(name, array.shape, array.dtype)
        else:
            w[name] = array
    if is_committed:
        w.commit()
    return w, model


def goes_on(w: mxio.Writer, model: dict[str, Array]) -> None:
    """Write on, to each array, close, and compare with what is in the file then."""
    assert list(w) == sorted(w) or sorted(w) == sorted(model)
    w.append("rows", np.ones((2, 4)))
    model["rows"] = np.concatenate([model["rows"], np.ones((2, 4))])
    w["grid"][3:5, ::2] = 7
    model["grid"][3:5, ::2] = 7
    w["fortran"][:, 1] = model["fortran"][:, 1] = 8
    w["large"][-5:] = model["large"][-5:] = 9
    w["new"] = model["new"] = np.arange(3, dtype="u1")
    w.append("more", np.zeros((1, 2)))
    model["more"] = np.zeros((1, 2))
    path = w.path
    assert isinstance(path, str)
    w.close()
    assert mxio.verify(path) == []
    loaded = mxio.load(path)
    assert sorted(loaded) == sorted(model)
    for name, array in model.items():
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
        assert loaded[name].tobytes() == array.tobytes(), name
    with mxio.open(path) as f:
        assert f.metadata == {"k": 1}


def assign(name: Any, array: Any) -> Work:
    return lambda w: w.__setitem__(name, array)


def append(name: Any, rows: Any) -> Work:
    return lambda w: w.append(name, rows)


def create(name: Any, shape: Any, dtype: Any) -> Work:
    return lambda w: w.create(name, shape, dtype)


def region(name: str, where: Any, value: Any = 0) -> Work:
    return lambda w: w[name].__setitem__(where, value)


def commits_with(key: Any, value: Any) -> Work:
    def work(w: mxio.Writer) -> None:
        w.metadata[key] = value
        try:
            w.commit()
        finally:
            del w.metadata[key]

    return work


def sparse(w: mxio.Writer) -> None:
    module = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    w["s"] = module.csr_matrix(np.eye(3))


def sparse_rows(w: mxio.Writer) -> None:
    module = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    w.append("s", module.csr_matrix(np.eye(3)))


OWN = "a writer takes arrays, not an? {}: plain values go into its metadata"
STRUCT = np.array([(1, 2)], "i4,f4")
MASKED = np.ma.masked_array([1, 2], [False, True])

CASES: dict[str, tuple[Work, type[Exception], str]] = {
    # regions
    "behind the end": (region("grid", 10), IndexError, "index 10 is out of bounds .* 'grid'"),
    "before": (region("grid", (0, -7)), IndexError, "index -7 is out of bounds for axis 1"),
    "too many": (region("grid", (0, 0, 0)), IndexError, "too many indices for 'grid': it has 2"),
    "of an item": (region("item", 0), IndexError, "too many indices for 'item': it has 0"),
    "of none": (region("empty", 0), IndexError, "index 0 is out of bounds .* 'empty' with size 0"),
    "block": (
        region("grid", np.s_[:3], np.zeros((2, 6))),
        ValueError,
        r"'grid', a region of shape \(3, 6\): could not broadcast .* \(2,6\)",
    ),
    "no numbers": (region("grid", 0, "abc"), ValueError, "'grid', a region of shape .*'abc'"),
    "bools": (region("grid", np.ones(10, bool)), IndexError, "'grid' is made of integers and sl"),
    "integers": (region("grid", [1, 2]), IndexError, "'grid' is made of integers and slices"),
    "a float": (region("grid", 1.5), IndexError, "'grid' takes integers, slices.*not float"),
    "a str": (region("grid", "a"), IndexError, "'grid' takes integers, slices.*not str"),
    "ellipses": (region("grid", (..., ...)), IndexError, "only have one ellipsis"),
    "nobody's": (region("nobody", 0), mxio.EntryError, r"no array 'nobody' in .*w\.create\("),
    # rows
    "shape": (append("rows", np.zeros((2, 5))), mxio.EntryError, r"'rows' .*\(n, 4\), not \(2, 5"),
    "one row": (append("rows", np.zeros(4)), mxio.EntryError, r"not \(4,\): one row is x\[None\]"),
    "a number": (append("rows", np.array(1.0)), mxio.EntryError, r"'rows' .*\(n, 4\), not \(\)"),
    "no array": (append("rows", 1.0), TypeError, "'rows': rows are an array, not a float"),
    "None": (append("rows", None), TypeError, "'rows': rows are an array, not a NoneType"),
    "dtype": (append("rows", np.zeros((2, 4), "f4")), mxio.EntryError, "float64, not float32"),
    "list's dtype": (append("rows", [[1, 2, 3, 4]]), mxio.EntryError, "are float64, not int64"),
    "to an item": (append("item", np.zeros(1, "i4")), ValueError, "'item' has no axis along which"),
    "to fortran": (
        append("fortran", np.zeros((1, 3))),
        ValueError,
        "Fortran order.*assign it anew",
    ),
    "to grid": (append("grid", np.zeros((1, 6))), mxio.EntryError, "'grid' are float32, not flo"),
    "new, a number": (append("n", np.array(1.0)), mxio.EntryError, r"'n' have the shape \(n, …\)"),
    "new, objects": (append("n", np.array([object()])), TypeError, "'n': cannot save dtype object"),
    "new, no rows": (append("n", "abc"), TypeError, "'n': rows are an array, not a str"),
    "sparse rows": (sparse_rows, TypeError, "'s': rows are an array, not a scipy.sparse"),
    # names
    **{
        f"{what} of {kind}": (work, error, message)
        for kind, name, error, message in [
            ("a NUL", "a\0b", ValueError, r"'a\\x00b': a name cannot hold a NUL"),
            ("a surrogate", "\ud800", ValueError, r"'\\ud800': a name cannot hold a lone surrog"),
            ("many bytes", "ä" * 32_768, ValueError, "has at most 65535 bytes of UTF-8, not 65536"),
            ("a number", 5, TypeError, "a name is a str, not int"),
            ("bytes", b"x", TypeError, "a name is a str, not bytes"),
        ]
        for what, work in [
            ("assigning", assign(name, np.zeros(2))),
            ("appending", append(name, np.zeros(2))),
            ("creating", create(name, (2,), "f4")),
        ]
    },
    # arrays
    "int": (assign("v", 3), TypeError, OWN.format("int")),
    "float": (assign("v", 2.5), TypeError, OWN.format("float")),
    "text": (assign("rows", "text"), TypeError, OWN.format("str")),
    "nothing": (assign("rows", None), TypeError, OWN.format("NoneType")),
    "dict": (assign("rows", {"a": np.ones(1)}), TypeError, "containers into mxio.save"),
    "tuple": (assign("rows", (1, 2)), TypeError, "containers into mxio.save"),
    "sparse": (sparse, TypeError, "sparse arrays and containers into mxio.save"),
    "objects": (assign("rows", np.array([{}])), TypeError, "'rows': cannot save dtype object"),
    "fields": (assign("rows", STRUCT), TypeError, "save each field as an array of its own"),
    "masked": (assign("rows", MASKED), TypeError, "save its .data and its .mask"),
    # create
    "existing": (create("grid", (2,), "f4"), ValueError, "there is an array 'grid' already: .*"),
    "existing rows": (create("rows", (2,), "f4"), ValueError, "an array 'rows' already"),
    "negative": (create("n", (-2,), "f4"), ValueError, r"'n' cannot have the shape \(-2,\)"),
    "overflow": (create("n", (1 << 62, 4), "f4"), ValueError, "'n' cannot have the shape"),
    "enormous": (create("n", (1 << 48, 1 << 5), "f4"), OSError, "cannot reserve its space"),
    "object": (create("n", (2,), object), TypeError, "'n': cannot save dtype object"),
    "with fields": (create("n", (2,), "i4,f4"), TypeError, "'n': cannot save dtype"),
    "no dtype": (create("n", (2,), "nonsense"), TypeError, "'nonsense' not understood"),
    # metadata
    "metadata": (commits_with("m", object()), TypeError, r"metadata\['m'\] cannot be an object"),
    "nan": (commits_with("m", float("nan")), ValueError, r"metadata\['m'\] is nan, which JSON"),
    "key": (commits_with(5, 1), TypeError, "a key of metadata cannot be an int; use a str"),
    "an array": (
        commits_with("m", np.ones(2)),
        TypeError,
        r"metadata\['m'\] cannot be a numpy\.ndarray",
    ),
}


@pytest.mark.parametrize("is_committed", [False, True], ids=["waiting", "committed"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_and_nothing_has_changed(
    case: str, is_committed: bool, tmp_path: Path
) -> None:
    work, error, message = CASES[case]
    w, model = begun(tmp_path / "x.mxio", is_committed)
    with w:
        for _ in range(2):
            with pytest.raises(error, match=message) as caught:
                work(w)
            assert type(caught.value) is error
            assert "\n" not in str(caught.value)
        goes_on(w, model)


UNNAMED: dict[str, tuple[Work, type[Exception]]] = {
    "a region of complex": (region("grid", 0, 1j), TypeError),
    "a region of objects": (region("grid", 0, object()), TypeError),
    "a region beyond its dtype": (region("item", (), 1 << 40), OverflowError),
    "creating without a shape": (create("grid2", None, "f4"), TypeError),
    "creating half rows": (create("grid2", (2.5,), "f4"), TypeError),
    "creating 70 axes": (create("grid2", (1,) * 70, "f4"), ValueError),
    "creating no dtype": (create("grid2", (2,), "nonsense"), TypeError),
    "a ragged list": (assign("ragged", [[1], [1, 2]]), ValueError),
    "ragged rows": (append("ragged", [[1], [1, 2]]), ValueError),
    "a number for a name": (lambda w: w[5], TypeError),  # type: ignore[index]
}


@pytest.mark.parametrize("case", UNNAMED)
def test_what_numpy_refuses_changes_nothing_either(case: str, tmp_path: Path) -> None:
    work, _ = UNNAMED[case]
    w, model = begun(tmp_path / "x.mxio", True)
    with w:
        with pytest.raises((TypeError, ValueError, OverflowError, RuntimeError)):
            work(w)
        goes_on(w, model)


@pytest.mark.parametrize("case", UNNAMED)
def test_what_numpy_refuses_is_said_with_the_name(case: str, tmp_path: Path) -> None:
    work, error = UNNAMED[case]
    wanted = "a name is a str, not int" if "name" in case else "'(grid2?|item|ragged)'"
    with mxio.Writer(tmp_path / "x.mxio", sync=False) as w:
        w.create("grid", (4,), "f4")
        w.create("item", (), "i4")
        with pytest.raises((TypeError, ValueError, OverflowError, RuntimeError)) as caught:
            work(w)
    assert type(caught.value) is error
    caught.match(wanted)


@pytest.mark.parametrize(
    "n",
    [
        1 << 60,
        1 << 61,
    ],
)
def test_an_array_of_more_bytes_than_a_file_can_have_is_refused(n: int, tmp_path: Path) -> None:
    w, model = begun(tmp_path / "x.mxio", True)
    try:
        with pytest.raises((ValueError, OSError)):
            w.create("n", (n,), "f8")
        goes_on(w, model)
    finally:
        w.discard()


def test_the_empty_name_is_one(tmp_path: Path) -> None:
    with mxio.Writer(tmp_path / "x.mxio", sync=False) as w:
        w.append("", np.arange(3))
        w.append("", np.arange(2))
    assert mxio.load(tmp_path / "x.mxio")[""].tolist() == [0, 1, 2, 0, 1]


def test_rows_of_any_layout_and_byte_order_are_taken(tmp_path: Path) -> None:
    rows = np.arange(12, dtype="i4").reshape(3, 4)
    with mxio.Writer(tmp_path / "x.mxio", sync=False) as w:
        for one in (rows, np.asfortranarray(rows), rows.astype(">i4"), rows[::-1, ::-1], rows[:0]):
            w.append("x", one)
            w.append("y", one.astype("f8"))
    wanted = np.concatenate([rows, rows, rows, rows[::-1, ::-1]])
    loaded = mxio.load(tmp_path / "x.mxio")
    assert loaded["x"].dtype == np.dtype("i4")
    assert np.array_equal(loaded["x"], wanted)
    assert np.array_equal(loaded["y"], wanted)


def test_metadata_that_is_no_dict_is_said_at_the_commit(tmp_path: Path) -> None:
    with mxio.Writer(tmp_path / "x.mxio", sync=False) as w:
        w["x"] = np.ones(2)
        w.metadata = 7  # type: ignore[assignment]
        with pytest.raises(TypeError, match="metadata is a dict of JSON values, not an int"):
            w.commit()
        w.metadata = {"k": [1, None, "ä"]}
    with mxio.open(tmp_path / "x.mxio") as f:
        assert f.metadata == {"k": [1, None, "ä"]}
        assert f["x"][...].tolist() == [1, 1]


@pytest.mark.parametrize("how", ["closed", "discarded", "left"])
def test_after_its_end_a_writer_writes_nothing(how: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    with mxio.Writer(path, sync=False) as w:
        w.append("rows", np.ones((2, 3)))
        x = w.create("grid", (4, 4), "f4")
        w.commit()
        if how != "left":
            (w.close if how == "closed" else w.discard)()
    before = path.read_bytes()
    after: list[Work] = [
        assign("rows", np.ones(3)),
        assign("new", np.ones(3)),
        append("rows", np.ones((1, 3))),
        append("new", np.ones((1, 3))),
        create("new", (3,), "f4"),
        lambda w: w["grid"],
        lambda w: x.__setitem__(0, 1),
        lambda w: w.update({"new": np.ones(3)}),
        lambda w: w.commit(),
    ]
    for work in after:
        with pytest.raises(ValueError, match=r"^the writer of .*x\.mxio is closed$"):
            work(w)
    w.close()
    w.discard()
    assert w.closed
    assert (w.generation, "closed" in repr(w)) == (1, True)
    assert path.read_bytes() == before


def test_an_array_of_a_closed_writer_has_a_repr(tmp_path: Path) -> None:
    with mxio.Writer(tmp_path / "x.mxio", sync=False) as w:
        x = w.create("grid", (4, 4), "f4")
    assert "grid" in repr(x)


@pytest.mark.parametrize("mode", ["r", "r+", "wb", "", None, []])
def test_other_modes_are_refused_before_anything_is_opened(mode: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^mode is 'x', 'w' or 'a', not "):
        mxio.Writer(tmp_path / "x.mxio", mode)
    assert list(tmp_path.iterdir()) == []


def test_what_a_writer_is_opened_with_is_judged_first(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    path.write_bytes(b"precious")
    with pytest.raises(TypeError, match=r"metadata\['m'\] cannot be an object"):
        mxio.Writer(path, "w", metadata={"m": object()})
    with pytest.raises(TypeError, match="metadata is a dict of JSON values, not a list"):
        mxio.Writer(path, "w", metadata=[1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threads is 1 or more, not -1"):
        mxio.Writer(path, "w", threads=-1)
    with pytest.raises(FileExistsError, match="mode='w' replaces it, mode='a' appends to it"):
        mxio.Writer(path)
    with pytest.raises(mxio.FormatError):
        mxio.Writer(path, "a")
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", [5, None, b"x.mxio"])
def test_a_path_is_a_str_or_path(
    path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match=r"str.*os\.PathLike"):
        mxio.Writer(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["x", "w", "a"])
def test_paths_at_which_there_can_be_no_file(mode: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mxio.Writer(tmp_path / "no" / "x.mxio", mode)
    with pytest.raises((IsADirectoryError, FileExistsError)):
        mxio.Writer(tmp_path, mode)
    with pytest.raises(ValueError, match="a path cannot hold a NUL"):
        mxio.Writer(str(tmp_path / "x\0"), mode)
    assert list(tmp_path.iterdir()) == []
