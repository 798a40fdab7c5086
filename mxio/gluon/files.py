# SPDX-License-Identifier: Apache-2.0
"""Networks from files, and the parameters of any other model.

A model is a Block, a mapping of arrays by name (nested ones too: names are joined by dots),
or a ``torch.nn.Module``, which is its ``state_dict``. No library is imported for it: what made
a model is there already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from mxio import _file, _host
from mxio._reader import Reader
from mxio.context import Context
from mxio.errors import FormatError, ParameterError, described, quote
from mxio.gluon import _restore, architecture
from mxio.gluon._parameter import Ctx
from mxio.gluon.block import Block
from mxio.nd.ndarray import dtype_of

__all__ = ["load", "load_parameters", "save_parameters"]

Array = np.ndarray[Any, Any]


def load(
    path: Any,
    ctx: Ctx = None,
    *,
    verify: bool | None = None,
    threads: int | None = None,
) -> Block:
    """Build the network in a file that ``net.save`` wrote, and load its parameters.

    Classes of your own must be registered (`register`) before. Nothing in the file is
    executed: it names classes and their arguments, and holds arrays.

    Parameters
    ----------
    path : str, os.PathLike, bytes-like or binary file object
    ctx : Context or list of Context, optional
    verify, threads
        As in ``mxio.load``.

    Returns
    -------
    Block

    Raises
    ------
    FormatError
        The file is damaged, or holds parameters without an architecture.
    UnsupportedError
        A class is not registered.
    ParameterError
        Architecture and parameters do not go together.

    Examples
    --------
    >>> net = nn.Sequential()
    >>> net.add(nn.Dense(2, in_units=3))
    >>> net.initialize()
    >>> net.save('net.mxio')
    >>> load('net.mxio')
    Sequential(
      (0): Dense(3 -> 2, linear)
    )
    """
    with Reader(path, verify=verify, threads=threads) as reader:
        said = reader.metadata.get(architecture.KEY)
        if said is None:
            raise FormatError(
                f"{reader._file.name} holds no architecture, as net.save writes it: build the "
                "network in code, and use net.load_parameters"
            )
        network = architecture.build(said, len(reader))
        if not isinstance(network, Block):
            raise FormatError(f"the architecture is {described(network)}, no block")
        network.load_parameters(cast(Any, reader), ctx, cast_dtype=True, dtype_source="saved")
    return network


def save_parameters(model: Any, path: Any, *, format: str | None = None, **options: Any) -> None:
    """Save the parameters of a model by name.

    Parameters
    ----------
    model : Block, mapping of str to array, or torch.nn.Module
        Tensors on other devices are copied to memory one after another. What is tied (one
        memory under several names) is stored once, and tied again by `load_parameters`.
    path : str, os.PathLike or binary file object
    format : str, optional
        mxio's own, or another as in ``mxio.save``.
    **options
        As in ``mxio.save``.

    Raises
    ------
    TypeError
        It is no model, or holds something that is no array: named.

    Examples
    --------
    >>> save_parameters({'w': np.ones(3), 'layer': {'b': np.zeros(2)}}, 'w.mxio')
    >>> list(_file.load('w.mxio'))
    ['w', 'layer.b']
    """
    if isinstance(model, Block):
        model.save_parameters(path, format=format, **options)
        return
    moved: dict[Any, Any] = {}
    arrays = {name: _host.on_host(item, moved) for name, item in _items(model)}
    _file.save(path, arrays, format=format, **options)


def load_parameters(
    model: Any,
    path: Any,
    *,
    allow_missing: bool = False,
    ignore_extra: bool = False,
    cast_dtype: bool = False,
    select: _restore.Select = None,
    rename: _restore.Rename = None,
    verify: bool | None = None,
    threads: int | None = None,
    encoding: str | None = None,
) -> None:
    """Load a file into a model's parameters, in their own memory: all of them, or none.

    Parameters
    ----------
    model : Block, mapping of str to array, or torch.nn.Module
        Arrays are NumPy's, writable, or tensors of torch.
    path : str, os.PathLike, bytes-like or binary file object
        Of any format that mxio reads.
    cast_dtype : bool
        Whether dtypes may differ: the model's stay.
    allow_missing, ignore_extra, select, rename, verify, threads, encoding
        As in ``Block.load_parameters``.

    Raises
    ------
    ParameterError, ExtraParameterError, FormatError, OSError
        As ``Block.load_parameters``: no parameter has changed.
    TypeError
        It is no model, or an array of it cannot be written to: named.

    Examples
    --------
    >>> save_parameters({'w': np.ones(3), 'layer': {'b': np.zeros(2)}}, 'model.mxio')
    >>> model = {'w': np.zeros(3), 'layer': {'b': np.ones(2)}}
    >>> load_parameters(model, 'model.mxio')
    >>> model['w']
    array([1., 1., 1.])
    """
    rules: dict[str, Any] = dict(
        allow_missing=allow_missing,
        ignore_extra=ignore_extra,
        cast_dtype=cast_dtype,
        select=select,
        rename=rename,
        verify=verify,
        threads=threads,
        encoding=encoding,
    )
    if isinstance(model, Block):
        model.load_parameters(path, **rules)
        return
    places: dict[Any, _Place] = {}
    slots: dict[str, _Place] = {}
    for name, item in _items(model):
        place = _place(name, item)
        # What lies in one memory is one place, with two names.
        slots[name] = places.setdefault(place.identity, place)
    _restore.restore(path, _restore.Model(slots), **rules)


def _items(model: Any) -> list[tuple[str, Any]]:
    """Return the arrays of a model by name."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        model = model.state_dict()
    if not isinstance(model, Mapping):
        raise TypeError(
            "a model is a Block, a mapping of arrays by name or a torch.nn.Module, not "
            f"{described(model)}"
        )
    found: dict[str, Any] = {}
    _collect(model, "", found)
    return list(found.items())


