# SPDX-License-Identifier: Apache-2.0
"""Blocks and parameters: names, scopes, initialization, printed forms, as MXNet 1.9.1 has them."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest

import mxio
from mxio import gluon, init, nd
from mxio.gluon import nn
from mxio.name import NameManager, Prefix


@pytest.fixture(autouse=True)
def _names_from_0() -> Any:
    with NameManager():
        yield


class MLP(nn.Block):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden = nn.Dense(256, activation="relu")
        self.output = nn.Dense(10)

    def forward(self, x: Any) -> Any:
        return self.output(self.hidden(x))


class Scoped(nn.Block):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.a = nn.Dense(2, in_units=3)
            self.b = nn.Dense(2, in_units=2)


class Tied(nn.Block):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = nn.Dense(4, in_units=4)
        self.second = nn.Dense(4, in_units=4, params=self.first.params)


# ---- names -----------------------------------------------------------------------------------


def test_children_outside_of_a_scope_do_not_carry_the_prefix() -> None:
    net = MLP()
    assert (net.prefix, net.name, net.hidden.prefix) == ("mlp0_", "mlp0", "dense0_")
    assert net.hidden.weight.name == "dense0_weight"
    assert list(net.collect_params()) == [
        *("dense0_weight", "dense0_bias", "dense1_weight", "dense1_bias"),
    ]
    structure = ["hidden.weight", "hidden.bias", "output.weight", "output.bias"]
    assert list(net._collect_params_with_prefix()) == structure
    other = MLP(prefix="my_")
    assert (other.prefix, other.hidden.prefix) == ("my_", "dense2_")


def test_children_in_a_scope_are_counted_in_it() -> None:
    names = ["dense0_weight", "dense0_bias", "dense1_weight", "dense1_bias"]
    assert list(Scoped().collect_params()) == [f"scoped0_{name}" for name in names]
    assert list(Scoped(prefix="p_").collect_params()) == [f"p_{name}" for name in names]
    assert list(Scoped().collect_params()) == [f"scoped1_{name}" for name in names]


def test_an_empty_prefix_leaves_the_scope_around_it() -> None:
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(1))
        inner = nn.HybridSequential(prefix="")
        with inner.name_scope():
            inner.add(nn.Dense(1))
        net.add(inner)
        net.add(nn.Dense(1))
    names = [name for name in net.collect_params() if name.endswith("weight")]
    assert names == ["net_dense0_weight", "net_dense1_weight", "net_dense2_weight"]


def test_a_prefix_manager_puts_a_prefix_before_names() -> None:
    with Prefix("left_"):
        assert nn.Dense(1).prefix == "left_dense0_"
    assert nn.Dense(1).prefix == "dense0_"


def test_collect_params_selects_by_regular_expression() -> None:
    net = MLP()
    assert list(net.collect_params(".*weight")) == ["dense0_weight", "dense1_weight"]
    assert list(net.collect_params("dense0_weight|dense1_bias")) == ["dense0_weight", "dense1_bias"]
    assert net.collect_params().prefix == "mlp0_"


def test_blocks_and_parameters_print_as_in_mxnet() -> None:
    net = MLP()
    rows = "  (hidden): Dense({} -> 256, Activation(relu))\n  (output): Dense({} -> 10, linear)"
    assert repr(net) == "MLP(\n" + rows.format(None, None) + "\n)"
    assert repr(net.params) == "mlp0_ (\n\n)"
    assert repr(net.hidden.weight) == "Parameter dense0_weight (shape=(256, 0), dtype=float32)"
    net.initialize()
    net(nd.ones((2, 20)))
    assert repr(net) == "MLP(\n" + rows.format(20, 256) + "\n)"
    assert repr(net.collect_params()).splitlines()[1] == (
        "  Parameter dense0_weight (shape=(256, 20), dtype=float32)"
    )
    assert repr(gluon.ParameterDict()) == "(\n\n)"
    word = "<class 'numpy.float32'>"
    assert repr(gluon.Parameter("w", shape=(2, 3))) == f"Parameter w (shape=(2, 3), dtype={word})"
    assert repr(gluon.Constant("k", [[1, 2]])) == f"Constant k (shape=(1, 2), dtype={word})"
    assert repr(nn.Sequential()) == "Sequential(\n\n)"


def test_attributes_keep_their_kind() -> None:
    net = MLP()
    with pytest.raises(TypeError, match="Changing attribute type for hidden"):
        net.hidden = 3  # type: ignore[assignment]
    net.output = nn.Dense(3)
    assert list(net._children) == ["hidden", "output"]
    with pytest.raises(gluon.ParameterError, match="Overriding Parameter attribute weight"):
        net.hidden.weight = gluon.Parameter("other")
    with pytest.raises(AttributeError, match="no_such"):
        net.no_such  # noqa: B018  # type: ignore[attr-defined]


def test_a_block_that_forgets_super_is_told() -> None:
    class Forgetful(nn.Block):
        def __init__(self) -> None:
            self.d = nn.Dense(3)

    with pytest.raises(AttributeError, match=re.escape("super().__init__(**kwargs)")):
        Forgetful()


def test_blocks_in_plain_lists_warn() -> None:
    class Listed(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.ds = [nn.Dense(3)]

    with pytest.warns(UserWarning, match='"Listed.ds" is an unregistered container'):
        assert len(Listed().collect_params()) == 0


def test_hybrid_blocks_have_hybrid_children() -> None:
    net = nn.HybridSequential()
    with pytest.raises(ValueError, match="must also be HybridBlock, but MLP"):
        net.add(MLP())


def test_apply_and_hooks() -> None:
    net = MLP()
    seen: list[str] = []
    assert net.apply(lambda block: seen.append(type(block).__name__)) is net
    assert seen == ["Activation", "Dense", "Dense", "MLP"]
    net.initialize()
    calls: list[Any] = []
    before = net.register_forward_pre_hook(lambda block, args: calls.append(len(args)))
    after = net.register_forward_hook(lambda block, args, y: calls.append(y.shape))
    net(nd.ones((2, 3)))
    before.detach()
    after.detach()
    net(nd.ones((2, 3)))
    assert calls == [1, (2, 10)]


# ---- initialization --------------------------------------------------------------------------


def test_shapes_become_known_in_the_first_forward() -> None:
    net = MLP()
    net.initialize()
    with pytest.raises(gluon.DeferredInitializationError, match="'dense0_weight' has not been"):
        net.hidden.weight.data()
    with pytest.raises(RuntimeError):  # what old code catches
        net.hidden.weight.grad()
    assert net.hidden.weight.list_ctx() == [mxio.cpu()]
    assert net.hidden.weight.shape == (256, 0)
    net(np.ones((2, 20), "f4"))
    assert net.hidden.weight.data().shape == net.hidden.weight.shape == (256, 20)
    assert not net.hidden.bias.data().any()
    assert np.abs(net.hidden.weight.data()).max() <= 0.07


def test_what_is_not_initialized_says_so() -> None:
    net = MLP()
    with pytest.raises(RuntimeError, match="Parameter 'dense0_weight' has not been initialized"):
        net(nd.ones((2, 3)))
    with pytest.raises(RuntimeError, match="'dense0_weight' has not been initialized"):
        net.hidden.weight.list_ctx()
    with pytest.raises(AssertionError, match="'dense0_weight' has not been initialized"):
        net.hidden.weight.set_data(nd.ones((256, 3)))


def test_an_input_of_another_width_is_refused() -> None:
    net = MLP()
    net.initialize()
    net(nd.ones((2, 20)))
    with pytest.raises(ValueError, match=r"dense0, a Dense: weight has .*20\).*\(256, 5\)"):
        net(nd.ones((2, 5)))


def test_a_layers_own_initializer_wins() -> None:
    d = nn.Dense(3, in_units=4)
    d.initialize(init.Constant(2))
    assert (d.weight.data() == 2).all()
    assert not d.bias.data().any()
    e = nn.Dense(3, in_units=4, weight_initializer="ones", bias_initializer=init.One())
    e.initialize("zeros")
    assert (e.weight.data() == 1).all()
    assert (e.bias.data() == 1).all()


def test_a_second_initialize_warns_and_changes_nothing() -> None:
    d = nn.Dense(3, in_units=4)
    d.initialize("ones")
    with pytest.warns(UserWarning, match=r"'dense0_\w+' is already initialized, ignoring"):
        d.initialize("zeros")
    assert (d.weight.data() == 1).all()
    d.initialize("zeros", force_reinit=True)
    assert not d.weight.data().any()


def test_initializers_that_tell_parameters_apart() -> None:
    net = MLP()
    net.initialize(init.Mixed(["dense0_.*", ".*"], [init.One(), init.Zero()]))
    net(nd.ones((1, 2)))
    assert (net.hidden.weight.data() == 1).all()
    assert not net.output.weight.data().any()


def test_a_user_block_learns_its_shapes_through_operators() -> None:
    class Own(nn.HybridBlock):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            with self.name_scope():
                self.w = self.params.get("w", shape=(3, 0), allow_deferred_init=True)

        def hybrid_forward(self, F: Any, x: Any, w: Any) -> Any:
            return F.FullyConnected(x, w, no_bias=True, num_hidden=3)

    net = Own()
    net.initialize("ones")
    assert net(nd.ones((2, 5))).tolist() == [[5.0] * 3] * 2
    assert net.w.shape == (3, 5)
    assert net.w.name == "own0_w"


def test_a_user_block_may_infer_its_shapes() -> None:
    class Own(nn.HybridBlock):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.scale = self.params.get("scale", shape=(0,), allow_deferred_init=True)

        def infer_shape(self, x: Any, *args: Any) -> None:
            self.scale.shape = x.shape[1:]

        def hybrid_forward(self, F: Any, x: Any, scale: Any) -> Any:
            return x * scale

    net = Own()
    net.initialize("ones")
    assert net(nd.ones((2, 5))).shape == (2, 5)
    lost = Own()
    lost.infer_shape = None  # type: ignore[assignment, method-assign]
    type(lost).infer_shape = nn.HybridBlock.infer_shape  # type: ignore[method-assign]
    lost.initialize()
    with pytest.raises(gluon.DeferredInitializationError, match="_scale"):
        lost(nd.ones((2, 5)))


# ---- Parameter -------------------------------------------------------------------------------


def test_a_parameter_checks_what_it_is_given() -> None:
    p = gluon.Parameter("w", shape=(2, 3))
    p.initialize()
    p.set_data(nd.ones((2, 3), dtype="float64"))
    assert p.data().dtype == np.float32
    assert (p.data() == 1).all()
    for shape in ((3, 3), (2, 3, 1), (2,)):
        with pytest.raises(AssertionError, match=re.escape(f"given shape {shape}")):
            p.set_data(nd.ones(shape))
    with pytest.raises(AssertionError, match=r"given shape \(2, 4\)"):
        p.shape = (2, 4)
    with pytest.raises(AssertionError, match="grad_req must be one of"):
        p.grad_req = "bad"
    with pytest.raises(AssertionError, match="stype for Parameter 'd'"):
        gluon.Parameter("d", stype="bad")
    for bad in (gluon.Parameter("d", shape=(2, 0)), gluon.Parameter("d")):
        with pytest.raises(ValueError, match="Cannot initialize Parameter 'd'"):
            bad.initialize()
    gluon.Parameter("d", allow_deferred_init=True).initialize()
    assert gluon.Parameter("d", shape=3).shape == (3,)


def test_data_is_the_memory_itself() -> None:
    p = gluon.Parameter("w", shape=(2,))
    p.initialize("zeros")
    held = p.data()
    p.set_data([1, 2])
    assert held.tolist() == [1, 2]
    assert p.data() is held
    held[:] = 5
    assert p.data().tolist() == [5, 5]


def test_gradients_are_zeros_where_there_are_any() -> None:
    p = gluon.Parameter("w", shape=(2,))
    p.initialize()
    assert p.grad().tolist() == [0, 0]
    p.grad()[:] = 1
    p.zero_grad()
    assert not p.grad().any()
    p.grad_req = "null"
    with pytest.raises(RuntimeError, match="because grad_req='null'"):
        p.grad()


def test_a_deferred_parameter_takes_data() -> None:
    d = gluon.Parameter("d", shape=(2, 0), allow_deferred_init=True)
    d.initialize()
    d.set_data(nd.ones((2, 5)))
    assert d.shape == (2, 5)
    assert (d.data() == 1).all()


def test_parameters_on_several_contexts() -> None:
    cpu = mxio.cpu
    p = gluon.Parameter("w", shape=(2,))
    p.initialize("ones", ctx=[cpu(0), cpu(1)])
    assert p.list_ctx() == [cpu(0), cpu(1)]
    assert len(p.list_data()) == 2
    assert p.data(cpu(1)).context == cpu(1)
    p.data(cpu(1))[:] = 3
    assert p.data(cpu(0)).tolist() == [1, 1]
    with pytest.raises(RuntimeError, match=r"not initialized on context cpu\(5\)"):
        p.data(cpu(5))
    p.reset_ctx(cpu(2))
    assert p.data().tolist() == [2, 2]
    assert p.list_ctx() == [cpu(2)]
    with pytest.raises(ValueError, match="Cannot reset context"):
        gluon.Parameter("q", shape=(1,)).reset_ctx(cpu(1))


def test_cast_converts_now_and_later() -> None:
    net = MLP()
    net.initialize()
    net.cast("float16")
    assert net(nd.ones((1, 2), dtype="float16")).dtype == np.float16
    net.cast("float64")
    assert net.hidden.weight.data().dtype == np.float64
    assert net.hidden.weight.dtype == "float64"


def test_a_constant_keeps_its_value() -> None:
    k = gluon.Constant("k", [1, 2])
    k.initialize()
    assert k.data().tolist() == [1, 2]
    assert k.grad_req == "null"
    with pytest.warns(UserWarning, match='Constant parameter "k" does not support grad_req'):
        k.grad_req = "write"
    assert gluon.Constant("k", nd.array([1], dtype="int32")).dtype is np.int32


def test_a_parameter_dict_gives_and_shares() -> None:
    pd = gluon.ParameterDict("pre_")
    w = pd.get("w", shape=(2, 3))
    assert pd.get("w") is w
    assert pd["pre_w"] is w
    assert pd.get("w", shape=(2, 0)) is w
    with pytest.raises(AssertionError, match="'shape': desired '\\(3, 3\\)' vs stored"):
        pd.get("w", shape=(3, 3))
    with pytest.raises(AssertionError, match="'dtype': desired 'float64' vs stored"):
        pd.get("w", dtype="float64")
    c = pd.get_constant("c", [[1, 2]])
    assert pd.get_constant("c", [[1, 2]]) is c
    with pytest.raises(gluon.ParameterError, match="another value"):
        pd.get_constant("c", [[1, 3]])
    with pytest.raises(KeyError, match="No constant named 'pre_d'"):
        pd.get_constant("d")
    with pytest.raises(AssertionError, match="'pre_w' already exists but it is not a constant"):
        pd.get_constant("w", [1])
    other = gluon.ParameterDict("pre_")
    other.get("w", shape=(5, 5))
    with pytest.raises(AssertionError, match="Cannot update self with other"):
        pd.update(other)
    with pytest.raises(KeyError):
        pd["nope"]
    shared = gluon.ParameterDict("other_", shared=pd)
    assert shared.prefix == "other_"
    assert "pre_w" not in shared
    pd.initialize()
    assert pd.list_ctx() == [mxio.cpu()]
    pd.setattr("grad_req", "null")
    assert w.grad_req == "null"


def test_a_deferred_parameter_is_no_array() -> None:
    d = gluon.Parameter("d", shape=(2, 0), allow_deferred_init=True)
    d.initialize()
    for use in (lambda: np.ones(2) * d, lambda: nd.ones((2,)) + d, lambda: np.asarray(d)):
        with pytest.raises(gluon.DeferredInitializationError, match="'d'"):
            use()


def test_shared_parameters_are_one() -> None:
    t = Tied()
    assert t.first.weight is t.second.weight
    assert list(t.collect_params()) == ["dense0_weight", "dense0_bias"]
    assert len(t._collect_params_with_prefix()) == 4


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_networks_can_be_copied(copied: Any) -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(3, activation="relu"), nn.BatchNorm(), nn.Dense(2))
    net.initialize()
    x = nd.random.uniform(shape=(4, 5))
    y = net(x)
    clone = copied(net)
    assert (clone(x) == y).all()
    clone[0].weight.data()[:] = 0
    assert (net(x) == y).all()
    assert not (clone(x) == y).all()
