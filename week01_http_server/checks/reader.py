"""An ASGI app that answers once it has the whole body, so that a bad one comes before its answer.

A handler that answers a head at once has answered before anybody can know how the body goes on:
then all that a server can do is close.
"""

from __future__ import annotations

from typing import Any


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Says how long the body was."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%d bytes\n" % length
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
