"""What one transaction of the consumer writes, and where reading starts."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.analytics.batches import Message, Start, halves, plan, start, without_clicks
from week04_shortener.clicks.event import Click, encode

AT = datetime(2026, 1, 1, tzinfo=UTC)


def click(number: int) -> Click:
    return Click(f"{number:032x}", "abcdefg", AT, "api1")


def message(offset: int) -> Message:
    return Message(offset, encode(click(offset)))


def test_clicks_keep_their_offsets() -> None:
    batch = plan(2, 5, [message(5), message(6)])
    assert batch is not None
    assert batch.clicks == ((5, click(5)), (6, click(6)))
    assert (batch.partition, batch.position, batch.next_offset) == (2, 5, 7)
    assert (batch.malformed, batch.missing) == ((), 0)


def test_what_is_no_click_is_skipped_with_its_offset() -> None:
    batch = plan(0, 0, [Message(0, b"{"), message(1), Message(2, None), Message(3, b"[]")])
    assert batch is not None
    assert [offset for offset, _ in batch.clicks] == [1]
    assert batch.malformed == (
        (Message(0, b"{"), "not JSON"),
        (Message(2, None), "not JSON"),
        (Message(3, b"[]"), "not a JSON object"),
    )
    assert batch.next_offset == 4


def test_messages_before_the_position_are_left_out() -> None:
    batch = plan(0, 2, [message(0), message(1), message(2)])
    assert batch is not None
    assert batch.clicks == ((2, click(2)),)
    assert plan(0, 3, [message(0), message(2)]) is None
    assert plan(0, 0, []) is None


def test_missing_offsets_are_counted() -> None:
    batch = plan(0, 2, [message(7)])
    assert batch is not None
    assert (batch.missing, batch.next_offset) == (5, 8)


def test_a_batch_is_halved_without_a_gap_or_an_overlap() -> None:
    batch = plan(1, 3, [Message(5, b"{"), message(6), message(7), Message(8, b""), message(9)])
    assert batch is not None
    first, second = halves(batch)
    assert (first.position, first.next_offset, second.position, second.next_offset) == (3, 7, 7, 10)
    assert first.clicks + second.clicks == batch.clicks
    assert (first.malformed, first.missing) == (batch.malformed, 2)
    assert (second.malformed, second.missing) == ((), 0)


def test_halving_ends_with_each_click_alone() -> None:
    batch = plan(0, 0, [message(offset) for offset in range(7)])
    waiting, alone = [batch], []
    while waiting:
        one = waiting.pop(0)
        assert one is not None
        if len(one.clicks) == 1:
            alone.append(one)
        else:
            waiting[:0] = halves(one)
    assert [one.clicks[0][0] for one in alone] == list(range(7))
    assert [(one.position, one.next_offset) for one in alone] == [(n, n + 1) for n in range(7)]


def test_a_step_without_clicks_goes_as_far() -> None:
    batch = plan(0, 0, [message(0), message(1)])
    assert batch is not None
    step = without_clicks(batch)
    assert (step.position, step.next_offset, step.clicks) == (0, 2, ())


@given(st.lists(st.integers(0, 50), unique=True).map(sorted), st.integers(0, 50))
def test_each_message_from_the_position_on_is_in_exactly_one_batch(
    offsets: list[int], cut: int
) -> None:
    messages = [message(offset) for offset in offsets]
    position, seen = 0, []
    for part in (messages[:cut], messages[max(0, cut - 3) :], messages):
        batch = plan(0, position, part)
        if batch is not None:
            assert batch.next_offset > position
            seen += [offset for offset, _ in batch.clicks]
            position = batch.next_offset
    assert seen == offsets


@pytest.mark.parametrize(
    ("stored", "beginning", "end", "begins", "trouble"),
    [
        (5, 0, 9, 5, None),
        (5, 5, 5, 5, None),
        (0, 0, 0, 0, None),
        (9, 0, 9, 9, None),
        (3, 5, 9, 5, "2 messages expired"),
        (10, 0, 9, 0, "made anew"),
        (10, 4, 9, 4, "made anew"),
    ],
)
def test_where_reading_starts(
    stored: int, beginning: int, end: int, begins: int, trouble: str | None
) -> None:
    found = start(stored, beginning=beginning, end=end)
    assert isinstance(found, Start)
    assert found.offset == begins
    assert (trouble is None) == (found.trouble is None)
    assert (trouble or "") in (found.trouble or "")
