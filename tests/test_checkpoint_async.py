# SPDX-License-Identifier: Apache-2.0
"""Saves in the background: true snapshots, errors that are told, ends that are waited for."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from place import small_disk
from training import is_made, made

import mxio
from mxio import CheckpointManager, _snapshot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def python(script: str, *args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    root = str(Path(mxio.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, args)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written before it is set."""
    event = threading.Event()
    write = _snapshot.Snapshot.write

    def wait(self: Any, *args: Any) -> None:
        assert event.wait(60)
        write(self, *args)

    monkeypatch.setattr(_snapshot.Snapshot, "write", wait)
    return event


# ---- snapshots ----


def test_what_is_changed_right_after_a_save_is_not_in_it_ten_thousand_times(folder: Path) -> None:
    rng = np.random.default_rng(0)
    state = {
        "a": rng.random(1000),
        "f": np.asfortranarray(rng.random((20, 30))),
        "strided": rng.random((40, 30))[::2, ::3],
        "swapped": rng.random(50).astype(">f8"),
        "tied": None,
        "small": np.zeros((), np.int64),
        "list": [np.arange(5), 0],
    }
    state["tied"] = state["a"]
    arrays = [value for value in state.values() if isinstance(value, np.ndarray)]
    arrays.append(state["list"][0])
    with CheckpointManager(folder, keep_last=1, asynchronous=True) as manager:
        expected: dict[str, Any] | None = None
        for step in range(10_000):
            state["list"][1] = step
            # The last one is on the disk as soon as this one is accepted, and stays until it is.
            kept = {name: np.array(value) for name, value in state.items() if name != "list"}
            kept_list = [state["list"][0].copy(), step]
            manager.save(step, state)
            for array in arrays:
                array += 1
            state["list"][0][:] = -step
            if step % 100 == 0:
                manager.wait()
                loaded = manager.restore()
                assert loaded["list"][1] == kept_list[1]
                np.testing.assert_array_equal(loaded["list"][0], kept_list[0])
                for name, value in kept.items():
                    np.testing.assert_array_equal(loaded[name], value)
                assert loaded["tied"] is loaded["a"] or np.shares_memory(
                    loaded["tied"], loaded["a"]
                )
            expected = kept
        manager.wait()
        np.testing.assert_array_equal(manager.restore()["a"], expected["a"])  # type: ignore[index]


def test_large_arrays_changed_while_they_are_written(folder: Path, held: threading.Event) -> None:
    x = np.arange(3 << 20, dtype=np.float64)
    with CheckpointManager(folder, asynchronous=True) as manager:
        manager.save(1, {"x": x})
        x[:] = -1
        assert manager.steps() == []
        assert manager.latest() is None
        held.set()
        manager.wait()
        np.testing.assert_array_equal(manager.restore()["x"], np.arange(3 << 20))


def test_the_file_is_the_one_that_save_writes(folder: Path, tmp_path: Path) -> None:
    with (
        CheckpointManager(folder, asynchronous=True) as manager,
        CheckpointManager(tmp_path / "other") as other,
    ):
        for step in range(4):  # memory is used again, and for what is smaller
            state = {f"{n}": np.random.default_rng(n).random(n * 5000) for n in range(9 - step)}
            manager.save(step, state)
            other.save(step, state)
        manager.wait()
        for step in manager.steps():
            one, two = Path(manager.path(step)).read_bytes(), Path(other.path(step)).read_bytes()
            assert mxio.verify(one) == []
            # All but the time of day, and what its place in the index makes of checksums.
            assert one[8192:] == two[8192:]
            assert len(one) == len(two)


def test_nothing_is_copied_without_a_snapshot(folder: Path) -> None:
    x = np.zeros(64 << 20, np.uint8)
    x[:] = 1
    with CheckpointManager(folder, asynchronous=True) as manager:
        before = resident()
        manager.save(1, {"x": x}, snapshot=False)
        manager.wait()
        assert resident() - before < 16 << 20
        manager.save(2, {"x": x})
        manager.wait()
        assert resident() - before > 60 << 20
    assert resident() - before < 16 << 20  # close gives it back


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_one_at_a_time_is_in_flight_or_as_many_as_told(folder: Path, held: threading.Event) -> None:
    with CheckpointManager(folder, asynchronous=True, max_in_flight=2) as manager:
        manager.save(1, made(1))
        manager.save(2, made(2))
        third = threading.Thread(target=manager.save, args=(3, made(3)))
        third.start()
        third.join(0.2)
        assert third.is_alive()
        assert len(manager._in_flight) == 2
        held.set()
        third.join(30)
        manager.wait()
        assert manager.steps() == [1, 2, 3]
        assert len(manager._free) == 2


