# SPDX-License-Identifier: Apache-2.0
"""After a power cut at any moment of a save a file is the old one or the new one, whole.

Runs are those of tests/saves.py, what may be left of them is said by tests/crash.py.
``MXIO_CUTS=N`` tries N times as many states as are tried without.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import saves
from crash import CHANGES, MODELS, Disk, Op, laid_out
from host import STUBBORN, Host, hosted, states_of
from saves import RUNS, Promise
from test_checkpoint_crash import Promise as PromiseOfSteps
from training import made

import mxio

SAMPLES = 38 * int(os.environ.get("MXIO_CUTS", "1"))
FEWEST = 15
SLOW = ("two threads",)  # thousands of sectors


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with hosted(tmp_path_factory.mktemp("host")) as made_there:
        yield made_there


def cuts(model: str, ops: list[Op], name: str, samples: int) -> Iterator[Any]:
    return states_of(Disk(model), ops, name, samples, Promise())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", RUNS)
def test_what_a_power_cut_leaves_is_what_was_promised_or_on_its_way(
    host: Host, tmp_path: Path, name: str, model: str
) -> None:
    ops = host.recorded(name)
    found: set[Any] = set()
    n = 0
    promise = Promise()
    for tree, promise in cuts(model, ops, name, 1 + SAMPLES // 38 if name in SLOW else SAMPLES):
        n += 1
        try:
            found.add(promise.holds(laid_out(tree, tmp_path / "cut")))
        except Exception as error:
            raise AssertionError(f"{name}, {model}, state {n}: {error!r}") from error
    print(f"{name}, {model}: {n} states")
    assert n >= FEWEST
    assert () in found  # nothing yet
    assert len(found) >= len(promise.saved) + 1  # old ones and new ones were met


def test_however_threads_take_turns_it_holds(host: Host, tmp_path: Path) -> None:
    turns: set[Any] = set()
    n = 0
    for seed in range(1, 1 + SAMPLES // 9):
        name = ("two threads", "at once")[seed % 2]
        ops = host.recorded(name, DELAY=seed)
        turns.add(tuple((op.what, op.at) for op in ops))
        disk = Disk(MODELS[seed // 2 % 2])
        for tree, promise in states_of(disk, ops, name, 1, Promise()):
            n += 1
            promise.holds(laid_out(tree, tmp_path / "cut"))
    print(f"threads: {n} states of {len(turns)} ways to take turns")
    assert n > 50
    assert len(turns) > 1


@pytest.mark.parametrize("left_out", ["sync", "sync folder"])
def test_without_its_syncs_each_run_would_lose_something(
    host: Host, tmp_path: Path, left_out: str
) -> None:
    for name in RUNS:
        ops = [op for op in host.recorded(name) if op.what != left_out]
        losses = 0
        for tree, promise in cuts("posix", ops, name, 2):
            try:
                promise.holds(laid_out(tree, tmp_path / "cut"))
            except (AssertionError, mxio.FormatError):
                losses += 1
                break
        assert losses, name


@pytest.mark.parametrize("name", STUBBORN)
def test_what_a_power_cut_leaves_after_a_call_has_failed_and_was_tried_once_more(
    host: Host, tmp_path: Path, name: str
) -> None:
    n = n_failed = 0
    calls = sum(op.what in CHANGES or op.what == "sync folder" for op in host.recorded(name))
    # What is tried once more has calls, too.
    numbers = range(1, 2 * calls, 1 + calls // (2 * SAMPLES))
    for number in numbers:
        code = (errno.EIO, errno.ENOSPC, errno.EDQUOT)[number % 3]
        ops = host.recorded(name, FAIL=f"{number}:{code}")
        first = next((k for k, op in enumerate(ops) if op.what in ("failed", "unsynced")), None)
        if first is None:
            continue  # what failed changes nothing, such as a mode
        n_failed += 1
        disk, seed = Disk(MODELS[number % 2]), f"{name} {number}"
        promise: Any = Promise() if name in saves.STUBBORN else PromiseOfSteps()
        for tree, told in states_of(disk, ops, seed, 1 + SAMPLES // 38, promise, first):
            n += 1
            folder = laid_out(tree, tmp_path / "cut")
            try:
                told.holds(folder if name in saves.STUBBORN else folder / "a/run")
            except Exception as error:
                where = f"{name}, call {number} failed, {disk.model}, state {n}"
                raise AssertionError(f"{where}: {error!r}") from error
    print(f"{name}: {n} states after {n_failed} failures")
    assert n_failed >= len(numbers) * 0.4
    assert n > 5 * n_failed


def test_what_is_done_after_a_power_cut_may_be_cut_too(host: Host, tmp_path: Path) -> None:
    """A manager goes on with what one cut left, and there is another one."""
    ops = host.recorded("plain")
    trees = [tree for tree, _ in cuts_of_steps(ops, "posix", 4)]
    n = 0
    for k, tree in enumerate(trees[:: max(1, len(trees) // (SAMPLES // 6))]):
        folder = laid_out(tree, tmp_path / "cut")
        newest = newest_in(folder)
        later = host.recorded("going on", tree)
        disk = Disk("posix" if k % 2 else "journal", tree)
        for left, promise in states_of(disk, later, f"{k}", SAMPLES // 2, Steps()):
            n += 1
            found = newest_in(laid_out(left, tmp_path / "cut"))
            assert found >= newest
            assert found >= promise.newest
    print(f"going on: {n} states")
    assert n > 300


class Steps:
    """The newest step that was said to be saved."""

    newest = -1

    def hear(self, mark: str) -> None:
        self.newest = max(self.newest, int(mark.split()[1]))


def cuts_of_steps(ops: list[Op], model: str, samples: int) -> Iterator[Any]:
    return states_of(Disk(model), ops, "steps", samples, Steps())


def newest_in(folder: Path) -> int:
    with mxio.CheckpointManager(folder / "a/run", read_only=True) as manager:
        state = manager.restore()
    if state is None:
        return -1
    np.testing.assert_array_equal(state["weights"], made(state["step"])["weights"])
    return int(state["step"])
