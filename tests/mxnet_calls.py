# SPDX-License-Identifier: Apache-2.0
"""Calls of operators, made by the real MXNet and by mxio, and their results compared.

MXNet runs in an environment of its own (see test_mxnet_real.py): calls go there in one file,
results come back in another.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mxio import nd

PYTHON = os.environ.get("MXIO_MXNET_PYTHON")

# Runs there.
_THERE = """
import json, sys
import numpy as np
from mxnet import nd

folder = sys.argv[1]
arrays = np.load(folder + "/arrays.npz")
results = {}

def there(item):
    if isinstance(item, list):
        # concatenate asks for a list, most others for a tuple.
        found = [*map(there, item)]
        return found if isinstance(found[0] if found else 0, nd.NDArray) else tuple(found)
    if isinstance(item, str) and item.startswith("array "):
        return nd.array(arrays[item], dtype=arrays[item].dtype)
    return item

with open(folder + "/calls.json") as file:
    calls = json.load(file)
for number, (name, args, kwargs) in enumerate(calls):
    args = [*map(there, args)]
    kwargs = {key: there(item) for key, item in kwargs.items()}
    try:
        if name.startswith("."):
            found = getattr(args[0], name[1:])(*args[1:], **kwargs)
        else:
            found = nd
            for part in name.split("."):
                found = getattr(found, part)
            found = found(*args, **kwargs)
        for place, item in enumerate(found if isinstance(found, (list, tuple)) else [found]):
            results["%d.%d" % (number, place)] = item.asnumpy()
    except Exception as error:
        results["%d.error" % number] = np.array(repr(error).strip()[-300:])
np.savez(folder + "/results.npz", **results)
"""

Call = tuple[str, list[Any], dict[str, Any]]


def by_mxnet(calls: list[Call]) -> list[list[Any] | str]:
    """The results of each call, or the message of its error."""
    assert PYTHON is not None
    arrays: dict[str, Any] = {}

    def sent(item: Any) -> Any:
        if isinstance(item, np.ndarray):
            name = f"array {len(arrays)}"
            arrays[name] = item
            return name
        return [*map(sent, item)] if isinstance(item, (list, tuple)) else item

    written = [
        [name, sent(args), {key: sent(item) for key, item in kwargs.items()}]
        for name, args, kwargs in calls
    ]
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "arrays.npz", **arrays)
        (Path(folder) / "calls.json").write_text(json.dumps(written))
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(
            [PYTHON, "-W", "ignore", "-c", _THERE, folder],
            **{"env": env, "capture_output": True, "text": True, "timeout": 240},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        with np.load(Path(folder) / "results.npz") as results:
            found: list[list[Any] | str] = [[] for _ in calls]
            for key in results.files:
                number, _, place = key.partition(".")
                if place == "error":
                    found[int(number)] = str(results[key])
                else:
                    found[int(number)].append(results[key])  # type: ignore[union-attr]
    return found


def by_mxio(call: Call) -> list[Any]:
    """The results of a call here."""
    name, args, kwargs = call
    args = [nd.array(item) if isinstance(item, list) else item for item in args]
    args = [item.view(nd.NDArray) if isinstance(item, np.ndarray) else item for item in args]
    if name.startswith("."):
        found = getattr(args[0], name[1:])(*args[1:], **kwargs)
    else:
        function: Any = nd
        for part in name.split("."):
            function = getattr(function, part)
        found = function(*args, **kwargs)
    found = found if isinstance(found, list) else [found]
    assert all(type(item) is nd.NDArray for item in found)
    return [np.asarray(item) for item in found]


def difference(ours: list[Any], theirs: list[Any], tolerance: float) -> str | None:
    """What is wrong with our results; None if nothing is.

    Truth values are bool here, what has one item has no dimensions where MXNet's has one.
    """
    if len(ours) != len(theirs):
        return f"{len(ours)} results, not {len(theirs)}"
    for mine, other in zip(ours, theirs, strict=True):
        if mine.shape != other.shape and not (mine.shape == () and other.shape == (1,)):
            return f"shape {mine.shape}, not {other.shape}"
        if mine.dtype != other.dtype and mine.dtype != bool:
            return f"dtype {mine.dtype}, not {other.dtype}"
        a, b = (item.astype(np.float64).reshape(-1) for item in (mine, other))
        if not np.array_equal(np.isnan(a), np.isnan(b)):
            return f"NaN at {np.isnan(a).nonzero()[0]}, not at {np.isnan(b).nonzero()[0]}"
        finite = np.isfinite(b)
        if not np.array_equal(a[np.isinf(b)], b[np.isinf(b)]):
            return f"{a[np.isinf(b)]}, not {b[np.isinf(b)]}"
        scale = np.abs(b[finite]).max(initial=0)
        worst = np.abs(a[finite] - b[finite]).max(initial=0)
        if not worst <= tolerance * scale + 2e-6:
            return f"{worst} apart, of {scale}"
    return None


def compare(calls: list[Call], tolerance: float = 1e-5) -> list[str]:
    """Say each call that MXNet answers otherwise; what it refuses is not asked here."""
    wrong = []
    answers = by_mxnet(calls)
    for call, theirs in zip(calls, answers, strict=True):
        if isinstance(theirs, str):
            wrong.append(f"{told(call)}: MXNet says {theirs}")
            continue
        half = any(getattr(item, "dtype", None) == np.float16 for item in theirs)
        try:
            what = difference(by_mxio(call), theirs, max(tolerance, 2e-3 if half else 0))
        except Exception as error:
            what = repr(error)
        if what:
            wrong.append(f"{told(call)}: {what}")
    return wrong


def told(call: Call) -> str:
    name, args, kwargs = call
    shown = [f"{a.dtype}{list(a.shape)}" if isinstance(a, np.ndarray) else repr(a) for a in args]
    return f"{name}({', '.join(shown)}, {kwargs})"
