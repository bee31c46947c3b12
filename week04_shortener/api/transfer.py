"""Links from a CSV file and into one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from infra.service.problems import Problem
from week04_shortener.api import csvlinks
from week04_shortener.api.csvrows import NotUtf8, Reader, Row
from week04_shortener.api.errors import alias_taken, problems
from week04_shortener.api.making import make_many, wish
from week04_shortener.api.parts import Parts, TheCaller, TheParts
from week04_shortener.api.paths import PREFIX
from week04_shortener.links import AliasTaken, Link, NewLink

router = APIRouter(prefix=PREFIX, tags=["many links"])

PIECE_ROWS: Final = 100
"""Rows of an export that are sent at once."""

SLICE_BYTES: Final = 8 * 1024
"""Of an import, read before others have their turn: a few milliseconds' work."""

_EXAMPLE = "url,alias,expires_at,max_visits\r\nhttps://example.org/a,spring-sale,,100\r\n"
_TEXT: dict[str, Any] = {"schema": {"type": "string"}, "example": _EXAMPLE}
_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {csvlinks.MEDIA_TYPE: _TEXT}}}


class RowResult(BaseModel):
    """What became of one row: `code` with status 201, or `detail`."""

    line: int = Field(description="where the row begins; the header is line 1")
    status: int
    code: str | None = None
    short_url: str | None = None
    detail: str | None = None


class ImportResponse(BaseModel):
    """What became of each row, in their order."""

    made: int
    refused: int
    results: list[RowResult]


@router.post(
    "/links/import",
    summary="Make links from a CSV file",
    openapi_extra=_BODY,
    response_model_exclude_none=True,
    responses=problems(400, 401, 413, 415, 422, 429, 503),
)
async def import_links(parts: TheParts, caller: TheCaller, request: Request) -> ImportResponse:
    """UTF-8, the first row names the columns: `url[,alias,expires_at,max_visits]`.

    A bad row costs no other: 200 means that each was looked at, and `results` says what became of
    it. Nothing is made of a file that is refused as a whole (too large, too many rows, no header).
    What an export wrote is read as well. After a 503 the first rows may have been made: list
    your links before you send the file again.
    """
    _check_type(request.headers.get("content-type"))
    wishes = await _read(request, parts)
    news = [new for _line, new in wishes if isinstance(new, NewLink)]
    await parts.charge(request, len(news) - 1)
    made = iter(await make_many(parts, news, caller, request.state.request_id))
    results = [
        _result(line, next(made) if isinstance(new, NewLink) else new, parts)
        for line, new in wishes
    ]
    count = sum(result.code is not None for result in results)
    return ImportResponse(made=count, refused=len(results) - count, results=results)


@router.get(
    "/links/export",
    summary="Your links as a CSV file",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The newest first.", "content": {csvlinks.MEDIA_TYPE: _TEXT}},
        **problems(401, 429, 503),
    },
)
async def export_links(parts: TheParts, caller: TheCaller) -> StreamingResponse:
    """Neither deleted links nor passwords are in it. Safe to open in a spreadsheet."""
    links = parts.links.export(owner_id=caller.owner_id)
    # The first link is waited for before the answer begins: 503 can still be said then.
    first = await anext(links, None)
    return StreamingResponse(
        _lines(first, links),
        media_type=csvlinks.MEDIA_TYPE,
        headers={
            "Content-Disposition": 'attachment; filename="links.csv"',
            "Cache-Control": "private, no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )


@dataclass
class _File:
    """A file while it is read: its columns, and what its rows want."""

    parts: Parts
    names: tuple[str, ...] | None = None
    wishes: list[tuple[int, NewLink | Problem]] = field(default_factory=list)

    def take(self, row: Row) -> None:
        if self.names is None:
            self.names = _header(row)
            return
        if len(self.wishes) >= self.parts.bounds.import_rows:
            most = self.parts.bounds.import_rows
            raise Problem(422, f"The file has more than {most} rows; nothing was made of it.")
        self.wishes.append((row.line, self._wish(row, self.names)))

    def _wish(self, row: Row, names: tuple[str, ...]) -> NewLink | Problem:
        if row.fault is not None:
            return Problem(422, row.fault)
        fields = csvlinks.fields(names, row.cells)
        if fields is None:
            return Problem(422, "the row has more cells than the header")
        return wish(fields, self.parts)


async def _read(request: Request, parts: Parts) -> list[tuple[int, NewLink | Problem]]:
    reader, file = Reader(), _File(parts)
    try:
        async for piece in request.stream():
            for at in range(0, len(piece), SLICE_BYTES):
                for row in reader.feed(piece[at : at + SLICE_BYTES]):
                    file.take(row)
                await asyncio.sleep(0)
        for row in reader.end():
            file.take(row)
    except NotUtf8 as error:
        raise Problem(422, f"{error}.") from error
    except ClientDisconnect as error:
        raise Problem(400, "The file ended too early; nothing was made of it.") from error
    if file.names is None:
        raise Problem(422, "The file is empty.")
    return file.wishes


def _header(row: Row) -> tuple[str, ...]:
    try:
        if row.fault is not None:
            raise csvlinks.BadHeader(row.fault)
        return csvlinks.header(row.cells)
    except csvlinks.BadHeader as error:
        raise Problem(422, f"Line {row.line}: {error}.") from error


def _check_type(content_type: str | None) -> None:
    media_type, _, parameters = (content_type or "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media_type.strip().lower() != csvlinks.MEDIA_TYPE:
        raise Problem(415, "Send the header Content-Type: text/csv.")
    if parameters.strip().lower().startswith("charset=") and charset not in ("utf-8", "us-ascii"):
        raise Problem(415, "The file must be UTF-8.")


def _result(line: int, outcome: Link | AliasTaken | Problem, parts: Parts) -> RowResult:
    if isinstance(outcome, Link):
        return RowResult(
            line=line, status=201, code=outcome.code, short_url=parts.short_url(outcome.code)
        )
    problem = alias_taken(outcome) if isinstance(outcome, AliasTaken) else outcome
    errors = problem.members.get("errors", [])
    told = "; ".join(f"{error['pointer'][2:]}: {error['detail']}" for error in errors)
    return RowResult(line=line, status=problem.status, detail=told or problem.detail)


async def _lines(first: Link | None, others: AsyncIterator[Link]) -> AsyncIterator[bytes]:
    lines = [csvlinks.line(csvlinks.COLUMNS)]
    if first is not None:
        lines.append(csvlinks.line(csvlinks.cells_of(first)))
        async for link in others:
            lines.append(csvlinks.line(csvlinks.cells_of(link)))
            if len(lines) >= PIECE_ROWS:
                yield "".join(lines).encode()
                lines.clear()
    yield "".join(lines).encode()
