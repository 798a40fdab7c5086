# SPDX-License-Identifier: Apache-2.0
"""CheckpointManager: what is saved comes back, what may go goes, and nothing else does."""

from __future__ import annotations

import errno
import logging
import math
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training import is_made, made

import mxio
from mxio import CheckpointManager


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def spoil(path: str | Path, offset: int = -1) -> None:
    """Flip a bit of a file, by default in the middle of its largest array."""
    with open(path, "r+b") as file:
        at = offset if offset >= 0 else os.path.getsize(path) * 2 // 3
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 4]))


@pytest.fixture
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mxio.DamageWarning)
        yield


# ---- there and back ----


def test_a_step_is_a_file_of_that_name_with_its_metrics_in_it(folder: Path) -> None:
    with CheckpointManager(folder) as manager:
        assert manager.restore() is None
        assert (manager.latest(), manager.steps()) == (None, [])
        manager.save(1200, made(1200), metrics={"loss": 0.5, "acc": np.float32(0.25)})
        assert manager.path(1200) == str(folder / "step-0000001200.mxio")
        assert is_made(manager.restore())
        info = manager.info(1200)
    with mxio.open(folder / "step-0000001200.mxio") as file:
        assert file.metadata["metrics"] == {"loss": 0.5, "acc": 0.25}
        assert file.metadata["step"] == 1200
        assert file.metadata["time"] == info.time
    assert info.metrics == {"loss": 0.5, "acc": 0.25}
    assert info.nbytes == os.path.getsize(info.path)
    assert is_made(mxio.load(info.path))


def test_steps_are_ordered_by_number_whatever_the_clock_says(folder: Path) -> None:
    with CheckpointManager(folder, keep_last=None) as manager:
        for n, step in enumerate([10, 9, 2**40, 100, 0, 2**63 - 1]):
            manager.save(step, made(step))
            os.utime(manager.path(step), (10**9 - n * 10**6,) * 2)
        assert manager.steps() == [0, 9, 10, 100, 2**40, 2**63 - 1]
        assert manager.latest() == 2**63 - 1
        assert manager.restore()["step"] == 2**63 - 1
        assert manager.restore(100)["step"] == 100


def test_what_else_is_in_the_directory_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    others = [
        *("notes.txt", "step-1.mxio", "step-00000000012.mxio", "step-000000000x.mxio"),
        *("step-0000000001.mxio.bak", ".step-0000000001.mxio.swp", "xstep-0000000001.mxio"),
        *("step-0000000001.safetensors", ".other.mxio-00000000-00000001-0000000000000000.tmp"),
        "step-99999999999999999999.mxio",
    ]
    for name in others:
        (folder / name).write_text("mine")
    (folder / "step-0000000005.mxio").mkdir()
    with CheckpointManager(folder, keep_last=1) as manager:
        for step in 1, 2, 3:
            manager.save(step, made(step))
        assert manager.steps() == [3]
        assert manager.prune() == []
    assert all((folder / name).read_text() == "mine" for name in others)
    assert (folder / "step-0000000005.mxio").is_dir()


def test_the_directory_stays_the_same_when_the_program_changes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with CheckpointManager("a/b/run") as manager:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        manager.save(1, made(1))
        assert manager.directory == str(tmp_path / "a/b/run")
    assert (tmp_path / "a/b/run/step-0000000001.mxio").exists()
    assert os.listdir() == []


def test_the_largest_metric_there_can_be_and_what_json_cannot_say(folder: Path) -> None:
    metrics = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 2**70, "e": True, "f": 10**400}
    with CheckpointManager(folder, metric="a") as manager:
        with pytest.raises(TypeError, match="'f'"):
            manager.save(1, {}, metrics)
        del metrics["f"]
        manager.save(1, {}, metrics)
        found = manager.info(1).metrics
        assert math.isnan(found.pop("a"))
        assert found == {"b": math.inf, "c": -math.inf, "d": 2.0**70, "e": 1.0}
        assert manager.best() is None


# ---- what stays ----


def test_the_last_the_multiples_and_the_best_stay(folder: Path) -> None:
    losses = [5, 1, 4, math.nan, 9, 1, 7, 8]
    with CheckpointManager(
        folder, keep_last=2, keep_every=5, keep_best=2, metric="loss"
    ) as manager:
        for step, loss in enumerate(losses, 1):
            manager.save(step, made(step), {"loss": loss})
        assert manager.steps() == [2, 5, 6, 7, 8]
        assert manager.best() == 6  # the newer of two
    with CheckpointManager(folder, metric="loss", mode="max", read_only=True) as manager:
        assert manager.best() == 5


