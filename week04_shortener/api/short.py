"""The roadmap's short forms of two calls, as the lab has always had them."""

from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from week04_shortener.api.errors import problems
from week04_shortener.api.links import make, own_link
from week04_shortener.api.models import LinkRequest, Url
from week04_shortener.api.parts import TheCaller, TheParts
from week04_shortener.api.paths import Code
from week04_shortener.api.strict import StrictRoute
from week04_shortener.api.wanted import whole

router = APIRouter(tags=["short forms"], route_class=StrictRoute)


class ShortenRequest(BaseModel):
    """A link to make."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Url


class ShortenResponse(BaseModel):
    """A link that was made."""

    code: str = Field(examples=["my3NNng"])
    short_url: str = Field(examples=["http://127.0.0.1:8400/my3NNng"])
    url: str = Field(description="the target in its normal form", examples=["https://example.org/"])


class StatsResponse(BaseModel):
    """Clicks counted so far; a click is counted moments after its redirect."""

    code: str
    clicks: int
    last_click_at: datetime | None


@router.post(
    "/shorten",
    status_code=201,
    summary="Make a short link",
    responses=problems(400, 401, 413, 415, 422, 429, 503),
)
async def shorten(
    parts: TheParts, caller: TheCaller, body: ShortenRequest, request: Request, response: Response
) -> ShortenResponse:
    """`POST /api/v1/links` can do more."""
    new = await whole(LinkRequest(url=body.url), parts)
    link, _replayed = await make(parts, new, caller, None, request.state.request_id)
    response.headers["Location"] = parts.short_url(link.code)
    return ShortenResponse(code=link.code, short_url=parts.short_url(link.code), url=link.url)


@router.get(
    "/stats/{code}", summary="Clicks of a link", responses=problems(401, 404, 410, 429, 503)
)
async def stats(parts: TheParts, caller: TheCaller, code: Code) -> StatsResponse:
    """For the link's owner only. `GET /api/v1/links/{code}/stats` tells more."""
    await own_link(parts, caller, code)
    found = await parts.statistics.totals_of(code)
    return StatsResponse(code=code, clicks=found.clicks, last_click_at=found.last_click_at)
