"""The API's assembly: which parts it is made of, and how they are joined.

python -m week01_http_server --factory week04_shortener.service:create_app
"""

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from infra.service import lifecycle
from infra.service.health import Check
from infra.service.lifecycle import CannotStart
from infra.service.logs import configure_logging
from infra.service.metrics import new_registry
from infra.service.plumbing import install
from infra.service.settings import load_settings
from week04_shortener import passwords, urls
from week04_shortener.api.parts import Bounds, Links
from week04_shortener.api.parts import Parts as ApiParts
from week04_shortener.api.routes import add_routes, body_limits
from week04_shortener.app import ClickLog, Parts, add_redirect
from week04_shortener.cache import (
    Cache,
    CacheAside,
    CacheMetrics,
    Dated,
    Lease,
    Lifetimes,
    Tiers,
    local_renewal_s,
)
from week04_shortener.callers import Callers
from week04_shortener.clicklog import ClickLogMetrics, ClickLogWriter
from week04_shortener.codes import Codec
from week04_shortener.database import Database, DatabaseMetrics, open_database
from week04_shortener.early import Early
from week04_shortener.fills import FillMetrics, Fills
from week04_shortener.keys import Keys
from week04_shortener.lease import LeaseMetrics, Limits, SharedLease, Tokens
from week04_shortener.links import Entry
from week04_shortener.local_cache import Local, LocalCache, LocalMetrics, NoLocalCache
from week04_shortener.renewals import RenewalMetrics, Renewals
from week04_shortener.settings import Settings
from week04_shortener.singleflight import Flight, SingleFlight
from week04_shortener.statistics import Statistics
from week04_shortener.store import LinkStore
from week04_shortener.valkey_cache import ValkeyCache

DESCRIPTION = """
Short links, and what becomes of them: week 4 of the lab. Answers that are no success are problem
documents (RFC 9457). In the lab's open mode everything works without a key.
"""


class Store(Links, Protocol):
    """Links, and the lookup that the cache stands before."""

    async def entry_of(self, code: str) -> Entry: ...


class SharedCache(Cache, Tokens, Protocol):
    """The cache of all replicas, and the leases in it."""

    async def ping(self) -> None: ...
    async def close(self) -> None: ...


class ClickKeeper(ClickLog, Protocol):
    """The click log as a process has it."""

    async def check(self) -> None: ...
    def close(self) -> None: ...


def _store(settings: Settings, database: Database, _registry: CollectorRegistry) -> Store:
    codec = Codec(settings.code_key.get_secret_value().encode())
    return LinkStore(database, codec, idempotency_s=settings.idempotency_hours * 3600)


def _cache(settings: Settings, registry: CollectorRegistry) -> SharedCache:
    return ValkeyCache(
        settings.valkey_url.get_secret_value(),
        timeout_s=settings.cache_timeout_s,
        pool_size=settings.cache_pool_size,
        failures_to_open=settings.cache_failures_to_open,
        open_s=settings.cache_open_s,
        registry=registry,
    )


def _lease(settings: Settings, tokens: Tokens, registry: CollectorRegistry) -> Lease[Entry]:
    limits = Limits(settings.lease_ttl_s, settings.lease_wait_s)
    return SharedLease(tokens, limits, LeaseMetrics(registry))


def _local(settings: Settings, registry: CollectorRegistry) -> Local:
    if not settings.local_entries:
        return NoLocalCache()
    cache = LocalCache(
        entries=settings.local_entries,
        ttl_s=settings.local_ttl_s,
        renew_s=_early(settings).horizon_s(local_renewal_s(settings.local_ttl_s)),
    )
    LocalMetrics(cache, registry)
    return cache


def _click_log(settings: Settings, registry: CollectorRegistry) -> ClickKeeper:
    try:
        return ClickLogWriter(
            settings.click_log_dir,
            segment_bytes=settings.click_segment_bytes,
            metrics=ClickLogMetrics(registry),
        )
    except CannotStart as error:
        lifecycle.refuse_start(error)


