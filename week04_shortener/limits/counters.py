"""Where the counting is done: in Valkey for all replicas, or in a replica's own memory."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Gauge
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as ConnectionBroken

from week04_shortener.limits.algorithms import Decision, Policy, State
from week04_shortener.limits.scripts import arguments, script_for
from week04_shortener.valkey import Valkey, ValkeyLimits

MAX_NAMES: Final = 10_000
"""Callers remembered in a replica's memory; beyond that the longest unseen begins anew."""


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


class ValkeyCounters:
    """Counts in Valkey, where all replicas count together.

    It has connections of its own, so that a rush of writes cannot take those that the redirects
    need, and a breaker of its own for the reasons given in `valkey`. What Valkey forgets
    (a restart, eviction under memory pressure) callers may take again: a limit is no ledger.
    """

    def __init__(self, url: str, limits: ValkeyLimits, registry: CollectorRegistry) -> None:
        self._valkey = Valkey(
            url,
            limits,
            # Once more on a connection that is found closed: Valkey was restarted since, and has
            # forgotten all takes. Not after a timeout: that take may have been counted.
            # RuntimeError is uvloop's word for a write to a connection that broke a moment ago.
            retry=Retry(NoBackoff(), 1, (ConnectionBroken, RuntimeError)),  # type: ignore[arg-type]
            unavailable=CountersUnavailable,
            changed=self._changed,
        )
        self._scripts: dict[type[Policy], AsyncScript] = {}
        self._shared = Gauge(
            "shortener_limits_shared",
            "1 while callers are counted in Valkey, 0 while each replica counts for itself.",
            registry=registry,
        )
        self._shared.set(1)
        self._log = structlog.get_logger()

    async def take(self, name: str, policy: Policy, cost: int) -> Decision:
        """One round trip; a second and third when Valkey has forgotten the script."""
        kind = type(policy)
        if kind not in self._scripts:
            self._scripts[kind] = self._valkey.client.register_script(script_for(kind))
        key = f"limit:{policy.name}:{name}"
        allowed, remaining, reset_us, retry_us = await self._valkey.ask(
            lambda: self._scripts[kind](keys=[key], args=arguments(policy, cost))
        )
        return Decision(allowed == 1, remaining, reset_us, retry_us)

    async def close(self) -> None:
        """Close all connections."""
        await self._valkey.close()

    def _changed(self, is_shared: bool) -> None:
        self._shared.set(is_shared)
        if is_shared:
            self._log.info("limits are counted for all replicas again")
        else:
            self._log.warning("valkey does not answer, each replica limits for itself")
