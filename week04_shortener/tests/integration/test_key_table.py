"""The keys' table: what is kept of a key, and when it ends."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from week04_shortener.storage.database import Database, open_database
from week04_shortener.storage.keys import Keys, hash_of

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = open_database(dsn, name="test-keys", pool_size=2, connect_timeout_s=10, timeout_s=20)
    async with opened:
        yield opened


async def test_a_key_is_found_until_it_is_revoked(database: Database) -> None:
    keys = Keys(database)
    plain, made = await keys.create("the build server")
    assert made.name == "the build server"
    assert await keys.find(hash_of(plain)) == made
    assert made in await keys.list()

    assert await keys.revoke(made.id)
    assert await keys.find(hash_of(plain)) is None
    assert not await keys.revoke(made.id), "it had ended before"
    (ended,) = [key for key in await keys.list() if key.id == made.id]
    assert ended.revoked_at is not None
    assert replace(ended, revoked_at=None) == made


async def test_nothing_of_the_key_itself_is_kept(database: Database) -> None:
    plain, made = await Keys(database).create("mine")
    async with database.connection() as connection:
        row = await connection.fetchval("SELECT k::text FROM api_keys k WHERE id = $1", made.id)
    assert plain not in row
    assert plain.encode().hex() not in row
    assert hash_of(plain).hex() in row


async def test_an_unknown_key_is_not_found(database: Database) -> None:
    keys = Keys(database)
    assert await keys.find(hash_of(uuid.uuid4().hex)) is None
    assert not await keys.revoke(-1)


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines", "nul\0"])
async def test_a_name_is_a_line_of_a_hundred_characters(database: Database, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 100 printable characters"):
        await Keys(database).create(name)
