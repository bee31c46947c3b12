"""What the analytics consumer decides: where to start reading, and what one transaction writes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from week04_shortener.clicks.event import BadClick, Click, decode


class Message(NamedTuple):
    """One message of a partition."""

    offset: int
    value: bytes | None
    key: bytes | None = None


@dataclass(frozen=True)
class Batch:
    """What one transaction writes: the clicks, and that the partition was read to `next_offset`.

    It is valid only if the partition's stored offset still is `position`. `malformed` are the
    messages that are no clicks, each with the reason; `missing` is how many offsets before the
    first message were never seen.
    """

    partition: int
    position: int
    next_offset: int
    clicks: tuple[tuple[int, Click], ...]
    malformed: tuple[tuple[Message, str], ...]
    missing: int


def plan(partition: int, position: int, messages: Iterable[Message]) -> Batch | None:
    """The batch for `messages`, which came in order, when `position` is the next offset to read.

    Messages before `position` are left out: after a rebalance the library may deliver some from
    where it had started itself. None when nothing is left.
    """
    fresh = [message for message in messages if message.offset >= position]
    if not fresh:
        return None
    clicks, malformed = [], []
    for message in fresh:
        try:
            clicks.append((message.offset, decode(message.value or b"")))
        except BadClick as error:
            malformed.append((message, str(error)))
    return Batch(
        partition=partition,
        position=position,
        next_offset=fresh[-1].offset + 1,
        clicks=tuple(clicks),
        malformed=tuple(malformed),
        missing=fresh[0].offset - position,
    )


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """`batch`, of two clicks or more, as two that are written one after the other.

    What its first half has taken care of, malformed messages and missing offsets, the second has
    not.
    """
    first, second = batch.clicks[: len(batch.clicks) // 2], batch.clicks[len(batch.clicks) // 2 :]
    border = second[0][0]
    return (
        replace(batch, next_offset=border, clicks=first),
        replace(batch, position=border, clicks=second, malformed=(), missing=0),
    )


def without_clicks(batch: Batch) -> Batch:
    """`batch` as a mere step of the offset."""
    return replace(batch, clicks=())


class Start(NamedTuple):
    """Where to begin reading; `trouble` tells why that is not the stored offset."""

    offset: int
    trouble: str | None


def start(stored: int, *, beginning: int, end: int) -> Start:
    """Where to read a partition that Kafka holds from `beginning` up to, not including, `end`."""
    if stored < beginning:
        lost = beginning - stored
        return Start(beginning, f"{lost} messages expired in Kafka before they were read")
    if stored > end:
        # Reading all of it again is safe: every event id is written once.
        return Start(beginning, "the topic ends before the stored offset: it was made anew")
    return Start(stored, None)
