"""What the fault proxy itself costs: `python -m infra.lab.faults.cost`.

Direct and proxied connections to one echo server take turns in one run, so that whatever else the
machine does hits both. CPU is the proxy process's own, as the system counts it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil

from infra.lab.engines.local.ports import free_ports
from infra.lab.errors import LabError
from infra.lab.faults.client import request
from infra.lab.owner import this_process
from infra.lab.site import HOST

MB = 1_000_000
MESSAGE_BYTES = 100
PIECE_BYTES = 64 * 1024
START_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Plan:
    """How much is measured; turns are direct and proxied, one after the other."""

    turns: int = 20
    round_trips: int = 1000
    megabytes: int = 20


@dataclass(frozen=True)
class Cost:
    """Of one proxy without toxics; a round trip is 100 bytes there and back on one connection.

    Attributes:
        added_p50_us, added_p99_us: proxied minus direct round trip, microseconds.
        cpu_us_per_round_trip: of the proxy.
        cpu_ms_per_mb: of the proxy, for each MB of the bulk transfer that it carried.
        direct_mb_s, proxied_mb_s: bulk transfer through the echo server, median of the turns.
    """

    proxy: str
    round_trips: int
    direct_p50_us: float
    direct_p99_us: float
    added_p50_us: float
    added_p99_us: float
    cpu_us_per_round_trip: float
    cpu_ms_per_mb: float
    direct_mb_s: float
    proxied_mb_s: float


def measure(proxy: str, command: Sequence[str], port: int, plan: Plan) -> Cost:
    """Start `command`, whose API answers at `port`, and measure it. Raises LabError if it fails."""
    with _running(_echo_command()) as echo, _running(command) as process:
        [echo_port] = echo.listening(1)
        process.listening(1)
        fields = {"name": "cost", "listen": f"{HOST}:0", "upstream": f"{HOST}:{echo_port}"}
        _, made = request(HOST, port, "POST", "/proxies", fields)
        proxied_port = int(made["listen"].rpartition(":")[2])
        direct_s, proxied_s = [], []
        cpu_s = 0.0
        with _connect(echo_port) as direct, _connect(proxied_port) as proxied:
            _round_trips_s(direct, plan.round_trips)  # warm up
            _round_trips_s(proxied, plan.round_trips)
            for _ in range(plan.turns):
                direct_s += _round_trips_s(direct, plan.round_trips)
                before = process.cpu_s()
                proxied_s += _round_trips_s(proxied, plan.round_trips)
                cpu_s += process.cpu_s() - before
            bulk: dict[str, list[float]] = {"direct": [], "proxied": []}
            bulk_cpu_s = 0.0
            for _ in range(plan.turns):
                bulk["direct"].append(_bulk_mb_s(direct, plan.megabytes))
                before = process.cpu_s()
                bulk["proxied"].append(_bulk_mb_s(proxied, plan.megabytes))
                bulk_cpu_s += process.cpu_s() - before
    count = len(proxied_s)
    direct_us, proxied_us = _quantiles_us(direct_s), _quantiles_us(proxied_s)
    return Cost(
        proxy=proxy,
        round_trips=count,
        direct_p50_us=direct_us[0],
        direct_p99_us=direct_us[1],
        added_p50_us=proxied_us[0] - direct_us[0],
        added_p99_us=proxied_us[1] - direct_us[1],
        cpu_us_per_round_trip=cpu_s / count * 1e6,
        # Each megabyte is carried there and back.
        cpu_ms_per_mb=bulk_cpu_s / (2 * plan.turns * plan.megabytes) * 1e3,
        direct_mb_s=statistics.median(bulk["direct"]),
        proxied_mb_s=statistics.median(bulk["proxied"]),
    )


def _round_trips_s(connection: socket.socket, count: int) -> list[float]:
    message = bytes(MESSAGE_BYTES)
    taken_s = []
    for _ in range(count):
        began = time.perf_counter()
        connection.sendall(message)
        _receive(connection, MESSAGE_BYTES)
        taken_s.append(time.perf_counter() - began)
    return taken_s


def _bulk_mb_s(connection: socket.socket, megabytes: int) -> float:
    """So many megabytes to the echo server and back at once."""
    pieces = megabytes * MB // PIECE_BYTES
    sender = threading.Thread(target=_send, args=(connection, pieces))
    began = time.perf_counter()
    sender.start()
    _receive(connection, pieces * PIECE_BYTES)
    sender.join()
    return pieces * PIECE_BYTES / MB / (time.perf_counter() - began)


def _send(connection: socket.socket, pieces: int) -> None:
    piece = bytes(PIECE_BYTES)
    for _ in range(pieces):
        connection.sendall(piece)


def _receive(connection: socket.socket, count: int) -> None:
    while count:
        got = len(connection.recv(min(count, 256 * 1024)))
        if not got:
            raise LabError("a connection ended while it was measured")
        count -= got


def _quantiles_us(samples_s: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(samples_s, n=100)
    return cuts[49] * 1e6, cuts[98] * 1e6


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection((HOST, port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


# ---- Processes


class _Process:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._popen = process
        self._process = psutil.Process(process.pid)

    def cpu_s(self) -> float:
        """User and system time so far."""
        times = self._process.cpu_times()
        return times.user + times.system

    def listening(self, count: int) -> list[int]:
        """Its ports, once there are so many. Raises LabError if it ends or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._popen.poll() is None:
            connections = self._process.net_connections("tcp")
            ports = [c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN]
            if len(ports) >= count:
                return ports
            time.sleep(0.02)
        raise LabError(f"{self._popen.args!r} does not listen")


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator[_Process]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _Process(process)
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)


_ECHO = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    import threading
    def serve(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(262144):
            connection.sendall(data)
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


def _echo_command() -> list[str]:
    return [sys.executable, "-c", _ECHO]


def ours(port: int) -> list[str]:
    """The command of our proxy."""
    api = ["--host", HOST, "--port", str(port), "--owner", this_process()]
    return [sys.executable, "-m", "infra.lab.faults.proxy", *api]


def main() -> int:
    """Measure ours and, if told where it is, Toxiproxy; print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m infra.lab.faults.cost", description=__doc__)
    parser.add_argument("--toxiproxy", help="Toxiproxy's server program")
    given = parser.parse_args()
    [port] = free_ports(1)
    commands = {"ours": ours(port)}
    if given.toxiproxy:
        commands["toxiproxy"] = [given.toxiproxy, "-host", HOST, "-port", str(port)]
    sys.stdout.write(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    for name, command in commands.items():
        cost = measure(name, command, port, Plan())
        sys.stdout.write(
            f"{cost.proxy}: {cost.round_trips} round trips of {MESSAGE_BYTES} bytes: direct p50 "
            f"{cost.direct_p50_us:.0f} us, p99 {cost.direct_p99_us:.0f} us; through the proxy "
            f"+{cost.added_p50_us:.0f} us, {cost.added_p99_us:+.0f} us; its CPU "
            f"{cost.cpu_us_per_round_trip:.0f} us a round trip, {cost.cpu_ms_per_mb:.2f} ms a MB; "
            f"bulk {cost.proxied_mb_s:.0f} MB/s, direct {cost.direct_mb_s:.0f} MB/s\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
