"""What an exchange is told about its connection, and what it may ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from week01_http_server.http1.responses import Framing
from week01_http_server.messages import Headers, Request

if TYPE_CHECKING:
    from week01_http_server.exchange import Exchange

Address = tuple[str, int]


class AnswerBroken(Exception):
    """The handler broke its own answer: other than the announced length, or out of order."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at both ends of a connection; addresses are None for unix sockets.

    Attributes:
        client: as the socket says, or a believed PROXY protocol header.
        server: ours, from the same source.
        tls: whether this hop is encrypted.
    """

    client: Address | None
    server: Address | None
    tls: bool


class Wire(Protocol):
    """What an exchange needs of its connection (`protocol.HttpProtocol`, or a test's)."""

    @property
    def peer(self) -> Peer: ...
    @property
    def blocked(self) -> bool:
        """More than write_buffer_bytes wait for the client, or the connection is lost."""

    def open_answer(
        self, exchange: Exchange, status: int, headers: Headers, length: int | None
    ) -> tuple[bytes, Framing]:
        """Decide keep-alive and framing; `length` is the whole body's, when known by now.

        Returns the head, and how its body is framed: NO_BODY where none is sent, whatever is said.
        Raises ValueError for headers that must not be sent.
        """

    def ready_answer(
        self, request: Request, status: int, headers: Headers, body: bytes
    ) -> bytes | None:
        """The whole answer, where it is of the common kind; None where `open_answer` must decide.

        Raises ValueError as that does.
        """

    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None:
        """Wait while `blocked`; ClientGone when the connection is lost."""

    def want_body(self, exchange: Exchange) -> None:
        """The handler waits for body: send 100-continue where due, read, watch the deadline."""

    def body_taken(self, exchange: Exchange) -> None:
        """The handler took what waited: reading may go on."""

    def answered(self, exchange: Exchange) -> None:
        """The answer is complete: the next request's turn."""

    def fail(self, exchange: Exchange) -> None:
        """No answer was begun and none will come: 500."""

    def cut(self, exchange: Exchange) -> None:
        """The answer cannot be completed: the client must notice, so the connection is cut."""

    def upgrade(
        self, exchange: Exchange, factory: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.Transport, bytes]: ...
    def launched(self, exchange: Exchange) -> None:
        """A task runs for it; `settled` follows when it is over."""

    def settled(self, exchange: Exchange) -> None: ...
