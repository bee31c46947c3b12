"""Cache-aside over a cache in memory: what is asked of whom, also when the cache is away."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from week04_shortener.cache import CacheAside, CacheMetrics, CacheUnavailable, Lifetimes
from week04_shortener.lease import NoLease
from week04_shortener.singleflight import Flight, NoSingleFlight, SingleFlight

pytestmark = pytest.mark.anyio

URL = "https://example.org/a"


class MemoryCache:
    """A cache that can be switched off, and remembers the lives it was given."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.ttls: dict[str, float] = {}
        self.away = False

    async def get(self, key: str) -> bytes | None:
        self._answer()
        return self.entries.get(key)

    async def set(self, key: str, value: bytes, *, ttl_s: float) -> None:
        self._answer()
        self.entries[key], self.ttls[key] = value, ttl_s

    async def add(self, key: str, value: bytes, *, ttl_s: float) -> None:
        self._answer()
        if key not in self.entries:
            self.entries[key], self.ttls[key] = value, ttl_s

    def _answer(self) -> None:
        if self.away:
            raise CacheUnavailable("switched off")


class Database:
    """Counts its lookups; `gate` lets a test stand in the middle of one."""

    def __init__(self, **links: str) -> None:
        self.links = links
        self.lookups = 0
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def url_of(self, code: str) -> str | None:
        self.lookups += 1
        self.asked.set()
        url = self.links.get(code)
        await self.gate.wait()
        return url


class Setting:
    """A cache-aside with everything around it."""

    def __init__(
        self, *, flight: Flight[str | None] | None = None, random: float = 0.0, **links: str
    ) -> None:
        self.cache, self.database = MemoryCache(), Database(**links)
        self.registry = CollectorRegistry()
        self.aside = CacheAside(
            self.cache,
            self.database.url_of,
            flight or SingleFlight(),
            NoLease(),
            Lifetimes(ttl_s=100, negative_ttl_s=10, jitter=0.2, random=lambda: random),
            CacheMetrics(self.registry),
        )

    def lookups(self, result: str) -> float:
        name = "shortener_cache_lookups_total"
        return self.registry.get_sample_value(name, {"result": result}) or 0


async def test_first_a_miss_then_hits() -> None:
    setting = Setting(abc=URL)
    assert [await setting.aside.url_of("abc") for _ in range(3)] == [URL] * 3
    assert setting.database.lookups == 1
    assert (setting.lookups("miss"), setting.lookups("hit")) == (1, 2)


async def test_absence_is_cached_for_a_short_time() -> None:
    setting = Setting()
    assert [await setting.aside.url_of("abc") for _ in range(3)] == [None] * 3
    assert setting.database.lookups == 1
    assert setting.lookups("negative") == 2
    assert list(setting.cache.ttls.values()) == [10]


@pytest.mark.parametrize(("random", "life"), [(0.0, 100), (0.5, 90), (1.0, 80)])
async def test_lives_differ_by_the_jitter(random: float, life: float) -> None:
    setting = Setting(random=random, abc=URL)
    await setting.aside.url_of("abc")
    assert list(setting.cache.ttls.values()) == [pytest.approx(life)]


async def test_a_new_link_is_remembered_and_ends_its_absence() -> None:
    setting = Setting()
    assert await setting.aside.url_of("abc") is None
    setting.database.links["abc"] = URL
    await setting.aside.remember("abc", URL)
    assert await setting.aside.url_of("abc") == URL
    assert setting.database.lookups == 1


async def test_absence_found_before_a_link_was_made_does_not_hide_it() -> None:
    setting = Setting()
    setting.database.gate.clear()
    early = asyncio.create_task(setting.aside.url_of("abc"))
    await setting.database.asked.wait()
    setting.database.links["abc"] = URL
    await setting.aside.remember("abc", URL)
    setting.database.gate.set()
    assert await early is None
    assert await setting.aside.url_of("abc") == URL


async def test_without_the_cache_the_database_answers() -> None:
    setting = Setting(abc=URL)
    setting.cache.away = True
    assert [await setting.aside.url_of("abc") for _ in range(3)] == [URL] * 3
    await setting.aside.remember("def", URL)
    assert setting.database.lookups == 3
    assert setting.lookups("unavailable") == 3
    assert setting.registry.get_sample_value("shortener_cache_failed_writes_total") == 4


async def test_an_outage_leaves_nothing_behind() -> None:
    setting = Setting(abc=URL)
    setting.cache.away = True
    await setting.aside.url_of("abc")
    setting.cache.away = False
    assert [await setting.aside.url_of("abc") for _ in range(2)] == [URL] * 2
    assert setting.database.lookups == 2


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize(("flight", "lookups"), [(SingleFlight, 1), (NoSingleFlight, 50)])
async def test_the_herd(away: bool, flight: type[Flight[str | None]], lookups: int) -> None:
    setting = Setting(flight=flight(), abc=URL)
    setting.cache.away = away
    setting.database.gate.clear()
    herd = [asyncio.create_task(setting.aside.url_of("abc")) for _ in range(50)]
    for _ in range(10):
        await asyncio.sleep(0)
    setting.database.gate.set()
    assert await asyncio.gather(*herd) == [URL] * 50
    assert setting.database.lookups == lookups


async def test_an_error_of_the_database_is_raised_and_not_cached() -> None:
    setting = Setting()

    async def broken(_code: str) -> str | None:
        raise ConnectionError("gone")

    lifetimes = Lifetimes(ttl_s=100, negative_ttl_s=10, jitter=0.0, random=lambda: 0.0)
    metrics = CacheMetrics(CollectorRegistry())
    aside = CacheAside(setting.cache, broken, SingleFlight(), NoLease(), lifetimes, metrics)
    with pytest.raises(ConnectionError):
        await aside.url_of("abc")
    assert setting.cache.entries == {}
