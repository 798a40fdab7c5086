# SPDX-License-Identifier: Apache-2.0
"""Readers and lazy arrays in other processes and other libraries: pickles, forks, dask, xarray."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio

Array = np.ndarray[Any, Any]

POOL = np.random.default_rng(8).integers(0, 256, 4 << 20, np.uint8)


@pytest.fixture
def saved() -> dict[str, Array]:
    return {
        "x": POOL[:2_400_000].view("i4").reshape(3000, 200),
        "f": np.asfortranarray(POOL[: 80 * 90 * 4].view("i4").reshape(80, 90)),
        "s": np.array(7, "i2"),
        "e": np.zeros((0, 3)),
    }


def saved_as(kind: str, arrays: dict[str, Array], folder: Path) -> Path:
    path = folder / f"x.{kind}"
    options: dict[str, Any] = {"version": 3} if kind == "mxnet" else {}
    mxio.save(path, arrays, format=kind, sync=False, **options)
    return path


KINDS = ["mxio", "mxnet", "safetensors", "npz"]


# ---- pickles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_readers_and_lazy_arrays_are_pickled_by_path(
    kind: str, saved: dict[str, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {name: array for name, array in saved.items() if kind == "mxio" or name in "xf"}
    if kind != "mxio":
        some = {name: array.astype("f4") for name, array in some.items()}
    path = saved_as(kind, some, tmp_path)
    monkeypatch.chdir(tmp_path)
    with mxio.open(path.name, threads=1) as reader:
        packed = pickle.dumps(reader)
        lazies = {name: pickle.dumps(reader[name]) for name in reader}
        assert np.array_equal(copy.deepcopy(reader["x"])[7], some["x"][7])
    assert max(map(len, lazies.values())) < 300 + len(str(path))
    monkeypatch.chdir("/")
    with pickle.loads(packed) as again:
        assert set(again) == set(some)
        assert np.array_equal(again["x"][5:9], some["x"][5:9])
        assert pickle.loads(lazies["x"])._file is not again._file
    for name, array in some.items():
        lazy = pickle.loads(lazies[name])
        assert (lazy.name, lazy.shape, lazy.dtype) == (name, array.shape, array.dtype)
        assert lazy[...].tobytes() == array.tobytes()
        assert pickle.loads(pickle.dumps(lazy))[...].tobytes() == array.tobytes()
        assert lazy.__dask_tokenize__() == pickle.loads(lazies[name]).__dask_tokenize__()


def test_lazy_arrays_of_one_file_share_it_and_it_is_closed_with_the_last(
    saved: dict[str, Array], tmp_path: Path
) -> None:
    path = saved_as("mxio", saved, tmp_path)
    with mxio.open(path) as reader:
        packed = [pickle.dumps(reader[name]) for name in reader]
    lazies = [pickle.loads(one) for one in packed for _ in range(2)]
    assert len({id(lazy._file) for lazy in lazies}) == 1
    file = lazies[0]._file
    del lazies[1:]
    assert lazies[0][3].tobytes() == saved["x"][3].tobytes()
    if sys.platform.startswith("linux"):
        there = os.path.realpath(path)
        assert there in {
            os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
        }
        del lazies, file
        assert there not in {
            os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
        }


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_replaced_is_refused(kind: str, tmp_path: Path) -> None:
    path = saved_as(kind, {"x": POOL[:900]}, tmp_path)
    with mxio.open(path) as reader:
        packed, lazy = pickle.dumps(reader), pickle.dumps(reader["x"])
        token = reader["x"].__dask_tokenize__()
    saved_as(kind, {"x": POOL[1:901]}, tmp_path)
    if kind != "mxio":  # whatever the clock's steps
        os.utime(path, ns=(0, os.stat(path).st_mtime_ns + 1))
    for one in (packed, lazy):
        with pytest.raises(mxio.FormatError, match="is another file than the one that was pickled"):
            pickle.loads(one)
    with mxio.open(path) as reader:
        assert reader["x"].__dask_tokenize__() != token
    path.unlink()
    with pytest.raises(FileNotFoundError):
        pickle.loads(lazy)


def test_what_has_no_path_is_not_pickled() -> None:
    data = mxio.dumps({"x": POOL[:9]})
    with mxio.open(data) as reader:
        with pytest.raises(TypeError, match="no path by which it could be pickled"):
            pickle.dumps(reader)
        with pytest.raises(TypeError, match=r"'x' is in <bytes>, which has no path"):
            pickle.dumps(reader["x"])
        token = reader["x"].__dask_tokenize__()
        assert reader["x"].__dask_tokenize__() == token
        with mxio.open(data) as other:
            assert other["x"].__dask_tokenize__() != token


def test_a_closed_reader_is_not_pickled(tmp_path: Path) -> None:
    path = saved_as("mxio", {"x": POOL[:9]}, tmp_path)
    with mxio.open(path) as reader:
        pass
    with pytest.raises(ValueError, match="is closed"):
        pickle.dumps(reader)


# ---- forks -------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_reads_on_while_threads_of_the_parent_read(
    saved: dict[str, Array], tmp_path: Path
) -> None:
    path = saved_as("mxio", saved, tmp_path)
    rows = np.random.default_rng(0).integers(0, 3000, 50)
    with mxio.open(path, threads=2) as reader:
        lazy = reader["x"]
        done = threading.Event()

        def busy() -> None:
            at = 0
            while not done.is_set():
                at = (at + 977) % 3000
                assert lazy[at, 3] == saved["x"][at, 3]

        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            context = multiprocessing.get_context("fork")
            with context.Pool(2) as pool:
                jobs = [pool.apply_async(read_rows, (lazy, rows + k)) for k in range(-3, 3)]
                found = [job.get(60) for job in jobs]
            child = os.fork()
            if child == 0:
                right = all((lazy[row] == saved["x"][row]).all() for row in rows.tolist())
                os._exit(0 if right and (lazy[rows] == saved["x"][rows]).all() else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            done.set()
            for thread in threads:
                thread.join()
    for k, array in zip(range(-3, 3), found, strict=True):
        assert np.array_equal(array, saved["x"][(rows + k) % 3000])


def read_rows(lazy: mxio.LazyArray, rows: Array) -> Array:
    found: Array = lazy[rows % 3000]
    return found


# ---- chunks ------------------------------------------------------------------------------------


def test_chunks_are_a_shape_that_is_read_at_once(saved: dict[str, Array], tmp_path: Path) -> None:
    more = saved | {"v": POOL[:200_000], "long": POOL[:400_000].reshape(2, 2, 100_000)}
    path = saved_as("mxio", more, tmp_path)
    with mxio.open(path) as reader:
        found = {name: reader[name].chunks for name in reader}
    assert found == {
        **{"x": (81, 200), "f": (80, 90), "s": (), "e": (1, 3), "v": (65536,)},
        "long": (1, 1, 65536),
    }
    with mxio.open(mxio.dumps({"x": POOL}, format="npz", compress=True)) as reader:
        assert reader["x"].chunks == POOL.shape
    with mxio.open(mxio.dumps(np.asfortranarray(POOL.reshape(1024, 4096)))) as reader:
        assert reader[""].chunks == (1024, 64)


@pytest.mark.parametrize("nbytes", [1, 3000, 70_000, 1 << 20, 8 << 20])
def test_iter_chunks_covers_an_array_once_in_the_order_of_the_file(
    nbytes: int, saved: dict[str, Array], tmp_path: Path
) -> None:
    path = saved_as("mxio", saved | {"3d": POOL[:900_000].reshape(30, 20, 1500)}, tmp_path)
    with mxio.open(path) as reader:
        for name, lazy in reader.items():
            array = lazy[...]
            seen = np.zeros(array.shape, int)
            order = np.arange(array.size).reshape(array.shape, order=reader.index[name].order)  # type: ignore[call-overload]
            last = -1
            for region in lazy.iter_chunks(nbytes):
                assert all(type(part) is slice for part in region)
                assert len(region) == lazy.ndim
                assert np.array_equal(lazy[region], array[region])
                assert array[region].nbytes <= max(nbytes, 65536)
                assert order[region].min() == last + 1
                last = order[region].max()
                seen[region] += 1
            assert (seen == 1).all()
        with pytest.raises(ValueError, match="nbytes is 1 or more"):
            list(reader["x"].iter_chunks(0))


# ---- dask and xarray ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_dask_reads_lazy_arrays(
    kind: str, scheduler: str, saved: dict[str, Array], tmp_path: Path
) -> None:
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    dask = pytest.importorskip("dask")
    if scheduler == "processes" and kind != "mxio":
        pytest.skip("one format is enough for processes")
    saved = {name: array.astype("f4") for name, array in saved.items() if name in "xf"}
    path = saved_as(kind, saved, tmp_path)
    rows = np.random.default_rng(3).integers(0, 3000, 40)
    with mxio.open(path) as reader, dask.config.set(scheduler=scheduler, num_workers=2):
        for chunks in ("auto", (700, 150)):
            x = da.from_array(reader["x"], chunks=chunks)
            same = da.from_array(reader["x"], chunks=chunks)
            assert x.name == same.name
            assert (x.shape, x.dtype) == ((3000, 200), np.dtype("f4"))
            parts = [x.sum(axis=1), x[rows][:, ::3], x[::-7, 5], x.T[3], x[x[:, 0] > 0].min(axis=1)]
            want = saved["x"]
            wanted = [want.sum(axis=1), want[rows][:, ::3], want[::-7, 5], want.T[3]]
            wanted.append(want[want[:, 0] > 0].min(axis=1))
            with np.errstate(all="ignore"):
                found = dask.compute(*parts)
            for one, other in zip(found, wanted, strict=True):
                assert np.allclose(one, other, rtol=1e-3, equal_nan=True)
        f = da.from_array(reader["f"])
        assert np.array_equal(f.compute(), saved["f"], equal_nan=True)


def test_dask_reads_on_a_cluster_of_processes(saved: dict[str, Array], tmp_path: Path) -> None:
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    path = saved_as("mxio", saved, tmp_path)
    with (
        mxio.open(path) as reader,
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
        ) as cluster,
        distributed.Client(cluster),
    ):
        x = da.from_array(reader["x"], chunks=(500, 200))
        assert int(x.sum().compute()) == int(saved["x"].sum())
        assert np.array_equal(x[5:900:7].compute(), saved["x"][5:900:7])


def test_xarray_holds_lazy_arrays_through_dask(saved: dict[str, Array], tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    path = saved_as("mxio", saved, tmp_path)
    with mxio.open(path) as reader:
        whole = xarray.DataArray(reader["f"], dims=("a", "b"))
        assert np.array_equal(whole.values, saved["f"])
        data = xarray.Dataset(
            {
                "x": (("row", "column"), da.from_array(reader["x"])),
                "f": (("a", "b"), da.from_array(reader["f"])),
            }
        )
        assert data["x"].chunks is not None
        some = data["x"].isel(row=[5, 2, 2999], column=slice(None, None, 50))
        assert np.array_equal(some.values, saved["x"][[5, 2, 2999], ::50])
        assert int(data["f"].sum()) == int(saved["f"].sum())
