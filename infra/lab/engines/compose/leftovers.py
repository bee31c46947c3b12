"""What instances of dead owners left behind: found by their labels, and removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from infra.lab.engines.compose import docker
from infra.lab.engines.compose.containers import PROJECT_LABEL
from infra.lab.engines.compose.parts import LABEL_OWNER
from infra.lab.errors import LabError
from infra.lab.owner import Owner

_KINDS = (
    (("container", "ls", "--all"), ("container", "rm", "--force", "--volumes")),
    (("network", "ls"), ("network", "rm")),
    (("volume", "ls"), ("volume", "rm", "--force")),
)
_FORMAT = f'{{{{.Label "{LABEL_OWNER}"}}}} {{{{.Label "{PROJECT_LABEL}"}}}}'


def remove() -> list[str]:
    """Remove containers, networks and volumes whose owner has ended; the names of the projects."""
    projects = dead_projects(
        line
        for listing, _ in _KINDS
        for line in docker.ask(
            "asking for leftovers",
            *listing,
            "--filter",
            f"label={LABEL_OWNER}",
            "--format",
            _FORMAT,
        ).splitlines()
    )
    for project in projects:
        label = f"label={PROJECT_LABEL}={project}"
        for listing, removing in _KINDS:
            ids = docker.ask("asking", *listing, "--quiet", "--filter", label).split()
            if ids:
                with contextlib.suppress(LabError):  # another run removes the same right now
                    docker.ask("removing leftovers", *removing, *ids)
    return projects


def dead_projects(lines: Iterable[str]) -> list[str]:
    """Projects of the lines `OWNER PROJECT` whose owner lives no more, each once."""
    found = []
    for line in lines:
        owner, _, project = line.strip().partition(" ")
        with contextlib.suppress(ValueError):  # somebody else's label: not for us to judge
            if project and project not in found and not Owner(owner).lives():
                found.append(project)
    return found
