"""Links with a password or a limit on visits: asked of the database at each visit.

The caches say of such a link only that it is guarded; its target is in the database alone, so a
target never lies where its guard does not. When the database is away nobody is let through.

What is asked first, and why in this order:

1. Is there still such a link? Its row is newer than what a cache said.
2. Is a person there who means to follow it? Programs that look ahead, previews, crawlers and HEAD
   get a page without the target, and spend nothing.
3. May this address try a password (the limiter), and is it right? Tried before a visit is spent: a
   wrong password costs the link nothing.
4. Is a visit left? One statement spends it, with the request's id: a request that nginx asks of a
   second replica spends one visit.

Browsers get pages, other clients problem documents (`pages.wants_page`). A password is sent as
browsers send forms, so a program can send one as well: ``curl -d password=... URL``.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry, Counter
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from infra.service.problems import Problem
from week04_shortener.clicks.agents import Judgement
from week04_shortener.links import Link
from week04_shortener.pages import Pages, wants_page
from week04_shortener.storage.database import DatabaseUnavailable

MAX_FORM_BYTES: Final = 4096
"""128 characters of 4 bytes, each written as %XX, and the field's name."""

MAX_FIELDS: Final = 8

FORM: Final = "application/x-www-form-urlencoded"

Follow = Callable[[Scope, Receive, Send, str, str, int], Awaitable[None]]
"""Logs the click and redirects: (scope, receive, send, code, url, status)."""


class Links(Protocol):
    """Where rows are; raises `DatabaseUnavailable`."""

    async def link_of(self, code: str) -> Link | None: ...


class Visits(Protocol):
    """Where visits are spent; raises `DatabaseUnavailable`."""

    async def spend(self, link_id: int, event_id: uuid.UUID) -> bool: ...


class Agents(Protocol):
    """Who tells people from programs."""

    def judge(self, headers: Mapping[bytes, bytes]) -> Judgement: ...


class GuardedMetrics:
    """What became of the visits to guarded links."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.visits = Counter(
            "shortener_guarded_visits_total",
            "Visits to links with a password or a limit on visits.",
            ("outcome",),
            registry=registry,
        )


@dataclass(frozen=True)
class Parts:
    """What the handler is made of; chosen by the entry point.

    `verify` tells whether a password matches its hash. `wait_s` takes a code and an address and
    gives None when that address may try a password there, else the seconds until it may.
    """

    links: Links
    visits: Visits
    agents: Agents
    pages: Pages
    metrics: GuardedMetrics
    verify: Callable[[str, str], Awaitable[bool]]
    wait_s: Callable[[str, str], Awaitable[float | None]]
    address_of: Callable[[Scope], str]
    follow: Follow
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Guarded:
    """Answers GET, HEAD and POST of a code whose cached entry is guarded."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send, code: str) -> None:
        """Answer one request for `code`; never raises what the database or a client does."""
        visit = _Visit(self._parts, scope, receive, code)
        try:
            granted = await visit.decide()
        except ClientDisconnect:
            self._count("disconnected")
            return
        except DatabaseUnavailable:
            granted = visit.refusal(
                "away", 503, "Just a moment",
                "This link cannot be checked now. Try again soon.", {"Retry-After": "1"},
            )  # fmt: skip
        except Problem as problem:
            granted = visit.refusal(
                "failed", problem.status, "This did not work", problem.detail, problem.headers
            )
        self._count(visit.outcome)
        if isinstance(granted, Response):
            await granted(scope, receive, send)
            return
        status = 303 if scope["method"] == "POST" else 302
        await self._parts.follow(scope, receive, send, code, granted, status)

    def _count(self, outcome: str) -> None:
        self._parts.metrics.visits.labels(outcome).inc()


