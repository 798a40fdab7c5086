# SPDX-License-Identifier: Apache-2.0
"""Sequences of blocks, and the layers that are neither convolutions nor activations.

Signatures, parameters and printed forms are those of MXNet 1.9.1, measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mxio import nd
from mxio.errors import described
from mxio.gluon.block import Block, HybridBlock
from mxio.gluon.nn.activations import Activation
from mxio.nd.ndarray import dtype_of

__all__ = [
    "BatchNorm",
    "BatchNormReLU",
    "Concatenate",
    "Concurrent",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GroupNorm",
    "HybridConcatenate",
    "HybridConcurrent",
    "HybridLambda",
    "HybridSequential",
    "Identity",
    "InstanceNorm",
    "Lambda",
    "LayerNorm",
    "Sequential",
]


# ---- blocks of blocks ------------------------------------------------------------------------


class _Stack(Block):
    """What blocks of numbered blocks have in common."""

    def add(self, *blocks: Any) -> None:
        """Add blocks at the end; in files they are ``0``, ``1``, …."""
        for block in blocks:
            if not isinstance(block, Block):
                raise TypeError(f"add takes blocks, not {described(block)}")
            self.register_child(block)

    def __repr__(self) -> str:
        return self._shown(list(self._children.items()))

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Block]:
        return iter(list(self._children.values()))

    def __getitem__(self, key: Any) -> Any:
        found = list(self._children.values())[key]
        if not isinstance(key, slice):
            return found
        part = self._like()
        part.add(*found)
        return part

    def _like(self) -> _Stack:
        """Return a block of this class and prefix, for some of its blocks."""
        return type(self)(prefix=self._prefix)

    def _chained(self, x: Any) -> Any:
        """Return what the last block returns, each given what the one before it returned."""
        for block in self._children.values():
            x = block(x)
        return x

    def _branched(self, x: Any, axis: int) -> Any:
        """Return the outputs of all blocks for one input, joined along an axis."""
        if not self._children:
            raise ValueError(f"{type(self).__name__} holds no blocks whose outputs it could join")
        return nd.concat(*[block(x) for block in self._children.values()], dim=axis)


class Sequential(_Stack):
    """Blocks one after another.

    Where a block returns several things, the next one gets the tuple, as in MXNet 1.9.1
    (measured; MXNet 2 hands them over as several arguments).

    Examples
    --------
    >>> net = Sequential()
    >>> net.add(Dense(3, in_units=4), Dense(2, in_units=3))
    >>> net[1]
    Dense(3 -> 2, linear)
    >>> len(net), len(net[:1])
    (2, 1)
    """

    def forward(self, x: Any) -> Any:
        """Return what the last block returns."""
        return self._chained(x)


class HybridSequential(_Stack, HybridBlock):
    """`Sequential` of hybrid blocks."""

    def hybrid_forward(self, F: Any, x: Any, **params: Any) -> Any:
        """Return what the last block returns."""
        return self._chained(x)


class Concurrent(Sequential):
    """Blocks side by side, their outputs for one input concatenated along an axis.

    Parameters
    ----------
    axis : int, default -1
    """

    def __init__(self, axis: int = -1, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self.axis = axis

    def _like(self) -> Concurrent:
        return type(self)(axis=self.axis, prefix=self._prefix)

    def forward(self, x: Any) -> Any:
        """Return the outputs of all blocks, concatenated."""
        return self._branched(x, self.axis)


class HybridConcurrent(HybridSequential):
    """`Concurrent` of hybrid blocks."""

    def __init__(self, axis: int = -1, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self.axis = axis

    def _like(self) -> HybridConcurrent:
        return type(self)(axis=self.axis, prefix=self._prefix)

    def hybrid_forward(self, F: Any, x: Any, **params: Any) -> Any:
        """Return the outputs of all blocks, concatenated."""
        return self._branched(x, self.axis)


class Concatenate(Concurrent):
    """MXNet 2's name for `Concurrent`."""


class HybridConcatenate(HybridConcurrent):
    """MXNet 2's name for `HybridConcurrent`."""


