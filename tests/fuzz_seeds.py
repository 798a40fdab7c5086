# SPDX-License-Identifier: Apache-2.0
"""What the fuzzers begin with: small files, made here and by real releases of MXNet and NumPy."""

from __future__ import annotations

import pickle
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import broken
import broken_delta
import numpy as np
import valid_delta

import mxio
from mxio import _tree
from mxio._sparse import SparseArray

GOLDEN = Path(__file__).parent / "golden"
MOST_NBYTES = 4096  # of a seed: a longer one is changed where it does not matter
ARRAYS = {"a": np.arange(6.0), "b/ü": np.zeros((2, 0, 3), "int8"), "c": np.ones((), "float16")}
SPARSE = {
    "csr": SparseArray("csr", (2, 3), np.ones(2), np.array([0, 2]), np.array([0, 1, 2])),
    "rows": SparseArray("row_sparse", (4, 2), np.ones((1, 2)), np.array([2])),
}
TREE = {
    "plain": [None, True, 2, -(2**70), 1.5, float("nan"), "é", b"\0\xff"],
    3: (np.ones(2), {}),
    2**60: [[], [{"x": np.arange(3)}]],
    **SPARSE,
}


def made(folder: Path) -> list[Path]:
    """One file of each kind that a scanner or the judge in C reads."""
    mxio.save(folder / "dict.mxio", ARRAYS, metadata={"k": [1, "x"]})
    mxio.save(folder / "dict.safetensors", ARRAYS, format="safetensors", metadata={"k": "\n"})
    mxio.save(folder / "dict.params", ARRAYS, format="mxnet")
    mxio.save(folder / "list.params", list(ARRAYS.values()), format="mxnet", version=3)
    # Generations: data in runs, a chain of indexes.
    chain(folder / "chain.mxio", 40, 6)
    return sorted(folder.iterdir())


def chain(path: Path, n_arrays: int, n_commits: int) -> None:
    """A file that was appended to: data in runs, indexes that follow one another."""
    mxio.save(path, {**ARRAYS, **{f"{i}": np.full(1, i) for i in range(n_arrays)}})
    w = mxio.Writer(path, "a", sync=False)
    for i in range(n_commits):
        w.append("a", np.ones(3))
        w[f"new {i % 4}"] = np.arange(i)
        w.commit()
    assert mxio.open(path).index.handle.n_chain > 1
    w.discard()  # close would fold the chain


def golden(*patterns: str) -> Iterator[bytes]:
    for pattern in patterns:
        for path in sorted(GOLDEN.rglob(pattern)):
            if path.stat().st_size <= MOST_NBYTES:
                yield path.read_bytes()


def of(target: str) -> list[bytes]:
    """The seeds of a target, each as the target reads it."""
    return list(dict.fromkeys(_SEEDS[target]()))


