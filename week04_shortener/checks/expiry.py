"""A hot entry is made to expire under load: who asks the database."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Final

from benchmarks.client import Plan, always, parse_target, run
from infra.evidence import Figures, Lab, claim
from week04_shortener.checks.inside import links_locked, lookups
from week04_shortener.checks.stands import PATIENT, WITHOUT_FLIGHT
from week04_shortener.checks.traffic import Followed, follow, make_links
from week04_shortener.checks.valkey import entry_keys, valkey

CONNECTIONS: Final = 50
EXPIRIES: Final = 3
WARM_UP_S: Final = 0.3
QUERY_S: Final = 0.15
"""How long PostgreSQL is made to take while the entry is gone, so that it is missed by many."""

SECONDS_MAX: Final = 30.0


class Tier(StrEnum):
    """What keeps those who miss from the database."""

    BOTH = "flight and lease"
    NEITHER = "neither"


@claim(
    "w04.expiry",
    rows=[30, 32],
    mechanism="single flight, and a lease in Valkey",
    unit="database queries for each expiry",
    seeds=range(1, 6),
    repetitions=2,
    passes=[Tier.BOTH],
    controls=[Tier.NEITHER],
)
class Expiry:
    """A hot link whose entry is made to expire under load costs one query and no failure."""

    async def measure(self, lab: Lab, mechanism: Tier) -> Figures:
        site = lab.running().site
        door = site.url((PATIENT if mechanism is Tier.BOTH else WITHOUT_FLIGHT).front)
        [link] = await make_links(door, [f"https://example.org/expiry/{lab.seed}"])
        target, _ = parse_target(door)
        followed, stop, queries = Followed(), asyncio.Event(), list[int]()
        plan = Plan(seconds=SECONDS_MAX, connections=CONNECTIONS, timeout_s=10.0)
        load = asyncio.create_task(
            run(target, always(follow(link)), plan, observer=followed.note, stop=stop)
        )
        try:
            async with valkey(site) as client:
                for number in range(EXPIRIES):
                    lab.say(f"EXPIRE key 0 ({number + 1} of {EXPIRIES})")
                    await asyncio.sleep(WARM_UP_S)
                    before = await lookups(site)
                    [key] = await entry_keys(client, link.code)
                    async with links_locked(site):
                        expired = await client.expire(key, 0)
                        await asyncio.sleep(QUERY_S)
                    await asyncio.sleep(WARM_UP_S)
                    if not expired:
                        raise RuntimeError("there was no entry that could expire")
                    queries.append(await lookups(site) - before)
        finally:
            stop.set()
            await load
        return Figures(
            unit="database queries for each expiry",
            headline="queries",
            samples={
                "queries": queries,
                "right_redirects": [followed.right],
                "failed_redirects": [followed.wrong.total()],
            },
            summary="highest",
            attempts=followed.attempts,
            seed=lab.seed,
            notes=[f"closed loop, {CONNECTIONS} clients; {followed}"],
        )

    def judge(self, figures: Figures) -> None:
        assert figures["failed_redirects"] == (0,), "redirects failed"
        assert set(figures["queries"]) == {1}, f"queries of each expiry: {figures['queries']}"
