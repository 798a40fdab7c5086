# SPDX-License-Identifier: Apache-2.0
"""What does an array cost, of a thousand and of a million?

Arrays of 256 bytes are saved, loaded, and opened by name: what each of them costs, at
1,000, 10,000, 100,000 and 1,000,000 (fewer with --quick); and what reading one costs once
the file is open. Peers go along up to 100,000, as far as they get in a reasonable time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare import same_array, to_read, to_save
from benchmarks.harness import Case, Run
from benchmarks.peers import Array, Peer
from benchmarks.workloads import named, per_call, shuffled

__all__ = ["cases"]

_WITH_PEERS = 100_000
_ASKED = ("mxio", "safetensors", "pickle")


class _Opened:
    """The file each peer has open; opening another closes it."""

    def __init__(self) -> None:
        self._close: dict[str, Callable[[], None]] = {}
        self.read: dict[str, Callable[[str], Any]] = {}

    def open(self, peer: Peer, path: Path) -> None:
        _, self.read[peer.name], self._close[peer.name] = peer.opened(path)

    def close(self, peer: Peer, path: Path) -> None:
        self.read.pop(peer.name, None)
        self._close.pop(peer.name, lambda: None)()

    def reopen(self, peer: Peer, path: Path) -> None:
        self.close(peer, path)
        self.open(peer, path)

    def close_all(self) -> None:
        for close in self._close.values():
            close()


def cases(run: Run) -> Iterator[Case]:
    for n in run.size.counts:
        yield from _of(run, n)


def _of(run: Run, n: int) -> Iterator[Case]:
    rng = np.random.default_rng(11)
    arrays = named(rng.random((8, 8), np.float32) for _ in range(n))
    names, order = list(arrays), shuffled(n)
    only = _ASKED if n <= _WITH_PEERS else _ASKED[:1]
    each, opened = "µs an array", _Opened()

    def pick(call: int) -> str:
        return names[per_call(order, call, 1)[0]]

    def check_one(peer: Peer, got: Array, call: int) -> None:
        same_array(got, arrays[pick(call)])

    with run.room() as room:
        title = f"Save {n:,} arrays of 256 bytes, page cache"
        more: Any = {"durable": False, "only": only, "series": "Save", "x": n}
        yield to_save(run, room, f"save_{n}", title, each, arrays, **more)
    with run.room() as room:
        for ability, title, call, check in (
            (
                "load",
                f"Load {n:,} arrays of 256 bytes, warm",
                lambda peer, path, call: peer.load(path),
                lambda peer, got, call: peer.check(got, arrays),
            ),
            (
                "opened",
                f"Open a file of {n:,} arrays, warm",
                lambda peer, path, call: opened.open(peer, path),
                lambda peer, got, call: check_one(peer, opened.read[peer.name](pick(call)), call),
            ),
        ):
            yield to_read(
                run,
                room,
                f"{ability}_{n}",
                title,
                each,
                arrays,
                ability,
                call=call,
                check=check,
                before=opened.close,
                only=only,
                series=title.split()[0],
                x=n,
            )
        yield to_read(
            run,
            room,
            f"one_{n}",
            f"Read one of {n:,} arrays from an open file, warm",
            "ms",
            arrays,
            "opened",
            call=lambda peer, path, call: opened.read[peer.name](pick(call)),
            check=check_one,
            before=opened.reopen,
            nbytes=256,
            n_arrays=1,
            only=only,
            series="Read one, once open",
            x=n,
        )
        opened.close_all()
