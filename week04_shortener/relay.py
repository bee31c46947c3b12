"""Tells what the outbox says: changes of links, to the cache and to Kafka, until they were heard.

Each destination has a loop of its own, so one that is away holds up only itself. A turn of it is:
read the oldest rows, tell them, remove them, all three or none. Dying between telling and removing
tells some twice, and never leaves one out. Twice does no harm: the cache keeps the greatest version
of an entry, and an event has an id.

The order of a code's changes is that of its rows: whoever changes a link holds its row in `links`
until the commit, so the next change gets its ids in the outbox only afterwards. A relay tells them
in that order, and no other relay has the turn meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from infra.service.lifecycle import pause, unless_stopped
from infra.service.retry import Pace, brief, keep_trying
from week04_shortener.cache.aside import CacheUnavailable
from week04_shortener.kafka import KafkaUnavailable, Record
from week04_shortener.links import BadEntry, Entry, decode
from week04_shortener.storage.database import DatabaseUnavailable
from week04_shortener.storage.outbox import Destination
from week04_shortener.storage.outbox_reader import Backlog, Owed

_LOOK_S = 2.0
"""How often the backlog is counted for the metrics."""

AWAY = (DatabaseUnavailable, CacheUnavailable, KafkaUnavailable)


class Turn(Protocol):
    """`week04_shortener.storage.outbox_reader.Turn`."""

    async def oldest(self, limit: int) -> list[Owed]: ...
    async def remove(self, told: Sequence[Owed]) -> None: ...


class Outbox(Protocol):
    """`week04_shortener.storage.outbox_reader.OutboxReader`."""

    def turn(self, destination: Destination) -> AbstractAsyncContextManager[Turn | None]: ...
    async def backlog(self) -> dict[Destination, Backlog]: ...


Tell = Callable[[Sequence[Owed]], Awaitable[None]]
"""Returns once all was heard; raises `CacheUnavailable` or `KafkaUnavailable` otherwise."""


class RelayMetrics:
    """What the relay counts, by destination."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("destination",)
        self.told = Counter(
            "shortener_outbox_told_total", "Changes that were told.", labels, registry=registry
        )
        self.failures = Counter(
            "shortener_outbox_failures_total",
            "Turns that failed because a server was away.",
            labels,
            registry=registry,
        )
        self.unreadable = Counter(
            "shortener_outbox_unreadable_total",
            "Changes for the cache that were no entry and were left out.",
            registry=registry,
        )
        self.rows = Gauge(
            "shortener_outbox_rows", "Changes that wait to be told.", labels, registry=registry
        )
        self.oldest_s = Gauge(
            "shortener_outbox_oldest_seconds",
            "How long the oldest change has waited.",
            labels,
            registry=registry,
        )
        for destination in Destination:
            self.told.labels(destination.value)
            self.failures.labels(destination.value)


class Relay:
    """The loop of one destination."""

    def __init__(
        self,
        destination: Destination,
        outbox: Outbox,
        tell: Tell,
        metrics: RelayMetrics,
        *,
        batch: int,
        poll_s: float,
        pace: Pace,
    ) -> None:
        self._destination = destination
        self._outbox = outbox
        self._tell = tell
        self._metrics = metrics
        self._batch = batch
        self._poll_s = poll_s
        self._pace = pace

    async def run(self, stop: asyncio.Event) -> None:
        """Tell until `stop` is set; the rest is for the next start."""
        while not stop.is_set():
            told = await keep_trying(
                f"telling the {self._destination.value} of changes",
                lambda: self.step(stop),
                on=AWAY,
                stop=stop,
                pace=self._pace,
                failed=lambda _: self._metrics.failures.labels(self._destination.value).inc(),
            )
            if told < self._batch:
                await pause(self._poll_s, stop)

    async def step(self, stop: asyncio.Event) -> int:
        """One turn; returns how many rows were told, 0 also when there was no turn to be had.

        Who does not answer is waited for no longer once `stop` is set: the turn ends undone.
        """
        async with self._outbox.turn(self._destination) as turn:
            if turn is None:
                return 0
            rows = await turn.oldest(self._batch)
            if rows:
                await unless_stopped(self._tell(rows), stop)
                await turn.remove(rows)
        self._metrics.told.labels(self._destination.value).inc(len(rows))
        return len(rows)


class Watch:
    """Shows how much waits, whether or not it can be told."""

    def __init__(self, outbox: Outbox, metrics: RelayMetrics, pace: Pace) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._pace = pace

    async def run(self, stop: asyncio.Event) -> None:
        """Look every few seconds until `stop` is set."""
        while not stop.is_set():
            await keep_trying(
                "counting what waits in the outbox",
                self.look,
                on=(DatabaseUnavailable,),
                stop=stop,
                pace=self._pace,
            )
            await pause(_LOOK_S, stop)

    async def look(self) -> None:
        """Count once."""
        for destination, backlog in (await self._outbox.backlog()).items():
            self._metrics.rows.labels(destination.value).set(backlog.rows)
            self._metrics.oldest_s.labels(destination.value).set(backlog.oldest_s)


def to_cache(say: Callable[[str, Entry], Awaitable[object]], metrics: RelayMetrics) -> Tell:
    """Tells the cache by `say`, which keeps the entry that it is given for a code if it is newer.

    Of several changes of a code in one go the last is enough. A row that is no entry cannot be
    told, now or later, and must not hold up the others: it is left out, logged and counted.
    """

    async def tell(rows: Sequence[Owed]) -> None:
        for row in {row.code: row for row in rows}.values():
            try:
                entry = decode(row.payload)
            except BadEntry as error:
                metrics.unreadable.inc()
                structlog.get_logger().error(
                    "change is no entry, the cache is not told", code=row.code, error=brief(error)
                )
                continue
            await say(row.code, entry)

    return tell


def to_topic(send: Callable[[Sequence[Record]], Awaitable[None]]) -> Tell:
    """Tells Kafka by `send`; the code is the key, which keeps a code's events in their order."""

    async def tell(rows: Sequence[Owed]) -> None:
        await send([Record(row.code.encode("ascii"), row.payload) for row in rows])

    return tell
