"""`lab doctor`: what this machine can run, and what is missing for the rest."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.bootstrap import lab_home, lab_user
from infra.lab.engines.local.engine import DISK_FREE_MIN_BYTES
from infra.lab.engines.local.ports import is_free
from infra.lab.errors import LabError
from infra.lab.site import Account, Site
from infra.lab.topology import Topology
from infra.lab.weeks import packages, topology

GIB = 2**30
MEMORY_MIN_BYTES = 2 * GIB


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `missing` says what to do when it is not there."""

    subject: str
    found: str
    missing: str = ""


def show(console: Console, clone: Path) -> int:
    """Print what was found; exit status 1 when a week cannot run here."""
    findings = _machine()
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    blocked = False
    for week in packages(clone):
        try:
            findings += _week(topology(clone, week), clone)
        except LabError as error:
            findings.append(Finding(week, "", str(error)))
    for finding in findings:
        mark = Text("missing", style="red") if finding.missing else Text("ok", style="green")
        table.add_row(mark, finding.subject, finding.missing or finding.found)
        blocked = blocked or bool(finding.missing)
    console.print(table)
    return 1 if blocked else 0


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
        Finding(
            "free disk",
            f"{free / GIB:.1f} GiB",
            "" if free > DISK_FREE_MIN_BYTES else f"{free / GIB:.1f} GiB at {existing}: free some",
        ),
        Finding(
            "free memory",
            f"{memory / GIB:.1f} GiB",
            "" if memory > MEMORY_MIN_BYTES else f"only {memory / GIB:.1f} GiB: end other programs",
        ),
    ]


def _week(declared: Topology, clone: Path) -> list[Finding]:
    """Each real server of the week and whether its ports are free (or its own)."""
    user = lab_user()
    site = Site(
        week=declared.week,
        clone=clone,
        home=lab_home(),
        root=lab_home() / declared.week,
        ports=declared.ports(os.environ),
        secrets={},
        account=Account.named(user) if user else None,
    )
    findings, seen = [], set()
    for server in declared.servers:
        if server.kind in seen:
            continue
        seen.add(server.kind)
        try:
            findings.append(Finding(f"{declared.week}: {server.kind}", server.version(site)))
        except LabError as error:
            findings.append(Finding(f"{declared.week}: {server.kind}", "", str(error)))
    taken = [str(port) for port in site.ports.values() if not is_free(port)]
    text = f"in use (by this week, if it is up): {', '.join(taken)}" if taken else "all free"
    findings.append(Finding(f"{declared.week}: ports", text))
    return findings
