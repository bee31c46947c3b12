"""The rounds: every server once in each of them, so that a busy moment of the machine hits all."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import wrk
from benchmarks.client import Plan, Request, in_turn, parse_target, run, run_in_loop
from infra.lab.errors import LabError
from week01_http_server.bench.contestants import Serves
from week01_http_server.bench.processes import Running
from week01_http_server.bench.results import Cell, Round

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


@dataclass(frozen=True)
class Depth:
    """How long and how often.

    Attributes:
        seconds, rounds: of a closed loop.
        open_seconds, open_rounds: of an open one, whose fewer requests need longer rounds: the
            kernel tells processor time in steps of 10 ms.
    """

    seconds: int
    rounds: int
    open_seconds: int
    open_rounds: int


Say = Callable[[str], None]


def measure(case: Case, servers: Sequence[Running], depth: Depth, say: Say) -> list[Cell]:
    """All rounds of a case, interleaved; before more than one, one that warms up and is not kept.

    Raises LabError where an answer was wrong: its rate would be one of failures.
    """
    many, seconds = depth.rounds, depth.seconds
    if case.rate_per_s is not None:
        many, seconds = depth.open_rounds, depth.open_seconds
    found: dict[str, list[Round]] = {one.contestant.name: [] for one in servers}
    for server in servers if many > 1 else ():
        _one_round(case, server, 1)
    for number in range(many):
        # Turned round by round, so that nobody always runs after the same neighbour.
        turn = number % len(servers)
        for server in [*servers[turn:], *servers[:turn]]:
            name = server.contestant.name
            one = _one_round(case, server, seconds)
            found[name].append(one)
            say(f"{name:<12} {one.per_s:>8.0f}/s {one.cpu_us:>7.1f} us  ({number + 1} of {many})")
    return [Cell(case.name, name, tuple(rounds)) for name, rounds in found.items()]


def _one_round(case: Case, server: Running, seconds: int) -> Round:
    load = _closed if case.rate_per_s is None else _open
    cpu_s = server.cpu_s()
    requests, per_s, busy, latency_us = load(case, server, seconds)
    if server.start.logs:
        _wait_for_log(server)  # what is still to be written is part of what the requests cost
    spent_s = server.cpu_s() - cpu_s
    _check_log(server, requests)
    return Round(requests, per_s, spent_s * 1e6 / requests, busy, latency_us)


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


Load = tuple[int, float, float, dict[str, float]]


def _closed(case: Case, server: Running, seconds: int) -> Load:
    before = _children_s()
    done = wrk.run(
        server.url + case.path,
        seconds=seconds,
        connections=CONNECTIONS,
        threads=1,
        timeout_s=10,
        script=case.script,
    )
    if not done.clean or not done.requests:
        raise LabError(f"{server.contestant.name}, {case.name}: wrk saw failures: {done.to_json()}")
    busy = (_children_s() - before) / done.seconds
    percentiles = {f"p{name}": value for name, value in done.percentiles_us.items()}
    return done.requests, done.requests_per_s, busy, percentiles


def _open(case: Case, server: Running, seconds: int) -> Load:
    target, _ = parse_target(server.url)
    plan = Plan(rate_per_s=case.rate_per_s, seconds=seconds, connections=CONNECTIONS)
    source = in_turn(_hello(number) for number in range(10_000_000))
    done = run_in_loop(lambda: run(target, source, plan))
    if done.ok != done.due or not done.ok:
        raise LabError(f"{server.contestant.name}, {case.name}: {done.outcomes}")
    percentiles = {name: float(value) for name, value in done.latency.summary_us().items()}
    return done.ok, done.ok_per_s, done.cpu_s / done.elapsed_s, percentiles


def _hello(number: int) -> Request:
    """The requests of hello.lua, as the counting client writes them."""
    n = number % HELLO_REQUESTS + 1
    headers = [("User-Agent", f"client {n}"), ("Accept", "*/*"), ("X-Request-Id", f"{n:032x}")]
    if n % 4 == 0:
        headers.append(("Cookie", f"session={'c' * n}"))
    return Request(path=f"/hello/{n}?page={n % 7}", headers=tuple(headers))


def _children_s() -> float:
    """Processor time of children that were waited for: of wrk, for the servers still run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
