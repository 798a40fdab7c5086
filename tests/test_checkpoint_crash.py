# SPDX-License-Identifier: Apache-2.0
"""A run that is killed, or whose power is cut, loses no step that was saved, and goes on right.

Runs and what they save are those of tests/training.py; what a power cut may leave, those of
tests/crash.py.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import random
import shutil
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crash import MODELS, Disk, Op, laid_out
from host import Host, hosted, states_of
from training import EVERY, N_STEPS, RUNS, State, is_made, made, train

import mxio

# ---- killed, and started again ----


def fork_and_train(folder: Path, asynchronous: bool, notes: int) -> int:
    """Train in a child that this process may kill; notes get what is on the disk."""
    child = os.fork()
    if child:
        return child
    status = 1
    with contextlib.suppress(BaseException):
        state = train(folder, asynchronous, lambda step: os.write(notes, b"%d\n" % step))
        np.save(folder.parent / "end.npy", np.stack([state["weights"], state["momentum"]]))
        status = 0
    os._exit(status)


def noted(notes: int) -> list[int]:
    told = b""
    while part := os.read(notes, 65536):
        told += part
    # The last line may be cut.
    return [int(line) for line in told.decode().split("\n")[:-1] if line]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(
    tmp_path: Path, asynchronous: bool
) -> None:
    whole = train(tmp_path / "whole", asynchronous, lambda step: None)
    assert whole["step"] == N_STEPS
    rng = random.Random(asynchronous)
    kills = middle = n = 0
    latest = 0.02  # seconds until a kill at most: more where the machine is slow
    while kills < 250:
        n += 1
        folder = tmp_path / f"{n}" / "run"
        saved = 0
        while True:
            ours, theirs = os.pipe()
            child = fork_and_train(folder, asynchronous, theirs)
            os.close(theirs)
            time.sleep(rng.random() * latest)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            told = noted(ours)
            os.close(ours)
            if told:  # where it began is what was there, or what had just been written
                assert saved <= -told[0] <= saved + 2 * EVERY
                saved = max(saved, -told[0], *told)
                middle += told[-1] > 0 and os.WIFSIGNALED(status)
            if not os.WIFSIGNALED(status):
                assert status == 0
                latest *= 0.8
                break
            kills += 1
            latest *= 1.1 if not told or told[-1] <= 0 else 0.98
        end = np.load(folder.parent / "end.npy")
        np.testing.assert_array_equal(end, np.stack([whole["weights"], whole["momentum"]]))
        left = sorted(name for name in os.listdir(folder) if not name.startswith("step-"))
        assert left == [".mxio-manager.lock"]
        shutil.rmtree(folder.parent)
    assert middle > 20


# ---- every call, recorded ----


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with hosted(tmp_path_factory.mktemp("host")) as made_there:
        yield made_there


SAMPLES = 38 * int(os.environ.get("MXIO_CUTS", "1"))


def cuts(
    model: str, ops: list[Op], seed: str, samples: int
) -> Iterator[tuple[dict[str, bytes | None], Promise]]:
    return states_of(Disk(model), ops, seed, samples, Promise())


class Promise:
    """What was promised so far, by the marks of a run, and whether a folder keeps to it."""

    def __init__(self) -> None:
        self.saved: dict[int, int] = {}  # the version of each step
        self.rotten: set[int] = set()

    def hear(self, mark: str) -> None:
        word, *told = mark.split()
        if word == "saved":
            self.saved[int(told[0])] = int(told[1])
            self.rotten.discard(int(told[0]))
        elif word == "rotten":
            self.rotten.add(int(told[0]))

    def holds(self, folder: Path) -> State | None:
        """Return the step that is restored, once it is what was promised, or newer."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with mxio.CheckpointManager(folder, read_only=True) as manager:
                state = manager.restore()
        passed = [
            one.step
            for warning in caught
            if isinstance(warning.message, mxio.DamageWarning)
            for one in warning.message.damage
        ]
        assert set(passed) <= self.rotten
        sound = set(self.saved) - self.rotten
        if state is None:
            assert not self.saved
            return None
        assert is_made(state)
        step = state["step"]
        assert step >= max(sound, default=0)
        if step in sound:
            assert state["version"] in (self.saved[step], self.saved[step] + 1)
        return state


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", RUNS)
def test_after_every_power_cut_the_newest_step_that_was_saved_is_restored(
    host: Host, tmp_path: Path, name: str, model: str
) -> None:
    ops = host.recorded(name)
    folder = tmp_path / "cut"
    n = 0
    found: set[Any] = set()
    promise = Promise()
    for tree, promise in cuts(model, ops, name, SAMPLES):
        n += 1
        laid_out(tree, folder)
        state = promise.holds(folder / "a/run")
        found.add(None if state is None else (state["step"], state["version"]))
        if n % 25 == 0:  # and the next process goes on from there
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with mxio.CheckpointManager(folder / "a/run", keep_last=2) as manager:
                    manager.save(90, made(90))
                    assert manager.restore()["step"] == 90
    print(f"{name}, {model}: {n} states")
    assert n > 50
    assert None in found
    assert {(step, version) for step, version in promise.saved.items()} - found == set()


def test_without_the_syncs_a_power_cut_would_lose_steps(host: Host, tmp_path: Path) -> None:
    for name in RUNS:
        ops = host.recorded(name)
        for left_out in ("sync", "sync folder"):
            losses = 0
            kept = [op for op in ops if op.what != left_out]
            for tree, promise in cuts("posix", kept, name, 3):
                folder = tmp_path / "cut"
                laid_out(tree, folder)
                try:
                    promise.holds(folder / "a/run")
                except (AssertionError, mxio.FormatError):
                    losses += 1
            assert losses, f"{name} without {left_out}"


@pytest.mark.parametrize("name", RUNS)
def test_whenever_it_is_killed_and_whatever_fails_no_saved_step_is_lost(
    host: Host, name: str
) -> None:
    _, log = host.run(name)
    calls = [entry.split()[0] for entry in log if not entry.startswith(("saved", "rotten"))]
    failed = 0
    for number, call in enumerate(calls, 1):
        faults: list[dict[str, object]] = [{"KILL": number}]
        faults += [{"FAIL": f"{number}:{code}"} for code in (errno.ENOSPC, errno.EIO)]
        if call == "write":
            faults.append({"KILL": number, "HALF": 1})
        for told in faults:
            status, log = host.run(name, **told)
            assert status == (-signal.SIGKILL if "KILL" in told else 0)
            failed += any(entry.startswith("error") for entry in log)
            promise = Promise()
            for entry in log:
                promise.hear(entry)
            folder = host.root / "a/run"
            if not folder.is_dir():
                assert not promise.saved
                continue
            promise.holds(folder)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mxio.CheckpointManager(folder).close()
            assert not [file for file in os.listdir(folder) if file.endswith(".tmp")]
    assert failed > len(calls) / 2


def test_two_processes_at_once_of_which_one_is_refused(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with mxio.CheckpointManager(tmp_path) as manager:
        manager.save(1, made(1))
        with context.Pool(1) as pool:
            message, state = pool.apply(try_both, (str(tmp_path),))
    assert f"process {os.getpid()} on " in message
    assert is_made(state)


def try_both(folder: str) -> tuple[str, State]:
    with pytest.raises(BlockingIOError) as caught:
        mxio.CheckpointManager(folder)
    with mxio.CheckpointManager(folder, read_only=True) as manager:
        return str(caught.value), manager.restore()
