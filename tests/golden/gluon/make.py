# SPDX-License-Identifier: Apache-2.0
"""Measure MXNet 1.9.1's layers and ResNets: writes layers.json, layers.npz, resnets.json.

Run by a Python that has it: ``python make.py [FOLDER]``. What is measured, and how inputs and
parameters come about, is said in README.md beside this file. Sources are Python expressions,
so that they make the same layer here and there.
"""

import inspect
import json
import sys
import warnings
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.gluon import nn
from mxnet.gluon.contrib import nn as contrib
from mxnet.gluon.model_zoo.vision import resnet

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))
from gluon_cases import (  # noqa: E402
    blocks,
    digest,
    inputs_of,
    parameters,
    signature_of,
    sources,
    value_of,
)

warnings.simplefilter("ignore")


NAMES = sources(mx, nn, contrib, resnet)

# Source, shape of the input (or shapes of several), and their dtype; a number instead of a dtype:
# integers below it.
CASES = [
    # Dense and what is made of its input's shape.
    ("nn.Dense(3)", (2, 4)),
    ("nn.Dense(3, in_units=4)", (2, 4)),
    ("nn.Dense(3, activation='relu', in_units=4)", (2, 4)),
    ("nn.Dense(3, activation='softsign')", (2, 4)),
    ("nn.Dense(3, use_bias=False)", (2, 4)),
    ("nn.Dense(3, flatten=False)", (2, 3, 4)),
    ("nn.Dense(3, 'tanh')", (2, 3, 4)),
    ("nn.Dense(3, dtype='float64')", (2, 4), "float64"),
    ("nn.Dense(3, prefix='fc_', bias_initializer='ones')", (2, 4)),
    ("nn.Dropout(0.5)", (2, 3)),
    ("nn.Dropout(0)", (2, 3)),
    ("nn.Dropout(0.3, axes=(0,))", (2, 3)),
    ("nn.Embedding(7, 3)", (2, 4), 7),
    ("nn.Embedding(7, 3, sparse_grad=True)", (4,), 7),
    ("nn.Embedding(7, 3, dtype='float16')", (4,), 7),
    ("nn.Flatten()", (2, 3, 4)),
    # Activations.
    ("nn.Activation('relu')", (2, 5)),
    ("nn.Activation('sigmoid')", (2, 5)),
    ("nn.Activation('tanh')", (2, 5)),
    ("nn.Activation('softrelu')", (2, 5)),
    ("nn.Activation('softsign')", (2, 5)),
    ("nn.LeakyReLU(0.1)", (2, 5)),
    ("nn.PReLU()", (2, 3, 4)),
    ("nn.PReLU(in_channels=3)", (2, 3, 4)),
    ("nn.PReLU(mx.init.Constant(0.9), 3)", (2, 3)),
    ("nn.ELU()", (2, 5)),
    ("nn.ELU(0.3)", (2, 5)),
    ("nn.SELU()", (2, 5)),
    ("nn.GELU()", (2, 5)),
    ("nn.Swish()", (2, 5)),
    ("nn.Swish(2.5)", (2, 5)),
    # Normalization.
    ("nn.BatchNorm()", (2, 3, 4)),
    ("nn.BatchNorm(in_channels=3)", (2, 3)),
    ("nn.BatchNorm(axis=-1, epsilon=0.01, momentum=0.5)", (2, 4, 3)),
    ("nn.BatchNorm(scale=False)", (2, 3, 4)),
    ("nn.BatchNorm(center=False)", (2, 3, 4)),
    ("nn.BatchNorm(use_global_stats=True, scale=False, center=False)", (2, 3, 2, 2)),
    ("nn.BatchNormReLU(in_channels=3)", (2, 3, 4, 4)),
    ("contrib.SyncBatchNorm(in_channels=3, num_devices=2)", (2, 3, 4)),
    ("nn.LayerNorm()", (2, 3, 5)),
    ("nn.LayerNorm(axis=1, epsilon=0.01, in_channels=3)", (2, 3, 5)),
    ("nn.LayerNorm(center=False, scale=False)", (2, 3, 5)),
    ("nn.GroupNorm()", (2, 4, 3)),
    ("nn.GroupNorm(2, epsilon=0.01)", (2, 4, 3, 3)),
    ("nn.GroupNorm(num_groups=4, center=False, scale=False)", (2, 4, 3)),
    ("nn.InstanceNorm()", (2, 3, 5)),
    ("nn.InstanceNorm(scale=True, center=False, in_channels=3)", (2, 3, 4, 5)),
    ("nn.InstanceNorm(axis=-1, epsilon=0.01)", (2, 4, 3)),
    ("nn.InstanceNorm(axis=2)", (2, 4, 3, 5)),
    # Convolutions.
    ("nn.Conv1D(4, 3)", (2, 3, 9)),
    ("nn.Conv1D(4, 3, 2, 1, 2, in_channels=3, activation='relu')", (2, 3, 9)),
    ("nn.Conv2D(4, 3)", (2, 3, 7, 6)),
    ("nn.Conv2D(4, (3, 2), strides=(2, 1), padding=(1, 0), in_channels=3)", (2, 3, 7, 6)),
    ("nn.Conv2D(4, 3, dilation=2, padding=2, use_bias=False)", (2, 3, 7, 6)),
    ("nn.Conv2D(4, 3, groups=2, in_channels=6)", (2, 6, 5, 5)),
    ("nn.Conv2D(6, 3, groups=6, padding=1, activation='sigmoid')", (2, 6, 5, 5)),
    ("nn.Conv2D(4, 1, 2, weight_initializer='ones', bias_initializer='ones')", (2, 3, 5, 5)),
    ("nn.Conv3D(3, 2)", (1, 2, 4, 3, 5)),
    ("nn.Conv3D(4, (1, 2, 3), (1, 2, 1), (0, 1, 1), groups=2, in_channels=2)", (1, 2, 4, 3, 5)),
    ("nn.Conv1DTranspose(4, 3)", (2, 3, 5)),
    ("nn.Conv1DTranspose(4, 3, strides=2, padding=1, output_padding=1)", (2, 3, 5)),
    ("nn.Conv2DTranspose(4, 3)", (2, 3, 4, 5)),
    (
        "nn.Conv2DTranspose(4, 3, strides=2, padding=1, output_padding=1, in_channels=3, "
        "activation='relu', use_bias=False)",
        (2, 3, 4, 5),
    ),
    ("nn.Conv2DTranspose(4, (2, 3), dilation=(2, 1), groups=2, in_channels=6)", (1, 6, 4, 5)),
    ("nn.Conv3DTranspose(2, 2, 2, 0, 1)", (1, 3, 2, 3, 2)),
    # Poolings.
    ("nn.MaxPool1D()", (2, 3, 7)),
    ("nn.MaxPool1D(3, 2, 1, ceil_mode=True)", (2, 3, 8)),
    ("nn.MaxPool2D()", (2, 3, 6, 7)),
    ("nn.MaxPool2D((3, 2), (2, 1), (1, 0), ceil_mode=True)", (2, 3, 6, 7)),
    ("nn.MaxPool3D()", (1, 2, 4, 4, 5)),
    ("nn.MaxPool3D(2, 1, 1, ceil_mode=True)", (1, 2, 3, 4, 5)),
    ("nn.AvgPool1D()", (2, 3, 7)),
    ("nn.AvgPool1D(3, 2, 1, 'NCW', True)", (2, 3, 8)),
    ("nn.AvgPool2D()", (2, 3, 6, 7)),
    ("nn.AvgPool2D(3, 2, 1, True)", (2, 3, 6, 7)),
    ("nn.AvgPool2D(3, 2, 1, count_include_pad=False)", (2, 3, 6, 7)),
    ("nn.AvgPool3D()", (1, 2, 4, 4, 5)),
    ("nn.AvgPool3D(3, 2, 1, True, count_include_pad=False)", (1, 2, 4, 4, 5)),
    ("nn.GlobalMaxPool1D()", (2, 3, 7)),
    ("nn.GlobalMaxPool2D()", (2, 3, 4, 5)),
    ("nn.GlobalMaxPool3D()", (1, 2, 3, 4, 5)),
    ("nn.GlobalAvgPool1D()", (2, 3, 7)),
    ("nn.GlobalAvgPool2D()", (2, 3, 4, 5)),
    ("nn.GlobalAvgPool3D()", (1, 2, 3, 4, 5)),
    ("nn.ReflectionPad2D(2)", (1, 2, 4, 5)),
    ("nn.ReflectionPad2D((0, 0, 0, 0, 1, 2, 0, 3))", (1, 2, 4, 5)),
    # Functions.
    ("nn.Lambda('relu')", (2, 3)),
    ("nn.Lambda(lambda x: x * 2)", (2, 3)),
    ("nn.HybridLambda('tanh')", (2, 3)),
    ("nn.HybridLambda(lambda F, x: F.sigmoid(x))", (2, 3)),
    ("nn.HybridLambda('broadcast_add')", ((2, 3), (1, 3))),
    # Blocks of blocks.
    ("nn.Sequential()", (2, 3)),
    ("nn.HybridSequential()", (2, 3)),
    ("chain(nn.Sequential, nn.Dense(4, 'relu'), nn.Lambda('square'), nn.Dense(2))", (2, 3)),
    (
        "chain(nn.HybridSequential, nn.Conv2D(4, 3), nn.BatchNorm(), nn.Activation('relu'), "
        "nn.MaxPool2D(), nn.Flatten(), nn.Dropout(0.5), nn.Dense(3))",
        (2, 1, 6, 6),
    ),
    ("chain(nn.HybridSequential, Split(), Plus(), nn.Dense(2))", (2, 3)),
    ("chain(nn.Sequential, nn.Flatten(), Split())", (2, 3)),
    (
        "scoped(nn.HybridSequential, 'net_', lambda: nn.Dense(4, 'relu'), "
        "lambda: nn.Dense(3, prefix='top_'), lambda: nn.Dense(2))",
        (2, 3),
    ),
    (
        "scoped(nn.Sequential, None, lambda: nn.Conv1D(2, 1), lambda: scoped("
        "nn.Sequential, '', lambda: nn.Conv1D(3, 2), lambda: nn.MaxPool1D()), "
        "lambda: nn.BatchNorm())",
        (2, 3, 6),
    ),
    ("chain(nn.Sequential, nn.Dense(2), nn.Flatten(), nn.Dense(3))[1:]", (2, 3)),
    ("chain(nn.HybridSequential, nn.Dense(2), nn.Flatten(), nn.Dense(3))[::2]", (2, 3)),
    ("chain(nn.HybridSequential, nn.Dense(2), nn.Flatten(), nn.Dense(3))[-1]", (2, 3)),
    ("shared()", (2, 4)),
    ("branches(contrib.Concurrent, nn.Dense(2), nn.Dense(3), contrib.Identity())", (2, 3)),
    ("branches(contrib.HybridConcurrent, nn.Conv2D(2, 1), contrib.Identity())", (1, 2, 3, 3)),
    ("chain(contrib.HybridConcurrent, nn.Dense(2), nn.Dense(3))", (2, 3)),
    ("contrib.Identity()", (2, 3)),
    ("contrib.PixelShuffle1D(3)", (1, 6, 4)),
    ("contrib.PixelShuffle2D((2, 3))", (1, 12, 2, 3)),
    ("contrib.PixelShuffle3D(2)", (1, 8, 2, 1, 2)),
]

