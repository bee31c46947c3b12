"""`make week01 bench`: the whole measurement. Wiring and progress only."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import wrk
from benchmarks.client.process import allow_descriptors
from benchmarks.contest import command
from benchmarks.contest.command import say
from benchmarks.contest.results import Bench, Cell, Idle
from benchmarks.contest.rounds import Depth
from benchmarks.measurement import here
from infra.lab import wiring
from infra.lab.engines.local.ports import free_ports
from infra.lab.errors import UsageError
from week01_http_server.bench import contestants, idle
from week01_http_server.bench.about import CONTEST
from week01_http_server.bench.body import BODY
from week01_http_server.bench.contestants import CONTESTANTS, FILES, PLAIN, Serves, Start
from week01_http_server.bench.processes import Running, running
from week01_http_server.bench.rounds import CONNECTIONS, SCRIPT, Case, measure

RATE_PER_S = 4000
IDLE_CONNECTIONS = 10_000
DESCRIPTORS = 12_000
SIZES = {"10k.bin": 10 * 1024, "1m.bin": 1024 * 1024}

CASES = (
    Case(
        "hello",
        "wrk, closed loop, 64 different heads in turn, no pipelining, access log off",
        Serves.HELLO,
        script=SCRIPT,
    ),
    Case(
        "hello, logged",
        "the same with the access log on, written to a file",
        Serves.LOGGED,
        script=SCRIPT,
    ),
    Case(
        "10 KB file",
        "wrk, closed loop, one file of 10,240 bytes",
        Serves.FILES,
        f"/{FILES}/10k.bin",
    ),
    Case(
        "1 MB file",
        "wrk, closed loop, one file of 1,048,576 bytes",
        Serves.FILES,
        f"/{FILES}/1m.bin",
    ),
    Case(
        "hello, open loop",
        f"the counting client, {RATE_PER_S} requests due each second whatever the server does, "
        "latency since a request was due, access log off",
        Serves.HELLO,
        rate_per_s=RATE_PER_S,
    ),
)
FULL = Depth(seconds=2, rounds=6, open_seconds=3, open_rounds=3)
QUICK = Depth(seconds=1, rounds=1, open_seconds=1, open_rounds=1)


@contextlib.contextmanager
def everybody(folder: Path) -> Iterator[list[Running]]:
    """Each contestant once for each thing it serves; all run all the time, all but one idle."""
    wanted = [(one, serves) for one in CONTESTANTS for serves in Serves if serves in one.serves]
    site = folder / "site"
    (site / FILES).mkdir(parents=True)
    for name, size in SIZES.items():
        (site / FILES / name).write_bytes(bytes(65 + number % 26 for number in range(size)))
    with contextlib.ExitStack() as ends:
        started = []
        for number, (one, serves) in enumerate(wanted):
            start = Start(free_ports(1)[0], serves, site, folder / f"{number}-{one.name}")
            started.append(ends.enter_context(running(one, start)))
        for server in started:
            _ready(server)
        yield started


def _ready(server: Running) -> None:
    if server.start.serves is Serves.FILES:
        for name, size in SIZES.items():
            server.wait_until_ready(f"/{FILES}/{name}", size)
    else:
        # Ours without an app says its process number as well.
        length = None if server.contestant is PLAIN else len(BODY)
        server.wait_until_ready("/hello/1", length)
    server.empty_log()


def run(quick: bool) -> Bench:
    """Measure everything. Raises LabError where a server fails, or a program is missing."""
    if (name := wiring.chosen(os.environ)) != wiring.DEFAULT_ENGINE:
        raise UsageError(f"this bench starts its servers by itself: leave ENGINE={name} away")
    environment, began = here(), time.monotonic()
    allow_descriptors(DESCRIPTORS)
    depth = QUICK if quick else FULL
    cells: list[Cell] = []
    idles: list[Idle] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        say("starting the servers")
        with everybody(Path(folder)) as servers:
            connections = IDLE_CONNECTIONS // (10 if quick else 1)
            say(f"memory of {connections} idle connections")
            idles = _idle(servers, connections)
            for case in CASES:
                say(f"{case.name}: {case.says}")
                of_case = [one for one in servers if one.start.serves is case.serves]
                cells += measure(case, of_case, depth, lambda line: say(f"  {line}"))
    return Bench(
        environment=environment,
        quick=quick,
        seconds=round(time.monotonic() - began, 1),
        parameters=_parameters(depth),
        servers={one.name: one.says for one in CONTESTANTS},
        versions={**contestants.versions(), "wrk": _wrk_version()},
        cases={case.name: case.says for case in CASES},
        open_loop=tuple(case.name for case in CASES if case.rate_per_s),
        cells=tuple(cells),
        idle=tuple(idles),
    )


def _idle(servers: Sequence[Running], connections: int) -> list[Idle]:
    found = []
    for server in servers:
        if server.start.serves is Serves.HELLO:
            found.append(idle.measure(server, connections))
            say(f"  {server.contestant.name:<12} {found[-1].each_bytes / 1024:>6.1f} KiB each")
    return found


def _parameters(depth: Depth) -> dict[str, str]:
    return {
        "topology": "client and servers on one machine, over 127.0.0.1; all servers are up all "
        "the time, one at a time is asked",
        "connections": f"{CONNECTIONS}, keep-alive, no pipelining",
        "clients": "closed loop: wrk, one thread; open loop: the counting client, one process",
        "workers": "one of each server",
        "closed loop": f"{depth.rounds} rounds of {depth.seconds} s for each server, interleaved",
        "open loop": f"{depth.open_rounds} rounds of {depth.open_seconds} s at {RATE_PER_S}/s",
        "hello": f"{len(BODY)} bytes (ours, plain: some more); 64 heads with different paths, "
        "queries and headers",
        "access log": "to a file where on: nginx's combined format, the others' own defaults, "
        "ours JSON",
    }


def _wrk_version() -> str:
    """wrk prints it and leaves with a status of its own."""
    said = subprocess.run([str(wrk.program()), "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
    return found.group() if found else "unknown"


if __name__ == "__main__":
    sys.exit(command.main(CONTEST, run))
