"""Damage of the log costs the lines it hits and no others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.clicks.framing import MAX_LINE_BYTES, Parsed, TooLong, frame, parse, unframe

payloads = st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")), max_size=8)


def log_of(records: list[bytes]) -> bytes:
    return b"".join(map(frame, records))


def test_form_of_a_line() -> None:
    """The check value of CRC-32/ISO-HDLC for "123456789" is cbf43926."""
    assert frame(b"123456789") == b"cbf43926 123456789\n"


@given(payloads)
def test_what_was_written_is_read(records: list[bytes]) -> None:
    data = log_of(records)
    assert parse(data, complete=True) == Parsed(records, len(data), 0)


@given(payloads, st.data())
def test_a_growing_log_is_read_to_its_last_whole_line(
    records: list[bytes], data: st.DataObject
) -> None:
    whole = log_of(records)
    cut = data.draw(st.integers(0, len(whole)))
    parsed = parse(whole[:cut], complete=False)
    assert parsed.damaged == 0
    assert parsed.payloads == records[: len(parsed.payloads)]
    assert whole[: parsed.used_bytes] == log_of(parsed.payloads)
    rest = parse(whole[parsed.used_bytes :], complete=True)
    assert parsed.payloads + rest.payloads == records


@given(payloads.filter(bool), st.data())
def test_a_torn_line_at_the_end_of_a_closed_log_is_counted(
    records: list[bytes], data: st.DataObject
) -> None:
    whole = log_of(records)
    last = len(frame(records[-1]))
    torn = whole[: len(whole) - data.draw(st.integers(1, last - 1))]
    parsed = parse(torn, complete=True)
    assert parsed == Parsed(records[:-1], len(torn), 1)


@given(payloads.filter(bool), st.data())
def test_one_changed_byte_costs_at_most_the_lines_it_joins_or_splits(
    records: list[bytes], data: st.DataObject
) -> None:
    whole = bytearray(log_of(records))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    parsed = parse(bytes(whole), complete=True)
    assert parsed.used_bytes == len(whole)
    assert parsed.damaged >= 1
    assert len(records) - len(parsed.payloads) in (1, 2)
    assert is_subsequence(parsed.payloads, records)


@given(payloads, st.binary(max_size=60), payloads)
def test_reading_goes_on_behind_garbage(
    before: list[bytes], garbage: bytes, after: list[bytes]
) -> None:
    """What a writer leaves after an incomplete line: a line feed, then the next record."""
    parsed = parse(log_of(before) + garbage + b"\n" + log_of(after), complete=True)
    assert parsed.payloads[: len(before)] == before
    assert parsed.payloads[len(parsed.payloads) - len(after) :] == after


def test_a_blank_line_is_no_damage() -> None:
    assert parse(b"\n" + frame(b"a"), complete=True) == Parsed([b"a"], 12, 0)


def test_garbage_without_a_line_feed_does_not_stop_the_reader() -> None:
    stuck = b"x" * (MAX_LINE_BYTES - 1)
    assert parse(stuck, complete=False) == Parsed([], 0, 0)
    assert parse(stuck + b"x", complete=False) == Parsed([], MAX_LINE_BYTES, 1)


def test_limits_of_a_payload() -> None:
    fits = b"x" * (MAX_LINE_BYTES - 10)
    assert unframe(frame(fits)[:-1]) == fits
    with pytest.raises(TooLong):
        frame(fits + b"x")
    with pytest.raises(ValueError, match="line feed"):
        frame(b"a\nb")


def is_subsequence(part: list[bytes], whole: list[bytes]) -> bool:
    remaining = iter(whole)
    return all(any(item == other for other in remaining) for item in part)


def test_the_helper_can_tell() -> None:
    assert is_subsequence([b"a", b"c"], [b"a", b"b", b"c"])
    assert not is_subsequence([b"c", b"a"], [b"a", b"b", b"c"])
