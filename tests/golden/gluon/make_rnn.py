# SPDX-License-Identifier: Apache-2.0
"""Measure recurrent layers and cells of a real MXNet: rnn.json and rnn.npz, or old files.

``python make_rnn.py`` by a Python that has MXNet 1.9.1 writes rnn.json (what is printed, named
and shaped) and rnn.npz (what is computed). By one that has another release it writes
``rnn/RELEASE/*.params``, files of a few layers, and ``*.npz`` beside them with input and output.

Parameters are NumPy's RandomState(number of the case).uniform(-0.8, 0.8), one array after the
other in the order of collect_params(); after them, from the same generator, the input,
uniform(-1, 1), then the states, uniform(-1, 1), where the case uses them.
"""

from __future__ import annotations

import collections
import collections.abc
import inspect
import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent

# What the first lines of old releases ask of Python and NumPy.
for name in ("bool", "int", "float", "object", "str", "complex"):
    if name not in vars(np):
        setattr(np, name, getattr(__import__("builtins"), name))
for name in ("Mapping", "Iterable", "Callable", "Sequence", "MutableMapping"):
    if not hasattr(collections, name):
        setattr(collections, name, getattr(collections.abc, name))
if not hasattr(inspect, "getargspec"):
    inspect.getargspec = inspect.getfullargspec

import mxnet as mx  # noqa: E402
from mxnet import nd  # noqa: E402
from mxnet.gluon import rnn  # noqa: E402

STACK = (
    "stack(rnn.SequentialRNNCell(), rnn.LSTMCell(3), rnn.DropoutCell(0.3), "
    "rnn.ResidualCell(rnn.GRUCell(3)), rnn.ZoneoutCell(rnn.RNNCell(2), 0.1, 0.2))"
)
DEEP = (
    "stack(rnn.HybridSequentialRNNCell(), rnn.GRUCell(3), "
    "stack(rnn.HybridSequentialRNNCell(), rnn.LSTMCell(2), rnn.RNNCell(4, 'relu')))"
)
BOTH = "rnn.BidirectionalCell(rnn.LSTMCell(3), rnn.GRUCell(2))"
ROUND = "rnn.ResidualCell(rnn.BidirectionalCell(rnn.GRUCell(2), rnn.RNNCell(1)))"
TNC, NTC = (5, 2, 3), (2, 5, 3)

