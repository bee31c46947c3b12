"""A replica's own memory of links: a bounded LRU whose entries end `ttl_s` after they were sure.

A redirect out of it waits for nobody. The price is staleness, and this is the bound: `ttl_s` after
a change was told to Valkey nobody gets what was before it any more. It is exact because each entry
has a moment at which it is sure to have been what Valkey was last told, and ends `ttl_s` after it:

- At first that is when the read that brought it BEGAN. Whatever was told before that moment, the
  read has seen; whatever is told at c after it is younger than the entry, which ends before
  c + `ttl_s`.
- Valkey also publishes each change, in the same step in which it is told, and this memory may
  subscribe (`notices`). A PING on the subscription's own connection, sent at s, comes back behind
  every notice published before s: one connection has one order. So once it is back, each change
  told before s has been heard, and has removed what was older than it. What is left was sure at s,
  without having been read again, if it was read after the subscription began: what was told before
  the read began, the read has seen; from then until s nothing went unheard. Whatever is told at c
  after s comes again before s + `ttl_s`, the entry's end.

A notice that is late, a connection that is lost, a Valkey that is silent: then no PING comes back,
s stays where it is, and everything ends `ttl_s` after it. Nobody needs to notice for that. A read
under way when a notice comes may bring what was before: notices are remembered, and what is older
than one is not renewed by any PING. So many are remembered as there is room for; what was being
read when one of those came that are forgotten is not renewed either.

Changes that Valkey was not told of, or has lost, come with no notice: the relay tells them again.
`most_s` after its read an entry ends whatever was heard: no longer is anything remembered that has
gone wrong here. All this takes one Valkey for granted: whoever tells it of a change and whoever
listens must speak to the same process.

A code that has no link is never kept here. Others may make that link through another replica: its
maker would be told 404 just after 201. And codes can be guessed without end, so they would push out
the links that people follow.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from week04_shortener.links import Entry, Kind

NOTICES: Final = 10_000
"""So many are remembered for the reads under way: some seconds' worth of more changes than
PostgreSQL makes, and a read takes seconds at most."""

_SPREAD: Final = 0.25
"""Share of a life that differs from entry to entry. When the notices stop coming, all entries were
sure at the same moment; with no spread all would be asked for at the same moment, too."""


class Held:
    """An entry in memory: until when it may be used, and from when on it may be renewed.

    `began_s` is when its read began, `most_s` when it ends whatever is heard, `span_s` how long
    after a moment at which it is sure it may be used.
    """

    __slots__ = ("began_s", "ends_s", "entry", "most_s", "renew_from_s", "span_s")

    def __init__(
        self, entry: Entry, began_s: float, ends_s: float, most_s: float, span_s: float
    ) -> None:
        self.entry = entry
        self.began_s = began_s
        self.ends_s = ends_s
        self.most_s = most_s
        self.span_s = span_s
        self.renew_from_s = ends_s


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

    An entry may be renewed in its last `renew_s` seconds. `random` returns floats in [0, 1).
    One process, one thread: no locks.
    """

    def __init__(
        self,
        *,
        entries: int,
        ttl_s: float,
        most_s: float,
        renew_s: float,
        random: Callable[[], float],
        notices: int = NOTICES,
    ) -> None:
        self._room = entries
        self._ttl_s = ttl_s
        self._most_s = most_s
        self._renew_s = renew_s
        self._random = random
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._room_for_notices = notices
        self._noticed: OrderedDict[str, tuple[int, float]] = OrderedDict()
        # Before the first subscription there is no moment from which on everything was heard.
        self._since_s = math.inf
        self._remembered_from_s = math.inf
        self._sure_s = -math.inf
        self.evicted = 0
        """Entries that made room for others."""
        self.heard = 0
        """Notices of changes."""
        self.dropped = 0
        """Entries that went because of one."""

    def get(self, code: str, now_s: float) -> Held | None:
        held = self._held.get(code)
        if held is None:
            return None
        # It is never later than the end: mostly this is the only comparison.
        if now_s >= held.renew_from_s:
            self._prolong(held, now_s)
            if now_s >= held.ends_s:
                return None
        self._held.move_to_end(code)
        return held

    def put(self, code: str, entry: Entry, read_began_s: float) -> None:
        if entry.kind is Kind.ABSENT:
            return
        held = self._held.get(code)
        # Reads may end in another order than they began.
        if held is not None and (held.entry.version, held.began_s) >= (entry.version, read_began_s):
            return
        self._held[code] = self._new(code, entry, read_began_s)
        self._held.move_to_end(code)
        if len(self._held) > self._room:
            self._held.popitem(last=False)
            self.evicted += 1

    def forget(self, code: str) -> None:
        self._held.pop(code, None)

    # ---- What is heard of changes: see `notices`

    def subscribed(self, now_s: float) -> None:
        """From `now_s` on every change is heard, and before it some may not have been."""
        self._since_s = self._remembered_from_s = now_s
        self._noticed.clear()

    def sure(self, sent_s: float) -> None:
        """A PING sent at `sent_s` came back: everything told before that has been heard."""
        self._sure_s = max(self._sure_s, sent_s)

    def changed(self, code: str, version: int, now_s: float) -> None:
        """A link has become `version`, which was heard at `now_s`."""
        self.heard += 1
        held = self._held.get(code)
        if held is not None and held.entry.version < version:
            del self._held[code]
            self.dropped += 1
        newest, _ = self._noticed.pop(code, (0, 0.0))
        self._noticed[code] = (max(newest, version), now_s)
        if len(self._noticed) > self._room_for_notices:
            _, (_, self._remembered_from_s) = self._noticed.popitem(last=False)

    def changed_all(self, now_s: float) -> None:
        """Any link may have changed."""
        self.heard += 1
        self.dropped += len(self._held)
        self._held.clear()
        self.subscribed(now_s)

    def _new(self, code: str, entry: Entry, began_s: float) -> Held:
        share = 1.0 - _SPREAD * self._random()
        ends_s = most_s = began_s + self._ttl_s
        newest, _ = self._noticed.get(code, (0, 0.0))
        if began_s >= self._remembered_from_s and entry.version >= newest:
            most_s = began_s + self._most_s * share
        held = Held(entry, began_s, ends_s, most_s, self._ttl_s * share)
        held.renew_from_s = ends_s - self._renew_s
        return held

    def _prolong(self, held: Held, now_s: float) -> None:
        """Let the entry live on from the last moment at which all that is held was sure."""
        if held.began_s < self._since_s:
            return
        ends_s = min(held.most_s, self._sure_s + held.span_s)
        if ends_s > held.ends_s:
            held.ends_s = ends_s
            held.renew_from_s = ends_s - self._renew_s

    def __len__(self) -> int:
        return len(self._held)


class NoLocalCache:
    """No memory of its own: each request asks Valkey."""

    def get(self, code: str, now_s: float) -> Held | None:
        return None

    def put(self, code: str, entry: Entry, read_began_s: float) -> None: ...

    def forget(self, code: str) -> None: ...


class LocalMetrics(Collector):
    """Entries, evictions and notices, read when they are asked for: the cache only counts."""

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
        yield CounterMetricFamily(
            "shortener_local_cache_notices",
            "Notices of changed links that the replica's own memory was given.",
            value=self._cache.heard,
        )
        yield CounterMetricFamily(
            "shortener_local_cache_dropped",
            "Links that the replica's own memory let go because of a notice.",
            value=self._cache.dropped,
        )
