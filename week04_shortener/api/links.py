"""One link at a time: make, see, list, change, delete."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, Field

from infra.service.problems import Problem
from week04_shortener.api import conditional, idempotency, paging, wanted
from week04_shortener.api.errors import alias_taken, gone, no_such_link, problems
from week04_shortener.api.models import LinkPatch, LinkRequest, LinkResponse
from week04_shortener.api.parts import Parts, TheCaller, TheParts
from week04_shortener.api.paths import PREFIX, Code
from week04_shortener.api.strict import StrictRoute
from week04_shortener.callers import Caller
from week04_shortener.links import (
    AliasTaken,
    Idempotency,
    IdempotencyMismatch,
    Link,
    NewLink,
    NoSuchLink,
    VersionConflict,
    entry_of,
    is_code_or_alias,
)

router = APIRouter(prefix=PREFIX, tags=["links"], route_class=StrictRoute)

_STRING: Final = {"schema": {"type": "string"}}
_ETAG: Final = {"ETag": {"description": "the link's version, for If-Match", **_STRING}}

# Without examples: the page at /docs would fill them in, and the second try be refused.
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description='a string of your choice in quotes, such as `"8e03978e-40d5"`; the same '
        "request with the same key is answered again and makes nothing (IETF draft "
        "httpapi-idempotency-key-header)",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description='make the change only at this version, such as `"1"`'),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description='the version you have, such as `"1"`'),
]


class LinkPage(BaseModel):
    """Links, the newest first. `next` is the cursor of the next page, null on the last one."""

    links: list[LinkResponse]
    next: str | None = Field(description="send it as `cursor`; it means nothing elsewhere")


def _key_in(request: Request, _documented: IdempotencyKey = None) -> str | None:
    try:
        return idempotency.key_in(request.headers.getlist("idempotency-key"))
    except idempotency.BadKey as error:
        raise Problem(400, f"{error}.") from error


def _made(replayed: bool) -> dict[int | str, dict[str, Any]]:
    told = {
        "Location": {"description": "the link in this API", **_STRING},
        "Idempotency-Replayed": {"description": "true when nothing was made", **_STRING},
    }
    return {201: {"headers": _ETAG | told if replayed else _ETAG}}


@router.post(
    "/links",
    status_code=201,
    summary="Make a link",
    responses=_made(True) | problems(400, 401, 409, 413, 415, 422, 429, 503),
)
async def create(
    parts: TheParts,
    caller: TheCaller,
    body: LinkRequest,
    request: Request,
    response: Response,
    key: Annotated[str | None, Depends(_key_in)],
) -> LinkResponse:
    """All but `url` is optional. Without `alias` the code is generated."""
    new = await wanted.whole(body, parts)
    promise = _promise(body, caller, key, parts.secret) if key is not None else None
    link, replayed = await make(parts, new, caller, promise, request.state.request_id)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = f"{parts.public_base_url}/api/v1/links/{link.code}"
    return _shown(link, parts, response)


async def make(
    parts: Parts, new: NewLink, caller: Caller, promise: Idempotency | None, request_id: str
) -> tuple[Link, bool]:
    """The link of `new`, and whether an earlier request with the same key has made it.

    Raises `Problem` 409 when the alias is taken, 422 when the key was another request's.
    """
    try:
        created = await parts.links.create(
            new, owner_id=caller.owner_id, idempotency=promise, request_id=request_id
        )
    except AliasTaken as error:
        raise alias_taken(error) from error
    except IdempotencyMismatch as error:
        raise Problem(
            422, "This Idempotency-Key was used for another request; take a new one."
        ) from error
    if created.replayed:
        return idempotency.as_made(created.link, new), True
    await parts.lookup.remember(created.link.code, entry_of(created.link))
    return created.link, False


@router.get(
    "/links",
    summary="Your links, the newest first",
    responses={
        200: {"headers": {"Link": {"description": "the next page, rel=next", **_STRING}}},
        **problems(401, 422, 429, 503),
    },
)
async def page(
    parts: TheParts,
    caller: TheCaller,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=paging.MAX_LINKS)] = paging.DEFAULT_LINKS,
    cursor: Annotated[
        str | None, Query(max_length=100, description="`next` of the page before")
    ] = None,
) -> LinkPage:
    """Deleted links are not among them. `Link: rel="next"` (RFC 8288) leads to the next page."""
    try:
        before_id = parts.pages.place_of(cursor, caller.owner_id) if cursor is not None else None
    except paging.BadCursor as error:
        detail = str(error)
        raise Problem(
            422, f"{detail}.", errors=[{"parameter": "cursor", "in": "query", "detail": detail}]
        ) from error
    # One more than asked for: whether it is there tells whether there is a next page.
    found = await parts.links.page(owner_id=caller.owner_id, before_id=before_id, limit=limit + 1)
    shown, following = found[:limit], None
    if len(found) > limit:
        following = parts.pages.cursor_after(shown[-1].id, caller.owner_id)
        query = urlencode({"limit": limit, "cursor": following})
        response.headers["Link"] = f'<{parts.public_base_url}/api/v1/links?{query}>; rel="next"'
    return LinkPage(
        links=[LinkResponse.of(link, parts.short_url(link.code)) for link in shown],
        next=following,
    )


@router.get(
    "/links/{code}",
    summary="One of your links",
    response_model=LinkResponse,
    responses={
        200: {"headers": _ETAG},
        304: {"description": "You have this version already."},
        **problems(401, 404, 410, 429, 503),
    },
)
async def one(
    parts: TheParts,
    caller: TheCaller,
    code: Code,
    response: Response,
    if_none_match: IfNoneMatch = None,
) -> Any:
    """As it is now. Ask again with `If-None-Match` to learn of changes."""
    link = await own_link(parts, caller, code)
    tag = conditional.etag(link.version)
    if conditional.is_current(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag})
    return _shown(link, parts, response)


@router.patch(
    "/links/{code}",
    summary="Change a link",
    responses={
        200: {"headers": _ETAG},
        **problems(400, 401, 404, 410, 412, 413, 415, 422, 429, 503),
    },
)
async def change(
    parts: TheParts,
    caller: TheCaller,
    code: Code,
    body: LinkPatch,
    request: Request,
    response: Response,
    if_match: IfMatch = None,
) -> LinkResponse:
    """A merge patch: what is left out stays, null takes an expiry, a limit or a password away.

    Send the ETag you saw as `If-Match`, and the change is not made when somebody else was faster.
    """
    if body.password is not None:
        await own_link(parts, caller, code)  # a hash is dear, and not for links of others
    columns = await wanted.changes(body, parts)
    if_version = await _version_to_match(parts, caller, code, if_match)
    if not columns:
        return _shown(await own_link(parts, caller, code), parts, response)
    try:
        link = await parts.links.change(
            code,
            columns,
            owner_id=caller.owner_id,
            if_version=if_version,
            request_id=request.state.request_id,
        )
    except NoSuchLink as error:
        raise await _missing(parts, caller, code) from error
    except VersionConflict as error:
        raise _changed(error.version) from error
    await parts.lookup.remember(code, entry_of(link))
    return _shown(link, parts, response)


@router.delete(
    "/links/{code}",
    status_code=204,
    summary="Delete a link",
    responses=problems(400, 401, 404, 410, 412, 429, 503),
)
async def delete(
    parts: TheParts, caller: TheCaller, code: Code, request: Request, if_match: IfMatch = None
) -> None:
    """From then on its code answers 410, for ever: no other link will have it."""
    if_version = await _version_to_match(parts, caller, code, if_match)
    try:
        link = await parts.links.delete(
            code,
            owner_id=caller.owner_id,
            if_version=if_version,
            request_id=request.state.request_id,
        )
    except NoSuchLink as error:
        raise await _missing(parts, caller, code) from error
    except VersionConflict as error:
        raise _changed(error.version) from error
    await parts.lookup.remember(code, entry_of(link))


async def own_link(parts: Parts, caller: Caller, code: str) -> Link:
    """The caller's link; `Problem` 404, or 410 when it was deleted."""
    link = await parts.links.link_of(code) if is_code_or_alias(code) else None
    if link is None or link.owner_id != caller.owner_id:
        raise no_such_link()
    if link.deleted_at is not None:
        raise gone()
    return link


