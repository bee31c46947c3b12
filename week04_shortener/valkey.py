"""A client of Valkey with short time limits and a breaker in front, for all that is kept there.

A dead Valkey refuses at once, which is cheap; a hanging one costs its whole time limit, which at
every request would be worse than none. After a few failures in a row it is therefore left alone
for a while and then tried again (a circuit breaker; how one works is week 7's matter).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.exceptions import RedisError

from infra.service.retry import brief

_BREAKER = "valkey"


@dataclass(frozen=True)
class ValkeyLimits:
    """Limits on asking Valkey: time and connections, and when it is left alone for how long.

    `timeout_s` is for an operation as a whole: waiting for a connection, connecting, asking.
    """

    timeout_s: float
    pool_size: int
    failures_to_open: int
    open_s: float


class Valkey:
    """Asks Valkey over connections and behind a breaker of its own.

    What goes wrong is raised as `unavailable`. `changed` is told once when Valkey is left alone
    (False) and once when it answers again (True). `retry` is for a kept connection that turns out
    to be closed.
    """

    def __init__(
        self,
        url: str,
        limits: ValkeyLimits,
        *,
        retry: Retry,
        unavailable: type[Exception],
        changed: Callable[[bool], None],
    ) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=limits.pool_size,
            timeout=limits.timeout_s,
            socket_timeout=limits.timeout_s,
            socket_connect_timeout=limits.timeout_s,
            retry=retry,
        )
        self.client: Redis = Redis.from_pool(pool)
        self._timeout_s = limits.timeout_s
        self._unavailable = unavailable
        self._changed = changed
        self._is_up = True
        self._breakers = AsyncCircuitBreakerFactory(
            default_threshold=limits.failures_to_open,
            default_ttl=limits.open_s,
            # Only Valkey's own failures count: a cancelled request says nothing about it.
            exclude=[(BaseException, lambda error: not isinstance(error, unavailable))],
        )
        self._breakers.add_listener(self._note)

    async def ask(self, operation: Callable[[], Awaitable[Any]]) -> Any:
        """What `operation` on the client returns, unless Valkey is left alone just now."""
        breaker = await self._breakers.get_breaker(_BREAKER)
        try:
            async with breaker:
                return await self.ask_anyway(operation)
        except OpenedState as error:
            # The library raises one and the same object each time, and it would collect the
            # frames of every request until the breaker closes.
            error.with_traceback(None)
            raise self._unavailable("left alone for a while after failures") from None

    async def ask_anyway(self, operation: Callable[[], Awaitable[Any]]) -> Any:
        """The same, whatever the breaker thinks of Valkey."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await operation()
        # RuntimeError: uvloop's word for a write to a connection that broke a moment ago.
        except (RedisError, OSError, RuntimeError) as error:
            raise self._unavailable(brief(error)) from error

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()

    def _note(self, _name: str, kind: str, event: Any) -> None:
        if kind != "state_changed" or event.state not in ("opened", "closed"):
            return
        is_up = event.state == "closed"
        if is_up != self._is_up:
            self._is_up = is_up
            self._changed(is_up)
