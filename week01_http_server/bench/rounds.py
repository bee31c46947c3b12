"""What is asked of every server in a round, and what it cost them."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import Request
from benchmarks.contest.loads import Load, closed, open_loop
from benchmarks.contest.results import Cell, Round
from benchmarks.contest.rounds import Depth, Say, interleaved
from infra.lab.errors import LabError
from week01_http_server.bench.contestants import Serves
from week01_http_server.bench.processes import Running

CONNECTIONS = 100
SCRIPT = Path(__file__).parent / "hello.lua"
HELLO_REQUESTS = 64
LINE_MIN_BYTES = 40
LOG_QUIET_S = 0.2
LOG_WAIT_S = 20.0


@dataclass(frozen=True)
class Case:
    """One question to all servers.

    Attributes:
        path: of the request; with `script` those of the script.
        rate_per_s: of an open loop by the counting client; None is wrk's closed loop.
    """

    name: str
    says: str
    serves: Serves
    path: str = "/"
    script: Path | None = None
    rate_per_s: int | None = None


def measure(case: Case, servers: Sequence[Running], depth: Depth, say: Say) -> list[Cell]:
    """All rounds of a case. Raises LabError where an answer was wrong."""
    rounds, seconds = depth.of(is_open=case.rate_per_s is not None)
    contestants = {
        server.contestant.name: functools.partial(_one_round, case, server) for server in servers
    }
    return interleaved(case.name, contestants, rounds, seconds, say)


def _one_round(case: Case, server: Running, seconds: int) -> Round:
    cpu_s = server.cpu_s()
    load = _load(case, server, seconds)
    if server.start.logs:
        _wait_for_log(server)  # what is still to be written is part of what the requests cost
    spent_s = server.cpu_s() - cpu_s
    _check_log(server, load.requests)
    cpu_us = spent_s * 1e6 / load.requests
    return Round(load.requests, load.per_s, cpu_us, load.client_busy, load.latency_us)


def _load(case: Case, server: Running, seconds: int) -> Load:
    if case.rate_per_s is None:
        return closed(
            server.url + case.path, seconds=seconds, connections=CONNECTIONS, script=case.script
        )
    return open_loop(
        server.url,
        (_hello(number) for number in range(HELLO_REQUESTS)),
        rate_per_s=case.rate_per_s,
        seconds=seconds,
        connections=CONNECTIONS,
    )


def _wait_for_log(server: Running) -> None:
    """Until it does not grow any more."""
    before = -1
    for _ in range(int(LOG_WAIT_S / LOG_QUIET_S)):
        now = server.log_bytes()
        if now == before:
            return
        before = now
        time.sleep(LOG_QUIET_S)
    raise LabError(f"{server.contestant.name} goes on logging although nobody asks it anything")


def _check_log(server: Running, requests: int) -> None:
    """Who logs has written a line for each answer, who does not has written nothing to speak of."""
    written = server.log_bytes()
    if server.start.logs != (written >= requests * LINE_MIN_BYTES):
        raise LabError(f"{server.contestant.name} logged {written} bytes for {requests} requests")
    server.empty_log()


def _hello(number: int) -> Request:
    """The requests of hello.lua, as the counting client writes them."""
    n = number % HELLO_REQUESTS + 1
    headers = [("User-Agent", f"client {n}"), ("Accept", "*/*"), ("X-Request-Id", f"{n:032x}")]
    if n % 4 == 0:
        headers.append(("Cookie", f"session={'c' * n}"))
    return Request(path=f"/hello/{n}?page={n % 7}", headers=tuple(headers))
