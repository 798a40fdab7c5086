# SPDX-License-Identifier: Apache-2.0
"""The command ``mxio``: what the library does, from a shell.

Results go to stdout, errors to stderr as one sentence. The exit status is 0; 1 if what
was looked at is not as it should be (``diff``: different, ``verify``: damaged); 2 if the
command could not be carried out; 130 after Ctrl-C; 141 if nobody reads stdout any more,
about which nothing is said. Each command is a parser in `_parser` and a function in a
module of its own, imported when it is called, that returns the status. Nothing here may
know more about files than the library does.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import mxio
from mxio.cli.terminal import FORMATS, Stop, printable, sentence

__all__ = ["main"]

_PATTERN = (
    "only arrays of these names; * stands for any characters, ? for one, [ab] for one of them"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line and return its exit status."""
    message = ""
    if sys.stdout is None:  # closed by whoever started this
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("once", mxio.errors.FormatWarning)
                warnings.showwarning = _warn
                return _run(argv)
        finally:
            print(end="", flush=True)
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        status = 141
    except Stop as stop:
        message, status = str(stop), stop.status
    except (mxio.MXIOError, OSError, ValueError, MemoryError) as error:
        message, status = sentence(error), 2
    _give_up_stdout_if_broken()
    if message:
        print(f"mxio: {printable(message)}", file=sys.stderr)
    return status


def _warn(message: Warning | str, *args: Any, **kwargs: Any) -> None:
    print(f"mxio: {printable(str(message))}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mxio",
        description="Named arrays to a file and back: every byte checked, nothing lost.",
        epilog="mxio COMMAND --help tells more about a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mxio {mxio.__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, run: str, brief: str, more: str = "") -> Any:
        made = commands.add_parser(
            name,
            help=brief,
            description=f"{brief[0].upper()}{brief[1:]}. {more}",
            allow_abbrev=False,
        )
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true", help="print one JSON document")
        if name not in ("checkpoints", "compact", "tutorial"):
            made.add_argument(
                "--encoding", help="of the names in MXNet's files, where they are not UTF-8"
            )
        return made

    ls = command(
        "ls",
        "show:ls",
        "list the arrays of a file: name, dtype, shape, bytes, share of the bytes",
    )
    ls.add_argument("file", metavar="FILE")
    ls.add_argument("patterns", metavar="PATTERN", nargs="*", help=_PATTERN)

    info = command(
        "info",
        "show:info",
        "tell what a file is: format, producer, structure, metadata, sizes, checksums",
    )
    info.add_argument("file", metavar="FILE")

    verify = command(
        "verify",
        "check:verify",
        "check every byte of files and list what is damaged",
        "The exit status is 0 if all are sound, 1 if one is damaged, 2 if one cannot be "
        "read. For a format without checksums only the structure is checked, and that is said.",
    )
    verify.add_argument("files", metavar="FILE", nargs="+")

    diff = command(
        "diff",
        "check:diff",
        "compare the arrays of two files, of whatever formats, in numbers",
        "The exit status is 0 if names, dtypes, shapes and values of arrays and plain values "
        "are the same, 1 if not, 2 if a file cannot be read. Two NaN are the same, 0 and -0 too.",
    )
    diff.add_argument("a", metavar="A")
    diff.add_argument("b", metavar="B")
    diff.add_argument(
        "--strict",
        action="store_true",
        help="other metadata, another structure, other bits of equal values are differences too",
    )
    for name, of in (("--rtol", "of the larger of two numbers"), ("--atol", "as it is")):
        diff.add_argument(
            name, type=_tolerance, default=0.0, metavar="X", help=f"what may differ, {of}"
        )

    convert = command(
        "convert",
        "convert:convert",
        "write the arrays of a file in another format, piece by piece",
        "What was written is read back and compared, bit for bit. B is replaced as a whole or "
        "not at all.",
    )
    convert.add_argument("a", metavar="A")
    convert.add_argument("b", metavar="B")
    convert.add_argument(
        "--to", choices=FORMATS, help="the format; without it the ending of B says it"
    )
    convert.add_argument(
        "--only", metavar="PATTERN", action="append", default=[], help=f"{_PATTERN}; repeatable"
    )
    convert.add_argument(
        "--rename",
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="rename arrays; a * in OLD stands for any characters, one in NEW for the same; "
        "repeatable, the first that matches counts",
    )
    convert.add_argument(
        "--dtype", metavar="DTYPE", help="convert floating-point arrays to it: float16, bfloat16, …"
    )

    compact = command(
        "compact",
        "convert:compact",
        "write an mxio file anew, without the space that appending to it has given up",
        "All is checked on the way. FILE is replaced as a whole or not at all.",
    )
    compact.add_argument("file", metavar="FILE")

    checkpoints = command(
        "checkpoints",
        "checkpoints:checkpoints",
        "list the steps that mxio.CheckpointManager saved in a directory",
        "The exit status is 1 if a step is found damaged.",
    )
    checkpoints.add_argument("directory", metavar="DIR")
    checkpoints.add_argument("--verify", action="store_true", help="check every byte of each step")
    checkpoints.add_argument(
        "--prune",
        action="store_true",
        help="remove steps but those that are to be kept and the newest that is sound",
    )
    checkpoints.add_argument(
        "--dry-run", action="store_true", help="only tell what --prune would remove"
    )
    for name, what in (
        ("--keep-last", "as many of the newest (3)"),
        ("--keep-every", "multiples of it"),
        ("--keep-best", "as many of the best by --metric"),
    ):
        checkpoints.add_argument(name, type=_count, metavar="N", help=f"keep {what}")
    checkpoints.add_argument("--metric", metavar="NAME", help="which metric tells the best step")
    checkpoints.add_argument(
        "--mode", choices=("min", "max"), default="min", help="whether less of it is better (min)"
    )

    stats = command(
        "stats",
        "stats:stats",
        "tell what values arrays have: min, max, mean, std, NaN, inf, zeros, histogram",
        "All but the counts of NaN and inf are of the finite values; of complex numbers it "
        "is the magnitude.",
    )
    stats.add_argument("file", metavar="FILE")
    stats.add_argument("patterns", metavar="PATTERN", nargs="*", help=_PATTERN)
    stats.add_argument(
        "--plot", metavar="PNG", help="draw a page of histograms there; needs matplotlib"
    )

    command(
        "tutorial",
        "tutorial:tutorial",
        "show saving and loading step by step, each step really run",
        "The code of each step is shown, then run in a temporary folder, and its result is "
        "printed and checked. The exit status is 1 if a result is not what it should be: the "
        "tutorial tests the installation.",
    )
    return parser


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"a number of 1 or more, not {text!r}")
    return int(text)


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"a number of 0 or more, not {text!r}")
    return value


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.run is None:
        parser.print_help(sys.stderr)
        return 2
    module, function = args.run.split(":")
    status: int = getattr(importlib.import_module(f"mxio.cli.{module}"), function)(args)
    return status


def _give_up_stdout_if_broken() -> None:
    """Keep Python from writing, when it exits, what could not be written before."""
    try:
        print(end="", flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
