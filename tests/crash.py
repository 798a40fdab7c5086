# SPDX-License-Identifier: Apache-2.0
"""What a power cut may leave of a folder, from a record of what was asked of the file system.

tests/shim.c writes the record. A disk is played through it, call by call, and after each one
it may lose what was not synced: of data, every sector on its own; of names, in one of two ways.

``posix``    every change of a folder since its last sync happened or did not, whatever
             became of the others: all that the standard promises.
``journal``  changes of folders happen in their order, and the sync of a file brings those
             before it along, as on ext4 and XFS.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mxio

SECTOR_NBYTES = 512
MODELS = ("posix", "journal")

# What changes a folder or a file, and so counts; all else is left out of a record.
CHANGES = {"create", "write", "truncate", "reserve", "sync", "rename", "unlink", "mkdir"}


_CALL = re.compile(r"\w+ -?\d+ -?\d+ -?\d+ /")


class Op(NamedTuple):
    """A call that changed something, or a mark that the program made in between.

    Attributes
    ----------
    what : str
        The name of the call, ``sync folder``, or the mark; of a call that failed ``failed``, but
        ``unsynced`` where that was the sync of a file.
    at : int
        An offset, a new length, the least length.
    data : bytes
    path, to : str
        Of what, relative to the root; ``to`` of a rename.
    """

    what: str
    at: int = 0
    data: bytes = b""
    path: str = ""
    to: str = ""


def record(log: list[str], data: bytes, root: Path | None = None) -> list[Op]:
    """Return what a log of the shim says, each write that was made with its data."""

    def place(path: str) -> str:
        path = path.removesuffix("(deleted)")
        if root is None:
            return path
        inside = Path(path).relative_to(root)
        return "" if inside == Path() else str(inside)

    done = 0
    ops = []
    for entry in log:
        what, *told = entry.split()
        if what not in CHANGES:
            if not _CALL.match(entry):  # else a call that changes nothing here
                ops.append(Op(entry))
            continue
        failed, at, n = map(int, told[:3])
        written = b""
        if what == "write" and not failed:
            written = data[done : done + n]
            done += n
        if root is not None and not Path(told[3]).is_relative_to(root):
            continue
        paths = [place(path) for path in told[3:5]]
        if failed:
            ops.append(Op("unsynced" if what == "sync" and not at else "failed", 0, b"", *paths))
        else:
            ops.append(Op("sync folder" if what == "sync" and at else what, at, written, *paths))
    assert done == len(data), "a record without its data"
    return ops


class Content:
    """The bytes of a file: the disk has what was synced, and of all else we know not what.

    A sector holds what it held at some time since the sync, each at another time, and one
    that is new perhaps what was there before; the file has one of the lengths it had.
    """

    def __init__(self, synced: bytes = b"") -> None:
        self.synced = synced
        self.pending: list[Op] = []

    def do(self, op: Op) -> None:
        if op.what == "sync":
            self.synced = self.whole()
            self.pending = []
        elif op.what == "unsynced":
            # The kernel then takes for written what it could not write: no later sync brings it.
            self.synced = self.cut(random.Random(len(self.pending)))
            self.pending = []
        elif op.what in ("write", "truncate", "reserve"):
            self.pending.append(op)

    def whole(self) -> bytes:
        """What a reader sees as long as there is power."""
        n = len(self.pending)
        return self.image([n] * self.n_sectors, n)

    @property
    def n_sectors(self) -> int:
        ends = [op.at + len(op.data) for op in self.pending]
        return -(-max([len(self.synced), *ends]) // SECTOR_NBYTES)

    def image(self, reached: list[int], n_lengths: int) -> bytes:
        """The file with so many of what is pending in each sector, and in its length."""
        image = bytearray(self.synced.ljust(len(reached) * SECTOR_NBYTES, b"\0"))
        length = len(self.synced)
        for k, op in enumerate(self.pending):
            data, end = op.data, op.at + len(op.data)
            if op.what == "truncate":
                data, end = bytes(max(0, len(image) - op.at)), len(image)
            for sector in range(op.at // SECTOR_NBYTES, -(-end // SECTOR_NBYTES) if data else 0):
                if reached[sector] > k:
                    low = max(op.at, sector * SECTOR_NBYTES)
                    high = min(end, (sector + 1) * SECTOR_NBYTES)
                    image[low:high] = data[low - op.at : high - op.at]
            if k < n_lengths:
                length = op.at if op.what == "truncate" else max(length, end)
        return bytes(image[:length].ljust(length, b"\0"))

    def cut(self, rng: random.Random) -> bytes:
        n, n_sectors = len(self.pending), self.n_sectors
        if not n:
            return self.synced
        often = rng.choice([range(n + 1), [0] * 30 + [n], [0] + [n] * 30, [n]])
        reached = rng.choices(often, k=n_sectors)
        image = bytearray(self.image(reached, rng.randint(0, n)))
        if rng.random() < 0.3:
            for k in range(-(-len(self.synced) // SECTOR_NBYTES), len(image) // SECTOR_NBYTES):
                if k >= n_sectors or not reached[k]:
                    image[k * SECTOR_NBYTES : (k + 1) * SECTOR_NBYTES] = b"\xa5" * SECTOR_NBYTES
        return bytes(image)


class Change(NamedTuple):
    """A change of a folder: a name for a file or folder (None), or no name any more."""

    folder: str
    name: str
    content: Content | None
    gone: str = ""  # the name that a rename took away
    is_folder: bool = False


class Disk:
    """A tree of files and folders below a root."""

    def __init__(self, model: str, base: dict[str, bytes | None] | None = None) -> None:
        self.model = model
        # None: a folder.
        self.base: dict[str, Content | None] = {
            name: None if data is None else Content(data) for name, data in (base or {}).items()
        }
        self.now = dict(self.base)
        self.pending: list[Change] = []

    def do(self, op: Op) -> None:
        what, path = op.what, op.path
        if what in ("create", "mkdir"):
            if path not in self.now:
                content = None if what == "mkdir" else Content()
                self._change(Change(_folder(path), path, content, is_folder=content is None))
        elif what == "rename":
            content = self.now[path]
            self._change(Change(_folder(path), op.to, content, path, content is None))
        elif what == "unlink":
            if path in self.now:
                self._change(Change(_folder(path), path, None))
        elif what == "sync folder":
            kept = [one for one in self.pending if self.model == "posix" and one.folder != path]
            for change in self.pending:
                if change not in kept:
                    apply(self.base, change)
            self.pending = kept
        elif what in ("sync", "unsynced", "write", "truncate", "reserve"):
            content = self.now.get(path)
            if content is not None:  # else a file that has no name any more
                content.do(op)
            if what == "sync" and self.model == "journal":
                for change in self.pending:
                    apply(self.base, change)
                self.pending = []

    def _change(self, change: Change) -> None:
        apply(self.now, change)
        self.pending.append(change)

    @property
    def is_clear(self) -> bool:
        """Whether there is nothing that a power cut could take."""
        files = {id(c): c for c in [*self.base.values(), *self.now.values()] if c is not None}
        return not self.pending and not any(content.pending for content in files.values())

    def cuts(self, rng: random.Random, samples: int) -> Iterator[dict[str, bytes | None]]:
        """Trees that a power cut now may leave: names to bytes, None for a folder."""
        if self.is_clear:
            samples = 1
        n = len(self.pending)
        if self.model == "journal":
            subsets = [self.pending[:k] for k in range(n + 1)]
        elif n <= 4:
            subsets = [
                [change for change, is_in in zip(self.pending, mask, strict=True) if is_in]
                for mask in itertools.product([False, True], repeat=n)
            ]
        else:
            subsets = [[c for c in self.pending if rng.random() < 0.5] for _ in range(16)]
        for subset in subsets:
            names = dict(self.base)
            for change in subset:
                apply(names, change)
            reachable = {
                name: content
                for name, content in names.items()
                if all(str(folder) in names for folder in Path(name).parents if str(folder) != ".")
            }
            for _ in range(samples):
                yield {
                    name: None if content is None else content.cut(rng)
                    for name, content in reachable.items()
                }


def apply(names: dict[str, Content | None], change: Change) -> None:
    """Make a change to names, whether or not what came before it was made."""
    if change.gone:
        names.pop(change.gone, None)
    if change.content is None and not change.is_folder:
        names.pop(change.name, None)
    else:
        names[change.name] = change.content


def _folder(path: str) -> str:
    parent = str(Path(path).parent)
    return "" if parent == "." else parent


def laid_out(tree: dict[str, bytes | None], root: Path) -> Path:
    """Make a folder hold a tree that a power cut left and nothing else, and return it."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    lay_out(tree, root)
    return root


def lay_out(tree: dict[str, bytes | None], root: Path) -> None:
    """Put a tree that a power cut left into an empty folder."""
    for name, data in sorted(tree.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(data)


@contextlib.contextmanager
def under_shim(script: str, place: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a script with tests/shim.c preloaded, to be asked through its stdin and stdout."""
    shim = place / "shim.so"
    source = str(Path(__file__).parent / "shim.c")
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", source, "-o", str(shim), "-ldl", "-lpthread"], check=True
    )
    package = str(Path(mxio.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "LD_PRELOAD": str(shim), "PYTHONPATH": package},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
