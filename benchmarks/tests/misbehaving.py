"""A server that misbehaves on purpose, in a thread and an event loop of its own.

The path says how: `/ok`, `/status/503`, `/stall/SECONDS`, ... Every accepted request is counted,
so that the client's counts can be held against what really came.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator

RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

_ANSWERS = {
    "ok": RIGHT,
    "wrong-body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo",
    "short": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
    "short-head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "short-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "until-close": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "no-http": b"220 mail.example ESMTP\r\n",
    "too-much": RIGHT + b"and more",
    "head": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "large": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000,
    "long-head": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000,
    "fin": b"",
    "close": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    "idle-close": RIGHT,
}
_CLOSED_AFTER = {"short", "short-head", "short-chunks", "until-close", "fin", "close", "idle-close"}


class Server:
    """Runs between `start` and `stop`."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.requests: Counter[str] = Counter()
        self.connections = 0
        self.keys: list[str] = []
        """Values of the X-Key header of carried-out requests, in order."""
        self.gate_s: tuple[float, float] | None = None
        """(from, until) in the loop's time: no answer leaves in between."""

    def start(self) -> None:
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10), "the server did not start"

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the server did not stop"

    def hold(self, after_s: float, for_s: float) -> None:
        """Begin to hold all answers back in `after_s` seconds, for `for_s` seconds."""
        begin = self.loop.time() + after_s
        self.gate_s = (begin, begin + for_s)

    def _run(self, started: threading.Event) -> None:
        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            self._stopped = asyncio.Event()
            self._writers: set[asyncio.StreamWriter] = set()
            server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await self._stopped.wait()
            server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.sleep(0)

        asyncio.run(serve())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._request(reader, writer):
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *headers = head.split("\r\n")
        kind, *words = line.split(" ")[1].strip("/").split("/")
        self.requests[kind] += 1
        fields = dict(one.lower().split(": ", 1) for one in headers if one)
        await reader.readexactly(int(fields.get("content-length", 0)))
        if kind == "fail-first" and self.requests[kind] <= int(words[0]):
            kind, words = words[1], words[2:]
        await self._hold()
        if "x-key" in fields:
            self.keys.append(fields["x-key"])
        if kind == "stall":
            await asyncio.sleep(float(words[0]))
        elif kind == "interim":
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            await asyncio.sleep(0.01)
        elif kind == "rst":
            _reset(writer)
            return False
        elif kind == "status":
            writer.write(f"HTTP/1.1 {words[0]} x\r\nContent-Length: 0\r\n\r\n".encode())
            return True
        writer.write(_ANSWERS.get(kind, RIGHT))
        if kind == "stray":
            self.loop.call_later(0.05, writer.write, b"nobody asked")
        return kind not in _CLOSED_AFTER

    async def _hold(self) -> None:
        if self.gate_s is not None:
            begin, end = self.gate_s
            now = self.loop.time()
            if begin <= now < end:
                await asyncio.sleep(end - now)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close by RST instead of FIN (SO_LINGER with time 0, socket(7))."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A running server, stopped at the end."""
    server = Server()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses: bound, so nobody else takes it, but nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
