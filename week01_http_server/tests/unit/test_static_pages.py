"""Reading without making the loop wait: at once, or in a thread."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from week01_http_server.static import pages

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    fd = os.open(file, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads that waited for the disk."""
    seen: list[int] = []
    pread = os.pread

    def noting(fd: int, count: int, offset: int) -> bytes:
        seen.append(threading.get_ident())
        return pread(fd, count, offset)

    monkeypatch.setattr(os, "pread", noting)
    return seen


def kernel_says(monkeypatch: pytest.MonkeyPatch, number: int | None) -> None:
    """Answer each RWF_NOWAIT with an error; None: the system has no such thing."""
    if number is None:
        monkeypatch.setattr(pages, "_NOWAIT", None)
        return

    def failing(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pages, "_NOWAIT", 8)
    monkeypatch.setattr(os, "preadv", failing)


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="only Linux tells what is in memory")
def test_what_is_in_memory_is_read_at_once(
    fd: int, readers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT
        buffers[0][:] = CONTENT[offset : offset + len(buffers[0])]
        return len(buffers[0])

    monkeypatch.setattr(os, "preadv", full)  # the page cache is the machine's, not the test's
    assert asyncio.run(pages.read(fd, 1000)) == CONTENT[:1000]
    asyncio.run(pages.ready(fd, 1000, 5000))
    assert readers == []


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EOPNOTSUPP, None])
def test_what_may_have_to_wait_is_read_by_a_thread(
    fd: int, readers: list[int], monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    kernel_says(monkeypatch, number)
    assert asyncio.run(pages.read(fd, len(CONTENT))) == CONTENT
    asyncio.run(pages.ready(fd, 10, len(CONTENT) - 10))
    assert len(readers) >= 3  # one piece for the first, two for the second
    assert threading.get_ident() not in readers


def test_a_file_that_became_shorter_is_read_as_far_as_it_goes(fd: int) -> None:
    assert asyncio.run(pages.read(fd, len(CONTENT) + 5)) == CONTENT
    asyncio.run(pages.ready(fd, len(CONTENT) - 1, 100_000))


def test_an_empty_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.touch()
    fd = os.open(file, os.O_RDONLY)
    assert asyncio.run(pages.read(fd, 0)) == b""
    os.close(fd)


def test_a_fault_of_the_disk_is_not_hidden(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_says(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        asyncio.run(pages.read(fd, 10))
