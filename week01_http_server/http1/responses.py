"""Answer heads, chunks and trailers as bytes: RFC 9112, sections 4, 6 and 7.

A handler's fields are checked before they become bytes: a CR, LF or NUL in one would let its
author's input write a second answer (response splitting), so it is a ValueError.

Framing and persistence belong to the server: Content-Length, Transfer-Encoding and the options
"close" and "keep-alive" of Connection are written here alone, from what `plan` decided.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from week01_http_server.http1.chunks import FORBIDDEN_IN_TRAILERS
from week01_http_server.http1.grammar import FIELD_BYTES, OWS, elements, is_token
from week01_http_server.messages import Headers, Refusal

CHUNKED: Final = -1
"""Framing: Transfer-Encoding: chunked (HTTP/1.1 alone)."""
UNTIL_CLOSE: Final = -2
"""Framing: the body ends with the connection (HTTP/1.0 without a known length)."""
NO_BODY: Final = -3
"""Framing: neither a body nor a length."""
Framing = int
"""One of the three above, or 0 and more: the Content-Length in bytes."""

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

LINES_MAX = 256
"""Ready field lines remembered; when it is full, all are forgotten."""
LINE_MAX_BYTES = 128

_OFTEN_THE_SAME = frozenset(
    b"accept-ranges access-control-allow-origin allow cache-control content-encoding "
    b"content-language content-type referrer-policy strict-transport-security vary "
    b"x-content-type-options x-frame-options x-replica x-served-by".split()
)
"""Fields whose values repeat from answer to answer: their lines are worth remembering."""

lines: Final[dict[tuple[bytes, bytes], bytes]] = {}
"""Ready lines of fields, as `line_of` made them."""

STATUS_LINES = {
    status: b"HTTP/1.1 %d %b\r\n"
    % (status, HTTPStatus(status).phrase.encode() if status in set(HTTPStatus) else b"")
    for status in range(100, 1000)
}
_CONNECTION = {
    ("1.1", True): b"\r\n",
    ("1.1", False): b"connection: close\r\n\r\n",
    ("1.0", True): b"connection: keep-alive\r\n\r\n",
    ("1.0", False): b"connection: close\r\n\r\n",
}
"""The end of a head by the request's version and whether the connection persists."""


def is_bodiless(method: str, status: int) -> bool:
    """Whether the answer has no body, whatever its fields say (RFC 9112, section 6.3)."""
    return method == "HEAD" or status in (204, 304) or status < 200


def plan(
    status: int,
    headers: Headers,
    *,
    method: str,
    request_version: str,
    keep_alive: bool,
    body_length: int | None,
) -> tuple[Framing, bool]:
    """How an answer is framed and whether the connection persists after it.

    Args:
        headers: the handler's; its Content-Length and "Connection: close" are heard.
        keep_alive: what the request allows.
        body_length: bytes of a whole body; None for one that is streamed.

    Raises:
        ValueError: a Content-Length that is malformed, repeated or not the body's.
    """
    length: int | None = None
    for name, value in headers:
        if name == b"content-length":
            if length is not None or not value.isdigit():
                raise ValueError("the answer's Content-Length is repeated or not a plain number")
            length = int(value)
        elif name == b"connection" and b"close" in elements([value]):
            keep_alive = False
    if status < 200 or status == 204:
        return NO_BODY, keep_alive
    if method == "HEAD" or status == 304:
        # What a GET would have got, where it is known: RFC 9110, section 8.6.
        if length is None and method == "HEAD" and status != 304:
            length = body_length
        return (NO_BODY if length is None else length), keep_alive
    if body_length is not None:
        if length is not None and length != body_length:
            raise ValueError("the answer's Content-Length is not the length of its body")
        return body_length, keep_alive
    if length is not None:
        return length, keep_alive
    if request_version == "1.0":
        return UNTIL_CLOSE, False
    return CHUNKED, keep_alive


