# SPDX-License-Identifier: Apache-2.0
"""The state of a program: a tree of arrays and plain values, and of objects that have a state.

Objects are what trains: modules, optimizers and schedulers of torch and whatever else has
``state_dict`` and ``load_state_dict``, Gluon's blocks and parameters, generators of random
numbers. In a file they are the trees that their states are. On the way back a template, a
tree of the same structure, says what becomes of each part. No library is imported for it.
"""

from __future__ import annotations

import random
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mxio import _dtype, _host
from mxio._lazy import LazyArray
from mxio._sparse import SparseArray
from mxio.errors import EntryError, described, quote

__all__ = ["check_like", "places", "put", "rebuilt", "taken"]

_PLAIN = (bool, int, float, str, bytes, type(None))
_MAX_DEPTH = 100  # as deep as a structure may be
# What most of a tree is, and no object that has a state.
_ORDINARY = {dict, list, tuple, np.ndarray, *_PLAIN}
_DONE = object()
_TOLD_AT_MOST = 100  # differences in a message


# ---- out of a program -------------------------------------------------------------------------


def taken(state: Any) -> Any:
    """Return a state as `mxio.save` takes it.

    Objects as their states, named tuples as dicts, NumPy's scalars as plain numbers. Tensors
    that lie elsewhere are copied to memory; tied ones stay tied.
    """
    return _taken(state, {}, _MAX_DEPTH)


def _taken(value: Any, moved: dict[Any, Any], depth: int) -> Any:
    if isinstance(value, np.generic):
        return value.item() if value.dtype.kind in "biuf" and value.itemsize <= 8 else value
    if isinstance(value, (np.ndarray, *_PLAIN)):
        return value
    if not depth:
        raise ValueError(f"a state is nested more than {_MAX_DEPTH} deep, or holds itself")
    said = _state_of(value)
    if said is not value:
        return _taken(said, moved, depth - 1)
    items = _items(value)
    if items is None:
        return _host.on_host(value, moved)
    parts = [(key, _taken(item, moved, depth - 1)) for key, item in items]
    if _is_named(value) or isinstance(value, Mapping):
        return dict(parts)
    return (
        type(value)(part for _, part in parts)
        if type(value) in (list, tuple)
        else [part for _, part in parts]
    )


def _fields(value: Any) -> list[tuple[str, Any]]:
    return list(zip(value._fields, value, strict=True))


def _state_of(value: Any) -> Any:
    """Return the state of an object that has one, of all else the thing itself."""
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.random.BitGenerator):
        return value.state
    if isinstance(value, np.random.RandomState):
        return value.get_state(legacy=False)
    if isinstance(value, random.Random):
        return value.getstate()
    if _is_torch(value, "Generator"):
        return value.get_state()
    if _is_gluon(value, "block", "Block"):
        return value._values(False)
    if _is_gluon(value, "_parameter", "Parameter"):
        return value._reduced()
    if _has_state(value):
        return value.state_dict()
    return value


