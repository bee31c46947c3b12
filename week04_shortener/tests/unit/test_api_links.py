"""Links by the API, one at a time, over parts in memory."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from week04_shortener.links import Kind
from week04_shortener.tests.unit.api_fakes import (
    BASE,
    World,
    WorldKeys,
    assert_problem,
    client_of,
    fresh_world,
    make_app,
)

pytestmark = pytest.mark.anyio

LINKS = "/api/v1/links"
URL = "https://example.org/a"


@pytest.fixture
def world() -> World:
    return fresh_world()


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_app(world)) as client:
        yield client


async def make(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await http.post(LINKS, json={"url": URL, **fields})
    assert response.status_code == 201, response.text
    return dict(response.json())


# ---- Making


async def test_a_link_with_everything(http: httpx.AsyncClient, world: World) -> None:
    response = await http.post(
        LINKS,
        json={
            "url": "HTTPS://Example.org/a",
            "alias": "spring-sale",
            "expires_at": "2030-01-31T13:00:00+01:00",
            "max_visits": 5,
            "password": "open sesame",
        },
    )
    assert response.status_code == 201
    assert response.json() == {
        "code": "spring-sale",
        "short_url": f"{BASE}/spring-sale",
        "url": URL,
        "version": 1,
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:05Z",
        "expires_at": "2030-01-31T12:00:00Z",
        "max_visits": 5,
        "visits": 0,
        "has_password": True,
    }
    assert response.headers["location"] == f"{BASE}{LINKS}/spring-sale"
    assert response.headers["etag"] == '"1"'
    assert "sesame" not in response.text and "hash" not in response.text
    assert world.hashed == ["open sesame"]
    assert world.links["spring-sale"].password_hash == "hash of 1"
    assert world.remembered["spring-sale"].kind is Kind.GUARDED


async def test_only_the_url_is_needed(http: httpx.AsyncClient, world: World) -> None:
    made = await make(http)
    assert len(made["code"]) == 7
    assert (made["expires_at"], made["max_visits"], made["has_password"]) == (None, None, False)
    assert world.remembered[made["code"]].url == URL


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"url": "ftp://example.org/"}, "#/url"), ({"url": ""}, "#/url"), ({"url": None}, "#/url"),
        ({"url": "https://user@example.org/"}, "#/url"), ({"url": 5}, "#/url"),
        ({"url": URL + "a" * 2100}, "#/url"), ({"url": "https://example.org/\ud800"}, "#/url"),
        ({"alias": "ab"}, "#/alias"), ({"alias": "a" * 33}, "#/alias"),
        ({"alias": ".."}, "#/alias"), ({"alias": "%2e%2e"}, "#/alias"),
        ({"alias": "a/b"}, "#/alias"), ({"alias": ""}, "#/alias"),
        ({"alias": "abc1234"}, "#/alias"), ({"alias": "-abc"}, "#/alias"),
        ({"alias": "\u0430dmin"}, "#/alias"), ({"alias": "\uff41\uff42\uff43"}, "#/alias"),
        ({"alias": "abc\n"}, "#/alias"), ({"alias": "abc\0"}, "#/alias"),
        ({"alias": 777}, "#/alias"),
        *[({"alias": word}, "#/alias") for word in ("api", "API", "Docs", "bulk", "EXPORT", "qr")],
        ({"expires_at": "2026-01-02T03:04:05Z"}, "#/expires_at"),  # now is not in the future
        ({"expires_at": "2030-01-01"}, "#/expires_at"), ({"expires_at": 1e12}, "#/expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "#/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "#/expires_at"),
        ({"max_visits": 0}, "#/max_visits"), ({"max_visits": -1}, "#/max_visits"),
        ({"max_visits": 1.5}, "#/max_visits"), ({"max_visits": "3"}, "#/max_visits"),
        ({"max_visits": True}, "#/max_visits"), ({"max_visits": 10**30}, "#/max_visits"),
        ({"password": ""}, "#/password"), ({"password": "a" * 129}, "#/password"),
        ({"password": "\udfff"}, "#/password"), ({"code": "mine"}, "#/code"),
        ({"owner_id": 7}, "#/owner_id"), ({"version": 7}, "#/version"),
    ],
)  # fmt: skip
async def test_what_is_refused_says_where(
    http: httpx.AsyncClient, world: World, fields: dict[str, Any], pointer: str
) -> None:
    response = await http.post(LINKS, content=_json({"url": URL, **fields}), headers=_JSON)
    assert_problem(response, 422)
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert world.links == {}
    assert world.hashed == [], "a hash is dear, and not for requests that are refused anyway"


async def test_a_taken_alias(http: httpx.AsyncClient, world: World) -> None:
    await make(http, alias="spring-sale")
    assert_problem(await http.post(LINKS, json={"url": URL, "alias": "spring-sale"}), 409)
    await http.delete(f"{LINKS}/spring-sale")
    # Also afterwards: who has the old link must not come to another place.
    assert_problem(await http.post(LINKS, json={"url": URL, "alias": "spring-sale"}), 409)


# ---- Once only


async def test_the_same_request_with_the_same_key_makes_one_link(
    http: httpx.AsyncClient, world: World
) -> None:
    body = {"url": URL, "max_visits": 3, "password": "open sesame"}
    first = await http.post(LINKS, json=body, headers={"Idempotency-Key": '"k1"'})
    await http.patch(f"{LINKS}/{first.json()['code']}", json={"max_visits": 9, "password": None})
    world.now += timedelta(hours=1)
    again = await http.post(LINKS, json=body, headers={"Idempotency-Key": '"k1"'})
    assert (again.status_code, again.json()) == (201, first.json())
    for name in ("location", "etag"):
        assert again.headers[name] == first.headers[name]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert len(world.links) == 1
    assert world.remembered[first.json()["code"]].version == 2, "an old state is not remembered"


async def test_another_request_with_the_same_key(http: httpx.AsyncClient, world: World) -> None:
    headers = {"Idempotency-Key": '"k1"'}
    await http.post(LINKS, json={"url": URL}, headers=headers)
    for body in ({"url": URL, "max_visits": 3}, {"url": f"{URL}b"}, {"url": URL, "password": "x"}):
        assert_problem(await http.post(LINKS, json=body, headers=headers), 422)
    assert len(world.links) == 1


@pytest.mark.parametrize("key", ["", '""', '"a', "a b", '"' + "k" * 129 + '"', '"é"'])
async def test_a_malformed_key(http: httpx.AsyncClient, world: World, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode()}
    assert_problem(await http.post(LINKS, json={"url": URL}, headers=headers), 400)
    assert world.links == {}


async def test_two_keys(http: httpx.AsyncClient) -> None:
    headers = [("Idempotency-Key", '"a"'), ("Idempotency-Key", '"b"')]
    assert_problem(await http.post(LINKS, json={"url": URL}, headers=headers), 400)


async def test_a_key_is_its_owners(world: World) -> None:
    app, headers = make_app(world), {"Idempotency-Key": '"k1"'}
    codes = set()
    for name in ("a", "b", None):
        key = (await WorldKeys(world).create(name))[0] if name else None
        async with client_of(app, key) as http:
            response = await http.post(LINKS, json={"url": URL}, headers=headers)
            codes.add(response.json()["code"])
    assert len(codes) == 3


# ---- Seeing


async def test_one_link_and_whether_it_changed(http: httpx.AsyncClient) -> None:
    made = await make(http)
    path = f"{LINKS}/{made['code']}"
    response = await http.get(path)
    assert response.json() == made
    tag = response.headers["etag"]
    same = await http.get(path, headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    await http.patch(path, json={"max_visits": 3})
    assert (await http.get(path, headers={"If-None-Match": tag})).status_code == 200


async def test_pages(http: httpx.AsyncClient) -> None:
    codes = [(await make(http))["code"] for _ in range(5)]
    seen: list[str] = []
    path = f"{LINKS}?limit=2"
    for _ in range(3):
        response = await http.get(path)
        seen += [link["code"] for link in response.json()["links"]]
        following = response.json()["next"]
        if following is None:
            break
        assert response.links["next"]["url"] == f"{BASE}{LINKS}?limit=2&cursor={following}"
        path = response.links["next"]["url"]
        await make(http)  # what is new does not push others over the edge of a page
    assert seen == codes[::-1]
    assert "link" not in response.headers


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=", "cursor=abc",
                                   "cursor=%00", "cursor=" + "a" * 101, "limit=-1", "limit=1e400",
                                   "cursor=%ff"])  # fmt: skip
async def test_pages_that_there_are_not(http: httpx.AsyncClient, query: str) -> None:
    response = await http.get(f"{LINKS}?{query}")
    assert_problem(response, 422)
    assert response.json()["errors"][0]["parameter"] == query.partition("=")[0]


# ---- Changing


async def test_what_is_left_out_stays_and_null_takes_away(
    http: httpx.AsyncClient, world: World
) -> None:
    made = await make(
        http, expires_at="2030-01-01T00:00:00Z", max_visits=5, password="open sesame", alias="a-b"
    )
    path = f"{LINKS}/a-b"
    for patch, changed in (
        ({"url": "https://Example.org"}, {"url": "https://example.org"}),
        ({"max_visits": None}, {"max_visits": None}),
        ({"expires_at": None}, {"expires_at": None}),
        ({"password": None}, {"has_password": False}),
        ({"password": "new", "max_visits": 7}, {"has_password": True, "max_visits": 7}),
    ):
        response = await http.patch(
            path, content=_json(patch), headers={"Content-Type": "application/merge-patch+json"}
        )
        made = {**made, **changed, "version": made["version"] + 1}
        assert response.status_code == 200
        assert response.json() == made
        assert response.headers["etag"] == f'"{made["version"]}"'
        assert world.remembered["a-b"].version == made["version"]


async def test_an_empty_patch_changes_nothing(http: httpx.AsyncClient) -> None:
    made = await make(http)
    response = await http.patch(f"{LINKS}/{made['code']}", json={})
    assert (response.status_code, response.json()) == (200, made)


@pytest.mark.parametrize("patch", [{"url": None}, {"alias": "other"}, {"code": "x"}, [], "x", None,
                                   {"expires_at": "2020-01-01T00:00:00Z"}, {"max_visits": 0},
                                   {"url": "http://"}, {"visits": 0}])  # fmt: skip
async def test_patches_that_are_refused(
    http: httpx.AsyncClient, world: World, patch: object
) -> None:
    made = await make(http)
    response = await http.patch(f"{LINKS}/{made['code']}", content=_json(patch), headers=_JSON)
    assert_problem(response, 422)
    assert world.links[made["code"]].version == 1


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_change_at_a_version(http: httpx.AsyncClient, world: World, method: str) -> None:
    made = await make(http)
    path, body = f"{LINKS}/{made['code']}", _json({"max_visits": 3}) if method == "PATCH" else b""

    async def ask(if_match: str) -> httpx.Response:
        return await http.request(
            method, path, content=body, headers={**_JSON, "If-Match": if_match}
        )

    for tag in ('"2"', 'W/"1"', '"2", "3"', '""'):
        response = await ask(tag)
        assert_problem(response, 412)
        assert response.headers["etag"] == '"1"', "what to look at before deciding again"
    assert_problem(await ask("1"), 400)
    assert world.links[made["code"]].version == 1
    assert (await ask('"7", "1"')).is_success
    assert world.links[made["code"]].version == 2
    for tag in ("*", '"1"'):
        assert (await ask(tag)).is_success == (method == "PATCH" and tag == "*")


async def test_what_was_deleted_is_gone(http: httpx.AsyncClient, world: World) -> None:
    made = await make(http, alias="spring-sale")
    path = f"{LINKS}/{made['code']}"
    response = await http.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    assert world.remembered["spring-sale"].kind is Kind.GONE
    for again in (
        await http.get(path),
        await http.delete(path),
        await http.patch(path, json={"max_visits": 3}),
        await http.patch(path, json={}),
        await http.get(f"{path}/stats"),
        await http.get(f"{path}/qr.svg"),
    ):
        assert_problem(again, 410)
    assert (await http.get(LINKS)).json()["links"] == []


# ---- Whose


async def test_nobody_sees_or_changes_anothers_link(world: World) -> None:
    app = make_app(world)
    keys = [(await WorldKeys(world).create(name))[0] for name in ("a", "b")]
    async with client_of(app, keys[0]) as http:
        path = f"{LINKS}/{(await make(http, alias='mine-only'))['code']}"
    for key in (keys[1], None):
        async with client_of(app, key) as http:
            for response in (
                await http.get(path),
                await http.patch(path, json={"url": "https://evil.example/"}),
                await http.patch(path, json={"password": "x"}),
                await http.patch(path, json={}),
                await http.delete(path),
                await http.delete(path, headers={"If-Match": '"1"'}),
                await http.get(f"{path}/stats"),
                await http.get("/stats/mine-only"),
            ):
                # As of a link that there is not: 403 would tell that there is one.
                assert_problem(response, 404)
            assert (await http.get(LINKS)).json()["links"] == []
            assert "mine-only" not in (await http.get(f"{LINKS}/export")).text
    assert world.links["mine-only"].version == 1
    assert world.hashed == []


async def test_without_open_mode_a_key_is_needed(world: World) -> None:
    app = make_app(world, open_mode=False)
    async with client_of(app) as http:
        document = (await http.get("/openapi.json")).json()
        asked = 0
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if not operation.get("security"):
                    continue
                asked += 1
                response = await http.request(method, path.replace("{code}", "abc-def"))
                assert_problem(response, 401)
                assert response.headers["www-authenticate"].startswith("Bearer")
    assert asked == 14
    assert world.asked == []
    async with client_of(app, "sk_wrong") as http:
        assert_problem(await http.get(LINKS), 401)


@pytest.mark.parametrize("code", ["ab", "-abcdef", "a" * 33, "abc%20d", "%00", "%2e%2e", "docs",
                                  "%c3%28", "a%2fb"])  # fmt: skip
async def test_what_is_no_code_is_not_looked_for(
    http: httpx.AsyncClient, world: World, code: str
) -> None:
    world.away = True
    for path in (f"{LINKS}/{code}", f"{LINKS}/{code}/stats", f"{LINKS}/{code}/qr.png",
                 f"/stats/{code}"):  # fmt: skip
        assert_problem(await http.get(path), 404)
    assert world.asked == []


async def test_the_database_away(http: httpx.AsyncClient, world: World) -> None:
    world.away = True
    csv = {"Content-Type": "text/csv"}
    for response in (
        await http.post(LINKS, json={"url": URL}),
        await http.post("/shorten", json={"url": URL}),
        await http.get(LINKS),
        await http.get(f"{LINKS}/abc-def"),
        await http.patch(f"{LINKS}/abc-def", json={"max_visits": 3}),
        await http.delete(f"{LINKS}/abc-def"),
        await http.post(f"{LINKS}/bulk", json={"links": [{"url": URL}]}),
        await http.post(f"{LINKS}/import", content=f"url\n{URL}", headers=csv),
        await http.get(f"{LINKS}/export"),
        await http.get(f"{LINKS}/abc-def/stats"),
        await http.get(f"{LINKS}/abc-def/qr.svg"),
        await http.get("/stats/abc-def"),
    ):
        assert_problem(response, 503)
        assert response.headers["retry-after"] == "1"
        assert "10.0.0.5" not in response.text


_JSON = {"Content-Type": "application/json"}


def _json(value: object) -> bytes:
    """As a client would write it that has a lone surrogate to send: escaped."""
    return json.dumps(value).encode("ascii")
