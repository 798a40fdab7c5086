# SPDX-License-Identifier: Apache-2.0
"""What was saved, as named arrays and a structure in JSON, and back (docs/FORMAT.md 3.8).

`flatten` says all that is wrong with what it is given before anything is written, naming
the leaf by its path. `unflatten` and `decode_metadata` assume that an enemy wrote the
JSON: they accept only the one form that the other direction writes, and recurse no deeper
than the format nests. Nothing here looks into an array.
"""

from __future__ import annotations

import base64
import datetime
import enum
import json
import math
import numbers
import os
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType
from typing import Any, TypeAlias

import numpy as np

from mxio._sparse import PARTS, SparseArray
from mxio.errors import FormatError, UnsupportedError, clip, described, quote

__all__ = [
    "DAMAGED",
    "JSON",
    "decode_metadata",
    "encode_metadata",
    "flatten",
    "no_array",
    "unflatten",
    "without_damaged",
]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
Key: TypeAlias = "bool | int | str | None"

_MAX_DEPTH = 100  # containers in containers; never change
_MAX_NAME_NBYTES = 65_535  # never change
_MAX_DIGITS = 4300  # of an int in decimal: what every Python converts without being told to
_TOO_LARGE = 10**_MAX_DIGITS
_EXACT = 2**53  # ints of smaller magnitude are JSON numbers; never change
_BRACKETS = 3 * _MAX_DEPTH + 3  # {"tree":{"dict":[[key,…]]}} and a leaf like {"csr":[2,3]}
_MAX_DIM = 2**63 - 1  # of a sparse array; never change

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)  # linear, unterminated or not
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as int8: one deeper, one less deep
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")

# What becomes of a value, by its type: a word of the format, or "same" for its own JSON.
_KINDS: dict[type, str] = {
    np.ndarray: "array",
    NoneType: "same",
    bool: "same",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
    list: "list",
    tuple: "tuple",
    dict: "dict",
    SparseArray: "sparse",
}
_KEY_TYPES = {str, int, bool, NoneType}
_WORDS = {"tree", "int", "float", "str", "bytes", "list", "tuple", "dict", *PARTS}


# ---- what was saved → names, arrays, structure -----------------------------------------------


def flatten(
    obj: object,
    is_leaf: Callable[[object], bool],
    to_sparse: Callable[[object], SparseArray | None] = lambda obj: None,
) -> tuple[list[str], list[object], bytes]:
    """Return the names of the arrays, the arrays in the same order, and the structure.

    `is_leaf` says what is an array besides NumPy's; `to_sparse` gives the sparse array that
    an object of another library is, or None. Neither is asked about plain values and
    containers. A sparse array is its parts here.
    """
    walk = _Walk(is_leaf, to_sparse)
    kind = walk.kind(obj)
    if kind == "array":
        return [""], [obj], b'"array"'
    if kind in ("list", "tuple", "dict"):
        keys, items = _keys_and_items(obj, "")
        flat = kind != "dict" or set(map(type, keys)) <= {str}
        if flat and walk.are_arrays(items):
            names = keys if isinstance(keys, list) else list(map(str, keys))
            if kind == "dict":
                _check_names(names)
            return names, items, _dumps(kind)
    structure = _dumps({"tree": walk.node(obj, "", 0)})
    _check_names(walk.names)
    if len(set(walk.names)) < len(walk.names):
        twice = Counter(walk.names).most_common(1)[0][0]
        raise ValueError(f"two arrays get the name {quote(twice)}; rename a key on their way")
    return walk.names, walk.arrays, structure


