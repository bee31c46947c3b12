"""The id of an answered request is found wherever its click went."""

from __future__ import annotations

import contextlib
import json
from random import Random
from typing import Final

from infra.evidence import Figures, Lab, Mechanism, claim
from infra.lab.engines.base import Engine
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
CONSUMER: Final = "consumer"

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
        engine = lab.running()
        site = engine.site
        stand = WEEK if mechanism is Mechanism.ON else OWN_IDS
        door = site.url(stand.front)
        links = await make_links(
            door, [f"https://example.org/ids/{lab.seed}/{number}" for number in range(LINKS)]
        )
        await drained(site, WEEK)
        async with _topic(site) as reader, _Reading(engine) as logs:
            before = {at: end for at, (_, end) in (await reader.bounds()).items()}
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
                logs.read_on()
                return min(len(logs.replica_ids), len(logs.consumer_ids)) >= CLICKS

            await eventually("replicas and consumer have written their lines", written)
        places = {
            "replica": logs.replica_ids,
            "kafka": in_kafka,
            "consumer": logs.consumer_ids,
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


class _Reading:
    """The logs of the replicas and the consumer from now on, and the ids in them."""

    def __init__(self, engine: Engine) -> None:
        self._logs = {name: engine.log(name) for name in (*REPLICAS, CONSUMER)}
        self.replica_ids: set[str] = set()
        self.consumer_ids: set[str] = set()

    async def __aenter__(self) -> _Reading:
        for log in self._logs.values():
            log.skip()
        return self

    async def __aexit__(self, *_error: object) -> None:
        for log in self._logs.values():
            log.close()

    def read_on(self) -> None:
        """Take what has been written since."""
        for name, log in self._logs.items():
            for line in log.new_lines():
                with contextlib.suppress(ValueError):  # some lines are no JSON
                    self._take(name, json.loads(line))

    def _take(self, name: str, line: dict[str, object]) -> None:
        if name == CONSUMER:
            ids = line.get("request_ids")
            self.consumer_ids.update(ids if isinstance(ids, list) else ())
        elif line.get("event") == "request" and line.get("status") == 302:
            self.replica_ids.add(str(line["request_id"]))
