"""Topics as a whole: made as they are declared, and read from end to end without a group.

This module and `kafka` are the only ones that know the client library.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.new_partitions import NewPartitions
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from infra.service.retry import brief
from week04_shortener.kafka import RETRY_BACKOFF_MS, KafkaUnavailable, close_client

_POLL_S = 1.0


@dataclass(frozen=True)
class Topic:
    """A topic as it shall be; `config` is all that differs from the broker's defaults.

    The entries are described in Kafka's documentation, "Topic configs".
    """

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str] = field(default_factory=dict)


class Stored(NamedTuple):
    """A message as it lies in a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


async def ensure_topic(bootstrap: str, topic: Topic, *, request_timeout_s: float) -> None:
    """Make `topic`, or give it its configuration and the partitions it lacks; `KafkaUnavailable`.

    Partitions are never taken away: Kafka cannot.
    """
    try:
        async with _admin(bootstrap, request_timeout_s) as admin:
            new = NewTopic(
                topic.name, topic.partitions, topic.replication, topic_configs=dict(topic.config)
            )
            made = await admin.create_topics([new])
            code = made.topic_errors[0][1]
            if code == TopicAlreadyExistsError.errno:
                await _configure(admin, topic)
                await _grow(admin, topic)
            elif code:
                raise for_code(code)(f"creating topic {topic.name}")
            else:
                structlog.get_logger().info(
                    "topic made", topic=topic.name, partitions=topic.partitions, **topic.config
                )
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(brief(error)) from error


async def _configure(admin: Any, topic: Topic) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, dict(topic.config))
    [answer] = await admin.alter_configs([resource])
    code, message = answer.resources[0][:2]
    if code:
        raise for_code(code)(f"configuring topic {topic.name}: {message}")


async def _grow(admin: Any, topic: Topic) -> None:
    described = await admin.describe_topics([topic.name])
    found = len(described[0]["partitions"])
    # A code's messages may then change partition. Nothing depends on the order of clicks; readers
    # of changes go by the version in each.
    if found < topic.partitions:
        await admin.create_partitions({topic.name: NewPartitions(topic.partitions)})
        structlog.get_logger().info("topic grown", topic=topic.name, partitions=topic.partitions)


class TopicReader:
    """A look into one topic, which moves nobody's position. Methods raise `KafkaUnavailable`.

    To be entered: `async with TopicReader(...) as reader`.
    """

    def __init__(self, bootstrap: str, topic: str, *, request_timeout_s: float) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._timeout_s = request_timeout_s
        self._consumer: Any = None

    async def __aenter__(self) -> "TopicReader":
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id="shortener-reader",
            group_id=None,
            enable_auto_commit=False,
            request_timeout_ms=round(self._timeout_s * 1000),
            retry_backoff_ms=RETRY_BACKOFF_MS,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                await consumer.start()
        except BaseException as error:
            await close_client(consumer.stop, consumer._client.close)
            if isinstance(error, KafkaError | OSError):
                raise KafkaUnavailable(brief(error)) from error
            raise
        self._consumer = consumer
        return self

    async def __aexit__(self, *_error: object) -> None:
        await close_client(self._consumer.stop, self._consumer._client.close)

    async def bounds(self) -> dict[int, tuple[int, int]]:
        """For each partition the first offset there is, and the next that there will be."""
        with _failing():
            async with (
                asyncio.timeout(self._timeout_s),
                _admin(self._bootstrap, self._timeout_s) as admin,
            ):
                [described] = await admin.describe_topics([self._topic])
                if described["error_code"]:
                    raise for_code(described["error_code"])(f"topic {self._topic}")
                where = [
                    TopicPartition(self._topic, entry["partition"])
                    for entry in described["partitions"]
                ]
                beginning = await self._consumer.beginning_offsets(where)
                end = await self._consumer.end_offsets(where)
        return {at.partition: (beginning[at], end[at]) for at in sorted(where)}

    async def read(self, partition: int, first: int, end: int) -> AsyncIterator[Stored]:
        """The messages of a partition from offset `first` up to, not including, `end`.

        `KafkaUnavailable` when none of them comes in time.
        """
        at = TopicPartition(self._topic, partition)
        with _failing():
            self._consumer.assign([at])
            self._consumer.seek(at, first)
            position = first
            while position < end:
                async with asyncio.timeout(self._timeout_s):
                    while not (found := await self._poll(at)):
                        pass
                for record in found:
                    if record.offset >= end:
                        return
                    headers = dict(record.headers)
                    yield Stored(partition, record.offset, record.key, record.value, headers)
                    position = record.offset + 1

    async def _poll(self, at: Any) -> list[Any]:
        polled = await self._consumer.getmany(at, timeout_ms=round(_POLL_S * 1000))
        return list(polled.get(at, ()))


@contextlib.contextmanager
def _failing() -> Any:
    try:
        yield
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(brief(error)) from error


@contextlib.asynccontextmanager
async def _admin(bootstrap: str, timeout_s: float) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap,
        client_id="shortener-setup",
        request_timeout_ms=round(timeout_s * 1000),
        retry_backoff_ms=RETRY_BACKOFF_MS,
    )
    try:
        async with asyncio.timeout(timeout_s):
            await admin.start()
            yield admin
    finally:
        await close_client(admin.close, admin.close)
