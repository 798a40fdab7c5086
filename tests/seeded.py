# SPDX-License-Identifier: Apache-2.0
"""Bugs that are put into a copy of the repository, one at a time: the tests must see each.

``python tests/seeded.py [NAME ...]`` says of each bug of the table `BUGS`, or of those named,
``caught`` if its tests fail, ``ESCAPED`` if they pass, ``broken`` if nothing was found out.
The tests are few, so that a bug that escapes tells of a test that has lost its teeth. What
changes C is compiled and linked with the objects of one build without bugs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from seeded_bugs import BUGS, Bug

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
SECONDS = 900  # then it hangs
COMPILE = [
    "cc",
    *("-O1", "-fPIC", "-std=c99", "-fvisibility=hidden", "-w", "-c"),
    "-DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION",
    "-DNPY_TARGET_VERSION=NPY_2_0_API_VERSION",
    *("-Icsrc", f"-I{sysconfig.get_paths()['include']}", f"-I{np.get_include()}"),
]
IMPORT = "import mxio, mxio._core; print(mxio._core.__file__)"


class Broken(Exception):
    """Nothing can be found out."""


class Told(NamedTuple):
    """What became of a bug, and which test said so or what was wrong."""

    verdict: str
    detail: str = ""


def ran(command: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy, with the package that is there."""
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=SECONDS,
    )


def must(command: Sequence[str | Path], folder: Path) -> str:
    done = ran(command, folder)
    if done.returncode:
        raise Broken(f"{command[0]}: {done.stdout[-2000:]}")
    return done.stdout


