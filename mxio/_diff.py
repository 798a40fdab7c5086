# SPDX-License-Identifier: Apache-2.0
"""How two files differ, in numbers; and whether a copy is what it was copied from.

Both read side by side, a piece at a time, so that memory does not depend on the files.
What is equal bit for bit is found at the speed of comparing memory; only an array that is
not is walked through once more, for how much it differs. Bytes that are damaged are an
error, not a difference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mxio._pieces import PIECE_NBYTES, blocks, regions
from mxio._structure import Plain, structure_of
from mxio.errors import FormatError, quote

if TYPE_CHECKING:
    from mxio._index import Entry
    from mxio._lazy import LazyArray
    from mxio._reader import Reader

__all__ = ["ArrayChange", "Diff", "PlainChange", "compare", "require_copy"]

Array: TypeAlias = "np.ndarray[Any, Any]"
_SMALL_NBYTES = 64 << 10
_MANY = 10_000  # are read at once at most

Progress: TypeAlias = "Callable[[int, int], None]"  # bytes done, bytes in all


class ArrayChange(NamedTuple):
    """An array that both files have, and that is not the same in both.

    Attributes
    ----------
    name : str
    dtypes, shapes : pair
        In the first file and in the second.
    size : int
        How many elements there are; those of the first file if the shapes differ.
    n_changed : int or None
        How many elements differ by value and by more than the tolerance. 0.0 and -0.0 are
        equal, and so are two NaN; 0 without a tolerance means that only bits differ, or the
        dtype.
        None where values cannot be compared: other shapes, numbers with text.
    max_abs : int, float or None
        The largest difference of two elements, NaN left out: of integers exact, of
        complex numbers the distance, of dates and durations in their unit; None where
        elements have none.
    max_rel : float or None
        The largest difference divided by the larger magnitude of the two.
    n_nan : pair of int
        How many NaN (or not-a-time) there are in the first file and in the second.
    """

    name: str
    dtypes: tuple[str, str]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    size: int
    n_changed: int | None
    max_abs: int | float | None
    max_rel: float | None
    n_nan: tuple[int, int]

    @property
    def is_same(self) -> bool:
        """Whether dtype, shape and all values are the same, as far as the tolerance goes."""
        return self.n_changed == 0 and self.dtypes[0] == self.dtypes[1]


class PlainChange(NamedTuple):
    """A plain value of a tree, or of the metadata, as Python prints it; None: not there."""

    path: str
    values: tuple[str | None, str | None]


class Diff(NamedTuple):
    """How two files differ.

    Attributes
    ----------
    removed, added : list of str
        Names of arrays that only the first file has, that only the second has.
    changed : list of ArrayChange
        Also those that differ in bits only; see `ArrayChange.is_same`.
    n_equal : int
        How many arrays are equal bit for bit.
    plain : list of PlainChange
        Plain values of the trees, and the kinds and shapes of sparse arrays.
    structure : list of PlainChange
        Containers that are not the same, as ``list``, ``tuple``, ``dict``; None: the arrays
        that would be in it are not put together.
    metadata : list of PlainChange
    """

    removed: list[str]
    added: list[str]
    changed: list[ArrayChange]
    n_equal: int
    plain: list[PlainChange]
    structure: list[PlainChange]
    metadata: list[PlainChange]

    @property
    def is_same(self) -> bool:
        """Whether both have the same arrays and the same plain values."""
        arrays = not self.removed and not self.added and all(c.is_same for c in self.changed)
        return arrays and not self.plain

    @property
    def is_strictly_same(self) -> bool:
        """Whether, besides, bits, structure and metadata are the same."""
        return self.is_same and not (self.changed or self.structure or self.metadata)


def compare(
    a: Reader,
    b: Reader,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    progress: Progress | None = None,
) -> Diff:
    """Return how two open files differ, of whatever formats.

    Parameters
    ----------
    a, b : Reader
    rtol, atol : float
        Numbers x and y are the same if ``|x - y| <= atol + rtol * max(|x|, |y|)``.
    progress : callable, optional
        Called with the bytes that were compared and those that are to be compared.

    Raises
    ------
    ChecksumError, FormatError, UnsupportedError
        A file is damaged, or has a dtype that cannot be read here.

    Examples
    --------
    >>> with mxio.open(mxio.dumps({'x': np.arange(3)})) as a:
    ...     with mxio.open(mxio.dumps({'x': np.array([0, 1, 4])})) as b:
    ...         (change,) = compare(a, b).changed
    >>> change.n_changed, change.max_abs, change.max_rel
    (1, 2, 0.5)
    """
    others = set(b.index.names())
    both = [name for name in a.index.names() if name in others]
    count = _Count(progress, sum(a.index[name].nbytes for name in both) if progress else 0)
    unequal = list(_unequal(a, b, [(name, name) for name in both], count))
    unequal.sort(key=lambda pair: pair.entries[0].number)
    changed = [pair.change(_Tolerance(rtol, atol)) for pair in unequal]
    structure, plain = _structures(a, b, both)
    return Diff(
        removed=[name for name in a.index.names() if name not in others],
        added=[name for name in b.index.names() if name not in a.index],
        changed=changed,
        n_equal=len(both) - len(changed),
        plain=plain,
        structure=structure,
        metadata=_metadata(a, b),
    )


def require_copy(
    a: Reader,
    b: Reader,
    names: Iterable[tuple[str, str]],
    *,
    dtype: np.dtype[Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Raise FormatError unless each entry of `b` holds the bits of the one of `a`.

    Parameters
    ----------
    a, b : Reader
    names : iterable of pairs of str
        The name in `a`, the name in `b`; all entries of `b`, in any order.
    dtype : numpy.dtype, optional
        What floating-point arrays of `a` were converted to.
    progress : callable, optional
        As in `compare`.
    """
    pairs = list(names)
    expected = {new for _, new in pairs}
    for name in b.index.names():
        if name not in expected:
            raise FormatError(f"the copy has an array {quote(name)} that was not copied")
    for _, new in pairs:
        if new not in b.index:
            raise FormatError(f"the copy has no array {quote(new)}")
    count = _Count(progress, sum(a.index[old].nbytes for old, _ in pairs) if progress else 0)
    for pair in _unequal(a, b, pairs, count, dtype):
        name = quote(pair.entries[1].name)
        raise FormatError(f"the copy's array {name} is not what was copied")


