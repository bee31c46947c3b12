"""A request head, judged line by line: RFC 9112, sections 2 to 5.

This is the exact judge: it takes a head in any pieces, and it finds the first fault at the byte
where the line with it ends, so that its verdict does not depend on how the bytes were split.
"""

from __future__ import annotations

import re

from week01_http_server.http1 import framing
from week01_http_server.http1.grammar import (
    FIELD_BYTES,
    OWS,
    TCHAR,
    TOKEN_PATTERN,
    RefusedError,
)
from week01_http_server.http1.targets import split_target
from week01_http_server.messages import Request
from week01_http_server.settings import Limits

EMPTY_LINES_MAX = 4
"""Empty lines tolerated before a request line: RFC 9112, section 2.2, asks for at least one."""

_REQUEST_LINE = re.compile(rb"(" + TOKEN_PATTERN + rb") ([^\x00-\x20]++) HTTP/([0-9])\.([0-9])")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_HEAD_TOO_LARGE = "the head is too large or has too many fields"
_LF = 0x0A
_CR = 0x0D


def line_end(data: bytes, start: int, room: int, status: int, reason: str) -> int:
    """Offset of the LF that ends the line at start; -1 where it is not there yet.

    The first fault in stream order decides, so that the verdict is the same however the bytes
    were split: a line without LF within its room, or an LF without CR.

    Args:
        room: bytes that the line may take with its CRLF; without an LF in them, status and
            reason say why it is refused.

    Raises:
        RefusedError: also 400 for an LF without CR (RFC 9112, section 2.2, lets a server do so).
    """
    end = data.find(b"\n", start, start + room) if room > 0 else -1
    if end < 0:
        if len(data) - start >= room:
            raise RefusedError(status, reason)
    elif end == start or data[end - 1] != _CR:
        raise RefusedError(400, "a line ends in LF without CR")
    return end


def parse_field(line: bytes) -> tuple[bytes, bytes]:
    """Lower-cased name and value of one field line without its CRLF (RFC 9112, section 5)."""
    name, colon, value = line.partition(b":")
    if name.translate(None, TCHAR) or not name or not colon:
        raise RefusedError(400, _fault_in_name(name, colon))
    value = value.strip(OWS)
    if value.translate(None, FIELD_BYTES):
        raise RefusedError(400, _fault_in_value(value))
    return name.lower(), value


def _fault_in_name(name: bytes, colon: bytes) -> str:
    if name[:1] in (b" ", b"\t"):
        return "a field line begins with whitespace (obsolete line folding)"
    if b"\r" in name:
        return "a CR without LF in the head"
    if not colon:
        return "a field line without colon"
    if not name:
        return "a field without name"
    if name[-1:] in (b" ", b"\t"):
        return "whitespace between field name and colon"
    return "a field name is not a token"


def _fault_in_value(value: bytes) -> str:
    if b"\r" in value:
        return "a CR without LF in the head"
    if b"\0" in value:
        return "a NUL in a field value"
    return "a control character in a field value"


