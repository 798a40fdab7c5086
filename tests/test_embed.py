# SPDX-License-Identifier: Apache-2.0
"""csrc/ stands alone: the plain C compiler builds it, and a C program reads our files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import mxio

ROOT = Path(__file__).parent.parent
COMPILER = os.environ.get("CC", "cc").split()
STRICT = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which(COMPILER[0]) is None:
        pytest.skip(f"no C compiler {COMPILER[0]!r} to build csrc/ with")
    out = tmp_path_factory.mktemp("embed") / "embed"
    sources = sorted(str(path) for path in (ROOT / "csrc").glob("*.c"))
    program = [str(ROOT / "tests/embed.c"), *sources, "-o", str(out), "-lpthread"]
    subprocess.run([*COMPILER, *STRICT, f"-I{ROOT / 'csrc'}", *program], check=True)
    return out


def test_the_c_files_build_without_a_warning_and_read_a_file(program: Path, tmp_path: Path) -> None:
    x = np.arange(50_000, dtype=np.float32).reshape(100, 500)
    mxio.save(tmp_path / "x.mxio", {"first": np.ones(3), "weights": x})
    done = subprocess.run(
        [program, tmp_path / "x.mxio", "weights"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"weights: 2 dims, sum {float(x.astype(np.float64).sum()):g}\n"


def test_a_c_program_reads_an_empty_array_and_refuses_another_dtype(
    program: Path, tmp_path: Path
) -> None:
    mxio.save(tmp_path / "x.mxio", {"empty": np.zeros((0, 3), np.float32), "long": np.ones(3)})
    done = subprocess.run([program, tmp_path / "x.mxio", "empty"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "empty: 2 dims, sum 0\n")
    assert subprocess.run([program, tmp_path / "x.mxio", "long"]).returncode == 4


def test_a_c_program_is_told_of_damage(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    mxio.save(path, {"weights": np.ones(9, np.float32)})
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    done = subprocess.run([program, path, "weights"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"checksum mismatch at offset {len(damaged) - 36}\n"


def test_a_c_program_is_told_of_a_name_that_is_not_there(program: Path, tmp_path: Path) -> None:
    mxio.save(tmp_path / "x.mxio", {"weights": np.ones(9, np.float32)})
    assert subprocess.run([program, tmp_path / "x.mxio", "bias"]).returncode == 3
