"""The API, joined of its rooms."""

from typing import Any

from fastapi import FastAPI

from week04_shortener.api import bulk, docs, keys, links, qr, short, stats, transfer
from week04_shortener.api.document import complete
from week04_shortener.api.errors import add_handlers
from week04_shortener.api.parts import Parts
from week04_shortener.api.paths import PREFIX
from week04_shortener.settings import Settings

BULK_LINK_BYTES = 512
"""Room for one of many links beside its URL."""


def body_limits(settings: Settings) -> dict[str, int]:
    """Bytes of a body, by path, where more than `max_body_bytes` may be sent."""
    bulk = settings.max_bulk_links * (settings.max_url_chars + BULK_LINK_BYTES)
    return {
        f"{PREFIX}/links/bulk": max(bulk, settings.max_body_bytes),
        f"{PREFIX}/links/import": max(settings.max_import_bytes, settings.max_body_bytes),
    }


def add_routes(app: FastAPI, parts: Parts) -> None:
    """Add the API to `app`, on which the plumbing is installed already."""
    app.state.parts = parts
    add_handlers(app)
    # `bulk`, `import` and `export` come before `links`, whose codes would match them. The routes
    # themselves, not `include_router`: its routes do not know their whole path, and the plumbing
    # logs and counts by it.
    for room in (short, bulk, transfer, links, qr, stats, keys, docs):
        app.router.routes.extend(room.router.routes)
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete(describe(), open_mode=parts.open_mode)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it
