"""Listening for changes: what is told of what comes, and that what should not come ends it.

The servers are sockets of this process that speak just enough of the protocol (RESP2).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from infra.service.retry import Pace
from week04_shortener.cache import notices
from week04_shortener.cache.aside import code_of, key_of
from week04_shortener.cache.notices import (
    ALL,
    CHANNEL,
    Limits,
    Listener,
    NoticeMetrics,
    heard,
    notice,
)
from week04_shortener.makers import Makers
from week04_shortener.tests.unit.resp_server import RespServer
from week04_shortener.tests.unit.test_service import settings

pytestmark = pytest.mark.anyio

EVERY_S = 0.02
PACE = Pace(0.001, 0.01)
WITHIN_S = 20.0


def bulk(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


class Server(RespServer):
    """A Valkey that confirms subscriptions and answers PINGs, unless it is told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.subscriptions = 0
        self.is_silent = self.has_forgotten = False
        self.confirms = True

    def say(self, data: bytes) -> None:
        self.writers[-1].write(bulk(b"message", CHANNEL.encode(), data))

    def answer(self, words: list[bytes]) -> bytes:
        match words[0]:
            case b"SUBSCRIBE" if self.confirms:
                self.subscriptions += 1
                confirmed = bulk(b"subscribe", words[1], b"")
                return confirmed.removesuffix(b"$0\r\n\r\n") + b":1\r\n"
            case b"PING" if self.is_silent:
                return b""
            case b"PING" if self.has_forgotten:
                return b"$%d\r\n%b\r\n" % (len(words[1]), words[1])
            case b"PING":
                return bulk(b"pong", words[1])
        return b"+OK\r\n"


