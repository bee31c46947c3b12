"""Each click that was answered is counted, and once, although messages are delivered again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from infra.evidence import Figures, Lab, Mechanism, claim
from infra.lab.site import Site
from week04_shortener.checks.inside import drained, superuser
from week04_shortener.checks.stands import NAIVE_CONSUMER, WEEK
from week04_shortener.checks.traffic import follow, follow_all, make_links
from week04_shortener.checks.variants import NAIVE_READER
from week04_shortener.clicks import clicklog, cursor
from week04_shortener.clicks.cursor import Cursor
from week04_shortener.lab import FORWARDERS, REPLICAS, TOPIC, on_the_way, postgres

LINKS: Final = 10
CLICKS: Final = 300

_OFFSETS = "SELECT partition, next_offset FROM analytics.offsets WHERE topic = $1"
_REWIND = "UPDATE analytics.offsets SET next_offset = $3 WHERE topic = $1 AND partition = $2"


@dataclass(frozen=True)
class Analyst:
    """A consumer, the table it writes, its sum, and the name under which its offsets stand."""

    consumer: str
    table: str
    total: str
    reader: str


ANALYSTS: Final = {
    Mechanism.ON: Analyst(
        "consumer",
        "analytics.clicks",
        "SELECT sum(clicks) FROM analytics.click_totals WHERE code = ANY($1)",
        TOPIC,
    ),
    Mechanism.OFF: Analyst(
        NAIVE_CONSUMER,
        "naive.clicks",
        "SELECT count(*) FROM naive.clicks WHERE code = ANY($1)",
        NAIVE_READER,
    ),
}


@claim(
    "w04.clicks-once",
    rows=[28, 29],
    mechanism="event ids that are counted once",
    unit="clicks lost or counted again",
    seeds=range(1, 6),
    repetitions=2,
    limit_s=150.0,
)
class ClicksOnce:
    """Each answered click is counted exactly once, although each message is delivered again."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        site, analyst = lab.running().site, ANALYSTS[mechanism]
        random = Random(lab.seed)
        door = site.url(WEEK.front)
        targets = [f"https://example.org/clicks/{lab.seed}/{number}" for number in range(LINKS)]
        links = await make_links(door, targets)
        await drained(site, WEEK, analyst.reader)
        places = {name: _cursor(site, name) for name in REPLICAS}
        offsets = await _offsets(site, analyst)
        written = (await on_the_way(site)).written
        lab.say("clicking")
        followed = await follow_all(door, map(follow, random.choices(links, k=CLICKS)))
        await drained(site, WEEK, analyst.reader)
        lab.say("delivering every message again")
        await _deliver_again(lab, analyst, places, offsets)
        await drained(site, WEEK, analyst.reader)
        events = (await on_the_way(site)).written - written
        counted, total = await _counted(site, analyst, [link.code for link in links])
        answered = set(followed.event_ids)
        lost = answered - counted.keys()
        again = sum(copies - 1 for copies in counted.values())
        return Figures(
            unit="clicks lost or counted again",
            headline="wrong",
            samples={
                "wrong": [len(lost) + again],
                "lost_clicks": [len(lost)],
                "again_clicks": [again],
                "answered_clicks": [len(answered)],
                "kafka_events": [events],
                "total_clicks": [total],
            },
            attempts=followed.attempts,
            seed=lab.seed,
            notes=[f"{dict(followed.replicas)} {dict(followed.wrong)}"],
        )

    def judge(self, figures: Figures) -> None:
        [answered], [events] = figures["answered_clicks"], figures["kafka_events"]
        assert answered == CLICKS, f"only {answered:.0f} of {CLICKS} clicks were answered"
        assert events >= 2 * CLICKS, f"only {events:.0f} messages: none was delivered again"
        assert figures["lost_clicks"] == (0,), "answered clicks are not in the table"
        assert figures["again_clicks"] == (0,), "clicks are in the table more than once"
        assert figures["total_clicks"] == (CLICKS,), "the total is not the sum of the clicks"


async def _deliver_again(
    lab: Lab, analyst: Analyst, places: dict[str, Cursor], offsets: dict[int, int]
) -> None:
    """Both ways in which it happens: sent again to Kafka, and read again from it."""
    engine = lab.running()
    stopped = [*FORWARDERS, analyst.consumer]
    await engine.stop(stopped)
    try:
        for replica, place in places.items():
            cursor.save(_log(engine.site, replica), place)
        async with superuser(engine.site, postgres.database) as database:
            await database.executemany(
                _REWIND, [(analyst.reader, *offset) for offset in offsets.items()]
            )
    finally:
        await engine.start(stopped)


def _log(site: Site, replica: str) -> Path:
    return site.data_dir("clicks") / replica


def _cursor(site: Site, replica: str) -> Cursor:
    """How far a replica's log was forwarded: also where its newest segment is, if never."""
    return cursor.settle(
        cursor.load(_log(site, replica)), clicklog.list_segments(_log(site, replica))
    )


async def _offsets(site: Site, analyst: Analyst) -> dict[int, int]:
    async with superuser(site, postgres.database) as database:
        rows = await database.fetch(_OFFSETS, analyst.reader)
    return {row["partition"]: row["next_offset"] for row in rows}


async def _counted(site: Site, analyst: Analyst, codes: list[str]) -> tuple[Counter[str], int]:
    """How often each event stands in the analyst's table, and what is shown as their sum."""
    async with superuser(site, postgres.database) as database:
        rows = await database.fetch(
            f"SELECT event_id, count(*) AS copies FROM {analyst.table} "
            "WHERE code = ANY($1) GROUP BY event_id",
            codes,
        )
        total = await database.fetchval(analyst.total, codes)
    return Counter({row["event_id"].hex: row["copies"] for row in rows}), int(total or 0)
