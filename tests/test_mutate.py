# SPDX-License-Identifier: Apache-2.0
"""Some of the damage that tests/mutate.py does by the million: found, or an error."""

from __future__ import annotations

import sys

import mutate
import pytest


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize(("kind", "n"), [("native", 180_000), ("foreign", 110_000)])
def test_damage_is_found_and_costs_nothing(kind: str, n: int) -> None:
    counts = mutate.run(kind, n, 2, 1)
    assert counts.total() - counts["same"] >= n
    assert not {what: counts[what] for what in mutate.BAD if counts[what]}
    assert counts["found"] > n / 4


def test_what_is_counted_can_be_met() -> None:
    """A judge that says `found` to everything would find nothing."""
    data = mutate.native()["dict"]
    judge = mutate.Judge(data)
    assert judge(data) == "same"
    assert judge(data[:-1]) == "found"
    other = mutate.Judge(data)
    other.wanted = None
    assert other(data + b"") == "same"
    judge.data = b""
    assert judge(data) == "HARMLESS"
    other.data = b""
    assert other(data) == "SILENT"
