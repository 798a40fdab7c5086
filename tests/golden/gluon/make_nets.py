# SPDX-License-Identifier: Apache-2.0
"""Collect nets.json and the files of real networks, from a folder of MXNet's reference files.

Run by a Python that has MXNet 1.9.1: ``python make_nets.py REFERENCE``. The sources of the
networks and the files are the folder's; what 1.9.1 prints and names is measured here. Nets of
MXNet 2 are rewritten in the words of 1.x, below; those whose source is lost are one Dense layer.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.gluon import nn, rnn

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "mxnet"

CAST = """def cast():
    n = nn.HybridSequential(prefix='cast_')
    with n.name_scope():
        n.add(nn.Dense(4, in_units=3), nn.BatchNorm(in_channels=4), nn.Dense(2, in_units=4))
    return n
one('cast', cast, (1, 3))"""

# What MXNet 2 wrote otherwise.
REWRITTEN = {
    "layernorm": "one('layernorm', lambda: nn.LayerNorm(), (2, 3, 5))",
    "groupnorm": "one('groupnorm', lambda: nn.GroupNorm(2), (2, 4, 3, 3))",
    "batchnorm": "one('batchnorm', lambda: nn.BatchNorm(), (2, 3, 4, 4))",
    "prelu": "one('prelu', lambda: nn.PReLU(), (2, 3, 2, 2))",
    "silu": "one('silu', lambda: nn.Swish(), (2, 5))",
    "dense": "one('dense', lambda: nn.Dense(3, in_units=5), (2, 5))",
    "cast_float16": CAST,
    "cast_float64": CAST,
    "act_softrelu": "one('act_softrelu', lambda: nn.Activation('softrelu'), (2, 5))",
}
SHARE = "params=self.first.params)"


class Unroll(nn.Block):
    def __init__(self, make, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.cell = make()

    def forward(self, x):
        return self.cell.unroll(x.shape[1], x, layout="NTC", merge_outputs=True)[0]


def source_of(net, case):
    """Return the source of a net in the words of 1.x."""
    name = re.sub(r"^(gluon_layer_|gluon_|export_)", "", case)
    given = net.get("net_source", "")
    if not given or given.startswith(("for ", " ")):
        return REWRITTEN[name] + "\n"
    return re.sub(r"\)\.share_parameters\(self\.first\.params\)", f", {SHARE}", given)


def build(source):
    made = []

    def one(name, make, shape):
        made.append(make())

    def net(name, shape):
        return lambda make: made.append(make())

    helpers = {"one": one, "net": net, "Unroll": Unroll}
    exec(source, {"nn": nn, "rnn": rnn, "nd": nd, **helpers})
    return made[-1]


def main(reference):
    nets = json.loads((reference / "nets.json").read_text())["nets"]
    records = json.loads((reference / "manifest.json").read_text())["files"]
    found, files = {}, []
    for record in records:
        if not record.get("net") or record["file"].endswith(".states"):
            continue
        key = record["net"]
        source = source_of(nets[key], record["case"])
        if key not in found:
            with mx.name.NameManager():
                net = build(source)
            net.initialize()
            inputs = []
            if record.get("io"):
                io = np.load(reference / record["io"])
                inputs = [io[f"x{n}"] for n in range(sum(k.startswith("x") for k in io))]
                shown = repr(net)
                net(*[nd.array(x, dtype=x.dtype) for x in inputs])
            found[key] = {
                "source": source,
                "before": shown if inputs else repr(net),
                "after": repr(net),
                "collect_params": repr(net.collect_params()),
                "full": {n: [list(p.shape), p.grad_req] for n, p in net.collect_params().items()},
                "structure": {n: p.name for n, p in net._collect_params_with_prefix().items()},
            }
        for path in filter(None, (record["file"], record.get("io"))):
            name = path.removeprefix("files/")
            if not (GOLDEN / name).exists():
                to = HERE / "files" / name
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(reference / path, to)
        files.append({k: record[k] for k in ("file", "how", "net", "io") if record.get(k)})
        files[-1]["file"] = record["file"].removeprefix("files/")
    text = json.dumps({"nets": found, "files": files}, indent=0)
    (HERE / "nets.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
