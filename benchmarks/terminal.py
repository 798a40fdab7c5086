# SPDX-License-Identifier: Apache-2.0
"""Tables and progress in the terminal: with rich where it is installed, plain without."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.report import Document, digits, figure, held, ratio, value

__all__ = ["print_case", "print_goals", "watch"]

_UNSTEADY = "~"
_HEADINGS = ("", "median", "quartiles", "time ÷ mxio's", "checksums")


def _rich(name: str) -> Any:
    try:
        return importlib.import_module(f"rich.{name}")
    except ImportError:
        return None


# ---- progress --------------------------------------------------------------------------------


@contextlib.contextmanager
def watch(title: str, steps: int) -> Iterator[Callable[[str], None]]:
    """Show how far a case is: the function given is told who comes next, so many times.

    Drawn only when it is told, outside the clock: a thread that draws would be measured.
    """
    progress = _rich("progress")
    if not sys.stdout.isatty():
        yield lambda name: None
    elif progress is None:
        done = 0

        def tell(name: str) -> None:
            nonlocal done
            done += 1
            print(f"\r{title}: {done} of {steps}, {name}\x1b[K", end="", flush=True)

        try:
            yield tell
        finally:
            print("\r\x1b[K", end="", flush=True)
    else:
        text, bar = progress.TextColumn, progress.BarColumn
        columns = (
            text("{task.description}", markup=False),
            bar(),
            text("{task.completed} of {task.total}, {task.fields[name]}", markup=False),
            progress.TimeElapsedColumn(),
        )
        with progress.Progress(*columns, auto_refresh=False, transient=True) as shown:
            task = shown.add_task(title, total=steps, name="")

            def advance(name: str) -> None:
                shown.update(task, advance=1, name=name, refresh=True)

            yield advance


# ---- tables ----------------------------------------------------------------------------------


def _print_table(
    title: str, headings: Sequence[str], rows: Sequence[tuple[str, ...]], right: Sequence[int]
) -> None:
    console, table = _rich("console"), _rich("table")
    if console is None or table is None:
        lines = [tuple(headings), *rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
        print(title)
        for line in lines:
            cells = (
                cell.rjust(width) if i in right else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            print("  ".join(cells).rstrip())
        return
    made = table.Table(title=title, title_justify="left")
    for i, heading in enumerate(headings):
        made.add_column(heading, justify="right" if i in right else "left")
    for row in rows:
        made.add_row(*row)
    console.Console(markup=False, highlight=False).print(made)


def print_case(case: Document) -> None:
    """Print one case as a table, and under it how each contender did it."""
    rows = []
    for result in case["results"]:
        low, high = sorted(value(case, one) for one in result["quartiles"])
        spread = f"{digits(low)} … {digits(high)}" + ("" if result["steady"] else _UNSTEADY)
        name = result["name"] if "," in result["name"] else f"{result['name']} {result['version']}"
        rows.append(
            (name, figure(case, result["median"]), spread, ratio(result), result["checksums"])
        )
    print()
    _print_table(f"{case['title']} ({case['files']})", _HEADINGS, rows, (1, 2, 3))
    for result in case["results"]:
        print(f"  {result['name']}: {result['how']}")
    if any(not result["steady"] for result in case["results"]):
        print(f"  {_UNSTEADY} unsteady: half of the rounds lie more than 30 % apart")
    for name, reason in case["left_out"].items():
        print(f"  left out: {name} ({reason})")


def print_goals(goals: list[Document], note: str) -> None:
    """Print which goals hold."""
    if not goals:
        return
    rows = [(goal["goal"], goal["aim"], goal["said"], held(goal)) for goal in goals]
    print()
    title = f"Goals ({note}: these figures decide nothing)" if note else "Goals"
    _print_table(title, ("", "aim", "measured", "holds"), rows, (1, 2))
