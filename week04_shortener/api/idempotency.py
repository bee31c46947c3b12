"""The Idempotency-Key header (IETF draft httpapi-idempotency-key-header). Pure.

A client that got no answer cannot know whether its link was made. It sends the same request again
with the same key, and gets the answer of the first one instead of a second link.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from week04_shortener.links import Link, NewLink

MAX_CHARS: Final = 128
"""Longest key, characters; a UUID has 36."""

_STRING: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
"""A string of RFC 9651 section 3.3.3, which is what the draft says a key is."""

_BARE: Final = re.compile(r"[0-9A-Za-z_.:~+/=-]+")


class BadKey(ValueError):
    """A header that is no key; the message tells the user what one is."""


def key_in(headers: Sequence[str]) -> str | None:
    """The key in the request's Idempotency-Key `headers`, or None when there is none.

    ``"8e03978e"`` is a key in the draft's words; ``8e03978e`` without quotes is taken too, as
    services did before the draft. Raises `BadKey` for anything else.
    """
    if not headers:
        return None
    if len(headers) > 1:
        raise BadKey("send the header Idempotency-Key once")
    value = headers[0].strip(" \t")
    quoted = _STRING.fullmatch(value)
    if quoted is not None:
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    elif _BARE.fullmatch(value):
        key = value
    else:
        raise BadKey('an Idempotency-Key is a string in quotes, such as "8e03978e-40d5"')
    if not 1 <= len(key) <= MAX_CHARS:
        raise BadKey(f"an Idempotency-Key has 1 to {MAX_CHARS} characters")
    return key


def scope_of(owner_id: int | None) -> str:
    """Whose keys are told apart: each API key's own; callers without one share theirs."""
    return "open" if owner_id is None else f"owner {owner_id}"


def fingerprint(fields: Mapping[str, object], secret: bytes) -> bytes:
    """32 bytes by which the same request is known again (the draft's idempotency fingerprint).

    Keyed (RFC 7693), because a password is among the fields: a plain hash of it would be worth
    more to a thief of the table than the slow one that is stored.
    """
    text = json.dumps(fields, sort_keys=True, default=str)
    return hashlib.blake2b(
        text.encode(), key=secret, digest_size=32, person=b"idempotency"
    ).digest()


def as_made(link: Link, new: NewLink) -> Link:
    """`link` as it was when `new` made it, whatever has changed since.

    The first answer is not kept: all that is in it stands in the request, which is the same, or
    never changes.
    """
    return replace(
        link,
        url=new.url,
        expires_at=new.expires_at,
        max_visits=new.max_visits,
        password_hash=new.password_hash,
        version=1,
        visits=0,
        updated_at=link.created_at,
        deleted_at=None,
    )
