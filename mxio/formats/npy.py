# SPDX-License-Identifier: Apache-2.0
"""NumPy's npy: one array behind a header that is the text of a Python dict.

The header comes from the file, so it is taken apart into the few tokens that NumPy writes
before `ast.literal_eval` sees it. What cannot be read, pickles above all, is an entry all
the same, with the reason in place of its dtype. Of npz, whose members are such files, only
the headers are understood here.
"""

from __future__ import annotations

import ast
import io
import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mxio import _core, _dtype
from mxio._index import Index
from mxio.errors import FormatError, UnsupportedError, clip

if TYPE_CHECKING:
    from mxio._index import Codec, Content

__all__ = ["NAME", "Header", "Items", "Listing", "index", "parse", "plan", "probe"]

NAME = "npy"
MAGIC = b"\x93NUMPY"
PREFIX_NBYTES = 12  # magic, version, length of the header; two bytes less in version 1.0

MAX_HEADER_NBYTES = 10_000  # NumPy's own limit
_MAX_NDIM = 64
_MAX_NBYTES = 2**63 - 1
_MAX_DEPTH = 32  # of brackets: dtypes of structs of structs
_KEYS = {"descr", "fortran_order", "shape"}

# The tokens of a header, their escapes those of Python's repr; L as Python 2 wrote it.
_TOKEN = re.compile(
    r"""[ \t\n]*(?:
        (?P<text>[uU]?(?:'[^'\\\n]*(?:\\[\\'nrtxuU][^'\\\n]*)*'
                        |"[^"\\\n]*(?:\\[\\"'nrtxuU][^"\\\n]*)*"))
        |(?P<number>-?[0-9]{1,20})L?
        |(?P<word>True|False|None)
        |(?P<mark>[][(){},:])
    )""",
    re.VERBOSE,
)
_STEPS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_DESCR = re.compile(r"[<>|=]?(?:\?|([biufcmMSUVOT])[0-9]{0,10}(?:\[[0-9a-zA-Zμ]{1,20}\])?)")

# Spaces that let the longest axis grow to so many digits in place, as NumPy leaves them.
_GROWTH_DIGITS = 21
_ALIGN = 64

Fail: TypeAlias = Callable[[str, int], FormatError]  # what, at which offset in the header
DType: TypeAlias = "np.dtype[Any]"


class Items(NamedTuple):
    """What a descr makes of the items of an array.

    `row` names the row of the index's dtypes: the dtype's name on disk, behind a ``>`` where
    the items are big-endian. `bits` is 0 where nobody can say how long an item is.
    """

    row: str
    bits: int
    dtype: DType | UnsupportedError


BYTES = Items("uint8", 8, np.dtype(np.uint8))


class Header(NamedTuple):
    """A header that has been understood, or the reason in its items why it has not."""

    items: Items
    shape: tuple[int, ...]
    order: str
    begin: int  # of the data, behind the header
    version: str

    def nbytes(self) -> int | None:
        """Return how long the data is, None where only the file knows."""
        if not self.items.bits:
            return None
        return math.prod(self.shape) * self.items.bits // 8


def probe(head: bytes) -> bool:
    """Say whether a file that begins so is of this format, sound or not."""
    return head.startswith(MAGIC)


# ---- reading ---------------------------------------------------------------------------------


