# SPDX-License-Identifier: Apache-2.0
"""Which steps of a run stay: the last, some all along, the best."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from mxio.errors import described, quote

__all__ = ["Retention", "at_least_one"]

# Of a step; None: its file cannot tell.
Metrics: TypeAlias = "Callable[[int], dict[str, float] | None]"


class Retention:
    """What a manager was told to keep; of what the steps' metrics are it is told each time."""

    def __init__(
        self,
        keep_last: int | None,
        keep_every: int | None,
        keep_best: int | None,
        metric: str | None,
        mode: str,
    ) -> None:
        self._last = None if keep_last is None else at_least_one("keep_last", keep_last)
        self._every = None if keep_every is None else at_least_one("keep_every", keep_every)
        self._best = None if keep_best is None else at_least_one("keep_best", keep_best)
        if mode not in ("min", "max"):
            raise ValueError(f"mode is 'min' or 'max', not {mode!r}")
        if metric is not None and not isinstance(metric, str):
            raise TypeError(f"metric is the name of one, not {described(metric)}")
        if keep_best is not None and metric is None:
            raise ValueError("keep_best needs metric=..., the name of what tells the best step")
        self.metric = metric
        self._sign = 1 if mode == "min" else -1

    def kept(self, steps: Sequence[int], saved: Sequence[int], metrics: Metrics) -> set[int]:
        """Return which of the steps, in ascending order, stay.

        `saved`: those of this run in the order in which they were saved, of which the last
        count, too. Who goes back to an older step has both.
        """
        if self._last is None:
            return set(steps)
        there = set(steps)
        ours = [step for step in dict.fromkeys(reversed(saved)) if step in there]
        kept = {*steps[-self._last :], *ours[: self._last]}
        if self._every is not None:
            kept |= {step for step in steps if step % self._every == 0}
        if self._best is not None:
            kept |= set(self.ranked(steps, metrics)[: self._best])
            kept |= {step for step in steps if metrics(step) is None}  # it might be the best
        return kept

    def check(self, metrics: Mapping[str, object]) -> None:
        """Raise ValueError if there are metrics, and not the one that tells the best step."""
        if self.metric is not None and metrics and self.metric not in metrics:
            there = ", ".join(map(quote, metrics))
            raise ValueError(f"there is no metric {quote(self.metric)} among {there}")

    @property
    def keeps_best(self) -> bool:
        return self._best is not None

    def ranked(self, steps: Sequence[int], metrics: Metrics) -> list[int]:
        """Return the steps that have the metric, the best first, the newer of two equal ones."""
        found = []
        for step in steps:
            value = (metrics(step) or {}).get(self.metric or "", math.nan)
            if not math.isnan(value):
                found.append((self._sign * value, -step))
        return [-step for _, step in sorted(found)]


def at_least_one(name: str, value: int) -> int:
    """Return a number that a keyword means, if it is one."""
    if isinstance(value, bool):
        raise TypeError(f"{name} is an int of 1 or more, not a bool")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is an int of 1 or more, not {described(value)}") from None
    if number < 1:
        raise ValueError(f"{name} is 1 or more, not {number}")
    return number
