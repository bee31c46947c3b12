"""The counting client: HTTP/1.1 load that counts every request under what became of it.

    target, path = parse_target("http://127.0.0.1:8400/healthy")
    plan = Plan(rate_per_s=500, seconds=10)
    result = run_in_loop(lambda: run(target, always(Request(path=path)), plan))
    result.outcomes, result.latency.percentile_us(99), result.outages

The pure parts decide and count (`schedule`, `outcomes`, `answers`, `histogram`, `outages`,
`recorder`); `load`, `connection`, `alarm` and `process` do the I/O around them.
"""

from benchmarks.client.histogram import Distribution, Histogram, merged
from benchmarks.client.operations import Ended, Observer
from benchmarks.client.outages import Outage
from benchmarks.client.outcomes import Outcome
from benchmarks.client.plan import Plan, Target, named_target, parse_target
from benchmarks.client.process import run, run_in_loop
from benchmarks.client.recorder import Progress
from benchmarks.client.requests import Answer, Check, Request, Source, always, in_turn
from benchmarks.client.results import Result, Second

__all__ = [
    "Answer",
    "Check",
    "Distribution",
    "Ended",
    "Histogram",
    "Observer",
    "Outage",
    "Outcome",
    "Plan",
    "Progress",
    "Request",
    "Result",
    "Second",
    "Source",
    "Target",
    "always",
    "in_turn",
    "merged",
    "named_target",
    "parse_target",
    "run",
    "run_in_loop",
]
