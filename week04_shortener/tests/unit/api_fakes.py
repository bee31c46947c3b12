"""The API over parts in memory: what the stores do, without the servers."""

import functools
import hashlib
import ipaddress
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from infra.service.plumbing import install
from week04_shortener.analytics.statistics import Hour, LinkStatistics, Share, Totals
from week04_shortener.api.parts import Bounds, Parts
from week04_shortener.api.routes import add_routes
from week04_shortener.callers import Callers
from week04_shortener.codes import Codec
from week04_shortener.links import (
    ABSENT,
    AliasTaken,
    Created,
    Entry,
    Idempotency,
    IdempotencyMismatch,
    Link,
    NewLink,
    NoSuchLink,
    VersionConflict,
    entry_of,
)
from week04_shortener.storage.database import DatabaseUnavailable
from week04_shortener.storage.keys import ApiKey
from week04_shortener.targets import urls

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = b"a secret of the tests"
BASE = "http://short.example"
MAX_BODY_BYTES = 8192
MAX_IMPORT_BYTES = 256 * 1024
TRUSTED = (ipaddress.ip_network("127.0.0.1/32"),)


@dataclass(eq=False)
class World:
    """Store, caches, keys and statistics in one; `away` is the database's state."""

    links: dict[str, Link] = field(default_factory=dict)
    remembered: dict[str, Entry] = field(default_factory=dict)
    promises: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)
    keys: dict[bytes, ApiKey] = field(default_factory=dict)
    clicks: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    hashed: list[str] = field(default_factory=list)
    away: bool = False
    now: datetime = NOW
    codec: Codec = field(default_factory=lambda: Codec(SECRET))

    def forget(self) -> None:
        """Be as new: an app takes longer to make than a test takes."""
        for name, value in vars(World()).items():
            setattr(self, name, value)

    async def link_of(self, code: str) -> Link | None:
        self._answer(code)
        return self.links.get(code)

    async def create(
        self,
        new: NewLink,
        *,
        owner_id: int | None,
        idempotency: Idempotency | None,
        request_id: str,
    ) -> Created:
        self._answer()
        if idempotency is not None:
            earlier = self.promises.get((idempotency.scope, idempotency.key))
            if earlier is not None:
                if earlier[0] != idempotency.request_hash:
                    raise IdempotencyMismatch
                return Created(self.links[earlier[1]], replayed=True)
        if new.alias in self.links:
            raise AliasTaken(new.alias)
        link = self._draft(new, owner_id)
        if idempotency is not None:
            place = idempotency.scope, idempotency.key
            self.promises[place] = idempotency.request_hash, link.code
        self.links[link.code] = link
        return Created(link)

    async def create_many(
        self, news: Sequence[NewLink], *, owner_id: int | None, request_id: str
    ) -> list[Link | AliasTaken]:
        self._answer()
        results: list[Link | AliasTaken] = []
        for new in news:
            if new.alias in self.links:
                results.append(AliasTaken(new.alias))
                continue
            link = self._draft(new, owner_id)
            self.links[link.code] = link
            results.append(link)
        return results

    async def change(
        self,
        code: str,
        changes: Mapping[str, Any],
        *,
        owner_id: int | None,
        if_version: int | None,
        request_id: str,
    ) -> Link:
        link = self._own(code, owner_id, if_version)
        if replace(link, **changes) != link:
            link = replace(link, **changes, version=link.version + 1, updated_at=self.now)
        self.links[code] = link
        return link

    async def delete(
        self, code: str, *, owner_id: int | None, if_version: int | None, request_id: str
    ) -> Link:
        link = self._own(code, owner_id, if_version)
        self.links[code] = replace(
            link, url="", password_hash=None, version=link.version + 1, deleted_at=self.now
        )
        return self.links[code]

    async def page(self, *, owner_id: int | None, before_id: int | None, limit: int) -> list[Link]:
        self._answer()
        own = [
            link
            for link in self.links.values()
            if link.owner_id == owner_id
            and link.deleted_at is None
            and (before_id is None or link.id < before_id)
        ]
        return sorted(own, key=lambda link: -link.id)[:limit]

    async def export(self, *, owner_id: int | None) -> AsyncIterator[Link]:
        for link in await self.page(owner_id=owner_id, before_id=None, limit=10**6):
            yield link

    async def entry_of(self, code: str) -> Entry:
        self._answer(code)
        link = self.links.get(code)
        return ABSENT if link is None else entry_of(link)

    async def remember(self, code: str, entry: Entry) -> None:
        self.remembered[code] = entry

    async def hash_password(self, plain: str) -> str:
        self.hashed.append(plain)
        return f"hash of {len(self.hashed)}"

    async def of(self, code: str, hours: int) -> LinkStatistics:
        self._answer(code)
        clicks = self.clicks.get(code, 0)
        begins = [NOW - timedelta(hours=back) for back in reversed(range(hours))]
        return LinkStatistics(
            code, clicks, clicks, 0, NOW if clicks else None, clicks,
            tuple(Hour(begin, 0, 0) for begin in begins),
            (Share("news.example", clicks),) if clicks else (), (),
        )  # fmt: skip

    async def totals_of(self, code: str) -> Totals:
        self._answer(code)
        clicks = self.clicks.get(code, 0)
        return Totals(clicks, 0, NOW if clicks else None)

    def _draft(self, new: NewLink, owner_id: int | None) -> Link:
        number = len(self.links)
        return Link(
            id=number,
            code=new.alias or self.codec.encode(number),
            url=new.url,
            created_at=self.now,
            updated_at=self.now,
            owner_id=owner_id,
            expires_at=new.expires_at,
            max_visits=new.max_visits,
            password_hash=new.password_hash,
        )

    def _own(self, code: str, owner_id: int | None, if_version: int | None) -> Link:
        self._answer(code)
        link = self.links.get(code)
        if link is None or link.deleted_at is not None or link.owner_id != owner_id:
            raise NoSuchLink
        if if_version is not None and if_version != link.version:
            raise VersionConflict(link.version)
        return link

    def _answer(self, code: str | None = None) -> None:
        if code is not None:
            self.asked.append(code)
        if self.away:
            raise DatabaseUnavailable("connection refused to 10.0.0.5")


