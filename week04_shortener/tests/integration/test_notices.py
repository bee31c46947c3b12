"""Notices of changes on a real Valkey: heard, missed, and what replicas remember for them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import httpx
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from infra.lab.engines.base import Engine
from infra.service.retry import Pace
from week04_shortener.cache.aside import code_of, key_of
from week04_shortener.cache.local import LocalCache
from week04_shortener.cache.notices import ALL, CHANNEL, Limits, Listener, NoticeMetrics
from week04_shortener.cache.valkey import ValkeyCache
from week04_shortener.checks.inside import eventually
from week04_shortener.lab import REPLICAS, metric
from week04_shortener.links import Entry, Kind
from week04_shortener.tests.integration.conftest import FrontDoor

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

URL = "https://example.org/notices"
LIFE_S = 60.0
LOCAL_TTL_S = 1.0
"""The setting's default."""

QUIET_S = 3 * LOCAL_TTL_S
TRIES = 10
"""On a busy machine a PING may be late; then what is held ends, and is asked for again."""

HERE, THERE = REPLICAS


@pytest.fixture
def valkey_url(lab: Engine) -> str:
    return f"redis://{lab.site.address('valkey')}/0"


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Redis]:
    made = Redis.from_url(valkey_url, socket_timeout=5)
    yield made
    await made.aclose()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        yield client


