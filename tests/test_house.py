# SPDX-License-Identifier: Apache-2.0
"""The house rules, as tests: who may import whom, what C may include, how failing is declared.

The tables are those of docs/DESIGN.md. A rule that has to move is moved there and here, in
one change that says why.
"""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import mxio
from mxio import _core

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mxio"
CSRC = ROOT / "csrc"
CEILING = 700
# One extension is one module: two would hold two copies of the C code.
CEILINGS: dict[str, int] = {}
# The Cython module and its parts.
CYTHON = ("_core.pyx", "_memory.pxi", "_foreign.pxi", "_plan.pxi")

# A module may import the modules of lower levels, and of its own level only those that
# stand before it in its row.
LEVELS: list[list[str]] = [
    ["errors", "context"],
    ["_core"],
    ["_dtype", "_index", "_progress", "_sparse", "_tree", "_unpickle"],
    ["_host", "_source"],
    [
        *("formats.native", "formats.mxnet", "formats.safetensors"),
        # A member of an npz is an npy.
        *("formats._zip", "formats.npy", "formats.npz", "formats"),
    ],
    [
        *("_region", "_gather", "_lazy", "_stream", "_fill", "_reader", "_file", "_copy"),
        *("_shared", "_generations", "_growing", "_writer"),
    ],
    ["_pieces", "_structure", "_stats", "_diff"],
    [
        *("nd.ndarray", "nd.random", "nd.sparse"),
        *("nd._operator", "nd._special", "nd._layers", "nd._activation", "nd._convolution"),
        "nd._recurrent",
        *("nd._math", "nd._reduce", "nd._shape", "nd._select", "nd._methods"),
        *("nd.contrib", "nd.linalg"),
        "nd",
    ],
    [
        *("name", "initializer", "gluon.architecture", "gluon._names", "gluon._shapes"),
        "gluon._restore",
        *(
            *("gluon._parameter", "gluon._parameter_dict", "gluon.parameter"),
            "gluon.block",
            *("gluon.nn.activations", "gluon.nn.basic_layers", "gluon.nn.conv_layers", "gluon.nn"),
            *("gluon.contrib.nn", "gluon.contrib"),
            *("gluon.model_zoo.vision.resnet", "gluon.model_zoo.vision", "gluon.model_zoo"),
            "gluon.rnn._sequence",
            "gluon.rnn.rnn_cell",
            "gluon.rnn.rnn_layer",
            "gluon.rnn",
            "gluon.files",
            "gluon",
        ),
    ],
    ["states", "model"],
    ["_snapshot", "_saving", "_steps", "_retention", "_state", "checkpoint"],
    [
        "",
        "cli.terminal",
        "cli.tutorial",
        "cli.show",
        "cli.check",
        "cli.convert",
        "cli.stats",
        "cli.checkpoints",
        "cli",
        "__main__",
    ],
]
# Formats know bytes and Index, not the files they come from.
NEVER = {
    name: {"_source", "_host"}
    for level in LEVELS
    for name in level
    if name.split(".")[0] == "formats"
}

