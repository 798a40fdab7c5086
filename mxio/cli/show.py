# SPDX-License-Identifier: Apache-2.0
"""``mxio ls`` and ``mxio info``: what is in a file, without reading the arrays."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import mxio
from mxio._structure import structure_of
from mxio.cli.terminal import (
    Column,
    Stop,
    print_json,
    print_table,
    printable,
    shape_of,
    shown,
    size_of,
)

__all__ = ["checksums_of", "info", "ls", "select"]

# Which MXNet writes the records of a version.
_PRODUCERS = {
    "V0": "MXNet 0.7 to 0.10",
    "V1": "MXNet 0.11",
    "V2": "MXNet 0.12 to 1.9",
    "V3": "MXNet 1.5 and later, numpy shapes",
}
_CHECKSUMS = {"mxio": "CRC-32C of every chunk", "npz": "CRC-32 of every member"}


def select(names: Sequence[str], patterns: Sequence[str], where: str) -> list[str]:
    """Return the names that one of the patterns matches, in their order; all without one."""
    if not patterns:
        return list(names)
    found: set[str] = set()
    for pattern in patterns:
        # A name may hold what is special in a pattern.
        matched = {pattern} & set(names) or set(fnmatch.filter(names, pattern))
        if not matched:
            raise Stop(f"no array in {where} matches {pattern!r}")
        found |= matched
    return [name for name in names if name in found]


def checksums_of(format: str) -> str | None:
    """Return what protects the contents of files of a format."""
    return _CHECKSUMS.get(format)


def ls(args: argparse.Namespace) -> int:
    """Carry out ``mxio ls``."""
    with mxio.open(args.file, encoding=args.encoding) as reader:
        index = reader.index
        every = [index.entry(number) for number in range(len(index))]
        total = sum(entry.nbytes for entry in every if entry.alias_of is None)
        wanted = set(select(index.names(), args.patterns, args.file))
        entries = [entry for entry in every if entry.name in wanted]
        format = index.format
    own = [entry for entry in entries if entry.alias_of is None]
    nbytes = sum(entry.nbytes for entry in own)
    if args.json:
        print_json(
            {
                "file": args.file,
                "format": format,
                "n_arrays": len(entries),
                "nbytes": nbytes,
                "arrays": [
                    {
                        "name": entry.name,
                        "dtype": entry.dtype,
                        "shape": entry.shape,
                        "nbytes": entry.nbytes,
                        "share": entry.nbytes / total if total else 0.0,
                        "order": entry.order,
                        "offset": entry.offset,
                        "alias_of": (
                            None if entry.alias_of is None else every[entry.alias_of].name
                        ),
                    }
                    for entry in entries
                ],
            }
        )
        return 0
    columns = (
        Column("name", gives_way=True),
        Column("dtype"),
        Column("shape"),
        Column("bytes", right=True),
        Column("share", right=True),
    )
    rows = [
        (
            shown(entry.name),
            printable(entry.dtype),
            shape_of(entry.shape),
            f"{entry.nbytes:,}",
            "alias" if entry.alias_of is not None else _percent(entry.nbytes, total),
        )
        for entry in entries
    ]
    if rows:
        print_table(columns, rows)
    of = f" of {len(every):,}" if len(entries) < len(every) else ""
    n_second = len(entries) - len(own)
    second = f", {n_second:,} of them a second name" if n_second else ""
    arrays = "array" if len(every) == 1 else "arrays"
    print(f"{len(entries):,}{of} {arrays}{second}, {size_of(nbytes)}")
    return 0


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.05:
        return "<0.1%"
    return ">99.9%" if 99.95 <= share < 100 else f"{share:.1f}%"


def info(args: argparse.Namespace) -> int:
    """Carry out ``mxio info``."""
    with mxio.open(args.file, encoding=args.encoding) as reader:
        index = reader.index
        entries = [index.entry(number) for number in range(len(index))]
        structure = structure_of(index)
        format, version, metadata = index.format, index.version, reader.metadata
        generation = index.handle.generation
    file_nbytes = _size_of(args.file)
    nbytes = sum(entry.nbytes for entry in entries if entry.alias_of is None)
    stored = sum(entry.stored_nbytes for entry in entries if entry.alias_of is None)
    producer = None
    if format == "mxnet":
        written = [_PRODUCERS[word] for word in version.split() if word in _PRODUCERS]
        producer = " and ".join(written) or None
    dtypes = Counter(entry.dtype for entry in entries)
    found: dict[str, Any] = {
        "file": args.file,
        "format": format,
        "version": version,
        "generation": generation,
        "producer": producer,
        "structure": structure.words,
        "n_arrays": len(entries),
        "dtypes": dict(dtypes),
        "file_nbytes": file_nbytes,
        "arrays_nbytes": nbytes,
        "stored_nbytes": stored,
        "overhead_nbytes": file_nbytes - stored,
        "checksums": checksums_of(format),
        "metadata": metadata,
    }
    if args.json:
        print_json(found)
        return 0
    lines = [
        ("format", f"{format} {version}".rstrip()),
        ("generation", f"{generation:,}" if generation > 1 else ""),
        ("producer", producer or ""),
        ("structure", structure.words),
        ("dtypes", ", ".join(f"{printable(name)} ({n:,})" for name, n in dtypes.most_common())),
        ("file", size_of(file_nbytes)),
        (
            "arrays",
            size_of(nbytes) + (f", stored in {size_of(stored)}" if stored != nbytes else ""),
        ),
        ("overhead", size_of(file_nbytes - stored)),
        ("checksums", checksums_of(format) or "none"),
        ("metadata", "" if metadata else "none"),
    ]
    for label, text in lines:
        if text or label == "metadata":
            print(f"{label:<10} {text}".rstrip())
    for key, value in metadata.items():
        text = printable(json.dumps(value, ensure_ascii=False))
        if len(text) > _LONG:  # such as a network's architecture
            text = f"{text[:_LONG]}… ({len(text):,} characters; --json has them all)"
        print(f"  {shown(key)}: {text}")
    return 0


# Of a metadata value, in characters, as far as it is shown to people.
_LONG = 400


def _size_of(path: str) -> int:
    """Return the bytes of a file, or of the files in a folder."""
    if not os.path.isdir(path):
        return os.stat(path).st_size
    return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
