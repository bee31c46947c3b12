"""Visits on a real PostgreSQL: no limit is overrun, and no request spends twice."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from week04_shortener.codes import Codec
from week04_shortener.links import Link, NewLink
from week04_shortener.storage.database import Database, open_database
from week04_shortener.storage.store import LinkStore
from week04_shortener.storage.visits import Visits

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

URL = "https://example.org/"
SETTLED_S = 0.3


@pytest.fixture
async def replicas(dsn: str) -> AsyncIterator[tuple[Database, Database]]:
    """Two pools, as two replicas have them."""
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(
                open_database(dsn, name=name, pool_size=8, connect_timeout_s=10, timeout_s=20)
            )
            for name in ("test-visits-1", "test-visits-2")
        ]
        yield one, two


@pytest.fixture
def visits(replicas: tuple[Database, Database]) -> Visits:
    return Visits(replicas[0])


@pytest.fixture
def store(replicas: tuple[Database, Database], lab_codec: Codec) -> LinkStore:
    return LinkStore(replicas[0], lab_codec, idempotency_s=3600)


async def limited(
    store: LinkStore, max_visits: int | None, expires_at: datetime | None = None
) -> Link:
    new = NewLink(URL, None, expires_at, max_visits)
    return (await store.create(new, owner_id=None, idempotency=None, request_id="")).link


async def spent(store: LinkStore, link: Link) -> int:
    found = await store.link_of(link.code)
    assert found is not None
    return found.visits


async def change(store: LinkStore, link: Link, **changes: Any) -> None:
    await store.change(link.code, changes, owner_id=None, if_version=None, request_id="")


async def together(
    replicas: tuple[Database, Database], link: Link, events: list[uuid.UUID]
) -> list[bool]:
    """Spend all `events`, asked of the replicas in turn while the link is locked, then at once."""
    asked = [Visits(database) for database in replicas]
    async with replicas[0].connection() as connection, connection.transaction():
        await connection.execute("SELECT FROM links WHERE id = $1 FOR UPDATE", link.id)
        spending = [
            asyncio.create_task(asked[number % 2].spend(link.id, event))
            for number, event in enumerate(events)
        ]
        await asyncio.sleep(SETTLED_S)
    return list(await asyncio.gather(*spending))


async def test_two_hundred_at_once_get_ten(
    replicas: tuple[Database, Database], store: LinkStore
) -> None:
    link = await limited(store, 10)
    granted = await together(replicas, link, [uuid.uuid4() for _ in range(200)])
    assert sum(granted) == 10
    assert await spent(store, link) == 10


async def test_a_request_that_comes_again_spends_once(visits: Visits, store: LinkStore) -> None:
    link, event = await limited(store, 2), uuid.uuid4()
    assert [await visits.spend(link.id, event) for _ in range(5)] == [True] * 5
    assert await spent(store, link) == 1


@pytest.mark.parametrize("max_visits", [1, 2])
async def test_a_request_that_two_replicas_have_at_once_spends_once(
    replicas: tuple[Database, Database], store: LinkStore, max_visits: int
) -> None:
    """With one visit the second finds none left when it is let in, with two it would take both."""
    link, event = await limited(store, max_visits), uuid.uuid4()
    assert await together(replicas, link, [event] * 12) == [True] * 12
    assert await spent(store, link) == 1


async def test_another_request_and_another_link_are_others(
    visits: Visits, store: LinkStore
) -> None:
    one, other, event = await limited(store, 1), await limited(store, 1), uuid.uuid4()
    assert await visits.spend(one.id, event)
    assert not await visits.spend(one.id, uuid.uuid4())
    assert await visits.spend(other.id, event)


async def test_what_is_over_spends_nothing(visits: Visits, store: LinkStore) -> None:
    now = datetime.now(UTC)
    expired = await limited(store, 3, now - timedelta(seconds=60))
    deleted = await limited(store, 3)
    await store.delete(deleted.code, owner_id=None, if_version=None, request_id="")
    free_and_expired = await limited(store, None, now - timedelta(seconds=60))
    for link in (expired, deleted, free_and_expired):
        assert not await visits.spend(link.id, uuid.uuid4())
        assert await spent(store, link) == 0
    assert not await visits.spend(-1, uuid.uuid4()), "there is no such link"
    later = await limited(store, 3, now + timedelta(days=1))
    assert await visits.spend(later.id, uuid.uuid4())


async def test_a_limit_can_be_raised_and_taken_off(visits: Visits, store: LinkStore) -> None:
    link = await limited(store, 1)
    assert await visits.spend(link.id, uuid.uuid4())
    assert not await visits.spend(link.id, uuid.uuid4())
    await change(store, link, max_visits=2)
    assert await visits.spend(link.id, uuid.uuid4())
    assert not await visits.spend(link.id, uuid.uuid4())
    await change(store, link, max_visits=None)
    assert await visits.spend(link.id, uuid.uuid4())
    assert await spent(store, link) == 2, "without a limit nothing is counted"


async def test_a_deletion_that_comes_between_is_seen(
    replicas: tuple[Database, Database], store: LinkStore
) -> None:
    """The visit waits for the owner's transaction, and then finds the link deleted."""
    link = await limited(store, 5)
    async with replicas[0].connection() as connection, connection.transaction():
        await connection.execute(
            "UPDATE links SET deleted_at = now(), url = '' WHERE id = $1", link.id
        )
        spending = asyncio.create_task(Visits(replicas[1]).spend(link.id, uuid.uuid4()))
        await asyncio.sleep(SETTLED_S)
        assert not spending.done()
    assert await spending is False
