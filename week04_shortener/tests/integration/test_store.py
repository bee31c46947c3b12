"""The store on a real PostgreSQL: what is atomic, what waits, and what is told."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from infra.lab.engines.base import Engine
from week04_shortener.checks.inside import lookups
from week04_shortener.codes import Codec, is_code
from week04_shortener.links import (
    ABSENT,
    AliasTaken,
    Entry,
    Idempotency,
    IdempotencyMismatch,
    Kind,
    Link,
    NewLink,
    NoSuchLink,
    VersionConflict,
    decode,
    entry_of,
)
from week04_shortener.storage import statements
from week04_shortener.storage.database import (
    Connection,
    Database,
    DatabaseUnavailable,
    open_database,
)
from week04_shortener.storage.store import MAX_ROWS, LinkStore
from week04_shortener.tests.integration.conftest import AGAIN_S, RECOVERY_S

pytestmark = [
    pytest.mark.integration,
    pytest.mark.anyio,
    pytest.mark.usefixtures("relay_asleep"),
]

URL = "https://example.org/a?b=c"
DAY_S = 86_400.0
_END_WHO_WAITS = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE application_name = $1 AND wait_event_type = 'Lock'
"""
SETTLED_S = 0.3
"""Long enough for what does not wait to be over, and short enough to be waited for."""


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = open_database(dsn, name="test-store", pool_size=8, connect_timeout_s=10, timeout_s=20)
    async with opened:
        yield opened


@pytest.fixture
def store(database: Database, lab_codec: Codec) -> LinkStore:
    return LinkStore(database, lab_codec, idempotency_s=DAY_S)


@pytest.fixture
async def owner(database: Database) -> int:
    """An owner of this test's own, so that its pages hold this test's links alone."""
    async with database.connection() as connection:
        owner_id: int = await connection.fetchval(
            "INSERT INTO api_keys (name, key_hash) VALUES ('test', $1) RETURNING id",
            uuid.uuid4().bytes * 2,
        )
    return owner_id


def alias() -> str:
    return f"test-{uuid.uuid4().hex[:20]}"


def a_request(request: bytes = b"r" * 32) -> Idempotency:
    return Idempotency("test", uuid.uuid4().hex, request)


async def make(store: LinkStore, new: NewLink, owner_id: int | None = None) -> Link:
    made = await store.create(new, owner_id=owner_id, idempotency=None, request_id="")
    return made.link


async def told(database: Database, code: str) -> list[asyncpg.Record]:
    async with database.connection() as connection:
        return await connection.fetch("SELECT * FROM outbox WHERE code = $1 ORDER BY id", code)


# ---- Making


async def test_a_link_is_stored_as_it_was_returned(store: LinkStore) -> None:
    expires_at = datetime.now(UTC) + timedelta(days=1)
    link = await make(store, NewLink(URL, None, expires_at, 5, "a hash"))
    assert is_code(link.code)
    assert link.version == 1
    assert await store.link_of(link.code) == link
    assert await store.entry_of(link.code) == Entry(
        1, Kind.GUARDED, expires_at_s=expires_at.timestamp()
    )


async def test_what_is_looked_up_is_the_links_entry(store: LinkStore) -> None:
    """The lookup reads less than a link has, and must say the same of it."""
    later = datetime.now(UTC) + timedelta(days=1)
    for new in (
        NewLink(URL),
        NewLink(URL, alias(), later),
        NewLink(URL, alias(), later, 5),
        NewLink(URL, alias(), None, None, "hash"),
    ):
        link = await make(store, new)
        assert await store.entry_of(link.code) == entry_of(link)
        deleted = await store.delete(link.code, owner_id=None, if_version=1, request_id="")
        assert await store.entry_of(link.code) == entry_of(deleted)


async def test_postgresql_counts_lookups_by_their_text(lab: Engine, store: LinkStore) -> None:
    """As the claims count them; others may look up at the same time."""
    before = await lookups(lab.site)
    await store.link_of(alias())
    for _ in range(7):
        await store.entry_of(alias())
    assert await lookups(lab.site) >= before + 7


async def test_an_unknown_code_is_absent(store: LinkStore) -> None:
    assert await store.entry_of(alias()) == ABSENT
    assert await store.link_of(alias()) is None


