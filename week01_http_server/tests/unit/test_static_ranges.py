"""Ranges: by table, by property, and beside werkzeug's parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import parse_range_header

from week01_http_server.static.ranges import RANGES_MAX, ByteRange, multipart, ranges_of


def spans(value: bytes, size: int) -> list[tuple[int, int]] | None:
    found = ranges_of(value, size)
    return None if found is None else [(one.start, one.stop) for one in found]


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        (b"bytes=0-0", 10, [(0, 1)]),
        (b"bytes=2-5", 10, [(2, 6)]),
        (b"bytes=2-", 10, [(2, 10)]),
        (b"bytes=2-99", 10, [(2, 10)]),
        (b"bytes=-3", 10, [(7, 10)]),
        (b"bytes=-99", 10, [(0, 10)]),
        (b"Bytes=0-1", 10, [(0, 2)]),
        (b"bytes=0-1,5-6", 10, [(0, 2), (5, 7)]),
        (b"bytes=5-6, 0-1", 10, [(5, 7), (0, 2)]),  # as asked for
        (b"bytes=,0-1 ,\t,5-6,", 10, [(0, 2), (5, 7)]),
        (b"bytes=0-1,99-", 10, [(0, 2)]),
        (b"bytes=0-4,3-6", 10, [(0, 7)]),
        (b"bytes=0-1,2-3", 10, [(0, 4)]),
        (b"bytes=8-9,0-1,1-8", 10, [(0, 10)]),
        (b"bytes=0-,0-,0-", 10, [(0, 10)]),
        (b"bytes=000-00001", 10, [(0, 2)]),
        (b"bytes=0-" + b"9" * 5000, 10, [(0, 10)]),
        (b"bytes=10-", 10, []),
        (b"bytes=10-11", 10, []),
        (b"bytes=" + b"9" * 5000 + b"-", 10, []),
        (b"bytes=-0", 10, []),
        (b"bytes=0-", 0, []),
        (b"bytes=-0", 0, []),
        (b"bytes=-1", 0, None),
        (b"bytes=5-2", 10, None),
        (b"bytes=0-1,5-2", 10, None),
        (b"bytes=-", 10, None),
        (b"bytes=", 10, None),
        (b"bytes=,", 10, None),
        (b"bytes", 10, None),
        (b"bytes 0-1", 10, None),
        (b"lines=0-1", 10, None),
        (b"bytes=a-b", 10, None),
        (b"bytes=0x1-2", 10, None),
        (b"bytes=+1-2", 10, None),
        (b"bytes=1_0-20", 30, None),
        (b"bytes=0 - 1", 10, None),
        (b"bytes=--1", 10, None),
        (b"bytes=1-2-3", 10, None),
    ],
)
def test_a_range_field(value: bytes, size: int, expected: list[tuple[int, int]] | None) -> None:
    assert spans(value, size) == expected


def test_more_ranges_than_the_limit_are_the_whole_file() -> None:
    ranges = [b"%d-%d" % (at, at) for at in range(0, 2 * RANGES_MAX + 2, 2)]
    assert len(spans(b"bytes=" + b",".join(ranges[:RANGES_MAX]), 1000) or ()) == RANGES_MAX
    assert spans(b"bytes=" + b",".join(ranges[: RANGES_MAX + 1]), 1000) is None


specs = st.one_of(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: f"{pair[0]}-{pair[1]}"),
    st.integers(0, 30).map(lambda first: f"{first}-"),
    st.integers(0, 30).map(lambda last: f"-{last}"),
)


@given(st.lists(specs, min_size=1, max_size=6), st.integers(0, 25))
def test_exactly_the_bytes_asked_for_are_sent_once(asked: list[str], size: int) -> None:
    found = ranges_of(f"bytes={','.join(asked)}".encode(), size)
    if found is None:
        return
    sent = [at for one in found for at in range(one.start, one.stop)]
    wanted = set()
    for spec in asked:
        first, _dash, last = spec.partition("-")
        if first:
            wanted |= set(range(int(first), int(last or size) + 1))
        else:
            wanted |= set(range(max(0, size - int(last)), size))
    assert len(sent) == len(set(sent))
    assert set(sent) == {at for at in wanted if at < size}


@given(specs, st.integers(1, 25))
def test_werkzeug_reads_a_single_range_the_same_way(spec: str, size: int) -> None:
    value = f"bytes={spec}"
    theirs = parse_range_header(value)
    ours = spans(value.encode(), size)
    if theirs is None:
        assert not ours  # it has no ranges for those that no file could satisfy
        return
    span = theirs.range_for_length(size)
    if spec.startswith("-") and int(spec[1:]) > size:
        span = (0, size)  # RFC 9110, section 14.1.2: a longer tail than the file is all of it
    if span is None or span[0] >= span[1]:
        assert ours == []
    else:
        assert ours == [span]


@given(st.binary(min_size=1, max_size=60), st.lists(st.integers(0, 59), min_size=1, max_size=5))
def test_a_multipart_body_is_as_long_as_it_says(content: bytes, starts: list[int]) -> None:
    ranges = tuple(ByteRange(at, at + 1) for at in starts if at < len(content))
    parts = multipart(ranges, len(content), b"text/plain", b"BOUNDARY")
    body = b"".join(
        head + content[one.start : one.stop] for head, one in zip(parts.heads, ranges, strict=True)
    )
    assert len(body + parts.tail) == parts.length
    assert body.startswith(b"--BOUNDARY\r\n" if ranges else b"")
    assert parts.tail == b"\r\n--BOUNDARY--\r\n"
