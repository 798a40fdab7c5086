# SPDX-License-Identifier: Apache-2.0
"""MXNet's checkpoints: a symbol, and the parameters of an epoch.

``PREFIX-symbol.json`` is the network as text, which mxio keeps as it is;
``PREFIX-0012.params`` are its arrays after epoch 12, named ``arg:NAME`` (what is trained)
and ``aux:NAME`` (running means and the like). The functions are those of MXNet's
``mx.model``.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from typing import Any, TypeVar

from mxio import _file, nd
from mxio._source import create, open_source
from mxio.errors import FormatError, described, quote

__all__ = ["load_checkpoint", "load_params", "save_checkpoint", "split_params"]

Prefix = str | os.PathLike[str]
Params = dict[str, Any]
T = TypeVar("T")

_NAMED_AT_MOST = 3  # names in a message


def load_checkpoint(prefix: Prefix, epoch: int) -> tuple[str | None, Params, Params]:
    """Load a checkpoint: the symbol's text, the arguments, the auxiliary states.

    Parameters
    ----------
    prefix : str or os.PathLike
        What the names of the files begin with.
    epoch : int
        Four digits of the name; more where it is above 9999.

    Returns
    -------
    symbol : str or None
        The JSON text of ``PREFIX-symbol.json``; None if there is no such file, where
        MXNet fails.
    arg_params, aux_params : dict of str to NDArray

    Raises
    ------
    FileNotFoundError
        There is no ``PREFIX-EPOCH.params``.
    FormatError
        A file is not valid, or an array's name begins with neither ``arg:`` nor ``aux:``.

    Examples
    --------
    >>> from mxio import model, nd
    >>> model.save_checkpoint('ck', 5, None, {'fc_bias': nd.zeros(3)}, {})
    >>> symbol, arg, aux = model.load_checkpoint('ck', 5)
    >>> symbol, arg['fc_bias'].shape, aux
    (None, (3,), {})
    """
    arg_params, aux_params = load_params(prefix, epoch)
    try:
        file = open_source(_symbol_path(prefix))
    except FileNotFoundError:
        return None, arg_params, aux_params
    try:
        text = file.get(0, file.nbytes)
    finally:
        file.close()
    try:
        return text.decode(), arg_params, aux_params
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{file.name} is not a symbol: it is not UTF-8 at offset {error.start}", error.start
        ) from None


def load_params(prefix: Prefix, epoch: int) -> tuple[Params, Params]:
    """Load the arguments and the auxiliary states of a checkpoint; see `load_checkpoint`."""
    path = _params_path(prefix, epoch)
    arrays = nd.load(path)
    if not arrays:  # MXNet's files do not tell an empty dict from an empty list
        return {}, {}
    if not isinstance(arrays, dict):
        raise FormatError(f"{path} is not a checkpoint: its arrays have no names")
    try:
        return split_params(arrays)
    except ValueError as error:
        raise FormatError(f"{path} is not a checkpoint: {error}") from None


def save_checkpoint(
    prefix: Prefix,
    epoch: int,
    symbol: str | None,
    arg_params: Mapping[str, Any],
    aux_params: Mapping[str, Any],
    *,
    sync: bool = True,
) -> None:
    """Save a checkpoint in MXNet's format, which MXNet 1.x and `load_checkpoint` load.

    Each file is replaced whole or not at all; the parameters first.

    Parameters
    ----------
    prefix, epoch
        As in `load_checkpoint`.
    symbol : str or None
        JSON text, ``symbol.tojson()`` in MXNet; None writes no ``PREFIX-symbol.json``.
    arg_params, aux_params : mapping of str to array
        May be empty.
    sync : bool, default True
        As in ``mxio.save``.

    Raises
    ------
    TypeError, ValueError
        Something cannot be saved: named, before anything is written.
    OSError
        The system said no.
    """
    path = _params_path(prefix, epoch)
    if symbol is not None and not isinstance(symbol, str):
        raise TypeError(f"symbol is JSON text or None, not {described(symbol)}; use .tojson()")
    arrays = {}
    for kind, params in (("arg", arg_params), ("aux", aux_params)):
        for name, array in params.items():
            if not isinstance(name, str):
                raise TypeError(f"{kind}_params has {described(name)} for a name; use a str")
            arrays[f"{kind}:{name}"] = array
    if symbol is None:
        _file.save(path, arrays, format="mxnet", sync=sync)
        return
    text = symbol.encode()
    file = create(_symbol_path(prefix))
    try:
        file.put(text, 0)
        _file.save(path, arrays, format="mxnet", sync=sync)
        file.commit(sync)
    finally:
        file.close()


def split_params(arrays: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """Return what is named ``arg:NAME`` and what is named ``aux:NAME``, under the bare names.

    Raises
    ------
    ValueError
        A name begins with neither; some are named. MXNet raises too where there is no
        colon, and drops an array of another kind without a word, which mxio does not.

    Examples
    --------
    >>> split_params({'arg:w': 1, 'aux:mean': 2})
    ({'w': 1}, {'mean': 2})
    """
    split: dict[str, dict[str, T]] = {"arg": {}, "aux": {}}
    strange = []
    for full, array in arrays.items():
        kind, colon, name = full.partition(":")
        if colon and kind in split:
            split[kind][name] = array
        else:
            strange.append(full)
    if strange:
        named = ", ".join(map(quote, strange[:_NAMED_AT_MOST]))
        more = f" and {len(strange) - _NAMED_AT_MOST} more" if len(strange) > _NAMED_AT_MOST else ""
        raise ValueError(
            f"{named}{more} of {len(arrays)} arrays begin with neither 'arg:' nor 'aux:'; "
            "mxio.load gives the arrays as they are named"
        )
    return split["arg"], split["aux"]


def _params_path(prefix: Prefix, epoch: int) -> str:
    number = operator.index(epoch)
    if number < 0:
        raise ValueError(f"an epoch is 0 or more, not {number}")
    return f"{_checked(prefix)}-{number:04d}.params"


def _symbol_path(prefix: Prefix) -> str:
    return f"{_checked(prefix)}-symbol.json"


def _checked(prefix: Prefix) -> str:
    path = os.fspath(prefix) if isinstance(prefix, os.PathLike) else prefix
    if not isinstance(path, str):
        raise TypeError(f"prefix is a str or os.PathLike, not {described(prefix)}")
    return path.removeprefix("file://")
