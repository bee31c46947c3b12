"""Every answer once, in batches: what the access log and the metrics are made of.

An answer costs its request one tuple and one append; formatting and counting happen for a whole
batch, between requests, in loops that touch nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from week01_http_server.exchange import Peer
from week01_http_server.messages import Request

# Request (None: refused before there was one), peer, status, bytes written, seconds it took,
# and the moment it was over (time.time()).
Entry = tuple[Request | None, Peer, int, int, float, float]
Reader = Callable[[Sequence[Entry]], None]

BATCH_MAX = 128
"""Entries handed on at once: about 0.3 ms of formatting, the longest the loop is held up."""

FLUSH_S = 0.25
"""An entry waits no longer than this for others."""


class Journal:
    """The `Observer` of a server; see `handlers.Observer` for the arguments.

    Args:
        readers: each is given every batch; it must not raise.
        retire_after: calls `retire` once after so many answers; 0 for never.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        *,
        retire_after: int = 0,
        retire: Callable[[], None] = lambda: None,
    ) -> None:
        self._readers = tuple(readers)
        self._waiting: list[Entry] = []
        self._left = retire_after
        self._retire = retire

    def __call__(
        self,
        request: Request | None,
        peer: Peer,
        status: int,
        size: int,
        seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        waiting = self._waiting
        waiting.append((request, peer, status, size, seconds, now()))
        if len(waiting) >= BATCH_MAX:
            self.flush()

    def flush(self) -> None:
        """Hand on what waits."""
        batch, self._waiting = self._waiting, []
        if not batch:
            return
        for reader in self._readers:
            reader(batch)
        if self._left:
            self._left = max(0, self._left - len(batch))
            if not self._left:
                self._retire()

    async def run(self) -> None:
        """Flush again and again, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            self.flush()
