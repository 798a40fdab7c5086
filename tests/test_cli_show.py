# SPDX-License-Identifier: Apache-2.0
"""mxio ls and mxio info, and what all tables have in common: pipes, terminals, hostile names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from place import Done, Place, in_process

import mxio

Run = Callable[..., Done]

ARRAYS = {
    "embed": np.ones((3000, 64), "f4"),
    "bias": np.zeros(64, "f4"),
    "deep/er": np.arange(6, dtype="i8").reshape(2, 3),
    "item": np.array(1.5),
    "none": np.zeros((0, 3), "?"),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    mxio.save("x.mxio", ARRAYS, metadata={"run": "a7", "k": [1, None]})
    return in_process(capsys)


# ---- mxio ls ---------------------------------------------------------------------------------


def test_ls_is_a_table_and_a_line_of_totals(run: Run) -> None:
    assert run("ls", "x.mxio") == (
        0,
        "name     dtype    shape         bytes   share\n"
        "embed    float32  (3000, 64)  768,000  >99.9%\n"
        "bias     float32  (64)            256   <0.1%\n"
        "deep/er  int64    (2, 3)           48   <0.1%\n"
        "item     float64  ()                8   <0.1%\n"
        "none     bool     (0, 3)            0    0.0%\n"
        "5 arrays, 768,312 bytes (750.3 KiB)\n",
        "",
    )


def test_patterns_choose_and_the_share_stays_that_of_the_file(run: Run) -> None:
    done = run("ls", "x.mxio", "*e?*", "item")
    assert re.findall(r"^(\S+) .*?(\S+)$", done.out, re.M)[1:-1] == [
        ("embed", ">99.9%"),
        ("deep/er", "<0.1%"),
        ("item", "<0.1%"),
    ]
    assert done.out.endswith("\n3 of 5 arrays, 768,056 bytes (750.1 KiB)\n")


def test_a_pattern_that_matches_nothing_is_an_error(run: Run) -> None:
    assert run("ls", "x.mxio", "embed", "nope*") == (
        2,
        "",
        "mxio: no array in x.mxio matches 'nope*'\n",
    )


def test_a_name_with_the_characters_of_a_pattern_matches_itself(run: Run) -> None:
    mxio.save("p.mxio", {"a[0]": np.zeros(1), "a0": np.zeros(1)})
    assert run("ls", "p.mxio", "a[0]", "--json").json["arrays"][0]["name"] == "a[0]"
    assert run("ls", "p.mxio", "a[[]0]", "--json").json["arrays"][0]["name"] == "a[0]"


def test_ls_as_json_has_all_of_it(run: Run) -> None:
    found = run("ls", "x.mxio", "--json").json
    assert (found["file"], found["format"]) == ("x.mxio", "mxio")
    assert (found["n_arrays"], found["nbytes"]) == (5, 768_312)
    assert [array["name"] for array in found["arrays"]] == list(ARRAYS)
    with mxio.open("x.mxio") as reader:
        offset = reader.index["deep/er"].offset
    assert found["arrays"][2] == {
        "name": "deep/er",
        "dtype": "int64",
        "shape": [2, 3],
        "nbytes": 48,
        "share": 48 / 768_312,
        "order": "C",
        "offset": offset,
        "alias_of": None,
    }


def test_a_second_name_takes_no_bytes(run: Run) -> None:
    x = np.ones(100)
    mxio.save("tied.mxio", {"x": x, "y": x})
    done = run("ls", "tied.mxio")
    assert re.search(r"^y +float64 +\(100\) +800 +alias$", done.out, re.M)
    assert done.out.endswith("\n2 arrays, 1 of them a second name, 800 bytes\n")
    found = run("ls", "tied.mxio", "--json").json
    assert (found["nbytes"], found["arrays"][1]["alias_of"]) == (800, "x")


def test_a_file_without_arrays_has_a_line_of_totals(run: Run) -> None:
    mxio.save("empty.mxio", {})
    assert run("ls", "empty.mxio") == (0, "0 arrays, 0 bytes\n", "")
    assert run("ls", "empty.mxio", "--json").json["arrays"] == []


def test_a_hundred_thousand_arrays_are_listed_whole(run: Run) -> None:
    mxio.save("many.mxio", {f"layer{n}": np.full(1, n) for n in range(100_000)}, sync=False)
    lines = run("ls", "many.mxio").out.splitlines()
    assert len(lines) == 100_002
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[-1].startswith("100,000 arrays, ")


@pytest.mark.parametrize("command", ["ls", "info", "stats"])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cut.mxio", "cut.mxio is not a valid mxio file: the file is cut short.*"),
        ("index.mxio", "checksum mismatch in the index at offset 4096 of index.mxio"),
        ("text", r"text is not a file that mxio reads: it begins with b'hello'"),
        ("missing", "missing: No such file or directory"),
        (".", r"\.: Is a directory|.*no .*index.json.*"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_in_one_sentence(
    run: Run, command: str, name: str, sentence: str
) -> None:
    data = Path("x.mxio").read_bytes()
    Path("cut.mxio").write_bytes(data[:5000])
    Path("index.mxio").write_bytes(data[:4200] + bytes([data[4200] ^ 1]) + data[4201:])
    Path("text").write_text("hello")
    for json in ([], ["--json"]):
        done = run(command, name, *json)
        assert (done.status, done.out) == (2, "")
        assert re.fullmatch(rf"mxio: ({sentence})\n", done.err)


# ---- mxio info -------------------------------------------------------------------------------


def test_info_tells_what_a_file_is(run: Run) -> None:
    size = Path("x.mxio").stat().st_size
    assert run("info", "x.mxio") == (
        0,
        "format     mxio 1\n"
        "structure  dict of 5 arrays\n"
        "dtypes     float32 (2), int64 (1), float64 (1), bool (1)\n"
        f"file       {size:,} bytes ({size / 1024:.1f} KiB)\n"
        "arrays     768,312 bytes (750.3 KiB)\n"
        f"overhead   {size - 768_312:,} bytes ({(size - 768_312) / 1024:.1f} KiB)\n"
        "checksums  CRC-32C of every chunk\n"
        "metadata\n"
        '  run: "a7"\n'
        "  k: [1, null]\n",
        "",
    )


def test_long_metadata_is_shown_in_part(run: Run) -> None:
    mxio.save("l.mxio", ARRAYS, metadata={"long": "x" * 5000})
    (line,) = [line for line in run("info", "l.mxio").out.splitlines() if "long" in line]
    assert line == f'  long: "{"x" * 399}… (5,002 characters; --json has them all)'
    assert run("info", "l.mxio", "--json").json["metadata"] == {"long": "x" * 5000}


def test_info_as_json(run: Run) -> None:
    size = Path("x.mxio").stat().st_size
    assert run("info", "x.mxio", "--json").json == {
        "file": "x.mxio",
        "format": "mxio",
        "version": "1",
        "generation": 1,
        "producer": None,
        "structure": "dict of 5 arrays",
        "n_arrays": 5,
        "dtypes": {"float32": 2, "int64": 1, "float64": 1, "bool": 1},
        "file_nbytes": size,
        "arrays_nbytes": 768_312,
        "stored_nbytes": 768_312,
        "overhead_nbytes": size - 768_312,
        "checksums": "CRC-32C of every chunk",
        "metadata": {"run": "a7", "k": [1, None]},
    }


@pytest.mark.parametrize(
    ("format", "options", "told"),
    [
        ("mxnet", {}, ("mxnet", "V2", "MXNet 0.12 to 1.9", None)),
        ("mxnet", {"version": 3}, ("mxnet", "V3", "MXNet 1.5 and later, numpy shapes", None)),
        ("safetensors", {}, ("safetensors", "", None, None)),
        ("npz", {}, ("npz", "stored", None, "CRC-32 of every member")),
        ("npz", {"compress": True}, ("npz", "deflated", None, "CRC-32 of every member")),
    ],
)
def test_info_tells_the_producer_and_the_checksums_of_foreign_files(
    run: Run, format: str, options: dict[str, object], told: tuple[str | None, ...]
) -> None:
    mxio.save("y", {"x": np.zeros(1000, "f4")}, format=format, **options)
    found = run("info", "y", "--json").json
    assert tuple(found[key] for key in ("format", "version", "producer", "checksums")) == told
    assert found["arrays_nbytes"] == 4000
    assert found["stored_nbytes"] < 100 if "compress" in options else found["stored_nbytes"] == 4000
    out = run("info", "y").out
    assert f"checksums  {told[3] or 'none'}\n" in out
    assert ("producer" in out) == (format == "mxnet")
    assert out.endswith("metadata   none\n")


# ---- names of an enemy, terminals, encodings -------------------------------------------------

HOSTILE = {
    "\x1b[31mred": np.zeros(1),
    "a\nb": np.zeros(1),
    "\u202eright": np.zeros(1),
    "back\\slash": np.zeros(1),
    " blank": np.zeros(1),
    "": np.zeros(1),
    "'x'": np.zeros(1),
    "[bold]x": np.zeros(1),
    "名前": np.zeros(1),
}


def test_names_are_shown_so_that_they_can_neither_deceive_nor_steer(run: Run) -> None:
    mxio.save("h.mxio", HOSTILE, metadata={"\x1b": "\u202e\x07"})
    lines = run("ls", "h.mxio").out.splitlines()
    names = [re.split(" {2,}", line)[0] for line in lines[1:-1]]
    assert names == [
        r"'\x1b[31mred'",
        r"'a\nb'",
        r"'\u202eright'",
        r"'back\\slash'",
        "' blank'",
        "''",
        "\"'x'\"",
        "[bold]x",
        "名前",
    ]
    wide = sum(ord(char) > 0x2E80 for char in lines[-2])
    assert len(lines[-2]) + wide == len(lines[1])  # aligned as a terminal shows it
    assert run("info", "h.mxio").out.endswith("  '\\x1b': \"\\u202e\\u0007\"\n")
    found = run("ls", "h.mxio", "--json")
    assert found.out.isascii()
    assert [array["name"] for array in found.json["arrays"]] == list(HOSTILE)


def test_nothing_of_a_path_or_a_pattern_steers_a_terminal(run: Run) -> None:
    for args in (
        ["ls", "\x1b[31m"],
        ["ls", "x.mxio", "\x1b[31m"],
        ["\x1b[31m"],
        ["diff", "a", "\n"],
    ):
        done = run(*args)
        assert done.status == 2
        assert done.err.count("\n") == 1
        assert "\x1b" not in done.err


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    names = {"features.0.a.long.name.of.a.convolution.layer.weight": np.ones((64, 3, 3, 3), "f4")}
    mxio.save(place.work / "x.mxio", {**ARRAYS, **names, **HOSTILE})
    return place


WITHOUT = "import sys; sys.modules['rich'] = sys.modules['tqdm'] = None\n"
MAIN = "import sys; from mxio import cli; sys.exit(cli.main(sys.argv[1:]))"


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("code", [MAIN, WITHOUT + MAIN])
@pytest.mark.parametrize("command", ["ls", "stats", "diff"])
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_table_is_no_wider_than_the_terminal(
    place: Place, code: str, command: str, columns: int
) -> None:
    mxio.save(place.work / "y.mxio", {"embed": np.zeros((3000, 64), "f4")})
    other = ["y.mxio"] if command == "diff" else []
    out = plain(place.terminal("-c", code, command, "x.mxio", *other, columns=columns))
    lines = out.splitlines()
    assert "embed" in out
    wide = [line for line in lines if len(line) + sum(ord(c) > 0x2E80 for c in line) > columns]
    sentences = ["different", "15 "]
    if columns == 40:  # a line for each cell, which stands as it is
        sentences += ["features", "  difference "]
    assert not [line for line in wide if not line.startswith(tuple(sentences))]
    assert "\x1b" not in out
    if columns == 80:
        assert re.search("featu.*….*ght", out)
    else:
        assert "features.0.a.long.name.of.a.convolution.layer.weight" in out


def test_a_table_is_never_cut_in_a_pipe(place: Place) -> None:
    for env in ({}, {"COLUMNS": "20"}):
        done = place.mxio("ls", "x.mxio", **env)
        assert "features.0.a.long.name.of.a.convolution.layer.weight  float32" in done.out
        assert "…" not in done.out


def test_no_color_means_no_escapes_at_all(place: Place) -> None:
    pytest.importorskip("rich")
    assert "\x1b[" in place.terminal("-c", MAIN, "ls", "x.mxio")
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in place.terminal("-c", MAIN, "ls", "x.mxio", **env)
    assert "\x1b" not in place.mxio("ls", "x.mxio").out


def test_a_terminal_that_cannot_encode_a_name_shows_it_escaped(place: Place) -> None:
    env = {
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "ascii",
    }
    done = place.mxio("ls", "x.mxio", **env)
    assert (done.status, done.err) == (0, "")
    assert r"\u540d\u524d" in done.out
    for columns in (40, 80):
        out = plain(place.terminal("-c", MAIN, "ls", "x.mxio", columns=columns, **env))
        assert out.isascii()
    done = place.mxio("stats", "x.mxio", **env)
    assert (done.status, done.err) == (0, "")
    assert done.out.isascii()
    assert re.search(r"^embed .* #$", done.out, re.M)


def test_listing_imports_nothing_that_is_not_needed(place: Place) -> None:
    code = (
        "import sys\nfrom mxio import cli\ncli.main(['ls', 'x.mxio'])\n"
        "for name in ('rich', 'tqdm', 'matplotlib', 'ml_dtypes', 'mxio.cli.tutorial', "
        "'mxio._stats', 'mxio._diff', 'mxio.nd'):\n"
        "    assert name not in sys.modules, name\n"
    )
    assert place.python("-c", code).err == ""
