"""WebSockets of ASGI apps over real sockets: with a real client, and with frames by hand."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close, Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from week01_http_server.asgi.application import AsgiApplication
from week01_http_server.asgi.types import ProtocolMisuse, Receive, Scope, Send
from week01_http_server.settings import Deadlines, Limits, Settings
from week01_http_server.tests.conftest import WAIT_S, RunningServer, Serve

pytestmark = pytest.mark.integration

HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
)


class Site:
    """A Starlette app with WebSockets, and what its tests wait for."""

    def __init__(self) -> None:
        self.disconnects: list[tuple[int, str]] = []
        self.disconnected = threading.Event()
        self.flooded = 0
        self.app = Starlette(
            routes=[
                WebSocketRoute("/echo", self.echo),
                WebSocketRoute("/chosen", self.chosen),
                WebSocketRoute("/refused", self.refused),
                WebSocketRoute("/denied", self.denied),
                WebSocketRoute("/closes", self.closes),
                WebSocketRoute("/raises", self.raises),
                WebSocketRoute("/raises-early", self.raises_early),
                WebSocketRoute("/flood", self.flood),
                WebSocketRoute("/returns", self.returns),
            ]
        )

    async def echo(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message["code"], message.get("reason"))
                if message.get("text") is not None:
                    await socket.send_text(message["text"])
                else:
                    await socket.send_bytes(message["bytes"])
        except WebSocketDisconnect as gone:
            self.disconnects.append((gone.code, gone.reason))
            self.disconnected.set()

    async def chosen(self, socket: WebSocket) -> None:
        await socket.accept(
            subprotocol=socket.scope["subprotocols"][-1], headers=[(b"x-room", b"7")]
        )
        await socket.send_json(
            {
                "scheme": socket.url.scheme,
                "offered": socket.scope["subprotocols"],
                "query": socket.url.query,
            }
        )
        await socket.close(4001, "that was all")

    async def refused(self, socket: WebSocket) -> None:
        await socket.close()

    async def denied(self, socket: WebSocket) -> None:
        answer = PlainTextResponse("pay first", 402, headers={"x-price": "1"})
        await socket.send_denial_response(answer)

    async def closes(self, socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(4000, "bye")

    async def raises(self, socket: WebSocket) -> None:
        await socket.accept()
        raise LookupError("after accept")

    async def raises_early(self, socket: WebSocket) -> None:
        raise LookupError("before accept")

    async def returns(self, socket: WebSocket) -> None:
        await socket.accept()

    async def flood(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_bytes(bytes(100_000))
                self.flooded += 1
        except WebSocketDisconnect as gone:
            self.disconnects.append((gone.code, gone.reason))
            self.disconnected.set()


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def server(site: Site, serve: Serve) -> RunningServer:
    return run(serve, site.app)


def run(serve: Serve, app: Any, settings: Settings | None = None) -> RunningServer:
    settings = settings or Settings()
    return serve(AsgiApplication(app, settings), settings)


@contextlib.contextmanager
def client_of(server: RunningServer, path: str, **options: Any) -> Iterator[ClientConnection]:
    options.setdefault("compression", None)
    url = f"ws://127.0.0.1:{server.port}{path}"
    with connect(
        url, proxy=None, open_timeout=WAIT_S, close_timeout=WAIT_S, max_size=None, **options
    ) as client:
        yield client


def error_of(server: RunningServer) -> str:
    """The one error that the server logged, which the test expects."""
    (record,) = server.errors
    server.errors.clear()
    assert record.exc_info is not None
    return repr(record.exc_info[1])


class Raw:
    """A client that writes its bytes itself."""

    def __init__(self, server: RunningServer, more: bytes = b"") -> None:
        self.socket = server.connect()
        self.socket.sendall(HANDSHAKE + more + b"\r\n")
        self._stream = self.socket.makefile("rb")
        self.status = int(self._stream.readline().split()[1])
        self.fields: dict[bytes, bytes] = {}
        for line in iter(self._stream.readline, b"\r\n"):
            name, _, value = line.rstrip().partition(b": ")
            self.fields[name.lower()] = value

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.socket.close()

    def send(self, *frames: Frame) -> None:
        self.socket.sendall(b"".join(frame.serialize(mask=True) for frame in frames))

    def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode with its flags, and payload; (-1, b"") at the end."""
        head = self._stream.read(2)
        if not head:
            return -1, b""
        size = head[1]
        if size == 126:
            (size,) = struct.unpack("!H", self._stream.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._stream.read(8))
        return head[0], self._stream.read(size)


