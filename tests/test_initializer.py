# SPDX-License-Identifier: Apache-2.0
"""Initializers fill arrays as MXNet 1.9.1's do: names, JSON, formulas, endings of names."""

from __future__ import annotations

import json
import math
import os
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio
from mxio import init, nd
from mxio.initializer import InitDesc

Array = np.ndarray[Any, Any]
PYTHON = os.environ.get("MXIO_MXNET_PYTHON")


def filled(initializer: Any, shape: Any = (4, 3), dtype: str = "float32", name: str = "w") -> Any:
    """Fill an array as its own initializer, whatever its name is."""
    array = nd.full(shape, 7, dtype=dtype)
    init.create(initializer)._init_weight(InitDesc(name), array)
    return array


# What MXNet 1.9.1 prints.
DUMPED = [
    ("Zero()", '["zero", {}]'),
    ("One()", '["one", {}]'),
    ("Constant(3)", '["constant", {"value": 3}]'),
    ("Constant(nd.ones(2))", '["constant", {"value": [1.0, 1.0]}]'),
    ("Uniform()", '["uniform", {"scale": 0.07}]'),
    ("Normal()", '["normal", {"sigma": 0.01}]'),
    ("Orthogonal()", '["orthogonal", {"scale": 1.414, "rand_type": "uniform"}]'),
    ("Xavier()", '["xavier", {"rnd_type": "uniform", "factor_type": "avg", "magnitude": 3}]'),
    (
        "Xavier('gaussian', 'in', 2)",
        '["xavier", {"rnd_type": "gaussian", "factor_type": "in", "magnitude": 2}]',
    ),
    ("MSRAPrelu()", '["msraprelu", {"factor_type": "avg", "slope": 0.25}]'),
    ("Bilinear()", '["bilinear", {}]'),
    ("LSTMBias()", '["lstmbias", {"forget_bias": 1.0}]'),
    (
        "FusedRNN(Xavier(), 3, 2, 'lstm')",
        '["fusedrnn", {"init": "[\\"xavier\\", {\\"rnd_type\\": \\"uniform\\", '
        '\\"factor_type\\": \\"avg\\", \\"magnitude\\": 3}]", "num_hidden": 3, "num_layers": 2, '
        '"mode": "lstm", "bidirectional": false, "forget_bias": 1.0}]',
    ),
    ("Initializer()", '["initializer", {}]'),
]


@pytest.mark.parametrize(("source", "text"), DUMPED)
def test_dumps_is_mxnets_json_and_create_takes_it(source: str, text: str) -> None:
    made = eval(source, {**vars(init), "nd": nd})
    assert made.dumps() == text
    assert made == eval(source, {**vars(init), "nd": nd})
    if source != "Initializer()":
        again = init.create(text)
        assert type(again) is type(made)
        assert again == made


