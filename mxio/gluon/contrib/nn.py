# SPDX-License-Identifier: Apache-2.0
"""The layers of MXNet 1.x's ``gluon.contrib.nn``; some are in `mxio.gluon.nn` as well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mxio import nd
from mxio.gluon.block import Block, HybridBlock
from mxio.gluon.nn.basic_layers import BatchNorm, Concurrent, HybridConcurrent, Identity
from mxio.nd.ndarray import NDArray

__all__ = [
    "Concurrent",
    "HybridConcurrent",
    "Identity",
    "PixelShuffle1D",
    "PixelShuffle2D",
    "PixelShuffle3D",
    "SparseEmbedding",
    "SyncBatchNorm",
]


class SyncBatchNorm(BatchNorm):
    """`BatchNorm`, whose statistics several devices share in training; the channels on axis 1.

    Parameters
    ----------
    in_channels : int, default 0
    num_devices : int, optional
        For MXNet's sake.
    momentum, epsilon, center, scale, use_global_stats : optional
        As for `BatchNorm`, like the initializers.
    """

    def __init__(
        self,
        in_channels: int = 0,
        num_devices: int | None = None,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        running_mean_initializer: Any = "zeros",
        running_variance_initializer: Any = "ones",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *(1, momentum, epsilon, center, scale, use_global_stats),
            *(beta_initializer, gamma_initializer),
            *(running_mean_initializer, running_variance_initializer, in_channels),
            **kwargs,
        )
        self._num_devices = 1 if num_devices is None else num_devices

    def _shown_kwargs(self) -> dict[str, Any]:
        found = {key: value for key, value in self._kwargs.items() if key != "axis"}
        return {**found, "ndev": self._num_devices, "key": repr(self.prefix)}


class SparseEmbedding(Block):
    """`nn.Embedding` whose gradient is sparse.

    Parameters
    ----------
    input_dim, output_dim : int
        How many rows, and their length.
    dtype : dtype, default 'float32'
    weight_initializer : Initializer or str, optional
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        dtype: Any = "float32",
        weight_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._shape = input_dim, output_dim
        self._dtype = dtype
        self.weight = self.params.get(
            "weight",
            shape=(input_dim, output_dim),
            init=weight_initializer,
            dtype=dtype,
            grad_stype="row_sparse",
            stype="row_sparse",
        )

    def forward(self, x: Any) -> Any:
        """Return an array of the input's shape with one axis more."""
        input_dim, output_dim = self._shape
        return nd.Embedding(x, self.weight.data(), input_dim=input_dim, output_dim=output_dim)

    def __repr__(self) -> str:
        input_dim, output_dim = self._shape
        return f"{type(self).__name__}({input_dim} -> {output_dim}, {self._dtype})"


class _PixelShuffle(HybridBlock):
    """Channels to pixels: `factor` as many along each of `ndim` axes."""

    def __init__(self, factor: int | Sequence[int], ndim: int) -> None:
        super().__init__()
        self._factors = (factor,) * ndim if isinstance(factor, int) else tuple(factor)
        if len(self._factors) != ndim:
            raise ValueError(f"factor must be a number or {ndim} of them, not {factor!r}")

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return an array of shape ``(batch, channels / product(factor), size * factor, …)``."""
        factors, ndim = self._factors, len(self._factors)
        if x.ndim != ndim + 2 or x.shape[1] % math.prod(factors):
            raise ValueError(
                f"{self!r} needs {ndim + 2} dimensions, and a multiple of {math.prod(factors)} "
                f"channels on axis 1, but x has shape {x.shape}"
            )
        n, channels, *size = x.shape
        inner = channels // math.prod(factors)
        y = np.asarray(x).reshape(n, inner, *factors, *size)
        pairs = [axis for k in range(ndim) for axis in (2 + ndim + k, 2 + k)]
        y = y.transpose(0, 1, *pairs)
        sizes = [a * b for a, b in zip(size, factors, strict=True)]
        return F.identity(y.reshape(n, inner, *sizes).view(NDArray))

    def __repr__(self) -> str:
        said = self._factors if len(self._factors) > 1 else self._factors[0]
        return f"{type(self).__name__}({said})"


class PixelShuffle1D(_PixelShuffle):
    """Channels to a longer sequence: from ``(n, f * c, w)`` to ``(n, c, w * f)``."""

    def __init__(self, factor: int | Sequence[int]) -> None:
        super().__init__(factor, 1)


class PixelShuffle2D(_PixelShuffle):
    """Channels to larger images: from ``(n, f * f * c, h, w)`` to ``(n, c, h * f, w * f)``.

    Parameters
    ----------
    factor : int or tuple of 2 int
    """

    def __init__(self, factor: int | Sequence[int]) -> None:
        super().__init__(factor, 2)


class PixelShuffle3D(_PixelShuffle):
    """Channels to larger volumes, as `PixelShuffle2D`."""

    def __init__(self, factor: int | Sequence[int]) -> None:
        super().__init__(factor, 3)
