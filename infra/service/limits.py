"""A limit on request bodies."""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.service.problems import problem_response


class BodyTooLarge(HTTPException):
    """More bytes than allowed have arrived; frameworks answer it as any HTTP exception."""

    def __init__(self, max_bytes: int) -> None:
        # The rest of the body is not read, so the connection cannot serve another request.
        super().__init__(413, _detail(max_bytes), {"Connection": "close"})


class BodyLimitMiddleware:
    """Refuses bodies over `max_bytes` with 413 (RFC 9110 section 15.5.14).

    A declared length is refused at once; a chunked body, or one longer than declared, as soon as
    the limit is passed. (Starlette's own middleware of this kind answers in plain text.)

    `paths` have limits of their own: an upload needs more than the rest should be sent. A path
    counts as it is matched by a router, decoded and to the letter; any other has `max_bytes`.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, paths: Mapping[str, int] | None = None
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._paths = dict(paths or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._paths.get(scope["path"], self._max_bytes)
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > max_bytes:
            response = problem_response(413, _detail(max_bytes), headers={"Connection": "close"})
            await response(scope, receive, send)
            return
        seen_bytes = 0

        async def counted() -> Message:
            nonlocal seen_bytes
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            if seen_bytes > max_bytes:
                raise BodyTooLarge(max_bytes)
            return message

        await self._app(scope, counted, send)


def _detail(max_bytes: int) -> str:
    return f"The request's body is larger than the {max_bytes} bytes allowed here."
