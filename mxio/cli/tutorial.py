# SPDX-License-Identifier: Apache-2.0
"""``mxio tutorial``: saving and loading step by step, each step really run and checked."""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import os
import tempfile
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import mxio
from mxio.cli.terminal import Stop, print_json, sentence

__all__ = ["tutorial"]

_WIDTH = 78


class _Step(NamedTuple):
    title: str
    why: str
    code: str
    holds: tuple[str, ...]  # expressions; `shown` is what the step printed


_STEPS = (
    _Step(
        "One array",
        "What took hours to compute should outlive the program that computed it. "
        "A file may hold many arrays, so nd.load gives a list: here a list of one.",
        """
from mxio import nd
x = nd.arange(4)
nd.save('x-file', x)
x2 = nd.load('x-file')
x2
""",
        (
            "type(x2) is list and len(x2) == 1 and type(x2[0]) is nd.NDArray",
            "x2[0].dtype == 'float32' and x2[0].tolist() == [0, 1, 2, 3]",
            "'[0. 1. 2. 3.]' in shown",
        ),
    ),
    _Step(
        "A list of arrays",
        "A model is many arrays. They go into one file and come back in the same order.",
        """
y = nd.zeros(4)
nd.save('x-files', [x, y])
x2, y2 = nd.load('x-files')
x2, y2
""",
        (
            "x2.dtype == y2.dtype == 'float32'",
            "x2.tolist() == [0, 1, 2, 3] and y2.tolist() == [0, 0, 0, 0]",
            "'[0. 0. 0. 0.]' in shown",
        ),
    ),
    _Step(
        "Arrays with names",
        "With names, whoever gets the file sees what is what. "
        "Share results this way, with others or with yourself next year.",
        """
mydict = {'x': x, 'y': y}
nd.save('mydict', mydict)
mydict2 = nd.load('mydict')
mydict2
""",
        (
            "type(mydict2) is dict and list(mydict2) == ['x', 'y']",
            "all(np.array_equal(mydict2[key], mydict[key]) for key in mydict)",
            "all(mydict2[key].dtype == 'float32' for key in mydict)",
            "\"'x':\" in shown and \"'y':\" in shown",
        ),
    ),
    _Step(
        "A checkpoint",
        "To continue training you need more than weights. mxio.save takes NumPy arrays "
        "and plain values, in lists and dicts, and mxio.load gives back the same.",
        """
import mxio
import numpy as np
layers = [np.arange(3.0), np.ones(2)]
state = {'layers': layers, 'step': 7, 'rate': 0.1}
mxio.save('state.mxio', state)
state2 = mxio.load('state.mxio')
state2
""",
        (
            "type(state2) is dict and list(state2) == list(state)",
            "type(state2['layers']) is list and len(state2['layers']) == 2",
            "all(type(layer) is np.ndarray for layer in state2['layers'])",
            "all(a.dtype == b.dtype for a, b in zip(layers, state2['layers']))",
            "all(np.array_equal(a, b) for a, b in zip(layers, state2['layers']))",
            "type(state2['step']) is int and state2['step'] == 7",
            "type(state2['rate']) is float and state2['rate'] == 0.1",
            "\"'step': 7\" in shown",
        ),
    ),
    _Step(
        "A part of a large array",
        "This array takes 12 MB. mxio.open reads the names, shapes and dtypes only. "
        "Indexing then reads the rows you ask for and little around them.",
        """
table = np.arange(3_000_000, dtype='int32').reshape(-1, 3)
mxio.save('table.mxio', {'table': table})
with mxio.open('table.mxio') as f:
    print(f['table'])
    rows = f['table'][500_000:500_002]
rows
""",
        (
            "type(rows) is np.ndarray and rows.dtype == 'int32' and rows.shape == (2, 3)",
            "np.array_equal(rows, table[500_000:500_002])",
            "'(1000000, 3)' in shown and '1500003' in shown",
        ),
    ),
    _Step(
        "A damaged file",
        "Disks fail and copies go wrong. Here one bit of a copy is flipped. mxio.load "
        "checks every byte: instead of wrong numbers you get an error that says where.",
        """
from pathlib import Path
data = bytearray(Path('table.mxio').read_bytes())
data[8_000_000] ^= 1
n = Path('copy.mxio').write_bytes(data)
try:
    mxio.load('copy.mxio')
except mxio.ChecksumError as error:
    print(error)
""",
        (
            "n == Path('table.mxio').stat().st_size",
            "\"checksum mismatch in 'table'\" in shown and 'copy.mxio' in shown",
            "np.array_equal(mxio.load('table.mxio')['table'], table)",
        ),
    ),
    _Step(
        "Is this file good?",
        "mxio.verify checks a whole file and lists every damaged part: its array, its "
        "offset and its size in bytes. The list is empty for a good file.",
        """
mxio.verify('table.mxio')
for damage in mxio.verify('copy.mxio'):
    print(damage.name, damage.offset, damage.nbytes)
""",
        (
            "shown.startswith('[]')",
            "[damage.name for damage in mxio.verify('copy.mxio')] == ['table']",
            "damage.offset <= 8_000_000 < damage.offset + damage.nbytes",
            "f'table {damage.offset} {damage.nbytes}' in shown",
        ),
    ),
    _Step(
        "The parameters of a network",
        "Hundreds of parameters are sprinkled through a model. They are saved under the "
        "names of its attributes: hidden.weight, output.bias. The architecture is code.",
        """
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
list(nd.load('mlp.params'))
""",
        (
            "list(nd.load('mlp.params')) == "
            "['hidden.weight', 'hidden.bias', 'output.weight', 'output.bias']",
            "nd.load('mlp.params')['hidden.weight'].shape == (256, 20)",
            "'output.bias' in shown",
        ),
    ),
    _Step(
        "The same network in another program",
        "Build it by the same code. It knows no shapes and has no values yet: both come "
        "from the file, and the outputs are the same, bit for bit.",
        """
clone = MLP()
clone
clone.load_parameters('mlp.params')
clone
yclone = clone(x)
yclone == y
""",
        (
            "bool((yclone == y).all()) and yclone.dtype == y.dtype == 'float32'",
            "'Dense(None -> 256' in shown and 'Dense(20 -> 256' in shown",
            "'True' in shown and 'False' not in shown",
        ),
    ),
    _Step(
        "Problem 1: what are stored parameters good for?",
        "When somebody trips over the power cord of the server, training goes on where "
        "the newest file ends. A save replaces the file whole or not at all, so there "
        "always is one. And the results can be given to others.",
        """
for step in range(3):
    net.output.bias.data()[:] += 0.5
    net.save_parameters('newest.params')
resumed = MLP()
resumed.load_parameters('newest.params')
resumed.output.bias.data()[:4]
""",
        (
            "resumed.output.bias.data().tolist() == [1.5] * 10",
            "'[1.5 1.5 1.5 1.5]' in shown",
        ),
    ),
    _Step(
        "Problem 2: how does a part of one network get into another?",
        "Say which part, and what it is called there. Whatever does not fit is an error "
        "that changes nothing.",
        """
new = nn.Sequential()
new.add(nn.Dense(256, activation='relu'), nn.Dense(2))
new.load_parameters('mlp.params', select='0.*', rename={'hidden': '0'})
new[1].initialize()
new(x).shape
both = {'hidden': '0', 'output': '1'}
try:
    new.load_parameters('mlp.params', select='1.weight', rename=both)
except AssertionError as error:
    print(str(error).split(': ')[-1])
""",
        (
            "bool((new[0].weight.data() == net.hidden.weight.data()).all())",
            "new[1].weight.shape == (2, 256)",
            "'(2, 10)' not in shown and '(2, 2)' in shown",
            "'expected (2, 256) vs saved (10, 256)' in shown",
        ),
    ),
    _Step(
        "Problem 3: how can architecture and parameters be one file?",
        "net.save writes the architecture too, as JSON: classes, their arguments, what is "
        "shared. Your own classes are registered, because nothing in a file is executed.",
        """
from mxio import gluon
MLP = gluon.register(MLP)
clone.save('whole.mxio')
whole = gluon.load('whole.mxio')
whole
bool((whole(x) == y).all())
""",
        (
            "type(whole) is MLP and bool((whole(x) == y).all())",
            "'(output): Dense(256 -> 10, linear)' in shown and 'True' in shown",
        ),
    ),
)


