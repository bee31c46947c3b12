"""What stands fixed about this bench: its report, its base, and what is said below its tables."""

from __future__ import annotations

from benchmarks.contest.contest import Contest
from benchmarks.contest.results import Bench
from benchmarks.contest.table import ratio

ASGI = "ours, ASGI"
ASGI_PEERS = ("granian", "uvicorn")


def among_asgi(bench: Bench, case: str) -> str:
    """The ASGI servers' rates beside each other, in a sentence; "" where there are none."""
    cell = bench.cell(case, ASGI)
    others = [name for name in ASGI_PEERS if bench.cell(case, name) is not None]
    if cell is None or not others or case in bench.open_loop:
        return ""
    told = " and ".join(f"{ratio(bench, cell, 'per_s', name)} of {name}'s" for name in others)
    return f"With the same ASGI app: {told} requests per second."


CONTEST = Contest(
    week="week01",
    package="week01_http_server",
    title="Week 1: this server beside nginx",
    opening="Every server runs alone in one process or worker and answers the same requests of the "
    "same client on the same machine; in each round all take their turn. A ratio is the median of "
    "the ratios within a round. Processor time is what the kernel charged all processes of the "
    "server (user and system), divided by the answers: it says what a request costs even where the "
    "client is what limits the rate.",
    base="nginx",
    remark=among_asgi,
)
