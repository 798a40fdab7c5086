# SPDX-License-Identifier: Apache-2.0
"""A fair run: what is moved, how it is timed, on what machine.

What makes it fair, for every case:

- the contenders take turns in one process (but for MXNet, whose own process times itself
  and is made ready in the same way), in an order that rotates and reverses, for
  at least seven rounds after a warm-up round that is not timed; figures are medians,
  their spread is the quartiles;
- all move the same arrays, and what they gave back was compared with them once, bit by
  bit, outside the clock;
- before each measurement, outside the clock: the last result is gone, garbage is
  collected, and memory is as in a process that has not loaded anything yet, on a machine
  that is awake: what malloc kept is given back to the system, and as much as all the
  arrays need has been written and freed, so that the host of a virtual machine backs it
  (else it takes idle memory away within seconds, and a load is up to ten times slower);
- every save makes a new file: the last one was deleted, and its folder synced, outside
  the clock;
- a durable save includes the sync of the file and of its folder, for everyone;
- a file to be read was written to the disk, dropped from the page cache and, unless the
  run is cold, read once; its state is checked before each call, where the system tells.

A case may grow contenders, a question cases; neither needs a change here.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from benchmarks.peers import Array, Arrays, Peer

__all__ = [
    "SIZES",
    "Case",
    "Contender",
    "Measured",
    "NotCold",
    "Run",
    "Size",
    "llm",
    "machine",
    "matrix",
    "measure",
    "mib",
    "nbytes_of",
    "per_call",
    "read_case",
    "remover",
    "same",
    "same_array",
    "save_case",
    "shuffled",
    "small",
    "sync",
    "warm",
]

# ---- workloads -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """How much is moved, and how often."""

    name: str
    rounds: int
    width: int  # of the model
    vocabulary: int
    layers: int
    n_small: int
    n_rows: int  # of the matrix
    n_picks: int  # of its rows


SIZES = {
    size.name: size
    for size in (
        Size("full", 11, 1024, 32_000, 8, 20_000, 131_072, 1_000),
        Size("quick", 7, 1024, 8_000, 1, 2_000, 16_384, 1_000),
        Size("toy", 2, 16, 100, 2, 30, 64, 10),
    )
}


def llm(size: Size) -> Arrays:
    """A language model: an embedding, layers of seven matrices and two vectors."""
    rng = np.random.default_rng(1)
    wide = 4 * size.width
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (size.vocabulary, size.width)}
    for layer in range(size.layers):
        for part in ("query", "key", "value", "out"):
            shapes[f"layers.{layer}.attention.{part}"] = (size.width, size.width)
        for part in ("gate", "up", "down"):
            shapes[f"layers.{layer}.mlp.{part}"] = (wide, size.width)
        for part in ("attention", "mlp"):
            shapes[f"layers.{layer}.{part}.norm"] = (size.width,)
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


def small(size: Size) -> Arrays:
    """Many arrays of 1 KiB."""
    rng = np.random.default_rng(2)
    return {
        f"block{i // 600}.layer{i // 60 % 10}.param{i % 60}.weight": rng.random((64, 4), np.float32)
        for i in range(size.n_small)
    }


def matrix(size: Size) -> Arrays:
    """One matrix with rows of 4 KiB."""
    rng = np.random.default_rng(3)
    columns = 1024 if size.width >= 1024 else size.width
    return {"matrix": rng.random((size.n_rows, columns), np.float32)}


def nbytes_of(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:.0f} MiB"


def shuffled(n: int) -> list[int]:
    """The numbers below n in an order that looks random and is always the same."""
    return [int(i) for i in np.random.default_rng(4).permutation(n)]


def per_call(numbers: Sequence[int], call: int, n: int) -> list[int]:
    """The n of the numbers that belong to a call: other ones each time."""
    return [numbers[(call * n + i) % len(numbers)] for i in range(n)]


# ---- cases -----------------------------------------------------------------------------------


def _nothing() -> None:
    pass


class NotCold(Exception):
    """A cold run was asked for, but this file stays in the page cache."""


@dataclass(frozen=True)
class Contender:
    """One row of a case: what is timed, and what comes before it outside the clock."""

    name: str
    version: str
    how: str
    checksums: str
    run: Callable[[int], Any]  # the number of the call
    check: Callable[[Any, int], None]  # raises if what call n gave is wrong
    prepare: Callable[[], None] = _nothing
    file_nbytes: Callable[[], int] = int
    # What the last call took, of one that runs and is timed in another process.
    seconds: Callable[[], float] | None = None


@dataclass(frozen=True)
class Case:
    """One comparison: contenders that do the same thing."""

    name: str
    title: str
    unit: str  # GB/s (more is better) or ms (less is better)
    nbytes: int  # moved by one call
    memory: int  # touched before each
    n_arrays: int
    state: str  # of the files, in words
    contenders: list[Contender]
    calls: int = 1  # in a row, as one measurement


@dataclass
class Measured:
    """What one contender did: seconds per call, round by round."""

    contender: Contender
    seconds: list[float] = field(default_factory=list)
    file_nbytes: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.seconds) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    @property
    def steady(self) -> bool:
        """Whether half of the rounds lie within 30 % of the median."""
        low, high = self.quartiles
        return high - low <= 0.3 * self.median


def measure(case: Case, rounds: int) -> list[Measured]:
    """Time a case."""
    rows = [Measured(contender) for contender in case.contenders]
    for row in rows:
        contender = row.contender
        contender.prepare()
        _touch(case.memory)
        contender.check(contender.run(0), 0)
        row.file_nbytes = contender.file_nbytes()
    for n in range(rounds):
        turn = n % len(rows)
        order = rows[turn:] + rows[:turn]
        for row in order if n % 2 == 0 else reversed(order):
            run = row.contender.run
            first = 1 + n * case.calls
            row.contender.prepare()
            gc.collect()
            _touch(case.memory)
            elsewhere = row.contender.seconds
            seconds = 0.0
            start = time.perf_counter()
            for call in range(first, first + case.calls):
                result = run(call)
                if elsewhere is not None:
                    seconds += elsewhere()
            if elsewhere is None:
                seconds = time.perf_counter() - start
            del result
            row.seconds.append(seconds / case.calls)
    return rows


def _touch(nbytes: int) -> None:
    """Leave the system with free memory that was touched, this process with none."""
    # Where glibc keeps freed memory, a second load is spared its page faults, or is not,
    # as chance has it.
    if (trim := _from_libc("malloc_trim")) is not None:
        trim(0)
    np.empty(nbytes, np.uint8).fill(1)


def _from_libc(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:
        return None


# ---- files -----------------------------------------------------------------------------------


@dataclass
class Run:
    """What the questions are asked with: sizes, peers, a folder for files."""

    size: Size
    folder: Path
    peers: list[Peer]
    cold: bool = False

    @contextlib.contextmanager
    def room(self) -> Iterator[Path]:
        """A folder that is gone afterwards."""
        room = Path(mkdtemp(dir=self.folder))
        try:
            yield room
        finally:
            shutil.rmtree(room)

    def able(self, ability: str) -> list[Peer]:
        return [peer for peer in self.peers if ability in peer.how]


def sync(path: Path) -> None:
    """Make a file or a folder durable, as thoroughly as mxio does."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fsync(fd)
    finally:
        os.close(fd)


