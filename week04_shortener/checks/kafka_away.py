"""Kafka hangs, or is dead for a while, and links are followed all the same."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import Final

from benchmarks.client import Ended, Outcome, Plan, Request, parse_target, run
from infra.evidence import Figures, Lab, Mechanism, claim
from infra.lab.engines.base import Engine
from week04_shortener.checks.books import Books
from week04_shortener.checks.inside import drained, eventually, superuser
from week04_shortener.checks.stands import (
    AWAITS_KAFKA,
    FORWARDER,
    HURRIED_FORWARDER,
    PATIENT,
    WEEK,
)
from week04_shortener.checks.traffic import Followed, follow, follow_all, make_links
from week04_shortener.lab import metric, postgres

LINKS: Final = 5
RATE_PER_S: Final = 60.0
BEFORE_S: Final = 0.7
HANGS_S: Final = 2.0
SLOW_S: Final = 1.0
"""A redirect that takes longer waits for something; the pause is twice as long."""

_COUNTED = """
    SELECT count(*) AS copies, count(DISTINCT event_id) AS clicks
    FROM analytics.clicks WHERE event_id = ANY($1::uuid[])
"""


@claim(
    "w04.queue",
    rows=[28, 111],
    mechanism="a log between the redirect and Kafka",
    unit="redirects slower than 1 s, or failed",
    seeds=range(1, 6),
)
class Queue:
    """Redirects stay quick while Kafka hangs, and each of their clicks is counted afterwards."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        engine = lab.running()
        site, stand = engine.site, WEEK if mechanism is Mechanism.ON else AWAITS_KAFKA
        door = site.url(stand.front)
        links = await make_links(
            door, [f"https://example.org/queue/{lab.seed}/{number}" for number in range(LINKS)]
        )
        await follow_all(door, map(follow, links))
        random, followed, latencies_ms = Random(lab.seed), Followed(), list[float]()

        def request(_number: int) -> Request:
            return follow(random.choice(links))

        def note(ended: Ended) -> None:
            followed.note(ended)
            latencies_ms.append((ended.ended_s - ended.due_s) * 1000)

        target, _ = parse_target(door)
        seconds = BEFORE_S + HANGS_S + BEFORE_S
        plan = Plan(rate_per_s=RATE_PER_S, seconds=seconds, connections=300, timeout_s=10.0)
        async with asyncio.TaskGroup() as group:
            load = group.create_task(run(target, request, plan, observer=note))
            await asyncio.sleep(BEFORE_S)
            lab.say("Kafka hangs")
            await engine.pause("kafka")
            try:
                await asyncio.sleep(HANGS_S)
            finally:
                await engine.resume("kafka")
        lab.say("waiting for the clicks to arrive")
        await drained(site, stand)
        async with superuser(site, postgres.database) as database:
            [row] = await database.fetch(_COUNTED, followed.event_ids)
        slow = sum(one > SLOW_S * 1000 for one in latencies_ms)
        return Figures(
            unit="redirects slower than 1 s, or failed",
            headline="bad",
            samples={
                "bad": [slow + followed.wrong.total()],
                "slow_redirects": [slow],
                "failed_redirects": [followed.wrong.total()],
                "answered_redirects": [followed.right],
                "counted_clicks": [row["clicks"]],
                "again_clicks": [row["copies"] - row["clicks"]],
                "latency_ms": latencies_ms,
            },
            attempts=load.result().due,
            seed=lab.seed,
            notes=[f"open loop, {RATE_PER_S:g}/s, paused for {HANGS_S:g} s; {followed}"],
        )

    def judge(self, figures: Figures) -> None:
        [answered] = figures["answered_redirects"]
        assert answered > 0, "nobody was redirected"
        assert figures["failed_redirects"] == (0,), "redirects failed"
        assert figures["slow_redirects"] == (0,), "redirects waited for Kafka"
        assert figures["counted_clicks"] == (answered,), "answered clicks were not counted"
        assert figures["again_clicks"] == (0,), "clicks were counted twice"


QUICK_OUTAGE_S: Final = 2.0
OUTAGE_S: Final = 30.0
OUTAGE_RATE_PER_S: Final = 50.0
SECONDS_MAX: Final = 150.0
FIRST_ATTEMPTS: Final = 10
"""Until the pause between two attempts has grown to its most; after that less than one a second."""


