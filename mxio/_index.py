# SPDX-License-Identifier: Apache-2.0
"""The noun: an ordered map from name to entry, for one file.

An Index stands on a handle that C has judged. Nothing is made for an entry until
it is asked for, so a file of a million arrays opens without a million objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from mxio import _core, _dtype
from mxio.errors import EntryError, UnsupportedError, quote

__all__ = ["Entry", "Index"]

# Searching for names that are close costs time for each name there is, and for its length.
_SUGGEST_FROM_AT_MOST = 1000
_SUGGEST_LENGTH_AT_MOST = 200


class Entry(NamedTuple):
    """A named array in a file.

    Attributes
    ----------
    number : int
        Its place in the file's order.
    name : str
    dtype : str
        The name on disk, such as ``float32`` or ``bfloat16``.
    shape : tuple of int
    order : {'C', 'F'}
        Which axis is contiguous: the last or the first.
    nbytes : int
    offset : int
        Of its first byte in the file; 0 when it has none.
    chunk_nbytes : int
        What one checksum covers; the last chunk may be shorter.
    alias_of : int or None
        The number of the entry whose memory this is a second name of.
    """

    number: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    order: str
    nbytes: int
    offset: int
    chunk_nbytes: int
    alias_of: int | None


class Index(Mapping[str, Entry]):
    """Name → entry, in the order of the file.

    Attributes
    ----------
    handle : _core.Index
    dtypes : list of numpy.dtype or UnsupportedError
        What each row of the file's dtypes is here, or why it is nothing.
    structure : bytes
        How the entries make up what was saved (docs/FORMAT.md 3.7).
    metadata : dict
    """

    def __init__(self, handle: _core.Index, metadata: dict[str, Any], where: str) -> None:
        self.handle = handle
        self._where = where
        self.structure = handle.structure
        self.metadata = metadata
        self._dtype_names = handle.dtypes()
        self.dtypes: list[np.dtype[Any] | UnsupportedError] = [
            _dtype.resolve(name, item_bits) for name, item_bits in self._dtype_names
        ]

    def __len__(self) -> int:
        return len(self.handle)

    def __iter__(self) -> Iterator[str]:
        return iter(self.handle.names())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.handle.find(name) >= 0

    def __getitem__(self, name: str) -> Entry:
        return self.entry(self.number(name))

    def get(self, name: str, default: Any = None) -> Any:
        """Return the entry of that name, or `default`, without looking for names that are close."""
        number = self.handle.find(name) if isinstance(name, str) else -1
        return default if number < 0 else self.entry(number)

    def names(self) -> list[str]:
        """Return all names, in the order of the file."""
        return self.handle.names()

    def number(self, name: str) -> int:
        """Return the number of the entry of that name, or raise EntryError."""
        if not isinstance(name, str):
            raise TypeError(f"a name is a str, not {type(name).__name__}")
        number = self.handle.find(name)
        if number < 0:
            raise EntryError(f"no entry {quote(name)} in {self._where}{self._hint(name)}")
        return number

    def numbers(self, names: Iterable[str]) -> list[int]:
        """Return the numbers of several names, each once, in the order given."""
        if isinstance(names, str):
            raise TypeError(f"names is a list of names; for one array pass [{names!r}]")
        return list(dict.fromkeys(self.number(name) for name in names))

    def entry(self, number: int) -> Entry:
        """Return the entry of that number."""
        name, row, shape, order, nbytes, offset, chunk_nbytes, alias_of = self.handle.entry(number)
        dtype = self._dtype_names[row][0]
        return Entry(number, name, dtype, shape, order, nbytes, offset, chunk_nbytes, alias_of)

    def dtype(self, entry: Entry) -> np.dtype[Any]:
        """Return an entry's NumPy dtype, or raise UnsupportedError that says what is missing."""
        found = self.dtypes[self.handle.entry(entry.number)[1]]
        if isinstance(found, UnsupportedError):
            raise UnsupportedError(f"{quote(entry.name)} in {self._where}: {found}")
        return found

    def _hint(self, name: str) -> str:
        if not len(self):
            return ", which holds no arrays"
        inside = sum(found.startswith(f"{name}/") for found in self.names())
        if inside:
            return f": it is a group of {inside} arrays, whose names begin with {quote(f'{name}/')}"
        if len(self) > _SUGGEST_FROM_AT_MOST:
            return f", which holds {len(self)} arrays"
        import difflib  # only to help: 1 ms that every import would pay

        names = [found for found in self.names() if len(found) <= _SUGGEST_LENGTH_AT_MOST]
        close = difflib.get_close_matches(name[:_SUGGEST_LENGTH_AT_MOST], names, 3)
        if close:
            return ": did you mean " + " or ".join(map(quote, close)) + "?"
        some = self.names()[:5]
        more = ", …" if len(self) > 5 else ""
        return f", which holds {len(self)}: " + ", ".join(map(quote, some)) + more
