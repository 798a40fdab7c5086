# SPDX-License-Identifier: Apache-2.0
"""What was saved comes back as it was: every structure and every plain value, bit by bit.

And a structure or metadata that an enemy wrote is refused, unless it is what mxio would have
written itself.
"""

from __future__ import annotations

import enum
import itertools
import json
import math
import struct
import sys
from collections import OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from mxio._tree import decode_metadata, encode_metadata, flatten, unflatten
from mxio.errors import FormatError, UnsupportedError

A, B, C = (np.full(2, n) for n in range(3))


class Leaf:
    """An array of some other library."""


def is_leaf(value: object) -> bool:
    return isinstance(value, Leaf)


def flat(obj: object) -> tuple[list[str], list[object], str]:
    names, arrays, structure = flatten(obj, is_leaf)
    return names, arrays, structure.decode("ascii")


def back(obj: object) -> object:
    names, arrays, structure = flatten(obj, is_leaf)
    return unflatten(structure, names, arrays)


def same(a: Any, b: Any) -> bool:
    """Whether two objects are equal in types, bits and order, and their arrays identical."""
    if isinstance(a, (np.ndarray, np.generic, Leaf)):
        return a is b
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    return bool(a == b)


def nan(bits: str) -> float:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert math.isnan(value)
    return float(value)


def nest(depth: int, leaf: object, kind: type = list) -> Any:
    for _ in range(depth):
        leaf = {"k": leaf} if kind is dict else kind([leaf])
    return leaf


# ---- names and structure -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "names", "structure"),
    [
        (A, [""], '"array"'),
        ([A, B], ["0", "1"], '"list"'),
        ((A, B), ["0", "1"], '"tuple"'),
        ({"x": A, "y/z": B, "": C}, ["x", "y/z", ""], '"dict"'),
        *(([], [], '"list"'), ((), [], '"tuple"'), ({}, [], '"dict"')),
        ([A, 1], ["0"], '{"tree":{"list":["array",1]}}'),
        ([[A], (B,)], ["0/0", "1/0"], '{"tree":{"list":[{"list":["array"]},{"tuple":["array"]}]}}'),
        ({1: A, "b": B}, ["1", "b"], '{"tree":{"dict":[[1,"array"],["b","array"]]}}'),
        (
            {"m": {True: A, None: B, -3: C}},
            ["m/True", "m/None", "m/-3"],
            '{"tree":{"dict":[["m",{"dict":[[true,"array"],[null,"array"],[-3,"array"]]}]]}}',
        ),
        ({"": {"": A}, "a/": B}, ["/", "a/"], None),
        *((None, [], '{"tree":null}'), (True, [], '{"tree":true}'), (-0.0, [], '{"tree":-0.0}')),
        (2**53 - 1, [], '{"tree":9007199254740991}'),
        (-(2**53), [], '{"tree":{"int":"-0x20000000000000"}}'),
        (1e22, [], '{"tree":1e+22}'),
        (-math.inf, [], '{"tree":{"float":"fff0000000000000"}}'),
        ("é\n\U0001f600", [], '{"tree":{"str":"\\u00e9\\n\\ud83d\\ude00"}}'),
        (b"\xff\xfe", [], '{"tree":{"bytes":"//4="}}'),
        ([[], (), {}], [], '{"tree":{"list":[{"list":[]},{"tuple":[]},{"dict":[]}]}}'),
        ({2**60: A}, [str(2**60)], '{"tree":{"dict":[[{"int":"0x1000000000000000"},"array"]]}}'),
    ],
)
def test_every_form_of_the_page_is_written_so(saved: object, names: list[str], structure: str):
    found = flat(saved)
    assert found[0] == names
    assert structure is None or found[2] == structure
    assert same(back(saved), saved)


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 2**53, -(2**53) + 1, 2**64, 10**4299, 10**5000, -(3**20_000)),
        *(0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, 1e16, 123456789012345680.0, math.inf),
        *(nan("7ff8000000000000"), nan("fff8000000000001"), nan("7ff0000000000001")),
        *("", "\0", "\ud800", "a\udfffb", "\udc00\ud800", "\U0010ffff", "/", '"\\\x7f', "array"),
        *(b"", b"\0", bytes(range(256)), True, False, None),
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, int) else hex(value)[:20],
)
def test_plain_values_come_back_exactly(value: object):
    assert same(back(value), value)
    assert same(back({"x": [value, A, (value,)]}), {"x": [value, A, (value,)]})


