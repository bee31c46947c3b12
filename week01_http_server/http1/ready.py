"""Whole answers of the common kind, built from parts that are ready: RFC 9112, sections 4 and 6.

The common kind is a whole body with a status that has one, to a request of HTTP/1.1 other than
HEAD, on a connection that persists. `responses` says how every other answer is written, and what
is wrong with one that cannot be; here is only what it takes to write this kind quickly.
"""

from __future__ import annotations

from typing import Final

from week01_http_server.http1 import responses
from week01_http_server.messages import Headers

WRITTEN_ELSEWHERE: Final = frozenset(
    {b"connection", b"content-length", b"date", b"server", b"transfer-encoding"}
)
"""Fields that change what the server writes itself."""

WITH_BODY: Final = {
    status: line
    for status, line in responses.STATUS_LINES.items()
    if status >= 200 and not responses.is_bodiless("", status)
}


class ReadyAnswers:
    """Writes such answers; the end of their heads is the same as long as the date is.

    Args:
        server: value of Server; empty for none.
    """

    __slots__ = ("_date", "_end", "_server")

    def __init__(self, server: bytes) -> None:
        self._server = server
        self._date = b""
        self._end = b""

    def write(self, status: int, headers: Headers, body: bytes, date: bytes) -> bytes | None:
        """Head and body; None where `responses` has to decide or to refuse.

        Raises:
            ValueError: a field that would break the head.
        """
        if date is not self._date:
            self._change_date(date)
        status_line = WITH_BODY.get(status)
        if status_line is None:
            return None
        parts = [status_line]
        lines = responses.lines
        for field in headers:
            line = lines.get(field)
            if line is None:
                name, value = field
                if name == b"content-length":
                    if value != b"%d" % len(body):
                        return None
                    continue
                name, line = responses.line_of(field)
                if name in WRITTEN_ELSEWHERE:
                    return None
            parts.append(line)
        parts += b"content-length: %d\r\n" % len(body), self._end, body
        return b"".join(parts)

    def _change_date(self, date: bytes) -> None:
        head = responses.head_bytes(
            200,
            (),
            request_version="1.1",
            keep_alive=True,
            framing=responses.NO_BODY,
            date=date,
            server=self._server,
        )
        self._end = head.removeprefix(WITH_BODY[200])
        self._date = date
