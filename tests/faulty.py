# SPDX-License-Identifier: Apache-2.0
"""Work that is done while one call of the system, or one allocation, is made to fail.

Run with an extension that was built with tests/faults.h (tests/test_faults.py does): each piece of
work is done once to count what it asks for, then again for each of these, and each way to fail.
Every time it ends as it should or raises what it should, nothing is left open, allocated or
lying about, the file that was there is whole, and the same work, done again, succeeds.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import mxio
from mxio import _core

CALLS, ALLOCATIONS = 0, 1
ONCE, ALWAYS, SHORT, NOTHING = 1, 2, 3, 4

# What each call is made to fail with; what it must survive: an interruption, and being told
# that a file system does not offer it.
ERRORS = {
    "pwrite": (errno.EIO, errno.ENOSPC, errno.EINVAL),  # not past the page cache
    "fsync": (errno.EIO, errno.EINVAL),  # not of a folder
    "openat": (errno.EACCES, errno.EEXIST),  # a name that is gone again when it is opened
    "open": (errno.EMFILE,),
    "munmap": (errno.ENOMEM,),
}
SURVIVED = {
    "pread": (errno.EINTR,),
    "pwrite": (errno.EINTR,),
    "fsync": (errno.EINTR,),
    "ftruncate": (errno.EINTR,),
    "fallocate": (errno.EINTR, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL),
    "fchown": (errno.EPERM, errno.EINVAL),
    "fchmod": (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP),
    "flock": (errno.ENOLCK,),
    "renameat2": (errno.EINVAL, errno.ENOSYS),
}


class Faults:
    """The counters of tests/faults.c."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(_core.__file__)
        self._library.mxio_fault_count.restype = ctypes.c_uint64
        self._library.mxio_fault_name.restype = ctypes.c_char_p
        self._library.mxio_fault_n_live.restype = ctypes.c_int64

    def arm(self, kind: int, nth: int, code: int = 0, how: int = ONCE) -> None:
        self._library.mxio_fault_arm(kind, ctypes.c_uint64(nth), code, how)

    def count(self, kind: int) -> int:
        return int(self._library.mxio_fault_count(kind))

    def name(self, n: int) -> str:
        return str(self._library.mxio_fault_name(ctypes.c_uint64(n)).decode())

    @property
    def met(self) -> bool:
        return bool(self._library.mxio_fault_was_met())

    @property
    def n_live(self) -> int:
        return int(self._library.mxio_fault_n_live())


RNG = np.random.default_rng(0)
SMALL = {f"w{n}": RNG.random((n + 1, 7), np.float32) for n in range(12)}
# Several chunks, threads, and memory that is not as it is stored.
LARGE = {
    "c": RNG.random((700, 1100), np.float32),
    "strided": RNG.random((900, 700))[::2, ::-1],
    "swapped": RNG.random(200_000).astype(">f8"),
    **SMALL,
}
PLAIN = {"a": np.arange(6.0).reshape(2, 3), "b": RNG.random((40, 7000), np.float32)}
OLD = {"a": np.full(9, 3.0), "step": 1}


def same(found: Any, wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, name)


class Work(NamedTuple):
    """What is there before, what is done, and what comes of it.

    `act` returns what is to be compared; a file that it replaces is ``x.mxio``, which before
    holds OLD unless `base` put something else there.
    """

    act: Callable[[Path], Any]
    check: Callable[[Path, Any], None]
    base: Callable[[Path], None] = lambda folder: mxio.save(folder / "x.mxio", OLD)
    is_old: Callable[[Path], None] = lambda folder: same(mxio.load(folder / "x.mxio"), OLD)


def saving(arrays: Any, **options: Any) -> Work:
    def check(folder: Path, result: Any) -> None:
        same(mxio.load(folder / "x.mxio"), arrays)
        assert mxio.verify(folder / "x.mxio") == []

    return Work(lambda folder: mxio.save(folder / "x.mxio", arrays, **options), check)


def reading(save: Callable[[Path], object], wanted: Any, read: Callable[[Path], Any]) -> Work:
    """Work that changes nothing: `read` gives what `save` put into ``r``."""

    def base(folder: Path) -> None:
        save(folder / "r")

    return Work(
        lambda folder: read(folder / "r"),
        lambda folder, result: same(result, wanted),
        base,
        lambda folder: same(mxio.load(folder / "r"), wanted),
    )


def saved(arrays: Any, **options: Any) -> Callable[[Path], None]:
    return lambda path: mxio.save(path, arrays, **options)


