"""One request and its answer, for handlers that wait or stream.

An exchange never touches the socket: it turns what its handler does into calls on a `Wire`, the
connection it belongs to, and tests give it another one. A connection runs one exchange at a time,
in the order of the requests.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from week01_http_server.http1.responses import (
    CHUNKED,
    LAST_CHUNK,
    NO_BODY,
    UNTIL_CLOSE,
    chunk,
    last_chunk,
)
from week01_http_server.messages import ClientGone, Headers, Request
from week01_http_server.wire import Address, AnswerBroken, Peer, Wire

__all__ = ["Address", "AnswerBroken", "Exchange", "Peer", "Wire"]

logger = logging.getLogger(__name__)

# Bytes of a file that one read takes: few system calls, and little memory for each slow client.
FILE_PIECE_BYTES = 128 * 1024

_NEW, _HEAD, _BODY, _ENDED = range(4)  # how far the answer is


class Exchange:
    """One request and its answer.

    Attributes:
        request: the head; its body comes from `read`.
        status: of the answer, 0 before `start`.
        bytes_sent: of the answer so far, head and framing included.
        task: what runs the handler, once launched.
        lost: the client is gone, or its body turned out unacceptable (and it was told so).
    """

    __slots__ = (
        "_body_ended",
        "_gone",
        "_headers",
        "_left_bytes",
        "_pieces",
        "_reader",
        "_stage",
        "_trailers",
        "_wire",
        "bytes_sent",
        "lost",
        "request",
        "started_at",
        "status",
        "task",
        "waiting_bytes",
    )

    def __init__(self, request: Request, wire: Wire) -> None:
        self.request = request
        self.status = 0
        self.bytes_sent = 0
        self.started_at = 0.0  # perf_counter; kept only where somebody observes
        self.task: asyncio.Task[None] | None = None
        self.lost = False
        self.waiting_bytes = 0
        self._wire = wire
        self._stage = _NEW
        self._headers: Headers = ()
        self._left_bytes = UNTIL_CLOSE
        self._pieces: deque[bytes] | None = None
        self._body_ended = not request.has_body
        self._trailers: Headers = ()
        self._reader: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None

    # ---- The request

    @property
    def peer(self) -> Peer:
        """Both ends of the connection."""
        return self._wire.peer

    @property
    def client(self) -> Address | None:
        """Address and port of the client; None on a unix socket."""
        return self._wire.peer.client

    @property
    def server(self) -> Address | None:
        """Our address and port; None on a unix socket."""
        return self._wire.peer.server

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self._wire.peer.tls

    @property
    def scheme(self) -> str:
        """ "https" or "http", of this hop; what proxies say is not looked at here."""
        return "https" if self._wire.peer.tls else "http"

    @property
    def body_ended(self) -> bool:
        """Whether the whole body has been received (it may still wait to be read)."""
        return self._body_ended

    @property
    def trailers(self) -> Headers:
        """Trailer fields of a chunked body, once `read` has returned b""."""
        return self._trailers

    async def read(self) -> bytes:
        """Wait for the next piece of the body and take it; b"" at the end, and again after it.

        The first call sends the 100-continue that the client may be waiting for.

        Raises:
            ClientGone: the connection is lost, or the rest of the body was refused (too long,
                malformed, too slow) and the client told so.
            RuntimeError: another task is reading.
        """
        while True:
            piece = self.read_now()
            if piece is not None:
                return piece
            if self._reader is not None:
                raise RuntimeError("two tasks read one request's body at once")
            self._wire.want_body(self)
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    def read_now(self) -> bytes | None:
        """Like `read`, but None when nothing is there yet; asks the client for nothing.

        Raises:
            ClientGone: as `read` does.
        """
        if self._pieces:
            pieces = self._pieces
            piece = pieces.popleft() if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self.waiting_bytes = 0
            self._wire.body_taken(self)
            return piece
        if self._body_ended:
            return b""
        if self.lost:
            raise ClientGone("the client left before its body was complete")
        return None

    async def gone(self) -> None:
        """Wait until the connection is lost.

        A client that only shut down its sending side is not gone: it still waits for the answer.
        """
        if self.lost:
            return
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._gone)

    # ---- The answer

    @property
    def started(self) -> bool:
        """Whether `start` was called."""
        return self._stage != _NEW

    @property
    def opened(self) -> bool:
        """Whether bytes of the answer are on their way, so that no other one can be given."""
        return self._stage == _BODY

    @property
    def ended(self) -> bool:
        """Whether the answer is complete."""
        return self._stage == _ENDED

    @property
    def blocked(self) -> bool:
        """Whether `drain` would wait."""
        return self._wire.blocked

    def start(self, status: int, headers: Headers) -> None:
        """Begin the answer; its head is sent together with the first piece of the body.

        Date, Server, Connection and framing are the server's. Give Content-Length where it is
        known before the whole body is; `write(b"")` sends a head alone at once.

        Raises:
            AnswerBroken: it was begun already.
        """
        if self._stage != _NEW:
            raise AnswerBroken("the answer was begun twice")
        self._stage = _HEAD
        self.status = status
        self._headers = headers

    async def write(self, data: bytes, *, end: bool = False) -> None:
        """Send a piece of the body, and wait while more than write_buffer_bytes are unsent.

        For HEAD, 204 and 304 the body is left out.

        Raises:
            ClientGone: the connection is lost.
            AnswerBroken: before `start`, after the end, or other than Content-Length says.
            ValueError: headers given to `start` must not be sent (CR, LF or NUL in them, say).
        """
        self.write_now(data, end=end)
        if self._wire.blocked and not end:
            await self._wire.drain()

    async def drain(self) -> None:
        """Wait while more than write_buffer_bytes are unsent; raises ClientGone."""
        await self._wire.drain()

    def write_now(self, data: bytes, *, end: bool = False) -> None:
        """Like `write`, without waiting: call `drain` before the next one when `blocked`."""
        if self.lost:
            raise ClientGone("the client left before its answer was complete")
        if self._stage == _BODY:
            self._send(self._framed(data, end))
        elif self._stage == _HEAD:
            if end:
                whole = self._wire.ready_answer(self.request, self.status, self._headers, data)
                if whole is not None:
                    self.finish_with(whole)
                    return
            head, self._left_bytes = self._wire.open_answer(
                self, self.status, self._headers, len(data) if end else None
            )
            self._stage = _BODY
            self._headers = ()
            try:
                self._send(head + self._framed(data, end))
            except AnswerBroken:
                self._send(head)
                raise
        else:
            raise AnswerBroken("body before start, or after the end of the answer")
        if end:
            self._finish()

    def finish_with(self, answer: bytes) -> None:
        """Send what the wire's `ready_answer` made: the whole answer."""
        wire = self._wire
        self.bytes_sent = len(answer)
        self._stage = _ENDED
        wire.write(answer)
        wire.answered(self)

    def end(self, trailers: Headers = ()) -> None:
        """Complete the answer; trailers are sent where the answer is chunked.

        Raises:
            ClientGone, AnswerBroken, ValueError: as `write` does.
        """
        if trailers and self._stage == _HEAD:
            self.write_now(b"")  # with the end in sight the body would get a length, no trailers
        if not trailers or self._stage != _BODY or self._left_bytes != CHUNKED:
            self.write_now(b"", end=True)
            return
        if self.lost:
            raise ClientGone("the client left before its answer was complete")
        self._send(last_chunk(trailers))
        self._finish()

    async def send_file(self, file: int, offset: int, count: int) -> None:
        """Send `count` bytes of an open file from `offset`, as a part of the body.

        Args:
            file: its descriptor; reading does not move its position.

        Raises:
            ClientGone: as `write` does.
            AnswerBroken: the file is shorter than that.
        """
        while count > 0:
            piece = os.pread(file, min(count, FILE_PIECE_BYTES), offset)
            if not piece:
                raise AnswerBroken("the file became shorter while it was sent")
            offset += len(piece)
            count -= len(piece)
            await self.write(piece)

    def upgrade(
        self, protocol_factory: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.Transport, bytes]:
        """Take the connection over for another protocol; nothing was answered yet.

        The new protocol's `connection_made` was called on return. It writes the 101 itself, and
        is fed by the caller with the bytes that had followed the head. It gets the transport's
        events from then on; its `drain()`, if it has one, is called when the server stops, and
        its connection is aborted when drain_s are over.

        Returns:
            The transport, and the bytes that were received after the head.

        Raises:
            ClientGone: the connection is lost.
            AnswerBroken: the answer was begun, or the request has a body.
        """
        if self.lost:
            raise ClientGone("the client left before the upgrade")
        if self._stage != _NEW or self.request.has_body:
            raise AnswerBroken("an upgrade after the answer was begun, or beside a body")
        self._stage = _ENDED
        self.status = 101
        return self._wire.upgrade(self, protocol_factory)

    def _framed(self, data: bytes, end: bool) -> bytes:
        """The bytes of the wire for a piece of body (RFC 9112, section 6)."""
        if self._left_bytes >= 0:
            self._left_bytes -= len(data)
            if self._left_bytes < 0 or (end and self._left_bytes):
                raise AnswerBroken("the body is not as long as its Content-Length says")
        elif self._left_bytes == CHUNKED:
            return chunk(data) + LAST_CHUNK if end else chunk(data)
        elif self._left_bytes == NO_BODY:
            return b""
        return data

    def _send(self, data: bytes) -> None:
        if data:
            self.bytes_sent += len(data)
            self._wire.write(data)

    def _finish(self) -> None:
        self._stage = _ENDED
        self._wire.answered(self)

    # ---- For the connection

    def launch(self, handler: Callable[[Any], Awaitable[None]]) -> None:
        """Run the handler; called once, when it is this exchange's turn. It must not raise."""
        self._wire.launched(self)
        self.task = asyncio.get_running_loop().create_task(self.run(handler))

    async def run(self, handler: Callable[[Any], Awaitable[None]]) -> None:
        """Call the handler, and see to it that the request gets an answer or the client notices."""
        try:
            await handler(self)
            if self._stage == _NEW:
                raise AnswerBroken("the handler returned without an answer")
            if self._stage != _ENDED:
                self.end()
        except ClientGone:
            self.abandon()
        except asyncio.CancelledError:
            self.abandon()
            raise
        except Exception as error:
            self.broken(error)
        finally:
            self.task = None
            self._wire.settled(self)

    def broken(self, error: Exception) -> None:
        """The handler failed: log why; 500 where no answer was begun, else the connection is cut.

        Nothing is sent or cut when the answer was complete.
        """
        request = self.request
        logger.error("handler failed: %s %r", request.method, request.path, exc_info=error)
        self.abandon()

    def abandon(self) -> None:
        """No more will come of the handler; as `broken`, without a word in the log."""
        if self._stage == _ENDED:
            return
        begun = self._stage == _BODY
        self._stage = _ENDED
        if self.lost:
            return
        if begun:
            self._wire.cut(self)
        else:
            self._wire.fail(self)

    def receive(self, data: bytes) -> None:
        """A piece of the body came."""
        if self._pieces is None:
            self._pieces = deque()
        self._pieces.append(data)
        self.waiting_bytes += len(data)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def receive_end(self, trailers: Headers) -> None:
        """The body is complete."""
        self._body_ended = True
        self._trailers = trailers
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def lose(self) -> None:
        """The client is gone, or what it sent was refused: wake whoever waits."""
        self.lost = True
        for waiter in (self._reader, self._gone):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
