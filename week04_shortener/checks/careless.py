"""More of the controls' parts, for the claims on what happens when two things meet.

python -m week01_http_server --factory week04_shortener.checks.careless:careless
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.service.lifecycle import Stopped, pause
from infra.service.settings import load_settings
from week04_shortener.cache.local import Local, LocalCache
from week04_shortener.cache.notices import Memory
from week04_shortener.cache.valkey import ValkeyCache
from week04_shortener.clicks.event import decode
from week04_shortener.codes import Codec
from week04_shortener.limits.algorithms import Decision, FixedWindow, Policy, SlidingWindow
from week04_shortener.limits.counters import (
    Counters,
    LocalCounters,
    ValkeyCounters,
)
from week04_shortener.limits.limiter import Limiter, LimiterMetrics
from week04_shortener.links import Created, Entry, Idempotency, NewLink
from week04_shortener.makers import Makers
from week04_shortener.service import api
from week04_shortener.settings import Settings
from week04_shortener.storage.database import Database
from week04_shortener.storage.store import LinkStore
from week04_shortener.valkey import ValkeyLimits

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
CLOSE_S: Final = 2.0
SURE_EVERY_S: Final = 0.1


# ---- A redirect that waits for Kafka


class AwaitedLog:
    """Keeps clicks until `flush` has Kafka's word for them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: Any = None
        self._starting = asyncio.Lock()
        self._clicks: list[bytes] = []

    def append(self, payload: bytes) -> bool:
        self._clicks.append(payload)
        return True

    def lose(self, error: Exception) -> None:
        """It has nowhere to count."""

    async def flush(self) -> None:
        """Send what is there, and wait until Kafka has it. Raises KafkaError, OSError."""
        clicks, self._clicks = self._clicks, []
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._settings.kafka_bootstrap,
                    acks="all",
                    request_timeout_ms=round(self._settings.kafka_request_timeout_s * 1000),
                )
                await producer.start()
                self._producer = producer
        await asyncio.gather(
            *[
                self._producer.send_and_wait(
                    self._settings.clicks_topic, one, key=decode(one).code.encode()
                )
                for one in clicks
            ]
        )

    async def check(self) -> None: ...

    def close(self) -> None: ...

    async def stop(self) -> None:
        if self._producer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._producer.stop()


