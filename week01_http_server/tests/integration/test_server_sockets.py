"""The server over real sockets: answers, limits and ends as a client sees them."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import struct
import time
from pathlib import Path

import pytest
import trustme

from week01_http_server.exchange import Exchange
from week01_http_server.handlers import Handlers
from week01_http_server.messages import ClientGone, Request, Response
from week01_http_server.settings import Deadlines, Limits, Settings
from week01_http_server.tests.conftest import WAIT_S, RunningServer, Serve
from week01_http_server.tests.talk import read_all, read_answer

pytestmark = pytest.mark.integration

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BIG = 8 * 1024 * 1024


def hello(request: Request) -> Response:
    return Response(200, [(b"content-type", b"text/plain")], b"hello")


async def echo(exchange: Exchange) -> None:
    parts = []
    while piece := await exchange.read():
        parts.append(piece)
    exchange.start(200, [])
    await exchange.write(b"".join(parts), end=True)


async def endless(exchange: Exchange) -> None:
    exchange.start(200, [])
    while True:
        await exchange.write(b"x" * 10_000)


def until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


def deserted(server: RunningServer) -> None:
    """Wait until no connection and no handler is left."""
    until(lambda: not server.state.guests and not server.state.exchanges)


def test_one_connection_carries_many_requests(serve: Serve) -> None:
    server = serve(Handlers(plain=hello))
    with server.connect() as sock:
        for _ in range(50):
            sock.sendall(GET)
            assert read_answer(sock).body == b"hello"
    assert server.state.accepted == 1
    deserted(server)


def test_the_standard_library_s_client_is_served(serve: Serve) -> None:
    server = serve(Handlers(stream=echo))
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    for body in (b"", b"small", b"x" * BIG):
        client.request("POST", "/", body=body)
        assert client.getresponse().read() == body
    client.request("PUT", "/", body=iter([b"a", b"b" * 100_000]), encode_chunked=True)
    assert client.getresponse().read() == b"a" + b"b" * 100_000
    client.close()


def test_a_thousand_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    server = serve(
        Handlers(plain=lambda request: Response(200, [], request.path)),
        Settings(limits=Limits(pipeline_max=4)),
    )
    with server.connect() as sock:
        sock.sendall(
            b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(1000))
        )
        rest = b""
        for number in range(1000):
            answer = read_answer(sock, rest)
            assert answer.body == b"/%d" % number
            rest = answer.rest


def test_a_half_closed_client_gets_all_its_answers(serve: Serve) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.05)
        await echo(exchange)

    server = serve(Handlers(stream=slow))
    with server.connect() as sock:
        sock.sendall(GET + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        sock.shutdown(socket.SHUT_WR)
        first = read_answer(sock)
        second = read_answer(sock, first.rest)
        assert (first.body, second.body) == (b"", b"abc")
        assert second.headers[b"connection"] == b"close"
        assert read_all(sock) == b""


def test_100_continue_comes_before_the_body(serve: Serve) -> None:
    server = serve(Handlers(stream=echo))
    with server.connect() as sock:
        sock.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        interim = read_answer(sock, head_only=True)
        assert interim.status == 100
        sock.sendall(b"abc")
        assert read_answer(sock, interim.rest).body == b"abc"


def test_a_refusal_reaches_a_client_that_is_still_sending(serve: Serve) -> None:
    limits = Limits(body_max_bytes=1000)
    server = serve(Handlers(stream=echo), Settings(limits=limits))
    with server.connect() as sock:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n"
        sock.sendall(head + b"x" * 500_000)
        time.sleep(0.05)  # a reset that overtakes the answer would be here by now
        answer = read_answer(sock)
        assert answer.status == 413 and answer.headers[b"connection"] == b"close"
        assert read_all(sock) == b""
    deserted(server)


def test_an_answer_before_the_body_reaches_a_client_that_is_still_sending(serve: Serve) -> None:
    server = serve(Handlers(plain=lambda request: Response(403)))
    with server.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n")
        sock.sendall(b"x" * 500_000)
        time.sleep(0.05)
        assert read_answer(sock).status == 403
        assert read_all(sock) == b""


def test_large_answers_wait_for_the_client(serve: Serve) -> None:
    server = serve(Handlers(plain=lambda request: Response(200, [], b"x" * BIG)))
    with server.connect(SO_RCVBUF=8192) as sock:
        sock.sendall(GET * 3)
        rest = b""
        for _ in range(3):
            answer = read_answer(sock, rest)
            assert answer.body == b"x" * BIG
            rest = answer.rest


def test_a_handler_writes_no_further_than_the_client_reads(serve: Serve) -> None:
    written = 0

    async def count(exchange: Exchange) -> None:
        nonlocal written
        exchange.start(200, [])
        while True:
            await exchange.write(b"x" * 10_000)
            written += 10_000

    server = serve(Handlers(stream=count))
    with server.connect(SO_RCVBUF=8192) as sock:
        sock.sendall(GET)
        sock.recv(100)
        before = -1
        while written != before:
            before = written
            time.sleep(0.3)
        # What the two kernels hold (net.ipv4.tcp_wmem's and tcp_rmem's largest), and not more.
        assert written < 16 * 1024 * 1024
    deserted(server)


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_a_client_that_vanishes_ends_its_handler(serve: Serve, how: str) -> None:
    ended = []

    async def watched(exchange: Exchange) -> None:
        try:
            await endless(exchange)
        except ClientGone:
            ended.append(exchange.request.path)
            raise

    server = serve(Handlers(stream=watched))
    sock = server.connect()
    sock.sendall(GET)
    sock.recv(100)
    if how == "resets":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    deserted(server)
    assert ended == [b"/"]


def test_a_broken_answer_is_no_whole_answer_for_the_client(serve: Serve) -> None:
    async def broken(exchange: Exchange) -> None:
        exchange.start(200, [])
        await exchange.write(b"some of it")
        raise RuntimeError("in the middle")

    server = serve(Handlers(stream=broken))
    with server.connect() as sock, pytest.raises(ConnectionError):
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        read_all(sock)
    assert [record.getMessage() for record in server.errors] == ["handler failed: GET b'/'"]
    server.errors.clear()


def test_connections_beyond_the_cap_are_told_503_and_the_others_live_on(serve: Serve) -> None:
    server = serve(Handlers(plain=hello), Settings(limits=Limits(connections_max=3)))
    served = [server.connect() for _ in range(3)]
    for sock in served:
        sock.sendall(GET)
        assert read_answer(sock).status == 200
    for _ in range(20):
        with server.connect() as sock:
            sock.sendall(GET)
            answer = read_answer(sock)
            assert answer.status == 503 and answer.headers[b"retry-after"] == b"1"
            assert read_all(sock) == b""
    for sock in served:
        sock.sendall(GET)
        assert read_answer(sock).status == 200
        sock.close()
    deserted(server)
    with server.connect() as sock:
        sock.sendall(GET)
        assert read_answer(sock).status == 200


def test_a_unix_socket_is_served(serve: Serve, tmp_path: Path) -> None:
    async def who(exchange: Exchange) -> None:
        exchange.start(200, [])
        await exchange.write(repr((exchange.client, exchange.server)).encode(), end=True)

    server = serve(Handlers(stream=who), unix=tmp_path / "s")
    with server.connect() as sock:
        sock.sendall(GET)
        assert read_answer(sock).body == b"(None, None)"


# ---- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_of(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    ours, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)
    return ours, theirs


def test_tls_is_served_and_known_to_handlers(serve: Serve, authority: trustme.CA) -> None:
    async def scheme(exchange: Exchange) -> None:
        await exchange.read()
        exchange.start(200, [])
        await exchange.write(exchange.scheme.encode() + b"x" * 1_000_000, end=True)

    ours, theirs = tls_of(authority)
    server = serve(Handlers(stream=scheme), ssl=ours)
    with theirs.wrap_socket(server.connect(), server_hostname="localhost") as sock:
        for _ in range(2):
            sock.sendall(GET)
            assert read_answer(sock).body[:6] == b"httpsx"
        sock.sendall(b"nonsense\r\n\r\n")
        assert read_answer(sock).status == 400
    deserted(server)


def test_a_tls_handshake_that_stalls_is_ended(serve: Serve, authority: trustme.CA) -> None:
    ours, _ = tls_of(authority)
    settings = Settings(deadlines=Deadlines(tls_handshake_s=0.2))
    server = serve(Handlers(plain=hello), settings, ssl=ours)
    with server.connect() as sock:
        sock.sendall(b"\x16")
        assert read_all(sock) == b""


# ---- Drain and close


def test_drain_finishes_what_is_begun_and_accepts_no_more(serve: Serve) -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.read()
        await asyncio.sleep(0.2)
        exchange.start(200, [])
        await exchange.write(b"done", end=True)

    server = serve(Handlers(stream=slow))
    with server.connect() as busy, server.connect() as idle:
        busy.sendall(GET)
        until(lambda: server.state.exchanges)
        draining = asyncio.run_coroutine_threadsafe(server.server.drain(), server.loop)
        answer = read_answer(busy)
        assert answer.body == b"done" and answer.headers[b"connection"] == b"close"
        assert read_all(busy) == b"" and read_all(idle) == b""
        busy.close()
        draining.result(WAIT_S)
        with pytest.raises(ConnectionError):
            server.connect()


def test_drain_under_load_loses_no_request(serve: Serve) -> None:
    server = serve(Handlers(plain=hello))
    socks = [server.connect() for _ in range(20)]
    until(lambda: server.state.accepted == 20)
    open_socks = list(socks)
    draining = asyncio.run_coroutine_threadsafe(server.server.drain(), server.loop)
    answered = 0
    while open_socks:
        for sock in list(open_socks):
            sock.sendall(GET)
        for sock in list(open_socks):
            answer = read_answer(sock)  # raises when a request was lost
            answered += 1
            if answer.headers.get(b"connection") == b"close":
                open_socks.remove(sock)
                sock.close()
    draining.result(WAIT_S)
    assert answered >= 20


def test_requests_that_outlast_drain_s_are_cut_and_their_handlers_end(serve: Serve) -> None:
    cancelled = []

    async def stuck(exchange: Exchange) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    server = serve(Handlers(stream=stuck), Settings(deadlines=Deadlines(drain_s=0.2)))
    with server.connect() as sock:
        sock.sendall(GET)
        until(lambda: server.state.exchanges)
        server.call(server.server.drain())
        server.call(server.server.close())
        with pytest.raises(ConnectionError):
            read_answer(sock)
    assert cancelled == [True]


def test_an_application_is_started_before_and_shut_down_after(serve: Serve) -> None:
    heard = []

    class Living(Handlers):
        async def startup(self) -> None:
            heard.append("startup")

        async def shutdown(self) -> None:
            heard.append("shutdown")

    server = serve(Living(plain=hello))
    with server.connect() as sock:
        sock.sendall(GET)
        assert read_answer(sock).status == 200
    assert heard == ["startup"]
    server.call(server.server.close())
    assert heard == ["startup", "shutdown"]
