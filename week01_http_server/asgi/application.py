"""An ASGI app as the server's application: the wiring of scopes, lifespan, HTTP and WebSocket."""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from typing import Any

from week01_http_server.asgi.http import AsgiExchange
from week01_http_server.asgi.lifespan import Lifespan
from week01_http_server.asgi.scope import Address, ScopeBuilder
from week01_http_server.asgi.types import ASGIApp, Scope
from week01_http_server.asgi.websocket import WebSocketSession, judge_handshake
from week01_http_server.exchange import Exchange, Peer
from week01_http_server.handlers import StreamHandler
from week01_http_server.messages import Request
from week01_http_server.settings import Settings
from week01_http_server.transport.forwarded import NOTHING, Trust


class AsgiApplication:
    """Serves one ASGI app on one event loop (`handlers.Application`).

    Args:
        app: the ASGI app.
        settings: root_path, lifespan, WebSocket limits and deadlines, trusted peers.
    """

    plain = None
    exchange_type = AsgiExchange

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.loop: asyncio.AbstractEventLoop
        self.context: Context
        self._settings = settings
        self._state: dict[str, Any] = {}
        self._scopes = ScopeBuilder(settings.root_path, self._state)
        self._lifespan = Lifespan(
            app, self._state, settings.deadlines.lifespan_s, settings.lifespan
        )
        self._trust = Trust(settings.trusted_peers, settings.forwarded_fields)
        self._trusts = bool(self._trust)
        self._unix_server = (settings.unix_path, None) if settings.unix_path else None

    @property
    def stream(self) -> StreamHandler:
        """Itself: `AsgiExchange.launch` calls the app without a layer in between."""
        return self

    async def startup(self) -> None:
        """The app's start-up; LifespanFailed when it fails."""
        self.loop = asyncio.get_running_loop()
        self.context = copy_context()
        await self._lifespan.startup()

    async def shutdown(self) -> None:
        """The app's shut-down; LifespanFailed when it fails."""
        await self._lifespan.shutdown()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer a WebSocket handshake; HTTP goes through `AsgiExchange.launch`."""
        protocol, answer, offered = judge_handshake(exchange.request, self._settings)
        if answer.status_code != 101:
            headers = [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in answer.headers.raw_items()
                if name.lower() not in ("date", "connection")
            ]
            exchange.start(answer.status_code, headers)
            await exchange.write(bytes(answer.body), end=True)
            return
        scope = self._scopes.websocket(
            exchange.request, *self._ends(exchange.request, exchange.peer), offered
        )
        await WebSocketSession(self.app, scope, exchange, protocol, answer, self._settings).run()

    def http_scope(self, request: Request, peer: Peer) -> Scope:
        """The scope for an HTTP request."""
        if self._trusts:
            return self._scopes.http(request, *self._ends(request, peer))
        scheme = "https" if peer.tls else "http"
        return self._scopes.http(request, scheme, peer.client, peer.server or self._unix_server)

    def _ends(self, request: Request, peer: Peer) -> tuple[str, Address | None, Address | None]:
        """Scheme, client and server; of trusted peers, what they say of the first two."""
        origin = self._trust.origin(peer.client, request.headers) if self._trusts else NOTHING
        scheme = origin.scheme or ("https" if peer.tls else "http")
        return scheme, origin.client or peer.client, peer.server or self._unix_server
