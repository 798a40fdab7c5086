# SPDX-License-Identifier: Apache-2.0
"""The ResNets have the structure, the names and the outputs of MXNet 1.9.1's model zoo.

tests/golden/gluon/resnets.json holds what the real library says and computes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gluon_cases
import numpy as np
import pytest

import mxio
from mxio import nd
from mxio.gluon import contrib, nn
from mxio.gluon.model_zoo import vision
from mxio.gluon.model_zoo.vision import resnet
from mxio.name import NameManager

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "golden" / "gluon" / "resnets.json").read_text("utf-8")
)
NAMES = gluon_cases.sources(mxio, nn, contrib.nn, resnet)


def make(source: str) -> Any:
    with NameManager():
        return eval(source, dict(NAMES))


def output_of(net: Any, source: str, shape: tuple[int, ...]) -> Any:
    """Return the output for the input and the parameters that both sides make up."""
    (x,) = gluon_cases.inputs_of({"source": source, "inputs": [shape], "kind": "float32"})
    net.initialize("zeros")
    net(x)
    for name, parameter in net._collect_params_with_prefix().items():
        parameter.set_data(gluon_cases.value_of(name, parameter.shape))
    return net(x)


def check(got: Any, expected: list[float]) -> None:
    other = np.array(expected).reshape(1, -1)
    assert isinstance(got, nd.NDArray)
    assert got.shape == other.shape
    assert np.abs(got.asnumpy() - other).max() <= 1e-5 * np.abs(other).max()


@pytest.mark.parametrize("source", GOLDEN["full"])
def test_every_resnet_has_mxnets_blocks_and_parameters(source: str) -> None:
    net = make(source)
    wanted = GOLDEN["full"][source]
    assert len(net.collect_params()) == wanted["count"]
    assert gluon_cases.digest(repr(net)) == wanted["repr"]
    assert gluon_cases.digest(gluon_cases.blocks(net)) == wanted["blocks"]
    assert gluon_cases.digest(gluon_cases.parameters(net)) == wanted["parameters"]


@pytest.mark.parametrize("case", GOLDEN["small"], ids=lambda case: case["source"][7:40])
def test_small_resnets_are_mxnets_to_the_last_name_and_number(case: dict[str, Any]) -> None:
    net = make(case["source"])
    assert repr(net).splitlines() == case["repr"].splitlines()
    assert gluon_cases.blocks(net) == case["blocks"]
    assert gluon_cases.parameters(net) == case["parameters"]
    check(output_of(net, case["source"], tuple(case["inputs"][0])), case["output"])
    assert repr(net).splitlines() == case["repr_after"].splitlines()
    assert gluon_cases.parameters(net) == case["parameters_after"]


@pytest.mark.parametrize("source", GOLDEN["outputs"])
def test_outputs_of_deep_resnets_are_mxnets(source: str) -> None:
    check(output_of(make(source), source, (1, 3, 64, 64)), GOLDEN["outputs"][source])


def test_a_resnet_comes_back_from_a_file(tmp_path: Path) -> None:
    net = vision.get_model("ResNet18_v1", classes=10, thumbnail=True)
    net.initialize()
    x = nd.array(gluon_cases.numbers("x", (2, 3, 8, 8)))
    y = net(x)
    net.save_parameters(tmp_path / "net.params")
    clone = vision.get_model("resnet18_v1", classes=10, thumbnail=True)
    clone.load_parameters(tmp_path / "net.params")
    assert clone(x).tobytes() == y.tobytes()


def test_models_are_found_by_name() -> None:
    names = [f"resnet{n}_v{v}" for n in (18, 34, 50, 101, 152) for v in (1, 2)]
    for name in names:
        assert name in vision.__all__
        assert getattr(vision, name) is getattr(resnet, name)
    assert isinstance(vision.get_model("resnet34_v2", classes=3), resnet.ResNetV2)
    with pytest.raises(ValueError, match=r"Model vgg16 is not supported. Available options are"):
        vision.get_model("vgg16")


def test_what_cannot_be_made_is_said() -> None:
    with pytest.raises(ValueError, match=r"Invalid number of layers: 19\. Options are 18, 34, 50"):
        vision.get_resnet(1, 19)
    with pytest.raises(ValueError, match=r"Invalid resnet version: 3. Options are 1 and 2"):
        vision.get_resnet(3, 18)
    with pytest.raises(ValueError, match=r"load your file by net.load_parameters\(path\)"):
        vision.resnet18_v1(pretrained=True)
    with pytest.raises(ValueError, match="2 stages, so channels has 3 numbers, not 2"):
        resnet.ResNetV1(resnet.BasicBlockV1, [1, 1], [4, 8])
