"""A port of this machine that leads to a host's, as `ssh -L` makes one.

The claims' clients go to loopback alone, and a shortener whose public address is loopback lets
everybody make links: both want the lab on a machine elsewhere to be reached through a tunnel.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 65_536
START_TIMEOUT_S = 10.0


@contextlib.contextmanager
def tunnel(host: str, port: int) -> Iterator[int]:
    """The number of a port on loopback that leads to `port` of `host` for the time of a `with`."""
    opened: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(host, port, opened)), daemon=True)
    thread.start()
    local_port, loop, stop = opened.result(START_TIMEOUT_S)
    try:
        yield local_port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(START_TIMEOUT_S)


async def _serve(
    host: str, port: int, opened: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]]
) -> None:
    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(host, port)
        except OSError:
            writer.transport.abort()  # refused there is refused here, as far as TCP can say
            return
        await asyncio.gather(_carry(reader, there[1]), _carry(there[0], writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The loop itself knows tasks weakly only: one that nobody holds may vanish.
        task = asyncio.create_task(lead(reader, writer))
        led.add(task)
        task.add_done_callback(led.discard)

    led: set[asyncio.Task[None]] = set()
    stop = asyncio.Event()
    try:
        server = await asyncio.start_server(accept, LOOPBACK, 0)
    except OSError as error:
        opened.set_exception(error)
        return
    async with server:
        opened.set_result((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), stop))
        await stop.wait()
        for task in led:
            task.cancel()
        await asyncio.gather(*led, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction until its end; a connection that breaks is closed on the other side too."""
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()
