# SPDX-License-Identifier: Apache-2.0
"""Every question of the benchmarks can be asked, and is answered in the shape promised.

At toy size: no figure means anything here, but nothing rots. Peers that are not
installed are skipped, with the reason in the document and on the terminal.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

if not (ROOT / "benchmarks" / "__main__.py").exists():
    pytest.skip("the benchmarks are not here", allow_module_level=True)

# At the end, so that an installed mxio is not hidden by the sources.
sys.path.append(str(ROOT))

from benchmarks import compare, files, goals, harness, peers, report, workloads  # noqa: E402
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


# What a peer cannot do, and says so.
LEFT_OUT = {("ztensor", "optimizer_disk"), ("ztensor", "optimizer")}


@dataclass
class Answers:
    """What comes of asking everything: the document, the terminal, the folder of files."""

    document: dict[str, Any]
    told: str
    out: Path


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    folder = tmp_path_factory.mktemp("benchmarks")
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        document = documents(folder)
    return Answers(document, told.getvalue(), folder / "out")


def test_all_questions_are_asked(answers: Answers) -> None:
    document = answers.document
    assert document["schema"] == 2
    assert document["size"] == "toy"
    assert document["machine"].keys() >= {"cpu", "cores", "kernel", "file_system", "python"}
    assert document["versions"]["mxio"]
    assert [entry["name"] for entry in document["questions"]] == list(QUESTIONS)
    for name, reason in document["skipped"].items():
        assert f"skipped: {name} ({reason})" in answers.told
    if importlib.util.find_spec("matplotlib") is not None:
        assert (answers.out / "results.png").exists()


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_answered(name: str, answers: Answers) -> None:
    document = answers.document
    question = next(entry for entry in document["questions"] if entry["name"] == name)
    assert question["question"].endswith("?")
    assert question["cases"] or question["skipped"]
    page = (answers.out / "results.md").read_text(encoding="utf-8")
    for case in question["cases"]:
        check_case(case, document["rounds"])
        assert case["title"] in answers.told
        assert case["title"] in page
    for reason in question["skipped"].values():
        assert reason in answers.told
    if importlib.util.find_spec("matplotlib") is not None and question["cases"]:
        assert (answers.out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_every_goal_is_about_what_is_measured(answers: Answers) -> None:
    """Nothing but a missing library, or a system that does not let us, is in the way."""
    document = answers.document
    page = (answers.out / "results.md").read_text(encoding="utf-8")
    assert [goal["goal"] for goal in document["goals"]] == [goal.what for goal in goals.GOALS]
    unable = {f"{name} was not there" for name in document["skipped"]}
    unable |= {reason for entry in document["questions"] for reason in entry["skipped"].values()}
    unable.add("no limit direct was there")
    for goal in document["goals"]:
        assert goal["holds"] is not None or goal["missing"] in unable, goal
        assert goal["goal"] in page


def check_case(case: dict[str, Any], rounds: int) -> None:
    unit = harness.UNITS[case["unit"]]
    assert case["nbytes"] > 0
    results = case["results"]
    assert results[0]["kind"] == "mxio"
    names = [result["name"] for result in results]
    assert len(set(names)) == len(names)
    assert {(name, case["name"]) for name in case["left_out"]} <= LEFT_OUT
    for result in results:
        assert result["kind"] in ("mxio", "peer", "limit")
        assert 1 <= len(result["values"]) <= rounds
        assert min(result["values"]) > 0 if unit.is_time else min(result["values"]) >= 0
        assert result["median"] == statistics.median(result["values"])
        assert result["quartiles"][0] <= result["median"] <= result["quartiles"][1]
        if unit.is_time:
            assert result["ratio"] == result["median"] / results[0]["median"]
        assert result["file_nbytes"] >= 0
        assert result["how"]
        assert result["checksums"] or result["kind"] == "limit"


def test_every_question_is_in_the_list() -> None:
    for path in (ROOT / "benchmarks").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert ("\ndef cases(" in text) == (path.stem in QUESTIONS)


def test_tables_are_printed_without_rich(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    documents(tmp_path, "partial", "--rounds", "1")
    assert "median" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["h5py", "zarr"])
def test_a_missing_peer_is_skipped_with_a_reason(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    found, skipped = peers.find()
    assert name not in [peer.name for peer in found]
    assert name in skipped[name]


def contender(name: str, kind: str = "peer", **more: Any) -> harness.Contender:
    given: dict[str, Any] = {"run": lambda call: None, "check": lambda result, call: None} | more
    return harness.Contender(name, kind, "", "", "", **given)


def case_of(contenders: list[harness.Contender], **more: Any) -> harness.Case:
    return harness.Case("c", "c", "ms", 1, 1, 1, "", contenders, **more)


def test_a_wrong_result_is_not_timed() -> None:
    arrays = workloads.llm(workloads.SIZES["toy"])
    compare.same(dict(arrays), arrays)
    other = {name: array + 1 for name, array in arrays.items()}
    with pytest.raises(AssertionError, match="another array"):
        compare.same(other, arrays)

    def wrong(result: Any, call: int) -> None:
        compare.same(other, arrays)

    rows, left_out = harness.measure(
        case_of([contender("mxio", "mxio"), contender("a", check=wrong), contender("b")]), 1
    )
    assert [row.contender.name for row in rows] == ["mxio", "b"]
    assert left_out == {"a": "AssertionError: another array came back"}
    with pytest.raises(AssertionError):
        harness.measure(case_of([contender("mxio", "mxio", check=wrong)]), 1)


def test_a_row_is_known_without_the_matrix() -> None:
    matrix = workloads.Matrix(workloads.SIZES["toy"], 20_000, 512)
    whole = matrix.whole()
    assert whole.nbytes == matrix.nbytes
    for i in (0, 16_383, 16_384, 19_999):
        compare.same_array(matrix.row(i), whole[i])


@pytest.mark.parametrize("name", workloads.OTHERS)
def test_workloads_are_what_they_are_called(name: str) -> None:
    size = workloads.SIZES["toy"]
    _, made = workloads.OTHERS[name]
    arrays, again = made(size), made(size)
    compare.same(arrays, again)
    assert 0.5 < workloads.nbytes_of(arrays) / size.other_nbytes < 1.5
    in_order = {array.flags.c_contiguous for array in arrays.values()}
    assert in_order == ({False} if name == "strided" else {True})


def test_a_file_is_dropped_from_the_page_cache(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    files.sync(path)
    try:
        files.cool(path)
    except files.CannotMeasure as reason:
        pytest.skip(str(reason))
    assert files._cached(path) == 0
    files.warm(path)
    assert files._cached(path) == 1


def test_a_store_may_be_a_folder(tmp_path: Path) -> None:
    store = tmp_path / "store" / "part"
    store.mkdir(parents=True)
    (store / "a").write_bytes(bytes(3))
    (store.parent / "b").write_bytes(bytes(4))
    assert files.files_of(store.parent) == [store.parent / "b", store / "a"]
    assert files.nbytes_on_disk(store.parent) == 7
    assert files.files_of(store / "a") == [store / "a"]
    files.remover(tmp_path)()
    assert not list(tmp_path.iterdir())


def test_a_case_that_cannot_be_cold_is_skipped(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "evict", lambda path: None)
    monkeypatch.setattr(files, "_PAUSE", 0)
    document = documents(tmp_path, "partial", "--rounds", "1")
    (question,) = document["questions"]
    assert list(question["skipped"]) == ["huge_cold"]
    assert "huge" in [case["name"] for case in question["cases"]]
    assert "cannot be dropped" in capsys.readouterr().out
    missing = [goal for goal in document["goals"] if goal["holds"] is None]
    assert missing
    for goal in missing:
        assert "cold" in goal["goal"]
        assert "cannot be dropped" in goal["missing"]


def invented(question: str, **medians: dict[str, tuple[str, float]]) -> dict[str, Any]:
    """A document with cases of which each contender has a kind and a median."""
    cases = [
        {
            "name": case,
            "series": None,
            "left_out": {},
            "results": [
                {"name": name, "kind": kind, "median": median, "steady": True}
                for name, (kind, median) in results.items()
            ],
        }
        for case, results in medians.items()
    ]
    return {"questions": [{"name": question, "cases": cases, "skipped": {}}]}


def test_goals_are_judged_by_the_figures() -> None:
    peer, limit, mine = "peer", "limit", {"mxio": ("mxio", 1.0)}
    document = invented(
        "save",
        cache=mine | {"safetensors": (peer, 1.2)},
        disk=mine
        | {"safetensors": (peer, 2.0), "pickle": (peer, 1.5)}
        | {"limit, write": (limit, 0.1), "limit, direct ×1": (limit, 0.9)},
        spin={"mxio": ("mxio", 0.79)},
    )
    found = {goal["goal"]: goal for goal in goals.judge(document)}
    said = [(goal["said"], goal["holds"]) for goal in found.values()]
    assert said == [("1.2×", True), ("1.5×", False), ("0.9×", True), ("79 %", False)]
    del document["questions"][0]["cases"][0]["results"][1]
    first, *_ = goals.judge(document)
    assert first["holds"] is None
    assert first["missing"] == "safetensors was not there"


def test_an_unknown_question_is_refused(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["--toy", "speed"])
    assert "no question 'speed'" in capsys.readouterr().err


def test_contenders_take_turns() -> None:
    """Every one comes first equally often, and not always after the same other."""
    came: list[str] = []

    def noted(name: str) -> harness.Contender:
        return contender(name, run=lambda call: came.append(name))

    told: list[str] = []
    rows, _ = harness.measure(case_of([noted(name) for name in "abc"]), 6, told.append)
    assert [len(row.values) for row in rows] == [6, 6, 6]
    assert told == came
    turns = ["".join(came[i : i + 3]) for i in range(3, len(came), 3)]
    assert sorted(turn[0] for turn in turns) == list("aabbcc")
    assert len({turn[turn.index("b") - 1] for turn in turns if turn[0] != "b"}) == 2


def test_what_measures_itself_is_believed() -> None:
    values = iter([9.0, 1.0, 2.0, 3.0, 4.0])
    own = contender("a", value=lambda: next(values))
    next(values)  # nobody asks after the warm-up
    ((row,), _) = harness.measure(case_of([own], calls=2, most_rounds=2), 7)
    assert row.values == [1.5, 3.5]


def test_figures_are_short() -> None:
    case = {"unit": "ms", "nbytes": 1, "arrays": 1}
    assert report.figure(case, 0.0000864) == "0.086 ms"
    assert report.figure(case, 1.2345) == "1,234 ms"
    model = {"unit": "GB/s", "nbytes": 10**9, "arrays": 2}
    assert report.figure(model, 0.25) == "4.00 GB/s"
    assert report.figure(model | {"unit": "µs an array"}, 0.25) == "125,000 µs each"
    assert report.figure(model | {"unit": "MiB"}, 3 << 20) == "3.00 MiB"
    assert report.figure(model | {"unit": "%"}, 0.801) == "80.1 %"
