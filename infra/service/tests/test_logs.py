"""Every log line is one JSON object, whoever wrote it."""

import json
import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from infra.service.logs import LineSink, configure_logging
from infra.service.repeats import RepeatFilter


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Gives the standard library's root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def lines(reading: int) -> list[dict[str, object]]:
    return [json.loads(line) for line in os.read(reading, 1 << 16).splitlines()]


def test_own_line_has_the_standard_fields_first(pipe: tuple[int, int]) -> None:
    configure_logging("lamp", fd=pipe[1])
    with structlog.contextvars.bound_contextvars(request_id="abc"):
        structlog.get_logger().info("lit", watts=60)
    (line,) = lines(pipe[0])
    assert list(line) == ["timestamp", "level", "service", "event", "request_id", "watts"]
    assert str(line["timestamp"]).endswith("Z")
    assert (line["level"], line["service"], line["event"]) == ("info", "lamp", "lit")


def test_uvicorns_and_librarys_lines_take_the_same_form(pipe: tuple[int, int]) -> None:
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.addHandler(logging.StreamHandler())
    uvicorn.propagate = False
    configure_logging("lamp", fd=pipe[1])
    uvicorn.warning("port %d", 80)
    logging.getLogger("library").error("gone\nfor good")
    first, second = lines(pipe[0])
    assert (first["event"], first["logger"], first["level"]) == (
        "port 80",
        "uvicorn.error",
        "warning",
    )
    assert (second["event"], second["service"]) == ("gone\nfor good", "lamp")


def test_exception_becomes_one_line(pipe: tuple[int, int]) -> None:
    configure_logging("lamp", fd=pipe[1])
    try:
        raise RuntimeError("burnt out")
    except RuntimeError:
        structlog.get_logger().exception("dark")
    (line,) = lines(pipe[0])
    assert "RuntimeError: burnt out" in str(line["exception"])


def test_level_and_quiet_loggers(pipe: tuple[int, int]) -> None:
    configure_logging("lamp", "INFO", quiet=["chatty"], fd=pipe[1])
    structlog.get_logger().debug("hidden")
    logging.getLogger("chatty").info("hidden")
    logging.getLogger("chatty").warning("shown")
    assert [line["event"] for line in lines(pipe[0])] == ["shown"]


def test_unwritable_line_is_counted_and_harms_nobody() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = configure_logging("lamp", fd=writing)
    structlog.get_logger().info("nobody reads this")
    os.close(writing)
    assert sink.lost_lines == 1


def test_lines_that_are_written_together_are_counted_apart() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = LineSink(writing)
    sink.write_lines(b"one\ntwo\nthree\n")
    os.close(writing)
    assert sink.lost_lines == 3


def test_sink_writes_on_after_a_short_write(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    LineSink(pipe[1]).write("a long line\n")
    assert os.read(pipe[0], 100) == b"a long line\n"


def test_repeats_are_held_back_and_mentioned() -> None:
    now = 0.0
    repeats = RepeatFilter(10.0, clock=lambda: now)

    def shown(text: str, level: int = logging.ERROR) -> str | None:
        record = logging.LogRecord("lib", level, "", 0, text, (), None)
        return record.getMessage() if repeats.filter(record) else None

    assert shown("no broker") == "no broker"
    assert shown("no broker") is None
    assert shown("no broker") is None
    assert shown("other") == "other"
    assert shown("fine", logging.INFO) == shown("fine", logging.INFO) == "fine"
    now = 11.0
    assert shown("no broker") == "no broker (and 2 times before)"