@claim(
    "w04.outage",
    rows=[28, 86, 87],
    mechanism="retries at growing, random pauses",
    unit="attempts to reach Kafka",
    seeds=range(1, 11),
    limit_s=180.0,
)
class Outage:
    """A dead Kafka costs no link and no click, and is asked ever less often while it is dead."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        engine = lab.running()
        site = engine.site
        forwarder = FORWARDER if mechanism is Mechanism.ON else HURRIED_FORWARDER
        outage_s = OUTAGE_S if lab.deep else QUICK_OUTAGE_S
        door = site.url(WEEK.front)
        targets = [f"https://example.org/outage/{lab.seed}/{number}" for number in range(LINKS)]
        links = await make_links(door, targets)
        books, stop = Books(links, Random(lab.seed)), asyncio.Event()
        target, _ = parse_target(door)
        plan = Plan(
            rate_per_s=OUTAGE_RATE_PER_S, seconds=SECONDS_MAX, connections=200, timeout_s=5.0
        )
        # The forwarders that are compared carry the clicks of one replica each of another stand.
        other = site.url(PATIENT.front)
        async with asyncio.TaskGroup() as group:
            load = group.create_task(
                run(target, books.request, plan, observer=books.note, stop=stop)
            )
            try:
                await asyncio.sleep(BEFORE_S)
                lab.say(f"Kafka is dead for {outage_s:g} s")
                before = await _failures(engine, forwarder)
                await engine.kill("kafka")
                dead_s = time.monotonic()
                await follow_all(other, [follow(link) for link in links * 4])
                await asyncio.sleep(max(0.0, dead_s + outage_s - time.monotonic()))
                lab.say("starting Kafka")
                await engine.start(["kafka"])
                took_s = time.monotonic() - dead_s
                attempts = await _failures(engine, forwarder) - before
                await asyncio.sleep(BEFORE_S)
            finally:
                stop.set()
        lab.say("waiting for the clicks to arrive")
        await drained(site, WEEK)
        held = await books.held_against(site)
        result = load.result()
        return Figures(
            unit="attempts to reach Kafka",
            headline="attempts",
            samples={
                "attempts": [attempts],
                "outage_s": [took_s],
                "lost_links": [len(held.links.lost)],
                "lost_clicks": [len(held.clicks.lost)],
                "doubled_links": [len(held.links.duplicated)],
                "doubled_clicks": [len(held.clicks.duplicated)],
                "miscounted_clicks": [held.miscounted],
                "acknowledged_clicks": [held.clicks.acknowledged],
                "indeterminate_operations": [held.links.indeterminate + held.clicks.indeterminate],
                "failed_requests": [result.due - result.outcomes.get(Outcome.OK, 0)],
            },
            attempts=result.due,
            seed=lab.seed,
            notes=[f"{result.due} requests at {OUTAGE_RATE_PER_S:g}/s: {result.outcomes}"],
        )

    def judge(self, figures: Figures) -> None:
        [attempts], [outage_s] = figures["attempts"], figures["outage_s"]
        assert min(figures["acknowledged_clicks"]) > 0, "no click was acknowledged"
        assert figures["failed_requests"] == (0,), "requests failed while Kafka was dead"
        assert figures["lost_links"] == (0,), "acknowledged links are lost"
        assert figures["lost_clicks"] == (0,), "acknowledged clicks are lost"
        assert figures["doubled_links"] == (0,), "links were stored twice"
        assert figures["doubled_clicks"] == (0,), "clicks were counted twice"
        assert figures["miscounted_clicks"] == (0,), "totals are not the sums of the clicks"
        assert attempts >= 1, "the forwarder never tried: the outage was none"
        assert attempts <= FIRST_ATTEMPTS + outage_s, f"{attempts:.0f} attempts in {outage_s:.0f} s"


async def _failures(engine: Engine, forwarder: str) -> int:
    """Attempts of a forwarder that failed, ever, once it answers."""
    found = 0.0

    async def answers() -> bool:
        nonlocal found
        found = await metric(engine.site, (forwarder,), "shortener_forward_failures_total")
        return True

    await eventually(f"{forwarder} tells its attempts", answers)
    return int(found)
