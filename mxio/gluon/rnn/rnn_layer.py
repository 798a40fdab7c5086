# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers over whole sequences: RNN, LSTM and GRU.

Signatures, names and printed forms are those of MXNet 1.9.1, measured. The names that
parameters have in files depend on the release that wrote them:

- ``_unfused.0.i2h_weight``, in two directions ``_unfused.0.l_cell.i2h_weight``: 1.2 to 1.9,
  and what is written here. 1.2 counted the dropout between the layers too.
- ``l0_i2h_weight``: 2.0.0a0.
- ``rnn_param``, all in one vector: 2.0.0b1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mxio import nd
from mxio.gluon import architecture
from mxio.gluon._names import Older
from mxio.gluon.block import HybridBlock
from mxio.gluon.parameter import Parameter
from mxio.gluon.rnn import rnn_cell
from mxio.gluon.rnn._sequence import begin_states
from mxio.nd import _recurrent

__all__ = ["GRU", "LSTM", "RNN"]

_NAME = re.compile(r"([lr])(\d+)_(.*)")
_CELLS: dict[str, Callable[..., Any]] = {
    "rnn_relu": partial(rnn_cell.RNNCell, activation="relu"),
    "rnn_tanh": partial(rnn_cell.RNNCell, activation="tanh"),
    "lstm": rnn_cell.LSTMCell,
    "gru": rnn_cell.GRUCell,
}


