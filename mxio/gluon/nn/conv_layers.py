# SPDX-License-Identifier: Apache-2.0
"""Convolutions and poolings in 1, 2 and 3 dimensions.

Signatures, parameters and printed forms are those of MXNet 1.9.1, measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mxio.gluon.block import HybridBlock
from mxio.gluon.nn.activations import Activation

__all__ = [
    *("AvgPool1D", "AvgPool2D", "AvgPool3D"),
    *("Conv1D", "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose"),
    *("GlobalAvgPool1D", "GlobalAvgPool2D", "GlobalAvgPool3D"),
    *("GlobalMaxPool1D", "GlobalMaxPool2D", "GlobalMaxPool3D"),
    *("MaxPool1D", "MaxPool2D", "MaxPool3D"),
    "ReflectionPad2D",
]

Size = int | Sequence[int]


def _sizes(given: Size, ndim: int, name: str) -> tuple[int, ...]:
    """Return one number for each dimension."""
    sizes = (given,) * ndim if isinstance(given, int) else tuple(given)
    if len(sizes) != ndim:
        raise ValueError(f"{name} must be a number or a tuple of {ndim} ints, not {given!r}")
    return sizes


# ---- convolutions ----------------------------------------------------------------------------


class _Conv(HybridBlock):
    """A convolution, or a transposed one, with parameters ``weight`` and ``bias``.

    Parameters
    ----------
    channels : int
        Of the output.
    kernel_size, strides, padding, dilation : int or tuple of int
        One number, or one for each dimension.
    output_padding : int or tuple of int
        Of transposes only: added to one side of the output.
    groups : int, default 1
        How many convolutions lie side by side.
    layout : str
        ``'NCHW'`` and the like, or with the channels last.
    activation : str, optional
    use_bias : bool, default True
    weight_initializer, bias_initializer : Initializer or str
    in_channels : int, default 0
        0: known from the first input, or from a file.
    """

    _operator: ClassVar[str] = "Convolution"

    def __init__(
        self,
        channels: int,
        kernel_size: Size,
        strides: Size,
        padding: Size,
        dilation: Size,
        groups: int,
        layout: str,
        activation: str | None,
        use_bias: bool,
        weight_initializer: Any,
        bias_initializer: Any,
        in_channels: int,
        output_padding: Size | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        ndim = len(layout) - 2
        with self.name_scope():
            self._channels = channels
            self._in_channels = in_channels
            self._kwargs = {
                "kernel": _sizes(kernel_size, ndim, "kernel_size"),
                "stride": _sizes(strides, ndim, "strides"),
                "dilate": _sizes(dilation, ndim, "dilation"),
                "pad": _sizes(padding, ndim, "padding"),
                "num_filter": channels,
                "num_group": groups,
                "no_bias": not use_bias,
                "layout": layout,
            }
            if output_padding is not None:
                self._kwargs["adj"] = _sizes(output_padding, ndim, "output_padding")
            self.weight = self.params.get(
                "weight",
                shape=self._weight_shape(),
                init=weight_initializer,
                allow_deferred_init=True,
            )
            self.bias = None
            if use_bias:
                self.bias = self.params.get(
                    "bias", shape=(channels,), init=bias_initializer, allow_deferred_init=True
                )
            self.act = None
            if activation is not None:
                self.act = Activation(activation, prefix=activation + "_")

    def _alias(self) -> str:
        return "conv"

    def _weight_shape(self) -> tuple[int, ...]:
        """Return the shape as far as it is known: outputs, inputs of a group, kernel."""
        kernel, each = self._kwargs["kernel"], self._in_channels // self._kwargs["num_group"]
        if self._kwargs["layout"].endswith("C"):
            return (self._channels, *kernel, each)
        return (self._channels, each, *kernel)

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:  # type: ignore[override]
        """Return an array of shape ``(batch, channels, ...)``, in the layer's layout."""
        y = getattr(F, self._operator)(x, weight, bias, **self._kwargs)
        return y if self.act is None else self.act(y)

    def __repr__(self) -> str:
        own, ndim = self._kwargs, len(self._kwargs["kernel"])
        n_out, n_in = (self.weight.shape or (0, 0))[:2]
        said = [f"{n_in or None} -> {n_out}", f"kernel_size={own['kernel']}"]
        said.append(f"stride={own['stride']}")
        for word, key, default in (("padding", "pad", 0), ("dilation", "dilate", 1)):
            if own[key] != (default,) * ndim:
                said.append(f"{word}={own[key]}")
        if own["num_group"] != 1:
            said.append(f"groups={own['num_group']}")
        if self.bias is None:
            said.append("bias=False")
        if self.act is not None:
            said.append(repr(self.act))
        return f"{type(self).__name__}({', '.join(said)})"


class _ConvTranspose(_Conv):
    _operator = "Deconvolution"

    def _weight_shape(self) -> tuple[int, ...]:
        """Return the shape as far as it is known: inputs, outputs of a group, kernel."""
        kernel, each = self._kwargs["kernel"], self._channels // self._kwargs["num_group"]
        if self._kwargs["layout"].endswith("C"):
            return (self._in_channels, *kernel, each)
        return (self._in_channels, each, *kernel)


