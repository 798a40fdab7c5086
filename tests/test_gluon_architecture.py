# SPDX-License-Identifier: Apache-2.0
"""Architecture and parameters in one file: net.save, gluon.load, and what a file cannot do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio
from mxio import gluon, init, nd
from mxio.gluon import nn, rnn
from mxio.gluon.model_zoo import vision
from mxio.name import NameManager


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with NameManager():
        yield


@gluon.register
class Scaled(nn.HybridBlock):
    def __init__(self, factor: float, sizes: Any = (2, 3), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._factor = factor
        with self.name_scope():
            self.body = nn.HybridSequential()
            self.body.add(*(nn.Dense(size, activation="tanh") for size in sizes))
            self.output = nn.Dense(1)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.output(self.body(x)) * self._factor


@gluon.register
class TiedPair(nn.Block):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = nn.Dense(4, in_units=4)
        self.second = nn.Dense(4, in_units=4, params=self.first.params)

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x))


class Unknown(nn.Block):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.d = nn.Dense(2, in_units=2)

    def forward(self, x: Any) -> Any:
        return self.d(x)


def again(net: nn.Block, *inputs: Any, **options: Any) -> nn.Block:
    """Save and load a network, and compare what it computes, its names and printed form."""
    net.initialize(init.Xavier())
    y = net(*inputs)
    net.save("net.mxio", **options)
    with NameManager():
        nn.Dense(1)  # the counts differ
        found = gluon.load("net.mxio")
    assert type(found) is type(net)
    z = found(*inputs)
    assert np.array_equal(np.asarray(y), np.asarray(z))
    assert repr(found) == repr(net)
    names = {name: p.name for name, p in net._collect_params_with_prefix().items()}
    assert {name: p.name for name, p in found._collect_params_with_prefix().items()} == names
    assert list(found.collect_params()) == list(net.collect_params())
    found.save("again.mxio", **options)
    assert Path("again.mxio").read_bytes() == Path("net.mxio").read_bytes()
    return found


X = nd.random.uniform(shape=(3, 4))
IMAGE = nd.random.uniform(shape=(2, 3, 16, 16))


def test_layers_in_a_sequence() -> None:
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(5, activation="relu"), nn.Dropout(0.3), nn.BatchNorm(scale=False))
        net.add(nn.Dense(2, use_bias=False, weight_initializer=init.Normal(0.1)))
    again(net, X)


def test_images() -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, (3, 2), strides=2, padding=(1, 0), activation="relu"))
    net.add(nn.MaxPool2D(), nn.Conv2DTranspose(2, 3), nn.GlobalAvgPool2D(), nn.Flatten())
    net.add(nn.LeakyReLU(0.2), nn.PReLU(), nn.LayerNorm(), nn.HybridLambda("relu"))
    again(net, IMAGE)


def test_rnns() -> None:
    net = nn.Sequential()
    net.add(rnn.LSTM(3, 2, bidirectional=True, layout="NTC"), rnn.GRU(4, layout="NTC"))
    again(net, nd.random.uniform(shape=(2, 5, 3)))
    stack = rnn.SequentialRNNCell()
    stack.add(rnn.LSTMCell(3))
    stack.add(rnn.ResidualCell(rnn.GRUCell(3)))
    stack.initialize()
    x = nd.random.uniform(shape=(2, 5, 3))
    y, _ = stack.unroll(5, x, layout="NTC", merge_outputs=True)
    stack.save("cells")
    z, _ = gluon.load("cells").unroll(5, x, layout="NTC", merge_outputs=True)  # type: ignore[attr-defined]
    assert (y == z).all()


@pytest.mark.parametrize("name", ["resnet18_v1", "resnet18_v2", "resnet50_v1"])
def test_the_model_zoo(name: str) -> None:
    again(vision.get_model(name, classes=7), IMAGE)


def test_classes_of_ones_own() -> None:
    found = again(Scaled(2.5, sizes=(3, 4, 5)), X)
    assert found._factor == 2.5
    assert len(found.body) == 3


def test_what_was_changed_after_it_was_made() -> None:
    """The usual way to another task: another last layer."""
    net = Scaled(1.0)
    net.output = nn.Dense(3, activation="relu")
    net.body.add(nn.Dense(2))
    found = again(net, X)
    assert len(found.body) == 3  # type: ignore[attr-defined]
    assert found.output.act is not None  # type: ignore[attr-defined]


def test_shared_blocks_and_shared_parameters() -> None:
    net = nn.Sequential()
    d = nn.Dense(4, activation="relu", in_units=4)
    net.add(d, d, nn.Dense(4, in_units=4, params=d.params), TiedPair())
    found = again(net, X)
    assert found[0] is found[1]
    assert found[2].weight is found[0].weight
    pair = found[3]  # type: ignore[index]
    assert pair.first.weight is pair.second.weight
    assert len(found.collect_params()) == 4


def test_constructors_get_blocks_and_values() -> None:
    net = nn.Sequential()
    net.add(rnn.BidirectionalCell(rnn.LSTMCell(2), rnn.GRUCell(2)))
    net.add(nn.Embedding(5, 3, dtype="float16"), nn.Dense(2, dtype=np.float64))
    text = json.dumps(gluon.architecture.describe(net))
    found = gluon.architecture.build(text, 100)
    assert json.dumps(gluon.architecture.describe(found)) == text
    assert repr(found) == repr(net)


def test_dtypes_come_from_the_file() -> None:
    net = nn.Dense(2, in_units=4)
    net.initialize()
    net.cast("float64")
    net.save("f64")
    assert gluon.load("f64").weight.data().dtype == np.float64  # type: ignore[attr-defined]


def test_metadata_of_ones_own_stays() -> None:
    net = nn.Dense(2, in_units=4)
    again(net, X, metadata={"epoch": 3})
    with mxio.open("net.mxio") as f:
        assert f.metadata["epoch"] == 3
    again(nn.Dense(2, in_units=4), X, format="safetensors")


def test_the_parameters_are_those_of_save_parameters() -> None:
    net = Scaled(1.5)
    again(net, X)
    other = Scaled(1.5)
    other.load_parameters("net.mxio")
    assert (other(X) == net(X)).all()


# ---- what cannot be said ---------------------------------------------------------------------


def test_what_json_cannot_say_is_refused() -> None:
    net = nn.Sequential()
    net.add(nn.Dense(2, in_units=2), nn.Lambda(lambda x: x))
    net.initialize()
    with pytest.raises(TypeError, match=r"argument 0 of 1, a Lambda is a function"):
        net.save("no")
    own = Unknown()
    own.initialize()
    with pytest.raises(
        TypeError, match=r"Unknown: its class is not registered; put @gluon.register"
    ):
        own.save("no")
    assert not Path("no").exists()
    with pytest.raises(RuntimeError, match="has not been initialized"):
        nn.Dense(2, in_units=2).save("no")
    with pytest.raises(TypeError, match=r"@gluon.register is for classes of blocks"):
        gluon.register(int)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="a class Dense is registered already"):
        gluon.register(type("Dense", (nn.HybridBlock,), {}))


def test_a_file_without_architecture_says_so() -> None:
    net = nn.Dense(2, in_units=2)
    net.initialize()
    net.save_parameters("p")
    with pytest.raises(mxio.FormatError, match=r"p holds no architecture.*load_parameters"):
        gluon.load("p")
    with pytest.raises(FileNotFoundError):
        gluon.load("missing")


# ---- files that mean harm --------------------------------------------------------------------


def crafted(network: Any, version: Any = 1, arrays: Any = None) -> str:
    metadata = {"gluon": {"version": version, "network": network}}
    mxio.save("crafted", arrays or {"w": np.ones(1)}, metadata=metadata)
    return "crafted"


DENSE = {"class": "Dense", "args": [2], "kwargs": {"in_units": 3}}


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        ({"class": "os.system", "args": ["true"]}, mxio.UnsupportedError, "'os.system', which is"),
        (
            {"class": "Unknown"},
            mxio.UnsupportedError,
            "the network is of class 'Unknown', which is",
        ),
        ({"class": ["Dense"]}, mxio.FormatError, "no class and arguments"),
        ({"class": "Dense", "args": {}}, mxio.FormatError, "no class and arguments"),
        ("Dense", mxio.FormatError, "a str for the network"),
        ({"class": "Dense"}, mxio.FormatError, "Dense refuses its arguments"),
        ({"class": "Dense", "args": ["x"]}, mxio.FormatError, "refuses"),
        (
            {"class": "Dense", "args": [{"what": 1}]},
            mxio.FormatError,
            "a value for #0 that means nothing",
        ),
        ({"class": "Dense", "args": [{"dtype": "object"}]}, mxio.FormatError, "refuses"),
        (DENSE | {"children": {"x": {"same": ["y"]}}}, mxio.FormatError, "which is not there"),
        (DENSE | {"children": [1]}, mxio.FormatError, "no children"),
        (DENSE | {"children": {"x": 3}}, mxio.FormatError, "an int for x"),
        (
            {"class": "LSTM", "args": [1, 10**9], "kwargs": {"input_size": 1}},
            mxio.FormatError,
            "far",
        ),
        ({"class": "ResNetV1", "args": []}, mxio.FormatError, "refuses"),
        (DENSE, gluon.ParameterError, "'weight', 'bias', are missing in file 'crafted'"),
    ],
)
def test_a_hostile_architecture_is_an_error(
    network: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        gluon.load(crafted(network))


def test_a_newer_architecture_says_so() -> None:
    with pytest.raises(mxio.UnsupportedError, match="of version 2; this mxio reads version 1"):
        gluon.load(crafted(DENSE, version=2))
    mxio.save("text", {"w": np.ones(1)}, metadata={"gluon": "{"})
    with pytest.raises(mxio.FormatError, match="text that is not JSON"):
        gluon.load("text")
    mxio.save("list", {"w": np.ones(1)}, metadata={"gluon": [1]})
    with pytest.raises(mxio.FormatError, match="not a description"):
        gluon.load("list")


def test_text_that_is_nested_without_end_is_an_error() -> None:
    deep = '{"class":"Sequential","children":{"0":' * 5000 + "{}" + "}}" * 5000
    for text in ("[" * 100_000, f'{{"version":1,"network":{deep}}}'):
        mxio.save("text", {"w": np.ones(1)}, metadata={"gluon": text})
        with pytest.raises(mxio.FormatError, match=r"not JSON|nested too deep"):
            gluon.load("text")


def test_an_initializer_in_a_file_reads_no_other_file() -> None:
    for value in ({"init": ["load", {"param": "w"}]}, {"init": ["mixed", {}]}):
        network = DENSE | {"kwargs": {"weight_initializer": value}}
        with pytest.raises(mxio.FormatError, match="no initializer is registered as"):
            gluon.load(crafted(network))


def test_places_are_counted_before_they_are_visited() -> None:
    """Blocks that are the same in two places, twenty times over, have a million names."""
    depth = 40
    node: dict[str, Any] = {"class": "Dense", "args": [6], "kwargs": {"in_units": 6}}
    for level in range(depth):
        node = {
            "class": "Sequential",
            "children": {"0": node, "1": {"same": ["0"] * (depth - level)}},
        }
    with pytest.raises(mxio.FormatError, match="far more places than parameters"):
        gluon.load(crafted_text(node))


def crafted_text(network: Any) -> str:
    text = json.dumps({"version": 1, "network": network})
    mxio.save("crafted", {"w": np.ones(1)}, metadata={"gluon": text})
    return "crafted"


@pytest.mark.parametrize(
    "name", ["forward", "collect_params", "load_parameters", "__class__", "_children", "a b", ""]
)
def test_a_block_in_a_file_replaces_no_method(name: str) -> None:
    network = {"class": "Sequential", "children": {name: DENSE | {"attribute": True}}}
    with pytest.raises(mxio.FormatError, match="which is no name for one"):
        gluon.load(crafted(network))


@pytest.mark.parametrize(
    "network",
    [
        {"class": "Sequential", "children": {"0": {"same": []}}},
        {
            "class": "Sequential",
            "children": {"0": {"class": "Sequential", "children": {"0": {"same": ["0"]}}}},
        },
        {"class": "Lambda", "args": ["load"]},
        {"class": "Lambda", "args": ["save"]},
        {"class": "Dense", "args": [-4]},
        {"class": "Dropout", "args": ["x"]},
        {"class": "GroupNorm", "args": [0]},
        {"class": "Dense", "args": [2], "kwargs": {"dtype": {"dtype": "object"}}},
        {"class": "Dense", "args": [2], "prefix": 5},
    ],
)
def test_nonsense_is_refused(network: Any) -> None:
    with pytest.raises(mxio.FormatError):
        gluon.load(crafted(network))


def test_arguments_are_kept_as_they_were_given() -> None:
    @gluon.register
    class Popping(nn.Block):
        def __init__(self, options: dict[str, Any], **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.d = nn.Dense(options.pop("units"), in_units=4)

        def forward(self, x: Any) -> Any:
            return self.d(x)

    again(Popping({"units": 3}), X)


def test_an_initializer_that_no_file_can_name_is_refused_when_saving() -> None:
    class Own(init.Uniform):
        pass

    net = nn.Dense(2, in_units=3, weight_initializer=Own(0.1))
    net.initialize()
    with pytest.raises(TypeError, match="weight_initializer of the network, a Dense is"):
        net.save("no")


def test_nesting_is_bounded() -> None:
    net: nn.Block = nn.Dense(1, in_units=1)
    for _ in range(60):
        outer = nn.Sequential()
        outer.add(net)
        net = outer
    net.initialize()
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        net.save("deep")
