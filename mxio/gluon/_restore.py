# SPDX-License-Identifier: Apache-2.0
"""From a file into the places of a model, all of them or none.

In this order: the names are matched (`_names`), every shape and dtype is compared, whole;
what will be filled in place has its checksums compared; arrays for places that have no memory
yet are read; and only then the first place changes. So whatever a file is, the model is
complete, or as it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from mxio import _host, _tree
from mxio._lazy import LazyArray
from mxio._reader import Reader
from mxio._sparse import SparseArray
from mxio.context import Context, cpu
from mxio.errors import (
    ExtraParameterError,
    ParameterError,
    clip,
    described,
    quote,
)
from mxio.gluon._names import Match, Model, Rename, Select, hint, match, renamed
from mxio.nd.ndarray import dtype_of

__all__ = ["Model", "Rename", "Select", "Slot", "restore"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Shape: TypeAlias = tuple[int, ...]

_SOURCES = ("current", "saved")
_NAMED_AT_MOST = 4


class Slot(Protocol):
    """A place for one array of a file, such as a parameter.

    Attributes
    ----------
    name : str
        For messages.
    shape : tuple of int or None
        0 where a dimension is unknown; None if nothing is known.
    dtype : dtype
        What is kept there.
    """

    name: str

    @property
    def shape(self) -> Shape | None: ...

    @property
    def dtype(self) -> Any: ...

    @property
    def _memory(self) -> list[Array] | None:
        """What is filled in place, the same values in each; None: a new array is adopted."""

    def _refusal(self, contexts: list[Context] | None) -> str | None:
        """Return why the place takes nothing on these contexts."""

    def _adopt(self, array: Array, contexts: list[Context]) -> None:
        """Take over a new array, of another dtype perhaps."""


# ---- what is given ---------------------------------------------------------------------------


class _Given:
    """The arrays that are given, by name: numbers of entries in a file, and arrays in memory."""

    def __init__(self, what: str, reader: Reader | None, arrays: dict[str, Any]) -> None:
        self.what = what  # for messages
        self.arrays = arrays
        self._reader = reader

    @classmethod
    def of_file(cls, reader: Reader) -> _Given:
        index = reader.index
        what = f"file {quote(os.fspath(reader._file.name))}"
        if index.structure == b'"dict"':
            return cls(what, reader, dict(zip(index.names(), range(len(index)), strict=True)))
        lazy = [reader[name] for name in index.names()]
        arrays: dict[str, Any] = {}
        tree = _tree.unflatten(index.structure, index.names(), lazy)
        if isinstance(tree, dict) or tree in ([], ()):
            _flatten(tree, "", arrays, what)
        else:
            kind = type(tree).__name__ if isinstance(tree, (list, tuple)) else "array"
            count = f" of {len(tree)}" if isinstance(tree, (list, tuple)) else ""
            raise ParameterError(
                f"{what} holds {'an' if kind == 'array' else 'a'} {kind}{count}, without the names "
                "that tell which parameter is which; read it by mxio.load(...), and give it names "
                "to load_dict({name: array, ...})"
            )
        return cls(what, reader, arrays)

    @classmethod
    def of_mapping(cls, arrays: Mapping[str, Any]) -> _Given:
        flat: dict[str, Any] = {}
        _flatten(dict(arrays), "", flat, "the dict")
        return cls("the dict", None, flat)

    def signatures(self, names: Sequence[str]) -> list[tuple[Shape, np.dtype[Any]]]:
        """Return shapes and dtypes."""
        given = [self.arrays[name] for name in names]
        numbers = [item for item in given if type(item) is int]
        known = iter(self._reader.index.signatures(numbers) if self._reader else ())
        return [
            next(known) if type(item) is int else (tuple(item.shape), item.dtype) for item in given
        ]

    def check(self, names: Iterable[str]) -> None:
        """Compare the checksums of arrays that are going to be read in place."""
        numbers = [item for item in map(self.arrays.get, names) if type(item) is int]
        if self._reader is not None and numbers:
            self._reader._check(numbers)

    def read(self, names: Sequence[str]) -> list[Array]:
        """Return whole arrays, each in memory that nobody else has."""
        given = [self.arrays[name] for name in names]
        numbers = [item for item in given if type(item) is int]
        read = iter(_apart(self._reader, numbers) if self._reader else ())
        return [next(read) if type(item) is int else _dense(item) for item in given]

    def fill(self, names: Sequence[str], into: Sequence[Array], cast: bool) -> None:
        """Fill arrays in place, converting."""
        numbers, arrays = [], []
        for name, array in zip(names, into, strict=True):
            item = self.arrays[name]
            if type(item) is int:
                numbers.append(item)
                arrays.append(array)
            else:
                np.copyto(array, _dense(item), casting="unsafe")
        if numbers:
            assert self._reader is not None
            self._reader._fill(numbers, arrays, cast)


def _apart(reader: Reader, numbers: list[int]) -> list[Array]:
    """Read entries; of two names of one array, the second as a copy.

    What is one in a file is one in a model only where the model says so.
    """
    arrays = reader._copy(numbers)
    seen: set[int] = set()
    for at, (*_, first) in enumerate(reader.index.handle.entries(numbers)):
        if first in seen:
            arrays[at] = arrays[at].copy(order="K")
        seen.add(first)
    return arrays


def _flatten(node: Any, path: str, into: dict[str, Any], what: str) -> None:
    """Collect the arrays of nested containers by their path, joined by dots as in Gluon."""
    if isinstance(node, (dict, list, tuple)):
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, item in pairs:
            _flatten(item, f"{path}.{key}" if path else str(key), into, what)
        return
    if path in into:
        raise ParameterError(f"{what} has {quote(path)} twice, once in nested containers")
    if isinstance(node, LazyArray):
        into[path] = node._entry.number
    elif isinstance(node, SparseArray) or node is None:
        into[path] = node
    elif _host.is_arraylike(node) or _host.to_sparse(node) is not None:
        into[path] = _host.to_sparse(node) or _array(node, path)
    else:
        into[path] = _Plain(node)


class _Plain:
    """A plain value where a parameter is expected: an epoch, a learning rate."""

    def __init__(self, value: object) -> None:
        self.value = value


def _array(item: Any, name: str) -> Array:
    host, dtype = _host.to_host(item, name)
    found = dtype_of(dtype)
    return host if host.dtype == found else host.view(found)


def _dense(item: Any) -> Array:
    if isinstance(item, SparseArray):
        read = {name: np.asarray(part) for name, part in item.parts.items()}
        return SparseArray(item.stype, item.shape, **read).toarray()
    return np.array(item, order="C", subok=False)


# ---- all or nothing --------------------------------------------------------------------------


def restore(
    source: Any,
    model: Model,
    *,
    contexts: list[Context] | None = None,
    allow_missing: bool = False,
    ignore_extra: bool = False,
    cast_dtype: bool = False,
    dtype_source: str = "current",
    select: Select = None,
    rename: Rename = None,
    verify: bool | None = None,
    threads: int | None = None,
    encoding: str | None = None,
) -> None:
    """Bring what a file or a mapping holds into a model; see ``Block.load_parameters``."""
    if dtype_source not in _SOURCES:
        raise ParameterError(f"dtype_source is 'current' or 'saved', not {dtype_source!r}")
    saved = cast_dtype and dtype_source == "saved"
    rules = _Rules(allow_missing, ignore_extra, cast_dtype, select, rename, contexts)
    if isinstance(source, Mapping) and not isinstance(source, Reader):
        _restore(_Given.of_mapping(source), model, rules, saved)
        return
    if isinstance(source, Reader):
        _restore(_Given.of_file(source), model, rules, saved)
        return
    with Reader(source, verify=verify, threads=threads, encoding=encoding) as reader:
        _restore(_Given.of_file(reader), model, rules, saved)


class _Rules:
    """What the caller allows."""

    def __init__(
        self,
        allow_missing: bool,
        ignore_extra: bool,
        cast_dtype: bool,
        select: Select,
        rename: Rename,
        contexts: list[Context] | None,
    ) -> None:
        self.allow_missing = allow_missing
        self.ignore_extra = ignore_extra
        self.cast_dtype = cast_dtype
        self.select = select
        self.rename = rename
        self.contexts = contexts


def _restore(given: _Given, model: Model, rules: _Rules, saved: bool) -> None:
    names = _unpacked(given, model, rules)
    found = match(list(names.values()), model, rules.select)
    olds = {new: old for old, new in names.items()}
    if rules.select is not None and not found.pairs and not found.missing and not found.extra:
        raise ParameterError(
            f"select={rules.select!r} selects nothing, in the model and in "
            f"{given.what}, which contains parameters: {_some(list(given.arrays))}"
        )
    _check_complete(given, model, rules, found)

    # Where a place has several names, the last one in the file is its value, as in MXNet.
    pairs = [(olds[name], slot) for name, slot in found.pairs]
    _check_arrays(given, [name for name, _ in pairs])
    signatures = given.signatures([name for name, _ in pairs])
    dtypes: dict[Any, np.dtype[Any]] = {}
    chosen: dict[int, tuple[str, Any, np.dtype[Any], bool]] = {}
    for (name, slot), (shape, dtype) in zip(pairs, signatures, strict=True):
        own = slot.dtype
        wanted = dtypes.get(own)
        if wanted is None:
            wanted = dtypes[own] = dtype_of(own)
        known = slot.shape
        if known != shape and not _fits(known, shape):
            raise _mismatch(
                given, name, slot, f"shape incompatible expected {known} vs saved {shape}"
            )
        if wanted != dtype and not rules.cast_dtype:
            raise _mismatch(
                given,
                name,
                slot,
                f"dtype incompatible expected {wanted} vs saved {dtype}. Set cast_dtype=True to "
                "cast the dtype of saved params",
            )
        refusal = slot._refusal(rules.contexts)
        if refusal is not None:
            raise ParameterError(f"{refusal}; the file was not loaded")
        chosen[id(slot)] = (name, slot, dtype if saved else wanted, wanted != dtype)

    fresh, cast, filled = [], [], []
    for item in chosen.values():
        _, slot, _, differs = item
        if slot._memory is not None and not (differs and saved):
            filled.append(item)
        elif differs and not saved:
            cast.append(item)
        else:
            fresh.append(item)
    given.check(name for name, *_ in filled)
    arrays = given.read([name for name, *_ in fresh])
    if cast:
        shapes = given.signatures([name for name, *_ in cast])
        empty = [np.empty(s, item[2]) for (s, _), item in zip(shapes, cast, strict=True)]
        given.fill([name for name, *_ in cast], empty, True)
        arrays += empty

    # From here on nothing is left that depends on what the file holds.
    contexts = rules.contexts or [cpu()]
    if filled:
        memory = [(name, array) for name, slot, *_ in filled for array in slot._memory]
        given.fill([name for name, _ in memory], [array for _, array in memory], rules.cast_dtype)
    for (_, slot, _, _), array in zip(fresh + cast, arrays, strict=True):
        slot._adopt(array, contexts)


def _unpacked(given: _Given, model: Model, rules: _Rules) -> dict[str, str]:
    """Return names in the file and their new ones, arrays that hold several parameters cut up."""
    names = renamed(list(given.arrays), rules.rename)
    for old, new in list(names.items()) if model.packed else ():
        unpack = model.packed.get(new)
        if unpack is None or new in model.structure:
            continue
        (array,) = given.read([old])
        try:
            parts = unpack(array)
        except ValueError as error:
            raise ParameterError(f"{quote(old)} in {given.what}: {error}") from None
        del names[old], given.arrays[old]
        for name, part in parts.items():
            given.arrays[name] = part
            names[name] = name
    return names


def _fits(known: Shape | None, shape: Shape) -> bool:
    if known is None:
        return True
    return len(known) == len(shape) and all(a in (0, b) for a, b in zip(known, shape, strict=True))


# ---- what may be wrong, in words -------------------------------------------------------------


def _check_complete(given: _Given, model: Model, rules: _Rules, found: Match) -> None:
    held = _some(list(given.arrays)) if given.arrays else "no arrays"
    if found.missing and not rules.allow_missing:
        missing = [name for name, _ in found.missing]
        extra = found.extra
        close = hint(missing[0], extra)
        raise ParameterError(
            f"{_subject(missing)} missing in {given.what}, which contains "
            f"parameters: {held}{close or '.'} Set allow_missing=True to ignore missing "
            f"parameters{_naming(list(given.arrays), missing)}"
        )
    if found.extra and not rules.ignore_extra:
        plain = next((n for n in found.extra if isinstance(given.arrays.get(n), _Plain)), None)
        if plain is not None:
            value = given.arrays[plain].value
            raise ExtraParameterError(
                f"{quote(plain)} in {given.what} is {described(value)}, no array. Set "
                "ignore_extra=True to ignore it, or load the file by mxio.load."
            )
        own = list(model.structure or model.full())
        close = hint(found.extra[0], own)
        raise ExtraParameterError(
            f"{_subject(found.extra)} not present in the model, though in {given.what}: the model "
            f"has {_some(own) if own else 'no parameters'}{close or '.'} Set ignore_extra=True to "
            "ignore, or select=... to load a part."
        )


def _check_arrays(given: _Given, names: Sequence[str]) -> None:
    for name in names:
        item = given.arrays[name]
        if item is None:
            raise ParameterError(
                f"Parameter {quote(name)} in {given.what} has no value: it was saved before it "
                "was initialized. Leave it out by select=... and allow_missing=True."
            )
        if isinstance(item, _Plain):
            raise ParameterError(
                f"{quote(name)} in {given.what} is {described(item.value)}, not an array"
            )


def _mismatch(given: _Given, name: str, slot: Any, clause: str) -> ParameterError:
    where = f"{quote(name)} in {given.what}"
    return ParameterError(f"Failed loading Parameter '{clip(slot.name)}' from {where}: {clause}.")


def _naming(held: list[str], missing: list[str]) -> str:
    """Return what else may be the matter where no name of a file fits."""
    dotted = any("." in name for name in held)
    if held and not dotted and any("." in name for name in missing):
        return (
            ". (The file has full names, as ParameterDict.save, save_params and export of MXNet "
            "write them; this network's own are another network's.)"
        )
    return "."


def _subject(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"Parameter {quote(names[0])} is"
    return f"{len(names)} Parameters, {_some(names)}, are"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(quote, names[:_NAMED_AT_MOST]))
    return f"{shown}, … ({len(names)} in all)" if len(names) > _NAMED_AT_MOST else shown
