"""A result as text for a terminal. Pure."""

from __future__ import annotations

from benchmarks.client.histogram import Distribution
from benchmarks.client.outcomes import Outcome
from benchmarks.client.recorder import Progress
from benchmarks.client.results import Result

_OUTAGES_SHOWN = 5


def progress_line(progress: Progress) -> str:
    """Where a run stands, in one line."""
    unsent = f", {progress.unsent} unsent" if progress.unsent else ""
    return (
        f"{progress.elapsed_s:5.0f} s  {progress.ok} right, {progress.faults} failed{unsent}, "
        f"{progress.in_flight} in flight"
    )


def text(result: Result) -> str:
    """What people read first: the rate, every outcome, latency, outages."""
    plan = result.plan
    if result.intended_per_s is None:
        mode = f"closed loop, {plan['connections']} connections"
        rate = f"{result.ok_per_s:.0f}/s right"
    else:
        mode = f"open loop, at most {plan['connections']} in flight"
        rate = (
            f"{result.intended_per_s:g}/s intended, {result.sent_per_s:.1f}/s sent, "
            f"{result.ok_per_s:.1f}/s right"
        )
    reuse = "keep-alive" if plan["keep_alive"] else "a connection per request"
    lines = [
        f"{result.target}  {mode}, {reuse}, {result.loop}",
        f"rate          {rate}, in {result.elapsed_s:.1f} s",
        f"requests      {result.due}: " + _counts(result.outcomes),
    ]
    if result.retries:
        lines.append(
            f"retries       {result.retries}, {result.recovered} requests recovered; "
            f"failed attempts: {_counts(result.failed_attempts)}"
        )
    if result.resets_on_reused:
        lines.append(f"              {result.resets_on_reused} resets on a reused connection")
    since = "since due" if result.intended_per_s is not None else "since sent"
    lines.append(f"latency       {_latency(result.latency)}  ({since}, right answers)")
    if result.intended_per_s is not None:
        lines.append(f"service time  {_latency(result.service_time)}  (since sent)")
        lines.append(f"client late   {_latency(result.lateness)}")
    if result.failure_time.count:
        lines.append(f"failed after  {_latency(result.failure_time)}")
    lines += _outages(result)
    lines.append(
        f"client        {result.cpu_us_per_attempt:.1f} us of processor time per request, "
        f"{result.connections_opened} connections opened"
    )
    if result.ended_by != "time":
        lines.append(f"NOTE          ended before its time, by: {result.ended_by}")
    if result.count(Outcome.CLIENT_LIMIT):
        lines.append("NOTE          this machine ran out of ports or descriptors: see client_limit")
    return "\n".join(lines)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{many} {name}" for name, many in counts.items()) or "none"


def _latency(distribution: Distribution) -> str:
    figures = distribution.summary_us()
    if not figures:
        return "no values"
    return "  ".join(f"{name} {_ms(value)}" for name, value in figures.items())


def _ms(value_us: int) -> str:
    return f"{value_us / 1000:.3f} ms" if value_us < 10_000 else f"{value_us / 1000:.0f} ms"


def _outages(result: Result) -> list[str]:
    if not result.outages:
        return ["outages       none"]
    lines = [f"outages       {result.outage_count}, together {result.outage_total_s:.3f} s"]
    longest = sorted(result.outages, key=lambda one: -one.duration_s)[:_OUTAGES_SHOWN]
    for one in longest:
        end = "" if one.ended else ", still failing at the end"
        lines.append(
            f"              {one.duration_s * 1000:.0f} ms from {one.start_s:.3f} s on, "
            f"{one.failures} failed{end}"
        )
    return lines
