"""Visitors told apart without knowing them: a keyed hash of the address that changes each day.

The hash of an address alone would hide nothing: there are 2**32 IPv4 addresses, and whoever holds
the table tries them all. With a secret key only the service can do that; with the day in it, not
even the service can follow anybody from one day to the next by the hashes alone.

Keyed BLAKE2b (RFC 7693) of the UTC day and the address, cut to 64 bits: among a million visitors
of a day, two share a hash with a probability of one in 37 million.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from starlette.types import Scope

from week04_shortener.callers import NO_ADDRESS

SECONDS_A_DAY: Final = 86_400
HASH_BYTES: Final = 8

MAX_KNOWN: Final = 4096
"""Hashes that are remembered, in memory and for the day, since a browser comes again."""
MAX_FORWARDED_BYTES: Final = 256
"""A longer ``X-Forwarded-For`` is looked at each time: what is remembered has a limit."""


class Visitors:
    """Names the visitors of each day.

    `key` is secret and has 16 to 64 bytes; `address_of` is `callers.client_address` with the
    proxies it trusts.
    """

    def __init__(self, key: bytes, address_of: Callable[[Scope], str]) -> None:
        if not 16 <= len(key) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise ValueError(f"the key has {len(key)} bytes, not 16 to 64")
        self._key = key
        self._address_of = address_of
        self._day = -1
        self._known: dict[tuple[str, bytes], str] = {}

    def visitor(self, scope: Scope, forwarded: bytes, now_s: float) -> str | None:
        """16 hex digits for the visitor of a request, None when it has no address.

        `forwarded` is the request's last ``X-Forwarded-For``, empty without one; `now_s` is in
        seconds since the epoch.
        """
        client = scope.get("client")
        if client is None:
            return None
        day = int(now_s // SECONDS_A_DAY)
        if day != self._day:
            self._day = day
            self._known.clear()
        source = (client[0], forwarded)
        known = self._known.get(source)
        return known if known is not None else self._new(scope, source)

    def remembered(self) -> int:
        """How many hashes are remembered."""
        return len(self._known)

    def _new(self, scope: Scope, source: tuple[str, bytes]) -> str | None:
        address = self._address_of(scope)
        if address == NO_ADDRESS:
            return None
        text = f"{self._day} {address}".encode("utf-8", "backslashreplace")
        visitor = hashlib.blake2b(text, key=self._key, digest_size=HASH_BYTES).hexdigest()
        if len(source[1]) <= MAX_FORWARDED_BYTES:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()  # simpler than the oldest first, and as good for a hash
            self._known[source] = visitor
        return visitor
