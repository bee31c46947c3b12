"""Links in PostgreSQL."""

from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter

from week04_shortener.codes import Codec
from week04_shortener.database import ConnectionLost, Database
from week04_shortener.links import RESERVED_WORDS

_NEXT = "SELECT nextval('link_numbers')"
_INSERT = "INSERT INTO links (id, code, url) VALUES ($1, $2, $3)"
_URL = "SELECT url FROM links WHERE code = $1"
_STATS = """
    SELECT coalesce(t.clicks, 0) AS clicks, t.last_click_at
    FROM links AS l LEFT JOIN analytics.click_totals AS t USING (code)
    WHERE l.code = $1
"""


@dataclass(frozen=True)
class Stats:
    """What is known of a link's clicks; they arrive a moment after the redirect."""

    clicks: int
    last_click_at: datetime | None


class StoreMetrics:
    """What the store counts. The herd's size is read here: one lookup each, or one for all."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queries = Counter(
            "shortener_database_queries_total",
            "Operations sent to PostgreSQL.",
            ("operation",),
            registry=registry,
        )


class LinkStore:
    """Insert and look up links. Every method raises `DatabaseUnavailable`."""

    def __init__(self, database: Database, codec: Codec, metrics: StoreMetrics) -> None:
        self._database = database
        self._codec = codec
        self._metrics = metrics

    async def insert(self, url: str) -> str:
        """Keep `url` under a new code, and return the code."""
        self._metrics.queries.labels("insert").inc()
        async with self._database.connection() as connection:
            number = await connection.fetchval(_NEXT)
            while (code := self._codec.encode(number)).lower() in RESERVED_WORDS:
                number = await connection.fetchval(_NEXT)
            await connection.execute(_INSERT, number, code, url)
        return code

    async def url_of(self, code: str) -> str | None:
        """The URL behind `code`, or None.

        Asked again when the connection is lost: one that died in the pool is found out only by
        using it. Not after a timeout, which would only take twice as long.
        """
        try:
            return await self._url_of(code)
        except ConnectionLost:
            return await self._url_of(code)

    async def stats_of(self, code: str) -> Stats | None:
        """The clicks of `code`, or None when there is no such link."""
        self._metrics.queries.labels("stats").inc()
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_STATS, code)
        return None if row is None else Stats(row["clicks"], row["last_click_at"])

    async def _url_of(self, code: str) -> str | None:
        self._metrics.queries.labels("lookup").inc()
        async with self._database.connection() as connection:
            url: str | None = await connection.fetchval(_URL, code)
        return url
