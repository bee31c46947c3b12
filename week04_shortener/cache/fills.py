"""The bulkhead before the database: so many lookups at once, and a short wait for one's turn.

When Valkey dies, every redirect that a replica's own memory does not know becomes a lookup in
PostgreSQL. Without a limit they would take all of its connections, and whoever makes a link would
wait behind them; with one, the rest of the service keeps its share, and those who would wait too
long are told so at once: 503 with Retry-After is better news than silence (a bulkhead; week 7 opens
one up).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from anyio import CapacityLimiter
from prometheus_client import CollectorRegistry, Counter, Gauge

from week04_shortener.links import Entry
from week04_shortener.storage.database import DatabaseUnavailable


class Busy(DatabaseUnavailable):
    """The database has enough to do: no turn came within the limit on waiting."""


class FillMetrics:
    """How full the bulkhead is, and who did not get through."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.under_way = Gauge(
            "shortener_fills_under_way",
            "Lookups in the database for the caches, now.",
            registry=registry,
        )
        self.waiting = Gauge(
            "shortener_fills_waiting",
            "Lookups that wait for their turn to ask the database, now.",
            registry=registry,
        )
        self.busy = Counter(
            "shortener_fills_busy_total",
            "Lookups given up because their turn did not come.",
            registry=registry,
        )


class Fills:
    """Loads entries, `most` at once; `Busy` for whoever waits longer than `wait_s` seconds."""

    def __init__(
        self,
        load: Callable[[str], Awaitable[Entry]],
        *,
        most: int,
        wait_s: float,
        metrics: FillMetrics,
    ) -> None:
        self._load = load
        self._turns = CapacityLimiter(most)
        self._wait_s = wait_s
        self._metrics = metrics

    async def entry_of(self, code: str) -> Entry:
        """The entry of `code`. Raises `Busy`, and what `load` raises."""
        async with self.turn():
            with self._metrics.under_way.track_inprogress():
                return await self._load(code)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A turn for the length of the block. Raises `Busy`."""
        # It is the block's, not the task's that happens to run it.
        owner = object()
        try:
            with self._metrics.waiting.track_inprogress():
                async with asyncio.timeout(self._wait_s):
                    await self._turns.acquire_on_behalf_of(owner)
        except TimeoutError:
            self._metrics.busy.inc()
            raise Busy(f"no turn to ask the database within {self._wait_s:g} s") from None
        try:
            yield
        finally:
            self._turns.release_on_behalf_of(owner)
