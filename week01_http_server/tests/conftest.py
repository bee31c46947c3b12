"""Fixtures for all of week 1's tests.

`serve` runs a `Server` in this process, on an event loop and a thread of its own, so that tests
may use blocking sockets:

    def test_it(serve):
        server = serve(Handlers(plain=lambda request: Response(200, body=b"hi")))
        with server.connect() as sock:              # a blocking socket with a timeout
            sock.sendall(b"GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n")
            assert read_answer(sock).body == b"hi"  # tests.talk

`serve(app, settings=..., ssl=..., unix=..., observer=..., preface=...)` may be called several
times; every server is closed at the end of the test, and the test fails when one logged an error
that `server.errors` was not emptied of. `server.call(coroutine)` runs a coroutine on the server's
loop and waits for it (`server.call(server.server.drain())`); `server.port`, `server.address`,
`server.state` and `server.loop` are what they say.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl as tls
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import uvloop

from week01_http_server.handlers import Application, Observer
from week01_http_server.server import Server
from week01_http_server.settings import Settings
from week01_http_server.state import PrefaceFactory, ServerState

T = TypeVar("T")

WAIT_S = 50.0  # of everything a test waits for: far more than any of it takes


class _Errors(logging.Handler):
    """Collects what is logged as an error anywhere in week 1 or in asyncio."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class RunningServer:
    """A server on a free port of 127.0.0.1 (or a unix socket), in a thread of its own."""

    def __init__(
        self, app: Application, settings: Settings, ssl: tls.SSLContext | None, **options: Any
    ) -> None:
        self._unix: Path | None = options.pop("unix", None)
        self._ssl = ssl
        self._handler = _Errors()
        self.server = Server(settings, app, **options)
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._listener = self._listen()
        self.address = self._listener.getsockname()
        self.port = 0 if self._unix else self.address[1]
        for name in ("week01_http_server", "asyncio"):
            logging.getLogger(name).addHandler(self._handler)
        self._thread.start()
        self.call(self.server.start([self._listener], ssl))
        self.state: ServerState = self.server.state

    @property
    def errors(self) -> list[logging.LogRecord]:
        """Errors logged so far; a test that expects them empties the list."""
        return self._handler.records

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the server's loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(WAIT_S)

    def connect(self, **options: Any) -> socket.socket:
        """A connected blocking socket."""
        sock = socket.socket(self._listener.family, socket.SOCK_STREAM)
        sock.settimeout(WAIT_S)
        for option, value in options.items():
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
        sock.connect(self.address)
        return sock

    def close(self) -> None:
        """Cut everything and end the thread."""
        try:
            self.call(self.server.close())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(WAIT_S)
            if not self._thread.is_alive():
                self.loop.close()
            for name in ("week01_http_server", "asyncio"):
                logging.getLogger(name).removeHandler(self._handler)

    def _listen(self) -> socket.socket:
        if self._unix is not None:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(self._unix))
        else:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.bind(("127.0.0.1", 0))
        # Connections wait in the backlog from now on, so nobody has to wait for the start.
        listener.listen(1024)
        return listener


class Serve(Protocol):
    """Shape of the `serve` fixture."""

    def __call__(
        self,
        app: Application,
        settings: Settings = ...,
        *,
        ssl: tls.SSLContext | None = ...,
        unix: Path | None = ...,
        observer: Observer | None = ...,
        preface: PrefaceFactory | None = ...,
    ) -> RunningServer: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, closes them at the end of the test; see the module."""
    running: list[RunningServer] = []

    def start(
        app: Application,
        settings: Settings | None = None,
        *,
        ssl: tls.SSLContext | None = None,
        unix: Path | None = None,
        observer: Observer | None = None,
        preface: PrefaceFactory | None = None,
    ) -> RunningServer:
        server = RunningServer(
            app, settings or Settings(), ssl, unix=unix, observer=observer, preface=preface
        )
        running.append(server)
        return server

    with contextlib.ExitStack() as ends:
        ends.callback(_expect_no_errors, running)
        ends.push(_close_all(running))
        yield start


def _close_all(running: list[RunningServer]) -> Callable[..., None]:
    def close(*_: object) -> None:
        with contextlib.ExitStack() as ends:
            for server in running:
                ends.callback(server.close)

    return close


def _expect_no_errors(running: list[RunningServer]) -> None:
    for server in running:
        assert not server.errors, [record.getMessage() for record in server.errors]
