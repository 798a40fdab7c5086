# SPDX-License-Identifier: Apache-2.0
"""Arrays that dask computes, stored into a Writer: on threads, on processes, on a cluster."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

import mxio

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")

Array: TypeAlias = "np.ndarray[Any, Any]"

SOURCE: dict[str, Array] = {
    "x": np.random.default_rng(0).random((3000, 200)).astype("f4"),
    "y": np.random.default_rng(1).integers(0, 99, (70_000,)),
    "f": np.asfortranarray(np.random.default_rng(2).random((90, 80))),
}
PLACES = ["threads", "processes", "cluster"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=None, processes=True
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        yield pool


@pytest.fixture
def scheduler(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where dask computes what a test asks for."""
    kind: str = request.param
    with contextlib.ExitStack() as stack:
        if kind == "cluster":
            stack.enter_context(request.getfixturevalue("cluster").as_current())
        elif kind == "processes":
            pool = request.getfixturevalue("pool")
            stack.enter_context(dask.config.set(scheduler=kind, pool=pool))
        else:
            stack.enter_context(dask.config.set(scheduler=kind, num_workers=2))
        yield kind


everywhere = pytest.mark.parametrize("scheduler", PLACES, indirect=True)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[mxio.Reader]:
    mxio.save(tmp_path / "in.mxio", SOURCE, sync=False)
    with mxio.open(tmp_path / "in.mxio") as reader:
        yield reader


def same(path: Path, model: dict[str, Array]) -> None:
    assert mxio.verify(path) == []
    loaded = mxio.load(path)
    assert sorted(loaded) == sorted(model)
    for name, array in model.items():
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
        assert loaded[name].tobytes() == array.tobytes(), name


def told(error: BaseException | None) -> str:
    """What an error says, and those that it came from."""
    words = []
    while error is not None:
        words.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(words)


@everywhere
@pytest.mark.parametrize("chunks", ["auto", (700, 150), "own"])
def test_a_reduction_of_a_lazy_array(scheduler: str, chunks: Any, source: mxio.Reader) -> None:
    x = da.from_array(source["x"], chunks=source["x"].chunks if chunks == "own" else chunks)
    want = SOURCE["x"]
    assert x.dtype == want.dtype
    assert np.array_equal(x.max(axis=0).compute(), want.max(axis=0))
    assert np.array_equal((x.T[5] * 2).compute(), want[:, 5] * 2)


@everywhere
@pytest.mark.parametrize("lock", ["default", False])
def test_several_arrays_are_stored_at_once(
    scheduler: str, lock: Any, source: mxio.Reader, tmp_path: Path
) -> None:
    options: dict[str, Any] = {} if lock == "default" else {"lock": lock}
    x = da.from_array(source["x"], chunks=(700, 150))
    y = da.from_array(source["y"], chunks="auto")
    f = da.from_array(source["f"], chunks=(7, 80))
    path = tmp_path / "out.mxio"
    with mxio.Writer(path, sync=False) as w:
        w.append("rows", np.ones((3, 2)))
        targets = [
            w.create("twice", x.shape, x.dtype),
            w.create("y", y.shape, "f8"),  # stored as it is assigned
            w.create("f", f.shape, f.dtype),
            w.create("turned", x.shape[::-1], x.dtype),
        ]
        assert da.store([x * 2, y, f, x.T], targets, **options) is None
        w.append("rows", np.zeros((1, 2)))
    model = {
        "twice": SOURCE["x"] * 2,
        "y": SOURCE["y"].astype("f8"),
        "f": np.ascontiguousarray(SOURCE["f"]),
        "turned": np.ascontiguousarray(SOURCE["x"].T),
        "rows": np.array([[1.0, 1]] * 3 + [[0, 0]]),
    }
    same(path, model)


@everywhere
def test_a_store_into_a_region_and_one_that_is_computed_later(
    scheduler: str, source: mxio.Reader, tmp_path: Path
) -> None:
    x = da.from_array(source["x"], chunks=(700, 150))
    path = tmp_path / "out.mxio"
    with mxio.Writer(path, sync=False) as w:
        whole = w.create("whole", (4000, 300), "f4")
        later = da.store(x, w.create("later", x.shape, x.dtype), compute=False)
        da.store(x, whole, regions=(slice(500, 3500), slice(50, 250)))
        w["whole"][0] = 7
        later.compute()
    wanted = np.zeros((4000, 300), "f4")
    wanted[500:3500, 50:250] = SOURCE["x"]
    wanted[0] = 7
    same(path, {"whole": wanted, "later": SOURCE["x"]})


@everywhere
def test_a_file_that_is_there_gets_a_stored_array(
    scheduler: str, source: mxio.Reader, tmp_path: Path
) -> None:
    path = tmp_path / "more.mxio"
    mxio.save(path, {"f": SOURCE["f"]}, sync=False)
    x = da.from_array(source["x"], chunks=(700, 150))
    with mxio.Writer(path, "a", sync=False) as w:
        da.store(x + 1, w.create("more", x.shape, x.dtype))
        w.commit()
        da.store(x + 2, w.create("and more", x.shape, x.dtype))
    more = {"more": SOURCE["x"] + 1, "and more": SOURCE["x"] + 2}
    same(path, {"f": SOURCE["f"], **more})


