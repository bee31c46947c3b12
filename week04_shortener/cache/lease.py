"""The lease: of all replicas that miss the same entry at the same time, one asks the database.

Single flight works within one process, so N replicas ask N times. Here whoever puts a token under
a name in Valkey (SET with NX and PX) does the work; the others look again and again whether its
result has come. A lease is a help like the cache it lies in, never a need: without Valkey, after a
holder's death and when the wait takes too long, everybody works as if there were none. Two who
work at once do no harm, for the newer version stays; so this needs no fencing (week 5).
"""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter

from week04_shortener.cache.aside import CacheUnavailable

T = TypeVar("T")

FIRST_PAUSE_S = 0.005
MOST_PAUSE_S = 0.05
"""Pauses between two looks double from the one to the other: a lookup in PostgreSQL is mostly over
at the first look, and a hundred who wait long must not load Valkey."""


class Tokens(Protocol):
    """Where leases lie. Both methods raise `CacheUnavailable` and no other error."""

    async def take(self, name: str, token: str, *, ttl_s: float) -> bool:
        """Put `token` under `name` for `ttl_s` seconds; False if somebody's lies there."""
        ...

    async def release(self, name: str, token: str) -> None:
        """Remove `name` if `token` still lies there; another holder's stays."""
        ...


@dataclass(frozen=True)
class Limits:
    """How long a dead holder keeps the lease, and how long anybody waits for a holder, seconds."""

    ttl_s: float
    wait_s: float


@dataclass(frozen=True)
class Surroundings:
    """What a lease needs of the world; tests bring their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    token: Callable[[], str] = secrets.token_hex


class Turn(Enum):
    """How waiting for the lease ended when no other's value came."""

    OURS = "ours"
    GIVEN_UP = "given up"


class LeaseMetrics:
    """How lookups that missed got their value."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ended = Counter(
            "shortener_lease_total",
            "Misses by how their wait ended: held (the lease was ours), waited (another's value "
            "came), gave_up (it took too long), unavailable (Valkey did not answer).",
            ("result",),
            registry=registry,
        )


class SharedLease(Generic[T]):
    """`week04_shortener.cache.aside.Lease` in Valkey, with limits on holding and on waiting."""

    def __init__(
        self,
        tokens: Tokens,
        limits: Limits,
        metrics: LeaseMetrics,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._tokens = tokens
        self._limits = limits
        self._metrics = metrics
        self._world = surroundings or Surroundings()

    async def do(
        self,
        key: str,
        work: Callable[[], Awaitable[T]],
        look: Callable[[], Awaitable[T | None]],
    ) -> T:
        name, token = f"{key}:lease", self._world.token()
        try:
            turn = await self._wait_for_turn(name, token, look)
        except CacheUnavailable:
            self._ended("unavailable")
            return await work()
        if turn is Turn.GIVEN_UP:
            self._ended("gave_up")
            return await work()
        if turn is not Turn.OURS:
            self._ended("waited")
            return turn
        self._ended("held")
        try:
            # The holder before may have ended between the miss that led here and this lease.
            found = await self._seen(look)
            return await work() if found is None else found
        finally:
            await self._release(name, token)

    async def alone(self, key: str, work: Callable[[], Awaitable[T]]) -> None:
        name, token = f"{key}:lease", self._world.token()
        try:
            if not await self._tokens.take(name, token, ttl_s=self._limits.ttl_s):
                return
        except CacheUnavailable:
            return  # nothing to renew where nothing can be written
        try:
            await work()
        finally:
            await self._release(name, token)

    async def _wait_for_turn(
        self, name: str, token: str, look: Callable[[], Awaitable[T | None]]
    ) -> T | Turn:
        """What another found; else how the wait ended."""
        give_up_s = self._world.now() + self._limits.wait_s
        ceiling_s = FIRST_PAUSE_S
        while not await self._tokens.take(name, token, ttl_s=self._limits.ttl_s):
            left_s = give_up_s - self._world.now()
            if left_s <= 0:
                return Turn.GIVEN_UP
            # Half of it is chance, so that those who began to wait together do not look together.
            await self._world.sleep(min(left_s, ceiling_s * (1 + self._world.random()) / 2))
            ceiling_s = min(2 * ceiling_s, MOST_PAUSE_S)
            if (found := await look()) is not None:
                return found
        return Turn.OURS

    async def _seen(self, look: Callable[[], Awaitable[T | None]]) -> T | None:
        try:
            return await look()
        except CacheUnavailable:
            return None

    async def _release(self, name: str, token: str) -> None:
        try:
            await self._tokens.release(name, token)
        except CacheUnavailable:
            return  # it ends by itself, see Limits

    def _ended(self, result: str) -> None:
        self._metrics.ended.labels(result).inc()


class NoLease(Generic[T]):
    """Every replica works for itself: the control that shows what the lease is good for."""

    async def do(
        self,
        key: str,
        work: Callable[[], Awaitable[T]],
        look: Callable[[], Awaitable[T | None]],
    ) -> T:
        return await work()

    async def alone(self, key: str, work: Callable[[], Awaitable[T]]) -> None:
        await work()
