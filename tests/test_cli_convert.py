# SPDX-License-Identifier: Apache-2.0
"""mxio convert: the arrays of a file in another format, read back and compared."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from place import Done, Place, in_process
from reference import same

import mxio

Run = Callable[..., Done]

ARRAYS = {
    "arg:conv.weight": np.arange(24, dtype="f4").reshape(2, 3, 4) / 7,
    "arg:conv.bias": np.array([0.5, 1.1], "f8"),
    "aux:n": np.arange(5),
    "aux:half": np.array([1.5, 2], ml_dtypes.bfloat16),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    mxio.save("a.mxio", ARRAYS)
    return in_process(capsys)


def holds(path: str, arrays: dict[str, Any]) -> bool:
    """Whether a file has these arrays, bit for bit."""
    found = mxio.load(path)
    return found.keys() == arrays.keys() and all(same(found[k], arrays[k]) for k in arrays)


@pytest.mark.parametrize(
    ("ending", "format"),
    [
        (".params", "mxnet"),
        (".safetensors", "safetensors"),
        (".mxio", "mxio"),
        (".PARAMS", "mxnet"),
    ],
)
def test_the_ending_says_the_format(run: Run, ending: str, format: str) -> None:
    assert run("convert", "a.mxio", f"b{ending}") == (
        0,
        f"b{ending}: 4 arrays, 156 bytes, {format}; read back and compared\n",
        "",
    )
    with mxio.open(f"b{ending}") as reader:
        assert reader.index.format == format
    assert holds(f"b{ending}", ARRAYS)
    # And back.
    assert run("convert", f"b{ending}", "c.mxio").status == 0
    assert holds("c.mxio", ARRAYS)


def test_to_says_the_format_whatever_the_ending(run: Run) -> None:
    assert run("convert", "a.mxio", "b.params", "--to", "safetensors").status == 0
    assert run("info", "b.params", "--json").json["format"] == "safetensors"
    assert run("convert", "a.mxio", "b") == (
        2,
        "",
        "mxio: the ending of b says no format: use --to mxio|mxnet|safetensors|npz|npy\n",
    )
    done = run("convert", "a.mxio", "b", "--to", "hdf5")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert not Path("b").exists()


def test_npz_and_npy(run: Run) -> None:
    assert run("convert", "a.mxio", "b.npz", "--only", "*conv*", "--only", "aux:n").status == 0
    with np.load("b.npz") as found:
        assert found.files == ["arg:conv.weight", "arg:conv.bias", "aux:n"]
        assert same(found["arg:conv.weight"], ARRAYS["arg:conv.weight"])
    assert run("convert", "b.npz", "b.npy", "--only", "aux:n").status == 0
    assert same(np.load("b.npy"), ARRAYS["aux:n"])
    assert run("convert", "b.npy", "c.safetensors", "--rename", "=n").status == 0
    assert holds("c.safetensors", {"n": ARRAYS["aux:n"]})
    done = run("convert", "a.mxio", "d.npy")
    assert (done.status, done.err.count("\n"), Path("d.npy").exists()) == (2, 1, False)


@pytest.mark.parametrize("to", ["params", "npz", "mxio"])
def test_arrays_without_names_get_those_of_the_format(run: Run, to: str) -> None:
    for obj in (np.ones(3), [np.ones(3), np.zeros((2, 2))], (np.ones(1),)):
        mxio.save("x.mxio", obj)
        assert run("convert", "x.mxio", f"y.{to}").status == 0


# ---- what is converted -----------------------------------------------------------------------


def test_only_takes_what_a_pattern_matches(run: Run) -> None:
    done = run("convert", "a.mxio", "b.mxio", "--only", "arg:*", "--only", "*half")
    assert done.out.startswith("b.mxio: 3 arrays, ")
    assert holds("b.mxio", {name: ARRAYS[name] for name in ARRAYS if name != "aux:n"})
    assert run("convert", "a.mxio", "c.mxio", "--only", "nope") == (
        2,
        "",
        "mxio: no array in a.mxio matches 'nope'\n",
    )
    assert not Path("c.mxio").exists()


def test_rename_keeps_what_the_star_stands_for(run: Run) -> None:
    rules = ["--rename", "arg:*=net.*", "--rename", "aux:n=count", "--rename", "*f=*F"]
    done = run("convert", "a.mxio", "b.mxio", "--json", *rules)
    renamed = {
        "arg:conv.weight": "net.conv.weight",
        "arg:conv.bias": "net.conv.bias",
        "aux:n": "count",
        "aux:half": "aux:halF",
    }
    assert done.json["renamed"] == renamed
    assert holds("b.mxio", {renamed[name]: array for name, array in ARRAYS.items()})


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (["arg"], "--rename takes OLD=NEW with one * in each at most, not 'arg'"),
        (["a*b*=c"], "--rename takes OLD=NEW with one * in each at most, not 'a*b*=c'"),
        (["a=*"], "--rename takes OLD=NEW with one * in each at most, not 'a=*'"),
        (["nope=x"], "--rename 'nope=x' matches no array"),
        (["arg:*=x"], "'arg:conv.weight' and 'arg:conv.bias' would both be named 'x'"),
        (["aux:n=aux:half"], "'aux:n' and 'aux:half' would both be named 'aux:half'"),
    ],
)
def test_a_rename_that_cannot_be_is_said_before_anything_is_written(
    run: Run, rules: list[str], sentence: str
) -> None:
    args = [part for rule in rules for part in ("--rename", rule)]
    assert run("convert", "a.mxio", "b.mxio", *args) == (2, "", f"mxio: {sentence}\n")
    assert not Path("b.mxio").exists()


@pytest.mark.parametrize("to", ["mxio", "params", "safetensors"])
def test_dtype_is_for_floating_point_alone(run: Run, to: str) -> None:
    for name, dtype in (("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)):
        assert run("convert", "a.mxio", f"b.{to}", "--dtype", name).status == 0
        assert holds(
            f"b.{to}",
            {
                key: array if array.dtype == "i8" else array.astype(dtype)
                for key, array in ARRAYS.items()
            },
        )


@pytest.mark.parametrize("name", ["int8", "float", "nope", "S3"])
def test_a_dtype_that_is_none_is_named(run: Run, name: str) -> None:
    done = run("convert", "a.mxio", "b.mxio", "--dtype", name)
    assert (done.status, Path("b.mxio").exists()) == (2, False)
    assert re.fullmatch(rf"mxio: --dtype is one of float16, .*, not '{name}'\n", done.err)


def test_a_tree_stays_a_tree_where_the_format_can_say_it(run: Run) -> None:
    tree = {"w": [np.ones(3), np.ones(2)], "step": 7, "rate": 0.1}
    mxio.save("t.mxio", tree, metadata={"run": "a7"})
    assert run("convert", "t.mxio", "u.mxio", "--dtype", "float16").status == 0
    assert mxio.load("u.mxio")["step"] == 7
    assert mxio.load("u.mxio")["w"][0].dtype == "f2"
    with mxio.open("u.mxio") as reader:
        assert reader.metadata == {"run": "a7"}
    assert run("convert", "t.mxio", "u.safetensors") == (
        2,
        "",
        "mxio: t.mxio has plain values ('step', 'rate'), which a file of format safetensors "
        "cannot hold: --only '*' leaves them out\n",
    )
    assert run("convert", "t.mxio", "u.safetensors", "--only", "*") == (
        0,
        "u.safetensors: 2 arrays, 40 bytes, safetensors; read back and compared\n"
        "2 plain values of t.mxio left out\n",
        "",
    )
    nested = {"a": {"w": np.ones(3)}, "b": [np.ones(2)]}
    mxio.save("t.mxio", nested)
    assert run("convert", "t.mxio", "u.params").status == 0
    assert sorted(mxio.load("u.params")) == ["a/w", "b/0"]


def test_sparse_arrays_stay_sparse(run: Run) -> None:
    x = mxio.nd.sparse.csr_matrix(np.eye(4, 3, dtype="f4"))
    mxio.save("s.params", {"x": x, "y": np.ones(2)}, format="mxnet")
    for path, *more in (["s.mxio"], ["t.params"], ["u.mxio", "--dtype", "float16"]):
        assert run("convert", "s.params", path, *more).status == 0
        assert mxio.load(path)["x"].stype == "csr"
        assert np.array_equal(mxio.load(path)["x"].toarray(), np.eye(4, 3))


def test_what_the_format_cannot_say_is_named(run: Run) -> None:
    mxio.save("z.mxio", {"fine": np.ones(1), "z": np.ones(2, "c16")})
    done = run("convert", "z.mxio", "b.params")
    assert (done.status, done.out, Path("b.params").exists()) == (2, "", False)
    assert re.fullmatch(r"mxio: 'z': .*complex128.*\n", done.err)


def test_names_that_are_not_utf8_need_their_encoding(run: Run) -> None:
    mxio.save("b.params", {"cafX": np.ones(2)}, format="mxnet")
    Path("b.params").write_bytes(Path("b.params").read_bytes().replace(b"cafX", b"caf\xe9"))
    assert run("convert", "b.params", "b.mxio").status == 2
    assert run("convert", "b.params", "b.mxio", "--encoding", "latin-1").status == 0
    assert holds("b.mxio", {"café": np.ones(2)})
    assert "café" in run("ls", "b.params", "--encoding", "latin-1").out


# ---- what may go wrong -----------------------------------------------------------------------


def test_a_file_is_not_converted_into_itself(run: Run) -> None:
    before = Path("a.mxio").read_bytes()
    Path("link.mxio").symlink_to("a.mxio")
    for other in ("a.mxio", "./a.mxio", "link.mxio"):
        assert run("convert", "a.mxio", other, "--dtype", "float16") == (
            2,
            "",
            f"mxio: a.mxio and {other} are one file: write to another\n",
        )
    assert Path("a.mxio").read_bytes() == before


def test_a_damaged_file_leaves_the_other_as_it_was(run: Run) -> None:
    Path("b.params").write_text("old")
    data = bytearray(Path("a.mxio").read_bytes())
    data[-1] ^= 1
    Path("bad.mxio").write_bytes(data)
    done = run("convert", "bad.mxio", "b.params")
    assert (done.status, done.out) == (2, "")
    assert re.fullmatch(r"mxio: checksum mismatch in 'aux:half', .*\n", done.err)
    assert Path("b.params").read_text() == "old"
    assert sorted(path.name for path in Path().iterdir()) == ["a.mxio", "b.params", "bad.mxio"]


@pytest.mark.parametrize("wrong", ["value", "name", "fewer", "structure"])
def test_a_copy_that_is_none_is_noticed(
    run: Run, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    copy = mxio.copy

    def miscopied(source: Any, path: Any, *args: Any, **options: Any) -> None:
        check = options.pop("check")
        copy(source, path, *args, **options)
        found = mxio.load(path)
        if wrong == "value":
            found["aux:n"][-1] += 1
        elif wrong == "name":
            found["other"] = found.pop("aux:n")
        elif wrong == "fewer":
            del found["aux:n"]
        else:
            found["plain"] = 1
        mxio.save(path, found)
        with mxio.open(path) as reader:
            check(reader)

    monkeypatch.setattr(mxio, "copy", miscopied)
    done = run("convert", "a.mxio", "b.mxio")
    assert (done.status, done.out) == (2, "")
    assert re.fullmatch(r"mxio: b.mxio was not written: the copy.*\n", done.err)


def test_convert_as_json(run: Run) -> None:
    assert run("convert", "a.mxio", "b.params", "--json").json == {
        "a": "a.mxio",
        "b": "b.params",
        "format": "mxnet",
        "n_arrays": 4,
        "nbytes": 156,
        "n_plain_left_out": 0,
        "n_sparse_split": 0,
        "renamed": {},
    }


# ---- memory ----------------------------------------------------------------------------------

MEASURE = """
import sys
import numpy as np, mxio
from mxio import cli
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) >> 10 for line in file if line.startswith("VmHWM:"))
for warm_up in (["stats", "small.mxio"], ["convert", "small.mxio", "out.params"]):
    assert cli.main(warm_up) == 0
