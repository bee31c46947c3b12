"""The redirect, as a server sees it: messages in, messages out, and a click in the log before."""

import asyncio
import ipaddress
import json
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from infra.service.metrics import HttpMetrics
from infra.service.requests import RequestIds
from week04_shortener.callers import client_address
from week04_shortener.clicks.agents import Agents
from week04_shortener.clicks.event import Click, decode
from week04_shortener.clicks.recorder import Recorder
from week04_shortener.clicks.visitors import Visitors
from week04_shortener.links import ABSENT, Entry, Kind
from week04_shortener.redirects.access import AccessLog
from week04_shortener.redirects.redirect import Redirects
from week04_shortener.storage.database import DatabaseUnavailable

pytestmark = pytest.mark.anyio

NOW_S = 1_767_323_045.25
URL = "https://example.org/a?b=c"
ID = "0123456789abcdef0123456789abcdef"
TRUSTED = (ipaddress.ip_network("127.0.0.1/32"),)
FIREFOX = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
OPEN = Entry(1, Kind.OPEN, URL)

AGENTS = Agents()


class World:
    """Everything around the redirect, in memory. What happens is noted in order in `seen`."""

    def __init__(self) -> None:
        self.near_entries: dict[str, Entry] = {}
        self.far_entries: dict[str, Entry] = {}
        self.error: Exception | None = None
        self.log_error: Exception | None = None
        self.clicks: list[Click] = []
        self.lost: list[Exception] = []
        self.seen: list[str] = []
        self.lines: list[dict[str, Any]] = []
        self.lost_lines = 0
        self.registry = CollectorRegistry()
        self.access = AccessLog(self, service="shortener-api")
        visitors = Visitors(b"0123456789abcdef", lambda scope: client_address(scope, TRUSTED))
        self.app = Redirects(
            self.rest,
            lookup=self,
            guarded=self.guarded,
            recorder=Recorder(self, AGENTS, visitors, replica="api1", now_s=lambda: NOW_S),
            ids=RequestIds(TRUSTED),
            metrics=HttpMetrics(self.registry),
            access_log=self.access,
            replica="api1",
            now_s=lambda: NOW_S,
        )

    def near(self, code: str) -> Entry | None:
        self.seen.append(f"near {code}")
        return self.near_entries.get(code)

    async def entry_of(self, code: str) -> Entry:
        self.seen.append(f"far {code}")
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return self.far_entries.get(code, ABSENT)

    def append(self, payload: bytes) -> bool:
        if self.log_error:
            raise self.log_error
        self.seen.append("click")
        self.clicks.append(decode(payload))
        return True

    def lose(self, error: Exception) -> None:
        self.lost.append(error)

    def write_lines(self, lines: bytes) -> None:
        self.lines += [json.loads(line) for line in lines.splitlines()]

    async def rest(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(f"rest {scope['type']} {scope.get('path')}")

    async def guarded(self, scope: Scope, receive: Receive, send: Send, code: str) -> None:
        self.seen.append(f"guarded {code} {scope['state']['request_id']}")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a page"})

    def count(self, method: str, status: str) -> float | None:
        labels = {"method": method, "route": "/{code}", "status": status}
        timed = self.registry.get_sample_value("http_request_duration_seconds_count", labels)
        counted = self.registry.get_sample_value("http_requests_total", labels)
        assert timed == counted
        assert self.registry.get_sample_value("http_requests_active", {"method": method}) == 0
        return counted


class Answer:
    """What was sent."""

    def __init__(self, messages: list[Message]) -> None:
        start, *parts = messages
        self.status: int = start["status"]
        self.raw: list[tuple[bytes, bytes]] = list(start["headers"])
        self.headers = {name.decode(): value.decode() for name, value in self.raw}
        self.body = b"".join(part.get("body", b"") for part in parts)


@pytest.fixture
def world() -> Iterator[World]:
    yield World()


async def ask(
    world: World,
    path: str = "/abc1234",
    method: str = "GET",
    headers: list[tuple[bytes, bytes]] | None = None,
    client: tuple[str, int] | None = ("127.0.0.1", 4711),
    version: str = "1.1",
) -> Answer:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        world.seen.append(f"sent {message['type']}")
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": version,
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": headers or [],
        "client": client,
    }
    await world.app(scope, receive, send)
    world.access.close()
    return Answer(sent) if sent else Answer([{"status": 0, "headers": []}])


