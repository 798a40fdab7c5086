# SPDX-License-Identifier: Apache-2.0
"""An npz or npy file that lies is an error of mxio's: never a wrong array, a crash, a bomb.

`build` makes a zip by hand in which every field can say something else. What is sound but
cannot be read here, pickles above all, is an entry with a reason, and its neighbours load.
"""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from craft import words
from reference import same

import mxio

LOCAL = words("version flags method time date crc stored nbytes n_name n_extra")
LISTED = words(
    "made version flags method time date crc stored nbytes n_name n_extra n_comment disk "
    "internal external offset"
)
END = words("disk first_disk n_here n nbytes begin n_comment")
MIB = 1 << 20


def npy_of(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npy(header: str | bytes, data: bytes = b"", version: int = 1, size: int | None = None) -> bytes:
    """An npy file with a header of one's own."""
    text = header if isinstance(header, bytes) else header.encode("latin-1")
    n = len(text) if size is None else size
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + n.to_bytes(2 if version == 1 else 4, "little")
        + (text + data)
    )


def of(shape: Any, descr: Any = "<i4", order: Any = False, data: bytes = b"") -> bytes:
    return npy(f"{{'descr': {descr!r}, 'fortran_order': {order!r}, 'shape': {shape!r}, }}\n", data)


def deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeezer.compress(data) + squeezer.flush()


@dataclass
class Part:
    """A member to be; `local` and `listed` change fields of its two headers."""

    content: bytes
    name: bytes = b"x.npy"
    method: int = 0
    stored: bytes | None = None
    local: dict[str, int] = field(default_factory=dict)
    listed: dict[str, int] = field(default_factory=dict)
    local_name: bytes | None = None
    local_extra: bytes = b""
    listed_extra: bytes = b""

    def fields(self) -> dict[str, int]:
        stored = self.payload()
        told = dict.fromkeys(LISTED, 0) | {"version": 20, "date": 33, "method": self.method}
        told |= {"crc": zlib.crc32(self.content), "stored": len(stored)}
        return told | {"nbytes": len(self.content), "n_name": len(self.name)}

    def payload(self) -> bytes:
        if self.stored is not None:
            return self.stored
        return deflate(self.content) if self.method == 8 else self.content


def build(
    *parts: Part, behind: bytes = b"", before_end: bytes = b"", between: bytes = b"", **end: int
) -> bytes:
    """A zip of these members, whatever they say."""
    out, directory = b"", b""
    for part in parts:
        told = part.fields() | {"n_extra": len(part.local_extra)} | part.local
        name = part.name if part.local_name is None else part.local_name
        offset = len(out)
        out += struct.pack("<4s5H3I2H", b"PK\3\4", *(told[k] for k in LOCAL))
        out += name + part.local_extra + part.payload() + between
        told = part.fields() | {"n_extra": len(part.listed_extra), "offset": offset} | part.listed
        directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", *(told[k] for k in LISTED))
        directory += part.name + part.listed_extra
    told = dict.fromkeys(END, 0) | {"n_here": len(parts), "n": len(parts)}
    told |= {"nbytes": len(directory), "begin": len(out)} | end
    last = struct.pack("<4s4H2IH", b"PK\5\6", *(told[k] for k in END))
    return out + directory + before_end + last + behind


GOOD = npy_of(np.arange(10, dtype="<i4"))
ZEROS = npy_of(np.zeros(100_000, "i1"))


def one(content: bytes = GOOD, between: bytes = b"", **fields: Any) -> bytes:
    return build(Part(content, **fields), between=between)


def test_what_build_makes_is_sound() -> None:
    for method in (0, 8):
        data = build(Part(GOOD, method=method), Part(ZEROS, b"z.npy", method))
        expected = {"x": np.arange(10, dtype="i4"), "z": np.zeros(100_000, "i1")}
        assert same(mxio.loads(data), expected)
        with np.load(io.BytesIO(data)) as found:
            assert same(dict(found), expected)


# ---- lies ------------------------------------------------------------------------------------

