# SPDX-License-Identifier: Apache-2.0
"""``mxio verify`` and ``mxio diff``: the two whose exit status is an answer."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

import mxio
from mxio._diff import ArrayChange, Diff, PlainChange, compare
from mxio._index import Index
from mxio._progress import Bar, plural
from mxio.cli.show import checksums_of
from mxio.cli.terminal import (
    Column,
    jsonable,
    number,
    print_json,
    print_table,
    printable,
    sentence,
    shape_of,
    shown,
    size_of,
)

__all__ = ["diff", "verify"]


# ---- mxio verify -----------------------------------------------------------------------------


def verify(args: argparse.Namespace) -> int:
    """Carry out ``mxio verify``."""
    status = 0
    files = []
    for path in args.files:
        found = _verify(path, args.encoding)
        status = max(status, {"damaged": 1, "error": 2}.get(found["state"], 0))
        files.append(found)
        if not args.json:
            _print_verified(found)
        if found["state"] == "error":
            print(f"mxio: {printable(found['error'])}", file=sys.stderr)
    if args.json:
        print_json({"files": files})
    return status


def _verify(path: str, encoding: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"file": path, "state": "error", "format": None}
    try:
        with Bar(printable(f"verify {path}")) as progress:
            damages = mxio.verify(path, progress=progress, encoding=encoding)
        found["damages"] = [damage._asdict() for damage in damages]
        found["state"] = "damaged" if damages else "sound"
        found.update(_what_is_checked(path, encoding))
        if not damages and found["checksums"] is None:
            found["state"] = "structure only"
    except (mxio.MXIOError, OSError) as error:
        found["error"] = sentence(error)
    return found


def _what_is_checked(path: str, encoding: str | None) -> dict[str, Any]:
    try:
        with mxio.open(path, encoding=encoding) as reader:
            index = reader.index
            entries = map(index.entry, range(len(index)))
            nbytes = sum(entry.nbytes for entry in entries if entry.alias_of is None)
            return {
                "format": index.format,
                "checksums": checksums_of(index.format),
                "n_arrays": len(index),
                "nbytes": nbytes,
            }
    except mxio.MXIOError:  # its head or index is what is damaged
        return {"format": None, "checksums": None, "n_arrays": None, "nbytes": None}


def _print_verified(found: dict[str, Any]) -> None:
    name = printable(found["file"])
    if found["state"] == "damaged":
        print(f"{name}: damaged in {plural(len(found['damages']), 'place')}")
        for damage in found["damages"]:
            print(f"  {printable(damage['what'])}")
    elif found["state"] == "sound":
        print(
            f"{name}: sound, {plural(found['n_arrays'], 'array')}, {size_of(found['nbytes'])}, "
            f"{found['checksums']}"
        )
    elif found["state"] == "structure only":
        print(
            f"{name}: structure only: {found['format']} has no checksums; "
            f"{plural(found['n_arrays'], 'array')}, {size_of(found['nbytes'])}"
        )


# ---- mxio diff -------------------------------------------------------------------------------


def diff(args: argparse.Namespace) -> int:
    """Carry out ``mxio diff``."""
    with (
        mxio.open(args.a, encoding=args.encoding) as a,
        mxio.open(args.b, encoding=args.encoding) as b,
    ):
        with Bar(printable(f"diff {args.a} {args.b}")) as progress:
            found = compare(a, b, rtol=args.rtol, atol=args.atol, progress=progress)
        is_same = found.is_strictly_same if args.strict else found.is_same
        if args.json:
            print_json(_diff_as_json(found, args, is_same))
        else:
            _print_diff(found, a.index, b.index, is_same)
    return 0 if is_same else 1


def _diff_as_json(found: Diff, args: argparse.Namespace, is_same: bool) -> dict[str, Any]:
    return {
        "a": args.a,
        "b": args.b,
        "same": is_same,
        "n_equal": found.n_equal,
        "removed": found.removed,
        "added": found.added,
        "changed": [
            {
                "name": change.name,
                "dtype": change.dtypes,
                "shape": change.shapes,
                "size": change.size,
                "n_changed": change.n_changed,
                "max_abs": jsonable(change.max_abs),
                "max_rel": jsonable(change.max_rel),
                "n_nan": change.n_nan,
            }
            for change in found.changed
        ],
        "plain": [change._asdict() for change in found.plain],
        "structure": [change._asdict() for change in found.structure],
        "metadata": [change._asdict() for change in found.metadata],
    }


def _print_diff(found: Diff, a: Index, b: Index, is_same: bool) -> None:
    columns = (
        Column("name", gives_way=True),
        Column("difference", gives_way=True),
        Column("changed", right=True),
        Column("max abs", right=True),
        Column("max rel", right=True),
        Column("NaN", right=True),
    )
    rows = [
        *(
            (shown(name), f"removed, {_described(a, name)}", "", "", "", "")
            for name in found.removed
        ),
        *((shown(name), f"added, {_described(b, name)}", "", "", "", "") for name in found.added),
        *map(_row, found.changed),
    ]
    if rows:
        print_table(columns, rows)
    for change in found.plain:
        print(f"value {shown(change.path)}: {_from_to(change)}")
    for change in found.structure:
        where = f"structure {shown(change.path)}" if change.path else "structure"
        print(f"{where}: {' -> '.join(kind or 'none' for kind in change.values)}")
    for change in found.metadata:
        print(f"metadata {shown(change.path)}: {_from_to(change)}")
    n_same = sum(change.is_same for change in found.changed)
    n_close = sum(change.is_same and bool(change.max_abs) for change in found.changed)
    counts = (
        (len(found.removed), "removed"),
        (len(found.added), "added"),
        (len(found.changed) - n_same, "changed"),
        (n_close, "within the tolerance"),
        (n_same - n_close, "of equal values in other bits"),
        (found.n_equal, "equal bit for bit"),
    )
    told = ", ".join(f"{n:,} {word}" for n, word in counts if n) or "no arrays in either"
    values = f"; {plural(len(found.plain), 'plain value')} changed" if found.plain else ""
    print(f"{'same' if is_same else 'different'}: {told}{values}")


def _described(index: Index, name: str) -> str:
    entry = index[name]
    return f"{printable(entry.dtype)} {shape_of(entry.shape)}"


def _row(change: ArrayChange) -> tuple[str, ...]:
    (dtype, other_dtype), (shape, other_shape) = change.dtypes, change.shapes
    told = []
    if dtype != other_dtype:
        told.append(printable(f"{dtype} -> {other_dtype}"))
    if shape != other_shape:
        told.append(f"{shape_of(shape)} -> {shape_of(other_shape)}")
    if not told:
        told.append("values" if change.n_changed else "close" if change.max_abs else "bits only")
    n_changed, largest = "", "" if change.max_abs is None else number(change.max_abs)
    if change.n_changed is not None:
        n_changed = f"{change.n_changed:,} of {change.size:,}"
    if dtype.startswith(("datetime64[", "timedelta64[")) and change.max_abs is not None:
        unit = np.datetime_data(np.dtype(dtype))
        largest = f"{change.max_abs * unit[1]:,} {unit[0]}"
    n_nan = " -> ".join(f"{n:,}" for n in change.n_nan) if any(change.n_nan) else ""
    relative = "" if change.max_rel is None else number(change.max_rel)
    return shown(change.name), ", ".join(told), n_changed, largest, relative, n_nan


def _from_to(change: PlainChange) -> str:
    x, y = (None if value is None else printable(value) for value in change.values)
    if x is None:
        return f"added, {y}"
    return f"removed, {x}" if y is None else f"{x} -> {y}"
