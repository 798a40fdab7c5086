# SPDX-License-Identifier: Apache-2.0
"""Real power cuts: ``python tests/power_cuts.py --cuts 1000``, as root on Linux.

The runs of tests/saves.py and tests/training.py work on a file system in an image. Before a
call drawn at random tests/shim.c shuts that file system down, so that everything is lost that
the kernel had not yet sent to the disk, and kills the process. The image is mounted again,
which plays back the journal, and must hold what the marks of the run had promised; these are
kept on another file system. With ``--lazy`` syncs do nothing, and then much must be lost.

tests/crash.py thinks up more of what a disk may leave, such as torn sectors. What is tried
here is what it cannot know: the kernel. The disk here keeps all that it was sent; one that had
it in a cache is in tests/block_images.py.

The file systems and what both tools share are in tests/volumes.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from host import RUNS, Host, hosted
from volumes import (
    MARKS,
    SYSTEMS,
    System,
    Tally,
    Volume,
    arguments,
    attached,
    command,
    has_failed,
    in_words,
    made,
    met,
    missing,
    mounted,
    promise_of,
)

# EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN: _IOR('X', 125, __u32), and what they are told.
GOING_DOWN = 0x8004587D
LOGFLUSH, NOLOGFLUSH = 1, 2
CAN_GO_DOWN = ("ext4", "ext4-writeback", "xfs")
AFTER_THE_END = 0.1  # so many of the cuts


def cut(volume: Volume, flush: bool) -> None:
    # Where nothing is mounted it would be the file system of the machine.
    assert volume.is_mounted()
    fd = os.open(volume.at, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, GOING_DOWN, struct.pack("I", LOGFLUSH if flush else NOLOGFLUSH))
    finally:
        os.close(fd)


def recover(volume: Volume) -> None:
    """Turn the power on again."""
    volume.unmount()
    volume.mount()


@contextlib.contextmanager
def on_a_disk(system: System, place: Path) -> Iterator[Volume]:
    """Make an image and mount it; it has no name while it is used."""
    image = made(system, place)
    with image.open("r+b") as file:
        image.unlink()
        with (
            attached(file.fileno(), system.sector) as (_, device),
            mounted(system, device, place / "mounted") as volume,
        ):
            yield volume


def count_calls(host: Host) -> dict[str, int]:
    """Return how many calls each run has."""
    counted = {}
    for run in RUNS:
        status, log = host.run(run)
        if status or has_failed(log):
            raise RuntimeError(f"{run} fails without a cut: {status}, {log[-1:]}")
        counted[run] = sum(not line.startswith(MARKS) for line in log)
    return counted


def cuts_on(name: str, n_cuts: int, seed: int, lazy: bool, flush: bool, place: Path) -> Tally:
    """Cut the power on a system so many times, in all runs in turn."""
    began = time.monotonic()
    rng = random.Random(f"{seed} {name}")
    counts: Counter[str] = Counter()
    violations = []
    with on_a_disk(SYSTEMS[name], place) as volume:
        assert volume.at.stat().st_dev != place.stat().st_dev  # the marks survive a cut
        with hosted(place, volume.at / "root") as host:
            n_calls = count_calls(host)
            for n in range(n_cuts):
                run = list(RUNS)[n % len(RUNS)]
                k = rng.randint(1, n_calls[run])
                if rng.random() < AFTER_THE_END:
                    k = 0
                status, log = host.run(
                    run, settled=True, CUT=k, DISK=volume.at, LAZY=int(lazy), FLUSH=int(flush)
                )
                was_cut = "cut" in log  # calls of several threads are not always as many
                if was_cut:
                    log = log[: log.index("cut")]
                if status == -signal.SIGABRT or (status and not was_cut) or has_failed(log):
                    raise RuntimeError(f"{run} ends with {status} instead of a cut: {log[-1:]}")
                if not was_cut:
                    cut(volume, flush)
                counts["cuts"] += 1
                counts["after"] += not was_cut
                recover(volume)
                promise = promise_of(run, log)
                try:
                    counts[met(run, promise, host.root)] += 1
                except Exception as error:
                    where = f"call {k} of {n_calls[run]}" if was_cut else "the end"
                    violations.append(f"{name}, cut {n}, {run}, at {where}: {in_words(error)}")
    return Tally(counts, violations, time.monotonic() - began)


def main() -> int:
    parser = arguments("Cut the power of file systems during saves.", "cuts", CAN_GO_DOWN)
    parser.add_argument(
        "--flush", action="store_true", help="each cut comes right after the journal was written"
    )
    asked = parser.parse_args()

    def tally_of(name: str, share: int, place: Path) -> tuple[str, list[str]]:
        tally = cuts_on(name, share, asked.seed, asked.lazy, asked.flush, place)
        c = tally.counts
        words = f"{c['cuts']} cuts, {c['after']} of them after the end"
        return tally.line(name, words), tally.violations

    return command(asked.system or list(CAN_GO_DOWN), asked.cuts, missing, tally_of)


if __name__ == "__main__":
    sys.exit(main())
