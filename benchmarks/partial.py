# SPDX-License-Identifier: Apache-2.0
"""What does reading a few rows of a large matrix cost?

One row, and 1,000 random rows one by one, as an embedding is looked up: open the file,
read the rows as arrays of their own, close the file. Other rows each time, the same
for everyone. Pickle, which reads all or nothing, is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.harness import (
    Case,
    Run,
    matrix,
    mib,
    nbytes_of,
    per_call,
    read_case,
    same_array,
    shuffled,
)

__all__ = ["cases"]


def cases(run: Run) -> Iterator[Case]:
    arrays = matrix(run.size)
    ((name, array),) = arrays.items()
    order = shuffled(len(array))
    of = f"of {mib(nbytes_of(arrays))}"

    def case(case_name: str, title: str, n: int, calls: int) -> Case:
        def pick(number: int) -> Sequence[int]:
            return per_call(order, number, n)

        def check(result: Sequence[Any], number: int) -> None:
            for row, i in zip(result, pick(number), strict=True):
                same_array(row, array[i])

        return read_case(
            run,
            room,
            case_name,
            title,
            "ms",
            arrays,
            "rows",
            n * array[0].nbytes,
            call=lambda peer, path, number: peer.rows(path, name, pick(number)),
            check=lambda peer, result, number: check(result, number),
            calls=calls,
        )

    with run.room() as room:
        yield case("one", f"Read 1 row {of}", 1, 5)
        yield case("many", f"Read {run.size.n_picks:,} random rows {of}", run.size.n_picks, 1)
