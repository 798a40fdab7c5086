# SPDX-License-Identifier: Apache-2.0
"""The zip container around npz: its directory, its members' bytes, and the records of both.

Read by hand and not by `zipfile`, which forgives: here local headers agree with the
directory, the directory tiles the end of the file, and every complaint has an offset. What
a member claims is bounded by the bytes that are there before anything is allocated for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from mxio import _core
from mxio.errors import FormatError, clip, quote

if TYPE_CHECKING:
    import zlib

__all__ = [
    "DEFLATED",
    "METHODS",
    "STORED",
    "STREAMED",
    "UTF8",
    "Content",
    "Member",
    "Placed",
    "bad",
    "check_apart",
    "crc32",
    "deflater",
    "descriptor_of",
    "directory",
    "directory_of",
    "local_of",
    "place",
]

STORED, DEFLATED = 0, 8
METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstandard", 95: "xz"}

_LOCAL = struct.Struct("<4s5H3I2H")
_RECORD = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_LOCAL_MAGIC, _RECORD_MAGIC, _END_MAGIC = b"PK\3\4", b"PK\1\2", b"PK\5\6"
_END64_MAGIC, _LOCATOR_MAGIC, _DESCRIPTOR_MAGIC = b"PK\6\6", b"PK\6\7", b"PK\7\x08"
_EXTRA = struct.Struct("<2H")
_EXTRA64 = 1
_ENCRYPTED, STREAMED, UTF8 = 1 << 0, 1 << 3, 1 << 11  # flags; UTF8 is of the name
_FULL16, _FULL32 = 0xFFFF, 0xFFFF_FFFF

_MAX_COMMENT = 0xFFFF
_DEFLATE_RATIO = 1032  # what one byte can become at most, 258 in two bits
_PIECE_NBYTES = 1 << 20
_DEFLATED_PIECE_NBYTES = 1 << 18
_AHEAD_NBYTES = 20 + 128  # sizes of zip64 and an npy header: one read for most members

_LEVEL = 6

# From here on a member gets the 64-bit sizes of zip64, as some readers take 32 signed bits.
_ZIP64_FROM = 1 << 31
_DATE = 1 << 5 | 1  # 1980-01-01: equal saves give equal bytes
_UNIX = 3 << 8
_MODE = 0o100644 << 16


class Member(NamedTuple):
    """A member as the directory lists it."""

    name: str
    encoded: bytes  # the name
    method: int
    flags: int
    crc: int
    stored_nbytes: int
    nbytes: int
    offset: int  # of its local header
    listed: int  # the offset of its record in the directory

    def is_folder(self) -> bool:
        return self.name.endswith("/") and self.nbytes == 0

    def is_encrypted(self) -> bool:
        return bool(self.flags & _ENCRYPTED)


def bad(file: _core.File, what: str, offset: int, member: Member | None = None) -> FormatError:
    """Return the error of a zip that is not sound."""
    which = f"member {quote(member.name)}: " if member else ""
    return FormatError(
        f"{file.name} is not a valid npz file: {which}{what} (offset {offset})", offset
    )


# ---- reading ---------------------------------------------------------------------------------


def directory(file: _core.File, encoding: str | None) -> tuple[list[Member], int]:
    """Return the members, in the order of the directory, and where the directory begins.

    Names that do not say that they are UTF-8 are decoded by `encoding`; without one as UTF-8
    if they are that, else as zip's own code page 437.
    """
    n_members, nbytes, begin = _end(file)
    raw = file.get(begin, nbytes)
    members: list[Member] = []
    at = 0
    while at < nbytes:
        if nbytes - at < _RECORD.size or raw[at : at + 4] != _RECORD_MAGIC:
            raise bad(file, "no record of a member where the directory goes on", begin + at)
        (
            _, _, _, flags, method, _, _, crc, stored, size,
            n_name, n_extra, n_comment, disk, _, _, offset,
        ) = _RECORD.unpack_from(raw, at)  # fmt: skip
        end = at + _RECORD.size + n_name + n_extra + n_comment
        if end > nbytes:
            raise bad(file, "a record reaches beyond the directory", begin + at)
        encoded = raw[at + _RECORD.size : at + _RECORD.size + n_name]
        name = _decode(file, encoded, flags, encoding, begin + at + _RECORD.size)
        member = Member(name, encoded, method, flags, crc, stored, size, offset, begin + at)
        if stored == _FULL32 or size == _FULL32 or offset == _FULL32:
            extra = at + _RECORD.size + n_name
            large = _zip64(raw[extra : extra + n_extra])
            size, stored, offset = _widened(file, member, (size, stored, offset), large)
            member = member._replace(stored_nbytes=stored, nbytes=size, offset=offset)
        if disk not in (0, _FULL16):
            raise bad(file, "it lies on another disk", begin + at, member)
        _check_sizes(file, member, begin)
        members.append(member)
        at = end
    if len(members) != n_members:
        raise bad(file, f"{len(members)} members in a directory of {n_members}", begin)
    return members, begin


def _end(file: _core.File) -> tuple[int, int, int]:
    """Return how many members the end record tells of, and the directory's length and offset."""
    size = file.nbytes
    keep = min(size, _LOCATOR.size + _END.size + _MAX_COMMENT)
    tail = file.get(size - keep, keep)
    stop = max(0, len(tail) - _END.size + len(_END_MAGIC))
    while True:
        at = tail.rfind(_END_MAGIC, 0, stop)
        if at < 0:
            raise bad(file, "no end record: cut short, or more bytes behind the zip", size)
        _, disk, first_disk, n_here, n, nbytes, begin, n_comment = _END.unpack_from(tail, at)
        if at + _END.size + n_comment == len(tail):
            break
        stop = at + len(_END_MAGIC) - 1
    end = size - keep + at
    if at >= _LOCATOR.size and tail[at - _LOCATOR.size :].startswith(_LOCATOR_MAGIC):
        _, disk, place, n_disks = _LOCATOR.unpack_from(tail, at - _LOCATOR.size)
        locator = end - _LOCATOR.size
        if disk or n_disks > 1 or place + _END64.size > locator:
            raise bad(file, "the locator points to no end record of zip64", locator)
        large = _END64.unpack(file.get(place, _END64.size))
        if large[0] != _END64_MAGIC or place + 12 + large[1] != locator:
            raise bad(file, "no end record of zip64 where its locator points", place)
        narrow = (n_here, n, nbytes, begin)
        for told, full, wide in zip(
            narrow, (_FULL16,) * 2 + (_FULL32,) * 2, large[6:], strict=True
        ):
            if told not in (full, wide):
                raise bad(file, "the two end records disagree", place)
        disk, first_disk, n_here, n, nbytes, begin = large[4:]
        end = place
    if disk or first_disk or n_here != n:
        raise bad(file, "the zip is in several parts", end)
    if begin + nbytes != end or n * _RECORD.size > nbytes:
        raise bad(file, "the directory is not where the end record has it", end)
    return n, nbytes, begin


