# SPDX-License-Identifier: Apache-2.0
"""Every question of the benchmarks can be asked, and is answered in the shape promised.

At toy size: no figure means anything here, but nothing rots. Peers that are not
installed are skipped, with the reason in the document and on the terminal.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

if not (ROOT / "benchmarks" / "__main__.py").exists():
    pytest.skip("the benchmarks are not here", allow_module_level=True)

# At the end, so that an installed mxio is not hidden by the sources.
sys.path.append(str(ROOT))

from benchmarks import harness, peers, report  # noqa: E402
from benchmarks.__main__ import QUESTIONS, main  # noqa: E402

# Peers, and what draws the plot, may warn of each other.
pytestmark = pytest.mark.filterwarnings("default")


def documents(folder: Path, *words: str) -> dict[str, Any]:
    files = folder / "files"
    files.mkdir()
    told = ["--toy", "--folder", str(files), "--out", str(folder / "out"), *words]
    assert main(told) == 0
    assert not list(files.iterdir()), "files are left behind"
    text = (folder / "out" / "results.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_answered(name: str, tmp_path: Path, capsys: Any) -> None:
    document = documents(tmp_path, name)
    assert document["schema"] == 1
    assert document["size"] == "toy"
    assert document["machine"].keys() >= {"cpu", "cores", "kernel", "file_system", "python"}
    (question,) = document["questions"]
    assert question["name"] == name
    assert question["question"].endswith("?")
    assert question["cases"]
    for case in question["cases"]:
        assert case["unit"] in ("GB/s", "ms")
        assert case["nbytes"] > 0
        names = [result["name"] for result in case["results"]]
        assert names[0].split(",")[0] == "mxio"
        assert len(set(names)) == len(names)
        for result in case["results"]:
            assert len(result["seconds"]) == document["rounds"]
            assert min(result["seconds"]) > 0
            assert result["median"] == statistics.median(result["seconds"])
            assert result["quartiles"][0] <= result["median"] <= result["quartiles"][1]
            assert result["ratio"] == result["median"] / case["results"][0]["median"]
            assert result["file_nbytes"] >= 0
            assert result["how"]
            assert result["checksums"]
    told = capsys.readouterr().out
    for peer, reason in document["skipped"].items():
        assert f"skipped: {peer} ({reason})" in told
    for case in question["cases"]:
        assert case["title"] in told
        assert case["title"] in (tmp_path / "out" / "results.md").read_text(encoding="utf-8")


def test_every_question_is_in_the_list() -> None:
    for path in (ROOT / "benchmarks").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert ("\ndef cases(" in text) == (path.stem in QUESTIONS)


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    documents(tmp_path, "save", "load")
    plot = (tmp_path / "out" / "results.png").read_bytes()
    assert plot.startswith(b"\x89PNG")


def test_tables_are_printed_without_rich(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    documents(tmp_path, "save")
    assert "median" in capsys.readouterr().out


def test_a_missing_peer_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    found, skipped = peers.find()
    assert "h5py" not in [peer.name for peer in found]
    assert "h5py" in skipped["h5py"]


def test_a_wrong_result_is_not_timed() -> None:
    arrays = harness.llm(harness.SIZES["toy"])
    harness.same(dict(arrays), arrays)
    other = {name: array + 1 for name, array in arrays.items()}
    with pytest.raises(AssertionError, match="another array"):
        harness.same(other, arrays)


def test_an_unknown_question_is_refused(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["--toy", "speed"])
    assert "no question 'speed'" in capsys.readouterr().err


def test_contenders_take_turns() -> None:
    """Every one comes first equally often, and not always after the same other."""
    came: list[str] = []

    def contender(name: str) -> harness.Contender:
        return harness.Contender(
            name, "", "", "", lambda call: came.append(name), lambda result, call: None
        )

    case = harness.Case("c", "c", "ms", 1, 1, 1, "", [contender(name) for name in "abc"])
    rows = harness.measure(case, 6)
    assert [len(row.seconds) for row in rows] == [6, 6, 6]
    turns = ["".join(came[i : i + 3]) for i in range(3, len(came), 3)]
    assert sorted(turn[0] for turn in turns) == list("aabbcc")
    assert len({turn[turn.index("b") - 1] for turn in turns if turn[0] != "b"}) == 2


def test_figures_are_short() -> None:
    case = {"unit": "ms", "nbytes": 1}
    assert report.figure(case, 0.0000864) == "0.086 ms"
    assert report.figure(case, 1.2345) == "1,234 ms"
    assert report.figure({"unit": "GB/s", "nbytes": 10**9}, 0.25) == "4.00 GB/s"
