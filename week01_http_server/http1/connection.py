"""One client's bytes to judged requests: RFC 9112 without sockets, clock or threads.

`Connection.feed` takes bytes in any pieces and calls the sink with the same events whatever the
pieces were (a body may be cut differently, never changed).
"""

from __future__ import annotations

from typing import Protocol

from week01_http_server.http1.chunks import ChunkReader
from week01_http_server.http1.grammar import RefusedError
from week01_http_server.http1.head import HeadReader
from week01_http_server.http1.quick import QuickHeads
from week01_http_server.messages import Headers, Refusal, Request
from week01_http_server.settings import Limits


class Sink(Protocol):
    """Whoever acts on the events; called synchronously from `Connection.feed`."""

    def on_request(self, request: Request) -> None:
        """A head was complete and acceptable."""

    def on_body(self, data: bytes) -> None:
        """A piece of the body without its framing, never empty."""

    def on_end(self, trailers: Headers) -> None:
        """The request is complete; once for each, also for those without body."""

    def on_refusal(self, refusal: Refusal) -> None:
        """The bytes are no acceptable request; at most once, and nothing follows it."""


_HEAD, _LENGTH, _CHUNKED, _HELD, _CLOSED = range(5)


class Connection:
    """The requests of one connection, in order.

    After a request with `upgrade` the bytes that follow it are held back, because only its
    answer decides what they are: `detach` hands them out, `resume` reads them as requests.
    After a request without keep-alive, and after a refusal, all further bytes are ignored.

    Attributes:
        idle: between requests, nothing of the next one has come; true to the state when `feed`
            has returned.
    """

    __slots__ = (
        "_between",
        "_chunks",
        "_head",
        "_left",
        "_limits",
        "_mode",
        "_on_body",
        "_on_end",
        "_on_request",
        "_quick",
        "_request",
        "_requests_left",
        "_rest",
        "_sink",
        "idle",
    )

    def __init__(self, limits: Limits, sink: Sink) -> None:
        self._limits = limits
        self._sink = sink
        self._on_request = sink.on_request
        self._on_body = sink.on_body
        self._on_end = sink.on_end
        self._quick = QuickHeads(limits).read
        self._between = (
            not limits.requests_per_connection_max
        )  # whether `feed` may go its short way
        self.idle = True
        self._head = HeadReader(limits)
        self._chunks: ChunkReader | None = None  # of a chunked body being read
        self._mode = _HEAD
        self._left = 0  # bytes of a body with Content-Length still to come
        self._rest = b""  # received and not taken yet
        self._request: Request | None = None  # whose body is being read
        self._requests_left = limits.requests_per_connection_max or -1

    @property
    def in_head(self) -> bool:
        """A head has begun and is not complete."""
        return self._mode == _HEAD and self._head.begun

    @property
    def in_body(self) -> bool:
        """A head was complete, its body is not."""
        return self._mode in (_LENGTH, _CHUNKED)

    @property
    def held(self) -> bool:
        """Bytes wait for `detach` or `resume` after a request with `upgrade`."""
        return self._mode == _HELD

    @property
    def closed(self) -> bool:
        """No request follows: the last one came, the stream was refused, detached or closed."""
        return self._mode == _CLOSED

    def feed(self, data: bytes) -> None:
        """Parses everything in data and calls the sink."""
        try:
            # The shortest way, for what comes most: one whole head without body.
            request = self._quick(data) if self._between else None
            if request is None:
                self._feed(data)
            elif request.has_body or request.upgrade is not None or not request.keep_alive:
                self._between = self.idle = False
                self._begin(request, data, len(data))
            else:
                self._on_request(request)
                if self._mode == _HEAD:
                    self._on_end(())
        except RefusedError as error:
            self.close()
            self._sink.on_refusal(error.refusal)

    def eof(self) -> Refusal | None:
        """The client sends no more; a refusal where that cuts a request short."""
        cut = self.in_head or self.in_body
        self.close()
        if cut:
            return Refusal(400, "the connection ended in the middle of a request")
        return None

    def detach(self) -> bytes:
        """Ends parsing after a request with `upgrade` and returns the bytes that followed it."""
        rest = self._rest
        self.close()
        return rest

    def resume(self) -> None:
        """Goes on after a request with `upgrade` that was answered as an ordinary one."""
        if self._mode == _HELD:
            self._mode = _HEAD
            data, self._rest = self._rest, b""
            self.feed(data)

    def close(self) -> None:
        """Ignores everything from now on; may be called by the sink too."""
        self._mode = _CLOSED
        self._rest = b""
        self._between = self.idle = False

    def _feed(self, data: bytes) -> None:
        """The general way, for any bytes in any phase."""
        if self._mode == _HELD:
            self._rest += data
            if len(self._rest) > self._limits.read_buffer_bytes:
                raise RefusedError(400, "too much was sent before the upgrade was answered")
            return
        if self._rest:
            data = self._rest + data
            self._rest = b""
        start = 0
        while start < len(data):
            before = start, self._mode
            if self._mode == _HEAD:
                start, request = self._read_head(data, start)
                if request is not None:
                    self._begin(request, data, start)
            elif self._mode == _LENGTH:
                start = self._read_length(data, start)
            elif self._mode == _CHUNKED:
                chunks = self._chunks
                assert chunks is not None
                start = chunks.read(data, start, self._on_body)
                if chunks.done and self._mode == _CHUNKED:
                    self._end(data, start, chunks.trailers)
            if self._mode in (_HELD, _CLOSED) or (start, self._mode) == before:
                break
        if self._mode not in (_HELD, _CLOSED):
            self._rest = data[start:]
        self.idle = self._mode == _HEAD and not self._head.begun
        self._between = (
            self.idle
            and not self._rest
            and self._head.fresh
            and not self._limits.requests_per_connection_max
        )

    def _read_head(self, data: bytes, start: int) -> tuple[int, Request | None]:
        if self._head.fresh:
            end = data.find(b"\r\n\r\n", start) + 4
            if end > 3:
                request = self._quick(data[start:end])
                if request is not None:
                    return end, request
        return self._head.read(data, start)

    def _begin(self, request: Request, data: bytes, start: int) -> None:
        """A head was complete; what follows it begins at start."""
        self._requests_left -= 1
        if not self._requests_left:
            request.keep_alive = False
        self._request = request
        if not request.has_body:
            self._on_request(request)
            if self._mode == _HEAD:
                self._end(data, start, ())
            return
        if request.content_length is None:
            self._chunks = ChunkReader(self._limits)
            self._mode = _CHUNKED
        else:
            self._left = request.content_length
            self._mode = _LENGTH
        self._on_request(request)

    def _read_length(self, data: bytes, start: int) -> int:
        piece = data[start : start + self._left]
        start += len(piece)
        self._left -= len(piece)
        self._on_body(piece)
        if not self._left and self._mode == _LENGTH:
            self._end(data, start, ())
        return start

    def _end(self, data: bytes, start: int, trailers: Headers) -> None:
        request = self._request
        assert request is not None
        self._request = self._chunks = None
        if request.upgrade is not None:
            self._mode = _HELD
            self._rest = data[start:]  # before the sink is called: it may detach at once
        elif request.keep_alive:
            self._mode = _HEAD
        else:
            self._mode = _CLOSED
        self._on_end(trailers)