class Identity(HybridBlock):
    """Returns what it gets."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the input."""
        return x


class Lambda(Block):
    """A function as a block.

    Parameters
    ----------
    function : str or callable
        The name of an operator of `mxio.nd`, or a function of the inputs.
    """

    def __init__(self, function: str | Callable[..., Any], prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self._func_name, self._func = _function(function, self)

    def forward(self, *args: Any) -> Any:
        """Call the function."""
        return self._func(*args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._func_name})"


class HybridLambda(HybridBlock):
    """A function as a hybrid block.

    Parameters
    ----------
    function : str or callable
        The name of an operator of `mxio.nd`, or a function of `F` and the inputs.
    """

    def __init__(self, function: str | Callable[..., Any], prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self._func_name, self._func = _function(function, self)
        self._is_operator = isinstance(function, str)

    def hybrid_forward(self, F: Any, x: Any, *args: Any) -> Any:
        """Call the function."""
        return self._func(x, *args) if self._is_operator else self._func(F, x, *args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._func_name})"


def _function(given: str | Callable[..., Any], block: Block) -> tuple[str, Callable[..., Any]]:
    if isinstance(given, str):
        # Operators alone, and nothing that reads a file: a file may say which one is called.
        found = getattr(nd, given) if given in nd.OPERATORS else None
        if not callable(found):
            raise ValueError(f"Function name {given} is not found in mxio.nd.")
        return given, found
    if not callable(given):
        raise ValueError(
            f"{type(block).__name__} takes the name of an operator or a function, not "
            f"{described(given)}"
        )
    return getattr(given, "__name__", type(given).__name__), given


# ---- layers ----------------------------------------------------------------------------------


class Dense(HybridBlock):
    """``activation(x W.T + b)``, with parameters ``weight`` and ``bias``.

    Parameters
    ----------
    units : int
    activation : str, optional
        As in `Activation`.
    use_bias : bool, default True
    flatten : bool, default True
        Whether all axes but the first are one; else the last axis is transformed.
    dtype : dtype, default 'float32'
    weight_initializer, bias_initializer : Initializer or str
    in_units : int, default 0
        0: known from the first input, or from a file.
    """

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        flatten: bool = True,
        dtype: Any = "float32",
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_units: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._flatten = flatten
        with self.name_scope():
            self._units = units
            self._in_units = in_units
            self.weight = self.params.get(
                "weight",
                shape=(units, in_units),
                init=weight_initializer,
                dtype=dtype,
                allow_deferred_init=True,
            )
            self.bias = None
            if use_bias:
                self.bias = self.params.get(
                    "bias",
                    shape=(units,),
                    init=bias_initializer,
                    dtype=dtype,
                    allow_deferred_init=True,
                )
            self.act = None
            if activation is not None:
                self.act = Activation(activation, prefix=activation + "_")

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        """Return an array of shape ``(batch, units)``, or ``(..., units)`` without flatten."""
        y = F.FullyConnected(
            x,
            weight,
            bias,
            no_bias=bias is None,
            num_hidden=self._units,
            flatten=self._flatten,
        )
        return y if self.act is None else self.act(y)

    def __repr__(self) -> str:
        units, in_units = self.weight.shape or (self._units, 0)
        act = "linear" if self.act is None else repr(self.act)
        return f"{type(self).__name__}({in_units or None} -> {units}, {act})"