# What MXNet does not compute on a CPU, but names and shapes all the same.
NAMED_ONLY = [
    "nn.Dense(3, dtype='float16', in_units=4)",
    "nn.Conv2D(4, 3, layout='NHWC', in_channels=2)",
    "nn.Conv2D(4, 3, layout='NHWC')",
    "nn.Conv3D(4, 3, layout='NDHWC', in_channels=2)",
    "nn.Conv2DTranspose(4, 3, layout='NHWC', in_channels=2)",
    "nn.MaxPool2D(3, layout='NHWC')",
    "nn.GlobalAvgPool3D(layout='NDHWC')",
    "nn.BatchNorm(in_channels=2, axis=3)",
    "contrib.SparseEmbedding(7, 3)",
    "contrib.SyncBatchNorm()",
]
CASTS = [
    ("nn.Dense(3, in_units=4)", (2, 4), "float64"),
    ("nn.Conv2D(4, 3, in_channels=3)", (2, 3, 5, 5), "float64"),
    *[
        (source, shape, dtype)
        for dtype in ("float16", "float64")
        for source, shape in [
            ("nn.BatchNorm(in_channels=3)", (2, 3, 4)),
            ("nn.LayerNorm(in_channels=5)", (2, 5)),
            ("nn.GELU()", (2, 5)),
        ]
    ],
]
RESNETS = [
    f"resnet.resnet{depth}_v{version}" for version in (1, 2) for depth in (18, 34, 50, 101, 152)
]
SMALL = [
    "resnet.ResNetV1(resnet.BasicBlockV1, [1, 1], [4, 4, 8], classes=5, thumbnail=True)",
    "resnet.ResNetV1(resnet.BottleneckV1, [1, 2], [4, 8, 16], classes=5)",
    "resnet.ResNetV2(resnet.BasicBlockV2, [2, 1], [4, 4, 8], classes=5, prefix='net_')",
    "resnet.ResNetV2(resnet.BottleneckV2, [1, 1], [4, 4, 8], classes=5, thumbnail=True)",
]


