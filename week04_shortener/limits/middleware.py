"""Which requests are limited by what, in front of the API and outside of it.

A refused request is answered before its body is read, its key looked up or the database asked:
that is what the limit protects, and refusing must be the cheaper of the two.

Redirects are not limited. One costs about as much as asking whether it may be had: an entry from
memory or Valkey. And those who follow links are not those who misuse the service: a popular link is
followed by thousands behind one address of a mobile network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.service.problems import problem_response
from week04_shortener.callers import hash_of_key, neighbourhood
from week04_shortener.limits.algorithms import Policy, SlidingWindow, TokenBucket
from week04_shortener.limits.headers import rate_limit_fields, refusal
from week04_shortener.limits.limiter import Verdict

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110 section 9.2.1."""

_READS: Final = ("/api/", "/stats/")
"""What is read here comes from the database each time."""


class Taker(Protocol):
    """What is needed of the limiter."""

    async def take_all(self, takes: Sequence[tuple[str, Policy]]) -> list[Verdict]: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """`writes` and `reads` are by address, `key_writes` by API key.

    By address a bucket: pages and scripts come in bursts. By key a window: what a customer may
    do in a minute is a promise, and must hold for any minute.
    """

    writes: TokenBucket
    reads: TokenBucket
    key_writes: SlidingWindow


class RateLimitMiddleware:
    """Takes from the limits a request falls under, and refuses it with 429 when one is used up.

    Limited are all unsafe methods, and reads of the API and of statistics. `address_of` tells
    where a request comes from. The address is asked first: whoever makes up keys is stopped there.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limiter: Taker,
        rules: Rules,
        address_of: Callable[[Scope], str],
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._rules = rules
        self._address_of = address_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        takes = self._takes(scope) if scope["type"] == "http" else []
        if not takes:
            await self._app(scope, receive, send)
            return
        verdicts = await self._limiter.take_all(takes)
        if not verdicts[-1].allowed:
            await _refuse(verdicts, scope, receive, send)
            return
        fields = rate_limit_fields(verdicts)

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for field, value in fields.items():
                    headers[field] = value
            await send(message)

        await self._app(scope, receive, send_with_fields)

    def _takes(self, scope: Scope) -> list[tuple[str, Policy]]:
        rules = self._rules
        if scope["method"] in SAFE_METHODS:
            if scope["method"] == "OPTIONS" or not scope["path"].startswith(_READS):
                return []
            return [(neighbourhood(self._address_of(scope)), rules.reads)]
        takes: list[tuple[str, Policy]] = [(neighbourhood(self._address_of(scope)), rules.writes)]
        key_hash = hash_of_key(scope)
        if key_hash is not None:
            takes.append((key_hash.hex(), rules.key_writes))
        return takes


async def _refuse(verdicts: list[Verdict], scope: Scope, receive: Receive, send: Send) -> None:
    problem = refusal(verdicts)
    response = problem_response(
        problem.status, problem.detail, headers=problem.headers, **problem.members
    )
    await response(scope, receive, send)
