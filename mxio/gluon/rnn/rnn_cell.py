# SPDX-License-Identifier: Apache-2.0
"""Cells: one time step of a recurrent network, and what is made of cells.

``cell(x, states)`` returns the output and the next states; ``cell.unroll`` does so for a
sequence. Signatures, names and printed forms are those of MXNet 1.9.1, measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from mxio import nd
from mxio.gluon.block import Block, HybridBlock
from mxio.gluon.parameter import ParameterDict
from mxio.nd.ndarray import NDArray

__all__ = [
    "BidirectionalCell",
    "DropoutCell",
    "GRUCell",
    "HybridRecurrentCell",
    "HybridSequentialRNNCell",
    "LSTMCell",
    "ModifierCell",
    "RNNCell",
    "RecurrentCell",
    "ResidualCell",
    "SequentialRNNCell",
    "ZoneoutCell",
    "begin_states",
]

Info = dict[str, Any]
_WAYS = ("NTC", "TNC")


# ---- sequences -------------------------------------------------------------------------------


def _steps(length: int, inputs: Any, layout: str) -> tuple[list[NDArray], int]:
    """Return the inputs of all time steps, and the size of the batch."""
    if len(layout) != 3 or sorted(layout) != sorted("NTC"):
        raise ValueError(f"invalid layout {layout}; must be one of {' or '.join(_WAYS)}")
    axis, batch_axis = layout.find("T"), layout.find("N")
    if isinstance(inputs, np.ndarray):
        if inputs.ndim < 3:
            raise ValueError(f"inputs of layout {layout} have 3 dimensions, not {inputs.ndim}")
        steps = [x.view(NDArray) for x in np.moveaxis(inputs, axis, 0)]
        n_batch = inputs.shape[batch_axis]
    else:
        steps = list(inputs)
        if not steps:
            raise ValueError("inputs is an empty list: the batch's size is unknown")
        n_batch = steps[0].shape[batch_axis - (batch_axis > axis)]
    if len(steps) != length:
        raise ValueError(f"inputs have {len(steps)} time steps, but length is {length}")
    return steps, n_batch


def _merged(steps: Sequence[NDArray], layout: str) -> NDArray:
    return np.stack(steps, axis=layout.find("T")).view(NDArray)


def _delivered(steps: list[NDArray], layout: str, merge: bool | None) -> Any:
    return _merged(steps, layout) if merge else steps


def _within(valid_length: Any, n_batch: int) -> Any:
    lengths = np.asarray(valid_length)
    if lengths.shape != (n_batch,):
        raise ValueError(
            f"valid_length has shape {lengths.shape}, but the batch asks for {(n_batch,)}"
        )
    return lengths


def _masked(x: NDArray, is_in: Any) -> NDArray:
    """Return `x` with 0 for the members of the batch, its first axis, that have ended."""
    shape = (-1,) + (1,) * (x.ndim - 1)
    return np.where(is_in.reshape(shape), x, x.dtype.type(0)).view(NDArray)


def _kept(new: NDArray, old: NDArray, is_in: Any) -> NDArray:
    return np.where(is_in.reshape((-1,) + (1,) * (new.ndim - 1)), new, old).view(NDArray)


def _reversed(steps: list[NDArray], lengths: Any) -> list[NDArray]:
    """Return a sequence back to front; what lies beyond the lengths stays where it is."""
    if lengths is None:
        return steps[::-1]
    last = lengths.astype(np.intp) - 1
    stacked = np.stack(steps)
    members = np.arange(stacked.shape[1])
    return [
        stacked[np.where(t <= last, last - t, t), members].view(NDArray) for t in range(len(steps))
    ]


def begin_states(infos: Sequence[Info], func: Callable[..., Any], given: Info) -> list[Any]:
    """Return first states, made by `func` of what ``state_info`` says and of `given`."""
    return [
        func(**{**{key: v for key, v in info.items() if not key.startswith("__")}, **given})
        for info in infos
    ]


# ---- cells -----------------------------------------------------------------------------------


class RecurrentCell(Block):
    """The base of cells.

    Parameters
    ----------
    prefix, params
        As in `Block`.
    """

    def __init__(self, prefix: str | None = None, params: ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self._modified = False
        self.reset()

    def reset(self) -> None:
        """Forget what was kept of a sequence."""
        for cell in self._children.values():
            if isinstance(cell, RecurrentCell):
                cell.reset()

    def state_info(self, batch_size: int = 0) -> list[Info]:
        """Return shape and layout of each state: for subclasses to define."""
        raise NotImplementedError(f"{type(self).__name__} defines no state_info")

    def begin_state(
        self, batch_size: int = 0, func: Callable[..., Any] = nd.zeros, **kwargs: Any
    ) -> list[Any]:
        """Return the states before the first step.

        Parameters
        ----------
        batch_size : int
        func : callable, default nd.zeros
            Called with ``shape=`` for each state.
        **kwargs
            For `func`: ``dtype``, ``ctx``.

        Raises
        ------
        RuntimeError
            The cell is inside of another that changes it.
        """
        if self._modified:
            raise RuntimeError(
                f"{self!r} is inside of a cell that modifies it (e.g. ZoneoutCell), and cannot be "
                "called directly. Call the modifier cell instead."
            )
        return begin_states(self.state_info(batch_size), func, kwargs)

    def _first(self, begin_state: Any, n_batch: int, like: NDArray) -> list[Any]:
        if begin_state is not None:
            return list(begin_state)
        return self.begin_state(batch_size=n_batch, ctx=like.context, dtype=like.dtype)

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Go through a sequence.

        Parameters
        ----------
        length : int
            The number of time steps.
        inputs : array, or list of arrays
            Of this layout, or one array for each step.
        begin_state : list of arrays, optional
            None: ``self.begin_state()``.
        layout : {'NTC', 'TNC'}
        merge_outputs : bool, optional
            Whether the outputs become one array. None: what is simpler to make.
        valid_length : array of shape (batch,), optional
            Outputs after it are 0, the states those at it.

        Returns
        -------
        outputs : NDArray or list of NDArray
        states : list of NDArray
        """
        self.reset()
        steps, n_batch = _steps(length, inputs, layout)
        lengths = None if valid_length is None else _within(valid_length, n_batch)
        states = self._first(begin_state, n_batch, steps[0])
        outputs = []
        for t, x in enumerate(steps):
            output, following = self(x, states)
            if lengths is not None:
                is_in = t < lengths
                output = _masked(output, is_in)
                following = [_kept(a, b, is_in) for a, b in zip(following, states, strict=True)]
            states = following
            outputs.append(output)
        merge = merge_outputs is not False if lengths is not None else merge_outputs
        return _delivered(outputs, layout, merge), states

    def _get_activation(self, F: Any, inputs: Any, activation: Any, **kwargs: Any) -> Any:
        """Return the activation of a name, or of a block or another callable."""
        if isinstance(activation, str):
            return F.Activation(inputs, act_type=activation, **kwargs)
        return activation(inputs, **kwargs)


