"""Many links at once, past the API: so that a lookup has a table of a real size to look in.

python -m week04_shortener.checks.many_links NUMBER    (SHORTENER_* set as for the services)

They have the codes that the API would give them, from numbers of the same sequence, so links made
later collide with none. Nothing is told of them: a million rows in the outbox would bring them all
into the cache, which is to be cold.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg

from infra.lab.site import Site
from infra.service.settings import load_settings
from week04_shortener.codes import Codec
from week04_shortener.lab import CODE_KEY, postgres
from week04_shortener.links import RESERVED_WORDS
from week04_shortener.settings import Settings

BATCH: Final = 50_000
"""Links of one COPY, and of one transaction: few enough to see how far it is."""

MOST: Final = 10_000_000

_TIMEOUT_S: Final = 600.0

_NUMBERS = "SELECT nextval('link_numbers') FROM generate_series(1, $1)"
_COLUMNS = ("id", "code", "url", "created_at", "updated_at")
_SIZES = """
    SELECT pg_table_size('links') AS table_bytes, pg_indexes_size('links') AS index_bytes,
        (SELECT count(*) FROM links) AS links
"""


@dataclass(frozen=True)
class Loaded:
    """What was made, and the table afterwards, with what it held before."""

    codes: int
    seconds: float
    links: int
    table_bytes: int
    index_bytes: int

    def __str__(self) -> str:
        mib = 1024 * 1024
        return (
            f"{self.codes:,} links in {self.seconds:.1f} s; the table has {self.links:,}, "
            f"{self.table_bytes / mib:.0f} MiB, and {self.index_bytes / mib:.0f} MiB of indexes"
        )


def target(number: int) -> str:
    """Where the link with this number leads: about as long as people's links are."""
    return f"https://example.org/articles/2026/11/{number}?from=newsletter&item={number % 97}"


async def bulk_load(site: Site, links: int, say: Callable[[str], None] = lambda _: None) -> Loaded:
    """Make `links` links in the PostgreSQL of `site`; `say` is told how far it is."""
    key = site.secrets[CODE_KEY].encode()
    return await load(postgres.dsn(site), key, links, say)


async def load(dsn: str, code_key: bytes, links: int, say: Callable[[str], None]) -> Loaded:
    """Make `links` links, 1 to `MOST`, in the database at `dsn`.

    Codes are worked out in a process of their own while PostgreSQL takes in the batch before.
    """
    if not 1 <= links <= MOST:
        raise ValueError(f"{links} is not 1 to {MOST}")
    began = time.perf_counter()
    connection = await asyncpg.connect(dsn, ssl=False, command_timeout=_TIMEOUT_S)
    try:
        with ProcessPoolExecutor(1) as workers:
            await _copy_all(connection, workers, code_key, links, say)
        # Statistics and the visibility map, as autovacuum would have them some minutes later.
        await connection.execute("VACUUM (ANALYZE) links")
        seconds = time.perf_counter() - began
        sizes = await connection.fetchrow(_SIZES)
        assert sizes is not None
        return Loaded(links, seconds, **sizes)
    finally:
        await connection.close()


async def _copy_all(
    connection: asyncpg.Connection,
    workers: ProcessPoolExecutor,
    code_key: bytes,
    links: int,
    say: Callable[[str], None],
) -> None:
    async def begin(count: int) -> asyncio.Future[list[tuple[int, str]]]:
        numbers = [row["nextval"] for row in await connection.fetch(_NUMBERS, count)]
        return asyncio.get_running_loop().run_in_executor(workers, codes_of, code_key, numbers)

    done, coming = 0, await begin(min(BATCH, links))
    while done < links:
        rows = await coming
        done += len(rows)
        if done < links:
            coming = await begin(min(BATCH, links - done))
        at = datetime.now(UTC)
        records = ((number, code, target(number), at, at) for number, code in rows)
        await connection.copy_records_to_table("links", records=records, columns=_COLUMNS)
        say(f"{done:,} of {links:,} links")


def codes_of(code_key: bytes, numbers: list[int]) -> list[tuple[int, str]]:
    """The numbers with their codes; those of reserved words are left out, as the API does."""
    codec = Codec(code_key)
    coded = ((number, codec.encode(number)) for number in numbers)
    return [(number, code) for number, code in coded if code.lower() not in RESERVED_WORDS]


def main(arguments: list[str]) -> int:
    """Load as many links as the only argument says; returns the exit status."""
    if len(arguments) != 1 or not arguments[0].isdecimal() or not 1 <= int(arguments[0]) <= MOST:
        sys.stderr.write(f"usage: python -m {__spec__.name} NUMBER, from 1 to {MOST}\n")
        return 2
    settings = load_settings(Settings)
    dsn, key = settings.database_url.get_secret_value(), settings.code_key.get_secret_value()

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    try:
        loaded = asyncio.run(load(dsn, key.encode(), int(arguments[0]), say))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        sys.stderr.write(f"PostgreSQL did not take the links: {error}\n")
        return 1
    sys.stdout.write(f"{loaded}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
