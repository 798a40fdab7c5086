# SPDX-License-Identifier: Apache-2.0
"""Damaged files of MXNet: an error that says where, or the right arrays; never more memory.

The format has no checksums and no lengths, so damage inside of values is not to be seen, but
every cut, every count, every size and every code is. What is right for each of the damaged
files was decided from the layout, with MXNet 1.9.1 beside it (tests/golden/mxnet/README.md).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mxnet_files as mxnet
import numpy as np
import pytest
from mxnet_files import EXPECTED, GOLDEN, MALFORMED, i32, shape64, u32, u64

import mxio

ROOT = str(Path(mxio.__file__).parents[1])
X = np.arange(6, dtype=np.float32).reshape(2, 3)
RECORD = mxnet.dense(X)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_damaged_file_is_an_error_or_the_right_arrays(name: str) -> None:
    wants = MALFORMED[name]
    path = GOLDEN / "malformed" / f"{name}.params"
    if wants["outcome"] == "reads":
        mxnet.check(mxnet.read(path), wants)
        return
    data = path.read_bytes()
    error = caught(path)
    if error is None:
        assert wants["outcome"] == "either"
        mxnet.check(mxio.load(path), wants)
        return
    assert error.offset is not None or data.startswith(b"PK")
    assert error.offset is None or 0 <= error.offset <= len(data)
    assert path.name in str(error)
    assert "\n" not in str(error)
    assert wants.get("mentions", "") in str(error)
    # By another way in: the same place, or it would be one way's own.
    other = caught(data)
    assert other is not None
    assert other.offset == error.offset
    if data.startswith(u64(mxnet.LIST_MAGIC)):
        (damage,) = mxio.verify(path)
        assert (damage.offset, damage.what) == (error.offset, str(error))


def caught(source: Any) -> mxio.FormatError | None:
    try:
        mxio.load(source)
    except mxio.FormatError as error:
        return error
    return None


def test_there_are_damaged_files_of_every_kind() -> None:
    outcomes = [wants["outcome"] for wants in MALFORMED.values()]
    counts = {outcome: outcomes.count(outcome) for outcome in outcomes}
    assert counts == {"error": 48, "reads": 34, "either": 7}


# ---- one process for many files, under a bound of memory --------------------------------------

BOUND = """
import json, os, resource, sys, warnings
import numpy as np
import mxio
import mxnet_files as mxnet
from mxnet_files import GOLDEN, EXPECTED, MALFORMED

warnings.simplefilter("ignore", mxio.FormatWarning)
try:
    import ml_dtypes
except ImportError:
    pass

def bounded(nbytes):
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + nbytes, now + nbytes))

def outcome(data):
    try:
        got = mxio.loads(data, threads=1)
    except mxio.FormatError as error:
        ok = error.offset is not None and 0 <= error.offset <= len(data)
        return "error" if ok else f"FormatError with offset {error.offset}: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "arrays"

def records():
    return [name for name, wants in EXPECTED.items() if "versions" in wants]

failures = []
n = 0
"""
REPORT = "\nprint(json.dumps([n, failures[:20], len(failures)]))\n"


def run(code: str, *words: str) -> list[Any]:
    here = str(Path(__file__).parent)
    env = os.environ | {"PYTHONPATH": os.pathsep.join((ROOT, here)), "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", BOUND + code + REPORT, *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    n, failures, n_failures = json.loads(done.stdout)
    assert not failures, f"{n_failures} of {n}: " + "\n".join(map(str, failures))
    return [n]


linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is bounded as Linux does it"
)


@linux
def test_every_truncation_of_every_file_is_an_error() -> None:
    """Also of one whose first part could be taken for a whole: nothing is guessed from a part."""
    (n,) = run("""
