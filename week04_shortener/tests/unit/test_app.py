"""The HTTP interface over parts in memory."""

import ipaddress
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from infra.service.plumbing import install
from week04_shortener.api.errors import answer_unavailable
from week04_shortener.app import Parts, add_redirect
from week04_shortener.clicks import Click, decode
from week04_shortener.database import DatabaseUnavailable
from week04_shortener.links import ABSENT, Entry, Kind, is_code_or_alias

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = "0123456789abcdef0123456789abcdef"


class Links:
    """Store, cache and click log in one; `away` is the database's state."""

    def __init__(self) -> None:
        self.urls: dict[str, str] = {}
        self.remembered: dict[str, str] = {}
        self.clicks: list[Click] = []
        self.asked: list[str] = []
        self.away = False
        self.log_full = False

    def near(self, code: str) -> Entry | None:
        return None

    async def entry_of(self, code: str) -> Entry:
        self._answer()
        self.asked.append(code)
        return Entry(1, Kind.OPEN, self.urls[code]) if code in self.urls else ABSENT

    def append(self, payload: bytes) -> bool:
        if self.log_full:
            return False
        self.clicks.append(decode(payload))
        return True

    def _answer(self) -> None:
        if self.away:
            raise DatabaseUnavailable("connection refused to 10.0.0.5")


@pytest.fixture
def links() -> Links:
    return Links()


@pytest.fixture
def app(links: Links) -> FastAPI:
    app = FastAPI()
    trusted = [ipaddress.ip_network("127.0.0.1/32")]
    install(app, registry=CollectorRegistry(), trusted_proxies=trusted, max_body_bytes=4096)
    app.add_exception_handler(DatabaseUnavailable, answer_unavailable)
    add_redirect(app, Parts(links, links, "api1", now=lambda: NOW))
    return app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://short.example") as client:
        yield client


def assert_problem(response: httpx.Response, status: int) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status


async def test_redirect_is_not_to_be_kept(http: httpx.AsyncClient, links: Links) -> None:
    links.urls["abc1234"] = "https://example.org/a?b=c"
    response = await http.get("/abc1234")
    assert response.status_code == 302
    assert response.headers["location"] == "https://example.org/a?b=c"
    assert response.headers["cache-control"] == "private, no-store"
    assert response.content == b""


async def test_click_is_in_the_log_when_the_redirect_leaves(
    http: httpx.AsyncClient, links: Links
) -> None:
    links.urls["abc1234"] = "https://example.org/a"
    headers = {"X-Request-ID": ID, "Referer": "https://news.example/private?page=1"}
    response = await http.get("/abc1234", headers=headers)
    assert links.clicks == [Click(ID, "abc1234", NOW, "api1", "news.example")]
    assert response.headers["x-request-id"] == ID


async def test_head_shows_the_target_and_counts_nothing(
    http: httpx.AsyncClient, links: Links
) -> None:
    links.urls["abc1234"] = "https://example.org/a"
    response = await http.head("/abc1234")
    assert (response.status_code, response.headers["location"]) == (302, "https://example.org/a")
    assert links.clicks == []


async def test_a_click_that_is_lost_does_not_cost_the_redirect(
    http: httpx.AsyncClient, links: Links
) -> None:
    links.urls["abc1234"] = "https://example.org/a"
    links.log_full = True
    assert (await http.get("/abc1234")).status_code == 302


async def test_unknown_code(http: httpx.AsyncClient, links: Links) -> None:
    for method in ("GET", "HEAD"):
        assert (await http.request(method, "/abc1234")).status_code == 404
    assert_problem(await http.get("/abc1234"), 404)
    assert links.clicks == []


@pytest.mark.parametrize(
    "path", ["/ab", "/-abcdef", "/abcdef_", "/" + "a" * 33, "/abc%20123", "/%00%00%00%00%00%00%00",
             "/äbcdefg", "/shorten"],
)  # fmt: skip
async def test_malformed_codes_reach_neither_cache_nor_database(
    http: httpx.AsyncClient, links: Links, path: str
) -> None:
    links.away = True
    assert_problem(await http.get(path), 404)
    assert links.asked == []


async def test_own_paths_are_not_taken_for_codes(http: httpx.AsyncClient, links: Links) -> None:
    assert not is_code_or_alias("metrics")
    assert (await http.get("/metrics")).text.startswith("# HELP")
    assert links.asked == []
