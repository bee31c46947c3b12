"""Prometheus metrics of an HTTP service, in a registry of its own."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from infra.service.logs import LineSink

LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds in seconds. The finest is below a cache hit, the largest above every timeout."""

_BOUNDS = [*map(str, LATENCY_BUCKETS_S), "+Inf"]

KNOWN_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"}
)
"""RFC 9110 section 9 and RFC 5789; anything a client makes up is counted as OTHER."""


def new_registry(log: LineSink | None = None) -> CollectorRegistry:
    """A registry with the process's own figures: memory, descriptors, CPU, log lines lost.

    Each application has its own: the library's global registry would make two applications in
    one process, or in one test, collide.
    """
    # A second series for each, with the time of its birth, would double every page.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    if log is not None:
        lost = Gauge("log_lines_lost", "Log lines that could not be written.", registry=registry)
        lost.set_function(lambda: log.lost_lines)
    return registry


class Series:
    """Requests with the same method, route and status: how many, and how long they took.

    `began` and `ended` are for a route so hot that looking up its series costs too much.
    """

    __slots__ = ("_active", "_method", "seconds", "within")

    def __init__(self, active: dict[str, int], method: str) -> None:
        self._active = active
        self._method = method
        self.within = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self.seconds = 0.0

    def began(self) -> None:
        """A request's head was read."""
        self._active[self._method] += 1

    def ended(self, seconds: float) -> None:
        """A request was answered."""
        self._active[self._method] -= 1
        self.within[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        self.seconds += seconds


class HttpMetrics(Collector):
    """Requests counted, timed and currently active.

    Labels are bounded: the method is a known one or OTHER, the route is the template a router
    matched or ``unmatched``, never the path a client sent.

    Kept as plain numbers and put into the library's form when somebody asks: the library's own
    take a lock at each of the five steps of a request, as much work as a cached answer itself.
    One thread, the event loop's, may count.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._active: dict[str, int] = {}
        self._series: dict[tuple[str, str, str], Series] = {}
        registry.register(self)

    def began(self, method: str) -> None:
        """A request's head was read."""
        method = bounded_method(method)
        self._active[method] = self._active.get(method, 0) + 1

    def ended(self, method: str, route: str, status: str, seconds: float) -> None:
        """A request was answered; `status` is its code, or ``aborted`` when none was sent."""
        self.series(method, route, status).ended(seconds)

    def series(self, method: str, route: str, status: str) -> Series:
        """What is counted of all requests that have these labels."""
        labels = bounded_method(method), route, status
        found = self._series.get(labels)
        if found is None:
            self._active.setdefault(labels[0], 0)
            found = self._series[labels] = Series(self._active, labels[0])
        return found

    def describe(self) -> Iterator[Metric]:
        """The names, which nobody else may use in the registry."""
        return iter((_requests(), _durations(), _in_progress()))

    def collect(self) -> Iterator[Metric]:
        """The numbers of now."""
        requests, durations, in_progress = _requests(), _durations(), _in_progress()
        for labels, series in self._series.items():
            within = list(accumulate(series.within))
            if within[-1]:
                requests.add_metric(labels, within[-1])
                buckets = list(zip(_BOUNDS, within, strict=True))
                durations.add_metric(labels, buckets, series.seconds)
        for method, number in self._active.items():
            in_progress.add_metric((method,), number)
        return iter((requests, durations, in_progress))


_LABELS = ("method", "route", "status")


def _requests() -> CounterMetricFamily:
    return CounterMetricFamily("http_requests", "HTTP requests answered.", labels=_LABELS)


def _durations() -> HistogramMetricFamily:
    return HistogramMetricFamily(
        "http_request_duration_seconds",
        "From the request's head to the end of its response.",
        labels=_LABELS,
    )


def _in_progress() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "http_requests_active", "HTTP requests in progress.", labels=("method",)
    )


def bounded_method(method: str) -> str:
    """`method` when it is a registered one, else ``OTHER``."""
    return method if method in KNOWN_METHODS else "OTHER"
