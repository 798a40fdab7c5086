# SPDX-License-Identifier: Apache-2.0
"""How much memory is needed beside the arrays?

By how much the peak of a process's memory rises while a model is saved, loaded (less what
the arrays themselves take) or mapped and not touched: VmHWM of a process of its own for
each call, reset right before it. What the system counts is counted: the pages of a mapped
file that a library touches on its way are among it, though they can be taken back.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare import kind_of, sizer
from benchmarks.files import CannotMeasure, from_libc, remover, warm
from benchmarks.harness import Case, Contender, Run
from benchmarks.peers import Peer, find
from benchmarks.workloads import SIZES, llm, mib, nbytes_of

__all__ = ["cases"]

_MOST_ROUNDS = 3  # a peak hardly varies
_FEW = ("mxio", "mxio, mapped", "safetensors")
_DOES = {"save": "Save", "load": "Load", "lazy": "Map"}


def cases(run: Run) -> Iterator[Case]:
    if not sys.platform.startswith("linux"):
        raise CannotMeasure("the peak of a process's memory is read from Linux's /proc")
    # Each call is a process, which takes its time to start.
    asked = run.here if run.size.name == "full" else _FEW
    arrays = llm(run.size)
    nbytes, n_arrays = nbytes_of(arrays), len(arrays)
    for ability, verb in _DOES.items():
        with run.room() as room:
            if ability != "save":
                for peer in run.able(ability):
                    path = room / f"arrays.{peer.kind}"
                    if peer.name in asked and not path.exists():
                        peer.save(path, peer.adopt(arrays))
            contenders = [
                _contender(run, peer, ability, room)
                for peer in run.able(ability)
                if peer.name in asked
            ]
            yield Case(
                ability,
                f"{verb} a model, {mib(nbytes)}: memory beside the arrays",
                "MiB",
                nbytes,
                0,
                n_arrays,
                "new file, not synced" if ability == "save" else "warm: in the page cache",
                contenders,
                most_rounds=_MOST_ROUNDS if run.size.name == "full" else 1,
            )


def _contender(run: Run, peer: Peer, ability: str, room: Path) -> Contender:
    path = room / f"arrays.{peer.kind}"
    beside = [0.0]

    def measure(call: int) -> None:
        words = [peer.name, ability, run.size.name, str(path), "check" if call == 0 else ""]
        root = str(Path(__file__).parents[1])
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", *words],
            cwd=root,
            # So that it is the same mxio that is measured.
            env=os.environ | {"PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])},
            capture_output=True,
            text=True,
        )
        if told.returncode:
            raise AssertionError(told.stderr.strip().splitlines()[-1])
        beside[0] = json.loads(told.stdout)

    return Contender(
        name=peer.name,
        kind=kind_of(peer),
        version=peer.version(),
        how=peer.how[ability],
        checksums=peer.writes_crc if ability == "save" else peer.reads_crc,
        run=measure,
        check=lambda result, call: None,  # the process does it
        prepare=remover(room) if ability == "save" else lambda: warm(path),
        file_nbytes=sizer(path),
        value=lambda: beside[0],
    )


# ---- in the process --------------------------------------------------------------------------


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    raise OSError(f"/proc/self/status has no {field}")


def _rise(work: Callable[[], Any]) -> tuple[int, Any]:
    """By how many bytes a call raises the peak, and what it returns."""
    gc.collect()
    if (trim := from_libc("malloc_trim")) is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    result = work()
    return _status("VmHWM") - before, result


def _main(name: str, ability: str, size: str, place: str, check: str) -> int:
    path = Path(place)
    peer = next(peer for peer in find(name)[0] if ability in peer.how)
    # What the first call brings along is not what is measured.
    first = path.with_name(f"first-{path.name}")
    peer.save(first, peer.adopt({"w": np.ones((64, 64), np.float32)}))
    (peer.lazy if ability == "lazy" else peer.load)(first)
    first.unlink()
    if ability == "save":
        arrays = llm(SIZES[size])
        adopted = peer.adopt(arrays)
        rise, _ = _rise(lambda: peer.save(path, adopted))
        if check:
            peer.check(peer.load(path), arrays)
    else:
        load = peer.lazy if ability == "lazy" else peer.load
        rise, loaded = _rise(lambda: load(path))
        if ability == "load":
            rise -= nbytes_of(peer.give_back(loaded))
        if check:
            peer.check(loaded, llm(SIZES[size]))
    print(max(0, rise))
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
