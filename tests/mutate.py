# SPDX-License-Identifier: Apache-2.0
"""Damage to small files of every kind, millions of times: found, or an error, and nothing else.

``python tests/mutate.py native|foreign [--mutations N] [--processes N] [--seed S]``

Every bit of each file flipped, every length it can be cut to, every field of 4 and 8 bytes at
its bounds; then at random runs of bytes, sectors that are zero, old, moved or swapped, files
spliced from two, and bytes behind the end, until there are so many. What became of them is counted:

``found``     an error of mxio's, or `mxio.verify` lists it and what is loaded is what was saved
``SILENT``    other data without an error; of formats without checksums it is called ``other``
              (``other``, too: what two files were spliced to is one of them, whole)
``HARMLESS``  neither `load` nor `verify` minds, though it is no space that an append gave up
              (``unused``) or a field of a foreign format that says nothing (``other``)
``older``     a state that was committed before the last one: as if that had not been written
``WRONG``     an error that is none of mxio's own
``MEMORY``    more memory than the file and 64 MiB
``CRASH``, ``HANG``

The exit status is 1 if one of those in capitals is not 0.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import mxio
from mxio import nd

BAD = ("SILENT", "HARMLESS", "WRONG", "MEMORY", "CRASH", "HANG")
SECTOR = 512
BOUNDS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
SECONDS = 10  # that one file may take
ROOM = 64 << 20
CHECKED = ("mxio", "npz")  # formats that have checksums


# ---- files -----------------------------------------------------------------------------------


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "w": rng.random((4, 5), np.float32),
        "f": np.asfortranarray(rng.random((3, 4))),
        "b/ü": np.arange(9, dtype=np.int8),
        "empty": np.zeros((0, 3)),
        "one": np.float16(1.5),
    }


def native(states: dict[str, list[bytes]] | None = None) -> dict[str, bytes]:
    """Small files with every feature of the format; `states` gets those of earlier commits."""
    some = arrays()
    tied = np.arange(6.0)
    files = {
        "dict": mxio.dumps(some),
        "metadata": mxio.dumps({"x": tied}, metadata={"step": 3, "names": ["a", None, 1.5]}),
        "array": mxio.dumps(tied),
        "scalar": mxio.dumps(np.array(7)),
        "list": mxio.dumps([tied, tied[::2], np.zeros(0)]),
        "nothing": mxio.dumps({}),
        "plain": mxio.dumps([1, 2.5, "x", None, b"y", True, 10**30]),
        "tree": mxio.dumps({"a": [tied, {"b": (tied[1:], 7)}], 3: {"c": "text"}}),
        "tied": mxio.dumps({"a": tied, "b": tied, "c": tied[:3]}),
        "dates": mxio.dumps({"d": np.array(["2026-11-28"], "M8[D]"), "s": np.array(["ü", "x"])}),
        "words": mxio.dumps({"u": np.arange(3, dtype=np.uint64), "c": np.ones(2, np.complex64)}),
        "swapped": mxio.dumps({"x": tied.astype(">f8")}),
        "sparse": mxio.dumps(
            {"s": mxio.SparseArray("row_sparse", (5, 2), data=np.ones((2, 2)), indices=[1, 3])}
        ),
        "many": mxio.dumps({f"{n}": np.full(n % 4, n) for n in range(50)}),
        "large": mxio.dumps({"x": np.random.default_rng(2).random(20_000), "y": tied}),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.mxio"
        for name, n in (("appended", 1), ("generations", 5)):
            with mxio.Writer(path, "w", sync=False) as w:
                w["kept"] = tied
                for k in range(n):
                    w.append("rows", np.full((3 + k, 4), k))
                    w[f"new {k % 3}"] = np.arange(k)
                    w.metadata["k"] = k
                    w.commit()
                    if states is not None:
                        states.setdefault(name, []).append(path.read_bytes())
            files[name] = path.read_bytes()
    return files


def foreign() -> dict[str, bytes]:
    some = arrays()
    dense = {name: some[name] for name in ("w", "f", "b/ü")}
    sparse = {
        "s": nd.sparse.csr_matrix(np.eye(3, dtype="f4")),
        "r": nd.sparse.row_sparse_array(np.eye(4, 2, dtype="f4")),
        "d": nd.ones((2, 2)),
    }
    names = {"a": np.arange(5.0), "b": np.ones((2, 3), np.float32)}
    files = {
        "params V2": mxio.dumps(dense, format="mxnet"),
        "params V3": mxio.dumps(dense, format="mxnet", version=3),
        "params, a list": mxio.dumps(list(dense.values()), format="mxnet"),
        "params, sparse": mxio.dumps(sparse, format="mxnet"),
        "safetensors": mxio.dumps(some, format="safetensors", metadata={"k": "\n"}),
        "npz": mxio.dumps(names, format="npz"),
        "npz, deflated": mxio.dumps(names, format="npz", compress=True),
        "npy": mxio.dumps(names["b"], format="npy"),
    }
    golden = Path(__file__).parent / "golden"
    for path in sorted(golden.rglob("*.params"))[:12]:
        if path.stat().st_size < 20_000:
            files[path.name] = path.read_bytes()
    return files


# ---- damage ----------------------------------------------------------------------------------


def exhaustive(data: bytes) -> Iterator[bytes]:
    """Every bit, every length, every field at its bounds; of a large file around its index."""
    places: Iterable[int] = range(len(data))
    if len(data) > 20_000:
        places = [*range(6000), *range(6000, len(data), 97), *range(len(data) - 200, len(data))]
    places = list(places)
    for at in places:
        for bit in range(8):
            yield data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
    for at in places:
        yield data[:at]
    for width in 4, 8:
        for at in range(0, min(len(data), 6000) - width + 1, width):
            was = int.from_bytes(data[at : at + width], "little")
            for value in (*BOUNDS, was + 1, was - 1, was ^ 1 << (8 * width - 1)):
                new = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
                yield data[:at] + new + data[at + width :]


def at_random(data: bytes, other: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    what = rng.randrange(8)
    at = rng.randrange(len(data))
    n = min(rng.choice((1, 2, 4, 8, 64, SECTOR)), len(data) - at)
    if what == 0:
        found[at : at + n] = rng.randbytes(n)
    elif what == 1:
        found[at : at + n] = bytes(n)
    elif what == 2:  # moved from elsewhere
        source = rng.randrange(len(data))
        found[at : at + n] = data[source : source + n].ljust(n, b"\0")
    elif what == 3:  # of another file, as a stale or misdirected sector is
        at = at // SECTOR * SECTOR
        found[at : at + SECTOR] = other[at : at + SECTOR].ljust(SECTOR, b"\0")
    elif what == 4:
        two = rng.randrange(len(data))
        found[at : at + n], found[two : two + n] = data[two : two + n], data[at : at + n]
    elif what == 5:
        return data[:at] + other[at:]
    elif what == 6:
        return data + rng.randbytes(n)
    else:
        del found[at : at + n]
    for _ in range(rng.choice((0, 0, 1, 3))):
        if found:
            found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


# ---- what becomes of it ----------------------------------------------------------------------


def picture(value: Any) -> Any:
    """Return something that is equal for what was saved alike, and for nothing else."""
    if isinstance(value, mxio.SparseArray):
        return value.stype, value.shape, picture(value.parts)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.str, value.shape, np.asarray(value).tobytes()
    if isinstance(value, dict):
        return [(type(key), key, picture(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [picture(item) for item in value]
    return type(value), repr(value)


class Judge:
    def __init__(self, data: bytes, earlier: Iterable[bytes] = ()) -> None:
        self.data = data
        with mxio.open(data) as file:
            self.format = file.index.format
        self.wanted = whole(data)
        self.earlier = [whole(one) for one in earlier]
        self.others: list[Judge] = []  # whose files this one's may become by a splice

    def __call__(self, damaged: bytes) -> str:
        if damaged == self.data:
            return "same"
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            return self._of(damaged)
        except TimeoutError:
            return "HANG"
        except MemoryError:
            return "MEMORY"
        except (mxio.MXIOError, ImportError):
            return "found"
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return "WRONG"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _of(self, damaged: bytes) -> str:
        found = whole(damaged)
        with mxio.open(damaged) as file:
            if file.index.format != self.format:
                return "other"  # what is left is a file of another kind, and sound as that
        if self.format not in CHECKED:
            return "other"
        if found in self.earlier and found != self.wanted:
            return "older"
        if found != self.wanted:
            is_another = any(found == one.wanted or found in one.earlier for one in self.others)
            return "other" if is_another else "SILENT"
        if mxio.verify(damaged):
            return "found"
        if self.earlier:
            return "unused"
        return "HARMLESS" if self.format == "mxio" else "other"


def whole(data: bytes) -> Any:
    """Return a picture of all that is in a file."""
    with mxio.open(data) as file:
        return picture(mxio.loads(data)), picture(file.metadata)


def work(kind: str, share: int, n_shares: int, n: int, seed: int) -> Counter[str]:
    """Damage this share of the files' mutations and return what became of them."""

    def late(signum: int, frame: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    warnings.simplefilter("ignore")
    states: dict[str, list[bytes]] = {}
    files = native(states) if kind == "native" else foreign()
    counts: Counter[str] = Counter()
    judges = {name: Judge(data, states.get(name, ())) for name, data in files.items()}
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + max(map(len, files.values())) + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    rng = random.Random(f"{seed} {share}")
    sets = itertools.chain.from_iterable(
        ((judge, damaged) for damaged in exhaustive(judge.data)) for judge in judges.values()
    )
    for judge, damaged in itertools.islice(sets, share, n * n_shares, n_shares):
        tell(counts, judge(damaged), damaged)
    every = list(judges.values())
    for judge in every:
        judge.others = every
    while counts.total() - counts["same"] < n:
        judge, other = rng.choices(every, k=2)
        damaged = at_random(judge.data, other.data, rng)
        # Another file as it was is no damage.
        if not any(damaged == one.data for one in every):
            tell(counts, judge(damaged), damaged)
    return counts


def tell(counts: Counter[str], what: str, damaged: bytes) -> None:
    counts[what] += 1
    if what in BAD and counts[what] <= 3:
        path = Path(tempfile.gettempdir()) / f"mutation-{what}-{time.time_ns()}"
        path.write_bytes(damaged)
        print(f"{what}: {path}", file=sys.stderr)


def run(kind: str, n: int, processes: int, seed: int) -> Counter[str]:
    context = multiprocessing.get_context("fork")
    counts: Counter[str] = Counter()
    with context.Pool(processes, maxtasksperchild=1) as pool:
        shares = [
            pool.apply_async(work, (kind, k, processes, -(-n // processes), seed))
            for k in range(processes)
        ]
        for share in shares:
            counts += share.get()
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", choices=("native", "foreign"))
    parser.add_argument("--mutations", type=int, default=100_000, metavar="N")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    told = parser.parse_args()
    begin = time.monotonic()
    counts = run(told.kind, told.mutations, told.processes, told.seed)
    counts.pop("same", None)
    words = ", ".join(
        f"{counts[what]:,} {what}" for what in ("found", "older", "unused", "other", *BAD)
    )
    seconds = time.monotonic() - begin
    print(f"{told.kind}: {counts.total():,} mutations in {seconds:.0f} s: {words}")
    return 1 if any(counts[what] for what in BAD) else 0


if __name__ == "__main__":
    sys.exit(main())
