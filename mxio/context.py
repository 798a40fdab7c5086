# SPDX-License-Identifier: Apache-2.0
"""Devices, as MXNet names them.

mxio keeps every array in host memory; a context is a label that old code passes
around and old files mention. It moves nothing.
"""

from __future__ import annotations

__all__ = ["Context", "cpu", "cpu_pinned", "current_context", "gpu"]

_TYPES = ("cpu", "gpu", "cpu_pinned", "cpu_shared")


class Context:
    """A device by kind and number, equal and hashable by both.

    Parameters
    ----------
    device_type : {'cpu', 'gpu', 'cpu_pinned', 'cpu_shared'} or Context
    device_id : int, default 0

    Raises
    ------
    ValueError
        For another device type.

    Examples
    --------
    >>> Context('gpu', 1)
    gpu(1)
    """

    __slots__ = ("device_id", "device_type")

    device_type: str
    device_id: int

    def __init__(self, device_type: str | Context, device_id: int = 0) -> None:
        if isinstance(device_type, Context):
            device_type, device_id = device_type.device_type, device_type.device_id
        if device_type not in _TYPES:
            raise ValueError(f"no device type {device_type!r}: it is one of {', '.join(_TYPES)}")
        self.device_type = device_type
        self.device_id = int(device_id)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Context)
            and self.device_type == other.device_type
            and self.device_id == other.device_id
        )

    def __hash__(self) -> int:
        return hash((self.device_type, self.device_id))

    def __repr__(self) -> str:
        return f"{self.device_type}({self.device_id})"

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


def cpu(device_id: int = 0) -> Context:
    """Return the context of host memory."""
    return Context("cpu", device_id)


def gpu(device_id: int = 0) -> Context:
    """Return the context of a GPU: a label, no GPU is touched."""
    return Context("gpu", device_id)


def cpu_pinned(device_id: int = 0) -> Context:
    """Return the context of pinned host memory: a label, nothing is pinned."""
    return Context("cpu_pinned", device_id)


def current_context() -> Context:
    """Return the context of arrays made without ``ctx=``: always ``cpu(0)``."""
    return cpu(0)