LIES: dict[str, tuple[bytes, str]] = {
    # the npy header
    "no magic": (one(b"\x93NUMPX" + GOOD[6:]), "no npy header"),
    "empty": (one(b""), "no npy header"),
    "only a magic": (one(b"\x93NUMPY\1\0"), "cut short in the npy header"),
    "header longer than the member": (one(npy("{}", size=500)), "cut short in the npy header"),
    "no dict": (one(npy("[1, 2]")), "is not a dict"),
    "a key less": (one(npy("{'descr': '<i4', 'shape': ()}")), "is not a dict"),
    "a key more": (
        one(npy("{'descr': '<i4', 'fortran_order': False, 'shape': (), 'x': 1}", b"1234")),
        "is not a dict",
    ),
    "not closed": (one(npy("{'descr': '<i4', ")), "not the text of a Python dict"),
    "closed twice": (one(npy("{}}")), "do not match"),
    "deep": (one(npy("[" * 5000)), "do not match"),
    "a call": (one(npy("{'descr': print(1)}")), "more than a Python dict"),
    "an attribute": (one(npy("{'a': ''.join}")), "more than a Python dict"),
    "a sum": (one(npy("{'shape': 1+1}")), "more than a Python dict"),
    "a long number": (one(npy("{'shape': " + "9" * 5000)), "not the text of a Python dict"),
    "an open string": (one(npy("{'shape': '" + "\\\\" * 2000)), "more than a Python dict"),
    "a strange escape": (one(npy("{'\\d': 1}")), "more than a Python dict"),
    "not UTF-8": (one(npy(b"{'\xff': 1}", version=3)), "not UTF-8"),
    "a list for a shape": (one(of([2], data=b"12345678")), "no tuple of sizes"),
    "a negative shape": (one(of((-2,), data=b"12345678")), "no tuple of sizes"),
    "a bool in a shape": (one(of((True,), data=b"1234")), "no tuple of sizes"),
    "a float in a shape": (one(npy("{'shape': 1.5}")), "more than a Python dict"),
    "an int for fortran_order": (one(of((1,), order=1, data=b"1234")), "is no bool"),
    "too many dimensions": (one(of((1,) * 65, data=b"1234")), "65 dimensions"),
    "a shape too large": (one(of((11,), data=b"1" * 40)), "44 bytes of items, of which 40"),
    "a shape too small": (one(of((9,), data=b"1" * 40)), "36 bytes of items, of which 40"),
    "a shape that overflows": (one(of((2**32, 2**32), data=b"1234")), "beyond what NumPy"),
    "zero times huge": (one(of((0, 2**32, 2**32))), "a shape beyond what NumPy can hold"),
    "deflated, a shape too large": (one(of((11,), data=b"1" * 40), method=8), "of which 40"),
    # the member
    "another name in the local header": (one(local_name=b"y.npy"), "another name"),
    "another method in the local header": (one(local={"method": 8}), "another method"),
    "another method in the directory": (one(listed={"method": 8}), "another method"),
    "another CRC in the local header": (one(local={"crc": 1}), "another size or CRC-32"),
    "another size in the local header": (one(local={"nbytes": 1}), "another size or CRC-32"),
    "encrypted in one place": (one(local={"flags": 1}), "another method"),
    "stored, but shorter": (one(listed={"stored": 100}), "of which 100 are stored"),
    "deflated, but a bomb": (
        one(ZEROS, method=8, listed={"nbytes": 2**31}, local={"nbytes": 2**31}),
        "cannot come out of",
    ),
    "no local header": (one(listed={"offset": 1}, between=b"more"), "no local header"),
    "reaching into the directory": (
        one(listed={"stored": 250, "nbytes": 250}, local={"stored": 250, "nbytes": 250}),
        "reaches into the directory",
    ),
    "beyond the file": (one(listed={"offset": 2**31}), "reaches into the directory"),
    "a local extra beyond the directory": (one(local={"n_extra": 60_000}), "into the directory"),
    "64-bit sizes that are missing": (one(listed={"nbytes": 2**32 - 1}), "64-bit sizes"),
    "NUL in the name": (one(name=b"a\0.npy"), "NUL in the name"),
    "a name that is no UTF-8": (
        one(name=b"\xff.npy", listed={"flags": 1 << 11}, local={"flags": 1 << 11}),
        "is not UTF-8",
    ),
    "on another disk": (one(listed={"disk": 3}), "another disk"),
    "two of one name": (build(Part(GOOD), Part(GOOD)), "two members are called 'x'"),
    "two that give one name": (build(Part(GOOD), Part(b"", b"x")), "two members are called 'x'"),
    "two in one place": (build(Part(GOOD), Part(GOOD, listed={"offset": 0})), "overlaps another"),
    "overlapping": (
        build(
            Part(GOOD + one(name=b"y.npy")[: 35 + len(GOOD)], b"x.npy"),
            Part(GOOD, b"y.npy", listed={"offset": 35 + len(GOOD)}),
        ),
        "overlaps another member",
    ),
    # the deflated bytes
    "more comes out than is said": (
        one(GOOD, method=8, stored=deflate(GOOD + b"more")),
        "holds more than it says",
    ),
    "less comes out than is said": (
        one(GOOD, method=8, stored=deflate(GOOD[:-4])),
        "ends too early",
    ),
    "less comes out than the header needs": (one(GOOD, method=8, stored=deflate(b"")), "too early"),
    "cut short": (one(ZEROS, method=8, stored=deflate(ZEROS)[:-4]), "end too early"),
    "with something behind it": (
        one(GOOD, method=8, stored=deflate(GOOD) + b"more"),
        "bytes behind the deflated ones",
    ),
    "no deflated bytes": (one(GOOD, method=8, stored=b"\xff" * 99), "are damaged"),
    # the directory
    "a member less than counted": (build(Part(GOOD), n=2, n_here=2), "is not where"),
    "a member more than counted": (
        build(Part(GOOD), Part(GOOD, b"y.npy"), n=1, n_here=1),
        "2 members in a directory of 1",
    ),
    "counted differently": (build(Part(GOOD), n_here=0), "in several parts"),
    "in several parts": (build(Part(GOOD), disk=1), "in several parts"),
    "a directory elsewhere": (build(Part(GOOD), begin=0), "is not where"),
    "a directory too short": (build(Part(GOOD), nbytes=40), "is not where"),
    "a record too long": (one(listed={"n_comment": 9}), "beyond the directory"),
    "bytes behind": (build(Part(GOOD), behind=b"more"), "no end record"),
    "bytes before the end": (build(Part(GOOD), before_end=b"more"), "is not where"),
    "no zip64 where its locator points": (
        build(Part(GOOD), before_end=struct.pack("<4sIQI", b"PK\6\7", 0, 0, 1)),
        "no end record of zip64",
    ),
    "a locator beyond the file": (
        build(Part(GOOD), before_end=struct.pack("<4sIQI", b"PK\6\7", 0, 2**63, 1)),
        "no end record of zip64",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_told_by_its_offset(lie: str) -> None:
    data, said = LIES[lie]
    with pytest.raises(mxio.FormatError) as caught:
        mxio.loads(data)
    assert said in str(caught.value)
    assert caught.value.offset is not None
    assert not isinstance(caught.value, mxio.ChecksumError)


def test_arrays_with_wrong_contents_are_named() -> None:
    wrong = bytearray(one())
    at = wrong.index(b"\x07\0\0\0")
    wrong[at] ^= 1
    with pytest.raises(mxio.ChecksumError) as caught:
        mxio.loads(bytes(wrong))
    assert caught.value.name == "x"
    assert str(caught.value).startswith("checksum mismatch in 'x', at offset 35 of ")
    assert str(caught.value).endswith("(CRC-32 of the zip member)")
    assert mxio.load(bytes(wrong), verify=False)["x"].tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 8, 9]
    for method in (0, 8):
        crc = {"crc": 7}
        with pytest.raises(mxio.ChecksumError):
            mxio.loads(one(method=method, local=crc, listed=crc))
        with pytest.raises(mxio.ChecksumError):  # of an empty one
            mxio.loads(one(npy_of(np.zeros(0)), method=method, local=crc, listed=crc))


def test_a_file_that_does_not_begin_as_a_zip_is_none() -> None:
    with pytest.raises(mxio.FormatError, match="not a file that mxio reads"):
        mxio.loads(b"#!/bin/sh\n" + one())


def test_sizes_of_64_bits_are_read() -> None:
    full = 2**32 - 1
    size = len(GOOD)
    local = struct.pack("<2H2Q", 1, 16, size, size)
    for listed in (
        {"nbytes": full, "stored": full, "offset": full},
        {"nbytes": full},
        {"offset": full},
        {},
    ):
        told = {"nbytes": size, "stored": size, "offset": 0}
        wide = [told[k] for k in ("nbytes", "stored", "offset") if k in listed]
        extra = b"\xca\xfe\4\0abcd" + struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide)
        part = Part(
            GOOD,
            local={"nbytes": full, "stored": full},
            local_extra=local,
            listed=listed,
            listed_extra=extra,
        )
        data = build(part)
        directory = data.index(b"PK\1\2")
        nbytes = data.rindex(b"PK\5\6") - directory
        end = directory + nbytes
        end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, nbytes, directory)
        end64 += struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
        for count in (1, 0xFFFF):
            whole = build(part, before_end=end64, n=count, n_here=count, begin=full, nbytes=full)
            assert same(mxio.loads(whole), {"x": np.arange(10, dtype="i4")})
        lying = build(part, before_end=end64, n=2, n_here=2)
        with pytest.raises(mxio.FormatError, match="the two end records disagree"):
            mxio.loads(lying)