def assert_problem(answer: Answer, status: int) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(answer.body)
    assert answer.status == document["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == document["request_id"]
    assert answer.headers["x-replica"] == "api1"
    return document


# ---- The quick way


async def test_what_is_near_is_answered_without_asking_further(world: World) -> None:
    world.near_entries["abc1234"] = OPEN
    answer = await ask(world, headers=[(b"x-request-id", ID.encode())])
    assert (answer.status, answer.body) == (302, b"")
    assert answer.headers == {
        "location": URL,
        "content-length": "0",
        "cache-control": "private, no-store",
        "x-replica": "api1",
        "x-request-id": ID,
    }
    assert world.seen[:3] == ["near abc1234", "click", "sent http.response.start"]


async def test_the_click_tells_who_followed_and_hides_it(world: World) -> None:
    world.near_entries["abc1234"] = OPEN
    headers = [
        (b"x-request-id", ID.encode()),
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"referer", b"https://news.example/private?page=1"),
        (b"user-agent", FIREFOX),
    ]
    await ask(world, headers=headers)
    [click] = world.clicks
    assert click[:2] == (ID, "abc1234")
    assert click.at.timestamp() == NOW_S
    assert click[3:7] == ("api1", "news.example", "Firefox", "person")
    direct = [(name, value) for name, value in headers if name != b"x-forwarded-for"]
    await ask(world, headers=direct, client=("192.0.2.1", 1))
    assert world.clicks[1].visitor == click.visitor
    assert world.clicks[1].event_id != ID


async def test_head_is_no_click(world: World) -> None:
    world.near_entries["abc1234"] = OPEN
    world.far_entries["abc1235"] = OPEN
    for path in ("/abc1234", "/abc1235"):
        answer = await ask(world, path, "HEAD")
        assert (answer.status, answer.headers["location"]) == (302, URL)
    assert world.clicks == []
    assert world.count("HEAD", "302") == 2


async def test_metrics_and_access_line(world: World) -> None:
    world.near_entries["abc1234"] = OPEN
    await ask(world, headers=[(b"x-request-id", ID.encode())])
    assert world.count("GET", "302") == 1
    [line] = world.lines
    assert line.pop("duration_ms") >= 0
    assert list(line.items()) == [
        ("timestamp", "2026-01-02T03:04:05.250000Z"),
        ("level", "info"),
        ("service", "shortener-api"),
        ("event", "request"),
        ("request_id", ID),
        ("method", "GET"),
        ("path", "/abc1234"),
        ("route", "/{code}"),
        ("status", 302),
    ]


async def test_no_address_of_a_visitor_is_written(world: World) -> None:
    world.near_entries["abc1234"] = OPEN
    for path in ("/abc1234", "/abc1235"):
        await ask(world, path, headers=[(b"x-forwarded-for", b"192.0.2.77")])
        await ask(world, path, client=("192.0.2.77", 5))
    assert len(world.lines) == 4
    assert "192.0.2.77" not in json.dumps(world.lines)


async def test_a_click_that_cannot_be_logged_is_lost_and_the_redirect_goes_on(
    world: World,
) -> None:
    world.near_entries["abc1234"] = world.far_entries["abc1235"] = OPEN
    world.log_error = RuntimeError("nobody expected this")
    for path in ("/abc1234", "/abc1235"):
        assert (await ask(world, path)).status == 302
    assert world.lost == [world.log_error] * 2


async def test_a_client_that_leaves_is_counted_and_its_click_too(world: World) -> None:
    world.near_entries["abc1234"] = OPEN

    async def gone(_message: Message) -> None:
        raise OSError("the client is gone")

    scope: Scope = {
        "type": "http", "method": "GET", "path": "/abc1234", "headers": [], "client": None,
    }  # fmt: skip
    with pytest.raises(OSError, match="the client is gone"):
        await world.app(scope, gone, gone)  # type: ignore[arg-type]
    world.access.close()
    assert len(world.clicks) == len(world.lines) == world.count("GET", "302") == 1


