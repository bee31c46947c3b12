"""A server's connection without a socket: a transport that only remembers, and a clock by hand."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from week01_http_server.deadlines import Clock, sweep
from week01_http_server.handlers import Handlers
from week01_http_server.protocol import HttpProtocol
from week01_http_server.settings import Settings
from week01_http_server.state import ServerState

WALL = 784111777.0  # RFC 9110's own example: Sun, 06 Nov 1994 08:49:37 GMT


class FakeTransport(asyncio.Transport):
    """Remembers what it was told.

    Attributes:
        written: each write.
        unsent: what get_write_buffer_size says.
        reading: whether the protocol wants data.
        closed: "", "close" or "abort".
        eof: whether write_eof was called.
    """

    def __init__(self, *, can_write_eof: bool = True) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.unsent = 0
        self.reading = True
        self.closed = ""
        self.eof = False
        self.high = 64 * 1024
        self.protocol: Any = None
        self._can_write_eof = can_write_eof

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("192.0.2.1", 1111), "sockname": ("192.0.2.2", 80)}.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return bool(self.closed)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed and not self.eof
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self.high = high

    def can_write_eof(self) -> bool:
        return self._can_write_eof

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        assert not self.closed
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closed = self.closed or "close"

    def abort(self) -> None:
        self.closed = "abort"


class Talk:
    """One connection of a server under test.

    Attributes:
        now: of the clock; `later` moves it.
    """

    def __init__(
        self,
        app: Handlers,
        settings: Settings | None = None,
        transport: FakeTransport | None = None,
        **options: Any,
    ) -> None:
        settings = settings or Settings()
        self.now = 1000.0
        self.clock = Clock(settings.deadlines, self.now, WALL)
        self.state = ServerState(settings, app, self.clock, **options)
        self.transport = transport or FakeTransport()
        self.protocol = HttpProtocol(self.state)
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)

    def send(self, *pieces: bytes) -> None:
        """The client's bytes, as separate reads."""
        for piece in pieces:
            self.transport.protocol.data_received(piece)

    def eof(self) -> bool | None:
        """The client sends no more."""
        keep: bool | None = self.transport.protocol.eof_received()
        return keep

    def lose(self) -> None:
        """The connection is gone."""
        self.transport.closed = "abort"
        self.transport.protocol.connection_lost(None)

    def block(self, unsent: int = 100_000) -> None:
        """The client takes nothing more."""
        self.transport.unsent = unsent
        self.transport.protocol.pause_writing()

    def unblock(self) -> None:
        """It took everything."""
        self.transport.unsent = 0
        self.transport.protocol.resume_writing()

    def later(self, seconds: float) -> None:
        """Time passes, in ticks, with a sweep at each."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + self.clock.tick_s)
            self.clock.tick(self.now, WALL)
            sweep(self.state.guests, self.now)

    @property
    def answers(self) -> bytes:
        """Everything written since this was last asked."""
        written = b"".join(self.transport.written)
        self.transport.written.clear()
        return written

    @property
    def statuses(self) -> list[int]:
        """Status of each answer written since this was last asked."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", self.answers)]


async def turns(count: int = 10) -> None:
    """Let tasks run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Let tasks run until it is true; the test's own timeout ends it."""
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.001)
