"""What is known of a link's clicks: totals, people and bots, by hour, from where, with what.

Sums are read from sums, which the consumer keeps in the transaction that adds the clicks; only
the visitors of today are counted from single clicks, and of so many at most.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from week04_shortener.storage.database import Connection, Database

HOURS: Final = 48
MAX_HOURS: Final = 24 * 31
TOP: Final = 10
"""Referrers and browsers that are named; the others are in the totals only."""

MAX_CLICKS_LOOKED_AT: Final = 100_000
"""Today's clicks among which visitors are told apart; a busier link's count stops growing there."""

_TOTALS = "SELECT clicks, bots, last_click_at FROM analytics.click_totals WHERE code = $1"
_HOURS = """
    SELECT hour, sum(clicks) AS clicks,
           coalesce(sum(clicks) FILTER (WHERE agent = 'bot'), 0) AS bots
    FROM analytics.click_hours WHERE code = $1 AND hour >= $2 GROUP BY hour
"""
_REFERRERS = """
    SELECT referrer_host AS name, sum(clicks) AS clicks FROM analytics.click_hours
    WHERE code = $1 AND hour >= $2 AND agent = 'person'
    GROUP BY referrer_host ORDER BY sum(clicks) DESC, referrer_host LIMIT $3
"""
_BROWSERS = """
    SELECT browser AS name, sum(clicks) AS clicks FROM analytics.click_hours
    WHERE code = $1 AND hour >= $2 AND agent = 'person'
    GROUP BY browser ORDER BY sum(clicks) DESC, browser LIMIT $3
"""
_VISITORS = """
    SELECT count(DISTINCT visitor) FROM (
        SELECT visitor FROM analytics.clicks
        WHERE code = $1 AND at >= $2 AND agent = 'person' LIMIT $3
    ) AS today
"""
_TOTALS_OF_MANY = "SELECT code, clicks FROM analytics.click_totals WHERE code = ANY($1::text[])"


@dataclass(frozen=True, slots=True)
class Hour:
    """Clicks of the hour that begins at `begins`, UTC; `bots` of the `clicks` were bots'."""

    begins: datetime
    clicks: int
    bots: int


@dataclass(frozen=True, slots=True)
class Share:
    """Clicks of people with this referrer's host or browser; `name` is empty when unknown."""

    name: str
    clicks: int


@dataclass(frozen=True, slots=True)
class Totals:
    """A link's clicks so far, those of `bots` among them."""

    clicks: int = 0
    bots: int = 0
    last_click_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """A link's clicks so far; one arrives a moment after its redirect.

    `hours` has no gaps, the oldest first, and ends with the hour of now; `referrers` and `browsers`
    are of these hours and of people, the greatest first. `visitors_today` are people told apart by
    a hash that is another one each day (UTC).
    """

    code: str
    clicks: int
    people: int
    bots: int
    last_click_at: datetime | None
    visitors_today: int
    hours: tuple[Hour, ...]
    referrers: tuple[Share, ...]
    browsers: tuple[Share, ...]


class Statistics:
    """Reads of the analytics tables. Every method raises `DatabaseUnavailable`.

    A code without clicks has zeros, whether or not there is such a link.
    """

    def __init__(
        self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._now = now

    async def totals_of(self, code: str) -> Totals:
        """The sums of `code` alone: one question."""
        async with self._database.connection("click_totals") as connection:
            return await _totals(connection, code)

    async def of(self, code: str, hours: int = HOURS) -> LinkStatistics:
        """All that is known of `code`, by hour for the last `hours`, 1 to `MAX_HOURS`."""
        if not 1 <= hours <= MAX_HOURS:
            raise ValueError(f"hours is not 1 to {MAX_HOURS}")
        now = self._now().astimezone(UTC)
        since = hours_until(now, hours)
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        async with (
            self._database.connection("statistics") as connection,
            # One moment for all five questions: the hours add up to what the totals say.
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            totals = await _totals(connection, code)
            by_hour = await connection.fetch(_HOURS, code, since[0])
            referrers = await connection.fetch(_REFERRERS, code, since[0], TOP)
            browsers = await connection.fetch(_BROWSERS, code, since[0], TOP)
            visitors: int = await connection.fetchval(_VISITORS, code, today, MAX_CLICKS_LOOKED_AT)
        found = {row["hour"]: (int(row["clicks"]), int(row["bots"])) for row in by_hour}
        return LinkStatistics(
            code=code,
            clicks=totals.clicks,
            people=totals.clicks - totals.bots,
            bots=totals.bots,
            last_click_at=totals.last_click_at,
            visitors_today=visitors,
            hours=tuple(Hour(begins, *found.get(begins, (0, 0))) for begins in since),
            referrers=tuple(Share(row["name"], int(row["clicks"])) for row in referrers),
            browsers=tuple(Share(row["name"], int(row["clicks"])) for row in browsers),
        )

    async def totals(self, codes: Collection[str]) -> dict[str, int]:
        """Clicks of each of `codes`, 0 for one without any."""
        async with self._database.connection("click_totals") as connection:
            rows = await connection.fetch(_TOTALS_OF_MANY, list(codes))
        return dict.fromkeys(codes, 0) | {row["code"]: row["clicks"] for row in rows}


async def _totals(connection: Connection, code: str) -> Totals:
    row = await connection.fetchrow(_TOTALS, code)
    return Totals() if row is None else Totals(row["clicks"], row["bots"], row["last_click_at"])


def hours_until(now: datetime, hours: int) -> Sequence[datetime]:
    """The beginnings of the last `hours`, the oldest first, that of `now` last."""
    last = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return [last - timedelta(hours=back) for back in reversed(range(hours))]
