# SPDX-License-Identifier: Apache-2.0
"""``mxio checkpoints``: a table of steps, whether they are sound, and what --prune leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from place import Done, Place, in_process
from training import made

import mxio


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    return in_process(capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    with mxio.CheckpointManager(folder, keep_last=None) as manager:
        for step, loss in enumerate([3.0, 1.0, 2.0, float("nan")], 1):
            metrics = {"loss": loss} | ({"\x1b[31macc": step} if step > 2 else {})
            manager.save(step, made(step), metrics)
    return folder


def damage(folder: Path, step: int) -> None:
    path = folder / f"step-{step:010d}.mxio"
    data = bytearray(path.read_bytes())
    data[-20_000] ^= 1
    path.write_bytes(data)


def test_a_table_of_steps(run: Callable[..., Done], folder: Path) -> None:
    done = run("checkpoints", str(folder))
    assert done.status == 0
    head, *rows, total = done.out.splitlines()
    assert head.split() == ["step", "saved", "bytes", "loss", r"'\x1b[31macc'"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4"]
    assert [row.split()[3:] for row in rows] == [["3"], ["1"], ["2", "3"], ["nan", "4"]]
    assert total.startswith("4 steps, ")
    assert done.err == ""


def test_json_and_verify(run: Callable[..., Done], folder: Path) -> None:
    damage(folder, 3)
    (folder / "step-0000000009.mxio").write_bytes(b"")
    document = run("checkpoints", str(folder), "--json")
    assert document.status == 1  # a file that is none needs no --verify
    found = {step["step"]: step for step in document.json["steps"]}
    assert [step["verified"] for step in found.values()] == [None, None, None, None, False]
    assert found[4]["metrics"] == {"loss": "nan", "\x1b[31macc": 4}
    assert found[4]["file"] == "step-0000000004.mxio"
    done = run("checkpoints", str(folder), "--json", "--verify")
    assert done.status == 1
    assert [step["verified"] for step in done.json["steps"]] == [True, True, False, True, False]
    assert "checksum mismatch" in done.json["steps"][2]["damage"][0]
    table = run("checkpoints", str(folder), "--verify")
    assert table.status == 1
    assert [line.split()[-1] for line in table.out.splitlines()[1:6]] == [
        *("yes", "yes", "damaged", "yes", "damaged")
    ]
    assert "step 3: checksum mismatch in" in table.out


def test_prune(run: Callable[..., Done], folder: Path) -> None:
    damage(folder, 4)
    done = run("checkpoints", str(folder), "--prune", "--keep-last", "1", "--json")
    assert done.json["removed"] == [1, 2]
    assert [step["step"] for step in done.json["steps"]] == [3, 4]  # 3 is the newest sound one
    # Why there are two is told, too.
    assert done.status == 1
    assert [step["verified"] for step in done.json["steps"]] == [None, False]
    again = run("checkpoints", str(folder), "--prune", "--keep-last", "1")
    assert again.status == 1
    assert "step 4: checksum mismatch in" in again.out


def test_what_is_no_file_is_told(run: Callable[..., Done], folder: Path) -> None:
    (folder / "step-0000000008.mxio").mkdir()
    done = run("checkpoints", str(folder))
    assert done.status == 1
    assert "step 8: it is a folder\n" in done.out


@pytest.mark.skipif(os.geteuid() == 0, reason="a privileged process may read it")
def test_a_step_that_may_not_be_read_is_not_called_damaged(
    run: Callable[..., Done], folder: Path
) -> None:
    (folder / "step-0000000003.mxio").chmod(0)
    done = run("checkpoints", str(folder), "--verify")
    assert done.status == 2
    assert "step-0000000003.mxio: Permission denied" in done.err


def test_prune_by_metric_and_by_multiples(run: Callable[..., Done], folder: Path) -> None:
    best = ["--prune", "--keep-last", "1", "--keep-best", "1", "--metric"]
    done = run("checkpoints", str(folder), *best, "lost")
    assert (done.status, done.out) == (2, "")
    assert "no metric 'lost' among 'loss', " in done.err
    told = run("checkpoints", str(folder), *best, "loss", "--dry-run").out
    assert "would remove step 1\nwould remove step 3\n4 steps" in told
    told = run("checkpoints", str(folder), *best, "loss").out
    assert "removed step 1\nremoved step 3\n2 steps" in told
    with mxio.CheckpointManager(folder, keep_last=None) as manager:
        assert manager.steps() == [2, 4]
        for step in 5, 6, 7, 8, 9, 10:
            manager.save(step, made(step))
    run("checkpoints", str(folder), "--prune", "--keep-every", "3")
    with mxio.CheckpointManager(folder, read_only=True) as manager:
        assert manager.steps() == [6, 8, 9, 10]  # three last ones, too


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--prune"], "--keep-last 3"),
        (["--keep-last", "3"], "give --prune, too"),
        (["--prune", "--keep-best", "1"], "--keep-best needs --metric NAME"),
        (["--dry-run"], "give --prune, too"),
        (["--prune", "--keep-last", "0"], "1 or more"),
    ],
)
def test_what_makes_no_sense_removes_nothing(
    run: Callable[..., Done], folder: Path, args: list[str], words: str
) -> None:
    before = os.listdir(folder)
    done = run("checkpoints", str(folder), *args)
    assert (done.status, done.out) == (2, "")
    assert words in done.err
    assert os.listdir(folder) == before


def test_a_directory_that_is_none_empty_or_in_use(run: Callable[..., Done], tmp_path: Path) -> None:
    assert "no directory" in run("checkpoints", str(tmp_path / "nowhere")).err
    assert run("checkpoints", str(tmp_path)).out == "0 steps, 0 bytes\n"
    with mxio.CheckpointManager(tmp_path) as manager:
        manager.save(1, {})
        assert run("checkpoints", str(tmp_path)).status == 0
        done = run("checkpoints", str(tmp_path), "--prune", "--keep-last", "1")
        assert done.status == 2
        assert f"process {os.getpid()} on" in done.err


def test_as_a_stranger_runs_it(tmp_path: Path, folder: Path) -> None:
    place = Place(tmp_path)
    done = place.mxio("checkpoints", str(folder), "--verify")
    assert (done.status, done.err) == (0, "")
    assert place.is_clean()
