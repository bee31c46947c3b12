"""API keys: made here, shown once, kept as a hash.

A key is 256 random bits, so its SHA-256 is all that is kept. A slow hash, as passwords need,
would only slow down each request: it makes guessing dear, and here is nothing to guess. Nor does
the comparison need constant time: what the index compares is the hash of what a caller sent, and
how far two hashes agree says nothing about the key behind either (a caller cannot choose a hash
digit by digit). Source: NIST SP 800-63B, section 5.1.2.2 (look-up secrets of 112 bits and more
are kept under a plain approved hash).
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from week04_shortener.storage.database import Database, again_if_lost

PREFIX: Final = "sk_"
"""In front of each key, so that scanners for leaked secrets and readers of logs know one."""

MAX_LISTED: Final = 1000
"""Keys that `Keys.list` returns at most, newest first."""

_BYTES: Final = 32

_COLUMNS = "id, name, created_at, revoked_at"
_CREATE = f"INSERT INTO api_keys (name, key_hash) VALUES ($1, $2) RETURNING {_COLUMNS}"
_FIND = f"SELECT {_COLUMNS} FROM api_keys WHERE key_hash = $1 AND revoked_at IS NULL"
_LIST = f"SELECT {_COLUMNS} FROM api_keys ORDER BY id DESC LIMIT $1"
_REVOKE = "UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A row of `api_keys`, without the hash, which nobody needs."""

    id: int
    name: str
    created_at: datetime
    revoked_at: datetime | None = None


def new_key() -> str:
    """A new key: ``sk_`` and 43 characters of ``A-Za-z0-9_-``, 256 random bits."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def hash_of(key: str) -> bytes:
    """What is kept of `key`: 32 bytes. Any text has one, so a caller's needs no check first."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class Keys:
    """The table of keys. Every method raises `DatabaseUnavailable`.

    Each method is one statement, and so a transaction of its own; none depends on what another
    has read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str) -> tuple[str, ApiKey]:
        """A new key and what is kept of it; the key cannot be read again.

        `name` tells the owner which key this is, 1 to 100 characters; `ValueError` otherwise.
        """
        if not 1 <= len(name) <= 100 or not name.isprintable():
            raise ValueError("a key's name has 1 to 100 printable characters")
        key = new_key()
        async with self._database.connection("create_key") as connection:
            row = await connection.fetchrow(_CREATE, name, hash_of(key))
        assert row is not None, "an INSERT without ON CONFLICT returns its row"
        return key, _api_key(row)

    async def find(self, key_hash: bytes) -> ApiKey | None:
        """The key with this hash, or None when there is none or it was revoked.

        A revoked one is not returned, so that no caller can forget to look whether it was.
        """

        async def find() -> asyncpg.Record | None:
            async with self._database.connection("find_key") as connection:
                return await connection.fetchrow(_FIND, key_hash)

        row = await again_if_lost(find)
        return None if row is None else _api_key(row)

    async def revoke(self, key_id: int) -> bool:
        """End key `key_id` for good; False when there is no such key, or it had ended before.

        Its row stays: links name their owner by it.
        """
        async with self._database.connection("revoke_key") as connection:
            return await connection.fetchval(_REVOKE, key_id) is not None

    async def list(self) -> Sequence[ApiKey]:
        """The newest `MAX_LISTED` keys, newest first, revoked ones too."""
        async with self._database.connection("list_keys") as connection:
            rows = await connection.fetch(_LIST, MAX_LISTED)
        return [_api_key(row) for row in rows]


def _api_key(row: asyncpg.Record) -> ApiKey:
    return ApiKey(**row)
