# SPDX-License-Identifier: Apache-2.0
"""Every way for a file to be invalid is an error of mxio's, and never anything else.

The rows of broken.py; then every truncation and every flipped bit of small files, every byte of
an index changed under right checksums, and numbers meant to make a reader allocate or overflow.
The reference has to agree on each of them.
"""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import reference
from broken import (
    ALIAS,
    CHECKSUM,
    CHUNK_ROWS,
    CHUNKS,
    EMPTY,
    ERRORS,
    FORMAT,
    HUGE,
    NAMES,
    PADDING,
    REFUSED,
    ROWS,
    UNSUPPORTED,
    A,
    B,
    Plan,
    aliased,
    appending,
    arrays,
    attempt,
    bits,
    claim,
    dims,
    dtype,
    entry,
    having,
    header,
    honest,
    many,
    one,
    slot,
    some_tree,
    spoilt,
    tree,
)
from broken_delta import HOSTILE as HOSTILE_DELTAS
from craft import Craft, Item, reseal, words
from reference import same

import mxio


@pytest.mark.parametrize("name", ROWS)
def test_the_reference_refuses_a_broken_file(name: str) -> None:
    kind, plan = ROWS[name]
    expected = reference.Unsupported if kind == UNSUPPORTED else reference.Invalid
    with pytest.raises(
        (expected, reference.Unsupported) if kind == REFUSED else expected
    ) as caught:
        reference.read(plan.build())
    assert (kind == CHECKSUM) == bool("crc" in str(caught.value) or name == "slot_crc")


def test_the_files_that_rows_are_made_from_are_valid() -> None:
    for plan in (many(), appending(), one(), some_tree(), arrays("list", "0", "1"), tree(1)):
        assert same(reference.read(plan.build()).object, mxio.loads(plan.build()))


@pytest.mark.parametrize("name", ROWS)
def test_a_broken_file_is_refused(name: str, tmp_path: Path) -> None:
    kind, plan = ROWS[name]
    data = plan.build()
    path = tmp_path / "x.mxio"
    path.write_bytes(data)
    for action in (
        lambda: mxio.loads(data),
        lambda: mxio.load(path),
        lambda: mxio.load(path, mmap=True, verify=True),
    ):
        got, result = attempt(action)
        if kind == PADDING and got == "read":
            assert same(result, reference.read(many().build()).object)
        elif kind == REFUSED:
            assert got in (FORMAT, UNSUPPORTED)
        else:
            assert got == (FORMAT if kind == PADDING else kind), result
    got, result = attempt(lambda: mxio.verify(path))
    assert got != "read" or result, "verify finds nothing"
    if kind in (CHECKSUM, PADDING):
        assert got == "read"


@pytest.mark.parametrize("name", [n for n in ROWS if n not in CHUNK_ROWS])
def test_a_broken_index_is_refused_without_touching_data(name: str, tmp_path: Path) -> None:
    kind, plan = ROWS[name]
    path = tmp_path / "x.mxio"
    path.write_bytes(plan.build())
    if kind != PADDING:
        with pytest.raises(ERRORS):
            mxio.load(path, mmap=True)
        if not name.startswith("structure_"):  # which `open` has no need of
            with pytest.raises(ERRORS):
                mxio.open(path)


@pytest.mark.parametrize(("bit", "name"), [(3, "boxes"), (31, "31")])
def test_an_unknown_feature_is_named(bit: int, name: str) -> None:
    with pytest.raises(mxio.UnsupportedError, match=name):
        mxio.loads(slot(required=1 << bit).build())


@pytest.mark.parametrize("plan", [tree({"set": []}), one({"forest": 1})])
def test_an_unknown_key_of_the_structure_is_named(plan: Craft) -> None:
    with pytest.raises(mxio.UnsupportedError, match=r"set|forest"):
        mxio.loads(plan.build())


def test_another_version_is_named() -> None:
    with pytest.raises(mxio.UnsupportedError, match="77"):
        mxio.loads(slot(version=77).build())


@pytest.mark.parametrize(
    "content", [b"", b"\x89HDF\r\n\x1a\n", b"\x1f\x8b\b" * 2000, b"text\n" * 2000]
)
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    for action in (mxio.load, mxio.open, mxio.verify):
        with pytest.raises(mxio.FormatError):
            action(path)


