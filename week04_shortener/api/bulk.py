"""Many links by one request: each is made or refused for itself."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from infra.service.problems import Problem, problem_document
from week04_shortener.api.errors import ProblemDocument, alias_taken, problems, refused
from week04_shortener.api.making import make_many, wish
from week04_shortener.api.models import LinkResponse
from week04_shortener.api.parts import TheCaller, TheParts
from week04_shortener.api.paths import PREFIX
from week04_shortener.api.strict import StrictRoute
from week04_shortener.links import AliasTaken, Link, NewLink

router = APIRouter(prefix=PREFIX, tags=["many links"], route_class=StrictRoute)

_EXAMPLE = [{"url": "https://example.org/a"}, {"url": "https://example.org/b", "alias": "to-b"}]


class BulkRequest(BaseModel):
    """Links to make, as for one, but for `password`: a hash takes its time, a hundred take
    longer than anybody waits."""

    model_config = ConfigDict(extra="forbid", strict=True)

    links: Annotated[list[dict[str, Any]], Field(min_length=1, examples=[_EXAMPLE])]


class BulkResult(BaseModel):
    """What became of one link: `link` with status 201, or `problem` with its status."""

    status: int
    link: LinkResponse | None = None
    problem: ProblemDocument | None = None


class BulkResponse(BaseModel):
    """What became of each link, in the order of the request."""

    made: int
    refused: int
    results: list[BulkResult]


@router.post(
    "/links/bulk",
    summary="Make many links",
    response_model_exclude_none=True,
    responses=problems(400, 401, 413, 415, 422, 429, 503),
)
async def bulk(
    parts: TheParts, caller: TheCaller, body: BulkRequest, request: Request
) -> BulkResponse:
    """200 means that each was looked at; `results` says what became of it."""
    most = parts.bounds.bulk_links
    if len(body.links) > most:
        raise refused("#/links", f"more than {most} links at once")
    wishes = [wish(item, parts) for item in body.links]
    news = [new for new in wishes if isinstance(new, NewLink)]
    await parts.charge(request, len(news) - 1)
    made = iter(await make_many(parts, news, caller, request.state.request_id))
    outcomes = [next(made) if isinstance(new, NewLink) else new for new in wishes]
    count = sum(isinstance(outcome, Link) for outcome in outcomes)
    return BulkResponse(
        made=count,
        refused=len(outcomes) - count,
        results=[_result(outcome, parts.short_url) for outcome in outcomes],
    )


def _result(outcome: Link | AliasTaken | Problem, short_url: Callable[[str], str]) -> BulkResult:
    if isinstance(outcome, Link):
        return BulkResult(status=201, link=LinkResponse.of(outcome, short_url(outcome.code)))
    problem = alias_taken(outcome) if isinstance(outcome, AliasTaken) else outcome
    document = problem_document(problem.status, problem.detail, **problem.members)
    return BulkResult(status=problem.status, problem=ProblemDocument(**document))
