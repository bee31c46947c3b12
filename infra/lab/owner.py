"""Who holds a fault or a week: a process by its pid and creation time, never by a pid alone."""

from __future__ import annotations

import contextlib
import os

import psutil


class Owner:
    """The process that a fault, or a week of servers, must not outlive.

    Args:
        text: `pid:creation time`, as `this_process` gives it. Raises ValueError for other text.
    """

    def __init__(self, text: str) -> None:
        pid, _, created = text.partition(":")
        self.text = text
        self._pid = int(pid)
        self._created = f"{float(created):.2f}"
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess, OverflowError):
            process = psutil.Process(self._pid)
            if f"{process.create_time():.2f}" == self._created:
                self._process = process

    def lives(self) -> bool:
        """A zombie does not: nobody has collected it yet, that is all."""
        if self._process is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        return False


def this_process() -> str:
    """This process as text for `Owner`."""
    return f"{os.getpid()}:{psutil.Process().create_time():.2f}"
