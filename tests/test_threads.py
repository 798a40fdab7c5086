# SPDX-License-Identifier: Apache-2.0
"""Threads of one interpreter that use the same things at once, with a GIL and without.

On a free-threaded CPython they do so in truth; what they meet elsewhere is the order of calls.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

import mxio

N_THREADS = 8
Got = TypeVar("Got")


def at_once(work: Callable[[int], Got], n: int = N_THREADS) -> list[Got]:
    """Let threads begin at the same moment; what each returned."""
    begin = threading.Barrier(n)

    def run(number: int) -> Got:
        begin.wait(60)
        return work(number)

    with ThreadPoolExecutor(n) as pool:
        return [job.result() for job in [pool.submit(run, number) for number in range(n)]]


def test_without_a_gil_importing_mxio_does_not_bring_it_back() -> None:
    is_enabled = getattr(sys, "_is_gil_enabled", None)
    if is_enabled is None or is_enabled():
        pytest.skip("this interpreter has a GIL")
    mxio.dumps(np.arange(3))
    assert not is_enabled()


@pytest.mark.parametrize("format", ["mxio", "npz", "safetensors", "mxnet"])
def test_a_reader_that_is_closed_while_threads_read_gives_what_is_right_or_says_so(
    format: str, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    saved = {f"{n}": np.full((300, 7), n, "i4") for n in range(20)}
    mxio.save(path, saved, format=format, sync=False)
    ended = []
    for turn in range(25):
        reader = mxio.open(path)

        def work(number: int, reader: mxio.Reader = reader, turn: int = turn) -> str:
            if number == 0:
                for _ in range(turn):  # the later, the more is under way
                    reader["0"][:1]
                reader.close()
                return "closed"
            try:
                while True:
                    name = f"{number}"
                    np.testing.assert_array_equal(reader[name][5:250:3], saved[name][5:250:3])
                    found = reader.read([name, "19"])
                    np.testing.assert_array_equal(found[name], saved[name])
            except ValueError as error:
                return str(error)

        ended += at_once(work)
    said = {text for text in ended if text != "closed"}
    assert said == {f"{path} is closed"}


def test_one_new_reader_is_asked_for_everything_by_all_threads_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x"
    saved = {f"{n}": np.arange(n, n + 40, dtype=">i4").reshape(8, 5) for n in range(200)}
    mxio.save(path, saved, format="npz", sync=False)
    for _ in range(10):
        with mxio.open(path) as reader:

            def work(number: int, reader: mxio.Reader = reader) -> tuple[list[str], object]:
                for name in list(saved)[number::3]:
                    np.testing.assert_array_equal(reader[name][2:, 1], saved[name][2:, 1])
                    assert reader[name].dtype == saved[name].dtype.newbyteorder("=")
                return list(reader), reader.index.token

            names, tokens = zip(*at_once(work), strict=True)
            assert all(one == list(saved) for one in names)
            assert len(set(tokens)) == 1


@pytest.mark.parametrize("to", ["mxio", "safetensors", "mxnet", "npz"])
def test_copies_at_once_do_not_take_arrays_for_one_another(to: str, tmp_path: Path) -> None:
    """A copy goes by the addresses of arrays that have no memory."""
    source = tmp_path / "source"
    saved = {f"{n:04}": np.full(3, n, "i4") for n in range(1500)}
    mxio.save(source, saved, sync=False)

    def work(number: int) -> None:
        target = tmp_path / f"{number}"
        for _ in range(3):
            mxio.copy(source, target, format=to, sync=False)
            found = mxio.load(target)
            assert list(found) == list(saved)
            assert all(found[name].tolist() == [n] * 3 for n, name in enumerate(saved))
            with mxio.open(target) as reader:
                assert reader.index.handle.n_aliases == 0

    at_once(work)


def test_rows_and_regions_of_one_writer_from_all_threads(tmp_path: Path) -> None:
    path = tmp_path / "x"
    n_rows = 200
    with mxio.Writer(path, "w", sync=False) as w:
        filled = w.create("filled", (N_THREADS, 50, 9), "f8")

        def work(number: int) -> None:
            for row in range(n_rows):
                w.append("rows", np.full((1, 3), number * n_rows + row))
                w[f"{number}/{row % 7}"] = np.full(4, number)
                filled[number, row % 50] = np.full(9, number + 1)
                if row % 60 == 59:
                    w.commit()

        at_once(work)
    found = mxio.load(path)
    rows = found.pop("rows")
    assert sorted(rows[:, 0].tolist()) == list(range(N_THREADS * n_rows))
    assert (rows == rows[:, :1]).all()
    for number in range(N_THREADS):
        of_one = rows[rows[:, 0] // n_rows == number, 0]
        assert (np.diff(of_one) == 1).all()  # in the order of their thread
    filled = found.pop("filled")
    assert (filled == np.arange(1, N_THREADS + 1)[:, None, None]).all()
    assert len(found) == N_THREADS * 7
    assert mxio.verify(path) == []


def test_steps_of_one_manager_from_all_threads(tmp_path: Path) -> None:
    with mxio.CheckpointManager(
        tmp_path, keep_last=None, asynchronous=True, max_in_flight=3
    ) as manager:

        def work(number: int) -> None:
            for k in range(4):
                step = 4 * number + k
                manager.save(step, {"w": np.full(500, step), "step": step})
                manager.steps()
            manager.wait()

        at_once(work)
        assert manager.steps() == list(range(4 * N_THREADS))
        for step in manager.steps():
            state = manager.restore(step)
            assert state["step"] == step
            assert (state["w"] == step).all()
