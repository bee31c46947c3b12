"""The floor: uvloop and httptools with nothing between them but an answer. No server to use.

It checks nothing, limits nothing, logs nothing, and never looks whether the client takes what it
writes. What it costs is what every Python server on these two pays; the difference is the price of
being one. It is also the control of `w01.malformed`: it takes what httptools takes.

    python -m week01_http_server.bench.floor HOST PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import cast

import httptools
import uvloop

from week01_http_server.bench.body import BODY

ANSWER = (b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s") % (
    len(BODY),
    BODY,
)


class Floor(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._transport.close()
        except httptools.HttpParserError:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            self._transport.close()

    # ---- called by the parser

    def on_url(self, url: bytes) -> None:
        """Every server looks at the target."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """And at the headers."""

    def on_message_complete(self) -> None:
        self._transport.write(ANSWER)
        if not self._parser.should_keep_alive():
            self._transport.close()


async def serve(host: str, port: int) -> None:
    """Answer at `host:port` until SIGTERM."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    server = await loop.create_server(Floor, host, port, backlog=2048)
    await over.wait()
    server.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