class _Walk:
    """One walk through what is saved: the arrays met, and what becomes of the types met."""

    def __init__(
        self,
        is_leaf: Callable[[object], bool],
        to_sparse: Callable[[object], SparseArray | None],
    ) -> None:
        self.names: list[str] = []
        self.arrays: list[object] = []
        self._is_leaf = is_leaf
        self._to_sparse = to_sparse
        self._kinds = dict(_KINDS)

    def kind(self, value: object) -> str | None:
        """Return what becomes of a value, None if it cannot be saved."""
        kind = self._kinds.get(type(value))
        if kind is None:
            kind = self._new_kind(value)
            if kind is not None:
                self._kinds[type(value)] = kind
        return kind

    def are_arrays(self, values: list[object]) -> bool:
        """Say whether all values are arrays, looking at one of each type."""
        kinds = set(map(type, values))
        if kinds == {np.ndarray}:
            return True
        one_of_each = {type(value): value for value in values} if kinds else {}
        return all(self.kind(value) == "array" for value in one_of_each.values())

    def node(self, value: object, path: str, depth: int) -> object:
        """Return the JSON of a value, and note the arrays in it."""
        kind = self._kinds.get(type(value)) or self.kind(value)
        if kind == "array":
            self.names.append(path)
            self.arrays.append(value)
            return "array"
        if kind == "sparse":
            sparse = self._sparse(value, path)
            if sparse is not None:
                for part, array in sparse.parts.items():
                    self.names.append(f"{path}/{part}" if depth else part)
                    self.arrays.append(array)
                return {sparse.stype: [*sparse.shape]}
            kind = None  # some of its type are, this one is not
        if kind is None:
            raise TypeError(f"{_at(path)}cannot save {described(value)}; {_remedy(value)}")
        if kind not in ("list", "tuple", "dict"):
            return _plain_node(value, kind, path)
        if depth == _MAX_DEPTH:
            raise ValueError(f"{_at(path)}nested more than {_MAX_DEPTH} deep")
        prefix = f"{path}/" if depth else ""
        keys, items = _keys_and_items(value, path)
        nodes = [
            self.node(item, prefix + (key if type(key) is str else str(key)), depth + 1)
            for key, item in zip(keys, items, strict=True)
        ]
        if kind == "dict":
            key_nodes = (_key_node(key, path) for key in keys)
            return {"dict": [[*pair] for pair in zip(key_nodes, nodes, strict=True)]}
        return {kind: nodes}

    def _new_kind(self, value: object) -> str | None:
        if isinstance(value, (np.ndarray, np.generic)):  # before float: numpy.float64 is one
            return "array"
        for plain in (int, float, str, bytes, list):
            if isinstance(value, plain):
                return _KINDS[plain]
        if isinstance(value, tuple):
            return None if hasattr(value, "_fields") else "tuple"
        if isinstance(value, Mapping):
            return None if hasattr(value, "tocsr") else "dict"  # SciPy has a sparse one
        if self._may_be_sparse(value):
            return "sparse"
        return "array" if self._is_leaf(value) else None

    def _may_be_sparse(self, value: object) -> bool:
        try:
            return isinstance(value, SparseArray) or self._to_sparse(value) is not None
        except TypeError:
            return True  # `_sparse` says so, and where

    def _sparse(self, value: object, path: str) -> SparseArray | None:
        if isinstance(value, SparseArray):
            return value
        try:
            return self._to_sparse(value)
        except TypeError as exc:
            message = f"{_at(path)}cannot save {described(value)}: {exc}"
            raise TypeError(message) from exc.__cause__


def _keys_and_items(container: Any, path: str) -> tuple[Sequence[Any], list[object]]:
    """Return the keys, as plain values and each once, and the items; a list's are numbers."""
    if not isinstance(container, Mapping):
        items = list(container)
        return range(len(items)), items
    if type(container) is dict:
        keys, items = list(container), list(container.values())
        if set(map(type, keys)) == {str}:
            return keys, items
    else:
        pairs = list(container.items())
        keys, items = [key for key, _ in pairs], [item for _, item in pairs]
    keys = [_plain_key(key, path) for key in keys]
    if len(set(keys)) < len(keys):
        raise ValueError(f"{_at(path)}two keys of the dict are equal as plain values")
    return keys, items


def _plain_key(key: object, path: str) -> Key:
    if key is None or isinstance(key, bool):
        return key
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, int):
        if abs(key) >= _TOO_LARGE:
            raise ValueError(f"{_at(path)}an int key has more than {_MAX_DIGITS} digits")
        return int.__int__(key)
    remedy = "use a str, an int, a bool or None"
    if isinstance(key, (np.integer, np.bool_)):
        remedy = f"use {'int' if isinstance(key, np.integer) else 'bool'}(key)"
    raise TypeError(f"{_at(path)}cannot save a dict with {described(key)} as a key; {remedy}")


