"""The limits, in front of the API.

A refused request is answered before its body is read, its key looked up or the database asked:
that is what the limit protects, and refusing must be the cheaper of the two.
"""

from typing import Protocol

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.service.problems import problem_response
from week04_shortener.limits.headers import VERDICTS, rate_limit_fields, refusal
from week04_shortener.limits.limiter import Verdict


class Limits(Protocol):
    """What takes for a request."""

    async def take(self, scope: Scope) -> list[Verdict]: ...


class RateLimitMiddleware:
    """Answers 429 where a limit refuses, and tells in all other answers how things stand.

    It belongs inside of what names and logs requests, so that refusals are named and logged.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        verdicts = await self._limits.take(scope) if scope["type"] == "http" else []
        if not verdicts:
            await self._app(scope, receive, send)
            return
        if not verdicts[-1].allowed:
            problem = refusal(verdicts)
            response = problem_response(
                problem.status,
                problem.detail,
                title=problem.title,
                headers=problem.headers,
                **problem.members,
            )
            await response(scope, receive, send)
            return
        # The route may charge more, and note that there: told is how things stand at the end.
        scope.setdefault("state", {})[VERDICTS] = verdicts

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for field, value in rate_limit_fields(verdicts).items():
                    headers.setdefault(field, value)
            await send(message)

        await self._app(scope, receive, send_with_fields)
