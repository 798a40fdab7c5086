# SPDX-License-Identifier: Apache-2.0
"""A file that is larger than the memory there is: written, appended to, read, converted, checked.

The limit is the kernel's: a control group, which kills what needs more. The page cache counts,
and is taken back. By default the file has 256 MiB, and the limit is 96 MiB above what Python
and NumPy have; `MXIO_MEMORY_LIMIT="4096 512" pytest -s tests/test_memory_limit.py` lets it have
4096 MiB under a limit of 512 MiB in all, of which 9 GiB of disk are wanted (`--basetemp` says
where). What each step took is printed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import mxio

ROOT = str(Path(mxio.__file__).parents[1])
MIB = 1 << 20


class Group:
    """A control group for one process: version 1 or 2, its folder, the names of its files."""

    def __init__(self, folder: Path, version: int) -> None:
        self.folder = folder / f"mxio-{uuid.uuid4().hex}"
        self.version = version
        names = ("limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes", "failcnt")
        if version == 2:
            names = ("max", "current", "peak", "events")
        self.limit, self.usage, self.peak, self.failures = (f"memory.{name}" for name in names)
        self.folder.mkdir()
        try:
            if version == 2 and (self.folder / "memory.swap.max").exists():
                (self.folder / "memory.swap.max").write_text("0")
            (self.folder / self.limit).write_text(str(1 << 30))
        except BaseException:
            self.folder.rmdir()
            raise


def folders() -> Iterator[tuple[Path, int]]:
    """Where a group may be made: in this process's own, or, in version 2, above it."""
    own = dict(
        line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()
    )
    mounted = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    for _, place, kind, options, *_ in mounted:
        if kind == "cgroup" and "memory" in options.split(","):
            yield Path(place) / own.get("memory", "/").lstrip("/"), 1
        if kind == "cgroup2":
            folder = Path(place) / own.get("", "/").lstrip("/")
            for one in (folder, *folder.parents):
                if not one.is_relative_to(place):
                    break
                control = one / "cgroup.subtree_control"
                if control.exists() and "memory" in control.read_text().split():
                    yield one, 2


@pytest.fixture
def group() -> Iterator[Group]:
    if not sys.platform.startswith("linux"):
        pytest.skip("control groups are Linux's")
    found, why = None, "none that may limit memory is mounted"
    for folder, version in folders():
        try:
            found = Group(folder, version)
            break
        except OSError as error:
            why = str(error)
    if found is None:
        pytest.skip(f"no control group can be made: {why}")
    yield found
    found.folder.rmdir()


