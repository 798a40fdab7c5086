# SPDX-License-Identifier: Apache-2.0
"""Runs that save checkpoints, for tests that end them halfway.

`train` is the loop of docs/CHECKPOINTS.md. `RUNS` are what is done under tests/shim.c, in
which every call counts: short, and over all that a manager does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from saves import Told, once_more

import mxio

State = dict[str, Any]

N_STEPS = 60
EVERY = 4


def fresh() -> State:
    return {
        "weights": np.zeros(8),
        "momentum": np.zeros(8),
        "rng": np.random.default_rng(0),
        "step": 0,
    }


def train(folder: Path, asynchronous: bool, told: Callable[[int], object]) -> State:
    """Train to the end from wherever an earlier run was; `told` hears what is on the disk."""
    made = np.random.default_rng(1)
    inputs = made.normal(size=(256, 8))
    targets = inputs @ made.normal(size=8)
    state = fresh()
    with mxio.CheckpointManager(folder, keep_last=2, asynchronous=asynchronous) as manager:
        manager.restore(out=state)
        told(-state["step"])
        while state["step"] < N_STEPS:
            rows = state["rng"].integers(0, 256, size=32)
            error = inputs[rows] @ state["weights"] - targets[rows]
            state["momentum"] *= 0.9
            state["momentum"] += inputs[rows].T @ error / 32
            state["weights"] -= 0.05 * state["momentum"]
            state["step"] += 1
            if state["step"] % EVERY == 0:
                manager.save(state["step"], state, {"loss": float(np.mean(error**2))})
                if not asynchronous:
                    told(state["step"])
                elif state["step"] > EVERY:
                    told(state["step"] - EVERY)  # one is in flight at a time
    return state


# ---- short ones ----


def made(step: int, version: int = 0) -> State:
    """What a run saves as a step: small arrays, and one of several chunks."""
    rng = np.random.default_rng([step, version])
    return {
        "step": step,
        "version": version,
        "weights": rng.random((30, 7), np.float32),
        "moments": [rng.random(9000), {"t": step}],
    }


def is_made(state: State) -> bool:
    other = made(state["step"], state["version"])
    return (
        np.array_equal(state["weights"], other["weights"])
        and np.array_equal(state["moments"][0], other["moments"][0])
        and state["moments"][1] == other["moments"][1]
    )


def plain(folder: str, told: Told) -> None:
    with mxio.CheckpointManager(f"{folder}/a/run", keep_last=2) as manager:
        for step in 1, 2, 3, 4:
            manager.save(step, made(step), {"loss": 1 / step})
            told(f"saved {step} 0")


def in_background(folder: str, told: Told) -> None:
    with mxio.CheckpointManager(f"{folder}/a/run", keep_last=2, asynchronous=True) as manager:
        for step in 1, 2, 3, 4:
            manager.save(step, made(step))
            if step > 1:
                told(f"saved {step - 1} 0")
        manager.wait()
        told("saved 4 0")
        manager.save(5, made(5), snapshot=False)
        manager.wait()
        told("saved 5 0")


def replaced(folder: str, told: Told) -> None:
    with mxio.CheckpointManager(f"{folder}/a/run", keep_last=1) as manager:
        for version in 0, 1, 2:
            manager.save(7, made(7, version), overwrite=True)
            told(f"saved 7 {version}")


def best_and_every(folder: str, told: Told) -> None:
    with mxio.CheckpointManager(
        f"{folder}/a/run", keep_last=1, keep_every=3, keep_best=1, metric="acc", mode="max"
    ) as manager:
        for step, acc in enumerate([5, 1, 2, 6, 0]):
            manager.save(step, made(step), {"acc": acc})
            told(f"saved {step} 0")


def damaged(folder: str, told: Told) -> None:
    run = Path(f"{folder}/a/run")
    with mxio.CheckpointManager(run, keep_last=2) as manager:
        for step in 1, 2:
            manager.save(step, made(step))
            told(f"saved {step} 0")
        told("rotten 2")
        fd = os.open(manager.path(2), os.O_WRONLY)
        os.pwrite(fd, b"\xff" * 8, 5000)  # bits of it rot, which no sync can help
        os.fsync(fd)
        os.close(fd)
        manager.save(2, made(2, 1))
        told("saved 2 1")
        manager.save(3, made(3))
        told("saved 3 0")


def going_on(folder: str, told: Told) -> None:
    with mxio.CheckpointManager(f"{folder}/a/run", keep_last=2) as manager:
        state = manager.restore()
        first = 1 if state is None else state["step"] + 1
        for step in first, first + 1:
            if os.path.exists(manager.path(step)):
                continue
            manager.save(step, made(step))
            told(f"saved {step} 0")


RUNS: dict[str, Callable[[str, Told], None]] = {
    "plain": plain,
    "background": in_background,
    "replaced": replaced,
    "best": best_and_every,
    "damaged": damaged,
    "going on": going_on,
}


def stubborn(asynchronous: bool) -> Callable[[str, Told], None]:
    def run(folder: str, told: Told) -> None:
        where = f"{folder}/a/run"
        manager = once_more(
            lambda: mxio.CheckpointManager(where, keep_last=2, asynchronous=asynchronous)
        )

        def save(step: int) -> None:
            # Where the sync of the folder failed, the step is there.
            manager.save(step, made(step), overwrite=True)
            manager.wait()

        for step in 1, 2, 3, 4:
            once_more(lambda step=step: save(step))
            told(f"saved {step} 0")
        manager.close()

    return run


STUBBORN: dict[str, Callable[[str, Told], None]] = {
    "manager, stubborn": stubborn(False),
    "manager in the background, stubborn": stubborn(True),
}
