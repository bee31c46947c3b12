"""The character classes of RFC 9110 (section 5) as tables, and the one way to say no.

`bytes.translate(None, TABLE)` deletes every allowed byte in C: what is left over is forbidden.
"""

from __future__ import annotations

import re

from week01_http_server.messages import Refusal

TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""tchar of RFC 9110, section 5.6.2."""

VCHAR = bytes(range(0x21, 0x7F))
"""Visible ASCII characters."""

FIELD_BYTES = b"\t " + VCHAR + bytes(range(0x80, 0x100))
"""What may stand in a field value: RFC 9110, section 5.5."""

OWS = b" \t"

TOKEN_PATTERN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
TOKEN = re.compile(TOKEN_PATTERN)


class RefusedError(Exception):
    """Raised within the core where bytes are no acceptable request; never leaves it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(status, reason)


def is_token(data: bytes) -> bool:
    """Whether data is a token (RFC 9110, section 5.6.2)."""
    return bool(data) and not data.translate(None, TCHAR)


def elements(values: list[bytes]) -> list[bytes]:
    """The members of a comma-separated list over all its field lines, lower-cased.

    Empty members are kept, for the caller to judge (RFC 9110, section 5.6.1).
    """
    return [element.strip(OWS).lower() for value in values for element in value.split(b",")]
