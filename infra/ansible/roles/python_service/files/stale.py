"""Names the units that run with what is no longer so: stale.py ROOT SETTINGS_FOLDER UNIT...

A unit must start anew when its release, its settings or its own file came after its start. What an
earlier, interrupted play has written counts as well as what this one has.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

SYSTEM = Path("/etc/systemd/system")


def is_stale(root: Path, settings: Path, unit: str) -> bool:
    """Whether an active unit must start anew."""
    told = subprocess.run(
        ["systemctl", "show", "-p", "ActiveState,MainPID,ExecMainStartTimestampMonotonic", unit],
        capture_output=True,
        text=True,
        check=True,
    )
    properties = dict(line.split("=", 1) for line in told.stdout.splitlines())
    if properties["ActiveState"] in ("inactive", "failed"):
        return False
    made_of = [settings / f"{unit}.env", SYSTEM / f"{unit}.service"]
    if (pid := properties["MainPID"]) == "0":
        # It has done its work and ended: for the release before, if the link was moved since then.
        made_of.append(root / "current")
    elif not program(pid).startswith(f"{(root / 'current').resolve()}/"):
        return True
    began_s = int(properties["ExecMainStartTimestampMonotonic"]) / 1e6
    offset_s = time.time() - time.monotonic()
    return any(path.lstat().st_mtime > began_s + offset_s for path in made_of)


def program(pid: str) -> str:
    """The file that a process was started from; empty when it is gone."""
    try:
        return Path("/proc", pid, "cmdline").read_bytes().split(b"\0")[0].decode()
    except FileNotFoundError:
        return ""


def main(root: Path, settings: Path, units: list[str]) -> None:
    """Print the units that are stale."""
    for unit in units:
        if is_stale(root, settings, unit):
            print(unit)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