@pytest.mark.parametrize(
    "key", ["", "\0", "\ud800", "a/b", 0, -1, 2**53, -(2**64), 10**4000, True, False, None]
)
def test_keys_come_back_as_what_they_were(key: object):
    assert same(back({key: 1}), {key: 1})
    assert same(back([{key: {}}]), [{key: {}}])


def test_keys_keep_their_types_and_their_order():
    assert same(back({True: A, 0: B}), {True: A, 0: B})
    assert same(back({False: A, 1: B}), {False: A, 1: B})
    assert flat({"b": A, "a": {2: B, 1: C}})[0] == ["b", "a/2", "a/1"]


class Color(enum.IntEnum):
    RED = 1


class Mode(str, enum.Enum):
    FAST = "fast"


def other(value: str) -> dict[str, Any]:
    """Methods of a subclass that would say something else than what is there."""
    return dict.fromkeys(("__str__", "__repr__"), lambda self: value)


Loud: Any = type("Loud", (str,), other("LOUD"))
Odd: Any = type(
    "Odd", (int,), other("9") | {"__int__": lambda self: 9, "__index__": lambda self: 9}
)
Real: Any = type("Real", (float,), other("9.5") | {"__float__": lambda self: 9.5})
Raw: Any = type("Raw", (bytes,), {"__bytes__": lambda self: b"other"})
Items: Any = type("Items", (list,), {})
Pair: Any = type("Pair", (tuple,), {})


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        *((Color.RED, 1), (Mode.FAST, "fast"), (Loud("a"), "a"), (Odd(3), 3), (Odd(2**70), 2**70)),
        *((Real(0.5), 0.5), (Real("-inf"), -math.inf), (Raw(b"x"), b"x")),
        *((Items([1]), [1]), (Pair([1]), (1,)), (OrderedDict(a=1), {"a": 1})),
        *((defaultdict(list, a=[]), {"a": []}), (MappingProxyType({"a": 1}), {"a": 1})),
        *((UserDict(a=1), {"a": 1}), ({np.str_("k"): 1}, {"k": 1}), ({Mode.FAST: 1}, {"fast": 1})),
        ({Color.RED: 1, Loud("k"): 2, Odd(7): 3}, {1: 1, "k": 2, 7: 3}),
    ],
)
def test_subclasses_come_back_as_the_plain_type(value: object, plain: object):
    assert same(back(value), plain)
    assert same(back([value, A]), [plain, A])


@pytest.mark.parametrize("mapping", [MappingProxyType, UserDict, OrderedDict])
def test_any_mapping_of_arrays_is_a_dict(mapping: Any):
    assert flat(mapping({"a": A, "b": B})) == (["a", "b"], [A, B], '"dict"')


@pytest.mark.parametrize(
    "value",
    [np.float64(1.5), np.str_("x"), np.bytes_(b"x"), np.bool_(True), np.int64(1), Leaf(), A],
    ids=lambda value: type(value).__name__,
)
def test_numpys_scalars_and_other_arrays_are_arrays(value: object):
    assert flat(value) == ([""], [value], '"array"')
    assert flat([value])[1:] == ([value], '"list"')
    assert flat({"a": {"b": value, "c": 1}})[:2] == (["a/b"], [value])


