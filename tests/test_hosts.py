# SPDX-License-Identifier: Apache-2.0
"""Any array-like lends its memory to be saved, or says which array it is and what to do.

torch and jax are tested where they are installed; MXNet 1.9 needs an older NumPy than mxio and
is played by objects that behave as it does, measured.
"""

from __future__ import annotations

import array
import ctypes
import mmap
from typing import Any

import numpy as np
import pytest

from mxio._host import is_arraylike, to_host


def refusal(obj: object, name: str = "model/w") -> str:
    """What is said about an object that cannot be saved, checked for its form."""
    with pytest.raises(TypeError) as caught:
        to_host(obj, name)
    message = str(caught.value)
    assert message.startswith(f"{name!r}: cannot save " if name else "the array: cannot save ")
    assert len(message) < 400
    assert "\n" not in message
    return message


def shared(host: np.ndarray, owner: np.ndarray) -> bool:
    return host.ctypes.data == owner.ctypes.data


# ---- NumPy -------------------------------------------------------------------------------

BASE = np.arange(24, dtype="f4").reshape(4, 6)


@pytest.mark.parametrize(
    "owner",
    [
        *(BASE, BASE.T, BASE[::2, ::-1], np.asfortranarray(BASE), BASE[1:1], np.array(5.0)),
        *(BASE.astype(">f4"), np.array([b"ab"]), np.array(["ab"], ">U2"), BASE > 3),
        *(np.array(["2020-01-01"], "M8[D]"), np.broadcast_to(np.int8(1), (3, 4)), BASE.view()),
    ],
)
def test_an_ndarray_is_written_as_it_lies(owner: np.ndarray):
    host, dtype = to_host(owner, "x")
    assert host is owner
    assert dtype == np.dtype(owner.dtype).newbyteorder("=").name or owner.dtype.kind in "SU"
    assert is_arraylike(owner)


def test_strings_carry_their_size_in_the_name():
    assert to_host(np.array([b"abc"]), "x")[1] == "S3"
    assert to_host(np.array(["abcd"], ">U4"), "x")[1] == "U4"


def test_subclasses_of_ndarray_keep_their_memory():
    class Mine(np.ndarray):
        pass

    host, dtype = to_host(BASE.view(Mine), "x")
    assert shared(host, BASE)
    assert dtype == "float32"


@pytest.mark.parametrize(
    ("scalar", "name"),
    [
        *((np.float64(-0.0), "float64"), (np.int8(1), "int8"), (np.bool_(True), "bool")),
        *((np.str_("é"), "U1"), (np.str_(""), "U1"), (np.bytes_(b"xy"), "S2")),
        *((np.datetime64("NaT", "s"), "datetime64[s]"), (np.complex64(1j), "complex64")),
    ],
)
def test_numpys_scalars_are_arrays_without_axes(scalar: np.generic, name: str):
    host, dtype = to_host(scalar, "x")
    assert (type(host), host.shape, dtype) == (np.ndarray, (), name)
    assert host.tobytes() == np.asarray(scalar).tobytes()


def test_the_dtypes_of_ml_dtypes_are_written_as_they_lie():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "float4_e2m1fn"):
        owner = np.zeros(3, getattr(ml_dtypes, name))
        host, dtype = to_host(owner, "x")
        assert host is owner
        assert dtype == name
        assert to_host(owner[0], "x")[1] == name


def test_masked_arrays_are_refused_for_the_mask_would_be_lost():
    import numpy.ma

    masked = numpy.ma.masked_array([1.0, 2.0], mask=[True, False])
    for obj in (masked, masked[1:], masked.astype("f4"), numpy.ma.masked):
        assert "save its .data and its .mask" in refusal(obj)


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (np.array([1, None]), "dtype object"),
        (np.zeros(2, [("a", "i4")]), "each field"),
        (np.zeros(2, "V3"), "dtype |V3"),
        (np.void(b"abc"), "dtype |V3"),
        (np.array(["a"], np.dtypes.StringDType()), "dtype StringDType"),
        (np.zeros(2, "g"), "float64"),
    ],
    ids=["object", "fields", "void", "void scalar", "StringDType", "long double"],
)
def test_dtypes_that_a_file_cannot_hold_are_refused_by_name(obj: object, words: str):
    assert words in refusal(obj)
    assert words in refusal(obj, "")


