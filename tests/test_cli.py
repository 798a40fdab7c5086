# SPDX-License-Identifier: Apache-2.0
"""The command mxio: what it prints, where, and with which exit status.

It is run as a stranger runs it, in a process of its own. Where something has to be broken
for a test, a few lines of Python break it in that process and then start the command.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from place import Place

import mxio
from mxio import cli

FIRST_HALF = """\
from mxio import nd
x = nd.arange(4)
nd.save('x-file', x)
x2 = nd.load('x-file')
y = nd.zeros(4)
nd.save('x-files', [x, y])
x2, y2 = nd.load('x-files')
mydict = {'x': x, 'y': y}
nd.save('mydict', mydict)
mydict2 = nd.load('mydict')
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the tutorial prints."""
    place = Place(tmp_path_factory.mktemp("tutorial"))
    done = place.mxio("tutorial")
    assert done.err == ""
    assert done.status == 0
    assert place.is_clean()
    return done.out


# The tutorial's second half, line by line.
SECOND_HALF = """\
from mxio import nd
from mxio.gluon import nn
class MLP(nn.Block):
    def __init__(self, **kwargs):
        super(MLP, self).__init__(**kwargs)
        self.hidden = nn.Dense(256, activation='relu')
        self.output = nn.Dense(10)
    def forward(self, x):
        return self.output(self.hidden(x))