def test_the_predicate_is_not_asked_about_plain_values_and_containers():
    def never(value: object) -> bool:
        raise AssertionError(value)

    flatten([1, "a", b"", None, 1.5, {"a": (A, np.float32(1))}, Items()], never)


# ---- what cannot be saved ----------------------------------------------------------------


@dataclass
class Config:
    x: int


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Point(1, 2), "Point; use ._asdict()"),
        ({1, 2}, "a set; use sorted"),
        (frozenset(), "a frozenset; use sorted"),
        (1j, "a complex; use numpy.complex128"),
        *((iter([]), "a list_iterator; use list"), ((x for x in ()), "a generator; use list")),
        *((range(3), "a range; use list"), (deque(), "a collections.deque; use list")),
        (Config(1), "Config; use dataclasses.asdict"),
        (Config, "a type; save its values, not the class"),
        (len, "a builtin_function_or_method; save its values, not code"),
        (object(), "an object; use arrays, plain values"),
        *((enum.Enum("E", "A").A, "use its .value"), (date(2020, 1, 1), "datetime64")),
        *((Decimal(1), "use str"), (Path(), "use str")),
        (NotImplemented, "a NotImplementedType; use arrays"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_saved_is_named_with_what_to_do_instead(value: object, words: str):
    with pytest.raises(TypeError) as caught:
        flat({"model": [A, {"opt": value}]})
    message = str(caught.value)
    assert message.startswith("'model/1/opt': cannot save a")
    assert words in message
    with pytest.raises(TypeError, match=r"^cannot save a"):
        flat(value)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (np.int64(1), "a numpy.int64 as a key; use int(key)"),
        (np.bool_(True), "use bool(key)"),
        *((1.5, "a float as a key; use a str"), (b"x", "a bytes as a key; use a str")),
        ((1, 2), "a tuple as a key; use a str"),
        (Leaf(), "Leaf as a key; use a str"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_key_that_is_no_key_is_named_with_its_place(key: object, words: str):
    with pytest.raises(TypeError) as caught:
        flat({"model": {"a": A, key: B}})
    assert str(caught.value).startswith("'model': cannot save a dict with a")
    assert words in str(caught.value)
    with pytest.raises(TypeError, match=r"^cannot save a dict with"):
        flat({key: A})


def test_two_arrays_of_one_name_are_refused():
    for saved in ({"a": {"b": A}, "a/b": B}, {1: A, "1": B}, {"x": {True: A, "True": B}}):
        with pytest.raises(ValueError, match=r"two arrays get the name '(a/b|1|x/True)'"):
            flat(saved)
    saved = {"a": {"b": 1}, "a/b": 2, 1: A, "1": 3}  # plain values have no names
    assert same(back(saved), saved)


def test_keys_that_are_equal_once_they_are_plain_are_refused():
    class Other(str):
        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            return self is other

    for value in (A, 1):
        with pytest.raises(ValueError, match=r"^two keys"):
            flat({Other("a"): value, "a": value})


class Twice(Mapping[Any, Any]):
    def __init__(self, *keys: object) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[object]:
        return iter(self._keys)

    def __getitem__(self, key: object) -> object:
        return 1


@pytest.mark.parametrize("keys", [("a", "a"), (1, True), (0, False)])
def test_a_mapping_that_repeats_a_key_is_refused(keys: tuple[object, ...]):
    with pytest.raises(ValueError, match="two keys of the dict are equal"):
        flat([Twice(*keys)])


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_containers_nest_a_hundred_deep_and_no_deeper(kind: type):
    assert same(back(nest(100, 7, kind)), nest(100, 7, kind))
    assert same(back(nest(100, A, kind)), nest(100, A, kind))
    assert same(back(nest(99, kind(), kind)), nest(99, kind(), kind))
    for leaf in (7, A, kind()):
        with pytest.raises(ValueError, match="nested more than 100 deep") as caught:
            flat(nest(100, [leaf], kind))
        assert len(str(caught.value)) < 300


def test_cycles_are_refused():
    ring: list[object] = [A]
    ring.append({"again": ring})
    with pytest.raises(ValueError, match=r"^'1/again/1/again/.*nested more than 100 deep"):
        flat(ring)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a\0b", "NUL"),
        ("\ud800", "lone surrogate"),
        ("x" * 65_536, "65535 bytes of UTF-8, not 6553[68]"),
        ("é" * 32_768, "65535 bytes of UTF-8, not 6553[68]"),
    ],
    ids=["nul", "surrogate", "ascii", "utf8"],
)
def test_names_that_a_file_cannot_hold_are_refused(name: str, words: str):
    for saved in ({"ok": A, name: B}, {"ok": 1, name: B}, [{name: B}, 1]):
        with pytest.raises(ValueError, match=words) as caught:
            flat(saved)
        assert len(str(caught.value)) < 300
    assert same(back({name: 1, "x": A}), {name: 1, "x": A})


