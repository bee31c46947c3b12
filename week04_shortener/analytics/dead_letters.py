"""Messages that cannot be counted: kept beside with the reason, to be looked at and sent again.

A message that is no click, or that PostgreSQL refuses for its data, would be refused each time: a
consumer that waited for it to get better would stand still. It is put into a topic of its own,
byte for byte, and only once it is safe there the consumer goes on. Since that happens again when
the consumer dies in between, one message may lie there twice; `place` tells that it is one.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

from week04_shortener.clicks.event import BadClick, decode
from week04_shortener.kafka import Record
from week04_shortener.topics import Stored

MAX_MESSAGE_BYTES: Final = 2 * 1024 * 1024
"""The topic's limit: whatever fits into the topic of clicks fits here, with its headers."""

MAX_REASON_CHARS: Final = 300
REPLAY_BATCH: Final = 200
REPLAY_BATCH_BYTES: Final = 4 * 1024 * 1024
"""Letters in memory at once at most: whoever fills the topic with large ones fills nothing else."""

SENT: Final = "sent again"


class Place(NamedTuple):
    """Where a message lies, or lay."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message as it came from `place`, why it was not counted, and when that was found, UTC."""

    place: Place
    key: bytes | None
    value: bytes | None
    reason: str
    at: datetime


def to_record(letter: DeadLetter) -> Record:
    """`letter` with the original bytes and key, the rest in headers."""
    headers = {
        "reason": letter.reason[:MAX_REASON_CHARS],
        "topic": letter.place.topic,
        "partition": str(letter.place.partition),
        "offset": str(letter.place.offset),
        "at": letter.at.astimezone(UTC).isoformat(timespec="milliseconds"),
    }
    encoded = tuple((name, text.encode("utf-8", "replace")) for name, text in headers.items())
    return Record(letter.key, letter.value, encoded)


class BadLetter(ValueError):
    """A message in the topic of dead letters that this service did not put there."""


def from_stored(stored: Stored) -> DeadLetter:
    """The letter in a message; `BadLetter` when its headers are not those that `to_record` made."""
    try:
        texts = {name: value.decode() for name, value in stored.headers.items()}
        place = Place(texts["topic"], int(texts["partition"]), int(texts["offset"]))
        at = datetime.fromisoformat(texts["at"])
        return DeadLetter(place, stored.key, stored.value, texts["reason"], at)
    except (KeyError, ValueError, AttributeError) as error:
        raise BadLetter("its headers do not say where it comes from") from error


class Reader(Protocol):
    """`week04_shortener.topics.TopicReader`."""

    async def bounds(self) -> dict[int, tuple[int, int]]: ...
    def read(self, partition: int, first: int, end: int) -> AsyncIterator[Stored]: ...


Send = Callable[[Sequence[Record]], Awaitable[None]]
"""Sends records to the topic of clicks; returns when Kafka has them."""


async def newest(reader: Reader, limit: int) -> AsyncIterator[Stored]:
    """The last `limit` dead letters of each partition, in their order."""
    for partition, (beginning, end) in (await reader.bounds()).items():
        async for stored in reader.read(partition, max(beginning, end - limit), end):
            yield stored


async def all_of(reader: Reader) -> AsyncIterator[Stored]:
    """Every dead letter that there is now."""
    for partition, (beginning, end) in (await reader.bounds()).items():
        async for stored in reader.read(partition, beginning, end):
            yield stored


class NoSuchLetter(Exception):
    """There is no dead letter at this place."""

    def __init__(self, partition: int, offset: int) -> None:
        super().__init__(f"there is no dead letter {partition}:{offset}")


async def chosen(reader: Reader, places: Collection[tuple[int, int]]) -> list[Stored]:
    """The dead letters at `places`, (partition, offset); `NoSuchLetter` if one is not there."""
    bounds = await reader.bounds()
    for partition, offset in places:
        beginning, end = bounds.get(partition, (0, 0))
        if not beginning <= offset < end:
            raise NoSuchLetter(partition, offset)
    return [
        stored
        for partition, offset in places
        async for stored in reader.read(partition, offset, offset + 1)
    ]


async def replay(letters: AsyncIterator[Stored], send: Send) -> AsyncIterator[tuple[Stored, str]]:
    """Send `letters` to the topic of clicks again; yields each with what became of it.

    A letter stays where it is and may be replayed again: its event id is counted once. What is no
    click even now is not sent, it would only come back.
    """
    waiting: list[Stored] = []
    async for stored in letters:
        try:
            decode(stored.value or b"")
        except BadClick as error:
            yield stored, f"left, still no click: {error}"
            continue
        waiting.append(stored)
        if len(waiting) == REPLAY_BATCH or _bytes(waiting) >= REPLAY_BATCH_BYTES:
            await send([Record(one.key, one.value) for one in waiting])
            for one in waiting:
                yield one, SENT
            waiting = []
    if waiting:
        await send([Record(one.key, one.value) for one in waiting])
        for one in waiting:
            yield one, SENT


def _bytes(letters: Sequence[Stored]) -> int:
    return sum(len(one.value or b"") for one in letters)
