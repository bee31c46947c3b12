"""Carries clicks from Kafka into the analytics tables, each exactly once.

Where a partition is read on stands in PostgreSQL, changed together with the clicks. After every
assignment and every failure the position is taken from there anew, so no state of this process
is worth anything: it can be killed at any point. What cannot be counted is put to the dead letters
before the offset moves on: it neither blocks its partition nor is it lost.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from infra.service.lifecycle import unless_stopped
from infra.service.retry import Pace, keep_trying
from week04_shortener.analytics import batches
from week04_shortener.analytics.batches import Batch, Message
from week04_shortener.analytics.dead_letters import DeadLetter, Place, to_record
from week04_shortener.analytics.tables import OffsetMoved, Refused
from week04_shortener.kafka import KafkaUnavailable, Record
from week04_shortener.storage.database import DatabaseUnavailable

_POLL_S = 0.5
"""How long a poll waits for messages; a new assignment is noticed at the latest after it."""


_IDS_A_LINE = 100
"""Request ids in a line of the log: so it stays below PIPE_BUF, 4 KiB, and is written whole."""


class Source(Protocol):
    """Kafka's side, `week04_shortener.kafka.ClickSource`. Methods raise `KafkaUnavailable`."""

    @property
    def generation(self) -> int: ...
    @property
    def partitions(self) -> set[int]: ...
    async def start(self) -> None: ...
    async def bounds(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]: ...
    async def seek(self, partition: int, offset: int) -> None: ...
    async def poll(
        self, partitions: Collection[int], *, timeout_s: float, max_messages: int
    ) -> dict[int, list[Message]]: ...
    def end_of(self, partition: int) -> int | None: ...


class Sink(Protocol):
    """PostgreSQL's side, `week04_shortener.analytics.tables.Analytics`."""

    async def offset(self, partition: int, *, beginning: int) -> int: ...
    async def move(self, partition: int, *, position: int, offset: int) -> None: ...
    async def write(self, batch: Batch) -> int:
        """How many of the clicks were new; may raise `OffsetMoved` and `Refused` too."""
        ...


class DeadLetters(Protocol):
    """Where messages go that cannot be counted; `KafkaUnavailable` unless they are safe there."""

    async def send(self, records: Sequence[Record]) -> None: ...


