# SPDX-License-Identifier: Apache-2.0
"""A fair run: how contenders are timed.

What makes it fair, for every case:

- the contenders take turns in one process (but for MXNet, whose own process times itself
  and is made ready in the same way, and where memory is measured, for which each call has a
  process of its own), in an order that rotates and reverses, after a warm-up round that is
  not timed; figures are medians, their spread is the quartiles;
- all move the same arrays, and what they gave back was compared with them once, bit by
  bit, outside the clock; who gives back something else, or fails, is left out, and the
  result says why;
- before each measurement, outside the clock: the last result is gone, garbage is
  collected, and memory is as in a process that has not loaded anything yet, on a machine
  that is awake: as much as all the arrays need has been written and freed, so that the
  host of a virtual machine backs it (it takes idle memory away within seconds, and then a
  load is up to ten times slower), and what malloc kept is given back to the system;
- every save makes a new file: the last one was deleted, and its folder synced, outside
  the clock;
- a durable save includes the sync of the file and of its folder, for everyone;
- a file to be read was written to the disk, dropped from the page cache and, unless the
  case is a cold one, read once; its state is checked before each call, where the system
  tells;
- lazy loads compare among themselves, and so do eager ones.

A case may grow contenders, a question cases; neither needs a change here.
"""

from __future__ import annotations

import contextlib
import gc
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from benchmarks.files import CannotMeasure, from_libc
from benchmarks.peers import Peer
from benchmarks.workloads import Size

__all__ = ["UNITS", "Case", "Contender", "Measured", "Run", "Unit", "fresh_memory", "measure"]


# Who is that far behind is measured in as few rounds.
_SLOW_SECONDS, _SLOW_TIMES, _SLOW_ROUNDS = 1.0, 10, 3


@dataclass(frozen=True)
class Unit:
    """What a figure is in, made of a value: of seconds, bytes, or a share."""

    more_is_better: bool
    is_time: bool
    # Of a value, and of the bytes and the arrays that one call moves.
    of: Callable[[float, int, int], float]


UNITS = {
    "GB/s": Unit(True, True, lambda value, nbytes, n: nbytes / value / 1e9),
    "ms": Unit(False, True, lambda value, nbytes, n: value * 1e3),
    "µs a row": Unit(False, True, lambda value, nbytes, n: value * 1e6 / n),
    "µs an array": Unit(False, True, lambda value, nbytes, n: value * 1e6 / n),
    "MiB": Unit(False, False, lambda value, nbytes, n: value / 2**20),
    "%": Unit(True, False, lambda value, nbytes, n: value * 100),
}


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Contender:
    """One row of a case: what is timed, and what comes before it outside the clock."""

    name: str
    kind: str  # mxio, peer, or limit: what the system does without any format
    version: str
    how: str
    checksums: str
    run: Callable[[int], Any]  # the number of the call
    check: Callable[[Any, int], None]  # raises if what call n gave is wrong
    prepare: Callable[[], None] = _nothing
    file_nbytes: Callable[[], int] = int
    # What the last call came to, of one that measures itself.
    value: Callable[[], float] | None = None


@dataclass(frozen=True)
class Case:
    """One comparison: contenders that do the same thing."""

    name: str
    title: str
    unit: str
    nbytes: int  # moved by one call
    memory: int  # touched before each
    n_arrays: int  # or rows
    state: str  # of the files, in words
    contenders: list[Contender]
    calls: int = 1  # in a row, as one measurement
    most_rounds: int | None = None
    # Cases of one series are one thing at several sizes: drawn as lines over these.
    series: str | None = None
    x: int | None = None


@dataclass
class Measured:
    """What one contender did: a value per call (seconds, bytes, a share), round by round."""

    contender: Contender
    values: list[float] = field(default_factory=list)
    file_nbytes: int = 0
    seconds: float = 0.0  # of the warm-up

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.values) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high

    @property
    def steady(self) -> bool:
        """Whether half of the rounds lie within 30 % of the median."""
        low, high = self.quartiles
        return high - low <= 0.3 * abs(self.median)


@dataclass
class Run:
    """What the questions are asked with: sizes, peers, a folder for files."""

    size: Size
    folder: Path
    peers: list[Peer]

    @contextlib.contextmanager
    def room(self) -> Iterator[Path]:
        """A folder that is gone afterwards."""
        room = Path(mkdtemp(dir=self.folder))
        try:
            yield room
        finally:
            shutil.rmtree(room)

    def able(self, ability: str) -> list[Peer]:
        return [peer for peer in self.peers if ability in peer.how]

    @property
    def here(self) -> list[str]:
        """The peers in this process, which see our arrays: all but MXNet."""
        return [peer.name for peer in self.peers if peer.seconds is None]


def measure(
    case: Case, rounds: int, tell: Callable[[str], None] = lambda name: None
) -> tuple[list[Measured], dict[str, str]]:
    """Time a case; `tell` hears, outside the clock, who comes next.

    Returns
    -------
    list of Measured
        One for each contender that did what it was to do.
    dict of str to str
        Why the other ones are left out. mxio is never: what it gets wrong is raised.
    """
    rows, left_out = [], {}
    for contender in case.contenders:
        row = Measured(contender)
        tell(contender.name)
        try:
            contender.prepare()
            fresh_memory(case.memory)
            start = time.perf_counter()
            result = contender.run(0)
            row.seconds = time.perf_counter() - start
            contender.check(result, 0)
            del result
            row.file_nbytes = contender.file_nbytes()
        except CannotMeasure:
            raise
        except Exception as error:
            if contender.kind == "mxio":
                raise
            left_out[contender.name] = f"{type(error).__name__}: {error}"
        else:
            rows.append(row)
    fastest = min(row.seconds for row in rows)
    for n in range(min(rounds, case.most_rounds or rounds)):
        turn = n % len(rows)
        order = rows[turn:] + rows[:turn]
        for row in order if n % 2 == 0 else reversed(order):
            tell(row.contender.name)
            slow = row.seconds > max(_SLOW_SECONDS, _SLOW_TIMES * fastest)
            if slow and n >= _SLOW_ROUNDS:
                continue
            row.values.append(_time(case, row.contender, 1 + n * case.calls))
    return rows, left_out


def _time(case: Case, contender: Contender, first: int) -> float:
    run, own = contender.run, contender.value
    contender.prepare()
    gc.collect()
    fresh_memory(case.memory)
    value = 0.0
    start = time.perf_counter()
    for call in range(first, first + case.calls):
        result = run(call)
        if own is not None:
            value += own()
    if own is None:
        value = time.perf_counter() - start
    del result
    return value / case.calls


def fresh_memory(nbytes: int) -> None:
    """Leave the system with free memory that was touched, this process with none."""
    np.empty(nbytes, np.uint8).fill(1)
    # Last: below 32 MiB glibc keeps what was just freed, and who takes memory from it would be
    # spared the page faults that a first load has.
    if (trim := from_libc("malloc_trim")) is not None:
        trim(0)