def header_nbytes(begin: bytes, fail: Fail) -> int:
    """Return the length of the whole header, from the bytes a file begins with.

    UnsupportedError if it is a version or a length that is not read.
    """
    if not begin.startswith(MAGIC):
        raise fail("no npy header", 0)
    if len(begin) < PREFIX_NBYTES:
        raise fail("cut short in the npy header", len(begin))
    if begin[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise UnsupportedError(f"npy version {begin[6]}.{begin[7]} is none of 1.0, 2.0 and 3.0")
    n = 2 if begin[6] == 1 else 4
    nbytes = int.from_bytes(begin[8 : 8 + n], "little")
    if nbytes > MAX_HEADER_NBYTES:
        raise UnsupportedError(
            f"its npy header is {nbytes} bytes long, and mxio reads, as NumPy does, at most "
            f"{MAX_HEADER_NBYTES}"
        )
    return 8 + n + nbytes


def parse(header: bytes, fail: Fail) -> Header:
    """Understand a whole header, which `header_nbytes` has measured."""
    at = 10 if header[6] == 1 else 12
    try:
        text = header[at:].decode("utf-8" if header[6] == 3 else "latin-1")
    except UnicodeDecodeError as error:
        raise fail("the npy header is not UTF-8", at + error.start) from None
    said = _literal(text, at, fail)
    if type(said) is not dict or set(said) != _KEYS:
        raise fail("the npy header is not a dict of descr, fortran_order and shape", at)
    shape, fortran = said["shape"], said["fortran_order"]
    if type(fortran) is not bool:
        raise fail("fortran_order in the npy header is no bool", at)
    if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
        raise fail("shape in the npy header is no tuple of sizes", at)
    if len(shape) > _MAX_NDIM:
        raise fail(f"{len(shape)} dimensions, and NumPy has at most {_MAX_NDIM}", at)
    items = items_of(said["descr"])
    if math.prod(n or 1 for n in shape) * (items.bits or 8) // 8 > _MAX_NBYTES:
        raise fail("a shape beyond what NumPy can hold", at)
    order = "F" if fortran and len(shape) > 1 else "C"
    return Header(items, shape, order, len(header), f"{header[6]}.{header[7]}")


def unread(reason: str) -> Items:
    """Return the items of bytes that are not understood."""
    return Items("unknown", 0, UnsupportedError(reason))


def _literal(text: str, at: int, fail: Fail) -> Any:
    """Return the value of a Python literal of strings, numbers, words and brackets."""
    tokens = []
    position = depth = 0
    end = len(text.rstrip(" \t\n"))
    while position < end:
        token = _TOKEN.match(text, position, end)
        if token is None:
            raise fail(
                "the npy header holds more than a Python dict of plain values", at + position
            )
        position = token.end()
        tokens.append(token[token.lastgroup or 0])
        depth += _STEPS.get(tokens[-1], 0)
        if not 0 <= depth <= _MAX_DEPTH:
            raise fail("brackets in the npy header that do not match", at + position)
    try:
        return ast.literal_eval(" ".join(tokens))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise fail("the npy header is not the text of a Python dict", at) from None


def items_of(descr: object) -> Items:
    """Return what a descr says; never a failure, since its neighbours can be read."""
    if type(descr) is not str:
        return _fields_of(descr)
    match = _DESCR.fullmatch(descr)
    if match is not None and match[1] in ("O", "T"):
        return _pickle()
    try:
        dtype = np.dtype(descr) if match else None
    except (TypeError, ValueError, OverflowError):
        dtype = None
    if dtype is None:
        return unread(f"its dtype is {clip(repr(descr), 80)}, which NumPy does not know here")
    if dtype.itemsize == 0:
        return unread(f"its items, of dtype {descr}, have no bytes")
    bits = 8 * dtype.itemsize
    if dtype.kind == "V":
        return Items(
            f"V{dtype.itemsize}",
            bits,
            UnsupportedError(
                f"its items are {dtype.itemsize} raw bytes each, of a type that NumPy did not "
                "write down (so it is with bfloat16 and the other dtypes of ml_dtypes): read it "
                "with numpy.load and view it as what it was"
            ),
        )
    try:
        name = _dtype.name_of(dtype)
    except TypeError:
        return Items(
            dtype.name,
            bits,
            UnsupportedError(f"{dtype.name} differs from machine to machine: make it float64"),
        )
    if _dtype.item_bits(name) != bits:
        return unread(f"its dtype is {clip(repr(descr), 80)}, which has no name in mxio")
    return Items(f">{name}" if dtype.str[0] == ">" else name, bits, dtype)


def _fields_of(descr: object) -> Items:
    """Return what a descr with fields says: one of ml_dtypes as MXNet writes it, or a struct."""
    if type(descr) is list and len(descr) == 1 and type(descr[0]) is tuple and len(descr[0]) == 2:
        name, inner = descr[0]
        if type(name) is str and name in _dtype.ML_NAMES and type(inner) is str:
            bits = _dtype.item_bits(name)
            if bits and inner in (f"<u{bits // 8}", f"|u{bits // 8}", f"|i{bits // 8}"):
                return Items(name, bits, _dtype.resolve(name, bits))
    try:
        dtype = np.lib.format.descr_to_dtype(descr)  # type: ignore[arg-type]
    except Exception:  # what the text of a file makes of it, whatever that is
        return unread(f"its dtype is {clip(repr(descr), 80)}, which NumPy does not know here")
    if dtype.hasobject:
        return _pickle()
    if dtype.itemsize == 0:
        return unread("its items have no bytes")
    return Items(
        f"struct{dtype.itemsize}",
        8 * dtype.itemsize,
        UnsupportedError(
            f"its items are structs, {clip(repr(descr), 120)}: "
            "read it with numpy.load and save each field as an array of its own"
        ),
    )


def _pickle() -> Items:
    return Items(
        "pickle",
        0,
        UnsupportedError(
            "it holds pickled Python objects, which mxio "
            "never loads: save its items as plain arrays"
        ),
    )


class Listing:
    """The entries of a file, one by one, for the judge of every foreign index."""

    def __init__(self, file: _core.File) -> None:
        self.names: list[str] = []
        self._file = file
        self._shapes: list[tuple[int, ...]] = []
        self._orders: list[str] = []
        self._offsets: list[int] = []
        self._stored: list[int] = []
        self._rows: list[int] = []
        self._row_of: dict[tuple[str, str], int] = {}
        self._table: list[tuple[str, int]] = []
        self._dtypes: list[DType | UnsupportedError] = []

    def add(
        self,
        name: str,
        items: Items,
        shape: tuple[int, ...],
        order: str,
        offset: int,
        stored_nbytes: int,
    ) -> None:
        """Note an entry. One whose items have no known length is a row of bytes."""
        key = items.row, str(items.dtype) if isinstance(items.dtype, UnsupportedError) else ""
        row = self._row_of.setdefault(key, len(self._dtypes))
        if row == len(self._dtypes):
            # One name is one dtype; of what cannot be read it may be several.
            known = sum(items.row == other for other, _ in self._row_of) - 1
            self._table.append(
                (f"{items.row} {known + 1}" if known else items.row, items.bits or 8)
            )
            self._dtypes.append(items.dtype)
        self.names.append(name)
        self._shapes.append(shape)
        self._orders.append(order)
        self._offsets.append(offset)
        self._stored.append(stored_nbytes)
        self._rows.append(row)

    def index(
        self, structure: bytes, *, format: str, version: str, codecs: dict[int, Codec]
    ) -> Index:
        """Have it judged."""
        file = self._file
        handle = _core.foreign_index(
            file.nbytes,
            self.names,
            self._shapes,
            "".join(self._orders),
            self._offsets,
            self._stored,
            self._rows,
            self._table,
            structure,
            file.name,
            format,
        )
        return Index(
            handle,
            {},
            file.name,
            format=format,
            version=version,
            dtypes=self._dtypes,
            codecs=codecs,
        )


def index(file: _core.File, encoding: str | None = None) -> Index:
    """Read and judge the header; the array takes the rest of the file, all of it."""

    def fail(what: str, offset: int) -> FormatError:
        return FormatError(f"{file.name} is not a valid npy file: {what} (offset {offset})", offset)

    begin = file.get(0, min(file.nbytes, 256))
    try:
        size = header_nbytes(begin, fail)
    except UnsupportedError as error:
        header = Header(unread(str(error)), (), "C", 0, f"{begin[6]}.{begin[7]}")
    else:
        if size > file.nbytes:
            raise fail("cut short in the npy header", file.nbytes)
        header = parse(begin[:size] if size <= len(begin) else file.get(0, size), fail)
    stored = file.nbytes - header.begin
    nbytes = header.nbytes()
    if nbytes is not None and nbytes > stored:
        raise fail(f"cut short: {nbytes} bytes of items begin at {header.begin}", file.nbytes)
    if nbytes is not None and nbytes < stored:
        raise fail(
            f"the array ends here and {stored - nbytes} bytes follow; "
            "of several arrays in one file each is read by a numpy.load of its own",
            header.begin + nbytes,
        )
    listing = Listing(file)
    shape = header.shape if nbytes is not None else (stored,)
    listing.add("", header.items, shape, header.order, header.begin, stored)
    return listing.index(b'"array"', format=NAME, version=header.version, codecs={})


# ---- writing ---------------------------------------------------------------------------------


def order_of(array: np.ndarray[Any, Any]) -> str:
    """Return the order that numpy.save stores an array in."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def header_of(dtype: str, order: str, shape: tuple[int, ...]) -> bytes:
    """Return the header of an array whose dtype has that name on disk, as NumPy 2 writes it."""
    descr = descr_of(dtype)
    text = f"{{'descr': {descr!r}, 'fortran_order': {order == 'F'}, 'shape': {shape!r}, }}"
    if shape:
        text += " " * (_GROWTH_DIGITS - len(str(shape[-1 if order == "F" else 0])))
    padding = _ALIGN - (10 + len(text) + 1) % _ALIGN
    body = text.encode("ascii") + b" " * padding + b"\n"
    return MAGIC + b"\1\0" + len(body).to_bytes(2, "little") + body


def descr_of(dtype: str) -> str | list[tuple[str, str]]:
    """Return the descr of a dtype's name; for those of ml_dtypes as MXNet says bfloat16."""
    if dtype in _dtype.ML_NAMES:
        nbytes = (_dtype.item_bits(dtype) or 8) // 8
        sign = "i" if dtype.startswith("int") else "u"
        return [(dtype, f"{'|' if nbytes == 1 else '<'}{sign}{nbytes}")]
    return np.dtype(dtype).newbyteorder("<").str


class Plan:
    """One array behind its header."""

    def __init__(self, content: Content) -> None:
        array = content.arrays[0]
        self._content = content
        self._order = order_of(array)
        self._header = header_of(content.dtypes[0], self._order, array.shape)
        item_bits = _dtype.item_bits(content.dtypes[0]) or 0
        self.data_nbytes = len(self._header) + array.size * item_bits // 8
        self.file_nbytes: int | None = self.data_nbytes

    def _parts(self) -> Iterator[memoryview]:
        yield memoryview(self._header)
        for piece in self._content.pieces(0, self._order):
            yield piece.data

    def write(
        self,
        file: _core.File,
        sync: bool,
        threads: int,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Put it into a file, which waits for its commit."""
        at = 0
        for part in self._parts():
            file.put(part, at)
            at += part.nbytes
            if progress is not None:
                progress(at)

    def to_bytes(self, threads: int) -> bytes:
        """Return the whole file as bytes."""
        out = io.BytesIO()
        self.stream(out.write, threads)
        return out.getvalue()

    def stream(self, write: Callable[[Any], object], threads: int) -> None:
        """Give the file's bytes in order to `write`."""
        for part in self._parts():
            write(part)


def plan(content: Content) -> Plan:
    """Lay out one array, the only thing that an npy file holds."""
    refuse_metadata(content, NAME)
    if content.structure != b'"array"':
        raise ValueError(
            "an npy file holds one array, and there is "
            f"{'a container of ' if len(content.names) == 1 else ''}{len(content.names)} to "
            "save: use format='npz', or format='mxio' for anything that is no dict of arrays"
        )
    return Plan(content)


def refuse_metadata(content: Content, name: str) -> None:
    """Say no to what neither npy nor npz has a place for."""
    if content.metadata:
        raise ValueError(
            f"metadata cannot be saved in an {name} file: leave it out, or use format='mxio'"
        )
