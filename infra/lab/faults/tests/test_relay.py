"""What passes through our proxy: every byte, half closes, resets, no faster than it is read."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import struct
import threading
import time

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.lab.faults.tests import peers
from infra.lab.faults.tests.peers import Api, connect, read_all, read_exactly

pytestmark = pytest.mark.integration

GOODBYE = b"|said all|"


@pytest.fixture(scope="module")
def port(ours: Api, echo: int) -> int:
    """Of a proxy before the echo server, without toxics."""
    return ours.link("plain", echo)[1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=2000),
    st.integers(1, 200),
    st.lists(st.integers(1, 50_000), min_size=1, max_size=12),
)
def test_no_byte_is_lost_doubled_or_reordered(
    port: int, seed: bytes, times: int, splits: list[int]
) -> None:
    data = (seed + b"%d" % times) * times
    with connect(port) as connection:
        sender = threading.Thread(target=_send_split, args=(connection, data, splits))
        sender.start()
        got = read_all(connection)
        sender.join()
    assert got == data + GOODBYE


def _send_split(connection: socket.socket, data: bytes, splits: list[int]) -> None:
    """The whole of it in pieces of these sizes, again and again; then a half close."""
    start, turn = 0, 0
    while start < len(data):
        size = splits[turn % len(splits)]
        connection.sendall(data[start : start + size])
        start, turn = start + size, turn + 1
    connection.shutdown(socket.SHUT_WR)


def test_no_byte_is_lost_while_toxics_come_and_go(ours: Api, echo: int, name: str) -> None:
    path, port = ours.link(name, echo)
    data = b"".join(struct.pack(">I", number) for number in range(250_000))
    done = threading.Event()

    def meddle() -> None:
        slices = {"average_size": 1000, "size_variation": 900, "delay": 20}
        while not done.is_set():
            for kind, attributes in (
                ("latency", {"latency": 10, "jitter": 10}),
                ("bandwidth", {"rate": 5000}),
                ("slicer", slices),
            ):
                for stream in ("upstream", "downstream"):
                    toxic = {"type": kind, "attributes": attributes, "stream": stream}
                    assert ours("POST", f"{path}/toxics", toxic)[0] == 200
            time.sleep(0.02)
            for toxic in ours("GET", f"{path}/toxics")[1]:
                assert ours("DELETE", f"{path}/toxics/{toxic['name']}")[0] == 204

    with connect(port) as connection:
        meddler = threading.Thread(target=meddle)
        sender = threading.Thread(target=_send_split, args=(connection, data, [1, 700, 40_000]))
        meddler.start()
        sender.start()
        got = read_all(connection)
        done.set()
        sender.join()
        meddler.join()
    assert got == data + GOODBYE


def test_a_half_close_is_passed_on_and_the_answer_still_comes(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"question")
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"question" + GOODBYE


class _Resets(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Hang up by RST."""
        self.request.recv(1)
        linger = struct.pack("ii", 1, 0)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.request.close()


def test_a_reset_of_the_server_reaches_the_client_as_a_reset(ours: Api, name: str) -> None:
    with peers.server(_Resets) as upstream:
        _, port = ours.link(name, upstream)
        with connect(port) as connection:
            connection.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                connection.recv(1)


def test_reset_peer_is_an_rst_on_a_connection_that_is_already_open(
    ours: Api, echo: int, name: str
) -> None:
    path, port = ours.link(name, echo)
    with connect(port) as connection:
        connection.sendall(b"ping")
        read_exactly(connection, 4)
        ours("POST", f"{path}/toxics", {"type": "reset_peer", "stream": "upstream"})
        connection.sendall(b"ping")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_dead_server_is_a_closed_connection(ours: Api, name: str) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind((peers.HOST, 0))
        _, port = ours.link(name, taken.getsockname()[1])
        with connect(port) as connection, contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_who_does_not_read_stops_who_writes_and_memory_stays_bounded(
    ours: Api, echo: int, name: str
) -> None:
    _, port = ours.link(name, echo)
    limit = 200 * 1024 * 1024
    with connect(port) as connection:
        connection.setblocking(False)
        sent, piece = 0, bytes(65536)
        while sent < limit and select.select([], [connection], [], 1.0)[1]:
            sent += connection.send(piece)
        assert sent < limit  # the echo comes back to us, and we never read
        connection.setblocking(True)
        assert read_exactly(connection, sent) == bytes(sent)


def test_a_slow_link_is_felt_by_the_sender(ours: Api, echo: int, name: str) -> None:
    path, port = ours.link(name, echo)
    slow = {"type": "bandwidth", "stream": "upstream", "attributes": {"rate": 1}}
    ours("POST", f"{path}/toxics", slow)
    limit = 200 * 1024 * 1024
    with connect(port) as connection:
        connection.setblocking(False)
        sent = 0
        while sent < limit and select.select([], [connection], [], 0.5)[1]:
            sent += connection.send(bytes(65536))
        assert sent < limit


def test_what_comes_before_the_server_is_reached_waits_outside(
    ours: Api, echo: int, name: str
) -> None:
    """Data that races the proxy's own connection to the server meets a toxic as any other."""
    path, port = ours.link(name, echo)
    slow = {"type": "bandwidth", "stream": "upstream", "attributes": {"rate": 1}}
    ours("POST", f"{path}/toxics", slow)
    before = psutil.Process(ours.process.pid).memory_info().rss
    limit = 64 * 1024 * 1024
    for _ in range(10):
        with connect(port) as connection:
            connection.setblocking(False)
            sent = 0
            while sent < limit and select.select([], [connection], [], 0.1)[1]:
                sent += connection.send(bytes(65536))
            assert sent < limit
    assert psutil.Process(ours.process.pid).memory_info().rss < before + limit


def test_many_connections_at_once(port: int) -> None:
    connections = [connect(port) for _ in range(200)]
    try:
        for number, connection in enumerate(connections):
            connection.sendall(b"%04d" % number)
        for number, connection in enumerate(connections):
            assert read_exactly(connection, 4) == b"%04d" % number
    finally:
        for connection in connections:
            connection.close()


def test_the_proxy_ends_with_its_owner() -> None:
    with peers.owner() as (text, kill), peers.proxy_process("ours", owner=text) as api:
        kill()
        assert api.process.wait(10) == 0


@pytest.mark.parametrize(
    "toxic",
    [
        None,
        {"type": "timeout", "stream": "upstream"},
        {"type": "latency", "attributes": {"latency": 30}},
        {"type": "bandwidth", "stream": "upstream", "attributes": {"rate": 0}},
        {"type": "limit_data", "attributes": {"bytes": 2}},
    ],
)
def test_however_connections_end_nothing_of_them_stays(
    ours: Api, echo: int, name: str, toxic: dict[str, object] | None
) -> None:
    path, port = ours.link(name, echo)
    proxy = psutil.Process(ours.process.pid)
    before = proxy.num_fds()
    if toxic is not None:
        assert ours("POST", f"{path}/toxics", toxic)[0] == 200
    for number in range(60):
        connection = connect(port)
        if number % 4:
            connection.sendall(b"abcd" * (1 if number % 8 else 5000))
        if number % 3 == 0:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif number % 3 == 1:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        connection.close()
    if toxic is not None:
        [made] = ours("GET", f"{path}/toxics")[1]
        assert ours("DELETE", f"{path}/toxics/{made['name']}")[0] == 204
    peers.wait_until(lambda: proxy.num_fds() <= before)
