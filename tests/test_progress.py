# SPDX-License-Identifier: Apache-2.0
"""What ``progress=`` is told, and what it shows."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from place import Place

import mxio

ARRAYS = {
    "large": np.arange(18 << 20, dtype="f4"),
    "T": np.ones((700, 900)).T,
    "empty": np.zeros(0),
}
NBYTES = sum(array.nbytes for array in ARRAYS.values())
SMALL = {f"a{i}": np.full(300, i, "f4") for i in range(500)}


class Seen(list[tuple[int, int]]):
    def __call__(self, done: int, total: int) -> None:
        self.append((done, total))

    def is_whole(self, total: int) -> bool:
        done = [at for at, _ in self]
        assert done == sorted(done)
        assert {of for _, of in self} == {total}
        return done[-1] == total


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("format", ["mxio", "safetensors", "mxnet"])
def test_save_and_load_tell_the_bytes_of_the_arrays(
    format: str, threads: int, tmp_path: Path
) -> None:
    arrays = {name: array.astype("f4") for name, array in ARRAYS.items() if array.size}
    nbytes = sum(array.nbytes for array in arrays.values())
    path, saved, loaded = tmp_path / "x", Seen(), Seen()
    mxio.save(path, arrays, format=format, sync=False, threads=threads, progress=saved)
    assert len(saved) > 1
    done, total = saved[-1]
    assert done == total >= nbytes  # the headers of MXNet's records go along
    assert saved.is_whole(total)
    assert total - nbytes < 1000
    again = mxio.load(path, threads=threads, progress=loaded)
    assert loaded.is_whole(nbytes)
    assert len(loaded) > 1
    assert again["large"].tobytes() == arrays["large"].tobytes()


@pytest.mark.parametrize("compress", [False, True])
def test_npz_tells_what_it_deflates_and_inflates(compress: bool, tmp_path: Path) -> None:
    path, saved, loaded = tmp_path / "x.npz", Seen(), Seen()
    mxio.save(path, ARRAYS, format="npz", compress=compress, sync=False, progress=saved)
    assert saved.is_whole(saved[-1][1])
    assert 0 < saved[-1][1] - NBYTES < 1000  # the members' headers
    mxio.load(path, progress=loaded)
    assert loaded.is_whole(NBYTES)


def test_npy_tells_too(tmp_path: Path) -> None:
    saved, loaded = Seen(), Seen()
    mxio.save(tmp_path / "x", ARRAYS["large"], format="npy", sync=False, progress=saved)
    assert saved.is_whole(ARRAYS["large"].nbytes + 128)
    mxio.load(tmp_path / "x", progress=loaded)
    assert loaded.is_whole(ARRAYS["large"].nbytes)


@pytest.mark.parametrize("format", ["mxio", "safetensors", "npz"])
def test_lazy_arrays_are_told_as_they_are_written(format: str, tmp_path: Path) -> None:
    source, path, saved = tmp_path / "a", tmp_path / "b", Seen()
    mxio.save(source, {**SMALL, "large": ARRAYS["large"]}, sync=False)
    with mxio.open(source) as reader:
        mxio.save(path, {**reader, "new": np.ones(5)}, format=format, sync=False, progress=saved)
    assert len(saved) > 3
    assert saved.is_whole(saved[-1][1])


def test_names_of_one_array_are_told_once(tmp_path: Path) -> None:
    array, path, saved, loaded = np.ones(1000), tmp_path / "x", Seen(), Seen()
    mxio.save(path, {"a": array, "b": array}, sync=False, progress=saved)
    mxio.load(path, progress=loaded)
    assert saved.is_whole(8000)
    assert loaded.is_whole(8000)
    loaded.clear()
    mxio.load(path, ["b"], progress=loaded)
    assert loaded.is_whole(8000)


def test_a_file_object_is_told_about_what_it_got(tmp_path: Path) -> None:
    saved = Seen()
    mxio.save(io.BytesIO(), ARRAYS, progress=saved)
    assert saved.is_whole(NBYTES)


def test_verify_tells_the_bytes_of_the_file(tmp_path: Path) -> None:
    path, seen = tmp_path / "x", Seen()
    mxio.save(path, ARRAYS, sync=False)
    assert mxio.verify(path, progress=seen) == []
    assert seen.is_whole(path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    seen.clear()
    assert mxio.verify(path, progress=seen)
    assert seen[-1] == (len(data), len(data))


@pytest.mark.parametrize("progress", [3, "yes", [1]])
def test_what_is_no_progress_is_refused_before_anything_happens(
    progress: Any, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    mxio.save(path, 1)
    for call in (
        lambda: mxio.save(path, 2, progress=progress),
        lambda: mxio.load(path, progress=progress),
        lambda: mxio.verify(path, progress=progress),
        lambda: mxio.copy(path, tmp_path / "y", progress=progress),
    ):
        with pytest.raises(TypeError, match="progress is True or a callable"):
            call()
    assert mxio.load(path) == 1
    assert os.listdir(tmp_path) == ["x"]


def test_what_progress_raises_ends_the_save_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    mxio.save(path, 1)

    def stop(done: int, total: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        mxio.save(path, ARRAYS, progress=stop)
    assert mxio.load(path) == 1
    assert os.listdir(tmp_path) == ["x"]
    mxio.save(path, ARRAYS, sync=False)
    with pytest.raises(RuntimeError, match="enough"):
        mxio.load(path, progress=stop)


SHOW = """
import sys
for name in {without}: sys.modules[name] = None
import numpy as np, mxio
from mxio import _progress
_progress._LATER = _progress._OFTEN = 0
mxio.save("a\\x1b[2J.mxio", np.ones(20_000_000, "f4"), sync=False, progress=True)
print(mxio.load("a\\x1b[2J.mxio", progress=True).size)
"""


@pytest.mark.parametrize("without", [[], ["tqdm"]])
def test_true_is_a_bar_on_a_terminal_and_silent_elsewhere(
    without: list[str], tmp_path: Path
) -> None:
    place = Place(tmp_path)
    code = SHOW.format(without=without)
    out = place.terminal("-c", code)
    assert re.search(r"save 'a.*mxio'.*[0-9]", out)
    assert re.search(r"load 'a.*mxio'.*[0-9]", out)
    assert "\x1b[2J" not in out
    done = place.python("-c", code)
    assert (done.out, done.err) == ("20000000\n", "")