# ---- A real client


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_of_all_sizes_come_back(server: RunningServer, compression: str | None) -> None:
    with client_of(server, "/echo", compression=compression) as client:
        used = [extension.name for extension in client.protocol.extensions]
        assert used == (["permessage-deflate"] if compression else [])
        for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
            client.send("ü" * size)
            client.send(b"\xff" * size)
            assert client.recv(WAIT_S) == "ü" * size
            assert client.recv(WAIT_S) == b"\xff" * size
        client.send(["frag", "men", "ted"])
        assert client.recv(WAIT_S) == "fragmented"
        assert client.ping().wait(WAIT_S)


def test_compression_can_be_switched_off(site: Site, serve: Serve) -> None:
    server = run(serve, site.app, Settings(ws_deflate=False))
    with client_of(server, "/echo", compression="deflate") as client:
        assert not client.protocol.extensions


def test_subprotocol_headers_and_scope(server: RunningServer) -> None:
    offered = [Subprotocol("v1"), Subprotocol("v2")]
    with client_of(server, "/chosen?a=b", subprotocols=offered) as client:
        assert client.subprotocol == "v2"
        assert client.response is not None
        assert client.response.headers["x-room"] == "7"
        assert client.response.headers["server"] == "scaling-lab"
        assert '"scheme":"ws"' in (told := str(client.recv(WAIT_S)))
        assert '"query":"a=b"' in told
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(WAIT_S)
        assert caught.value.rcvd == Close(4001, "that was all")


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [("/refused", 403, b""), ("/denied", 402, b"pay first"), ("/nowhere", 403, b"")],
)
def test_a_refused_handshake(server: RunningServer, path: str, status: int, body: bytes) -> None:
    with pytest.raises(InvalidStatus) as caught, client_of(server, path):
        pass
    answer = caught.value.response
    assert (answer.status_code, answer.body) == (status, body)
    assert ("x-price" in answer.headers) is (path == "/denied")


@pytest.mark.parametrize(
    ("path", "code"), [("/closes", 4000), ("/raises", 1011), ("/returns", 1000)]
)
def test_how_an_app_ends_is_how_the_connection_does(
    server: RunningServer, path: str, code: int
) -> None:
    with client_of(server, path) as client, pytest.raises(ConnectionClosed) as caught:
        client.recv(WAIT_S)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == code
    if path == "/raises":
        assert "after accept" in error_of(server)


def test_an_app_that_raises_before_accept_is_a_500(server: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as caught, client_of(server, "/raises-early"):
        pass
    assert caught.value.response.status_code == 500
    assert "before accept" in error_of(server)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "moving on"), (3333, "ü")])
def test_the_clients_close_reaches_the_app(
    server: RunningServer, site: Site, code: int, reason: str
) -> None:
    with client_of(server, "/echo") as client:
        client.close(code, reason)
    assert site.disconnected.wait(WAIT_S)
    assert site.disconnects == [(code, reason)]


def test_a_stopping_server_says_1012_and_waits_for_the_app(
    server: RunningServer, site: Site
) -> None:
    with client_of(server, "/echo") as client:
        client.send("before")
        assert client.recv(WAIT_S) == "before"
        draining = asyncio.run_coroutine_threadsafe(server.server.drain(), server.loop)
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(WAIT_S)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
        draining.result(WAIT_S)
    assert site.disconnected.wait(WAIT_S)
    assert site.disconnects[0][0] == 1012


# ---- Frames by hand


def test_the_handshakes_answer_is_that_of_the_rfc(server: RunningServer) -> None:
    with Raw(server) as raw:
        assert raw.status == 101
        # The example of RFC 6455, section 1.3.
        assert raw.fields[b"sec-websocket-accept"] == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert b"content-length" not in raw.fields
        assert b"transfer-encoding" not in raw.fields


def test_frames_sent_along_with_the_handshake_are_not_lost(server: RunningServer) -> None:
    sock = server.connect()
    sock.sendall(HANDSHAKE + b"\r\n" + Frame(Opcode.TEXT, b"eager").serialize(mask=True))
    with sock, sock.makefile("rb") as stream:
        for _ in iter(stream.readline, b"\r\n"):
            pass
        assert stream.read(7) == b"\x81\x05eager"


