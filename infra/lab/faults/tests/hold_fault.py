"""`python -m infra.lab.faults.tests.hold_fault KIND ARGUMENTS`: holds it until it is killed."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

from infra.lab.faults import disk
from infra.lab.faults.clock import set_offset
from infra.lab.faults.guard import guarded


def main() -> None:
    """Print the proof, then wait for ever."""
    kind, *arguments = sys.argv[1:]
    with contextlib.ExitStack() as held:
        if kind == "clock":
            held.enter_context(guarded("set-clock-right", arguments[0]))
            set_offset(Path(arguments[0]), 3600)
        elif kind == "disk":
            held.enter_context(disk.small_disk(Path(arguments[0]), 256 * 1024))
            held.enter_context(disk.full(Path(arguments[0])))
        elif kind == "quota":
            held.enter_context(disk.quota(int(arguments[0]), 0))
        sys.stdout.write("held\n")
        sys.stdout.flush()
        time.sleep(60)


if __name__ == "__main__":
    main()
