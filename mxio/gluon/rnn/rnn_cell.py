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
from mxio.gluon.rnn._sequence import (
    Info,
    begin_states,
    delivered,
    kept,
    lengths_of,
    masked,
    merged,
    steps_of,
    turned,
)
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
        self._check_unmodified()
        return begin_states(self.state_info(batch_size), func, kwargs)

    def _check_unmodified(self) -> None:
        if self._modified:
            raise RuntimeError(
                f"{self!r} is inside of a cell that modifies it (e.g. ZoneoutCell), and cannot be "
                "called directly. Call the modifier cell instead."
            )

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
        steps, n_batch = steps_of(length, inputs, layout)
        lengths = None if valid_length is None else lengths_of(valid_length, n_batch)
        states = self._first(begin_state, n_batch, steps[0])
        outputs = []
        for t, x in enumerate(steps):
            output, following = self(x, states)
            if lengths is not None:
                is_in = t < lengths
                output = masked(output, is_in)
                following = [kept(a, b, is_in) for a, b in zip(following, states, strict=True)]
            states = following
            outputs.append(output)
        merge = merge_outputs is not False if lengths is not None else merge_outputs
        return delivered(outputs, layout, merge), states

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


class _Composed(RecurrentCell):
    """A cell whose states are those of the cells in it."""

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
        self._check_unmodified()
        parts = [
            cell.begin_state(batch_size=batch_size, func=func, **kwargs) for cell in self._cells
        ]
        return [state for part in parts for state in part]

    def _shared_out(self, states: Sequence[Any]) -> list[tuple[Any, list[Any]]]:
        """Return the cells, each with its part of the states."""
        found, start = [], 0
        for cell in self._cells:
            count = len(cell.state_info())
            found.append((cell, list(states[start : start + count])))
            start += count
        if start != len(states):
            raise ValueError(
                f"{type(self).__name__} has {start} states, but {len(states)} were given"
            )
        return found


class _Stacked(_Composed):
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
        steps, n_batch = steps_of(length, inputs, layout)
        states = self._first(begin_state, n_batch, steps[0])
        found: list[Any] = []
        for number, (cell, own) in enumerate(self._shared_out(states)):
            merge = merge_outputs if number == len(self) - 1 else None
            inputs, own = cell.unroll(length, inputs, own, layout, merge, valid_length)
            found += own
        return inputs, found

    def _step(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        found: list[Any] = []
        for cell, own in self._shared_out(states):
            inputs, own = cell(inputs, own)
            found += own
        return inputs, found


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
        steps, _ = steps_of(length, inputs, layout)
        if merge_outputs is None:
            merge_outputs = isinstance(inputs, np.ndarray)
        return delivered(steps, layout, merge_outputs), []


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
        self._check_unmodified()
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
        steps, n_batch = steps_of(length, inputs, layout)
        outputs, states = self._unmodified(
            lambda cell: cell.unroll(
                length, inputs, begin_state, layout, merge_outputs, valid_length
            )
        )
        merge = isinstance(outputs, np.ndarray)
        if valid_length is not None:
            lengths = lengths_of(valid_length, n_batch)
            steps = [masked(x, t < lengths) for t, x in enumerate(steps)]
        if merge:
            return outputs + merged(steps, layout), states
        return [y + x for y, x in zip(outputs, steps, strict=True)], states


class BidirectionalCell(_Composed, HybridRecurrentCell):
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
        steps, n_batch = steps_of(length, inputs, layout)
        lengths = None if valid_length is None else lengths_of(valid_length, n_batch)
        states = self._first(begin_state, n_batch, steps[0])
        (left, left_states), (right, right_states) = self._shared_out(states)
        there, left_states = left.unroll(length, steps, left_states, layout, False, valid_length)
        back, right_states = right.unroll(
            length, turned(steps, lengths), right_states, layout, False, valid_length
        )
        outputs = [
            np.concatenate(pair, axis=1).view(NDArray)
            for pair in zip(there, turned(back, lengths), strict=True)
        ]
        merge = merge_outputs is not False if lengths is not None else merge_outputs
        return delivered(outputs, layout, merge), left_states + right_states
