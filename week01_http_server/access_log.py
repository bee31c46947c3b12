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

from week01_http_server.exchange import Peer
from week01_http_server.journal import Entry
from week01_http_server.messages import Request
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
        self._queue: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, lines: list[str]) -> None:
        """Take lines of ASCII, each with its newline; returns at once."""
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

    def _pieces(self, lines: list[str]) -> list[tuple[bytes, int]]:
        """Whole lines together; to a pipe no more at once than stay in one piece."""
        if self._is_file:
            return [("".join(lines).encode(), len(lines))]
        pieces: list[tuple[bytes, int]] = []
        held: list[str] = []
        size = 0
        for line in lines:
            if held and size + len(line) > LINE_MAX_BYTES:
                pieces.append(("".join(held).encode(), len(held)))
                held, size = [], 0
            held.append(line)
            size += len(line)
        pieces.append(("".join(held).encode(), len(held)))
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

    Each line has time (UTC, end of the answer), client, method, target, status (0: the client left
    before its answer was begun), bytes (written, head included), duration_ms (from the end of the
    request's head), request_id (of X-Request-ID) and user_agent; what is not known is null.
    """

    def __init__(self, write: Callable[[list[str]], None], trust: Trust) -> None:
        self._write = write
        self._trust = trust
        self._trusts = bool(trust)
        self._stamped_ms = -1
        self._stamp = ""

    def __call__(self, batch: Sequence[Entry]) -> None:
        self._write([self._line(*entry) for entry in batch])

    def _line(
        self,
        request: Request | None,
        peer: Peer,
        status: int,
        size: int,
        seconds: float,
        when: float,
    ) -> str:
        now_ms = int(when * 1000)
        if now_ms != self._stamped_ms:  # under load many answers share a millisecond
            self._stamped_ms = now_ms
            second, rest_ms = divmod(now_ms, 1000)
            day = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._stamp = f'{{"time":"{day}.{rest_ms:03d}Z","client":'
        client = peer.client
        if request is None:
            return (
                f'{self._stamp}{_host(client)},"method":null,"target":null,"status":{status},'
                f'"bytes":{size},"duration_ms":{seconds * 1000:.3f},'
                '"request_id":null,"user_agent":null}\n'
            )
        if self._trusts:
            client = self._trust.origin(client, request.headers).client or client
        fields = dict(request.headers)
        request_id = fields.get(b"x-request-id")
        line = (
            f'{self._stamp}{_host(client)},"method":{_method(request.method)},'
            f'"target":{_quoted(request.target.decode("latin-1"))},"status":{status},'
            f'"bytes":{size},"duration_ms":{seconds * 1000:.3f},"request_id":'
            f"{'null' if request_id is None else _text(request_id)},"
            f'"user_agent":{_agent(fields.get(b"user-agent"))}}}\n'
        )
        if len(line) <= LINE_MAX_BYTES:
            return line
        return self._cut(request, client, status, size, seconds)

    def _cut(
        self,
        request: Request,
        client: tuple[str, int] | None,
        status: int,
        size: int,
        seconds: float,
    ) -> str:
        """A line with the beginnings of its texts, where whole ones are too long."""
        fields = dict(request.headers)
        request_id, agent = (
            value and value[:TEXT_MAX_BYTES]
            for value in (fields.get(b"x-request-id"), fields.get(b"user-agent"))
        )
        return (
            f'{self._stamp}{_host(client)},"method":{_quoted(request.method[:TEXT_MAX_BYTES])},'
            f'"target":{_text(request.target[:TEXT_MAX_BYTES])},"status":{status},'
            f'"bytes":{size},"duration_ms":{seconds * 1000:.3f},"request_id":{_text(request_id)},'
            f'"user_agent":{_text(agent)},"cut":true}}\n'
        )


@lru_cache(maxsize=64)
def _method(value: str) -> str:
    return _quoted(value)


def _text(value: bytes | None) -> str:
    return "null" if value is None else _quoted(value.decode("latin-1"))


@lru_cache(maxsize=256)
def _agent(value: bytes | None) -> str:
    """Few browsers make most requests; long oddities are not worth keeping."""
    return _text(value)


def _host(client: tuple[str, int] | None) -> str:
    """A unix socket's clients have no address."""
    return "null" if client is None else _address(client[0])


@lru_cache(maxsize=1024)
def _address(host: str) -> str:
    """Of a PROXY header's unix path only the beginning, which may hold anything."""
    return _quoted(host[:TEXT_MAX_BYTES])
