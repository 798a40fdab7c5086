# SPDX-License-Identifier: Apache-2.0
"""mxio and docs/FORMAT.md say the same: valid files of every kind, read and written.

Files made by craft.py are read equally by reference.py and by mxio; files written by mxio are
read by reference.py with an equal result and keep a writer's duties; the worked example of the
page is what mxio writes, byte for byte. Broken files are in test_corrupt.py.
"""

from __future__ import annotations

import io
import math
import random
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from craft import Craft, Item, pack_slot, words
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import same

import mxio

PAGE = Path(__file__).parents[1] / "docs" / "FORMAT.md"
RNG = np.random.default_rng(7)
UNITS = words("Y M W D h m s ms us ns ps fs as")
TIMES = [f"{kind}[{unit}]" for kind in ("datetime64", "timedelta64") for unit in UNITS]
NARROW = reference.NARROW
NUMPY_DTYPES = [name for name in reference.FIXED if name not in ("bfloat16", *NARROW)]
DTYPES = [*NUMPY_DTYPES, "S1", "S7", "U1", "U3", "datetime64", "timedelta64", *TIMES]
DTYPES += ["datetime64[7D]", "timedelta64[25s]"]
if reference.ml_dtypes is not None:
    DTYPES += [name for name in ["bfloat16", *NARROW] if hasattr(reference.ml_dtypes, name)]


