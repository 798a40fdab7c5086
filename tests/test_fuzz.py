# SPDX-License-Identifier: Apache-2.0
"""The scanners of foreign files and the judge of native ones survive any bytes, watched.

What is short enough for every day; tests/fuzz.py is the same at length, and led by coverage.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import fuzz
import fuzz_seeds
import fuzz_targets
import pytest

ROOT = Path(__file__).parent.parent
ROUNDS = 200
EXECUTIONS = 5000


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


def test_changed_files_are_valid_or_refused_and_nothing_else(fuzzer: Path, tmp_path: Path) -> None:
    golden = sorted((ROOT / "tests/golden").rglob("*.params"))
    ran = subprocess.run(
        [fuzzer, str(ROUNDS), *fuzz_seeds.made(tmp_path), *golden],
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


@pytest.mark.parametrize("target", sorted(fuzz_targets.TARGETS))
@pytest.mark.filterwarnings("ignore")  # what is read, but is not quite as it should be
def test_changed_bytes_are_read_or_refused_as_documented(target: str) -> None:
    source = random.Random(0)
    seeds = fuzz_seeds.of(target)
    for data in seeds:
        fuzz_targets.TARGETS[target](data)
    for _ in range(2000):
        changed = bytearray(source.choice(seeds))
        for _ in range(source.randint(1, 4)):
            at = source.randrange(len(changed))
            match source.randrange(4):
                case 0:
                    changed[at] = source.randrange(256)
                case 1:
                    changed[at] ^= 1 << source.randrange(8)
                case 2:
                    changed[at:at] = changed[source.randrange(len(changed)) :][:8]
                case _:
                    del changed[at : at + source.choice((1, 1, 8, 64))]
            if not changed:
                break
        fuzz_targets.TARGETS[target](bytes(changed))


def test_libfuzzer_finds_nothing_in_a_short_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        fuzz.build(tmp_path)
    except fuzz.Missing as missing:
        pytest.skip(str(missing))
    targets = [*fuzz.C_TARGETS, "--executions", str(EXECUTIONS), "--seed", "1"]
    status = fuzz.main([*targets, "--folder", str(tmp_path)])
    said = capsys.readouterr().out
    assert status == 0, said
    lines = re.findall(r"^(\w+): (\d+) executions, [\d.]+ s, corpus \d+, findings 0$", said, re.M)
    assert [name for name, _ in lines] == [*fuzz.C_TARGETS]
    assert all(int(executions) >= EXECUTIONS for _, executions in lines)
