"""The limiter over counters in memory: what it asks, what it remembers, what it does alone."""

import ipaddress
import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.requests import Request

from infra.service.plumbing import install
from week04_shortener.callers import client_address, neighbourhood
from week04_shortener.limits.algorithms import (
    SECOND_US,
    Decision,
    Policy,
    SlidingWindow,
    TokenBucket,
)
from week04_shortener.limits.counters import MAX_NAMES, CountersUnavailable, LocalCounters
from week04_shortener.limits.headers import rate_limit_fields, refusal
from week04_shortener.limits.limiter import Limiter, LimiterMetrics, Take, Verdict
from week04_shortener.limits.middleware import RateLimitMiddleware
from week04_shortener.limits.rules import RequestLimits, Rules

pytestmark = pytest.mark.anyio

BUCKET = TokenBucket("writes", 3, SECOND_US)
WINDOW = SlidingWindow("key-writes", 2, 60 * SECOND_US)
SECRET = b"0123456789abcdef"


class Clock:
    def __init__(self) -> None:
        self.us = 5 * SECOND_US

    def __call__(self) -> int:
        return self.us


class Valkey(LocalCounters):
    """Counters that can be away, and count how often they are asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.asked: list[str] = []
        self.away = False

    async def take(self, name: str, policy: Policy, cost: int) -> Decision:
        if self.away:
            raise CountersUnavailable("connection refused")
        self.asked.append(name)
        return await super().take(name, policy, cost)


class Site:
    """A limiter, its clock, its counters and its metrics."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.valkey = Valkey(self.clock)
        self.registry = CollectorRegistry()
        metrics = LimiterMetrics(self.registry)
        self.limiter = Limiter(self.valkey, metrics, secret=SECRET, clock=self.clock)

    def counted(self, policy: str, verdict: str, by: str) -> float:
        labels = {"policy": policy, "verdict": verdict, "by": by}
        return self.registry.get_sample_value("shortener_limit_takes_total", labels) or 0


async def test_a_name_may_take_its_quota_and_others_theirs() -> None:
    site = Site()
    verdicts = [await site.limiter.take("192.0.2.1", BUCKET) for _ in range(4)]
    assert [verdict.allowed for verdict in verdicts] == [True, True, True, False]
    assert [verdict.remaining for verdict in verdicts] == [2, 1, 0, 0]
    assert verdicts[-1].policy.quota == 3
    assert verdicts[-1].retry_after_s == 1.0
    assert (await site.limiter.take("192.0.2.2", BUCKET)).allowed
    site.clock.us += SECOND_US
    assert (await site.limiter.take("192.0.2.1", BUCKET)).allowed


async def test_refusing_again_asks_nobody_until_it_could_be_allowed() -> None:
    site = Site()
    for _ in range(3):
        await site.limiter.take("a", BUCKET)
    assert not (await site.limiter.take("a", BUCKET)).allowed
    asked = len(site.valkey.asked)
    for left_ms in (900, 500, 1):
        site.clock.us = 6 * SECOND_US - left_ms * 1000
        verdict = await site.limiter.take("a", BUCKET)
        assert not verdict.allowed
        assert verdict.retry_after_s == pytest.approx(left_ms / 1000)
    assert len(site.valkey.asked) == asked
    assert site.counted("writes", "refused", "memory") == 3
    site.clock.us = 6 * SECOND_US
    assert (await site.limiter.take("a", BUCKET)).allowed


async def test_who_was_refused_much_may_still_take_little() -> None:
    site = Site()
    await site.limiter.take("a", BUCKET, 2)
    assert not (await site.limiter.take("a", BUCKET, 3)).allowed
    assert (await site.limiter.take("a", BUCKET, 1)).allowed


async def test_without_valkey_the_replica_limits_for_itself_and_says_so() -> None:
    site = Site()
    site.valkey.away = True
    allowed = [(await site.limiter.take("a", BUCKET)).allowed for _ in range(5)]
    assert allowed == [True, True, True, False, False]
    assert site.counted("writes", "allowed", "alone") == 3
    assert site.counted("writes", "refused", "alone") == 2
    site.valkey.away = False
    assert (await site.limiter.take("a", BUCKET)).allowed, "what it counts alone ends with it"
    assert site.counted("writes", "allowed", "shared") == 1


async def test_names_do_not_reach_valkey() -> None:
    site = Site()
    await site.limiter.take("192.0.2.1", BUCKET)
    await site.limiter.take("b" * 100_000 + "\ud800", BUCKET)
    assert all(len(name) == 32 and "192.0.2.1" not in name for name in site.valkey.asked)
    other = Site()
    other.limiter = Limiter(
        other.valkey, LimiterMetrics(CollectorRegistry()), secret=b"another-secret-16"
    )
    await other.limiter.take("192.0.2.1", BUCKET)
    assert other.valkey.asked[0] != site.valkey.asked[0], "no table of all addresses undoes it"


async def test_what_can_never_be_taken_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="never"):
        await Site().limiter.take("a", BUCKET, 4)


