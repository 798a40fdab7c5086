# SPDX-License-Identifier: Apache-2.0
"""How fast does a model reach the page cache, and the disk?

The arrays of a language model are saved to a new file: once left to the system, once
durable, when a power cut can no longer take them back. The limits are plain writes of the
same bytes. Then the same for other workloads; and how much of its speed another thread of
the same process keeps, that computes in Python while a large array is saved.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import limits
from benchmarks.compare import kind_of, same, sizer, to_save
from benchmarks.files import remover, sync
from benchmarks.harness import Case, Contender, Run
from benchmarks.peers import Arrays, Peer
from benchmarks.workloads import OTHERS, llm, mib, nbytes_of

__all__ = ["cases"]

_STATES = ("cache", "page cache"), ("disk", "durable")


def cases(run: Run) -> Iterator[Case]:
    yield from _both_ways(run, "", "a model", llm(run.size))
    for name, (what, made) in OTHERS.items():
        yield from _both_ways(run, f"{name}_", what, made(run.size))
    with run.room() as room:
        yield _spin_case(run, room)


def _both_ways(run: Run, prefix: str, what: str, arrays: Arrays) -> Iterator[Case]:
    for name, where in _STATES:
        with run.room() as room:
            durable = name == "disk"
            yield to_save(
                run,
                room,
                prefix + name,
                f"Save {what}, {mib(nbytes_of(arrays))}, {where}",
                "GB/s",
                arrays,
                durable=durable,
                only=run.here if prefix else None,
                limits=limits.writers(room, arrays, durable=durable),
            )


# ---- another thread --------------------------------------------------------------------------


class _Spinner(threading.Thread):
    """Counts in Python until told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self.stopped = False

    def run(self) -> None:
        while not self.stopped:
            for _ in range(1000):
                pass
            self.count += 1

    def speed(self, work: Callable[[], None], least: float) -> float:
        """Counts a second while the work is done, again and again for so long."""
        count, start = self.count, time.perf_counter()
        work()
        while time.perf_counter() - start < least:
            work()
        return (self.count - count) / (time.perf_counter() - start)


def _spin_case(run: Run, room: Path) -> Case:
    rng = np.random.default_rng(9)
    arrays = {"matrix": rng.random((run.size.spin_nbytes // 4096, 1024), np.float32)}
    nbytes = nbytes_of(arrays)
    contenders = []
    for peer in run.able("save_durable"):
        if peer.name in run.here:
            contenders.append(_spinning(peer, room, arrays, run.size.pause))
    title = f"A spinning thread's speed during a durable save of {mib(nbytes)}"
    state = "new file, synced to the disk with its folder"
    return Case("spin", title, "%", nbytes, nbytes, 1, state, contenders)


def _spinning(peer: Peer, room: Path, arrays: Arrays, pause: float) -> Contender:
    path = room / f"spin.{peer.kind}"
    adopted = peer.adopt(arrays)
    kept = [0.0]

    def save() -> None:
        if peer.save_durably is not None:
            peer.save_durably(path, adopted)
        else:
            peer.save(path, adopted)
            sync(path)
            sync(path.parent)

    def run(call: int) -> None:
        spinner = _Spinner()
        spinner.start()
        alone = spinner.speed(lambda: time.sleep(pause), 0)
        kept[0] = spinner.speed(save, pause / 4) / alone
        spinner.stopped = True
        spinner.join()

    def check(result: Any, call: int) -> None:
        same(peer.give_back(peer.load(path)), arrays)

    return Contender(
        name=peer.name,
        kind=kind_of(peer),
        version=peer.version(),
        how=peer.how["save_durable"],
        checksums=peer.writes_crc,
        run=run,
        check=check,
        prepare=remover(room),
        file_nbytes=sizer(path),
        value=lambda: kept[0],
    )
