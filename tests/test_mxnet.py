# SPDX-License-Identifier: Apache-2.0
"""Files of MXNet: every variant is read, and what is written is what MXNet writes.

The golden files were written by real releases, and their expectations read back by them;
tests/mxnet_files.py builds what no release wrote for us. Damage is for test_mxnet_corrupt.py,
the real library for test_mxnet_real.py.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mxnet_files as mxnet
import numpy as np
import pytest
from mxnet_files import EXPECTED, GOLDEN, check

import mxio
from mxio import nd

Array = np.ndarray[Any, Any]

RECORDS = [name for name, wants in EXPECTED.items() if "versions" in wants]
WRITTEN_BACK = [
    (name, version)
    for name, wants in EXPECTED.items()
    for version in wants.get("written_back_as", [])
]
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def bytes_of(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


# ---- reading ---------------------------------------------------------------------------------

WAYS: dict[str, Callable[[Path], Any]] = {
    "load": mxio.load,
    "load_mapped": lambda path: mxio.load(path, mmap=True),
    "load_of_a_file_object": lambda path: mxio.load(io.BytesIO(path.read_bytes())),
    "loads_of_bytes": lambda path: mxio.loads(path.read_bytes()),
    "loads_of_a_bytearray": lambda path: mxio.loads(bytearray(path.read_bytes())),
    "loads_of_a_memoryview": lambda path: mxio.loads(memoryview(path.read_bytes())),
    "nd_load": lambda path: nd.load(path),
    "nd_load_mapped": lambda path: nd.load(path, mmap=True),
    "nd_load_frombuffer": lambda path: nd.load_frombuffer(path.read_bytes()),
    "nd_load_frombuffer_of_a_memoryview": lambda path: nd.load_frombuffer(
        memoryview(path.read_bytes())
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_of_a_real_release_is_read(name: str, way: str) -> None:
    mxnet.needs_ml_dtypes(EXPECTED[name])
    check(WAYS[way](GOLDEN / name), EXPECTED[name])


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_is_known_by_what_it_holds_not_by_its_name(name: str, tmp_path: Path) -> None:
    mxnet.needs_ml_dtypes(EXPECTED[name])
    path = tmp_path / "photo.safetensors.mxio.npz.jpg"
    path.write_bytes(bytes_of(name))
    check(mxio.load(path), EXPECTED[name])


@pytest.mark.parametrize("name", RECORDS)
def test_the_index_says_what_is_in_the_file(name: str) -> None:
    wants = EXPECTED[name]
    parts = mxnet.parts(wants)
    with mxio.open(GOLDEN / name) as file:
        assert file.index.format == "mxnet"
        for version in wants["versions"]:
            assert version in file.index.version
        assert file.metadata == {}
        assert list(file) == list(parts)
        for entry_name, part in parts.items():
            entry = file.index[entry_name]
            assert entry.dtype == part["dtype"]
            assert list(entry.shape) == part["shape"]
            raw = mxnet.raw(mxnet.wanted(part))
            assert entry.nbytes == len(raw)
            assert not raw or bytes_of(name)[entry.offset :].startswith(raw)


@pytest.mark.parametrize("name", RECORDS)
def test_one_array_is_read_alone(name: str) -> None:
    mxnet.needs_ml_dtypes(EXPECTED[name])
    parts = mxnet.parts(EXPECTED[name])
    with mxio.open(GOLDEN / name) as file:
        for entry_name in reversed(parts):
            part = parts[entry_name]
            lazy = file[entry_name]
            assert (lazy.shape, lazy.dtype.name) == (tuple(part["shape"]), part["dtype"])
            mxnet.check_array(lazy.read(), part)
            mxnet.check_array(mxio.load(GOLDEN / name, [entry_name])[entry_name], part)


def test_a_region_of_an_array_is_read(tmp_path: Path) -> None:
    big = np.arange(3000 * 41, dtype=np.int32).reshape(3000, 41)
    path = tmp_path / "f"
    path.write_bytes(mxnet.file([mxnet.dense(X), mxnet.dense(big, "V1")], ["x", "big"]))
    with mxio.open(path) as file:
        lazy = file["big"]
        for region in (np.s_[7], np.s_[-1, 3], np.s_[5:2900:3], np.s_[..., ::-2], np.s_[10:1000]):
            assert np.array_equal(lazy[region], big[region])
        out = np.empty((4, 41), np.int32)
        lazy.read(np.s_[4:8], out=out)
        assert np.array_equal(out, big[4:8])


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_of_a_real_release_is_sound(name: str) -> None:
    assert mxio.verify(GOLDEN / name) == []


@pytest.mark.parametrize("name", RECORDS)
def test_what_was_read_can_be_saved_as_mxio(name: str, tmp_path: Path) -> None:
    mxnet.needs_ml_dtypes(EXPECTED[name])
    mxio.save(tmp_path / "saved.mxio", mxio.load(GOLDEN / name))
    check(mxio.load(tmp_path / "saved.mxio"), EXPECTED[name])


@pytest.mark.parametrize("name", RECORDS)
def test_a_file_is_copied_to_mxio_array_by_array(name: str, tmp_path: Path) -> None:
    mxnet.needs_ml_dtypes(EXPECTED[name])
    mxio.copy(GOLDEN / name, tmp_path / "copy.mxio")
    check(mxio.load(tmp_path / "copy.mxio"), EXPECTED[name])


def test_sparse_arrays_become_what_mxnet_makes_of_them() -> None:
    n_sparse = 0
    for name, wants in EXPECTED.items():
        for item, entry in zip(mxio.load(GOLDEN / name), wants["entries"], strict=False):
            if "dense" in entry:
                n_sparse += 1
                mxnet.check_array(item.toarray(), entry["dense"])
    assert n_sparse > 15


def test_loaded_arrays_own_their_memory_and_are_writable(tmp_path: Path) -> None:
    path = tmp_path / "f"
    data = bytes_of("1.9.1/same_array_twice.params")
    path.write_bytes(data)
    for mmap in (False, True):
        first, second = mxio.load(path, mmap=mmap)
        first += 1
        assert not np.array_equal(first, second)
        assert path.read_bytes() == data


def test_a_none_array_between_others_is_none() -> None:
    """MXNet 1.5 and later misread these files, some without an error."""
    y = np.arange(3, dtype=np.int32)
    for version in ("V0", "V1"):
        records = [mxnet.dense(X, version), mxnet.none(version), mxnet.dense(y, version)]
        x, nothing, z = mxio.loads(mxnet.file(records))
        assert np.array_equal(x, X)
        assert nothing is None
        assert np.array_equal(z, y)
        named = mxio.loads(mxnet.file(records, "abc"))
        assert list(named) == ["a", "b", "c"]
        assert named["b"] is None
        assert np.array_equal(named["c"], y)
        only = mxio.loads(mxnet.file([mxnet.none(version)] * 2))
        assert only == [None, None]


SCALARS = [
    np.float32(5),
    np.float32(0),
    np.float64(-1.5),
    np.int64(1),
    np.uint8(3),
    np.int32(0),
    np.float16(2),
]


@pytest.mark.parametrize("value", SCALARS, ids=lambda value: f"{value.dtype}_{value}")
def test_an_array_without_dimensions_of_mxnet_1_5_is_read(value: Any) -> None:
    """MXNet 1.5 to 1.9.1 write such V2 records, and misread them."""
    scalar = mxnet.dense(value)
    others = [mxnet.dense(X), mxnet.sparse("row_sparse", (4, 2), np.ones((1, 2)), np.array([3]))]
    for records, place in (([scalar], 0), ([scalar, *others], 0), ([*others, scalar], 2)):
        for names in ([], ["x", "", "n"][: len(records)]):
            got = mxio.loads(mxnet.file(records, names))
            assert type(got) is (dict if names else list)
            found = list(got.values())[place] if names else got[place]
            assert (found.shape, found.dtype, found[()]) == ((), value.dtype, value)
    three = mxio.loads(mxnet.file([scalar, scalar, scalar]))
    assert [item[()] for item in three] == [value] * 3


def test_records_of_all_variants_stand_in_one_file() -> None:
    versions = ["V2", "V0", "V3", "V1", "V0"]
    arrays = [X + number for number in range(len(versions))]
    records = [mxnet.dense(a, v) for a, v in zip(arrays, versions, strict=True)]
    for got, array in zip(mxio.loads(mxnet.file(records)), arrays, strict=True):
        assert np.array_equal(got, array)


@pytest.mark.parametrize("version", ["V0", "V1", "V2", "V3"])
@pytest.mark.parametrize("dtype", [name for name in mxnet.CODES if name != "bfloat16"])
def test_every_dtype_of_every_variant_is_read(version: str, dtype: str) -> None:
    rng = np.random.default_rng(1)
    items = rng.integers(0, 2 if dtype == "bool" else 256, 48, np.uint8).astype(np.uint8)
    array = (items.astype(bool) if dtype == "bool" else items.view(dtype)).reshape(2, -1)
    (got,) = mxio.loads(mxnet.file([mxnet.dense(array, version)]))
    assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_64_dimensions_are_read() -> None:
    (got,) = mxio.loads(mxnet.file([mxnet.dense(np.ones((1,) * 64, np.int8))]))
    assert got.shape == (1,) * 64


@pytest.mark.parametrize("ctx", [(3, 0), (1, 3), (5, 0), (2, 7), (0, 0), (-1, -1), (99, 1000)])
def test_the_device_of_a_file_means_nothing_here(ctx: tuple[int, int]) -> None:
    (got,) = mxio.loads(mxnet.file([mxnet.dense(X, ctx=ctx)]))
    assert np.array_equal(got, X)


# ---- names -----------------------------------------------------------------------------------


def test_any_utf8_name_is_a_name() -> None:
    names = ["", " ", "a\nb", "a/b", "../..", "é", "权重", "😀", "x" * 1000, "arg:w", "0"]
    got = mxio.loads(mxnet.file([mxnet.dense(X)] * len(names), names))
    assert list(got) == names


def test_of_two_arrays_of_one_name_the_last_wins_in_the_first_place() -> None:
    records = [mxnet.dense(np.full(n + 1, n, np.int32)) for n in range(4)]
    got = mxio.loads(mxnet.file(records, ["a", "b", "a", "c"]))
    assert list(got) == ["a", "b", "c"]
    assert got["a"].tolist() == [2, 2, 2]
    with mxio.open(mxnet.file(records, ["a", "b", "a", "c"])) as file:
        assert file["a"].read().tolist() == [2, 2, 2]


def test_a_name_that_is_not_utf8_is_an_error_that_says_encoding(tmp_path: Path) -> None:
    data = mxnet.file([mxnet.dense(X), mxnet.dense(X)], ["w", "gr\xfc\xdfe".encode("latin-1")])
    path = tmp_path / "python2.params"
    path.write_bytes(data)
    ways: list[Callable[[], Any]] = [
        lambda: mxio.load(path),
        lambda: mxio.open(path),
        lambda: mxio.loads(data),
        lambda: nd.load(path),
    ]
    for way in ways:
        with pytest.raises(mxio.FormatError, match=r"(?s)gr.*encoding=") as caught:
            way()
        assert caught.value.offset == data.index(b"gr\xfc")
    assert list(mxio.load(path, encoding="latin-1")) == ["w", "grüße"]
    with mxio.open(path, encoding="latin-1") as file:
        assert np.array_equal(file["grüße"].read(), X)
    with pytest.raises(ValueError, match="no such"):
        mxio.load(path, encoding="no such")


def test_an_encoding_that_cannot_read_the_name_is_said() -> None:
    data = mxnet.file([mxnet.dense(X)], [b"\xff\xfe"])
    with pytest.raises(mxio.FormatError, match="encoding"):
        mxio.loads(data, encoding="ascii")


def test_a_name_with_nul_is_an_error_that_says_encoding() -> None:
    """MXNet cuts it there; two names may become one."""
    data = mxnet.file([mxnet.dense(X)], [b"ab\0cd"])
    with pytest.raises(mxio.FormatError, match=r"(?s)ab.*encoding=") as caught:
        mxio.loads(data)
    assert caught.value.offset == data.index(b"ab\0cd")
    assert list(mxio.loads(data, encoding="utf-8")) == ["ab"]


def test_encoding_changes_nothing_where_names_are_plain() -> None:
    for name in ("1.9.1/dict_xy.params", "1.9.1/list_two.params"):
        if name in EXPECTED:
            check(mxio.load(GOLDEN / name, encoding="latin-1"), EXPECTED[name])


# ---- what mxio says of odd files -------------------------------------------------------------


@pytest.mark.parametrize("way", ["load", "nd_load", "loads_of_bytes"])
def test_what_mxnet_ignores_is_said_in_a_warning(way: str, tmp_path: Path) -> None:
    sound = mxnet.file([mxnet.dense(X)], ["x"])
    for data in (sound + b"\0", sound + sound, mxnet.file([mxnet.dense(X)], ["x"], 7)):
        path = tmp_path / "odd.params"
        path.write_bytes(data)
        with pytest.warns(mxio.FormatWarning) as caught:
            got = WAYS[way](path)
        assert len(caught) == 1
        assert np.array_equal(np.asarray(got["x"]), X)
    assert issubclass(mxio.FormatWarning, UserWarning)


def test_a_warning_can_be_made_an_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", mxio.FormatWarning)
        with pytest.raises(mxio.FormatWarning):
            mxio.loads(mxnet.file([mxnet.dense(X)]) + b"\0")


# ---- writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "version"), WRITTEN_BACK)
def test_what_was_read_is_written_back_byte_for_byte(
    name: str, version: int, tmp_path: Path
) -> None:
    mxnet.needs_ml_dtypes(EXPECTED[name])
    told: dict[str, Any] = {} if version == 2 else {"version": version}
    path, wanted = tmp_path / "back.params", bytes_of(name)
    mxio.save(path, mxio.load(GOLDEN / name), format="mxnet", **told)
    assert path.read_bytes() == wanted
    mxio.save(path, mxio.load(GOLDEN / name, mmap=True), format="mxnet", threads=1, **told)
    assert path.read_bytes() == wanted
    stream = io.BytesIO()
    mxio.save(stream, mxio.load(GOLDEN / name), format="mxnet", **told)
    assert stream.getvalue() == wanted
    nd.save(str(path), nd.load(GOLDEN / name), format="mxnet", **told)
    assert path.read_bytes() == wanted
    mxio.copy(GOLDEN / name, tmp_path / "copy.params", format="mxnet", **told)
    assert (tmp_path / "copy.params").read_bytes() == wanted


def test_most_golden_files_are_written_back() -> None:
    versions = [version for _, version in WRITTEN_BACK]
    assert versions.count(2) > 35
    assert versions.count(3) > 8


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "c": lambda a: a,
    "fortran": np.asfortranarray,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "every_other": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "big_endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "big_endian_fortran": lambda a: np.asfortranarray(a.astype(a.dtype.newbyteorder(">"))),
    "misaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "read_only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("version", [2, 3])
def test_an_array_is_written_in_c_order_however_it_lies(
    layout: str, version: int, tmp_path: Path
) -> None:
    for shape in ((3, 5), (1500, 1021)):  # the second is larger than what is gathered at once
        plain = np.random.default_rng(2).integers(-(2**31), 2**31, shape).astype(np.int32)
        array = LAYOUTS[layout](plain)
        mxio.save(tmp_path / "f", {"w": array}, format="mxnet", version=version)
        assert (tmp_path / "f").read_bytes() == mxnet.file(
            [mxnet.dense(array, f"V{version}")], ["w"]
        )


@pytest.mark.parametrize("dtype", mxnet.CODES)
def test_every_dtype_that_mxnet_knows_is_written(dtype: str, tmp_path: Path) -> None:
    if dtype == "bfloat16":
        kind = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    else:
        kind = np.dtype(dtype)
    array = np.arange(6).reshape(2, 3).astype(kind)
    mxio.save(tmp_path / "f", [array], format="mxnet")
    assert (tmp_path / "f").read_bytes() == mxnet.file([mxnet.dense(array)])
    (got,) = mxio.load(tmp_path / "f")
    assert (got.dtype, got.tobytes()) == (kind, array.tobytes())


def test_containers_are_written_as_mxnet_does(tmp_path: Path) -> None:
    path = tmp_path / "f"
    x, y = X, np.arange(3, dtype=np.int8)
    cases: list[tuple[Any, bytes]] = [
        (x, mxnet.file([mxnet.dense(x)])),
        ([x], mxnet.file([mxnet.dense(x)])),
        ([x, y, x], mxnet.file([mxnet.dense(x), mxnet.dense(y), mxnet.dense(x)])),
        ({"y": y, "x": x}, mxnet.file([mxnet.dense(y), mxnet.dense(x)], ["y", "x"])),
        ({"": x, "ключ/a b\n": x}, mxnet.file([mxnet.dense(x)] * 2, ["", "ключ/a b\n"])),
        ([], mxnet.file([])),
        ({}, mxnet.file([])),
        ([np.zeros((0, 3), np.float32)], mxnet.file([mxnet.dense(np.zeros((0, 3), np.float32))])),
    ]
    for arrays, data in cases:
        mxio.save(path, arrays, format="mxnet")
        assert path.read_bytes() == data
        nd.save(path, arrays, format="mxnet")
        assert path.read_bytes() == data


def test_arrays_without_dimensions_and_items_are_written_as_version_3(tmp_path: Path) -> None:
    arrays = {"s": np.array(2.5), "z": np.zeros((2, 0, 3), np.int64)}
    mxio.save(tmp_path / "f", arrays, format="mxnet", version=3)
    data = mxnet.file([mxnet.dense(a, "V3") for a in arrays.values()], arrays)
    assert (tmp_path / "f").read_bytes() == data
    got = mxio.load(tmp_path / "f")
    assert (got["s"].shape, got["s"][()], got["z"].shape) == ((), 2.5, (2, 0, 3))


def test_arrays_without_dimensions_are_written_as_mxnet_1_9_does(tmp_path: Path) -> None:
    """MXNet cannot read them, but these are its bytes."""
    mxio.save(tmp_path / "f", [np.array(5, np.float32)], format="mxnet")
    assert (tmp_path / "f").read_bytes() == bytes_of("1.9.1/zero_dim.params")


def test_sparse_arrays_are_written_as_mxnet_does(tmp_path: Path) -> None:
    csr = mxnet.sparse(
        "csr", (3, 4), np.array([1, 2], np.float16), np.array([0, 1, 1, 2]), np.array([3, 0])
    )
    rsp = mxnet.sparse("row_sparse", (5, 2, 2), np.ones((2, 2, 2)), np.array([0, 4]))
    data = mxnet.file([csr, mxnet.dense(X), rsp], ["c", "x", "r"])
    arrays = mxio.loads(data)
    assert arrays["c"].toarray().tolist() == [[0, 0, 0, 1], [0] * 4, [2, 0, 0, 0]]
    mxio.save(tmp_path / "f", arrays, format="mxnet")
    assert (tmp_path / "f").read_bytes() == data


def test_indices_of_another_integer_dtype_are_written_as_int64(tmp_path: Path) -> None:
    """As MXNet's constructors cast them."""
    narrow = mxnet.sparse("row_sparse", (5, 2), np.ones((2, 2)), np.array([0, 4], np.int32))
    wide = mxnet.sparse("row_sparse", (5, 2), np.ones((2, 2)), np.array([0, 4], np.int64))
    mxio.save(tmp_path / "f", mxio.loads(mxnet.file([narrow])), format="mxnet")
    assert (tmp_path / "f").read_bytes() == mxnet.file([wide])


