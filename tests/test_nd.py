# SPDX-License-Identifier: Apache-2.0
"""nd speaks MXNet: printed forms, results and messages measured with MXNet 1.9.1.

Where mxio means to differ, the test's docstring says so.
"""

from __future__ import annotations

import collections
import copy
import io
import pathlib
import pickle
import threading

import numpy as np
import pytest

import mxio
from mxio import nd
from mxio.context import Context, cpu, cpu_pinned, current_context, gpu
from mxio.errors import UnsupportedError


def same(x, y) -> bool:
    """Equal in class, context, dtype, shape and bits."""
    return (
        type(x) is type(y) is nd.NDArray
        and (x.context, x.dtype, x.shape) == (y.context, y.dtype, y.shape)
        and x.tobytes() == y.tobytes()
    )


# ---- printing


@pytest.mark.parametrize(
    ("make", "printed"),
    [
        (lambda: nd.arange(4), "\n[0. 1. 2. 3.]\n<NDArray 4 @cpu(0)>"),
        (lambda: nd.array([[1.5, 2], [3, 4]]), "\n[[1.5 2. ]\n [3.  4. ]]\n<NDArray 2x2 @cpu(0)>"),
        (lambda: nd.array([1, 2], dtype="int32"), "\n[1 2]\n<NDArray 2 @cpu(0)>"),
        (lambda: nd.array([True, False], dtype="bool"), "\n[ True False]\n<NDArray 2 @cpu(0)>"),
        (lambda: nd.array(5.0), "\n5.0\n<NDArray  @cpu(0)>"),
        (lambda: nd.array([]), "\n[]\n<NDArray 0 @cpu(0)>"),
        (lambda: nd.zeros(2, gpu(1)), "\n[0. 0.]\n<NDArray 2 @gpu(1)>"),
        (lambda: nd.array([np.nan, np.inf, -1]), "\n[nan inf -1.]\n<NDArray 3 @cpu(0)>"),
        (
            lambda: nd.zeros((1, 2, 2)),
            "\n[[[0. 0.]\n  [0. 0.]]]\n<NDArray 1x2x2 @cpu(0)>",
        ),
        (
            lambda: nd.array(np.arange(2000)),
            "\n[0.000e+00 1.000e+00 2.000e+00 ... 1.997e+03 1.998e+03 1.999e+03]"
            + "\n<NDArray 2000 @cpu(0)>",
        ),
        (
            lambda: nd.arange(0, 1, 0.1),
            "\n[0.         0.1        0.2        0.3        0.4        0.5"
            + "\n 0.6        0.7        0.8        0.90000004]\n<NDArray 10 @cpu(0)>",
        ),
    ],
)
def test_an_array_prints_as_in_mxnet(make, printed):
    assert repr(make()) == str(make()) == f"{make()}" == printed


def test_containers_of_arrays_print_as_in_mxnet():
    x = nd.arange(4)
    assert repr([x]) == "[\n[0. 1. 2. 3.]\n<NDArray 4 @cpu(0)>]"
    assert repr({"a": x}) == "{'a': \n[0. 1. 2. 3.]\n<NDArray 4 @cpu(0)>}"


# ---- making arrays


def test_array_is_float32_whatever_it_is_made_from():
    for source in ([1, 2], (1, 2), range(2), 5, True, np.arange(3), np.ones(2), np.array([True])):
        assert nd.array(source).dtype == np.float32
    assert nd.array(np.ones(2), dtype="float64").dtype == np.float64


def test_array_keeps_the_dtype_of_an_ndarray_and_copies_it():
    x = nd.array([1, 2], dtype="int8")
    y = nd.array(x)
    y[0] = 9
    assert y.dtype == np.int8
    assert x[0] == 1
    assert nd.array(x, dtype="int32").dtype == np.int32


def test_array_takes_nested_arrays():
    """MXNet refuses lists of arrays."""
    x = nd.arange(2)
    assert same(nd.array([x, x + 1]), nd.array([[0, 1], [1, 2]]))
    assert same(nd.array([x[0], x[1]]), x)


