# SPDX-License-Identifier: Apache-2.0
"""Every call of the system and every allocation of each piece of work fails once, and for good.

The extension is compiled a second time, with the seam of tests/faults.h. The work, and what must
hold, is in tests/faulty.py. ``MXIO_FAULTS=0`` fails each of them, instead of some 24 for each
piece of work.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from faulty import WORK

import mxio

HERE = Path(__file__).parent
ROOT = HERE.parent
PACKAGE = Path(mxio.__file__).parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and an extension that can be told to fail."""
    if not sys.platform.startswith("linux") or shutil.which("cc") is None:
        pytest.skip("needs Linux and a C compiler, to build the extension with faults")
    if not (PACKAGE / "_core.c").exists():
        pytest.skip("the C file that Cython makes is not there: mxio was not built here")
    folder = tmp_path_factory.mktemp("built")
    (folder / "mxio").mkdir()
    for path in PACKAGE.iterdir():
        if not path.name.startswith("_core.c"):
            (folder / "mxio" / path.name).symlink_to(path)
    sources = [PACKAGE / "_core.c", HERE / "faults.c", *sorted((ROOT / "csrc").glob("*.c"))]
    flags = ["-O1", "-fPIC", "-std=c99", "-fvisibility=hidden", "-w"]
    flags += [
        "-DMXIO_TEST_HOOKS=1",
        "-D_GNU_SOURCE=1",
        "-DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION",
    ]
    flags += [
        "-DNPY_TARGET_VERSION=NPY_2_0_API_VERSION",
        "-include",
        "faults.h",
        "-Icsrc",
        "-Itests",
    ]
    flags += [f"-I{sysconfig.get_paths()['include']}", f"-I{np.get_include()}"]

    def compile_one(source: Path) -> str:
        out = folder / f"{source.stem}.o"
        subprocess.run(["cc", *flags, "-c", str(source), "-o", str(out)], check=True, cwd=ROOT)
        return str(out)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    library = folder / "mxio" / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    subprocess.run(["cc", "-shared", *objects, "-o", str(library), "-lpthread"], check=True)
    return folder


@pytest.mark.parametrize("kinds", ["calls", "allocations"])
@pytest.mark.parametrize("name", WORK)
def test_whatever_fails_is_told_and_nothing_is_lost_leaked_or_left(
    built: Path, name: str, kinds: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "faulty.py"), name, kinds],
        env={**os.environ, "PYTHONPATH": str(built), "MXIO_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["wrong"] is None, told["wrong"]
    if name != "dumps" or kinds == "allocations":  # else it asks nothing of the system
        assert told["runs"] > 1
        assert told["failures"]
