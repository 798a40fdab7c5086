# SPDX-License-Identifier: Apache-2.0
"""Devices, as MXNet names them.

mxio keeps every array in host memory; a context is a label that old code passes
around and old files mention. It moves nothing.
"""

from __future__ import annotations

import threading

__all__ = ["Context", "cpu", "cpu_pinned", "current_context", "gpu", "num_gpus"]

_TYPES = ("cpu", "gpu", "cpu_pinned", "cpu_shared")


class _Entered(threading.local):
    """The contexts a thread has entered by ``with``, innermost last."""

    def __init__(self) -> None:
        self.stack: list[Context] = []


_entered = _Entered()


class Context:
    """A device by kind and number, equal and hashable by both.

    ``with`` makes it the current context of this thread, as in MXNet 1.9.1.

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
            device_id = device_type.device_id
            device_type = device_type.device_type
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

    def __reduce__(self) -> tuple[object, ...]:
        return Context, (self.device_type, self.device_id)

    def __enter__(self) -> Context:
        _entered.stack.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _entered.stack.pop()


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
    """Return the context of arrays made without ``ctx=``: ``cpu(0)``, or that of ``with``."""
    return _entered.stack[-1] if _entered.stack else cpu()


def num_gpus() -> int:
    """Return 0: mxio computes on the CPU."""
    return 0
