# SPDX-License-Identifier: Apache-2.0
"""What the commands have in common: how they print, and how they stop.

Names and metadata come from files, which an enemy may have written: nothing of theirs
reaches a terminal but printable characters. In a pipe a table is never cut. rich makes it
prettier on a terminal where it is installed; nothing needs it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mxio._progress import human, plural
from mxio.errors import printable

__all__ = [
    "FORMATS",
    "Column",
    "Stop",
    "bars",
    "columns_of_terminal",
    "jsonable",
    "number",
    "print_json",
    "print_table",
    "printable",
    "sentence",
    "shape_of",
    "shown",
    "size_of",
]

FORMATS = ("mxio", "mxnet", "safetensors", "npz", "npy")  # that can be written

_STYLED_ROWS = 500  # rich takes milliseconds for a row
_NARROWEST = 12  # of a column that gives way
_NUMERIC_WIDTH = 10


class Stop(Exception):
    """A command ends early, with a sentence and an exit status."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def sentence(error: BaseException) -> str:
    """Return what an exception says, an OSError with its file."""
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return where + error.strerror
    return str(error) or type(error).__name__


# ---- words -----------------------------------------------------------------------------------


def shown(name: str) -> str:
    """Return a name from a file: as it is where it cannot be mistaken, else quoted."""
    plain = name.isprintable() and name and "\\" not in name and name == name.strip()
    return name if plain and not name.startswith(("'", '"')) else repr(name)


def size_of(nbytes: int) -> str:
    """Return a size, exact and for people: ``2,048 bytes (2.0 KiB)``."""
    return plural(nbytes, "byte") + (f" ({human(nbytes)})" if nbytes >= 1024 else "")


def columns_of_terminal() -> int | None:
    """Return the width of the terminal that stdout is, None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def number(value: float, digits: int = 4) -> str:
    """Return a number in few characters; an int that is short as it is."""
    if isinstance(value, int):
        text = f"{value:,}"
        return text if len(text) <= _NUMERIC_WIDTH else f"{value:.{digits}g}"
    return f"{value:.{digits}g}"


def shape_of(shape: Iterable[int]) -> str:
    """Return a shape as Python writes it, but without the comma of one axis."""
    return f"({', '.join(map(str, shape))})"


def _encodable(text: str) -> str:
    """Return a text with what stdout cannot encode escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _encodes(text: str) -> bool:
    return _encodable(text) == text


def bars(counts: Sequence[int]) -> str:
    """Return a histogram in one line, a character for each count; 0 is blank."""
    levels = "▁▂▃▄▅▆▇█"
    if not _encodes(levels):
        levels = "._-:=+*#"
    most = max(counts, default=0)
    return "".join(
        levels[math.ceil(count * len(levels) / most) - 1] if count else " " for count in counts
    )


# ---- JSON ------------------------------------------------------------------------------------


def jsonable(value: Any) -> Any:
    """Return a value for JSON, which knows no NaN and no infinity: they become strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def print_json(value: Any) -> None:
    """Print one document on one line, in ASCII."""
    print(json.dumps(value, allow_nan=False))


# ---- tables ----------------------------------------------------------------------------------


class Column(NamedTuple):
    """A column of a table: its title, to which side, and whether a terminal may shorten it."""

    title: str
    right: bool = False
    gives_way: bool = False


def _width_of(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def _pad(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - _width_of(text))
    return blanks + text if right else text + blanks


def _shorten(text: str, width: int, mark: str) -> str:
    """Leave out the middle: names differ at their ends."""
    if _width_of(text) <= width:
        return text
    head = (width - len(mark)) // 2
    start, end = text[:head], text[len(text) - (width - len(mark) - head) :]
    while _width_of(start) + _width_of(end) + len(mark) > width:
        start, end = (start[:-1], end) if len(start) > len(end) else (start, end[1:])
    return f"{start}{mark}{end}"


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns, on a terminal no wider than it is.

    Where even that is too narrow, each row becomes a line and its cells lines below it.
    """
    cells: list[Sequence[str]] = [
        row if "".join(row).isascii() else [_encodable(text) for text in row] for row in rows
    ]
    titles = [column.title for column in columns]
    widths = [max(map(_width_of, column)) for column in zip(titles, *cells, strict=True)]
    terminal = columns_of_terminal()
    if terminal is not None:
        room = terminal - 2 * (len(columns) - 1)
        for number, column in enumerate(columns):
            if column.gives_way and sum(widths) > room:
                most = widths[number] - (sum(widths) - room)
                widths[number] = max(most, min(widths[number], _NARROWEST))
        if sum(widths) > room:
            _print_records(titles, cells)
            return
        mark = "…" if _encodes("…") else "..."
        cells = [
            [_shorten(text, width, mark) for text, width in zip(row, widths, strict=True)]
            for row in cells
        ]
        if len(cells) <= _STYLED_ROWS and _print_styled(columns, cells):
            return
    # A hundred thousand rows are printed in one piece and, being ASCII, by one call each.
    layout = "  ".join(
        f"{{:{'>' if column.right else '<'}{width}}}"
        for column, width in zip(columns, widths, strict=True)
    )
    lines = [
        layout.format(*row)
        if "".join(row).isascii()
        else "  ".join(
            _pad(text, width, column.right)
            for text, width, column in zip(row, widths, columns, strict=True)
        )
        for row in [titles, *cells]
    ]
    print("\n".join(map(str.rstrip, lines)))


def _print_records(titles: Sequence[str], cells: Iterable[Sequence[str]]) -> None:
    width = max(map(len, titles[1:]), default=0)
    for row in cells:
        print(row[0])
        for title, text in zip(titles[1:], row[1:], strict=True):
            if text.strip():
                print(f"  {title:<{width}}  {text}")


def _print_styled(columns: Sequence[Column], cells: Iterable[Sequence[str]]) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") in (None, "dumb"):
        return False
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    for row in cells:
        table.add_row(*map(Text, row))
    Console(width=columns_of_terminal(), highlight=False, emoji=False, markup=False).print(table)
    return True
