"""What happens to every request: an id, one access log line, its count and its time."""

import ipaddress
import os
import re
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.service.metrics import HttpMetrics

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

QUIET_ROUTES = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Probes come every second or so: their access lines have level debug."""

_REQUEST_ID = re.compile(rb"[0-9a-f]{32}")

MAX_PEERS = 1024
"""Peers whose trust is remembered: proxies are few, and whoever comes directly comes again."""


class RequestMiddleware:
    """Names, logs, counts and times every HTTP request.

    The request id is taken from ``X-Request-ID`` when the peer's address lies in one of the
    `trusted_proxies` and the value is 32 lower-case hex digits, which is what nginx's
    ``$request_id`` is; otherwise it is a new random one. It is in ``scope["state"]["request_id"]``,
    in every log line of the request and in the response's ``X-Request-ID``, together with the
    fixed `response_headers`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: HttpMetrics,
        trusted_proxies: Sequence[Network] = (),
        response_headers: Mapping[str, str] | None = None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._ids = RequestIds(trusted_proxies)
        self._headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (response_headers or {}).items()
        ]
        self._log = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Of several the last one: that is what the nearest proxy added.
        given = dict(scope["headers"]).get(b"x-request-id")
        request_id = self._ids.of(scope.get("client"), given)
        scope.setdefault("state", {})["request_id"] = request_id
        headers = [*self._headers, (b"x-request-id", request_id.encode("ascii"))]
        status = "aborted"

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        # Bound for this call only: a server may run the requests of a connection in one task.
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            began = time.perf_counter()
            self._metrics.began(scope["method"])
            try:
                await self._app(scope, receive, send_named)
            finally:
                seconds = time.perf_counter() - began
                route = route_template(scope)
                self._metrics.ended(scope["method"], route, status, seconds)
                self._write_line(scope, route, status, seconds)

    def _write_line(self, scope: Scope, route: str, status: str, seconds: float) -> None:
        write = self._log.debug if route in QUIET_ROUTES else self._log.info
        client = scope.get("client")
        write(
            "request",
            method=scope["method"],
            path=scope["path"],
            route=route,
            status=int(status) if status.isdigit() else status,
            duration_ms=round(seconds * 1000, 3),
            client=client[0] if client else None,
        )


class RequestIds:
    """Where a request's id comes from: the proxy's, if it is one of ours, or a new one."""

    def __init__(self, trusted_proxies: Sequence[Network]) -> None:
        networks = tuple(trusted_proxies)
        self._trusts = lru_cache(MAX_PEERS)(lambda host: peer_in((host, 0), networks))

    def of(self, client: tuple[str, int] | None, given: bytes | None) -> str:
        """The id of a request from `client`, whose ``X-Request-ID`` is `given`: 32 hex digits."""
        if (
            given is not None
            and client is not None
            and self._trusts(client[0])
            and _REQUEST_ID.fullmatch(given)
        ):
            return given.decode("ascii")
        return os.urandom(16).hex()


def route_template(scope: Scope) -> str:
    """The template the router matched, such as ``/{code}``, or ``unmatched``."""
    return getattr(scope.get("route"), "path", None) or "unmatched"


def peer_in(client: tuple[str, int] | None, networks: Sequence[Network]) -> bool:
    """Whether the peer's address lies in one of `networks`; unix sockets have no address.

    An IPv4 address written as IPv6 (``::ffff:192.0.2.1``) is that IPv4 address.
    """
    if client is None:
        return False
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
