# SPDX-License-Identifier: Apache-2.0
"""From file to file: the same values in any format, piece by piece, checked, all or nothing."""

from __future__ import annotations

import io
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio

RNG = np.random.default_rng(3)
FLAT = {
    "embed.weight": RNG.random((3000, 300), "float32"),  # several pieces
    "fortran": np.asfortranarray(RNG.random((70, 50))),
    "bias": RNG.random(5).astype("float16"),
    "one": np.array([7], "int64"),
    "none": np.zeros((0, 3), "uint8"),
    "flags": RNG.random(9) > 0.5,
}
FORMATS = ["mxio", "mxnet", "safetensors", "npz"]


def same(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("after", FORMATS)
@pytest.mark.parametrize("before", FORMATS)
def test_a_copy_holds_the_same_and_is_what_a_save_would_have_written(
    before: str, after: str, tmp_path: Path
) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    mxio.save(source, FLAT, format=before)
    mxio.copy(source, target, format=after)
    loaded = mxio.load(target)
    assert sorted(loaded) == sorted(FLAT)
    assert all(same(loaded[name], array) for name, array in FLAT.items())
    assert target.read_bytes() == mxio.dumps(mxio.load(source), format=after)


@pytest.mark.parametrize("after", FORMATS)
def test_a_copy_to_a_file_object_has_the_same_bytes(after: str, tmp_path: Path) -> None:
    mxio.save(tmp_path / "a", FLAT)
    mxio.copy(tmp_path / "a", tmp_path / "b", format=after)
    stream = io.BytesIO()
    mxio.copy(tmp_path / "a", stream, format=after)
    assert stream.getvalue() == (tmp_path / "b").read_bytes()


def test_a_deflated_member_is_copied_piece_by_piece_and_checked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", **FLAT)
    mxio.copy(tmp_path / "a.npz", tmp_path / "b")
    loaded = mxio.load(tmp_path / "b")
    assert all(same(loaded[name], array) for name, array in FLAT.items())
    np.savez(tmp_path / "c.npz", x=np.arange(3_000_000))
    damaged = bytearray((tmp_path / "c.npz").read_bytes())
    damaged[20_000_000] ^= 4
    (tmp_path / "c.npz").write_bytes(damaged)
    with pytest.raises(mxio.ChecksumError, match="'x'"):
        mxio.copy(tmp_path / "c.npz", tmp_path / "b")
    assert list(mxio.load(tmp_path / "b")) == list(FLAT)  # as it was


def test_a_tree_keeps_its_structure_where_the_format_has_one(tmp_path: Path) -> None:
    tree = {"layers": [np.arange(3.0), {"w": np.ones((2, 2))}], "bias": np.zeros(2)}
    mxio.save(tmp_path / "a", tree, metadata={"run": "a7"})
    mxio.copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    mxio.copy(tmp_path / "a", tmp_path / "c", format="safetensors")
    assert sorted(mxio.load(tmp_path / "c")) == ["bias", "layers/0", "layers/1/w"]


def test_plain_values_are_refused_by_name_in_a_format_without_them(tmp_path: Path) -> None:
    mxio.save(tmp_path / "a", {"w": np.ones(2), "step": 3})
    mxio.save(tmp_path / "b", [np.ones(1)])
    for format in FORMATS[1:]:
        with pytest.raises((TypeError, ValueError), match="step"):
            mxio.copy(tmp_path / "a", tmp_path / "b", format=format)
    assert same(mxio.load(tmp_path / "b")[0], np.ones(1))
    mxio.copy(tmp_path / "a", tmp_path / "b", ["w"], format="mxnet")
    assert same(mxio.load(tmp_path / "b")["w"], np.ones(2))


def test_some_arrays_under_other_names_and_as_another_dtype(tmp_path: Path) -> None:
    mxio.save(tmp_path / "a", FLAT)
    mxio.copy(
        tmp_path / "a",
        tmp_path / "b",
        ["bias", "embed.weight", "one"],
        rename={"bias": "b"},
        dtype="float64",
    )
    loaded = mxio.load(tmp_path / "b")
    assert list(loaded) == ["b", "embed.weight", "one"]
    assert same(loaded["b"], FLAT["bias"].astype("float64"))
    assert same(loaded["embed.weight"], FLAT["embed.weight"].astype("float64"))
    assert same(loaded["one"], FLAT["one"])  # not a float
    with pytest.raises(ValueError, match="'x' to two arrays"):
        mxio.copy(tmp_path / "a", tmp_path / "b", rename=lambda name: "x")
    with pytest.raises(mxio.EntryError, match="did you mean 'bias'"):
        mxio.copy(tmp_path / "a", tmp_path / "b", ["bia"])


def test_big_endian_arrays_are_turned_on_the_way(tmp_path: Path) -> None:
    array = RNG.random((700, 1000)).astype(">f8")
    text = np.array([["ab", "c"], ["", "é"]] * 50, ">U3")
    np.savez(tmp_path / "a.npz", x=array, t=text)
    mxio.copy(tmp_path / "a.npz", tmp_path / "b")
    loaded = mxio.load(tmp_path / "b")
    assert same(loaded["x"], array.astype("<f8"))
    assert same(loaded["t"], text.astype("<U3"))


def test_tied_arrays_stay_one(tmp_path: Path) -> None:
    shared = RNG.random(100_000)
    mxio.save(tmp_path / "a", {"in": shared, "out": shared})
    mxio.copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_a_file_can_be_copied_onto_itself(tmp_path: Path) -> None:
    mxio.save(tmp_path / "a", FLAT, format="mxnet")
    mxio.copy(tmp_path / "a", tmp_path / "a", format="safetensors")
    assert all(same(mxio.load(tmp_path / "a")[name], array) for name, array in FLAT.items())


def test_a_damaged_file_is_not_compacted(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    with mxio.Writer(path) as w:
        for i in range(3):
            w["x"] = np.full(100_000, i)
            w.commit()
    damaged = bytearray(path.read_bytes())
    damaged[damaged.rindex((2).to_bytes(8, "little"))] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(mxio.ChecksumError) as caught:
        mxio.compact(path)
    assert caught.value.name == "x"
    assert path.read_bytes() == damaged
    assert list(tmp_path.iterdir()) == [path]


def test_lazy_arrays_can_be_saved_among_others(tmp_path: Path) -> None:
    mxio.save(tmp_path / "a", FLAT)
    with mxio.open(tmp_path / "a") as reader:
        mxio.save(tmp_path / "b", {"old": reader["embed.weight"], "new": [np.ones(3), 5]})
        assert mxio.loads(mxio.dumps([reader["bias"]]))[0].tobytes() == FLAT["bias"].tobytes()
    loaded = mxio.load(tmp_path / "b")
    assert same(loaded["old"], FLAT["embed.weight"])
    assert loaded["new"][1] == 5


def test_progress_is_told_and_ends_with_all(tmp_path: Path) -> None:
    mxio.save(tmp_path / "a", FLAT)
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))

    for format in FORMATS:
        told.clear()
        mxio.copy(tmp_path / "a", tmp_path / "b", format=format, progress=progress)
        total = sum(array.nbytes for array in FLAT.values())
        done, of = told[-1]
        assert done == of, format
        assert 0 <= of - total < 3000, format  # the headers of records go along
        assert [done for done, _ in told] == sorted(done for done, _ in told)
    told.clear()
    mxio.verify(tmp_path / "a", progress=progress)
    assert told
    assert all(0 < done <= total for done, total in told)


