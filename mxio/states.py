# SPDX-License-Identifier: Apache-2.0
"""MXNet's pickles, the states of trainers and optimizers, as plain trees.

``Trainer.save_states`` writes pickles, and whoever unpickles a file runs what its author
wanted. Here nothing in a file is imported or called: `_unpickle` says what the pickle
says, and the table below says what the few names mean that MXNet's files have.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from mxio import _file
from mxio._source import Source, open_source
from mxio._unpickle import Global, Made, parse
from mxio.context import Context
from mxio.errors import FormatError, FormatWarning, UnsupportedError, described, quote

__all__ = ["load_states"]

_MAX_DEPTH = 100  # what mxio.save can nest
# Values that stand in several places of a pickle, counted once for each place but the first.
_MAX_REPEATS = 100_000

# The names that may stand in a pickle, as module:name, and what each is taken for.
_NAMES = {
    kind: re.compile(pattern, re.ASCII)
    for kind, pattern in {
        "array": r"mxnet\.ndarray(\.ndarray)?:NDArray"
        r"|mxnet\.ndarray\.sparse:(RowSparse|CSR)NDArray"
        r"|mxnet\.numpy\.multiarray:ndarray",
        "optimizer": r"mxnet\.optimizer(\.[a-z]\w*)*:[A-Za-z]\w*",
        "object": r"mxnet\.(lr_scheduler|initializer):[A-Za-z]\w*"
        r"|mxnet\.gluon\.parameter:(Parameter|Constant)"
        r"|gluoncv\.utils\.lr_scheduler:LR(Scheduler|Sequential)",
        "context": r"mxnet\.context:Context|mxnet\.device:Device",
        "bytes": r"(builtins|__builtin__):(bytearray|bytes)",
        "encode": r"_codecs:encode",
        "reconstructor": r"(copyreg|copy_reg):_reconstructor",
        "base": r"(builtins|__builtin__):object",
        "type": r"numpy:(bool_?|u?int(8|16|32|64)|float(16|32|64))",
        "dtype": r"numpy:dtype",
        "scalar": r"numpy\._?core\.multiarray:scalar",
    }.items()
}

_DEVICES = {1: "cpu", 2: "gpu", 3: "cpu_pinned", 5: "cpu_shared"}
_DTYPE = re.compile("b1|[iu][1248]|f[248]")
_ORDERS = {"<", ">", "|", "="}

# A file of MXNet around one record. It is a dict, whose name says that the record ended where
# it had to: magic, reserved, one array; one name.
_NAME = "record"
_BEFORE = struct.pack("<3Q", 0x112, 0, 1)
_AFTER = struct.pack("<2Q", 1, len(_NAME)) + _NAME.encode()


def load_states(source: Source) -> Any:
    """Load what MXNet pickled: trainer states, optimizer states, arrays.

    Reads what ``Trainer.save_states``, ``Module.save_optimizer_states`` and ``pickle.dump``
    of arrays wrote, under Python 2 or 3, with any MXNet from 0.9 to 2.0. Nothing in the
    file is imported or called, so that a file of a stranger can be read without trusting
    him. ``mxio.save`` saves what comes back.

    Parameters
    ----------
    source : str, os.PathLike, bytes-like or binary file object
        A file object is read from where it stands to its end.

    Returns
    -------
    dict, list, tuple or numpy.ndarray
        From ``Trainer.save_states``: ``{'states': {index: state}, 'optimizer': {…}}``. A
        state is what the optimizer keeps for a parameter: None (SGD), an array (momentum),
        a tuple of arrays (Adam: mean, variance), with multi-precision a tuple of the
        float32 master copy and the state. The index is the parameter's position, in the
        order of definition up to MXNet 1.5, sorted by name from 1.6 on. The optimizer is a
        dict of ``'class'``, its name without the module, and its attributes: ``'lr'``,
        ``'num_update'``, …; so are a learning-rate scheduler or a Parameter in it.

        From ``Module.save_optimizer_states``: ``{index: state}`` alone. Other pickles: the
        list, dict, … that they hold.

        Arrays are numpy.ndarray, sparse ones ``mxio.SparseArray``, those that were never
        initialised None; NumPy's scalars are Python numbers; a dtype is its name, a device
        a str such as ``'cpu(0)'``; text of Python 2 is decoded as Latin-1.

    Raises
    ------
    UnsupportedError
        The pickle holds anything else: a class or function is named in the message, a
        persistent id, an extension code, a set, ….
    FormatError
        The bytes are no sound pickle, or it nests too deep, holds itself, or repeats
        values more often than a file can sensibly mean.
    OSError
        The file cannot be opened or read.

    Examples
    --------
    >>> load_states(b'\\x80\\x03}K\\x00Ns.')  # of a Module, SGD without momentum
    {0: None}
    """
    file = open_source(source)
    try:
        where, data = file.name, file.get(0, file.nbytes)
    finally:
        file.close()
    if not data:
        raise FormatError(f"{where} is not a sound pickle: it is empty", 0)
    value, n_steps = parse(data, where, _meaning)
    reading = _Reading(where, n_steps + _MAX_REPEATS, len(data))
    match value:
        case (dict(), Made() as made) if _call(made)[0].meaning == "optimizer":
            value = dict(zip(("states", "optimizer"), value, strict=True))
    return reading.value(value)


def _meaning(module: str, name: str) -> str | None:
    """Return what a name is taken for, None if it may not be in a file."""
    whole = f"{module}:{name}"
    return next((kind for kind, names in _NAMES.items() if names.fullmatch(whole)), None)


def _call(made: Made) -> tuple[Global, tuple[Any, ...]]:
    """Return the class of what is made, and the arguments."""
    if made.function.meaning == "reconstructor":
        # How Python 2 and protocols 0 and 1 say it: class, base, a value of the base.
        match made.args:
            case (Global() as named, Global(meaning="base"), None):
                return named, ()
    return made.function, made.args


class _Reading:
    """One walk through what a pickle says."""

    def __init__(self, where: str, most: int, nbytes: int) -> None:
        self._where = where
        self._left = most
        self._nbytes_left = nbytes
        self._path: list[object] = []  # the keys on the way to the value at hand
        self._on_the_way: set[int] = set()
        # What stands in several places becomes one array, one bytes.
        self._known: dict[int, Any] = {}

    def value(self, value: Any) -> Any:
        """Return the plain value for what a pickle says."""
        self._left -= 1
        if self._left < 0:
            self._bad("values repeated more often than they can be meant")
        kind = type(value)
        if kind in (bool, int, float, str, type(None)):
            return value
        if kind is memoryview:
            return self._once(value, self._bytes)
        if kind is Global:
            if value.meaning == "type":
                return np.dtype(value.name).name
            self._refuse(f"{quote(str(value))} itself for a value")
        if id(value) in self._on_the_way:
            self._bad("something that holds itself")
        self._on_the_way.add(id(value))
        plain = self._made(value) if kind is Made else self._container(value)
        self._on_the_way.remove(id(value))
        return plain

    def _container(self, value: Any) -> Any:
        if len(self._path) == _MAX_DEPTH:
            self._bad(f"containers nested more than {_MAX_DEPTH} deep")
        kind = type(value)
        plain: list[Any] = []
        for key, item in value.items() if kind is dict else enumerate(value):
            self._path.append(key)
            plain.append(self.value(item))
            self._path.pop()
        if kind is dict:
            return dict(zip(value, plain, strict=True))
        return tuple(plain) if kind is tuple else plain

    # ---- what would be called

    def _made(self, made: Made) -> Any:
        named, args = _call(made)
        kind = named.meaning
        if kind in ("optimizer", "object") and not args:
            return self._object(made, named)
        if kind == "context" and not args:
            return self._context(made)
        if kind == "array" and args in ((), (None,)):
            return self._once(made, self._array)
        if kind in ("bytes", "encode"):
            return self._once(made, self._bytes)
        if kind == "scalar":
            return self._scalar(made)
        if kind == "dtype":
            return self._dtype(made).name
        self._odd(made)

    def _object(self, made: Made, named: Global) -> dict[str, Any]:
        """Return the name of a class and the attributes of an object."""
        attributes = {} if made.state is None else made.state
        if type(attributes) is not dict or not all(type(key) is str for key in attributes):
            self._odd(made)
        if "class" in attributes:
            self._bad(f"a {quote(str(named))} with an attribute 'class'")
        return {"class": named.name, **self._container(attributes)}

    def _context(self, made: Made) -> str:
        match made.state:
            case {"device_typeid": int(kind), "device_id": int(number)}:
                if kind in _DEVICES and 0 <= number < 2**31:
                    return repr(Context(_DEVICES[kind], number))
        self._odd(made)

    def _array(self, made: Made) -> Any:
        """Return the array of a bare record, which is read as a file of one."""
        match made.state:
            case None | {"handle": None}:
                return None
            case {"handle": handle, **others} if not others:
                record = self._raw(handle)
            case _:
                self._odd(made)
        message = f"{self._where}: the pickle has an array{self._at()} that cannot be read"
        try:
            loaded = _file.loads(b"".join((_BEFORE, record, _AFTER)))
        except (FormatError, UnsupportedError) as error:
            raise type(error)(f"{message}: {error}") from None
        except FormatWarning as warning:  # where warnings are errors
            raise FormatError(f"{message}: {warning}") from None
        if type(loaded) is not dict or list(loaded) != [_NAME]:
            raise FormatError(f"{message}: something follows its {len(record)} bytes")
        return loaded[_NAME]

    def _scalar(self, made: Made) -> bool | int | float:
        match made.args:
            case (Made(function=Global(meaning="dtype")) as of, raw) if made.state is None:
                dtype = self._dtype(of)
                data = self._latin1(raw) if type(raw) is str else self._raw(raw)
                if len(data) == dtype.itemsize:
                    return np.frombuffer(data, dtype)[0].item()  # type: ignore[no-any-return]
        self._odd(made)

    def _dtype(self, made: Made) -> np.dtype[Any]:
        match made.state:
            case None:
                order = "="
            case (int(), str(order), *_) if order in _ORDERS:
                pass
            case _:
                self._odd(made)
        match made.args:
            case (str(code), 0, 1) if _DTYPE.fullmatch(code):
                return np.dtype(order + code)
        self._odd(made)

    def _bytes(self, value: Any) -> bytes:
        return bytes(self._raw(value))

    def _raw(self, value: Any) -> bytes | memoryview:
        """Return the content of a bytes or a bytearray, however the protocol says it."""
        raw: bytes | memoryview
        match value:
            case memoryview():
                raw = value
            case Made(function=Global(meaning="bytes"), state=None, args=args):
                match args:
                    case ():
                        return b""
                    case (str(text), "latin-1"):  # Python 2, and Python 3 before 3.8
                        raw = self._latin1(text)
                    case (memoryview() | Made(function=Global(meaning="encode")) as inner,):
                        return self._raw(inner)
                    case _:
                        self._odd(value)
            case Made(function=Global(meaning="encode"), state=None, args=args):
                match args:
                    case (str(text), "latin1"):  # bytes of Python 3 in protocols 0 to 2
                        raw = self._latin1(text)
                    case _:
                        self._odd(value)
            case _:
                self._bad(f"{described(value)} where bytes are needed")
        # All together they are no more than the file, unless some are repeated.
        self._nbytes_left -= len(raw)
        if self._nbytes_left < 0:
            self._bad("bytes repeated more often than they can be meant")
        return raw

    def _latin1(self, text: str) -> bytes:
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            self._bad("bytes written as text that is not Latin-1")

    def _once(self, value: Any, read: Callable[[Any], Any]) -> Any:
        if id(value) not in self._known:
            self._known[id(value)] = read(value)
        return self._known[id(value)]

    # ---- messages

    def _at(self) -> str:
        return f" at {quote('/'.join(map(str, self._path)))}" if self._path else ""

    def _bad(self, clause: str) -> NoReturn:
        raise FormatError(f"{self._where}: the pickle has {clause}{self._at()}")

    def _refuse(self, clause: str) -> NoReturn:
        raise UnsupportedError(
            f"{self._where}: the pickle has {clause}{self._at()}, which mxio does not read"
        )

    def _odd(self, made: Made) -> NoReturn:
        self._refuse(f"a call of {quote(str(_call(made)[0]))} in a form that MXNet does not write")
