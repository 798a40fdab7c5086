# SPDX-License-Identifier: Apache-2.0
"""Damage in daily life: what is sound is had all the same, and what is lost is named."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.mxio"


def damage(path: Path, *names: str, chunks: tuple[int, ...] = (0,)) -> None:
    """Flip a bit in some chunks of each of these arrays."""
    with mxio.open(path) as file:
        entries = [file.index[name] for name in names]
    data = bytearray(path.read_bytes())
    for entry in entries:
        for chunk in chunks:
            data[entry.offset + chunk * entry.chunk_nbytes + 3] ^= 0x10
    path.write_bytes(data)


def skipped(path: Any, *args: Any, **options: Any) -> tuple[Any, list[mxio.Damage], str]:
    with pytest.warns(mxio.DamageWarning) as caught:
        loaded = mxio.load(path, *args, on_damage="skip", **options)
    (warning,) = caught
    assert warning.filename == __file__
    return loaded, warning.message.damage, str(warning.message)  # type: ignore[union-attr]


def test_a_dict_is_loaded_without_what_is_damaged(path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"w{n}": rng.random((100, 100 * (n + 1))) for n in range(6)}
    mxio.save(path, arrays)
    damage(path, "w1", "w4", chunks=(0, 2))
    loaded, found, message = skipped(path)
    assert list(loaded) == ["w0", "w2", "w3", "w5"]
    for name, array in loaded.items():
        np.testing.assert_array_equal(array, arrays[name])
    assert [(one.name, one.chunk) for one in found] == [("w1", 0), ("w1", 2), ("w4", 0), ("w4", 2)]
    assert found == mxio.verify(path)
    assert message == f"{str(path)!r}: damaged and left out: 'w1', 'w4'"
    with pytest.raises(mxio.ChecksumError, match="'w1', chunk 0"):
        mxio.load(path)


def test_lists_tuples_trees_and_arrays_alone(path: Path) -> None:
    x, y = np.arange(5), np.ones(3)
    tree = {"a": [x, {"b": y, "c": 7}], "t": (x * 2, "text"), 3: {"only": y * 2}}
    mxio.save(path, tree)
    damage(path, "a/0", "a/1/b", "t/0", "3/only")
    loaded, found, _ = skipped(path)
    assert loaded == {"a": [None, {"c": 7}], "t": (None, "text"), 3: {}}
    assert len(found) == 4
    mxio.save(path, [x, y, x])
    damage(path, "1")
    loaded, _, _ = skipped(path)
    assert loaded[1] is None
    np.testing.assert_array_equal(loaded[2], x)
    mxio.save(path, x)
    damage(path, "")
    assert skipped(path)[0] is None


def test_second_names_share_the_fate_of_the_first(path: Path) -> None:
    x, y = np.arange(100.0), np.ones(3)
    mxio.save(path, {"x": x, "y": y, "again": x, "z": y})
    damage(path, "x")
    loaded, found, _ = skipped(path)
    assert list(loaded) == ["y", "z"]
    assert np.shares_memory(loaded["y"], loaded["z"])
    assert len(found) == 1
    assert list(skipped(path, ["again", "z"])[0]) == ["z"]


def test_a_sparse_array_is_lost_as_a_whole(path: Path) -> None:
    sparse = mxio.SparseArray(
        "csr", (2, 3), data=np.ones(2), indices=np.arange(2), indptr=np.array([0, 1, 2])
    )
    mxio.save(path, {"s": sparse, "l": [sparse], "x": np.arange(3)})
    damage(path, "s/indices", "l/0/data")
    loaded, _, _ = skipped(path)
    assert list(loaded) == ["l", "x"]
    assert loaded["l"] == [None]


def test_some_names_only(path: Path) -> None:
    mxio.save(path, {"a": np.zeros(3), "b": np.ones(3), "c": np.ones(3)})
    damage(path, "b")
    assert list(skipped(path, ["c", "b"])[0]) == ["c"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(mxio.load(path, ["a", "c"], on_damage="skip")) == ["a", "c"]


def test_members_of_an_npz(path: Path) -> None:
    npz = path.with_suffix(".npz")
    np.savez_compressed(npz, a=np.arange(1000), b=np.arange(2000.0), c=np.ones(3))
    data = bytearray(npz.read_bytes())
    at = data.index(b"b.npy") + 1500
    data[at] ^= 1
    npz.write_bytes(data)
    loaded, found, _ = skipped(npz)
    assert list(loaded) == ["a", "c"]
    assert [one.name for one in found] == ["b"]


def test_a_file_that_was_appended_to(path: Path) -> None:
    with mxio.Writer(path) as w:
        w["kept"] = np.arange(10)
        for n in range(3):
            w.append("rows", np.full((9000, 2), n))
            w.commit()
    with mxio.open(path) as file:
        runs = file.index.handle.runs(file.index["rows"].number)
    data = bytearray(path.read_bytes())
    data[runs[-1][0] + 8] ^= 1
    path.write_bytes(data)
    loaded, found, _ = skipped(path)
    assert list(loaded) == ["kept"]
    assert {one.name for one in found} == {"rows"}


def test_what_head_index_or_structure_lack_is_an_error_all_the_same(path: Path) -> None:
    mxio.save(path, {"a": np.zeros(3)})
    whole = path.read_bytes()
    for at in 20, 4100:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(mxio.FormatError):
            mxio.load(path, on_damage="skip")


@pytest.mark.parametrize(
    "options",
    [
        {"on_damage": "ignore"},
        {"on_damage": None},
        {"on_damage": "skip", "mmap": True},
        {"on_damage": "skip", "verify": False},
    ],
)
def test_what_makes_no_sense_is_refused(path: Path, options: dict[str, Any]) -> None:
    mxio.save(path, {"a": np.zeros(3)})
    with pytest.raises(ValueError, match="on_damage"):
        mxio.load(path, **options)


def test_a_warning_as_an_error_carries_the_list(path: Path) -> None:
    mxio.save(path, {"a": np.zeros(3), "b": np.ones(2)})
    damage(path, "a")
    with warnings.catch_warnings():
        warnings.simplefilter("error", mxio.DamageWarning)
        with pytest.raises(mxio.DamageWarning, match="'a'") as caught:
            mxio.load(path, on_damage="skip")
    assert [one.name for one in caught.value.damage] == ["a"]
