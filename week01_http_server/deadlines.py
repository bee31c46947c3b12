"""The deadlines of all connections of a server, watched by one coarse timer.

A timer for each request would cost more than parsing it. Instead each connection carries the one
moment at which it is next due, set by storing a float that was computed at the last tick, and a
sweep over all connections looks for those that are. A deadline therefore strikes up to two ticks
late, never early.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from email.utils import formatdate
from typing import Protocol

from week01_http_server.settings import Deadlines

NEVER = math.inf

TICK_MIN_S = 0.02
TICK_MAX_S = 0.5
TICKS_PER_DEADLINE = 8  # a deadline is exceeded by at most a quarter

# How long a connection that we end may take to notice, so that the last answer is not lost.
LINGER_S = 5.0
# How long an idle connection may still send a request once the server stops: what is on its way
# while we decide to close would otherwise be lost.
LAST_REQUEST_S = 0.5


class Watched(Protocol):
    """Something with a deadline.

    Attributes:
        due_at: on the clock of the event loop, in seconds.
    """

    due_at: float

    def expire(self) -> None:
        """`due_at` has passed; sets the next one."""


class Clock:
    """What time it is, and when something that begins now is due.

    Attributes:
        date: value of the Date field, RFC 9110, section 5.6.7.
        now: of the event loop, in seconds, at the last tick.
        head_due, body_due, idle_due, write_due, preface_due, linger_due, last_request_due:
            one tick later than asked for, because `now` may be a tick old; NEVER where off.
    """

    __slots__ = (
        "_deadlines",
        "_idle_s",
        "body_due",
        "date",
        "head_due",
        "idle_due",
        "last_request_due",
        "linger_due",
        "now",
        "preface_due",
        "tick_s",
        "write_due",
    )

    def __init__(self, deadlines: Deadlines, now: float, wall: float) -> None:
        self._deadlines = deadlines
        self._idle_s = deadlines.idle_s or NEVER
        self.tick_s = tick_of(deadlines)
        self.tick(now, wall)

    def tick(self, now: float, wall: float) -> None:
        """It is `now` on the event loop's clock and `wall` on the world's, in seconds."""
        deadlines, base = self._deadlines, now + self.tick_s
        self.now = now
        self.date = formatdate(wall, usegmt=True).encode("ascii")
        self.head_due = base + (deadlines.head_s or NEVER)
        self.body_due = base + (deadlines.body_s or NEVER)
        self.idle_due = base + self._idle_s
        self.write_due = base + (deadlines.write_s or NEVER)
        self.preface_due = base + (deadlines.preface_s or NEVER)
        self.linger_due = base + LINGER_S
        self.last_request_due = base + LAST_REQUEST_S

    def hurry(self) -> None:
        """The server stops: who becomes idle from now on is not waited for."""
        self._idle_s = LAST_REQUEST_S
        self.idle_due = self.last_request_due


def tick_of(deadlines: Deadlines) -> float:
    """Seconds between two ticks: fine enough for the shortest deadline."""
    used = [
        deadline_s
        for deadline_s in (
            deadlines.head_s,
            deadlines.body_s,
            deadlines.idle_s,
            deadlines.write_s,
            deadlines.preface_s,
        )
        if deadline_s
    ]
    shortest_s = min(used, default=NEVER)
    return min(max(shortest_s / TICKS_PER_DEADLINE, TICK_MIN_S), TICK_MAX_S)


def sweep(watched: Iterable[Watched], now: float) -> None:
    """Tell those that are due."""
    for one in [one for one in watched if one.due_at <= now]:
        one.expire()


class Timer:
    """Ticks a clock and sweeps, until stopped."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, watched: Iterable[Watched]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._watched = watched
        self._handle: asyncio.TimerHandle | None = None
        self._expected_at = 0.0
        self._skipped = False

    def start(self) -> None:
        """From now on."""
        self._expected_at = self._loop.time() + self._clock.tick_s
        self._handle = self._loop.call_later(self._clock.tick_s, self._tick)

    def stop(self) -> None:
        """No further tick."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        now = self._loop.time()
        late_s = now - self._expected_at
        self.start()  # before the sweep, so that no fault in it can be the last one
        self._clock.tick(now, time.time())
        # A loop that was held up has not read yet what came meanwhile: whoever kept its deadline
        # then is told from the others at the next tick, which is waited for but once.
        self._skipped = late_s > self._clock.tick_s and not self._skipped
        if not self._skipped:
            sweep(self._watched, now)
