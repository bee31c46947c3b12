"""The caches on a real Valkey and a real PostgreSQL: versioned writes, and both of them away."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from infra.lab.engines.base import Engine
from week04_shortener.cache.aside import CacheAside, Lifetimes, Tiers, key_of
from week04_shortener.cache.early import Early
from week04_shortener.cache.fills import Busy, FillMetrics, Fills
from week04_shortener.cache.lease import LeaseMetrics, Limits, SharedLease
from week04_shortener.cache.local import NoLocalCache
from week04_shortener.cache.lookups import CacheMetrics
from week04_shortener.cache.renewals import RenewalMetrics, Renewals
from week04_shortener.cache.singleflight import SingleFlight
from week04_shortener.cache.valkey import ValkeyCache
from week04_shortener.checks.inside import eventually, links_locked
from week04_shortener.codes import Codec
from week04_shortener.lab import REPLICAS, metric
from week04_shortener.links import ABSENT, Entry, Kind, NewLink, entry_of
from week04_shortener.storage.database import open_database
from week04_shortener.storage.store import LinkStore
from week04_shortener.tests.integration.conftest import FrontDoor

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

URL = "https://example.org/shared"
DAY_S = 86_400.0
LIFE_S = 60.0
LOCAL_TTL_S = 1.0
"""The setting's default."""


@pytest.fixture
def valkey_url(lab: Engine) -> str:
    return f"redis://{lab.site.address('valkey')}/0"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def cache(valkey_url: str, registry: CollectorRegistry) -> AsyncIterator[ValkeyCache]:
    made = ValkeyCache(
        valkey_url, timeout_s=5, pool_size=16, failures_to_open=3, open_s=0.2, registry=registry
    )
    yield made
    await made.close()


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Redis]:
    made = Redis.from_url(valkey_url, socket_timeout=5)
    yield made
    await made.aclose()


def new_key() -> str:
    return f"test:{secrets.token_hex(8)}"


def version(number: int) -> Entry:
    return Entry(number, Kind.OPEN, f"{URL}/{number}") if number else ABSENT


async def entry_in(cache: ValkeyCache, key: str) -> Entry | None:
    kept = await cache.get(key)
    return None if kept is None else kept.entry


# ---- Versioned writes


async def test_only_an_older_or_equal_version_is_written_over(cache: ValkeyCache) -> None:
    key = new_key()
    assert await cache.get(key) is None
    for written, lies in [(0, 0), (1, 1), (0, 1), (1, 1), (10, 10), (9, 10), (2**40, 2**40)]:
        assert await cache.put(key, version(written), LIFE_S) == version(lies)
        assert await entry_in(cache, key) == version(lies)


async def test_an_entry_ends_by_itself_and_says_when(cache: ValkeyCache, client: Redis) -> None:
    key = new_key()
    await cache.put(key, version(1), LIFE_S)
    kept = await cache.get(key)
    assert kept is not None
    assert LIFE_S - 20 < kept.left_s <= LIFE_S
    assert LIFE_S - 20 < await client.pttl(key) / 1000 <= LIFE_S
    await cache.put(key, version(2), 0.05)
    await asyncio.sleep(0.2)
    assert await cache.get(key) is None


async def test_of_all_who_write_at_once_the_newest_stays(cache: ValkeyCache) -> None:
    key = new_key()
    versions = list(range(200))
    random.shuffle(versions)
    answers = await asyncio.gather(*[cache.put(key, version(n), LIFE_S) for n in versions])
    assert await entry_in(cache, key) == version(199)
    for asked, answer in zip(versions, answers, strict=True):
        assert answer.version >= asked, "who writes an old one is handed the new one"


async def test_what_is_no_entry_is_a_miss_and_written_over(
    cache: ValkeyCache, client: Redis, registry: CollectorRegistry
) -> None:
    key = new_key()
    await client.set(key, b"what another program left here", px=60_000)
    assert await cache.get(key) is None
    assert registry.get_sample_value("shortener_cache_corrupt_total") == 1
    assert await cache.put(key, version(1), LIFE_S) == version(1)
    assert await entry_in(cache, key) == version(1)


async def test_a_valkey_that_lost_its_scripts_is_given_them_again(
    cache: ValkeyCache, client: Redis
) -> None:
    key = new_key()
    await cache.put(key, version(1), LIFE_S)
    await client.script_flush()
    assert await cache.put(key, version(2), LIFE_S) == version(2)
    assert await entry_in(cache, key) == version(2)


# ---- Both servers away: breaker and bulkhead


