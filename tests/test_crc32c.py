# SPDX-License-Identifier: Apache-2.0
"""The checksum is CRC-32C, whichever instructions compute it.

First on the C files alone, with the plain C compiler: crc32c_check.c compares
every implementation that runs here with a bitwise one. Then through the extension.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from mxio import _core

TESTS = Path(__file__).parent
CSRC = TESTS.parent / "csrc"
SOURCES = [TESTS / "crc32c_check.c", CSRC / "crc32c.c", CSRC / "cpu.c"]
FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def compile_c(sources, target, *flags):
    """Compile and link, and return the finished process."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        compiler = ["cc"]  # Python's own was not taken along
    if shutil.which(compiler[0]) is None:
        pytest.skip("no C compiler")
    command = [*compiler, *FLAGS, *flags, *sources, "-o", target]
    return subprocess.run(command, capture_output=True, text=True)


def run(program):
    # An interpreter that is itself sanitized may preload what would disturb.
    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    done = subprocess.run([program], capture_output=True, text=True, env=env)
    print(done.stdout)
    return done


@pytest.mark.parametrize("sanitized", [False, True])
def test_every_implementation_agrees_with_the_definition(tmp_path, sanitized):
    if sanitized:
        probe = tmp_path / "probe.c"
        probe.write_text("int main(void) { return 0; }\n")
        tried = compile_c([probe], tmp_path / "probe", *SANITIZE)
        if tried.returncode != 0 or run(tmp_path / "probe").returncode != 0:
            pytest.skip("this compiler's programs cannot be sanitized")
    program = tmp_path / "crc32c_check"
    built = compile_c(SOURCES, program, *(SANITIZE if sanitized else []))
    assert built.returncode == 0, built.stderr
    done = run(program)
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert said["portable"].startswith("ok")
    assert said[said["chosen"]].startswith("ok")


VARIANTS = [name for name, runs_here in _core.crc32c_variants() if runs_here]


def bitwise(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_that_runs_here_agrees_with_the_definition(variant: str) -> None:
    assert _core.crc32c(b"123456789", 0, variant) == 0xE3069283
    data = bytes(np.random.default_rng(0).integers(0, 256, 20_000, np.uint8))
    for length in [*range(0, 300, 7), 511, 512, 513, 1023, 2047, 2999, 4080, 8183, 8184, 19_990]:
        for start in (0, 1, 5):
            part = data[start : start + length]
            assert _core.crc32c(part, 0, variant) == bitwise(part)
            half = len(part) // 2
            begun = _core.crc32c(part[:half], 0, variant)
            assert _core.crc32c(part[half:], begun, variant) == bitwise(part)


def test_the_variant_in_use_is_the_last_that_runs_here() -> None:
    assert _core.crc32c_chosen() == VARIANTS[-1]
    assert "portable" in VARIANTS
    with pytest.raises(ValueError, match="no CRC-32C variant 'nonsense'"):
        _core.crc32c(b"", 0, "nonsense")
