# SPDX-License-Identifier: Apache-2.0
"""Anything array-like, as an ndarray whose memory is what a file gets.

No copy is made where the owner of the memory lends it: strides, byte order and read-only
memory are left as they are. No library is imported: one that made an array is there
already. Whatever goes wrong, the error names the array and says what to do instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from mxio import _dtype
from mxio._sparse import PARTS, SparseArray
from mxio.errors import described, quote

__all__ = ["dtype_names", "is_arraylike", "is_elsewhere", "on_host", "to_host", "to_sparse"]

Array = np.ndarray[Any, Any]

# What an array can be had from, besides a buffer; the last one may be computed when asked for.
_PROTOCOLS = ("__array__", "asnumpy", "__dlpack__", "__array_interface__")

# torch's dtypes that NumPy lacks: a torch and a NumPy dtype of as many bits, and the name.
_TORCH = {
    name: ("uint8", np.uint8, name) for name in _dtype.ML_NAMES if name.startswith("float8_")
} | {"bfloat16": ("int16", np.uint16, "bfloat16")}
_TORCH_AND_NUMPY = frozenset(_dtype.KNOWN.values())  # both call them so

_MXNET_BFLOAT16 = np.dtype([("bfloat16", np.uint16)])

# DLPack's kinds of devices whose memory the processor can read: CPU, and pinned for CUDA, ROCm.
_READABLE = {1, 3, 11}


def is_arraylike(obj: object) -> bool:
    """Say whether something is for `to_host`, which may still refuse it."""
    if isinstance(obj, (np.ndarray, np.generic)):
        return True
    if isinstance(obj, (type, bytes, str)):
        return False
    return any(_has(obj, protocol) for protocol in _PROTOCOLS) or _has_buffer(obj)


def dtype_names(objects: list[object]) -> list[str] | None:
    """Return the names on disk of plain arrays' dtypes; None: ask `to_host` about each.

    A tenth of a microsecond for each array, where `to_host` takes one.
    """
    if set(map(type, objects)) != {np.ndarray}:
        return None
    find = _dtype.KNOWN.get
    names = [find(array.dtype) for array in objects]  # type: ignore[attr-defined]
    return None if None in names else names  # type: ignore[return-value]


def to_host(obj: object, name: str) -> tuple[Array, str]:
    """Return the array to write, and the name of its dtype on disk.

    The two disagree where NumPy lacks the dtype: then the array has its bits.
    """
    if type(obj) is np.ndarray:
        known = _dtype.KNOWN.get(obj.dtype)
        if known is not None:
            return obj, known
    try:
        host, dtype = _host(obj)
        return host, dtype or _dtype.name_of(host.dtype)
    except TypeError as exc:
        at = quote(name) if name else "the array"
        raise TypeError(f"{at}: {exc}") from exc.__cause__


def is_elsewhere(item: Any) -> bool:
    """Say whether it is a tensor of torch outside of the host's memory."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(item, torch.Tensor) and not item.is_cpu


def on_host(item: Any, moved: dict[Any, Any]) -> Any:
    """Return an array whose memory can be written to a file; tied tensors stay tied."""
    if not is_elsewhere(item):
        return item
    key = (item.data_ptr(), tuple(item.shape), item.stride(), item.dtype)
    if key not in moved:
        moved[key] = item.detach().cpu()
    return moved[key]


def to_sparse(obj: Any) -> SparseArray | None:
    """Return the sparse array that an object is: SciPy's csr, MXNet's csr and row_sparse.

    None for all else, also for what is sparse in another way. The parts are those of the
    object, for `to_host`.

    Raises
    ------
    TypeError
        The object calls itself so, and has no such parts.
    """
    if isinstance(obj, SparseArray):
        return obj
    if isinstance(obj, type):
        return None
    words = (_get(obj, "format"), _get(obj, "stype"))  # SciPy's, MXNet's
    stype = next((word for word in words if isinstance(word, str) and word in PARTS), None)
    if stype is None or (stype == "csr" and _get(obj, "ndim") == 1):  # SciPy has such
        return None
    if not all(_has(obj, part) for part in (*PARTS[stype], "shape")):
        return None
    try:
        parts = {part: getattr(obj, part) for part in PARTS[stype]}
        if isinstance(parts.get("indptr"), np.ndarray):  # SciPy's may have room behind the last
            n_items = max(0, int(parts["indptr"][-1]))
            for part in ("data", "indices"):
                parts[part] = parts[part][:n_items]
        return SparseArray(stype, obj.shape, **parts)
    except MemoryError:
        raise
    except Exception as exc:
        raise TypeError(f"its parts are not those of a {stype} array: {exc}") from exc


