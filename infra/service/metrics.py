"""Prometheus metrics of an HTTP service, in a registry of its own."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from infra.service.logs import LineSink

LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds in seconds. The finest is below a cache hit, the largest above every timeout."""

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


class HttpMetrics:
    """Requests counted, timed and currently active.

    Labels are bounded: the method is a known one or OTHER, the route is the template a router
    matched or ``unmatched``, never the path a client sent.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("method", "route", "status")
        self._requests = Counter(
            "http_requests_total", "HTTP requests answered.", labels, registry=registry
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "From the request's head to the end of its response.",
            labels,
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._active = Gauge(
            "http_requests_active", "HTTP requests in progress.", ("method",), registry=registry
        )

    def began(self, method: str) -> None:
        """A request's head was read."""
        self._active.labels(bounded_method(method)).inc()

    def ended(self, method: str, route: str, status: str, seconds: float) -> None:
        """A request was answered; `status` is its code, or ``aborted`` when none was sent."""
        method = bounded_method(method)
        self._active.labels(method).dec()
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(method, route, status).observe(seconds)

    def prepared(self, method: str, route: str, status: str) -> "PreparedMetrics":
        """The same for one method, route and status, looked up beforehand: for a hot path."""
        method = bounded_method(method)
        return PreparedMetrics(
            self._active.labels(method),
            self._requests.labels(method, route, status),
            self._seconds.labels(method, route, status),
        )


class PreparedMetrics:
    """Counts requests that all have the same labels; looking them up costs more than counting."""

    def __init__(self, active: Gauge, requests: Counter, seconds: Histogram) -> None:
        self.began = active.inc
        self._active = active
        self._requests = requests
        self._seconds = seconds

    def ended(self, seconds: float) -> None:
        """A request was answered."""
        self._active.dec()
        self._requests.inc()
        self._seconds.observe(seconds)


def bounded_method(method: str) -> str:
    """`method` when it is a registered one, else ``OTHER``."""
    return method if method in KNOWN_METHODS else "OTHER"
