# SPDX-License-Identifier: Apache-2.0
"""Networks of real Gluon programs: built by their source, restored from their files.

tests/golden/gluon/nets.json has the sources, what MXNet 1.9.1 prints and names, and which
files real releases wrote of them; `io` files hold inputs and outputs of real forward passes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mxio import nd
from mxio.gluon import Block, nn, rnn
from mxio.name import NameManager

HERE = Path(__file__).parent / "golden"
GOLDEN = json.loads((HERE / "gluon" / "nets.json").read_text("utf-8"))
NETS: dict[str, Any] = GOLDEN["nets"]
FILES: list[dict[str, str]] = GOLDEN["files"]


def path_of(name: str) -> Path:
    """Return the path of a reference file: some are also those of other tests."""
    found = HERE / "mxnet" / name
    return found if found.exists() else HERE / "gluon" / "files" / name


class Unroll(nn.Block):
    """A cell over all time steps, as the sources use it."""

    def __init__(self, make: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.cell = make()

    def forward(self, x: Any) -> Any:
        return self.cell.unroll(x.shape[1], x, layout="NTC", merge_outputs=True)[0]


def build(source: str) -> Block:
    """Run the source of a network, with `mxio` for `mxnet`."""
    made: list[Block] = []
    names = {
        "one": lambda name, make, shape: made.append(make()),
        "net": lambda name, shape: lambda make: made.append(make()),
        "nn": nn,
        "rnn": rnn,
        "nd": nd,
        "Unroll": Unroll,
    }
    exec(source.replace("mxnet", "mxio"), names)
    return made[-1]


def fresh(key: str) -> Block:
    with NameManager():
        return build(NETS[key]["source"])


def passes(file: dict[str, str]) -> tuple[list[Any], list[Any]]:
    """Return inputs and outputs of a real forward pass."""
    with np.load(path_of(file["io"])) as io:
        inputs = [io[f"x{n}"] for n in range(sum(key.startswith("x") for key in io))]
        outputs = [io[f"y{n}"] for n in range(sum(key.startswith("y") for key in io))]
    return inputs, outputs


def assert_computes(net: Block, file: dict[str, str]) -> None:
    inputs, outputs = passes(file)
    found = net(*inputs)
    found = found if isinstance(found, (list, tuple)) else [found]
    for ours, theirs in zip(found, outputs, strict=True):
        assert ours.shape == theirs.shape
        largest = np.abs(theirs).max()
        assert np.abs(np.asarray(ours) - theirs).max() <= 1e-5 * largest, file["file"]


@pytest.mark.parametrize("key", sorted(NETS))
def test_a_network_prints_and_names_as_mxnet(key: str) -> None:
    expected = NETS[key]
    net = fresh(key)
    net.initialize()
    assert repr(net) == expected["before"]
    file = next((file for file in FILES if file["net"] == key and "io" in file), None)
    if file is not None:
        net(*passes(file)[0])
    assert repr(net) == expected["after"]
    assert repr(net.collect_params()) == expected["collect_params"]
    full = {name: [list(p.shape), p.grad_req] for name, p in net.collect_params().items()}
    assert full == expected["full"]
    assert list(full) == list(expected["full"])
    structure = {name: p.name for name, p in net._collect_params_with_prefix().items()}
    assert structure == expected["structure"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["file"])
def test_a_real_file_restores_its_network(file: dict[str, str]) -> None:
    net = fresh(file["net"])
    cast = "cast(" in file["how"]
    net.load_parameters(path_of(file["file"]), cast_dtype=cast, dtype_source="saved")
    if "io" in file:
        assert_computes(net, file)
    else:
        assert cast
        dtype = net[0].weight.data().dtype.name  # type: ignore[index]
        assert f"'{dtype}'" in file["how"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["file"])
def test_names_do_not_depend_on_what_was_made_before(file: dict[str, str]) -> None:
    """In MXNet, files with full names load only where the same blocks are made before."""
    with NameManager():
        for _ in range(11):
            build(NETS[file["net"]]["source"])
        net = build(NETS[file["net"]]["source"])
    net.load_parameters(path_of(file["file"]), cast_dtype="cast(" in file["how"])
    if "io" in file:
        assert_computes(net, file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["file"])
def test_what_mxnet_wrote_is_written_again(file: dict[str, str], tmp_path: Path) -> None:
    """save_parameters, ParameterDict.save and export give the files of 1.9.1, byte for byte."""
    if not file["file"].startswith("1.9.1/"):
        pytest.skip("the file is of a release with another layout or other names")
    net = fresh(file["net"])
    net.load_parameters(path_of(file["file"]), cast_dtype=True, dtype_source="saved")
    path = tmp_path / "again-0000.params"
    how = file["how"]
    if "export" in how:
        assert isinstance(net, nn.HybridBlock)
        assert net.export(tmp_path / "again") == str(path)
    elif "strip_prefix" in how:
        net.collect_params().save(path, strip_prefix=net.prefix, format="mxnet")
    elif "collect_params" in how or ("save_params" in how and ".save_params." in file["file"]):
        strip = net.prefix if "save_params" in how else ""
        net.collect_params().save(path, strip_prefix=strip, format="mxnet")
    else:
        net.save_parameters(path, "deduplicate=True" in how, format="mxnet")
    if "export" in how:  # in the order of MXNet's graph, which is not there
        ours, theirs = mxio.load(path), mxio.load(path_of(file["file"]))
        assert sorted(ours) == sorted(theirs)
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
        assert path.stat().st_size == path_of(file["file"]).stat().st_size
    else:
        assert path.read_bytes() == path_of(file["file"]).read_bytes()


@pytest.mark.parametrize("key", sorted(NETS))
@pytest.mark.parametrize("format", ["mxio", "mxnet", "safetensors", "npz"])
def test_a_network_comes_back_in_every_format(key: str, format: str, tmp_path: Path) -> None:
    file = next((file for file in FILES if file["net"] == key and "io" in file), None)
    if file is None:
        pytest.skip("no forward pass of this network is on record")
    net = fresh(key)
    net.load_parameters(path_of(file["file"]))
    y = net(*passes(file)[0])
    net.save_parameters(tmp_path / "f", format=format)
    clone = fresh(key)
    clone.load_parameters(tmp_path / "f")
    again = clone(*passes(file)[0])
    for one, other in zip(
        y if isinstance(y, list) else [y], again if isinstance(y, list) else [again], strict=True
    ):
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_every_file_is_used() -> None:
    """So that a file that is lost, or comes later, is noticed."""
    assert len(FILES) == 118
    assert all(path_of(file["file"]).exists() for file in FILES)
    assert {file["net"] for file in FILES} == set(NETS)
