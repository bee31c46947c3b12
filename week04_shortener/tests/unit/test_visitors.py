"""Visitors are told apart within a day, by a key, and their addresses cannot be read back."""

import hashlib
import ipaddress
import re

import pytest
from starlette.types import Scope

from week04_shortener.callers import client_address
from week04_shortener.clicks.visitors import MAX_FORWARDED_BYTES, MAX_KNOWN, SECONDS_A_DAY, Visitors

KEY = b"0123456789abcdef"
TRUSTED = (ipaddress.ip_network("10.0.0.0/8"),)
NOON_S = 20_000 * SECONDS_A_DAY + 43_200.0


def visitors(key: bytes = KEY) -> Visitors:
    return Visitors(key, lambda scope: client_address(scope, TRUSTED))


def seen(
    known: Visitors, peer: str | None, forwarded: bytes = b"", now_s: float = NOON_S
) -> str | None:
    headers = [(b"x-forwarded-for", forwarded)] if forwarded else []
    scope: Scope = {"client": (peer, 1234) if peer is not None else None, "headers": headers}
    return known.visitor(scope, forwarded, now_s)


def test_the_same_address_is_the_same_visitor_all_day_and_another_tomorrow() -> None:
    known = visitors()
    first = seen(known, "192.0.2.1")
    assert first is not None
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert seen(known, "192.0.2.1", now_s=NOON_S + 43_199) == first
    assert seen(known, "192.0.2.1", now_s=NOON_S + 43_200) != first
    assert seen(known, "192.0.2.2") != first
    # Replicas agree, however they came to it.
    assert seen(visitors(), "192.0.2.1") == seen(known, "192.0.2.1") == first


def test_it_takes_the_key_to_make_the_hash() -> None:
    assert seen(visitors(b"another key of 32 bytes, or less"), "192.0.2.1") != seen(
        visitors(), "192.0.2.1"
    )
    plain = hashlib.blake2b(b"20000 192.0.2.1", digest_size=8).hexdigest()
    assert seen(visitors(), "192.0.2.1") != plain


def test_the_visitor_is_behind_our_proxies_and_nobody_elses() -> None:
    known = visitors()
    direct = seen(known, "192.0.2.1")
    assert seen(known, "10.0.0.1", b"192.0.2.1") == direct
    assert seen(known, "10.0.0.1", b"203.0.113.9, 192.0.2.1, 10.0.0.2") == direct
    assert seen(known, "192.0.2.1", b"203.0.113.9") == direct
    assert seen(known, "10.0.0.1", b"\xff garbage") == seen(known, "10.0.0.1")


def test_a_peer_without_address_is_nobody() -> None:
    assert seen(visitors(), None) is None


def test_a_key_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="15 bytes"):
        visitors(b"x" * 15)


def test_what_is_remembered_has_a_limit() -> None:
    known = visitors()
    first = seen(known, "192.0.2.1")
    for number in range(MAX_KNOWN + 10):
        seen(known, f"198.51.{number // 256}.{number % 256}")
    long = b"192.0.2.1, " * MAX_FORWARDED_BYTES + b"192.0.2.1"
    assert seen(known, "10.0.0.1", long) == first
    assert known.remembered() <= MAX_KNOWN
    assert seen(known, "192.0.2.1") == first
