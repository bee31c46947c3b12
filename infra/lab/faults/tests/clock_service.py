"""`python -m infra.lab.faults.tests.clock_service PORT`: dates its answers by the skewed clock."""

from __future__ import annotations

import http.server
import os
import sys

from infra.service.clock import OffsetClock

CLOCK = OffsetClock.of(os.environ)


class _Handler(http.server.BaseHTTPRequestHandler):
    def date_time_string(self, timestamp: float | None = None) -> str:
        """As it stands in the Date header."""
        return super().date_time_string(CLOCK.time() if timestamp is None else timestamp)

    def do_GET(self) -> None:
        """204 with a date."""
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
