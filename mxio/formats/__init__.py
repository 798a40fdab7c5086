# SPDX-License-Identifier: Apache-2.0
"""The file formats: each is a module that turns an open file into an Index.

A format has ``NAME``, ``probe(head)``, which says from the first bytes whether a
file is of that format, and ``index(file)``; one that is also written has
``plan(...)``. Files are recognised by what they hold, never by their name.
"""

from __future__ import annotations

from types import ModuleType

from mxio import _core
from mxio.errors import FormatError
from mxio.formats import native

__all__ = ["FORMATS", "detect"]

FORMATS: tuple[ModuleType, ...] = (native,)


def detect(file: _core.File) -> ModuleType:
    """Return the format of an open file, or raise FormatError."""
    head = file.get(0, min(file.nbytes, native.HEAD_NBYTES))
    for module in FORMATS:
        if module.probe(head):
            return module
    if not head:
        raise FormatError(f"{file.name} is not a file that mxio reads: it is empty", 0)
    raise FormatError(
        f"{file.name} is not a file that mxio reads: it begins with {bytes(head[:8])!r}", 0
    )
