# SPDX-License-Identifier: Apache-2.0
"""What every contender from a library is: a way to save and load named arrays."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np

from benchmarks.peers.mxnet_process import digest

__all__ = ["Array", "Arrays", "Peer", "Pieces", "touch_pages"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Arrays: TypeAlias = "dict[str, Array]"

_PAGE = 4096


def touch_pages(arrays: Arrays) -> None:
    """Read one byte of every page."""
    for array in arrays.values():
        array.reshape(-1).view(np.uint8)[::_PAGE].max(initial=0)


@dataclass(frozen=True)
class Pieces:
    """An array, and what it is put together of along its first axis."""

    name: str
    whole: Array
    parts: list[Array]

    @classmethod
    def of(cls, name: str, whole: Array, n: int) -> Pieces:
        """Cut an array into pieces of n."""
        return cls(name, whole, [whole[i : i + n] for i in range(0, len(whole), n)])


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
    needs_order : bool
        Whether only arrays in C order are written as they are: others are copied by
        `numpy.ascontiguousarray` first, on the clock.
    how : dict of str to str
        What it can do, and by which calls and settings: save, save_durable, load, lazy
        (make arrays of the mapped file), map (that, and touch every page), fill (arrays that
        exist), one (an array by name), names (list them), rows (of a matrix, by number, one
        by one), gather (all in one call), append (many small pieces), stream,
        stream_durable (large ones), load_params, load_safetensors, open_safetensors.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    package: ClassVar[str | None] = None
    writes_crc: ClassVar[str] = "no"
    reads_crc: ClassVar[str] = "no"
    needs_order: ClassVar[bool] = False
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
    save_durably: Callable[[Path, Any], None] | None = None

    def load(self, path: Path) -> Any:
        """Load everything into memory of its own."""
        raise NotImplementedError

    def lazy(self, path: Path) -> Any:
        """Return arrays over the mapped file, of which nothing was read yet."""
        raise NotImplementedError

    def map(self, path: Path) -> Any:
        arrays = self.lazy(path)
        touch_pages(self.give_back(arrays))
        return arrays

    def fill(self, path: Path, arrays: Arrays) -> Any:
        """Load everything into arrays that exist, and return them."""
        raise NotImplementedError

    def append(self, path: Path, pieces: Pieces) -> None:
        """Make a file with an array that grows piece by piece, and close it."""
        raise NotImplementedError

    # The same, durable when it returns; where there is none, the caller syncs.
    append_durably: Callable[[Path, Pieces], None] | None = None

    def one(self, path: Path, name: str) -> Any:
        """Open the file, load one array, close the file."""
        raise NotImplementedError

    def opened(self, path: Path) -> tuple[Any, Callable[[str], Any], Callable[[], None]]:
        """Return an open file, what loads one array from it, and what closes it."""
        raise NotImplementedError

    def rows(self, path: Path, name: str, numbers: Sequence[int]) -> list[Any]:
        """Open the file, load rows of a matrix one by one, close the file."""
        raise NotImplementedError

    def gather(self, path: Path, name: str, numbers: Sequence[int]) -> Any:
        """Open the file, load rows of a matrix as one array, close the file."""
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

    # For a peer in a process of its own: what the last call took there.
    seconds: Callable[[], float] | None = None

    def close(self) -> None:
        """End what goes on in another process."""

    def make_ready(self, nbytes: int) -> None:
        """Bring a process of its own into the state that the harness brings this one into."""
