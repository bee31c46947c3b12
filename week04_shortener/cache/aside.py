"""Cache-aside in two tiers: a replica's own memory, then Valkey for all of them, then the database.

The caches are a help, never a need: whatever goes wrong with them, the answer comes from the
database. What is not there is cached as well, in Valkey and for a short time, or a wrong code would
be a free query.

Links change, so each entry carries its link's version, and no entry is ever written over a newer
one. That keeps a slow reader from bringing back what it read before a change, and since it is told
what lies there instead, from passing it on. Once the change's own entry has ended it could no
longer help; so a fill that took longer than half the shortest life of an entry is not written.

Whoever changes a link tells Valkey before the change is answered. From then on a read may be behind
by `stale_s` and no more, although replicas remember links for longer: see `local`. Two things can
take that away. Valkey does not answer when it is told: until the outbox has told it again, what it
holds is old. Or it loses the change's entry, evicted or in a restart, while a fill is under way
that has read what was before: then that is what it holds, until the outbox's telling, a moment
after each change, or if even that came earlier, until the entry ends, and what replicas remember of
it after that.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from week04_shortener.cache.early import Cost, Early
from week04_shortener.cache.local import Held, Local
from week04_shortener.cache.lookups import LOCAL, VALKEY, CacheMetrics
from week04_shortener.cache.renewals import Renewals
from week04_shortener.cache.singleflight import Flight
from week04_shortener.links import Entry, Kind

T = TypeVar("T")

_PREFIX: Final = "shortener:link:"


class CacheUnavailable(Exception):
    """The cache did not answer, or was not asked because it did not answer before."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry that lies in the cache, and for how many seconds more."""

    entry: Entry
    left_s: float


class Cache(Protocol):
    """The side of the cache that all replicas share. Methods raise `CacheUnavailable` only."""

    async def get(self, key: str) -> Kept | None:
        """The entry, or None when there is none."""
        ...

    async def put(self, key: str, entry: Entry, ttl_s: float) -> Entry:
        """Keep `entry` unless a newer version lies there; the one that lies there afterwards."""
        ...

    async def tell(self, key: str, entry: Entry, ttl_s: float) -> Entry:
        """`put` what a link has become, and have every replica hear of it, in one step."""
        ...


Write = Callable[[str, Entry, float], Awaitable[Entry]]
"""`Cache.put` or `Cache.tell`."""


class Lease(Protocol[T]):
    """What lets one replica work for all, or every replica for itself."""

    async def do(
        self,
        key: str,
        work: Callable[[], Awaitable[T]],
        look: Callable[[], Awaitable[T | None]],
    ) -> T:
        """The result of `work`, done here, or by another replica, where `look` finds it.

        Raises only what `work` raises; `look` may raise `CacheUnavailable`.
        """
        ...

    async def alone(self, key: str, work: Callable[[], Awaitable[T]]) -> None:
        """Work unless somebody is at it already. Raises only what `work` raises."""
        ...


@dataclass(frozen=True, slots=True)
class Dated:
    """An entry, and when the read that brought it began: what it is worth depends on that."""

    entry: Entry
    began_s: float


@dataclass(frozen=True)
class Lifetimes:
    """How long entries live in Valkey. With no jitter those made together would end together."""

    ttl_s: float
    negative_ttl_s: float
    jitter: float
    random: Callable[[], float]

    def of(self, entry: Entry, now_s: float) -> float:
        """Seconds for `entry` at `now_s`, seconds since the epoch.

        No longer than its link, but for the short life of an absence, which each entry has: a
        change's entry that was gone at once could not keep out what was read before the change.
        """
        short_s = min(self.negative_ttl_s, self.ttl_s)
        full_s = short_s if entry.kind is Kind.ABSENT else self.ttl_s
        if entry.expires_at_s is not None:
            full_s = max(short_s, min(full_s, entry.expires_at_s - now_s))
        return full_s * (1 - self.jitter * self.random())

    @property
    def fill_limit_s(self) -> float:
        """The longest that a fill may take which is still written, seconds.

        Half the shortest life: the other half is for the write itself, which may be under way for
        as long as an operation on the cache may take.
        """
        return min(self.negative_ttl_s, self.ttl_s) * (1 - self.jitter) / 2


@dataclass(frozen=True)
class Tiers:
    """What a lookup is made of; chosen by the entry point.

    `stale_s` is how old a read's result may be: for so long an entry in a replica's own memory
    lives when no changes are heard of. `now` is monotonic, `wall` in seconds since the epoch.
    """

    local: Local
    cache: Cache
    load: Callable[[str], Awaitable[Entry]]
    flight: Flight[Dated]
    lease: Lease[Entry]
    lifetimes: Lifetimes
    early: Early
    renewals: Renewals
    stale_s: float
    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


def local_renewal_s(stale_s: float) -> float:
    """What renewing an entry of a replica's own memory is taken to cost, seconds.

    Asking Valkey takes a millisecond, but on a busy event loop tens of them.
    """
    return stale_s / 20