def _decode(file: _core.File, encoded: bytes, flags: int, encoding: str | None, offset: int) -> str:
    try:
        if flags & UTF8:
            name = encoded.decode()
        elif encoding is not None:
            name = encoded.decode(encoding)
        else:
            try:
                name = encoded.decode()
            except UnicodeDecodeError:
                name = encoded.decode("cp437")
        name.encode()
    except UnicodeError:
        said = "UTF-8" if flags & UTF8 else encoding
        raise bad(file, f"the name {clip(repr(encoded))} is not {said}", offset) from None
    if "\0" in name:
        raise bad(file, f"NUL in the name {quote(name)}", offset)
    return name


def _zip64(extra: bytes) -> bytes:
    """Return the content of the extra field that holds 64-bit sizes."""
    at = 0
    while at + _EXTRA.size <= len(extra):
        kind, nbytes = _EXTRA.unpack_from(extra, at)
        at += _EXTRA.size
        if kind == _EXTRA64:
            return extra[at : at + nbytes]
        at += nbytes
    return b""


def _widened(
    file: _core.File, member: Member, narrow: tuple[int, ...], large: bytes
) -> Iterator[int]:
    """Give each number, in 64 bits where the narrow one says so."""
    at = 0
    for number in narrow:
        if number != _FULL32:
            yield number
            continue
        if at + 8 > len(large):
            raise bad(file, "64-bit sizes are told of and not there", member.listed, member)
        yield int.from_bytes(large[at : at + 8], "little")
        at += 8


