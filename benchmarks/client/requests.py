"""What is asked, and where the requests come from. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110, section 9.2.2."""

_RESERVED: Final = frozenset({"host", "connection", "content-length", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response.

    Attributes:
        headers: names in lower case, in the order they came.
        body: empty when neither a check nor an observer wanted it.
        body_bytes: its length, always.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    body_bytes: int

    def header(self, name: bytes) -> bytes | None:
        """The first header of that name (lower case)."""
        return next((value for key, value in self.headers if key == name), None)


Check = Callable[[Answer], bool]
"""Whether an answer with the right status is right; called in the event loop, so it must be fast.
An exception of a check ends the run: it is a mistake in the check, not in the server."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request and what makes its answer right.

    Attributes:
        path: origin form with the query, `/a?b=c`.
        headers: besides Host, Connection and Content-Length, which the client sets.
        status: statuses that are right.
        idempotent: whether it may be sent again; by default what its method says.
        key: the caller's own name for it, handed to the observer.

    ValueError for what cannot be sent, such as a line break in a header.
    """

    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    status: frozenset[int] = frozenset({200})
    check: Check | None = None
    idempotent: bool | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if not (self.method.isascii() and self.method.isalpha()):
            raise ValueError(f"{self.method!r} is no method")
        plain = self.path.isascii() and self.path.isprintable() and " " not in self.path
        if not self.path.startswith("/") or not plain:
            raise ValueError(f"{self.path!r} is no path: it starts with / and is percent-encoded")
        for name, value in self.headers:
            if not name or name.lower() in _RESERVED or any(sign in name for sign in ":\r\n "):
                raise ValueError(f"the header {name!r} cannot be set")
            if any(sign in value for sign in "\r\n\0"):
                raise ValueError(f"the value of {name} has a line break")

    @property
    def may_repeat(self) -> bool:
        """Whether sending it twice does what sending it once does."""
        return self.method in IDEMPOTENT if self.idempotent is None else self.idempotent


Source = Callable[[int], Request | None]
"""Gives the request with that number (0, 1, 2, ...); None when there are no more.

A number is asked for once, when its request is sent; one that was never sent is skipped."""


def always(request: Request) -> Source:
    """The same request for ever."""
    return lambda number: request


def in_turn(requests: Iterable[Request]) -> Source:
    """The requests of an iterable, until it ends; numbers that were never sent skip none of it."""
    iterator = iter(requests)
    return lambda number: next(iterator, None)


def encode(request: Request, host: str, keep_alive: bool) -> bytes:
    """The bytes of a request (RFC 9112, section 3)."""
    lines = [f"{request.method} {request.path} HTTP/1.1", f"Host: {host}"]
    if not keep_alive:
        lines.append("Connection: close")
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(request.body)}")
    lines += [f"{name}: {value}" for name, value in request.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + request.body
