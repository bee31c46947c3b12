"""How many kinds of click a link can have in an hour, on a real PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import asyncpg
import pytest

from week04_shortener.analytics.batches import Batch
from week04_shortener.analytics.tables import MAX_KINDS, OTHER, Analytics
from week04_shortener.clicks.event import Click
from week04_shortener.storage.database import Database, open_database

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

TOPIC = "test-click-hours"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    async with open_database(
        dsn, name=TOPIC, pool_size=2, connect_timeout_s=10, timeout_s=20
    ) as opened:
        yield opened


async def write(analytics: Analytics, code: str, hosts: Sequence[str | None]) -> None:
    position = await analytics.offset(0, beginning=0)
    clicks = tuple(
        (position + number, Click(uuid.uuid4().hex, code, AT, "api1", host, "Firefox"))
        for number, host in enumerate(hosts)
    )
    assert await analytics.write(
        Batch(0, position, position + len(hosts), clicks, malformed=(), missing=0)
    ) == len(hosts)


async def hours(database: Database, code: str) -> dict[str, int]:
    query = "SELECT referrer_host, clicks FROM analytics.click_hours WHERE code = $1"
    async with database.connection("test") as connection:
        rows: list[asyncpg.Record] = await connection.fetch(query, code)
    return {row["referrer_host"]: row["clicks"] for row in rows}


async def test_invented_referrers_are_counted_under_other(database: Database) -> None:
    analytics, code = Analytics(database, TOPIC), uuid.uuid4().hex[:12]
    await write(analytics, code, ["news.example", None, "news.example"])
    assert await hours(database, code) == {"news.example": 2, "": 1}

    await write(analytics, code, [f"{number}.invented.example" for number in range(500)])
    found = await hours(database, code)
    assert len(found) == MAX_KINDS + 1
    assert found[OTHER] == 500 - (MAX_KINDS - 2)

    await write(analytics, code, [f"{number}.again.example" for number in range(500)])
    await write(analytics, code, ["news.example"])
    found = await hours(database, code)
    assert len(found) == MAX_KINDS + 1
    assert sum(found.values()) == 1004 and found["news.example"] == 3
