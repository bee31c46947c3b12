"""Errors as problem documents (RFC 9457, application/problem+json)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE = "application/problem+json"

_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""As RFC 9110 names them; the standard library has older names before Python 3.13."""

_DETAILS = {404: "There is nothing at this address."}


class Problem(Exception):
    """An error with an answer for the client.

    `status` is the HTTP status, `detail` tells this occurrence to a person, `headers` are added
    to the response, and `members` extend the document (RFC 9457 section 3.2).
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.title = title
        self.headers = dict(headers or {})
        self.members = members


def problem_response(
    status: int,
    detail: str,
    *,
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> JSONResponse:
    """A problem document. Its type is ``about:blank``, so the title is the status phrase.

    A ``request_id`` member is added within a request: it is what a user can quote and an
    operator can find in the logs.
    """
    document = problem_document(status, detail, title=title, **members)
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    if request_id is not None:
        document["request_id"] = request_id
    return JSONResponse(document, status, dict(headers or {}), media_type=MEDIA_TYPE)


def problem_document(
    status: int, detail: str, *, title: str | None = None, **members: Any
) -> dict[str, Any]:
    """The document alone, for answers that tell of many problems."""
    return {
        "type": "about:blank",
        "title": title or _phrase(status),
        "status": status,
        "detail": detail,
        **members,
    }


async def answer_problem(_request: Request, error: Exception) -> JSONResponse:
    """Exception handler for `Problem`."""
    assert isinstance(error, Problem)
    return problem_response(
        error.status, error.detail, title=error.title, headers=error.headers, **error.members
    )


async def answer_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for Starlette's `HTTPException`: unknown route, wrong method, ..."""
    assert isinstance(error, HTTPException)
    status, headers = error.status_code, dict(error.headers or {})
    detail = str(error.detail)
    if status == 405:
        headers["Allow"] = ", ".join(sorted(_allowed(request)))
        detail = f"Allowed here: {headers['Allow']}."
    elif detail == HTTPStatus(status).phrase:
        detail = _DETAILS.get(status, detail)
    return problem_response(status, detail, headers=headers)


class CrashMiddleware:
    """Turns an exception nobody expected into a 500 problem; its trace goes to the log only.

    Once the response has begun it cannot be replaced: the exception goes on to the server, which
    cuts the connection, so that the client cannot take half a body for a whole one. So does what
    comes of a client that has left: `send` raises an OSError then (ASGI), and nothing has crashed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = gone = False

        async def watch(message: Message) -> None:
            nonlocal started, gone
            started = started or message["type"] == "http.response.start"
            try:
                await send(message)
            except OSError:
                gone = True
                raise

        try:
            await self._app(scope, receive, watch)
        except Exception:
            if gone:
                raise
            self._log.exception("request crashed", method=scope["method"], path=scope["path"])
            if started:
                raise
            response = problem_response(500, "An unexpected error; the request id leads to it.")
            await response(scope, receive, send)


def _allowed(request: Request) -> set[str]:
    """The methods of all routes with this path; the router itself knows of the first one only."""
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return methods


def _phrase(status: int) -> str:
    if status in _PHRASES:
        return _PHRASES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
