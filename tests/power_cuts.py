# SPDX-License-Identifier: Apache-2.0
"""Real power cuts: ``python tests/power_cuts.py --cuts 1000``, as root on Linux.

The runs of tests/saves.py and tests/training.py work on a file system in an image. Before a
call drawn at random tests/shim.c shuts that file system down, so that everything is lost that
the kernel had not yet sent to the disk, and kills the process. The image is mounted again,
which plays back the journal, and must hold what the marks of the run had promised; these are
kept on another file system. With ``--lazy`` syncs do nothing, and then much must be lost.

tests/crash.py thinks up more of what a disk may leave, such as torn sectors. What is tried
here is what it cannot know: the kernel. A disk that loses what it has acknowledged is in neither.

Mounts are made in a namespace of their own and the image has no name, so that nothing is left
of them however the process ends.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import gc
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import saves
from host import RUNS, Host, hosted
from test_checkpoint_crash import Promise as PromiseOfSteps

CLONE_NEWNS = 0x00020000
# EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN: _IOR('X', 125, __u32), and what they are told.
GOING_DOWN = 0x8004587D
LOGFLUSH, NOLOGFLUSH = 1, 2
MISSING = 77  # the exit status
AFTER_THE_END = 0.1  # so many of the cuts


class System(NamedTuple):
    """A kind of file system, the size of its image, and how it is made and mounted."""

    kind: str
    mib: int
    options: str = "rw"
    make: tuple[str, ...] = ()


# Without lazy_itable_init=0 the kernel would go on making it while it is used.
WHOLE = ("-F", "-E", "lazy_itable_init=0,lazy_journal_init=0")
SYSTEMS = {
    "ext4": System("ext4", 64, make=WHOLE),
    "ext4-writeback": System("ext4", 64, "data=writeback,noauto_da_alloc", WHOLE),
    "xfs": System("xfs", 320),
}


class MissingError(Exception):
    """What this machine lacks."""


def missing(name: str) -> str | None:
    """Return what is not there for cuts on a system, as far as looking tells."""
    if not sys.platform.startswith("linux"):
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root, to mount an image"
    for tool in ("cc", "losetup", "mount", "umount", f"mkfs.{SYSTEMS[name].kind}"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    if not os.path.exists("/dev/loop-control"):
        return "needs loop devices (/dev/loop-control)"
    return None


def call(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


class Volume:
    """A file system in an image, which can lose its power."""

    def __init__(self, system: System, device: str, at: Path) -> None:
        self.at = at
        self._system, self._device = system, device

    def is_mounted(self) -> bool:
        # os.path.ismount cannot look at a folder of XFS after a cut, and says no.
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return str(self.at.parent.resolve() / self.at.name).replace(" ", "\\040") in {
            line.split()[4] for line in mounts
        }

    def mount(self) -> None:
        call("mount", "-t", self._system.kind, "-o", self._system.options, self._device, self.at)

    def unmount(self) -> None:
        for _ in range(50):
            if not self.is_mounted():
                return
            with contextlib.suppress(OSError):
                call("umount", self.at)
                continue
            gc.collect()  # a failed check holds files that it had open
            time.sleep(0.1)
        call("umount", "--lazy", self.at)
        raise OSError(f"{self.at} stays in use")

    def cut(self, flush: bool) -> None:
        # Where nothing is mounted it would be the file system of the machine.
        assert self.is_mounted()
        fd = os.open(self.at, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, GOING_DOWN, struct.pack("I", LOGFLUSH if flush else NOLOGFLUSH))
        finally:
            os.close(fd)

    def recover(self) -> None:
        """Turn the power on again."""
        self.unmount()
        self.mount()


@contextlib.contextmanager
def mounted(system: System, place: Path) -> Iterator[Volume]:
    """Make an image and mount it; nothing is left of it afterwards."""
    image, at = place / "image", place / "mounted"
    at.mkdir()
    held = -1
    try:
        with image.open("wb") as file:
            file.truncate(system.mib << 20)
        call(f"mkfs.{system.kind}", "-q", *system.make, image)
        try:
            device = call("losetup", "--find", "--show", image)
        except OSError as error:
            raise MissingError(f"needs loop devices: {error}") from error
        try:
            held = os.open(device, os.O_RDONLY)
        finally:
            call("losetup", "--detach", device)  # when nobody holds it any more
        image.unlink()
        volume = Volume(system, device, at)
        try:
            volume.mount()
        except OSError as error:
            raise MissingError(f"cannot mount {system.kind} here: {error}") from error
        try:
            yield volume
        finally:
            volume.unmount()
    finally:
        image.unlink(missing_ok=True)
        if held >= 0:
            os.close(held)
        at.rmdir()


# ---- what was promised, and what is there ----------------------------------------------------


def promise_of(run: str, log: list[str]) -> Any:
    promise: Any = saves.Promise() if run in saves.RUNS else PromiseOfSteps()
    for line in log:
        if line.startswith(("saved ", "rotten ")):
            promise.hear(line)
    return promise


def met(run: str, promise: Any, root: Path) -> str:
    """Return what is there: what had been saved last, newer, or nothing. Else raise."""
    assert root.is_dir()  # it was settled
    if run in saves.RUNS:
        found = dict(promise.holds(root))
        if not found:
            return "nothing"
        return "old" if found == promise.saved else "new"
    state = promise.holds(root / "a/run")
    if state is None:
        return "nothing"
    step, version = state["step"], state["version"]
    newest = max(promise.saved, default=-1)
    is_new = step > newest or version > promise.saved.get(step, version)
    return "new" if is_new else "old"


class Tally(NamedTuple):
    """What was counted on a system."""

    counts: Counter[str]
    violations: list[str]
    seconds: float

    def line(self, name: str) -> str:
        c = self.counts
        return (
            f"{name} ({SYSTEMS[name].options}): {c['cuts']} cuts, {c['after']} of them after "
            f"the end; {c['old']} met old, {c['new']} new, {c['nothing']} nothing; "
            f"{len(self.violations)} violations; {self.seconds:.1f} s"
        )


def has_failed(log: list[str]) -> bool:
    return any(line.startswith("error ") for line in log)


def count_calls(host: Host) -> dict[str, int]:
    """Return how many calls each run has."""
    counted = {}
    for run in RUNS:
        status, log = host.run(run)
        if status or has_failed(log):
            raise RuntimeError(f"{run} fails without a cut: {status}, {log[-1:]}")
        counted[run] = sum(not line.startswith(("saved ", "rotten ")) for line in log)
    return counted


def cuts_on(name: str, n_cuts: int, seed: int, lazy: bool, flush: bool, place: Path) -> Tally:
    """Cut the power on a system so many times, in all runs in turn."""
    began = time.monotonic()
    rng = random.Random(f"{seed} {name}")
    counts: Counter[str] = Counter()
    violations = []
    with mounted(SYSTEMS[name], place) as volume:
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
                    volume.cut(flush)
                counts["cuts"] += 1
                counts["after"] += not was_cut
                volume.recover()
                promise = promise_of(run, log)
                try:
                    counts[met(run, promise, host.root)] += 1
                except Exception as error:
                    where = f"call {k} of {n_calls[run]}" if was_cut else "the end"
                    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                    violations.append(f"{name}, cut {n}, {run}, at {where}: {said}")
    return Tally(counts, violations, time.monotonic() - began)


def alone() -> None:
    """Give this process mounts of its own, which go with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise MissingError(f"needs the right to mount: {os.strerror(ctypes.get_errno())}")
    call("mount", "--make-rprivate", "/")


def stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(description="Cut the power of file systems during saves.")
    parser.add_argument("--cuts", type=int, default=1000, help="in all, over the systems")
    parser.add_argument("--system", choices=SYSTEMS, action="append", help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lazy", action="store_true", help="syncs do nothing: a control")
    parser.add_argument(
        "--flush", action="store_true", help="each cut comes right after the journal was written"
    )
    asked = parser.parse_args()
    names = asked.system or list(SYSTEMS)
    for name in names:
        reason = missing(name)
        if reason:
            print(reason, file=sys.stderr)
            return MISSING
    signal.signal(signal.SIGTERM, stop)
    n_violations = 0
    try:
        alone()
        for n, name in enumerate(names):
            n_cuts = asked.cuts * (n + 1) // len(names) - asked.cuts * n // len(names)
            with tempfile.TemporaryDirectory(prefix="power-cuts-") as place:
                tally = cuts_on(name, n_cuts, asked.seed, asked.lazy, asked.flush, Path(place))
            print(tally.line(name), flush=True)
            for violation in tally.violations:
                print(violation, file=sys.stderr)
            n_violations += len(tally.violations)
    except MissingError as error:
        print(error, file=sys.stderr)
        return MISSING
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return int(n_violations > 0)


if __name__ == "__main__":
    sys.exit(main())
