# SPDX-License-Identifier: Apache-2.0
"""`import mxio` brings little along: what NumPy has not brought already is counted here.

Time is measured by the benchmarks, not asserted. What costs time is modules, and those are the
same on every machine: mxio's own, and a short list of the standard library.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mxio

ROOT = str(Path(mxio.__file__).parents[1])

# Of the standard library, beyond what NumPy imports in one version or another: none is slow to
# import and none brings a third one along.
ALLOWED = {
    *("__future__", "base64", "binascii", "dataclasses", "_json", "json", "json.decoder"),
    *("json.encoder", "json.scanner", "numbers", "decimal", "_decimal", "struct", "_struct"),
    *("datetime", "_datetime", "copy", "keyword", "inspect", "dis", "opcode", "_opcode", "ast"),
    *("_ast", "_opcode_metadata", "linecache", "tokenize", "token", "importlib.machinery", "math"),
    *("errno", "contextvars", "_contextvars", "locale", "_locale", "difflib", "heapq", "_heapq"),
    *("threading", "_thread", "_weakrefset"),
}
# Each of these takes milliseconds, or starts something.
NEVER = {
    *("asyncio", "concurrent.futures", "ctypes", "email", "hashlib", "http", "logging"),
    *("multiprocessing", "pickle", "random", "socket", "sqlite3", "ssl", "subprocess", "tempfile"),
    *("test", "tkinter", "unittest", "urllib", "xml", "zipfile", "typing_extensions"),
    *("ml_dtypes", "torch", "jax", "tensorflow", "cupy", "pandas", "scipy", "mxnet", "Cython"),
}


def modules(*statements: str) -> set[str]:
    """What a fresh Python has imported after these statements."""
    code = "\n".join([*statements, "import sys", "print(*sys.modules)"])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"PYTHONPATH": ROOT},
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def added(*statements: str) -> set[str]:
    """What these statements import beyond `import numpy`."""
    found = modules("import numpy", *statements) - modules("import numpy")
    # What every extension made by Cython shares, under a name with its version.
    return {name for name in found if not name.startswith(("_cython_", "cython_runtime"))}


def test_importing_mxio_imports_little_else() -> None:
    found = added("import mxio")
    own = {name for name in found if name == "mxio" or name.startswith("mxio.")}
    assert "mxio._core" in own
    assert found - own <= ALLOWED, f"import mxio also imports {sorted(found - own - ALLOWED)}"


def test_importing_mxio_imports_nothing_heavy() -> None:
    found = added("import mxio")
    assert not {name for name in found if name in NEVER or name.split(".")[0] in NEVER}


def test_importing_mxio_imports_no_mxnet_words_and_no_command_line() -> None:
    found = added("import mxio")
    assert not {name for name in found if name.startswith(("mxio.nd", "mxio.cli", "argparse"))}
    assert {"mxio.nd", "mxio.nd.ndarray"} <= added("import mxio", "mxio.nd")


def test_saving_and_loading_arrays_imports_nothing_more() -> None:
    used = """
data = mxio.dumps({"a": numpy.arange(5), "b": [1, None, "x"]}, metadata={"k": 1})
mxio.loads(data)["a"]
with mxio.open(data) as reader:
    reader["a"][1:3], reader.verify()
"""
    extra = added("import mxio", used) - added("import mxio")
    assert not {name for name in extra if not name.startswith(("numpy", "mxio."))}


def test_numpy_is_the_only_third_party_that_is_imported() -> None:
    standard = set(sys.stdlib_module_names)
    found = {name.split(".")[0] for name in added("import mxio")}
    assert found - standard - {"numpy"} == {"mxio"}