def _host(obj: Any) -> tuple[Array, str]:
    """Return the array, and the name of its dtype where it has only the bits."""
    if isinstance(obj, np.ndarray):
        ma = sys.modules.get("numpy.ma")
        if ma is not None and isinstance(obj, ma.MaskedArray):
            raise TypeError("cannot save a masked array; save its .data and its .mask")
        return obj, ""
    if isinstance(obj, np.generic):
        return np.asarray(obj), ""
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(obj, getattr(torch, "Tensor", ())):
        return _from_torch(obj, torch)
    if _has(obj, "asnumpy"):  # before the others: NumPy would ask MXNet 1.x for item after item
        return _from_mxnet(obj)
    if _has(obj, "__array__") or _has(obj, "__array_interface__"):
        return _made(obj, lambda: np.asarray(obj)), ""
    if _has_buffer(obj):
        return _made(obj, lambda: np.asarray(memoryview(obj))), ""
    if _has(obj, "__dlpack__"):
        return _from_dlpack(obj), ""
    raise TypeError(f"cannot save {described(obj)}; use an array")


def _from_torch(tensor: Any, torch: Any) -> tuple[Array, str]:
    dtype = str(tensor.dtype).removeprefix("torch.")
    refusal = ""
    if tensor.is_nested:
        refusal = "that is nested; save what .unbind() gives"
    elif tensor.is_quantized:
        refusal = "that is quantized; use .dequantize(), or save .int_repr() and its scale"
    elif tensor.layout is not torch.strided:
        refusal = f"of layout {tensor.layout}; use .to_dense()"
    elif tensor.is_meta:
        refusal = "on the meta device, which holds no data; give it some"
    elif not tensor.is_cpu:
        refusal = f"on {tensor.device}; use .cpu()"
    elif dtype == "complex32":
        refusal = "of dtype torch.complex32; use .to(torch.complex64)"
    elif dtype not in _TORCH and dtype not in _TORCH_AND_NUMPY:
        refusal = f"of dtype torch.{dtype}; use .view(torch.uint8)"
    if refusal:
        raise TypeError(f"cannot save {described(tensor)} {refusal}")

    bits, carrier, name = _TORCH.get(dtype, ("", None, ""))

    def make() -> Any:
        plain = tensor.detach()
        if plain.is_conj() or plain.is_neg():
            plain = plain.resolve_conj().resolve_neg()
        return plain.view(getattr(torch, bits)).numpy() if bits else plain.numpy()

    host = _made(tensor, make)
    return (host.view(carrier), name) if bits else (host, "")


def _from_mxnet(obj: Any) -> tuple[Array, str]:
    stype = getattr(obj, "stype", "default")
    if stype != "default":
        raise TypeError(f"cannot save {described(obj)} of stype {stype}; use .tostype('default')")
    host = _made(obj, obj.asnumpy)
    if host.dtype == _MXNET_BFLOAT16:
        return host.view(np.uint16), "bfloat16"
    return host, ""


def _from_dlpack(obj: Any) -> Array:
    device = _made_of(obj, lambda: obj.__dlpack_device__()[0])
    if device not in _READABLE:
        raise TypeError(
            f"cannot save {described(obj)} on DLPack's device {int(device)}; copy it to the CPU"
        )
    return _made(obj, lambda: np.from_dlpack(obj))


def _made(obj: object, make: Callable[[], object]) -> Array:
    """Return the array that another library makes of an object, or say that it does not."""
    host = _made_of(obj, make)
    if not isinstance(host, np.ndarray):
        raise TypeError(
            f"cannot save {described(obj)}: it gives {described(host)}; convert it to an array"
        )
    return host


def _made_of(obj: object, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except MemoryError:
        raise
    except Exception as exc:
        raise TypeError(
            f"cannot save {described(obj)}: it gives no array, but {type(exc).__name__}; "
            "convert it to an array of NumPy's"
        ) from exc


def _has(obj: object, protocol: str) -> bool:
    try:
        return hasattr(obj, protocol)
    except Exception:  # there, and broken: `to_host` says how
        return True


def _get(obj: object, name: str) -> object:
    try:
        return getattr(obj, name, None)
    except Exception:
        return None


def _has_buffer(obj: Any) -> bool:
    try:
        memoryview(obj).release()
    except TypeError:
        return False
    except (BufferError, ValueError):  # there, and closed or released: `to_host` says so
        return True
    return True