def content(dtype: str, count: int) -> bytes:
    """Bytes that are items of the dtype."""
    if dtype == "bool" or dtype.endswith("int1"):
        return RNG.integers(0, 2, count).astype("u1").tobytes()
    if dtype.startswith("U"):
        return "".join(RNG.choice(list("aé€😀"), count * int(dtype[1:]))).encode("utf-32-le")
    limit = 4 if dtype in ("int2", "uint2") else 16
    if dtype in NARROW and not dtype.startswith("float8"):
        return RNG.integers(0, limit, count).astype("u1").tobytes()
    return RNG.bytes(count * (reference.item_bits(dtype) or 0) // 8)


def item(name: str, dtype: str, shape: tuple[int, ...], order: int = 0, **more: Any) -> Item:
    """An item with arbitrary content."""
    return Item(name, dtype, shape, content(dtype, math.prod(shape)), order, **more)


def appended(**slot: Any) -> Craft:
    """A file that was opened for appending, with an older generation in the other slot."""
    plan = Craft([item("a", "int16", (5,)), item("b", "int16", (9,))], "dict", {"n": 1})
    plan.place([1, "index", 0], gap=b"\xaa" * 100)
    plan.slot |= {"required": 1, "generation": 2} | slot
    return plan


def with_older_slot() -> Craft:
    plan = appended()
    plan.other_slot = pack_slot(plan.slot | {"generation": 1, "index_crc": 1, "index_offset": 64})
    return plan


def in_slot_1() -> Craft:
    plan = with_older_slot()
    plan.slot_number = 1
    return plan


def with_junk() -> Craft:
    plan = appended()
    plan.other_slot = b"\xff" * 128
    plan.length += 1000
    plan.spots.append((plan.length - 500, b"interrupted"))
    return plan


def placed(order: list[int | str]) -> Craft:
    items = [item("a", "uint8", (70000,)), item("b", "uint8", (65535,)), item("c", "uint8", (3,))]
    return Craft(items, "dict").place(order)


def changed(plan: Craft, **slot: Any) -> Craft:
    plan.slot |= slot
    return plan


def one(dtype: str, shape: tuple[int, ...], order: int = 0, **more: Any) -> Craft:
    return Craft([item("", dtype, shape, order, **more)], "array")


PLAIN: list[Any] = [
    *(True, False, None, 0, -1, 2**53 - 1, 1 - 2**53, 0.5, -0.0, 1e300, 5e-324),
    *({"int": hex(2**53)}, {"int": hex(-(2**70))}),
    *({"float": "7ff8000000000000"}, {"float": "fff0000000000000"}, {"float": "7ff8000000000001"}),
    *({"str": ""}, {"str": 'é😀\x00"\\/'}, {"bytes": ""}, {"bytes": "AA=="}, {"bytes": "+/8="}),
    *({"list": []}, {"tuple": []}, {"dict": []}),
]
KEYS = ["", "a", "é", True, None, -3, {"int": hex(2**64)}]


def tree(node: Any, *names: str) -> Craft:
    return Craft([item(name, "int8", (2,)) for name in names], {"tree": node})


def nested(depth: int, kind: str) -> Any:
    node: Any = None
    for _ in range(depth):
        node = {kind: [["k", node]] if kind == "dict" else [node]}
    return node


W = Item("w", "float32", (2, 3), np.arange(6, dtype="<f4").tobytes())
VALID = {
    "one_array": one("float32", (2, 3)),
    "one_scalar_array": one("int64", ()),
    "no_entries_in_a_dict": Craft([], "dict"),
    "no_entries_in_a_list": Craft([], "list"),
    "no_entries_in_a_tuple": Craft([], "tuple", {"k": []}),
    "list": Craft([item(str(n), "int8", (n,)) for n in range(12)], "list"),
    "tuple": Craft([item(str(n), "int8", (n,)) for n in range(3)], "tuple"),
    "dict_with_names_of_all_kinds": Craft(
        [item(n, "int8", (1,)) for n in ["b", "", "ab", "a", "é", "😀", "a/b", "1", "\x01\x7f"]],
        "dict",
    ),
    "longest_name": Craft([item("n" * 65535, "int8", (1,))], "dict"),
    "fortran_order": one("int16", (3, 4), 1),
    "fortran_order_3d": one("int16", (2, 3, 4), 1),
    "fortran_order_and_empty": one("int16", (3, 0), 1),
    "empty": one("float64", (0,)),
    "empty_of_great_dims": one("uint8", (0, 2**62)),
    "64_dims": one("int8", (1,) * 62 + (2, 3)),
    "chunks_of_one_byte": one("int16", (9,), chunk_nbytes=1),
    "chunks_that_cut_items": one("float64", (5,), chunk_nbytes=7),
    "one_long_chunk": one("uint8", (200_000,), chunk_nbytes=200_000),
    "chunks_of_64_ki": one("uint8", (200_000,)),
    "chunks_of_whole_rows": one("uint8", (7, 30_000)),
    "chunks_of_whole_columns": one("uint8", (30_000, 7), 1),
    "largest_data_aligned_to_64": Craft(
        [item("0", "int8", (1,)), item("1", "S5", (13107,))], "list"
    ),
    "smallest_data_aligned_to_4096": Craft(
        [item("0", "int8", (1,)), item("1", "S4", (16384,))], "list"
    ),
    "alias": Craft([W, Item("v", "float32", (2, 3), alias=0)], "dict"),
    "two_aliases_between_others": Craft(
        [
            *(item("x", "int8", (3,)), W, Item("v", "float32", (2, 3), alias=1)),
            *(
                item("e", "int8", (0,)),
                Item("u", "float32", (2, 3), alias=1),
                item("y", "S2", (2,)),
            ),
        ],
        "dict",
    ),
    "alias_in_fortran_order": Craft(
        [item("a", "int8", (2, 3), 1), Item("b", "int8", (2, 3), order=1, alias=0)], "dict"
    ),
    "alias_in_a_tree": Craft(
        [item("0", "int8", (2,)), Item("1/k", "int8", (2,), alias=0)],
        {"tree": {"list": ["array", {"dict": [["k", "array"]]}]}},
    ),
    "metadata": Craft([], "dict", {"é": [1, 2.5, None, True, "x", {"": {}}, -(2**70)], "b": []}),
    "metadata_with_spaces_in_strings": Craft([], "dict", {" a\tb ": ' \n"\\" '}),
    "optional_features": changed(one("int8", (1,)), optional=2**64 - 1),
    "later_generation": changed(one("int8", (1,)), generation=2**64 - 1),
    "index_last": placed([0, 1, 2, "index"]),
    "index_between": placed([2, 0, "index", 1]),
    "data_in_another_order": placed(["index", 2, 1, 0]),
    "appending": appended(),
    "appending_with_older_slot": with_older_slot(),
    "appending_with_newer_slot_1": in_slot_1(),
    "appending_with_junk": with_junk(),
    "plain_values": tree({"list": PLAIN}),
    "plain_value_at_the_root": tree(1),
    "none_at_the_root": tree(None),
    "arrays_and_plain_values": tree(
        {
            "dict": [
                ["a", "array"],
                ["n", 1],
                ["l", {"list": [None, "array", {"tuple": ["array"]}]}],
            ]
        },
        *("a", "l/1", "l/2/0"),
    ),
    "keys_of_all_kinds": tree(
        {"dict": [[key, "array"] for key in KEYS]}, "", "a", "é", "True", "None", "-3", str(2**64)
    ),
    "keys_of_all_kinds_of_plain_values": tree(
        {"dict": [[key, 1] for key in [*KEYS, "True", "-3"]]}
    ),
    "empty_keys_nested": tree({"dict": [["", {"dict": [["", "array"]]}]]}, "/"),
    "lists_100_deep": tree(nested(100, "list")),
    "tuples_100_deep": tree(nested(100, "tuple")),
    "dicts_100_deep": tree(nested(100, "dict")),
} | {f"dtype_{dtype}": one(dtype, (3, 2)) for dtype in DTYPES}


@pytest.mark.filterwarnings("ignore::mxio.FormatWarning")  # of junk in the other slot
@pytest.mark.parametrize("name", VALID)
def test_mxio_reads_a_crafted_file_as_the_reference_does(name: str, tmp_path: Path) -> None:
    data = VALID[name].build()
    file = reference.read(data)
    path = tmp_path / "x.mxio"
    path.write_bytes(data)
    for loaded in (
        mxio.loads(data),
        mxio.load(path),
        mxio.load(str(path)),
        mxio.load(io.BytesIO(data)),
        mxio.load(path, mmap=True),
        mxio.load(path, verify=False),
        mxio.load(path, threads=3),
    ):
        assert same(loaded, file.object)
    with mxio.open(path) as reader:
        assert list(reader) == [e.name for e in file.entries]
        assert same(dict(reader.metadata), file.metadata)
        assert same(places(reader.verify()), places(mxio.verify(path)))
    assert places(mxio.verify(path)) == places(mxio.verify(data))
    # Junk in the slot that does not count is damage, or an older state than there was.
    assert places(mxio.verify(data)) == ([(None, 2048)] if name == "appending_with_junk" else [])


def places(damage: list[mxio.Damage]) -> list[tuple[str | None, int | None]]:
    return [(one.name, one.offset) for one in damage]


@pytest.mark.parametrize("name", [n for n in VALID if "fortran" in n])
def test_fortran_order_comes_back_as_fortran_order(name: str, tmp_path: Path) -> None:
    data = VALID[name].build()
    path = tmp_path / "x.mxio"
    path.write_bytes(data)
    for loaded in (mxio.loads(data), mxio.load(path, mmap=True)):
        arrays = loaded.values() if isinstance(loaded, dict) else [loaded]
        assert all(array.flags.f_contiguous for array in arrays)


def test_a_chunk_that_is_longer_than_what_is_read_at_once_is_compared(tmp_path: Path) -> None:
    """A writer may choose its chunks (section 3.2); this one has a chunk for each array."""
    n = 3 << 20
    items = [item("a", "uint8", (n,), chunk_nbytes=n), item("b", "uint8", (n,), chunk_nbytes=n)]
    data = bytearray(Craft(items, "dict").build())
    path = tmp_path / "x.mxio"
    path.write_bytes(data)
    for source in path, bytes(data):
        assert same(mxio.load(source)["b"], np.frombuffer(items[1].data, np.uint8))
    data[-1] ^= 1
    path.write_bytes(data)
    for source in path, bytes(data):
        with pytest.raises(mxio.ChecksumError) as caught:
            mxio.load(source)
        assert (caught.value.name, caught.value.chunk) == ("b", 0)
        assert [damage.name for damage in mxio.verify(source)] == ["b"]


def test_an_entry_of_unknown_dtype_is_listed_and_its_neighbour_read(tmp_path: Path) -> None:
    items = [Item("a", "int4_packed", (3,), b"\x21\x03", bits=4), item("b", "int8", (3,))]
    data = Craft(items, "dict").build()
    file = reference.read(data)
    assert file.object["a"] == b"\x21\x03"
    path = tmp_path / "x.mxio"
    path.write_bytes(data)
    with mxio.open(path) as reader:
        assert list(reader) == ["a", "b"]
    assert same(mxio.load(path, names=["b"])["b"], file.object["b"])
    with pytest.raises(mxio.UnsupportedError, match="int4_packed"):
        mxio.load(path)
    assert mxio.verify(path) == []


def test_the_reference_accepts_its_own_crafted_files_as_those_of_a_writer() -> None:
    for name in ("one_array", "tuple", "chunks_of_whole_columns", "two_aliases_between_others"):
        reference.strict(VALID[name].build())
    breaches = [VALID[n] for n in ("index_last", "chunks_of_one_byte", "optional_features")]
    breaches += [VALID[n] for n in ("data_in_another_order", "appending", "later_generation")]
    for plan in breaches:
        reference.read(plan.build())
        with pytest.raises(reference.Invalid):
            reference.strict(plan.build())


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        *((b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA)),
        *((b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)),
    ],
)
def test_the_reference_computes_the_crcs_of_rfc_3720(data: bytes, crc: int) -> None:
    assert reference.crc32c(data) == crc


