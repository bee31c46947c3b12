"""The wall clock of a service that the lab may move: the machine's, plus an offset from a file.

A service whose claims are about clocks (last write wins, tokens that expire) takes its time from
here and never from `time.time`. Who writes the file, and how a skew is proven, is the business of
the lab's faults; without the variable it is the machine's clock.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "LAB_CLOCK_FILE"
"""Names the file to a service."""
OFFSET_BYTES = 8
NS = 1_000_000_000


class OffsetClock:
    """The wall clock of a service: the machine's, moved by what the file says now.

    Args:
        path: as `VARIABLE` gives it; None for the machine's clock itself.

    Raises OSError or ValueError for what is no clock file.
    """

    def __init__(self, path: Path | None) -> None:
        self._offset_ns: memoryview | list[int] = [0]
        if path is not None:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), OFFSET_BYTES, access=mmap.ACCESS_READ)
            # One aligned 8 byte word, read as a whole: never half old, half new.
            self._offset_ns = memoryview(mapped).cast("q")

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> OffsetClock:
        """The clock that a service's environment names."""
        return cls(Path(environ[VARIABLE]) if environ.get(VARIABLE) else None)

    def time_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return time.time_ns() + self._offset_ns[0]

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.time_ns() / NS
