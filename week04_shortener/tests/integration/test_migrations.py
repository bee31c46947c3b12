"""The revisions on a real PostgreSQL: up, down and up again, with rows."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

import week04_shortener
from week04_shortener.codes import ALPHABET, Codec
from week04_shortener.links import ALIAS
from week04_shortener.settings import Settings
from week04_shortener.setup import migrate
from week04_shortener.storage.database import DatabaseUnavailable
from week04_shortener.tests.integration.conftest import AGAIN_S, RECOVERY_S

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

MIGRATIONS = Path(week04_shortener.__file__).parent / "migrations"
HEAD = "0002"
URL = "https://example.org/"

_SHAPE = """
    SELECT format('%s.%s.%s %s %s %s', table_schema, table_name, column_name, data_type,
        is_nullable, column_default) AS line
    FROM information_schema.columns WHERE table_schema IN ('public', 'analytics')
    UNION ALL
    SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace::regnamespace::text IN ('public', 'analytics')
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname IN ('public', 'analytics')
    ORDER BY line
"""
_OLD_ROWS = """
    INSERT INTO links (id, code, url) VALUES (nextval('link_numbers'), 'abcdefg', 'http://e.org/');
    INSERT INTO analytics.clicks (event_id, code, at, replica, topic, partition, message_offset)
    VALUES (gen_random_uuid(), 'abcdefg', now(), 'api1', 'clicks', 0, 0);
    INSERT INTO analytics.click_totals VALUES ('abcdefg', 1, now());
    INSERT INTO analytics.offsets VALUES ('clicks', 0, 1);
"""
_NEW_ROWS = """
    INSERT INTO api_keys (name, key_hash) VALUES ('mine', sha256('a key'));
    INSERT INTO links (id, code, url, owner_id, password_hash, max_visits, expires_at, deleted_at)
    VALUES (11, 'my-alias', 'http://e.org/', 1, NULL, NULL, NULL, NULL),
        (12, 'owned12', 'http://e.org/', 1, NULL, NULL, NULL, NULL),
        (13, 'secret1', 'http://e.org/', NULL, 'hash', NULL, NULL, NULL),
        (14, 'limited', 'http://e.org/', NULL, NULL, 3, NULL, NULL),
        (15, 'expires', 'http://e.org/', NULL, NULL, NULL, now(), NULL),
        (16, 'deleted', '', NULL, NULL, NULL, NULL, now());
    INSERT INTO link_visits (link_id, event_id) VALUES (14, gen_random_uuid());
    INSERT INTO idempotency_keys (scope, key, request_hash, link_id) VALUES ('s', 'k', '', 11);
    INSERT INTO outbox (destination, code, version, payload) VALUES ('cache', 'my-alias', 1, '');
    INSERT INTO analytics.click_hours VALUES ('abcdefg', now(), '', 'Firefox', 'person', 1);
    UPDATE analytics.clicks SET agent = 'bot';
    UPDATE analytics.click_totals SET bots = 1;