def example() -> tuple[int, dict[int, bytes]]:
    """The length of the page's worked example, and its lines `offset: bytes`."""
    before, _, block = PAGE.read_text(encoding="utf-8").partition("<!-- example")
    block = block.partition("\n## ")[0]
    length = re.findall(r"gives these ([\d,]+) bytes", before)[-1]
    lines = re.findall(r"^ +([0-9a-f]{4,}): ((?:[0-9a-f]{2} ?)+)", block, re.MULTILINE)
    return int(length.replace(",", "")), {int(at, 16): bytes.fromhex(b) for at, b in lines}


def test_the_worked_example_of_the_page_is_right_byte_for_byte(tmp_path: Path) -> None:
    length, lines = example()
    assert lines, "section 6 of FORMAT.md has no lines `offset: hex bytes`"
    page = bytearray(length)
    for at, raw in lines.items():
        page[at : at + len(raw)] = raw
    assert len(page) == length
    array = np.array([1, 2, 3], "<u2")
    assert Craft([Item("a", "uint16", (3,), array.tobytes())], "dict", {"k": 1}).build() == page
    path = tmp_path / "x.mxio"
    mxio.save(path, {"a": array}, metadata={"k": 1})
    assert path.read_bytes() == page
    assert same(reference.strict(bytes(page)).object, {"a": array})


A = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
BIG = np.arange(300_000, dtype=np.uint8).reshape(3000, 100)
SAVED: dict[str, Any] = {
    "array": A,
    "array_of_no_dims": np.array(5, np.uint16),
    "empty_array": np.zeros((3, 0, 2), np.float32),
    "fortran": np.asfortranarray(A),
    "strided": A[:, ::2, ::-1],
    "transposed_inside": A.transpose(1, 0, 2),
    "broadcast": np.broadcast_to(np.arange(3, dtype=np.int8), (4, 3)),
    "read_only": np.frombuffer(b"abcdef", np.uint8),
    "chunks": BIG,
    "chunks_in_fortran_order": np.asfortranarray(BIG),
    "slices_above_64_ki": np.zeros((3, 70_000), np.uint8),
    "items_above_64_ki": np.array([b"x" * 70_000, b"y"]),
    "items_of_three_bytes": np.full(50_000, b"abc"),
    "list": [A, A + 1],
    "tuple": (A,),
    "dict": {"b": A, "a": A[0], "": A[1], "é/😀": A[0, 0]},
    "nothing_in_a_dict": {},
    "nothing_in_a_list": [],
    "nothing_in_a_tuple": (),
    "small_after_large_after_small": {"a": A, "b": BIG, "c": A, "d": BIG.astype("f4"), "e": A},
    "same_array_twice": {"a": A, "b": A, "c": [A]},
    "same_empty_array_twice": [A[:0]] * 2,
    "list_of_eleven": [np.array([n]) for n in range(11)],
    "tree": {
        "layers": [{"w": A, "b": None}, {"w": A + 1, "b": A[0]}],
        **{"lr": 1e-3, "steps": 10**6, "name": "é\n", "raw": b"\x00\xff", "on": True},
        "ends": (-0.0, math.inf, -math.inf, 2**53, -(2**53), 2**53 - 1, 2**200, 1e16, 1e22, 5e-324),
        "nan": struct.unpack("<d", struct.pack("<Q", 0xFFF8000000001234)),
        **{"empty": [{}, [], ()], "keys": {1: A, "x": 2, None: 3, False: 4, -(2**80): A}},
    },
    "plain_value": 7,
    "list_in_list": [[A]],
    "list_with_none": [A, None],
    "dict_with_number_keys": {0: A, 1: A[0]},
}


def item_of(dtype: str) -> np.ndarray[Any, Any]:
    file = reference.read(one(dtype, (4, 3)).build())
    return np.array(file.object)


