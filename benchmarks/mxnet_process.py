# SPDX-License-Identifier: Apache-2.0
"""MXNet in a process of its own, since it lives beside an older NumPy: run by `peers.Mxnet`.

Reads orders from its input, a JSON object a line, and answers each with one. It times what
it does itself, so that no pipe is in the figures, and makes itself ready for each load as
the harness makes the process of the others: see `harness`.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import os
import sys
import time
from typing import Any


def main() -> None:
    # What the library prints goes elsewhere.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import mxnet  # type: ignore[import-not-found,unused-ignore]
    import numpy as np

    loaded: Any = None
    for line in sys.stdin:
        order = json.loads(line)
        answer: dict[str, Any] = {}
        if "version" in order:
            answer["version"] = mxnet.__version__
        elif "ready" in order:
            loaded = None
            gc.collect()
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)
            np.empty(order["ready"], np.uint8).fill(1)
        elif "load" in order:
            start = time.perf_counter()
            loaded = mxnet.nd.load(order["load"])
            mxnet.nd.waitall()
            answer["seconds"] = time.perf_counter() - start
        elif "digest" in order:
            answer["digest"] = digest({name: x.asnumpy() for name, x in loaded.items()})
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def digest(arrays: dict[str, Any]) -> str:
    """Say in a word what names, dtypes, shapes and values are, in order."""
    made = hashlib.blake2b()
    for name, array in arrays.items():
        made.update(f"{name} {array.dtype.name} {array.shape} ".encode())
        made.update(array.tobytes())
    return made.hexdigest()


if __name__ == "__main__":
    main()