def test_the_longest_names_are_kept():
    for name in ("x" * 65_535, "é" * 32_767 + "x"):
        assert flat({name: A})[0] == [name]
        assert flat({name: A, "n": 1})[0] == [name]
    assert flat({"a": {"x" * 65_533: A}})[0] == ["a/" + "x" * 65_533]
    with pytest.raises(ValueError, match="not 65536"):
        flat({"a": {"x" * 65_534: A}})


def test_an_int_key_has_a_limit_of_digits():
    assert same(back({10**4300 - 1: A}), {10**4300 - 1: A})
    for key in (10**4300, -(10**4300)):
        for value in (A, 1):
            with pytest.raises(ValueError, match="more than 4300 digits"):
                flat({key: value})


def test_a_surrogate_pair_that_json_would_join_is_refused():
    pair = "\ud83d" + "\ude00"
    for saved in (pair, {"x": pair}, {pair: 1}, {"x": {pair: 1, "y": A}}):
        with pytest.raises(ValueError, match="surrogate pair"):
            flat(saved)
    with pytest.raises(ValueError, match="lone surrogate"):
        flat({pair: A})


# ---- a structure that an enemy wrote -----------------------------------------------------


def read(structure: bytes | str, *names: str) -> object:
    data = structure if isinstance(structure, bytes) else structure.encode()
    return unflatten(data, list(names), [object() for _ in names])


def tree(node: str) -> str:
    return f'{{"tree":{node}}}'


DEEP = 100_000

