"""What the server calls: plain handlers, stream handlers, and the application that holds them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from week01_http_server.exchange import Exchange, Peer
from week01_http_server.messages import Request, Response

# Called as soon as a head is complete, never waits, sees no body. None hands the request on to
# the stream handler (a cache that misses, say). One that raises is answered 500 and logged.
Handler = Callable[[Request], Response | None]

# Runs in a task of its own for each request, one after the other on a connection.
StreamHandler = Callable[[Exchange], Awaitable[None]]


class Application(Protocol):
    """What a server serves; at least one of `plain` and `stream` is there.

    Attributes:
        plain: is asked first, when there.
        stream: gets what `plain` does not answer.
        exchange_type: class of the exchanges that `stream` is given; a subclass may add to
            `Exchange` or override `Exchange.launch` to run its handler in its own way.
    """

    @property
    def plain(self) -> Handler | None: ...
    @property
    def stream(self) -> StreamHandler | None: ...
    @property
    def exchange_type(self) -> type[Exchange]: ...

    async def startup(self) -> None:
        """Before the first connection is accepted; an exception keeps the server from starting."""

    async def shutdown(self) -> None:
        """After the last exchange is over."""


@dataclass(slots=True)
class Handlers:
    """An application without a lifespan."""

    plain: Handler | None = None
    stream: StreamHandler | None = None
    exchange_type: type[Exchange] = Exchange

    async def startup(self) -> None:
        """Nothing to prepare."""

    async def shutdown(self) -> None:
        """Nothing to put away."""


# Told of each answer once its last byte was handed to the transport: request (None when no
# acceptable request was there to answer), peer, status, bytes written for it, head included, and
# seconds since the head was complete. An answer that was cut short is told as well, with what was
# written of it. Must not raise and must not wait.
Observer = Callable[[Request | None, Peer, int, int, float], None]
