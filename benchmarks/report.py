# SPDX-License-Identifier: Apache-2.0
"""What came out of a run: one JSON document, and its three renderings.

The document holds every single timing and the machine; tables in the terminal, the
markdown table and the plot are made from it alone, so that an old result can be drawn
again: ``python -m benchmarks.report results.json`` writes them beside it.

A ratio is the peer's median time divided by mxio's: above 1 mxio is faster, below 1
the peer is.
"""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.harness import Case, Measured

__all__ = ["case_document", "draw", "figure", "markdown", "print_case", "sentence", "write"]

Document: TypeAlias = "dict[str, Any]"

_REFERENCE = "mxio"
_RATIO = "×: the peer's time divided by mxio's; below 1 the peer is faster."
_UNSTEADY = "~"


def case_document(case: Case, rows: list[Measured]) -> Document:
    """Return a case as it stands in the document."""
    reference = next((row for row in rows if _is_mxio(row.contender.name)), None)
    return {
        "name": case.name,
        "title": case.title,
        "unit": case.unit,
        "nbytes": case.nbytes,
        "arrays": case.n_arrays,
        "files": case.state,
        "calls": case.calls,
        "results": [
            {
                "name": row.contender.name,
                "version": row.contender.version,
                "how": row.contender.how,
                "checksums": row.contender.checksums,
                "file_nbytes": row.file_nbytes,
                "seconds": row.seconds,
                "median": row.median,
                "quartiles": list(row.quartiles),
                "ratio": row.median / reference.median if reference else None,
                "steady": row.steady,
            }
            for row in rows
        ],
    }


def _is_mxio(name: str) -> bool:
    return name.split(",")[0] == _REFERENCE


def _reference(case: Document) -> str:
    """The result that has the ratio 1: mxio, or its variant where there is only that."""
    names = (result["name"] for result in case["results"])
    return next((name for name in names if _is_mxio(name)), "")


# ---- figures ---------------------------------------------------------------------------------


def _value(case: Document, seconds: float) -> float:
    return case["nbytes"] / seconds / 1e9 if case["unit"] == "GB/s" else seconds * 1e3


