# SPDX-License-Identifier: Apache-2.0
"""What does restoring a network cost beside reading its file?

A network of 20,000 parameters of 1 KiB (fewer with --quick) and one of a few large ones take
their values from a file, when they were just built and when they have values already; beside
each stands ``mxio.load`` of the same file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mxio
from benchmarks.compare import same, sizer
from benchmarks.files import sync, warm
from benchmarks.harness import Case, Contender, Run
from benchmarks.peers import Arrays
from benchmarks.workloads import llm, mib, nbytes_of, small

__all__ = ["cases"]


def cases(run: Run) -> Iterator[Case]:
    for name, arrays in ("many", small(run.size)), ("large", llm(run.size)):
        with run.room() as room:
            path = room / "net.mxio"
            mxio.save(path, arrays, sync=False)
            sync(path)
            warm(path)
            nbytes = nbytes_of(arrays)
            what = f"{len(arrays):,} parameters, {mib(nbytes)}"
            contenders = [
                _reading(path, arrays),
                _restoring("mxio, load_parameters", path, arrays, has_values=False),
                _restoring("mxio, load_parameters in place", path, arrays, has_values=True),
            ]
            yield Case(
                name,
                f"Restore {what}",
                "ms" if name == "many" else "GB/s",
                nbytes,
                nbytes,
                len(arrays),
                "warm page cache",
                contenders,
            )


def _reading(path: Path, arrays: Arrays) -> Contender:
    return Contender(
        "mxio",
        "mxio",
        mxio.__version__,
        "mxio.load",
        "CRC-32C",
        lambda _: mxio.load(path),
        lambda loaded, _: same(loaded, arrays),
        file_nbytes=sizer(path),
    )


def _restoring(name: str, path: Path, arrays: Arrays, has_values: bool) -> Contender:
    """A network of its own for each call, built outside the clock."""
    waiting: list[Any] = []

    def prepare() -> None:
        waiting[:] = [_network(arrays)]
        if has_values:
            _give_values(waiting[0], arrays)

    def restore(_: int) -> Any:
        waiting[0].load_parameters(path)
        return waiting[0]

    def check(net: Any, _: int) -> None:
        parameters = net._collect_params_with_prefix().items()
        same({name: parameter.data() for name, parameter in parameters}, arrays)

    return Contender(
        name,
        "mxio",
        mxio.__version__,
        "net.load_parameters",
        "CRC-32C",
        restore,
        check,
        prepare,
        sizer(path),
    )


def _network(arrays: Arrays) -> Any:
    """Return blocks in blocks, as the names of the arrays say."""
    from mxio.gluon import nn

    root = nn.Block(prefix="net_")
    blocks: dict[tuple[str, ...], Any] = {(): root}
    for name, array in arrays.items():
        *path, last = name.split(".")
        for depth in range(1, len(path) + 1):
            key = tuple(path[:depth])
            if key not in blocks:
                blocks[key] = nn.Block(prefix="net_" + "_".join(key) + "_")
                blocks[key[:-1]].register_child(blocks[key], key[-1])
        block = blocks[tuple(path)]
        setattr(block, last, block.params.get(last, shape=(0, *array.shape[1:])))
        block._reg_params[last]._allow_deferred_init = True
    return root


def _give_values(net: Any, arrays: Arrays) -> None:
    for name, parameter in net._collect_params_with_prefix().items():
        parameter.shape = arrays[name].shape
    net.initialize("zeros")
