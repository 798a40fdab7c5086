# SPDX-License-Identifier: Apache-2.0
"""What a layer is asked, in MXNet and in mxio: one definition for both sides.

tests/golden/gluon/make.py asks MXNet 1.9.1 and writes down the answers; the tests ask mxio.
Inputs and parameters are not stored: both sides draw them from `numpy.random.RandomState`,
whose streams NumPy promises never to change, seeded by the CRC-32 of a name.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import zlib
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def numbers(word: str, shape: Any, low: float = -1.0, high: float = 1.0) -> Array:
    """Return the numbers that a word stands for."""
    return np.random.RandomState(zlib.crc32(word.encode())).uniform(low, high, tuple(shape))


def value_of(name: str, shape: Any) -> Array:
    """Return the value of a parameter by its structure name, such that outputs stay moderate."""
    last = name.rpartition(".")[2]
    if last in ("running_var", "gamma"):
        return numbers(name, shape, 0.5, 1.5)
    if last == "weight" and len(shape) > 1:
        high = float(3 / np.prod(shape[1:])) ** 0.5
        return numbers(name, shape, -high, high)
    return numbers(name, shape, -0.5, 0.5)


def inputs_of(case: dict[str, Any]) -> list[Array]:
    """Return the inputs of a case: integers below its `kind`, or numbers of that dtype."""
    found = []
    for number, shape in enumerate(case["inputs"]):
        word, kind = f"{case['source']}#{number}", case["kind"]
        if isinstance(kind, int):
            found.append(np.floor(numbers(word, shape, 0, kind)).astype("float32"))
        else:
            found.append((3 * numbers(word, shape)).astype(kind))
    return found


def parameters(net: Any) -> list[list[Any]]:
    """Return [full name, structure names, shape, dtype, grad_req, init] of each parameter."""
    structure = net._collect_params_with_prefix()
    return [
        [
            name,
            [path for path, other in structure.items() if other is p],
            list(p.shape),
            np.dtype(p.dtype).name,
            p.grad_req,
            p.init if isinstance(p.init, str) or p.init is None else type(p.init).__name__,
        ]
        for name, p in net.collect_params().items()
    ]


def blocks(net: Any, path: str = "") -> list[list[str]]:
    """Return [path, class, name] of each block, depth first."""
    found = [[path, type(net).__name__, net.name]]
    for name, child in net._children.items():
        found += blocks(child, f"{path}.{name}" if path else name)
    return found


def signature_of(cls: Any) -> list[str]:
    """Return the names that a class is made with, and the defaults where there are any."""
    found = []
    for p in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        if p.kind is p.VAR_KEYWORD:
            found.append(f"**{p.name}")
        elif p.default is p.empty:
            found.append(p.name)
        else:
            is_plain = p.default is None or isinstance(p.default, (bool, int, float, str, tuple))
            said = repr(p.default) if is_plain else type(p.default).__name__
            found.append(f"{p.name}={said}")
    return found


def digest(said: Any) -> str:
    """Return a hash of what JSON can say."""
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def sources(mx: Any, nn: Any, contrib: Any, resnet: Any) -> dict[str, Any]:
    """Return the names that the sources of cases use, in the words of one library."""

    class Split(nn.HybridBlock):  # type: ignore[name-defined, misc]
        """A block with two outputs."""

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return x, x * 2

    class Plus(nn.HybridBlock):  # type: ignore[name-defined, misc]
        """A block whose one input is a pair."""

        def hybrid_forward(self, F: Any, pair: Any) -> Any:
            return pair[0] + pair[1]

    def chain(cls: Any, *inner: Any) -> Any:
        net = cls()
        net.add(*inner)
        return net

    def branches(cls: Any, *inner: Any) -> Any:
        net = cls(axis=1)
        net.add(*inner)
        return net

    def scoped(cls: Any, prefix: str | None, *makers: Any) -> Any:
        net = cls(prefix=prefix)
        with net.name_scope():
            net.add(*[make() for make in makers])
        return net

    def shared() -> Any:
        first = nn.Dense(4, in_units=4)
        return chain(nn.HybridSequential, first, nn.Dense(4, params=first.params))

    return {
        "mx": mx,
        "nn": nn,
        "contrib": contrib,
        "resnet": resnet,
        "Split": Split,
        "Plus": Plus,
        "chain": chain,
        "branches": branches,
        "scoped": scoped,
        "shared": shared,
    }
