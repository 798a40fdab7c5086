# SPDX-License-Identifier: Apache-2.0
"""The file formats: each is a module that turns an open file into an Index, and back.

A format has ``NAME``, ``probe(head)``, which says from the first bytes whether a
file is of that format, ``index(file, encoding)``, and ``plan(content, ...)``, whose
keywords are what `mxio.save` takes for it. Files are recognised by what they hold,
never by their name.
"""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

from mxio import _core
from mxio._index import Content
from mxio.errors import FormatError
from mxio.formats import mxnet, native, npy, npz, safetensors

__all__ = ["FORMATS", "detect", "plan"]

FORMATS: tuple[ModuleType, ...] = (native, mxnet, safetensors, npz, npy)

# What else comes along, and what to do with it.
_OTHERS = (
    (b"\x80\x02", ", as a pickle; mxio.load_states reads MXNet's trainer states"),
    (b"\x80\x03", ", as a pickle; mxio.load_states reads MXNet's trainer states"),
    (b"\x80\x04", ", as a pickle; mxio.load_states reads MXNet's trainer states"),
    (b"\x89HDF", ", as HDF5"),
    (b"\x1f\x8b", ", as gzip: unpack it first"),
)


def detect(file: _core.File, encoding: str | None) -> ModuleType:
    """Return the format of an open file, or raise FormatError."""
    head = file.get(0, min(file.nbytes, native.HEAD_NBYTES))
    for module in FORMATS:
        if module.probe(head):
            if encoding is not None and module not in (mxnet, npz):
                raise ValueError(
                    f"encoding= is for the names in files of MXNet and in zips; {file.name} is a "
                    f"file of format {module.NAME!r}, whose names are Unicode"
                )
            return module
    if not head:
        raise FormatError(f"{file.name} is not a file that mxio reads: it is empty", 0)
    kind = next((kind for begin, kind in _OTHERS if head.startswith(begin)), "")
    raise FormatError(
        f"{file.name} is not a file that mxio reads: it begins with {bytes(head[:8])!r}{kind}", 0
    )


def plan(format: str, content: Content, options: dict[str, Any]) -> _core.Plan:
    """Lay out what is to be saved in a format, given by its name."""
    by_name = {module.NAME: module for module in FORMATS}
    module = by_name.get(format)
    if module is None:
        raise ValueError(f"no format {format!r}: it is one of {', '.join(map(repr, by_name))}")
    known = list(inspect.signature(module.plan).parameters)[1:]
    for option in options:
        if option not in known:
            takes = f"takes {', '.join(map(repr, known))}" if known else "takes no options"
            raise TypeError(f"format {format!r} has no option {option!r}: it {takes}")
    laid_out: _core.Plan = module.plan(content, **options)
    return laid_out
