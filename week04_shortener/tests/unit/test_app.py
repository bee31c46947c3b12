"""The HTTP interface over parts in memory."""

import ipaddress
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from infra.service.plumbing import install
from week04_shortener.app import Parts, add_routes
from week04_shortener.clicks import Click, decode
from week04_shortener.database import DatabaseUnavailable
from week04_shortener.links import ABSENT, Entry, Kind, is_code_or_alias
from week04_shortener.store import Stats

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = "0123456789abcdef0123456789abcdef"


class Links:
    """Store, cache and click log in one; `away` is the database's state."""

    def __init__(self) -> None:
        self.urls: dict[str, str] = {}
        self.remembered: dict[str, str] = {}
        self.clicks: list[Click] = []
        self.stats: dict[str, Stats] = {}
        self.asked: list[str] = []
        self.away = False
        self.log_full = False

    async def insert(self, url: str) -> str:
        self._answer()
        code = f"code{len(self.urls):03d}"
        self.urls[code] = url
        return code

    async def stats_of(self, code: str) -> Stats | None:
        self._answer()
        self.asked.append(code)
        return self.stats.get(code)

    def near(self, code: str) -> Entry | None:
        return None

    async def entry_of(self, code: str) -> Entry:
        self._answer()
        self.asked.append(code)
        return Entry(1, Kind.OPEN, self.urls[code]) if code in self.urls else ABSENT

    async def remember(self, code: str, entry: Entry) -> None:
        self.remembered[code] = entry.url

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
    parts = Parts(
        links=links,
        lookup=links,
        click_log=links,
        replica="api1",
        public_base_url="http://short.example",
        max_url_chars=200,
        now=lambda: NOW,
    )
    add_routes(app, parts)
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


async def test_shorten(http: httpx.AsyncClient, links: Links) -> None:
    response = await http.post("/shorten", json={"url": "HTTPS://Example.org/a"})
    assert response.status_code == 201
    code = response.json()["code"]
    assert response.json() == {
        "code": code,
        "short_url": f"http://short.example/{code}",
        "url": "https://example.org/a",
    }
    assert response.headers["location"] == f"http://short.example/{code}"
    assert links.urls == links.remembered == {code: "https://example.org/a"}


@pytest.mark.parametrize(
    "body",
    [
        {"url": "ftp://example.org/"}, {"url": "https://user@example.org/"}, {"url": ""},
        {"url": "https://example.org/" + "a" * 200}, {"url": 5}, {"url": None}, {}, [], "x", 7,
        {"url": "https://example.org/", "code": "mine"}, {"url": ["https://example.org/"]},
    ],
)  # fmt: skip
async def test_what_cannot_be_shortened(
    http: httpx.AsyncClient, links: Links, body: object
) -> None:
    response = await http.post("/shorten", json=body)
    assert_problem(response, 422)
    assert response.json()["errors"]
    assert links.urls == {}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"url": '])
async def test_bodies_that_are_no_json(http: httpx.AsyncClient, links: Links, body: bytes) -> None:
    response = await http.post(
        "/shorten", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code in (400, 422)
    assert_problem(response, response.status_code)
    assert links.urls == {}


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
    assert_problem(await http.get(f"/stats{path}"), 404)
    assert links.asked == []


async def test_statistics(http: httpx.AsyncClient, links: Links) -> None:
    links.stats = {"abc1234": Stats(7, NOW), "abc0000": Stats(0, None)}
    assert (await http.get("/stats/abc1234")).json() == {
        "code": "abc1234",
        "clicks": 7,
        "last_click_at": "2026-01-02T03:04:05Z",
    }
    assert (await http.get("/stats/abc0000")).json()["last_click_at"] is None
    assert_problem(await http.get("/stats/abc9999"), 404)


async def test_database_away(http: httpx.AsyncClient, links: Links) -> None:
    links.away = True
    for response in (
        await http.get("/abc1234"),
        await http.get("/stats/abc1234"),
        await http.post("/shorten", json={"url": "https://example.org/"}),
    ):
        assert_problem(response, 503)
        assert response.headers["retry-after"] == "1"
        assert "10.0.0.5" not in response.text


async def test_own_paths_are_not_taken_for_codes(http: httpx.AsyncClient, links: Links) -> None:
    assert not is_code_or_alias("metrics")
    assert (await http.get("/metrics")).text.startswith("# HELP")
    assert links.asked == []


async def test_openapi_tells_every_answer(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    answers = {
        (method, path): set(operation["responses"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert answers == {
        ("post", "/shorten"): {"201", "400", "413", "415", "422", "503", "default"},
        ("get", "/stats/{code}"): {"200", "404", "503", "default"},
        ("get", "/{code}"): {"302", "404", "503", "default"},
        ("head", "/{code}"): {"302", "404", "503", "default"},
    }
    for path, method, status in (("/shorten", "post", "422"), ("/{code}", "get", "404")):
        content = document["paths"][path][method]["responses"][status]["content"]
        assert list(content) == ["application/problem+json"]
    assert "HTTPValidationError" not in json.dumps(document)
