# SPDX-License-Identifier: Apache-2.0
"""Another Python beside the one that tests a Writer, and what a file holds at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import mxio

Array: TypeAlias = "np.ndarray[Any, Any]"

ROOT = str(Path(mxio.__file__).parents[1])


def holds(path: Path, model: dict[str, Array]) -> None:
    assert mxio.verify(path) == []
    loaded = mxio.load(path)
    assert sorted(loaded) == sorted(model)
    for name, array in model.items():
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
        assert loaded[name].tobytes() == array.tobytes(), name


def child(code: str, *args: object) -> subprocess.Popen[str]:
    """Another Python, which says 'ready' once it is, and goes on when it is told."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, os, mxio\nimport numpy as np\n" + code,
            *map(str, args),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": ROOT},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
