"""The server as users start it: a program, its lines, its workers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from benchmarks.client.plan import Plan, parse_target
from benchmarks.client.process import run, run_in_loop
from benchmarks.client.requests import Request, always
from benchmarks.client.results import Result

REPOSITORY = Path(__file__).parents[2]
WAIT_S = 30.0  # of everything a test waits for: far more than any of it takes

APP = """
import asyncio, json, os, time
from pathlib import Path

HERE = Path(__file__).parent
VERSION = "one"

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            if kind == "lifespan.shutdown":
                (HERE / f"ended-{os.getpid()}").touch()
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    path = scope["path"]
    if path == "/wait":
        (HERE / "waiting").touch()
        while not (HERE / "go").exists():
            await asyncio.sleep(0.01)
    if path == "/block":
        (HERE / "waiting").touch()
        time.sleep(1000)
    if path == "/die":
        os._exit(7)
    told = {"pid": os.getpid(), "version": VERSION, "scheme": scope["scheme"],
            "client": scope["client"]}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
"""


def until(holds: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, f"waited {WAIT_S:g} s for: {what}"
        time.sleep(0.01)


class Program:
    """`python -m week01_http_server` in a folder of its own, on a free port.

    Attributes:
        said: its lines on standard error so far.
        written: its bytes on standard output so far.
    """

    def __init__(
        self, folder: Path, *arguments: str, ready: bool = True, pass_fds: Sequence[int] = ()
    ) -> None:
        port = () if {"--uds", "--fd"} & set(arguments) else ("--port", "0")
        self.said: list[str] = []
        self.written = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "week01_http_server", *port, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
        )
        self._readers = [
            threading.Thread(target=self._read_said),
            threading.Thread(target=self._read_written),
        ]
        for reader in self._readers:
            reader.start()
        if ready:
            until(lambda: self.listening() or self._process.poll() is not None, "a server")
            assert self.listening(), self.said

    def _read_said(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.append(line.decode().rstrip("\n"))

    def _read_written(self) -> None:
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), 65536):
            self.written += data

    @property
    def pid(self) -> int:
        """Of the master."""
        return self._process.pid

    def listening(self) -> bool:
        """Whether it has said so."""
        return any(line.startswith("listening on") for line in self.said)

    @property
    def port(self) -> int:
        """Of the first address it listens on."""
        [line] = [line for line in self.said if line.startswith("listening on")]
        matched = re.search(r"://127\.0\.0\.1:(\d+)", line)
        assert matched, line
        return int(matched[1])

    def heard(self, *words: str) -> bool:
        """Whether it said a line with all these words."""
        return any(all(word in line for word in words) for line in list(self.said))

    def workers(self) -> set[int]:
        """Processes of the living workers."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.pid).children()
            return {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}
        return set()

    def ready_count(self) -> int:
        """Workers that have become ready since the start."""
        return sum(line.endswith("is ready") for line in list(self.said))

    def signal(self, number: signal.Signals) -> None:
        """To the master."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit status."""
        status = self._process.wait(WAIT_S)
        for reader in self._readers:
            reader.join(WAIT_S)
        return status

    def end(self) -> None:
        """However the test went, nothing is left behind."""
        family = []
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.pid).children(recursive=True)
        if self._process.poll() is None:
            self._process.kill()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.wait()

    def connect(self) -> socket.socket:
        """A connection with a time limit."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)

    def get(self, path: str = "/") -> bytes:
        """The body of an answer on a connection of its own."""
        with self.connect() as sock:
            return ask(sock, path)

    def load(self, meanwhile: Callable[[], None], *, keep_alive: bool, rate: float) -> Result:
        """Send requests for as long as `meanwhile` takes (on a thread of its own)."""
        target, _ = parse_target(f"http://127.0.0.1:{self.port}/", ())
        request = Request(method="GET", path="/", status=frozenset({200}))
        plan = Plan(rate_per_s=rate, seconds=60.0, connections=30, keep_alive=keep_alive)
        return run_in_loop(lambda: _while(meanwhile, target, request, plan))


async def _while(
    meanwhile: Callable[[], None], target: object, request: Request, plan: Plan
) -> Result:
    import asyncio

    stop = asyncio.Event()

    async def act() -> None:
        await asyncio.sleep(0.2)
        try:
            await asyncio.to_thread(meanwhile)
        finally:
            await asyncio.sleep(0.2)
            stop.set()

    acting = asyncio.create_task(act())
    result = await run(target, always(request), plan, stop=stop)  # type: ignore[arg-type]
    await acting
    return result


def ask(sock: socket.socket, path: str = "/", *fields: str) -> bytes:
    """The body of the answer to a GET, read until the connection closes."""
    head = "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", "Connection: close", *fields])
    sock.sendall(head.encode() + b"\r\n\r\n")
    data = b""
    while piece := sock.recv(65536):
        data += piece
    start, _, body = data.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 200"), data
    chunked = re.fullmatch(rb"[0-9a-f]+\r\n(.*)\r\n0\r\n\r\n", body, re.DOTALL)
    return chunked[1] if chunked else body
