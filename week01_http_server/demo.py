"""A small ASGI app: what a server tells its app, and what an app can do with a connection.

python -m week01_http_server week01_http_server.demo:app
uvicorn week01_http_server.demo:app                          # the same app, another server

GET  /               what the server understood, as JSON
GET  /slow?s=3       answers after that many seconds (at most 30): something to drain
GET  /stream?n=5     a line each half second: chunked, because nobody knows its length
POST /length         reads the body to its end and says how long it was
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

SLOW_MAX_S = 30.0
STREAM_MAX = 60
STREAM_EVERY_S = 0.5


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """One request; other protocols than HTTP are declined."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    match scope["path"]:
        case "/":
            await _answer(send, 200, json.dumps(_understood(scope), indent=1))
        case "/slow":
            await asyncio.sleep(_number(scope, "s", 1.0, SLOW_MAX_S))
            await _answer(send, 200, "at last")
        case "/stream":
            await _stream(send, int(_number(scope, "n", 5, STREAM_MAX)))
        case "/length":
            await _answer(send, 200, f"{await _length(receive)} bytes")
        case _:
            await _answer(send, 404, "there are /, /slow, /stream and /length")


def _understood(scope: dict[str, Any]) -> dict[str, Any]:
    headers = [
        [name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]
    ]
    names = ("method", "path", "http_version", "scheme", "client", "server")
    told = {name: scope.get(name) for name in names}
    return {**told, "query": scope["query_string"].decode("latin-1"), "headers": headers}


def _number(scope: dict[str, Any], name: str, default: float, most: float) -> float:
    """A number of the query from 0 to `most`; the default where there is none."""
    text = parse_qs(scope["query_string"].decode("latin-1")).get(name, [""])[0]
    try:
        return min(max(float(text), 0.0), most)
    except ValueError:
        return default


async def _length(receive: Any) -> int:
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body", False):
            return length


async def _stream(send: Any, lines: int) -> None:
    await _start(send, 200, [])
    for number in range(1, lines + 1):
        body = b"%d of %d\n" % (number, lines)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(STREAM_EVERY_S)
    await send({"type": "http.response.body"})


async def _answer(send: Any, status: int, text: str) -> None:
    body = f"{text}\n".encode()
    await _start(send, status, [(b"content-length", b"%d" % len(body))])
    await send({"type": "http.response.body", "body": body})


async def _start(send: Any, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    plain = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [plain, *headers]})