class _Visit:
    """One request: its answer, or the target that it may follow to."""

    def __init__(self, parts: Parts, scope: Scope, receive: Receive, code: str) -> None:
        self._parts = parts
        self._scope = scope
        self._request = Request(scope, receive)
        self._code = code
        self._page = wants_page(Headers(scope=scope).get("accept", ""))
        self.outcome = "granted"

    async def decide(self) -> Response | str:
        method = self._scope["method"]
        link = await self._parts.links.link_of(self._code)
        if link is None:
            return self.refusal("absent", 404, "No such link", "There is no link with this code.")
        if link.deleted_at is not None:
            return self.refusal("gone", 410, "This link is gone", "Its owner has deleted it.")
        if link.expires_at is not None and link.expires_at <= self._parts.now():
            return self.refusal("expired", 410, "This link is gone", "It has expired.")
        if method == "POST" and link.password_hash is None:
            return self.refusal(
                "refused", 405, "Nothing to send here", "This link asks for no password.",
                {"Allow": "GET, HEAD"},
            )  # fmt: skip
        if link.password_hash is not None:
            if method != "POST":
                return self._ask()
            refused = await self._try_password(link.password_hash)
            if refused is not None:
                return refused
        if link.max_visits is not None:
            refused = await self._spend(link)
            if refused is not None:
                return refused
        return link.url

    def refusal(
        self,
        outcome: str,
        status: int,
        title: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """A page for a browser, a problem document for any other client."""
        self.outcome = outcome
        return self._parts.pages.refuse(self._scope, status, title, detail, headers)

    def _ask(self) -> Response:
        if self._page or self._scope["method"] == "HEAD":
            self.outcome = "asked"
            return self._parts.pages.password_page(200, "")
        return self.refusal(
            "asked", 403, "", "This link asks for a password: open it in a browser, or send "
            f"password=... to it as a POST of type {FORM}.",
        )  # fmt: skip

    async def _try_password(self, password_hash: str) -> Response | None:
        """None when the right password was sent."""
        password = await _password_in(self._request)
        wait_s = await self._parts.wait_s(self._code, self._parts.address_of(self._scope))
        if wait_s is not None:
            seconds = max(1, round(wait_s + 0.5))
            return self._wrong(
                "limited", 429, f"Too many tries. The next one is possible in {seconds} s.",
                {"Retry-After": str(seconds)},
            )  # fmt: skip
        if not await self._parts.verify(password, password_hash):
            return self._wrong("wrong", 403, "This is not the password.")
        return None

    def _wrong(
        self, outcome: str, status: int, detail: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        if not self._page:
            return self.refusal(outcome, status, "", detail, headers)
        self.outcome = outcome
        return self._parts.pages.password_page(status, detail, headers)

    async def _spend(self, link: Link) -> Response | None:
        """None when a visit was spent, or none had to be."""
        headers = {name.lower(): value for name, value in self._scope["headers"]}
        looks_only = self._scope["method"] == "HEAD"
        if looks_only or self._parts.agents.judge(headers).agent == "bot":
            self.outcome = "looked"
            return self._parts.pages.notice_page(
                200, "Open this link in a browser",
                "It can be followed a limited number of times, which are for people.",
            )  # fmt: skip
        event_id = uuid.UUID(self._scope["state"]["request_id"])
        if await self._parts.visits.spend(link.id, event_id):
            return None
        return self.refusal(
            "spent", 410, "This link is used up", "It could be followed a limited number of times."
        )


async def _password_in(request: Request) -> str:
    """The form's password. Raises `Problem` 400, 413 or 415 for what is no such form."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Problem(415, f"Send the password as a form, of type {FORM}.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise Problem(
                413, f"The form has more than {MAX_FORM_BYTES} bytes.",
                headers={"Connection": "close"},
            )  # fmt: skip
    try:
        fields = parse_qs(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise Problem(400, "The form cannot be read.") from error
    passwords = fields.get("password", [])
    if len(passwords) != 1:
        raise Problem(400, "The form has no single field named password.")
    return passwords[0]
