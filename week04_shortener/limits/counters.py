"""Where the counting is done: in Valkey for all replicas, or in a replica's own memory."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Gauge
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as ConnectionBroken
from redis.exceptions import RedisError

from infra.service.retry import brief
from week04_shortener.limits.algorithms import Decision, Policy, State
from week04_shortener.limits.scripts import arguments, script_for

MAX_NAMES: Final = 10_000
"""Callers remembered in a replica's memory; beyond that the longest unseen begins anew."""

_BREAKER: Final = "limits"


def now_us() -> int:
    """Microseconds of a clock that never goes back."""
    return time.monotonic_ns() // 1000


class CountersUnavailable(Exception):
    """Valkey did not answer, or was not asked because it did not answer before."""


class Counters(Protocol):
    """Something that counts by names; raises `CountersUnavailable` and no other error."""

    async def take(self, name: str, policy: Policy, cost: int) -> Decision: ...
    async def close(self) -> None: ...


class LocalCounters:
    """Counts in this process only: N replicas with these let N times as much through."""

    def __init__(self, clock: Callable[[], int] = now_us) -> None:
        self._clock = clock
        self._states: OrderedDict[tuple[Policy, str], State] = OrderedDict()

    async def take(self, name: str, policy: Policy, cost: int) -> Decision:
        state = self._states.get((policy, name))
        if state is None:
            state = self._states[policy, name] = policy.begin()
            if len(self._states) > MAX_NAMES:
                self._states.popitem(last=False)
        self._states.move_to_end((policy, name))
        return state.take(self._clock(), cost)

    async def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True)
class ValkeyLimits:
    """Limits on asking Valkey: time and connections, and when it is left alone for how long."""

    timeout_s: float
    pool_size: int
    failures_to_open: int
    open_s: float


class ValkeyCounters:
    """Counts in Valkey, where all replicas count together.

    It has connections of its own, so that a rush of writes cannot take those that the redirects
    need, and a breaker of its own for the reasons given in `cache.valkey`. What Valkey forgets
    (a restart, eviction under memory pressure) callers may take again: a limit is no ledger.
    """

    def __init__(self, url: str, limits: ValkeyLimits, registry: CollectorRegistry) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=limits.pool_size,
            timeout=limits.timeout_s,
            socket_timeout=limits.timeout_s,
            socket_connect_timeout=limits.timeout_s,
            # Once more on a connection that is found closed: Valkey was restarted since, and has
            # forgotten all takes. Not after a timeout: that take may have been counted.
            # RuntimeError is uvloop's word for a write to a connection that broke a moment ago.
            retry=Retry(NoBackoff(), 1, (ConnectionBroken, RuntimeError)),  # type: ignore[arg-type]
        )
        self._client: Redis = Redis.from_pool(pool)
        self._timeout_s = limits.timeout_s
        self._scripts: dict[type[Policy], AsyncScript] = {}
        self._breakers = AsyncCircuitBreakerFactory(
            default_threshold=limits.failures_to_open,
            default_ttl=limits.open_s,
            exclude=[(BaseException, lambda error: not isinstance(error, CountersUnavailable))],
        )
        self._breakers.add_listener(self._changed)
        self._shared = Gauge(
            "shortener_limits_shared",
            "1 while callers are counted in Valkey, 0 while each replica counts for itself.",
            registry=registry,
        )
        self._shared.set(1)
        self._is_shared = True
        self._log = structlog.get_logger()

    async def take(self, name: str, policy: Policy, cost: int) -> Decision:
        """One round trip; a second and third when Valkey has forgotten the script."""
        breaker = await self._breakers.get_breaker(_BREAKER)
        try:
            async with breaker:
                return await self._ask(f"limit:{policy.name}:{name}", policy, cost)
        except OpenedState as error:
            # One and the same object each time: it would collect the frames of every request.
            error.with_traceback(None)
            raise CountersUnavailable("left alone for a while after failures") from None

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _ask(self, key: str, policy: Policy, cost: int) -> Decision:
        kind = type(policy)
        if kind not in self._scripts:
            self._scripts[kind] = self._client.register_script(script_for(kind))
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._scripts[kind](keys=[key], args=arguments(policy, cost))
        # RuntimeError: uvloop's word for a write to a connection that broke a moment ago.
        except (RedisError, OSError, RuntimeError) as error:
            raise CountersUnavailable(brief(error)) from error
        allowed, remaining, reset_us, retry_us = answer
        return Decision(allowed == 1, remaining, reset_us, retry_us)

    def _changed(self, _name: str, kind: str, event: Any) -> None:
        if kind != "state_changed" or event.state not in ("opened", "closed"):
            return
        is_shared = event.state == "closed"
        if is_shared == self._is_shared:
            return
        self._is_shared = is_shared
        self._shared.set(is_shared)
        if is_shared:
            self._log.info("limits are counted for all replicas again")
        else:
            self._log.warning("valkey does not answer, each replica limits for itself")
