"""The long-running workers and the setup: what each is made of, and how it is joined."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry

from infra.service import lifecycle
from infra.service.admin import AdminServer
from infra.service.health import Check
from infra.service.lifecycle import CannotStart
from infra.service.retry import GaveUp, Pace, keep_trying
from week04_shortener.analytics import dead_letters
from week04_shortener.analytics.consumer import Consumer, ConsumerMetrics, Sink
from week04_shortener.analytics.tables import Analytics
from week04_shortener.cache.aside import key_of
from week04_shortener.cache.shared import cache_of, lifetimes_of
from week04_shortener.clicks.forwarder import Forwarder, ForwarderMetrics
from week04_shortener.kafka import MAX_MESSAGE_BYTES, ClickSource, KafkaUnavailable, TopicSender
from week04_shortener.links import Entry
from week04_shortener.relay import Relay, RelayMetrics, Tell, Watch, to_cache, to_topic
from week04_shortener.settings import SEGMENT_DAYS, Settings
from week04_shortener.storage.database import (
    Database,
    DatabaseMetrics,
    DatabaseUnavailable,
    open_database,
)
from week04_shortener.storage.housekeeping import Housekeeping, HousekeepingMetrics, OldRows, rules
from week04_shortener.storage.outbox import Destination
from week04_shortener.storage.outbox_reader import OutboxReader
from week04_shortener.topics import Topic, ensure_topic

_DAY_MS = 86_400_000


async def setup(settings: Settings, _registry: CollectorRegistry, stop: asyncio.Event) -> None:
    """Bring schema and topics up to date, then end."""
    # Alembic and SQLAlchemy are half the memory of a process that has no other use for them.
    from week04_shortener.setup import migrate

    url = settings.database_url.get_secret_value()
    await _first(
        settings,
        stop,
        "PostgreSQL",
        lambda: migrate(url, connect_timeout_s=settings.database_connect_timeout_s),
    )
    for topic in topics(settings):
        await _first(settings, stop, "Kafka", partial(_ensure, settings, topic))


async def _ensure(settings: Settings, topic: Topic) -> None:
    await ensure_topic(
        settings.kafka_bootstrap, topic, request_timeout_s=settings.kafka_request_timeout_s
    )


def topics(settings: Settings) -> tuple[Topic, ...]:
    """The week's topics.

    Clicks are kept for less than their ids are recognised. So are dead letters: one that could be
    replayed a second time after that would be counted a second time.
    """
    kept = {
        "cleanup.policy": "delete",
        "retention.ms": str(round(settings.clicks_retention_days * _DAY_MS)),
        "segment.ms": str(round(SEGMENT_DAYS * _DAY_MS)),
    }
    roomy = {**kept, "max.message.bytes": str(dead_letters.MAX_MESSAGE_BYTES)}
    copies = settings.kafka_replication
    return (
        Topic(settings.clicks_topic, settings.clicks_partitions, copies, kept),
        Topic(settings.dead_letter_topic, 1, copies, roomy),
        Topic(settings.links_topic, settings.clicks_partitions, copies, kept),
    )


async def forwarder(settings: Settings, registry: CollectorRegistry, stop: asyncio.Event) -> None:
    """Carry one replica's click log to Kafka."""
    sender = _sender(settings, settings.clicks_topic, "shortener-forwarder")
    worker = Forwarder(
        settings.click_log_dir,
        sender,
        ForwarderMetrics(registry),
        poll_s=settings.forward_poll_s,
        batch_bytes=settings.forward_batch_bytes,
        pace=pace(settings),
    )

    async def work(stop: asyncio.Event) -> None:
        await _first(settings, stop, "Kafka", sender.start)
        try:
            await worker.run(stop)
        finally:
            await sender.close()
            worker.close()

    await _serve(settings, registry, [Check("kafka", sender.ping)], {"worker": work}, stop)


async def consumer(
    settings: Settings,
    registry: CollectorRegistry,
    stop: asyncio.Event,
    make_sink: Callable[[Database, str], Sink] = Analytics,
) -> None:
    """Carry clicks from Kafka to the analytics tables."""
    source = ClickSource(
        settings.kafka_bootstrap,
        settings.clicks_topic,
        settings.consumer_group,
        request_timeout_s=settings.kafka_request_timeout_s,
        session_timeout_s=settings.consumer_session_timeout_s,
    )
    dead = _sender(
        settings,
        settings.dead_letter_topic,
        "shortener-consumer-dead-letters",
        dead_letters.MAX_MESSAGE_BYTES,
    )
    database = database_of(settings, "shortener-consumer", DatabaseMetrics(registry))
    worker = Consumer(
        source,
        make_sink(database, settings.clicks_topic),
        dead,
        ConsumerMetrics(registry),
        topic=settings.clicks_topic,
        batch=settings.consumer_batch,
        pace=pace(settings),
    )

    async def work(stop: asyncio.Event) -> None:
        await _first(settings, stop, "PostgreSQL", database.ping)
        await _first(settings, stop, "Kafka", source.start)
        try:
            await worker.run(stop)
        finally:
            await source.close()
            await dead.close()

    async with database:
        checks = [Check("postgres", database.ping), Check("kafka", source.ping)]
        await _serve(settings, registry, checks, {"worker": work}, stop)


