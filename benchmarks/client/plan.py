"""How a run goes: open or closed loop, and a limit on everything. Pure."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from infra.lab.errors import UsageError

RATE_MAX_PER_S: Final = 100_000
SECONDS_MAX: Final = 3_600
REQUESTS_MAX: Final = 10_000_000
CONNECTIONS_MAX: Final = 10_000
TIMEOUT_MAX_S: Final = 60
RETRIES_MAX: Final = 10
BODY_MAX_BYTES: Final = 64 * 2**20
_PORT_MAX: Final = 65_535


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run. Raises UsageError (one line) for a value outside of its limits.

    Attributes:
        rate_per_s: open loop: arrivals a second, whatever the server does. None is the closed
            loop: each connection asks again as soon as it has its answer.
        seconds: how long requests are begun; answers are awaited for `timeout_s` more.
        requests: at most so many.
        connections: most requests in flight, one on each connection (no pipelining).
        keep_alive: False opens a connection for each request.
        timeout_s: for one attempt, connecting included.
        give_up_s: open loop: an arrival later than this is not sent but counted as unsent.
            None means as long as `timeout_s`.
        retries: further attempts of an idempotent request that failed.
        retry_pause_s: before the first retry; doubled for each one after it.
        failure_pause_s: closed loop: pause of a connection after a failure, so that a refused
            connection is not a loop as fast as the processor.
        body_max_bytes: a longer body counts as wrong.
    """

    rate_per_s: float | None = None
    seconds: float = 10.0
    requests: int = 1_000_000
    connections: int = 100
    keep_alive: bool = True
    timeout_s: float = 5.0
    give_up_s: float | None = None
    retries: int = 0
    retry_pause_s: float = 0.05
    failure_pause_s: float = 0.01
    body_max_bytes: int = 2**20

    def __post_init__(self) -> None:
        _within("rate", self.rate_per_s, 0.01, RATE_MAX_PER_S)
        _within("seconds", self.seconds, 0.01, SECONDS_MAX)
        _within("requests", self.requests, 1, REQUESTS_MAX)
        _within("connections", self.connections, 1, CONNECTIONS_MAX)
        _within("timeout", self.timeout_s, 0.001, TIMEOUT_MAX_S)
        _within("give-up time", self.give_up_s, 0, TIMEOUT_MAX_S)
        _within("retries", self.retries, 0, RETRIES_MAX)
        _within("retry pause", self.retry_pause_s, 0, TIMEOUT_MAX_S)
        _within("failure pause", self.failure_pause_s, 0, TIMEOUT_MAX_S)
        _within("body limit", self.body_max_bytes, 0, BODY_MAX_BYTES)
        if self.rate_per_s is not None and self.rate_per_s * self.seconds > REQUESTS_MAX:
            raise UsageError(
                f"{self.rate_per_s:g} a second for {self.seconds:g} s are more than "
                f"{REQUESTS_MAX} requests: lower the rate or the time"
            )

    @property
    def late_max_s(self) -> float:
        """How late an arrival may be sent."""
        return self.timeout_s if self.give_up_s is None else self.give_up_s

    @property
    def is_open(self) -> bool:
        return self.rate_per_s is not None


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise UsageError(f"{name} is {value:g}, but it must be from {low:g} to {high:g}")


@dataclass(frozen=True)
class Target:
    """Where to send: an address to connect to, and the Host header."""

    address: str
    port: int
    host: str

    @property
    def url(self) -> str:
        return f"http://{self.host}"


def parse_target(url: str, allowed_hosts: Collection[str] = ()) -> tuple[Target, str]:
    """The target of an http:// URL and its path with the query.

    Names are not looked up, but for `localhost`: what is asked must be known beforehand.

    Args:
        allowed_hosts: addresses besides loopback that may be loaded, because the caller made
            these hosts itself (namespaces, containers, VMs of the lab).

    Raises:
        UsageError: no such URL, or a host that is neither loopback nor allowed.
    """
    try:
        parts = urlsplit(url)
        port = 80 if parts.port is None else parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}") from error
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(f"{url!r} is no URL this client can ask: write http://127.0.0.1:PORT/path")
    if parts.username is not None or not 1 <= port <= _PORT_MAX:
        raise UsageError(f"{url!r}: a port from 1 to {_PORT_MAX}, and no user name, please")
    host = parts.hostname
    text = "127.0.0.1" if host == "localhost" else host
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(f"{host} is a name: give the address of a host of your own") from None
    if not address.is_loopback and host not in allowed_hosts:
        raise UsageError(
            f"{host} is not this machine: load tests go to loopback, or to a host that you own "
            f"and name explicitly (--allow-host {host})"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    shown = f"[{host}]" if ":" in host else host
    return Target(str(address), port, f"{shown}:{port}"), path


def named_target(url: str) -> Target:
    """The target of an address that the user named as one of their own, such as TARGET.

    Raises UsageError as `parse_target` does, but for the host.
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None  # told of below
    return parse_target(url, (host,) if host else ())[0]