@pytest.mark.parametrize("plan", [one, many, some_tree, appending])
def test_every_truncation_is_refused(plan: Plan, tmp_path: Path) -> None:
    data = plan().build()
    path = tmp_path / "x.mxio"
    for length in range(len(data)):
        with pytest.raises(mxio.FormatError):
            mxio.loads(data[:length])
    for length in [*range(0, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        for mmap in (False, True):
            with pytest.raises(mxio.FormatError):
                mxio.load(path, mmap=mmap)


def empties() -> Craft:
    return Craft([Item("0", "int8", (0,)), Item("1", "U2", (2, 0, 3), order=1)], "tuple")


def fortran() -> Craft:
    return Craft([Item("", "float32", (2, 3), bytes(range(24)), order=1)], "array")


def aliases() -> Craft:
    return aliased()


@pytest.mark.parametrize("plan", [one, many, some_tree, fortran, aliases, empties, appending])
def test_every_flipped_bit_is_refused_or_harmless_and_found(plan: Plan) -> None:
    made = plan()
    data = made.build()
    file = reference.read(data)
    where, nbytes = file.slot["index_offset"], file.slot["index_nbytes"]
    covered = set(range(128)) | set(range(where, where + nbytes))
    for e in file.entries:
        covered |= set(range(e.offset, e.offset + e.nbytes))
    for at in range(len(data)):
        if plan is appending and at not in covered and (at >= 4096 or 0 <= at - 2048 < 128):
            continue  # the other slot and space that was given up may hold anything
        for bit in range(8):
            if bit != at % 8 and at not in covered and plan is not one:
                continue  # of the zeros of the other files one bit of each byte will do
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            got, result = attempt(partial(mxio.loads, bytes(flipped)))
            if at >= 4096 and at in covered:
                assert got == CHECKSUM, (at, bit)
            elif got == "read":
                assert at not in covered, (at, bit)
                assert same(result, file.object), (at, bit)
                assert mxio.verify(bytes(flipped)), (at, bit)


@pytest.mark.parametrize("plan", [many, some_tree])
def test_any_byte_of_the_index_changed_under_right_checksums_is_judged_like_the_reference_does(
    plan: Plan,
) -> None:
    data = plan().build()
    where, nbytes = reference.read(data).slot["index_offset"], len(plan().index())
    random = np.random.default_rng(3)
    for at in range(where, where + nbytes):
        for change in (1, 2, 0x80, 0xFF, int(random.integers(1, 256))):
            changed = bytearray(data)
            changed[at] ^= change
            changed = bytearray(reseal(bytes(changed)))
            got, result = attempt(partial(mxio.loads, bytes(changed)))
            file = None
            with contextlib.suppress(reference.Invalid, reference.Unsupported):
                file = reference.read(bytes(changed))
            if file is None:
                assert got != "read", (at, change)
            elif any(reference.item_bits(e.dtype) is None for e in file.entries):
                assert got == UNSUPPORTED, (at, change, result)
            else:
                assert got == "read", (at, change, result)
                assert same(result, file.object), (at, change)


@pytest.mark.parametrize("byte", [0, 17, 39])
def test_a_damaged_chunk_is_named(byte: int, tmp_path: Path) -> None:
    plan = spoilt(CHUNKS, byte)
    path = tmp_path / "x.mxio"
    path.write_bytes(plan.build())
    chunk, first = byte // 16, plan.entries[CHUNKS]["offset"]
    for action in (
        partial(mxio.load, path),
        partial(mxio.loads, plan.build()),
        partial(mxio.load, path, names=["chunks"]),
        partial(mxio.load, path, mmap=True, verify=True),
    ):
        with pytest.raises(mxio.ChecksumError) as caught:
            action()
        error = caught.value
        assert (error.name, error.chunk, error.offset) == ("chunks", chunk, first + 16 * chunk)
        for part in ("chunks", str(chunk), str(first + 16 * chunk)):
            assert part in str(error)
    for source in (path, plan.build()):
        (damage,) = mxio.verify(source)
        assert tuple(damage[:4]) == ("chunks", chunk, first + 16 * chunk, 8 if chunk == 2 else 16)
    with mxio.open(path) as reader:
        assert [damage[:2] for damage in reader.verify()] == [("chunks", chunk)]


@pytest.mark.parametrize("damaged", [n for n in range(len(NAMES)) if n != EMPTY])
def test_a_damaged_array_does_not_stop_others_from_being_read(damaged: int, tmp_path: Path) -> None:
    plan = spoilt(damaged, 0)
    path = tmp_path / "x.mxio"
    path.write_bytes(plan.build())
    whole = reference.read(many().build()).object
    affected = {"b", "alias"} if damaged in (B, ALIAS) else {NAMES[damaged]}
    for name in NAMES:
        if name in affected:
            with pytest.raises(mxio.ChecksumError):
                mxio.load(path, names=[name])
        else:
            assert same(mxio.load(path, names=[name])[name], whole[name])
    rest = [name for name in NAMES if name not in affected]
    loaded = mxio.load(path, names=rest)
    assert all(same(loaded[name], whole[name]) for name in rest)
    with mxio.open(path) as reader:
        assert list(reader) == NAMES


def test_verify_reports_each_damage(tmp_path: Path) -> None:
    plan = many()
    data = bytearray(plan.build())
    for number, byte in ((A, 0), (CHUNKS, 0), (CHUNKS, 39)):
        data[plan.entries[number]["offset"] + byte] ^= 1
    data[plan.entries[A]["offset"] + 6] ^= 1  # a zero behind the data
    path = tmp_path / "x.mxio"
    path.write_bytes(data)
    found = mxio.verify(path)
    assert [d[:2] for d in found if d.name is not None] == [("a", 0), ("chunks", 0), ("chunks", 2)]
    assert any(d.name is None for d in found)


@pytest.mark.parametrize("at", [8, 40, 127, 4096, 4100, 4096 + 200])
def test_verify_reports_a_damaged_head_or_index(at: int, tmp_path: Path) -> None:
    data = bytearray(many().build())
    data[at] ^= 1
    path = tmp_path / "x.mxio"
    path.write_bytes(data)
    found = mxio.verify(path)
    assert found
    assert found[0].name is None


def test_verify_reports_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    for length in (200, 3000, 4096, 4500, many().length - 1):
        path.write_bytes(many().build()[:length])
        assert mxio.verify(path)[0].name is None


def test_damaged_data_is_returned_when_told_not_to_compare(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    path.write_bytes(spoilt(A, 0).build())
    for loaded in (mxio.load(path, verify=False), mxio.load(path, mmap=True)):
        assert loaded["a"].tolist() == [1 ^ 16, 2, 3]


# Numbers of an enemy: read in a process with little memory.

HOSTILE: dict[str, Craft] = {f"delta_{name}": plan for name, plan in HOSTILE_DELTAS.items()}
for number in HUGE:
    for name in words("file_nbytes index_offset index_nbytes"):
        HOSTILE[f"{name}_{number:#x}"] = slot(**{name: number})
    HOSTILE[f"appending_file_nbytes_{number:#x}"] = slot(appending, file_nbytes=number)
    for name in many().header.keys() - {"reserved", "parent_crc"}:
        HOSTILE[f"{name}_{number:#x}"] = header(**{name: number})
    for name in words("offset nbytes chunk_nbytes first_chunk alias_of first_dim name_offset"):
        for row in (A, EMPTY, ALIAS):
            HOSTILE[f"{name}_of_{NAMES[row]}_{number:#x}"] = entry(row, **{name: number})
    HOSTILE[f"by_name_{number:#x}"] = having(by_name=[number, *many().by_name[1:]])
    HOSTILE[f"dim_{number:#x}"] = dims(A, number)
    HOSTILE[f"dim_beside_3_{number:#x}"] = dims(B, 3, number)
    HOSTILE[f"item_bits_{number:#x}"] = dtype(0, item_bits=number)
    HOSTILE[f"claim_{number:#x}"] = claim((number,), number)
    HOSTILE[f"claim_in_file_nbytes_{number:#x}"] = honest(claim((number,), number))
    HOSTILE[f"claim_of_unknown_{number:#x}"] = claim((1,), -(-number // 8), "unknown", number)
DEEP = 200_000
HOSTILE |= {
    "structure_of_brackets": one(b"[" * DEEP),
    "structure_of_lists": one(b'{"tree":' + b'{"list":[' * DEEP),
    "structure_of_closed_lists": one(b'{"tree":' + b'{"list":[' * DEEP + b"]}" * DEEP + b"}"),
    "structure_of_dicts": one(b'{"tree":' + b'{"dict":[["",' * DEEP + b"1" + b"]]}" * DEEP + b"}"),
    "structure_of_long_int": tree("1" * DEEP),
    "structure_of_long_float": tree("1" * DEEP + ".5"),
    "structure_of_large_exponent": tree("1e" + "9" * DEEP),
    "metadata_of_brackets": one(metadata=b'{"a":' + b"[" * DEEP),
    "metadata_of_objects": one(metadata=b'{"a":' * DEEP),
}
# Valid by the page or left open by it, and beyond what Python or NumPy can hold.
STRANGE: dict[str, Craft] = {
    "metadata_of_closed_brackets": one(metadata=b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}"),
    "metadata_of_closed_objects": one(metadata=b'{"a":' * DEEP + b"1" + b"}" * DEEP),
    "metadata_of_long_int": one(metadata=b'{"a":' + b"1" * 10_000 + b"}"),
    "metadata_of_lone_surrogate": one(metadata=b'{"a":"\\ud800"}'),
    "structure_of_lone_surrogate": tree('{"str":"\\ud800"}'),
    "structure_of_large_int": tree({"int": "0x" + "f" * DEEP}),
    "key_of_large_int": tree({"dict": [[{"int": "0x" + "f" * 10_000}, "array"]]}, "x"),
    "key_of_lone_surrogate": tree('{"dict":[["\\ud800","array"]]}', "x"),
    "items_of_2_to_31_bytes": bits(f"S{2**31}", 2**34),
    "items_of_2_to_60_bytes": bits(f"S{2**60}", 2**63),
    "items_of_2_to_29_code_points": bits(f"U{2**29}", 2**34),
    "unknown_items_of_0_bits": bits("unknown", 0),
    "unknown_items_of_2_to_64_bits": bits("unknown", 2**64 - 1),
    "multiple_of_2_to_31": bits(f"datetime64[{2**31}s]", 64),
    "multiple_of_2_to_64": bits(f"timedelta64[{2**64}s]", 64),
    "multiple_of_many_digits": bits(f"timedelta64[{'9' * 200}as]", 64),
    "bool_of_2": Craft([Item("", "bool", (1,), b"\2")], "array"),
    "code_point_above_10ffff": Craft([Item("", "U1", (1,), b"\xff" * 4)], "array"),
    "code_point_of_a_surrogate": Craft([Item("", "U1", (1,), struct.pack("<I", 0xD800))], "array"),
    "int4_above_its_bits": Craft([Item("", "int4", (1,), b"\xff")], "array"),
    "dtype_name_of_255_bytes": bits("d" * 255, 8),
    "dtype_name_in_utf8": bits("é", 8),
}
READ_ALL = """
import json, pathlib, resource, sys
import numpy, mxio
try:
    import ml_dtypes
except ImportError:
    pass
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 512 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
def opened(path):
    with mxio.open(path) as reader:
        return list(reader), reader.metadata
actions = {
    "load": mxio.load,
    "mmap": lambda path: mxio.load(path, mmap=True),
    "loads": lambda path: mxio.loads(path.read_bytes()),
    "open": opened,
    "verify": mxio.verify,
}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    for action in actions:
        print(json.dumps([path.name, action]), flush=True)
        try:
            result = actions[action](path)
        except (mxio.FormatError, mxio.UnsupportedError):
            outcome = "refused"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"[:300]
        else:
            outcome = "read" if action != "verify" or not result else "damage"
        print(json.dumps(outcome), flush=True)
"""


def read_all(plans: dict[str, Craft], folder: Path) -> list[tuple[str, str, str]]:
    """(file, action, outcome) of reading each file in a process with little memory."""
    for n, plan in enumerate(plans.values()):
        (folder / f"{n:04}").write_bytes(plan.build())
    command = [sys.executable, "-c", READ_ALL, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (done.returncode, lines[-1:], done.stderr[-2000:])
    names = list(plans)
    return [
        (names[int(file)], action, outcome)
        for (file, action), outcome in zip(lines[::2], lines[1::2], strict=True)
    ]


def test_hostile_numbers_are_refused_with_little_memory(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    outcomes = read_all(HOSTILE, tmp_path)
    wrong = [o for o in outcomes if o[2] != "refused" and o[1:] != ("verify", "damage")]
    wrong = [o for o in wrong if not (o[0].startswith("structure_") and o[1:] == ("open", "read"))]
    assert not wrong, wrong[:20]
    assert len(outcomes) == 5 * len(HOSTILE)


def test_the_reference_refuses_hostile_numbers() -> None:
    for plan in HOSTILE.values():
        with pytest.raises(reference.Invalid):
            reference.read(plan.build())


def test_strange_files_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    outcomes = read_all(STRANGE, tmp_path)
    wrong = [outcome for outcome in outcomes if outcome[2] not in ("read", "refused", "damage")]
    assert not wrong, wrong