# ---- Ids, peers, headers


@pytest.mark.parametrize(
    ("client", "given"),
    [
        (("198.51.100.1", 1), ID), (None, ID), (("", 0), ID), (("127.0.0.1", 1), ID.upper()),
        (("127.0.0.1", 1), ID[1:]), (("127.0.0.1", 1), ID + "0"), (("127.0.0.1", 1), ""),
        (("127.0.0.1", 1), "\xff" * 32), (("127.0.0.1", 1), ID + "\n"),
    ],
)  # fmt: skip
async def test_only_a_proxy_of_ours_names_requests(
    world: World, client: tuple[str, int] | None, given: str
) -> None:
    world.near_entries["abc1234"] = OPEN
    for path in ("/abc1234", "/abc1235"):
        headers = [(b"x-request-id", given.encode("latin-1"))]
        answer = await ask(world, path, headers=headers, client=client)
        assert answer.headers["x-request-id"] != given
        assert len(bytes.fromhex(answer.headers["x-request-id"])) == 16
    assert world.clicks[0].event_id == world.lines[0]["request_id"]


async def test_of_several_ids_the_nearest_proxys_counts(world: World) -> None:
    world.near_entries["abc1234"] = OPEN
    headers = [(b"x-request-id", b"f" * 32), (b"x-request-id", ID.encode())]
    for path in ("/abc1234", "/abc1235"):
        assert (await ask(world, path, headers=headers)).headers["x-request-id"] == ID


async def test_a_peer_without_address_has_no_visitor(world: World) -> None:
    world.near_entries["abc1234"] = OPEN
    assert (await ask(world, client=None)).status == 302
    assert world.clicks[0].visitor is None


@pytest.mark.parametrize(
    "headers",
    [
        [(b"user-agent", b"\xff\xfe\x00"), (b"referer", b"\xff://\xc3\x28/"),
         (b"x-forwarded-for", b"\xff"), (b"purpose", b"\xff")],
        [(b"referer", b"https://" + b"a" * 100_000), (b"user-agent", b"x" * 100_000)],
        [(b"x-forwarded-for", b"192.0.2.1, " * 10_000)],
        [(b"x-header-%d" % number, b"x" * 100) for number in range(10_000)],
        [(b"referer", b"http://[::1"), (b"user-agent", b"")],
        [(b"referer", b'https://"\\\x07.example/')],
    ],
)  # fmt: skip
async def test_no_header_is_too_strange(world: World, headers: list[tuple[bytes, bytes]]) -> None:
    world.near_entries["abc1234"] = world.far_entries["abc1235"] = OPEN
    for path in ("/abc1234", "/abc1235"):
        assert (await ask(world, path, headers=headers)).status == 302
    assert len(world.clicks) == 2
    assert world.lost == []


async def test_http_1_0(world: World) -> None:
    world.near_entries["abc1234"] = OPEN
    answer = await ask(world, version="1.0")
    assert (answer.status, answer.headers["content-length"]) == (302, "0")


# ---- The slower way


async def test_what_is_not_near_is_looked_up(world: World) -> None:
    world.far_entries["my-alias"] = OPEN
    answer = await ask(world, "/my-alias", headers=[(b"x-request-id", ID.encode())])
    assert (answer.status, answer.headers["location"]) == (302, URL)
    assert answer.headers["cache-control"] == "private, no-store"
    assert (answer.headers["x-replica"], answer.headers["x-request-id"]) == ("api1", ID)
    assert world.seen[:4] == [
        "near my-alias", "far my-alias", "click", "sent http.response.start"
    ]  # fmt: skip
    assert world.clicks[0].event_id == ID
    assert world.count("GET", "302") == 1
    assert world.lines[0]["status"] == 302


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        (ABSENT, 404),
        (Entry(2, Kind.GONE), 410),
        (Entry(1, Kind.OPEN, URL, NOW_S), 410),
        (Entry(1, Kind.OPEN, URL, NOW_S - 1), 410),
    ],
)
async def test_no_redirect_and_no_click(world: World, entry: Entry, status: int) -> None:
    world.near_entries["abc1234"] = world.far_entries["abc1235"] = entry
    for path in ("/abc1234", "/abc1235"):
        answer = await ask(world, path)
        assert_problem(answer, status)
        assert answer.headers["cache-control"] == "no-store"
        assert "location" not in answer.headers
    assert world.clicks == []
    assert world.count("GET", str(status)) == 2


