# SPDX-License-Identifier: Apache-2.0
"""What is moved: arrays as they occur, in three sizes.

`llm` and `small` are those of which the goals speak. The others are there so that nothing
is tuned to these two: one huge array, some hundred of middle size, the state of an
optimizer, arrays that do not lie in order in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.peers import Array, Arrays

__all__ = [
    "OTHERS",
    "SIZES",
    "Matrix",
    "Size",
    "llm",
    "mib",
    "named",
    "nbytes_of",
    "per_call",
    "shuffled",
    "small",
]


@dataclass(frozen=True)
class Size:
    """How much is moved, and how often."""

    name: str
    rounds: int
    width: int  # of the model
    vocabulary: int
    layers: int
    n_small: int
    n_rows: int  # of the matrix
    n_picks: int  # of its rows
    n_huge_rows: int  # of the matrix of which few read some rows
    other_nbytes: int  # of each of the other workloads
    counts: tuple[int, ...]  # of arrays, for the question of scale
    spin_nbytes: int  # saved while another thread spins
    pause: float  # seconds in which it spins alone
    n_appended: int  # rows, one by one
    n_commits: int  # of a row each
    stream_nbytes: int  # of the array that is written piece by piece
    # Why the goals say nothing, if they do not.
    note: str = ""


_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30
_SCALE = (1_000, 10_000, 100_000, 1_000_000)

SIZES = {
    size.name: size
    for size in (
        Size(
            *("full", 11, 1024, 32_000, 8, 20_000, 131_072, 1_000),
            *(2_097_152, 256 * _MIB, _SCALE, _GIB, 0.2),
            *(100_000, 10_000, 4 * _GIB),
        ),
        Size(
            *("quick", 3, 512, 8_000, 1, 1_000, 8_192, 200, 65_536, 8 * _MIB),
            *(_SCALE[:2], 32 * _MIB, 0.05, 2_000, 300, 64 * _MIB),
            *("smaller than the goals speak of",),
        ),
        Size(
            *("toy", 2, 16, 100, 2, 30, 64, 10, 4_096, 64 * _KIB),
            *((10, 100), _MIB, 0.02, 50, 20, 256 * _KIB, "toys, not sizes"),
        ),
    )
}


def llm(size: Size) -> Arrays:
    """A language model: an embedding, layers of seven matrices and two vectors."""
    rng = np.random.default_rng(1)
    wide = 4 * size.width
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (size.vocabulary, size.width)}
    for layer in range(size.layers):
        for part in ("query", "key", "value", "out"):
            shapes[f"layers.{layer}.attention.{part}"] = (size.width, size.width)
        for part in ("gate", "up", "down"):
            shapes[f"layers.{layer}.mlp.{part}"] = (wide, size.width)
        for part in ("attention", "mlp"):
            shapes[f"layers.{layer}.{part}.norm"] = (size.width,)
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


def small(size: Size) -> Arrays:
    """Many arrays of 1 KiB."""
    rng = np.random.default_rng(2)
    return named(rng.random((64, 4), np.float32) for _ in range(size.n_small))


def named(arrays: Iterable[Array]) -> Arrays:
    """Give arrays names of the usual length."""
    return {
        f"block{i // 600}.layer{i // 60 % 10}.param{i % 60}.weight": array
        for i, array in enumerate(arrays)
    }


class Matrix:
    """One matrix of which no two rows are the same; any row is known without the whole."""

    def __init__(self, size: Size, n_rows: int, columns: int) -> None:
        rng = np.random.default_rng(3)
        columns = columns if size.width >= 512 else size.width
        self._piece = rng.random((min(n_rows, 16_384), columns), np.float32)
        self.n_rows = n_rows
        self.row_nbytes = self._piece[0].nbytes
        self.nbytes = n_rows * self.row_nbytes

    def row(self, i: int) -> Array:
        found: Array = self._piece[i % len(self._piece)].copy()
        found[0] = i
        return found

    def whole(self) -> Array:
        piece, n = self._piece, self.n_rows
        made = np.empty((n, piece.shape[1]), np.float32)
        for start in range(0, n, len(piece)):
            made[start : start + len(piece)] = piece[: n - start]
        made[:, 0] = np.arange(n)
        return made


# ---- the others ------------------------------------------------------------------------------


def _huge(size: Size) -> Arrays:
    rng = np.random.default_rng(5)
    return {"embedding.weight": rng.random((size.other_nbytes // 4096, 1024), np.float32)}


def _middle(size: Size) -> Arrays:
    """Arrays of 64 KiB to 1 MiB (smaller toys), each size as likely as another."""
    rng = np.random.default_rng(6)
    least = min(64 * _KIB, size.other_nbytes // 64)
    arrays, left = [], size.other_nbytes
    while left > 0:
        nbytes = int(least * 16 ** rng.random())
        arrays.append(rng.random((nbytes // 256, 64), np.float32))
        left -= nbytes
    return named(arrays)


def _optimizer(size: Size) -> Arrays:
    """What Adam keeps of each parameter: a step, and two arrays of its shape.

    Matrices and vectors take turns, as in a model: a third of the entries are numbers, a
    third of the rest is short.
    """
    rng = np.random.default_rng(7)
    width = 512 if size.width >= 512 else 16
    shapes = [(width, width), (width,), (width,), (4 * width, width)]
    per_layer = 2 * 4 * sum(int(np.prod(shape)) for shape in shapes)
    state: Arrays = {}
    for layer in range(max(1, size.other_nbytes // per_layer)):
        for part, shape in enumerate(shapes):
            name = f"state.{layer}.{part}"
            state[f"{name}.step"] = np.array(1000 + layer, np.float32)
            state[f"{name}.exp_avg"] = rng.random(shape, np.float32)
            state[f"{name}.exp_avg_sq"] = rng.random(shape, np.float32)
    return state


def _strided(size: Size) -> Arrays:
    """Transposes, columns of wider arrays, and every second row, in equal parts."""
    rng = np.random.default_rng(8)
    side = 512 if size.width >= 512 else 16
    n = max(3, size.other_nbytes // (4 * side * side))
    made = []
    for i in range(n):
        if i % 3 == 0:
            made.append(rng.random((side, side), np.float32).T)
        elif i % 3 == 1:
            made.append(rng.random((side, 2 * side), np.float32)[:, :side])
        else:
            made.append(rng.random((2 * side, side), np.float32)[::2])
    return named(made)


# In words, and how they are made.
OTHERS: dict[str, tuple[str, Callable[[Size], Arrays]]] = {
    "huge": ("one array", _huge),
    "middle": ("arrays of 64 KiB to 1 MiB", _middle),
    "optimizer": ("an optimizer's state", _optimizer),
    "strided": ("strided arrays", _strided),
}


# ---- about them ------------------------------------------------------------------------------


def nbytes_of(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:.0f} MiB" if nbytes >= 1 << 20 else f"{nbytes / 2**10:.0f} KiB"


def shuffled(n: int) -> list[int]:
    """The numbers below n in an order that looks random and is always the same."""
    return [int(i) for i in np.random.default_rng(4).permutation(n)]


def per_call(numbers: Sequence[int], call: int, n: int) -> list[int]:
    """The n of the numbers that belong to a call: other ones each time."""
    return [numbers[(call * n + i) % len(numbers)] for i in range(n)]