def test_fragments_with_a_ping_in_between(server: RunningServer) -> None:
    with Raw(server) as raw:
        raw.send(
            Frame(Opcode.TEXT, b"\xc3", fin=False),
            Frame(Opcode.PING, b"?"),
            Frame(Opcode.CONT, b"\xbc"),
        )
        assert raw.frame() == (0x8A, b"?")
        assert raw.frame() == (0x81, b"\xc3\xbc")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([Frame(Opcode.TEXT, b"\xc3\x28")], 1007),
        ([Frame(Opcode.CONT, b"x")], 1002),
        ([Frame(Opcode.BINARY, b"x" * 3000)], 1009),
        ([Frame(Opcode.BINARY, b"x" * 1500, fin=False), Frame(Opcode.CONT, b"x" * 1500)], 1009),
    ],
)
def test_a_client_that_breaks_the_protocol_reads_why(
    site: Site, serve: Serve, frames: list[Frame], code: int
) -> None:
    server = run(serve, site.app, Settings(limits=Limits(ws_message_max_bytes=2000)))
    with Raw(server) as raw:
        raw.send(*frames)
        # More than one read takes, so that an early close would reset what we have to read.
        raw.socket.sendall(b"\x82\x80\0\0\0\0" * 50_000)
        opcode, payload = raw.frame()
        assert opcode == 0x88
        assert Close.parse(payload).code == code
        assert raw.frame() == (-1, b"")
    assert site.disconnected.wait(WAIT_S)
    assert site.disconnects[0][0] == code


def test_a_bomb_of_zeros_is_not_unpacked(site: Site, serve: Serve) -> None:
    server = run(serve, site.app, Settings(limits=Limits(ws_message_max_bytes=100_000)))
    with client_of(server, "/echo", compression="deflate") as client:
        client.send(bytes(10_000_000))
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(WAIT_S)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


def test_the_closing_handshake(server: RunningServer, site: Site) -> None:
    with Raw(server) as raw:
        raw.send(Frame(Opcode.CLOSE, Close(1000, "done").serialize()))
        assert raw.frame() == (0x88, Close(1000, "done").serialize())
        assert raw.frame() == (-1, b"")
    assert site.disconnected.wait(WAIT_S)
    assert site.disconnects == [(1000, "done")]


def test_a_close_frame_without_code_is_1005(server: RunningServer, site: Site) -> None:
    with Raw(server) as raw:
        raw.send(Frame(Opcode.CLOSE, b""))
        assert raw.frame() == (0x88, b"")
    assert site.disconnected.wait(WAIT_S)
    assert site.disconnects == [(1005, "")]


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_without_a_word_is_1006(
    server: RunningServer, site: Site, reset: bool
) -> None:
    with Raw(server) as raw:
        if reset:
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert site.disconnected.wait(WAIT_S)
    assert site.disconnects == [(1006, "")]


def test_a_client_that_never_answers_a_close_is_cut(site: Site, serve: Serve) -> None:
    settings = Settings(deadlines=Deadlines(ws_close_s=0.05))
    server = run(serve, site.app, settings)
    with Raw(server) as raw:
        raw.socket.sendall(HANDSHAKE)  # no frame at all, but the connection is open
    server = run(serve, lambda *call: closing(*call), settings)
    with Raw(server) as raw:
        assert raw.frame()[0] == 0x88
        assert raw.socket.recv(10) == b""


