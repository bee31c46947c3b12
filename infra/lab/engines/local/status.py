"""One row of `status` from what the supervisor, the system and the server itself say."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from supervisor.states import ProcessStates

from infra.lab.engines.base import ServiceStatus, State
from infra.lab.engines.last_words import last_said
from infra.lab.errors import LabError
from infra.lab.servers.base import Server
from infra.lab.site import Site

LAST_LINE_BYTES = 64 * 1024

_STATES = {
    ProcessStates.STOPPED: State.STOPPED,
    ProcessStates.STARTING: State.STARTING,
    ProcessStates.RUNNING: State.RUNNING,
    ProcessStates.BACKOFF: State.RESTARTING,
    ProcessStates.STOPPING: State.STOPPED,
    ProcessStates.EXITED: State.RESTARTING,
    ProcessStates.FATAL: State.FAILED,
    ProcessStates.UNKNOWN: State.FAILED,
}


def of(server: Server, site: Site, info: Mapping[str, Any] | None, restarts: int) -> ServiceStatus:
    """The row of `server`; `info` is None while the week is down."""
    if info is None:
        return ServiceStatus(server.name, server.kind, State.STOPPED, address=server.address(site))
    state = _STATES[info["state"]]
    if server.one_shot and info["state"] == ProcessStates.EXITED:
        state = State.DONE if info["exitstatus"] == 0 else State.FAILED
    pid = info["pid"] or None
    memory, uptime = None, None
    if pid is not None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_STOPPED:
                state = State.PAUSED
            memory = memory_bytes(process)
            uptime = time.time() - process.create_time()
    return ServiceStatus(
        name=server.name,
        kind=server.kind,
        state=state,
        version=_version(server, site),
        address=server.address(site),
        pid=pid,
        memory_bytes=memory,
        uptime_s=uptime,
        restarts=restarts,
    )


def of_supervisor(pid: int) -> list[ServiceStatus]:
    """The row of supervisord itself, without its children; none when it is gone."""
    try:
        process = psutil.Process(pid)
        row = ServiceStatus(
            name="supervisor",
            kind="supervisord",
            state=State.RUNNING,
            version=version("supervisor"),
            pid=pid,
            memory_bytes=memory_bytes(process, children=False),
            uptime_s=time.time() - process.create_time(),
        )
    except psutil.NoSuchProcess:
        return []
    return [row]


def _version(server: Server, site: Site) -> str:
    try:
        return server.version(site)
    except LabError:
        return "missing"  # removed while it runs; `lab doctor` tells more


def memory_bytes(process: psutil.Process, children: bool = True) -> int | None:
    """Proportional set size of a process and what is below it (Linux), else their unique size.

    Pages shared by several processes count once in all, so the rows add up. None where the
    system tells neither.
    """
    total = 0
    try:
        for member in (process, *(process.children(recursive=True) if children else ())):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                full = member.memory_full_info()
                total += getattr(full, "pss", None) or full.uss
    except (psutil.AccessDenied, AttributeError):
        return None
    return total


def last_line(log: Path, after: int = 0) -> str:
    """What a log said last, in one line; "" when it said nothing.

    Of a Python traceback that is the exception itself, and so it is of one in a JSON log line.

    Args:
        after: bytes at the beginning that do not count (of an earlier run); a smaller file was
            rotated since and counts as a whole.
    """
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            size = file.tell()
            file.seek(max(0, size - LAST_LINE_BYTES, after if after <= size else 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return last_said(lines)