class _RNNLayer(HybridBlock):
    """What RNN, LSTM and GRU have in common."""

    def __init__(
        self,
        hidden_size: int,
        num_layers: int,
        layout: str,
        dropout: float,
        bidirectional: bool,
        input_size: int,
        i2h_weight_initializer: Any,
        h2h_weight_initializer: Any,
        i2h_bias_initializer: Any,
        h2h_bias_initializer: Any,
        mode: str,
        projection_size: int | None = None,
        h2r_weight_initializer: Any = None,
        lstm_state_clip_min: float | None = None,
        lstm_state_clip_max: float | None = None,
        lstm_state_clip_nan: bool = False,
        dtype: Any = "float32",
        use_sequence_length: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        architecture.spend(num_layers)
        if layout not in ("TNC", "NTC"):
            raise ValueError(f"Invalid layout {layout}; must be one of 'TNC' or 'NTC'")
        clip = lstm_state_clip_min, lstm_state_clip_max
        if mode != "lstm" and (projection_size, *clip) != (None, None, None):
            raise TypeError(f"only an LSTM has a projection or a cell state, not {self._alias()}")
        self._hidden_size = hidden_size
        self._num_layers = num_layers
        self._layout = layout
        self._dropout = dropout
        self._dir = 2 if bidirectional else 1
        self._mode = mode
        self._projection_size = projection_size or None
        self._clip = _recurrent.clip_of(*clip, lstm_state_clip_nan)
        self._dtype = dtype
        self._use_sequence_length = use_sequence_length
        inits = {
            "i2h_weight": i2h_weight_initializer,
            "h2h_weight": h2h_weight_initializer,
            "i2h_bias": i2h_bias_initializer,
            "h2h_bias": h2h_bias_initializer,
            "h2r_weight": h2r_weight_initializer,
        }
        shapes = _recurrent.layout(mode, input_size, *self._sizes)
        for layer in range(num_layers):
            for side in "lr"[: self._dir]:
                for part, init in inits.items():
                    name = f"{side}{layer}_{part}"
                    if name in shapes:
                        self._register(name, shapes[name], init)

    @property
    def _sizes(self) -> tuple[int, int, bool, int | None]:
        """What `_recurrent.layout` wants to know besides the mode and the input's size."""
        return self._hidden_size, self._num_layers, self._dir == 2, self._projection_size

    @property
    def _n_inputs(self) -> int:
        """The size of the input; 0 as long as it is not known."""
        return (self._reg_params["l0_i2h_weight"].shape or (0, 0))[1]

    def _register(self, name: str, shape: tuple[int, ...], init: Any) -> None:
        parameter = self.params.get(
            name, shape=shape, init=init, allow_deferred_init=True, dtype=self._dtype
        )
        setattr(self, name, parameter)

    def __repr__(self) -> str:
        said = [f"{self._n_inputs or None} -> {self._hidden_size}", self._layout]
        if self._num_layers != 1:
            said.append(f"num_layers={self._num_layers}")
        if self._dropout != 0:
            said.append(f"dropout={self._dropout}")
        if self._dir == 2:
            said.append("bidirectional")
        return f"{type(self).__name__}({', '.join(said)})"

    # ---- names ----

    def _structure_name(self, name: str, counts_dropout: bool = False) -> str:
        """Return what ``l0_i2h_weight`` is called in files."""
        found = _NAME.fullmatch(name)
        assert found is not None
        side, layer, part = found.groups()
        number = 2 * int(layer) if counts_dropout else int(layer)
        cell = f"{side}_cell." if self._dir == 2 else ""
        return f"_unfused.{number}.{cell}{part}"

    def _collect_named(self, path: str, found: dict[str, Parameter]) -> None:
        for name, parameter in self._reg_params.items():
            found[path + self._structure_name(name)] = parameter

    def _legacy_names(self) -> dict[str, str]:
        """Return the structure names that other releases gave, and the present ones.

        With dropout and three layers or more, a name of a release that counted the dropout
        is also a present one, of another layer.
        """
        legacy = {name: self._structure_name(name) for name in self._reg_params}
        if self._dropout:
            for name in self._reg_params:
                old, new = self._structure_name(name, counts_dropout=True), legacy[name]
                if old != new:
                    legacy[old] = new
        return legacy

    def _unpack_flat(self, array: Any) -> dict[str, Any]:
        """Return the parts of 2.0.0b1's ``rnn_param``, by structure name, as views.

        Raises
        ------
        ValueError
            The vector is not of a length that such a layer has.
        """
        parts = _recurrent.unpack(
            np.asarray(array), self._mode, *self._sizes, input_size=self._n_inputs
        )
        return {self._structure_name(name): part for name, part in parts.items()}

    def _collect_older(self, path: str, found: Older) -> None:
        found.names.update((path + old, path + new) for old, new in self._legacy_names().items())
        found.packed[f"{path}rnn_param"] = lambda array: {
            path + name: part for name, part in self._unpack_flat(array).items()
        }

    # ---- computing ----

    def cast(self, dtype: Any) -> None:
        """Convert all parameters, and the states to come, to another dtype."""
        super().cast(dtype)
        self._dtype = dtype

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Return shape, layout and dtype of each state."""
        sizes = [self._projection_size or self._hidden_size]
        if self._mode == "lstm":
            sizes.append(self._hidden_size)
        n_rows = self._num_layers * self._dir
        return [
            {"shape": (n_rows, batch_size, n), "__layout__": "LNC", "dtype": self._dtype}
            for n in sizes
        ]

    def begin_state(
        self, batch_size: int = 0, func: Callable[..., Any] = nd.zeros, **kwargs: Any
    ) -> list[Any]:
        """Return the states before the first step.

        Parameters
        ----------
        batch_size : int
        func : callable, default nd.zeros
            Called with ``shape=`` and ``dtype=`` for each state.
        **kwargs
            For `func`.
        """
        return begin_states(self.state_info(batch_size), func, kwargs)

    def __call__(
        self, inputs: Any, states: Any = None, sequence_length: Any = None, **kwargs: Any
    ) -> Any:
        return super().__call__(inputs, states, sequence_length, **kwargs)

    def hybrid_forward(  # type: ignore[override]
        self,
        F: Any,
        inputs: Any,
        states: Any = None,
        sequence_length: Any = None,
        **params: Any,
    ) -> Any:
        """Return the outputs; and the last states, if first ones were given.

        Parameters
        ----------
        inputs : array
            Of the layer's layout.
        states : array or list of arrays, optional
            None: zeros.
        sequence_length : array of shape (batch,), optional
            With ``use_sequence_length=True`` only: outputs after it are 0, and the states
            those at it. (MXNet 1.9.1 has that on GPUs only, and ignores it elsewhere.)

        Raises
        ------
        ValueError
            For inputs or states of another shape.
        """
        if np.ndim(inputs) != 3:
            raise ValueError(
                f"{self!r} wants inputs of layout {self._layout}, not of shape {np.shape(inputs)}"
            )
        if self._use_sequence_length and sequence_length is None:
            raise ValueError(f"{self!r} has use_sequence_length=True, but no sequence_length came")
        if not self._use_sequence_length and sequence_length is not None:
            raise ValueError(f"{self!r} takes a sequence_length with use_sequence_length=True only")
        n_batch = inputs.shape[self._layout.find("N")]
        given = states
        if states is None:
            states = self.begin_state(n_batch, ctx=inputs.context, dtype=inputs.dtype)
        elif isinstance(states, np.ndarray):
            states = [states]
        infos = self.state_info(n_batch)
        if len(states) != len(infos):
            raise ValueError(f"{self!r} has {len(infos)} states, but {len(states)} were given")
        for state, info in zip(states, infos, strict=True):
            if np.shape(state) != info["shape"]:
                raise ValueError(
                    "Invalid recurrent state shape. Expecting "
                    f"{info['shape']}, got {np.shape(state)}."
                )
        is_turned = self._layout == "NTC"
        outputs, *last = _recurrent.recurrent(
            inputs.swapaxes(0, 1) if is_turned else inputs,
            *states,
            sequence_length=sequence_length,
            parameters=params,
            mode=self._mode,
            state_size=self._hidden_size,
            num_layers=self._num_layers,
            bidirectional=self._dir == 2,
            projection_size=self._projection_size,
            clip=self._clip,
        )
        if is_turned:
            outputs = outputs.swapaxes(0, 1)
        return outputs if given is None else (outputs, last)

    def _unfuse(self) -> rnn_cell.HybridSequentialRNNCell:
        """Return cells that compute the same, with the parameters of this layer."""
        if self._projection_size:
            raise NotImplementedError("there is no cell with a projection")
        stack = rnn_cell.HybridSequentialRNNCell(prefix=self.prefix, params=self.params)
        with stack.name_scope():
            n_in = self._n_inputs
            for layer in range(self._num_layers):
                cells = [
                    _CELLS[self._mode](self._hidden_size, input_size=n_in, prefix=f"{side}{layer}_")
                    for side in "lr"[: self._dir]
                ]
                stack.add(rnn_cell.BidirectionalCell(*cells) if self._dir == 2 else cells[0])
                if self._dropout and layer != self._num_layers - 1:
                    stack.add(rnn_cell.DropoutCell(self._dropout))
                n_in = self._hidden_size * self._dir
        return stack


class RNN(_RNNLayer):
    """``h = activation(W x + b + U h + c)`` at each time step.

    Parameters
    ----------
    hidden_size : int
    num_layers : int, default 1
    activation : {'relu', 'tanh'}
    layout : {'TNC', 'NTC'}
        Of inputs and outputs: time, batch, features.
    dropout : float
        Between layers, when they learn.
    bidirectional : bool
    i2h_weight_initializer, h2h_weight_initializer : Initializer or str, optional
    i2h_bias_initializer, h2h_bias_initializer : Initializer or str, default 'zeros'
    input_size : int, default 0
        0: known from the first input, or from a file.
    dtype : dtype, default 'float32'
    **kwargs
        ``use_sequence_length``, ``prefix``, ``params``.
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        activation: str = "relu",
        layout: str = "TNC",
        dropout: float = 0,
        bidirectional: bool = False,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        dtype: Any = "float32",
        **kwargs: Any,
    ) -> None:
        if activation not in ("relu", "tanh"):
            raise ValueError(f"the activation of an RNN is 'relu' or 'tanh', not {activation!r}")
        super().__init__(
            hidden_size,
            num_layers,
            layout,
            dropout,
            bidirectional,
            input_size,
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
            f"rnn_{activation}",
            dtype=dtype,
            **kwargs,
        )


