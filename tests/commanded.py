# SPDX-License-Identifier: Apache-2.0
"""Starts tests/power_cuts.py and tests/block_images.py for their tests, in a place to look at."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from volumes import MISSING

import mxio


def started(place: Path, command: str, *told: object) -> subprocess.Popen[str]:
    """Start a command, whose folders are made in a place; its signals do not reach us."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / command), *map(str, told)],
        env={**os.environ, "TMPDIR": str(place), "PYTHONPATH": str(Path(mxio.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    with process:
        out, err = process.communicate()
    if process.returncode == MISSING:
        pytest.skip(err.strip())
    return out, err


def has_runs(place: Path) -> bool:
    return bool(list(place.glob("*/log")))


def interrupted(
    place: Path,
    number: int,
    command: str,
    *told: object,
    when: Callable[[Path], bool] = has_runs,
) -> None:
    """Interrupt a command when runs are carried out, and see to it that nothing is left."""
    process = started(place, command, *told)
    latest = time.monotonic() + 300
    while process.poll() is None and not when(place) and time.monotonic() < latest:
        time.sleep(0.01)
    is_late = time.monotonic() >= latest
    if process.returncode is None:
        os.killpg(process.pid, number)
    ended(process)
    assert not is_late
    assert process.returncode == 128 + number
    assert_nothing_is_left(place, process)


def counted(line: str, words: str) -> dict[str, int]:
    found = re.findall(rf"(\d+) (?:met )?({words})", line)
    return {word: int(number) for number, word in found}


def assert_nothing_is_left(place: Path, process: subprocess.Popen[str]) -> None:
    assert list(place.iterdir()) == []
    assert str(place) not in Path("/proc/self/mountinfo").read_text()
    loops = Path("/sys/block").glob("loop*/loop/backing_file")
    assert not [file for file in loops if str(place) in file.read_text()]
    for _ in range(100):  # the host of the runs ends when it is asked no more
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError("a process is left")