@pytest.mark.parametrize("source", ["a", [[1, 2], [3]], [1 + 2j], object()])
def test_array_refuses_what_is_not_an_array(source):
    with pytest.raises(TypeError, match="source_array must be array like object"):
        nd.array(source)


def test_zeros_ones_full_and_empty_take_a_shape_a_context_and_a_dtype():
    assert same(nd.zeros(4), nd.array([0, 0, 0, 0]))
    assert same(nd.ones([1, 2], gpu(0), "int8"), nd.array([[1, 1]], gpu(0), "int8"))
    assert same(nd.full((2,), 3), nd.array([3, 3]))
    assert same(nd.full(3, 7.9, dtype="int32"), nd.array([7, 7, 7], dtype="int32"))
    x = nd.empty((2, 3), ctx=cpu(1))
    assert (type(x), x.shape, x.dtype, x.context) == (nd.NDArray, (2, 3), np.float32, cpu(1))
    assert nd.zeros((0, 3)).shape == (0, 3)
    assert nd.zeros(()).shape == ()


def test_zeros_like_and_ones_like_keep_dtype_and_context():
    x = nd.array([3, 4], gpu(2), "int8")
    assert same(nd.zeros_like(x), nd.zeros(2, gpu(2), "int8"))
    assert same(nd.ones_like(x), nd.ones(2, gpu(2), "int8"))


@pytest.mark.parametrize("dtype", ["int32", np.int32, np.dtype("int32")])
def test_a_dtype_is_a_string_a_type_or_a_dtype(dtype):
    for x in (
        nd.array([1], dtype=dtype),
        nd.zeros(1, dtype=dtype),
        nd.full(1, 1, dtype=dtype),
        nd.arange(1, dtype=dtype),
        nd.random.randint(0, 5, dtype=dtype),
        nd.ones(1).astype(dtype),
    ):
        assert x.dtype == np.int32
    assert nd.zeros(1, dtype=None).dtype == np.float32
    with pytest.raises(TypeError, match="not understood"):
        nd.zeros(1, dtype="no such")


def test_bfloat16_is_a_dtype_when_ml_dtypes_is_installed():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for x in (
        nd.zeros(2, dtype="bfloat16"),
        nd.arange(2, dtype="bfloat16"),
        nd.random.uniform(shape=2, dtype="bfloat16"),
    ):
        assert x.dtype == ml_dtypes.bfloat16
        assert x.sum().shape == x[0].shape == x.mean().shape == ()


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ((3,), [0, 1, 2]),
        ((3.5,), [0, 1, 2, 3]),
        ((2, 6), [2, 3, 4, 5]),
        ((2, 6, 1.5), [2, 3.5, 5]),
        ((5, 0, -2), [5, 3, 1]),
        ((3, None, 1.0, 2), [0, 0, 1, 1, 2, 2]),
        ((16777216, 16777220), [16777216, 16777216, 16777218, 16777220]),
        ((0,), []),
        ((4, 2), []),
    ],
)
def test_arange_counts_as_in_mxnet(arguments, values):
    """But an empty range, an error there, is an empty array."""
    assert same(nd.arange(*arguments), nd.array(values))


def test_arange_repeats_in_any_dtype_and_refuses_steps_of_zero():
    x = nd.arange(2, 6, step=2, repeat=3, ctx=cpu(1), dtype="int32")
    assert same(x, nd.array([2, 2, 2, 4, 4, 4], cpu(1), "int32"))
    with pytest.raises(ValueError, match="step=0"):
        nd.arange(4, step=0)
    with pytest.raises(ValueError, match="repeat > 0, received 0"):
        nd.arange(4, repeat=0)


# ---- what an NDArray does


def test_views_arithmetic_and_copies_stay_ndarrays_of_their_context():
    x = nd.array([[1, 2], [3, 4]], gpu(1))
    for y in (
        x[0],
        x[0, 0],
        x[:, 1:],
        x[x > 2],
        x.T,
        x.reshape((4,)),
        x.copy(),
        x.astype("int32"),
        x + 1,
        2 * x,
        np.float64(2) * x,
        x + np.ones((2, 2)),
        np.ones((2, 2)) + x,
        x == 1,
        x @ x,
        np.exp(x),
        x.sum(),
        x.sum(axis=0),
        x.max(),
        x.argmax(),
        x.mean(),
        copy.copy(x),
        copy.deepcopy(x),
        pickle.loads(pickle.dumps(x)),
    ):
        assert type(y) is nd.NDArray
        assert y.context == gpu(1)
    assert type(np.concatenate([x, x])) is nd.NDArray


