"""The `starter` verb: a copy of a week's starter, a small service for a learner to fill in.

A starter is `weekNN_name/starter/`: `README.md`, the learner's own `service.py`, and `serve.py`,
which runs it beside servers of its own.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from infra.bootstrap import clone_root
from infra.lab import console
from infra.lab.errors import LabError, UsageError
from infra.lab.weeks import packages

FOLDER = "starter"
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def add(app: typer.Typer, week: str) -> None:
    """Add the verb to the commands of `week`."""

    @app.command()
    def starter(
        folder: Annotated[str, typer.Argument(metavar="DIR", help="A new folder.")] = "",
    ) -> None:
        """Copy the week's starter, a service for you to fill in, into a new folder."""
        copy(clone_root(), week, folder)
        out = console.stdout()
        out.print(f"the starter of {week} is in {folder}\n\nNext:", markup=False)
        for line in next_commands(week, folder):
            out.print(f"  {line}", markup=False)


def copy(clone: Path, week: str, folder: str) -> None:
    """Copy the starter of `week` into `folder`, which is made; all of it or nothing.

    Raises UsageError for a week without a starter or a folder that will not do, LabError where
    something lies in it already, OSError where it cannot be written.
    """
    source = clone / packages(clone)[week] / FOLDER
    if not source.is_dir():
        raise UsageError(f"{week} has no starter")
    if not folder:
        raise UsageError(f"into which folder? `make {week} starter ARGS=../my-{week}`")
    target = Path(folder).expanduser()
    if target.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{folder} lies in the starter itself: choose another folder")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise LabError(f"{folder} is no folder: choose one that is new or empty")
    was_there = target.exists()
    if was_there and any(target.iterdir()):
        raise LabError(f"{folder} is not empty: choose a folder that is new or empty")
    try:
        shutil.copytree(source, target, ignore=_NOT_COPIED, dirs_exist_ok=True)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        if was_there:
            target.mkdir(exist_ok=True)
        raise


def next_commands(week: str, folder: str) -> list[str]:
    """What to do with a copy, in order."""
    target = Path(folder)
    return [
        f"less {shlex.quote(str(target / 'README.md'))}",
        f"./lab --dev python {shlex.quote(str(target / 'serve.py'))}      # Ctrl-C ends it",
        f"make {week} check TARGET=... TARGET_DSN=...      # in another terminal, as serve.py says",
    ]
