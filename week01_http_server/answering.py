"""How the requests of one connection are answered: the server's side of an exchange.

`Answering` is the `Wire` that exchanges write to, and answers for plain handlers. In whose turn
that happens is decided by `turns`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter

from week01_http_server.channel import Channel, reset
from week01_http_server.deadlines import NEVER
from week01_http_server.exchange import Exchange
from week01_http_server.http1 import responses
from week01_http_server.http1.connection import Connection
from week01_http_server.messages import Headers, Refusal, Request, Response
from week01_http_server.phases import Upgraded
from week01_http_server.state import ServerState

logger = logging.getLogger(__name__)

# Answers collected before they are written, although more requests wait in the same read.
BATCH_ANSWERS = 16
# Body that nobody reads: so much is received and dropped to keep the connection, no more.
DISCARD_MAX_BYTES = 64 * 1024

FAILED = Response(
    500, [(b"content-type", b"text/plain; charset=utf-8")], b"the server failed to answer this\n"
)


class Answering(Channel):
    """A connection whose requests get answers."""

    __slots__ = (
        "_advancing",
        "_awaits_continue",
        "_body_left",
        "_busy",
        "_core",
        "_current",
        "_discard_left",
        "_eof",
        "_last",
        "_linger",
        "_paused",
        "_queue",
        "_receiving",
        "_refusal",
        "_unparsed",
        "_wants_body",
    )

    _core: Connection

    def __init__(self, state: ServerState) -> None:
        super().__init__(state)
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
        self._eof = False  # the client sends no more
        self._last = False  # no request after the current one is answered
        self._linger = False  # the client may be sending while we close
        self._advancing = False

    # ---- What follows an answer; see `turns`

    def _advance(self) -> None:
        """Serve and parse what waits, as far as that is possible now."""
        raise NotImplementedError

    def _leave(self) -> None:
        """The connection is lost, or no longer HTTP's."""
        raise NotImplementedError

    # ---- What exchanges ask for (exchange.Wire)

    def ready_answer(
        self, request: Request, status: int, headers: Headers, body: bytes
    ) -> bytes | None:
        if request.version != "1.1" or request.method == "HEAD":
            return None
        if request.has_body or self._eof or not request.keep_alive or self._state.draining:
            return None
        return self._state.ready.write(status, headers, body, self._state.clock.date)

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
            self._end_after(request, exchange)
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
        elif self._busy and self._is_quiet() and not self._advancing:
            self._busy = False
            self.due_at = self._state.clock.idle_due
            return
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

    # ---- Answers of the server's own making

    def _answer_plainly(
        self, request: Request, exchange: Exchange | None, started_at: float
    ) -> bool:
        """Let the plain handler answer; False when it leaves the request to the stream handler."""
        state = self._state
        plain, out = state.plain, self._out
        assert plain is not None
        try:
            response = plain(request)
            if response is None:
                return False
            answer = self._whole(request, response, exchange)
        except Exception as error:
            response = FAILED
            answer = self._failed(request, error, exchange)
        out.append(answer)
        if request.has_body and not (exchange is not None and exchange.body_ended):
            self._discard()
        if state.observer is not None:
            self._report(request, response.status, len(answer), started_at)
        if len(out) >= BATCH_ANSWERS:
            self._flush()
        return True

    def _failed(self, request: Request, error: Exception, exchange: Exchange | None) -> bytes:
        """The answer in place of a plain handler's that raised, or that cannot be sent."""
        logger.error("handler failed: %s %r", request.method, request.path, exc_info=error)
        return self._whole(request, FAILED, exchange)

    def _whole(self, request: Request, response: Response, exchange: Exchange | None) -> bytes:
        state = self._state
        body = response.body
        answer = self.ready_answer(request, response.status, response.headers, body)
        if answer is not None:
            return answer
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
            self._end_after(request, exchange)
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

    def _end_after(self, request: Request, exchange: Exchange | None) -> None:
        """The answer to this request says that it is the last one."""
        self._last = self._busy = True
        body_ended = not request.has_body or (exchange is not None and exchange.body_ended)
        # A client that asked for it sends nothing more, once its request is complete. One that
        # did not may be sending the next request.
        asked = not request.keep_alive and not self._state.limits.requests_per_connection_max
        self._linger = not (asked and body_ended)

    def _is_quiet(self) -> bool:
        """Whether nothing but the current request is going on: nothing to parse, send or end."""
        return self._core.idle and not (
            self._queue
            or self._blocked
            or self._last
            or self._eof
            or self._paused
            or self._discard_left
            or self._unparsed
            or self._out
            or self._refusal is not None
        )

    def _discard(self) -> None:
        """The request was answered before its body was received."""
        self._receiving = None
        self._discard_left = DISCARD_MAX_BYTES
        self.due_at = self._state.clock.body_due

    def _stop_receiving(self) -> None:
        self._last = self._linger = self._busy = True
        self._core.close()

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
