"""What the parts of the server say to each other: requests, responses, refusals.

Header names are lower-case bytes everywhere inside; values are bytes without surrounding
whitespace (RFC 9110, section 5). Order and repetitions are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(slots=True)
class Request:
    """The head of one request, already judged: nothing in it contradicts RFC 9110 and 9112.

    Attributes:
        method: as sent (methods are case-sensitive).
        target: the request-target as sent, in any of its four forms.
        path: percent-encoded path of the target; "*" for the asterisk form.
        query: what follows the first "?", without it.
        authority: host and port of the absolute form, else of the Host field; may be empty.
        version: "1.1" or "1.0".
        headers: as received, names lower-cased, without trailers.
        keep_alive: whether the connection may carry another request after this one.
        has_body: whether body events follow (Content-Length above 0, or chunked).
        content_length: announced size in bytes; None when chunked or absent.
        expects_continue: the client waits for 100 before it sends the body.
        upgrade: the protocol asked for, lower-case, where Connection names it; else None.
    """

    method: str
    target: bytes
    path: bytes
    query: bytes
    authority: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool
    has_body: bool
    content_length: int | None
    expects_continue: bool
    upgrade: bytes | None


@dataclass(slots=True)
class Response:
    """A whole response that a plain handler returns.

    The server adds Date, Server, framing and Connection; a body for HEAD, 204 or 304 is left out
    with its length kept where RFC 9110 (section 8.6) allows one.
    """

    status: int
    headers: Headers = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a byte stream is no acceptable request; the connection is closed after the answer.

    Attributes:
        status: 400, 408, 413, 414, 417, 431, 501, 503 or 505.
        reason: one line for people, also the body of the answer; never echoes input.
    """

    status: int
    reason: str


class ClientGone(Exception):
    """The client closed or broke the connection before the exchange was over."""
