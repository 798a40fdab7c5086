# SPDX-License-Identifier: Apache-2.0
"""Layers, with the names, parameters and printed forms of MXNet 1.9.1's ``gluon.nn``."""

from mxio.gluon.block import Block, HybridBlock
from mxio.gluon.nn import activations, basic_layers, conv_layers
from mxio.gluon.nn.activations import *  # noqa: F403
from mxio.gluon.nn.basic_layers import *  # noqa: F403
from mxio.gluon.nn.conv_layers import *  # noqa: F403

__all__ = [
    "Block",
    "HybridBlock",
    *activations.__all__,
    *basic_layers.__all__,
    *conv_layers.__all__,
]
