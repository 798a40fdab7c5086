# SPDX-License-Identifier: Apache-2.0
"""Layers are what they are in MXNet 1.9.1: signatures, printed forms, parameters, outputs.

tests/golden/gluon/layers.json and layers.npz hold what the real library says and computes;
gluon_cases.py, which both sides use, holds what it is asked.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import gluon_cases
import numpy as np
import pytest

import mxio
from mxio import nd
from mxio.gluon import contrib, nn
from mxio.gluon.block import Block, HybridBlock
from mxio.gluon.model_zoo.vision import resnet
from mxio.name import NameManager

Array = np.ndarray[Any, Any]
PYTHON = os.environ.get("MXIO_MXNET_PYTHON")
GOLDEN = Path(__file__).parent / "golden" / "gluon"
LAYERS: dict[str, Any] = json.loads((GOLDEN / "layers.json").read_text("utf-8"))
CASES: list[dict[str, Any]] = LAYERS["cases"]
NUMBERED = [pytest.param(n, case, id=f"{n}-{case['source'][:40]}") for n, case in enumerate(CASES)]
NAMES = gluon_cases.sources(mxio, nn, contrib.nn, resnet)


def make(source: str) -> Any:
    with NameManager():
        return eval(source, dict(NAMES))


def fill(net: Block) -> None:
    for name, parameter in net._collect_params_with_prefix().items():
        parameter.set_data(gluon_cases.value_of(name, parameter.shape))


def tolerance(source: str, dtype: Any) -> float:
    """Return what may differ, of the greatest output: float16 may round to the other side."""
    if source == "nn.GELU()":  # whose erf MXNet computes in float32, for float64 too
        dtype = np.float32 if dtype == np.float64 else dtype
    return {"float16": 2e-3, "float32": 1e-5, "float64": 1e-12}[np.dtype(dtype).name]


def listed(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


def check_outputs(source: str, got: Any, expected: list[Array]) -> None:
    outputs = listed(got)
    assert len(outputs) == len(expected)
    for one, other in zip(outputs, expected, strict=True):
        assert isinstance(one, nd.NDArray)
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        scale = float(np.abs(other).max(initial=0))
        assert scale > 0
        error = np.abs(np.asarray(one, np.float64) - other.astype(np.float64)).max()
        assert error <= tolerance(source, other.dtype) * scale


def expected_of(number: int) -> list[Array]:
    with np.load(GOLDEN / "layers.npz") as file:
        return [file[f"{number}.{n}"] for n in range(CASES[number]["outputs"])]


# ---- as the real library ---------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(LAYERS["signatures"]))
def test_a_layer_is_made_with_mxnets_arguments(name: str) -> None:
    module = next(m for m in (nn, contrib.nn, resnet) if hasattr(m, name))
    own, wanted = gluon_cases.signature_of(getattr(module, name)), LAYERS["signatures"][name]
    if wanted == ["**kwargs"]:  # which are those of every block
        wanted = LAYERS["signatures"]["Block"]
    assert own == wanted


@pytest.mark.parametrize("case", [*CASES, *LAYERS["named"]], ids=lambda case: case["source"][:40])
def test_a_layer_prints_and_names_its_parameters_as_in_mxnet(case: dict[str, Any]) -> None:
    net = make(case["source"])
    assert repr(net) == case["repr"]
    assert gluon_cases.blocks(net) == case["blocks"]
    assert gluon_cases.parameters(net) == case["parameters"]


@pytest.mark.parametrize(("number", "case"), NUMBERED)
def test_the_first_forward_pass_tells_shapes_and_then_outputs_are_mxnets(
    number: int, case: dict[str, Any]
) -> None:
    net = make(case["source"])
    net.initialize()
    if "cast" in case:
        net.cast(case["cast"])
    inputs = gluon_cases.inputs_of(case)
    net(*inputs)
    assert repr(net) == case["repr_after"]
    assert gluon_cases.parameters(net) == case["parameters_after"]
    fill(net)
    before = [x.copy() for x in inputs]
    check_outputs(case["source"], net(*inputs), expected_of(number))
    for x, copied in zip(inputs, before, strict=True):
        assert x.tobytes() == copied.tobytes()


@pytest.mark.skipif(PYTHON is None, reason="MXIO_MXNET_PYTHON names no interpreter with MXNet")
def test_the_golden_files_are_what_the_real_mxnet_says(tmp_path: Path) -> None:
    assert PYTHON is not None
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    made = [PYTHON, str(GOLDEN / "make.py"), str(tmp_path)]
    subprocess.run(made, env=env, check=True, capture_output=True, timeout=280)
    assert json.loads((tmp_path / "layers.json").read_text("utf-8")) == LAYERS
    with np.load(tmp_path / "layers.npz") as new, np.load(GOLDEN / "layers.npz") as old:
        assert new.files == old.files
        for name in new.files:
            # Not the last bits: they depend on the machine.
            np.testing.assert_allclose(new[name], old[name], rtol=2e-3, atol=1e-5)


# ---- as the documentation --------------------------------------------------------------------

SAVABLE = [
    pytest.param(case, id=f"{n}-{case['source'][:40]}")
    for n, case in enumerate(CASES)
    if not any(word in case["source"] for word in ("lambda", "Split", "shared"))
]


@pytest.mark.parametrize("case", SAVABLE)
def test_copies_and_pickles_of_layers_compute_the_same(case: dict[str, Any]) -> None:
    net = make(case["source"])
    net.initialize()
    if "cast" in case:
        net.cast(case["cast"])
    inputs = gluon_cases.inputs_of(case)
    outputs = listed(net(*inputs))
    net.hybridize()
    for again in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        for one, other in zip(listed(again(*inputs)), outputs, strict=True):
            assert one.tobytes() == other.tobytes()
    assert repr(again) == repr(net)
    for parameter in again.collect_params().values():
        parameter.set_data(np.full(parameter.shape, 0.5))
    for one, other in zip(listed(net(*inputs)), outputs, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("case", SAVABLE)
def test_a_batch_may_be_empty(case: dict[str, Any]) -> None:
    net = make(case["source"])
    net.initialize()
    if "cast" in case:
        net.cast(case["cast"])
    inputs = gluon_cases.inputs_of(case)
    expected = listed(net(*inputs))
    if len(inputs) > 1 or expected[0].shape[0] != inputs[0].shape[0]:
        pytest.skip("the first axis is no batch")
    got = listed(net(*[x[:0] for x in inputs]))
    for one, other in zip(got, expected, strict=True):
        assert one.shape == (0, *other.shape[1:])
        assert one.dtype == other.dtype


def last(axes: int) -> list[int]:
    """Return the order of axes that brings axis 1 to the end."""
    return [0, *range(2, axes), 1]


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("nn.Conv2D(4, (2, 3), (2, 1), (1, 0), layout={})", (2, 3, 6, 5)),
        ("nn.Conv2D(6, 3, groups=3, in_channels=6, layout={})", (2, 6, 5, 5)),
        ("nn.Conv3D(2, 2, activation='relu', layout={})", (2, 3, 3, 4, 3)),
        ("nn.Conv2DTranspose(4, 3, 2, 1, 1, layout={}, in_channels=3)", (2, 3, 4, 5)),
        ("nn.MaxPool2D((3, 2), 2, 1, layout={})", (2, 3, 6, 5)),
        ("nn.AvgPool3D(2, 1, 1, layout={}, count_include_pad=False)", (2, 3, 3, 4, 5)),
        ("nn.GlobalAvgPool2D({})", (2, 3, 4, 5)),
        ("nn.GlobalMaxPool1D({})", (2, 3, 4)),
    ],
)
def test_channels_may_come_last(source: str, shape: tuple[int, ...]) -> None:
    """MXNet computes these on GPUs only; that the axes move is all that may differ."""
    first, other = {3: ("NCW", "NWC"), 4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}[len(shape)]
    x = gluon_cases.numbers(source, shape).astype(np.float32)
    nets = [make(source.format(repr(layout))) for layout in (first, other)]
    for net in nets:
        net.initialize()
    expected = nets[0](x).transpose(last(x.ndim))
    moved = nd.array(x.transpose(last(x.ndim)))
    nets[1](moved)
    for name, parameter in nets[0]._collect_params_with_prefix().items():
        value = parameter.data().asnumpy()
        if value.ndim > 1:
            value = value.transpose(last(value.ndim))
        nets[1]._collect_params_with_prefix()[name].set_data(value)
    np.testing.assert_allclose(nets[1](moved), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "shape"), [("nn.Dense(50)", (4, 600)), ("nn.Conv2D(8, 3)", (2, 40, 8, 8))]
)
def test_float16_is_computed_in_float32_and_rounded_once(
    source: str, shape: tuple[int, ...]
) -> None:
    x = gluon_cases.numbers(source, shape).astype(np.float16)
    half, wide = make(source), make(source)
    for net, dtype in ((half, "float16"), (wide, "float64")):
        net.initialize()
        net.cast(dtype)
        net(x.astype(dtype))
    fill(half)
    for name, parameter in half._collect_params_with_prefix().items():
        wide._collect_params_with_prefix()[name].set_data(parameter.data())
    got, expected = half(x), wide(x.astype(np.float64)).asnumpy()
    assert got.dtype == np.float16
    ulp = np.spacing(np.abs(expected).astype(np.float16)).astype(np.float64)
    # Where terms cancel, what float32 keeps of them is more than an ulp of the result.
    assert (np.abs(got.astype(np.float64) - expected) <= 0.51 * ulp + 1e-5).all()


def test_a_sequence_is_indexed_cut_and_walked_through() -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(2), nn.Flatten())
    net.add(nn.Dense(3))
    assert len(net) == 3
    assert net[-1] is net[2]
    assert list(net) == [net[0], net[1], net[2]]
    part = net[1:]
    assert type(part) is nn.HybridSequential
    assert list(part) == [net[1], net[2]]
    assert part.prefix == net.prefix
    with pytest.raises(IndexError):
        net[3]
    with pytest.raises(TypeError):
        net["0"]
    branches = nn.HybridConcurrent(axis=1)
    branches.add(nn.Dense(2), nn.Dense(3))
    assert branches[:1].axis == 1


def test_a_subclass_of_a_sequence_may_say_what_it_does() -> None:
    class Residual(nn.HybridSequential):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return x + super().hybrid_forward(F, x)

    net = Residual()
    net.add(nn.HybridLambda("square"))
    assert net(nd.array([2.0, 3.0])).tolist() == [6.0, 12.0]


def test_only_blocks_can_be_added() -> None:
    with pytest.raises(TypeError, match="add takes blocks, not a str"):
        nn.Sequential().add("relu")
    with pytest.raises(ValueError, match="must also be HybridBlock"):
        nn.HybridSequential().add(nn.Lambda("relu"))
    with pytest.raises(ValueError, match="holds no blocks"):
        nn.HybridConcurrent()(nd.ones((1, 2)))


def test_mxnet_2_has_other_names_for_some_layers() -> None:
    x = nd.array([[1.0, -2.0, 0.5]])
    assert nn.SiLU()(x).tobytes() == nn.Swish()(x).tobytes()
    for cls, old in (
        (nn.Concatenate, nn.Concurrent),
        (nn.HybridConcatenate, nn.HybridConcurrent),
    ):
        net = cls(axis=0)
        net.add(nn.Identity(), nn.Flatten())
        assert isinstance(net, old)
        assert net(x).shape == (2, 3)
    assert contrib.nn.Identity is nn.Identity
    assert issubclass(nn.Block, Block)
    assert nn.HybridBlock is HybridBlock


# A function may be named only if it is an operator.
@pytest.mark.parametrize("name", ["nosuch", "Any", "math", "_file", "sparse", "NDArray"])
@pytest.mark.parametrize("cls", [nn.Lambda, nn.HybridLambda])
def test_a_lambda_needs_an_operator_or_a_function(cls: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"Function name {name} is not found in mxio.nd"):
        cls(name)
    with pytest.raises(ValueError, match="takes the name of an operator or a function, not an int"):
        cls(3)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nn.Conv2D(4, (3,))", r"kernel_size must be a number or a tuple of 2 ints, not \(3,\)"),
        ("nn.Conv2D(4, 3, strides=(1,))", "strides must be a number or a tuple of 2 ints"),
        ("nn.Conv3D(4, 3, padding=(1, 1))", "padding must be a number or a tuple of 3 ints"),
        ("nn.Conv1DTranspose(4, 3, output_padding=(1, 1))", "output_padding must be a number"),
        ("nn.Conv2D(4, 3, layout='HWC')", "layout must be 'NCHW' or 'NHWC', not 'HWC'"),
        ("nn.Conv1D(4, 3, layout='NCHW')", "layout must be 'NCW' or 'NWC', not 'NCHW'"),
        ("nn.Conv2D(4, 3, groups=3, in_channels=6)", "channels=4 .* groups=3"),
        ("nn.Conv2D(6, 3, groups=3, in_channels=4)", "in_channels=4 .* groups=3"),
        ("nn.MaxPool1D((2, 2))", "pool_size must be a number or a tuple of 1 ints"),
        ("nn.AvgPool2D(layout='NCW')", "layout must be 'NCHW' or 'NHWC', not 'NCW'"),
        ("nn.GlobalAvgPool2D('NCW')", "layout must be 'NCHW' or 'NHWC', not 'NCW'"),
        ("nn.ReflectionPad2D((1, 2))", "padding is a number or a tuple of 8 ints"),
        ("nn.LeakyReLU(-1)", "no less than 0, not -1"),
        ("contrib.PixelShuffle2D((2, 2, 2))", "factor must be a number or 2 of them"),
    ],
)
def test_wrong_arguments_are_refused_when_the_layer_is_made(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(source)


@pytest.mark.parametrize(
    ("source", "shape", "message"),
    [
        ("nn.Dense(3, in_units=4)", (2, 5), r"weight has shape \(3, 4\).* asks for \(3, 5\)"),
        ("nn.Conv2D(4, 3, in_channels=2)", (1, 3, 5, 5), r"weight has shape \(4, 2, 3, 3\)"),
        ("nn.Conv2D(4, 3)", (1, 3), "dimensions"),
        ("nn.Conv2D(4, 3)", (1, 3, 2, 2), "kernel"),
        ("nn.BatchNorm(in_channels=3)", (2, 4), r"gamma has shape \(3,\).* asks for \(4,\)"),
        ("nn.LayerNorm(in_channels=3)", (2, 4), r"gamma has shape \(3,\).* asks for \(4,\)"),
        ("nn.InstanceNorm(in_channels=3)", (2, 4, 5), r"gamma has shape \(3,\)"),
        ("nn.GroupNorm(3)", (2, 4, 5), "num_groups=3 of 4 channels"),
        ("nn.MaxPool2D()", (2, 3), "dimensions"),
        ("nn.MaxPool2D(5)", (2, 3, 4, 4), "kernel"),
        ("nn.PReLU(in_channels=3)", (2, 4), "gamma"),
        ("contrib.PixelShuffle1D(2)", (1, 3, 2), "multiple of 2 channels"),
        ("nn.Activation('nosuch')", (2, 3), "nosuch"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_a_sentence(
    source: str, shape: tuple[int, ...], message: str
) -> None:
    net = make(source)
    net.initialize()
    with pytest.raises(ValueError, match=message):
        net(nd.ones(shape))
