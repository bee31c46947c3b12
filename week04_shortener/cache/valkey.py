"""The cache in Valkey: versioned entries, and the leases that lie beside them."""

import time
from collections.abc import Callable, Sequence

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript

from week04_shortener.cache.aside import CacheUnavailable, Kept
from week04_shortener.cache.gathering import Gathered
from week04_shortener.cache.notices import CHANNEL, notice
from week04_shortener.links import BadEntry, Entry, decode, encode
from week04_shortener.valkey import Valkey, ValkeyLimits

_PUT = """
local there = redis.call('GET', KEYS[1])
if there then
  local version = tonumber(string.match(there, '^(%d+) '))
  if version and version > tonumber(ARGV[1]) then return there end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return false
"""
"""Write unless a newer version lies there, which is then the answer. One step, for what comes
between looking and writing would be written over. What does not begin with a version is no entry.
Versions are compared as Lua's numbers, which are exact up to 2^53."""

_TELL = f"redis.call('PUBLISH', ARGV[4], ARGV[5])\n{_PUT}"
"""The same for a change, which all replicas hear of in the same step, whatever lies there: some of
them may remember what has left Valkey. And first, so that they hear of it too when there is no room
to write it."""

_FIRST = 1
"""A link's version when it is made: there is nothing before it that anybody could remember."""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
"""Compare and delete in one step: between the two, a lease may end and become another's."""


class ValkeyCache:
    """`cache.aside.Cache` and `cache.lease.Tokens` over one Valkey server.

    `timeout_s` limits an operation as a whole: waiting for a connection, connecting, asking. A
    change between working and not working is logged once and shown by a gauge.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        pool_size: int,
        failures_to_open: int,
        open_s: float,
        registry: CollectorRegistry,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._valkey = Valkey(
            url,
            ValkeyLimits(timeout_s, pool_size, failures_to_open, open_s),
            # Once more and at once, for a kept connection that the server has closed since.
            retry=Retry(NoBackoff(), 1),
            unavailable=CacheUnavailable,
            changed=self._changed,
        )
        self._client = self._valkey.client
        # Sent as EVALSHA; a Valkey that was restarted since is given the text again.
        self._put = self._client.register_script(_PUT)
        self._tell = self._client.register_script(_TELL)
        self._release = self._client.register_script(_RELEASE)
        self._gathered = Gathered(self._get_all, _told)
        self._wall = wall
        self._up = Gauge(
            "shortener_cache_up",
            "1 while the cache is used, 0 while left alone.",
            registry=registry,
        )
        self._corrupt = Counter(
            "shortener_cache_corrupt_total",
            "Entries in the cache that are none; each was taken for a miss.",
            registry=registry,
        )
        self._up.set(1)
        self._log = structlog.get_logger()

    async def get(self, key: str) -> Kept | None:
        data = await self._gathered.get(key)
        return None if data is None else self._unpacked(data)

    async def put(self, key: str, entry: Entry, ttl_s: float) -> Entry:
        return await self._write(self._put, key, entry, ttl_s)

    async def tell(self, key: str, entry: Entry, ttl_s: float) -> Entry:
        if entry.version <= _FIRST:
            return await self._write(self._put, key, entry, ttl_s)
        said = notice(key, entry.version)
        return await self._write(self._tell, key, entry, ttl_s, CHANNEL, said)

    async def _write(
        self, script: AsyncScript, key: str, entry: Entry, ttl_s: float, *more: str
    ) -> Entry:
        data = pack(entry, self._wall() + ttl_s)
        newer: bytes | None = await self._valkey.ask(
            lambda: script(keys=[key], args=[entry.version, data, _ms(ttl_s), *more])
        )
        there = None if newer is None else self._unpacked(newer)
        return entry if there is None else there.entry

    async def take(self, name: str, token: str, *, ttl_s: float) -> bool:
        put = await self._valkey.ask(lambda: self._client.set(name, token, px=_ms(ttl_s), nx=True))
        return put is not None

    async def release(self, name: str, token: str) -> None:
        await self._valkey.ask(lambda: self._release(keys=[name], args=[token]))

    async def ping(self) -> None:
        """Return when Valkey answers, whatever the breaker thinks of it."""
        await self._valkey.ask_anyway(lambda: self._client.ping())

    async def close(self) -> None:
        """Close all connections."""
        await self._valkey.close()

    async def _get_all(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        if len(keys) == 1:
            return [await self._valkey.ask(lambda: self._client.get(keys[0]))]
        found: Sequence[bytes | None] = await self._valkey.ask(lambda: self._client.mget(keys))
        return found

    def _unpacked(self, data: bytes) -> Kept | None:
        try:
            return unpack(data, self._wall())
        except BadEntry:
            self._corrupt.inc()
            return None

    def _changed(self, is_up: bool) -> None:
        self._up.set(is_up)
        if is_up:
            self._log.info("cache works again")
        else:
            self._log.warning("cache does not answer, links come from the database")


def _told(error: Exception) -> Exception:
    """An error for each who asked: one and the same would collect the frames of all of them."""
    return CacheUnavailable(str(error)) if isinstance(error, CacheUnavailable) else error


def pack(entry: Entry, ends_s: float) -> bytes:
    """An entry as it lies in Valkey: as `links.encode` has it, then when it ends.

    The end, in ms since the epoch by the clock of who wrote it, is for early refresh alone: clocks
    that differ make that earlier or later. Valkey itself removes the entry by its own clock.
    """
    return b"%b %d" % (encode(entry), round(ends_s * 1000))


def unpack(data: bytes, now_s: float) -> Kept:
    """The entry in `data`. Raises `links.BadEntry` for what `pack` did not make."""
    entry, _, ends_ms = data.rpartition(b" ")
    try:
        return Kept(decode(entry), int(ends_ms) / 1000 - now_s)
    except ValueError as error:
        raise BadEntry("not a cached link") from error


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