def _cached(path: Path) -> float | None:
    """The share of a file in the page cache; None where nobody tells.

    By mincore(2): reading with RWF_NOWAIT would tell too, but starts to read ahead.
    """
    size = path.stat().st_size
    if (mincore := _from_libc("mincore")) is None:
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        pages = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
        memory = np.frombuffer(view, np.uint8)
        start = ctypes.c_void_p(memory.ctypes.data)
        failed = mincore(start, ctypes.c_size_t(size), ctypes.c_void_p(pages.ctypes.data))
        del memory  # or the mapping cannot be closed
    return None if failed else float((pages & 1).mean())


def _evict(path: Path) -> None:
    """Drop a file from the page cache, as far as the system lets us."""
    if hasattr(os, "posix_fadvise"):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def _read_once(path: Path) -> None:
    with open(path, "rb", buffering=0) as file:
        buffer = bytearray(1 << 20)
        while file.readinto(buffer):
            pass


def warm(path: Path) -> None:
    """Have all of a file in the page cache."""
    if _cached(path) not in (None, 1.0):
        _read_once(path)


def _cool(path: Path) -> None:
    _evict(path)
    if (share := _cached(path)) != 0.0:
        told = "nobody tells how much" if share is None else f"{share:.1%}"
        raise NotCold(
            f"{path.name} cannot be dropped from the page cache ({told} is there): some "
            f"file systems keep their pages, such as tmpfs; try another --folder"
        )


# ---- the two shapes of cases -----------------------------------------------------------------


def same(found: Arrays, wanted: Arrays) -> None:
    """Raise unless two dicts hold the same arrays, bit by bit."""
    if found.keys() != wanted.keys():
        raise AssertionError("other names came back")
    for name, array in wanted.items():
        same_array(found[name], array)


def same_array(found: Any, wanted: Array) -> None:
    got = np.asarray(found)
    if got.dtype != wanted.dtype or got.shape != wanted.shape or got.tobytes() != wanted.tobytes():
        raise AssertionError("another array came back")


def save_case(
    run: Run, room: Path, name: str, title: str, unit: str, arrays: Arrays, *, durable: bool
) -> Case:
    """A case in which everybody saves the same arrays to a new file."""
    contenders = []
    for peer in run.able("save"):
        path = room / f"{name}.{peer.kind}"
        contenders.append(
            Contender(
                name=peer.name,
                version=peer.version(),
                how=peer.how["save"],
                checksums=peer.writes_crc,
                run=_saver(peer, path, peer.adopt(arrays), durable),
                check=_save_checker(peer, path, arrays),
                prepare=remover(room),
                file_nbytes=_sizer(path),
            )
        )
    state = (
        "new file, synced to the disk with its folder"
        if durable
        else "new file in the page cache, not synced"
    )
    nbytes = nbytes_of(arrays)
    return Case(name, title, unit, nbytes, nbytes, len(arrays), state, contenders)


