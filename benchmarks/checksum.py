# SPDX-License-Identifier: Apache-2.0
"""What does checking cost?

How fast checksums are computed, of memory in the processor's cache and not; and what they
add: to a durable save, beside mxio's own writer of safetensors, which is the same engine
without checksums; to loads, beside `verify=False`; and how fast `verify` reads a file.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import mxio
from benchmarks import limits
from benchmarks.compare import kind_of, ready_to_read, sizer, to_read, to_save
from benchmarks.files import evict, sync
from benchmarks.harness import Case, Contender, Run
from benchmarks.peers import Arrays
from benchmarks.peers.ours import Mxio
from benchmarks.workloads import llm, mib, nbytes_of, small
from mxio import _core

__all__ = ["cases"]

_IN_CACHE = 256 << 10


def cases(run: Run) -> Iterator[Case]:
    for name, nbytes in ("cache", _IN_CACHE), ("memory", run.size.other_nbytes):
        yield _sums(name, nbytes)
    model, many = llm(run.size), small(run.size)
    what = mib(nbytes_of(model))
    with run.room() as room:
        both = Run(run.size, run.folder, [Mxio(), _Unsummed()])
        title = f"Save a model, {what}, durable"
        yield to_save(both, room, "save", title, "GB/s", model, durable=True)
    for name, words, unit, arrays in (
        ("load", f"a model, {what}", "GB/s", model),
        ("load_small", f"{len(many):,} arrays of 1 KiB", "ms", many),
    ):
        with run.room() as room:
            yield to_read(
                run,
                room,
                name,
                f"Load {words}, warm",
                unit,
                arrays,
                "load",
                call=lambda peer, path, call: peer.load(path),
                check=partial(lambda wanted, peer, got, call: peer.check(got, wanted), arrays),
                only=[peer.name for peer in run.peers if kind_of(peer) == "mxio"],
            )
    with run.room() as room:
        yield _verify_case(room, f"Verify a file, {what}, warm", model)


class _Unsummed(Mxio):
    name = "mxio, no checksums"
    kind = "safetensors"
    writes_crc = "no"
    how: ClassVar[dict[str, str]] = {"save_durable": "save(format='safetensors')"}

    def save_durably(self, path: Path, arrays: Any) -> None:
        mxio.save(path, arrays, format="safetensors")


def _sums(name: str, nbytes: int) -> Case:
    rng = np.random.default_rng(10)
    words = rng.integers(0, 2**63, nbytes // 8, np.uint64)
    data = words.view(np.uint8).data

    def contender(
        title: str, kind: str, how: str, work: Callable[[], Any], wanted: Any
    ) -> Contender:
        def check(result: Any, call: int) -> None:
            if result != wanted:
                raise AssertionError("another value")

        version = mxio.__version__ if kind == "mxio" else ""
        return Contender(title, kind, version, how, title, lambda call: work(), check)

    chosen = _core.crc32c_chosen()
    ours = f"CRC-32C, {chosen}"
    # Known from elsewhere: another way to compute the same.
    other = next(word for word, runs in _core.crc32c_variants() if runs and word != chosen)
    in_parts = _core.crc32c(data[1:], _core.crc32c(data[:1], 0, other), other)
    digest = hashlib.new("blake2b", data).digest()
    zip_crc = zlib.crc32(data[1:], zlib.crc32(data[:1]))
    total = int(words.sum())
    contenders = [
        contender("mxio", "mxio", ours, lambda: _core.crc32c(data, 0, None), in_parts),
        contender("zlib.crc32", "peer", "of npz", lambda: zlib.crc32(data), zip_crc),
        contender("BLAKE2b", "peer", "hashlib", lambda: hashlib.blake2b(data).digest(), digest),
        contender("limit, sum", "limit", "numpy.sum", lambda: int(words.sum()), total),
    ]
    where = "in the processor's cache" if name == "cache" else "from memory"
    title = f"Checksum of {mib(nbytes)} {where}"
    return Case(f"sum_{name}", title, "GB/s", nbytes, 0, 1, "no file", contenders, calls=3)


def _verify_case(room: Path, title: str, arrays: Arrays) -> Case:
    path = room / "arrays.mxio"
    mxio.save(path, arrays)
    sync(path)
    evict(path)

    def check(result: Any, call: int) -> None:
        if result:
            raise AssertionError(f"a sound file was called damaged: {result}")

    mine = Contender(
        name="mxio",
        kind="mxio",
        version=mxio.__version__,
        how="verify(path)",
        checksums="CRC-32C",
        run=lambda call: mxio.verify(path),
        check=check,
        prepare=ready_to_read(path, False),
        file_nbytes=sizer(path),
    )
    everyone = [mine, *limits.readers(room, arrays, cold=False)]
    nbytes, state = nbytes_of(arrays), "warm: in the page cache"
    return Case("verify", title, "GB/s", nbytes, nbytes, len(arrays), state, everyone)
