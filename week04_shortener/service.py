"""The API's assembly: which parts it is made of, and how they are joined.

python -m week01_http_server --factory week04_shortener.service:create_app
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from infra.service import lifecycle
from infra.service.health import Check
from infra.service.lifecycle import CannotStart
from infra.service.logs import configure_logging
from infra.service.metrics import HttpMetrics, new_registry
from infra.service.plumbing import install
from infra.service.requests import RequestIds
from infra.service.settings import load_settings
from week04_shortener import live, pages
from week04_shortener.analytics.statistics import Statistics
from week04_shortener.api import parts as wanted
from week04_shortener.api import routes
from week04_shortener.api.errors import problems
from week04_shortener.cache.aside import CacheAside
from week04_shortener.cache.renewals import RenewalMetrics, Renewals
from week04_shortener.callers import Callers, neighbourhood
from week04_shortener.clicks.agents import Agents
from week04_shortener.clicks.recorder import Recorder
from week04_shortener.clicks.visitors import Visitors
from week04_shortener.draining import on_signal
from week04_shortener.limits.limiter import Limiter
from week04_shortener.limits.middleware import RateLimitMiddleware
from week04_shortener.limits.rules import RequestLimits, passwords_of, rules_of
from week04_shortener.makers import (
    ClickKeeper,
    Ear,
    Makers,
    SharedCache,
    Store,
    lookup_of,
    secret_for,
)
from week04_shortener.redirects import guarded, passwords
from week04_shortener.redirects.access import AccessLog
from week04_shortener.redirects.redirect import Redirects
from week04_shortener.settings import Settings
from week04_shortener.storage.database import Database, DatabaseMetrics, open_database
from week04_shortener.storage.keys import Keys
from week04_shortener.targets.blocklist import BlockList
from week04_shortener.targets.rules import TargetRules, accept, own_host

SERVICE = "shortener-api"

DESCRIPTION = """
Short links, and what becomes of them: week 4 of the lab. Answers that are no success are problem
documents (RFC 9457). In the lab's open mode everything works without a key.
"""


def create_app() -> ASGIApp:
    """The API, for a server's ``--factory``. Starts whether or not its servers are there.

    What cannot be helped by waiting, settings and the click log's directory, ends the process
    with one line.
    """
    return api(load_settings(Settings), Makers())


def api(settings: Settings, make: Makers) -> ASGIApp:
    """The API out of the parts that `make` makes: the redirect in front, the rest behind it."""
    try:
        return _join(_core(settings, make), make)
    except CannotStart as error:
        lifecycle.refuse_start(error)


@dataclass(frozen=True)
class _Core:
    """What others are made of, and what ends with the process."""

    settings: Settings
    registry: CollectorRegistry
    access_log: AccessLog
    click_log: ClickKeeper
    database: Database
    store: Store
    cache: SharedCache
    renewals: Renewals
    lookup: CacheAside
    listener: Ear | None
    limiter: Limiter
    keys: Keys
    callers: Callers
    statistics: Statistics
    board: live.Board
    block_list: BlockList | None
    pages: pages.Pages


def _core(settings: Settings, make: Makers) -> _Core:
    sink = configure_logging(SERVICE, settings.log_level)
    registry = new_registry(sink)
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
    local = make.local(settings, registry)
    renewals = Renewals(RenewalMetrics(registry))
    keys = Keys(database)
    statistics = Statistics(database)
    block_list = settings.block_list
    return _Core(
        settings=settings,
        registry=registry,
        access_log=AccessLog(sink, service=SERVICE, wanted=settings.log_level in ("DEBUG", "INFO")),
        click_log=make.click_log(settings, registry),
        database=database,
        store=store,
        cache=cache,
        renewals=renewals,
        lookup=lookup_of(settings, make, store, cache, local, renewals, registry),
        listener=make.listener(settings, local, registry),
        limiter=make.limiter(settings, registry),
        keys=keys,
        callers=Callers(keys, trusted=settings.trusted_proxies, open_mode=settings.open_mode),
        statistics=statistics,
        board=live.Board(statistics, live.LiveMetrics(registry), max_streams=settings.max_streams),
        block_list=BlockList(block_list, registry) if block_list is not None else None,
        pages=pages.load(),
    )


def _join(core: _Core, make: Makers) -> Redirects:
    settings = core.settings
    metrics = HttpMetrics(core.registry)
    limits = RequestLimits(core.limiter, rules_of(settings), core.callers.address_of)
    agents = Agents()
    visitor_key = settings.visitor_key.get_secret_value().encode()
    recorder = Recorder(
        core.click_log,
        agents,
        Visitors(visitor_key, core.callers.address_of),
        replica=settings.replica,
    )
    guard = guarded.Guarded(
        guarded.Parts(
            links=core.store,
            visits=make.visits(core.database),
            agents=agents,
            pages=core.pages,
            metrics=guarded.GuardedMetrics(core.registry),
            verify=passwords.verify,
            wait_s=_password_limit(settings, core.limiter),
            address_of=core.callers.address_of,
            follow=recorder.follow,
        )
    )
    return Redirects(
        _framework(core, limits, metrics),
        lookup=core.lookup,
        guarded=guard,
        recorder=recorder,
        ids=RequestIds(settings.trusted_proxies),
        metrics=metrics,
        access_log=core.access_log,
        replica=settings.replica,
        refuse=core.pages.refuse,
    )


def _framework(core: _Core, limits: RequestLimits, metrics: HttpMetrics) -> FastAPI:
    """Everything but the redirect: API, pages, live counters, health and metrics."""
    settings = core.settings
    app = FastAPI(
        title="Shortener",
        version="1",
        description=DESCRIPTION,
        lifespan=partial(_lifespan, core),
        docs_url=None,  # the page is the API's own, without the internet
        redoc_url=None,
    )
    # Added first, and so the innermost: what it refuses is named, logged and counted.
    app.add_middleware(RateLimitMiddleware, limits=limits)
    install(
        app,
        registry=core.registry,
        checks=(
            Check("postgres", core.database.ping),
            Check("valkey", core.cache.ping, required=False),
            Check("click log", core.click_log.check, required=False),
        ),
        trusted_proxies=settings.trusted_proxies,
        response_headers={"X-Replica": settings.replica},
        max_body_bytes=settings.max_body_bytes,
        body_limits=routes.body_limits(settings),
        metrics=metrics,
    )
    routes.add_routes(app, _api_parts(core, limits))
    live.add_live(
        app,
        live.Live(core.board, core.store, core.callers.caller_of),
        problems(401, 404, 422, 429, 503),
    )
    pages.add_pages(app, core.pages)
    return app


def _api_parts(core: _Core, limits: RequestLimits) -> wanted.Parts:
    settings = core.settings
    rules = TargetRules(
        max_chars=settings.max_url_chars,
        own=own_host(settings.public_base_url),
        allow_private=settings.allow_private_targets,
        is_blocked=core.block_list.has if core.block_list is not None else lambda _host: False,
    )
    return wanted.Parts(
        links=core.store,
        lookup=core.lookup,
        keys=core.keys,
        statistics=core.statistics,
        caller_of=core.callers.caller_of,
        accept=partial(accept, rules=rules),
        hash_password=passwords.hash,
        secret=secret_for(settings.code_key, "cursors"),
        public_base_url=settings.public_base_url,
        open_mode=settings.open_mode,
        bounds=wanted.Bounds(
            bulk_links=settings.max_bulk_links, import_rows=settings.max_import_rows
        ),
        charge=limits.charge,
    )


@contextlib.asynccontextmanager
async def _lifespan(core: _Core, _app: FastAPI) -> AsyncIterator[None]:
    with on_signal(core.board.end):
        async with core.database, _kept_current(core.block_list), _told(core.listener):
            yield
            await core.renewals.close()
    await core.limiter.close()
    await core.cache.close()
    core.click_log.close()
    core.access_log.close()


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


@contextlib.asynccontextmanager
async def _told(listener: Ear | None) -> AsyncIterator[None]:
    """Changes of links are heard of for as long as the block lasts."""
    if listener is None:
        yield
        return
    stop = asyncio.Event()
    task = asyncio.create_task(listener.run(stop))
    task.add_done_callback(_say_why_it_ended)
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait([task])


def _say_why_it_ended(task: asyncio.Task[None]) -> None:
    """It is a help, and the service goes on without; but it should only end when it is told to."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        structlog.get_logger().error("changes of links are not heard any more", exc_info=error)


def _password_limit(
    settings: Settings, limiter: Limiter
) -> Callable[[str, str], Awaitable[float | None]]:
    policy = passwords_of(settings)

    async def wait_s(code: str, address: str) -> float | None:
        verdict = await limiter.take(f"{code} {neighbourhood(address)}", policy)
        return None if verdict.allowed else verdict.retry_after_s

    return wait_s
