# SPDX-License-Identifier: Apache-2.0
"""ResNets, version 1 (He et al. 2015, arXiv 1512.03385) and 2 (2016, arXiv 1603.05027).

Structure and names are those of MXNet 1.9.1's model zoo, so that its files fit.
"""

from __future__ import annotations

from typing import Any

from mxio.gluon import nn
from mxio.gluon.block import HybridBlock

__all__ = [
    "BasicBlockV1",
    "BasicBlockV2",
    "BottleneckV1",
    "BottleneckV2",
    "ResNetV1",
    "ResNetV2",
    "get_resnet",
    "resnet18_v1",
    "resnet18_v2",
    "resnet34_v1",
    "resnet34_v2",
    "resnet50_v1",
    "resnet50_v2",
    "resnet101_v1",
    "resnet101_v2",
    "resnet152_v1",
    "resnet152_v2",
]

# Depth → whether blocks are bottlenecks, and how many there are in each stage.
_STAGES = {
    18: (False, (2, 2, 2, 2)),
    34: (False, (3, 4, 6, 3)),
    50: (True, (3, 4, 6, 3)),
    101: (True, (3, 4, 23, 3)),
    152: (True, (3, 8, 36, 3)),
}
_CHANNELS = {False: (64, 64, 128, 256, 512), True: (64, 256, 512, 1024, 2048)}


def _conv3x3(channels: int, stride: int, in_channels: int) -> nn.Conv2D:
    return nn.Conv2D(channels, 3, stride, 1, use_bias=False, in_channels=in_channels)


