# SPDX-License-Identifier: Apache-2.0
"""MXNet 1.x's ``gluon.contrib.nn``."""

from mxio.gluon.nn.basic_layers import Concurrent, HybridConcurrent, Identity

__all__ = ["Concurrent", "HybridConcurrent", "Identity"]
