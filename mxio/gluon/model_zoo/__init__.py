# SPDX-License-Identifier: Apache-2.0
"""Networks that many files hold the parameters of."""

from mxio.gluon.model_zoo import vision

__all__ = ["vision"]
