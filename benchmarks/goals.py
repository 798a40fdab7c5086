# SPDX-License-Identifier: Apache-2.0
"""What mxio is to reach, and whether it does, from the figures of a run.

A goal is about cases that a question measured; where one of them, or a peer in it, is not
there, the goal says what is missing. ``python -m benchmarks.goals results.json`` shows the
goals of an old result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

__all__ = ["GOALS", "Figures", "Goal", "judge"]

_MIB = 1 << 20


class Missing(Exception):
    """What a goal is about was not measured."""


class NotAsked(Exception):
    """Nor was its question asked."""


class Figures:
    """The medians of a document, by question, case and contender."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._questions = {entry["name"]: entry for entry in document["questions"]}
        self.unsteady = False  # whether one of the medians asked for is

    def case(self, where: str) -> dict[str, Any]:
        question, name = where.split("/")
        if question not in self._questions:
            raise NotAsked
        for case in self._questions[question]["cases"]:
            if case["name"] == name:
                found: dict[str, Any] = case
                return found
        reasons = self._questions[question]["skipped"].values()
        raise Missing("; ".join(reasons) or f"no case {where}")

    def counts(self, question: str, series: str) -> list[int]:
        if question not in self._questions:
            raise NotAsked
        cases = self._questions[question]["cases"]
        return sorted(case["x"] for case in cases if case["series"] == series)

    def median(self, where: str, name: str = "mxio") -> float:
        case = self.case(where)
        for result in case["results"]:
            if result["name"] == name:
                self.unsteady |= not result["steady"]
                return float(result["median"])
        raise Missing(case["left_out"].get(name) or f"{name} was not there")

    def best(self, where: str, kind: str, word: str = "") -> float:
        """The least time of those of a kind, with this word in their names."""
        results = self.case(where)["results"]
        names = [r["name"] for r in results if r["kind"] == kind and word in r["name"]]
        if not names:
            raise Missing(f"no {kind} {word}".rstrip() + " was there")
        medians = {name: self.median(where, name) for name in names}
        return min(medians.values())


@dataclass(frozen=True)
class Goal:
    """One line: what is measured, what it is to be, and how it is said."""

    what: str
    aim: float
    at_least: bool
    of: Callable[[Figures], float]
    say: str  # a format

    def holds(self, figure: float) -> bool:
        return figure >= self.aim if self.at_least else figure <= self.aim

    @property
    def aim_in_words(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.say.format(self.aim)}"


def _times(what: str, aim: float, where: str, peer: str, name: str = "mxio") -> Goal:
    """So many times as fast as a peer."""
    return Goal(what, aim, True, lambda f: f.median(where, peer) / f.median(where, name), "{:.3g}×")


def _times_best(what: str, aim: float, where: str, kind: str, word: str = "") -> Goal:
    """So many times as fast as the best of a kind."""
    return Goal(what, aim, True, lambda f: f.best(where, kind, word) / f.median(where), "{:.3g}×")


def _at_most(what: str, aim: float, of: Callable[[Figures], float], say: str) -> Goal:
    return Goal(what, aim, False, of, say)


def _at_most_times(what: str, aim: float, where: str, kind: str) -> Goal:
    """At most so many times the time of the best of a kind."""
    return _at_most(what, aim, lambda f: f.median(where) / f.best(where, kind), "{:.3g}×")


def _against(where: str, name: str, other: str, figures: Figures) -> float:
    """How many times the time of another."""
    return figures.median(where, name) / figures.median(where, other)


def _share(where: str, figures: Figures) -> float:
    return 100 * figures.median(where)


def _growth(what: str, aim: float, case: str, series: str) -> Goal:
    """How much more an array costs, at worst, than where there are fewest of them."""

    def of(figures: Figures) -> float:
        least, *more = figures.counts("scale", series)

        def cost(n: int) -> float:
            return figures.median(f"scale/{case}_{n}") / n

        return max(cost(n) for n in more) / cost(least)

    return _at_most(what, aim, of, "{:.3g}×")


def _at_most_many(case: str, series: str) -> Callable[[Figures], float]:
    return lambda f: f.median(f"scale/{case}_{f.counts('scale', series)[-1]}")


_NUMPY, _LAZY = "safetensors", "safetensors, torch"
_UNSUMMED, _UNCHECKED = "mxio, no checksums", "mxio, verify=False"

