"""Ends the arrival of new connections without losing those that have arrived.

A listening socket that is closed resets every connection in its queue, so the queue must be
emptied first, and nothing may be added to it meanwhile. Linux has no call for that, but lets a
socket filter (BPF, socket(7) SO_ATTACH_FILTER) drop segments: ours drops those that ask for a new
connection. The client's system asks again after a second, and then finds a new server or is
refused: never accepted and then reset. Some kernels refuse the filter to ordinary users; then the
queue is emptied all the same, and who comes in the moment between that and the end is reset.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from collections.abc import Iterable

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; not in Python's socket module

# Classic BPF over a TCP segment (linux/filter.h): byte 13 has the flags; SYN without ACK is
# dropped (accept 0 bytes), all else passes, also the last step of a handshake under way.
_PROGRAM = (
    (0x30, 0, 0, 13),  # ldb [13]
    (0x54, 0, 0, 0x12),  # and #SYN|ACK
    (0x15, 0, 1, 0x02),  # jeq #SYN, 0, 1
    (0x06, 0, 0, 0),  # ret #0
    (0x06, 0, 0, 0xFFFFFFFF),  # ret #-1
)

QUEUE_S = 0.1
"""How long workers go on accepting once nothing new arrives: many times a loop's turn, and a
round trip for handshakes under way."""


def drop_new_connections(sockets: Iterable[socket.socket]) -> bool:
    """Let the TCP sockets answer no further SYN; the others, and other systems, stay as they are.

    The filter belongs to the socket, whoever holds it: not for sockets that outlive us.

    Returns:
        Whether no TCP socket answers any more.
    """
    if sys.platform != "linux":
        return False
    quiet = True
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _PROGRAM))
    program = struct.pack("HP", len(_PROGRAM), ctypes.addressof(code))
    for each in sockets:
        if each.family in (socket.AF_INET, socket.AF_INET6):
            try:
                each.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
            except OSError:
                quiet = False
    return quiet
