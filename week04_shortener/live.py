"""Click counts as they grow: server-sent events (HTML Standard, section 9.2) to who watches.

However many watch, the database is asked by one poller for each replica, for all watched codes
together, and by nobody while nobody watches. Polled and not pushed: the consumer that counts knows
nothing of the replicas, and a query of a few keys by their index each half second is less to run
and to break than one more channel between processes.

A stream holds no queue. What has not been sent yet is one number for each code, and a newer number
takes its place: a client that reads slowly gets fewer events, not older ones, and costs no memory.
"""

import asyncio
import contextvars
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol

import structlog
from fastapi import FastAPI, Path, Query, Request
from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from infra.service.problems import Problem, problem_response
from week04_shortener.callers import Caller
from week04_shortener.links import is_code_or_alias
from week04_shortener.storage.database import DatabaseUnavailable

POLL_S: Final = 0.5
HEARTBEAT_S: Final = 15.0
"""A proxy or a phone's network drops what is silent for long; a comment is ignored by clients."""

REPLY_S: Final = 1.0
"""Longer than a reset takes to come back, over nearly any way."""

MAX_AGE_S: Final = 600.0
"""A stream ends after it and the client comes again: so long, at most, a revoked key still sees."""

RETRY_MS: Final = 2000
MAX_CODES: Final = 100
"""Codes in one stream."""

AWAY_S: Final = 2.0
"""How long a database that did not answer is left alone."""

_CODES: Final = rf"^[0-9A-Za-z_-]{{3,32}}(,[0-9A-Za-z_-]{{3,32}}){{0,{MAX_CODES - 1}}}$"

_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # nginx reads it, if its own configuration does not say so already.
    (b"x-accel-buffering", b"no"),
)


class Totals(Protocol):
    """Where counts are read; raises `DatabaseUnavailable`."""

    async def totals(self, codes: Collection[str]) -> Mapping[str, int]: ...


class Links(Protocol):
    """Whose links there are; raises `DatabaseUnavailable`."""

    async def owned(self, codes: Collection[str], *, owner_id: int | None) -> set[str]:
        """Those of `codes` that are links of this owner, not deleted."""
        ...


