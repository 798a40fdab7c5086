# SPDX-License-Identifier: Apache-2.0
"""What does reading a few rows of a large matrix cost?

One row, and 1,000 random rows one by one, as an embedding is looked up: open the file,
read the rows as arrays of their own, close the file. Other rows each time, the same
for everyone. Pickle, which reads all or nothing, is not asked. Then one row of a matrix of
4 GiB (less with --quick), in the page cache or not; the limit is one read of 64 KiB, the
chunk of which mxio compares the checksum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import limits
from benchmarks.compare import same_array, to_read
from benchmarks.harness import Case, Run
from benchmarks.peers import Array, Arrays, Peer
from benchmarks.workloads import matrix, mib, nbytes_of, per_call, shuffled

__all__ = ["cases"]

# Few peers read the largest matrix: each has a file of its own on the disk.
_HUGE = ("mxio", "mxio, verify=False", "mxio, mapped", "safetensors")


def cases(run: Run) -> Iterator[Case]:
    for n_rows, huge in (run.size.n_rows, False), (run.size.n_huge_rows, True):
        arrays = matrix(run.size, n_rows)
        of = f"of {mib(nbytes_of(arrays))}"
        with run.room() as room:
            case = partial(_case, run, room, arrays)
            if huge:
                for cold in (False, True):
                    title = f"Read 1 row {of}, {'cold' if cold else 'warm'}"
                    yield case("huge_cold" if cold else "huge", title, 1, 5, cold, _HUGE)
            else:
                n = run.size.n_picks
                yield case("one", f"Read 1 row {of}, warm", 1, 5)
                yield case("many", f"Read {n:,} random rows {of}, warm", n, 1)


def _case(
    run: Run,
    room: Path,
    arrays: Arrays,
    case_name: str,
    title: str,
    n: int,
    calls: int,
    cold: bool = False,
    only: Sequence[str] | None = None,
) -> Case:
    ((name, array),) = arrays.items()
    order = shuffled(len(array))

    def pick(number: int) -> Sequence[int]:
        return per_call(order, number, n)

    def call(peer: Peer, path: Path, number: int) -> list[Array]:
        return peer.rows(path, name, pick(number))

    def check(peer: Peer, result: Sequence[Any], number: int) -> None:
        for row, i in zip(result, pick(number), strict=True):
            same_array(row, array[i])

    # Where a row lies, give or take the head of the file.
    at = room / "arrays.mxio", lambda number: pick(number)[0] * array[0].nbytes >> 16 << 16
    return to_read(
        run,
        room,
        case_name,
        title,
        "ms",
        arrays,
        "rows",
        call=call,
        check=check,
        nbytes=n * array[0].nbytes,
        n_arrays=1,
        memory=n * array[0].nbytes,
        cold=cold,
        calls=calls,
        only=only,
        limits=limits.chunks(*at, cold=cold) if n == 1 else (),
    )
