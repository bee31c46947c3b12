"""What no honest client sends: each request gets a clear refusal, and nothing is made."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.exceptions import HTTPException

from week04_shortener.api.strict import parse
from week04_shortener.tests.unit.api_fakes import (
    World,
    assert_problem,
    client_of,
    fresh_world,
    make_app,
)

pytestmark = pytest.mark.anyio

LINKS = "/api/v1/links"
DEEP = 900
"""Levels that the parser still takes: what comes after it must bear them too."""


@pytest.fixture
def world() -> World:
    return fresh_world()


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_app(world)) as client:
        yield client


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422), (b"{", 400), (b"nul", 400), (b'{"url": ', 400), (b"\xff\xfe", 400),
        (b'{"url": "\xff"}', 400), (b'{"url": "https://a.example/\xed\xa0\x80"}', 400),
        ('{"url": "https://a.example/"}'.encode("utf-16"), 400),
        (b'\xef\xbb\xbf{"url": "https://a.example/"}', 400),
        (b'{"url": "https://a.example/", "url": "https://b.example/"}', 400),
        (b'{"url": "https://a.example/", "x": {"y": 1, "y": 1}}', 400),
        (b'{"url": NaN}', 400), (b'{"max_visits": Infinity}', 400), (b'{"url": -Infinity}', 400),
        (b'{"max_visits": ' + b"9" * 5000 + b"}", 400), (b'{"max_visits": 1e999}', 422),
        (b'{"max_visits": 9' + b"0" * 4000 + b"}", 422), (b"[" * 8000, 400),
        (b"[" * DEEP + b"]" * DEEP, 422), (b'{"url":' * DEEP + b"1" + b"}" * DEEP, 422),
        (b'{"\\ud800": 1}', 400), (b'{"url": "\\ud800"}', 422), (b'{"\\u0000": 1}', 422),
        (b'{"url": "https://a.example/\\u0000"}', 422), (b'"' + b"a" * 8000 + b'"', 422),
        (b'{"url": "https://a.example/' + b"a" * 100_000 + b'"}', 413), (b" " * 10_000_000, 413),
        (b'{' + b",".join(b'"k%d": 1' % key for key in range(500)) + b"}", 422),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "path"), [("POST", LINKS), ("POST", "/shorten"), ("PATCH", f"{LINKS}/abc-def")]
)
async def test_bodies(
    http: httpx.AsyncClient, world: World, method: str, path: str, body: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    response = await http.request(method, path, content=body, headers=headers)
    assert_problem(response, status)
    assert len(response.content) < 5000, "a request does not choose the size of its answer"
    assert world.links == {}


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "json", "a/b/c"]
)
async def test_a_body_that_is_not_said_to_be_json(
    http: httpx.AsyncClient, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type is not None else {}
    body = b'{"url": "https://a.example/"}'
    assert_problem(await http.post(LINKS, content=body, headers=headers), 415)


async def test_items_of_many_are_no_better(http: httpx.AsyncClient, world: World) -> None:
    deep: object = 1
    for _ in range(DEEP - 10):
        deep = {"url": deep}
    items = [{"url": deep}, {"url": "\ud800"}, {"x" * 5000: 1}, {str(key): 1 for key in range(500)}]
    body = json.dumps({"links": items}).encode("ascii")
    headers = {"Content-Type": "application/json"}
    response = await http.post(f"{LINKS}/bulk", content=body, headers=headers)
    assert response.status_code == 200
    assert [result["status"] for result in response.json()["results"]] == [422] * 4
    assert len(response.content) < 20_000
    assert world.links == {}


def test_what_is_json_is_read_as_ever() -> None:
    text = '{"a": [1, -2.5e3, null, true, "\\u00e9\\ud83d\\ude00"], "b": {"a": {}}, "é": ""}'
    assert parse(text.encode()) == json.loads(text)
    with pytest.raises(HTTPException):
        parse(b'{"a": {"b": 1, "c": 2, "b": 3}}')
