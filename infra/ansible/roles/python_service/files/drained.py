"""Waits until nobody is connected to a port of this host: drained.py PORT TIMEOUT_S.

Goes on when the time is over, and says how many were still there: they are the service's own to
finish, which it is given time for when it is told to stop.
"""

from __future__ import annotations

import subprocess
import sys
import time

POLL_S = 0.1


def connections(port: int) -> int:
    """Established connections to the port, seen from the service's side."""
    told = subprocess.run(
        ["ss", "-Htn", "state", "established", f"( sport = :{port} )"],
        capture_output=True,
        text=True,
        check=True,
    )
    return len(told.stdout.splitlines())


def main(port: int, timeout_s: float) -> None:
    """Wait, and print how it ended."""
    deadline_s = time.monotonic() + timeout_s
    while (left := connections(port)) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    print(f"connections left: {left}")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