STRUCTURES = [
    *("", '{"tree":', '"dict" ', ' "dict"', '{"tree": 1}', '{"tree":1}1', '\ufeff{"tree":1}'),
    *('{"tree":1,"tree":2}', "{'tree':1}", "1", "null", '"array2"', '["array"]', "{}"),
    *('{"list":[1]}', '{"dict":[]}', '{"int":"0xffffffffffffffff"}', '{"tree":1,"int":1}'),
    *('{"tree":' + '{"list":[' * DEEP, "[" * DEEP, "[" * DEEP + "]" * DEEP, '{"tree":' * DEEP),
    *("]" * DEEP + "[" * DEEP, '"' + '\\"' * DEEP),
]
NODES = [
    # not JSON, or not the one form of it
    *("[1, 2]", '{"list":[1,\n2]}', '{"str":"é"}', "NaN", "Infinity", "-Infinity"),
    *('{"str":"a","str":"a"}', '{"odd":1,"odd":1}', '{"str":"\x01"}', '{"str":"\\u0041"}'),
    *('{"str":"\\/"}', '{"str":"\\u00E9"}', '{"list":[1,]}'),
    # shapes
    *(tree("1"), tree('"x"'), '"dict"', "[1]", "{}", '{"int":"0xffffffffffffffff","str":"a"}'),
    *('{"list":1}', '{"list":{}}', '{"list":"ab"}', '{"tuple":null}', '{"dict":{"a":1}}'),
    *('{"dict":"ab"}', '{"dict":[1]}', '{"dict":[["a",1,2]]}', '{"dict":["ab"]}'),
    '{"dict":[{"a":1}]}',
    # keys: of other types, in other forms, equal
    *('{"dict":[[1.5,1]]}', '{"dict":[[[1],1]]}', '{"dict":[[{"str":"a"},1]]}'),
    *('{"dict":[[{"bytes":"YQ=="},1]]}', '{"dict":[[{"float":"7ff0000000000000"},1]]}'),
    *('{"dict":[[{"tuple":[]},1]]}', '{"dict":[[{},1]]}', '{"dict":[[{"int":"0x1"},1]]}'),
    *('{"dict":[[9007199254740992,1]]}', '{"dict":[[{"int":"0x' + "f" * 4000 + '"},1]]}'),
    *('{"dict":[["a",1],["a",2]]}', '{"dict":[[1,1],[1,2]]}', '{"dict":[[true,1],[1,2]]}'),
    '{"dict":[[0,1],[false,2]]}',
    # ints
    *("9007199254740992", "-9007199254740992", "1" * DEEP, "-0", "01", "+1", '{"int":"0x1f"}'),
    *('{"int":9007199254740993}', '{"int":"ffffffffffffffff"}', '{"int":"0xFFFFFFFFFFFFFFFF"}'),
    *('{"int":"0Xffffffffffffffff"}', '{"int":"+0xffffffffffffffff"}'),
    *('{"int":"0x0ffffffffffffffff"}', '{"int":"0xffff_ffffffffffff"}', '{"int":[]}'),
    *('{"int":" 0xffffffffffffffff"}', '{"int":"0x\\u0661\\u0661\\u0661fffffffffffff"}'),
    # floats
    *("1e999", "1e" + "9" * DEEP, "1e5", "1E+22", "1e22", "0.10", "0.1000000000000000055"),
    *('{"float":"3ff0000000000000"}', '{"float":"7FF0000000000000"}', '{"float":"7ff"}'),
    *('{"float":"7ff000000000000000"}', '{"float":"7ff0 000000000000"}', '{"float":1.5}'),
    # strings
    *('{"str":1}', '{"str":null}', '{"str":["a"]}', '{"bytes":"YQ"}', '{"bytes":"YR=="}'),
    *('{"bytes":"__4="}', '{"bytes":"YQ= ="}', '{"bytes":"YQ==YQ=="}', '{"bytes":"\\u00e9"}'),
    '{"bytes":1}',
    # a tree where a word would do
    *('{"list":[]}', '{"tuple":[]}', '{"dict":[]}'),
    # too deep
    *('{"list":[' * 101 + "1" + "]}" * 101, '{"dict":[["",' * 101 + "1" + "]]}" * 101),
    '{"list":[' * DEEP + "]}" * DEEP,
]
ENTRIES: list[tuple[str, ...]] = [
    *(('"array"',), ('"array"', "", "a"), ('"array"', "a"), ('"list"', "a"), ('"list"', "1")),
    *(('"list"', "1", "0"), ('"tuple"', "00"), ('"dict"', "a", "a"), (tree("1"), "a")),
    *((tree('{"list":["array","array",1]}'), "0"), (tree('{"list":["array",1]}'), "0", "1")),
    *((tree('{"dict":[["a",{"list":["array"]}]]}'), "a/1"), (tree('{"dict":[[1,"array"]]}'), "01")),
    (tree('{"dict":[["\\ud800","array"],["b",1]]}'), "?"),
    (tree('{"list":[' * 101 + '"array"' + "]}" * 101), "0" + "/0" * 100),
    *((tree('"array"'), ""), (tree('{"list":["array"]}'), "0")),
    *((tree('{"tuple":["array","array"]}'), "0", "1"), (tree('{"dict":[["a","array"]]}'), "a")),
]
REFUSED = [*((text,) for text in STRUCTURES), *((tree(node),) for node in NODES), *ENTRIES]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0][:50])
def test_a_structure_that_the_page_does_not_allow_is_refused(case: tuple[str, ...]):
    with pytest.raises(FormatError) as caught:
        read(*case)
    assert len(str(caught.value)) < 600
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "node",
    [
        *('{"sparse":1}', '{"list":[1,{"sparse":[]}]}', '{"dict":[["a",{"sparse":"x"}]]}'),
        *('{"dict":[[{"sparse":1},1]]}', '{"sparse":1,"list":[]}', '{"list":[],"sparse":1}'),
    ],
)
def test_an_object_of_another_key_is_unsupported_and_named(node: str):
    with pytest.raises(UnsupportedError, match="'sparse'"):
        read(tree(node))


