"""One round's load: wrk as fast as it can, or the counting client at a rate of its own."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from benchmarks import wrk
from benchmarks.client import Plan, Request, in_turn, parse_target, run, run_in_loop
from infra.lab.errors import LabError


class Load(NamedTuple):
    """What the client saw.

    Attributes:
        requests: right answers, and there were no others.
        client_busy: of one processor.
        latency_us: percentiles by name; since sent in a closed loop, since due in an open one.
    """

    requests: int
    per_s: float
    client_busy: float
    latency_us: dict[str, float]


def closed(url: str, *, seconds: int, connections: int, script: Path | None = None) -> Load:
    """wrk with one thread. LabError where an answer was wrong: a rate of failures is none."""
    before_s = _children_s()
    done = wrk.run(
        url, seconds=seconds, connections=connections, threads=1, timeout_s=10, script=script
    )
    if not done.clean or not done.requests:
        raise LabError(f"{url}: wrk saw failures: {done.to_json()}")
    busy = (_children_s() - before_s) / done.seconds
    percentiles = {f"p{name}": value for name, value in done.percentiles_us.items()}
    return Load(done.requests, done.requests_per_s, busy, percentiles)


def open_loop(
    url: str, requests: Iterable[Request], *, rate_per_s: float, seconds: float, connections: int
) -> Load:
    """The counting client: `requests` over and over, `rate_per_s` due each second.

    LabError where one failed.
    """
    target, _ = parse_target(url)
    plan = Plan(rate_per_s=rate_per_s, seconds=seconds, connections=connections)
    source = in_turn(cycle(requests))
    done = run_in_loop(lambda: run(target, source, plan))
    if done.ok != done.due or not done.ok:
        raise LabError(f"{url}: {done.outcomes}")
    percentiles = {name: float(value) for name, value in done.latency.summary_us().items()}
    return Load(done.ok, done.ok_per_s, done.cpu_s / done.elapsed_s, percentiles)


def _children_s() -> float:
    """Processor time of children that were waited for: of wrk, for the servers still run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