C_INCLUDES: dict[str, set[str]] = {
    "mxio.h": {"stddef.h", "stdint.h"},
    "internal.h": {"mxio.h", "string.h", "limits.h"},
    "os.h": {"stddef.h", "stdint.h"},
    "format.h": {"internal.h"},
    "format.c": {"format.h", "stdlib.h"},
    "head.c": {"format.h"},
    "index.h": {"format.h"},
    "index.c": {"index.h", "stdlib.h"},
    "entries.c": {"index.h"},
    "chain.c": {"format.h", "stdlib.h"},
    "merge.c": {"index.h", "stdlib.h"},
    "runs.c": {"index.h", "stdlib.h"},
    "scan.h": {"format.h"},
    "scan.c": {"index.h", "scan.h", "stdlib.h"},
    "mxnet.c": {"scan.h", "stdlib.h"},
    "safetensors.c": {"scan.h", "stdlib.h"},
    "arrays.c": {"internal.h", "stdlib.h"},
    "strided.c": {"internal.h"},
    "crc32c.c": {"internal.h", "crc32c_x86.h", "crc32c_arm.h"},
    "cpu.c": {"internal.h", "cpuid.h", "sys/auxv.h", "asm/hwcap.h"},
    "file.c": {"format.h", "os.h", "errno.h", "stdlib.h"},
    "engine.c": {"internal.h", "os.h", "errno.h", "stdlib.h"},
}
# The files that may include what the system has.
SYSTEM = ("os_posix.c", "os_memory.c")


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports_of(path: Path) -> set[str]:
    """The modules of mxio that a file imports, wherever in it, except for type checking."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checking: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            checking.update(child for statement in node.body for child in ast.walk(statement))
    found = set()
    for node in ast.walk(tree):
        if node in checking:
            continue
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            for name in node.names:
                inner = f"{module}.{name.name}"
                is_module = module.split(".")[0] == "mxio" and (
                    inner.removeprefix("mxio.") in modules() or inner == "mxio._core"
                )
                found.add(inner if is_module else module)
    return {
        name.removeprefix("mxio").removeprefix(".")
        for name in found
        if name == "mxio" or name.startswith("mxio.")
    }


def test_every_module_has_a_level() -> None:
    named = {name for level in LEVELS for name in level}
    assert set(modules()) | {"_core"} == named


@pytest.mark.parametrize("name", sorted(modules()))
def test_nothing_imports_upward(name: str) -> None:
    below: set[str] = set()
    for level in LEVELS:
        if name in level:
            below.update(level[: level.index(name)])
            break
        below.update(level)
    used = imports_of(modules()[name]) - {name}
    if name == "":
        used -= {"nd"}  # imported when it is asked for
    # `import mxio` from above names the package whose modules stand below.
    assert used <= below, f"{name} imports {sorted(used - below)}"
    assert not used & NEVER.get(name, set())


def test_third_parties_have_one_home() -> None:
    allowed = {
        "numpy": None,
        "ml_dtypes": {"_dtype"},
        "rich": {"cli.terminal"},
        "tqdm": {"_progress"},
        "matplotlib": {"cli.stats"},
    }
    standard = __import__("sys").stdlib_module_names
    for name, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            roots = []
            if isinstance(node, ast.Import):
                roots = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                roots = [(node.module or "").split(".")[0]]
            for root in roots:
                if root == "mxio" or root in standard:
                    continue
                assert root in allowed, f"{name} imports {root}"
                assert allowed[root] is None or name in allowed[root], f"{name} imports {root}"


def test_files_are_opened_by_the_core_alone() -> None:
    for name, path in modules().items():
        if name in ("cli", "_steps"):
            # /dev/null when nobody reads stdout any more; a lock, and folders to sync.
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"open", "io.open", "os.open"}, name


@pytest.mark.parametrize("path", sorted(CSRC.iterdir()), ids=lambda path: path.name)
def test_c_includes_what_it_may(path: Path) -> None:
    used = set(re.findall(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', path.read_text(), re.M))
    assert "Python.h" not in used
    if path.name in SYSTEM:
        assert {"os.h", "internal.h"} <= used
        return
    if path.name.startswith("crc32c_"):
        assert all(name.endswith("intrin.h") or name == "arm_acle.h" for name in used), used
        return
    assert used <= C_INCLUDES[path.name], used - C_INCLUDES[path.name]


def test_only_the_engine_starts_threads() -> None:
    for path in CSRC.glob("*.c"):
        if path.name not in ("engine.c", *SYSTEM):
            assert "mxio_os_thread" not in path.read_text(), path.name


def test_every_global_symbol_is_ours(tmp_path: Path) -> None:
    if shutil.which("nm") is None or shutil.which("cc") is None:
        pytest.skip("needs cc and nm")
    for path in sorted(CSRC.glob("*.c")):
        out = tmp_path / f"{path.stem}.o"
        subprocess.run(["cc", "-std=c99", f"-I{CSRC}", "-c", path, "-o", out], check=True)
        listed = subprocess.run(
            ["nm", "-g", "--defined-only", out], capture_output=True, text=True, check=True
        ).stdout
        for line in listed.splitlines():
            symbol = line.split()[-1].removeprefix("_")
            assert symbol.startswith("mxio_"), f"{path.name} defines {symbol}"


def cython() -> str:
    return "\n".join((PACKAGE / name).read_text(encoding="utf-8") for name in CYTHON)


def test_the_gil_is_dropped_around_one_call_at_a_time() -> None:
    lines = cython().splitlines()
    blocks = 0
    for number, line in enumerate(lines):
        if line.strip() != "with nogil:":
            continue
        blocks += 1
        indent = len(line) - len(line.lstrip())
        body = []
        for following in lines[number + 1 :]:
            if following.strip() and len(following) - len(following.lstrip()) <= indent:
                break
            body.append(following)
        python = re.sub(r"&(?=\w)", "", inspect.cleandoc("\n".join(body)))
        assert len(ast.parse(python).body) == 1, f"line {number + 1}"
    assert blocks > 10


def test_every_c_function_of_cython_says_how_it_fails() -> None:
    text = cython()
    signature = r"^\s*cdef (\w+) \**(\w+)\((?:[^()]|\([^()]*\))*\)([^:\n]*):"
    for match in re.finditer(signature, text, re.M):
        returned, name, clause = match.groups()
        if returned in {"object", "str", "bytes", "list", "class", "File", "Memory", "Scan"}:
            continue  # NULL says it
        assert "except" in clause, f"{name} returns {returned} and does not say how it fails"


def names_in_stub() -> dict[str, set[str]]:
    tree = ast.parse((PACKAGE / "_core.pyi").read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {"": set()}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[""].add(node.name)
        elif isinstance(node, ast.ClassDef):
            found[node.name] = {
                child.name for child in node.body if isinstance(child, ast.FunctionDef)
            } - {"__init__", "__buffer__", "__len__"}
    return found


def test_the_stub_names_what_the_core_has() -> None:
    stub = names_in_stub()
    runtime = {
        name: value
        for name, value in vars(_core).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == "mxio._core"
    }
    classes = {name for name, value in runtime.items() if isinstance(value, type)}
    assert classes == set(stub) - {""}
    assert set(runtime) - classes == stub[""]
    for name in classes:
        public = {member for member in vars(runtime[name]) if not member.startswith("_")}
        assert public == stub[name], name


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for folder in ("mxio", "csrc", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".pyx", ".pxi", ".pxd", ".pyi", ".c", ".h"}
        and path.name != "_core.c"
    ),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_files_are_short_enough_to_read_and_licensed(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= CEILINGS.get(path.name, CEILING)
    assert not text or "SPDX-License-Identifier: Apache-2.0" in text[:200]


def test_everything_public_has_a_docstring() -> None:
    for name in mxio.__all__:
        value = getattr(mxio, name)
        if callable(value):
            assert value.__doc__, name
            assert value.__module__.startswith("mxio"), name


def test_the_version_is_said_once_and_the_same() -> None:
    stated = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert stated is not None
    assert stated.group(1) == mxio.__version__
