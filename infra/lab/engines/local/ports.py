"""Is a port free, and if not, who has it?"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from collections.abc import Mapping

import psutil

from infra.lab.errors import LabError
from infra.lab.site import HOST
from infra.lab.topology import PORT_MAX, port_variable


def check_free(ports: Mapping[str, int], week: str, front: str) -> None:
    """Raises LabError naming the first port that is taken, its holder, and how to move."""
    for name, port in ports.items():
        if is_free(port):
            continue
        holder = _holder(port)
        variable = "PORT" if name == front else port_variable(name)
        other = port + 1000 if port + 1000 <= PORT_MAX else port - 1000
        raise LabError(
            f"port {port} ({name}) is taken{holder}: stop that program, or move this with "
            f"`make {week} up {variable}={other}`"
        )


def is_free(port: int) -> bool:
    """Whether a server could bind HOST:port now (connections in TIME_WAIT do not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def free_ports(count: int) -> list[int]:
    """Ports that are free now, all different; for tests that run beside others.

    They come from below the range that systems lend to outgoing connections (32768 and up on
    Linux, 49152 and up on macOS), so that no client takes one before its server does.
    """
    candidates = random.sample(range(20_000, 32_000), 50 * count)
    ports = [port for port in candidates if is_free(port)][:count]
    if len(ports) < count:
        raise LabError(f"found only {len(ports)} of {count} free ports from 20000 to 31999")
    return ports


def _holder(port: int) -> str:
    """` by python3 (pid 123)` where the system tells us."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
