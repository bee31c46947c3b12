"""The relay's side of the outbox: whose turn it is, what waits, and that it was told.

A turn is one transaction. It holds the destination's advisory lock, so of several relays one tells
a destination at a time; and it removes what was told, so that a relay which dies in between leaves
everything to the next. Rows are removed by their ids and not up to an id: ids are given out before
commits, and one that becomes visible late must not have been passed by.
"""

import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from week04_shortener.storage.database import Connection, Database
from week04_shortener.storage.outbox import Destination

_LOCKS = {Destination.CACHE: 0x6F757462_01, Destination.TOPIC: 0x6F757462_02}
"""Advisory locks: "outb" in ASCII, and a number for each destination."""

_ANY = "SELECT EXISTS (SELECT FROM outbox WHERE destination = $1)"
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"
_OLDEST = """
    SELECT id, code, version, payload, request_id FROM outbox
    WHERE destination = $1 ORDER BY id LIMIT $2
"""
_REMOVE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"
_WAITING = """
    SELECT (
               SELECT count(*) FROM (SELECT FROM outbox WHERE destination = $1 LIMIT $2) AS counted
           ) AS rows,
           coalesce((
               SELECT extract(epoch FROM now() - created_at)::float8 FROM outbox
               WHERE destination = $1 ORDER BY id LIMIT 1
           ), 0) AS oldest_s
"""

MAX_COUNTED = 100_000
"""A backlog is counted so far and no further: it would take the longer the worse things are."""


@dataclass(frozen=True, slots=True)
class Owed:
    """A row of the outbox: what has still to be told."""

    id: int
    code: str
    version: int
    payload: bytes
    request_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many rows wait for a destination, up to `MAX_COUNTED`, and for how long the oldest."""

    rows: int = 0
    oldest_s: float = 0.0


class Turn:
    """The right to tell a destination, for the length of a transaction."""

    def __init__(self, connection: Connection, destination: Destination) -> None:
        self._connection = connection
        self._destination = destination

    async def oldest(self, limit: int) -> list[Owed]:
        """Up to `limit` rows in the order of their ids."""
        rows = await self._connection.fetch(_OLDEST, self._destination.value, limit)
        return [Owed(**row) for row in rows]

    async def remove(self, told: Sequence[Owed]) -> None:
        """They were told. Counts once the turn has ended without an error."""
        await self._connection.execute(_REMOVE, [row.id for row in told])


class OutboxReader:
    """Reads and empties the outbox. Every method raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def turn(self, destination: Destination) -> AsyncIterator[Turn | None]:
        """A turn, or None while nothing waits or another relay has it.

        What raises in the block undoes the turn.
        """
        async with self._database.connection("outbox_turn") as connection:
            # Nearly always nothing waits: found out without a transaction, ten times a second.
            if not await connection.fetchval(_ANY, destination.value):
                yield None
                return
            async with connection.transaction():
                if await connection.fetchval(_TRY_LOCK, _LOCKS[destination]):
                    yield Turn(connection, destination)
                else:
                    yield None

    async def backlog(self) -> dict[Destination, Backlog]:
        """What waits for each destination."""
        found = {}
        async with self._database.connection("outbox_backlog") as connection:
            for destination in Destination:
                row = await connection.fetchrow(_WAITING, destination.value, MAX_COUNTED)
                assert row is not None, "a SELECT without FROM has one row"
                found[destination] = Backlog(row["rows"], row["oldest_s"])
        return found
