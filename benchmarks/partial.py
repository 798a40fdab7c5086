# SPDX-License-Identifier: Apache-2.0
"""What does reading a few rows of a large matrix cost?

One row, and 1,000 random rows one by one, as an embedding is looked up: open the file,
read the rows as arrays of their own, close the file. Other rows each time, the same
for everyone. Pickle, which reads all or nothing, is not asked. Then a matrix of 4 GiB with
rows of 2 KiB (less with --quick): one row, in the page cache or not, and 1,000 one by one or
in one call, as one array. The limits are reads of 64 KiB, the chunks that hold the rows and
of which mxio compares the checksums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mxio
from benchmarks import limits
from benchmarks.compare import same_array, to_read
from benchmarks.harness import Case, Run
from benchmarks.peers import Arrays, Peer
from benchmarks.workloads import Matrix, mib, per_call, shuffled

__all__ = ["cases"]

# Few peers read the largest matrix: each has a file of its own on the disk.
_HUGE = (
    "mxio",
    "mxio, verify=False",
    "mxio, mapped",
    "safetensors",
    "h5py",
    "zarr",
    "NumPy",
)
_NAME = "matrix"


def cases(run: Run) -> Iterator[Case]:
    n = run.size.n_picks
    matrix = Matrix(run.size, run.size.n_rows, 1024)
    of = f"of {mib(matrix.nbytes)}"
    with run.room() as room:
        case = partial(_case, run, room, matrix)
        yield case("one", f"Read 1 row {of}, warm", 1, calls=5)
        yield case("many", f"Read {n:,} random rows {of}, warm", n)
    matrix = Matrix(run.size, run.size.n_huge_rows, 512)
    of = f"of {mib(matrix.nbytes)}"
    with run.room() as room:
        case = partial(_case, run, room, matrix, only=_HUGE)
        yield case("huge", f"Read 1 row {of}, warm", 1, calls=5)
        yield case("huge_many", f"Read {n:,} random rows {of} one by one, warm", n)
        title = f"Read {n:,} random rows {of} in one call, warm"
        yield case("huge_gather", title, n, ability="gather")
        # Last: the files are read once for all that are warm.
        yield case("huge_cold", f"Read 1 row {of}, cold", 1, cold=True)


def _case(
    run: Run,
    room: Path,
    matrix: Matrix,
    case_name: str,
    title: str,
    n: int,
    *,
    ability: str = "rows",
    calls: int = 1,
    cold: bool = False,
    only: Sequence[str] | None = None,
) -> Case:
    order = shuffled(matrix.n_rows)

    def made() -> Arrays:
        return {_NAME: matrix.whole()}

    def pick(number: int) -> Sequence[int]:
        return per_call(order, number, n)

    def call(peer: Peer, path: Path, number: int) -> Any:
        return getattr(peer, ability)(path, _NAME, pick(number))

    def compare(rows: Sequence[Any], number: int) -> None:
        for row, i in zip(rows, pick(number), strict=True):
            same_array(row, matrix.row(i))

    case = to_read(
        run,
        room,
        case_name,
        title,
        "ms",
        made,
        ability,
        call=call,
        check=lambda peer, result, number: compare(result, number),
        nbytes=n * matrix.row_nbytes,
        n_arrays=1,
        memory=n * matrix.row_nbytes,
        cold=cold,
        calls=calls,
        only=only,
    )
    # Now that the file is there.
    path = room / "arrays.mxio"
    with mxio.open(path) as file:
        start = file.index[_NAME].offset
    by_hand = limits.rows(path, start, matrix.row_nbytes, "f4", pick, compare, cold=cold)
    return replace(case, contenders=case.contenders + by_hand)
