# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers over all time steps: RNN, LSTM and GRU, and the vector of their parameters.

The input of all time steps meets its weights in one matrix product; what remains of a step
is one product with the state and the gates. Gates stand in cuDNN's order, as in MXNet: in,
forget, candidate, out (LSTM); reset, update, new (GRU).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mxio.nd._layers import learned
from mxio.nd._operator import Array, computing, floating, operator, product, rounded

__all__ = ["MODES", "RNN", "layout", "recurrent", "unpack"]

MODES = {"rnn_relu": 1, "rnn_tanh": 1, "lstm": 4, "gru": 3}
"""Modes, and how many rows of the weights a unit has."""

_PARTS = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias", "h2r_weight")
# Elements of what the input makes of the gates, at a time.
_ROOM = 1 << 24


# ---- parameters ------------------------------------------------------------------------------


def layout(
    mode: str,
    input_size: int,
    state_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
    projection_size: int | None = None,
) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the parameters as they follow each other in the flat vector.

    The names are ``l0_i2h_weight`` and so on, ``r0_`` for the way back; all weights come
    before all biases.
    """
    if mode not in MODES:
        raise ValueError(f"no mode {mode!r}: it is one of {', '.join(MODES)}")
    rows = MODES[mode] * state_size
    n_out = projection_size or state_size
    weights: dict[str, tuple[int, ...]] = {}
    biases: dict[str, tuple[int, ...]] = {}
    sides = "lr" if bidirectional else "l"
    for layer in range(num_layers):
        n_in = len(sides) * n_out if layer else input_size
        for side in sides:
            weights[f"{side}{layer}_i2h_weight"] = (rows, n_in)
            weights[f"{side}{layer}_h2h_weight"] = (rows, n_out)
            if projection_size:
                weights[f"{side}{layer}_h2r_weight"] = (projection_size, state_size)
            biases[f"{side}{layer}_i2h_bias"] = (rows,)
            biases[f"{side}{layer}_h2h_bias"] = (rows,)
    return weights | biases


def unpack(
    vector: Array,
    mode: str,
    state_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
    projection_size: int | None = None,
    input_size: int = 0,
) -> dict[str, Array]:
    """Return the parameters in a flat vector, by the names of `layout`, as views.

    Parameters
    ----------
    vector : array of one dimension
    mode, state_size, num_layers, bidirectional, projection_size
        As in `RNN`.
    input_size : int, default 0
        0: it follows from the length.

    Raises
    ------
    ValueError
        For a length that no input size makes, or another than the one given.
    """
    sizes = (state_size, num_layers, bidirectional, projection_size)
    n_rest = _total(layout(mode, 0, *sizes))
    per_input = MODES[mode] * state_size * (2 if bidirectional else 1)
    found, over = divmod(vector.size - n_rest, per_input)
    if vector.ndim != 1 or over or found < 1 or input_size not in (0, found):
        asked = f"{n_rest} + {per_input} * (input size)"
        if input_size:
            asked = f"{n_rest + per_input * input_size} (input size {input_size})"
        raise ValueError(
            f"the parameters of {num_layers} layers of {mode} of state size {state_size} are a "
            f"vector of length {asked}, not an array of shape {vector.shape}"
        )
    parts = {}
    start = 0
    for name, shape in layout(mode, found, *sizes).items():
        stop = start + math.prod(shape)
        parts[name] = vector[start:stop].reshape(shape)
        start = stop
    return parts


def _total(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(map(math.prod, shapes.values()))


# ---- one step --------------------------------------------------------------------------------


class _Weights(NamedTuple):
    """The parameters of one layer in one direction, in the dtype of the computation."""

    i2h_weight: Array
    h2h_weight: Array
    i2h_bias: Array
    h2h_bias: Array
    h2r_weight: Array | None


_Clip = tuple[float, float, bool] | None  # least, greatest, whether NaN is cut too
_Step = Callable[[Array, Array, Array, _Weights, _Clip], tuple[Array, Array]]


def _sigmoid(x: Array) -> Array:
    # In place, and without an overflow of exp.
    half = x.dtype.type(0.5)
    x *= half
    np.tanh(x, out=x)
    x *= half
    x += half
    return x


def _relu_step(
    gates: Array, h: Array, c: Array, weights: _Weights, clip: _Clip
) -> tuple[Array, Array]:
    gates += product(h, weights.h2h_weight.T)
    return np.maximum(gates, 0, out=gates), c


def _tanh_step(
    gates: Array, h: Array, c: Array, weights: _Weights, clip: _Clip
) -> tuple[Array, Array]:
    gates += product(h, weights.h2h_weight.T)
    return np.tanh(gates, out=gates), c


def _lstm_step(
    gates: Array, h: Array, c: Array, weights: _Weights, clip: _Clip
) -> tuple[Array, Array]:
    gates += product(h, weights.h2h_weight.T)
    n = c.shape[1]
    first = _sigmoid(gates[:, : 2 * n])
    candidate = np.tanh(gates[:, 2 * n : 3 * n])
    candidate *= first[:, :n]
    c = first[:, n:] * c
    c += candidate
    if clip is not None:
        low, high, nan_too = clip
        c = np.fmax(np.fmin(c, high), low) if nan_too else np.clip(c, low, high)
    h = np.tanh(c)
    h *= _sigmoid(gates[:, 3 * n :])
    return (h if weights.h2r_weight is None else product(h, weights.h2r_weight.T)), c


def _gru_step(
    gates: Array, h: Array, c: Array, weights: _Weights, clip: _Clip
) -> tuple[Array, Array]:
    n = h.shape[1]
    from_state = product(h, weights.h2h_weight.T)
    gates[:, : 2 * n] += from_state[:, : 2 * n]
    first = _sigmoid(gates[:, : 2 * n])
    new = from_state[:, 2 * n :]
    new += weights.h2h_bias[2 * n :]
    new *= first[:, :n]
    new += gates[:, 2 * n :]
    np.tanh(new, out=new)
    update = first[:, n:]
    return update * h + (1 - update) * new, c


_STEPS: dict[str, _Step] = {
    "rnn_relu": _relu_step,
    "rnn_tanh": _tanh_step,
    "lstm": _lstm_step,
    "gru": _gru_step,
}


# ---- all steps -------------------------------------------------------------------------------


def _one_way(
    mode: str,
    x: Array,
    weights: _Weights,
    h: Array,
    c: Array,
    out: Array,
    backwards: bool,
    lengths: Array | None,
    clip: _Clip,
) -> tuple[Array, Array]:
    """Go over a sequence once: write the outputs, return the last states."""
    n_steps, n_batch, _ = x.shape
    step = _STEPS[mode]
    rows = len(weights.i2h_bias)
    bias = weights.i2h_bias + weights.h2h_bias
    if mode == "gru":  # the new gate's is inside of the reset
        bias[2 * rows // 3 :] = weights.i2h_bias[2 * rows // 3 :]
    n_block = max(1, _ROOM // max(1, n_batch * rows))
    starts = range(0, n_steps, n_block)
    for start in reversed(starts) if backwards else starts:
        block = x[start : start + n_block]
        gates = product(block.reshape(len(block) * n_batch, x.shape[2]), weights.i2h_weight.T)
        gates += bias
        gates = gates.reshape(len(block), n_batch, rows)
        order = range(len(block))
        for at in reversed(order) if backwards else order:
            next_h, next_c = step(gates[at], h, c, weights, clip)
            if lengths is None:
                h, c = next_h, next_c
                out[start + at] = h
            else:
                is_in = (start + at < lengths)[:, np.newaxis]
                h, c = np.where(is_in, next_h, h), np.where(is_in, next_c, c)
                out[start + at] = np.where(is_in, next_h, 0)
    return h, c


@operator
def recurrent(
    data: Any,
    state: Any,
    state_cell: Any = None,
    sequence_length: Any = None,
    *,
    parameters: Mapping[str, Any],
    mode: str,
    state_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
    projection_size: int | None = None,
    clip: _Clip = None,
) -> Any:
    """Return the outputs, the last state, and the last cell state of an LSTM.

    Parameters
    ----------
    parameters : mapping of str to array or Parameter
        By the names of `layout`.
    clip : tuple of float, float and bool, optional
        Between what the cell state of an LSTM is held, and whether NaN is too.

    The others are as in `RNN`.
    """
    x = np.asarray(data)
    if x.ndim != 3:
        raise ValueError(f"{mode} wants data of shape (time, batch, inputs), not {x.shape}")
    n_steps, n_batch, n_in = x.shape
    sizes = (state_size, num_layers, bidirectional, projection_size)
    shapes = layout(mode, n_in, *sizes)
    # All of them, before anything is computed: a Parameter that waits gets its shape here.
    arrays = {name: learned(parameters[name], shape, name) for name, shape in shapes.items()}
    n_ways = 2 if bidirectional else 1
    n_out = projection_size or state_size
    h = learned(state, (n_ways * num_layers, n_batch, n_out), "state")
    is_lstm = mode == "lstm"
    c = learned(state_cell, (*h.shape[:2], state_size), "state_cell") if is_lstm else h
    lengths = _lengths(sequence_length, n_steps, n_batch)

    dtype = floating(x, *arrays.values())
    exact = computing(dtype)
    x, h, c = rounded(x, exact), rounded(h, exact), rounded(c, exact)
    last_h, last_c = np.empty_like(h), np.empty_like(c)
    for layer in range(num_layers):
        y = np.empty((n_steps, n_batch, n_ways * n_out), exact)
        for way in range(n_ways):
            names = [f"{'lr'[way]}{layer}_{part}" for part in _PARTS]
            weights = _Weights(
                *(rounded(arrays[name], exact) if name in arrays else None for name in names)  # type: ignore[arg-type]
            )
            at = layer * n_ways + way
            out = y[:, :, way * n_out : (way + 1) * n_out]
            last_h[at], last_c[at] = _one_way(
                mode, x, weights, h[at], c[at], out, way == 1, lengths, clip
            )
        x = y
    results = [x, last_h, last_c] if is_lstm else [x, last_h]
    return [rounded(result, dtype) for result in results]


def _lengths(given: Any, n_steps: int, n_batch: int) -> Array | None:
    if given is None:
        return None
    lengths: Array = np.asarray(given)
    if lengths.shape != (n_batch,):
        raise ValueError(
            f"sequence_length has shape {lengths.shape}, but the batch asks for {(n_batch,)}"
        )
    if lengths.size and not (lengths.min() >= 0 and lengths.max() <= n_steps):
        raise ValueError(f"sequence_length is from 0 to {n_steps}, the number of time steps")
    return lengths


@operator
def RNN(
    data: Any,
    parameters: Any = None,
    state: Any = None,
    state_cell: Any = None,
    sequence_length: Any = None,
    state_size: int | None = None,
    num_layers: int | None = None,
    bidirectional: bool = False,
    mode: str | None = None,
    p: float = 0.0,
    state_outputs: bool = False,
    projection_size: int | None = None,
    lstm_state_clip_min: float | None = None,
    lstm_state_clip_max: float | None = None,
    lstm_state_clip_nan: bool = False,
    use_sequence_length: bool = False,
) -> Any:
    """Return the outputs of recurrent layers, one above the other, at all time steps.

    Parameters
    ----------
    data : array of shape (time, batch, inputs)
    parameters : array of one dimension
        All weights, then all biases: layer by layer, forward before backward, i2h before
        h2h (before h2r, the weights of a projection).
    state, state_cell : array of shape (layers * directions, batch, state_size)
        The first states; `state_cell` of an LSTM only.
    sequence_length : array of shape (batch,), optional
        With ``use_sequence_length``: steps after it give 0 and leave the states alone.
        (MXNet 1.9.1 has that on GPUs only, and ignores it elsewhere.)
    state_size, num_layers, bidirectional
    mode : {'rnn_relu', 'rnn_tanh', 'lstm', 'gru'}
    p : float
        Of dropout between layers, which lets everything through here.
    state_outputs : bool, default False
        Whether to return the last states too.
    projection_size : int, optional
        Of an LSTM whose outputs, and `state`, have another size than its units.
    lstm_state_clip_min, lstm_state_clip_max, lstm_state_clip_nan
        Between what the cell state is held. (As for `sequence_length`.)

    Returns
    -------
    NDArray, or list of NDArray
    """
    if state_size is None or num_layers is None or mode is None:
        raise TypeError("RNN needs state_size, num_layers and mode")
    if projection_size and mode != "lstm":
        raise ValueError(f"only an lstm has a projection, not {mode}")
    if use_sequence_length and sequence_length is None:
        raise ValueError("use_sequence_length=True needs a sequence_length")
    x = np.asarray(data)
    sizes = (state_size, num_layers, bidirectional, projection_size)
    n_all = _total(layout(mode, x.shape[-1] if x.ndim else 0, *sizes))
    vector = learned(parameters, (n_all,), "parameters")
    results = recurrent(
        x,
        state,
        state_cell,
        sequence_length if use_sequence_length else None,
        parameters=unpack(vector, mode, *sizes, input_size=x.shape[-1]),
        mode=mode,
        state_size=state_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        projection_size=projection_size,
        clip=clip_of(lstm_state_clip_min, lstm_state_clip_max, lstm_state_clip_nan),
    )
    return results if state_outputs else results[0]


def clip_of(low: float | None, high: float | None, nan_too: bool) -> _Clip:
    """Return where the cell state of an LSTM is cut; None: nowhere."""
    if low is None and high is None:
        return None
    if low is None or high is None:
        raise ValueError("the cell state is clipped between a minimum and a maximum: give both")
    return low, high, nan_too
