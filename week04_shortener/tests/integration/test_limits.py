"""The limits in a real Valkey: the same as the pure algorithms, and exact between replicas."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import random
import re
from collections.abc import AsyncIterator

import anyio
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from infra.lab.engines.base import Engine
from week04_shortener.lab import REPLICAS, metric
from week04_shortener.limits.algorithms import (
    SECOND_US,
    Decision,
    FixedWindow,
    Policy,
    SlidingWindow,
    TokenBucket,
)
from week04_shortener.limits.counters import LocalCounters, ValkeyCounters
from week04_shortener.limits.limiter import Limiter, LimiterMetrics
from week04_shortener.limits.scripts import arguments, script_for
from week04_shortener.tests.integration.conftest import FrontDoor
from week04_shortener.valkey import ValkeyLimits

pytestmark = pytest.mark.integration

PRELUDE = "local now, longer_ms = tonumber(ARGV[4]), 3600000\n"
"""The time is told to the script, and keys stay whatever time it is by Valkey's own clock."""
START_US = 1_767_225_600 * SECOND_US
SEED = 20260131
HOUR_US = 3600 * SECOND_US

POLICIES: list[Policy] = [
    TokenBucket("bucket", 7, 77 * SECOND_US),
    TokenBucket("bucket", 1, HOUR_US),
    SlidingWindow("sliding", 7, HOUR_US),
    SlidingWindow("sliding", 300, HOUR_US),
    FixedWindow("fixed", 7, HOUR_US),
]


@pytest.fixture
def url(lab: Engine) -> str:
    return f"redis://{lab.site.address('valkey')}/0"


