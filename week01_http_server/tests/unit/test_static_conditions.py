"""Conditional requests: by table, and beside werkzeug."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import is_resource_modified, parse_date

from week01_http_server.static.conditions import (
    SETTLED_S,
    Conditions,
    Validators,
    conditions_of,
    judge,
    range_holds,
    validators_of,
)
from week01_http_server.static.dates import http_date, parse_http_date

CHANGED_S = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples
NOW_S = CHANGED_S + 1000.0
SAME = b"Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = b"Sun, 06 Nov 1994 08:49:36 GMT"
LATER = b"Sun, 06 Nov 1994 08:49:38 GMT"
FILE = Validators(b'"a"', True, CHANGED_S)
YOUNG = Validators(b'"a"', False, CHANGED_S)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, None),
        ({"if_none_match": b'"a"'}, 304),
        ({"if_none_match": b'W/"a"'}, 304),
        ({"if_none_match": b"*"}, 304),
        ({"if_none_match": b'"b"'}, None),
        ({"if_none_match": b'"b", W/"c" ,"a"'}, 304),
        ({"if_none_match": b'"b,"a"'}, None),  # the tags are "b," and nothing
        ({"if_none_match": b"a"}, None),
        ({"if_none_match": b""}, None),
        ({"if_match": b'"a"'}, None),
        ({"if_match": b'W/"a"'}, 412),
        ({"if_match": b'"b"'}, 412),
        ({"if_match": b'"b", "a"'}, None),
        ({"if_match": b"*"}, None),
        ({"if_match": b"nonsense"}, 412),
        ({"if_modified_since": SAME}, 304),
        ({"if_modified_since": LATER}, 304),
        ({"if_modified_since": EARLIER}, None),
        ({"if_modified_since": b"yesterday"}, None),
        ({"if_unmodified_since": SAME}, None),
        ({"if_unmodified_since": LATER}, None),
        ({"if_unmodified_since": EARLIER}, 412),
        ({"if_unmodified_since": b"yesterday"}, None),
        # Precedence (section 13.2.2): a tag silences its date, If-Match comes first.
        ({"if_match": b'"a"', "if_unmodified_since": EARLIER}, None),
        ({"if_match": b'"b"', "if_unmodified_since": LATER}, 412),
        ({"if_none_match": b'"b"', "if_modified_since": SAME}, None),
        ({"if_none_match": b'"a"', "if_modified_since": EARLIER}, 304),
        ({"if_match": b'"b"', "if_none_match": b'"a"'}, 412),
        ({"if_match": b'"a"', "if_none_match": b'"a"'}, 304),
        ({"if_unmodified_since": EARLIER, "if_none_match": b'"a"'}, 412),
        ({"if_unmodified_since": SAME, "if_modified_since": SAME}, 304),
    ],
)
def test_conditions_are_judged(fields: dict[str, bytes], status: int | None) -> None:
    assert judge(Conditions(**fields), FILE, NOW_S) == status


def test_a_weak_tag_matches_weakly_only() -> None:
    assert YOUNG.etag == b'W/"a"'
    assert judge(Conditions(if_none_match=b'W/"a"'), YOUNG, NOW_S) == 304
    assert judge(Conditions(if_match=b'"a"'), YOUNG, NOW_S) == 412
    assert judge(Conditions(if_match=b"*"), YOUNG, NOW_S) is None


@pytest.mark.parametrize(
    ("if_range", "file", "holds"),
    [
        (None, FILE, True),
        (None, YOUNG, True),
        (b'"a"', FILE, True),
        (b'"b"', FILE, False),
        (b'W/"a"', FILE, False),
        (b'"a"', YOUNG, False),
        (b'W/"a"', YOUNG, False),
        (SAME, FILE, True),
        (SAME, YOUNG, False),
        (LATER, FILE, False),  # exact match, not "not newer"
        (EARLIER, FILE, False),
        (b'"a", "b"', FILE, False),  # one validator, no list
        (b"", FILE, False),
    ],
)
def test_if_range(if_range: bytes | None, file: Validators, holds: bool) -> None:
    assert range_holds(if_range, file) is holds


def test_lists_are_joined_and_repeated_dates_ignored() -> None:
    headers = [
        (b"if-none-match", b'"x"'),
        (b"if-none-match", b'"a"'),
        (b"if-unmodified-since", EARLIER),
        (b"if-unmodified-since", EARLIER),
    ]
    conditions = conditions_of(headers)
    assert conditions.if_none_match == b'"x", "a"'
    assert conditions.if_unmodified_since is None


def test_the_tag_changes_although_the_modification_time_was_set_back(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    before = file.stat()
    far = before.st_ctime + 60
    first = validators_of(before, far)
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # until the kernel's clock has ticked
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = validators_of(file.stat(), far)
    assert after.last_modified == first.last_modified
    assert after.tag != first.tag


def test_a_tag_is_strong_once_the_file_has_settled(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    stat = file.stat()
    last = max(stat.st_mtime, stat.st_ctime)
    assert not validators_of(stat, last + SETTLED_S - 0.1).strong
    assert validators_of(stat, last + SETTLED_S + 0.1).strong


def test_a_file_from_the_future_was_modified_now(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    os.utime(file, (NOW_S + 5000, NOW_S + 5000))
    found = validators_of(file.stat(), NOW_S)
    assert found.modified_s == int(NOW_S)
    assert not found.strong


@pytest.mark.parametrize(
    ("value", "time_s"),
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", CHANGED_S),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", CHANGED_S),
        (b"Sun Nov  6 08:49:37 1994", CHANGED_S),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (b"Sat, 31 Dec 2016 23:59:60 GMT", 1483228799),  # a leap second
        (b"Thu, 31 Feb 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 24:49:37 GMT", None),
        (b"Sun, 6 Nov 1994 08:49:37 GMT", None),
        (b"Sun, 06 nov 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 08:49:37 UTC", None),
        (b"Sun, 06 Nov 1994 08:49:37 +0000", None),
        (b" Sun, 06 Nov 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 0000 08:49:37 GMT", None),
        ("Sun, ٠٦ Nov 1994 08:49:37 GMT".encode(), None),
        (b"784111777", None),
        (b"", None),
    ],
)
def test_a_date_is_read(value: bytes, time_s: int | None) -> None:
    assert parse_http_date(value, NOW_S) == time_s


@pytest.mark.parametrize(
    ("now", "year"), [(b"1994", b"1994"), (b"2026", b"2094"), (b"2020", b"2094")]
)
def test_a_year_of_two_digits_is_at_most_fifty_years_ahead(now: bytes, year: bytes) -> None:
    now_s = parse_http_date(b"Fri, 01 Jan %s 00:00:00 GMT" % now, 0.0)
    assert now_s is not None
    expected = year if int(year) <= int(now) + 50 else b"%d" % (int(year) - 100)
    read = parse_http_date(b"Sunday, 06-Nov-94 08:49:37 GMT", now_s)
    assert read == parse_http_date(b"Sun, 06 Nov %s 08:49:37 GMT" % expected, 0.0)


times = st.integers(0, 4102444799)


@given(times)
def test_what_is_written_is_read_again_here_and_by_werkzeug(time_s: int) -> None:
    written = http_date(time_s)
    assert parse_http_date(written, NOW_S) == time_s
    theirs = parse_date(written.decode())
    assert theirs is not None
    assert theirs.timestamp() == time_s


tags = st.sampled_from(['"a"', 'W/"a"', '"b"', 'W/"b"', "*", '"b", "a"', '"b",W/"a"'])
dates = st.sampled_from([SAME, LATER, EARLIER])


# werkzeug looks at one of the two tags, and finds no tag in If-Match: *.
reading = st.fixed_dictionaries({}, optional={"if_none_match": tags, "if_modified_since": dates})
writing = st.fixed_dictionaries({"if_match": tags.filter(lambda tag: tag != "*")})


@given(st.one_of(reading, writing))
def test_werkzeug_sends_304_for_the_same_conditions(fields: dict[str, str | bytes]) -> None:
    texts = {
        "HTTP_" + name.upper(): value if isinstance(value, str) else value.decode()
        for name, value in fields.items()
    }
    date = parse_date(SAME.decode())
    modified = is_resource_modified(
        {"REQUEST_METHOD": "GET", **texts}, etag="a", last_modified=date
    )
    ours = judge(Conditions(**{name: _bytes(value) for name, value in fields.items()}), FILE, NOW_S)
    # It tells only whether to send the file, for 304 and 412 alike.
    assert modified == (ours is None)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
