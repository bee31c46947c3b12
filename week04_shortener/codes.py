"""Short codes: seven base62 characters for a sequence number, in an order only the key knows.

A plain counter in base62 would tell everybody how many links there are and where the next one
is. A random code needs a look whether it is taken. A keyed permutation of all codes needs
neither: every number has its own code, and neighbours look unrelated.

The permutation is a balanced Feistel network on 42 bits, whose round function is keyed BLAKE2b,
used with cycle walking: while the result is no code, it is permuted again. Walking keeps it a
bijection on [0, 62**7), and 2**42 / 62**7 = 1.25 makes it short.

Sources: M. Luby and C. Rackoff, "How to Construct Pseudorandom Permutations from Pseudorandom
Functions", 1988; J. Black and P. Rogaway, "Ciphers with Arbitrary Finite Domains", 2002 (cycle
walking); NIST SP 800-38G (ten rounds); RFC 7693 (keyed BLAKE2).

It hides order, nothing more: whoever tries all 3.5 * 10**12 codes finds every link.
"""

import hashlib
import string
from typing import Final

ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
CODE_CHARS: Final = 7
CODES: Final = len(ALPHABET) ** CODE_CHARS
"""How many codes there are; sequence numbers are below it."""

_HALF_BITS: Final = 21
_HALF_MASK: Final = (1 << _HALF_BITS) - 1
_ROUNDS: Final = 10
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}


class Codec:
    """The codes of one key. The same key must be used for as long as the links live."""

    def __init__(self, key: bytes) -> None:
        """`key` has 16 to 64 bytes, the most BLAKE2b takes; `ValueError` otherwise."""
        if not 16 <= len(key) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise ValueError(f"the key has {len(key)} bytes, not 16 to 64")
        self._key = key

    def encode(self, number: int) -> str:
        """The code of a sequence number in [0, 62**7); `ValueError` outside of it."""
        if not 0 <= number < CODES:
            raise ValueError(f"{number} is not in [0, {CODES})")
        value = self._permute(number)
        while value >= CODES:
            value = self._permute(value)
        return _to_base62(value)

    def decode(self, code: str) -> int:
        """The sequence number of a code; `ValueError` for anything that is no code."""
        value = self._unpermute(_from_base62(code))
        while value >= CODES:
            value = self._unpermute(value)
        return value

    def _permute(self, value: int) -> int:
        left, right = value >> _HALF_BITS, value & _HALF_MASK
        for number in range(_ROUNDS):
            left, right = right, left ^ self._round(number, right)
        return left << _HALF_BITS | right

    def _unpermute(self, value: int) -> int:
        left, right = value >> _HALF_BITS, value & _HALF_MASK
        for number in reversed(range(_ROUNDS)):
            left, right = right ^ self._round(number, left), left
        return left << _HALF_BITS | right

    def _round(self, number: int, half: int) -> int:
        message = bytes([number]) + half.to_bytes(3, "big")
        digest = hashlib.blake2b(message, key=self._key, digest_size=4).digest()
        return int.from_bytes(digest, "big") & _HALF_MASK


def is_code(text: str) -> bool:
    """Whether `text` could be a link's code, by its form alone."""
    return len(text) == CODE_CHARS and _VALUES.keys() >= set(text)


def _to_base62(value: int) -> str:
    characters = []
    for _ in range(CODE_CHARS):
        value, digit = divmod(value, len(ALPHABET))
        characters.append(ALPHABET[digit])
    return "".join(reversed(characters))


def _from_base62(code: str) -> int:
    if len(code) != CODE_CHARS or not _VALUES.keys() >= set(code):
        raise ValueError("not a code of seven base62 characters")
    value = 0
    for character in code:
        value = value * len(ALPHABET) + _VALUES[character]
    return value
