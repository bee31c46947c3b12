"""The database as the store uses it: each operation has a name, is counted and timed."""

import contextlib
import time
from collections.abc import AsyncIterator

from prometheus_client import CollectorRegistry, Counter, Histogram

from infra.service.metrics import LATENCY_BUCKETS_S
from week04_shortener.database import Connection, Database, DatabaseUnavailable


class StoreMetrics:
    """Operations by name. The herd's size is read here: one lookup each, or one for all."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queries = Counter(
            "shortener_database_queries_total",
            "Operations sent to PostgreSQL; one that is tried again counts again.",
            ("operation",),
            registry=registry,
        )
        self.failures = Counter(
            "shortener_database_failures_total",
            "Operations that PostgreSQL did not do.",
            ("operation",),
            registry=registry,
        )
        self.seconds = Histogram(
            "shortener_database_seconds",
            "Duration of an operation, with the wait for a connection.",
            ("operation",),
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )


class Queries:
    """Connections for operations with names; the names are few and fixed, so labels are too."""

    def __init__(self, database: Database, metrics: StoreMetrics) -> None:
        self._database = database
        self._metrics = metrics

    @contextlib.asynccontextmanager
    async def named(self, operation: str) -> AsyncIterator[Connection]:
        """A connection for the length of the block; raises `DatabaseUnavailable`."""
        self._metrics.queries.labels(operation).inc()
        began = time.perf_counter()
        try:
            async with self._database.connection() as connection:
                yield connection
        except DatabaseUnavailable:
            self._metrics.failures.labels(operation).inc()
            raise
        finally:
            self._metrics.seconds.labels(operation).observe(time.perf_counter() - began)
