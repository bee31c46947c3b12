"""Codes are a keyed bijection between sequence numbers and seven base62 characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.codes import ALPHABET, CODES, Codec, is_code

KEY = b"a key of some length"
codec = Codec(KEY)
numbers = st.integers(0, CODES - 1)
codes = st.text(ALPHABET, min_size=7, max_size=7)


@given(numbers)
def test_every_number_has_a_code_that_leads_back(number: int) -> None:
    code = codec.encode(number)
    assert len(code) == 7
    assert set(code) <= set(ALPHABET)
    assert codec.decode(code) == number


@given(codes)
def test_every_code_has_a_number_that_leads_back(code: str) -> None:
    assert codec.encode(codec.decode(code)) == code


@pytest.mark.parametrize("number", [0, 1, CODES - 2, CODES - 1])
def test_the_ends_of_the_range(number: int) -> None:
    assert codec.decode(codec.encode(number)) == number


@given(numbers, st.binary(min_size=16, max_size=64).filter(lambda key: key != KEY))
def test_another_key_gives_other_codes(number: int, other: bytes) -> None:
    """Two keys may agree on a number by chance, one in 3.5e12; not on four in a row."""
    following = [(number + step) % CODES for step in range(4)]
    assert [codec.encode(n) for n in following] != [Codec(other).encode(n) for n in following]


def test_codes_of_this_key_never_change() -> None:
    """Links live as long as their codes: a change of the algorithm would break every one."""
    assert [codec.encode(number) for number in (0, 1, 2, CODES - 1)] == [
        "QSm7fO8",
        "YeGzx8Y",
        "A7ZgAkF",
        "0Lya6EI",
    ]


def test_neighbours_look_unrelated() -> None:
    """Each character of consecutive codes takes (almost) all of its values: no shared prefix."""
    made = [codec.encode(number) for number in range(2000)]
    assert len(set(made)) == len(made)
    for position in range(7):
        assert len({code[position] for code in made}) > 50


@pytest.mark.parametrize("number", [-1, CODES, CODES + 1])
def test_numbers_outside_the_range(number: int) -> None:
    with pytest.raises(ValueError, match="is not in"):
        codec.encode(number)


@pytest.mark.parametrize(
    "code", ["", "short", "toolong8", "abc-def", "abcdef\n", "äbcdefg", " abcdef"]
)
def test_what_is_no_code(code: str) -> None:
    assert not is_code(code)
    with pytest.raises(ValueError, match="not a code"):
        codec.decode(code)


@given(codes)
def test_form_of_a_code(code: str) -> None:
    assert is_code(code)


@pytest.mark.parametrize("length", [0, 15, 65])
def test_keys_of_a_wrong_length(length: int) -> None:
    with pytest.raises(ValueError, match="bytes, not 16 to 64"):
        Codec(b"x" * length)