class _Count:
    """Bytes of the first file that have been compared."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._done, self._total = 0, total

    def add(self, nbytes: int) -> None:
        if self._progress:
            self._done += nbytes
            self._progress(self._done, self._total)


# ---- two arrays ------------------------------------------------------------------------------


def _unequal(
    a: Reader,
    b: Reader,
    pairs: list[tuple[str, str]],
    count: _Count,
    dtype: np.dtype[Any] | None = None,
) -> Iterator[_Pair]:
    """Yield the arrays that are not equal bit for bit.

    Small ones that lie alike are read many at once: reading one by one would cost more than
    comparing.
    """
    small: list[_Pair] = []
    nbytes = 0
    for names in pairs:
        pair = _Pair(a, b, names)
        if pair.nbytes > _SMALL_NBYTES or not pair.is_alike() or dtype is not None:
            if not pair.is_copy(dtype, count):
                yield pair
            continue
        small.append(pair)
        nbytes += pair.nbytes
        if nbytes > PIECE_NBYTES or len(small) == _MANY:
            yield from _unequal_small(a, b, small)
            count.add(nbytes)
            small, nbytes = [], 0
    yield from _unequal_small(a, b, small)
    count.add(nbytes)


def _unequal_small(a: Reader, b: Reader, pairs: list[_Pair]) -> Iterator[_Pair]:
    first = a.read(pair.entries[0].name for pair in pairs)
    second = b.read(pair.entries[1].name for pair in pairs)
    for pair in pairs:
        x, y = first[pair.entries[0].name], second[pair.entries[1].name]
        if x.tobytes("A") != y.tobytes("A"):
            yield pair


class _Pair:
    """Two arrays, read side by side."""

    def __init__(self, a: Reader, b: Reader, names: tuple[str, str]) -> None:
        self._readers = a, b
        self.entries: tuple[Entry, Entry] = a.index[names[0]], b.index[names[1]]
        self.nbytes = self.entries[0].nbytes

    def is_alike(self) -> bool:
        """Say whether both lie in their files in the same way."""
        (x, y) = self.entries
        return (x.dtype, x.shape, x.order) == (y.dtype, y.shape, y.order)

    def change(self, tolerance: _Tolerance) -> ArrayChange:
        """Return how the arrays differ."""
        (x, y), (first, second) = self._arrays(), self.entries
        measure = _measure_of(x.dtype, y.dtype) if first.shape == second.shape else None
        found = _Found()
        if measure:
            for piece, other in self._pieces():
                for u, v in zip(blocks(piece), blocks(other), strict=True):
                    found.add(measure(u, v, tolerance))
        return ArrayChange(
            first.name,
            (first.dtype, second.dtype),
            (first.shape, second.shape),
            x.size,
            found.n_changed if measure else None,
            found.max_abs,
            found.max_rel,
            (found.n_nan_x, found.n_nan_y),
        )

    def is_copy(self, dtype: np.dtype[Any] | None, count: _Count) -> bool:
        """Say whether the second has the bits of the first, converted if it is floating."""
        (x, y), (first, second) = self._arrays(), self.entries
        to = dtype if dtype is not None and is_floating(x.dtype) else x.dtype
        left = self.nbytes
        same = first.shape == second.shape and to == y.dtype
        for piece, other in self._pieces() if same else ():
            same = _same_bits(piece if to == x.dtype else _converted(piece, to), other)
            if not same:
                break
            count.add(piece.nbytes)
            left -= piece.nbytes
        count.add(left)
        return same

    def _arrays(self) -> tuple[LazyArray, LazyArray]:
        (a, b), (first, second) = self._readers, self.entries
        return a[first.name], b[second.name]

    def _pieces(self) -> Iterator[tuple[Array, Array]]:
        """Read both, piece by piece, each contiguous and of the same order."""
        (x, y), (first, second) = self._arrays(), self.entries
        orders = first.order + second.order
        for box in regions(x.shape, max(x.dtype.itemsize, y.dtype.itemsize), orders):
            piece, other = x.read(box), y.read(box)
            if orders == "FF":
                piece, other = piece.T, other.T
            yield np.ascontiguousarray(piece), np.ascontiguousarray(other)


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Say whether a dtype is one of floating-point numbers, NumPy's or ml_dtypes'."""
    if dtype.type.__module__ == "numpy":
        return dtype.kind == "f"
    return "float" in dtype.name


