"""Many links by one request: JSON, CSV in and out; each row for itself."""

import csv
import io
from collections.abc import AsyncIterator

import httpx
import pytest

from week04_shortener.api.making import BATCH
from week04_shortener.api.parts import Bounds
from week04_shortener.links import Kind
from week04_shortener.tests.unit.api_fakes import (
    BASE,
    MAX_BODY_BYTES,
    MAX_IMPORT_BYTES,
    World,
    WorldKeys,
    assert_problem,
    client_of,
    fresh_world,
    make_app,
)

pytestmark = pytest.mark.anyio

LINKS = "/api/v1/links"
CSV = {"Content-Type": "text/csv"}
BOUNDS = Bounds(bulk_links=10, import_rows=1000)


@pytest.fixture
def world() -> World:
    return fresh_world()


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_app(world, bounds=BOUNDS)) as client:
        yield client


async def import_(http: httpx.AsyncClient, data: bytes | str) -> httpx.Response:
    content = data.encode() if isinstance(data, str) else data
    return await http.post(f"{LINKS}/import", content=content, headers=CSV)


# ---- Bulk


async def test_each_item_is_made_or_refused_for_itself(
    http: httpx.AsyncClient, world: World
) -> None:
    await http.post(LINKS, json={"url": "https://a.example/", "alias": "taken"})
    items = [
        {"url": "https://A.example"},
        {"url": "javascript:alert(1)"},
        {"url": "https://b.example/", "alias": "taken"},
        {"url": "https://c.example/", "alias": "to-c", "max_visits": 3},
        {"url": "https://d.example/", "alias": "to-c"},
        {"url": "https://e.example/", "password": "x"},
        {},
    ]
    response = await http.post(f"{LINKS}/bulk", json={"links": items})
    assert response.status_code == 200
    document = response.json()
    assert (document["made"], document["refused"]) == (2, 5)
    statuses = [result["status"] for result in document["results"]]
    assert statuses == [201, 422, 409, 201, 409, 422, 422]
    assert document["results"][0]["link"]["url"] == "https://a.example"
    assert document["results"][3]["link"]["code"] == "to-c"
    for result in document["results"]:
        assert ("problem" in result) == (result["status"] != 201)
    pointers = [document["results"][at]["problem"]["errors"][0]["pointer"] for at in (1, 2, 5, 6)]
    assert pointers == ["#/url", "#/alias", "#/password", "#/url"]
    assert {link.code for link in world.links.values()} == set(world.remembered)
    assert world.remembered["to-c"].kind is Kind.GUARDED


@pytest.mark.parametrize("body", [{"links": []}, {"links": [1]}, {"links": {}}, {}, [],
                                  {"links": [{}] * 11}, {"links": [{}], "x": 1}])  # fmt: skip
async def test_bulk_requests_that_are_refused_as_a_whole(
    http: httpx.AsyncClient, world: World, body: object
) -> None:
    assert_problem(await http.post(f"{LINKS}/bulk", json=body), 422)
    assert world.links == {}


async def test_only_what_is_for_many_may_be_large(http: httpx.AsyncClient) -> None:
    large = {"url": "https://a.example/", "x": "a" * MAX_BODY_BYTES}
    assert (await http.post(f"{LINKS}/bulk", json={"links": [large]})).status_code == 200
    assert_problem(await http.post(LINKS, json=large), 413)
    assert_problem(await http.post("/shorten", json=large), 413)
    assert_problem(await http.post(f"{LINKS}/bulk/", json=large), 413)
    assert_problem(await import_(http, b"url\n" + b"a" * MAX_IMPORT_BYTES), 413)


# ---- Import


async def test_a_bad_row_costs_no_other(http: httpx.AsyncClient, world: World) -> None:
    await http.post(LINKS, json={"url": "https://a.example/", "alias": "taken"})
    file = (
        b"\xef\xbb\xbfurl,alias,expires_at,max_visits\r\n"
        b"https://a.example/,to-a,2030-01-01T00:00:00Z,3\r\n"
        b"https://b.example/,taken,,\r\n"
        b"https://c.example/,,2020-01-01T00:00:00Z,\r\n"
        b"https://d.example/,,soon,\r\n"
        b"https://e.example/,,,many\r\n"
        b"javascript:alert(1)\r\n"
        b"https://f.example/,,,,more\r\n"
        b"caf\xe9\r\n"
        b"https://g.example/\0\r\n"
        b"\r\n"
        b'"https://h.example/?a=""b,c""","to-\n'
        b'h"\r\n'
        b"https://i.example/" + b"a" * 100_000 + b"\r\n"
        b'https://j".example/\r\n'
        b"https://k.example/,../admin\r\n"
        b",to-l\r\n"
        b"https://m.example/,to-m"
    )
    response = await import_(http, file)
    assert response.status_code == 200
    document = response.json()
    results = {result["line"]: result for result in document["results"]}
    assert list(results) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 15, 16, 17, 18]
    assert [line for line, result in results.items() if result["status"] == 201] == [2, 18]
    assert (document["made"], document["refused"]) == (2, 13)
    for line, why in (
        (3, "alias"), (4, "expires_at"), (5, "expires_at"), (6, "max_visits"), (7, "url"),
        (8, "more cells"), (9, "UTF-8"), (10, "NUL"), (12, "alias"), (14, "bytes"), (15, "quote"),
        (16, "alias"), (17, "url"),
    ):  # fmt: skip
        assert why in results[line]["detail"], results[line]
    assert results[3]["status"] == 409
    assert results[2]["short_url"] == f"{BASE}/to-a"
    assert set(world.links) == {"taken", "to-a", "to-m"}
    assert world.links["to-a"].max_visits == 3


