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

from week04_shortener.database import Connection, Database
from week04_shortener.outbox import Destination

_LOCKS = {Destination.CACHE: 0x6F757462_01, Destination.TOPIC: 0x6F757462_02}
"""Advisory locks: "outb" in ASCII, and a number for each destination."""

_TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"
_OLDEST = """
    SELECT id, code, version, payload, request_id FROM outbox
    WHERE destination = $1 ORDER BY id LIMIT $2
"""
_REMOVE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"
_WAITING = """
    SELECT destination, count(*) AS rows,
           extract(epoch FROM now() - min(created_at))::float8 AS oldest_s
    FROM outbox GROUP BY destination
"""


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
    """How much waits for a destination, and for how long the oldest of it."""

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
        """A turn, or None while another relay has it. What raises in the block undoes the turn."""
        async with self._database.connection() as connection, connection.transaction():
            if await connection.fetchval(_TRY_LOCK, _LOCKS[destination]):
                yield Turn(connection, destination)
            else:
                yield None

    async def backlog(self) -> dict[Destination, Backlog]:
        """What waits for each destination."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_WAITING)
        found = {Destination(row["destination"]): row for row in rows}
        return {
            destination: Backlog(found[destination]["rows"], found[destination]["oldest_s"])
            if destination in found
            else Backlog()
            for destination in Destination
        }
