# SPDX-License-Identifier: Apache-2.0
"""MXNet's files as the tests see them: what the golden ones hold, and any other one by hand.

Written from the published layout of the files and from nothing in mxio, so that it can judge
mxio: `file`, `dense`, `sparse` and `none` build bytes, sound or not; `check` compares what was
loaded with an expectation of tests/golden/mxnet (its README says what the keys mean).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mxio

Array = np.ndarray[Any, Any]
Expectation = dict[str, Any]

GOLDEN = Path(__file__).parent / "golden" / "mxnet"
EXPECTED: dict[str, Expectation] = json.loads((GOLDEN / "expectations.json").read_text("utf-8"))
MALFORMED: dict[str, Expectation] = json.loads((GOLDEN / "malformed.json").read_text("utf-8"))
VALUES = (GOLDEN / "values.bin").read_bytes()

LIST_MAGIC = 0x112
MAGIC = {"V1": 0xF993FAC8, "V2": 0xF993FAC9, "V3": 0xF993FACA}
_NAMES = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool")
_NAMES += ("int16", "uint16", "uint32", "uint64", "bfloat16")
CODES = {name: code for code, name in enumerate(_NAMES)}
STYPES = {"default": 0, "row_sparse": 1, "csr": 2}
PARTS = {"csr": ("data", "indptr", "indices"), "row_sparse": ("data", "indices")}
CPU = (1, 0)


# ---- building --------------------------------------------------------------------------------


def u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def i32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def u64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def shape64(shape: Iterable[int]) -> bytes:
    dims = tuple(shape)
    return u32(len(dims)) + struct.pack(f"<{len(dims)}q", *dims)


def raw(array: Array) -> bytes:
    """The items in C order, little-endian."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def dense(array: Any, version: str = "V2", ctx: tuple[int, int] = CPU) -> bytes:
    array = np.asarray(array)
    tail = i32(*ctx, CODES[array.dtype.name]) + raw(array)
    if version == "V0":
        return u32(array.ndim, *array.shape) + tail
    stype = b"" if version == "V1" else i32(0)
    return u32(MAGIC[version]) + stype + shape64(array.shape) + tail


def none(version: str) -> bytes:
    """An array that was never given a value."""
    return u32(0) if version == "V0" else u32(MAGIC["V1"], 0)


def sparse(stype: str, shape: tuple[int, ...], data: Any, *aux: Any) -> bytes:
    """A V2 record; `aux` is (indptr, indices) for csr, (indices,) for row_sparse."""
    data, arrays = np.asarray(data), [np.asarray(array) for array in aux]
    return b"".join(
        [
            u32(MAGIC["V2"], STYPES[stype]),
            shape64(data.shape),
            shape64(shape),
            i32(*CPU, CODES[data.dtype.name]),
            *(i32(CODES[array.dtype.name]) + shape64(array.shape) for array in arrays),
            raw(data),
            *map(raw, arrays),
        ]
    )


def file(records: Iterable[bytes], names: Iterable[str | bytes] = (), reserved: int = 0) -> bytes:
    records = list(records)
    coded = [name.encode() if isinstance(name, str) else name for name in names]
    return b"".join(
        [
            u64(LIST_MAGIC, reserved, len(records)),
            *records,
            u64(len(coded)),
            *(u64(len(name)) + name for name in coded),
        ]
    )


# ---- judging ---------------------------------------------------------------------------------


def wanted(part: Expectation) -> Array:
    """The array of an expectation; the bits of a bfloat16 as uint16."""
    dtype = np.dtype({"bfloat16": "uint16"}.get(part["dtype"], part["dtype"])).newbyteorder("<")
    if "values" in part:
        return np.array(part["values"], dtype).reshape(part["shape"])
    count = int(np.prod(part["shape"], dtype=np.int64))
    return np.frombuffer(VALUES, dtype, count, part["at"]).reshape(part["shape"])


def needs_ml_dtypes(expectation: Expectation) -> None:
    if any(entry.get("dtype") == "bfloat16" for entry in expectation["entries"]):
        pytest.importorskip("ml_dtypes")


def check_array(got: Any, part: Expectation) -> None:
    array = got.asnumpy() if hasattr(got, "asnumpy") else got
    assert isinstance(array, np.ndarray)
    assert (array.dtype.name, list(array.shape)) == (part["dtype"], part["shape"])
    assert array.dtype.isnative
    assert raw(array.view(np.uint16) if part["dtype"] == "bfloat16" else array) == raw(wanted(part))


def check_entry(got: Any, entry: Expectation) -> None:
    if entry.get("none"):
        assert got is None
    elif "stype" in entry:
        assert (got.stype, list(got.shape)) == (entry["stype"], entry["shape"])
        for part in PARTS[entry["stype"]]:
            check_array(getattr(got, part), entry[part])
        if entry["stype"] == "row_sparse":
            assert getattr(got, "indptr", None) is None
    else:
        assert getattr(got, "stype", "default") == "default"
        check_array(got, entry)


def check(got: Any, expectation: Expectation) -> None:
    """Compare what load gave: container, names, order, dtypes, shapes, values, sparse parts."""
    entries = expectation["entries"]
    if expectation["container"] == "list" or not entries:
        assert type(got) is list
        items = got
    else:
        assert type(got) is dict
        names = [entry["name"] for entry in entries]
        if "versions" not in expectation and "outcome" not in expectation:
            names.sort()  # MXNet sorts the members of a zip
            got = dict(sorted(got.items()))
        assert list(got) == names
        items = [got[entry["name"]] for entry in entries]
    assert len(items) == len(entries)
    for item, entry in zip(items, entries, strict=True):
        check_entry(item, entry)


def parts(expectation: Expectation) -> dict[str, Expectation]:
    """The entries of the index that a file must have: name → dense array."""
    found = {}
    for number, entry in enumerate(expectation["entries"]):
        name = entry.get("name", str(number))
        if "stype" in entry:
            found |= {f"{name}/{part}": entry[part] for part in PARTS[entry["stype"]]}
        elif not entry.get("none"):
            found[name] = entry
    return found


def read(path: Path) -> Any:
    """Load a file of `MALFORMED`, or fail; the warning that is wanted is not the caller's."""
    wants = MALFORMED[path.stem]
    if wants.get("warns"):
        with pytest.warns(mxio.FormatWarning):
            return mxio.load(path)
    return mxio.load(path)
