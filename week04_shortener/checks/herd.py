"""A hundred requests at once for a link that is not cached: who asks the database."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from random import Random
from typing import Final

from infra.evidence import Figures, Lab, claim
from infra.lab.site import Site
from week04_shortener.checks import outside
from week04_shortener.checks.inside import (
    asked_of_cache,
    empty_cache,
    links_locked,
    lookups,
    told,
)
from week04_shortener.checks.stands import (
    FLIGHT_ALONE,
    LEASE_ALONE,
    PATIENT,
    WITHOUT_FLIGHT,
    Stand,
)
from week04_shortener.checks.traffic import Followed, Link, follow, follow_all, make_links

HERD: Final = 100
HERDS: Final = 5
"""Of each run, one after the other, each for a link of its own."""

REPLICAS: Final = 2
QUERY_S: Final = 0.1
"""How long PostgreSQL is made to take for a herd's query: below the limit on waiting for a lease.
Without that the herd would be as large as the machine is slow."""

ALL_IN_S: Final = 1.5
"""The same without Valkey, at most: until all of the herd have asked; below a query's limit."""

POLL_S: Final = 0.02


class Tier(StrEnum):
    """What keeps a herd from the database."""

    BOTH = "flight and lease"
    LEASE = "lease alone"
    FLIGHT = "flight alone"
    NEITHER = "neither"


class WithoutValkey(StrEnum):
    """What keeps a herd from the database while Valkey is dead."""

    FLIGHT = "flight"
    NEITHER = "neither"


class InProcess(StrEnum):
    """What keeps the herd of one replica from the database."""

    FLIGHT = "flight alone"
    NEITHER = "neither"


STANDS: Final[dict[str, Stand]] = {
    Tier.BOTH: PATIENT,
    Tier.LEASE: LEASE_ALONE,
    Tier.FLIGHT: FLIGHT_ALONE,
    Tier.NEITHER: WITHOUT_FLIGHT,
}


@claim(
    "w04.herd",
    rows=[30, 33],
    mechanism="single flight, and a lease in Valkey",
    unit="database queries for each herd",
    needs={"url", "dsn"},
    seeds=range(1, 6),
    repetitions=2,
    passes=[Tier.BOTH, Tier.LEASE],
    controls=[Tier.FLIGHT, Tier.NEITHER],
)
class Herd:
    """A hundred requests at once for an uncached link, after a restart of Valkey: one query."""

    async def measure(self, lab: Lab, mechanism: Tier) -> Figures:
        if lab.site is None:
            return await _outside(lab)
        stand = STANDS[mechanism]
        links = await _links(lab, stand)
        await told(lab.running().site)
        lab.say("restarting Valkey")
        await lab.running().kill("valkey")
        await lab.running().start(["valkey"])
        return await _herds(lab, stand, links, _for_a_while)

    def judge(self, figures: Figures) -> None:
        right = min(figures["right_redirects"])
        assert right == HERD, f"{right:.0f} of {HERD} redirected right; {figures.notes[0]}"
        assert min(figures["queries"]) >= 1, "a herd cost no query that this role may see"
        assert figures.value == 1, f"one query is expected, seen of each herd: {figures['queries']}"


@claim(
    "w04.herd.in-process",
    rows=[30],
    mechanism="single flight within each replica",
    unit="database queries for each herd",
    needs={"url", "dsn"},
    seeds=range(1, 6),
    repetitions=2,
    passes=[InProcess.FLIGHT],
    controls=[InProcess.NEITHER],
)
class HerdInProcess:
    """Single flight alone lets each replica ask once."""

    async def measure(self, lab: Lab, mechanism: InProcess) -> Figures:
        if lab.site is None:
            return await _outside(lab)
        stand = FLIGHT_ALONE if mechanism is InProcess.FLIGHT else WITHOUT_FLIGHT
        links = await _links(lab, stand)
        await empty_cache(lab.running().site)
        return await _herds(lab, stand, links, _for_a_while)

    def judge(self, figures: Figures) -> None:
        right = min(figures["right_redirects"])
        assert right == HERD, f"{right:.0f} of {HERD} redirected right; {figures.notes[0]}"
        assert min(figures["queries"]) >= 1, "a herd cost no query that this role may see"
        assert figures.value <= REPLICAS, (
            f"one query by each replica is expected, seen of each herd: {figures['queries']}"
        )


