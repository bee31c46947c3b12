"""The click event survives its journey, and nothing else is taken for one."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.clicks.event import (
    MAX_BROWSER_CHARS,
    MAX_ENCODED_BYTES,
    BadClick,
    Click,
    decode,
    encode,
    referrer_host,
)
from week04_shortener.clicks.framing import frame, unframe
from week04_shortener.codes import ALPHABET
from week04_shortener.links import ALIAS, is_code_or_alias

AT = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
CLICK = Click(
    "0" * 32, "abcdefg", AT, "api1", "example.org", "Mobile Safari", "bot", "0123456789abcdef"
)
VERSION_1 = (
    b'{"v":1,"event_id":"00000000000000000000000000000000","code":"abcdefg",'
    b'"at":"2026-01-02T03:04:05.000006+00:00","replica":"api1","referrer_host":"example.org"}'
)

PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))

clicks = st.builds(
    Click,
    event_id=st.text("0123456789abcdef", min_size=32, max_size=32),
    code=(st.text(ALPHABET, min_size=7, max_size=7) | st.from_regex(ALIAS, fullmatch=True)).filter(
        is_code_or_alias
    ),
    at=st.datetimes(timezones=st.just(UTC)),
    replica=st.text("aZ09._-", min_size=1, max_size=63),
    referrer_host=st.none() | st.text(PRINTABLE, min_size=1, max_size=253),
    browser=st.none() | st.text(PRINTABLE, min_size=1, max_size=MAX_BROWSER_CHARS),
    agent=st.sampled_from(["person", "bot"]),
    visitor=st.none() | st.text("0123456789abcdef", min_size=16, max_size=16),
)


@given(clicks)
def test_what_was_encoded_is_decoded(click: Click) -> None:
    assert decode(encode(click)) == click


@given(clicks)
def test_it_fits_on_a_line_of_the_log(click: Click) -> None:
    data = encode(click)
    assert len(data) <= MAX_ENCODED_BYTES
    assert data.isascii()
    assert unframe(frame(data)[:-1]) == data


def test_version_1_is_still_read() -> None:
    assert decode(VERSION_1) == Click("0" * 32, "abcdefg", AT, "api1", "example.org")


def test_times_become_utc() -> None:
    east = timezone(timedelta(hours=2))
    click = Click("0" * 32, "abcdefg", datetime(2026, 1, 2, 3, 0, tzinfo=east), "api1")
    assert decode(encode(click)).at == datetime(2026, 1, 2, 1, 0, tzinfo=UTC)
    assert decode(encode(click)).at.tzinfo is UTC


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 3), ("v", None), ("v", True), ("v", 2.0), ("v", [2]),
        ("event_id", "A" * 32), ("event_id", "0" * 31), ("event_id", 5),
        ("code", "ab"), ("code", "metrics"), ("code", None), ("code", ["a"] * 7),
        ("at", "yesterday"), ("at", "2026-01-02T03:04:05"), ("at", 1), ("at", None),
        ("at", "0001-01-01T00:00:00+14:00"), ("replica", ""), ("replica", "a b"),
        ("replica", "x" * 64), ("referrer_host", ""), ("referrer_host", "a\x00b"),
        ("referrer_host", "x" * 254), ("referrer_host", "ö"), ("referrer_host", {}),
        ("browser", ""), ("browser", "x" * 65), ("browser", "a\nb"), ("browser", 5),
        ("agent", None), ("agent", "crawler"), ("agent", ["bot"]), ("agent", {}),
        ("visitor", "0" * 15), ("visitor", "0" * 17), ("visitor", "G" * 16), ("visitor", 5),
    ],
)  # fmt: skip
def test_wrong_fields_are_refused(field: str, value: object) -> None:
    fields = json.loads(encode(CLICK)) | {field: value}
    with pytest.raises(BadClick):
        decode(json.dumps(fields).encode())


@pytest.mark.parametrize("field", ["v", "event_id", "code", "at", "replica", "agent"])
def test_missing_fields_are_refused(field: str) -> None:
    fields = json.loads(encode(CLICK))
    del fields[field]
    with pytest.raises(BadClick):
        decode(json.dumps(fields).encode())


@pytest.mark.parametrize(
    "data", [b"", b"{", b"null", b"[]", b'"x"', b"7", b"\xff", b"[" * 10**5, b'{"v": NaN}']
)
def test_what_is_no_click_is_refused(data: bytes) -> None:
    with pytest.raises(BadClick):
        decode(data)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(BadClick):
        decode(data)


def test_unknown_fields_are_ignored() -> None:
    fields = json.loads(encode(CLICK)) | {"country": "NL"}
    assert decode(json.dumps(fields).encode()) == CLICK


@pytest.mark.parametrize(
    ("referer", "host"),
    [
        ("https://News.example/path?q=secret#x", "news.example"),
        ("https://user:secret@news.example:8443/", "news.example"),
        ("http://[2001:db8::1]/", "2001:db8::1"),
        (None, None), ("", None), ("about:blank", None), ("not a url", None), ("http://[", None),
        ("http://" + "x" * 254, None), ("http://zürich.example/", None),
    ],
)  # fmt: skip
def test_only_the_host_of_a_referrer_is_kept(referer: str | None, host: str | None) -> None:
    assert referrer_host(referer) == host
