# SPDX-License-Identifier: Apache-2.0
"""What holds of every foreign format: lazy, mapped, verified, refused like mxio's own files."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio

ARRAYS = {
    "odd": np.arange(3, dtype="int8"),  # what follows lies misaligned in packed formats
    "matrix": np.arange(200_000, dtype="float32").reshape(500, 400),
    "wide": np.arange(6, dtype="float64").reshape(2, 3),
    "empty": np.zeros((0, 4), "uint8"),
}
FORMATS = ["mxnet", "safetensors", "npz"]


@pytest.fixture(params=FORMATS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    target = tmp_path / "no.ending"
    mxio.save(target, ARRAYS, format=request.param)
    return target


def same(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_a_mapped_load_has_the_same_writable_arrays_and_leaves_the_file(path: Path) -> None:
    before = path.read_bytes()
    loaded = mxio.load(path, mmap=True)
    assert all(same(loaded[name], array) for name, array in ARRAYS.items())
    assert all(array.flags.aligned for array in loaded.values())
    loaded["matrix"][0] = -1
    loaded["odd"][0] = 9
    assert path.read_bytes() == before


def test_what_lies_aligned_is_mapped_and_the_rest_copied(tmp_path: Path) -> None:
    mxio.save(tmp_path / "x", ARRAYS, format="mxnet")
    with mxio.open(tmp_path / "x") as reader:
        aligned = {
            name: reader.index[name].offset % array.dtype.alignment == 0
            for name, array in ARRAYS.items()
            if array.nbytes
        }
    assert set(aligned.values()) == {True, False}  # the file has both
    loaded = mxio.load(tmp_path / "x", mmap=True)
    for name, is_aligned in aligned.items():
        assert (type(loaded[name].base).__name__ == "Mapping") == is_aligned, name


def test_parts_are_read_by_every_basic_index(path: Path) -> None:
    with mxio.open(path) as reader:
        lazy = reader["matrix"]
        assert (lazy.shape, lazy.dtype, lazy.nbytes) == ((500, 400), np.dtype("f4"), 800_000)
        for region in (3, (3, 5), slice(7, 400, 9), (..., slice(None, None, -3)), (slice(2), -1)):
            assert same(lazy[region], ARRAYS["matrix"][region]), region
        out = np.empty((2, 3))
        reader["wide"].read(out=out)
        assert same(out, ARRAYS["wide"])


def test_names_are_found_and_others_are_not(path: Path) -> None:
    with mxio.open(path) as reader:
        assert sorted(reader) == sorted(ARRAYS)
        assert all(name in reader for name in ARRAYS)
        assert "matri" not in reader
        assert "\ud800" not in reader
        with pytest.raises(mxio.EntryError, match="did you mean 'matrix'"):
            reader["matrx"]
    assert list(mxio.load(path, ["wide", "odd"])) == ["wide", "odd"]


def test_bytes_and_file_objects_are_sources_too(path: Path) -> None:
    data = path.read_bytes()
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        loaded = mxio.load(source)
        assert all(same(loaded[name], array) for name, array in ARRAYS.items())


def test_a_sound_file_verifies_and_a_short_one_does_not(path: Path) -> None:
    assert mxio.verify(path) == []
    path.write_bytes(path.read_bytes()[:-9])
    assert mxio.verify(path)


def test_arrays_outlive_the_reader_and_can_be_pickled(path: Path) -> None:
    with mxio.open(path) as reader:
        array = reader["matrix"][...]
    assert same(pickle.loads(pickle.dumps(array)), ARRAYS["matrix"])
    with pytest.raises(ValueError, match="closed"):
        reader["matrix"][0]


def test_a_thousand_small_names_are_found_in_a_list(tmp_path: Path) -> None:
    arrays = [np.full(2, n, "int32") for n in range(1000)]
    mxio.save(tmp_path / "x", arrays, format="mxnet")
    with mxio.open(tmp_path / "x") as reader:
        assert list(reader) == [str(n) for n in range(1000)]
        assert all(reader[str(n)][1] == n for n in (0, 9, 10, 99, 100, 999))
    loaded = mxio.load(tmp_path / "x")
    assert [int(array[0]) for array in loaded] == list(range(1000))


def test_options_of_another_format_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    for format, option in (
        ("safetensors", {"version": 3}),
        ("mxnet", {"compress": True}),
        ("mxio", {"version": 2}),
    ):
        with pytest.raises(TypeError, match=rf"'{format}' has no option"):
            mxio.save(tmp_path / "x", ARRAYS, format=format, **option)
    with pytest.raises(ValueError, match="no format 'hdf5': it is one of 'mxio', 'mxnet'"):
        mxio.save(tmp_path / "x", ARRAYS, format="hdf5")
    with pytest.raises(ValueError, match="version is 2 or 3, not 4"):
        mxio.save(tmp_path / "x", ARRAYS, format="mxnet", version=4)
    assert (tmp_path / "x").read_bytes() == b"old"


def test_an_encoding_is_for_names_that_have_one(tmp_path: Path) -> None:
    mxio.save(tmp_path / "x", ARRAYS)
    with pytest.raises(ValueError, match="encoding="):
        mxio.load(tmp_path / "x", encoding="latin-1")
    mxio.save(tmp_path / "y", ARRAYS, format="mxnet")
    with pytest.raises(ValueError, match="none that Python knows"):
        mxio.load(tmp_path / "y", encoding="klingon")
    assert sorted(mxio.load(tmp_path / "y", encoding="latin-1")) == sorted(ARRAYS)


def test_prefixes_are_cut_unless_two_names_become_one(tmp_path: Path) -> None:
    arrays = {"arg:w": np.ones(1), "aux:m": np.zeros(1), "plain": np.ones(2)}
    mxio.save(tmp_path / "x", arrays, format="mxnet")
    assert list(mxio.load(tmp_path / "x", strip=("arg:", "aux:"))) == ["w", "m", "plain"]
    assert list(mxio.load(tmp_path / "x", ["aux:m"], strip="aux:")) == ["m"]
    mxio.save(tmp_path / "x", {"arg:w": np.ones(1), "aux:w": np.ones(1)}, format="mxnet")
    with pytest.raises(ValueError, match="'aux:w' has the name of another array"):
        mxio.load(tmp_path / "x", strip=("arg:", "aux:"))


def test_full_names_are_recognised_where_structure_names_are_wanted(tmp_path: Path) -> None:
    mxio.save(tmp_path / "x", {"dense0_weight": np.ones(1), "dense0_bias": np.ones(1)})
    with pytest.raises(mxio.EntryError, match=r"full names \('dense0_weight', 'dense0_bias', …\)"):
        mxio.load(tmp_path / "x", ["hidden.weight"])


@pytest.mark.parametrize(
    ("begin", "hint"), [(b"\x80\x03}q\0", "load_states"), (b"\x1f\x8b\x08\0", "gzip")]
)
def test_files_of_other_kinds_come_with_a_hint(begin: bytes, hint: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(begin + bytes(100))
    with pytest.raises(mxio.FormatError, match=hint):
        mxio.load(tmp_path / "x")
