"""Which targets are accepted, and in which form."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.targets.urls import BadUrl, accept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://example.org/a", "https://example.org/a"),
        ("http://example.org", "http://example.org"),
        ("HTTPS://Example.ORG:8443/A?b=C#D", "https://example.org:8443/A?b=C#D"),
        ("https://example.org/Zürich?q=ä#ö", "https://example.org/Z%C3%BCrich?q=%C3%A4#%C3%B6"),
        ("https://example.org/a|b{c}", "https://example.org/a%7Cb%7Bc%7D"),
        ("https://example.org/%7Ea%2Fb", "https://example.org/%7Ea%2Fb"),
        ("https://example.org./", "https://example.org./"),
        ("http://192.0.2.1:80/", "http://192.0.2.1:80/"),
        ("http://[2001:DB8::1]:8080/x", "http://[2001:db8::1]:8080/x"),
        ("http://xn--zrich-kva.example/", "http://xn--zrich-kva.example/"),
        ("http://my_host/", "http://my_host/"),
        ("http://example.org/a@b", "http://example.org/a@b"),
    ],
)
def test_accepted(given: str, kept: str) -> None:
    assert accept(given, max_chars=2048) == kept


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must begin with"),
        ("example.org", "must begin with"),
        ("//example.org/", "must begin with"),
        ("ftp://example.org/", "must begin with"),
        ("javascript:alert(1)", "must begin with"),
        ("data:text/html,x", "must begin with"),
        ("https:example.org", "no host"),
        ("https://", "no host"),
        ("https:///path", "no host"),
        ("http://:80/", "no host"),
        ("http://user@example.org/", "user name or password"),
        ("http://user:secret@example.org/", "user name or password"),
        ("http://@example.org/", "user name or password"),
        ("http://example.org:port/", "malformed"),
        ("http://example.org:65536/", "malformed"),
        ("http://exa mple.org/", "space"),
        (" http://example.org/", "space"),
        ("http://example.org/a\r\nSet-Cookie: x", "control"),
        ("http://example.org/\x00", "control"),
        ("http://example.org/\x85", "control"),
        ("http://example.org\\@evil.example/", "backslash"),
        ("http://-example.org/", "malformed"),
        ("http://example..org/", "malformed"),
        ("http://ex%61mple.org/", "malformed"),
        ("http://" + "a" * 64 + ".org/", "malformed"),
        ("http://" + "a." * 130 + "org/", "malformed"),
        ("http://zürich.example/", "ASCII"),
        ("http://[::1", "malformed"),
        ("http://[::zz]/", "malformed"),
        ("http://[fe80::1%25eth0]/", "network interface"),
        ("http://[fe80::1%eth0]/", "network interface"),
        ("http://example.org/\ud800", "surrogate"),
    ],
)
def test_refused(url: str, reason: str) -> None:
    with pytest.raises(BadUrl, match=reason):
        accept(url, max_chars=2048)


def test_length_is_limited_before_and_after_encoding() -> None:
    assert len(accept("http://e.org/" + "a" * 87, max_chars=100)) == 100
    with pytest.raises(BadUrl, match="more than 100 characters"):
        accept("http://e.org/" + "a" * 88, max_chars=100)
    with pytest.raises(BadUrl, match="once percent-encoded"):
        accept("http://e.org/" + "ä" * 30, max_chars=100)


@given(st.text())
def test_whatever_is_accepted_fits_into_a_header_and_stays_as_it_is(text: str) -> None:
    for url in (text, "http://" + text, "http://example.org/" + text):
        try:
            kept = accept(url, max_chars=2048)
        except BadUrl:
            continue
        assert kept.startswith(("http://", "https://"))
        assert set(kept) <= set(string.printable) - set(string.whitespace)
        assert accept(kept, max_chars=8192) == kept