class HybridRecurrentCell(RecurrentCell, HybridBlock):
    """The base of cells with a ``hybrid_forward(self, F, inputs, states, **params)``."""

    def hybrid_forward(self, F: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute one step: for subclasses to define."""
        raise NotImplementedError(f"{type(self).__name__} defines no hybrid_forward")


class _GatedCell(HybridRecurrentCell):
    """A cell with weights for its input and its state, for each gate."""

    _n_gates = 1
    _n_states = 1

    def __init__(
        self,
        hidden_size: int,
        initializers: tuple[Any, Any, Any, Any],
        input_size: int,
        prefix: str | None,
        params: ParameterDict | None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        self._hidden_size = hidden_size
        self._input_size = input_size
        rows = self._n_gates * hidden_size
        shapes = ((rows, input_size), (rows, hidden_size), (rows,), (rows,))
        names = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
        for name, shape, init in zip(names, shapes, initializers, strict=True):
            parameter = self.params.get(name, shape=shape, init=init, allow_deferred_init=True)
            setattr(self, name, parameter)

    def state_info(self, batch_size: int = 0) -> list[Info]:
        """Return shape and layout of each state."""
        return [
            {"shape": (batch_size, self._hidden_size), "__layout__": "NC"}
            for _ in range(self._n_states)
        ]

    def __repr__(self) -> str:
        rows, n_in = self._reg_params["i2h_weight"].shape or (0, 0)
        return f"{type(self).__name__}({n_in or None} -> {rows}{self._said()})"

    def _said(self) -> str:
        return ""

    def _gates(
        self,
        F: Any,
        inputs: Any,
        states: Any,
        i2h_weight: Any,
        h2h_weight: Any,
        i2h_bias: Any,
        h2h_bias: Any,
    ) -> tuple[Any, Any]:
        """Return what the input and what the state make of the gates."""
        if len(states) != self._n_states:
            raise ValueError(
                f"{type(self).__name__} has {self._n_states} states, but {len(states)} were given"
            )
        rows = self._n_gates * self._hidden_size
        i2h = F.FullyConnected(inputs, i2h_weight, i2h_bias, num_hidden=rows)
        h2h = F.FullyConnected(states[0], h2h_weight, h2h_bias, num_hidden=rows)
        return i2h, h2h

    def _part(self, gates: Any, number: int) -> Any:
        n = self._hidden_size
        return gates[:, number * n : (number + 1) * n]


class RNNCell(_GatedCell):
    """``h = activation(W x + b + U h + c)``.

    Parameters
    ----------
    hidden_size : int
    activation : str or Block, default 'tanh'
    i2h_weight_initializer, h2h_weight_initializer : Initializer or str, optional
    i2h_bias_initializer, h2h_bias_initializer : Initializer or str, default 'zeros'
    input_size : int, default 0
        0: known from the first input, or from a file.
    """

    def __init__(
        self,
        hidden_size: int,
        activation: Any = "tanh",
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        weights = (i2h_weight_initializer, h2h_weight_initializer)
        biases = (i2h_bias_initializer, h2h_bias_initializer)
        super().__init__(hidden_size, weights + biases, input_size, prefix, params)
        self._activation = activation

    def _alias(self) -> str:
        return "rnn"

    def _said(self) -> str:
        return f", {self._activation}"

    def hybrid_forward(self, F: Any, inputs: Any, states: Any, **params: Any) -> Any:  # type: ignore[override]
        """Compute one step."""
        i2h, h2h = self._gates(F, inputs, states, **params)
        output = self._get_activation(F, i2h + h2h, self._activation)
        return output, [output]


class LSTMCell(_GatedCell):
    """Long short-term memory: gates in the order in, forget, candidate, out.

    Parameters
    ----------
    hidden_size : int
    activation : str or Block, default 'tanh'
        Of the candidate and the output.
    recurrent_activation : str or Block, default 'sigmoid'
        Of the gates.

    The others are as in `RNNCell`.
    """

    _n_gates = 4
    _n_states = 2

    def __init__(
        self,
        hidden_size: int,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        prefix: str | None = None,
        params: ParameterDict | None = None,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
    ) -> None:
        weights = (i2h_weight_initializer, h2h_weight_initializer)
        biases = (i2h_bias_initializer, h2h_bias_initializer)
        super().__init__(hidden_size, weights + biases, input_size, prefix, params)
        self._activation = activation
        self._recurrent_activation = recurrent_activation

    def _alias(self) -> str:
        return "lstm"

    def hybrid_forward(self, F: Any, inputs: Any, states: Any, **params: Any) -> Any:  # type: ignore[override]
        """Compute one step."""
        i2h, h2h = self._gates(F, inputs, states, **params)
        gates = i2h + h2h
        opened = [
            self._get_activation(F, self._part(gates, number), self._recurrent_activation)
            for number in (0, 1, 3)
        ]
        candidate = self._get_activation(F, self._part(gates, 2), self._activation)
        cell = opened[1] * states[1] + opened[0] * candidate
        output = opened[2] * self._get_activation(F, cell, self._activation)
        return output, [output, cell]


class GRUCell(_GatedCell):
    """Gated recurrent unit: gates in the order reset, update, new, as cuDNN computes them.

    Parameters
    ----------
    hidden_size : int

    The others are as in `RNNCell`.
    """

    _n_gates = 3

    def __init__(
        self,
        hidden_size: int,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        weights = (i2h_weight_initializer, h2h_weight_initializer)
        biases = (i2h_bias_initializer, h2h_bias_initializer)
        super().__init__(hidden_size, weights + biases, input_size, prefix, params)

    def _alias(self) -> str:
        return "gru"

    def hybrid_forward(self, F: Any, inputs: Any, states: Any, **params: Any) -> Any:  # type: ignore[override]
        """Compute one step."""
        i2h, h2h = self._gates(F, inputs, states, **params)
        reset, update = (
            F.Activation(self._part(i2h, number) + self._part(h2h, number), act_type="sigmoid")
            for number in (0, 1)
        )
        new = F.Activation(self._part(i2h, 2) + reset * self._part(h2h, 2), act_type="tanh")
        output = (1 - update) * new + update * states[0]
        return output, [output]


# ---- cells made of cells ---------------------------------------------------------------------


class _Stacked(RecurrentCell):
    """Cells one above the other."""

    def add(self, cell: RecurrentCell) -> None:
        """Put a cell above the others."""
        if not isinstance(cell, RecurrentCell):
            raise TypeError(f"add takes a cell, not {type(cell).__name__}")
        self.register_child(cell)

    def __repr__(self) -> str:
        rows = [
            f"({name}): " + repr(cell).replace("\n", "\n  ")
            for name, cell in self._children.items()
        ]
        return "{}(\n{}\n)".format(type(self).__name__, "\n".join(rows))

    def __len__(self) -> int:
        return len(self._children)

    def __getitem__(self, number: int) -> Any:
        return list(self._children.values())[number]

    @property
    def _cells(self) -> list[Any]:
        return list(self._children.values())

    def state_info(self, batch_size: int = 0) -> list[Info]:
        """Return shape and layout of the states of all cells."""
        return [info for cell in self._cells for info in cell.state_info(batch_size)]

    def begin_state(
        self, batch_size: int = 0, func: Callable[..., Any] = nd.zeros, **kwargs: Any
    ) -> list[Any]:
        """Return the states before the first step, of all cells; see `RecurrentCell`."""
        return _begun(self, batch_size, func, kwargs)

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Go through a sequence, cell after cell; see `RecurrentCell`."""
        self.reset()
        steps, n_batch = _steps(length, inputs, layout)
        states = self._first(begin_state, n_batch, steps[0])
        found: list[Any] = []
        for number, (cell, own) in enumerate(_shared_out(self, states)):
            merge = merge_outputs if number == len(self) - 1 else None
            inputs, own = cell.unroll(length, inputs, own, layout, merge, valid_length)
            found += own
        return inputs, found

    def _step(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        found: list[Any] = []
        for cell, own in _shared_out(self, states):
            inputs, own = cell(inputs, own)
            found += own
        return inputs, found


def _shared_out(cell: Any, states: Sequence[Any]) -> list[tuple[Any, list[Any]]]:
    """Return the cells in another one, each with its part of the states."""
    found, start = [], 0
    for child in cell._children.values():
        count = len(child.state_info())
        found.append((child, list(states[start : start + count])))
        start += count
    if start != len(states):
        raise ValueError(f"{type(cell).__name__} has {start} states, but {len(states)} were given")
    return found


def _begun(cell: Any, batch_size: int, func: Callable[..., Any], given: Info) -> list[Any]:
    if cell._modified:
        raise RuntimeError(
            f"{cell!r} is inside of a cell that modifies it (e.g. ZoneoutCell), and cannot be "
            "called directly. Call the modifier cell instead."
        )
    return [
        state
        for child in cell._children.values()
        for state in child.begin_state(batch_size=batch_size, func=func, **given)
    ]


class SequentialRNNCell(_Stacked):
    """Cells one above the other, made by `add`."""

    def forward(self, inputs: Any, states: Any) -> Any:
        """Compute one step."""
        return self._step(inputs, states)


class HybridSequentialRNNCell(_Stacked, HybridRecurrentCell):
    """Cells one above the other, made by `add`: hybrid ones."""

    def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:
        """Compute one step."""
        return self._step(inputs, states)


class DropoutCell(HybridRecurrentCell):
    """Dropout, which lets everything through when nothing is learned.

    Parameters
    ----------
    rate : float
    axes : tuple of int
    """

    def __init__(
        self,
        rate: float,
        axes: Any = (),
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(prefix, params)
        if not isinstance(cast(Any, rate), (int, float, np.number)):
            raise TypeError(f"rate is a number, not {type(rate).__name__}")
        self._rate = rate
        self._axes = axes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rate={self._rate}, axes={self._axes})"

    def _alias(self) -> str:
        return "dropout"

    def state_info(self, batch_size: int = 0) -> list[Info]:
        """Return nothing: there are no states."""
        return []

    def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:
        """Return the input."""
        return inputs, states

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Return the sequence; see `RecurrentCell`."""
        steps, _ = _steps(length, inputs, layout)
        if merge_outputs is None:
            merge_outputs = isinstance(inputs, np.ndarray)
        return _delivered(steps, layout, merge_outputs), []


class ModifierCell(HybridRecurrentCell):
    """The base of cells that change another one, whose parameters they use.

    Parameters
    ----------
    base_cell : RecurrentCell
    """

    def __init__(self, base_cell: Any) -> None:
        if not isinstance(base_cell, RecurrentCell):
            raise TypeError(f"base_cell is a cell, not {type(base_cell).__name__}")
        if base_cell._modified:
            raise ValueError(f"{base_cell!r} is modified already, and cannot be a second time")
        super().__init__(prefix=base_cell.prefix + self._alias(), params=None)
        base_cell._modified = True
        self.base_cell: Any = base_cell

    @property
    def params(self) -> ParameterDict:
        """The parameters of the cell inside."""
        inside: ParameterDict = self.base_cell.params
        return inside

    def state_info(self, batch_size: int = 0) -> list[Info]:
        """Return shape and layout of each state."""
        inside: list[Info] = self.base_cell.state_info(batch_size)
        return inside

    def begin_state(
        self, batch_size: int = 0, func: Callable[..., Any] = nd.zeros, **kwargs: Any
    ) -> list[Any]:
        """Return the states before the first step; see `RecurrentCell`."""
        if self._modified:
            return super().begin_state(batch_size, func, **kwargs)  # which says why not
        states: list[Any] = self._unmodified(
            lambda cell: cell.begin_state(batch_size=batch_size, func=func, **kwargs)
        )
        return states

    def _unmodified(self, do: Callable[[Any], Any]) -> Any:
        """Do something with the cell inside as if it stood alone."""
        self.base_cell._modified = False
        try:
            return do(self.base_cell)
        finally:
            self.base_cell._modified = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_cell!r})"


class ZoneoutCell(ModifierCell):
    """Zoneout, which does nothing when nothing is learned.

    Parameters
    ----------
    base_cell : RecurrentCell
    zoneout_outputs, zoneout_states : float
    """

    def __init__(
        self, base_cell: Any, zoneout_outputs: float = 0.0, zoneout_states: float = 0.0
    ) -> None:
        if isinstance(base_cell, BidirectionalCell):
            raise TypeError(
                "BidirectionalCell doesn't support zoneout since it doesn't support step. Please "
                "add ZoneoutCell to the cells underneath instead."
            )
        super().__init__(base_cell)
        self._zoneout_outputs = zoneout_outputs
        self._zoneout_states = zoneout_states

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(p_out={self._zoneout_outputs}, "
            f"p_state={self._zoneout_states}, {self.base_cell!r})"
        )

    def _alias(self) -> str:
        return "zoneout"

    def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:
        """Compute one step of the cell inside."""
        return self.base_cell(inputs, states)


class ResidualCell(ModifierCell):
    """The output of a cell plus its input.

    Parameters
    ----------
    base_cell : RecurrentCell
    """

    def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:
        """Compute one step."""
        output, states = self.base_cell(inputs, states)
        return output + inputs, states

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Go through a sequence; see `RecurrentCell`."""
        self.reset()
        steps, n_batch = _steps(length, inputs, layout)
        outputs, states = self._unmodified(
            lambda cell: cell.unroll(
                length, inputs, begin_state, layout, merge_outputs, valid_length
            )
        )
        merge = isinstance(outputs, np.ndarray)
        if valid_length is not None:
            lengths = _within(valid_length, n_batch)
            steps = [_masked(x, t < lengths) for t, x in enumerate(steps)]
        if merge:
            return outputs + _merged(steps, layout), states
        return [y + x for y, x in zip(outputs, steps, strict=True)], states


class BidirectionalCell(HybridRecurrentCell):
    """A cell that goes through a sequence and another that comes back: only by `unroll`.

    Parameters
    ----------
    l_cell, r_cell : RecurrentCell
    output_prefix : str
        For MXNet's sake.
    """

    def __init__(self, l_cell: Any, r_cell: Any, output_prefix: str = "bi_") -> None:
        super().__init__(prefix="", params=None)
        self.register_child(l_cell, "l_cell")
        self.register_child(r_cell, "r_cell")
        self._output_prefix = output_prefix

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("Bidirectional cannot be stepped. Please use unroll")

    def __repr__(self) -> str:
        cells = self._children
        return f"{type(self).__name__}(forward={cells['l_cell']!r}, backward={cells['r_cell']!r})"

    def state_info(self, batch_size: int = 0) -> list[Info]:
        """Return shape and layout of the states of both cells."""
        cells: list[Any] = list(self._children.values())
        return [info for cell in cells for info in cell.state_info(batch_size)]

    def begin_state(
        self, batch_size: int = 0, func: Callable[..., Any] = nd.zeros, **kwargs: Any
    ) -> list[Any]:
        """Return the states before the first step, of both cells; see `RecurrentCell`."""
        return _begun(self, batch_size, func, kwargs)

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Go through a sequence both ways; see `RecurrentCell`."""
        self.reset()
        steps, n_batch = _steps(length, inputs, layout)
        lengths = None if valid_length is None else _within(valid_length, n_batch)
        states = self._first(begin_state, n_batch, steps[0])
        (left, left_states), (right, right_states) = _shared_out(self, states)
        there, left_states = left.unroll(length, steps, left_states, layout, False, valid_length)
        back, right_states = right.unroll(
            length, _reversed(steps, lengths), right_states, layout, False, valid_length
        )
        outputs = [
            np.concatenate(pair, axis=1).view(NDArray)
            for pair in zip(there, _reversed(back, lengths), strict=True)
        ]
        merge = merge_outputs is not False if lengths is not None else merge_outputs
        return _delivered(outputs, layout, merge), left_states + right_states
