# SPDX-License-Identifier: Apache-2.0
"""Saves that a power cut ends, in every format and way, for tests/test_crash.py.

A file is one of a number of versions; what a save has promised is said by a mark,
``saved NAME VERSION``. ``STUBBORN`` are runs that try once more what has failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import mxio
from mxio.gluon import nn

Told = Callable[[str], object]
Made = TypeVar("Made")


def contents(version: int, n_rows: int = 0) -> dict[str, Any]:
    """Return small arrays, and large ones: several chunks, memory that is gathered."""
    rng = np.random.default_rng(version)
    arrays: dict[str, Any] = {f"w{n}": rng.random((n + 1, 5), np.float32) for n in range(4)}
    arrays["version"] = np.full(3, version)
    if n_rows:
        arrays["large"] = rng.random((n_rows, 700), np.float32)
        arrays["strided"] = rng.random((100, 150))[::2, ::-1]
    return arrays


def version_of(path: Path) -> int:
    """Return which version a file is, once it is known to be exactly that."""
    found = mxio.load(path)
    version = int(found["version"][0])
    wanted = contents(version, len(found.get("large", ())))
    if "rows" in found:
        wanted["rows"] = rows_until(version)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
    assert mxio.verify(path) == []
    return version


def rows_until(version: int) -> np.ndarray[Any, Any]:
    parts = [np.full((40 * k + 3, 6), k, np.float64) for k in range(version + 1)]
    return np.concatenate(parts)


def saver(name: str, n_rows: int = 0, n: int = 3, **options: Any) -> Callable[[str, Told], None]:
    def run(folder: str, told: Told) -> None:
        for version in range(n):
            mxio.save(f"{folder}/{name}", contents(version, n_rows), **options)
            told(f"saved {name} {version}")

    return run


def two_files(folder: str, told: Told) -> None:
    for version in range(2):
        for name in "a.mxio", "b.mxio":
            mxio.save(f"{folder}/{name}", contents(version))
            told(f"saved {name} {version}")


def written(mode: str) -> Callable[[str, Told], None]:
    def run(folder: str, told: Told) -> None:
        path = f"{folder}/x.mxio"
        if mode != "x":
            mxio.save(path, contents(0) | {"rows": rows_until(0)})
            told("saved x.mxio 0")
        first = 0 if mode == "x" else 1
        with mxio.Writer(path, mode) as w:
            for version in range(first, first + 3):
                for name, array in contents(version).items():
                    w[name] = array
                if mode == "w" and version == first:
                    w.append("rows", rows_until(version))
                else:
                    w.append("rows", np.full((40 * version + 3, 6), version, np.float64))
                w.commit()
                told(f"saved x.mxio {version}")

    return run


def compacted(folder: str, told: Told) -> None:
    written("x")(folder, told)
    mxio.compact(f"{folder}/x.mxio")
    told("saved x.mxio 2")


def copied(folder: str, told: Told) -> None:
    for version, (old, new) in enumerate([("a.params", "x.safetensors"), ("a.npz", "x.mxio")]):
        format = {"a.params": "mxnet", "a.npz": "npz"}[old]
        mxio.save(f"{folder}/{old}", contents(version), format=format, sync=False)
        mxio.copy(f"{folder}/{old}", f"{folder}/{new}")
        told(f"saved {new} {version}")


def parameters(folder: str, told: Told) -> None:
    net = nn.Dense(3, in_units=2)
    net.initialize()
    for version in range(3):
        arrays = contents(version)
        net.save_parameters(f"{folder}/net.params", format="mxnet")
        told("saved net.params -1")  # whole, whatever it holds
        mxio.gluon.save_parameters(arrays, f"{folder}/x.mxio")
        told(f"saved x.mxio {version}")


def at_once(folder: str, told: Told) -> None:
    """Two threads save one path: each save is whole, and the last one stays."""
    mxio.save(f"{folder}/x.mxio", contents(0))
    told("saved x.mxio 0")
    threads = [
        threading.Thread(target=mxio.save, args=(f"{folder}/x.mxio", contents(version)))
        for version in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told("saved x.mxio 1")  # or 2


RUNS: dict[str, Callable[[str, Told], None]] = {
    "new and over": saver("x.mxio"),
    "large": saver("x.mxio", n_rows=70),
    "two threads": saver("x.mxio", n_rows=1700, n=2, threads=2),
    "mxnet": saver("x.params", format="mxnet"),
    "safetensors": saver("x.safetensors", format="safetensors"),
    "npz": saver("x.npz", format="npz"),
    "npz, deflated": saver("x.npz", format="npz", compress=True),
    "two files": two_files,
    "writer, new": written("x"),
    "writer, over": written("w"),
    "writer, appending": written("a"),
    "compacted": compacted,
    "copied": copied,
    "parameters": parameters,
    "at once": at_once,
}


def once_more(work: Callable[[], Made]) -> Made:
    try:
        return work()
    except OSError:
        return work()


def stubborn(name: str, **options: Any) -> Callable[[str, Told], None]:
    def run(folder: str, told: Told) -> None:
        for version in range(3):
            arrays = contents(version, 9)
            once_more(lambda arrays=arrays: mxio.save(f"{folder}/{name}", arrays, **options))
            told(f"saved {name} {version}")

    return run


def stubborn_writer(folder: str, told: Told) -> None:
    """One writer as long as it goes on; another when it does not."""
    path = f"{folder}/x.mxio"
    writers: list[mxio.Writer] = []

    def commit(version: int) -> None:
        if not writers:
            writers.append(mxio.Writer(path, "a" if Path(path).exists() else "x"))
        w = writers[0]
        try:
            w.update(contents(version) | {"rows": rows_until(version)})
            w.commit()
        except ValueError:  # it cannot know which commit the file holds
            writers.pop().discard()
            raise OSError from None

    for version in range(4):
        once_more(lambda version=version: once_more(lambda: commit(version)))
        told(f"saved x.mxio {version}")
    once_more(writers[0].close)
    told("saved x.mxio 3")


STUBBORN: dict[str, Callable[[str, Told], None]] = {
    "mxio, stubborn": stubborn("x.mxio"),
    "mxio, two threads, stubborn": stubborn("x.mxio", threads=2),
    "mxnet, stubborn": stubborn("x.params", format="mxnet"),
    "npz, stubborn": stubborn("x.npz", format="npz", compress=True),
    "writer, stubborn": stubborn_writer,
}


class Promise:
    """What was promised so far, and whether a folder keeps to it."""

    def __init__(self) -> None:
        self.saved: dict[str, int] = {}

    def hear(self, mark: str) -> None:
        word, name, version = mark.split()
        assert word == "saved"
        self.saved[name] = int(version)

    def holds(self, folder: Path) -> Any:
        """Return which versions are there: what was promised, or what was on its way."""
        found = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name.startswith(".") or path.name.startswith("a."):
                if path.name in self.saved:
                    found.append((path.name, version_of(path)))
                continue  # temporary, or not synced
            if path.name == "net.params":
                assert mxio.load(path).keys() == {"weight", "bias"}
                found.append((path.name, -1))
            else:
                found.append((path.name, version_of(path)))
        there = dict(found)
        for name, version in self.saved.items():
            assert name in there, f"{name} is lost"
            assert version <= there[name] <= version + 2, f"{name} is {there[name]}"
        return tuple(found)