def _native() -> Iterator[bytes]:
    """Files as fuzz_scan.c unpacks them: flags, both slots, what is behind the head."""
    files = [file.build() for file, *_ in valid_delta.VALID.values()]
    files += [file.build() for _, file in (broken.ROWS | broken_delta.ROWS).values()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mxio.save(folder / "tree.mxio", TREE, metadata={"k": [1, "x"]})
        mxio.save(folder / "array.mxio", np.arange(3))
        mxio.save(folder / "empty.mxio", {})
        shared = np.arange(4.0)
        mxio.save(folder / "aliases.mxio", [shared, shared.reshape(2, 2).T, shared])
        chain(folder / "chain.mxio", 4, 1)
        chain(folder / "long chain.mxio", 4, 3)
        files += [path.read_bytes() for path in folder.iterdir()]
    for data in files:
        if len(data) <= 4 * MOST_NBYTES:
            yield bytes(8) + data[:128] + data[2048:2176] + data[4096:]
    yield b"\1" + bytes(7) + mxio.dumps(np.arange(3))


def _mxnet() -> Iterator[bytes]:
    for version in (2, 3):
        arrays = {name: array for name, array in ARRAYS.items() if name == "a"}
        yield mxio.dumps(arrays, format="mxnet", version=version)
    yield mxio.dumps(list(ARRAYS.values()), format="mxnet", version=3)
    yield mxio.dumps(SPARSE, format="mxnet")
    yield from golden("*.params", "malformed/*")


def _safetensors() -> Iterator[bytes]:
    yield mxio.dumps(ARRAYS, format="safetensors", metadata={"k": "\n"})
    for dtype in ("bool", "int64", "uint16", "complex64"):
        yield mxio.dumps({"é": np.zeros((2, 1), dtype)}, format="safetensors")
    for header in (
        b'{"x":{"dtype":"F4","shape":[2,4],"data_offsets":[0,4]}}',
        # Found by clang: the first array has no dims, and a dtype that has no name here.
        b'{"x":{"dtype":"F15","shape":[],"data_offsets":[0,4]}}',
        b"{}",
    ):
        yield len(header).to_bytes(8, "little") + header + bytes(4 if len(header) > 2 else 0)


def _npz() -> Iterator[bytes]:
    for compress in (False, True):
        yield b"\1" + mxio.dumps(ARRAYS, format="npz", compress=compress)
    record = np.zeros(2, [("x", "<i2"), ("y", ">f8", (2,))])
    for array in (np.ones((2, 3), order="F"), np.array(["é"]), np.zeros(1, "M8[s]"), record):
        with tempfile.TemporaryFile() as file:
            np.save(file, array)
            file.seek(0)
            yield b"\0" + file.read()
    yield b"\1" + zip64(mxio.dumps(ARRAYS, format="npz"))
    for data in golden("*.npy", "*.npz"):
        yield b"\1" + data


def zip64(data: bytes) -> bytes:
    """Return a zip with the end record of zip64, and its locator, before its own."""
    end = data.rindex(b"PK\5\6")
    n, _, nbytes, begin = struct.unpack_from("<2H2I", data, end + 8)
    wide = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, n, n, nbytes, begin)
    return data[:end] + wide + struct.pack("<4sIQI", b"PK\6\7", 0, end, 1) + data[end:]


def _tree_inputs() -> Iterator[bytes]:
    x = np.ones(1)
    csr, rows = SPARSE["csr"], SPARSE["rows"]
    trees = (TREE, {"a": x, "b": x}, [x, x], (x,), x, [1, [x]], {None: 1, False: {}}, csr, rows)
    for saved in trees:
        names, _, structure = _tree.flatten(saved, lambda obj: False)
        for kind in (b"s", b"2"):
            yield kind + structure
            yield b"\0".join((kind + structure, *(name.encode() for name in names)))
    yield b"m" + _tree.encode_metadata({"é\n": [1, -2.5e300, None, True, "\ud800"], "": {"a": []}})


def _states() -> Iterator[bytes]:
    yield from golden("*.states", "*.pkl")
    numbers = [np.float32(1.5), np.int64(-1), np.bool_(True), np.dtype("<f2"), np.float16]
    for protocol in range(6):
        yield pickle.dumps({0: None, 1: (1.5, [b"\0", "é", 2**70])}, protocol)
        yield pickle.dumps({"n": numbers, "b": [bytearray(b"\0"), bytearray()]}, protocol)


_SEEDS = {
    "native": _native,
    "mxnet": _mxnet,
    "safetensors": _safetensors,
    "loads-npz": _npz,
    "loads-mxnet": _mxnet,
    "loads-safetensors": _safetensors,
    "tree": _tree_inputs,
    "states": _states,
}

_JSON = ("{", "}", "[", "]", ",", "null", "true", '""', '"\\ud800"', "{}", "[]", "-1", "1e5", "0.5")
_WORD = ("tree", "dict", "list", "tuple", "csr", "row_sparse", "int", "float", "str", "bytes")
_NAMED = ("dtype", "shape", "data_offsets", "__metadata__")
# Words that a target's inputs are made of, which no comparison in the code tells libFuzzer.
WORDS: dict[str, tuple[str, ...]] = {
    "tree": (*_JSON, '"array"', '["a","array"]', *(f'{{"{word}":' for word in _WORD)),
    "safetensors": (*_JSON, *(f'"{word}":' for word in _NAMED), '"F4"', '"F64"', '"BOOL"'),
}
WORDS["loads-safetensors"] = WORDS["safetensors"]
