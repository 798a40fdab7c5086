# SPDX-License-Identifier: Apache-2.0
"""The dtypes of docs/FORMAT.md 3.4: one table, and every mapping derived from it.

A dtype is known on disk by name. Names that a file brings are matched by a strict
grammar before NumPy sees them, and a name that means nothing here is an answer, not a
failure: its entry cannot be read, its neighbours can. ml_dtypes is imported only when a
file asks for one of its dtypes.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from mxio.errors import FormatError, UnsupportedError, clip

__all__ = ["KNOWN", "ML_NAMES", "TABLE", "Row", "item_bits", "name_of", "resolve"]

DType = np.dtype[Any]


class Row(NamedTuple):
    """A dtype of one name; ``S``, ``U``, ``datetime64`` and ``timedelta64`` have a grammar."""

    name: str  # on disk, never change
    item_bits: int
    ml: bool = False  # lives in ml_dtypes, not in NumPy
    mxnet: int | None = None  # its code in .params files
    safetensors: str | None = None


TABLE = (
    Row("bool", 8, mxnet=7, safetensors="BOOL"),
    Row("int8", 8, mxnet=5, safetensors="I8"),
    Row("int16", 16, mxnet=8, safetensors="I16"),
    Row("int32", 32, mxnet=4, safetensors="I32"),
    Row("int64", 64, mxnet=6, safetensors="I64"),
    Row("uint8", 8, mxnet=3, safetensors="U8"),
    Row("uint16", 16, mxnet=9, safetensors="U16"),
    Row("uint32", 32, mxnet=10, safetensors="U32"),
    Row("uint64", 64, mxnet=11, safetensors="U64"),
    Row("float16", 16, mxnet=2, safetensors="F16"),
    Row("float32", 32, mxnet=0, safetensors="F32"),
    Row("float64", 64, mxnet=1, safetensors="F64"),
    Row("complex64", 64, safetensors="C64"),
    Row("complex128", 128),
    Row("bfloat16", 16, ml=True, mxnet=12, safetensors="BF16"),
    Row("float8_e3m4", 8, ml=True),
    Row("float8_e4m3", 8, ml=True),
    Row("float8_e4m3b11fnuz", 8, ml=True),
    Row("float8_e4m3fn", 8, ml=True, safetensors="F8_E4M3"),
    Row("float8_e4m3fnuz", 8, ml=True, safetensors="F8_E4M3FNUZ"),
    Row("float8_e5m2", 8, ml=True, safetensors="F8_E5M2"),
    Row("float8_e5m2fnuz", 8, ml=True, safetensors="F8_E5M2FNUZ"),
    Row("float8_e8m0fnu", 8, ml=True, safetensors="F8_E8M0"),
    Row("float6_e2m3fn", 8, ml=True),
    Row("float6_e3m2fn", 8, ml=True),
    Row("float4_e2m1fn", 8, ml=True, safetensors="F4"),
    Row("int1", 8, ml=True),
    Row("int2", 8, ml=True),
    Row("int4", 8, ml=True),
    Row("uint1", 8, ml=True),
    Row("uint2", 8, ml=True),
    Row("uint4", 8, ml=True),
)

ML_NAMES = frozenset(row.name for row in TABLE if row.ml)

# NumPy's dtypes of one name, of either byte order. A caller with many arrays looks here
# first: a tenth of a microsecond each.
_NUMPY = {np.dtype(row.name): row.name for row in TABLE if not row.ml}
KNOWN = _NUMPY | {dtype.newbyteorder("S"): name for dtype, name in _NUMPY.items()}

_ROWS = {row.name: row for row in TABLE}
_SIZED = re.compile("([SU])([1-9][0-9]*)")
_TIME = re.compile(
    r"(?:datetime64|timedelta64)"
    r"(?:\[((?!1[a-zA-Z])[1-9][0-9]*)?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)
_MAX_NAME = 255
_MAX_INT = 2**31 - 1  # NumPy's limit for the bytes of a dtype and for the multiple of a unit

_REMEDIES = {
    "O": "convert it to a numeric, S or U dtype, or save its items as a list",
    "T": "convert it to a U dtype of fixed width, or save its items as a list",
    "S": "convert it to S1",
    "U": "convert it to U1",
    "f": "convert it to float64",
    "c": "convert it to complex128",
}


def name_of(dtype: DType) -> str:
    """Return the name on disk, whatever the byte order; TypeError if there is none."""
    known = KNOWN.get(dtype)
    if known is not None:
        return known
    kind = dtype.type
    if kind.__module__ == "ml_dtypes":
        if kind.__name__ in ML_NAMES:
            return kind.__name__
    elif kind is np.bytes_ and dtype.itemsize:
        return f"S{dtype.itemsize}"
    elif kind is np.str_ and dtype.itemsize:
        return f"U{dtype.itemsize // 4}"
    elif kind is np.datetime64 or kind is np.timedelta64:
        return dtype.name
    raise TypeError(f"cannot save dtype {clip(str(dtype), 80)}; {_remedy(dtype)}")


def item_bits(name: str) -> int | None:
    """Return the bits of an item of the dtype of that name, None for a name not in the table."""
    row = _ROWS.get(name)
    if row is not None:
        return row.item_bits
    if len(name) > _MAX_NAME:
        return None
    sized = _SIZED.fullmatch(name)
    if sized:
        return int(sized[2]) * (8 if sized[1] == "S" else 32)
    return 64 if _TIME.fullmatch(name) else None


def resolve(name: str, bits: int) -> DType | UnsupportedError:
    """Return the dtype of a name in a file, in native byte order, or why there is none.

    A name in the table with other bits per item is a FormatError.
    """
    expected = item_bits(name)
    if expected is None:
        return UnsupportedError(f"unknown dtype {clip(repr(name), 80)}")
    if bits != expected:
        raise FormatError(f"dtype {clip(name, 80)} with {bits} bits per item, not {expected}")
    if name in ML_NAMES:
        return _from_ml_dtypes(name)
    time = _TIME.fullmatch(name)
    if (int(time[1] or 1) if time else expected // 8) > _MAX_INT:
        return UnsupportedError(f"dtype {clip(name, 80)} is beyond what NumPy can hold")
    return np.dtype(name)


def _from_ml_dtypes(name: str) -> DType | UnsupportedError:
    try:
        import ml_dtypes
    except Exception as exc:  # one built for another NumPy raises more than ImportError
        error = UnsupportedError(f"dtype {name} needs ml_dtypes: pip install ml_dtypes")
        error.__cause__ = exc.with_traceback(None)  # the error is kept, its frames are not
        return error
    try:
        dtype: DType = np.dtype(getattr(ml_dtypes, name))
        return dtype
    except (AttributeError, TypeError):
        version = getattr(ml_dtypes, "__version__", "this version")
        return UnsupportedError(
            f"dtype {name} is not in ml_dtypes {version}: pip install --upgrade ml_dtypes"
        )


def _remedy(dtype: DType) -> str:
    if dtype.fields is not None:
        return "save each field as an array of its own"
    if dtype.type is np.void:
        return "view it as the dtype it holds"
    if dtype.type.__module__ == "numpy" and dtype.kind in _REMEDIES:
        return _REMEDIES[dtype.kind]
    if dtype.kind == "T":
        return _REMEDIES["T"]
    return "convert it to one of NumPy's numeric dtypes"