def test_an_unknown_structure_is_unsupported_and_named():
    for structure in ('{"forest":1}', '{"tree":1,"forest":1}'):
        with pytest.raises(UnsupportedError, match="'forest'"):
            read(structure)
    with pytest.raises(UnsupportedError) as caught:
        read('{"%s":1}' % ("x" * DEEP))
    assert len(str(caught.value)) < 300


def test_a_structure_may_be_as_deep_as_the_page_allows_from_far_down_the_stack():
    structures = [
        tree('{"dict":[[1,' * 99 + '{"dict":[[{"int":"0x20000000000000"},1]]}' + "]]}" * 99),
        tree('{"list":[' * 99 + '{"list":[{"float":"7ff0000000000000"}]}' + "]}" * 99),
    ]

    def down(n: int) -> object:
        return down(n - 1) if n else [read(structure) for structure in structures]

    assert down(200)


def test_brackets_in_strings_are_not_nesting():
    text = '[{"\\' * DEEP
    assert same(back(text), text)
    assert same(back({text: [text]}), {text: [text]})


def test_every_change_of_a_byte_of_a_structure_is_refused_or_means_something_else():
    saved = {"a": [A, 1.5, "x\u00e9", b"yz", 2**60], 1: (True, None, math.nan), "b": {-2: B}}
    names, arrays, structure = flatten(saved, is_leaf)
    for at in range(len(structure)):
        for byte in b'\x00 "0[]{}:,aA-.\\\xff':
            changed = bytearray(structure)
            changed[at] = byte
            try:
                found = unflatten(bytes(changed), names, arrays)
            except (FormatError, UnsupportedError):
                continue
            assert flatten(found, is_leaf) == (names, arrays, bytes(changed))
    for end in range(len(structure)):
        with pytest.raises(FormatError):
            unflatten(structure[:end], names, arrays)


# ---- metadata ----------------------------------------------------------------------------


def test_metadata_comes_back_in_its_order():
    metadata: Any = {"z": 1, "a": [True, None, {"k": "é\ud800"}, 2**70, -0.0, 1e300, []], "": {}}
    data = encode_metadata(metadata)
    assert data.isascii()
    found = decode_metadata(data)
    assert same(found, metadata)
    assert encode_metadata(found) == data


def test_no_metadata_is_no_bytes():
    assert encode_metadata(None) == encode_metadata(MappingProxyType({})) == b""
    assert decode_metadata(b"") == {}


def test_metadata_becomes_plain():
    metadata: Any = {Loud("k"): (1, Color.RED, Loud("v"), Real(0.5), OrderedDict(a=Odd(3)))}
    assert same(decode_metadata(encode_metadata(metadata)), {"k": [1, 1, "v", 0.5, {"a": 3}]})


