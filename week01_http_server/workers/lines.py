"""The two pipes between the master and one worker.

Down the first goes the worker's assignment, and then nothing: its end tells the worker that the
master is gone, however it went. Up the second come lines, each one of the words below, and its
end tells the master that the worker is.
"""

from __future__ import annotations

import os
import pickle
import signal
from dataclasses import dataclass

from week01_http_server.workers.plan import Plan

READY = "ready"  # it accepts connections
LEAVING = "leaving"  # it was told to drain, and accepts no more
WORN_OUT = "worn-out"  # it has answered as many requests as one worker should
FAILED = "failed"  # it cannot start; the reason follows after a space

HELD_BACK = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Signals that a worker starts with blocked; it unblocks them once it has its handlers."""

LINE_MAX_BYTES = 500
"""Below PIPE_BUF everywhere (pipe(7); 512 by POSIX), so a line comes in one piece."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one worker is given.

    Attributes:
        number: its name in log lines.
        listening: descriptors of the sockets to accept from.
        figures: descriptor of the file that its metrics are shared by; -1 without metrics.
    """

    number: int
    plan: Plan
    listening: tuple[int, ...]
    figures: int = -1


def give(fd: int, assignment: Assignment) -> None:
    """Write an assignment; it fits into the pipe, so this never waits."""
    data = pickle.dumps(assignment)
    os.write(fd, len(data).to_bytes(4, "big") + data)


def take(fd: int) -> Assignment:
    """Read an assignment; EOFError when the master is gone already."""
    size = int.from_bytes(_exactly(fd, 4), "big")
    taken = pickle.loads(_exactly(fd, size))
    assert isinstance(taken, Assignment)
    return taken


def _exactly(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = os.read(fd, count - len(data))
        if not piece:
            raise EOFError("the master is gone")
        data += piece
    return data


def tell(fd: int, word: str, reason: str = "") -> None:
    """Send one line up; a master that is gone needs none."""
    line = " ".join(f"{word} {reason}".split())
    data = line.encode("utf-8", "backslashreplace")[: LINE_MAX_BYTES - 1]
    try:
        os.write(fd, data + b"\n")
    except BrokenPipeError:
        return
