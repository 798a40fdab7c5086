# SPDX-License-Identifier: Apache-2.0
"""Fuzzing led by coverage, by one command: ``python tests/fuzz.py [TARGET ...] --executions N``.

Targets in C (fuzz_scan.c) need a clang with libFuzzer, and are watched by the sanitizers of
addresses, leaks and undefined behaviour; those in Python (fuzz_targets.py) need atheris. Each
has a corpus in a folder that is kept, so that the next run goes on where this one ended; a new
one begins with what tests/golden has of an earlier long run. An
input may take 10 s and 512 MiB. A target stops at its first finding, which is kept too.

A line for each target says how many inputs were tried and what came of it. The exit status is
1 after a finding, 2 if something that was asked for could not run.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import fuzz_seeds
import fuzz_targets

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "tests/golden/corpus.tar.gz"
C_TARGETS = ("native", "mxnet", "safetensors")
TARGETS = (*C_TARGETS, *fuzz_targets.TARGETS)
CLANGS = ("clang", *(f"clang-{version}" for version in range(25, 10, -1)))
MOST_MIB = 512
MOST_SECONDS = 10
MOST_NBYTES = {"native": 16384}  # of an input; of others, the longest seed twice

FLAGS = (
    *("-std=c99", "-g", "-O2", "-fno-omit-frame-pointer"),
    *("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-DMXIO_LIBFUZZER"),
)
# What was freed waits in quarantine, which must not be taken for what an input needs.
ASAN = "quarantine_size_mb=16:allocator_may_return_null=1:detect_leaks=1"
UBSAN = "print_stacktrace=1"


class Missing(Exception):
    """What a target needs is not there."""


@dataclass
class Ran:
    """What came of one target."""

    executions: int
    seconds: float
    corpus: int
    findings: list[Path]
    log: Path
    status: int

    def __str__(self) -> str:
        return (
            f"{self.executions} executions, {self.seconds:.1f} s, corpus {self.corpus}, "
            f"findings {len(self.findings)}"
        )


def build(folder: Path) -> Path:
    """Return the program of the targets in C, compiled if it is older than its sources."""
    sources = [ROOT / "tests/fuzz_scan.c", *sorted((ROOT / "csrc").glob("*.c"))]
    program = folder / "fuzz_scan"
    newest = max(path.stat().st_mtime for path in (*sources, *(ROOT / "csrc").glob("*.h")))
    if program.exists() and program.stat().st_mtime > newest:
        return program
    clang = next(filter(None, map(shutil.which, CLANGS)), None)
    if clang is None:
        raise Missing("clang is not there (Debian: apt-get install clang)")
    command = [clang, *FLAGS, f"-I{ROOT / 'csrc'}", *sources, "-lpthread", "-o", program]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode:
        said = built.stderr.strip()[-300:]
        raise Missing(f"{clang} builds no fuzzer (Debian: libclang-rt-VERSION-dev): {said}")
    return program


def command_of(target: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return what runs a target, and what it needs in its environment."""
    if target in C_TARGETS:
        program = [str(build(folder))]
        return program, {"MXIO_FUZZ_TARGET": target, "ASAN_OPTIONS": ASAN, "UBSAN_OPTIONS": UBSAN}
    if importlib.util.find_spec("atheris") is None:
        raise Missing("atheris is not there (pip install atheris)")
    program = [sys.executable, str(ROOT / "tests/fuzz_targets.py"), target]
    places = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return program, {"PYTHONPATH": os.pathsep.join(places)}


def sow(target: str, corpus: Path) -> int:
    """Put the seeds of a target into its corpus, a new one on top of what was kept of an earlier
    long run; return the length of the longest seed."""
    if not corpus.exists() and KEPT.exists():
        with tarfile.open(KEPT) as kept:
            members = [one for one in kept if one.name.startswith(f"corpus/{target}/")]
            kept.extractall(corpus.parents[1], members, filter="data")
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = fuzz_seeds.of(target)
    for seed in seeds:
        # Named as libFuzzer names what it keeps.
        (corpus / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    return max(map(len, seeds))


def run(target: str, executions: int, folder: Path, seed: int) -> Ran:
    """Run a target, for so many executions or until it finds something."""
    command, needed = command_of(target, folder)
    corpus = folder / "corpus" / target
    longest = sow(target, corpus)
    most_nbytes = MOST_NBYTES.get(target, 2 * longest)
    found = folder / "findings" / target
    found.mkdir(parents=True, exist_ok=True)
    log = folder / f"{target}.log"
    arguments = [
        f"-runs={executions}",
        f"-seed={seed}",
        f"-max_len={most_nbytes}",
        f"-rss_limit_mb={MOST_MIB}",
        f"-malloc_limit_mb={MOST_MIB}",
        f"-timeout={MOST_SECONDS}",
        f"-artifact_prefix={found}{os.sep}",
        "-print_final_stats=1",
        str(corpus),
    ]
    if target in fuzz_seeds.WORDS:
        words = folder / f"{target}.dict"
        words.write_text("".join(f"{word_of_libfuzzer(w)}\n" for w in fuzz_seeds.WORDS[target]))
        arguments.insert(0, f"-dict={words}")
    begin = time.monotonic()
    with log.open("wb") as out:
        ran = subprocess.run(
            [*command, *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **needed},
            stdin=subprocess.DEVNULL,
        )
    seconds = time.monotonic() - begin
    said = log.read_text(errors="replace")
    return Ran(
        executions_in(said),
        seconds,
        sum(1 for _ in corpus.iterdir()),
        [Path(name) for name in re.findall(r"Test unit written to (.+)$", said, re.M)],
        log,
        ran.returncode,
    )


def word_of_libfuzzer(word: str) -> str:
    """Return a word as a line of a dictionary."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def executions_in(log: str) -> int:
    """Return how many inputs were tried, by what libFuzzer says last."""
    numbers = r"^stat::number_of_executed_units:\s*(\d+)|^Done (\d+) in|^#(\d+)\s"
    return max((int("".join(groups)) for groups in re.findall(numbers, log, re.M)), default=0)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--executions", type=int, default=100_000, help="of each target")
    parser.add_argument("--folder", type=Path, required=True, help="corpora, findings and logs")
    parser.add_argument("--seed", type=int, default=0, help="of the changes; 0: another each time")
    asked = parser.parse_args(arguments)
    for target in asked.targets:
        if target not in TARGETS:
            parser.error(f"no target {target!r}; there are {', '.join(TARGETS)}")
    folder: Path = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    status = 0
    for target in asked.targets or TARGETS:
        try:
            ran = run(target, asked.executions, folder, asked.seed)
        except Missing as missing:
            print(f"{target}: not run: {missing}", flush=True)
            status = status or 2
            continue
        print(f"{target}: {ran}", flush=True)
        for finding in ran.findings:
            print(f"  {finding}, said in {ran.log}", flush=True)
        if ran.findings:
            status = 1
        elif ran.status or ran.executions < asked.executions:
            print(f"  ended early, with status {ran.status}: {ran.log}", flush=True)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
