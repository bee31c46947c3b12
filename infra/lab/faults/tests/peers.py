"""Proxies as processes (ours, and Toxiproxy where it is installed) and servers behind them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.lab.engines.local.ports import free_ports
from infra.lab.owner import this_process

HOST = "127.0.0.1"
START_TIMEOUT_S = 15.0
PEERS = ("ours", "toxiproxy")


@contextlib.contextmanager
def proxy_process(peer: str, owner: str | None = None) -> Iterator[Api]:
    """A running proxy. Skips where Toxiproxy is not there."""
    [port] = free_ports(1)
    if peer == "ours":
        command = [sys.executable, "-m", "infra.lab.faults.proxy", "--port", str(port)]
        command += ["--owner", owner or this_process()]
    else:
        program = os.environ.get("TOXIPROXY_SERVER") or shutil.which("toxiproxy-server")
        if program is None:
            pytest.skip("no toxiproxy-server on PATH, and TOXIPROXY_SERVER is not set")
        command = [program, "-host", HOST, "-port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Api(port, process)
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)


class Api:
    """Its HTTP API; answers once it is up."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self("GET", "/version")
                return
            except ConnectionRefusedError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON (the text itself where it is none)."""
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request(method, path, raw, headers)
            response = connection.getresponse()
            text = response.read()
            try:
                return response.status, json.loads(text) if text else None
            except ValueError:
                return response.status, text.decode()
        finally:
            connection.close()

    def link(self, name: str, upstream: int) -> tuple[str, int]:
        """A fresh proxy in front of HOST:upstream: its path and its port."""
        status, made = self(
            "POST",
            "/proxies",
            {"name": name, "listen": f"{HOST}:0", "upstream": f"{HOST}:{upstream}"},
        )
        assert status == 201, made
        return f"/proxies/{name}", int(made["listen"].rpartition(":")[2])


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)
            self.request.sendall(b"|said all|")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


@contextlib.contextmanager
def server(handler: type[socketserver.BaseRequestHandler] = _Echo) -> Iterator[int]:
    """The port of a server, by default one that echoes and, after a half close, says goodbye."""
    with _Server((HOST, 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running.server_address[1]
        running.shutdown()


def connect(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while data := connection.recv(65536):
        parts.append(data)
    return b"".join(parts)


def read_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        got = connection.recv(count - len(data))
        assert got, f"ended after {len(data)} of {count} bytes"
        data += got
    return data


@contextlib.contextmanager
def owner() -> Iterator[tuple[str, Callable[[], None]]]:
    """A process that may own something: its text for `Owner`, and a way to kill it."""
    program = "from infra.lab.owner import this_process\nprint(this_process(), flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process.kill
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def killed_holder(kind: str, *arguments: str) -> Iterator[None]:
    """Inside, a process holds a fault; at the end it is killed without a chance to undo it."""
    command = [sys.executable, "-m", "infra.lab.faults.tests.hold_fault", kind, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield
    finally:
        process.kill()
        process.communicate()


def wait_until(holds: Callable[[], bool]) -> None:
    """Raises AssertionError when it does not hold in time."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
