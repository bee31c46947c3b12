"""Prometheus metrics of all workers together.

Each worker counts in plain lists, a batch at a time, and copies them twice a second into a small
file that it shares with the master (mmap). The master adds up all files, those of dead workers
included, when somebody asks. So a scrape never disturbs a worker, counts survive a crash, and
nothing is asked of the app's own use of the Prometheus client (its multi-process mode would
change every metric of the app).
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from week01_http_server.journal import Entry

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "other")
CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx")
"""By the first digit; "none": the client left before its answer was begun."""

REFUSALS = (400, 408, 413, 414, 431, 501, 503, 505)
BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

# Where each figure stands in the list: requests (a row of classes for each method), refusals
# (one more for any other status), durations (one more for those above all bounds), the rest.
_REFUSED = len(METHODS) * len(CLASSES)
_DURATIONS = _REFUSED + len(REFUSALS) + 1
_SECONDS = _DURATIONS + len(BOUNDS_S) + 1
_BYTES, _ACCEPTED, _LOST_LINES, _OPEN = _SECONDS + 1, _SECONDS + 2, _SECONDS + 3, _SECONDS + 4
_COUNT = _OPEN + 1
_FILE_BYTES = _COUNT * 8

_ROWS = {method: row * len(CLASSES) for row, method in enumerate(METHODS)}
_OTHER = _ROWS["other"]
_REFUSAL_AT = {status: _REFUSED + place for place, status in enumerate(REFUSALS)}


class Meter:
    """A worker's own counts; a `journal.Reader`.

    Args:
        fd: of the file shared with the master.
        now: connections open, accepted since the start, and log lines lost since the start.
    """

    def __init__(self, fd: int, now: Callable[[], tuple[int, int, int]]) -> None:
        self._shared = mmap.mmap(fd, _FILE_BYTES)
        self._figures = [0.0] * _COUNT
        self._now = now

    def __call__(self, batch: Sequence[Entry]) -> None:
        figures = self._figures
        sum_bytes, sum_s = 0, 0.0
        for request, _, status, size, seconds, _ in batch:
            sum_bytes += size
            if request is None:
                figures[_REFUSAL_AT.get(status, _DURATIONS - 1)] += 1
                continue
            figures[_ROWS.get(request.method, _OTHER) + status // 100] += 1
            figures[_DURATIONS + bisect_left(BOUNDS_S, seconds)] += 1
            sum_s += seconds
        figures[_BYTES] += sum_bytes
        figures[_SECONDS] += sum_s

    def publish(self) -> None:
        """Show the master what was counted."""
        figures = self._figures
        figures[_OPEN], figures[_ACCEPTED], figures[_LOST_LINES] = self._now()
        self._shared[:] = array("d", figures).tobytes()


class Figures:
    """The master's side: a file for each worker, and the sums."""

    def __init__(self) -> None:
        self._files: dict[int, tuple[int, mmap.mmap]] = {}
        self._past = [0.0] * _COUNT
        self._lock = threading.Lock()  # scrapes come on threads of their own

    def share(self, worker: int) -> int:
        """A descriptor for a new worker, valid until `fold`."""
        with tempfile.TemporaryFile() as made:
            made.truncate(_FILE_BYTES)
            fd = os.dup(made.fileno())
        with self._lock:
            self._files[worker] = fd, mmap.mmap(fd, _FILE_BYTES)
        return fd

    def fold(self, worker: int) -> None:
        """Keep what a dead worker counted, and close its file."""
        with self._lock:
            fd, shared = self._files.pop(worker)
            self._past = _sum([self._past, _read(shared)])
            self._past[_OPEN] = 0.0
            shared.close()
            os.close(fd)

    def total(self) -> list[float]:
        """All workers together, since the master's start."""
        with self._lock:
            return _sum([self._past, *(_read(shared) for _, shared in self._files.values())])

    def workers(self) -> int:
        """How many there are."""
        return len(self._files)


def _read(shared: mmap.mmap) -> array[float]:
    return array("d", shared[:])


def _sum(lists: Iterable[Sequence[float]]) -> list[float]:
    return [sum(column) for column in zip(*lists, strict=True)]


class _Served(Collector):
    """The figures by their names."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        total = self._figures.total()
        yield GaugeMetricFamily("http_workers", "Worker processes.", self._figures.workers())
        yield GaugeMetricFamily("http_connections_open", "Connections open now.", total[_OPEN])
        yield CounterMetricFamily(
            "http_connections_accepted", "Connections accepted.", total[_ACCEPTED]
        )
        requests = CounterMetricFamily(
            "http_requests", "Requests answered.", labels=("method", "status")
        )
        for row, method in enumerate(METHODS):
            for column, status in enumerate(CLASSES):
                count = total[row * len(CLASSES) + column]
                if count:
                    requests.add_metric((method, status), count)
        yield requests
        yield self._refused(total)
        yield self._durations(total)
        yield CounterMetricFamily(
            "http_response_bytes", "Bytes written, heads included.", total[_BYTES]
        )
        yield CounterMetricFamily(
            "http_access_log_lost_lines",
            "Access log lines that could not be written.",
            total[_LOST_LINES],
        )

    @staticmethod
    def _refused(total: Sequence[float]) -> Metric:
        refused = CounterMetricFamily(
            "http_refused", "Refused before there was a request to answer.", labels=("status",)
        )
        for place, status in enumerate((*map(str, REFUSALS), "other")):
            if total[_REFUSED + place]:
                refused.add_metric((status,), total[_REFUSED + place])
        return refused

    @staticmethod
    def _durations(total: Sequence[float]) -> Metric:
        durations = HistogramMetricFamily(
            "http_request_duration_seconds", "From the head's end to the answer's last byte."
        )
        counts = accumulate(total[_DURATIONS : _DURATIONS + len(BOUNDS_S) + 1])
        bounds = (*map(str, BOUNDS_S), "+Inf")
        durations.add_metric([], list(zip(bounds, counts, strict=True)), total[_SECONDS])
        return durations


def registry_of(figures: Figures) -> CollectorRegistry:
    """What the Prometheus client needs to write them down."""
    registry = CollectorRegistry()
    registry.register(_Served(figures))
    return registry


def serve(figures: Figures, host: str, port: int) -> WSGIServer:
    """Answer scrapes at `host:port`, on a thread of its own, until `shutdown` is called.

    Raises:
        OSError: the port is taken or not allowed.
    """
    server, _ = start_http_server(port, host, registry_of(figures))
    return server
