# SPDX-License-Identifier: Apache-2.0
"""How fast does a model reach the page cache, and the disk?

The arrays of a language model are saved to a new file: once left to the system, once
durable, when a power cut can no longer take them back.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Case, Run, llm, mib, nbytes_of, save_case

__all__ = ["cases"]


def cases(run: Run) -> Iterator[Case]:
    arrays = llm(run.size)
    what = f"Save a model, {mib(nbytes_of(arrays))}"
    for name, where in ("cache", "page cache"), ("disk", "durable"):
        with run.room() as room:
            durable = name == "disk"
            title = f"{what}, {where}"
            yield save_case(run, room, name, title, "GB/s", arrays, durable=durable)
