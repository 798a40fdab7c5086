# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers and cells are called, named, shaped and computed as in MXNet 1.9.1.

tests/golden/gluon/make_rnn.py measured the facts by the real one; rnn/RELEASE holds files of
other releases, which named the parameters otherwise.
"""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio
from mxio import gluon, nd
from mxio.errors import ParameterError
from mxio.gluon import HybridBlock, rnn
from mxio.name import NameManager
from mxio.nd import _recurrent

Array = np.ndarray[Any, Any]
HERE = Path(__file__).parent / "golden" / "gluon"
FACTS: dict[str, Any] = json.loads((HERE / "rnn.json").read_text("utf-8"))
CASES: list[dict[str, Any]] = FACTS["cases"]
OPERATOR: list[dict[str, Any]] = FACTS["operator"]
with np.load(HERE / "rnn.npz") as _arrays:
    ARRAYS: dict[str, Array] = dict(_arrays)
PYTHON = os.environ.get("MXIO_MXNET_PYTHON")


def stack(cell: Any, *cells: Any) -> Any:
    with cell.name_scope():
        for each in cells:
            cell.add(each)
    return cell


def make(source: str) -> Any:
    with NameManager():
        return eval(source, {"rnn": rnn, "stack": stack})


def flat(result: Any) -> list[Array]:
    if isinstance(result, (list, tuple)):
        return [array for item in result for array in flat(item)]
    assert isinstance(result, nd.NDArray)
    return [np.asarray(result)]


def shaped(result: Any) -> list[Any]:
    if isinstance(result, (list, tuple)):
        return [shaped(item) for item in result]
    return list(result.shape)


def fill(net: Any, rng: np.random.RandomState) -> None:
    for parameter in net.collect_params().values():
        parameter.set_data(rng.uniform(-0.8, 0.8, parameter.shape))


def assert_close(ours: Array, theirs: Array, bound: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    assert np.abs(ours - theirs).max() <= bound * np.abs(theirs).max()


def computed(number: int) -> tuple[Any, Any]:
    """Return the network of a case, and what it computes of the arrays of the case."""
    case = CASES[number]
    net, shape, call = make(case["net"]), case["shape"], case["call"]
    net.initialize()
    is_turned = len(shape) == 2 or "NTC" in case["net"] or ("unroll" in call and "TNC" not in call)
    zeros = net.begin_state(batch_size=shape[0 if is_turned else 1])
    values = {"net": net, "x": nd.zeros(shape), "s": zeros, "v": nd.array([2, 4])}
    eval(call, values)
    rng = np.random.RandomState(number)
    fill(net, rng)
    values["x"] = nd.array(rng.uniform(-1, 1, shape))
    values["s"] = [nd.array(rng.uniform(-1, 1, s.shape), dtype=s.dtype) for s in zeros]
    return net, eval(call, values)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: CASES[n]["net"][:40])
def test_layers_and_cells_are_as_in_mxnet(number: int) -> None:
    case = CASES[number]
    net = make(case["net"])
    assert repr(net) == case["repr"]
    assert net.prefix == case["prefix"]
    assert list(net.collect_params()) == case["params"]
    # (1.9.1 has the dtypes of layers in words, as here, and none of cells.)
    info = [{**item, "shape": list(item["shape"])} for item in net.state_info(2)]
    assert info == case["state_info"]
    named = {n: [p.name, list(p.shape)] for n, p in net._collect_params_with_prefix().items()}
    assert named == case["named"]
    assert list(named) == list(case["named"])

    net, result = computed(number)
    assert repr(net) == case["repr_known"]
    assert shaped(result) == case["result"]
    arrays = flat(result)
    assert len(arrays) == sum(key.startswith(f"{number}.") for key in ARRAYS)
    for at, array in enumerate(arrays):
        assert_close(array, ARRAYS[f"{number}.{at}"])


def operator_inputs(number: int) -> tuple[Any, ...]:
    keywords, length = OPERATOR[number]["keywords"], OPERATOR[number]["length"]
    rng = np.random.RandomState(1000 + number)
    x, vector = rng.uniform(-1, 1, (5, 2, 3)), rng.uniform(-0.8, 0.8, length)
    n_rows = keywords["num_layers"] * (2 if keywords.get("bidirectional") else 1)
    size = keywords.get("projection_size", keywords["state_size"])
    states = [rng.uniform(-1, 1, (n_rows, 2, size))]
    if keywords["mode"] == "lstm":
        states.append(rng.uniform(-1, 1, (n_rows, 2, keywords["state_size"])))
    return tuple(nd.array(array) for array in (x, vector, *states))


@pytest.mark.parametrize("number", range(len(OPERATOR)))
def test_the_operator_takes_one_vector_of_parameters(number: int) -> None:
    keywords = OPERATOR[number]["keywords"]
    result = nd.RNN(*operator_inputs(number), state_outputs=True, **keywords)
    assert shaped(result) == OPERATOR[number]["result"]
    for at, array in enumerate(result):
        assert_close(np.asarray(array), ARRAYS[f"operator{number}.{at}"])
    alone = nd.RNN(*operator_inputs(number), **keywords)
    assert (alone == result[0]).all()


# ---- files of other releases -----------------------------------------------------------------

OLD = {
    "lstm_dropout_bi": "rnn.LSTM(4, 2, dropout=0.5, bidirectional=True)",
    "lstm_dropout3": "rnn.LSTM(3, 3, dropout=0.5)",
    "gru_bi": "rnn.GRU(3, 2, bidirectional=True)",
    "rnn": "rnn.RNN(4, 2)",
    "lstm_projection": "rnn.LSTM(4, 2, projection_size=2, bidirectional=True)",
}


def old_files() -> list[Path]:
    found = sorted(HERE.glob("rnn/*/*.params"))
    assert len(found) == 14
    return found


class Wrapped(HybridBlock):
    """A layer inside of a network, so that its names are not all there is."""

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = layer

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.encoder(x)


@pytest.mark.parametrize("path", old_files(), ids=lambda p: f"{p.parent.name}-{p.stem}")
@pytest.mark.parametrize("is_inner", [False, True])
def test_files_of_releases_that_named_otherwise_load(path: Path, is_inner: bool) -> None:
    net = make(OLD[path.stem])
    if is_inner:
        held = mxio.load(path)
        file = io.BytesIO()
        mxio.save(file, {f"encoder.{name}": array for name, array in held.items()})
        file.seek(0)
        net = Wrapped(net)
        source: Any = file
    else:
        source = path
    net.load_parameters(source)
    with np.load(path.with_suffix(".npz")) as passed:
        assert_close(np.asarray(net(passed["x"])), passed["y"])


def test_the_flat_vector_is_cut_into_views_and_tells_the_input_size() -> None:
    layer = rnn.LSTM(4, 2, bidirectional=True)
    vector = np.arange(736, dtype=np.float32)
    parts = layer._unpack_flat(vector)
    assert set(parts) == set(layer._collect_params_with_prefix())
    assert parts["_unfused.0.l_cell.i2h_weight"].shape == (16, 3)
    assert sum(part.size for part in parts.values()) == vector.size
    assert all(np.shares_memory(part, vector) for part in parts.values())
    assert parts["_unfused.1.r_cell.h2h_bias"][-1] == 735
    assert parts["_unfused.0.r_cell.i2h_weight"][0, 0] == 16 * 3 + 16 * 4  # after the way there
    for wrong in (np.zeros(735, np.float32), np.zeros(640, np.float32), np.zeros((736, 1))):
        with pytest.raises(ValueError, match=r"640 \+ 32 \* \(input size\)"):
            layer._unpack_flat(wrong)
    with pytest.raises(ValueError, match=r"length 800 \(input size 5\)"):
        rnn.LSTM(4, 2, bidirectional=True, input_size=5)._unpack_flat(vector)


def test_ten_layers_and_more_have_names_too() -> None:
    names = list(rnn.GRU(2, 12)._collect_params_with_prefix())
    assert names[-1] == "_unfused.11.h2h_bias"


def test_a_layer_comes_back_with_its_architecture(tmp_path: Path) -> None:
    bias = mxio.init.LSTMBias(2.0)
    for net in (
        rnn.LSTM(4, 2, "NTC", bidirectional=True, i2h_bias_initializer=bias, prefix="enc_"),
        stack(rnn.HybridSequentialRNNCell(), rnn.GRUCell(3), rnn.DropoutCell(0.5)),
    ):
        net.initialize()
        x = nd.random.uniform(shape=(2, 5, 3))
        before = flat(net(x) if isinstance(net, rnn.LSTM) else net.unroll(5, x))
        net.save(tmp_path / "net")
        again = gluon.load(tmp_path / "net")
        assert repr(again) == repr(net)
        assert list(again.collect_params()) == list(net.collect_params())
        after = flat(again(x) if isinstance(net, rnn.LSTM) else again.unroll(5, x))
        assert all((a == b).all() for a, b in zip(after, before, strict=True))


# ---- mathematics -----------------------------------------------------------------------------


def dot(row: Array, x: Array) -> float:
    return sum(float(a) * float(b) for a, b in zip(row, x, strict=True))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def one_step(kind: str, p: dict[str, Array], x: Array, h: Array, c: Array) -> tuple[Any, Any]:
    """Compute a step, number by number, from the formulas in the books."""
    n = len(h)
    wx = [dot(row, x) + b for row, b in zip(p["i2h_weight"], p["i2h_bias"], strict=True)]
    uh = [dot(row, h) + b for row, b in zip(p["h2h_weight"], p["h2h_bias"], strict=True)]
    if kind == "RNN":
        return [math.tanh(a + b) for a, b in zip(wx, uh, strict=True)], c
    if kind == "LSTM":
        both = [a + b for a, b in zip(wx, uh, strict=True)]
        cell, out = [], []
        for k in range(n):
            i, f, o = (sigmoid(both[gate * n + k]) for gate in (0, 1, 3))
            cell.append(f * c[k] + i * math.tanh(both[2 * n + k]))
            out.append(o * math.tanh(cell[-1]))
        return out, cell
    out = []
    for k in range(n):
        r, z = (sigmoid(wx[gate * n + k] + uh[gate * n + k]) for gate in (0, 1))
        new = math.tanh(wx[2 * n + k] + r * uh[2 * n + k])
        out.append((1 - z) * new + z * h[k])
    return out, c


KINDS: dict[str, Any] = {
    "RNN": lambda **k: rnn.RNN(4, activation="tanh", input_size=3, **k),
    "LSTM": lambda **k: rnn.LSTM(4, input_size=3, **k),
    "GRU": lambda **k: rnn.GRU(4, input_size=3, **k),
}


def ready(layer: Any, seed: int = 1) -> Any:
    layer.initialize()
    fill(layer, np.random.RandomState(seed))
    return layer


@pytest.mark.parametrize("kind", KINDS)
def test_each_step_is_the_formula(kind: str) -> None:
    layer = ready(KINDS[kind](dtype="float64"))
    p = {name[3:]: np.asarray(p.data()) for name, p in layer._reg_params.items()}
    rng = np.random.RandomState(2)
    x = rng.uniform(-2, 2, (3, 2, 3))
    states = [rng.uniform(-2, 2, (1, 2, 4)) for _ in layer.state_info()]
    y, last = layer(x, states)
    for member in range(2):
        h, c = states[0][0, member], states[-1][0, member]
        for t in range(3):
            h, c = one_step(kind, p, x[t, member], h, c)
            np.testing.assert_allclose(y[t, member], h, rtol=1e-12)
        np.testing.assert_allclose(last[0][0, member], h, rtol=1e-12)
        if kind == "LSTM":
            np.testing.assert_allclose(last[1][0, member], c, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_both", [False, True])
def test_sequences_of_several_lengths_are_computed_as_each_alone(kind: str, is_both: bool) -> None:
    layer = ready(KINDS[kind](bidirectional=is_both, use_sequence_length=True))
    alone = KINDS[kind](bidirectional=is_both)
    alone.load_dict({n: p.data() for n, p in layer._collect_params_with_prefix().items()})
    rng = np.random.RandomState(3)
    x = rng.uniform(-1, 1, (6, 4, 3)).astype(np.float32)
    lengths = np.array([6, 1, 0, 4])
    states = [rng.uniform(-1, 1, s["shape"]).astype(np.float32) for s in layer.state_info(4)]
    y, last = layer(x, states, nd.array(lengths))
    for member, length in enumerate(lengths):
        own = slice(member, member + 1)
        assert not y[length:, member].any()
        expected, ends = alone(x[:length, own], [state[:, own] for state in states])
        np.testing.assert_allclose(y[:length, own], expected, atol=1e-6)
        for end, known in zip(last, ends, strict=True):
            np.testing.assert_allclose(end[:, own], known, atol=1e-6)
    unrolled, _ = alone._unfuse().unroll(
        6, x, [s[w : w + 1][0] for w in range(1 + is_both) for s in states], "TNC", True, lengths
    )
    np.testing.assert_allclose(unrolled, y, atol=1e-6)


def test_the_cell_state_can_be_held_between_bounds() -> None:
    free, held = (
        ready(rnn.LSTM(4, input_size=3)),
        rnn.LSTM(4, 1, state_clip_min=-0.1, state_clip_max=0.03),
    )
    held.load_dict({n: p.data() for n, p in free._collect_params_with_prefix().items()})
    x = np.random.RandomState(0).uniform(-1, 1, (1, 2, 3)).astype(np.float32)
    _, (_, c) = free(x, free.begin_state(2))
    _, (_, clipped) = held(x, held.begin_state(2))
    assert c.min() < -0.1
    assert c.max() > 0.03
    assert (clipped == np.clip(c, np.float32(-0.1), np.float32(0.03))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_sequence_is_computed_in_blocks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = ready(KINDS[kind](bidirectional=True))
    x = nd.random.uniform(-1, 1, (23, 2, 3))
    whole = layer(x)
    monkeypatch.setattr(_recurrent, "_ROOM", 7 * 2 * 4)
    np.testing.assert_allclose(layer(x), whole, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_16_bits_are_computed_in_32_and_rounded_once(kind: str, dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    layer = ready(KINDS[kind](dtype=dtype))
    exact = KINDS[kind]()
    values = {n: p.data().astype("float32") for n, p in layer._collect_params_with_prefix().items()}
    exact.load_dict(values)
    x = nd.array(np.random.RandomState(4).uniform(-1, 1, (5, 2, 3)), dtype=dtype)
    assert all(state.dtype == x.dtype for state in layer.begin_state(2))
    assert (layer(x) == exact(x.astype("float32")).astype(x.dtype)).all()
    cells, _ = layer._unfuse().unroll(5, x, layout="TNC", merge_outputs=True)
    assert cells.dtype == x.dtype
    np.testing.assert_allclose(cells.astype("float32"), layer(x).astype("float32"), atol=0.02)


def test_extreme_values_saturate_without_a_warning() -> None:
    for kind in KINDS:
        layer = KINDS[kind]()
        layer.initialize("ones")
        for sign in (1, -1):
            y = layer(np.full((2, 1, 3), sign * 1e30, np.float32))
            assert np.isfinite(y).all()


def test_what_is_given_is_left_alone_and_results_are_no_views() -> None:
    layer = ready(rnn.LSTM(4, input_size=3))
    x = nd.random.uniform(shape=(2, 2, 3))
    states = [nd.random.uniform(shape=(1, 2, 4)) for _ in range(2)]
    copies = [array.copy() for array in (x, *states)]
    values = [p.data().copy() for p in layer.collect_params().values()]
    y, last = layer(x, states)
    for array in (y, *last):
        array[...] = 9
    assert all((a == b).all() for a, b in zip(copies, (x, *states), strict=True))
    params = layer.collect_params().values()
    assert all((p.data() == v).all() for p, v in zip(params, values, strict=True))
    empty, (h, c) = layer(nd.zeros((0, 2, 3)), states)
    assert empty.shape == (0, 2, 4)
    assert (h == states[0]).all()
    assert (c == states[1]).all()
    assert not np.shares_memory(h, states[0])


def test_shapes_become_known_by_input_or_file(tmp_path: Path) -> None:
    layer = rnn.LSTM(4, 2, prefix="a_")
    assert "(None -> 4" in repr(layer)
    layer.initialize()
    with pytest.raises(gluon.DeferredInitializationError):
        layer.l0_i2h_weight.data()
    layer(np.ones((2, 1, 7), np.float32))
    assert layer.l0_i2h_weight.shape == (16, 7)
    layer.save_parameters(tmp_path / "p")
    other = rnn.LSTM(4, 2)
    other.load_parameters(tmp_path / "p")
    assert "(7 -> 4" in repr(other)
    with pytest.raises(ParameterError, match="shape incompatible"):
        rnn.LSTM(3, 2).load_parameters(tmp_path / "p")


def test_cast_and_begin_state_follow_each_other() -> None:
    layer = rnn.GRU(3, input_size=2)
    layer.initialize()
    layer.cast("float64")
    (state,) = layer.begin_state(4, func=nd.ones)
    assert state.dtype == np.float64
    assert (state == 1).all()
    assert layer(np.ones((1, 4, 2))).dtype == np.float64
    assert layer.begin_state(batch_size=2, dtype="float16")[0].dtype == np.float16
    seen = rnn.LSTMCell(3).begin_state(2, func=lambda shape, **given: (shape, given), ctx="x")
    assert seen == [((2, 3), {"ctx": "x"})] * 2


def test_cells_of_a_layer_share_its_parameters() -> None:
    layer = ready(rnn.GRU(4, 2, bidirectional=True, input_size=3))
    cells = layer._unfuse()
    assert list(cells.collect_params()) == list(layer.collect_params())
    own = dict(layer.collect_params().items())
    assert all(own[name] is p for name, p in cells.collect_params().items())


def test_a_cell_of_ones_own_unrolls() -> None:
    class Sum(rnn.HybridRecurrentCell):
        def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
            return [{"shape": (batch_size, 3), "__layout__": "NC"}]

        def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:  # type: ignore[override]
            total = states[0] + inputs
            return total, [total]

    x = nd.arange(24).reshape((2, 4, 3))
    outputs, (state,) = Sum().unroll(4, x, merge_outputs=True)
    assert (outputs == np.cumsum(np.asarray(x), axis=1)).all()
    assert (state == np.asarray(x).sum(axis=1)).all()
    # A length of 0 leaves the first state.
    _, (state,) = Sum().unroll(4, x, [nd.ones((2, 3))], valid_length=nd.array([0, 2]))
    assert (state[0] == 1).all()
    assert (state[1] == 1 + np.asarray(x)[1, :2].sum(axis=0)).all()


# ---- errors ----------------------------------------------------------------------------------

X = nd.ones((5, 2, 3))
WRONG: list[tuple[str, type[Exception], str]] = [
    ("rnn.LSTM(4, layout='NCT')", ValueError, "NCT.*TNC"),
    ("rnn.RNN(4, activation='sigmoid')", ValueError, "'relu' or 'tanh', not 'sigmoid'"),
    ("rnn.LSTM(4, state_clip_min=0)", ValueError, "give both"),
    ("rnn.GRU(4, projection_size=2)", TypeError, "only an LSTM"),
    ("rnn.LSTM(4, projection_size=2)._unfuse()", NotImplementedError, "projection"),
    ("go(rnn.LSTM(4))(X[0])", ValueError, r"layout TNC, not of shape \(2, 3\)"),
    ("go(rnn.LSTM(4))(X, [nd.zeros((1, 3, 4))] * 2)", ValueError, r"\(1, 2, 4\), got \(1, 3, 4\)"),
    ("go(rnn.LSTM(4))(X, nd.zeros((1, 2, 4)))", ValueError, "2 states, but 1 were"),
    ("go(rnn.LSTM(4))(X, [])", ValueError, "2 states, but 0 were"),
    ("go(rnn.LSTM(4, input_size=2))(X)", ValueError, r"l0_i2h_weight .*\(16, 2\).*\(16, 3\)"),
    ("go(rnn.LSTM(4))(X, None, nd.ones(2))", ValueError, "use_sequence_length=True"),
    ("go(rnn.LSTM(4, use_sequence_length=True))(X)", ValueError, "no sequence_length"),
    ("with_lengths(nd.ones(3))", ValueError, r"\(3,\).*\(2,\)"),
    ("with_lengths(nd.ones(2) * 6)", ValueError, "0 to 5"),
    ("go(rnn.LSTMCell(4))(X[0], [])", ValueError, "LSTMCell has 2 states, but 0"),
    ("go(rnn.GRUCell(4, input_size=2))(X[0], [nd.zeros((2, 4))])", ValueError, r"\(12, 2\)"),
    ("go(rnn.RNNCell(4, 'foo'))(X[0], [nd.zeros((2, 4))])", ValueError, "act_type 'foo'"),
    ("go(rnn.LSTMCell(4)).unroll(3, X)", ValueError, "5|2 time steps, but length is 3"),
    ("go(rnn.LSTMCell(4)).unroll(2, X[0])", ValueError, "3 dimensions"),
    ("go(rnn.LSTMCell(4)).unroll(2, X, layout='NT')", ValueError, "layout NT"),
    ("go(rnn.LSTMCell(4)).unroll(0, [])", ValueError, "empty"),
    ("go(rnn.LSTMCell(4)).unroll(2, X, valid_length=nd.ones(3))", ValueError, r"\(3,\).*\(5,\)"),
    ("rnn.RecurrentCell().state_info()", NotImplementedError, "RecurrentCell"),
    ("both()(X[0], [])", NotImplementedError, "unroll"),
    ("rnn.ZoneoutCell(both())", TypeError, "step"),
    ("rnn.ResidualCell(3)", TypeError, "base_cell is a cell, not int"),
    ("rnn.DropoutCell('a')", TypeError, "rate is a number"),
    ("rnn.SequentialRNNCell().add(3)", TypeError, "not int"),
    ("rnn.HybridSequentialRNNCell().add(rnn.SequentialRNNCell())", ValueError, "HybridBlock"),
    ("modified().begin_state(2)", RuntimeError, "Call the modifier cell instead"),
    ("rnn.ZoneoutCell(modified())", ValueError, "second time"),
    ("go(stack(rnn.SequentialRNNCell(), rnn.GRUCell(2)))(X[0], X)", ValueError, "1 states, but 5"),
    ("nd.RNN(X, nd.zeros(9), state_size=1, num_layers=1)", TypeError, "mode"),
    ("nd.RNN(X, nd.zeros(9), state_size=1, num_layers=1, mode='x')", ValueError, "mode 'x'"),
    ("nd.RNN(X, nd.zeros(9), nd.zeros((1, 2, 1)), state_size=1, num_layers=1, mode='gru')",
     ValueError, r"parameters has shape \(9,\).*\(18,\)"),
    ("nd.RNN(X, nd.zeros(18), nd.zeros((2, 2, 1)), state_size=1, num_layers=1, mode='gru')",
     ValueError, r"state has shape \(2, 2, 1\)"),
    ("nd.RNN(X, nd.zeros(24), nd.zeros((1, 2, 1)), state_size=1, num_layers=1, mode='lstm')",
     ValueError, "state_cell is missing"),
    ("nd.RNN(X, nd.zeros(18), state_size=1, num_layers=1, mode='gru', projection_size=1)",
     ValueError, "only an lstm"),
    ("nd.RNN(X[0], nd.zeros(18), nd.zeros((1, 2, 1)), state_size=1, num_layers=1, mode='gru')",
     ValueError, r"\(time, batch, inputs\)"),
]  # fmt: skip


def go(net: Any) -> Any:
    net.initialize()
    return net


def modified() -> Any:
    cell = rnn.GRUCell(2)
    rnn.ResidualCell(cell)
    return cell


def both() -> Any:
    return rnn.BidirectionalCell(rnn.GRUCell(2), rnn.GRUCell(2))


def with_lengths(lengths: Any) -> Any:
    return go(rnn.GRU(4, use_sequence_length=True))(X, None, lengths)


@pytest.mark.parametrize(("code", "error", "words"), WRONG, ids=[code for code, *_ in WRONG])
def test_what_is_wrong_is_said(code: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        eval(code, globals())


# ---- the real one ----------------------------------------------------------------------------

THERE = """
import sys
import numpy as np
from mxnet import nd
from mxnet.gluon import rnn
for number, source in enumerate(sys.argv[2:]):
    net = eval(source)
    x = nd.array(np.load(f"{sys.argv[1]}/{number}.x.npy"))
    net.load_parameters(f"{sys.argv[1]}/{number}.params")
    y, states = net(x, net.begin_state(batch_size=x.shape[1]))
    np.savez(f"{sys.argv[1]}/{number}.y.npz", y.asnumpy(), *[s.asnumpy() for s in states])
