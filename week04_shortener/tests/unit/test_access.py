"""Access lines are written together, soon, by somebody else, and none is left behind."""

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from week04_shortener.redirects.access import (
    BUFFER_BYTES,
    FLUSH_S,
    PIECE_BYTES,
    WAITING_BUFFERS,
    AccessLog,
)

pytestmark = pytest.mark.anyio

AT = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)


class Sink:
    """A reader that can be kept from reading."""

    def __init__(self) -> None:
        self.lost_lines = 0
        self.writes: list[bytes] = []
        self.reads = threading.Event()
        self.reads.set()

    def write_lines(self, lines: bytes) -> None:
        self.reads.wait(30)
        self.writes.append(lines)

    @property
    def lines(self) -> list[bytes]:
        return b"".join(self.writes).splitlines()


def write(log: AccessLog, number: int = 0, status: int | str = 302) -> None:
    log.write(AT, f"{number:032x}", "GET", "/abc1234", status, 0.0012345)


async def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(3000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 30 s")


async def test_lines_are_written_together_without_being_asked() -> None:
    sink = Sink()
    log = AccessLog(sink, service="shortener-api")
    for number in range(3):
        write(log, number)
    assert sink.writes == []
    await eventually(lambda: bool(sink.writes))
    assert len(sink.writes) == 1
    assert [json.loads(line)["request_id"][-1] for line in sink.lines] == ["0", "1", "2"]
    assert json.loads(sink.lines[0])["duration_ms"] == 1.234
    # And so are the next ones.
    write(log)
    await eventually(lambda: len(sink.writes) == 2)
    log.close()


async def test_many_lines_are_written_in_whole_pieces_and_in_order() -> None:
    sink = Sink()
    log = AccessLog(sink, service="shortener-api")
    count = BUFFER_BYTES // 100
    for number in range(count):
        write(log, number)
    log.close()
    assert all(len(piece) <= PIECE_BYTES and piece.endswith(b"\n") for piece in sink.writes)
    ids = [int(json.loads(line)["request_id"], 16) for line in sink.lines]
    assert ids == list(range(count))


async def test_a_reader_that_does_not_read_holds_up_nobody_and_costs_lines() -> None:
    sink = Sink()
    log = AccessLog(sink, service="shortener-api")
    sink.reads.clear()
    buffers = WAITING_BUFFERS + 3
    for number in range(buffers):
        write(log, number)
        log.flush()
    assert 1 <= sink.lost_lines <= 3
    sink.reads.set()
    log.close()
    assert len(sink.lines) + sink.lost_lines == buffers


async def test_what_waits_at_the_end_is_written_once() -> None:
    sink = Sink()
    log = AccessLog(sink, service="shortener-api")
    write(log, status="aborted")
    log.close()
    log.close()
    await asyncio.sleep(FLUSH_S * 2)
    assert [json.loads(line)["status"] for line in sink.lines] == ["aborted"]


async def test_lines_that_nobody_wants_are_not_made() -> None:
    sink = Sink()
    log = AccessLog(sink, service="shortener-api", wanted=False)
    write(log)
    log.close()
    assert sink.writes == []