def test_a_step_that_was_just_saved_stays_though_higher_ones_are_there(folder: Path) -> None:
    with CheckpointManager(folder, keep_last=2) as manager:
        for step in 10, 20, 30, 5:
            manager.save(step, made(step))
        assert manager.steps() == [5, 20, 30]
        manager.save(6, made(6))
        assert manager.steps() == [5, 6, 20, 30]  # as many of the run's own as of all


def test_nothing_is_removed_by_a_save_that_failed(folder: Path) -> None:
    with CheckpointManager(folder, keep_last=1) as manager:
        manager.save(1, made(1))
        with pytest.raises(TypeError, match="'x'"):
            manager.save(2, {"x": object()})
        with pytest.raises(ValueError, match="stopped"):
            failing(folder, manager)
        assert manager.steps() == [1]
        assert sorted(os.listdir(folder)) == [".mxio-manager.lock", "step-0000000001.mxio"]


def failing(folder: Path, manager: CheckpointManager) -> None:
    def stop(done: int, total: int) -> None:
        raise ValueError("stopped")

    manager._progress = stop
    try:
        manager.save(2, made(2))
    finally:
        manager._progress = None


def test_prune_keeps_the_newest_sound_step_and_removes_none_if_there_is_none(
    folder: Path, quiet: None
) -> None:
    with CheckpointManager(folder, keep_last=None) as manager:
        for step in 1, 2, 3, 4:
            manager.save(step, made(step))
        for step in 3, 4:
            spoil(manager.path(step))
    with CheckpointManager(folder, keep_last=1) as manager:
        assert manager.prune(dry_run=True) == [1]
        assert manager.steps() == [1, 2, 3, 4]
        assert manager.prune() == [1]
        assert manager.steps() == [2, 3, 4]  # damaged ones are evidence
        spoil(manager.path(2))
        with pytest.raises(mxio.FormatError, match="no step is sound"):
            manager.prune()
        assert manager.steps() == [2, 3, 4]


def test_a_damaged_step_does_not_count_among_the_last(folder: Path, quiet: None) -> None:
    with CheckpointManager(folder, keep_last=2) as manager:
        for step in 1, 2, 3:
            manager.save(step, made(step))
        spoil(manager.path(3))
        assert manager.restore()["step"] == 2
        manager.save(4, made(4))
        assert manager.steps() == [2, 3, 4]
        manager.save(5, made(5))
        assert manager.steps() == [3, 4, 5]


def test_a_step_whose_metrics_cannot_be_read_may_be_the_best_and_stays(folder: Path) -> None:
    with CheckpointManager(folder, keep_last=1, keep_best=1, metric="loss") as manager:
        manager.save(1, made(1), {"loss": 0.1})
        manager.save(2, made(2), {"loss": 0.5})
        spoil(manager.path(1), 50)
        manager.save(3, made(3), {"loss": 0.7})
        assert manager.steps() == [1, 2, 3]


def test_a_metric_that_is_not_there_is_an_error_and_removes_nothing(folder: Path) -> None:
    with CheckpointManager(folder, keep_last=None) as manager:
        for step in range(4):
            manager.save(step, made(step), {"val_loss": step})
    with CheckpointManager(folder, keep_last=1, keep_best=1, metric="loss") as manager:
        with pytest.raises(ValueError, match="no metric 'loss' among 'val_loss'"):
            manager.save(9, made(9), {"val_loss": 1})
        with pytest.raises(ValueError, match="no metric 'loss' among 'val_loss'"):
            manager.prune()
        assert manager.steps() == [0, 1, 2, 3]
        manager.save(9, made(9))  # not every step has metrics
        assert manager.steps() == [9]


def test_going_back_and_deleting(folder: Path) -> None:
    with CheckpointManager(folder, keep_last=2) as manager:
        for step in 20, 30, 40:
            manager.save(step, made(step))
    with CheckpointManager(folder, keep_last=2) as manager:
        assert manager.restore(30)["step"] == 30
        for step in 31, 32, 33:
            manager.save(step, made(step))
        assert manager.steps() == [32, 33, 40]
        manager.delete(40)
        assert manager.restore()["step"] == 33
        with pytest.raises(FileNotFoundError):
            manager.delete(40)


