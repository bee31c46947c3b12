"""What all connections of one server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from week01_http_server.deadlines import Clock, Watched
from week01_http_server.exchange import Exchange
from week01_http_server.handlers import Application, Handler, Observer, StreamHandler
from week01_http_server.http1.ready import ReadyAnswers
from week01_http_server.settings import Settings
from week01_http_server.transport.proxy_protocol import ProxyPreface


class Guest(Watched, Protocol):
    """One accepted connection, in whatever phase of its life."""

    def retire(self) -> None:
        """The server stops: finish what is begun, then close."""

    def abort(self) -> None:
        """Close now, whatever is unsent."""


# The parser of the preface for a connection from this peer address; None where that peer must
# not send one, and so may not connect.
PrefaceFactory = Callable[[object], ProxyPreface | None]


class ServerState:
    """Shared by reference, so that a change (draining) holds for all connections at once.

    Attributes:
        guests: every open connection, those that are being turned away or closed as well.
        exchanges: those whose handler runs, also when their connection is lost already.
        accepted: connections accepted since the start.
        turned_away: connections refused with 503 since the start.
        turning_away: of `guests`, those that are being refused just now.
        swift: `plain`, as long as its answers need nothing but to be sent: nobody observes, and
            the server does not stop.
        draining: the server stops; each answer from now on is the last of its connection.
    """

    __slots__ = (
        "_deserted",
        "accepted",
        "clock",
        "deadlines",
        "draining",
        "exchange_type",
        "exchanges",
        "guests",
        "limits",
        "observer",
        "plain",
        "preface",
        "ready",
        "server",
        "stream",
        "swift",
        "turned_away",
        "turning_away",
    )

    def __init__(
        self,
        settings: Settings,
        app: Application,
        clock: Clock,
        *,
        observer: Observer | None = None,
        preface: PrefaceFactory | None = None,
    ) -> None:
        self.limits = settings.limits
        self.deadlines = settings.deadlines
        self.server = settings.server_header.encode("ascii")
        self.ready = ReadyAnswers(self.server)
        self.clock = clock
        self.plain: Handler | None = app.plain
        self.swift = app.plain if observer is None else None
        self.stream: StreamHandler | None = app.stream
        self.exchange_type: type[Exchange] = app.exchange_type
        self.observer = observer
        self.preface = preface
        self.guests: set[Guest] = set()
        self.exchanges: set[Exchange] = set()
        self.accepted = 0
        self.turned_away = 0
        self.turning_away = 0
        self.draining = False
        self._deserted: asyncio.Event | None = None

    def stop(self) -> None:
        """Each answer from now on is the last of its connection."""
        self.draining = True
        self.swift = None

    def leave(self, guest: Guest) -> None:
        """This connection is no guest any more."""
        self.guests.discard(guest)
        if self._deserted is not None and not self.guests:
            self._deserted.set()

    async def deserted(self) -> None:
        """Wait until no guest is left."""
        self._deserted = asyncio.Event()
        while self.guests:
            self._deserted.clear()  # a guest that changes its phase leaves and comes back
            await self._deserted.wait()

    def full(self) -> bool:
        """Whether no further connection may be served."""
        return len(self.guests) - self.turning_away >= self.limits.connections_max