bounded(64 << 20)
for name in records():
    whole = (GOLDEN / name).read_bytes()
    step = 1 if len(whole) < 2000 else 13
    tail = range(max(0, len(whole) - 700), len(whole))
    for length in sorted({*range(0, len(whole), step), *tail}):
        n += 1
        said = outcome(whole[:length])
        if said != "error":
            failures.append([name, length, said])
for value in (np.float32(0), np.int32(0), np.float64(0), np.float32(5)):
    for names in ([], ["x"], [""]):
        whole = mxnet.file([mxnet.dense(value)], names)
        for length in range(len(whole)):
            n += 1
            said = outcome(whole[:length])
            if said != "error":
                failures.append([repr(value), names, length, said])
""")
    assert n > 20_000


@linux
def test_no_damaged_file_makes_us_ask_for_memory() -> None:
    run("""
bounded(64 << 20)
for stem, wants in MALFORMED.items():
    n += 1
    said = outcome((GOLDEN / "malformed" / f"{stem}.params").read_bytes())
    right = {"error": ["error"], "reads": ["arrays"], "either": ["error", "arrays"]}
    if said not in right[wants["outcome"]] and stem != "not_params_zip":
        failures.append([stem, said])
""")


@linux
def test_no_changed_byte_makes_us_crash_or_ask_for_memory() -> None:
    (n,) = run("""
bounded(64 << 20)
rng = np.random.default_rng(4)
for name in records():
    whole = (GOLDEN / name).read_bytes()
    if len(whole) > 700:
        continue
    for place in range(len(whole)):
        for change in (0xFF, 0x80, 0x01, int(rng.integers(1, 256))):
            damaged = bytearray(whole)
            damaged[place] ^= change
            n += 1
            said = outcome(bytes(damaged))
            if said not in ("error", "arrays"):
                failures.append([name, place, change, said])
""")
    assert n > 20_000


@linux
def test_no_word_of_a_record_makes_us_crash_or_ask_for_memory() -> None:
    """Every 4 and 8 bytes of small files, replaced by numbers at the limits."""
    run("""