@pytest.mark.skipif(PYTHON is None, reason="MXIO_MXNET_PYTHON names no interpreter with MXNet")
def test_the_real_mxnet_prints_and_reads_the_same() -> None:
    assert PYTHON is not None
    # 1.9.1 cannot read its own JSON of these.
    unread = {"Constant(nd.ones(2))", "FusedRNN(Xavier(), 3, 2, 'lstm')", "Initializer()"}
    code = (
        "import sys, json\nfrom mxnet import init, nd\nfrom mxnet.initializer import *\n"
        "from mxnet.initializer import create, Initializer, FusedRNN, LSTMBias\n"
        "print(json.dumps([[eval(s).dumps(), r and create(t).dumps() == t]"
        " for s, t, r in json.loads(sys.argv[1])]))"
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    asked = json.dumps([[*item, item[0] not in unread] for item in DUMPED])
    told = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", code, asked],
        env=env, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert json.loads(told.stdout.splitlines()[-1]) == [
        [text, s not in unread] for s, text in DUMPED
    ]


def test_create_goes_by_name_in_any_case() -> None:
    names = {
        "zeros": init.Zero, "Zero": init.Zero, "ones": init.One, "one": init.One,
        "XAVIER": init.Xavier, "msraprelu": init.MSRAPrelu, "uniform": init.Uniform,
        "normal": init.Normal, "orthogonal": init.Orthogonal, "bilinear": init.Bilinear,
        "lstmbias": init.LSTMBias, "truncnorm": init.TruncNorm,
    }  # fmt: skip
    for name, cls in names.items():
        assert type(init.create(name)) is cls
    assert init.create("uniform", scale=0.5) == init.Uniform(0.5)
    assert init.create("constant", 3) == init.Constant(3)
    assert type(init.create(init.Normal)) is init.Normal
    own = init.Xavier()
    assert init.create(own) is own
    assert mxio.init is mxio.initializer
    assert init.Zero() != init.One()
    assert init.Uniform(1) != init.Uniform(2)
    assert init.Constant(np.ones(2)) != init.Constant(np.zeros(2))
    assert init.Zero() != 3
    assert repr(own) == "Xavier(rnd_type='uniform', factor_type='avg', magnitude=3)"


def test_a_class_of_ones_own_is_registered_and_called() -> None:
    seen = []

    @init.alias("mine", "mine2")
    class Half(init.Initializer):
        def __init__(self, value: float = 0.5) -> None:
            super().__init__(value=value)
            self.value = value

        def _init_weight(self, name: str, arr: Any) -> None:
            seen.append((str(name), type(name), type(arr)))
            arr[:] = self.value

    assert Half(2).dumps() == '["half", {"value": 2}]'
    assert init.create(Half(2).dumps()).value == 2
    assert type(init.create("Mine2")) is Half
    array = nd.zeros((2, 3))
    Half()(InitDesc("x_weight"), array)
    assert (array == 0.5).all()
    assert seen == [("x_weight", InitDesc, nd.NDArray)]
    parameter = mxio.gluon.Parameter("x_gamma", shape=(3,), init="half")
    parameter.initialize()
    assert (parameter.data() == 0.5).all()
    assert seen[-1][0] == "x_gamma"


# ---- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("x_weight", 2), ("weight", 2), ("x_bias", 0), ("x_i2h_bias", 0), ("x_gamma", 1)),
        *(("x_beta", 0), ("x_min", 0), ("x_max", 1), ("xmin", 0)),
        *(("x_running_mean", 0), ("x_running_var", 1), ("x_moving_mean", 0), ("x_moving_var", 1)),
        *(("x_moving_inv_var", 0), ("x_moving_avg", 0)),
    ],
)
def test_the_ending_of_a_name_says_how_to_fill(name: str, value: int) -> None:
    for desc in (name, InitDesc(name), InitDesc(name, {})):
        array = nd.full((6,), 7)
        init.Constant(2)(desc, array)
        assert (array == value).all()
    with pytest.raises(ValueError, match="'x_begin_state' does not say how to fill it"):
        init.Constant(2)("x_begin_state", array)


def test_an_initializer_in_the_attributes_wins_whatever_the_name() -> None:
    for chosen in ("one", '["one", {}]', init.One()):
        array = nd.full((6,), 7)
        desc = InitDesc("x_bias", {"__init__": chosen})
        caller = init.Constant(2)
        caller(desc, array)
        assert (array == 1).all()
        assert desc.global_init is caller
    init.Constant(2)(InitDesc("x_weight", {"__init__": ""}), array)
    assert (array == 2).all()
    for chosen in (
        init.Mixed([".*"], ["ones"]),
        init.Load({}, "ones"),
        init.Load({"x_bias": 1 + 0 * array}),
    ):
        array[...] = 7
        init.Constant(2)(InitDesc("x_bias", {"__init__": chosen}), array)
        assert (array == 1).all()


