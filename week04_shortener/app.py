"""The redirect, as a route of the framework."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Protocol

from fastapi import FastAPI, Header, Request, Response

from infra.service.problems import Problem
from week04_shortener import clicks
from week04_shortener.clicks import Click
from week04_shortener.links import Entry, Kind, is_code_or_alias


class Lookup(Protocol):
    """What the routes need of the cache."""

    def near(self, code: str) -> Entry | None: ...
    async def entry_of(self, code: str) -> Entry: ...


class ClickLog(Protocol):
    """Where a click is kept before its redirect leaves."""

    def append(self, payload: bytes) -> bool: ...


@dataclass(frozen=True)
class Parts:
    """What the route is made of; chosen by the entry point."""

    lookup: Lookup
    click_log: ClickLog
    replica: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def add_redirect(app: FastAPI, parts: Parts) -> None:
    """Add the redirect to `app`, behind all other routes, which it would match as well."""

    @app.get("/{code}", include_in_schema=False)
    async def redirect(
        code: str, request: Request, referer: Annotated[str | None, Header()] = None
    ) -> Response:
        response = await _redirect(parts, code)
        # Kept before the redirect leaves: a click that was answered is a click that counts.
        click = Click(
            event_id=request.state.request_id,
            code=code,
            at=parts.now(),
            replica=parts.replica,
            referrer_host=clicks.referrer_host(referer),
        )
        parts.click_log.append(clicks.encode(click))
        return response

    @app.head("/{code}", include_in_schema=False)
    async def look(code: str) -> Response:
        return await _redirect(parts, code)


async def _redirect(parts: Parts, code: str) -> Response:
    if not is_code_or_alias(code):
        raise _unknown()
    entry = parts.lookup.near(code) or await parts.lookup.entry_of(code)
    if entry.kind is not Kind.OPEN:
        raise _unknown()
    # A redirect kept by a browser or proxy would be followed again without being counted.
    return Response(
        status_code=302, headers={"Location": entry.url, "Cache-Control": "private, no-store"}
    )


def _unknown() -> Problem:
    return Problem(404, "There is no link with this code.")