# ---- every byte and every length -------------------------------------------------------------


def small(how: str) -> tuple[bytes, Any]:
    arrays = {"a": np.arange(5, dtype="<i2"), "b/é": np.array(["x", "yz"]), "0": np.zeros((0, 2))}
    out = io.BytesIO()
    if how == "npy":
        np.save(out, arrays["a"])
        return out.getvalue(), arrays["a"]
    (np.savez if how == "stored" else np.savez_compressed)(out, **arrays)
    return out.getvalue(), arrays


def attempt(data: bytes) -> Any:
    """What loads, or the error: of mxio's kinds, or the test fails."""
    try:
        return mxio.loads(data)
    except (mxio.FormatError, mxio.UnsupportedError) as error:
        return error


@pytest.mark.parametrize("how", ["stored", "deflated"])
def test_a_changed_byte_is_an_error_or_changes_nothing(how: str) -> None:
    data, arrays = small(how)
    errors = 0
    for at in range(len(data)):
        for bits in (0x01, 0x20, 0xFF):
            changed = bytearray(data)
            changed[at] ^= bits
            found = attempt(bytes(changed))
            if isinstance(found, Exception):
                errors += 1
            else:
                assert same(found, arrays), (at, bits)
    # Nobody reads dates, versions and attributes; everything else has been noticed.
    assert errors > 3 * len(data) * 0.75