async def closing(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "websocket":
        raise NotImplementedError
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close"})


def test_an_app_that_sends_faster_than_its_client_reads_is_held_back(
    server: RunningServer, site: Site
) -> None:
    flood = HANDSHAKE.replace(b"/echo", b"/flood")
    with server.connect() as sock:
        sock.sendall(flood + b"\r\n")
        before, deadline = -1, time.monotonic() + WAIT_S
        while (site.flooded == 0 or site.flooded != before) and time.monotonic() < deadline:
            before = site.flooded
            time.sleep(0.2)
        assert 0 < site.flooded == before  # the kernel's buffers took some, nothing took the rest
        for _ in range(100):
            sock.recv(100_000)
    assert site.disconnected.wait(WAIT_S)
    assert site.flooded > before
    assert site.disconnects[0][0] == 1006


def test_an_app_that_never_pauses_notices_a_client_that_left(serve: Serve) -> None:
    over = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while True:
                await send({"type": "websocket.send", "bytes": bytes(1000)})
        except OSError:
            over.set()

    server = run(serve, app)
    for _ in range(20):
        with Raw(server) as raw:
            raw.frame()
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert over.wait(WAIT_S)
        over.clear()


def test_a_client_that_sends_faster_than_the_app_reads_is_held_back(serve: Serve) -> None:
    released = threading.Event()
    received: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.to_thread(released.wait, WAIT_S)
        while (event := await receive())["type"] == "websocket.receive":
            received.append(len(event["bytes"]))

    with Raw(run(serve, app)) as raw:
        data = Frame(Opcode.BINARY, bytes(100_000)).serialize(mask=True)
        raw.socket.settimeout(0.2)
        sent = 0
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                sent += raw.socket.send(data)
        raw.socket.settimeout(WAIT_S)
        released.set()
        deadline = time.monotonic() + WAIT_S
        while sum(received) < sent - len(data) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sum(received) >= sent - len(data)
    assert sent < 100_000_000


# ---- Apps and clients that get the handshake wrong


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"version: 13", b"version: 12", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"short", 400),
        (b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"", 400),
        (b"GET /echo", b"POST /echo", 405),
    ],
)
def test_a_bad_handshake_never_reaches_the_app(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, old: bytes, new: bytes, status: int
) -> None:
    monkeypatch.setitem(globals(), "HANDSHAKE", HANDSHAKE.replace(old, new))
    with Raw(server) as raw:
        assert raw.status == status


Step = Callable[[Receive, Send], Any]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([{"type": "websocket.send", "text": "x"}], "waits for 'websocket.accept'"),
        ([{"type": "http.response.start", "status": 200}], "waits for 'websocket.accept'"),
        ([{"type": "websocket.accept", "subprotocol": "x"}], "did not offer"),
        ([{"type": "websocket.accept", "headers": [(b"x", b"a\r\nb: c")]}], "split the answer"),
        (
            [{"type": "websocket.accept", "headers": [(b"sec-websocket-protocol", b"x")]}],
            "cannot be set",
        ),
        (
            [
                {"type": "websocket.http.response.start", "status": 400},
                {"type": "websocket.accept"},
            ],
            "sent instead of 'websocket.http.response.body'",
        ),
        ([], "without an answer"),
    ],
)
def test_misuse_before_accept_is_a_500(
    serve: Serve, messages: list[dict[str, Any]], says: str
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        for message in messages:
            await send(message)

    server = run(serve, app)
    with Raw(server) as raw:
        assert raw.status == 500
    assert says in error_of(server)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"type": "websocket.accept"}, "sent on an open WebSocket"),
        ({"type": "websocket.send"}, "either 'bytes' or 'text'"),
        ({"type": "websocket.send", "text": "x", "bytes": b"x"}, "either 'bytes' or 'text'"),
        ({"type": "websocket.close", "code": 1006}, "code"),
    ],
)
def test_misuse_after_accept_is_1011(serve: Serve, message: dict[str, Any], says: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        await receive()
        await send({"type": "websocket.accept"})
        await send(message)

    server = run(serve, app)
    with Raw(server) as raw:
        opcode, payload = raw.frame()
        assert (opcode, Close.parse(payload).code) == (0x88, 1011)
    assert says in error_of(server)


def test_sending_after_the_end_raises_what_the_end_was(serve: Serve) -> None:
    raised: list[type[BaseException]] = []
    over = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        await receive()
        await send({"type": "websocket.accept"})
        if scope["path"] == "/echo":
            while (await receive())["type"] != "websocket.disconnect":
                pass
            expected: type[BaseException] = OSError
        else:
            await send({"type": "websocket.close"})
            expected = ProtocolMisuse
        try:
            await send({"type": "websocket.send", "text": "x"})
        except expected as error:
            raised.append(type(error))
        over.set()

    server = run(serve, app)
    for path in ("/echo", "/closed"):
        with client_of(server, path):
            pass
        assert over.wait(WAIT_S)
        over.clear()
    assert [error.__name__ for error in raised] == ["ClientDisconnected", "ProtocolMisuse"]
