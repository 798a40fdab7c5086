# SPDX-License-Identifier: Apache-2.0
"""``mxio checkpoints``: the steps in a directory, whether they are sound, and which may go."""

from __future__ import annotations

import argparse
import os
import warnings
from typing import Any, NamedTuple

import mxio
from mxio._progress import Bar, plural
from mxio.checkpoint import CheckpointManager, StepInfo
from mxio.cli.terminal import (
    Column,
    Stop,
    jsonable,
    number,
    print_json,
    print_table,
    printable,
    sentence,
    shown,
    size_of,
)

__all__ = ["checkpoints"]


class _Found(NamedTuple):
    """A step: what is known of it, and what verifying it said (None: it was not asked for)."""

    info: StepInfo
    damage: list[str] | None


def checkpoints(args: argparse.Namespace) -> int:
    """Carry out ``mxio checkpoints``."""
    if not os.path.isdir(args.directory):
        raise Stop(f"{args.directory} is no directory")
    if not args.prune and (args.keep_last or args.keep_every or args.keep_best):
        raise Stop("--keep-… say what --prune leaves: give --prune, too")
    if args.prune and not (args.keep_last or args.keep_every or args.keep_best):
        raise Stop("--prune needs to be told what stays: --keep-last 3, for one")
    if args.keep_best and not args.metric:
        raise Stop("--keep-best needs --metric NAME, which tells the best step")
    if args.dry_run and not args.prune:
        raise Stop("--dry-run says what --prune would remove: give --prune, too")
    removed: list[int] = []
    damaged: set[int] = set()
    if args.prune:
        removed, damaged = _pruned(args)
    with CheckpointManager(args.directory, read_only=True) as manager:
        found = [
            _found(manager, step, args.verify or step in damaged)
            for step, _ in manager._steps.named()
        ]
    if args.json:
        print_json(_document(args, found, removed))
    else:
        _print(args, found, removed)
    return 1 if any(one.damage for one in found) else 0


def _pruned(args: argparse.Namespace) -> tuple[list[int], set[int]]:
    """Return what was removed, and which steps turned out to be damaged."""
    with (
        CheckpointManager(
            args.directory,
            keep_last=args.keep_last or 3,  # as in the library
            keep_every=args.keep_every,
            keep_best=args.keep_best,
            metric=args.metric,
            mode=args.mode,
        ) as manager,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        removed = manager.prune(dry_run=args.dry_run)
    found = [one.message.damage for one in caught if isinstance(one.message, mxio.DamageWarning)]
    return removed, {one.step for damage in found for one in damage}


def _found(manager: CheckpointManager, step: int, verifies: bool) -> _Found:
    path = manager.path(step)
    odd = manager._steps.oddity(step)
    if odd is not None:
        return _Found(StepInfo(step, path, 0, None, {}), [f"it is {odd}"])
    try:
        info = manager.info(step)
    except mxio.MXIOError as error:
        info = StepInfo(step, path, os.path.getsize(path), None, {})
        return _Found(info, [sentence(error)])
    if not verifies:
        return _Found(info, None)
    with Bar(printable(f"verify step {step}")) as progress:
        return _Found(info, [one.what for one in mxio.verify(path, progress=progress)])


def _document(args: argparse.Namespace, found: list[_Found], removed: list[int]) -> dict[str, Any]:
    return {
        "directory": args.directory,
        "steps": [
            {
                "step": info.step,
                "file": os.path.basename(info.path),
                "nbytes": info.nbytes,
                "time": info.time,
                "metrics": {name: jsonable(value) for name, value in info.metrics.items()},
                "verified": None if damage is None else not damage,
                "damage": damage or [],
            }
            for info, damage in found
        ],
        "removed": removed,
    }


def _print(args: argparse.Namespace, found: list[_Found], removed: list[int]) -> None:
    names = list(dict.fromkeys(name for one in found for name in one.info.metrics))
    judged = [one for one in found if one.damage is not None]
    columns = [Column("step", right=True), Column("saved"), Column("bytes", right=True)]
    columns += [Column(shown(name), right=True, gives_way=True) for name in names]
    if judged:
        columns.append(Column("verified"))
    rows = []
    for info, damage in found:
        row = [str(info.step), printable(info.time or "unknown"), f"{info.nbytes:,}"]
        row += [number(info.metrics[n]) if n in info.metrics else "" for n in names]
        if judged:
            row.append("" if damage is None else "damaged" if damage else "yes")
        rows.append(row)
    if rows:
        print_table(columns, rows)
    for info, damage in found:
        for what in damage or ():
            print(f"step {info.step}: {printable(what)}")
    for step in removed:
        print(f"{'would remove' if args.dry_run else 'removed'} step {step}")
    nbytes = sum(one.info.nbytes for one in found)
    print(f"{plural(len(found), 'step')}, {size_of(nbytes)}")