class LSTM(_RNNLayer):
    """Long short-term memory: gates in the order in, forget, candidate, out.

    Parameters
    ----------
    hidden_size : int
    num_layers, layout, dropout, bidirectional, input_size, dtype, **kwargs
        As in `RNN`, as are the initializers.
    projection_size : int, optional
        Of the outputs, where it differs from `hidden_size`.
    h2r_weight_initializer : Initializer or str, optional
        Of the weights of the projection.
    state_clip_min, state_clip_max : float, optional
        Between what the cell state is held. (MXNet 1.9.1 has that on GPUs only.)
    state_clip_nan : bool
        Whether NaN is held there too.
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        layout: str = "TNC",
        dropout: float = 0,
        bidirectional: bool = False,
        input_size: int = 0,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        projection_size: int | None = None,
        h2r_weight_initializer: Any = None,
        state_clip_min: float | None = None,
        state_clip_max: float | None = None,
        state_clip_nan: bool = False,
        dtype: Any = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            hidden_size,
            num_layers,
            layout,
            dropout,
            bidirectional,
            input_size,
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
            "lstm",
            projection_size,
            h2r_weight_initializer,
            state_clip_min,
            state_clip_max,
            state_clip_nan,
            dtype,
            **kwargs,
        )


class GRU(_RNNLayer):
    """Gated recurrent unit: gates in the order reset, update, new, as cuDNN computes them.

    Parameters
    ----------
    hidden_size : int
    num_layers, layout, dropout, bidirectional, input_size, dtype, **kwargs
        As in `RNN`, as are the initializers.
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        layout: str = "TNC",
        dropout: float = 0,
        bidirectional: bool = False,
        input_size: int = 0,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        dtype: Any = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            hidden_size,
            num_layers,
            layout,
            dropout,
            bidirectional,
            input_size,
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
            "gru",
            dtype=dtype,
            **kwargs,
        )
