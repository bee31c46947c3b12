"""Counters whose Valkey is dead or silent: what that costs, and who is told of it."""

import asyncio
import contextlib
import socket

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from week04_shortener.limits.algorithms import SECOND_US, TokenBucket
from week04_shortener.limits.counters import (
    MAX_NAMES,
    CountersUnavailable,
    LocalCounters,
    ValkeyCounters,
)
from week04_shortener.limits.limiter import Limiter, LimiterMetrics
from week04_shortener.valkey import ValkeyLimits

pytestmark = pytest.mark.anyio

TIMEOUT_S = 0.1
POLICY = TokenBucket("writes", 3, 3600 * SECOND_US)


def counters_at(port: int) -> tuple[ValkeyCounters, CollectorRegistry]:
    registry = CollectorRegistry()
    limits = ValkeyLimits(timeout_s=TIMEOUT_S, pool_size=4, failures_to_open=3, open_s=30)
    return ValkeyCounters(f"redis://127.0.0.1:{port}/0", limits, registry), registry


async def test_a_dead_valkey_is_said_once_and_limits_go_on() -> None:
    with contextlib.closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        counters, registry = counters_at(unused.getsockname()[1])
        limiter = Limiter(counters, LimiterMetrics(registry), secret=b"0123456789abcdef")
        with capture_logs() as logs:
            allowed = [(await limiter.take("a", POLICY)).allowed for _ in range(6)]
        assert allowed == [True] * 3 + [False] * 3
        assert [line["log_level"] for line in logs] == ["warning"]
        assert registry.get_sample_value("shortener_limits_shared") == 0
        labels = {"policy": "writes", "verdict": "allowed", "by": "alone"}
        assert registry.get_sample_value("shortener_limit_takes_total", labels) == 3
        await limiter.close()


async def test_a_silent_valkey_is_asked_a_few_times_only() -> None:
    open_connections: list[asyncio.StreamWriter] = []

    async def silence(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.append(writer)

    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    counters, _registry = counters_at(server.sockets[0].getsockname()[1])
    for _ in range(53):
        with pytest.raises(CountersUnavailable):
            await counters.take("a", POLICY, 1)
    # A connection on which nothing came in time is not used again.
    assert 1 <= len(open_connections) <= 3, "asked all the same"
    await counters.close()
    server.close()
    for writer in open_connections:
        writer.close()


async def test_in_memory_the_longest_unseen_begins_anew() -> None:
    counters = LocalCounters(lambda: SECOND_US)
    for _ in range(3):
        await counters.take("first", POLICY, 1)
    assert not (await counters.take("first", POLICY, 1)).allowed
    for number in range(MAX_NAMES - 1):
        await counters.take(str(number), POLICY, 1)
    assert not (await counters.take("first", POLICY, 1)).allowed
    for number in range(MAX_NAMES):
        await counters.take(str(number), POLICY, 1)
    assert (await counters.take("first", POLICY, 1)).allowed