@claim(
    "w04.herd.without-valkey",
    rows=[33],
    mechanism="single flight within each replica",
    unit="database queries for each herd",
    seeds=range(1, 6),
    repetitions=2,
    passes=[WithoutValkey.FLIGHT],
    controls=[WithoutValkey.NEITHER],
)
class HerdWithoutValkey:
    """While Valkey is dead each replica asks once for each link of a herd."""

    async def measure(self, lab: Lab, mechanism: WithoutValkey) -> Figures:
        stand = PATIENT if mechanism is WithoutValkey.FLIGHT else WITHOUT_FLIGHT
        links = await _links(lab, stand)
        lab.say("Valkey is dead")
        await lab.running().kill("valkey")
        try:
            return await _herds(lab, stand, links, _until_all_asked)
        finally:
            await lab.running().start(["valkey"])

    def judge(self, figures: Figures) -> None:
        right = min(figures["right_redirects"])
        assert right == HERD, f"{right:.0f} of {HERD} redirected right; {figures.notes[0]}"
        assert min(figures["queries"]) >= 1, "a herd cost no query that this role may see"
        assert max(figures["queries"]) <= REPLICAS, f"queries of each herd: {figures['queries']}"


Hold = Callable[[Site, Stand, int], Awaitable[None]]
"""How long PostgreSQL is held: until it returns. The number is of lookups before the herd."""


async def _for_a_while(_site: Site, _stand: Stand, _before: int) -> None:
    await asyncio.sleep(QUERY_S)


async def _until_all_asked(site: Site, stand: Stand, before: int) -> None:
    deadline_s = time.monotonic() + ALL_IN_S
    while time.monotonic() < deadline_s:
        if await asked_of_cache(site, stand) >= before + HERD:
            return
        await asyncio.sleep(POLL_S)


async def _outside(lab: Lab) -> Figures:
    unit = "database queries for each herd"
    return await outside.herds(lab, herds=HERDS, size=HERD, query_s=QUERY_S, unit=unit)


async def _links(lab: Lab, stand: Stand) -> list[Link]:
    number = Random(lab.seed).getrandbits(64)
    targets = [f"https://example.org/herd/{number:x}/{herd}" for herd in range(HERDS)]
    return await make_links(lab.running().site.url(stand.front), targets)


async def _herds(lab: Lab, stand: Stand, links: list[Link], hold: Hold) -> Figures:
    """A herd for each link, and PostgreSQL's own count of the queries of each."""
    site = lab.running().site
    herds: list[Followed] = []
    queries: list[int] = []
    for number, link in enumerate(links, 1):
        lab.say(f"herd {number} of {len(links)}")
        before = await lookups(site)
        herds.append(await _herd(site, stand, link, functools.partial(hold, site, stand)))
        queries.append(await lookups(site) - before)
        if len(herds[-1].replicas) != REPLICAS:
            raise RuntimeError(f"not both replicas answered: {dict(herds[-1].replicas)}")
    return Figures(
        unit="database queries for each herd",
        headline="queries",
        samples={"queries": queries, "right_redirects": [herd.right for herd in herds]},
        summary="highest",
        attempts=sum(herd.attempts for herd in herds),
        seed=lab.seed,
        notes=[str(herd) for herd in herds],
    )


async def _herd(
    site: Site, stand: Stand, link: Link, hold: Callable[[int], Awaitable[None]]
) -> Followed:
    """All at once follow `link`, and PostgreSQL takes its time to answer."""
    before = await asked_of_cache(site, stand)
    async with asyncio.TaskGroup() as group, links_locked(site):
        herd = group.create_task(
            follow_all(site.url(stand.front), [follow(link)] * HERD, connections=HERD)
        )
        await hold(before)
    return herd.result()
