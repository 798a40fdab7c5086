# SPDX-License-Identifier: Apache-2.0
"""Parameters to files and back: all of them or none, and errors that say which and why."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_gluon import MLP, Scoped, Tied

import mxio
from mxio import gluon, nd
from mxio.gluon import nn, rnn
from mxio.name import NameManager

X = nd.random.uniform(shape=(2, 20))


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with NameManager():
        yield


@pytest.fixture
def net() -> MLP:
    """A network whose parameters are in mlp.params."""
    net = MLP()
    net.initialize()
    net(X)
    net.save_parameters("mlp.params")
    return net


class Extra(MLP):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.extra = nn.Dense(2)


class One(nn.Block):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden = nn.Dense(256)


def values(net: nn.Block) -> dict[str, bytes]:
    parameters = net._collect_params_with_prefix()
    return {name: p.data().tobytes() for name, p in parameters.items() if p._arrays}


# ---- there and back --------------------------------------------------------------------------


@pytest.mark.parametrize("format", [None, "mxio", "mxnet", "safetensors", "npz"])
def test_a_clone_computes_the_same_bits(net: MLP, format: str | None) -> None:
    net.save_parameters("f.params", format=format)
    for prepare in (lambda c: None, lambda c: c.initialize(), lambda c: (c.initialize(), c(X))):
        clone = MLP()
        prepare(clone)
        clone.load_parameters("f.params")
        assert (clone(X) == net(X)).all()
    assert repr(clone) == repr(net)


def test_files_have_structure_names(net: MLP) -> None:
    names = ["hidden.weight", "hidden.bias", "output.weight", "output.bias"]
    assert list(mxio.load("mlp.params")) == names
    net.save_parameters(Path("p.params"), format="mxnet", sync=False)
    assert list(nd.load("p.params")) == names


def test_a_value_stays_in_its_memory() -> None:
    """What an optimizer, or a program, holds of a parameter sees what was loaded."""
    d = nn.Dense(2, in_units=3)
    d.initialize("ones")
    d.save_parameters("d")
    held = d.weight.data()
    held[:] = 7
    d.load_parameters("d")
    assert (held == 1).all()
    assert d.weight.data() is held


def test_fresh_parameters_take_over_what_was_read() -> None:
    d = nn.Dense(2, in_units=3)
    d.load_parameters({"weight": np.ones((2, 3), "f4"), "bias": np.zeros(2, "f4")})
    assert d.weight.list_ctx() == [mxio.cpu()]
    assert d.weight.grad().tolist() == [[0] * 3] * 2


def test_what_is_given_in_memory_is_copied() -> None:
    given = {"weight": np.ones((2, 3), "f4"), "bias": np.zeros(2, "f4")}
    d = nn.Dense(2, in_units=3)
    d.load_dict(given)
    given["weight"][:] = 5
    assert (d.weight.data() == 1).all()
    with pytest.raises(TypeError, match="load_dict takes a dict"):
        d.load_dict("file")  # type: ignore[arg-type]


def test_contexts(net: MLP) -> None:
    cpu = mxio.cpu
    clone = MLP()
    clone.load_parameters("mlp.params", ctx=[cpu(0), cpu(1)])
    assert clone.hidden.weight.list_ctx() == [cpu(0), cpu(1)]
    clone.hidden.bias.data(cpu(1))[:] = 4
    clone.save_parameters("mean")
    assert (mxio.load("mean")["hidden.bias"] == 2).all()
    clone.load_parameters("mlp.params")
    for data in clone.hidden.bias.list_data():
        assert (data == net.hidden.bias.data()).all()
    for prepare in (lambda c: c.initialize(ctx=cpu(0)), lambda c: c.load_parameters("mlp.params")):
        other = MLP()
        prepare(other)
        with pytest.raises(AssertionError, match=r"on \[cpu\(1\)\] because it was previous initi"):
            other.load_parameters("mlp.params", ctx=cpu(1))


def test_an_empty_network_and_an_empty_file() -> None:
    e = nn.HybridSequential()
    for format in ("mxio", "mxnet"):
        e.save_parameters("e", format=format)
        nn.HybridSequential().load_parameters("e")
        with pytest.raises(gluon.ParameterError, match="contains parameters: no arrays"):
            MLP().load_parameters("e")
    assert nd.load("e") in ([], {})


# ---- what cannot be saved --------------------------------------------------------------------


def test_parameters_without_values_are_not_saved(net: MLP) -> None:
    before = Path("mlp.params").read_bytes()
    with pytest.raises(RuntimeError, match="'dense2_weight' has not been initialized"):
        MLP().save_parameters("mlp.params")
    deferred = MLP()
    deferred.initialize()
    with pytest.raises(gluon.DeferredInitializationError, match="'dense4_weight'"):
        deferred.save_parameters("mlp.params")
    assert Path("mlp.params").read_bytes() == before


# ---- what does not go together ---------------------------------------------------------------


def cut(path: str, n_bytes: int) -> None:
    data = Path(path).read_bytes()
    Path("bad").write_bytes(data[:n_bytes])


def flip(path: str, at: int) -> None:
    data = bytearray(Path(path).read_bytes())
    data[at] ^= 1
    Path("bad").write_bytes(data)


def arrays(**changed: Any) -> dict[str, Any]:
    names = {"hidden.weight": (256, 20), "hidden.bias": (256,)}
    names |= {"output.weight": (10, 256), "output.bias": (10,)}
    found: dict[str, Any] = {name: np.full(shape, 3, "f4") for name, shape in names.items()}
    for name, value in changed.items():
        found[name.replace("__", ".")] = value
    return {name: value for name, value in found.items() if value is not None}


Bad = tuple[Callable[[], object], type[Exception], str]

BAD: dict[str, Bad] = {
    "missing": (
        lambda: mxio.save("bad", arrays(output__bias=None)),
        gluon.ParameterError,
        "Parameter 'output.bias' is missing in file 'bad', which contains parameters: "
        "'hidden.weight', 'hidden.bias', 'output.weight'. Set allow_missing=True",
    ),
    "extra": (
        lambda: mxio.save("bad", arrays(outputs__bias=np.ones(3))),
        gluon.ExtraParameterError,
        "Parameter 'outputs.bias' is not present in the model.*did you mean 'output.bias'.*"
        "Set ignore_extra=True",
    ),
    "misspelt": (
        lambda: mxio.save("bad", arrays(output__bias=None, outptu__bias=np.ones(10, "f4"))),
        gluon.ParameterError,
        "'output.bias' is missing.*did you mean 'outptu.bias'",
    ),
    "shape": (
        lambda: mxio.save("bad", arrays(output__weight=np.ones((11, 256), "f4"))),
        gluon.ParameterError,
        r"Parameter 'dense\d+_weight' from 'output.weight' in file 'bad': shape incompatible "
        r"expected \(10, (256|0)\) vs saved \(11, 256\)",
    ),
    "rank": (  # MXNet takes it
        lambda: mxio.save("bad", arrays(hidden__weight=np.ones((256, 20, 1), "f4"))),
        gluon.ParameterError,
        r"expected \(256, (20|0)\) vs saved \(256, 20, 1\)",
    ),
    "dtype": (
        lambda: mxio.save("bad", arrays(output__bias=np.ones(10))),
        gluon.ParameterError,
        "expected float32 vs saved float64. Set cast_dtype=True",
    ),
    "list": (
        lambda: nd.save("bad", [nd.ones(3), nd.ones(4)]),
        gluon.ParameterError,
        "file 'bad' holds a list of 2, without the names",
    ),
    "array": (lambda: mxio.save("bad", np.ones(3)), gluon.ParameterError, "holds an array"),
    "value": (
        lambda: mxio.save("bad", arrays(epoch=3)),
        gluon.ExtraParameterError,
        "'epoch' in file 'bad' is an int, no array. Set ignore_extra=True",
    ),
    "value in place": (
        lambda: mxio.save("bad", arrays(output__bias=3)),
        gluon.ParameterError,
        "'output.bias' in file 'bad' is an int, not an array",
    ),
    "none": (
        lambda: mxio.save("bad", arrays(output__bias=None) | {"output.bias": None}),
        gluon.ParameterError,
        "'output.bias' in file 'bad' has no value",
    ),
    "empty": (lambda: Path("bad").write_bytes(b""), mxio.FormatError, "empty|0 bytes"),
    "junk": (lambda: Path("bad").write_bytes(b"junk" * 99), mxio.FormatError, "bad"),
    "nothing": (lambda: Path("bad").unlink(missing_ok=True), FileNotFoundError, "bad"),
    "truncated": (lambda: cut("mlp.params", 20000), mxio.FormatError, "bad"),
    "flipped": (
        lambda: flip("mlp.params", Path("mlp.params").stat().st_size - 3),
        mxio.ChecksumError,
        "checksum mismatch in 'output.bias'",
    ),
    "truncated params": (
        lambda: (mxio.save("f", arrays(), format="mxnet"), cut("f", 30000)),
        mxio.FormatError,
        "bad",
    ),
}


@pytest.mark.parametrize("kind", sorted(BAD))
@pytest.mark.parametrize("state", ["new", "deferred", "initialized"])
def test_a_failed_load_changes_nothing(net: MLP, kind: str, state: str) -> None:
    make, error, message = BAD[kind]
    make()
    clone = MLP()
    if state != "new":
        clone.initialize()
    if state == "initialized":
        clone(X)
    before = values(clone), repr(clone.collect_params())
    with pytest.raises(error) as raised:
        clone.load_parameters("bad")
    assert re.search(message, str(raised.value), re.DOTALL), str(raised.value)
    assert "\n" not in str(raised.value)
    assert (values(clone), repr(clone.collect_params())) == before
    clone.load_parameters("mlp.params")
    assert (clone(X) == net(X)).all()


def test_errors_are_what_old_code_catches() -> None:
    for base in (AssertionError, KeyError, mxio.EntryError, mxio.MXIOError):
        assert issubclass(gluon.ParameterError, base)
    assert issubclass(gluon.ExtraParameterError, (gluon.ParameterError, ValueError))
    assert issubclass(gluon.DeferredInitializationError, RuntimeError)


def test_keywords_lift_restrictions(net: MLP) -> None:
    more = Extra()
    more.load_parameters("mlp.params", allow_missing=True)
    assert (more.hidden.weight.data() == net.hidden.weight.data()).all()
    with pytest.raises(RuntimeError, match="has not been initialized"):
        more.extra.weight.data()
    one = One()
    with pytest.raises(ValueError, match=r"2 Parameters, 'output.weight', 'output.bias', are not"):
        one.load_parameters("mlp.params", allow_missing=True)
    one.load_parameters("mlp.params", ignore_extra=True)
    assert one.hidden.weight.shape == (256, 20)


def test_dtypes_are_cast_when_asked_for(net: MLP) -> None:
    clone = MLP()
    clone.cast("float64")
    clone.load_parameters("mlp.params", cast_dtype=True)
    assert clone.hidden.weight.data().dtype == np.float64
    assert (clone.hidden.weight.data() == net.hidden.weight.data()).all()
    for initialized in (False, True):
        saved = MLP()
        saved.cast("float64")
        if initialized:
            saved.initialize()
            saved(X.astype("float64"))
        saved.load_parameters("mlp.params", cast_dtype=True, dtype_source="saved")
        assert saved.hidden.weight.data().dtype == np.float32 == saved.hidden.weight.dtype
        assert (saved(X) == net(X)).all()
    with pytest.raises(AssertionError, match="'current' or 'saved', not 'nonsense'"):
        MLP().load_parameters("mlp.params", cast_dtype=True, dtype_source="nonsense")


def test_sparse_parameters_become_dense(net: MLP) -> None:
    dense = arrays()["hidden.weight"]
    dense[5:] = 0
    for sparse in (nd.array(dense).tostype("row_sparse"), nd.array(dense).tostype("csr")):
        nd.save(
            "sparse",
            {name: nd.array(a) for name, a in arrays(hidden__weight=None).items()}
            | {"hidden.weight": sparse},
            format="mxnet",
        )
        for clone in (MLP(), MLP()):
            clone.initialize()
            clone.load_parameters("sparse")
            assert (clone.hidden.weight.data() == dense).all()


# ---- tied parameters -------------------------------------------------------------------------


def test_tied_parameters_are_stored_once_and_stay_tied() -> None:
    t = Tied()
    t.initialize()
    t.save_parameters("t")
    with mxio.open("t") as f:
        assert list(f) == ["first.weight", "first.bias", "second.weight", "second.bias"]
        assert f.index["second.weight"].alias_of == f.index["first.weight"].number
    again = Tied()
    again.load_parameters("t")
    assert again.first.weight is again.second.weight
    assert (again.first.weight.data() == t.first.weight.data()).all()


def test_what_is_tied_in_a_file_only_is_apart_in_a_network() -> None:
    t = Tied()
    t.initialize()
    t.save_parameters("t")
    net = nn.Sequential()
    net.add(nn.Dense(4), nn.Dense(4))
    net.load_parameters("t", rename={"first": "0", "second": "1"})
    net[0].weight.data()[:] = 0
    assert (net[1].weight.data() == t.first.weight.data()).all()


def test_one_name_of_a_tied_parameter_is_enough() -> None:
    t = Tied()
    t.initialize()
    t.save_parameters("t", deduplicate=True)
    assert list(mxio.load("t")) == ["second.weight", "second.bias"]
    again = Tied()
    again.load_parameters("t")
    assert (again.first.weight.data() == t.first.weight.data()).all()
    zeros, ones = np.zeros((4, 4), "f4"), np.ones((4, 4), "f4")
    bias = np.zeros(4, "f4")
    both = {"first.weight": ones, "first.bias": bias, "second.weight": zeros, "second.bias": bias}
    mxio.save("both", both)
    again.load_parameters("both")
    assert not again.first.weight.data().any()  # the last in the file, as in MXNet


# ---- parts and other names -------------------------------------------------------------------


def test_a_part_of_a_network_goes_into_another(net: MLP) -> None:
    other = nn.HybridSequential()
    features = nn.HybridSequential()
    features.add(nn.Dense(256), nn.Dense(7))
    other.add(features, nn.Dense(3))
    other.load_parameters("mlp.params", select="0.0.*", rename={"hidden": "0.0"})
    assert (features[0].weight.data() == net.hidden.weight.data()).all()
    with pytest.raises(RuntimeError):
        features[1].weight.data()
    for select in (["hidden.*"], lambda name: name.startswith("hidden")):
        more = Extra()
        more.load_parameters("mlp.params", select=select)
        assert more.hidden.weight.shape == (256, 20)
        assert more.output.weight.shape == (10, 0)


def test_a_selection_must_be_there(net: MLP) -> None:
    more = Extra()
    with pytest.raises(gluon.ParameterError, match=r"2 Parameters, 'extra.weight', 'extra.bias'"):
        more.load_parameters("mlp.params", select=["hidden.*", "extra.*"])
    with pytest.raises(gluon.ExtraParameterError, match=r"'output.weight'"):
        One().load_parameters("mlp.params", select="*")
    with pytest.raises(gluon.ParameterError, match=r"select=.*'hiden.\*'.*nothing"):
        more.load_parameters("mlp.params", select="hiden.*")


def test_renaming(net: MLP) -> None:
    mxio.save("renamed", {f"model.{k}": v for k, v in mxio.load("mlp.params").items()})
    for rename in ({"model.hidden": "hidden", "model.output": "output"}, lambda n: n[6:]):
        clone = MLP()
        clone.load_parameters("renamed", rename=rename)
        assert (clone(X) == net(X)).all()
    with pytest.raises(gluon.ParameterError, match=r"rename has 'modle'.*did you mean"):
        MLP().load_parameters("renamed", rename={"modle": ""})
    with pytest.raises(gluon.ParameterError, match=r"the name 'x' to 'model.hidden.weight' a"):
        MLP().load_parameters("renamed", rename=lambda name: "x")
    with pytest.raises(TypeError, match=r"rename gives None for 'model.hidden.weight'"):
        MLP().load_parameters("renamed", rename=lambda name: None)  # type: ignore[arg-type, return-value]


def test_an_explicit_name_takes_the_place_of_another(net: MLP) -> None:
    deep = nn.Sequential()
    deep.add(*(nn.Dense(3, in_units=3) for _ in range(3)))
    deep.initialize()
    deep.save_parameters("deep")
    one = nn.Sequential()
    one.add(nn.Dense(3))
    one.load_parameters("deep", rename={"2": "0"}, select="0.*")
    assert (one[0].weight.data() == deep[2].weight.data()).all()
    part = nn.Sequential()
    part.add(deep)
    part.save_parameters("part")
    bare = nn.Sequential()
    bare.add(*(nn.Dense(3, in_units=3) for _ in range(3)))
    bare.load_parameters("part", rename={"0": ""})
    assert values(bare) == values(deep)


def test_every_pattern_must_select_something(net: MLP) -> None:
    for wrong in (["hidden.*", "ouptut.*"], ["hidn.*"]):
        with pytest.raises(gluon.ParameterError, match=r"select='\w+\.\*' selects nothing"):
            MLP().load_parameters("mlp.params", select=wrong)
    with pytest.raises(TypeError, match=r"select is a pattern .*, not 5"):
        MLP().load_parameters("mlp.params", select=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"rename is a dict of names or .*, not 5"):
        MLP().load_parameters("mlp.params", rename=5)  # type: ignore[arg-type]


def test_all_that_does_not_fit_is_named(net: MLP) -> None:
    mxio.save("bad", {k: v[:2] for k, v in mxio.load("mlp.params").items()})
    with pytest.raises(gluon.ParameterError, match=r"3 more do not fit: 'hidden.bias', 'output"):
        MLP().load_parameters("bad")
    mxio.save("text", {k: v.astype("U3") for k, v in mxio.load("mlp.params").items()})
    for initialized in (False, True):
        clone = MLP()
        if initialized:
            clone.load_parameters("mlp.params")
        with pytest.raises(gluon.ParameterError, match=r"expected float32 vs saved <U3: no such"):
            clone.load_parameters("text", cast_dtype=True)


def test_lists_of_numbers_are_arrays() -> None:
    d = nn.Dense(1, in_units=2, dtype="float64")
    d.load_dict({"weight": [[1.0, 2.0]], "bias": [0.5]})
    assert d.weight.data().tolist() == [[1, 2]]


def test_nested_mappings_have_dotted_names(net: MLP) -> None:
    flat = mxio.load("mlp.params")
    nested = {
        block: {name: flat[f"{block}.{name}"] for name in ("weight", "bias")}
        for block in ("hidden", "output")
    }
    mxio.save("nested", nested)
    for source in ("nested", nested):
        clone = MLP()
        clone.load_parameters(source)
        assert (clone(X) == net(X)).all()


# ---- full names ------------------------------------------------------------------------------


def test_full_names_of_another_network_load() -> None:
    """MXNet loads these only into a network whose blocks are counted the same."""
    s = Scoped(prefix="sc_")
    s.initialize()
    s.collect_params().save("pd.params", format="mxnet")
    s.collect_params().save("pds.params", strip_prefix="sc_")
    assert sorted(nd.load("pds.params"))[0] == "dense0_bias"
    for file in ("pd.params", "pds.params"):
        for prefix in ("sc_", "xx_", None):
            t = Scoped(prefix=prefix)
            t.load_parameters(file)
            assert values(t) == values(s)
    mxio.save("args", {f"arg:{k}": v for k, v in mxio.load("pd.params").items()})
    t = Scoped()
    t.load_parameters("args")
    assert values(t) == values(s)


def test_blocks_are_matched_in_their_order_not_as_text() -> None:
    net = nn.Sequential()
    net.add(*(nn.Dense(3, in_units=3) for _ in range(12)))
    net.initialize()
    net.collect_params().save("twelve")  # dense0 … dense11
    clone = nn.Sequential()
    clone.add(*(nn.Dense(3, in_units=3) for _ in range(12)))  # dense12 … dense23
    clone.load_parameters("twelve")
    assert list(values(clone).values()) == list(values(net).values())


def test_numbers_are_not_guessed_where_something_is_missing() -> None:
    """Two of three layers may be any two."""
    net = nn.Sequential()
    net.add(*(nn.Dense(3, in_units=3) for _ in range(2)))
    net.initialize()
    net.collect_params().save("two")
    clone = nn.Sequential()
    clone.add(*(nn.Dense(3, in_units=3) for _ in range(3)))
    for allow in (False, True):
        with pytest.raises(gluon.ParameterError):
            clone.load_parameters("two", allow_missing=allow)


def test_old_ways_still_work_and_warn() -> None:
    s = Scoped(prefix="sc_")
    s.initialize()
    with pytest.warns(UserWarning, match="save_params is deprecated"):
        s.save_params("old.params")
    t = Scoped(prefix="other_")
    with pytest.warns(UserWarning, match="load_params is deprecated"):
        t.load_params("old.params", ctx=mxio.cpu())
    assert values(t) == values(s)


def test_parameter_dicts_check_prefixes_and_names(net: MLP) -> None:
    s = Scoped(prefix="sc_")
    s.initialize()
    p = s.collect_params()
    with pytest.raises(ValueError, match="Prefix 'nope_' is to be stripped before saving"):
        p.save("x", strip_prefix="nope_")
    p.save("pds", strip_prefix="sc_")
    r = Scoped(prefix="r_")
    r.collect_params().load("pds", restore_prefix="r_")
    assert values(r) == values(s)
    with pytest.raises(AssertionError, match="restore_prefix is 'q_' but"):
        r.collect_params().load("pds", restore_prefix="q_")
    with pytest.raises(AssertionError, match=r"'r_dense0_weight'.*missing in file 'pds'"):
        r.collect_params().load("pds")
    with pytest.raises(AssertionError, match=r"'dense0_weight', .*not present"):
        r.collect_params().load("pds", allow_missing=True)
    before = values(r)
    r.collect_params().load("pds", allow_missing=True, ignore_extra=True)
    assert values(r) == before


# ---- RNNs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True])
def test_the_three_namings_of_rnn_layers_load(layers: int, both: bool) -> None:
    net = nn.HybridSequential()
    net.add(rnn.LSTM(3, layers, bidirectional=both, input_size=2))
    net.initialize()
    x = nd.random.uniform(shape=(5, 2, 2))
    net.save_parameters("now")
    own = net[0]._reg_params
    named = {f"0.{name}": p.data() for name, p in own.items()}
    mxio.save("a0", named)
    parts = [name for name in named if name.endswith("weight")]
    parts += [name for name in named if name.endswith("bias")]
    mxio.save("b1", {"0.rnn_param": np.concatenate([np.ravel(named[name]) for name in parts])})
    for file in ("now", "a0", "b1"):
        for size in (0, 2):
            clone = nn.HybridSequential()
            clone.add(rnn.LSTM(3, layers, bidirectional=both, input_size=size))
            clone.load_parameters(file)
            assert (clone(x) == net(x)).all(), file
    mxio.save("bad", {"0.rnn_param": np.ones(7, "f4")})
    with pytest.raises(gluon.ParameterError, match=r"0\.rnn_param"):
        clone.load_parameters("bad")


# ---- larger ----------------------------------------------------------------------------------


def test_a_load_interrupted_by_a_full_model_of_errors_is_whole(net: MLP) -> None:
    """All kinds of errors in one file: the first is named, nothing has changed."""
    mxio.save("bad", arrays(hidden__weight=np.ones((2, 2)), output__bias=None, junk=np.ones(1)))
    before = values(net)
    with pytest.raises(gluon.ParameterError):
        net.load_parameters("bad")
    with pytest.raises(gluon.ParameterError):
        net.load_parameters("bad", allow_missing=True, ignore_extra=True)
    assert values(net) == before


def test_save_replaces_whole(net: MLP) -> None:
    """A save that fails leaves the file."""
    shutil.copy("mlp.params", "copy.params")
    net.output.bias.data()[:] = np.nan
    with pytest.raises(OSError):
        net.save_parameters("no/such/folder/mlp.params")
    net.load_parameters("copy.params")
    assert not np.isnan(net.output.bias.data()).any()