@pytest.mark.parametrize("before", ["mxio", "mxnet", "npz"])
@pytest.mark.parametrize("after", ["mxio", "safetensors"])
def test_memory_beside_the_files_is_bounded(before: str, after: str, tmp_path: Path) -> None:
    """Of Python's own; the windows are bytearrays and NumPy's, which tracemalloc sees."""
    size = 48 << 20
    mxio.save(tmp_path / "a", {"x": np.ones((size // 4096, 1024), "float32")}, format=before)
    tracemalloc.start()
    try:
        mxio.copy(tmp_path / "a", tmp_path / "b", format=after)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 28 << 20, peak


@pytest.mark.skipif(sys.byteorder != "little", reason="made by hand for little-endian hosts")
def test_an_array_whose_dtype_numpy_lacks_is_copied_by_its_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = RNG.random(1000).astype(ml_dtypes.bfloat16)
    mxio.save(tmp_path / "a", {"x": array, "y": array[:10].copy()}, format="safetensors")
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    mxio.copy(tmp_path / "a", tmp_path / "b", format="mxnet")
    monkeypatch.undo()
    loaded = mxio.load(tmp_path / "b")
    assert same(loaded["x"], array)
    assert same(loaded["y"], array[:10])


def test_indices_of_a_sparse_array_become_mxnet_s_on_the_way(tmp_path: Path) -> None:
    csr = mxio.SparseArray(
        "csr",
        (2, 3),
        np.array([1.0, 2.0], "float32"),
        np.array([2, 0], "int32"),
        np.array([0, 1, 2], "int32"),
    )
    mxio.save(tmp_path / "a", {"s": csr})
    mxio.copy(tmp_path / "a", tmp_path / "b", format="mxnet")
    loaded = mxio.load(tmp_path / "b")["s"]
    assert loaded.indices.dtype == loaded.indptr.dtype == "int64"
    assert np.array_equal(loaded.toarray(), [[0, 0, 1], [2, 0, 0]])


def test_many_small_arrays_are_fetched_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mxio import _stream

    fetched: list[int] = []
    fetch = _stream.Streams.fetch
    monkeypatch.setattr(
        _stream.Streams, "fetch", lambda self, n: fetched.append(len(n)) or fetch(self, n)
    )
    arrays = {f"p{i}": np.full(3, i, "float32") for i in range(5000)}
    mxio.save(tmp_path / "a", arrays)
    for format in ("mxio", "mxnet", "safetensors"):
        fetched.clear()
        mxio.copy(tmp_path / "a", tmp_path / "b", format=format)
        assert fetched == [5000], format
        assert mxio.dumps(arrays, format=format) == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("format", FORMATS)
def test_a_check_that_raises_leaves_what_was_there(format: str, tmp_path: Path) -> None:
    class Refused(Exception):
        pass

    def check(reader: mxio.Reader) -> None:
        assert sorted(reader) == sorted(FLAT)
        assert same(reader["bias"][...], FLAT["bias"])
        raise Refused

    mxio.save(tmp_path / "a", FLAT)
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(Refused):
        mxio.copy(tmp_path / "a", tmp_path / "b", format=format, check=check)
    assert (tmp_path / "b").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_ending_says_the_format_of_a_copy(tmp_path: Path) -> None:
    mxio.save(tmp_path / "a", {"x": np.ones(3)})
    for ending, format in (
        ("params", "mxnet"),
        ("safetensors", "safetensors"),
        ("npz", "npz"),
        ("mxio", "mxio"),
        ("bin", "mxio"),
    ):
        mxio.copy(tmp_path / "a", tmp_path / f"b.{ending}")
        with mxio.open(tmp_path / f"b.{ending}") as reader:
            assert reader.index.format == format
