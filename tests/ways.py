# SPDX-License-Identifier: Apache-2.0
"""Every way to write a file, for tests/test_permissions.py and tests/test_names.py."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio
from mxio import CheckpointManager

OLD, NEW = ({"w": np.arange(1000.0) + n} for n in range(2))
FORMATS = ["mxio", "mxnet", "safetensors", "npz", "npy"]
STEP = "step-0000000001.mxio"  # so that a manager's file can be any of them
LOCK = ".mxio-manager.lock"

Way = Callable[[Path], object]


def saved(format: str, **options: Any) -> Way:
    arrays = NEW["w"] if format == "npy" else NEW
    return lambda path: mxio.save(path, arrays, format=format, sync=False, **options)


def written(mode: str) -> Way:
    def run(path: Path) -> None:
        with mxio.Writer(path, mode, sync=False) as w:
            w["w"] = NEW["w"]
            w.commit()

    return run


def copied(format: str) -> Way:
    data = mxio.dumps(NEW)
    return lambda path: mxio.copy(data, path, format=format, sync=False)


def managed(path: Path) -> None:
    with CheckpointManager(path.parent) as manager:
        manager.save(1, NEW, overwrite=True)


# What makes a file, and what replaces one that is there.
BOTH: dict[str, Way] = {
    **{f"save, {format}": saved(format) for format in FORMATS},
    "save, npz deflated": saved("npz", compress=True),
    "Writer w": written("w"),
    **{f"copy, {format}": copied(format) for format in ("mxio", "npz", "safetensors")},
    "manager": managed,
}
IN_PLACE: dict[str, Way] = {"Writer a": written("a")}
ONLY_NATIVE: dict[str, Way] = {"compact": lambda path: mxio.compact(path, sync=False)}
MAKES = BOTH | IN_PLACE | {"Writer x": written("x")}
REPLACES = BOTH | ONLY_NATIVE
CHANGES = REPLACES | IN_PLACE


def ways(which: dict[str, Way]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("way", list(which.values()), ids=list(which))


def version(path: Path) -> int:
    """Return which of the two versions a file holds, after all of it was checked."""
    assert mxio.verify(path) == []
    found = mxio.load(path)
    array = found["w"] if isinstance(found, dict) else found
    number = int(array[0])
    np.testing.assert_array_equal(array, (OLD, NEW)[number]["w"])
    return number


def compacted(path: Path) -> None:
    """Compact a file, made anew as one that is mxio's own."""
    saved("mxio")(path)
    mxio.compact(path, sync=False)


# At a path that is given, which no manager takes.
AT_PATH: dict[str, Way] = {name: way for name, way in BOTH.items() if way is not managed}
AT_PATH |= {"compact": compacted}


def named(folder: Path) -> list[str]:
    return sorted(set(os.listdir(folder)) - {LOCK})