def steps(policy: Policy, chance: random.Random) -> list[tuple[int, int]]:
    """Times and costs around the policy's edges, a clock set back now and then among them."""
    now_us, made = START_US, []
    span_us = policy.window_us
    gaps = [0, 0, 1, span_us // policy.quota, span_us // 3, span_us - 1, span_us, span_us + 1]
    for _ in range(200):
        now_us += chance.choice(gaps) if chance.random() < 0.9 else chance.randrange(span_us)
        if chance.random() < 0.03:
            now_us -= chance.choice([1, span_us // 2, span_us, 2 * span_us])
        made.append((now_us, chance.randint(1, policy.quota)))
    return made


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_lua_decides_what_the_pure_algorithm_decides(url: str, policy: Policy) -> None:
    async def compare() -> None:
        chance = random.Random(SEED)
        async with Redis.from_url(url) as valkey:
            script = valkey.register_script(script_for(type(policy), prelude=PRELUDE))
            for run in range(4):
                key, state, allowed = f"test:limit:{policy}:{run}", policy.begin(), 0
                await valkey.delete(key)
                for step, (now_us, cost) in enumerate(steps(policy, chance)):
                    said = await script(keys=[key], args=[*arguments(policy, cost), now_us])
                    lua = Decision(said[0] == 1, *said[1:])
                    assert lua == state.take(now_us, cost), f"seed {SEED}, run {run}, step {step}"
                    allowed += lua.allowed
                assert 0 < allowed < 200, "one that always answers the same compares nothing"
                await valkey.delete(key)

    anyio.run(compare)


async def limiters(url: str, count: int) -> AsyncIterator[Limiter]:
    """As many limiters as there could be replicas, each with connections of its own."""
    for _ in range(count):
        limits = ValkeyLimits(timeout_s=10, pool_size=8, failures_to_open=3, open_s=1)
        counters = ValkeyCounters(url, limits, CollectorRegistry())
        yield Limiter(counters, LimiterMetrics(CollectorRegistry()), secret=b"0123456789abcdef")


async def takes_at_once(replicas: list[Limiter], policy: Policy, name: str) -> list[bool]:
    takes = [replicas[n % len(replicas)].take(name, policy) for n in range(200)]
    return [verdict.allowed for verdict in await asyncio.gather(*takes)]


@pytest.mark.parametrize(
    "policy",
    [TokenBucket("test-bucket", 50, 60 * SECOND_US), SlidingWindow("test-window", 50, HOUR_US)],
    ids=str,
)
def test_two_replicas_together_let_through_exactly_the_limit(url: str, policy: Policy) -> None:
    async def take() -> None:
        replicas = [replica async for replica in limiters(url, 2)]
        name = f"at once {random.random()}"
        assert sum(await takes_at_once(replicas, policy, name)) == 50
        assert not any(await takes_at_once(replicas, policy, name))
        for replica in replicas:
            await replica.close()

    anyio.run(take)


def test_replicas_that_count_alone_let_through_as_many_times_as_they_are() -> None:
    """The control: nothing but Valkey makes the test above pass."""

    async def take() -> None:
        alone = [
            Limiter(LocalCounters(), LimiterMetrics(CollectorRegistry()), secret=b"")
            for _ in range(2)
        ]
        policy = SlidingWindow("test-window", 50, HOUR_US)
        assert sum(await takes_at_once(alone, policy, "alone")) == 100

    anyio.run(take)


def test_a_slot_is_free_again_when_its_take_has_left_the_window(url: str) -> None:
    async def take() -> None:
        [replica] = [replica async for replica in limiters(url, 1)]
        policy = SlidingWindow("test-window", 1, SECOND_US // 2)
        name = f"again {random.random()}"
        assert (await replica.take(name, policy)).allowed
        refused = await replica.take(name, policy)
        assert not refused.allowed
        await asyncio.sleep(refused.retry_after_s + 0.05)  # two clocks never agree to the us
        assert (await replica.take(name, policy)).allowed
        await replica.close()

    anyio.run(take)


@pytest.mark.parametrize(
    "policy",
    [
        TokenBucket("test-bucket", 2, SECOND_US // 10),
        SlidingWindow("test-window", 2, SECOND_US // 10),
        FixedWindow("test-fixed", 2, SECOND_US // 10),
    ],
    ids=str,
)
def test_what_has_nothing_left_to_say_leaves_valkey(url: str, policy: Policy) -> None:
    async def take() -> None:
        [replica] = [replica async for replica in limiters(url, 1)]
        async with Redis.from_url(url) as valkey:
            own = dataclasses.replace(policy, name=f"test-{random.randrange(10**9)}")
            await replica.take("somebody", own)
            [key] = [key async for key in valkey.scan_iter(f"limit:{own.name}:*", count=1000)]
            left_ms = await valkey.pttl(key)
            assert 0 < left_ms <= 1000 + 200
            await asyncio.sleep(left_ms / 1000 + 0.05)
            assert not await valkey.exists(key)
        await replica.close()

    anyio.run(take)


def test_the_front_door_tells_of_limits_but_not_on_redirects(door: FrontDoor) -> None:
    made = door.shorten("https://example.org/limits")
    assert re.fullmatch(r'"writes";q=\d+;w=\d+', made.headers["ratelimit-policy"])
    assert re.fullmatch(r'"writes";r=\d+;t=[01]', made.headers["ratelimit"])
    code = made.json()["code"]
    assert door.http.get(f"/stats/{code}").headers["ratelimit"].startswith('"reads";r=')
    assert "ratelimit" not in door.follow(code).headers


def test_both_replicas_count_in_valkey(lab: Engine, door: FrontDoor) -> None:
    before = [_allowed(lab, replica) for replica in REPLICAS]
    for number in range(20):
        assert door.shorten(f"https://example.org/{number}").status_code == 201
    after = [_allowed(lab, replica) for replica in REPLICAS]
    grown = [now - then for now, then in zip(after, before, strict=True)]
    assert sum(grown) >= 20
    assert min(grown) > 0, "nginx asked only one of them"


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://0x7f.1/", "http://[::1]/"])
def test_the_front_door_refuses_targets_within(door: FrontDoor, url: str) -> None:
    refused = door.shorten(url)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "#/url"


def _allowed(lab: Engine, replica: str) -> float:
    """Writes that this replica has had allowed in Valkey."""
    labels = {"policy": "writes", "verdict": "allowed", "by": "shared"}
    return anyio.run(
        functools.partial(metric, lab.site, (replica,), "shortener_limit_takes_total", **labels)
    )
