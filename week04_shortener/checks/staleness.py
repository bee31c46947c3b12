"""A link is changed, and another deleted, while a replica is about to cache what was before, or has
remembered it for long."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from enum import Enum, auto
from functools import partial
from typing import Final

from benchmarks.client import Outcome, Request
from infra.evidence import Figures, Lab, Mechanism, claim
from infra.lab.site import Site
from week04_shortener.checks.inside import (
    empty_cache,
    eventually,
    forgotten,
    links_locked,
    superuser,
)
from week04_shortener.checks.stands import BELIEVING, CARELESS, WEEK
from week04_shortener.checks.traffic import JSON, Link, ask, follow, follow_all, make_links, said
from week04_shortener.lab import metric, postgres
from week04_shortener.settings import Settings

LOCAL_TTL_S: Final[float] = Settings.model_fields["local_ttl_s"].default
"""The bound that the README states."""

FILLS: Final[int] = Settings.model_fields["fills"].default
"""Lookups that a replica makes at once."""

TOLD_S: Final = 0.3
"""Until the relay has told of the change as well (it looks ten times a second)."""

REMEMBERED_S: Final = 1.5 * LOCAL_TTL_S
"""Links are followed for so long before they change: by then only notices keep them in memory."""

WATCH_S: Final = 2.0
EVERY_S: Final = 0.05
ANY: Final = frozenset(range(200, 600))
GONE: Final = frozenset({404, 410})

_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'links'::regclass"


class Led(Enum):
    """Where somebody who followed a link was led."""

    OLD = auto()
    NEW = auto()
    """To the new target; or told that the link is gone, where it was deleted."""
    ELSEWHERE = auto()


@claim(
    "w04.staleness",
    rows=[26],
    mechanism="versioned entries",
    unit="redirects to the old target after the bound",
    seeds=range(1, 6),
    repetitions=2,
)
class Staleness:
    """A changed or deleted link is followed to where it led for no longer than local_ttl_s."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        engine = lab.running()
        site, stand = engine.site, WEEK if mechanism is Mechanism.ON else CARELESS
        slow = stand.replicas[1]
        targets = [f"https://example.org/stale/{lab.seed}/{number}" for number in range(2)]
        links = await make_links(site.url(stand.front), targets)
        await forgotten(site, stand.replicas)
        await empty_cache(site)
        await _rehearse(site, slow)
        lab.say("a replica reads both links and is stopped before it has written them")
        async with asyncio.TaskGroup() as group:
            async with links_locked(site):
                late = group.create_task(
                    follow_all(site.url(slow), [follow(link) for link in links], connections=2)
                )
                await eventually("the replica's questions wait", partial(_asked, site, len(links)))
                await engine.pause(slow)
            try:
                lab.say("one is changed, the other deleted")
                changed_s = await _change(site.url(stand.replicas[0]), links)
                await asyncio.sleep(TOLD_S)
            finally:
                await engine.resume(slow)
            seen = [one async for one in _watch([site.url(name) for name in stand.replicas], links)]
        return Figures(
            unit="redirects to the old target after the bound",
            headline="stale",
            samples=_samples(seen, changed_s),
            attempts=len(seen) + late.result().attempts,
            seed=lab.seed,
            notes=[f"what the late replica answered: {late.result()}; bound {LOCAL_TTL_S:g} s"],
        )

    def judge(self, figures: Figures) -> None:
        [oldest_s] = figures["oldest_s"]
        assert min(figures["asked_requests"]) > 0, "nobody asked"
        assert figures["other_answers"] == (0,), "answers were neither old nor new"
        assert figures["stale"] == (0,), f"the old target {oldest_s:.1f} s after the change"


