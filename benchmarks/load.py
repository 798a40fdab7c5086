# SPDX-License-Identifier: Apache-2.0
"""How fast does a model come back?

The arrays of a language model are loaded into memory of their own, from the page cache and
from the disk, as by a process that loads for the first time: one that loads again and again
may find memory in its heap, which spares some libraries page faults and makes them up to
three times as fast. The limits are plain reads and one copy of the same bytes. Those who
map the file instead compare among themselves: once as the call returns, having read
nothing, and once when one byte of every page was read. Then the same for other workloads.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks import limits
from benchmarks.compare import to_read
from benchmarks.harness import Case, Run
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
