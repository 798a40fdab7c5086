# SPDX-License-Identifier: Apache-2.0
"""What do many small arrays cost?

20,000 arrays of 1 KiB (fewer with --quick) are saved and loaded, and one of them is
loaded by its name: open the file, read it, close the file.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import (
    Case,
    Run,
    nbytes_of,
    per_call,
    read_case,
    same,
    same_array,
    save_case,
    shuffled,
    small,
)

__all__ = ["cases"]


def cases(run: Run) -> Iterator[Case]:
    arrays = small(run.size)
    nbytes = nbytes_of(arrays)
    what = f"{len(arrays):,} arrays of 1 KiB"
    for name, where in ("cache", "page cache"), ("disk", "durable"):
        with run.room() as room:
            durable = name == "disk"
            title = f"Save {what}, {where}"
            yield save_case(run, room, f"save_{name}", title, "ms", arrays, durable=durable)
    names = list(arrays)
    order = shuffled(len(names))

    def pick(number: int) -> str:
        return names[per_call(order, number, 1)[0]]

    with run.room() as room:
        yield read_case(
            run,
            room,
            "load",
            f"Load {what}",
            "ms",
            arrays,
            "load",
            nbytes,
            call=lambda peer, path, number: peer.load(path),
            check=lambda peer, result, number: same(peer.give_back(result), arrays),
        )
        yield read_case(
            run,
            room,
            "one",
            f"Load one of {what}",
            "ms",
            arrays,
            "one",
            arrays[names[0]].nbytes,
            call=lambda peer, path, number: peer.one(path, pick(number)),
            check=lambda peer, result, number: same_array(result, arrays[pick(number)]),
            calls=3,
        )
