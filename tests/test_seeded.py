# SPDX-License-Identifier: Apache-2.0
"""The tool that puts bugs into copies of the repository (tests/seeded.py) says what is so.

A few of its bugs, of Python alone, so that nothing has to be compiled.
"""

from __future__ import annotations

import importlib
import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from seeded_bugs import BUGS, Bug

ROOT = Path(__file__).parent.parent
FEW = (
    "npz: the crc of a member is not compared",
    "checkpoint: a damaged step ends the run",
)
FINE = Bug(
    "no bug at all",
    "mxio/formats/npz.py",
    "    if crc != member.crc:",
    "    if member.crc != crc:",
    ("tests/test_npz_corrupt.py::test_arrays_with_wrong_contents_are_named",),
)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout: only what git knows of is copied")
    found = importlib.import_module("seeded")
    if not (ROOT / "mxio" / found.LIBRARY).exists():
        pytest.skip("the extension is not built in place")
    return found


def test_each_bug_has_a_name_a_place_and_tests_that_are_there() -> None:
    assert len(BUGS) >= 30
    assert max(Counter(bug.name for bug in BUGS).values()) == 1
    for bug in BUGS:
        assert (ROOT / bug.file).read_text("utf-8").count(bug.find) == 1, bug.name
        assert bug.find != bug.put
        assert bug.tests
        for test in bug.tests:
            file, _, name = test.partition("::")
            assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text("utf-8"), test


def test_bugs_are_caught_and_what_is_none_escapes(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = FINE._replace(name="lost", find="what is not there")

    monkeypatch.setattr(tool, "BUGS", (*BUGS, FINE, lost))
    assert tool.main([*FEW, FINE.name, "lost"]) == 1
    first, *each, last = capsys.readouterr().out.splitlines()
    assert first.startswith("without a bug all tests pass")
    told = [line.split()[0] for line in each if " s  " in line]
    assert told == ["caught", "caught", "ESCAPED", "broken"]
    assert last.startswith("4 bugs: 2 caught, 1 ESCAPED, 1 broken, ")


def test_tests_that_fail_anyway_or_are_not_there_catch_nothing(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = FINE._replace(name="missing", tests=("tests/test_npz_corrupt.py::test_nothing",))
    monkeypatch.setattr(tool, "BUGS", (missing,))
    assert tool.main(["missing"]) == 2
    assert "without a bug the tests fail" in capsys.readouterr().out


def test_a_name_that_is_none_is_refused(tool: ModuleType) -> None:
    with pytest.raises(SystemExit):
        tool.main(["no such bug"])
