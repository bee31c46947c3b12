"""The controls' parts, and the processes wired with them: each lacks one idea of the week.

python -m uvicorn --factory week04_shortener.checks.variants:links_in_memory
python -m week04_shortener.checks.variants count-every-message
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from datetime import UTC, datetime

import asyncpg
from prometheus_client import CollectorRegistry, Gauge
from starlette.types import ASGIApp

from infra.service import lifecycle
from infra.service.logs import configure_logging
from infra.service.metrics import new_registry
from infra.service.settings import load_settings
from week04_shortener.analytics.batches import Batch
from week04_shortener.analytics.tables import Analytics
from week04_shortener.cache.aside import Kept
from week04_shortener.cache.lease import NoLease
from week04_shortener.cache.local import NoLocalCache
from week04_shortener.cache.singleflight import NoSingleFlight
from week04_shortener.clicks.event import decode
from week04_shortener.codes import Codec
from week04_shortener.kafka import KafkaUnavailable, Record, TopicSender
from week04_shortener.links import ABSENT, Created, Entry, Idempotency, Link, NewLink, entry_of
from week04_shortener.makers import Makers
from week04_shortener.service import api
from week04_shortener.settings import Settings
from week04_shortener.storage.database import Database
from week04_shortener.storage.store import LinkStore
from week04_shortener.workers import consumer

NAIVE_READER = "clicks, every message"
"""The name under which the consumer that counts every message keeps its offsets."""

LINGER_S = 0.05
"""How long clicks gather in memory before they are sent, as Kafka's `linger.ms` lets them."""

_COUNT_EVERY_MESSAGE = "count-every-message"
_CODES = 62**7

_SCHEMA = """
    CREATE SCHEMA IF NOT EXISTS naive;
    CREATE TABLE IF NOT EXISTS naive.clicks (LIKE analytics.clicks INCLUDING DEFAULTS);
"""
_WRITE = """
    INSERT INTO naive.clicks
        (event_id, code, at, replica, referrer_host, topic, partition, message_offset, recorded_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now())
"""


# ---- API


def links_in_memory() -> ASGIApp:
    """Replicas that keep links to themselves."""
    return api(load_settings(Settings), Makers(store=_memory_store))


def without_cache() -> ASGIApp:
    """Replicas that ask the database each time."""
    parts = Makers(cache=lambda *_: NoCache(), local=lambda *_: NoLocalCache(), lease=_no_lease)
    return api(load_settings(Settings), parts)


def without_flight() -> ASGIApp:
    """Replicas in which everybody who misses asks the database."""
    return api(load_settings(Settings), Makers(flight=NoSingleFlight, lease=_no_lease))


def flight_alone() -> ASGIApp:
    """Replicas that know nothing of each other's misses."""
    return api(load_settings(Settings), Makers(lease=_no_lease))


def lease_alone() -> ASGIApp:
    """Replicas in which everybody who misses tries to get the lease."""
    return api(load_settings(Settings), Makers(flight=NoSingleFlight))


def clicks_in_memory() -> ASGIApp:
    """Replicas that answer first and hand the click to Kafka's producer afterwards."""
    return api(load_settings(Settings), Makers(click_log=_memory_log))


class MemoryStore(LinkStore):
    """Links in this process alone; what no claim asks of it is inherited."""

    def __init__(self, database: Database, codec: Codec) -> None:
        super().__init__(database, codec, idempotency_s=1.0)
        self._codes = codec
        self._links: dict[str, Link] = {}

    async def create(
        self,
        new: NewLink,
        *,
        owner_id: int | None,
        idempotency: Idempotency | None,
        request_id: str,
    ) -> Created:
        number, now = secrets.randbelow(_CODES), datetime.now(UTC)
        link = Link(number, self._codes.encode(number), new.url, now, now, owner_id)
        self._links[link.code] = link
        return Created(link)

    async def entry_of(self, code: str) -> Entry:
        link = self._links.get(code)
        return ABSENT if link is None else entry_of(link)

    async def link_of(self, code: str) -> Link | None:
        return self._links.get(code)


