# SPDX-License-Identifier: Apache-2.0
"""Long work, shown: what ``progress=`` means, and a line or a bar on a terminal.

tqdm draws the bar where it is installed; nothing needs it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from mxio.errors import described

__all__ = ["Bar", "Progress", "counted", "human", "plural", "shown"]

Progress: TypeAlias = "Callable[[int, int], object]"

_LATER = 0.5  # seconds before anything is shown at all
_OFTEN = 0.1  # seconds between two showings


@contextlib.contextmanager
def shown(progress: bool | Progress | None, what: str) -> Iterator[Progress | None]:
    """Give what is to be told bytes done and bytes in all, or None if nobody wants to know.

    `progress` is a keyword's value: a callable, True for a bar on a terminal, else nothing.
    """
    if progress is True:
        with Bar(what) as bar:
            yield bar
    elif progress is None or progress is False:
        yield None
    elif callable(progress):
        yield progress
    else:
        raise TypeError(
            f"progress is True or a callable(done_nbytes, total_nbytes), not {described(progress)}"
        )


def counted(progress: Progress, total: int) -> Callable[[int], object]:
    """Return what is told bytes done alone, and tells `progress` both, never beyond all."""
    return lambda done: progress(min(done, total), total)


class Bar:
    """Bytes done of bytes in all, on stderr, if that is a terminal and it takes a while.

    `what` is shown beside them, and holds nothing that could steer a terminal.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._enabled = sys.stderr is not None and sys.stderr.isatty()
        self._begin = time.monotonic()
        self._last = 0.0
        self._bar: Any = None
        self._printed = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._printed:
            print("\r" + " " * self._printed + "\r", end="", file=sys.stderr, flush=True)

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if not self._enabled or now - self._begin < _LATER or now - self._last < _OFTEN:
            return
        self._last = now
        if self._bar is None and not self._printed:
            self._bar = _tqdm(self._what, done, total)
        if self._bar is not None:
            self._bar.n = done
            self._bar.refresh()
        else:
            import shutil  # brings what no other import of mxio does

            line = f"{self._what}: {human(done)} of {human(total)}"
            line = line[: shutil.get_terminal_size().columns - 1]
            print("\r" + line.ljust(self._printed), end="", file=sys.stderr, flush=True)
            self._printed = max(self._printed, len(line))


def _tqdm(what: str, done: int, total: int) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    tqdm.monitor_interval = 0  # no thread: the bar is refreshed from here
    return tqdm(
        desc=what,
        initial=done,
        total=total,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        leave=False,
        dynamic_ncols=True,
        file=sys.stderr,
    )


def plural(n: int, noun: str) -> str:
    """Return ``1 array``, ``2,000 arrays``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def human(nbytes: int) -> str:
    """Return a size with its unit: ``512 bytes``, ``1.5 MiB``."""
    if nbytes < 1024:
        return plural(nbytes, "byte")
    size, units = nbytes / 1024, iter(("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))
    unit = next(units)
    while size >= 1023.95 and unit != "EiB":
        size, unit = size / 1024, next(units)
    return f"{size:.1f} {unit}"