assert cli.main(["diff", "small.mxio", "out.params"]) == 0
before = peak()
assert cli.main(sys.argv[1:]) in (0, 1)
print("MiB:", peak() - before)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="peaks are read from Linux's /proc"
)
@pytest.mark.parametrize(
    "args",
    [
        ["stats", "large.mxio"],
        ["stats", "large.npz"],
        ["diff", "large.mxio", "other.mxio"],
        ["diff", "large.mxio", "large.npz"],
        ["convert", "large.mxio", "large.params"],
        ["convert", "large.mxio", "small.safetensors", "--dtype", "bfloat16"],
        ["convert", "large.npz", "large2.mxio"],
    ],
    ids=" ".join,
)
def test_memory_does_not_grow_with_the_file(large: Place, args: list[str]) -> None:
    done = large.python("-c", MEASURE, *args)
    assert done.err == ""
    print(done.out.splitlines()[-1])
    assert int(done.out.split()[-1]) < 64


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("large"))
    x = np.arange(24 << 20, dtype="f4").reshape(-1, 1024)  # 96 MiB
    arrays = {"x": x, "F": np.asfortranarray(x[::4])}
    mxio.save(place.work / "small.mxio", {"x": x[:2]})
    mxio.save(place.work / "large.mxio", arrays, sync=False)
    mxio.save(place.work / "other.mxio", {"x": x + 1, "F": x[::4]}, sync=False)
    mxio.save(place.work / "large.npz", arrays, format="npz", compress=True, sync=False)
    return place


def test_compact_gives_space_back_and_leaves_alone_what_is_no_mxio_file(run: Run) -> None:
    with mxio.Writer("log.mxio") as w:
        for i in range(3):
            w["x"] = np.full(50_000, i)
            w.commit()
    assert "generation 3" in re.sub(" +", " ", run("info", "log.mxio").out)
    before = Path("log.mxio").stat().st_size
    done = run("compact", "log.mxio", "--json")
    after = Path("log.mxio").stat().st_size
    assert done.json == {"file": "log.mxio", "nbytes_before": before, "nbytes": after}
    assert after < before / 2
    assert holds("log.mxio", {"x": np.full(50_000, 2)})
    mxio.save("a.npz", {"x": np.ones(2)}, format="npz")
    assert run("compact", "a.npz") == (
        2,
        "",
        "mxio: a.npz is no mxio file: only those are appended to\n",
    )
    with mxio.Writer("log.mxio", "a"):
        status, _, err = run("compact", "log.mxio")
    assert (status, "another writer has it open" in err) == (2, True)
