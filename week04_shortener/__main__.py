"""The commands and workers, and how their parts are joined. The API's are joined in `service`.

python -m week04_shortener setup | forwarder | consumer
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry

from infra.service import lifecycle
from infra.service.admin import AdminServer
from infra.service.health import Check
from infra.service.lifecycle import CannotStart
from infra.service.logs import configure_logging
from infra.service.metrics import new_registry
from infra.service.retry import GaveUp, Pace, keep_trying
from infra.service.settings import load_settings
from week04_shortener.analytics import Analytics
from week04_shortener.consumer import Consumer, ConsumerMetrics, Sink
from week04_shortener.database import Database, DatabaseUnavailable, open_database
from week04_shortener.forwarder import Forwarder, ForwarderMetrics
from week04_shortener.kafka import ClickSender, ClickSource, KafkaUnavailable, ensure_topic
from week04_shortener.settings import Settings

EXIT_USAGE = 2

QUIET_LOGGERS = ("alembic.runtime.plugins",)
"""Loggers whose information is of no use here: Alembic lists the plugins it comes with."""

Command = Callable[[Settings, CollectorRegistry, asyncio.Event], Awaitable[None]]


async def setup(settings: Settings, _registry: CollectorRegistry, stop: asyncio.Event) -> None:
    """Bring schema and topic up to date, then end."""
    # Alembic and SQLAlchemy are half the memory of a process that has no other use for them.
    from week04_shortener.setup import migrate

    url = settings.database_url.get_secret_value()
    await _first(
        settings,
        stop,
        "PostgreSQL",
        lambda: migrate(url, connect_timeout_s=settings.database_connect_timeout_s),
    )
    await _first(
        settings,
        stop,
        "Kafka",
        lambda: ensure_topic(
            settings.kafka_bootstrap,
            settings.clicks_topic,
            partitions=settings.clicks_partitions,
            replication=settings.kafka_replication,
            request_timeout_s=settings.kafka_request_timeout_s,
        ),
    )


async def forwarder(settings: Settings, registry: CollectorRegistry, stop: asyncio.Event) -> None:
    """Carry one replica's click log to Kafka."""
    sender = ClickSender(
        settings.kafka_bootstrap,
        settings.clicks_topic,
        request_timeout_s=settings.kafka_request_timeout_s,
    )
    worker = Forwarder(
        settings.click_log_dir,
        sender,
        ForwarderMetrics(registry),
        poll_s=settings.forward_poll_s,
        batch_bytes=settings.forward_batch_bytes,
        pace=_pace(settings),
    )

    async def work(stop: asyncio.Event) -> None:
        await _first(settings, stop, "Kafka", sender.start)
        try:
            await worker.run(stop)
        finally:
            await sender.close()
            worker.close()

    await _serve(settings, registry, [Check("kafka", sender.ping)], work, stop)


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
    database = _database(settings, "shortener-consumer")
    worker = Consumer(
        source,
        make_sink(database, settings.clicks_topic),
        ConsumerMetrics(registry),
        batch=settings.consumer_batch,
        pace=_pace(settings),
    )

    async def work(stop: asyncio.Event) -> None:
        await _first(settings, stop, "PostgreSQL", database.ping)
        await _first(settings, stop, "Kafka", source.start)
        try:
            await worker.run(stop)
        finally:
            await source.close()

    async with database:
        checks = [Check("postgres", database.ping), Check("kafka", source.ping)]
        await _serve(settings, registry, checks, work, stop)


COMMANDS: dict[str, Command] = {"setup": setup, "forwarder": forwarder, "consumer": consumer}


def main(arguments: list[str]) -> int:
    """Run the command named by the only argument; returns the exit status."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        given = " ".join(arguments) or "nothing"
        sys.stderr.write(
            f"usage: python -m week04_shortener {'|'.join(COMMANDS)} (given: {given})\n"
        )
        return EXIT_USAGE
    name = arguments[0]
    settings = load_settings(Settings)
    log = configure_logging(f"shortener-{name}", settings.log_level, quiet=QUIET_LOGGERS)
    return lifecycle.run(lambda stop: COMMANDS[name](settings, new_registry(log), stop))


async def _serve(
    settings: Settings,
    registry: CollectorRegistry,
    checks: list[Check],
    worker: lifecycle.Worker,
    stop: asyncio.Event,
) -> None:
    admin = AdminServer(settings.admin_host, settings.admin_port, checks=checks, registry=registry)
    await lifecycle.work(
        {"worker": worker, "admin": admin.run}, stop=stop, drain_s=settings.drain_s
    )


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
            pace=_pace(settings),
            give_up_after_s=settings.start_timeout_s,
        )
    except GaveUp as error:
        raise CannotStart(f"{error}; is {server} running, and is its address right?") from error


def _database(settings: Settings, name: str) -> Database:
    return open_database(
        settings.database_url.get_secret_value(),
        name=name,
        pool_size=settings.database_pool_size,
        connect_timeout_s=settings.database_connect_timeout_s,
        timeout_s=settings.database_timeout_s,
    )


def _pace(settings: Settings) -> Pace:
    return Pace(settings.retry_first_s, settings.retry_most_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
