"""The pure parts of the API: conditions, idempotency keys, cursors, times, an older OpenAPI."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.api import conditional, idempotency, times
from week04_shortener.api.openapi30 import to_openapi_30
from week04_shortener.api.paging import BadCursor, Pages
from week04_shortener.links import Link, NewLink

KEY = b"a secret of the tests"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        (None, None), ("*", None), (' "3" ', {3}), ('"3","4"', {3, 4}), ('"3" , , "4",', {3, 4}),
        ('W/"3"', set()), ('W/"3", "4"', {4}), ('"three"', set()), ('""', set()), ('"03"', set()),
        ('"-1"', set()), ('"' + "9" * 30 + '"', set()),
    ],
)  # fmt: skip
def test_versions_of_if_match(header: str | None, versions: set[int] | None) -> None:
    assert conditional.versions_in(header) == versions


@pytest.mark.parametrize("header", ["", "3", '"3', '3"', '"3" "4"', '"3", *', "w/\"3\"", '"a b"',
                                    '"\x01"', '"3",' * 300])  # fmt: skip
def test_a_condition_that_cannot_be_read_is_not_passed_over(header: str) -> None:
    with pytest.raises(conditional.BadCondition):
        conditional.versions_in(header)
    assert not conditional.is_current(header, '"3"')


def test_a_copy_in_a_cache_is_compared_weakly() -> None:
    assert conditional.is_current('W/"3"', '"3"')
    assert conditional.is_current('"1", "3"', '"3"')
    assert conditional.is_current("*", '"3"')
    assert not conditional.is_current('"33"', '"3"')
    assert not conditional.is_current(None, '"3"')


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([], None), (['"a"'], "a"), ([' "a b" '], "a b"), ([r'"a\"b\\"'], 'a"b\\'), (["a"], "a"),
        (["8e03978e-40d5-43e8-bc93-6894a57f9324"], "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        (['"' + "k" * 128 + '"'], "k" * 128),
    ],
)  # fmt: skip
def test_idempotency_keys(headers: list[str], key: str | None) -> None:
    assert idempotency.key_in(headers) == key


@pytest.mark.parametrize("headers", [[""], ['""'], ['"a'], ["a b"], ['"é"'], [r'"\a"'], ['"a";b'],
                                     ["a", "a"], ["k" * 129], ['"a\x7f"']])  # fmt: skip
def test_malformed_idempotency_keys(headers: list[str]) -> None:
    with pytest.raises(idempotency.BadKey):
        idempotency.key_in(headers)


def test_a_fingerprint_needs_the_secret_and_every_field() -> None:
    fields = {"url": "https://example.org/", "password": "open sesame"}
    same = idempotency.fingerprint(dict(reversed(fields.items())), KEY)
    assert idempotency.fingerprint(fields, KEY) == same
    assert len(same) == 32
    assert idempotency.fingerprint(fields, b"another key, long enough") != same
    assert idempotency.fingerprint({**fields, "password": "x"}, KEY) != same


def test_a_replay_tells_of_the_link_as_it_was_made() -> None:
    new = NewLink("https://example.org/a", "spring-sale", NOW, 5, "hash")
    made = Link(1, "spring-sale", new.url, NOW, NOW, 7, 1, NOW, 5, 0, "hash")
    later = replace(
        made, url="https://example.org/b", version=9, visits=3, expires_at=None, max_visits=None,
        password_hash=None, updated_at=NOW + timedelta(days=1), deleted_at=NOW,
    )  # fmt: skip
    assert idempotency.as_made(later, new) == made


@given(st.integers(0, 62**7 - 1), st.none() | st.integers(1, 2**63 - 1))
def test_a_cursor_leads_back_to_its_place(link_id: int, owner_id: int | None) -> None:
    pages = Pages(KEY)
    cursor = pages.cursor_after(link_id, owner_id)
    assert pages.place_of(cursor, owner_id) == link_id
    assert str(link_id) not in cursor or link_id < 1000


@pytest.mark.parametrize("change", [
    lambda cursor: "", lambda cursor: cursor[:-1], lambda cursor: cursor + "0",
    lambda cursor: cursor.upper(), lambda cursor: "0" + cursor[1:], lambda cursor: "é" + cursor[1:],
    lambda cursor: cursor[:-1] + ("0" if cursor[-1] != "0" else "1"), lambda cursor: cursor + "\n",
])  # fmt: skip
def test_no_cursor_can_be_made_up(change: object) -> None:
    assert callable(change)
    pages = Pages(KEY)
    cursor = pages.cursor_after(12, 1)
    with pytest.raises(BadCursor):
        pages.place_of(change(cursor), 1)
    for owner_id in (2, None):
        with pytest.raises(BadCursor):
            pages.place_of(cursor, owner_id)
    with pytest.raises(BadCursor):
        Pages(b"another secret, long enough").place_of(cursor, 1)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-02T00:00:00Z", NOW), ("2026-01-02t00:00:00z", NOW),
        ("2026-01-02T02:00:00+02:00", NOW), ("2026-01-01T19:00:00.000-05:00", NOW),
        ("2026-01-02T00:00:00.5Z", NOW + timedelta(seconds=0.5)),
        ("2026-01-02T00:00:00.123456789Z", NOW + timedelta(microseconds=123456)),
    ],
)  # fmt: skip
def test_times(text: str, time: datetime) -> None:
    assert times.parse(text) == time
    assert times.parse(text).tzinfo is UTC


@pytest.mark.parametrize("text", [
    "", "2026-01-02", "2026-01-02T00:00:00", "2026-01-02 00:00:00Z", "2026-01-02T00:00Z",
    "2026-02-30T00:00:00Z", "2026-01-02T24:00:00Z", "2026-01-02T23:59:60Z", "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00", "2026-01-02T00:00:00+25:00",
    "2026-01-02T00:00:00.Z", "2026-01-02T00:00:00Z\n", "٢٠٢٦-01-02T00:00:00Z", "1767312000",
])  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(times.BadTime):
        times.parse(text)


def test_openapi_in_older_words() -> None:
    new = {
        "openapi": "3.1.0",
        "schema": {
            "properties": {
                "const": {"const": "a"},
                "limit": {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}]},
                "other": {"anyOf": [{"$ref": "#/x"}, {"type": "null"}], "examples": ["a", "b"]},
                "both": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            }
        },
        "headers": {"examples": {"named": {"value": 1}}},
    }
    before = json.dumps(new)
    assert to_openapi_30(new) == {
        "openapi": "3.0.3",
        "schema": {
            "properties": {
                "const": {"enum": ["a"]},
                "limit": {
                    "type": "integer", "minimum": 0, "exclusiveMinimum": True, "nullable": True,
                },
                "other": {"allOf": [{"$ref": "#/x"}], "example": "a", "nullable": True},
                "both": {"anyOf": [{"type": "string"}, {"type": "integer"}], "nullable": True},
            }
        },
        "headers": {"examples": {"named": {"value": 1}}},
    }  # fmt: skip
    assert json.dumps(new) == before
