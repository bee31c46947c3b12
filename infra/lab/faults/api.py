"""Toxiproxy 2.12's HTTP API: routes, JSON and errors, on a registry. No sockets here.

Routes and answers: Toxiproxy's README, "HTTP API"; what it says to bad input: its api.go. Ours
in addition: a toxic may carry a `lease` (Toxiproxy ignores fields it does not know), and
`POST /leases/{name}` is a heartbeat.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from infra.lab.faults import proxies, toxics
from infra.lab.faults.proxies import Lease, Proxy, Registry, Toxic
from infra.lab.owner import Owner

VERSION = "2.12.0"
"""Of the API."""
NAME_MAX_CHARS = 200

Answer = tuple[int, Any]
"""Status and JSON value; None for no body."""


@dataclass
class ApiError(Exception):
    """Answered as `{"error": message, "status": status}`."""

    status: int
    message: str


class Api:
    """Answers one request at a time."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = asyncio.Lock()

    async def answer(self, method: str, path: str, agent: str, body: bytes) -> Answer:
        """Never raises for a request that is merely wrong."""
        if agent.startswith("Mozilla/"):  # no web page may talk to it behind its user's back
            return 403, {"error": "User agent not allowed", "status": 403}
        try:
            async with self._lock:
                return await self._route(method, path, body)
        except ApiError as error:
            return error.status, {"error": error.message, "status": error.status}

    async def _route(self, method: str, path: str, body: bytes) -> Answer:
        match (method, [unquote(part) for part in path.strip("/").split("/")]):
            case ("GET", ["version"]):
                return 200, {"version": VERSION, "extensions": ["lease"]}
            case ("POST", ["reset"]):
                return await self._reset()
            case ("POST", ["populate"]):
                return await self._populate(_json(body, list))
            case ("POST", ["leases", name]):
                return 200, {"name": name, "toxics": self._registry.beat(name)}
            case ("GET", ["proxies"]):
                return 200, {name: p.shown() for name, p in self._registry.proxies.items()}
            case ("POST", ["proxies"]):
                return await self._create(_json(body, dict))
            case (_, ["proxies", name]):
                return await self._proxy(method, self._find(name), body)
            case (_, ["proxies", name, "toxics"]):
                return self._toxics(method, self._find(name), body)
            case (_, ["proxies", name, "toxics", toxic]):
                return self._toxic(method, self._find(name), toxic, body)
            case (_, ["version" | "reset" | "populate" | "proxies"] | ["leases", _]):
                raise ApiError(405, "method not allowed")
        raise ApiError(404, "page not found")

    def _find(self, name: str) -> Proxy:
        if name not in self._registry.proxies:
            raise ApiError(404, "proxy not found")
        return self._registry.proxies[name]

    # Proxies

    async def _create(self, fields: Mapping[str, Any]) -> Answer:
        new = self._new(fields)
        if new.name in self._registry.proxies:
            raise ApiError(409, "proxy already exists")
        await self._put(new, _typed(fields, "enabled", bool, True))
        return 201, new.shown()

    async def _populate(self, entries: list[Any]) -> Answer:
        """Create or replace; one that is the same already is left alone."""
        made: list[Proxy] = []
        wanted = []
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict):
                raise ApiError(400, f"bad request body: proxy {number} is no object")
            wanted.append((self._new(entry, f" at proxy {number}"), entry))
        try:
            for new, entry in wanted:
                old = self._registry.proxies.get(new.name)
                if old is not None and (old.listen, old.upstream) == (new.listen, new.upstream):
                    made.append(old)
                    continue
                if old is not None:
                    old.stop()
                await self._put(new, _typed(entry, "enabled", bool, True))
                made.append(new)
        except ApiError as error:
            shown = {"error": error.message, "status": error.status}
            return error.status, {**shown, "proxies": [proxy.shown() for proxy in made]}
        return 201, {"proxies": [proxy.shown() for proxy in made]}

    def _new(self, fields: Mapping[str, Any], where: str = "") -> Proxy:
        name = _typed(fields, "name", str, "")
        upstream = _typed(fields, "upstream", str, "")
        for label, value in (("name", name), ("upstream", upstream)):
            if not value:
                raise ApiError(400, f"missing required field: {label}{where}")
        if len(name) > NAME_MAX_CHARS or "/" in name:
            raise ApiError(400, f"bad request body: no name for a proxy: {name[:NAME_MAX_CHARS]}")
        listen = _typed(fields, "listen", str, "") or "127.0.0.1:0"
        for address in (listen, upstream):
            _check_address(address)
        return Proxy(name, listen, upstream, self._registry.rng)

    async def _put(self, new: Proxy, enabled: bool) -> None:
        known = self._registry.proxies
        if new.name not in known and len(known) >= proxies.PROXIES_MAX:
            raise ApiError(409, f"there are {len(known)} proxies already: delete some")
        if enabled:
            await _start(new)
        known[new.name] = new

    async def _proxy(self, method: str, proxy: Proxy, body: bytes) -> Answer:
        if method == "DELETE":
            proxy.stop()
            del self._registry.proxies[proxy.name]
            return 204, None
        if method in ("POST", "PATCH"):
            fields = _json(body, dict)
            listen = _typed(fields, "listen", str, proxy.listen)
            upstream = _typed(fields, "upstream", str, proxy.upstream)
            enabled = _typed(fields, "enabled", bool, proxy.enabled)
            for address in (listen, upstream):
                _check_address(address)
            if not enabled or (listen, upstream) != (proxy.listen, proxy.upstream):
                proxy.stop()
                proxy.listen, proxy.upstream = listen, upstream
            if enabled:
                await _start(proxy)
        elif method != "GET":
            raise ApiError(405, "method not allowed")
        return 200, proxy.shown()

    async def _reset(self) -> Answer:
        for proxy in self._registry.proxies.values():
            await _start(proxy)
            for toxic in proxy.toxics:
                proxy.remove_toxic(toxic.name)
        return 204, None

    # Toxics

    def _toxics(self, method: str, proxy: Proxy, body: bytes) -> Answer:
        if method == "GET":
            return 200, [toxic.shown() for toxic in proxy.toxics]
        if method != "POST":
            raise ApiError(405, "method not allowed")
        toxic = _new_toxic(_json(body, dict))
        if proxy.toxic(toxic.name) is not None:
            raise ApiError(409, "toxic already exists")
        if len(proxy.toxics) >= proxies.TOXICS_MAX:
            raise ApiError(409, f"there are {proxies.TOXICS_MAX} toxics already: delete some")
        proxy.add_toxic(toxic)
        return 200, toxic.shown()

    def _toxic(self, method: str, proxy: Proxy, name: str, body: bytes) -> Answer:
        toxic = proxy.toxic(name)
        if toxic is None:
            raise ApiError(404, "toxic not found")
        if method == "DELETE":
            proxy.remove_toxic(name)
            return 204, None
        if method in ("POST", "PATCH"):
            fields = _json(body, dict)
            attributes = _attributes(toxic.kind, fields, toxic.attributes)
            toxic = proxies.changed(toxic, _toxicity(fields, toxic.toxicity), attributes)
            proxy.update_toxic(toxic)
        elif method != "GET":
            raise ApiError(405, "method not allowed")
        return 200, toxic.shown()


