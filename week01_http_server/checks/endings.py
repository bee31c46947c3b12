"""What clients notice of a reload and of an end: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final

import psutil

from benchmarks.client import Plan, Request, Result, always, parse_target, run
from infra.evidence import Figures, Lab, Mechanism, claim
from infra.lab.errors import LabError
from week01_http_server.checks.stands import ABRUPT, ROLLING
from week01_http_server.checks.variants import WORKERS

RATE_PER_S: Final = 150
SECONDS: Final = 6.0
RELOADS_S: Final = (1.0, 3.5)
SLOW: Final = Request(path="/slow?s=0.05")
"""Long enough that some requests are always in flight."""

IN_FLIGHT: Final = 100
ENDED_S: Final = 1.0
LAST: Final = Request(path="/slow?s=2")
REPLACED_S: Final = 20.0
POLL_S: Final = 0.05


def _stand(mechanism: Mechanism) -> str:
    return ROLLING if mechanism is Mechanism.ON else ABRUPT


@claim(
    "w01.reload",
    rows=[154],
    mechanism="new workers first, then the old ones finish",
    unit="failed requests",
    repetitions=5,
)
class Reload:
    """Reloads under load fail no request, on kept connections and on new ones."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        name = _stand(mechanism)
        target, _ = parse_target(lab.running().site.url(name))
        loads = [
            run(
                target,
                always(SLOW),
                Plan(rate_per_s=RATE_PER_S, seconds=SECONDS, keep_alive=keep, connections=60),
            )
            for keep in (True, False)
        ]
        (kept, fresh), replaced = await asyncio.gather(_both(*loads), _reload(lab, name))
        ends = Counter(kept.outcomes) + Counter(fresh.outcomes)
        due = kept.due + fresh.due
        return Figures(
            unit="failed requests",
            headline="failed",
            samples={
                "failed": [float(due - ends["ok"])],
                "workers_replaced": [float(replaced)],
                "p99_ms": [one.latency.percentile_us(99) / 1000 for one in (kept, fresh)],
            },
            attempts=due,
            seed=lab.seed,
            notes=[f"{many} {what}" for what, many in ends.items() if what != "ok"],
        )

    def judge(self, figures: Figures) -> None:
        replaced = sum(figures["workers_replaced"])
        assert replaced == WORKERS * len(RELOADS_S), f"only {replaced:.0f} workers were replaced"
        assert figures.value == 0, f"{figures.value:.0f} of {figures.attempts} requests failed"


async def _both(
    one: Coroutine[Any, Any, Result], other: Coroutine[Any, Any, Result]
) -> tuple[Result, Result]:
    return await asyncio.gather(one, other)


async def _reload(lab: Lab, name: str) -> int:
    """SIGHUP at the times set; how many workers were replaced by that."""
    began, replaced = asyncio.get_running_loop().time(), 0
    for at_s in RELOADS_S:
        await asyncio.sleep(began + at_s - asyncio.get_running_loop().time())
        master = _master(lab, name)
        old = _workers(master)
        lab.say(f"SIGHUP to {name}")
        os.kill(master.pid, signal.SIGHUP)
        for _ in range(int(REPLACED_S / POLL_S)):
            now = _workers(master)
            if len(now) == WORKERS and not now & old:
                replaced += len(old)
                break
            await asyncio.sleep(POLL_S)
    return replaced


def _master(lab: Lab, name: str) -> psutil.Process:
    row = next(row for row in lab.running().status() if row.name == name)
    if row.pid is None:
        raise LabError(f"{name} does not run")
    return psutil.Process(row.pid)


def _workers(master: psutil.Process) -> set[int]:
    alive = set()
    for one in master.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended since children() was asked
            if one.status() != psutil.STATUS_ZOMBIE:
                alive.add(one.pid)
    return alive


@claim(
    "w01.drain",
    rows=[154],
    mechanism="SIGTERM lets requests in flight finish",
    unit="failed requests",
    repetitions=5,
)
class Drain:
    """A server told to end answers all that it has begun."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        name, engine = _stand(mechanism), lab.running()
        target, _ = parse_target(engine.site.url(name))
        plan = Plan(requests=IN_FLIGHT, connections=IN_FLIGHT, seconds=ENDED_S, timeout_s=20)
        load = asyncio.create_task(run(target, always(LAST), plan))
        await asyncio.sleep(ENDED_S)
        lab.say(f"SIGTERM to {name}")
        try:
            await engine.stop([name])
            result = await load
        finally:
            await engine.start([name])
        ends = {what: many for what, many in result.outcomes.items() if what != "ok"}
        return Figures(
            unit="failed requests",
            headline="failed",
            samples={"failed": [float(result.due - result.ok)]},
            attempts=result.due,
            seed=lab.seed,
            notes=[f"{many} {what}" for what, many in ends.items()],
        )

    def judge(self, figures: Figures) -> None:
        assert figures.attempts == IN_FLIGHT, f"only {figures.attempts} requests were in flight"
        assert figures.value == 0, f"{figures.value:.0f} of {figures.attempts} requests failed"