def make(source):
    with mx.name.NameManager():
        return eval(source, dict(NAMES))


def shapes_of(shape):
    return [list(item) for item in ([shape] if isinstance(shape[0], int) else shape)]


def fill(net):
    for name, parameter in net._collect_params_with_prefix().items():
        parameter.set_data(nd.array(value_of(name, parameter.shape), dtype="float64"))


def measure(source, shape, kind="float32", cast=None):
    net = make(source)
    said = {
        "source": source,
        "inputs": shapes_of(shape),
        "kind": kind,
        "repr": repr(net),
        "blocks": blocks(net),
        "parameters": parameters(net),
    }
    net.initialize()
    if cast:
        net.cast(cast)
        said["cast"] = cast
    given = [nd.array(x, dtype=x.dtype) for x in inputs_of(said)]
    net(*given)
    said["repr_after"] = repr(net)
    said["parameters_after"] = parameters(net)
    fill(net)
    outputs = net(*given)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    return said, [x.asnumpy() for x in outputs]


def named(source):
    net = make(source)
    return {
        "source": source,
        "repr": repr(net),
        "blocks": blocks(net),
        "parameters": parameters(net),
    }


def signatures():
    """Return what each class is made with: names, and defaults where there are any."""
    found = {}
    for module in (nn, contrib, resnet):
        for name, cls in vars(module).items():
            if inspect.isclass(cls) and issubclass(cls, mx.gluon.Block) and name[0] != "_":
                found[name] = signature_of(cls)
    del found["SymbolBlock"]
    return dict(sorted(found.items()))


