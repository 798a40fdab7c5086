# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks [QUESTION …] [--quick] [--out DIR] [--folder DIR] [--cold]``

Asks the questions, prints a table for each case as it is answered, and writes the
result to --out: results.json with every timing and the machine, results.md, results.png.
Files to be measured are made in a folder of their own inside --folder, which is removed.
"""

from __future__ import annotations

import argparse
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

from benchmarks import formats, load, partial, report, restore, save, small
from benchmarks.harness import SIZES, NotCold, Run, machine, measure
from benchmarks.peers import find

__all__ = ["QUESTIONS", "main"]

# A new question: a module, and a name here.
QUESTIONS: dict[str, ModuleType] = {
    "save": save,
    "load": load,
    "small": small,
    "partial": partial,
    "formats": formats,
    "restore": restore,
}


def question(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().splitlines()[0]


def _parser() -> argparse.ArgumentParser:
    asked = "\n".join(f"  {name:9}{question(module)}" for name, module in QUESTIONS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"How fast is mxio, beside its peers? Questions:\n\n{asked}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="default: all")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="smaller arrays; a minute in all")
    size.add_argument("--toy", action="store_true", help="tiny arrays, for the tests; no figures")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds to take the median of")
    parser.add_argument("--cold", action="store_true", help="read files from the disk")
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
    free = shutil.disk_usage(within).free
    if size.name == "full" and free < 8 << 30:
        parser.error(f"8 GiB are needed in {within}, {free / 2**30:.1f} are free; see --folder")
    peers, skipped = find()
    for name, reason in skipped.items():
        print(f"skipped: {name} ({reason})")
    started = datetime.now(timezone.utc)
    document: dict[str, Any] = {
        "schema": 1,
        "command": shlex.join(
            ["python", "-m", "benchmarks", *(sys.argv[1:] if words is None else words)]
        ),
        "started": started.isoformat(timespec="seconds"),
        "size": size.name,
        "rounds": rounds,
        "machine": machine(within),
        "skipped": skipped,
        "questions": [],
    }
    print(report.sentence(document))
    begin = time.perf_counter()
    try:
        with TemporaryDirectory(prefix="mxio-benchmarks-", dir=within) as folder:
            run = Run(size, Path(folder), peers, told.cold)
            for name in names:
                _answer(name, run, rounds, document)
    except NotCold as reason:
        print(f"--cold is not to be had: {reason}")
        return 1
    finally:
        for peer in peers:
            peer.close()
    document["took_seconds"] = time.perf_counter() - begin
    if told.out is not None:
        for path in report.write(document, told.out):
            print(path)
    return 0


def _answer(name: str, run: Run, rounds: int, document: dict[str, Any]) -> None:
    """Measure the cases of a question, and print and keep what came out."""
    cases: list[dict[str, Any]] = []
    entry = {"name": name, "question": question(QUESTIONS[name]), "cases": cases}
    document["questions"].append(entry)
    print(f"\n{entry['question']}", flush=True)
    for case in QUESTIONS[name].cases(run):
        cases.append(report.case_document(case, measure(case, rounds)))
        report.print_case(cases[-1])


if __name__ == "__main__":
    sys.exit(main())
