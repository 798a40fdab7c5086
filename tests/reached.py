# SPDX-License-Identifier: Apache-2.0
"""What of the C core the tests run: ``python tests/reached.py``.

A copy is built in which each line and each branch is counted, and in which every call of the
system and every allocation can be made to fail. There the tests of the core run, the work of
tests/faulty.py with all of its faults (``MXIO_FAULTS=10``: some ten of each), and
tests/misuse.c. For each file it says how many of its
lines and branches were reached, then which lines were not. It exits with 1 below the figures
here, or if a test fails. A process that is killed tells nothing of what it ran. It needs git, gcc
and gcov, and here what pyproject.toml builds with: ``pip install Cython 'setuptools>=77'``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seeded import SECONDS, Broken, copied, must, ran

LINES, BRANCHES = 99.3, 93.7  # of all files, in %, with some ten faults of each work
# What another processor runs, and what asks which one it is.
ELSEWHERE = {"load_512", "fold_512", "reduce_512", "update_vpclmul", "mxio_cpu_features"}
TESTS = (
    *("concurrent", "copy", "corrupt", "crc32c", "damage", "delta", "dtypes"),
    *(
        "foreign",
        "format",
        "gather",
        "lazy",
        "mxnet",
        "mxnet_corrupt",
        "names",
        "npz",
        "npz_corrupt",
    ),
    *("permissions", "progress", "read_out", "roundtrip", "safetensors", "safetensors_shards"),
    *("save", "states", "writer_elsewhere", "writer_input", "writer_threads"),
)
NAMES = "import sys; sys.path.append('tests'); import faulty; print(*faulty.WORK, sep='\\n')"

Counts = dict[tuple[int, str, int], int]


class Reached:
    """How often each line of a file ran, and each branch: line, function, number in the line."""

    def __init__(self) -> None:
        self.lines: dict[int, int] = defaultdict(int)
        self.branches: Counts = defaultdict(int)

    def __str__(self) -> str:
        said = [f"{share(x):6.1f} % of {len(x):4}" for x in (self.lines, self.branches)]
        return f"{said[0]} lines, {said[1]} branches"


def share(*counts: dict[int, int] | Counts) -> float:
    """How many of the counts are not 0, in %."""
    every = [count for some in counts for count in some.values()]
    return 100 * sum(map(bool, every)) / len(every) if every else 100.0


def counted(folder: Path) -> dict[str, Reached]:
    """Read what gcov says of csrc/; a function of a header is in several files' counts."""
    found: dict[str, Reached] = defaultdict(Reached)
    for path in sorted(folder.glob("build/*/csrc/*.gcda")):
        told = json.loads(must(["gcov", "-b", "-c", "--json-format", "--stdout", path], folder))
        for file in told["files"]:
            for line in file["lines"]:
                function = line.get("function_name", "")
                if not file["file"].startswith("csrc/") or function in ELSEWHERE:
                    continue
                reached, number = found[file["file"]], line["line_number"]
                reached.lines[number] += line["count"]
                for n, branch in enumerate(line["branches"]):
                    reached.branches[number, function, n] += branch["count"]
    return found


def commands(folder: Path) -> Iterable[list[str | Path]]:
    """What is to be run in the copy."""
    objects = [*folder.glob("build/*/csrc/*.o"), *folder.glob("build/*/tests/*.o")]
    misuse = ["tests/misuse.c", "-Icsrc", "--coverage", "-lpthread", "-o", folder / "misuse"]
    must(["cc", *objects, *misuse], folder)
    for name in "x", "empty":
        (folder / name).write_text(name if name == "x" else "")
    yield [folder / "misuse", "x", "empty"]
    for name in must([sys.executable, "-c", NAMES], folder).splitlines():
        yield [sys.executable, "tests/faulty.py", name, "calls allocations"]
    for name in TESTS:
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        yield [*pytest, f"--basetemp={folder / name}", f"tests/test_{name}.py"]


def failed(command: list[str | Path], folder: Path) -> str:
    """Run it, and say what was wrong; '' if nothing."""
    try:
        done = ran(command, folder)
    except subprocess.TimeoutExpired:
        return f"{command}: not done after {SECONDS} s"
    wrong = done.returncode or ('"wrong"' in done.stdout and '"wrong": null' not in done.stdout)
    return f"{command}: {done.stdout[-2000:]}" if wrong else ""


def main() -> int:
    argparse.ArgumentParser(description="Count what of csrc/ the tests run.").parse_args()
    os.environ |= {"MXIO_COVERAGE": "1", "MXIO_TEST_HOOKS": "1"}
    os.environ.setdefault("MXIO_FAULTS", "0")
    with tempfile.TemporaryDirectory(prefix="reached-") as made:
        folder = copied(Path(made).resolve())
        try:
            must([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], folder)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                wrong = [*filter(None, pool.map(lambda x: failed(x, folder), commands(folder)))]
            found = counted(folder)
        except Broken as error:
            print(error)
            return 2
        texts = {name: (folder / name).read_text("utf-8").splitlines() for name in found}
    for name, reached in sorted(found.items()):
        print(f"{name:22}{reached}")
    for name, reached in sorted(found.items()):
        for number, count in sorted(reached.lines.items()):
            if not count:
                print(f"{name}:{number}: {texts[name][number - 1].strip()}")
    lines = share(*(reached.lines for reached in found.values()))
    branches = share(*(reached.branches for reached in found.values()))
    print(f"all: {lines:.2f} % of the lines, {branches:.2f} % of the branches")
    print(*wrong, sep="\n")
    return int(lines < LINES or branches < BRANCHES or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
