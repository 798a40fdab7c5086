# SPDX-License-Identifier: Apache-2.0
"""A Writer against a dict of NumPy arrays: after every commit the file holds what the dict does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import reference

import mxio

Array: TypeAlias = "np.ndarray[Any, Any]"
Model: TypeAlias = "dict[str, Array]"

DTYPES = ("f4", "f8", "i1", "u2", "?", "c8", "M8[s]", "S5", ">i4", ">f8")


def random_array(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    dtype = np.dtype(dtype)
    n = int(np.prod(shape, dtype=int))
    if dtype.kind == "S":
        return rng.integers(97, 120, n * dtype.itemsize, np.uint8).view(dtype).reshape(shape)
    top = 2 if dtype.kind == "b" else 256
    return rng.integers(0, top, n * dtype.itemsize, np.uint8).view(dtype).reshape(shape)


def native(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder("="))


def same(a: Array, b: Array) -> bool:
    b = native(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def holds(path: Path, model: Model, metadata: dict[str, Any]) -> None:
    with mxio.open(path) as f:
        assert sorted(f) == sorted(model)
        for name, array in model.items():
            assert same(f[name].read(), array), name
        assert f.metadata == metadata
    loaded = mxio.load(path)
    assert all(same(loaded[name], array) for name, array in model.items())
    mapped = mxio.load(path, mmap=True)
    assert all(same(mapped[name], array) for name, array in model.items())
    assert mxio.verify(path) == []


def random_region(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    region: list[Any] = []
    for n in shape:
        kind = rng.integers(0, 4)
        if kind == 0 and n:
            region.append(int(rng.integers(-n, n)))
        elif kind == 1:
            region.append(slice(None))
        else:
            low, high = sorted(int(k) for k in rng.integers(0, n + 1, 2))
            region.append(slice(low, high, int(rng.choice([1, 1, 2, 3]))))
            if rng.random() < 0.2:
                region[-1] = slice(None, None, -1)
    return tuple(region)


class Session:
    """Random work on a file, done to a model too."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.rng = np.random.default_rng(seed)
        self.model: Model = {}
        self.metadata: dict[str, Any] = {}
        self.readers: list[tuple[mxio.Reader, Model]] = []

    def shape(self, most: int, ndim: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self.rng.integers(0, most, int(self.rng.integers(0, ndim))))

    def name(self) -> str:
        return str(self.rng.choice([*"abcdef", *list(self.model)[:3]]))

    def assign(self, w: mxio.Writer) -> None:
        name, rng = self.name(), self.rng
        large = rng.random() < 0.2
        shape = (
            (int(rng.integers(1, 3000)), int(rng.integers(1, 40))) if large else self.shape(9, 4)
        )
        array = random_array(rng, shape, rng.choice(DTYPES))
        if rng.random() < 0.3:
            array = array.T
        w[name] = array
        self.model[name] = array.copy()
        array.flat[...] = array.flat[::-1].copy() if array.size else array

    def append(self, w: mxio.Writer) -> None:
        name, rng = self.name(), self.rng
        if name in self.model:
            dtype, inner = self.model[name].dtype, self.model[name].shape[1:]
            if not self.model[name].ndim:
                return
        else:
            dtype, inner = np.dtype(rng.choice(DTYPES)), self.shape(50, 3)
            if rng.random() < 0.1:
                inner = (int(rng.integers(10_000, 40_000)),)
        row = int(np.prod(inner, dtype=int)) * dtype.itemsize
        for _ in range(int(rng.integers(1, 20))):
            n = int(rng.integers(0, 4))
            if rng.random() < 0.03:
                n = min(4000, (3 << 20) // max(1, row))
            rows = random_array(rng, (n, *inner), dtype)
            if rng.random() < 0.1:
                rows = rows[::-1]
            try:
                w.append(name, rows)
            except ValueError as error:
                if "Fortran" not in str(error) and "shares" not in str(error):
                    raise
                return
            before = self.model.get(name)
            self.model[name] = rows.copy() if before is None else np.concatenate([before, rows])

    def create(self, w: mxio.Writer) -> None:
        name = self.name()
        if name in self.model:
            with pytest.raises(ValueError, match="already"):
                w.create(name, (3,), "f4")
            return
        shape, dtype = self.shape(60, 4), str(self.rng.choice(["f4", "i8", "u1"]))
        w.create(name, shape, dtype)
        self.model[name] = np.zeros(shape, dtype)

    def write_region(self, w: mxio.Writer) -> None:
        name = self.name()
        if name not in self.model or self.model[name].dtype.kind not in "fiu":
            return
        array = native(self.model[name])
        region = random_region(self.rng, array.shape)
        value: Any = random_array(self.rng, array[region].shape, array.dtype)
        if self.rng.random() < 0.2:
            value = 7
        try:
            w[name][region] = value
        except ValueError as error:
            if "shares" not in str(error):
                raise
            return
        array[region] = value
        self.model[name] = array

    def commit(self, w: mxio.Writer) -> None:
        if self.rng.random() < 0.3:
            w.metadata["n"] = self.metadata["n"] = int(self.rng.integers(0, 100))
        w.commit()
        holds(self.path, self.model, self.metadata)
        if self.rng.random() < 0.3:
            self.readers.append((mxio.open(self.path), dict(self.model)))

    def run(self, mode: str, n_steps: int) -> None:
        steps: list[Callable[[mxio.Writer], None]]
        steps = [self.assign, self.append, self.append, self.create, self.write_region, self.commit]
        model, metadata = dict(self.model), dict(self.metadata)
        w = mxio.Writer(self.path, mode, sync=False, threads=int(self.rng.integers(1, 3)))
        for _ in range(n_steps):
            step = steps[int(self.rng.integers(0, len(steps)))]
            step(w)
            if step == self.commit:
                model, metadata = dict(self.model), dict(self.metadata)
        for reader, was in self.readers:
            assert all(same(reader[name].read(), array) for name, array in was.items())
            reader.close()
        self.readers = []
        if self.rng.random() < 0.2:
            w.discard()
            self.model, self.metadata = model, metadata
            assert self.path.exists() == (w.generation > 0)
        else:
            w.close()
        assert os.listdir(self.path.parent) in ([], [self.path.name])
        if self.path.exists():
            holds(self.path, self.model, self.metadata)


@pytest.mark.parametrize("seed", range(40))
def test_a_file_holds_what_was_written_to_it(tmp_path: Path, seed: int) -> None:
    session = Session(tmp_path / "x.mxio", seed)
    for _ in range(3):
        mode = "a" if session.path.exists() else str(session.rng.choice(["x", "w", "a"]))
        session.run(mode, 25)
        if session.path.exists() and session.rng.random() < 0.3:
            mxio.compact(session.path)
            holds(session.path, session.model, session.metadata)


@pytest.mark.parametrize("seed", range(100, 112))
def test_what_was_saved_is_appended_to_whatever_its_layout(tmp_path: Path, seed: int) -> None:
    session = Session(tmp_path / "x.mxio", seed)
    shared = random_array(session.rng, (5, 7), "f4")
    session.model = {
        "a": shared,
        "b": shared,
        "c": np.asfortranarray(random_array(session.rng, (60, 900), "f8")),
        "d": random_array(session.rng, (), "f4"),
        "e": np.zeros((0, 3), "f4"),
        "f": random_array(session.rng, (300, 40, 3), "f4"),
    }
    session.metadata = {"k": 1}
    mxio.save(session.path, session.model, metadata=session.metadata)
    for _ in range(2):
        session.run("a", 30)


@pytest.mark.parametrize("seed", range(200, 220))
def test_a_reader_written_from_the_page_reads_the_same(tmp_path: Path, seed: int) -> None:
    session = Session(tmp_path / "x.mxio", seed)
    session.run("x", 12)
    if session.path.exists():
        session.run("a", 12)
        file = reference.read(session.path.read_bytes())
        found = {entry.name: entry.value for entry in file.entries}
        assert sorted(found) == sorted(session.model)
        assert all(same(np.asarray(found[k]), array) for k, array in session.model.items())


def test_what_was_written_in_one_go_is_a_plain_file_that_maps(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    rows = np.arange(3_000_000, dtype="f4").reshape(-1, 500)
    with mxio.Writer(path) as w:
        w["first"] = np.ones(3)
        for i in range(0, len(rows), 7):
            w.append("rows", rows[i : i + 7])
    with mxio.open(path) as f:
        required, slot, _ = f.index.handle.head
        assert (required, slot, f.index.handle.n_chain) == (0, 0, 1)
    mapped = mxio.load(path, mmap=True)
    assert np.array_equal(mapped["rows"], rows)
    assert not mapped["rows"].flags.owndata


def test_commits_cost_what_they_add(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    mxio.save(path, {f"array {i}": np.full(2, i) for i in range(20_000)})
    before = path.stat().st_size
    with mxio.Writer(path, "a", sync=False) as w:
        for i in range(100):
            w.append("loss", np.array([float(i)]))
            w.commit()
        added = path.stat().st_size - before
        # 100 pages, and indexes that are folded now and then; the whole one has 2 MiB.
        assert added < 100 * 3 * 4096
    assert np.array_equal(mxio.load(path, ["loss"])["loss"], np.arange(100.0))


def test_a_long_chain_is_folded(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    mxio.save(path, {f"array {i}": np.full(2, i) for i in range(20_000)})
    for i in range(80):
        with mxio.Writer(path, "a", sync=False) as w:
            w[f"new {i}"] = np.full(3, i)
    with mxio.open(path) as f:
        assert f.index.handle.n_chain <= 33
        assert len(f) == 20_080
        assert all(f[f"new {i}"][0] == i for i in range(80))
    with mxio.Writer(path, "a", sync=False) as w:
        for i in range(200):
            w[f"newer {i}"] = np.full(3, i)
            w.commit()
            assert mxio.open(path).index.handle.n_chain <= 33
    assert len(mxio.open(path)) == 20_280


def test_a_commit_leaves_the_slot_of_the_one_before_as_it_is(tmp_path: Path) -> None:
    """So that a slot that is half written, or lost later, is not all there was."""
    path = tmp_path / "x.mxio"
    before = b""
    with mxio.Writer(path) as w:
        for n in range(1, 6):
            w.append("x", np.arange(3))
            w.commit()
            head = path.read_bytes()[:4096]
            slots = [head[:128], head[2048:2176]]
            assert not before or before in slots
            (before,) = [slot for slot in slots if slot[32:40] == n.to_bytes(8, "little")]
            damaged = bytearray(path.read_bytes())
            damaged[damaged.index(before) + 40] ^= 1
            if n > 1:
                with pytest.warns(mxio.FormatWarning, match="one of the two slots"):
                    assert len(mxio.loads(bytes(damaged))["x"]) == 3 * (n - 1)


def test_compact_gives_lost_space_back(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    with mxio.Writer(path, metadata={"k": [1]}) as w:
        for i in range(50):
            w["x"] = np.full(100_000, i)
            w.append("y", np.arange(10))
            w.commit()
    assert path.stat().st_size > 40_000_000
    seen: list[tuple[int, int]] = []
    mxio.compact(path, progress=lambda done, total: seen.append((done, total)))
    assert path.stat().st_size < 900_000
    assert seen[-1][0] == seen[-1][1] == 800_000 + 4_000
    holds(path, {"x": np.full(100_000, 49), "y": np.tile(np.arange(10), 50)}, {"k": [1]})
    with mxio.Writer(path, "a"), pytest.raises(BlockingIOError, match="another writer"):
        mxio.compact(path)


def test_rows_from_a_lazy_array_and_lists(tmp_path: Path) -> None:
    mxio.save(tmp_path / "a.mxio", {"x": np.arange(12.0).reshape(6, 2)})
    with mxio.open(tmp_path / "a.mxio") as f, mxio.Writer(tmp_path / "b.mxio") as w:
        w["copy"] = f["x"]
        w.append("x", f["x"])
        w.append("x", [[1.0, 2.0]])
        w.append("x", f["x"])
    loaded = mxio.load(tmp_path / "b.mxio")
    x = np.arange(12.0).reshape(6, 2)
    assert np.array_equal(loaded["copy"], x)
    assert np.array_equal(loaded["x"], np.concatenate([x, [[1, 2]], x]))


def test_a_failing_append_changes_nothing(tmp_path: Path) -> None:
    with mxio.Writer(tmp_path / "x.mxio") as w:
        w.append("x", np.zeros((3, 5)))
        mxio.save(tmp_path / "y.mxio", {"y": np.ones((2_000_000, 5))})
        data = bytearray((tmp_path / "y.mxio").read_bytes())
        data[-5] ^= 1
        (tmp_path / "y.mxio").write_bytes(data)
        with mxio.open(tmp_path / "y.mxio") as f, pytest.raises(mxio.ChecksumError):
            w.append("x", f["y"])
        assert w["x"].shape == (3, 5)
        w.append("x", np.ones((2, 5)))
    expected = np.concatenate([np.zeros((3, 5)), np.ones((2, 5))])
    assert np.array_equal(mxio.load(tmp_path / "x.mxio")["x"], expected)


def test_a_damaged_tail_is_not_written_on(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    mxio.save(path, {"x": np.arange(100.0)})
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with mxio.Writer(path, "a") as w:
        with pytest.raises(mxio.ChecksumError, match="'x'"):
            w.append("x", np.zeros(1))
        w["y"] = np.ones(2)
    assert list(mxio.load(path, ["y"])) == ["y"]
    assert [damage.name for damage in mxio.verify(path)] == ["x"]


def test_a_tree_gets_more_names_and_a_list_longer_arrays(tmp_path: Path) -> None:
    tree, listed = tmp_path / "tree.mxio", tmp_path / "list.mxio"
    mxio.save(tree, {"net": {"w": np.ones(3)}, "step": 7})
    with mxio.Writer(tree, "a") as w:
        w.append("net/w", np.zeros(2))
        w["more"] = np.arange(4)
        with pytest.raises(ValueError, match="'step' is no array"):
            w["step"] = np.zeros(1)
    loaded = mxio.load(tree)
    assert loaded["step"] == 7
    assert loaded["net"]["w"].tolist() == [1, 1, 1, 0, 0]
    assert loaded["more"].tolist() == [0, 1, 2, 3]
    mxio.save(listed, [np.ones(3), np.zeros(2)])
    with mxio.Writer(listed, "a") as w:
        w.append("1", np.ones(1))
        with pytest.raises(ValueError, match="a list"):
            w["2"] = np.zeros(1)
    assert [x.tolist() for x in mxio.load(listed)] == [[1, 1, 1], [0, 0, 1]]


def test_foreign_files_are_not_appended_to(tmp_path: Path) -> None:
    mxio.save(tmp_path / "x.npz", {"x": np.ones(3)}, format="npz")
    with pytest.raises(mxio.UnsupportedError, match=r"npz.*mxio\.copy"):
        mxio.Writer(tmp_path / "x.npz", "a")
    assert mxio.load(tmp_path / "x.npz")["x"].tolist() == [1, 1, 1]
