# SPDX-License-Identifier: Apache-2.0
"""Arithmetic, item by item.

Functions of one array keep its dtype: of integers they are computed in float64 and cut, as in
MXNet. Functions of two arrays broadcast, and have the dtype that the operators of NDArray give,
which is NumPy's: comparisons are bool. They start from float32 where all arrays are bool, so
that the sum of two comparisons counts.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from mxio.nd import _special
from mxio.nd._operator import Array, computing, operator, rounded
from mxio.nd.ndarray import dtype_of

__all__: list[str] = []
# Of one array.
__all__ += ["BlockGrad", "Cast", "MakeLoss", "abs", "amp_cast", "arccos", "arccosh", "arcsin"]
__all__ += ["arcsinh", "arctan", "arctanh", "cast", "cbrt", "ceil", "clip", "cos", "cosh"]
__all__ += ["degrees", "erf", "erfinv", "exp", "expm1", "fix", "floor", "gamma", "gammaln"]
__all__ += ["identity", "log", "log1p", "log2", "log10", "logical_not", "make_loss", "negative"]
__all__ += ["radians", "rcbrt", "reciprocal", "rint", "round", "rsqrt", "sign", "sin", "sinh"]
__all__ += ["sqrt", "square", "stop_gradient", "tan", "tanh", "trunc"]
# Of several.
__all__ += ["ElementWiseSum", "add", "add_n", "broadcast_add", "broadcast_div"]
__all__ += ["broadcast_equal", "broadcast_greater", "broadcast_greater_equal"]
__all__ += ["broadcast_hypot", "broadcast_lesser", "broadcast_lesser_equal"]
__all__ += ["broadcast_logical_and", "broadcast_logical_or", "broadcast_logical_xor"]
__all__ += ["broadcast_maximum", "broadcast_minimum", "broadcast_minus", "broadcast_mod"]
__all__ += ["broadcast_mul", "broadcast_not_equal", "broadcast_plus", "broadcast_power"]
__all__ += ["broadcast_sub", "divide", "elemwise_add", "elemwise_div", "elemwise_mul"]
__all__ += ["elemwise_sub", "equal", "greater", "greater_equal", "lesser", "lesser_equal"]
__all__ += ["logical_and", "logical_or", "logical_xor", "maximum", "minimum", "modulo"]
__all__ += ["multiply", "not_equal", "power", "subtract", "true_divide", "where"]

Function = Callable[..., Any]


def _unary(
    name: str, function: Function, does: str, of_integers: Function | None = None
) -> Function:
    """Return an operator of one array, computed in floating point.

    `of_integers` is what to do with integers instead of taking them for numbers of float64.
    """

    def apply(data: Any) -> Any:
        x = np.asarray(data)
        if x.dtype.kind == "b":
            x = x.astype(np.float32)
        if x.dtype.kind not in "fV":
            if of_integers is not None:
                return of_integers(x)
            return rounded(function(x.astype(np.float64)), x.dtype)
        return rounded(function(rounded(x, computing(x.dtype))), x.dtype)

    return operator(_named(apply, name, f"Return {does}."))


def _binary(name: str, function: Function, does: str, truth: bool = False) -> Function:
    """Return an operator of two arrays or numbers; two numbers make a number."""

    def apply(lhs: Any, rhs: Any) -> Any:
        arrays = [side for side in (lhs, rhs) if isinstance(side, np.ndarray)]
        if not truth and arrays and all(array.dtype.kind == "b" for array in arrays):
            lhs, rhs = (
                side.astype(np.float32) if isinstance(side, np.ndarray) else side
                for side in (lhs, rhs)
            )
        return function(lhs, rhs)

    of_arrays = operator(_named(apply, name, f"Return {does}."))

    def apply_to_numbers(lhs: Any, rhs: Any, **keywords: Any) -> Any:
        if isinstance(lhs, numbers.Number) and isinstance(rhs, numbers.Number):
            return function(lhs, rhs).item()
        return of_arrays(lhs, rhs, **keywords)

    found = _named(apply_to_numbers, name, f"Return {does}.")
    found.__signature__ = of_arrays.__signature__  # type: ignore[attr-defined]
    return found


def _named(function: Function, name: str, doc: str) -> Function:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _sign(x: Array) -> Array:
    return np.where(np.isnan(x), x.dtype.type(0), np.sign(x))


def _same(x: Array) -> Array:
    return x


def _round(x: Array) -> Array:
    # Half away from 0; adding 0.5 first would round what is just below it up.
    whole = np.trunc(x)
    y: Array = whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0)
    return np.where(np.isfinite(x), y, x)


def _rint(x: Array) -> Array:
    below = np.floor(x)
    return np.where(np.isfinite(x), below + (x - below > 0.5), x)


def _mod(lhs: Any, rhs: Any) -> Any:
    return np.where(np.equal(rhs, 0), np.zeros_like(found := np.mod(lhs, rhs)), found)


def _in_float64(function: Function) -> Function:
    return lambda x: function(x.astype(np.float64))


abs = _unary("abs", np.abs, "the absolute values", np.abs)
sign = _unary("sign", _sign, "-1, 0 or 1; 0 for NaN", np.sign)
negative = _unary("negative", np.negative, "the values with the other sign", np.negative)
reciprocal = _unary("reciprocal", np.reciprocal, "``1 / data``")
square = _unary("square", np.square, "``data ** 2``", np.square)
sqrt = _unary("sqrt", np.sqrt, "the square roots")
rsqrt = _unary("rsqrt", lambda x: 1 / np.sqrt(x), "``1 / sqrt(data)``")
cbrt = _unary("cbrt", np.cbrt, "the cube roots")
rcbrt = _unary("rcbrt", lambda x: 1 / np.cbrt(x), "``1 / cbrt(data)``")
exp = _unary("exp", np.exp, "``e ** data``")
expm1 = _unary("expm1", np.expm1, "``exp(data) - 1``, also exact near 0")
log = _unary("log", np.log, "the natural logarithms")
log2 = _unary("log2", np.log2, "the logarithms to base 2")
log10 = _unary("log10", np.log10, "the logarithms to base 10")
log1p = _unary("log1p", np.log1p, "``log(1 + data)``, also exact near 0")
sin = _unary("sin", np.sin, "the sines of radians")
cos = _unary("cos", np.cos, "the cosines of radians")
tan = _unary("tan", np.tan, "the tangents of radians")
arcsin = _unary("arcsin", np.arcsin, "the inverse sines")
arccos = _unary("arccos", np.arccos, "the inverse cosines")
arctan = _unary("arctan", np.arctan, "the inverse tangents")
sinh = _unary("sinh", np.sinh, "the hyperbolic sines")
cosh = _unary("cosh", np.cosh, "the hyperbolic cosines")
tanh = _unary("tanh", np.tanh, "the hyperbolic tangents")
arcsinh = _unary("arcsinh", np.arcsinh, "the inverse hyperbolic sines")
arccosh = _unary("arccosh", np.arccosh, "the inverse hyperbolic cosines")
arctanh = _unary("arctanh", np.arctanh, "the inverse hyperbolic tangents")
degrees = _unary("degrees", np.degrees, "radians in degrees")
radians = _unary("radians", np.radians, "degrees in radians")
ceil = _unary("ceil", np.ceil, "the next integers up", _same)
floor = _unary("floor", np.floor, "the next integers down", _same)
trunc = fix = _unary("trunc", np.trunc, "the next integers towards 0", _same)
round = _unary("round", _round, "the nearest integers, of two the one away from 0", _same)
rint = _unary("rint", _rint, "the nearest integers, of two the lower one", _same)
erf = _unary("erf", _special.erf, "the error function")
erfinv = _unary("erfinv", _in_float64(_special.erfinv), "the inverse of the error function")
gamma = _unary("gamma", _in_float64(_special.gamma), "the gamma function")
gammaln = _unary(
    "gammaln", _in_float64(_special.gammaln), "the logarithm of the gamma function's size"
)

add = elemwise_add = broadcast_add = broadcast_plus = _binary("add", np.add, "``lhs + rhs``")
subtract = elemwise_sub = broadcast_sub = broadcast_minus = _binary(
    "subtract", np.subtract, "``lhs - rhs``"
)
multiply = elemwise_mul = broadcast_mul = _binary("multiply", np.multiply, "``lhs * rhs``")
divide = elemwise_div = broadcast_div = true_divide = _binary(
    "divide", np.true_divide, "``lhs / rhs``"
)
modulo = broadcast_mod = _binary(
    "modulo", _mod, "``lhs % rhs``, with the sign of `rhs`; 0 where that is 0"
)
power = broadcast_power = _binary("power", np.power, "``lhs ** rhs``")
maximum = broadcast_maximum = _binary("maximum", np.maximum, "the larger of each two")
minimum = broadcast_minimum = _binary("minimum", np.minimum, "the smaller of each two")
broadcast_hypot = _binary("broadcast_hypot", np.hypot, "``sqrt(lhs ** 2 + rhs ** 2)``")
equal = broadcast_equal = _binary("equal", np.equal, "``lhs == rhs``", True)
not_equal = broadcast_not_equal = _binary("not_equal", np.not_equal, "``lhs != rhs``", True)
greater = broadcast_greater = _binary("greater", np.greater, "``lhs > rhs``", True)
greater_equal = broadcast_greater_equal = _binary(
    "greater_equal", np.greater_equal, "``lhs >= rhs``", True
)
lesser = broadcast_lesser = _binary("lesser", np.less, "``lhs < rhs``", True)
lesser_equal = broadcast_lesser_equal = _binary(
    "lesser_equal", np.less_equal, "``lhs <= rhs``", True
)
logical_and = broadcast_logical_and = _binary(
    "logical_and", np.logical_and, "whether both are not 0", True
)
logical_or = broadcast_logical_or = _binary(
    "logical_or", np.logical_or, "whether one is not 0", True
)
logical_xor = broadcast_logical_xor = _binary(
    "logical_xor", np.logical_xor, "whether just one is not 0", True
)


@operator
def logical_not(data: Any) -> Any:
    """Return whether each item is 0."""
    return np.logical_not(data)


@operator
def clip(data: Any, a_min: float | None = None, a_max: float | None = None) -> Any:
    """Return the values, but at least `a_min` and at most `a_max`; NaN stays.

    Parameters
    ----------
    data : array
    a_min, a_max : float
        Either may be None, which is no limit. (MXNet 1.9.1 asks for both.)
    """
    data = np.asarray(data)
    if data.dtype == np.bool_:
        data = data.astype(np.float32)
    if a_min is not None:
        data = np.maximum(data, np.asarray(a_min).astype(data.dtype))
    if a_max is not None:
        data = np.minimum(data, np.asarray(a_max).astype(data.dtype))
    return data


@operator
def where(condition: Any, x: Any, y: Any) -> Any:
    """Return items of `x` where `condition` is not 0, else of `y`.

    Parameters
    ----------
    condition : array
        Of the shape of `x`, or a vector that says it for each row of `x`.
    x, y : array or number
    """
    condition = np.asarray(condition)
    shape = np.broadcast_shapes(np.shape(x), np.shape(y))
    if condition.ndim == 1 and len(shape) > 1 and len(condition) == shape[0]:
        condition = condition.reshape(-1, *(1,) * (len(shape) - 1))
    return np.where(condition != 0, x, y)


@operator
def add_n(*args: Any) -> Any:
    """Return the sum of arrays of one shape."""
    if not args:
        raise TypeError("add_n needs one array or more")
    total = np.array(args[0], subok=False)
    if total.dtype == np.bool_:  # comparisons count
        total = total.astype(np.float32)
    for array in args[1:]:
        if np.shape(array) != total.shape:
            raise ValueError(f"add_n cannot add shapes {total.shape} and {np.shape(array)}")
        total = total + array
    return total


@operator
def cast(data: Any, dtype: Any) -> Any:
    """Return a copy of another dtype."""
    return np.asarray(data).astype(dtype_of(dtype))


@operator
def identity(data: Any) -> Any:
    """Return a copy."""
    return np.asarray(data)


@operator
def MakeLoss(
    data: Any, grad_scale: float = 1.0, valid_thresh: float = 0.0, normalization: str = "null"
) -> Any:
    """Return a copy: the arguments are for training."""
    return np.asarray(data)


Cast = amp_cast = cast
BlockGrad = stop_gradient = make_loss = identity
ElementWiseSum = add_n
