"""Live counters: who is asked how often, what is sent, and how a stream ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection
from starlette.types import Message

from infra.service.plumbing import install
from infra.service.problems import Problem
from week04_shortener.callers import Caller
from week04_shortener.live import Board, EventStream, Live, LiveMetrics, add_live
from week04_shortener.storage.database import DatabaseUnavailable

pytestmark = pytest.mark.anyio

POLL_S = 0.01
LONG_S = 30.0


class Counts:
    """The table of totals; notes each question."""

    def __init__(self) -> None:
        self.clicks = {"abc": 1, "xyz": 0}
        self.asked: list[frozenset[str]] = []
        self.failure: Exception | None = None
        self.context: dict[str, Any] = {}

    async def totals(self, codes: Collection[str]) -> dict[str, int]:
        self.context = structlog.contextvars.get_contextvars()
        self.asked.append(frozenset(codes))
        if self.failure is not None:
            raise self.failure
        return {code: self.clicks[code] for code in codes}


class Client:
    """One ASGI client of a stream, who can leave."""

    def __init__(self, stream: EventStream) -> None:
        self.sent: list[Message] = []
        self.broken = False
        self._left = asyncio.Event()
        self._news = asyncio.Condition()
        self.task = asyncio.create_task(
            stream({"type": "http", "state": {}}, self._receive, self._send)
        )

    async def _receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self.broken:
            raise OSError("the connection is closed")
        async with self._news:
            self.sent.append(message)
            self._news.notify_all()

    def leave(self) -> None:
        self._left.set()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        blocks = [block.split("\n") for block in self.text.split("\n\n") if "event: " in block]
        return [(name.removeprefix("event: "), json.loads(data[6:])) for name, data in blocks]

    async def until(self, holds: Callable[["Client"], bool]) -> None:
        async with asyncio.timeout(LONG_S), self._news:
            await self._news.wait_for(lambda: holds(self))


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def board(counts: Counts, registry: CollectorRegistry) -> Board:
    return Board(counts, LiveMetrics(registry), max_streams=3, poll_s=POLL_S)


def clicks(code: str, number: int) -> tuple[str, dict[str, Any]]:
    return "clicks", {"code": code, "clicks": number}


async def gone(*clients: Client) -> None:
    for client in clients:
        client.leave()
    await asyncio.gather(*(client.task for client in clients))


async def test_the_count_is_sent_at_once_and_again_only_when_it_changes(
    board: Board, counts: Counts
) -> None:
    client = Client(EventStream(board, ["abc"]))
    await client.until(lambda client: client.events == [clicks("abc", 1)])
    asked = len(counts.asked)
    while len(counts.asked) < asked + 3:  # noqa: ASYNC110 - a fake that counts has no event
        await asyncio.sleep(POLL_S)
    counts.clicks["abc"] = 4
    await client.until(lambda client: len(client.events) == 2)
    assert client.events == [clicks("abc", 1), clicks("abc", 4)]
    assert client.status == 200
    assert dict(client.sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert client.text.startswith("retry: 2000\n\n")
    await gone(client)


async def test_all_watched_codes_are_asked_for_together(board: Board, counts: Counts) -> None:
    first, second = Client(EventStream(board, ["abc"])), Client(EventStream(board, ["abc", "xyz"]))
    await first.until(lambda client: client.events == [clicks("abc", 1)])
    await second.until(lambda client: len(client.events) == 2)
    assert sorted(second.events, key=str) == [clicks("abc", 1), clicks("xyz", 0)]
    assert counts.asked[-1] == {"abc", "xyz"}
    await gone(first, second)


async def test_nobody_is_asked_while_nobody_watches(
    board: Board, counts: Counts, registry: CollectorRegistry
) -> None:
    assert not counts.asked
    client = Client(EventStream(board, ["abc"]))
    await client.until(lambda client: bool(client.events))
    assert registry.get_sample_value("shortener_live_streams") == 1
    await gone(client)
    assert registry.get_sample_value("shortener_live_streams") == 0
    asked = len(counts.asked)
    await asyncio.sleep(POLL_S * 5)
    assert len(counts.asked) == asked
    again = Client(EventStream(board, ["abc"]))
    await again.until(lambda client: client.events == [clicks("abc", 1)])
    await gone(again)


async def test_the_poller_is_nobodys_request(board: Board, counts: Counts) -> None:
    """It goes on for others, so what it logs must not bear the id of who came first."""
    with structlog.contextvars.bound_contextvars(request_id="first"):
        client = Client(EventStream(board, ["abc"]))
    await client.until(lambda client: bool(client.events))
    assert counts.context == {}
    await gone(client)


async def test_a_slow_reader_gets_the_newest_count_and_not_all_of_them(board: Board) -> None:
    watcher = board.join(["abc"])
    assert watcher is not None
    for number in range(1000):
        watcher.see({"abc": number})
    data = await watcher.events(LONG_S)
    assert data == b'event: clicks\ndata: {"code":"abc","clicks":999}\n\n'
    board.leave(watcher)


async def test_silence_is_filled_with_comments(board: Board) -> None:
    client = Client(EventStream(board, ["abc"], heartbeat_s=POLL_S))
    await client.until(lambda client: client.text.count(": nothing new\n\n") >= 2)
    assert client.events == [clicks("abc", 1)]
    await gone(client)


async def test_one_stream_too_many_is_told_when_to_come_again(board: Board) -> None:
    clients = [Client(EventStream(board, ["abc"])) for _ in range(3)]
    for client in clients:
        await client.until(lambda client: bool(client.events))
    fourth = Client(EventStream(board, ["abc"]))
    await fourth.task
    assert fourth.status == 503
    assert dict(fourth.sent[0]["headers"])[b"retry-after"] == b"30"
    await gone(clients.pop())
    fifth = Client(EventStream(board, ["abc"]))
    await fifth.until(lambda client: bool(client.events))
    await gone(fifth, *clients)


async def test_a_client_that_breaks_off_in_the_middle_is_no_error(
    board: Board, counts: Counts, registry: CollectorRegistry
) -> None:
    client = Client(EventStream(board, ["abc"]))
    await client.until(lambda client: bool(client.events))
    client.broken = True
    counts.clicks["abc"] = 2
    async with asyncio.timeout(LONG_S):
        await client.task
    assert registry.get_sample_value("shortener_live_streams") == 0


async def test_the_end_of_the_process_ends_all_streams_in_order(board: Board) -> None:
    client = Client(EventStream(board, ["abc"]))
    await client.until(lambda client: bool(client.events))
    board.end()
    async with asyncio.timeout(LONG_S):
        await client.task
    assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    late = Client(EventStream(board, ["abc"]))
    await late.task
    assert late.status == 503


async def test_a_stream_ends_when_it_is_old(board: Board) -> None:
    client = Client(EventStream(board, ["abc"], max_age_s=POLL_S))
    async with asyncio.timeout(LONG_S):
        await client.task
    assert client.sent[-1]["more_body"] is False


async def test_a_database_that_is_away_is_told_once_and_all_counts_after_it(
    board: Board, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("week04_shortener.live.AWAY_S", POLL_S)
    client = Client(EventStream(board, ["abc"]))
    await client.until(lambda client: bool(client.events))
    counts.failure = DatabaseUnavailable("connection refused")
    await client.until(lambda client: len(client.events) == 2)
    asked = len(counts.asked)
    while len(counts.asked) < asked + 3:  # noqa: ASYNC110 - a fake that counts has no event
        await asyncio.sleep(POLL_S)
    counts.failure = None
    await client.until(lambda client: len(client.events) == 3)
    assert client.events == [clicks("abc", 1), ("away", {}), clicks("abc", 1)]
    await gone(client)


async def test_a_mistake_of_ours_ends_the_streams_and_the_next_begins_anew(
    board: Board, counts: Counts
) -> None:
    counts.failure = TypeError("a mistake")
    client = Client(EventStream(board, ["abc"]))
    async with asyncio.timeout(LONG_S):
        await client.task
    counts.failure = None
    again = Client(EventStream(board, ["abc"]))
    await again.until(lambda client: client.events == [clicks("abc", 1)])
    await gone(again)


class Links:
    """Owner 7 has abc and xyz; nobody has open."""

    async def owned(self, codes: Collection[str], *, owner_id: int | None) -> set[str]:
        if any("\0" in code for code in codes):
            raise ValueError("PostgreSQL's text takes no NUL")
        return set(codes) & ({"abc", "xyz"} if owner_id == 7 else {"open"})


async def caller_of(request: HTTPConnection) -> Caller:
    key = request.headers.get("authorization")
    if key not in (None, "Bearer seven"):
        raise Problem(401, "This API key is unknown or was revoked.")
    return Caller(7 if key else None, "192.0.2.1")


@pytest.fixture
async def http(board: Board) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    install(app, registry=CollectorRegistry())
    add_live(app, Live(board, Links(), caller_of, max_age_s=POLL_S * 3), {})
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://short.example") as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/links/abc/live",
        "/api/v1/live?codes=abc,xyz,abc",
        "/api/v1/live?codes=abc,open",
    ],
)
async def test_the_owner_may_watch(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path, headers={"authorization": "Bearer seven"})
    assert answer.status_code == 200
    assert 'data: {"code":"abc","clicks":1}' in answer.text
    assert "open" not in answer.text


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/api/v1/links/abc/live", None, 404),
        ("/api/v1/links/open/live", "Bearer seven", 404),
        ("/api/v1/links/%00ab/live", "Bearer seven", 404),
        ("/api/v1/live?codes=open,none", "Bearer seven", 404),
        ("/api/v1/live?codes=abc", "Bearer eight", 401),
        ("/api/v1/live", "Bearer seven", 422),
        ("/api/v1/live?codes=", "Bearer seven", 422),
        ("/api/v1/live?codes=a,,b", "Bearer seven", 422),
        ("/api/v1/live?codes=%00", "Bearer seven", 422),
        ("/api/v1/live?codes=" + ",".join(f"abc{n}" for n in range(101)), "Bearer seven", 422),
    ],
)
async def test_nobody_else_may(
    http: httpx.AsyncClient, path: str, key: str | None, status: int
) -> None:
    headers = {"authorization": key} if key else {}
    assert (await http.get(path, headers=headers)).status_code == status
