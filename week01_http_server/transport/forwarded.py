"""Who asked, when trusted proxies stand in between: Forwarded and X-Forwarded-*.

Pure. Source: RFC 7239 (Forwarded); X-Forwarded-For, -Proto and -Host are custom, written alike by
nginx, HAProxy and the clouds' balancers.

Each proxy appends the address it was asked from, so only the end of the list is to be believed:
from right to left, hops that are trusted proxies themselves are passed over, and the first that
is not is the client. Whatever stands further left that client may have written itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from week01_http_server.messages import Headers

FIELDS = ("x-forwarded", "forwarded")
HOPS_MAX = 32
"""A longer list is read no further: nobody has so many proxies of their own."""

UNKNOWN = ("unknown", 0)
"""The client where a trusted proxy hides it or writes what is no address (RFC 7239, 6.2, 6.3)."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(
    rf'[ \t]*(?:({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~])*)"))?'
    r"[ \t]*([;,]|\Z)"
)
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}|_[A-Za-z0-9._-]+))?")
_OBFUSCATED = re.compile(r"_[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Origin:
    """What the trusted proxies say of a request; None where they say nothing.

    Attributes:
        client: address and port (0 where none is told); the host may be a hidden name of RFC 7239.
        scheme: "http" or "https", as the client asked.
        host: host and port the client asked for.
    """

    client: tuple[str, int] | None = None
    scheme: str | None = None
    host: bytes | None = None


NOTHING = Origin()


class Trust:
    """The peers that are believed, and which fields they write.

    Args:
        peers: networks ("10.0.0.0/8", "::1"), "unix" for unix sockets, "*" for everyone.
        fields: one of `FIELDS`.

    Raises:
        ValueError: a peer or `fields` is none of these; one line for the user.
    """

    def __init__(self, peers: Iterable[str], fields: str = FIELDS[0]) -> None:
        if fields not in FIELDS:
            raise ValueError(f"forwarded fields: {fields!r} is none of {', '.join(FIELDS)}")
        self._fields = fields
        self._everyone = self._unix = False
        networks: list[IPv4Network | IPv6Network] = []
        for peer in peers:
            if peer == "*":
                self._everyone = True
            elif peer == "unix":
                self._unix = True
            else:
                networks.append(_network(peer))
        self._networks = tuple(networks)
        self._believes_host = lru_cache(maxsize=1024)(self._look_up)

    def __bool__(self) -> bool:
        return self._everyone or self._unix or bool(self._networks)

    def believes(self, peer: tuple[str, int] | None) -> bool:
        """Whether `peer` may speak for others; None is the client of a unix socket."""
        if self._everyone:
            return True
        return self._unix if peer is None else self._believes_host(peer[0])

    def _look_up(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def origin(self, peer: tuple[str, int] | None, headers: Headers) -> Origin:
        """What `headers`, sent by `peer`, say of the client; `NOTHING` of a peer not believed."""
        if not self.believes(peer):
            return NOTHING
        if self._fields == "forwarded":
            return self._by_rfc(headers)
        return self._by_custom(headers)

    def _client(self, hops: Sequence[str]) -> tuple[int, tuple[str, int]] | None:
        """Position and address of the client in `hops`; None for an empty list."""
        found = None
        for position in range(len(hops) - 1, max(-1, len(hops) - 1 - HOPS_MAX), -1):
            found = position, _node(hops[position])
            if not self._everyone and not self._believes_host(found[1][0]):
                break
        return found

    def _by_custom(self, headers: Headers) -> Origin:
        hops = _items(headers, b"x-forwarded-for")
        found = self._client(hops)
        position = None if found is None else found[0] - len(hops)
        scheme = _beside(_items(headers, b"x-forwarded-proto"), position, len(hops))
        host = _beside(_items(headers, b"x-forwarded-host"), position, len(hops))
        return Origin(None if found is None else found[1], _scheme(scheme), _checked_host(host))

    def _by_rfc(self, headers: Headers) -> Origin:
        elements = _elements(_joined(headers, b"forwarded"))
        found = self._client([element.get("for", "unknown") for element in elements])
        if found is None:
            return NOTHING
        element = elements[found[0]]
        return Origin(found[1], _scheme(element.get("proto")), _checked_host(element.get("host")))


def _network(peer: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(peer)
    except ValueError as error:
        raise ValueError(
            f"trusted peer {peer!r} is no address, no network, neither 'unix' nor '*': {error}"
        ) from None


def _joined(headers: Headers, name: bytes) -> str:
    """Repeated fields are one list in their order (RFC 9110, section 5.3)."""
    return ", ".join(value.decode("latin-1") for key, value in headers if key == name)


def _items(headers: Headers, name: bytes) -> list[str]:
    joined = _joined(headers, name)
    return [item.strip(" \t") for item in joined.split(",")] if joined else []


def _beside(items: Sequence[str], position: int | None, hops: int) -> str | None:
    """The item that belongs to the hop at `position` (from the end).

    A list as long as the hops was appended to by each proxy; any other was set by the last one.
    """
    if not items:
        return None
    return items[position if position is not None and len(items) == hops else -1]


def _node(text: str) -> tuple[str, int]:
    """An address with or without a port (RFC 7239, section 6), or a bare IPv6 address."""
    matched = _NODE.fullmatch(text)
    host, port = text, 0
    if matched:
        host = matched[1] or matched[2]
        port = int(matched[3]) if matched[3] and matched[3].isdecimal() else 0
    elif _OBFUSCATED.fullmatch(text.split(":", 1)[0]):
        return text.split(":", 1)[0], 0
    try:
        address = ip_address(host)
    except ValueError:
        return UNKNOWN
    if port > 65535 or "%" in host:
        return UNKNOWN
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address), port


def _scheme(text: str | None) -> str | None:
    lowered = text.lower() if text else None
    return lowered if lowered in ("http", "https") else None


def _checked_host(text: str | None) -> bytes | None:
    host = text.encode("latin-1") if text else b""
    return host if len(host) <= 255 and _HOST.fullmatch(host) else None


def _elements(text: str) -> list[dict[str, str]]:
    """The elements of Forwarded; all up to the last one that breaks the grammar are one unknown.

    A client may send an open quote for the next proxy to append to: what the proxy wrote then
    cannot be told from what the client wrote, and nobody else's address may stand in for it.
    """
    elements: list[dict[str, str]] = []
    for element in _parse(text):
        if element is None:
            elements = [{"for": UNKNOWN[0]}]
        elif element:
            elements.append(element)
    return elements


def _parse(text: str) -> Iterator[dict[str, str] | None]:
    """Each element's parameters, names lower-cased; None for what breaks the grammar."""
    element: dict[str, str] = {}
    position = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        if pair is None:
            yield None
            element = {}
            comma = text.find(",", position)
            if comma < 0:
                return
            position = comma + 1
            continue
        name, bare, quoted, separator = pair.groups()
        if name is not None:
            element[name.lower()] = bare if bare is not None else re.sub(r"\\(.)", r"\1", quoted)
        position = pair.end()
        if separator != ";":
            yield element
            element = {}
    if element:
        yield element