GOALS = [
    _times("Save a model, page cache, against safetensors", 1.15, "save/cache", _NUMPY),
    _times_best("Save it durably, against the fastest peer", 1.6, "save/disk", "peer"),
    _times_best(
        "Save it durably, against a direct-I/O write", 0.85, "save/disk", "limit", "direct"
    ),
    _times("Load a model, verified, warm, against safetensors", 1.1, "load/load", _NUMPY),
    _times("Load a model, verified, warm, against MXNet", 1.0, "load/load", "MXNet"),
    _at_most(
        "Map a model",
        0.3,
        lambda f: f.median("load/lazy", "mxio, mapped") * 1e3,
        "{:.2g} ms",
    ),
    _times("Map a model, against safetensors with torch", 5, "load/lazy", _LAZY, "mxio, mapped"),
    _at_most(
        "Fill the arrays of a model, against load",
        1.1,
        partial(_against, "load/fill", "mxio", "mxio, load()"),
        "{:.3g}× the time",
    ),
    _times_best("Load a model, cold, against the best peer", 1.0, "load/cold", "peer"),
    _times_best("Load a model, cold, against the best plain read", 0.9, "load/cold", "limit"),
    _times("Save small arrays, against safetensors", 6, "small/save_cache", _NUMPY),
    _times("Save small arrays, against MXNet", 3, "small/save_cache", "MXNet"),
    _times("Load small arrays, verified, against safetensors", 10, "small/load", _NUMPY),
    _times("Load small arrays, verified, against MXNet", 12, "small/load", "MXNet"),
    _times("Open, and read one of them, against safetensors", 25, "small/one", _NUMPY),
    _at_most(
        "Verification, of a durable save",
        5,
        lambda f: 100 * (f.median("checksum/save") / f.median("checksum/save", _UNSUMMED) - 1),
        "{:.1f} %",
    ),
    _at_most(
        "Verification, of a warm load",
        10,
        lambda f: 100 * (f.median("checksum/load") / f.median("checksum/load", _UNCHECKED) - 1),
        "{:.1f} %",
    ),
    _growth("Opening: an array among most, against among fewest", 1.5, "opened", "Open"),
    _at_most("Opening a file of most arrays", 0.6, _at_most_many("opened", "Open"), "{:.2g} s"),
    _at_most(
        "Reading one of them after that",
        1,
        lambda f: 1e3 * _at_most_many("one", "Read one, once open")(f),
        "{:.2g} ms",
    ),
    _growth("Saving: an array among most, against among fewest", 4, "save", "Save"),
    _growth("Loading: an array among most, against among fewest", 4, "load", "Load"),
    *(
        goal
        for case, what, reads in (
            ("huge", "A row of a huge array, warm", "one pread"),
            ("huge_cold", "A row of a huge array, cold", "one pread"),
            ("huge_many", "1,000 rows of it, one by one", "preads"),
            ("huge_gather", "1,000 rows of it, in one call", "preads"),
        )
        for goal in (
            _at_most_times(f"{what}, against {reads}", 2, f"partial/{case}", "limit"),
            _times_best(f"{what}, against the fastest peer", 1, f"partial/{case}", "peer"),
        )
    ),
    _times("Append rows of 2 KiB one by one, against h5py", 10, "append/rows", "h5py"),
    *(
        _at_most(
            f"Write 4 GiB piece by piece, {where}, against save",
            1.1,
            partial(_against, f"append/{case}", "mxio", "mxio, save()"),
            "{:.3g}× the time",
        )
        for case, where in (("stream_cache", "page cache"), ("stream_disk", "durably"))
    ),
    _at_most(
        "Open a file of 10,000 commits, against the same compacted",
        2,
        partial(_against, "append/open", "mxio", "mxio, compacted"),
        "{:.3g}× the time",
    ),
    _at_most_times(
        "Stall of a save in the background, against one memcpy", 1.25, "checkpoint/stall", "limit"
    ),
    *(
        Goal(
            f"A loop of matrix products, {threads}, keeps while a save is written",
            aim,
            True,
            partial(_share, f"checkpoint/loop_{n}"),
            "{:.0f} %",
        )
        for n, threads, aim in ((1, "one BLAS thread", 90), (2, "two BLAS threads", 75))
    ),
    _at_most(
        "Save a step durably, against save",
        1.05,
        partial(_against, "checkpoint/save", "mxio", "mxio, save()"),
        "{:.3g}× the time",
    ),
    _at_most(
        "Memory beside the arrays, save", 16, lambda f: f.median("memory/save") / _MIB, "{:.1f} MiB"
    ),
    _at_most(
        "Memory beside the arrays, load", 16, lambda f: f.median("memory/load") / _MIB, "{:.1f} MiB"
    ),
    _at_most(
        "Memory beside the arrays, mmap",
        1,
        lambda f: f.median("memory/lazy", "mxio, mapped") / _MIB,
        "{:.1f} MiB",
    ),
    Goal(
        "A spinning thread during a durable save keeps",
        80,
        True,
        partial(_share, "save/spin"),
        "{:.0f} %",
    ),
]


def judge(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Say of each goal what came out: a figure and whether it holds, or what is missing.

    Goals of questions that were not asked are left out.
    """
    judged = []
    for goal in GOALS:
        figures = Figures(document)
        entry: dict[str, Any] = {"goal": goal.what, "aim": goal.aim_in_words}
        try:
            figure = goal.of(figures)
        except NotAsked:
            continue
        except Missing as reason:
            entry |= {"figure": None, "said": "", "holds": None, "missing": str(reason)}
        else:
            entry |= {
                "figure": figure,
                "said": goal.say.format(figure),
                "holds": goal.holds(figure),
                "steady": not figures.unsteady,
            }
        judged.append(entry)
    return judged


if __name__ == "__main__":
    from benchmarks.report import read
    from benchmarks.terminal import print_goals

    document = read(sys.argv[1:], "goals")
    print_goals(judge(document), document["note"])