def _saver(peer: Peer, path: Path, adopted: Any, durable: bool) -> Callable[[int], None]:
    def save(call: int) -> None:
        peer.save(path, adopted)

    def save_and_sync(call: int) -> None:
        peer.save(path, adopted)
        sync(path)
        sync(path.parent)

    def save_durably(call: int) -> None:
        peer.save_durably(path, adopted)

    if not durable:
        return save
    return save_durably if peer.save_durably else save_and_sync


def _save_checker(peer: Peer, path: Path, arrays: Arrays) -> Callable[[Any, int], None]:
    return lambda result, call: same(peer.give_back(peer.load(path)), arrays)


def remover(room: Path) -> Callable[[], None]:
    """Return what empties a folder, durably."""

    def remove() -> None:
        for path in room.iterdir():
            path.unlink()
        sync(room)

    return remove


def _sizer(path: Path) -> Callable[[], int]:
    return lambda: path.stat().st_size


def read_case(
    run: Run,
    room: Path,
    name: str,
    title: str,
    unit: str,
    arrays: Arrays,
    ability: str,
    nbytes: int,
    call: Callable[[Peer, Path, int], Any],
    check: Callable[[Peer, Any, int], None],
    calls: int = 1,
) -> Case:
    """A case in which everybody reads from a file with the same arrays."""
    contenders = []
    written: dict[str, Path] = {}
    for peer in run.able(ability):
        path = written.get(peer.kind)
        if path is None:
            path = written[peer.kind] = room / f"arrays.{peer.kind}"
            if not path.exists():
                peer.save(path, peer.adopt(arrays))
                sync(path)
                _evict(path)
        contenders.append(
            Contender(
                name=peer.name,
                version=peer.version(),
                how=peer.how[ability],
                checksums=peer.reads_crc,
                run=_reader(call, peer, path),
                check=_read_checker(check, peer),
                prepare=_preparer(peer, path, run.cold, nbytes_of(arrays)),
                file_nbytes=_sizer(path),
                seconds=peer.seconds,
            )
        )
    state = "cold: not in the page cache" if run.cold else "warm: in the page cache"
    n_arrays = 1 if ability in ("one", "rows") else len(arrays)
    calls = 1 if run.cold else calls
    memory = nbytes_of(arrays)
    return Case(name, title, unit, nbytes, memory, n_arrays, state, contenders, calls)


def _reader(call: Callable[[Peer, Path, int], Any], peer: Peer, path: Path) -> Callable[[int], Any]:
    return lambda number: call(peer, path, number)


def _read_checker(
    check: Callable[[Peer, Any, int], None], peer: Peer
) -> Callable[[Any, int], None]:
    return lambda result, number: check(peer, result, number)


def _preparer(peer: Peer, path: Path, cold: bool, nbytes: int) -> Callable[[], None]:
    def prepare() -> None:
        peer.make_ready(nbytes)
        _cool(path) if cold else warm(path)

    return prepare


# ---- the machine -----------------------------------------------------------------------------


def machine(folder: Path) -> dict[str, Any]:
    """Say what is being measured on, as far as it can be known."""
    usable = getattr(os, "sched_getaffinity", None)
    kind, device = _file_system(folder)
    return {
        "cpu": _cpu(),
        "cores": len(usable(0)) if usable else os.cpu_count(),
        "memory_nbytes": _memory(),
        "virtual": " hypervisor" in _text("/proc/cpuinfo"),
        "architecture": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "huge_pages": _chosen(_text("/sys/kernel/mm/transparent_hugepage/enabled")),
        "file_system": kind,
        "device": device,
        "load_average": list(os.getloadavg()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": np.__version__,
        "commit": _commit(),
    }


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _chosen(options: str) -> str | None:
    return options[options.index("[") + 1 : options.index("]")] if "[" in options else None


def _cpu() -> str:
    for line in _text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return " ".join(value.replace("(R)", "").replace("(TM)", "").split())
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _file_system(folder: Path) -> tuple[str, str | None]:
    """The type and the device of the mount a folder lies on."""
    where = folder.resolve()
    best: tuple[int, str, str] | None = None
    for line in _text("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4].encode().decode("unicode_escape"))
        kind, device = right.split()[:2]
        # The last of equally long ones lies on top.
        if where.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = (len(point.parts), kind, device)
    return (best[1], best[2]) if best else ("unknown", None)


def _commit() -> str | None:
    here = Path(__file__).parent

    def git(*words: str) -> str:
        told = subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True
        )
        return told.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/mxio", ":/csrc")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