@everywhere
def test_an_array_of_the_file_itself_is_the_source_on_threads_only(
    scheduler: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.mxio"
    mxio.save(path, SOURCE, sync=False)
    with mxio.open(path) as reader, mxio.Writer(path, "a", sync=False) as w:
        x = da.from_array(reader["x"], chunks=(700, 150))
        more = w.create("more", x.shape, x.dtype)
        if scheduler == "threads":
            da.store(x + 1, more)
            w.commit()
            da.store(x + 2, w.create("and more", x.shape, x.dtype))
        else:  # by its path it is the file as it is now
            wanted = RuntimeError if scheduler == "cluster" else mxio.FormatError
            with pytest.raises(wanted, match=r"replaced or changed meanwhile|deserialization"):
                da.store(x + 1, more)
            w.discard()
    if scheduler == "threads":
        same(path, {**SOURCE, "more": SOURCE["x"] + 1, "and more": SOURCE["x"] + 2})
    else:
        assert mxio.verify(path) == []


@everywhere
def test_what_was_committed_is_stored_into_by_threads_only(
    scheduler: str, source: mxio.Reader, tmp_path: Path
) -> None:
    path = tmp_path / "out.mxio"
    x = da.from_array(source["x"], chunks=(700, 150))
    with mxio.Writer(path, sync=False) as w:
        target = w.create("x", x.shape, x.dtype)
        late = w.create("late", x.shape, x.dtype)
        w.append("rows", SOURCE["x"])
        later = da.store(x, late, compute=False)
        w.commit()
        for name in ("x", "rows"):
            if scheduler == "threads":
                da.store(x * 3, w[name])
            else:
                words = rf"'{name}' can only be pickled from w\.create\(…\) on to the next commit"
                with pytest.raises(TypeError) as caught:
                    da.store(x * 3, w[name])
                assert re.search(words, told(caught.value))
        if scheduler == "threads":
            later.compute()
        else:
            with pytest.raises(TypeError) as caught:
                later.compute()
            assert "'late' can only be pickled" in told(caught.value)
        target[:5] = 9
    is_here = scheduler == "threads"
    wanted = SOURCE["x"] * 3 if is_here else np.zeros_like(SOURCE["x"])
    wanted[:5] = 9
    rows = SOURCE["x"] * 3 if is_here else SOURCE["x"]
    same(path, {"x": wanted, "rows": rows, "late": SOURCE["x"] * (1 if is_here else 0)})


@everywhere
def test_a_task_that_comes_too_late_is_refused(
    scheduler: str, source: mxio.Reader, tmp_path: Path
) -> None:
    path = tmp_path / "out.mxio"
    x = da.from_array(source["x"], chunks=(700, 150))
    with mxio.Writer(path, sync=False) as w:
        target = w.create("x", x.shape, x.dtype)
        da.store(x, target)
    before = path.read_bytes()
    with pytest.raises((ValueError, TypeError)) as caught:  # a cluster has one of its own
        da.store(x, target)
    assert re.search(r"the writer of .*out\.mxio is closed", told(caught.value))
    assert path.read_bytes() == before


@everywhere
def test_a_target_of_another_shape_is_an_error(
    scheduler: str, source: mxio.Reader, tmp_path: Path
) -> None:
    x = da.from_array(source["x"], chunks=(700, 150))
    with mxio.Writer(tmp_path / "out.mxio", sync=False) as w:
        small = w.create("small", (30, 20), "f4")
        with pytest.raises(ValueError, match="'small', a region of shape"):
            da.store(x, small)


@everywhere
@pytest.mark.parametrize("options", [{"return_stored": True}, {"load_stored": True}])
def test_what_was_stored_is_not_read_from_the_writer(
    scheduler: str, options: dict[str, bool], source: mxio.Reader, tmp_path: Path
) -> None:
    x = da.from_array(source["x"], chunks=(700, 150))
    with mxio.Writer(tmp_path / "out.mxio", sync=False) as w:
        target = w.create("x", x.shape, x.dtype)
        with pytest.raises(TypeError, match=r"'x'.*written.*commit|'x'.*read.*mxio\.open"):
            da.store(x, target, **{"return_stored": True, **options}).compute()


def test_xarray_is_computed_into_a_writer(source: mxio.Reader, tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    data = xarray.Dataset(
        {
            "x": (("row", "column"), da.from_array(source["x"], chunks=(700, 150))),
            "f": (("a", "b"), da.from_array(source["f"])),
        }
    )
    scaled = (data - data.mean()) * 2
    path = tmp_path / "out.mxio"
    with mxio.Writer(path, sync=False) as w:
        names = list(scaled)
        targets = [w.create(name, scaled[name].shape, scaled[name].dtype) for name in names]
        da.store([scaled[name].data for name in names], targets)
    wanted = {name: scaled[name].values for name in names}
    same(path, {name: np.ascontiguousarray(array) for name, array in wanted.items()})
