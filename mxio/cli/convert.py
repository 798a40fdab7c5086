# SPDX-License-Identifier: Apache-2.0
"""``mxio convert``, ``mxio compact``: the arrays of a file in another one, or in a shorter one."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Any

import numpy as np

import mxio
from mxio import _dtype
from mxio._copy import FORMAT_OF
from mxio._diff import is_floating, require_copy
from mxio._progress import Bar, plural
from mxio._structure import Plain, Structure, structure_of
from mxio.cli.show import select
from mxio.cli.terminal import (
    FORMATS,
    Stop,
    print_json,
    printable,
    size_of,
)
from mxio.errors import quote

__all__ = ["compact", "convert"]


def convert(args: argparse.Namespace) -> int:
    """Carry out ``mxio convert``."""
    format = args.to or FORMAT_OF.get(os.path.splitext(args.b)[1].lower())
    if format is None:
        raise Stop(f"the ending of {args.b} says no format: use --to {'|'.join(FORMATS)}")
    dtype = _floating(args.dtype) if args.dtype else None
    if os.path.exists(args.b) and os.path.samefile(args.a, args.b):
        raise Stop(f"{args.a} and {args.b} are one file: write to another")
    with mxio.open(args.a, encoding=args.encoding) as a:
        structure = structure_of(a.index)
        is_whole = not args.only and not args.rename
        if is_whole and structure.plain and format != "mxio":
            raise Stop(_no_room(structure.plain, format, args.a))
        names = select(a.index.names(), args.only, args.a)
        new = _renamed(names, args.rename)
        entries: list[mxio.Entry] = []
        copied: list[Structure] = []

        def check(b: mxio.Reader) -> None:
            with Bar(printable(f"compare {args.b}")) as progress:
                pairs = list(new.items())
                if "" in new.values() or (
                    is_whole and structure.kinds.get("") in ("list", "tuple")
                ):
                    # A format has its own names for what has none.
                    pairs = list(zip(names, b.index.names(), strict=False))
                elif format == "npy":
                    pairs = [(name, "") for name in names]
                try:
                    if len(b.index) != len(names):
                        raise mxio.FormatError(
                            f"the copy has {plural(len(b.index), 'array')}, not {len(names):,}"
                        )
                    require_copy(a, b, pairs, dtype=dtype, progress=progress)
                    copied.append(structure_of(b.index))
                    if is_whole and (copied[0].plain, copied[0].sparse) != (
                        structure.plain,
                        structure.sparse,
                    ):
                        raise mxio.FormatError("the copy has another structure")
                except mxio.FormatError as error:
                    raise Stop(f"{args.b} was not written: {error}") from error
            entries.extend(b.index.entry(number) for number in range(len(b)))

        with Bar(printable(f"write {args.b}")) as progress:
            _copy(
                args.a,
                args.b,
                names if args.only else None,
                rename=new if args.rename else None,
                dtype=args.dtype,
                format=format,
                progress=progress,
                encoding=args.encoding,
                check=check,
            )
    n_left = len(structure.plain) - len(copied[0].plain)
    n_split = len(structure.sparse) - len(copied[0].sparse)
    nbytes = sum(entry.nbytes for entry in entries if entry.alias_of is None)
    found: dict[str, Any] = {
        "a": args.a,
        "b": args.b,
        "format": format,
        "n_arrays": len(entries),
        "nbytes": nbytes,
        "n_plain_left_out": n_left,
        "n_sparse_split": n_split,
        "renamed": {old: name for old, name in new.items() if old != name},
    }
    if args.json:
        print_json(found)
        return 0
    print(
        f"{printable(args.b)}: {plural(len(entries), 'array')}, {size_of(nbytes)}, {format}; "
        "read back and compared"
    )
    if n_left:
        print(f"{plural(n_left, 'plain value')} of {printable(args.a)} left out")
    if n_split:
        print(f"{plural(n_split, 'sparse array')} written as parts, without the whole's shape")
    unread = [quote(entry.name) for entry in entries if _is_unread(entry)]
    if format == "mxnet" and unread:
        print(
            f"MXNet 1.x cannot read {printable(args.b)}, because of {', '.join(unread[:3])}"
            f"{', …' if unread[3:] else ''}: it has no arrays without dimensions and no int16, "
            "uint16, uint32, uint64",
            file=sys.stderr,
        )
    return 0


def compact(args: argparse.Namespace) -> int:
    """Carry out ``mxio compact``."""
    before = os.stat(args.file).st_size
    with Bar(printable(f"compact {args.file}")) as progress:
        mxio.compact(args.file, progress=progress)
    after = os.stat(args.file).st_size
    if args.json:
        print_json({"file": args.file, "nbytes_before": before, "nbytes": after})
    else:
        print(f"{printable(args.file)}: {size_of(after)}, before {size_of(before)}")
    return 0


def _is_unread(entry: mxio.Entry) -> bool:
    """Whether MXNet 1.x fails on a file with such an entry."""
    return not entry.shape or entry.dtype in ("int16", "uint16", "uint32", "uint64")


def _no_room(plain: list[Plain], format: str, path: str) -> str:
    some = ", ".join(quote(item.path) for item in plain[:3]) + (", …" if plain[3:] else "")
    return (
        f"{path} has plain values ({some}), which a file of format {format} cannot hold: "
        "--only '*' leaves them out"
    )


def _copy(*args: Any, **options: Any) -> None:
    try:
        mxio.copy(*args, **options)
    except TypeError as error:  # a dtype that the format cannot say
        raise Stop(str(error)) from error


def _floating(name: str) -> np.dtype[Any]:
    bits = _dtype.item_bits(name)
    found = _dtype.resolve(name, bits) if bits else None
    if isinstance(found, mxio.UnsupportedError):
        raise found
    if found is None or not is_floating(found):
        known = [row.name for row in _dtype.TABLE if row.name.startswith(("float", "bfloat"))]
        raise Stop(f"--dtype is one of {', '.join(known)}, not {name!r}")
    return found


def _renamed(names: list[str], rules: list[str]) -> dict[str, str]:
    """Return the new name of each array, or say why two would have one name."""
    new = {name: name for name in names}
    left = list(names)
    for rule in rules:
        old, equals, to = rule.partition("=")
        if not equals or ("*" in to and "*" not in old) or old.count("*") > 1 or to.count("*") > 1:
            raise Stop(f"--rename takes OLD=NEW with one * in each at most, not {rule!r}")
        head, star, tail = old.partition("*")
        pattern = re.compile(re.escape(head) + ("(.*)" if star else "()") + re.escape(tail), re.S)
        matched = {name: match for name in left if (match := pattern.fullmatch(name))}
        if not matched:
            raise Stop(f"--rename {rule!r} matches no array")
        new.update((name, to.replace("*", match[1])) for name, match in matched.items())
        left = [name for name in left if name not in matched]
    taken: dict[str, str] = {}
    for name, renamed in new.items():
        if renamed in taken:
            raise Stop(f"{taken[renamed]!r} and {name!r} would both be named {renamed!r}")
        taken[renamed] = name
    return new
