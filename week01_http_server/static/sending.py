"""Files copied to the client by the kernel, on a connection that a transport owns.

uvloop has no `loop.sendfile` and lets nobody else wait for a transport's socket. Neither is
needed: while the transport holds nothing back, whatever is put into its socket stays in order, so
sendfile(2) may be called on it directly. Once the socket is full, one piece goes the transport's
way; that piece then waits for the client under the connection's own backpressure and deadline,
and when it is gone the socket has room again. Measured in docs/adr/0005-static-files.md.
"""

from __future__ import annotations

import asyncio
import os

from week01_http_server.channel import Channel
from week01_http_server.exchange import FILE_PIECE_BYTES, Exchange

# Copied at most before other connections get their turn.
TURN_BYTES = 1024 * 1024


class FileExchange(Exchange):
    """An exchange whose `send_file` lets the kernel copy where that is possible."""

    __slots__ = ()

    async def send_file(self, file: int, offset: int, count: int) -> None:
        """As `Exchange.send_file`."""
        if not self.opened:
            # The head alone: with a piece of the file it would be copied three times by us. It
            # leaves the transport at the end of this turn of the loop.
            self.write_now(b"")
            await asyncio.sleep(0)
        while count > 0:
            turn = min(count, TURN_BYTES)
            sent = self._copied(file, offset, turn)
            if sent == turn:
                await asyncio.sleep(0)
            else:
                piece = min(count - sent, FILE_PIECE_BYTES)
                await super().send_file(file, offset + sent, piece)
                sent += piece
            offset += sent
            count -= sent

    def _copied(self, file: int, offset: int, count: int) -> int:
        """Bytes that the socket took at once; 0 when the transport must be asked."""
        # Only within a body of announced length: its bytes are sent as they are, and counted.
        if not self.opened or self._left_bytes < count:
            return 0
        wire = self._wire
        sent = copy(wire, file, offset, count) if isinstance(wire, Channel) else 0
        self._left_bytes -= sent
        self.bytes_sent += sent
        return sent


def copy(channel: Channel, file: int, offset: int, count: int) -> int:
    """sendfile(2) from a file to a connection that has nothing else to send.

    Returns:
        Bytes copied; 0 when the socket is full or something waits before them, under TLS, at the
        end of the file, or when the system cannot: then the transport finds out why.
    """
    transport = channel._transport
    # A closed transport's descriptor may be another connection's by now: look before it is used.
    if channel._lost or transport.is_closing() or channel.peer.tls:
        return 0
    if channel._out or transport.get_write_buffer_size():
        return 0
    sock = transport.get_extra_info("socket")
    if sock is None or not hasattr(os, "sendfile"):
        return 0
    try:
        return os.sendfile(sock.fileno(), file, offset, count)
    except OSError:
        return 0