async def test_of_many_who_want_an_alias_one_gets_it(store: LinkStore) -> None:
    name = alias()
    results = await asyncio.gather(
        *(make(store, NewLink(f"{URL}{number}", name)) for number in range(20)),
        return_exceptions=True,
    )
    made = [result for result in results if isinstance(result, Link)]
    assert len(made) == 1
    assert sum(isinstance(result, AliasTaken) for result in results) == 19
    assert await store.link_of(name) == made[0]


async def test_codes_of_another_key_are_noticed(store: LinkStore, database: Database) -> None:
    """Two numbers have one code only if the key was changed: no reason to try the next one."""
    link = await make(store, NewLink(URL))

    class OfAnotherKey(Codec):
        def encode(self, number: int) -> str:
            return link.code

    other = LinkStore(database, OfAnotherKey(b"another key, also 16"), idempotency_s=DAY_S)
    with pytest.raises(RuntimeError, match="SHORTENER_CODE_KEY is not the one"):
        await make(other, NewLink(URL))
    assert await store.link_of(link.code) == link


async def test_no_link_is_made_without_being_told_of(store: LinkStore, database: Database) -> None:
    request_id = uuid.uuid4()
    link = (
        await store.create(
            NewLink(URL, alias()), owner_id=None, idempotency=None, request_id=request_id.hex
        )
    ).link
    cache, topic = await told(database, link.code)
    assert (cache["destination"], topic["destination"]) == ("cache", "topic")
    assert decode(cache["payload"]) == entry_of(link)
    event = json.loads(topic["payload"])
    assert (event["type"], event["version"]) == ("link.created", 1)
    assert cache["request_id"] == topic["request_id"] == request_id

    with pytest.raises(AliasTaken):
        await make(store, NewLink(URL, link.code))
    assert len(await told(database, link.code)) == 2, "nothing was made, nothing is told"


# ---- The same request again


async def test_of_many_with_one_key_one_makes_the_link(store: LinkStore) -> None:
    key = a_request()
    created = await asyncio.gather(
        *(
            store.create(NewLink(URL), owner_id=None, idempotency=key, request_id="")
            for _ in range(20)
        )
    )
    assert len({made.link for made in created}) == 1
    assert sum(not made.replayed for made in created) == 1


async def begin_claim(connection: Connection, store: LinkStore, key: Idempotency) -> Link:
    """What a replica has done that has a key and its link, and has not committed."""
    link = Link(0, alias(), URL, datetime.now(UTC), datetime.now(UTC))
    number = await connection.fetchval("SELECT nextval('link_numbers')")
    claim = (key.scope, key.key, key.request_hash, number, DAY_S)
    assert await connection.fetchval(statements.CLAIM, *claim)
    await connection.execute(
        "INSERT INTO links (id, code, url) VALUES ($1, $2, $3)", number, link.code, URL
    )
    return link


@pytest.mark.parametrize("commits", [True, False])
async def test_the_second_waits_for_the_first(
    store: LinkStore, database: Database, commits: bool
) -> None:
    key = a_request()
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        first = await begin_claim(connection, store, key)
        second = asyncio.create_task(
            store.create(NewLink(URL), owner_id=None, idempotency=key, request_id="")
        )
        await asyncio.sleep(SETTLED_S)
        assert not second.done(), "it must not decide before the first has"
        await (transaction.commit() if commits else transaction.rollback())
        made = await second
    assert made.replayed is commits
    assert (made.link.code == first.code) is commits


async def test_a_key_is_for_one_request(store: LinkStore) -> None:
    key = a_request()
    await store.create(NewLink(URL), owner_id=None, idempotency=key, request_id="")
    other = Idempotency(key.scope, key.key, b"o" * 32)
    with pytest.raises(IdempotencyMismatch):
        await store.create(NewLink(URL), owner_id=None, idempotency=other, request_id="")
    elsewhere = Idempotency("other", key.key, b"o" * 32)
    made = await store.create(NewLink(URL), owner_id=None, idempotency=elsewhere, request_id="")
    assert not made.replayed


