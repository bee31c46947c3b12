"""Access lines of redirects: made in one step, gathered, and written together.

The plumbing's line takes longer than a whole redirect, so redirects have their own, in the same
form. One field is missing on purpose: no visitor's address is stored, here neither.

Lines wait in memory for `FLUSH_S` at most, or until there are `BUFFER_BYTES` of them, and are
written when the process ends. A process that is killed loses the lines it holds. Of its clicks it
loses none: they are not an access log's to keep.
"""

import asyncio
from datetime import datetime
from typing import Final, Protocol

import orjson

FLUSH_S: Final = 0.05
BUFFER_BYTES: Final = 64 * 1024

ROUTE: Final = "/{code}"

_FORM: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class Lines(Protocol):
    """Where lines go, such as the sink of the service's log."""

    def write_lines(self, lines: bytes) -> None: ...


class AccessLog:
    """Writes a line for each redirect to `sink`, unless lines of that level are not `wanted`."""

    def __init__(self, sink: Lines, *, service: str, wanted: bool = True) -> None:
        self._sink = sink
        self._service = service
        self._wanted = wanted
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def write(
        self,
        at: datetime,
        request_id: str,
        method: str,
        path: str,
        status: int | str,
        seconds: float,
    ) -> None:
        """Note a request that came `at` and was answered within `seconds`."""
        if not self._wanted:
            return
        line = orjson.dumps(
            {
                "timestamp": at,
                "level": "info",
                "service": self._service,
                "event": "request",
                "request_id": request_id,
                "method": method,
                "path": path,
                "route": ROUTE,
                "status": status,
                "duration_ms": round(seconds * 1000, 3),
            },
            option=_FORM,
        )
        if not self._waiting:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if self._waiting_bytes >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Call it when the process ends."""
        if self._waiting:
            lines = b"".join(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            self._sink.write_lines(lines)
