# SPDX-License-Identifier: Apache-2.0
"""Entries into arrays that exist already.

First everything that can be wrong with the arrays is said; then those that lie as their
entries do are filled straight from the file, in one call, and the others through windows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from mxio import _core, _dtype, _host
from mxio._index import Index
from mxio._lazy import LazyArray, read_entries
from mxio._region import blocks
from mxio._stream import Encoded
from mxio.errors import EntryError, UnsupportedError, described, quote

__all__ = ["Filling", "check_entries"]

Array: TypeAlias = "np.ndarray[Any, Any]"

# What is read at once for arrays that cannot be filled straight from the file.
_WINDOW_NBYTES = 8 << 20
# Arrays whose memory is interleaved are compared with this many neighbours.
_NEIGHBOURS = 16
_OVERLAP_WORK = 10_000


class Filling:
    """Which arrays are to be filled from which entries: judged, and nothing written.

    Making one raises whatever is wrong with one of the arrays: which it is, what it has,
    what the file has. `run` fills them.
    """

    __slots__ = ("_direct", "_index", "_rest", "_swapped")

    def __init__(
        self, index: Index, numbers: Sequence[int], arrays: Sequence[Any], cast: bool
    ) -> None:
        self._index = index
        # Those that lie as their entries do, by the number of the entry: of two names of
        # one array, by that of the first.
        self._direct: dict[int, Array] = {}
        self._swapped: list[Array] = []  # of these, those in the other byte order
        self._rest: list[tuple[int, Array, int]] = []
        direct, rest, hosts = self._direct, self._rest, []
        facts = index.handle.entries(list(numbers))
        native = index.native_dtypes(numbers, facts)
        swapped_rows = [
            dtype is not stored for dtype, stored in zip(native, index.dtypes, strict=True)
        ]
        for at, ((row, shape, order, nbytes, number), array) in enumerate(
            zip(facts, arrays, strict=True)
        ):
            host = array if type(array) is np.ndarray else _memory(array, index, numbers[at])
            dtype, has, flags = native[row], host.dtype, host.flags
            if (
                host.shape != shape
                or (has is not dtype and not _fits(dtype, has, cast))
                or not flags.writeable
            ):
                _refuse(index, numbers[at], host, shape, dtype, cast)
            hosts.append(host)
            lies = flags.f_contiguous if order == "F" else flags.c_contiguous
            if lies and number not in direct and (has is dtype or _native(has) == dtype):
                if nbytes:
                    direct[number] = host
                    if swapped_rows[row] == has.isnative:
                        self._swapped.append(host)
            else:
                rest.append((number, host, nbytes))
        _check_apart(index, numbers, hosts, bool(rest))

    def run(self, file: _core.File, verify: bool, threads: int) -> None:
        """Fill the arrays; after an error they hold what was read so far."""
        index, direct = self._index, self._direct
        codecs = index.codecs
        coded = [n for n in direct if n in codecs and (verify or not codecs[n].plain)]
        plain = {n: direct[n] for n in direct.keys() - set(coded)} if coded else direct
        file.read_into(index.handle, list(plain), list(plain.values()), verify, threads)
        for number in coded:
            flat = direct[number].reshape(-1, order="A").view(np.uint8)
            index.decode(file, index.entry(number), flat, verify)
        for array in self._swapped:
            array.byteswap(inplace=True)
        self._fill_rest(file, verify, threads)

    def _fill_rest(self, file: _core.File, verify: bool, threads: int) -> None:
        """Fill what does not lie as its entry does: through windows, or from its other name."""
        index = self._index
        group: list[tuple[int, Array]] = []
        room = _WINDOW_NBYTES

        def flush() -> None:
            found = read_entries(file, index, [number for number, _ in group], verify, threads)
            for (_, array), read in zip(group, found, strict=True):
                np.copyto(array, read, casting="unsafe")
            group.clear()

        for number, array, nbytes in self._rest:
            if number in self._direct:
                np.copyto(array, self._direct[number], casting="unsafe")
            elif nbytes > _WINDOW_NBYTES:
                lazy = LazyArray(file, index, index.entry(number), verify, threads)
                _fill_large(lazy, array)
            else:
                if nbytes > room:
                    flush()
                    room = _WINDOW_NBYTES
                group.append((number, array))
                room -= nbytes
        if group:
            flush()


def _memory(array: Any, index: Index, number: int) -> Array:
    """Return the memory of anything that lends it, in the dtype that it has in NumPy."""
    name = index.entry(number).name
    at = f"out for {quote(name)}"
    if isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray):
        return array.view(np.ndarray)
    try:
        host, dtype = _host.to_host(array, name)
        # What is computed or copied when it is asked for lies somewhere else each time.
        again = _host.to_host(array, name)[0]
    except TypeError as exc:
        raise TypeError(
            f"{at} is {described(array)}, which lends no memory to fill; use a numpy.ndarray"
        ) from exc
    if not np.array_equal(*_core.spans([host, again])):
        raise TypeError(
            f"{at} is {described(array)}, which gives copies of its items; use a numpy.ndarray"
        )
    if _dtype.KNOWN.get(host.dtype) != dtype:
        bits = _dtype.item_bits(dtype)
        known = None if bits is None else _dtype.resolve(dtype, bits)
        if isinstance(known, UnsupportedError):
            raise UnsupportedError(f"{at}: {known}")
        if known is not None and known.itemsize == host.dtype.itemsize:
            host = host.view(known)
    return host


def _fits(stored: np.dtype[Any], dtype: np.dtype[Any], cast: bool) -> bool:
    return _native(dtype) == stored or (cast and _can_convert(stored, dtype))


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.isnative else dtype.newbyteorder("=")


@functools.lru_cache(maxsize=256)
def _can_convert(stored: np.dtype[Any], dtype: np.dtype[Any]) -> bool:
    """Whether every item of a dtype can become one of the other: numbers, none losing a part."""
    for one in (stored, dtype):
        if one.kind not in "biufc" and one.type.__module__ != "ml_dtypes":
            return False
    if stored.kind == "c" and dtype.kind != "c":
        return False
    try:
        np.zeros(1, stored).astype(dtype)
    except TypeError:
        return False
    return True


def _refuse(
    index: Index,
    number: int,
    host: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    cast: bool,
) -> None:
    name = index.entry(number).name
    has = f"out for {quote(name)} is {host.dtype} {host.shape}, but the file has {dtype} {shape}"
    if host.shape != shape:
        raise EntryError(has)
    if not _fits(dtype, host.dtype, cast):
        if cast:
            raise EntryError(f"{has}, which cannot be converted")
        can = _can_convert(dtype, host.dtype)
        raise EntryError(has + (": cast=True converts it" if can else ""))
    raise ValueError(f"out for {quote(name)} is not writable")


def _check_apart(index: Index, numbers: Sequence[int], hosts: list[Array], strided: bool) -> None:
    """Refuse arrays that share memory, as far as that can be seen in a short time."""
    for number, host in zip(numbers, hosts, strict=True) if strided else ():
        if not host.flags.forc and any(
            stride == 0 and extent > 1
            for stride, extent in zip(host.strides, host.shape, strict=True)
        ):
            name = quote(index.entry(number).name)
            raise ValueError(f"out for {name} has several items in one place of memory")
    if len(hosts) < 2:
        return
    bounds = _core.spans(hosts)
    order = np.argsort(bounds[:, 0], kind="stable")
    lows, highs = bounds[order, 0], bounds[order, 1]
    if (lows[1:] >= np.maximum.accumulate(highs)[:-1]).all():
        return
    near: list[int] = []
    for at in order.tolist():
        low = int(bounds[at, 0])
        near = [other for other in near if int(bounds[other, 1]) > low][-_NEIGHBOURS:]
        for other in near:
            if _overlap(index, numbers[at], hosts[at], numbers[other], hosts[other]):
                one, two = (quote(index.entry(numbers[k]).name) for k in sorted((at, other)))
                raise ValueError(f"out for {one} and out for {two} share memory")
        near.append(at)


def _overlap(index: Index, number: int, host: Array, other_number: int, other: Array) -> bool:
    """Whether filling one array would change what fills the other."""
    first, second = (found[-1] for found in index.handle.entries([number, other_number]))
    if (
        first == second  # two names of one array, into one array
        and host.strides == other.strides
        and host.dtype == other.dtype
        and np.array_equal(*_core.spans([host, other]))
    ):
        return False
    try:
        return np.shares_memory(host, other, max_work=_OVERLAP_WORK)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return False


# ---- checking ----------------------------------------------------------------------------------


def check_entries(file: _core.File, index: Index, numbers: Sequence[int], threads: int) -> None:
    """Compare the checksums of entries, keeping no byte; at once where a format has none."""
    codecs = index.codecs
    if index.has_checksums:
        file.check(index.handle, [n for n in numbers if n not in codecs], threads, None)
    for number in numbers:
        if number in codecs:
            for _ in codecs[number].pieces(file, index.entry(number), True):
                pass


# ---- arrays larger than a window ----------------------------------------------------------------


def _fill_large(source: LazyArray, array: Array) -> None:
    """Fill an array a window at a time, in the order of the file."""
    dtype = source._index.dtype(source._entry)
    encoded = Encoded(0, source) if source._is_encoded else None
    target = array.T if source._entry.order == "F" else array
    buffer = np.empty(max(_WINDOW_NBYTES, dtype.itemsize), np.uint8)
    start = 0
    for block in blocks(target.shape, dtype.itemsize, source._entry.chunk_nbytes, _WINDOW_NBYTES):
        part = target[(*block, ...)]
        window = buffer[: part.size * dtype.itemsize]
        if encoded is None:
            source._read_bytes(start, start + len(window), window)
        else:
            encoded.take(start, window)
        np.copyto(part, window.view(dtype).reshape(part.shape), casting="unsafe")
        start += len(window)
