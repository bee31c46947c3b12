"""What the parts of the compose model share: whose it is, mounts, words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.lab.faults.server import FaultProxy
from infra.lab.servers.base import Server
from infra.lab.servers.python import PythonProcess
from infra.lab.site import Site
from infra.lab.topology import Topology

Model = dict[str, Any]
"""As `docker compose config --format json` prints it, or a part of that."""

LABEL_OWNER = "scaling-lab.owner"


@dataclass(frozen=True)
class Instance:
    """What is particular to one instance.

    Attributes:
        project: the compose project's name.
        site: as this machine sees it.
        user: `uid:gid` that this machine's user reads files of.
        owner: process that it ends with (tests, checks); None for a person's.
    """

    project: str
    topology: Topology
    site: Site
    user: str
    owner: str | None

    @property
    def labels(self) -> dict[str, str]:
        return {LABEL_OWNER: self.owner} if self.owner is not None else {}


def is_ours(server: Server) -> bool:
    """Whether it runs the week's own code."""
    return isinstance(server, PythonProcess) and not isinstance(server, FaultProxy)


def bind(source: Path, target: str, *, read_only: bool = False) -> Model:
    """A folder or file of this machine in a container."""
    # create_host_path would make what is missing, as root: let Docker refuse it.
    mount: Model = {
        "type": "bind",
        "source": dollars(str(source)),
        "target": target,
        "bind": {"create_host_path": False},
    }
    return {**mount, "read_only": True} if read_only else mount


def escaped(words: Iterable[str]) -> list[str]:
    """Compose reads `$` as the beginning of a variable, in the model too."""
    return [dollars(word) for word in words]


def escaped_map(settings: Mapping[str, str]) -> dict[str, str]:
    """The same of the values of an environment."""
    return {name: dollars(value) for name, value in settings.items()}


def dollars(text: str) -> str:
    """The text itself, whatever is in it."""
    return text.replace("$", "$$")