def _digits(value: float) -> str:
    """Two digits that count, three from 10 on."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def figure(case: Document, seconds: float) -> str:
    return f"{_digits(_value(case, seconds))} {case['unit']}"


def _ratio(result: Document) -> str:
    ratio = result["ratio"]
    if ratio is None:
        return ""
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×" if ratio >= 2 else f"{ratio:.2f}×"


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
    parts += [f"{n} {v}" for n, v in _versions(document).items() if n not in ("mxio", "NumPy")]
    size = "" if document["size"] == "full" else f"Small sizes (--{document['size']}). "
    return f"{size}{', '.join(parts)}."


# ---- the terminal ----------------------------------------------------------------------------

_HEADINGS = ("", "median", "quartiles", "time ÷ mxio's", "checksums")
_RIGHT = (1, 2, 3)


def _rows(case: Document) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for result in case["results"]:
        low, high = sorted(_value(case, seconds) for seconds in result["quartiles"])
        name = result["name"]
        rows.append(
            (
                name if "," in name else f"{name} {result['version']}",
                figure(case, result["median"]),
                f"{_digits(low)} … {_digits(high)}" + ("" if result["steady"] else _UNSTEADY),
                _ratio(result),
                result["checksums"],
            )
        )
    return rows


def _notes(case: Document) -> list[str]:
    notes = [f"{result['name']}: {result['how']}" for result in case["results"]]
    if any(not result["steady"] for result in case["results"]):
        notes.append(f"{_UNSTEADY} unsteady: half of the rounds lie more than 30 % apart")
    return notes


def print_case(case: Document) -> None:
    """Print one case as a table."""
    title = f"{case['title']} ({case['files']})"
    try:
        from_rich = importlib.import_module("rich.console"), importlib.import_module("rich.table")
    except ImportError:
        _print_plain(title, _rows(case))
    else:
        _print_rich(title, _rows(case), *from_rich)
    for note in _notes(case):
        print(f"  {note}")


def _print_rich(title: str, rows: list[tuple[str, ...]], console: Any, table: Any) -> None:
    made = table.Table(title=title, title_justify="left")
    for i, heading in enumerate(_HEADINGS):
        made.add_column(heading, justify="right" if i in _RIGHT else "left")
    for row in rows:
        made.add_row(*row)
    console.Console(markup=False, highlight=False).print(made)


def _print_plain(title: str, rows: list[tuple[str, ...]]) -> None:
    lines = [_HEADINGS, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADINGS))]
    print(title)
    for line in lines:
        cells = (
            cell.rjust(width) if i in _RIGHT else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(cells).rstrip())


# ---- markdown --------------------------------------------------------------------------------


def _all_cases(document: Document) -> list[Document]:
    return [case for question in document["questions"] for case in question["cases"]]


def _versions(document: Document) -> dict[str, str]:
    """The peers, without variants, and their versions."""
    found: dict[str, str] = {}
    for case in _all_cases(document):
        for result in case["results"]:
            if "," not in result["name"]:
                found.setdefault(result["name"], result["version"])
    return found


def markdown(document: Document) -> str:
    """The figures as one table for a page: a row per case, a column per peer."""
    versions = _versions(document)
    names = list(versions)
    lines = [
        "| | " + " | ".join(f"{name} {versions[name]}" for name in names) + " |",
        "|---" + "|---:" * len(names) + "|",
    ]
    variants: list[str] = []
    for case in _all_cases(document):
        # A variant stands for its peer where the peer itself is not in the case.
        results: Document = {}
        for result in case["results"]:
            base = result["name"].split(",")[0]
            if results.setdefault(base, result) is not result:
                what = f"{case['title']}, {result['name']}"
                variants.append(f"- {what}: {figure(case, result['median'])} ({_ratio(result)})")
        fastest = min(result["median"] for result in results.values())
        cells = []
        for name in names:
            if name not in results:
                cells.append("")
                continue
            result = results[name]
            text = figure(case, result["median"])
            text = f"**{text}**" if result["median"] == fastest else text
            cells.append(text if name == _REFERENCE else f"{text} ({_ratio(result)})")
        lines.append(f"| {case['title']} | " + " | ".join(cells) + " |")
    tail = ["", "Variants:", "", *variants] if variants else []
    command = f"`{document['command']}`"
    return "\n".join(
        [*lines, *tail, "", f"{_RATIO} {sentence(document)}", f"Made by {command}.", ""]
    )


# ---- the plot --------------------------------------------------------------------------------

_MXIO, _MXIO_VARIANT, _PEER = "#c2410c", "#f0a07a", "#a3aebb"
_INK, _PALE = "#1f2937", "#566071"


def draw(document: Document, path: Path) -> bool:
    """Draw the bars of all cases; False, saying so, if matplotlib is not installed."""
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ImportError:
        print("no plot: matplotlib is not installed")
        return False
    matplotlib.use("Agg")
    plt = importlib.import_module("matplotlib.pyplot")
    panels = _panels(document)
    heights = [max(len(case["results"]) for case in line) + 1.7 for line in panels]
    with plt.rc_context({"font.size": 9, "text.color": _INK, "axes.labelcolor": _INK}):
        canvas = plt.figure(figsize=(8.4, 0.225 * sum(heights) + 0.75), layout="constrained")
        canvas.get_layout_engine().set(w_pad=0.06, h_pad=0.03, hspace=0.02)
        grid = canvas.add_gridspec(len(panels), 2, height_ratios=heights)
        for i, line in enumerate(panels):
            n_bars = max(len(case["results"]) for case in line)
            for j, case in enumerate(line):
                place = grid[i, :] if len(line) == 1 else grid[i, j]
                _draw_case(case, canvas.add_subplot(place), n_bars, wide=len(line) == 1)
        caption = (
            f"Bars: medians of {document['rounds']} rounds; whiskers: quartiles. {_RATIO} "
            f"{sentence(document)}"
        )
        canvas.supxlabel(textwrap.fill(caption, 140), fontsize=8, color=_PALE, x=0.012, ha="left")
        canvas.savefig(path, dpi=200, facecolor="white")
        plt.close(canvas)
    return True


def _panels(document: Document) -> list[list[Document]]:
    """The cases in lines of one or two; every question begins a line."""
    lines = []
    for question in document["questions"]:
        cases = question["cases"]
        lines += [cases[i : i + 2] for i in range(0, len(cases), 2)]
    return lines


def _draw_case(case: Document, ax: Any, n_bars: int, *, wide: bool) -> None:
    results = case["results"]
    values = [_value(case, result["median"]) for result in results]
    spreads = [sorted(_value(case, s) for s in result["quartiles"]) for result in results]
    errors = [
        [max(0.0, value - low) for value, (low, _) in zip(values, spreads, strict=True)],
        [max(0.0, high - value) for value, (_, high) in zip(values, spreads, strict=True)],
    ]
    colours = [
        _MXIO if r["name"] == _REFERENCE else _MXIO_VARIANT if _is_mxio(r["name"]) else _PEER
        for r in results
    ]
    whiskers = {"elinewidth": 1, "capsize": 2, "ecolor": _INK}
    ax.barh(range(len(results)), values, 0.72, xerr=errors, color=colours, error_kw=whiskers)
    top = max(high for _, high in spreads)
    right = top * (1.3 if wide else 1.75)
    for i, (result, value, (_, high)) in enumerate(zip(results, values, spreads, strict=True)):
        label = figure(case, result["median"])
        ax.text(max(high, value) + 0.015 * right, i, label, va="center", fontsize=8.5)
        if result["name"] != _reference(case):
            ax.text(right, i, _ratio(result), va="center", ha="right", fontsize=8.5, color=_PALE)
    ax.set_yticks(range(len(results)), [r["name"] for r in results], fontsize=8.5)
    ax.set_ylim(n_bars - 0.4, -0.6)
    ax.set_xlim(0, right)
    ax.set_xticks([])
    ax.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        ax.spines[side].set_visible(False)
    ax.spines["left"].set_bounds(len(results) - 0.5, -0.5)
    better = "more is better" if case["unit"] == "GB/s" else "less is better"
    ax.set_title(case["title"], fontsize=9, fontweight="bold", loc="left", pad=13)
    small = {"transform": ax.transAxes, "fontsize": 7.5, "color": _PALE}
    ax.text(0, 1.015, f"{case['unit']}, {better}", **small)
    ax.text(1, 1.015, "time ÷ mxio's", ha="right", **small)


# ---- files -----------------------------------------------------------------------------------


def write(document: Document, folder: Path) -> list[Path]:
    """Write results.json, results.md and, with matplotlib, results.png."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "results.json"
    data.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return [data, *_render(document, folder)]


def _render(document: Document, folder: Path) -> list[Path]:
    page, plot = folder / "results.md", folder / "results.png"
    page.write_text(markdown(document), encoding="utf-8")
    return [page, plot] if draw(document, plot) else [page]


if __name__ == "__main__":
    source = Path(sys.argv[1])
    for made in _render(json.loads(source.read_text(encoding="utf-8")), source.parent):
        print(made)
