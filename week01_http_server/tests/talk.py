"""What a test's client needs: answers read from a blocking socket, as far as they go."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass
class Answer:
    """One answer; `rest` is what was received behind it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    rest: bytes


def read_answer(sock: socket.socket, received: bytes = b"", *, head_only: bool = False) -> Answer:
    """Read one final answer with Content-Length or chunks, or until the end of the stream."""
    while b"\r\n\r\n" not in received:
        received += receive(sock)
    head, _, rest = received.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    status = int(lines[0].split(b" ")[1])
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in lines[1:])
    }
    if head_only or status in (204, 304):
        return Answer(status, headers, b"", rest)
    if headers.get(b"transfer-encoding") == b"chunked":
        body, rest = _chunked(sock, rest)
        return Answer(status, headers, body, rest)
    if b"content-length" not in headers:
        return Answer(status, headers, rest + read_all(sock), b"")
    length = int(headers[b"content-length"])
    while len(rest) < length:
        rest += receive(sock)
    return Answer(status, headers, rest[:length], rest[length:])


def receive(sock: socket.socket) -> bytes:
    """Some bytes; the end of the stream is an error."""
    data = sock.recv(65536)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


def read_all(sock: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    parts = []
    while data := sock.recv(65536):
        parts.append(data)
    return b"".join(parts)


def _chunked(sock: socket.socket, rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        while b"\r\n" not in rest:
            rest += receive(sock)
        line, _, rest = rest.partition(b"\r\n")
        size = int(line, 16)
        while len(rest) < size + 2:
            rest += receive(sock)
        if not size and rest[:2] == b"\r\n":
            return body, rest[2:]
        if not size:
            raise ValueError("trailers are not read here")
        body += rest[:size]
        rest = rest[size + 2 :]
