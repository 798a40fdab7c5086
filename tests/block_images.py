# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after a power cut: ``python tests/block_images.py --images 1000``.

The runs of tests/saves.py and tests/training.py work on a file system whose disk writes down
what the kernel sends it (tests/block_log.py): writes, and when its cache has to be empty. A
power cut at any point of that log leaves what was written before the last such flush and, of
what was written since, any part. So a disk with a volatile cache may be left: images are made
of all of that, none, each write at random, all but one, some of them torn between sectors.
Each is mounted, which plays back the journal, and must hold what the marks of the run had
promised by then. With ``--lazy`` syncs do nothing, and then much must be lost.

tests/power_cuts.py tries what a disk holds that keeps all that it was ever sent, and
tests/crash.py what file systems are allowed. It needs root on Linux, FUSE and loop devices.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import fcntl
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from block_log import Entry, Flush, Log, Memory, Write, mark, served
from host import RUNS, hosted
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

BLKFLSBUF = 0x1261
IMAGES_OF_A_RECORD = 20 * len(RUNS)
AFTER_THE_END = 0.3  # so many of the points may be
AT_A_MARK = 0.25  # so many of the points
NOTHING_PENDING = 0.2  # and of those at which the disk's cache is empty, so many are taken
ENOUGH = 15  # images of a run have more than one outcome
TRIES = 50  # to find an image that was not there yet
STYLES = ("none", "all", "each", "one missing", "torn")
TORN_AT_MOST = 1 << 20


def lacks(name: str) -> str | None:
    reason = missing(name)
    if reason is None and not os.path.exists("/dev/fuse"):
        return "needs FUSE (/dev/fuse)"
    return reason


class Section(NamedTuple):
    """The part of a log that is of one run."""

    run: str
    begin: int
    end: int
    over: int  # when all of it has been written, after its end


