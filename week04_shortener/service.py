"""The API's assembly: which parts it is made of, and how they are joined.

python -m week01_http_server --factory week04_shortener.service:create_app
"""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.types import ASGIApp

from infra.service import lifecycle
from infra.service.health import Check
from infra.service.lifecycle import CannotStart
from infra.service.logs import configure_logging
from infra.service.metrics import HttpMetrics, new_registry
from infra.service.plumbing import install
from infra.service.requests import RequestIds
from infra.service.settings import load_settings
from week04_shortener import guarded as guards
from week04_shortener import live, pages, passwords, targets
from week04_shortener.access import AccessLog
from week04_shortener.agents import Agents
from week04_shortener.api import parts as wanted
from week04_shortener.api import routes
from week04_shortener.api.errors import problems
from week04_shortener.blocklist import BlockList
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
from week04_shortener.callers import Callers, neighbourhood
from week04_shortener.clicklog import ClickLogMetrics, ClickLogWriter
from week04_shortener.codes import Codec
from week04_shortener.database import Database, DatabaseMetrics, open_database
from week04_shortener.draining import on_signal
from week04_shortener.early import Early
from week04_shortener.fills import FillMetrics, Fills
from week04_shortener.keys import Keys
from week04_shortener.lease import LeaseMetrics, SharedLease, Tokens
from week04_shortener.lease import Limits as LeaseLimits
from week04_shortener.limits.counters import ValkeyCounters, ValkeyLimits
from week04_shortener.limits.limiter import Limiter, LimiterMetrics
from week04_shortener.limits.middleware import RateLimitMiddleware
from week04_shortener.limits.rules import RequestLimits, passwords_of, rules_of
from week04_shortener.links import Entry
from week04_shortener.local_cache import Local, LocalCache, LocalMetrics, NoLocalCache
from week04_shortener.recorder import ClickLog, Recorder
from week04_shortener.redirect import Redirects
from week04_shortener.renewals import RenewalMetrics, Renewals
from week04_shortener.settings import Settings
from week04_shortener.singleflight import Flight, SingleFlight
from week04_shortener.statistics import Statistics
from week04_shortener.store import LinkStore
from week04_shortener.targets import TargetRules, own_host
from week04_shortener.valkey_cache import ValkeyCache
from week04_shortener.visitors import Visitors
from week04_shortener.visits import Visits

SERVICE = "shortener-api"

DESCRIPTION = """
Short links, and what becomes of them: week 4 of the lab. Answers that are no success are problem
documents (RFC 9457). In the lab's open mode everything works without a key.
"""


class Store(wanted.Links, live.Links, Protocol):
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
    limits = LeaseLimits(settings.lease_ttl_s, settings.lease_wait_s)
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


def _block_list(settings: Settings, registry: CollectorRegistry) -> BlockList | None:
    if settings.block_list is None:
        return None
    try:
        return BlockList(settings.block_list, registry)
    except CannotStart as error:
        lifecycle.refuse_start(error)


def _limiter(settings: Settings, registry: CollectorRegistry) -> Limiter:
    limits = ValkeyLimits(
        timeout_s=settings.cache_timeout_s,
        pool_size=settings.cache_pool_size,
        failures_to_open=settings.cache_failures_to_open,
        open_s=settings.cache_open_s,
    )
    counters = ValkeyCounters(settings.valkey_url.get_secret_value(), limits, registry)
    return Limiter(
        counters, LimiterMetrics(registry), secret=_secret(settings.visitor_key, "limits")
    )


@contextlib.asynccontextmanager
async def _kept_current(block_list: BlockList | None) -> AsyncIterator[None]:
    """Changes of the list's file are seen for as long as the block lasts."""
    if block_list is None:
        yield
        return
    task = asyncio.create_task(block_list.keep_current())
    try:
        yield
    finally:
        task.cancel()


@dataclass(frozen=True)
class Makers:
    """How the parts are made that are the week's ideas. Claims put another in place of one."""

    store: Callable[[Settings, Database, CollectorRegistry], Store] = _store
    cache: Callable[[Settings, CollectorRegistry], SharedCache] = _cache
    local: Callable[[Settings, CollectorRegistry], Local] = _local
    flight: Callable[[], Flight[Dated]] = SingleFlight
    lease: Callable[[Settings, Tokens, CollectorRegistry], Lease[Entry]] = _lease
    click_log: Callable[[Settings, CollectorRegistry], ClickKeeper] = _click_log
    limiter: Callable[[Settings, CollectorRegistry], Limiter] = _limiter
    visits: Callable[[Database], guards.Visits] = Visits


def create_app() -> ASGIApp:
    """The API, for a server's ``--factory``. Starts whether or not its servers are there.

    What cannot be helped by waiting, settings and the click log's directory, ends the process
    with one line.
    """
    return api(load_settings(Settings), Makers())


