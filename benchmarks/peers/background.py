# SPDX-License-Identifier: Apache-2.0
"""Ways to save in the background: who copies the arrays, and lets a thread write them."""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import mxio
from benchmarks.files import sync
from benchmarks.peers.base import Arrays

__all__ = ["BACKGROUND", "Background", "Manager", "NumpyThread", "TorchAsync"]


class Background(ABC):
    """Saves the same arrays again and again: `begin` returns when they may be changed."""

    name: ClassVar[str]
    package: ClassVar[str | None] = None
    how: ClassVar[str]
    checksums: ClassVar[str] = "no"

    def __init__(self, room: Path, arrays: Arrays) -> None:
        self.room = room / type(self).__name__
        self.room.mkdir()
        self.arrays = arrays

    def version(self) -> str:
        return importlib.metadata.version(self.package) if self.package else mxio.__version__

    @abstractmethod
    def begin(self, call: int) -> None:
        """Copy the arrays, and let a thread write them."""

    @abstractmethod
    def is_done(self) -> bool:
        """Say whether it is written."""

    @abstractmethod
    def end(self) -> None:
        """Wait until it is on the disk, and remove what an earlier call saved."""

    @abstractmethod
    def saved(self) -> Arrays:
        """Load what the last call saved."""


class Manager(Background):
    name = "mxio"
    how = "CheckpointManager(asynchronous=True, keep_last=1).save()"
    checksums = "CRC-32C"

    def __init__(self, room: Path, arrays: Arrays) -> None:
        super().__init__(room, arrays)
        self._manager = mxio.CheckpointManager(self.room, keep_last=1, asynchronous=True)

    def begin(self, call: int) -> None:
        self._manager.save(call, self.arrays)

    def is_done(self) -> bool:
        return all(saving.ended for saving in self._manager._in_flight)

    def end(self) -> None:
        self._manager.wait()

    def saved(self) -> Arrays:
        found: Arrays = self._manager.restore()
        return found


class NumpyThread(Background):
    name = "NumPy, a thread"
    package = "numpy"
    how = "every array copied, then savez() and fsync in a thread"
    checksums = "CRC-32"

    def begin(self, call: int) -> None:
        copies = {name: array.copy() for name, array in self.arrays.items()}
        self._path = self.room / f"{call}.npz"

        def write() -> None:
            np.savez(self._path, **copies)  # type: ignore[arg-type]
            sync(self._path)
            sync(self.room)

        self._thread = threading.Thread(target=write)
        self._thread.start()

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def end(self) -> None:
        self._thread.join()
        for path in self.room.iterdir():
            if path != self._path:
                path.unlink()

    def saved(self) -> Arrays:
        with np.load(self._path) as file:
            return dict(file)


class TorchAsync(Background):
    name = "torch"
    package = "torch"
    how = "distributed.checkpoint.async_save(no_dist=True)"

    def __init__(self, room: Path, arrays: Arrays) -> None:
        torch: Any = importlib.import_module("torch")
        self._checkpoint: Any = importlib.import_module("torch.distributed.checkpoint")
        super().__init__(room, arrays)
        self._tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self._empty = torch.empty_like

    def begin(self, call: int) -> None:
        self._path = self.room / f"{call}"
        self._future = self._checkpoint.async_save(
            self._tensors, checkpoint_id=self._path, no_dist=True
        )

    def is_done(self) -> bool:
        return bool(self._future.done())

    def end(self) -> None:
        self._future.result()
        for path in self.room.iterdir():
            if path != self._path:
                shutil.rmtree(path)

    def saved(self) -> Arrays:
        tensors = {name: self._empty(tensor) for name, tensor in self._tensors.items()}
        self._checkpoint.load(tensors, checkpoint_id=self._path, no_dist=True)
        return {name: tensor.numpy() for name, tensor in tensors.items()}


BACKGROUND: list[type[Background]] = [Manager, NumpyThread, TorchAsync]