"""


@pytest.fixture
async def empty(admin_dsn: str) -> AsyncIterator[str]:
    """Address of a database with nothing in it."""
    name = f"test_migrations_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(admin_dsn, ssl=False)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield f"{admin_dsn.rpartition('/')[0]}/{name}"
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def session(empty: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty, ssl=False)
    yield connection
    await connection.close()


async def go(dsn: str, revision: str, *, down: bool = False) -> None:
    """Alembic's upgrade or downgrade to `revision`, in one transaction as `setup` has it."""

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(dsn, ssl=False)

    def run(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


async def shape(session: asyncpg.Connection) -> list[str]:
    return [row["line"] for row in await session.fetch(_SHAPE)]


async def test_up_down_and_up_again_with_rows(empty: str, session: asyncpg.Connection) -> None:
    await go(empty, "0001")
    await session.execute(_OLD_ROWS)
    old_shape = await shape(session)

    await migrate(empty, connect_timeout_s=10)
    new_shape = await shape(session)
    link = await session.fetchrow("SELECT * FROM links")
    assert link is not None
    assert (link["code"], link["version"], link["visits"]) == ("abcdefg", 1, 0)
    assert link["deleted_at"] is link["expires_at"] is link["owner_id"] is None
    assert await session.fetchval("SELECT agent FROM analytics.clicks") == "person"
    await session.execute(_NEW_ROWS)

    await go(empty, "0001", down=True)
    assert await shape(session) == old_shape
    links = await session.fetch("SELECT code FROM links ORDER BY id")
    assert [row["code"] for row in links] == ["abcdefg", "owned12"]
    assert await session.fetchval("SELECT clicks FROM analytics.click_totals") == 1

    await migrate(empty, connect_timeout_s=10)
    assert await shape(session) == new_shape
    await session.execute("UPDATE links SET visits = visits + 1")


async def test_down_to_nothing(empty: str, session: asyncpg.Connection) -> None:
    nothing = await shape(session)
    await migrate(empty, connect_timeout_s=10)
    assert await session.fetchval("SELECT version_num FROM alembic_version") == HEAD
    await go(empty, "base", down=True)
    left = [line for line in await shape(session) if "alembic_version" not in line]
    assert left == nothing == []


async def test_many_links_are_read_once_and_not_written(
    empty: str, session: asyncpg.Connection
) -> None:
    """A table that is rewritten gets new files; one whose constraints are tested is read again."""
    await go(empty, "0001")
    await session.execute(
        """INSERT INTO links (id, code, url)
        SELECT n, lpad(n::text, 7, '0'), 'http://e.org/' FROM generate_series(0, 999) AS n"""
    )
    files = "SELECT pg_relation_filepath($1)"
    before = [await session.fetchval(files, name) for name in ("links", "analytics.clicks")]
    await migrate(empty, connect_timeout_s=10)
    after = [await session.fetchval(files, name) for name in ("links", "analytics.clicks")]
    assert after == before

    # A session that ends hands in its statistics, all at once and a moment late.
    read = 0
    with anyio.fail_after(RECOVERY_S):
        while read == 0:
            await anyio.sleep(AGAIN_S)
            read = await session.fetchval(
                "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'links'"
            )
    assert read == 1000, "to build the index on it, and for nothing else"


async def test_a_table_in_use_is_not_waited_for_long(
    empty: str, session: asyncpg.Connection
) -> None:
    """Behind a migration that waits all readers wait; so it gives up, and is tried again."""
    await go(empty, "0001")
    async with session.transaction():
        await session.execute("SELECT * FROM links")
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            await migrate(empty, connect_timeout_s=10)
    assert await session.fetchval("SELECT version_num FROM alembic_version") == "0001"
    await migrate(empty, connect_timeout_s=10)
    assert await session.fetchval("SELECT version_num FROM alembic_version") == HEAD


# ---- What the tables take is what the code takes

_CODES = [
    *("a", "ab", "abc", "a-c", "a_c", "-bc", "ab-", "_bc", "ab_", "---", "A1z", "my-Alias_9"),
    *("a" * 7, "a" * 31, "a" * 32, "a" * 33, "a-" * 15 + "a", "a-" * 16 + "a"),
    *("", " ", "a c", "a.c", "a/c", "a%c", "ab\n", "\nab", "a\nb", "a\tb", "abc\r", "\u200babc"),
    *("äbc", "aßc", "abé", "٣ab", "ab٣", "\uff41\uff42\uff43", "a\u017fc", "\u212aab"),
    *("[ab", "a[b", "a]b", "a^b", "a`b", "a@b", "a{b", "a:b", "a\\b"),
    *(f"a{character}c" for character in ALPHABET),
    *(Codec(b"sixteen letters!").encode(number) for number in range(100)),
]


async def verdicts(
    session: asyncpg.Connection, name: str, column: str, values: Sequence[str], **others: Any
) -> list[bool]:
    """What the CHECK called `name` says of rows of `links` with these `values`."""
    expression = await session.fetchval(
        "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conname = $1", name
    )
    fixed = "".join(f", {value} AS {field}" for field, value in others.items())
    rows = await session.fetch(
        f"SELECT {expression} AS fine FROM (SELECT {column}{fixed} "
        f"FROM unnest($1::text[]) WITH ORDINALITY AS given ({column}, place) ORDER BY place) AS l",
        list(values),
    )
    return [row["fine"] for row in rows]


async def test_codes_and_urls_are_the_same_everywhere(
    empty: str, session: asyncpg.Connection
) -> None:
    await migrate(empty, connect_timeout_s=10)
    fine = await verdicts(session, "links_code_check", "code", _CODES)
    assert fine == [ALIAS.fullmatch(code) is not None for code in _CODES]
    assert {True, False} <= set(fine)

    longest = next(
        rule.le for rule in Settings.model_fields["max_url_chars"].metadata if hasattr(rule, "le")
    )
    urls = ["h" * 9, "ftp://e.org/", "", *(URL.ljust(n, "a") for n in (longest, longest + 1))]
    live = {"deleted_at": "NULL::timestamptz", "password_hash": "NULL::text"}
    assert await verdicts(session, "links_url_check", "url", urls, **live) == [
        False, False, False, True, False,
    ]  # fmt: skip
    gone = {"deleted_at": "now()", "password_hash": "NULL::text"}
    assert await verdicts(session, "links_url_check", "url", ["", URL], **gone) == [True, False]
    kept = {"deleted_at": "now()", "password_hash": "'hash'::text"}
    assert await verdicts(session, "links_url_check", "url", [""], **kept) == [False]
