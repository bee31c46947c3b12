"""The cursor moves after the acknowledgement: nothing is lost, whatever is lost on the way."""

import asyncio
import errno
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from infra.service.lifecycle import CannotStart, Stopped
from infra.service.retry import Pace
from week04_shortener.clicks import clicklog, cursor, framing
from week04_shortener.clicks.cursor import BadCursor, Cursor
from week04_shortener.clicks.event import Click, encode
from week04_shortener.clicks.forwarder import Forwarder, ForwarderMetrics
from week04_shortener.kafka import KafkaUnavailable, Record

LONG_S = 30.0

segments = st.lists(st.integers(1, 30), unique=True).map(sorted)
cursors = st.builds(Cursor, st.integers(0, 31), st.integers(0, 1000))


@given(cursors)
def test_cursor_file_leads_back(at: Cursor) -> None:
    assert cursor.from_json(cursor.to_json(at)) == at


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1, 2]", b"{}", b'{"segment": 1}', b'{"segment": -1, "offset": 0}',
             b'{"segment": 1.5, "offset": 0}', b'{"segment": true, "offset": 0}', b"\xff"],
)  # fmt: skip
def test_damaged_cursor_file(data: bytes) -> None:
    with pytest.raises(BadCursor):
        cursor.from_json(data)


@given(cursors, segments)
def test_settling_passes_over_no_segment(at: Cursor, there: list[int]) -> None:
    settled = cursor.settle(at, there)
    if at.segment in there or not there:
        assert settled == at
    else:
        newer = [number for number in there if number > at.segment]
        assert settled == Cursor(min(newer or there), 0)


@given(cursors, segments)
def test_only_forwarded_segments_are_deleted_and_never_the_newest(
    at: Cursor, there: list[int]
) -> None:
    deleted = cursor.forwarded(at, there)
    assert all(number < at.segment for number in deleted)
    assert not there or there[-1] not in deleted
    assert deleted == [number for number in there[:-1] if number < at.segment]


@given(cursors, segments)
def test_following_moves_to_the_next_segment_or_stays(at: Cursor, there: list[int]) -> None:
    newer = [number for number in there if number > at.segment]
    assert cursor.following(at, there) == (Cursor(newer[0], 0) if newer else at)


class Broker:
    """Takes records, or fails before or after it took them."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.fails_before = 0
        self.fails_after = 0

    async def send(self, records: Sequence[Record]) -> None:
        if self.fails_before:
            self.fails_before -= 1
            raise KafkaUnavailable("away")
        for key, value, _ in records:
            assert key is not None and value is not None
            assert f'"code":"{key.decode()}"'.encode() in value
            self.taken.append(value)
        if self.fails_after:
            self.fails_after -= 1
            raise KafkaUnavailable("acknowledgement lost")


def click(number: int) -> bytes:
    return encode(Click(f"{number:032x}", "abcdefg", datetime(2026, 1, 1, tzinfo=UTC), "api1"))


class Setting:
    """A log directory with segments, a broker, and forwarders that come and go."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir()
        self.broker = Broker()
        self.forwarder: Forwarder | None = None
        self.registry = CollectorRegistry()

    def add(self, segment: int, *records: bytes) -> None:
        path = clicklog.segment_path(self.directory, segment)
        with path.open("ab") as file:
            file.write(b"".join(map(framing.frame, records)))

    def restart(self, batch_bytes: int = 8192) -> Forwarder:
        self.close()
        self.registry = CollectorRegistry()
        self.forwarder = Forwarder(
            self.directory,
            self.broker,
            ForwarderMetrics(self.registry),
            poll_s=0.01,
            batch_bytes=batch_bytes,
            pace=Pace(0.001, 0.01),
        )
        return self.forwarder

    def close(self) -> None:
        if self.forwarder:
            self.forwarder.close()
            self.forwarder = None

    def drain(self) -> None:
        """Step as long as there may be more."""
        assert self.forwarder

        async def steps() -> None:
            assert self.forwarder
            while await self.forwarder.step():
                pass

        asyncio.run(steps())

    def count(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"shortener_{name}")


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    setting = Setting(tmp_path / "clicks")
    yield setting
    setting.close()


def test_forwards_in_order_and_deletes_what_is_done(setting: Setting) -> None:
    setting.add(1, click(1), click(2))
    setting.add(2, click(3))
    setting.add(3, click(4))
    setting.restart()
    setting.drain()
    assert setting.broker.taken == [click(number) for number in (1, 2, 3, 4)]
    assert clicklog.list_segments(setting.directory) == [3]
    assert setting.count("clicks_forwarded_total") == 4
    assert setting.count("click_backlog_bytes") == 0


def test_goes_on_where_it_was_after_a_restart(setting: Setting) -> None:
    setting.add(1, click(1))
    setting.restart()
    setting.drain()
    setting.add(1, click(2))
    setting.add(2, click(3))
    setting.restart()
    assert setting.count("click_backlog_bytes") == 2 * len(framing.frame(click(2)))
    setting.drain()
    assert setting.broker.taken == [click(1), click(2), click(3)]


@pytest.mark.parametrize("batch_bytes", [4096, 8192])
def test_small_pieces_lose_nothing(setting: Setting, batch_bytes: int) -> None:
    clicks = [click(number) for number in range(200)]
    setting.add(1, *clicks[:150])
    setting.add(2, *clicks[150:])
    setting.restart(batch_bytes)
    setting.drain()
    assert setting.broker.taken == clicks


