"""A click that the table refuses, between others that it takes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Final

from infra.evidence import Figures, Lab, Mechanism, claim
from infra.lab.site import Site
from week04_shortener.checks.clicks_once import ANALYSTS, Analyst
from week04_shortener.checks.inside import drained, superuser
from week04_shortener.checks.stands import WEEK
from week04_shortener.checks.traffic import Link, follow, follow_all, make_links
from week04_shortener.clicks.event import decode
from week04_shortener.lab import DEAD_LETTERS, postgres, settings
from week04_shortener.topics import TopicReader

NEIGHBOURS: Final = 20
"""Clicks before the poisonous one, and as many after it; all of one link, so of one partition."""

WITHIN_S: Final = 5.0
"""Until the neighbours are counted; a consumer that gets over the poison takes one or two."""

KAFKA_TIMEOUT_S: Final = 10.0
REPLAY_S: Final = 30.0

_ALL = "SELECT event_id FROM {table} WHERE code = $1"
_FORBID = "ALTER TABLE {table} ADD CONSTRAINT poison CHECK (referrer_host <> '{host}') NOT VALID"
_ALLOW = "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS poison"


@claim(
    "w04.poison",
    rows=[86],
    mechanism="dead letters",
    unit="clicks beside the poison that are not counted",
    seeds=range(1, 4),
    limit_s=120.0,
)
class Poison:
    """A click that is refused harms no other, is kept, and is counted once when sent again."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        site, analyst = lab.running().site, ANALYSTS[mechanism]
        door = site.url(WEEK.front)
        [link] = await make_links(door, [f"https://example.org/poison/{lab.seed}"])
        host = f"poison{lab.seed}.example"
        await drained(site, WEEK, analyst.reader)
        async with TopicReader(
            site.address("kafka"), DEAD_LETTERS, request_timeout_s=KAFKA_TIMEOUT_S
        ) as letters:
            before = {at: end for at, (_, end) in (await letters.bounds()).items()}
            async with _forbidden(site, analyst.table, host):
                lab.say("clicking, one of the clicks will be refused")
                asked, poison = await _click(door, link, host)
                counted = await _count(site, analyst, link, asked - {poison})
                buried = await _buried(letters, before, poison)
            if buried:
                lab.say("sending the dead letter again, twice")
                for _ in range(2):
                    await _replay(site, buried[0])
            await drained(site, WEEK, analyst.reader)
        stored = await _stored(site, analyst, link)
        neighbours = asked - {poison}
        return Figures(
            unit="clicks beside the poison that are not counted",
            headline="uncounted",
            samples={
                "uncounted": [len(neighbours - counted)],
                "answered_clicks": [len(asked)],
                "dead_letters": [len(buried)],
                "poison_copies": [stored.count(poison)],
                "again_clicks": [len(stored) - len(set(stored))],
            },
            attempts=len(asked),
            seed=lab.seed,
            notes=["the table refuses a referrer's host; once it does not, the letter is replayed"],
        )

    def judge(self, figures: Figures) -> None:
        [answered], [uncounted] = figures["answered_clicks"], figures["uncounted"]
        assert answered == 2 * NEIGHBOURS + 1, "not all clicks were answered"
        assert uncounted == 0, f"{uncounted:.0f} clicks beside the poison are not counted"
        assert figures["dead_letters"] == (1,), "the poison is not among the dead letters, once"
        assert figures["poison_copies"] == (1,), "sent again, it was not counted once"
        assert figures["again_clicks"] == (0,), "clicks were counted twice"


@contextlib.asynccontextmanager
async def _forbidden(site: Site, table: str, host: str) -> AsyncIterator[None]:
    """Inside, the table refuses clicks from `host`, as one that a migration has made wrong."""
    async with superuser(site, postgres.database) as database:
        await database.execute(_ALLOW.format(table=table))
        await database.execute(_FORBID.format(table=table, host=host))
    try:
        yield
    finally:
        async with superuser(site, postgres.database) as database:
            await database.execute(_ALLOW.format(table=table))


async def _click(door: str, link: Link, host: str) -> tuple[set[str], str]:
    """Ids of all the clicks, and of the poisonous one among them."""
    plain = [follow(link)] * NEIGHBOURS
    before = await follow_all(door, plain)
    poison = await follow_all(door, [follow(link, (("referer", f"https://{host}/"),))])
    after = await follow_all(door, plain)
    [bad] = poison.event_ids
    return {*before.event_ids, bad, *after.event_ids}, bad


async def _count(site: Site, analyst: Analyst, link: Link, wanted: set[str]) -> set[str]:
    """Those of the `wanted` that are in the table within WITHIN_S."""
    deadline_s = time.monotonic() + WITHIN_S
    while True:
        counted = wanted & set(await _stored(site, analyst, link))
        if counted == wanted or time.monotonic() > deadline_s:
            return counted
        await asyncio.sleep(0.2)


async def _stored(site: Site, analyst: Analyst, link: Link) -> list[str]:
    async with superuser(site, postgres.database) as database:
        rows = await database.fetch(_ALL.format(table=analyst.table), link.code)
    return [row["event_id"].hex for row in rows]


async def _buried(letters: TopicReader, before: dict[int, int], poison: str) -> list[str]:
    """Where the dead letters with that id lie, `PARTITION:OFFSET`."""
    found = []
    for partition, (_, end) in (await letters.bounds()).items():
        async for stored in letters.read(partition, before[partition], end):
            if decode(stored.value or b"").event_id == poison:
                found.append(f"{partition}:{stored.offset}")
    return found


async def _replay(site: Site, place: str) -> None:
    """As an operator does it. RuntimeError with what it said when it failed."""
    command = (sys.executable, "-m", "week04_shortener", "dead-letters", "replay", place)
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=site.clone,
        env={**os.environ, **settings(site, "replay")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(REPLAY_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"the replay failed: {said.decode(errors='replace')[-300:]}")
