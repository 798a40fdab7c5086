# SPDX-License-Identifier: Apache-2.0
"""What a file's structure says, in words and as its plain values (docs/FORMAT.md 3.8).

Nothing is rebuilt here and no array is read. `_tree` judges the JSON first; what it lets
through is walked, and nodes it may learn in future are kept as they are.
"""

from __future__ import annotations

import base64
import json
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from mxio import _tree

if TYPE_CHECKING:
    from mxio._index import Index

__all__ = ["Plain", "Structure", "structure_of"]


class Plain(NamedTuple):
    """A plain value in a tree.

    Attributes
    ----------
    path : str
        Keys and numbers on the way to it, joined by ``/``, as in the names of arrays.
    node : str
        Its one JSON form in the file: what is equal has an equal node.
    shown : str
        As Python would print it.
    """

    path: str
    node: str
    shown: str


class Structure(NamedTuple):
    """What a file holds as a whole.

    Attributes
    ----------
    words : str
        ``one array``, ``list of 3 arrays``, ``tree of 3 arrays and 2 plain values``, …
    plain : list of Plain
        In the order of the tree.
    sparse : list of Plain
        The same for sparse arrays: kind and shape, which their parts do not tell.
    kinds : dict of str to str
        The path of each container → ``list``, ``tuple`` or ``dict``; of one array alone
        '' → ``array``.
    """

    words: str
    plain: list[Plain]
    sparse: list[Plain]
    kinds: dict[str, str]


def structure_of(index: Index) -> Structure:
    """Return the structure of an open file, or raise FormatError.

    Examples
    --------
    >>> with mxio.open('w.mxio') as f:
    ...     structure_of(f.index).words
    'tree of 1 array and 1 plain value'
    """
    if index.structure == b'"array"':
        return Structure("one array", [], [], {"": "array"})
    if index.structure in (b'"list"', b'"tuple"', b'"dict"'):
        word = index.structure[1:-1].decode()
        return Structure(f"{word} of {_count(len(index), 'array')}", [], [], {"": word})
    entries = [index.entry(number) for number in range(len(index))]
    _tree.unflatten(index.structure, index.names(), entries)
    found = Structure("", [], [], {})
    n_dense = _walk(json.loads(index.structure)["tree"], (), found)
    counts = (
        (n_dense, "array"),
        (len(found.sparse), "sparse array"),
        (len(found.plain), "plain value"),
    )
    words = [_count(n, noun) for n, noun in counts if n] or ["nothing"]
    last = " and ".join(words[-2:])
    return found._replace(words=f"tree of {', '.join([*words[:-2], last])}")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _word_of(node: Any) -> tuple[str, Any]:
    return next(iter(node.items())) if type(node) is dict else ("", None)


def _walk(node: Any, path: tuple[str, ...], found: Structure) -> int:
    """Note what is in a node, and return the number of its dense arrays."""
    if node == "array":
        return 1
    word, content = _word_of(node)
    if word in ("list", "tuple", "dict"):
        found.kinds["/".join(path)] = word
        pairs = content if word == "dict" else enumerate(content)
        return sum(
            _walk(item, (*path, key if type(key) is str else _shown(key)), found)
            for key, item in pairs
        )
    plain = Plain("/".join(path), json.dumps(node, separators=(",", ":")), _shown(node))
    (found.sparse if type(content) is list else found.plain).append(plain)
    return 0


def _shown(node: Any) -> str:
    """Return a plain value as Python would print it."""
    if type(node) is not dict:
        return repr(node)
    word, content = next(iter(node.items()))
    if word == "int":
        return str(int(content, 16)) if len(content) < 64 else content
    if word == "float":
        return repr(struct.unpack(">d", bytes.fromhex(content))[0])
    if word == "bytes":
        return repr(base64.b64decode(content))
    if word == "str":
        return repr(content)
    shape = ", ".join(map(str, content)) if type(content) is list else content
    return f"{word} ({shape})"