async def test_a_link_is_followed_until_it_is_over(world: World) -> None:
    world.near_entries["abc1234"] = Entry(1, Kind.OPEN, URL, NOW_S + 0.001)
    assert (await ask(world)).status == 302


async def test_database_away(world: World) -> None:
    world.error = DatabaseUnavailable("connection refused to 10.0.0.5")
    answer = await ask(world)
    assert_problem(answer, 503)
    assert answer.headers["retry-after"] == "1"
    assert b"10.0.0.5" not in answer.body


async def test_a_bug_is_a_problem_with_a_trace_in_the_log_only(world: World) -> None:
    world.error = ZeroDivisionError("a secret")
    with capture_logs() as logs:
        answer = await ask(world)
    assert b"secret" not in answer.body
    assert_problem(answer, 500)
    assert [line["event"] for line in logs] == ["request crashed"]
    assert world.count("GET", "500") == 1


async def test_a_request_that_is_cancelled_is_counted_as_aborted(world: World) -> None:
    world.error = asyncio.CancelledError()  # type: ignore[assignment]
    with pytest.raises(asyncio.CancelledError):
        await ask(world)
    assert world.count("GET", "aborted") == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_guarded_links_are_for_their_guard(world: World, method: str) -> None:
    guarded = Entry(1, Kind.GUARDED)
    world.near_entries["abc1234"] = world.far_entries["abc1235"] = guarded
    for code in ("abc1234", "abc1235"):
        answer = await ask(world, f"/{code}", method, [(b"x-request-id", ID.encode())])
        assert (answer.status, answer.body) == (200, b"a page")
        assert answer.headers == {"x-replica": "api1", "x-request-id": ID}
        assert f"guarded {code} {ID}" in world.seen
    assert world.clicks == []
    assert world.count(method, "200") == 2


async def test_what_the_guard_lets_through_is_a_click(world: World) -> None:
    async def let_through(scope: Scope, receive: Receive, send: Send, code: str) -> None:
        await world.app._recorder.follow(scope, receive, send, code, URL, 303)

    world.near_entries["abc1234"] = Entry(1, Kind.GUARDED)
    world.app._guarded = let_through
    answer = await ask(world, method="POST", headers=[(b"x-request-id", ID.encode())])
    assert (answer.status, answer.headers["location"]) == (303, URL)
    assert answer.headers["cache-control"] == "private, no-store"
    assert world.seen[1:3] == ["click", "sent http.response.start"]
    assert world.clicks[0].event_id == ID


@pytest.mark.parametrize(
    ("method", "allowed"),
    [("POST", "GET, HEAD"), ("PUT", "GET, HEAD, POST"), ("OPTIONS", "GET, HEAD, POST")],
)
async def test_other_methods(world: World, method: str, allowed: str) -> None:
    world.near_entries["abc1234"] = OPEN
    answer = await ask(world, method=method)
    assert_problem(answer, 405)
    assert answer.headers["allow"] == allowed
    assert world.clicks == []


# ---- What is none of its business


@pytest.mark.parametrize(
    "path",
    ["/", "", "/ab", "/shorten", "/Docs", "/openapi.json", "/favicon.ico", "/api/v1/links",
     "/abc1234/", "//abc1234", "/-abcdef", "/abcdef_", "/" + "a" * 33, "/abc 1234", "/\x00" * 7,
     "/äbcdefg", "/abc1234\n", "/static/page.js"],
)  # fmt: skip
async def test_other_paths_go_to_the_rest_and_are_not_looked_up(world: World, path: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        await ask(world, path, method)
    assert world.seen == [f"rest http {path}"] * 3
    assert world.lines == []


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_protocols_go_to_the_rest(world: World, kind: str) -> None:
    async def nothing(*_: object) -> Any: ...

    await world.app({"type": kind, "path": "/abc1234"}, nothing, nothing)
    assert world.seen == [f"rest {kind} /abc1234"]
