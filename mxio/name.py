# SPDX-License-Identifier: Apache-2.0
"""How blocks are called that were given no name: ``dense0``, ``dense1``, …, as in MXNet.

The numbers go on for as long as a program runs. ``with NameManager():`` starts them again, so
that a network made inside has the same full names each time.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NameManager", "Prefix", "current"]


class _Entered(threading.local):
    """The managers a thread has entered by ``with``, innermost last."""

    def __init__(self) -> None:
        self.stack: list[NameManager] = []


_entered = _Entered()
_counting = threading.Lock()


class NameManager:
    """What counts the names of each kind, from 0 on; a context manager.

    Examples
    --------
    >>> with NameManager():
    ...     nn.Dense(2).name, nn.Dense(2).name
    ('dense0', 'dense1')
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def get(self, name: str | None, hint: str) -> str:
        """Return `name`, or the next one of a kind where none is given."""
        if name:
            return name
        with _counting:
            number = self._counts.get(hint, 0)
            self._counts[hint] = number + 1
        return f"{hint}{number}"

    def __enter__(self) -> Self:
        _entered.stack.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _entered.stack.pop()


class Prefix(NameManager):
    """A `NameManager` that puts a prefix before every name.

    Parameters
    ----------
    prefix : str
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def get(self, name: str | None, hint: str) -> str:
        """Return the prefix and the name."""
        return self._prefix + super().get(name, hint)


_default = NameManager()


def current() -> NameManager:
    """Return the manager of this thread: the one entered last, or the program's."""
    return _entered.stack[-1] if _entered.stack else _default
