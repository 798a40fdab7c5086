# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after a power cut, by tests/block_images.py: some images of each system.

They need root, FUSE, loop devices and what makes the file system, and are skipped where those
are not to be had.
"""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from block_images import Cut, Record, images, lacks
from block_log import Entry, Flush, Memory, Write
from commanded import assert_nothing_is_left, counted, ended, has_runs, interrupted, started
from volumes import SYSTEMS

COMMAND = ("block_images.py", "--images")
COUNTED = "images|old|new|nothing|violations|of them without|of them unmountable"
N_IMAGES = 70


def needs(name: str) -> None:
    reason = lacks(name)
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
def test_an_image_has_what_was_flushed_and_of_the_rest_any_part() -> None:
    sector = SYSTEMS["ext4"].sector
    names = b"abcdefgh"
    writes = [
        Write(2 * sector * n, 2 * sector, memoryview(names[n : n + 1] * 2 * sector))
        for n in range(8)
    ]
    a, b, c, d, e, f, g, h = writes
    entries: list[Entry] = [a, "run x", b, Flush(), "begin", c, d, Flush(), "saved x 1", e, f, g]
    entries += ["end", h, Flush(), "over"]
    record = Record(entries)
    assert [tuple(one) for one in record.sections] == [("x", 4, 12, 15)]
    cut = Cut(Memory(1 << 16, "image"), record, SYSTEMS["ext4"])
    found = images(record, 300, sector, random.Random(0))
    seen = set()
    for image in found:
        cut.lay(image)
        there = [bytes(cut.disk.map[n * sector : (n + 1) * sector]).strip(b"\0") for n in range(16)]
        assert all(
            part in (b"", names[n // 2 : n // 2 + 1] * sector) for n, part in enumerate(there)
        )
        is_there = [bool(part) for part in there]
        promised = "saved x 1" in record.marks(0, image.point)
        assert all(is_there[: 8 if promised else 4])
        latest = max(n for n, one in enumerate(is_there) if one) // 2
        assert latest < 4 or promised
        assert (*is_there, promised) not in seen
        seen.add((*is_there, promised))
    # c and d may be torn, e, f and g too, and h after them.
    assert len(found) > 80
    assert {False, True} == {key[-1] for key in seen}


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs"])
def test_no_image_after_a_power_cut_lacks_what_was_saved(tmp_path: Path, name: str) -> None:
    needs(name)
    process = started(tmp_path, *COMMAND, N_IMAGES, "--system", name)
    out, err = ended(process)
    print(out)
    assert (process.returncode, err) == (0, "")
    n = counted(out, COUNTED)
    assert n["images"] == n["old"] + n["new"] + n["nothing"] == N_IMAGES
    assert n["violations"] == n["of them unmountable"] == 0
    assert n["of them without"] > N_IMAGES / 4
    assert min(n["old"], n["new"] + n["nothing"]) > 0
    assert_nothing_is_left(tmp_path, process)


@pytest.mark.parametrize("name", ["ext4", "xfs"])
def test_without_syncs_images_lack_what_was_saved(tmp_path: Path, name: str) -> None:
    needs(name)
    process = started(tmp_path, *COMMAND, 25, "--system", name, "--lazy")
    out, err = ended(process)
    assert process.returncode == 1
    n = counted(out, COUNTED)
    assert n["violations"] == len(err.splitlines())
    assert n["violations"] > 25 / 3
    assert n["of them unmountable"] == 0
    assert "is lost" in err


def has_images(place: Path) -> bool:
    return has_runs(place) and not list(place.glob("*/disk"))


@pytest.mark.parametrize(
    ("number", "when"),
    [(signal.SIGINT, has_runs), (signal.SIGTERM, has_runs), (signal.SIGINT, has_images)],
    ids=["SIGINT, recording", "SIGTERM, recording", "SIGINT, mounting"],
)
def test_nothing_is_left_of_what_is_interrupted(
    tmp_path: Path, number: int, when: Callable[[Path], bool]
) -> None:
    needs("ext4")
    interrupted(tmp_path, number, *COMMAND, 10**6, "--system", "ext4", when=when)