class LiveMetrics:
    """Who watches, and what that costs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.streams = Gauge(
            "shortener_live_streams", "Live counters that are being served.", registry=registry
        )
        self.polls = Counter(
            "shortener_live_polls_total",
            "Questions to the database for all watched codes.",
            ("result",),
            registry=registry,
        )


class Watcher:
    """What one stream has still to be told of its `codes`."""

    def __init__(self, codes: Collection[str]) -> None:
        self.codes = frozenset(codes)
        self._told: dict[str, int] = {}
        self._news: dict[str, int] = {}
        self._is_away = self._tell_away = False
        self._over = False
        self._changed = asyncio.Event()

    def see(self, totals: Mapping[str, int]) -> None:
        """Take note of the counts of now; those that the client knows are no news."""
        if self._is_away:
            # All are told again: it is how the client learns that counting goes on.
            self._told.clear()
        self._is_away = self._tell_away = False
        for code in self.codes & totals.keys():
            if self._told.get(code) != totals[code]:
                self._news[code] = totals[code]
                self._changed.set()

    def miss(self) -> None:
        """Take note that there are no counts to be had."""
        if not self._is_away:
            self._is_away = self._tell_away = True
            self._changed.set()

    def end(self) -> None:
        """Let `events` return None from now on."""
        self._over = True
        self._changed.set()

    async def events(self, patience_s: float) -> bytes | None:
        """The next events as bytes; empty after `patience_s` without any, None at the end."""
        try:
            async with asyncio.timeout(patience_s):
                await self._changed.wait()
        except TimeoutError:
            return b""
        if self._over:
            return None
        self._changed.clear()
        news = [_event("clicks", {"code": code, "clicks": n}) for code, n in self._news.items()]
        if self._tell_away:
            news.append(_event("away", {}))
        self._told |= self._news
        self._news.clear()
        self._tell_away = False
        return b"".join(news)


class Board:
    """The counts of all watched codes, asked for together, and who watches which.

    At most `max_streams` watch at once. The parts that need a loop are made when the first joins.
    """

    def __init__(
        self, totals: Totals, metrics: LiveMetrics, *, max_streams: int, poll_s: float = POLL_S
    ) -> None:
        self._totals = totals
        self._metrics = metrics
        self._max_streams = max_streams
        self._poll_s = poll_s
        self._watchers: set[Watcher] = set()
        self._poller: asyncio.Task[None] | None = None
        self._over = False
        self._log = structlog.get_logger()

    def join(self, codes: Collection[str]) -> Watcher | None:
        """A new watcher, who must `leave`; None when there are too many, or the end is near."""
        if self._over or len(self._watchers) >= self._max_streams:
            return None
        watcher = Watcher(codes)
        self._watchers.add(watcher)
        self._metrics.streams.inc()
        if self._poller is None:
            # Not in the context of whoever came first: what it logs is no request's.
            self._poller = asyncio.create_task(
                self._poll(), name="live counters", context=contextvars.Context()
            )
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """The watcher is gone; with the last one the polling ends."""
        self._watchers.remove(watcher)
        self._metrics.streams.dec()
        if not self._watchers and self._poller is not None:
            self._poller.cancel()
            self._poller = None

    def end(self) -> None:
        """End all streams and take no further ones: the process is about to stop."""
        self._over = True
        for watcher in self._watchers:
            watcher.end()

    async def _poll(self) -> None:
        was_away = False
        while True:
            codes = frozenset[str]().union(*(watcher.codes for watcher in self._watchers))
            try:
                totals = await self._totals.totals(codes)
            except DatabaseUnavailable as error:
                self._metrics.polls.labels("failed").inc()
                if not was_away:
                    self._log.warning("live counters stand still", error=str(error))
                was_away = True
                for watcher in self._watchers:
                    watcher.miss()
                await asyncio.sleep(max(AWAY_S, self._poll_s))
                continue
            except Exception:
                # Not a state of the database but a mistake of ours: end the streams, so that it is
                # seen, and let the next who joins begin anew.
                self._log.exception("live counters failed")
                self._poller = None
                for watcher in self._watchers:
                    watcher.end()
                return
            was_away = False
            self._metrics.polls.labels("answered").inc()
            for watcher in self._watchers:
                watcher.see(totals)
            await asyncio.sleep(self._poll_s)


class EventStream(Response):
    """The counts of `codes` until the client leaves, `max_age_s` is over or the process ends.

    503 with Retry-After when the board has no place left.
    """

    def __init__(
        self,
        board: Board,
        codes: Collection[str],
        *,
        heartbeat_s: float = HEARTBEAT_S,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        super().__init__()
        self._board = board
        self._codes = codes
        self._heartbeat_s = heartbeat_s
        self._max_age_s = max_age_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watcher = self._board.join(self._codes)
        if watcher is None:
            full = problem_response(
                503, "Too many live counters are open; try again later.",
                headers={"Retry-After": "30"},
            )  # fmt: skip
            await full(scope, receive, send)
            return
        # Both end the stream where it waits for news, and nowhere else.
        leaving = asyncio.create_task(_when_gone(receive, watcher.end))
        too_old = asyncio.get_running_loop().call_later(self._max_age_s, watcher.end)
        try:
            await self._serve(watcher, send)
        except OSError:
            # "If send() is called on a closed connection the server should raise OSError" (ASGI).
            return
        finally:
            self._board.leave(watcher)
            too_old.cancel()
            leaving.cancel()

    async def _serve(self, watcher: Watcher, send: Send) -> None:
        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS]})
        await write(f"retry: {RETRY_MS}\n\n".encode())
        while (data := await watcher.events(self._heartbeat_s)) is not None:
            if data:
                await write(data)
                continue
            # A comment, in two pieces. A client that closed its side of the connection may still
            # be reading (RFC 9112 section 9.6), so a server cannot tell it from one that is gone
            # but by writing: the first piece is answered with a reset, the second one meets it.
            await write(b": nothing")
            await asyncio.sleep(min(REPLY_S, self._heartbeat_s))
            await write(b" new\n\n")
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass(frozen=True)
class Live:
    """What the routes are made of; `caller_of` raises `Problem` 401."""

    board: Board
    links: Links
    caller_of: Callable[[HTTPConnection], Awaitable[Caller]]
    heartbeat_s: float = HEARTBEAT_S
    max_age_s: float = MAX_AGE_S


def add_live(app: FastAPI, live: Live, problems: Mapping[int | str, dict[str, Any]]) -> None:
    """Add the streams to `app`; `problems` are their errors as OpenAPI has them."""
    documented: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "Events `clicks`, each with the count of one code as it is now, and "
            "`away` while the database does not answer. The stream ends after ten minutes; "
            "open it again.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **problems,
    }
    common: dict[str, Any] = {"response_class": Response, "responses": documented, "tags": ["live"]}

    async def stream(request: Request, codes: Collection[str]) -> Response:
        caller = await live.caller_of(request)
        # Nothing else is looked up: what a path may hold, a NUL, PostgreSQL's text may not.
        codes = [code for code in codes if is_code_or_alias(code)]
        theirs = await live.links.owned(codes, owner_id=caller.owner_id) if codes else None
        if not theirs:
            raise Problem(404, "You have no link with this code.")
        # Of several the others are left out: one that was deleted elsewhere stops no counter.
        return EventStream(
            live.board, theirs, heartbeat_s=live.heartbeat_s, max_age_s=live.max_age_s
        )

    @app.get("/api/v1/links/{code}/live", summary="Watch a link's clicks", **common)
    async def of_one(request: Request, code: Annotated[str, Path(max_length=32)]) -> Response:
        return await stream(request, [code])

    @app.get("/api/v1/live", summary="Watch the clicks of several links", **common)
    async def of_several(
        request: Request,
        codes: Annotated[
            str,
            Query(
                description=f"1 to {MAX_CODES} codes, separated by commas",
                pattern=_CODES,
                max_length=MAX_CODES * 33,
            ),
        ],
    ) -> Response:
        return await stream(request, list(dict.fromkeys(codes.split(","))))


async def _when_gone(receive: Receive, call: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    call()


def _event(name: str, data: Mapping[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
