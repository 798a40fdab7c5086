# SPDX-License-Identifier: Apache-2.0
"""The scanners of foreign files and the judge of native ones survive any bytes, watched."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import mxio

ROOT = Path(__file__).parent.parent
ROUNDS = 200


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("needs cc")
    out = tmp_path_factory.mktemp("fuzz") / "fuzz_scan"
    sources = [str(ROOT / "tests/fuzz_scan.c"), *map(str, sorted((ROOT / "csrc").glob("*.c")))]
    built = subprocess.run(
        [
            "cc",
            "-std=c99",
            "-g",
            "-O1",
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
            f"-I{ROOT / 'csrc'}",
            *sources,
            "-lpthread",
            "-o",
            out,
        ],
        capture_output=True,
        text=True,
    )
    if built.returncode:
        pytest.skip(f"this compiler has no sanitizers: {built.stderr[-200:]}")
    return out


def seeds(folder: Path) -> list[str]:
    """One file of each kind, made here, and what real releases wrote."""
    arrays = {"a": np.arange(6.0), "b/ü": np.zeros((2, 0, 3), "int8"), "c": np.ones((), "float16")}
    mxio.save(folder / "dict.mxio", arrays, metadata={"k": [1, "x"]})
    mxio.save(folder / "dict.safetensors", arrays, format="safetensors", metadata={"k": "\n"})
    mxio.save(folder / "dict.params", arrays, format="mxnet")
    mxio.save(folder / "list.params", list(arrays.values()), format="mxnet", version=3)
    # Generations: data in runs, a chain of indexes.
    mxio.save(folder / "chain.mxio", {**arrays, **{f"{i}": np.full(1, i) for i in range(40)}})
    w = mxio.Writer(folder / "chain.mxio", "a", sync=False)
    for i in range(6):
        w.append("a", np.ones(3))
        w[f"new {i % 4}"] = np.arange(i)
        w.commit()
    assert mxio.open(folder / "chain.mxio").index.handle.n_chain > 1
    w.discard()  # close would fold the chain
    golden = sorted((ROOT / "tests/golden").rglob("*.params"))
    return [*map(str, sorted(folder.iterdir())), *map(str, golden)]


def test_changed_files_are_valid_or_refused_and_nothing_else(fuzzer: Path, tmp_path: Path) -> None:
    ran = subprocess.run(
        [fuzzer, str(ROUNDS), *seeds(tmp_path)],
        capture_output=True,
        text=True,
        env={"ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1"},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = re.fullmatch(r"(\d+) tried, (\d+) valid\n", ran.stdout)
    assert found is not None, ran.stdout
    tried, valid = map(int, found.groups())
    assert tried >= ROUNDS * 4
    assert 0 < valid < tried
