"""Logs as JSON, one object a line, whoever wrote them: the service, uvicorn or a library."""

import logging
import os
import sys
from collections.abc import MutableMapping, Sequence
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from infra.service.repeats import RepeatFilter

_SERVER_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


class LineSink:
    """Writes whole lines to a file descriptor, and counts those the system refuses.

    A full disk or a reader that went away must not turn into failed requests, so a line that
    cannot be written is dropped and counted in `lost_lines`. One write per line keeps the lines
    of several processes on one pipe apart (POSIX write(2): atomic up to PIPE_BUF bytes).
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.lost_lines = 0

    def write(self, text: str) -> int:
        self.write_lines(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def write_lines(self, lines: bytes) -> None:
        """Write one or more lines, each with its line feed."""
        data = memoryview(lines)
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self.lost_lines += max(1, bytes(data).count(b"\n"))

    def flush(self) -> None:
        """Nothing is held back: every write goes straight to the descriptor."""


def configure_logging(
    service: str, level: str = "INFO", *, quiet: Sequence[str] = (), fd: int = 1
) -> LineSink:
    """Send every log of this process to `fd` as JSON lines; entry points call it once.

    Each line has ``timestamp`` (ISO 8601, UTC), ``level``, ``event``, ``service`` and, within a
    request, ``request_id``. Loggers of the standard library, uvicorn's among them, are routed
    through the same chain; those named in `quiet` only from WARNING on. Returns the sink, whose
    `lost_lines` is worth a metric.
    """
    sink = LineSink(fd)
    threshold = logging.getLevelNamesMapping()[level.upper()]

    def add_service(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        add_service,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*chain, _in_order, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sink),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    _route_standard_library(chain, sink, threshold)
    for name in quiet:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    sys.excepthook = _log_uncaught
    return sink


def _route_standard_library(chain: list[Processor], sink: LineSink, threshold: int) -> None:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *chain],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _in_order,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sink)
    handler.setFormatter(formatter)
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    logging.captureWarnings(True)
    for name in _SERVER_LOGGERS:
        # uvicorn gives its loggers handlers of their own before the application is loaded.
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # the request middleware writes this line


def _in_order(_logger: Any, _method: str, event: EventDict) -> MutableMapping[str, Any]:
    """What a reader looks for first comes first."""
    first = ("timestamp", "level", "service", "event", "request_id")
    ordered = {key: event.pop(key) for key in first if key in event}
    return {**ordered, **event}


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    structlog.get_logger().critical("uncaught exception", exc_info=(kind, error, trace))
