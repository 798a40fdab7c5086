# SPDX-License-Identifier: Apache-2.0
"""What the values of an array in a file are like: range, mean, deviation, histogram.

An array is read twice, a piece at a time: once for the counts and the range, once for
mean, deviation and histogram, which need the range. So nothing is lost to cancellation
or overflow, and memory does not depend on the array. Bytes that are damaged are an error,
not a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mxio._pieces import PIECE_NBYTES, blocks, runs

if TYPE_CHECKING:
    from mxio._reader import Reader

__all__ = ["Stats", "stats"]

Array: TypeAlias = "np.ndarray[Any, Any]"

# Beyond 2**±_EXPONENT the squares of float64 leave their range; such values are scaled.
_EXPONENT = 480


class Stats(NamedTuple):
    """What the values of one array are like.

    Of complex numbers it is the magnitude. Dates and durations are counts of their unit
    and have no mean; text has nothing but a size.

    Attributes
    ----------
    size : int
        How many elements there are.
    n_nan, n_inf, n_zero : int
        How many are not a number (or not a time), infinite, zero.
    min, max : int, float or None
        Of the finite elements; None if there are none.
    mean, std : float or None
        Of the finite elements; the deviation is that of all, not of a sample.
    histogram : tuple of int
        How many finite elements lie in each of the equal parts of `min` to `max`; one
        part if these are equal, none if there are none.
    """

    size: int
    n_nan: int
    n_inf: int
    n_zero: int
    min: int | float | None
    max: int | float | None
    mean: float | None
    std: float | None
    histogram: tuple[int, ...]


def stats(
    reader: Reader,
    name: str,
    *,
    bins: int = 16,
    progress: Callable[[int], None] | None = None,
) -> Stats:
    """Return what the values of an entry are like.

    Parameters
    ----------
    reader : Reader
    name : str
    bins : int
        Into how many parts the histogram cuts the range.
    progress : callable, optional
        Called with the number of bytes read since the last call; twice those of the entry
        in all.

    Raises
    ------
    ChecksumError, EntryError, UnsupportedError
        As reading it.

    Examples
    --------
    >>> with mxio.open(mxio.dumps({'x': np.array([1.0, 2.0, np.nan])})) as f:
    ...     found = stats(f, 'x', bins=2)
    >>> found.min, found.max, found.mean, found.n_nan, found.histogram
    (1.0, 2.0, 1.5, 1, (1, 1))
    """
    walk = _Walk(reader, name, progress)
    kind = walk.dtype.kind
    if kind in "SU":
        walk.skip(2)
        return Stats(walk.size, 0, 0, 0, None, None, None, None, ())
    counts = _Counts()
    walk.run(counts.add)
    n_finite = walk.size - counts.n_nan - counts.n_inf
    mean, std = None, None
    histogram: tuple[int, ...] = ()
    if n_finite:
        shape = _Shape(counts.min, counts.max, bins)
        walk.run(shape.add)
        mean, std = shape.mean_and_std() if kind not in "mM" else (None, None)
        histogram = tuple(int(n) for n in shape.histogram)
    else:
        walk.skip(1)
    low, high = (counts.min, counts.max) if n_finite else (None, None)
    return Stats(
        walk.size, counts.n_nan, counts.n_inf, counts.n_zero, low, high, mean, std, histogram
    )


class _Walk:
    """One array, read in pieces as often as is needed."""

    def __init__(self, reader: Reader, name: str, progress: Callable[[int], None] | None) -> None:
        self._array = reader[name]
        self._order = reader.index[name].order
        self._progress = progress
        self.dtype = self._array.dtype
        self.size = self._array.size
        self._whole: Array | None = None  # if it is small

    def run(self, add: Callable[[_Block], None]) -> None:
        for piece in self._pieces():
            for block in blocks(piece):
                add(_finite(block))
            if self._progress:
                self._progress(piece.nbytes)

    def _pieces(self) -> Iterator[Array]:
        if self._array.nbytes <= PIECE_NBYTES:
            if self._whole is None:
                whole = self._array.read()
                self._whole = np.ascontiguousarray(whole.T if self._order == "F" else whole)
            return iter([self._whole])
        return runs(self._array, max(1, PIECE_NBYTES // self.dtype.itemsize))

    def skip(self, times: int) -> None:
        if self._progress:
            self._progress(times * self._array.nbytes)


class _Block(NamedTuple):
    """The finite numbers among some elements, and how many were left out."""

    finite: Array
    n_nan: int
    n_inf: int


def _finite(block: Array) -> _Block:
    """Return numbers that NumPy computes with; times as counts of their unit."""
    kind, itemsize = block.dtype.kind, block.dtype.itemsize
    if kind in "mM":
        times = block.view(np.int64)[~np.isnat(block)]
        return _Block(times, block.size - times.size, 0)
    if kind == "c":
        with np.errstate(over="ignore"):  # a magnitude beyond float64
            block = np.abs(block.astype(np.complex128))
    elif kind == "b":
        block = block.view(np.uint8)
    elif block.dtype.type.__module__ != "numpy":
        # ml_dtypes: its integers have at most 4 bits, its floats fit into float32.
        block = block.astype(np.int8 if "int" in block.dtype.name else np.float32)
    elif kind == "f" and itemsize == 2:
        block = block.astype(np.float32)
    if block.dtype.kind != "f":
        return _Block(block, 0, 0)
    which = np.isfinite(block)
    if which.all():
        return _Block(block, 0, 0)
    n_nan = int(np.count_nonzero(np.isnan(block)))
    finite = block[which]
    return _Block(finite, n_nan, block.size - finite.size - n_nan)


class _Counts:
    """The first walk."""

    def __init__(self) -> None:
        self.n_nan = self.n_inf = self.n_zero = 0
        self.min: int | float = math.inf
        self.max: int | float = -math.inf

    def add(self, block: _Block) -> None:
        x = block.finite
        self.n_nan += block.n_nan
        self.n_inf += block.n_inf
        if x.size:
            self.n_zero += x.size - int(np.count_nonzero(x))
            # As Python's numbers, which are exact.
            self.min = min(self.min, x.min().item())
            self.max = max(self.max, x.max().item())


class _Shape:
    """The second walk: moments, block by block about the block's own mean, and histogram."""

    def __init__(self, low: int | float, high: int | float, bins: int) -> None:
        exponent = math.frexp(max(abs(float(low)), abs(float(high))))[1]
        self._exponent = exponent if abs(exponent) > _EXPONENT else 0
        self._low = math.ldexp(float(low), -self._exponent)
        width = math.ldexp(float(high), -self._exponent) - self._low
        # Where all lie in one place there is one part.
        self.histogram = np.zeros(bins if width > 0 else 1, np.int64)
        self._per_width = bins / width if width > 0 else 0.0
        self._n = 0
        self._mean = 0.0
        self._squares = 0.0  # of the distances from the mean

    def add(self, block: _Block) -> None:
        x = block.finite.astype(np.float64)
        if not x.size:
            return
        if self._exponent:
            x = np.ldexp(x, -self._exponent)
        mean = float(x.mean())
        n = self._n + x.size
        step = mean - self._mean
        self._squares += float(np.square(x - mean).sum()) + step * step * (self._n * x.size / n)
        self._mean += step * (x.size / n)
        self._n = n
        if not self._per_width:
            self.histogram[0] += x.size
            return
        x -= self._low
        x *= self._per_width
        bins = self.histogram.size
        # The maximum belongs to the last part.
        parts = np.minimum(x.astype(np.intp), bins - 1)
        self.histogram += np.bincount(parts, minlength=bins)

    def mean_and_std(self) -> tuple[float, float]:
        std = math.sqrt(self._squares / self._n)
        return math.ldexp(self._mean, self._exponent), math.ldexp(std, self._exponent)
