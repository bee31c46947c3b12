"""One connection: bytes in, the core, handlers in the order of the requests, bytes out.

The common case, a request without body for the plain handler on a connection that is not busy,
is answered inside `data_received`, and all answers of one read leave in one write. Everything
else (a handler at work, requests waiting behind it, a client that does not read, a body) makes
the connection `_busy`: requests then queue up as exchanges, and `_advance` serves them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import cast

from week01_http_server.channel import Channel, reset, unsent_bytes
from week01_http_server.deadlines import NEVER
from week01_http_server.exchange import Address, Exchange, Peer
from week01_http_server.http1 import responses
from week01_http_server.http1.connection import Connection
from week01_http_server.messages import Headers, Refusal, Request, Response
from week01_http_server.phases import Lingering, Preface, Upgraded, turn_away
from week01_http_server.settings import Limits
from week01_http_server.state import ServerState

logger = logging.getLogger(__name__)

# Received bytes given to the core at once: bounds the requests that one read can make.
SLICE_BYTES = 16 * 1024
# Answers collected before they are written, although more requests wait in the same read.
BATCH_ANSWERS = 16
# Body that nobody reads: so much is received and dropped to keep the connection, no more.
DISCARD_MAX_BYTES = 64 * 1024
# An idle connection that was quiet for longer is closed at once when the server stops.
QUIET_S = 1.0
# What uvloop's and asyncio's transports are born with.
DEFAULT_HIGH_WATER_BYTES = 64 * 1024

# What due_at is the deadline of, where nobody is served: nothing special; a head that has begun,
# or that is awaited since accept; an idle client's taking of its last answer.
_NONE, _BEGUN, _FRESH, _TAKING = range(4)

FAILED = Response(
    500, [(b"content-type", b"text/plain; charset=utf-8")], b"the server failed to answer this\n"
)


class HttpProtocol(Channel):
    """One connection of a server, also the sink of its core and the wire of its exchanges."""

    __slots__ = (
        "_advancing",
        "_awaits_continue",
        "_body_left",
        "_busy",
        "_core",
        "_current",
        "_discard_left",
        "_eof",
        "_head_timing",
        "_last",
        "_linger",
        "_paused",
        "_queue",
        "_receiving",
        "_refusal",
        "_unparsed",
        "_wants_body",
    )

    def __init__(self, state: ServerState) -> None:
        super().__init__(state)
        self._core = Connection(state.limits, self)
        self._busy = False  # a request cannot be answered at once
        self._current: Exchange | None = None  # whose handler runs
        self._queue: deque[Exchange] | None = None  # behind it
        self._receiving: Exchange | None = None  # whose body comes in
        self._body_left = 0  # bytes of a body with Content-Length still to come
        self._discard_left = 0  # of a body that nobody reads; 0 when there is none
        self._awaits_continue = False
        self._wants_body = False  # the handler waits for body
        self._unparsed = b""  # received, but not wanted yet
        # To be sent after the answers before it, and whose body it is about.
        self._refusal: tuple[Refusal, Exchange | None] | None = None
        self._paused = False  # we do not read
        self._head_timing = _FRESH
        self._eof = False  # the client sends no more
        self._last = False  # no request after the current one is answered
        self._linger = False  # the client may be sending while we close
        self._advancing = False

    # ---- Events of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        state = self._state
        self._transport = cast(asyncio.Transport, transport)
        state.accepted += 1
        if state.full():
            turn_away(state, self._transport)
            return
        if state.preface is not None:
            parser = state.preface(transport.get_extra_info("peername"))
            if parser is None:
                self._transport.abort()
            else:
                Preface(state, self._transport, parser, self._introduced)
            return
        self._enter()

    def data_received(self, data: bytes) -> None:
        if self._unparsed or len(data) > SLICE_BYTES:
            self._unparsed += data
            self._advance()
            return
        core = self._core
        core.feed(data)
        if self._out:
            self._flush()
        if self._busy or not core.idle:
            self._settle()
        else:
            self.due_at = self._state.clock.idle_due

    def eof_received(self) -> bool:
        self._eof = True
        self._paused = False
        self._advance()
        # TLS has no half-closed connections here: the transport closes whatever is returned.
        return not self.peer.tls and not self._transport.is_closing()

    def pause_writing(self) -> None:
        self._blocked = self._busy = True
        self._unsent_bytes = unsent_bytes(self._transport)
        self.due_at = self._state.clock.write_due

    def resume_writing(self) -> None:
        self._blocked = False
        self._wake_writer()
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    # ---- One of the server's guests

    def expire(self) -> None:
        """`due_at` has passed: whatever we wait for did not come."""
        self.due_at = NEVER
        if self._blocked or self._last:
            if self._is_taken():
                self.due_at = self._state.clock.write_due
        elif self._wants_body:
            self.on_refusal(Refusal(408, "the body did not come in time"))
            self._core.close()
            self._settle()
        elif self._discard_left:
            self._stop_receiving()
            self._settle()
        elif self._core.in_head or (self._head_timing == _FRESH and not self._state.draining):
            self._core.close()
            self.on_refusal(Refusal(408, "the head of a request did not come in time"))
            self._settle()
        elif self._still_taking():
            self.due_at = self._state.clock.write_due
        else:
            self._end()

    def _still_taking(self) -> bool:
        """Whether an idle client is idle only because it still takes its last answer."""
        if self._head_timing == _TAKING:
            return self._is_taken() and self._unsent_bytes > 0
        self._head_timing = _TAKING
        self._unsent_bytes = unsent_bytes(self._transport)
        return self._unsent_bytes > 0

    def retire(self) -> None:
        """The server stops. What is begun is finished and says so; who is quiet is let go."""
        if self._busy or not self._core.idle:
            return
        clock = self._state.clock
        # Who has connected a moment ago is about to ask, like who was answered a moment ago.
        since_due = clock.head_due if self._head_timing == _FRESH else clock.idle_due
        if since_due - self.due_at > QUIET_S:
            self._end()
        else:
            self.due_at = min(self.due_at, clock.last_request_due)

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    # ---- Events of the core

    def on_request(self, request: Request) -> None:
        self._head_timing = _NONE
        if self._busy:
            self._enqueue(request)
            return
        state = self._state
        started_at = perf_counter() if state.observer is not None else 0.0
        if request.has_body:
            self._expect_body(request)
        if state.plain is not None and self._answer_plainly(request, None, started_at):
            return
        exchange = state.exchange_type(request, self)
        exchange.started_at = started_at
        if request.has_body:
            self._receiving = exchange
        self._begin(exchange)

    def on_body(self, data: bytes) -> None:
        self._body_left -= len(data)
        self._awaits_continue = False
        exchange = self._receiving
        if exchange is not None:
            exchange.receive(data)
        elif self._discard_left:
            self._discard_left -= len(data)
            if self._discard_left <= 0:
                self._stop_receiving()

    def on_end(self, trailers: Headers) -> None:
        if self._receiving is not None:
            self._receiving.receive_end(trailers)
            self._receiving = None
            self._wants_body = False
        elif self._discard_left:
            self._discard_left = 0

    def on_refusal(self, refusal: Refusal) -> None:
        exchange = self._receiving
        self._receiving = None
        self._busy = self._linger = True
        if exchange is None:
            if self._discard_left:
                self._stop_receiving()  # that request has its answer already
            else:
                self._refusal = refusal, None
        elif exchange is not self._current:
            assert self._queue
            self._queue.pop()  # it is the newest: nothing is parsed behind a body
            self._refusal = refusal, exchange
        elif exchange.opened:
            self._leave()
            reset(self._transport)
        else:
            self._current = None
            exchange.lose()
            self._refusal = refusal, exchange

    # ---- Requests in their order

    def _expect_body(self, request: Request) -> None:
        self._body_left = request.content_length or 0
        self._awaits_continue = request.expects_continue

    def _enqueue(self, request: Request) -> None:
        if self._last:
            return
        exchange = self._state.exchange_type(request, self)
        if self._state.observer is not None:
            exchange.started_at = perf_counter()
        if request.has_body:
            self._expect_body(request)
            self._receiving = exchange
        if self._queue is None:
            self._queue = deque()
        self._queue.append(exchange)

    def _advance(self) -> None:
        """Serve and parse what waits, as far as that is possible now."""
        if self._advancing or self._lost:
            return
        self._advancing = True
        self._note_busy()
        try:
            while not self._last:
                if self._queue and self._current is None and not self._blocked:
                    self._serve(self._queue.popleft())
                elif self._unparsed and not self._enough():
                    size = max(SLICE_BYTES, self._body_left)
                    piece, self._unparsed = self._unparsed[:size], self._unparsed[size:]
                    self._core.feed(piece)
                else:
                    break
                self._note_busy()
        finally:
            self._advancing = False
        self._flush()
        self._settle()

    def _note_busy(self) -> None:
        self._busy = (
            self._current is not None
            or self._blocked
            or self._last
            or bool(self._queue)
            or self._refusal is not None
        )

    def _serve(self, exchange: Exchange) -> None:
        if self._state.plain is not None and self._answer_plainly(
            exchange.request, exchange, exchange.started_at
        ):
            return
        self._begin(exchange)

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        self._busy = True
        self.due_at = NEVER
        stream = self._state.stream
        if stream is None:
            exchange.broken(LookupError("the plain handler has no answer, and there is no other"))
        else:
            exchange.launch(stream)

    def _answer_plainly(
        self, request: Request, exchange: Exchange | None, started_at: float
    ) -> bool:
        """Let the plain handler answer; False when it leaves the request to the stream handler."""
        state = self._state
        assert state.plain is not None
        try:
            response = state.plain(request)
            if response is None:
                return False
            answer = self._whole(request, response, exchange)
        except Exception as error:
            logger.error("handler failed: %s %r", request.method, request.path, exc_info=error)
            response = FAILED
            answer = self._whole(request, response, exchange)
        self._out.append(answer)
        if request.has_body and not (exchange is not None and exchange.body_ended):
            self._discard()
        if state.observer is not None:
            self._report(request, response.status, len(answer), started_at)
        if len(self._out) >= BATCH_ANSWERS:
            self._flush()
        return True

    def _whole(self, request: Request, response: Response, exchange: Exchange | None) -> bytes:
        state = self._state
        body = response.body
        framing, keep_alive = responses.plan(
            response.status,
            response.headers,
            method=request.method,
            request_version=request.version,
            keep_alive=self._keeps(request, exchange),
            body_length=len(body),
        )
        head = responses.head_bytes(
            response.status,
            response.headers,
            request_version=request.version,
            keep_alive=keep_alive,
            framing=framing,
            date=state.clock.date,
            server=state.server,
        )
        if not keep_alive:
            self._end_after(request)
        if responses.is_bodiless(request.method, response.status):
            return head
        return head + body

    def _keeps(self, request: Request, exchange: Exchange | None) -> bool:
        """Whether the connection may carry another request after the answer to this one."""
        if not request.keep_alive or self._state.draining:
            return False
        if self._eof and not self._queue and not self._unparsed:
            return False
        if request.has_body and not (exchange is not None and exchange.body_ended):
            # Without its 100 the client may send the body or not (RFC 9110, section 10.1.1).
            return not self._awaits_continue and self._body_left <= DISCARD_MAX_BYTES
        return True

    def _end_after(self, request: Request) -> None:
        """The answer to this request says that it is the last one."""
        self._last = self._busy = True
        # A client that asked for it sends nothing more, once its request is complete.
        self._linger = request.keep_alive or request.has_body

    def _discard(self) -> None:
        """The request was answered before its body was received."""
        self._receiving = None
        self._discard_left = DISCARD_MAX_BYTES
        self.due_at = self._state.clock.body_due

    def _stop_receiving(self) -> None:
        self._last = self._linger = self._busy = True
        self._core.close()

    # ---- What exchanges ask for (exchange.Wire)

    def open_answer(
        self, exchange: Exchange, status: int, headers: Headers, length: int | None
    ) -> tuple[bytes, responses.Framing]:
        request = exchange.request
        framing, keep_alive = responses.plan(
            status,
            headers,
            method=request.method,
            request_version=request.version,
            keep_alive=self._keeps(request, exchange),
            body_length=length,
        )
        head = responses.head_bytes(
            status,
            headers,
            request_version=request.version,
            keep_alive=keep_alive,
            framing=framing,
            date=self._state.clock.date,
            server=self._state.server,
        )
        if not keep_alive:
            self._end_after(request)
        if responses.is_bodiless(request.method, status):
            return head, responses.NO_BODY
        return head, framing

    def want_body(self, exchange: Exchange) -> None:
        if self._awaits_continue and not exchange.opened:
            self._awaits_continue = False
            self.write(responses.CONTINUE)
        self._wants_body = True
        if not self._blocked:
            self.due_at = self._state.clock.body_due

    def body_taken(self, exchange: Exchange) -> None:
        if exchange is self._current:
            self._wants_body = False
            if self._paused or self._unparsed:
                self._advance()
            elif not self._blocked:
                self.due_at = NEVER

    def answered(self, exchange: Exchange) -> None:
        if exchange is not self._current:
            return
        self._current = None
        self._wants_body = False
        if self._state.observer is not None:
            self._report(
                exchange.request, exchange.status, exchange.bytes_sent, exchange.started_at
            )
        if self._receiving is exchange:
            self._discard()
        self._advance()

    def fail(self, exchange: Exchange) -> None:
        if exchange is not self._current:
            return
        answer = self._whole(exchange.request, FAILED, exchange)
        exchange.status, exchange.bytes_sent = FAILED.status, len(answer)
        self.write(answer)
        self.answered(exchange)

    def cut(self, exchange: Exchange) -> None:
        if exchange is self._current:
            self._leave()
            reset(self._transport)

    def upgrade(
        self, exchange: Exchange, factory: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.Transport, bytes]:
        rest = self._core.detach() + self._unparsed
        self._flush()
        self._current = None
        self._report(exchange.request, exchange.status, 0, exchange.started_at)
        self._leave()
        Upgraded(self._state, self._transport, factory())
        self._transport.resume_reading()
        return self._transport, rest

    def launched(self, exchange: Exchange) -> None:
        self._state.exchanges.add(exchange)

    def settled(self, exchange: Exchange) -> None:
        self._state.exchanges.discard(exchange)

    # ---- After input, and after answers

    def _enough(self) -> bool:
        """Whether so much waits that nothing more is read or parsed."""
        if self._queue and len(self._queue) >= self._state.limits.pipeline_max:
            return True
        exchange = self._receiving
        if exchange is None:
            return False
        if exchange is not self._current:
            return exchange.waiting_bytes > 0
        return exchange.waiting_bytes > self._state.limits.read_buffer_bytes

    def _settle(self) -> None:
        """See what is due now: the end, a refusal, reading or not; and the next deadline."""
        if self._advancing or self._lost:
            return
        core = self._core
        if self._eof and not self._unparsed and not core.held:
            refusal = core.eof()
            if refusal is not None:
                self.on_refusal(refusal)
        if self._current is None and not self._queue and not self._blocked:
            if self._refusal is not None:
                self._refuse(*self._refusal)
            if self._last or (self._eof and not self._unparsed and not core.held):
                self._end()
                return
            if core.held:
                core.resume()
                self._advance()
                return
        self._regulate()
        self._set_deadline()

    def _regulate(self) -> None:
        paused = bool(self._unparsed) or self._enough()
        if paused != self._paused and not self._eof and not self._transport.is_closing():
            self._paused = paused
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _set_deadline(self) -> None:
        clock = self._state.clock
        if self._blocked:
            return  # set when it began, moved on when the client takes something
        if self._current is not None:
            self.due_at = clock.body_due if self._wants_body else NEVER
        elif self._core.idle:
            self.due_at = clock.idle_due
        elif self._core.in_head and self._head_timing != _BEGUN:
            self._head_timing = _BEGUN
            self.due_at = clock.head_due

    def _refuse(self, refusal: Refusal, exchange: Exchange | None) -> None:
        clock, server = self._state.clock, self._state.server
        answer = responses.refusal_bytes(refusal, date=clock.date, server=server)
        self._refusal = None
        self._last = self._linger = True
        self.write(answer)
        request = None if exchange is None else exchange.request
        started_at = perf_counter() if exchange is None else exchange.started_at
        self._report(request, refusal.status, len(answer), started_at)

    def _report(
        self, request: Request | None, status: int, bytes_sent: int, started_at: float
    ) -> None:
        if self._state.observer is not None:
            elapsed_s = perf_counter() - started_at
            self._state.observer(request, self.peer, status, bytes_sent, elapsed_s)

    def _end(self) -> None:
        """The last byte is written: close so that the client gets it."""
        self._flush()
        if self._lost or self._transport.is_closing():
            return
        if self._linger and not self._eof:
            self._leave()
            Lingering(self._state, self._transport)
            return
        self._last = self._busy = True
        self._core.close()
        self._unsent_bytes = unsent_bytes(self._transport)
        self.due_at = self._state.clock.write_due
        self._transport.close()

    def _leave(self) -> None:
        """The connection is lost, or no longer HTTP's."""
        if self._lost:
            return
        self._lost = True
        self._state.leave(self)
        exchange, self._current = self._current, None
        if exchange is not None:
            exchange.lose()
            self._report(
                exchange.request, exchange.status, exchange.bytes_sent, exchange.started_at
            )
        self._core = _ENDED  # the other one knows us: a circle would wait for the collector
        self._queue = self._receiving = None
        self._unparsed = b""
        self._wake_writer()

    def _enter(self) -> None:
        self._state.guests.add(self)
        high = self._state.limits.write_buffer_bytes
        if high != DEFAULT_HIGH_WATER_BYTES:
            self._transport.set_write_buffer_limits(high=high)
        clock = self._state.clock
        # Accepted while the listening sockets were being closed: it may still ask once.
        self.due_at = clock.last_request_due if self._state.draining else clock.head_due

    def _introduced(self, addresses: tuple[Address, Address] | None, rest: bytes) -> None:
        """The PROXY header is complete."""
        peer = self.peer
        if addresses is not None:
            self._peer = Peer(*addresses, tls=peer.tls)
        self._transport.set_protocol(self)
        self._enter()
        if rest:
            self.data_received(rest)


class _NoSink:
    """Hears nothing."""

    def on_request(self, request: Request) -> None: ...
    def on_body(self, data: bytes) -> None: ...
    def on_end(self, trailers: Headers) -> None: ...
    def on_refusal(self, refusal: Refusal) -> None: ...


_ENDED = Connection(Limits(), _NoSink())
_ENDED.close()