"""


@pytest.mark.skipif(PYTHON is None, reason="MXIO_MXNET_PYTHON names no interpreter with MXNet")
def test_the_real_mxnet_loads_and_computes_the_same(tmp_path: Path) -> None:
    assert PYTHON is not None
    rng = np.random.RandomState(7)
    sources = []
    for number in range(24):
        hidden, layers, n_in = (int(n) for n in rng.randint((1, 1, 1), (70, 4, 50)))
        both, dropout = bool(rng.randint(2)), rng.choice([0, 0.5])
        given = f"{hidden}, {layers}, bidirectional={both}, dropout={dropout}"
        kind = ["RNN", "LSTM", "GRU", "LSTM"][number % 4]
        extra = f", projection_size={max(1, hidden // 2)}" if number % 4 == 3 else ""
        sources.append(f"rnn.{kind}({given}{extra})")
        net = eval(sources[-1], {"rnn": rnn})
        shape = (int(rng.randint(1, 40)), int(rng.randint(1, 6)), n_in)
        x = rng.uniform(-1, 1, shape).astype(np.float32)
        net.initialize(mxio.init.Uniform(0.5))
        net(x)
        net.save_parameters(tmp_path / f"{number}.params", format="mxnet")
        np.save(tmp_path / f"{number}.x.npy", x)
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", THERE, str(tmp_path), *sources],
        env=env, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for number, source in enumerate(sources):
        net = eval(source, {"rnn": rnn})
        net.load_parameters(tmp_path / f"{number}.params")
        x = np.load(tmp_path / f"{number}.x.npy")
        y, states = net(x, net.begin_state(x.shape[1]))
        with np.load(tmp_path / f"{number}.y.npz") as theirs:
            for ours, key in zip([y, *states], theirs, strict=True):
                assert_close(np.asarray(ours), theirs[key])
