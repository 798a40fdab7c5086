# SPDX-License-Identifier: Apache-2.0
"""npy and npz go both ways between mxio and NumPy, bit for bit, and MXNet 2.0's come in.

NumPy and `zipfile` are the oracles: what mxio writes they read with all their checks, and
of an npy file the bytes are those of `numpy.save`. Damaged files: test_npz_corrupt.py.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import same

import mxio
from mxio._dtype import ML_NAMES

ml_dtypes: Any = None
with contextlib.suppress(ImportError):
    import ml_dtypes

Array = np.ndarray[Any, Any]
GOLDEN = Path(__file__).parent / "golden" / "npz"
MXNET = json.loads((GOLDEN / "expected.json").read_text())

DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128", "S1", "S12", "U1", "U7"),
    *("datetime64", "datetime64[s]", "datetime64[ns]", "datetime64[25s]"),
    *("timedelta64", "timedelta64[h]", "timedelta64[7D]"),
]
ML_DTYPES = sorted(name for name in ML_NAMES if hasattr(ml_dtypes, name))
SHAPES: list[tuple[int, ...]] = [(), (1,), (0,), (5,), (3, 0, 2), (3, 4), (2, 3, 4)]
CHARACTERS = np.array(list("az0é€😀\U0010ffff"))


def items(dtype: str, shape: tuple[int, ...]) -> Array:
    """Items of all kinds of bits: NaNs with payloads, characters beyond 16 bits, NaT."""
    rng = np.random.default_rng(len(dtype) + 10 * len(shape))
    kind = np.dtype(dtype)
    n = int(np.prod(shape))
    if kind.kind == "U":
        width = kind.itemsize // 4
        text = ["".join(rng.choice(CHARACTERS, width)) for _ in range(n)]
        return np.array(text, kind).reshape(shape)
    raw = rng.integers(0, 256, (n, kind.itemsize), np.uint8)
    if kind.kind == "b":
        raw &= 1
    return np.frombuffer(raw.tobytes(), kind).reshape(shape)


def layouts(array: Array) -> dict[str, Array]:
    """The same items in every way they can lie."""
    padded = np.zeros([2 * n for n in array.shape], array.dtype)
    every_other = (*(slice(None, None, 2) for _ in array.shape), ...)
    padded[every_other] = array
    return {
        "C": array,
        "F": np.array(array, order="F"),
        "strided": padded[every_other],
        "reversed": np.ascontiguousarray(array[::-1])[::-1] if array.ndim else array,
        "swapped": array.astype(array.dtype.newbyteorder("S")),
        "read-only": np.broadcast_to(array, array.shape),
    }


def npy_of(array: Array) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def npz_of(arrays: dict[str, Array], save: Callable[..., None] = np.savez) -> bytes:
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


def saved(path: Path, arrays: object, **options: Any) -> bytes:
    mxio.save(path, arrays, **options)
    return path.read_bytes()


def by_numpy(data: bytes) -> dict[str, Array]:
    """What NumPy reads of an npz, after zipfile has checked it."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        return dict(found)


# ---- to NumPy and from NumPy -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_npy_file_has_the_bytes_that_numpy_writes(dtype: str, tmp_path: Path) -> None:
    for shape in SHAPES:
        array = items(dtype, shape)
        for layout, given in layouts(array).items():
            # mxio writes the items of every array in little-endian order.
            twin = array if layout == "swapped" else given
            assert saved(tmp_path / "x.npy", given, format="npy") == npy_of(twin), (shape, layout)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_npy_file_of_numpy_is_read(dtype: str) -> None:
    for shape in SHAPES:
        array = items(dtype, shape)
        for layout, given in layouts(array).items():
            found = mxio.loads(npy_of(given))
            assert same(found, array), (shape, layout)
            assert found.dtype.isnative


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_reads_an_npz_file_of_mxio(dtype: str, compress: bool, tmp_path: Path) -> None:
    arrays = {
        f"{shape} {layout}": array
        for shape in SHAPES
        for layout, array in layouts(items(dtype, shape)).items()
    }
    expected = {name: array.astype(np.dtype(dtype)) for name, array in arrays.items()}
    data = saved(tmp_path / "x.npz", arrays, format="npz", compress=compress)
    assert same(by_numpy(data), expected)
    assert same(mxio.load(tmp_path / "x.npz"), expected)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_npz_file_of_numpy_is_read(dtype: str, save: Callable[..., None]) -> None:
    arrays = {
        f"{len(shape)}{sum(shape)} {layout}": array
        for shape in SHAPES
        for layout, array in layouts(items(dtype, shape)).items()
    }
    found = mxio.loads(npz_of(arrays, save))
    assert same(found, {name: a.astype(np.dtype(dtype)) for name, a in arrays.items()})