def test_a_full_reduction_or_index_is_an_ndarray_without_dimensions():
    """MXNet 1.9.1 makes them of shape (1,); NumPy makes them scalars."""
    for dtype in ("float16", "float32", "float64", "int32"):
        x = nd.array([3, 1, 2], dtype=dtype)
        reduced = (x.sum(), x.mean(), x.max(), x.std(), x.argmin(), x.dot(x), x.all(), x[0], x[-1])
        for y in (*reduced, *list(x), x.sum().round(), x[0] ** 2, -x[0], abs(x[0])):
            assert type(y) is nd.NDArray
            assert y.shape == ()
            assert isinstance(y.asscalar(), np.generic)


def test_a_single_element_works_as_a_number():
    x = nd.arange(4)
    assert float(x[3]) == 3.0
    assert int(x.sum()) == 6
    assert x[2] > 1
    assert not x[0]
    assert f"{x.mean():.2f}" == "1.50"
    assert "abcd"[x.argmax()] == "d"


def test_writing_to_an_element_taken_out_writes_to_the_array():
    x = nd.zeros((2, 2))
    x[0][1] = 5
    x[1, 0][...] = 6
    assert same(x, nd.array([[0, 5], [6, 0]]))


def test_operations_in_place_keep_the_array():
    x = y = nd.arange(3)
    x += 1
    assert x is y
    assert np.multiply(x, 2, out=x) is x
    assert same(y, nd.array([2, 4, 6]))


def test_comparison_is_elementwise_and_bool():
    """As in NumPy and MXNet 2; MXNet 1.9.1 has float32."""
    x = nd.arange(4)
    assert same(x == 1, nd.array([0, 1, 0, 0], dtype="bool"))
    assert same(x > 1, nd.array([0, 0, 1, 1], dtype="bool"))
    with pytest.raises(ValueError, match="truth value"):
        bool(x == 1)


def test_asscalar_returns_a_numpy_scalar():
    for x in (nd.array([7]), nd.array([[7]]), nd.array(7), nd.array([3, 4]).sum()):
        assert x.asscalar() == 7
        assert type(x.asscalar()) is np.float32
    assert type(nd.array([1], dtype="int32").asscalar()) is np.int32


@pytest.mark.parametrize("size", [0, 2])
def test_asscalar_refuses_more_or_less_than_one_element(size):
    with pytest.raises(ValueError, match=r"^The current array is not a scalar$"):
        nd.zeros(size).asscalar()


def test_asnumpy_is_an_independent_copy():
    x = nd.arange(3)
    a = x.asnumpy()
    a[0] = 9
    assert type(a) is np.ndarray
    assert a.flags.owndata
    assert x[0] == 0


def test_asarray_shares_memory_and_view_leads_back():
    x = nd.arange(3)
    a = np.asarray(x)
    a[0] = 9
    assert type(a) is np.ndarray
    assert x[0] == 9
    assert same(a.view(nd.NDArray), x)


def test_copyto_writes_into_an_array_or_moves_to_a_context():
    x, y = nd.arange(3), nd.zeros(3, gpu(1), "int32")
    assert x.copyto(y) is y
    assert same(y, nd.array([0, 1, 2], gpu(1), "int32"))
    moved = x.copyto(cpu())
    moved[0] = 9
    assert x[0] == 0
    assert x.copyto(gpu(3)).context == gpu(3)


def test_copyto_does_not_broadcast_and_says_what_it_does_not_know():
    x = nd.arange(3)
    for shape in [(1,), (4,), (1, 3)]:
        with pytest.raises(ValueError, match=r"cannot copy shape \(3,\) to shape"):
            x.copyto(nd.zeros(shape))
    with pytest.raises(TypeError, match="copyto does not support type <class 'str'>"):
        x.copyto("gpu")


