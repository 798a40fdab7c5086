# SPDX-License-Identifier: Apache-2.0
"""Layers' operators."""

from __future__ import annotations

from typing import Any

import mxnet_calls
import numpy as np
import pytest

from mxio import nd

Call = mxnet_calls.Call


def calls_of_layers(rng: np.random.Generator, n: int) -> list[Call]:
    """Random calls of every operator here, `n` of each."""
    calls: list[Call] = []

    def of(*shape: int, dtype: Any = None) -> Any:
        dtype = dtype or rng.choice(["float32", "float32", "float64"])
        return rng.normal(size=shape).astype(dtype)

    def pick(*options: Any) -> Any:
        return options[rng.integers(len(options))]

    def add(name: str, *args: Any, **kwargs: Any) -> None:
        calls.append((name, [*args], kwargs))

    for _ in range(n):
        dtype = pick("float32", "float32", "float64")
        ndim = pick(1, 2, 2, 2, 3)
        kernel = tuple(int(k) for k in rng.integers(1, 5 if ndim < 3 else 4, ndim))
        stride = tuple(int(k) for k in rng.integers(1, 4, ndim))
        dilate = tuple(int(k) for k in rng.integers(1, 4, ndim))
        pad = tuple(int(rng.integers(0, k + 1)) for k in kernel)
        size = tuple(
            int(d * (k - 1) + 1 + rng.integers(0, 7)) for d, k in zip(dilate, kernel, strict=True)
        )
        groups = int(pick(1, 1, 2, 3, 4))
        each, filters = (int(m) for m in rng.integers(1, 4, 2))
        channels, filters = groups * each, groups * filters
        batch = int(rng.integers(1, 4))
        x = of(batch, channels, *size, dtype=dtype)
        bias = pick(True, False)
        common: dict[str, Any] = {"kernel": kernel, "num_filter": filters}
        if groups > 1 or pick(True, False):
            common["num_group"] = groups
        if pick(True, False):
            common["stride"] = stride
        if pick(True, False):
            common["dilate"] = dilate
        if pick(True, False):
            common["pad"] = pad
        common["no_bias"] = not bias
        w = of(filters, channels // groups, *kernel, dtype=dtype)
        add("Convolution", x, w, *([of(filters, dtype=dtype)] if bias else []), **common)
        if ndim < 3:  # MXNet has no 3D one on processors
            if dtype == "float64" and "stride" in common:
                common.pop("dilate", None)  # wrong in MXNet; it has float32 from oneDNN
            step, spread = (common.get(name, (1,) * ndim) for name in ("stride", "dilate"))
            room = [
                (n - 1) * s + d * (k - 1) + 1
                for n, s, d, k in zip(size, step, spread, kernel, strict=True)
            ]
            if "pad" in common:
                common["pad"] = tuple(
                    min(p, (r - 1) // 2) for p, r in zip(common["pad"], room, strict=True)
                )
            if pick(True, False):
                common["adj"] = tuple(int(rng.integers(0, s)) for s in step)
            elif dtype == "float64" and pick(True, False):  # float32 fails in MXNet
                # Less by what padding and, with a stride, an addition can make up for.
                common["target_shape"] = tuple(
                    max(2 - r % 2, r - (1 if s > 1 else 2) * int(rng.integers(0, k)))
                    for r, s, k in zip(room, step, kernel, strict=True)
                )
            w = of(channels, filters // groups, *kernel, dtype=dtype)
            add("Deconvolution", x, w, *([of(filters, dtype=dtype)] if bias else []), **common)

        shape = (batch, channels, *rng.integers(4, 9, ndim))
        x = of(*shape)
        kwargs: dict[str, Any] = {"kernel": kernel, "pool_type": pick("max", "avg", "sum", "lp")}
        if kwargs["pool_type"] == "lp":
            kwargs["p_value"] = pick(1, 2, 3)
        if pick(True, False):
            kwargs["stride"] = stride
        if pick(True, False):
            kwargs["pad"] = tuple(min(p, k - 1) for p, k in zip(pad, kernel, strict=True))
        if pick(True, False):
            # In 3D MXNet has NaN for the mean of a window that is all outside; in 2D it has 0.
            several = ndim < 3 or kwargs["pool_type"] != "avg"
            kwargs["pooling_convention"] = pick("valid", "full") if several else "valid"
        if pick(True, False):
            kwargs["count_include_pad"] = pick(True, False)
        if pick(True, False, False, False):
            kwargs["global_pool"] = True
        if pick(True, False, False, False):
            kwargs["layout"] = {1: "NCW", 2: "NCHW", 3: "NCDHW"}[ndim]
        add("Pooling", x, **kwargs)

        shape = tuple(int(m) for m in rng.integers(1, 6, rng.integers(2, 5)))
        hidden = int(rng.integers(1, 6))
        flatten = pick(True, False)
        inputs = int(np.prod(shape[1:])) if flatten else shape[-1]
        bias = pick(True, False)
        args = [of(*shape, dtype=dtype), of(hidden, inputs, dtype=dtype)]
        if bias:
            args.append(of(hidden, dtype=dtype))
        add("FullyConnected", *args, num_hidden=hidden, no_bias=not bias, flatten=flatten)
        axis = int(rng.integers(-len(shape), len(shape)))
        c = shape[axis]
        add(
            "BatchNorm",
            *(of(*shape, dtype=dtype), of(c, dtype=dtype), of(c, dtype=dtype)),
            *(of(c, dtype=dtype), np.abs(of(c, dtype=dtype))),
            **{"axis": axis, "fix_gamma": pick(True, False), "eps": pick(1e-3, 1e-5)},
            **({"output_mean_var": True} if pick(True, False, False) else {}),
        )
        add(
            "LayerNorm",
            *(of(*shape, dtype=dtype), of(c, dtype=dtype), of(c, dtype=dtype)),
            **{"axis": axis, "eps": pick(1e-2, 1e-5), "output_mean_var": pick(True, False)},
        )
        x = of(batch, channels, *rng.integers(2, 5, pick(1, 2, 3)), dtype=dtype)
        c = channels
        add(
            "GroupNorm",
            *(x, of(groups, dtype=dtype), of(groups, dtype=dtype)),
            **{"num_groups": groups, "eps": 1e-2, "output_mean_var": pick(True, False)},
        )
        x = x.astype("float32")
        add("InstanceNorm", x, of(c, dtype="f4"), of(c, dtype="f4"), eps=pick(1e-3, 1e-1))
        add("L2Normalization", x, mode=pick("instance", "channel", "spatial"), eps=pick(1e-10, 0.1))
        x = of(batch, channels, 3, 4, dtype="float32")
        add("LRN", x, nsize=pick(1, 3, 5), alpha=pick(1e-4, 0.5), beta=pick(0.75, 1.5), knorm=1.5)
        rows, width = (int(m) for m in rng.integers(1, 6, 2))
        index = rng.integers(-3, 9, pick((3,), (2, 2), (1,))).astype(pick("int32", "int64", "f4"))
        weight = of(rows, width)
        add("Embedding", index, weight, input_dim=rows, output_dim=width, dtype=str(weight.dtype))
        x = of(*shape, dtype=pick("float32", "float64", "float16")) * 3
        add("Activation", x, act_type=pick("relu", "sigmoid", "tanh", "softrelu", "softsign"))
        kind = pick("leaky", "prelu", "elu", "selu", "gelu")
        x = of(*shape, dtype=dtype) * 3
        gamma = [of(shape[1] if pick(True, False) else 1, dtype=dtype)] if kind == "prelu" else []
        slope = {"slope": pick(0.25, 0.01, 1.5)} if kind in ("leaky", "elu") else {}
        add("LeakyReLU", x, *gamma, act_type=kind, **slope)
        x = of(*shape) * 4
        kwargs = {"axis": int(rng.integers(-x.ndim, x.ndim))}
        if pick(True, False):
            kwargs["temperature"] = pick(0.5, 3.0)
        name = pick("softmax", "log_softmax", "softmin")
        add(name, x, **kwargs)
        at = kwargs["axis"] % x.ndim
        length = rng.integers(0, shape[at] + 1, shape[:at] + shape[at + 1 :]).astype("int32")
        if length.ndim:  # MXNet fails with an axis from the end
            add("softmax", x, length, use_length=True, **{**kwargs, "axis": at})
        mode = "instance" if x.ndim == 2 else pick("instance", "channel")
        add("SoftmaxActivation", x.astype("float32"), mode=mode)
        add("Flatten", x)
        add("Dropout", x, p=0.3)
        add("UpSampling", of(2, 2, 3, 2), scale=pick(1, 2, 3), sample_type="nearest")
    return calls