def test_a_file_that_cannot_be_removed_does_not_stop_a_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EPERM, "not yours")

    with CheckpointManager(folder, keep_last=1) as manager:
        manager.save(1, made(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", refuse)
            manager.save(2, made(2))
        assert "step 1 could not be removed" in caplog.text
        assert manager.steps() == [1, 2]
        manager.save(3, made(3))
        assert manager.steps() == [3]


# ---- damage ----


@pytest.mark.parametrize("where", ["array", "head", "slot", "index", "padding", "cut", "empty"])
def test_restore_passes_over_what_is_damaged_says_so_and_leaves_it_there(
    folder: Path, where: str
) -> None:
    with CheckpointManager(folder, keep_last=None) as manager:
        for step in 1, 2, 3:
            manager.save(step, made(step))
        path = Path(manager.path(3))
        if where in ("cut", "empty"):
            os.truncate(path, path.stat().st_size // 2 if where == "cut" else 0)
        else:
            with mxio.open(path) as file:
                weights = file.index["weights"]
            ends = weights.offset + weights.nbytes
            offsets = {"array": -1, "head": 20, "slot": 2050, "index": 4200, "padding": ends + 5}
            spoil(path, offsets[where])
        before = path.read_bytes()
        with pytest.warns(mxio.DamageWarning, match=r"restored step 2.*: step 3: .*mxio") as caught:
            assert is_made(manager.restore())
        (warning,) = [one for one in caught if one.category is mxio.DamageWarning]
        assert warning.filename == __file__
        assert [one.step for one in warning.message.damage] == [3]  # type: ignore[union-attr]
        with pytest.raises(mxio.FormatError):
            manager.restore(3)
        assert path.read_bytes() == before
        assert manager.steps() == [1, 2, 3]


def test_if_no_step_is_sound_that_is_an_error_not_a_new_beginning(
    folder: Path,
) -> None:
    with CheckpointManager(folder) as manager:
        for step in 1, 2:
            manager.save(step, made(step))
            spoil(manager.path(step))
        with pytest.raises(mxio.FormatError, match=r"step 2: .*; step 1: "):
            manager.restore()
        with pytest.raises(mxio.FormatError, match="no step is sound"):
            manager.restore(out=made(3))
        assert manager.steps() == [1, 2]


def test_a_damaged_step_that_the_run_comes_to_again_is_set_aside(folder: Path) -> None:
    with CheckpointManager(folder) as manager:
        manager.save(1, made(1))
        for version in 0, 1:
            manager.save(2, made(2, version), overwrite=version > 1)
            spoil(manager.path(2))
            with pytest.warns(mxio.DamageWarning, match="restored step 1"):
                manager.restore()
            if not version:
                with pytest.warns(mxio.DamageWarning, match="it is now .*damaged-1") as caught:
                    manager.save(2, made(2, 7))
                assert caught[0].filename == __file__
                assert manager.restore()["version"] == 7
                os.unlink(manager.path(2))
        with pytest.warns(mxio.DamageWarning, match="damaged-2"):
            manager.save(2, made(2, 8))
        assert manager.steps() == [1, 2]
    aside = sorted(name for name in os.listdir(folder) if "damaged" in name)
    assert aside == ["step-0000000002.damaged-1.mxio", "step-0000000002.damaged-2.mxio"]


def test_warnings_as_errors_do_not_stop_it_from_finding_a_step(folder: Path) -> None:
    with CheckpointManager(folder) as manager:
        for step in 1, 2:
            manager.save(step, made(step))
        spoil(manager.path(2), 2050)
        with warnings.catch_warnings():
            warnings.simplefilter("error", mxio.FormatWarning)
            with pytest.warns(mxio.DamageWarning):
                assert manager.restore()["step"] == 1


# ---- bad input ----


def test_a_step_that_is_there_is_replaced_only_if_told(folder: Path) -> None:
    with CheckpointManager(folder) as manager:
        manager.save(3, made(3, 1))
        with pytest.raises(FileExistsError, match="overwrite=True") as caught:
            manager.save(3, made(3, 2))
        assert caught.value.filename == manager.path(3)
        assert manager.restore()["version"] == 1
        manager.save(3, made(3, 2), overwrite=True)
        assert manager.restore()["version"] == 2


@pytest.mark.parametrize(
    ("step", "error"),
    [(-1, ValueError), (2**63, ValueError), (1.0, TypeError), ("1", TypeError), (True, TypeError)],
)
def test_what_is_no_step_is_refused(folder: Path, step: Any, error: type[Exception]) -> None:
    with CheckpointManager(folder) as manager:
        for call in (manager.path, manager.info, lambda s: manager.save(s, {}), manager.restore):
            with pytest.raises(error, match="a step is"):
                call(step)
        manager.save(np.int64(5), {"x": 1})  # type: ignore[arg-type]
        assert manager.steps() == [5]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"keep_last": 0}, ValueError, "keep_last is 1 or more"),
        ({"keep_every": -1}, ValueError, "keep_every"),
        ({"keep_best": 1.5, "metric": "x"}, TypeError, "keep_best"),
        ({"keep_last": True}, TypeError, "not a bool"),
        ({"keep_best": 1}, ValueError, "needs metric="),
        ({"metric": 3}, TypeError, "metric"),
        ({"mode": "best"}, ValueError, "'min' or 'max'"),
        ({"max_in_flight": 0}, ValueError, "max_in_flight"),
        ({"threads": 0}, ValueError, "threads"),
        ({"progress": 3}, TypeError, "progress"),
        ({"asynchronous": "yes"}, TypeError, "asynchronous"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    folder: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        CheckpointManager(folder, **options)
    assert not folder.exists()


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        CheckpointManager(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        CheckpointManager(tmp_path / "file" / "run")
    with pytest.raises(ValueError, match="'' is none"):
        CheckpointManager("")
    with pytest.raises(TypeError, match="directory"):
        CheckpointManager(3)  # type: ignore[arg-type]
    with CheckpointManager(tmp_path / "nowhere", read_only=True) as manager:
        assert (manager.steps(), manager.latest(), manager.restore()) == ([], None, None)
    assert not (tmp_path / "nowhere").exists()


def test_a_step_that_is_not_there(folder: Path) -> None:
    with CheckpointManager(folder) as manager:
        with pytest.raises(FileNotFoundError, match="no step 7 is there; it has none"):
            manager.restore(7)
        manager.save(1, {})
        for call in (manager.restore, manager.info):
            with pytest.raises(FileNotFoundError, match="no step 7 is there; the newest is 1"):
                call(7)


def test_best_needs_a_metric(folder: Path) -> None:
    with CheckpointManager(folder) as manager, pytest.raises(ValueError, match="metric="):
        manager.best()


def test_metrics_that_are_none(folder: Path) -> None:
    with CheckpointManager(folder) as manager:
        for metrics in ([1], {"a": "high"}, {"a": [1, 2]}, {3: 1.0}):
            with pytest.raises(TypeError, match="metric"):
                manager.save(1, {}, metrics)  # type: ignore[arg-type]
        assert manager.steps() == []


def test_a_manager_that_is_closed_or_only_reads(folder: Path) -> None:
    manager = CheckpointManager(folder)
    manager.save(1, made(1))
    manager.close()
    manager.close()
    with pytest.raises(ValueError, match="closed"):
        manager.save(2, made(2))
    with pytest.raises(ValueError, match="closed"):
        manager.restore()
    assert "closed" in repr(manager)
    with CheckpointManager(folder, read_only=True) as reader:
        for call in (lambda: reader.save(2, {}), reader.prune):
            with pytest.raises(ValueError, match="read_only"):
                call()
        assert reader.restore()["step"] == 1
        assert repr(reader) == f"<mxio.CheckpointManager {str(folder)!r}: 1 steps>"
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(reader)


# ---- one writer ----


def test_a_second_manager_is_refused_until_the_first_is_closed_or_gone(folder: Path) -> None:
    first = CheckpointManager(folder)
    with pytest.raises(BlockingIOError, match=f"process {os.getpid()} on ") as caught:
        CheckpointManager(folder)
    assert caught.value.errno == errno.EAGAIN
    assert caught.value.filename == str(folder)
    first.close()
    second = CheckpointManager(folder)
    del second
    CheckpointManager(folder).close()


def test_a_child_leaves_the_manager_to_its_parent(folder: Path) -> None:
    manager = CheckpointManager(folder, asynchronous=True)
    manager.save(1, {"x": np.zeros(1 << 22)})
    child = os.fork()
    if not child:
        status = 1
        try:
            manager.save(2, {})
        except RuntimeError as error:
            status = 0 if "belongs to process" in str(error) else 2
            manager.close()
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    manager.save(3, {"x": np.ones(3)})
    manager.wait()
    assert manager.steps() == [1, 3]
    with pytest.raises(BlockingIOError):  # the child did not give up our lock
        CheckpointManager(folder)
    sleeper = os.fork()
    if not sleeper:
        time.sleep(30)
        os._exit(0)
    manager.close()
    CheckpointManager(folder).close()  # though a child lives that was there before
    os.kill(sleeper, 9)
    os.waitpid(sleeper, 0)


def test_temporary_files_of_dead_processes_go_and_those_of_living_ones_stay(folder: Path) -> None:
    script = """
        import sys, time, mxio, numpy as np
        def wait(done, total):
            print('writing', flush=True)
            time.sleep(60)
        mxio.save(sys.argv[1], np.zeros(1 << 20), progress=wait)
    """
    folder.mkdir()
    path = folder / "step-0000000009.mxio"
    writers = []
    for _ in range(2):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        writers.append(writer)
    dead, living = writers
    dead.kill()
    dead.wait()
    assert len(list(folder.iterdir())) == 2
    with CheckpointManager(folder):
        (left,) = [name for name in os.listdir(folder) if name.endswith(".tmp")]
        assert f"-{living.pid:08x}-" in left
    living.kill()
    living.wait()
    living.stdout.close()  # type: ignore[union-attr]
    dead.stdout.close()  # type: ignore[union-attr]
    CheckpointManager(folder).close()
    assert os.listdir(folder) == [".mxio-manager.lock"]


def test_temporary_files_of_another_host_go_after_an_hour_and_links_never(
    folder: Path, tmp_path: Path
) -> None:
    folder.mkdir()
    (tmp_path / "mine").write_text("kept")
    names = [f".step-0000000001.mxio.mxio-{h:08x}-00000001-{h:016x}.tmp" for h in range(3)]
    for name in names[:2]:
        (folder / name).write_bytes(b"x")
    (folder / names[2]).symlink_to(tmp_path / "mine")
    os.utime(folder / names[0], (time.time() - 7200,) * 2)
    os.utime(tmp_path / "mine", (time.time() - 7200,) * 2)
    CheckpointManager(folder).close()
    assert sorted(name for name in os.listdir(folder) if name.endswith(".tmp")) == names[1:]
    assert (tmp_path / "mine").read_text() == "kept"


# ---- progress, logging ----


def test_progress_is_told_and_the_log_is_silent_unless_asked(
    folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[int, int]] = []
    with (
        CheckpointManager(
            folder, keep_last=1, progress=lambda done, total: told.append((done, total))
        ) as manager,
        caplog.at_level(logging.INFO, "mxio.checkpoint"),
    ):
        for step in 1, 2:
            manager.save(step, made(step))
        n = len(told)
        assert told[-1][0] == told[-1][1] > 70_000
        manager.restore()
        assert len(told) > n
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        *("saved step 1", "saved step 2", "removed step 1", "restored step 2")
    ]
    assert capfd.readouterr() == ("", "")


def test_many_threads_may_save_and_read_at_once(folder: Path) -> None:
    errors: list[BaseException] = []
    with CheckpointManager(folder, keep_last=None, asynchronous=True, max_in_flight=3) as manager:

        def work(first: int) -> None:
            try:
                for step in range(first, first + 10):
                    manager.save(step, made(step))
                    assert is_made(manager.restore())
                    manager.steps()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(k * 10,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        manager.wait()
        assert not errors
        assert manager.steps() == list(range(40))
        assert all(is_made(manager.restore(step)) for step in manager.steps())


@pytest.mark.parametrize("odd", ["a folder", "a link to nothing: /nowhere/x", "no file"])
def test_what_stands_in_the_place_of_a_step_is_told(tmp_path: Path, odd: str) -> None:
    """Such as a link to a disk that is not mounted: not to be taken for a run without that step."""
    with CheckpointManager(tmp_path, keep_last=None) as manager:
        path = Path(manager.path(300))
        if odd == "a folder":
            path.mkdir()
        elif odd == "no file":
            os.mkfifo(path)
        else:
            path.symlink_to("/nowhere/x")
        with pytest.raises(mxio.FormatError, match=f"no step is sound: step 300: it is {odd}"):
            manager.restore()
        manager.save(280, {"step": 280})
        with pytest.warns(mxio.DamageWarning, match=f"step 300: it is {odd}") as caught:
            assert manager.restore() == {"step": 280}
        assert [one.step for one in caught[0].message.damage] == [300]
        with pytest.raises(FileExistsError, match=f"in the place of step 300 is {odd}"):
            manager.save(300, {"step": 300})
        assert manager.steps() == [280]
        assert os.path.lexists(path)


def test_a_damaged_step_that_prune_leaves_is_told(tmp_path: Path) -> None:
    with CheckpointManager(tmp_path, keep_last=None) as manager:
        for step in 1, 2, 3:
            manager.save(step, {"w": np.full(9000, step)})
        data = bytearray(Path(manager.path(3)).read_bytes())
        data[-5] ^= 1
        Path(manager.path(3)).write_bytes(data)
    with (
        CheckpointManager(tmp_path, keep_last=1) as manager,
        pytest.warns(mxio.DamageWarning, match="step 3: checksum mismatch") as caught,
    ):
        assert manager.prune() == [1]
    assert [one.step for one in caught[0].message.damage] == [3]
