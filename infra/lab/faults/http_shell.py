"""The HTTP side of the proxy's API: the standard library's server in a thread of its own.

The API gets a request a second, not a thousand: what counts is that the loop which carries the
bytes is not held up, and that nothing needs to be installed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.server
import json
import socket
import socketserver
import threading
from typing import Any

from infra.lab.faults.api import Answerer

BODY_MAX_BYTES = 1024 * 1024
REQUEST_TIMEOUT_S = 15.0
WORKERS = 8


class HttpShell:
    """Listens from the start; `stop` ends it."""

    def __init__(
        self, host: str, port: int, answer: Answerer, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Raises OSError when the address is not to be had."""
        self._server = _Server((host, port), answer, loop)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="api", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Call it from the loop's thread; answers under way may be cut off."""
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.TCPServer):
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self, address: tuple[str, int], answer: Answerer, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.answer = answer
        self.loop = loop
        self._workers = concurrent.futures.ThreadPoolExecutor(WORKERS, "api")
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._workers.submit(self._work, request, client_address)

    def _work(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client went away or said nothing for too long
        finally:
            self.shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        self._workers.shutdown(wait=False, cancel_futures=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        """Every method alike."""
        length = self.headers.get("Content-Length", "0")
        if self.headers.get("Transfer-Encoding") or not length.isdecimal():
            self.send_error(411)
            return
        if int(length) > BODY_MAX_BYTES:
            self.send_error(413)
            return
        body = self.rfile.read(int(length))
        agent = self.headers.get("User-Agent", "")
        path = self.path.partition("?")[0]
        answering = self.server.answer(self.command, path, agent, body)
        future = asyncio.run_coroutine_threadsafe(_awaited(answering), self.server.loop)
        try:
            status, value = future.result(REQUEST_TIMEOUT_S)
        except concurrent.futures.TimeoutError:
            future.cancel()
            self.send_error(503)
            return
        self._send(status, value)

    do_POST = do_PATCH = do_DELETE = do_PUT = do_HEAD = do_GET

    def _send(self, status: int, value: Any) -> None:
        body = b"" if value is None else json.dumps(value).encode() + b"\n"
        self.send_response(status)
        if value is not None:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the server itself refuses is JSON as well."""
        self.close_connection = True
        text = message or self.responses.get(code, ("bad request",))[0]
        self._send(code, {"error": text.lower(), "status": code})

    def log_message(self, format: str, *arguments: Any) -> None:
        """The API is asked several times a second: no line for each."""


async def _awaited(answering: Any) -> Any:
    return await answering
