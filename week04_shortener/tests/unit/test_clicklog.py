"""The writer loses what it cannot write, says so, and never harms a redirect."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from infra.service.lifecycle import CannotStart
from week04_shortener.clicks import clicklog, framing
from week04_shortener.clicks.clicklog import (
    ClickLogMetrics,
    ClickLogWriter,
    list_segments,
    segment_path,
)

Write = Callable[[int, bytes], int]


class Log:
    """A directory, and writers on it whose write call can be replaced."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.registry = CollectorRegistry()
        self.metrics = ClickLogMetrics(self.registry)
        self.writer: ClickLogWriter | None = None
        self.write: Write = os.write

    def open(self, segment_bytes: int = 1 << 20) -> ClickLogWriter:
        self.close()
        self.writer = ClickLogWriter(
            self.directory,
            segment_bytes=segment_bytes,
            metrics=self.metrics,
            write=lambda fd, data: self.write(fd, data),
        )
        return self.writer

    def close(self) -> None:
        if self.writer:
            self.writer.close()
            self.writer = None

    def read(self) -> framing.Parsed:
        data = b"".join(
            segment_path(self.directory, number).read_bytes()
            for number in list_segments(self.directory)
        )
        return framing.parse(data, complete=True)

    def count(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"shortener_clicks_{name}_total")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "clicks")
    yield log
    log.close()


def full(_fd: int, _data: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def short(length: int) -> Write:
    return lambda fd, data: os.write(fd, data[:length])


def test_every_record_is_in_the_file_when_append_returns(log: Log) -> None:
    writer = log.open()
    for record in (b"a", b"b"):
        assert writer.append(record)
        assert log.read().payloads[-1] == record
    assert (log.count("logged"), log.count("lost")) == (2, 0)


def test_each_start_begins_a_new_segment(log: Log) -> None:
    for record in (b"a", b"b", b"c"):
        log.open().append(record)
    assert list_segments(log.directory) == [1, 2, 3]
    assert segment_path(log.directory, 2).name == "clicks-00000002.log"
    assert log.read().payloads == [b"a", b"b", b"c"]


def test_a_full_segment_is_followed_by_the_next(log: Log) -> None:
    writer = log.open(segment_bytes=2 * len(framing.frame(b"0")))
    for number in range(5):
        writer.append(b"%d" % number)
    assert list_segments(log.directory) == [1, 2, 3]
    assert log.read().payloads == [b"%d" % number for number in range(5)]


def test_a_full_disk_costs_clicks_and_is_logged_once(log: Log) -> None:
    writer = log.open()
    with capture_logs() as logs:
        log.write = full
        assert [writer.append(b"x") for _ in range(3)] == [False] * 3
        log.write = os.write
        assert [writer.append(b"y") for _ in range(2)] == [True] * 2
    assert [line["event"] for line in logs] == [
        "clicks are being lost",
        "click log can be written again",
    ]
    assert logs[1]["clicks_lost"] == 3
    assert (log.count("logged"), log.count("lost")) == (2, 3)
    assert log.read() == framing.Parsed([b"y", b"y"], 2 * len(framing.frame(b"y")), 0)


@pytest.mark.parametrize("length", [1, 5, 9, 10])
def test_a_short_write_costs_its_own_record_only(log: Log, length: int) -> None:
    writer = log.open()
    writer.append(b"before")
    log.write = short(length)
    assert not writer.append(b"torn")
    log.write = os.write
    assert writer.append(b"after")
    parsed = log.read()
    assert (parsed.payloads, parsed.damaged) == ([b"before", b"after"], 1)
    assert log.count("lost") == 1


def test_short_writes_in_a_row(log: Log) -> None:
    writer = log.open()
    for length in (3, 1, 5):
        log.write = short(length)
        assert not writer.append(b"torn")
    log.write = os.write
    assert writer.append(b"after")
    assert log.read().payloads == [b"after"]


def test_a_record_that_is_too_long_is_lost(log: Log) -> None:
    assert not log.open().append(b"x" * framing.MAX_LINE_BYTES)
    assert log.count("lost") == 1


def test_a_directory_that_vanished_is_used_again_when_it_is_back(log: Log) -> None:
    line = len(framing.frame(b"a"))
    writer = log.open(segment_bytes=line)
    writer.append(b"a")
    log.directory.rename(log.directory.with_name("away"))
    assert not writer.append(b"b")
    log.directory.with_name("away").rename(log.directory)
    assert writer.append(b"c")
    assert log.read().payloads == [b"a", b"c"]


def test_two_writers_on_one_directory_are_refused(log: Log) -> None:
    log.open()
    with pytest.raises(CannotStart, match="another writer uses the click log directory"):
        ClickLogWriter(log.directory, segment_bytes=4096, metrics=log.metrics)
    log.open()


def test_an_unusable_directory_is_refused(log: Log) -> None:
    log.directory.write_text("a file")
    with pytest.raises(CannotStart, match=r"the click log directory .*clicks: File exists"):
        log.open()


def test_foreign_files_are_no_segments(log: Log) -> None:
    log.open()
    for name in ("clicks-1.log", "clicks-00000009.log.bak", "x-00000009.log", "forwarder.cursor"):
        (log.directory / name).touch()
    assert list_segments(log.directory) == [1]


def test_only_an_older_segment_read_to_its_end_is_closed(log: Log) -> None:
    log.open().append(b"a")
    size = len(framing.frame(b"a"))
    assert clicklog.read_chunk(log.directory, 1, 0, max_bytes=99).closed is False
    log.open()
    assert clicklog.read_chunk(log.directory, 1, 0, max_bytes=99).closed is True
    assert clicklog.read_chunk(log.directory, 1, 0, max_bytes=size - 1).closed is False
    assert clicklog.read_chunk(log.directory, 2, 0, max_bytes=99).closed is False
