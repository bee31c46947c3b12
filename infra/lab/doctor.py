"""`lab doctor`: what this machine can run, and what is missing for the rest."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.bootstrap import lab_home, lab_user
from infra.lab.engines.compose import docker
from infra.lab.engines.local.engine import DISK_FREE_MIN_BYTES
from infra.lab.engines.local.ports import is_free
from infra.lab.errors import LabError
from infra.lab.site import Account, Site
from infra.lab.weeks import packages, topology

GIB = 2**30
MEMORY_MIN_BYTES = 2 * GIB


class Mark(StrEnum):
    """What a finding means; the colour it is shown in."""

    OK = "green"
    LATER = "yellow"
    MISSING = "red"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, or what to do about it."""

    subject: str
    text: str
    mark: Mark = Mark.OK


def show(console: Console, clone: Path) -> int:
    """Print what was found; exit status 1 when a week cannot run here."""
    findings = [*_machine(), _compose()]
    for week in packages(clone):
        findings += _week(week, clone)
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        mark = Text(finding.mark.name.lower(), style=finding.mark.value)
        table.add_row(mark, finding.subject, finding.text)
    console.print(table)
    return 1 if any(finding.mark is Mark.MISSING for finding in findings) else 0


def _machine() -> list[Finding]:
    home = lab_home()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    memory = psutil.virtual_memory().available
    user = lab_user()
    return [
        Finding("system", f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"),
        Finding("Python", platform.python_version()),
        Finding("user", f"root; servers that refuse root run as {user}" if user else "ordinary"),
        Finding("state and environment", str(home)),
        _enough("free disk", free, DISK_FREE_MIN_BYTES, f"at {existing}: free some"),
        _enough("free memory", memory, MEMORY_MIN_BYTES, "left: end other programs"),
    ]


def _enough(subject: str, found: int, least: int, otherwise: str) -> Finding:
    if found >= least:
        return Finding(subject, f"{found / GIB:.1f} GiB")
    return Finding(subject, f"only {found / GIB:.1f} GiB {otherwise}", Mark.MISSING)


def _compose() -> Finding:
    """Whether containers can run here; weeks run without."""
    try:
        version = docker.ask("docker", "version", "--format", "{{.Server.Version}}").strip()
        compose = docker.ask("docker", "compose", "version", "--short").strip()
    except LabError as error:
        return Finding("ENGINE=compose", str(error), Mark.LATER)
    return Finding("ENGINE=compose", f"Docker {version}, Compose {compose}")


def _week(week: str, clone: Path) -> list[Finding]:
    """The week's real servers, whether its ports are free (or its own), and which verbs work."""
    try:
        declared = topology(clone, week)
    except LabError as not_installed:
        return [Finding(f"{week}: environment", str(not_installed), Mark.LATER)]
    user = lab_user()
    site = Site(
        week=week,
        clone=clone,
        home=lab_home(),
        root=lab_home() / week,
        ports=declared.ports(os.environ),
        secrets={},
        account=Account.named(user) if user else None,
    )
    servers = {server.kind: server for server in declared.servers}
    findings = []
    for kind, server in servers.items():
        try:
            findings.append(Finding(f"{week}: {kind}", server.version(site)))
        except LabError as error:
            findings.append(Finding(f"{week}: {kind}", str(error), Mark.MISSING))
    taken = [str(port) for port in site.ports.values() if not is_free(port)]
    text = f"in use (by this week, if it is up): {', '.join(taken)}" if taken else "all free"
    findings.append(Finding(f"{week}: ports", text))
    blocked = any(finding.mark is Mark.MISSING for finding in findings)
    verbs = "logs, test and clean only" if blocked else "all, with the engine local"
    findings.append(Finding(f"{week}: verbs", verbs, Mark.MISSING if blocked else Mark.OK))
    return findings