def _key_node(key: Key, path: str) -> object:
    if type(key) is str:
        return _checked(key, path)
    return _plain_node(key, "int", path) if type(key) is int else key


def _plain_node(value: Any, kind: str, path: str) -> object:
    """Return the JSON of a plain value; also of a subclass, which is forgotten."""
    if kind == "str":
        return {"str": _checked(value, path)}
    if kind == "int":
        small = -_EXACT < value < _EXACT
        return int.__int__(value) if small else {"int": hex(value)}
    if kind == "float":
        finite = math.isfinite(value)
        return float.__float__(value) if finite else {"float": struct.pack(">d", value).hex()}
    return {"bytes": base64.b64encode(value).decode()} if kind == "bytes" else value


def _checked(text: str, path: str) -> str:
    """Return a str that JSON keeps; it would make one character of a surrogate pair."""
    if not text.isascii() and _PAIR.search(text):
        raise ValueError(f"{_at(path)}cannot save a str with a surrogate pair in it")
    return text


def check_name(name: str) -> None:
    """Raise ValueError for what cannot be a name."""
    _check_names([name])


def _check_names(names: list[str]) -> None:
    text = "".join(names)
    longest = max(map(len, names), default=0)
    if text.isascii() and "\0" not in text and longest <= _MAX_NAME_NBYTES:
        return
    for name in names:
        if "\0" in name:
            raise ValueError(f"{quote(name)}: a name cannot hold a NUL")
        try:
            nbytes = len(name.encode())
        except UnicodeEncodeError:
            raise ValueError(f"{quote(name)}: a name cannot hold a lone surrogate") from None
        if nbytes > _MAX_NAME_NBYTES:
            raise ValueError(
                f"{quote(name)}: a name has at most {_MAX_NAME_NBYTES} bytes of UTF-8, not {nbytes}"
            )


_REMEDIES: tuple[tuple[Any, str], ...] = (
    (type, "save its values, not the class"),
    (tuple, "use ._asdict()"),
    (enum.Enum, "use its .value"),
    (complex, "use numpy.complex128(...)"),
    ((datetime.date, datetime.timedelta), "use numpy.datetime64(...) or numpy.timedelta64(...)"),
    ((numbers.Number, os.PathLike), "use str(...)"),
    ((set, frozenset), "use sorted(...)"),
    (Iterable, "use list(...)"),
    (Callable, "save its values, not code"),
    (object, "use arrays, plain values, lists, tuples and dicts"),
)


def _remedy(value: object) -> str:
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return "use dataclasses.asdict(...)"
    if hasattr(value, "state_dict"):  # torch's modules and optimizers
        return "use .state_dict()"
    if hasattr(value, "bit_generator"):  # numpy.random.Generator
        return "use .bit_generator.state"
    if hasattr(value, "toarray") and not isinstance(value, type):  # scipy.sparse
        matrix = hasattr(value, "tocsr") and getattr(value, "ndim", 2) == 2
        return "use .tocsr()" if matrix else "use .toarray()"
    return next(remedy for types, remedy in _REMEDIES if isinstance(value, types))


def extended(structure: bytes, name: str) -> bytes:
    """Return the structure with one more array, of that name, at its end."""
    check_name(name)
    if structure == b'"dict"':
        return structure
    whole = json.loads(structure)
    node = whole["tree"] if type(whole) is dict else whole
    if type(node) is not dict or "dict" not in node:
        kind = node if type(node) is str else next(iter(node)) if type(node) is dict else "value"
        raise ValueError(
            f"{quote(name)}: the file holds {_article(kind)} {kind}, which has no room for another "
            "name; mxio.save it as a dict first"
        )
    if any(key == name for key, _ in node["dict"]):
        raise ValueError(f"{quote(name)} is no array, but another value that the file holds")
    node["dict"].append([name, "array"])
    return _dumps(whole)


# ---- structure, names, arrays → what was saved -----------------------------------------------

