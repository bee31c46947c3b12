"""Memory of open connections: many, each after one request, and nothing going on."""

from __future__ import annotations

import asyncio
import time

from benchmarks.client.process import allow_descriptors, run_in_loop
from benchmarks.contest.results import Idle
from infra.lab.errors import LabError
from week01_http_server.bench.contestants import HOST
from week01_http_server.bench.processes import Running

AT_ONCE = 200
TIMEOUT_S = 20.0
SETTLE_S = 1.0
SPARE = 200
REQUEST = b"GET /hello HTTP/1.1\r\nHost: idle\r\nUser-Agent: idle\r\nAccept: */*\r\n\r\n"


def measure(server: Running, connections: int) -> Idle:
    """Open them, ask once on each, and see how much larger the server is.

    The first few are opened before the first look, so that what a server sets up once (buffers,
    code that was never run) is not counted. What the kernel keeps for a socket is in no process.
    Raises LabError where one of them is not answered, UsageError for too few descriptors.
    """
    allow_descriptors(connections + SPARE)
    return run_in_loop(lambda: _measure(server, connections))


async def _measure(server: Running, connections: int) -> Idle:
    writers: list[asyncio.StreamWriter] = []
    try:
        await _open(server, AT_ONCE, writers)
        before = server.memory_bytes()
        for _ in range(0, connections, AT_ONCE):
            await _open(server, AT_ONCE, writers)
        await asyncio.sleep(SETTLE_S)
        after = server.memory_bytes()
    finally:
        for writer in writers:
            writer.transport.abort()
    return Idle(server.contestant.name, len(writers) - AT_ONCE, before, after)


async def _open(server: Running, many: int, writers: list[asyncio.StreamWriter]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            writers += await asyncio.gather(*(_one(server.start.port) for _ in range(many)))
    except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise LabError(
            f"{server.contestant.name} did not answer on connection {len(writers)} and the next "
            f"{many}: {type(error).__name__} {error}"
        ) from error


async def _one(port: int) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection(HOST, port, limit=4096)
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(head.decode("latin-1").splitlines()[0])
    return writer
