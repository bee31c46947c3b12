"""Clock skew: a service's clock runs ahead or behind by an offset that can be changed live.

The offset is 8 bytes in a file that the service maps into its memory (`infra.service.clock`), so
reading the clock costs no system call, and a change is seen by the next reading. Only the wall
clock is moved: timeouts and leases by the monotonic clock stay right, as on a machine whose clock
is set. Why not libfaketime: docs/adr/0004-faults.md.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from pathlib import Path

import anyio
import anyio.to_thread

from infra.lab.errors import LabError, UsageError
from infra.lab.faults.guard import guarded
from infra.lab.faults.probes import RESTORE_TIMEOUT_S, RETRY_S, FaultError
from infra.service.clock import NS, OFFSET_BYTES

HTTP_TIMEOUT_S = 5.0


def make_file(path: Path) -> None:
    """A clock file without skew, unless there is one."""
    if not path.exists():
        path.write_bytes(struct.pack("=q", 0))
        path.chmod(0o644)  # services under another user read it


def set_offset(path: Path, seconds: float) -> None:
    """Move the clock of every service that has mapped `path`, now."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), OFFSET_BYTES) as mapped:
        words = memoryview(mapped).cast("q")
        words[0] = round(seconds * NS)
        words.release()


def set_right(path: str) -> None:
    """No skew; fine when the file is gone."""
    if Path(path).exists():
        set_offset(Path(path), 0)


@dataclass(frozen=True)
class Reader:
    """Asks a service for its time.

    Attributes:
        read: seconds since the epoch.
        resolution_s: its answer may be so far behind.
    """

    read: Callable[[], Awaitable[float]]
    resolution_s: float


def http_date(host: str, port: int, path: str) -> Reader:
    """The `Date` of a service's answers (RFC 9110 section 6.6.1): whole seconds, where the
    server takes it from the clock that is skewed."""

    def ask() -> float:
        connection = HTTPConnection(host, port, timeout=HTTP_TIMEOUT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return parsedate_to_datetime(answer.headers["Date"]).timestamp()
        finally:
            connection.close()

    async def read() -> float:
        return await anyio.to_thread.run_sync(ask)

    return Reader(read, resolution_s=2.0)  # servers keep the text for a second


@asynccontextmanager
async def skew(path: Path, seconds: float, reader: Reader) -> AsyncIterator[str]:
    """Move the clock of the service behind `reader`; yields the proof, restores in any case.

    Raises:
        UsageError: the reader is too coarse for so small a skew.
        FaultError: the service's clock did not follow, or did not come back.
    """
    if abs(seconds) <= reader.resolution_s:
        raise UsageError(f"a skew of {seconds:g} s cannot be seen in steps of that size")
    set_right(str(path))  # whatever a killed test left
    await _until(reader, 0.0, "is wrong before any skew")
    with guarded("set-clock-right", str(path)):
        try:
            set_offset(path, seconds)
            low_s, high_s = await _until(reader, seconds, f"did not follow a skew of {seconds:g} s")
            yield f"the service's clock is between {low_s:+.3f} s and {high_s:+.3f} s off"
        finally:
            with anyio.CancelScope(shield=True):
                set_right(str(path))
                await _until(reader, 0.0, "did not come back")


async def _until(reader: Reader, seconds: float, otherwise: str) -> tuple[float, float]:
    """Bounds of the offset, once they hold `seconds` and exclude every other size of interest.

    The service read its clock between our two readings, so the bounds are certain on a machine
    of any speed.
    """
    deadline = time.monotonic() + RESTORE_TIMEOUT_S
    while True:
        before = time.time()
        try:
            read = await reader.read()
        except OSError as error:
            raise LabError(f"the service does not tell its time: {error}") from error
        after = time.time()
        low_s, high_s = read - after, read - before + reader.resolution_s
        if low_s <= seconds <= high_s and not (seconds and low_s <= 0 <= high_s):
            return low_s, high_s
        if time.monotonic() > deadline:
            raise FaultError(
                f"the service's clock {otherwise}: it is {low_s:+.3f} to {high_s:+.3f} s off"
            )
        await anyio.sleep(RETRY_S)