class Conv1D(_Conv):
    """A convolution of arrays of shape ``(batch, channels, width)``.

    Parameters are those of `Conv2D`, with one number for each tuple.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        layout: str = "NCW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *(channels, kernel_size, strides, padding, dilation, groups, layout, activation),
            *(use_bias, weight_initializer, bias_initializer, in_channels),
            **kwargs,
        )


class Conv2D(_Conv):
    """A convolution of images, of shape ``(batch, channels, height, width)``.

    Parameters
    ----------
    channels : int
        Of the output.
    kernel_size, strides, padding, dilation : int or tuple of 2 int
    groups : int, default 1
        How many convolutions lie side by side.
    layout : {'NCHW', 'NHWC'}
    activation : str, optional
    use_bias : bool, default True
    weight_initializer, bias_initializer : Initializer or str
    in_channels : int, default 0
        0: known from the first input, or from a file.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size,
        strides: Size = (1, 1),
        padding: Size = (0, 0),
        dilation: Size = (1, 1),
        groups: int = 1,
        layout: str = "NCHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *(channels, kernel_size, strides, padding, dilation, groups, layout, activation),
            *(use_bias, weight_initializer, bias_initializer, in_channels),
            **kwargs,
        )


class Conv3D(_Conv):
    """A convolution of arrays of shape ``(batch, channels, depth, height, width)``.

    Parameters are those of `Conv2D`, with three numbers in each tuple.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size,
        strides: Size = (1, 1, 1),
        padding: Size = (0, 0, 0),
        dilation: Size = (1, 1, 1),
        groups: int = 1,
        layout: str = "NCDHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *(channels, kernel_size, strides, padding, dilation, groups, layout, activation),
            *(use_bias, weight_initializer, bias_initializer, in_channels),
            **kwargs,
        )


class Conv1DTranspose(_ConvTranspose):
    """The transpose of `Conv1D`: from its output's shape to its input's.

    Parameters are those of `Conv2DTranspose`, with one number for each tuple.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        layout: str = "NCW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *(channels, kernel_size, strides, padding, dilation, groups, layout, activation),
            *(use_bias, weight_initializer, bias_initializer, in_channels, output_padding),
            **kwargs,
        )


class Conv2DTranspose(_ConvTranspose):
    """The transpose of `Conv2D`: from its output's shape to its input's.

    Parameters
    ----------
    output_padding : int or tuple of 2 int
        Added to one side of the output.
    channels, kernel_size, strides, padding, dilation, groups, layout, activation, use_bias, \
weight_initializer, bias_initializer, in_channels
        As in `Conv2D`.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size,
        strides: Size = (1, 1),
        padding: Size = (0, 0),
        output_padding: Size = (0, 0),
        dilation: Size = (1, 1),
        groups: int = 1,
        layout: str = "NCHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *(channels, kernel_size, strides, padding, dilation, groups, layout, activation),
            *(use_bias, weight_initializer, bias_initializer, in_channels, output_padding),
            **kwargs,
        )


class Conv3DTranspose(_ConvTranspose):
    """The transpose of `Conv3D`: from its output's shape to its input's.

    Parameters are those of `Conv2DTranspose`, with three numbers in each tuple.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size,
        strides: Size = (1, 1, 1),
        padding: Size = (0, 0, 0),
        output_padding: Size = (0, 0, 0),
        dilation: Size = (1, 1, 1),
        groups: int = 1,
        layout: str = "NCDHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *(channels, kernel_size, strides, padding, dilation, groups, layout, activation),
            *(use_bias, weight_initializer, bias_initializer, in_channels, output_padding),
            **kwargs,
        )


# ---- poolings --------------------------------------------------------------------------------


