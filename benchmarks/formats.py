# SPDX-License-Identifier: Apache-2.0
"""How fast do people arrive, from MXNet and safetensors?

A model and 20,000 small arrays (fewer with --quick) are loaded from MXNet's .params and
from safetensors, beside the libraries whose formats these are, from files that mxio wrote
and they can read. MXNet 1.9.1 runs in a process of its own, which times itself: name its
interpreter in MXIO_MXNET_PYTHON. Converting to mxio's own format is compared with merely
reading the bytes and writing them elsewhere, 4 MiB at a time; both are durable at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mxio
from benchmarks.compare import same, sizer, to_read
from benchmarks.files import remover, sync, warm
from benchmarks.harness import Case, Contender, Run
from benchmarks.peers import Arrays
from benchmarks.workloads import llm, mib, nbytes_of, small

__all__ = ["cases"]

_PIECE_NBYTES = 4 << 20


def cases(run: Run) -> Iterator[Case]:
    model, many = llm(run.size), small(run.size)
    what, count = mib(nbytes_of(model)), f"{len(many):,} arrays of 1 KiB"
    for ability, kind in ("load_params", ".params"), ("load_safetensors", "safetensors"):
        for name, title, unit, arrays in (
            ("model", f"Load a model from {kind}, {what}", "GB/s", model),
            ("small", f"Load {count} from {kind}", "ms", many),
        ):
            with run.room() as room:
                yield to_read(
                    run,
                    room,
                    f"{ability}_{name}",
                    title,
                    unit,
                    arrays,
                    ability,
                    call=lambda peer, path, number: peer.load(path),
                    check=partial(_check, arrays),
                )
    with run.room() as room:
        yield to_read(
            run,
            room,
            "open_safetensors",
            f"Open safetensors, list {count}",
            "ms",
            many,
            "open_safetensors",
            call=lambda peer, path, number: peer.names(path),
            check=lambda peer, result, number: _same_names(result, many),
            calls=3,
        )
    for format, kind in ("mxnet", ".params"), ("safetensors", "safetensors"):
        with run.room() as room:
            title = f"Convert {kind} to .mxio, {what}, durable"
            yield _convert_case(room, format, title, model)


def _check(arrays: Arrays, peer: Any, result: Any, number: int) -> None:
    peer.check(result, arrays)


def _same_names(found: list[str], arrays: Arrays) -> None:
    if sorted(found) != sorted(arrays):
        raise AssertionError("other names were listed")


# ---- converting ------------------------------------------------------------------------------


def _convert_case(room: Path, format: str, title: str, arrays: Arrays) -> Case:
    made = room / "made"
    made.mkdir()
    source, target = room / f"arrays.{format}", made / "copy"
    mxio.save(source, arrays, format=format)
    peak = _peak(source, made / "peak")
    beside = "" if peak is None else f"; {mib(peak)} of memory beside the file"

    def prepare() -> None:
        remover(made)()
        warm(source)

    def contender(
        name: str, version: str, how: str, checksums: str, work: Any, check: Any
    ) -> Contender:
        return Contender(
            name,
            "mxio" if name == "mxio" else "limit",
            version,
            how,
            checksums,
            run=lambda call: work(source, target),
            check=lambda result, call: check(source, target, arrays),
            prepare=prepare,
            file_nbytes=sizer(target),
        )

    contenders = [
        contender("mxio", mxio.__version__, f"copy(){beside}", "CRC-32C", mxio.copy, _same_arrays),
        contender("limit, copy", "", "readinto, write, fsync", "", _plain_copy, _same_bytes),
    ]
    nbytes = source.stat().st_size
    state = "warm: in the page cache; the new file is synced to the disk with its folder"
    return Case(f"convert_{format}", title, "GB/s", nbytes, nbytes, len(arrays), state, contenders)


def _plain_copy(source: Path, target: Path) -> None:
    buffer = memoryview(bytearray(_PIECE_NBYTES))
    with open(source, "rb", buffering=0) as old, open(target, "wb", buffering=0) as new:
        while n := old.readinto(buffer):
            written = 0
            while written < n:
                written += new.write(buffer[written:n])
    sync(target)
    sync(target.parent)


def _same_arrays(source: Path, target: Path, arrays: Arrays) -> None:
    same(mxio.load(target), arrays)


def _same_bytes(source: Path, target: Path, arrays: Arrays) -> None:
    digests = set()
    for path in (source, target):
        with open(path, "rb") as file:
            digests.add(_digest(file))
    if len(digests) > 1:
        raise AssertionError("another file came out")


def _digest(file: Any) -> bytes:
    made = hashlib.blake2b()
    while piece := file.read(_PIECE_NBYTES):
        made.update(piece)
    return made.digest()


_MEASURE = """
import json, sys
import mxio

def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(field + ":"))

mxio.loads(mxio.dumps([1]))
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
mxio.copy(sys.argv[1], sys.argv[2])
print(json.dumps(status("VmHWM") - before))
"""


def _peak(source: Path, target: Path) -> int | None:
    """By how many bytes converting raises the memory of a process; None where nobody tells."""
    root = str(Path(mxio.__file__).parents[1])
    told = subprocess.run(
        [sys.executable, "-c", _MEASURE, source, target],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    return int(json.loads(told.stdout)) if told.returncode == 0 else None
