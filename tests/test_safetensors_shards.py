# SPDX-License-Identifier: Apache-2.0
"""A model in shards: a folder, or its list of files, that is read as one file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_safetensors import X, same, saved

import mxio
from mxio import _core


def shards(folder: Path, **changes: Any) -> Path:
    """A model in two shards; `changes` to the index."""
    parts = {
        "model-00001-of-00002.safetensors": {"a": X, "b": X + 1},
        "model-00002-of-00002.safetensors": {"c": np.arange(5, dtype=np.int8)},
    }
    folder.mkdir(exist_ok=True)
    for name, arrays in parts.items():
        (folder / name).write_bytes(saved(arrays, metadata={"format": "pt"}))
    weights = {tensor: name for name, arrays in parts.items() for tensor in arrays}
    index = {"metadata": {"total_size": 53}, "weight_map": weights | changes}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    return path


def test_a_folder_of_shards_is_one_model(tmp_path: Path) -> None:
    path = shards(tmp_path / "model")
    for source in (path, path.parent, str(path), str(path.parent)):
        for mmap in (False, True):
            got = mxio.load(source, mmap=mmap)
            assert sorted(got) == ["a", "b", "c"]
            same(got["b"], X + 1)
            same(got["c"], np.arange(5, dtype=np.int8))
        with mxio.open(source) as file:
            assert sorted(file) == ["a", "b", "c"]
            assert file["c"][1:3].tolist() == [1, 2]
            same(file["a"].read(), X)
        assert mxio.load(source, ["c"])["c"].shape == (5,)
        assert mxio.verify(source) == []
    mxio.copy(path.parent, tmp_path / "one.mxio")
    assert sorted(mxio.load(tmp_path / "one.mxio")) == ["a", "b", "c"]


def test_a_folder_with_one_file_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(saved({"w": X}))
    same(mxio.load(tmp_path)["w"], X)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    path = shards(tmp_path / "model")
    (path.parent / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises((FileNotFoundError, mxio.FormatError), match="model-00002-of-00002"):
        mxio.load(path)


def test_a_tensor_that_is_not_in_its_shard_is_named(tmp_path: Path) -> None:
    path = shards(tmp_path / "model", b="model-00002-of-00002.safetensors")
    with pytest.raises(mxio.FormatError, match=r"b.*model-00002-of-00002"):
        mxio.load(path)
    path = shards(tmp_path / "model", lost="model-00001-of-00002.safetensors")
    with pytest.raises(mxio.FormatError, match=r"lost.*model-00001-of-00002"):
        mxio.load(path.parent)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "sub/../../secret.safetensors",
        "..",
        "",
        ".",
        "a\\..\\secret.safetensors",
        "nul\0.safetensors",
    ],
)
def test_a_shard_is_never_outside_of_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.safetensors").write_bytes(saved({"a": X}))
    path = shards(tmp_path / "model", a=name)
    with pytest.raises(mxio.FormatError):
        mxio.load(path)
    with pytest.raises(mxio.FormatError):
        mxio.load(path.parent)


def test_a_shard_with_an_absolute_name_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "secret.safetensors"
    outside.write_bytes(saved({"a": X}))
    with pytest.raises(mxio.FormatError, match="secret"):
        mxio.load(shards(tmp_path / "model", a=str(outside)))


INDEXES = [
    "",
    "[]",
    "{}",
    '{"weight_map":[]}',
    '{"weight_map":{"a":1}}',
    '{"weight_map":{"a":null}}',
]


@pytest.mark.parametrize("text", [*INDEXES, '{"weight_map":', '{"weight_map":{"a":"m"},}'])
def test_a_list_of_shards_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    path = shards(tmp_path / "model")
    path.write_text(text)
    for source in (path, path.parent):
        with pytest.raises(mxio.FormatError):
            mxio.load(source)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    path = shards(tmp_path / "model")
    shard = path.parent / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(mxio.FormatError, match="model-00001-of-00002"):
        mxio.load(path)


def test_files_that_stand_for_one_have_zeros_between_them_and_an_end(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 3)
    files = [_core.File.open(os.fsencode(tmp_path / name), name) for name in "ab"]
    one = _core.File.memory(b"", "both")
    assert one.join(files) == [0, 65536]
    assert one.nbytes == 65536 + 3
    assert one.get(0, one.nbytes) == b"aaa" + bytes(65533) + b"bbb"
    assert one.get(65535, 2) == b"\0b"
    for offset, nbytes in (65536, 4), (65540, 1):
        with pytest.raises(mxio.FormatError, match=r"both.*the file is cut short"):
            one.get(offset, nbytes)


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises((OSError, mxio.FormatError)):
        mxio.load(tmp_path)
