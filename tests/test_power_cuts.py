# SPDX-License-Identifier: Apache-2.0
"""Some real power cuts of ext4, by tests/power_cuts.py, which makes as many as one likes.

They need root and loop devices, and are skipped where those are not to be had.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from power_cuts import MISSING, missing

import mxio

COMMAND = Path(__file__).parent / "power_cuts.py"
N_CUTS = 50


def started(place: Path, *told: str, cuts: int = N_CUTS) -> subprocess.Popen[str]:
    """Start the command, whose folders are made in a place; its signals do not reach us."""
    reason = missing("ext4")
    if reason:
        pytest.skip(reason)
    return subprocess.Popen(
        [sys.executable, str(COMMAND), "--system", "ext4", "--cuts", str(cuts), *told],
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


def counted(line: str) -> dict[str, int]:
    words = r"cuts|old|new|nothing|violations|of them after"
    found = re.findall(rf"(\d+) (?:met )?({words})", line)
    return {word: int(number) for number, word in found}


def assert_nothing_is_left(place: Path) -> None:
    assert list(place.iterdir()) == []
    assert str(place) not in Path("/proc/self/mountinfo").read_text()
    loops = Path("/sys/block").glob("loop*/loop/backing_file")
    assert not [file for file in loops if str(place) in file.read_text()]


@pytest.mark.parametrize("how", [(), ("--flush",)], ids=["journal lost", "journal written"])
def test_no_power_cut_takes_what_was_saved(tmp_path: Path, how: tuple[str, ...]) -> None:
    process = started(tmp_path, *how)
    out, err = ended(process)
    print(out)
    assert (process.returncode, err) == (0, "")
    n = counted(out)
    assert n["cuts"] == n["old"] + n["new"] + n["nothing"] == N_CUTS
    assert n["violations"] == 0
    assert min(n["old"], n["nothing"], n["of them after"]) > 0
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize("how", [(), ("--flush",)], ids=["journal lost", "journal written"])
def test_without_syncs_power_cuts_take_what_was_saved(tmp_path: Path, how: tuple[str, ...]) -> None:
    process = started(tmp_path, "--lazy", *how)
    out, err = ended(process)
    assert process.returncode == 1
    n = counted(out)
    assert n["violations"] == len(err.splitlines())
    assert n["violations"] > N_CUTS / 3
    # Files that lost their names, or names of files that lost what was in them.
    assert ("FormatError" if how else "is lost") in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_what_is_interrupted(tmp_path: Path, number: int) -> None:
    process = started(tmp_path, cuts=10**6)
    while process.poll() is None and not list(tmp_path.glob("*/log")):
        time.sleep(0.01)  # until runs are carried out
    if process.returncode is None:
        os.killpg(process.pid, number)
    ended(process)
    assert process.returncode == 128 + number
    assert_nothing_is_left(tmp_path)
