# SPDX-License-Identifier: Apache-2.0
"""What came out of a run: one JSON document, and what is made of it.

The document holds every single value, the machine and the versions; the tables in the
terminal, the markdown and the plots are made from it alone, so that an old result can be
drawn again: ``python -m benchmarks.report results.json`` writes them beside it.

A ratio is a contender's median time divided by mxio's: above 1 mxio is faster, below 1
the other is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.harness import UNITS, Case, Measured

__all__ = [
    "RATIO",
    "Document",
    "case_document",
    "digits",
    "figure",
    "held",
    "is_variant",
    "markdown",
    "ratio",
    "reference",
    "sentence",
    "value",
    "versions",
    "write",
]

Document: TypeAlias = "dict[str, Any]"

RATIO = "×: time divided by mxio's; below 1 the other is faster."


def case_document(case: Case, rows: list[Measured], left_out: dict[str, str]) -> Document:
    """Return a case as it stands in the document."""
    first = next((row for row in rows if row.contender.kind == "mxio"), None)
    timed = UNITS[case.unit].is_time
    return {
        "name": case.name,
        "title": case.title,
        "unit": case.unit,
        "nbytes": case.nbytes,
        "arrays": case.n_arrays,
        "files": case.state,
        "calls": case.calls,
        "series": case.series,
        "x": case.x,
        "left_out": left_out,
        "results": [
            {
                "name": row.contender.name,
                "kind": row.contender.kind,
                "version": row.contender.version,
                "how": row.contender.how,
                "checksums": row.contender.checksums,
                "file_nbytes": row.file_nbytes,
                "values": row.values,
                "median": row.median,
                "quartiles": list(row.quartiles),
                "ratio": row.median / first.median if first and timed else None,
                "steady": row.steady,
            }
            for row in rows
        ],
    }


def reference(case: Document) -> str:
    """The result that has the ratio 1: mxio, or its variant where there is only that."""
    return next((r["name"] for r in case["results"] if r["kind"] == "mxio"), "")


def is_variant(result: Document) -> bool:
    return result["kind"] == "mxio" and "," in result["name"]


# ---- figures ---------------------------------------------------------------------------------


def value(case: Document, median: float) -> float:
    """A value in the unit of its case."""
    return UNITS[case["unit"]].of(median, case["nbytes"], case["arrays"])


def digits(number: float) -> str:
    """Two digits that count, three from 10 on."""
    if number >= 100:
        return f"{number:,.0f}"
    if number >= 10:
        return f"{number:.1f}"
    return f"{number:.2f}" if number >= 0.1 else f"{number:.2g}"


def figure(case: Document, median: float) -> str:
    unit = case["unit"].replace(" an array", " each")
    return f"{digits(value(case, median))} {unit}"


def ratio(result: Document) -> str:
    made = result["ratio"]
    if made is None:
        return ""
    return f"{made:.0f}×" if made >= 10 else f"{made:.1f}×" if made >= 2 else f"{made:.2f}×"


def sentence(document: Document) -> str:
    """The machine and the way of measuring, in one sentence or two."""
    m = document["machine"]
    memory = m["memory_nbytes"]
    parts = [
        f"{m['cpu']}, {m['cores']} cores" + (" of a virtual machine" if m["virtual"] else ""),
        *([f"{memory / 2**30:.0f} GiB"] if memory else []),
        m["file_system"],
        f"{m['system']} {m['kernel'].split('-')[0]}",
        m["python"].replace("CPython", "Python"),
        f"NumPy {m['numpy']}",
    ]
    parts += [f"{n} {v}" for n, v in versions(document).items() if n not in ("mxio", "NumPy")]
    size = "" if document["size"] == "full" else f"Small sizes (--{document['size']}). "
    return f"{size}{', '.join(parts)}."


def all_cases(document: Document) -> list[Document]:
    return [case for question in document["questions"] for case in question["cases"]]


def versions(document: Document) -> dict[str, str]:
    """The libraries that were measured, without variants, and their versions."""
    found: dict[str, str] = {}
    for case in all_cases(document):
        for result in case["results"]:
            if "," not in result["name"] and result["version"]:
                found.setdefault(result["name"], result["version"])
    return found


# ---- markdown --------------------------------------------------------------------------------


def markdown(document: Document) -> str:
    """The figures as tables for a page: a row per case, a column per peer; and the goals."""
    known = versions(document)
    lines: list[str] = []
    for question in document["questions"]:
        cases = question["cases"]
        used = {_column(result): None for case in cases for result in case["results"]}
        names = [name for name in known if name in used]
        names += [name for name in used if name not in known and name != "limit"]
        names += [name for name in used if name == "limit"]
        heads = [f"{name} {known.get(name, '')}".strip() for name in names]
        lines += [f"**{question['question']}**", "", "| | " + " | ".join(heads) + " |"]
        lines.append("|---" + "|---:" * len(names) + "|")
        lines += [_line(case, names) for case in cases]
        lines += ["", *_variants(cases), ""]
    lines += [f"{RATIO} limit: the best of plain writes, reads, copies of the same bytes."]
    lines += [sentence(document), f"Made by `{document['command']}`.", ""]
    if document["goals"]:
        note = f" ({document['note']})" if document["note"] else ""
        lines += ["", f"| goal{note} | aim | measured | holds |", "|---|---:|---:|---|"]
        for goal in document["goals"]:
            cells = (goal["goal"], goal["aim"], goal["said"], held(goal))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def held(goal: Document) -> str:
    """Whether a goal holds, in a word or two."""
    if goal["holds"] is None:
        return f"not measured: {goal['missing']}"
    return ("yes" if goal["holds"] else "no") + ("" if goal["steady"] else ", unsteady")


def _column(result: Document) -> str:
    return str(result["name"].split(",")[0])


def _variants(cases: list[Document]) -> list[str]:
    """What the table has no column for."""
    lines = []
    for case in cases:
        said = [
            f"{result['name']} {figure(case, result['median'])}"
            for result in case["results"]
            if "," in result["name"] and result["name"] != reference(case)
        ]
        said += [f"{name} left out ({reason})" for name, reason in case["left_out"].items()]
        lines += [f"- {case['title']}: {'; '.join(said)}"] if said else []
    return lines


def _line(case: Document, names: list[str]) -> str:
    """A row of the table; a variant stands in where its library itself is not in the case."""
    results: Document = {}
    for result in case["results"]:
        column = _column(result)
        if column == "limit" and column in results:
            results[column] = min(results[column], result, key=lambda r: float(r["median"]))
        else:
            results.setdefault(column, result)
    best = max if UNITS[case["unit"]].more_is_better else min
    top = best(value(case, r["median"]) for r in results.values() if r["kind"] != "limit")
    cells = []
    for name in names:
        if name not in results:
            cells.append("")
            continue
        result = results[name]
        text = figure(case, result["median"])
        text = f"**{text}**" if value(case, result["median"]) == top else text
        if result["name"] != reference(case) and result["ratio"] is not None:
            text = f"{text} ({ratio(result)})"
        cells.append(text)
    return f"| {case['title']} | " + " | ".join(cells) + " |"


# ---- files -----------------------------------------------------------------------------------


def write(document: Document, folder: Path) -> list[Path]:
    """Write results.json, results.md and, with matplotlib, a PNG for each question."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "results.json"
    data.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return [data, *_render(document, folder)]


def _render(document: Document, folder: Path) -> list[Path]:
    from benchmarks import plot

    page = folder / "results.md"
    page.write_text(markdown(document), encoding="utf-8")
    return [page, *plot.draw(document, folder)]


def read(words: list[str], command: str) -> Document:
    """Return the document that a command line names, or end with what is wrong with it."""
    if len(words) != 1 or words[0].startswith("-"):
        sys.exit(f"usage: python -m benchmarks.{command} DIR/results.json")
    try:
        found: Document = json.loads(Path(words[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"{words[0]}: {error}")
    return found


if __name__ == "__main__":
    for made in _render(read(sys.argv[1:], "report"), Path(sys.argv[1]).parent):
        print(made)
