# SPDX-License-Identifier: Apache-2.0
"""Another process beside the one that tests, and what a file holds at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import mxio

Array: TypeAlias = "np.ndarray[Any, Any]"

ROOT = str(Path(mxio.__file__).parents[1])


def holds(path: Path, model: dict[str, Array]) -> None:
    assert mxio.verify(path) == []
    loaded = mxio.load(path)
    assert sorted(loaded) == sorted(model)
    for name, array in model.items():
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
        assert loaded[name].tobytes() == array.tobytes(), name


def child(code: str, *args: object) -> subprocess.Popen[str]:
    """Another Python, which says 'ready' once it is, and goes on when it is told."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, os, mxio\nimport numpy as np\n" + code,
            *map(str, args),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": ROOT},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def apart(work: Callable[[], object], user: int = 0, group: int = 0, seconds: int = 60) -> None:
    """Run a function in a forked child: what it raises is raised here, also that it hangs.

    With a user the child is that one, in that group, and may do what that one may.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(ours)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            if user:
                os.setgroups([group] if group else [])
                os.setgid(user)
                os.setuid(user)
            work()
            status = 0
        except BaseException:
            os.write(theirs, traceback.format_exc()[-60_000:].encode(errors="backslashreplace"))
        finally:
            os._exit(status)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        told = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status != -signal.SIGALRM, f"it hangs for {seconds} s"
    assert status == 0, f"status {status} of the child: {told}"
