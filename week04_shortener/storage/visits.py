"""Visits of links that have only so many: counted in PostgreSQL, one by one, before the redirect.

Clicks are counted behind the redirect, moments late; a limit cannot wait for that. A visit is
spent by one statement, which is a transaction and one round trip (a visit that is refused takes a
second one, to see why):

- The UPDATE takes the link's row lock. Of two replicas the second waits, and then, at READ
  COMMITTED, PostgreSQL evaluates the WHERE once more on the row as the first has left it
  (manual, section 13.2.1). So `visits < max_visits` is always tested on the newest count, and no
  limit is overrun, without a stronger isolation level and without a retry.
- The event's id goes into `link_visits` in the same statement. An event that came before was
  spent before: nginx has asked a second replica for an answer that the first did not give.
- Two replicas with the same event at the same moment both find no row of it: a subquery is not
  evaluated again, only the row that was waited for is. The second then runs into the primary key,
  its statement is undone, its count with it, and the answer is the one the first has given.

All lock the link's row first and `link_visits` second, so none can deadlock. And since an event
spends once, a spend whose answer was lost with the connection is simply asked again.
"""

import uuid
from typing import Final

import asyncpg

from week04_shortener.storage.database import Database, again_if_lost

_SPEND: Final = """
    WITH spent AS (
        UPDATE links SET visits = visits + 1
        WHERE id = $1 AND visits < max_visits
            AND deleted_at IS NULL AND (expires_at IS NULL OR expires_at > now())
            AND NOT EXISTS (SELECT FROM link_visits WHERE link_id = $1 AND event_id = $2)
        RETURNING id
    ), kept AS (
        INSERT INTO link_visits (link_id, event_id) SELECT id, $2 FROM spent
    )
    SELECT EXISTS (SELECT FROM spent)
"""

# Asked apart, and so with a new snapshot: the row of an event whose first request has spent the
# last visit while the second waited for it is not in the second's own.
_MAY_GO_ON: Final = """
    SELECT EXISTS (SELECT FROM link_visits WHERE link_id = $1 AND event_id = $2)
        OR EXISTS (
            SELECT FROM links WHERE id = $1 AND max_visits IS NULL
                AND deleted_at IS NULL AND (expires_at IS NULL OR expires_at > now())
        )
"""


class Visits:
    """Visits spent, exactly. Every method raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def spend(self, link_id: int, event_id: uuid.UUID) -> bool:
        """Spend a visit of link `link_id` for the request `event_id`; whether it may go on.

        False, and nothing is spent, when none is left, and when the link has expired or was
        deleted. True without spending for an event that was spent before, whatever became of the
        link, and for a link whose limit was taken off meanwhile.
        """
        return await again_if_lost(lambda: self._spend(link_id, event_id))

    async def _spend(self, link_id: int, event_id: uuid.UUID) -> bool:
        try:
            async with self._database.connection("spend") as connection:
                if await connection.fetchval(_SPEND, link_id, event_id):
                    return True
                may: bool = await connection.fetchval(_MAY_GO_ON, link_id, event_id)
                return may
        except asyncpg.UniqueViolationError:
            return True
