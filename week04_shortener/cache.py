"""Cache-aside: ask the cache, on a miss ask the database and tell the cache.

The cache is a help, never a need. Whatever goes wrong with it, the answer comes from the
database. What is not there is cached as well, for a short time, or a wrong code would be a free
query. Links never change, so nothing needs to be invalidated but that negative entry.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter

from week04_shortener.singleflight import Flight

T = TypeVar("T")

NOTHING = b""
"""What is cached for a code that has no link; no URL is empty."""


class CacheUnavailable(Exception):
    """The cache did not answer, or was not asked because it did not answer before."""


class Cache(Protocol):
    """The cache's side. Every method raises `CacheUnavailable` and no other error."""

    async def get(self, key: str) -> bytes | None:
        """The entry, or None when there is none."""
        ...

    async def set(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Keep `value`, whatever was there."""
        ...

    async def add(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Keep `value` unless there is an entry already."""
        ...


@dataclass(frozen=True)
class Found(Generic[T]):
    """What a look into the cache found; a None in it is a cached absence."""

    value: T


class Lease(Protocol[T]):
    """What lets one replica work for all, or every replica for itself."""

    async def do(
        self,
        key: str,
        work: Callable[[], Awaitable[T]],
        look: Callable[[], Awaitable[Found[T] | None]],
    ) -> T:
        """The result of `work`, done here, or by another replica, where `look` finds it.

        Raises only what `work` raises; `look` may raise `CacheUnavailable`.
        """
        ...


@dataclass(frozen=True)
class Lifetimes:
    """How long entries live. Without jitter, entries made together would expire together."""

    ttl_s: float
    negative_ttl_s: float
    jitter: float
    random: Callable[[], float]

    def of(self, url: str | None) -> float:
        """Seconds for an entry: up to a share `jitter` less than its kind's life."""
        full_s = self.negative_ttl_s if url is None else self.ttl_s
        return full_s * (1 - self.jitter * self.random())


class CacheMetrics:
    """Cache operations that did not answer, and what lookups found."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lookups = Counter(
            "shortener_cache_lookups_total",
            "Cache lookups by result: hit, negative (absence was cached), miss, unavailable.",
            ("result",),
            registry=registry,
        )
        self.failed_writes = Counter(
            "shortener_cache_failed_writes_total",
            "Entries the cache did not take.",
            registry=registry,
        )


class CacheAside:
    """URLs by code, from the cache when it has them and from `load` when it has not."""

    def __init__(
        self,
        cache: Cache,
        load: Callable[[str], Awaitable[str | None]],
        flight: Flight[str | None],
        lease: Lease[str | None],
        lifetimes: Lifetimes,
        metrics: CacheMetrics,
    ) -> None:
        self._cache = cache
        self._load = load
        self._flight = flight
        self._lease = lease
        self._lifetimes = lifetimes
        self._metrics = metrics

    async def url_of(self, code: str) -> str | None:
        """The URL behind `code`, or None. Raises only what `load` raises."""
        try:
            found = await self._look(code)
        except CacheUnavailable:
            self._count("unavailable")
        else:
            if found is not None:
                self._count("negative" if found.value is None else "hit")
                return found.value
            self._count("miss")
        # First one of this replica, then one of all: see `singleflight` and `lease`.
        return await self._flight.do(code, lambda: self._fill_for_all(code))

    async def remember(self, code: str, url: str) -> None:
        """Put a new link into the cache; it replaces the negative entry of an earlier guess."""
        try:
            await self._cache.set(_key(code), url.encode("ascii"), ttl_s=self._lifetimes.of(url))
        except CacheUnavailable:
            self._metrics.failed_writes.inc()

    async def _look(self, code: str) -> Found[str | None] | None:
        entry = await self._cache.get(_key(code))
        if entry is None:
            return None
        return Found(entry.decode("ascii") if entry != NOTHING else None)

    async def _fill_for_all(self, code: str) -> str | None:
        return await self._lease.do(_key(code), lambda: self._fill(code), lambda: self._look(code))

    async def _fill(self, code: str) -> str | None:
        url = await self._load(code)
        value = NOTHING if url is None else url.encode("ascii")
        try:
            # Added, not set: a link made since `load` looked must not be hidden by its absence.
            await self._cache.add(_key(code), value, ttl_s=self._lifetimes.of(url))
        except CacheUnavailable:
            self._metrics.failed_writes.inc()
        return url

    def _count(self, result: str) -> None:
        self._metrics.lookups.labels(result).inc()


def _key(code: str) -> str:
    return f"shortener:link:{code}"