async def relay(settings: Settings, registry: CollectorRegistry, stop: asyncio.Event) -> None:
    """Tell the cache and Kafka of changed links, and remove what was kept for long enough."""
    database = database_of(settings, "shortener-relay", DatabaseMetrics(registry))
    cache = cache_of(settings, registry)
    sender = _sender(settings, settings.links_topic, "shortener-relay")
    lifetimes = lifetimes_of(settings)

    async def tell(code: str, entry: Entry) -> None:
        await cache.tell(key_of(code), entry, lifetimes.of(entry, time.time()))

    metrics = RelayMetrics(registry)
    outbox = OutboxReader(database)

    def to(destination: Destination, carry: Tell) -> Relay:
        return Relay(
            destination,
            outbox,
            carry,
            metrics,
            batch=settings.relay_batch,
            poll_s=settings.relay_poll_s,
            pace=pace(settings),
        )

    kept = rules(dedupe_days=settings.dedupe_days, idempotency_hours=settings.idempotency_hours)
    housekeeping = Housekeeping(
        OldRows(database),
        kept,
        HousekeepingMetrics(registry),
        every_s=settings.housekeeping_s,
        pace=pace(settings),
    )
    workers: dict[str, lifecycle.Worker] = {
        "to cache": to(Destination.CACHE, to_cache(tell, metrics)).run,
        "to topic": to(Destination.TOPIC, to_topic(sender.send)).run,
        "watch": Watch(outbox, metrics, pace(settings)).run,
        "housekeeping": housekeeping.run,
    }
    checks = [
        Check("postgres", database.ping),
        # One destination that is away does not keep the relay from telling the other.
        Check("valkey", cache.ping, required=False),
        Check("kafka", sender.ping, required=False),
    ]
    async with database:
        await _first(settings, stop, "PostgreSQL", database.ping)
        try:
            await _serve(settings, registry, checks, workers, stop)
        finally:
            await sender.close()
            await cache.close()


async def _serve(
    settings: Settings,
    registry: CollectorRegistry,
    checks: list[Check],
    workers: Mapping[str, lifecycle.Worker],
    stop: asyncio.Event,
) -> None:
    admin = AdminServer(settings.admin_host, settings.admin_port, checks=checks, registry=registry)
    await lifecycle.work({**workers, "admin": admin.run}, stop=stop, drain_s=settings.drain_s)


async def _first(
    settings: Settings, stop: asyncio.Event, server: str, attempt: Callable[[], Awaitable[None]]
) -> None:
    """Try what the start needs of a server for a bounded time; `CannotStart` after it."""
    try:
        await keep_trying(
            f"reaching {server}",
            attempt,
            on=(DatabaseUnavailable, KafkaUnavailable),
            stop=stop,
            pace=pace(settings),
            give_up_after_s=settings.start_timeout_s,
        )
    except GaveUp as error:
        raise CannotStart(f"{error}; is {server} running, and is its address right?") from error


def database_of(settings: Settings, name: str, metrics: DatabaseMetrics | None = None) -> Database:
    """The database, to be entered; `name` is what ``pg_stat_activity`` shows."""
    return open_database(
        settings.database_url.get_secret_value(),
        name=name,
        pool_size=settings.database_pool_size,
        connect_timeout_s=settings.database_connect_timeout_s,
        timeout_s=settings.database_timeout_s,
        metrics=metrics,
    )


def _sender(
    settings: Settings, topic: str, client: str, max_message_bytes: int = MAX_MESSAGE_BYTES
) -> TopicSender:
    return TopicSender(
        settings.kafka_bootstrap,
        topic,
        client=client,
        request_timeout_s=settings.kafka_request_timeout_s,
        max_message_bytes=max_message_bytes,
    )


def pace(settings: Settings) -> Pace:
    """How long to wait between attempts."""
    return Pace(settings.retry_first_s, settings.retry_most_s)
