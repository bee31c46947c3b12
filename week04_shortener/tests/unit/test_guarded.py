"""Guarded links: who is let through, what that costs, and that nobody else learns the target."""

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from week04_shortener import pages
from week04_shortener.clicks.agents import Judgement
from week04_shortener.links import Link
from week04_shortener.redirects.guarded import MAX_FORM_BYTES, Guarded, GuardedMetrics, Parts
from week04_shortener.redirects.passwords import TooBusy
from week04_shortener.storage.database import DatabaseUnavailable

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TARGET = "https://secret.example/target"
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "user-agent": "Mozilla/5.0"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
LINK = Link(id=7, code="abc", url=TARGET, created_at=NOW, updated_at=NOW)
SECRET = replace(LINK, password_hash="hash of sesame")
LIMITED = replace(LINK, max_visits=2)
BOTH = replace(SECRET, max_visits=2)


class World:
    """Database, limiter, hashing and redirects; all notes are public."""

    def __init__(self) -> None:
        self.link: Link | None = LINK
        self.away = self.busy = False
        self.spent: list[uuid.UUID] = []
        self.tried: list[tuple[str, str]] = []
        self.followed: list[tuple[str, str]] = []
        self.wait: float | None = None
        self.request_id = "0" * 32

    async def link_of(self, code: str) -> Link | None:
        if self.away:
            raise DatabaseUnavailable("connection refused")
        return self.link

    async def spend(self, link_id: int, event_id: uuid.UUID) -> bool:
        assert self.link is not None and link_id == self.link.id
        if event_id not in self.spent:
            if len(self.spent) >= (self.link.max_visits or 0):
                return False
            self.spent.append(event_id)
        return True

    def judge(self, headers: Mapping[bytes, bytes]) -> Judgement:
        person = headers.get(b"user-agent", b"").startswith(b"Mozilla/")
        return Judgement(None, "person" if person else "bot")

    async def verify(self, plain: str, stored: str) -> bool:
        if self.busy:
            raise TooBusy
        return stored == f"hash of {plain}"

    async def wait_s(self, code: str, address: str) -> float | None:
        self.tried.append((code, address))
        return self.wait

    async def follow(
        self, scope: Scope, receive: Receive, send: Send, code: str, url: str, status: int
    ) -> None:
        self.followed.append((code, url))
        headers = [(b"location", url.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def http(world: World, registry: CollectorRegistry) -> AsyncIterator[httpx.AsyncClient]:
    guarded = Guarded(
        Parts(
            links=world,
            visits=world,
            agents=world,
            pages=pages.load(),
            metrics=GuardedMetrics(registry),
            verify=world.verify,
            wait_s=world.wait_s,
            address_of=lambda _scope: "192.0.2.1",
            follow=world.follow,
            now=lambda: NOW,
        )
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"request_id": world.request_id}
        await guarded(scope, receive, send, "abc")

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://short.example") as client:
        yield client


def assert_refused(answer: httpx.Response, status: int, world: World) -> None:
    """Refused, in the client's own language, and without a word about the target."""
    assert answer.status_code == status
    assert "secret.example" not in answer.text + str(answer.headers)
    assert "no-store" in answer.headers["cache-control"]
    assert not world.followed
    if "text/html" in answer.request.headers.get("accept", ""):
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["x-robots-tag"] == "noindex"
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


def assert_followed(answer: httpx.Response, status: int, world: World) -> None:
    assert (answer.status_code, answer.headers["location"]) == (status, TARGET)
    assert world.followed == [("abc", TARGET)]


async def test_a_password_is_asked_for_in_a_page_without_the_target(
    http: httpx.AsyncClient, world: World
) -> None:
    world.link = SECRET
    answer = await http.get("/abc", headers=BROWSER)
    assert_refused(answer, 200, world)
    assert '<form method="post">' in answer.text
    assert not world.tried


async def test_a_program_is_told_how_to_send_the_password(
    http: httpx.AsyncClient, world: World
) -> None:
    world.link = SECRET
    answer = await http.get("/abc")
    assert_refused(answer, 403, world)
    assert "password=" in answer.json()["detail"]
    assert_followed(await http.post("/abc", data={"password": "sesame"}), 303, world)


async def test_the_right_password_is_followed_with_a_get(
    http: httpx.AsyncClient, world: World
) -> None:
    world.link = SECRET
    answer = await http.post("/abc", data={"password": "sesame"}, headers=BROWSER)
    assert_followed(answer, 303, world)
    assert world.tried == [("abc", "192.0.2.1")]


@pytest.mark.parametrize("headers", [BROWSER, {}])
async def test_a_wrong_password_is_said_to_be_wrong(
    http: httpx.AsyncClient, world: World, headers: dict[str, str]
) -> None:
    world.link = BOTH
    answer = await http.post("/abc", data={"password": "<b>"}, headers=headers)
    assert_refused(answer, 403, world)
    assert "not the password" in answer.text
    assert "<b>" not in answer.text
    assert not world.spent


@pytest.mark.parametrize("headers", [BROWSER, {}])
async def test_too_many_tries_are_told_when_the_next_is_possible(
    http: httpx.AsyncClient, world: World, headers: dict[str, str]
) -> None:
    world.link, world.wait = SECRET, 11.2
    answer = await http.post("/abc", data={"password": "sesame"}, headers=headers)
    assert_refused(answer, 429, world)
    assert answer.headers["retry-after"] == "12"
    assert "12 s" in answer.text


async def test_with_both_guards_only_the_right_password_spends_a_visit(
    http: httpx.AsyncClient, world: World
) -> None:
    world.link = BOTH
    await http.get("/abc", headers=BROWSER)
    await http.post("/abc", data={"password": "wrong"}, headers=BROWSER)
    assert not world.spent
    assert_followed(
        await http.post("/abc", data={"password": "sesame"}, headers=BROWSER), 303, world
    )
    assert len(world.spent) == 1


async def test_visits_are_spent_until_none_is_left(http: httpx.AsyncClient, world: World) -> None:
    world.link = LIMITED
    for number in range(2):
        world.request_id = f"{number:032x}"
        world.followed.clear()
        assert_followed(await http.get("/abc", headers=BROWSER), 302, world)
    world.followed.clear()
    world.request_id = "f" * 32
    assert_refused(await http.get("/abc", headers=BROWSER), 410, world)


async def test_a_request_that_comes_again_spends_once(
    http: httpx.AsyncClient, world: World
) -> None:
    world.link = LIMITED
    for _ in range(5):
        assert (await http.get("/abc", headers=BROWSER)).status_code == 302
    assert len(world.spent) == 1


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("HEAD", BROWSER),
        ("GET", {"user-agent": "Slackbot", "accept": "*/*"}),
        ("GET", {"user-agent": "curl/8", "accept": "text/html"}),
    ],
)
async def test_programs_and_head_see_a_page_and_spend_nothing(
    http: httpx.AsyncClient, world: World, method: str, headers: dict[str, str]
) -> None:
    world.link = LIMITED
    answer = await http.request(method, "/abc", headers=headers)
    assert answer.status_code == 200
    assert "secret.example" not in answer.text + str(answer.headers)
    assert not world.spent and not world.followed