def in_shards(path: Path) -> None:
    """A folder with one file of safetensors for each array."""
    path.mkdir()
    names = {name: f"{name}.safetensors" for name in PLAIN}
    for name, file in names.items():
        mxio.save(path / file, {name: PLAIN[name]}, format="safetensors")
    text = json.dumps({"metadata": {}, "weight_map": names})
    (path / "model.safetensors.index.json").write_text(text)


def without_names(folder: Path) -> None:
    mxio.save(folder / "r", [*PLAIN.values()], format="mxnet")


def numbered(folder: Path) -> dict[str, Any]:
    return dict(zip(PLAIN, mxio.load(folder / "r"), strict=True))


def packed(folder: Path) -> None:
    """Two items of four bits in a byte of the file, and in two of memory."""
    header = b'{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}'
    (folder / "r").write_bytes(len(header).to_bytes(8, "little") + header + b"\x52")


def listed(folder: Path) -> list[str]:
    with mxio.open(folder / "r") as file:
        return list(file)


def lazily(path: Path) -> dict[str, Any]:
    with mxio.open(path) as file:
        return {
            name: np.concatenate([file[name][:2], file[name][2:]])
            if file[name].ndim == 1
            else np.stack([file[name][i] for i in range(file[name].shape[0])])
            for name in file
        }


def gathered(path: Path) -> dict[str, Any]:
    with mxio.open(path) as file:
        return {name: file[name][list(range(file[name].shape[0]))] for name in file}


def filled(path: Path) -> dict[str, Any]:
    out = {
        name: np.zeros(array.shape, array.dtype.newbyteorder("=")) for name, array in PLAIN.items()
    }
    out["b"] = np.zeros((80, 7000), np.float32)[::2]
    with mxio.open(path) as file:
        return file.read(out=out)


def verified(path: Path) -> dict[str, Any]:
    assert mxio.verify(path) == []
    return PLAIN


def is_listed(folder: Path, result: list[str]) -> None:
    assert result == ["a"]


def appended(path: Path) -> None:
    with mxio.Writer(path) as w:
        w["a"] = PLAIN["a"]
        w.append("b", PLAIN["b"][:10])
        w.commit()
        w.append("b", PLAIN["b"][10:35])
        w.commit()
        w.append("b", PLAIN["b"][35:])


def writing(folder: Path) -> None:
    with mxio.Writer(folder / "x.mxio", "w") as w:
        w["a"] = PLAIN["a"]
        w.append("b", PLAIN["b"][:33])
        made = w.create("made", (300, 200), np.float64)
        made[10:200] = 5
        w.commit()
        w.append("b", PLAIN["b"][33:])
        made[0] = 7


def is_written(folder: Path, result: Any) -> None:
    found = mxio.load(folder / "x.mxio")
    assert (found.pop("made")[[0, 10, 200], 0] == [7, 5, 0]).all()
    same(found, PLAIN)


def written_new(folder: Path) -> None:
    (folder / "x.mxio").unlink(missing_ok=True)  # of an earlier try
    with mxio.Writer(folder / "x.mxio", "x") as w:
        for name, array in PLAIN.items():
            w[name] = array


def is_new_or_not_there(folder: Path) -> None:
    if (folder / "x.mxio").exists():
        same(mxio.load(folder / "x.mxio"), PLAIN)


def is_old_or_committed(folder: Path) -> None:
    found = mxio.load(folder / "x.mxio")
    if "step" in found:
        same(found, OLD)
    else:
        assert len(found["b"]) in (33, 40)
        np.testing.assert_array_equal(found["b"], PLAIN["b"][: len(found["b"])])
    assert mxio.verify(folder / "x.mxio") == []


def going_on(folder: Path) -> None:
    with mxio.Writer(folder / "x.mxio", "a") as w:
        w.append("rows", PLAIN["b"][:9])
        w.commit()
        w["rows"][5] = 1
        w.append("rows", PLAIN["b"][9:15])


def has_gone_on(folder: Path, result: Any) -> None:
    found = mxio.load(folder / "x.mxio")
    n = len(found["rows"])
    assert n in (16, 25, 31)  # with what an earlier try had committed
    assert (found["rows"][5] == 1).all()


def is_base_or_more(folder: Path) -> None:
    found = mxio.load(folder / "x.mxio")
    assert len(found["rows"]) in (1, 10, 16)
    assert mxio.verify(folder / "x.mxio") == []


def grown(folder: Path) -> None:
    with mxio.Writer(folder / "x.mxio") as w:
        w.append("rows", PLAIN["b"][:1])


def compacting(folder: Path) -> None:
    mxio.compact(folder / "x.mxio")


