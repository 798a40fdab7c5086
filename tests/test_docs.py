# SPDX-License-Identifier: Apache-2.0
"""Every example in the docs runs: docstrings, README, commands, and the C of docs/DESIGN.md.

The worked example of docs/FORMAT.md is test_format.py's.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import mxio
from mxio import cli, gluon
from mxio.name import NameManager

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(mxio.__path__, "mxio.")
    if found.name not in ("mxio._core", "mxio.__main__")
)


def test_some_modules_have_examples() -> None:
    found = [
        test
        for name in ["mxio", *MODULES]
        for test in doctest.DocTestFinder().find(importlib.import_module(name))
        if test.examples
    ]
    assert len(found) >= 10


@pytest.mark.parametrize("name", ["mxio", *MODULES])
def test_the_examples_of_docstrings_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mxio.save("w.mxio", {"w": np.zeros((2, 3)), "step": 7})
    module = importlib.import_module(name)
    names = {"mxio": mxio, "np": np, "nd": mxio.nd, "gluon": gluon, "nn": gluon.nn}
    with NameManager():
        result = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def blocks(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def test_the_five_lines_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks(ROOT / "README.md", "python")
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    state, rows, weights = names["state"], names["rows"], names["weights"]
    np.testing.assert_array_equal(state["weights"]["embed"], weights["embed"])  # type: ignore[index]
    np.testing.assert_array_equal(rows, weights["embed"][100:110])  # type: ignore[index,arg-type]
    assert state["step"] == 1200  # type: ignore[index]


def test_the_lines_of_the_page_on_formats_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks(ROOT / "docs/FORMATS.md", "python")
    names: dict[str, object] = {}
    exec(compile(block, "docs/FORMATS.md", "exec"), names)
    assert list(names["bias"]) == [0, 0]  # type: ignore[call-overload]
    assert sorted(mxio.load("net.safetensors")) == ["dense0_bias", "dense0_weight"]


def test_the_lines_of_the_page_on_large_files_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    text = "".join(blocks(ROOT / "docs/LARGE.md", "python"))
    exec(compile(text, "docs/LARGE.md", "exec"), names)
    run = mxio.load("run.mxio")
    assert run["loss"].shape == (1005,)
    assert run["grid"][249:251, 0].tolist() == [0, 1.5]
    np.testing.assert_array_equal(names["some"], names["words"][[5, 99, 12_000]])  # type: ignore[index,arg-type]


def test_the_lines_of_the_page_on_checkpoints_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    try:
        for _ in range(2):  # the second time it goes on from the end of the first
            names: dict[str, object] = {}
            text = "".join(blocks(ROOT / "docs/CHECKPOINTS.md", "python"))
            with NameManager():
                exec(compile(text, "docs/CHECKPOINTS.md", "exec"), names)
            assert names["state"]["step"] == 200  # type: ignore[index]
            shutil.rmtree("nets")
    finally:
        signal.signal(signal.SIGTERM, before)
    with mxio.CheckpointManager("run", metric="loss") as manager:
        assert manager.steps() == [160, 180, 200]
        np.testing.assert_array_equal(manager.restore()["weights"], names["state"]["weights"])  # type: ignore[index]
        assert manager.info(200).metrics["loss"] < 0.1


def test_the_lines_of_the_page_on_networks_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "".join(blocks(ROOT / "docs/GLUON.md", "python"))
    with NameManager():
        exec(compile(text, "docs/GLUON.md", "exec"), {})
    printed = re.sub(r"\s+", " ", capsys.readouterr().out).strip()
    page = re.sub(r"\s+> ?|\s+", " ", (ROOT / "docs/GLUON.md").read_text(encoding="utf-8"))
    assert printed in page


def test_the_readme_shows_the_two_commands() -> None:
    install, tests = blocks(ROOT / "README.md", "sh")[:2]
    assert "pip install" in install
    assert "mxio tutorial" in install
    assert "'.[test]'" in tests
    assert "pytest" in tests


def test_the_commands_print_what_their_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs/COMMANDS.md"
    (block,) = blocks(page, "python")
    exec(compile(block, "COMMANDS.md", "exec"), {})
    shown = "".join(blocks(page, "console"))
    printed = ""
    for line in re.findall(r"^\$ (.*)$", shown, re.M):
        program, *args = shlex.split(line)
        assert program == "mxio"
        cli.main(args)
        out, err = capsys.readouterr()
        printed += f"$ {line}\n{out}{err}"
    assert printed == shown
    for command in re.findall(r"^    (\w+) ", cli_help(capsys), re.M):
        assert re.search(rf"mxio {command}\b", page.read_text()), command


def cli_help(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    return capsys.readouterr().out


def test_the_c_of_the_design_page_is_that_of_the_program_that_runs() -> None:
    (block,) = blocks(ROOT / "docs/DESIGN.md", "c")
    program = re.sub(r"\s+", "", (ROOT / "tests/embed.c").read_text())
    for call in re.findall(r"mxio_\w+\(", block):
        assert call in program, call


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
