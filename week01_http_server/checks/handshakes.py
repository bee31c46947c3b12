"""Counts the handshakes that reach a port, from the packets themselves; Linux, as root."""

from __future__ import annotations

import contextlib
import socket
import struct
from types import TracebackType
from typing import Final

_LOOPBACK: Final = "lo"
_IPV4: Final = 0x0800
_ETHERNET_BYTES: Final = 14
_TCP: Final = 6
_SYN, _ACK = 0x02, 0x10
_BUFFER_BYTES: Final = 8 * 2**20
_PACKETS_MAX: Final = 100_000


class Handshakes:
    """Packets are held by the kernel from entering on, and looked through by `gather`.

    Attributes:
        seen: first packets of handshakes (SYN without ACK) to the port; None where nobody may
            look, or before `gather`.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self.seen: int | None = None

    def __enter__(self) -> Handshakes:
        # AttributeError: no such sockets on this system. OSError: not root.
        with contextlib.suppress(AttributeError, OSError):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_IPV4))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._socket.bind((_LOOPBACK, _IPV4))
            self._socket.setblocking(False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            self._socket.close()

    def gather(self) -> None:
        """Count what has come so far."""
        if self._socket is None:
            return
        self.seen = 0
        with contextlib.suppress(BlockingIOError):
            for _ in range(_PACKETS_MAX):
                packet, address = self._socket.recvfrom(128)
                # On loopback every packet is seen twice: leaving and arriving.
                if address[2] == socket.PACKET_HOST and begins(packet, self._port):
                    self.seen += 1


def begins(packet: bytes, port: int) -> bool:
    """Whether an Ethernet frame holds the first packet of a handshake to `port` (IPv4, TCP)."""
    ip = packet[_ETHERNET_BYTES:]
    if len(ip) < 20 or ip[0] >> 4 != 4 or ip[9] != _TCP:
        return False
    tcp = ip[4 * (ip[0] & 0x0F) :]
    if len(tcp) < 14:
        return False
    (to,) = struct.unpack_from("!H", tcp, 2)
    return bool(to == port and tcp[13] & (_SYN | _ACK) == _SYN)
