"""What a request's fields decide: body length, persistence, expectations, upgrades.

RFC 9112, section 6 (message body) and 9 (connections); RFC 9110, section 7.2, 7.8 and 10.1.1.
"""

from __future__ import annotations

from collections.abc import Mapping

from week01_http_server.http1.grammar import RefusedError, elements, is_token
from week01_http_server.http1.targets import is_host

DECISIVE = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"expect",
        b"upgrade",
    }
)
"""The fields that decide; no other field changes what the core does."""

CONTENT_LENGTH_DIGITS_MAX = 18

Decisive = Mapping[bytes, list[bytes]]
"""Values of the decisive fields, in order, for each name that was there."""


def host_of(fields: Decisive, version: str) -> bytes:
    """The one valid Host value; empty where HTTP/1.0 sent none (RFC 9112, section 3.2)."""
    values = fields.get(b"host", [])
    if not values:
        if version == "1.0":
            return b""
        raise RefusedError(400, "the Host field is missing")
    if len(values) > 1:
        raise RefusedError(400, "there is more than one Host field")
    if not is_host(values[0]):
        raise RefusedError(400, "the Host field is not valid")
    return values[0]


def content_length_of(fields: Decisive) -> int | None:
    """The announced size in bytes; lists are refused, also of equal ones (section 6.3)."""
    values = fields.get(b"content-length")
    if values is None:
        return None
    if len(values) > 1:
        raise RefusedError(400, "there is more than one Content-Length field")
    # bytes.isdigit knows ASCII alone; int() would take "+1", "1_0" and " 1" too.
    if not values[0].isdigit():
        raise RefusedError(400, "Content-Length is not a plain number")
    digits = values[0].lstrip(b"0")
    if len(digits) > CONTENT_LENGTH_DIGITS_MAX:
        raise RefusedError(413, "Content-Length is larger than any body served here")
    return int(digits or b"0")


def is_chunked(fields: Decisive, version: str) -> bool:
    """Whether the body is chunked; any other transfer coding is refused (section 6.1)."""
    values = fields.get(b"transfer-encoding")
    if values is None:
        return False
    if version == "1.0":
        raise RefusedError(400, "Transfer-Encoding in HTTP/1.0")
    if b"content-length" in fields:
        raise RefusedError(400, "both Transfer-Encoding and Content-Length")
    codings = elements(values)
    if not all(is_token(coding) for coding in codings):
        raise RefusedError(400, "Transfer-Encoding is malformed")
    if b"chunked" in codings[:-1]:
        raise RefusedError(400, "chunked is not the last transfer coding, or is there twice")
    if codings != [b"chunked"]:
        raise RefusedError(501, "a transfer coding other than chunked")
    return True


def expects_continue(fields: Decisive, version: str) -> bool:
    """Whether the client waits for 100; another expectation is 417 (RFC 9110, 10.1.1)."""
    values = fields.get(b"expect")
    if values is None or version == "1.0":
        return False
    if any(element != b"100-continue" for element in elements(values)):
        raise RefusedError(417, "an expectation other than 100-continue")
    return True


def connection_options(fields: Decisive) -> list[bytes]:
    """The members of Connection, lower-cased (RFC 9110, section 7.6.1)."""
    values = fields.get(b"connection")
    return [] if values is None else elements(values)


def keeps_alive(options: list[bytes], version: str) -> bool:
    """Whether another request may follow (RFC 9112, section 9.3); "close" beats all."""
    if b"close" in options:
        return False
    return version == "1.1" or b"keep-alive" in options


def upgrade_of(fields: Decisive, options: list[bytes], version: str) -> bytes | None:
    """The protocol asked for, lower-cased; not in HTTP/1.0 (RFC 9110, section 7.8)."""
    if version == "1.0" or b"upgrade" not in options or b"upgrade" not in fields:
        return None
    return elements(fields[b"upgrade"])[0] or None