async def test_an_old_key_counts_as_new(store: LinkStore, database: Database) -> None:
    key = a_request()
    old = await store.create(NewLink(URL), owner_id=None, idempotency=key, request_id="")
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE idempotency_keys SET created_at = now() - interval '1 day 1 s' WHERE key = $1",
            key.key,
        )
    other = Idempotency(key.scope, key.key, b"o" * 32)
    created = await asyncio.gather(
        *(
            store.create(NewLink(URL), owner_id=None, idempotency=other, request_id="")
            for _ in range(8)
        )
    )
    assert len({made.link for made in created}) == 1
    assert created[0].link != old.link
    assert sum(not made.replayed for made in created) == 1


async def test_a_taken_alias_leaves_the_key_free(store: LinkStore) -> None:
    key, taken = a_request(), (await make(store, NewLink(URL, alias()))).code
    with pytest.raises(AliasTaken):
        await store.create(NewLink(URL, taken), owner_id=None, idempotency=key, request_id="")
    other = Idempotency(key.scope, key.key, b"o" * 32)
    made = await store.create(NewLink(URL), owner_id=None, idempotency=other, request_id="")
    assert not made.replayed


async def test_what_dies_halfway_leaves_nothing(
    store: LinkStore, database: Database, dsn: str, lab_codec: Codec
) -> None:
    """A request has its key and waits for its alias when its connection is ended."""
    key, name = a_request(), alias()
    async with database.connection() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO links (id, code, url) SELECT nextval('link_numbers'), $1, $2", name, URL
        )
        application = f"test-{uuid.uuid4().hex}"
        dying = open_database(
            dsn, name=application, pool_size=1, connect_timeout_s=10, timeout_s=20
        )
        async with dying:
            request = LinkStore(dying, lab_codec, idempotency_s=DAY_S).create(
                NewLink(URL, name), owner_id=None, idempotency=key, request_id=""
            )
            creating = asyncio.create_task(request)
            ended = False
            async with asyncio.timeout(RECOVERY_S):
                while not ended:
                    await asyncio.sleep(AGAIN_S)
                    ended = await connection.fetchval(_END_WHO_WAITS, application)
            with pytest.raises(DatabaseUnavailable):
                await creating
    assert await told(database, name) == []
    other = Idempotency(key.scope, key.key, b"o" * 32)
    made = await store.create(NewLink(URL), owner_id=None, idempotency=other, request_id="")
    assert not made.replayed, "the key is free"


# ---- Many


async def test_each_of_many_has_its_own_result(store: LinkStore, database: Database) -> None:
    taken, twice = (await make(store, NewLink(URL, alias()))).code, alias()
    results = await store.create_many(
        [NewLink(f"{URL}0"), NewLink(URL, taken), NewLink(f"{URL}2", twice), NewLink(URL, twice)],
        owner_id=None,
        request_id="",
    )
    assert [type(result) for result in results] == [Link, AliasTaken, Link, AliasTaken]
    for result in results:
        if isinstance(result, Link):
            assert await store.link_of(result.code) == result
            assert len(await told(database, result.code)) == 2


async def test_many_with_the_same_aliases_do_not_deadlock(
    store: LinkStore, database: Database
) -> None:
    """Somebody has the alias in the middle, so that both have begun when they meet."""
    news = [NewLink(URL, name) for name in sorted(alias() for _ in range(101))]
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "INSERT INTO links (id, code, url) SELECT nextval('link_numbers'), $1, $2",
            news[50].alias,
            URL,
        )
        both = [
            asyncio.create_task(store.create_many(order, owner_id=None, request_id=""))
            for order in (news, news[::-1])
        ]
        await asyncio.sleep(SETTLED_S)
        assert not any(task.done() for task in both)
        await transaction.rollback()
        batches = await asyncio.gather(*both)
    made = [result.code for batch in batches for result in batch if isinstance(result, Link)]
    assert sorted(made) == [new.alias for new in news]


async def test_many_are_bounded(store: LinkStore) -> None:
    assert await store.create_many([], owner_id=None, request_id="") == []
    full = await store.create_many([NewLink(URL)] * MAX_ROWS, owner_id=None, request_id="")
    assert len({link.code for link in full if isinstance(link, Link)}) == MAX_ROWS
    with pytest.raises(ValueError, match="1001 links at once"):
        await store.create_many([NewLink(URL)] * (MAX_ROWS + 1), owner_id=None, request_id="")


