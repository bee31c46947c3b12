"""The smaller rooms of the API: QR codes, statistics, keys, short forms, the page of it all."""

import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import segno

from week04_shortener.redirects.guarded import FORM
from week04_shortener.tests.unit.api_fakes import (
    BASE,
    World,
    assert_problem,
    client_of,
    fresh_world,
    make_app,
)

pytestmark = pytest.mark.anyio

LINKS = "/api/v1/links"
KEYS = "/api/v1/keys"
URL = "https://example.org/a"


@pytest.fixture
def world() -> World:
    return fresh_world()


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_app(world)) as client:
        yield client


# ---- QR codes


@pytest.mark.parametrize(
    ("kind", "media_type", "begins"),
    [("svg", "image/svg+xml", b"<svg"), ("png", "image/png", b"\x89PNG\r\n")],
)
async def test_a_qr_code(
    http: httpx.AsyncClient, kind: str, media_type: str, begins: bytes
) -> None:
    await http.post(LINKS, json={"url": URL, "alias": "spring-sale"})
    path = f"{LINKS}/spring-sale/qr.{kind}"
    response = await http.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == media_type
    assert response.content.startswith(begins)
    assert "max-age" in response.headers["cache-control"]
    tag = response.headers["etag"]
    same = await http.get(path, headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    larger = await http.get(f"{path}?scale=20")
    assert larger.headers["etag"] != tag
    assert len(larger.content) < 20_000
    for scale in ("0", "21", "1e9", "x"):
        assert_problem(await http.get(f"{path}?scale={scale}"), 422)


async def test_a_qr_code_is_of_the_short_link(http: httpx.AsyncClient) -> None:
    await http.post(LINKS, json={"url": URL, "alias": "spring-sale"})
    drawn = (await http.get(f"{LINKS}/spring-sale/qr.png?scale=1")).content
    expected, other = io.BytesIO(), io.BytesIO()
    for text, picture in ((f"{BASE}/spring-sale", expected), (f"{BASE}/summer-sale", other)):
        segno.make_qr(text, error="m", boost_error=False).save(picture, kind="png", scale=1)
    assert drawn == expected.getvalue() != other.getvalue()


async def test_no_qr_code_of_what_does_not_lead_anywhere(
    http: httpx.AsyncClient, world: World
) -> None:
    assert_problem(await http.get(f"{LINKS}/spring-sale/qr.svg"), 404)
    body = {"url": URL, "alias": "spring-sale", "expires_at": "2026-01-02T04:00:00Z"}
    await http.post(LINKS, json=body)
    assert (await http.get(f"{LINKS}/spring-sale/qr.svg")).status_code == 200
    world.now += timedelta(hours=1)
    assert_problem(await http.get(f"{LINKS}/spring-sale/qr.svg"), 410)


async def test_a_qr_code_needs_no_key(world: World) -> None:
    app = make_app(world, open_mode=False)
    async with client_of(make_app(world)) as http:
        await http.post(LINKS, json={"url": URL, "alias": "spring-sale"})
    async with client_of(app) as http:
        assert (await http.get(f"{LINKS}/spring-sale/qr.svg")).status_code == 200


# ---- Statistics


async def test_statistics(http: httpx.AsyncClient, world: World) -> None:
    await http.post(LINKS, json={"url": URL, "alias": "spring-sale"})
    world.clicks["spring-sale"] = 7
    response = await http.get(f"{LINKS}/spring-sale/stats?hours=3")
    assert response.status_code == 200
    document = response.json()
    assert (document["clicks"], document["people"], document["bots"]) == (7, 7, 0)
    assert [hour["begins"] for hour in document["hours"]][-1] == "2026-01-02T03:04:05Z"
    assert document["referrers"] == [{"name": "news.example", "clicks": 7}]
    assert len((await http.get(f"{LINKS}/spring-sale/stats")).json()["hours"]) == 48
    for hours in ("0", "745", "-1", "x"):
        assert_problem(await http.get(f"{LINKS}/spring-sale/stats?hours={hours}"), 422)


# ---- Keys


async def test_a_key_is_shown_once_and_tells_its_owner_apart(
    http: httpx.AsyncClient, world: World
) -> None:
    response = await http.post(KEYS, json={"name": "my laptop"})
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    made = response.json()
    async with client_of(make_app(world), made["key"]) as own:
        current = await own.get(f"{KEYS}/current")
        assert current.json() == {name: made[name] for name in ("id", "name", "created_at")}
        await own.post(LINKS, json={"url": URL, "alias": "mine-only"})
        assert world.links["mine-only"].owner_id == made["id"]
        assert (await own.delete(f"{KEYS}/current")).status_code == 204
        for method in ("GET", "DELETE"):
            assert_problem(await own.request(method, f"{KEYS}/current"), 401)
    for method in ("GET", "DELETE"):
        assert_problem(await http.request(method, f"{KEYS}/current"), 404)


async def test_elsewhere_keys_are_the_operators_to_make(
    http: httpx.AsyncClient, world: World
) -> None:
    key = (await http.post(KEYS, json={"name": "a"})).json()["key"]
    async with client_of(make_app(world, open_mode=False), key) as own:
        assert_problem(await own.post(KEYS, json={"name": "b"}), 403)
    assert len(world.keys) == 1


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "a" * 101}, {"name": "a\nb"},
                                  {"name": 5}, {"name": "a", "key": "sk_mine"}])  # fmt: skip
