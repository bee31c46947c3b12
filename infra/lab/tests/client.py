"""`python -m infra.lab.tests.client WEEK VERB ROOT OWNER PORTS`: the command's way to run a verb.

A process of its own, so that tests can interrupt and kill it. Prints one line per event; the exit
status is the command's: 0, 1 for a LabError, 130 when interrupted.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import anyio

from infra.lab.engines.base import Event
from infra.lab.errors import LabError
from infra.lab.tests.sample import WEEKS
from infra.lab.wiring import local_engine

INTERRUPTED = 128 + signal.SIGINT


def _print(event: Event) -> None:
    sys.stdout.write(f"{event.name}: {event.text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the verb as infra.lab.cli does."""
    week, verb, root, owner, ports = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        _print(Event("", "began"))
        engine = local_engine(WEEKS[week](), Path(root), json.loads(ports), owner=owner)
        anyio.run(getattr(engine, verb), _print)
    except LabError as error:
        _print(Event("", f"LabError: {error}"))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
