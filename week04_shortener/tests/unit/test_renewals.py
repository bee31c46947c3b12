"""Renewals in the background: once for each name, bounded, ended with the process."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from week04_shortener.cache.renewals import RenewalMetrics, Renewals
from week04_shortener.storage.database import DatabaseUnavailable

pytestmark = pytest.mark.anyio


class Work:
    """Waits for `done`, or fails."""

    def __init__(self) -> None:
        self.calls = 0
        self.done = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.calls += 1
        await self.done.wait()
        if self.error is not None:
            raise self.error


def renewals(most: int = 2) -> tuple[Renewals, CollectorRegistry]:
    registry = CollectorRegistry()
    return Renewals(RenewalMetrics(registry), most=most), registry


def count(registry: CollectorRegistry, result: str) -> float:
    name = "shortener_cache_early_refreshes_total"
    return registry.get_sample_value(name, {"tier": "local", "result": result}) or 0


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_name_is_renewed_once_at_a_time() -> None:
    work = Work()
    background, registry = renewals()
    assert [background.start("local", "abc", work) for _ in range(3)] == [True] * 3
    await settle()
    assert work.calls == 1
    work.done.set()
    await settle()
    assert background.start("local", "abc", work)
    await settle()
    assert (work.calls, count(registry, "done")) == (2, 2)


async def test_there_is_room_for_so_many_and_then_none() -> None:
    work = Work()
    background, registry = renewals(most=2)
    started = [background.start("local", code, work) for code in ("a", "b", "c", "d")]
    assert started == [True, True, False, False]
    assert count(registry, "skipped") == 2
    work.done.set()
    await settle()
    assert background.start("local", "c", work)
    await settle()


async def test_the_tiers_are_renewed_each_for_itself() -> None:
    work = Work()
    background, _ = renewals()
    assert background.start("local", "abc", work) and background.start("valkey", "abc", work)
    await settle()
    assert work.calls == 2
    await background.close()


async def test_a_database_that_is_away_is_counted_and_nothing_else() -> None:
    work = Work()
    work.error = DatabaseUnavailable("gone")
    work.done.set()
    background, registry = renewals()
    background.start("local", "abc", work)
    await settle()
    assert count(registry, "failed") == 1


async def test_any_other_error_is_not_swallowed() -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: reported.append(context["exception"])
    )
    work = Work()
    work.error = ValueError("a mistake of ours")
    work.done.set()
    background, _ = renewals()
    background.start("local", "abc", work)
    await settle()
    assert reported == [work.error]


async def test_closing_ends_what_is_under_way() -> None:
    work = Work()
    background, registry = renewals()
    background.start("local", "abc", work)
    await settle()
    await background.close()
    work.done.set()
    await settle()
    assert count(registry, "done") == 0
    await background.close()