async def test_take_all_ends_at_the_first_refusal() -> None:
    site = Site()
    takes: list[Take] = [("192.0.2.1", BUCKET, 1), ("key", WINDOW, 1)]
    counts = []
    for _ in range(3):
        verdicts = await site.limiter.take_all(takes)
        counts.append([verdict.allowed for verdict in verdicts])
    assert counts == [[True, True], [True, True], [True, False]]
    asked = len(site.valkey.asked)
    [verdict] = await site.limiter.take_all(takes)  # known: the address is not charged for it
    assert (verdict.allowed, verdict.policy) == (False, WINDOW)
    assert len(site.valkey.asked) == asked


async def test_memory_is_bounded() -> None:
    site = Site()
    small = TokenBucket("tiny", 1, 3600 * SECOND_US)
    for number in range(MAX_NAMES + 1):
        await site.limiter.take(str(number), small)
        await site.limiter.take(str(number), small)
    asked = len(site.valkey.asked)
    await site.limiter.take("0", small)
    assert len(site.valkey.asked) == asked + 1, "the oldest refusal was forgotten"
    await site.limiter.take(str(MAX_NAMES), small)
    assert len(site.valkey.asked) == asked + 1, "the newest was not"


def test_ipv6_is_limited_by_network() -> None:
    assert neighbourhood("2001:db8:1:2:aaaa::1") == neighbourhood("2001:db8:1:2::9")
    assert neighbourhood("2001:db8:1:3::9") != neighbourhood("2001:db8:1:2::9")
    assert neighbourhood("192.0.2.1") == "192.0.2.1"
    assert neighbourhood("unknown:thing") == "unknown:thing"


def verdict(policy: Policy, allowed: bool, **times: float) -> Verdict:
    return Verdict(
        allowed,
        int(times.get("remaining", 0)),
        times.get("reset_s", 0.0),
        times.get("retry_after_s", 0.0),
        policy,
    )


def test_the_fields_are_lists_of_items_as_the_draft_has_them() -> None:
    both = [
        verdict(TokenBucket("writes", 2000, 5000), True, remaining=1999, reset_s=0.005),
        verdict(WINDOW, True, remaining=1, reset_s=59.01),
    ]
    assert rate_limit_fields(both) == {
        "RateLimit-Policy": '"writes";q=2000;w=10, "key-writes";q=2;w=60',
        "RateLimit": '"writes";r=1999;t=1, "key-writes";r=1;t=60',
    }


@given(st.floats(0, 100_000), st.floats(0, 100_000))
def test_nobody_who_waits_as_told_comes_too_early(reset_s: float, retry_after_s: float) -> None:
    problem = refusal([verdict(WINDOW, False, reset_s=reset_s, retry_after_s=retry_after_s)])
    seconds = int(problem.headers["Retry-After"])
    assert seconds >= max(retry_after_s, reset_s, 1)
    assert f"in {seconds} s" in problem.detail