net = MLP()
net.initialize()
x = nd.random.uniform(shape=(2, 20))
y = net(x)
net.save_parameters('mlp.params')
clone = MLP()
clone.load_parameters('mlp.params')
yclone = clone(x)
yclone == y
"""


def code_in(out: str) -> str:
    return "".join(f"{line}\n" for line in re.findall(r"^    (?:>>>|\.\.\.) (.*)$", out, re.M))


# ---- mxio tutorial ---------------------------------------------------------------------------


def test_the_tutorial_shows_each_line_of_its_first_half_in_order(tutorial: str) -> None:
    lines = iter(code_in(tutorial).splitlines())
    for line in FIRST_HALF.splitlines():
        assert line in lines  # consumes them up to this one


def test_the_tutorial_shows_each_line_of_its_second_half_in_order(tutorial: str) -> None:
    lines = iter(code_in(tutorial).splitlines())
    for line in filter(None, SECOND_HALF.splitlines()[1:]):
        assert line in lines


def test_the_second_half_runs_as_it_stands(place: Place) -> None:
    code = f"{SECOND_HALF}print((yclone == y).all().item(), clone, sep='\\n')"
    done = place.python("-c", code)
    assert done.status == 0
    assert done.out.splitlines() == [
        "True",
        "MLP(",
        "  (hidden): Dense(20 -> 256, Activation(relu))",
        "  (output): Dense(256 -> 10, linear)",
        ")",
    ]
    assert os.listdir(place.work) == ["mlp.params"]


def test_the_first_half_runs_as_it_stands(place: Place) -> None:
    code = f"{FIRST_HALF}print(x2.tolist(), y2.tolist(), sorted(mydict2))"
    done = place.python("-c", code)
    assert done == (0, "[0.0, 1.0, 2.0, 3.0] [0.0, 0.0, 0.0, 0.0] ['x', 'y']\n", "")
    assert sorted(os.listdir(place.work)) == ["mydict", "x-file", "x-files"]


def test_the_code_that_is_shown_runs_when_typed_in(tutorial: str, place: Place) -> None:
    done = place.python("-c", code_in(tutorial))
    assert (done.status, done.err) == (0, "")
    assert "checksum mismatch in 'table'" in done.out


def test_every_result_is_printed_under_its_code(tutorial: str) -> None:
    array = r"\[0. 1. 2. 3.\]\n    <NDArray 4 @cpu\(0\)>"
    zeros = r"\[0. 0. 0. 0.\]\n    <NDArray 4 @cpu\(0\)>"
    for pattern in (
        rf">>> x2\n    \[\n    {array}\]\n",
        rf">>> x2, y2\n    \(\n    {array}, \n    {zeros}\)\n",
        rf">>> mydict2\n    {{'x': \n    {array}, 'y': \n    {zeros}}}\n",
        r">>> state2\n    {'layers': \[array\(\[0., 1., 2.\]\), array\(\[1., 1.\]\)\], 'step': 7, ",
        r"\]\n    <mxio.LazyArray 'table' int32 \(1000000, 3\)>\n",
        r">>> rows\n    array\(\[\[1500000, 1500001, 1500002\],\n",
        r"print\(error\)\n    checksum mismatch in 'table', chunk \d+ at offset \d+ of copy.mxio\n",
        r">>> mxio.verify\('table.mxio'\)\n    \[\]\n",
        r"damage.nbytes\)\n    table \d+ \d+\n",
    ):
        assert re.search(pattern, tutorial), pattern


def test_the_tutorial_counts_its_steps_and_says_where_to_read_on(tutorial: str) -> None:
    steps = re.findall(r"^Step (\d+) of (\d+): .+\n-+\n\w", tutorial, re.M)
    n_steps = len(steps)
    assert steps == [(str(number + 1), str(n_steps)) for number in range(n_steps)]
    last = tutorial.splitlines()[-1]
    assert f" {n_steps} steps " in last
    assert last.endswith("docs/")


def test_the_tutorial_fits_a_terminal_of_80_columns(tutorial: str) -> None:
    assert tutorial.isascii()
    assert max(map(len, tutorial.splitlines())) <= 80


def test_the_tutorial_is_the_same_each_time(tutorial: str, place: Place) -> None:
    assert place.mxio("tutorial").out == tutorial


@pytest.mark.parametrize(
    ("code", "step"),
    [
        ("from mxio import nd; nd.load = lambda name: [nd.zeros(4)]", 1),
        ("from mxio import nd; nd.save = lambda name, arrays: None", 1),
        ("mxio._file._tree.unflatten = lambda s, n, arrays: arrays[::-1]", 2),
        ("mxio.load = lambda name: {'layers': [], 'step': 7, 'rate': 0.1}", 4),
        ("mxio.LazyArray.__getitem__ = lambda self, key: self.read()[:2]", 5),
        ("mxio.load = functools.partial(mxio.load, verify=False)", 6),
        ("mxio.verify = lambda name: []", 7),
        ("mxio.verify = lambda name: 1 / 0", 7),
    ],
)
def test_an_installation_that_works_wrong_fails_the_tutorial(
    place: Place, code: str, step: int
) -> None:
    done = place.broken(code)
    assert done.status == 1
    assert re.fullmatch(rf"mxio: step {step} of \d+ (failed|went wrong).+\n", done.err)
    assert "Read on" not in done.out
    assert place.is_clean()


def test_an_error_in_a_step_is_told_in_one_sentence(place: Place) -> None:
    done = place.mxio("tutorial", MXIO_THREADS="many")
    assert done.status == 1
    assert re.sub(r"1 of \d+", "1 of N", done.err, count=1) == (
        "mxio: step 1 of N failed with ValueError: "
        "MXIO_THREADS is a number of 1 or more, not 'many'\n"
    )


def test_ctrl_c_ends_the_tutorial_and_leaves_nothing(place: Place) -> None:
    done = place.broken(
        "import time\n"
        "def interrupted(name):\n"
        "    assert os.listdir('.')\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "mxio.verify = interrupted\n"
    )
    assert (done.status, done.err) == (130, "")
    assert ">>> mxio.verify('table.mxio')\n" in done.out
    assert place.is_clean()


def test_the_working_directory_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = os.getcwd()
    assert cli.main(["tutorial"]) == 0
    assert os.getcwd() == before

    def fail(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mxio, "verify", fail)
    assert cli.main(["tutorial"]) == 130
    assert os.getcwd() == before
    assert not any(tmp_path.iterdir())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["missing", "a file", "read-only"])
def test_a_folder_for_temporary_files_that_is_of_no_use_is_named(place: Place, kind: str) -> None:
    """And no other is taken quietly."""
    folder = place.temporary / kind
    if kind == "a file":
        folder.touch()
    elif kind == "read-only":
        folder.mkdir(mode=0o500)
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
    done = place.mxio("tutorial", TMPDIR=str(folder))
    assert (done.status, done.out) == (2, "")
    assert re.fullmatch(rf"mxio: no folder can be made in {folder}: [A-Z][^:]+\n", done.err)


def test_a_relative_folder_for_temporary_files_is_used_and_left_empty(place: Place) -> None:
    (place.work / "here").mkdir()
    assert place.mxio("tutorial", TMPDIR="here").status == 0
    assert not any((place.work / "here").iterdir())


# ---- every command ---------------------------------------------------------------------------


COMMANDS = {
    "ls": ["x.mxio"],
    "info": ["x.mxio"],
    "verify": ["x.mxio"],
    "diff": ["x.mxio", "x.mxio"],
    "convert": ["x.mxio", "y.mxio"],
    "compact": ["x.mxio"],
    "stats": ["x.mxio"],
    "tutorial": [],
}


def test_help_names_every_command(place: Place) -> None:
    out = place.mxio("--help").out
    assert re.findall(r"^    (\w+) ", out, re.M) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_prints_one_json_document(place: Place, command: str) -> None:
    mxio.save(place.work / "x.mxio", {"w": np.array([1, np.nan, np.inf])})
    assert f"usage: mxio {command} " in place.mxio(command, "--help").out
    done = place.mxio(command, *COMMANDS[command], "--json")
    assert (done.status, done.err) == (0, "")
    assert isinstance(done.json, dict)
    assert done.out.count("\n") == 1
    assert done.out.isascii()


def test_a_tutorial_in_json_that_fails_says_so(place: Place) -> None:
    code = "import mxio; mxio.verify = lambda name: []\nimport sys; from mxio import cli\n"
    done = place.python("-c", f"{code}sys.exit(cli.main(['tutorial', '--json']))")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("mxio: step 7 of 12 went wrong")


def test_what_is_odd_in_a_file_is_one_line_on_stderr(place: Place) -> None:
    mxio.save(place.work / "x.params", {"w": np.ones(2)}, format="mxnet")
    with open(place.work / "x.params", "ab") as file:
        file.write(b"more")
    done = place.mxio("convert", "x.params", "y.mxio")
    assert done.status == 0
    assert re.fullmatch(r"mxio: x.params: 4 bytes follow its end [^\n]+\n", done.err)


def test_head_ends_a_long_list_silently(place: Place) -> None:
    mxio.save(place.work / "x.mxio", {f"layer{n}": np.zeros(1) for n in range(20_000)})
    code = (
        "import subprocess, sys\n"
        "args = [sys.executable, '-m', 'mxio', 'ls', 'x.mxio']\n"
        "ls = subprocess.Popen(args, stdout=-1, stderr=-1)\n"
        "print(ls.stdout.readline().split()[0]); ls.stdout.close()\n"
        "print(ls.stderr.read(), ls.wait())\n"
    )
    assert place.python("-c", code).out == "b'name'\nb'' 141\n"


@pytest.mark.parametrize("args", [["tutorial"], ["--help"], ["tutorial", "--help"], ["--version"]])
def test_a_broken_pipe_is_silent(place: Place, args: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = place.mxio(*args, stdout=writer)
    finally:
        os.close(writer)
    assert (done.status, done.err) == (141, "")
    assert place.is_clean()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("args", [["tutorial"], ["--help"]])
def test_output_that_cannot_be_written_is_an_error(place: Place, args: list[str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = place.mxio(*args, stdout=full)
    finally:
        os.close(full)
    assert (done.status, done.err) == (2, "mxio: No space left on device\n")
    assert place.is_clean()


def test_no_command_prints_help(place: Place) -> None:
    done = place.mxio()
    assert (done.status, done.out) == (2, "")
    assert done.err == place.mxio("--help").out
    assert re.search(r"^ +tutorial ", done.err, re.M)


@pytest.mark.parametrize("args", [["nope"], ["--nope"], ["tutorial", "nope"], ["tutorial", "--no"]])
def test_what_is_no_command_is_named_in_one_line(place: Place, args: list[str]) -> None:
    done = place.mxio(*args)
    assert (done.status, done.out) == (2, "")
    assert re.fullmatch(rf"mxio: .*{args[-1]}.*\n", done.err)


def test_the_version_is_that_of_the_package(place: Place) -> None:
    assert place.mxio("--version") == (0, f"mxio {mxio.__version__}\n", "")