def _converted(piece: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(all="ignore"):  # what does not fit becomes infinite
        return piece.astype(dtype)


def _same_bits(x: Array, y: Array) -> bool:
    """Say whether contiguous arrays of one dtype have the same bytes."""
    u, v = x.reshape(-1).view(np.uint8), y.reshape(-1).view(np.uint8)
    whole = u.size - u.size % 8
    return np.array_equal(u[:whole].view(np.uint64), v[:whole].view(np.uint64)) and (
        np.array_equal(u[whole:], v[whole:])
    )


# ---- two blocks of numbers -------------------------------------------------------------------


class _Tolerance(NamedTuple):
    rtol: float
    atol: float


class _Found:
    """What was found in blocks, put together; a block's finding is one of these, too."""

    def __init__(
        self,
        n_changed: int = 0,
        max_abs: int | float | None = None,
        max_rel: float | None = None,
        n_nan: tuple[int, int] = (0, 0),
    ) -> None:
        self.n_changed = n_changed
        self.max_abs = max_abs
        self.max_rel = max_rel
        self.n_nan_x, self.n_nan_y = n_nan

    def add(self, found: _Found) -> None:
        self.n_changed += found.n_changed
        self.n_nan_x += found.n_nan_x
        self.n_nan_y += found.n_nan_y
        if found.max_abs is not None and (self.max_abs is None or found.max_abs > self.max_abs):
            self.max_abs = found.max_abs
        if found.max_rel is not None and (self.max_rel is None or found.max_rel > self.max_rel):
            self.max_rel = found.max_rel


_Measure: TypeAlias = "Callable[[Array, Array, _Tolerance], _Found]"


def _measure_of(x: np.dtype[Any], y: np.dtype[Any]) -> _Measure | None:
    """Return what compares blocks of two dtypes, or None if they have nothing in common."""
    if x.kind in "SU" or y.kind in "SU":
        return _measure_text if x.kind == y.kind else None
    if x.kind in "mM" or y.kind in "mM":
        return _measure_times if x == y else None
    if _is_integer(x) and _is_integer(y):
        return _measure_integers
    return _measure_floats


def _is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biu" or (dtype.type.__module__ != "numpy" and "int" in dtype.name)


def _measure_text(x: Array, y: Array, tolerance: _Tolerance) -> _Found:
    return _Found(int(np.count_nonzero(x != y)))


def _measure_times(x: Array, y: Array, tolerance: _Tolerance) -> _Found:
    no_x, no_y = np.isnat(x), np.isnat(y)
    known = ~(no_x | no_y)
    found = _measure_integers(x.view(np.int64)[known], y.view(np.int64)[known], _Tolerance(0, 0))
    n_changed = found.n_changed + int(np.count_nonzero(no_x != no_y))
    n_nan = int(np.count_nonzero(no_x)), int(np.count_nonzero(no_y))
    return _Found(n_changed, found.max_abs, None, n_nan)


def _measure_integers(x: Array, y: Array, tolerance: _Tolerance) -> _Found:
    x, y = _plain_integers(x), _plain_integers(y)
    where = x != y  # exact, also of int64 and uint64
    if not where.any():
        return _Found(0, 0, 0.0)
    x, y = x[where], y[where]
    f, g = x.astype(np.float64), y.astype(np.float64)
    larger = np.maximum(np.abs(f), np.abs(g))
    if np.result_type(x, y).kind == "f":  # int64 and uint64 can be 2**64 apart
        apart: Array = np.abs(f - g)
    else:
        # As uint64: what wraps around on the way comes out right.
        u, v = x.astype(np.uint64), y.astype(np.uint64)
        apart = np.where(x > y, u - v, v - u)
    n_changed = x.size
    if tolerance != (0, 0):
        n_changed -= int(np.count_nonzero(apart <= tolerance.atol + tolerance.rtol * larger))
    return _Found(n_changed, int(apart.max()), float((apart / larger).max()))


def _plain_integers(x: Array) -> Array:
    if x.dtype.kind == "b":
        return x.view(np.uint8)
    return x if x.dtype.type.__module__ == "numpy" else x.astype(np.int8)


def _measure_floats(x: Array, y: Array, tolerance: _Tolerance) -> _Found:
    kind = np.complex128 if "c" in x.dtype.kind + y.dtype.kind else np.float64
    with np.errstate(all="ignore"):
        x, y = x.astype(kind), y.astype(kind)
        no_x, no_y = np.isnan(x), np.isnan(y)
        n_nan = int(np.count_nonzero(no_x)), int(np.count_nonzero(no_y))
        n_changed = int(np.count_nonzero(no_x != no_y))
        where = (x != y) & ~(no_x | no_y)
        x, y = x[where], y[where]
        if not x.size:
            some = n_nan[0] < no_x.size or n_nan[1] < no_y.size
            return _Found(n_changed, 0.0 if some else None, 0.0 if some else None, n_nan)
        apart = np.abs(x - y)
        larger = np.maximum(np.abs(x), np.abs(y))
        apart[np.isnan(apart)] = math.inf  # infinities of complex numbers
        relative = apart / larger
        relative[np.isnan(relative)] = math.inf
        n_changed += x.size
        if tolerance != (0, 0):
            allowed = tolerance.atol + tolerance.rtol * larger
            n_changed -= int(np.count_nonzero((apart <= allowed) & np.isfinite(larger)))
        return _Found(n_changed, float(apart.max()), float(relative.max()), n_nan)


# ---- what is not in arrays -------------------------------------------------------------------


def _structures(
    a: Reader, b: Reader, both: list[str]
) -> tuple[list[PlainChange], list[PlainChange]]:
    """Return the containers that differ, and the plain values."""
    if a.index.structure == b.index.structure:
        return [], []
    first, second = structure_of(a.index), structure_of(b.index)
    # A container is missed only where something both have could be in it.
    around = {""}
    for name in both:
        steps = name.split("/")[:-1]
        around.update("/".join(steps[: n + 1]) for n in range(len(steps)))
    structure = []
    for path in dict.fromkeys([*first.kinds, *second.kinds]):
        kinds = first.kinds.get(path), second.kinds.get(path)
        if kinds[0] != kinds[1] and (None not in kinds or path in around):
            structure.append(PlainChange(path, kinds))
    plain = (_by_path([*found.plain, *found.sparse]) for found in (first, second))
    return structure, _plain_changes(*plain)


def _by_path(plain: list[Plain]) -> dict[str, Plain]:
    found: dict[str, Plain] = {}
    for item in plain:
        path, n = item.path, 1
        while path in found:  # the keys 1 and '1' of one dict
            n += 1
            path = f"{item.path} ({n})"
        found[path] = item
    return found


def _plain_changes(a: dict[str, Plain], b: dict[str, Plain]) -> list[PlainChange]:
    changes = []
    for path in dict.fromkeys([*a, *b]):
        x, y = a.get(path), b.get(path)
        if x is None or y is None or x.node != y.node:
            changes.append(PlainChange(path, (x and x.shown, y and y.shown)))
    return changes


def _metadata(a: Reader, b: Reader) -> list[PlainChange]:
    changes = []
    for key in dict.fromkeys([*a.metadata, *b.metadata]):
        values = [
            json.dumps(reader.metadata[key], ensure_ascii=False, sort_keys=True)
            if key in reader.metadata
            else None
            for reader in (a, b)
        ]
        if values[0] != values[1]:
            changes.append(PlainChange(key, (values[0], values[1])))
    return changes
