# SPDX-License-Identifier: Apache-2.0
"""What a pickle says, without doing it: plain values, and notes of what it would call.

A pickle is a program for a stack machine that imports and calls what it names. This one
reads the program (protocols 0 to 5, Python 2's and 3's), imports nothing and calls
nothing: where a global is named there is a `Global`, where it is called there is a `Made`
with the arguments and the state. What they mean is the caller's to say. Every length is
compared with the bytes present, so memory stays in proportion to the file's.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from mxio.errors import FormatError, UnsupportedError, described, quote

__all__ = ["Global", "Made", "Parsed", "parse"]

_PROTOCOL_MAX = 5
_DECIMAL = re.compile(rb"[+-]?[0-9]{1,640}")  # what every Python converts, however it is set
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES = {b"\\": b"\\", b"'": b"'", b'"': b'"', b"n": b"\n", b"r": b"\r", b"t": b"\t"}
# Keys that a file of mxio can hold; hashing them costs what they are long, and no recursion.
_KEY_TYPES = {str, int, bool, type(None)}
_KEY_MAX = 2**64


class Global:
    """A class or function that a pickle names; never the thing itself.

    Attributes
    ----------
    module, name : str
    meaning : str
        What it is to be taken for.
    """

    __slots__ = ("meaning", "module", "name")

    def __init__(self, module: str, name: str, meaning: str) -> None:
        self.module = module
        self.name = name
        self.meaning = meaning

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Made:
    """What a pickle would make: what it would call, with what, and the state to set."""

    __slots__ = ("args", "function", "state")

    def __init__(self, function: Global, args: tuple[Any, ...]) -> None:
        self.function = function
        self.args = args
        self.state: Any = None


class Parsed(NamedTuple):
    """What a pickle says.

    Attributes
    ----------
    value
        bool, int, float, str, None, memoryview (for bytes), list, tuple, dict, `Global`,
        `Made`. Parts may stand in several places, also in themselves.
    n_steps : int
        Of how many steps the program is: no fewer than `value` has distinct parts.
    """

    value: Any
    n_steps: int


def parse(data: bytes, where: str, meaning: Callable[[str, str], str | None]) -> Parsed:
    """Return what a pickle says.

    Parameters
    ----------
    data : bytes
        The whole of it: nothing may follow.
    where : str
        The file, for messages.
    meaning : callable
        Says what a global of that module and name is taken for, None if it is refused.

    Raises
    ------
    FormatError
        The bytes are no pickle, or are cut short.
    UnsupportedError
        The pickle names what is refused, or has a persistent id, an extension code, a
        set, buffers outside of it, a dict with unusual keys.
    """
    machine = _Machine(data, where, meaning)
    while not machine.stopped:
        machine.step()
    return Parsed(machine.stack[0], machine.n_steps)


class _Machine:
    """The stack machine, at one place of one pickle."""

    def __init__(self, data: bytes, where: str, meaning: Callable[[str, str], str | None]) -> None:
        self.stack: list[Any] = []
        self.stopped = False
        self.n_steps = 0
        self._below: list[list[Any]] = []  # the stacks under the marks
        self._memo: dict[int, Any] = {}
        self._data = data
        self._view = memoryview(data)
        self._where = where
        self._meaning = meaning
        self._offset = 0  # behind what was read
        self._start = 0  # of the step at hand

    def step(self) -> None:
        """Read one opcode and what belongs to it, and change the stack accordingly."""
        self._start = self._offset
        self._skip(1)
        self.n_steps += 1
        opcode = self._data[self._start]
        step = _STEPS.get(opcode)
        if step is None:
            self._bad(f"an unknown opcode, {bytes([opcode])!r}")
        step(self)

    # ---- bytes

    def _bad(self, clause: str) -> NoReturn:
        raise FormatError(
            f"{self._where} is not a sound pickle: {clause} at offset {self._start}", self._start
        )

    def _refuse(self, clause: str) -> NoReturn:
        raise UnsupportedError(
            f"{self._where}: the pickle has {clause} at offset {self._start}, which mxio does "
            "not read; it reads plain values and MXNet's arrays and optimizers, and calls nothing"
        )

    def _skip(self, nbytes: int) -> int:
        """Go behind bytes that must be there; return where they begin."""
        start = self._offset
        if nbytes > len(self._data) - start:
            self._bad(f"it ends, {len(self._data)} bytes long, inside of what begins")
        self._offset = start + nbytes
        return start

    def _take(self, nbytes: int) -> memoryview:
        start = self._skip(nbytes)
        return self._view[start : self._offset]

    def _line(self) -> bytes:
        end = self._data.find(b"\n", self._offset)
        if end < 0:
            self._bad("a line without an end")
        line = self._data[self._offset : end]
        self._offset = end + 1
        return line

    def _number(self, code: str) -> Any:
        (number,) = struct.unpack_from(code, self._data, self._skip(struct.calcsize(code)))
        return number

    def _sized(self, code: str) -> memoryview:
        nbytes = self._number(code)
        if nbytes < 0:
            self._bad("a negative length")
        return self._take(nbytes)

    def _decimal(self, line: bytes) -> int:
        if not _DECIMAL.fullmatch(line):
            self._bad(f"{quote(line.decode('latin-1'))} for a whole number")
        return int(line)

    def _decoded(self, raw: bytes | memoryview, encoding: str, errors: str = "strict") -> str:
        try:
            return str(raw, encoding, errors)
        except UnicodeDecodeError:
            self._bad(f"text that is not {encoding}")

    # ---- the stack

    def _pop(self) -> Any:
        if not self.stack:
            self._bad("something is taken that is not there")
        return self.stack.pop()

    def _top(self) -> Any:
        if not self.stack:
            self._bad("something is used that is not there")
        return self.stack[-1]

    def _pop_mark(self) -> list[Any]:
        if not self._below:
            self._bad("a mark is used that is not there")
        items = self.stack
        self.stack = self._below.pop()
        return items

    def mark(self) -> None:
        self._below.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        if self.stack or not self._below:
            self._pop()
        else:
            self._pop_mark()

    def pop_mark(self) -> None:
        self._pop_mark()

    def dup(self) -> None:
        self.stack.append(self._top())

    def stop(self) -> None:
        if len(self.stack) != 1 or self._below:
            self._bad("an end with other than one value")
        if self._offset != len(self._data):
            self._start = self._offset
            self._bad(f"{len(self._data) - self._offset} bytes behind its end")
        self.stopped = True

    def proto(self) -> None:
        protocol = self._take(1)[0]
        if protocol > _PROTOCOL_MAX:
            self._refuse(f"protocol {protocol}")

    def frame(self) -> None:
        if self._number("<Q") > len(self._data) - self._offset:
            self._bad("a frame that is longer than the file")

    # ---- plain values

    def int_line(self) -> None:
        line = self._line()
        known = {b"00": False, b"01": True}.get(line)
        self.stack.append(self._decimal(line) if known is None else known)

    def long_line(self) -> None:
        self.stack.append(self._decimal(self._line().removesuffix(b"L")))

    def float_line(self) -> None:
        line = self._line()
        try:
            self.stack.append(float(line))
        except ValueError:
            self._bad(f"{quote(line.decode('latin-1'))} for a number")

    def string_line(self) -> None:
        line = self._line()
        if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
            self._bad("a string without its quotes")

        def plain(match: re.Match[bytes]) -> bytes:
            escape = match[1]
            if len(escape) > 1:
                return bytes([int(escape[1:], 16)])
            if escape not in _ESCAPES:
                self._bad(f"an unknown escape, {escape!r}, in a string")
            return _ESCAPES[escape]

        self.stack.append(_ESCAPE.sub(plain, line[1:-1]).decode("latin-1"))

    def unicode_line(self) -> None:
        self.stack.append(self._decoded(self._line(), "raw-unicode-escape"))

    # ---- containers

    def list_of_marked(self) -> None:
        items = self._pop_mark()
        self.stack.append(items)

    def tuple_of_marked(self) -> None:
        items = self._pop_mark()
        self.stack.append(tuple(items))

    def dict_of_marked(self) -> None:
        items = self._pop_mark()
        self.stack.append({})
        self._fill(items)

    def append(self) -> None:
        self._extend([self._pop()])

    def appends(self) -> None:
        self._extend(self._pop_mark())

    def set_item(self) -> None:
        value = self._pop()
        self._fill([self._pop(), value])

    def set_items(self) -> None:
        self._fill(self._pop_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            self._misplaced(target, "items added to")
        target.extend(items)

    def _fill(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not dict:
            self._misplaced(target, "keys set in")
        if len(items) % 2:
            self._bad("a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in _KEY_TYPES:
                self._refuse(f"a dict with {_called(key)} as a key")
            if type(key) is int and abs(key) >= _KEY_MAX:
                self._refuse("a dict with an int of more than 64 bits as a key")
            target[key] = value

    def _misplaced(self, target: Any, clause: str) -> NoReturn:
        if isinstance(target, Made):
            self._refuse(f"{clause} {_called(target)}")
        self._bad(f"{clause} {_called(target)}")

    # ---- the memo

    def _put(self, number: int) -> None:
        self._memo[number] = self._top()

    def _get(self, number: int) -> None:
        if number not in self._memo:
            self._bad(f"value {number} is used before it is there")
        self.stack.append(self._memo[number])

    def put_line(self) -> None:
        self._put(self._decimal(self._line()))

    def get_line(self) -> None:
        self._get(self._decimal(self._line()))

    def memoize(self) -> None:
        self._put(len(self._memo))

    # ---- what would be called

    def _named(self, module: str, name: str) -> Global:
        meaning = self._meaning(module, name)
        if meaning is None:
            self._refuse(quote(f"{module}.{name}"))
        return Global(module, name, meaning)

    def _named_in_lines(self) -> Global:
        module = self._decoded(self._line(), "utf-8")
        return self._named(module, self._decoded(self._line(), "utf-8"))

    def global_lines(self) -> None:
        self.stack.append(self._named_in_lines())

    def stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            self._bad("a global whose name is not text")
        self.stack.append(self._named(module, name))

    def _make(self, function: Any, args: Any) -> None:
        if type(function) is not Global:
            self._misplaced(function, "a call of")
        if type(args) is not tuple:
            self._bad(f"a call of {_called(function)} without a tuple of arguments")
        self.stack.append(Made(function, args))

    def reduce(self) -> None:
        args = self._pop()
        self._make(self._pop(), args)

    def new_with_keywords(self) -> None:
        keywords = self._pop()
        if keywords != {}:
            self._refuse("a call with keywords")
        self.reduce()

    def instance(self) -> None:
        function = self._named_in_lines()
        args = self._pop_mark()
        self._make(function, tuple(args))

    def object_of_marked(self) -> None:
        items = self._pop_mark()
        if not items:
            self._bad("an object without a class")
        self._make(items[0], tuple(items[1:]))

    def build(self) -> None:
        state = self._pop()
        target = self._top()
        if type(target) is not Made or target.state is not None:
            self._misplaced(target, "a state set in")
        target.state = state


def _called(value: Any) -> str:
    """Return what to call a value in a message."""
    if isinstance(value, Global):
        return quote(str(value))
    if isinstance(value, Made):
        return f"a {quote(str(value.function))}"
    return described(value)


# ---- opcodes ---------------------------------------------------------------------------------


def _value(value: Any) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value)


def _fixed(code: str) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine._number(code))


def _sized(code: str, become: Callable[[_Machine, memoryview], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(become(machine, machine._sized(code)))


def _utf8(machine: _Machine, raw: memoryview) -> str:
    return machine._decoded(raw, "utf-8", "surrogatepass")


def _latin1(machine: _Machine, raw: memoryview) -> str:
    return machine._decoded(raw, "latin-1")


def _bytes(machine: _Machine, raw: memoryview) -> memoryview:
    return raw


def _integer(machine: _Machine, raw: memoryview) -> int:
    return int.from_bytes(raw, "little", signed=True)


def _tuple(count: int) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        items = [machine._pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return step


def _put(code: str) -> Callable[[_Machine], None]:
    return lambda machine: machine._put(machine._number(code))


def _get(code: str) -> Callable[[_Machine], None]:
    return lambda machine: machine._get(machine._number(code))


def _refused(what: str) -> Callable[[_Machine], None]:
    return lambda machine: machine._refuse(what)


_STEPS: dict[int, Callable[[_Machine], None]] = {
    opcode[0]: step
    for opcode, step in {
        b"(": _Machine.mark,
        b"0": _Machine.pop,
        b"1": _Machine.pop_mark,
        b"2": _Machine.dup,
        b".": _Machine.stop,
        b"\x80": _Machine.proto,
        b"\x95": _Machine.frame,
        b"N": _value(None),
        b"\x88": _value(True),
        b"\x89": _value(False),
        b"I": _Machine.int_line,
        b"L": _Machine.long_line,
        b"J": _fixed("<i"),
        b"K": _fixed("<B"),
        b"M": _fixed("<H"),
        b"\x8a": _sized("<B", _integer),
        b"\x8b": _sized("<i", _integer),
        b"F": _Machine.float_line,
        b"G": _fixed(">d"),
        b"S": _Machine.string_line,  # Python 2's str, read as Latin-1
        b"U": _sized("<B", _latin1),
        b"T": _sized("<i", _latin1),
        b"V": _Machine.unicode_line,
        b"X": _sized("<I", _utf8),
        b"\x8c": _sized("<B", _utf8),
        b"\x8d": _sized("<Q", _utf8),
        b"C": _sized("<B", _bytes),
        b"B": _sized("<I", _bytes),
        b"\x8e": _sized("<Q", _bytes),
        b"\x96": _sized("<Q", _bytes),  # a bytearray
        b"]": lambda machine: machine.stack.append([]),
        b"}": lambda machine: machine.stack.append({}),
        b")": _value(()),
        b"l": _Machine.list_of_marked,
        b"t": _Machine.tuple_of_marked,
        b"d": _Machine.dict_of_marked,
        b"\x85": _tuple(1),
        b"\x86": _tuple(2),
        b"\x87": _tuple(3),
        b"a": _Machine.append,
        b"e": _Machine.appends,
        b"s": _Machine.set_item,
        b"u": _Machine.set_items,
        b"p": _Machine.put_line,
        b"q": _put("<B"),
        b"r": _put("<I"),
        b"\x94": _Machine.memoize,
        b"g": _Machine.get_line,
        b"h": _get("<B"),
        b"j": _get("<I"),
        b"c": _Machine.global_lines,
        b"\x93": _Machine.stack_global,
        b"R": _Machine.reduce,
        b"\x81": _Machine.reduce,  # of a class: as a call, since nothing is called
        b"\x92": _Machine.new_with_keywords,
        b"i": _Machine.instance,
        b"o": _Machine.object_of_marked,
        b"b": _Machine.build,
        b"P": _refused("a persistent id"),
        b"Q": _refused("a persistent id"),
        b"\x82": _refused("an extension code"),
        b"\x83": _refused("an extension code"),
        b"\x84": _refused("an extension code"),
        b"\x8f": _refused("a set"),
        b"\x90": _refused("a set"),
        b"\x91": _refused("a frozenset"),
        b"\x97": _refused("a buffer outside of it"),
        b"\x98": _refused("a buffer outside of it"),
    }.items()
}