def test_parameters_may_be_told_apart_by_name() -> None:
    for default in (
        init.Mixed(["a_", ".*"], ["ones", init.Constant(2)]),
        init.Load({"a_scale": nd.ones((2, 3))}, init.Constant(2)),
    ):
        for name, own, value in (
            ("a_scale", None, 1),
            ("b_scale", None, 2),
            ("b_scale", "zeros", 0),
        ):
            parameter = mxio.gluon.Parameter(name, shape=(2, 3), init=own)
            parameter.initialize(default_init=default)
            assert (parameter.data() == value).all()


def test_mixed_takes_the_first_pattern_that_matches() -> None:
    mixed = init.Mixed(["a.*", ".*bias", ".*"], [init.Constant(5), init.One(), init.Constant(6)])
    for name, value in (("a_weight", 5), ("b_weight", 6), ("b_bias", 0), ("a_bias", 0)):
        array = nd.full((2, 2), 7)
        mixed(InitDesc(name), array)
        assert (array == value).all()
    with pytest.raises(ValueError, match=r"'b_weight' matches no pattern.*'\.\*'"):
        init.Mixed(["a"], [init.One()])("b_weight", array)
    with pytest.raises(ValueError, match="1 patterns, but 0"):
        init.Mixed(["a"], [])


def test_load_takes_arrays_by_name(tmp_path: Path) -> None:
    nd.save(tmp_path / "p", {"arg:x_weight": nd.ones((4, 3)), "aux:y": nd.ones(2)})
    load = init.Load(tmp_path / "p", default_init=init.Constant(9), verbose=True)
    for name, shape, value in (("x_weight", (4, 3), 1), ("y", (2,), 1), ("z_weight", (2,), 9)):
        array = nd.zeros(shape)
        load(InitDesc(name), array)
        assert (array == value).all()
    with pytest.raises(ValueError, match=r"'x_weight' has shape \(2,\).*\(4, 3\)"):
        load("x_weight", nd.zeros(2))
    with pytest.raises(ValueError, match=r"'a' is not among those loaded.*default_init="):
        init.Load({})("a", nd.zeros(2))
    nd.save(tmp_path / "p", [nd.ones(2)])
    with pytest.raises(ValueError, match="needs names"):
        init.Load(tmp_path / "p")


# ---- values ----------------------------------------------------------------------------------


def test_constants() -> None:
    assert (filled("zeros") == 0).all()
    assert (filled("ones", dtype="int32") == 1).all()
    assert (filled(init.Constant(2.5), dtype="float16") == 2.5).all()
    rows = filled(init.Constant([[1, 2, 3]]))
    assert (rows == [[1, 2, 3]] * 4).all()
    with pytest.raises(ValueError, match=r"'w' has shape \(2,\), which does not .* \(4, 3\)"):
        filled(init.Constant([1, 2]))