class Awaiting:
    """Passes a redirect on once its click has been flushed; 503 if it cannot be."""

    def __init__(self, app: ASGIApp, log: AwaitedLog) -> None:
        self._app, self._log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def flushed_first(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in REDIRECTS:
                try:
                    await self._log.flush()
                except (KafkaError, OSError):
                    message = {**message, "status": 503}
            if message["type"] == "lifespan.shutdown.complete":
                await self._log.stop()
            await send(message)

        await self._app(scope, receive, flushed_first)


def awaits_kafka() -> ASGIApp:
    """A replica that redirects only when Kafka has acknowledged the click."""
    settings = load_settings(Settings)
    log = AwaitedLog(settings)
    return Awaiting(api(settings, Makers(click_log=lambda *_: log)), log)


# ---- Replicas without any of the ideas that keep two callers from harming each other


def careless() -> ASGIApp:
    """A replica that looks before it acts, counts alone, writes blindly, and lets all be kept.

    Each claim meets one of these ideas only, so one stand is the control of all of them.
    """
    makers = Makers(
        store=_forgetful_store,
        cache=_blind_cache,
        visits=CheckThenAct,
        limiter=_limiter_alone,
    )
    return Permanent(api(load_settings(Settings), makers))


def fixed_window() -> ASGIApp:
    """A replica that counts in Valkey, but in windows by the clock."""
    return api(load_settings(Settings), Makers(limiter=_limiter_by_the_clock))


def believing() -> ASGIApp:
    """A replica that takes what it remembers for true until its time is over."""
    return api(load_settings(Settings), Makers(listener=_believing))


def _believing(_settings: Settings, local: Local, _registry: CollectorRegistry) -> Believing | None:
    return Believing(local) if isinstance(local, LocalCache) else None


class ForgetfulStore(LinkStore):
    """Takes each request for a new one."""

    async def create(
        self,
        new: NewLink,
        *,
        owner_id: int | None,
        idempotency: Idempotency | None,
        request_id: str,
    ) -> Created:
        return await super().create(new, owner_id=owner_id, idempotency=None, request_id=request_id)


class BlindCache(ValkeyCache):
    """Writes whatever comes over whatever lies there."""

    async def put(self, key: str, entry: Entry, ttl_s: float) -> Entry:
        await self._valkey.ask(lambda: self._client.delete(key))
        return await super().put(key, entry, ttl_s)

    async def tell(self, key: str, entry: Entry, ttl_s: float) -> Entry:
        await self._valkey.ask(lambda: self._client.delete(key))
        return await super().tell(key, entry, ttl_s)


class Believing:
    """Listens to nobody, and is sure all the same."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def run(self, stop: asyncio.Event) -> None:
        self._memory.subscribed(time.monotonic())
        with contextlib.suppress(Stopped):
            while True:
                self._memory.sure(time.monotonic())
                await pause(SURE_EVERY_S, stop)


class CheckThenAct:
    """Looks whether a visit is left, and then takes it: two steps, and others between them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def spend(self, link_id: int, event_id: uuid.UUID) -> bool:
        async with self._database.connection("spend") as connection:
            left = await connection.fetchval(
                "SELECT visits < max_visits FROM links WHERE id = $1", link_id
            )
        if left:
            async with self._database.connection("spend") as connection:
                await connection.execute(
                    "UPDATE links SET visits = visits + 1 WHERE id = $1", link_id
                )
        return bool(left)


class ByTheClock:
    """Counts sliding windows as if they were fixed ones."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def take(self, name: str, policy: Policy, cost: int) -> Decision:
        if isinstance(policy, SlidingWindow):
            policy = FixedWindow(policy.name, policy.quota, policy.window_us)
        return await self._counters.take(name, policy, cost)

    async def close(self) -> None:
        await self._counters.close()


class Permanent:
    """Makes each redirect a permanent one that anybody may keep."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def keepable(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 302:
                headers = [pair for pair in message["headers"] if pair[0] != b"cache-control"]
                message = {**message, "status": 301, "headers": headers}
            await send(message)

        await self._app(scope, receive, keepable)


def _forgetful_store(
    settings: Settings, database: Database, _registry: CollectorRegistry
) -> ForgetfulStore:
    codec = Codec(settings.code_key.get_secret_value().encode())
    return ForgetfulStore(database, codec, idempotency_s=settings.idempotency_hours * 3600)


def _blind_cache(settings: Settings, registry: CollectorRegistry) -> BlindCache:
    return BlindCache(
        settings.valkey_url.get_secret_value(),
        timeout_s=settings.cache_timeout_s,
        pool_size=settings.cache_pool_size,
        failures_to_open=settings.cache_failures_to_open,
        open_s=settings.cache_open_s,
        registry=registry,
    )


def _limiter_alone(settings: Settings, registry: CollectorRegistry) -> Limiter:
    return _limiter(settings, LocalCounters(), registry)


def _limiter_by_the_clock(settings: Settings, registry: CollectorRegistry) -> Limiter:
    limits = ValkeyLimits(
        timeout_s=settings.cache_timeout_s,
        pool_size=settings.cache_pool_size,
        failures_to_open=settings.cache_failures_to_open,
        open_s=settings.cache_open_s,
    )
    shared = ValkeyCounters(settings.valkey_url.get_secret_value(), limits, registry)
    return _limiter(settings, ByTheClock(shared), registry)


def _limiter(settings: Settings, counters: Counters, registry: CollectorRegistry) -> Limiter:
    secret = settings.visitor_key.get_secret_value().encode()
    return Limiter(counters, LimiterMetrics(registry), secret=secret)