@pytest.mark.parametrize("format", ["npy", "npz"])
@pytest.mark.parametrize("dtype", ML_DTYPES)
def test_dtypes_of_ml_dtypes_are_written_as_mxnet_writes_bfloat16(
    dtype: str, format: str, tmp_path: Path
) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype))
    array = np.array([[0, 1, -1], [1, 0, 1]]).astype(kind)
    path = tmp_path / "x"
    mxio.save(path, array if format == "npy" else {"x": array}, format=format)
    found = mxio.load(path) if format == "npy" else mxio.load(path)["x"]
    assert same(found, array)
    with open(path, "rb") as file:
        by = np.load(file, allow_pickle=False)
        by = by if format == "npy" else by["x"]
    assert by.dtype.names == (dtype,)
    assert by.tobytes() == array.tobytes()


def test_arrays_of_both_byte_orders_lie_in_one_file() -> None:
    arrays = {
        "little": np.arange(5, dtype="<f4"),
        "big": np.arange(5, dtype=">f4"),
        "text": np.array(["aé", "😀"], ">U2"),
        "when": np.array(["2001-02-03"], ">M8[D]"),
        "z": np.array([1 + 2j], ">c16"),
    }
    data = npz_of(arrays)
    native = {name: a.astype(a.dtype.newbyteorder("=")) for name, a in arrays.items()}
    assert same(mxio.loads(data), native)
    with mxio.open(data) as file:
        assert {name: entry.dtype for name, entry in file.index.items()} == {
            "little": "float32",
            "big": "float32",
            "text": "U2",
            "when": "datetime64[D]",
            "z": "complex128",
        }
        assert same(file["big"][1:3], native["big"][1:3])


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_npy_is_read(version: tuple[int, int]) -> None:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.arange(6).reshape(2, 3), version)
    with mxio.open(out.getvalue()) as file:
        assert file.index.format == "npy"
        assert file.index.version == f"{version[0]}.{version[1]}"
        assert same(file[""].read(), np.arange(6).reshape(2, 3))


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """An npy file with a header of one's own."""
    text = header.encode("latin-1" if version < 3 else "utf-8")
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<i2', 'fortran_order': False, 'shape': (2L, 10L), }\n",
        '{"shape": (2,10), "fortran_order":False,"descr":"<i2"}',
        "{'descr': 'i2', 'fortran_order': False, 'shape': (2, 10)}           \n",
        "{'descr': '=i2',\n 'fortran_order': False,\n 'shape': (2, 10)}",
    ],
)
def test_headers_as_others_write_them_are_read(header: str) -> None:
    array = np.arange(20, dtype="i2").reshape(2, 10)
    assert same(mxio.loads(npy(header, array.tobytes())), array)


# ---- what is saved, and as what it comes back --------------------------------------------------


