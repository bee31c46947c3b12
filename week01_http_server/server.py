"""A server: listening sockets, an application, and every connection between them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import ssl as tls
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

from week01_http_server.deadlines import Clock, Timer
from week01_http_server.handlers import Application, Observer
from week01_http_server.protocol import HttpProtocol
from week01_http_server.settings import Settings
from week01_http_server.state import PrefaceFactory, ServerState

logger = logging.getLogger(__name__)

# Turns of the event loop in which what waits in the accept queue is still accepted before the
# listening sockets are closed: closing one resets the connections that nobody has accepted.
LAST_ACCEPTS = 3
# How long TLS handshakes may take that are under way when the server stops.
LAST_HANDSHAKES_S = 1.0
# What handlers are given after their cancellation, at close.
CANCEL_S = 1.0


class Server:
    """Serves an application on listening sockets that others have opened.

    Args:
        settings: limits, deadlines, backlog and the Server field are used.
        app: see `handlers.Application`.
        observer: is told of each answer; None costs nothing.
        preface: parser of the PROXY header that each connection must begin with, for its peer
            address; None for none.
    """

    def __init__(
        self,
        settings: Settings,
        app: Application,
        *,
        observer: Observer | None = None,
        preface: PrefaceFactory | None = None,
    ) -> None:
        self._settings = settings
        self._app = app
        self._observer = observer
        self._preface = preface
        self._listeners: list[asyncio.Server] = []
        self._state: ServerState | None = None
        self._timer: Timer | None = None
        self._tls = False

    @property
    def state(self) -> ServerState:
        """Counters, and what else the connections share; there once `start` was called."""
        if self._state is None:
            raise RuntimeError("the server was not started")
        return self._state

    async def start(
        self, sockets: Sequence[socket.socket], ssl: tls.SSLContext | None = None
    ) -> None:
        """Start the application, then accept on these sockets, which are closed by `drain`.

        Args:
            sockets: bound, of IPv4, IPv6 or unix; listening or not yet.
            ssl: what TLS connections are answered with; None for plain ones.

        Raises:
            ValueError: both a PROXY header and TLS: the header stands before the handshake, where
                event loops let nobody read.
            TimeoutError: the application did not start in lifespan_s.
            Exception: whatever else keeps the application from starting.
        """
        if ssl is not None and self._preface is not None:
            raise ValueError("the PROXY protocol and TLS do not go together: end TLS in the proxy")
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._settings.deadlines.lifespan_s or None):
            await self._app.startup()
        clock = Clock(self._settings.deadlines, loop.time(), time.time())
        state = ServerState(
            self._settings, self._app, clock, observer=self._observer, preface=self._preface
        )
        self._state = state
        self._tls = ssl is not None
        self._timer = Timer(loop, clock, state.guests)
        self._timer.start()
        for sock in sockets:
            self._listeners.append(await self._listen(loop, sock, state, ssl))

    async def _listen(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        state: ServerState,
        ssl: tls.SSLContext | None,
    ) -> asyncio.Server:
        settings = self._settings
        handshake_s = (settings.deadlines.tls_handshake_s or None) if ssl is not None else None
        create: Callable[..., Awaitable[asyncio.Server]] = loop.create_server
        if _is_unix(sock):
            create = loop.create_unix_server
            if sys.version_info >= (3, 13):
                # The socket file may be another process's as well: whoever made it removes it.
                create = functools.partial(create, cleanup_socket=False)
        return await create(
            lambda: HttpProtocol(state),
            sock=sock,
            backlog=settings.backlog,
            ssl=ssl,
            ssl_handshake_timeout=handshake_s,
        )

    async def drain(self) -> None:
        """Stop in good order: accept no more, finish what is begun, close; cut after drain_s.

        Answers from now on say "Connection: close". Returns when no connection is left.
        """
        state = self.state
        for _ in range(LAST_ACCEPTS):
            await asyncio.sleep(0)
        self._stop_accepting()
        state.stop()
        # Who was accepted last is a guest only in one of the next turns, or after its handshake.
        for _ in range(LAST_ACCEPTS):
            await asyncio.sleep(0)
        if self._tls:
            await asyncio.sleep(LAST_HANDSHAKES_S)
        for guest in tuple(state.guests):
            guest.retire()
        state.clock.hurry()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.deadlines.drain_s or None):
                await state.deserted()
        if state.guests:
            logger.warning("%d connections were cut at the end of drain_s", len(state.guests))

    async def close(self) -> None:
        """Cut what is left, end its handlers, then shut the application down; may follow `drain`.

        Raises:
            TimeoutError: the application did not shut down in lifespan_s.
            Exception: whatever else the application's shut-down raises.
        """
        state = self._state
        if state is None:
            return
        self._state = None
        self._stop_accepting()
        state.stop()
        for guest in tuple(state.guests):
            guest.abort()
        await self._cancel(state)
        if self._timer is not None:
            self._timer.stop()
        async with asyncio.timeout(self._settings.deadlines.lifespan_s or None):
            await self._app.shutdown()

    def _stop_accepting(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def _cancel(self, state: ServerState) -> None:
        """Handlers hear of a lost connection first; those that go on are cancelled."""
        for _ in range(LAST_ACCEPTS):
            await asyncio.sleep(0)
        tasks = [exchange.task for exchange in state.exchanges if exchange.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            _, stubborn = await asyncio.wait(tasks, timeout=CANCEL_S)
            if stubborn:
                logger.error("%d handlers ignored their cancellation", len(stubborn))


def _is_unix(sock: socket.socket) -> bool:
    return sock.family == getattr(socket, "AF_UNIX", None)
