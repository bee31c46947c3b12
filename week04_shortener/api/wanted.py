"""From what a client asks for to a link that may be made."""

from dataclasses import replace
from datetime import datetime

from week04_shortener.api.errors import refused
from week04_shortener.api.models import LinkPatch, LinkRequest, PlainLink
from week04_shortener.api.parts import Parts
from week04_shortener.links import NewLink
from week04_shortener.redirects.passwords import BadPassword
from week04_shortener.targets.urls import BadUrl


def plain(request: PlainLink, parts: Parts) -> NewLink:
    """The link that `request` asks for, but for a password; `Problem` 422."""
    return NewLink(
        url=_target(request.url, parts),
        alias=request.alias,
        expires_at=_future(request.expires_at, parts),
        max_visits=request.max_visits,
    )


async def whole(request: LinkRequest, parts: Parts) -> NewLink:
    """The link that `request` asks for; `Problem` 422. The password's hash is made last: it is
    the dear part, and not for requests that are refused anyway."""
    link = plain(request, parts)
    if request.password is None:
        return link
    return replace(link, password_hash=await _hash(request.password, parts))


async def changes(patch: LinkPatch, parts: Parts) -> dict[str, object]:
    """The columns that `patch` changes; `Problem` 422."""
    columns: dict[str, object] = {}
    given = patch.model_fields_set
    if "url" in given:
        columns["url"] = _target(patch.url, parts)
    if "expires_at" in given:
        columns["expires_at"] = _future(patch.expires_at, parts)
    if "max_visits" in given:
        columns["max_visits"] = patch.max_visits
    if "password" in given:
        plain_text = patch.password
        columns["password_hash"] = None if plain_text is None else await _hash(plain_text, parts)
    return columns


def _target(url: str, parts: Parts) -> str:
    try:
        return parts.accept(url)
    except BadUrl as error:
        raise refused("#/url", str(error)) from error


def _future(expires_at: datetime | None, parts: Parts) -> datetime | None:
    if expires_at is not None and expires_at <= parts.now():
        raise refused("#/expires_at", "the time has passed already")
    return expires_at


async def _hash(password: str, parts: Parts) -> str:
    try:
        return await parts.hash_password(password)
    except BadPassword as error:
        raise refused("#/password", str(error)) from error
