# SPDX-License-Identifier: Apache-2.0
"""What is measured on: processor, memory, system, file system, versions."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["machine"]


def machine(folder: Path) -> dict[str, Any]:
    """Say what is being measured on, as far as it can be known."""
    usable = getattr(os, "sched_getaffinity", None)
    kind, device = _file_system(folder)
    return {
        "cpu": _cpu(),
        "cores": len(usable(0)) if usable else os.cpu_count(),
        "memory_nbytes": _memory(),
        "virtual": " hypervisor" in _text("/proc/cpuinfo"),
        "architecture": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "huge_pages": _chosen(_text("/sys/kernel/mm/transparent_hugepage/enabled")),
        "file_system": kind,
        "device": device,
        "load_average": list(os.getloadavg()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": np.__version__,
        "commit": _commit(),
    }


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _chosen(options: str) -> str | None:
    return options[options.index("[") + 1 : options.index("]")] if "[" in options else None


def _cpu() -> str:
    for line in _text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return " ".join(value.replace("(R)", "").replace("(TM)", "").split())
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _file_system(folder: Path) -> tuple[str, str | None]:
    """The type and the device of the mount a folder lies on."""
    where = folder.resolve()
    best: tuple[int, str, str] | None = None
    for line in _text("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4].encode().decode("unicode_escape"))
        kind, device = right.split()[:2]
        # The last of equally long ones lies on top.
        if where.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = (len(point.parts), kind, device)
    return (best[1], best[2]) if best else ("unknown", None)


def _commit() -> str | None:
    here = Path(__file__).parent

    def git(*words: str) -> str:
        told = subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True
        )
        return told.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/mxio", ":/csrc")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