def test_as_in_context_copies_only_when_it_must():
    x = nd.arange(3)
    assert x.as_in_context(cpu(0)) is x
    y = x.as_in_context(gpu(0))
    assert (y.context, y.ctx, x.context) == (gpu(0), gpu(0), cpu(0))
    assert not np.shares_memory(x, y)


def test_stype_is_default_and_waiting_returns_at_once():
    x = nd.arange(3)
    assert x.stype == "default"
    assert x.wait_to_read() is None
    assert nd.waitall() is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_values_and_context(protocol):
    for x in (nd.array([[1, 2], [3, 4]], gpu(1)).T, nd.array(5, dtype="int8"), nd.zeros((0, 2))):
        assert same(pickle.loads(pickle.dumps(x, protocol)), x)


# ---- contexts


def test_contexts_print_compare_hash_and_pickle():
    assert [repr(c) for c in (cpu(), cpu(1), gpu(), cpu_pinned(2))] == [
        "cpu(0)",
        "cpu(1)",
        "gpu(0)",
        "cpu_pinned(2)",
    ]
    assert cpu() == cpu(0) == Context("cpu") == Context(cpu())
    assert cpu() != gpu()
    assert cpu() != "cpu(0)"
    assert len({cpu(), cpu(0), gpu()}) == 2
    assert all(pickle.loads(pickle.dumps(gpu(1), p)) == gpu(1) for p in range(6))
    with pytest.raises(ValueError, match="no device type 'tpu'"):
        Context("tpu")


def test_with_sets_the_context_of_new_arrays():
    x = nd.arange(2)
    with gpu(1) as entered:
        assert current_context() == entered == gpu(1)
        with gpu(2):
            assert nd.zeros(1).context == gpu(2)
        for y in (nd.zeros(1), nd.array(x), nd.arange(2), nd.random.uniform(), nd.full(1, 2)):
            assert y.context == gpu(1)
        assert (x + 1).context == cpu(0)
        assert nd.zeros(1, ctx=cpu(3)).context == cpu(3)
    assert nd.zeros(1).context == cpu(0)


def test_with_sets_the_context_of_one_thread_only():
    seen = []
    with gpu(1):
        thread = threading.Thread(target=lambda: seen.append(current_context()))
        thread.start()
        thread.join()
    assert seen == [cpu(0)]


def test_an_exception_leaves_the_context_too():
    with pytest.raises(ZeroDivisionError), gpu(1):
        raise ZeroDivisionError
    assert current_context() == cpu(0)


# ---- random numbers


def test_random_arrays_are_float32_of_shape_1_unless_something_else_is_asked_for():
    for draw in (nd.random.uniform, nd.random.normal):
        x = draw()
        assert (type(x), x.shape, x.dtype, x.context) == (nd.NDArray, (1,), np.float32, cpu(0))
        x = draw(shape=(2, 3), dtype="float64", ctx=gpu(1))
        assert (x.shape, x.dtype, x.context) == ((2, 3), np.float64, gpu(1))
        assert draw(shape=3, dtype=np.float16).dtype == np.float16
        assert draw(0, 1, [0, 2]).shape == (0, 2)
    x = nd.random.randint(0, 10)
    assert (type(x), x.shape, x.dtype) == (nd.NDArray, (1,), np.int32)
    assert nd.random.randint(0, 10, (2, 3), "int64").dtype == np.int64


def test_random_numbers_are_distributed_as_asked():
    nd.random.seed(1)
    u = nd.random.uniform(-2, 6, 100_000)
    assert -2 <= u.min() < -1.99
    assert 5.99 < u.max() <= 6
    assert abs(u.mean() - 2) < 0.05
    n = nd.random.normal(loc=3, scale=2, shape=100_000)
    assert abs(n.mean() - 3) < 0.05
    assert abs(n.std() - 2) < 0.05
    assert np.array_equal(np.unique(nd.random.randint(-1, 3, 1000)), [-1, 0, 1, 2])


