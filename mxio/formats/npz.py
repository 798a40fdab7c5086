# SPDX-License-Identifier: Apache-2.0
"""NumPy's npz, a zip of npy files, and what MXNet 2.0 makes of it for sparse arrays.

Opening reads the directory of the zip and the header of each member; of a deflated one no
more is inflated. A name in a zip is a name: nothing is ever unpacked to a path. Every byte
that is read whole is compared with the CRC-32 that zip keeps of it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mxio import _core, _dtype, _tree
from mxio._sparse import PARTS
from mxio.errors import ChecksumError, FormatError, UnsupportedError, quote
from mxio.formats import _zip, npy
from mxio.formats._zip import DEFLATED, STORED, Member, Placed, bad

if TYPE_CHECKING:
    from mxio._index import Content, Entry, Index

__all__ = ["NAME", "index", "plan", "probe"]

NAME = "npz"
_SUFFIX = ".npy"
_HEADER_NBYTES = 128  # of nearly every npy file, so one read does

_MAX_NDIM = 64
_SPARSE_MEMBERS = {frozenset({*parts, "shape", "format"}): s for s, parts in PARTS.items()}
# The header of a member `format` as MXNet writes it: a header within a header.
_BROKEN = re.compile(rb"\{'descr': '\|s[0-9]{1,2}\{'descr'")


class _Codec:
    """How the bytes of a member become those of its entry, and whether they are the right ones."""

    __slots__ = ("_member", "_offset", "_skip", "plain")

    def __init__(self, member: Member, offset: int, skip: int) -> None:
        self.plain = member.method == STORED
        self._member = member
        self._offset = offset
        self._skip = skip  # the npy header

    def pieces(self, file: _core.File, entry: Entry, verify: bool) -> Iterator[bytes]:
        """Give the bytes of an entry in their order, at most a MiB at a time.

        What is wrong with them may be known only behind the last piece.
        """
        return self.content(file, entry.name, entry.nbytes, verify)

    def content(self, file: _core.File, name: str, nbytes: int, verify: bool) -> Iterator[bytes]:
        content = _zip.Content(file, self._member, self._offset)
        crc = _zip.crc32(content.exactly(self._skip))
        while nbytes:
            piece = content.take(nbytes)
            if not piece:
                raise bad(file, "its content ends too early", self._offset, self._member)
            nbytes -= len(piece)
            if verify:
                crc = _zip.crc32(piece, crc)
            yield piece
        content.finish()
        if verify:
            _check_crc(file, name, self._member, self._offset, crc)


def _check_crc(file: _core.File, name: str, member: Member, offset: int, crc: int) -> None:
    if crc != member.crc:
        raise ChecksumError(
            f"checksum mismatch in {quote(name)}, at offset {offset} of {file.name} "
            "(CRC-32 of the zip member)",
            offset,
            name,
        )


def _is_npy(placed: Placed) -> bool:
    return placed.member.name.endswith(_SUFFIX)


# ---- reading ---------------------------------------------------------------------------------


def probe(head: bytes) -> bool:
    """Say whether a file that begins so is a zip, sound or not, of arrays or not."""
    return head.startswith((b"PK\3\4", b"PK\5\6"))


def index(file: _core.File, encoding: str | None = None) -> Index:
    """Read and judge the directory and the header of each member.

    A member whose name does not end in .npy is an array of bytes under its whole name.
    """
    found, methods = _members(file, encoding)
    sparse = _sparse(file, found)
    reading = _Reading(file)
    nodes: list[list[Any]] = []
    for name, placed in found.items():
        folder = name.rpartition("/")[0]
        if folder not in sparse:
            reading.add(name, placed)
            nodes.append([name, "array"])
            continue
        stype, shape = sparse[folder]
        if name == f"{folder}/data":  # which stands for all of them
            for part in PARTS[stype]:
                reading.add(f"{folder}/{part}", found[f"{folder}/{part}"])
            nodes.append([folder, {stype: shape}])
    structure = '"dict"'
    if sparse:
        structure = json.dumps({"tree": {"dict": nodes}}, separators=(",", ":"))
    version = " and ".join(methods) or "stored"
    return reading.listing.index(
        structure.encode(), format=NAME, version=version, codecs=reading.codecs
    )


def _members(file: _core.File, encoding: str | None) -> tuple[dict[str, Placed], list[str]]:
    """Return the members by the names of their arrays, and the words for their methods."""
    members, begin = _zip.directory(file, encoding)
    placed = [_zip.place(file, member, begin) for member in members]
    _zip.check_apart(file, placed)
    found: dict[str, Placed] = {}
    for one in placed:
        if one.member.is_folder():
            continue
        name = one.member.name.removesuffix(_SUFFIX)
        if name in found:
            raise bad(file, f"two members are called {quote(name)}", one.member.listed)
        found[name] = one
    if found and not any(_is_npy(one) for one in found.values()):
        torch = any(name.rpartition("/")[2] == "data.pkl" for name in found)
        raise FormatError(
            f"{file.name} is not a file that mxio reads: "
            + (
                "it looks like a PyTorch file, which is read by unpickling; read it with "
                "torch.load(..., weights_only=True) and save what that gives with mxio.save"
                if torch
                else "it is a zip without .npy members"
            ),
            0,
        )
    methods = {one.member.method for one in found.values()}
    words = {STORED: "stored", DEFLATED: "deflated"}
    return found, [words.get(method, f"zip method {method}") for method in sorted(methods)]


class _Reading:
    """The entries of one file, as their headers are read."""

    def __init__(self, file: _core.File) -> None:
        self.listing = npy.Listing(file)
        self.codecs: dict[int, Any] = {}
        self._file = file
        self._seen: dict[bytes, npy.Header] = {}  # many arrays have one header

    def add(self, name: str, placed: Placed) -> None:
        member, offset, _ = placed
        reason = _why_unread(member)
        if reason:
            nbytes = member.stored_nbytes
            self.listing.add(name, npy.unread(reason), (nbytes,), "C", offset, nbytes)
            return
        if _is_npy(placed):
            header = self._header(placed)
        else:
            header = npy.Header(npy.BYTES, (member.nbytes,), "C", 0, "")
        nbytes = member.nbytes - header.begin
        expected = header.nbytes()
        if expected is not None and expected != nbytes:
            raise bad(
                self._file,
                f"{expected} bytes of items, of which {nbytes} are there",
                offset,
                member,
            )
        codec = _Codec(member, offset, header.begin)
        if nbytes == 0:  # nobody will read it: now or never
            for _ in codec.content(self._file, name, 0, True):
                pass
        self.codecs[len(self.listing.names)] = codec
        stored = member.stored_nbytes
        if member.method == STORED:
            offset, stored = offset + header.begin, nbytes
        shape = header.shape if expected is not None else (nbytes,)
        self.listing.add(name, header.items, shape, header.order, offset, stored)

    def _header(self, placed: Placed) -> npy.Header:
        member, offset, _ = placed

        def fail(what: str, at: int) -> FormatError:
            stored = member.method == STORED
            return bad(self._file, what, offset + at if stored else offset, member)

        content = placed.content(self._file)
        begin = content.exactly(min(_HEADER_NBYTES, member.nbytes))
        try:
            size = npy.header_nbytes(begin, fail)
        except UnsupportedError as error:
            return npy.Header(npy.unread(str(error)), (), "C", 0, "")
        if size > member.nbytes:
            raise fail("cut short in the npy header", member.nbytes)
        text = begin[:size] + content.exactly(max(0, size - len(begin)))
        header = self._seen.get(text)
        if header is None:
            header = self._seen[text] = npy.parse(text, fail)
        return header


def _why_unread(member: Member) -> str | None:
    if member.is_encrypted():
        return "it is encrypted: unpack the zip with its password and pack it again without"
    if member.method in (STORED, DEFLATED):
        return None
    method = _zip.METHODS.get(member.method, "something else")
    return (
        f"it is compressed by {method} (zip method {member.method}), and mxio reads "
        "stored and deflated members: unpack the zip and pack it again"
    )


def _sparse(file: _core.File, found: dict[str, Placed]) -> dict[str, tuple[str, list[int]]]:
    """Return the folders that are sparse arrays of MXNet 2.0: folder → storage type, shape."""
    parts: dict[str, set[str]] = {}
    for name, placed in found.items():
        folder, _, part = name.rpartition("/")
        parts.setdefault(folder, set()).add(part if _is_npy(placed) else "a file of its own")
    sparse = {}
    for folder, names in parts.items():
        stype = _SPARSE_MEMBERS.get(frozenset(names))
        if stype is None or not folder:
            continue
        told = found[f"{folder}/format"]
        text = _whole(file, f"{folder}/format", told)
        if not _BROKEN.match(text, 10):
            continue
        word = text[10 + int.from_bytes(text[8:10], "little") :]
        if word != stype.encode():
            raise bad(
                file, f"members of a {stype} array, called {word[:20]!r}", told.offset, told.member
            )
        sparse[folder] = stype, _shape(file, folder, stype, found[f"{folder}/shape"])
    return sparse


def _shape(file: _core.File, folder: str, stype: str, placed: Placed) -> list[int]:
    """Return the shape of a sparse array, which is a small array of its own."""
    member, offset, _ = placed

    def fail(what: str, at: int) -> FormatError:
        return bad(file, what, offset, member)

    text = _whole(file, f"{folder}/shape", placed)
    try:
        size = npy.header_nbytes(text, fail)
        header = npy.parse(text[:size], fail)
    except UnsupportedError as error:
        raise fail(str(error), 0) from None
    shape = np.frombuffer(text[size:], "<i8").tolist() if len(text[size:]) % 8 == 0 else []
    n_dims = range(2, 3) if stype == "csr" else range(1, _MAX_NDIM + 1)
    if (
        header.items.row != "int64"
        or header.shape != (len(shape),)
        or len(shape) not in n_dims
        or min(shape) < 0
    ):
        raise fail(f"no shape of a {stype} array", 0)
    return shape


def _whole(file: _core.File, name: str, placed: Placed) -> bytes:
    """Return and check the content of a small member."""
    member = placed.member
    if _why_unread(member) or member.nbytes > npy.MAX_HEADER_NBYTES:
        return b""
    content = placed.content(file)
    text = content.exactly(member.nbytes)
    content.finish()
    _check_crc(file, name, member, placed.offset, _zip.crc32(text))
    return text


# ---- writing ---------------------------------------------------------------------------------


class _Out:
    """Bytes in order to a file or a function, and a place to go back to where there is one."""

    def __init__(
        self,
        write: Callable[[Any], object],
        patch: Callable[[bytes, int], object] | None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self.at = 0
        self.patch = patch
        self._write = write
        self._progress = progress
        self._done = 0

    def count(self, nbytes: int) -> None:
        """Tell that so many bytes of a member have been written, deflated or not."""
        self._done += nbytes
        if self._progress is not None:
            self._progress(self._done)

    def write(self, part: bytes | memoryview) -> None:
        self._write(part)
        self.at += len(part)


class Plan:
    """Arrays as the members of a zip: names, headers and orders, decided."""

    def __init__(self, content: Content, names: list[str], compress: bool) -> None:
        self._content = content
        self._method = DEFLATED if compress else STORED
        self._orders = [npy.order_of(array) for array in content.arrays]
        self._headers = [
            npy.header_of(dtype, order, array.shape)
            for dtype, order, array in zip(
                content.dtypes, self._orders, content.arrays, strict=True
            )
        ]
        self._members = []
        at = 0
        for number, name in enumerate(names):
            encoded = (name + _SUFFIX).encode()
            flags = 0 if encoded.isascii() else _zip.UTF8
            item_bits = _dtype.item_bits(content.dtypes[number]) or 0
            nbytes = len(self._headers[number]) + content.arrays[number].size * item_bits // 8
            member = Member(name, encoded, self._method, flags, 0, nbytes, nbytes, at, 0)
            self._members.append(member)
            at += len(_zip.local_of(member)) + nbytes
        self.file_nbytes: int | None = None
        if not compress:
            self.file_nbytes = at + len(_zip.directory_of(self._members, at))

    @property
    def data_nbytes(self) -> int:
        """Bytes of all members before they are deflated: what progress is told."""
        return sum(member.nbytes for member in self._members)

    def write(
        self,
        file: _core.File,
        sync: bool,
        threads: int,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Put it into a file, which waits for its commit."""
        out = _Out(lambda part: file.put(part, out.at), file.put, progress)
        self._run(out)

    def to_bytes(self, threads: int) -> bytes:
        """Return the whole file as bytes."""
        whole = io.BytesIO()

        def patch(part: bytes, offset: int) -> None:
            whole.seek(offset)
            whole.write(part)
            whole.seek(0, io.SEEK_END)

        self._run(_Out(whole.write, patch))
        return whole.getvalue()

    def stream(self, write: Callable[[Any], object], threads: int) -> None:
        """Give the file's bytes in order to `write`.

        The CRC-32 of a stored member stands before it, so the arrays are read twice; that
        of a deflated one, with its length, follows it.
        """
        self._run(_Out(write, None))

    def _run(self, out: _Out) -> None:
        done = [self._put(number, out) for number in range(len(self._members))]
        out.write(_zip.directory_of(done, out.at))

    def _put(self, number: int, out: _Out) -> Member:
        member = self._members[number]._replace(offset=out.at)
        if out.patch is None and self._method == STORED:
            crc = 0
            for part in self._parts(number):
                crc = _zip.crc32(part, crc)
            member = member._replace(crc=crc)
        elif out.patch is None:
            member = member._replace(flags=member.flags | _zip.STREAMED)
        out.write(_zip.local_of(member))
        begin, crc = out.at, 0
        deflate = _zip.deflater() if self._method == DEFLATED else None
        for part in self._parts(number):
            crc = _zip.crc32(part, crc)
            out.write(deflate.compress(part) if deflate else part)
            out.count(len(part))
        if deflate:
            out.write(deflate.flush())
        if out.patch is None and self._method == STORED:
            return member
        member = member._replace(crc=crc, stored_nbytes=out.at - begin)
        if out.patch is None:
            out.write(_zip.descriptor_of(member))
        else:
            out.patch(_zip.local_of(member), member.offset)
        return member

    def _parts(self, number: int) -> Iterator[bytes | memoryview]:
        yield self._headers[number]
        for piece in self._content.pieces(number, self._orders[number]):
            yield piece.data


def plan(content: Content, *, compress: bool = False) -> Plan:
    """Lay out an array, a list, a tuple or a dict of arrays; `compress` deflates them.

    A list comes back as a dict of arr_0, arr_1, …, as numpy.savez names them.
    """
    if type(compress) is not bool:
        raise TypeError(f"compress is True or False, not {compress!r}")
    npy.refuse_metadata(content, NAME)
    if content.structure == b'"dict"':
        names = content.names
    elif content.structure in (b'"array"', b'"list"', b'"tuple"'):
        names = [f"arr_{number}" for number in range(len(content.names))]
    else:
        raise ValueError(
            f"cannot save {_tree.no_array(content.structure)} in an npz file, which holds "
            "arrays by name and nothing else: use format='mxio', or save its arrays alone"
        )
    for name in names:
        if "\0" in name:
            raise ValueError(f"{quote(name)}: a name cannot hold a NUL")
        if len((name + _SUFFIX).encode()) > 0xFFFF:
            raise ValueError(
                f"{quote(name)}: the name of a member of a zip has at most 65535 bytes"
            )
    return Plan(content, names, compress)
