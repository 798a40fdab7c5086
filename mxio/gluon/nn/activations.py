# SPDX-License-Identifier: Apache-2.0
"""Activations as layers; the functions themselves are operators of `mxio.nd`."""

from __future__ import annotations

from typing import Any

from mxio import initializer
from mxio.gluon.block import HybridBlock

__all__ = ["ELU", "GELU", "SELU", "Activation", "LeakyReLU", "PReLU", "SiLU", "Swish"]


class Activation(HybridBlock):
    """An activation by its name.

    Parameters
    ----------
    activation : {'relu', 'sigmoid', 'tanh', 'softrelu', 'softsign'}
    """

    def __init__(self, activation: str, **kwargs: Any) -> None:
        self._act_type = activation
        super().__init__(**kwargs)

    def _alias(self) -> str:
        return self._act_type

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the activation of each item."""
        return F.Activation(x, act_type=self._act_type)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._act_type})"


class LeakyReLU(HybridBlock):
    """``x`` where it is positive, else ``alpha * x``.

    Parameters
    ----------
    alpha : float
        0 or more.
    """

    def __init__(self, alpha: float, **kwargs: Any) -> None:
        if alpha < 0:
            raise ValueError(f"Slope coefficient for LeakyReLU must be no less than 0, not {alpha}")
        super().__init__(**kwargs)
        self._alpha = alpha

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the activation of each item."""
        return F.LeakyReLU(x, act_type="leaky", slope=self._alpha)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._alpha})"


class PReLU(HybridBlock):
    """`LeakyReLU` with a slope that is learned: the parameter ``alpha``.

    Parameters
    ----------
    alpha_initializer : Initializer or str, default Constant(0.25)
    in_channels : int, default 1
        1, or a slope for each channel.
    """

    def __init__(self, alpha_initializer: Any = None, in_channels: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if alpha_initializer is None:
            alpha_initializer = initializer.Constant(0.25)
        with self.name_scope():
            self.alpha = self.params.get("alpha", shape=(in_channels,), init=alpha_initializer)

    def hybrid_forward(self, F: Any, x: Any, alpha: Any) -> Any:  # type: ignore[override]
        """Return the activation of each item."""
        return F.LeakyReLU(x, gamma=alpha, act_type="prelu")


class ELU(HybridBlock):
    """``x`` where it is positive, else ``alpha * (exp(x) - 1)``."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._alpha = alpha

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the activation of each item."""
        return F.LeakyReLU(x, act_type="elu", slope=self._alpha)


class SELU(HybridBlock):
    """`ELU` with the constants that keep mean and variance."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the activation of each item."""
        return F.LeakyReLU(x, act_type="selu")


class GELU(HybridBlock):
    """``x`` times the probability that a normal number is less than it, by erf."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the activation of each item."""
        return F.LeakyReLU(x, act_type="gelu")


class Swish(HybridBlock):
    """``x * sigmoid(beta * x)``."""

    def __init__(self, beta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._beta = beta

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the activation of each item."""
        return x * F.sigmoid(self._beta * x)


class SiLU(Swish):
    """``x * sigmoid(x)``; MXNet 2's name for `Swish`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(1.0, **kwargs)