def test_parameters_may_be_arrays():
    x = nd.random.uniform(nd.array([0, 10]), nd.array([1, 11]), shape=(3,))
    assert x.shape == (2, 3)
    assert (x[1] >= 10).all()
    assert nd.random.normal(nd.array([0, 10]), 1).shape == (2,)


def test_out_receives_the_numbers_and_keeps_its_own_dtype():
    x = nd.zeros((2, 2), gpu(1), "float64")
    assert nd.random.uniform(5, 6, out=x) is x
    assert (x >= 5).all()
    assert (x.dtype, x.context) == (np.float64, gpu(1))
    with pytest.raises(ValueError, match=r"shape \(3,\), but out has shape \(2, 2\)"):
        nd.random.normal(shape=3, out=x)


def test_a_seed_repeats_the_sequence():
    def draws():
        return nd.random.uniform(shape=3), nd.random.normal(shape=3), nd.random.randint(0, 99, 3)

    nd.random.seed(3)
    first, second = draws(), draws()
    nd.random.seed(np.int64(3))
    assert all(map(same, draws(), first))
    assert not same(first[0], second[0])
    nd.random.seed(-1)
    nd.random.seed(3, ctx="all")
    assert all(map(same, draws(), first))
    for wrong in (3.5, "a", None):
        with pytest.raises(ValueError, match="seed_state must be int"):
            nd.random.seed(wrong)


def test_random_leaves_the_global_state_of_numpy_alone():
    before = np.random.get_state()[1].copy()
    nd.random.seed(1)
    nd.random.uniform(shape=100)
    assert np.array_equal(np.random.get_state()[1], before)


def test_random_refuses_wrong_parameters():
    with pytest.raises(ValueError, match="low must be less or equal to high"):
        nd.random.uniform(3, 1)
    with pytest.raises(ValueError, match="scale parameter in gaussian has to be positive"):
        nd.random.normal(0, -1)
    with pytest.raises(ValueError, match="low >= high"):
        nd.random.randint(10, 10)
    with pytest.raises(ValueError, match="high is out of bounds for int32"):
        nd.random.randint(0, 2**40)
    for draw in (nd.random.uniform, nd.random.normal):
        with pytest.raises(TypeError, match="int32"):
            draw(0, 1, 2, "int32")
    with pytest.raises(TypeError, match="float32"):
        nd.random.randint(0, 10, 2, "float32")


# ---- save and load


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_tutorial_works(here):
    x = nd.arange(4)
    nd.save("x-file", x)
    x2 = nd.load("x-file")
    assert repr(x2) == "[\n[0. 1. 2. 3.]\n<NDArray 4 @cpu(0)>]"

    y = nd.zeros(4)
    nd.save("x-files", [x, y])
    x2, y2 = nd.load("x-files")
    assert same(x2, x)
    assert same(y2, y)

    mydict = {"x": x, "y": y}
    nd.save("mydict", mydict)
    mydict2 = nd.load("mydict")
    assert repr(mydict2) == (
        "{'x': \n[0. 1. 2. 3.]\n<NDArray 4 @cpu(0)>, 'y': \n[0. 0. 0. 0.]\n<NDArray 4 @cpu(0)>}"
    )


class MyDict(dict):
    pass


class MyList(list):
    pass


