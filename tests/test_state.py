# SPDX-License-Identifier: Apache-2.0
"""Objects and templates in the state of a run: what is saved of them, and the way back."""

from __future__ import annotations

import random
from collections import OrderedDict, namedtuple
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import mxio
from mxio import CheckpointManager, nd
from mxio.gluon import nn

Moments = namedtuple("Moments", "mu nu count")


@pytest.fixture
def manager(tmp_path: Path) -> CheckpointManager:
    return CheckpointManager(tmp_path / "run")


# ---- generators ----


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_generators_go_on_with_the_same_numbers(manager: CheckpointManager, kind: str) -> None:
    make = getattr(np.random, kind)
    state = {
        "rng": np.random.Generator(make(1)),
        "bits": make(2),
        "old": np.random.RandomState(3),
    }

    def draw(of: dict[str, Any]) -> list[Any]:
        return [
            of["rng"].normal(size=5),
            of["rng"].integers(0, 9, 3, dtype=np.int32),  # keeps half of what it drew
            of["bits"].random_raw(3),
            of["old"].normal(size=3),
        ]

    draw(state)
    manager.save(1, state)
    expected = draw(state)
    out = {
        "rng": np.random.Generator(make(7)),
        "bits": make(8),
        "old": np.random.RandomState(9),
    }
    assert manager.restore(out=out) is out
    for one, other in zip(draw(out), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    manager.restore(out=state)
    for one, other in zip(draw(state), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_state_of_another_generator_is_a_difference(manager: CheckpointManager) -> None:
    manager.save(1, {"rng": np.random.default_rng(1)})
    other = {"rng": np.random.Generator(np.random.MT19937(1))}
    with pytest.raises(mxio.EntryError, match="'rng' is a dict of 4, not the state of a MT19937"):
        manager.restore(out=other)


# ---- containers ----


def test_named_tuples_and_ordered_dicts_come_back_as_what_they_are_in_a_template(
    manager: CheckpointManager,
) -> None:
    state = {
        "opt": (Moments({"w": np.ones(2)}, [np.zeros(3)], 5), ()),
        "ordered": OrderedDict(b=np.arange(2), a=1),
        "view": MappingProxyType({"x": np.float32(3)}),
        3: None,
    }
    manager.save(1, state)
    plain = manager.restore()
    assert plain["opt"][0]["count"] == 5
    assert isinstance(plain["opt"][0], dict)
    like = manager.restore(like=state)
    assert isinstance(like["opt"][0], Moments)
    np.testing.assert_array_equal(like["opt"][0].mu["w"], np.ones(2))
    assert type(like["ordered"]) is OrderedDict
    assert list(like["ordered"]) == ["b", "a"]
    assert type(like["view"]["x"]) is np.float32
    assert like["opt"][0].mu["w"] is not state["opt"][0].mu["w"]  # type: ignore[index]


def test_arrays_are_filled_in_place_and_what_cannot_change_is_new(
    manager: CheckpointManager,
) -> None:
    w, f = np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(12.0).reshape(3, 4))
    manager.save(1, {"w": w, "list": [f, 7, "x"], "pair": (w, 1), "s": np.float64(4)})
    out: dict[str, Any] = {
        "w": np.zeros((2, 3)),
        "list": [np.zeros((6, 4))[::2], 0, None],
        "pair": (np.zeros((2, 3)), 0),
        "s": np.float64(0),
    }
    places = [out["w"], out["list"], out["list"][0], out["pair"][0]]
    got = manager.restore(out=out)
    assert got is out
    for one, other in zip(
        places, [out["w"], out["list"], out["list"][0], out["pair"][0]], strict=True
    ):
        assert one is other
    np.testing.assert_array_equal(out["w"], w)
    np.testing.assert_array_equal(out["list"][0], f)
    np.testing.assert_array_equal(out["pair"][0], w)
    assert (out["list"][1:], out["pair"][1], out["s"]) == ([7, "x"], 1, 4)


def test_all_differences_are_listed_and_nothing_has_changed(manager: CheckpointManager) -> None:
    manager.save(
        1,
        {"a": np.zeros(3), "b": [np.zeros(2, "f4"), 1], "c": {"x": 1, "y": {}}, "d": 1, "e": None},
    )
    out = {
        "a": np.full(4, 9.0),
        "b": [np.full(2, 9.0), 1, 2],
        "c": {"x": np.full(2, 9.0), "y": [], "z": 1},
        "f": np.full(3, 9.0),
        "e": np.full(3, 9.0),
    }
    for word in "like", "out":
        with pytest.raises(mxio.EntryError) as caught:
            manager.restore(**{word: out})
        message = str(caught.value)
        assert f"differs from {word} in 9 places: " in message
        assert message.split(": ", 1)[1].split("; ") == [
            "'f' is not in the file",
            "'d' is in the file only",
            "'a' is float64 of shape (3,), not float64 of shape (4,)",
            "'b' has 2 items, not 3",
            "'b/0' is float32 of shape (2,), not float64 of shape (2,)",
            "'c/z' is not in the file",
            "'c/x' is an int, not float64 of shape (2,)",
            "'c/y' is a dict of 0, not a list of 0",
            "'e' is None, not float64 of shape (3,)",
        ]
    assert all((x == 9).all() for x in (out["a"], out["b"][0], out["c"]["x"], out["f"]))  # type: ignore[index]


def test_of_very_many_differences_the_first_hundred_are_told(manager: CheckpointManager) -> None:
    manager.save(1, {f"{n}": n for n in range(5000)})
    with pytest.raises(mxio.EntryError, match=r"in 4,999 places: .*; … and 4,899 more") as caught:
        manager.restore(like={"0": 0})
    assert str(caught.value).count("is in the file only") == 100


def test_a_damaged_step_changes_nothing_and_the_one_before_is_put_there(
    manager: CheckpointManager,
) -> None:
    for step in 1, 2:
        manager.save(step, {"a": np.full(100_000, step), "net": net_of(step), "n": step})
    path = Path(manager.path(2))
    data = bytearray(path.read_bytes())
    data[-50_000] ^= 1
    path.write_bytes(data)
    out = {"a": np.zeros(100_000, int), "net": net_of(9), "n": 0}
    with pytest.raises(mxio.ChecksumError):
        manager.restore(2, out=out)
    assert (out["a"].sum(), out["n"]) == (0, 0)  # type: ignore[union-attr]
    np.testing.assert_array_equal(values(out["net"]), values(net_of(9)))
    with pytest.warns(mxio.DamageWarning):
        manager.restore(out=out)
    assert (out["a"][0], out["n"]) == (1, 1)  # type: ignore[index]
    np.testing.assert_array_equal(values(out["net"]), values(net_of(1)))


def test_an_array_that_cannot_be_written_is_named_and_nothing_changes(
    manager: CheckpointManager,
) -> None:
    manager.save(1, {"a": np.ones(3), "b": np.ones(3), "n": 1})
    out = {"a": np.zeros(3), "b": np.zeros(3), "n": 0}
    out["b"].setflags(write=False)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="'b'"):
        manager.restore(out=out)
    assert (out["a"].sum(), out["n"]) == (0, 0)  # type: ignore[union-attr]


