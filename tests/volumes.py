# SPDX-License-Identifier: Apache-2.0
"""File systems in images, and runs that work there: for power_cuts.py and block_images.py.

Both are commands for root on Linux. Mounts are made in a namespace of their own and loop
devices go with who holds them, so that nothing is left however the process ends.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import fcntl
import gc
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import saves
from test_checkpoint_crash import Promise as PromiseOfSteps

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE, MNT_DETACH = 1 << 14, 1 << 18, 2
LOOP_CONFIGURE, LOOP_CTL_GET_FREE = 0x4C0A, 0x4C82
LO_FLAGS_AUTOCLEAR = 4
MISSING = 77  # the exit status
MARKS = ("saved ", "rotten ")


class System(NamedTuple):
    """A kind of file system, the size of its image, and how it is made and mounted.

    Its disk writes a sector whole or not at all.
    """

    kind: str
    mib: int
    options: str = "rw"
    make: tuple[str, ...] = ()
    sector: int = 512


# Without lazy_itable_init=0 the kernel would go on making it while it is used.
WHOLE = ("-F", "-E", "lazy_itable_init=0,lazy_journal_init=0")
SYSTEMS = {
    "ext4": System("ext4", 64, make=WHOLE),
    "ext4-writeback": System("ext4", 64, "data=writeback,noauto_da_alloc", WHOLE),
    "xfs": System("xfs", 320),
    # Its superblock is 4096 bytes under one checksum, written in place.
    "btrfs": System("btrfs", 128, make=("-M",), sector=4096),
}


class MissingError(Exception):
    """What this machine lacks."""


def missing(name: str) -> str | None:
    """Return what is not there for runs on a system, as far as looking tells."""
    if not sys.platform.startswith("linux"):
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root, to mount an image"
    for tool in ("cc", f"mkfs.{SYSTEMS[name].kind}"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    if not os.path.exists("/dev/loop-control"):
        return "needs loop devices (/dev/loop-control)"
    return None


def checked(result: int, what: str) -> None:
    """Raise what a call of the C library said."""
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(device: str, at: Path, kind: str | None, flags: int, options: str = "") -> None:
    words = (None if word is None else os.fsencode(word) for word in (device, at, kind))
    checked(LIBC.mount(*words, ctypes.c_ulong(flags), options.encode()), "mount")


def unmount(at: Path, flags: int = 0) -> None:
    checked(LIBC.umount2(os.fsencode(at), flags), "umount")


def alone() -> None:
    """Give this process mounts of its own, which go with it."""
    try:
        checked(LIBC.unshare(CLONE_NEWNS), "unshare")
    except OSError as error:
        raise MissingError(f"needs the right to mount: {error.strerror}") from error
    mount("none", Path("/"), None, MS_REC | MS_PRIVATE)


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Let what would interrupt this process wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Volume:
    """A file system on a device, and where it is mounted."""

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
        mount(self._device, self.at, self._system.kind, 0, self._system.options)

    @unbroken()
    def unmount(self) -> None:
        """Unmount it, if it is mounted."""
        for _ in range(50):
            if not self.is_mounted():
                return
            with contextlib.suppress(OSError):
                unmount(self.at)
                continue
            gc.collect()  # a failed check holds files that it had open
            time.sleep(0.1)
        unmount(self.at, MNT_DETACH)
        raise OSError(f"{self.at} stays in use")


def made(system: System, place: Path) -> Path:
    """Make a file system in a new file."""
    image = place / "image"
    with image.open("wb") as file:
        file.truncate(system.mib << 20)
    words = [f"mkfs.{system.kind}", "-q", *system.make, str(image)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{words[0]}: {done.stderr.strip()}")
    return image


@contextlib.contextmanager
def attached(file: int, sector: int) -> Iterator[tuple[int, str]]:
    """Give an open file a loop device, which goes when nobody has it open any more."""
    try:
        device = -1
        with open("/dev/loop-control", "rb") as control:
            for _ in range(20):
                name = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
                device = os.open(name, os.O_RDWR)
                info = struct.pack("=5Q4I176x", 0, 0, 0, 0, 0, 0, 0, 0, LO_FLAGS_AUTOCLEAR)
                config = struct.pack("=2I", file, sector) + info + bytes(64)
                try:
                    fcntl.ioctl(device, LOOP_CONFIGURE, config)
                    break
                except OSError as error:
                    os.close(device)
                    device = -1
                    if error.errno != errno.EBUSY:  # else another process was faster
                        raise
        if device < 0:
            raise OSError("none stays free")
    except OSError as error:
        raise MissingError(f"needs loop devices: {error}") from error
    try:
        yield device, name
    finally:
        os.close(device)


@contextlib.contextmanager
def mounted(system: System, device: str, at: Path) -> Iterator[Volume]:
    at.mkdir(exist_ok=True)
    volume = Volume(system, device, at)
    try:
        try:
            volume.mount()
        except OSError as error:
            raise MissingError(f"cannot mount {system.kind} here: {error}") from error
        yield volume
    finally:
        volume.unmount()


# ---- what was promised, and what is there ----------------------------------------------------


def promise_of(run: str, log: Iterable[str]) -> Any:
    promise: Any = saves.Promise() if run in saves.RUNS else PromiseOfSteps()
    for line in log:
        if line.startswith(MARKS):
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


def has_failed(log: list[str]) -> bool:
    return any(line.startswith("error ") for line in log)


def in_words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


class Tally(NamedTuple):
    """What was counted on a system."""

    counts: Counter[str]
    violations: list[str]
    seconds: float

    def line(self, name: str, words: str) -> str:
        c = self.counts
        return (
            f"{name} ({SYSTEMS[name].options}): {words}; "
            f"{c['old']} met old, {c['new']} new, {c['nothing']} nothing; "
            f"{len(self.violations)} violations; {self.seconds:.1f} s"
        )


# ---- commands --------------------------------------------------------------------------------


def arguments(about: str, counted: str, systems: Iterable[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(f"--{counted}", type=int, default=1000, help="in all, over the systems")
    parser.add_argument("--system", choices=systems, action="append", help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lazy", action="store_true", help="syncs do nothing: a control")
    return parser


def stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def command(
    names: list[str],
    number: int,
    lacks: Callable[[str], str | None],
    tally_of: Callable[[str, int, Path], tuple[str, list[str]]],
) -> int:
    """Share a number out among systems, print what was counted, and return the exit status."""
    for name in names:
        reason = lacks(name)
        if reason:
            print(reason, file=sys.stderr)
            return MISSING
    signal.signal(signal.SIGTERM, stop)
    n_violations = 0
    try:
        alone()
        for n, name in enumerate(names):
            share = number * (n + 1) // len(names) - number * n // len(names)
            with tempfile.TemporaryDirectory(prefix="mxio-images-") as place:
                line, violations = tally_of(name, share, Path(place))
            print(line, flush=True)
            for violation in violations:
                print(violation, file=sys.stderr)
            n_violations += len(violations)
    except MissingError as error:
        print(error, file=sys.stderr)
        return MISSING
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return int(n_violations > 0)
