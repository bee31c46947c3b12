"""Processes that a killed supervisor left behind: found by what they are, then ended.

Each service writes its number to run/NAME/pid before it becomes the server. A number alone is no
identity (after a reboot it may be anybody's), so a process counts only when its group is a
recorded one, it was created before the record's file was last written, and it still works inside
this instance's folder.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.lab.site import Site

END_TIMEOUT_S = 15
CLOCK_SLACK_S = 2.0


@dataclass(frozen=True)
class Orphan:
    """A leftover process and the service it belonged to."""

    service: str
    process: psutil.Process


def find(site: Site) -> list[Orphan]:
    """Leftovers of this instance. Call it only while no supervisor is alive."""
    recorded = _recorded(site)
    found: dict[int, Orphan] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            service_and_time = recorded.get(os.getpgid(process.pid))
            if service_and_time is None or not _works_in(process, site.root):
                continue
            service, written_at = service_and_time
            leader = process.pid == os.getpgid(process.pid)
            if leader and process.create_time() > written_at + CLOCK_SLACK_S:
                continue
            for member in (process, *process.children(recursive=True)):
                found[member.pid] = Orphan(service, member)
    return list(found.values())


def end(orphans: list[Orphan], stop_signal: Callable[[str], signal.Signals]) -> None:
    """Ask each to stop in its own way, then kill what is left."""
    for orphan in orphans:
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.process.send_signal(signal.SIGCONT)
            orphan.process.send_signal(stop_signal(orphan.service))
    processes = [orphan.process for orphan in orphans]
    _, alive = psutil.wait_procs(processes, timeout=END_TIMEOUT_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=END_TIMEOUT_S)


def _recorded(site: Site) -> dict[int, tuple[str, float]]:
    """Process group to service and the time its record was written."""
    recorded = {}
    for record in (site.root / "run").glob("*/pid"):
        with contextlib.suppress(ValueError, OSError):
            recorded[int(record.read_text())] = (record.parent.name, record.stat().st_mtime)
    return recorded


def _works_in(process: psutil.Process, folder: Path) -> bool:
    return Path(process.cwd()).is_relative_to(folder.resolve())
