"""The limit on open files, of which every connection needs one."""

from __future__ import annotations

import contextlib
import resource

SPARE = 128
"""For listening sockets, logs, pipes, files under way and what an app opens."""


def allow(connections: int) -> int:
    """Raise this process's own limit as far as `connections` need; returns what it is then.

    The soft limit is a default for programs that use select(2) (1,024, on macOS 256); up to the
    hard limit it is the process's own to raise, and its children inherit it (getrlimit(2)).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit that it does not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
