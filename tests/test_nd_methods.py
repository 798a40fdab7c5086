# SPDX-License-Identifier: Apache-2.0
"""Methods of NDArray speak MXNet's words and NumPy's; NumPy's functions stay what they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mxio import nd
from mxio.context import cpu, gpu
from mxio.nd import _methods


def some(*shape: int, dtype: Any = "float32") -> nd.NDArray:
    x = np.random.default_rng(0).integers(-9, 9, shape).astype(dtype).view(nd.NDArray)
    return x.as_in_context(gpu(1))


def same(x: Any, y: Any) -> bool:
    """`x` is what NumPy makes of plain arrays, as NDArrays on the same context."""
    if isinstance(y, (tuple, list)):
        assert type(x) is type(y)
        return len(x) == len(y) and all(map(same, x, y))
    if isinstance(y, (np.ndarray, np.generic)):
        assert type(x) is nd.NDArray
        assert x.context == gpu(1)
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        return np.array_equal(np.asarray(x), y, equal_nan=y.dtype.kind == "f")
    return type(x) is type(y) and x == y


FUNCTIONS: list[Any] = [
    *(np.sum, np.mean, np.prod, np.max, np.min, np.std, np.var, np.any, np.all, np.ptp),
    *(np.argmax, np.argmin, np.argsort, np.sort, np.cumsum, np.diff, np.median, np.unique),
    *(np.transpose, np.ravel, np.squeeze, np.flip, np.round, np.nonzero, np.trace, np.diagonal),
    *(np.zeros_like, np.ones_like, np.copy, np.histogram, np.linalg.norm, np.shape, np.ndim),
    *(np.linalg.svd, np.atleast_3d, np.isclose, np.array_equal, np.nan_to_num, np.argwhere),
    lambda x: np.sum(x, axis=1, dtype="float64", keepdims=True),
    lambda x: np.mean(x, axis=(0, 1), where=x > 0),
    lambda x: np.max(x, axis=0, initial=5),
    lambda x: np.percentile(x, 30),
    lambda x: np.percentile(x, [10, 50], axis=0),
    lambda x: np.sort(x, axis=None),
    lambda x: np.sort(x, axis=0, kind="stable"),
    lambda x: np.argmax(x, axis=0, keepdims=True),
    lambda x: np.unique(x, return_counts=True),
    lambda x: np.clip(x, -2, 3),
    lambda x: np.clip(x, None, x[0]),
    lambda x: np.take(x, [3, 0]),
    lambda x: np.take(x, [1, 0], axis=1),
    lambda x: np.take(x, [77, -1], mode="wrap"),
    lambda x: np.repeat(x, 2, axis=0),
    lambda x: np.tile(x, (2, 1, 1)),
    lambda x: np.transpose(x, (1, 0)),
    lambda x: np.swapaxes(x, 0, 1),
    lambda x: np.expand_dims(x, 0),
    lambda x: np.reshape(x, (2, -1)),
    lambda x: np.reshape(x, -1, order="F"),
    lambda x: np.concatenate([x, x], axis=1),
    lambda x: np.stack((x, x)),
    lambda x: np.block([[x, x], [x, x]]),
    lambda x: np.split(x, 2, axis=1),
    lambda x: np.where(x > 0, x, 0),
    lambda x: np.where(x > 0),
    lambda x: np.einsum("ij,kj->ik", x, x),
    lambda x: np.tensordot(x, x, 2),
    lambda x: np.dot(x, x.T),
    lambda x: np.pad(x, 1),
    lambda x: np.delete(x, 1),
    lambda x: np.append(x, x),
    lambda x: np.round(x / 4, 1),
    lambda x: np.searchsorted(np.sort(x, axis=None), 3),
    lambda x: np.broadcast_to(x[:1], (3, 6)),
    lambda x: np.apply_along_axis(lambda row: row.flatten()[::-1], 1, x),
]
TWO = {np.isclose, np.array_equal}


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("number", range(len(FUNCTIONS)))
def test_functions_of_numpy_do_what_they_do_to_plain_arrays(number, dtype):
    function = FUNCTIONS[number]
    x = some(4, 6, dtype=dtype)
    args = (x, x) if function in TWO else (x,)
    assert same(function(*args), function(*map(np.asarray, args)))


def test_functions_of_numpy_write_to_ndarrays():
    x, y = some(4, 6), some(4, 6) * 0
    assert np.clip(x, 0, 3, out=y) is y
    assert same(y, np.clip(np.asarray(x), 0, 3))
    row = y[0]
    assert np.sum(x, axis=0, out=row) is row
    assert same(y[0], np.asarray(x).sum(0))
    np.copyto(y, 7)
    assert (y == 7).all()
    np.put(y, [0, 5], 3)
    assert y[0, 0] == y[0, 5] == 3


def test_other_arrays_keep_their_say():
    class Other:
        def __array_function__(self, *args: Any) -> str:
            return "other"

    assert np.concatenate([some(2), Other()]) == "other"

    class Silent:
        def __array_function__(self, *args: Any) -> Any:
            return NotImplemented

    with pytest.raises(TypeError, match="no implementation found"):
        np.concatenate([some(2), Silent()])


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_methods_with_the_arguments_of_numpy_have_its_results(dtype):
    x = some(3, 4, dtype=dtype)
    p = np.asarray(x)
    for of in (
        lambda a: a.sum(),
        lambda a: a.sum(0),
        lambda a: a.sum(axis=1, dtype="float64", keepdims=True),
        lambda a: a.mean(axis=(0, 1)),
        lambda a: a.mean(1),
        lambda a: a.prod(axis=-1),
        lambda a: a.max(),
        lambda a: a.max(axis=0, initial=2),
        lambda a: a.min(1, keepdims=True),
        lambda a: a.std(),
        lambda a: a.var(axis=0, ddof=1),
        lambda a: a.argmax(),
        lambda a: a.argmin(axis=1),
        lambda a: a.argsort(kind="stable"),
        lambda a: a.argsort(axis=0, stable=True),
        lambda a: a.clip(-1, 3),
        lambda a: a.clip(min=-1),
        lambda a: a.clip(max=2),
        lambda a: a.transpose(),
        lambda a: a.transpose(1, 0),
        lambda a: a.transpose((1, 0)),
        lambda a: a.transpose(None),
        lambda a: a.swapaxes(0, 1),
        lambda a: a.repeat(2, axis=1),
        lambda a: a.squeeze(),
        lambda a: a.reshape(2, 6),
        lambda a: a.reshape((2, -1), order="F"),
        lambda a: a.astype("float64"),
        lambda a: a.astype(np.float16, copy=False),
        lambda a: a.flatten("F"),
        lambda a: a.ravel(),
        lambda a: a.cumsum(axis=1),
        lambda a: a.dot(a.T),
        lambda a: a.round(1),
        lambda a: a.take([1, 0], axis=1),
        lambda a: a.take([1, 0], None),
        lambda a: a.diagonal(),
        lambda a: a.trace(),
        lambda a: a.any(),
    ):
        assert same(of(x), of(p))


def test_methods_with_the_arguments_of_mxnet_have_its_results():
    x = some(2, 3, 4)
    p = np.asarray(x)
    assert same(x.sum(1, True), p.sum(1, keepdims=True))
    assert same(x.sum(axis=[0, 2]), p.sum((0, 2)))
    assert same(x.mean(axis=1, exclude=True), p.mean((0, 2)))
    assert same(x.max((0, 2), False, True), p.max(1))
    assert same(x.argmax(1, True), p.argmax(1, keepdims=True))
    assert same(x.argsort(0, False), np.argsort(-p, 0, kind="stable"))
    down = np.argsort(-p, 1, kind="stable").astype("int32")
    assert same(x.argsort(axis=1, is_ascend=False, dtype="int32"), down)
    before = p.copy()
    assert same(x.sort(axis=1, is_ascend=False), -np.sort(-p, 1))
    assert np.array_equal(p, before)
    assert same(x.clip(a_min=-1, a_max=2), p.clip(-1, 2))
    assert same(x.transpose(axes=(2, 0, 1)), p.transpose(2, 0, 1))
    assert same(x.swapaxes(dim1=0, dim2=2), p.swapaxes(0, 2))
    assert same(x.take(nd.array([1, 9])), p[[1, 1]])
    assert same(x.take([2], 1, "wrap"), p[:, [2]])
    assert same(x.flatten(), p.reshape(2, 12))
    assert same(x.reshape((-1, 0), reverse=True), p.reshape(6, 4))
    assert same(x.astype("int32"), p.astype("int32"))
    assert x.astype("bfloat16").dtype.name == "bfloat16"
    assert same(x.relu(), np.maximum(p, 0))
    assert same(x.zeros_like(), p * 0)
    assert same(x.ones_like(), p * 0 + 1)
    assert same(x.norm(), np.float32(np.sqrt((p**2).sum())))
    assert x.softmax(axis=0).shape == x.log_softmax().shape == x.softmin(1).shape == x.shape


def test_views_are_views_and_copies_copies():
    x = some(2, 3, 4)
    for view in (x.transpose(), x.swapaxes(0, 1), x.reshape((6, 4)), x.detach(), x.ravel(), x.T):
        assert np.shares_memory(view, x)
    for copy in (x.flatten(), x.sort(), x.take([0]), x.clip(0, 1), x.astype("float32"), x.round()):
        assert not np.shares_memory(copy, x)
    assert x.astype("float32", copy=False) is x or np.shares_memory(
        x.astype("float32", copy=False), x
    )


def test_as_in_ctx_is_another_name():
    x = some(2)
    assert x.as_in_ctx(gpu(1)) is x
    assert x.as_in_ctx(cpu()).context == cpu()


def test_every_method_is_a_function_of_nd_with_the_same_result():
    for module, names in _methods._OPERATORS.items():
        for name in names.split():
            assert getattr(nd.NDArray, name) is getattr(module, name) is getattr(nd, name), name