@pytest.mark.parametrize("headers", [BROWSER, {}])
@pytest.mark.parametrize(
    ("link", "status"),
    [
        (None, 404),
        (replace(LIMITED, deleted_at=NOW), 410),
        (replace(SECRET, expires_at=NOW), 410),
        (replace(SECRET, expires_at=NOW - timedelta(days=1)), 410),
    ],
)
async def test_a_link_that_is_over_is_over_whatever_its_guards(
    http: httpx.AsyncClient,
    world: World,
    headers: dict[str, str],
    link: Link | None,
    status: int,
) -> None:
    world.link = link
    assert_refused(await http.get("/abc", headers=headers), status, world)
    answer = await http.post("/abc", data={"password": "sesame"}, headers=headers)
    assert_refused(answer, status, world)
    assert not world.spent and not world.tried


@pytest.mark.parametrize("headers", [BROWSER, {}])
@pytest.mark.parametrize("link", [SECRET, LIMITED])
async def test_nobody_is_let_through_while_the_database_is_away(
    http: httpx.AsyncClient, world: World, headers: dict[str, str], link: Link
) -> None:
    world.link, world.away = link, True
    answer = await http.get("/abc", headers=headers)
    assert_refused(answer, 503, world)
    assert answer.headers["retry-after"] == "1"


async def test_nobody_is_let_through_while_passwords_cannot_be_checked(
    http: httpx.AsyncClient, world: World
) -> None:
    world.link, world.busy = SECRET, True
    answer = await http.post("/abc", data={"password": "sesame"}, headers=BROWSER)
    assert_refused(answer, 503, world)
    assert answer.headers["retry-after"] == "2"


async def test_a_link_whose_guards_were_taken_off_is_followed(
    http: httpx.AsyncClient, world: World
) -> None:
    """The cache of a replica may still say that it is guarded."""
    assert_followed(await http.get("/abc", headers=BROWSER), 302, world)


@pytest.mark.parametrize("link", [LIMITED, LINK])
async def test_a_form_for_a_link_without_a_password_is_refused(
    http: httpx.AsyncClient, world: World, link: Link
) -> None:
    world.link = link
    answer = await http.post("/abc", data={"password": "sesame"}, headers=BROWSER)
    assert_refused(answer, 405, world)
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"password=sesame", 415),
        ({"content-type": "application/json"}, b'{"password": "sesame"}', 415),
        (FORM, b"", 400),
        (FORM, b"passwort=sesame", 400),
        (FORM, b"password=sesame&password=open", 400),
        (FORM, b"password=%ff", 400),
        (FORM, b"\xff", 400),
        (FORM, b"&".join(b"a=b" for _ in range(100)), 400),
        (FORM, b"password=" + b"a" * MAX_FORM_BYTES, 413),
    ],
)
async def test_a_body_that_is_no_such_form_costs_no_try(
    http: httpx.AsyncClient, world: World, headers: dict[str, str], body: bytes, status: int
) -> None:
    world.link = SECRET
    answer = await http.post("/abc", content=body, headers=headers)
    assert_refused(answer, status, world)
    assert not world.tried


async def test_outcomes_are_counted(
    http: httpx.AsyncClient, world: World, registry: CollectorRegistry
) -> None:
    world.link = SECRET
    await http.get("/abc", headers=BROWSER)
    await http.post("/abc", data={"password": "wrong"})
    await http.post("/abc", data={"password": "sesame"})
    for outcome in ("asked", "wrong", "granted"):
        labels = {"outcome": outcome}
        assert registry.get_sample_value("shortener_guarded_visits_total", labels) == 1
