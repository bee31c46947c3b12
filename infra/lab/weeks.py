"""Which weeks there are, and their topologies."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from infra.lab.errors import LabError, UsageError
from infra.lab.topology import Topology


def packages(clone: Path) -> dict[str, str]:
    """Weeks that can run, `week04` to `week04_shortener`, in order.

    Raises UsageError when two folders claim one week (a copy that somebody made).
    """
    found: dict[str, str] = {}
    for lab_file in sorted(clone.glob("week[0-9][0-9]_*/lab.py")):
        week = lab_file.parent.name.split("_")[0]
        if week in found:
            raise UsageError(
                f"two folders say they are {week}: {found[week]} and {lab_file.parent.name}; "
                f"rename one"
            )
        found[week] = lab_file.parent.name
    return found


def title(clone: Path, package: str) -> str:
    """The week's own title: the heading of its README, else its package's name."""
    try:
        with (clone / package / "README.md").open() as readme:
            return readme.readline().lstrip("# ").strip() or package
    except OSError:
        return package


def topology(clone: Path, week: str) -> Topology:
    """The topology that `week` declares. Raises UsageError for a week that is not there."""
    package = packages(clone).get(week)
    if package is None:
        known = ", ".join(packages(clone)) or "none yet"
        raise UsageError(f"there is no {week}: weeks that run are {known}")
    try:
        module = importlib.import_module(f"{package}.lab")
    except ModuleNotFoundError as error:
        if error.name is None or re.match(r"week\d\d|infra", error.name):
            raise
        raise LabError(
            f"{week} needs the package {error.name}: run `./lab {week} up`, which installs it"
        ) from error
    declared: Topology = module.topology
    return declared