# Stands where an array is damaged, until `without_damaged` has taken it out.
DAMAGED = object()


def without_damaged(saved: Any) -> Any:
    """Return what was loaded without what is damaged: in a dict no item, elsewhere None."""
    if isinstance(saved, dict):
        items = ((key, _sound(item)) for key, item in saved.items())
        return {key: item for key, item in items if item is not DAMAGED}
    if isinstance(saved, (list, tuple)):
        items = (_sound(item) for item in saved)
        return type(saved)(None if item is DAMAGED else item for item in items)
    return None if saved is DAMAGED else saved


def _sound(item: Any) -> Any:
    return item if item is DAMAGED else without_damaged(item)


def unflatten(structure: bytes, names: Sequence[str], arrays: Sequence[object]) -> object:
    """Return what was saved, from the structure in a file and its arrays in their order."""
    if structure == b'"dict"':
        flat = dict(zip(names, arrays, strict=True))
        if len(flat) < len(names):
            raise FormatError("two entries have one name")
        return flat
    if structure in (b'"list"', b'"tuple"'):
        if list(names) != list(map(str, range(len(names)))):
            raise FormatError("the entries of a list or tuple are not named 0, 1, …")
        return list(arrays) if structure == b'"list"' else tuple(arrays)
    if structure == b'"array"':
        if list(names) != [""]:
            raise FormatError("the structure is one array, the entries are not one without a name")
        return arrays[0]
    parsed = _parse(structure, "structure", _BRACKETS)
    if type(parsed) is not dict:
        raise FormatError("the structure is a JSON value that means nothing")
    word, node = _only(parsed, "")
    if word != "tree":
        raise FormatError(f"the structure has {word!r} outside of a tree")
    build = _Build(names, arrays)
    saved = build.value(node, "", 0)
    if build.taken < len(names):
        raise FormatError(f"the structure has {build.taken} arrays, the file {len(names)}")
    if _fits_a_word(node):
        raise FormatError("the structure has a tree where a word would do")
    return saved


class _Build:
    """One walk through a structure: how many of the entries have been taken."""

    def __init__(self, names: Sequence[str], arrays: Sequence[object]) -> None:
        self.taken = 0
        self._names = names
        self._arrays = arrays

    def value(self, node: object, path: str, depth: int) -> object:
        """Return the value of a node."""
        if node == "array":
            return self._take(path)
        word, content = _only(node, path) if type(node) is dict else ("", None)
        if word in PARTS:
            return self._sparse(word, content, f"{path}/" if depth else "")
        if word not in ("list", "tuple", "dict"):
            return _plain_value(node, word, content, path)
        if depth == _MAX_DEPTH:
            raise _bad(path, f"containers nested more than {_MAX_DEPTH} deep")
        if type(content) is not list:
            raise _bad(path, f"no list in {word!r}")
        prefix = f"{path}/" if depth else ""
        if word != "dict":
            items = [self.value(item, f"{prefix}{n}", depth + 1) for n, item in enumerate(content)]
            return items if word == "list" else tuple(items)
        saved: dict[Key, object] = {}
        for pair in content:
            if type(pair) is not list or len(pair) != 2:
                raise _bad(path, "an item of a dict that is no pair")
            key = _key(pair[0], path)
            if key in saved:  # 1 and True are equal
                raise _bad(path, "a dict with equal keys")
            saved[key] = self.value(pair[1], f"{prefix}{key}", depth + 1)
        return saved

    def _sparse(self, stype: str, shape: Any, prefix: str) -> object:
        path = prefix.removesuffix("/")
        if type(shape) is not list or not all(
            type(dim) is int and 0 <= dim <= _MAX_DIM for dim in shape
        ):
            raise _bad(path, f"a {stype!r} without a shape")
        parts = {part: self._take(prefix + part) for part in PARTS[stype]}
        if any(part is DAMAGED for part in parts.values()):
            return DAMAGED
        try:
            return SparseArray(stype, shape, **parts)
        except ValueError as exc:
            raise _bad(path, f"a {stype} array that is none: {exc}") from None

    def _take(self, path: str) -> object:
        number = self.taken
        if number == len(self._names):
            raise FormatError(f"the structure has more arrays than the {number} of the file")
        name = self._names[number]
        if name != path:
            raise FormatError(f"the entry {quote(name)} is {quote(path)} in the structure")
        self.taken = number + 1
        return self._arrays[number]


