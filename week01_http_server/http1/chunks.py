"""Chunked bodies and trailers, taken apart in whatever pieces they come: RFC 9112, section 7.1."""

from __future__ import annotations

import re
from collections.abc import Callable

from week01_http_server.http1.grammar import TOKEN_PATTERN, RefusedError
from week01_http_server.http1.head import line_end, parse_field
from week01_http_server.settings import Limits

FORBIDDEN_IN_TRAILERS = frozenset(
    b"age authorization cache-control connection content-encoding content-length content-range "
    b"content-type cookie date expect expires host if-match if-modified-since if-none-match "
    b"if-range if-unmodified-since keep-alive location max-forwards pragma proxy-authenticate "
    b"proxy-authorization proxy-connection range retry-after set-cookie te trailer "
    b"transfer-encoding upgrade vary www-authenticate".split()
)
"""Framing, routing, modifiers, authentication: RFC 9110, section 6.5.1. They are dropped."""

EXTENSIONS_MAX_LINES = 16
"""All extensions of one body may take as much as this many longest chunk lines."""

_TRAILERS_TOO_LARGE = "the trailers are too large or too many"

# Single classes are repeated possessively, so that no line costs more than its length; groups are
# not: CPython 3.11's possessive repetition of a group can match where it must not.
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16}+)"
    rb"(?:[ \t]*+;[ \t]*+" + TOKEN_PATTERN + rb"(?:[ \t]*+=[ \t]*+(?:" + TOKEN_PATTERN + rb'|"'
    rb'(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]++|\\[\t \x21-\x7e\x80-\xff])*"))?)*'
)

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkReader:
    """One chunked body.

    Attributes:
        done: whether the body and its trailers are complete.
        trailers: the allowed ones, in order, names lower-cased.
    """

    __slots__ = ("_extensions", "_left", "_limits", "_size", "_state", "_total", "trailers")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._state = _SIZE
        self._left = 0  # bytes of the current chunk still to come
        self._total = 0  # bytes announced by all chunks so far
        self._extensions = 0  # bytes spent on extensions so far
        self._size = 0  # bytes of the trailer section so far
        self.trailers: list[tuple[bytes, bytes]] = []

    @property
    def done(self) -> bool:
        return self._state == _DONE

    def read(self, data: bytes, start: int, on_data: Callable[[bytes], None]) -> int:
        """Takes what is complete of data from start on, up to one piece of the body for on_data.

        Returns:
            The offset up to which data was taken; the next call begins with what follows.

        Raises:
            RefusedError: 400 for bad framing, 413 for the body's and 431 for the trailers' size.
        """
        while self._state != _DONE and start < len(data):
            before = start, self._state
            if self._state == _DATA:
                piece = data[start : start + self._left]
                start += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _DATA_END
                on_data(piece)
                break  # the sink may have had enough
            elif self._state == _SIZE:
                start = self._size_line(data, start)
            elif self._state == _DATA_END:
                start = self._data_end(data, start)
            else:
                start = self._trailer_line(data, start)
            if (start, self._state) == before:
                break
        return start

    def _size_line(self, data: bytes, start: int) -> int:
        room = self._limits.chunk_line_max_bytes
        end = line_end(data, start, room, 400, "a chunk's size line is too long")
        if end < 0:
            return start
        match = _SIZE_LINE.fullmatch(data, start, end - 1)
        if match is None:
            raise RefusedError(400, "a chunk's size line is malformed")
        self._left = int(match[1], 16)
        self._total += self._left
        self._extensions += end - 1 - match.end(1)
        if self._extensions > EXTENSIONS_MAX_LINES * self._limits.chunk_line_max_bytes:
            raise RefusedError(400, "too many chunk extensions")
        if self._limits.body_max_bytes and self._total > self._limits.body_max_bytes:
            raise RefusedError(413, "the body is too large")
        self._state = _DATA if self._left else _TRAILERS
        return end + 1

    def _data_end(self, data: bytes, start: int) -> int:
        found = data[start : start + 2]
        if found == b"\r":
            return start
        if found != b"\r\n":
            raise RefusedError(400, "a chunk's data does not end with CRLF")
        self._state = _SIZE
        return start + 2

    def _trailer_line(self, data: bytes, start: int) -> int:
        room = self._limits.trailers_max_bytes - self._size
        end = line_end(data, start, room, 431, _TRAILERS_TOO_LARGE)
        if end < 0:
            return start
        self._size += end + 1 - start
        if end - 1 == start:
            self._state = _DONE
            return end + 1
        field = parse_field(data[start : end - 1])
        if field[0] not in FORBIDDEN_IN_TRAILERS:
            self.trailers.append(field)
            if len(self.trailers) > self._limits.headers_max:
                raise RefusedError(431, _TRAILERS_TOO_LARGE)
        return end + 1