bounded(64 << 20)
words = [0, 1, 2, 3, 64, 65, 2**16, 2**31 - 1, 2**31, 2**32 - 1]
longs = [0, 1, 2**31, 2**32, 2**40, 2**60, 2**61 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
for name in ("0.9.5/dict_xy", "0.11.0/dict_xy", "1.9.1/dict_xy", "1.9.1/np_dict",
             "1.9.1/csr_2d", "1.9.1/rsp_3d", "1.9.1/mixed_sparse_list", "1.9.1/zero_dim"):
    whole = (GOLDEN / f"{name}.params").read_bytes()
    for size, values in ((4, words), (8, longs)):
        for place in range(0, len(whole) - size + 1):
            for value in values:
                n += 1
                damaged = whole[:place] + value.to_bytes(size, "little") + whole[place + size :]
                said = outcome(damaged)
                if said not in ("error", "arrays"):
                    failures.append([name, place, value, said])
""")


@linux
def test_one_array_is_read_from_a_file_that_does_not_fit_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.params"
    big = u32(mxnet.MAGIC["V2"], 0) + shape64((1 << 31,)) + i32(*mxnet.CPU, 0)
    tail = RECORD + u64(2) + u64(3) + b"big" + u64(1) + b"x"
    with open(path, "wb") as file:
        file.write(u64(mxnet.LIST_MAGIC, 0, 2) + big)
        file.seek(8 << 30, os.SEEK_CUR)
        file.write(tail)
    run(
        """
path = sys.argv[1]
bounded(256 << 20)
with mxio.open(path, threads=1) as file:
    n += 1
    if list(file) != ["big", "x"] or file["x"].read().tolist() != [[0, 1, 2], [3, 4, 5]]:
        failures.append("x")
    if file["big"].shape != (1 << 31,) or file["big"][-3:].tolist() != [0, 0, 0]:
        failures.append("big")
if mxio.load(path, ["x"], threads=1)["x"].shape != (2, 3):
    failures.append("load")
""",
        str(path),
    )


# ---- what is wrong, said -----------------------------------------------------------------------


def refused(data: bytes) -> mxio.FormatError:
    with pytest.raises(mxio.FormatError) as info:
        mxio.loads(data)
    error = info.value
    assert error.offset is not None
    assert 0 <= error.offset <= len(data)
    assert f"{error.offset}" in str(error)
    return error


def test_a_cut_array_is_named_by_its_place() -> None:
    sound = mxnet.file([RECORD, RECORD])
    error = refused(sound[: 24 + len(RECORD) + 40])
    assert 24 + len(RECORD) <= (error.offset or 0) <= 24 + len(RECORD) + 40


def test_a_count_of_names_that_fits_nothing_is_refused_where_it_stands() -> None:
    for names in (["a"], ["a", "b", "c"]):
        data = mxnet.file([RECORD, RECORD], names)
        assert refused(data).offset == 24 + 2 * len(RECORD)


def test_unknown_codes_are_refused_where_they_stand() -> None:
    at_dtype = 24 + len(RECORD) - X.nbytes - 4
    for code in (13, 77, -1, 2**31 - 1, -(2**31)):
        data = bytearray(mxnet.file([RECORD]))
        data[at_dtype : at_dtype + 4] = i32(code)
        assert refused(bytes(data)).offset == at_dtype
    for stype in (-1, 3, 99):
        data = bytearray(mxnet.file([RECORD]))
        data[28:32] = i32(stype)
        assert refused(bytes(data)).offset == 28


SHAPES = [
    (-1, 3),
    (-(2**63),),
    (2**63 - 1,),
    (2**62, 2),
    (2**62, 4),
    (2**32, 2**32),
    (2**31, 2**31, 2**2),
    (3, 2**61),
    (2**40,),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("version", ["V1", "V2", "V3"])
def test_a_shape_that_overflows_or_is_too_large_is_refused(
    shape: tuple[int, ...], version: str
) -> None:
    stype = b"" if version == "V1" else i32(0)
    if version == "V3" and min(shape) < 0:
        return  # an unknown shape, which is a none array there
    record = u32(mxnet.MAGIC[version]) + stype + shape64(shape) + i32(*mxnet.CPU, 0) + b"\0" * 64
    refused(mxnet.file([record]))


def test_a_zero_does_not_excuse_the_other_dimensions() -> None:
    """(2^62, 2^62, 0) has no bytes, and no array either."""
    record = u32(mxnet.MAGIC["V2"], 0) + shape64((2**62, 2**62, 0)) + i32(*mxnet.CPU, 0)
    refused(mxnet.file([record]))


def test_more_than_64_dimensions_are_refused() -> None:
    for version in ("V0", "V1", "V2", "V3"):
        for ndim in (65, 1000):
            dims = (1,) * ndim
            tail = i32(*mxnet.CPU, 0) + b"\0\0\0\0"
            if version == "V0":
                record = u32(ndim, *dims) + tail
            else:
                stype = b"" if version == "V1" else i32(0)
                record = u32(mxnet.MAGIC[version]) + stype + shape64(dims) + tail
            assert "64" in str(refused(mxnet.file([record])))


def test_sparse_arrays_of_impossible_sizes_are_refused() -> None:
    good = mxnet.sparse("row_sparse", (6, 4), np.ones((2, 4)), np.array([1, 4]))
    place = good.index(i32(6) + shape64((2,))) + 8
    for rows in (3, 2**32, 2**40, 2**61, 2**62, 2**63 - 1):
        data = bytearray(good)
        data[place : place + 8] = u64(rows)
        refused(mxnet.file([bytes(data)]))
    good = mxnet.sparse("csr", (3, 4), np.ones(3), np.array([0, 1, 1, 3]), np.array([0, 1, 3]))
    for count in (4, 3):
        place = good.index(i32(6) + shape64((count,))) + 8
        for wrong in (2**32, 2**60, 2**61, 2**63 - 1):
            data = bytearray(good)
            data[place : place + 8] = u64(wrong)
            refused(mxnet.file([bytes(data)]))


def test_the_indices_say_how_many_rows_are_stored() -> None:
    """MXNet reads a file whose own count of rows is absurd."""
    good = mxnet.sparse("row_sparse", (6, 4), np.ones((2, 4)), np.array([1, 4]))
    data = bytearray(good)
    assert data[12:20] == u64(2)
    data[12:20] = u64(1 << 40)
    (got,) = mxio.loads(mxnet.file([bytes(data)]))
    assert (got.data.shape, got.indices.tolist()) == ((2, 4), [1, 4])


def test_a_length_of_a_name_beyond_the_file_is_refused_where_it_stands() -> None:
    for length in (2, 2**31, 2**63, 2**64 - 1):
        data = mxnet.file([RECORD])[:-8] + u64(1) + u64(length) + b"x"
        error = refused(data)
        assert len(data) - 9 <= (error.offset or 0) <= len(data)


def test_more_arrays_than_bytes_are_refused_at_once() -> None:
    for count in (2, 2**20, 2**32, 2**60, 2**64 - 1):
        errors = [refused(u64(mxnet.LIST_MAGIC, 0, count))]
        error = refused(u64(mxnet.LIST_MAGIC, 0, count) + RECORD)
        if count > len(RECORD) // 4:
            errors.append(error)
        for error in errors:  # before any record is looked for
            assert error.offset == 16
            assert "more arrays than fit" in str(error)


@pytest.mark.parametrize("name", ["V1 none", "V0 none"])
def test_many_records_of_nothing_cost_what_the_file_costs(name: str) -> None:
    n = 100_000
    record = mxnet.none("V0") if name == "V0 none" else mxnet.none("V1")
    got = mxio.loads(mxnet.file([record] * n))
    assert got == [None] * n


def test_more_records_of_nothing_than_anybody_has_are_refused() -> None:
    data = mxnet.file([mxnet.none("V0")] * (2**20 + 1))
    assert "more than a million records" in str(refused(data))


def test_a_record_of_v3_is_dense_and_may_not_know_its_shape() -> None:
    v3 = 0xF993FACA
    sparse = mxnet.file([u32(v3) + i32(1) + bytes(40)])
    assert "a record of V3 is not dense" in str(refused(sparse))
    assert mxio.loads(mxnet.file([u32(v3) + i32(0, -1), RECORD]))[0] is None


def test_a_name_that_is_too_long_is_refused() -> None:
    for n in (65536, 300_000):
        with pytest.raises(mxio.UnsupportedError, match="more than 65535 bytes"):
            mxio.loads(mxnet.file([RECORD], ["x" * n]))


def test_a_record_alone_is_no_file() -> None:
    for version in ("V0", "V1", "V2", "V3"):
        with pytest.raises(mxio.FormatError):
            mxio.loads(mxnet.dense(X, version))


def test_a_file_that_is_cut_after_it_was_opened_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "f"
    big = np.zeros(1 << 20, np.float32)
    path.write_bytes(mxnet.file([mxnet.dense(big), RECORD], ["big", "x"]))
    with mxio.open(path) as file:
        os.truncate(path, 1000)
        for lazy in (file["big"], file["x"]):
            with pytest.raises(mxio.FormatError):
                lazy.read()


def test_verify_says_what_is_wrong_with_a_cut_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(mxnet.file([RECORD], ["x"])[:-3])
    (damage,) = mxio.verify(path)
    assert damage.name is None
    assert damage.offset is not None
    assert str(path.name) in damage.what


def test_every_golden_file_was_looked_at() -> None:
    stored = {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*.params")}
    damaged = {f"malformed/{name}.params" for name in MALFORMED}
    assert stored == set(EXPECTED) | damaged
