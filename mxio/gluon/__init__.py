# SPDX-License-Identifier: Apache-2.0
"""Gluon: networks in code, their parameters in files.

>>> from mxio import nd
>>> from mxio.gluon import nn
>>> net = nn.Sequential()
>>> net.add(nn.Dense(4, activation='relu'), nn.Dense(2))
>>> net.initialize()
>>> y = net(nd.ones((1, 3)))                # shapes become known: 3 inputs
>>> net.save_parameters('net.params')

and in another program, where the network is built by the same code:

>>> clone = nn.Sequential()
>>> clone.add(nn.Dense(4, activation='relu'), nn.Dense(2))
>>> clone.load_parameters('net.params')     # all of them, or an error that says why
>>> bool((clone(nd.ones((1, 3))) == y).all())
True

Names and behaviour are those of MXNet 1.9.1. Forward passes are NumPy's: enough to use what
was trained and to check what was restored; there are no gradients.
"""

from mxio.errors import DeferredInitializationError, ExtraParameterError, ParameterError
from mxio.gluon import contrib, model_zoo, nn, parameter, rnn
from mxio.gluon.architecture import register
from mxio.gluon.block import Block, HybridBlock
from mxio.gluon.files import load, load_parameters, save_parameters
from mxio.gluon.parameter import Constant, Parameter, ParameterDict

__all__ = [
    "Block",
    "Constant",
    "DeferredInitializationError",
    "ExtraParameterError",
    "HybridBlock",
    "Parameter",
    "ParameterDict",
    "ParameterError",
    "contrib",
    "load",
    "load_parameters",
    "model_zoo",
    "nn",
    "parameter",
    "register",
    "rnn",
    "save_parameters",
]


def __getattr__(name: str) -> object:
    if name in ("Trainer", "data", "loss", "utils", "SymbolBlock"):
        raise AttributeError(
            f"mxio.gluon has no {name!r}: it saves and loads networks and runs them, but trains "
            "none (docs/GLUON.md)"
        )
    raise AttributeError(f"module 'mxio.gluon' has no attribute {name!r}")
