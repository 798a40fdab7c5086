# SPDX-License-Identifier: Apache-2.0
"""Plots of a result: a PNG for each question, and one of what matters most."""

from __future__ import annotations

import importlib
import textwrap
from pathlib import Path
from typing import Any

from benchmarks.harness import UNITS
from benchmarks.report import (
    RATIO,
    Document,
    figure,
    is_variant,
    ratio,
    reference,
    sentence,
    value,
)

__all__ = ["draw"]

_MXIO, _VARIANT, _PEER, _LIMIT = "#c2410c", "#f0a07a", "#a3aebb", "#ffffff"
_INK, _PALE, _RULE = "#1f2937", "#566071", "#d5dbe3"
_LINES = ("#3b6ea5", "#5b8c5a", "#8566a9", "#8a7a3d")

# Of each question the cases that a reader of the README wants to see.
_FIRST = {
    "save": ("cache", "disk"),
    "load": ("load", "cold"),
    "small": ("save_cache", "load", "one"),
    "partial": ("one",),
}


def draw(document: Document, folder: Path) -> list[Path]:
    """Draw what was measured; without matplotlib nothing, and say so."""
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ImportError:
        print("no plots: matplotlib is not installed")
        return []
    matplotlib.use("Agg")
    plt = importlib.import_module("matplotlib.pyplot")
    made = []
    for question in document["questions"]:
        if question["cases"]:
            made.append(folder / f"{question['name']}.png")
            _draw(plt, document, question["question"], _panels(question["cases"]), made[-1])
    first = [
        case
        for question in document["questions"]
        for case in question["cases"]
        if case["name"] in _FIRST.get(question["name"], ())
    ]
    if first:
        made.append(folder / "results.png")
        _draw(plt, document, "", _panels(first), made[-1])
    return made


def _panels(cases: list[Document]) -> list[list[Document]]:
    """One list for each panel: a case, or the cases of one series."""
    panels: dict[str, list[Document]] = {}
    for case in cases:
        panels.setdefault(case["series"] or f"/{case['name']}{case['title']}", []).append(case)
    return list(panels.values())


def _shown(case: Document) -> list[Document]:
    """The results of a case; of a limit tried with several numbers of threads, the best."""
    best: dict[str, Document] = {}
    for result in case["results"]:
        name = result["name"].split(" ×")[0]
        if name not in best or result["median"] < best[name]["median"]:
            best[name] = result
    return list(best.values())


def _height(panel: list[Document]) -> float:
    """In bars."""
    return 9.0 if panel[0]["series"] else max(len(_shown(case)) for case in panel)


def _draw(
    plt: Any, document: Document, question: str, panels: list[list[Document]], path: Path
) -> None:
    lines = [panels[i : i + 2] for i in range(0, len(panels), 2)]
    bars = [max(_height(panel) for panel in line) for line in lines]
    styles = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _PALE,
        "xtick.color": _PALE,
        "ytick.color": _INK,
    }
    # Inches: of a bar, of what stands around a panel, of the question, of the caption.
    top = 0.55 if question else 0.1
    inches = sum(0.2 * n + 0.75 for n in bars) + top + 0.75
    with plt.rc_context(styles):
        canvas = plt.figure(figsize=(9.6, inches))
        grid = canvas.add_gridspec(
            *(len(lines), 2),
            height_ratios=[0.2 * n + 0.75 for n in bars],
            left=0.01,
            right=0.985,
            top=1 - top / inches,
            bottom=0.75 / inches,
            wspace=0.04,
            hspace=0,
        )
        for i, line in enumerate(lines):
            for j, panel in enumerate(line):
                place = grid[i, j].get_position(canvas)
                _place(canvas, place, panel, inches, bars[i])
        if question:
            kwargs = {"fontsize": 13, "fontweight": "bold", "ha": "left", "va": "top"}
            canvas.text(0.012, 1 - 0.14 / inches, question, **kwargs)
        caption = (
            f"Medians of {document['rounds']} rounds, whiskers: quartiles. {RATIO} Hollow: what "
            f"the machine does without any format. {sentence(document)}"
        )
        caption = textwrap.fill(caption, 165)
        where = {"fontsize": 7.5, "color": _PALE, "ha": "left", "va": "bottom"}
        canvas.text(0.012, 0.08 / inches, caption, linespacing=1.4, **where)
        canvas.savefig(path, dpi=160, facecolor="white")
        plt.close(canvas)


