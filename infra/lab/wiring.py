"""Which engine serves a topology, and where its state lives: chosen here, for every entry point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from infra.bootstrap import clone_root, lab_home, lab_user
from infra.lab.engines.base import Engine
from infra.lab.engines.compose.engine import ComposeEngine
from infra.lab.engines.compose.project import ComposeSettings
from infra.lab.engines.hetzner.making import hetzner_engine
from infra.lab.engines.local.engine import LocalEngine, LocalSettings
from infra.lab.errors import LabError, UsageError
from infra.lab.instance import load_ports
from infra.lab.site import Account
from infra.lab.topology import Topology
from infra.lab.weeks import packages

DEFAULT_ENGINE = "local"
VARIABLE = "LAB_ENGINE"
"""The user's variable that names the engine; make's ENGINE= sets it."""

EngineOption = Annotated[
    str, typer.Option("--engine", envvar=VARIABLE, help="Where it runs: local, compose or hetzner.")
]
"""The option of each verb that works on an engine."""


def engine(
    declared: Topology, name: str, environ: Mapping[str, str], faults: bool | None = None
) -> tuple[Topology, Engine]:
    """The engine called `name` for a person's own instance of a week, and the topology it runs.

    Args:
        faults: whether `up` leads the links through the fault proxy, unless the week is up
            already; None for all other verbs: as it was led at the last `up`.

    Raises UsageError for an engine that does not exist, or a week without links, and LabError for
    links that cannot be led anew because the week is up.
    """
    make = maker(name)
    root = root_of(declared.week, name)
    if name in REMOTE:
        # Facts ask this machine's ports.
        declared = replace(declared, facts={})
    if faults:
        through = declared.with_faults()
        if load_ports(root, declared) is not None and make(declared, root, environ, None).is_up():
            raise LabError(
                f"{declared.week} is up with its links direct: `make {declared.week} down` first"
            )
        declared = through
    elif declared.faults is not None:
        through = declared.with_faults()
        if load_ports(root, through) is not None:
            led = make(through, root, environ, None)
            if faults is None or led.is_up():
                return through, led
    return declared, make(declared, root, environ, None)


def root_of(week: str, name: str) -> Path:
    """Folder of a person's own instance: each engine's data is its own."""
    return lab_home() / (week if name == DEFAULT_ENGINE else f"{week}-{name}")


def maker(name: str) -> EngineMaker:
    """What makes engines of that name. Raises UsageError where there is no such engine."""
    if name not in ENGINES:
        raise UsageError(f"there is no engine {name!r}: engines are {', '.join(ENGINES)}")
    return ENGINES[name]


def chosen(environ: Mapping[str, str]) -> str:
    """The engine that the user's variables name. Raises UsageError for one that does not exist."""
    name = environ.get(VARIABLE) or DEFAULT_ENGINE
    maker(name)
    return name


def require_publishable(environ: Mapping[str, str]) -> None:
    """Raises UsageError unless figures of the engine in use are those that are published."""
    name = chosen(environ)
    if name != DEFAULT_ENGINE:
        raise UsageError(f"published figures are those of ENGINE={DEFAULT_ENGINE}, not of {name}")


def local_engine(
    declared: Topology, root: Path, environ: Mapping[str, str], owner: str | None = None
) -> LocalEngine:
    """Real servers as processes, with their state in `root`.

    Args:
        owner: `pid:creation time` of the process that must not be survived; None for a person's.
    """
    user = lab_user()
    return LocalEngine(
        declared,
        LocalSettings(
            clone=clone_root(),
            home=lab_home(),
            root=root,
            account=Account.named(user) if user else None,
            environ=environ,
            owner=owner,
        ),
    )


def compose_engine(
    declared: Topology, root: Path, environ: Mapping[str, str], owner: str | None = None
) -> ComposeEngine:
    """The containers of the week's compose.yaml, with their state in `root`."""
    clone, user = clone_root(), lab_user()
    package = packages(clone).get(declared.week)
    if package is None:
        raise UsageError(f"{declared.week} has no compose.yaml: it runs on ENGINE=local")
    return ComposeEngine(
        declared,
        ComposeSettings(
            clone=clone,
            home=lab_home(),
            root=root,
            folder=clone / package,
            images_of=declared.week,
            account=Account.named(user) if user else None,
            environ=environ,
            owner=owner,
        ),
    )


EngineMaker = Callable[[Topology, Path, Mapping[str, str], str | None], Engine]

ENGINES: Mapping[str, EngineMaker] = {
    DEFAULT_ENGINE: local_engine,
    "compose": compose_engine,
    "hetzner": hetzner_engine,
}
REMOTE = ("hetzner",)
"""Of these nobody gets an instance of his own: what runs there is asked as a target is."""
