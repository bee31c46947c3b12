"""Plain ASGI apps over real sockets: what the wire shows of them."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from week01_http_server.asgi.application import AsgiApplication
from week01_http_server.asgi.types import Receive, Scope, Send
from week01_http_server.settings import Settings
from week01_http_server.tests.conftest import WAIT_S, RunningServer, Serve

pytestmark = pytest.mark.integration

App = Callable[[Scope, Receive, Send], Awaitable[None]]
variable: ContextVar[str] = ContextVar("variable", default="unset")


def run(serve: Serve, app: App, **settings: Any) -> RunningServer:
    made = Settings(lifespan="off", **settings)
    return serve(AsgiApplication(app, made), made)


def ask(server: RunningServer, data: bytes) -> bytes:
    """All that the server sends back until it closes."""
    with server.connect() as sock:
        sock.sendall(data)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    return answer


def get(path: str, *fields: str, close: bool = True, version: str = "1.1") -> bytes:
    lines = [f"GET {path} HTTP/{version}", "host: lab", *fields]
    if close:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode()


async def answer(send: Send, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def telling(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the scope."""
    told = {
        key: value.decode() if isinstance(value, bytes) else value
        for key, value in scope.items()
        if key in ("path", "raw_path", "query_string", "scheme", "client", "server", "root_path")
    }
    await answer(send, json.dumps(told).encode())


