"""Which target URLs are accepted, and the form in which they are kept (RFC 3986)."""

import ipaddress
import re
from urllib.parse import quote, urlsplit, urlunsplit

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
"""Controls, spaces and the backslash. A raw line break could end the Location header; browsers
read a backslash as a slash, and would go to another host than the one checked here."""

_HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_RESERVED = ":/?#[]@!$&'()*+,;=%-._~"
"""Reserved and unreserved characters of RFC 3986 section 2, and the percent sign."""

MAX_HOST_CHARS = 253
"""RFC 1035 section 2.3.4: 255 octets on the wire."""


class BadUrl(ValueError):
    """A target that is refused; the message tells the user why."""


def accept(url: str, *, max_chars: int) -> str:
    """The normal form of `url`, or `BadUrl`.

    Accepted are absolute http and https URLs with a host and without user information.
    Normalised is only what cannot change where a link leads: scheme and host in lower case
    (section 6.2.2.1); characters that RFC 3986 has no place for, those outside ASCII among them,
    percent-encoded as UTF-8 (RFC 3987 section 3.1).
    """
    if len(url) > max_chars:
        raise BadUrl(f"the URL has more than {max_chars} characters")
    if _FORBIDDEN.search(url):
        raise BadUrl("the URL contains a space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise BadUrl("the URL's host or port is malformed") from error
    if parts.scheme not in ("http", "https"):
        raise BadUrl("the URL must begin with http:// or https://")
    if "@" in parts.netloc:
        raise BadUrl("the URL must not contain a user name or password")
    path, query, fragment = (_encode(part) for part in (parts.path, parts.query, parts.fragment))
    netloc = _host(host) + (f":{port}" if port is not None else "")
    accepted = urlunsplit((parts.scheme, netloc, path, query, fragment))
    if len(accepted) > max_chars:
        raise BadUrl(f"the URL has more than {max_chars} characters once percent-encoded")
    return accepted


def _host(host: str) -> str:
    if not host:
        raise BadUrl("the URL has no host")
    if ":" in host:
        return f"[{_address(host)}]"
    if not host.isascii():
        raise BadUrl("the URL's host must be written in ASCII (xn--...)")
    labels = host.removesuffix(".").split(".")
    if len(host) > MAX_HOST_CHARS or not all(map(_HOST_LABEL.fullmatch, labels)):
        raise BadUrl("the URL's host is malformed")
    return host


def _address(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError as error:
        raise BadUrl("the URL's host is malformed") from error
    if address.scope_id is not None:
        raise BadUrl("the URL's host names a network interface, which means nothing elsewhere")
    return str(address)


def _encode(part: str) -> str:
    try:
        return quote(part, safe=_RESERVED)
    except UnicodeEncodeError as error:
        raise BadUrl("the URL contains a lone surrogate, which is no character") from error
