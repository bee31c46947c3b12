"""Makes the engine for a person's machines: its inventory, its tools, its playbooks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from infra.ansible import environment
from infra.bootstrap import clone_root, lab_home
from infra.lab.engines.hetzner.engine import HetznerEngine, HetznerSettings
from infra.lab.errors import LabError, UsageError
from infra.lab.topology import Topology
from infra.lab.weeks import packages

VARIABLE = "INVENTORY"


def hetzner_engine(
    declared: Topology, root: Path, environ: Mapping[str, str], owner: str | None = None
) -> HetznerEngine:
    """The engine of the machines that INVENTORY names; builds Ansible's environment if it must.

    Raises UsageError for an inventory that is missing or a topology that needs the fault proxy,
    LabError for a week without playbooks, BootstrapError when Ansible cannot be installed.
    """
    if declared.faults is not None and declared.faults in declared.servers:
        raise UsageError("links have a fault proxy on the engines local and compose only")
    playbooks = clone_root() / packages(clone_root())[declared.week] / "ansible"
    if not (playbooks / "site.yml").is_file():
        raise LabError(f"{declared.week} has no playbooks: they belong into {playbooks}")
    inventory = inventory_of(environ, playbooks)
    moved = [name for name in environ if name.startswith("PORT") and environ[name]]
    if moved:
        raise UsageError(f"{moved[0]}: the ports of machines are variables of their inventory")
    return HetznerEngine(
        replace(declared, facts={}, faults=None),
        HetznerSettings(
            clone=clone_root(),
            home=lab_home(),
            root=root,
            playbooks=playbooks,
            inventory=inventory,
            environ=environment.variables(environment.ensure()),
        ),
    )


def inventory_of(environ: Mapping[str, str], playbooks: Path) -> Path:
    """The inventory that the user names. Raises UsageError with what to do where that fails."""
    sample = playbooks / "inventory.sample.yml"
    named = environ.get(VARIABLE)
    if not named:
        raise UsageError(f"which machines? INVENTORY=FILE; copy {sample} and put yours in")
    inventory = Path(named).expanduser().resolve()
    if not inventory.exists():
        raise UsageError(f"INVENTORY={named}: there is no such file; {sample} shows what it holds")
    if not os.access(inventory, os.R_OK):
        raise UsageError(f"INVENTORY={named}: it cannot be read, change its mode")
    return inventory
