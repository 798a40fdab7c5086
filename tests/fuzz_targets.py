# SPDX-License-Identifier: Apache-2.0
"""What atheris runs: any bytes to the readers in Python, which may refuse them as documented.

`TARGETS` has the functions, which need no atheris: a crash that was found is a call of one.
As a script, which tests/fuzz.py starts: ``fuzz_targets.py TARGET, then libFuzzer's arguments``.
Only mxio's Python is instrumented; what is C has targets of its own (fuzz_scan.c).
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MOST_MEMORY = 512 << 20  # that one input may ask for: MemoryError is a finding


def loads(data: bytes) -> None:
    """A file of any kind: loaded, or refused; what was loaded, `verify` finds sound."""
    try:
        mxio.loads(data)
    except (mxio.FormatError, mxio.UnsupportedError):
        return
    assert mxio.verify(data) == []


def npz(data: bytes) -> None:
    """An npz or npy behind one byte, which says whether CRC-32s are made right again."""
    loads(repaired(data[1:]) if data[:1] == b"\1" else data[1:])


def repaired(data: bytes) -> bytes:
    """Return an npz with the CRC-32 of its members, and deflated ones' sizes, made right."""
    out = bytearray(data)

    def number(at: int, nbytes: int) -> int:
        return int.from_bytes(out[at : at + nbytes], "little")

    def put(at: int, value: int) -> None:
        if at + 4 <= len(out):
            out[at : at + 4] = value.to_bytes(4, "little")

    end = data.rfind(b"PK\5\6")
    at = number(end + 16, 4) if end >= 0 else len(data)
    for _ in range(16):
        if out[at : at + 4] != b"PK\1\2":
            break
        method, nbytes, local = number(at + 10, 2), number(at + 20, 4), number(at + 42, 4)
        begin = local + 30 + number(local + 26, 2) + number(local + 28, 2)
        member = bytes(out[begin : begin + nbytes])
        sized = number(local + 22, 4) not in (0, 0xFFFFFFFF)
        if method == 8:
            with contextlib.suppress(zlib.error):
                member = zlib.decompressobj(-15).decompress(member, 1 << 20)
            put(at + 24, len(member))
            if sized:
                put(local + 22, len(member))
        put(at + 16, zlib.crc32(member))
        if sized:
            put(local + 14, zlib.crc32(member))
        at += 46 + number(at + 28, 2) + number(at + 30, 2) + number(at + 32, 2)
    return bytes(out)


def tree(data: bytes) -> None:
    """Metadata behind an m; else a structure and, each behind a NUL, the names of arrays.

    Where there is no NUL the names are those that fit. Behind a 2, arrays called data have two
    dimensions, as those of row_sparse ones may. What is accepted is what the other direction
    writes of it.
    """
    if data[:1] == b"m":
        try:
            metadata = _tree.decode_metadata(data[1:])
        except (mxio.FormatError, mxio.UnsupportedError):
            return
        assert _tree.encode_metadata(metadata) == data[1:]
        return
    structure, *encoded = data[1:].split(b"\0")
    try:
        names = [name.decode() for name in encoded] or list(fitting(structure))
        "".join(names).encode()
    except UnicodeError:
        return  # the judge in C lets no such name through
    if len(set(names)) < len(names):
        return  # nor two of one name
    shape = (2, 2) if data[:1] == b"2" else (2,)
    arrays = [np.zeros(shape if name.endswith("data") else 2, "int8") for name in names]
    try:
        saved = _tree.unflatten(structure, names, arrays)
    except (mxio.FormatError, mxio.UnsupportedError):
        return
    again, _, written = _tree.flatten(saved, lambda obj: False)
    assert (again, written) == (names, structure)


def fitting(structure: bytes) -> list[str]:
    """Return the names that the arrays of a structure have, as far as it has a meaning."""
    names: list[str] = []

    def walk(node: Any, path: str, depth: int) -> None:
        prefix = f"{path}/" if depth else ""
        if node == "array":
            names.append(path)
        if type(node) is not dict or len(node) != 1 or depth > 200:
            return
        word, content = next(iter(node.items()))
        if word in PARTS:
            names.extend(prefix + part for part in PARTS[word])
        if word in ("list", "tuple"):
            for number, item in enumerate(content):
                walk(item, f"{prefix}{number}", depth + 1)
        if word == "dict":
            for key, item in content:
                plain = int(key["int"], 16) if type(key) is dict else key
                walk(item, f"{prefix}{plain}", depth + 1)

    with contextlib.suppress(KeyError, RecursionError, TypeError, ValueError):
        parsed = json.loads(structure)
        walk(parsed["tree"] if type(parsed) is dict else parsed, "", 0)
    return names


def states(data: bytes) -> None:
    """A pickle: read as a plain tree that can be saved, or refused."""
    try:
        read = mxio.load_states(data)
    except (mxio.FormatError, mxio.UnsupportedError):
        return
    # A ValueError: names that meet, or that no file can have, as a pickle's keys may be.
    with contextlib.suppress(ValueError):
        mxio.dumps(read)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "loads-npz": npz,
    "loads-mxnet": loads,
    "loads-safetensors": loads,
    "tree": tree,
    "states": states,
}


def limit_memory() -> None:
    """Let whatever takes much more than it has now be out of memory, not only out of RSS."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        now = int(statm.read_text().split()[0]) * resource.getpagesize()
        most = now + MOST_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    import atheris

    with atheris.instrument_imports(include=["mxio"], enable_loader_override=False):
        import mxio
        from mxio import _tree
        from mxio._sparse import PARTS
    warnings.simplefilter("ignore")
    target = TARGETS[sys.argv.pop(1)]
    limit_memory()
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
else:
    import mxio
    from mxio import _tree
    from mxio._sparse import PARTS