def test_only_a_piece_that_was_cut_or_closed_is_followed_by_another_at_once(
    setting: Setting,
) -> None:
    setting.add(1, *map(click, range(100)))
    forwarder = setting.restart(batch_bytes=8192)
    assert asyncio.run(forwarder.step()), "the piece was cut: there is more"
    setting.drain()
    setting.add(1, click(100))
    assert not asyncio.run(forwarder.step()), "clicks may gather"
    setting.add(1, click(101))
    setting.add(2, click(102))
    assert asyncio.run(forwarder.step()), "the segment is closed: there is another"
    assert not asyncio.run(forwarder.step())
    assert setting.broker.taken == list(map(click, range(103)))


def test_an_attempt_that_failed_is_sent_again(setting: Setting) -> None:
    setting.add(1, click(1))
    forwarder = setting.restart()
    setting.broker.fails_before = 1
    with pytest.raises(KafkaUnavailable):
        asyncio.run(forwarder.step())
    assert not (setting.directory / cursor.FILE_NAME).exists()
    setting.drain()
    assert setting.broker.taken == [click(1)]


def test_a_lost_acknowledgement_makes_a_duplicate_and_no_loss(setting: Setting) -> None:
    setting.add(1, click(1))
    forwarder = setting.restart()
    setting.broker.fails_after = 1
    with pytest.raises(KafkaUnavailable):
        asyncio.run(forwarder.step())
    setting.restart()
    setting.drain()
    assert setting.broker.taken == [click(1), click(1)]


def test_a_full_disk_is_made_room_on(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written until a segment goes, and none went until the cursor was written."""
    for segment, number in ((1, 1), (2, 2), (3, 3)):
        setting.add(segment, click(number))
    save = cursor.save

    def save_if_there_is_room(directory: Path, at: Cursor) -> None:
        if clicklog.segment_path(directory, 1).exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        save(directory, at)

    monkeypatch.setattr(cursor, "save", save_if_there_is_room)
    setting.restart()
    setting.drain()
    setting.restart()
    setting.drain()
    assert setting.broker.taken == [click(1), click(2), click(3)]
    assert clicklog.list_segments(setting.directory) == [3]


def test_a_place_that_could_not_be_written_is_written_later(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(_directory: Path, _at: Cursor) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    setting.add(1, click(1))
    setting.restart()
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(cursor, "save", save)
        setting.drain()
        setting.drain()
    assert [log["log_level"] for log in logs] == ["error"]
    setting.drain()  # though nothing is new
    setting.restart()
    setting.drain()
    assert setting.broker.taken == [click(1)]


def test_damage_is_counted_and_passed(setting: Setting) -> None:
    setting.add(1, click(1), b"no click")
    with clicklog.segment_path(setting.directory, 1).open("ab") as file:
        file.write(framing.frame(click(2)).replace(b"api1", b"api2") + b"torn")
    setting.add(2, click(3))
    setting.restart()
    setting.drain()
    assert setting.broker.taken == [click(1), click(3)]
    assert setting.count("click_lines_damaged_total") == 3


def test_a_line_that_is_still_growing_is_waited_for(setting: Setting) -> None:
    line = framing.frame(click(1))
    path = clicklog.segment_path(setting.directory, 1)
    path.write_bytes(line[:20])
    setting.restart()
    setting.drain()
    assert setting.broker.taken == []
    path.write_bytes(line)
    setting.drain()
    assert setting.broker.taken == [click(1)]
    assert setting.count("click_lines_damaged_total") == 0


def damage(path: Path) -> None:
    path.write_text("{")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("spoil", [damage, remove])
def test_without_its_cursor_it_starts_with_the_oldest_click(
    setting: Setting, spoil: Callable[[Path], None]
) -> None:
    setting.add(1, click(1))
    setting.restart()
    setting.drain()
    spoil(setting.directory / cursor.FILE_NAME)
    setting.restart()
    setting.drain()
    assert setting.broker.taken == [click(1), click(1)]


def test_a_log_that_was_erased_is_read_from_its_new_beginning(setting: Setting) -> None:
    cursor.save(setting.directory, Cursor(7, 120))
    setting.add(1, click(1))
    setting.restart()
    setting.drain()
    assert setting.broker.taken == [click(1)]


def test_an_empty_directory_is_waited_on(setting: Setting) -> None:
    setting.restart()
    setting.drain()
    assert setting.count("click_backlog_bytes") == 0
    setting.add(1, click(1))
    setting.drain()
    assert setting.broker.taken == [click(1)]


def test_one_forwarder_for_each_directory(setting: Setting) -> None:
    setting.restart()
    with pytest.raises(CannotStart, match="another forwarder"):
        Forwarder(
            setting.directory, setting.broker, ForwarderMetrics(CollectorRegistry()),
            poll_s=1, batch_bytes=8192, pace=Pace(),
        )  # fmt: skip


def test_runs_through_an_outage_until_it_is_stopped(setting: Setting) -> None:
    setting.add(1, click(1))
    setting.broker.fails_before = 3
    forwarder = setting.restart()

    async def scenario() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(forwarder.run(stop))
        async with asyncio.timeout(LONG_S):
            while not setting.broker.taken:  # noqa: ASYNC110  (what is waited for has no event)
                await asyncio.sleep(0.005)
            stop.set()
            with pytest.raises(Stopped):
                await running

    asyncio.run(scenario())
    assert setting.broker.taken == [click(1)]
    assert setting.count("forward_failures_total") == 3
