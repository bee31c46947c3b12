"""The connection pool to PostgreSQL, and one name for all the ways it can be away.

asyncpg prepares each statement once on each connection and keeps it there. PgBouncer between here
and PostgreSQL would hand out another connection for each transaction (``pool_mode=transaction``);
it then must know of prepared statements itself (1.21, ``max_prepared_statements``), or asyncpg
must not keep them (``statement_cache_size=0``). Nothing else here lasts longer than a transaction:
no session settings, no LISTEN, no session-wide locks.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Self, TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from prometheus_client import CollectorRegistry, Counter, Histogram

from infra.service.metrics import LATENCY_BUCKETS_S
from infra.service.retry import brief

T = TypeVar("T")

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_AWAY = (
    OSError,  # refused, reset, unreachable; TimeoutError is one of them
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, query cancelled
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.ReadOnlySQLTransactionError,  # a primary that became a standby
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,  # no such database, yet
    asyncpg.UndefinedTableError,  # not migrated yet
    asyncpg.UndefinedColumnError,  # migrated, but not to the newest revision yet
    asyncpg.InvalidSchemaNameError,
    asyncpg.InvalidCachedStatementError,  # migrated since it was prepared; asyncpg has dropped it
    asyncpg.InterfaceError,  # connection or pool closed under us
    asyncpg.InternalClientError,  # the server died in mid-message
)
_LOST = (
    ConnectionResetError,
    BrokenPipeError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_NEWEST = "SELECT version FROM links LIMIT 1"
"""Fails unless the newest revision that the service needs was applied."""

_OUR_FAULT = (asyncpg.exceptions.DataError, asyncpg.ClientConfigurationError)


class DatabaseUnavailable(Exception):
    """PostgreSQL cannot do this now; the same may work later."""


class ConnectionLost(DatabaseUnavailable):
    """The connection died under the operation; on a new one it may work at once."""


class DatabaseMetrics:
    """Operations by name. The herd's size is read here: one lookup each, or one for all."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queries = Counter(
            "shortener_database_queries_total",
            "Operations asked of PostgreSQL; one that is tried again counts again.",
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

    @contextlib.contextmanager
    def measured(self, operation: str) -> Iterator[None]:
        """Count and time the block."""
        self.queries.labels(operation).inc()
        began = time.perf_counter()
        try:
            yield
        except DatabaseUnavailable:
            self.failures.labels(operation).inc()
            raise
        finally:
            self.seconds.labels(operation).observe(time.perf_counter() - began)


class Database:
    """A pool that connects when it is needed, so that a process starts before its database does.

    Waiting for a connection, connecting and each query have limits; what they run into is
    raised as `DatabaseUnavailable`.
    """

    def __init__(
        self,
        make_pool: Callable[[], Pool],
        *,
        acquire_timeout_s: float,
        metrics: DatabaseMetrics | None = None,
    ) -> None:
        self._make_pool = make_pool
        self._pool: Pool | None = None
        self._acquire_timeout_s = acquire_timeout_s
        self._metrics = metrics

    async def __aenter__(self) -> Self:
        self._pool = self._make_pool()
        await self._pool
        return self

    async def __aexit__(self, *_error: object) -> None:
        # Not close(), which would wait for queries that are still running.
        if self._pool is not None:
            self._pool.terminate()

    @contextlib.asynccontextmanager
    async def connection(self, operation: str = "other") -> AsyncIterator[Connection]:
        """A connection for the length of the block.

        `operation` names the block in the metrics, one of few names, never a caller's data.
        """
        measured = self._metrics.measured(operation) if self._metrics else contextlib.nullcontext()
        with measured:
            async with self._connection() as connection:
                yield connection

    async def ping(self) -> None:
        """Return when the database answers and is migrated."""
        async with self.connection("ping") as connection:
            await connection.execute(_NEWEST)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        assert self._pool is not None, "enter the database first"
        try:
            async with self._pool.acquire(timeout=self._acquire_timeout_s) as connection:
                yield connection
        except _OUR_FAULT:
            raise
        except _LOST as error:
            raise ConnectionLost(brief(error)) from error
        except _AWAY as error:
            raise DatabaseUnavailable(brief(error)) from error


async def again_if_lost(operation: Callable[[], Awaitable[T]]) -> T:
    """The result of `operation`, which is done once more when it loses its connection.

    For operations that may be done twice, and no others: whether a lost one was done is not known.
    One that died in the pool is found out only by using it. Not after a timeout, which would
    only take twice as long.
    """
    try:
        return await operation()
    except ConnectionLost:
        return await operation()


def open_database(
    url: str,
    *,
    name: str,
    pool_size: int,
    connect_timeout_s: float,
    timeout_s: float,
    metrics: DatabaseMetrics | None = None,
) -> Database:
    """A `Database` at `url`, to be entered; `name` is what ``pg_stat_activity`` shows."""

    def make_pool() -> Pool:
        return asyncpg.create_pool(
            url,
            min_size=0,
            max_size=pool_size,
            timeout=connect_timeout_s,
            command_timeout=timeout_s,
            server_settings={"application_name": name},
        )

    return Database(make_pool, acquire_timeout_s=timeout_s, metrics=metrics)