def _collect(mapping: Mapping[Any, Any], path: str, found: dict[str, Any]) -> None:
    for key, item in mapping.items():
        if not isinstance(key, str):
            raise TypeError(f"a model's names are str, but {key!r} is {described(key)}")
        name = f"{path}.{key}" if path else key
        if isinstance(item, Mapping):
            _collect(item, name, found)
            continue
        if not _host.is_arraylike(item):
            raise TypeError(f"{quote(name)} is {described(item)}, no array")
        if name in found:
            raise ValueError(f"the model has {quote(name)} twice, once in nested mappings")
        found[name] = item


class _Place:
    """An array of a model, as what a file is read into (`_restore`)."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.identity: Any = None
        self._memory: list[Array] | None = None
        self._tensor: Any = None

    def _state(self) -> tuple[tuple[int, ...], Any, list[Array] | None]:
        return self.shape, self.dtype, self._memory

    def _refusal(self, contexts: list[Context]) -> str | None:
        return None

    def _adopt(self, array: Array, contexts: list[Context], is_other: bool) -> None:
        """Copy to where the host cannot write."""
        torch: Any = sys.modules["torch"]
        bits = array.view(np.int16) if self.dtype.name == "bfloat16" else array
        tensor = torch.from_numpy(bits)
        if bits is not array:
            tensor = tensor.view(torch.bfloat16)
        with torch.no_grad():
            self._tensor.copy_(tensor)


def _place(name: str, item: Any) -> _Place:
    if _host.is_elsewhere(item):
        if item.is_meta:
            raise ParameterError(
                f"{quote(name)} is on the meta device and has no memory to load into: give the "
                "module some by module.to_empty(device='cpu')"
            )
        dtype = dtype_of(str(item.dtype).removeprefix("torch."))
        place = _Place(name, tuple(item.shape), dtype)
        place.identity = (item.data_ptr(), place.shape, item.stride(), dtype)
        place._tensor = item.detach()
        return place
    host, word = _host.to_host(item, name)
    dtype = dtype_of(word)
    if host.dtype != dtype:
        host = host.view(dtype)
    if not host.flags.writeable or (host.base is None and host is not item):
        raise ParameterError(
            f"{quote(name)} is {described(item)} that cannot be written to, so nothing can be "
            "loaded into it: use mxio.load, which makes new arrays"
        )
    place = _Place(name, host.shape, dtype)
    place.identity = (host.ctypes.data, host.shape, host.strides, dtype) if host.size else name
    place._memory = [host]
    return place