class CacheAside:
    """Entries by code, from the tiers that have them and from the database when none has."""

    def __init__(self, tiers: Tiers, metrics: CacheMetrics) -> None:
        self._tiers = tiers
        self._local = tiers.local
        self._now = tiers.now
        self._metrics = metrics
        self._lookups = metrics.lookups
        self._fill_cost = Cost(tiers.lifetimes.ttl_s / 20)

    def near(self, code: str) -> Entry | None:
        """What this replica remembers of `code`; None when that is nothing, or too old."""
        now_s = self._now()
        held = self._local.get(code, now_s)
        if held is None:
            self._lookups.local_misses += 1
            return None
        self._lookups.local_hits += 1
        if now_s >= held.renew_from_s:
            self._renew_local(code, held, now_s)
        return held.entry

    async def entry_of(self, code: str) -> Entry:
        """The entry of `code` beyond what is `near`: from Valkey, or else from the database.

        Raises only what `load` raises.
        """
        asked_s = self._now()
        dated = await self._tiers.flight.do(code, lambda: self._fetch(code))
        if not self._is_good(dated, asked_s):
            # The flight was under way before this was asked. The next one is not.
            dated = await self._tiers.flight.do(code, lambda: self._fetch(code))
        return dated.entry

    async def remember(self, code: str, entry: Entry) -> None:
        """Keep what a link has become, before whoever made or changed it is answered.

        It replaces older versions and the absence of an earlier guess.
        """
        began_s = self._now()
        lies = await self._put(code, entry, self._tiers.cache.tell)
        if lies is None:
            # Somebody may have changed it further since, and told only Valkey.
            self._local.forget(code)
        else:
            self._local.put(code, lies, began_s)

    def _is_good(self, dated: Dated, asked_s: float) -> bool:
        """Whether a flight's result is new enough for somebody who asked at `asked_s`.

        An absence must be newer than the question: the link may have been made in between, by the
        very caller who now follows it.
        """
        age_s = asked_s - dated.began_s
        return age_s <= (0 if dated.entry.kind is Kind.ABSENT else self._tiers.stale_s)

    async def _fetch(self, code: str) -> Dated:
        """Ask Valkey, on a miss the database: first one of this replica, then one of all."""
        began_s = self._now()
        try:
            kept = await self._tiers.cache.get(key_of(code))
        except CacheUnavailable:
            self._lookups.valkey["unavailable"] += 1
            kept = None
        else:
            self._lookups.valkey[_result(kept)] += 1
        if kept is None:
            entry = await self._tiers.lease.do(
                key_of(code), lambda: self._fill(code), lambda: self._look(code)
            )
        else:
            entry = kept.entry
            self._renew_shared(code, kept)
        self._local.put(code, entry, began_s)
        return Dated(entry, began_s)

    async def _look(self, code: str) -> Entry | None:
        kept = await self._tiers.cache.get(key_of(code))
        return None if kept is None else kept.entry

    async def _fill(self, code: str) -> Entry:
        """Load the entry and put it into Valkey; a newer one that lies there is the answer."""
        began_s = self._now()
        entry = await self._tiers.load(code)
        took_s = self._now() - began_s
        self._fill_cost.saw(took_s)
        if took_s > self._tiers.lifetimes.fill_limit_s:
            self._metrics.dropped.inc()
            return entry
        lies = await self._put(code, entry, self._tiers.cache.put)
        if lies is None:
            return entry
        if lies.version > entry.version:
            self._metrics.overtaken.inc()
        return lies

    async def _put(self, code: str, entry: Entry, write: Write) -> Entry | None:
        """What lies in Valkey afterwards; None when it does not answer."""
        ttl_s = self._tiers.lifetimes.of(entry, self._tiers.wall())
        try:
            return await write(key_of(code), entry, ttl_s)
        except CacheUnavailable:
            self._metrics.failed_writes.inc()
            return None

    def _renew_local(self, code: str, held: Held, now_s: float) -> None:
        """Draw whether this request renews what the replica remembers, and do so behind it."""
        tiers = self._tiers
        if not tiers.early.is_due(held.ends_s - now_s, local_renewal_s(tiers.stale_s)):
            return
        if tiers.renewals.start(
            LOCAL, code, lambda: tiers.flight.do(code, lambda: self._fetch(code))
        ):
            held.renew_from_s = held.ends_s  # once is enough

    def _renew_shared(self, code: str, kept: Kept) -> None:
        """Draw whether this lookup renews what lies in Valkey, and do so behind it.

        An absence is not renewed: whoever guesses codes would have the database asked for each.
        """
        tiers = self._tiers
        # A replica that hears of no changes asks about once in `stale_s` for a link that is
        # followed all the time. If what a fill takes were the only measure, the end would come
        # between two such lookups. One that hears of them asks more rarely, and may find that the
        # entry has ended; but for a link that is followed often it asks behind its requests.
        cost_s = max(self._fill_cost.value_s, tiers.stale_s)
        if kept.entry.kind is not Kind.ABSENT and tiers.early.is_due(kept.left_s, cost_s):
            tiers.renewals.start(
                VALKEY,
                code,
                lambda: tiers.lease.alone(key_of(code), lambda: self._fill(code)),
            )


def key_of(code: str) -> str:
    """The key of a code's entry in Valkey."""
    return _PREFIX + code


def code_of(key: str) -> str:
    """The code whose entry has the key."""
    return key.removeprefix(_PREFIX)


def _result(kept: Kept | None) -> str:
    if kept is None:
        return "miss"
    return "negative" if kept.entry.kind is Kind.ABSENT else "hit"
