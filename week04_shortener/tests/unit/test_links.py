"""Links: what an alias may be, what the caches keep of a link, and how it is written."""

from __future__ import annotations

import contextlib
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.codes import Codec
from week04_shortener.links import (
    ABSENT,
    ALIAS,
    CHANGEABLE,
    RESERVED_WORDS,
    BadAlias,
    BadEntry,
    Entry,
    Kind,
    Link,
    accept_alias,
    decode,
    encode,
    entry_of,
    is_code_or_alias,
)

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
URL = "https://example.org/a?b=c#d"
LINK = Link(7, "my-alias", URL, AT, AT, version=3)

urls = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)).map("https://e.org/".__add__)
entries = st.one_of(
    st.just(ABSENT),
    st.builds(Entry, st.integers(1, 2**63 - 1), st.just(Kind.GONE)),
    st.builds(
        Entry,
        st.integers(1, 2**63 - 1),
        st.just(Kind.OPEN),
        urls,
        st.one_of(st.none(), st.integers(0, 2**42).map(lambda ms: ms / 1000)),
    ),
    st.builds(
        Entry,
        st.integers(1, 2**63 - 1),
        st.just(Kind.GUARDED),
        st.just(""),
        st.one_of(st.none(), st.integers(0, 2**42).map(lambda ms: ms / 1000)),
    ),
)


# ---- Aliases


@pytest.mark.parametrize("text", ["abc", "a-c", "a_c", "my-Alias_9", "a" * 8, "a" * 32, "123"])
def test_an_alias(text: str) -> None:
    assert accept_alias(text) == text
    assert is_code_or_alias(text)


@pytest.mark.parametrize(
    "text",
    ["", "ab", "a" * 33, "-ab", "ab-", "_ab", "a b", "a/b", "a.b", "a%b", "abc\n", "äbc", "ab\0",
     "../etc", "\u0661\u0662\u0663"],
)  # fmt: skip
def test_what_has_not_the_form_of_one(text: str) -> None:
    with pytest.raises(BadAlias, match="3 to 32 letters, digits, hyphens"):
        accept_alias(text)
    assert not is_code_or_alias(text)


@pytest.mark.parametrize("word", sorted(RESERVED_WORDS))
def test_a_reserved_word_is_none_whatever_its_case(word: str) -> None:
    for text in (word, word.upper(), word.title()):
        with pytest.raises(BadAlias):
            accept_alias(text)
        assert not is_code_or_alias(text)


@given(st.text(string.ascii_letters + string.digits, min_size=7, max_size=7))
def test_what_looks_like_a_generated_code_is_no_alias(text: str) -> None:
    with pytest.raises(BadAlias):
        accept_alias(text)


@given(st.integers(0, 62**7 - 1))
def test_a_generated_code_is_looked_up(number: int) -> None:
    code = Codec(b"sixteen letters!").encode(number)
    assert is_code_or_alias(code) or code.lower() in RESERVED_WORDS


@given(st.from_regex(ALIAS, fullmatch=True))
def test_whatever_is_accepted_is_looked_up(text: str) -> None:
    try:
        accept_alias(text)
    except BadAlias:
        return
    assert is_code_or_alias(text)


# ---- Entries


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        (LINK, Entry(3, Kind.OPEN, URL)),
        (replace(LINK, expires_at=AT), Entry(3, Kind.OPEN, URL, AT.timestamp())),
        (replace(LINK, max_visits=5, visits=5), Entry(3, Kind.GUARDED)),
        (replace(LINK, password_hash="hash"), Entry(3, Kind.GUARDED)),
        (
            replace(LINK, password_hash="hash", expires_at=AT),
            Entry(3, Kind.GUARDED, expires_at_s=AT.timestamp()),
        ),
        (replace(LINK, deleted_at=AT, expires_at=AT, max_visits=1), Entry(3, Kind.GONE)),
    ],
)
def test_what_the_caches_keep(link: Link, kept: Entry) -> None:
    assert entry_of(link) == kept


def test_a_link_is_over_at_the_second_it_expires() -> None:
    kept = entry_of(replace(LINK, expires_at=AT))
    assert not kept.is_over((AT - timedelta(milliseconds=1)).timestamp())
    assert kept.is_over(AT.timestamp())
    assert not entry_of(LINK).is_over(AT.timestamp())


@given(entries)
def test_what_is_written_is_read(entry: Entry) -> None:
    assert decode(encode(entry)) == entry


@given(entries)
def test_the_version_comes_first(entry: Entry) -> None:
    """A script in the cache reads so much of it, and no more."""
    assert int(encode(entry).split(b" ", 1)[0]) == entry.version


@pytest.mark.parametrize(
    "data",
    [b"", b" ", b"1", b"1 open -", b"x open - u", b"1 shut - u", b"1 open soon u", b"1 open - \xff",
     b"https://example.org/", b"{}", b"1 open 1" + b"0" * 400 + b" u", b"1" * 5000 + b" gone - "],
)  # fmt: skip
def test_what_is_no_entry(data: bytes) -> None:
    with pytest.raises(BadEntry):
        decode(data)


@given(st.binary())
def test_any_bytes_are_an_entry_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadEntry):
        assert isinstance(decode(data), Entry)


def test_what_can_be_changed_is_a_links_own() -> None:
    assert set(Link.__dataclass_fields__) > CHANGEABLE
