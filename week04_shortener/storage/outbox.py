"""What is told of a change of a link, written in the transaction that makes the change.

A replica that told Valkey and Kafka itself could die between the commit and the telling, and
nobody would know that something is owed. A row in `outbox` is committed with the change or not at
all; the relay tells what the rows say until it was heard, and then removes them. So everything is
told at least once, and never of a change that was rolled back. Whoever listens recognises what it
heard before: the cache by the version, a reader of the topic by the event's id.

Source: C. Richardson, "Microservices Patterns", 2018, section 3.3 (transactional outbox).
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from week04_shortener.links import Link, encode, entry_of

EVENT_VERSION: Final = 1


class Destination(StrEnum):
    """Who is told."""

    CACHE = "cache"
    """Valkey: the payload is the entry, as `links.encode` writes it."""
    TOPIC = "topic"
    """Kafka: the payload is the event, as `event` writes it."""


class Change(StrEnum):
    """What happened to a link: the event's type."""

    CREATED = "link.created"
    CHANGED = "link.changed"
    DELETED = "link.deleted"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `outbox` to be written; the database adds its id and the time."""

    destination: Destination
    code: str
    version: int
    payload: bytes
    request_id: uuid.UUID | None


def rows_of(
    change: Change,
    link: Link,
    request_id: str,
    new_id: Callable[[], uuid.UUID] = uuid.uuid4,
) -> tuple[Row, Row]:
    """What is told of `link`, as it is after `change`.

    `request_id` is the request's, 32 hexadecimal digits, or empty where no request asked for the
    change; `ValueError` for anything else.
    """
    asked_by = uuid.UUID(request_id) if request_id else None
    return (
        Row(Destination.CACHE, link.code, link.version, encode(entry_of(link)), asked_by),
        Row(Destination.TOPIC, link.code, link.version, event(change, link, new_id(), asked_by),
            asked_by),
    )  # fmt: skip


def event(change: Change, link: Link, event_id: uuid.UUID, request_id: uuid.UUID | None) -> bytes:
    """The message of `change` as JSON.

    It says that something happened, not what the link is now: neither the URL nor anything of a
    password leaves the database, and a reader that wants more asks for `code` at `version`. The
    id is made with the row, so that a message that is sent twice has it twice.
    """
    at = {
        Change.CREATED: link.created_at,
        Change.CHANGED: link.updated_at,
        Change.DELETED: link.deleted_at or link.updated_at,
    }[change]
    fields = {
        "v": EVENT_VERSION,
        "event_id": str(event_id),
        "type": change.value,
        "code": link.code,
        "version": link.version,
        "at": at.isoformat(),
        "owner_id": link.owner_id,
        "request_id": request_id.hex if request_id else None,
    }
    return json.dumps(fields, separators=(",", ":")).encode("ascii")
