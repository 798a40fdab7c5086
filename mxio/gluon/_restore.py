# SPDX-License-Identifier: Apache-2.0
"""From a file into the places of a model, all of them or none.

In this order: the names are matched (`_names`), every shape and dtype is compared, whole;
what will be filled in place has its checksums compared; arrays for places that have no memory
yet are read; and only then the first place changes. So whatever a file is, the model is
complete, or as it was.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import numpy as np

from mxio import _host, _tree
from mxio._index import full_names
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
from mxio.gluon._names import Match, Model, Older, Rename, Select, hint, match, renamed
from mxio.gluon._shapes import Shape, fits
from mxio.nd.ndarray import dtype_of

__all__ = ["Model", "Older", "Rename", "Select", "Slot", "restore"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_SOURCES = ("current", "saved")
_NAMED_AT_MOST = 4


class Slot(Protocol):
    """A place for one array of a file, such as a parameter.

    Attributes
    ----------
    name : str
        For messages.
    """

    name: str

    def _state(self) -> tuple[Shape | None, Any, list[Array] | None]:
        """Return the shape, 0 where it is unknown, the dtype, and what is filled in place.

        That is several arrays where there are copies; None: a new array is adopted.
        """

    def _refusal(self, contexts: list[Context]) -> str | None:
        """Return why the place takes nothing on these contexts."""

    def _adopt(self, array: Array, contexts: list[Context], is_other: bool) -> None:
        """Take over a new array; `is_other` says that the dtype is another one."""


# ---- what is given ---------------------------------------------------------------------------


class _Given:
    """The arrays that are given, by name: numbers of entries in a file, and arrays in memory."""

    def __init__(self, what: str, reader: Reader | None, arrays: dict[str, Any]) -> None:
        self.what = what  # for messages
        self.arrays = arrays
        self._reader = reader
        self._is_flat = False  # whether all arrays are entries

    def _numbers(self, names: Sequence[str]) -> list[int] | None:
        """Return the numbers of entries, if that is what all names have."""
        given = [self.arrays[name] for name in names]
        return given if self._is_flat or (given and set(map(type, given)) <= {int}) else None

    @classmethod
    def of_file(cls, reader: Reader) -> _Given:
        index = reader.index
        what = f"file {quote(os.fspath(reader._file.name))}"
        if index.structure == b'"dict"':
            flat = cls(what, reader, dict(zip(index.names(), range(len(index)), strict=True)))
            flat._is_flat = True
            return flat
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
        """Return shapes and dtypes; raise where there is no array."""
        numbers = self._numbers(names)
        if numbers is not None:
            return cast(Reader, self._reader).index.signatures(numbers)
        found: list[tuple[Shape, np.dtype[Any]]] = []
        for name in names:
            item = self.arrays[name]
            if item is None:
                raise ParameterError(
                    f"Parameter {quote(name)} in {self.what} has no value: it was saved before it "
                    "was initialized. Leave it out by select=... and allow_missing=True."
                )
            if isinstance(item, _Plain):
                raise ParameterError(
                    f"{quote(name)} in {self.what} is {described(item.value)}, not an array"
                )
            if type(item) is int:
                found += cast(Reader, self._reader).index.signatures([item])
            else:
                found.append((tuple(item.shape), item.dtype))
        return found

    def check(self, names: Sequence[str]) -> None:
        """Compare the checksums of arrays that are going to be read in place."""
        numbers = [item for item in map(self.arrays.get, names) if type(item) is int]
        if self._reader is not None and numbers:
            self._reader._check(numbers)

    def read(self, names: Sequence[str]) -> list[Array]:
        """Return whole arrays, each in memory that nobody else has."""
        numbers = self._numbers(names)
        if numbers is not None:
            return _apart(cast(Reader, self._reader), numbers)
        given = [self.arrays[name] for name in names]
        numbers = [item for item in given if type(item) is int]
        read = iter(_apart(cast(Reader, self._reader), numbers) if numbers else ())
        return [next(read) if type(item) is int else _dense(item) for item in given]

    def fill(self, names: Sequence[str], into: Sequence[Array], converts: bool) -> None:
        """Fill arrays in place, converting where `converts` allows it."""
        entries = self._numbers(names)
        if entries is not None:
            cast(Reader, self._reader)._fill(entries, into, converts)
            return
        numbers, arrays = [], []
        for name, array in zip(names, into, strict=True):
            item = self.arrays[name]
            if type(item) is int:
                numbers.append(item)
                arrays.append(array)
            else:
                np.copyto(array, _dense(item), casting="unsafe")
        if numbers:
            cast(Reader, self._reader)._fill(numbers, arrays, converts)


def _apart(reader: Reader, numbers: list[int]) -> list[Array]:
    """Read entries; of two names of one array, the second as a copy.

    What is one in a file is one in a model only where the model says so.
    """
    arrays = reader._copy(numbers)
    if reader.index.handle.n_aliases:
        seen: set[int] = set()
        for at, (*_, first) in enumerate(reader.index.handle.entries(numbers)):
            if first in seen:
                arrays[at] = arrays[at].copy(order="K")
            seen.add(first)
    return arrays


def _flatten(node: Any, path: str, into: dict[str, Any], what: str) -> None:
    """Collect the arrays of nested containers by their path, joined by dots as in Gluon."""
    if isinstance(node, (list, tuple)) and node and _is_numbers(node):
        node = np.asarray(node)
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


def _is_numbers(node: Any) -> bool:
    """Whether lists in lists hold plain numbers alone."""
    if isinstance(node, (list, tuple)):
        return all(map(_is_numbers, node))
    return isinstance(node, (bool, int, float))


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
    rules = _Rules(allow_missing, ignore_extra, cast_dtype, saved, select, rename, contexts)
    # A network of many parameters is many objects, which the collector of garbage would look
    # through again and again while as many more are made, none of them garbage.
    collects = gc.isenabled()
    gc.disable()
    try:
        if isinstance(source, Reader):
            _restore(_Given.of_file(source), model, rules)
        elif isinstance(source, Mapping):
            _restore(_Given.of_mapping(source), model, rules)
        else:
            with Reader(source, verify=verify, threads=threads, encoding=encoding) as reader:
                _restore(_Given.of_file(reader), model, rules)
    finally:
        if collects:
            gc.enable()


class _Rules(NamedTuple):
    """What the caller allows, and wants."""

    allow_missing: bool
    ignore_extra: bool
    cast_dtype: bool
    takes_saved: bool
    select: Select
    rename: Rename
    contexts: list[Context] | None


def _restore(given: _Given, model: Model, rules: _Rules) -> None:
    renamings = renamed(list(given.arrays), rules.rename)
    found = match(list(renamings.values()), model, rules.select)
    if found.extra and _unpack(given, model, renamings):
        found = match(list(renamings.values()), model, rules.select)
    names = found.names
    if rules.select is not None and not names and not found.extra and not found.missing:
        raise ParameterError(
            f"select={rules.select!r} selects nothing, in the model and in {given.what}, which "
            f"contains parameters: {_some(list(given.arrays))}"
        )
    _check_complete(given, rules, model, found)
    if rules.rename is not None:
        olds = {new: old for old, new in renamings.items()}
        names = [olds[name] for name in names]
    work = _decided(given, rules, names, found.slots)

    given.check(work.filled)
    arrays = given.read(work.adopted + work.changed)
    converted = [np.empty(shape, dtype) for shape, dtype in work.conversions]
    given.fill(work.converted, converted, True)

    # From here on nothing is left that depends on what the file holds.
    names = [name for name, memory in zip(work.filled, work.memory, strict=True) for _ in memory]
    given.fill(names, [array for memory in work.memory for array in memory], rules.cast_dtype)
    contexts = rules.contexts or [cpu()]
    n_adopted = len(work.adopted)
    for slot, array in zip(work.adopters, arrays[:n_adopted], strict=True):
        slot._adopt(array, contexts, False)
    for slot, array in zip(work.changers, arrays[n_adopted:], strict=True):
        slot._adopt(array, contexts, True)
    for slot, array in zip(work.converters, converted, strict=True):
        slot._adopt(array, contexts, False)


class _Work(NamedTuple):
    """What is to be done: names of arrays, and of each the place, in lists side by side.

    Attributes
    ----------
    adopted, adopters
        Read, and given to a place.
    changed, changers
        The same, and the place's dtype changes.
    converted, converters, conversions
        Read into a new array of this shape and dtype, and given to a place.
    filled, memory
        Read into memory that is there: the same into several arrays.
    """

    adopted: list[str]
    adopters: list[Any]
    changed: list[str]
    changers: list[Any]
    converted: list[str]
    converters: list[Any]
    conversions: list[tuple[Shape, np.dtype[Any]]]
    filled: list[str]
    memory: list[list[Array]]


def _decided(given: _Given, rules: _Rules, names: list[str], slots: list[Any]) -> _Work:
    """Say what is to be done with each array, or what does not fit."""
    if rules.contexts is not None:
        for slot in slots:
            refusal = slot._refusal(rules.contexts)
            if refusal is not None:
                raise ParameterError(f"{refusal}; nothing was loaded")
    work = _compared(given, rules, names, slots)
    if len(set(map(id, slots))) < len(slots):
        # Where a place has several names, the last one in the file is its value, as in MXNet.
        last = {id(slot): name for name, slot in zip(names, slots, strict=True)}
        pairs = [p for p in zip(names, slots, strict=True) if last[id(p[1])] == p[0]]
        work = _compared(given, rules, [name for name, _ in pairs], [slot for _, slot in pairs])
    return work


def _compared(given: _Given, rules: _Rules, names: list[str], slots: list[Any]) -> _Work:
    """Compare shapes and dtypes."""
    work = _Work([], [], [], [], [], [], [], [], [])
    adopt, adopter = work.adopted.append, work.adopters.append
    fill, into = work.filled.append, work.memory.append
    own: Any = None
    wanted = dtype_of(own)
    wrong: list[tuple[str, Any, str]] = []
    for name, slot, (shape, dtype) in zip(names, slots, given.signatures(names), strict=True):
        known, kept, memory = slot._state()
        if known != shape and not fits(known, shape):
            wrong.append((name, slot, f"shape incompatible expected {known} vs saved {shape}"))
            continue
        if kept is not own:
            own, wanted = kept, dtype_of(kept)
        if wanted is dtype or wanted == dtype:
            if memory is None:
                adopt(name)
                adopter(slot)
            else:
                fill(name)
                into(memory)
        elif not rules.cast_dtype:
            clause = f"dtype incompatible expected {wanted} vs saved {dtype}"
            if _is_real(dtype) and _is_real(wanted):
                clause += ". Set cast_dtype=True to cast the dtype of saved params"
            wrong.append((name, slot, clause))
        elif not (_is_real(dtype) and _is_real(wanted)):
            clause = f"dtype incompatible expected {wanted} vs saved {dtype}: no such number"
            wrong.append((name, slot, clause))
        elif rules.takes_saved:
            work.changed.append(name)
            work.changers.append(slot)
        elif memory is None:
            work.converted.append(name)
            work.converters.append(slot)
            work.conversions.append((shape, wanted))
        else:
            fill(name)
            into(memory)
    if wrong:
        raise _mismatch(given, wrong)
    return work


def _unpack(given: _Given, model: Model, names: dict[str, str]) -> bool:
    """Cut up arrays that hold several parameters; say whether there were such."""
    packed = {} if model.exact else model.older().packed
    found = False
    for old, new in list(names.items()) if packed else ():
        unpack = packed.get(new)
        if unpack is None:
            continue
        (array,) = given.read([old])
        try:
            parts = unpack(array)
        except ValueError as error:
            raise ParameterError(f"{quote(old)} in {given.what}: {error}") from None
        del names[old], given.arrays[old]
        given._is_flat = False
        given.arrays.update(parts)
        names.update(zip(parts, parts, strict=True))
        found = True
    return found


# ---- what may be wrong, in words -------------------------------------------------------------


def _check_complete(given: _Given, rules: _Rules, model: Model, found: Match) -> None:
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


def _is_real(dtype: np.dtype[Any]) -> bool:
    """Whether it is of real numbers, those of ml_dtypes included."""
    return dtype.kind in "biufV"


def _mismatch(given: _Given, wrong: list[tuple[str, Any, str]]) -> ParameterError:
    (name, slot, clause), *others = wrong
    where = f"{quote(name)} in {given.what}"
    more = ""
    if others:
        verb = "does" if len(others) == 1 else "do"
        more = f" ({len(others)} more {verb} not fit: {_some([other for other, *_ in others])})"
    return ParameterError(
        f"Failed loading Parameter '{clip(slot.name)}' from {where}: {clause}.{more}"
    )


def _naming(held: list[str], missing: list[str]) -> str:
    """Return what else may be the matter where no name of a file fits."""
    if full_names(held) and any("." in name for name in missing):
        return (
            ". (The file has full names, as ParameterDict.save, save_params and export of MXNet "
            "write them. These fit a network of the same structure as a whole, not a part of it.)"
        )
    return "."


def _subject(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"Parameter {quote(names[0])} is"
    return f"{len(names)} Parameters, {_some(names)}, are"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(quote, names[:_NAMED_AT_MOST]))
    return f"{shown}, … ({len(names)} in all)" if len(names) > _NAMED_AT_MOST else shown