def _only(node: dict[str, Any], path: str) -> tuple[str, Any]:
    """Return the one key of an object, which says what the object is, and what it holds."""
    for word in node:
        if word not in _WORDS:
            where = f" at {quote(path)}" if path else ""
            raise UnsupportedError(f"the structure{where} has the unknown key {quote(word)}")
    if len(node) != 1:
        raise _bad(path, f"an object with {len(node)} keys")
    return next(iter(node.items()))


def _key(node: object, path: str) -> Key:
    word, content = _only(node, path) if type(node) is dict else ("", None)
    key: Any = node
    if type(node) is not str:
        key = _plain_value(node, word, content, path)
        if type(key) not in _KEY_TYPES or word not in ("", "int"):
            raise _bad(path, "a key of a dict that is none")
        if type(key) is int and abs(key) >= _TOO_LARGE:
            raise _bad(path, f"an int key of more than {_MAX_DIGITS} digits")
    return key  # type: ignore[no-any-return]


def _plain_value(node: object, word: str, content: Any, path: str) -> object:
    """Return the plain value whose JSON this is, and no other."""
    value: Any = node if word == "" else content
    try:
        if word == "int":
            value = int(content, 16)
        elif word == "float":
            (value,) = struct.unpack(">d", bytes.fromhex(content))
        elif word == "bytes":
            value = base64.b64decode(content)
        kind = _KINDS.get(type(value))
        if kind in ("same", "int", "float", "str", "bytes") and (
            _plain_node(value, kind, path) == node
        ):
            return value
    except (TypeError, ValueError, struct.error):
        pass
    raise _bad(path, f"a {word!r} in a form of its own" if word else "JSON that means nothing")


def _fits_a_word(node: Any) -> bool:
    """Say whether a sound node could have been one of the first four structures."""
    if type(node) is not dict:
        return bool(node == "array")
    word, content = next(iter(node.items()))
    if word == "dict":
        return all(type(key) is str and item == "array" for key, item in content)
    return word in ("list", "tuple") and all(item == "array" for item in content)


def _bad(path: str, clause: str) -> FormatError:
    return FormatError(f"the structure{f' at {quote(path)}' if path else ''} has {clause}")


def no_array(structure: bytes, sparse: bool = False) -> str:
    """Return, for a message, the first thing in a structure that is no array with a name.

    `sparse` says whether a sparse array is one. The structure is one that `flatten` made.
    """
    whole = json.loads(structure)
    node = whole["tree"] if type(whole) is dict else {whole: []}
    word, items = next(iter(node.items())) if type(node) is dict else ("", [])
    if word == "dict":
        for key, item in items:
            if type(key) is not str:
                known = "a large int" if type(key) is dict else repr(key)
                return f"a dict with {known} as a key"
            if not _is_array(item, sparse):
                return f"{quote(key)}, {_what(item)}"
    elif word in ("list", "tuple"):
        for number, item in enumerate(items):
            if not _is_array(item, sparse):
                return f"item {number}, {_what(item)}"
    return _what(node) if type(whole) is dict else f"{_article(whole)} {whole}"


def _is_array(node: Any, sparse: bool) -> bool:
    return bool(node == "array") or (sparse and type(node) is dict and bool(set(node) & set(PARTS)))


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _what(node: Any) -> str:
    word = next(iter(node)) if type(node) is dict else ""
    if word in ("list", "tuple", "dict"):
        return f"a {word} in another container"
    if word in PARTS:
        return f"a {word} array"
    kind = {"float": "a float", "int": "an int", "str": "a str", "bytes": "bytes"}.get(word)
    return kind or (
        "None" if node is None else f"{_article(type(node).__name__)} {type(node).__name__}"
    )


# ---- metadata --------------------------------------------------------------------------------


