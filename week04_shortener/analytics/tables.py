"""The analytics tables: each click once, its sums, and how far each partition was read.

All change in one transaction, and only if the partition's offset still is where the writer
thought it was. A consumer that lost its partition without knowing, or died in mid-commit, can
therefore neither repeat nor skip anything: effects are exactly once although messages are not.
"""

import asyncpg

from infra.service.retry import brief
from week04_shortener.analytics.batches import Batch
from week04_shortener.storage.database import Connection, Database

_FIRST_SEEN = """
    INSERT INTO analytics.offsets (topic, partition, next_offset) VALUES ($1, $2, $3)
    ON CONFLICT (topic, partition) DO NOTHING
"""
_OFFSET = "SELECT next_offset FROM analytics.offsets WHERE topic = $1 AND partition = $2"
_MOVE = """
    UPDATE analytics.offsets SET next_offset = $4, updated_at = now()
    WHERE topic = $1 AND partition = $2 AND next_offset = $3
    RETURNING true
"""
_WRITE = """
    WITH fresh AS (
        INSERT INTO analytics.clicks (
            event_id, code, at, replica, referrer_host, browser, agent, visitor,
            topic, partition, message_offset
        )
        SELECT event_id, code, at, replica, referrer_host, browser, agent, visitor,
               $1, $2, message_offset
        FROM unnest(
            $3::uuid[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::bigint[]
        ) AS t (
            event_id, code, at, replica, referrer_host, browser, agent, visitor, message_offset
        )
        ON CONFLICT (event_id) DO NOTHING
        RETURNING code, at, referrer_host, browser, agent
    ), totals AS (
        INSERT INTO analytics.click_totals AS t (code, clicks, bots, last_click_at)
        SELECT code, count(*), count(*) FILTER (WHERE agent = 'bot'), max(at)
        FROM fresh GROUP BY code ORDER BY code
        ON CONFLICT (code) DO UPDATE SET
            clicks = t.clicks + excluded.clicks,
            bots = t.bots + excluded.bots,
            last_click_at = greatest(t.last_click_at, excluded.last_click_at)
    ), named AS (
        SELECT code, date_trunc('hour', at, 'UTC') AS hour, coalesce(referrer_host, '') AS host,
               coalesce(browser, '') AS browser, agent
        FROM fresh
    ), kinds AS (
        SELECT n.code, n.hour, n.host, n.browser, n.agent, count(*) AS clicks,
               count(h.code) = 0 AS is_new
        FROM named AS n LEFT JOIN analytics.click_hours AS h
            ON (h.code, h.hour, h.referrer_host, h.browser, h.agent)
                = (n.code, n.hour, n.host, n.browser, n.agent)
        GROUP BY 1, 2, 3, 4, 5
    ), held AS (
        SELECT n.code, n.hour, count(h.code) AS kinds
        FROM (SELECT DISTINCT code, hour FROM named) AS n
        LEFT JOIN analytics.click_hours AS h USING (code, hour)
        GROUP BY 1, 2
    ), bounded AS (
        SELECT k.*, is_new AND held.kinds + row_number() OVER (
            PARTITION BY k.code, k.hour, is_new ORDER BY k.host, k.browser, k.agent
        ) > $12 AS is_surplus
        FROM kinds AS k JOIN held USING (code, hour)
    ), hours AS (
        INSERT INTO analytics.click_hours AS h (code, hour, referrer_host, browser, agent, clicks)
        SELECT code, hour, CASE WHEN is_surplus THEN $13 ELSE host END,
               CASE WHEN is_surplus THEN $13 ELSE browser END, agent, sum(clicks)
        FROM bounded GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (code, hour, referrer_host, browser, agent) DO UPDATE SET
            clicks = h.clicks + excluded.clicks
    )
    SELECT count(*) FROM fresh
"""
"""Rows are changed in the order of their keys: writers never wait for each other in a circle.

Who follows a link says itself where it comes from and what it is, so a link's kinds in an hour are
bounded: what would be one too many is counted under `OTHER`. The bound is exact, for one consumer
alone writes the clicks of a code (they are keyed by it)."""

MAX_KINDS = 200
"""Kinds of click (referrer, browser, person or bot) that are told apart for a link and an hour."""

OTHER = "other"

_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""Classes 22 and 23 of SQLSTATE, and what asyncpg itself cannot encode: the same data again would
be refused again (PostgreSQL manual, appendix A)."""


class OffsetMoved(Exception):
    """Somebody else has read this partition on: what was to be written is written already."""


class Refused(Exception):
    """PostgreSQL does not take this data, now or later; the message tells why."""


class Analytics:
    """Writes of the consumer of one topic. Every method raises `DatabaseUnavailable`."""

    def __init__(self, database: Database, topic: str) -> None:
        self._database = database
        self._topic = topic

    async def offset(self, partition: int, *, beginning: int) -> int:
        """The next offset to read; of a partition never read before, its `beginning`."""
        async with self._database.connection("read_offset") as connection:
            await connection.execute(_FIRST_SEEN, self._topic, partition, beginning)
            offset: int = await connection.fetchval(_OFFSET, self._topic, partition)
        return offset

    async def move(self, partition: int, *, position: int, offset: int) -> None:
        """Go on at `offset` without writing anything; `OffsetMoved` if not at `position`."""
        async with self._database.connection("move_offset") as connection:
            if not await connection.fetchval(_MOVE, self._topic, partition, position, offset):
                raise OffsetMoved

    async def write(self, batch: Batch) -> int:
        """Write `batch` and its offset in one transaction.

        Returns how many clicks were new. Nothing is written when it raises `OffsetMoved`, because
        the stored offset is not the batch's position, or `Refused`, because of one of the clicks.
        """
        try:
            async with (
                self._database.connection("write_clicks") as connection,
                connection.transaction(),
            ):
                moved = await connection.fetchval(
                    _MOVE, self._topic, batch.partition, batch.position, batch.next_offset
                )
                if not moved:
                    raise OffsetMoved
                return await self._insert(connection, batch) if batch.clicks else 0
        except _REFUSED as error:
            raise Refused(brief(error)) from error

    async def _insert(self, connection: Connection, batch: Batch) -> int:
        clicks = [click for _, click in batch.clicks]
        fresh: int = await connection.fetchval(
            _WRITE,
            self._topic,
            batch.partition,
            [click.event_id for click in clicks],
            [click.code for click in clicks],
            [click.at for click in clicks],
            [click.replica for click in clicks],
            [click.referrer_host for click in clicks],
            [click.browser for click in clicks],
            [click.agent for click in clicks],
            [click.visitor for click in clicks],
            [offset for offset, _ in batch.clicks],
            MAX_KINDS,
            OTHER,
        )
        return fresh