def parse_request_line(line: bytes) -> tuple[str, bytes, str]:
    """Method, target and version ("1.1" or "1.0") of a line without its CRLF (section 3).

    A minor version above 1 is treated as 1.1, as RFC 9110, section 2.5, asks.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _fault_in_request_line(line)
    method, target, major, minor = match.groups()
    if major != b"1":
        raise RefusedError(505, "a version of HTTP other than 1.0 and 1.1")
    return method.decode("ascii"), target, "1.0" if minor == b"0" else "1.1"


def _fault_in_request_line(line: bytes) -> RefusedError:
    if b"\r" in line:
        return RefusedError(400, "a CR without LF in the head")
    parts = line.split(b" ")
    if len(parts) != 3 or not all(parts):
        return RefusedError(400, "the request line is not: method, space, target, space, version")
    if parts[0].translate(None, TCHAR):
        return RefusedError(400, "the method is not a token")
    if _VERSION.fullmatch(parts[2]) is None:
        return RefusedError(400, "the HTTP version is malformed")
    return RefusedError(400, "the request target has control or non-ASCII characters")


class HeadReader:
    """Takes one head after the other from a stream, in whatever pieces it comes.

    Attributes:
        begun: whether a byte of the next request line was taken; empty lines do not count.
        fresh: whether nothing was taken yet, not even an empty line.
    """

    __slots__ = (
        "_decisive",
        "_empty_lines",
        "_fields",
        "_limits",
        "_line",
        "_parts",
        "_size",
        "begun",
        "fresh",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.begun = False
        self.fresh = True
        self._empty_lines = 0
        self._size = 0
        self._line: tuple[str, bytes, str] | None = None
        self._parts: tuple[bytes, bytes, bytes | None] | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._decisive: dict[bytes, list[bytes]] = {}

    def read(self, data: bytes, start: int) -> tuple[int, Request | None]:
        """Takes whole lines from data, which begins where the last call stopped.

        Returns:
            The offset up to which data was taken, and the request once its head is complete.

        Raises:
            RefusedError: with the status that says why.
        """
        if self._line is None:
            start = self._request_line(data, start)
            if self._line is None:
                return start, None
        limits = self._limits
        while True:
            end = line_end(data, start, limits.head_max_bytes - self._size, 431, _HEAD_TOO_LARGE)
            if end < 0:
                return start, None
            self._size += end + 1 - start
            if end - 1 == start:
                return end + 1, self._finish()
            self._field(data[start : end - 1])
            start = end + 1

    def _request_line(self, data: bytes, start: int) -> int:
        limit = self._limits.request_line_max_bytes
        while start < len(data):
            first = data[start]
            if not self.begun and first == _CR:
                if start + 1 == len(data):
                    return start
                if data[start + 1] == _LF:
                    self.fresh = False
                    self._empty_lines += 1
                    if self._empty_lines > EMPTY_LINES_MAX:
                        raise RefusedError(400, "too many empty lines before a request")
                    start += 2
                    continue
            if first not in TCHAR and first != _LF:
                # Judged at its first byte: TLS on a plain port gets its answer at once.
                raise RefusedError(400, "the request line does not begin with a method")
            self.begun = True
            self.fresh = False
            end = line_end(data, start, limit, 414, "the request line is too long")
            if end < 0:
                return start
            self._line = parse_request_line(data[start : end - 1])
            self._parts = split_target(*self._line[:2])
            self._size = end + 1 - start
            return end + 1
        return start

    def _field(self, line: bytes) -> None:
        field = parse_field(line)
        self._fields.append(field)
        if len(self._fields) > self._limits.headers_max:
            raise RefusedError(431, _HEAD_TOO_LARGE)
        if field[0] in framing.DECISIVE:
            self._decisive.setdefault(field[0], []).append(field[1])

    def _finish(self) -> Request:
        assert self._line is not None and self._parts is not None
        request = build_request(
            self._line, self._parts, self._fields, self._decisive, self._limits.body_max_bytes
        )
        self.begun = False
        self.fresh = True
        self._empty_lines = 0
        self._line = None
        self._fields = []
        self._decisive = {}
        return request


def build_request(
    line: tuple[str, bytes, str],
    parts: tuple[bytes, bytes, bytes | None],
    headers: list[tuple[bytes, bytes]],
    decisive: framing.Decisive,
    body_max_bytes: int,
) -> Request:
    """The request that a grammatical head stands for, once its fields agree with each other.

    Args:
        line: as `parse_request_line` gives it.
        parts: as `split_target` gives them.
        decisive: the values of those of the headers that decide.

    Raises:
        RefusedError: they contradict each other or what is served here.
    """
    method, target, version = line
    path, query, authority = parts
    host = framing.host_of(decisive, version)
    chunked = framing.is_chunked(decisive, version)
    length = framing.content_length_of(decisive)
    if length is not None and body_max_bytes and length > body_max_bytes:
        raise RefusedError(413, "the announced body is too large")
    has_body = chunked or bool(length)
    keep_alive = version == "1.1"
    expects_continue = False
    upgrade = None
    if len(decisive) > (b"host" in decisive) + (length is not None):
        options = framing.connection_options(decisive)
        keep_alive = framing.keeps_alive(options, version)
        expects_continue = framing.expects_continue(decisive, version) and has_body
        upgrade = framing.upgrade_of(decisive, options, version)
    return Request(
        method,
        target,
        path,
        query,
        host if authority is None else authority,
        version,
        headers,
        keep_alive,
        has_body,
        length,
        expects_continue,
        upgrade,
    )
