"""Access lines are written together, soon, and none is left behind."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from week04_shortener.access import BUFFER_BYTES, FLUSH_S, AccessLog

pytestmark = pytest.mark.anyio

AT = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)


class Sink:
    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.written = asyncio.Event()

    def write_lines(self, lines: bytes) -> None:
        self.writes.append(lines)
        self.written.set()


def write(log: AccessLog, number: int = 0, status: int | str = 302) -> None:
    log.write(AT, f"{number:032x}", "GET", "/abc1234", status, 0.0012345)


async def test_lines_are_written_together_without_being_asked() -> None:
    sink = Sink()
    log = AccessLog(sink, service="shortener-api")
    for number in range(3):
        write(log, number)
    assert sink.writes == []
    await sink.written.wait()
    [lines] = sink.writes
    assert lines.endswith(b"\n")
    assert [json.loads(line)["request_id"][-1] for line in lines.splitlines()] == ["0", "1", "2"]
    assert json.loads(lines.splitlines()[0])["duration_ms"] == 1.234
    # And so are the next ones.
    sink.written.clear()
    write(log)
    await sink.written.wait()
    assert len(sink.writes) == 2


async def test_a_full_buffer_is_written_at_once() -> None:
    sink = Sink()
    log = AccessLog(sink, service="shortener-api")
    for number in range(BUFFER_BYTES // 100):
        write(log, number)
    assert sink.writes
    assert all(len(lines) < BUFFER_BYTES + 1000 for lines in sink.writes)
    log.flush()
    assert sum(lines.count(b"\n") for lines in sink.writes) == BUFFER_BYTES // 100


async def test_what_waits_at_the_end_is_written_once() -> None:
    sink = Sink()
    log = AccessLog(sink, service="shortener-api")
    write(log, status="aborted")
    log.flush()
    log.flush()
    await asyncio.sleep(FLUSH_S * 2)
    assert [json.loads(lines)["status"] for lines in sink.writes] == ["aborted"]


async def test_lines_that_nobody_wants_are_not_made() -> None:
    sink = Sink()
    log = AccessLog(sink, service="shortener-api", wanted=False)
    write(log)
    log.flush()
    assert sink.writes == []
