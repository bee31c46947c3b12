"""What claims ask of Valkey itself, and do to it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from infra.lab.site import Site

TIMEOUT_S = 10.0
SCAN_COUNT = 1000


@dataclass(frozen=True)
class Command:
    """One command as MONITOR shows it: its words, the first in capitals."""

    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.words[0].upper()

    def __str__(self) -> str:
        """For notes: a script's text or digest and long values cut short."""
        return " ".join(word if len(word) <= 40 else f"{word[:12]}..." for word in self.words)


@contextlib.asynccontextmanager
async def valkey(site: Site) -> AsyncIterator[Redis]:
    """A client of the instance's Valkey; answers are bytes."""
    client = Redis.from_url(f"redis://{site.address('valkey')}/0", socket_timeout=TIMEOUT_S)
    try:
        yield client
    finally:
        await client.aclose()


async def entry_keys(client: Redis, code: str) -> list[bytes]:
    """The keys of a link's entry, whatever the service puts before its code."""
    return [key async for key in client.scan_iter(match=f"*:{code}", count=SCAN_COUNT)]


class Monitored:
    """What Valkey was asked while `monitored` was open, by link."""

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def of(self, code: str) -> Sequence[Command]:
        """The commands that name a link's key, in order. Lua's own are the script's, not a
        client's, and are left out already."""
        return [one for one in self.commands if any(code in word for word in one.words)]


@contextlib.asynccontextmanager
async def monitored(site: Site) -> AsyncIterator[Monitored]:
    """Inside, Valkey tells each command that it carries out (MONITOR); all are there afterwards."""
    found = Monitored()
    last = secrets.token_hex(8)
    async with valkey(site) as client, client.monitor() as monitor:

        async def listen() -> None:
            async for told in monitor.listen():
                words = tuple(str(told["command"]).split(" "))
                if last in words:
                    return
                if told["client_type"] != "lua":
                    found.commands.append(Command(words))

        listening = asyncio.create_task(listen())
        try:
            yield found
            async with asyncio.timeout(TIMEOUT_S):
                await client.echo(last)
                await listening
        finally:
            listening.cancel()
