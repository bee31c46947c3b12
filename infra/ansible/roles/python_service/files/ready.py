"""Waits until a unit runs a release and answers: ready.py UNIT RELEASE_FOLDER TIMEOUT_S [URL].

Ends with one line that says what is missing when the time is over.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

POLL_S = 0.1
ASK_TIMEOUT_S = 3.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def missing(unit: str, release: Path, url: str) -> str:
    """What the unit lacks to be ready; empty when it is."""
    pid = subprocess.run(
        ["systemctl", "show", "--property", "MainPID", "--value", unit],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if pid == "0":
        return "it does not run"
    # Not /proc/PID/cwd: in a container root may lack the capability to read that of others.
    try:
        program = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")[0].decode()
    except FileNotFoundError:
        return "it does not run"
    if not program.startswith(f"{release}/"):
        return f"it runs {program}, which is not of {release}"
    if not url:
        return ""
    try:
        with DIRECT.open(url, timeout=ASK_TIMEOUT_S) as answer:
            return "" if answer.status == 200 else f"{url} answers {answer.status}"
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}"
    except OSError as error:
        return f"{url}: {getattr(error, 'reason', error)}"


def main(unit: str, release: Path, timeout_s: float, url: str) -> None:
    """Wait; exits with status 1 when the unit is not ready in time."""
    deadline_s = time.monotonic() + timeout_s
    while lacks := missing(unit, release, url):
        if time.monotonic() > deadline_s:
            sys.exit(f"{unit} is not ready after {timeout_s:g} s: {lacks} (journalctl -u {unit})")
        time.sleep(POLL_S)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), "".join(sys.argv[4:5]))
