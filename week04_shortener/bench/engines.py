"""Week 4 on each engine: `python -m week04_shortener.bench.engines [--hosts URL] [--publish]`."""

from __future__ import annotations

import sys

import anyio

from benchmarks import engines
from week04_shortener.checks.traffic import make_links
from week04_shortener.lab import topology

ASKED = "A warm redirect at the front door, its click logged"


def link(door: str) -> str:
    """A link that was just made there."""
    [made] = anyio.run(make_links, door, ["https://example.org/engines"])
    return f"/{made.code}"


if __name__ == "__main__":
    sys.exit(engines.main(topology, "week04_shortener", ASKED, link))
