"""What is comparable of runs of different tools: a rate, two latencies, failures. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.client.results import Result
from benchmarks.locust import LocustResult
from benchmarks.measurement import AnyResult, Run
from benchmarks.wrk import WrkResult
from infra.evidence.figures import shown

NONE = "\N{EN DASH}"
"""Where a table has no figure."""


@dataclass(frozen=True)
class Summary:
    """One run in short; None where its tool does not tell.

    Attributes:
        load: tool, open or closed loop, connections.
        right_per_s: right answers (wrk: all answers) a second.
    """

    load: str
    requests: int
    failed: int
    right_per_s: float | None
    p50_ms: float | None
    p99_ms: float | None


def summary(result: AnyResult) -> Summary:
    """The run in short."""
    if isinstance(result, Result):
        return _of_client(result)
    return _of_wrk(result) if isinstance(result, WrkResult) else _of_locust(result)


def _of_client(result: Result) -> Summary:
    plan = result.plan
    rate = result.intended_per_s
    loop = "closed loop" if rate is None else f"open loop, {rate:g} a second"
    reuse = "kept alive" if plan["keep_alive"] else "new for each request"
    latency = result.latency
    return Summary(
        load=f"counting client, {loop}, {plan['connections']} connections, {reuse}",
        requests=result.due,
        failed=result.due - result.ok,
        right_per_s=result.ok_per_s,
        p50_ms=latency.percentile_us(50) / 1e3 if latency.count else None,
        p99_ms=latency.percentile_us(99) / 1e3 if latency.count else None,
    )


def _of_wrk(result: WrkResult) -> Summary:
    errors = result.connect_errors + result.read_errors + result.write_errors
    threads = f"{result.threads} thread{'s' * (result.threads != 1)}"
    at = {percent: us / 1e3 for percent, us in result.percentiles_us.items()}
    return Summary(
        load=f"wrk, closed loop, {result.connections} connections, {threads}",
        requests=result.requests,
        failed=errors + result.timeouts + result.wrong_status,
        right_per_s=result.requests_per_s,
        p50_ms=at.get("50"),
        p99_ms=at.get("99"),
    )


def _of_locust(result: LocustResult) -> Summary:
    users = max((moment.users for moment in result.course), default=0)
    right = None
    if len(result.course) > 1:
        first, last = result.course[0], result.course[-1]
        done = (last.requests - last.failures) - (first.requests - first.failures)
        seconds = last.at_unix_s - first.at_unix_s
        right = done / seconds if seconds else None
    only = result.rows[0].percentiles_ms if len(result.rows) == 1 else {}
    return Summary(
        load=f"locust, closed loop, {users} users",
        requests=result.requests,
        failed=result.failed,
        right_per_s=right,
        p50_ms=only.get("50"),
        p99_ms=only.get("99"),
    )


def by_label(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The repetitions of each label, in the order in which labels first come."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    return groups


def series(runs: Sequence[Run]) -> dict[str, list[float]]:
    """The samples of some repetitions by figure, unit in its name; those that nobody told lack."""
    named: dict[str, list[float]] = {}
    for run in runs:
        told = summary(run.result)
        figures: Mapping[str, float | None] = {
            "right answers (per second)": told.right_per_s,
            "p50 (ms)": told.p50_ms,
            "p99 (ms)": told.p99_ms,
            **run.figures,
        }
        for name, value in figures.items():
            if value is not None:
                named.setdefault(name, []).append(value)
    return named


def median_and_range(samples: Sequence[float]) -> str:
    """`7.1 (6.9 to 7.4)`; of one sample the sample alone, of none a dash."""
    if not samples:
        return NONE
    middle = shown(statistics.median(samples))
    if len(samples) == 1:
        return middle
    return f"{middle} ({shown(min(samples))} to {shown(max(samples))})"
