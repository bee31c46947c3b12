"""What an app may send, what it is told, and what becomes of one that breaks the protocol."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from week01_http_server.asgi.application import AsgiApplication
from week01_http_server.asgi.http import AsgiExchange
from week01_http_server.asgi.types import ClientDisconnected, ProtocolMisuse, Receive, Scope, Send
from week01_http_server.exchange import AnswerBroken, Exchange, Peer
from week01_http_server.http1.responses import CHUNKED, NO_BODY
from week01_http_server.messages import ClientGone, Headers, Request
from week01_http_server.settings import Settings

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class RecordingWire:
    """A connection without a socket: remembers what an exchange does to it."""

    def __init__(self) -> None:
        self.peer = Peer(("127.0.0.1", 4000), ("127.0.0.1", 80), tls=False)
        self.blocked = False
        self.written: list[bytes] = []
        self.status = 0
        self.headers: Headers = ()
        self.over: list[str] = []
        self.drained = asyncio.Event()
        self.finished = asyncio.Event()

    def ready_answer(
        self, request: Request, status: int, headers: Headers, body: bytes
    ) -> bytes | None:
        return None

    def open_answer(
        self, exchange: Exchange, status: int, headers: Headers, length: int | None
    ) -> tuple[bytes, int]:
        self.status, self.headers = status, headers
        for name, value in headers:
            if name == b"content-length":
                return b"HEAD ", int(value)
        if exchange.request.method == "HEAD":
            return b"HEAD ", NO_BODY
        return b"HEAD ", CHUNKED if length is None else length

    def write(self, data: bytes) -> None:
        self.written.append(data)

    async def drain(self) -> None:
        await self.drained.wait()
        if "lost" in self.over:
            raise ClientGone

    def want_body(self, exchange: Exchange) -> None:
        self.over.append("wanted")

    def body_taken(self, exchange: Exchange) -> None:
        pass

    def answered(self, exchange: Exchange) -> None:
        self.over.append("answered")

    def fail(self, exchange: Exchange) -> None:
        self.over.append("500")

    def cut(self, exchange: Exchange) -> None:
        self.over.append("cut")

    def upgrade(
        self, exchange: Exchange, factory: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.Transport, bytes]:
        raise NotImplementedError

    def launched(self, exchange: Exchange) -> None:
        pass

    def settled(self, exchange: Exchange) -> None:
        self.finished.set()


def a_request(method: str = "GET", *headers: tuple[bytes, bytes], body: bool = False) -> Request:
    return Request(
        method=method,
        target=b"/",
        path=b"/",
        query=b"",
        authority=b"lab",
        version="1.1",
        headers=list(headers),
        keep_alive=True,
        has_body=body,
        content_length=None,
        expects_continue=False,
        upgrade=None,
    )


async def started(
    app: App, request: Request | None = None, wire: RecordingWire | None = None
) -> tuple[AsgiExchange, RecordingWire]:
    """An exchange whose app has run as far as it can without any more input."""
    wire = wire or RecordingWire()
    application = AsgiApplication(app, Settings(lifespan="off"))
    await application.startup()
    exchange = AsgiExchange(request or a_request(), wire)
    exchange.launch(application.stream)
    for _ in range(3):
        await asyncio.sleep(0)
    return exchange, wire


def ran(app: App, request: Request | None = None) -> RecordingWire:
    async def go() -> RecordingWire:
        _, wire = await started(app, request)
        await wire.finished.wait()
        return wire

    return asyncio.run(go())


def sending(*messages: dict[str, Any]) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def head(status: int = 200, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, **more}


def body(data: bytes = b"", **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, **more}


def trailers(*fields: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {"type": "http.response.trailers", "headers": fields, **more}


def test_a_whole_answer_is_one_write() -> None:
    wire = ran(sending(head(headers=[(b"x", b"y")]), body(b"hello")))
    assert wire.written == [b"HEAD hello"]
    assert (wire.status, wire.headers, wire.over) == (200, [(b"x", b"y")], ["answered"])


def test_fields_may_be_lists_and_names_of_any_case() -> None:
    wire = ran(sending(head(headers=([b"Content-Length", b"1"], (b"X", b"y"))), body(b"a")))
    assert wire.headers == [(b"content-length", b"1"), (b"x", b"y")]
    assert wire.written == [b"HEAD a"]


def test_optional_keys_have_their_defaults() -> None:
    wire = ran(sending(head(204), {"type": "http.response.body"}))
    assert (wire.status, list(wire.headers), wire.written) == (204, [], [b"HEAD "])


def test_a_streamed_answer_goes_piece_by_piece() -> None:
    wire = ran(sending(head(), body(b"ab", more_body=True), body(b"", more_body=True), body(b"c")))
    assert wire.written == [b"HEAD 2\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n"]


def test_send_waits_while_the_client_is_slow() -> None:
    sent: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head())
        await send(body(b"first", more_body=True))
        sent.append("first")
        await send(body(b"second"))
        sent.append("second")

    async def go() -> None:
        wire = RecordingWire()
        wire.blocked = True
        await started(app, wire=wire)
        assert (sent, len(wire.written)) == ([], 1)
        wire.blocked = False
        wire.drained.set()
        await wire.finished.wait()

    asyncio.run(go())
    assert sent == ["first", "second"]


def test_a_client_that_leaves_while_send_waits_is_an_oserror_of_the_app() -> None:
    caught: list[type[BaseException]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head())
        try:
            await send(body(b"x", more_body=True))
        except OSError as error:
            caught.append(type(error))
            raise

    async def go() -> RecordingWire:
        wire = RecordingWire()
        wire.blocked = True
        exchange, _ = await started(app, wire=wire)
        exchange.lose()
        wire.over.append("lost")
        wire.drained.set()
        await wire.finished.wait()
        return wire

    assert asyncio.run(go()).over == ["lost"]
    assert caught == [ClientDisconnected]


def test_a_client_that_is_gone_is_an_oserror_and_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        assert await receive() == {"type": "http.disconnect"}
        await send(head())

    async def go() -> None:
        exchange, wire = await started(app)
        assert exchange.task is not None
        exchange.lose()
        await wire.finished.wait()
        assert wire.over == []

    asyncio.run(go())
    assert not caplog.records


def test_the_body_comes_in_pieces_and_the_last_one_says_so() -> None:
    events: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            events.append(await receive())
            if not events[-1].get("more_body"):
                break
        await send(head())
        await send(body())
        events.append(await receive())

    async def go() -> None:
        exchange, wire = await started(app, a_request("POST", body=True))
        assert wire.over == ["wanted"]
        exchange.receive(b"one")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        exchange.receive(b"two")
        exchange.receive_end(())
        await wire.finished.wait()

    asyncio.run(go())
    assert events == [
        {"type": "http.request", "body": b"one", "more_body": True},
        {"type": "http.request", "body": b"two", "more_body": False},
        {"type": "http.disconnect"},
    ]


def test_a_body_that_breaks_off_is_a_disconnect() -> None:
    events: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        events.append(await receive())
        events.append(await receive())

    async def go() -> None:
        exchange, wire = await started(app, a_request("POST", body=True))
        exchange.receive(b"part")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        exchange.lose()
        await wire.finished.wait()

    asyncio.run(go())
    assert events[1] == {"type": "http.disconnect"}


def test_a_receive_that_waits_learns_that_the_answer_is_complete() -> None:
    events: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

        async def listen() -> None:
            events.append(await receive())

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        await send(head())
        await send(body())
        await listening

    ran(app)
    assert events == [{"type": "http.disconnect"}]


def test_current_task_and_context_are_of_this_request_alone() -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((asyncio.current_task(), variable.get()))
        variable.set(7)
        await asyncio.sleep(0)
        seen.append((asyncio.current_task(), variable.get()))
        await send(head())
        await send(body())

    async def go() -> None:
        for _ in range(2):
            _, wire = await started(app)
            await wire.finished.wait()

    asyncio.run(go())
    (first, a), (again, b), (second, c), (_, d) = seen
    assert (a, b, c, d) == (0, 7, 0, 7)
    assert isinstance(first, asyncio.Task)
    assert first is again
    assert first is not second


@pytest.mark.parametrize("grouped", [False, True])
def test_an_exception_that_only_says_the_client_left_is_not_logged(
    grouped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer() -> None:
            try:
                await send(head())
            except OSError:
                raise RuntimeError("a framework's own name for it") from None

        await receive()
        await receive()
        if not grouped:
            await answer()
        async with asyncio.TaskGroup() as group:
            group.create_task(answer())

    async def go() -> None:
        exchange, wire = await started(app)
        exchange.lose()
        await wire.finished.wait()

    asyncio.run(go())
    assert not caplog.records


def test_an_app_may_just_return_when_its_client_left(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def go() -> None:
        exchange, wire = await started(app)
        exchange.lose()
        await wire.finished.wait()
        assert wire.over == []

    asyncio.run(go())
    assert not caplog.records


def test_another_exception_after_the_client_left_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        raise KeyError("while cleaning up")

    async def go() -> None:
        exchange, wire = await started(app)
        exchange.lose()
        await wire.finished.wait()

    asyncio.run(go())
    assert "while cleaning up" in caplog.text


# ---- Apps that break the protocol


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "returned before it sent 'http.response.start'"),
        ([head()], "returned before it sent 'http.response.body' with more_body false"),
        ([body()], "'http.response.body' sent instead of 'http.response.start'"),
        ([head(), head()], "'http.response.start' sent instead of 'http.response.body'"),
        ([head(100), body()], "100 is no status of a final answer"),
        ([head(), trailers()], "'http.response.trailers' sent instead of"),
        ([{"type": "http.response.strat"}], "'http.response.strat' sent instead of"),
        ([{"type": "websocket.accept"}], "'websocket.accept' sent instead of"),
        ([head(), {"type": "http.response.pathsend", "path": "x"}], "absolute path"),
    ],
)
def test_misuse_before_the_first_byte_is_a_500_and_named_in_the_log(
    messages: list[dict[str, Any]], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire = ran(sending(*messages))
    assert wire.over == ["500"]
    assert wire.written == []
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ProtocolMisuse]
    assert says in caplog.text


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([head(), body(b"x", more_body=True)], ProtocolMisuse),
        ([head(), body(b"x", more_body=True), head()], ProtocolMisuse),
        (
            [head(headers=[(b"content-length", b"1")]), body(b"x", more_body=True), body(b"y")],
            AnswerBroken,
        ),
        ([head(headers=[(b"content-length", b"9")]), body(b"x")], AnswerBroken),
    ],
)
def test_misuse_after_the_first_byte_cuts_the_connection(
    messages: list[dict[str, Any]], error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    wire = ran(sending(*messages))
    assert wire.over == ["cut"]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [error]


def test_an_exception_before_the_body_is_a_500() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head())
        raise ValueError("late thought")

    assert ran(app).over == ["500"]


def test_an_exception_after_the_answer_is_logged_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head())
        await send(body())
        raise ValueError("in a background task")

    assert ran(app).over == ["answered"]
    assert "in a background task" in caplog.text


def test_messages_after_the_end_are_ignored_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        wire = ran(sending(head(), body(b"a"), body(b"b")))
    assert wire.written == [b"HEAD a"]
    assert "after its answer to GET / was complete; ignored" in caplog.text


def test_a_cancelled_app_fails_its_request() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(3600)

    async def go() -> None:
        exchange, wire = await started(app)
        assert exchange.task is not None
        exchange.task.cancel()
        await wire.finished.wait()
        assert wire.over == ["500"]

    asyncio.run(go())


# ---- Extensions


@pytest.mark.parametrize(
    ("te", "last"),
    [
        (b"trailers", b"0\r\nsum: 1\r\nmore: 2\r\n\r\n"),
        (b"gzip;q=0.5, Trailers", b"0\r\nsum: 1\r\nmore: 2\r\n\r\n"),
        (b"gzip", b"0\r\n\r\n"),
        (b"trailersx", b"0\r\n\r\n"),
    ],
)
def test_trailers_are_sent_to_those_who_asked(te: bytes, last: bytes) -> None:
    app = sending(
        head(trailers=True),
        body(b"x"),
        trailers((b"sum", b"1"), more_trailers=True),
        trailers((b"more", b"2")),
    )
    wire = ran(app, a_request("GET", (b"te", te)))
    assert wire.written == [b"HEAD 1\r\nx\r\n", last]
    assert wire.over == ["answered"]


def test_promised_trailers_that_do_not_come_are_misuse(caplog: pytest.LogCaptureFixture) -> None:
    assert ran(sending(head(trailers=True), body(b"x"))).over == ["cut"]
    assert "returned before it sent 'http.response.trailers'" in caplog.text


def path_message(path: Path) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": str(path)}


def test_pathsend_sends_the_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"contents")
    wire = ran(sending(head(headers=[(b"x", b"y")]), path_message(file)))
    assert b"".join(wire.written) == b"HEAD contents"
    assert wire.headers == [(b"x", b"y"), (b"content-length", b"8")]
    assert wire.over == ["answered"]


def test_pathsend_of_an_empty_file_and_for_head(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert ran(sending(head(), path_message(file))).written == [b"HEAD "]
    file.write_bytes(b"contents")
    wire = ran(sending(head(), path_message(file)), a_request("HEAD"))
    assert wire.headers == [(b"content-length", b"8")]


@pytest.mark.parametrize("name", ["missing", "folder"])
def test_pathsend_of_what_is_no_file_is_a_500(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    assert ran(sending(head(), path_message(tmp_path / name))).over == ["500"]


def test_pathsend_does_not_mix_with_body(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"x")
    message = path_message(tmp_path / "file")
    assert ran(sending(head(), body(b"x", more_body=True), message)).over == ["cut"]
    assert "sent after 'http.response.body'" in caplog.text
