# SPDX-License-Identifier: Apache-2.0
"""Parameters: named arrays of a network, whose shapes and values may come later.

A dimension of 0 in a shape is one that is not known yet. It is filled by the first forward
pass, or by a file. Names, defaults and printed forms are those of MXNet 1.9.1, measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from mxio import initializer
from mxio.context import Context, current_context
from mxio.errors import DeferredInitializationError, ParameterError
from mxio.gluon import _shapes, architecture
from mxio.gluon._shapes import Shape
from mxio.nd.ndarray import NDArray, dtype_of, wrap

__all__ = ["Constant", "Ctx", "Parameter", "context_list"]

Array = np.ndarray[Any, Any]
Ctx = Context | Sequence[Context] | None

_STYPES = ("default", "row_sparse", "csr")
_GRAD_REQS = ("write", "add", "null")


class Parameter:
    """A named array that a block learns.

    Parameters
    ----------
    name : str
    grad_req : {'write', 'add', 'null'}
        ``'null'``: not learned, such as a running mean. mxio computes no gradients.
    shape : int or tuple of int, optional
        0 (or -1) is a dimension that is not known yet.
    dtype : dtype, default float32
    lr_mult, wd_mult : float
        Kept for training code.
    init : Initializer or str, optional
        Of its own, before the one given to `initialize`.
    allow_deferred_init : bool
        Whether `initialize` may come before the shape is known.
    differentiable : bool
        False is the same as ``grad_req='null'``.
    stype, grad_stype : {'default', 'row_sparse', 'csr'}
        Kept for training code; values are dense.

    Examples
    --------
    >>> w = Parameter('w', shape=(2, 3))
    >>> w.initialize()
    >>> w.data().shape
    (2, 3)
    """

    def __init__(
        self,
        name: str,
        grad_req: str = "write",
        shape: int | Sequence[int] | None = None,
        dtype: Any = np.float32,
        lr_mult: float = 1.0,
        wd_mult: float = 1.0,
        init: Any = None,
        allow_deferred_init: bool = False,
        differentiable: bool = True,
        stype: str = "default",
        grad_stype: str = "default",
    ) -> None:
        for word, given in (("stype", stype), ("grad_stype", grad_stype)):
            if given not in _STYPES:
                raise ParameterError(
                    f"{word} for Parameter '{name}' must be one of 'default', 'row_sparse', "
                    f"or 'csr', but got '{given}'"
                )
        architecture.spend()
        self.name = name
        self.init = init
        self.lr_mult = lr_mult
        self.wd_mult = wd_mult
        if dtype_of(dtype).kind in "OSUM":
            raise TypeError(f"Parameter '{name}' cannot have dtype {dtype}: it is of numbers")
        self._dtype = dtype
        self._shape = _shapes.plain(shape)
        self._allow_deferred_init = allow_deferred_init
        self._differentiable = differentiable
        self._stype = stype
        self._grad_stype = grad_stype
        # The values, one array per context; what `data` returns is made when it is asked for.
        self._arrays: list[Array] | None = None
        self._views: list[NDArray] | None = None
        self._grads: list[NDArray] | None = None
        self._contexts: list[Context] = []
        # A shape that a file may have instead: the array is then replaced.
        self._may_become: Shape | None = None
        # Given to `initialize` before the shape was known: its initializer, and everyone's.
        self._deferred: tuple[Any, Any] | None = None
        self.grad_req = grad_req

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.name} (shape={self.shape}, dtype={self.dtype})"

    # ---- what it is ----

    @property
    def shape(self) -> Shape | None:
        """The shape, 0 where a dimension is unknown; None if nothing is known."""
        return self._shape

    @shape.setter
    def shape(self, new: int | Sequence[int]) -> None:
        self._shape = self._refined(_shapes.plain(new))

    def _refined(self, new: Shape | None) -> Shape | None:
        """Return the shape with unknown dimensions filled; known ones must not change."""
        known = self._shape
        if new is None:
            return known
        if _shapes.fits(known, new):
            return new
        raise ParameterError(
            f"Expected shape {known} of Parameter '{self.name}' is incompatible with given shape "
            f"{new}."
        )

    @property
    def dtype(self) -> Any:
        """The dtype, as it was given."""
        return self._dtype

    @dtype.setter
    def dtype(self, new: Any) -> None:
        self.cast(new)

    @property
    def stype(self) -> str:
        """The storage type, a label: values are dense."""
        return self._stype

    @property
    def grad_stype(self) -> str:
        """The storage type of gradients, a label."""
        return self._grad_stype

    @property
    def grad_req(self) -> str:
        """Whether and how a gradient would be kept: ``'write'``, ``'add'`` or ``'null'``."""
        return self._grad_req

    @grad_req.setter
    def grad_req(self, req: str) -> None:
        if req not in _GRAD_REQS:
            raise ParameterError(
                f"grad_req must be one of 'write', 'add', or 'null', but got '{req}'"
            )
        self._grad_req = req if self._differentiable else "null"
        self._grads = None

    # ---- its values ----

    def initialize(
        self,
        init: Any = None,
        ctx: Ctx = None,
        default_init: Any = None,
        force_reinit: bool = False,
    ) -> None:
        """Give the parameter a value, now or as soon as its shape is known.

        Parameters
        ----------
        init : Initializer or str, optional
            None: the parameter's own, else `default_init`.
        ctx : Context or list of Context, optional
            Labels: one array is kept for each.
        default_init : Initializer or str, optional
            None is ``Uniform(0.07)``.
        force_reinit : bool
            Whether to replace the value of an initialized parameter; else that warns.

        Raises
        ------
        ValueError
            The shape is not known, and deferred initialization not allowed.
        """
        if self._arrays is not None and not force_reinit:
            warnings.warn(
                f"Parameter '{self.name}' is already initialized, ignoring. Set "
                "force_reinit=True to re-initialize.",
                stacklevel=2,
            )
            return
        default = initializer.create("uniform" if default_init is None else default_init)
        init = self.init if init is None else init
        init = default if init is None else initializer.create(init)
        if not _shapes.is_known(self._shape) and not self._allow_deferred_init:
            raise ValueError(
                f"Cannot initialize Parameter '{self.name}' because it has invalid shape: "
                f"{self._shape}."
            )
        self._contexts = context_list(ctx)
        self._arrays = self._views = self._grads = None
        self._deferred = init, default
        if _shapes.is_known(self._shape):
            self._finish()

    def _finish(self) -> None:
        """Make the value that `initialize` put off."""
        assert self._shape is not None
        assert self._deferred is not None
        init, default = self._deferred
        array = np.empty(self._shape, dtype_of(self._dtype))
        # `default` is asked, since it may tell parameters apart by name (Mixed, Load); the
        # parameter's own initializer wins.
        default(initializer.InitDesc(self.name, {"__init__": init}), wrap(array, self._contexts[0]))
        self._take(array)

    def _finish_if_known(self) -> bool:
        """Initialize a deferred parameter whose shape has become known; say whether it is."""
        if self._arrays is None and self._deferred is not None and _shapes.is_known(self._shape):
            self._finish()
        return self._arrays is not None

    def _finish_with_shape(self, shape: Sequence[int]) -> NDArray:
        """Fill unknown dimensions, initialize, and return the value: for an operator."""
        self.shape = tuple(shape)
        self._finish()
        return self.data()

    def _take(self, array: Array) -> None:
        """Make an array, which nobody else writes to, the value."""
        self._arrays = [array]
        if len(self._contexts) > 1:
            self._arrays += [array.copy() for _ in self._contexts[1:]]
        self._views = self._grads = self._deferred = None
        self._shape = array.shape

    @property
    def _is_deferred(self) -> bool:
        return self._deferred is not None

    def _check_initialized(self) -> None:
        if self._arrays is not None:
            return
        if self._deferred is not None:
            raise DeferredInitializationError(
                f"Parameter '{self.name}' has not been initialized yet because initialization "
                "was deferred: its shape "
                f"{self._shape} becomes known in the first forward pass. Pass one batch of data "
                "through the network before accessing it, load a file, or give in_units, "
                "in_channels and the like to the layers."
            )
        raise RuntimeError(
            f"Parameter '{self.name}' has not been initialized. Call initialize() or "
            "load_parameters(...) on the network first; for collections use "
            "Block.collect_params(), since Block.params lacks the parameters of child blocks."
        )

    def data(self, ctx: Context | None = None) -> NDArray:
        """Return the value, on one of its contexts: the memory itself, not a copy.

        Raises
        ------
        DeferredInitializationError
            The shape is not known yet.
        RuntimeError
            It was not initialized, or not on that context.
        """
        return self._on(ctx, self.list_data())

    def list_data(self) -> list[NDArray]:
        """Return the value on each context, in their order."""
        if self._views is None:
            self._check_initialized()
            assert self._arrays is not None
            self._views = [
                wrap(array, ctx) for array, ctx in zip(self._arrays, self._contexts, strict=True)
            ]
        return self._views

    def grad(self, ctx: Context | None = None) -> NDArray:
        """Return the gradient's array: zeros, unless you write to it.

        Raises
        ------
        RuntimeError
            As `data`, or because grad_req is 'null'.
        """
        return self._on(ctx, self.list_grad())

    def list_grad(self) -> list[NDArray]:
        """Return the gradient's array on each context."""
        self._check_initialized()
        if self._grad_req == "null":
            raise RuntimeError(
                f"Cannot get gradient array for Parameter '{self.name}' because grad_req='null'"
            )
        if self._grads is None:
            self._grads = [wrap(np.zeros_like(np.asarray(x)), x.context) for x in self.list_data()]
        return self._grads

    def zero_grad(self) -> None:
        """Set the gradient to zero."""
        for grad in self._grads or ():
            grad[...] = 0

    def _on(self, ctx: Context | None, arrays: list[NDArray]) -> NDArray:
        if ctx is None:
            current = current_context()
            ctx = current if current in self._contexts else self._contexts[0]
        for array, own in zip(arrays, self._contexts, strict=True):
            if own == ctx:
                return array
        raise RuntimeError(
            f"Parameter '{self.name}' was not initialized on context {ctx}. It was only "
            f"initialized on {self._contexts}."
        )

    def list_ctx(self) -> list[Context]:
        """Return the contexts it is, or will be, initialized on.

        Raises
        ------
        RuntimeError
            It was not initialized.
        """
        if self._arrays is None and self._deferred is None:
            raise RuntimeError(f"Parameter '{self.name}' has not been initialized")
        return list(self._contexts)

    def set_data(self, data: Any) -> None:
        """Set the value, on all contexts, in the parameter's own memory and dtype.

        On a parameter whose initialization was deferred this is its initialization. (In
        MXNet 1.9.1 its value stays hidden until a forward pass.)

        Parameters
        ----------
        data : array
            Of the parameter's shape.

        Raises
        ------
        ParameterError
            The shape is another one, or `initialize` was never called.
        """
        values = np.asarray(data)
        if self._arrays is None and self._deferred is None:
            raise ParameterError(
                f"Parameter '{self.name}' has not been initialized: call initialize() before "
                "set_data"
            )
        self.shape = values.shape
        if self._arrays is None:
            self._take(np.array(values, dtype_of(self._dtype), order="C"))
            return
        for array in self._arrays:
            array[...] = values

    def cast(self, dtype: Any) -> None:
        """Convert the value, present and future, to another dtype."""
        new = dtype_of(dtype)
        self._dtype = dtype
        if self._arrays is not None and self._arrays[0].dtype != new:
            self._arrays = [array.astype(new) for array in self._arrays]
            self._views = self._grads = None

    def reset_ctx(self, ctx: Ctx) -> None:
        """Label the parameter with other contexts.

        Raises
        ------
        ValueError
            It was not initialized.
        """
        if self._arrays is None and self._deferred is None:
            raise ValueError(
                f"Cannot reset context for Parameter '{self.name}' because it has not been "
                "initialized."
            )
        self._contexts = context_list(ctx)
        if self._arrays is not None:
            self._take(self._reduced())

    def _reduced(self) -> Array:
        """Return the value to save: the mean over contexts, where they differ."""
        self._check_initialized()
        assert self._arrays is not None
        first, *rest = self._arrays
        if all(array.tobytes() == first.tobytes() for array in rest):
            return first
        total = np.sum(self._arrays, axis=0, dtype=np.promote_types(first.dtype, np.float32))
        return np.asarray(total / len(self._arrays)).astype(first.dtype)

    # ---- as an operand ----

    # An operator that infers shapes gets the parameter itself while its shape is not known
    # (`_finish_with_shape`). Everything else that takes it for an array fails here.

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return (
            np.asarray(self.data()).astype(dtype, copy=False) if dtype else np.asarray(self.data())
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [x.data() if isinstance(x, Parameter) else x for x in inputs]
        return getattr(ufunc, method)(*plain, **kwargs)

    # ---- as a place for what a file holds (`_restore.Slot`) ----

    def _state(self) -> tuple[Shape | None, Any, list[Array] | None]:
        if self._may_become is not None:
            return self._may_become, self._dtype, None
        return self._shape, self._dtype, self._arrays

    def _refusal(self, contexts: list[Context]) -> str | None:
        if not self._contexts or set(contexts) == set(self._contexts):
            return None
        return (
            f"Failed to load Parameter '{self.name}' on {contexts} because it was previous "
            f"initialized on {self._contexts}"
        )

    def _adopt(self, array: Array, contexts: list[Context], is_other: bool) -> None:
        if is_other:
            self._dtype = array.dtype.type
        if self._contexts or len(contexts) > 1:
            self._contexts = self._contexts or contexts
            self._take(array)
            return
        # One that was never initialized, as most are that a file is loaded into.
        self._contexts = contexts
        self._arrays = [array]
        self._shape = array.shape


class Constant(Parameter):
    """A parameter that keeps the value it is made with; saved and loaded like the others.

    Parameters
    ----------
    name : str
    value : array-like
        float32 unless it is an NDArray.
    """

    def __init__(self, name: str, value: Any) -> None:
        dtype = value.dtype if isinstance(value, NDArray) else np.dtype(np.float32)
        self.value = wrap(np.array(value, dtype, order="C", subok=False))
        super().__init__(
            name,
            grad_req="null",
            shape=self.value.shape,
            dtype=dtype.type,
            init=initializer.Constant(self.value),
            differentiable=False,
        )

    def __repr__(self) -> str:
        return f"Constant {self.name} (shape={self.shape}, dtype={self.dtype})"

    @property
    def grad_req(self) -> str:
        return "null"

    @grad_req.setter
    def grad_req(self, req: str) -> None:
        if req != "null":
            warnings.warn(
                f'Constant parameter "{self.name}" does not support grad_req other than "null", '
                f'and new value "{req}" is ignored.',
                stacklevel=2,
            )


def context_list(ctx: Ctx) -> list[Context]:
    """Return the contexts that an argument means; None is the current one."""
    if ctx is None:
        return [current_context()]
    contexts = [ctx] if isinstance(ctx, Context) else list(ctx)
    if not contexts or not all(isinstance(item, Context) for item in contexts):
        raise TypeError(f"ctx is a Context or a list of them, such as mxio.cpu(), not {ctx!r}")
    if len(set(contexts)) < len(contexts):
        raise ValueError(f"ctx names a context twice: {contexts}")
    return contexts
