"""Reading files without making the event loop wait for a disk.

What the kernel holds in its page cache is read at once; the rest is read in a thread first. The
kernel tells which by preadv2(2) with RWF_NOWAIT, where it has that for the file system; where it
does not, a thread reads.
"""

from __future__ import annotations

import asyncio
import errno
import os

# One turn in a thread, and the longest the loop copies without serving others.
PIECE_BYTES = 1024 * 1024
_READ_BYTES = 256 * 1024

_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux


def read_now(fd: int, count: int) -> bytes | None:
    """The first `count` bytes of a file, if they can be had without waiting.

    Raises:
        OSError: the disk failed.
    """
    if _NOWAIT is None:
        return None
    buffer = bytearray(count)
    try:
        got = os.preadv(fd, [buffer], 0, _NOWAIT) if count else 0
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return None
        raise
    return bytes(buffer) if got == count else None


async def read(fd: int, count: int) -> bytes:
    """The first `count` bytes of a file, fewer when it has become shorter."""
    data = read_now(fd, count)
    return await asyncio.to_thread(_read_whole, fd, count) if data is None else data


async def ready(fd: int, offset: int, count: int) -> None:
    """Return once the bytes are in memory, as far as the first and the last of them tell."""
    if not (_there(fd, offset) and _there(fd, offset + count - 1)):
        await asyncio.to_thread(_load, fd, offset, count)


def _there(fd: int, offset: int) -> bool:
    if _NOWAIT is None:
        return False
    try:
        os.preadv(fd, [bytearray(1)], offset, _NOWAIT)
    except OSError:  # also what the disk has to say: the read that follows will say it again
        return False
    return True


def _read_whole(fd: int, count: int) -> bytes:
    pieces = []
    offset = 0
    while offset < count and (piece := os.pread(fd, count - offset, offset)):
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)


def _load(fd: int, offset: int, count: int) -> None:
    end = offset + count
    while offset < end and (piece := os.pread(fd, min(_READ_BYTES, end - offset), offset)):
        offset += len(piece)