# The process enters the group before anything is imported. Row i holds i * 2654435761 + column.
WORK = """
import os, sys
from pathlib import Path

folder, limit, usage, peak, failures, version, total, most, what, where = sys.argv[1:]
folder, total, most = Path(folder), int(total) << 20, int(most) << 20
(folder / "cgroup.procs").write_text(str(os.getpid()))

import random
import numpy as np
import mxio

mxio.loads(mxio.dumps({"a": np.arange(10)}))
if not most:
    most = int((folder / usage).read_text()) + (96 << 20)
(folder / limit).write_text(str(most))
os.chdir(where)
n = total // 4096 // 2
columns = np.arange(1024, dtype="u4")

def rows(low, high):
    return np.arange(low, high, dtype="u4")[:, None] * np.uint32(2654435761) + columns

def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(field + ":"))

def step(work):
    for path, text in ((folder / peak, "0"), (Path("/proc/self/clear_refs"), "5")):
        try:
            path.write_text(text)
        except OSError:
            pass
    work()
    most = int((folder / peak).read_text()) if (folder / peak).exists() else 0
    print(work.__name__, most >> 20, status("VmHWM") >> 20, flush=True)

def append(mode="x", m=n - 1000):
    with mxio.Writer("x.mxio", mode, sync=False) as w:
        for i, low in enumerate(range(0, m, 777)):
            w.append("appended", rows(low, min(m, low + 777)))
            if i % 40 == 0:
                w.commit()

def create_regions():
    with mxio.Writer("x.mxio", "a", sync=False) as w:
        x = w.create("filled", (n, 1024), "u4")
        blocks = list(range(0, n, 1000))
        random.Random(1).shuffle(blocks)
        for low in blocks:
            x[low : low + 1000] = rows(low, min(n, low + 1000))

def append_to():
    with mxio.Writer("x.mxio", "a", sync=False) as w:
        for low in range(n - 1000, n, 10):
            w.append("appended", rows(low, low + 10))
        w["filled"][5:7] = rows(5, 7)

def slices():
    with mxio.open("x.mxio") as f:
        for name in f:
            x = f[name]
            seen = 0
            for region in x.iter_chunks():
                part = x[region]
                at = region[0].start
                assert np.array_equal(part, rows(at, at + len(part)))
                seen += part.size
            assert seen == x.size
            assert np.array_equal(x[:, 5], rows(0, n)[:, 5] if n < 9999 else
                                  np.arange(n, dtype="u4") * np.uint32(2654435761) + 5)
            assert np.array_equal(x[:: n // 100, ::-3], rows(0, n)[:: n // 100, ::-3] if n < 9999
                                  else np.concatenate([rows(i, i + 1)
                                                       for i in range(0, n, n // 100)])[:, ::-3])

def gather():
    with mxio.open("x.mxio") as f:
        for name in f:
            some = np.random.default_rng(3).integers(0, n, 4000)
            want = some.astype("u4")[:, None] * np.uint32(2654435761) + columns
            assert np.array_equal(f[name][some], want)
            assert np.array_equal(f[name][some, 7], want[:, 7])

def check(path):
    with mxio.open(path) as f:
        for name in ("appended", "filled"):
            assert f[name].shape == (n, 1024)
            for low in (0, n // 3, n - 300):
                assert np.array_equal(f[name][low : low + 300], rows(low, low + 300))
    os.unlink(path)

def copy():
    mxio.copy("x.mxio", "y.mxio", sync=False)
    check("y.mxio")

def to_safetensors():
    mxio.copy("x.mxio", "y.safetensors", sync=False)
    check("y.safetensors")

def to_params():
    mxio.copy("x.mxio", "y.params", sync=False)
    check("y.params")

def taken_over():
    with mxio.open("x.mxio") as f, mxio.Writer("y.mxio", sync=False) as w:
        w["filled"] = f["filled"]
        w.append("appended", f["appended"])
    check("y.mxio")

def compact():
    mxio.compact("x.mxio", sync=False)

def verify():
    assert mxio.verify("x.mxio") == []

def save_all_at_once():
    mxio.save("x.mxio", {"x": np.ones((n, 1024), "u4")}, sync=False)

if what == "all":
    for one in (append, create_regions, append_to, slices, gather, copy, to_safetensors, to_params,
                taken_over, compact, slices, verify):
        step(one)
    failed = (folder / failures).read_text()
    failed = failed if version == "1" else dict(map(str.split, failed.splitlines()))["max"]
    print("limit", most >> 20, int(failed))
else:
    step(save_all_at_once)
"""


def run(group: Group, what: str, folder: Path) -> subprocess.CompletedProcess[str]:
    total, most = os.environ.get("MXIO_MEMORY_LIMIT", "256 0").split()
    facts = (group.folder, group.limit, group.usage, group.peak, group.failures, group.version)
    return subprocess.run(
        [sys.executable, "-c", WORK, *map(str, facts), total, most, what, folder],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"PYTHONPATH": ROOT, "MXIO_THREADS": "4"},
    )


def test_everything_is_done_under_a_limit_below_the_file(group: Group, tmp_path: Path) -> None:
    done = run(group, "all", tmp_path)
    print(f"\n    step, MiB of the group, MiB of the process\n{done.stdout}", end="")
    assert done.returncode == 0, done.stderr
    word, _, failures = done.stdout.splitlines()[-1].split()
    assert word == "limit"
    # What was taken back is the page cache: without that the limit was never met.
    assert int(failures) > 0


def test_the_limit_is_one(group: Group, tmp_path: Path) -> None:
    done = run(group, "once", tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
