"""What Docker says when it refuses, in one line that tells what to do. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.lab.errors import LabError, MissingServerError

SAID_MAX_CHARS = 300

NO_DOCKER = (
    "ENGINE=compose needs Docker, and there is no docker command: install Docker Engine with its "
    "Compose plugin, or leave ENGINE=compose away"
)
NO_DAEMON = "Docker does not answer: start it (`sudo systemctl start docker`, or Docker Desktop)"
NOT_ALLOWED = (
    "this user may not use Docker: `sudo usermod -aG docker $USER`, then log out and in again"
)
NO_PLUGIN = (
    "Docker lacks its Compose plugin: install docker-compose-plugin (Docker's own packages) or "
    "docker-compose (Debian's, from 13 on)"
)


class RefusedError(LabError):
    """Docker did not do what it was told, for a reason that has no line of its own here."""


@dataclass(frozen=True)
class _Reason:
    """What is told instead, where Docker's words match; `{0}` is the pattern's first group."""

    pattern: str
    told: str
    kind: type[LabError] = LabError


_PULLED = (
    "an image cannot be had ({0}): check the network, or say OFFLINE=1 for stand-ins built here"
)

_REASONS = (
    _Reason(r"permission denied while trying to connect", NOT_ALLOWED),
    _Reason(r"Cannot connect to the Docker daemon|error during connect", NO_DAEMON),
    _Reason(
        r"'compose' is not a docker command|unknown command: docker compose"
        r"|unknown (?:shorthand )?flag: ",
        NO_PLUGIN,
        MissingServerError,
    ),
    _Reason(
        r"(pull access denied[^,:\n]*|manifest unknown[^\n]*|manifest for [^\n]* not found"
        r"|toomanyrequests[^\n]*|failed to resolve reference [^\n]*)",
        _PULLED,
    ),
    _Reason(r"(Get \"?https?://[^\n]*)", _PULLED),
    _Reason(r"(lookup [^\n]*(?:no such host|i/o timeout)[^\n]*)", _PULLED),
    _Reason(
        r"Bind for [0-9.]+:(\d+) failed: port is already allocated",
        "port {0} is taken by another container: stop that one, or move this week with PORT=",
    ),
    _Reason(
        r"listen tcp4? [0-9.]+:(\d+): bind: address already in use",
        "port {0} is taken by another program: stop that one, or move this week with PORT=",
    ),
    _Reason(
        r"(?:Pool overlaps with other one|pool overlaps)[^\n]*",
        "another Docker network has these addresses: choose others, for example SUBNET=172.30.84",
    ),
    _Reason(
        r"no space left on device",
        "the disk is full where Docker keeps its data: free some space (`docker system df`)",
    ),
)


def explain(what: str, said: str) -> LabError:
    """The error for a command that failed.

    Args:
        what: was to be done: `starting kafka`.
        said: what Docker wrote.
    """
    for reason in _REASONS:
        if found := re.search(reason.pattern, said):
            return reason.kind(reason.told.format(*(_one_line(group) for group in found.groups())))
    return RefusedError(f"{what}: {_last_line(said) or 'Docker says nothing'}")


def is_overlap(error: LabError) -> bool:
    """Whether it is of addresses that another network has."""
    return "another Docker network has these addresses" in str(error)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:SAID_MAX_CHARS]


def _last_line(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    return _one_line(
        last.strip().removeprefix("images:").removeprefix("Error response from daemon:")
    )