async def _missing(parts: Parts, caller: Caller, code: str) -> Problem:
    """Why there is nothing to change: the store tells nobody, the owner may know."""
    try:
        await own_link(parts, caller, code)
    except Problem as problem:
        return problem
    return no_such_link()


async def _version_to_match(
    parts: Parts, caller: Caller, code: str, if_match: str | None
) -> int | None:
    """The version that the store must find, None for any; `Problem` 400, 404, 410, 412."""
    try:
        wanted_versions = conditional.versions_in(if_match)
    except conditional.BadCondition as error:
        raise Problem(400, f"If-Match: {error}.") from error
    if wanted_versions is None and is_code_or_alias(code):
        return None
    # Of several versions the store can be asked for one only: the present one, if it is there.
    link = await own_link(parts, caller, code)
    if wanted_versions is not None and link.version not in wanted_versions:
        raise _changed(link.version)
    return link.version


def _changed(version: int) -> Problem:
    return Problem(
        412,
        "The link is not at the version of If-Match; get it and decide again.",
        headers={"ETag": conditional.etag(version)},
    )


def _promise(body: LinkRequest, caller: Caller, key: str, secret: bytes) -> Idempotency:
    fields = body.model_dump(mode="json")
    return Idempotency(
        idempotency.scope_of(caller.owner_id), key, idempotency.fingerprint(fields, secret)
    )


def _shown(link: Link, parts: Parts, response: Response) -> LinkResponse:
    response.headers["ETag"] = conditional.etag(link.version)
    return LinkResponse.of(link, parts.short_url(link.code))
