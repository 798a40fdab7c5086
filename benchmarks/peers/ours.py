# SPDX-License-Identifier: Apache-2.0
"""mxio itself: as it comes, and with what can be chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import mxio
from benchmarks.peers.base import Arrays, Peer, Pieces

__all__ = ["Mxio", "MxioMapped", "MxioParams", "MxioSafetensors", "MxioUnchecked"]


class Mxio(Peer):
    name = "mxio"
    kind = "mxio"
    writes_crc = reads_crc = "CRC-32C"
    how: ClassVar[dict[str, str]] = {
        "save": "save(sync=False)",
        "save_durable": "save(), the default",
        "load": "load(), the default",
        "fill": "open(), f.read(out=arrays)",
        "append": "Writer(sync=False), append(), close()",
        "stream": "Writer(sync=False), append(), close()",
        "stream_durable": "Writer(), append(), close()",
        "one": "load(path, [name])",
        "opened": "open(), then f[name][...]",
        "names": "open(), list(f)",
        "rows": "open(), f[name][i]",
        "gather": "open(), f[name][numbers]",
    }

    def version(self) -> str:
        return mxio.__version__

    def save(self, path: Path, arrays: Any) -> None:
        mxio.save(path, arrays, sync=False)

    def save_durably(self, path: Path, arrays: Any) -> None:
        mxio.save(path, arrays)

    def load(self, path: Path) -> Any:
        return mxio.load(path)

    def fill(self, path: Path, arrays: Arrays) -> Any:
        with mxio.open(path) as file:
            return file.read(out=arrays)

    def append(self, path: Path, pieces: Pieces) -> None:
        _append(path, pieces, sync=False)

    def append_durably(self, path: Path, pieces: Pieces) -> None:
        _append(path, pieces, sync=True)

    def one(self, path: Path, name: str) -> Any:
        return mxio.load(path, [name])[name]

    def opened(self, path: Path) -> tuple[Any, Callable[[str], Any], Callable[[], None]]:
        file = mxio.open(path)
        return file, lambda name: file[name][...], file.close

    def names(self, path: Path) -> list[str]:
        with mxio.open(path) as file:
            return list(file)

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        with mxio.open(path) as file:
            array = file[name]
            return [array[i] for i in numbers]

    def gather(self, path: Path, name: str, numbers: Sequence[int]) -> Any:
        with mxio.open(path) as file:
            return file[name][numbers]


def _append(path: Path, pieces: Pieces, sync: bool) -> None:
    name = pieces.name
    with mxio.Writer(path, sync=sync) as writer:
        for part in pieces.parts:
            writer.append(name, part)


class MxioUnchecked(Mxio):
    name = "mxio, verify=False"
    reads_crc = "index"
    how: ClassVar[dict[str, str]] = {
        "load": "load(verify=False)",
        "fill": "open(verify=False), f.read(out=arrays)",
        "rows": "open(verify=False), f[name][i]",
        "gather": "open(verify=False), f[name][numbers]",
    }

    def load(self, path: Path) -> Any:
        return mxio.load(path, verify=False)

    def fill(self, path: Path, arrays: Arrays) -> Any:
        with mxio.open(path, verify=False) as file:
            return file.read(out=arrays)

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        with mxio.open(path, verify=False) as file:
            array = file[name]
            return [array[i] for i in numbers]

    def gather(self, path: Path, name: str, numbers: Sequence[int]) -> Any:
        with mxio.open(path, verify=False) as file:
            return file[name][numbers]


class MxioMapped(Mxio):
    name = "mxio, mapped"
    reads_crc = "index"
    how: ClassVar[dict[str, str]] = {
        "lazy": "load(mmap=True)",
        "map": "load(mmap=True), then every page is touched",
        "rows": "load(mmap=True)[name][i].copy()",
        "gather": "load(mmap=True)[name][numbers]",
    }

    def lazy(self, path: Path) -> Any:
        return mxio.load(path, mmap=True)

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        array = mxio.load(path, mmap=True)[name]
        return [array[i].copy() for i in numbers]

    def gather(self, path: Path, name: str, numbers: Sequence[int]) -> Any:
        return mxio.load(path, mmap=True)[name][numbers]


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
