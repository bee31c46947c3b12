"""Processes that a killed supervisor left behind: found by what they are, then ended.

Each service writes its number to run/NAME/pid before it becomes the server. A number alone is no
identity (after a reboot it may be anybody's), so a process counts only when its group is a
recorded one, the group's leader (where it still lives) began when the record was written, and it
still works inside this instance's folder. One that has not come to write its number yet is known
by the environment, which it has from this instance's supervisor.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.lab.engines.local.plugin import LOCK_VARIABLE, lock_of
from infra.lab.servers.base import Server
from infra.lab.site import Site

UNNAMED = "a service about to start"
"""What the supervisor forked last: no server yet, so SIGKILL harms nothing."""

END_TIMEOUT_S = 15
RECORD_SLACK_S = 10.0
"""How long after its birth a process may write its record, on a machine out of breath."""


@dataclass(frozen=True)
class Orphan:
    """A leftover process and the service it belonged to."""

    service: str
    process: psutil.Process


@dataclass(frozen=True)
class _Record:
    """Who wrote run/NAME/pid, and when."""

    service: str
    written_at: float


def find(site: Site, servers: Sequence[Server]) -> list[Orphan]:
    """Leftovers of this instance. Call it only while no supervisor is alive."""
    recorded = _recorded(site)
    folder = site.root.resolve()
    found: dict[int, Orphan] = {}
    for process in psutil.process_iter():
        # Most processes are somebody else's: gone by now, or not for us to look into.
        with contextlib.suppress(psutil.Error, OSError):
            if not Path(process.cwd()).is_relative_to(folder):
                continue
            service = (
                _service_of(process, recorded)
                or _owner_of(process, site, servers)
                or _unrecorded(process, site)
            )
            if service is None:
                continue
            found.setdefault(process.pid, Orphan(service, process))
            for child in process.children(recursive=True):
                found.setdefault(child.pid, Orphan(service, child))
    return list(found.values())


def end(orphans: list[Orphan], stop_signal: Callable[[str], signal.Signals]) -> None:
    """Ask each to stop in its own way, then kill what is left."""
    for orphan in orphans:
        with contextlib.suppress(psutil.Error):
            orphan.process.send_signal(signal.SIGCONT)
            orphan.process.send_signal(stop_signal(orphan.service))
    processes = [orphan.process for orphan in orphans]
    _, alive = psutil.wait_procs(processes, timeout=END_TIMEOUT_S)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=END_TIMEOUT_S)


def _recorded(site: Site) -> dict[int, _Record]:
    """The record of each process group; none from before the machine started."""
    recorded = {}
    for file in (site.root / "run").glob("*/pid"):
        with contextlib.suppress(ValueError, OSError):
            number = int(file.read_text())
            record = _Record(file.parent.name, file.stat().st_mtime)
            if record.written_at >= psutil.boot_time() - RECORD_SLACK_S:
                recorded[number] = record
    return recorded


def _service_of(process: psutil.Process, recorded: dict[int, _Record]) -> str | None:
    """The service whose recorded group `process` is in, unless the number has a new holder.

    A group outlives its leader, and its number is given to nobody while it does: members of a
    group whose leader died are the ones it had.
    """
    group = os.getpgid(process.pid)
    record = recorded.get(group)
    if record is None:
        return None
    try:
        is_ours = abs(psutil.Process(group).create_time() - record.written_at) <= RECORD_SLACK_S
    except psutil.NoSuchProcess:
        is_ours = process.create_time() >= record.written_at - RECORD_SLACK_S
    return record.service if is_ours else None


def _owner_of(process: psutil.Process, site: Site, servers: Sequence[Server]) -> str | None:
    """The service that knows `process` as its own although it left the group."""
    for server in servers:
        if server.owns(site, process):
            return server.name
    return None


def _unrecorded(process: psutil.Process, site: Site) -> str | None:
    """The service that a process of this instance's supervisor is about to become."""
    environment = process.environ()
    if environment.get(LOCK_VARIABLE) != str(lock_of(site.root)):
        return None
    return environment.get("SUPERVISOR_PROCESS_NAME", UNNAMED)
