"""Your shortener. Two replicas of it run behind nginx; `serve.py` starts them, and starts them
anew whenever you save this file.

Each handler answers 501 and names its exercise until you fill it in. What is to be built, and the
claim that tells when it is, stands in EXERCISES.md of the week; README.md tells how to begin.

What is decided already, because claims rely on it:

- A link's code is 7 of 0-9, A-Z, a-z. Links are kept in a table `links` that has a column `code`,
  and are looked up by that column. A claim may change it behind your back: so it gets a link that
  no cache has heard of.
- nginx names each request: the header X-Request-ID, 32 hex digits. See front.conf.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from redis.asyncio import Redis

DATABASE_URL = os.environ["DATABASE_URL"]
VALKEY_URL = os.environ["VALKEY_URL"]
PUBLIC_BASE_URL = os.environ["PUBLIC_BASE_URL"]
"""Of the front door: a short URL is `{PUBLIC_BASE_URL}/{code}`."""

REPLICA = os.environ["REPLICA"]
"""The name of this process: api1 or api2."""

SCHEMA = """
"""
"""Your tables: carried out at each start, so write CREATE TABLE IF NOT EXISTS. Columns that you
think of later: ALTER TABLE ... ADD COLUMN IF NOT EXISTS, or `serve.py --clean` and begin anew."""

_SCHEMA_LOCK = 4


class Parts:
    """What handlers work with, of one replica: `parts.database`, `parts.valkey`."""

    database: asyncpg.Pool
    valkey: Redis


parts = Parts()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Opens what the handlers need. Both replicas make the tables, one after the other."""
    async with asyncpg.create_pool(DATABASE_URL, min_size=1, max_size=20) as parts.database:
        async with parts.database.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
            if SCHEMA.strip():
                await connection.execute(SCHEMA)
        parts.valkey = Redis.from_url(VALKEY_URL)
        try:
            yield
        finally:
            await parts.valkey.aclose()


app = FastAPI(title="my shortener", lifespan=lifespan)


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as a document that programs can read (RFC 9457)."""
    return JSONResponse(
        {"type": "about:blank", "status": status, "detail": detail},
        status,
        dict(headers or {}),
        media_type="application/problem+json",
    )


def not_built(exercise: int) -> Response:
    """What a handler answers that nobody has filled in."""
    return problem(501, f"exercise {exercise}")


class NewLink(BaseModel):
    """The body that makes a link."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    max_visits: Annotated[int, Field(ge=1)] | None = None


class NewKey(BaseModel):
    """The body that makes an API key."""

    name: Annotated[str, Field(min_length=1, max_length=100)]


@app.get("/health/live")
async def live() -> dict[str, Any]:
    """Whether this replica works: `serve.py` waits for it."""
    return {"replica": REPLICA}


@app.post("/shorten")
async def shorten(new: NewLink) -> Response:
    """201 with {"code": ..., "short_url": ..., "url": ...}; 422 for a target that is refused."""
    return not_built(1)


@app.post("/api/v1/keys")
async def create_key(new: NewKey) -> Response:
    """201 with {"key": ...}: a new secret, which its owner sends as `Authorization: Bearer KEY`."""
    return not_built(8)


@app.post("/api/v1/links")
async def create(
    new: NewLink,
    idempotency_key: Annotated[str | None, Header()] = None,
    authorization: Annotated[str | None, Header()] = None,
) -> Response:
    """As /shorten; and `max_visits`, the header Idempotency-Key, and limits on keys."""
    return not_built(6)


@app.get("/stats/{code}")
async def stats(code: str) -> Response:
    """200 with {"code": ..., "clicks": N}: the GETs of the link that were redirected."""
    return not_built(5)


@app.api_route("/{code}", methods=["GET", "HEAD"])
async def follow(code: str, request: Request) -> Response:
    """302 to the link's target; 404 for a code that there is not; 410 once all visits are spent."""
    return not_built(1)