class _Pooling(HybridBlock):
    """The maximum or the mean of windows."""

    def __init__(
        self,
        pool_size: Size,
        strides: Size | None,
        padding: Size,
        ceil_mode: bool,
        global_pool: bool,
        pool_type: str,
        layout: str,
        count_include_pad: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        ndim = len(layout) - 2
        kernel = _sizes(pool_size, ndim, "pool_size")
        self._kwargs = {
            "kernel": kernel,
            "stride": kernel if strides is None else _sizes(strides, ndim, "strides"),
            "pad": _sizes(padding, ndim, "padding"),
            "global_pool": global_pool,
            "pool_type": pool_type,
            "pooling_convention": "full" if ceil_mode else "valid",
            "layout": layout,
        }
        if count_include_pad is not None:
            self._kwargs["count_include_pad"] = count_include_pad

    def _alias(self) -> str:
        return "pool"

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return an array of as many dimensions."""
        return F.Pooling(x, **self._kwargs)

    def __repr__(self) -> str:
        own = self._kwargs
        return (
            f"{type(self).__name__}(size={own['kernel']}, stride={own['stride']}, "
            f"padding={own['pad']}, ceil_mode={own['pooling_convention'] == 'full'}, "
            f"global_pool={own['global_pool']}, pool_type={own['pool_type']}, "
            f"layout={own['layout']})"
        )


class MaxPool1D(_Pooling):
    """The maximum of windows along one axis; see `MaxPool2D`."""

    def __init__(
        self,
        pool_size: Size = 2,
        strides: Size | None = None,
        padding: Size = 0,
        layout: str = "NCW",
        ceil_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            pool_size, strides, padding, ceil_mode, False, "max", layout, None, **kwargs
        )


class MaxPool2D(_Pooling):
    """The maximum of windows of images.

    Parameters
    ----------
    pool_size : int or tuple of 2 int
    strides : int or tuple of 2 int, optional
        None: the windows lie side by side.
    padding : int or tuple of 2 int
    layout : {'NCHW', 'NHWC'}
    ceil_mode : bool
        Whether windows that reach over the end count.
    """

    def __init__(
        self,
        pool_size: Size = (2, 2),
        strides: Size | None = None,
        padding: Size = 0,
        layout: str = "NCHW",
        ceil_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            pool_size, strides, padding, ceil_mode, False, "max", layout, None, **kwargs
        )


class MaxPool3D(_Pooling):
    """The maximum of windows in three dimensions; see `MaxPool2D`."""

    def __init__(
        self,
        pool_size: Size = (2, 2, 2),
        strides: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        layout: str = "NCDHW",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            pool_size, strides, padding, ceil_mode, False, "max", layout, None, **kwargs
        )


class AvgPool1D(_Pooling):
    """The mean of windows along one axis; see `AvgPool2D`."""

    def __init__(
        self,
        pool_size: Size = 2,
        strides: Size | None = None,
        padding: Size = 0,
        layout: str = "NCW",
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *(pool_size, strides, padding, ceil_mode, False, "avg", layout, count_include_pad),
            **kwargs,
        )


class AvgPool2D(_Pooling):
    """The mean of windows of images.

    Parameters
    ----------
    pool_size, strides, padding, ceil_mode, layout
        As in `MaxPool2D`.
    count_include_pad : bool, default True
        Whether the padding counts.
    """

    def __init__(
        self,
        pool_size: Size = (2, 2),
        strides: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        layout: str = "NCHW",
        count_include_pad: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *(pool_size, strides, padding, ceil_mode, False, "avg", layout, count_include_pad),
            **kwargs,
        )


class AvgPool3D(_Pooling):
    """The mean of windows in three dimensions; see `AvgPool2D`."""

    def __init__(
        self,
        pool_size: Size = (2, 2, 2),
        strides: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        layout: str = "NCDHW",
        count_include_pad: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *(pool_size, strides, padding, ceil_mode, False, "avg", layout, count_include_pad),
            **kwargs,
        )


class _GlobalPooling(_Pooling):
    """One window over all there is."""

    _layout: ClassVar[str]
    _pool_type: ClassVar[str]

    def __init__(self, layout: str | None = None, **kwargs: Any) -> None:
        layout = self._layout if layout is None else layout
        super().__init__(1, None, 0, True, True, self._pool_type, layout, **kwargs)


class GlobalMaxPool1D(_GlobalPooling):
    """The maximum of each channel, as an array of shape ``(batch, channels, 1)``."""

    _layout, _pool_type = "NCW", "max"


class GlobalMaxPool2D(_GlobalPooling):
    """The maximum of each channel, as an array of shape ``(batch, channels, 1, 1)``."""

    _layout, _pool_type = "NCHW", "max"


class GlobalMaxPool3D(_GlobalPooling):
    """The maximum of each channel, as an array of shape ``(batch, channels, 1, 1, 1)``."""

    _layout, _pool_type = "NCDHW", "max"


class GlobalAvgPool1D(_GlobalPooling):
    """The mean of each channel, as an array of shape ``(batch, channels, 1)``."""

    _layout, _pool_type = "NCW", "avg"


class GlobalAvgPool2D(_GlobalPooling):
    """The mean of each channel, as an array of shape ``(batch, channels, 1, 1)``."""

    _layout, _pool_type = "NCHW", "avg"


class GlobalAvgPool3D(_GlobalPooling):
    """The mean of each channel, as an array of shape ``(batch, channels, 1, 1, 1)``."""

    _layout, _pool_type = "NCDHW", "avg"


class ReflectionPad2D(HybridBlock):
    """Pad images by their reflection.

    Parameters
    ----------
    padding : int or tuple of 8 int
        One number for all sides, or, for each of four axes, before and behind.
    """

    def __init__(self, padding: Size = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        sides = (0,) * 4 + (padding,) * 4 if isinstance(padding, int) else tuple(padding)
        if len(sides) != 8:
            raise ValueError(f"padding is a number or a tuple of 8 ints, not {padding!r}")
        self._padding = sides

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the padded array."""
        return F.pad(x, mode="reflect", pad_width=self._padding)
