# SPDX-License-Identifier: Apache-2.0
"""mxio and docs/FORMAT.md say the same of files that were appended to: runs and parents.

The files of valid_delta.py hold what they are meant to, as reference.py and as mxio read them;
the rows of broken_delta.py are refused by both. Every truncation and every flipped bit of a
small file, and indexes changed under right checksums, are judged alike.
"""

from __future__ import annotations

import functools
import random
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from broken import CHECKSUM, ERRORS, FORMAT, HUGE, PADDING, UNSUPPORTED, attempt
from broken_delta import CHUNK_ROWS, ROWS
from craft import Craft, reseal
from reference import same
from valid_delta import (
    DOUBTFUL,
    LONG,
    NEWEST,
    VALID,
    Array,
    Y,
    gone_dtype,
    image,
    item,
    then,
    up,
)

import mxio
from mxio import _core

READERS = {"reference": lambda data: reference.read(data).object, "mxio": mxio.loads}
REFUSALS = (reference.Invalid, mxio.FormatError)


def regions(array: Array) -> list[Any]:
    """Parts of an array, and all of it."""
    ends = [slice(n // 3, n - n // 4) for n in array.shape]
    found = [..., *([tuple(ends), tuple(slice(None, None, -2) for _ in ends)] if ends else [])]
    if ends and array.size:
        last = tuple(n - 1 for n in array.shape)
        found += [last[:1], (slice(0, 1),), ([0, last[0], 0],)]
        found += [(slice(at, at + 1),) for at in range(0, array.shape[0], 1 + array.shape[0] // 7)]
    return found


@pytest.mark.parametrize("name", VALID)
def test_the_reference_reads_what_a_file_was_meant_to_hold(name: str) -> None:
    _, meant, metadata = VALID[name]
    file = reference.read(image(name))
    assert same(file.object, meant)
    assert same(file.metadata, metadata)
    assert bool(file.slot["doubt"]) == (name in DOUBTFUL)


def test_runs_that_touch_are_one() -> None:
    def of(name: str) -> list[int]:
        return [nbytes for _, nbytes in reference.read(image(name)).entries[-1].runs]

    assert of("grown_behind") == [36]
    assert of("grown_behind_and_elsewhere") == [34, 46]
    assert of("kept_a_beginning_and_grown_over_the_rest") == [28]
    assert of("large_and_grown_behind") == [140_000]
    assert of("kept_runs_up_to_where_one_ends") == [21, 29]
    assert of("kept_runs_up_to_where_one_begins") == [21, 1, 28]
    assert of("alias_grows_with_its_entry_behind") == [36]


@pytest.mark.parametrize("name", VALID)
def test_mxio_reads_what_a_file_was_meant_to_hold(name: str, tmp_path: Path) -> None:
    _, meant, metadata = VALID[name]
    entries = {e.name: e.value for e in reference.read(image(name)).entries}
    path = tmp_path / "x.mxio"
    path.write_bytes(image(name))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for loaded in (
            mxio.load(path),
            mxio.loads(image(name)),
            mxio.load(path, verify=False),
            mxio.load(path, threads=3),
        ):
            assert same(loaded, meant)
        assert mxio.verify(path) == [] or name in DOUBTFUL
        with mxio.open(path) as reader:
            assert list(reader) == list(entries)
            assert same(dict(reader.metadata), metadata)
            assert reader.verify() == [] or name in DOUBTFUL
            for key, array in entries.items():
                assert same(mxio.load(path, names=[key])[key], array)
                for region in regions(array):
                    assert same(np.asarray(reader[key][region]), np.asarray(array[region]))
    assert (mxio.FormatWarning in {warning.category for warning in caught}) == (name in DOUBTFUL)


@pytest.mark.parametrize("reader", READERS)
def test_an_unknown_dtype_has_the_size_that_is_used(reader: str) -> None:
    """One dtype in two sizes, but no entry of the first one is left."""
    data = gone_dtype()[0].build()
    if reader == "reference":
        assert [e.bits for e in reference.read(data).entries] == [16]
    else:
        with mxio.open(data) as file:
            assert list(file) == ["x"]
            with pytest.raises(mxio.UnsupportedError):
                file["x"][...]


@pytest.mark.parametrize("name", ROWS)
def test_the_reference_refuses_a_broken_file(name: str) -> None:
    kind, plan = ROWS[name]
    expected = reference.Unsupported if kind == UNSUPPORTED else reference.Invalid
    with pytest.raises(expected) as caught:
        reference.read(plan.build())
    assert (kind == CHECKSUM) == bool("crc" in str(caught.value) or name == "both_slots_torn")


@pytest.mark.parametrize("name", ROWS)
def test_mxio_refuses_a_broken_file(name: str, tmp_path: Path) -> None:
    kind, plan = ROWS[name]
    data = plan.build()
    path = tmp_path / "x.mxio"
    path.write_bytes(data)
    for action in (partial(mxio.loads, data), partial(mxio.load, path)):
        got, result = attempt(action)
        if kind == PADDING and got == "read":
            assert same(result, {"a": up(20, "uint8")})
        else:
            assert got == (FORMAT if kind == PADDING else kind), result
    got, result = attempt(lambda: mxio.verify(path))
    assert got != "read" or result, "verify finds nothing"
    late = name in CHUNK_ROWS or kind == PADDING or "structure" in name
    if not late and not name.startswith(("list_of", "tree_of")):
        with pytest.raises(ERRORS):
            mxio.open(path)


def test_an_entry_whose_runs_are_damaged_does_not_stop_others_from_being_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.mxio"
    path.write_bytes(ROWS["data_of_byte_45"][1].build())
    for name, array in NEWEST.items():
        if name != "long":
            assert same(mxio.load(path, names=[name])[name], array)
    with mxio.open(path) as reader:
        assert same(reader["long"][:32], NEWEST["long"][:32])
        assert same(reader["long"][48:], NEWEST["long"][48:])
        with pytest.raises(mxio.ChecksumError) as caught:
            reader["long"][40:50]
        assert (caught.value.name, caught.value.chunk) == ("long", 2)
        assert [damage[:2] for damage in reader.verify()] == [("long", 2)]


# Every bit and every length of a small file, of four generations and a chain of three.


def small(generations: int = 4) -> Craft:
    plan = Craft([item("a", up(5, "uint8"), chunk_nbytes=4), item("b", up(3, "uint8"))], "dict")
    plan = plan.opened()
    if generations > 2:
        plan = then(plan, item("a", up(11, "uint8"), chunk_nbytes=4, keeps=5))
    if generations > 3:
        items = item("a", up(14, "uint8"), chunk_nbytes=4, keeps=9), item("b", up(2, "uint8", 9))
        plan = then(plan, *items).place([0, b"\xaa" * 30, 1, "index", b"\xaa" * 9])
    return plan


SMALL = {"a": up(14, "uint8"), "b": up(2, "uint8", 9)}
BEFORE = {"a": up(11, "uint8"), "b": up(3, "uint8")}


@functools.cache
def flips() -> dict[tuple[int, int], tuple[Any, bool]]:
    """What the reference reads where a bit is flipped, or None, and whether it is in doubt."""
    data, found = small().build(), {}
    for at in range(len(data)):
        zeros = not any(data[max(at - 16, 0) : at + 16])  # of which one bit of each byte will do
        for bit in [at % 8] if zeros else range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            try:
                file = reference.read(bytes(flipped))
                found[at, bit] = file.object, bool(file.slot["doubt"])
            except reference.Invalid:
                found[at, bit] = None, False
    return found


def test_the_reference_judges_every_flipped_bit() -> None:
    plan = small()
    file = reference.read(plan.build())
    assert same(file.object, SMALL)
    assert plan.slot_number == 1
    covered = {at for e in file.entries for start, n in e.runs for at in range(start, start + n)}
    for index in plan.chain():
        covered |= set(range(index.index_at, index.index_at + len(index.index())))
    assert covered < set(range(4096, plan.length))
    assert plan.length - 4096 - len(covered) > 100
    for (at, bit), (read, doubt) in flips().items():
        if at >= 4096:  # what was given up changes nothing
            assert (read is None) if at in covered else same(read, SMALL), (at, bit)
        elif at < 128:  # the older slot
            assert same(read, SMALL), (at, bit)
        elif 2048 <= at < 2176:  # the newest one
            assert same(read, BEFORE), (at, bit)
        else:
            assert read is None, (at, bit)
        assert doubt == (at < 128 or 2048 <= at < 2176), (at, bit)


def test_mxio_judges_every_flipped_bit_like_the_reference_does() -> None:
    data = small().build()
    for (at, bit), (read, doubt) in flips().items():
        flipped = bytearray(data)
        flipped[at] ^= 1 << bit
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got, result = attempt(partial(mxio.loads, bytes(flipped)))
            damage = mxio.verify(bytes(flipped)) if doubt or bit == at % 8 else None
        warned = mxio.FormatWarning in {warning.category for warning in caught}
        assert warned or not doubt, (at, bit)
        if read is None:
            # Zeros of the head area are bytes that no reader needs.
            needed = at >= 4096 or got != "read" or not same(result, SMALL)
            assert got in (FORMAT, CHECKSUM) if needed else damage, (at, bit, result)
            assert damage != [], (at, bit)
        else:
            assert got == "read", (at, bit, result)
            assert same(result, read), (at, bit)
            assert doubt or (not warned and not damage), (at, bit)


@pytest.mark.parametrize("reader", READERS)
def test_every_truncation_is_refused(reader: str) -> None:
    data = small().build()
    for length in range(len(data)):
        with pytest.raises(REFUSALS):
            READERS[reader](data[:length])


def test_every_truncation_of_a_file_is_refused(tmp_path: Path) -> None:
    data = small().build()
    path = tmp_path / "x.mxio"
    for length in [*range(0, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        for action in (mxio.load, mxio.open):
            with pytest.raises(mxio.FormatError):
                action(path)
        assert length == 0 or mxio.verify(path)


@pytest.mark.parametrize("reader", READERS)
def test_a_tail_of_any_length_changes_nothing(reader: str) -> None:
    data = small().build()
    for length in (1, 63, 64, 4096, 5001):
        for byte in (b"\0", b"\xff"):
            assert same(READERS[reader](data + byte * length), SMALL)


@pytest.mark.parametrize("generations", [2, 3, 4])
@pytest.mark.parametrize("reader", READERS)
def test_an_interrupted_commit_changes_nothing(reader: str, generations: int) -> None:
    """Of what a commit writes before its slot a beginning is there."""
    data = small(generations).build()
    before = READERS[reader](data)
    whole = then(small(generations), item("b", LONG), item("c", Y)).build()
    slot = slice(2048 * (generations % 2), 2048 * (generations % 2) + 128)
    for length in range(len(data), len(whole), 7):
        cut = bytearray(whole[:length])
        cut[slot] = data[slot]
        assert same(READERS[reader](bytes(cut)), before)
    assert same(READERS[reader](whole), before | {"b": LONG, "c": Y})


# Indexes changed under right checksums.

SEEDS = ["chained", "middle", "alone", "alias_grows_with_its_entry_behind", "grown_in_runs"]
SEEDS += ["alias_of_another", "an_index_of_its_own", "a_parent_of_its_own", "grown_twice_behind"]
MUTANTS = 500  # of each


def mutants(name: str) -> list[bytes]:
    """Files with one or two numbers or bytes of an index changed."""
    plan, data = VALID[name][0], image(name)
    choice = random.Random(name)
    places = [(index.index_at, len(index.index())) for index in plan.chain()]
    spots = [at for where, _ in places for at in range(where, where + 128, 8)]
    pairs = []  # of numbers of bytes that are one run's and may be the next one's
    for index in plan.chain():  # the records, which are seldom hit otherwise
        start = index.index_at + sum(len(section) for section in index.sections()[:5])
        spots += [*range(start, start + 32 * len(index.records), 8)] * 3
        pairs += [(start + 32 * n + 16, start + 32 * n + 48) for n in range(len(index.records) - 1)]
    known = [int.from_bytes(data[at : at + 8], "little") for at in spots]
    made = []
    for _ in range(MUTANTS):
        changed = bytearray(data)
        for _ in range(choice.randint(1, 2)):
            where, nbytes = choice.choice(places)
            at = where + choice.randrange(nbytes)
            if pairs and choice.random() < 0.2:
                by = choice.randint(-24, 24)
                for spot, change in zip(choice.choice(pairs), (by, -by), strict=True):
                    number = int.from_bytes(changed[spot : spot + 8], "little") + change
                    changed[spot : spot + 8] = (number % 2**64).to_bytes(8, "little")
                continue
            if choice.random() < 0.3:
                changed[at] ^= choice.choice([1, 2, 0x80, 0xFF, choice.randrange(1, 256)])
                continue
            at = choice.choice(spots) if choice.random() < 0.6 else at // 8 * 8
            near = int.from_bytes(changed[at : at + 8], "little")
            near += choice.choice([1, -1, 2, 8, -8, 64, -64, 4096])
            value = choice.choice([near, near, choice.choice(known), 0, choice.choice(HUGE)])
            changed[at : at + 8] = (value % 2**64).to_bytes(8, "little")
        made.append(reseal(bytes(changed[: len(data)])))
    return made


@functools.cache
def judged(name: str) -> list[tuple[bytes, reference.File | None, str]]:
    """The mutants, what the reference reads, and why it does not."""
    found: list[tuple[bytes, reference.File | None, str]] = []
    for data in mutants(name):
        try:
            found.append((data, reference.read(data), ""))
        except (reference.Invalid, reference.Unsupported) as error:
            found.append((data, None, str(error)))
    return found


@pytest.mark.parametrize("name", SEEDS)
def test_the_reference_judges_changed_indexes_by_more_than_their_checksums(name: str) -> None:
    assert reseal(image(name)) == image(name)
    reasons = [reason for _, _, reason in judged(name)]
    assert 0 < reasons.count("") < len(reasons) / 2
    assert len({reason.partition(" (at")[0] for reason in reasons}) > 15
    assert not any("no valid slot" in reason for reason in reasons)


@pytest.mark.parametrize("name", SEEDS)
def test_mxio_judges_changed_indexes_like_the_reference_does(name: str) -> None:
    for n, (data, file, reason) in enumerate(judged(name)):
        got, result = attempt(partial(mxio.loads, data))
        if file is None:
            assert got != "read", (n, reason)
            if reason.startswith("crc of chunk"):  # its index is right
                assert got == CHECKSUM, (n, reason, result)
                assert list(mxio.open(data))
        elif any(reference.item_bits(e.dtype) is None for e in file.entries):
            assert got == UNSUPPORTED, (n, result)
        else:
            assert got == "read", (n, result)
            assert same(result, file.object), n
            assert mxio.verify(data) == [], n


def test_between_the_places_of_data_in_runs_there_are_zeros(tmp_path: Path) -> None:
    """The first place is at 2**62 + 65536, and as much lies between two (csrc/runs.c)."""
    path = tmp_path / "x.mxio"
    with mxio.Writer(path) as w:
        for _ in range(2):
            for n, name in enumerate("ab"):
                w.append(name, np.full((3, 50), n + 1, np.uint8))
            w.commit()
    file = _core.File.open(bytes(path), "x")
    index = file.index()
    assert [index.is_scattered(number) for number in range(2)] == [True, True]
    place, step = 2**62 + 65536, 2 * 65536
    a, b = b"\1" * 300, b"\2" * 300
    assert file.get(place, step + 400) == a + bytes(step - 300) + b + bytes(100)
    assert file.get(place + 299, 2) == b"\1\0"
    assert file.get(place + step - 1, 2) == b"\0\2"


def test_a_file_that_was_opened_before_a_commit_is_read_as_it_is_after_it(tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    with mxio.Writer(path) as w:
        w.append("a", np.arange(4))
    file = _core.File.open(bytes(path), "x")
    before = file.nbytes
    with mxio.Writer(path, "a") as w:
        w.append("a", np.arange(4, 50_000))
    index = file.index()
    assert (index.generation, index.entry(0)[2]) == (generation_of(path), (50_000,))
    assert file.nbytes > before


def generation_of(path: Path) -> int:
    return _core.File.open(bytes(path), "x").index().generation


def test_data_in_runs_that_has_no_place_behind_the_file_is_refused() -> None:
    for file_nbytes, said in (2**62 + 1, "more than 2^62 bytes"), (2**62, "would exceed 2^63"):
        nbytes = file_nbytes - 8192 - 128
        runs = [(0, 4096 + 1024, 64), (0, 8192, nbytes - 64)]
        entries = [("a", 0, (nbytes,), "C", nbytes, 0, nbytes, 1)]
        data = _core.encode_index(entries, runs, [("uint8", 8)], b"", b"", bytes(4), None)
        with pytest.raises(mxio.UnsupportedError, match=re.escape(said)):
            _core.decode_index(data, 4096, file_nbytes, 1 | 4, "x")
