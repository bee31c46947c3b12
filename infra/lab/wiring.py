"""Which engine serves a topology, and where its state lives: chosen here, for every entry point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from infra.bootstrap import clone_root, lab_home, lab_user
from infra.lab.engines.base import Engine
from infra.lab.engines.local.engine import LocalEngine, LocalSettings
from infra.lab.errors import LabError, UsageError
from infra.lab.instance import load_ports
from infra.lab.site import Account
from infra.lab.topology import Topology

DEFAULT_ENGINE = "local"
ENGINES = (DEFAULT_ENGINE,)

EngineOption = Annotated[
    str, typer.Option("--engine", envvar="LAB_ENGINE", help="Where it runs: local.")
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
    if name not in ENGINES:
        raise UsageError(f"there is no engine {name!r}: engines are {', '.join(ENGINES)}")
    root = lab_home() / declared.week
    if faults:
        through = declared.with_faults()
        direct = local_engine(declared, root, environ)
        if load_ports(root, declared) is not None and direct.is_up():
            raise LabError(
                f"{declared.week} is up with its links direct: `make {declared.week} down` first"
            )
        declared = through
    elif declared.faults is not None:
        through = declared.with_faults()
        if load_ports(root, through) is not None:
            led = local_engine(through, root, environ)
            if faults is None or led.is_up():
                return through, led
    return declared, local_engine(declared, root, environ)


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
