# SPDX-License-Identifier: Apache-2.0
"""The contenders: how each library saves and loads, at the best settings we know.

A peer says what it can do and how, who checks checksums, and does it; it never looks at
the clock. What it is given is adopted first (a torch tensor over the same memory, say), so
no conversion is timed. Every load is eager: the bytes are in memory when it returns. A
mapped load reads one byte of every page before it returns, and its name says so.
`how` names the settings; they were the fastest of those tried with safetensors 0.8.0
(also its pread backend, and from bytes), h5py 3.16, NumPy 2.4, torch 2.13.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import pickle
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np

import mxio
from benchmarks.mxnet_process import digest

__all__ = ["Array", "Arrays", "Peer", "find"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Arrays: TypeAlias = "dict[str, Array]"

_PAGE = 4096


def _touch(arrays: Arrays) -> None:
    """Read one byte of every page."""
    for array in arrays.values():
        array.reshape(-1).view(np.uint8)[::_PAGE].max(initial=0)


class Peer:
    """One way to save and load named arrays.

    Attributes
    ----------
    name : str
        As in tables. With a comma it is a variant of the peer before the comma.
    kind : str
        Peers of one kind read the same file.
    writes_crc, reads_crc : str
        The checksum that is computed by a save, compared by a load.
    how : dict of str to str
        What it can do, of save, load, map (load by mapping and touching), one (an array
        by name), rows (of a matrix, by number), load_params, load_safetensors,
        open_safetensors (list the names): the calls and settings.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    package: ClassVar[str | None] = None
    writes_crc: ClassVar[str] = "no"
    reads_crc: ClassVar[str] = "no"
    how: ClassVar[dict[str, str]]

    def version(self) -> str:
        return importlib.metadata.version(self.package) if self.package else ""

    def adopt(self, arrays: Arrays) -> Any:
        """Return what `save` takes: the same memory in the peer's own clothes."""
        return arrays

    def save(self, path: Path, arrays: Any) -> None:
        """Write a file, and leave it to the system when it reaches the disk."""
        raise NotImplementedError

    # A save that is durable when it returns; where there is none, the caller syncs.
    save_durably: Any = None

    def load(self, path: Path) -> Any:
        raise NotImplementedError

    def one(self, path: Path, name: str) -> Any:
        """Open the file, load one array, close the file."""
        raise NotImplementedError

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        """Open the file, load rows of a matrix one by one, close the file."""
        raise NotImplementedError

    def names(self, path: Path) -> list[str]:
        """Open the file, list the names of its arrays, close the file."""
        raise NotImplementedError

    def give_back(self, arrays: Any) -> Arrays:
        """Undress what `load` returned, for comparing."""
        return dict(arrays)

    def check(self, result: Any, arrays: Arrays) -> None:
        """Raise unless what `load` returned is these arrays, bit by bit."""
        found = self.give_back(result)
        if found.keys() != arrays.keys():
            raise AssertionError("other names came back")
        if digest({name: found[name] for name in arrays}) != digest(arrays):
            raise AssertionError("other arrays came back")

    # For a peer in a process of its own: what the last load took there.
    seconds: Any = None

    def close(self) -> None:
        """End what goes on in another process."""

    def make_ready(self, nbytes: int) -> None:
        """Bring a process of its own into the state that the harness brings this one into."""


class Mxio(Peer):
    name = "mxio"
    kind = "mxio"
    writes_crc = reads_crc = "CRC-32C"
    how: ClassVar[dict[str, str]] = {
        "save": "save(sync=False); durable: save(), the default",
        "load": "load(), the default",
        "one": "load(path, [name])",
        "rows": "open(), f[name][i]",
    }

    def version(self) -> str:
        return mxio.__version__

    def save(self, path: Path, arrays: Any) -> None:
        mxio.save(path, arrays, sync=False)

    def save_durably(self, path: Path, arrays: Any) -> None:
        mxio.save(path, arrays)

    def load(self, path: Path) -> Any:
        return mxio.load(path)

    def one(self, path: Path, name: str) -> Any:
        return mxio.load(path, [name])[name]

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        with mxio.open(path) as file:
            array = file[name]
            return [array[i] for i in numbers]


class MxioUnchecked(Mxio):
    name = "mxio, verify=False"
    reads_crc = "index"
    how: ClassVar[dict[str, str]] = {
        "load": "load(verify=False)",
        "rows": "open(verify=False), f[name][i]",
    }

    def load(self, path: Path) -> Any:
        return mxio.load(path, verify=False)

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        with mxio.open(path, verify=False) as file:
            array = file[name]
            return [array[i] for i in numbers]