# ---- Changing and deleting


async def test_a_change_makes_a_version_and_is_told(store: LinkStore, database: Database) -> None:
    link = await make(store, NewLink(URL, alias()))
    changes = {"url": "https://example.org/b", "max_visits": 3, "password_hash": "hash"}
    changed = await store.change(
        link.code, changes, owner_id=None, if_version=1, request_id=uuid.uuid4().hex
    )
    assert (changed.url, changed.max_visits, changed.password_hash, changed.version) == (
        "https://example.org/b", 3, "hash", 2,
    )  # fmt: skip
    assert changed.updated_at > link.updated_at
    assert await store.link_of(link.code) == changed
    cache, topic = (await told(database, link.code))[2:]
    assert decode(cache["payload"]) == entry_of(changed)
    event = json.loads(topic["payload"])
    assert (event["type"], event["version"]) == ("link.changed", 2)
    assert datetime.fromisoformat(event["at"]) == changed.updated_at


async def test_a_change_back_to_nothing(store: LinkStore) -> None:
    link = await make(store, NewLink(URL, alias(), datetime.now(UTC), 5, "hash"))
    changes = {"expires_at": None, "max_visits": None, "password_hash": None}
    changed = await store.change(link.code, changes, owner_id=None, if_version=None, request_id="")
    assert entry_of(changed) == Entry(2, Kind.OPEN, URL)


async def test_what_changes_nothing_makes_no_version(store: LinkStore, database: Database) -> None:
    link = await make(store, NewLink(URL, alias()))
    for changes in ({}, {"url": URL}):
        same = await store.change(link.code, changes, owner_id=None, if_version=1, request_id="")
        assert same == link
    assert len(await told(database, link.code)) == 2


async def test_no_change_is_lost(store: LinkStore, database: Database) -> None:
    """Twenty who saw version 1: one changes it. Twenty who do not care: twenty versions."""
    link = await make(store, NewLink(URL, alias()))

    async def change(number: int, if_version: int | None) -> Link:
        changes = {"url": f"{URL}{number}"}
        return await store.change(
            link.code, changes, owner_id=None, if_version=if_version, request_id=""
        )

    async with database.connection() as connection, connection.transaction():
        # All have begun before any can end.
        await connection.execute("SELECT FROM links WHERE code = $1 FOR UPDATE", link.code)
        changes = [asyncio.create_task(change(n, 1)) for n in range(20)]
        await asyncio.sleep(SETTLED_S)
        assert not any(task.done() for task in changes)
    results = await asyncio.gather(*changes, return_exceptions=True)
    assert sum(isinstance(result, Link) for result in results) == 1
    conflicts = [result for result in results if isinstance(result, VersionConflict)]
    assert len(conflicts) == 19
    assert {conflict.version for conflict in conflicts} == {2}

    changed = await asyncio.gather(*(change(n, None) for n in range(100, 120)))
    assert sorted(link.version for link in changed) == list(range(3, 23))


async def test_only_some_fields_can_be_changed(store: LinkStore) -> None:
    link = await make(store, NewLink(URL, alias()))
    with pytest.raises(ValueError, match="not to be changed: visits"):
        await store.change(link.code, {"visits": 0}, owner_id=None, if_version=1, request_id="")


async def test_somebody_elses_link_is_none(store: LinkStore, owner: int) -> None:
    mine = await make(store, NewLink(URL, alias()), owner)
    nobodys = await make(store, NewLink(URL, alias()))
    for code, owner_id in ((mine.code, None), (nobodys.code, owner), (alias(), owner)):
        with pytest.raises(NoSuchLink):
            await store.change(
                code, {"url": f"{URL}2"}, owner_id=owner_id, if_version=None, request_id=""
            )
        with pytest.raises(NoSuchLink):
            await store.delete(code, owner_id=owner_id, if_version=None, request_id="")
    assert await store.link_of(mine.code) == mine
    assert await store.link_of(nobodys.code) == nobodys


