"""One connection through the proxy: two sockets, and a chain of toxics in each direction.

Without toxics a chunk is written to the other socket in the same call that received it. A half
close is passed on, as is a reset; a slow reader stops the sender by TCP's own means.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import cast

from infra.lab.faults.chain import Chain
from infra.lab.faults.toxics import End, Item

WRITE_BUFFER_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class Pipe:
    """One direction: from `source` through the chain to `target`."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.chain = Chain()
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None
        self.ended = False
        self._blocked = False
        self._heard_all = False
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0

    def open(self, source: asyncio.Transport, target: asyncio.Transport) -> None:
        """Both sockets are there."""
        self.source, self.target = source, target
        self.pump()

    def receive(self, item: Item) -> None:
        """What the source said."""
        if self.ended:
            return
        if isinstance(item, End):
            self._heard_all = True
        elif self.target is not None and self.chain.is_clear:
            self.target.write(item)
            return
        self.chain.feed(item, time.monotonic())
        self.pump()

    def block(self, blocked: bool) -> None:
        """The target's buffer is full, or has room again."""
        self._blocked = blocked
        self.pump()

    def pump(self) -> None:
        """Pass on what may go now; then wait for time, for room or for the source."""
        if self.target is None:
            self._read(False)
            return
        now = time.monotonic()
        while not (self._blocked or self.ended) and (item := self.chain.take(now)) is not None:
            self._deliver(item)
        if self.ended:
            return
        self._read(not self._blocked and self.chain.has_room)
        self._wake_at(None if self._blocked else self.chain.due())

    def stop(self) -> None:
        """Nothing more comes out."""
        self.ended = True
        self._read(False)
        self._wake_at(None)

    def _deliver(self, item: Item) -> None:
        assert self.target is not None
        if isinstance(item, bytes):
            self.target.write(item)
        elif item is End.FIN:
            self.stop()
            self._relay.half_closed(self.target)
        else:
            self._relay.close(reset=item is End.RESET)

    def _read(self, wanted: bool) -> None:
        if self.source is None or self.source.is_closing() or self._heard_all:
            return
        if wanted == self.source.is_reading():
            return
        if wanted:
            self.source.resume_reading()
        else:
            self.source.pause_reading()

    def _wake_at(self, due: float | None) -> None:
        if self._timer is not None:
            if due is not None and due >= self._wakes_at:
                return  # it wakes up early enough, and will look again
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._wakes_at = due
            delay_s = max(0.0, due - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.pump()


class Relay:
    """The pair of sockets; `on_end` is called once when both are gone."""

    def __init__(self, upstream: str, on_end: Callable[[Relay], None]) -> None:
        """Args: upstream: `host:port` to connect to."""
        self._upstream = upstream
        self._on_end = on_end
        self.up = Pipe(self)
        self.down = Pipe(self)
        self.client = _End(self, self.up, self.down)
        self.server = _End(self, self.down, self.up)
        self._connecting: asyncio.Task[None] | None = None

    def accepted(self) -> None:
        """The client is there. It is not read before the server is there too."""
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        host, _, port = self._upstream.rpartition(":")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: self.server, host.strip("[]"), int(port)
                )
        except OSError as error:  # TimeoutError is one
            log.info("no connection to %s: %s", self._upstream, error or "timeout")
            if self.client.transport is None:
                self._on_end(self)
            self.close(reset=False)
            return
        client, server = self.client.transport, self.server.transport
        if client is None or server is None or client.is_closing():
            self.close(reset=True)
            return
        self.up.open(client, server)
        self.down.open(server, client)

    def half_closed(self, target: asyncio.Transport) -> None:
        """One direction is at its end."""
        if self.up.ended and self.down.ended:
            self.close(reset=False)
        elif not target.is_closing():
            target.write_eof()

    def close(self, reset: bool) -> None:
        """End both directions; what is already written still arrives, unless it is a reset."""
        self.up.stop()
        self.down.stop()
        for transport in (self.client.transport, self.server.transport):
            if transport is None:
                continue
            if reset:
                _reset(transport)
            elif not transport.is_closing():
                transport.close()

    def lost(self, end: _End, error: Exception | None) -> None:
        """A socket is gone: by our own hand, by its peer's reset, or by the network."""
        end.transport = None
        other = self.server if end is self.client else self.client
        end.into.stop()
        if other.transport is None:
            if self._connecting is None or self._connecting.done() or end is self.server:
                self._on_end(self)
            return
        if end.out.ended:
            self.close(reset=error is not None)
        else:
            end.out.receive(End.RESET if error is not None else End.CLOSE)


class _End(asyncio.Protocol):
    """One socket: feeds the pipe `out`, is written to by the pipe `into`."""

    def __init__(self, relay: Relay, out: Pipe, into: Pipe) -> None:
        self._relay = relay
        self.out = out
        self.into = into
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.out.source = self.transport
        # Not yet: both event loops start to read after this call, whatever was paused in it.
        asyncio.get_running_loop().call_soon(self.out.pump)
        if self is self._relay.client:
            self._relay.accepted()

    def data_received(self, data: bytes) -> None:
        self.out.receive(data)

    def eof_received(self) -> bool:
        self.out.receive(End.FIN)
        return True  # the other direction goes on

    def pause_writing(self) -> None:
        self.into.block(True)

    def resume_writing(self) -> None:
        self.into.block(False)

    def connection_lost(self, error: Exception | None) -> None:
        self._relay.lost(self, error)


def _reset(transport: asyncio.Transport) -> None:
    """End it by RST: SO_LINGER with time 0 (socket(7)), then close."""
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor >= 0:
        # A second descriptor of the same socket: options belong to the socket itself.
        with socket.socket(fileno=os.dup(descriptor)) as twin:
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
