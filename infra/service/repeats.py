"""Keeps a library that complains without end from filling the log."""

import logging
import time
from collections.abc import Callable

MAX_KINDS = 256
"""Kinds of message remembered at most; beyond that all are forgotten and counted anew."""


class RepeatFilter(logging.Filter):
    """Lets a warning or error of one kind through once in `every_s` seconds.

    Messages are of one kind when logger, level and unformatted text are the same. What was held
    back is counted in the next line that is let through, so that nothing vanishes unmentioned.
    """

    def __init__(self, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._clock = clock
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, record.levelno, str(record.msg))
        now = self._clock()
        shown_at, held_back = self._seen.get(kind, (None, 0))
        if shown_at is not None and now - shown_at < self._every_s:
            self._seen[kind] = (shown_at, held_back + 1)
            return False
        if len(self._seen) >= MAX_KINDS:
            self._seen.clear()
        self._seen[kind] = (now, 0)
        if held_back:
            record.msg = f"{record.msg} (and {held_back} times before)"
        return True
