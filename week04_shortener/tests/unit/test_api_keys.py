"""API keys: what one looks like, and what is kept of it."""

import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.storage.keys import hash_of, new_key


def test_a_key_is_256_bits_that_are_known_as_a_key() -> None:
    """43 characters of 6 bits; the last carries 4, so they are 256."""
    for key in (new_key() for _ in range(100)):
        assert re.fullmatch(r"sk_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", key)


def test_no_two_keys_are_the_same() -> None:
    assert len({new_key() for _ in range(1000)}) == 1000


def test_what_is_kept_is_the_sha_256() -> None:
    assert hash_of("sk_test") == hashlib.sha256(b"sk_test").digest()


@given(st.text())
def test_whatever_a_caller_sends_has_a_hash(text: str) -> None:
    assert len(hash_of(text)) == 32


def test_a_lone_surrogate_has_one_too() -> None:
    assert hash_of("\udcff") != hash_of("")
