"""The id of an answered request is found wherever its click went."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Final

from infra.evidence import Figures, Lab, Mechanism, claim
from infra.lab.site import Site
from week04_shortener.checks.inside import drained, eventually, superuser
from week04_shortener.checks.stands import OWN_IDS, WEEK
from week04_shortener.checks.traffic import follow, follow_all, make_links
from week04_shortener.clicks.event import decode
from week04_shortener.lab import REPLICAS, TOPIC, postgres
from week04_shortener.topics import TopicReader

LINKS: Final = 5
CLICKS: Final = 60
KAFKA_TIMEOUT_S: Final = 10.0

_COUNTED = "SELECT event_id FROM analytics.clicks WHERE event_id = ANY($1::uuid[])"


@claim(
    "w04.correlation",
    rows=[113],
    mechanism="one request id, made by nginx and passed on",
    unit="ids that are not found",
    seeds=range(1, 6),
)
class Correlation:
    """The id that a client is told is in both logs on its way, in Kafka, and in the table."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        site = lab.running().site
        stand = WEEK if mechanism is Mechanism.ON else OWN_IDS
        door = site.url(stand.front)
        links = await make_links(
            door, [f"https://example.org/ids/{lab.seed}/{number}" for number in range(LINKS)]
        )
        await drained(site, WEEK)
        async with _topic(site) as reader:
            before = {at: end for at, (_, end) in (await reader.bounds()).items()}
            logs = {name: _size(site.log_file(name)) for name in (*REPLICAS, "consumer")}
            lab.say("clicking")
            clicks = Random(lab.seed).choices(links, k=CLICKS)
            followed = await follow_all(door, map(follow, clicks))
            asked = set(followed.event_ids)
            await drained(site, WEEK)
            in_kafka = set[str]()
            for partition, (_, end) in (await reader.bounds()).items():
                async for message in reader.read(partition, before[partition], end):
                    in_kafka.add(decode(message.value or b"").event_id)
        async with superuser(site, postgres.database) as database:
            rows = await database.fetch(_COUNTED, list(asked))
        counted = {row["event_id"].hex for row in rows}

        async def written() -> bool:
            # Access lines are gathered for a moment before they are written.
            return len(_replica_ids(site, logs)) >= CLICKS

        await eventually("the replicas have written their lines", written)
        in_replicas = _replica_ids(site, logs)
        in_consumer = _consumer_ids(site, logs["consumer"])
        places = {
            "replica": in_replicas,
            "kafka": in_kafka,
            "consumer": in_consumer,
            "table": counted,
        }
        missing = {f"missing_{where}_ids": [len(asked - ids)] for where, ids in places.items()}
        return Figures(
            unit="ids that are not found",
            headline="missing",
            samples={
                "missing": [sum(many for [many] in missing.values())],
                "answered_ids": [len(asked)],
                **missing,
            },
            attempts=followed.attempts,
            seed=lab.seed,
            notes=[str(followed)],
        )

    def judge(self, figures: Figures) -> None:
        assert figures["answered_ids"] == (CLICKS,), "not each answer had an id of its own"
        assert figures["missing_replica_ids"] == (0,), "ids are not in the replicas' logs"
        assert figures["missing_kafka_ids"] == (0,), "ids are not in Kafka"
        assert figures["missing_consumer_ids"] == (0,), "ids are not in the consumer's log"
        assert figures["missing_table_ids"] == (0,), "ids are not in the table"


def _topic(site: Site) -> TopicReader:
    return TopicReader(site.address("kafka"), TOPIC, request_timeout_s=KAFKA_TIMEOUT_S)


def _size(log: Path) -> int:
    return log.stat().st_size


def _lines(log: Path, offset: int) -> list[dict[str, object]]:
    """The lines that a service has written since, those that are JSON."""
    with log.open("rb") as file:
        file.seek(offset)
        return [json.loads(line) for line in file if line.startswith(b"{") and line.endswith(b"\n")]


def _replica_ids(site: Site, logs: dict[str, int]) -> set[str]:
    return {
        str(line["request_id"])
        for name in REPLICAS
        for line in _lines(site.log_file(name), logs[name])
        if line.get("event") == "request" and line.get("status") == 302
    }


def _consumer_ids(site: Site, offset: int) -> set[str]:
    found = set[str]()
    for line in _lines(site.log_file("consumer"), offset):
        ids = line.get("request_ids")
        found.update(ids if isinstance(ids, list) else ())
    return found
