# SPDX-License-Identifier: Apache-2.0
"""dask reads lazy arrays and stores into a Writer, on threads and on processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio


def scaled(folder: Path) -> None:
    """Read, reduce and store two arrays at once, and compare."""
    da: Any = pytest.importorskip("dask.array", reason="dask is not installed")
    array = np.random.default_rng(0).random((400, 300))
    mxio.save(folder / "x.mxio", {"x": array}, sync=False)
    with mxio.open(folder / "x.mxio") as f, mxio.Writer(folder / "y.mxio", sync=False) as w:
        x = da.from_array(f["x"], chunks=(90, 70))
        assert np.isclose(float(x.sum().compute()), array.sum())
        y = x * 2
        targets = [w.create(name, y.shape, y.dtype) for name in "yz"]
        da.store([y, y + 1], targets)
    stored = mxio.load(folder / "y.mxio")
    np.testing.assert_array_equal(stored["y"], array * 2)
    np.testing.assert_array_equal(stored["z"], array * 2 + 1)
    assert mxio.verify(folder / "y.mxio") == []


def test_dask_stores_on_threads(tmp_path: Path) -> None:
    scaled(tmp_path)


@pytest.mark.filterwarnings("ignore")  # of the cluster's own
def test_dask_stores_on_processes(tmp_path: Path) -> None:
    distributed: Any = pytest.importorskip("distributed", reason="distributed is not installed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        scaled(tmp_path)
