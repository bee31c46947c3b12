"""What the servers are given to serve: the same 14 bytes as a plain handler and as an ASGI app.

The ASGI app is the shortest there is, so that the server under it is measured and no framework.
"""

from __future__ import annotations

import os
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from week01_http_server.bench.body import BODY
from week01_http_server.messages import Request, Response

FOLDER = "BENCH_FOLDER"
"""Variable that names the folder which `files` serves."""

_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]
_START = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
_BODY = {"type": "http.response.body", "body": BODY}
_PLAIN = ((b"content-type", b"text/plain"),)


def plain(request: Request) -> Response:
    """A plain handler of this week's server."""
    return Response(200, _PLAIN, BODY)


async def hello(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI app; it declines the lifespan protocol by raising, as the specification allows."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send(_START)
    await send(_BODY)


def files() -> Starlette:
    """What a Python project usually serves files with, for servers that have nothing of their own.

    Raises KeyError where the folder is not named.
    """
    return Starlette(routes=[Mount("/", StaticFiles(directory=os.environ[FOLDER]))])
