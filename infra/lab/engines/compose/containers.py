"""One container as `docker inspect` tells of it, and the row of `status` made of that."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from infra.lab.engines.base import ServiceStatus, State
from infra.lab.engines.local.status import memory_bytes
from infra.lab.errors import LabError
from infra.lab.faults.server import FaultProxy
from infra.lab.servers.base import Server
from infra.lab.servers.python import PythonProcess
from infra.lab.site import Site

SERVICE_LABEL = "com.docker.compose.service"
PROJECT_LABEL = "com.docker.compose.project"
NAMESPACE_DIR = Path("/proc")
GROUPS_DIR = Path("/sys/fs/cgroup")

_STATES = {
    "created": State.STOPPED,
    "running": State.RUNNING,
    "paused": State.PAUSED,
    "restarting": State.RESTARTING,
    "removing": State.STOPPED,
    "exited": State.STOPPED,
    "dead": State.FAILED,
}


@dataclass(frozen=True)
class Container:
    """What matters of one container.

    Attributes:
        pid: of its first process, on the machine that Docker runs on; 0 while there is none.
        first_is_init: whether that is Docker's own `init`, with the server as its child.
    """

    id: str
    name: str
    service: str
    status: str
    exit_code: int
    error: str
    pid: int
    first_is_init: bool
    restarts: int
    started_at: datetime
    image: str
    environment: Mapping[str, str]
    labels: Mapping[str, str]

    @property
    def lives(self) -> bool:
        """Whether its server runs, or does not because it is paused."""
        return self.status in ("running", "paused")


def parse(found: Mapping[str, Any]) -> Container:
    """Of one entry of `docker container inspect`. Raises LabError for what is none."""
    try:
        state, config = found["State"], found["Config"]
        pairs = [text.partition("=") for text in config.get("Env") or ()]
        return Container(
            id=str(found["Id"]),
            name=str(found["Name"]).lstrip("/"),
            service=str((config.get("Labels") or {}).get(SERVICE_LABEL, "")),
            status=str(state["Status"]),
            exit_code=int(state["ExitCode"]),
            error=str(state.get("Error") or ""),
            pid=int(state["Pid"]),
            first_is_init=bool((found.get("HostConfig") or {}).get("Init")),
            restarts=int(found.get("RestartCount") or 0),
            started_at=_moment(str(state["StartedAt"])),
            image=str(config["Image"]),
            environment={name: value for name, _, value in pairs},
            labels=dict(config.get("Labels") or {}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"Docker tells of a container without its {error}: update Docker") from error


def state_of(container: Container | None, one_shot: bool) -> State:
    """What its service is doing."""
    if container is None:
        return State.STOPPED
    if one_shot and container.status == "exited":
        return State.DONE if container.exit_code == 0 else State.FAILED
    return _STATES.get(container.status, State.FAILED)


def row(server: Server, site: Site, container: Container | None) -> ServiceStatus:
    """The service's line of `status`."""
    state = state_of(container, server.one_shot)
    if container is None or not container.lives:
        return ServiceStatus(
            server.name, server.kind, state, version_of(server, container), server.address(site)
        )
    process = process_of(container)
    return ServiceStatus(
        name=server.name,
        kind=server.kind,
        state=state,
        version=version_of(server, container),
        address=server.address(site),
        pid=process.pid if process is not None else None,
        memory_bytes=_memory_bytes(container, process),
        uptime_s=max(0.0, (datetime.now(UTC) - container.started_at).total_seconds()),
        restarts=container.restarts,
    )


def version_of(server: Server, container: Container | None) -> str:
    """The tag of the image that runs; of ours, which has none that tells, Python's own version."""
    if container is None:
        return ""
    if isinstance(server, PythonProcess) and not isinstance(server, FaultProxy):
        return container.environment.get("PYTHON_VERSION", "")
    return container.image.rpartition(":")[2]


def process_of(container: Container) -> psutil.Process | None:
    """The server's own process; None where Docker's machine is not this one, or it is gone.

    A number that Docker tells may be anybody's here (Docker Desktop runs in a machine of its own):
    it counts only when the kernel puts the process into that very container.
    """
    if not container.pid:
        return None
    try:
        groups = (NAMESPACE_DIR / str(container.pid) / "cgroup").read_text()
        if container.id not in groups:
            return None
        first = psutil.Process(container.pid)
        if not container.first_is_init:
            return first
        children = first.children()
        return min(children, key=lambda child: child.create_time()) if children else first
    except (OSError, psutil.Error):
        return None


def _memory_bytes(container: Container, process: psutil.Process | None) -> int | None:
    """As on every engine where the system tells (of one's own processes, or root); else what the
    kernel charges the container, without the pages of files that it could drop."""
    if process is None:
        return None
    return memory_bytes(process) or charged_bytes(container)


def charged_bytes(container: Container) -> int | None:
    """The container's memory by its control group, version 1 or 2; None where there is none."""
    try:
        groups = (NAMESPACE_DIR / str(container.pid) / "cgroup").read_text().splitlines()
        for controllers, path in (line.split(":", 2)[1:] for line in groups):
            if controllers not in ("", "memory"):
                continue
            folder = GROUPS_DIR / controllers / path.lstrip("/")
            used = folder / ("memory.usage_in_bytes" if controllers else "memory.current")
            if used.is_file():
                droppable = "total_inactive_file" if controllers else "inactive_file"
                stat = dict(
                    one.split() for one in (folder / "memory.stat").read_text().splitlines()
                )
                return max(0, int(used.read_text()) - int(stat.get(droppable, 0)))
    except (OSError, ValueError):
        return None
    return None


def _moment(text: str) -> datetime:
    """Docker writes nanoseconds, `datetime` reads microseconds."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    with contextlib.suppress(ValueError):
        moment = moment.replace(microsecond=int(fraction[:6].ljust(6, "0")) if fraction else 0)
    return moment
