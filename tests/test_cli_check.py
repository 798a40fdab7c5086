# SPDX-License-Identifier: Apache-2.0
"""mxio verify and mxio diff: what they say, and the exit status that is the answer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from place import Done, Place, in_process

import mxio
from mxio import cli

Run = Callable[..., Done]

ARRAYS = {"w": np.arange(100_000.0), "b": np.arange(10.0), "i": np.arange(5)}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    mxio.save("a.mxio", ARRAYS)
    return in_process(capsys)


def damage(source: str, path: str, *offsets: int) -> None:
    data = bytearray(Path(source).read_bytes())
    for offset in offsets:
        data[offset] ^= 1
    Path(path).write_bytes(data)


# ---- mxio verify -----------------------------------------------------------------------------


def test_a_sound_file_is_said_to_be_sound(run: Run) -> None:
    assert run("verify", "a.mxio") == (
        0,
        "a.mxio: sound, 3 arrays, 800,120 bytes (781.4 KiB), CRC-32C of every chunk\n",
        "",
    )


def test_every_damaged_array_and_chunk_is_listed(run: Run) -> None:
    with mxio.open("a.mxio") as reader:
        w, b = reader.index["w"], reader.index["b"]
    chunk = w.chunk_nbytes
    damage("a.mxio", "bad.mxio", w.offset + 1, w.offset + 5 * chunk + 7, b.offset)
    assert run("verify", "bad.mxio") == (
        1,
        "bad.mxio: damaged in 3 places\n"
        f"  checksum mismatch in 'w', chunk 0 at offset {w.offset} of bad.mxio\n"
        f"  checksum mismatch in 'w', chunk 5 at offset {w.offset + 5 * chunk} of bad.mxio\n"
        f"  checksum mismatch in 'b', chunk 0 at offset {b.offset} of bad.mxio\n",
        "",
    )
    (found,) = run("verify", "--json", "bad.mxio").json["files"]
    assert (found["file"], found["state"], found["format"]) == ("bad.mxio", "damaged", "mxio")
    assert [place["chunk"] for place in found["damages"]] == [0, 5, 0]
    assert found["damages"][1]["offset"] == w.offset + 5 * chunk


@pytest.mark.parametrize("offset", [10, 4100])
def test_damage_of_head_and_index_is_damage(run: Run, offset: int) -> None:
    damage("a.mxio", "bad.mxio", offset)
    done = run("verify", "bad.mxio")
    assert (done.status, done.err) == (1, "")
    assert re.fullmatch(r"bad.mxio: damaged in 1 place\n  [^\n]+ bad.mxio[^\n]*\n", done.out)


def test_an_npz_is_checked_by_its_own_checksums(run: Run) -> None:
    for compress in (False, True):
        mxio.save("a.npz", ARRAYS, format="npz", compress=compress)
        done = run("verify", "a.npz")
        assert (done.status, done.out.split(", ")[-1]) == (0, "CRC-32 of every member\n")
    mxio.save("a.npz", ARRAYS, format="npz")
    damage("a.npz", "bad.npz", 5000)
    done = run("verify", "bad.npz")
    assert (done.status, done.out.split("\n")[0]) == (1, "bad.npz: damaged in 1 place")
    assert "'w'" in done.out


@pytest.mark.parametrize("format", ["mxnet", "safetensors"])
def test_a_format_without_checksums_is_not_said_to_be_sound(run: Run, format: str) -> None:
    mxio.save("x", ARRAYS, format=format)
    assert run("verify", "x") == (
        0,
        f"x: structure only: {format} has no checksums; 3 arrays, 800,120 bytes (781.4 KiB)\n",
        "",
    )
    assert run("verify", "--json", "x").json["files"][0]["state"] == "structure only"
    Path("cut").write_bytes(Path("x").read_bytes()[:-100])
    assert run("verify", "cut").status == 1


def test_of_several_files_the_worst_counts(run: Run) -> None:
    damage("a.mxio", "bad.mxio", 20_000)
    done = run("verify", "bad.mxio", "a.mxio")
    assert (done.status, done.err) == (1, "")
    assert re.findall(r"^(\S+): (\w+)", done.out, re.M) == [
        ("bad.mxio", "damaged"),
        ("a.mxio", "sound"),
    ]
    done = run("verify", "missing", "bad.mxio", "a.mxio")
    assert (done.status, done.err) == (2, "mxio: missing: No such file or directory\n")
    assert done.out.count("\n") == 3
    found = run("verify", "missing", "bad.mxio", "a.mxio", "--json").json["files"]
    assert [one["state"] for one in found] == ["error", "damaged", "sound"]
    assert found[0]["error"] == "missing: No such file or directory"


def test_what_is_no_file_of_arrays_is_an_error(run: Run) -> None:
    Path("text").write_text("hello")
    done = run("verify", "text")
    assert (done.status, done.out) == (2, "")
    assert done.err == "mxio: text is not a file that mxio reads: it begins with b'hello'\n"


# ---- mxio diff -------------------------------------------------------------------------------


def test_the_same_is_said_in_one_line(run: Run) -> None:
    assert run("diff", "a.mxio", "a.mxio") == (0, "same: 3 equal bit for bit\n", "")


def test_a_difference_is_told_in_numbers(run: Run) -> None:
    b = {name: array.copy() for name, array in ARRAYS.items()}
    b["w"][[7, 8]] += [0.5, 4]
    b["w"][9] = np.nan
    b["b"] = b["b"].astype("f4")
    del b["i"]
    mxio.save("b.mxio", {**b, "new": np.zeros((2, 2))})
    done = run("diff", "a.mxio", "b.mxio")
    assert done == (
        1,
        "name  difference                  changed  max abs  max rel     NaN\n"
        "i     removed, int64 (5)\n"
        "new   added, float64 (2, 2)\n"
        "w     values                 3 of 100,000        4   0.3333  0 -> 1\n"
        "b     float64 -> float32          0 of 10        0        0\n"
        "different: 1 removed, 1 added, 2 changed\n",
        "",
    )
    found = run("diff", "a.mxio", "b.mxio", "--json")
    assert found.status == 1
    assert found.json == {
        "a": "a.mxio",
        "b": "b.mxio",
        "same": False,
        "n_equal": 0,
        "removed": ["i"],
        "added": ["new"],
        "changed": [
            {
                "name": "w",
                "dtype": ["float64", "float64"],
                "shape": [[100_000], [100_000]],
                "size": 100_000,
                "n_changed": 3,
                "max_abs": 4.0,
                "max_rel": 4 / 12,
                "n_nan": [0, 1],
            },
            {
                "name": "b",
                "dtype": ["float64", "float32"],
                "shape": [[10], [10]],
                "size": 10,
                "n_changed": 0,
                "max_abs": 0.0,
                "max_rel": 0.0,
                "n_nan": [0, 0],
            },
        ],
        "plain": [],
        "structure": [],
        "metadata": [],
    }


@pytest.mark.parametrize("format", ["mxnet", "safetensors", "npz"])
def test_formats_do_not_matter(run: Run, format: str) -> None:
    mxio.save("b", ARRAYS, format=format)
    assert run("diff", "a.mxio", "b") == (0, "same: 3 equal bit for bit\n", "")
    mxio.save("b", {**ARRAYS, "i": np.arange(5) + 1}, format=format)
    assert run("diff", "b", "a.mxio").out.splitlines()[1].split() == [
        *("i", "values", "5", "of", "5", "1", "1")
    ]


def test_plain_values_count_and_metadata_and_containers_only_strictly(run: Run) -> None:
    x = np.zeros(2)
    mxio.save("a.mxio", {"x": (x,), "step": 1, "k": "v"}, metadata={"run": 1})
    mxio.save("b.mxio", {"x": [x], "step": 1, "k": "v"}, metadata={"run": 2})
    out = "structure x: tuple -> list\nmetadata run: 1 -> 2\n{}: 1 equal bit for bit\n"
    assert run("diff", "a.mxio", "b.mxio") == (0, out.format("same"), "")
    assert run("diff", "--strict", "a.mxio", "b.mxio") == (1, out.format("different"), "")
    mxio.save("b.mxio", {"x": (x,), "step": 2, "new\n": None}, metadata={"run": 1})
    assert run("diff", "a.mxio", "b.mxio") == (
        1,
        "value step: 1 -> 2\n"
        "value k: removed, 'v'\n"
        "value 'new\\n': added, None\n"
        "different: 1 equal bit for bit; 3 plain values changed\n",
        "",
    )


def test_zeros_of_other_signs_are_the_same_unless_strictly(run: Run) -> None:
    mxio.save("a.mxio", [np.array([0.0, 1])])
    mxio.save("b.mxio", [np.array([-0.0, 1])])
    done = run("diff", "a.mxio", "b.mxio")
    assert done.status == 0
    assert done.out.endswith("\nsame: 1 of equal values in other bits\n")
    assert run("diff", "a.mxio", "b.mxio", "--strict").status == 1


def test_tolerances_let_small_differences_pass(run: Run) -> None:
    mxio.save("b.mxio", {**ARRAYS, "w": ARRAYS["w"] * (1 + 1e-6)})
    assert run("diff", "a.mxio", "b.mxio").status == 1
    assert run("diff", "a.mxio", "b.mxio", "--rtol", "1e-5").status == 0
    done = run("diff", "a.mxio", "b.mxio", "--atol", "0.2")
    assert done.status == 0
    assert re.search(r"^w +close +0 of 100,000 +0.1 ", done.out, re.M)
    assert done.out.endswith("\nsame: 1 within the tolerance, 2 equal bit for bit\n")
    assert run("diff", "a.mxio", "b.mxio", "--atol", "0.01").status == 1
    for wrong in ("-1", "nan", "x"):
        done = run("diff", "a.mxio", "b.mxio", f"--rtol={wrong}")
        assert (done.status, done.out) == (2, "")
        assert done.err == f"mxio diff: argument --rtol: a number of 0 or more, not '{wrong}'\n"


def test_dates_differ_by_their_unit(run: Run) -> None:
    mxio.save("a.mxio", {"t": np.array(["2020-01-01", "NaT"], "M8[6h]")})
    mxio.save("b.mxio", {"t": np.array(["2020-01-02", "NaT"], "M8[6h]")})
    assert re.search(
        r"^t +values +1 of 2 +24 h +1 -> 1$", run("diff", "a.mxio", "b.mxio").out, re.M
    )


def test_what_json_cannot_say_is_a_string(run: Run) -> None:
    mxio.save("a.mxio", {"x": np.array([np.inf])})
    mxio.save("b.mxio", {"x": np.array([1.0])})
    (found,) = run("diff", "a.mxio", "b.mxio", "--json").json["changed"]
    assert found["max_abs"] == found["max_rel"] == "inf"
    assert math.isinf(float(found["max_abs"]))


def test_small_floats_are_compared_in_numbers(run: Run) -> None:
    for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        mxio.save("a.mxio", {"x": np.array([1, 2, 4]).astype(dtype)})
        mxio.save("b.mxio", {"x": np.array([1, 2, 8]).astype(dtype)})
        assert run("diff", "a.mxio", "b.mxio").out.splitlines()[1].split() == [
            *("x", "values", "1", "of", "3", "4", "0.5")
        ]


def test_a_damaged_file_is_an_error_and_not_a_difference(run: Run) -> None:
    damage("a.mxio", "bad.mxio", 20_000)
    for args in (["a.mxio", "bad.mxio"], ["bad.mxio", "a.mxio"]):
        done = run("diff", *args)
        assert (done.status, done.out) == (2, "")
        assert re.fullmatch(r"mxio: checksum mismatch in 'w', .* of bad.mxio\n", done.err)
    assert run("diff", "a.mxio", "missing").status == 2


# ---- progress, and being interrupted ---------------------------------------------------------

SLOW = """
import sys, time
for name in {without}: sys.modules[name] = None
from mxio import _progress, cli
_progress._LATER = _progress._OFTEN = 0
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("without", [[], ["tqdm"]])
@pytest.mark.parametrize(
    "args", [["verify", "a.mxio"], ["diff", "a.mxio", "a.mxio"], ["stats", "a.mxio"]]
)
def test_progress_is_for_terminals_and_is_wiped(
    tmp_path: Path, without: list[str], args: list[str]
) -> None:
    place = Place(tmp_path)
    mxio.save(place.work / "a.mxio", {"w": np.ones(20_000_000, "f4")}, sync=False)
    code = SLOW.format(without=without)
    out = place.terminal("-c", code, *args)
    assert re.search(rf"{args[0]} a.mxio.*[0-9]", out)
    assert "\r" in out
    # The bar is overwritten before anything else is printed.
    shown = [line.split("\r")[-1] for line in out.split("\n")]
    assert not any(line.startswith(args[0] + " ") for line in shown)
    assert place.python("-c", code, *args).err == ""


@pytest.mark.parametrize("command", ["verify", "diff", "stats", "convert"])
def test_ctrl_c_is_silent_and_leaves_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mxio._progress.Bar.__call__", interrupted)
    args = {"diff": ["a.mxio"], "convert": ["b.mxio"]}.get(command, [])
    assert run(command, "a.mxio", *args) == (130, "", "")
    assert [path.name for path in Path().iterdir()] == ["a.mxio"]
    assert cli.main(["ls", "a.mxio"]) == 0
