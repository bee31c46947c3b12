"""The pool: errors are one family, operations are counted, a lost one is tried once more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from week04_shortener.storage.database import (
    ConnectionLost,
    Database,
    DatabaseMetrics,
    DatabaseUnavailable,
    Pool,
    again_if_lost,
    open_database,
)

pytestmark = pytest.mark.anyio


class PoolOf:
    """A pool whose connections are `connection`."""

    def __init__(self, connection: object = None) -> None:
        self._connection = connection

    def __await__(self):  # type: ignore[no-untyped-def]
        return asyncio.sleep(0).__await__()

    @contextlib.asynccontextmanager
    async def acquire(self, **_limits: float) -> AsyncIterator[object]:
        yield self._connection

    def terminate(self) -> None: ...


def database(metrics: DatabaseMetrics | None = None) -> Database:
    return Database(lambda: cast(Pool, PoolOf()), acquire_timeout_s=1, metrics=metrics)


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (ConnectionRefusedError(), DatabaseUnavailable),
        (TimeoutError(), DatabaseUnavailable),
        (asyncpg.TooManyConnectionsError("no"), DatabaseUnavailable),
        (asyncpg.DiskFullError("no"), DatabaseUnavailable),
        (asyncpg.DeadlockDetectedError("no"), DatabaseUnavailable),
        (asyncpg.QueryCanceledError("no"), DatabaseUnavailable),
        (asyncpg.ReadOnlySQLTransactionError("no"), DatabaseUnavailable),
        (asyncpg.UndefinedTableError("no"), DatabaseUnavailable),
        (asyncpg.UndefinedColumnError("no"), DatabaseUnavailable),
        (asyncpg.CannotConnectNowError("no"), DatabaseUnavailable),
        (ConnectionResetError(), ConnectionLost),
        (asyncpg.ConnectionDoesNotExistError("no"), ConnectionLost),
        (asyncpg.AdminShutdownError("no"), ConnectionLost),
        (asyncpg.UniqueViolationError("no"), asyncpg.UniqueViolationError),
        (asyncpg.CheckViolationError("no"), asyncpg.CheckViolationError),
        (asyncpg.exceptions.DataError("no"), asyncpg.exceptions.DataError),
        (KeyError("a mistake"), KeyError),
    ],
)
async def test_what_may_pass_is_one_family(error: Exception, becomes: type[Exception]) -> None:
    async with database() as opened:
        with pytest.raises(becomes) as raised:
            async with opened.connection():
                raise error
    assert type(raised.value) is becomes


async def test_nobody_there_is_unavailable() -> None:
    opened = open_database(
        "postgresql://nobody@127.0.0.1:1/none",
        name="test",
        pool_size=1,
        connect_timeout_s=5,
        timeout_s=5,
    )
    async with opened:
        with pytest.raises(DatabaseUnavailable):
            await opened.ping()


async def test_operations_are_counted_and_timed_by_name() -> None:
    registry = CollectorRegistry()
    async with database(DatabaseMetrics(registry)) as opened:
        for _ in range(3):
            async with opened.connection("lookup"):
                pass
        with pytest.raises(DatabaseUnavailable):
            async with opened.connection("lookup"):
                raise TimeoutError
        with pytest.raises(KeyError):
            async with opened.connection("create"):
                raise KeyError("not the database's fault")

    def value(name: str, operation: str) -> float | None:
        return registry.get_sample_value(f"shortener_database_{name}", {"operation": operation})

    assert value("queries_total", "lookup") == value("seconds_count", "lookup") == 4
    assert value("failures_total", "lookup") == 1
    assert value("queries_total", "create") == value("seconds_count", "create") == 1
    assert value("failures_total", "create") is None


@pytest.mark.parametrize(
    ("failures", "calls"),
    [
        ([], 1),
        ([ConnectionLost("x")], 2),
        ([ConnectionLost("x"), ConnectionLost("y")], 2),
        ([DatabaseUnavailable("slow")], 1),
    ],
)
async def test_only_a_lost_one_is_tried_again_and_once(
    failures: list[Exception], calls: int
) -> None:
    made = 0

    async def operation() -> int:
        nonlocal made
        made += 1
        if made <= len(failures):
            raise failures[made - 1]
        return made

    if len(failures) < calls:
        assert await again_if_lost(operation) == calls
    else:
        with pytest.raises(type(failures[-1]), match=str(failures[-1])):
            await again_if_lost(operation)
    assert made == calls
