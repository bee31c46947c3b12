"""Statistics of a link, for its owner."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from week04_shortener.analytics.statistics import HOURS, MAX_HOURS
from week04_shortener.api.errors import problems
from week04_shortener.api.links import own_link
from week04_shortener.api.parts import TheCaller, TheParts
from week04_shortener.api.paths import PREFIX, Code

router = APIRouter(prefix=PREFIX, tags=["statistics"])


class _Read(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class HourResponse(_Read):
    """Clicks of one hour."""

    begins: datetime
    clicks: int
    bots: int = Field(description="of them by bots and previews")


class ShareResponse(_Read):
    """Clicks by people, from one place or with one browser; the name is empty when unknown."""

    name: str
    clicks: int


class StatisticsResponse(_Read):
    """What is known of a link's clicks; one arrives a moment after its redirect."""

    code: str
    clicks: int
    people: int
    bots: int
    last_click_at: datetime | None
    visitors_today: int = Field(
        description="people told apart by a hash that is another one each day; no address is kept"
    )
    hours: list[HourResponse] = Field(description="without gaps, the present hour last")
    referrers: list[ShareResponse] = Field(description="hosts people came from, in these hours")
    browsers: list[ShareResponse]


@router.get(
    "/links/{code}/stats",
    summary="Clicks by hour, referrer and browser",
    responses=problems(401, 404, 410, 422, 429, 503),
)
async def statistics(
    parts: TheParts,
    caller: TheCaller,
    code: Code,
    hours: Annotated[int, Query(ge=1, le=MAX_HOURS, description="how far back")] = HOURS,
) -> StatisticsResponse:
    """For the link's owner only."""
    await own_link(parts, caller, code)
    return StatisticsResponse.model_validate(await parts.statistics.of(code, hours))