def _is_gluon(value: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(f"mxio.gluon.{module}")
    return loaded is not None and isinstance(value, getattr(loaded, name))


def _has_state(value: Any) -> bool:
    return (
        not isinstance(value, type)
        and callable(getattr(value, "state_dict", None))
        and callable(getattr(value, "load_state_dict", None))
    )


def _is_torch(value: Any, name: str) -> bool:
    torch: Any = sys.modules.get("torch")
    kind = torch
    for part in name.split("."):
        kind = getattr(kind, part, None)
    return kind is not None and isinstance(value, kind)


# ---- compared with a template -------------------------------------------------------------------


def check_like(saved: Any, like: Any, what: str, where: str) -> None:
    """Raise EntryError unless what was saved has a template's structure.

    It tells all differences, of very many the first 100.

    Keys, lengths, and what are arrays, of which dtypes and shapes, count; values do not. An
    object that takes any state, such as an optimizer, takes any tree here.
    """
    differences: list[str] = []
    _compare(saved, like, "", differences)
    if differences:
        count = f"in {len(differences):,} places" if len(differences) > 1 else "in one place"
        more = len(differences) - _TOLD_AT_MOST
        if more > 0:
            differences[_TOLD_AT_MOST:] = [f"… and {more:,} more"]
        raise EntryError(f"{where} differs from {what} {count}: {'; '.join(differences)}")


def _compare(saved: Any, like: Any, path: str, differences: list[str]) -> None:
    def differs(clause: str) -> None:
        differences.append(f"{quote(path)} {clause}" if path else f"it {clause}")

    if type(like) not in _ORDINARY:
        like = _compare_object(saved, like, path, differences, differs)
        if like is _DONE:
            return
    kind = _kind(saved)
    items = _items(like)
    if items is None:
        _compare_leaves(saved, like, differs)
        return
    wanted = "list" if isinstance(like, (list, tuple)) and not _is_named(like) else "dict"
    if kind != wanted:
        differs(f"is {_told(saved)}, not {_told(like)}")
        return
    if wanted == "list":
        if len(saved) != len(like):
            differs(f"has {len(saved)} items, not {len(like)}")
        pairs = [(n, saved[n], like[n]) for n in range(min(len(saved), len(like)))]
    else:
        pairs = [(key, saved[key], item) for key, item in items if key in saved]
        prefix = f"{path}/" if path else ""
        names = dict(items)
        missing = [key for key in names if key not in saved]
        extra = [key for key in saved if key not in names]
        differences.extend(f"{quote(f'{prefix}{key}')} is not in the file" for key in missing)
        differences.extend(f"{quote(f'{prefix}{key}')} is in the file only" for key in extra)
    for key, one, other in pairs:
        _compare(one, other, f"{path}/{key}" if path else str(key), differences)


def _compare_object(
    saved: Any, like: Any, path: str, differences: list[str], differs: Callable[[str], None]
) -> Any:
    """Compare with an object; `_DONE`, or the tree in place of it, which is to be compared."""
    kind = _kind(saved)
    if isinstance(like, (np.random.Generator, np.random.BitGenerator, np.random.RandomState)):
        wanted = _state_of(like)["bit_generator"]
        found = saved.get("bit_generator") if kind == "dict" else None
        if found != wanted:
            differs(f"is {_told(saved)}, not the state of a {wanted}")
        return _DONE
    if isinstance(like, random.Random) or _is_torch(like, "Generator"):
        _compare(saved, _state_of(like), path, differences)
        return _DONE
    if _is_gluon(like, "_parameter", "Parameter"):  # whose shape may still be unknown
        if kind != "array" or not _is_for(like, *_signature(saved)):
            differs(f"is {_told(saved)}, not {like.dtype} of shape {like.shape}")
        return _DONE
    if _is_gluon(like, "block", "Block"):
        like = like._collect_params_with_prefix()
    if _has_state(like):
        if not _is_torch(like, "nn.Module"):
            if kind != "dict":
                differs(f"is {_told(saved)}, not the state of {described(like)}")
            return _DONE
        like = like.state_dict()
    return like


def _compare_leaves(saved: Any, like: Any, differs: Callable[[str], None]) -> None:
    kind = _kind(saved)
    if _is_number(saved) and _is_number(like):
        return
    if kind != _kind(like):
        differs(f"is {_told(saved)}, not {_told(like)}")
    elif kind == "array":
        found, wanted = _signature(saved), _signature(like)
        if found != wanted:
            differs(f"is {_told(saved)}, not {_told(like)}")
    elif kind == "sparse" and tuple(saved.shape) != tuple(like.shape):
        differs(f"is {_told(saved)}, not {_told(like)}")


def _is_number(value: Any) -> bool:
    """Say whether it is one, NumPy's or a plain one, or an array of one without dimensions.

    Programs make the one of the other all the time: ``min(best, loss.mean())``.
    """
    if isinstance(value, (int, float, np.generic)):
        return True
    return (
        isinstance(value, (LazyArray, np.ndarray))
        and value.ndim == 0
        and (value.dtype.kind in "biuf")
    )


def _is_for(parameter: Any, dtype: str, shape: tuple[int, ...]) -> bool:
    wanted = parameter.shape
    return str(np.dtype(parameter.dtype)) == dtype and (
        wanted is None
        or (
            len(wanted) == len(shape)
            and all(dim in (0, -1, found) for dim, found in zip(wanted, shape, strict=True))
        )
    )


def _is_named(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _items(value: Any) -> list[tuple[Any, Any]] | None:
    """Return keys and items of a container, None of a leaf."""
    if _is_named(value):
        return _fields(value)
    if isinstance(value, Mapping) and not hasattr(value, "tocsr"):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, (list, tuple)) else None


def _kind(value: Any) -> str:
    if isinstance(value, (LazyArray, np.ndarray)):
        return "array"
    if isinstance(value, SparseArray):
        return "sparse"
    if _items(value) is not None:
        return "list" if isinstance(value, (list, tuple)) and not _is_named(value) else "dict"
    if isinstance(value, _PLAIN) and not isinstance(value, np.generic):
        return "plain"
    if hasattr(value, "shape") and hasattr(value, "dtype"):  # also what only describes an array
        return "array"
    if _host.is_arraylike(value):
        return "array"
    return "sparse" if _host.to_sparse(value) is not None else "plain"


def _signature(array: Any) -> tuple[str, tuple[int, ...]]:
    if isinstance(array, LazyArray):
        return array._entry.dtype, array.shape
    if not hasattr(array, "dtype"):
        host, name = _host.to_host(array, "")
        return name, host.shape
    try:
        name = _dtype.name_of(np.dtype(array.dtype))
    except TypeError:
        name = str(array.dtype).removeprefix("torch.")
    return name, tuple(array.shape)


def _told(value: Any) -> str:
    """Return, for a message, what a part of a tree is."""
    kind = _kind(value)
    if kind == "array":
        dtype, shape = _signature(value)
        return f"{dtype} of shape {shape}"
    if kind == "sparse":
        return f"a sparse array of shape {tuple(value.shape)}"
    if kind in ("dict", "list"):
        return f"a {kind} of {len(value)}"
    return "None" if value is None else described(value)


# ---- into what a template says ------------------------------------------------------------------


def rebuilt(saved: Any, like: Any) -> Any:
    """Return what was saved in a template's containers and kinds of arrays: new, all of it.

    Where the template has an object there is its state, arrays as the object's own.
    """
    if _takes_state(like):
        return _tensors(saved) if _belongs_to_torch(like) else saved
    items = _items(like)
    if items is None:
        return _as(saved, like)
    if isinstance(like, Mapping):
        new = {key: rebuilt(saved[key], item) for key, item in items}
        return OrderedDict(new) if type(like) is OrderedDict else new
    keys = [key for key, _ in items]
    parts = [rebuilt(saved[key], item) for key, item in zip(keys, like, strict=True)]
    if _is_named(like):
        return type(like)(*parts)
    return tuple(parts) if isinstance(like, tuple) else parts


def _as(array: Any, like: Any) -> Any:
    """Return a leaf as one of the library that another one is of."""
    if _is_number(array) and _is_number(like):
        if isinstance(like, np.ndarray):
            return np.array(array, like.dtype)
        number = array.item() if isinstance(array, np.ndarray) else array
        return like.dtype.type(number) if isinstance(like, np.generic) else number
    if not isinstance(array, np.ndarray):
        return array
    if isinstance(like, np.ndarray):
        return array.view(type(like)) if type(like) is not np.ndarray else array
    if _is_torch(like, "Tensor"):
        return _tensor(array).to(like.device)
    jax: Any = sys.modules.get("jax")
    if jax is not None and isinstance(like, getattr(jax, "Array", ())):
        return jax.numpy.asarray(array)
    return array


def _tensor(array: Any) -> Any:
    torch: Any = sys.modules["torch"]
    name = _dtype.name_of(array.dtype)
    if name == "bfloat16" or name.startswith("float8_"):
        bits = np.uint8 if array.itemsize == 1 else np.int16
        return torch.from_numpy(array.view(bits)).view(getattr(torch, name))
    return torch.from_numpy(array)


def _belongs_to_torch(value: Any) -> bool:
    return any(kind.__module__.partition(".")[0] == "torch" for kind in type(value).__mro__)


def _tensors(tree: Any) -> Any:
    """Return a tree with tensors of torch in place of its arrays."""
    if isinstance(tree, dict):
        return {key: _tensors(item) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(map(_tensors, tree))
    return _tensor(tree) if isinstance(tree, np.ndarray) else tree


# ---- into what exists ---------------------------------------------------------------------------


def places(saved: Any, out: Any) -> dict[str, Any]:
    """Return the arrays of a tree that are to be filled in place, by the names of the entries.

    `saved` has lazy arrays. What cannot be filled, such as JAX's arrays, is not among them.
    """
    found: dict[str, Any] = {}
    _collect(saved, out, found)
    return found


def _collect(saved: Any, out: Any, found: dict[str, Any]) -> None:
    if _takes_state(out):
        return
    items = _items(out)
    if items is not None:
        for key, item in items:
            _collect(saved[key], item, found)
    elif (
        isinstance(saved, LazyArray)
        and not (_is_number(saved) and not _fits(saved, out))
        and (
            isinstance(out, np.ndarray)
            or (_is_torch(out, "Tensor") and not _host.is_elsewhere(out))
        )
    ):
        found[saved.name] = out


def _fits(saved: LazyArray, out: Any) -> bool:
    return not isinstance(out, np.ndarray) or (out.ndim == 0 and out.dtype == saved.dtype)


def _takes_state(out: Any) -> bool:
    """Say whether an object takes its state as a whole."""
    return type(out) not in _ORDINARY and (
        isinstance(out, random.Random)
        or _is_torch(out, "Generator")
        or isinstance(out, (np.random.Generator, np.random.BitGenerator, np.random.RandomState))
        or _is_gluon(out, "block", "Block")
        or _is_gluon(out, "_parameter", "Parameter")
        or _has_state(out)
    )


def put(saved: Any, out: Any, arrays: Mapping[str, Any], path: str = "") -> Any:
    """Put what was saved into a tree: objects get their states, dicts and lists their items.

    `arrays` are those of the file by name, filled in place or new. Returns `out`, but for
    what cannot be changed, in place of which a new thing stands.
    """
    if _takes_state(out):
        try:
            _put_state(_read(saved, arrays), out)
        except Exception as error:
            if hasattr(error, "add_note"):  # Python 3.11
                error.add_note(f"{quote(path) if path else 'it'} was given its saved state")
            raise
        return out
    items = _items(out)
    if items is None:
        return _put_leaf(saved, out, arrays)
    parts = {
        key: put(saved[key], item, arrays, f"{path}/{key}" if path else str(key))
        for key, item in items
    }
    if _is_named(out):
        return type(out)(*parts.values())
    if isinstance(out, tuple):
        return tuple(parts.values())
    for key, part in parts.items():
        if part is not out[key]:
            out[key] = part
    return out


def _put_leaf(saved: Any, out: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(saved, LazyArray):
        array = arrays[saved.name]
        if array is out:
            return out
        if _is_torch(out, "Tensor"):
            with sys.modules["torch"].no_grad():
                out.copy_(_tensor(array))
            return out
        return _put_number(_as(array, out), out)
    return _put_number(_as(_read(saved, arrays), out), out)


def _put_number(value: Any, out: Any) -> Any:
    """Fill an array without dimensions in place; all else is what it is."""
    if isinstance(out, np.ndarray) and isinstance(value, np.ndarray) and out.ndim == 0:
        out[...] = value
        return out
    return value


def _read(saved: Any, arrays: Mapping[str, Any]) -> Any:
    """Return a tree with the arrays themselves in place of lazy ones."""
    if isinstance(saved, LazyArray):
        return arrays[saved.name]
    if isinstance(saved, dict):
        return {key: _read(item, arrays) for key, item in saved.items()}
    if isinstance(saved, (list, tuple)):
        return type(saved)(_read(item, arrays) for item in saved)
    if isinstance(saved, SparseArray):
        parts = {part: _read(array, arrays) for part, array in saved.parts.items()}
        return SparseArray(saved.stype, saved.shape, **parts)
    return saved


def _put_state(saved: Any, out: Any) -> None:
    if isinstance(out, np.random.Generator):
        out.bit_generator.state = saved
    elif isinstance(out, np.random.BitGenerator):
        out.state = saved
    elif isinstance(out, np.random.RandomState):
        out.set_state(saved)
    elif isinstance(out, random.Random):
        out.setstate(saved)
    elif _is_torch(out, "Generator"):
        out.set_state(_tensor(saved))
    elif _is_gluon(out, "block", "Block"):
        out.load_dict(saved)
    elif _is_gluon(out, "_parameter", "Parameter"):
        out.set_data(saved)
    else:
        out.load_state_dict(_tensors(saved) if _belongs_to_torch(out) else saved)
