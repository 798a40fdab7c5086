# SPDX-License-Identifier: Apache-2.0
"""What does a file cost that grows?

100,000 rows of 2 KiB are appended one by one, as a log is kept. An array of 4 GiB is written
in pieces of 8 MiB, as what is made bit by bit is saved, beside those who have and save it
whole. A file to which 10,000 rows were appended, each with a commit, is opened, and one of its
rows read, beside the same file compacted. (All are fewer and less with --quick.) Nothing is
synced but where it says durable. zarr is not asked: its append takes 3 ms a row, five minutes in
all where h5py takes twenty seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import mxio
from benchmarks import limits
from benchmarks.compare import kind_of, same_array, sizer, to_read
from benchmarks.files import remover, sync
from benchmarks.harness import Case, Contender, Run
from benchmarks.peers import Array, Arrays, Peer, Pieces
from benchmarks.peers.ours import Mxio
from benchmarks.workloads import Matrix, mib, per_call, shuffled

__all__ = ["cases"]

_NAME, _COLUMNS = "rows", 512
_PIECE_NBYTES = 8 << 20
# Of gigabytes that are written: some minutes each.
_MOST_ROUNDS, _MOST_DURABLE_ROUNDS = 5, 3


def cases(run: Run) -> Iterator[Case]:
    yield from _rows(run)
    yield from _streams(run)
    yield from _commits(run)


def _made(run: Run, n_rows: int) -> Array:
    return Matrix(run.size, n_rows, _COLUMNS).whole()


# ---- growing ---------------------------------------------------------------------------------


def _rows(run: Run) -> Iterator[Case]:
    pieces = Pieces.of(_NAME, _made(run, run.size.n_appended), 1)
    n, nbytes = len(pieces.parts), pieces.whole.nbytes
    title = f"Append {n:,} rows of {_words(pieces.parts[0].nbytes)} one by one, page cache"
    with run.room() as room:
        contenders = _appending(run.able("append"), "append", room, pieces, False)
        everyone = contenders + limits.pieces(room, pieces.parts, durable=False)
        state = "new file in the page cache, not synced"
        yield Case("rows", title, "µs a row", nbytes, nbytes, n, state, everyone)


def _streams(run: Run) -> Iterator[Case]:
    row_nbytes = Matrix(run.size, 1, _COLUMNS).row_nbytes
    n_rows = run.size.stream_nbytes // row_nbytes
    piece_nbytes = min(_PIECE_NBYTES, run.size.stream_nbytes // 4)
    pieces = Pieces.of(_NAME, _made(run, n_rows), piece_nbytes // row_nbytes)
    nbytes = pieces.whole.nbytes
    what = f"Write {mib(nbytes)} in pieces of {mib(piece_nbytes)}"
    for durable in (False, True):
        ability = "stream_durable" if durable else "stream"
        first, *others = run.able(ability)
        with run.room() as room:
            contenders = _appending([first, _Whole(), *others], ability, room, pieces, durable)
            yield Case(
                "stream_disk" if durable else "stream_cache",
                f"{what}, {'durable' if durable else 'page cache'}",
                "GB/s",
                nbytes,
                nbytes,
                1,
                "new file, synced to the disk with its folder"
                if durable
                else "new file in the page cache, not synced",
                contenders + limits.pieces(room, pieces.parts, durable=durable),
                most_rounds=_MOST_DURABLE_ROUNDS if durable else _MOST_ROUNDS,
            )


def _words(nbytes: int) -> str:
    return mib(nbytes) if nbytes >= 1 << 10 else f"{nbytes} bytes"


class _Whole(Mxio):
    name = "mxio, save()"
    how: ClassVar[dict[str, str]] = {
        "stream": "save(sync=False) of the whole array",
        "stream_durable": "save() of the whole array",
    }

    def append(self, path: Path, pieces: Pieces) -> None:
        mxio.save(path, {pieces.name: pieces.whole}, sync=False)

    def append_durably(self, path: Path, pieces: Pieces) -> None:
        mxio.save(path, {pieces.name: pieces.whole})


def _appending(
    peers: Sequence[Peer], ability: str, room: Path, pieces: Pieces, durable: bool
) -> list[Contender]:
    return [_contender(peer, ability, room, pieces, durable) for peer in peers]


def _contender(peer: Peer, ability: str, room: Path, pieces: Pieces, durable: bool) -> Contender:
    path = room / f"grown.{peer.kind}"
    append = peer.append_durably if durable and peer.append_durably else peer.append
    sync_after = durable and not peer.append_durably

    def run(call: int) -> None:
        append(path, pieces)
        if sync_after:
            sync(path)
            sync(room)

    def check(result: Any, call: int) -> None:
        (found,) = peer.give_back(peer.load(path)).values()
        same_array(found, pieces.whole)

    return Contender(
        name=peer.name,
        kind=kind_of(peer),
        version=peer.version(),
        how=peer.how[ability],
        checksums=peer.writes_crc,
        run=run,
        check=check,
        prepare=remover(room),
        file_nbytes=sizer(path),
    )


# ---- what has grown --------------------------------------------------------------------------


class _Committed(Mxio):
    """As it was left by a writer that committed each row."""

    kind = "committed"
    how: ClassVar[dict[str, str]] = {
        "open": "open(), close(); a commit for each row",
        "row": "open(), f[name][i]; a commit for each row",
    }

    def save(self, path: Path, arrays: Arrays) -> None:
        ((name, array),) = arrays.items()
        with mxio.Writer(path, sync=False) as writer:
            for part in Pieces.of(name, array, 1).parts:
                writer.append(name, part)
                writer.commit()


class _Compacted(_Committed):
    name = "mxio, compacted"
    kind = "compacted"
    how: ClassVar[dict[str, str]] = {
        "open": "open(), close(); then compact()",
        "row": "open(), f[name][i]; then compact()",
    }

    def save(self, path: Path, arrays: Arrays) -> None:
        super().save(path, arrays)
        mxio.compact(path, sync=False)


def _commits(run: Run) -> Iterator[Case]:
    array = _made(run, run.size.n_commits)
    order = shuffled(len(array))
    both = Run(run.size, run.folder, [_Committed(), _Compacted()])

    def pick(call: int) -> list[int]:
        return per_call(order, call, 1)

    def call_open(peer: Peer, path: Path, call: int) -> Path:
        mxio.open(path).close()
        return path

    def check_open(peer: Peer, path: Path, call: int) -> None:
        same_array(peer.load(path)[_NAME], array)

    def call_row(peer: Peer, path: Path, call: int) -> list[Array]:
        return peer.rows(path, _NAME, pick(call))

    def check_row(peer: Peer, rows: list[Array], call: int) -> None:
        same_array(rows[0], array[pick(call)[0]])

    of = f"a file of {len(array):,} commits, warm"
    with run.room() as room:
        for ability, title, call, check in (
            ("open", f"Open {of}", call_open, check_open),
            ("row", f"Read 1 row of {of}", call_row, check_row),
        ):
            yield to_read(
                both,
                room,
                ability,
                title,
                "ms",
                {_NAME: array},
                ability,
                call=call,
                check=check,
                nbytes=array[0].nbytes,
                calls=5,
            )
