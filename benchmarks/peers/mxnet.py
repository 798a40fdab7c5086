# SPDX-License-Identifier: Apache-2.0
"""MXNet, by its own interpreter, which MXIO_MXNET_PYTHON names; see mxnet_process.py."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import mxio
from benchmarks.peers.base import Arrays, Peer
from benchmarks.peers.mxnet_process import digest

__all__ = ["Mxnet"]


class Mxnet(Peer):
    name = "MXNet"
    kind = "params"
    how: ClassVar[dict[str, str]] = {
        "save": "nd.save(), timed in its own process",
        "save_durable": "nd.save(), fsync, timed in its own process",
        "load": "nd.load(), timed in its own process",
        "load_params": "nd.load(), timed in its own process",
    }

    def __init__(self) -> None:
        self._python = os.environ.get("MXIO_MXNET_PYTHON")
        if not self._python:
            raise ImportError("MXIO_MXNET_PYTHON names no interpreter with MXNet")
        self._process: subprocess.Popen[str] | None = None
        self._seconds = 0.0

    def _ask(self, **order: Any) -> Any:
        if self._process is None:
            assert self._python is not None
            worker = str(Path(__file__).with_name("mxnet_process.py"))
            env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            self._process = subprocess.Popen(
                [self._python, worker],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=env,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._python} with MXNet ended: {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def version(self) -> str:
        return str(self._ask(version=True)["version"])

    def make_ready(self, nbytes: int) -> None:
        self._ask(ready=nbytes)

    def adopt(self, arrays: Arrays) -> Any:
        with TemporaryDirectory(prefix="mxio-benchmarks-") as folder:
            path = Path(folder) / "arrays.params"
            mxio.save(path, arrays, format="mxnet", sync=False)
            self._ask(adopt=str(path))

    def save(self, path: Path, arrays: Any) -> None:
        self._seconds = self._ask(save=str(path), sync=False)["seconds"]

    def save_durably(self, path: Path, arrays: Any) -> None:
        self._seconds = self._ask(save=str(path), sync=True)["seconds"]

    def load(self, path: Path) -> Any:
        self._seconds = self._ask(load=str(path))["seconds"]

    def seconds(self) -> float:
        return self._seconds

    def check(self, result: Any, arrays: Arrays) -> None:
        if self._ask(digest=True)["digest"] != digest(arrays):
            raise AssertionError("other arrays came back")

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None
