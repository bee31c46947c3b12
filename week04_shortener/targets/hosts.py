"""What a URL's host really is: a name, or an address in one of its many spellings.

Browsers follow the WHATWG URL standard (https://url.spec.whatwg.org/#host-parsing), in which
``http://2130706433/``, ``http://0x7f.1/`` and ``http://0177.0.0.1/`` all lead to 127.0.0.1. So
whoever judges where a link leads must read hosts as they do. Pure, and nothing is ever resolved.
"""

import ipaddress
import re
from typing import Final

from week04_shortener.targets.urls import BadUrl

IPv4 = ipaddress.IPv4Address
IPv6 = ipaddress.IPv6Address
Host = IPv4 | IPv6 | str
"""An address, or a name in lower case without a trailing dot."""

_RADIX_DIGITS: Final = {
    8: re.compile(r"[0-7]*"),
    10: re.compile(r"[0-9]+"),
    16: re.compile(r"[0-9a-f]*"),
}

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

# Whether an address is one that all the Internet means by it: the column "Globally Reachable" of
# https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry, and
# multicast. Spelled out, because what Python's `is_global` says differs between its versions.
_NOT_GLOBAL_4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 reaches the machine itself
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and where clouds keep their metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation: nothing there belongs to anybody
        "192.88.99.0/24",  # 6to4 relays, given up
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")
"""All that is given out; outside lie loopback, unique local, link-local, multicast and the rest."""
_NOT_GLOBAL_6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them, which embeds IPv4 addresses
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)


def host_of(text: str) -> Host:
    """What `text` means as the host of a URL that `urls.accept` has accepted.

    `text` is in lower case, without percent signs or brackets. `BadUrl` where it ends in a number
    and is no IPv4 address: browsers refuse to go there.
    """
    if ":" in text:
        return IPv6(text)
    if _ends_in_a_number(text):
        return _ipv4(text)
    return text.removesuffix(".")


def embedded(address: IPv4 | IPv6) -> IPv4 | None:
    """The IPv4 address at which packets to `address` arrive in the end, where there is one.

    IPv4-mapped (RFC 4291 section 2.5.5.2), 6to4 (RFC 3056), NAT64 (RFC 6052), or the address
    itself.
    """
    if isinstance(address, IPv4):
        return address
    if address in _NAT64:
        return IPv4(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def is_global(address: IPv4 | IPv6) -> bool:
    """Whether `address` means the same everywhere, and so is nobody's inside."""
    within = embedded(address)
    if within is not None:
        return not any(within in network for network in _NOT_GLOBAL_4)
    return address in _GLOBAL_6 and not any(address in network for network in _NOT_GLOBAL_6)


def is_loopback(host: Host) -> bool:
    """Whether `host` is the visitor's own machine, to which the unspecified address leads too."""
    if isinstance(host, str):
        return host == "localhost" or host.endswith(".localhost")
    address = embedded(host) or host
    return address.is_loopback or address.is_unspecified


def _ends_in_a_number(text: str) -> bool:
    """The standard's "ends in a number checker"."""
    last = text.removesuffix(".").rpartition(".")[2]
    return last.isdecimal() or _number(last) is not None


def _ipv4(text: str) -> IPv4:
    """The standard's "IPv4 parser": one to four numbers, the last of which fills up."""
    numbers = [_number(part) for part in text.removesuffix(".").split(".")]
    *leading, last = numbers
    address = 0
    for number in leading:
        if number is None or number > 255:
            raise BadUrl("the URL's host is no IPv4 address, though it ends in a number")
        address = address * 256 + number
    room = 256 ** (4 - len(leading)) if len(leading) < 4 else 0
    if last is None or last >= room:
        raise BadUrl("the URL's host is no IPv4 address, though it ends in a number")
    return IPv4(address * room + last)


def _number(text: str) -> int | None:
    """The standard's "IPv4 number parser": ``0x`` is hexadecimal, a leading 0 is octal."""
    radix = 10
    if text.startswith("0x"):
        text, radix = text[2:], 16
    elif len(text) > 1 and text.startswith("0"):
        text, radix = text[1:], 8
    if not _RADIX_DIGITS[radix].fullmatch(text):
        return None
    return int(text, radix) if text else 0
