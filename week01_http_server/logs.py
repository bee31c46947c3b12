"""The server's own lines, on standard error: standard output belongs to the access log."""

from __future__ import annotations

import logging
import sys
import time

LEVELS = ("critical", "error", "warning", "info", "debug")


def configure(level: str, name: str) -> None:
    """Write what the server's loggers say from `level` on; the app's logging is left alone.

    Args:
        level: one of `LEVELS`, in any case.
        name: of this process, in each line.
    """
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter(
        f"%(asctime)s.%(msecs)03dZ %(levelname)s {name}: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger = logging.getLogger("week01_http_server")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
