"""The bulkhead: so many at once, the others in turn, and whoever waits too long is told."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from week04_shortener.cache.fills import Busy, FillMetrics, Fills
from week04_shortener.links import Entry
from week04_shortener.storage.database import DatabaseUnavailable
from week04_shortener.tests.unit.caches import link

pytestmark = pytest.mark.anyio


class Slow:
    """A database that answers when it is let."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.at_once = self.most_at_once = 0

    async def entry_of(self, code: str) -> Entry:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        if code == "bad":
            raise DatabaseUnavailable("gone")
        return link()


def bulkhead(slow: Slow, wait_s: float) -> tuple[Fills, CollectorRegistry]:
    registry = CollectorRegistry()
    return Fills(slow.entry_of, most=2, wait_s=wait_s, metrics=FillMetrics(registry)), registry


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_get_their_turn_and_never_more_than_the_limit_at_once() -> None:
    slow = Slow()
    fills, registry = bulkhead(slow, wait_s=60)
    tasks = [asyncio.create_task(fills.entry_of("abc")) for _ in range(10)]
    await settle()
    assert registry.get_sample_value("shortener_fills_under_way") == 2
    assert registry.get_sample_value("shortener_fills_waiting") == 8
    slow.gate.set()
    assert await asyncio.gather(*tasks) == [link()] * 10
    assert slow.most_at_once == 2
    assert registry.get_sample_value("shortener_fills_under_way") == 0


async def test_who_waits_too_long_is_told_and_those_inside_are_not_disturbed() -> None:
    slow = Slow()
    fills, registry = bulkhead(slow, wait_s=0.05)
    inside = [asyncio.create_task(fills.entry_of("abc")) for _ in range(2)]
    await settle()
    for _ in range(3):
        with pytest.raises(Busy, match=r"within 0\.05 s"):
            await fills.entry_of("abc")
    assert registry.get_sample_value("shortener_fills_busy_total") == 3
    assert registry.get_sample_value("shortener_fills_waiting") == 0
    slow.gate.set()
    assert await asyncio.gather(*inside) == [link()] * 2


async def test_being_busy_is_a_way_of_the_database_to_be_away() -> None:
    """So that it is answered as such: 503 with Retry-After."""
    assert issubclass(Busy, DatabaseUnavailable)


async def test_failures_and_cancellations_give_their_turn_back() -> None:
    slow = Slow()
    fills, _ = bulkhead(slow, wait_s=60)
    bad = asyncio.create_task(fills.entry_of("bad"))
    cancelled = asyncio.create_task(fills.entry_of("abc"))
    waiting = asyncio.create_task(fills.entry_of("abc"))
    await settle()
    waiting.cancel()
    cancelled.cancel()
    await settle()
    slow.gate.set()
    with pytest.raises(DatabaseUnavailable):
        await bad
    assert await asyncio.gather(*[fills.entry_of("abc") for _ in range(4)]) == [link()] * 4


async def test_one_task_may_have_several_turns() -> None:
    """A turn is a lookup's; the library's own default would be one for each task."""
    slow = Slow()
    fills, _ = bulkhead(slow, wait_s=60)
    slow.gate.set()
    async with fills.turn(), fills.turn():
        pass