def _check_sizes(file: _core.File, member: Member, begin: int) -> None:
    if member.offset + _LOCAL.size + len(member.encoded) + member.stored_nbytes > begin:
        raise bad(file, "it reaches into the directory", member.listed, member)
    if member.is_encrypted():
        return
    if member.method == STORED and member.nbytes != member.stored_nbytes:
        raise bad(
            file,
            f"{member.nbytes} bytes, of which {member.stored_nbytes} are stored",
            member.listed,
            member,
        )
    if member.method == DEFLATED and (member.nbytes > member.stored_nbytes * _DEFLATE_RATIO + 64):
        raise bad(
            file,
            f"{member.nbytes} bytes cannot come out of {member.stored_nbytes} deflated ones",
            member.listed,
            member,
        )


# zlib is imported by those who need it, not by everyone who imports mxio.


def crc32(data: bytes | memoryview, crc: int = 0) -> int:
    """Return the CRC-32 of bytes that follow others."""
    import zlib

    return zlib.crc32(data, crc)


def deflater() -> zlib._Compress:
    """Return what deflates as zip wants it."""
    import zlib

    return zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)


def _inflater() -> zlib._Decompress:
    import zlib

    return zlib.decompressobj(-zlib.MAX_WBITS)


class Placed(NamedTuple):
    """A member, the offset of its content, and the first of the bytes there."""

    member: Member
    offset: int
    ahead: bytes

    def content(self, file: _core.File) -> Content:
        return Content(file, self.member, self.offset, self.ahead)


def place(file: _core.File, member: Member, begin: int) -> Placed:
    """Judge a member's local header, which lies before the directory, and find its content."""
    at = member.offset
    n_head = _LOCAL.size + len(member.encoded)
    head = file.get(at, min(n_head + _AHEAD_NBYTES, begin - at))
    magic, _, flags, method, _, _, crc, stored, size, n_name, n_extra = _LOCAL.unpack_from(head)
    if magic != _LOCAL_MAGIC:
        raise bad(file, "no local header where the directory has it", at, member)
    if n_name != len(member.encoded) or head[_LOCAL.size : n_head] != member.encoded:
        raise bad(file, "its local header has another name", at, member)
    if method != member.method or (flags ^ member.flags) & (_ENCRYPTED | UTF8):
        raise bad(file, "its local header has another method", at, member)
    n_head += n_extra
    if at + n_head + member.stored_nbytes > begin:
        raise bad(file, "it reaches into the directory", at, member)
    if not (flags & STREAMED):
        if stored == _FULL32 or size == _FULL32:
            extra = head[:n_head] if n_head <= len(head) else file.get(at, n_head)
            large = _zip64(extra[n_head - n_extra :])
            size, stored = _widened(file, member, (size, stored), large)
        if (crc, stored, size) != (member.crc, member.stored_nbytes, member.nbytes):
            raise bad(file, "its local header has another size or CRC-32", at, member)
    return Placed(member, at + n_head, head[n_head : n_head + member.stored_nbytes])


def check_apart(file: _core.File, members: Iterable[Placed]) -> None:
    """Refuse members that share bytes."""
    end = 0
    for member, offset, _ in sorted(members, key=lambda placed: placed.member.offset):
        if member.offset < end:
            raise bad(file, "it overlaps another member", member.offset, member)
        end = offset + member.stored_nbytes


