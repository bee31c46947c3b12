"""Reloads nginx and waits until the new configuration is in force: reload.py MASTER_PID NGINX...

A reload is over when no worker with the old configuration takes connections any more; those that
finish requests say so in their title. Ends with status 1 and one line when the configuration is
wrong, in which case the old one stays, or when nginx does not take it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TIMEOUT_S = 30.0
POLL_S = 0.02
WORKING = b"nginx: worker process"


def workers(master: int) -> set[int]:
    """Workers that take connections."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text()
    return {pid for pid in map(int, children.split()) if _title(pid) == WORKING}


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ")
    except FileNotFoundError:
        return b""


def main(master: int, command: list[str]) -> None:
    """Check the configuration, reload, wait."""
    tested = subprocess.run([*command, "-t", "-q"], capture_output=True, text=True, check=False)
    if tested.returncode != 0:
        sys.exit(f"not reloaded: {tested.stderr.strip().splitlines()[0]}")
    old = workers(master)
    deadline_s = time.monotonic() + TIMEOUT_S
    os.kill(master, signal.SIGHUP)
    while True:
        working = workers(master)
        if working and not working & old:
            return
        if time.monotonic() > deadline_s:
            sys.exit(f"nginx has not taken its new configuration within {TIMEOUT_S:g} s")
        time.sleep(POLL_S)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
