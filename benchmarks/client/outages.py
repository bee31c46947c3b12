"""From the first failure to the next success: outages, in the order of the requests. Pure.

Requests end in another order than they begin: one that times out after five seconds ends after a
thousand later ones that succeeded. What counts is the order in which they were due; a request
takes its place there once all earlier ones have ended.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import Final

SPANS_MAX: Final = 1000
"""Of more outages the longest are kept; how many there were and their sum count all."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A run of failures without a success among them.

    Attributes:
        start_s: when the first request that failed was due.
        end_s: when the first success after it was complete; the end of the run if none came.
        failures: how many failed.
        ended: whether a success came.
    """

    start_s: float
    end_s: float
    failures: int
    ended: bool

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


class OutageTracker:
    """Takes the end of each request, in any order, and finds the outages.

    Numbers must come without a gap from 0 on. Memory: one entry for each request that ended while
    an earlier one has not.
    """

    def __init__(self) -> None:
        self._next = 0
        self._waiting: dict[int, tuple[float, float, bool | None]] = {}
        self._open: Outage | None = None
        self._closed: Outage | None = None
        self._longest: list[tuple[float, int, Outage]] = []
        self.count = 0
        self.total_s = 0.0

    def ended(self, number: int, start_s: float, end_s: float, ok: bool | None) -> None:
        """Request `number`, due at `start_s`, ended; `ok` is None where it says nothing."""
        if number != self._next:
            self._waiting[number] = (start_s, end_s, ok)
            return
        self._take(start_s, end_s, ok)
        self._next += 1
        while self._waiting and (entry := self._waiting.pop(self._next, None)) is not None:
            self._take(*entry)
            self._next += 1

    def finish(self, now_s: float) -> tuple[Outage, ...]:
        """All outages (at most SPANS_MAX), by their start. Call it once, at the end."""
        for number in sorted(self._waiting):
            self._take(*self._waiting[number])
        self._keep_closed()
        if self._open is not None:
            self._closed = replace(self._open, end_s=max(now_s, self._open.start_s))
            self._keep_closed()
        return tuple(sorted((entry[2] for entry in self._longest), key=lambda one: one.start_s))

    def _take(self, start_s: float, end_s: float, ok: bool | None) -> None:
        if ok is None:
            return
        if not ok:
            if self._closed is not None and start_s < self._closed.end_s:
                # Due before the success was there: still the same outage.
                self._open, self._closed = self._closed, None
            self._keep_closed()
            first_s, many = (
                (self._open.start_s, self._open.failures) if self._open else (start_s, 0)
            )
            self._open = Outage(first_s, end_s, many + 1, ended=False)
        elif self._open is not None:
            self._closed = replace(self._open, end_s=end_s, ended=True)
            self._open = None
        elif self._closed is not None and end_s < self._closed.end_s:
            # The success after the failures took long; a later one was answered before it.
            self._closed = replace(self._closed, end_s=end_s)

    def _keep_closed(self) -> None:
        if self._closed is None:
            return
        outage, self._closed = self._closed, None
        self.count += 1
        self.total_s += outage.duration_s
        entry = (outage.duration_s, self.count, outage)
        if len(self._longest) < SPANS_MAX:
            heapq.heappush(self._longest, entry)
        else:
            heapq.heappushpop(self._longest, entry)
