# SPDX-License-Identifier: Apache-2.0
"""One extension, from Cython and C.

Switches, as environment variables: MXIO_DEBUG=1 (no optimisation, Cython's bounds
checks back on), MXIO_SANITIZE=address,undefined, MXIO_TEST_HOOKS=1 (calls of the system and
allocations can be told to fail: tests/faults.h), MXIO_COVERAGE=1 (each line that runs is
counted: tests/reached.py).
"""

from __future__ import annotations

import os
import sys

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("MXIO_DEBUG") == "1"
SANITIZE = os.environ.get("MXIO_SANITIZE", "")
COVERAGE = os.environ.get("MXIO_COVERAGE") == "1"
TEST_FILES = ("tests/faults.c",) if os.environ.get("MXIO_TEST_HOOKS") == "1" else ()

C_FILES = (
    "arrays",
    "chain",
    "cpu",
    "crc32c",
    "engine",
    "entries",
    "file",
    "format",
    "head",
    "index",
    "merge",
    "mxnet",
    "os_memory",
    "os_posix",
    "runs",
    "safetensors",
    "scan",
    "strided",
)

compile_args = ["-std=c99", "-fvisibility=hidden"]
compile_args += ["-O0", "-g"] if DEBUG or COVERAGE else ["-O3"]
link_args: list[str] = []
if SANITIZE:
    compile_args += [f"-fsanitize={SANITIZE}", "-g", "-fno-omit-frame-pointer"]
    link_args += [f"-fsanitize={SANITIZE}"]
if COVERAGE:
    # Threads count too.
    compile_args += ["--coverage", "-fprofile-update=atomic"]
    link_args += ["--coverage"]
if TEST_FILES:
    compile_args += ["-DMXIO_TEST_HOOKS=1", "-D_GNU_SOURCE=1"]
    # Before faults.h includes anything: the calls are those of other builds.
    compile_args += ["-D_FILE_OFFSET_BITS=64", "-Itests", "-include", "faults.h"]
if sys.platform != "darwin":
    link_args += ["-pthread"]

extension = Extension(
    "mxio._core",
    sources=["mxio/_core.pyx", *(f"csrc/{name}.c" for name in C_FILES), *TEST_FILES],
    depends=[
        "mxio/_append.pxi",
        "mxio/_c.pxd",
        "mxio/_foreign.pxi",
        "mxio/_index.pxi",
        "mxio/_memory.pxi",
        "mxio/_plan.pxi",
        *(f"csrc/{name}" for name in sorted(os.listdir("csrc"))),
    ],
    include_dirs=["csrc", numpy.get_include()],
    define_macros=[
        ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
        ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
    ],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
)

setup(
    ext_modules=cythonize(
        [extension],
        compiler_directives={
            "language_level": "3",
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": not DEBUG,
            "initializedcheck": DEBUG,
            "embedsignature": False,
            # An interpreter without a GIL goes on without one: docs/DESIGN.md says what holds.
            "freethreading_compatible": True,
        },
    ),
)
