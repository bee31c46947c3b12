"""A Valkey that is dead or does not answer costs little, and is noticed once.

The servers are sockets of this process: one closed, one that accepts and stays silent, one that
speaks just enough of the protocol.
"""

import asyncio
import contextlib
import socket
import time

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from week04_shortener.cache.aside import CacheUnavailable, Kept
from week04_shortener.cache.valkey import ValkeyCache, pack, unpack
from week04_shortener.links import ABSENT, BadEntry, Entry, Kind
from week04_shortener.tests.unit.resp_server import RespServer

pytestmark = pytest.mark.anyio

TIMEOUT_S = 0.2
NOW_S = 1000.0
ENTRY = Entry(1, Kind.OPEN, "https://example.org/a")
KEPT = Kept(ENTRY, 60.0)
DATA = pack(ENTRY, NOW_S + 60.0)
OPEN_S = 0.4


class Server(RespServer):
    """Answers HELLO and CLIENT with OK and GET with a value, or nothing at all."""

    def __init__(self, value: bytes = DATA) -> None:
        super().__init__()
        self.value = value
        self.requests = 0
        self.silent = False

    def answer(self, words: list[bytes]) -> bytes:
        name = words[0].upper()
        if name == b"GET":
            self.requests += 1
        if self.silent:
            return b""
        value = b"$%d\r\n%b\r\n" % (len(self.value), self.value)
        answers = {b"GET": value, b"HELLO": b"%1\r\n+proto\r\n:3\r\n"}
        return answers.get(name, b"+OK\r\n")


def cache_at(port: int) -> tuple[ValkeyCache, CollectorRegistry]:
    registry = CollectorRegistry()
    cache = ValkeyCache(
        f"redis://127.0.0.1:{port}/0",
        timeout_s=TIMEOUT_S,
        pool_size=4,
        failures_to_open=3,
        open_s=OPEN_S,
        registry=registry,
        wall=lambda: NOW_S,
    )
    return cache, registry


async def fails(cache: ValkeyCache) -> float:
    """Ask once, which must fail; returns the seconds it took."""
    began = time.perf_counter()
    with pytest.raises(CacheUnavailable):
        await cache.get("key")
    return time.perf_counter() - began


def up(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("shortener_cache_up")


async def test_a_dead_server_is_unavailable_and_nothing_else() -> None:
    with contextlib.closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        cache, registry = cache_at(unused.getsockname()[1])
        with capture_logs() as logs:
            for _ in range(5):
                await fails(cache)
            with pytest.raises(CacheUnavailable):
                await cache.put("key", ENTRY, 1.0)
            with pytest.raises(CacheUnavailable):
                await cache.ping()
        assert up(registry) == 0
        assert [line["log_level"] for line in logs] == ["warning"]
        await cache.close()


async def test_a_silent_server_costs_its_time_limit_a_few_times_only() -> None:
    server = Server()
    async with server.running():
        server.silent = True
        cache, registry = cache_at(server.port)
        slow = [await fails(cache) for _ in range(3)]
        assert min(slow) >= TIMEOUT_S * 0.9
        asked = server.requests
        for _ in range(50):
            await fails(cache)
        assert server.requests <= asked + 1, "once more, should this machine be slow"
        assert up(registry) == 0
        await cache.close()


async def test_it_is_used_again_when_it_answers_again() -> None:
    server = Server()
    async with server.running():
        cache, registry = cache_at(server.port)
        with capture_logs() as logs:
            assert await cache.get("key") == KEPT
            server.silent = True
            for _ in range(3):
                await fails(cache)
            await asyncio.sleep(OPEN_S * 1.5)
            await fails(cache)  # tried once more, still silent: left alone again
            asked = server.requests
            await fails(cache)
            assert server.requests == asked
            server.silent = False
            await asyncio.sleep(OPEN_S * 1.5)
            assert await cache.get("key") == KEPT
        assert up(registry) == 1
        assert [line["event"] for line in logs] == [
            "cache does not answer, links come from the database",
            "cache works again",
        ]
        await cache.close()


async def test_cancelled_requests_do_not_count_as_failures() -> None:
    server = Server()
    async with server.running():
        server.silent = True
        cache, registry = cache_at(server.port)
        for _ in range(5):
            asked = asyncio.create_task(cache.get("key"))
            await asyncio.sleep(TIMEOUT_S / 5)
            asked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asked
        assert up(registry) == 1
        server.silent = False
        assert await cache.get("key") == KEPT
        await cache.close()


async def test_what_is_no_entry_is_a_miss_and_counted() -> None:
    server = Server(b"what another program left here")
    async with server.running():
        cache, registry = cache_at(server.port)
        assert [await cache.get("key") for _ in range(2)] == [None, None]
        assert registry.get_sample_value("shortener_cache_corrupt_total") == 2
        assert up(registry) == 1
        await cache.close()


# ---- What lies in Valkey


@pytest.mark.parametrize(
    "entry", [ABSENT, ENTRY, Entry(3, Kind.GONE), Entry(7, Kind.GUARDED, "", 1234.567)]
)
def test_entries_come_back_with_what_is_left_of_them(entry: Entry) -> None:
    data = pack(entry, 1060.0)
    assert data.startswith(b"%d " % entry.version)
    kept = unpack(data, 1000.0)
    assert kept.entry == entry
    assert kept.left_s == pytest.approx(60.0)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"1 open - https://example.org/a", b"1 open - u x", b"\xff 1", b"1 new - u 5"],
)
def test_anything_else_is_no_entry(data: bytes) -> None:
    with pytest.raises(BadEntry):
        unpack(data, 0.0)
