"""Brings the database's schema up to date. Can be run again at any time."""

from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from infra.service.retry import brief
from week04_shortener.storage.database import DatabaseUnavailable

_MIGRATIONS = Path(__file__).parent / "migrations"

_LOCK = 0x73686F7274656E
"""Advisory lock of this service's migrations: "shorten" in ASCII."""

_LOCK_TIMEOUT_S = 30
_STATEMENT_TIMEOUT_S = 300

_PASSING = ("08", "40", "53", "55", "57")
"""Classes of SQLSTATE that may be gone next time: connection, rollback, resources, lock, operator
(PostgreSQL manual, appendix A)."""


async def migrate(url: str, *, connect_timeout_s: float) -> None:
    """Bring the database at `url` to the newest revision; `DatabaseUnavailable` if it is away.

    One transaction holds the advisory lock and all revisions: of several setups at once one
    migrates and the others then find nothing to do, and one that dies leaves nothing half done.
    """

    async def connect() -> asyncpg.Connection:
        # asyncpg reads the address itself: SQLAlchemy's form of it has other parameters.
        try:
            return await asyncpg.connect(url, timeout=connect_timeout_s)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise DatabaseUnavailable(brief(error)) from error

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'"))
            await connection.execute(
                text(f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT_S}s'")
            )
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            await connection.run_sync(_upgrade)
    except DBAPIError as error:
        # A mistake in a revision stays the error it is: trying again would not mend it.
        state = getattr(error.orig, "sqlstate", None) or ""
        if error.connection_invalidated or state.startswith(_PASSING):
            raise DatabaseUnavailable(brief(error.orig)) from error
        raise
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
