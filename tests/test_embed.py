# SPDX-License-Identifier: Apache-2.0
"""csrc/ stands alone: the plain C compiler builds it, and a C program reads our files.

Another one breaks the contract of mxio.h, call by call, and is told (tests/misuse.c).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import mxio

ROOT = Path(__file__).parent.parent
COMPILER = os.environ.get("CC", "cc").split()
STRICT = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror"]


def built(name: str, folder: Path) -> Path:
    if shutil.which(COMPILER[0]) is None:
        pytest.skip(f"no C compiler {COMPILER[0]!r} to build csrc/ with")
    out = folder / name
    sources = sorted(str(path) for path in (ROOT / "csrc").glob("*.c"))
    program = [str(ROOT / f"tests/{name}.c"), *sources, "-o", str(out), "-lpthread"]
    subprocess.run([*COMPILER, *STRICT, f"-I{ROOT / 'csrc'}", *program], check=True)
    return out


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("embed", tmp_path_factory.mktemp("embed"))


def test_the_c_files_build_without_a_warning_and_read_a_file(program: Path, tmp_path: Path) -> None:
    x = np.arange(50_000, dtype=np.float32).reshape(100, 500)
    mxio.save(tmp_path / "x.mxio", {"first": np.ones(3), "weights": x})
    done = subprocess.run(
        [program, tmp_path / "x.mxio", "weights"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"weights: 2 dims, sum {float(x.astype(np.float64).sum()):g}\n"


def test_a_c_program_reads_an_empty_array_and_refuses_another_dtype(
    program: Path, tmp_path: Path
) -> None:
    mxio.save(tmp_path / "x.mxio", {"empty": np.zeros((0, 3), np.float32), "long": np.ones(3)})
    done = subprocess.run([program, tmp_path / "x.mxio", "empty"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "empty: 2 dims, sum 0\n")
    assert subprocess.run([program, tmp_path / "x.mxio", "long"]).returncode == 4


def test_a_c_program_is_told_of_damage(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.mxio"
    mxio.save(path, {"weights": np.ones(9, np.float32)})
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    done = subprocess.run([program, path, "weights"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"checksum mismatch at offset {len(damaged) - 36}\n"


def test_a_c_program_is_told_of_a_name_that_is_not_there(program: Path, tmp_path: Path) -> None:
    mxio.save(tmp_path / "x.mxio", {"weights": np.ones(9, np.float32)})
    assert subprocess.run([program, tmp_path / "x.mxio", "bias"]).returncode == 3


TOLD = """\
memory that wraps: memory has no end
nothing joined: there are no files to join
more joined than a file holds: the files would exceed 2^63 bytes, 1
put before memory: a write lies outside of the memory
put behind memory: a write lies outside of the memory
put over its end: a write lies outside of the memory
map of memory: only a file that has bytes can be mapped
commit of memory: nothing to commit
reserve of memory: ok
measure of memory: ok
a map: ok
mapped: 14
commit of a file to read: nothing to commit
switch of a file to read: nothing to append to
get beyond any file: status 1, cannot read
put beyond any file: status 1, cannot write
map of an empty file: only a file that has bytes can be mapped
switch of a new file: nothing to append to
reserve beyond any file: status 1, cannot reserve its space
truncate beyond any file: status 1, cannot cut it off
create of nothing: status 1, cannot open its folder
create of a folder: status 1, cannot open its folder
no threads: ok
too many threads: ok
short options: sizeof_opts is too small
read of strided memory: a segment to read cannot be strided, 1
no bytes: a segment has no bytes or no chunks, 1
no chunks: a segment has no bytes or no chunks, 1
no err: 3
a plan: ok
a plan behind any file: the file would exceed 2^63 bytes, 0
another layout: the layout is not this content's
a name that is no text: a name is not UTF-8 without NUL, 1
a name twice: a name stands twice, 2
65 dimensions: an entry is malformed, 1
no such dtype: an entry is malformed, 1
no such order: an entry is malformed, 1
one dimension in F: an entry is malformed, 1
other nbytes: nbytes contradicts shape and dtype, 1
a shape without an end: nbytes contradicts shape and dtype, 1
a name of itself: an alias contradicts its entry, 2
a name of nothing: an alias contradicts its entry, 2
a name of a name: an alias contradicts its entry, 2
a name of another dtype: an alias contradicts its entry, 2
a name of another order: an alias contradicts its entry, 2
a name of another shape: an alias contradicts its entry, 2
a content that is too long: the file would exceed 2^63 bytes
an index that is no header: status 3, the index is shorter than its header
an index of another crc: status 4, checksum mismatch in the index
arrays that no file holds: the file would exceed 2^63 bytes, 1
measured: 0
65 dtypes: the table of dtypes is too long
a list that is none: status 3, it does not begin as a list of arrays does
a header that is none: status 3, the header does not begin with {
no header: status 3, the file is cut short
a head that is none: status 3, it does not begin as an mxio file does
more names than parts: the names are not those of the parts
a packed part: ok
0: 2 bytes, stored in 1
a sparse part: a part is not dense, 0
memory without an end: none
a room of nothing: none
a room without an end: none
"""


def test_a_c_program_that_breaks_the_contract_is_told_and_changes_nothing(tmp_path: Path) -> None:
    program = built("misuse", tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x").write_bytes(b"what was there")
    (folder / "empty").touch()
    done = subprocess.run(
        [program, folder / "x", folder / "empty"], capture_output=True, text=True, check=True
    )
    assert done.stdout == TOLD
    assert (folder / "x").read_bytes() == b"what was there"
    assert sorted(path.name for path in folder.iterdir()) == ["empty", "x"]
