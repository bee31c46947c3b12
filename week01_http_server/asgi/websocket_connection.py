"""One open WebSocket connection: bytes of a transport in, whole messages out, and back.

The protocol itself (RFC 6455, and RFC 7692 for compression) is `websockets`' ServerProtocol,
which does no I/O. This shell adds what needs a transport and a clock: whole messages,
backpressure both ways, keep-alive pings, and a close that the client gets to see.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, cast

from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from week01_http_server.asgi.types import ClientDisconnected
from week01_http_server.settings import Deadlines, Limits

# What a queued message costs besides its bytes, so that empty messages are bounded as well.
MESSAGE_OVERHEAD_BYTES = 64

# A control frame has at most 125 bytes, two of them for the code (RFC 6455, 5.5).
REASON_MAX_BYTES = 123


class Closed(NamedTuple):
    """How a connection ended: the code and reason of the close frame that began it, or 1006."""

    code: int
    reason: str


@dataclass(slots=True)
class _Message:
    """A message whose last fragment has not come yet."""

    is_text: bool
    data: bytearray


class WebSocketConnection(asyncio.Protocol):
    """Carries messages between a client and one app after the handshake."""

    def __init__(self, protocol: ServerProtocol, limits: Limits, deadlines: Deadlines) -> None:
        self._protocol = protocol
        self._limits = limits
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._partial: _Message | None = None
        self._messages: deque[str | bytes] = deque()
        self._queued_bytes = 0
        self._closed: Closed | None = None
        self._lost = False
        self._reader: asyncio.Future[None] | None = None
        self._reading_paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._written_bytes = 0
        self._taken_bytes = 0  # by the client, when the write alarm was set
        self._alarm: asyncio.TimerHandle | None = None  # ping, pong or close: one at a time
        self._write_alarm: asyncio.TimerHandle | None = None
        self._heard = False

    # ---- For the app

    @property
    def closed(self) -> Closed | None:
        """How it ended, as soon as that is known; messages may still wait to be received."""
        return self._closed

    def begin(self, answer: bytes, rest: bytes) -> None:
        """Send the answer to the handshake, and take what the client sent right after it."""
        assert self._transport is not None
        self._transport.write(answer)
        if rest:
            self.data_received(rest)

    def forget(self) -> None:
        """The app is over: nobody will receive, so whatever comes is thrown away."""
        self._messages.clear()
        self._queued_bytes = 0

    async def receive(self) -> str | bytes | Closed:
        """The next message, text as str; once none is left on a closed connection, how it ended."""
        while not self._messages:
            if self._closed is not None:
                return self._closed
            if self._reader is not None:
                raise RuntimeError("two tasks receive from one WebSocket at once")
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._messages.popleft()
        self._queued_bytes -= _cost(message)
        if self._reading_paused and self._queued_bytes <= self._limits.read_buffer_bytes // 2:
            self._resume_reading()
        return message

    async def send(self, data: str | bytes) -> None:
        """Send one message; returns once the client takes enough of what waits.

        Raises:
            ClientDisconnected: the connection is closed or closing.
        """
        if self._closed is not None:
            raise ClientDisconnected("the WebSocket is closed")
        if isinstance(data, str):
            self._protocol.send_text(data.encode())
        else:
            self._protocol.send_binary(data)
        self._flush()
        if not self._writable.is_set():
            await self._writable.wait()
            if self._lost:
                raise ClientDisconnected("the client left the WebSocket")
        elif self._transport is None or self._transport.is_closing():
            # The transport failed, which we shall be told when the event loop has its turn.
            raise ClientDisconnected("the client left the WebSocket")

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; nothing happens when it is under way already.

        Args:
            reason: cut where no close frame can carry it whole.

        Raises:
            ValueError: a code that no close frame can carry (RFC 6455, 7.4).
        """
        if self._protocol.state is not OPEN:
            return
        reason = reason.encode()[:REASON_MAX_BYTES].decode("utf-8", "ignore")
        try:
            self._protocol.send_close(code, reason)
        except ProtocolError as error:
            raise ValueError(str(error)) from error
        self._flush()
        self._end(Closed(code, reason))
        self._await_end()

    def drain(self) -> None:
        """The server goes away: tell the client that it may come back (1012)."""
        self.close(CloseCode.SERVICE_RESTART, "server restarts")

    # ---- For the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._limits.write_buffer_bytes)
        self._set_alarm(self._deadlines.ws_ping_s, self._ping)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
            self._received(cast(Frame, frame))
        self._after_input()

    def eof_received(self) -> bool:
        self._protocol.receive_eof()
        self._after_input()
        return False  # the transport closes itself once everything is sent

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._protocol.receive_eof()
        for alarm in (self._alarm, self._write_alarm):
            if alarm is not None:
                alarm.cancel()
        self._end(Closed(CloseCode.ABNORMAL_CLOSURE, ""))
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()
        assert self._transport is not None
        self._taken_bytes = self._written_bytes - self._transport.get_write_buffer_size()
        if self._deadlines.write_s and self._write_alarm is None:
            self._write_alarm = self._loop.call_later(self._deadlines.write_s, self._check_writing)

    def resume_writing(self) -> None:
        if self._write_alarm is not None:
            self._write_alarm.cancel()
            self._write_alarm = None
        self._writable.set()
        if self._reading_paused and self._queued_bytes <= self._limits.read_buffer_bytes:
            self._resume_reading()

    # ---- Input

    def _received(self, frame: Frame) -> None:
        data = frame.data
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            is_text = frame.opcode is Opcode.TEXT
            if not frame.fin:
                self._partial = _Message(is_text, bytearray(data))
                return
        elif frame.opcode is Opcode.CONT and self._partial is not None:
            # One buffer, not a list: a flood of empty fragments must cost nothing.
            self._partial.data += data
            if not frame.fin:
                return
            is_text, data = self._partial.is_text, self._partial.data
            self._partial = None
        else:
            return  # the library has answered pings and closes
        if self._closed is not None:
            return
        try:
            message = str(data, "utf-8") if is_text else bytes(data)
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_DATA, "a text message is no UTF-8")
            self._after_input()
            return
        self._messages.append(message)
        self._queued_bytes += _cost(message)
        self._wake()

    def _after_input(self) -> None:
        self._flush()
        protocol = self._protocol
        if protocol.state is not OPEN and self._closed is None:
            close = protocol.close_sent if protocol.parser_exc else protocol.close_rcvd
            close = close or protocol.close_sent
            if close is None:
                self._end(Closed(CloseCode.ABNORMAL_CLOSURE, ""))
            else:
                self._end(Closed(close.code, close.reason))
        assert self._transport is not None
        # Answers to pings are written whether the client reads them or not.
        flooded = self._transport.get_write_buffer_size() > 2 * self._limits.write_buffer_bytes
        if self._closed is None and (
            flooded or self._queued_bytes > self._limits.read_buffer_bytes
        ):
            self._pause_reading()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self._lost:
            assert self._transport is not None
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        self._reading_paused = False
        if not self._lost:
            assert self._transport is not None
            self._transport.resume_reading()

    # ---- Output and the end

    def _flush(self) -> None:
        writes = self._protocol.data_to_send()
        if self._lost or self._transport is None or not writes:
            return
        data = b"".join(writes)
        if data and not self._transport.is_closing():
            self._transport.write(data)
            self._written_bytes += len(data)
        if writes[-1] == b"":
            self._finish_output()

    def _finish_output(self) -> None:
        """Both close frames are through, or the client broke the protocol."""
        assert self._transport is not None
        if self._protocol.close_rcvd is not None:
            self._transport.close()
            return
        # Closing with unread bytes would send a reset, which can overtake our close frame.
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
        self._await_end()

    def _end(self, closed: Closed) -> None:
        if self._closed is None:
            self._closed = closed
        if self._reading_paused:
            self._resume_reading()  # the client's close frame is wanted
        self._wake()

    def _await_end(self) -> None:
        assert self._transport is not None
        self._set_alarm(self._deadlines.ws_close_s, self._transport.abort)

    # ---- Clock

    def _set_alarm(self, delay_s: float, callback: object) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if delay_s:
            self._alarm = self._loop.call_later(delay_s, callback)  # type: ignore[arg-type]

    def _ping(self) -> None:
        if self._closed is not None:
            return
        if self._heard or self._reading_paused:
            # It was alive a moment ago; or we do not listen, and its pong would wait unread.
            self._heard = False
            self._set_alarm(self._deadlines.ws_ping_s, self._ping)
            return
        self._protocol.send_ping(b"")
        self._flush()
        self._set_alarm(self._deadlines.ws_pong_s, self._check_pong)

    def _check_pong(self) -> None:
        if self._closed is not None:
            return
        if self._heard or self._reading_paused:
            self._heard = False
            self._set_alarm(self._deadlines.ws_ping_s, self._ping)
            return
        self._protocol.fail(CloseCode.INTERNAL_ERROR, "keep-alive ping was not answered")
        self._after_input()

    def _check_writing(self) -> None:
        self._write_alarm = None
        assert self._transport is not None
        taken_bytes = self._written_bytes - self._transport.get_write_buffer_size()
        if taken_bytes <= self._taken_bytes:
            self._transport.abort()
        else:
            self.pause_writing()


def _cost(message: str | bytes) -> int:
    return len(message) + MESSAGE_OVERHEAD_BYTES
