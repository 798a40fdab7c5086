# SPDX-License-Identifier: Apache-2.0
"""How long does training stop for a checkpoint, and what does it lose meanwhile?

The arrays of a checkpoint are saved in the background. What is timed first is the stall: until
they may be changed again. The limit is one copy of them into memory that was touched before,
which is what mxio and torch keep from one save to the next. Then a loop of matrix products in
NumPy, with one BLAS thread and with two, runs alone and at once afterwards while a save is
written: the figure is the share of its speed that is left, the stall not counted. Everyone
syncs what is written. A save that waits for the disk stands beside mxio.save.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import mxio
from benchmarks.compare import same, sizer
from benchmarks.files import CannotMeasure, remover, sync
from benchmarks.harness import Case, Contender, Run
from benchmarks.peers import Arrays
from benchmarks.peers.background import BACKGROUND, Background
from benchmarks.workloads import mib, nbytes_of

__all__ = ["cases"]

_N_ARRAYS = 16
_SIDE = 512  # of the matrices that are multiplied
_STATE = "synced to the disk"


def cases(run: Run) -> Iterator[Case]:
    rng = np.random.default_rng(7)
    rows = run.size.spin_nbytes // _N_ARRAYS // 4096
    arrays = {f"layer{n}": rng.random((rows, 1024), np.float32) for n in range(_N_ARRAYS)}
    yield from _stall(run, arrays)
    yield from _blocking(run, arrays)
    for n_threads in 1, 2:
        yield from _loop(run, arrays, n_threads)


@contextlib.contextmanager
def _savers(run: Run, arrays: Arrays) -> Iterator[list[Background]]:
    names = {peer.name for peer in run.peers}
    with run.room() as room, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, that it is one process
        found = [kind for kind in BACKGROUND if kind.name.split(",")[0] in names]
        yield [kind(room, arrays) for kind in found]


def _contender(saver: Background, run: Callable[[int], None], kept: list[float]) -> Contender:
    def check(result: Any, call: int) -> None:
        same(saver.saved(), saver.arrays)

    return Contender(
        name=saver.name,
        kind="mxio" if saver.name == "mxio" else "peer",
        version=saver.version(),
        how=saver.how,
        checksums=saver.checksums,
        run=run,
        check=check,
        file_nbytes=lambda: _nbytes_below(saver.room),
        value=lambda: kept[0],
    )


def _nbytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# ---- the stall -------------------------------------------------------------------------------


def _stall(run: Run, arrays: Arrays) -> Iterator[Case]:
    nbytes = nbytes_of(arrays)
    title = f"Stall of a save of {mib(nbytes)} in the background"
    with _savers(run, arrays) as savers:
        contenders = [_stalling(saver) for saver in savers] + [_copying(arrays)]
        yield Case("stall", title, "ms", nbytes, nbytes, len(arrays), _STATE, contenders)


def _stalling(saver: Background) -> Contender:
    kept = [0.0]

    def run(call: int) -> None:
        begin = time.perf_counter()
        saver.begin(call)
        kept[0] = time.perf_counter() - begin
        saver.end()

    return _contender(saver, run, kept)


def _copying(arrays: Arrays) -> Contender:
    copies = {name: array.copy() for name, array in arrays.items()}

    def run(call: int) -> None:
        for name, array in arrays.items():
            np.copyto(copies[name], array)

    def check(result: Any, call: int) -> None:
        same(copies, arrays)

    how = "numpy.copyto(), one thread, into memory that was touched"
    return Contender("limit, memcpy", "limit", "", how, "", run, check)


# ---- a save that waits -----------------------------------------------------------------------


def _blocking(run: Run, arrays: Arrays) -> Iterator[Case]:
    nbytes = nbytes_of(arrays)
    title = f"Save a step of {mib(nbytes)}, durable"
    with run.room() as room:
        path, folder = room / "plain" / "x.mxio", room / "run"
        for made in path.parent, folder:
            made.mkdir()
        manager = mxio.CheckpointManager(folder, keep_last=1)

        def save(call: int) -> None:
            mxio.save(path, arrays)

        def save_step(call: int) -> None:
            manager.save(call, arrays, overwrite=True)

        def check(result: Any, call: int) -> None:
            same(mxio.load(path), arrays)

        def check_step(result: Any, call: int) -> None:
            same(manager.restore(), arrays)

        def clear() -> None:
            for step in manager.steps():
                Path(manager.path(step)).unlink()
            sync(folder)

        how = "CheckpointManager(keep_last=1).save()"
        version = mxio.__version__
        contenders = [
            Contender("mxio", "mxio", version, how, "CRC-32C", save_step, check_step, clear),
            Contender(
                *("mxio, save()", "mxio", version, "save()", "CRC-32C", save, check),
                prepare=remover(path.parent),
                file_nbytes=sizer(path),
            ),
        ]
        yield Case("save", title, "GB/s", nbytes, nbytes, len(arrays), _STATE, contenders)
        manager.close()


# ---- a loop meanwhile ------------------------------------------------------------------------


def _loop(run: Run, arrays: Arrays, n_threads: int) -> Iterator[Case]:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise CannotMeasure("the number of BLAS threads is set by threadpoolctl") from None
    nbytes = nbytes_of(arrays)
    threads = "one BLAS thread" if n_threads == 1 else f"{n_threads} BLAS threads"
    title = f"A loop of matrix products, {threads}, while {mib(nbytes)} are written"
    with _savers(run, arrays) as savers, threadpool_limits(n_threads, "blas"):
        contenders = [_looping(saver, run.size.pause) for saver in savers]
        yield Case(f"loop_{n_threads}", title, "%", nbytes, nbytes, len(arrays), _STATE, contenders)


def _looping(saver: Background, pause: float) -> Contender:
    kept = [0.0]
    a = np.random.default_rng(1).random((_SIDE, _SIDE), np.float32)
    b, c = a.T.copy(), np.empty_like(a)

    def speed(goes_on: Callable[[float], bool]) -> float:
        n, begin = 0, time.perf_counter()
        while True:
            np.matmul(a, b, out=c)
            n += 1
            took = time.perf_counter() - begin
            if not goes_on(took):
                return n / took

    def run(call: int) -> None:
        speed(lambda took: took < pause)
        before = speed(lambda took: took < pause)
        saver.begin(call)
        during = speed(lambda took: not saver.is_done())
        saver.end()
        after = speed(lambda took: took < pause)
        kept[0] = during / ((before + after) / 2)

    return _contender(saver, run, kept)