class Notebook:
    """Writes down what it is told, and when a PING was sent that came back."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.sure_s: list[float] = []
        self.subscriptions: list[float] = []

    def subscribed(self, now_s: float) -> None:
        self.subscriptions.append(now_s)

    def sure(self, sent_s: float) -> None:
        self.sure_s.append(sent_s)

    def changed(self, code: str, version: int, now_s: float) -> None:
        self.told.append((code, version))

    def changed_all(self, now_s: float) -> None:
        self.told.append("all")


class Ear:
    """A listener at work."""

    def __init__(self, server: Server, pace: Pace = PACE) -> None:
        self.server = server
        self.memory = Notebook()
        self.registry = CollectorRegistry()
        self._listener = Listener(
            f"redis://127.0.0.1:{server.port}/0?protocol=3",
            self.memory,
            code_of,
            NoticeMetrics(self.registry),
            limits=Limits(every_s=EVERY_S, connect_s=5.0),
            pace=pace,
        )
        self._stop = asyncio.Event()

    @property
    def up(self) -> float | None:
        return self.registry.get_sample_value("shortener_notices_up")

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._listener.run(self._stop))
        try:
            yield
        finally:
            self._stop.set()
            async with asyncio.timeout(WITHIN_S):
                await task


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    server = Server()
    async with server.running():
        ear = Ear(server)
        async with ear.listening():
            await until(lambda: len(ear.memory.sure_s) > 0)
            yield ear
    assert ear.up == 0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 what is looked at is another's counter
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (notice(key_of("abc"), 12).encode(), (key_of("abc"), 12)),
        (ALL, None),
        (b"", None),
        (b"12", None),
        (b"12 ", None),
        (b"x abc", None),
        (b"-1 abc", None),
        (b" abc", None),
        (b"9" * 5000 + b" abc", None),
    ],
)
def test_a_notice_is_read_or_is_none(data: bytes, found: tuple[str, int] | None) -> None:
    assert heard(data) == found


async def test_what_is_said_is_told_in_its_order(ear: Ear) -> None:
    for data in (b"2 shortener:link:abc", b"3 shortener:link:x", ALL, b"\xff no notice"):
        ear.server.say(data)
    await until(lambda: len(ear.memory.told) == 4)
    assert ear.memory.told == [("abc", 2), ("x", 3), "all", "all"]
    assert ear.up == 1


async def test_pings_come_back_with_the_moment_at_which_they_were_sent(ear: Ear) -> None:
    await until(lambda: len(ear.memory.sure_s) > 5)
    assert ear.memory.sure_s == sorted(ear.memory.sure_s)
    [began_s] = ear.memory.subscriptions
    assert ear.memory.sure_s[0] >= began_s - 1e-6, "rounded down to a microsecond"


async def test_a_lost_connection_is_made_again_and_said_once(ear: Ear) -> None:
    with capture_logs() as logs:
        ear.server.cut()
        await until(lambda: len(ear.memory.subscriptions) == 2)
    assert [line["log_level"] for line in logs] == ["warning"]
    assert ear.registry.get_sample_value("shortener_notices_subscriptions_total") == 2


async def test_an_answer_without_a_subscription_ends_the_connection(ear: Ear) -> None:
    """As if the connection had been made again, and its subscription lost."""
    ear.server.has_forgotten = True
    before = len(ear.memory.sure_s)
    await until(lambda: len(ear.memory.subscriptions) > 1)
    assert len(ear.memory.sure_s) <= before + 1, "one may have been under way"


async def test_silence_ends_it_too(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "SILENCE_S", 0.1)
    ear.server.is_silent = True
    await until(lambda: len(ear.memory.subscriptions) > 1)


async def test_what_is_no_subscription_is_tried_again_until_it_is() -> None:
    server = Server()
    async with server.running():
        server.confirms = False
        ear = Ear(server)
        async with ear.listening():
            await until(lambda: len(server.writers) > 3)
            assert (ear.up, ear.memory.subscriptions) == (0, [])
            server.confirms = True
            await until(lambda: ear.up == 1)


async def test_who_answers_no_ping_is_asked_ever_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notices, "random", lambda: 1.0)
    server = Server()
    server.has_forgotten = True
    async with server.running(), Ear(server, Pace(0.01, 10.0)).listening():
        await until(lambda: server.subscriptions == 3)
        began_s = asyncio.get_running_loop().time()
        await until(lambda: server.subscriptions == 5)
        # 0.08 and 0.16 s: two pauses of the first kind would be 0.02.
        assert asyncio.get_running_loop().time() - began_s > 0.1


def test_options_of_a_pool_are_no_hindrance() -> None:
    url = "redis://127.0.0.1:1/0?timeout=1&max_connections=5"
    Listener(
        url,
        Notebook(),
        code_of,
        NoticeMetrics(CollectorRegistry()),
        limits=Limits(1, 1),
        pace=PACE,
    )._new_connection()


async def test_a_server_that_is_not_there_is_no_error_and_stopping_is_heard() -> None:
    server = Server()
    async with server.running():
        ear = Ear(server)
    async with ear.listening():
        await asyncio.sleep(0.05)
    assert ear.memory.subscriptions == []


@pytest.mark.parametrize(
    ("changed", "listens"),
    [({}, True), ({"local_entries": 0}, False), ({"local_most_s": 1.0, "local_ttl_s": 1.0}, False)],
)
def test_only_a_memory_that_keeps_links_for_longer_is_told(
    changed: dict[str, float], listens: bool, tmp_path: Path
) -> None:
    chosen, make, registry = settings(tmp_path), Makers(), CollectorRegistry()
    chosen = chosen.model_copy(update=changed)
    listener = make.listener(chosen, make.local(chosen, registry), registry)
    assert (listener is not None) is listens


def test_silence_is_seen_over_several_pings_however_long_entries_live(tmp_path: Path) -> None:
    chosen, make, registry = settings(tmp_path), Makers(), CollectorRegistry()
    chosen = chosen.model_copy(update={"local_ttl_s": 30.0})
    listener = make.listener(chosen, make.local(chosen, registry), registry)
    assert isinstance(listener, Listener)
    assert listener._limits.every_s * 3 < notices.SILENCE_S
