"""A WebSocket as an ASGI app sees it: connect, then accept or refuse, messages, disconnect.

Source: ASGI's HTTP and WebSocket message format 2.5, "WebSocket", and the extension
`websocket.http.response`. The handshake is judged by `websockets` (RFC 6455, section 4.2).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from enum import Enum, auto
from typing import Any

from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import CloseCode
from websockets.headers import parse_subprotocol
from websockets.http11 import Request as Handshake
from websockets.http11 import Response as HandshakeAnswer
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from week01_http_server.asgi.http import stems_from_client
from week01_http_server.asgi.types import (
    ASGIApp,
    ClientDisconnected,
    Event,
    Message,
    ProtocolMisuse,
    Scope,
)
from week01_http_server.asgi.websocket_connection import Closed, WebSocketConnection
from week01_http_server.exchange import Exchange
from week01_http_server.messages import ClientGone, Request
from week01_http_server.settings import Settings

logger = logging.getLogger(__name__)

# The library decides these by the handshake; an app that sets them would contradict it.
RESERVED_FIELDS = frozenset(
    {
        b"connection",
        b"content-length",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"transfer-encoding",
        b"upgrade",
    }
)

# Windows of 4 KiB: websockets' own default, a sixth of the memory for a little more traffic.
DEFLATE = ServerPerMessageDeflateFactory(
    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
)


class _State(Enum):
    CONNECTING = auto()  # the handshake waits for the app
    DENYING = auto()  # websocket.http.response.start was sent, its body not yet
    OPEN = auto()
    CLOSED = auto()  # by the app: nothing may be sent any more


def judge_handshake(
    request: Request, settings: Settings
) -> tuple[ServerProtocol, HandshakeAnswer, list[str]]:
    """What the protocol says to a request for a WebSocket.

    Returns:
        the protocol as it is after the handshake, the answer (101 when the handshake is good, else
        the refusal), and the subprotocols that the client offers.
    """
    fields = Headers()
    for name, value in request.headers:
        fields[name.decode("latin-1")] = value.decode("latin-1")
    # One to judge the handshake, another that is open: the first would read the request itself.
    judge = ServerProtocol(
        extensions=[DEFLATE] if settings.ws_deflate else None,
        select_subprotocol=lambda _protocol, _offered: None,  # the app chooses, when it accepts
    )
    protocol = ServerProtocol(state=OPEN, max_size=settings.limits.ws_message_max_bytes or None)
    answer = judge.accept(
        Handshake(
            path=request.target.decode("latin-1"),
            headers=fields,
            method=request.method,
            protocol=f"HTTP/{request.version}",
        )
    )
    if answer.status_code != 101:
        return protocol, answer, []
    protocol.extensions = judge.extensions
    offered = [
        str(name)
        for value in fields.get_all("Sec-WebSocket-Protocol")
        for name in parse_subprotocol(value)
    ]
    return protocol, answer, offered


class WebSocketSession:
    """One handshake, and the messages after it, between an app and one exchange."""

    __slots__ = (
        "_answer",
        "_app",
        "_connected",
        "_connection",
        "_denial",
        "_exchange",
        "_protocol",
        "_scope",
        "_settings",
        "_state",
    )

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        exchange: Exchange,
        protocol: ServerProtocol,
        answer: HandshakeAnswer,
        settings: Settings,
    ) -> None:
        self._app = app
        self._scope = scope
        self._exchange = exchange
        self._protocol = protocol
        self._answer = answer
        self._settings = settings
        self._state = _State.CONNECTING
        self._connected = False
        self._connection: WebSocketConnection | None = None
        self._denial: tuple[int, list[tuple[bytes, bytes]]] | None = None

    async def run(self) -> None:
        """Call the app; whatever it leaves open is closed after it.

        Raises:
            Exception: what the app raised before the handshake was answered; the exchange then
                answers 500, as it does when the app returned without an answer.
        """
        try:
            await self._app(self._scope, self.receive, self.send)
        except Exception as error:
            if self._connection is None:
                raise
            if not stems_from_client(error):
                logger.exception("the app raised in a WebSocket: %s", self._scope["path"])
            self._connection.close(CloseCode.INTERNAL_ERROR)
        else:
            if self._connection is not None:
                self._connection.close(CloseCode.NORMAL_CLOSURE)
        finally:
            self._state = _State.CLOSED
            if self._connection is not None:
                self._connection.forget()

    # ---- What the app calls

    async def receive(self) -> Event:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        if self._connection is None:
            if self._state is not _State.CLOSED:
                await self._exchange.gone()
            return _disconnect(Closed(CloseCode.ABNORMAL_CLOSURE, ""))
        if self._state is _State.CLOSED:
            return _disconnect(self._connection.closed)
        message = await self._connection.receive()
        if isinstance(message, Closed):
            return _disconnect(message)
        if isinstance(message, str):
            return {"type": "websocket.receive", "text": message}
        return {"type": "websocket.receive", "bytes": message}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if self._state is _State.OPEN:
            await self._send_open(kind, message)
        elif self._state is _State.CONNECTING:
            await self._send_connecting(kind, message)
        elif self._state is _State.DENYING:
            await self._send_denying(kind, message)
        else:
            raise ProtocolMisuse(f"{kind!r} sent after the WebSocket was closed")

    async def _send_connecting(self, kind: str, message: Message) -> None:
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._state = _State.CLOSED
            self._exchange.start(403, [(b"content-length", b"0")])
            await self._exchange.write(b"", end=True)
        elif kind == "websocket.http.response.start":
            headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
            self._denial = (message["status"], headers)
            self._state = _State.DENYING
        else:
            raise ProtocolMisuse(
                f"{kind!r} sent while the WebSocket waits for 'websocket.accept', "
                "'websocket.close' or 'websocket.http.response.start'"
            )

    async def _send_denying(self, kind: str, message: Message) -> None:
        if kind != "websocket.http.response.body":
            raise ProtocolMisuse(f"{kind!r} sent instead of 'websocket.http.response.body'")
        if self._denial is not None:
            self._exchange.start(*self._denial)
            self._denial = None
        more = message.get("more_body", False)
        if not more:
            self._state = _State.CLOSED
        await self._exchange.write(message.get("body", b""), end=not more)

    async def _send_open(self, kind: str, message: Message) -> None:
        connection = self._connection
        assert connection is not None
        if kind == "websocket.send":
            data, text = message.get("bytes"), message.get("text")
            if text is not None and data is None:
                await connection.send(text)
            elif data is not None and text is None:
                await connection.send(data)
            else:
                raise ProtocolMisuse("'websocket.send' needs either 'bytes' or 'text'")
        elif kind == "websocket.close":
            self._state = _State.CLOSED
            code = message.get("code")
            # "Any string", says the specification; FastAPI sends a list of errors.
            connection.close(1000 if code is None else code, str(message.get("reason") or ""))
        else:
            raise ProtocolMisuse(f"{kind!r} sent on an open WebSocket")

    # ---- The handshake's good end

    def _accept(self, message: Message) -> None:
        fields = self._answer.headers
        subprotocol = message.get("subprotocol")
        if subprotocol is not None:
            if subprotocol not in self._scope["subprotocols"]:
                raise ProtocolMisuse(f"the client did not offer the subprotocol {subprotocol!r}")
            fields["Sec-WebSocket-Protocol"] = subprotocol
        for name, value in _checked(message.get("headers", ())):
            fields[name] = value
        if self._settings.server_header and "server" not in fields:
            fields["Server"] = self._settings.server_header
        connection = WebSocketConnection(
            self._protocol, self._settings.limits, self._settings.deadlines
        )
        try:
            _, rest = self._exchange.upgrade(lambda: connection)
        except ClientGone as error:
            raise ClientDisconnected("the client left before its WebSocket was accepted") from error
        self._connection = connection
        self._state = _State.OPEN
        connection.begin(self._answer.serialize(), rest)


def _disconnect(closed: Closed | None) -> Event:
    code, reason = closed or Closed(CloseCode.ABNORMAL_CLOSURE, "")
    return {"type": "websocket.disconnect", "code": int(code), "reason": reason}


def _checked(headers: Iterable[Any]) -> Iterable[tuple[str, str]]:
    """The app's fields for the 101 answer, safe to be written."""
    for name, value in headers:
        if name.lower() in RESERVED_FIELDS:
            raise ProtocolMisuse(f"{name!r} cannot be set when a WebSocket is accepted")
        if any(byte in b"\r\n\0" for byte in name + value):
            raise ProtocolMisuse(f"the value of {name!r} would split the answer")
        yield name.decode("latin-1"), value.decode("latin-1")