@pytest.mark.parametrize(
    ("metadata", "error", "words"),
    [
        ([1], TypeError, "metadata is a dict of JSON values, not a list"),
        ("x", TypeError, "metadata is a dict of JSON values, not a str"),
        (0, TypeError, "not an int"),
        ({1: 2}, TypeError, "a key of metadata cannot be an int; use a str"),
        ({"a": [{None: 1}]}, TypeError, "a key of metadata['a'][0] cannot be a NoneType"),
        ({"a": {"b": np.float64(1)}}, TypeError, "metadata['a']['b'] cannot be a numpy.float64"),
        ({"a": np.int32(1)}, TypeError, "use .item()"),
        ({"a": np.zeros(2)}, TypeError, "metadata['a'] cannot be a numpy.ndarray; use .tolist()"),
        ({"a": b"x"}, TypeError, "metadata['a'] cannot be a bytes"),
        ({"a": {1}}, TypeError, "metadata['a'] cannot be a set"),
        ({"a": math.nan}, ValueError, "metadata['a'] is nan"),
        ({"a": [0, -math.inf]}, ValueError, "metadata['a'][1] is -inf"),
        ({"a": 10**4300}, ValueError, "metadata['a'] has more than 4300 digits"),
        ({"a": "\ud83d\ude00"}, ValueError, "surrogate pair"),
        ({"\ud83d\ude00": 1}, ValueError, "surrogate pair"),
        (Twice("a", "a"), ValueError, "metadata['a'] is there twice"),
        (nest(101, 1, dict), ValueError, "nested more than 100 deep"),
        ({"a": nest(100, 1)}, ValueError, "nested more than 100 deep"),
    ],
)
def test_metadata_that_json_cannot_say_is_refused(metadata: Any, error: type, words: str):
    with pytest.raises(error) as caught:
        encode_metadata(metadata)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


def test_metadata_nests_a_hundred_deep():
    metadata = {"a": nest(99, 1)}
    assert decode_metadata(encode_metadata(metadata)) == metadata
    assert decode_metadata(encode_metadata(nest(100, 1, dict))) == nest(100, 1, dict)
    metadata = {"n": 10**4300 - 1, "m": 1 - 10**4300}
    assert decode_metadata(encode_metadata(metadata)) == metadata


@pytest.mark.parametrize(
    "text",
    [
        *("{}", "[]", "1", "null", '"a"', "{", "}", " ", '{"a":1} ', ' {"a":1}', '{"a": 1}'),
        *('{"a":1,}', '{"a":1,"a":1}', '{"a":{"b":1,"b":2}}', '{"a":NaN}', '{"a":-Infinity}'),
        *('{"a":"é"}', '\ufeff{"a":1}', '{"a":1e999}', '{"a":-0}', '{"a":1E5}', '{"a":01}'),
        *('{"a":"\\u0041"}', "{'a':1}", '{"a":%s}' % ("1" * 4301), '{"a":%s}' % ("1" * DEEP)),
        *('{"a":' * DEEP, '{"a":' + "[" * 100 + "]" * 100 + "}", '{"a":"\t"}', "{a:1}", '{"a":1}1'),
    ],
    ids=lambda text: text[:20],
)
def test_metadata_that_an_enemy_wrote_is_refused(text: str):
    with pytest.raises(FormatError) as caught:
        decode_metadata(text.encode())
    assert len(str(caught.value)) < 200


def test_a_hundred_thousand_arrays_are_not_a_matter_of_seconds():
    """A smoke alarm for something quadratic: measured, they are tens of milliseconds."""
    leaf = Leaf()
    wide = {f"layer.{n}.weight": leaf for n in range(100_000)}
    deep = {f"a{n}": {f"b{m}": [leaf, m, {"lr": 0.5}] for m in range(100)} for n in range(300)}
    assert same(back(wide), wide)
    assert same(back(list(wide.values())), list(wide.values()))
    assert same(back(deep), deep)


# ---- random trees ------------------------------------------------------------------------


