"""The redirect itself: a plain ASGI app ahead of the framework and of all its middlewares.

It answers ``/{code}``, where the service spends nearly all its time, and hands everything else to
the rest of the service as it came. A link that this replica remembers is answered without a single
wait: look it up, write the click, send. Everything that may take longer (Valkey, PostgreSQL, a
link with a password, a problem to report) goes the second, slower way.

What the plumbing does for other requests is done here too: id, metrics, access line, problems.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.service.metrics import HttpMetrics
from infra.service.problems import CrashMiddleware, problem_response
from infra.service.requests import RequestIds
from week04_shortener.clicks.recorder import NOT_KEPT, Recorder
from week04_shortener.links import Entry, Kind, is_code_or_alias
from week04_shortener.redirects.access import ROUTE, AccessLog
from week04_shortener.storage.database import DatabaseUnavailable

GuardedApp = Callable[[Scope, Receive, Send, str], Awaitable[None]]
"""Answers for a link with a password or a limit on visits, by its code."""

Refuse = Callable[[Scope, int, str, str, Mapping[str, str]], Response]
"""Says no: scope, status, title, detail, headers. A browser may be told in a page."""

_METHODS: Final = ("GET", "HEAD", "POST")
"""What is answered; POST is the form of a link's password, and so for guarded links alone."""

_NOT_STORED: Final = {"Cache-Control": "no-store"}
"""Of a 404 or 410, which may be kept otherwise (RFC 9110 section 15.1): the alias may be made."""

_OVER: Final = "This link is gone"

_LOCATION: Final = b"location"
_REQUEST_ID: Final = b"x-request-id"


class Lookup(Protocol):
    """The tiers in front of the links."""

    def near(self, code: str) -> Entry | None: ...
    async def entry_of(self, code: str) -> Entry: ...


class Redirects:
    """Answers redirects; `rest` answers everything else.

    `refuse` says no to who cannot be redirected, with a problem document unless another is given.
    `now_s` tells seconds since the epoch, `clock_s` seconds of a clock that never goes back.
    """

    def __init__(
        self,
        rest: ASGIApp,
        *,
        lookup: Lookup,
        guarded: GuardedApp,
        recorder: Recorder,
        ids: RequestIds,
        metrics: HttpMetrics,
        access_log: AccessLog,
        replica: str,
        refuse: Refuse | None = None,
        now_s: Callable[[], float] = time.time,
        clock_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._rest = rest
        self._lookup = lookup
        self._guarded = guarded
        self._refuse = refuse or _problem
        self._recorder = recorder
        self._near = lookup.near
        self._record = recorder.record
        self._id_of = ids.of
        self._metrics = metrics
        self._found_series = {
            method: metrics.series(method, ROUTE, "302") for method in ("GET", "HEAD")
        }
        self._write_line = access_log.write
        self._replica = (b"x-replica", replica.encode("latin-1"))
        self._found_headers = [
            (b"content-length", b"0"),
            (b"cache-control", NOT_KEPT.encode("ascii")),
            self._replica,
        ]
        self._now_s = now_s
        self._clock_s = clock_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not is_code_or_alias(code := scope["path"][1:]):
            await self._rest(scope, receive, send)
            return
        began_s = self._clock_s()
        now_s = self._now_s()
        series = self._found_series.get(scope["method"])
        entry = self._near(code)
        if (
            series is None
            or entry is None
            or entry.kind is not Kind.OPEN
            or (entry.expires_at_s is not None and now_s >= entry.expires_at_s)
        ):
            await self._unhurried(scope, receive, send, code, entry, began_s, now_s)
            return
        # With several of a name the last one stays: that is what the nearest proxy added.
        headers = dict(scope["headers"])
        request_id = self._id_of(scope.get("client"), headers.get(_REQUEST_ID))
        at = datetime.fromtimestamp(now_s, UTC)
        series.began()
        try:
            # Written before the redirect leaves: a click that was answered is a click that counts.
            if scope["method"] == "GET":
                self._record(scope, headers, code, request_id, at, now_s)
            await send(
                {
                    "type": "http.response.start",
                    "status": 302,
                    "headers": [
                        (_LOCATION, entry.url.encode("ascii")),
                        *self._found_headers,
                        (_REQUEST_ID, request_id.encode("ascii")),
                    ],
                }
            )
            await send({"type": "http.response.body", "body": b""})
        finally:
            seconds = self._clock_s() - began_s
            series.ended(seconds)
            self._write_line(at, request_id, scope["method"], scope["path"], 302, seconds)

    async def _unhurried(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        code: str,
        entry: Entry | None,
        began_s: float,
        now_s: float,
    ) -> None:
        """A redirect that has to wait, or that is none: with all that the plumbing does."""
        method = scope["method"]
        given = dict(scope["headers"]).get(_REQUEST_ID)
        request_id = self._id_of(scope.get("client"), given)
        scope.setdefault("state", {})["request_id"] = request_id
        named = [self._replica, (_REQUEST_ID, request_id.encode("ascii"))]
        status: int | str = "aborted"

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *named]
            await send(message)

        self._metrics.began(method)
        try:
            with structlog.contextvars.bound_contextvars(request_id=request_id):
                answer = CrashMiddleware(partial(self._answer, code, entry))
                await answer(scope, receive, send_named)
        finally:
            seconds = self._clock_s() - began_s
            self._metrics.ended(method, ROUTE, str(status), seconds)
            at = datetime.fromtimestamp(now_s, UTC)
            self._write_line(at, request_id, method, scope["path"], status, seconds)

    async def _answer(
        self, code: str, entry: Entry | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["method"] not in _METHODS:
            await _not_allowed(_METHODS)(scope, receive, send)
            return
        response: Response
        try:
            if entry is None:
                entry = await self._lookup.entry_of(code)
        except DatabaseUnavailable:
            response = self._refuse(
                scope, 503, "Just a moment", "The database does not answer; try again soon.",
                {"Retry-After": "1"},
            )  # fmt: skip
        else:
            if entry.kind is Kind.GUARDED:
                await self._guarded(scope, receive, send, code)
                return
            response = self._response(scope, code, entry)
        await response(scope, receive, send)

    def _response(self, scope: Scope, code: str, entry: Entry) -> Response:
        if entry.kind is Kind.ABSENT:
            detail = "There is no link with this code."
            return self._refuse(scope, 404, "No such link", detail, _NOT_STORED)
        if entry.kind is Kind.GONE:
            return self._refuse(scope, 410, _OVER, "This link was deleted.", _NOT_STORED)
        if entry.is_over(self._now_s()):
            return self._refuse(scope, 410, _OVER, "This link has expired.", _NOT_STORED)
        if scope["method"] == "POST":
            return _not_allowed(_METHODS[:2])
        return self._recorder.found(scope, code, entry.url)


def _problem(
    _scope: Scope, status: int, _title: str, detail: str, headers: Mapping[str, str]
) -> Response:
    return problem_response(status, detail, headers=headers)


def _not_allowed(methods: Sequence[str]) -> Response:
    allowed = ", ".join(methods)
    return problem_response(405, f"Allowed here: {allowed}.", headers={"Allow": allowed})