class Replica:
    """The lookup of one replica with no memory of its own, and a narrow bulkhead."""

    MOST = 2

    def __init__(self, cache: ValkeyCache, store: LinkStore, registry: CollectorRegistry) -> None:
        fills = Fills(store.entry_of, most=self.MOST, wait_s=0.3, metrics=FillMetrics(registry))
        tiers = Tiers(
            local=NoLocalCache(),
            cache=cache,
            load=fills.entry_of,
            flight=SingleFlight(),
            lease=SharedLease(cache, Limits(ttl_s=1, wait_s=0.5), LeaseMetrics(registry)),
            lifetimes=Lifetimes(LIFE_S, 10, 0.1, random.random),
            early=Early(0, random.random),
            renewals=Renewals(RenewalMetrics(registry)),
            stale_s=1.0,
        )
        self.aside = CacheAside(tiers, CacheMetrics(registry))

    async def ask(self, codes: list[str], times: int) -> list[Entry | BaseException]:
        """All of `codes`, each so many times, all at once."""
        asked = [self.aside.entry_of(code) for code in codes * times]
        return await asyncio.gather(*asked, return_exceptions=True)


async def busy(registry: CollectorRegistry, times: int) -> bool:
    return registry.get_sample_value("shortener_fills_busy_total") == times


async def test_while_valkey_is_dead_each_code_is_asked_once_and_a_slow_database_says_busy(
    lab: Engine,
    dsn: str,
    lab_codec: Codec,
    cache: ValkeyCache,
    client: Redis,
    registry: CollectorRegistry,
) -> None:
    database = open_database(
        dsn, name="test-fills", pool_size=8, connect_timeout_s=10, timeout_s=20
    )
    async with database:
        store = LinkStore(database, lab_codec, idempotency_s=DAY_S)
        replica = Replica(cache, store, registry)
        news = [NewLink(f"{URL}/{number}") for number in range(10)]
        made = await store.create_many(news, owner_id=None, request_id=secrets.token_hex(16))
        entries = {link.code: entry_of(link) for link in made if not isinstance(link, Exception)}
        codes = list(entries)

        await lab.kill("valkey")
        try:
            answers = await replica.ask(codes, times=10)
            assert answers == [entries[code] for code in codes] * 10
            assert registry.get_sample_value("shortener_cache_up") == 0

            without_turn = len(codes) - Replica.MOST
            async with links_locked(lab.site):
                asked = asyncio.create_task(replica.ask(codes, times=1))
                await eventually(
                    "whoever got no turn was told", lambda: busy(registry, without_turn)
                )
            stuck = await asked
            assert [isinstance(answer, Busy) for answer in stuck].count(True) == without_turn
            assert sum(answer in entries.values() for answer in stuck) == Replica.MOST
        finally:
            await lab.start(["valkey"])

        async def is_used() -> bool:
            await replica.ask(codes, times=1)
            return registry.get_sample_value("shortener_cache_up") == 1

        await eventually("the cache is used again", is_used)
        assert await replica.ask(codes, times=1) == list(entries.values())
        assert await entry_in(cache, key_of(codes[0])) == entries[codes[0]]


# ---- Two replicas


async def test_after_the_bound_no_replica_leads_to_where_a_changed_link_led(
    door: FrontDoor, lab: Engine
) -> None:
    """The bound is for changes that Valkey was told of, which a busy machine may prevent."""
    here, there = [lab.site.url(name) for name in REPLICAS]
    code = door.new_code(f"{URL}/before")
    link = f"{here}/api/v1/links/{code}"
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:

        async def leads_to(address: str) -> str:
            answer = await http.get(f"{address}/{code}")
            return str(answer.headers.get("location", answer.status_code))

        async def change(number: int) -> str:
            url = f"{URL}/after/{number}"
            assert (await http.patch(link, json={"url": url})).status_code == 200
            return url

        async def delete(_number: int) -> str:
            assert (await http.delete(link)).status_code == 204
            return "410"

        judged = 0
        for number, do in enumerate([change, change, delete]):
            await leads_to(there)
            not_told = await failed_writes(lab)
            after = await do(number)
            answered_s = time.monotonic()
            if await failed_writes(lab) != not_told:
                continue
            judged += 1
            while time.monotonic() < answered_s + 1.2 * LOCAL_TTL_S:
                assert await leads_to(here) == after, "it made the change itself"
                is_late = time.monotonic() >= answered_s + LOCAL_TTL_S
                assert await leads_to(there) == after or not is_late
                await asyncio.sleep(0.02)
        assert judged, "Valkey was told of no change"


async def failed_writes(lab: Engine) -> float:
    return await metric(lab.site, REPLICAS[:1], "shortener_cache_failed_writes_total")
