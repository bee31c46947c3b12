"""The connection scope: what an app is told about a request before it reads from it.

Source: ASGI's HTTP and WebSocket message format 2.5, "HTTP Connection Scope" and "Websocket
Connection Scope".
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote_to_bytes

from week01_http_server.asgi.types import Scope
from week01_http_server.messages import Request

Address = tuple[str, int | None]

PERCENT = ord("%")  # a number is found in bytes eight times as fast as b"%"


class ScopeBuilder:
    """Makes scopes for one app.

    Args:
        root_path: where the app is mounted, like "/api"; it is put before `path`, as the
            specification's "stripping root_path from path" presumes.
        state: the namespace that the app filled during lifespan; each scope gets a shallow copy.
    """

    __slots__ = ("_raw_root_path", "_root_path", "_state")

    def __init__(self, root_path: str, state: dict[str, Any]) -> None:
        self._root_path = root_path.rstrip("/")
        self._raw_root_path = quote(self._root_path).encode()
        self._state = state

    def http(
        self,
        request: Request,
        scheme: str,
        client: Address | None,
        server: Address | None,
    ) -> Scope:
        """The scope of an HTTP request. All of it is new: an app may change what it likes.

        This is most of what the server does for a small request, hence one literal, no helpers.
        """
        raw_path = path = request.path
        if PERCENT in path:
            path = unquote_to_bytes(path)
        # What is no UTF-8 becomes U+FFFD, as with urllib: frameworks cannot take lone surrogates.
        text = path.decode("utf-8", "replace")
        root_path = self._root_path
        if root_path and raw_path != b"*":
            text = root_path + text
            raw_path = self._raw_root_path + raw_path
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": request.version,
            "method": request.method,
            "scheme": scheme,
            "path": text,
            "raw_path": raw_path,
            "query_string": request.query,
            "root_path": root_path,
            "headers": request.headers,
            "client": client,
            "server": server,
            "state": self._state.copy(),
            "extensions": {"http.response.pathsend": {}, "http.response.trailers": {}},
        }

    def websocket(
        self,
        request: Request,
        scheme: str,
        client: Address | None,
        server: Address | None,
        subprotocols: list[str],
    ) -> Scope:
        """The scope of a WebSocket handshake; `subprotocols` are those the client offers."""
        scope = self.http(request, scheme, client, server)
        del scope["method"]
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if scheme == "https" else "ws"
        scope["subprotocols"] = subprotocols
        scope["extensions"] = {"websocket.http.response": {}}
        return scope
