"""Removes what was kept for a time only, when that time is over: a little at once, again and again.

One DELETE of a day's clicks would hold its locks and its transaction for as long as it takes, and
the vacuum of all tables with it. A batch takes milliseconds, and a round has a limit.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from infra.service.lifecycle import pause
from infra.service.retry import Pace, keep_trying
from week04_shortener.storage.database import Database, DatabaseUnavailable

BATCH: Final = 1000
BATCHES_A_ROUND: Final = 200
"""A round of every table is at most so long: 200,000 rows, each time."""

VISITS_KEPT_S: Final = 86_400.0
"""A proxy asks a second replica within seconds: after a day no visit's id can come again."""

_REMOVE = """
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table} WHERE {column} < now() - make_interval(secs => $1)
        ORDER BY {column} LIMIT $2 FOR UPDATE SKIP LOCKED
    ))
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows of `table` go `kept_s` seconds after what their `column` says, which has an index."""

    table: str
    column: str
    kept_s: float


def rules(*, dedupe_days: float, idempotency_hours: float) -> tuple[Rule, ...]:
    """What is removed, and when. The sums of the clicks stay."""
    return (
        Rule("analytics.clicks", "recorded_at", dedupe_days * 86_400),
        Rule("idempotency_keys", "created_at", idempotency_hours * 3600),
        Rule("link_visits", "spent_at", VISITS_KEPT_S),
    )


class Remover(Protocol):
    """PostgreSQL's side."""

    async def remove(self, rule: Rule, limit: int) -> int:
        """Remove up to `limit` rows, the oldest first; how many. Raises `DatabaseUnavailable`."""
        ...


class OldRows:
    """`Remover` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remove(self, rule: Rule, limit: int) -> int:
        # The names are those of `rules`, none comes from outside.
        statement = _REMOVE.format(table=rule.table, column=rule.column)
        async with self._database.connection("remove_old") as connection:
            done = await connection.execute(statement, rule.kept_s, limit)
        return int(done.removeprefix("DELETE "))


class HousekeepingMetrics:
    """What was removed, and when a round was last finished."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.removed = Counter(
            "shortener_housekeeping_removed_total",
            "Rows removed because their time was over.",
            ("table",),
            registry=registry,
        )
        self.failures = Counter(
            "shortener_housekeeping_failures_total",
            "Rounds that failed because PostgreSQL was away.",
            registry=registry,
        )
        self.finished = Gauge(
            "shortener_housekeeping_finished_timestamp_seconds",
            "When a round was last finished, seconds since the epoch.",
            registry=registry,
        )


class Housekeeping:
    """Rounds, one every `every_s` seconds."""

    def __init__(
        self,
        remover: Remover,
        what: Sequence[Rule],
        metrics: HousekeepingMetrics,
        *,
        every_s: float,
        pace: Pace,
    ) -> None:
        self._remover = remover
        self._rules = what
        self._metrics = metrics
        self._every_s = every_s
        self._pace = pace

    async def run(self, stop: asyncio.Event) -> None:
        """Keep house until `stop` is set."""
        while not stop.is_set():
            await keep_trying(
                "removing what is too old",
                lambda: self.round(stop),
                on=(DatabaseUnavailable,),
                stop=stop,
                pace=self._pace,
                failed=lambda _: self._metrics.failures.inc(),
            )
            await pause(self._every_s, stop)

    async def round(self, stop: asyncio.Event) -> dict[str, int]:
        """Remove what is too old, up to a limit for each table; returns how much of each."""
        removed = {rule.table: await self._of(rule, stop) for rule in self._rules}
        if any(removed.values()):
            structlog.get_logger().info("removed what was too old", **removed)
        self._metrics.finished.set_to_current_time()
        return removed

    async def _of(self, rule: Rule, stop: asyncio.Event) -> int:
        total = 0
        for _ in range(BATCHES_A_ROUND):
            removed = 0 if stop.is_set() else await self._remover.remove(rule, BATCH)
            self._metrics.removed.labels(rule.table).inc(removed)
            total += removed
            if removed < BATCH:
                break
        return total
