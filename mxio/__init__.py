# SPDX-License-Identifier: Apache-2.0
"""Named arrays to a file and back: every byte checked, nothing lost.

>>> import mxio, numpy as np
>>> mxio.save('x.mxio', {'x': np.arange(6), 'step': 3})   # an array, a list, a dict, a tree
>>> mxio.load('x.mxio')                     # checked, or an error that names the damage
{'x': array([0, 1, 2, 3, 4, 5]), 'step': 3}
>>> with mxio.open('x.mxio') as f:          # a part of a large file
...     f['x'][2:4]
array([2, 3])

``from mxio import nd`` speaks MXNet.
"""

from mxio._copy import compact, copy
from mxio._file import dumps, load, loads, open, save, verify
from mxio._index import Entry, Index
from mxio._lazy import LazyArray
from mxio._reader import Damage, Reader
from mxio._shared import WriterArray
from mxio._sparse import SparseArray
from mxio._writer import Writer
from mxio.context import Context, cpu, cpu_pinned, current_context, gpu
from mxio.errors import (
    ChecksumError,
    DamageWarning,
    EntryError,
    FormatError,
    FormatWarning,
    MXIOError,
    UnsupportedError,
)

__all__ = [
    "CheckpointManager",
    "ChecksumError",
    "Context",
    "Damage",
    "DamageWarning",
    "Entry",
    "EntryError",
    "FormatError",
    "FormatWarning",
    "Index",
    "LazyArray",
    "MXIOError",
    "Reader",
    "SparseArray",
    "UnsupportedError",
    "Writer",
    "WriterArray",
    "__version__",
    "checkpoint",
    "compact",
    "copy",
    "cpu",
    "cpu_pinned",
    "current_context",
    "dumps",
    "gluon",
    "gpu",
    "init",
    "initializer",
    "load",
    "load_states",
    "loads",
    "model",
    "name",
    "nd",
    "ndarray",
    "open",
    "random",
    "save",
    "verify",
]

__version__ = "0.1.0"


# Imported when they are used: not everyone trains, or comes from MXNet.
_LATER = {
    "CheckpointManager": "mxio.checkpoint",
    "checkpoint": "mxio.checkpoint",
    "gluon": "mxio.gluon",
    "init": "mxio.initializer",
    "initializer": "mxio.initializer",
    "load_states": "mxio.states",
    "model": "mxio.model",
    "name": "mxio.name",
    "nd": "mxio.nd",
    "ndarray": "mxio.nd",
    "random": "mxio.nd.random",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name in _LATER:
        import importlib

        module = importlib.import_module(_LATER[name])
        return getattr(module, name, module)
    if name in ("autograd", "metric", "optimizer", "sym", "symbol", "kv", "io", "image"):
        raise AttributeError(
            f"mxio has no {name!r}: it saves and loads networks and runs them, but trains none "
            "(docs/GLUON.md)"
        )
    raise AttributeError(f"module 'mxio' has no attribute {name!r}")
