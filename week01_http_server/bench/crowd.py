"""Many connections open at once, each asked twice: once when it opens, once when all are open."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

PATIENCE_S = 5.0
REQUEST = b"GET / HTTP/1.1\r\nHost: crowd\r\n\r\n"


@dataclass(frozen=True)
class Outcome:
    """What became of a crowd.

    Attributes:
        answered: connections with two right answers.
        failures: the others, by what happened to them.
        opening_s: of each that got its first answer, from connecting to that answer.
    """

    connections: int
    answered: int
    failures: dict[str, int] = field(default_factory=dict)
    opening_s: tuple[float, ...] = ()


class Crowd:
    """One crowd; `run` may be called once.

    Args:
        at_once: how many may be opening at the same time.
        patience_s: for an answer, connecting included.
        all_open: called while all of them are open, or have failed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        connections: int,
        at_once: int,
        *,
        patience_s: float = PATIENCE_S,
        all_open: Callable[[], None] = lambda: None,
    ) -> None:
        self._host, self._port, self._connections = host, port, connections
        self._patience_s = patience_s
        self._turn = asyncio.Semaphore(at_once)
        self._tell = all_open
        self._all_open = asyncio.Event()
        self._settled = 0
        self._failures: Counter[str] = Counter()
        self._opening_s: list[float] = []

    async def run(self) -> Outcome:
        """Open, ask, hold until everybody was answered or given up, ask again, close."""
        ends = await asyncio.gather(*(self._connection() for _ in range(self._connections)))
        return Outcome(self._connections, sum(ends), dict(self._failures), tuple(self._opening_s))

    async def _connection(self) -> bool:
        writer: asyncio.StreamWriter | None = None
        try:
            try:
                async with self._turn, asyncio.timeout(self._patience_s):
                    began = time.monotonic()
                    reader, writer = await asyncio.open_connection(self._host, self._port)
                    await _ask(reader, writer)
                    self._opening_s.append(time.monotonic() - began)
            finally:
                self._settle()
            await self._all_open.wait()
            async with asyncio.timeout(self._patience_s):
                await _ask(reader, writer)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            self._failures[_named(error, self._patience_s)] += 1
            return False
        finally:
            if writer is not None:
                writer.transport.abort()
        return True

    def _settle(self) -> None:
        self._settled += 1
        if self._settled == self._connections:
            self._tell()
            self._all_open.set()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Raises ValueError for anything but a whole 200, and what reading raises."""
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(head.decode("latin-1").splitlines()[0])
    lengths = [
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]
    if len(lengths) != 1:
        raise ValueError("an answer without one length")
    await reader.readexactly(lengths[0])


def _named(error: Exception, patience_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {patience_s:g} s"
    if isinstance(error, asyncio.IncompleteReadError):
        return "closed without an answer"
    return str(error) if isinstance(error, ValueError) else type(error).__name__
