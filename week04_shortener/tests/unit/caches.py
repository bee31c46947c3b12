"""The cache's surroundings in memory: a clock, a Valkey with versioned writes, a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from week04_shortener.cache.aside import (
    CacheAside,
    CacheUnavailable,
    Dated,
    Kept,
    Lease,
    Lifetimes,
    Tiers,
    code_of,
    key_of,
    local_renewal_s,
)
from week04_shortener.cache.early import Early
from week04_shortener.cache.lease import NoLease
from week04_shortener.cache.local import Local, LocalCache, NoLocalCache
from week04_shortener.cache.lookups import CacheMetrics
from week04_shortener.cache.renewals import RenewalMetrics, Renewals
from week04_shortener.cache.singleflight import Flight, SingleFlight
from week04_shortener.links import ABSENT, Entry, Kind

URL = "https://example.org/a"
STALE_S = 1.0
MOST_S = 60.0


def link(version: int = 1, url: str = URL) -> Entry:
    return Entry(version, Kind.OPEN, url)


@dataclass
class Clock:
    """Seconds, moved by the test; monotonic and wall clock in one."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class MemoryValkey:
    """What the scripts in `cache.valkey` do, in memory; it can be switched off."""

    clock: Clock
    entries: dict[str, tuple[Entry, float]] = field(default_factory=dict)
    ttls: dict[str, float] = field(default_factory=dict)
    gets: int = 0
    away: bool = False
    is_versioned: bool = True
    listeners: list[Callable[[str, int], None]] = field(default_factory=list)

    async def get(self, key: str) -> Kept | None:
        self.gets += 1
        self._answer()
        return self.lies(key)

    async def put(self, key: str, entry: Entry, ttl_s: float) -> Entry:
        self._answer()
        return self._write(key, entry, ttl_s)

    async def tell(self, key: str, entry: Entry, ttl_s: float) -> Entry:
        self._answer()
        if entry.version > 1:
            for hear in self.listeners:
                hear(code_of(key), entry.version)
        return self._write(key, entry, ttl_s)

    def _write(self, key: str, entry: Entry, ttl_s: float) -> Entry:
        there = self.lies(key)
        if self.is_versioned and there is not None and there.entry.version > entry.version:
            return there.entry
        self.entries[key] = (entry, self.clock() + ttl_s)
        self.ttls[key] = ttl_s
        return entry

    def lies(self, key: str) -> Kept | None:
        entry, ends_s = self.entries.get(key, (ABSENT, 0.0))
        return Kept(entry, ends_s - self.clock()) if ends_s > self.clock() else None

    def _answer(self) -> None:
        if self.away:
            raise CacheUnavailable("switched off")


class Database:
    """Counts its lookups; `gate` lets a test stand between the read and its result."""

    def __init__(self) -> None:
        self.links: dict[str, Entry] = {}
        self.lookups = 0
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.on_read: Callable[[], None] = lambda: None

    async def entry_of(self, code: str) -> Entry:
        self.lookups += 1
        self.asked.set()
        entry = self.links.get(code, ABSENT)
        self.on_read()
        await self.gate.wait()
        return entry


class Replica:
    """A cache-aside with everything around it; several may share a clock, Valkey and database."""

    def __init__(
        self,
        clock: Clock | None = None,
        valkey: MemoryValkey | None = None,
        database: Database | None = None,
        *,
        flight: Flight[Dated] | None = None,
        lease: Lease[Entry] | None = None,
        entries: int = 100,
        beta: float = 0.0,
        random: Callable[[], float] = lambda: 0.0,
        local: Local | None = None,
        aside: type[CacheAside] = CacheAside,
        **links: Entry,
    ) -> None:
        self.clock = clock or Clock()
        self.valkey = valkey or MemoryValkey(self.clock)
        self.database = database or Database()
        self.database.links |= links
        self.registry = CollectorRegistry()
        early = Early(beta, random)
        renew_s = early.horizon_s(local_renewal_s(STALE_S))
        if local is None and entries:
            local = LocalCache(
                entries=entries, ttl_s=STALE_S, most_s=MOST_S, renew_s=renew_s, random=random
            )
        self.local: Local = NoLocalCache() if local is None else local
        self.renewals = Renewals(RenewalMetrics(self.registry), most=4)
        tiers = Tiers(
            local=self.local,
            cache=self.valkey,
            load=self.database.entry_of,
            flight=flight or SingleFlight(),
            lease=lease or NoLease(),
            lifetimes=Lifetimes(ttl_s=100, negative_ttl_s=10, jitter=0.2, random=random),
            early=early,
            renewals=self.renewals,
            stale_s=STALE_S,
            now=self.clock,
            wall=self.clock,
        )
        self.aside = aside(tiers, CacheMetrics(self.registry))

    async def ask(self, code: str = "abc") -> Entry:
        """What a redirect does."""
        return self.aside.near(code) or await self.aside.entry_of(code)

    async def change(self, entry: Entry, code: str = "abc") -> None:
        """What the API does before it answers."""
        self.database.links[code] = entry
        await self.aside.remember(code, entry)

    def lookups(self, tier: str, result: str) -> float:
        return self.value("shortener_cache_lookups_total", tier=tier, result=result)

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0

    def in_valkey(self, code: str = "abc") -> Entry | None:
        kept = self.valkey.lies(key_of(code))
        return None if kept is None else kept.entry
