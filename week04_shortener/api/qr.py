"""The QR code of a short link (ISO/IEC 18004), drawn by segno.

It needs no key: it says no more than the short link itself, and a page shows it as an image, which
a browser fetches without one. Drawing takes milliseconds of the processor, so pictures are kept,
their number is bounded, and whoever has one already gets 304 without any drawing.
"""

import hashlib
import io
from functools import lru_cache
from typing import Annotated, Any, Final

import segno
from fastapi import APIRouter, Header, Query, Response

from week04_shortener.api.conditional import is_current
from week04_shortener.api.errors import gone, no_such_link, problems
from week04_shortener.api.parts import Parts, TheParts
from week04_shortener.api.paths import PREFIX, Code
from week04_shortener.links import Kind, is_code_or_alias

MAX_SCALE: Final = 20
"""Pixels of a module's side at most: 1,000 or so of the whole picture's."""

MAX_KEPT: Final = 500
"""Pictures kept; each has one to ten kilobytes."""

MAX_AGE_S: Final = 24 * 3600
_FORM: Final = "1"
"""Changed whenever pictures are drawn in another way, so that no old copy is taken for current."""

router = APIRouter(prefix=PREFIX, tags=["links"])
Scale = Annotated[int, Query(ge=1, le=MAX_SCALE, description="pixels of a module's side")]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="tag of the picture you have")
]


def _answers(media_type: str) -> dict[int | str, dict[str, Any]]:
    tag = {"ETag": {"description": "names the picture", "schema": {"type": "string"}}}
    return {
        200: {
            "description": "The picture.",
            "headers": tag,
            "content": {media_type: {"schema": {"type": "string", "format": "binary"}}},
        },
        304: {"description": "You have it already.", "headers": tag},
        **problems(404, 410, 422, 429, 503),
    }


@router.get(
    "/links/{code}/qr.svg",
    summary="QR code as SVG",
    response_class=Response,
    responses=_answers("image/svg+xml"),
)
async def svg(
    parts: TheParts, code: Code, scale: Scale = 8, if_none_match: IfNoneMatch = None
) -> Response:
    """Black on white, with the quiet zone that readers need."""
    return await _picture(parts, code, "svg", "image/svg+xml", scale, if_none_match)


@router.get(
    "/links/{code}/qr.png",
    summary="QR code as PNG",
    response_class=Response,
    responses=_answers("image/png"),
)
async def png(
    parts: TheParts, code: Code, scale: Scale = 8, if_none_match: IfNoneMatch = None
) -> Response:
    """Black on white, with the quiet zone that readers need."""
    return await _picture(parts, code, "png", "image/png", scale, if_none_match)


async def _picture(
    parts: Parts, code: str, kind: str, media_type: str, scale: int, if_none_match: str | None
) -> Response:
    entry = await parts.lookup.entry_of(code) if is_code_or_alias(code) else None
    if entry is None or entry.kind is Kind.ABSENT:
        raise no_such_link()
    if entry.kind is Kind.GONE or entry.is_over(parts.now().timestamp()):
        raise gone()
    short_url = parts.short_url(code)
    digest = hashlib.sha256(f"{_FORM} {kind} {scale} {short_url}".encode()).hexdigest()
    headers = {"ETag": f'"{digest[:16]}"', "Cache-Control": f"public, max-age={MAX_AGE_S}"}
    if is_current(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(draw(short_url, kind, scale), media_type=media_type, headers=headers)


@lru_cache(maxsize=MAX_KEPT)
def draw(text: str, kind: str, scale: int) -> bytes:
    """The picture of `text`, ``svg`` or ``png``; 15 % of it may be spoilt (level M)."""
    buffer = io.BytesIO()
    symbol = segno.make_qr(text, error="m", boost_error=False)
    if kind == "svg":
        symbol.save(buffer, kind="svg", scale=scale, light="#fff", xmldecl=False)
    else:
        symbol.save(buffer, kind="png", scale=scale)
    return buffer.getvalue()