LARGE = (300, 200)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_random_values_are_in_bounds_and_of_the_spread_they_say(dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    rounding = {"float64": 0, "float32": 1e-7, "float16": 5e-4, "bfloat16": 4e-3}[dtype]
    for initializer, bound, sigma in (
        (init.Uniform(0.3), 0.3, 0.3 / math.sqrt(3)),
        (init.Normal(0.02), None, 0.02),
        (init.Xavier(), math.sqrt(3 / 250), math.sqrt(1 / 250)),
        (init.TruncNorm(0, 0.1), 0.2, 0.1 * 0.87962566),
    ):
        array = filled(initializer, LARGE, dtype)
        assert array.dtype == nd.zeros(1, dtype=dtype).dtype
        values = np.asarray(array).astype(np.float64)
        assert abs(values.std() / sigma - 1) < 0.02
        assert abs(values.mean()) < 5 * sigma / math.sqrt(values.size)
        if bound is not None:
            assert np.abs(values).max() <= bound * (1 + rounding)
            assert np.abs(values).max() > 0.98 * bound
        else:
            assert np.abs(values).max() > 3.5 * sigma
        # Neighbours have nothing to do with each other.
        flat = values.ravel() - values.mean()
        assert abs((flat[1:] * flat[:-1]).mean()) < 0.02 * sigma**2


def test_truncnorm_has_the_mean_it_is_given() -> None:
    values = np.asarray(filled(init.TruncNorm(1, 0.1), LARGE))
    assert abs(values.mean() - 1) < 0.002
    assert np.abs(values - 1).max() <= 0.2 * (1 + 1e-6)


@pytest.mark.parametrize("shape", [(300, 200), (40, 30, 5, 5), (60, 20, 31)])
@pytest.mark.parametrize("kind", ["avg", "in", "out"])
def test_xavier_counts_what_flows_in_and_out(shape: tuple[int, ...], kind: str) -> None:
    kernel = math.prod(shape[2:])
    fan = {"in": shape[1] * kernel, "out": shape[0] * kernel}
    fan["avg"] = (fan["in"] + fan["out"]) / 2  # type: ignore[assignment]
    bound = math.sqrt(2.5 / fan[kind])
    uniform = np.asarray(filled(init.Xavier("uniform", kind, 2.5), shape))
    assert np.abs(uniform).max() <= bound * (1 + 1e-6)
    assert np.abs(uniform).max() > 0.99 * bound
    gaussian = np.asarray(filled(init.Xavier("gaussian", kind, 2.5), shape))
    assert abs(gaussian.std() / bound - 1) < 0.03
    prelu = np.asarray(filled(init.MSRAPrelu(kind, 0.5), shape))
    assert abs(prelu.std() / math.sqrt(2 / 1.25 / fan[kind]) - 1) < 0.03
    assert np.abs(prelu).max() > 3 * prelu.std()


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (3, 2, 2, 2), (8, 1, 3), (1, 7)])
@pytest.mark.parametrize("rand_type", ["uniform", "normal"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_orthogonal_is(shape: tuple[int, ...], rand_type: str, dtype: str) -> None:
    array = np.asarray(filled(init.Orthogonal(2, rand_type), shape, dtype))
    matrix = array.reshape(shape[0], -1)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    bound = 1e-5 if dtype == "float32" else 1e-12
    assert np.abs(matrix @ matrix.T - 4 * np.eye(len(matrix))).max() < bound


def test_orthogonal_prefers_no_direction() -> None:
    entries = [filled(init.Orthogonal(1), (2, 2)) for _ in range(400)]
    assert np.abs(np.mean(np.asarray(entries), axis=0)).max() < 0.15


def test_bilinear_is_the_kernel_of_mxnet() -> None:
    rows = np.array([0.25, 0.75, 0.75, 0.25])
    assert (filled("bilinear", (2, 1, 4, 4)) == np.outer(rows, rows)).all()
    down = np.array([0.25, 0.75, 0.75, 0.25, -0.25])  # odd, but measured
    assert (filled("bilinear", (2, 1, 5, 3)) == np.outer(down, rows[:3])).all()
    third = np.array([1, 2, 3, 2, 1]) / 3
    wide = filled("bilinear", (1, 1, 3, 5))
    np.testing.assert_allclose(wide[0, 0], np.outer(third[:3], third), rtol=1e-6)


def test_lstm_biases_open_the_forget_gate() -> None:
    assert filled(init.LSTMBias(3), (8,)).tolist() == [0, 0, 3, 3, 0, 0, 0, 0]
    # The ending of a name goes before, as in MXNet.
    array = nd.full((8,), 7)
    init.LSTMBias(3)("x_bias", array)
    assert (array == 0).all()


def test_fused_rnn_fills_the_parts_of_the_vector() -> None:
    lstm = filled(init.FusedRNN("ones", 3, 1, "lstm"), (84,))
    assert (lstm[:60] == 1).all()
    assert lstm[60:].tolist() == ([0] * 3 + [1] * 3 + [0] * 6) * 2
    array = nd.full((84,), 7)
    desc = InitDesc("parameters", {"__init__": init.FusedRNN(None, 3, 1, "lstm", forget_bias=2)})
    init.Constant(5)(desc, array)
    assert (array[:60] == 5).all()
    assert (array[63:66] == 2).all()
    with pytest.raises(ValueError, match="needs a global_init"):
        filled(init.FusedRNN(None, 3, 1, "lstm"), (84,))
    with pytest.raises(ValueError, match="vector of length"):
        filled(init.FusedRNN("ones", 3, 1, "lstm"), (83,))


def test_the_seed_repeats_the_values() -> None:
    for name in ("uniform", "normal", "xavier", "orthogonal", "truncnorm", "msraprelu"):
        mxio.random.seed(3)
        first = filled(name, (20, 30))
        assert (filled(name, (20, 30)) != first).any()
        mxio.random.seed(3)
        assert (filled(name, (20, 30)) == first).all()


def test_a_large_array_is_filled_piece_by_piece() -> None:
    for name in ("normal", "truncnorm", "xavier"):
        array = np.zeros((3000, 1500), np.float16).view(nd.NDArray)
        tracemalloc.start()
        init.create(name)._init_weight("w", array)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # A copy of the whole in float32 would be 18 MB; in float64, 36.
        assert peak < 16e6, name
        tail = np.asarray(array)[-1].astype(np.float64)
        assert np.unique(tail).size > 500
    # Also where the memory is not in order.
    turned = np.zeros((1000, 1500), np.float32).T[::2].view(nd.NDArray)
    init.Uniform(1)._init_weight("w", turned)
    assert (turned != 0).all()
    assert abs(float(turned.std()) - 1 / math.sqrt(3)) < 0.01


def test_no_elements_are_filled_too() -> None:
    for name in ("uniform", "normal", "xavier", "orthogonal", "truncnorm", "zeros"):
        assert filled(name, (0, 3)).shape == (0, 3)
    assert filled("bilinear", (0, 1, 0, 0)).size == 0


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("init.create('nope')", ValueError, "'nope'; there are bilinear, constant"),
        ("init.create('')", ValueError, "''"),
        ("init.create(3)", TypeError, "not of type int"),
        ("init.create(None)", TypeError, "NoneType"),
        ("init.create(init.Zero(), scale=1)", ValueError, "takes no arguments"),
        ("init.create('[\"zero\", {}]', 1)", ValueError, "has its arguments already"),
        ("init.create('[\"zero\"]')", ValueError, "an initializer in JSON is"),
        ("init.create('[1, 2')", ValueError, "an initializer in JSON is"),
        ("init.register(int)", TypeError, "subclass of Initializer"),
        ("init.Zero()(3, nd.ones(2))", TypeError, "InitDesc or a str, not int"),
        ("init.Zero()('w', [1])", TypeError, "not of type list"),
        ("init.Initializer()('weight', nd.ones(2))", NotImplementedError, "_init_weight"),
        ("filled(init.Xavier(), (4,))", ValueError, r"Xavier .* 2 dimensions .* 'w' .* \(4,\)"),
        ("filled('orthogonal', (4,))", ValueError, "Orthogonal"),
        ("filled(init.Xavier('x'))", ValueError, "rnd_type is 'uniform' or 'gaussian', not 'x'"),
        ("filled(init.Xavier(factor_type='x'))", ValueError, "factor_type is 'avg'"),
        ("filled(init.Orthogonal(1, 'x'))", ValueError, "rand_type"),
        ("filled('bilinear')", ValueError, "4 dimensions"),
        ("filled('uniform', dtype='int32')", TypeError, "int32"),
        ("filled(init.FusedRNN('ones', 3, 1, 'x'))", ValueError, "mode 'x'"),
    ],
)
def test_what_is_wrong_is_said(source: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        eval(source)
