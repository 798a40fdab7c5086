# SPDX-License-Identifier: Apache-2.0
"""``mxio stats``: what values the arrays of a file have, in numbers and as histograms."""

from __future__ import annotations

import argparse
import itertools
import math
import warnings
from typing import Any, NamedTuple

import numpy as np

import mxio
from mxio._progress import Bar
from mxio._stats import Stats
from mxio._stats import stats as stats_of
from mxio.cli.show import select
from mxio.cli.terminal import (
    Column,
    Stop,
    bars,
    columns_of_terminal,
    jsonable,
    number,
    print_json,
    print_table,
    printable,
    sentence,
    shape_of,
    shown,
)

__all__ = ["stats"]

_BINS = 64  # of a plot and in JSON; a table shows several of them as one
_BINS_SHOWN = 16
_BINS_NARROW = 8
_NARROW = 100  # columns of a terminal
_PLOTS_AT_MOST = 100
_PLOTTED = 1e300


class _Line(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]
    stats: Stats | None
    error: str | None  # why there are none


def stats(args: argparse.Namespace) -> int:
    """Carry out ``mxio stats``."""
    if args.plot:
        _figure_class()
    with (
        mxio.open(args.file, encoding=args.encoding) as reader,
        Bar(printable(f"stats {args.file}")) as progress,
    ):
        names = select(reader.index.names(), args.patterns, args.file)
        if args.plot and len(names) > _PLOTS_AT_MOST:
            raise Stop(
                f"a page has {_PLOTS_AT_MOST} histograms at most, not {len(names):,}: "
                "choose arrays with patterns"
            )
        lines = _lines(reader, names, progress)
    if args.plot:
        with warnings.catch_warnings():  # a font lacks a character, an axis has no width
            warnings.simplefilter("ignore")
            _plot(lines, args.plot, args.file)
    if args.json:
        print_json({"file": args.file, "arrays": [_as_json(line) for line in lines]})
        return 0
    columns = (
        Column("name", gives_way=True),
        Column("dtype"),
        *(Column(title, right=True) for title in ("min", "max", "mean", "std")),
        *(Column(title, right=True) for title in ("NaN", "inf", "zeros")),
        Column("histogram"),
    )
    terminal = columns_of_terminal()
    is_narrow = terminal is not None and terminal < _NARROW
    rows = [_row(line, _BINS_NARROW if is_narrow else _BINS_SHOWN) for line in lines]
    if terminal is not None:  # no wider than needed; in a pipe columns keep their places
        used = [any(cells) for cells in zip(*rows, strict=True)]
        columns = tuple(itertools.compress(columns, used))
        rows = [tuple(itertools.compress(row, used)) for row in rows]
    if rows:
        print_table(columns, rows)
    for line in lines:
        if line.error:
            print(printable(line.error))
    return 0


def _lines(reader: mxio.Reader, names: list[str], progress: Bar) -> list[_Line]:
    entries = [reader.index[name] for name in names]
    total, done = 2 * sum(entry.nbytes for entry in entries), 0

    def step(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        progress(done, total)

    lines = []
    for entry in entries:
        found, error = None, None
        try:
            found = stats_of(reader, entry.name, bins=_BINS, progress=step)
        except mxio.UnsupportedError as unsupported:
            error = sentence(unsupported)
        lines.append(_Line(entry.name, entry.dtype, entry.shape, found, error))
    return lines


def _as_json(line: _Line) -> dict[str, Any]:
    found: dict[str, Any] = {"name": line.name, "dtype": line.dtype, "shape": line.shape}
    if line.stats is None:
        return {**found, "error": line.error}
    return {**found, **{key: jsonable(value) for key, value in line.stats._asdict().items()}}


def _row(line: _Line, n_bins: int) -> tuple[str, ...]:
    head = shown(line.name), printable(line.dtype)
    if line.stats is None:
        return (*head, *[""] * 7, "cannot be read")
    s = line.stats
    values = [_value(value, line.dtype) for value in (s.min, s.max, s.mean, s.std)]
    counts = [f"{n:,}" if n else "" for n in (s.n_nan, s.n_inf, s.n_zero)]
    histogram = list(s.histogram)
    if len(histogram) == _BINS:
        each = _BINS // n_bins
        histogram = [sum(histogram[at : at + each]) for at in range(0, _BINS, each)]
    return (*head, *values, *counts, bars(histogram))


def _value(value: float | None, dtype: str) -> str:
    if value is None:
        return ""
    if dtype.startswith("datetime64["):
        return str(np.int64(value).view(dtype))
    if dtype.startswith("timedelta64["):
        step, unit = np.datetime_data(np.dtype(dtype))[::-1]
        return f"{int(value) * step:,} {unit}"
    return number(value, 3)


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise Stop("--plot needs matplotlib: pip install matplotlib") from None
    return Figure


def _plot(lines: list[_Line], path: str, source: str) -> None:
    """Draw a histogram of each array on one page."""
    n_columns = min(4, max(1, math.ceil(math.sqrt(len(lines)))))
    n_rows = max(1, math.ceil(len(lines) / n_columns))
    figure = _figure_class()(figsize=(4 * n_columns, 3 * n_rows), layout="constrained")
    figure.suptitle(printable(source), parse_math=False)
    for place, line in enumerate(lines, 1):
        axes = figure.add_subplot(n_rows, n_columns, place)
        title = f"{_middle(shown(line.name))}\n{line.dtype} {shape_of(line.shape)}"
        axes.set_title(title, fontsize="small", parse_math=False)
        axes.tick_params(labelsize="x-small")
        s = line.stats
        if s is None or s.min is None or s.max is None:
            axes.set_axis_off()
            axes.text(0.5, 0.5, "no finite numbers", ha="center", va="center")
            continue
        low, high = float(s.min), float(s.max)
        if max(-low, high) > _PLOTTED:  # matplotlib computes with sums of such
            axes.set_axis_off()
            axes.text(0.5, 0.5, "numbers too large to plot", ha="center", va="center")
            continue
        edges = np.linspace(low, high, len(s.histogram) + 1)
        axes.stairs(s.histogram, edges if low < high else [low - 0.5, low + 0.5], fill=True)
        axes.set_xlabel(_caption(s), fontsize="x-small")
    figure.savefig(path, dpi=100)


def _middle(name: str, length: int = 40) -> str:
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-(length // 2) :]}"


def _caption(s: Stats) -> str:
    told = (
        [] if s.mean is None or s.std is None else [f"mean {number(s.mean)}, std {number(s.std)}"]
    )
    told += [f"{n:,} {word}" for n, word in ((s.n_nan, "NaN"), (s.n_inf, "inf")) if n]
    return ", ".join(told)