@pytest.mark.parametrize(
    ("file", "detail"),
    [
        (b"", "empty"), (b"\xef\xbb\xbf\r\n", "empty"), (b"https://a.example/\n", "Line 1"),
        (b"url,password\nx,y\n", "column 2"), (b"url,url\nx,y\n", "twice"),
        ("url\nhttps://a.example/\n".encode("utf-16"), "UTF-16"), (b"\xe9\n", "UTF-8"),
        (b'"url\nhttps://a.example/\n', "never closed"),
        (b"url\n" + b"https://a.example/\n" * 1001, "more than 1000 rows"),
    ],
)  # fmt: skip
async def test_files_that_are_refused_as_a_whole(
    http: httpx.AsyncClient, world: World, file: bytes, detail: str
) -> None:
    response = await import_(http, file)
    assert_problem(response, 422)
    assert detail in response.json()["detail"]
    assert world.links == {}


@pytest.mark.parametrize("content_type", [None, "", "application/json", "text/plain", "text/csvx",
                                          "text/csv; charset=latin-1"])  # fmt: skip
async def test_what_is_not_said_to_be_csv(
    http: httpx.AsyncClient, world: World, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type is not None else {}
    response = await http.post(
        f"{LINKS}/import", content=b"url\nhttps://a.example/", headers=headers
    )
    assert_problem(response, 415)
    assert world.links == {}


@pytest.mark.parametrize(
    "content_type",
    [
        "TEXT/CSV",
        "text/csv; charset=UTF-8",
        'text/csv; charset="utf-8"',
        "text/csv; header=present",
    ],
)
async def test_what_is(http: httpx.AsyncClient, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    response = await http.post(
        f"{LINKS}/import", content=b"url\nhttps://a.example/", headers=headers
    )
    assert response.json()["made"] == 1


async def test_a_file_without_rows(http: httpx.AsyncClient) -> None:
    assert (await import_(http, "url\n")).json() == {"made": 0, "refused": 0, "results": []}


async def test_a_file_of_several_batches_in_many_pieces(
    http: httpx.AsyncClient, world: World
) -> None:
    rows = 2 * BATCH + 1
    file = "url\n" + "".join(f"https://a.example/{row}\n" for row in range(rows))

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(file), 777):
            yield file[at : at + 777].encode()

    response = await http.post(f"{LINKS}/import", content=pieces(), headers=CSV)
    assert response.json()["made"] == rows == len(world.remembered)
    for result, row in zip(response.json()["results"], range(rows), strict=True):
        assert world.links[result["code"]].url == f"https://a.example/{row}"


async def test_a_file_that_grows_too_large_makes_nothing(
    http: httpx.AsyncClient, world: World
) -> None:
    """Its length was not said, so its first rows were read before it was known."""
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b"url\n"
        for _ in range(100):
            sent += 1
            yield b"https://a.example/\n" + b"#" * (MAX_IMPORT_BYTES // 4)

    assert_problem(await http.post(f"{LINKS}/import", content=pieces(), headers=CSV), 413)
    assert world.links == {}
    assert sent < 10, "nor is the rest read"


# ---- Export


async def test_an_export_is_an_import_elsewhere(http: httpx.AsyncClient, world: World) -> None:
    await import_(
        http,
        'url,alias,expires_at,max_visits\n"https://a.example/?b=""c,d""",to-a,2030-01-01T00:00:00Z,3\n'
        "https://b.example/,to-b,,\nhttps://c.example/,,,\n",
    )
    await http.delete(f"{LINKS}/to-b")
    response = await http.get(f"{LINKS}/export")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="links.csv"'
    assert response.headers["x-content-type-options"] == "nosniff"
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["alias"] for row in rows] == ["", "to-a"]
    before = dict(world.links)
    world.links.clear()
    document = (await import_(http, response.content)).json()
    assert (document["made"], document["refused"]) == (2, 0)
    for old, new in zip(
        (link for link in before.values() if link.deleted_at is None),
        sorted(world.links.values(), key=lambda link: -link.id),
        strict=True,
    ):
        assert (old.url, old.expires_at, old.max_visits) == (
            new.url,
            new.expires_at,
            new.max_visits,
        )
    assert "to-a" in world.links


async def test_an_export_has_ones_own_links_and_no_secrets(world: World) -> None:
    app = make_app(world, bounds=BOUNDS)
    key, _ = await WorldKeys(world).create("a")
    async with client_of(app) as http:
        await http.post(LINKS, json={"url": "https://a.example/", "alias": "everybodys"})
    async with client_of(app, key) as http:
        body = {"url": "https://a.example/", "alias": "mine-only", "password": "sesame"}
        await http.post(LINKS, json=body)
        rows = list(csv.DictReader(io.StringIO((await http.get(f"{LINKS}/export")).text)))
    assert [(row["code"], row["has_password"]) for row in rows] == [("mine-only", "true")]
    assert "hash of" not in str(rows) and "sesame" not in str(rows)


async def test_an_empty_export_has_a_header(http: httpx.AsyncClient) -> None:
    text = (await http.get(f"{LINKS}/export")).text
    assert text.startswith("url,alias,expires_at,max_visits,") and text.count("\n") == 1
