# SPDX-License-Identifier: Apache-2.0
"""Parameters by full name: a block's own, or all of a network."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np

from mxio import _file, initializer
from mxio.context import Context
from mxio.errors import ParameterError
from mxio.gluon import _restore, _shapes
from mxio.gluon._parameter import Constant, Ctx, Parameter, context_list
from mxio.gluon._shapes import Shape
from mxio.nd.ndarray import dtype_of

__all__ = ["ParameterDict"]


class ParameterDict:
    """Parameters by full name, in the order they were made: a block's own, or a network's.

    Parameters
    ----------
    prefix : str
        Put before the names given to `get`.
    shared : ParameterDict, optional
        Where `get` looks for parameters first: what two blocks share.
    """

    def __init__(self, prefix: str = "", shared: ParameterDict | None = None) -> None:
        self._prefix = prefix
        self._params: dict[str, Parameter] = {}
        self._shared = shared

    def __repr__(self) -> str:
        name = f"{self._prefix} " if self._prefix else ""
        rows = "\n".join(f"  {parameter!r}" for parameter in self.values())
        return f"{name}(\n{rows}\n)"

    def __getitem__(self, key: str) -> Parameter:
        return self._params[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __contains__(self, key: object) -> bool:
        return key in self._params

    def items(self) -> Iterable[tuple[str, Parameter]]:
        """Return pairs of full name and parameter."""
        return self._params.items()

    def keys(self) -> Iterable[str]:
        """Return the full names."""
        return self._params.keys()

    def values(self) -> Iterable[Parameter]:
        """Return the parameters."""
        return self._params.values()

    @property
    def prefix(self) -> str:
        """What stands before the names given to `get`."""
        return self._prefix

    def _find(self, name: str) -> Parameter | None:
        if name not in self._params and self._shared is not None and name in self._shared._params:
            self._params[name] = self._shared._params[name]
        return self._params.get(name)

    def get(self, name: str, **kwargs: Any) -> Parameter:
        """Return the parameter ``prefix + name``, made with these arguments if it is new.

        Raises
        ------
        ParameterError
            It is there, and an argument says otherwise.
        """
        full = self._prefix + name
        found = self._find(full)
        if found is None:
            found = self._params[full] = Parameter(full, **kwargs)
            return found
        for key, wanted in kwargs.items():
            stored = getattr(found, key, None)
            if key == "shape" and wanted is not None and stored is not None:
                shape = cast(Shape, _shapes.plain(wanted))
                if _shapes.fits(stored, shape) or _shapes.fits(shape, stored):
                    found.shape = tuple(a or b for a, b in zip(stored, shape, strict=True))
                    continue
            elif key == "dtype" and stored is not None and wanted is not None:
                if dtype_of(stored) == dtype_of(wanted):
                    continue
            elif wanted is None or stored is None or stored == wanted:
                if stored is None and hasattr(found, key):
                    setattr(found, key, wanted)
                continue
            raise ParameterError(
                f"Cannot retrieve Parameter '{full}' because desired attribute does not match "
                f"with stored for attribute '{key}': desired '{wanted}' vs stored '{stored}'."
            )
        return found

    def get_constant(self, name: str, value: Any = None) -> Constant:
        """Return the constant ``prefix + name``, made with this value if it is new.

        Raises
        ------
        KeyError
            It is not there, and no value is given.
        ParameterError
            It is there with another value, or is no constant.
        """
        full = self._prefix + name
        found = self._find(full)
        if found is None:
            if value is None:
                raise KeyError(
                    f"No constant named '{full}'. Please specify value if you want to create a "
                    "new constant."
                )
            found = self._params[full] = Constant(full, value)
        if not isinstance(found, Constant):
            raise ParameterError(f"Parameter '{full}' already exists but it is not a constant.")
        if value is not None and not np.array_equal(np.asarray(value), np.asarray(found.value)):
            raise ParameterError(
                f"Constant '{full}' already exists with another value: {found.value} vs {value}"
            )
        return found

    def update(self, other: ParameterDict | Mapping[str, Parameter]) -> None:
        """Take in the parameters of another one.

        Raises
        ------
        ParameterError
            Another parameter has one of the names.
        """
        own = self._params
        for name, parameter in other.items():
            if own.setdefault(name, parameter) is not parameter:
                raise ParameterError(
                    "Cannot update self with other because they have different Parameters with "
                    f"the same name '{name}'"
                )

    def initialize(
        self,
        init: Any = None,
        ctx: Ctx = None,
        verbose: bool = False,
        force_reinit: bool = False,
    ) -> None:
        """Initialize every parameter; see `Parameter.initialize`.

        Parameters
        ----------
        init : Initializer or str, optional
            For parameters that have none of their own; None is ``Uniform(0.07)``.
        verbose : bool
            For MXNet's sake.
        """
        default = initializer.create("uniform" if init is None else init)
        for parameter in self.values():
            parameter.initialize(None, ctx, default, force_reinit=force_reinit)

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for parameter in self.values():
            parameter.zero_grad()

    def reset_ctx(self, ctx: Ctx) -> None:
        """Label all parameters with other contexts."""
        for parameter in self.values():
            parameter.reset_ctx(ctx)

    def list_ctx(self) -> list[Context]:
        """Return all contexts that the parameters are on."""
        contexts = itertools.chain.from_iterable(p.list_ctx() for p in self.values())
        return list(dict.fromkeys(contexts))

    def setattr(self, name: str, value: Any) -> None:
        """Set an attribute of every parameter: ``params.setattr('grad_req', 'null')``."""
        for parameter in self.values():
            setattr(parameter, name, value)

    def save(
        self,
        filename: str | os.PathLike[str],
        strip_prefix: str = "",
        *,
        format: str | None = None,
        **options: Any,
    ) -> None:
        """Save the parameters under their full names.

        ``Block.save_parameters`` is the better choice: full names depend on what else a
        program made before the network.

        Parameters
        ----------
        filename : str or os.PathLike
        strip_prefix : str
            Cut from the names.
        format : str, optional
            mxio's own; ``'mxnet'`` is what MXNet reads.
        **options
            As in ``mxio.save``.

        Raises
        ------
        ValueError
            A name does not start with `strip_prefix`.
        DeferredInitializationError, RuntimeError
            A parameter has no value; the file is as it was.
        """
        arrays = {}
        for name, parameter in self.items():
            if not name.startswith(strip_prefix):
                raise ValueError(
                    f"Prefix '{strip_prefix}' is to be stripped before saving, but Parameter's "
                    f"name '{name}' does not start with '{strip_prefix}': the block shares "
                    "parameters of others, or made its children outside of name_scope()."
                )
            arrays[name.removeprefix(strip_prefix)] = parameter._reduced()
        _file.save(filename, arrays, format=format, **options)

    def load(
        self,
        filename: Any,
        ctx: Ctx = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        restore_prefix: str = "",
        cast_dtype: bool = False,
        dtype_source: str = "current",
        **options: Any,
    ) -> None:
        """Load parameters by their full names, all or none.

        Parameters
        ----------
        filename : str, os.PathLike, bytes-like or binary file object
            Of any format that mxio reads; ``arg:`` and ``aux:`` are cut from its names.
        restore_prefix : str
            Put before the names in the file.
        ctx, allow_missing, ignore_extra, cast_dtype, dtype_source, **options
            As in ``Block.load_parameters``.

        Raises
        ------
        ParameterError
            The file and the parameters do not go together; none has changed then.
        """
        for name in self.keys() if restore_prefix else ():
            if not name.startswith(restore_prefix):
                raise ParameterError(
                    f"restore_prefix is '{restore_prefix}' but the name of Parameter '{name}' "
                    f"does not start with '{restore_prefix}'."
                )
        _restore.restore(
            filename,
            _restore.Model({}, lambda: self._params, restore_prefix, exact=True),
            contexts=None if ctx is None else context_list(ctx),
            allow_missing=allow_missing,
            ignore_extra=ignore_extra,
            cast_dtype=cast_dtype,
            dtype_source=dtype_source,
            **options,
        )
