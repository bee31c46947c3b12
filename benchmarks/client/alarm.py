"""A timer finer than the event loop's.

epoll waits in milliseconds, and so do asyncio's and uvloop's timers on Linux: a request due in
between would be sent up to a millisecond late, several times the latency of a local service. A
timerfd wakes the same loop within some tens of microseconds (timerfd_create(2)). Where the system
has none, the loop's own timer has to do; the run's `lateness` shows what that costs.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Final

_CLOCK_MONOTONIC: Final = 1  # the clock of time.monotonic() on Linux
_TFD_NONBLOCK: Final = os.O_NONBLOCK
_TFD_CLOEXEC: Final = os.O_CLOEXEC if hasattr(os, "O_CLOEXEC") else 0
_TFD_TIMER_ABSTIME: Final = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """Calls `ring` in the event loop at the time set last. Close it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring
        self._timer: asyncio.TimerHandle | None = None
        self._libc, self._descriptor = _timerfd()
        if self._descriptor is not None:
            loop.add_reader(self._descriptor, self._rung)

    @property
    def is_fine(self) -> bool:
        """Whether it is finer than the loop's own timer."""
        return self._descriptor is not None

    def set(self, at_s: float) -> None:
        """Ring at `at_s` of `time.monotonic()` instead of any time set before."""
        if self._descriptor is None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(max(0.0, at_s - time.monotonic()), self._ring)
            return
        # 0 would switch the timer off; a time that has passed rings at once.
        nanoseconds = max(1, int(at_s * 1e9))
        seconds, rest = divmod(nanoseconds, 1_000_000_000)
        spec = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, rest))
        failed = self._libc.timerfd_settime(
            self._descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None
        )
        if failed:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        """Never ring again."""
        if self._timer is not None:
            self._timer.cancel()
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _rung(self) -> None:
        assert self._descriptor is not None
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:  # it was set anew in the meantime
            return
        self._ring()


def _timerfd() -> tuple[ctypes.CDLL, int | None]:
    library = ctypes.CDLL(None, use_errno=True)
    if not sys.platform.startswith("linux") or not hasattr(library, "timerfd_create"):
        return library, None
    descriptor = library.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
    return library, None if descriptor < 0 else descriptor
