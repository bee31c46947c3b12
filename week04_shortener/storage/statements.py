"""The statements of the store, and how links become their arguments and rows become links."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import asyncpg

from week04_shortener.links import Entry, Link, entry
from week04_shortener.storage.outbox import Row

COLUMNS: Final = """
    id, code, url, created_at, updated_at, owner_id, version, expires_at, max_visits, visits,
    password_hash, deleted_at"""

# The database's clock is the only one: replicas' clocks need not agree.
NUMBERS: Final = "SELECT nextval('link_numbers') AS number, now() AS at FROM generate_series(1, $1)"

# In order of the codes, so that two of these with the same aliases wait for each other in one
# direction only, and no deadlock comes of it.
INSERT: Final = """
    WITH made AS (
        INSERT INTO links (id, code, url, created_at, updated_at, owner_id, expires_at, max_visits,
            password_hash)
        SELECT id, code, url, at, at, owner_id, expires_at, max_visits, password_hash
        FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[],
            $6::timestamptz[], $7::bigint[], $8::text[])
            AS n (id, code, url, owner_id, at, expires_at, max_visits, password_hash)
        ORDER BY code
        ON CONFLICT (code) DO NOTHING
        RETURNING id
    ), told AS (
        INSERT INTO outbox (destination, code, version, payload, request_id)
        SELECT destination, code, version, payload, request_id
        FROM unnest($9::bigint[], $10::text[], $11::text[], $12::bigint[], $13::bytea[],
            $14::uuid[]) AS o (id, destination, code, version, payload, request_id)
        JOIN made USING (id)
    )
    SELECT id FROM made
"""
TELL: Final = """
    INSERT INTO outbox (destination, code, version, payload, request_id)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::uuid[])
"""
CLAIM: Final = """
    INSERT INTO idempotency_keys AS k (scope, key, request_hash, link_id)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (scope, key) DO UPDATE SET
        request_hash = excluded.request_hash, link_id = excluded.link_id, created_at = now()
    WHERE k.created_at < now() - make_interval(secs => $5)
    RETURNING true
"""
CLAIMED: Final = f"""
    SELECT k.request_hash, l.* FROM idempotency_keys AS k
    JOIN (SELECT {COLUMNS} FROM links) AS l ON l.id = k.link_id
    WHERE k.scope = $1 AND k.key = $2
"""
LOOKUP: Final = """SELECT version, url, expires_at,
    max_visits IS NOT NULL OR password_hash IS NOT NULL AS is_guarded,
    deleted_at IS NOT NULL AS is_deleted
FROM links WHERE code = $1"""
"""All that a redirect needs. Claims tell it by its text from all else that PostgreSQL is asked."""

LINK: Final = f"SELECT {COLUMNS} FROM links WHERE code = $1"

# Against other changes; not, as FOR UPDATE is, against rows that come to refer to the link.
LOCK: Final = f"{LINK} FOR NO KEY UPDATE"
UPDATE: Final = f"""
    UPDATE links SET
        url = $2, expires_at = $3, max_visits = $4, password_hash = $5,
        deleted_at = CASE WHEN $6 THEN clock_timestamp() END,
        version = version + 1, updated_at = clock_timestamp()
    WHERE id = $1
    RETURNING {COLUMNS}
"""

# Sorted by both columns: for `owner_id IS NULL` PostgreSQL does not see that the first one sorts
# nothing, and would sort all of the owner's links instead of walking the index `links_owner`.
PAGE: Final = f"""
    SELECT {COLUMNS} FROM links WHERE owner_id = $3 AND id < $1 AND deleted_at IS NULL
    ORDER BY owner_id, id DESC LIMIT $2
"""
PAGE_OF_NOBODY: Final = f"""
    SELECT {COLUMNS} FROM links WHERE owner_id IS NULL AND id < $1 AND deleted_at IS NULL
    ORDER BY owner_id, id DESC LIMIT $2
"""

OWNED: Final = """
    SELECT code FROM links
    WHERE code = ANY($1::text[]) AND owner_id IS NOT DISTINCT FROM $2 AND deleted_at IS NULL
"""


def insert_arguments(links: Sequence[Link], told: Sequence[tuple[int, Row]]) -> tuple[Any, ...]:
    """Of `INSERT`: the links, and the rows of `outbox` with the id of the link each tells of."""
    return (
        [link.id for link in links],
        [link.code for link in links],
        [link.url for link in links],
        [link.owner_id for link in links],
        [link.created_at for link in links],
        [link.expires_at for link in links],
        [link.max_visits for link in links],
        [link.password_hash for link in links],
        [link_id for link_id, _ in told],
        *outbox_columns(row for _, row in told),
    )


def outbox_columns(rows: Iterable[Row]) -> tuple[list[Any], ...]:
    """Rows of `outbox` as the columns that `unnest` takes."""
    values = [(r.destination.value, r.code, r.version, r.payload, r.request_id) for r in rows]
    return tuple(list(column) for column in zip(*values, strict=True))


def entry_of(row: asyncpg.Record) -> Entry:
    """The entry in a row of `LOOKUP`."""
    return entry(**row)


def link_of(row: asyncpg.Record) -> Link:
    """The link in a row of `COLUMNS`."""
    return Link(
        id=row["id"],
        code=row["code"],
        url=row["url"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        owner_id=row["owner_id"],
        version=row["version"],
        expires_at=row["expires_at"],
        max_visits=row["max_visits"],
        visits=row["visits"],
        password_hash=row["password_hash"],
        deleted_at=row["deleted_at"],
    )