class MxioMapped(Mxio):
    name = "mxio, mapped"
    reads_crc = "index"
    how: ClassVar[dict[str, str]] = {
        "map": "load(mmap=True), then every page is touched",
        "rows": "load(mmap=True)[name][i].copy()",
    }

    def load(self, path: Path) -> Any:
        arrays = mxio.load(path, mmap=True)
        _touch(arrays)
        return arrays

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        array = mxio.load(path, mmap=True)[name]
        return [array[i].copy() for i in numbers]


class MxioParams(Mxio):
    kind = "params"
    writes_crc = reads_crc = "no"
    how: ClassVar[dict[str, str]] = {"load_params": "load(), the default"}

    def save(self, path: Path, arrays: Any) -> None:
        mxio.save(path, arrays, format="mxnet", sync=False)


class MxioSafetensors(Mxio):
    kind = "safetensors"
    writes_crc = reads_crc = "no"
    how: ClassVar[dict[str, str]] = {
        "load_safetensors": "load(), the default",
        "open_safetensors": "open(), list(f)",
    }

    def save(self, path: Path, arrays: Any) -> None:
        mxio.save(path, arrays, format="safetensors", sync=False)

    def names(self, path: Path) -> list[str]:
        with mxio.open(path) as file:
            return list(file)


class Mxnet(Peer):
    """MXNet, by its own interpreter; see mxnet_process.py."""

    name = "MXNet"
    kind = "params"
    how: ClassVar[dict[str, str]] = {"load_params": "nd.load(), timed in its own process"}

    def __init__(self) -> None:
        self._python = os.environ.get("MXIO_MXNET_PYTHON")
        if not self._python:
            raise ImportError("MXIO_MXNET_PYTHON names no interpreter with MXNet")
        self._process: subprocess.Popen[str] | None = None
        self._seconds = 0.0

    def _ask(self, **order: Any) -> Any:
        if self._process is None:
            assert self._python is not None
            worker = str(Path(__file__).with_name("mxnet_process.py"))
            env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            self._process = subprocess.Popen(
                [self._python, worker],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=env,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._python} with MXNet ended: {self._process.wait()}")
        return json.loads(line)

    def version(self) -> str:
        return str(self._ask(version=True)["version"])

    def make_ready(self, nbytes: int) -> None:
        self._ask(ready=nbytes)

    def load(self, path: Path) -> Any:
        self._seconds = self._ask(load=str(path))["seconds"]

    def seconds(self) -> float:
        return self._seconds

    def check(self, result: Any, arrays: Arrays) -> None:
        if self._ask(digest=True)["digest"] != digest(arrays):
            raise AssertionError("other arrays came back")

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None


class Safetensors(Peer):
    name = "safetensors"
    kind = "safetensors"
    package = "safetensors"
    how: ClassVar[dict[str, str]] = {
        "save": "numpy.save_file()",
        "load": "numpy.load_file()",
        "one": "safe_open().get_tensor(name)",
        "rows": "safe_open().get_slice(name)[i]",
        "load_safetensors": "numpy.load_file()",
        "open_safetensors": "safe_open(), keys()",
    }

    def __init__(self) -> None:
        self._numpy = importlib.import_module("safetensors.numpy")
        self._open = importlib.import_module("safetensors").safe_open

    def save(self, path: Path, arrays: Any) -> None:
        self._numpy.save_file(arrays, path)

    def load(self, path: Path) -> Any:
        return self._numpy.load_file(path)

    def one(self, path: Path, name: str) -> Any:
        with self._open(path, framework="np") as file:
            return file.get_tensor(name)

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        with self._open(path, framework="np") as file:
            array = file.get_slice(name)
            return [array[i] for i in numbers]

    def names(self, path: Path) -> list[str]:
        with self._open(path, framework="np") as file:
            return list(file.keys())


class Npz(Peer):
    name = "NumPy"
    kind = "npz"
    writes_crc = reads_crc = "CRC-32"
    how: ClassVar[dict[str, str]] = {
        "save": "savez(), not compressed",
        "load": "load(), then every array",
        "one": "load()[name]",
    }

    def version(self) -> str:
        return np.__version__

    def save(self, path: Path, arrays: Any) -> None:
        np.savez(path, **arrays)

    def load(self, path: Path) -> Any:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}

    def one(self, path: Path, name: str) -> Any:
        with np.load(path) as file:
            return file[name]


class Npy(Peer):
    name = "NumPy"
    kind = "npy"
    how: ClassVar[dict[str, str]] = {"rows": "load(mmap_mode='r')[i].copy(), an .npy file"}

    def version(self) -> str:
        return np.__version__

    def save(self, path: Path, arrays: Any) -> None:
        (array,) = arrays.values()
        np.save(path, array)

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        # As a plain array: np.memmap's own indexing is slower.
        array = np.asarray(np.load(path, mmap_mode="r"))
        return [array[i].copy() for i in numbers]