def encode_metadata(metadata: Mapping[str, JSON] | None) -> bytes:
    """Return the user's metadata as JSON, no bytes for none; keys keep their order."""
    if metadata is None:
        return b""
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata is a dict of JSON values, not {described(metadata)}")
    plain = _plain(metadata, "metadata", 0)
    return _dumps(plain) if plain else b""


def decode_metadata(data: bytes) -> dict[str, JSON]:
    """Return the metadata in a file."""
    metadata = _parse(data, "metadata", _MAX_DEPTH) if data else {}
    if type(metadata) is not dict or (data and not metadata):
        raise FormatError("the metadata is not an object with something in it")
    return metadata


def _plain(value: Any, where: str, depth: int) -> JSON:
    """Return a JSON value without subclasses; `where` is what to call it."""
    if isinstance(value, np.generic):  # before float: numpy.float64 is one
        raise TypeError(f"{clip(where)} cannot be {described(value)}; use .item()")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if _PAIR.search(value):
            raise ValueError(f"{clip(where)} cannot be a str with a surrogate pair in it")
        return str.__str__(value)
    if isinstance(value, int):
        if abs(value) >= _TOO_LARGE:
            raise ValueError(f"{clip(where)} has more than {_MAX_DIGITS} digits")
        return int.__int__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{clip(where)} is {float.__repr__(value)}, which JSON cannot say")
        return float.__float__(value)
    if not isinstance(value, (list, tuple, Mapping)):
        remedy = ".tolist()" if isinstance(value, np.ndarray) else "JSON values"
        raise TypeError(f"{clip(where)} cannot be {described(value)}; use {remedy}")
    if depth == _MAX_DEPTH:
        raise ValueError(f"{clip(where)} is nested more than {_MAX_DEPTH} deep")
    if not isinstance(value, Mapping):
        return [_plain(item, f"{where}[{n}]", depth + 1) for n, item in enumerate(value)]
    plain: dict[str, JSON] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise TypeError(f"a key of {clip(where)} cannot be {described(key)}; use a str")
        name = f"{where}[{quote(key)}]"
        if _PAIR.search(key):
            raise ValueError(f"the key of {clip(name)} has a surrogate pair in it")
        if key in plain:
            raise ValueError(f"{clip(name)} is there twice, as plain str")
        plain[str.__str__(key)] = _plain(item, name, depth + 1)
    return plain


# ---- JSON ------------------------------------------------------------------------------------


def _dumps(value: object) -> bytes:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, check_circular=False)
    return text.encode("ascii")


def _parse(data: bytes, what: str, brackets: int) -> Any:
    """Return the JSON that `_dumps` writes as these bytes, at most so many brackets deep."""
    if not data.isascii():
        raise FormatError(f"the {what} is not ASCII")
    steps = np.frombuffer(_STRING.sub(b"", data).translate(_STEPS, _NO_BRACKETS), np.int8)
    if np.cumsum(steps, dtype=np.int64).max(initial=0) > brackets:
        raise FormatError(f"the {what} is nested too deep")

    def whole(text: str) -> int:
        if len(text) > _MAX_DIGITS + (text[0] == "-"):
            raise FormatError(f"the {what} has an int of more than {_MAX_DIGITS} digits")
        return int(text)

    def real(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise FormatError(f"the {what} has a number beyond float64")
        return value

    def constant(text: str) -> None:
        raise FormatError(f"the {what} has {text}, which is not JSON")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            raise FormatError(f"the {what} has a key twice in an object")
        return found

    decoder = json.JSONDecoder(
        parse_int=whole, parse_float=real, parse_constant=constant, object_pairs_hook=pairs
    )
    try:
        value = decoder.decode(data.decode("ascii"))
    except json.JSONDecodeError as exc:
        raise FormatError(f"the {what} is not JSON from its byte {exc.pos} on") from None
    again = _dumps(value)
    if again != data:  # white space, other escapes, other digits
        differs = (n for n, (a, b) in enumerate(zip(again, data, strict=False)) if a != b)
        at = next(differs, min(len(again), len(data)))
        raise FormatError(f"the {what} is not in its one form from its byte {at} on")
    return value


# ---- words for messages ----------------------------------------------------------------------


def _at(path: str) -> str:
    return f"{quote(path)}: " if path else ""