def head_bytes(
    status: int,
    headers: Headers,
    *,
    request_version: str,
    keep_alive: bool,
    framing: Framing,
    date: bytes,
    server: bytes,
) -> bytes:
    """The head of a final answer or of 101, its empty line included.

    Args:
        headers: the handler's; a Date or Server among them replaces the server's own.
        framing, keep_alive: as `plan` said; UNTIL_CLOSE never keeps alive.
        date: value of Date, as RFC 9110, section 5.6.7, writes it; empty for none.
        server: value of Server; empty for none.

    Raises:
        ValueError: a field that would break the head, or a status outside 100 to 999.
    """
    parts = [b""]
    for field in headers:
        line = lines.get(field)
        if line is None:
            name, line = line_of(field)
            if name == b"date":
                date = b""
            elif name == b"server":
                server = b""
        parts.append(line)
    if framing >= 0:
        parts.append(b"content-length: %d\r\n" % framing)
    elif framing == CHUNKED:
        parts.append(b"transfer-encoding: chunked\r\n")
    elif framing == UNTIL_CLOSE:
        keep_alive = False
    if date:
        parts += b"date: ", date, b"\r\n"
    if server:
        parts += b"server: ", server, b"\r\n"
    parts.append(_CONNECTION[request_version, keep_alive])
    try:
        parts[0] = STATUS_LINES[status]
    except KeyError:
        raise ValueError("a status is a number from 100 to 999") from None
    return b"".join(parts)


def interim_bytes(status: int, headers: Headers) -> bytes:
    """The head of an interim answer, such as 103 (RFC 9110, section 15.2)."""
    if not 100 <= status < 200 or status == 101:
        raise ValueError("an interim answer has a status from 100 to 199, not 101")
    return b"".join([STATUS_LINES[status], *(line_of(field)[1] for field in headers), b"\r\n"])


def chunk(data: bytes) -> bytes:
    """data as one chunk; nothing for no data, because an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Headers = ()) -> bytes:
    """The end of a chunked body.

    Raises:
        ValueError: a trailer that would break the framing or must not be one (section 7.1.2).
    """
    if not trailers:
        return LAST_CHUNK
    parts = [b"0\r\n"]
    for field in trailers:
        if field[0].lower() in FORBIDDEN_IN_TRAILERS:
            raise ValueError("this field cannot be a trailer: " + field[0].decode("latin-1"))
        parts.append(line_of(field)[1])
    parts.append(b"\r\n")
    return b"".join(parts)


def refusal_bytes(
    refusal: Refusal, *, date: bytes = b"", server: bytes = b"", headers: Headers = ()
) -> bytes:
    """The whole answer to a refused stream: the reason as text, and the connection closes.

    Args:
        headers: more fields, such as Retry-After.
    """
    body = refusal.reason.encode() + b"\n"
    head = head_bytes(
        refusal.status,
        [(b"content-type", b"text/plain; charset=utf-8"), *headers],
        request_version="1.1",
        keep_alive=False,
        framing=len(body),
        date=date,
        server=server,
    )
    return head + body


def line_of(field: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Lower-cased name and checked line of one field; empty lines for those written elsewhere."""
    raw_name, value = field
    name = raw_name.lower()
    if not is_token(name):
        raise ValueError("a field name of the answer is not a token")
    if value.translate(None, FIELD_BYTES):
        raise ValueError(
            "a field value of the answer has control characters: " + name.decode("ascii")
        )
    if name in (b"content-length", b"transfer-encoding"):
        return name, b""
    if name == b"connection":
        kept = [option for option in elements([value]) if option not in (b"close", b"keep-alive")]
        return name, b"connection: %b\r\n" % b", ".join(kept) if kept else b""
    line = b"%b: %b\r\n" % (raw_name, value.strip(OWS))
    if name in _OFTEN_THE_SAME and len(line) <= LINE_MAX_BYTES:
        if len(lines) >= LINES_MAX:
            lines.clear()
        lines[field] = line
    return name, line
