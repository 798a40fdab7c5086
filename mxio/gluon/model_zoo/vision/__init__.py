# SPDX-License-Identifier: Apache-2.0
"""Networks for images: the ResNets."""

from __future__ import annotations

from typing import Any

from mxio.gluon.block import HybridBlock
from mxio.gluon.model_zoo.vision import resnet
from mxio.gluon.model_zoo.vision.resnet import *  # noqa: F403

__all__ = ["get_model", *resnet.__all__]


def get_model(name: str, **kwargs: Any) -> HybridBlock:
    """Return a network by its name, such as ``'resnet18_v1'``.

    Raises
    ------
    ValueError
        There is none of that name.
    """
    models = {word: getattr(resnet, word) for word in resnet.__all__ if word.startswith("resnet")}
    if name.lower() not in models:
        raise ValueError(
            f"Model {name} is not supported. Available options are\n\t"
            + "\n\t".join(sorted(models))
        )
    found: HybridBlock = models[name.lower()](**kwargs)
    return found