@dataclass(frozen=True)
class Makers:
    """How the parts are made that are the week's ideas. Claims put another in place of one."""

    store: Callable[[Settings, Database, CollectorRegistry], Store] = _store
    cache: Callable[[Settings, CollectorRegistry], SharedCache] = _cache
    local: Callable[[Settings, CollectorRegistry], Local] = _local
    flight: Callable[[], Flight[Dated]] = SingleFlight
    lease: Callable[[Settings, Tokens, CollectorRegistry], Lease[Entry]] = _lease
    click_log: Callable[[Settings, CollectorRegistry], ClickKeeper] = _click_log


def create_app() -> FastAPI:
    """The API, for a server's ``--factory``. Starts whether or not its servers are there.

    What cannot be helped by waiting, settings and the click log's directory, ends the process
    with one line.
    """
    return api(load_settings(Settings), Makers())


def api(settings: Settings, make: Makers) -> FastAPI:
    """The API out of the parts that `make` makes."""
    registry = new_registry(configure_logging("shortener-api", settings.log_level))
    click_log = make.click_log(settings, registry)
    database = open_database(
        settings.database_url.get_secret_value(),
        name="shortener-api",
        pool_size=settings.database_pool_size,
        connect_timeout_s=settings.database_connect_timeout_s,
        timeout_s=settings.database_timeout_s,
        metrics=DatabaseMetrics(registry),
    )
    store = make.store(settings, database, registry)
    cache = make.cache(settings, registry)
    renewals = Renewals(RenewalMetrics(registry))
    fills = Fills(
        store.entry_of,
        most=settings.fills,
        wait_s=settings.fill_wait_s,
        metrics=FillMetrics(registry),
    )
    tiers = Tiers(
        local=make.local(settings, registry),
        cache=cache,
        load=fills.entry_of,
        flight=make.flight(),
        lease=make.lease(settings, cache, registry),
        lifetimes=_lifetimes(settings),
        early=_early(settings),
        renewals=renewals,
        stale_s=settings.local_ttl_s,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with database:
            yield
            await renewals.close()
        await cache.close()
        click_log.close()

    app = FastAPI(
        title="Shortener",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # the page is the API's own, without the internet
        redoc_url=None,
    )
    install(
        app,
        registry=registry,
        checks=(
            Check("postgres", database.ping),
            Check("valkey", cache.ping, required=False),
            Check("click log", click_log.check, required=False),
        ),
        trusted_proxies=settings.trusted_proxies,
        response_headers={"X-Replica": settings.replica},
        max_body_bytes=settings.max_body_bytes,
        body_limits=body_limits(settings),
    )
    lookup = CacheAside(tiers, CacheMetrics(registry))
    add_routes(app, _api_parts(settings, store, lookup, database))
    add_redirect(app, Parts(lookup, click_log, settings.replica))
    return app


def _api_parts(
    settings: Settings, store: Store, lookup: CacheAside, database: Database
) -> ApiParts:
    keys = Keys(database)
    callers = Callers(keys, trusted=settings.trusted_proxies, open_mode=settings.open_mode)
    return ApiParts(
        links=store,
        lookup=lookup,
        keys=keys,
        statistics=Statistics(database),
        caller_of=callers.caller_of,
        accept=lambda url: urls.accept(url, max_chars=settings.max_url_chars),
        hash_password=passwords.hash,
        secret=settings.code_key.get_secret_value().encode(),
        public_base_url=settings.public_base_url,
        open_mode=settings.open_mode,
        bounds=Bounds(settings.max_bulk_links, settings.max_import_rows),
    )


def _lifetimes(settings: Settings) -> Lifetimes:
    return Lifetimes(
        settings.cache_ttl_s,
        settings.cache_negative_ttl_s,
        settings.cache_ttl_jitter,
        random.random,
    )


def _early(settings: Settings) -> Early:
    return Early(settings.early_refresh, random.random)
