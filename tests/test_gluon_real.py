# SPDX-License-Identifier: Apache-2.0
"""Networks go to the real MXNet 1.9.1 and come back: same source, same file, same output.

For MXIO_MXNET_PYTHON see test_mxnet_real.py.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_gluon_nets import FILES, NETS, fresh, passes

from mxio.gluon.model_zoo import vision
from mxio.name import NameManager

PYTHON = os.environ.get("MXIO_MXNET_PYTHON")

pytestmark = pytest.mark.skipif(
    PYTHON is None, reason="MXIO_MXNET_PYTHON names no interpreter with MXNet"
)

# Runs there: builds a network, loads what mxio wrote of it, says what it computes, and writes
# the network in every way there is.
THERE = """
import json, sys, warnings
import numpy as np
import mxnet as mx
from mxnet import nd
from mxnet.gluon import nn, rnn

warnings.simplefilter("ignore")

class Unroll(nn.Block):
    def __init__(self, make, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.cell = make()
    def forward(self, x):
        return self.cell.unroll(x.shape[1], x, layout="NTC", merge_outputs=True)[0]

def build(source):
    made = []
    names = dict(nn=nn, rnn=rnn, nd=nd, Unroll=Unroll,
                 one=lambda name, make, shape: made.append(make()),
                 net=lambda name, shape: lambda make: made.append(make()))
    exec(source, names)
    return made[-1]

folder = sys.argv[1]
for case, source in json.load(open(folder + "/sources.json")).items():
    x = nd.array(np.load(folder + "/" + case + ".x.npy"), dtype="float32")
    with mx.name.NameManager():
        net = build(source)
    net.load_parameters(folder + "/" + case + ".params")
    y = net(x)
    np.save(folder + "/" + case + ".y.npy", y.asnumpy())
    for p in net.collect_params().values():
        if p.grad_req != "null" or p.name.endswith("mean"):
            p.set_data(p.data() * 0.5 + 0.01)
    y = net(x)
    np.save(folder + "/" + case + ".y2.npy", y.asnumpy())
    net.save_parameters(folder + "/" + case + ".back.params")
    net.collect_params().save(folder + "/" + case + ".full.params")
    if isinstance(net, nn.HybridBlock):
        net.hybridize()
        net(x)
        net.export(folder + "/" + case + ".export")
"""

RESNET = """from mxnet.gluon.model_zoo import vision
one("resnet", lambda: vision.resnet18_v1(), None)
"""


def there(folder: Path) -> None:
    assert PYTHON is not None
    done = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", THERE, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr


def assert_close(ours: Any, theirs: Any, case: str) -> None:
    assert np.abs(np.asarray(ours) - theirs).max() <= 1e-5 * np.abs(theirs).max(), case


def test_networks_go_there_and_come_back(tmp_path: Path) -> None:
    sources, inputs = {"resnet18": RESNET}, {}
    inputs["resnet18"] = np.random.RandomState(1).uniform(size=(1, 3, 64, 64)).astype("f4")
    nets: dict[str, Any] = {}
    for file in FILES:
        key = file["net"]
        if "io" in file and key not in sources:
            sources[key] = NETS[key]["source"]
            inputs[key] = passes(file)[0][0]
    ours = {}
    for case in sources:
        if case == "resnet18":
            with NameManager():
                nets[case] = vision.resnet18_v1()
        else:
            nets[case] = fresh(case)
        nets[case].initialize("xavier" if case == "resnet18" else None)
        ours[case] = np.asarray(nets[case](inputs[case]))
        nets[case].save_parameters(tmp_path / f"{case}.params", format="mxnet")
        np.save(tmp_path / f"{case}.x.npy", inputs[case])
    (tmp_path / "sources.json").write_text(json.dumps(sources))
    there(tmp_path)
    for case, net in nets.items():
        assert_close(ours[case], np.load(tmp_path / f"{case}.y.npy"), case)
        expected = np.load(tmp_path / f"{case}.y2.npy")
        for way in (".back.params", ".full.params", ".export-0000.params"):
            path = tmp_path / f"{case}{way}"
            if way != ".export-0000.params" or path.exists():
                net.initialize(force_reinit=True)
                net.load_parameters(path)
                assert_close(net(inputs[case]), expected, f"{case}, {way}")