class WorldKeys:
    """The keys of a world: apart, since both `create` and `find` mean other things there."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def create(self, name: str) -> tuple[str, ApiKey]:
        if not name.isprintable():
            raise ValueError("a key's name has 1 to 100 printable characters")
        key = f"sk_{len(self._world.keys)}"
        stored = ApiKey(len(self._world.keys) + 1, name, self._world.now)
        self._world.keys[hashlib.sha256(key.encode()).digest()] = stored
        return key, stored

    async def find(self, key_hash: bytes) -> ApiKey | None:
        return self._world.keys.get(key_hash)

    async def revoke(self, key_id: int) -> bool:
        found = [key_hash for key_hash, key in self._world.keys.items() if key.id == key_id]
        for key_hash in found:
            del self._world.keys[key_hash]
        return bool(found)


_WORLD = World()


def fresh_world() -> World:
    """The world of all tests, with nothing in it."""
    _WORLD.forget()
    return _WORLD


@functools.cache
def make_app(world: World, *, open_mode: bool = True, bounds: Bounds | None = None) -> FastAPI:
    """The API of `world`, with the plumbing and the limits of a service."""
    app = FastAPI(title="Shortener", version="1", docs_url=None, redoc_url=None)
    install(
        app,
        registry=CollectorRegistry(),
        trusted_proxies=TRUSTED,
        max_body_bytes=MAX_BODY_BYTES,
        body_limits=dict.fromkeys(("/api/v1/links/bulk", "/api/v1/links/import"), MAX_IMPORT_BYTES),
    )
    keys = WorldKeys(world)
    clock = iter(range(10**9))
    # Each question finds the answer to the one before too old: keys are revoked at once here.
    callers = Callers(
        keys, trusted=TRUSTED, open_mode=open_mode, now_s=lambda: float(next(clock) * 60)
    )
    parts = Parts(
        links=world,
        lookup=world,
        keys=keys,
        statistics=world,
        caller_of=callers.caller_of,
        accept=lambda url: urls.accept(url, max_chars=2048),
        hash_password=world.hash_password,
        secret=SECRET,
        public_base_url=BASE,
        open_mode=open_mode,
        bounds=bounds or Bounds(),
        now=lambda: world.now,
    )
    add_routes(app, parts)
    return app


def client_of(app: FastAPI, key: str | None = None) -> httpx.AsyncClient:
    """A client of `app` in memory, with an API key when given."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE, headers=headers)


def assert_problem(response: httpx.Response, status: int) -> None:
    """`response` is a problem document (RFC 9457) with `status` that says something."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert response.json()["detail"]
