# SPDX-License-Identifier: Apache-2.0
"""Where MXNet 1.x has some of the blocks that are in `mxio.gluon.nn`."""

from mxio.gluon.contrib import nn

__all__ = ["nn"]
