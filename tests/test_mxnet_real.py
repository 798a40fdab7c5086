# SPDX-License-Identifier: Apache-2.0
"""The real MXNet reads what mxio writes, and mxio what the real MXNet writes.

MXNet 1.9.1 wants an environment of its own: ``pip install mxnet==1.9.1 numpy==1.23.5 requests
graphviz`` under Python 3.11, whose interpreter is named by MXIO_MXNET_PYTHON. It never sees
mxio, and mxio never sees it: each end says in JSON what it wrote or read.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import mxnet_files as mxnet
import numpy as np
import pytest
from mxnet_files import PARTS

import mxio
from mxio import nd

Array = np.ndarray[Any, Any]
PYTHON = os.environ.get("MXIO_MXNET_PYTHON")

pytestmark = pytest.mark.skipif(
    PYTHON is None, reason="MXIO_MXNET_PYTHON names no interpreter with MXNet"
)

# Runs there. `said` is what an array is, in the words of expectations.json, items in hex.
THERE = """
import json, sys
import numpy as np
import mxnet as mx
from mxnet import nd

folder = sys.argv[1]

def plain(x):
    a = x.asnumpy() if hasattr(x, "asnumpy") else x
    name = "bfloat16" if a.dtype.names else a.dtype.name
    return {"dtype": name, "shape": list(a.shape), "items": a.tobytes().hex()}

def said(x):
    if x.stype == "default":
        return plain(x)
    x.check_format()
    parts = ["data", "indptr", "indices"] if x.stype == "csr" else ["data", "indices"]
    return {"stype": x.stype, "shape": list(x.shape), "dense": plain(x.tostype("default")),
            **{part: plain(getattr(x, part)) for part in parts}}

def said_all(loaded):
    if isinstance(loaded, dict):
        return {name: said(x) for name, x in loaded.items()}
    return [said(x) for x in loaded]
"""
READ = """
told = {}
for name in json.loads(sys.argv[2]):
    if name.startswith("v3"):
        with mx.util.np_shape(True):
            told[name] = said_all(nd.load(folder + "/" + name))
    else:
        told[name] = said_all(nd.load(folder + "/" + name))
        with open(folder + "/" + name, "rb") as file:
            assert said_all(nd.load_frombuffer(file.read())) == told[name], name
print("SAID" + json.dumps(told))
"""
WRITE = """
rng = np.random.RandomState(5)
DTYPES = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool"]
made = {}

def make(name, arrays):
    # Else a shape of what is still being computed may be written, which its reader overrules.
    nd.waitall()
    nd.save(folder + "/" + name, arrays)
    listed = [arrays] if not isinstance(arrays, (list, dict)) else arrays
    made[name] = said_all(listed)

def of(dtype, *shape):
    return nd.array(rng.randint(0, 2 if dtype == "bool" else 100, shape), dtype=dtype)

for dtype in DTYPES:
    make(dtype, {dtype: of(dtype, 3, 4), "again": of(dtype, 1)})
bfloat16 = nd.cast(of("float32", 7), dtype=np.dtype([("bfloat16", np.uint16)]))
make("bfloat16", {"b": bfloat16})
x = of("float32", 4, 5)
make("single", x)
make("list", [x, of("int8", 2), x])
make("views", [x[1:3], x.T, x.reshape((2, 10)), x[:, 2:4], x.T[1:3]])
make("names", {"": x, "權重/w": x, "a b\\n": x, "arg:w": x, "x" * 999: x})
make("empty", [])
make("empty_array", [nd.array([])])
sparse = nd.sparse
dense = nd.array([[0, 1, 0], [0, 0, 0], [2, 0, 3], [0, 0, 0]])
make("csr", {"c": dense.tostype("csr"), "x": x})
make("row_sparse", [dense.tostype("row_sparse"), sparse.zeros("row_sparse", (5, 2))])
make("csr_zeros", [sparse.zeros("csr", (3, 2), dtype="float64")])
rows = sparse.row_sparse_array((np.ones((2, 2, 3)), [0, 3]), shape=(6, 2, 3), dtype="int32")
make("row_sparse_3d", {"r": rows})
with mx.util.np_shape(True):
    make("v3_scalar", {"s": nd.array(5.0), "z": nd.zeros((2, 0, 3)), "x": nd.ones((2, 3))})
    make("v3_list", [nd.ones((2,), dtype="int64"), nd.array(1, dtype="uint8")])
