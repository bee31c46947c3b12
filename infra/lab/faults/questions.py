"""What a probe says to the server behind a link, so that bytes certainly come back.

A question needs no account and changes nothing. `request(n)` is answered by at least n bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

HTTP_ANSWER_MIN_BYTES = 64
KAFKA_ANSWER_MIN_BYTES = 200


@dataclass(frozen=True)
class Question:
    """A request in the server's own protocol.

    Attributes:
        request: bytes to send, so that at least as many as asked for come back.
        answer_max_bytes: more cannot be asked for.
        echoes: the request is at least as long as the answer asked for, and nothing comes back
            before all of it arrived; so it measures the way to the server, too.
    """

    name: str
    request: Callable[[int], bytes]
    answer_max_bytes: int
    echoes: bool


def echo() -> Question:
    """For a server that sends back what it gets."""
    return Question("echo", bytes, 8_000_000, echoes=False)


def valkey() -> Question:
    """PING, or ECHO for more than its answer (Redis protocol, RESP)."""

    def request(answer_bytes: int) -> bytes:
        if answer_bytes <= len("+PONG\r\n"):
            return b"PING\r\n"
        return b"*2\r\n$4\r\nECHO\r\n$%d\r\n%b\r\n" % (answer_bytes, b"x" * answer_bytes)

    return Question("PING", request, 8_000_000, echoes=True)


def http(path: str) -> Question:
    """GET, pipelined for more than one answer (RFC 9112 section 9.3.2)."""
    one = f"GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n".encode()

    def request(answer_bytes: int) -> bytes:
        return one * -(-answer_bytes // HTTP_ANSWER_MIN_BYTES)

    return Question(f"GET {path}", request, 32_000, echoes=False)


def kafka() -> Question:
    """ApiVersions v0, which a broker answers to anybody (Kafka protocol guide)."""
    body = struct.pack(">hhih", 18, 0, 0, -1)
    one = struct.pack(">i", len(body)) + body

    def request(answer_bytes: int) -> bytes:
        return one * -(-answer_bytes // KAFKA_ANSWER_MIN_BYTES)

    return Question("ApiVersions", request, 64_000, echoes=False)


def postgres() -> Question:
    """SSLRequest, answered by one byte; for more, unknown protocol options.

    The server repeats the names of those in NegotiateProtocolVersion before it asks who is there
    (PostgreSQL manual, "Message Formats"). A startup packet has at most 10,000 bytes.
    """

    def request(answer_bytes: int) -> bytes:
        if answer_bytes <= 1:
            return struct.pack(">ii", 8, 80877103)
        option = b"_pq_." + b"x" * answer_bytes + b"\0\0"
        body = struct.pack(">i", 3 << 16) + b"user\0probe\0" + option + b"\0"
        return struct.pack(">i", len(body) + 4) + body

    return Question("SSLRequest", request, 9_000, echoes=True)