@pytest.mark.parametrize(
    ("data", "loaded"),
    [
        (nd.arange(3), [nd.arange(3)]),
        (nd.array(5.0), [nd.array(5.0)]),
        (nd.zeros((0, 3)), [nd.zeros((0, 3))]),
        ([nd.arange(3)], [nd.arange(3)]),
        (MyList([nd.arange(3)]), [nd.arange(3)]),
        ({"x": nd.arange(3)}, {"x": nd.arange(3)}),
        (MyDict(x=nd.arange(3)), {"x": nd.arange(3)}),
        (
            collections.OrderedDict(b=nd.ones(1), a=nd.zeros(2, dtype="int8")),
            {"b": nd.ones(1), "a": nd.zeros(2, dtype="int8")},
        ),
        (
            {name: nd.ones(1) for name in ("", "a.b", "a/b", "arg:0", "权重", "0")},
            {name: nd.ones(1) for name in ("", "a.b", "a/b", "arg:0", "权重", "0")},
        ),
        ([], []),
        ({}, {}),
        (np.arange(3), [nd.array([0, 1, 2], dtype="int64")]),
        ([np.ones(2), nd.ones(2)], [nd.ones(2, dtype="float64"), nd.ones(2)]),
        (nd.array([[1, 2, 3], [4, 5, 6]]).T, [nd.array([[1, 4], [2, 5], [3, 6]])]),
        (nd.ones(2, gpu(1)), [nd.ones(2)]),
    ],
)
def test_what_is_saved_loads_as_in_mxnet(here, data, loaded):
    """But {} stays {}, and NumPy arrays are welcome. A context is not kept in files."""
    assert nd.save("f", data) is None
    for got in (nd.load("f"), nd.load_frombuffer(pathlib.Path("f").read_bytes())):
        assert type(got) is type(loaded)
        assert len(got) == len(loaded)
        if isinstance(loaded, dict):
            assert list(got) == list(loaded)
            assert all(same(got[name], loaded[name]) for name in loaded)
        else:
            assert all(map(same, got, loaded))


@pytest.mark.parametrize("size", [3, 1_000_000])
@pytest.mark.parametrize("mmap", [False, True])
def test_the_same_array_twice_loads_as_two(here, size, mmap):
    """mxio.load keeps them one."""
    x = nd.arange(size)
    nd.save("f", {"a": x, "b": x, "c": nd.ones(3)})
    loaded = nd.load("f", mmap=mmap)
    loaded["a"][0] = 9
    assert same(loaded["b"], x)
    assert same(loaded["c"], nd.ones(3))


def test_saving_replaces_the_file_at_a_path_or_a_file_url(here):
    for fname in ("f", here / "f", f"file://{here}/f"):
        nd.save("f", [nd.zeros(1), nd.zeros(1)])
        nd.save(fname, nd.ones(1), sync=False)
        assert same(nd.load(fname)[0], nd.ones(1))
        assert len(nd.load("f")) == 1


def test_loading_can_map_and_verify(here):
    nd.save("f", {"x": nd.arange(3)})
    x = nd.load("f", mmap=True, verify=True)["x"]
    assert same(x, nd.arange(3))
    x[0] = 9
    assert same(nd.load("f")["x"], nd.arange(3))
    assert same(nd.load_frombuffer(pathlib.Path("f").read_bytes(), verify=False)["x"], nd.arange(3))


def test_load_frombuffer_takes_anything_bytes_like_and_the_arrays_are_writable(here):
    """MXNet takes bytes only."""
    nd.save("f", [nd.arange(3)])
    data = pathlib.Path("f").read_bytes()
    for buf in (data, bytearray(data), memoryview(data), np.frombuffer(data, "uint8")):
        (x,) = nd.load_frombuffer(buf)
        x += 1
        assert same(x, nd.array([1, 2, 3]))
    assert pathlib.Path("f").read_bytes() == data


@pytest.mark.parametrize(
    "data", [(nd.ones(1),), iter([]), {}.items(), None, "text", 1, np.float32(1), {nd}]
)
def test_save_refuses_what_mxnet_refuses(here, data):
    message = (
        "^data needs to either be a NDArray, dict of str, NDArray pairs or a list of NDarrays, "
        f"not {type(data).__name__}$"
    )
    with pytest.raises(ValueError, match=message):
        nd.save("f", data)
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ([nd.ones(1), 1], "item 1 is of type int"),
        ([[nd.ones(1)]], "item 0 is of type list"),
        ({"a": nd.ones(1), "x": [nd.ones(1)]}, "item 'x' is of type list"),
        ({"x": None}, "item 'x' is of type NoneType"),
        ({1: nd.ones(1)}, "key 1 is of type int"),
        ({b"x": nd.ones(1)}, "key b'x' is of type bytes"),
    ],
)
def test_save_says_which_item_is_wrong(here, data, what):
    message = f"^save only accept dict str->NDArray or list of NDArray, but {what}$"
    with pytest.raises(TypeError, match=message):
        nd.save("f", data)
    assert not list(here.iterdir())