class ConsumerMetrics:
    """What the consumer counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str) -> Counter:
            return Counter(f"shortener_consumer_{name}_total", meaning, registry=registry)

        self.recorded = counter("clicks", "Clicks written to the analytics tables.")
        self.duplicates = counter("duplicates", "Clicks that had been written before.")
        self.malformed = counter("malformed", "Messages that were no clicks.")
        self.refused = counter("refused", "Clicks that PostgreSQL refused for their data.")
        self.dead_letters = counter("dead_letters", "Messages put to the dead letters.")
        self.missing = counter("missing", "Offsets that Kafka no longer had.")
        self.overtaken = counter("overtaken", "Batches another consumer had written already.")
        self.failures = counter("failures", "Attempts that failed because a server was away.")
        self.lag = Gauge(
            "shortener_consumer_lag_messages",
            "Messages in the partition that are not written yet.",
            ("partition",),
            registry=registry,
        )


class Consumer:
    """One member of the consumer group."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        dead_letters: DeadLetters,
        metrics: ConsumerMetrics,
        *,
        topic: str,
        batch: int,
        pace: Pace,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._sink = sink
        self._dead_letters = dead_letters
        self._topic = topic
        self._now = now
        self._metrics = metrics
        self._batch = batch
        self._pace = pace
        self._positions: dict[int, int] = {}
        self._generation = -1
        self._log = structlog.get_logger()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set."""
        while not stop.is_set():
            await keep_trying(
                "recording clicks",
                lambda: self.step(stop),
                on=(DatabaseUnavailable, KafkaUnavailable),
                stop=stop,
                pace=self._pace,
                failed=lambda _: self._metrics.failures.inc(),
            )

    async def step(self, stop: asyncio.Event) -> None:
        """Take up what was assigned, poll once, write what came."""
        try:
            await self._source.start()
            await self._take_up_assigned()
            polled = await unless_stopped(
                self._source.poll(self._positions, timeout_s=_POLL_S, max_messages=self._batch),
                stop,
            )
            for partition, messages in polled.items():
                # Assigned during the poll: its position is not known yet, it will be read again.
                if partition in self._positions and self._generation == self._source.generation:
                    await self._record(partition, messages)
            self._show_lag()
        except Exception:
            # Polled messages that were not written would be passed over by the next poll.
            self._positions.clear()
            raise

    async def _take_up_assigned(self) -> None:
        generation = self._source.generation
        if generation != self._generation:
            self._generation = generation
            self._positions.clear()
            self._metrics.lag.clear()
        new = sorted(self._source.partitions - self._positions.keys())
        if new:
            for partition, bounds in (await self._source.bounds(new)).items():
                self._positions[partition] = await self._locate(partition, *bounds)

    async def _locate(self, partition: int, beginning: int, end: int) -> int:
        stored = await self._sink.offset(partition, beginning=beginning)
        start = batches.start(stored, beginning=beginning, end=end)
        if start.trouble:
            self._log.error(start.trouble, partition=partition, stored=stored, start=start.offset)
            self._metrics.missing.inc(max(0, start.offset - stored))
            try:
                await self._sink.move(partition, position=stored, offset=start.offset)
            except OffsetMoved:
                return await self._locate(partition, beginning, end)
        await self._source.seek(partition, start.offset)
        self._log.info("partition taken up", partition=partition, offset=start.offset)
        return start.offset

    async def _record(self, partition: int, messages: list[Message]) -> None:
        batch = batches.plan(partition, self._positions[partition], messages)
        if batch is None:
            return
        if batch.missing:
            self._metrics.missing.inc(batch.missing)
            self._log.error("offsets are missing", partition=partition, count=batch.missing)
        await self._bury(partition, batch.malformed)
        self._metrics.malformed.inc(len(batch.malformed))
        try:
            await self._write(batch, {message.offset: message for message in messages})
        except OffsetMoved:
            self._metrics.overtaken.inc()
            self._log.warning("another consumer was here", partition=partition)
            del self._positions[partition]

    async def _write(self, batch: Batch, messages: Mapping[int, Message]) -> None:
        """Write `batch`; where PostgreSQL refuses it, half of it, until the guilty click is alone.

        So one bad click among n costs about 2 log2(n) transactions more, and itself.
        """
        try:
            fresh = await self._sink.write(batch)
        except Refused as error:
            if not batch.clicks:
                raise
            if len(batch.clicks) > 1:
                for half in batches.halves(batch):
                    await self._write(half, messages)
                return
            [(offset, _)] = batch.clicks
            await self._bury(batch.partition, [(messages[offset], str(error))])
            self._metrics.refused.inc()
            await self._write(batches.without_clicks(batch), messages)
        else:
            self._positions[batch.partition] = batch.next_offset
            self._count(batch, fresh)

    async def _bury(self, partition: int, found: Sequence[tuple[Message, str]]) -> None:
        """Put messages to the dead letters, each with its reason; on return they are safe there."""
        if not found:
            return
        letters = [
            DeadLetter(
                Place(self._topic, partition, message.offset),
                *(message.key, message.value, reason, self._now()),
            )
            for message, reason in found
        ]
        await self._dead_letters.send([to_record(letter) for letter in letters])
        self._metrics.dead_letters.inc(len(letters))
        for letter in letters:
            self._log.warning(
                "message is put to the dead letters",
                partition=partition,
                offset=letter.place.offset,
                reason=letter.reason,
            )

    def _count(self, batch: Batch, fresh: int) -> None:
        self._metrics.recorded.inc(fresh)
        self._metrics.duplicates.inc(len(batch.clicks) - fresh)
        ids = [click.event_id for _, click in batch.clicks]
        # An event id is its request's id: whoever looks for a request finds it here as well.
        for first in range(0, len(ids), _IDS_A_LINE):
            self._log.info(
                "clicks written",
                partition=batch.partition,
                next_offset=batch.next_offset,
                clicks=len(ids),
                new=fresh,
                request_ids=ids[first : first + _IDS_A_LINE],
            )

    def _show_lag(self) -> None:
        for partition, position in self._positions.items():
            end = self._source.end_of(partition)
            if end is not None:
                self._metrics.lag.labels(str(partition)).set(max(0, end - position))