class NoCache:
    """Keeps nothing."""

    async def get(self, key: str) -> Kept | None:
        return None

    async def put(self, key: str, entry: Entry, ttl_s: float) -> Entry:
        return entry

    async def tell(self, key: str, entry: Entry, ttl_s: float) -> Entry:
        return entry

    async def take(self, name: str, token: str, *, ttl_s: float) -> bool:
        return True

    async def release(self, name: str, token: str) -> None: ...

    async def ping(self) -> None: ...

    async def close(self) -> None: ...


class MemoryLog:
    """Clicks go to Kafka as soon as may be; until then they are in memory only."""

    def __init__(self, sender: TopicSender, waiting: Gauge) -> None:
        self._sender = sender
        self._clicks: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        waiting.set_function(lambda: len(self._clicks))

    def append(self, payload: bytes) -> bool:
        self._clicks.append(payload)
        if self._task is None:
            self._task = asyncio.create_task(self._send_all())
        return True

    def lose(self, error: Exception) -> None: ...

    async def check(self) -> None: ...

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _send_all(self) -> None:
        while self._clicks:
            await asyncio.sleep(LINGER_S)
            batch = list(self._clicks)
            try:
                await self._sender.send([Record(decode(one).code.encode(), one) for one in batch])
            except KafkaUnavailable:
                continue  # still in memory: tried again with what has come since
            del self._clicks[: len(batch)]
        self._task = None


def _memory_store(
    settings: Settings, database: Database, _registry: CollectorRegistry
) -> MemoryStore:
    return MemoryStore(database, Codec(settings.code_key.get_secret_value().encode()))


def _memory_log(settings: Settings, registry: CollectorRegistry) -> MemoryLog:
    sender = TopicSender(
        settings.kafka_bootstrap,
        settings.clicks_topic,
        client="shortener-variant",
        request_timeout_s=settings.kafka_request_timeout_s,
    )
    waiting = Gauge("variant_clicks_in_memory", "Clicks not sent yet.", registry=registry)
    return MemoryLog(sender, waiting)


def _no_lease(*_: object) -> NoLease[Entry]:
    return NoLease()


# ---- Consumer


class EveryMessageCounts(Analytics):
    """Analytics that take each message for a new click, and remember the offset afterwards."""

    def __init__(self, database: Database, topic: str) -> None:
        super().__init__(database, NAIVE_READER)
        self._clicks_topic = topic
        self._clicks_database = database

    async def write(self, batch: Batch) -> int:
        rows = [
            (
                *(click.event_id, click.code, click.at, click.replica, click.referrer_host),
                *(self._clicks_topic, batch.partition, offset),
            )
            for offset, click in batch.clicks
        ]
        async with self._clicks_database.connection() as connection:
            await connection.executemany(_WRITE, rows)
        await self.move(batch.partition, position=batch.position, offset=batch.next_offset)
        return len(rows)


async def count_every_message(
    settings: Settings, registry: CollectorRegistry, stop: asyncio.Event
) -> None:
    """The week's consumer with the sink above, in a group and a table of its own."""
    database = await asyncpg.connect(settings.database_url.get_secret_value(), ssl=False)
    try:
        await database.execute(_SCHEMA)
    finally:
        await database.close()
    own = settings.model_copy(update={"consumer_group": "shortener-every-message"})
    await consumer(own, registry, stop, EveryMessageCounts)


def main(arguments: list[str]) -> int:
    """Run the only command there is."""
    if arguments != [_COUNT_EVERY_MESSAGE]:
        sys.stderr.write(f"usage: ... {_COUNT_EVERY_MESSAGE}\n")
        return 2
    settings = load_settings(Settings)
    log = configure_logging("shortener-every-message", settings.log_level)
    return lifecycle.run(lambda stop: count_every_message(settings, new_registry(log), stop))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
