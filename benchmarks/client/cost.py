"""What the client itself costs, and how fast it can be: `python -m benchmarks.client.cost`.

A figure of the client is only worth something below the rate at which the client is what is slow.
It is measured against a responder in a process of its own that does as little as can be done: it
looks for the end of a request and writes the same answer each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from benchmarks.client.outcomes import Outcome
from benchmarks.client.plan import Plan, Target
from benchmarks.client.process import run, run_in_loop
from benchmarks.client.requests import Request, always
from benchmarks.client.results import Result

RATES_PER_S: Final = (500, 1000, 2000, 4000, 8000, 12_000, 16_000, 24_000, 32_000)
LATE_P99_MAX_US: Final = 10_000
ROUNDS: Final = 3
SECONDS: Final = 2.0
CONNECTIONS: Final = 32
_STOP_S: Final = 10
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@dataclass(frozen=True)
class Step:
    """One open loop at one rate.

    Attributes:
        late_p50_us, late_p99_us: how late requests were begun: the client's own doing here.
        kept: all were answered right, none was given up, and p99 of the lateness is at most
            LATE_P99_MAX_US.
    """

    rate_per_s: int
    ok_per_s: float
    late_p50_us: int
    late_p99_us: int
    cpu_us_per_request: float
    kept: bool


@dataclass(frozen=True)
class Cost:
    """Raw samples, one for each round.

    Attributes:
        closed_per_s: requests a second of the closed loop, as fast as it can.
        closed_cpu_us: the client's processor time for each of them.
        new_connection_cpu_us: the same with a connection for each request.
        steps: open loop at rising rates, up to the first one that was not kept.
    """

    host: dict[str, Any]
    connections: int
    closed_per_s: list[float]
    closed_cpu_us: list[float]
    new_connection_cpu_us: list[float]
    steps: list[Step]

    @property
    def saturation_per_s(self) -> int:
        """The highest rate that was kept; 0 for none."""
        return max((step.rate_per_s for step in self.steps if step.kept), default=0)


def measure(
    target: Target,
    *,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    connections: int = CONNECTIONS,
    rates_per_s: Sequence[int] = RATES_PER_S,
) -> Cost:
    """Measure against `target`, which must be faster than the client and another process.

    Raises RuntimeError where an answer was not right: then the figures would be of failures.
    """

    def closed(keep_alive: bool) -> Result:
        plan = Plan(
            seconds=seconds,
            requests=10_000_000,
            connections=connections,
            keep_alive=keep_alive,
        )
        result = _run(target, plan)
        if result.ok != result.due:
            raise RuntimeError(f"the responder failed: {result.outcomes}")
        return result

    kept, fresh = [], []
    for _ in range(rounds):  # interleaved, so that a busy moment of the machine hits both
        kept.append(closed(keep_alive=True))
        fresh.append(closed(keep_alive=False))
    steps = []
    for rate in rates_per_s:
        steps.append(_step(target, rate, seconds, connections))
        if not steps[-1].kept:
            break
    return Cost(
        host=_host(kept[0].loop),
        connections=connections,
        closed_per_s=[one.ok_per_s for one in kept],
        closed_cpu_us=[one.cpu_us_per_attempt for one in kept],
        new_connection_cpu_us=[one.cpu_us_per_attempt for one in fresh],
        steps=steps,
    )


def _step(target: Target, rate_per_s: int, seconds: float, connections: int) -> Step:
    plan = Plan(rate_per_s=rate_per_s, seconds=seconds, connections=connections, give_up_s=1.0)
    result = _run(target, plan)
    late = result.lateness.summary_us()
    all_right = result.outcomes == {Outcome.OK: result.due}
    return Step(
        rate_per_s=rate_per_s,
        ok_per_s=result.ok_per_s,
        late_p50_us=late["p50"],
        late_p99_us=late["p99"],
        cpu_us_per_request=result.cpu_us_per_attempt,
        kept=all_right and late["p99"] <= LATE_P99_MAX_US,
    )


def _run(target: Target, plan: Plan) -> Result:
    return run_in_loop(lambda: run(target, always(Request()), plan))


def _host(loop: str) -> dict[str, Any]:
    return {
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "loop": loop,
    }


# ---- the responder


class _Responder(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_ANSWER * data.count(b"\r\n\r\n"))
        if b"\r\nConnection: close\r\n" in data:
            self._transport.close()


async def _respond() -> None:
    """Serve until the standard input ends, so also when the parent was killed."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    server = await loop.create_server(_Responder, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await over.wait()
    server.close()


@contextlib.contextmanager
def responder() -> Iterator[Target]:
    """The responder in a process of its own, ended afterwards."""
    command = [sys.executable, "-m", "benchmarks.client.cost", "respond"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield Target("127.0.0.1", port, f"127.0.0.1:{port}")
        finally:
            process.stdin.close()
            process.wait(_STOP_S)


def text(cost: Cost) -> str:
    """The figures for people."""
    lines = [
        f"{cost.host['machine']}, {cost.host['processors']} processors, "
        f"Python {cost.host['python']}, {cost.host['loop']}; medians of {len(cost.closed_per_s)}",
        f"closed loop       {statistics.median(cost.closed_per_s):.0f}/s, "
        f"{statistics.median(cost.closed_cpu_us):.1f} us of processor time per request",
        f"new connections   {statistics.median(cost.new_connection_cpu_us):.1f} us per request",
    ]
    for step in cost.steps:
        kept = "kept" if step.kept else "not kept"
        lines.append(
            f"open {step.rate_per_s:>6}/s     {kept}: {step.ok_per_s:.0f}/s right, late p50 "
            f"{step.late_p50_us} us, p99 {step.late_p99_us} us, "
            f"{step.cpu_us_per_request:.1f} us per request"
        )
    lines.append(f"saturates above   {cost.saturation_per_s}/s")
    return "\n".join(lines)


def main() -> None:
    """Measure and print; `--json` for programs."""
    if sys.argv[1:] == ["respond"]:
        run_in_loop(_respond)
        return
    if sys.argv[1:] not in ([], ["--json"]):
        sys.exit("cost: it takes --json or nothing")
    with responder() as target:
        cost = measure(target)
    shown = json.dumps(asdict(cost), indent=2) if sys.argv[1:] else text(cost)
    sys.stdout.write(shown + "\n")


if __name__ == "__main__":
    main()
