# SPDX-License-Identifier: Apache-2.0
"""What goes wrong, as exceptions.

::

    Exception
    ├── OSError (FileNotFoundError, …)   the system said no; errno and filename are kept
    ├── MemoryError
    ├── TypeError, ValueError            the caller's arguments, said before any I/O
    └── MXIOError
        ├── FormatError (ValueError)     these bytes are not a valid file
        │   └── ChecksumError            the contents changed since they were written
        ├── UnsupportedError             valid, but needs something this installation lacks
        ├── EntryError (KeyError)        no such entry, or not the expected shape or dtype
        │   └── ParameterError (AssertionError)        between a file and a model
        │       └── ExtraParameterError (ValueError)   in the file, not in the model
        └── DeferredInitializationError (RuntimeError)   a parameter without a value yet

    UserWarning
    ├── FormatWarning                    read, but not quite as its format wants it
    └── DamageWarning                    what is damaged was left out

Every message is one sentence: what, in which array, where, in which file.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ChecksumError",
    "DamageWarning",
    "DeferredInitializationError",
    "EntryError",
    "ExtraParameterError",
    "FormatError",
    "FormatWarning",
    "MXIOError",
    "ParameterError",
    "UnsupportedError",
]


def printable(text: str) -> str:
    """Return a text with everything escaped that could steer a terminal or break a line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class MXIOError(Exception):
    """The root of mxio's own exceptions."""

    def __init__(self, *args: object) -> None:
        # Messages name files, which may be called anything.
        super().__init__(*(printable(arg) if isinstance(arg, str) else arg for arg in args))


class FormatError(MXIOError, ValueError):
    """These bytes are not a valid file.

    Attributes
    ----------
    offset : int or None
        Where in the file, in bytes, when one place is to blame.
    """

    offset: int | None

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (*self.args, self.offset)


class ChecksumError(FormatError):
    """The file is well formed, but its contents changed since they were written.

    Attributes
    ----------
    name : str or None
        The damaged array; None when it is the head or the index.
    chunk : int or None
        The number of the damaged chunk in that array.
    offset : int or None
        Where the chunk begins in the file, in bytes.
    """

    name: str | None
    chunk: int | None

    def __init__(
        self,
        message: str,
        offset: int | None = None,
        name: str | None = None,
        chunk: int | None = None,
    ) -> None:
        super().__init__(message, offset)
        self.name = name
        self.chunk = chunk

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (*self.args, self.offset, self.name, self.chunk)


class FormatWarning(UserWarning):
    """A file is read although something in it is not as its format wants it."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class DamageWarning(UserWarning):
    """Something is damaged and was left out of what was loaded: a step, an array.

    Attributes
    ----------
    damage : list
        What was left out, and why.
    """

    damage: list[Any]

    def __init__(self, message: str, damage: list[Any]) -> None:
        super().__init__(printable(message))
        self.damage = damage

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (*self.args, self.damage)


class UnsupportedError(MXIOError):
    """The file is valid, but reading it needs something this installation lacks."""


class EntryError(MXIOError, KeyError):
    """There is no such entry, or it has not the expected shape or dtype."""

    def __str__(self) -> str:
        # KeyError would print the repr of the sentence.
        return Exception.__str__(self)


class ParameterError(EntryError, AssertionError):
    """A file and a model do not go together: a parameter is missing, or of another shape or dtype.

    It is an AssertionError too, since that is what MXNet raises and old code catches.
    """


class ExtraParameterError(ParameterError, ValueError):
    """A file has a parameter that the model lacks; a ValueError too, as MXNet's is."""


class DeferredInitializationError(MXIOError, RuntimeError):
    """A parameter has no value yet: a shape is not known before the first forward pass."""


# ---- words for messages: what comes from a file or a caller is escaped and never long -----


def clip(text: str, length: int = 200) -> str:
    """Return a text with its middle left out where it is longer than a few lines."""
    return text if len(text) <= length else f"{text[: length // 2]}…{text[-(length // 2 - 1) :]}"


def quote(text: str) -> str:
    """Return a name in quotes, escaped."""
    return clip(repr(clip(text)))


def described(value: object) -> str:
    """Return what a value is: ``a set``, ``an mxio.Reader``."""
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {clip(name)}"