def managing(asynchronous: bool, arrays: dict[str, Any] = PLAIN) -> Work:
    def act(folder: Path) -> Any:
        with mxio.CheckpointManager(
            folder / "run", keep_last=1, asynchronous=asynchronous
        ) as manager:
            step = (manager.latest() or 0) + 1
            manager.save(step, arrays)
            manager.wait()
            return manager.restore()

    def base(folder: Path) -> None:
        with mxio.CheckpointManager(folder / "run") as manager:
            manager.save(1, arrays)

    def is_old(folder: Path) -> None:
        with mxio.CheckpointManager(folder / "run", read_only=True) as manager:
            same(manager.restore(), arrays)

    return Work(act, lambda folder, result: same(result, arrays), base, is_old)


FORMATS = {"mxnet": {}, "safetensors": {}, "npz": {}, "npz deflated": {"compress": True}}

WORK: dict[str, Work] = {
    "save small": saving(SMALL),
    "save large": saving(LARGE),
    "save large, not synced": saving(LARGE, sync=False),
    "load": reading(saved(PLAIN), PLAIN, mxio.load),
    "load large": reading(saved(LARGE), LARGE, mxio.load),
    "load some": reading(saved(PLAIN), PLAIN, lambda path: mxio.load(path, ["a", "b"])),
    "map": reading(saved(PLAIN), PLAIN, lambda path: mxio.load(path, mmap=True)),
    "map, verified": reading(
        saved(PLAIN), PLAIN, lambda path: mxio.load(path, mmap=True, verify=True)
    ),
    "skip": reading(saved(PLAIN), PLAIN, lambda path: mxio.load(path, on_damage="skip")),
    "rows": reading(saved(PLAIN), PLAIN, lazily),
    "gather": reading(saved(PLAIN), PLAIN, gathered),
    "fill": reading(saved(PLAIN), PLAIN, filled),
    "verify": reading(saved(PLAIN), PLAIN, verified),
    "dumps": reading(saved(PLAIN), PLAIN, lambda path: mxio.loads(mxio.dumps(PLAIN))),
    "load appended": reading(appended, PLAIN, mxio.load),
    "rows appended": reading(appended, PLAIN, lazily),
    "write": Work(writing, is_written, is_old=is_old_or_committed),
    "write what is new": Work(
        written_new,
        lambda folder, result: same(mxio.load(folder / "x.mxio"), PLAIN),
        lambda folder: None,
        is_new_or_not_there,
    ),
    "append": Work(going_on, has_gone_on, grown, is_base_or_more),
    "compact": Work(
        compacting,
        lambda folder, result: same(mxio.load(folder / "x.mxio"), PLAIN),
        lambda folder: appended(folder / "x.mxio"),
        lambda folder: same(mxio.load(folder / "x.mxio"), PLAIN),
    ),
    "load shards": reading(in_shards, PLAIN, mxio.load),
    "map shards": reading(in_shards, PLAIN, lambda path: mxio.load(path, mmap=True)),
    "rows shards": reading(in_shards, PLAIN, lazily),
    "load a list": Work(
        numbered,
        lambda folder, result: same(result, PLAIN),
        without_names,
        lambda folder: same(numbered(folder), PLAIN),
    ),
    "open packed": Work(
        listed, is_listed, packed, lambda folder: is_listed(folder, listed(folder))
    ),
    "checkpoint": managing(False),
    "checkpoint in background": managing(True),
    "large checkpoint in background": managing(True, LARGE),  # past the page cache
}
for word, options in FORMATS.items():
    name = word.split()[0]
    WORK[f"save {word}"] = saving(PLAIN, format=name, **options)
    WORK[f"load {word}"] = reading(saved(PLAIN, format=name, **options), PLAIN, mxio.load)
    WORK[f"rows {word}"] = reading(saved(PLAIN, format=name, **options), PLAIN, lazily)
    WORK[f"convert {word}"] = Work(
        lambda folder: mxio.copy(folder / "r", folder / "x.mxio"),
        lambda folder, result: same(mxio.load(folder / "x.mxio"), PLAIN),
        lambda folder, name=name, options=options: (  # type: ignore[misc]
            mxio.save(folder / "r", PLAIN, format=name, **options),
            mxio.save(folder / "x.mxio", OLD),
        ),
    )


