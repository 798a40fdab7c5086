# SPDX-License-Identifier: Apache-2.0
"""MXNet's checkpoints: two files under one prefix, arrays by kind."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio
from mxio import FormatError, nd
from mxio.model import load_checkpoint, load_params, save_checkpoint, split_params

SYMBOL = '{"nodes": [], "name": "größe"}\n'


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def params(**arrays: Any) -> dict[str, Any]:
    return {name: nd.array(array) for name, array in arrays.items()}


def test_what_is_saved_is_loaded_with_symbol_arguments_and_auxiliary_states() -> None:
    arg, aux = params(w=[[1, 2], [3, 4]], b=[5]), params(mean=[0.5])
    save_checkpoint("net", 5, SYMBOL, arg, aux)
    assert sorted(os.listdir()) == ["net-0005.params", "net-symbol.json"]
    symbol, arg_found, aux_found = load_checkpoint("net", 5)
    assert symbol == SYMBOL
    assert list(arg_found) == ["w", "b"]
    assert list(aux_found) == ["mean"]
    for found, saved in ((arg_found, arg), (aux_found, aux)):
        for name, array in found.items():
            assert isinstance(array, nd.NDArray)
            assert array.dtype == np.float32
            assert array.tolist() == saved[name].tolist()
    assert load_params(Path("net"), np.int64(5))[0]["b"].tolist() == [5]  # type: ignore[arg-type]


def test_the_file_is_what_mxnet_writes() -> None:
    save_checkpoint("net", 0, None, {"w": np.float32([1, 2])}, {"m": np.float16([[3]])})
    record = struct.pack("<Ii", 0xF993FAC9, 0)
    expected = struct.pack("<3Q", 0x112, 0, 2)
    expected += record + struct.pack("<Iq3i2f", 1, 2, 1, 0, 0, 1, 2)
    expected += record + struct.pack("<I2q3ie", 2, 1, 1, 1, 0, 2, 3)
    expected += struct.pack("<Q", 2) + b"".join(
        struct.pack("<Q", len(name)) + name for name in (b"arg:w", b"aux:m")
    )
    assert Path("net-0000.params").read_bytes() == expected


@pytest.mark.parametrize(
    ("epoch", "name"),
    [(0, "e-0000.params"), (9999, "e-9999.params"), (12_345, "e-12345.params")],
)
def test_the_epoch_has_four_digits_or_as_many_as_it_needs(epoch: int, name: str) -> None:
    save_checkpoint("e", epoch, None, params(w=[1]), {})
    assert os.listdir() == [name]
    assert list(load_params("e", epoch)[0]) == ["w"]


def test_a_checkpoint_without_a_symbol_or_without_arrays_is_one_too() -> None:
    save_checkpoint("net", 1, None, {}, {})
    assert load_checkpoint("net", 1) == (None, {}, {})
    save_checkpoint("net", 2, "", params(w=[1]), {})
    assert load_checkpoint("net", 2)[0] == ""


def test_every_format_of_arrays_is_loaded() -> None:
    mxio.save("net-0003.params", {"arg:w": np.ones(2), "aux:m": np.zeros(1)})
    symbol, arg, aux = load_checkpoint("net", 3)
    assert (symbol, list(arg), list(aux)) == (None, ["w"], ["m"])


def test_a_missing_file_is_named() -> None:
    Path("net-symbol.json").write_text(SYMBOL)
    with pytest.raises(FileNotFoundError, match=r"net-0007\.params"):
        load_checkpoint("net", 7)
    with pytest.raises(FileNotFoundError, match=r"net-10000\.params"):
        load_params("net", 10_000)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"w": 3.0}, TypeError),
        ({"w": None}, TypeError),
        ({"w": [np.ones(1)]}, TypeError),
        ({"w": np.complex64([1])}, TypeError),
        ({"a\0b": np.ones(1)}, ValueError),
        ({7: np.ones(1)}, TypeError),
    ],
)
def test_what_cannot_be_saved_is_named_and_nothing_is_written(bad: Any, error: type) -> None:
    save_checkpoint("net", 0, "old", params(w=[1]), {})
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    with pytest.raises(error, match=r"arg:w|arg:a|arg_params"):
        save_checkpoint("net", 0, "new", bad, {})
    assert {name: Path(name).read_bytes() for name in os.listdir()} == before


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        load_params("net", -1)
    with pytest.raises(TypeError):
        load_params("net", 1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="prefix"):
        load_params(b"net", 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tojson"):
        save_checkpoint("net", 1, object(), {}, {})  # type: ignore[arg-type]
    assert os.listdir() == []


def test_names_are_split_at_the_first_colon() -> None:
    assert split_params({"arg:a:b": 1, "aux:": 2, "arg:w": 3}) == ({"a:b": 1, "w": 3}, {"": 2})
    assert split_params({}) == ({}, {})


@pytest.mark.parametrize("name", ["w", "state:w", "arg", "Arg:w", ":w", "", " arg:w"])
def test_a_name_of_another_kind_is_named_and_not_dropped(name: str) -> None:
    arrays = {"arg:a": nd.ones(1), name: nd.ones(1)}
    with pytest.raises(ValueError, match=f"{name!r} of 2 arrays"):
        split_params(arrays)
    mxio.save("net-0000.params", arrays)
    with pytest.raises(FormatError, match=r"net-0000\.params is not a checkpoint"):
        load_params("net", 0)


def test_of_many_strange_names_a_few_are_said() -> None:
    with pytest.raises(ValueError, match=r"'w0', 'w1', 'w2' and 997 more of 1000 arrays") as caught:
        split_params({f"w{n}": n for n in range(1000)})
    assert len(str(caught.value)) < 200


def test_a_file_without_names_is_no_checkpoint() -> None:
    mxio.save("net-0000.params", [np.ones(1)])
    with pytest.raises(FormatError, match=r"net-0000\.params is not a checkpoint.*no names"):
        load_checkpoint("net", 0)


def test_a_symbol_that_is_no_text_is_a_format_error() -> None:
    save_checkpoint("net", 0, None, params(w=[1]), {})
    Path("net-symbol.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FormatError, match=r"net-symbol\.json.*offset 7") as caught:
        load_checkpoint("net", 0)
    assert caught.value.offset == 7


def test_a_file_that_is_cut_short_is_named() -> None:
    save_checkpoint("net", 0, None, params(w=[1, 2, 3]), {})
    data = Path("net-0000.params").read_bytes()
    Path("net-0000.params").write_bytes(data[:-1])
    with pytest.raises(FormatError, match=r"net-0000\.params"):
        load_checkpoint("net", 0)
