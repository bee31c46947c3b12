"""A connection's events as plain values, to be compared with each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple

from week01_http_server.http1.connection import Connection
from week01_http_server.messages import Headers, Refusal, Request
from week01_http_server.settings import Limits

Event = tuple[str, object]


class Recorder:
    """A sink that writes events down; neighbouring pieces of a body become one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.requests: list[Request] = []

    def on_request(self, request: Request) -> None:
        self.requests.append(request)
        self.events.append(("request", astuple(request)))

    def on_body(self, data: bytes) -> None:
        assert data, "an empty piece of a body"
        if self.events[-1][0] == "body":
            before = self.events.pop()[1]
            assert isinstance(before, bytes)
            data = before + data
        self.events.append(("body", data))

    def on_end(self, trailers: Headers) -> None:
        self.events.append(("end", tuple(trailers)))

    def on_refusal(self, refusal: Refusal) -> None:
        self.events.append(("refusal", refusal))

    @property
    def refusal(self) -> Refusal | None:
        last = self.events[-1][1] if self.events else None
        return last if isinstance(last, Refusal) else None

    @property
    def ended(self) -> int:
        """Complete requests."""
        return sum(kind == "end" for kind, _ in self.events)

    @property
    def body(self) -> bytes:
        """All bodies, one after the other."""
        return b"".join(
            value for kind, value in self.events if kind == "body" and isinstance(value, bytes)
        )


def record(pieces: Iterable[bytes], limits: Limits | None = None) -> tuple[Recorder, Connection]:
    """What a connection makes of these pieces."""
    recorder = Recorder()
    connection = Connection(limits or Limits(), recorder)
    for piece in pieces:
        connection.feed(piece)
    return recorder, connection


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]
