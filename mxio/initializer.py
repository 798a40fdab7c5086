# SPDX-License-Identifier: Apache-2.0
"""Initializers: what fills a parameter before anything is loaded or learnt.

Names, defaults, formulas and the JSON of `Initializer.dumps` are those of MXNet 1.9.1,
measured. The random numbers come from ``mxio.nd.random``, so ``mxio.random.seed`` repeats
them; they are not the numbers MXNet draws. ``mxio.init`` is this module.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from mxio import nd
from mxio.nd import _recurrent, random

__all__ = [
    "Bilinear",
    "Constant",
    "FusedRNN",
    "InitDesc",
    "Initializer",
    "LSTMBias",
    "Load",
    "MSRAPrelu",
    "Mixed",
    "Normal",
    "One",
    "Orthogonal",
    "TruncNorm",
    "Uniform",
    "Xavier",
    "Zero",
    "alias",
    "create",
    "register",
]

Array = np.ndarray[Any, Any]
_Class = TypeVar("_Class", bound="type[Initializer]")

# Elements filled at a time, so that a large array of 16 bits needs no copy of 32.
_PIECE = 1 << 20
_REGISTERED: dict[str, type[Initializer]] = {}
_log = logging.getLogger(__name__)


class InitDesc(str):
    """The name of an array that is to be filled, with what else is known of it.

    Parameters
    ----------
    name : str
    attrs : dict, optional
        ``'__init__'`` names the initializer (or is it) that wins over the one called.
    global_init : Initializer, optional
        The one to fall back on; the first that is called puts itself here.
    """

    attrs: Mapping[str, Any]
    global_init: Any

    def __new__(
        cls, name: str, attrs: Mapping[str, Any] | None = None, global_init: Any = None
    ) -> InitDesc:
        desc = super().__new__(cls, name)
        desc.attrs = attrs or {}
        desc.global_init = global_init
        return desc


def register(klass: _Class) -> _Class:
    """Make a subclass of Initializer known to `create` by its name in lower case.

    Raises
    ------
    TypeError
        For anything else.
    """
    if not (isinstance(klass, type) and issubclass(klass, Initializer)):
        raise TypeError(f"can only register a subclass of Initializer, not {klass!r}")
    _REGISTERED[klass.__name__.lower()] = klass
    return klass


def alias(*names: str) -> Callable[[_Class], _Class]:
    """Make a class known to `create` by other names too, as a decorator."""

    def name(klass: _Class) -> _Class:
        register(klass)
        _REGISTERED.update((name.lower(), klass) for name in names)
        return klass

    return name


def create(initializer: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the initializer of a name.

    Parameters
    ----------
    initializer : str or Initializer
        A name in any case, what `Initializer.dumps` returned, or an initializer (or any
        other callable, such as `Mixed` and `Load`), which comes back as it is.
    *args, **kwargs
        Of its class.

    Raises
    ------
    ValueError
        For an unknown name, or arguments beside what is an initializer already.
    TypeError
        For another kind of `initializer`.
    """
    if isinstance(initializer, Initializer) or (
        callable(initializer) and not isinstance(initializer, type)
    ):
        if args or kwargs:
            raise ValueError(f"{initializer!r} is an initializer already and takes no arguments")
        return initializer
    if isinstance(initializer, type) and issubclass(initializer, Initializer):
        return initializer(*args, **kwargs)
    if not isinstance(initializer, str):
        raise TypeError(
            "an initializer is a name or an object of mxio.init, "
            f"not of type {type(initializer).__name__}"
        )
    name = initializer
    if name.startswith("["):
        if args or kwargs:
            raise ValueError(f"{name} has its arguments already")
        name, kwargs = _parsed(name)
    if name.lower() not in _REGISTERED:
        known = ", ".join(sorted(_REGISTERED))
        raise ValueError(f"no initializer is registered as {name!r}; there are {known}")
    return _REGISTERED[name.lower()](*args, **kwargs)


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    try:
        name, kwargs = json.loads(text)
    except ValueError:
        name = kwargs = None
    if not isinstance(name, str) or not isinstance(kwargs, dict):
        raise ValueError(f'an initializer in JSON is ["name", {{arguments}}], not {text!r}')
    return name, kwargs