async def moments(seconds: float) -> AsyncIterator[None]:
    """A moment, twenty times a second, for so long."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        yield
        await asyncio.sleep(0.05)


# ---- A listener of the test's own


class Remembering(LocalCache):
    """Remembers each notice."""

    def __init__(self) -> None:
        super().__init__(entries=10, ttl_s=LOCAL_TTL_S, most_s=60, renew_s=0, random=lambda: 0.0)
        self.notices: list[tuple[str, int]] = []

    def changed(self, code: str, version: int, now_s: float) -> None:
        self.notices.append((code, version))
        super().changed(code, version, now_s)


class Ear:
    """A listener, its memory, and somebody who tells Valkey of changes."""

    def __init__(self, url: str) -> None:
        self.registry = CollectorRegistry()
        self.memory = Remembering()
        self.listener = Listener(
            url,
            self.memory,
            code_of,
            NoticeMetrics(self.registry),
            limits=Limits(every_s=0.1, connect_s=5),
            pace=Pace(0.01, 0.1),
        )
        self.cache = ValkeyCache(
            url,
            timeout_s=5,
            pool_size=2,
            failures_to_open=3,
            open_s=0.2,
            registry=CollectorRegistry(),
        )
        self.code = f"test{secrets.token_hex(8)}"

    async def tell(self, version: int) -> None:
        entry = Entry(version, Kind.OPEN, f"{URL}/{version}")
        assert await self.cache.tell(key_of(self.code), entry, LIFE_S) == entry

    def holds(self, version: int) -> None:
        self.memory.put(self.code, Entry(version, Kind.OPEN, URL), time.monotonic())

    def is_held(self) -> bool:
        return self.memory.get(self.code, time.monotonic()) is not None

    async def begun(self, subscriptions: int) -> None:
        async def is_up() -> bool:
            value = self.registry.get_sample_value
            return (
                value("shortener_notices_up") == 1
                and (value("shortener_notices_subscriptions_total") or 0) >= subscriptions
            )

        await eventually(f"{subscriptions} subscriptions", is_up)


@pytest.fixture
async def ear(valkey_url: str) -> AsyncIterator[Ear]:
    ear, stop = Ear(valkey_url), asyncio.Event()
    listening = asyncio.create_task(ear.listener.run(stop))
    await ear.begun(1)
    yield ear
    stop.set()
    await listening
    assert ear.registry.get_sample_value("shortener_notices_up") == 0
    await ear.cache.close()


async def is_dropped(ear: Ear, times: int) -> bool:
    return ear.memory.dropped >= times


async def test_a_change_is_heard_and_a_fill_and_a_new_link_are_not(ear: Ear) -> None:
    ear.holds(1)
    await ear.cache.put(key_of(ear.code), Entry(1, Kind.OPEN, URL), LIFE_S)
    await ear.tell(1)
    await ear.tell(2)
    await eventually("the old version was dropped", lambda: is_dropped(ear, 1))
    assert [version for code, version in ear.memory.notices if code == ear.code] == [2]


async def test_a_change_is_heard_also_where_a_newer_one_lies(ear: Ear) -> None:
    newer = Entry(9, Kind.OPEN, URL)
    await ear.cache.put(key_of(ear.code), newer, LIFE_S)
    ear.holds(1)
    told = await ear.cache.tell(key_of(ear.code), Entry(2, Kind.GONE), LIFE_S)
    assert told == newer
    await eventually("the old version was dropped", lambda: is_dropped(ear, 1))


async def test_what_is_held_lives_on_over_pings(ear: Ear) -> None:
    for _ in range(TRIES):
        ear.holds(1)
        held = [ear.is_held() async for _ in moments(QUIET_S)]
        if all(held):
            return
    pytest.fail("nothing was held for longer than without notices")


@pytest.mark.parametrize("message", [ALL, b"nothing that could be read"])
async def test_what_may_be_about_any_link_ends_all(ear: Ear, client: Redis, message: bytes) -> None:
    ear.holds(1)
    await client.publish(CHANNEL, message)
    await eventually("all was dropped", lambda: is_dropped(ear, 1))


async def test_a_connection_that_was_killed_is_made_again(ear: Ear, client: Redis) -> None:
    for number in range(2, 4):
        await client.client_kill_filter(_type="pubsub")
        await ear.begun(number)
        ear.holds(1)
        await ear.tell(number)
        await eventually("it hears again", partial(is_dropped, ear, number - 1))


# ---- Two replicas


async def leads_to(http: httpx.AsyncClient, lab: Engine, replica: str, code: str) -> str:
    answer = await http.get(f"{lab.site.url(replica)}/{code}")
    return str(answer.headers.get("location", answer.status_code))


async def asked(lab: Engine) -> float:
    """What a replica has asked of Valkey, and of anybody because its own memory had nothing."""
    name = "shortener_cache_lookups_total"
    return await metric(lab.site, (THERE,), name, tier="valkey") + await metric(
        lab.site, (THERE,), name, tier="local", result="miss"
    )


async def remembered(follow: Callable[[], Awaitable[object]], lab: Engine) -> bool:
    """Whether the replica asks nobody while a link is followed for three of its lives."""
    await follow()
    before = await asked(lab)
    async for _ in moments(QUIET_S):
        await follow()
    return await asked(lab) == before


async def test_while_nothing_changes_a_replica_asks_nobody(
    door: FrontDoor, lab: Engine, http: httpx.AsyncClient
) -> None:
    code = door.new_code(f"{URL}/quiet")

    async def follow() -> None:
        assert await leads_to(http, lab, THERE, code) == f"{URL}/quiet"

    for _ in range(TRIES):
        if await remembered(follow, lab):
            return
    pytest.fail("it asked each time")


@pytest.mark.parametrize("is_cut", [False, True], ids=["heard", "connection killed"])
async def test_what_was_remembered_for_long_is_followed_within_the_bound_all_the_same(
    is_cut: bool, door: FrontDoor, lab: Engine, http: httpx.AsyncClient, client: Redis
) -> None:
    code = door.new_code(f"{URL}/before")
    link = f"{lab.site.url(HERE)}/api/v1/links/{code}"
    judged = 0
    for number in range(4):
        before = await leads_to(http, lab, THERE, code)
        async for _ in moments(1.5 * LOCAL_TTL_S):
            assert await leads_to(http, lab, THERE, code) == before
        not_told = await failed_writes(lab)
        if is_cut:
            await client.client_kill_filter(_type="pubsub")
        after = f"{URL}/after/{number}"
        assert (await http.patch(link, json={"url": after})).status_code == 200
        answered_s = time.monotonic()
        if await failed_writes(lab) != not_told:
            await eventually("the relay has told", partial(is_at, http, lab, code, after))
            continue
        judged += 1
        while (asked_s := time.monotonic()) < answered_s + 1.2 * LOCAL_TTL_S:
            led = await leads_to(http, lab, THERE, code)
            assert led == after or (led == before and asked_s < answered_s + LOCAL_TTL_S)
            await asyncio.sleep(0.02)
    assert judged, "Valkey was told of no change"


async def is_at(http: httpx.AsyncClient, lab: Engine, code: str, url: str) -> bool:
    return await leads_to(http, lab, THERE, code) == url


async def failed_writes(lab: Engine) -> float:
    return await metric(lab.site, (HERE,), "shortener_cache_failed_writes_total")
