"""One TCP connection of the client: hands over requests, reports how each attempt ended."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from benchmarks.client.answers import AnswerReader, BodyTooLarge, Malformed
from benchmarks.client.outcomes import Outcome, of_close
from benchmarks.client.requests import Answer


class Owner(Protocol):
    """Who is told what becomes of a connection."""

    def answered(self, connection: Connection, answer: Answer) -> None:
        """The request has its complete answer; the connection is free, or closed."""

    def failed(self, connection: Connection, outcome: Outcome) -> None:
        """The request has no complete answer, and the connection is gone."""

    def dropped(self, connection: Connection, stray: bool) -> None:
        """A connection without a request is gone; `stray`: it sent what nobody asked for."""


class Connection(asyncio.Protocol):
    """Carries one request at a time."""

    def __init__(self, owner: Owner, body_max_bytes: int) -> None:
        self._owner = owner
        self._reader = AnswerReader(body_max_bytes)
        self._transport: asyncio.Transport | None = None
        self._busy = False
        self._keep = True
        self.is_open = False
        self.served = 0
        """Complete answers so far."""

    def send(self, payload: bytes, *, keep: bool, head_only: bool, keep_body: bool) -> None:
        """Hand a request over. `keep`: the connection stays open after its answer."""
        assert self._transport is not None and self.is_open and not self._busy
        self._busy, self._keep = True, keep
        self._reader.expect(head_only=head_only, keep_body=keep_body)
        self._transport.write(payload)

    def abort(self) -> None:
        """Give the request up and close at once; the owner hears nothing."""
        self._busy = False
        self._close()

    # ---- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            if self.is_open:
                self._close()
                self._owner.dropped(self, True)
            return
        try:
            complete = self._reader.feed(data)
        except Malformed:
            self._fail(Outcome.MALFORMED)
        except BodyTooLarge:
            self._fail(Outcome.WRONG_BODY)
        else:
            if complete:
                self._complete(self._keep and self._reader.keep_alive)

    def eof_received(self) -> bool:
        if not self._busy:
            if self.is_open:  # closed while idle: must not be used again
                self._close()
                self._owner.dropped(self, False)
        elif self._reader.end():
            self._complete(keep=False)
        return False  # the transport closes itself

    def connection_lost(self, error: Exception | None) -> None:
        was_open, self.is_open = self.is_open, False
        if self._busy:
            self._fail(of_close(error, self._reader.got_bytes))
        elif was_open:
            self._owner.dropped(self, False)

    def _complete(self, keep: bool) -> None:
        self._busy = False
        self.served += 1
        if not keep:
            self._close()
        self._owner.answered(self, self._reader.answer())

    def _fail(self, outcome: Outcome) -> None:
        self._busy = False
        self._close()
        self._owner.failed(self, outcome)

    def _close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()
