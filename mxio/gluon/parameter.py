# SPDX-License-Identifier: Apache-2.0
"""MXNet's ``gluon.parameter``."""

from mxio.errors import DeferredInitializationError
from mxio.gluon._parameter import Constant, Parameter
from mxio.gluon._parameter_dict import ParameterDict

__all__ = ["Constant", "DeferredInitializationError", "Parameter", "ParameterDict"]
