"""The replica's own append-only log of clicks: written before a redirect leaves, read to forward.

A click must neither wait for Kafka nor be lost with it, so it goes to a file first. One write
call puts the line into the kernel's page cache: it survives the death of the process, kill -9
included, but not a power cut, which an fsync for every redirect would cost milliseconds to cover.

The log is a directory of segments ``clicks-<8 digits>.log``. The newest is being written, all
others are closed for good. The newest is never deleted, so that numbers are never used again.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.service.lifecycle import CannotStart
from infra.service.retry import brief
from week04_shortener.clicks import framing

_SEGMENT = re.compile(r"clicks-(\d{8})\.log")


class Chunk(NamedTuple):
    """A piece of a segment; `closed` when the segment is and this reaches its end."""

    data: bytes
    closed: bool


def segment_path(directory: Path, number: int) -> Path:
    """Where segment `number` of the log is."""
    return directory / f"clicks-{number:08d}.log"


def list_segments(directory: Path) -> list[int]:
    """The numbers of the segments there are, oldest first."""
    with os.scandir(directory) as entries:
        found = (_SEGMENT.fullmatch(entry.name) for entry in entries)
        return sorted(int(match[1]) for match in found if match)


def read_chunk(directory: Path, number: int, offset: int, *, max_bytes: int) -> Chunk:
    """Up to `max_bytes` of a segment from `offset`. `FileNotFoundError` when it is gone."""
    # Asked before reading: once there is a newer segment, nothing is added to this one.
    closed = max(list_segments(directory), default=number) > number
    with segment_path(directory, number).open("rb", buffering=0) as segment:
        segment.seek(offset)
        data = segment.read(max_bytes) or b""
        at_end = offset + len(data) >= os.fstat(segment.fileno()).st_size
    return Chunk(data, closed and at_end)


def bytes_after(directory: Path, number: int, offset: int) -> int:
    """Bytes in the log behind `offset` of segment `number`."""
    total = -offset
    for found in list_segments(directory):
        # A segment that was forwarded meanwhile is gone, and nothing of it waits.
        with contextlib.suppress(FileNotFoundError):
            if found >= number:
                total += segment_path(directory, found).stat().st_size
    return max(0, total)


def lock_directory(directory: Path, role: str) -> int:
    """Make `directory` and take its lock for `role`; returns the lock's descriptor.

    The system frees the lock when the process ends, however it ends. `CannotStart` when another
    process holds it or the directory cannot be used.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(directory / f"{role}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise CannotStart(f"the click log directory {directory}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise CannotStart(
            f"another {role} uses the click log directory {directory}; give each replica its own"
        ) from error
    return fd


class ClickLogMetrics(Collector):
    """What the writer counts; plain numbers, because a redirect waits while it does."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.written = 0
        self.lost = 0
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The numbers of now."""
        yield CounterMetricFamily(
            "shortener_clicks_logged", "Clicks written to the log.", value=self.written
        )
        yield CounterMetricFamily(
            "shortener_clicks_lost",
            "Clicks that could not be written to the log.",
            value=self.lost,
        )


class ClickLogWriter:
    """Appends records to the log, one write call each.

    It never raises while serving: a redirect is worth more than its click. A record that cannot
    be written whole is counted as lost; the outage is logged at its beginning and at its end.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int,
        metrics: ClickLogMetrics,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        """Take the directory's lock and begin a new segment; `CannotStart` if that is refused."""
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._metrics = metrics
        self._write = write
        self._log = structlog.get_logger()
        self._lock_fd = lock_directory(directory, "writer")
        self._fd: int | None = None
        self._number = 0
        self._size = 0
        self._torn = False
        self._failing = False
        self._lost_before = 0
        try:
            self._begin_segment()
        except OSError as error:
            self._note_failure(error)

    def append(self, payload: bytes) -> bool:
        """Write one record; False if it was lost."""
        try:
            line = framing.frame(payload)
            if self._fd is None or self._size + len(line) > self._segment_bytes:
                self._begin_segment()
            self._write_line(line)
        except (OSError, framing.TooLong) as error:
            self.lose(error)
            return False
        if self._failing:
            self._failing = False
            lost = self._metrics.lost - self._lost_before
            self._log.info("click log can be written again", clicks_lost=lost)
        self._metrics.written += 1
        return True

    def lose(self, error: Exception) -> None:
        """Count a click that was lost, and log it if it is the first for now."""
        self._note_failure(error)
        self._metrics.lost += 1

    async def check(self) -> None:
        """Raise if the last click could not be written. For the readiness report."""
        if self._failing:
            raise OSError("clicks are being lost")

    def close(self) -> None:
        """Give the segment and the lock back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        os.close(self._lock_fd)

    def _write_line(self, line: bytes) -> None:
        assert self._fd is not None
        # A line feed ends what a short write left, or this record would be damaged with it.
        data = b"\n" + line if self._torn else line
        written = self._write(self._fd, data)
        self._size += written
        self._torn = written < len(data) and (written > 0 or self._torn)
        if written < len(data):
            raise OSError(0, f"only {written} of {len(data)} bytes were written")

    def _begin_segment(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        # The directory is listed once: nobody else makes segments in it, and a redirect waits here.
        if self._number == 0:
            self._number = max(list_segments(self._directory), default=0)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(segment_path(self._directory, self._number + 1), flags, 0o644)
        self._number += 1
        self._size, self._torn = 0, False

    def _note_failure(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            self._lost_before = self._metrics.lost
            self._log.error("clicks are being lost", error=brief(error))


def delete_segment(directory: Path, number: int) -> None:
    """Remove a segment that is no longer needed; it may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        segment_path(directory, number).unlink()
