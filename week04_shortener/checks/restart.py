"""Valkey is restarted while a hundred clients follow links."""

from __future__ import annotations

import asyncio
import math
import time
from enum import StrEnum
from random import Random
from typing import Final

from benchmarks.client import Plan, Request, parse_target, run
from infra.evidence import Figures, Lab, claim
from week04_shortener.cache.aside import local_renewal_s
from week04_shortener.cache.early import HORIZON
from week04_shortener.checks.inside import links_locked, lookups, told
from week04_shortener.checks.stands import WEEK, WITHOUT_FLIGHT
from week04_shortener.checks.traffic import Followed, follow, make_links
from week04_shortener.checks.zipf import Zipf

CLIENTS: Final = 100
LINKS: Final = 10
REPLICAS: Final = 2
WARM_UP_S: Final = 0.5
QUERY_S: Final = 0.1
"""How long PostgreSQL is made to take just after the death, when many miss at once."""

AFTER_S: Final = 1.0
LOCAL_TTL_S: Final = 1.0
"""The setting's default: so long a replica remembers a link of which it hears nothing."""

ASKS_AGAIN_S: Final = LOCAL_TTL_S - HORIZON * local_renewal_s(LOCAL_TTL_S)
"""So often it may ask again for a link that is followed all the time: it renews it early."""

SECONDS_MAX: Final = 40.0
PULSES: Final = 3


class Tier(StrEnum):
    """What stands before the database while Valkey is away."""

    ALL = "memory, flight and lease"
    NONE = "none of them"


@claim(
    "w04.restart",
    rows=[30, 33],
    mechanism="a replica's own memory, single flight, lease",
    unit="database queries for each link of each replica and second",
    seeds=range(1, 6),
    repetitions=2,
    passes=[Tier.ALL],
    controls=[Tier.NONE],
)
class Restart:
    """Valkey restarted under 100 clients: no failed redirect, and queries stay within the bound

    The bound: while Valkey is away or empty a replica asks for a link when its own memory lets it
    go or renews it, so once in ASKS_AGAIN_S, and once at the beginning.
    """

    async def measure(self, lab: Lab, mechanism: Tier) -> Figures:
        engine = lab.running()
        site = engine.site
        door = site.url((WEEK if mechanism is Tier.ALL else WITHOUT_FLIGHT).front)
        targets = [f"https://example.org/restart/{lab.seed}/{number}" for number in range(LINKS)]
        links = await make_links(door, targets)
        await told(site)
        random, ranks = Random(lab.seed), Zipf(LINKS)
        target, _ = parse_target(door)
        followed, stop = Followed(), asyncio.Event()
        plan = Plan(seconds=SECONDS_MAX, connections=CLIENTS, timeout_s=10.0)

        def request(_number: int) -> Request:
            return follow(links[ranks.pick(random)])

        load = asyncio.create_task(run(target, request, plan, observer=followed.note, stop=stop))
        try:
            await asyncio.sleep(WARM_UP_S)
            before, began_s = await lookups(site), time.monotonic()
            lab.say("killing Valkey")
            await engine.kill("valkey")
            for _ in range(PULSES):
                async with links_locked(site):
                    await asyncio.sleep(QUERY_S)
            lab.say("starting Valkey")
            await engine.start(["valkey"])
            await asyncio.sleep(AFTER_S)
            took_s = time.monotonic() - began_s
            queries = await lookups(site) - before
        finally:
            stop.set()
            await load
        each = 1 + math.ceil(took_s / ASKS_AGAIN_S)
        return Figures(
            unit="database queries for each link of each replica and second",
            headline="share",
            samples={
                "share": [queries / (REPLICAS * LINKS * each)],
                "queries": [queries],
                "bound_queries": [REPLICAS * LINKS * each],
                "watched_s": [took_s],
                "right_redirects": [followed.right],
                "failed_redirects": [followed.wrong.total()],
            },
            attempts=followed.attempts,
            seed=lab.seed,
            notes=[f"closed loop, {CLIENTS} clients, Zipf over {LINKS} links; {followed}"],
        )

    def judge(self, figures: Figures) -> None:
        [queries], [bound] = figures["queries"], figures["bound_queries"]
        assert figures["failed_redirects"] == (0,), "redirects failed"
        assert min(figures["right_redirects"]) > CLIENTS, "hardly anybody was redirected"
        assert queries >= 1, "nobody asked the database: Valkey was not away"
        assert queries <= bound, f"{queries:.0f} queries, the bound is {bound:.0f}"