def test_long_names_are_cut_in_messages_and_escaped():
    with pytest.raises(TypeError) as caught:
        to_host(np.array(None), "a\n\x1b" * 100_000)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


# ---- protocols ---------------------------------------------------------------------------


class Array:
    """An array by one method or attribute."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__ |= attributes


class Made:
    """An array by ``__array__``."""

    def __init__(self, made: Any) -> None:
        self.made = made

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if isinstance(self.made, BaseException):
            raise self.made
        return self.made


def test_array_gives_its_memory():
    obj = Made(BASE)
    host, dtype = to_host(obj, "x")
    assert is_arraylike(obj)
    assert shared(host, BASE)
    assert dtype == "float32"
    assert to_host(Made(BASE.T), "x")[0].strides == BASE.T.strides


def test_array_interface_gives_its_memory():
    obj = Array(__array_interface__=BASE.__array_interface__, owner=BASE)
    host, dtype = to_host(obj, "x")
    assert is_arraylike(obj)
    assert shared(host, BASE)
    assert dtype == "float32"


@pytest.mark.parametrize(
    "obj",
    [
        *(bytearray(b"abc"), memoryview(b"abc"), array.array("d", [1, 2]), array.array("q", [1])),
        *(memoryview(BASE), (ctypes.c_int32 * 3)(1, 2, 3), memoryview(np.array(3, "i2"))),
        memoryview(bytes(12)).cast("i", (3,)),
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_buffers_give_their_memory(obj: Any):
    host, dtype = to_host(obj, "x")
    view = memoryview(obj)
    assert is_arraylike(obj)
    assert host.tobytes() == view.tobytes()
    assert host.shape == view.shape
    assert dtype == host.dtype.name
    if not view.readonly:
        assert shared(host, np.asarray(view))


def test_a_mapped_file_is_a_buffer():
    with mmap.mmap(-1, 4096) as mapped:
        host, dtype = to_host(mapped, "x")
        assert (host.shape, dtype) == ((4096,), "uint8")
        del host


def test_a_buffer_that_is_gone_is_named():
    view = memoryview(b"abc")
    view.release()
    mapped = mmap.mmap(-1, 4096)
    mapped.close()
    for obj in (view, mapped):
        assert is_arraylike(obj)
        assert "gives no array, but ValueError" in refusal(obj)


def test_a_buffer_of_structures_is_refused():
    class Point(ctypes.Structure):
        _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int))

    assert "each field" in refusal((Point * 2)())


class Dlpack:
    """An array by DLPack alone."""

    def __init__(self, owner: Any, device: tuple[int, int] = (1, 0)) -> None:
        self.owner, self.device = owner, device

    def __dlpack__(self, **options: Any) -> Any:
        return self.owner.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def test_dlpack_on_the_cpu_gives_its_memory():
    owner = BASE.copy()
    host, dtype = to_host(Dlpack(owner.T), "x")
    assert is_arraylike(Dlpack(owner))
    assert shared(host, owner)
    assert host.strides == owner.T.strides
    assert dtype == "float32"


def test_dlpack_elsewhere_or_broken_is_refused():
    assert "on DLPack's device 2; copy it to the CPU" in refusal(Dlpack(BASE, (2, 0)))
    assert "gives no array, but AttributeError" in refusal(Dlpack(object()))
    assert "gives no array, but AttributeError" in refusal(Array(__dlpack__=None))


@pytest.mark.parametrize(
    "error", [ValueError("no"), RuntimeError("no"), TypeError("no"), KeyError("no")], ids=repr
)
def test_what_a_library_raises_is_the_cause(error: Exception):
    with pytest.raises(TypeError, match=r"^'model/w': cannot save .*Made: .*; convert") as caught:
        to_host(Made(error), "model/w")
    assert caught.value.__cause__ is error
    assert type(error).__name__ in str(caught.value)


def test_running_out_of_memory_and_interrupts_are_not_about_the_array():
    for error in (MemoryError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            to_host(Made(error), "x")


def test_an_object_that_breaks_when_asked_is_named_when_it_is_saved():
    class Broken:
        @property
        def __array_interface__(self) -> Any:
            raise RuntimeError("deleted")

    assert is_arraylike(Broken())
    assert "Broken" in refusal(Broken())


@pytest.mark.parametrize("made", [[1, 2], None, "x"])
def test_a_library_that_gives_no_array_is_named(made: object):
    assert "cannot save" in refusal(Made(made))
    assert "gives a" in refusal(Array(asnumpy=lambda: made))


def test_objects_of_an_array_like_are_refused():
    assert "dtype object" in refusal(Made(np.array([None])))


@pytest.mark.parametrize(
    "obj",
    [
        *(1, 1.5, True, None, "x", b"x", [1], (1,), {"a": 1}, {1}, 1j, range(3), object(), len),
        *(np.ndarray, np.float32, Made, iter([]), np, np.dtype("f4"), Ellipsis),
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_what_is_no_array_is_none(obj: object):
    assert not is_arraylike(obj)


def test_what_is_no_array_is_refused_by_type():
    assert refusal({1}) == "'model/w': cannot save a set; use an array"
    assert refusal(object(), "") == "the array: cannot save an object; use an array"


# ---- MXNet -------------------------------------------------------------------------------


class MXNet:
    """An NDArray of MXNet 1.9.1: no ``__array__``, no DLPack, but items and a length."""

    def __init__(self, made: Any, stype: str = "default") -> None:
        self.made, self.stype = made, stype

    def asnumpy(self) -> Any:
        return self.made

    def __len__(self) -> int:
        raise AssertionError("asked for item after item")

    __getitem__ = __iter__ = None


def test_mxnets_arrays_are_asked_as_a_whole():
    host, dtype = to_host(MXNet(BASE), "x")
    assert is_arraylike(MXNet(BASE))
    assert host is BASE
    assert dtype == "float32"


def test_mxnets_bfloat16_is_bfloat16():
    owner = np.array([(16256,), (16384,)], [("bfloat16", "<u2")])
    host, dtype = to_host(MXNet(owner), "x")
    assert (host.tolist(), host.dtype, dtype) == ([16256, 16384], np.uint16, "bfloat16")
    assert shared(host, owner)


@pytest.mark.parametrize("stype", ["row_sparse", "csr"])
def test_mxnets_sparse_arrays_are_not_made_dense_in_silence(stype: str):
    assert f"of stype {stype}; use .tostype('default')" in refusal(MXNet(BASE, stype))


def test_mxios_own_ndarray_is_an_ndarray():
    nd = pytest.importorskip("mxio.nd")
    host, dtype = to_host(nd.array([1, 2]), "x")
    assert (host.tolist(), dtype) == ([1, 2], "float32")


# ---- torch -------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed")


def test_torch_lends_its_memory_whatever_the_strides(torch: Any):
    for owner in (
        torch.arange(24.0).reshape(4, 6),
        torch.arange(24).reshape(4, 6).t(),
        torch.arange(24).reshape(4, 6)[1::2, ::3],
        torch.zeros(3).expand(5, 3),
        torch.tensor(1.5),
        torch.zeros(0, 3),
        torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),
    ):
        host, dtype = to_host(owner, "x")
        assert is_arraylike(owner)
        assert dtype == str(owner.dtype).removeprefix("torch.")
        assert host.shape == tuple(owner.shape)
        if owner.numel():
            assert host.strides == tuple(n * owner.element_size() for n in owner.stride())
            assert host.ctypes.data == owner.data_ptr()


def test_torchs_dtypes_have_the_names_of_numpy(torch: Any):
    for name in (
        *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    ):
        host, dtype = to_host(torch.zeros(3, dtype=getattr(torch, name)), "x")
        assert dtype == host.dtype.name == name


def test_torchs_dtypes_that_numpy_lacks_are_bits_under_their_name(torch: Any):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = [[0.0, -1.5, 2.0], [float("inf"), 0.5, 4.0]]
    names = [name for name in dir(torch) if name.startswith("float8_")] + ["bfloat16"]
    assert len(names) > 3
    for name in names:
        owner = torch.tensor(values).abs().to(getattr(torch, name)).t()
        host, dtype = to_host(owner, "x")
        assert dtype == name
        assert host.dtype == (np.uint16 if name == "bfloat16" else np.uint8)
        assert host.ctypes.data == owner.data_ptr()
        assert host.strides == tuple(n * owner.element_size() for n in owner.stride())
        meant = host.view(getattr(ml_dtypes, name)).astype("f4")
        np.testing.assert_array_equal(meant, owner.float().numpy())
        assert to_host(owner[0, 0], "x")[0].shape == ()


def test_torchs_parameters_are_arrays(torch: Any):
    module = torch.nn.Linear(3, 2)
    for name, owner in module.named_parameters():
        host, dtype = to_host(owner, name)
        assert dtype == "float32"
        assert host.ctypes.data == owner.data_ptr()
    graph = (module.weight * 2).sum(0)
    assert graph.requires_grad
    assert to_host(graph, "x")[0].tolist() == graph.tolist()
    half = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    assert to_host(half, "x")[0].tolist() == [16256, 16256]


def test_torchs_lazy_conjugates_and_negatives_are_resolved(torch: Any):
    owner = torch.tensor([1 + 2j, 3 - 4j])
    assert owner.conj().is_conj()
    assert owner.conj().imag.is_neg()
    assert to_host(owner.conj(), "x")[0].tolist() == [1 - 2j, 3 + 4j]
    assert to_host(owner.conj().imag, "x")[0].tolist() == [-2.0, 4.0]


# What torch says of its own old or new parts is not ours to fix.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_torchs_tensors_that_cannot_be_saved_say_why(torch: Any):
    ones = torch.ones(3, 3)
    assert "of layout torch.sparse_coo; use .to_dense()" in refusal(ones.to_sparse())
    assert "of layout torch.sparse_csr; use .to_dense()" in refusal(ones.to_sparse_csr())
    assert "on the meta device, which holds no data" in refusal(ones.to("meta"))
    assert "complex32; use .to(torch.complex64)" in refusal(torch.ones(2, dtype=torch.complex32))
    packed = torch.zeros(2, dtype=torch.uint8).view(torch.bits8)
    assert "of dtype torch.bits8; use .view(torch.uint8)" in refusal(packed)
    quantized = torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8)
    assert "quantized; use .dequantize()" in refusal(quantized)
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    assert "nested; save what .unbind() gives" in refusal(nested)
    assert "gives no array, but ValueError" in refusal(torch.nn.UninitializedParameter())
    assert "gives no array, but RuntimeError" in refusal(torch._efficientzerotensor(3))


def test_a_tensor_on_another_device_has_to_be_moved_first(torch: Any):
    class Far(torch.Tensor):  # type: ignore[misc, name-defined]
        """A tensor that says it is on a GPU, where there is none."""

        __torch_dispatch__ = None

    far = torch.Tensor._make_wrapper_subclass(Far, (2,), dtype=torch.float32, device="cuda:0")
    assert "on cuda:0; use .cpu()" in refusal(far)
    if torch.cuda.is_available():
        assert "on cuda:0; use .cpu()" in refusal(torch.ones(2, device="cuda"))


def test_a_fake_tensor_gives_no_array(torch: Any):
    fake = pytest.importorskip("torch._subclasses.fake_tensor")
    with fake.FakeTensorMode():
        tensor = torch.ones(3)
    assert "FakeTensor" in refusal(tensor)


def test_the_memory_outlives_the_tensor(torch: Any):
    host = to_host(torch.full((1000,), 7, dtype=torch.bfloat16), "x")[0]
    for _ in range(10):
        torch.zeros(1000, dtype=torch.bfloat16)
    assert set(host.tolist()) == {0x40E0}


# ---- jax ---------------------------------------------------------------------------------


@pytest.fixture
def jax() -> Any:
    return pytest.importorskip("jax", reason="jax is not installed")


def test_jax_arrays_are_read_where_they_lie(jax: Any):
    jnp = jax.numpy
    for name in ("float32", "int8", "bool", "complex64", "bfloat16", "float8_e4m3fn", "int4"):
        owner = jnp.arange(6).reshape(2, 3).astype(name)
        host, dtype = to_host(owner, "x")
        assert is_arraylike(owner)
        assert (dtype, host.shape) == (name, (2, 3))
        np.testing.assert_array_equal(host, np.asarray(owner))
    owner = jnp.zeros(100)
    assert to_host(owner, "x")[0].ctypes.data == owner.unsafe_buffer_pointer()


def test_jax_tracers_keys_and_deleted_arrays_say_what_they_are(jax: Any):
    @jax.jit
    def traced(x: Any) -> Any:
        assert "Tracer" in refusal(x)
        return x

    traced(jax.numpy.zeros(3))
    assert "cannot save" in refusal(jax.random.key(0))
    gone = jax.numpy.zeros(3)
    gone.delete()
    assert "gives no array, but RuntimeError" in refusal(gone)
