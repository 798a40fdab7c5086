# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks [QUESTION …] [--quick] [--out DIR] [--folder DIR]``

Asks the questions, prints a table for each case as it is answered and in the end which
goals hold, and writes the result to --out: results.json with every timing, the versions and
the machine, results.md, and a PNG for each question.
Files to be measured are made in a folder of their own inside --folder, which is removed.
"""

from __future__ import annotations

import argparse
import gc
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from types import ModuleType
from typing import Any

from benchmarks import (
    append,
    checkpoint,
    checksum,
    formats,
    load,
    memory,
    partial,
    report,
    restore,
    save,
    scale,
    small,
)
from benchmarks.files import CannotMeasure
from benchmarks.goals import judge
from benchmarks.harness import Run, measure
from benchmarks.machine import machine
from benchmarks.peers import find
from benchmarks.terminal import print_case, print_goals, watch
from benchmarks.workloads import SIZES

__all__ = ["QUESTIONS", "main"]

# A new question: a module, and a name here.
QUESTIONS: dict[str, ModuleType] = {
    "save": save,
    "load": load,
    "small": small,
    "partial": partial,
    "append": append,
    "checkpoint": checkpoint,
    "checksum": checksum,
    "memory": memory,
    "scale": scale,
    "formats": formats,
    "restore": restore,
}


# Of the disk, at full size: a matrix of 4 GiB in five formats.
_NEEDED = 22 << 30


def question(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().splitlines()[0]


def _parser() -> argparse.ArgumentParser:
    asked = "\n".join(f"  {name:10}{question(module)}" for name, module in QUESTIONS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"How fast is mxio, beside its peers? Questions:\n\n{asked}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="default: all")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="smaller arrays; a minute or two in all")
    size.add_argument("--toy", action="store_true", help="tiny arrays, for the tests; no figures")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds to take the median of")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for JSON, markdown and PNG")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where files are measured")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    parser = _parser()
    told = parser.parse_args(words)
    names = list(dict.fromkeys(told.questions)) or list(QUESTIONS)
    if unknown := [name for name in names if name not in QUESTIONS]:
        parser.error(f"no question {unknown[0]!r}; there are {', '.join(QUESTIONS)}")
    size = SIZES["quick" if told.quick else "toy" if told.toy else "full"]
    rounds = size.rounds if told.rounds is None else told.rounds
    if rounds < 1:
        parser.error("--rounds is 1 or more")
    within = told.folder or Path(gettempdir())
    try:  # now, rather than half an hour later
        free = shutil.disk_usage(within).free
        if told.out is not None:
            told.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    if size.name == "full" and free < _NEEDED:
        have = f"{free / 2**30:.1f} are free; see --folder"
        parser.error(f"{_NEEDED >> 30} GiB are needed in {within}, {have}")
    peers, skipped = find()
    for name, reason in skipped.items():
        print(f"skipped: {name} ({reason})")
    started = datetime.now(timezone.utc)
    document: dict[str, Any] = {
        "schema": 2,
        "command": shlex.join(
            ["python", "-m", "benchmarks", *(sys.argv[1:] if words is None else words)]
        ),
        "started": started.isoformat(timespec="seconds"),
        "size": size.name,
        "note": size.note,
        "rounds": rounds,
        "machine": machine(within),
        "skipped": skipped,
        "questions": [],
    }
    print(report.sentence(document))
    begin = time.perf_counter()
    # A library with many objects of its own, such as torch, would slow every collection,
    # and with it whoever makes many arrays.
    gc.collect()
    gc.freeze()
    try:
        with TemporaryDirectory(prefix="mxio-benchmarks-", dir=within) as folder:
            run = Run(size, Path(folder), peers)
            for name in names:
                _answer(name, run, rounds, document)
    finally:
        gc.unfreeze()
        for peer in peers:
            peer.close()
    document["took_seconds"] = time.perf_counter() - begin
    document["versions"] = report.versions(document)
    document["goals"] = judge(document)
    print_goals(document["goals"], size.note)
    if told.out is not None:
        for path in report.write(document, told.out):
            print(path)
    return 0


def _answer(name: str, run: Run, rounds: int, document: dict[str, Any]) -> None:
    """Measure the cases of a question, and print and keep what came out."""
    cases: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    asked = question(QUESTIONS[name])
    entry: dict[str, Any] = {"name": name, "question": asked, "cases": cases, "skipped": skipped}
    document["questions"].append(entry)
    begin = time.perf_counter()
    print(f"\n{asked}", flush=True)
    try:
        for case in QUESTIONS[name].cases(run):
            steps = len(case.contenders) * (1 + min(rounds, case.most_rounds or rounds))
            try:
                with watch(case.title, steps) as tell:
                    rows, left_out = measure(case, rounds, tell)
            except CannotMeasure as reason:
                skipped[case.name] = str(reason)
                print(f"skipped: {case.title} ({reason})")
                continue
            cases.append(report.case_document(case, rows, left_out))
            print_case(cases[-1])
    except CannotMeasure as reason:
        skipped[name] = str(reason)
        print(f"skipped: {asked} ({reason})")
    entry["took_seconds"] = time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
