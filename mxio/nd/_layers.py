# SPDX-License-Identifier: Apache-2.0
"""Operators of layers that are neither convolutions nor activations, and shape inference.

All compute what MXNet computes for inference: Dropout lets everything through, BatchNorm goes
by the moving statistics. float16 is computed in float32 and rounded once, at the end.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mxio.nd._operator import Array, computing, floating, operator, product, rounded

__all__ = [
    "LRN",
    "BatchNorm",
    "Dropout",
    "Embedding",
    "Flatten",
    "FullyConnected",
    "GroupNorm",
    "InstanceNorm",
    "L2Normalization",
    "LayerNorm",
    "resolve",
]


def resolve(parameter: Any, shape: tuple[int, ...], name: str) -> Any:
    """Return the array of a learnable argument, whose shape the input decides.

    Parameters
    ----------
    parameter : array or Parameter
        A Parameter that waits for its shape gets it here.
    shape : tuple of int
    name : str
        Of the argument, for the message.

    Raises
    ------
    ValueError
        If the array has another shape.
    """
    finish = getattr(parameter, "_finish_with_shape", None)
    if finish is not None:
        return finish(shape)
    if parameter is None:
        raise ValueError(f"{name} is missing: the input asks for an array of shape {shape}")
    array = parameter if isinstance(parameter, np.ndarray) else np.asarray(parameter)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, but the input asks for {shape}")
    return array


def learned(parameter: Any, shape: tuple[int, ...], name: str) -> Array:
    """`resolve`, as a plain array."""
    return np.asarray(resolve(parameter, shape, name))


def bias_of(bias: Any, no_bias: bool, n: int, what: str) -> Array | None:
    """Return the bias of `n` outputs, or None with ``no_bias``."""
    if no_bias:
        return None
    if bias is None:
        raise ValueError(f"{what} needs a bias, or no_bias=True")
    return learned(bias, (n,), "bias")


@operator
def FullyConnected(
    data: Any,
    weight: Any,
    bias: Any = None,
    num_hidden: int | None = None,
    no_bias: bool = False,
    flatten: bool = True,
) -> Any:
    """Return ``data @ weight.T + bias``.

    Parameters
    ----------
    data : array
    weight : array of shape (num_hidden, inputs)
    bias : array of shape (num_hidden,), optional
    num_hidden : int
    no_bias : bool, default False
        Whether to leave out `bias`, given or not.
    flatten : bool, default True
        Whether all axes but the first are inputs; else the last one alone.
    """
    if num_hidden is None:
        raise TypeError("FullyConnected needs num_hidden, the number of outputs")
    data = np.asarray(data)
    if data.ndim == 0:
        raise ValueError("FullyConnected needs data of one dimension or more")
    inputs = math.prod(data.shape[1:]) if flatten else data.shape[-1]
    shape = (data.shape[0], num_hidden) if flatten else (*data.shape[:-1], num_hidden)
    weight = learned(weight, (num_hidden, inputs), "weight")
    bias = bias_of(bias, no_bias, num_hidden, "FullyConnected")
    dtype = floating(data, weight, bias)
    exact = computing(dtype)
    rows = rounded(data, exact).reshape(math.prod(shape[:-1]), inputs)
    y = product(rows, rounded(weight, exact).T)
    if bias is not None:
        y += bias
    return rounded(y, dtype).reshape(shape)


@operator
def Embedding(
    data: Any,
    weight: Any,
    input_dim: int | None = None,
    output_dim: int | None = None,
    dtype: Any = "float32",
    sparse_grad: bool = False,
) -> Any:
    """Return row ``data[i]`` of `weight` for each `i`.

    Numbers are cut to integers, and those out of range taken as the first or the last row.
    (MXNet 1.9.1, measured.) The result has the dtype of `weight`.

    Parameters
    ----------
    data : array
    weight : array of shape (input_dim, output_dim)
    input_dim, output_dim : int
    dtype, sparse_grad
        Not looked at.
    """
    if input_dim is None or output_dim is None:
        raise TypeError("Embedding needs input_dim and output_dim, the shape of weight")
    weight = learned(weight, (input_dim, output_dim), "weight")
    return weight[within(np.asarray(data), input_dim)]


def within(index: Array, n: int) -> Array:
    """Return numbers as positions among `n`, those out of range clipped."""
    if n == 0 and index.size:
        raise ValueError("there is nothing to take: the axis has no items")
    if index.dtype.kind not in "iu":
        # fmax: NaN is 0. The upper bound again after the cast, which float32 may have rounded up.
        index = np.fmin(np.fmax(index, 0), n - 1)
        index = index.astype(np.int64)
    return np.clip(index, 0, n - 1).astype(np.intp)


@operator
def Dropout(
    data: Any, p: float = 0.5, mode: str = "training", axes: Any = (), cudnn_off: bool = False
) -> Any:
    """Return a copy of `data`: nothing is dropped outside of training.

    Raises
    ------
    NotImplementedError
        With ``mode='always'``, which drops at random.
    """
    if mode != "training":
        raise NotImplementedError(f"Dropout(mode={mode!r}) drops at random; here is no training")
    return np.asarray(data)


@operator
def Flatten(data: Any) -> Any:
    """Return `data` as a matrix: the first axis stays, the others become one."""
    data = np.asarray(data)
    if data.ndim == 0:
        raise ValueError("Flatten needs data of one dimension or more")
    return data.reshape(data.shape[0], math.prod(data.shape[1:]))


@operator
def BatchNorm(
    data: Any,
    gamma: Any,
    beta: Any,
    moving_mean: Any,
    moving_var: Any,
    eps: float = 1e-3,
    momentum: float = 0.9,
    fix_gamma: bool = True,
    use_global_stats: bool = False,
    output_mean_var: bool = False,
    axis: int = 1,
    cudnn_off: bool = False,
    min_calib_range: float | None = None,
    max_calib_range: float | None = None,
) -> Any:
    """Return ``(data - moving_mean) / sqrt(moving_var + eps) * gamma + beta``.

    Parameters
    ----------
    data : array
    gamma, beta, moving_mean, moving_var : array of shape (data.shape[axis],)
    eps : float, default 0.001
    fix_gamma : bool, default True
        Whether gamma is taken as 1, whatever it is.
    output_mean_var : bool, default False
        Whether to return the mean and ``1 / sqrt(moving_var + eps)`` too, in a list.
    axis : int, default 1
        That of the channels.
    momentum, use_global_stats, cudnn_off, min_calib_range, max_calib_range
        Not looked at.
    """
    data = np.asarray(data)
    axis = axis_of(axis, data.ndim, "BatchNorm")
    n = (data.shape[axis],)
    gamma = learned(gamma, n, "gamma")
    beta = learned(beta, n, "beta")
    mean = learned(moving_mean, n, "moving_mean")
    var = learned(moving_var, n, "moving_var")
    dtype = floating(data)
    exact = computing(floating(data, gamma, beta, mean, var))
    invstd = 1 / np.sqrt(rounded(var, exact) + exact.type(eps))
    scale = invstd if fix_gamma else invstd * rounded(gamma, exact)
    line = [1] * data.ndim
    line[axis] = -1
    y = np.subtract(data, rounded(mean, exact).reshape(line), dtype=exact)
    y *= scale.reshape(line)
    y += beta.reshape(line)
    y = rounded(y, dtype)
    return (y, mean, invstd) if output_mean_var else y


def axis_of(axis: int, ndim: int, what: str) -> int:
    """Return an axis counted from the front."""
    if not -ndim <= axis < ndim:
        raise ValueError(f"{what} has no axis {axis}: data has {ndim} dimensions")
    return axis % ndim


def standard(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array, Array]:
    """Return ``(x - mean) / std``, mean and std over some axes."""
    mean = x.mean(axis=axes, keepdims=True)
    x = x - mean
    std = np.sqrt(np.square(x).mean(axis=axes, keepdims=True) + x.dtype.type(eps))
    x /= std
    return x, mean, std


@operator
def LayerNorm(
    data: Any,
    gamma: Any,
    beta: Any,
    axis: int = -1,
    eps: float = 1e-5,
    output_mean_var: bool = False,
) -> Any:
    """Return ``(data - mean) / sqrt(var + eps) * gamma + beta``, statistics along one axis.

    Parameters
    ----------
    data : array
    gamma, beta : array of shape (data.shape[axis],)
    output_mean_var : bool, default False
        Whether to return the mean and the standard deviation too, in a list.
    """
    data = np.asarray(data)
    axis = axis_of(axis, data.ndim, "LayerNorm")
    n = data.shape[axis]
    gamma = learned(gamma, (n,), "gamma")
    beta = learned(beta, (n,), "beta")
    dtype = floating(data)
    exact = computing(floating(data, gamma, beta))
    y, mean, std = standard(rounded(data, exact), (axis,), eps)
    line = [1] * data.ndim
    line[axis] = n
    y *= gamma.reshape(line)
    y += beta.reshape(line)
    y = rounded(y, dtype)
    return (y, rounded(mean, dtype), rounded(std, dtype)) if output_mean_var else y


@operator
def GroupNorm(
    data: Any,
    gamma: Any,
    beta: Any,
    num_groups: int = 1,
    eps: float = 1e-5,
    output_mean_var: bool = False,
) -> Any:
    """Normalize each group of channels of each sample, the channels on axis 1.

    Parameters
    ----------
    data : array
    gamma, beta : array of shape (num_groups,) or (channels,)
        One for each group, as in MXNet 1.9.1 (measured), or one for each channel, as in 2.
    num_groups : int, default 1
    output_mean_var : bool, default False
        Whether to return the mean and the standard deviation too, in a list.
    """
    data = np.asarray(data)
    if data.ndim < 3:
        raise ValueError(f"GroupNorm needs 3 dimensions or more, data has shape {data.shape}")
    n, channels = data.shape[:2]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(f"GroupNorm cannot make num_groups={num_groups} of {channels} channels")
    by_channel = isinstance(gamma, np.ndarray) and gamma.shape == (channels,)
    gamma = learned(gamma, (channels if by_channel else num_groups,), "gamma")
    beta = learned(beta, gamma.shape, "beta")
    dtype = floating(data)
    exact = computing(floating(data, gamma, beta))
    each = math.prod(data.shape[2:]) * (channels // num_groups)
    y, mean, std = standard(rounded(data, exact).reshape(n, num_groups, each), (2,), eps)
    y = y.reshape(n, len(gamma), -1) if y.size else y
    y *= gamma[:, None]
    y += beta[:, None]
    y = rounded(y, dtype).reshape(data.shape)
    if not output_mean_var:
        return y
    return y, rounded(mean[..., 0], dtype), rounded(std[..., 0], dtype)


@operator
def InstanceNorm(data: Any, gamma: Any, beta: Any, eps: float = 1e-3) -> Any:
    """Normalize each channel of each sample, the channels on axis 1.

    Parameters
    ----------
    data : array
    gamma, beta : array of shape (channels,)
    eps : float, default 0.001
    """
    data = np.asarray(data)
    if data.ndim < 3:
        raise ValueError(f"InstanceNorm needs 3 dimensions or more, data has shape {data.shape}")
    channels = data.shape[1]
    gamma = learned(gamma, (channels,), "gamma")
    beta = learned(beta, (channels,), "beta")
    dtype = floating(data)
    exact = computing(floating(data, gamma, beta))
    y, _, _ = standard(rounded(data, exact), tuple(range(2, data.ndim)), eps)
    line = (channels,) + (1,) * (data.ndim - 2)
    y *= gamma.reshape(line)
    y += beta.reshape(line)
    return rounded(y, dtype)


@operator
def L2Normalization(data: Any, eps: float = 1e-10, mode: str = "instance") -> Any:
    """Return ``data / sqrt(sum(data ** 2) + eps)``.

    Parameters
    ----------
    data : array
    mode : {'instance', 'channel', 'spatial'}
        What a sum is over: all axes but the first, axis 1, or all axes from the third on.
    """
    data = np.asarray(data)
    axes = {"instance": range(1, data.ndim), "channel": (1,), "spatial": range(2, data.ndim)}
    if mode not in axes:
        raise ValueError(f"no mode {mode!r}: it is 'instance', 'channel' or 'spatial'")
    dtype = floating(data)
    x = rounded(data, computing(dtype))
    norm = np.sqrt(np.square(x).sum(axis=tuple(axes[mode]), keepdims=True) + x.dtype.type(eps))
    return rounded(x / norm, dtype)


@operator
def LRN(
    data: Any, alpha: float = 1e-4, beta: float = 0.75, knorm: float = 2.0, nsize: int | None = None
) -> Any:
    """Divide by ``(knorm + alpha / nsize * s) ** beta``, `s` the sum of squares near by.

    Parameters
    ----------
    data : array of shape (batch, channels, height, width)
    nsize : int
        How many channels a sum is over, odd: as many before the item's own as behind it.
    """
    data = np.asarray(data)
    if nsize is None:
        raise TypeError("LRN needs nsize, the number of channels a sum is over")
    if data.ndim != 4 or nsize % 2 != 1:
        raise ValueError(f"LRN needs 4 dimensions and an odd nsize, not {data.shape} and {nsize}")
    dtype = floating(data)
    x = rounded(data, computing(dtype))
    square = np.square(x)
    total = square.copy()
    for step in range(1, min(nsize // 2 + 1, x.shape[1])):
        total[:, step:] += square[:, :-step]
        total[:, :-step] += square[:, step:]
    total *= x.dtype.type(alpha / nsize)
    total += x.dtype.type(knorm)
    return rounded(x * total ** x.dtype.type(-beta), dtype)
