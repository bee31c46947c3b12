"""Verbs that hand over to another program: tests, checks, a bench, and the week's own commands.

What that program says goes to the terminal as it is, and its exit status becomes the verb's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from infra.bootstrap import clone_root
from infra.lab import wiring
from infra.lab.engines.base import Engine
from infra.lab.errors import LabError, UsageError
from infra.lab.topology import Topology
from infra.lab.weeks import packages, topology

_FURTHER_WORDS = {"allow_extra_args": True, "ignore_unknown_options": True}


def add(app: typer.Typer, week: str) -> None:
    """Add the verbs of `week` to `app`."""
    _add_test_and_check(app, week)
    _add_bench(app, week)
    _add_run(app, week)


def _add_test_and_check(app: typer.Typer, week: str) -> None:
    @app.command(context_settings=_FURTHER_WORDS)
    def test(context: typer.Context) -> None:
        """The week's tests; further words go to pytest."""
        root = clone_root()
        _hand_over([sys.executable, "-m", "pytest", packages(root)[week], *context.args], root)

    @app.command()
    def check(
        claims: Annotated[
            list[str] | None, typer.Argument(help="Only these, such as `herd`; all by default.")
        ] = None,
        deep: Annotated[bool, typer.Option("--deep", help="All seeds and repetitions.")] = False,
        seed: Annotated[int | None, typer.Option(envvar="SEED", help="Repeat one.")] = None,
        target: Annotated[
            str | None, typer.Option(envvar="TARGET", help="Address of a service of your own.")
        ] = None,
        target_dsn: Annotated[
            str | None, typer.Option(envvar="TARGET_DSN", help="Its PostgreSQL.")
        ] = None,
        engine: wiring.EngineOption = wiring.DEFAULT_ENGINE,
    ) -> None:
        """Measure the week's claims and their controls, on servers of their own."""
        from infra.evidence.run import run_checks  # pytest comes with the development lock

        _choose(engine)
        if engine in wiring.REMOTE and target is None:
            declared, lab = wiring.engine(topology(clone_root(), week), engine, os.environ)
            target = lab.site.url(declared.front)
        package = packages(clone_root())[week]
        status = run_checks(
            package,
            deep=deep,
            seed=seed,
            target=target,
            target_dsn=target_dsn,
            claims=claims or (),
        )
        raise typer.Exit(status)


def _add_bench(app: typer.Typer, week: str) -> None:
    @app.command(context_settings=_FURTHER_WORDS)
    def bench(context: typer.Context, engine: wiring.EngineOption = wiring.DEFAULT_ENGINE) -> None:
        """Measure the week's speed beside others'; further words go to the week's own bench."""
        _choose(engine)
        root = clone_root()
        package = packages(root)[week]
        if not (root / package / "bench" / "__main__.py").is_file():
            raise LabError(f"{week} has no bench: `./lab {week} check` measures its claims")
        _hand_over([sys.executable, "-m", f"{package}.bench", *context.args], root)


def _add_run(app: typer.Typer, week: str) -> None:
    # From the first word on all belong to the command, those with dashes too.
    @app.command(context_settings={**_FURTHER_WORDS, "allow_interspersed_args": False})
    def run(context: typer.Context, engine: wiring.EngineOption = wiring.DEFAULT_ENGINE) -> None:
        """One of the week's own commands, on what runs: `run dead-letters list`; alone: which."""
        declared, lab = wiring.engine(topology(clone_root(), week), engine, os.environ)
        raise typer.Exit(run_own(declared, lab, context.args))


def run_own(declared: Topology, lab: Engine, words: Sequence[str]) -> int:
    """Run the week's own command that `words` name; returns its exit status.

    Without words it tells which there are. It gets the environment of the week's processes. Raises
    UsageError for a week that has no commands, LabError while the week is down.
    """
    if declared.command is None:
        raise UsageError(f"{declared.week} has no commands of its own")
    if not lab.is_up():
        raise LabError(f"{declared.week} is not up: `make {declared.week} up`")
    launch = declared.command.launch(lab.site)
    environ = {**os.environ, **launch.env}
    return subprocess.run(
        [*launch.argv, *(words or ("--help",))], cwd=lab.site.clone, env=environ, check=False
    ).returncode


def _choose(engine: str) -> None:
    """Tell those who make instances of their own which engine to take. Raises UsageError."""
    wiring.maker(engine)
    os.environ[wiring.VARIABLE] = engine


def _hand_over(command: list[str], root: Path) -> None:
    raise typer.Exit(subprocess.run(command, cwd=root, check=False).returncode)
