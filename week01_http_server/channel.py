"""The writing half of a connection: batches, backpressure, and a client that takes nothing."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from typing import Any

from week01_http_server.deadlines import NEVER
from week01_http_server.exchange import Address, Peer
from week01_http_server.messages import ClientGone
from week01_http_server.state import ServerState

_UNACKNOWLEDGED = termios.TIOCOUTQ  # SIOCOUTQ has the same number, tcp(7)


class Channel(asyncio.Protocol):
    """One accepted connection, as far as bytes go out.

    Attributes:
        due_at: see `deadlines`.
    """

    __slots__ = (
        "_blocked",
        "_drained",
        "_lost",
        "_out",
        "_peer",
        "_state",
        "_transport",
        "_unsent_bytes",
        "due_at",
    )

    _transport: asyncio.Transport

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._out: list[bytes] = []  # answers of the read that is being parsed
        self._blocked = False  # the client does not take what is written
        self._lost = False  # the transport is closed, or another protocol's
        self._unsent_bytes = 0  # when a write deadline was last looked at
        self._drained: asyncio.Future[None] | None = None
        self._peer: Peer | None = None
        self.due_at = NEVER

    @property
    def peer(self) -> Peer:
        """Both ends; taken from the socket when first asked for."""
        if self._peer is None:
            self._peer = peer_of(self._transport)
        return self._peer

    @property
    def blocked(self) -> bool:
        """More than write_buffer_bytes wait for the client, or it is gone."""
        # A transport that failed says so before the event loop tells us, and would take (and drop)
        # bytes for ever: a handler that never pauses would keep the loop from ever telling us.
        return self._blocked or self._lost or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport, behind those that are being collected."""
        if self._out:
            self._out.append(data)
        elif not self._lost:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait while blocked; raises ClientGone."""
        while not self._lost and (self._blocked or self._transport.is_closing()):
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)
        if self._lost:
            raise ClientGone("the client left before its answer was complete")

    def _flush(self) -> None:
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            if not self._lost:
                self._transport.write(data)

    def _wake_writer(self) -> None:
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None

    def _is_taken(self) -> bool:
        """Whether the client took anything since this was last asked; else it is reset.

        What left the transport but not the kernel counts as not taken: a kernel takes megabytes
        from us at once and says "writable" again only when a third of them are through.
        """
        unsent = unsent_bytes(self._transport)
        before, self._unsent_bytes = self._unsent_bytes, unsent
        if unsent and unsent >= before:
            reset(self._transport)
            return False
        return True


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Bytes that the other side has not acknowledged, as far as this system tells."""
    unsent = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sys.platform == "linux" and sock is not None and sock.family != socket.AF_UNIX:
        answer = fcntl.ioctl(sock.fileno(), _UNACKNOWLEDGED, b"\0\0\0\0")
        unsent += struct.unpack("i", answer)[0]
    return unsent


def waiting_bytes(transport: asyncio.Transport) -> int:
    """Bytes of the other side that were not read yet: it is not as quiet as it seems to be."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return 0
    answer = fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0\0\0\0")
    return int(struct.unpack("i", answer)[0])


def reset(transport: asyncio.Transport) -> None:
    """Close so that the client gets an error, not an end that looks like a good one."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def peer_of(transport: asyncio.Transport) -> Peer:
    """Both ends as the socket knows them."""
    info = transport.get_extra_info
    return Peer(
        _address(info("peername")), _address(info("sockname")), info("ssl_object") is not None
    )


def _address(name: Any) -> Address | None:
    """Host and port; None where there is none (unix sockets, a client that has left)."""
    return (name[0], name[1]) if isinstance(name, tuple) else None