# (network, shape of x, what is computed). `s`: states of the batch; `v`: lengths.
CASES = [
    ("rnn.RNN(4)", TNC, "net(x)"),
    ("rnn.RNN(4, 2, 'tanh', bidirectional=True, input_size=3)", TNC, "net(x, s)"),
    ("rnn.RNN(3, 3, 'relu', 'NTC', 0.5)", NTC, "net(x, s)"),
    ("rnn.LSTM(4)", TNC, "net(x)"),
    ("rnn.LSTM(4)", TNC, "net(x, s)"),
    ("rnn.LSTM(4, 3, dropout=0.5)", TNC, "net(x)"),
    ("rnn.LSTM(3, layout='NTC', bidirectional=True)", NTC, "net(x, s)"),
    ("rnn.LSTM(4, 2, 'NTC', 0.2, True, 3, prefix='enc_')", NTC, "net(x, s)"),
    ("rnn.LSTM(4, 2, projection_size=2, input_size=3)", TNC, "net(x, s)"),
    ("rnn.LSTM(5, 2, bidirectional=True, projection_size=3)", TNC, "net(x, s)"),
    ("rnn.LSTM(4, dtype='float64')", TNC, "net(x.astype('float64'))"),
    ("rnn.LSTM(1, input_size=3)", (1, 1, 3), "net(x)"),
    ("rnn.LSTM(40, 2)", (30, 3, 3), "net(x)"),
    ("rnn.GRU(4)", TNC, "net(x)"),
    ("rnn.GRU(4)", TNC, "net(x, s[0])"),
    ("rnn.GRU(3, 2, 'NTC', bidirectional=True)", NTC, "net(x, s)"),
    ("rnn.GRU(3, 4, dropout=0.1, bidirectional=True, input_size=3)", TNC, "net(x, s)"),
    ("rnn.GRU(32, 2, bidirectional=True)", (20, 2, 3), "net(x, s)"),
    ("rnn.RNNCell(4)", (2, 3), "net(x, s)"),
    ("rnn.RNNCell(4, 'relu', input_size=3, prefix='r_')", (2, 3), "net(x, s)"),
    ("rnn.RNNCell(4, activation='softsign')", (2, 3), "net(x, s)"),
    ("rnn.LSTMCell(4)", (2, 3), "net(x, s)"),
    ("rnn.LSTMCell(4, activation='relu', recurrent_activation='softsign')", (2, 3), "net(x, s)"),
    ("rnn.GRUCell(4, input_size=3)", (2, 3), "net(x, s)"),
    ("rnn.DropoutCell(0.5)", (2, 3), "net(x, [])"),
    ("rnn.DropoutCell(0.5, (1,))", NTC, "net.unroll(5, x)"),
    ("rnn.ResidualCell(rnn.GRUCell(3))", (2, 3), "net(x, s)"),
    ("rnn.ZoneoutCell(rnn.LSTMCell(4), 0.3, 0.2)", (2, 3), "net(x, s)"),
    (STACK.replace("RNNCell(2)", "RNNCell(3)"), (2, 3), "net(x, s)"),
    ("rnn.LSTMCell(4)", NTC, "net.unroll(5, x)"),
    ("rnn.LSTMCell(4)", NTC, "net.unroll(5, x, merge_outputs=True)"),
    ("rnn.LSTMCell(4)", TNC, "net.unroll(5, x, s, layout='TNC', merge_outputs=True)"),
    ("rnn.GRUCell(4)", NTC, "net.unroll(5, [x[:, t] for t in range(5)], s, merge_outputs=True)"),
    ("rnn.RNNCell(4)", NTC, "net.unroll(5, x, s, valid_length=v)"),
    ("rnn.LSTMCell(4)", NTC, "net.unroll(5, x, s, merge_outputs=False, valid_length=v)"),
    ("rnn.LSTMCell(4)", TNC, "net.unroll(5, x, s, 'TNC', True, v)"),
    (BOTH, NTC, "net.unroll(5, x, s)"),
    (BOTH, NTC, "net.unroll(5, x, s, merge_outputs=True, valid_length=v)"),
    (BOTH, TNC, "net.unroll(5, x, s, 'TNC', False, v)"),
    ("rnn.ResidualCell(rnn.GRUCell(3))", NTC, "net.unroll(5, x, merge_outputs=True)"),
    ("rnn.ResidualCell(rnn.GRUCell(3))", NTC, "net.unroll(5, x, s, valid_length=v)"),
    (ROUND, NTC, "net.unroll(5, x, merge_outputs=True)"),
    (STACK.replace("RNNCell(2)", "RNNCell(3)"), NTC, "net.unroll(5, x, s)"),
    (STACK.replace("RNNCell(2)", "RNNCell(3)"), TNC, "net.unroll(5, x, s, 'TNC', True, v)"),
    (DEEP, NTC, "net.unroll(5, x, s, merge_outputs=True)"),
    (
        f"stack(rnn.HybridSequentialRNNCell(), {BOTH}, rnn.DropoutCell(0.5), rnn.GRUCell(3))",
        NTC,
        "net.unroll(5, x, s, merge_outputs=True)",
    ),
    (
        "rnn.LSTM(4, 2, dropout=0.5, bidirectional=True, input_size=3)._unfuse()",
        TNC,
        "net.unroll(5, x, s, 'TNC', True)",
    ),
    ("rnn.RNN(4, 3, 'tanh', input_size=3)._unfuse()", TNC, "net.unroll(5, x, s, 'TNC', True)"),
    ("rnn.GRU(4, 2, input_size=3)._unfuse()", TNC, "net.unroll(5, x, s, 'TNC', True)"),
]

# Of the operator: keywords, the number of inputs, and the length of the vector.
OPERATOR = [
    ({"mode": "rnn_relu", "num_layers": 1, "state_size": 4}, 36),
    ({"mode": "rnn_tanh", "num_layers": 2, "state_size": 3, "bidirectional": True}, 114),
    ({"mode": "lstm", "num_layers": 2, "state_size": 4, "bidirectional": True}, 736),
    ({"mode": "lstm", "num_layers": 2, "state_size": 4, "projection_size": 2}, 224),
    ({"mode": "gru", "num_layers": 3, "state_size": 4}, 348),
]

# Written by other releases; from 2.0 on those with a projection too.
OLD = {
    "lstm_dropout_bi": "rnn.LSTM(4, 2, dropout=0.5, bidirectional=True, input_size=3)",
    "lstm_dropout3": "rnn.LSTM(3, 3, dropout=0.5, input_size=3)",
    "gru_bi": "rnn.GRU(3, 2, bidirectional=True, input_size=3)",
    "rnn": "rnn.RNN(4, 2, input_size=3)",
    "lstm_projection": "rnn.LSTM(4, 2, projection_size=2, bidirectional=True, input_size=3)",
}