def test_like_and_out_are_not_given_together(manager: CheckpointManager) -> None:
    with pytest.raises(ValueError, match="give one of them"):
        manager.restore(like={}, out={})


def test_one_array_one_list_or_one_value_is_a_state_too(manager: CheckpointManager) -> None:
    for step, state in enumerate([np.arange(3), [np.arange(2)], {}, 5, (), "x"]):
        manager.save(step, state)
        found = manager.restore(step)
        if isinstance(state, np.ndarray):
            np.testing.assert_array_equal(found, state)
            out = np.zeros(3, int)
            assert manager.restore(step, out=out) is out
            np.testing.assert_array_equal(out, state)
        elif isinstance(state, list):
            np.testing.assert_array_equal(found[0], state[0])
        else:
            assert found == state
            assert type(found) is type(state)


def test_none_is_no_state_and_one_that_holds_itself_is_none(manager: CheckpointManager) -> None:
    with pytest.raises(TypeError, match="None is no state"):
        manager.save(1, None)
    state: dict[str, Any] = {"x": 1}
    state["self"] = [state]
    with pytest.raises(ValueError, match="holds itself"):
        manager.save(1, state)


def test_numbers_of_numpy_and_plain_ones_stand_for_each_other(manager: CheckpointManager) -> None:
    state = {
        "best": np.float64(0.25),
        "n": 3,
        "flag": np.bool_(True),
        "t": np.array(7),
        "half": np.float16(1.5),
    }
    manager.save(1, state)
    assert manager.restore() == {"best": 0.25, "n": 3, "flag": True, "t": 7, "half": 1.5}
    t = np.zeros((), np.float32)
    out = {"best": float("inf"), "n": np.int64(0), "flag": False, "t": 0, "half": t}
    for _ in range(2):
        manager.restore(out=out)
        assert out == {"best": 0.25, "n": 3, "flag": True, "t": 7, "half": 1.5}
        assert type(out["best"]) is float
        assert type(out["n"]) is np.int64
        assert type(out["t"]) is int
        assert out["half"] is t
    like = manager.restore(like={**out, "n": np.float32(0)})
    assert type(like["n"]) is np.float32
    assert like["half"] is not t
    assert like["half"].dtype == np.float32


def test_the_generator_of_python_goes_on_too(manager: CheckpointManager) -> None:
    rng = random.Random(1)
    manager.save(1, {"rng": rng, "n": 1})
    expected = [rng.random() for _ in range(3)]
    other: dict[str, Any] = {"rng": random.Random(2), "n": 0}
    manager.restore(out=other)
    assert [other["rng"].random() for _ in range(3)] == expected


def test_sparse_arrays(manager: CheckpointManager) -> None:
    sparse = nd.sparse.csr_matrix(np.eye(3, dtype="f4"))
    manager.save(1, {"s": sparse})
    np.testing.assert_array_equal(manager.restore()["s"].toarray(), np.eye(3))
    out: dict[str, Any] = {"s": sparse}
    np.testing.assert_array_equal(manager.restore(out=out)["s"].toarray(), np.eye(3))
    with pytest.raises(mxio.EntryError, match="a sparse array of shape"):
        manager.restore(like={"s": nd.sparse.csr_matrix(np.eye(4, dtype="f4"))})