def test_lists_become_arr_0_and_names_stay(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    a, b = np.arange(3), np.eye(2)
    for given in ([a, b], (a, b)):
        data = saved(path, given, format="npz")
        assert same(mxio.loads(data), {"arr_0": a, "arr_1": b})
        assert same(by_numpy(data), {"arr_0": a, "arr_1": b})
    assert same(mxio.loads(saved(path, a, format="npz")), {"arr_0": a})
    assert same(mxio.loads(saved(path, {}, format="npz")), {})
    assert by_numpy(path.read_bytes()) == {}


NAMES = ["w", "", "a/b", "a.npy", "../../up", "/etc/passwd", "C:\\x", "a\nb", "权重 😀", "é", "x/"]


def test_names_are_names_and_never_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    arrays = {name: np.array([number]) for number, name in enumerate(NAMES)}
    data = saved(tmp_path / "x.npz", arrays, format="npz")
    assert same(mxio.loads(data), arrays)
    assert same(by_numpy(data), arrays)
    assert same(
        mxio.loads(npz_of({n: a for n, a in arrays.items() if n})),
        {n: a for n, a in arrays.items() if n},
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["inner", "x.npz"]


def test_equal_saves_give_equal_bytes_and_streams_the_same_arrays(tmp_path: Path) -> None:
    arrays = {"a": np.arange(1000), "é": np.asfortranarray(np.eye(9)), "": np.float32(3)}
    once = saved(tmp_path / "1", arrays, format="npz")
    assert saved(tmp_path / "2", arrays, format="npz") == once
    stream = io.BytesIO()
    mxio.save(stream, arrays, format="npz")
    assert stream.getvalue() == once
    one = io.BytesIO()
    mxio.save(one, arrays["é"], format="npy")
    assert one.getvalue() == npy_of(arrays["é"])


class Forward(io.RawIOBase):
    """A target that cannot go back, such as a pipe."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


@pytest.mark.parametrize("compress", [False, True])
def test_a_stream_needs_no_way_back(compress: bool) -> None:
    arrays = {"a": np.zeros(100_000), "b": np.arange(7), "é": np.zeros((0, 2)), "s": np.array("x")}
    target = Forward()
    mxio.save(target, arrays, format="npz", compress=compress)
    assert same(by_numpy(bytes(target.data)), arrays)
    assert same(mxio.loads(bytes(target.data)), arrays)
    assert (len(target.data) < 5000) == compress


@pytest.mark.parametrize("compress", [False, True])
def test_unzip_finds_nothing_wrong(compress: bool, tmp_path: Path) -> None:
    if shutil.which("unzip") is None:
        pytest.skip("needs unzip")
    path = tmp_path / "x.npz"
    arrays = {"a": np.arange(1000), "权": np.zeros(0), "b/c": np.array("x")}
    mxio.save(path, arrays, format="npz", compress=compress)
    done = subprocess.run(["unzip", "-t", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_arrays_of_many_pieces_are_written_and_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    big = rng.integers(0, 4, (3, 1_500_001), np.int32)  # 17 MiB that deflate to less
    arrays = {"C": big, "F": big.T, "strided": big[:, ::2], "swapped": big.astype(">i4")}
    expected = {name: a.astype("<i4") for name, a in arrays.items()}
    for compress in (False, True):
        path = tmp_path / "x.npz"
        mxio.save(path, {n: arrays[n] for n in ("C", "F")}, format="npz", compress=compress)
        assert same(mxio.load(path), {n: expected[n] for n in ("C", "F")})
    mxio.save(path, arrays, format="npz")
    assert same(by_numpy(path.read_bytes()), expected)


REFUSED: list[tuple[str, object, dict[str, Any], str]] = [
    ("npy", {"a": np.zeros(1)}, {}, "format='npz'"),
    ("npy", [np.zeros(1), np.zeros(1)], {}, "one array, and there is 2"),
    ("npy", 5, {}, "one array"),
    ("npy", np.zeros(1), {"metadata": {"k": 1}}, "metadata"),
    ("npz", {"a": np.zeros(1)}, {"metadata": {"k": 1}}, "metadata"),
    ("npz", {"w": np.zeros(1), "step": 7}, {}, "'step', an int"),
    ("npz", {"w": {"x": np.zeros(1)}}, {}, "'w', a dict in another container"),
    ("npz", [np.zeros(1), "text"], {}, "item 1, a str"),
    ("npz", {1: np.zeros(1)}, {}, "a dict with 1 as a key"),
    ("npz", "text", {}, "a str"),
    ("npz", {"x" * 65_535: np.zeros(1)}, {}, "at most 65535 bytes"),
]


@pytest.mark.parametrize(("format", "arrays", "options", "said"), REFUSED)
def test_what_the_format_cannot_say_is_refused_before_anything_is_written(
    format: str, arrays: object, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError) as caught:
        mxio.save(tmp_path / "x", arrays, format=format, **options)
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="compress"):
        mxio.save(tmp_path / "x", {}, format="npz", compress=9)
    with pytest.raises(TypeError, match="compress"):
        mxio.save(tmp_path / "x", np.zeros(1), format="npy", compress=True)


def test_more_members_than_16_bits_count(tmp_path: Path) -> None:
    arrays = {str(n): np.uint16(n & 0xFFFF) for n in range(65_537)}
    path = tmp_path / "x.npz"
    mxio.save(path, arrays, format="npz")
    with zipfile.ZipFile(path) as file:
        assert len(file.namelist()) == len(arrays)
    found = mxio.load(path)
    assert list(found) == list(arrays)
    assert all(int(found[str(n)]) == n & 0xFFFF for n in range(65_537))


@pytest.mark.parametrize("compress", [False, True])
def test_members_get_64_bit_sizes_in_time(
    compress: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mxio.formats._zip._ZIP64_FROM", 500)
    arrays = {"small": np.arange(3), "large": np.arange(1000)}
    data = saved(tmp_path / "x", arrays, format="npz", compress=compress)
    target = Forward()
    mxio.save(target, arrays, format="npz", compress=compress)
    for written in (data, bytes(target.data)):
        assert written.count(b"\xff" * 8) == 1  # the two sizes in one local header
        assert same(by_numpy(written), arrays)
        assert same(mxio.loads(written), arrays)


# ---- parts of files --------------------------------------------------------------------------

REGIONS: list[Any] = [0, (1, slice(2, 5)), (slice(None, None, -2), 3), (..., slice(1, 3)), None]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("how", ["stored", "deflated", "npy"])
def test_parts_of_arrays_are_read(how: str, order: str) -> None:
    array = np.array(np.arange(7 * 6 * 5, dtype=">i4").reshape(7, 6, 5), order=order)  # type: ignore[call-overload]
    if how == "npy":
        data, name = npy_of(array), ""
    else:
        save = np.savez if how == "stored" else np.savez_compressed
        data, name = npz_of({"x": array, "other": np.zeros(3)}, save), "x"
    native = array.astype("i4")
    with mxio.open(data) as file:
        lazy = file[name]
        assert lazy.shape == (7, 6, 5)
        assert lazy.dtype == np.dtype("i4")
        for region in REGIONS:
            found = lazy.read(region)
            expected = native[... if region is None else region]
            assert same(np.ascontiguousarray(found), np.ascontiguousarray(expected)), region


def test_nothing_but_headers_is_read_until_an_array_is_asked_for() -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, 200_000, np.uint8)
    data = bytearray(npz_of({"noise": noise, "x": np.arange(3)}, np.savez_compressed))
    with zipfile.ZipFile(io.BytesIO(data)) as zipped:
        middle = zipped.getinfo("noise.npy").compress_size // 2
    data[middle : middle + 50] = b"\xff" * 50
    with mxio.open(bytes(data)) as file:
        assert file["noise"].shape == (200_000,)
        assert same(file["x"].read(), np.arange(3))
        with pytest.raises(mxio.FormatError):
            file["noise"].read()


def test_a_check_of_the_whole_file_names_what_is_damaged(tmp_path: Path) -> None:
    arrays = {"a": np.arange(1000), "b": np.arange(1000), "c": np.arange(1000)}
    data = bytearray(saved(tmp_path / "x.npz", arrays, format="npz"))
    assert mxio.verify(bytes(data)) == []
    data[data.index(b"b.npy") + 1000] ^= 1
    (damage,) = mxio.verify(bytes(data))
    assert damage.name == "b"
    assert "CRC-32 of the zip member" in damage.what


@pytest.mark.parametrize("compress", [False, True])
def test_mapped_arrays_are_the_same_arrays(compress: bool, tmp_path: Path) -> None:
    arrays = {"a": np.arange(1000.0), "F": np.asfortranarray(np.eye(5)), "0": np.zeros((0, 2))}
    path = tmp_path / "x.npz"
    mxio.save(path, arrays, format="npz", compress=compress)
    assert same(mxio.load(path, mmap=True), arrays)
    mxio.save(path, arrays["F"], format="npy")
    assert same(mxio.load(path, mmap=True), arrays["F"])


def test_arrays_of_a_file_go_into_another_as_they_are(tmp_path: Path) -> None:
    arrays = {
        "big": np.arange(3_000_000, dtype="<i4").reshape(1500, 2000),
        "F": np.asfortranarray(np.arange(2_000_000.0).reshape(1000, 2000)),
        "swapped": np.arange(2_000_000, dtype=">i4"),
        "text": np.array(["é", "ab"]),
        "none": np.zeros((0, 3)),
    }
    native = {name: a.astype(a.dtype.newbyteorder("=")) for name, a in arrays.items()}
    one, two, three = (tmp_path / name for name in ("one.npz", "two.mxio", "three.npz"))
    np.savez_compressed(one, **arrays)  # type: ignore[arg-type]
    mxio.copy(one, two)
    mxio.copy(two, three, format="npz")
    assert same(mxio.load(two), native)
    assert same(by_numpy(three.read_bytes()), native)
    np.save(tmp_path / "one.npy", arrays["F"])
    mxio.copy(tmp_path / "one.npy", tmp_path / "two.npy", format="npy")
    assert (tmp_path / "two.npy").read_bytes() == (tmp_path / "one.npy").read_bytes()


def test_the_version_says_how_members_are_packed(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", npy_of(np.arange(3)), zipfile.ZIP_STORED)
    with mxio.open(path) as reader:
        assert (reader.index.format, reader.index.version) == ("npz", "stored")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("b.npy", npy_of(np.arange(3)), zipfile.ZIP_DEFLATED)
    with mxio.open(path) as reader:
        assert reader.index.version == "stored and deflated"


# ---- other people's zips ---------------------------------------------------------------------


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_that_is_no_npy_is_an_array_of_bytes_and_a_folder_is_nothing(method: int) -> None:
    data = zip_of(
        {"a/": b"", "a/x.npy": npy_of(np.arange(3)), "read me": b"hello", "empty": b""}, method
    )
    assert same(
        mxio.loads(data),
        {
            "a/x": np.arange(3),
            "read me": np.frombuffer(b"hello", np.uint8),
            "empty": np.zeros(0, np.uint8),
        },
    )


def test_a_zip_of_something_else_is_said_to_be_that() -> None:
    with pytest.raises(mxio.FormatError, match=r"looks like a PyTorch file.*torch\.load"):
        mxio.loads(zip_of({"archive/data.pkl": b"\x80", "archive/data/0": b"12"}))
    with pytest.raises(mxio.FormatError, match=r"a zip without \.npy members"):
        mxio.loads(zip_of({"word/document.xml": b"<>"}))


def test_a_zip_may_have_a_comment_and_descriptors_behind_its_members() -> None:
    target = Forward()
    with zipfile.ZipFile(target, "w") as file:  # type: ignore[arg-type]
        file.writestr("a.npy", npy_of(np.arange(3)))
        file.comment = b"PK\5\6 is no end record here"
    assert same(mxio.loads(bytes(target.data)), {"a": np.arange(3)})


def test_names_of_old_zips_are_decoded_by_encoding() -> None:
    data = zip_of({"x1.npy": npy_of(np.arange(3))})
    old = data.replace(b"x1.npy", b"x\x81.npy")
    assert list(mxio.loads(old)) == ["xü"]  # code page 437
    assert list(mxio.load(old, encoding="latin-1")) == ["x\x81"]
    assert list(mxio.loads(data.replace(b"x1.npy", "é.npy".encode()))) == ["é"]


# ---- MXNet 2.0 -------------------------------------------------------------------------------


def parts_of(found: dict[str, Any]) -> dict[str, Any]:
    """Arrays in the words of expected.json."""
    told = {}
    for name, array in found.items():
        if isinstance(array, np.ndarray):
            told[name] = {
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                "hex": array.tobytes().hex(),
            }
        else:
            names = ["data", "indptr", "indices"] if array.stype == "csr" else ["data", "indices"]
            told[name] = {"stype": array.stype, "shape": list(array.shape)} | parts_of(
                {part: getattr(array, part) for part in names}
            )
    return told


@pytest.mark.parametrize("file", sorted(MXNET))
def test_files_of_mxnet_2_are_read(file: str) -> None:
    found = mxio.load(GOLDEN / file)
    assert parts_of(found if isinstance(found, dict) else {"": found}) == MXNET[file]


def test_parts_of_a_sparse_array_of_mxnet_2_are_entries() -> None:
    with mxio.open(GOLDEN / "npz_sparse.npz") as file:
        assert list(file) == ["d", "c/data", "c/indptr", "c/indices", "r/data", "r/indices"]
        assert file["c/indptr"][-1] == 4


def test_a_folder_that_only_looks_like_a_sparse_array_stays_arrays() -> None:
    names = ("data", "indptr", "indices", "shape", "format")
    arrays = {f"w/{name}": np.arange(2) for name in names}
    assert same(mxio.loads(npz_of(arrays)), arrays)
