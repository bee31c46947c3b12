"""The shell of a WebSocket, fed with frames by hand: no socket, no server."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, cast

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from week01_http_server.asgi.types import ClientDisconnected
from week01_http_server.asgi.websocket_connection import Closed, WebSocketConnection
from week01_http_server.settings import Deadlines, Limits


class RecordingTransport:
    """Remembers what is done to it; `unsent` is how much the client has not taken."""

    def __init__(self) -> None:
        self.written = b""
        self.unsent = 0
        self.done: list[str] = []

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return "close" in self.done or "abort" in self.done

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name not in ("write_eof", "close", "abort", "pause_reading", "resume_reading"):
            raise AttributeError(name)
        return lambda: self.done.append(name)

    def frames(self) -> list[Frame]:
        """The frames that a client would see."""
        client = ClientProtocol(parse_uri("ws://lab/"), state=OPEN, max_size=None)
        client.receive_data(self.written)
        self.written = b""
        return [cast(Frame, event) for event in client.events_received()]


Body = Callable[[WebSocketConnection, RecordingTransport], Awaitable[None]]


def connected(body: Body, limits: Limits | None = None, **deadlines: float) -> None:
    """Run `body` with an open connection."""

    async def go() -> None:
        limits_ = limits or Limits()
        protocol = ServerProtocol(state=OPEN, max_size=limits_.ws_message_max_bytes)
        connection = WebSocketConnection(protocol, limits_, replace(Deadlines(), **deadlines))
        transport = RecordingTransport()
        connection.connection_made(cast(asyncio.Transport, transport))
        await body(connection, transport)
        connection.connection_lost(None)

    asyncio.run(go())


def frame(opcode: Opcode, data: bytes = b"", fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


async def started(coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


def test_messages_come_whole_and_in_order() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        connection.data_received(
            frame(Opcode.TEXT, "grüß".encode()[:3], fin=False)
            + frame(Opcode.PING, b"in between")
            + frame(Opcode.CONT, b"", fin=False)
            + frame(Opcode.CONT, "grüß".encode()[3:])
            + frame(Opcode.BINARY, b"\xff")
            + frame(Opcode.TEXT)
        )
        assert [await connection.receive() for _ in range(3)] == ["grüß", b"\xff", ""]
        assert transport.frames() == [Frame(Opcode.PONG, b"in between")]

    connected(body)


def test_a_frame_may_come_byte_by_byte() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        receiving = await started(connection.receive())
        for byte in frame(Opcode.TEXT, b"slow"):
            assert not receiving.done()
            connection.data_received(bytes([byte]))
        assert await receiving == "slow"

    connected(body)


def test_text_and_binary_go_out() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        await connection.send("grüß")
        await connection.send(b"\xff")
        text, binary = transport.frames()
        assert (text.opcode, bytes(text.data)) == (Opcode.TEXT, "grüß".encode())
        assert (binary.opcode, bytes(binary.data)) == (Opcode.BINARY, b"\xff")

    connected(body)


BROKEN = [
    (frame(Opcode.TEXT, b"\xff\xfe"), 1007),
    (frame(Opcode.TEXT, b"\xc3", fin=False) + frame(Opcode.CONT, b"\x28"), 1007),
    (frame(Opcode.BINARY, b"x" * 201), 1009),
    (frame(Opcode.BINARY, b"x" * 150, fin=False) + frame(Opcode.CONT, b"x" * 60), 1009),
    (Frame(Opcode.TEXT, b"unmasked").serialize(mask=False), 1002),
    (frame(Opcode.CONT, b"of nothing"), 1002),
    (frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.TEXT, b"b"), 1002),
    (b"\x83\x80\0\0\0\0", 1002),  # reserved opcode
    (b"\xc1\x80\0\0\0\0", 1002),  # reserved bit without an extension
    (b"\x09\x80\0\0\0\0", 1002),  # fragmented control frame
    (b"\x89\xfe\0\x7e\0\0\0\0" + b"x" * 126, 1002),  # control frame over 125 bytes
    (b"\x88\x81\0\0\0\0x", 1002),  # close frame of one byte
    (frame(Opcode.CLOSE, (1005).to_bytes(2, "big")), 1002),  # a code that is never sent
]


@pytest.mark.parametrize(("data", "code"), BROKEN)
def test_a_client_that_breaks_the_protocol_is_told_how(data: bytes, code: int) -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        connection.data_received(frame(Opcode.TEXT, b"before") + data)
        connection.data_received(frame(Opcode.TEXT, b"after"))
        assert await connection.receive() == "before"
        closed = await connection.receive()
        assert isinstance(closed, Closed)
        assert closed.code == code
        (sent,) = transport.frames()
        assert Close.parse(bytes(sent.data)).code == code
        # The client reads our close frame before it meets the end of the stream.
        assert transport.done == ["write_eof"]
        with pytest.raises(ClientDisconnected):
            await connection.send("x")
        connection.eof_received()

    connected(body, Limits(ws_message_max_bytes=200))


def test_the_clients_code_and_reason_are_told_and_echoed() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        receiving = await started(connection.receive())
        connection.data_received(frame(Opcode.CLOSE, Close(3001, "enough").serialize()))
        assert await receiving == Closed(3001, "enough")
        assert await connection.receive() == Closed(3001, "enough")
        (sent,) = transport.frames()
        assert Close.parse(bytes(sent.data)) == Close(3001, "enough")
        assert transport.done == ["close"]

    connected(body)


def test_a_close_frame_without_a_code_is_1005() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        connection.data_received(frame(Opcode.CLOSE))
        assert await connection.receive() == Closed(1005, "")

    connected(body)


@pytest.mark.parametrize("how", ["eof", "lost"])
def test_a_client_that_leaves_without_a_word_is_1006(how: str) -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        receiving = await started(connection.receive())
        if how == "eof":
            assert not connection.eof_received()
        else:
            connection.connection_lost(ConnectionResetError())
        assert await receiving == Closed(1006, "")

    connected(body)


def test_our_close_waits_for_the_clients_half() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        connection.close(4000, "bye")
        connection.close(1011)
        (sent,) = transport.frames()
        assert Close.parse(bytes(sent.data)) == Close(4000, "bye")
        assert transport.done == []
        connection.data_received(frame(Opcode.TEXT, b"crossing"))
        connection.data_received(frame(Opcode.CLOSE, Close(4000, "").serialize()))
        assert transport.done == ["close"]
        assert await connection.receive() == Closed(4000, "bye")

    connected(body)


def test_a_client_that_never_closes_its_half_is_cut() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        connection.close(1000)
        async with asyncio.timeout(10):
            while "abort" not in transport.done:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    connected(body, ws_close_s=0.01)


@pytest.mark.parametrize("code", [999, 1004, 1006, 5000])
def test_codes_that_no_frame_can_carry_are_refused(code: int) -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        with pytest.raises(ValueError, match="code"):
            connection.close(code)
        assert transport.frames() == []
        assert connection.closed is None

    connected(body)


def test_a_long_reason_is_cut_between_characters() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        connection.close(4000, "ü" * 62)
        (sent,) = transport.frames()
        assert Close.parse(bytes(sent.data)) == Close(4000, "ü" * 61)

    connected(body)


def test_a_server_that_stops_says_so() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        connection.drain()
        (sent,) = transport.frames()
        assert Close.parse(bytes(sent.data)).code == 1012

    connected(body)


# ---- Backpressure


def test_reading_stops_while_messages_wait_for_the_app() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        connection.data_received(frame(Opcode.BINARY, b"x" * 1000))
        assert transport.done == []
        connection.data_received(frame(Opcode.BINARY, b"x" * 1000))
        assert transport.done == ["pause_reading"]
        await connection.receive()
        assert transport.done == ["pause_reading"]
        await connection.receive()
        assert transport.done == ["pause_reading", "resume_reading"]

    connected(body, Limits(read_buffer_bytes=2000))


def test_empty_messages_count_as_well() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        connection.data_received(frame(Opcode.TEXT) * 100)
        assert transport.done == ["pause_reading"]

    connected(body, Limits(read_buffer_bytes=2000))


def test_send_waits_for_a_slow_client_and_ends_with_it() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        connection.pause_writing()
        sending = await started(connection.send("x"))
        assert not sending.done()
        connection.resume_writing()
        await sending
        connection.pause_writing()
        sending = await started(connection.send("x"))
        connection.connection_lost(None)
        with pytest.raises(ClientDisconnected):
            await sending

    connected(body)


def test_a_flood_of_pings_that_reads_no_answer_is_not_read_any_more() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        transport.unsent = 1000
        connection.pause_writing()
        connection.data_received(frame(Opcode.PING) * 10)
        assert transport.done == ["pause_reading"]
        transport.unsent = 0
        connection.resume_writing()
        assert transport.done == ["pause_reading", "resume_reading"]

    connected(body, Limits(write_buffer_bytes=100))


def test_a_client_that_takes_nothing_is_cut() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        transport.unsent = 1000
        connection.pause_writing()
        async with asyncio.timeout(10):
            while transport.done != ["abort"]:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    connected(body, write_s=0.01)


# ---- Keep-alive


async def until_written(transport: RecordingTransport) -> list[Frame]:
    async with asyncio.timeout(10):
        while not transport.written:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return transport.frames()


def test_silence_is_pinged_and_a_missing_pong_is_the_end() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        assert [sent.opcode for sent in await until_written(transport)] == [Opcode.PING]
        (sent,) = await until_written(transport)
        assert Close.parse(bytes(sent.data)).code == 1011
        assert await connection.receive() == Closed(1011, "keep-alive ping was not answered")

    connected(body, ws_ping_s=0.01, ws_pong_s=0.01)


def test_a_pong_keeps_the_connection() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        pinged = 0
        write = transport.write

        def answering(data: bytes) -> None:
            nonlocal pinged
            pinged += 1
            write(data)
            # Runs before the next timer does, however busy the machine is.
            asyncio.get_running_loop().call_soon(connection.data_received, frame(Opcode.PONG))

        transport.write = answering  # type: ignore[method-assign]
        async with asyncio.timeout(10):
            while pinged < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert connection.closed is None
        assert {sent.opcode for sent in transport.frames()} == {Opcode.PING}

    connected(body, ws_ping_s=0.01, ws_pong_s=0.01)


def test_no_pong_is_expected_while_we_do_not_read() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        connection.data_received(frame(Opcode.BINARY, b"x" * 100))
        await asyncio.sleep(0.1)
        assert transport.written == b""
        await connection.receive()
        assert [sent.opcode for sent in await until_written(transport)] == [Opcode.PING]

    connected(body, Limits(read_buffer_bytes=10), ws_ping_s=0.01, ws_pong_s=30.0)


def test_two_receivers_at_once_are_refused() -> None:
    async def body(connection: WebSocketConnection, transport: RecordingTransport) -> None:
        first = await started(connection.receive())
        with pytest.raises(RuntimeError, match="two tasks"):
            await connection.receive()
        first.cancel()
        await asyncio.wait([first])
        connection.data_received(frame(Opcode.TEXT, b"kept"))
        assert await connection.receive() == "kept"

    connected(body)
