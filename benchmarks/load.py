# SPDX-License-Identifier: Apache-2.0
"""How fast does a model come back?

The arrays of a language model are loaded into memory of their own, from the page cache
or, with --cold, from the disk, as by a process that loads for the first time: one that
loads again and again may find memory in its heap, which spares some libraries page
faults and makes them up to three times as fast. Those who map the file instead compare
among themselves: one byte of every page is read before a load counts as done.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.harness import Case, Run, llm, mib, nbytes_of, read_case, same

__all__ = ["cases"]


def cases(run: Run) -> Iterator[Case]:
    arrays = llm(run.size)
    what = mib(nbytes_of(arrays))
    with run.room() as room:
        case = partial(
            read_case,
            run,
            room,
            arrays=arrays,
            nbytes=nbytes_of(arrays),
            call=lambda peer, path, number: peer.load(path),
            check=lambda peer, result, number: same(peer.give_back(result), arrays),
        )
        yield case("load", f"Load a model, {what}", "GB/s", ability="load")
        yield case("map", f"Map and touch a model, {what}", "ms", ability="map")
