# SPDX-License-Identifier: Apache-2.0
"""A place to run the command mxio in, as a stranger runs it: in a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import mxio
from mxio import cli

PACKAGES = str(Path(mxio.__file__).parent.parent)


@contextlib.contextmanager
def small_disk(within: Path, size: str) -> Iterator[Path]:
    """A file system of so many bytes, such as ``4m``, in a folder of its own."""
    folder = within / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class Place:
    """An empty working directory, an empty folder for temporary files, and mxio in them."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.temporary = folder / "temporary"
        self.work.mkdir()
        self.temporary.mkdir()
        path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")]))
        self.env = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(self.temporary)}
        for name in ("MXIO_THREADS", "PYTHONUNBUFFERED", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
            self.env.pop(name, None)

    def python(self, *args: str, stdout: int = subprocess.PIPE, **env: str) -> Done:
        done = subprocess.run(
            [sys.executable, *args],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.work,
            env={**self.env, **env},
            timeout=120,
        )
        return Done(done.returncode, done.stdout or "", done.stderr)

    def mxio(self, *args: str, stdout: int = subprocess.PIPE, **env: str) -> Done:
        return self.python("-m", "mxio", *args, stdout=stdout, **env)

    def terminal(self, *args: str, columns: int = 80, **env: str) -> str:
        """What the command prints on a terminal of so many columns, stderr too."""
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            [sys.executable, *args],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            cwd=self.work,
            env={**self.env, "TERM": "xterm", **env},
        )
        os.close(theirs)
        found = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # nobody can write any more
                part = b""
            if not part:
                break
            found += part
        os.close(ours)
        process.wait(120)
        return found.decode().replace("\r\n", "\n")

    def broken(self, code: str) -> Done:
        """Run the tutorial in a process where `code` was run before."""
        run = "from mxio import cli; sys.exit(cli.main(['tutorial']))"
        return self.python("-c", f"import functools, os, signal, sys, mxio\n{code}\n{run}")

    def is_clean(self) -> bool:
        return not any(self.work.iterdir()) and not any(self.temporary.iterdir())


class Done(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; JSON has no NaN."""
        return json.loads(self.out, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))


def in_process(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Return a function that runs a command line in this process, which takes less time."""

    def run(*args: str) -> Done:
        try:
            status = cli.main(args)
        except SystemExit as stop:  # argparse
            status = int(stop.code or 0)
        return Done(status, *capsys.readouterr())

    return run