@pytest.mark.parametrize("how", ["stored", "deflated", "npy"])
def test_no_truncation_is_accepted(how: str) -> None:
    data, _ = small(how)
    for length in range(len(data)):
        found = attempt(data[:length])
        assert isinstance(found, mxio.FormatError), length
        assert not isinstance(found, mxio.ChecksumError)


def test_an_npy_file_holds_one_array_and_nothing_else() -> None:
    with pytest.raises(mxio.FormatError, match="the array ends here and 168 bytes") as caught:
        mxio.loads(GOOD + GOOD)
    assert caught.value.offset == len(GOOD) == 168
    with pytest.raises(mxio.FormatError, match="cut short: 40 bytes of items begin at 128"):
        mxio.loads(GOOD[:-1])


# ---- sound, but not for us -------------------------------------------------------------------

OTHERS: dict[str, tuple[bytes, int, str]] = {
    "objects": (npy_of(np.array([{}, None])), 0, "pickled Python objects, which mxio never loads"),
    "objects, deflated": (npy_of(np.array([{}, None])), 8, "pickled Python objects"),
    "a struct": (npy_of(np.zeros(3, [("a", "<i4"), ("b", "<f8", 2)])), 0, "each field"),
    "a struct of objects": (npy_of(np.zeros(3, [("a", "O")])), 0, "pickled Python objects"),
    "raw items": (npy_of(np.zeros(3, "V2")), 0, "view it as what it was"),
    "a dtype of nobody": (of((3,), "<f3", data=b"123456789"), 0, "which NumPy does not know"),
    "a comma": (of((3,), "i4,i4", data=bytes(24)), 0, "which NumPy does not know"),
    "no items": (of((3,), "|S0"), 0, "have no bytes"),
    "a descr of nothing": (of((3,), []), 0, "no bytes"),
    "a descr of rubbish": (of((3,), [(1, 2)], data=b"123"), 0, "which NumPy does not know"),
    "a descr that is a number": (of((3,), 7, data=b"123"), 0, "which NumPy does not know"),
    "a long header": (npy(" " * 10_001, b"12"), 0, "10001 bytes long"),
    "a huge header": (npy(" ", version=2, size=2**32 - 1), 0, "4294967295 bytes long"),
    "a newer npy": (npy(" ", version=4), 0, "npy version 4.0"),
    "bfloat16 of another order": (
        of((3,), [("bfloat16", ">u2")], data=b"123456"),
        0,
        "its items are structs",
    ),
    "bzip2": (GOOD, 12, "bzip2 (zip method 12)"),
    "a method of nobody": (GOOD, 99, "zip method 99"),
}
if np.dtype("longdouble").itemsize > 8:
    OTHERS["long doubles"] = (npy_of(np.zeros(3, "g")), 0, "differs from machine to machine")


