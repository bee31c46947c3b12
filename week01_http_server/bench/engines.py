"""Week 1 on each engine: `python -m week01_http_server.bench.engines [--hosts URL] [--publish]`."""

from __future__ import annotations

import sys

from benchmarks import engines
from week01_http_server.lab import PACKAGE, topology

ASKED = "A page of 900 bytes from the server on a folder"


def page(_door: str) -> str:
    """A file of the week's own."""
    return "/numbers.txt"


if __name__ == "__main__":
    sys.exit(engines.main(topology, PACKAGE, ASKED, page))
