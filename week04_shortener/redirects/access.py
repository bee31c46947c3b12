"""Access lines of redirects: made in one step, gathered, and written together by a thread.

The plumbing's line takes longer than a whole redirect, so redirects have their own, in the same
form. One field is missing on purpose: no visitor's address is stored, here neither.

Lines wait in memory for `FLUSH_S` at most, or until there are `BUFFER_BYTES` of them, and are
written when the process ends. A thread writes them, so that whoever reads the log slowly holds up
no redirect; one who does not read at all costs lines. A process that is killed loses the lines it
holds. Of its clicks it loses none: they are not an access log's to keep.
"""

import asyncio
import queue
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Final, Protocol

import orjson

FLUSH_S: Final = 0.05
BUFFER_BYTES: Final = 64 * 1024
WAITING_BUFFERS: Final = 64
"""Full buffers, 4 MiB, that wait for the thread; more are lost, and counted."""
CLOSE_S: Final = 2.0
"""How long the end of the process waits for a reader that has fallen behind."""

PIECE_BYTES: Final = 4096
"""What is written at once: no other thread's line gets into it on a pipe (PIPE_BUF, pipe(7))."""

ROUTE: Final = "/{code}"

_FORM: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class Sink(Protocol):
    """Where lines go, such as the sink of the service's log."""

    lost_lines: int

    def write_lines(self, lines: bytes) -> None: ...


class AccessLog:
    """Writes a line for each redirect to `sink`, unless lines of that level are not `wanted`."""

    def __init__(self, sink: Sink, *, service: str, wanted: bool = True) -> None:
        self._sink = sink
        self._service = service
        self._wanted = wanted
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._buffers: queue.Queue[list[bytes] | None] = queue.Queue(WAITING_BUFFERS)
        self._thread: threading.Thread | None = None

    def write(
        self,
        at: datetime,
        request_id: str,
        method: str,
        path: str,
        status: int | str,
        seconds: float,
    ) -> None:
        """Note a request that came `at` and was answered within `seconds`. Never waits."""
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
        """Hand what waits to the thread."""
        if not self._waiting:
            return
        lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
            self._thread.start()
        try:
            self._buffers.put_nowait(lines)
        except queue.Full:
            self._sink.lost_lines += len(lines)

    def close(self) -> None:
        """Write what waits, for `CLOSE_S` at most. Call it when the process ends."""
        self.flush()
        if self._thread is None:
            return
        try:
            self._buffers.put(None, timeout=CLOSE_S)
        except queue.Full:
            return
        self._thread.join(CLOSE_S)
        self._thread = None

    def _run(self) -> None:
        while (lines := self._buffers.get()) is not None:
            for piece in _pieces(lines):
                self._sink.write_lines(piece)


def _pieces(lines: list[bytes]) -> Iterator[bytes]:
    """The lines joined, as many at a time as fit into a piece."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        if size + len(line) > PIECE_BYTES and held:
            yield b"".join(held)
            held, size = [], 0
        held.append(line)
        size += len(line)
    yield b"".join(held)
