# SPDX-License-Identifier: Apache-2.0
"""Any other model: mappings of arrays and torch's modules, saved by name, loaded in place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio
from mxio import gluon
from mxio.gluon import nn


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    return


def model() -> dict[str, Any]:
    return {
        "embed": np.arange(12.0).reshape(3, 4),
        "layer": {"weight": np.ones((2, 3), "f4").T, "bias": np.zeros(2, "f2")},
        "steps": np.array(7),
    }


NAMES = ["embed", "layer.weight", "layer.bias", "steps"]


def flat(mapping: dict[str, Any]) -> list[Any]:
    return [mapping["embed"], *mapping["layer"].values(), mapping["steps"]]


@pytest.mark.parametrize("format", [None, "npz", "safetensors", "mxnet"])
def test_a_mapping_is_filled_in_place(format: str | None) -> None:
    if format == "mxnet":
        pytest.skip("MXNet 2's version has no arrays without dimensions")
    saved = model()
    gluon.save_parameters(saved, "m", format=format)
    assert sorted(mxio.load("m")) == sorted(NAMES)
    mine = model()
    held = flat(mine)
    for array in held:
        array[...] = 9
    gluon.load_parameters(mine, "m")
    for array, now, then in zip(held, flat(mine), flat(saved), strict=True):
        assert now is array
        assert np.array_equal(array, then)


def test_parts_and_names() -> None:
    gluon.save_parameters(model(), "m")
    part = {"bias": np.full(2, 5, "f2")}
    gluon.load_parameters(part, "m", select="bias", rename=lambda n: n.removeprefix("layer."))
    assert part["bias"].tolist() == [0, 0]
    wide = {"embed": np.zeros((3, 4), "f4")}
    with pytest.raises(gluon.ParameterError, match="expected float32 vs saved float64"):
        gluon.load_parameters(wide, "m", ignore_extra=True)
    gluon.load_parameters(wide, "m", ignore_extra=True, cast_dtype=True)
    assert wide["embed"].dtype == np.float32
    assert wide["embed"][2, 3] == 11


def test_a_failed_load_changes_nothing() -> None:
    gluon.save_parameters(model(), "m")
    data = bytearray(Path("m").read_bytes())
    data[-1] ^= 1
    Path("bad").write_bytes(data)
    mine = model()
    for array in flat(mine):
        array[...] = 9
    cases: list[tuple[Any, str, type[Exception]]] = [
        ({**mine, "more": np.zeros(1)}, "m", gluon.ParameterError),
        ({"embed": mine["embed"]}, "m", gluon.ExtraParameterError),
        ({**mine, "steps": np.zeros(2, int)}, "m", gluon.ParameterError),
        (mine, "bad", mxio.ChecksumError),
    ]
    for given, file, error in cases:
        with pytest.raises(error):
            gluon.load_parameters(given, file)
        assert all((array == 9).all() for array in flat(mine))


def test_what_cannot_be_written_to_says_so() -> None:
    gluon.save_parameters({"w": np.ones(3)}, "m")
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    with pytest.raises(gluon.ParameterError, match=r"'w' is a numpy.ndarray that cannot be writ"):
        gluon.load_parameters({"w": frozen}, "m")
    for wrong in ([np.ones(3)], "w", 3, nn.Dense):
        with pytest.raises(TypeError, match="a model is a Block, a mapping of arrays by name or"):
            gluon.save_parameters(wrong, "n")
    with pytest.raises(TypeError, match="'w' is a str, no array"):
        gluon.save_parameters({"w": "text"}, "n")
    with pytest.raises(TypeError, match="names are str, but 3 is an int"):
        gluon.save_parameters({3: np.ones(2)}, "n")
    with pytest.raises(ValueError, match=r"'a.b' twice"):
        gluon.save_parameters({"a.b": np.ones(1), "a": {"b": np.ones(1)}}, "n")
    assert not Path("n").exists()


def test_arrays_of_one_memory_are_one() -> None:
    w = np.arange(4.0)
    gluon.save_parameters({"a": w, "b": w}, "m")
    with mxio.open("m") as f:
        assert f.index["b"].alias_of == 0
    v = np.zeros(4)
    gluon.load_parameters({"a": v, "b": v}, "m")
    assert v.tolist() == [0, 1, 2, 3]
    gluon.load_parameters({"a": v}, "m", ignore_extra=True)


def test_a_block_goes_the_same_way() -> None:
    d = nn.Dense(2, in_units=3)
    d.initialize("ones")
    gluon.save_parameters(d, "d")
    other = nn.Dense(2)
    gluon.load_parameters(other, "d")
    assert (other.weight.data() == 1).all()


def test_no_library_is_imported() -> None:
    code = "import sys, mxio; mxio.gluon; print({'torch', 'jax', 'mxnet'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ---- torch -----------------------------------------------------------------------------------


def tied(torch: Any, dtype: Any = None) -> Any:
    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(5, 4)
            self.norm = torch.nn.BatchNorm1d(4)
            self.output = torch.nn.Linear(4, 5, bias=False)
            self.output.weight = self.embed.weight

    net = Net()
    return net.to(dtype) if dtype is not None else net


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_module_is_loaded_into_its_own_memory(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    net = tied(torch, getattr(torch, dtype))
    gluon.save_parameters(net, "m")
    with mxio.open("m") as f:
        assert list(f) == list(net.state_dict())
        assert f.index["output.weight"].alias_of == f.index["embed.weight"].number
    other = tied(torch, getattr(torch, dtype))
    before = {name: tensor.data_ptr() for name, tensor in other.state_dict().items()}
    gluon.load_parameters(other, "m")
    assert other.output.weight is other.embed.weight
    for name, tensor in other.state_dict().items():
        assert tensor.data_ptr() == before[name]
        assert torch.equal(tensor, net.state_dict()[name])


def test_a_module_in_other_formats() -> None:
    torch = pytest.importorskip("torch")
    net, other = tied(torch), tied(torch)
    for format in ("safetensors", "npz"):
        gluon.save_parameters(net, "m", format=format)
        gluon.load_parameters(other, "m")
        assert torch.equal(other.embed.weight, net.embed.weight)


def test_a_module_that_does_not_fit_is_as_it_was() -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(3, 2)
    gluon.save_parameters(torch.nn.Linear(3, 4), "m")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(gluon.ParameterError, match=r"expected \(2, 3\) vs saved \(4, 3\)"):
        gluon.load_parameters(net, "m")
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