SAVED |= {f"dtype_{dtype}": item_of(dtype) for dtype in DTYPES}
SAVED |= {  # that chunks are filled by, or nearly, or that fill more than one
    f"rows_of_{n}_bytes": np.arange(200_000, dtype=np.uint8)[: 200_000 // n * n].reshape(-1, n)
    for n in (1, 64, 100, 4096, 32_768, 32_769, 65_535, 65_536, 65_537)
}


@pytest.mark.parametrize("name", SAVED)
def test_the_reference_reads_what_mxio_saved(name: str, tmp_path: Path) -> None:
    saved = SAVED[name]
    path = tmp_path / "x.mxio"
    metadata = {"who": "é", "n": [1, 2.5, None]}
    mxio.save(path, saved, metadata=metadata)
    data = path.read_bytes()
    file = reference.strict(data)
    assert same(file.object, saved)
    assert same(file.metadata, metadata)
    assert mxio.dumps(saved, metadata=metadata) == data
    stream = io.BytesIO()
    mxio.save(stream, saved, metadata=metadata)
    assert stream.getvalue() == data
    assert same(mxio.load(path), saved)


@pytest.mark.parametrize("alphabet", ["ab", "\x01\x7f", "aé€\U0001f600"])
def test_names_of_all_lengths_are_sorted_as_the_reference_wants(alphabet: str) -> None:
    choice = random.Random(len(alphabet))
    names = {""}
    for length in range(300):  # some hundred long ones, equal for as long as can be
        begin = "".join(choice.choices(alphabet, k=length))
        names |= {begin, begin + alphabet[0], begin[:-1] + alphabet[-1]}
        names |= {"".join(choice.choices(alphabet, k=choice.randrange(20))) for _ in range(40)}
    shuffled = sorted(names, key=lambda name: choice.random())
    zero = np.zeros(1)
    data = mxio.dumps(dict.fromkeys(shuffled, zero))
    assert list(reference.strict(data).object) == shuffled
    with mxio.open(data) as reader:
        assert all(name in reader for name in shuffled)
        assert alphabet * 200 not in reader


@pytest.mark.parametrize(
    "kind", ["i2", "i8", "u4", "f2", "f8", "c8", "c16", "U3", "M8[s]", "m8[3D]"]
)
def test_big_endian_arrays_are_saved_in_little_endian(kind: str) -> None:
    little = np.arange(6).astype("i8").reshape(2, 3).astype(f"<{kind}")
    for array in (little.astype(f">{kind}"), np.asfortranarray(little.astype(f">{kind}"))):
        assert same(reference.strict(mxio.dumps(array)).object, little)


def test_no_metadata_and_empty_metadata_are_the_same_file() -> None:
    assert mxio.dumps([A]) == mxio.dumps([A], metadata={}) == mxio.dumps([A], metadata=None)
    assert reference.strict(mxio.dumps([A])).metadata == {}


def test_an_array_that_is_saved_twice_is_stored_once() -> None:
    file = reference.strict(mxio.dumps({"a": BIG, "b": BIG}))
    assert [e.alias_of for e in file.entries] == [0, 1]


def test_the_order_of_an_array_is_kept() -> None:
    orders = {"c": A, "f": np.asfortranarray(A), "strided": A[:, ::2], "vector": A[0, 0]}
    file = reference.strict(mxio.dumps(orders))
    assert [e.order for e in file.entries] == [0, 1, 0, 0]


def test_a_saved_file_is_the_same_after_load_and_save() -> None:
    for name in ("tree", "dict", "fortran", "same_array_twice"):
        data = mxio.dumps(SAVED[name])
        assert mxio.dumps(mxio.loads(data)) == data


def leaves() -> st.SearchStrategy[Any]:
    numbers = st.integers() | st.integers(2**53 - 2, 2**53 + 2) | st.floats(allow_nan=False)
    dtypes = st.sampled_from([np.dtype(d) for d in ("i1", "<u2", "<f8", "<c8", "?", "S2", "<U2")])
    arrays = dtypes.flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0))
    )
    texts = st.text(st.characters(exclude_categories=["Cs"]))
    return st.none() | st.booleans() | numbers | texts | st.binary() | arrays


def trees() -> st.SearchStrategy[Any]:
    names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    keys = names | st.integers() | st.booleans() | st.none()
    return st.recursive(
        leaves(),
        lambda node: (
            st.lists(node)
            | st.lists(node).map(tuple)
            | st.dictionaries(keys, node)
            | st.dictionaries(names, node)
        ),
        max_leaves=12,
    )


def paths(node: Any, path: tuple[str, ...] = ()) -> list[str]:
    """The names that the arrays of a tree get."""
    if isinstance(node, np.ndarray):
        return ["/".join(path)]
    if not isinstance(node, dict | list | tuple):
        return []
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    return [name for key, value in pairs for name in paths(value, (*path, str(key)))]


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(trees())
def test_the_reference_reads_any_tree_that_mxio_saved(saved: Any) -> None:
    names = paths(saved)
    if len(set(names)) < len(names):
        with pytest.raises(mxio.EntryError):
            mxio.dumps(saved)
        return
    data = mxio.dumps(saved)
    assert same(reference.strict(data).object, saved)
    assert same(mxio.loads(data), saved)
