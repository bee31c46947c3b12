"""The requests of one connection in their order: whose turn it is, what waits, how it ends.

The common case, a request without body for the plain handler on a connection that is not busy,
is answered while it is parsed. Everything else (a handler at work, requests waiting behind it, a
client that does not read, a body) makes the connection `_busy`: requests then queue up as
exchanges, and `_advance` serves them one after the other.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter

from week01_http_server.answering import BATCH_ANSWERS, Answering
from week01_http_server.channel import reset, unsent_bytes
from week01_http_server.deadlines import NEVER
from week01_http_server.exchange import Exchange
from week01_http_server.http1.connection import Connection
from week01_http_server.messages import Headers, Refusal, Request
from week01_http_server.phases import Lingering
from week01_http_server.settings import Limits
from week01_http_server.state import ServerState

# Received bytes given to the core at once: bounds the requests that one read can make.
SLICE_BYTES = 16 * 1024

# What due_at is the deadline of, where nobody is served: nothing special; a head that has begun,
# or that is awaited since accept; an idle client's taking of its last answer.
NONE, BEGUN, FRESH, TAKING = range(4)


class Turns(Answering):
    """A connection that serves its requests one after the other; the sink of its core."""

    __slots__ = ("_head_timing",)

    def __init__(self, state: ServerState) -> None:
        super().__init__(state)
        self._core = Connection(state.limits, self)
        self._head_timing = FRESH

    # ---- Events of the core

    def on_request(self, request: Request) -> None:
        self._head_timing = NONE
        state = self._state
        plain = state.swift
        if self._busy:
            self._enqueue(request)
        elif plain is None or request.has_body or not request.keep_alive:
            self._take(request)
        else:
            # What `_answer_plainly` does, without its cases: here every microsecond shows.
            try:
                response = plain(request)
                answer = None
                if response is None:
                    self._begin(state.exchange_type(request, self))
                    return
                if request.method != "HEAD" and request.version == "1.1":
                    answer = state.ready.write(
                        response.status, response.headers, response.body, state.clock.date
                    )
                if answer is None:
                    answer = self._whole(request, response, None)
            except Exception as error:
                answer = self._failed(request, error, None)
            out = self._out
            out.append(answer)
            if len(out) >= BATCH_ANSWERS:
                self._flush()

    def _take(self, request: Request) -> None:
        """Serve a request at once, with all that may come with it."""
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
            or self._eof
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

    def _only_waits(self) -> bool:
        """Whether a handler runs, and nothing else is to be done meanwhile."""
        return self._current is not None and not self._wants_body and self._is_quiet()

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
        elif self._core.in_head and self._head_timing != BEGUN:
            self._head_timing = BEGUN
            self.due_at = clock.head_due

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


class _NoSink:
    """Hears nothing."""

    def on_request(self, request: Request) -> None: ...
    def on_body(self, data: bytes) -> None: ...
    def on_end(self, trailers: Headers) -> None: ...
    def on_refusal(self, refusal: Refusal) -> None: ...


_ENDED = Connection(Limits(), _NoSink())
_ENDED.close()