class Record:
    """What a disk was told while one run after another was carried out."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.flushes = [n for n, entry in enumerate(entries) if isinstance(entry, Flush)]
        self._writes = [n for n, entry in enumerate(entries) if isinstance(entry, Write)]
        self._marks = [n for n, one in enumerate(entries) if is_promise(one)]
        self.sections = []
        run, begin, end = "", 0, 0
        for n, entry in enumerate(entries):
            if not isinstance(entry, str):
                continue
            word, _, rest = entry.partition(" ")
            if word == "run":
                run = rest
            elif word == "begin":
                begin = n
            elif word == "end":
                end = n
            elif word == "over":
                self.sections.append(Section(run, begin, end, n))

    def flushed(self, point: int) -> int:
        """Return where what a power cut at a point cannot take ends."""
        return max(within(self.flushes, 0, point), default=0)

    def writes(self, begin: int, end: int) -> Iterator[tuple[int, Write]]:
        for n in within(self._writes, begin, end):
            entry = self.entries[n]
            assert isinstance(entry, Write)
            yield n, entry

    def marks(self, begin: int, end: int) -> list[str]:
        return [str(self.entries[n]) for n in within(self._marks, begin, end)]

    def counts(self, point: int) -> tuple[int, int]:
        """Return how many writes and promises come before a point."""
        return bisect.bisect_left(self._writes, point), bisect.bisect_left(self._marks, point)

    def has_to_flush(self) -> None:
        """See to it that this is a record of something."""
        for run, begin, end, over in self.sections:
            if not within(self.flushes, begin, end) or not any(self.writes(begin, over)):
                raise RuntimeError(f"{run}: nothing was flushed, or nothing was written")


def is_promise(entry: Entry) -> bool:
    return isinstance(entry, str) and entry.startswith(MARKS)


def within(places: list[int], begin: int, end: int) -> list[int]:
    return places[bisect.bisect_left(places, begin) : bisect.bisect_left(places, end)]


# Which writes there are, and of one that is torn, which sectors.
Kept = tuple[tuple[int, tuple[bool, ...] | None], ...]


class Image(NamedTuple):
    """A disk after a power cut."""

    section: Section
    point: int
    flushed: int
    kept: Kept
    n_lost: int
    style: str


def drawn(record: Record, section: Section, sector: int, rng: random.Random) -> Image:
    """Draw a point and what a power cut there leaves."""
    while True:
        is_after = rng.random() < AFTER_THE_END
        point = rng.randint(section.begin, section.over if is_after else section.end) + 1
        if rng.random() < AT_A_MARK:
            while not isinstance(record.entries[point - 1], str):
                point -= 1
        flushed = record.flushed(point)
        pending = list(record.writes(flushed, point))
        if pending or rng.random() < NOTHING_PENDING:
            break
    style = rng.choice(STYLES)
    kept = pending
    if style == "none":
        kept = []
    elif style in ("each", "torn"):
        often = rng.choice([0.1, 0.5, 0.9])
        kept = [one for one in pending if rng.random() < often]
    elif style == "one missing" and pending:
        missing_one = rng.choice(pending)
        kept = [one for one in pending if one is not missing_one]
    n_lost = len(pending) - len(kept)
    parts = []
    for n, write in kept:
        n_sectors = write.nbytes // sector
        sectors = None
        if style == "torn" and 1 < n_sectors <= TORN_AT_MOST // sector and rng.random() < 0.5:
            sectors = torn(n_sectors, rng)
            n_lost += 1
        parts.append((n, sectors))
    return Image(section, point, flushed, tuple(parts), n_lost, style)


def torn(size: int, rng: random.Random) -> tuple[bool, ...]:
    """Draw which sectors of a write are there: not all, not none."""
    k = rng.randrange(1, size)
    if rng.random() < 0.5:
        sectors = [n < k for n in range(size)]
        return tuple(sectors if rng.random() < 0.7 else reversed(sectors))
    sectors = [n < k for n in range(size)]
    rng.shuffle(sectors)
    return tuple(sectors)


def told_apart(record: Record, image: Image) -> tuple[int, Kept, int]:
    """Return what is on the disk and how much was promised: images alike in that are one."""
    whole, _ = record.counts(image.flushed)
    _, promised = record.counts(image.point)
    parts = list(image.kept)
    for n, _ in record.writes(image.flushed, image.point):
        if parts[:1] != [(n, None)]:
            break
        del parts[0]
        whole += 1
    return whole, tuple(parts), promised


def images(record: Record, number: int, sector: int, rng: random.Random) -> list[Image]:
    """Draw images of all runs, each once, in the order of the log."""
    found = []
    seen = set()
    for n in range(number):
        section = record.sections[n % len(record.sections)]
        for _ in range(TRIES):
            image = drawn(record, section, sector, rng)
            key = hash(told_apart(record, image))
            if key not in seen:
                seen.add(key)
                found.append(image)
                break
    return sorted(found, key=lambda image: image.point)


class Cut:
    """The disk after each of a number of images in the order of the log."""

    def __init__(self, base: Memory, record: Record, system: System) -> None:
        self.disk = Memory(base.nbytes, base.name)
        self._base, self._record, self._system = base, record, system
        self._done = 0

    def lay(self, image: Image) -> None:
        for _, before in self._record.writes(self._done, image.flushed):
            self._base.do(before)
        self._done = max(self._done, image.flushed)
        self.disk.become(self._base)
        sector = self._system.sector
        for n, sectors in image.kept:
            write = self._record.entries[n]
            assert isinstance(write, Write)
            if sectors is None:
                self.disk.do(write)
                continue
            for k, is_there in enumerate(sectors):
                if is_there:
                    at = k * sector
                    data = None if write.data is None else write.data[at : at + sector]
                    self.disk.do(Write(write.at + at, sector, data))


def recorded(system: System, place: Path, lazy: bool, base: Memory, log: Log) -> None:
    """Carry out all runs on a disk that writes down what it is told."""
    disk = place / "disk"
    live = Memory(base.nbytes, base.name)
    live.become(base)
    with contextlib.ExitStack() as stack:
        stack.callback(live.close)
        stack.enter_context(served(live, log, disk))
        with disk.open("r+b", buffering=0) as file:
            _, device = stack.enter_context(attached(file.fileno(), system.sector))
        volume = stack.enter_context(mounted(system, device, place / "mounted"))
        assert volume.at.stat().st_dev != place.stat().st_dev
        host = stack.enter_context(hosted(place, volume.at / "root"))
        for run in RUNS:
            mark(disk, f"run {run}")
            status, said = host.run(run, settled=True, LAZY=int(lazy), MARKS=disk)
            if status or has_failed(said):
                raise RuntimeError(f"{run} fails without a cut: {status}, {said[-1:]}")
            mark(disk, "end")
            volume.unmount()  # else the journal to play back would grow from run to run
            mark(disk, "over")
            volume.mount()


def images_on(name: str, number: int, asked: argparse.Namespace, place: Path) -> Tally:
    """Make so many images on a system, of as many records as they need."""
    began = time.monotonic()
    rng = random.Random(f"{asked.seed} {name}")
    tried = Tried(name, asked.keep)
    n_records = -(-number // IMAGES_OF_A_RECORD)
    for k in range(n_records):
        share = number * (k + 1) // n_records - number * k // n_records
        file = made(SYSTEMS[name], place)
        base = Memory.of(file)
        file.unlink()
        log = Log()
        recorded(SYSTEMS[name], place, asked.lazy, base, log)
        record = Record(log.entries())
        if not asked.lazy:
            record.has_to_flush()
        tried.all_of(record, images(record, share, SYSTEMS[name].sector, rng), base, place)
        base.close()
    if not asked.lazy and not tried.violations:
        tried.has_to_differ()
    return Tally(tried.counts, tried.violations, time.monotonic() - began)


class Tried:
    """What was found on the images of a system."""

    def __init__(self, name: str, keep: Path | None) -> None:
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._outcomes: dict[str, Counter[str]] = {run: Counter() for run in RUNS}
        self._name, self._keep = name, keep

    def all_of(self, record: Record, drawn: list[Image], base: Memory, place: Path) -> None:
        """Mount images one after the other and look what is there."""
        system = SYSTEMS[self._name]
        cut = Cut(base, record, system)
        with contextlib.ExitStack() as stack:
            stack.callback(cut.disk.close)
            fd, device = stack.enter_context(attached(cut.disk.fd, system.sector))
            volume = Volume(system, device, place / "mounted")
            stack.callback(volume.unmount)
            for image in drawn:
                cut.lay(image)
                fcntl.ioctl(fd, BLKFLSBUF)  # it has read the one before
                self.counts["images"] += 1
                self.counts["lossy"] += image.n_lost > 0
                self.counts["after"] += image.point > image.section.end
                try:
                    outcome = looked_at(volume, record, image)
                except Exception as error:
                    self._note(record, image, error)
                    if self._keep is not None:
                        cut.lay(image)
                        cut.disk.save(self._keep / f"{self._name}-{self.counts['images']}")
                else:
                    self.counts[outcome] += 1
                    self._outcomes[image.section.run][outcome] += 1

    def _note(self, record: Record, image: Image, error: Exception) -> None:
        self.counts["unmountable"] += isinstance(error, UnmountableError)
        section = image.section
        self.violations.append(
            f"{self._name}, image {self.counts['images']}, {section.run}, entry {image.point} "
            f"of {section.begin} to {section.end} to {section.over}, "
            f"{image.n_lost} lost ({image.style}): {in_words(error)}"
        )

    def has_to_differ(self) -> None:
        """See to it that images were not all alike."""
        for run, outcomes in self._outcomes.items():
            if sum(outcomes.values()) >= ENOUGH and len(outcomes) < 2:
                raise RuntimeError(f"{self._name}, {run}: nothing but {dict(outcomes)}")
        if not self.counts["lossy"]:
            raise RuntimeError(f"{self._name}: nothing was lost in any image")


class UnmountableError(Exception):
    """A file system that cannot be mounted after a power cut."""


def looked_at(volume: Volume, record: Record, image: Image) -> str:
    promise = promise_of(image.section.run, record.marks(image.section.begin, image.point))
    try:
        volume.mount()
    except OSError as error:
        raise UnmountableError(str(error)) from error
    try:
        return met(image.section.run, promise, volume.at / "root")
    finally:
        volume.unmount()


def main() -> int:
    parser = arguments("Mount what a disk may hold after power cuts.", "images", SYSTEMS)
    parser.add_argument("--keep", type=Path, help="a folder for images that break a promise")
    asked = parser.parse_args()

    def tally_of(name: str, share: int, place: Path) -> tuple[str, list[str]]:
        tally = images_on(name, share, asked, place)
        c = tally.counts
        words = (
            f"{c['images']} images, {c['lossy']} of them without a part of what was written, "
            f"{c['after']} of them after the end, {c['unmountable']} of them unmountable"
        )
        return tally.line(name, words), tally.violations

    return command(asked.system or list(SYSTEMS), asked.images, lacks, tally_of)


if __name__ == "__main__":
    sys.exit(main())