@pytest.mark.parametrize("fname", [b"f", 1, None, io.BytesIO()])
def test_a_file_name_is_a_str_or_a_path(fname):
    """MXNet accepts a str only."""
    message = f"^fname required to be a string or os.PathLike, not {type(fname).__name__}$"
    with pytest.raises(TypeError, match=message):
        nd.save(fname, nd.ones(1))
    with pytest.raises(TypeError, match=message):
        nd.load(fname)


@pytest.mark.parametrize("buf", [None, "text", io.BytesIO(b"x"), [1]])
def test_a_buffer_is_bytes_like(buf):
    with pytest.raises(
        TypeError, match=f"^buf required to be bytes-like, not {type(buf).__name__}$"
    ):
        nd.load_frombuffer(buf)


def test_a_missing_file_or_folder_is_file_not_found(here):
    """MXNet raises MXNetError."""
    with pytest.raises(FileNotFoundError, match="missing"):
        nd.load("missing")
    with pytest.raises(FileNotFoundError):
        nd.save("no/such/folder/f", nd.ones(1))


@pytest.mark.parametrize(
    "tree",
    [
        {"a": {"b": np.ones(1)}},
        [np.ones(1), [np.ones(1)]],
        {"step": 3, "w": np.ones(1)},
        {1: np.ones(1)},
        7,
    ],
)
def test_a_tree_is_left_to_mxio_load(here, tree):
    mxio.save("tree.mxio", tree)
    with pytest.raises(UnsupportedError, match=r"tree\.mxio holds more than .* mxio\.load"):
        nd.load("tree.mxio")


def test_a_tuple_saved_by_mxio_loads_as_a_list(here):
    mxio.save("f", (np.ones(1), np.zeros(1)))
    assert [type(x) for x in nd.load("f")] == [nd.NDArray, nd.NDArray]
    assert type(nd.load("f")) is list


def test_reshape_knows_the_codes_of_mxnet():
    x = nd.arange(12).reshape((3, 4))
    assert x.reshape((0, -1)).shape == (3, 4)
    assert x.reshape(0, 2, 2).shape == (3, 2, 2)
    assert x.reshape(-1).shape == x.reshape(shape=(-1,)).shape == (12,)
    assert nd.zeros((0, 3)).reshape((0, 5)).shape == (0, 5)
    assert nd.zeros((0, 3)).reshape((0, -1)).shape == (0, 3)
    y = nd.zeros((2, 3, 4))
    for codes, shape in [
        ((-2,), (2, 3, 4)),
        ((-2, 1), (2, 3, 4, 1)),
        ((-3, 0), (6, 4)),
        ((0, -3), (2, 12)),
        ((-4, 1, 2, -2), (1, 2, 3, 4)),
        ((0, -4, -1, 3, 0), (2, 1, 3, 4)),
        ((4, 0, -1), (4, 3, 2)),
    ]:
        assert y.reshape(codes).shape == y.reshape(*codes).shape == shape
    assert nd.zeros((10, 5, 4)).reshape((-1, 0), reverse=True).shape == (50, 4)
    x.reshape((4, 3))[0, 0] = 9
    assert x[0, 0] == 9
    for codes, why in [
        ((-3, -3), "no dimension is left for -3"),
        ((0, 0, 0), "no dimension is left for 0"),
        ((-4, -1, -1, 4), "-4 needs two numbers"),
        ((-4, 2), "-4 needs two numbers"),
        ((-4, 2, 2, 0), "3 is not 2 x 2"),
        ((-1, -1), "only one dimension can be -1"),
        ((5, -1), "not the same number of items"),
        ((-5,), "there is no code -5"),
    ]:
        with pytest.raises(ValueError, match=why):
            x.reshape(codes)


def test_a_word_that_numpy_has_is_pointed_to():
    with pytest.raises(AttributeError, match=r"numpy\.fmod takes NDArrays"):
        nd.fmod(nd.zeros(1), 2)
    with pytest.raises(AttributeError, match="no attribute 'softrelu'"):
        _ = nd.softrelu
