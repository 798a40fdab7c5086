# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: the states of a long run, a file each, of which the newest sound one is found.

A step is one file of mxio's own format, ``step-0000001200.mxio``, saved by the same code as
any other file: it is there as a whole or not at all. What belongs to a step (its metrics,
when it was saved) is in the metadata of its file, so that no other file has to agree.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import operator
import os
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mxio import _file, _state, _tree
from mxio._fill import Filling
from mxio._index import Content
from mxio._progress import Progress, human, shown
from mxio._reader import Reader, thread_count
from mxio._retention import Retention, at_least_one
from mxio._saving import Saving
from mxio._snapshot import Snapshot
from mxio._source import Path
from mxio._steps import STEP_MAX, StepInfo, Steps, metadata_of
from mxio.errors import DamageWarning, FormatError, FormatWarning, described, quote

__all__ = ["CheckpointManager", "PassedOver", "StepInfo"]

_log = logging.getLogger("mxio.checkpoint")
_log.addHandler(logging.NullHandler())


class PassedOver(NamedTuple):
    """A step that `CheckpointManager.restore` did not take.

    Attributes
    ----------
    step : int
    path : str
    error : Exception
        What reading it raised.
    """

    step: int
    path: str
    error: Exception


class CheckpointManager:
    """Saves steps of a long run into a directory, and finds the newest sound one again.

    A step that was saved is never lost: it is on the disk before older ones are removed,
    and those that reading finds damaged are passed over, not removed. One manager writes to
    a directory at a time; any number may read.

    Parameters
    ----------
    directory : str or os.PathLike
        Made where it is not there. What else is in it is left alone.
    keep_last : int or None, default 3
        How many of the newest steps stay; None: all.
    keep_every : int, optional
        Steps that are multiples of it stay, too.
    keep_best : int, optional
        As many of the best steps by `metric` stay, too.
    metric : str, optional
        Which of the metrics tells the best step. (Metrics without it are refused by `save`.)
    mode : {'min', 'max'}, default 'min'
        Whether the smallest value of it is the best, or the largest. NaN never is.
    asynchronous : bool, default False
        `save` copies the arrays, which takes as long as one copy in memory, and returns;
        a thread writes them. That memory is kept from one save to the next, until `close`.
    max_in_flight : int, default 1
        How many saves may be under way before `save` waits for the oldest; each needs memory
        for the arrays.
    read_only : bool, default False
        To restore only, also while another process saves there.
    threads : int, optional
        As in ``mxio.save``.
    progress : bool or callable, optional
        As in ``mxio.save``, for every save and restore.

    Raises
    ------
    BlockingIOError
        Another manager has the directory: its process is named.
    OSError
        The directory cannot be made, or written to.
    TypeError, ValueError
        An argument makes no sense.

    Examples
    --------
    >>> with CheckpointManager('run', keep_last=2) as manager:
    ...     for step in 1, 2, 3:
    ...         manager.save(step, {'w': np.full(3, step), 'step': step})
    ...     manager.steps(), manager.restore()
    ([2, 3], {'w': array([3, 3, 3]), 'step': 3})
    """

    def __init__(
        self,
        directory: Path,
        *,
        keep_last: int | None = 3,
        keep_every: int | None = None,
        keep_best: int | None = None,
        metric: str | None = None,
        mode: str = "min",
        asynchronous: bool = False,
        max_in_flight: int = 1,
        read_only: bool = False,
        threads: int | None = None,
        progress: bool | Progress | None = None,
    ) -> None:
        self._retention = Retention(keep_last, keep_every, keep_best, metric, mode)
        if not isinstance(asynchronous, bool):
            raise TypeError(f"asynchronous is True or False, not {described(asynchronous)}")
        self._asynchronous = asynchronous
        self._max_in_flight = at_least_one("max_in_flight", max_in_flight)
        self._threads = thread_count(threads)
        self._progress = progress
        with shown(progress, ""):  # says what it cannot be
            pass
        self._read_only = bool(read_only)
        self._closed = False
        self._process = os.getpid()
        self._saving = threading.RLock()
        self._retaining = threading.Lock()  # what the threads of saves in flight do last
        self._in_flight: list[Saving] = []
        self._failed: list[Saving] = []
        self._free: list[Snapshot] = []
        self._written: list[int] = []  # steps that this manager saved
        self._damaged: set[int] = set()  # steps that it found damaged
        self._steps = Steps(directory)
        if not read_only:
            self._steps.make()
            self._steps.hold()
            for name in self._steps.clean():
                _log.info("removed %s, which a process that is gone left behind", name)
        _managers.add(self)

    @property
    def directory(self) -> str:
        """The absolute path of the directory."""
        return self._steps.directory

    def __repr__(self) -> str:
        state = "closed, " if self._closed else ""
        return f"<mxio.CheckpointManager {quote(self.directory)}: {state}{len(self.steps())} steps>"

    def __enter__(self) -> CheckpointManager:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.close()
            return
        # What ends the run is not to be hidden by a save that failed.
        self._wait()
        for failed in self._failed:
            if hasattr(error, "add_note"):  # Python 3.11
                error.add_note(f"and {self._told(failed)}")
        self._tell_failed()
        self.close()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Saves in flight keep the manager: all of them have ended. When the interpreter ends,
        # `_end` has told what failed, the lock goes too, and names of modules may be gone.
        if hasattr(self, "_steps") and not is_finalizing():
            self._steps.release()
            self._tell_failed()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a CheckpointManager cannot be pickled: give other processes its directory")

    # ---- what is there ----

    def steps(self) -> list[int]:
        """Return the steps that are there, in ascending order; not those still being written."""
        return self._steps.found()

    def latest(self) -> int | None:
        """Return the newest step that is there, None if there is none.

        Its file is not read: `restore` is what finds out whether it is sound.
        """
        steps = self.steps()
        return steps[-1] if steps else None

    def best(self) -> int | None:
        """Return the step with the best `metric`, the newer of two; None if no step has it.

        Raises
        ------
        ValueError
            The manager was given no `metric`.
        """
        if self._retention.metric is None:
            raise ValueError("the best step is by a metric: CheckpointManager(..., metric='loss')")
        ranked = self._retention.ranked(self.steps(), self._steps.metrics)
        return ranked[0] if ranked else None

    def path(self, step: int) -> str:
        """Return the path of a step's file, whether or not it is there yet."""
        return self._steps.path(_step(step))

    def info(self, step: int) -> StepInfo:
        """Return what is known of a step without reading its arrays.

        Raises
        ------
        FileNotFoundError
            There is no such step.
        FormatError
            The beginning of its file is damaged.
        """
        step = _step(step)
        self._existing(step)
        return self._steps.info(step)

    def _existing(self, step: int) -> str:
        path = self._steps.path(step)
        if not os.path.isfile(path):
            steps = self.steps()
            there = f"the newest is {steps[-1]}" if steps else "it has none"
            raise FileNotFoundError(errno.ENOENT, f"no step {step} is there; {there}", path)
        return path

    # ---- saving ----

    def save(
        self,
        step: int,
        state: Any,
        metrics: Mapping[str, Any] | None = None,
        *,
        overwrite: bool = False,
        snapshot: bool = True,
    ) -> None:
        """Save a step; then remove those that need not be kept.

        When it returns, a power cut cannot take the step back; with ``asynchronous=True``,
        when `wait` does. Until then all older steps stay.

        Parameters
        ----------
        step : int
            0 or more.
        state : a tree of arrays, plain values and objects
            All that ``mxio.save`` takes, and in place of a part of it: ``torch`` modules,
            optimizers and whatever else has ``state_dict`` and ``load_state_dict``; Gluon's
            blocks and parameters; generators of random numbers, NumPy's, Python's and torch's.
            Named tuples become dicts of their fields, NumPy's scalars plain numbers.
            (`restore` with ``out`` or ``like`` is the way back.)
        metrics : mapping of str to number, optional
            Saved with it; see `best` and `info`.
        overwrite : bool, default False
            Replace the step if it is there. A file of that step that turns out to be damaged
            needs no permission: it is set aside, as ``step-….damaged-1.mxio``.
        snapshot : bool, default True
            False, with ``asynchronous=True``: the arrays are not copied, because nothing
            changes them until `wait` has returned.

        Raises
        ------
        FileExistsError
            The step is there.
        OSError
            The system said no: the step is not there, older ones are. Of an asynchronous
            save the next call of `save`, `restore`, `wait` or `close` says it, once; a
            `save` that does so has saved nothing itself and may be called again.
        TypeError, ValueError
            Something cannot be saved: named, before anything is written.
        """
        step = _step(step)
        self._check_writes()
        if state is None:
            raise TypeError("None is no state: it is what restore returns if there is no step")
        with self._saving:
            self._raise_failed()
            self._retention.check(metrics if isinstance(metrics, Mapping) else {})
            content = _file.prepare(_state.taken(state), metadata_of(step, metrics))
            self._make_room_for(step, overwrite)
            if self._asynchronous:
                self._begin(step, content, snapshot)
            else:
                began = time.monotonic()
                with shown(self._progress, f"save step {step}") as tell:
                    path = self._steps.path(step)
                    _file.write(path, content, None, True, self._threads, {}, progress=tell)
                self._saved(step, began)

    def _make_room_for(self, step: int, overwrite: bool) -> None:
        """Raise if the step is there and may not be replaced."""
        if any(saving.step == step for saving in self._in_flight):
            self._wait()
            self._raise_failed()
        path = self._steps.path(step)
        if overwrite or not os.path.lexists(path):
            return
        odd = self._steps.oddity(step)
        if odd is not None:
            raise FileExistsError(errno.EEXIST, f"in the place of step {step} is {odd}", path)
        # After a restore that passed it over, the run comes to a damaged step again.
        if self._steps.damage(step, self._threads) is None:
            raise FileExistsError(
                errno.EEXIST, f"step {step} is there; overwrite=True replaces it", path
            )
        aside = self._steps.set_aside(step)
        self._warn(
            f"step {step} was there, but damaged: it is now {aside}",
            [PassedOver(step, aside, FormatError("it is damaged"))],
            4,
        )

    def _warn(self, message: str, damage: list[PassedOver], level: int) -> None:
        _log.warning("%s", message)
        warnings.warn(DamageWarning(message, damage), stacklevel=level)

    def _begin(self, step: int, content: Content, snapshot: bool) -> None:
        """Start writing a step in a thread, once its arrays are copied."""
        while len(self._in_flight) >= self._max_in_flight:
            self._in_flight[0].join()
            self._collect()
        self._raise_failed()
        saving = Saving(step)
        if snapshot:
            copied = self._free.pop() if self._free else Snapshot()
            try:
                copied.take(content, self._threads)
            except BaseException:
                self._free.append(copied)
                raise
            self._start(saving, lambda: self._write_snapshot(step, copied))
        else:
            self._start(saving, lambda: self._write_content(step, content))

    def _start(self, saving: Saving, write: Callable[[], None]) -> None:
        began = time.monotonic()

        def work() -> None:
            write()
            self._saved(saving.step, began)

        saving.start(work)
        # Not before: a handler that waits for what never starts would wait for ever.
        self._in_flight.append(saving)

    def _write_snapshot(self, step: int, copied: Snapshot) -> None:
        try:
            with shown(self._progress, f"save step {step}") as tell:
                copied.write(self._steps.path(step), tell)
        finally:
            self._free.append(copied)

    def _write_content(self, step: int, content: Content) -> None:
        with shown(self._progress, f"save step {step}") as tell:
            path = self._steps.path(step)
            _file.write(path, content, None, True, self._threads, {}, progress=tell)

    def _saved(self, step: int, began: float) -> None:
        """Remove what need not be kept, now that a step is on the disk."""
        took = time.monotonic() - began
        path = self._steps.path(step)
        with contextlib.suppress(OSError):
            _log.info("saved step %d, %s in %.2f s", step, human(os.path.getsize(path)), took)
        with self._retaining:
            self._damaged.discard(step)
            steps = self._steps.found()
            there = set(steps)
            self._written = [old for old in (*self._written, step) if old in there]
            if step in there:  # else somebody removed it, and nothing is known to be better
                self._remove(steps, {step})

    def _removable(self, steps: list[int], kept: set[int]) -> list[int]:
        """Return the steps that may go; one that is damaged does not count, and stays."""
        sound = [step for step in steps if step not in self._damaged]
        kept = kept | self._retention.kept(sound, self._written, self._steps.metrics)
        return [step for step in sound if step not in kept]

    def _remove(self, steps: list[int], kept: set[int]) -> list[int]:
        removed = self._removable(steps, kept)
        for old in removed:
            try:
                self._steps.remove(old)
            except OSError as error:  # the new one is safe; the next save tries again
                _log.warning("step %d could not be removed: %s", old, error)
            else:
                _log.info("removed step %d", old)
        return removed

    def delete(self, step: int) -> None:
        """Remove a step, whatever was to be kept.

        Raises
        ------
        FileNotFoundError
            It is not there.
        """
        step = _step(step)
        self._check_writes()
        with self._saving:
            self._wait()
            self._existing(step)
            self._steps.remove(step)
            _log.info("removed step %d", step)

    def prune(self, *, dry_run: bool = False) -> list[int]:
        """Remove what need not be kept, and return it: what `save` does each time.

        The newest step that is sound stays, whatever else, and so do newer ones, which are
        damaged: files are read until a sound one is found. A DamageWarning lists the others.

        Parameters
        ----------
        dry_run : bool, default False
            Return it only.

        Raises
        ------
        FormatError
            No step is sound: nothing is removed.
        ValueError
            No step has the metric that `keep_best` goes by: nothing is removed.
        """
        self._check_writes()
        with self._saving:
            self._wait()
            self._raise_failed()
            steps = self._steps.found()
            metrics = {name: 0 for step in steps for name in self._steps.metrics(step) or ()}
            if self._retention.keeps_best:
                self._retention.check(metrics or {"": 0})
            kept: set[int] = set()
            damaged: list[PassedOver] = []
            for step in reversed(steps):
                error = self._steps.damage(step, self._threads)
                if error is None:
                    kept = {step}
                    break
                damaged.append(PassedOver(step, self._steps.path(step), error))
                self._damaged.add(step)
            if steps and not kept:
                raise FormatError(f"{self.directory}: no step is sound, so none is removed")
            if damaged:
                told = "; ".join(f"step {one.step}: {one.error}" for one in damaged)
                self._warn(f"steps that are damaged stay, and do not count: {told}", damaged, 3)
            return self._removable(steps, kept) if dry_run else self._remove(steps, kept)

    # ---- restoring ----

    def restore(self, step: int | None = None, like: Any = None, out: Any = None) -> Any:
        """Load a step: the newest one that is sound, or the one that is asked for.

        Every byte is checked. Steps newer than the one returned were found damaged: a
        DamageWarning names them, and why. Their files stay.

        Parameters
        ----------
        step : int, optional
            None: the newest that is sound.
        like : tree, optional
            What the state has to look like: keys, lengths, shapes, dtypes. What comes back
            has its kinds of containers (named tuples) and arrays (PyTorch's, JAX's, …);
            nothing in it changes. Objects in it stand for their states.
        out : tree, optional
            What the state is put into, and returned: arrays are filled in place, objects are
            given their states, items of dicts and lists replaced. (What cannot change, in
            tuples, is new in what is returned.) All keys, lengths, shapes and dtypes are compared
            and all bytes checked before anything changes; what an object itself refuses is
            found only when it gets its state.

        Returns
        -------
        tree, or None if the directory has no steps and none was asked for

        Raises
        ------
        FileNotFoundError
            The step that was asked for is not there.
        FormatError, ChecksumError
            It is damaged; or there are steps, and none is sound.
        EntryError
            The state differs from `like` or `out`; all differences are listed, or the first 100.
        """
        if like is not None and out is not None:
            raise ValueError("like says what comes back, out what is filled: give one of them")
        if not self._read_only:
            self._check_open()
            self._wait()
            self._raise_failed()
        if step is not None:
            step = _step(step)
            return self._load(step, self._existing(step), like, out)
        passed: list[PassedOver] = []
        for newest, _ in reversed(self._steps.named()):
            path = self._steps.path(newest)
            odd = self._steps.oddity(newest)
            if odd is not None:
                passed.append(PassedOver(newest, path, FormatError(f"it is {odd}")))
                continue
            try:
                state = self._load(newest, path, like, out)
            except FileNotFoundError:  # another process removed it
                continue
            except (FormatError, FormatWarning, OSError) as error:
                if isinstance(error, OSError) and error.errno != errno.EIO:
                    raise
                passed.append(PassedOver(newest, path, error))
                self._damaged.add(newest)
                continue
            if passed:
                told = "; ".join(f"step {one.step}: {one.error}" for one in passed)
                message = f"restored step {newest}, because newer ones are damaged: {told}"
                self._warn(message, passed, 3)
            return state
        if passed:
            if isinstance(passed[0].error, OSError):  # the disk's fault, not the files'
                raise passed[0].error
            told = "; ".join(f"step {one.step}: {one.error}" for one in passed)
            raise FormatError(f"{self.directory}: no step is sound: {told}") from passed[0].error
        return None

    def _load(self, step: int, path: str, like: Any, out: Any) -> Any:
        where = f"the state of step {step} in {path}"
        with Reader(path, threads=self._threads) as reader:
            reader._check_rest()
            if out is not None:
                state = self._load_into(reader, out, where)
            else:
                index = reader.index
                with shown(self._progress, f"restore step {step}") as tell:
                    arrays = reader._copy(range(len(index)), tell)
                state = _tree.unflatten(index.structure, index.names(), arrays)
                if like is not None:
                    _state.check_like(state, like, "like", where)
                    state = _state.rebuilt(state, like)
        _log.info("restored step %d", step)
        return state

    def _load_into(self, reader: Reader, out: Any, where: str) -> Any:
        index, names = reader.index, reader.index.names()
        saved = _tree.unflatten(index.structure, names, [reader[name] for name in names])
        _state.check_like(saved, out, "out", where)
        places = _state.places(saved, out)
        filling = Filling(index, index.numbers(places), list(places.values()), False)
        reader._check(range(len(index)))
        rest = reader.read([name for name in names if name not in places])
        # Objects first: they are what may still say no.
        result = _state.put(saved, out, {**rest, **places})
        filling.run(reader._file, True, self._threads)
        return result

    # ---- saves in flight ----

    def wait(self) -> None:
        """Wait until what was saved is on the disk.

        Raises
        ------
        OSError
            An asynchronous save failed; see `save`.
        """
        self._wait()
        self._raise_failed()

    def flush(self) -> None:
        """Wait as `wait` does and raise nothing: for handlers of signals.

        It may be called while `save` runs in the same thread. What a handler interrupts is
        not saved; what `save` has returned from is. Errors are left to the next call.
        """
        self._wait()

    def _wait(self) -> None:
        for saving in list(self._in_flight):
            saving.join()
        self._collect()

    def _collect(self) -> None:
        """Note which saves have ended, and which of them failed."""
        for saving in list(self._in_flight):
            if saving.ended:
                with contextlib.suppress(ValueError):  # a handler was faster
                    self._in_flight.remove(saving)
                    if saving.error is not None:
                        self._failed.append(saving)

    def _raise_failed(self) -> None:
        self._collect()
        if not self._failed:
            return
        failed, self._failed = self._failed, []
        for other in failed[1:]:
            _log.error("step %d could not be saved: %s", other.step, other.error)
        error = failed[0].error
        assert error is not None
        if hasattr(error, "add_note"):  # Python 3.11
            error.add_note(f"step {failed[0].step} was being saved in the background")
        raise error

    def close(self) -> None:
        """Wait, give up the lock and the memory of snapshots.

        Raises
        ------
        OSError
            An asynchronous save failed; see `save`. It is closed nevertheless.
        """
        if self._process == os.getpid():
            self._wait()
        self._closed = True
        self._free.clear()
        self._steps.release()
        self._raise_failed()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the CheckpointManager of {self.directory} is closed")

    def _check_writes(self) -> None:
        self._check_open()
        if self._read_only:
            raise ValueError(f"the CheckpointManager of {self.directory} is read_only")
        if self._process != os.getpid():
            raise RuntimeError(
                f"the CheckpointManager of {self.directory} belongs to process {self._process}, "
                "of which this is a child: save there, or close it and make one here"
            )

    def _forked(self) -> None:
        """Forget, in a child, what the threads of the parent do."""
        self._in_flight, self._failed, self._free = [], [], []
        self._saving, self._retaining = threading.RLock(), threading.Lock()
        self._steps.release()

    def _tell_failed(self) -> None:
        """Say of saves that failed what nobody has asked for, when it is too late to raise."""
        self._collect()
        for failed in self._failed:
            print(f"mxio: {self._told(failed)}", file=sys.stderr)
        self._failed.clear()

    def _told(self, failed: Saving) -> str:
        return f"step {failed.step} of {self.directory} could not be saved: {failed.error}"


_managers: weakref.WeakSet[CheckpointManager] = weakref.WeakSet()


def _forget() -> None:
    for manager in list(_managers):
        manager._forked()


def _end() -> None:
    """Wait for what was saved after the interpreter had waited for threads; tell what failed."""
    for manager in list(_managers):
        manager._wait()
        manager._tell_failed()


os.register_at_fork(after_in_child=_forget)
atexit.register(_end)


def _step(step: Any) -> int:
    if isinstance(step, bool):
        raise TypeError("a step is an int, not a bool")
    try:
        number = operator.index(step)
    except TypeError:
        raise TypeError(f"a step is an int, not {described(step)}") from None
    if not 0 <= number <= STEP_MAX:
        raise ValueError(f"a step is 0 or more and below 2**63, not {number}")
    return number