def tutorial(args: argparse.Namespace) -> int:
    """Carry out ``mxio tutorial``."""
    if not args.json:
        _run()
        return 0
    # What is shown is of no use to a program; that it went well, step by step, is.
    with contextlib.redirect_stdout(io.StringIO()):
        _run()
    print_json({"version": mxio.__version__, "steps": [step.title for step in _STEPS]})
    return 0


def _run() -> None:
    namespace: dict[str, Any] = {}
    with _in_temporary_folder():
        print(
            f"mxio {mxio.__version__}: save arrays to a file and load them again.\n\n"
            "What follows >>> and ... is code: it is run now, in a temporary folder that is\n"
            "removed at the end. You can type the same into Python."
        )
        for number, step in enumerate(_STEPS, 1):
            place = f"Step {number} of {len(_STEPS)}"
            title = f"{place}: {step.title}"
            print(f"\n\n{title}\n{'-' * len(title)}\n{textwrap.fill(step.why, _WIDTH)}\n")
            wrong = _show_and_run(step, namespace)
            if wrong:
                raise Stop(f"{place.lower()} {wrong}", 1)
    print(f"\n\nArrays, damage, networks: {len(_STEPS)} steps run and checked. Read on: docs/")


@contextlib.contextmanager
def _in_temporary_folder() -> Iterator[None]:
    # Where TMPDIR is of no use, tempfile would quietly take another folder.
    parent = os.path.abspath(os.environ.get("TMPDIR") or tempfile.gettempdir())
    before = os.getcwd()
    try:
        folder = tempfile.TemporaryDirectory(prefix="mxio-tutorial-", dir=parent)
    except OSError as error:
        raise Stop(f"no folder can be made in {parent}: {error.strerror}", 2) from error
    with folder:
        try:
            os.chdir(folder.name)
            yield
        finally:
            os.chdir(before)


