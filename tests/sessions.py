# SPDX-License-Identifier: Apache-2.0
"""Sessions of a Writer, for tests that end them halfway.

A session is a list of steps that are done twice: by a Writer, in a process into which
tests/shim.c is preloaded, and on plain dicts, which say what the file holds after each commit.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from crash import Content, Op, record, under_shim

import mxio

State = tuple[dict[str, Any], dict[str, Any]]  # arrays and metadata
Step = tuple[Any, ...]


def numbers(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).random(shape, np.float32)


# Chunks of `rows` are 65,200 bytes, so that each commit leaves one partly filled.
BEGIN: list[Step] = [("set", "kept", numbers(1, 170, 100))]
PARTS: list[Step] = [
    ("set", "small", numbers(2, 5)),
    ("set", "large", numbers(3, 18000)),
    ("append", "rows", numbers(4, 200, 100)),
    ("create", "made", (300, 100)),
    ("region", "made", np.s_[10:200], numbers(5, 190, 100)),
    ("region", "kept", np.s_[3:5], 7),
    ("tell", "step", 1),
    ("commit",),
    ("append", "rows", numbers(6, 130, 100)),
    ("append", "rows", numbers(7, 20, 100)),
    ("region", "made", np.s_[160:168, 3:], numbers(8, 8, 97)),
    ("set", "small", numbers(9, 3, 3)),
    ("append", "late", numbers(10, 3, 7)),
    ("commit",),
    ("append", "rows", numbers(11, 3, 100)),
    ("region", "rows", np.s_[0], -1),
    ("region", "kept", np.s_[169, 99], -1),
    ("append", "late", numbers(12, 1, 7)),
    ("tell", "step", "end"),
    ("close",),
]
BASE: State = (
    {
        "kept": numbers(20, 170, 100),
        "rows": numbers(21, 10, 100),
        "small": numbers(22, 2),
        **{f"{i}": np.full(2, i) for i in range(80)},
    },
    {"step": 0},
)
GROW: list[Step] = [
    ("append", "rows", numbers(23, 160, 100)),
    ("region", "kept", np.s_[163:170], 3),
    ("commit",),
    ("append", "rows", numbers(24, 2, 100)),
    ("tell", "step", 0.5),
    ("commit",),
]


class Session(NamedTuple):
    mode: str
    steps: list[Step]
    base: str  # what is there: nothing, a saved file, or one that was appended to


SESSIONS = {
    "new": Session("x", BEGIN + PARTS, ""),
    "tight": Session("x", [*BEGIN, *PARTS[:2], ("close",)], ""),
    "over": Session("w", BEGIN + PARTS, "saved"),
    "saved": Session("a", PARTS, "saved"),
    "grown": Session("a", PARTS, "grown"),
}


def play(steps: list[Step], state: State | None, mode: str) -> list[State | None]:
    """What a file holds at first and after each commit."""
    states = [state]
    arrays, metadata = ({}, {}) if state is None or mode != "a" else map(dict, state)
    for what, *told in steps:
        if what in ("commit", "close"):
            states.append((dict(arrays), dict(metadata)))
        elif what == "set":
            arrays[told[0]] = told[1]
        elif what == "append":
            old = arrays.get(told[0])
            arrays[told[0]] = told[1] if old is None else np.concatenate([old, told[1]])
        elif what == "create":
            arrays[told[0]] = np.zeros(told[1], np.float32)
        elif what == "region":
            arrays[told[0]] = arrays[told[0]].copy()
            arrays[told[0]][told[1]] = told[2]
        else:
            metadata[told[0]] = told[1]
    return states


def carry_out(w: mxio.Writer, step: Step) -> None:
    what, *told = step
    if what in ("commit", "close"):
        getattr(w, what)()
    elif what == "set":
        w[told[0]] = told[1]
    elif what == "append":
        w.append(*told)
    elif what == "create":
        w.create(*told, np.float32)
    elif what == "region":
        w[told[0]][told[1]] = told[2]
    else:
        w.metadata[told[0]] = told[1]


AGAIN: Step = ("set", "again", np.arange(5, dtype=np.uint8))


def act(path: str, session: Session, retry: bool, tell: Callable[[str], object]) -> None:
    """Write, and tell of commits that returned and of errors, after which to give up or go on."""

    def fails(number: int, do: Callable[[], object]) -> bool:
        try:
            do()
        except OSError as error:
            tell(f"error {number}|{error.errno}|{error.filename}|{error}")
            if not retry:
                raise
            return True
        except ValueError as error:
            tell(f"refused {error}")
            raise
        return False

    opened: list[mxio.Writer] = []

    def begin() -> None:
        opened.append(mxio.Writer(path, session.mode, threads=1))

    try:
        if fails(-1, begin):
            begin()
        with opened.pop() as w:
            for number, step in enumerate(session.steps):
                if fails(number, functools.partial(carry_out, w, step)):
                    for again in (AGAIN, step):
                        fails(number, functools.partial(carry_out, w, again))
                if step[0] in ("commit", "close"):
                    tell("returned")
    except (OSError, ValueError):
        tell("gave up")


def serve_one(path: str, name: str, retry: bool, env: dict[str, str]) -> None:
    log = os.open(env["MXIO_SHIM_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(text: str) -> None:
        os.write(log, text.encode() + b"\n")

    os.environ.update(env, MXIO_SHIM_ON="1")
    try:
        act(path, SESSIONS[name], retry, tell)
    except BaseException as error:
        tell(f"wrong {error!r}")
    os._exit(0)


def serve() -> None:
    """Do what each line of stdin says in a process of its own; answer with its exit status."""
    with tempfile.TemporaryDirectory() as folder:  # so that all is imported
        act(f"{folder}/x", SESSIONS["new"], False, len)
        with mxio.Writer(f"{folder}/x", "a") as w:
            w["x"] = np.zeros(3)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            serve_one(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


class Stage:
    """A folder, a file in it as sessions find it, and a process that carries them out."""

    def __init__(self, folder: Path, host: subprocess.Popen[str]) -> None:
        self.log, self.data = folder / "log", folder / "data"
        self.path = folder / "folder" / "x.mxio"
        self.path.parent.mkdir()
        self._host = host
        saved, grown = folder / "saved", folder / "grown"
        mxio.save(saved, BASE[0], metadata=BASE[1])
        shutil.copy(saved, grown)
        w = mxio.Writer(grown, "a")
        for step in GROW:
            carry_out(w, step)
        w.discard()
        slots = [struct.unpack_from("<QQQ", grown.read_bytes(), at + 16) for at in (0, 2048)]
        required, _, generation = max(slots, key=lambda slot: slot[2])
        assert (required, generation) == (0b111, 4)  # appending, deltas, runs
        with grown.open("ab") as file:
            file.write(b"\xa5" * 5000)  # as an interrupted commit leaves it
        self._bases = {"saved": saved, "grown": grown}

    def base(self, base: str) -> bytes | None:
        return self._bases[base].read_bytes() if base else None

    def state(self, base: str) -> State | None:
        return play(GROW, BASE, "a")[-1] if base == "grown" else BASE if base else None

    def states(self, name: str, again_at: int | None = None) -> list[State | None]:
        session = SESSIONS[name]
        steps = list(session.steps)
        if again_at is not None:
            steps.insert(again_at, AGAIN)
        return play(steps, self.state(session.base), session.mode)

    def run(self, name: str, retry: bool = False, **told: object) -> tuple[int, list[str]]:
        for left in (self.log, self.data, *self.path.parent.iterdir()):
            left.unlink(missing_ok=True)
        if SESSIONS[name].base:
            shutil.copy(self._bases[SESSIONS[name].base], self.path)
        env = {f"MXIO_SHIM_{key}": str(value) for key, value in told.items()}
        env |= {"MXIO_SHIM_LAZY": "1", "MXIO_SHIM_LOG": str(self.log)}
        line = {"path": str(self.path), "name": name, "retry": retry, "env": env}
        assert self._host.stdin is not None
        assert self._host.stdout is not None
        print(json.dumps(line), file=self._host.stdin, flush=True)
        status = int(self._host.stdout.readline())
        log = self.log.read_text().splitlines()
        assert not any(entry.startswith("wrong") for entry in log), log[-3:]
        return status, log

    def calls(self, name: str) -> list[str]:
        status, log = self.run(name, ALL=1)
        assert status == 0
        assert holds(self.path, self.states(name)[-1:]) is not None
        return [entry.split()[0] for entry in log if entry != "returned"]

    def listing(self) -> list[str]:
        return sorted(os.listdir(self.path.parent))

    def go_on(self, state: State | None, mode: str = "a") -> None:
        """Open the file again, append, commit, append, and see that it all is there."""
        steps = [AGAIN, *GROW[:1], ("commit",), ("append", "rows", numbers(30, 9, 100)), ("close",)]
        with mxio.Writer(self.path, "x" if state is None else mode, sync=False) as w:
            for step in steps:
                carry_out(w, step)
        assert holds(self.path, play(steps, state, mode)[-1:]) is not None
        if mode == "w" or state is None:
            assert self.listing() == ["x.mxio"]


def holds(source: Path | bytes, states: list[State | None]) -> State | None:
    """The one of these states that a file holds, sound and without a warning."""
    if isinstance(source, Path) and not source.exists():
        assert None in states, "there is no file"
        return None
    with mxio.open(source) as file:
        metadata = dict(file.metadata)
    arrays = mxio.load(source)
    found = [state for state in states if state is not None and same(state, (arrays, metadata))]
    assert found, f"another state, with {metadata}"
    assert mxio.verify(source) == []
    return found[0]


def same(a: State, b: State) -> bool:
    return (
        a[1] == b[1]
        and list(a[0]) == list(b[0])
        and all(
            x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()
            for x, y in zip(a[0].values(), b[0].values(), strict=True)
        )
    )


# ---- power cuts ----


def recorded(stage: Stage, name: str) -> list[Op]:
    _, log = stage.run(name, DATA=stage.data)
    return record(log, stage.data.read_bytes())


class Disk(Content):
    """One file, whatever the names it goes through, of which the last one counts."""

    def __init__(self, base: bytes | None, is_new: bool) -> None:
        super().__init__(b"" if is_new or base is None else base)
        self.base = base
        self.may_be_named = self.is_named = not is_new

    def do(self, op: Op) -> None:
        super().do(op)
        if op.what == "rename":
            self.may_be_named = True
        elif op.what == "sync folder":
            self.is_named = self.may_be_named

    def left(self, rng: random.Random) -> bytes | None:
        if not (self.is_named or (self.may_be_named and rng.random() < 0.7)):
            return self.base
        return self.cut(rng)


def cuts(
    stage: Stage, name: str, ops: list[Op], samples: int
) -> Iterator[tuple[bytes | None, list[State | None]]]:
    """What power cuts leave, each once, and the states of which it may be."""
    session, states = SESSIONS[name], stage.states(name)
    base = stage.base(session.base)
    disk, rng = Disk(base, session.mode != "a"), random.Random(name)
    done, seen = 0, set()
    for op in ops:
        disk.do(op)
        done += op.what == "returned"
        is_clear = not disk.pending and disk.is_named == disk.may_be_named
        for _ in range(1 if is_clear else samples):
            image = disk.left(rng)
            key = hash((image, done))
            if key not in seen:
                seen.add(key)
                yield image, states[done : done + 2]


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Start the process that carries out sessions, in a folder of its own."""
    with under_shim(__file__, folder) as host:
        yield Stage(folder, host)


if __name__ == "__main__":
    serve()