def test_a_step_that_is_in_flight_is_there_for_a_second_save(
    folder: Path, held: threading.Event
) -> None:
    with CheckpointManager(folder, asynchronous=True, max_in_flight=2) as manager:
        manager.save(1, made(1))
        threading.Timer(0.1, held.set).start()
        with pytest.raises(FileExistsError):
            manager.save(1, made(1, 1))
        manager.save(1, made(1, 2), overwrite=True)
        assert manager.restore()["version"] == 2  # which waits


# ---- errors ----


def test_a_full_disk_fails_that_step_and_the_run_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path, "1m") as folder:
        for asynchronous in False, True:
            with CheckpointManager(folder / "run", asynchronous=asynchronous) as manager:
                step = manager.latest() or 0
                manager.save(step + 1, made(1))
                with pytest.raises(OSError, match="No space left") as caught:  # noqa: PT012
                    manager.save(step + 2, {"x": np.zeros(1 << 18)})
                    manager.wait()
                assert caught.value.errno == errno.ENOSPC
                assert caught.value.filename == manager.path(step + 2)
                assert is_made(manager.restore())
                manager.save(step + 3, made(3))
                manager.wait()
                assert manager.latest() == step + 3
                assert not [name for name in os.listdir(folder / "run") if name.endswith(".tmp")]


class Broken(Exception):
    pass


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps whose writing fails."""
    steps: list[int] = []
    write = _snapshot.Snapshot.write

    def fail(self: Any, path: str, tell: Any) -> None:
        if int(Path(path).stem.split("-")[1]) in steps:
            raise OSError(errno.EIO, "it is broken", path)
        write(self, path, tell)

    monkeypatch.setattr(_snapshot.Snapshot, "write", fail)
    return steps


@pytest.mark.parametrize("call", ["save", "restore", "wait", "close", "prune"])
def test_an_error_is_raised_once_by_the_next_call(
    folder: Path, broken: list[int], call: str
) -> None:
    broken.append(2)
    manager = CheckpointManager(folder, asynchronous=True)
    manager.save(1, made(1))
    manager.save(2, made(2))
    manager.flush()  # raises nothing
    calls = {
        "save": lambda: manager.save(3, made(3)),
        "restore": manager.restore,
        "wait": manager.wait,
        "close": manager.close,
        "prune": manager.prune,
    }
    with pytest.raises(OSError, match="it is broken") as caught:
        calls[call]()
    if sys.version_info >= (3, 11):
        assert caught.value.__notes__ == ["step 2 was being saved in the background"]
    assert manager.steps() == [1]
    if call == "close":
        CheckpointManager(folder).close()  # it is closed, and the lock is free
        return
    manager.save(3, made(3))
    manager.close()
    assert manager.steps() == [1, 3]


def test_an_error_met_while_waiting_for_room_is_raised_before_anything_is_saved(
    folder: Path, broken: list[int], held: threading.Event
) -> None:
    broken.append(1)
    with CheckpointManager(folder, asynchronous=True) as manager:
        manager.save(1, made(1))
        threading.Timer(0.1, held.set).start()
        with pytest.raises(OSError, match="broken"):
            manager.save(2, made(2))
        manager.save(2, made(2))
        manager.wait()
        assert manager.steps() == [2]


def test_what_ends_a_run_is_not_hidden_by_an_error_of_a_save(
    folder: Path, broken: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    broken.append(1)
    manager = CheckpointManager(folder, asynchronous=True)

    def work() -> None:
        with manager:
            manager.save(1, made(1))
            raise Broken

    with pytest.raises(Broken):
        work()
    assert "it is broken" in caplog.text
    with pytest.raises(ValueError, match="closed"):
        manager.save(2, made(2))


def test_what_cannot_be_saved_is_said_at_once(folder: Path) -> None:
    with CheckpointManager(folder, asynchronous=True) as manager:
        with pytest.raises(TypeError, match="'x'"):
            manager.save(1, {"x": object()})
        manager.wait()
        assert manager.steps() == []


# ---- ends ----

BEGIN = """
    import os, signal, sys, threading, time
    import numpy as np
    import mxio
    folder = sys.argv[1]
    manager = mxio.CheckpointManager(folder, asynchronous=True)
    x = np.full(40 << 20, 7, np.uint8)
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 0),
        ("del manager", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('over')", 1),
        ("threading.Thread(target=lambda: time.sleep(0.1)).start()", 0),
        ("import atexit; atexit.register(lambda: manager.save(2, {'x': x}))", 0),
    ],
)
def test_the_interpreter_waits_when_it_exits(folder: Path, end: str, status: int) -> None:
    done = python(BEGIN + f"    manager.save(1, {{'x': x}})\n    x[:] = 0\n    {end}\n", folder)
    assert done.returncode == status
    assert ("over" in done.stderr) if status == 1 else not done.stderr
    with CheckpointManager(folder) as manager:
        assert manager.steps() == ([1, 2] if "atexit" in end else [1])
        assert (manager.restore(1)["x"] == 7).all()


