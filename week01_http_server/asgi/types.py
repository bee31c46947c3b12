"""The shapes of ASGI, and the two errors that an app can get from the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from week01_http_server.messages import ClientGone

Scope = dict[str, Any]
Event = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class ClientDisconnected(ClientGone, OSError):
    """`send` was called although the client is gone.

    An OSError, as the specification (HTTP 2.5, "Disconnected Client") wants it; an app may catch
    it to clean up, or let it pass: the server does not log it.
    """


class ProtocolMisuse(RuntimeError):
    """The app sent a message that the specification does not allow at this point."""