def write(path, said):
    """Write JSON, one item of each part to a line."""
    parts = []
    for key, part in said.items():
        if isinstance(part, dict):
            rows = [f"{json.dumps(name)}: {json.dumps(item)}" for name, item in part.items()]
            text = "{\n" + ",\n".join(rows) + "\n}"
        elif isinstance(part, list):
            text = "[\n" + ",\n".join(map(json.dumps, part)) + "\n]"
        else:
            text = json.dumps(part)
        parts.append(f"{json.dumps(key)}: {text}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", "utf-8")


def main(folder):
    cases, outputs = [], {}
    for case in [*CASES, *[(*case, case[-1]) for case in CASTS]]:
        said, computed = measure(*case)
        for number, output in enumerate(computed):
            outputs[f"{len(cases)}.{number}"] = output
        said["outputs"] = len(computed)
        cases.append(said)
    layers = {
        "mxnet": mx.__version__,
        "signatures": signatures(),
        "cases": cases,
        "named": [named(source) for source in NAMED_ONLY],
    }
    write(folder / "layers.json", layers)

    resnets = {"mxnet": mx.__version__, "full": {}, "small": [], "outputs": {}}
    for source in RESNETS:
        for thumbnail in (False, True):
            call = f"{source}(classes=10, thumbnail={thumbnail})"
            net = make(call)
            resnets["full"][call] = {
                "repr": digest(repr(net)),
                "blocks": digest(blocks(net)),
                "parameters": digest(parameters(net)),
                "count": len(net.collect_params().keys()),
            }
    for source in SMALL:
        said, computed = measure(source, (1, 3, 32, 32))
        said["output"] = [float(x) for x in computed[0].ravel()]
        resnets["small"].append(said)
    for source in ("resnet18_v1", "resnet18_v2", "resnet50_v1", "resnet50_v2"):
        call = f"resnet.{source}(classes=10)"
        _, computed = measure(call, (1, 3, 64, 64))
        resnets["outputs"][call] = [float(x) for x in computed[0].ravel()]
    write(folder / "resnets.json", resnets)
    np.savez_compressed(folder / "layers.npz", **outputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
