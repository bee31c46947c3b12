"""One connection as its transport sees it: bytes in, and what became of it.

What the bytes lead to is in the classes below, each on top of the other: `turns` (requests in
their order), `answering` (their answers), `channel` (bytes out).
"""

from __future__ import annotations

import asyncio
from typing import cast

from week01_http_server.channel import unsent_bytes, waiting_bytes
from week01_http_server.deadlines import NEVER
from week01_http_server.exchange import Address, Peer
from week01_http_server.messages import Refusal
from week01_http_server.phases import Preface, turn_away
from week01_http_server.turns import FRESH, SLICE_BYTES, TAKING, Turns

# An idle connection that was quiet for longer is closed at once when the server stops.
QUIET_S = 1.0
# A connection that was accepted longer ago and has sent nothing is closed as well.
FRESH_S = 3.0
# What uvloop's and asyncio's transports are born with.
DEFAULT_HIGH_WATER_BYTES = 64 * 1024


class HttpProtocol(Turns):
    """One connection of a server; also one of its guests (`state.Guest`)."""

    __slots__ = ()

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
        out = self._out
        if out:
            if len(out) == 1 and not self._lost:
                self._transport.write(out.pop())
            else:
                self._flush()
        if not core.idle or (self._busy and not self._only_waits()):
            self._settle()
        elif not self._busy:
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
        if self._blocked or (self._last and self._current is None):
            if self._is_taken():
                self.due_at = self._state.clock.write_due
        elif self._wants_body:
            self.on_refusal(Refusal(408, "the body did not come in time"))
            self._core.close()
            self._settle()
        elif self._discard_left:
            self._stop_receiving()
            self._settle()
        elif self._core.in_head or (self._head_timing == FRESH and not self._state.draining):
            self._core.close()
            self.on_refusal(Refusal(408, "the head of a request did not come in time"))
            self._settle()
        elif self._still_taking():
            self.due_at = self._state.clock.write_due
        elif waiting_bytes(self._transport):
            self.due_at = self._state.clock.last_request_due  # came while we were held up
        else:
            self._end()

    def _still_taking(self) -> bool:
        """Whether an idle client is idle only because it still takes its last answer."""
        if self._head_timing == TAKING:
            return self._is_taken() and self._unsent_bytes > 0
        self._head_timing = TAKING
        self._unsent_bytes = unsent_bytes(self._transport)
        return self._unsent_bytes > 0

    def retire(self) -> None:
        """The server stops. What is begun is finished and says so; who is quiet is let go."""
        if self._busy or not self._core.idle:
            return
        clock = self._state.clock
        if self._head_timing == FRESH:
            # Who has connected a moment ago is about to ask, and keeps its whole head_s for it.
            quiet = clock.head_due - self.due_at > FRESH_S
        else:
            quiet = clock.idle_due - self.due_at > QUIET_S
            self.due_at = min(self.due_at, clock.last_request_due)
        if quiet and not waiting_bytes(self._transport):
            self._end()

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    # ---- The beginning and the end

    def _enter(self) -> None:
        self._state.guests.add(self)
        high = self._state.limits.write_buffer_bytes
        if high != DEFAULT_HIGH_WATER_BYTES:
            self._transport.set_write_buffer_limits(high=high)
        self.due_at = self._state.clock.head_due  # also of one accepted just before a drain

    def _introduced(self, addresses: tuple[Address, Address] | None, rest: bytes) -> None:
        """The PROXY header is complete."""
        peer = self.peer
        if addresses is not None:
            self._peer = Peer(*addresses, tls=peer.tls)
        self._transport.set_protocol(self)
        self._enter()
        if rest:
            self.data_received(rest)

    def _leave(self) -> None:
        if not self._lost:
            self._state.leave(self)
            super()._leave()
