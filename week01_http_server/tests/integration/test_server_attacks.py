"""Slow and greedy clients against a real server, while an honest one is served."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from week01_http_server.exchange import Exchange
from week01_http_server.handlers import Handlers
from week01_http_server.messages import Request, Response
from week01_http_server.settings import Deadlines, Limits, Settings
from week01_http_server.tests.conftest import WAIT_S, RunningServer, Serve
from week01_http_server.tests.talk import read_all, read_answer

pytestmark = pytest.mark.integration

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ATTACKERS = 200
IMPATIENT = Settings(deadlines=Deadlines(head_s=0.5, body_s=0.5, idle_s=0.5, write_s=0.5))


def hello(request: Request) -> Response:
    return Response(200, [], b"hello")


@contextlib.contextmanager
def crowd(server: RunningServer, count: int, first: bytes) -> Iterator[list[socket.socket]]:
    """So many connections, each with these first bytes sent."""
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(count):
            sock = stack.enter_context(server.connect())
            if first:
                sock.sendall(first)
            socks.append(sock)
        yield socks


def dribble(sock: socket.socket, piece: bytes, every_s: float) -> Callable[[], None]:
    """Send a piece again and again from a thread; returns what ends it."""
    stop = threading.Event()

    def run() -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(every_s):
                sock.sendall(piece)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join(WAIT_S)

    return end


def serves(server: RunningServer) -> None:
    """An honest client is served."""
    with server.connect() as sock:
        sock.sendall(GET)
        assert read_answer(sock).status == 200


def test_slowloris_gets_408_and_nobody_else_suffers(serve: Serve) -> None:
    server = serve(Handlers(plain=hello), IMPATIENT)
    with crowd(server, ATTACKERS, b"GET / HTTP/1.1\r\nX-") as socks:
        ends = [dribble(sock, b"a", 0.05) for sock in socks[:5]]
        serves(server)
        for sock in socks:
            assert read_answer(sock).status == 408
        for end in ends:
            end()


def test_a_body_that_stalls_gets_408(serve: Serve) -> None:
    async def read(exchange: Exchange) -> None:
        while await exchange.read():
            pass

    server = serve(Handlers(stream=read), IMPATIENT)
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"
    with crowd(server, ATTACKERS, post) as socks:
        for sock in socks:
            assert read_answer(sock).status == 408
        until_no(lambda: server.state.exchanges)


@pytest.mark.parametrize("kind", ["plain", "stream"])
def test_a_client_that_never_reads_is_reset(serve: Serve, kind: str) -> None:
    async def endless(exchange: Exchange) -> None:
        exchange.start(200, [])
        while True:
            await exchange.write(b"x" * 65536)

    big = Response(200, [], b"x" * 20_000_000)
    app = Handlers(plain=lambda request: big) if kind == "plain" else Handlers(stream=endless)
    server = serve(app, IMPATIENT)
    with crowd(server, 3, GET) as socks:
        until_no(lambda: server.state.accepted < 3)
        until_no(lambda: server.state.guests)
        for sock in socks:
            with pytest.raises(ConnectionError):
                while sock.recv(1_000_000):
                    pass
                raise ConnectionError("its end was announced as a good one")


def test_a_slow_reader_is_served_to_the_end(serve: Serve) -> None:
    body = b"x" * 3_000_000
    server = serve(Handlers(plain=lambda request: Response(200, [], body)), IMPATIENT)
    with server.connect(SO_RCVBUF=65536) as sock:
        sock.sendall(GET)
        received = 0
        began = time.monotonic()
        while received < len(body):
            data = sock.recv(100_000)
            assert data, "the server closed the connection"
            received += len(data)
            time.sleep(0.05)
        assert time.monotonic() - began > 2 * IMPATIENT.deadlines.write_s


def test_an_idle_flood_fills_the_cap_for_a_while_and_is_let_go(serve: Serve) -> None:
    settings = Settings(limits=Limits(connections_max=ATTACKERS), deadlines=IMPATIENT.deadlines)
    server = serve(Handlers(plain=hello), settings)
    with crowd(server, ATTACKERS + 50, b"") as socks:
        statuses = [read_answer(sock).status for sock in socks]
        assert statuses.count(503) == 50 and statuses.count(408) == ATTACKERS
        for sock in socks:
            assert read_all(sock) == b""
    serves(server)


def test_kept_alive_connections_are_let_go_without_a_word(serve: Serve) -> None:
    server = serve(Handlers(plain=hello), IMPATIENT)
    with crowd(server, ATTACKERS, GET) as socks:
        for sock in socks:
            assert read_answer(sock).status == 200
        for sock in socks:
            assert read_all(sock) == b""


def test_a_flood_of_pipelined_requests_that_nobody_reads_stays_bounded(serve: Serve) -> None:
    asked = 0

    def count(request: Request) -> Response:
        nonlocal asked
        asked += 1
        return Response(200, [], b"x" * 10_000)

    server = serve(Handlers(plain=count))
    with server.connect(SO_RCVBUF=8192, SO_SNDBUF=8192) as sock:
        sock.setblocking(False)
        before = -1
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(GET * 1000)
        while asked != before:
            before = asked
            time.sleep(0.3)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.send(GET * 1000)
        # Each answer is 10 KB; the kernel takes some megabytes of them, the server few.
        assert asked < 2000


def until_no(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while condition():
        assert time.monotonic() < deadline, "it did not come to an end"
        time.sleep(0.01)