@pytest.mark.parametrize("other", OTHERS)
def test_what_cannot_be_read_says_why_and_its_neighbours_load(other: str) -> None:
    content, method, said = OTHERS[other]
    stored = content if method not in (0, 8) else None
    data = build(
        Part(GOOD, b"before.npy"),
        Part(content, b"it.npy", method, stored),
        Part(GOOD, b"after.npy", 8),
    )
    with mxio.open(data) as file:
        assert list(file) == ["before", "it", "after"]
        assert same(file["before"].read(), np.arange(10, dtype="i4"))
        assert same(file["after"].read(), np.arange(10, dtype="i4"))
    assert list(mxio.load(data, ["before", "after"])) == ["before", "after"]
    for names in (None, ["it"]):
        with pytest.raises(mxio.UnsupportedError) as caught:
            mxio.load(data, names)
        assert said in str(caught.value)
        assert "'it'" in str(caught.value)
    if method in (0, 8):
        with pytest.raises(mxio.UnsupportedError) as caught:
            mxio.loads(content)
        assert said in str(caught.value)


def test_several_that_cannot_be_read_have_reasons_of_their_own() -> None:
    encrypted = {"flags": 1}
    data = build(
        Part(npy_of(np.zeros(3, [("a", "<i4")])), b"1.npy"),
        Part(npy_of(np.zeros(3, [("b", "<f4")])), b"2.npy"),
        Part(GOOD, b"3.npy", local=encrypted, listed=encrypted | {"stored": len(GOOD)}),
        Part(GOOD, b"4.npy", 12, GOOD),
        Part(GOOD, b"5.npy"),
    )
    for name, said in {"1": "'a'", "2": "'b'", "3": "encrypted", "4": "bzip2"}.items():
        with pytest.raises(mxio.UnsupportedError, match=said):
            mxio.load(data, [name])
    assert same(mxio.load(data, ["5"])["5"], np.arange(10, dtype="i4"))


class Mischief:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("unpickled",)


def test_no_pickle_is_ever_loaded(capfd: pytest.CaptureFixture[str]) -> None:
    evil = npy_of(np.array([Mischief()], object))
    for data in (evil, build(Part(evil)), build(Part(evil, b"a/data.npy"))):
        assert isinstance(attempt(data), mxio.UnsupportedError)
        with contextlib.suppress(mxio.MXIOError):
            mxio.verify(data)
    assert "unpickled" not in capfd.readouterr().out


# ---- MXNet's sparse folders ------------------------------------------------------------------


def csr(**changes: bytes) -> bytes:
    """A csr array of (2, 3) as MXNet 2.0 writes one."""
    broken = "{'descr': '|s3{'descr': '<i8', 'fortran_order': False, 'shape': (), }"
    members = {
        "data": npy_of(np.ones(2, "f4")),
        "indptr": npy_of(np.array([0, 1, 2])),
        "indices": npy_of(np.array([0, 2])),
        "shape": npy_of(np.array([2, 3])),
        "format": npy(broken, b"csr"),
    } | changes
    return build(*(Part(content, f"w/{name}.npy".encode()) for name, content in members.items()))


