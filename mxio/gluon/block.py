# SPDX-License-Identifier: Apache-2.0
"""Blocks: networks as trees of named parts, and their parameters in files.

Names, scopes, printed forms and the rules of loading are those of MXNet 1.9.1, measured,
except where a load there could leave a network half changed. Forward passes are NumPy's, for
inference: mxio computes no gradients.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from mxio import _file, nd
from mxio.errors import ParameterError
from mxio.gluon import _restore, architecture
from mxio.gluon._parameter import Ctx, Parameter, context_list
from mxio.gluon._parameter_dict import ParameterDict
from mxio.name import NameManager, current
from mxio.nd.ndarray import NDArray

__all__ = ["Block", "HybridBlock"]

_Block = TypeVar("_Block", bound="Block")


# ---- names -----------------------------------------------------------------------------------


class _Entered(threading.local):
    """The scopes a thread has entered by ``with``, innermost last."""

    def __init__(self) -> None:
        self.stack: list[_Scope | None] = []


_entered = _Entered()


class _Scope:
    """What ``with block.name_scope():`` enters: children made inside carry the block's prefix.

    That of a block made with ``prefix=''`` leaves the scope around it in force, as in MXNet.
    """

    def __init__(self, prefix: str, params: ParameterDict, is_empty: bool) -> None:
        self.prefix = prefix
        self.params = params
        self.names = NameManager()
        self._is_empty = is_empty

    def __enter__(self) -> _Scope:
        stack = _entered.stack
        stack.append((stack[-1] if stack else None) if self._is_empty else self)
        return self

    def __exit__(self, *exc: object) -> None:
        _entered.stack.pop()


def _named(
    prefix: str | None, params: ParameterDict | None, hint: str
) -> tuple[str, ParameterDict]:
    """Return the prefix of a new block, and the dict for its own parameters."""
    scope = _entered.stack[-1] if _entered.stack else None
    if scope is None:
        full, shared = f"{current().get(None, hint)}_" if prefix is None else prefix, None
    else:
        own = f"{scope.names.get(None, hint)}_" if prefix is None else prefix
        full = scope.prefix + own
        shared = scope.params._shared
    if params is None:
        return full, ParameterDict(full, shared)
    return full, ParameterDict(params.prefix, params)


# ---- blocks ----------------------------------------------------------------------------------


class Block(architecture.Described):
    """A part of a network: parameters, child blocks and a ``forward``.

    Parameters and blocks that are assigned to attributes are registered under the names of
    the attributes: ``net.hidden.weight`` is ``hidden.weight`` in a file.

    Parameters
    ----------
    prefix : str, optional
        Of the full names of its parameters. None: the class's name in lower case and a
        number; inside of ``with parent.name_scope():`` after the parent's prefix.
    params : ParameterDict, optional
        Of another block, whose parameters this one shares.

    Examples
    --------
    >>> from mxio.gluon import nn
    >>> class MLP(Block):
    ...     def __init__(self, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.hidden = nn.Dense(4, activation='relu')
    ...     def forward(self, x):
    ...         return self.hidden(x)
    >>> net = MLP()
    >>> net.initialize()
    >>> net(nd.ones((2, 3))).shape
    (2, 4)
    """

    _params: ParameterDict

    def __init__(self, prefix: str | None = None, params: ParameterDict | None = None) -> None:
        if prefix is not None and not isinstance(prefix, str):
            raise TypeError(f"a prefix is a str, not {type(prefix).__name__}")
        self._children: dict[str, Block] = {}
        self._reg_params: dict[str, Parameter] = {}
        self._prefix, self._params = _named(prefix, params, self._alias())
        self._name = self._prefix.removesuffix("_")
        self._scope = _Scope(self._prefix, self._params, prefix == "")
        self._hooks_before: dict[int, Callable[..., Any]] = {}
        self._hooks_after: dict[int, Callable[..., Any]] = {}

    def _alias(self) -> str:
        """Return what the block is called in the prefix it gets where none is given."""
        return type(self).__name__.lower()

    def __repr__(self) -> str:
        blocks = [(name, item) for name, item in vars(self).items() if isinstance(item, Block)]
        return self._shown(blocks)

    def _shown(self, blocks: list[tuple[str, Block]]) -> str:
        rows = [f"  ({name}): " + repr(block).replace("\n", "\n  ") for name, block in blocks]
        return "{}(\n{}\n)".format(type(self).__name__, "\n".join(rows))

    def __setattr__(self, name: str, value: Any) -> None:
        existing = vars(self).get(name)
        if isinstance(existing, (Parameter, Block)) and not isinstance(value, type(existing)):
            raise TypeError(
                f"Changing attribute type for {name} from {type(existing)} to {type(value)} is "
                "not allowed."
            )
        if isinstance(value, (Block, Parameter)) and "_children" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__}.__init__ assigns {name!r} before it calls "
                "super().__init__(**kwargs)"
            )
        if isinstance(value, Block):
            self.register_child(value, name)
        elif isinstance(value, Parameter):
            if self._reg_params.get(name, value) is not value:
                raise ParameterError(
                    f"Overriding Parameter attribute {name} is not allowed. If you want to share "
                    "parameters between blocks, please set 'params' at Block construction instead."
                )
            self._reg_params[name] = value
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        vars(self).get("_children", {}).pop(name, None)
        vars(self).get("_reg_params", {}).pop(name, None)
        super().__delattr__(name)

    @property
    def prefix(self) -> str:
        """The beginning of the full names of the block's parameters."""
        return self._prefix

    @property
    def name(self) -> str:
        """The prefix without the underscore at its end."""
        return self._name

    @property
    def params(self) -> ParameterDict:
        """The block's own parameters, without its children's; `collect_params` has all."""
        return self._params

    def name_scope(self) -> _Scope:
        """Return a context manager: blocks made inside carry this block's prefix."""
        return self._scope

    def register_child(self, block: Block, name: str | None = None) -> None:
        """Register a child block, named by its number where no name is given."""
        self._children[str(len(self._children)) if name is None else name] = block

    def apply(self: _Block, fn: Callable[[Block], Any]) -> _Block:
        """Call a function with every child, depth first, and with this block."""
        for child in self._children.values():
            child.apply(fn)
        fn(self)
        return self

    # ---- parameters ----

    def collect_params(self, select: str | None = None) -> ParameterDict:
        """Return the parameters of this block and its children, by full name.

        Parameters
        ----------
        select : str, optional
            A regular expression; names that begin with a match are returned.
        """
        self._warn_of_containers()
        found = ParameterDict(self._params.prefix)
        wanted = re.compile("" if select is None else select)
        found.update({name: p for name, p in self._params.items() if wanted.match(name)})
        for child in self._children.values():
            found.update(child.collect_params(select))
        return found

    def _warn_of_containers(self) -> None:
        children = {id(child) for child in self._children.values()}
        for name, value in vars(self).items():
            if name.startswith("_") or not isinstance(value, (list, tuple, dict)):
                continue
            items = value.values() if isinstance(value, dict) else value
            if any(isinstance(item, Block) and id(item) not in children for item in items):
                warnings.warn(
                    f'"{type(self).__name__}.{name}" is an unregistered container with Blocks. '
                    "Note that Blocks inside the list, tuple or dict will not be registered "
                    "automatically. Make sure to register them using register_child() or "
                    "switching to nn.Sequential/nn.HybridSequential instead.",
                    stacklevel=3,
                )

    def _collect_params_with_prefix(self, prefix: str = "") -> dict[str, Parameter]:
        """Return the parameters of this block and its children by structure name."""
        found: dict[str, Parameter] = {}
        self._collect_named(f"{prefix}." if prefix else "", found)
        return found

    def _collect_named(self, path: str, found: dict[str, Parameter]) -> None:
        """Collect parameters by structure name below a path: for subclasses, too."""
        for name, parameter in self._reg_params.items():
            found[path + name] = parameter
        for name, child in self._children.items():
            child._collect_named(f"{path}{name}.", found)

    def initialize(
        self,
        init: Any = None,
        ctx: Ctx = None,
        verbose: bool = False,
        force_reinit: bool = False,
    ) -> None:
        """Initialize all parameters, those of unknown shape as soon as it is known.

        Parameters
        ----------
        init : Initializer or str, optional
            For parameters without one of their own; None is ``Uniform(0.07)``.
        ctx : Context or list of Context, optional
        verbose : bool
            For MXNet's sake.
        force_reinit : bool
            Whether to replace values that are there; else that warns.
        """
        self.collect_params().initialize(init, ctx, verbose, force_reinit)

    def cast(self, dtype: Any) -> None:
        """Convert all parameters to another dtype."""
        for child in self._children.values():
            child.cast(dtype)
        for parameter in self._params.values():
            parameter.cast(dtype)

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:
        """Do nothing but tell the children: there is no graph to compile."""
        for child in self._children.values():
            child.hybridize(active, **kwargs)

    def reset_ctx(self, ctx: Ctx) -> None:
        """Label all parameters with other contexts."""
        self.collect_params().reset_ctx(ctx)

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        self.collect_params().zero_grad()

    def setattr(self, name: str, value: Any) -> None:
        """Set an attribute of every parameter."""
        self.collect_params().setattr(name, value)

    def _rename(self, prefix: str, new: Mapping[str, str], done: set[int]) -> None:
        """Take another prefix, as do the parameters that are named after old ones."""
        owner = self._params._prefix
        self._prefix = self._scope.prefix = prefix
        self._name = prefix.removesuffix("_")
        self._params._prefix = new.get(owner, owner)
        parameters = list(self._params.values())
        for parameter in parameters:
            if id(parameter) not in done:
                done.add(id(parameter))
                parameter.name = self._params._prefix + parameter.name.removeprefix(owner)
        self._params._params = {parameter.name: parameter for parameter in parameters}

    # ---- files ----

    def _model(self) -> _restore.Model:
        structure = self._collect_params_with_prefix()
        return _restore.Model(structure, self._full_names, self._prefix, self._older)

    def _full_names(self) -> dict[str, Parameter]:
        try:
            return self.collect_params()._params
        except ParameterError:  # two parameters of one name; structure names tell them apart
            return {}

    def _older(self) -> _restore.Older:
        found = _restore.Older({}, {})
        self._collect_older("", found)
        return found

    def _collect_older(self, path: str, found: _restore.Older) -> None:
        """Collect what releases called the parameters below a path: for subclasses, too."""
        for name, child in self._children.items():
            child._collect_older(f"{path}{name}.", found)

    def save_parameters(
        self,
        filename: Any,
        deduplicate: bool = False,
        *,
        format: str | None = None,
        **options: Any,
    ) -> None:
        """Save the parameters to a file, under their structure names.

        The file appears whole or not at all, as in ``mxio.save``. A parameter that blocks
        share is stored once, under every name.

        Parameters
        ----------
        filename : str, os.PathLike or binary file object
        deduplicate : bool
            Write a shared parameter under the last of its names only, as MXNet does to
            store it once. (mxio's own format needs no such thing.)
        format : str, optional
            mxio's own; ``'mxnet'`` is what MXNet reads, byte for byte what it writes.
        **options
            ``metadata``, ``sync``, ``threads``, …: as in ``mxio.save``.

        Raises
        ------
        DeferredInitializationError, RuntimeError
            A parameter has no value. Nothing is written.
        OSError
            The system said no; the file is as it was.

        Examples
        --------
        >>> net = nn.Dense(2, in_units=3)
        >>> net.initialize()
        >>> net.save_parameters('net.params')
        """
        _file.save(filename, self._values(deduplicate), format=format, **options)

    def _values(self, deduplicate: bool) -> Any:
        parameters = self._collect_params_with_prefix()
        if deduplicate:
            last = {id(parameter): name for name, parameter in parameters.items()}
            once = {id(parameter): parameter for parameter in parameters.values()}
            parameters = {last[key]: parameter for key, parameter in once.items()}
        # A shared parameter on several contexts has one mean, so that it stays shared.
        values = {id(p): p for p in parameters.values()}
        arrays = {key: parameter._reduced() for key, parameter in values.items()}
        return {name: arrays[id(parameter)] for name, parameter in parameters.items()}

    def load_parameters(
        self,
        filename: Any,
        ctx: Ctx = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: str = "current",
        *,
        select: _restore.Select = None,
        rename: _restore.Rename = None,
        verify: bool | None = None,
        threads: int | None = None,
        encoding: str | None = None,
    ) -> None:
        """Load parameters from a file: all of them, or none, and an error that says why.

        Shapes that are not known yet come from the file. Parameters that have a value keep
        their memory, others take over what was read. Memory is filled after all is checked;
        Ctrl-C, or a disk that fails, in that last moment can leave it filled in part.

        Parameters
        ----------
        filename : str, os.PathLike, bytes-like, binary file object or Reader
            Of any format that mxio reads: its own, MXNet's of any release with structure
            or full names, safetensors, npz.
        ctx : Context or list of Context, optional
            For parameters that were not initialized; None is ``cpu(0)``.
        allow_missing : bool
            Whether parameters that the file lacks may stay as they are.
        ignore_extra : bool
            Whether the file may hold what the network lacks.
        cast_dtype : bool
            Whether dtypes may differ.
        dtype_source : {'current', 'saved'}
            With cast_dtype: whose dtype the parameter has afterwards.
        select : str, list of str or callable, optional
            Patterns (``'features.*'``) of structure names: only these are loaded, and
            only these may not be missing.
        rename : mapping or callable, optional
            From names in the file to structure names; a key of a mapping may be the
            beginning of names up to a dot: ``{'encoder': 'features.0'}``.
        verify, threads, encoding
            As in ``mxio.load``.

        Raises
        ------
        ParameterError
            Something is missing, of another shape or dtype. No parameter has changed.
        ExtraParameterError
            The file holds something that the network lacks.
        FormatError, OSError
            The file is damaged, or cannot be read. No parameter has changed.

        Examples
        --------
        >>> net = nn.Dense(2, in_units=3)
        >>> net.initialize()
        >>> net.save_parameters('net.params')
        >>> nn.Dense(2).load_parameters('net.params', select='weight')
        """
        _restore.restore(
            filename,
            self._model(),
            contexts=None if ctx is None else context_list(ctx),
            allow_missing=allow_missing,
            ignore_extra=ignore_extra,
            cast_dtype=cast_dtype,
            dtype_source=dtype_source,
            select=select,
            rename=rename,
            verify=verify,
            threads=threads,
            encoding=encoding,
        )

    def load_dict(
        self,
        param_dict: Mapping[str, Any],
        ctx: Ctx = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: str = "current",
        *,
        select: _restore.Select = None,
        rename: _restore.Rename = None,
    ) -> None:
        """Load parameters from a dict of arrays by name; as `load_parameters`."""
        if not isinstance(param_dict, Mapping):
            raise TypeError(f"load_dict takes a dict, not {type(param_dict).__name__}")
        self.load_parameters(
            param_dict,
            ctx,
            allow_missing,
            ignore_extra,
            cast_dtype,
            dtype_source,
            select=select,
            rename=rename,
        )

    def save_params(self, filename: str | os.PathLike[str], **options: Any) -> None:
        """Save under full names without the block's prefix, in MXNet's old way; deprecated.

        Options, such as ``format='mxnet'``, are those of ``mxio.save``.
        """
        warnings.warn(
            "save_params is deprecated. Please use save_parameters.",
            UserWarning,
            stacklevel=2,
        )
        self.collect_params().save(filename, strip_prefix=self._prefix, **options)

    def load_params(self, filename: Any, ctx: Ctx = None, **kwargs: Any) -> None:
        """Call `load_parameters`; deprecated."""
        warnings.warn(
            "load_params is deprecated. Please use load_parameters.", UserWarning, stacklevel=2
        )
        self.load_parameters(filename, ctx, **kwargs)

    def save(self, path: Any, *, metadata: Mapping[str, Any] | None = None, **options: Any) -> None:
        """Save architecture and parameters in one file, for ``gluon.load``.

        The architecture is JSON in the file's metadata: classes, the arguments they were
        made with, children, what is shared. Classes of your own need ``@gluon.register``.

        Parameters
        ----------
        path : str, os.PathLike or binary file object
        metadata : mapping of str to JSON values, optional
            Of your own, beside the architecture.
        **options
            As in ``mxio.save``.

        Raises
        ------
        TypeError
            The architecture cannot be said in JSON, such as a function in a Lambda.
        DeferredInitializationError, RuntimeError
            A parameter has no value.
        """
        described = architecture.describe(self)
        said = architecture.metadata_of(described, options.get("format"))
        own = {**(metadata or {}), architecture.KEY: said}
        _file.save(path, self._values(False), metadata=own, **options)

    # ---- computing ----

    def register_forward_hook(self, hook: Callable[..., Any]) -> _Hook:
        """Call ``hook(block, inputs, output)`` after each forward pass."""
        return _Hook(self._hooks_after, hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> _Hook:
        """Call ``hook(block, inputs)`` before each forward pass."""
        return _Hook(self._hooks_before, hook)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = tuple(map(_nd, args))
        for hook in tuple(self._hooks_before.values()):
            hook(self, args)
        output = self.forward(*args, **kwargs)
        for hook in tuple(self._hooks_after.values()):
            hook(self, args, output)
        return output

    def forward(self, *args: Any) -> Any:
        """Compute the output: for subclasses to define."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")


class HybridBlock(Block):
    """A block whose computation is written once for all kinds of arrays.

    Subclasses define ``hybrid_forward(self, F, x, **params)``, where F is ``mxio.nd`` and
    every parameter that is an attribute comes as an argument of its name, or ``forward``
    as for `Block`.
    """

    def register_child(self, block: Block, name: str | None = None) -> None:
        """Register a child, which must be a HybridBlock too."""
        if not isinstance(block, HybridBlock):
            raise ValueError(
                "Children of HybridBlock must also be HybridBlock, but "
                f"{type(block).__name__} is not. If you are using Sequential, please try "
                "HybridSequential instead."
            )
        super().register_child(block, name)

    def infer_shape(self, *args: Any) -> None:
        """Set the shapes of parameters from inputs, where operators cannot: for subclasses."""

    def forward(self, x: Any, *args: Any) -> Any:
        """Call ``hybrid_forward`` with the parameters."""
        if type(self).hybrid_forward is HybridBlock.hybrid_forward:
            raise NotImplementedError(
                f"{type(self).__name__} defines neither hybrid_forward nor forward"
            )
        ctx = x.context if isinstance(x, NDArray) else None
        params = {name: self._operand(p, ctx) for name, p in self._reg_params.items()}
        try:
            return self.hybrid_forward(nd, x, *args, **params)
        except ValueError as error:
            if type(error) is not ValueError or not params:
                raise
            raise ValueError(f"{self.name}, a {type(self).__name__}: {error}") from error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if type(self).infer_shape is not HybridBlock.infer_shape and any(
            p._is_deferred for p in self._reg_params.values()
        ):
            self.infer_shape(*map(_nd, args))
            for parameter in self._reg_params.values():
                parameter._finish_if_known()
        return super().__call__(*args, **kwargs)

    def _operand(self, parameter: Parameter, ctx: Any) -> Any:
        if parameter._is_deferred and not parameter._finish_if_known():
            return parameter  # the operator that uses it says its shape
        own = parameter._contexts
        return parameter.data(ctx if ctx in own else None)

    def hybrid_forward(self, F: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute the output with the operators of F: for subclasses to define."""
        raise NotImplementedError(f"{type(self).__name__} defines no hybrid_forward")

    def export(self, path: str | os.PathLike[str], epoch: int = 0, **options: Any) -> str:
        """Save the parameters as MXNet's ``export`` does, for those who load them there.

        The names are full names after ``arg:``, or ``aux:`` for what is not learned, such
        as running means. There is no graph, so no ``-symbol.json`` is written.

        Parameters
        ----------
        path : str or os.PathLike
            ``path-0000.params`` is written.
        epoch : int
            The number in the file's name.
        **options
            ``format`` (``'mxnet'`` if not given) and others, as in ``mxio.save``.

        Returns
        -------
        str
            The path of the file.

        Raises
        ------
        DeferredInitializationError, RuntimeError
            A parameter has no value.
        """
        options.setdefault("format", "mxnet")
        filename = f"{os.fspath(path)}-{epoch:04d}.params"
        arrays = {
            f"{'aux' if _is_auxiliary(parameter) else 'arg'}:{name}": parameter._reduced()
            for name, parameter in self.collect_params().items()
        }
        _file.save(filename, arrays, **options)
        return filename


def _is_auxiliary(parameter: Parameter) -> bool:
    """Whether MXNet's graph has it as a state that operators update."""
    return parameter.grad_req == "null" and parameter.name.endswith(
        ("running_mean", "running_var", "moving_mean", "moving_var")
    )


class _Hook:
    """A registered hook; ``detach`` takes it off."""

    def __init__(self, hooks: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> None:
        self._hooks = hooks
        self._hooks[id(self)] = hook

    def detach(self) -> None:
        """Take the hook off."""
        self._hooks.pop(id(self), None)

    def __enter__(self) -> _Hook:
        return self

    def __exit__(self, *exc: object) -> None:
        self.detach()


def _nd(x: Any) -> Any:
    """Return NumPy arrays as NDArrays, in the same memory, also in lists."""
    if type(x) is np.ndarray:
        return x.view(NDArray)
    if type(x) in (list, tuple):
        return type(x)(map(_nd, x))
    return x
