"""What is told of a change: an entry for the cache, an event for the topic, nothing secret."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from week04_shortener.links import Link, decode, entry_of
from week04_shortener.storage.outbox import Change, Destination, rows_of

MADE = datetime(2026, 11, 21, 12, tzinfo=UTC)
CHANGED = datetime(2026, 11, 22, 12, tzinfo=UTC)
DELETED = datetime(2026, 11, 23, 12, tzinfo=UTC)
REQUEST = uuid.UUID(int=1)
EVENT = uuid.UUID(int=2)
LINK = Link(
    7, "my-alias", "https://example.org/secret", MADE, CHANGED, 3, 4, password_hash="a hash"
)


def test_the_cache_gets_the_entry() -> None:
    for link in (LINK, replace(LINK, password_hash=None), replace(LINK, deleted_at=DELETED)):
        row, _ = rows_of(Change.CHANGED, link, REQUEST.hex)
        assert row.destination is Destination.CACHE
        assert (row.code, row.version, row.request_id) == ("my-alias", 4, REQUEST)
        assert decode(row.payload) == entry_of(link)


@pytest.mark.parametrize(
    ("change", "type_", "at"),
    [
        (Change.CREATED, "link.created", MADE),
        (Change.CHANGED, "link.changed", CHANGED),
        (Change.DELETED, "link.deleted", DELETED),
    ],
)
def test_the_topic_gets_an_event(change: Change, type_: str, at: datetime) -> None:
    link = replace(LINK, deleted_at=DELETED) if change is Change.DELETED else LINK
    _, row = rows_of(change, link, REQUEST.hex, new_id=lambda: EVENT)
    assert row.destination is Destination.TOPIC
    assert (row.code, row.version, row.request_id) == ("my-alias", 4, REQUEST)
    assert json.loads(row.payload) == {
        "v": 1,
        "event_id": str(EVENT),
        "type": type_,
        "code": "my-alias",
        "version": 4,
        "at": at.isoformat(),
        "owner_id": 3,
        "request_id": REQUEST.hex,
    }


def test_nothing_secret_is_told() -> None:
    for row in rows_of(Change.CREATED, LINK, ""):
        assert b"a hash" not in row.payload
        assert b"secret" not in row.payload, "a guarded link's URL is for those who are let in"


def test_each_event_has_an_id_of_its_own() -> None:
    told = [rows_of(Change.CHANGED, LINK, "")[1].payload for _ in range(100)]
    assert len({json.loads(payload)["event_id"] for payload in told}) == 100


def test_a_change_that_no_request_asked_for() -> None:
    cache, topic = rows_of(Change.CHANGED, LINK, "")
    assert cache.request_id is topic.request_id is None
    assert json.loads(topic.payload)["request_id"] is None


def test_a_request_id_that_is_none() -> None:
    with pytest.raises(ValueError, match="badly formed"):
        rows_of(Change.CHANGED, LINK, "not an id")