def stack(cell, *cells):
    with cell.name_scope():
        for each in cells:
            cell.add(each)
    return cell


def make(source):
    return eval(source, {"rnn": rnn, "stack": stack})


def flat(result):
    if isinstance(result, (list, tuple)):
        return [array for item in result for array in flat(item)]
    return [result.asnumpy()]


def shaped(result):
    if isinstance(result, (list, tuple)):
        return [shaped(item) for item in result]
    return list(result.shape)


def named(net):
    return {name: [p.name, list(p.shape)] for name, p in net._collect_params_with_prefix().items()}


def measure(number, source, shape, call, arrays):
    with mx.name.NameManager():
        net = make(source)
    rng = np.random.RandomState(number)
    fact = {"net": source, "shape": list(shape), "call": call, "repr": repr(net)}
    fact["prefix"] = net.prefix
    fact["named"] = named(net)
    fact["params"] = list(net.collect_params())
    fact["state_info"] = net.state_info(2)
    # One pass with zeros to know all shapes; what cannot be filled before.
    net.initialize()
    batch = (
        shape[0]
        if len(shape) == 2 or "NTC" in source or ("unroll" in call and "TNC" not in call)
        else shape[1]
    )
    zeros = net.begin_state(batch_size=batch, func=nd.zeros) if net.state_info() else []
    values = {"net": net, "x": nd.zeros(shape), "s": zeros, "v": nd.array([2, 4])}
    eval(call, values)
    fact["repr_known"] = repr(net)
    for parameter in net.collect_params().values():
        parameter.set_data(nd.array(rng.uniform(-0.8, 0.8, parameter.shape), dtype=parameter.dtype))
    values["x"] = nd.array(rng.uniform(-1, 1, shape))
    values["s"] = [nd.array(rng.uniform(-1, 1, state.shape), dtype=state.dtype) for state in zeros]
    result = eval(call, values)
    fact["result"] = shaped(result)
    for at, array in enumerate(flat(result)):
        arrays[f"{number}.{at}"] = array
    return fact


def main():
    arrays = {}
    cases = [measure(n, *case, arrays) for n, case in enumerate(CASES)]
    operator = []
    for number, (keywords, length) in enumerate(OPERATOR):
        rng = np.random.RandomState(1000 + number)
        n_rows = keywords["num_layers"] * (2 if keywords.get("bidirectional") else 1)
        x = nd.array(rng.uniform(-1, 1, (5, 2, 3)))
        vector = nd.array(rng.uniform(-0.8, 0.8, length))
        size = keywords.get("projection_size", keywords["state_size"])
        states = [nd.array(rng.uniform(-1, 1, (n_rows, 2, size)))]
        if keywords["mode"] == "lstm":
            states.append(nd.array(rng.uniform(-1, 1, (n_rows, 2, keywords["state_size"]))))
        result = nd.RNN(x, vector, *states, state_outputs=True, **keywords)
        for at, array in enumerate(flat(result)):
            arrays[f"operator{number}.{at}"] = array
        operator.append({"keywords": keywords, "length": length, "result": shaped(result)})
    text = json.dumps({"cases": cases, "operator": operator}, indent=0)
    (HERE / "rnn.json").write_text(text + "\n")
    np.savez_compressed(HERE / "rnn.npz", **arrays)


def write_old():
    is_two = mx.__version__.startswith("2")
    if is_two:
        mx.npx.set_np()
    release = {"2.0.0": "2.0.0a0", "2.0.0beta1": "2.0.0b1"}.get(mx.__version__, mx.__version__)
    folder = HERE / "rnn" / release
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, source) in enumerate(OLD.items()):
        if "projection" in source and not is_two:
            continue
        net = make(source)
        rng = np.random.RandomState(number)
        net.initialize()
        array = mx.np.array if is_two else nd.array
        x = array(rng.uniform(-1, 1, (5, 2, 3)).astype(np.float32))
        net(x)
        for parameter in net.collect_params().values():
            parameter.set_data(array(rng.uniform(-0.8, 0.8, parameter.shape).astype(np.float32)))
        net.save_parameters(str(folder / f"{name}.params"))
        np.savez_compressed(folder / f"{name}.npz", x=x.asnumpy(), y=net(x).asnumpy())


if __name__ == "__main__":
    if mx.__version__ == "1.9.1":
        main()
    else:
        write_old()
