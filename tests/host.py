# SPDX-License-Identifier: Apache-2.0
"""A process under tests/shim.c that carries out runs, each in a child of its own.

A run is a function of a folder and of what hears its marks; its calls, and between them its
marks, are written down. `states_of` says what power cuts leave of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import saves
import training
from crash import Disk, Op, lay_out, record, under_shim

Tree = dict[str, "bytes | None"]
RUNS = saves.RUNS | training.RUNS
STUBBORN = saves.STUBBORN | training.STUBBORN


class Host:
    """A process under the shim that carries out runs, each in a child of its own."""

    def __init__(self, process: subprocess.Popen[str], place: Path, root: Path) -> None:
        # It is deleted again and again.
        assert not Path(__file__).is_relative_to(root)
        assert not root.exists()
        self.root = root
        self._process = process
        self._log, self._data = place / "log", place / "data"

    def run(
        self, name: str, base: Tree | None = None, *, settled: bool = False, **told: object
    ) -> tuple[int, list[str]]:
        """Carry out a run in a folder that holds `base`, and return its status and its log.

        If it is to be `settled`, the folder is on the disk before the run begins. Syncs do
        nothing unless ``LAZY=0`` is told.
        """
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        lay_out(base or {}, self.root)
        if settled:
            sync_folder(self.root)
            sync_folder(self.root.parent)
        for left in (self._log, self._data):
            left.unlink(missing_ok=True)
        env = {"MXIO_SHIM_LOG": str(self._log), "MXIO_SHIM_LAZY": "1"}
        env |= {f"MXIO_SHIM_{key}": str(value) for key, value in told.items()}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"name": name, "folder": str(self.root), "env": env}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        status = int(self._process.stdout.readline())
        return status, self._log.read_text().splitlines()

    def recorded(self, name: str, base: Tree | None = None, **told: object) -> list[Op]:
        status, log = self.run(name, base, DATA=self._data, **told)
        assert status == 0, log[-1:]
        return record(log, self._data.read_bytes(), self.root)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def hosted(place: Path, root: Path | None = None) -> Iterator[Host]:
    """Start the process; it works in `root`, a new folder that is deleted before every run."""
    if not sys.platform.startswith("linux") or shutil.which("cc") is None:
        pytest.skip("needs Linux and a C compiler, to preload tests/shim.c")
    with under_shim(__file__, place) as process:
        yield Host(process, place, place / "root" if root is None else root)


class Hears(Protocol):
    """What was promised, by the marks of a run."""

    def hear(self, mark: str) -> None: ...


Promised = TypeVar("Promised", bound=Hears)


def states_of(
    disk: Disk, ops: list[Op], seed: str, samples: int, promise: Promised, first: int = 0
) -> Iterator[tuple[Tree, Promised]]:
    """What power cuts leave at every call, each once, and what was promised by then.

    Those of the `first` calls and marks are left out.
    """
    rng, told = random.Random(seed), 0
    seen: set[int] = set()
    for n, op in enumerate(ops):
        if " " in op.what and op.what != "sync folder":
            promise.hear(op.what)
            told += 1
        else:
            disk.do(op)
        for tree in disk.cuts(rng, samples) if n >= first else ():
            key = hash((told, *sorted(tree.items(), key=str)))
            if key not in seen:
                seen.add(key)
                yield tree, promise


# ---- in the process --------------------------------------------------------------------------


def carry_out(run: Callable[[str, Any], None], folder: str) -> None:
    """Carry out a run under the shim; its marks go into the log of calls."""
    log = os.open(os.environ["MXIO_SHIM_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    disk = os.environ.get("MXIO_SHIM_MARKS")  # of tests/block_log.py, which orders them too

    def told(mark: str) -> None:
        os.write(log, f"{mark}\n".encode())
        if disk is not None:
            os.setxattr(disk, "user.mark", mark.encode())

    if disk is not None:
        os.setxattr(disk, "user.mark", b"begin")
    os.environ["MXIO_SHIM_ON"] = "1"
    try:
        run(folder, told)
    except OSError as error:
        told(f"error {error.errno} {error}")


def serve() -> None:
    """Carry out one run after another, each in a child, as stdin asks for them."""
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            os.environ.update(asked["env"])
            try:
                carry_out((RUNS | STUBBORN)[asked["name"]], asked["folder"])
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
