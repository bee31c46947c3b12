"""How the parts are made that are the week's ideas, each by a function of its own.

A claim's control takes one idea out by putting another maker in its place (`checks/variants.py`);
the service itself has no switch for any of this.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from infra.service.retry import Pace
from week04_shortener import live
from week04_shortener.api import parts as api
from week04_shortener.cache.aside import (
    Cache,
    CacheAside,
    Dated,
    Lease,
    Tiers,
    code_of,
    local_renewal_s,
)
from week04_shortener.cache.early import Early
from week04_shortener.cache.fills import FillMetrics, Fills
from week04_shortener.cache.lease import LeaseMetrics, SharedLease, Tokens
from week04_shortener.cache.lease import Limits as LeaseLimits
from week04_shortener.cache.local import Local, LocalCache, LocalMetrics, NoLocalCache
from week04_shortener.cache.lookups import CacheMetrics
from week04_shortener.cache.notices import CONNECT_S, PING_MOST_S, PINGS, Listener, NoticeMetrics
from week04_shortener.cache.notices import Limits as NoticeLimits
from week04_shortener.cache.renewals import Renewals
from week04_shortener.cache.shared import cache_of, lifetimes_of
from week04_shortener.cache.singleflight import Flight, SingleFlight
from week04_shortener.clicks.clicklog import ClickLogMetrics, ClickLogWriter
from week04_shortener.clicks.recorder import ClickLog
from week04_shortener.codes import Codec
from week04_shortener.limits.counters import ValkeyCounters
from week04_shortener.limits.limiter import Limiter, LimiterMetrics
from week04_shortener.links import Entry
from week04_shortener.redirects import guarded
from week04_shortener.settings import Settings
from week04_shortener.storage.database import Database
from week04_shortener.storage.store import LinkStore
from week04_shortener.storage.visits import Visits
from week04_shortener.valkey import ValkeyLimits


class Store(api.Links, live.Links, Protocol):
    """Links, and the lookup that the cache stands before."""

    async def entry_of(self, code: str) -> Entry: ...


class SharedCache(Cache, Tokens, Protocol):
    """The cache of all replicas, and the leases in it."""

    async def ping(self) -> None: ...
    async def close(self) -> None: ...


class Ear(Protocol):
    """What has a replica hear of changed links."""

    async def run(self, stop: asyncio.Event) -> None: ...


class ClickKeeper(ClickLog, Protocol):
    """The click log as a process has it."""

    async def check(self) -> None: ...
    def close(self) -> None: ...


def _store(settings: Settings, database: Database, _registry: CollectorRegistry) -> Store:
    codec = Codec(settings.code_key.get_secret_value().encode())
    return LinkStore(database, codec, idempotency_s=settings.idempotency_hours * 3600)


def _lease(settings: Settings, tokens: Tokens, registry: CollectorRegistry) -> Lease[Entry]:
    limits = LeaseLimits(settings.lease_ttl_s, settings.lease_wait_s)
    return SharedLease(tokens, limits, LeaseMetrics(registry))


def _local(settings: Settings, registry: CollectorRegistry) -> Local:
    if not settings.local_entries:
        return NoLocalCache()
    cache = LocalCache(
        entries=settings.local_entries,
        ttl_s=settings.local_ttl_s,
        most_s=settings.local_most_s,
        renew_s=_early(settings).horizon_s(local_renewal_s(settings.local_ttl_s)),
        random=random.random,
    )
    LocalMetrics(cache, registry)
    return cache


def _listener(settings: Settings, local: Local, registry: CollectorRegistry) -> Listener | None:
    if not isinstance(local, LocalCache) or settings.local_most_s <= settings.local_ttl_s:
        return None
    every_s = min(settings.local_ttl_s / PINGS, PING_MOST_S)
    limits = NoticeLimits(every_s=every_s, connect_s=CONNECT_S)
    return Listener(
        settings.valkey_url.get_secret_value(),
        local,
        code_of,
        NoticeMetrics(registry),
        limits=limits,
        pace=Pace(settings.retry_first_s, settings.retry_most_s),
    )


def _click_log(settings: Settings, registry: CollectorRegistry) -> ClickKeeper:
    return ClickLogWriter(
        settings.click_log_dir,
        segment_bytes=settings.click_segment_bytes,
        metrics=ClickLogMetrics(registry),
    )


def _limiter(settings: Settings, registry: CollectorRegistry) -> Limiter:
    limits = ValkeyLimits(
        timeout_s=settings.cache_timeout_s,
        pool_size=settings.cache_pool_size,
        failures_to_open=settings.cache_failures_to_open,
        open_s=settings.cache_open_s,
    )
    counters = ValkeyCounters(settings.valkey_url.get_secret_value(), limits, registry)
    return Limiter(
        counters, LimiterMetrics(registry), secret=secret_for(settings.visitor_key, "limits")
    )


@dataclass(frozen=True)
class Makers:
    """How the parts are made that are the week's ideas. Claims put another in place of one.

    `click_log` raises `CannotStart`.
    """

    store: Callable[[Settings, Database, CollectorRegistry], Store] = _store
    cache: Callable[[Settings, CollectorRegistry], SharedCache] = cache_of
    local: Callable[[Settings, CollectorRegistry], Local] = _local
    listener: Callable[[Settings, Local, CollectorRegistry], Ear | None] = _listener
    flight: Callable[[], Flight[Dated]] = SingleFlight
    lease: Callable[[Settings, Tokens, CollectorRegistry], Lease[Entry]] = _lease
    click_log: Callable[[Settings, CollectorRegistry], ClickKeeper] = _click_log
    limiter: Callable[[Settings, CollectorRegistry], Limiter] = _limiter
    visits: Callable[[Database], guarded.Visits] = Visits


def lookup_of(
    settings: Settings,
    make: Makers,
    store: Store,
    cache: SharedCache,
    local: Local,
    renewals: Renewals,
    registry: CollectorRegistry,
) -> CacheAside:
    """The lookup of a redirect, through all tiers."""
    fills = Fills(
        store.entry_of,
        most=settings.fills,
        wait_s=settings.fill_wait_s,
        metrics=FillMetrics(registry),
    )
    tiers = Tiers(
        local=local,
        cache=cache,
        load=fills.entry_of,
        flight=make.flight(),
        lease=make.lease(settings, cache, registry),
        lifetimes=lifetimes_of(settings),
        early=_early(settings),
        renewals=renewals,
        stale_s=settings.local_ttl_s,
    )
    return CacheAside(tiers, CacheMetrics(registry))


def _early(settings: Settings) -> Early:
    return Early(settings.early_refresh, random.random)


def secret_for(key: SecretStr, purpose: str) -> bytes:
    """A secret for one purpose out of a key that serves several (RFC 7693: keyed BLAKE2b)."""
    data = purpose.encode("ascii")
    return hashlib.blake2b(data, key=key.get_secret_value().encode(), digest_size=32).digest()
