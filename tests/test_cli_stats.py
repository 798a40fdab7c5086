# SPDX-License-Identifier: Apache-2.0
"""mxio stats: what values arrays have, in numbers, in a line of blocks and on a page."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from place import Done, in_process

import mxio

Run = Callable[..., Done]

ARRAYS = {
    "w": np.linspace(-1, 1, 16_000, dtype="f4"),
    "gaps": np.array([0, 0, np.nan, np.inf, -np.inf, 15]),
    "n": np.array([3, -12_345_678_901], "i8"),
    "t": np.array(["2020-01-01", "NaT", "2021-02-03"], "M8[D]"),
    "d": np.array([3, 70], "m8[2s]"),
    "text": np.array(["a"]),
    "none": np.zeros((0, 2)),
    "half": np.array([1, 2], ml_dtypes.bfloat16),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    mxio.save("x.mxio", ARRAYS)
    return in_process(capsys)


def test_stats_are_a_table_with_a_histogram(run: Run) -> None:
    flat, ends, gaps = "█" * 16, f"█{' ' * 14}█", f"█{' ' * 14}▄"
    assert run("stats", "x.mxio") == (
        0,
        f"""\
name  dtype                   min         max       mean       std  NaN  inf  zeros  histogram
w     float32                  -1           1          0     0.577                   {flat}
gaps  float64                   0          15          5      7.07    1    2      2  {gaps}
n     int64             -1.23e+10           3  -6.17e+09  6.17e+09                   {ends}
t     datetime64[D]    2020-01-01  2021-02-03                         1              {ends}
d     timedelta64[2s]         6 s       140 s                                        {ends}
text  U1
none  float64
half  bfloat16                  1           2        1.5       0.5                   {ends}
""",
        "",
    )


def test_patterns_choose(run: Run) -> None:
    lines = run("stats", "x.mxio", "[wn]").out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "w", "n"]
    done = run("stats", "x.mxio", "nope")
    assert (done.status, done.err) == (2, "mxio: no array in x.mxio matches 'nope'\n")


def test_stats_as_json(run: Run) -> None:
    found = {array.pop("name"): array for array in run("stats", "x.mxio", "--json").json["arrays"]}
    assert list(found) == list(ARRAYS)
    histogram = found["gaps"].pop("histogram")
    assert found["gaps"] == {
        "dtype": "float64",
        "shape": [6],
        "size": 6,
        "n_nan": 1,
        "n_inf": 2,
        "n_zero": 2,
        "min": 0.0,
        "max": 15.0,
        "mean": 5.0,
        "std": pytest.approx(50**0.5),
    }
    assert (len(histogram), histogram[0], histogram[-1], sum(histogram)) == (64, 2, 1, 3)
    assert found["n"]["min"] == -12_345_678_901
    assert (found["t"]["max"], found["t"]["mean"]) == (18661, None)
    assert found["none"]["min"] is None
    assert found["text"]["histogram"] == []


def test_what_cannot_be_read_here_is_said_beside_the_others(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    done = run("stats", "x.mxio")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[-1] == (
        "'half' in x.mxio: dtype bfloat16 needs ml_dtypes: pip install ml_dtypes"
    )
    assert re.search(r"^half +bfloat16 +cannot be read$", done.out, re.M)
    found = run("stats", "x.mxio", "half", "--json").json["arrays"][0]
    assert "pip install ml_dtypes" in found["error"]


def test_damage_is_an_error(run: Run) -> None:
    data = bytearray(Path("x.mxio").read_bytes())
    data[20_000] ^= 1
    Path("bad.mxio").write_bytes(data)
    done = run("stats", "bad.mxio")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("mxio: checksum mismatch in 'w'")


@pytest.mark.parametrize("format", ["mxnet", "safetensors", "npz"])
def test_foreign_files_have_the_same_statistics(run: Run, format: str) -> None:
    arrays = {"w": ARRAYS["w"], "F": np.arange(6.0).reshape(2, 3, order="F")}
    mxio.save("a", arrays)
    mxio.save("b", arrays, format=format)
    found = [sorted(run("stats", path).out.splitlines()) for path in ("a", "b")]
    assert found[0] == found[1]


# ---- a page of histograms --------------------------------------------------------------------


def test_a_plot_is_a_picture_and_the_table_is_printed_too(run: Run) -> None:
    pytest.importorskip("matplotlib")
    mxio.save(
        "y.mxio", {**ARRAYS, "$x_1$ 名\n": np.full(3, 1e308), "e": np.array([-1.7e308, 1.7e308])}
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="matplotlib|pyparsing|dateutil")
        done = run("stats", "y.mxio", "--plot", "page.png")
    assert (done.status, done.err) == (0, "")
    assert done.out == run("stats", "y.mxio").out
    assert Path("page.png").read_bytes().startswith(b"\x89PNG")
    assert Path("page.png").stat().st_size > 10_000


def test_a_page_has_room_for_so_many(run: Run) -> None:
    pytest.importorskip("matplotlib")
    mxio.save("many.mxio", [np.zeros(1)] * 101)
    done = run("stats", "many.mxio", "--plot", "page.png")
    assert (done.status, done.out) == (2, "")
    assert done.err == (
        "mxio: a page has 100 histograms at most, not 101: choose arrays with patterns\n"
    )


def test_without_matplotlib_a_plot_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert run("stats", "x.mxio", "--plot", "page.png") == (
        2,
        "",
        "mxio: --plot needs matplotlib: pip install matplotlib\n",
    )
