"""Who is calling: the address a request comes from, and the owner of the key it brings.

An address is the peer's, unless the peer is a proxy of ours: then it is the last one in
``X-Forwarded-For`` that no proxy of ours stands at. What lies further left was written by the
client, who may write there what it likes.

A key is 256 random bits, so its plain SHA-256 is what is stored and looked for: there is nothing
to guess that a slow hash would protect, and nothing to compare byte by byte that would leak time.
"""

import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from starlette.requests import HTTPConnection
from starlette.types import Scope

from infra.service.problems import Problem
from infra.service.requests import Network
from week04_shortener.storage.keys import hash_of

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NO_ADDRESS: Final = "unknown"
"""The address of a peer that has none: one behind a unix socket."""

MAX_HOPS: Final = 16
"""Entries of ``X-Forwarded-For`` that are looked at; a chain of our own proxies is short."""

MAX_REMEMBERED_BYTES: Final = 256
"""A longer ``X-Forwarded-For`` is read each time: what is remembered has a limit, 2 MiB."""

KEY_CACHE_S: Final = 5.0
"""How long an answer about a key is believed: so long, at most, a revoked key works on."""
MAX_CACHED_KEYS: Final = 10_000
MAX_KEY_CHARS: Final = 200

_BEARER: Final = re.compile(rf"bearer +([A-Za-z0-9._~+/-]{{1,{MAX_KEY_CHARS}}}=*)", re.IGNORECASE)
"""RFC 6750 section 2.1; the scheme's case does not matter (RFC 9110 section 11.1)."""

_PORT: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}|\[([^\]]*)\](?::\d{1,5})?")
"""An IPv4 address with a port, or an IPv6 address in brackets with or without one."""


def client_address(scope: Scope, trusted: Sequence[Network]) -> str:
    """The address a request comes from, in its normal form.

    The peer's, or, when the peer lies in one of the `trusted` networks, the rightmost entry of
    ``X-Forwarded-For`` that does not; the leftmost when all do. Where an entry is no address, the
    peer's: nothing behind garbage can be believed. An IPv4 address written as IPv6
    (``::ffff:192.0.2.1``) is that IPv4 address, or one client would count as two.
    """
    client = scope.get("client")
    if client is None:
        return NO_ADDRESS
    forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    networks = tuple(trusted)
    if not forwarded or not _is_trusted_peer(client[0], networks):
        return _normal(client[0])
    if len(forwarded) > MAX_REMEMBERED_BYTES:
        return _behind.__wrapped__(client[0], forwarded, networks)
    return _behind(client[0], forwarded, networks)


def neighbourhood(address: str) -> str:
    """Whom a limit by address counts as one: an IPv4 address, or the /64 of an IPv6 address.

    A /64 is one network (RFC 7421): a single machine can take any of its 2**64 addresses at will.
    """
    if ":" not in address:
        return address
    try:
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    except ValueError:
        return address


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose links a request may make and change: `owner_id` is None without a key (open mode)."""

    owner_id: int | None
    address: str


class ApiKey(Protocol):
    """What is needed of a stored key."""

    @property
    def id(self) -> int: ...


class Keys(Protocol):
    """Where keys are looked up; raises `DatabaseUnavailable`."""

    async def find(self, key_hash: bytes) -> ApiKey | None:
        """The key with this SHA-256, None when there is none or it was revoked."""
        ...


class Callers:
    """Tells callers apart by the keys they bring.

    `open_mode` lets requests without a key through as nobody's. Answers of `keys` are believed
    for `KEY_CACHE_S`; a key that is wrong is remembered as well, or each try would be a query.
    `now_s` is any clock that never goes back, in seconds.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        trusted: Sequence[Network],
        open_mode: bool,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._trusted = tuple(trusted)
        self._open_mode = open_mode
        self._known = _Recent(now_s)
        # Apart from the known ones: made-up keys must not push those out.
        self._unknown = _Recent(now_s)

    def address_of(self, scope: Scope) -> str:
        """`client_address` by the proxies trusted here."""
        return client_address(scope, self._trusted)

    async def caller_of(self, request: HTTPConnection) -> Caller:
        """Who sent `request`.

        Raises `Problem` 401 for a key that is unknown or revoked, in open mode too: whoever brings
        a key means its links. Without a key 401 as well, unless in open mode. Raises
        `DatabaseUnavailable` when a key must be looked up and cannot.
        """
        address = self.address_of(request.scope)
        if "authorization" not in request.headers:
            if self._open_mode:
                return Caller(None, address)
            raise _unauthorized(
                "This needs an API key: send it as `Authorization: Bearer KEY`.", error=None
            )
        key_hash = hash_of_key(request.scope)
        if key_hash is None:
            raise _unauthorized("Authorization is not of the form `Bearer KEY`.", "invalid_token")
        owner_id = await self._owner_of(key_hash)
        if owner_id is None:
            raise _unauthorized("This API key is unknown or was revoked.", "invalid_token")
        return Caller(owner_id, address)

    async def _owner_of(self, key_hash: bytes) -> int | None:
        owner_id = self._known.get(key_hash)
        if owner_id is not None or self._unknown.get(key_hash) is not None:
            return owner_id
        key = await self._keys.find(key_hash)
        if key is None:
            self._unknown.put(key_hash, 0)
            return None
        self._known.put(key_hash, key.id)
        return key.id


def hash_of_key(scope: Scope) -> bytes | None:
    """SHA-256 of the key that a request brings, known or not; None without one well formed."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(given) != 1:
        return None
    match = _BEARER.fullmatch(given[0].decode("latin-1").strip())
    return hash_of(match[1]) if match else None


class _Recent:
    """Numbers by hash for `KEY_CACHE_S`, the longest unused forgotten first."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._entries: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def get(self, key: bytes) -> int | None:
        value, until_s = self._entries.get(key, (0, 0.0))
        if key not in self._entries or self._now_s() >= until_s:
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: bytes, value: int) -> None:
        self._entries[key] = (value, self._now_s() + KEY_CACHE_S)
        self._entries.move_to_end(key)
        if len(self._entries) > MAX_CACHED_KEYS:
            self._entries.popitem(last=False)


def _unauthorized(detail: str, error: str | None) -> Problem:
    """RFC 6750 section 3: no error code for a request that brought no credentials."""
    challenge = 'Bearer realm="shortener"' + (f', error="{error}"' if error else "")
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})


# Kept by the process only: most requests come over a few connections from the same places.
@lru_cache(maxsize=4096)
def _behind(peer: str, forwarded: bytes, trusted: tuple[Network, ...]) -> str:
    """Whom `forwarded` names, which a proxy of ours at `peer` has sent."""
    found = _normal(peer)
    for entry in reversed(forwarded.decode("latin-1").rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
        address = _address(entry.strip(" \t"))
        if address is None:
            return _normal(peer)
        found = str(address)
        if not _is_trusted(address, trusted):
            break
    return found


@lru_cache(maxsize=4096)
def _is_trusted_peer(peer: str, trusted: tuple[Network, ...]) -> bool:
    return _is_trusted(_address(peer), trusted)


def _is_trusted(address: Address | None, trusted: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in trusted)


@lru_cache(maxsize=4096)
def _normal(peer: str) -> str:
    address = _address(peer)
    return peer if address is None else str(address)


def _address(text: str) -> Address | None:
    if match := _PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