def _place(canvas: Any, place: Any, panel: list[Document], inches: float, n_bars: float) -> None:
    """Put a panel into its cell: names to the left, two lines of title above."""
    names, head, foot = 0.16, 0.5 / inches, 0.08 / inches
    case = panel[0]
    if case["series"]:
        left, foot = place.x0 + 0.07, 0.5 / inches
        box = (left, place.y0 + foot, place.x1 - left - 0.09, place.height - head - foot)
        _draw_lines(panel, canvas.add_axes(box))
        title = f"{case['series']}, {case['unit']}"
        note = "less is better"
    else:
        left = place.x0 + names
        box = (left, place.y0 + foot, place.x1 - left, place.height - head - foot)
        _draw_bars(case, canvas.add_axes(box), n_bars)
        title = case["title"]
        note = "more is better" if UNITS[case["unit"]].more_is_better else "less is better"
        note = f"{case['unit']}, {note}"
        if UNITS[case["unit"]].is_time:
            right = {"fontsize": 7.5, "color": _PALE, "ha": "right"}
            canvas.text(place.x1, place.y1 - 0.42 / inches, "time ÷ mxio's", **right)
    # The title may be as wide as the cell.
    canvas.text(place.x0 + 0.004, place.y1 - 0.24 / inches, title, fontsize=9.5, fontweight="bold")
    below = {"fontsize": 7.5, "color": _PALE}
    canvas.text(place.x0 + 0.004, place.y1 - 0.42 / inches, note, **below)


def _short(name: str) -> str:
    return name.removeprefix("limit, ")


def _draw_bars(case: Document, ax: Any, n_bars: float) -> None:
    results = _shown(case)
    values = [value(case, result["median"]) for result in results]
    spreads = [sorted(value(case, one) for one in result["quartiles"]) for result in results]
    errors = [
        [max(0.0, middle - low) for middle, (low, _) in zip(values, spreads, strict=True)],
        [max(0.0, high - middle) for middle, (_, high) in zip(values, spreads, strict=True)],
    ]
    colours = {"mxio": _MXIO, "peer": _PEER, "limit": _LIMIT}
    whiskers = {"elinewidth": 0.9, "capsize": 2, "ecolor": _INK}
    ax.barh(
        range(len(results)),
        values,
        0.7,
        xerr=errors,
        color=[_VARIANT if is_variant(r) else colours[r["kind"]] for r in results],
        edgecolor=[_PALE if r["kind"] == "limit" else "none" for r in results],
        linewidth=0.8,
        error_kw=whiskers,
    )
    right = 1.6 * max([high for _, high in spreads] + [1e-12])
    for i, (result, middle, (_, high)) in enumerate(zip(results, values, spreads, strict=True)):
        label = figure(case, result["median"])
        ax.text(max(high, middle) + 0.015 * right, i, label, va="center", fontsize=8)
        if result["name"] != reference(case):
            kwargs = {"va": "center", "ha": "right", "fontsize": 8, "color": _PALE}
            ax.text(right, i, ratio(result), **kwargs)
    ax.set_yticks(range(len(results)), [_short(r["name"]) for r in results], fontsize=8)
    for label, result in zip(ax.get_yticklabels(), results, strict=True):
        label.set_color(_PALE if result["kind"] == "limit" else _INK)
        label.set_fontstyle("italic" if result["kind"] == "limit" else "normal")
        label.set_fontweight("bold" if result["name"] == "mxio" else "normal")
    ax.set_ylim(n_bars - 0.4, -0.6)
    ax.set_xlim(0, right)
    ax.set_xticks([])
    ax.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        ax.spines[side].set_visible(False)
    ax.spines["left"].set_bounds(len(results) - 0.5, -0.5)


def _draw_lines(cases: list[Document], ax: Any) -> None:
    """What a call costs over the number of arrays, a line for each contender."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for case in sorted(cases, key=lambda case: float(case["x"])):
        for result in case["results"]:
            points = lines.setdefault(result["name"], [])
            points.append((case["x"], value(case, result["median"])))
    others = iter(_LINES)
    ends: list[tuple[float, float, str, str]] = []
    for name, points in lines.items():
        colour = _MXIO if name == "mxio" else next(others)
        xs, ys = zip(*points, strict=True)
        ax.plot(xs, ys, marker="o", markersize=4, linewidth=1.6, color=colour, label=name)
        ends.append((xs[-1], ys[-1], name, colour))
    ax.set_xscale("log")
    ax.set_yscale("log")
    # Names at the ends of the lines, moved apart where they would lie on each other.
    apart, below = (ax.get_ylim()[1] / ax.get_ylim()[0]) ** 0.075, 0.0
    for x, y, name, colour in sorted(ends, key=lambda end: end[1]):
        below = max(y, below * apart)
        kwargs = {"textcoords": "offset points", "va": "center", "fontsize": 8, "color": colour}
        ax.annotate(name, (x, below), xytext=(6, 0), annotation_clip=False, **kwargs)
    counts = sorted({case["x"] for case in cases})
    ax.set_xticks(counts, [f"{n:,}" for n in counts], fontsize=8)
    ax.set_xlabel("arrays in the file", fontsize=8, color=_PALE)
    ax.minorticks_off()
    low, high = ax.get_ylim()
    ticks = [10.0**k * m for k in range(-6, 7) for m in (1, 3) if low <= 10.0**k * m <= high]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
    ax.grid(axis="y", color=_RULE, linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
