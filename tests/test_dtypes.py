# SPDX-License-Identifier: Apache-2.0
"""Every dtype of the format has one name, and a name in a file is trusted with nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mxio._dtype import KNOWN, ML_NAMES, TABLE, item_bits, name_of, resolve
from mxio.errors import FormatError, UnsupportedError

PAGE = Path(__file__).parents[1] / "docs" / "FORMAT.md"
NUMPY = [row.name for row in TABLE if not row.ml]
UNITS = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"]


def unsupported(name: str, bits: int) -> str:
    found = resolve(name, bits)
    assert isinstance(found, UnsupportedError)
    return str(found)


@pytest.mark.parametrize("name", NUMPY)
def test_numpys_dtypes_come_back_by_name_whatever_their_byte_order(name: str):
    dtype = np.dtype(name)
    assert name_of(dtype) == name_of(dtype.newbyteorder("S")) == name
    assert KNOWN[dtype] == KNOWN[dtype.newbyteorder("S")] == name
    assert item_bits(name) == 8 * dtype.itemsize
    assert resolve(name, 8 * dtype.itemsize) == dtype
    assert resolve(name, 8 * dtype.itemsize).isnative


@pytest.mark.parametrize("char", "?bBhHiIlLqQpPefdFD")
def test_the_c_types_of_numpy_are_named_by_their_size(char: str):
    dtype = np.dtype(char)
    assert name_of(dtype) == dtype.name
    assert resolve(dtype.name, 8 * dtype.itemsize) == dtype


def test_dtype_metadata_does_not_matter():
    assert name_of(np.dtype("f4", metadata={"unit": "m"})) == "float32"


@pytest.mark.parametrize(
    ("spec", "name", "bits"),
    [
        ("S1", "S1", 8),
        ("S10000", "S10000", 80_000),
        (">U7", "U7", 224),
        ("<U1", "U1", 32),
        ("M8", "datetime64", 64),
        (">m8", "timedelta64", 64),
        (">M8[25us]", "datetime64[25us]", 64),
        ("m8[1D]", "timedelta64[D]", 64),
        ("M8[2147483647s]", "datetime64[2147483647s]", 64),
    ],
)
def test_strings_and_times_carry_their_size_and_unit_in_the_name(spec: str, name: str, bits: int):
    assert name_of(np.dtype(spec)) == name
    assert item_bits(name) == bits
    found = resolve(name, bits)
    assert found == np.dtype(spec).newbyteorder("=")
    assert found.isnative


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", ["datetime64", "timedelta64"])
def test_every_unit_of_time_comes_back(kind: str, unit: str):
    for name in (f"{kind}[{unit}]", f"{kind}[7{unit}]"):
        found = resolve(name, 64)
        assert isinstance(found, np.dtype)
        assert name_of(found) == name


@pytest.mark.parametrize("name", sorted(ML_NAMES))
def test_the_dtypes_of_ml_dtypes_come_back_by_name(name: str):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    if not hasattr(ml_dtypes, name):
        pytest.skip(f"this ml_dtypes has no {name}")
    dtype = np.dtype(getattr(ml_dtypes, name))
    bits = 16 if name == "bfloat16" else 8
    assert name_of(dtype) == name_of(dtype.newbyteorder("S")) == name
    assert item_bits(name) == bits
    assert resolve(name, bits) == dtype


def test_the_table_is_the_one_of_the_format_page():
    page = PAGE.read_text(encoding="utf-8")
    rows = page[page.index("### 3.4") : page.index("### 3.5")]
    listed = set()
    for row in re.findall(r"^\| (`.*?) \|", rows, re.MULTILINE):
        listed |= set(re.findall(r"`(\w+)`(?!\*)", row))
    listed -= {"S", "U"}
    assert listed == {row.name for row in TABLE}


@pytest.mark.parametrize(
    ("dtype", "remedy"),
    [
        (np.dtype(object), "list"),
        (np.dtype([("a", "i4"), ("b", "f4")]), "each field"),
        (np.dtype("V8"), "view"),
        (np.dtypes.StringDType(), "fixed width"),
        (np.dtypes.StringDType(na_object=None), "fixed width"),
        (np.dtype("S0"), "S1"),
        (np.dtype("U0"), "U1"),
        (np.dtype([(f"field {n}", "i4") for n in range(1000)]), "each field"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_dtype_that_cannot_be_saved_says_what_to_do_instead(dtype: np.dtype, remedy: str):
    with pytest.raises(TypeError, match=remedy) as caught:
        name_of(dtype)
    assert str(dtype)[:30] in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("kind", "gG")
def test_long_doubles_are_refused_for_they_differ_between_machines(kind: str):
    dtype = np.dtype(kind)
    if dtype.itemsize in (8, 16) and dtype in KNOWN:
        pytest.skip("a long double is a double here")
    with pytest.raises(TypeError, match=r"float64|complex128"):
        name_of(dtype)


def test_dtypes_of_ml_dtypes_outside_the_table_are_refused():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    if not hasattr(ml_dtypes, "complex32"):
        pytest.skip("this ml_dtypes has no complex32")
    with pytest.raises(TypeError, match="complex32"):
        name_of(np.dtype(ml_dtypes.complex32))


@pytest.mark.parametrize(
    "name",
    [
        *("", "float33", "float128", "object", "O", "f4", "<f4", "float", "int", "void64", "V8"),
        *("S", "S0", "S01", "S-1", "S1 ", " S1", "S1\n", "S١", "U0", "U", "s1", "T"),
        *("datetime64[]", "datetime64[1s]", "datetime64[0s]", "datetime64[02s]", "datetime64[x]"),
        *("datetime64[s]\n", "datetime64[s/2]", "datetime64[μs]", "M8[s]", "timedelta64[-2s]"),
        *("int4_packed", "i4,f4", "(2,)f4", "{'names':[]}", "finfo", "iinfo", "__doc__", "\0"),
        *("S" + "9" * 5000, "x" * 100_000, "complex32", "bcomplex32", "Float32", "float32,"),
    ],
)
def test_an_unknown_name_is_an_answer_that_names_it(name: str):
    assert item_bits(name) is None
    message = unsupported(name, 32)
    assert repr(name[:5])[1:-1] in message
    assert len(message) < 200


@pytest.mark.parametrize(
    ("name", "bits"),
    [("float32", 64), ("bool", 1), ("S3", 8), ("U3", 24), ("datetime64[s]", 32), ("int4", 4)],
)
def test_a_known_name_with_other_bits_is_an_error_of_the_file(name: str, bits: int):
    with pytest.raises(FormatError, match=f"{bits} bits"):
        resolve(name, bits)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        (f"S{2**31}", 8 * 2**31),
        (f"U{2**29}", 32 * 2**29),
        ("S" + "9" * 250, 8 * int("9" * 250)),
        ("datetime64[2147483648s]", 64),
        ("timedelta64[" + "9" * 200 + "as]", 64),
    ],
)
def test_what_numpy_cannot_hold_is_unsupported_not_wrong(name: str, bits: int):
    assert item_bits(name) == bits
    assert "NumPy" in unsupported(name, bits)


@pytest.mark.parametrize("name", [f"S{2**31 - 1}", f"U{2**29 - 1}"])
def test_the_largest_items_that_numpy_can_hold_resolve(name: str):
    bits = item_bits(name)
    assert bits is not None
    assert resolve(name, bits) == np.dtype(name)


def test_without_ml_dtypes_its_names_say_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert "pip install ml_dtypes" in unsupported("bfloat16", 16)
    assert resolve("float32", 32) == np.dtype("float32")


def test_an_ml_dtypes_that_breaks_when_imported_is_one_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "ml_dtypes.py").write_text("raise AttributeError('_ARRAY_API not found')\n")
    monkeypatch.delitem(sys.modules, "ml_dtypes", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert "pip install ml_dtypes" in unsupported("float8_e5m2", 8)


def test_an_old_ml_dtypes_is_asked_to_be_upgraded(monkeypatch: pytest.MonkeyPatch):
    old = ModuleType("ml_dtypes")
    old.__version__ = "0.1.0"
    monkeypatch.setitem(sys.modules, "ml_dtypes", old)
    assert "ml_dtypes 0.1.0: pip install --upgrade ml_dtypes" in unsupported("float4_e2m1fn", 8)


def test_naming_and_resolving_numpys_dtypes_imports_nothing():
    code = (
        "import sys, numpy as np\n"
        "from mxio import _dtype, _host\n"
        "for row in _dtype.TABLE:\n"
        "    if not row.ml:\n"
        "        _dtype.name_of(_dtype.resolve(row.name, row.item_bits))\n"
        "_host.to_host(np.zeros(3), 'x'), _host.to_host(bytearray(3), 'x')\n"
        "print([name for name in ('ml_dtypes', 'torch', 'jax', 'mxnet') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
