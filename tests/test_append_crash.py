# SPDX-License-Identifier: Apache-2.0
"""A file that a Writer writes is as a commit left it: at every kill, failing call, power cut.

Readers keep what they opened, and a full disk is an error after which the writer goes on.
Sessions and what they leave are those of tests/sessions.py.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from place import small_disk
from sessions import (
    AGAIN,
    BASE,
    SESSIONS,
    Stage,
    State,
    Step,
    carry_out,
    cuts,
    holds,
    numbers,
    play,
    recorded,
    same,
    staged,
)

import mxio
from mxio import _writer


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if not sys.platform.startswith("linux") or shutil.which("cc") is None:
        pytest.skip("needs Linux and a C compiler, to preload tests/shim.c")
    with staged(tmp_path_factory.mktemp("stage")) as made:
        yield made


@pytest.mark.parametrize("name", SESSIONS)
def test_whenever_a_writer_is_killed_a_commit_is_there_and_the_next_one_goes_on(
    stage: Stage, name: str
) -> None:
    states, calls = stage.states(name), stage.calls(name)
    assert {"open", "look", "lock", "write", "sync"} <= set(calls)
    for number, call in enumerate(calls, 1):
        for half in range(2 if call == "write" else 1):
            status, log = stage.run(name, ALL=1, KILL=number, HALF=half)
            assert status == -signal.SIGKILL
            done = log.count("returned")
            state = holds(stage.path, states[done : done + 2])
            left = [file for file in stage.listing() if file != "x.mxio"]
            assert len(left) <= 1
            assert all(file.startswith(".x.mxio.mxio-writer-") for file in left)
            stage.go_on(state, "w" if name == "over" and number % 2 else "a")
            if len(stage.listing()) > 1:
                stage.go_on(BASE, "w")  # takes over what was left


QUIET = {"open", "look", "lock", "read"}  # change nothing
# What a writer does without: where locks and owners are not offered it cannot do more.
SPARED = {"lock", "open", "chown", "unlink"}


@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("retry", [False, True], ids=["discard", "go on"])
def test_whichever_call_fails_the_last_commit_is_there_and_the_writer_goes_on_or_says_so(
    stage: Stage, name: str, retry: bool
) -> None:
    calls = stage.calls(name)
    refused = 0
    for number, call in enumerate(calls, 1):
        for code in (errno.EIO, errno.ENOSPC) if call not in QUIET else (errno.EIO,):
            where = f"call {number} of {len(calls)}, {call}"
            status, log = stage.run(name, retry, ALL=1, FAIL=f"{number}:{code}")
            assert status == 0
            errors = [entry for entry in log if entry.startswith("error")]
            states = stage.states(name)
            if not errors:
                assert call in SPARED, where
                assert holds(stage.path, states[-1:]) is not None
                continue
            assert len(errors) == 1, where
            step, failed, file, message = errors[0].removeprefix("error ").split("|")
            assert (int(failed), file) == (code, str(stage.path)), where
            assert os.strerror(code) in message
            says_no = [entry for entry in log if entry.startswith("refused")]
            refused += len(says_no)
            if retry and not says_no:
                assert log[-1] == "returned", where
                states = stage.states(name, int(step) if int(step) >= 0 else None)
                assert holds(stage.path, states[-1:]) is not None
            else:
                assert all("discard it, and open the file again" in entry for entry in says_no)
                before = log[: log.index(errors[0])]
                done = before.count("returned")
                since = (
                    before[len(before) - 1 - before[::-1].index("returned") :] if done else before
                )
                n_switches = sum(map(is_commit_point, since))
                first = 2 if SESSIONS[name].base == "saved" and name == "saved" and not done else 1
                stop = done + 1 + (n_switches >= first)
                holds(stage.path, states[done:stop])
            left = {file for file in stage.listing() if file != "x.mxio"}
            # Whose it is was what the call should have told; the next writer takes it over.
            assert not left or (call == "look" and step == "-1" and len(left) == 1), where
    assert refused if retry else not refused


def is_commit_point(entry: str) -> bool:
    call = entry.split()
    return call[0] == "rename" or (
        call[0] == "write" and call[3] == "128" and call[2] in ("0", "2048")
    )


@pytest.mark.parametrize("name", SESSIONS)
def test_short_writes_are_continued(stage: Stage, name: str) -> None:
    stage.run(name, SHORT=1)
    assert holds(stage.path, stage.states(name)[-1:]) is not None


# ---- power cuts ----


def test_a_power_cut_leaves_the_last_commit_or_the_one_in_progress(stage: Stage) -> None:
    n = 0
    for name in SESSIONS:
        for n_here, (image, states) in enumerate(cuts(stage, name, recorded(stage, name), 55)):
            n += 1
            if image is None:
                assert None in states
                continue
            state = holds(image, states)
            if n_here % 40 == 0:
                stage.path.write_bytes(image)
                stage.go_on(state)
    assert n > 3000


def test_without_its_syncs_a_file_would_be_lost(stage: Stage) -> None:
    for name in SESSIONS:
        ops = [op for op in recorded(stage, name) if op.what != "sync"]
        losses = 0
        for image, states in cuts(stage, name, ops, 3):
            try:
                assert image is not None or None in states
                losses += image is not None and holds(image, states) is None
            except (mxio.FormatError, mxio.ChecksumError, AssertionError):
                losses += 1
        assert losses


# ---- readers ----


def keeps(reader: mxio.Reader, state: State) -> bool:
    arrays = {name: np.asarray(reader[name][...]) for name in reader}
    return same((arrays, dict(reader.metadata)), state)


@pytest.mark.parametrize("name", ["new", "saved", "grown"])
def test_readers_keep_what_they_opened_whatever_the_writer_does(stage: Stage, name: str) -> None:
    session = SESSIONS[name]
    base = stage.base(session.base)
    stage.path.unlink(missing_ok=True)
    if base is not None:
        stage.path.write_bytes(base)
    states = stage.states(name)
    eager: list[tuple[mxio.Reader, State]] = []
    late: list[tuple[mxio.Reader, State]] = []  # nothing is read before the end
    mapped = []
    w = mxio.Writer(stage.path, session.mode, sync=False)

    def open_readers(state: State | None) -> None:
        if state is not None:
            eager.append((mxio.open(stage.path), state))
            late.append((mxio.open(stage.path), state))
            mapped.append((mxio.load(stage.path, mmap=True), state))

    open_readers(states.pop(0))
    for step in session.steps[:-1]:
        carry_out(w, step)
        assert all(keeps(*one) for one in eager)
        if step[0] == "commit":
            open_readers(states.pop(0))
    w.discard()
    assert all(keeps(*one) for one in eager)
    stage.go_on(late[-1][1])
    mxio.compact(stage.path)
    for reader, state in eager + late:
        assert keeps(reader, state)
        reader.close()
    assert all(same((arrays, state[1]), state) for arrays, state in mapped)


# ---- a full disk ----


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, "4m") as folder:
        yield folder


def fill(disk: Path, leave: int) -> Path:
    """Take all space but so much."""
    found = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        file.write(bytes(found.f_bavail * found.f_bsize - leave))
    return disk / "filler"


WAITING: list[Step] = [
    *(("append", f"waits {i}", numbers(40 + i, 300, 100)) for i in range(3)),
    ("set", "waits", numbers(44, 1000)),
]
FULL: dict[str, list[Step]] = {
    "append": [("append", "rows", numbers(50, 4000, 100))],
    "append new": [("append", "new", numbers(51, 4000, 100))],
    "create": [("create", "made", (3000, 100)), ("region", "made", np.s_[7:], 1)],
    "set": [("set", "rows", numbers(52, 3000, 100))],
    "region": [("region", "kept", np.s_[2:169], 4)],
    "commit": WAITING,
}


@pytest.mark.parametrize("mode", ["a", "x"])
@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_is_an_error_and_with_space_the_writer_goes_on(
    disk: Path, what: str, mode: str
) -> None:
    path = disk / "x.mxio"
    first: list[Step] = [("set", "kept", BASE[0]["kept"]), ("append", "rows", BASE[0]["rows"])]
    failed = set()
    for leave in [*range(0, 440_000, 28_670), 1_000_000, 1_300_000]:
        w = mxio.Writer(path, "x", sync=False)
        for step in first:
            carry_out(w, step)
        states = play([*first, ("commit",)], None, "x") if mode == "a" else [None]
        if mode == "a":
            w.close()
            w = mxio.Writer(path, "a", sync=False)
        filler = fill(disk, leave)
        steps = [*FULL[what], AGAIN, ("close",)]
        for step in steps:
            try:
                carry_out(w, step)
            except OSError as error:
                caught = error
            else:
                continue
            assert (caught.errno, caught.filename) == (errno.ENOSPC, str(path))
            failed.add(step[0])
            assert path.exists() == (mode == "a")
            if mode == "a":
                holds(path, states)
            if leave % 3 == 2:
                w.discard()
                break
            filler.unlink()
            carry_out(w, step)
        else:
            states = play(first + steps, None, "x")
        holds(path, states[-1:])
        for left in disk.iterdir():
            assert left in (path, filler)
            left.unlink()
    assert failed


def test_rows_that_append_did_not_take_on_a_full_disk_are_not_there_twice(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writer, "_WAITING_NBYTES", 1 << 16)
    with mxio.Writer(disk / "x.mxio", sync=False) as w:
        w.append("a", numbers(60, 15000))
        w.append("c", numbers(62, 15000))
        filler = fill(disk, 8192)
        with pytest.raises(OSError, match="No space"):
            w.append("b", numbers(61, 15000))
        filler.unlink()
        w.append("b", numbers(61, 15000))
    np.testing.assert_array_equal(mxio.load(disk / "x.mxio")["b"], numbers(61, 15000))


def test_an_array_that_was_replaced_leaves_no_rest_in_the_padding(tmp_path: Path) -> None:
    with mxio.Writer(tmp_path / "x.mxio", sync=False) as w:
        w["b"] = np.ones(100)
        w["a"] = np.ones(10)
        w["a"][0] = 2  # both are in the file now
        w["a"] = np.ones(10_000)  # from the next page on, where it would be without the first
    assert mxio.verify(tmp_path / "x.mxio") == []
