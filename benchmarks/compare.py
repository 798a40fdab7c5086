# SPDX-License-Identifier: Apache-2.0
"""The two shapes of cases: all save the same arrays, or all read them from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.files import cool, evict, files_of, nbytes_on_disk, remover, sync, warm
from benchmarks.harness import Case, Contender, Run
from benchmarks.peers import Array, Arrays, Peer
from benchmarks.workloads import nbytes_of

__all__ = ["kind_of", "ready_to_read", "same", "same_array", "sizer", "to_read", "to_save"]


_PIECE_NBYTES = 16 << 20


def same(found: Arrays, wanted: Arrays) -> None:
    """Raise unless two dicts hold the same arrays, bit by bit."""
    if found.keys() != wanted.keys():
        raise AssertionError("other names came back")
    for name, array in wanted.items():
        same_array(found[name], array)


def same_array(found: Any, wanted: Array) -> None:
    got = np.asarray(found)
    if got.dtype != wanted.dtype or got.shape != wanted.shape or not _same_bytes(got, wanted):
        raise AssertionError("another array came back")


def _same_bytes(one: Array, other: Array) -> bool:
    # Without a copy of the whole: arrays of gigabytes are compared too.
    a, b = (array.reshape(-1).view(np.uint8) for array in (one, other))
    pieces = (slice(i, i + _PIECE_NBYTES) for i in range(0, a.size, _PIECE_NBYTES))
    return all(a[piece].tobytes() == b[piece].tobytes() for piece in pieces)


def kind_of(peer: Peer) -> str:
    return "mxio" if peer.name.split(",")[0] == "mxio" else "peer"


def sizer(path: Path) -> Callable[[], int]:
    return lambda: nbytes_on_disk(path)


def _chosen(run: Run, ability: str, only: Sequence[str] | None) -> list[Peer]:
    return [peer for peer in run.able(ability) if only is None or peer.name in only]


def _ordered(arrays: Arrays) -> Arrays:
    """The arrays in C order; those that are so already as they are."""
    return {
        name: array if array.flags.c_contiguous else np.ascontiguousarray(array)
        for name, array in arrays.items()
    }


# ---- saving ----------------------------------------------------------------------------------


def to_save(
    run: Run,
    room: Path,
    name: str,
    title: str,
    unit: str,
    arrays: Arrays,
    *,
    durable: bool,
    only: Sequence[str] | None = None,
    limits: Sequence[Contender] = (),
    **more: Any,
) -> Case:
    """A case in which everybody saves the same arrays to a new file."""
    ability = "save_durable" if durable else "save"
    in_order = all(array.flags.c_contiguous for array in arrays.values())
    contenders = []
    for peer in _chosen(run, ability, only):
        path = room / f"{name}.{peer.kind}"
        copied = peer.needs_order and not in_order
        contenders.append(
            Contender(
                name=peer.name,
                kind=kind_of(peer),
                version=peer.version(),
                how=f"ascontiguousarray, {peer.how[ability]}" if copied else peer.how[ability],
                checksums=peer.writes_crc,
                run=_saver(peer, path, arrays if copied else peer.adopt(arrays), durable, copied),
                check=_save_checker(peer, path, arrays),
                prepare=remover(room),
                file_nbytes=sizer(path),
                value=peer.seconds,
            )
        )
    state = (
        "new file, synced to the disk with its folder"
        if durable
        else "new file in the page cache, not synced"
    )
    nbytes = nbytes_of(arrays)
    everyone = [*contenders, *limits]
    return Case(name, title, unit, nbytes, nbytes, len(arrays), state, everyone, **more)


def _saver(
    peer: Peer, path: Path, arrays: Any, durable: bool, copied: bool
) -> Callable[[int], None]:
    write = peer.save_durably if durable and peer.save_durably else peer.save
    sync_after = durable and not peer.save_durably

    def save(call: int) -> None:
        if copied:
            write(path, peer.adopt(_ordered(arrays)))
        else:
            write(path, arrays)
        if sync_after:
            sync(path)
            sync(path.parent)

    return save


def _save_checker(peer: Peer, path: Path, arrays: Arrays) -> Callable[[Any, int], None]:
    return lambda result, call: peer.check(peer.load(path), arrays)


# ---- reading ---------------------------------------------------------------------------------


def to_read(
    run: Run,
    room: Path,
    name: str,
    title: str,
    unit: str,
    arrays: Arrays | Callable[[], Arrays],
    ability: str,
    *,
    call: Callable[[Peer, Path, int], Any],
    check: Callable[[Peer, Any, int], None],
    nbytes: int | None = None,
    n_arrays: int | None = None,
    memory: int | None = None,
    cold: bool = False,
    calls: int = 1,
    before: Callable[[Peer, Path], None] | None = None,
    only: Sequence[str] | None = None,
    limits: Sequence[Contender] = (),
    **more: Any,
) -> Case:
    """A case in which everybody reads from a file with the same arrays.

    Arrays that are too large to be kept are given as what makes them, together with nbytes,
    n_arrays and memory: it is called where a file is not there yet.
    """
    peers = _chosen(run, ability, only)
    _make_files(room, peers, arrays)
    if not callable(arrays):
        nbytes = nbytes_of(arrays) if nbytes is None else nbytes
        memory = nbytes_of(arrays) if memory is None else memory
        n_arrays = len(arrays) if n_arrays is None else n_arrays
    assert nbytes is not None
    assert memory is not None
    assert n_arrays is not None
    contenders = []
    for peer in peers:
        path = room / f"arrays.{peer.kind}"
        contenders.append(
            Contender(
                name=peer.name,
                kind=kind_of(peer),
                version=peer.version(),
                how=peer.how[ability],
                checksums=peer.reads_crc,
                run=_reader(call, peer, path),
                check=_read_checker(check, peer),
                prepare=ready_to_read(path, cold, peer, memory, before),
                file_nbytes=sizer(path),
                value=peer.seconds,
            )
        )
    return Case(
        name,
        title,
        unit,
        nbytes,
        memory,
        n_arrays,
        "cold: not in the page cache" if cold else "warm: in the page cache",
        [*contenders, *limits],
        1 if cold else calls,
        **more,
    )


def _make_files(room: Path, peers: Sequence[Peer], arrays: Arrays | Callable[[], Arrays]) -> None:
    """Write the files that are not there yet, to the disk and out of the page cache."""
    made: Arrays | None = None
    for peer in peers:
        path = room / f"arrays.{peer.kind}"
        if path.exists():
            continue
        if made is None:
            made = arrays() if callable(arrays) else arrays
        peer.save(path, peer.adopt(_ordered(made) if peer.needs_order else made))
        for file in files_of(path):
            sync(file)
            evict(file)


def _reader(call: Callable[[Peer, Path, int], Any], peer: Peer, path: Path) -> Callable[[int], Any]:
    return lambda number: call(peer, path, number)


def _read_checker(
    check: Callable[[Peer, Any, int], None], peer: Peer
) -> Callable[[Any, int], None]:
    return lambda result, number: check(peer, result, number)


def ready_to_read(
    path: Path,
    cold: bool,
    peer: Peer | None = None,
    memory: int = 0,
    before: Callable[[Peer, Path], None] | None = None,
) -> Callable[[], None]:
    """Return what brings a file into its state and a peer into its own."""

    def prepare() -> None:
        if peer is not None:
            peer.make_ready(memory)
        for file in files_of(path):
            cool(file) if cold else warm(file)
        if peer is not None and before is not None:
            before(peer, path)

    return prepare
