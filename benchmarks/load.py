# SPDX-License-Identifier: Apache-2.0
"""How fast does a model come back?

The arrays of a language model are loaded into memory of their own, from the page cache and
from the disk, as by a process that loads for the first time: one that loads again and again
may find memory in its heap, which spares some libraries page faults and makes them up to
three times as fast. The limits are plain reads and one copy of the same bytes. Those who
map the file instead compare among themselves: once as the call returns, having read
nothing, and once when one byte of every page was read. Those who fill arrays that exist, as
the weights of a network do, stand beside the load. Then the same for other workloads.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import mxio
from benchmarks import limits
from benchmarks.compare import to_read
from benchmarks.harness import Case, Run
from benchmarks.peers import Arrays, Peer
from benchmarks.peers.ours import Mxio
from benchmarks.workloads import OTHERS, llm, mib, nbytes_of

__all__ = ["cases"]


def cases(run: Run) -> Iterator[Case]:
    arrays = llm(run.size)
    what = mib(nbytes_of(arrays))
    with run.room() as room:
        case = partial(
            to_read, run, room, arrays=arrays, check=lambda peer, got, call: peer.check(got, arrays)
        )
        for cold in (False, True):
            yield case(
                "cold" if cold else "load",
                f"Load a model, {what}, {'cold' if cold else 'warm'}",
                "GB/s",
                ability="load",
                call=lambda peer, path, call: peer.load(path),
                cold=cold,
                limits=limits.readers(room, arrays, cold=cold)
                + ([] if cold else limits.copies(arrays)),
            )
        yield case(
            "lazy",
            f"Map a model, {what}",
            "ms",
            ability="lazy",
            call=lambda peer, path, call: peer.lazy(path),
            memory=0,
        )
        yield case(
            "map",
            f"Map and touch a model, {what}",
            "ms",
            ability="map",
            call=lambda peer, path, call: peer.map(path),
        )
        yield _fill_case(run, room, f"Fill the arrays of a model, {what}, warm", arrays)
    for name, (words, made) in OTHERS.items():
        arrays = made(run.size)
        with run.room() as room:
            yield to_read(
                run,
                room,
                name,
                f"Load {words}, {mib(nbytes_of(arrays))}, warm",
                "GB/s",
                arrays,
                "load",
                call=lambda peer, path, call: peer.load(path),
                check=partial(lambda wanted, peer, got, call: peer.check(got, wanted), arrays),
                only=run.here,
                limits=limits.readers(room, arrays, cold=False),
            )


# ---- arrays that exist -----------------------------------------------------------------------


class _Loading(Mxio):
    name = "mxio, load()"
    how: ClassVar[dict[str, str]] = {"fill": "load(), the default, into memory of its own"}

    def fill(self, path: Path, arrays: Arrays) -> Any:
        return mxio.load(path)


def _fill_case(run: Run, room: Path, title: str, arrays: Arrays) -> Case:
    existing = {name: np.empty_like(array) for name, array in arrays.items()}

    def empty(peer: Peer, path: Path) -> None:
        for array in existing.values():
            array.fill(0)

    return to_read(
        Run(run.size, run.folder, [*run.peers, _Loading()]),
        room,
        "fill",
        title,
        "GB/s",
        arrays,
        "fill",
        call=lambda peer, path, call: peer.fill(path, existing),
        check=lambda peer, got, call: peer.check(got, arrays),
        before=empty,
        limits=limits.readers(room, arrays, cold=False, existing=True),
    )
