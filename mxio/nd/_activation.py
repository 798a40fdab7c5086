# SPDX-License-Identifier: Apache-2.0
"""Activations, and the family of softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mxio.nd import _special
from mxio.nd._layers import axis_of, learned
from mxio.nd._operator import Array, computing, floating, operator, rounded
from mxio.nd.ndarray import dtype_of

__all__ = [
    "Activation",
    "LeakyReLU",
    "SoftmaxActivation",
    "SoftmaxOutput",
    "hard_sigmoid",
    "log_softmax",
    "relu",
    "sigmoid",
    "smooth_l1",
    "softmax",
    "softmax_cross_entropy",
    "softmin",
    "softsign",
]


def _relu(x: Array) -> Array:
    y: Array = np.maximum(x, x.dtype.type(0))
    return y


def _sigmoid(x: Array) -> Array:
    # exp overflows to infinity far down, which makes 0.
    y = np.exp(-x)
    y += 1
    return np.reciprocal(y, out=y)


def _softrelu(x: Array) -> Array:
    # log(1 + exp(x)) without an overflow.
    y = np.exp(-np.abs(x))
    np.log1p(y, out=y)
    y += np.maximum(x, 0)
    return y


def _softsign(x: Array) -> Array:
    y: Array = x / (1 + np.abs(x))
    return y


_ACTIVATIONS: dict[str | None, Callable[[Array], Array]] = {
    "relu": _relu,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "softrelu": _softrelu,
    "softsign": _softsign,
}


@operator
def Activation(data: Any, act_type: str | None = None) -> Any:
    """Return an activation of each item.

    NaN stays NaN; in MXNet 1.9.1 the relu of it is 0.

    Parameters
    ----------
    data : array
    act_type : {'relu', 'sigmoid', 'tanh', 'softrelu', 'softsign'}
        ``softrelu`` is ``log(1 + exp(x))``, ``softsign`` is ``x / (1 + abs(x))``.
    """
    if act_type not in _ACTIVATIONS:
        raise ValueError(
            f"no act_type {act_type!r}: it is one of {', '.join(map(str, _ACTIVATIONS))}"
        )
    data = np.asarray(data)
    dtype = floating(data)
    return rounded(_ACTIVATIONS[act_type](rounded(data, computing(dtype))), dtype)


@operator
def relu(data: Any) -> Any:
    """Return the larger of each item and 0."""
    return _relu(np.asarray(data))


def _each(function: Callable[[Array], Array], data: Any) -> Array:
    """Return a function of each item in the dtype of `data`, integers by way of float64."""
    x = np.asarray(data)
    inner = computing(x.dtype) if x.dtype.kind in "fV" else np.dtype(np.float64)
    return rounded(function(rounded(x, inner)), x.dtype)


@operator
def sigmoid(data: Any) -> Any:
    """Return ``1 / (1 + exp(-data))``."""
    return _each(_sigmoid, data)


@operator
def softsign(data: Any) -> Any:
    """Return ``data / (1 + abs(data))``."""
    return _each(_softsign, data)


@operator
def hard_sigmoid(data: Any, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """Return ``alpha * data + beta``, but at least 0 and at most 1."""
    data = np.asarray(data)
    x = rounded(data, computing(floating(data)))
    y = x * x.dtype.type(alpha) + x.dtype.type(beta)
    return rounded(np.clip(y, 0, 1), floating(data))


@operator
def smooth_l1(data: Any, scalar: float = 1.0) -> Any:
    """Return ``(scalar * x) ** 2 / 2`` near 0 and ``abs(x) - 0.5 / scalar ** 2`` beyond."""
    square = float(scalar) ** 2

    def loss(x: Array) -> Array:
        far = np.abs(x)
        return np.where(far > 1 / square, far - 0.5 / square, np.square(x) * (square / 2))

    return _each(loss, data)


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@operator
def LeakyReLU(
    data: Any,
    gamma: Any = None,
    act_type: str = "leaky",
    slope: float = 0.25,
    lower_bound: float = 0.125,
    upper_bound: float = 0.334,
) -> Any:
    """Return each item if it is positive, else something small.

    Parameters
    ----------
    data : array
    gamma : array of shape (channels,) or (1,), optional
        The slopes of ``'prelu'``, the channels on axis 1.
    act_type : {'leaky', 'prelu', 'elu', 'selu', 'gelu', 'rrelu'}
        ``gelu`` is ``x * P(X <= x)`` of a normal distribution, computed with erf; ``rrelu`` has
        the mean of its bounds as slope, since nothing is random outside of training.
    slope : float, default 0.25
        Of ``'leaky'`` and ``'elu'``.
    lower_bound, upper_bound : float
    """
    data = np.asarray(data)
    dtype = floating(data)
    x = rounded(data, computing(dtype))
    kind = x.dtype.type
    if act_type in ("leaky", "rrelu"):
        y = x * kind(slope if act_type == "leaky" else (lower_bound + upper_bound) / 2)
        np.copyto(y, x, where=x > 0)
    elif act_type == "prelu":
        y = np.where(x > 0, x, x * _slopes(gamma, x))
    elif act_type == "elu":
        y = np.where(x > 0, x, kind(slope) * np.expm1(np.minimum(x, 0)))
    elif act_type == "selu":
        y = kind(_SELU_SCALE) * np.where(x > 0, x, kind(_SELU_ALPHA) * np.expm1(np.minimum(x, 0)))
    elif act_type == "gelu":
        y = _special.erf(x * kind(0.5**0.5))
        y += 1
        y *= x
        y *= kind(0.5)
    else:
        raise ValueError(
            f"no act_type {act_type!r}: it is one of leaky, prelu, elu, selu, gelu, rrelu"
        )
    return rounded(y, dtype)


def _slopes(gamma: Any, x: Array) -> Array:
    channels = x.shape[1] if x.ndim > 1 else x.shape[0] if x.ndim else 1
    if isinstance(gamma, np.ndarray) and gamma.size == 1:
        return rounded(gamma.reshape(()), x.dtype)
    found = rounded(learned(gamma, (channels,), "gamma"), x.dtype)
    return found.reshape(-1, *(1,) * (x.ndim - 2))


def _shifted(data: Any, axis: int, temperature: float | None, sign: int = 1) -> Array:
    """Return the exponents of a softmax less their maximum, as a new array."""
    given = rounded(data, computing(floating(data)))
    if sign > 0:
        x: Array = given - given.max(axis=axis, keepdims=True)
    else:
        x = given.min(axis=axis, keepdims=True) - given
    if temperature is not None and temperature != 1:
        x /= x.dtype.type(temperature)
    return x


def _dtype_of_softmax(data: Array, dtype: Any) -> np.dtype[Any]:
    return floating(data) if dtype is None else dtype_of(dtype)


@operator
def softmax(
    data: Any,
    length: Any = None,
    axis: int = -1,
    temperature: float | None = None,
    dtype: Any = None,
    use_length: bool = False,
) -> Any:
    """Return ``exp(data / temperature)``, divided by its sum along an axis.

    Parameters
    ----------
    data : array
    length : array, optional
        With ``use_length=True``, how many items count, of the shape of `data` without `axis`:
        the results of the others are 0.
    axis : int, default -1
    temperature : float, optional
    dtype : dtype, optional
        Of the result, that of `data` unless given.
    use_length : bool, default False
    """
    return _softmax(data, length if use_length else None, axis, temperature, dtype, 1)


@operator
def softmin(
    data: Any,
    axis: int = -1,
    temperature: float | None = None,
    dtype: Any = None,
    use_length: bool = False,
) -> Any:
    """Return the softmax of ``-data``, with its arguments."""
    return _softmax(data, None, axis, temperature, dtype, -1)


def _softmax(
    given: Any, length: Any, axis: int, temperature: float | None, dtype: Any, sign: int
) -> Array:
    data: Array = np.asarray(given)
    axis = axis_of(axis, data.ndim, "softmax")
    if not data.size:
        return data
    if length is None:
        y = _shifted(data, axis, temperature, sign)
        np.exp(y, out=y)
        y /= y.sum(axis=axis, keepdims=True)
        return rounded(y, _dtype_of_softmax(data, dtype))
    length = np.asarray(length)
    expected = data.shape[:axis] + data.shape[axis + 1 :]
    if length.shape != expected:
        raise ValueError(f"length has shape {length.shape}, but data asks for {expected}")
    line = [1] * data.ndim
    line[axis] = -1
    inside = np.arange(data.shape[axis]).reshape(line) < np.expand_dims(length, axis)
    least = rounded(data, computing(floating(data))).dtype.type(-np.inf)
    y = _shifted(np.where(inside, rounded(data, least.dtype), least), axis, temperature)
    np.exp(y, out=y)
    y /= y.sum(axis=axis, keepdims=True)
    return rounded(np.where(inside, y, 0), _dtype_of_softmax(data, dtype))


@operator
def log_softmax(
    data: Any,
    axis: int = -1,
    temperature: float | None = None,
    dtype: Any = None,
    use_length: bool = False,
) -> Any:
    """Return the logarithm of the softmax, with its arguments."""
    data = np.asarray(data)
    axis = axis_of(axis, data.ndim, "log_softmax")
    if not data.size:
        return data
    y = _shifted(data, axis, temperature)
    y -= np.log(np.exp(y).sum(axis=axis, keepdims=True))
    return rounded(y, _dtype_of_softmax(data, dtype))


@operator
def SoftmaxActivation(data: Any, mode: str = "instance") -> Any:
    """Return the softmax along the last axis, or over the channels with ``'channel'``."""
    data = np.asarray(data)
    if mode not in ("instance", "channel"):
        raise ValueError(f"no mode {mode!r}: it is 'instance' or 'channel'")
    return _softmax(data, None, 1 if mode == "channel" else -1, None, None, 1)


@operator
def SoftmaxOutput(
    data: Any,
    label: Any = None,
    grad_scale: float = 1.0,
    ignore_label: float = -1.0,
    multi_output: bool = False,
    use_ignore: bool = False,
    preserve_shape: bool = False,
    normalization: str = "null",
    out_grad: bool = False,
    smooth_alpha: float = 0.0,
) -> Any:
    """Return the softmax along the last axis, or with `multi_output` along the second.

    The other arguments are for training and not looked at.
    """
    return _softmax(np.asarray(data), None, 1 if multi_output else -1, None, None, 1)


@operator
def softmax_cross_entropy(data: Any, label: Any) -> Any:
    """Return the sum of ``-log_softmax(data)[i, label[i]]``, of shape (1,)."""
    data, label = np.asarray(data), np.asarray(label)
    if data.ndim != 2 or label.shape != data.shape[:1]:
        raise ValueError(
            f"data should be a matrix and label a vector, not {data.shape} and {label.shape}"
        )
    y = _shifted(data, 1, None)
    y -= np.log(np.exp(y).sum(axis=1, keepdims=True))
    picked = y[np.arange(len(label)), np.clip(label.astype(np.intp), 0, data.shape[1] - 1)]
    return rounded(-picked.sum(keepdims=True), floating(data))
