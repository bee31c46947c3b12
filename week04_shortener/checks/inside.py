"""What claims ask of the servers behind the front door, and do to them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
from aiokafka.errors import KafkaError

from infra.lab.errors import NotReadyError
from infra.lab.servers import http
from infra.lab.servers.postgres import SUPERUSER, SUPERUSER_SECRET
from infra.lab.site import HOST, Site
from week04_shortener.cache.notices import ALL, CHANNEL
from week04_shortener.checks.stands import Stand
from week04_shortener.checks.valkey import valkey
from week04_shortener.lab import TOPIC, metric, on_the_way, postgres
from week04_shortener.storage.statements import LOOKUP

AGAIN_S = 0.1
FORGOTTEN_S = 1.2
"""Longer than a replica remembers a link of whose changes it does not hear (local_ttl_s)."""
DRAIN_S = 60.0
CALM_S = 0.3
"""Between two looks that find nothing on its way. Each goes along the way that clicks take, so that
one which moves on is seen again; the second is for what was answered during the first."""

TIMEOUT_S = 10.0

_NOT_YET = (
    OSError,
    NotReadyError,
    KafkaError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)
"""What servers that are coming back raise."""

_LOOKUPS = r"""
    SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements AS s
    JOIN pg_database AS d ON d.oid = s.dbid
    WHERE d.datname = $1 AND s.query = $2
"""

_UNTOLD = "SELECT count(*) FROM outbox WHERE destination = 'cache'"


@contextlib.asynccontextmanager
async def superuser(site: Site, database: str = "postgres") -> AsyncIterator[asyncpg.Connection]:
    """A connection that may see all statements and lock all tables."""
    connection = await asyncpg.connect(
        host=HOST,
        port=site.ports[postgres.name],
        user=SUPERUSER,
        password=site.secrets[SUPERUSER_SECRET],
        database=database,
        timeout=TIMEOUT_S,
        ssl=False,
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=TIMEOUT_S)


async def lookups(site: Site) -> int:
    """How often PostgreSQL has looked up a link, by its own count (pg_stat_statements)."""
    async with superuser(site) as connection:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        return int(await connection.fetchval(_LOOKUPS, postgres.database, LOOKUP))


@contextlib.asynccontextmanager
async def links_locked(site: Site) -> AsyncIterator[None]:
    """Inside, lookups of links wait: PostgreSQL takes as long as the block does."""
    async with superuser(site, postgres.database) as connection, connection.transaction():
        await connection.execute("LOCK TABLE links IN ACCESS EXCLUSIVE MODE")
        yield


async def told(site: Site) -> None:
    """Wait until the relay has told the cache of each link that was made or changed: an entry that
    it brings later would fill a cache that a claim has just emptied."""

    async def all_told() -> bool:
        async with superuser(site, postgres.database) as connection:
            return not await connection.fetchval(_UNTOLD)

    await eventually("the relay has told of all changes", all_told)


async def empty_cache(site: Site) -> None:
    """Remove everything from Valkey, and let nothing come but what lookups bring."""
    await told(site)
    async with valkey(site) as client:
        await client.flushall()


async def forgotten(site: Site, replicas: tuple[str, ...]) -> None:
    """Return when none of these replicas remembers any link by itself.

    Each is told that all may have changed. Who hears that, forgets at once; who does not, soon has
    nothing left that it believes, so that the time is enough by itself.
    """
    async with valkey(site) as client:
        await client.publish(CHANNEL, ALL)
    deadline_s = time.monotonic() + FORGOTTEN_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(NotReadyError):  # who does not answer remembers who knows what
            for name in replicas:
                await http.expect_ok(site.ports[name], "/health/live", TIMEOUT_S)
            if not await metric(site, replicas, "shortener_local_cache_entries"):
                return
        await asyncio.sleep(AGAIN_S)


async def asked_of_cache(site: Site, stand: Stand) -> int:
    """Lookups that a stand's replicas have begun, whatever the cache answered."""
    return int(await metric(site, stand.replicas, "shortener_cache_lookups_total", tier="local"))


async def drained(site: Site, stand: Stand, reader: str = TOPIC) -> None:
    """Wait until nothing is on its way to the analytics table, and stays so for a moment."""

    async def calm() -> bool:
        before = await _on_the_way(site, stand, reader)
        if before[0]:
            return False
        await asyncio.sleep(CALM_S)
        return before == await _on_the_way(site, stand, reader)

    await eventually("all clicks have arrived", calm, DRAIN_S)


async def _on_the_way(site: Site, stand: Stand, reader: str) -> tuple[float, int]:
    """What waits anywhere, and how many events Kafka has taken."""
    in_memory = await metric(site, stand.replicas, "variant_clicks_in_memory")
    now = await on_the_way(site, reader)
    return now.waiting_bytes + now.unread + in_memory, now.written


async def eventually(
    what: str, holds: Callable[[], Awaitable[bool]], within_s: float = DRAIN_S
) -> None:
    """Wait until `holds()`. TimeoutError naming `what`: the check could not be carried out."""
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            if await holds():
                return
            last = "no"
        except _NOT_YET as error:
            last = f"{type(error).__name__}: {error}"
        if time.monotonic() >= deadline_s:
            raise TimeoutError(f"not within {within_s:.0f} s: {what} ({last})")
        await asyncio.sleep(AGAIN_S)
