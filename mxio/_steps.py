# SPDX-License-Identifier: Apache-2.0
"""A folder of checkpoints: which steps are there, whose it is, and what may be removed.

A step is there when its file is; nothing else is kept about it anywhere. All that stands in
the folder besides is left alone, but for temporary files of processes that are gone.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import math
import os
import pathlib
import re
import stat
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mxio import _core
from mxio._reader import Reader
from mxio._source import Path
from mxio.errors import FormatError, FormatWarning, described, quote

__all__ = ["STEP_MAX", "StepInfo", "Steps", "metadata_of"]

STEP_MAX = 2**63 - 1

_NAME = re.compile(r"step-([0-9]{10,19})\.mxio")
# docs/FORMAT.md says nothing about them: csrc/os_posix.c makes such names.
_TEMPORARY = re.compile(
    r"\.step-[0-9]{10,19}\.mxio\.mxio-(?:([0-9a-f]{8})-([0-9a-f]{8})-[0-9a-f]{16})\.tmp"
)
_LOCK = ".mxio-manager.lock"

# How old a temporary file is at least that is taken for dead although its process may live:
# another one may have got its number; a lock on another host may be unknown here.
_OLD = 60.0
_OLD_ELSEWHERE = 3600.0

# Files whose metrics are remembered.
_KNOWN_AT_MOST = 10_000

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


class StepInfo(NamedTuple):
    """What is known of a step without reading its arrays.

    Attributes
    ----------
    step : int
    path : str
    nbytes : int
        Of its file.
    time : str or None
        When it was saved, as ISO 8601 in UTC, by the clock of whoever saved it.
    metrics : dict of str to float
    """

    step: int
    path: str
    nbytes: int
    time: str | None
    metrics: dict[str, float]


class Steps:
    """The files of one folder that are steps, and the lock of who writes them."""

    def __init__(self, directory: Path) -> None:
        if not isinstance(directory, (str, os.PathLike)):
            raise TypeError(f"a directory is a str or os.PathLike, not {described(directory)}")
        if not os.fsdecode(directory):
            raise ValueError("a directory is a path, and '' is none; '.' is the working directory")
        # Where it is now: programs change their working directory.
        self.directory = os.path.abspath(os.fsdecode(directory))
        self._lock = self._process = -1
        self._known: dict[tuple[int, int, int], dict[str, float]] = {}

    def make(self) -> None:
        """Make the folder where it is not there, so that a power cut does not take it back."""
        missing = []
        at = self.directory
        while not os.path.isdir(at):
            missing.append(at)
            at = os.path.dirname(at)
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            if not os.path.isdir(folder):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
        if not self.found():  # whoever saved a step had done this
            self._sync_names(len(missing))

    def _sync_names(self, n_new: int) -> None:
        """Bring the folder's name to the disk, and those of the folders that it is in.

        They may be younger than they seem: of a process that was killed before it had synced
        them. What is not ours to read had been there before.
        """
        home = pathlib.Path(os.path.realpath(self.directory))
        device = home.stat().st_dev
        for n, folder in enumerate(home.parents):
            if folder.stat().st_dev != device:
                return
            try:
                _sync_folder(folder)
            except PermissionError:
                if n < n_new:
                    raise

    def path(self, step: int) -> str:
        """Return the path of a step's file, there or not."""
        return os.path.join(self.directory, f"step-{step:010d}.mxio")

    def found(self) -> list[int]:
        """Return the steps that are there, in ascending order."""
        return [step for step, is_file in self.named() if is_file]

    def named(self) -> list[tuple[int, bool]]:
        """Return the steps whose names are there, ascending, and whether they are files."""
        steps = []
        with contextlib.ExitStack() as stack:
            try:
                entries = stack.enter_context(os.scandir(self.directory))
            except FileNotFoundError:
                return []
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match is None:
                    continue
                step = int(match[1])
                if step <= STEP_MAX and entry.name == f"step-{step:010d}.mxio":
                    steps.append((step, entry.is_file()))
        return sorted(steps)

    def oddity(self, step: int) -> str | None:
        """Return what stands in a step's place if that is no file."""
        path = self.path(step)
        if os.path.isfile(path) or not os.path.lexists(path):
            return None
        if os.path.isdir(path):
            return "a folder"
        return "no file" if os.path.exists(path) else f"a link to nothing: {os.readlink(path)}"

    def damage(self, step: int, threads: int) -> FormatError | OSError | None:
        """Read a step; return what is wrong with it."""
        try:
            with Reader(self.path(step), threads=threads) as reader:
                found = reader.verify()
        except FormatError as error:
            return error
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return error
        return FormatError("; ".join(one.what for one in found)) if found else None

    def info(self, step: int) -> StepInfo:
        """Return what the head of a step's file tells."""
        path = self.path(step)
        with Reader(path) as reader:
            told = reader.metadata.get("time")
            return StepInfo(
                step,
                path,
                reader._file.nbytes,
                told if isinstance(told, str) else None,
                _metrics_in(reader.metadata),
            )

    def metrics(self, step: int) -> dict[str, float] | None:
        """Return the metrics of a step; None of a file that cannot tell."""
        try:
            status = os.stat(self.path(step))
            key = step, status.st_ino, status.st_mtime_ns
            if key not in self._known:
                if len(self._known) >= _KNOWN_AT_MOST:
                    self._known.clear()
                self._known[key] = self.info(step).metrics
            return self._known[key]
        except (OSError, FormatError, FormatWarning):
            return None

    def remove(self, step: int) -> None:
        """Remove a step, if somebody else did not."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(step))

    def set_aside(self, step: int) -> str:
        """Give the file of a step another name, under which it is none, and return that."""
        for number in range(1, 10_000):
            aside = os.path.join(self.directory, f"step-{step:010d}.damaged-{number}.mxio")
            if not os.path.lexists(aside):
                os.rename(self.path(step), aside)
                return aside
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), aside)

    # ---- whose it is ----

    def hold(self) -> None:
        """Lock the folder until `release`, or until this process is gone.

        Raises
        ------
        BlockingIOError
            Another manager has it: the message names its process.
        """
        path = os.path.join(self.directory, _LOCK)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 300, 0).decode("utf-8", "replace").strip()
                raise BlockingIOError(
                    errno.EAGAIN,
                    f"another CheckpointManager writes there, {holder or 'of another process'}; "
                    "read_only=True needs no lock",
                    self.directory,
                ) from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError) and error.filename is None:
                raise OSError(error.errno, error.strerror, path) from None
            raise
        self._lock, self._process = fd, os.getpid()

    def release(self) -> None:
        """Give up the lock; in a child of the process that took it, leave it to the parent."""
        fd, self._lock = self._lock, -1
        if fd < 0:
            return
        if self._process == os.getpid():
            with contextlib.suppress(OSError):  # children that have not closed theirs yet
                fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)

    def clean(self) -> list[str]:
        """Remove temporary files of steps whose processes are gone, and return their names."""
        gone = []
        for name in sorted(os.listdir(self.directory)):
            match = _TEMPORARY.fullmatch(name)
            if match is not None and _is_dead(
                os.path.join(self.directory, name), match[1], int(match[2], 16)
            ):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.directory, name))
                    gone.append(name)
        return gone


def _is_dead(path: str, host: str, process: int) -> bool:
    """Say whether nobody writes a temporary file any more; if in doubt, no.

    Whoever writes one has it locked from its first moment on, as far as locks work there.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return False
        is_locked_to_us = True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            is_locked_to_us = False
        age = time.time() - status.st_mtime
        is_here = host == f"{_core.crc32c(os.uname().nodename.encode(), 0, None):08x}"
        if not is_here or not is_locked_to_us:
            return age >= _OLD_ELSEWHERE and not (is_here and _lives(process))
        return age >= _OLD or not _lives(process)
    finally:
        os.close(fd)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(fd)


# ---- metadata -----------------------------------------------------------------------------------


def metadata_of(step: int, metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the metadata of a step's file."""
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TypeError(f"metrics is a dict of numbers by name, not {described(metrics)}")
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "step": step,
        "time": now.isoformat(timespec="seconds"),
        "metrics": dict(_plain_metrics(metrics or {})),
    }


def _plain_metrics(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield metrics as JSON can say them: what is no finite number as a string."""
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise TypeError(f"a metric's name is a str, not {described(name)}")
        try:
            if not isinstance(value, (int, float)) and hasattr(value, "item"):
                value = value.item()  # of a tensor, which warns if it is asked for a float
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(
                f"the metric {quote(name)} is {described(value)}, not a number"
            ) from None
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
            yield name, int(value)
        else:
            yield name, number if math.isfinite(number) else repr(number)


def _metrics_in(metadata: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that a file's metadata holds, whoever wrote it."""
    said = metadata.get("metrics")
    found: dict[str, float] = {}
    for name, value in said.items() if isinstance(said, dict) else ():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = value
        elif value in ("nan", "inf", "-inf"):
            found[name] = float(value)
    return found
