# SPDX-License-Identifier: Apache-2.0
"""What do many small arrays cost?

20,000 arrays of 1 KiB (fewer with --quick) are saved and loaded, and one of them is
loaded by its name: open the file, read it, close the file.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import limits
from benchmarks.compare import same_array, to_read, to_save
from benchmarks.harness import Case, Run
from benchmarks.workloads import per_call, shuffled, small

__all__ = ["cases"]


def cases(run: Run) -> Iterator[Case]:
    arrays = small(run.size)
    what = f"{len(arrays):,} arrays of 1 KiB"
    for name, where in ("cache", "page cache"), ("disk", "durable"):
        with run.room() as room:
            durable = name == "disk"
            yield to_save(
                run,
                room,
                f"save_{name}",
                f"Save {what}, {where}",
                "ms",
                arrays,
                durable=durable,
                limits=limits.writers(room, arrays, durable=durable),
            )
    names = list(arrays)
    order = shuffled(len(names))

    def pick(number: int) -> str:
        return names[per_call(order, number, 1)[0]]

    with run.room() as room:
        for cold in (False, True):
            state = "cold" if cold else "warm"
            yield to_read(
                run,
                room,
                "load_cold" if cold else "load",
                f"Load {what}, {state}",
                "ms",
                arrays,
                "load",
                call=lambda peer, path, number: peer.load(path),
                check=lambda peer, result, number: peer.check(result, arrays),
                cold=cold,
                limits=limits.readers(room, arrays, cold=cold),
            )
            yield to_read(
                run,
                room,
                "one_cold" if cold else "one",
                f"Load one of {what}, {state}",
                "ms",
                arrays,
                "one",
                call=lambda peer, path, number: peer.one(path, pick(number)),
                check=lambda peer, result, number: same_array(result, arrays[pick(number)]),
                nbytes=arrays[names[0]].nbytes,
                n_arrays=1,
                cold=cold,
                calls=3,
            )