class H5py(Peer):
    name = "h5py"
    kind = "h5"
    package = "h5py"
    # The low-level interface halves the time of many small arrays and costs large ones
    # nothing; compact layout and libver='latest' were no faster.
    how: ClassVar[dict[str, str]] = {
        "save": "low-level: contiguous, allocated early, no fill",
        "load": "low-level: read into numpy.empty",
        "one": "low-level: open, read",
        "rows": "low-level: open, select and read row by row",
    }

    def __init__(self) -> None:
        self._h5: Any = importlib.import_module("h5py")

    def save(self, path: Path, arrays: Any) -> None:
        h5d, h5p, h5s, h5t = self._h5.h5d, self._h5.h5p, self._h5.h5s, self._h5.h5t
        layout = h5p.create(h5p.DATASET_CREATE)
        layout.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5d.FILL_TIME_NEVER)
        types: dict[Any, Any] = {}
        spaces: dict[Any, Any] = {}
        with self._h5.File(path, "w") as file:
            for name, array in arrays.items():
                dtype, shape = array.dtype, array.shape
                if dtype not in types:
                    types[dtype] = h5t.py_create(dtype, logical=True)
                if shape not in spaces:
                    spaces[shape] = h5s.create_simple(shape)
                item = h5d.create(file.id, name.encode(), types[dtype], spaces[shape], layout)
                item.write(h5s.ALL, h5s.ALL, array, mtype=types[dtype])

    def _read(self, item: Any) -> Array:
        array = np.empty(item.shape, item.dtype)
        item.read(self._h5.h5s.ALL, self._h5.h5s.ALL, array)
        return array

    def _open(self, path: Path) -> Any:
        # The file closes when this and what was opened from it are gone.
        return self._h5.h5f.open(os.fsencode(path), self._h5.h5f.ACC_RDONLY)

    def load(self, path: Path) -> Any:
        file, opened = self._open(path), self._h5.h5d.open
        names: list[bytes] = []
        file.links.iterate(names.append)
        return {name.decode(): self._read(opened(file, name)) for name in names}

    def one(self, path: Path, name: str) -> Any:
        return self._read(self._h5.h5d.open(self._open(path), name.encode()))

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        item = self._h5.h5d.open(self._open(path), name.encode())
        everything, dtype, stored = item.get_space(), item.dtype, item.get_type()
        columns = item.shape[1]
        row = self._h5.h5s.create_simple((columns,))
        found = []
        for i in numbers:
            array = np.empty(columns, dtype)
            everything.select_hyperslab((i, 0), (1, columns))
            item.read(row, everything, array, stored)
            found.append(array)
        return found


class Pickle(Peer):
    name = "pickle"
    kind = "pickle"
    how: ClassVar[dict[str, str]] = {
        "save": "dump(protocol=5)",
        "load": "load()",
        "one": "load()[name]: reads all",
    }

    def version(self) -> str:
        return "5"  # the protocol; the module is Python's

    def save(self, path: Path, arrays: Any) -> None:
        with open(path, "wb") as file:
            pickle.dump(arrays, file, protocol=5)

    def load(self, path: Path) -> Any:
        with open(path, "rb") as file:
            return pickle.load(file)

    def one(self, path: Path, name: str) -> Any:
        return self.load(path)[name]


class Torch(Peer):
    name = "torch"
    kind = "torch"
    package = "torch"
    how: ClassVar[dict[str, str]] = {
        "save": "save(), without CRC-32",
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
    how: ClassVar[dict[str, str]] = {"map": "load(mmap=True), then every page is touched"}

    def load(self, path: Path) -> Any:
        arrays = self._torch.load(path, mmap=True)
        _touch(self.give_back(arrays))
        return arrays


class SafetensorsTorch(Torch):
    name = "safetensors, torch"
    kind = "safetensors"
    how: ClassVar[dict[str, str]] = {
        "map": "torch.load_file(), which maps; then every page is touched"
    }

    def __init__(self) -> None:
        super().__init__()
        self._safetensors = importlib.import_module("safetensors.torch")

    def save(self, path: Path, arrays: Any) -> None:
        self._safetensors.save_file(arrays, path)

    def load(self, path: Path) -> Any:
        arrays = self._safetensors.load_file(path)
        _touch(self.give_back(arrays))
        return arrays


# In the order of tables; mxio, to which the others are compared, first.
_PEERS: tuple[type[Peer], ...] = (
    Mxio,
    MxioUnchecked,
    MxioMapped,
    MxioParams,
    MxioSafetensors,
    Mxnet,
    Safetensors,
    SafetensorsTorch,
    Npz,
    Npy,
    H5py,
    Pickle,
    Torch,
    TorchMapped,
)


def find() -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that are installed, and why each other one is skipped."""
    found: list[Peer] = []
    skipped: dict[str, str] = {}
    for peer in _PEERS:
        try:
            found.append(peer())
        except ImportError as error:
            skipped[peer.name] = str(error)
    return found, skipped
