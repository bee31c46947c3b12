"""A redirect that asks PostgreSQL beside one that finds its link in Valkey, or in memory."""

from __future__ import annotations

import statistics
from enum import StrEnum
from random import Random
from typing import Final

from benchmarks.client import Ended, Outcome, Plan, in_turn, parse_target, run
from infra.evidence import Figures, Lab, Mechanism, claim
from infra.evidence.figures import quantile
from infra.lab.site import Site
from week04_shortener.checks.inside import empty_cache, forgotten, lookups, superuser
from week04_shortener.checks.many_links import bulk_load
from week04_shortener.checks.stands import WEEK, WITHOUT_CACHE
from week04_shortener.checks.traffic import Followed, Link, follow
from week04_shortener.lab import postgres

STORED: Final = 1_000_000
STORED_QUICK: Final = 100_000
RATE_PER_S: Final = 200.0
"""Light: what is measured is the way that a redirect takes, not how requests wait for others."""

COLD: Final = 150
HOT: Final = 3
"""Links that are followed in turn, each so often that a replica's own memory keeps it."""

_SOME = """
    SELECT code, url FROM links
    WHERE url LIKE 'https://example.org/articles/%' AND deleted_at IS NULL
    OFFSET $1 LIMIT $2
"""
_STORED = "SELECT count(*) FROM links"


class Found(StrEnum):
    """Where a redirect finds its link."""

    COLD = "cold"
    WARM = "warm"
    HOT = "hot"


@claim(
    "w04.cold-warm",
    rows=[27],
    mechanism="cache-aside in two tiers",
    unit="times the median latency of a redirect from memory",
    seeds=range(1, 4),
    limit_s=180.0,
)
class ColdWarm:
    """A warm redirect is quicker than a cold one, and asks the database nothing.

    The roadmap expects 10 to 50 times, between machines. Here all servers are on one: a query
    costs a wake-up, no way through a network, and the way through nginx is the same for all. The
    ratio is to a redirect out of the replica's own memory; to one that asks Valkey it is near 1.
    """

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        site = lab.running().site
        stand = WEEK if mechanism is Mechanism.ON else WITHOUT_CACHE
        stored = await _stored(lab, site)
        links = await _some(site, Random(lab.seed), stored)
        await empty_cache(site)
        door = site.url(stand.front)
        hot = links[:HOT] * (COLD // HOT)
        latency_ms: dict[Found, list[float]] = {}
        queries: dict[Found, int] = {}
        for found, order in ((Found.COLD, links), (Found.WARM, links), (Found.HOT, hot)):
            if found is Found.WARM:
                lab.say("waiting until the replicas have forgotten the links")
                await forgotten(site, stand.replicas)
            lab.say(f"{found} redirects")
            before = await lookups(site)
            latency_ms[found] = await _follow(door, order)
            queries[found] = await lookups(site) - before
        p50 = {found: statistics.median(all_) for found, all_ in latency_ms.items()}
        return Figures(
            unit="times the median latency of a redirect from memory",
            headline="ratio",
            samples={
                "ratio": [p50[Found.COLD] / p50[Found.HOT]],
                "valkey_ratio": [p50[Found.COLD] / p50[Found.WARM]],
                "p99_ratio": [
                    quantile(latency_ms[Found.COLD], 0.99) / quantile(latency_ms[Found.HOT], 0.99)
                ],
                "stored_links": [stored],
                **{f"{found}_queries": [number] for found, number in queries.items()},
                **{f"{found}_latency_ms": all_ for found, all_ in latency_ms.items()},
            },
            attempts=sum(map(len, latency_ms.values())),
            seed=lab.seed,
            notes=[
                f"open loop, {RATE_PER_S:g}/s through nginx, {stored:,} links stored",
                *(
                    f"{found}: p50 {p50[found]:.2f} ms, p99 {quantile(all_, 0.99):.2f} ms"
                    for found, all_ in latency_ms.items()
                ),
            ],
        )

    def judge(self, figures: Figures) -> None:
        [cold], [ratio] = figures["cold_queries"], figures["ratio"]
        assert min(figures["stored_links"]) >= STORED_QUICK, "there are too few links"
        assert cold >= COLD, f"{cold:.0f} queries for {COLD} cold redirects: they were not cold"
        assert figures["warm_queries"] == (0,), "warm redirects asked the database"
        assert figures["hot_queries"] == (0,), "redirects from memory asked the database"
        assert ratio > 1, f"a cold redirect takes {ratio:.2f} times one from memory"


async def _stored(lab: Lab, site: Site) -> int:
    """How many links there are, after those that are missing were made."""
    wanted = STORED if lab.deep else STORED_QUICK
    async with superuser(site, postgres.database) as database:
        there = int(await database.fetchval(_STORED))
    if there < wanted:
        lab.say(f"storing {wanted - there:,} links")
        there = (await bulk_load(site, wanted - there, lab.say)).links
    return there


async def _some(site: Site, random: Random, stored: int) -> list[Link]:
    async with superuser(site, postgres.database) as database:
        rows = await database.fetch(_SOME, random.randrange(stored // 2), COLD)
    links = [Link(row["code"], row["url"]) for row in rows]
    if len(links) != COLD:
        raise RuntimeError(f"only {len(links)} links were found")
    random.shuffle(links)
    return links


async def _follow(door: str, links: list[Link]) -> list[float]:
    """Milliseconds of each, from the time it was due. RuntimeError unless all were right."""
    followed, latency_ms = Followed(), list[float]()

    def note(ended: Ended) -> None:
        followed.note(ended)
        if ended.outcome is Outcome.OK:
            latency_ms.append((ended.ended_s - ended.due_s) * 1000)

    target, _ = parse_target(door)
    plan = Plan(rate_per_s=RATE_PER_S, seconds=len(links) / RATE_PER_S, connections=50)
    await run(target, in_turn(map(follow, links)), plan, observer=note)
    if followed.right != len(links):
        raise RuntimeError(f"not all were redirected: {followed}")
    return latency_ms
