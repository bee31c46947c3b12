"""Links in PostgreSQL, and with each change of one what is told of it.

Every transaction here runs at READ COMMITTED, PostgreSQL's default, at which each statement sees
what was committed before it began (manual, section 13.2.1). Beside each stands why that is enough.
In short: what must not be decided twice is decided by a row lock or a unique index, never by
something that an earlier statement has read.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import asyncpg

from week04_shortener.codes import Codec
from week04_shortener.links import (
    ABSENT,
    CHANGEABLE,
    RESERVED_WORDS,
    AliasTaken,
    Created,
    Entry,
    Idempotency,
    IdempotencyMismatch,
    Link,
    NewLink,
    NoSuchLink,
    VersionConflict,
)
from week04_shortener.storage import statements
from week04_shortener.storage.database import Connection, Database, again_if_lost
from week04_shortener.storage.outbox import Change, Row, rows_of

MAX_ROWS: Final = 1000
"""Links of one `create_many`, one `page` and one step of `export`, at most."""

_LAST_ID: Final = 2**63 - 1


class LinkStore:
    """The table of links. Every method raises `DatabaseUnavailable`.

    After that it is not known whether a change was made; an idempotency key finds out, and so
    does the version.
    """

    def __init__(self, database: Database, codec: Codec, *, idempotency_s: float) -> None:
        """`idempotency_s`: how long an idempotency key is remembered, seconds."""
        self._database = database
        self._codec = codec
        self._idempotency_s = idempotency_s

    async def entry_of(self, code: str) -> Entry:
        """What the caches keep of `code`; `ABSENT` when there never was such a link.

        What a redirect that misses every cache costs: one statement, prepared once for each
        connection, and one descent of the unique index on `code`.
        """
        row = await self._find("lookup", statements.LOOKUP, code)
        return ABSENT if row is None else statements.entry_of(row)

    async def link_of(self, code: str) -> Link | None:
        """The link with this code, a deleted one too, or None when there never was one."""
        row = await self._find("link", statements.LINK, code)
        return None if row is None else statements.link_of(row)

    async def create(
        self,
        new: NewLink,
        *,
        owner_id: int | None,
        idempotency: Idempotency | None,
        request_id: str,
    ) -> Created:
        """Make `new`, or find what an earlier request with the same idempotency key has made.

        Raises `AliasTaken`, and then the key stays free; `IdempotencyMismatch` when the key was
        used for another request.

        Safe at READ COMMITTED: the key's primary key lets one transaction have it. A second one
        waits for the first to end, inside its INSERT, and then finds the key taken, or free if the
        first was undone. A claim that fails has locked the key's row nevertheless, so what the
        next statement reads of it cannot be purged in between.
        """
        async with self._database.connection("create") as connection:
            (link,) = await self._drafts(connection, [new], owner_id)
            if idempotency is None:
                # One statement is a transaction by itself: no round trips for BEGIN and COMMIT.
                await _insert_one(connection, link, new, request_id)
                return Created(link)
            async with connection.transaction():
                earlier = await self._claim(connection, idempotency, link.id)
                if earlier is not None:
                    return Created(earlier, replayed=True)
                await _insert_one(connection, link, new, request_id)
        return Created(link)

    async def create_many(
        self, news: Sequence[NewLink], *, owner_id: int | None, request_id: str
    ) -> list[Link | AliasTaken]:
        """Make up to `MAX_ROWS` links in one transaction; one result for each, in their order.

        A taken alias stops only its own link; of the same alias twice one link is made.

        Safe at READ COMMITTED: it is one statement, and the unique index on `code` decides; a
        second transaction with the same alias waits for the first to end.
        """
        if len(news) > MAX_ROWS:
            raise ValueError(f"{len(news)} links at once, more than {MAX_ROWS}")
        if not news:
            return []
        async with self._database.connection("create_many") as connection:
            links = await self._drafts(connection, news, owner_id)
            made = await _insert(connection, links, request_id)
        return [
            link if link.id in made else _taken(link, new)
            for link, new in zip(links, news, strict=True)
        ]

    async def change(
        self,
        code: str,
        changes: Mapping[str, Any],
        *,
        owner_id: int | None,
        if_version: int | None,
        request_id: str,
    ) -> Link:
        """Set the fields in `changes`, some of `CHANGEABLE`; returns the link as it is then.

        What changes nothing makes no new version. Raises `NoSuchLink`; `VersionConflict` when the
        link's version is not `if_version`; `ValueError` for a field that cannot be changed.

        Safe at READ COMMITTED: the row is locked before it is judged, and the lock is held until
        the commit; a second change waits for it, and then reads what the first has written.
        """
        if not changes.keys() <= CHANGEABLE:
            raise ValueError(f"not to be changed: {', '.join(changes.keys() - CHANGEABLE)}")
        async with self._database.connection("change") as connection, connection.transaction():
            link = await _locked(connection, code, owner_id, if_version)
            changed = replace(link, **changes)
            if changed == link:
                return link
            changed = await _update(connection, changed, is_deleted=False)
            await _tell(connection, rows_of(Change.CHANGED, changed, request_id))
        return changed

    async def delete(
        self, code: str, *, owner_id: int | None, if_version: int | None, request_id: str
    ) -> Link:
        """Delete a link; returns what stays of it, which keeps its code from being used again.

        Its URL and password are removed for good. Raises `NoSuchLink`, for a deleted one too, and
        `VersionConflict`. Safe at READ COMMITTED as `change` is.
        """
        async with self._database.connection("delete") as connection, connection.transaction():
            link = await _locked(connection, code, owner_id, if_version)
            link = replace(link, url="", password_hash=None)
            link = await _update(connection, link, is_deleted=True)
            await _tell(connection, rows_of(Change.DELETED, link, request_id))
        return link

    async def page(self, *, owner_id: int | None, before_id: int | None, limit: int) -> list[Link]:
        """Up to `limit` of an owner's links, newest first, of those older than `before_id`.

        The id of a page's last link is where the next begins. An OFFSET would read all that it
        skips, and skip or repeat links when some are made or deleted meanwhile.
        """
        last = _LAST_ID if before_id is None else before_id
        bounds = (last, min(limit, MAX_ROWS))
        async with self._database.connection("page") as connection:
            if owner_id is None:
                rows = await connection.fetch(statements.PAGE_OF_NOBODY, *bounds)
            else:
                rows = await connection.fetch(statements.PAGE, *bounds, owner_id)
        return [statements.link_of(row) for row in rows]

    async def owned(self, codes: Collection[str], *, owner_id: int | None) -> set[str]:
        """Those of `codes` that are links of this owner, deleted ones not among them."""
        async with self._database.connection("owned") as connection:
            rows = await connection.fetch(statements.OWNED, list(codes), owner_id)
        return {row["code"] for row in rows}

    async def export(self, *, owner_id: int | None) -> AsyncIterator[Link]:
        """All links of an owner, newest first, with `MAX_ROWS` of them in memory at most.

        Page by page, and not with a cursor of PostgreSQL's: that lives in a transaction, which
        would hold a connection of the pool, and back from VACUUM what was deleted since, for as
        long as the slowest client takes to read. The price: who exports while links change sees
        each link as it was when its page was read.
        """
        before_id = None
        while links := await self.page(owner_id=owner_id, before_id=before_id, limit=MAX_ROWS):
            for link in links:
                yield link
            before_id = links[-1].id

    async def _find(self, operation: str, statement: str, code: str) -> asyncpg.Record | None:
        async def find() -> asyncpg.Record | None:
            async with self._database.connection(operation) as connection:
                return await connection.fetchrow(statement, code)

        return await again_if_lost(find)

    async def _claim(
        self, connection: Connection, idempotency: Idempotency, link_id: int
    ) -> Link | None:
        """Take the key for link `link_id`, or return the link that it was taken for."""
        key = (idempotency.scope, idempotency.key)
        arguments = (*key, idempotency.request_hash, link_id, self._idempotency_s)
        if await connection.fetchval(statements.CLAIM, *arguments):
            return None
        row = await connection.fetchrow(statements.CLAIMED, *key)
        assert row is not None, "the claim has locked the key's row"
        if row["request_hash"] != idempotency.request_hash:
            raise IdempotencyMismatch
        return statements.link_of(row)

    async def _drafts(
        self, connection: Connection, news: Sequence[NewLink], owner_id: int | None
    ) -> list[Link]:
        """The links as they will be, with numbers that nobody else gets.

        A sequence gives a number away for good, whatever becomes of the transaction: those of
        links that are not made are gaps.
        """
        drafts: list[Link] = []
        while len(drafts) < len(news):
            for row in await connection.fetch(statements.NUMBERS, len(news) - len(drafts)):
                code = self._codec.encode(row["number"])
                if code.lower() not in RESERVED_WORDS:
                    new = news[len(drafts)]
                    drafts.append(
                        _draft(row["number"], new.alias or code, row["at"], new, owner_id)
                    )
        return drafts


def _draft(number: int, code: str, at: datetime, new: NewLink, owner_id: int | None) -> Link:
    return Link(
        id=number,
        code=code,
        url=new.url,
        created_at=at,
        updated_at=at,
        owner_id=owner_id,
        expires_at=new.expires_at,
        max_visits=new.max_visits,
        password_hash=new.password_hash,
    )


async def _insert_one(connection: Connection, link: Link, new: NewLink, request_id: str) -> None:
    if not await _insert(connection, [link], request_id):
        raise _taken(link, new)


async def _insert(connection: Connection, links: Sequence[Link], request_id: str) -> set[int]:
    """Write `links`, whose codes are not taken, and what is told of them; returns their ids."""
    told = [(link.id, row) for link in links for row in rows_of(Change.CREATED, link, request_id)]
    arguments = statements.insert_arguments(links, told)
    return {row["id"] for row in await connection.fetch(statements.INSERT, *arguments)}


async def _locked(
    connection: Connection, code: str, owner_id: int | None, if_version: int | None
) -> Link:
    row = await connection.fetchrow(statements.LOCK, code)
    if row is None or row["deleted_at"] is not None or row["owner_id"] != owner_id:
        raise NoSuchLink
    link = statements.link_of(row)
    if if_version is not None and link.version != if_version:
        raise VersionConflict(link.version)
    return link


async def _update(connection: Connection, link: Link, *, is_deleted: bool) -> Link:
    row = await connection.fetchrow(
        statements.UPDATE,
        link.id,
        link.url,
        link.expires_at,
        link.max_visits,
        link.password_hash,
        is_deleted,
    )
    assert row is not None, "the row is locked"
    return statements.link_of(row)


async def _tell(connection: Connection, rows: Iterable[Row]) -> None:
    await connection.execute(statements.TELL, *statements.outbox_columns(rows))


def _taken(link: Link, new: NewLink) -> AliasTaken:
    if new.alias is None:
        raise RuntimeError(
            f"code {link.code} of number {link.id} is taken: SHORTENER_CODE_KEY is not the one "
            "that the links were made with"
        )
    return AliasTaken(new.alias)
