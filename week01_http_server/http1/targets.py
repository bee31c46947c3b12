"""Request targets in their four forms, and the Host field: RFC 9112, section 3.2 and 3.3.

Visible ASCII that RFC 3986 forbids in a path, such as "|" or '"', is let through, as browsers
send it; "#" is not, because what follows it never belongs to a request.
"""

from __future__ import annotations

import ipaddress
import re

from week01_http_server.http1.grammar import VCHAR, RefusedError

HOST_CACHE_MAX = 256
"""Valid Host values remembered; when it is full, all are forgotten."""
HOST_CACHED_MAX_BYTES = 128

PORT_MAX = 65535

_HOST = re.compile(
    rb"(?:\[(?P<literal>[0-9A-Fa-f:.]++)\]"
    rb"|(?:[A-Za-z0-9\-._~!$&'()*+,;=]++|%[0-9A-Fa-f]{2})*)"  # reg-name, also an IPv4 address
    rb"(?::(?P<port>[0-9]*+))?"
)
_ABSOLUTE = re.compile(rb"(?i:https?)://(?P<authority>[^/?]*+)(?P<rest>.*)", re.DOTALL)
_AUTHORITY_FORM = re.compile(rb"[^:/?@]++:[0-9]++|\[[0-9A-Fa-f:.]++\]:[0-9]++")

valid_hosts: dict[bytes, None] = {}
"""What `is_host` has found valid; for those who cannot afford to call it."""


def is_host(value: bytes) -> bool:
    """Whether value is uri-host [":" port] (RFC 9110, section 7.2); an empty one is."""
    if value in valid_hosts:
        return True
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    port = match["port"]
    if port and (len(port) > len(str(PORT_MAX)) or int(port) > PORT_MAX):
        return False
    if match["literal"] is not None:
        try:
            ipaddress.IPv6Address(match["literal"].decode("ascii"))
        except ValueError:
            return False
    if len(value) <= HOST_CACHED_MAX_BYTES:
        if len(valid_hosts) >= HOST_CACHE_MAX:
            valid_hosts.clear()
        valid_hosts[value] = None
    return True


def split_target(method: str, target: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Path, query and, for the absolute form alone, authority of a request target.

    Raises:
        RefusedError: 400 where the form is unknown or does not suit the method; 501 for CONNECT.
    """
    if target.translate(None, VCHAR):
        raise RefusedError(400, "the request target has control or non-ASCII characters")
    if b"#" in target:
        raise RefusedError(400, "the request target has a fragment")
    if method == "CONNECT":
        if _AUTHORITY_FORM.fullmatch(target) is None:
            raise RefusedError(400, "the target of CONNECT is not host:port")
        raise RefusedError(501, "CONNECT is not served here: this is no proxy")
    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
        return path, query, None
    if target == b"*":
        if method != "OPTIONS":
            raise RefusedError(400, "the target * is for OPTIONS alone")
        return target, b"", None
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise RefusedError(400, "the request target is neither a path nor an http URI")
    return _absolute(method, match["authority"], match["rest"])


def _absolute(method: str, authority: bytes, rest: bytes) -> tuple[bytes, bytes, bytes]:
    """The parts of an absolute form: RFC 9112, section 3.2.2."""
    if b"@" in authority:
        # RFC 9110, section 4.2.4: such a name is an attempt to look like another site.
        raise RefusedError(400, "the request target has user information")
    if not authority or authority.startswith(b":") or not is_host(authority):
        raise RefusedError(400, "the host in the request target is not valid")
    path, _, query = rest.partition(b"?")
    if not path:
        # RFC 9112, section 3.2.4: an OPTIONS for the server as a whole.
        path = b"*" if method == "OPTIONS" and not rest else b"/"
    return path, query, authority
