"""Level 1 as a process of its own, asked over real sockets."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.integration

TIMEOUT_S = 20
GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def raw_server(*options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "week01_http_server.raw", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield process, int(process.stderr.readline().rsplit(":", 1)[1])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with raw_server() as (_, number):
        yield number


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)


def received(connection: socket.socket, until: bytes) -> bytes:
    found = b""
    while until not in found and (more := connection.recv(4096)):
        found += more
    return found


def closed(connection: socket.socket) -> bool:
    return connection.recv(1) == b""


def test_one_connection_carries_many_requests(port: int) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    client.connect()
    first = client.sock
    for number in range(5):
        client.request("GET", f"/{number}")
        answer = client.getresponse()
        assert (answer.status, answer.version) == (200, 11)
        assert answer.read().endswith(f"/{number}\n".encode())
        assert client.sock is first
    client.close()


def test_requests_sent_together_are_answered_in_order(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(GET % b"first" + GET % b"second")
        answers = received(connection, b"/second\n")
    assert answers.index(b"/first\n") < answers.index(b"/second\n")


def test_a_head_may_come_in_pieces(port: int) -> None:
    with connect(port) as connection:
        for byte in GET % b"slow":
            connection.sendall(bytes([byte]))
        assert b"200 OK" in received(connection, b"/slow\n")


@pytest.mark.parametrize(
    "request_",
    [b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"],
)
def test_it_closes_when_asked_to(port: int, request_: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(request_)
        assert b"\r\nConnection: close\r\n" in received(connection, b"/\n")
        assert closed(connection)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"nonsense\r\n\r\n", 400), (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 501), (b"x" * 9000, 431)],
)
def test_a_refusal_is_answered_and_ends_the_connection(port: int, sent: bytes, status: int) -> None:
    with connect(port) as connection:
        connection.sendall(sent)
        assert received(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 %d " % status)


def test_a_silent_connection_keeps_nobody_waiting_where_there_are_threads(port: int) -> None:
    with connect(port), connect(port) as second:
        second.sendall(GET % b"")
        assert b"200 OK" in received(second, b"/\n")


def test_without_threads_a_silent_connection_keeps_everybody_waiting() -> None:
    with (
        raw_server("--one-at-a-time") as (_, port),
        connect(port) as silent,
        connect(port) as second,
    ):
        second.sendall(GET % b"")
        second.settimeout(1)
        with pytest.raises(TimeoutError):
            second.recv(1)
        silent.close()
        second.settimeout(TIMEOUT_S)
        assert b"200 OK" in received(second, b"/\n")


def test_sigterm_ends_it_and_a_taken_port_is_one_line() -> None:
    with raw_server() as (process, port):
        command = [sys.executable, "-m", "week01_http_server.raw", "--port", str(port)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert second.returncode == 1
        assert second.stderr.startswith(f"raw: cannot listen on 127.0.0.1:{port}: ")
        assert second.stderr.count("\n") == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
