# SPDX-License-Identifier: Apache-2.0
"""MXNet in a process of its own, since it lives beside an older NumPy: run by `mxnet.Mxnet`.

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


class Worker:
    def __init__(self) -> None:
        import mxnet  # type: ignore[import-not-found,unused-ignore]
        import numpy as np

        self.mxnet, self.np = mxnet, np
        self.held: Any = None  # to be saved
        self.loaded: Any = None

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        if "version" in order:
            return {"version": self.mxnet.__version__}
        if "ready" in order:
            self.loaded = None
            gc.collect()
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)
            self.np.empty(order["ready"], self.np.uint8).fill(1)
            return {}
        if "adopt" in order:
            self.held = self.load(order["adopt"])
            return {}
        start = time.perf_counter()
        if "load" in order:
            self.loaded = self.load(order["load"])
        elif "save" in order:
            self.mxnet.nd.save(order["save"], self.held)
            if order["sync"]:
                sync(order["save"])
                sync(os.path.dirname(order["save"]))
        else:
            return {"digest": digest({name: x.asnumpy() for name, x in self.loaded.items()})}
        return {"seconds": time.perf_counter() - start}

    def load(self, path: str) -> Any:
        loaded = self.mxnet.nd.load(path)
        self.mxnet.nd.waitall()
        return loaded


def main() -> None:
    # Or `import mxnet` finds the module beside this one.
    sys.path.pop(0)
    # What the library prints goes elsewhere.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def digest(arrays: dict[str, Any]) -> str:
    """Say in a word what names, dtypes, shapes and values are, in order."""
    made = hashlib.blake2b()
    for name, array in arrays.items():
        made.update(f"{name} {array.dtype.name} {array.shape} ".encode())
        made.update(array.tobytes())
    return made.hexdigest()


if __name__ == "__main__":
    main()
