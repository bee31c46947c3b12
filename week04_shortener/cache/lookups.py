"""What lookups in the two tiers found, and what became of the fills that followed."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

LOCAL: Final = "local"
VALKEY: Final = "valkey"
"""The tiers, as metrics call them."""


class Lookups(Collector):
    """What lookups found, by tier and result.

    Plain numbers, read when somebody asks for them: a counter of the library takes a lock at each
    step, and the first tier counts on a path that takes microseconds.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.local_hits = 0
        self.local_misses = 0
        self.valkey = dict.fromkeys(("hit", "negative", "miss", "unavailable"), 0)
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "shortener_cache_lookups",
            "Cache lookups by tier and result: hit, negative (absence was cached), miss, "
            "unavailable.",
            labels=("tier", "result"),
        )
        family.add_metric((LOCAL, "hit"), self.local_hits)
        family.add_metric((LOCAL, "miss"), self.local_misses)
        for result, count in self.valkey.items():
            family.add_metric((VALKEY, result), count)
        yield family


class CacheMetrics:
    """What lookups found, and what became of fills."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lookups = Lookups(registry)
        self.failed_writes = Counter(
            "shortener_cache_failed_writes_total",
            "Entries the cache did not take.",
            registry=registry,
        )
        late = Counter(
            "shortener_cache_late_fills_total",
            "Fills that would have been wrong: overtaken (a newer version lay there already), "
            "dropped (took too long to be written).",
            ("result",),
            registry=registry,
        )
        self.overtaken, self.dropped = late.labels("overtaken"), late.labels("dropped")
