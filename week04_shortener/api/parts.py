"""What the routes are made of, and how they get at it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Protocol, cast

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from week04_shortener.analytics.statistics import LinkStatistics, Totals
from week04_shortener.api.paging import Pages
from week04_shortener.callers import Caller
from week04_shortener.links import AliasTaken, Created, Entry, Idempotency, Link, NewLink
from week04_shortener.storage.keys import ApiKey


class Links(Protocol):
    """The links, `storage.store.LinkStore`; every method raises `DatabaseUnavailable`."""

    async def link_of(self, code: str) -> Link | None: ...
    async def create(
        self,
        new: NewLink,
        *,
        owner_id: int | None,
        idempotency: Idempotency | None,
        request_id: str,
    ) -> Created: ...
    async def create_many(
        self, news: Sequence[NewLink], *, owner_id: int | None, request_id: str
    ) -> list[Link | AliasTaken]: ...
    async def change(
        self,
        code: str,
        changes: Mapping[str, object],
        *,
        owner_id: int | None,
        if_version: int | None,
        request_id: str,
    ) -> Link: ...
    async def delete(
        self, code: str, *, owner_id: int | None, if_version: int | None, request_id: str
    ) -> Link: ...
    async def page(
        self, *, owner_id: int | None, before_id: int | None, limit: int
    ) -> list[Link]: ...
    def export(self, *, owner_id: int | None) -> AsyncIterator[Link]: ...


class Lookup(Protocol):
    """The tiers in front of the links."""

    async def entry_of(self, code: str) -> Entry: ...
    async def remember(self, code: str, entry: Entry) -> None: ...


class Keys(Protocol):
    """API keys; every method raises `DatabaseUnavailable`."""

    async def create(self, name: str) -> tuple[str, ApiKey]: ...
    async def find(self, key_hash: bytes) -> ApiKey | None: ...
    async def revoke(self, key_id: int) -> bool: ...


class Statistics(Protocol):
    """What is known of clicks; raises `DatabaseUnavailable`."""

    async def of(self, code: str, hours: int) -> LinkStatistics: ...
    async def totals_of(self, code: str) -> Totals: ...


@dataclass(frozen=True)
class Bounds:
    """How much one request may ask for."""

    bulk_links: int = 100
    import_rows: int = 5000


async def unlimited(_request: HTTPConnection, _more: int) -> None:
    """Charges nobody: for routes without limits in front of them."""


@dataclass(frozen=True)
class Parts:
    """What the routes are made of; chosen by the entry point.

    `accept` gives the normal form of a target or raises `urls.BadUrl`; `hash_password` raises
    `passwords.BadPassword`; `caller_of` raises `Problem` 401. `secret` seals what clients bring
    back. `charge` takes from the caller's limits what a request makes beyond the one write it is,
    and raises `Problem` 429.
    """

    links: Links
    lookup: Lookup
    keys: Keys
    statistics: Statistics
    caller_of: Callable[[HTTPConnection], Awaitable[Caller]]
    accept: Callable[[str], str]
    hash_password: Callable[[str], Awaitable[str]]
    secret: bytes
    public_base_url: str
    open_mode: bool = False
    bounds: Bounds = Bounds()
    charge: Callable[[HTTPConnection, int], Awaitable[None]] = unlimited
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def pages(self) -> Pages:
        """The cursors of lists."""
        return Pages(self.secret)

    def short_url(self, code: str) -> str:
        """Where `code` is followed."""
        return f"{self.public_base_url}/{code}"


def _parts(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)


_bearer = HTTPBearer(
    auto_error=False, description="an API key; the lab's open mode needs none", scheme_name="key"
)
"""For the document only, and so for the button on its page: `callers` is who reads the header."""


async def _caller(request: Request, _key: Annotated[object, Depends(_bearer)]) -> Caller:
    return await _parts(request).caller_of(request)


TheParts = Annotated[Parts, Depends(_parts)]
TheCaller = Annotated[Caller, Depends(_caller)]