class Sweep:
    """One piece of work, again and again, with one fault each time."""

    def __init__(self, work: Work, folder: Path) -> None:
        self.faults = Faults()
        self.work, self.folder = work, folder
        self.runs = self.failures = 0
        self.hit: set[tuple[str, int, int]] = set()
        self.met_at = ""  # the call that failed: threads make theirs in another order each time

    def fresh(self) -> None:
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.work.base(self.folder)

    def all(self, kinds: str) -> None:
        self.fresh()
        self.work.check(self.folder, self.work.act(self.folder))  # so that all is imported
        self.fresh()
        for kind in (CALLS, ALLOCATIONS):
            self.faults.arm(kind, 0)
        result = self.work.act(self.folder)
        n_calls, n_allocations = map(self.faults.count, (CALLS, ALLOCATIONS))
        names = [self.faults.name(n) for n in range(1, n_calls + 1)]
        self.work.check(self.folder, result)
        del result
        at_most = int(os.environ.get("MXIO_FAULTS", "24"))  # 0: all
        if "calls" in kinds:
            for n in spread(n_calls, at_most):
                name = names[n - 1]
                for code in ERRORS.get(name, (errno.EIO,)):
                    for how in (ONCE, ALWAYS):
                        self.one(CALLS, n, code, how, name)
                for code in SURVIVED.get(name, ()):
                    said = f"{name} must survive {errno.errorcode[code]}"
                    assert self.one(CALLS, n, code, ONCE, name) or self.met_at != name, said
                if name in ("pread", "pwrite"):
                    is_well = self.one(CALLS, n, 0, SHORT, name)
                    assert is_well or self.met_at != name, f"{name} in two parts"
                if name == "pwrite":
                    is_well = self.one(CALLS, n, errno.EIO, NOTHING, name)
                    assert not is_well or self.met_at != name, "nothing was written"
        if "allocations" in kinds:
            for n in spread(n_allocations, at_most):
                for how in (ONCE, ALWAYS):
                    self.one(ALLOCATIONS, n, errno.ENOMEM, how, "allocation")

    def one(self, kind: int, n: int, code: int, how: int, name: str) -> bool:
        """Do the work with a fault, and say whether it went well all the same."""
        where = f"{name}, number {n}, {errno.errorcode.get(code, 'short')}, {how}"
        self.fresh()
        gc.collect()
        before = len(os.listdir("/proc/self/fd")), self.faults.n_live
        self.faults.arm(kind, n, code, how)
        error: BaseException | None = None
        result = None
        try:
            result = self.work.act(self.folder)
        except (OSError, MemoryError) as caught:
            error = caught.with_traceback(None)
            error.__context__ = None
        met = self.faults.met
        self.met_at = self.faults.name(n) if met and kind == CALLS else ""
        self.faults.arm(kind, 0)
        self.runs += 1
        if met:
            self.hit.add((name, code, how))
        try:
            if error is None:
                self.work.check(self.folder, result)
            else:
                self.failures += 1
                self.is_right(error, kind, code)
                try:
                    self.work.is_old(self.folder)
                except AssertionError:
                    if "the new file is in place" not in str(error):
                        raise
                    self.work.check(self.folder, None)
            result = None
            gc.collect()
            after = len(os.listdir("/proc/self/fd")), self.faults.n_live
            assert after == before, f"open files and allocations: {before}, then {after}"
            left = [path.name for path in self.folder.rglob("*") if path.name.endswith(".tmp")]
            # What fails for good cannot be removed either; and whose a writer's file is was
            # what the call should have told: the next one takes it over.
            ours = name in ("fstat", "fstatat", "flock") and "-writer-" in "".join(left)
            forever = kind == CALLS and how == ALWAYS
            assert not left or name == "unlinkat" or forever or ours, left
            if error is not None:
                self.work.check(self.folder, self.work.act(self.folder))
        except BaseException as wrong:
            raise AssertionError(f"{where}: {error!r}: {wrong}") from wrong
        return error is None

    def is_right(self, error: BaseException, kind: int, code: int) -> None:
        if kind == ALLOCATIONS:
            assert isinstance(error, MemoryError), repr(error)
            return
        if isinstance(error, MemoryError):
            return  # no memory could be mapped
        assert isinstance(error, OSError)
        assert error.errno == code, repr(error)
        assert error.filename, repr(error)


def spread(n: int, at_most: int) -> range:
    """Numbers from 1 to n: all, or about so many of them, another first one each time."""
    step = max(1, -(-n // at_most)) if at_most else 1
    return range(1 + os.getpid() % step, n + 1, step)


def main(name: str, kinds: str) -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        sweep = Sweep(WORK[name], Path(folder))
        try:
            sweep.all(kinds)
            wrong = None
        except AssertionError as error:
            wrong = str(error)
    hit = sorted({call for call, _, _ in sweep.hit})
    told = {"runs": sweep.runs, "failures": sweep.failures, "hit": hit, "wrong": wrong}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