class Dropout(HybridBlock):
    """Lets everything through: for inference there is no dropout.

    Parameters
    ----------
    rate : float
    axes : tuple of int
    """

    def __init__(self, rate: float, axes: tuple[int, ...] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate <= 1:
            raise ValueError(f"rate is between 0 and 1, not {rate}")
        self._rate = rate
        self._axes = axes

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the input."""
        return F.Dropout(x, p=self._rate, axes=self._axes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p = {self._rate}, axes={self._axes})"


class Embedding(HybridBlock):
    """The rows of a matrix by their numbers: parameter ``weight``.

    Parameters
    ----------
    input_dim, output_dim : int
        How many rows, and their length.
    dtype : dtype, default 'float32'
    weight_initializer : Initializer or str, optional
    sparse_grad : bool
        For MXNet's sake.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        dtype: Any = "float32",
        weight_initializer: Any = None,
        sparse_grad: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._input_dim = input_dim
        self._output_dim = output_dim
        self._dtype = dtype
        self.weight = self.params.get(
            "weight",
            shape=(input_dim, output_dim),
            init=weight_initializer,
            dtype=dtype,
            allow_deferred_init=True,
            grad_stype="row_sparse" if sparse_grad else "default",
        )

    def hybrid_forward(self, F: Any, x: Any, weight: Any) -> Any:
        """Return an array of the input's shape with one axis more."""
        return F.Embedding(x, weight, input_dim=self._input_dim, output_dim=self._output_dim)

    def __repr__(self) -> str:
        dims = f"{self._input_dim} -> {self._output_dim}"
        return f"{type(self).__name__}({dims}, {self._dtype})"


class Flatten(HybridBlock):
    """All axes but the first as one."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return an array of shape ``(batch, rest)``."""
        return F.Flatten(x)

    def __repr__(self) -> str:
        return type(self).__name__


# ---- normalization ---------------------------------------------------------------------------


class BatchNorm(HybridBlock):
    """Normalize by running mean and variance, as is done for inference.

    Parameters are ``gamma``, ``beta``, ``running_mean`` and ``running_var``.

    Parameters
    ----------
    axis : int, default 1
        Of the channels.
    momentum : float
        For MXNet's sake.
    epsilon : float, default 1e-5
    center, scale : bool
        Whether beta and gamma are learned. Without `scale` gamma is 1, whatever is stored;
        without `center` a stored beta is added all the same (MXNet 1.9.1, measured).
    use_global_stats : bool
    beta_initializer, gamma_initializer : Initializer or str
    running_mean_initializer, running_variance_initializer : Initializer or str
    in_channels : int, default 0
        0: known from the first input, or from a file.
    """

    def __init__(
        self,
        axis: int = 1,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        running_mean_initializer: Any = "zeros",
        running_variance_initializer: Any = "ones",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._kwargs = {
            "axis": axis,
            "eps": epsilon,
            "momentum": momentum,
            "fix_gamma": not scale,
            "use_global_stats": use_global_stats,
        }
        learned = {"gamma": (scale, gamma_initializer), "beta": (center, beta_initializer)}
        learned["running_mean"] = False, running_mean_initializer
        learned["running_var"] = False, running_variance_initializer
        for name, (is_learned, init) in learned.items():
            parameter = self.params.get(
                name,
                grad_req="write" if is_learned else "null",
                shape=(in_channels,),
                init=init,
                allow_deferred_init=True,
                differentiable=is_learned,
            )
            setattr(self, name, parameter)

    def cast(self, dtype: Any) -> None:
        """Convert the parameters; those of a float16 network are float32, as in MXNet."""
        super().cast("float32" if dtype_of(dtype) == np.float16 else dtype)

    def hybrid_forward(
        self, F: Any, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any
    ) -> Any:
        """Return an array of the input's shape."""
        return F.BatchNorm(x, gamma, beta, running_mean, running_var, **self._kwargs)

    def __repr__(self) -> str:
        said = ", ".join(f"{key}={value}" for key, value in self._shown_kwargs().items())
        (in_channels,) = self._reg_params["gamma"].shape or (0,)
        return f"{type(self).__name__}({said}, in_channels={in_channels or None})"

    def _shown_kwargs(self) -> dict[str, Any]:
        return self._kwargs


class BatchNormReLU(BatchNorm):
    """`BatchNorm`, and then what is negative is 0."""

    def hybrid_forward(
        self, F: Any, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any
    ) -> Any:
        """Return an array of the input's shape."""
        y = super().hybrid_forward(F, x, gamma, beta, running_mean, running_var)
        return F.relu(y)


class _Norm(HybridBlock):
    """What LayerNorm, GroupNorm and InstanceNorm have in common: gamma and beta."""

    def _learn(
        self, n: int, center: bool, scale: bool, beta_initializer: Any, gamma_initializer: Any
    ) -> None:
        inits = {"gamma": (scale, gamma_initializer), "beta": (center, beta_initializer)}
        for name, (is_learned, init) in inits.items():
            parameter = self.params.get(
                name,
                grad_req="write" if is_learned else "null",
                shape=(n,),
                init=init,
                allow_deferred_init=True,
            )
            setattr(self, name, parameter)

    def _said(self, **more: Any) -> str:
        said = ", ".join(f"{key}={value}" for key, value in more.items())
        return f"{type(self).__name__}({said})"


class LayerNorm(_Norm):
    """Normalize along one axis; parameters ``gamma`` and ``beta``.

    Parameters
    ----------
    axis : int, default -1
    epsilon : float, default 1e-5
    center, scale : bool
    beta_initializer, gamma_initializer : Initializer or str
    in_channels : int, default 0
        0: known from the first input, or from a file.
    """

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        in_channels: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        self._axis, self._epsilon = axis, epsilon
        self._center, self._scale = center, scale
        self._learn(in_channels, center, scale, beta_initializer, gamma_initializer)

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        """Return an array of the input's shape."""
        return F.LayerNorm(x, gamma, beta, axis=self._axis, eps=self._epsilon)

    def __repr__(self) -> str:
        (in_channels,) = self._reg_params["gamma"].shape or (0,)
        return self._said(
            eps=self._epsilon,
            axis=self._axis,
            center=self._center,
            scale=self._scale,
            in_channels=in_channels,
        )


class GroupNorm(_Norm):
    """Normalize groups of channels; parameters ``gamma`` and ``beta``, one for each group.

    Files of MXNet 2 have one for each channel: they are loaded, and used, as they are.

    Parameters
    ----------
    num_groups : int, default 1
    epsilon : float, default 1e-5
    center, scale : bool
    beta_initializer, gamma_initializer : Initializer or str
    """

    def __init__(
        self,
        num_groups: int = 1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        if num_groups < 1:
            raise ValueError(f"num_groups is 1 or more, not {num_groups}")
        self._num_groups, self._epsilon = num_groups, epsilon
        self._center, self._scale = center, scale
        self._learn(num_groups, center, scale, beta_initializer, gamma_initializer)
        for parameter in self._reg_params.values():
            parameter._may_become = (0,)

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        """Return an array of the input's shape."""
        return F.GroupNorm(x, gamma, beta, num_groups=self._num_groups, eps=self._epsilon)

    def __repr__(self) -> str:
        return self._said(
            eps=self._epsilon,
            num_groups=self._num_groups,
            center=self._center,
            scale=self._scale,
        )


class InstanceNorm(_Norm):
    """Normalize each channel of each sample; parameters ``gamma`` and ``beta``.

    Parameters
    ----------
    axis : int, default 1
        Of the channels.
    epsilon : float, default 1e-5
    center : bool, default True
    scale : bool, default False
    beta_initializer, gamma_initializer : Initializer or str
    in_channels : int, default 0
        0: known from the first input, or from a file.
    """

    def __init__(
        self,
        axis: int = 1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._axis, self._epsilon = axis, epsilon
        self._center, self._scale = center, scale
        self._learn(in_channels, center, scale, beta_initializer, gamma_initializer)

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        """Return an array of the input's shape."""
        if self._axis == 1:
            return F.InstanceNorm(x, gamma, beta, eps=self._epsilon)
        y = F.InstanceNorm(x.swapaxes(1, self._axis), gamma, beta, eps=self._epsilon)
        return y.swapaxes(1, self._axis)

    def __repr__(self) -> str:
        (in_channels,) = self._reg_params["gamma"].shape or (0,)
        return self._said(
            eps=self._epsilon,
            axis=self._axis,
            center=self._center,
            scale=self._scale,
            in_channels=in_channels,
        )