class Content:
    """What a member holds, from its beginning on, a piece at a time."""

    __slots__ = ("_ahead", "_at", "_end", "_file", "_inflate", "_member", "_pending")

    def __init__(self, file: _core.File, member: Member, offset: int, ahead: bytes = b"") -> None:
        self._file = file
        self._member = member
        self._at = offset
        self._end = offset + member.stored_nbytes
        self._ahead = ahead
        self._inflate = _inflater() if member.method == DEFLATED else None
        self._pending = b""

    def take(self, most: int) -> bytes:
        """Return the next bytes, at most so many and at most a piece; none at the end."""
        if self._inflate is None:
            return self._fetch(min(most, _PIECE_NBYTES))
        import zlib

        most = min(most, _PIECE_NBYTES)
        while not self._inflate.eof:
            ahead = self._pending or self._fetch(min(_DEFLATED_PIECE_NBYTES, 1024 + most))
            try:
                out = self._inflate.decompress(ahead, most)
            except zlib.error:
                raise self._bad("the deflated bytes are damaged") from None
            self._pending = self._inflate.unconsumed_tail
            if out:
                return out
            if not ahead and not self._inflate.eof:
                raise self._bad("the deflated bytes end too early")
        return b""

    def exactly(self, nbytes: int) -> bytes:
        """Return the next bytes, so many: for a header, not for an array."""
        parts = []
        while nbytes:
            part = self.take(nbytes)
            if not part:
                raise self._bad("its content ends too early")
            parts.append(part)
            nbytes -= len(part)
        return b"".join(parts)

    def finish(self) -> None:
        """Refuse anything that is left."""
        if self.take(1):
            raise self._bad("it holds more than it says")
        if self._inflate is not None and (self._inflate.unused_data or self._at < self._end):
            raise self._bad("bytes behind the deflated ones")

    def _fetch(self, most: int) -> bytes:
        if self._ahead:
            piece, self._ahead = self._ahead[:most], self._ahead[most:]
        elif self._at < self._end:
            piece = self._file.get(self._at, min(most, self._end - self._at))
        else:
            return b""
        self._at += len(piece)
        return piece

    def _bad(self, what: str) -> FormatError:
        return bad(self._file, what, self._end - self._member.stored_nbytes, self._member)


# ---- writing ---------------------------------------------------------------------------------


def is_zip64(nbytes: int) -> bool:
    """Say whether a member of that length gets 64-bit sizes: known before it is deflated."""
    return nbytes + (nbytes >> 8) >= _ZIP64_FROM  # deflate adds 5 bytes to 16 KiB at most


def _version(wide: bool) -> int:
    return 45 if wide else 20


def local_of(member: Member) -> bytes:
    """Return a member's local header; if its flags say so, one without what comes later."""
    told = member
    if member.flags & STREAMED:
        told = member._replace(crc=0, stored_nbytes=0, nbytes=0)
    sizes, extra = (told.stored_nbytes, told.nbytes), b""
    wide = is_zip64(member.nbytes)
    if wide:
        sizes = (_FULL32, _FULL32)
        extra = struct.pack("<2H2Q", _EXTRA64, 16, told.nbytes, told.stored_nbytes)
    n_name, n_extra = len(member.encoded), len(extra)
    return (
        _LOCAL.pack(
            _LOCAL_MAGIC, _version(wide), told.flags, told.method, 0, _DATE, told.crc,
            *sizes, n_name, n_extra,
        )
        + member.encoded
        + extra
    )  # fmt: skip


def descriptor_of(member: Member) -> bytes:
    """Return what follows the bytes of a member whose local header came too early."""
    sizes = "<4sI2Q" if is_zip64(member.nbytes) else "<4s3I"
    return struct.pack(sizes, _DESCRIPTOR_MAGIC, member.crc, member.stored_nbytes, member.nbytes)


def directory_of(members: list[Member], begin: int) -> bytes:
    """Return the directory and the end record of a zip whose directory is to begin there."""
    out = bytearray()
    for member in members:
        wide = [n for n in (member.nbytes, member.stored_nbytes, member.offset) if n >= _FULL32]
        extra = struct.pack(f"<2H{len(wide)}Q", _EXTRA64, 8 * len(wide), *wide) if wide else b""
        version = _version(bool(wide) or is_zip64(member.nbytes))
        stored, size, offset = (
            min(n, _FULL32) for n in (member.stored_nbytes, member.nbytes, member.offset)
        )
        out += _RECORD.pack(
            _RECORD_MAGIC, _UNIX | version, version, member.flags, member.method, 0, _DATE,
            member.crc, stored, size, len(member.encoded), len(extra), 0, 0, 0, _MODE, offset,
        )  # fmt: skip
        out += member.encoded + extra
    n, nbytes = len(members), len(out)
    if n >= _FULL16 or nbytes >= _FULL32 or begin >= _FULL32:
        end = begin + nbytes
        version = _version(True)
        out += _END64.pack(
            _END64_MAGIC, _END64.size - 12, _UNIX | version, version, 0, 0, n, n, nbytes, begin
        )
        out += _LOCATOR.pack(_LOCATOR_MAGIC, 0, end, 1)
    n, nbytes, begin = min(n, _FULL16), min(nbytes, _FULL32), min(begin, _FULL32)
    return bytes(out + _END.pack(_END_MAGIC, 0, 0, n, n, nbytes, begin, 0))
