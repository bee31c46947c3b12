"""What stands fixed about this bench: its report, its base, and what is said below its tables."""

from __future__ import annotations

from benchmarks.contest.contest import Contest
from benchmarks.contest.results import Bench, median

OURS, BASELINE, FLOOR = "ours", "plain", "floor"


def side_by_side(bench: Bench, case: str) -> str:
    """What the plain endpoint costs of ours, in a sentence; "" where one is missing."""
    ours, plain = bench.cell(case, OURS), bench.cell(case, BASELINE)
    if ours is None or plain is None:
        return ""
    cost = median(bench.ratios(plain, "cpu_us", OURS) or [0.0])
    told = ""
    if cost:
        told = f"To answer, the plain endpoint takes {cost:.1f} times the processor time of ours"
    if told and case not in bench.open_loop:
        rate = median(bench.ratios(ours, "per_s", BASELINE))
        told += f", and ours gives {rate:.1f} times as many redirects"
    return told and told + "."


CONTEST = Contest(
    week="week04",
    package="week04_shortener",
    title="Week 4: warm redirects beside a plain endpoint",
    opening="All services run at once as `up` runs them, one contestant is asked at a time, by the "
    "same client on the same machine, and in each round all take their turn. A ratio is the median "
    "of the ratios within a round. Processor time is what the kernel charged the processes that "
    "answer (user and system), divided by the redirects; what the others used, also after the "
    "round until every click was counted, is told apart.",
    base=FLOOR,
    asked="redirect",
    remark=side_by_side,
)