# ---- Gluon ----


def net_of(seed: int) -> nn.Sequential:
    net = nn.Sequential()
    net.add(nn.Dense(4, in_units=3), nn.BatchNorm(in_channels=4), nn.Dense(2, in_units=4))
    net.initialize()
    rng = np.random.default_rng(seed)
    for parameter in net.collect_params().values():
        parameter.set_data(rng.random(parameter.shape).astype("f4"))
    return net


def values(net: Any) -> np.ndarray[Any, Any]:
    return np.concatenate([p.data().asnumpy().ravel() for p in net.collect_params().values()])


def test_a_block_is_saved_by_structure_and_restored_with_deferred_shapes(
    manager: CheckpointManager,
) -> None:
    net = net_of(1)
    x = np.ones((2, 3), "f4")
    manager.save(1, {"net": net, "one": net[0].weight})
    assert manager.restore()["net"].keys() == net._collect_params_with_prefix().keys()
    again = nn.Sequential()
    again.add(nn.Dense(4), nn.BatchNorm(), nn.Dense(2))
    one = mxio.gluon.Parameter("one", shape=(4, 3))
    one.initialize()
    manager.restore(out={"net": again, "one": one})
    np.testing.assert_array_equal(again(nd.array(x)).asnumpy(), net(nd.array(x)).asnumpy())
    np.testing.assert_array_equal(one.data().asnumpy(), net[0].weight.data().asnumpy())
    other = nn.Sequential()
    other.add(nn.Dense(5), nn.Dense(2))
    with pytest.raises(mxio.EntryError, match=r"'net/0\.weight' is float32 of shape .4, 3., not"):
        manager.restore(out={"net": other, "one": one})


def test_ndarrays_come_back_as_ndarrays(manager: CheckpointManager) -> None:
    manager.save(1, {"x": nd.ones((2, 2))})
    out = {"x": nd.zeros((2, 2))}
    x = out["x"]
    manager.restore(out=out)
    assert out["x"] is x
    assert x.sum().asscalar() == 4
    assert isinstance(manager.restore(like=out)["x"], nd.NDArray)


# ---- whatever has a state ----


class Scheduler:
    def __init__(self, rate: float) -> None:
        self.rate, self.history = rate, np.zeros(2)

    def state_dict(self) -> dict[str, Any]:
        return {"rate": self.rate, "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rate, self.history = state["rate"], state["history"]


def test_whatever_has_state_dict_and_load_state_dict(manager: CheckpointManager) -> None:
    manager.save(1, {"s": Scheduler(0.5)})
    other = Scheduler(1.0)
    manager.restore(out={"s": other})
    assert other.rate == 0.5
    assert manager.restore(like={"s": other})["s"]["rate"] == 0.5
    manager.save(2, {"s": 3})
    with pytest.raises(mxio.EntryError, match="not the state of"):
        manager.restore(out={"s": other})


def test_modules_and_optimizers_of_torch(manager: CheckpointManager) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    def build() -> tuple[Any, Any, Any]:
        net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
        return net, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2)

    def train(net: Any, optimizer: Any, scheduler: Any) -> None:
        for k in range(3):
            optimizer.zero_grad()
            net(torch.full((5, 3), float(k)) + torch.arange(5.0)[:, None]).square().sum().backward()
            optimizer.step()
            scheduler.step()

    first = build()
    train(*first)
    state = dict(zip(("net", "optimizer", "scheduler"), first, strict=True))
    state["generator"] = torch.Generator().manual_seed(5)
    extra = torch.arange(3, dtype=torch.bfloat16)
    manager.save(1, {**state, "t": torch.ones(2), "half": extra.to(torch.float16)})
    second = build()
    out = {
        **dict(zip(("net", "optimizer", "scheduler"), second, strict=True)),
        "generator": torch.Generator().manual_seed(6),
        "t": torch.zeros(2),
        "half": torch.zeros(3, dtype=torch.float16),
    }
    t = out["t"]
    manager.restore(out=out)
    assert out["t"] is t
    assert t.tolist() == [1, 1]
    assert torch.equal(
        torch.rand(3, generator=out["generator"]), torch.rand(3, generator=state["generator"])
    )
    train(*first)
    train(*second)
    for name, tensor in first[0].state_dict().items():
        assert torch.equal(tensor, second[0].state_dict()[name])
    assert first[2].state_dict() == second[2].state_dict()
    like = manager.restore(like=out)
    assert torch.equal(like["half"], torch.arange(3).to(torch.float16))
    assert isinstance(like["net"]["0.weight"], torch.Tensor)
    out["net"] = torch.nn.Sequential(torch.nn.Linear(4, 4), second[0][1])
    with pytest.raises(mxio.EntryError, match=r"'net/0\.weight' is float32 of shape"):
        manager.restore(out=out)
