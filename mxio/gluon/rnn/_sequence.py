# SPDX-License-Identifier: Apache-2.0
"""Sequences of time steps, as one array or one for each step, and the states before them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mxio.nd.ndarray import NDArray

__all__ = [
    "Info",
    "begin_states",
    "delivered",
    "kept",
    "lengths_of",
    "masked",
    "merged",
    "steps_of",
    "turned",
]

Info = dict[str, Any]

# Of a step, the batch is the first axis.
_LAYOUTS = ("NTC", "TNC", "NCT")


def steps_of(length: int, inputs: Any, layout: str) -> tuple[list[NDArray], int]:
    """Return the inputs of all time steps, and the size of the batch."""
    if layout not in _LAYOUTS:
        raise ValueError(f"invalid layout {layout}; it is one of {', '.join(_LAYOUTS)}")
    axis, batch_axis = layout.find("T"), layout.find("N")
    if isinstance(inputs, np.ndarray):
        if inputs.ndim < 3:
            raise ValueError(f"inputs of layout {layout} have 3 dimensions, not {inputs.ndim}")
        steps = [x.view(NDArray) for x in np.moveaxis(inputs, axis, 0)]
        n_batch = inputs.shape[batch_axis]
    else:
        steps = list(inputs)
        if not steps:
            raise ValueError("inputs is an empty list: the batch's size is unknown")
        n_batch = steps[0].shape[batch_axis - (batch_axis > axis)]
    if len(steps) != length:
        raise ValueError(f"inputs have {len(steps)} time steps, but length is {length}")
    return steps, n_batch


def merged(steps: Sequence[NDArray], layout: str) -> NDArray:
    return np.stack(steps, axis=layout.find("T")).view(NDArray)


def delivered(steps: list[NDArray], layout: str, merge: bool | None) -> Any:
    return merged(steps, layout) if merge else steps


def lengths_of(valid_length: Any, n_batch: int) -> Any:
    lengths = np.asarray(valid_length)
    if lengths.shape != (n_batch,):
        raise ValueError(
            f"valid_length has shape {lengths.shape}, but the batch asks for {(n_batch,)}"
        )
    return lengths


def masked(x: NDArray, is_in: Any) -> NDArray:
    """Return `x` with 0 for the members of the batch, its first axis, that have ended."""
    shape = (-1,) + (1,) * (x.ndim - 1)
    return np.where(is_in.reshape(shape), x, x.dtype.type(0)).view(NDArray)


def kept(new: NDArray, old: NDArray, is_in: Any) -> NDArray:
    return np.where(is_in.reshape((-1,) + (1,) * (new.ndim - 1)), new, old).view(NDArray)


def turned(steps: list[NDArray], lengths: Any) -> list[NDArray]:
    """Return a sequence back to front; what lies beyond the lengths stays where it is."""
    if lengths is None:
        return steps[::-1]
    last = lengths.astype(np.intp) - 1
    stacked = np.stack(steps)
    members = np.arange(stacked.shape[1])
    return [
        stacked[np.where(t <= last, last - t, t), members].view(NDArray) for t in range(len(steps))
    ]


def begin_states(infos: Sequence[Info], func: Callable[..., Any], given: Info) -> list[Any]:
    """Return first states, made by `func` of what ``state_info`` says and of `given`."""
    return [
        func(**{**{key: v for key, v in info.items() if not key.startswith("__")}, **given})
        for info in infos
    ]