async def echoing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the path, and does not read the body."""
    await answer(send, scope["path"].encode())


async def with_trailers(scope: Scope, receive: Receive, send: Send) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"trailer", b"x-sum")],
            "trailers": True,
        }
    )
    await send({"type": "http.response.body", "body": b"abc"})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"3")]})


def told(server: RunningServer, data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(server, data).partition(b"\r\n\r\n")[2])
    return found


def test_a_scope_of_the_wire(serve: Serve) -> None:
    server = run(serve, telling, root_path="/api")
    scope = told(server, get("/a%20b/%C3%A4?x=%20&y"))
    assert scope["path"] == "/api/a b/ä"
    assert scope["raw_path"] == "/api/a%20b/%C3%A4"
    assert scope["query_string"] == "x=%20&y"
    assert scope["root_path"] == "/api"
    assert scope["scheme"] == "http"
    assert scope["client"][0] == "127.0.0.1"
    assert scope["server"] == ["127.0.0.1", server.port]


def test_an_absolute_target(serve: Serve) -> None:
    assert told(run(serve, telling), get("http://lab/a?b"))["path"] == "/a"


def test_trusted_peers_say_who_asked(serve: Serve) -> None:
    fields = ("x-forwarded-for: 203.0.113.9", "x-forwarded-proto: https")
    trusting = told(run(serve, telling, trusted_peers=("127.0.0.1",)), get("/", *fields))
    assert (trusting["client"], trusting["scheme"]) == (["203.0.113.9", 0], "https")
    distrusting = told(run(serve, telling), get("/", *fields))
    assert (distrusting["client"][0], distrusting["scheme"]) == ("127.0.0.1", "http")


def test_a_unix_socket_is_the_server(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "s"
    settings = Settings(lifespan="off", unix_path=str(path))
    server = serve(AsgiApplication(telling, settings), settings, unix=path)
    scope = told(server, get("/"))
    assert (scope["server"], scope["client"]) == ([str(path), None], None)


def test_trailers_go_to_those_who_asked_and_can_have_them(serve: Serve) -> None:
    server = run(serve, with_trailers)
    te = "te: trailers"
    assert ask(server, get("/", te)).endswith(b"3\r\nabc\r\n0\r\nx-sum: 3\r\n\r\n")
    assert ask(server, get("/")).endswith(b"3\r\nabc\r\n0\r\n\r\n")
    assert ask(server, get("/", te, version="1.0")).endswith(b"\r\n\r\nabc")


def test_trailers_that_would_change_the_framing_are_refused(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"abc"})
        await send({"type": "http.response.trailers", "headers": [(b"content-length", b"3")]})

    server = run(serve, app)
    with pytest.raises(ConnectionResetError):
        ask(server, get("/", "te: trailers"))
    assert len(server.errors) == 1
    server.errors.clear()


def test_an_upgrade_that_nobody_knows_is_a_plain_request(serve: Serve) -> None:
    upgrade = ("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAAA")
    server = run(serve, echoing)
    answers = ask(server, get("/one", *upgrade, close=False) + get("/two"))
    assert [part[-4:] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"/one", b"/two"]


@pytest.mark.parametrize("size", [10, 60_000])
def test_a_body_that_the_app_leaves_unread_is_no_second_request(serve: Serve, size: int) -> None:
    post = b"POST /one HTTP/1.1\r\nhost: lab\r\ncontent-length: %d\r\n\r\n" % size
    answers = ask(run(serve, echoing), post + b"x" * size + get("/two"))
    assert [part[-4:] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"/one", b"/two"]


def test_hundreds_of_pipelined_requests_come_back_in_order(serve: Serve) -> None:
    asked = b"".join(get(f"/{number:03}", close=False) for number in range(300)) + get("/end")
    answers = ask(run(serve, echoing), asked).split(b"HTTP/1.1 200")[1:]
    assert [part[-4:] for part in answers[:-1]] == [b"/%03d" % number for number in range(300)]
    assert answers[-1].endswith(b"/end")


def test_http_1_0_gets_a_stream_until_the_end_of_the_connection(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await send({"type": "http.response.body", "body": b"c"})

    answer = ask(run(serve, app), get("/", close=False, version="1.0"))
    assert b"transfer-encoding" not in answer
    assert answer.endswith(b"\r\n\r\nabc")


def test_what_the_app_says_of_framing_and_connection(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"transfer-encoding", b"chunked"), (b"connection", b"close")]
        await answer(send, b"abc", *headers)

    raw = ask(run(serve, app), get("/", close=False))  # ends, because the server closes
    assert b"transfer-encoding" not in raw
    assert b"content-length: 3\r\n" in raw
    assert raw.endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x", b"a\r\nset-cookie: b")],
        [(b"x y", b"a")],
        [(b"content-length", b"4")],
        [("x", "text")],
        [b"xy"],
        7,
    ],
)
def test_headers_that_cannot_be_sent_are_a_500(serve: Serve, headers: Any) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"abc"})

    server = run(serve, app)
    raw = ask(server, get("/"))
    assert raw.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in raw
    assert len(server.errors) == 1
    server.errors.clear()


def test_requests_do_not_see_each_others_context(serve: Serve) -> None:
    seen: list[tuple[str, bool]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        before = variable.get()
        variable.set(scope["path"])
        await asyncio.sleep(0)
        seen.append((before, asyncio.current_task() is task and variable.get() == scope["path"]))
        await answer(send, b"ok")

    ask(run(serve, app), get("/a", close=False) + get("/b", close=False) + get("/c"))
    assert seen == [("unset", True)] * 3


def test_an_app_that_never_pauses_notices_a_client_that_left(serve: Serve) -> None:
    """A transport that failed takes bytes for ever until the event loop gets its turn."""
    ended: list[type[BaseException]] = []
    over = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/short":
            await answer(send, b"served")
            return
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(1000), "more_body": True})
        except OSError as error:
            ended.append(type(error))
        over.set()

    server = run(serve, app)
    for _ in range(20):
        with server.connect() as sock:
            sock.sendall(get("/long"))
            sock.recv(10_000)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert over.wait(WAIT_S)
        over.clear()
    assert len(ended) == 20
    assert ask(server, get("/short")).endswith(b"served")


def test_a_handler_that_hangs_is_cancelled_when_the_server_closes(serve: Serve) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    server = run(serve, app)
    with server.connect() as sock:
        sock.sendall(get("/"))
        assert begun.wait(WAIT_S)
        server.call(server.server.close())
    assert cancelled.is_set()