async def _start(proxy: Proxy) -> None:
    try:
        await proxy.start()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ApiError(500, f"listen tcp {proxy.listen}: {reason}") from error


def _new_toxic(fields: Mapping[str, Any]) -> Toxic:
    kind = _typed(fields, "type", str, "")
    stream = _typed(fields, "stream", str, "downstream").lower()
    if stream not in proxies.STREAMS:
        raise ApiError(400, "stream was invalid, can be either upstream or downstream")
    if kind not in toxics.KINDS:
        raise ApiError(400, "invalid toxic type")
    name = _typed(fields, "name", str, "") or f"{kind}_{stream}"
    if len(name) > NAME_MAX_CHARS or "/" in name:
        raise ApiError(400, f"bad request body: no name for a toxic: {name[:NAME_MAX_CHARS]}")
    attributes = _attributes(kind, fields, toxics.KINDS[kind].defaults)
    return Toxic(name, kind, stream, _toxicity(fields, 1.0), attributes, _lease(fields))


def _attributes(kind: str, fields: Mapping[str, Any], before: Mapping[str, int]) -> dict[str, int]:
    given = _typed(fields, "attributes", dict, {})
    found = {name: _typed(given, name, int, value) for name, value in before.items()}
    try:
        toxics.check(kind, found)
    except ValueError as error:
        raise ApiError(400, f"bad request body: {error}") from error
    return found


def _toxicity(fields: Mapping[str, Any], default: float) -> float:
    return float(_typed(fields, "toxicity", (int, float), default))


def _lease(fields: Mapping[str, Any]) -> Lease | None:
    given = _typed(fields, "lease", dict, {})
    if not given:
        return None
    owner = _typed(given, "owner", str, "")
    ttl_s = _typed(given, "ttl_s", (int, float), 0)
    name = _typed(given, "name", str, "")
    if not name or not (owner or ttl_s > 0):
        raise ApiError(400, "bad request body: a lease has a name, and an owner or a ttl_s")
    try:
        return Lease(name, Owner(owner) if owner else None, float(ttl_s) if ttl_s else None)
    except (ValueError, OverflowError) as error:
        raise ApiError(400, "bad request body: an owner is `pid:creation time`") from error


def _json(body: bytes, kind: type) -> Any:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"bad request body: {error}") from error
    if not isinstance(value, kind):
        raise ApiError(400, f"bad request body: no {kind.__name__}")
    return value


def _typed(
    fields: Mapping[str, Any], name: str, kind: type | tuple[type, ...], default: Any
) -> Any:
    """The field if it is there. Raises ApiError for one of another type, or no finite number."""
    value = fields.get(name)
    if value is None:
        return default
    wrong_bool = isinstance(value, bool) and kind is not bool
    if wrong_bool or not isinstance(value, kind):
        raise ApiError(400, f"bad request body: {name} has the wrong type")
    if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) < 2**63):
        raise ApiError(400, f"bad request body: {name} is out of range")
    return value


def _check_address(address: str) -> None:
    _, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ApiError(400, f"bad request body: {address} is no host:port")


Answerer = Callable[[str, str, str, bytes], Awaitable[Answer]]
"""Method, path, user agent and body to an answer."""
