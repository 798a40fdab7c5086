# SPDX-License-Identifier: Apache-2.0
"""Which array of a file goes to which parameter of a model.

The names in files have changed with the releases of MXNet and with the ways of saving:

- *structure names*, the path of attributes: ``features.0.weight`` (save_parameters);
- the same with ``arg:`` and ``aux:`` before them (2.0's export);
- *full names*, the prefixes of blocks: ``net0_dense0_weight`` (ParameterDict.save, export,
  with ``arg:`` and ``aux:`` before them), or these without the network's prefix
  (save_params). The numbers in them count the blocks that a program made before, so those
  of a file differ from those of a network made later; what they have in common is the order.

Each way of naming is tried in this order, and the first by which every parameter finds its
array, and every array its parameter, is the one. If none is, the one that matches most says
what is missing.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mxio.errors import ParameterError, quote

__all__ = ["Match", "Model", "Older", "Rename", "Select", "hint", "match", "renamed"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Select: TypeAlias = "str | Iterable[str] | Callable[[str], bool] | None"
Rename: TypeAlias = "Mapping[str, str] | Callable[[str], str] | None"

_MARKS = ("arg:", "aux:")
_DOT = re.compile(r"\.")
_NUMBER = re.compile(r"(\d{1,18})")


class Older(NamedTuple):
    """Structure names of other releases.

    Attributes
    ----------
    names : dict of str to str
        Such names, and the present ones.
    packed : dict of str to callable
        Names of arrays that hold several parameters, and what makes arrays by present
        structure name of them.
    """

    names: dict[str, str]
    packed: dict[str, Callable[[Array], Mapping[str, Array]]]


class Model(NamedTuple):
    """The places of a model (`_restore.Slot`), by the names that files may have for them.

    Attributes
    ----------
    structure : mapping of str to Slot
        By structure name; a place that is shared has several.
    full : callable
        Returns a mapping by full name: called only where structure names do not fit.
    prefix : str
        Of the network, which its full names may begin with.
    older : callable
        Returns what other releases wrote: called only where structure names do not fit.
    exact : bool
        Whether full names are meant as they are: no numbers and prefixes are guessed.
    """

    structure: Mapping[str, Any]
    full: Callable[[], Mapping[str, Any]] = dict
    prefix: str = ""
    older: Callable[[], Older] = lambda: Older({}, {})
    exact: bool = False


class Match(NamedTuple):
    """What goes where, and what goes nowhere.

    Attributes
    ----------
    names, slots : list
        Names in the file, in its order, and their places.
    extra : list of str
        Names in the file without a place.
    missing : list of (str, Slot)
        Places, by name, without an array.
    """

    names: list[str]
    slots: list[Any]
    extra: list[str]
    missing: list[tuple[str, Any]]

    @property
    def is_complete(self) -> bool:
        return not self.extra and not self.missing


def renamed(names: Sequence[str], rename: Rename) -> dict[str, str]:
    """Return the names in a file, and what `rename` makes of them.

    A mapping's key is a name, or the beginning of names up to a dot.

    Raises
    ------
    ParameterError
        A key fits no name, or two names become one.
    TypeError
        A callable gives something else than a str.
    """
    if rename is None:
        return dict(zip(names, names, strict=True))
    if not callable(rename) and not isinstance(rename, Mapping):
        raise TypeError(f"rename is a dict of names or a function of a name, not {rename!r}")
    if callable(rename):
        new = {name: rename(name) for name in names}
    else:
        unused = set(rename)
        new = {}
        for name in names:
            key = name
            while key not in rename and "." in key:
                key = key.rpartition(".")[0]
            unused.discard(key)
            if key in rename:
                # To '' means to cut the beginning off.
                new[name] = (rename[key] + name[len(key) :]).removeprefix(
                    "." if key != name else ""
                )
            else:
                new[name] = name
        if unused:
            key = next(key for key in rename if key in unused)
            beginnings = {name[: dot.start()] for name in names for dot in _DOT.finditer(name)}
            raise ParameterError(
                f"rename has {quote(key)}, which is no name in the file, nor the beginning of one "
                f"up to a dot{hint(key, [*names, *sorted(beginnings)])}"
            )
        # What is renamed explicitly takes the place of what is not.
        taken = {changed for name, changed in new.items() if changed != name}
        new = {
            name: changed for name, changed in new.items() if changed != name or name not in taken
        }
    sources: dict[str, str] = {}
    for name, changed in new.items():
        if not isinstance(changed, str):
            raise TypeError(f"rename gives {changed!r} for {quote(name)}, which is no name")
        if sources.setdefault(changed, name) != name:
            raise ParameterError(
                f"rename gives the name {quote(changed)} to {quote(sources[changed])} and to "
                f"{quote(name)}"
            )
    return new


class _Selection:
    """Which names are selected: by patterns, as of files, or by a callable."""

    def __init__(self, select: Select) -> None:
        if not callable(select):
            patterns = [select] if isinstance(select, str) else select
            if not isinstance(patterns, Iterable):
                raise TypeError(
                    "select is a pattern such as 'features.*', several, or a function of a name, "
                    f"not {select!r}"
                )
            self._patterns = {text: re.compile(fnmatch.translate(text)) for text in patterns}
            self.unused = dict.fromkeys(self._patterns)
            select = self._matches
        else:
            self.unused = {}
        self._select = select

    def _matches(self, name: str) -> bool:
        found = [text for text, pattern in self._patterns.items() if pattern.match(name)]
        for text in found:
            self.unused.pop(text, None)
        return bool(found)

    def __call__(self, name: str) -> bool:
        return bool(self._select(name))


def match(names: Sequence[str], model: Model, select: Select = None) -> Match:
    """Find the place of every array of a file, by its names.

    Parameters
    ----------
    names : sequence of str
        As they are after renaming, in the order of the file.
    model : Model
    select : str or iterable of str or callable, optional
        Structure names to which all is restricted, in the file and in the model.
    """
    if select is None and not model.exact and len(names) == len(model.structure):
        # The file of such a network, as nearly all are.
        slots = list(map(model.structure.get, names))
        if None not in slots:
            return Match(list(names), slots, [], [])
    chosen = _Selection(select) if select is not None else None
    if chosen is not None:
        for name in model.structure:
            chosen(name)
        if chosen.unused:
            raise ParameterError(
                f"select={next(iter(chosen.unused))!r} selects nothing: the model has no such "
                f"name{hint(next(iter(chosen.unused)), model.structure)}"
            )
    best: Match | None = None
    for given, places in _namings(names, model):
        found = _matched(names, given, places, model, chosen)
        if found.is_complete and (found.names or not places):
            return found
        if best is None or len(found.names) > len(best.names):
            best = found
    assert best is not None
    return best


def _mark(name: str) -> str:
    return name[:4] if name.startswith(_MARKS) else ""


def _namings(
    names: Sequence[str], model: Model
) -> Iterator[tuple[Sequence[str], Mapping[str, Any]]]:
    """Give the ways of naming: a file's names in its way, and the model's places in the same."""
    bare = [name.removeprefix(_mark(name)) for name in names]
    if not model.exact:
        own, older = model.structure, model.older().names
        for given in (names, bare) if bare != names else (names,):
            yield [name if name in own else older.get(name, name) for name in given], own
            if older:  # what one release called a parameter may be another's name now
                yield [older.get(name, name) for name in given], own
    full = model.full()
    if model.exact:
        yield [model.prefix + name for name in bare], full
        return
    if not full:
        return
    yield bare, full
    yield [model.prefix + name for name in bare], full
    if len(set(bare)) != len(full):
        return
    for cut in (False, True):
        ranked = _ranked(_cut(bare) if cut else bare)
        places = dict(
            zip(_ranked(_cut(list(full)) if cut else list(full)), full.values(), strict=True)
        )
        if len(places) == len(full) and places.keys() == set(ranked):
            yield ranked, places


def _matched(
    names: Sequence[str],
    given: Sequence[str],
    places: Mapping[str, Any],
    model: Model,
    chosen: Callable[[str], bool] | None,
) -> Match:
    by_structure = places is model.structure
    if chosen is not None and not by_structure:
        # What is selected is said in structure names: a place is, if one of its names is.
        wanted = {id(slot) for name, slot in model.structure.items() if chosen(name)}
        places = {name: slot for name, slot in places.items() if id(slot) in wanted}
    fitting: list[str] = []
    slots: list[Any] = []
    extra = []
    for name, own in zip(names, given, strict=True):
        slot = places.get(own)
        if chosen is not None and by_structure and not chosen(own):
            continue
        if slot is not None:
            fitting.append(name)
            slots.append(slot)
        elif chosen is None or by_structure:
            extra.append(name)
    found = set(map(id, slots))
    missing = [
        (name, slot)
        for name, slot in places.items()
        if id(slot) not in found and (chosen is None or not by_structure or chosen(name))
    ]
    return Match(fitting, slots, extra, missing)


def _cut(names: Sequence[str]) -> list[str]:
    """Return names without the prefix they have in common, up to an underscore."""
    first, last = min(names, default=""), max(names, default="")
    same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    start = first[: min(len(first), len(last)) if same is None else same].rfind("_") + 1
    return [name[start:] for name in names]


def _ranked(names: Sequence[str]) -> list[str]:
    """Return names in which each number is its rank among those at the same place.

    ``dense7_weight`` and ``dense9_weight`` become ``dense0_weight`` and ``dense1_weight``:
    blocks are counted in the order in which they are made, from wherever the count stood.
    """
    pieces = [_NUMBER.split(name) for name in names]
    longest = max(map(len, pieces), default=0)
    for place in range(1, longest, 2):
        numbers: dict[tuple[str, ...], set[int]] = {}
        for parts in pieces:
            if len(parts) > place:
                numbers.setdefault(tuple(parts[:place]), set()).add(int(parts[place]))
        ranks = {
            key: {number: str(rank) for rank, number in enumerate(sorted(found))}
            for key, found in numbers.items()
        }
        for parts in pieces:
            if len(parts) > place:
                parts[place] = ranks[tuple(parts[:place])][int(parts[place])]
    return ["".join(parts) for parts in pieces]


def hint(name: str, others: Iterable[str]) -> str:
    """Return, for a message, the names that are close to one."""
    import difflib  # only to help

    some = list(others)[:1000]
    known = [other for other in some if len(other) < 200]
    close = difflib.get_close_matches(name[:200], known, 2, 0.75)
    return f": did you mean {' or '.join(map(quote, close))}?" if close else ""
