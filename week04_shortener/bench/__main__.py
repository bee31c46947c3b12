"""`make week04 bench`: all rounds of all contestants, then report and table."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import anyio

from benchmarks.contest import command
from benchmarks.contest.command import say
from benchmarks.contest.results import Bench as Results
from benchmarks.contest.results import Cell
from benchmarks.contest.rounds import Depth
from benchmarks.measurement import here
from infra.lab import wiring
from infra.lab.pytest_plugin import running
from week04_shortener.bench.about import CONTEST
from week04_shortener.bench.rounds import CONNECTIONS, Bench, Case
from week04_shortener.bench.stands import DIRECT, PROXIED, with_others
from week04_shortener.bench.traffic import DIFFERENT, EXPONENT, LINKS, script, visits
from week04_shortener.checks.traffic import make_links

RATE_PER_S = 1000
SEED = 4
PUBLISH = "--publish"
"""The word of the command line; benchmarks.contest.command takes it."""

VERSIONS_OF = ("nginx", "api1", "postgres", "valkey", "kafka")

CASES = (
    Case("one replica", "wrk, closed loop, one API process asked directly", DIRECT),
    Case("behind nginx", "wrk, closed loop, two API processes behind nginx", PROXIED),
    Case(
        "one replica, open loop",
        f"the counting client, {RATE_PER_S} redirects due each second whatever the server does, "
        "latency since a redirect was due",
        DIRECT,
        RATE_PER_S,
    ),
    Case(
        "behind nginx, open loop",
        f"the same through nginx, {RATE_PER_S} redirects due each second",
        PROXIED,
        RATE_PER_S,
    ),
)
FULL = Depth(seconds=2, rounds=6, open_seconds=5, open_rounds=3)
QUICK = Depth(seconds=1, rounds=1, open_seconds=1, open_rounds=1)


def run(quick: bool) -> Results:
    """Measure everything. Raises LabError where a server fails, or a program is missing."""
    if PUBLISH in sys.argv:
        wiring.require_publishable(os.environ)
    environment, began_s = here(), time.monotonic()
    depth = QUICK if quick else FULL
    cells: list[Cell] = []
    say("starting the services")
    with running(with_others) as engine, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        versions = {row.name: f"{row.kind} {row.version}".strip() for row in engine.status()}
        say(f"making {LINKS} links")
        targets = [f"https://example.org/bench/{number}" for number in range(LINKS)]
        links = anyio.run(make_links, engine.site.url("nginx"), targets)
        requests = visits(links, SEED)
        bench = Bench(engine, requests, script(requests, Path(folder) / "redirects.lua"))
        for case in CASES:
            say(f"{case.name}: {case.says}")
            cells += bench.measure(case, depth, lambda line: say(f"  {line}"))
    return Results(
        environment=environment,
        quick=quick,
        seconds=round(time.monotonic() - began_s, 1),
        parameters=_parameters(depth),
        servers={one.name: one.says for one in DIRECT},
        versions={name: versions[name] for name in VERSIONS_OF},
        cases={case.name: case.says for case in CASES},
        open_loop=tuple(case.name for case in CASES if case.rate_per_s),
        cells=tuple(cells),
    )


def _parameters(depth: Depth) -> dict[str, str]:
    return {
        "topology": "client and all services on one machine, over 127.0.0.1; nginx with one "
        "worker, each API process one event loop; ours under the server that `up` takes",
        "connections": f"{CONNECTIONS}, keep-alive, no pipelining",
        "links": f"{LINKS}, warm, asked for as Zipf says (exponent {EXPONENT:g}); {DIFFERENT} "
        "different requests with browsers' headers, in turn",
        "closed loop": f"{depth.rounds} rounds of {depth.seconds} s for each, interleaved",
        "open loop": f"{depth.open_rounds} rounds of {depth.open_seconds} s at {RATE_PER_S}/s",
        "logging": "ours: a click for each redirect, and its access line; plain: neither",
    }


if __name__ == "__main__":
    sys.exit(command.main(CONTEST, run))
