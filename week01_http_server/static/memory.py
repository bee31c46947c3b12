"""Small files kept in memory, bounded in bytes, least recently used first out."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass

from week01_http_server.messages import Response
from week01_http_server.static.answers import Representation

# What an entry costs beside its body: objects, fields, keys (measured with tracemalloc).
ENTRY_BYTES = 2048


# A path relative to the root, and the status of what was there, or None for nothing.
Fact = tuple[bytes, os.stat_result | None]


@dataclass(slots=True)
class Kept:
    """A file's content, with everything that its choice relied on.

    Attributes:
        facts: while all of them hold, a look into the directory would find the same: the plain
            file, and the coded ones that were looked for beside it.
        file: what it is sent as.
        response: its 200.
    """

    facts: tuple[Fact, ...]
    file: Representation
    response: Response


def unchanged(before: os.stat_result, now: os.stat_result) -> bool:
    """Whether two statuses are of the same file with the same content.

    st_ctime_ns moves with every write and cannot be set back; the device and inode tell files
    apart. Two writes within one tick of the clock are the reader's to think of
    (`conditions.settled`).
    """
    return (
        before.st_ctime_ns == now.st_ctime_ns
        and before.st_ino == now.st_ino
        and before.st_mtime_ns == now.st_mtime_ns
        and before.st_size == now.st_size
        and before.st_dev == now.st_dev
    )


class Memory:
    """Files by what asks for them: canonical path, and codings wanted where that matters.

    Attributes:
        limit_bytes: for bodies and what surrounds them; 0 keeps nothing.
        used_bytes: at present.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> Kept | None:
        """What is kept there, if anything; it counts as used now."""
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def put(self, key: bytes, kept: Kept) -> None:
        """Keep a file, letting go of others until there is room; too large a one is not kept."""
        self.drop(key)
        size = _size(kept)
        if size > self.limit_bytes:
            return
        self._kept[key] = kept
        self.used_bytes += size
        while self.used_bytes > self.limit_bytes:
            _key, oldest = self._kept.popitem(last=False)
            self.used_bytes -= _size(oldest)

    def drop(self, key: bytes) -> None:
        """Let go of what is kept there, if anything."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.used_bytes -= _size(kept)


def _size(kept: Kept) -> int:
    return len(kept.response.body) + ENTRY_BYTES