def test_random_trees_come_back():
    hypothesis, st = pytest.importorskip("hypothesis"), pytest.importorskip("hypothesis.strategies")
    any_str = st.text(st.characters(exclude_categories=()), max_size=6)
    texts = any_str.filter(lambda s: not surrogates_meet(s))
    small, exact = st.integers(-(2**80), 2**80), st.integers(-(2**54), 2**54)
    ints = small | exact | st.builds(lambda n, k: n << k, small, st.integers(0, 20_000))
    floats = st.floats() | st.integers(0, 2**64 - 1).map(
        lambda bits: struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    )
    plain = st.none() | st.booleans() | ints | floats | texts | st.binary(max_size=9)
    arrays = st.builds(Leaf) | st.just(A) | st.builds(np.float64)
    keys = st.none() | st.booleans() | small | texts
    trees = st.recursive(
        plain | arrays,
        lambda node: (
            st.lists(node, max_size=4)
            | st.lists(node, max_size=4).map(tuple)
            | st.dictionaries(keys, node, max_size=4)
        ),
        max_leaves=20,
    )

    @hypothesis.given(trees)
    @hypothesis.settings(max_examples=400, deadline=None)
    def check(saved: object) -> None:
        try:
            names, leaves, structure = flatten(saved, is_leaf)
        except ValueError as exc:
            hypothesis.assume("two arrays" not in str(exc))
            hypothesis.assume("a name cannot hold" not in str(exc))
            raise
        assert structure.isascii()
        found = unflatten(structure, names, leaves)
        assert same(found, saved)
        assert flatten(found, is_leaf) == (names, leaves, structure)

    check()


def surrogates_meet(text: str) -> bool:
    return any(
        "\ud800" <= a <= "\udbff" and "\udc00" <= b <= "\udfff" for a, b in itertools.pairwise(text)
    )


def test_random_metadata_comes_back():
    hypothesis, st = pytest.importorskip("hypothesis"), pytest.importorskip("hypothesis.strategies")
    texts = st.text(st.characters(exclude_categories=()), max_size=6)
    texts = texts.filter(lambda s: not surrogates_meet(s))
    floats = st.floats(allow_nan=False, allow_infinity=False)
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**80), 2**80) | floats | texts,
        lambda node: st.lists(node, max_size=4) | st.dictionaries(texts, node, max_size=4),
        max_leaves=20,
    )

    @hypothesis.given(st.dictionaries(texts, values, max_size=4))
    @hypothesis.settings(max_examples=200, deadline=None)
    def check(metadata: dict[str, Any]) -> None:
        assert same(decode_metadata(encode_metadata(metadata)), metadata)

    check()


def test_random_json_is_refused_or_the_one_form():
    hypothesis, st = pytest.importorskip("hypothesis"), pytest.importorskip("hypothesis.strategies")
    words = ["array", "list", "tuple", "dict", "tree", "int", "float", "str", "bytes", "odd"]
    words += ["0x20000000000000", "YQ==", "csr", "row_sparse"]
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(words)
    nodes = st.recursive(
        leaves,
        lambda node: (
            st.lists(node, max_size=3) | st.dictionaries(st.sampled_from(words), node, max_size=2)
        ),
        max_leaves=12,
    )

    @hypothesis.given(nodes)
    @hypothesis.settings(max_examples=400, deadline=None)
    def check(node: object) -> None:
        structure = json.dumps({"tree": node}, separators=(",", ":")).encode()
        for data in (structure, json.dumps(node, separators=(",", ":")).encode()):
            try:
                found = unflatten(data, [], [])
            except (FormatError, UnsupportedError):
                continue
            assert flatten(found, is_leaf) == ([], [], data)

    check()


@pytest.mark.skipif(
    not hasattr(sys, "set_int_max_str_digits"), reason="this Python has no limit of digits"
)
def test_large_ints_come_back_whatever_limit_python_has():
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert back([10**5000, A])[0] == 10**5000  # type: ignore[index]
    finally:
        sys.set_int_max_str_digits(before)
