# SPDX-License-Identifier: Apache-2.0
"""Libraries that give NumPy's arrays: safetensors, NumPy's own files, h5py, zarr, pickle."""

from __future__ import annotations

import importlib
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.peers.base import Array, Arrays, Peer, Pieces

__all__ = ["H5py", "H5pyLowLevel", "Npy", "Npz", "Pickle", "Safetensors", "Zarr"]

_ZARR_CHUNK, _ZARR_PIECE = 256 << 10, 64 << 20


class Safetensors(Peer):
    name = "safetensors"
    kind = "safetensors"
    package = "safetensors"
    needs_order = True  # what lies otherwise is written in a wrong order, without a word
    how: ClassVar[dict[str, str]] = {
        "save": "numpy.save_file()",
        "save_durable": "numpy.save_file(), fsync",
        "load": "numpy.load_file()",
        "one": "safe_open().get_tensor(name)",
        "opened": "safe_open(), then get_tensor(name)",
        "names": "safe_open(), keys()",
        "rows": "safe_open().get_slice(name)[i]",
        "gather": "safe_open().get_slice(name)[i], which takes no list; stack()",
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

    def opened(self, path: Path) -> tuple[Any, Callable[[str], Any], Callable[[], None]]:
        file = self._open(path, framework="np")
        return file, file.get_tensor, lambda: file.__exit__(None, None, None)

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        with self._open(path, framework="np") as file:
            array = file.get_slice(name)
            return [array[i] for i in numbers]

    def gather(self, path: Path, name: str, numbers: Sequence[int]) -> Any:
        return np.stack(self.rows(path, name, numbers))

    def names(self, path: Path) -> list[str]:
        with self._open(path, framework="np") as file:
            return list(file.keys())


class Npz(Peer):
    name = "NumPy"
    kind = "npz"
    writes_crc = reads_crc = "CRC-32"
    how: ClassVar[dict[str, str]] = {
        "save": "savez(), not compressed",
        "save_durable": "savez(), not compressed, fsync",
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
    how: ClassVar[dict[str, str]] = {
        "rows": "load(mmap_mode='r')[i].copy(), an .npy file",
        "gather": "load(mmap_mode='r')[numbers], an .npy file",
        "stream": "save() of the whole array",
        "stream_durable": "save() of the whole array, fsync",
    }

    def version(self) -> str:
        return np.__version__

    def save(self, path: Path, arrays: Any) -> None:
        (array,) = arrays.values()
        np.save(path, array)

    def load(self, path: Path) -> Any:
        return {"": np.load(path)}  # it has no name

    def append(self, path: Path, pieces: Pieces) -> None:
        np.save(path, pieces.whole)

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        # As a plain array: np.memmap's own indexing is slower.
        array = np.asarray(np.load(path, mmap_mode="r"))
        return [array[i].copy() for i in numbers]

    def gather(self, path: Path, name: str, numbers: Sequence[int]) -> Any:
        return np.asarray(np.load(path, mmap_mode="r"))[numbers]


class H5py(Peer):
    name = "h5py"
    kind = "h5"
    package = "h5py"
    needs_order = True
    # The low-level interface halves the time of many small arrays and costs large ones
    # nothing; compact layout and libver='latest' were no faster. Chunks make rows dearer (64 KiB
    # of a row each: random rows twice as dear one by one, eight times in one call).
    how: ClassVar[dict[str, str]] = {
        "save": "low-level: contiguous, allocated early, no fill",
        "save_durable": "low-level: contiguous, allocated early, no fill; fsync",
        "load": "low-level: read into numpy.empty",
        "fill": "low-level: read into the arrays",
        "append": "resize(), then dataset[n:m] = piece; chunks of 64 KiB",
        "one": "low-level: open, read",
        "rows": "low-level: open, select and read row by row; contiguous",
        "gather": "File()[name][sorted numbers], which it needs, put in order; contiguous",
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

    def fill(self, path: Path, arrays: Arrays) -> Any:
        file, everything = self._open(path), self._h5.h5s.ALL
        for name, array in arrays.items():
            self._h5.h5d.open(file, name.encode()).read(everything, everything, array)
        return arrays

    def _create(self, file: Any, pieces: Pieces, chunk_nbytes: int) -> Any:
        """An empty dataset that can grow."""
        shape, dtype = pieces.whole.shape[1:], pieces.whole.dtype
        n = max(1, chunk_nbytes // pieces.whole[0].nbytes)
        more = {"maxshape": (None, *shape), "chunks": (n, *shape), "dtype": dtype}
        return file.create_dataset(pieces.name, (0, *shape), **more)

    def append(self, path: Path, pieces: Pieces) -> None:
        with self._h5.File(path, "w") as file:
            dataset, n = self._create(file, pieces, 64 << 10), 0
            for part in pieces.parts:
                dataset.resize(n + len(part), 0)
                dataset[n : n + len(part)] = part
                n += len(part)

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

    def gather(self, path: Path, name: str, numbers: Sequence[int]) -> Any:
        wanted = np.asarray(numbers)
        order = np.argsort(wanted)
        with self._h5.File(path, "r") as file:
            ascending = file[name][wanted[order]]
        found = np.empty_like(ascending)
        found[order] = ascending
        return found


class H5pyLowLevel(H5py):
    """As an array grows fastest: by its doubles, cut at the end, in larger chunks.

    Chunks of 64 and 256 KiB were slower for rows, those of 4 and 8 MiB for large pieces.
    """

    name = "h5py, low-level"
    how: ClassVar[dict[str, str]] = {
        "append": "set_extent to the double, select, write; chunks of 1 MiB",
        "stream": "set_extent to the double, select, write; chunks of 1 MiB",
        "stream_durable": "set_extent to the double, select, write; chunks of 1 MiB; fsync",
    }

    def append(self, path: Path, pieces: Pieces) -> None:
        shape = pieces.whole.shape[1:]
        begin = (0,) * len(shape)
        stored = self._h5.h5t.py_create(pieces.whole.dtype, logical=True)
        create = self._h5.h5s.create_simple
        memory = {n: create((n, *shape)) for n in set(map(len, pieces.parts))}
        with self._h5.File(path, "w") as file:
            dataset = self._create(file, pieces, 1 << 20).id
            n = room = 0
            for part in pieces.parts:
                if n + len(part) > room:
                    room = max(2 * room, n + len(part))
                    dataset.set_extent((room, *shape))
                    everything = dataset.get_space()
                everything.select_hyperslab((n, *begin), part.shape)
                dataset.write(memory[len(part)], everything, part, stored)
                n += len(part)
            dataset.set_extent((n, *shape))


class Zarr(Peer):
    """A folder of arrays, each a folder with a file for each chunk.

    Of chunks of 64 KiB, 256 KiB and 1 MiB, and of 64 KiB in shards of 4 and 64 MiB, those of
    256 KiB gave rows the fastest; more threads changed nothing.
    """

    name = "zarr"
    kind = "zarr"
    package = "zarr"
    how: ClassVar[dict[str, str]] = {
        "rows": "open_array()[i]; format 3, local, not compressed, chunks of 256 KiB, no shards",
        "gather": "open_array().oindex[numbers]; the same store",
    }

    def __init__(self) -> None:
        self._zarr: Any = importlib.import_module("zarr")

    def save(self, path: Path, arrays: Any) -> None:
        group = self._zarr.create_group(path, zarr_format=3)
        for name, array in arrays.items():
            n = max(1, _ZARR_CHUNK // array[0].nbytes)
            made = group.create_array(
                name,
                shape=array.shape,
                chunks=(n, *array.shape[1:]),
                dtype=array.dtype,
                filters=None,
                compressors=None,
            )
            step = n * max(1, _ZARR_PIECE // _ZARR_CHUNK)
            for start in range(0, len(array), step):
                made[start : start + step] = array[start : start + step]

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        array = self._zarr.open_array(path / name, mode="r")
        return [array[i] for i in numbers]

    def gather(self, path: Path, name: str, numbers: Sequence[int]) -> Any:
        return self._zarr.open_array(path / name, mode="r").oindex[numbers]


class Pickle(Peer):
    name = "pickle"
    kind = "pickle"
    how: ClassVar[dict[str, str]] = {
        "save": "dump(protocol=5)",
        "save_durable": "dump(protocol=5), fsync",
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