def test_a_sparse_folder_is_one_array() -> None:
    with mxio.open(csr()) as file:
        assert list(file) == ["w/data", "w/indptr", "w/indices"]
    found = mxio.loads(csr())["w"]
    assert found.stype == "csr"
    assert found.toarray().tolist() == [[1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("part", "content", "said"),
    [
        ("format", npy("{'descr': '|s3{'descr': '<i8'", b"row_sparse"), "members of a csr array"),
        ("format", npy("{'descr': '|s3{'descr': '<i8'", b""), "members of a csr array"),
        ("shape", npy_of(np.array([2, 3, 4])), "no shape of a csr array"),
        ("shape", npy_of(np.array([2])), "no shape of a csr array"),
        ("shape", npy_of(np.array([[2, 3]])), "no shape of a csr array"),
        ("shape", npy_of(np.array([2, -3])), "no shape of a csr array"),
        ("shape", npy_of(np.array([2.0, 3.0])), "no shape of a csr array"),
        ("shape", npy_of(np.array([2, 3], ">i8")), "no shape of a csr array"),
        ("shape", npy_of(np.arange(9000)), "no npy header"),
        ("shape", npy_of(np.array([2, 3]))[:-1], "no shape of a csr array"),
        ("other", b"", "npy header"),
    ],
)
def test_a_sparse_folder_that_lies_is_an_error(part: str, content: bytes, said: str) -> None:
    with pytest.raises(mxio.FormatError) as caught:
        mxio.loads(csr(**{part: content}))
    assert said in str(caught.value)


# ---- bombs -----------------------------------------------------------------------------------

BOUNDED = """
import resource, sys
import numpy as np
import mxio
data = sys.stdin.buffer.read()
try:
    mxio.loads(data[:4] + b"warm up")
except mxio.FormatError:
    pass
with open("/proc/self/statm") as statm:
    now = int(statm.read().split()[0]) * resource.getpagesize()
bound = now + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
try:
    with mxio.open(data) as file:
        print("opened", len(file))
    mxio.loads(data)
    print("loaded")
except mxio.MXIOError as error:
    print(type(error).__name__, error)
"""


def overlapping(n: int) -> bytes:
    """n members that are all the same megabyte of zeros."""
    content = npy_of(np.zeros(MIB, "i1"))
    names = [f"{i:04}.npy".encode() for i in range(n)]
    whole = build(Part(content, names[0], 8))
    begin, record = whole.index(b"PK\1\2"), whole[whole.index(b"PK\1\2") : -22]
    records = b"".join(record.replace(names[0], name) for name in names)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, n, n, len(records), begin, 0)
    return whole[:begin] + records + end


def many_claims() -> bytes:
    """Members of a few bytes, each of which says that a gibibyte comes out of it."""
    size = {"nbytes": 1 << 30}
    header = of((1 << 30,), "|i1")
    return build(
        *(Part(header, f"{i}.npy".encode(), 8, local=size, listed=size) for i in range(50))
    )


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "members that overlap": (lambda: overlapping(5000), "FormatError"),
    "sizes that cannot be": (many_claims, "FormatError"),
    "a stored shape": (lambda: one(of((1 << 40,), data=b"1234")), "FormatError"),
    "an npy shape": (lambda: of((1 << 40,), data=b"1234"), "FormatError"),
    "a struct": (lambda: of((), [("a", "|i1", (1 << 30,))], data=b"12"), "FormatError"),
    "more than said": (
        lambda: one(GOOD, method=8, stored=deflate(GOOD + bytes(200 * MIB))),
        "FormatError",
    ),
    "a header of a gibibyte": (
        lambda: one(
            npy(b"", bytes(200 * MIB), version=2, size=190 * MIB),
            method=8,
        ),
        "UnsupportedError",
    ),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS and /proc")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_takes_no_memory(bomb: str) -> None:
    make, expected = BOMBS[bomb]
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(64 * MIB)], input=make(), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().splitlines()[-1].startswith(expected)


def test_a_deflated_array_that_is_large_opens_at_once_and_loads() -> None:
    array = np.zeros(20 * MIB, "i1")
    out = io.BytesIO()
    np.savez_compressed(out, x=array)
    with mxio.open(out.getvalue()) as file:
        assert file["x"].nbytes == 20 * MIB
    assert same(mxio.loads(out.getvalue()), {"x": array})
