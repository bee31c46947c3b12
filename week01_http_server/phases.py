"""What a connection is before, after and beside HTTP: each phase is a protocol of its own.

A connection changes phase by `transport.set_protocol`, so that the phase which costs (requests)
asks nothing about the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from week01_http_server.deadlines import NEVER
from week01_http_server.exchange import Address
from week01_http_server.http1.responses import refusal_bytes
from week01_http_server.messages import Refusal
from week01_http_server.state import ServerState
from week01_http_server.transport.proxy_protocol import PrefaceRefused, ProxyPreface

# What a client may still send after an answer that it did not wait for.
LINGER_MAX_BYTES = 1024 * 1024
# Connections that linger after a 503 beyond the cap; above it they are closed at once, and the
# answer may be lost to a reset.
TURNING_AWAY_MAX = 256
RETRY_AFTER_S = b"1"


class Phase(asyncio.Protocol):
    """A connection outside of HTTP; one of the server's guests until it is lost."""

    __slots__ = ("_state", "_transport", "due_at")

    def __init__(self, state: ServerState, transport: asyncio.Transport, due_at: float) -> None:
        self._state = state
        self._transport = transport
        self.due_at = due_at
        state.guests.add(self)
        transport.set_protocol(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.leave(self)

    def expire(self) -> None:
        """It took too long."""
        self.due_at = NEVER
        self._transport.abort()

    def retire(self) -> None:
        """The server stops; nothing here is worth more than its deadline."""

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()


class Lingering(Phase):
    """The last answer is written: read on for a while, so that it is not lost.

    A close with unread bytes in the socket makes the kernel send a reset, which erases what the
    client has not read yet (RFC 9112, section 9.6).
    """

    __slots__ = ("_left_bytes",)

    def __init__(self, state: ServerState, transport: asyncio.Transport) -> None:
        super().__init__(state, transport, state.clock.linger_due)
        self._left_bytes = LINGER_MAX_BYTES
        if transport.can_write_eof():
            transport.write_eof()
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self._transport.abort()

    def eof_received(self) -> bool:
        return False  # closes, once all is written


class TurnedAway(Lingering):
    """A connection beyond the cap, with its 503 on the way."""

    __slots__ = ()

    def __init__(self, state: ServerState, transport: asyncio.Transport) -> None:
        super().__init__(state, transport)
        state.turning_away += 1

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._state.turning_away -= 1


def turn_away(state: ServerState, transport: asyncio.Transport) -> None:
    """Answer 503 to a connection beyond the cap, whatever it asks, and close."""
    state.turned_away += 1
    transport.write(
        refusal_bytes(
            Refusal(503, "too many connections; try again soon"),
            date=state.clock.date,
            server=state.server,
            headers=[(b"retry-after", RETRY_AFTER_S)],
        )
    )
    if state.turning_away < TURNING_AWAY_MAX:
        TurnedAway(state, transport)
    else:
        transport.close()


class Preface(Phase):
    """A connection whose PROXY header is not complete yet.

    Args:
        ready: called with the client's and our address as the header gives them (None: as the
            socket says) and the bytes that followed; takes the connection over.
    """

    __slots__ = ("_parser", "_ready")

    def __init__(
        self,
        state: ServerState,
        transport: asyncio.Transport,
        parser: ProxyPreface,
        ready: Callable[[tuple[Address, Address] | None, bytes], None],
    ) -> None:
        super().__init__(state, transport, state.clock.preface_due)
        self._parser = parser
        self._ready = ready

    def data_received(self, data: bytes) -> None:
        try:
            preface = self._parser.feed(data)
        except PrefaceRefused:
            self._transport.abort()
            return
        if preface is None:
            return
        self._state.leave(self)
        addresses = preface.addresses
        self._ready(
            None if addresses is None else (addresses.source, addresses.destination), preface.rest
        )

    def retire(self) -> None:
        self.due_at = min(self.due_at, self._state.clock.last_request_due)


class Upgraded(Phase):
    """A connection that speaks another protocol now: passes everything on."""

    __slots__ = ("_inner",)

    def __init__(
        self, state: ServerState, transport: asyncio.Transport, inner: asyncio.Protocol
    ) -> None:
        super().__init__(state, transport, NEVER)
        self._inner = inner
        inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._inner.connection_lost(exc)

    def retire(self) -> None:
        drain = cast("Callable[[], None] | None", getattr(self._inner, "drain", None))
        if drain is not None:
            drain()
        else:
            self._transport.close()
