"""The PROXY protocol, versions 1 and 2: who the client behind a TCP balancer is.

Pure and incremental: bytes in, addresses out. Source: "The PROXY protocol", W. Tarreau, HAProxy
(doc/proxy-protocol.txt), sections 2.1 (text) and 2.2 (binary). A header is all or nothing: what
does not begin with one is refused, never taken for a request (section 2: "must not try to guess").
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

V1_MAX_BYTES = 107
"""The longest text header, its CRLF included (section 2.1)."""

V2_MAX_BYTES = 4096
"""Our limit for a binary header with its TLVs; the format alone would allow 64 KiB."""

_V1_START = b"PROXY "
_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD = struct.Struct("!12sBBH")
_V2_INET = struct.Struct("!4s4sHH")
_V2_INET6 = struct.Struct("!16s16sHH")
_V2_UNIX_BYTES = 216
_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP4, _TCP6, _UNIX_STREAM = 0x00, 0x11, 0x21, 0x31
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")


class PrefaceRefused(ValueError):
    """These bytes are no PROXY header; the connection must be closed. The reason echoes nothing."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Both ends of the client's own connection: (host, port), or (path, 0) for a unix socket."""

    source: tuple[str, int]
    destination: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Preface:
    """A whole header.

    Attributes:
        addresses: None where the sender knows none or speaks for itself (UNKNOWN, LOCAL: health
            checks); the connection's own addresses hold then.
        rest: what followed the header: the client's first bytes.
    """

    addresses: Addresses | None
    rest: bytes


class ProxyPreface:
    """One connection's header, as it arrives.

    At most `V2_MAX_BYTES` of it are ever held; the deadline is the caller's.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Preface | None:
        """Take what came in; returns None while more is needed, raises `PrefaceRefused`."""
        held = self._held = self._held + data
        if held.startswith(_V1_START):
            return _text(held)
        if held.startswith(_V2_SIGNATURE):
            return _binary(held)
        if _V1_START.startswith(held) or _V2_SIGNATURE.startswith(held):
            return None
        raise PrefaceRefused("no PROXY header at the start of the connection")


def _text(held: bytes) -> Preface | None:
    end = held.find(b"\r\n", 0, V1_MAX_BYTES)
    if end < 0:
        if len(held) >= V1_MAX_BYTES:
            raise PrefaceRefused(f"PROXY v1: no end of line within {V1_MAX_BYTES} bytes")
        return None
    rest = held[end + 2 :]
    words = held[len(_V1_START) : end].split(b" ")
    if words[0] == b"UNKNOWN":  # "must ignore anything presented before the CRLF"
        return Preface(None, rest)
    if words[0] not in (b"TCP4", b"TCP6") or len(words) != 5:
        raise PrefaceRefused("PROXY v1: not TCP4, TCP6 or UNKNOWN with two addresses and two ports")
    kind = IPv4Address if words[0] == b"TCP4" else IPv6Address
    source, destination = (_host(kind, word) for word in words[1:3])
    source_port, destination_port = (_port(word) for word in words[3:5])
    return Preface(Addresses((source, source_port), (destination, destination_port)), rest)


def _host(kind: type[IPv4Address] | type[IPv6Address], word: bytes) -> str:
    try:
        if b"%" in word:  # a zone is no address of another host
            raise AddressValueError
        return str(kind(word.decode("ascii")))
    except (AddressValueError, UnicodeDecodeError):
        raise PrefaceRefused("PROXY v1: an address that is none of its family") from None


def _port(word: bytes) -> int:
    if not _PORT.fullmatch(word) or int(word) > 65535:
        raise PrefaceRefused("PROXY v1: a port that is no decimal number from 0 to 65535")
    return int(word)


def _binary(held: bytes) -> Preface | None:
    if len(held) < _V2_HEAD.size:
        return None
    _, command, family, size = _V2_HEAD.unpack_from(held)
    if command not in (_LOCAL, _PROXY):
        raise PrefaceRefused("PROXY v2: not version 2 with command LOCAL or PROXY")
    end = _V2_HEAD.size + size
    if end > V2_MAX_BYTES:
        raise PrefaceRefused(f"PROXY v2: longer than {V2_MAX_BYTES} bytes")
    if len(held) < end:
        return None
    block, rest = held[_V2_HEAD.size : end], held[end:]
    if command == _LOCAL:  # "must discard the protocol block including the family"
        return Preface(None, rest)
    return Preface(_binary_addresses(family, block), rest)


def _binary_addresses(family: int, block: bytes) -> Addresses | None:
    """The addresses in front of the block; the TLVs behind them are skipped."""
    if family == _UNSPEC:
        return None
    if family == _TCP4 and len(block) >= _V2_INET.size:
        source, destination, source_port, destination_port = _V2_INET.unpack_from(block)
        return Addresses(
            (socket.inet_ntop(socket.AF_INET, source), source_port),
            (socket.inet_ntop(socket.AF_INET, destination), destination_port),
        )
    if family == _TCP6 and len(block) >= _V2_INET6.size:
        source, destination, source_port, destination_port = _V2_INET6.unpack_from(block)
        return Addresses(
            (socket.inet_ntop(socket.AF_INET6, source), source_port),
            (socket.inet_ntop(socket.AF_INET6, destination), destination_port),
        )
    if family == _UNIX_STREAM and len(block) >= _V2_UNIX_BYTES:
        return Addresses((_path(block[:108]), 0), (_path(block[108:216]), 0))
    if family in (_TCP4, _TCP6, _UNIX_STREAM):
        raise PrefaceRefused("PROXY v2: too short for the addresses it announces")
    raise PrefaceRefused("PROXY v2: neither TCP over IPv4 or IPv6 nor a unix stream")


def _path(field: bytes) -> str:
    return field.split(b"\x00", 1)[0].decode("utf-8", "backslashreplace")