@claim(
    "w04.staleness.remembered",
    rows=[26],
    mechanism="notices of changes",
    unit="redirects to the old target after the bound",
    seeds=range(1, 6),
    repetitions=2,
)
class Remembered:
    """The same of a link that a replica has remembered for longer than local_ttl_s."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        site = lab.running().site
        name = WEEK.replicas[1] if mechanism is Mechanism.ON else BELIEVING.front
        maker, door = site.url(WEEK.replicas[0]), site.url(name)
        targets = [f"https://example.org/remembered/{lab.seed}/{number}" for number in range(2)]
        links = await make_links(maker, targets)
        lab.say("a replica is asked for both links until it must remember them by notices")
        before = await _asked_of_valkey(site, name)
        until_s, followed = time.monotonic() + REMEMBERED_S, 0
        while time.monotonic() < until_s:
            followed += (await follow_all(door, map(follow, links))).right
            await asyncio.sleep(EVERY_S)
        asked = await _asked_of_valkey(site, name) - before
        changed_s = await _change(maker, links)
        seen = [one async for one in _watch([door], links)]
        return Figures(
            unit="redirects to the old target after the bound",
            headline="stale",
            samples={
                **_samples(seen, changed_s),
                "followed_requests": [followed],
                "valkey_lookups": [asked],
            },
            attempts=len(seen) + followed,
            seed=lab.seed,
            notes=[f"followed for {REMEMBERED_S:g} s before the change; bound {LOCAL_TTL_S:g} s"],
        )

    def judge(self, figures: Figures) -> None:
        [followed], [asked] = figures["followed_requests"], figures["valkey_lookups"]
        [oldest_s] = figures["oldest_s"]
        assert min(figures["asked_requests"]) > 0, "nobody asked"
        assert asked < followed / 2, "the replica did not remember the links"
        assert figures["other_answers"] == (0,), "answers were neither old nor new"
        assert figures["stale"] == (0,), f"the old target {oldest_s:.1f} s after the change"


def _samples(seen: list[tuple[float, Led]], changed_s: float) -> dict[str, list[float]]:
    """What those were told who asked after the change."""
    old_s = [at_s - changed_s for at_s, led in seen if led is Led.OLD]
    return {
        "stale": [sum(age_s > LOCAL_TTL_S for age_s in old_s)],
        "oldest_s": [max(old_s, default=0.0)],
        "old_redirects": [len(old_s)],
        "asked_requests": [len(seen)],
        "other_answers": [sum(led is Led.ELSEWHERE for _, led in seen)],
    }


async def _asked_of_valkey(site: Site, replica: str) -> float:
    return await metric(site, (replica,), "shortener_cache_lookups_total", tier="valkey")


async def _rehearse(site: Site, replica: str) -> None:
    """Have the connections of a replica prepare the statement: one that still had to would ask
    its question only afterwards, and read what has been changed by then."""
    nobody = [Link(f"nobody{number}", "") for number in range(FILLS)]
    async with asyncio.TaskGroup() as group, links_locked(site):
        group.create_task(follow_all(site.url(replica), map(follow, nobody), connections=FILLS))
        await eventually("as many ask as may", partial(_asked, site, FILLS))


async def _asked(site: Site, questions: int) -> bool:
    """Whether so many statements wait for the table of links."""
    async with superuser(site, postgres.database) as database:
        return bool(await database.fetchval(_WAITING) >= questions)


async def _change(api: str, links: list[Link]) -> float:
    """Change one, delete the other; when both were answered, by time.monotonic()."""
    first, second = links
    body = json.dumps({"url": _new_url(first)}).encode()
    path = "/api/v1/links/"
    requests = [
        Request("PATCH", f"{path}{first.code}", (JSON,), body, status=frozenset({200})),
        Request("DELETE", f"{path}{second.code}", status=frozenset({204})),
    ]
    ended = await ask(api, requests, connections=1)
    if any(one.outcome is not Outcome.OK for one in ended):
        raise RuntimeError(f"the links could not be changed: {', '.join(map(said, ended))}")
    return time.monotonic()


async def _watch(doors: list[str], links: list[Link]) -> AsyncIterator[tuple[float, Led]]:
    """Both links at each replica, again and again: when asked, and where that led."""
    until_s = time.monotonic() + WATCH_S
    while time.monotonic() < until_s:
        for door in doors:
            for link, after in zip(links, (_new_url(links[0]), None), strict=True):
                at_s = time.monotonic()
                led = await _led(door, link, after)
                yield at_s, led
        await asyncio.sleep(EVERY_S)


async def _led(door: str, link: Link, after: str | None) -> Led:
    """Where a link leads that was changed to `after`, or was deleted (None)."""
    [ended] = await ask(door, [Request(path=f"/{link.code}", status=ANY)], connections=1)
    answer = ended.answer
    if answer is None:
        raise RuntimeError(f"{door} did not answer: {said(ended)}")
    where = (answer.header(b"location") or b"").decode("latin-1")
    if where == link.url:
        return Led.OLD
    is_right = answer.status in GONE if after is None else where == after
    return Led.NEW if is_right else Led.ELSEWHERE


def _new_url(link: Link) -> str:
    return f"{link.url}/new"
