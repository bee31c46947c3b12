"""API keys: in the lab's open mode everybody makes one, elsewhere the operator does."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from infra.service.problems import Problem
from week04_shortener.api.errors import problems, refused
from week04_shortener.api.parts import TheCaller, TheParts
from week04_shortener.api.paths import PREFIX
from week04_shortener.api.strict import StrictRoute
from week04_shortener.callers import hash_of_key

router = APIRouter(prefix=PREFIX, tags=["keys"], route_class=StrictRoute)


class KeyRequest(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        str,
        Field(
            min_length=1, max_length=100, description="what you know it by", examples=["my laptop"]
        ),
    ]


class KeyResponse(BaseModel):
    """A key, without its secret part."""

    id: int
    name: str
    created_at: datetime


class NewKeyResponse(KeyResponse):
    """A new key. `key` is told here and never again."""

    key: str = Field(examples=["sk_..."])


@router.post(
    "/keys",
    status_code=201,
    summary="Make a key (open mode)",
    responses=problems(400, 401, 403, 413, 415, 422, 429, 503),
)
async def create(
    parts: TheParts, _caller: TheCaller, body: KeyRequest, response: Response
) -> NewKeyResponse:
    """Links made with it are private to it: send it as `Authorization: Bearer KEY`."""
    if not parts.open_mode:
        raise Problem(403, "Keys are made by the operator: python -m week04_shortener keys.")
    try:
        plain, key = await parts.keys.create(body.name)
    except ValueError as error:
        raise refused("#/name", str(error)) from error
    response.headers["Cache-Control"] = "no-store"
    return NewKeyResponse(id=key.id, name=key.name, created_at=key.created_at, key=plain)


@router.get("/keys/current", summary="The key you send", responses=problems(401, 404, 429, 503))
async def current(parts: TheParts, _caller: TheCaller, request: Request) -> KeyResponse:
    """404 for a request without a key, which open mode lets through."""
    key_hash = hash_of_key(request.scope)
    key = await parts.keys.find(key_hash) if key_hash is not None else None
    if key is None:
        raise _no_key()
    return KeyResponse(id=key.id, name=key.name, created_at=key.created_at)


@router.delete(
    "/keys/current",
    status_code=204,
    summary="Revoke the key you send",
    responses=problems(401, 404, 429, 503),
)
async def revoke(parts: TheParts, caller: TheCaller) -> None:
    """For good: its links go on, and nobody can change them any more."""
    if caller.owner_id is None or not await parts.keys.revoke(caller.owner_id):
        raise _no_key()


def _no_key() -> Problem:
    return Problem(404, "No key was sent with the request, or it was revoked.")