def copied(to: Path) -> Path:
    """Copy what git knows of, as it stands in the working tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
        if (ROOT / name).is_file():  # else it was removed and that is not committed yet
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


class Base:
    """One build without bugs: the objects of all C files."""

    def __init__(self, folder: Path, compiles: bool) -> None:
        """Build in `folder`; if nothing is to be compiled, take the extension that is there."""
        self.folder = folder
        self.objects: dict[str, Path] = {}
        copied(folder)
        made = ROOT / "mxio" / "_core.c"
        if made.exists():
            shutil.copy2(made, folder / "mxio")
        built = ROOT / "mxio" / LIBRARY
        if not compiles and built.exists():
            shutil.copy2(built, folder / "mxio")
            return
        if not made.exists() or shutil.which("cc") is None:
            raise Broken("needs cc and mxio/_core.c, which a build of mxio leaves there")
        sources = [made, *sorted((folder / "csrc").glob("*.c"))]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda source: self.compile(folder, source, self.objects), sources))
        self.link(folder, self.objects)

    def compile(self, folder: Path, source: Path, into: dict[str, Path]) -> None:
        out = folder / f"{source.stem}.o"
        must([*COMPILE, source, "-o", out], folder)
        into[source.stem] = out

    def link(self, folder: Path, objects: dict[str, Path]) -> None:
        library = folder / "mxio" / LIBRARY
        must(["cc", "-shared", *objects.values(), "-o", library, "-lpthread"], folder)

    def build(self, folder: Path, changed: str) -> None:
        """Give a copy its extension, of which one file was changed."""
        if (self.folder / "mxio" / "_core.c").exists():
            shutil.copy2(self.folder / "mxio" / "_core.c", folder / "mxio")
        path = folder / changed
        if path.suffix in (".pyx", ".pxi", ".pxd"):
            must([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], folder)
            return
        if path.suffix not in (".c", ".h"):
            shutil.copy2(self.folder / "mxio" / LIBRARY, folder / "mxio")
            return
        objects = dict(self.objects)
        sources = [path]
        if path.suffix == ".h":  # whoever includes it
            sources = [folder / "mxio" / "_core.c", *sorted((folder / "csrc").glob("*.c"))]
        for source in sources:
            self.compile(folder, source, objects)
        self.link(folder, objects)


def put(bug: Bug, folder: Path) -> None:
    """Make the one change."""
    path = folder / bug.file
    text = path.read_text("utf-8")
    if text.count(bug.find) != 1 or bug.find == bug.put:
        raise Broken(f"{bug.file} has the text {text.count(bug.find)} times: {bug.find!r}")
    path.write_text(text.replace(bug.find, bug.put), "utf-8")


def imports(folder: Path) -> None:
    """Raise Broken unless a copy is what a program there imports."""
    found = must([sys.executable, "-c", IMPORT], folder).strip()
    if Path(found).resolve().parent.parent != folder.resolve():
        raise Broken(f"another mxio was imported: {found}")


def tested(tests: Iterable[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    return ran([*command, f"--basetemp={folder / 'pytest'}", *tests], folder)


def judged(done: subprocess.CompletedProcess[str]) -> Told:
    """Say what pytest found: 1 and 2 are tests that failed or could not be collected."""
    if done.returncode == 0:
        return Told("ESCAPED")
    if done.returncode < 0:
        return Told("caught", f"killed by signal {-done.returncode}")
    if done.returncode not in (1, 2):
        return Told("broken", done.stdout[-1000:])
    failed = re.search(r"^(?:FAILED|ERROR) tests/(.+?)(?: - |$)", done.stdout, re.MULTILINE)
    return Told("caught", failed[1] if failed else "")


def seeded(bug: Bug, base: Base) -> Told:
    """Put one bug into a copy, and say what its tests say."""
    with tempfile.TemporaryDirectory(prefix="seeded-") as made:
        folder = Path(made)
        try:
            copied(folder)
            put(bug, folder)
            base.build(folder, bug.file)
            imports(folder)
        except Broken as error:
            return Told("broken", str(error))
        try:
            return judged(tested(bug.tests, folder))
        except subprocess.TimeoutExpired:
            return Told("caught", f"not done after {SECONDS} s")


def sound(bugs: Sequence[Bug], base: Base) -> str:
    """Say what is wrong with the tests of some bugs where there is no bug; '' if nothing."""
    imports(base.folder)
    sets = dict.fromkeys(bug.tests for bug in bugs)
    every = list(dict.fromkeys(test for tests in sets for test in tests))
    done = tested(every, base.folder)
    if done.returncode:
        return f"without a bug the tests fail:\n{done.stdout[-3000:]}"
    skipped = re.findall(r"^SKIPPED .*", done.stdout, re.MULTILINE)
    if skipped or not re.search(r"\d+ passed", done.stdout):
        return "tests that would have to fail were skipped:\n" + "\n".join(skipped)
    return ""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Put bugs into copies, and see tests fail.")
    parser.add_argument("names", nargs="*", help="of bugs; none: all")
    parser.add_argument("--list", action="store_true", help="say which bugs there are")
    args = parser.parse_args(argv)
    known = {bug.name: bug for bug in BUGS}
    unknown = [name for name in args.names if name not in known]
    if unknown:
        parser.error(f"no bug {unknown[0]!r}; --list says which there are")
    if args.list:
        print("\n".join(known))
        return 0
    bugs = [known[name] for name in args.names] or list(BUGS)
    counts = {"caught": 0, "ESCAPED": 0, "broken": 0}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="seeded-base-") as folder:
        try:
            base = Base(Path(folder), any(bug.file.startswith("csrc/") for bug in bugs))
            wrong = sound(bugs, base)
        except Broken as error:
            wrong = str(error)
        if wrong:
            print(wrong)
            return 2
        print(f"without a bug all tests pass, {time.monotonic() - began:.1f} s", flush=True)
        for bug in bugs:
            start = time.monotonic()
            told = seeded(bug, base)
            counts[told.verdict] += 1
            took = time.monotonic() - start
            print(f"{told.verdict:8}{took:7.1f} s  {bug.name}: {told.detail}", flush=True)
    said = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    print(f"{len(bugs)} bugs: {said}, {time.monotonic() - began:.0f} s")
    return 1 if counts["ESCAPED"] or counts["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