class Api:
    """An application behind the middleware, and how often it was reached."""

    def __init__(self, rules: Rules) -> None:
        self.site = Site()
        self.reached: list[str] = []
        self.app = FastAPI()
        trusted = [ipaddress.ip_network("127.0.0.1/32")]
        self.limits = RequestLimits(
            self.site.limiter, rules, lambda scope: client_address(scope, trusted)
        )
        self.app.add_middleware(RateLimitMiddleware, limits=self.limits)
        install(self.app, registry=CollectorRegistry(), trusted_proxies=trusted)
        methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        self.app.add_api_route("/{path:path}", self._answer, methods=methods)

    async def _answer(self, request: Request, path: str) -> dict[str, str]:
        self.reached.append(f"{request.method} /{path}")
        more = int(request.query_params.get("more", "0"))
        if more:
            await self.limits.charge(request, more)
        return {}

    async def send(
        self, method: str, path: str, *, address: str = "192.0.2.1", **headers: str
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://s") as client:
            sent = {"X-Forwarded-For": address, **headers}
            return await client.request(method, path, headers=sent)


def rules(writes: int = 100, reads: int = 100, key_writes: int = 100) -> Rules:
    return Rules(
        writes=TokenBucket("writes", writes, SECOND_US),
        reads=TokenBucket("reads", reads, SECOND_US),
        key_writes=SlidingWindow("key-writes", key_writes, 60 * SECOND_US),
    )


async def statuses(api: Api, requests: Sequence[tuple[str, str]], **kwargs: Any) -> list[int]:
    return [(await api.send(method, path, **kwargs)).status_code for method, path in requests]


async def test_a_refused_write_reaches_nothing_and_says_when_to_come_back() -> None:
    api = Api(rules(writes=2))
    assert await statuses(api, [("POST", "/shorten"), ("POST", "/api/v1/links")]) == [200, 200]
    refused = await api.send("DELETE", "/api/v1/links/abc")
    assert refused.status_code == 429
    assert len(api.reached) == 2
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit-policy"] == '"writes";q=2;w=2'
    assert refused.headers["ratelimit"] == '"writes";r=0;t=1'
    problem = json.loads(refused.text)
    assert problem["violated-policies"] == ["writes"]
    assert problem["type"].endswith("#quota-exceeded")
    assert problem["title"] == "Quota Exceeded"
    assert "'writes'" in problem["detail"] and "1 s" in problem["detail"]
    assert problem["request_id"] == refused.headers["x-request-id"]
    assert (await api.send("POST", "/shorten", address="192.0.2.2")).status_code == 200
    api.site.clock.us += SECOND_US
    assert (await api.send("POST", "/shorten")).status_code == 200


async def test_an_allowed_answer_tells_how_things_stand() -> None:
    api = Api(rules())
    answer = await api.send("POST", "/shorten", Authorization="Bearer KEY")
    assert answer.headers["ratelimit-policy"] == '"writes";q=100;w=100, "key-writes";q=100;w=60'
    assert answer.headers["ratelimit"] == '"writes";r=99;t=1, "key-writes";r=99;t=60'


async def test_what_is_charged_further_is_told_as_well() -> None:
    api = Api(rules(key_writes=1))  # the half of one is none: nothing more is charged to the key
    answer = await api.send("POST", "/api/v1/links/bulk?more=9", Authorization="Bearer KEY")
    assert answer.headers["ratelimit"] == '"writes";r=90;t=1, "key-writes";r=0;t=60'


async def test_a_key_has_its_own_limit_wherever_it_is_used_from() -> None:
    api = Api(rules(key_writes=2))
    for last in range(4):
        answer = await api.send(
            "POST", "/shorten", address=f"192.0.2.{last}", Authorization="Bearer KEY"
        )
        assert answer.status_code == (200 if last < 2 else 429)
    other = await api.send("POST", "/shorten", Authorization="Bearer OTHER")
    assert other.status_code == 200


async def test_made_up_keys_do_not_help_against_the_limit_by_address() -> None:
    api = Api(rules(writes=2))
    answers = [
        (await api.send("POST", "/shorten", Authorization=f"Bearer KEY{n}")).status_code
        for n in range(4)
    ]
    assert answers == [200, 200, 429, 429]


async def test_neighbours_in_an_ipv6_network_share_their_limit() -> None:
    api = Api(rules(writes=2))
    answers = [
        (await api.send("POST", "/shorten", address=f"2001:db8::{n}")).status_code for n in range(3)
    ]
    assert answers == [200, 200, 429]


async def test_reads_of_the_api_have_a_limit_of_their_own() -> None:
    api = Api(rules(writes=1, reads=2))
    reads = [("GET", "/stats/abc"), ("HEAD", "/api/v1/links"), ("GET", "/api/v1/links")]
    assert await statuses(api, reads) == [200, 200, 429]
    assert await statuses(api, [("POST", "/shorten")]) == [200]


async def test_redirects_pages_and_probes_are_not_limited() -> None:
    api = Api(rules(writes=1, reads=1))
    free = [("GET", path) for path in ("/abc", "/", "/health/live", "/metrics", "/docs", "/apix")]
    free += [("HEAD", "/abc"), ("OPTIONS", "/api/v1/links")]
    for _ in range(3):
        assert set(await statuses(api, free)) == {200}
    assert api.site.valkey.asked == []


@pytest.mark.parametrize("path", ["/abc", "/shorten/", "//shorten", "/API/v1/links", "/api"])
async def test_no_spelling_of_a_path_gets_a_write_past_the_limit(path: str) -> None:
    api = Api(rules(writes=1))
    first, second = await statuses(api, [("POST", path), ("PUT", path)])
    assert (first != 429, second) == (True, 429)


async def test_without_valkey_requests_go_on_within_the_replicas_own_limit() -> None:
    api = Api(rules(writes=2))
    api.site.valkey.away = True
    assert await statuses(api, [("POST", "/shorten")] * 3) == [200, 200, 429]


async def test_a_write_that_makes_many_links_is_charged_for_each() -> None:
    api = Api(rules(writes=10, key_writes=8))
    answer = await api.send("POST", "/api/v1/links/bulk?more=4", Authorization="Bearer KEY")
    assert answer.status_code == 200
    refused = await api.send("POST", "/api/v1/links/bulk?more=3", Authorization="Bearer KEY")
    assert refused.status_code == 429
    assert refused.json()["violated-policies"] == ["key-writes"]
    assert refused.headers["ratelimit"].endswith('"key-writes";r=2;t=60')
    assert len(refused.headers.get_list("ratelimit")) == 1


async def test_a_write_larger_than_a_limit_takes_half_of_it() -> None:
    api = Api(rules(writes=10))
    large = [("POST", "/api/v1/links/import?more=5000")]
    assert await statuses(api, large) == [200]  # 1 and 5: 4 are left
    assert await statuses(api, large) == [429]  # 1 of them is taken, 5 are not there
    api.site.clock.us += 3 * SECOND_US
    assert await statuses(api, large) == [200]


async def test_a_limit_of_one_can_still_be_used() -> None:
    api = Api(rules(writes=1))
    assert (await api.send("POST", "/api/v1/links/import?more=50")).status_code == 200