def test_an_error_that_nobody_asked_for_is_told_at_exit(tmp_path: Path) -> None:
    script = BEGIN + (
        "    import resource\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "    manager.save(1, {'x': x})\n"
    )
    for end in "", "    manager.flush()\n    del manager\n":
        done = python(script + end, tmp_path / "run")
        assert done.returncode == 0
        assert done.stderr.count("\n") == 1
        assert f"mxio: step 1 of {tmp_path / 'run'} could not be saved: " in done.stderr


def test_a_handler_of_sigterm_that_flushes(folder: Path) -> None:
    script = BEGIN + (
        "    def stop(signum, frame):\n"
        "        manager.flush()\n"
        "        print('steps', 0, *manager.steps(), flush=True)\n"
        "        raise SystemExit(7)\n"
        "    signal.signal(signal.SIGTERM, stop)\n"
        "    delay = float(sys.argv[2])\n"
        "    threading.Timer(delay, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "    step = 0\n"
        "    while True:\n"
        "        step += 1\n"
        "        manager.save(step, {'x': x, 'step': step})\n"
        "        returned = step\n"
        "        print(step, flush=True)\n"
    )
    for k in range(6):
        done = python(script, folder / f"{k}", 0.05 + 0.07 * k)
        assert done.returncode == 7, done.stderr
        *returned, flushed = done.stdout.splitlines()
        assert int(flushed.split()[-1]) >= int([0, *returned][-1])
        with CheckpointManager(folder / f"{k}") as manager:
            if manager.latest() is not None:
                assert manager.restore()["step"] == manager.latest()
            assert len(manager.steps()) <= 3


def test_ctrl_c_during_a_save_leaves_all_that_was_saved(folder: Path) -> None:
    script = BEGIN + (
        "    step = 0\n"
        "    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "    try:\n"
        "        while True:\n"
        "            step += 1\n"
        "            manager.save(step, {'x': x, 'step': step})\n"
        "    except KeyboardInterrupt:\n"
        "        pass\n"
        "    manager.save(1000, {'x': x, 'step': 1000})\n"
        "    manager.close()\n"
    )
    done = python(script, folder)
    assert done.returncode == 0, done.stderr
    with CheckpointManager(folder) as manager:
        assert manager.restore()["step"] == 1000
        assert len(manager.steps()) == 3


def test_a_fork_while_a_save_is_in_flight(folder: Path) -> None:
    script = BEGIN + (
        "    manager.save(1, {'x': x})\n"
        "    children = []\n"
        "    for k in range(5):\n"
        "        child = os.fork()\n"
        "        if not child:\n"
        "            try:\n"
        "                manager.wait()\n"  # nothing of this process's is in flight
        "                mine = mxio.CheckpointManager(f'{folder}-{k}', asynchronous=True)\n"
        "                mine.save(1, {'x': x, 'k': k})\n"
        "                mine.close()\n"
        "                os._exit(0)\n"
        "            finally:\n"
        "                os._exit(1)\n"
        "        children.append(child)\n"
        "    manager.wait()\n"
        "    print(*[os.waitpid(child, 0)[1] for child in children], *manager.steps())\n"
    )
    done = python(script, folder)
    assert done.stdout == "0 0 0 0 0 1\n", done.stderr
    for k in range(5):
        with CheckpointManager(f"{folder}-{k}") as manager:
            assert manager.restore()["k"] == k


def test_a_slow_write_does_not_hold_the_gil(folder: Path) -> None:
    x = np.zeros(256 << 20, np.uint8)
    with CheckpointManager(folder, asynchronous=True) as manager:
        manager.save(1, {"x": x})
        longest, before = 0.0, time.perf_counter()
        while manager._in_flight and not manager._in_flight[0].ended:
            time.sleep(0)
            now = time.perf_counter()
            longest, before = max(longest, now - before), now
        assert longest < 1  # a write that held it would take as long as the disk


def test_the_signal_of_a_handler_in_the_middle_of_a_save(folder: Path) -> None:
    """`flush` in a handler that interrupts `save` at any place does not wait for itself."""
    script = BEGIN + (
        "    def tick(signum, frame):\n"
        "        manager.flush()\n"
        "    signal.signal(signal.SIGALRM, tick)\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)\n"
        "    y = np.zeros(300_000)\n"
        "    for step in range(300):\n"
        "        manager.save(step, {'y': y, 'step': step})\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "    manager.close()\n"
    )
    done = python(script, folder)
    assert (done.returncode, done.stderr) == (0, "")
    with CheckpointManager(folder) as manager:
        assert manager.steps() == [297, 298, 299]


def test_sigkill_is_what_it_takes_to_lose_a_save_in_flight(folder: Path) -> None:
    script = BEGIN + (
        "    manager.save(1, {'x': x})\n    manager.wait()\n"
        "    manager.save(2, {'x': x})\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = python(script, folder)
    assert done.returncode == -signal.SIGKILL
    with CheckpointManager(folder) as manager:
        assert manager.steps()[0] == 1
        assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]