def api(settings: Settings, make: Makers) -> ASGIApp:
    """The API out of the parts that `make` makes: the redirect in front, the rest behind it."""
    sink = configure_logging(SERVICE, settings.log_level)
    registry = new_registry(sink)
    access_log = AccessLog(sink, service=SERVICE, wanted=settings.log_level in ("DEBUG", "INFO"))
    metrics = HttpMetrics(registry)
    click_log = make.click_log(settings, registry)
    database = open_database(
        settings.database_url.get_secret_value(),
        name=SERVICE,
        pool_size=settings.database_pool_size,
        connect_timeout_s=settings.database_connect_timeout_s,
        timeout_s=settings.database_timeout_s,
        metrics=DatabaseMetrics(registry),
    )
    store = make.store(settings, database, registry)
    cache = make.cache(settings, registry)
    block_list = _block_list(settings, registry)
    rules = TargetRules(
        max_chars=settings.max_url_chars,
        own=own_host(settings.public_base_url),
        allow_private=settings.allow_private_targets,
        is_blocked=block_list.has if block_list is not None else lambda _host: False,
    )
    renewals = Renewals(RenewalMetrics(registry))
    lookup = CacheAside(
        _tiers(settings, make, store, cache, renewals, registry), CacheMetrics(registry)
    )
    limiter = make.limiter(settings, registry)
    keys = Keys(database)
    callers = Callers(keys, trusted=settings.trusted_proxies, open_mode=settings.open_mode)
    limits = RequestLimits(limiter, rules_of(settings), callers.address_of)
    statistics = Statistics(database)
    board = live.Board(statistics, live.LiveMetrics(registry), max_streams=settings.max_streams)
    agents = Agents()
    visitors = Visitors(settings.visitor_key.get_secret_value().encode(), callers.address_of)
    recorder = Recorder(click_log, agents, visitors, replica=settings.replica)
    all_pages = _pages()
    guarded = guards.Guarded(
        guards.Parts(
            links=store,
            visits=make.visits(database),
            agents=agents,
            pages=all_pages,
            metrics=guards.GuardedMetrics(registry),
            verify=passwords.verify,
            wait_s=_password_limit(settings, limiter),
            address_of=callers.address_of,
            follow=recorder.follow,
        )
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with on_signal(board.end):
            async with database, _kept_current(block_list):
                yield
                await renewals.close()
        await limiter.close()
        await cache.close()
        click_log.close()
        access_log.close()

    app = FastAPI(
        title="Shortener",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # the page is the API's own, without the internet
        redoc_url=None,
    )
    # Added first, and so the innermost: what it refuses is named, logged and counted.
    app.add_middleware(RateLimitMiddleware, limits=limits)
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
        body_limits=routes.body_limits(settings),
        metrics=metrics,
    )
    routes.add_routes(
        app,
        wanted.Parts(
            links=store,
            lookup=lookup,
            keys=keys,
            statistics=statistics,
            caller_of=callers.caller_of,
            accept=partial(targets.accept, rules=rules),
            hash_password=passwords.hash,
            secret=_secret(settings.code_key, "cursors"),
            public_base_url=settings.public_base_url,
            open_mode=settings.open_mode,
            bounds=wanted.Bounds(
                bulk_links=settings.max_bulk_links, import_rows=settings.max_import_rows
            ),
            charge=limits.charge,
        ),
    )
    live.add_live(
        app,
        live.Live(board, store, callers.caller_of),
        problems(401, 404, 422, 429, 503),
    )
    pages.add_pages(app, all_pages)
    return Redirects(
        app,
        lookup=lookup,
        guarded=guarded,
        recorder=recorder,
        ids=RequestIds(settings.trusted_proxies),
        metrics=metrics,
        access_log=access_log,
        replica=settings.replica,
        refuse=all_pages.refuse,
    )


def _tiers(
    settings: Settings,
    make: Makers,
    store: Store,
    cache: SharedCache,
    renewals: Renewals,
    registry: CollectorRegistry,
) -> Tiers:
    fills = Fills(
        store.entry_of,
        most=settings.fills,
        wait_s=settings.fill_wait_s,
        metrics=FillMetrics(registry),
    )
    return Tiers(
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


def _pages() -> pages.Pages:
    try:
        return pages.load()
    except CannotStart as error:
        lifecycle.refuse_start(error)


def _lifetimes(settings: Settings) -> Lifetimes:
    return Lifetimes(
        settings.cache_ttl_s,
        settings.cache_negative_ttl_s,
        settings.cache_ttl_jitter,
        random.random,
    )


def _early(settings: Settings) -> Early:
    return Early(settings.early_refresh, random.random)


def _password_limit(
    settings: Settings, limiter: Limiter
) -> Callable[[str, str], Awaitable[float | None]]:
    policy = passwords_of(settings)

    async def wait_s(code: str, address: str) -> float | None:
        verdict = await limiter.take(f"{code} {neighbourhood(address)}", policy)
        return None if verdict.allowed else verdict.retry_after_s

    return wait_s


def _secret(key: SecretStr, purpose: str) -> bytes:
    """A secret for one purpose out of a key that serves several (RFC 7693: keyed BLAKE2b)."""
    data = purpose.encode("ascii")
    return hashlib.blake2b(data, key=key.get_secret_value().encode(), digest_size=32).digest()