class Initializer:
    """The base of initializers: override ``_init_weight(self, name, arr)`` to fill `arr`.

    Called with a description and an array it goes by the name's ending: biases, ``beta``
    and means become 0, ``gamma`` and variances 1, weights what the class makes of them.
    A Gluon parameter does not ask its name: it is filled by ``_init_weight`` of its own
    initializer, or of the net's if it has none.

    Parameters
    ----------
    **kwargs
        What the class was made with: `dumps` and ``==`` look at it.

    Examples
    --------
    >>> class Half(Initializer):
    ...     def _init_weight(self, name, arr):
    ...         arr[:] = 0.5
    """

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = kwargs

    def dumps(self) -> str:
        """Return the class and its arguments in JSON, which `create` takes."""
        kwargs = {key: _plain(value) for key, value in self._kwargs.items()}
        return json.dumps([type(self).__name__.lower(), kwargs])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Initializer):
            return NotImplemented
        return type(self) is type(other) and (
            self._kwargs is other._kwargs or self.dumps() == other.dumps()
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        kwargs = ", ".join(f"{key}={value!r}" for key, value in self._kwargs.items())
        return f"{type(self).__name__}({kwargs})"

    def __call__(self, desc: str, arr: Array) -> None:
        """Fill `arr` as its description asks.

        Raises
        ------
        ValueError
            For a name whose ending says nothing.
        """
        if not isinstance(desc, str):
            raise TypeError(
                f"the name of an array is an InitDesc or a str, not {type(desc).__name__}"
            )
        if not isinstance(arr, np.ndarray):
            raise TypeError(f"what is filled is an array, not of type {type(arr).__name__}")
        if isinstance(desc, InitDesc):
            if desc.global_init is None:
                desc.global_init = self
            chosen = desc.attrs.get("__init__")
            if chosen:
                _fill(create(chosen), desc, arr)
                return
        for ending, method in _ENDINGS:
            if desc.endswith(ending):
                getattr(self, method)(desc, arr)
                return
        self._init_default(desc, arr)

    def _init_weight(self, name: str, arr: Array) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not override _init_weight")

    def _init_bias(self, name: str, arr: Array) -> None:
        arr[...] = 0

    def _init_gamma(self, name: str, arr: Array) -> None:
        arr[...] = 1

    def _init_beta(self, name: str, arr: Array) -> None:
        arr[...] = 0

    def _init_zero(self, name: str, arr: Array) -> None:
        arr[...] = 0

    def _init_one(self, name: str, arr: Array) -> None:
        arr[...] = 1

    def _init_default(self, name: str, arr: Array) -> None:
        raise ValueError(
            f"the name of array {str(name)!r} does not say how to fill it (it ends in none of "
            "weight, bias, gamma, beta, …); give it an initializer of its own with init="
        )


# In this order: the first ending that fits. MXNet 1.9.1 knows the means and variances only by
# a plain str for a name, and no running_mean and running_var at all.
_ENDINGS = (
    ("weight", "_init_weight"),
    ("bias", "_init_bias"),
    ("gamma", "_init_gamma"),
    ("beta", "_init_beta"),
    ("min", "_init_zero"),
    ("max", "_init_one"),
    ("running_mean", "_init_zero"),
    ("moving_mean", "_init_zero"),
    ("running_var", "_init_one"),
    ("moving_var", "_init_one"),
    ("moving_inv_var", "_init_zero"),
    ("moving_avg", "_init_zero"),
)


def _fill(initializer: Any, desc: str, arr: Array) -> None:
    """Fill as an initializer that was chosen for this very array, whatever its name says."""
    method = getattr(initializer, "_init_weight", None)
    if method is None:  # another callable, which may ask for attributes; it is chosen already
        desc, method = InitDesc(desc, global_init=getattr(desc, "global_init", None)), initializer
    method(desc, arr)


def _call(initializer: Any, desc: str, arr: Array) -> None:
    """Fill as the array's name and attributes say."""
    initializer(desc, arr)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value.tolist() if isinstance(value, np.ndarray) else value


def _pieces(arr: Array) -> Iterator[tuple[int, Callable[[Array], None]]]:
    """Yield the elements of `arr` in order, by counts, each with what puts values there."""
    flat: Any = arr.reshape(-1) if arr.flags.c_contiguous else arr.flat
    for start in range(0, arr.size, _PIECE):
        stop = min(start + _PIECE, arr.size)

        def put(values: Array, where: slice = slice(start, stop)) -> None:
            flat[where] = values

        yield stop - start, put


def _two_dims(initializer: Initializer, name: str, arr: Array) -> None:
    if arr.ndim < 2:
        raise ValueError(
            f"the {type(initializer).__name__} initializer is for arrays of 2 dimensions or more, "
            f"but array {str(name)!r} has shape {arr.shape}"
        )


def _draw_uniform(scale: float, arr: Array) -> None:
    for count, put in _pieces(arr):
        put(random.uniform(-scale, scale, count, arr.dtype))


def _draw_normal(sigma: float, arr: Array) -> None:
    for count, put in _pieces(arr):
        put(random.normal(0, sigma, count, arr.dtype))


@alias("zeros")
class Zero(Initializer):
    """Zeros."""

    def __init__(self) -> None:
        super().__init__()

    def _init_weight(self, name: str, arr: Array) -> None:
        arr[...] = 0


@alias("ones")
class One(Initializer):
    """Ones."""

    def __init__(self) -> None:
        super().__init__()

    def _init_weight(self, name: str, arr: Array) -> None:
        arr[...] = 1


@register
class Constant(Initializer):
    """One value, or the values of an array that broadcasts to the shape.

    Parameters
    ----------
    value : float or array-like
    """

    def __init__(self, value: Any) -> None:
        super().__init__(value=value)
        self.value = value

    def _init_weight(self, name: str, arr: Array) -> None:
        value = np.asarray(self.value)
        try:
            arr[...] = value
        except ValueError:
            raise ValueError(
                f"the Constant initializer of array {str(name)!r} has shape {value.shape}, which "
                f"does not broadcast to {arr.shape}"
            ) from None


@register
class Uniform(Initializer):
    """Evenly from [-scale, scale).

    Parameters
    ----------
    scale : float, default 0.07
    """

    def __init__(self, scale: float = 0.07) -> None:
        super().__init__(scale=scale)
        self.scale = scale

    def _init_weight(self, name: str, arr: Array) -> None:
        _draw_uniform(self.scale, arr)


@register
class Normal(Initializer):
    """Normally about 0.

    Parameters
    ----------
    sigma : float, default 0.01
        The standard deviation.
    """

    def __init__(self, sigma: float = 0.01) -> None:
        super().__init__(sigma=sigma)
        self.sigma = sigma

    def _init_weight(self, name: str, arr: Array) -> None:
        _draw_normal(self.sigma, arr)


@register
class TruncNorm(Initializer):
    """Normally, drawn again where it is more than two standard deviations from the mean.

    MXNet has none; the signature is GluonNLP's.

    Parameters
    ----------
    mean : float, default 0
    stdev : float, default 0.01
        That of the distribution before it is cut.
    """

    def __init__(self, mean: float = 0, stdev: float = 0.01) -> None:
        super().__init__(mean=mean, stdev=stdev)
        self.mean = mean
        self.stdev = stdev

    def _init_weight(self, name: str, arr: Array) -> None:
        native = np.float64 if arr.dtype.itemsize > 4 else np.float32
        for count, put in _pieces(arr):
            values = np.asarray(random.normal(0, 1, count, native))
            while (beyond := np.flatnonzero(np.abs(values) > 2)).size:
                values[beyond] = random.normal(0, 1, beyond.size, native)
            put(values * native(self.stdev) + native(self.mean))


@register
class Orthogonal(Initializer):
    """Rows that stand on each other at right angles, or columns if those are fewer.

    Axes after the first count as one.

    Parameters
    ----------
    scale : float, default 1.414
        The length of each.
    rand_type : {'uniform', 'normal'}
        What the matrix is drawn from before it is made orthogonal.
    """

    def __init__(self, scale: float = 1.414, rand_type: str = "uniform") -> None:
        super().__init__(scale=scale, rand_type=rand_type)
        self.scale = scale
        self.rand_type = rand_type

    def _init_weight(self, name: str, arr: Array) -> None:
        _two_dims(self, name, arr)
        if not arr.size:
            return
        rows, columns = arr.shape[0], arr.size // arr.shape[0]
        native = np.float64 if arr.dtype.itemsize > 4 else np.float32
        size = (max(rows, columns), min(rows, columns))
        if self.rand_type == "uniform":
            drawn = random.uniform(-1, 1, size, native)
        elif self.rand_type == "normal":
            drawn = random.normal(0, 1, size, native)
        else:
            raise ValueError(f"rand_type is 'uniform' or 'normal', not {self.rand_type!r}")
        q, r = np.linalg.qr(np.asarray(drawn))
        # R's diagonal has the signs that the method happens to leave; without them Q is fair.
        q *= np.where(np.diagonal(r) < 0, native(-self.scale), native(self.scale))
        arr[...] = (q if rows >= columns else q.T).reshape(arr.shape)


@register
class Xavier(Initializer):
    """Such that the scale of what flows through the layer stays about the same.

    The bound (``'uniform'``) or the standard deviation (``'gaussian'``) is
    ``sqrt(magnitude / factor)``; fan-in is ``shape[1]``, fan-out ``shape[0]``, each times
    the size of the kernel.

    Parameters
    ----------
    rnd_type : {'uniform', 'gaussian'}
    factor_type : {'avg', 'in', 'out'}
    magnitude : float, default 3
    """

    def __init__(
        self, rnd_type: str = "uniform", factor_type: str = "avg", magnitude: float = 3
    ) -> None:
        super().__init__(rnd_type=rnd_type, factor_type=factor_type, magnitude=magnitude)
        self.rnd_type = rnd_type
        self.factor_type = factor_type
        self.magnitude = float(magnitude)

    def _init_weight(self, name: str, arr: Array) -> None:
        _two_dims(self, name, arr)
        kernel = math.prod(arr.shape[2:])
        fan_in, fan_out = arr.shape[1] * kernel, arr.shape[0] * kernel
        factors = {"avg": (fan_in + fan_out) / 2, "in": fan_in, "out": fan_out}
        if self.factor_type not in factors:
            raise ValueError(f"factor_type is 'avg', 'in' or 'out', not {self.factor_type!r}")
        if self.rnd_type not in ("uniform", "gaussian"):
            raise ValueError(f"rnd_type is 'uniform' or 'gaussian', not {self.rnd_type!r}")
        if not arr.size:
            return
        scale = math.sqrt(self.magnitude / factors[self.factor_type])
        (_draw_uniform if self.rnd_type == "uniform" else _draw_normal)(scale, arr)


@register
class MSRAPrelu(Xavier):
    """Xavier for layers that a (leaky) ReLU follows: normally, magnitude ``2 / (1 + slope**2)``.

    Parameters
    ----------
    factor_type : {'avg', 'in', 'out'}
    slope : float, default 0.25
        The slope of the ReLU below 0.
    """

    def __init__(self, factor_type: str = "avg", slope: float = 0.25) -> None:
        super().__init__("gaussian", factor_type, 2 / (1 + slope**2))
        self._kwargs = {"factor_type": factor_type, "slope": slope}


@register
class Bilinear(Initializer):
    """The kernel with which a transposed convolution enlarges images bilinearly."""

    def __init__(self) -> None:
        super().__init__()

    def _init_weight(self, name: str, arr: Array) -> None:
        if arr.ndim != 4:
            raise ValueError(
                f"the Bilinear initializer is for kernels of 4 dimensions, but array "
                f"{str(name)!r} has shape {arr.shape}"
            )
        # The width alone says how far the kernel reaches, as in MXNet.
        height, width = arr.shape[2:]
        reach = math.ceil(width / 2)
        if not reach:
            return
        centre = (2 * reach - 1 - reach % 2) / (2 * reach)
        down = 1 - np.abs(np.arange(height) / reach - centre)
        across = 1 - np.abs(np.arange(width) / reach - centre)
        arr[...] = np.outer(down, across)


@register
class LSTMBias(Initializer):
    """Zeros, but for the forget gate's quarter.

    Parameters
    ----------
    forget_bias : float, default 1.0
    """

    def __init__(self, forget_bias: float = 1.0) -> None:
        super().__init__(forget_bias=forget_bias)
        self.forget_bias = forget_bias

    def _init_weight(self, name: str, arr: Array) -> None:
        arr[...] = 0
        quarter = len(arr) // 4
        arr[quarter : 2 * quarter] = self.forget_bias


@register
class FusedRNN(Initializer):
    """The flat vector of ``nd.RNN``, part by part.

    Parameters
    ----------
    init : Initializer or str or None
        Of the parts, by their names; None: the one that was called first (``global_init``).
    num_hidden, num_layers, mode, bidirectional
        As in ``nd.RNN``.
    forget_bias : float, default 1.0
        What both biases of the forget gate of an LSTM become.
    """

    def __init__(
        self,
        init: Any,
        num_hidden: int,
        num_layers: int,
        mode: str,
        bidirectional: bool = False,
        forget_bias: float = 1.0,
    ) -> None:
        init = None if init is None else create(init)
        super().__init__(
            init=None if init is None else init.dumps(),
            num_hidden=num_hidden,
            num_layers=num_layers,
            mode=mode,
            bidirectional=bidirectional,
            forget_bias=forget_bias,
        )
        self._init = init

    def _init_weight(self, name: str, arr: Array) -> None:
        given = self._kwargs
        shape = (given["mode"], given["num_hidden"], given["num_layers"], given["bidirectional"])
        parts = _recurrent.unpack(arr.reshape(-1), *shape)
        fallback = getattr(name, "global_init", None)
        for part, array in parts.items():
            init = self._init or fallback
            if init is None:
                raise ValueError(f"FusedRNN(None, …) of array {str(name)!r} needs a global_init")
            init(InitDesc(part, global_init=fallback), array)
            if given["mode"] == "lstm" and part.endswith("bias"):
                quarter = len(array) // 4
                array[quarter : 2 * quarter] = given["forget_bias"]


class Load:
    """Arrays of a file or a dict, by name.

    Parameters
    ----------
    param : str or os.PathLike or dict
        ``arg:`` and ``aux:`` in front of names are left out.
    default_init : Initializer, optional
        For arrays that are not among them.
    verbose : bool, default False
        Log where each came from.
    """

    def __init__(self, param: Any, default_init: Any = None, verbose: bool = False) -> None:
        arrays = param if isinstance(param, Mapping) else nd.load(param)
        if not isinstance(arrays, Mapping):
            raise ValueError(f"{param} holds a list of arrays; Load needs names")
        self.param = {
            name.removeprefix("arg:").removeprefix("aux:"): array for name, array in arrays.items()
        }
        self.default_init = None if default_init is None else create(default_init)
        self.verbose = verbose

    def __call__(self, name: str, arr: Array) -> None:
        """Fill `arr`.

        Raises
        ------
        ValueError
            If its name is not there and there is no `default_init`, or for another shape.
        """
        self._into(name, arr, _call)

    def _init_weight(self, name: str, arr: Array) -> None:
        self._into(name, arr, _fill)

    def _into(self, name: str, arr: Array, by: Callable[[Any, str, Array], None]) -> None:
        loaded = self.param.get(str(name))
        if loaded is not None:
            if loaded.shape != arr.shape:
                raise ValueError(
                    f"array {str(name)!r} has shape {arr.shape}, but the one loaded for it "
                    f"{loaded.shape}"
                )
            arr[...] = loaded
        elif self.default_init is not None:
            by(self.default_init, name, arr)
        else:
            raise ValueError(
                f"array {str(name)!r} is not among those loaded, and there is no default_init="
            )
        if self.verbose:
            how = "by default" if loaded is None else "from what was loaded"
            _log.info("initialized %s %s", name, how)


class Mixed:
    """The first initializer whose regular expression matches the name's beginning.

    Parameters
    ----------
    patterns : sequence of str
    initializers : sequence of Initializer
        As many. Each is called with the name, and may still go by its ending.
    """

    def __init__(self, patterns: Sequence[str], initializers: Sequence[Any]) -> None:
        if len(patterns) != len(initializers):
            raise ValueError(
                f"Mixed has {len(patterns)} patterns, but {len(initializers)} initializers"
            )
        made = map(create, initializers)
        self.map = [(re.compile(p), i) for p, i in zip(patterns, made, strict=True)]

    def __call__(self, name: str, arr: Array) -> None:
        """Fill `arr`; ValueError if nothing matches."""
        _call(self._chosen(name), name, arr)

    def _init_weight(self, name: str, arr: Array) -> None:
        _fill(self._chosen(name), name, arr)

    def _chosen(self, name: str) -> Any:
        for pattern, initializer in self.map:
            if pattern.match(name):
                return initializer
        raise ValueError(
            f"array {str(name)!r} matches no pattern of Mixed; add '.*' with a default at the end"
        )
