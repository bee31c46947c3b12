"""The access log: one line of JSON for each answer.

Every line is one object however hostile the request: text from outside passes through the JSON
encoder of the standard library, which escapes control characters, quotes and all that is not
ASCII. Lines are written by a thread, so that a slow reader of the log never holds up the loop;
one that does not read at all costs lines, not requests.
"""

from __future__ import annotations

import os
import queue
import select
import stat
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted

from week01_http_server.journal import Entry
from week01_http_server.transport.forwarded import Trust

LINE_MAX_BYTES = 4096
"""A longer line has its texts cut. Also PIPE_BUF of Linux: such a write(2) is not torn apart by
those of other workers on the same pipe (pipe(7))."""

TEXT_MAX_BYTES = 128
"""What is left of each text in a line that is too long: six characters for a byte at most."""

WAITING_MAX_BYTES = 8 * 1024 * 1024
"""Beyond it new lines are lost, and counted, until the reader catches up."""

CLOSE_S = 2.0
"""How long the end waits for a reader that has fallen behind."""


class LineWriter:
    """Writes whole lines to a descriptor, from a thread.

    Attributes:
        lost_lines: not written, because the reader was too slow or is gone.
    """

    def __init__(self, fd: int) -> None:
        self.lost_lines = 0
        self._fd = fd
        self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        self._waiting_bytes = 0
        self._queue: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, lines: list[bytes]) -> None:
        """Take lines, each with its newline; returns at once."""
        size = sum(map(len, lines))
        with self._lock:
            if self._waiting_bytes + size > WAITING_MAX_BYTES:
                self.lost_lines += len(lines)
                return
            self._waiting_bytes += size
        self._queue.put(lines)

    def close(self) -> None:
        """Write what waits, for `CLOSE_S` at most."""
        self._queue.put(None)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while (lines := self._queue.get()) is not None:
            for piece, count in self._pieces(lines):
                if not self._write(piece):
                    self.lost_lines += count
                with self._lock:
                    self._waiting_bytes -= len(piece)

    def _pieces(self, lines: list[bytes]) -> list[tuple[bytes, int]]:
        """Whole lines together; to a pipe no more at once than stay in one piece."""
        if self._is_file:
            return [(b"".join(lines), len(lines))]
        pieces: list[tuple[bytes, int]] = []
        held: list[bytes] = []
        size = 0
        for line in lines:
            if held and size + len(line) > LINE_MAX_BYTES:
                pieces.append((b"".join(held), len(held)))
                held, size = [], 0
            held.append(line)
            size += len(line)
        pieces.append((b"".join(held), len(held)))
        return pieces

    def _write(self, data: bytes) -> bool:
        left = memoryview(data)
        try:
            while left:
                try:
                    left = left[os.write(self._fd, left) :]
                except BlockingIOError:  # someone made the shared descriptor non-blocking
                    select.select([], [self._fd], [], 1.0)
        except OSError:  # the reader is gone, the disk is full: requests go on
            return False
        return True


class AccessLog:
    """A `journal.Reader` that writes a line for each answer.

    Args:
        write: is given whole lines (`LineWriter.write`).
        trust: whose word is taken for the client's address.

    Each line has time (UTC, end of the answer), client, method, target, status, bytes (written,
    head included), duration_ms (from the head's end), request_id (of X-Request-ID) and
    user_agent; what is not known is null.
    """

    def __init__(self, write: Callable[[list[bytes]], None], trust: Trust) -> None:
        self._write = write
        self._trust = trust
        self._second = -1
        self._stamp = ""

    def __call__(self, batch: Sequence[Entry]) -> None:
        self._write([self._line(entry) for entry in batch])

    def _line(self, entry: Entry) -> bytes:
        request, peer, status, size, seconds, when = entry
        second = int(when)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        head = f'{{"time":"{self._stamp}.{int((when - second) * 1000):03d}Z",'
        tail = f'"status":{status},"bytes":{size},"duration_ms":{seconds * 1000:.3f},'
        client = peer.client
        if request is None:
            return (
                f'{head}"client":{_host(client)},"method":null,"target":null,{tail}'
                '"request_id":null,"user_agent":null}\n'
            ).encode()
        if self._trust:
            client = self._trust.origin(client, request.headers).client or client
        fields = dict(request.headers)
        method, target = request.method, request.target
        request_id, agent = fields.get(b"x-request-id"), fields.get(b"user-agent")
        line = (
            f'{head}"client":{_host(client)},"method":{_quoted(method)},'
            f'"target":{_quoted(target.decode("latin-1"))},{tail}'
            f'"request_id":{_text(request_id)},"user_agent":{_agent(agent)}}}\n'
        ).encode()
        if len(line) <= LINE_MAX_BYTES:
            return line
        return (
            f'{head}"client":{_host(client)},"method":{_quoted(method[:TEXT_MAX_BYTES])},'
            f'"target":{_text(target[:TEXT_MAX_BYTES])},{tail}'
            f'"request_id":{_text(request_id and request_id[:TEXT_MAX_BYTES])},'
            f'"user_agent":{_text(agent and agent[:TEXT_MAX_BYTES])},"cut":true}}\n'
        ).encode()


def _text(value: bytes | None) -> str:
    return "null" if value is None else _quoted(value.decode("latin-1"))


@lru_cache(maxsize=256)
def _agent(value: bytes | None) -> str:
    """Few browsers make most requests; long oddities are not worth keeping."""
    return _text(value)


def _host(client: tuple[str, int] | None) -> str:
    """A unix socket's clients have no address; a path in a PROXY header may hold anything."""
    return "null" if client is None else _quoted(client[0])