def test_many_and_large_arrays_are_written_the_same_for_any_number_of_threads(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(3)
    arrays = {f"w{n}": rng.random((n % 50, 7)).astype(np.float32) for n in range(3000)}
    arrays["large"] = np.asfortranarray(rng.random((1200, 1100)))
    data = mxnet.file([mxnet.dense(a) for a in arrays.values()], arrays)
    for threads in (1, 3):
        mxio.save(tmp_path / "f", arrays, format="mxnet", threads=threads)
        assert (tmp_path / "f").read_bytes() == data
    got = mxio.load(tmp_path / "f", threads=3)
    assert list(got) == list(arrays)
    assert all(np.array_equal(got[name], arrays[name]) for name in arrays)


# ---- refusals --------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "complex": ({"fine": X, "spectrum": X + 1j}, {}, "spectrum"),
    "complex_in_a_list": ([X, X.astype(np.complex64)], {}, "1"),
    "str": ({"fine": X, "words": np.array(["a", "b"])}, {}, "words"),
    "bytes_array": ({"words": np.array([b"a"])}, {}, "words"),
    "dates": ({"when": np.array(["2020-01-01"], "datetime64[D]")}, {}, "when"),
    "nul_in_a_name": ({"fine": X, "a\0b": X}, {}, "a"),
    "tree": ({"fine": X, "layers": [X, X]}, {}, "layers"),
    "dict_in_a_list": ([X, {"w": X}], {}, "1"),
    "number": ({"fine": X, "step": 7}, {}, "step"),
    "text": ([X, "text"], {}, "1"),
    "none": ({"fine": X, "nothing": None}, {}, "nothing"),
    "none_in_a_list": ([X, None], {}, "1"),
    "a_number_for_a_key": ({"fine": X, 3: X}, {}, "3"),
    "metadata": ({"fine": X}, {"metadata": {"epoch": "3"}}, "metadata"),
    "version_1": ({"fine": X}, {"version": 1}, "version"),
    "version_4": ({"fine": X}, {"version": 4}, "version"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_mxnet_cannot_say_is_refused_by_name_before_anything_is_written(
    case: str, tmp_path: Path
) -> None:
    arrays, told, named = REFUSED[case]
    path = tmp_path / "old.params"
    path.write_bytes(b"what was here")
    with pytest.raises((TypeError, ValueError), match=named):
        mxio.save(path, arrays, format="mxnet", **told)
    assert path.read_bytes() == b"what was here"
    assert os.listdir(tmp_path) == ["old.params"]
    stream = io.BytesIO()
    with pytest.raises((TypeError, ValueError), match=named):
        mxio.save(stream, arrays, format="mxnet", **told)
    assert stream.getvalue() == b""


def test_a_sparse_array_is_refused_in_version_3(tmp_path: Path) -> None:
    arrays = mxio.load(GOLDEN / "1.9.1/csr_2d.params")
    with pytest.raises((TypeError, ValueError), match="version"):
        mxio.save(tmp_path / "f", arrays, format="mxnet", version=3)
    assert os.listdir(tmp_path) == []


def test_an_option_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError), match="compress"):
        mxio.save(tmp_path / "f", [X], format="mxnet", compress=True)
    with pytest.raises((TypeError, ValueError), match="mxnett"):
        mxio.save(tmp_path / "f", [X], format="mxnett")
    assert os.listdir(tmp_path) == []


def test_nd_save_refuses_what_mxnet_refuses(tmp_path: Path) -> None:
    for data in ((X, X), None, "x", iter([X])):
        with pytest.raises(ValueError, match="data needs to either be"):
            nd.save(tmp_path / "f", data, format="mxnet")
    for data in ([X, None], {"a": [X]}, {1: X}):
        with pytest.raises(TypeError, match="save only accept"):
            nd.save(tmp_path / "f", data, format="mxnet")
    assert os.listdir(tmp_path) == []
