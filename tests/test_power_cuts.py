# SPDX-License-Identifier: Apache-2.0
"""Some real power cuts of ext4, by tests/power_cuts.py, which makes as many as one likes.

They need root and loop devices, and are skipped where those are not to be had.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from commanded import assert_nothing_is_left, counted, ended, interrupted, started
from volumes import missing

COMMAND = ("power_cuts.py", "--system", "ext4", "--cuts")
COUNTED = "cuts|old|new|nothing|violations|of them after"
N_CUTS = 50
NEEDED = missing("ext4")
pytestmark = pytest.mark.skipif(NEEDED is not None, reason=str(NEEDED))


@pytest.mark.parametrize("how", [(), ("--flush",)], ids=["journal lost", "journal written"])
def test_no_power_cut_takes_what_was_saved(tmp_path: Path, how: tuple[str, ...]) -> None:
    process = started(tmp_path, *COMMAND, N_CUTS, *how)
    out, err = ended(process)
    print(out)
    assert (process.returncode, err) == (0, "")
    n = counted(out, COUNTED)
    assert n["cuts"] == n["old"] + n["new"] + n["nothing"] == N_CUTS
    assert n["violations"] == 0
    assert min(n["old"], n["nothing"], n["of them after"]) > 0
    assert_nothing_is_left(tmp_path, process)


@pytest.mark.parametrize("how", [(), ("--flush",)], ids=["journal lost", "journal written"])
def test_without_syncs_power_cuts_take_what_was_saved(tmp_path: Path, how: tuple[str, ...]) -> None:
    process = started(tmp_path, *COMMAND, N_CUTS, "--lazy", *how)
    out, err = ended(process)
    assert process.returncode == 1
    n = counted(out, COUNTED)
    assert n["violations"] == len(err.splitlines())
    assert n["violations"] > N_CUTS / 3
    # Files that lost their names, or names of files that lost what was in them.
    assert ("FormatError" if how else "is lost") in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_what_is_interrupted(tmp_path: Path, number: int) -> None:
    interrupted(tmp_path, number, *COMMAND, 10**6)