def _show_and_run(step: _Step, namespace: dict[str, Any]) -> str:
    """Carry out a step as Python's prompt would, and return what is wrong with it."""
    shown = ""
    lines = step.code.splitlines()
    for statement in ast.parse(step.code).body:
        for number, line in enumerate(lines[statement.lineno - 1 : statement.end_lineno]):
            print(f"    {'...' if number else '>>>'} {line}", flush=True)
        try:
            printed = _execute(statement, namespace)
        except Exception as error:
            return f"failed with {type(error).__name__}: {sentence(error)}"
        print(textwrap.indent(printed, "    "), end="", flush=True)
        shown += printed
    for expression in step.holds:
        try:
            holds = eval(expression, {"np": np, **namespace, "shown": shown})
        except Exception:
            holds = False
        if not holds:
            return f"went wrong, because this is not true: {expression}"
    return ""


def _execute(statement: ast.stmt, namespace: dict[str, Any]) -> str:
    """Return what a statement prints, with its value if it is an expression."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if isinstance(statement, ast.Expr):
            value = eval(compile(ast.Expression(statement.value), "<tutorial>", "eval"), namespace)
            if value is not None:
                print(repr(value))
        else:
            exec(compile(ast.Module([statement], []), "<tutorial>", "exec"), namespace)
    return out.getvalue()
