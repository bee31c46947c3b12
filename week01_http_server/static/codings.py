"""Which stored coding of a file a client prefers (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

IDENTITY = b"identity"
# Coding and the ending of the file that holds it, best first where a client has no preference:
# brotli's files are the smallest, gzip's the largest (RFC 7932, RFC 8878, RFC 1952).
STORED: tuple[tuple[bytes, str], ...] = ((b"br", ".br"), (b"zstd", ".zst"), (b"gzip", ".gz"))

_QVALUE = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_ALIASES = {b"x-gzip": b"gzip"}  # section 8.4.1.3


def accepted(value: bytes) -> tuple[bytes, ...]:
    """Codings to look for, in the order of the client's wish; "identity" where it comes.

    Those of equal weight keep the server's order with identity last, for it is the longest.
    Members that cannot be read are ignored. Empty when the client takes nothing that exists here,
    not even the plain file.
    """
    weights = _weights(value)
    wildcard = weights.get(b"*")
    ranked: list[tuple[float, bytes]] = []
    for coding, _ending in STORED:
        weight = weights.get(coding, wildcard)
        if weight:
            ranked.append((weight, coding))
    # Without a word about it identity is acceptable, but whatever is named is wished for more.
    identity = weights.get(IDENTITY, 0.0001 if wildcard is None else wildcard)
    if identity:
        ranked.append((identity, IDENTITY))
    ranked.sort(key=lambda pair: -pair[0])  # stable
    return tuple(coding for _weight, coding in ranked)


_remembered = lru_cache(maxsize=256)(accepted)
_REMEMBERED_MAX_BYTES = 128  # browsers send a handful of values, all of them shorter


def accepted_quickly(value: bytes) -> tuple[bytes, ...]:
    """As `accepted`, for values that come again and again."""
    return _remembered(value) if len(value) <= _REMEMBERED_MAX_BYTES else accepted(value)


def _weights(value: bytes) -> dict[bytes, float]:
    weights: dict[bytes, float] = {}
    for member in value.split(b","):
        name, *parameters = (part.strip(b" \t").lower() for part in member.split(b";"))
        weight = _weight(parameters)
        if name and weight is not None:
            weights.setdefault(_ALIASES.get(name, name), weight)
    return weights


def _weight(parameters: Sequence[bytes]) -> float | None:
    if not parameters:
        return 1.0
    name, _equals, number = parameters[0].partition(b"=")
    if name != b"q" or len(parameters) > 1 or not _QVALUE.fullmatch(number):
        return None
    return float(number)
