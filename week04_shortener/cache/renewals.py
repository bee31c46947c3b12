"""Work in the background that renews entries: bounded, and once at a time for each name."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, Counter

from week04_shortener.storage.database import DatabaseUnavailable

RENEWALS: Final = 16
"""At once, of each replica. Whatever is due beyond that is drawn again by whoever asks next, and at
worst ends: then somebody waits for it, as without renewals."""

Tier: TypeAlias = str


class RenewalMetrics:
    """What became of early refreshes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.early = Counter(
            "shortener_cache_early_refreshes_total",
            "Entries that were to be renewed before they ended, by tier and result: done, failed, "
            "skipped (too many at once).",
            ("tier", "result"),
            registry=registry,
        )


class Renewals:
    """Starts renewals and forgets them; `close` ends those that are under way."""

    def __init__(self, metrics: RenewalMetrics, *, most: int = RENEWALS) -> None:
        self._most = most
        self._metrics = metrics
        self._under_way: dict[tuple[Tier, str], asyncio.Task[None]] = {}

    def start(self, tier: Tier, code: str, work: Callable[[], Awaitable[object]]) -> bool:
        """Renew in the background; False when there is no room for it now."""
        key = (tier, code)
        if key in self._under_way:
            return True
        if len(self._under_way) >= self._most:
            self._metrics.early.labels(tier, "skipped").inc()
            return False
        task = asyncio.create_task(self._run(tier, work))
        self._under_way[key] = task
        task.add_done_callback(lambda _: self._under_way.pop(key))
        return True

    async def close(self) -> None:
        """End all that is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, tier: Tier, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except DatabaseUnavailable:
            # Nobody waits for this; who needs the entry after its end will ask, and be told.
            self._metrics.early.labels(tier, "failed").inc()
        else:
            self._metrics.early.labels(tier, "done").inc()
