"""The entry points, and the only wiring: which parts are used and how they are joined.

python -m uvicorn --factory week04_shortener.__main__:create_app
python -m week04_shortener setup | forwarder | consumer
"""

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from infra.service import lifecycle
from infra.service.admin import AdminServer
from infra.service.health import Check
from infra.service.lifecycle import CannotStart
from infra.service.logs import configure_logging
from infra.service.metrics import new_registry
from infra.service.plumbing import install
from infra.service.retry import GaveUp, Pace, keep_trying
from infra.service.settings import load_settings
from week04_shortener.analytics import Analytics
from week04_shortener.app import ClickLog, Links, Parts, add_routes
from week04_shortener.cache import Cache, CacheAside, CacheMetrics, Lease, Lifetimes
from week04_shortener.clicklog import ClickLogMetrics, ClickLogWriter
from week04_shortener.codes import Codec
from week04_shortener.consumer import Consumer, ConsumerMetrics, Sink
from week04_shortener.database import Database, DatabaseUnavailable, open_database
from week04_shortener.forwarder import Forwarder, ForwarderMetrics
from week04_shortener.kafka import ClickSender, ClickSource, KafkaUnavailable, ensure_topic
from week04_shortener.lease import LeaseMetrics, Limits, SharedLease, Tokens
from week04_shortener.settings import Settings
from week04_shortener.singleflight import Flight, SingleFlight
from week04_shortener.store import LinkStore, StoreMetrics
from week04_shortener.valkey_cache import ValkeyCache

EXIT_USAGE = 2

QUIET_LOGGERS = ("alembic.runtime.plugins",)
"""Loggers whose information is of no use here: Alembic lists the plugins it comes with."""

Command = Callable[[Settings, CollectorRegistry, asyncio.Event], Awaitable[None]]


class Store(Links, Protocol):
    """Links, and the lookup that the cache stands before."""

    async def url_of(self, code: str) -> str | None: ...


class SharedCache(Cache, Tokens, Protocol):
    """The cache of all replicas, and the leases in it."""

    async def ping(self) -> None: ...
    async def close(self) -> None: ...


class ClickKeeper(ClickLog, Protocol):
    """The click log as a process has it."""

    async def check(self) -> None: ...
    def close(self) -> None: ...


def _store(settings: Settings, database: Database, registry: CollectorRegistry) -> Store:
    codec = Codec(settings.code_key.get_secret_value().encode())
    return LinkStore(database, codec, StoreMetrics(registry))


def _cache(settings: Settings, registry: CollectorRegistry) -> SharedCache:
    return ValkeyCache(
        settings.valkey_url.get_secret_value(),
        timeout_s=settings.cache_timeout_s,
        pool_size=settings.cache_pool_size,
        failures_to_open=settings.cache_failures_to_open,
        open_s=settings.cache_open_s,
        registry=registry,
    )


def _lease(settings: Settings, tokens: Tokens, registry: CollectorRegistry) -> Lease[str | None]:
    limits = Limits(settings.lease_ttl_s, settings.lease_wait_s)
    return SharedLease(tokens, limits, LeaseMetrics(registry))


def _click_log(settings: Settings, registry: CollectorRegistry) -> ClickKeeper:
    try:
        return ClickLogWriter(
            settings.click_log_dir,
            segment_bytes=settings.click_segment_bytes,
            metrics=ClickLogMetrics(registry),
        )
    except CannotStart as error:
        lifecycle.refuse_start(error)


@dataclass(frozen=True)
class Makers:
    """How the parts are made that are the week's ideas. Claims put another in place of one."""

    store: Callable[[Settings, Database, CollectorRegistry], Store] = _store
    cache: Callable[[Settings, CollectorRegistry], SharedCache] = _cache
    flight: Callable[[], Flight[str | None]] = SingleFlight
    lease: Callable[[Settings, Tokens, CollectorRegistry], Lease[str | None]] = _lease
    click_log: Callable[[Settings, CollectorRegistry], ClickKeeper] = _click_log


def create_app() -> FastAPI:
    """The API, for uvicorn's ``--factory``. Starts whether or not its servers are there.

    What cannot be helped by waiting, settings and the click log's directory, ends the process
    with one line.
    """
    return api(load_settings(Settings), Makers())


def api(settings: Settings, make: Makers) -> FastAPI:
    """The API out of the parts that `make` makes."""
    registry = new_registry(configure_logging("shortener-api", settings.log_level))
    click_log = make.click_log(settings, registry)
    database = _database(settings, "shortener-api")
    store = make.store(settings, database, registry)
    cache = make.cache(settings, registry)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with database:
            yield
        await cache.close()
        click_log.close()

    app = FastAPI(
        title="Shortener",
        version="1",
        description="Week 4: cache-aside, single flight, clicks through a log and a queue.",
        lifespan=lifespan,
    )
    install(
        app,
        registry=registry,
        checks=(
            Check("postgres", database.ping),
            Check("valkey", cache.ping, required=False),
            Check("click log", click_log.check, required=False),
        ),
        trusted_proxies=settings.trusted_proxies,
        response_headers={"X-Replica": settings.replica},
        max_body_bytes=settings.max_body_bytes,
    )
    parts = Parts(
        links=store,
        lookup=CacheAside(
            cache,
            store.url_of,
            make.flight(),
            make.lease(settings, cache, registry),
            _lifetimes(settings),
            CacheMetrics(registry),
        ),
        click_log=click_log,
        replica=settings.replica,
        public_base_url=settings.public_base_url,
        max_url_chars=settings.max_url_chars,
    )
    add_routes(app, parts)
    return app


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


def _lifetimes(settings: Settings) -> Lifetimes:
    return Lifetimes(
        settings.cache_ttl_s,
        settings.cache_negative_ttl_s,
        settings.cache_ttl_jitter,
        random.random,
    )


def _pace(settings: Settings) -> Pace:
    return Pace(settings.retry_first_s, settings.retry_most_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
