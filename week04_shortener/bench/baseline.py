"""The same redirect as most would write it: FastAPI, uvicorn, redis, asyncpg, and nothing else.

No click is recorded, nothing is limited, a herd is not held back, a dead Valkey is an error: what
it does not do is the point of the comparison, and is said beside the figures.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import asyncpg
from fastapi import FastAPI, HTTPException
from fastapi.responses import RedirectResponse
from redis.asyncio import Redis

TTL_S = 3600


def create_app() -> FastAPI:
    """The app, for uvicorn's `--factory`. KeyError where an address is missing."""
    cache = Redis.from_url(os.environ["SHORTENER_VALKEY_URL"], decode_responses=True)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.pool = await asyncpg.create_pool(os.environ["SHORTENER_DATABASE_URL"])
        yield
        await app.state.pool.close()
        await cache.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.get("/health/live")
    @app.get("/health/ready")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/{code}")
    async def redirect(code: str) -> RedirectResponse:
        url = await cache.get(f"plain:{code}")
        if url is None:
            url = await app.state.pool.fetchval("SELECT url FROM links WHERE code = $1", code)
            if url is None:
                raise HTTPException(404)
            await cache.set(f"plain:{code}", url, ex=TTL_S)
        return RedirectResponse(str(url), status_code=302)

    return app
