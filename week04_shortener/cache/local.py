"""A replica's own memory of links: a bounded LRU whose entries end after `ttl_s`.

A redirect out of it waits for nobody. The price is staleness, and this is the bound: a read that
begins `ttl_s` or more after a change was told to Valkey never gets what was before the change. It
is exact because an entry's age counts from the moment the read that brought it BEGAN: whatever was
changed and told before that moment, that read has seen; whatever came after it is younger than
the entry, which ends `ttl_s` after it.

A code that has no link is never kept here. Others may make that link through another replica, which
has no way to tell this memory: its maker would be told 404 just after 201. And codes can be guessed
without end, so they would push out the links that people follow.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from week04_shortener.links import Entry, Kind


class Held:
    """An entry in memory: until when it may be used, and from when on it may be renewed."""

    __slots__ = ("ends_s", "entry", "renew_from_s")

    def __init__(self, entry: Entry, ends_s: float, renew_from_s: float) -> None:
        self.entry = entry
        self.ends_s = ends_s
        self.renew_from_s = renew_from_s


class Local(Protocol):
    """A replica's own memory, or none. Times are seconds of one monotonic clock."""

    def get(self, code: str, now_s: float) -> Held | None:
        """What is held of `code` and has not ended."""
        ...

    def put(self, code: str, entry: Entry, read_began_s: float) -> None:
        """Hold `entry`, which a read brought that began at `read_began_s`."""
        ...

    def forget(self, code: str) -> None:
        """Hold nothing of `code`."""
        ...


class LocalCache:
    """`Local` with room for `entries` links; the one that nobody asked for longest goes first.

    An entry may be renewed in its last `renew_s` seconds. One process, one thread: no locks.
    """

    def __init__(self, *, entries: int, ttl_s: float, renew_s: float) -> None:
        self._room = entries
        self._ttl_s = ttl_s
        self._renew_s = renew_s
        self._held: OrderedDict[str, Held] = OrderedDict()
        self.evicted = 0
        """Entries that made room for others."""

    def get(self, code: str, now_s: float) -> Held | None:
        held = self._held.get(code)
        if held is None or now_s >= held.ends_s:
            return None
        self._held.move_to_end(code)
        return held

    def put(self, code: str, entry: Entry, read_began_s: float) -> None:
        if entry.kind is Kind.ABSENT:
            return
        ends_s = read_began_s + self._ttl_s
        held = self._held.get(code)
        # Reads may end in another order than they began.
        if held is not None and (held.entry.version, held.ends_s) >= (entry.version, ends_s):
            return
        self._held[code] = Held(entry, ends_s, ends_s - self._renew_s)
        self._held.move_to_end(code)
        if len(self._held) > self._room:
            self._held.popitem(last=False)
            self.evicted += 1

    def forget(self, code: str) -> None:
        self._held.pop(code, None)

    def __len__(self) -> int:
        return len(self._held)


class NoLocalCache:
    """No memory of its own: each request asks Valkey."""

    def get(self, code: str, now_s: float) -> Held | None:
        return None

    def put(self, code: str, entry: Entry, read_began_s: float) -> None: ...

    def forget(self, code: str) -> None: ...


class LocalMetrics(Collector):
    """Entries and evictions, read when they are asked for: the cache itself only counts."""

    def __init__(self, cache: LocalCache, registry: CollectorRegistry) -> None:
        self._cache = cache
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "shortener_local_cache_entries",
            "Links in the replica's own memory, those that have ended among them.",
            value=len(self._cache),
        )
        yield CounterMetricFamily(
            "shortener_local_cache_evictions",
            "Links that made room for others in the replica's own memory.",
            value=self._cache.evicted,
        )
