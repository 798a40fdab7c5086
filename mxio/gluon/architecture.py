# SPDX-License-Identifier: Apache-2.0
"""The architecture of a network as JSON: what a file says besides parameters.

A block is its class, the arguments it was made with, and its children. To build it again,
the class is called with the arguments; what its constructor made is kept where it is what
the file says, and the rest is made and put in place. Only classes of `mxio.gluon` and those
that a program registered are ever called: nothing in a file is executed, or imported by name.

::

    {"version": 1, "network": node}
    node   {"class": name, "args": [value, …], "kwargs": {name: value, …}, "prefix": text,
            "children": {name: node or {"same": path}, …}, "attribute": true}
    value  null, true, false, number, text, [value, …], {"tuple": [value, …]},
           {"dict": {name: value, …}}, {"dtype": name}, {"ctx": [kind, number]},
           {"init": [name, arguments]}, {"type": name of a class}, {"block": node},
           {"same": path}, {"params_of": path}

A path is a list of children's names, from the network on, and ``#`` and its number or name for
an argument that holds blocks. ``same`` is the block there,
``params_of`` its parameters: so what is shared is shared again. ``attribute`` says that a
child is an attribute of its parent, of its name; only what is true is written, and only
what is not empty.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import numpy as np

from mxio import initializer
from mxio.context import Context
from mxio.errors import FormatError, UnsupportedError, clip, described, quote
from mxio.nd.ndarray import dtype_of

__all__ = ["KEY", "Described", "build", "describe", "limit", "register", "spend"]

KEY = "gluon"
"""Under which the metadata of a file holds the architecture. Never change."""

_VERSION = 1
# A constructor may make more than the file holds, since what differs is replaced.
_ROOM = 1000

# Where the classes are that need no registering.
_OURS = ("mxio.gluon.nn.", "mxio.gluon.rnn.", "mxio.gluon.contrib.", "mxio.gluon.model_zoo.")

_classes: dict[str, type[Described]] = {}
_Block = TypeVar("_Block", bound="Described")


class Described:
    """What keeps the arguments it was made with: the root of all blocks."""

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    _children: dict[str, Any]
    _params: Any
    _prefix: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith(_OURS):
            _classes[cls.__name__] = cls

    def __new__(cls: type[_Block], *args: Any, **kwargs: Any) -> _Block:
        spend()
        self = super().__new__(cls)
        # As they are now: a constructor may change what it was given.
        object.__setattr__(self, "_arguments", (_kept(args), _kept(kwargs)))
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self._arguments


def _kept(value: Any) -> Any:
    """Return a value with its plain containers copied."""
    if type(value) is dict:
        return {key: _kept(item) for key, item in value.items()}
    return type(value)(map(_kept, value)) if type(value) in (list, tuple) else value


_Class = TypeVar("_Class", bound=type[Described])


def register(cls: _Class) -> _Class:
    """Let networks with blocks of this class be saved by ``net.save`` and loaded by ``gluon.load``.

    Its constructor's arguments must be what JSON can say: numbers, text, None, lists,
    tuples, dicts, dtypes, initializers, other blocks.

    Raises
    ------
    TypeError
        It is not a class of blocks.
    ValueError
        Another class of that name is registered.

    Examples
    --------
    >>> @gluon.register
    ... class Scale(nn.HybridBlock):
    ...     def __init__(self, factor, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.factor = factor
    ...     def hybrid_forward(self, F, x):
    ...         return x * self.factor
    """
    if not isinstance(cls, type) or not issubclass(cls, Described):
        raise TypeError(f"@gluon.register is for classes of blocks, not {described(cls)}")
    other = _classes.get(cls.__name__, cls)
    # A notebook's cell that is run again makes the same class anew.
    if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(
            f"a class {cls.__name__} is registered already: {other.__module__}.{other.__qualname__}"
        )
    _classes[cls.__name__] = cls
    return cls


# ---- what a file may cost --------------------------------------------------------------------


class _Left(threading.local):
    """How many blocks and parameters may still be made; None: no file is being built."""

    def __init__(self) -> None:
        self.count: int | None = None


_left = _Left()


class limit:
    """A context in which at most so many blocks and parameters can be made."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> None:
        _left.count = self._count

    def __exit__(self, *exc: object) -> None:
        _left.count = None


def spend(count: int = 1) -> None:
    """Count blocks or parameters that are made, before they are."""
    if _left.count is not None:
        _left.count -= count
        if _left.count < 0:
            raise FormatError("the architecture asks for far more than the file has parameters of")


# ---- network → JSON --------------------------------------------------------------------------


def describe(network: Described) -> dict[str, Any]:
    """Return the architecture of a network, as JSON.

    Raises
    ------
    TypeError
        A class is not registered, or an argument is not what JSON can say.
    """
    return {"version": _VERSION, "network": _Describe(network).node(network, ())}


class _Describe:
    def __init__(self, network: Described) -> None:
        self._network = network
        self._paths: dict[int, tuple[str, ...]] = {}

    def node(self, block: Described, path: tuple[str, ...]) -> dict[str, Any]:
        name = type(block).__name__
        at = f"{'.'.join(path) or 'the network'}, a {type(block).__qualname__}"
        if _classes.get(name) is not type(block):
            raise TypeError(
                f"cannot save the architecture of {at}: its class is not registered; put "
                "@gluon.register before it, or use save_parameters"
            )
        self._paths[id(block)] = path
        args, kwargs = block._arguments
        node: dict[str, Any] = {"class": name}
        said = [
            self._value(arg, f"argument {n} of {at}", (*path, f"#{n}"))
            for n, arg in enumerate(args)
        ]
        named = {
            key: self._value(value, f"argument {key} of {at}", (*path, f"#{key}"))
            for key, value in kwargs.items()
            if key != "prefix"
        }
        children: dict[str, Any] = {}
        for key, child in block._children.items():
            if id(child) in self._paths:
                children[key] = {"same": list(self._paths[id(child)])}
            else:
                children[key] = self.node(child, (*path, key))
            if vars(block).get(key) is child:
                children[key]["attribute"] = True
        parts = {"args": said, "kwargs": named, "prefix": block._prefix, "children": children}
        node.update((key, part) for key, part in parts.items() if part)
        return node

    def _value(self, value: Any, what: str, path: tuple[str, ...]) -> Any:
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, (int, float, np.integer, np.floating, np.bool_)):
            return value.item() if isinstance(value, np.generic) else value
        if isinstance(value, (list, tuple)):
            items = [self._value(item, what, (*path, str(n))) for n, item in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {
                "dict": {key: self._value(item, what, (*path, key)) for key, item in value.items()}
            }
        if isinstance(value, np.dtype) or (
            isinstance(value, type) and issubclass(value, np.generic)
        ):
            return {"dtype": np.dtype(value).name}
        if isinstance(value, type) and value in _classes.values():
            return {"type": value.__name__}
        if isinstance(value, Context):
            return {"ctx": [value.device_type, value.device_id]}
        if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iuf":
            return {"tuple": value.tolist()}
        if isinstance(value, initializer.Initializer):
            try:
                text = value.dumps()
                if type(initializer.create(text)) is type(value):
                    return {"init": json.loads(text)}
            except (TypeError, ValueError):
                pass
        elif isinstance(value, Described):
            if id(value) in self._paths:
                return {"same": list(self._paths[id(value)])}
            return {"block": self.node(value, path)}
        elif hasattr(value, "_params") and hasattr(value, "get_constant"):
            owner = self._owner(value)
            if owner is not None:
                return {"params_of": list(owner)}
            raise TypeError(
                f"cannot save the architecture: {what} has the parameters of a block that does not "
                "come before it in the network"
            )
        raise TypeError(
            f"cannot save the architecture: {what} is {described(value)}, which JSON cannot say; "
            "use save_parameters, or a registered class that makes it"
        )

    def _owner(self, params: Any) -> tuple[str, ...] | None:
        for block, path in _walk(self._network, ()):
            if block._params is params and id(block) in self._paths:
                return path
        return None


def _walk(block: Described, path: tuple[str, ...]) -> Iterator[tuple[Described, tuple[str, ...]]]:
    yield block, path
    for name, child in block._children.items():
        yield from _walk(child, (*path, name))


# ---- JSON → network --------------------------------------------------------------------------


def build(architecture: Any, n_parameters: int) -> Described:
    """Build the network that JSON describes.

    Parameters
    ----------
    architecture : JSON
        What `describe` returned, or its text.
    n_parameters : int
        How many there are in the file: far more are not made.

    Raises
    ------
    FormatError
        It is no such description.
    UnsupportedError
        It names a class that is not registered here, or is of a newer version.
    """
    if isinstance(architecture, str):
        try:
            architecture = json.loads(architecture)
        except (ValueError, RecursionError):
            raise FormatError("the architecture is text that is not JSON") from None
    if not isinstance(architecture, dict) or "network" not in architecture:
        raise FormatError("the architecture is not a description of a network")
    if architecture.get("version") != _VERSION:
        raise UnsupportedError(
            f"the architecture is of version {architecture.get('version')!r}; this mxio reads "
            f"version {_VERSION}"
        )
    node = architecture["network"]
    try:
        with limit(4 * (n_parameters + _count(node)) + _ROOM):
            building = _Build()
            network = building.block(node, ())
            # Blocks that are the same in many places are few, but have many names.
            if _n_places(network, {}) > 4 * (n_parameters + _count(node)) + _ROOM:
                raise FormatError("the architecture has far more places than parameters")
            building.rename()
    except RecursionError:
        raise FormatError("the architecture is nested too deep") from None
    return network


def _count(node: Any) -> int:
    """Return how many blocks JSON describes."""
    if isinstance(node, dict):
        return ("class" in node) + sum(map(_count, node.values()))
    return sum(map(_count, node)) if isinstance(node, list) else 0


def _n_places(block: Described, known: dict[int, int]) -> int:
    """Return how many paths lead to blocks of a network, and to its parameters."""
    if id(block) not in known:
        own = 1 + len(cast(Any, block)._reg_params)
        known[id(block)] = own + sum(_n_places(c, known) for c in block._children.values())
    return known[id(block)]


def _may_be_attribute(block: Described, name: str) -> bool:
    """Whether a block may be an attribute of this name: no method is replaced, nothing private."""
    return name.isidentifier() and not name.startswith("_") and not hasattr(type(block), name)


class _Build:
    def __init__(self) -> None:
        self._blocks: dict[tuple[str, ...], Described] = {}
        self._done: set[int] = set()  # those with all their children
        self._prefixes: dict[int, tuple[Described, str]] = {}

    def block(self, node: Any, path: tuple[str, ...]) -> Described:
        """Return the block of a node, made anew."""
        at = _where(path)
        name, args, kwargs = self._call(node, at)
        cls = self._class(name, at)
        given = [self._value(value, (*path, f"#{n}")) for n, value in enumerate(args)]
        named = {key: self._value(value, (*path, f"#{key}")) for key, value in kwargs.items()}
        try:
            block = cls(*given, **named)
        except (FormatError, MemoryError):
            raise
        except Exception as error:
            raise FormatError(
                f"{at} cannot be built: {name} refuses its arguments with "
                f"{type(error).__name__}: {clip(str(error))}"
            ) from error
        self._settle(block, node, path)
        return block

    def _class(self, name: str, at: str) -> type[Described]:
        cls = _classes.get(name)
        if cls is None:
            raise UnsupportedError(
                f"{at} is of class {quote(name)}, which is not registered here: import the module "
                "that defines it, with @gluon.register before the class"
            )
        return cls

    def _call(self, node: Any, at: str) -> tuple[str, list[Any], dict[str, Any]]:
        if not isinstance(node, dict):
            raise FormatError(f"the architecture has {described(node)} for {at}")
        name, args, kwargs = node.get("class"), node.get("args", []), node.get("kwargs", {})
        if not isinstance(name, str) or not isinstance(args, list) or not isinstance(kwargs, dict):
            raise FormatError(f"the architecture has no class and arguments for {at}")
        return name, args, kwargs

    def _settle(self, block: Described, node: dict[str, Any], path: tuple[str, ...]) -> None:
        """Give a block the children of its node, keeping those that its constructor made so."""
        self._blocks[path] = block
        prefix = node.get("prefix", "")
        if not isinstance(prefix, str):
            raise FormatError(f"the architecture has a prefix of {_where(path)} that is no text")
        self._prefixes[id(block)] = block, prefix
        children = node.get("children", {})
        if not isinstance(children, dict):
            raise FormatError(f"the architecture has no children for {_where(path)}")
        made = dict(block._children)
        for name in made.keys() - children.keys():
            del block._children[name]
            if vars(block).get(name) is made[name]:
                object.__delattr__(block, name)
        for name, inner in children.items():
            child = made.get(name)
            there = (*path, name)
            is_attribute = isinstance(inner, dict) and inner.get("attribute") is True
            if is_attribute and not _may_be_attribute(block, name):
                raise FormatError(
                    f"the architecture has a block for {_where(there)}, which is no name for one"
                )
            if isinstance(inner, dict) and "same" in inner:
                wanted = self._whole(inner["same"])
                self._blocks[there] = wanted
            elif child is not None and self._is_so(child, inner):
                wanted = child
                self._settle(child, inner, there)
            else:
                wanted = self.block(inner, there)
            if wanted is not child:
                # Not what the constructor made: it may be of any class.
                block._children.pop(name, None)
                cast(Any, block).register_child(wanted, name)
                if is_attribute:
                    object.__setattr__(block, name, wanted)
        block._children = {name: block._children[name] for name in children}
        self._done.add(id(block))

    def _is_so(self, block: Described, node: Any) -> bool:
        """Whether a block is of the class and the arguments of a node."""
        if not isinstance(node, dict) or type(block).__name__ != node.get("class"):
            return False
        args, kwargs = block._arguments
        try:
            describe = _Describe(block)
            said = [describe._value(arg, "", ()) for arg in args]
            named = {k: describe._value(v, "", ()) for k, v in kwargs.items() if k != "prefix"}
        except TypeError:  # such as parameters of another block: it was made by its parent's rules
            return True
        return (said, named) == (node.get("args", []), node.get("kwargs", {}))

    def _whole(self, path: Any) -> Described:
        found = self._at(path)
        if id(found) not in self._done:
            raise FormatError(f"the architecture has {clip(repr(path))} inside of itself")
        return found

    def _at(self, path: Any) -> Described:
        found = self._blocks.get(tuple(path)) if isinstance(path, list) else None
        if found is None:
            raise FormatError(f"the architecture refers to {clip(repr(path))}, which is not there")
        return found

    def _value(self, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, list):
            return [self._value(item, (*path, str(n))) for n, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((word, inner),) = value.items()
            if word == "tuple" and isinstance(inner, list):
                return tuple(self._value(inner, path))
            if word == "dict" and isinstance(inner, dict):
                return {key: self._value(item, (*path, key)) for key, item in inner.items()}
            if word == "dtype" and isinstance(inner, str):
                return self._made(lambda: dtype_of(inner).type, path)
            if word == "type" and isinstance(inner, str):
                return self._class(inner, _where(path))
            if word == "ctx" and isinstance(inner, list) and len(inner) == 2:
                return self._made(lambda: Context(*inner), path)
            if word == "init" and isinstance(inner, list) and len(inner) == 2:
                return self._made(lambda: initializer.create(json.dumps(inner)), path)
            if word == "block":
                return self.block(inner, path)
            if word == "same":
                return self._whole(inner)
            if word == "params_of":
                return self._at(inner)._params
        raise FormatError(f"the architecture has a value for {_where(path)} that means nothing")

    def _made(self, make: Callable[[], Any], path: tuple[str, ...]) -> Any:
        try:
            return make()
        except (TypeError, ValueError) as error:
            raise FormatError(f"the architecture, at {_where(path)}: {error}") from None

    def rename(self) -> None:
        """Give blocks and parameters the names they had, whatever was counted meanwhile."""
        new = {block._prefix: prefix for block, prefix in self._prefixes.values()}
        done: set[int] = set()
        for block, prefix in self._prefixes.values():
            cast(Any, block)._rename(prefix, new, done)


def _where(path: tuple[str, ...]) -> str:
    """Return, for a message, what is at a path; arguments are ``#0`` or ``#name``."""
    return clip(".".join(path)) or "the network"


def metadata_of(described: Mapping[str, Any], format: str | None) -> Any:
    """Return an architecture as the metadata of a format can say it."""
    return json.dumps(described) if format == "safetensors" else described
