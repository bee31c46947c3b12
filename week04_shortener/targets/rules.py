"""Where links may lead: not inside anybody's network, not back to the service, not to listed hosts.

`urls.accept` judges how a URL is written, this where it leads, by its text alone. The service
resolves no names and fetches no targets. That leaves open a name that resolves to a private
address, today or later (DNS rebinding), and nothing is lost by it: the redirect is followed by the
visitor's browser, from the visitor's network, and the page that comes back is seen by the visitor
only. Nobody gains what a link of their own, sent without a shortener, would not give them. What the
rules are for is that the service's good name is not lent to links into routers and printers. (A
service that fetched targets, for a preview say, would have to check the address it connects to.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from week04_shortener.targets import urls
from week04_shortener.targets.hosts import (
    Host,
    IPv4,
    IPv6,
    embedded,
    host_of,
    is_global,
    is_loopback,
)
from week04_shortener.targets.urls import BadUrl

__all__ = ["BadUrl", "TargetRules", "accept", "own_host"]

INSIDE_NAMES: Final = ("localhost", "local", "internal", "home.arpa")
"""Names that mean something else in each network: RFC 6761 section 6.3, RFC 6762 section 3, ICANN's
resolution 2024.07.29.06, RFC 8375. Their subdomains as well."""


@dataclass(frozen=True, slots=True)
class TargetRules:
    """`own` is the service's host; `is_blocked` is asked for names and addresses as text."""

    max_chars: int
    own: Host
    allow_private: bool = False
    is_blocked: Callable[[str], bool] = lambda _host: False


def own_host(public_base_url: str) -> Host:
    """The host of the service, which no link may lead to."""
    return host_of(urlsplit(public_base_url).hostname or "")


def accept(url: str, rules: TargetRules) -> str:
    """The normal form of `url`, or `BadUrl`.

    That of `urls.accept`, with an IPv4 address spelled as four decimal numbers: what is kept is
    what was judged.
    """
    accepted = urls.accept(url, max_chars=rules.max_chars)
    parts = urlsplit(accepted)
    host = host_of(parts.hostname or "")
    if not rules.allow_private:
        _refuse_inside(host)
    if _is_own(host, rules.own):
        raise BadUrl("the URL leads back to this service's host")
    if rules.is_blocked(str(_within(host))):
        raise BadUrl("the URL's host is on this service's block list")
    if not isinstance(host, IPv4):
        return accepted
    netloc = str(host) if parts.port is None else f"{host}:{parts.port}"
    written_out = urlunsplit((parts.scheme, netloc, parts.path, parts.query, parts.fragment))
    if len(written_out) > rules.max_chars:
        raise BadUrl(f"the URL has more than {rules.max_chars} characters once written out")
    return written_out


def _refuse_inside(host: Host) -> None:
    if not isinstance(host, str):
        if not is_global(host):
            raise BadUrl("the URL's host is a private or otherwise special address")
    elif "." not in host:
        raise BadUrl("the URL's host is a name of a local network: it has no dot")
    elif any(f".{host}".endswith(f".{name}") for name in INSIDE_NAMES):
        raise BadUrl("the URL's host is a name of a local network")


def _is_own(host: Host, own: Host) -> bool:
    """Whatever the port: another service on the same host would be reached by its own name."""
    if is_loopback(own):
        return is_loopback(host)
    return _within(host) == _within(own)


def _within(host: Host) -> Host:
    if isinstance(host, IPv4 | IPv6):
        return embedded(host) or host
    return host