async def test_keys_that_are_refused(http: httpx.AsyncClient, body: Any) -> None:
    assert_problem(await http.post(KEYS, json=body), 422)


# ---- Short forms


async def test_shorten(http: httpx.AsyncClient, world: World) -> None:
    response = await http.post("/shorten", json={"url": "HTTPS://Example.org/a"})
    assert response.status_code == 201
    code = response.json()["code"]
    assert response.json() == {"code": code, "short_url": f"{BASE}/{code}", "url": URL}
    assert response.headers["location"] == f"{BASE}/{code}"
    assert world.links[code].url == world.remembered[code].url == URL


@pytest.mark.parametrize(
    "body",
    [
        {"url": "ftp://example.org/"}, {"url": "https://user@example.org/"}, {"url": ""},
        {"url": "https://example.org/" + "a" * 2100}, {"url": 5}, {"url": None}, {}, [], "x", 7,
        {"url": URL, "code": "mine"}, {"url": [URL]}, {"url": URL, "alias": "spring-sale"},
    ],
)  # fmt: skip
async def test_what_cannot_be_shortened(
    http: httpx.AsyncClient, world: World, body: object
) -> None:
    response = await http.post("/shorten", json=body)
    assert_problem(response, 422)
    assert response.json()["errors"]
    assert world.links == {}


async def test_stats(http: httpx.AsyncClient, world: World) -> None:
    code = (await http.post("/shorten", json={"url": URL})).json()["code"]
    empty = {"code": code, "clicks": 0, "last_click_at": None}
    assert (await http.get(f"/stats/{code}")).json() == empty
    world.clicks[code] = 7
    some = {"code": code, "clicks": 7, "last_click_at": "2026-01-02T03:04:05Z"}
    assert (await http.get(f"/stats/{code}")).json() == some
    assert_problem(await http.get("/stats/abc9999"), 404)


# ---- The document and its page


async def test_every_answer_is_documented_and_none_is_a_guess(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            assert "default" not in answers, "it would document every mistake"
            assert operation["summary"] and operation["tags"]
            assert "503" in answers, (method, path)
            assert "429" in answers or (path, method) in (("/{code}", "get"), ("/{code}", "head"))
            assert ("401" in answers) == bool(operation.get("security"))
            assert {"400", "413", "415"} <= answers.keys() or method not in ("post", "patch")
            for status, answer in answers.items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in str(document)
    used = {tag for operations in document["paths"].values() for operation in operations.values()
            for tag in operation["tags"]}  # fmt: skip
    assert used == {tag["name"] for tag in document["tags"]}


async def test_all_that_a_redirect_may_answer_is_documented(http: httpx.AsyncClient) -> None:
    """By `redirects.redirect` and `redirects.guarded`, which are no routes of the framework's."""
    document = (await http.get("/openapi.json")).json()
    follow = document["paths"]["/{code}"]
    over = {"404", "410", "503"}
    assert {method: set(operation["responses"]) for method, operation in follow.items()} == {
        "get": {"200", "302", "403", *over},
        "head": {"200", "302", *over},
        "post": {"200", "303", "400", "403", "405", "413", "415", "429", *over},
    }
    assert list(follow["post"]["requestBody"]["content"]) == [FORM]


async def test_headers_are_documented_by_their_names(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    headers = {
        (method, path): {p["name"] for p in operation.get("parameters", ()) if p["in"] == "header"}
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert {place: names for place, names in headers.items() if names} == {
        ("post", LINKS): {"Idempotency-Key"},
        ("get", f"{LINKS}/{{code}}"): {"If-None-Match"},
        ("patch", f"{LINKS}/{{code}}"): {"If-Match"},
        ("delete", f"{LINKS}/{{code}}"): {"If-Match"},
        ("get", f"{LINKS}/{{code}}/qr.svg"): {"If-None-Match"},
        ("get", f"{LINKS}/{{code}}/qr.png"): {"If-None-Match"},
    }


async def test_the_page_needs_nothing_from_elsewhere(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy and "http" not in policy
    assert "//" not in page.text.replace("<!doctype", "")
    assert "<script>" not in page.text and "style=" not in page.text
    for asset, media_type in (
        ("swagger-ui-bundle.js", "text/javascript"), ("start.js", "text/javascript"),
        ("swagger-ui.css", "text/css"), ("favicon-32x32.png", "image/png"),
    ):  # fmt: skip
        assert f'"/docs/{asset}"' in page.text
        response = await http.get(f"/docs/{asset}")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(media_type)
    assert (await http.get("/docs/openapi.json")).json()["openapi"] == "3.0.3"
    for other in ("index.html", "../docs.py", "%2e%2e/docs.py", "swagger-ui.js", "redoc"):
        assert_problem(await http.get(f"/docs/{other}"), 404)


async def test_other_methods_are_told_what_is_allowed(http: httpx.AsyncClient) -> None:
    for method, path, allowed in (
        ("PUT", LINKS, "GET, POST"),
        ("POST", f"{LINKS}/abc-def", "DELETE, GET, PATCH"),
        ("GET", "/shorten", "POST"),
    ):
        response = await http.request(method, path)
        assert_problem(response, 405)
        assert response.headers["allow"] == allowed