async def test_a_deleted_link_stays_deleted(
    store: LinkStore, database: Database, owner: int
) -> None:
    link = await make(store, NewLink(URL, alias(), None, 3, "hash"), owner)
    with pytest.raises(VersionConflict):
        await store.delete(link.code, owner_id=owner, if_version=7, request_id="")
    deleted = await store.delete(link.code, owner_id=owner, if_version=1, request_id="")
    assert (deleted.version, deleted.url, deleted.password_hash) == (2, "", None)
    assert deleted.deleted_at is not None
    assert await store.entry_of(link.code) == Entry(2, Kind.GONE)

    cache, topic = (await told(database, link.code))[2:]
    assert decode(cache["payload"]) == Entry(2, Kind.GONE)
    assert json.loads(topic["payload"])["type"] == "link.deleted"

    with pytest.raises(NoSuchLink):
        await store.delete(link.code, owner_id=owner, if_version=None, request_id="")
    with pytest.raises(NoSuchLink):
        await store.change(link.code, {"url": URL}, owner_id=owner, if_version=None, request_id="")
    with pytest.raises(AliasTaken):
        await make(store, NewLink(URL, link.code), owner)
    assert await store.page(owner_id=owner, before_id=None, limit=10) == []


async def test_what_fails_halfway_leaves_nothing(store: LinkStore, database: Database) -> None:
    """The link is changed already when it turns out that this cannot be told: it is undone."""
    link = await make(store, NewLink(URL, alias()))
    with pytest.raises(ValueError, match="badly formed hexadecimal UUID"):
        await store.change(
            link.code, {"url": f"{URL}2"}, owner_id=None, if_version=1, request_id="no id"
        )
    assert await store.link_of(link.code) == link


# ---- Listing


async def test_pages_hold_each_link_once(store: LinkStore, owner: int) -> None:
    results = await store.create_many([NewLink(URL)] * 7, owner_id=owner, request_id="")
    made = [link for link in results if isinstance(link, Link)]
    seen: list[Link] = []
    before_id = None
    while links := await store.page(owner_id=owner, before_id=before_id, limit=3):
        assert len(links) <= 3
        seen += links
        before_id = links[-1].id
        # A newer link moves nothing: it is before the first page.
        await make(store, NewLink(URL), owner)
    assert seen == sorted(made, key=lambda link: -link.id)


async def test_an_export_goes_from_page_to_page(store: LinkStore, owner: int) -> None:
    made: set[int] = set()
    for _ in range(2):
        results = await store.create_many([NewLink(URL)] * 600, owner_id=owner, request_id="")
        made |= {link.id for link in results if isinstance(link, Link)}
    exported = [link.id async for link in store.export(owner_id=owner)]
    assert exported == sorted(made, reverse=True)


async def test_links_of_nobody_are_listed(store: LinkStore) -> None:
    made = await make(store, NewLink(URL))
    (newest,) = await store.page(owner_id=None, before_id=made.id + 1, limit=1)
    assert newest == made


@pytest.mark.parametrize(
    ("statement", "owner_id"), [(statements.PAGE, (1,)), (statements.PAGE_OF_NOBODY, ())]
)
async def test_a_page_walks_the_index_and_sorts_nothing(
    database: Database, statement: str, owner_id: tuple[int, ...]
) -> None:
    """Told not to read the whole table, which is right for the few rows that a test has."""
    async with database.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", 2**62, 10, *owner_id)
    (node,) = json.loads(plan)[0]["Plan"]["Plans"]
    assert (node["Node Type"], node["Index Name"]) == ("Index Scan", "links_owner")


# ---- Connections that die


async def test_a_lookup_survives_the_death_of_its_connection(dsn: str, lab_codec: Codec) -> None:
    """The pool has one connection, and it dies while it is idle."""
    one = open_database(dsn, name="test-one", pool_size=1, connect_timeout_s=10, timeout_s=20)
    async with one:
        store = LinkStore(one, lab_codec, idempotency_s=DAY_S)
        link = await make(store, NewLink(URL))
        async with one.connection() as connection:
            pid = connection.get_server_pid()
        killer: Any = await asyncpg.connect(dsn, ssl=False)
        try:
            assert await killer.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)
        finally:
            await killer.close()
        assert await store.link_of(link.code) == link