class _BlockV1(HybridBlock):
    """``relu(x + body(x))``, or with another shape ``relu(downsample(x) + body(x))``."""

    def __init__(
        self, channels: int, stride: int, downsample: bool, in_channels: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.body = nn.HybridSequential(prefix="")
        self._add_body(channels, stride, in_channels)
        self.downsample = None
        if downsample:
            self.downsample = nn.HybridSequential(prefix="")
            self.downsample.add(
                nn.Conv2D(channels, 1, stride, use_bias=False, in_channels=in_channels),
                nn.BatchNorm(),
            )

    def _add_body(self, channels: int, stride: int, in_channels: int) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no body")

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return an array of shape ``(batch, channels, height / stride, width / stride)``."""
        y = self.body(x)
        return F.Activation((x if self.downsample is None else self.downsample(x)) + y, "relu")


class BasicBlockV1(_BlockV1):
    """Two convolutions and a way around them.

    Parameters
    ----------
    channels : int
        Of the output.
    stride : int
    downsample : bool
        Whether the way around is a convolution too.
    in_channels : int, default 0
        0: known from the first input, or from a file.
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        downsample: bool = False,
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(channels, stride, downsample, in_channels, **kwargs)

    def _add_body(self, channels: int, stride: int, in_channels: int) -> None:
        self.body.add(_conv3x3(channels, stride, in_channels), nn.BatchNorm())
        self.body.add(nn.Activation("relu"))
        self.body.add(_conv3x3(channels, 1, channels), nn.BatchNorm())


class BottleneckV1(_BlockV1):
    """Three convolutions, the middle one of a quarter of the channels, and a way around them.

    Parameters are those of `BasicBlockV1`.
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        downsample: bool = False,
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(channels, stride, downsample, in_channels, **kwargs)

    def _add_body(self, channels: int, stride: int, in_channels: int) -> None:
        inner = channels // 4
        self.body.add(nn.Conv2D(inner, 1, stride), nn.BatchNorm(), nn.Activation("relu"))
        self.body.add(_conv3x3(inner, 1, inner), nn.BatchNorm(), nn.Activation("relu"))
        self.body.add(nn.Conv2D(channels, 1, 1), nn.BatchNorm())


class _BlockV2(HybridBlock):
    """Normalization and activation before each convolution, and a way around them."""

    def _way_around(self, channels: int, stride: int, downsample: bool, in_channels: int) -> None:
        self.downsample = None
        if downsample:
            self.downsample = nn.Conv2D(
                channels, 1, stride, use_bias=False, in_channels=in_channels
            )

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return an array of shape ``(batch, channels, height / stride, width / stride)``."""
        y = F.Activation(self._children["bn1"](x), "relu")
        around = x if self.downsample is None else self.downsample(y)
        y = self._children["conv1"](y)
        for number in range(2, 4):
            if f"bn{number}" in self._children:
                y = F.Activation(self._children[f"bn{number}"](y), "relu")
                y = self._children[f"conv{number}"](y)
        return y + around


class BasicBlockV2(_BlockV2):
    """Two convolutions; parameters are those of `BasicBlockV1`."""

    def __init__(
        self,
        channels: int,
        stride: int,
        downsample: bool = False,
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bn1 = nn.BatchNorm()
        self.conv1 = _conv3x3(channels, stride, in_channels)
        self.bn2 = nn.BatchNorm()
        self.conv2 = _conv3x3(channels, 1, channels)
        self._way_around(channels, stride, downsample, in_channels)


class BottleneckV2(_BlockV2):
    """Three convolutions; parameters are those of `BasicBlockV1`."""

    def __init__(
        self,
        channels: int,
        stride: int,
        downsample: bool = False,
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        inner = channels // 4
        self.bn1 = nn.BatchNorm()
        self.conv1 = nn.Conv2D(inner, 1, 1, use_bias=False)
        self.bn2 = nn.BatchNorm()
        self.conv2 = _conv3x3(inner, stride, inner)
        self.bn3 = nn.BatchNorm()
        self.conv3 = nn.Conv2D(channels, 1, 1, use_bias=False)
        self._way_around(channels, stride, downsample, in_channels)


class _ResNet(HybridBlock):
    """``features`` and ``output``."""

    features: nn.HybridSequential
    output: nn.Dense

    def _add_start(self, channels: int, thumbnail: bool) -> None:
        if thumbnail:
            self.features.add(_conv3x3(channels, 1, 0))
            return
        self.features.add(nn.Conv2D(channels, 7, 2, 3, use_bias=False), nn.BatchNorm())
        self.features.add(nn.Activation("relu"), nn.MaxPool2D(3, 2, 1))

    def _add_stages(self, block: Any, layers: Any, channels: Any) -> None:
        if len(layers) != len(channels) - 1:
            raise ValueError(
                f"layers says {len(layers)} stages, so channels has {len(layers) + 1} numbers, "
                f"not {len(channels)}"
            )
        for number, n_blocks in enumerate(layers):
            stage = nn.HybridSequential(prefix=f"stage{number + 1}_")
            n_in, n_out = channels[number], channels[number + 1]
            with stage.name_scope():
                stride = 1 if number == 0 else 2
                stage.add(block(n_out, stride, n_out != n_in, in_channels=n_in, prefix=""))
                for _ in range(n_blocks - 1):
                    stage.add(block(n_out, 1, False, in_channels=n_out, prefix=""))
            self.features.add(stage)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return an array of shape ``(batch, classes)``."""
        return self.output(self.features(x))


class ResNetV1(_ResNet):
    """A residual network, version 1.

    Parameters
    ----------
    block : class
        `BasicBlockV1` or `BottleneckV1`.
    layers : sequence of int
        How many blocks there are in each stage.
    channels : sequence of int
        Of the first convolution, and of each stage.
    classes : int, default 1000
    thumbnail : bool
        Whether images are small: no large first convolution.
    """

    def __init__(
        self,
        block: Any,
        layers: Any,
        channels: Any,
        classes: int = 1000,
        thumbnail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self._add_start(channels[0], thumbnail)
            self._add_stages(block, layers, channels)
            self.features.add(nn.GlobalAvgPool2D())
            self.output = nn.Dense(classes, in_units=channels[-1])


class ResNetV2(_ResNet):
    """A residual network, version 2; parameters are those of `ResNetV1`, with its own blocks."""

    def __init__(
        self,
        block: Any,
        layers: Any,
        channels: Any,
        classes: int = 1000,
        thumbnail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(nn.BatchNorm(scale=False, center=False))
            self._add_start(channels[0], thumbnail)
            self._add_stages(block, layers, channels)
            self.features.add(nn.BatchNorm(), nn.Activation("relu"))
            self.features.add(nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes, in_units=channels[-1])


_VERSIONS: dict[int, tuple[Any, dict[bool, Any]]] = {
    1: (ResNetV1, {False: BasicBlockV1, True: BottleneckV1}),
    2: (ResNetV2, {False: BasicBlockV2, True: BottleneckV2}),
}


def get_resnet(
    version: int,
    num_layers: int,
    pretrained: bool = False,
    ctx: Any = None,
    root: Any = None,
    **kwargs: Any,
) -> HybridBlock:
    """Return a ResNet.

    Parameters
    ----------
    version : {1, 2}
    num_layers : {18, 34, 50, 101, 152}
    pretrained : bool
        Must be False: mxio downloads nothing. Load a file by ``load_parameters``.
    ctx, root
        For MXNet's sake.
    **kwargs
        Of `ResNetV1`: ``classes``, ``thumbnail``, ``prefix``.

    Raises
    ------
    ValueError
        For another version or depth, or with ``pretrained=True``.
    """
    if pretrained:
        raise ValueError(
            "pretrained=True would download parameters, which mxio does not; load your file by "
            "net.load_parameters(path)"
        )
    if num_layers not in _STAGES:
        raise ValueError(
            f"Invalid number of layers: {num_layers}. Options are {', '.join(map(str, _STAGES))}"
        )
    if version not in _VERSIONS:
        raise ValueError(f"Invalid resnet version: {version}. Options are 1 and 2.")
    is_bottleneck, layers = _STAGES[num_layers]
    network, blocks = _VERSIONS[version]
    return network(  # type: ignore[no-any-return]
        blocks[is_bottleneck], layers, _CHANNELS[is_bottleneck], **kwargs
    )


def resnet18_v1(**kwargs: Any) -> HybridBlock:
    """Return a ResNet-18, version 1; arguments as for `get_resnet`."""
    return get_resnet(1, 18, **kwargs)


def resnet34_v1(**kwargs: Any) -> HybridBlock:
    """Return a ResNet-34, version 1; arguments as for `get_resnet`."""
    return get_resnet(1, 34, **kwargs)


def resnet50_v1(**kwargs: Any) -> HybridBlock:
    """Return a ResNet-50, version 1; arguments as for `get_resnet`."""
    return get_resnet(1, 50, **kwargs)


def resnet101_v1(**kwargs: Any) -> HybridBlock:
    """Return a ResNet-101, version 1; arguments as for `get_resnet`."""
    return get_resnet(1, 101, **kwargs)


def resnet152_v1(**kwargs: Any) -> HybridBlock:
    """Return a ResNet-152, version 1; arguments as for `get_resnet`."""
    return get_resnet(1, 152, **kwargs)


def resnet18_v2(**kwargs: Any) -> HybridBlock:
    """Return a ResNet-18, version 2; arguments as for `get_resnet`."""
    return get_resnet(2, 18, **kwargs)


def resnet34_v2(**kwargs: Any) -> HybridBlock:
    """Return a ResNet-34, version 2; arguments as for `get_resnet`."""
    return get_resnet(2, 34, **kwargs)


def resnet50_v2(**kwargs: Any) -> HybridBlock:
    """Return a ResNet-50, version 2; arguments as for `get_resnet`."""
    return get_resnet(2, 50, **kwargs)


def resnet101_v2(**kwargs: Any) -> HybridBlock:
    """Return a ResNet-101, version 2; arguments as for `get_resnet`."""
    return get_resnet(2, 101, **kwargs)


def resnet152_v2(**kwargs: Any) -> HybridBlock:
    """Return a ResNet-152, version 2; arguments as for `get_resnet`."""
    return get_resnet(2, 152, **kwargs)
