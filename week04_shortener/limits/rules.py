"""Which requests fall under which limits.

Redirects are not limited. One costs about as much as asking whether it may be had: an entry from
memory or Valkey. And those who follow links are not those who misuse the service: a popular link is
followed by thousands behind one address of a mobile network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.requests import HTTPConnection
from starlette.types import Scope

from week04_shortener.callers import hash_of_key, neighbourhood
from week04_shortener.limits.algorithms import SECOND_US, SlidingWindow, TokenBucket
from week04_shortener.limits.headers import VERDICTS, refusal
from week04_shortener.limits.limiter import Take, Verdict
from week04_shortener.settings import Settings

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110 section 9.2.1."""

READS: Final = ("/api/", "/stats/")
"""What is read here comes from the database each time."""

PASSWORD_WINDOW_US: Final = 60 * SECOND_US


class Taker(Protocol):
    """What is needed of the limiter."""

    async def take_all(self, takes: Sequence[Take]) -> list[Verdict]: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """`writes` and `reads` are by address, `key_writes` by API key.

    By address a bucket: pages and scripts come in bursts. By key a window: what a customer may
    do in a minute is a promise, and must hold for any minute.
    """

    writes: TokenBucket
    reads: TokenBucket
    key_writes: SlidingWindow


def rules_of(settings: Settings) -> Rules:
    """The rules that the settings ask for. Reads may be made as fast as writes."""
    burst, rate = settings.write_burst, settings.writes_per_s
    return Rules(
        writes=TokenBucket.per_second("writes", burst, rate),
        reads=TokenBucket.per_second("reads", burst, rate),
        key_writes=SlidingWindow(
            "key-writes", settings.key_writes, round(settings.key_window_s * SECOND_US)
        ),
    )


def passwords_of(settings: Settings) -> SlidingWindow:
    """How often one address may try a password of one link: so often in any minute."""
    return SlidingWindow("passwords", settings.password_tries, PASSWORD_WINDOW_US)


class RequestLimits:
    """Takes from the limits that a request falls under.

    Those are all unsafe methods, wherever they go, and reads of the API and of statistics.
    `address_of` tells where a request comes from. The address is asked before the key: whoever
    makes up keys is stopped there.
    """

    def __init__(self, limiter: Taker, rules: Rules, address_of: Callable[[Scope], str]) -> None:
        self._limiter = limiter
        self._rules = rules
        self._address_of = address_of

    async def take(self, scope: Scope) -> list[Verdict]:
        """What became of one request; empty when it falls under no limit."""
        if scope["method"] not in SAFE_METHODS:
            return await self._limiter.take_all(self._writes(scope, 1))
        if scope["method"] == "OPTIONS" or not scope["path"].startswith(READS):
            return []
        return await self._limiter.take_all([(self._subject(scope), self._rules.reads, 1)])

    async def charge(self, request: HTTPConnection, more: int) -> None:
        """Charge a write that makes several links for `more` than the one it was charged for.

        Raises `Problem` 429 when a limit does not allow that. More than half of a limit is charged
        as half: a large file would otherwise have to find the limit untouched, or never get in.
        """
        takes = self._writes(request.scope, more)
        bounded = [(name, policy, min(more, policy.quota // 2)) for name, policy, _ in takes]
        verdicts = await self._limiter.take_all([take for take in bounded if take[2] > 0])
        if verdicts and not verdicts[-1].allowed:
            raise refusal(verdicts)
        now = {verdict.policy: verdict for verdict in verdicts}
        told: list[Verdict] = request.scope.get("state", {}).get(VERDICTS, [])
        told[:] = [now.get(verdict.policy, verdict) for verdict in told]

    def _writes(self, scope: Scope, cost: int) -> list[Take]:
        takes: list[Take] = [(self._subject(scope), self._rules.writes, cost)]
        key_hash = hash_of_key(scope)
        if key_hash is not None:
            takes.append((key_hash.hex(), self._rules.key_writes, cost))
        return takes

    def _subject(self, scope: Scope) -> str:
        return neighbourhood(self._address_of(scope))
