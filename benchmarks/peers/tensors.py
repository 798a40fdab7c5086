# SPDX-License-Identifier: Apache-2.0
"""Libraries that give tensors of their own: torch, safetensors with torch, ztensor."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.peers.base import Arrays, Peer

__all__ = ["SafetensorsTorch", "Torch", "TorchMapped", "Ztensor"]


class Torch(Peer):
    name = "torch"
    kind = "torch"
    package = "torch"
    needs_order = True  # a view is written with all that it is a view of
    how: ClassVar[dict[str, str]] = {
        "save": "save(), without CRC-32",
        "save_durable": "save(), without CRC-32, fsync",
        "load": "load()",
        "one": "load(mmap=True)[name].clone()",
        "rows": "load(mmap=True)[name][i].clone()",
    }

    def __init__(self) -> None:
        self._torch: Any = importlib.import_module("torch")
        # Slower with it, and nothing in torch reads it.
        self._torch.serialization.set_crc32_options(False)

    def adopt(self, arrays: Arrays) -> Any:
        return {name: self._torch.from_numpy(array) for name, array in arrays.items()}

    def save(self, path: Path, arrays: Any) -> None:
        self._torch.save(arrays, path)

    def load(self, path: Path) -> Any:
        return self._torch.load(path, mmap=False)

    def one(self, path: Path, name: str) -> Any:
        return self._torch.load(path, mmap=True)[name].clone()

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        array = self._torch.load(path, mmap=True)[name]
        return [array[i].clone() for i in numbers]

    def give_back(self, arrays: Any) -> Arrays:
        return {name: tensor.numpy() for name, tensor in arrays.items()}


class TorchMapped(Torch):
    name = "torch, mapped"
    how: ClassVar[dict[str, str]] = {
        "lazy": "load(mmap=True)",
        "map": "load(mmap=True), then every page is touched",
    }

    def lazy(self, path: Path) -> Any:
        return self._torch.load(path, mmap=True)


class SafetensorsTorch(Torch):
    name = "safetensors, torch"
    kind = "safetensors"
    how: ClassVar[dict[str, str]] = {
        "lazy": "torch.load_file(), which maps",
        "map": "torch.load_file(), which maps; then every page is touched",
    }

    def __init__(self) -> None:
        super().__init__()
        self._safetensors = importlib.import_module("safetensors.torch")

    def save(self, path: Path, arrays: Any) -> None:
        self._safetensors.save_file(arrays, path)

    def lazy(self, path: Path) -> Any:
        return self._safetensors.load_file(path)


class Ztensor(Peer):
    """Always syncs what it saves, so it is compared with durable saves alone."""

    name = "ztensor"
    kind = "zt"
    package = "ztensor"
    needs_order = True
    writes_crc = "XXH3"
    how: ClassVar[dict[str, str]] = {
        "save_durable": "numpy.save_file(), which syncs",
        "load": "numpy.load_file(copy=True)",
        "lazy": "numpy.load_file(), which maps",
        "map": "numpy.load_file(), which maps; then every page is touched",
        "one": "open()[name], copied",
        "rows": "open()[name][i], copied",
    }

    def __init__(self) -> None:
        self._zt: Any = importlib.import_module("ztensor")
        self._numpy: Any = importlib.import_module("ztensor.numpy")

    def save(self, path: Path, arrays: Any) -> None:
        self._numpy.save_file(arrays, str(path))

    def load(self, path: Path) -> Any:
        return self._numpy.load_file(str(path), copy=True)

    def lazy(self, path: Path) -> Any:
        return self._numpy.load_file(str(path))

    def one(self, path: Path, name: str) -> Any:
        with self._zt.open(str(path)) as file:
            return np.from_dlpack(file[name]).copy()

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        with self._zt.open(str(path)) as file:
            array = np.from_dlpack(file[name])
            return [array[i].copy() for i in numbers]