print("SAID" + json.dumps(made))
"""


def there(code: str, *words: str) -> Any:
    assert PYTHON is not None
    # Its own environment: nothing of this process's paths.
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [PYTHON, "-c", THERE + code, *words], env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SAID")]
    return json.loads(line.removeprefix("SAID"))


def plain(array: Array) -> dict[str, Any]:
    bits = array.view(np.uint16) if array.dtype.name == "bfloat16" else array
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "items": mxnet.raw(bits).hex(),
    }


def said(item: Any) -> dict[str, Any]:
    if isinstance(item, np.ndarray):
        return plain(np.asarray(item))
    parts = {part: plain(np.asarray(getattr(item, part))) for part in PARTS[item.stype]}
    dense = item.toarray() if hasattr(item, "toarray") else item.asnumpy()
    return {"stype": item.stype, "shape": list(item.shape), "dense": plain(dense), **parts}


def said_all(loaded: Any) -> Any:
    if isinstance(loaded, dict):
        return {name: said(item) for name, item in loaded.items()}
    return [said(item) for item in loaded]


def samples() -> dict[str, Any]:
    """What is saved here and read there; `v3` in front: as version 3."""
    rng = np.random.default_rng(6)
    x = rng.random((4, 5), np.float32)
    dtypes = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool"]
    found: dict[str, Any] = {
        "dtypes": {d: rng.integers(0, 100, (3, 4)).astype(d) for d in dtypes},
        "nothing": [],
        "list": [x, x.astype(np.int8), x],
        "single": x,
        "views": [x[1:3], x.T, x[::-1, ::2], np.asfortranarray(x), np.broadcast_to(x[0], (3, 5))],
        "big_endian": [x.astype(">f4"), np.arange(5, dtype=">i8")],
        "names": {"": x, "權重/w": x, "a b\n": x, "arg:w": x, "x" * 999: x, "😀": x},
        "many": {f"layer{n}.weight": rng.random((n % 7 + 1, 3)) for n in range(500)},
        "large": {"w": rng.random((700, 900)), "b": rng.random(900, np.float32)},
        "empty_array": [np.zeros(0, np.float32), x],
        "v3_all": {"s": np.array(5.0), "z": np.zeros((2, 0, 3), np.int64), "x": x},
        "v3_list": [np.array(7, np.uint8), x.T],
    }
    try:
        import ml_dtypes

        found["bfloat16"] = {"b": x.astype(ml_dtypes.bfloat16), "f": x}
    except ImportError:
        pass
    csr = mxnet.sparse(
        "csr", (3, 4), np.array([1, 2], np.float32), np.array([0, 1, 1, 2]), np.array([3, 0])
    )
    no_csr = mxnet.sparse("csr", (2, 4), np.zeros(0), np.zeros(3, np.int64), np.zeros(0, np.int64))
    rsp = mxnet.sparse("row_sparse", (5, 2, 2), np.ones((2, 2, 2), np.int32), np.array([0, 4]))
    no_rsp = mxnet.sparse("row_sparse", (5, 2), np.zeros((0, 2)), np.zeros(0, np.int64))
    found["sparse"] = mxio.loads(mxnet.file([csr, mxnet.dense(x), rsp, no_csr, no_rsp], "cxrno"))
    found["sparse_list"] = mxio.loads(mxnet.file([rsp, csr]))
    return found


def test_the_real_mxnet_reads_what_mxio_writes(tmp_path: Path) -> None:
    made = samples()
    for name, arrays in made.items():
        version = 3 if name.startswith("v3") else 2
        mxio.save(tmp_path / name, arrays, format="mxnet", version=version)
    told = there(READ, str(tmp_path), json.dumps(list(made)))
    for name, arrays in made.items():
        listed = [arrays] if isinstance(arrays, np.ndarray) else arrays
        assert told[name] == said_all(listed), name


def test_the_real_mxnet_reads_what_nd_save_writes(tmp_path: Path) -> None:
    x = nd.arange(6).reshape((2, 3))
    made: dict[str, Any] = {
        "single": x,
        "list": [x, x.T],
        "dict": {"x": x, "é": nd.array([1, 2], dtype="int8")},
        "sparse": nd.load_frombuffer(
            mxnet.file([mxnet.sparse("row_sparse", (4, 2), np.ones((1, 2)), np.array([3]))], ["r"])
        ),
    }
    for name, arrays in made.items():
        nd.save(tmp_path / name, arrays, format="mxnet")
    told = there(READ, str(tmp_path), json.dumps(list(made)))
    for name, arrays in made.items():
        listed = [arrays] if isinstance(arrays, np.ndarray) else arrays
        got = json.loads(json.dumps(said_all_nd(listed)))
        assert told[name] == got, name


def said_all_nd(loaded: Any) -> Any:
    """As `said_all`, for arrays of nd, whose parts are NDArrays."""
    items = loaded.items() if isinstance(loaded, dict) else enumerate(loaded)
    found = {}
    for key, item in items:
        if item.stype == "default":
            found[key] = plain(np.asarray(item))
        else:
            parts = {part: plain(getattr(item, part).asnumpy()) for part in PARTS[item.stype]}
            dense = plain(item.asnumpy())
            found[key] = {"stype": item.stype, "shape": list(item.shape), "dense": dense, **parts}
    return found if isinstance(loaded, dict) else list(found.values())


def test_mxio_reads_what_the_real_mxnet_writes_and_writes_the_same(tmp_path: Path) -> None:
    made = there(WRITE, str(tmp_path))
    assert len(made) > 20
    for name, told in made.items():
        if name == "bfloat16":
            pytest.importorskip("ml_dtypes")
        for mmap in (False, True):
            got = mxio.load(tmp_path / name, mmap=mmap)
            assert said_all(got) == told, name
        version = 3 if name.startswith("v3") else 2
        mxio.save(tmp_path / "back", got, format="mxnet", version=version)
        assert (tmp_path / "back").read_bytes() == (tmp_path / name).read_bytes(), name
