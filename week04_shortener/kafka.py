"""Kafka, as much of it as the week's workers need: a sender, and a source of clicks.

This module and `topics` are the only ones that know the client library, which has no type hints.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, NamedTuple

import structlog
from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    TopicPartition,
)
from aiokafka.errors import ConsumerStoppedError, KafkaError

from infra.service.retry import brief
from week04_shortener.analytics.batches import Message

RETRY_BACKOFF_MS = 500
"""The library's own pause between attempts; its default, 100 ms, logs ten lines a second."""

MAX_MESSAGE_BYTES = 1024 * 1024
"""The library's default, which is also what a topic takes unless it is made to take more."""

_FETCH_WAIT_MS = 200
"""How long a broker holds a fetch that finds nothing; messages that come in end the wait."""

_CLOSE_TIMEOUT_S = 3.0
"""A client whose broker is away would otherwise wait for it when it is closed."""


class KafkaUnavailable(Exception):
    """Kafka cannot do this now; the same may work later."""


class Record(NamedTuple):
    """What is sent; records of one key keep their order."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class TopicSender:
    """Sends records to one topic and returns when all replicas in sync have them.

    The producer is idempotent: its own retries neither repeat nor reorder records. Only what is
    sent again after a crash can arrive twice.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        client: str,
        request_timeout_s: float,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._client = client
        self._max_message_bytes = max_message_bytes
        self._request_timeout_ms = round(request_timeout_s * 1000)
        self._producer: Any = None

    async def start(self) -> None:
        """Connect, unless connected; `KafkaUnavailable` if that fails."""
        if self._producer is not None:
            return
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id=self._client,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=self._request_timeout_ms,
            max_request_size=self._max_message_bytes,
            retry_backoff_ms=RETRY_BACKOFF_MS,
        )
        async with _closed_on_failure(producer.stop, producer.client.close):
            async with asyncio.timeout(self._request_timeout_ms / 1000):
                await producer.start()
        self._producer = producer

    async def send(self, records: Sequence[Record]) -> None:
        """Send `records`; returns when every one is acknowledged.

        `KafkaUnavailable` after the limit on a request: any of the records may have arrived, all
        have to be sent again. The limit is set here, because an idempotent producer has none of its
        own: it would try for ever, every `RETRY_BACKOFF_MS`, and no pause would ever grow.
        """
        await self.start()
        try:
            async with asyncio.timeout(self._request_timeout_ms / 1000):
                sent = [
                    await self._producer.send(self._topic, value, key=key, headers=list(headers))
                    for key, value, headers in records
                ]
                for outcome in await asyncio.gather(*sent, return_exceptions=True):
                    if isinstance(outcome, BaseException):
                        raise outcome
        except (KafkaError, OSError) as error:
            # A producer that failed may be fenced or out of sequence for good: take a new one.
            await self.close()
            raise KafkaUnavailable(brief(error)) from error

    async def ping(self) -> None:
        """Return when a broker answers."""
        if self._producer is None:
            raise KafkaUnavailable("not connected")
        await self._producer.client.fetch_all_metadata()

    async def close(self) -> None:
        """Disconnect, within a few seconds."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_client(producer.stop, producer.client.close)


class ClickSource:
    """Reads one topic as a member of a consumer group, from where it is told to.

    Offsets are kept elsewhere: nothing is committed to Kafka, and a partition is read only after
    `seek`. `generation` grows with each assignment; positions from an older one are void.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        group: str,
        *,
        request_timeout_s: float,
        session_timeout_s: float,
    ) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._group = group
        self._request_timeout_ms = round(request_timeout_s * 1000)
        self._session_timeout_ms = round(session_timeout_s * 1000)
        self._consumer: Any = None
        self.generation = 0

    async def start(self) -> None:
        """Connect and join the group, unless done; `KafkaUnavailable` if that fails."""
        if self._consumer is not None:
            return
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id="shortener-consumer",
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            request_timeout_ms=self._request_timeout_ms,
            session_timeout_ms=self._session_timeout_ms,
            heartbeat_interval_ms=self._session_timeout_ms // 3,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            # Other requests to the same broker wait behind a fetch that waits for messages.
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )
        async with _closed_on_failure(consumer.stop, consumer._client.close):
            async with asyncio.timeout(self._request_timeout_ms / 1000):
                await consumer.start()
            consumer.subscribe([self._topic], listener=_Listener(self))
        self._consumer = consumer

    @property
    def partitions(self) -> set[int]:
        """The partitions this member of the group reads now."""
        if self._consumer is None:
            return set()
        return {assigned.partition for assigned in self._consumer.assignment()}

    async def bounds(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        """For each partition the first offset Kafka still has, and the next it will give."""
        where = [self._at(partition) for partition in partitions]
        async with self._failing(), asyncio.timeout(self._request_timeout_ms / 1000):
            beginning = await self._consumer.beginning_offsets(where)
            end = await self._consumer.end_offsets(where)
        return {at.partition: (beginning[at], end[at]) for at in where}

    async def seek(self, partition: int, offset: int) -> None:
        """Read `partition` from `offset` on. `KafkaUnavailable` if it is no longer assigned."""
        async with self._failing():
            self._consumer.seek(self._at(partition), offset)

    async def poll(
        self, partitions: Collection[int], *, timeout_s: float, max_messages: int
    ) -> dict[int, list[Message]]:
        """Up to `max_messages` that have come in within `timeout_s`, by partition."""
        async with self._failing():
            found = await self._consumer.getmany(
                *(self._at(partition) for partition in partitions),
                timeout_ms=round(timeout_s * 1000),
                max_records=max_messages,
            )
        return {
            where.partition: [
                Message(record.offset, record.value, record.key) for record in records
            ]
            for where, records in found.items()
        }

    def end_of(self, partition: int) -> int | None:
        """The offset after the partition's last message, as of the last fetch, if known."""
        where = self._at(partition)
        if self._consumer is None or where not in self._consumer.assignment():
            return None
        end: int | None = self._consumer.highwater(where)
        return end

    async def ping(self) -> None:
        """Return when a broker answers."""
        if self._consumer is None:
            raise KafkaUnavailable("not connected")
        await self._consumer.topics()

    async def close(self) -> None:
        """Leave the group and disconnect, within a few seconds."""
        consumer, self._consumer = self._consumer, None
        self.generation += 1
        if consumer is not None:
            await close_client(consumer.stop, consumer._client.close)

    def _at(self, partition: int) -> Any:
        return TopicPartition(self._topic, partition)

    @contextlib.asynccontextmanager
    async def _failing(self) -> AsyncIterator[None]:
        """An error of the library ends this consumer: `start` makes a new one."""
        if self._consumer is None:
            raise KafkaUnavailable("not connected")
        try:
            yield
        except (KafkaError, ConsumerStoppedError, OSError) as error:
            await self.close()
            raise KafkaUnavailable(brief(error)) from error


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Only takes note. The group's heartbeat waits for these calls: no I/O belongs here."""

    def __init__(self, source: ClickSource) -> None:
        self._source = source

    def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        self._source.generation += 1

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        self._source.generation += 1


@contextlib.asynccontextmanager
async def _closed_on_failure(stop: Any, close: Any) -> AsyncIterator[None]:
    try:
        yield
    except (KafkaError, OSError) as error:
        await close_client(stop, close)
        raise KafkaUnavailable(brief(error)) from error
    except BaseException:
        await close_client(stop, close)
        raise


async def close_client(stop: Any, close: Any) -> None:
    """Stop a client in order or, if its broker does not answer, cut its connections."""
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await stop()
    except (KafkaError, OSError) as error:
        structlog.get_logger().info("kafka client was cut off", error=brief(error))
        with contextlib.suppress(KafkaError, OSError):
            await close()
