"""The HTTP interface: shorten, redirect, statistics."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Header, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from infra.service.problems import MEDIA_TYPE, Problem, problem_response
from infra.service.validation import answer_validation_error
from week04_shortener import clicks, urls
from week04_shortener.clicks import Click
from week04_shortener.codes import CODE_CHARS
from week04_shortener.database import DatabaseUnavailable
from week04_shortener.links import Entry, Kind, is_code_or_alias
from week04_shortener.store import Stats


class Links(Protocol):
    """What the routes need of the store; raises `DatabaseUnavailable`."""

    async def insert(self, url: str) -> str: ...
    async def stats_of(self, code: str) -> Stats | None: ...


class Lookup(Protocol):
    """What the routes need of the cache."""

    def near(self, code: str) -> Entry | None: ...
    async def entry_of(self, code: str) -> Entry: ...
    async def remember(self, code: str, entry: Entry) -> None: ...


class ClickLog(Protocol):
    """Where a click is kept before its redirect leaves."""

    def append(self, payload: bytes) -> bool: ...


@dataclass(frozen=True)
class Parts:
    """What the routes are made of; chosen by the entry point."""

    links: Links
    lookup: Lookup
    click_log: ClickLog
    replica: str
    public_base_url: str
    max_url_chars: int
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class ShortenRequest(BaseModel):
    """A link to make."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: str = Field(description="absolute http or https URL", examples=["https://example.org/a"])


class ShortenResponse(BaseModel):
    """A link that was made."""

    code: str
    short_url: str
    url: str = Field(description="the target in its normal form")


class StatsResponse(BaseModel):
    """Clicks counted so far; a click is counted moments after its redirect."""

    code: str
    clicks: int
    last_click_at: datetime | None


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str


Code = Annotated[str, Path(description=f"{CODE_CHARS} characters of 0-9 A-Z a-z")]


def add_routes(app: FastAPI, parts: Parts) -> None:
    """Add the service's routes to `app`, on which the plumbing is installed already."""
    app.add_exception_handler(RequestValidationError, answer_validation_error)
    app.add_exception_handler(DatabaseUnavailable, _answer_unavailable)

    @app.post(
        "/shorten",
        status_code=201,
        summary="Make a short link",
        responses=_problems(400, 413, 415, 422, 503),
    )
    async def shorten(body: ShortenRequest, response: Response) -> ShortenResponse:
        try:
            url = urls.accept(body.url, max_chars=parts.max_url_chars)
        except urls.BadUrl as error:
            raise Problem(
                422, f"{error}.", errors=[{"pointer": "#/url", "detail": str(error)}]
            ) from error
        code = await parts.links.insert(url)
        await parts.lookup.remember(code, Entry(1, Kind.OPEN, url))
        short_url = f"{parts.public_base_url}/{code}"
        response.headers["Location"] = short_url
        return ShortenResponse(code=code, short_url=short_url, url=url)

    @app.get("/stats/{code}", summary="Clicks of a link", responses=_problems(404, 503))
    async def stats(code: Code) -> StatsResponse:
        found = await parts.links.stats_of(code) if is_code_or_alias(code) else None
        if found is None:
            raise _unknown()
        return StatsResponse(code=code, clicks=found.clicks, last_click_at=found.last_click_at)

    @app.get("/{code}", summary="Follow a link", **_redirects())
    async def redirect(
        code: Code, request: Request, referer: Annotated[str | None, Header()] = None
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

    @app.head("/{code}", summary="Where a link leads; not counted", **_redirects())
    async def look(code: Code) -> Response:
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


async def _answer_unavailable(_request: Request, _error: Exception) -> Response:
    return problem_response(
        503, "The database does not answer; try again soon.", headers={"Retry-After": "1"}
    )


def _redirects() -> dict[str, Any]:
    found = {
        "description": "The link's target.",
        "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
    }
    return {
        "status_code": 302,
        "response_class": Response,
        "responses": {302: found, **_problems(404, 503)},
    }


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    meanings = {
        400: "The body is not JSON.",
        404: "There is no link with this code.",
        413: "The body is too large.",
        415: "The body is not said to be JSON.",
        422: "The request does not fit its schema, or the URL is refused.",
        503: "The database does not answer.",
    }
    content = {MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema()}}
    documented: dict[int | str, dict[str, Any]] = {
        status: {"description": meanings[status], "content": content} for status in statuses
    }
    documented["default"] = {"description": "Any other error.", "content": content}
    return documented
